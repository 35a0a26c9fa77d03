//! A consumer group (KIP-848): members, the target they shall reach, how far each one is.
//!
//! All of it is the log's: [`ConsumerGroup::apply`] is the only thing that changes it. A heartbeat
//! reads it, computes what shall be and returns records. What the group keeps besides (which
//! version of the topics it has seen) lies in [`crate::group::Group`] and is lost in a restart.
//!
//! Invariants: the indices below the fold are functions of members and patterns; a partition has one
//! owner at most, the member that has it or must still give it up.
//!
//! Follows Kafka 4.3's `GroupMetadataManager` step by step; a group's life from outside (epochs,
//! errors, records) is the same, but for the order of ties and for patterns, which are looked at in
//! a timer's step and not by another thread.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::ids::TopicId;

use crate::cluster::Cluster;
use crate::rebalance::Stage;
use crate::record::{Corrupt, Record};
use crate::time::Alarm;

pub(crate) mod assignor;
pub(crate) mod classic_members;
pub(crate) mod heartbeat;
pub(crate) mod leave;
pub(crate) mod member;
pub(crate) mod migration;
mod pattern;
mod patterns;
mod reconcile;
pub(crate) mod record;
pub(crate) mod target;
mod topics_hash;
pub(crate) mod view;

use member::{ConsumerMember, EPOCH_LEAVE, Owned, Partitions};
use record::{ConsumerKey, ResolvedPattern};

/// A consumer group as its records left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsumerGroup {
    pub(crate) id: Arc<str>,
    /// Rises with every change of who reads what.
    pub(crate) epoch: i32,
    /// Hash of the subscribed topics at that epoch.
    pub(crate) topics_hash: i64,
    /// The epoch the target belongs to; behind `epoch` while a new one is due.
    pub(crate) target_epoch: i32,
    /// When the target was made, milliseconds since the Unix epoch; 0 if unknown.
    pub(crate) target_ms: i64,
    pub(crate) members: BTreeMap<Arc<str>, ConsumerMember>,
    /// What each member shall have.
    pub(crate) target: BTreeMap<Arc<str>, Partitions>,
    /// What each pattern stands for.
    pub(crate) resolved: BTreeMap<Arc<str>, ResolvedPattern>,
    /// Kafka up to 4.0 kept a record of the topics, which wants forgetting.
    pub(crate) has_topics_record: bool,
    // Functions of the above.
    /// Instance id to member id.
    pub(crate) statics: BTreeMap<Arc<str>, Arc<str>>,
    /// Who has a partition, or must still give it up.
    owners: BTreeMap<TopicId, BTreeMap<i32, Arc<str>>>,
    /// How many members name a topic, and how many patterns stand for it.
    pub(crate) topics: BTreeMap<Arc<str>, Readers>,
    /// How many members have a pattern.
    pub(crate) patterns: BTreeMap<Arc<str>, usize>,
}

/// Who reads a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readers {
    /// Members that name it.
    pub(crate) members: usize,
    /// Patterns that stand for it.
    pub(crate) patterns: usize,
}

/// Topics with their readers, as they would be after a change.
pub(crate) type Subscribed = BTreeMap<Arc<str>, Readers>;

impl ConsumerGroup {
    /// A group nobody is in; its epochs begin at 1, without a record that says so.
    pub(crate) fn new(id: Arc<str>) -> ConsumerGroup {
        ConsumerGroup {
            id,
            epoch: 1,
            topics_hash: 0,
            target_epoch: 1,
            target_ms: 0,
            members: BTreeMap::new(),
            target: BTreeMap::new(),
            resolved: BTreeMap::new(),
            has_topics_record: false,
            statics: BTreeMap::new(),
            owners: BTreeMap::new(),
            topics: BTreeMap::new(),
            patterns: BTreeMap::new(),
        }
    }

    /// Takes in a record of this group; not the one that forgets it.
    pub(crate) fn apply(&mut self, key: ConsumerKey, value: Option<&[u8]>) -> Result<(), Corrupt> {
        match (key, value) {
            (ConsumerKey::Epoch { .. }, Some(value)) => {
                (self.epoch, self.topics_hash) = record::decode_epoch(value)?;
            }
            (ConsumerKey::Topics { .. }, value) => self.has_topics_record = value.is_some(),
            (ConsumerKey::Member { member, .. }, Some(value)) => {
                let mut changed = self.member_or_new(&member);
                record::decode_member(value, &mut changed)?;
                self.put(changed);
            }
            (ConsumerKey::Member { member, .. }, None) => self.drop_member(&member),
            (ConsumerKey::TargetEpoch { .. }, Some(value)) => {
                (self.target_epoch, self.target_ms) = record::decode_target_epoch(value)?;
            }
            (ConsumerKey::Epoch { .. }, None) => {}
            (ConsumerKey::TargetEpoch { .. }, None) => {
                (self.target_epoch, self.target_ms) = (-1, 0)
            }
            (ConsumerKey::Target { member, .. }, Some(value)) => {
                self.target.insert(member, record::decode_target(value)?);
            }
            (ConsumerKey::Target { member, .. }, None) => {
                self.target.remove(&member);
            }
            (ConsumerKey::Current { member, .. }, Some(value)) => {
                let mut changed = self.member_or_new(&member);
                record::decode_current(value, &mut changed)?;
                self.put(changed);
            }
            (ConsumerKey::Current { member, .. }, None) => {
                if let Some(known) = self.members.get(&member) {
                    let mut changed = known.clone();
                    changed.epoch = EPOCH_LEAVE;
                    changed.previous_epoch = EPOCH_LEAVE;
                    changed.assigned.clear();
                    changed.revoking.clear();
                    self.put(changed);
                }
            }
            (ConsumerKey::Pattern { pattern, .. }, Some(value)) => {
                let resolved = record::decode_pattern(value)?;
                self.drop_pattern(&pattern);
                for topic in &resolved.topics {
                    self.topics.entry(topic.clone()).or_default().patterns += 1;
                }
                self.resolved.insert(pattern, resolved);
            }
            (ConsumerKey::Pattern { pattern, .. }, None) => self.drop_pattern(&pattern),
        }
        Ok(())
    }

    fn member_or_new(&self, id: &Arc<str>) -> ConsumerMember {
        let known = self.members.get(id).cloned();
        known.unwrap_or_else(|| ConsumerMember::new(id.clone()))
    }

    /// Puts a member in the place of what was known of it.
    pub(crate) fn put(&mut self, member: ConsumerMember) {
        self.unindex(&member.id);
        if let Some(instance) = &member.instance {
            self.statics.insert(instance.clone(), member.id.clone());
        }
        for topic in &member.topics {
            self.topics.entry(topic.clone()).or_default().members += 1;
        }
        if let Some(pattern) = member.pattern() {
            *self.patterns.entry(pattern.clone()).or_default() += 1;
        }
        for (topic, partitions) in member.assigned.iter().chain(&member.revoking) {
            let owners = self.owners.entry(*topic).or_default();
            owners.extend(partitions.keys().map(|p| (*p, member.id.clone())));
        }
        self.members.insert(member.id.clone(), member);
    }

    fn drop_member(&mut self, id: &Arc<str>) {
        self.unindex(id);
        self.members.remove(id);
    }

    /// Takes a member out of the indices.
    fn unindex(&mut self, id: &Arc<str>) {
        let ConsumerGroup {
            members,
            statics,
            owners,
            topics,
            patterns,
            ..
        } = self;
        let Some(member) = members.get(id) else {
            return;
        };
        if let Some(instance) = &member.instance
            // The instance may already be another member's.
            && statics.get(instance) == Some(id)
        {
            statics.remove(instance);
        }
        for topic in &member.topics {
            lose(topics, topic, |readers| readers.members -= 1);
        }
        if let Some(pattern) = member.pattern()
            && let Some(count) = patterns.get_mut(pattern)
        {
            *count -= 1;
            if *count == 0 {
                patterns.remove(pattern);
            }
        }
        for (topic, partitions) in member.assigned.iter().chain(&member.revoking) {
            if let Some(of_topic) = owners.get_mut(topic) {
                for partition in partitions.keys() {
                    if of_topic.get(partition) == Some(id) {
                        of_topic.remove(partition);
                    }
                }
                if of_topic.is_empty() {
                    owners.remove(topic);
                }
            }
        }
    }

    fn drop_pattern(&mut self, pattern: &Arc<str>) {
        if let Some(resolved) = self.resolved.remove(pattern) {
            for topic in &resolved.topics {
                lose(&mut self.topics, topic, |readers| readers.patterns -= 1);
            }
        }
    }

    /// `Empty`, `Assigning`, `Reconciling` or `Stable`.
    pub(crate) fn state_name(&self) -> &'static str {
        if self.members.is_empty() {
            "Empty"
        } else if self.epoch > self.target_epoch {
            "Assigning"
        } else if self
            .members
            .values()
            .all(|member| member.is_reconciled_to(self.target_epoch))
        {
            "Stable"
        } else {
            "Reconciling"
        }
    }

    /// After loading each member has a full session to show itself, and its time to give partitions
    /// up begins anew.
    pub(crate) fn loaded(&self, stage: &mut Stage) {
        for member in self.members.values() {
            let session_ms = match &member.classic {
                Some(classic) => classic.session_timeout_ms,
                None => self.session_timeout_ms(stage),
            };
            let session = Alarm::Session(self.id.clone(), member.id.clone());
            stage.alarm_in(session, i64::from(session_ms));
            if member.must_revoke() && !member.is_classic() {
                let revocation = Alarm::Revocation(self.id.clone(), member.id.clone());
                stage.alarm_in(revocation, i64::from(member.rebalance_timeout_ms));
            }
        }
    }

    /// Whether a partition is somebody's, or still to be given up by somebody.
    pub(crate) fn is_owned(&self, topic: TopicId, partition: i32) -> bool {
        self.owners
            .get(&topic)
            .is_some_and(|partitions| partitions.contains_key(&partition))
    }

    pub(crate) fn static_member(&self, instance: &str) -> Option<&ConsumerMember> {
        self.members.get(self.statics.get(instance)?)
    }

    pub(crate) fn classic_members(&self) -> usize {
        self.members
            .values()
            .filter(|member| member.is_classic())
            .count()
    }

    /// The topics a member reads: those it names, and those its pattern stands for.
    pub(crate) fn is_subscribed(&self, member: &ConsumerMember, topic: &str) -> bool {
        member.topics.contains(topic)
            || member
                .pattern()
                .and_then(|pattern| self.resolved.get(pattern))
                .is_some_and(|resolved| resolved.topics.contains(topic))
    }

    /// What the subscriptions would be if a member changed like this; `None` for none.
    pub(crate) fn subscribed_after(
        &self,
        before: Option<&ConsumerMember>,
        after: Option<&ConsumerMember>,
    ) -> Subscribed {
        let mut topics = self.topics.clone();
        for topic in before.iter().flat_map(|member| &member.topics) {
            lose(&mut topics, topic, |readers| readers.members -= 1);
        }
        for topic in after.iter().flat_map(|member| &member.topics) {
            topics.entry(topic.clone()).or_default().members += 1;
        }
        // The last with a pattern takes the pattern's topics along.
        if let Some(pattern) = before.and_then(ConsumerMember::pattern)
            && after.and_then(ConsumerMember::pattern) != Some(pattern)
            && self.patterns.get(pattern).copied().unwrap_or(0) <= 1
        {
            self.lose_pattern(&mut topics, pattern);
        }
        topics
    }

    pub(crate) fn lose_pattern(&self, topics: &mut Subscribed, pattern: &str) {
        if let Some(resolved) = self.resolved.get(pattern) {
            for topic in &resolved.topics {
                lose(topics, topic, |readers| readers.patterns -= 1);
            }
        }
    }

    /// Hash of these topics as they are now.
    pub(crate) fn hash_of(cluster: &dyn Cluster, topics: &Subscribed) -> i64 {
        topics_hash::hash(cluster, topics.keys())
    }

    /// Tombstones for everything the log has of this group.
    pub(crate) fn forget(&self, records: &mut Vec<Record>) {
        self.forget_as(records, None);
    }

    /// The same, if in the records before these `replaced` has been renamed.
    pub(crate) fn forget_as(
        &self,
        records: &mut Vec<Record>,
        replaced: Option<(&Arc<str>, &Arc<str>)>,
    ) {
        let group = &self.id;
        let named = |id: &Arc<str>| match replaced {
            Some((former, new)) if former == id => new.clone(),
            _ => id.clone(),
        };
        let members: BTreeSet<Arc<str>> = self.members.keys().map(named).collect();
        // A target without a member is only in damaged logs; it goes as well.
        let targets: BTreeSet<Arc<str>> = self.target.keys().map(named).collect();
        for member in &members {
            let (group, member) = (group.clone(), member.clone());
            records.push(ConsumerKey::Current { group, member }.tombstone());
        }
        for member in members.union(&targets) {
            let (group, member) = (group.clone(), member.clone());
            records.push(ConsumerKey::Target { group, member }.tombstone());
        }
        let group = group.clone();
        records.push(
            ConsumerKey::TargetEpoch {
                group: group.clone(),
            }
            .tombstone(),
        );
        for member in members {
            let group = group.clone();
            records.push(ConsumerKey::Member { group, member }.tombstone());
        }
        for pattern in self.resolved.keys().cloned() {
            let group = group.clone();
            records.push(ConsumerKey::Pattern { group, pattern }.tombstone());
        }
        records.push(
            ConsumerKey::Topics {
                group: group.clone(),
            }
            .tombstone(),
        );
        records.push(ConsumerKey::Epoch { group }.tombstone());
    }

    /// Tombstones for one member.
    pub(crate) fn forget_member(&self, records: &mut Vec<Record>, member: &Arc<str>) {
        let (group, member) = (self.id.clone(), member.clone());
        let [current, target, said] = [
            ConsumerKey::Current {
                group: group.clone(),
                member: member.clone(),
            },
            ConsumerKey::Target {
                group: group.clone(),
                member: member.clone(),
            },
            ConsumerKey::Member { group, member },
        ];
        records.extend([current.tombstone(), target.tombstone(), said.tombstone()]);
    }
}

/// Takes one reader from a topic; a topic without readers is forgotten.
fn lose(topics: &mut Subscribed, topic: &Arc<str>, change: impl FnOnce(&mut Readers)) {
    if let Some(readers) = topics.get_mut(topic) {
        change(readers);
        if *readers == Readers::default() {
            topics.remove(topic);
        }
    }
}

/// Partitions with one epoch for all.
pub(crate) fn given_at(partitions: &Partitions, epoch: i32) -> Owned {
    partitions
        .iter()
        .map(|(topic, numbers)| (*topic, numbers.iter().map(|n| (*n, epoch)).collect()))
        .collect()
}
