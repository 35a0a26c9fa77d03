//! AlterClientQuotas: each entity has its own answer; what is right among them changes together.

use std::collections::BTreeMap;

use metadata::{
    Amount, Command, QuotaChange, QuotaEntity, QuotaKey, Refusal, Whom, check_quota,
    check_quota_entity,
};
use wire::ErrorCode;
use wire::messages::alter_client_quotas::{Request as Asked, Response};
use wire::messages::{AnsweredQuotaPart, QuotaAlteration, QuotaAnswer, Text, text};

use crate::dispatch::{Context, Handled, Reply, Request};

/// An entity as it was asked for, and what became of its changes.
type Told = (Vec<AnsweredQuotaPart>, Result<(), Refusal>);

/// The name of each kind of part; none for the default.
type Parts = BTreeMap<String, Option<String>>;

/// Checks each entity's changes and proposes those that are right.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let context = context.clone();
    Ok(Reply::later(async move {
        let mut changes = Vec::new();
        let mut answers: Vec<Told> = Vec::new();
        let mut seen = BTreeMap::new();
        for entry in &asked.entries {
            let parts = parts(entry);
            if let Some(at) = seen.get(&parts) {
                // As Kafka: the first stands, and its answer says that there was a second.
                let (_, outcome): &mut Told = &mut answers[*at];
                *outcome = Err(invalid(duplicate(&parts)));
                continue;
            }
            let outcome = change(&parts, entry).map(|change| changes.extend(change));
            let entity = parts.iter().map(answered).collect();
            seen.insert(parts, answers.len());
            answers.push((entity, outcome));
        }
        if !changes.is_empty() && !asked.validate_only {
            let command = Command::ChangeQuotas { changes };
            if let Err(refusal) = context.node.propose(command).await {
                let done = answers.iter_mut().filter(|(_, outcome)| outcome.is_ok());
                done.for_each(|(_, outcome)| *outcome = Err(refusal.clone()));
            }
        }
        request.answer(&Response {
            entries: answers.into_iter().map(answer).collect(),
            ..Response::default()
        })
    }))
}

/// The parts of an entity by kind; of a kind that is named twice the last counts.
fn parts(entry: &QuotaAlteration) -> Parts {
    let name = |name: &Option<Text>| name.as_ref().map(|name| name.as_str().to_owned());
    let parts = entry.entity.iter();
    parts
        .map(|part| {
            (
                part.entity_type.as_str().to_owned(),
                name(&part.entity_name),
            )
        })
        .collect()
}

/// The change of one entity; `None` if there is nothing to change.
fn change(parts: &Parts, entry: &QuotaAlteration) -> Result<Option<QuotaChange>, Refusal> {
    let mut entity = QuotaEntity::default();
    for (kind, name) in parts {
        let Some(part) = entity.part_mut(kind) else {
            return Err(invalid(format!(
                "Unhandled client quota entity type: {kind}"
            )));
        };
        *part = Some(Whom::of(name.as_deref()));
    }
    let mut wanted = BTreeMap::new();
    for op in &entry.ops {
        let value = (!op.remove).then_some(op.value);
        if wanted.insert(op.key.as_str(), value).is_some() {
            return Err(invalid(duplicate(parts)));
        }
    }
    check_quota_entity(&entity).map_err(invalid)?;
    let mut amounts = Vec::with_capacity(wanted.len());
    for (name, value) in wanted {
        let key = QuotaKey::named(name);
        match (key, value) {
            // What is not there need not be taken away, whatever it is.
            (None, None) => {}
            (None, Some(_)) => return Err(invalid(format!("Invalid configuration key {name}"))),
            (Some(key), None) => amounts.push((key, None)),
            (Some(key), Some(value)) => {
                let Some(amount) = Amount::new(value) else {
                    return Err(invalid(format!("Quota {name} must be greater than 0")));
                };
                check_quota(&entity, key, amount).map_err(invalid)?;
                amounts.push((key, Some(amount)));
            }
        }
    }
    Ok((!amounts.is_empty()).then_some(QuotaChange { entity, amounts }))
}

/// Kafka says this also of an entity whose changes name a key twice.
fn duplicate(parts: &Parts) -> String {
    let parts: Vec<String> = parts
        .iter()
        .map(|(kind, name)| format!("{kind}={}", name.as_deref().unwrap_or("null")))
        .collect();
    format!(
        "Ignoring duplicate entity ClientQuotaEntity(entries={{{}}})",
        parts.join(", ")
    )
}

fn invalid(message: String) -> Refusal {
    Refusal {
        code: ErrorCode::InvalidRequest,
        message,
    }
}

fn answered((kind, name): (&String, &Option<String>)) -> AnsweredQuotaPart {
    AnsweredQuotaPart {
        entity_type: text(kind),
        entity_name: name.as_deref().map(text),
        ..AnsweredQuotaPart::default()
    }
}

fn answer((entity, outcome): Told) -> QuotaAnswer {
    let refusal = outcome.err();
    QuotaAnswer {
        error_code: refusal.as_ref().map_or(0, |refusal| refusal.code.code()),
        error_message: refusal.map(|refusal| text(&refusal.message)),
        entity,
        ..QuotaAnswer::default()
    }
}
