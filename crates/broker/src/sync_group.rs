//! SyncGroup: the leader hands out the assignment, every member gets its part.

use coordinator::{GroupRequest, GroupResponse, SyncRequest};
use wire::messages::sync_group::{Request as Asked, Response};

use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, maybe_shared, maybe_text, owned, shared};

/// Asks the group's shard; a follower's answer waits for its leader's call (G3).
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let caller = caller(context, &request);
    let sync = SyncRequest {
        group: shared(Some(&asked.group_id)),
        generation: asked.generation_id,
        member_id: shared(Some(&asked.member_id)),
        instance_id: maybe_shared(asked.group_instance_id.as_ref()),
        protocol_type: maybe_shared(asked.protocol_type.as_ref()),
        protocol_name: maybe_shared(asked.protocol_name.as_ref()),
        assignments: asked
            .assignments
            .iter()
            .map(|part| (shared(Some(&part.member_id)), owned(&part.assignment)))
            .collect(),
    };
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        let group = sync.group.clone();
        let (given, after) = node
            .groups
            .ask(&node, &group, caller, GroupRequest::Sync(sync))
            .await;
        let GroupResponse::Sync(synced) = given else {
            return Err(request.unanswered());
        };
        let answer = Response {
            error_code: synced.error.code(),
            protocol_type: maybe_text(synced.protocol_type.as_ref()),
            protocol_name: maybe_text(synced.protocol_name.as_ref()),
            assignment: synced.assignment,
            ..Response::default()
        };
        Ok(Answer {
            outgoing: request.answer(&answer)?,
            after,
        })
    }))
}
