//! IncrementalAlterConfigs: single keys set, deleted, appended to, subtracted from (rule M12).

use std::collections::HashSet;

use metadata::{Change, Operation, Refusal};
use wire::messages::incremental_alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, Request as Asked, Response,
};

use crate::config_change::{Mode, Outcome, Wanted, change_all, invalid};
use crate::dispatch::{Context, Handled, Request};

/// Changes the resources one after the other, each all or nothing (rule M10).
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let wanted = asked.resources.iter().map(|resource| Wanted {
        kind: resource.resource_type,
        name: resource.resource_name.clone(),
        changes: changes(resource),
    });
    let (mode, wanted) = (Mode::Amend, wanted.collect());
    change_all(context, request, mode, asked.validate_only, wanted, respond)
}

fn respond(outcomes: Vec<Outcome>) -> Response {
    let responses = outcomes
        .into_iter()
        .map(|one| AlterConfigsResourceResponse {
            error_code: one.error,
            error_message: one.message,
            resource_type: one.kind,
            resource_name: one.name,
            ..AlterConfigsResourceResponse::default()
        });
    Response {
        responses: responses.collect(),
        ..Response::default()
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
