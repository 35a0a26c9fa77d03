//! Changing settings, for both calls that do it: resource by resource, each all or nothing.
//!
//! A resource that is named twice is not changed at all, for nobody can say which of the two was
//! meant last (rule M10).

use std::collections::{HashMap, HashSet};

use metadata::{Change, Command, Refusal, Resource, dry_run};
use wire::ErrorCode;
use wire::messages::{Message, Text, text};

use crate::config_resource;
use crate::dispatch::{Context, Handled, Reply, Request};
use crate::loggers::{self, BROKER_LOGGER};

/// A resource as the request names it, and what is to happen to its settings.
pub struct Wanted {
    /// Kafka's number for the kind of resource.
    pub kind: i8,
    /// Its name.
    pub name: Text,
    /// The changes, or why they make no sense.
    pub changes: Result<Vec<Change>, Refusal>,
}

/// What became of a resource.
pub struct Outcome {
    /// Kafka's number for the kind of resource.
    pub kind: i8,
    /// Its name.
    pub name: Text,
    /// Kafka's error, 0 for none.
    pub error: i16,
    /// The words for it.
    pub message: Option<Text>,
}

/// How the changes are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// What is not named goes back to its default.
    Replace,
    /// What is not named stays.
    Amend,
}

/// Puts the changes before the cluster, or only asks whether they would be taken; `respond` makes
/// the answer of what became of them.
pub fn change_all<R: Message>(
    context: &Context,
    request: Request,
    mode: Mode,
    validate_only: bool,
    wanted: Vec<Wanted>,
    respond: impl FnOnce(Vec<Outcome>) -> R + 'static,
) -> Handled {
    let context = context.clone();
    Ok(Reply::later(async move {
        let twice = twice(wanted.iter().map(|one| (one.kind, one.name.clone())));
        let mut outcomes = Vec::with_capacity(wanted.len());
        for one in wanted {
            let outcome = if twice.contains(&(one.kind, one.name.clone())) {
                Err(invalid("Each resource must appear at most once.".into()))
            } else {
                let named = (one.kind, one.name.as_str());
                change(&context, mode, validate_only, named, one.changes).await
            };
            let refusal = outcome.err();
            outcomes.push(Outcome {
                kind: one.kind,
                name: one.name,
                error: refusal.as_ref().map_or(0, |refusal| refusal.code.code()),
                message: refusal.map(|refusal| text(&refusal.message)),
            });
        }
        request.answer(&respond(outcomes))
    }))
}

/// A refusal of the request's own form.
pub fn invalid(message: String) -> Refusal {
    Refusal {
        code: ErrorCode::InvalidRequest,
        message,
    }
}

fn twice(named: impl Iterator<Item = (i8, Text)>) -> HashSet<(i8, Text)> {
    let mut counts: HashMap<(i8, Text), usize> = HashMap::new();
    for resource in named {
        *counts.entry(resource).or_default() += 1;
    }
    counts.retain(|_, count| *count > 1);
    counts.into_keys().collect()
}

async fn change(
    context: &Context,
    mode: Mode,
    validate_only: bool,
    (kind, name): (i8, &str),
    changes: Result<Vec<Change>, Refusal>,
) -> Result<(), Refusal> {
    let changes = changes?;
    if kind == BROKER_LOGGER && mode == Mode::Amend {
        return loggers::change(&context.node, name, &changes, validate_only);
    }
    let resource = config_resource::parse(kind, name)?;
    let image = context.node.image();
    match &resource {
        Resource::Topic(name) => config_resource::check_topic_exists(&image, name)?,
        Resource::Broker(id) => config_resource::check_broker_is_ours(context.node.id, *id)?,
        Resource::ClusterDefault | Resource::Group(_) => {}
    }
    let command = Command::ChangeConfig {
        resource,
        replace: mode == Mode::Replace,
        changes,
    };
    if validate_only {
        return dry_run(&image, command).accepted().map(drop);
    }
    context.node.propose(command).await.map(drop)
}
