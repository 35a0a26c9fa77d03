//! Groups.
use crate::dispatch::{Context, Handled, Request};
macro_rules! later {
    ($($name:ident)*) => { $(
        /// Later.
        pub fn $name(_: &Context, request: Request) -> Handled {
            Err(request.unreadable(&wire::ErrorCode::UnsupportedVersion))
        }
    )* };
}
later!(offset_commit offset_fetch join_group heartbeat leave_group sync_group describe_groups list_groups delete_groups offset_delete);
