//! OffsetForLeaderEpoch: where an epoch ended, so that a reader finds out whether its log and
//! ours went apart.

use wire::ErrorCode;
use wire::ids::LeaderEpoch;
use wire::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopicResult, Request as Asked,
    Response,
};

use crate::dispatch::{Context, Handled, Request};
use crate::replica::Replica;

/// Answers each partition by itself.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let image = context.node.image();
    let topics = asked
        .topics
        .into_iter()
        .map(|topic| OffsetForLeaderTopicResult {
            partitions: topic
                .partitions
                .iter()
                .map(|partition| {
                    let found = context.node.partitions.by_name(
                        &image,
                        topic.topic.as_str(),
                        partition.partition,
                    );
                    answer(partition, found.as_deref())
                })
                .collect(),
            topic: topic.topic,
            ..OffsetForLeaderTopicResult::default()
        })
        .collect();
    request.reply(&Response {
        topics,
        ..Response::default()
    })
}

// rule M4
fn answer(
    asked: &OffsetForLeaderPartition,
    replica: Result<&Replica, &ErrorCode>,
) -> EpochEndOffset {
    let checked = replica.map_err(|error| *error).and_then(|replica| {
        replica
            .check_epoch(LeaderEpoch(asked.current_leader_epoch))
            .map(|_| replica)
    });
    let (error, end) = match checked {
        Ok(replica) => (
            ErrorCode::None,
            replica.log.epoch_end(LeaderEpoch(asked.leader_epoch)),
        ),
        Err(error) => (error, None),
    };
    EpochEndOffset {
        error_code: error.code(),
        partition: asked.partition,
        leader_epoch: end.map_or(-1, |end| end.epoch.0),
        end_offset: end.map_or(-1, |end| end.end.0),
        ..EpochEndOffset::default()
    }
}
