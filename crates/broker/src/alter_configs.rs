//! AlterConfigs: the older call, which replaces all settings of a resource (rule M10).

use std::collections::HashSet;

use metadata::{Change, Operation, Refusal};
use wire::messages::alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, Request as Asked, Response,
};

use crate::config_change::{Mode, Outcome, Wanted, change_all, invalid};
use crate::dispatch::{Context, Handled, Request};

/// Replaces the settings of the resources one after the other.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let wanted = asked.resources.iter().map(|resource| Wanted {
        kind: resource.resource_type,
        name: resource.resource_name.clone(),
        changes: changes(resource),
    });
    let (mode, wanted) = (Mode::Replace, wanted.collect());
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

/// Everything is set; what is not named goes back to its default.
fn changes(resource: &AlterConfigsResource) -> Result<Vec<Change>, Refusal> {
    let mut names = HashSet::with_capacity(resource.configs.len());
    let mut changes = Vec::with_capacity(resource.configs.len());
    for config in &resource.configs {
        let name = config.name.as_str();
        if !names.insert(name) {
            return Err(invalid(format!("Duplicate config key: {name}")));
        }
        let Some(value) = &config.value else {
            return Err(invalid(format!("Null value not supported for: {name}")));
        };
        changes.push(Change {
            name: name.to_owned(),
            operation: Operation::Set,
            value: Some(value.as_str().to_owned()),
        });
    }
    Ok(changes)
}
