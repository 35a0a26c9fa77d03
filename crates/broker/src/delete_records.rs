//! DeleteRecords: the start of a partition moves up; the answer leaves when that is durable.

use std::collections::HashMap;

use commitlog::{LogError, Lsn};
use metadata::Image;
use wire::ErrorCode;
use wire::ids::Offset;
use wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsTopic,
    DeleteRecordsTopicResult, Request as Asked, Response,
};

use crate::dispatch::{Context, Handled, Reply, Request};
use crate::metadata_api::is_internal;

/// Asks for everything up to the high watermark.
const HIGH_WATERMARK: i64 = -1;

/// What a refused partition tells instead of its new start.
const LOW_WATERMARK_NONE: i64 = -1;

/// Trims each partition by itself, with an answer for each (rule M10).
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let image = context.node.image();
    let mut after = Lsn::ZERO;
    let topics = merged(asked.topics)
        .into_iter()
        .map(|topic| DeleteRecordsTopicResult {
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let mut result = DeleteRecordsPartitionResult {
                        partition_index: partition.partition_index,
                        low_watermark: LOW_WATERMARK_NONE,
                        ..DeleteRecordsPartitionResult::default()
                    };
                    match trim(context, &image, topic.name.as_str(), partition) {
                        Ok((start, lsn)) => {
                            result.low_watermark = start.0;
                            after = after.max(lsn);
                        }
                        Err(error) => result.error_code = error.code(),
                    }
                    result
                })
                .collect(),
            name: topic.name,
            ..DeleteRecordsTopicResult::default()
        })
        .collect();
    let outgoing = request.answer(&Response {
        topics,
        ..Response::default()
    })?;
    Ok(if after == Lsn::ZERO {
        Reply::Now(outgoing)
    } else {
        context.reactor.note_append();
        Reply::WhenDurable(after, outgoing)
    })
}

/// One entry for each topic and partition, in the order of their first mention: clients read the
/// answer into maps. A partition named twice is trimmed to the offset named last.
fn merged(asked: Vec<DeleteRecordsTopic>) -> Vec<DeleteRecordsTopic> {
    let mut topics: Vec<DeleteRecordsTopic> = Vec::with_capacity(asked.len());
    let mut topic_at: HashMap<String, usize> = HashMap::new();
    let mut partition_at: HashMap<(usize, i32), usize> = HashMap::new();
    for topic in asked {
        let at = *topic_at
            .entry(topic.name.to_string())
            .or_insert(topics.len());
        if at == topics.len() {
            topics.push(DeleteRecordsTopic {
                name: topic.name,
                ..DeleteRecordsTopic::default()
            });
        }
        let Some(known) = topics.get_mut(at) else {
            continue;
        };
        for partition in topic.partitions {
            let place = (at, partition.partition_index);
            let number = *partition_at.entry(place).or_insert(known.partitions.len());
            match known.partitions.get_mut(number) {
                Some(earlier) => *earlier = partition,
                None => known.partitions.push(partition),
            }
        }
    }
    topics
}

/// The new start of the log, and the LSN that must be durable before it is told.
fn trim(
    context: &Context,
    image: &Image,
    topic: &str,
    asked: &DeleteRecordsPartition,
) -> Result<(Offset, Lsn), ErrorCode> {
    let replica = context
        .node
        .partitions
        .by_name(image, topic, asked.partition_index)?;
    // The coordinators' records are state, not history.
    if is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    if replica.leading().is_none() {
        return Err(ErrorCode::NotLeaderOrFollower);
    }
    // A topic that is only compacted keeps the last record of every key.
    if !replica.settings().cleanup.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let to = match asked.offset {
        HIGH_WATERMARK => replica.log.offsets().high_watermark,
        offset if offset < 0 => return Err(ErrorCode::OffsetOutOfRange),
        offset => Offset(offset),
    };
    let lsn = replica
        .log
        .advance_log_start(to)
        .map_err(|error| match error {
            LogError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
            LogError::Closed => ErrorCode::NotLeaderOrFollower,
            // Retriable, a full staging buffer included: the client comes back.
            _ => ErrorCode::KafkaStorageError,
        })?;
    // An offset below the start asks for nothing; the start stays where it is.
    Ok((replica.log.offsets().log_start, lsn))
}
