//! DescribeTopicPartitions: topics and their partitions, page by page.

use std::collections::BTreeSet;

use metadata::{Image, check_name};
use wire::ErrorCode;
use wire::ids::TopicId;
use wire::messages::describe_topic_partitions::{
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
    Request as Asked, Response,
};
use wire::messages::{ResponseCursor, text};

use crate::authorized;
use crate::dispatch::{Context, Handled, Request};
use crate::metadata_api::{describe_partition, is_internal};

/// Partitions of one answer, whatever the client would take: Kafka's
/// `max.request.partition.size.limit`.
const PARTITIONS_MAX: usize = 2000;

/// Answers from the image at hand.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    request.reply(&describe(&context.node.image(), &asked))
}

fn describe(image: &Image, asked: &Asked) -> Response {
    let (first, first_partition) = match &asked.cursor {
        Some(cursor) => (cursor.topic_name.as_str(), cursor.partition_index),
        None => ("", 0),
    };
    // No names ask for every topic; those that are not there are told of only when named.
    let all = asked.topics.is_empty();
    let names: BTreeSet<&str> = if all {
        image.topics().map(|topic| &*topic.name).collect()
    } else {
        asked
            .topics
            .iter()
            .map(|topic| topic.name.as_str())
            .collect()
    };
    let names: Vec<&str> = names.into_iter().filter(|name| *name >= first).collect();
    let lost = asked.cursor.is_some() && !all && !names.contains(&first);
    let Some(start) = usize::try_from(first_partition).ok().filter(|_| !lost) else {
        return refused(asked);
    };
    let mut room = usize::try_from(asked.response_partition_limit)
        .unwrap_or(0)
        .clamp(1, PARTITIONS_MAX);
    let mut response = Response::default();
    for name in names {
        if room == 0 {
            response.next_cursor = cursor(name, 0);
            break;
        }
        let Some(topic) = image.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        let from = if name == first { start } else { 0 };
        let partitions: Vec<DescribeTopicPartitionsResponsePartition> = topic
            .partitions
            .iter()
            .enumerate()
            .skip(from)
            .take(room)
            .map(|(number, partition)| {
                let told = describe_partition(image, number, partition);
                DescribeTopicPartitionsResponsePartition {
                    error_code: ErrorCode::None.code(),
                    partition_index: told.partition_index,
                    leader_id: told.leader_id,
                    leader_epoch: told.leader_epoch,
                    replica_nodes: told.replica_nodes,
                    isr_nodes: told.isr_nodes,
                    eligible_leader_replicas: Some(Vec::new()),
                    last_known_elr: Some(Vec::new()),
                    offline_replicas: told.offline_replicas,
                    ..DescribeTopicPartitionsResponsePartition::default()
                }
            })
            .collect();
        let next = from.saturating_add(partitions.len());
        room -= partitions.len();
        response.topics.push(DescribeTopicPartitionsResponseTopic {
            error_code: ErrorCode::None.code(),
            name: Some(text(name)),
            topic_id: topic.id.into(),
            is_internal: is_internal(name),
            partitions,
            topic_authorized_operations: authorized::TOPIC,
            ..DescribeTopicPartitionsResponseTopic::default()
        });
        if next < topic.partitions.len() {
            response.next_cursor = cursor(name, next);
            break;
        }
    }
    response
}

fn cursor(topic: &str, partition: usize) -> Option<Box<ResponseCursor>> {
    Some(Box::new(ResponseCursor {
        topic_name: text(topic),
        partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
        ..ResponseCursor::default()
    }))
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let code = match check_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        topic_authorized_operations: authorized::TOPIC,
        ..failed(name, code)
    }
}

/// The cursor's topic is not among the named ones, or its partition is below 0: the answer has
/// no error of its own, so each named topic carries it.
fn refused(asked: &Asked) -> Response {
    Response {
        topics: asked
            .topics
            .iter()
            .map(|topic| failed(topic.name.as_str(), ErrorCode::InvalidRequest))
            .collect(),
        ..Response::default()
    }
}

fn failed(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(text(name)),
        topic_id: TopicId::NONE.into(),
        is_internal: is_internal(name),
        topic_authorized_operations: authorized::NOT_ASKED,
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}
