//! IncrementalAlterConfigs: single keys set, deleted, appended to, subtracted from (rule M12).

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
        let mut responses = Vec::with_capacity(asked.resources.len());
        for (at, resource) in asked.resources.iter().enumerate() {
            let twice = asked.resources.iter().enumerate().any(|(other, named)| {
                other != at
                    && named.resource_type == resource.resource_type
                    && named.resource_name == resource.resource_name
            });
            let changes = if twice {
                Err(Refusal {
                    code: ErrorCode::InvalidRequest,
                    message: "Each resource must appear at most once.".into(),
                })
            } else {
                changes(resource)
            };
            let outcome = change_resource(
                &context,
                (resource.resource_type, resource.resource_name.as_str()),
                false,
                changes,
                asked.validate_only,
            )
            .await;
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

/// Puts the changes of one resource, (type, name), before the cluster.
///
/// # Errors
/// The resource is not there, or the cluster's refusal.
pub async fn change_resource(
    context: &Context,
    (kind, name): (i8, &str),
    replace: bool,
    changes: Result<Vec<Change>, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let resource = config_resource::parse(kind, name)?;
    let image = context.node.image();
    if let Resource::Topic(name) = &resource {
        config_resource::check_topic_exists(&image, name)?;
    }
    let command = Command::ChangeConfig {
        resource,
        replace,
        changes: changes?,
    };
    if validate_only {
        return dry_run(&image, command).accepted().map(drop);
    }
    context.node.propose(command).await.map(drop)
}

fn changes(resource: &AlterConfigsResource) -> Result<Vec<Change>, Refusal> {
    let refuse = |message: String| {
        Err(Refusal {
            code: ErrorCode::InvalidRequest,
            message,
        })
    };
    let mut changes: Vec<Change> = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        let name = config.name.as_str();
        let operation = match config.config_operation {
            0 => Operation::Set,
            1 => Operation::Delete,
            2 => Operation::Append,
            3 => Operation::Subtract,
            other => return refuse(format!("Unknown operation type {other} for {name}.")),
        };
        if changes.iter().any(|change| change.name == name) {
            return refuse(format!("{name} is named more than once."));
        }
        if operation != Operation::Delete && config.value.is_none() {
            return refuse(format!("{name} has no value."));
        }
        changes.push(Change {
            name: name.to_owned(),
            operation,
            value: config.value.as_ref().map(|value| value.as_str().to_owned()),
        });
    }
    Ok(changes)
}
