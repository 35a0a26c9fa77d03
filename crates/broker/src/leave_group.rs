//! LeaveGroup: members go, themselves or by an administrator's hand.

use coordinator::{GroupRequest, GroupResponse, LeaveRequest, LeavingMember};
use wire::messages::leave_group::{MemberResponse, Request as Asked, Response};
use wire::messages::text;

use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, maybe_shared, maybe_text, shared};

/// Asks the group's shard.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let caller = caller(context, &request);
    let leaving = |member, instance| LeavingMember {
        member_id: shared(Some(member)),
        instance_id: maybe_shared(instance),
    };
    let members = if request.version() >= 3 {
        asked
            .members
            .iter()
            .map(|member| leaving(&member.member_id, member.group_instance_id.as_ref()))
            .collect()
    } else {
        vec![leaving(&asked.member_id, None)]
    };
    let leave = LeaveRequest {
        group: shared(Some(&asked.group_id)),
        members,
    };
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        let group = leave.group.clone();
        let (given, after) = node
            .groups
            .ask(&node, &group, caller, GroupRequest::Leave(leave))
            .await;
        let GroupResponse::Leave(left) = given else {
            return Err(request.unanswered());
        };
        let answer = Response {
            error_code: left.error.code(),
            members: left
                .members
                .iter()
                .map(|member| MemberResponse {
                    member_id: text(&member.member_id),
                    group_instance_id: maybe_text(member.instance_id.as_ref()),
                    error_code: member.error.code(),
                    ..MemberResponse::default()
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
