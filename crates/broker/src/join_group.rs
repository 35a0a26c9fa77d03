//! JoinGroup: a member asks to be in the next generation of a classic group.

use coordinator::{GroupRequest, GroupResponse, JoinRequest, Protocol};
use wire::messages::join_group::{JoinGroupResponseMember, Request as Asked, Response};
use wire::messages::text;

use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, maybe_shared, maybe_text, owned, shared};

/// Asks the group's shard; the answer may take as long as a rebalance.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let caller = caller(context, &request);
    let join = JoinRequest {
        group: shared(Some(&asked.group_id)),
        session_timeout_ms: asked.session_timeout_ms,
        // Version 0 has one timeout for both.
        rebalance_timeout_ms: if request.version() == 0 {
            asked.session_timeout_ms
        } else {
            asked.rebalance_timeout_ms
        },
        member_id: shared(Some(&asked.member_id)),
        instance_id: maybe_shared(asked.group_instance_id.as_ref()),
        protocol_type: shared(Some(&asked.protocol_type)),
        protocols: asked
            .protocols
            .iter()
            .map(|protocol| Protocol {
                name: shared(Some(&protocol.name)),
                metadata: owned(&protocol.metadata),
            })
            .collect(),
    };
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        let group = join.group.clone();
        let (given, after) = node
            .groups
            .ask(&node, &group, caller, GroupRequest::Join(join))
            .await;
        let GroupResponse::Join(joined) = given else {
            return Err(request.unanswered());
        };
        let version = request.version();
        let mut answer = Response {
            error_code: joined.error.code(),
            generation_id: joined.generation,
            protocol_type: maybe_text(joined.protocol_type.as_ref()),
            protocol_name: maybe_text(joined.protocol_name.as_ref()),
            leader: text(&joined.leader),
            member_id: text(&joined.member_id),
            members: joined
                .members
                .into_iter()
                .map(|member| JoinGroupResponseMember {
                    member_id: text(&member.member_id),
                    group_instance_id: maybe_text(member.instance_id.as_ref()),
                    metadata: member.metadata,
                    ..JoinGroupResponseMember::default()
                })
                .collect(),
            ..Response::default()
        };
        // rule G7
        if version >= 9 {
            answer.skip_assignment = joined.skip_assignment;
        }
        Ok(Answer {
            outgoing: request.answer(&answer)?,
            after,
        })
    }))
}
