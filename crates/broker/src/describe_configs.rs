//! DescribeConfigs: every key of a resource with its value, source, type and synonyms (rule M11).

use metadata::config::{
    Effect, Effective, Layers, Source, describe_broker, describe_group, describe_topic,
};
use metadata::{Image, Refusal, Resource};
use wire::messages::describe_configs::{
    DescribeConfigsResource, DescribeConfigsResourceResult, DescribeConfigsResult,
    DescribeConfigsSynonym, Request as Asked, Response,
};
use wire::messages::text;

use crate::config_resource::{self, Scope};
use crate::config_view::{shown_value, topic_layers};
use crate::dispatch::{Context, Handled, Request};
use crate::loggers::{self, BROKER_LOGGER, Level};

/// Kafka's number for a level as the source of a value (DescribeConfigsResponse.java).
const DYNAMIC_BROKER_LOGGER: i8 = 6;

/// Answers each resource from the image at hand (rule M10).
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let image = context.node.image();
    let results = asked
        .resources
        .iter()
        .map(|resource| {
            let mut result = DescribeConfigsResult {
                resource_type: resource.resource_type,
                resource_name: text(resource.resource_name.as_str()),
                ..DescribeConfigsResult::default()
            };
            if resource.resource_type == BROKER_LOGGER {
                match loggers::describe(&context.node, resource.resource_name.as_str()) {
                    Ok(levels) => {
                        result.configs = levels
                            .iter()
                            .filter(|(name, _)| is_wanted(resource, name))
                            .map(|(name, level)| logger(name, *level))
                            .collect();
                    }
                    Err(refusal) => refuse(&mut result, &refusal),
                }
                return result;
            }
            match describe(context, &image, resource) {
                Ok((effective, scope)) => {
                    result.configs = effective
                        .iter()
                        .filter(|one| is_wanted(resource, one.key.name))
                        .map(|one| config(one, scope, &asked))
                        .collect();
                }
                Err(refusal) => refuse(&mut result, &refusal),
            }
            result
        })
        .collect();
    request.reply(&Response {
        results,
        ..Response::default()
    })
}

fn refuse(result: &mut DescribeConfigsResult, refusal: &Refusal) {
    result.error_code = refusal.code.code();
    result.error_message = Some(text(&refusal.message));
}

/// A logger's level, as Kafka shows it: no default, no synonyms.
fn logger(name: &str, level: Level) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult {
        name: text(name),
        value: Some(text(level.name())),
        config_source: DYNAMIC_BROKER_LOGGER,
        ..DescribeConfigsResourceResult::default()
    }
}

fn describe(
    context: &Context,
    image: &Image,
    asked: &DescribeConfigsResource,
) -> Result<(Vec<Effective>, Scope), Refusal> {
    let resource = config_resource::parse(asked.resource_type, asked.resource_name.as_str())?;
    let scope = Scope::of(&resource);
    let effective = match &resource {
        Resource::Topic(name) => {
            config_resource::check_topic_exists(image, name)?;
            describe_topic(&topic_layers(context, image, Some(&resource)))
        }
        Resource::Group(_) => describe_group(&topic_layers(context, image, Some(&resource))),
        Resource::Broker(id) => {
            config_resource::check_broker_is_ours(context.node.id, *id)?;
            describe_broker(&topic_layers(context, image, None))
        }
        // Only what is set for all brokers, as Kafka does.
        Resource::ClusterDefault => describe_broker(&Layers {
            broker: None,
            ..topic_layers(context, image, None)
        })
        .into_iter()
        .filter(|one| one.source == Source::ClusterDefault)
        .map(|mut one| {
            one.synonyms
                .retain(|synonym| synonym.source == Source::ClusterDefault);
            one
        })
        .collect(),
    };
    Ok((effective, scope))
}

/// No list of keys means all of them; an empty one too, as Kafka takes it.
fn is_wanted(asked: &DescribeConfigsResource, name: &str) -> bool {
    match &asked.configuration_keys {
        None => true,
        Some(keys) => keys.is_empty() || keys.iter().any(|key| key.as_str() == name),
    }
}

fn config(effective: &Effective, scope: Scope, asked: &Asked) -> DescribeConfigsResourceResult {
    let key = effective.key;
    let synonyms = if asked.include_synonyms {
        effective
            .synonyms
            .iter()
            .map(|synonym| DescribeConfigsSynonym {
                name: text(synonym.name),
                value: if key.sensitive() {
                    None
                } else {
                    synonym.value.as_deref().map(text)
                },
                source: synonym.source.code(),
                ..DescribeConfigsSynonym::default()
            })
            .collect()
    } else {
        Vec::new()
    };
    DescribeConfigsResourceResult {
        name: text(key.name),
        value: shown_value(effective).map(|value| text(&value)),
        read_only: scope == Scope::Broker && !key.dynamic,
        config_source: effective.source.code(),
        is_sensitive: key.sensitive(),
        synonyms,
        config_type: key.kind.code(),
        documentation: asked
            .include_documentation
            .then(|| text(&documentation(effective))),
        ..DescribeConfigsResourceResult::default()
    }
}

/// What the key does, and whether it does that here.
fn documentation(effective: &Effective) -> String {
    let key = effective.key;
    match key.effect {
        Effect::Acts => key.doc.to_owned(),
        Effect::Accepted(why) => format!("{} No effect here: {why}.", key.doc),
        Effect::RefusedWhenOn(why) => format!("{} Refused when switched on: {why}.", key.doc),
        Effect::Foreign => format!("{} No effect here.", key.doc),
    }
}
