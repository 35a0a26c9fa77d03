//! IncrementalAlterConfigs: single keys set, deleted, appended to, subtracted from (rule M12).

use std::collections::{HashMap, HashSet};

use metadata::{Change, Command, Operation, Refusal, Resource, dry_run};
use wire::ErrorCode;
use wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, Request as Asked, Response,
};
use wire::messages::text;

use crate::config_resource;
use crate::dispatch::{Context, Handled, Reply, Request};

/// Changes the resources one after the other, each all or nothing (rule M10).
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let context = context.clone();
    Ok(Reply::later(async move {
        let named = asked.resources.iter();
        let twice = twice(named.map(|one| (one.resource_type, one.resource_name.as_str())));
        let mut responses = Vec::with_capacity(asked.resources.len());
        for resource in &asked.resources {
            let named = (resource.resource_type, resource.resource_name.as_str());
            let changes = if twice.contains(&named) {
                Err(invalid("Each resource must appear at most once.".into()))
            } else {
                changes(resource)
            };
            let outcome =
                change_resource(&context, named, false, changes, asked.validate_only).await;
            let mut response = AlterConfigsResourceResponse {
                resource_type: resource.resource_type,
                resource_name: text(resource.resource_name.as_str()),
                ..AlterConfigsResourceResponse::default()
            };
            if let Err(refusal) = outcome {
                response.error_code = refusal.code.code();
                response.error_message = Some(text(&refusal.message));
            }
            responses.push(response);
        }
        request.answer(&Response {
            responses,
            ..Response::default()
        })
    }))
}

/// The resources, (type, name), that are named more than once: none of them is changed.
pub fn twice<'a>(named: impl Iterator<Item = (i8, &'a str)>) -> HashSet<(i8, &'a str)> {
    let mut counts: HashMap<(i8, &str), usize> = HashMap::new();
    for resource in named {
        *counts.entry(resource).or_default() += 1;
    }
    counts.retain(|_, count| *count > 1);
    counts.into_keys().collect()
}

/// Puts the changes of one resource, (type, name), before the cluster.
///
/// # Errors
/// The changes make no sense, the resource is not there, or the cluster's refusal.
pub async fn change_resource(
    context: &Context,
    (kind, name): (i8, &str),
    replace: bool,
    changes: Result<Vec<Change>, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let changes = changes?;
    let resource = config_resource::parse(kind, name)?;
    let image = context.node.image();
    match &resource {
        Resource::Topic(name) => config_resource::check_topic_exists(&image, name)?,
        Resource::Broker(id) => config_resource::check_broker_is_ours(context.node.id, *id)?,
        Resource::ClusterDefault | Resource::Group(_) => {}
    }
    let command = Command::ChangeConfig {
        resource,
        replace,
        changes,
    };
    if validate_only {
        return dry_run(&image, command).accepted().map(drop);
    }
    context.node.propose(command).await.map(drop)
}

/// A refusal of the request's own form.
pub fn invalid(message: String) -> Refusal {
    Refusal {
        code: ErrorCode::InvalidRequest,
        message,
    }
}

fn changes(resource: &AlterConfigsResource) -> Result<Vec<Change>, Refusal> {
    let mut names = HashSet::with_capacity(resource.configs.len());
    let mut changes: Vec<Change> = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        let name = config.name.as_str();
        let operation = match config.config_operation {
            0 => Operation::Set,
            1 => Operation::Delete,
            2 => Operation::Append,
            3 => Operation::Subtract,
            other => {
                return Err(invalid(format!(
                    "Unknown operation type {other} for {name}."
                )));
            }
        };
        if !names.insert(name) {
            return Err(invalid(format!("Duplicate config key: {name}")));
        }
        if operation != Operation::Delete && config.value.is_none() {
            return Err(invalid(format!("Null value not supported for: {name}")));
        }
        changes.push(Change {
            name: name.to_owned(),
            operation,
            value: config.value.as_ref().map(|value| value.as_str().to_owned()),
        });
    }
    Ok(changes)
}
