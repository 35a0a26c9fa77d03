//! DescribeGroups: state and members of groups.

use coordinator::{DescribedGroup as Found, GroupRequest, GroupResponse};
use wire::messages::describe_groups::{
    DescribedGroup, DescribedGroupMember, Request as Asked, Response,
};
use wire::messages::text;

use crate::authorized;
use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, maybe_text, shared};

/// Asks each group's shard in turn: one entry per asked group.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let caller = caller(context, &request);
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        let with_operations = request.version() >= 3 && asked.include_authorized_operations;
        let mut groups = Vec::with_capacity(asked.groups.len());
        let mut after = None;
        for group in &asked.groups {
            let group = shared(Some(group));
            let request_one = GroupRequest::Describe(vec![group.clone()]);
            let (given, lsn) = node
                .groups
                .ask(&node, &group, caller.clone(), request_one)
                .await;
            let GroupResponse::Describe(found) = given else {
                return Err(request.unanswered());
            };
            after = after.max(lsn);
            groups.extend(
                found
                    .into_iter()
                    .map(|found| describe(found, with_operations)),
            );
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

fn describe(found: Found, with_operations: bool) -> DescribedGroup {
    let mut group = DescribedGroup {
        error_code: found.error.code(),
        error_message: maybe_text(found.error_message.as_ref()),
        group_id: text(&found.group),
        group_state: text(found.state),
        protocol_type: text(&found.protocol_type),
        protocol_data: text(&found.protocol),
        members: found
            .members
            .into_iter()
            .map(|member| DescribedGroupMember {
                member_id: text(&member.member_id),
                group_instance_id: maybe_text(member.instance_id.as_ref()),
                client_id: text(&member.client_id),
                client_host: text(&member.client_host),
                member_metadata: member.metadata,
                member_assignment: member.assignment,
                ..DescribedGroupMember::default()
            })
            .collect(),
        ..DescribedGroup::default()
    };
    if with_operations {
        group.authorized_operations = authorized::GROUP;
    }
    group
}
