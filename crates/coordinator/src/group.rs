//! One group: what the log says of it, and beside it the members as they are this minute.
//!
//! `image` and `offsets` are the log's and change only through [`Group::adopt`] and `offset.rs`'s
//! apply; everything else is lost in a restart and rebuilt by [`Group::restore`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::ErrorCode;

use crate::consumer::ConsumerGroup;
use crate::member::{Member, Waiter};
use crate::record::{CommittedOffset, GroupImage, MemberImage};
use crate::request::Protocol;
use crate::subscription;

/// Committed offsets by topic and partition.
pub(crate) type Offsets = BTreeMap<Arc<str>, BTreeMap<i32, Committed>>;

/// A committed offset and the log offset of the record that says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) at: i64,
    pub(crate) value: CommittedOffset,
}

/// Where a group stands. A dead group is one the shard does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No members; perhaps pending ones, perhaps offsets.
    Empty,
    /// Members are called to join; `initial` if the group was empty before, so that nobody else
    /// need be waited for but newcomers.
    Preparing { initial: bool },
    /// Joined; the leader's assignment is awaited.
    Completing,
    /// Assigned.
    Stable,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Preparing { .. } => "PreparingRebalance",
            State::Completing => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// How much longer the first join phase may be drawn out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InitialDelay {
    pub(crate) step_ms: i64,
    pub(crate) left_ms: i64,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: Arc<str>,
    // From the log.
    pub(crate) image: Option<GroupImage>,
    pub(crate) offsets: Offsets,
    /// Set while the group speaks KIP-848's protocol; then everything of the classic one is as in a
    /// new group.
    pub(crate) consumer: Option<Box<ConsumerGroup>>,
    // Of this minute.
    /// The version of the topics a consumer group was last compared with.
    pub(crate) seen_topics: Option<u64>,
    pub(crate) state: State,
    /// Wall clock when `state` was entered; unknown after an old record.
    pub(crate) since_ms: Option<i64>,
    pub(crate) protocol_type: Option<Arc<str>>,
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) generation: i32,
    pub(crate) leader: Option<Arc<str>>,
    pub(crate) members: BTreeMap<Arc<str>, Member>,
    /// Instance id to member id.
    pub(crate) statics: BTreeMap<Arc<str>, Arc<str>>,
    /// Given a member id but not yet back with it. // rule G1
    pub(crate) pending_join: BTreeSet<Arc<str>>,
    /// Joined in this generation but have not sent SyncGroup.
    pub(crate) pending_sync: BTreeSet<Arc<str>>,
    pub(crate) awaiting_join: usize,
    /// Protocol name to the number of members that offer it.
    votes: BTreeMap<Arc<str>, usize>,
    /// Bytes of all members' protocols.
    metadata_bytes: usize,
    /// Topics of all members, if the group is of consumers and they can be read.
    pub(crate) subscribed: Option<BTreeSet<Arc<str>>>,
    pub(crate) member_added: bool,
    pub(crate) initial_delay: Option<InitialDelay>,
}

impl Group {
    pub(crate) fn new(id: Arc<str>) -> Group {
        Group {
            id,
            image: None,
            offsets: Offsets::new(),
            consumer: None,
            seen_topics: None,
            state: State::Empty,
            since_ms: None,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join: 0,
            votes: BTreeMap::new(),
            metadata_bytes: 0,
            subscribed: None,
            member_added: false,
            initial_delay: None,
        }
    }

    /// Takes a generation the log has: the one this group was completing becomes stable with the
    /// assignments written there.
    pub(crate) fn adopt(&mut self, image: GroupImage) {
        // Whoever writes a classic group has forgotten the consumer group before, or has lost that
        // to compaction.
        self.consumer = None;
        if self.state == State::Completing
            && image.generation == self.generation
            && !image.members.is_empty()
        {
            for written in &image.members {
                if let Some(member) = self.members.get_mut(&written.member_id) {
                    member.assignment = written.assignment.clone();
                }
            }
            self.state = State::Stable;
            self.since_ms = image.state_timestamp_ms;
        }
        self.image = Some(image);
    }

    /// Whether nobody is in it, and nobody is about to be.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.consumer {
            Some(consumer) => consumer.members.is_empty(),
            None => self.state == State::Empty,
        }
    }

    /// Whether there is nothing to know about it.
    pub(crate) fn is_hollow(&self) -> bool {
        self.consumer.is_none()
            && self.image.is_none()
            && self.offsets.is_empty()
            && self.state == State::Empty
            && self.pending_join.is_empty()
    }

    /// Rebuilds the members from the log, after loading.
    pub(crate) fn restore(&mut self) {
        let Some(image) = self.image.take() else {
            return;
        };
        let kind = &image.protocol_type;
        self.protocol_type = (!kind.is_empty()).then(|| kind.clone());
        self.protocol = image.protocol.clone();
        self.generation = image.generation;
        self.since_ms = image.state_timestamp_ms;
        // A leader who is not a member counts as none; the first member then leads.
        self.leader = image
            .leader
            .clone()
            .filter(|id| image.members.iter().any(|m| m.member_id == *id));
        if let Some(protocol) = &image.protocol {
            for member in &image.members {
                self.add(Member::restored(member, protocol));
            }
        }
        self.state = if self.members.is_empty() {
            State::Empty
        } else {
            State::Stable
        };
        self.subscribed = self.subscribed_topics();
        self.image = Some(image);
    }

    /// What a metadata record written now would say, with the members' assignments as given.
    pub(crate) fn project(&self, assignment: impl Fn(&Member) -> bytes::Bytes) -> GroupImage {
        let protocol = self.protocol.as_deref().unwrap_or("");
        GroupImage {
            protocol_type: self.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            state_timestamp_ms: self.since_ms,
            members: self
                .members
                .values()
                .map(|member| MemberImage {
                    member_id: member.id.clone(),
                    instance_id: member.instance.clone(),
                    client_id: member.client_id.clone(),
                    client_host: member.client_host.clone(),
                    rebalance_timeout_ms: member.rebalance_timeout_ms,
                    session_timeout_ms: member.session_timeout_ms,
                    subscription: member.metadata(protocol),
                    assignment: assignment(member),
                })
                .collect(),
        }
    }

    pub(crate) fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    pub(crate) fn all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending_join.is_empty()
    }

    /// The longest any member asked for.
    pub(crate) fn rebalance_timeout_ms(&self) -> i64 {
        self.members
            .values()
            .map(|m| i64::from(m.rebalance_timeout_ms))
            .max()
            .unwrap_or(0)
    }

    pub(crate) fn is_of_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(subscription::CONSUMER)
    }

    pub(crate) fn member_count(&self) -> usize {
        match &self.consumer {
            Some(consumer) => consumer.members.len(),
            None => self.members.len(),
        }
    }

    pub(crate) fn offset_count(&self) -> usize {
        self.offsets.values().map(BTreeMap::len).sum()
    }

    /// Adds a member that is not there yet; the first decides the protocol type and leads.
    pub(crate) fn add(&mut self, member: Member) {
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.count_votes(&member.protocols, true);
        self.pending_join.remove(&member.id);
        let replaced = self.members.insert(member.id.clone(), member);
        debug_assert!(replaced.is_none(), "a member joined twice");
    }

    /// Removes a member or pending member, which must not wait for anything any more. The lead
    /// passes to the first of the rest.
    pub(crate) fn remove(&mut self, id: &str) {
        if let Some(member) = self.members.remove(id) {
            debug_assert!(member.awaiting_join.is_none() && member.awaiting_sync.is_none());
            self.count_votes(&member.protocols, false);
            if let Some(instance) = &member.instance {
                self.statics.remove(instance);
            }
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_join.remove(id);
        self.pending_sync.remove(id);
    }

    /// Gives a member's place, protocols and assignment to a new member id.
    pub(crate) fn rename(&mut self, old: &str, new: Arc<str>) {
        let Some(mut member) = self.members.remove(old) else {
            return;
        };
        member.id = new.clone();
        member.is_new = false;
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), new.clone());
        }
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        self.members.insert(new, member);
    }

    /// Replaces what a member offers.
    pub(crate) fn reoffer(&mut self, id: &str, protocols: Vec<Protocol>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let former = std::mem::replace(&mut member.protocols, protocols.clone());
        self.count_votes(&former, false);
        self.count_votes(&protocols, true);
    }

    /// Lets a member wait for the join phase; returns a former wait of the same member.
    pub(crate) fn await_join(&mut self, id: &str, waiter: Waiter) -> Option<Waiter> {
        let member = self.members.get_mut(id)?;
        let former = member.awaiting_join.replace(waiter);
        self.awaiting_join += usize::from(former.is_none());
        former
    }

    /// Ends a member's wait for the join phase, if there is one.
    pub(crate) fn take_join(&mut self, id: &str) -> Option<Waiter> {
        let waiter = self.members.get_mut(id)?.awaiting_join.take();
        self.awaiting_join -= usize::from(waiter.is_some());
        waiter
    }

    /// Ends a member's wait for the assignment, if there is one.
    pub(crate) fn take_sync(&mut self, id: &str) -> Option<Waiter> {
        self.members.get_mut(id)?.awaiting_sync.take()
    }

    /// Bytes of join metadata the group would hold if this member offered these protocols.
    pub(crate) fn metadata_bytes_with(&self, member: &str, protocols: &[Protocol]) -> usize {
        let held = self
            .members
            .get(member)
            .map_or(0, |m| bytes_of(&m.protocols));
        self.metadata_bytes - held + bytes_of(protocols)
    }

    fn count_votes(&mut self, protocols: &[Protocol], more: bool) {
        let bytes = bytes_of(protocols);
        if more {
            self.metadata_bytes += bytes;
        } else {
            self.metadata_bytes -= bytes;
        }
        for protocol in protocols {
            let count = self.votes.entry(protocol.name.clone()).or_default();
            *count = if more {
                *count + 1
            } else {
                count.saturating_sub(1)
            };
            if *count == 0 {
                self.votes.remove(&protocol.name);
            }
        }
    }

    fn is_common(&self, protocol: &str) -> bool {
        self.votes.get(protocol).copied().unwrap_or(0) == self.members.len()
    }

    /// Whether somebody with these protocols can be part of this group.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == State::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols
                .iter()
                .any(|protocol| self.is_common(&protocol.name))
    }

    /// The protocol most members prefer among those all of them have. Kafka leaves a tie to the
    /// order of a hash map; here the leader's preference decides, then the name.
    pub(crate) fn select_protocol(&self) -> Option<Arc<str>> {
        let mut tally: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let vote = member
                .protocols
                .iter()
                .find(|offered| self.is_common(&offered.name))?;
            *tally.entry(&vote.name).or_default() += 1;
        }
        let leader = self.leader.as_ref().and_then(|id| self.members.get(id));
        let rank = |name: &Arc<str>| {
            leader
                .and_then(|member| member.protocols.iter().position(|p| p.name == *name))
                .unwrap_or(usize::MAX)
        };
        tally
            .into_iter()
            .min_by_key(|(name, votes)| (std::cmp::Reverse(*votes), rank(name)))
            .map(|(name, _)| name.clone())
    }

    /// Topics of all members; `None` if the group is not of consumers, has no protocol yet or a
    /// subscription cannot be read.
    pub(crate) fn subscribed_topics(&self) -> Option<BTreeSet<Arc<str>>> {
        if !self.is_of_consumers() {
            return None;
        }
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            let protocol = self.protocol.as_deref()?;
            all.append(&mut subscription::topics(&member.metadata(protocol))?);
        }
        Some(all)
    }

    /// Whether members read this topic; a consumer group whose subscriptions are unknown may read any.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        if let Some(consumer) = &self.consumer {
            return consumer.topics.contains_key(topic);
        }
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.is_of_consumers(),
        }
    }

    /// Refuses who is not a member under this id, or was replaced under its instance id.
    pub(crate) fn check_member(
        &self,
        member: &str,
        instance: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                // rule G7
                Some(current) if **current != *member => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(ErrorCode::UnknownMemberId)
        }
    }
}

/// Bytes of names and metadata.
pub(crate) fn bytes_of(protocols: &[Protocol]) -> usize {
    protocols
        .iter()
        .map(|protocol| protocol.name.len() + protocol.metadata.len())
        .sum()
}
