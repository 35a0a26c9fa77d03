//! Heartbeat: a member shows itself, and hears of rebalances.

use coordinator::{GroupRequest, GroupResponse, HeartbeatRequest};
use wire::messages::heartbeat::{Request as Asked, Response};

use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, maybe_shared, shared};

/// Asks the group's shard.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let caller = caller(context, &request);
    let heartbeat = HeartbeatRequest {
        group: shared(Some(&asked.group_id)),
        generation: asked.generation_id,
        member_id: shared(Some(&asked.member_id)),
        instance_id: maybe_shared(asked.group_instance_id.as_ref()),
    };
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        let group = heartbeat.group.clone();
        let (given, after) = node
            .groups
            .ask(&node, &group, caller, GroupRequest::Heartbeat(heartbeat))
            .await;
        let GroupResponse::Heartbeat(error) = given else {
            return Err(request.unanswered());
        };
        let answer = Response {
            error_code: error.code(),
            ..Response::default()
        };
        Ok(Answer {
            outgoing: request.answer(&answer)?,
            after,
        })
    }))
}
