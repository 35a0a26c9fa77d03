//! CreateTopics: each topic is one command, decided where all metadata is decided.

use std::collections::BTreeMap;

use metadata::config::{Effective, describe_topic};
use metadata::{Answer, Command, Image, Placement, Refusal, check_name, dry_run};
use wire::ErrorCode;
use wire::ids::{BrokerId, TopicId};
use wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfigs, CreatableTopicResult,
    Request as Asked, Response,
};
use wire::messages::{Uuid, text};

use crate::config_view::{shown_value, topic_layers};
use crate::dispatch::{Context, Handled, Reply, Request};
use crate::mentions::Mentions;
use crate::node::create_topic;
use crate::quotas::Mutations;

/// `-1` asks for the broker's default (rule M9).
const DEFAULT: i32 = -1;

/// The first version whose clients know that they may have to come back.
const STRICT_VERSION: i16 = 6;

/// Kafka's own log of metadata; tools take a topic of this name for it.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Creates the topics one after the other; each has its own answer (rule M10).
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let context = context.clone();
    Ok(Reply::later(async move {
        let strict = request.version() >= STRICT_VERSION;
        let mut mutations = Mutations::new(request.meters.clone(), strict);
        let mut mentions = Mentions::of(asked.topics.iter().map(|topic| topic.name.as_str()));
        let mut results = Vec::with_capacity(asked.topics.len());
        for topic in &asked.topics {
            let name = topic.name.as_str();
            match mentions.take(name) {
                Some(Ok(())) => {
                    let validate_only = asked.validate_only;
                    results.push(create_one(&context, topic, validate_only, &mut mutations).await);
                }
                Some(Err(refusal)) => results.push(refused(name, refusal)),
                None => {}
            }
        }
        let outgoing = request.answer(&Response {
            topics: results,
            ..Response::default()
        })?;
        Ok(outgoing.throttled(mutations.throttle(context.reactor.now())))
    }))
}

async fn create_one(
    context: &Context,
    topic: &CreatableTopic,
    validate_only: bool,
    mutations: &mut Mutations,
) -> CreatableTopicResult {
    let name = topic.name.as_str();
    let command = match plan(context, topic) {
        Ok(command) => command,
        Err(refusal) => return refused(name, refusal),
    };
    let (placements, settings) = match &command {
        Command::CreateTopic {
            partitions,
            settings,
            ..
        } => (partitions.clone(), settings.clone()),
        _ => (Vec::new(), Vec::new()),
    };
    let foreseen = if validate_only || mutations.are_measured() {
        Some(dry_run(&context.node.image(), command.clone()).accepted())
    } else {
        None
    };
    // What is refused anyway costs nothing; what is only asked for costs as much as on Kafka.
    let taken = match &foreseen {
        Some(Err(_)) => Ok(()),
        _ => mutations.take(placements.len(), context.reactor.now()),
    };
    let decided = match (taken, foreseen) {
        (Err(refusal), _) => Err(refusal),
        (Ok(()), Some(foreseen)) if validate_only => foreseen,
        _ => context.node.propose(command).await,
    };
    match decided {
        Err(refusal) => refused(name, refusal),
        Ok(answer) => {
            let id = match answer {
                // Nothing was created: there is no identity to tell.
                Answer::TopicCreated { .. } if validate_only => TopicId::NONE,
                Answer::TopicCreated { id } => id,
                _ => TopicId::NONE,
            };
            created(context, name, id, &placements, &settings)
        }
    }
}

/// The command for one asked topic.
///
/// Names are looked at first, as Kafka does: who asks for a topic that is there is told so, even
/// if it could not be placed like that.
fn plan(context: &Context, topic: &CreatableTopic) -> Result<Command, Refusal> {
    let name = topic.name.as_str();
    check_name(name).map_err(|reason| Refusal {
        code: ErrorCode::InvalidTopicException,
        message: reason,
    })?;
    if context.node.image().topic(name).is_some() {
        return Err(Refusal {
            code: ErrorCode::TopicAlreadyExists,
            message: format!("Topic '{name}' already exists."),
        });
    }
    if name == METADATA_TOPIC {
        return Err(Refusal {
            code: ErrorCode::InvalidRequest,
            message: format!("Creation of internal topic {METADATA_TOPIC} is prohibited."),
        });
    }
    let settings = topic
        .configs
        .iter()
        .map(|config| match &config.value {
            Some(value) => Ok((config.name.as_str().to_owned(), value.as_str().to_owned())),
            None => Err(Refusal {
                code: ErrorCode::InvalidConfig,
                message: format!(
                    "Null value not supported for topic configs: {}",
                    config.name
                ),
            }),
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    if topic.assignments.is_empty() {
        // Kafka's tools send the default to older versions as well, and its broker takes it.
        let partitions = (topic.num_partitions != DEFAULT).then_some(topic.num_partitions);
        let replication =
            (i32::from(topic.replication_factor) != DEFAULT).then_some(topic.replication_factor);
        return context
            .node
            .plan_topic(name, partitions, replication, settings);
    }
    if topic.num_partitions != DEFAULT || i32::from(topic.replication_factor) != DEFAULT {
        return Err(Refusal {
            code: ErrorCode::InvalidRequest,
            message: "With a manual partition assignment, the number of partitions and the \
                      replication factor must be -1."
                .into(),
        });
    }
    let placements = assigned(&context.node.image(), &topic.assignments)?;
    Ok(create_topic(
        name,
        context.node.new_topic_id(),
        placements,
        settings,
    ))
}

/// A client's own placement, by partition number from 0 on.
fn assigned(
    image: &Image,
    assignments: &[CreatableReplicaAssignment],
) -> Result<Vec<Placement>, Refusal> {
    let mut by_partition = BTreeMap::new();
    for assignment in assignments {
        let brokers: Vec<BrokerId> = assignment
            .broker_ids
            .iter()
            .copied()
            .map(BrokerId)
            .collect();
        if by_partition
            .insert(assignment.partition_index, brokers)
            .is_some()
        {
            return Err(bad_assignment(format!(
                "Partition {} is assigned more than once.",
                assignment.partition_index
            )));
        }
    }
    let dense = by_partition
        .keys()
        .enumerate()
        .all(|(at, partition)| usize::try_from(*partition) == Ok(at));
    if !dense {
        return Err(bad_assignment(
            "Partitions must be numbered from 0 without gaps.".into(),
        ));
    }
    by_partition
        .into_values()
        .map(|brokers| place_on(image, brokers))
        .collect()
}

/// A placement on these brokers.
///
/// # Errors
/// No broker, one twice, or one that is not there.
pub fn place_on(image: &Image, brokers: Vec<BrokerId>) -> Result<Placement, Refusal> {
    if brokers.is_empty() {
        return Err(bad_assignment("A partition has no replica.".into()));
    }
    let mut directories = Vec::with_capacity(brokers.len());
    for (at, id) in brokers.iter().enumerate() {
        if brokers[..at].contains(id) {
            return Err(bad_assignment(format!("Broker {id} is named twice.")));
        }
        let Some(broker) = image.broker(*id) else {
            return Err(bad_assignment(format!("There is no broker {id}.")));
        };
        directories.push(broker.directories.first().copied().unwrap_or_default());
    }
    Ok(Placement {
        replicas: brokers,
        directories,
    })
}

fn bad_assignment(message: String) -> Refusal {
    Refusal {
        code: ErrorCode::InvalidReplicaAssignment,
        message,
    }
}

fn created(
    context: &Context,
    name: &str,
    id: TopicId,
    placements: &[Placement],
    settings: &[(String, String)],
) -> CreatableTopicResult {
    let own = settings
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    let image = context.node.image();
    let mut layers = topic_layers(context, &image, None);
    layers.own = Some(&own);
    CreatableTopicResult {
        name: text(name),
        topic_id: Uuid::from(id),
        num_partitions: i32::try_from(placements.len()).unwrap_or(i32::MAX),
        replication_factor: placements
            .first()
            .and_then(|placement| i16::try_from(placement.replicas.len()).ok())
            .unwrap_or(0),
        configs: Some(describe_topic(&layers).iter().map(config).collect()),
        ..CreatableTopicResult::default()
    }
}

fn config(effective: &Effective) -> CreatableTopicConfigs {
    CreatableTopicConfigs {
        name: text(effective.key.name),
        value: shown_value(effective).map(|value| text(&value)),
        read_only: false,
        config_source: effective.source.code(),
        is_sensitive: effective.key.sensitive(),
        ..CreatableTopicConfigs::default()
    }
}

fn refused(name: &str, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: text(name),
        error_code: refusal.code.code(),
        error_message: Some(text(&refusal.message)),
        // Null would say that the asker may not see them.
        configs: Some(Vec::new()),
        ..CreatableTopicResult::default()
    }
}
