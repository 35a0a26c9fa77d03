//! DescribeClientQuotas: the quotas that were set, for the entities a filter lets through.

use metadata::{Image, QuotaEntity, QuotaMap, Refusal, Whom};
use wire::ErrorCode;
use wire::messages::describe_client_quotas::{
    ComponentData, EntityData, EntryData, Request as Asked, Response, ValueData,
};
use wire::messages::{Text, text};

use crate::dispatch::{Context, Handled, Request};

/// The part has exactly this name.
const EXACT: i8 = 0;
/// The part is the default.
const DEFAULT: i8 = 1;
/// The part is there.
const SPECIFIED: i8 = 2;

/// Answers from the image at hand.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let response = match filter(&asked.components) {
        Ok(filter) => Response {
            entries: Some(found(&context.node.image(), &filter, asked.strict)),
            ..Response::default()
        },
        Err(refusal) => Response {
            error_code: refusal.code.code(),
            error_message: Some(text(&refusal.message)),
            entries: None,
            ..Response::default()
        },
    };
    request.reply(&response)
}

/// What one part of an entity must be.
enum Wanted {
    This(Whom),
    Any,
}

/// By kind of part, each at most once.
type Filter = Vec<(&'static str, Wanted)>;

fn filter(components: &[ComponentData]) -> Result<Filter, Refusal> {
    let mut filter = Filter::new();
    for component in components {
        let kind = component.entity_type.as_str();
        if kind.is_empty() {
            return Err(invalid("Invalid empty entity type."));
        }
        if filter.iter().any(|(known, _)| *known == kind) {
            return Err(invalid(&format!(
                "Entity type {kind} cannot appear more than once in the filter."
            )));
        }
        let Some(kind) = QuotaEntity::TYPES.into_iter().find(|known| *known == kind) else {
            return Err(Refusal {
                code: ErrorCode::UnsupportedVersion,
                message: format!("Unsupported entity type {kind}"),
            });
        };
        let name = component.r#match.as_ref().map(Text::as_str);
        let wanted = match (component.match_type, name) {
            (EXACT, Some(name)) => Wanted::This(Whom::Named(name.into())),
            (EXACT, None) => {
                return Err(invalid(
                    "Request specified MATCH_TYPE_EXACT, but set match string to null.",
                ));
            }
            (DEFAULT, None) => Wanted::This(Whom::Default),
            (DEFAULT, Some(_)) => {
                return Err(invalid(
                    "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.",
                ));
            }
            (SPECIFIED, None) => Wanted::Any,
            (SPECIFIED, Some(_)) => {
                return Err(invalid(
                    "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.",
                ));
            }
            (other, _) => return Err(invalid(&format!("Unknown match type {other}"))),
        };
        filter.push((kind, wanted));
    }
    let of_address = filter.iter().any(|(kind, _)| *kind == "ip");
    if of_address && filter.len() > 1 {
        return Err(invalid(
            "Invalid entity filter component combination. IP filter component should not be used \
             with user or clientId filter component.",
        ));
    }
    Ok(filter)
}

fn found(image: &Image, filter: &Filter, strict: bool) -> Vec<EntryData> {
    let passes = |entity: &QuotaEntity| {
        let part = |wanted: &str| entity.parts().find(|(kind, _)| *kind == wanted);
        let all = filter
            .iter()
            .all(|(kind, wanted)| match (part(kind), wanted) {
                (Some((_, whom)), Wanted::This(this)) => whom == this,
                (part, Wanted::Any) => part.is_some(),
                (None, Wanted::This(_)) => false,
            });
        all && (!strict || entity.parts().count() == filter.len())
    };
    image
        .quotas()
        .filter(|(entity, _)| passes(entity))
        .map(entry)
        .collect()
}

fn entry((entity, quotas): (&QuotaEntity, &QuotaMap)) -> EntryData {
    EntryData {
        entity: entity
            .parts()
            .map(|(kind, whom)| EntityData {
                entity_type: text(kind),
                entity_name: whom.name().map(text),
                ..EntityData::default()
            })
            .collect(),
        values: quotas
            .iter()
            .map(|(key, amount)| ValueData {
                key: text(key.name()),
                value: amount.value(),
                ..ValueData::default()
            })
            .collect(),
        ..EntryData::default()
    }
}

fn invalid(message: &str) -> Refusal {
    Refusal {
        code: ErrorCode::InvalidRequest,
        message: message.to_owned(),
    }
}
