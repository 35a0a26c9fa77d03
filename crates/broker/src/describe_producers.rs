//! DescribeProducers: the idempotent producers that partitions know, for who looks for a
//! transaction that hangs.

use metadata::check_name;
use wire::ErrorCode;
use wire::messages::describe_producers::{
    PartitionResponse, ProducerState, Request as Asked, Response, TopicResponse,
};
use wire::messages::text;

use crate::dispatch::{Context, Handled, Request};

/// Answers from the logs at hand.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let topics = asked.topics.iter().map(|topic| {
        let name = topic.name.as_str();
        let partitions = topic.partition_indexes.iter();
        TopicResponse {
            name: text(name),
            partitions: partitions
                .map(|number| describe(context, name, *number))
                .collect(),
            ..TopicResponse::default()
        }
    });
    request.reply(&Response {
        topics: topics.collect(),
        ..Response::default()
    })
}

fn describe(context: &Context, topic: &str, partition_index: i32) -> PartitionResponse {
    let failed = |code: ErrorCode, message: Option<String>| PartitionResponse {
        partition_index,
        error_code: code.code(),
        error_message: message.as_deref().map(text),
        ..PartitionResponse::default()
    };
    if let Err(reason) = check_name(topic) {
        return failed(ErrorCode::InvalidTopicException, Some(reason));
    }
    let image = context.node.image();
    match context
        .node
        .partitions
        .by_name(&image, topic, partition_index)
    {
        Err(code) => failed(code, None),
        Ok(replica) => PartitionResponse {
            partition_index,
            active_producers: replica
                .log
                .producers()
                .into_iter()
                .map(|known| ProducerState {
                    producer_id: known.producer_id.0,
                    producer_epoch: i32::from(known.producer_epoch.0),
                    last_sequence: known.last_sequence,
                    last_timestamp: known.last_timestamp_ms,
                    coordinator_epoch: known.coordinator_epoch,
                    current_txn_start_offset: known.open_from.map_or(-1, |offset| offset.0),
                    ..ProducerState::default()
                })
                .collect(),
            ..PartitionResponse::default()
        },
    }
}
