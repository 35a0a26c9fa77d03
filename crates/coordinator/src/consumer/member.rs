//! One member of a consumer group, as the log tells of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::ids::TopicId;

use crate::request::Protocol;

/// Partitions by topic.
pub type Partitions = BTreeMap<TopicId, BTreeSet<i32>>;

/// Partitions by topic, each with the epoch at which the member was given it. (KIP-1251)
pub type Owned = BTreeMap<TopicId, BTreeMap<i32, i32>>;

/// The epoch a member joins with.
pub(crate) const EPOCH_JOIN: i32 = 0;
/// The epoch a member leaves with, and that of a member whose assignment was forgotten.
pub(crate) const EPOCH_LEAVE: i32 = -1;
/// The epoch a static member leaves with that means to come back.
pub(crate) const EPOCH_LEAVE_STATIC: i32 = -2;

/// How far a member is with its assignment. // rule N4
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// It has what it shall have at its epoch.
    Stable,
    /// It must give up partitions before it may advance.
    Unrevoked,
    /// Partitions it shall have are still with others.
    Unreleased,
    /// Written by a later version; such a member must begin anew.
    Unknown,
}

impl MemberState {
    pub(crate) fn code(self) -> i8 {
        match self {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
            MemberState::Unknown => 127,
        }
    }

    pub(crate) fn of(code: i8) -> MemberState {
        match code {
            0 => MemberState::Stable,
            1 => MemberState::Unrevoked,
            2 => MemberState::Unreleased,
            _ => MemberState::Unknown,
        }
    }
}

/// What a member that speaks the classic protocol brought with it. // rule N7
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicPart {
    /// Its session timeout, milliseconds.
    pub session_timeout_ms: i32,
    /// What it can do, the preferred first.
    pub protocols: Vec<Protocol>,
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMember {
    /// Its id, made by its client.
    pub id: Arc<str>,
    /// Its epoch; −2 while a static member is away.
    pub epoch: i32,
    /// The epoch before, in which it may still report if an answer was lost. // rule N2
    pub previous_epoch: i32,
    /// How far it is with its assignment.
    pub state: MemberState,
    /// Instance id of a static member.
    pub instance: Option<Arc<str>>,
    /// Where it stands.
    pub rack: Option<Arc<str>>,
    /// Client id.
    pub client_id: Arc<str>,
    /// Address as Kafka prints it: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// How long it may take to give partitions up, milliseconds.
    pub rebalance_timeout_ms: i32,
    /// Topics it names.
    pub topics: BTreeSet<Arc<str>>,
    /// The pattern of further topics; empty for none.
    pub pattern: Arc<str>,
    /// The assignor it asks for.
    pub assignor: Option<Arc<str>>,
    /// What it has.
    pub assigned: Owned,
    /// What it must give up.
    pub revoking: Owned,
    /// Set if it speaks the classic protocol.
    pub classic: Option<ClassicPart>,
}

impl ConsumerMember {
    /// A member nobody has said anything about.
    pub(crate) fn new(id: Arc<str>) -> ConsumerMember {
        ConsumerMember {
            id,
            epoch: EPOCH_JOIN,
            previous_epoch: EPOCH_LEAVE,
            state: MemberState::Stable,
            instance: None,
            rack: None,
            client_id: Arc::from(""),
            client_host: Arc::from(""),
            rebalance_timeout_ms: -1,
            topics: BTreeSet::new(),
            pattern: Arc::from(""),
            assignor: None,
            assigned: Owned::new(),
            revoking: Owned::new(),
            classic: None,
        }
    }

    pub(crate) fn pattern(&self) -> Option<&Arc<str>> {
        (!self.pattern.is_empty()).then_some(&self.pattern)
    }

    pub(crate) fn is_classic(&self) -> bool {
        self.classic.is_some()
    }

    /// Whether it has everything of this target.
    pub(crate) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// Whether it is here and has something to give up.
    pub(crate) fn must_revoke(&self) -> bool {
        self.state == MemberState::Unrevoked && self.epoch >= EPOCH_JOIN
    }

    pub(crate) fn advance(&mut self, epoch: i32) {
        self.previous_epoch = self.epoch;
        self.epoch = epoch;
    }

    /// The epoch at which it was given a partition it has or must still give up.
    pub(crate) fn given_at(&self, topic: TopicId, partition: i32) -> Option<i32> {
        let of = |owned: &Owned| owned.get(&topic)?.get(&partition).copied();
        of(&self.assigned).or_else(|| of(&self.revoking))
    }

    /// The protocol it is told it takes part with: the one it prefers.
    pub(crate) fn classic_protocol(&self) -> Option<&Protocol> {
        self.classic.as_ref()?.protocols.first()
    }
}

/// The partitions without their epochs.
pub(crate) fn without_epochs(owned: &Owned) -> Partitions {
    owned
        .iter()
        .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
        .collect()
}
