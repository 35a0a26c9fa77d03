//! DeleteGroups: removes empty groups and their offsets.

use coordinator::{GroupRequest, GroupResponse};
use wire::messages::delete_groups::{DeletableGroupResult, Request as Asked, Response};
use wire::messages::text;

use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, shared};

/// Asks each group's shard in turn: one result per asked group.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let caller = caller(context, &request);
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        let mut results = Vec::with_capacity(asked.groups_names.len());
        let mut after = None;
        for group in &asked.groups_names {
            let group = shared(Some(group));
            let ask = GroupRequest::Delete(vec![group.clone()]);
            let (given, lsn) = node.groups.ask(&node, &group, caller.clone(), ask).await;
            let GroupResponse::Delete(deleted) = given else {
                return Err(request.unanswered());
            };
            after = after.max(lsn);
            results.extend(deleted.iter().map(|(group, error)| DeletableGroupResult {
                group_id: text(group),
                error_code: error.code(),
                ..DeletableGroupResult::default()
            }));
        }
        let answer = Response {
            results,
            ..Response::default()
        };
        Ok(Answer {
            outgoing: request.answer(&answer)?,
            after,
        })
    }))
}
