//! Settings as clients see them: which layers hold for a resource, which values may be shown.

use metadata::config::{Effective, Layers};
use metadata::{Image, Resource};

use crate::dispatch::Context;

/// The layers below a topic's or group's own settings, and these if the resource is known.
pub fn topic_layers<'a>(
    context: &'a Context,
    image: &'a Image,
    own: Option<&Resource>,
) -> Layers<'a> {
    Layers {
        own: own.and_then(|resource| image.config(resource)),
        broker: image.config(&Resource::Broker(context.node.id)),
        cluster: image.config(&Resource::ClusterDefault),
        fixed: &context.node.settings,
    }
}

/// The value, unless it is a secret.
pub fn shown_value(effective: &Effective) -> Option<String> {
    if effective.key.sensitive() {
        return None;
    }
    effective.value.clone()
}
