//! One member of a classic group, with what it waits for.

use std::sync::Arc;

use bytes::Bytes;

use crate::record::MemberImage;
use crate::request::{Caller, JoinRequest, Protocol, Token};

/// An answer somebody waits for, and the version it must be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) token: Token,
    pub(crate) version: i16,
}

/// A member. At most one join and one sync of it are open at a time.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: Arc<str>,
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) client_id: Arc<str>,
    pub(crate) client_host: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) session_timeout_ms: i32,
    /// What it can do, the preferred first.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) assignment: Bytes,
    pub(crate) awaiting_join: Option<Waiter>,
    pub(crate) awaiting_sync: Option<Waiter>,
    /// Has not been part of a completed join phase: it cannot send heartbeats yet, and only its
    /// long join timeout ends it.
    pub(crate) is_new: bool,
}

impl Member {
    /// A member of a join request whose numbers [`timeouts`] has put right.
    pub(crate) fn joining(caller: &Caller, join: &JoinRequest, id: Arc<str>) -> Member {
        let (session_timeout_ms, rebalance_timeout_ms) = timeouts(caller, join);
        Member {
            id,
            instance: join.instance_id.clone(),
            client_id: caller.client_id.clone(),
            client_host: caller.client_host.clone(),
            rebalance_timeout_ms,
            session_timeout_ms,
            protocols: kept(&join.protocols),
            assignment: Bytes::new(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: true,
        }
    }

    /// A member as a record left it; of its protocols only the chosen one was kept.
    pub(crate) fn restored(image: &MemberImage, protocol: &Arc<str>) -> Member {
        Member {
            id: image.member_id.clone(),
            instance: image.instance_id.clone(),
            client_id: image.client_id.clone(),
            client_host: image.client_host.clone(),
            rebalance_timeout_ms: image.rebalance_timeout_ms,
            session_timeout_ms: image.session_timeout_ms,
            protocols: vec![Protocol {
                name: protocol.clone(),
                metadata: image.subscription.clone(),
            }],
            assignment: image.assignment.clone(),
            awaiting_join: None,
            awaiting_sync: None,
            is_new: false,
        }
    }

    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|offered| *offered.name == *protocol)
            .map(|offered| offered.metadata.clone())
            .unwrap_or_default()
    }

    /// Who waits for an answer is alive enough, unless it is new: its client cannot tell us that
    /// it went away.
    pub(crate) fn is_excused_from_heartbeats(&self) -> bool {
        !self.is_new && (self.awaiting_join.is_some() || self.awaiting_sync.is_some())
    }
}

/// Protocols to keep: copied, for those of a request are cut from the received frame and would hold
/// all of it in memory.
pub(crate) fn kept(protocols: &[Protocol]) -> Vec<Protocol> {
    protocols
        .iter()
        .map(|protocol| Protocol {
            name: protocol.name.clone(),
            metadata: Bytes::copy_from_slice(&protocol.metadata),
        })
        .collect()
}

/// Session and rebalance timeout of a join, in milliseconds. v0 has no rebalance timeout; the
/// session timeout stands in for it, and for a negative one.
pub(crate) fn timeouts(caller: &Caller, join: &JoinRequest) -> (i32, i32) {
    let session = join.session_timeout_ms;
    if caller.version == 0 || join.rebalance_timeout_ms < 0 {
        (session, session)
    } else {
        (session, join.rebalance_timeout_ms)
    }
}
