//! ConsumerGroupHeartbeat: a member of a consumer group joins, reports, or leaves (KIP-848).

use std::sync::Arc;

use coordinator::{ConsumerHeartbeatRequest, GroupRequest, GroupResponse, Partitions};
use wire::ErrorCode;
use wire::ids::TopicId;
use wire::messages::consumer_group_heartbeat::{Assignment, Request as Asked, Response};
use wire::messages::{HeartbeatTopicPartitions, OwnedTopicPartitions, Text, Uuid};

use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, maybe_shared, maybe_text, shared};

/// Asks the group's shard; answered at once, when its records are durable.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    if !context.node.groups.serves_consumer(&context.node.image()) {
        // rule W11
        return request.reply(&Response {
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..Response::default()
        });
    }
    let caller = caller(context, &request);
    let heartbeat = ConsumerHeartbeatRequest {
        group: shared(Some(&asked.group_id)),
        member_id: shared(Some(&asked.member_id)),
        member_epoch: asked.member_epoch,
        instance_id: maybe_shared(asked.instance_id.as_ref()),
        rack_id: maybe_shared(asked.rack_id.as_ref()),
        rebalance_timeout_ms: asked.rebalance_timeout_ms,
        topics: asked.subscribed_topic_names.as_deref().map(names),
        pattern: maybe_shared(asked.subscribed_topic_regex.as_ref()),
        assignor: maybe_shared(asked.server_assignor.as_ref()),
        owned: asked.topic_partitions.as_deref().map(owned),
    };
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        let group = heartbeat.group.clone();
        let ask = GroupRequest::ConsumerHeartbeat(heartbeat);
        let (given, after) = node.groups.ask(&node, &group, caller, ask).await;
        let GroupResponse::ConsumerHeartbeat(given) = given else {
            return Err(request.unanswered());
        };
        let answer = Response {
            error_code: given.error.code(),
            error_message: maybe_text(given.message.as_ref()),
            member_id: maybe_text(given.member_id.as_ref()),
            member_epoch: given.member_epoch,
            heartbeat_interval_ms: given.heartbeat_interval_ms,
            assignment: given.assignment.map(|topics| Box::new(assignment(topics))),
            ..Response::default()
        };
        Ok(Answer {
            outgoing: request.answer(&answer)?,
            after,
        })
    }))
}

fn names(names: &[Text]) -> Vec<Arc<str>> {
    names.iter().map(|name| shared(Some(name))).collect()
}

fn owned(topics: &[OwnedTopicPartitions]) -> Partitions {
    let mut owned = Partitions::new();
    for topic in topics {
        let partitions = owned.entry(TopicId::from(topic.topic_id)).or_default();
        partitions.extend(&topic.partitions);
    }
    owned
}

fn assignment(topics: Vec<(TopicId, Vec<i32>)>) -> Assignment {
    Assignment {
        topic_partitions: topics
            .into_iter()
            .map(|(topic, partitions)| HeartbeatTopicPartitions {
                topic_id: Uuid::from(topic),
                partitions,
                ..HeartbeatTopicPartitions::default()
            })
            .collect(),
        ..Assignment::default()
    }
}
