//! AlterConfigs: the older call, which replaces all settings of a resource.

use metadata::{Change, Operation};
use wire::messages::alter_configs::{
    AlterConfigsResource, AlterConfigsResourceResponse, Request as Asked, Response,
};
use wire::messages::text;

use crate::dispatch::{Context, Handled, Reply, Request};
use crate::incremental_alter_configs::change_resource;

/// Replaces the settings of the resources one after the other (rule M10).
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let context = context.clone();
    Ok(Reply::later(async move {
        let mut responses = Vec::with_capacity(asked.resources.len());
        for resource in &asked.resources {
            let changes = changes(resource);
            let outcome = change_resource(
                &context,
                (resource.resource_type, resource.resource_name.as_str()),
                true,
                Ok(changes),
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

/// A null value means the default, which is what a key that is not named gets as well.
fn changes(resource: &AlterConfigsResource) -> Vec<Change> {
    resource
        .configs
        .iter()
        .map(|config| Change {
            name: config.name.as_str().to_owned(),
            operation: match config.value {
                Some(_) => Operation::Set,
                None => Operation::Delete,
            },
            value: config.value.as_ref().map(|value| value.as_str().to_owned()),
        })
        .collect()
}
