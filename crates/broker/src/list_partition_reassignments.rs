//! ListPartitionReassignments: which replicas are moving. None ever is
//! (`alter_partition_reassignments.rs`), so the list is empty, whatever is asked for.

use wire::messages::list_partition_reassignments::{Request as Asked, Response};

use crate::dispatch::{Context, Handled, Request};

/// Answers at once.
pub fn handle(_context: &Context, request: Request) -> Handled {
    let _asked: Asked = request.decode()?;
    request.reply(&Response::default())
}
