//! Where an answer says how long its client is held back.
//!
//! The time is known only when the answer is: it depends on how many bytes it has and how long it
//! took. So it is written into the finished frame (rule W9). Nearly every answer begins with it; the
//! exceptions stand in [`place`].

use bytes::{Bytes, BytesMut};
use stdx::varint;

use crate::api::{Api, ApiKey};
use crate::frame::PREFIX_BYTES;
use crate::header::response_header_bytes;

/// Bytes of the field.
const FIELD_BYTES: usize = 4;

/// The frame with its `throttle_time_ms` set; as it was if this version has no such field.
///
/// `head` begins an answer of `api` at `version`. For Produce it is the whole answer.
pub fn set(api: &Api, version: i16, head: Bytes, throttle_ms: i32) -> Bytes {
    let Some(at) = place(api, version, &head) else {
        return head;
    };
    let mut frame = head
        .try_into_mut()
        .unwrap_or_else(|head| BytesMut::from(&head[..]));
    if let Some(field) = frame.get_mut(at..at + FIELD_BYTES) {
        field.copy_from_slice(&throttle_ms.to_be_bytes());
    }
    frame.freeze()
}

/// Where the field begins.
fn place(api: &Api, version: i16, head: &[u8]) -> Option<usize> {
    if version < first_version(api.key)? {
        return None;
    }
    let body = PREFIX_BYTES + response_header_bytes(api, version);
    match api.key {
        // The last field; behind it only tags, and we send none.
        ApiKey::Produce => {
            let tags = usize::from(api.is_flexible(version));
            head.len().checked_sub(FIELD_BYTES + tags)
        }
        // Behind the error and the keys.
        ApiKey::ApiVersions => {
            let keys = body + 2;
            if api.is_flexible(version) {
                let (count, bytes) = varint::take_u32(head.get(keys..)?).ok()?;
                Some(keys + bytes + 7 * (count as usize).saturating_sub(1))
            } else {
                let count = head.get(keys..keys + 4)?.try_into().ok()?;
                Some(keys + 4 + 6 * usize::try_from(i32::from_be_bytes(count)).ok()?)
            }
        }
        // Behind the error.
        ApiKey::OffsetDelete => Some(body + 2),
        _ => Some(body),
    }
}

/// The first version with the field; `None` if there is none.
fn first_version(key: ApiKey) -> Option<i16> {
    Some(match key {
        ApiKey::DescribeQuorum => return None,
        ApiKey::Produce
        | ApiKey::Fetch
        | ApiKey::FindCoordinator
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::SyncGroup
        | ApiKey::DescribeGroups
        | ApiKey::ListGroups
        | ApiKey::ApiVersions => 1,
        ApiKey::ListOffsets | ApiKey::JoinGroup | ApiKey::OffsetForLeaderEpoch => 2,
        ApiKey::Metadata | ApiKey::OffsetCommit | ApiKey::OffsetFetch => 3,
        // Those that had it from the first version we serve on.
        _ => 0,
    })
}
