//! ConsumerGroupDescribe: state, epochs and members of consumer groups (KIP-848).

use coordinator::{
    DescribedConsumer, DescribedConsumerGroup, DescribedTopic, GroupRequest, GroupResponse,
};
use wire::ErrorCode;
use wire::messages::consumer_group_describe::{
    Assignment, DescribedGroup, Member, Request as Asked, Response, TopicPartitions,
};
use wire::messages::{Uuid, text};

use crate::authorized;
use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, maybe_text, shared};

/// Asks each group's shard in turn: one entry per asked group.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let node = context.node.clone();
    if !node.groups.serves_consumer(&node.image()) {
        // rule W11
        let refused = |id| DescribedGroup {
            group_id: id,
            error_code: ErrorCode::UnsupportedVersion.code(),
            ..DescribedGroup::default()
        };
        return request.reply(&Response {
            groups: asked.group_ids.into_iter().map(refused).collect(),
            ..Response::default()
        });
    }
    let caller = caller(context, &request);
    Ok(Reply::later_durable(async move {
        let mut groups = Vec::with_capacity(asked.group_ids.len());
        let mut after = None;
        for group in &asked.group_ids {
            let group = shared(Some(group));
            let ask = GroupRequest::ConsumerDescribe(vec![group.clone()]);
            let (given, lsn) = node.groups.ask(&node, &group, caller.clone(), ask).await;
            let GroupResponse::ConsumerDescribe(found) = given else {
                return Err(request.unanswered());
            };
            after = after.max(lsn);
            groups.extend(found.iter().map(|found| {
                let mut group = describe(found, request.version());
                if asked.include_authorized_operations && !found.error.is_error() {
                    group.authorized_operations = authorized::GROUP;
                }
                group
            }));
        }
        let answer = Response {
            groups,
            ..Response::default()
        };
        Ok(Answer {
            outgoing: request.answer(&answer)?,
            after,
        })
    }))
}

fn describe(found: &DescribedConsumerGroup, version: i16) -> DescribedGroup {
    DescribedGroup {
        error_code: found.error.code(),
        error_message: maybe_text(found.message.as_ref()),
        group_id: text(&found.group),
        group_state: text(found.state),
        group_epoch: found.epoch,
        assignment_epoch: found.target_epoch,
        assignor_name: text(found.assignor),
        members: found
            .members
            .iter()
            .map(|member| describe_member(member, version))
            .collect(),
        ..DescribedGroup::default()
    }
}

fn describe_member(found: &DescribedConsumer, version: i16) -> Member {
    let mut member = Member {
        member_id: text(&found.member_id),
        instance_id: maybe_text(found.instance_id.as_ref()),
        rack_id: maybe_text(found.rack_id.as_ref()),
        member_epoch: found.epoch,
        client_id: text(&found.client_id),
        client_host: text(&found.client_host),
        subscribed_topic_names: found.topics.iter().map(|name| text(name)).collect(),
        subscribed_topic_regex: Some(text(&found.pattern)),
        assignment: assignment(&found.assignment),
        target_assignment: assignment(&found.target),
        ..Member::default()
    };
    if version >= 1 {
        member.member_type = i8::from(!found.is_classic);
    }
    member
}

fn assignment(topics: &[DescribedTopic]) -> Assignment {
    Assignment {
        topic_partitions: topics
            .iter()
            .map(|topic| TopicPartitions {
                topic_id: Uuid::from(topic.id),
                topic_name: text(&topic.name),
                partitions: topic.partitions.clone(),
                ..TopicPartitions::default()
            })
            .collect(),
        ..Assignment::default()
    }
}
