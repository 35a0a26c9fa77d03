//! ListConfigResources: the names that have, or may have, configuration. Version 0 was
//! ListClientMetricsResources and lists those alone.

use metadata::{Image, Resource};
use wire::ErrorCode;
use wire::messages::list_config_resources::{ConfigResource, Request as Asked, Response};
use wire::messages::text;

use crate::dispatch::{Context, Handled, Request};
use crate::loggers::BROKER_LOGGER;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// What is listed when nothing is named.
const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

/// Answers from the image at hand.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let known = match request.version() {
        0 => &[CLIENT_METRICS][..],
        _ => &ALL,
    };
    let wanted: Vec<i8> = match asked.resource_types.as_slice() {
        [] => known.to_vec(),
        named => named.to_vec(),
    };
    if wanted.iter().any(|kind| !known.contains(kind)) {
        return request.reply(&Response {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Response::default()
        });
    }
    let image = context.node.image();
    let kinds = ALL.iter().filter(|kind| wanted.contains(kind));
    request.reply(&Response {
        config_resources: kinds.flat_map(|kind| list(&image, *kind)).collect(),
        ..Response::default()
    })
}

fn list(image: &Image, kind: i8) -> Vec<ConfigResource> {
    let named = |name: &str| ConfigResource {
        resource_name: text(name),
        resource_type: kind,
        ..ConfigResource::default()
    };
    match kind {
        TOPIC => image.topics().map(|topic| named(&topic.name)).collect(),
        BROKER | BROKER_LOGGER => image
            .brokers()
            .map(|broker| named(&broker.id.0.to_string()))
            .collect(),
        GROUP => image
            .configs()
            .filter_map(|(resource, _)| match resource {
                Resource::Group(name) => Some(named(name)),
                _ => None,
            })
            .collect(),
        // No client's metrics are taken here.
        _ => Vec::new(),
    }
}
