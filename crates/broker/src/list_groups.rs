//! ListGroups: the groups this broker coordinates.

use coordinator::{GroupRequest, GroupResponse, ListRequest};
use wire::ErrorCode;
use wire::messages::list_groups::{ListedGroup, Request as Asked, Response};
use wire::messages::text;

use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, shared};

/// Asks every shard this node leads. One that is still loading makes the whole answer say so: a
/// list with silent gaps would look like lost groups.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let caller = caller(context, &request);
    let list = ListRequest {
        states: asked
            .states_filter
            .iter()
            .map(|state| shared(Some(state)))
            .collect(),
        types: asked
            .types_filter
            .iter()
            .map(|kind| shared(Some(kind)))
            .collect(),
    };
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        let version = request.version();
        let mut answer = Response::default();
        let mut after = None;
        for partition in node.groups.led_partitions(&node) {
            let ask = GroupRequest::List(list.clone());
            let (given, lsn) = node
                .groups
                .ask_shard(&node, partition, caller.clone(), ask)
                .await;
            let GroupResponse::List(listed) = given else {
                return Err(request.unanswered());
            };
            after = after.max(lsn);
            if listed.error != ErrorCode::None {
                answer.error_code = listed.error.code();
                continue;
            }
            answer.groups.extend(listed.groups.iter().map(|group| {
                let mut found = ListedGroup {
                    group_id: text(&group.group),
                    protocol_type: text(&group.protocol_type),
                    ..ListedGroup::default()
                };
                if version >= 4 {
                    found.group_state = text(group.state);
                }
                if version >= 5 {
                    found.group_type = text(group.group_type);
                }
                found
            }));
        }
        Ok(Answer {
            outgoing: request.answer(&answer)?,
            after,
        })
    }))
}
