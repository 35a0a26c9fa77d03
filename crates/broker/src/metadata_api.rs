//! Metadata: brokers, topics, leaders, from the image; and topics created by being asked for.

use std::collections::HashSet;
use std::sync::Arc;

use metadata::{Image, Partition, Topic, check_name};
use wire::ErrorCode;
use wire::ids::{BrokerId, TopicId};
use wire::messages::metadata::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic, Request as Asked,
    Response,
};
use wire::messages::{Text, text};

use crate::authorized;
use crate::dispatch::{Context, Handled, Request};
use crate::node::Node;

/// Answers from the image at hand.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let version = request.version();
    let image = context.node.image();
    let mut answer = Response {
        brokers: brokers(context, &image),
        cluster_id: image.cluster_id().map(text),
        // rule M8: an alive broker; in a cluster of one that is us.
        controller_id: context.node.id.0,
        topics: topics(context, &image, &asked, version),
        ..Response::default()
    };
    if (8..=10).contains(&version) && asked.include_cluster_authorized_operations {
        answer.cluster_authorized_operations = authorized::CLUSTER;
    }
    request.reply(&answer)
}

/// Every broker that serves, with the address this client should use.
pub fn brokers(context: &Context, image: &Image) -> Vec<MetadataResponseBroker> {
    image
        .brokers()
        .filter(|broker| broker.is_active())
        .filter_map(|broker| {
            let (host, port) = context.node.address_of(context, broker)?;
            Some(MetadataResponseBroker {
                node_id: broker.id.0,
                host: text(&host),
                port: i32::from(port),
                rack: broker.rack.as_deref().map(text),
                ..MetadataResponseBroker::default()
            })
        })
        .collect()
}

fn topics(
    context: &Context,
    image: &Image,
    asked: &Asked,
    version: i16,
) -> Vec<MetadataResponseTopic> {
    let with_operations = version >= 8 && asked.include_topic_authorized_operations;
    let described = |topic: &Topic| describe_topic(image, topic, with_operations);
    // rule M5
    let named = match &asked.topics {
        None => return image.topics().map(|topic| described(topic)).collect(),
        Some(named) if named.is_empty() && version == 0 => {
            return image.topics().map(|topic| described(topic)).collect();
        }
        Some(named) => named,
    };
    let may_create = asked.allow_auto_topic_creation && context.node.auto_create_topics();
    let mut seen = HashSet::new();
    let mut answers = Vec::with_capacity(named.len());
    for topic in named {
        let id = TopicId::from(topic.topic_id);
        let answer = match &topic.name {
            // rule M5
            _ if version < 12 && (topic.name.is_none() || !id.is_none()) => failed(
                Some(topic.name.as_ref().map_or("", Text::as_str)),
                id,
                ErrorCode::InvalidRequest,
            ),
            _ if !id.is_none() => match image.topic_by_id(id) {
                Some(known) => described(known),
                None => failed(None, id, ErrorCode::UnknownTopicId),
            },
            None => failed(None, id, ErrorCode::InvalidRequest),
            Some(name) => match image.topic(name.as_str()) {
                Some(known) => described(known),
                None => {
                    let error = missing(&context.node, name.as_str(), may_create);
                    failed(Some(name.as_str()), id, error)
                }
            },
        };
        let key = (
            answer.name.as_ref().map(|name| name.to_string()),
            answer.topic_id.to_string(),
        );
        if seen.insert(key) {
            answers.push(answer);
        }
    }
    answers
}

/// What to say of a topic that does not exist; starts to create it if that is allowed.
// rule M6
fn missing(node: &Arc<Node>, name: &str, may_create: bool) -> ErrorCode {
    if check_name(name).is_err() {
        return ErrorCode::InvalidTopicException;
    }
    if may_create {
        node.create_topic_soon(name);
    }
    ErrorCode::UnknownTopicOrPartition
}

fn failed(name: Option<&str>, id: TopicId, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic {
        error_code: error.code(),
        name: name.map(text),
        topic_id: id.into(),
        ..MetadataResponseTopic::default()
    }
}

fn describe_topic(image: &Image, topic: &Topic, with_operations: bool) -> MetadataResponseTopic {
    let mut described = MetadataResponseTopic {
        name: Some(text(&topic.name)),
        topic_id: topic.id.into(),
        is_internal: is_internal(&topic.name),
        partitions: topic
            .partitions
            .iter()
            .enumerate()
            .map(|(number, partition)| describe_partition(image, number, partition))
            .collect(),
        ..MetadataResponseTopic::default()
    };
    if with_operations {
        described.topic_authorized_operations = authorized::TOPIC;
    }
    described
}

/// What clients are told of one partition.
pub fn describe_partition(
    image: &Image,
    number: usize,
    partition: &Partition,
) -> MetadataResponsePartition {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| broker.0).collect::<Vec<i32>>();
    let leader = partition.leader.filter(|leader| {
        image
            .broker(*leader)
            .is_some_and(|broker| broker.is_active())
    });
    let offline = partition
        .replicas
        .as_slice()
        .iter()
        .filter(|replica| {
            !image
                .broker(**replica)
                .is_some_and(|broker| broker.is_active())
        })
        .map(|replica| replica.0)
        .collect();
    MetadataResponsePartition {
        error_code: match leader {
            Some(_) => ErrorCode::None.code(),
            None => ErrorCode::LeaderNotAvailable.code(),
        },
        partition_index: i32::try_from(number).unwrap_or(i32::MAX),
        leader_id: leader.unwrap_or(BrokerId::NONE).0,
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: ids(partition.replicas.as_slice()),
        isr_nodes: ids(partition.isr.as_slice()),
        offline_replicas: offline,
        ..MetadataResponsePartition::default()
    }
}

/// Whether a topic is the cluster's own; clients hide those.
pub fn is_internal(topic: &str) -> bool {
    topic == crate::group_host::OFFSETS_TOPIC || topic == "__transaction_state"
}
