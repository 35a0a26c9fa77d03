//! OffsetCommit: where a group stands, written down.

use std::sync::Arc;

use coordinator::{CommitPartition, CommitRequest, CommitTopic, GroupRequest, GroupResponse};
use metadata::Image;
use wire::ErrorCode;
use wire::ids::TopicId;
use wire::messages::offset_commit::{
    OffsetCommitRequestTopic, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
    Request as Asked, Response,
};

use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, maybe_shared, shared};

/// Commits what exists; what does not exist is refused by itself.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let caller = caller(context, &request);
    let image = context.node.image();
    let by_id = request.version() >= 10;
    let mut topics = Vec::with_capacity(asked.topics.len());
    let mut answers = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        let (known, answer) = sort(&image, topic, by_id);
        topics.extend(known);
        answers.push(answer);
    }
    let commit = CommitRequest {
        group: shared(Some(&asked.group_id)),
        generation: asked.generation_id_or_member_epoch,
        member_id: shared(Some(&asked.member_id)),
        instance_id: maybe_shared(asked.group_instance_id.as_ref()),
        retention_ms: asked.retention_time_ms,
        topics,
    };
    if commit.topics.is_empty() && !asked.topics.is_empty() {
        return request.reply(&Response {
            topics: answers,
            ..Response::default()
        });
    }
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        let group = commit.group.clone();
        let (given, after) = node
            .groups
            .ask(&node, &group, caller, GroupRequest::Commit(commit))
            .await;
        let GroupResponse::Commit(committed) = given else {
            return Err(request.unanswered());
        };
        let mut results = committed
            .iter()
            .flat_map(|topic| &topic.partitions)
            .map(|result| result.error);
        for partition in answers.iter_mut().flat_map(|topic| &mut topic.partitions) {
            // Those that were passed on come back in the same order.
            if partition.error_code == ErrorCode::None.code()
                && let Some(error) = results.next()
            {
                partition.error_code = error.code();
            }
        }
        let answer = Response {
            topics: answers,
            ..Response::default()
        };
        Ok(Answer {
            outgoing: request.answer(&answer)?,
            after,
        })
    }))
}

/// The partitions of a topic that exist, for the shard, and the answer with errors for the rest.
fn sort(
    image: &Image,
    topic: &OffsetCommitRequestTopic,
    by_id: bool,
) -> (Option<CommitTopic>, OffsetCommitResponseTopic) {
    let id = TopicId::from(topic.topic_id);
    let known = if by_id {
        image.topic_by_id(id)
    } else {
        image.topic(topic.name.as_str())
    };
    let missing = if by_id {
        ErrorCode::UnknownTopicId
    } else {
        ErrorCode::UnknownTopicOrPartition
    };
    let mut partitions = Vec::new();
    let answers = topic
        .partitions
        .iter()
        .map(|partition| {
            let number = partition.partition_index;
            let error = match known {
                None => missing,
                Some(known) if image.partition(known.id, number).is_none() => {
                    ErrorCode::UnknownTopicOrPartition
                }
                Some(_) => {
                    partitions.push(CommitPartition {
                        partition: number,
                        offset: partition.committed_offset,
                        leader_epoch: partition.committed_leader_epoch,
                        metadata: maybe_shared(partition.committed_metadata.as_ref()),
                    });
                    ErrorCode::None
                }
            };
            OffsetCommitResponsePartition {
                partition_index: number,
                error_code: error.code(),
                ..OffsetCommitResponsePartition::default()
            }
        })
        .collect();
    let answer = OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: answers,
        ..OffsetCommitResponseTopic::default()
    };
    let name = known.map(|known| Arc::clone(&known.name));
    let commit = name.filter(|_| !partitions.is_empty());
    (commit.map(|name| CommitTopic { name, partitions }), answer)
}
