//! AlterConfigs: the older call, which replaces all settings of a resource.

use std::collections::HashSet;

use metadata::{Change, Operation, Refusal};
use wire::messages::alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, Request as Asked, Response,
};
use wire::messages::text;

use crate::dispatch::{Context, Handled, Reply, Request};
use crate::incremental_alter_configs::{change_resource, invalid, twice};

/// Replaces the settings of the resources one after the other (rule M10).
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
                change_resource(&context, named, true, changes, asked.validate_only).await;
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
