//! OffsetDelete: forgets committed offsets of a group.

use coordinator::{DeleteOffsetsRequest, GroupRequest, GroupResponse, TopicPartitions};
use wire::messages::offset_delete::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic, Request as Asked, Response,
};
use wire::messages::text;

use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, shared};

/// Asks the group's shard.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let caller = caller(context, &request);
    let delete = DeleteOffsetsRequest {
        group: shared(Some(&asked.group_id)),
        topics: asked
            .topics
            .iter()
            .map(|topic| TopicPartitions {
                name: shared(Some(&topic.name)),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|part| part.partition_index)
                    .collect(),
            })
            .collect(),
    };
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        let group = delete.group.clone();
        let (given, after) = node
            .groups
            .ask(&node, &group, caller, GroupRequest::DeleteOffsets(delete))
            .await;
        let GroupResponse::DeleteOffsets(deleted) = given else {
            return Err(request.unanswered());
        };
        let answer = Response {
            error_code: deleted.error.code(),
            topics: deleted
                .topics
                .iter()
                .map(|topic| OffsetDeleteResponseTopic {
                    name: text(&topic.name),
                    partitions: topic
                        .partitions
                        .iter()
                        .map(|result| OffsetDeleteResponsePartition {
                            partition_index: result.partition,
                            error_code: result.error.code(),
                            ..OffsetDeleteResponsePartition::default()
                        })
                        .collect(),
                    ..OffsetDeleteResponseTopic::default()
                })
                .collect(),
            ..Response::default()
        };
        Ok(Answer {
            outgoing: request.answer(&answer)?,
            after,
        })
    }))
}
