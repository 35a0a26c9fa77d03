//! ListOffsets: where a partition begins and ends, and which offset belongs to a time.

use commitlog::{Offsets, ReadError, TimestampedOffset};
use wire::ErrorCode;
use wire::ids::{LeaderEpoch, Offset};
use wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopicResponse, Request as Asked,
    Response,
};

use crate::dispatch::{Context, Handled, Request};
use crate::replica::Replica;

/// Timestamps with a meaning of their own.
// rule M1
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// `isolation_level` of a reader of committed records.
const READ_COMMITTED: i8 = 1;

/// An offset, the timestamp it has, and the epoch it was written in.
struct Found {
    offset: Offset,
    timestamp: i64,
    epoch: LeaderEpoch,
}

const NOTHING: Found = Found {
    offset: Offset::NONE,
    timestamp: -1,
    epoch: LeaderEpoch::NONE,
};

/// Answers each partition by itself.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let image = context.node.image();
    let version = request.version();
    let committed = version >= 2 && asked.isolation_level == READ_COMMITTED;
    let topics = asked
        .topics
        .into_iter()
        .map(|topic| ListOffsetsTopicResponse {
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let found = context
                        .node
                        .partitions
                        .by_name(&image, topic.name.as_str(), partition.partition_index)
                        .and_then(|replica| find(&replica, partition, version, committed));
                    answer(partition.partition_index, found, version)
                })
                .collect(),
            name: topic.name,
            ..ListOffsetsTopicResponse::default()
        })
        .collect();
    request.reply(&Response {
        topics,
        ..Response::default()
    })
}

fn answer(
    partition: i32,
    found: Result<Found, ErrorCode>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let (found, error) = match found {
        Ok(found) => (found, ErrorCode::None),
        Err(error) => (NOTHING, error),
    };
    ListOffsetsPartitionResponse {
        partition_index: partition,
        error_code: error.code(),
        timestamp: found.timestamp,
        offset: found.offset.0,
        leader_epoch: if version >= 4 {
            found.epoch.0
        } else {
            LeaderEpoch::NONE.0
        },
        ..ListOffsetsPartitionResponse::default()
    }
}

fn find(
    replica: &Replica,
    asked: &ListOffsetsPartition,
    version: i16,
    committed: bool,
) -> Result<Found, ErrorCode> {
    // rule F6
    let epoch = replica.check_epoch(LeaderEpoch(asked.current_leader_epoch))?;
    let offsets = replica.log.offsets();
    let end = if committed {
        offsets.last_stable
    } else {
        offsets.high_watermark
    };
    let at = |offset: Offset, epoch: LeaderEpoch| Found {
        offset,
        timestamp: -1,
        epoch,
    };
    match asked.timestamp {
        LATEST => Ok(at(end, epoch)),
        EARLIEST => Ok(earliest(replica, offsets)),
        MAX_TIMESTAMP if version >= 7 => found(replica.log.offset_of_max_timestamp(), offsets, end),
        EARLIEST_LOCAL if version >= 8 => Ok(earliest(replica, offsets)),
        // Nothing is tiered, so nothing is the last of it, and nothing waits for it.
        LATEST_TIERED if version >= 9 => Ok(NOTHING),
        EARLIEST_PENDING_UPLOAD if version >= 11 => Ok(NOTHING),
        // A number without a meaning at this version.
        timestamp if timestamp < 0 => Err(ErrorCode::UnsupportedVersion),
        timestamp => found(replica.log.offset_for_timestamp(timestamp), offsets, end),
    }
}

fn earliest(replica: &Replica, offsets: Offsets) -> Found {
    let start = offsets.log_start;
    let epoch = replica
        .log
        .epochs()
        .epoch_at(start)
        .unwrap_or(LeaderEpoch::NONE);
    Found {
        offset: start,
        timestamp: -1,
        epoch,
    }
}

/// What lies beyond the readable end is not found (M2).
fn found(
    found: Result<Option<TimestampedOffset>, ReadError>,
    offsets: Offsets,
    end: Offset,
) -> Result<Found, ErrorCode> {
    match found {
        Ok(Some(found)) if found.offset >= offsets.log_start && found.offset < end => Ok(Found {
            offset: found.offset,
            timestamp: found.timestamp_ms,
            epoch: found.leader_epoch,
        }),
        Ok(_) => Ok(NOTHING),
        Err(error) => {
            tracing::error!(%error, "offset look-up failed");
            Err(ErrorCode::KafkaStorageError)
        }
    }
}
