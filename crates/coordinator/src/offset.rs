//! Committed offsets: commit, transactional commit, fetch, delete, expiry.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use wire::ErrorCode;

use crate::admin;
use crate::consumer::leave::cancel_alarms;
use crate::consumer::view::Committer;
use crate::group::{Committed, Group, Offsets, State};
use crate::rebalance::Stage;
use crate::record::{CommittedOffset, Record};
use crate::request::{
    CommitRequest, CommitTopic, DeleteOffsetsRequest, FetchRequest, SeekRequest, TxnCommitRequest,
    nothing_fetched,
};
use crate::response::{
    CommittedTopic, DeletedOffsets, FetchedGroup, FetchedPartition, FetchedTopic, PartitionResult,
};
use crate::settings::{CLEANUP_RECORDS_MAX, CLEANUP_VISITS_MAX, Settings};
use crate::shard::Effects;
use crate::time::Now;

/// From this version of OffsetCommit on, an unknown group is named as such.
const COMMIT_GROUP_ID_NOT_FOUND: i16 = 9;

/// Offsets of open transactions, by producer and group; they count once the marker says commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pending {
    by_producer: BTreeMap<i64, BTreeMap<Arc<str>, Offsets>>,
    by_group: BTreeMap<Arc<str>, BTreeSet<i64>>,
}

impl Pending {
    pub(crate) fn put(
        &mut self,
        producer: i64,
        group: &Arc<str>,
        topic: Arc<str>,
        partition: i32,
        committed: Committed,
    ) {
        let groups = self.by_producer.entry(producer).or_default();
        let offsets = groups.entry(group.clone()).or_default();
        offsets
            .entry(topic)
            .or_default()
            .insert(partition, committed);
        self.by_group
            .entry(group.clone())
            .or_default()
            .insert(producer);
    }

    /// Forgets what is pending for a partition; the transaction itself stays open.
    pub(crate) fn forget(&mut self, group: &str, topic: &str, partition: i32) {
        for producer in self.by_group.get(group).into_iter().flatten() {
            let offsets = self
                .by_producer
                .get_mut(producer)
                .and_then(|groups| groups.get_mut(group));
            if let Some(partitions) = offsets.and_then(|offsets| offsets.get_mut(topic)) {
                partitions.remove(&partition);
            }
        }
    }

    /// Ends a transaction and returns what was pending in it, by group.
    pub(crate) fn end(&mut self, producer: i64) -> BTreeMap<Arc<str>, Offsets> {
        let groups = self.by_producer.remove(&producer).unwrap_or_default();
        for group in groups.keys() {
            if let Some(open) = self.by_group.get_mut(group) {
                open.remove(&producer);
                if open.is_empty() {
                    self.by_group.remove(group);
                }
            }
        }
        groups
    }

    pub(crate) fn is_open(&self, group: &str) -> bool {
        self.by_group.contains_key(group)
    }

    pub(crate) fn has(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.of_group(group).any(|offsets| {
            offsets
                .get(topic)
                .is_some_and(|partitions| partitions.contains_key(&partition))
        })
    }

    fn of_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Offsets> {
        self.by_group
            .get(group)
            .into_iter()
            .flatten()
            .filter_map(move |producer| self.by_producer.get(producer)?.get(group))
    }

    /// Groups and their pending partitions, for those topics the filter wants.
    fn partitions<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a Arc<str>, i32)> + 'a {
        self.of_group(group)
            .flatten()
            .flat_map(|(topic, partitions)| partitions.keys().map(move |p| (topic, *p)))
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_group.keys()
    }
}

/// What a commit asks for besides its group.
struct Commit<'a> {
    topics: &'a [CommitTopic],
    expire_timestamp_ms: Option<i64>,
    /// Offsets of open transactions, which take up room as well.
    pending: usize,
}

/// OffsetCommit. // rule G6
pub(crate) fn commit(
    group: Option<&mut Group>,
    stage: &mut Stage,
    version: i16,
    request: &CommitRequest,
) -> Result<Vec<CommittedTopic>, ErrorCode> {
    match &group {
        // Somebody who manages partitions alone: the record will found the group.
        None if request.generation < 0 => {}
        None if version >= COMMIT_GROUP_ID_NOT_FOUND => return Err(ErrorCode::GroupIdNotFound),
        None => return Err(ErrorCode::IllegalGeneration),
        Some(group) if group.consumer.is_some() => {
            let from = Committer {
                member: &request.member_id,
                instance: request.instance_id.as_deref(),
                epoch: request.generation,
                transactional: false,
                version,
            };
            group.check_consumer_commit(stage, &from, &request.topics)?;
        }
        Some(group) => group.check_commit(
            &request.member_id,
            request.instance_id.as_deref(),
            request.generation,
            false,
        )?,
    }
    let mut known = None;
    if let Some(group) = group {
        // Committing is a sign of life.
        if matches!(group.state, State::Stable | State::Preparing { .. }) {
            group.renew_session(stage, &request.member_id);
        }
        known = Some(&*group);
    }
    let expires = (request.retention_ms >= 0 && (2..=4).contains(&version))
        .then(|| stage.now.wall_ms.saturating_add(request.retention_ms));
    let commit = Commit {
        topics: &request.topics,
        expire_timestamp_ms: expires,
        pending: 0,
    };
    Ok(write_commit(&request.group, known, stage, &commit))
}

/// TxnOffsetCommit: the same, but the generation phase is not asked about, and older producers name
/// no member.
pub(crate) fn txn_commit(
    group: Option<&Group>,
    pending: &Pending,
    stage: &mut Stage,
    request: &TxnCommitRequest,
) -> Result<Vec<CommittedTopic>, ErrorCode> {
    match group {
        None if request.generation < 0 => {}
        None => return Err(ErrorCode::IllegalGeneration),
        Some(group) if group.consumer.is_some() => {
            let from = Committer {
                member: &request.member_id,
                instance: request.instance_id.as_deref(),
                epoch: request.generation,
                transactional: true,
                version: 0,
            };
            group.check_consumer_commit(stage, &from, &request.topics)?;
        }
        Some(group) => group.check_commit(
            &request.member_id,
            request.instance_id.as_deref(),
            request.generation,
            true,
        )?,
    }
    let commit = Commit {
        topics: &request.topics,
        expire_timestamp_ms: None,
        pending: pending.partitions(&request.group).count(),
    };
    Ok(write_commit(&request.group, group, stage, &commit))
}

/// Moves a group to other offsets: its members are out, the generation rises, all in one batch.
pub(crate) fn seek(
    group: Option<&mut Group>,
    stage: &mut Stage,
    request: &SeekRequest,
) -> Vec<CommittedTopic> {
    let mut known = None;
    if let Some(group) = group {
        if let Some(consumer) = &group.consumer {
            let members: Vec<Arc<str>> = consumer.members.keys().cloned().collect();
            let mut records = Vec::new();
            if !members.is_empty() {
                consumer.fence_records(stage, &members, &mut records);
            }
            stage.effects.records.append(&mut records);
            for member in &members {
                cancel_alarms(stage, &request.group, member);
            }
        }
        let members: Vec<Arc<str>> = group.members.keys().cloned().collect();
        if !members.is_empty() || !matches!(group.state, State::Empty) {
            for member in members {
                group.expel(stage, &member);
            }
            group.empty_by_force(stage);
        }
        known = Some(&*group);
    }
    let commit = Commit {
        topics: &request.topics,
        expire_timestamp_ms: None,
        pending: 0,
    };
    write_commit(&request.group, known, stage, &commit)
}

fn write_commit(
    id: &Arc<str>,
    group: Option<&Group>,
    stage: &mut Stage,
    commit: &Commit,
) -> Vec<CommittedTopic> {
    let mut room = stage
        .settings
        .offsets_per_group_max
        .saturating_sub(group.map_or(0, Group::offset_count) + commit.pending);
    let mut results = Vec::with_capacity(commit.topics.len());
    for topic in commit.topics {
        let held = group.and_then(|group| group.offsets.get(&topic.name));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in &topic.partitions {
            let metadata = asked.metadata.clone().unwrap_or_else(|| Arc::from(""));
            let is_new = held.is_none_or(|held| !held.contains_key(&asked.partition));
            let error = if metadata.encode_utf16().count() > stage.settings.offset_metadata_max {
                ErrorCode::OffsetMetadataTooLarge
            } else if is_new && room == 0 {
                ErrorCode::PolicyViolation
            } else {
                room -= usize::from(is_new);
                let committed = CommittedOffset {
                    offset: asked.offset,
                    leader_epoch: asked.leader_epoch.max(-1),
                    metadata,
                    commit_timestamp_ms: stage.now.wall_ms,
                    expire_timestamp_ms: commit.expire_timestamp_ms,
                };
                stage.effects.records.push(Record::offset(
                    id,
                    &topic.name,
                    asked.partition,
                    &committed,
                ));
                ErrorCode::None
            };
            partitions.push(PartitionResult {
                partition: asked.partition,
                error,
            });
        }
        results.push(CommittedTopic {
            name: topic.name.clone(),
            partitions,
        });
    }
    results
}

/// OffsetFetch. A group that does not exist has committed nothing, which is no error.
pub(crate) fn fetch(
    group: Option<&Group>,
    pending: &Pending,
    request: &FetchRequest,
) -> FetchedGroup {
    let refusal = group
        .and_then(|group| group.consumer.as_ref())
        .and_then(|consumer| {
            consumer
                .check_fetch(request.member_id.as_deref(), request.member_epoch)
                .err()
        });
    if let Some(error) = refusal {
        return FetchedGroup {
            group: request.group.clone(),
            error,
            topics: nothing_fetched(request.topics.as_deref().unwrap_or(&[])),
        };
    }
    let none = Offsets::new();
    let offsets = group.map_or(&none, |group| &group.offsets);
    let unstable = |topic: &str, partition: i32| {
        // rule T14
        request.require_stable && pending.has(&request.group, topic, partition)
    };
    let show = |topic: &str, partition: i32, committed: Option<&Committed>| {
        let nothing = FetchedPartition::none(partition);
        if unstable(topic, partition) {
            return FetchedPartition {
                error: ErrorCode::UnstableOffsetCommit,
                ..nothing
            };
        }
        match committed {
            None => nothing,
            Some(Committed { value, .. }) => FetchedPartition {
                offset: value.offset,
                leader_epoch: value.leader_epoch,
                metadata: value.metadata.clone(),
                ..nothing
            },
        }
    };
    let topics = match &request.topics {
        None => offsets
            .iter()
            .map(|(name, partitions)| FetchedTopic {
                name: name.clone(),
                partitions: partitions
                    .iter()
                    .map(|(p, c)| show(name, *p, Some(c)))
                    .collect(),
            })
            .collect(),
        Some(asked) => {
            let mut topics = nothing_fetched(asked);
            for topic in &mut topics {
                let held = offsets.get(&topic.name);
                for slot in &mut topic.partitions {
                    let committed = held.and_then(|held| held.get(&slot.partition));
                    *slot = show(&topic.name, slot.partition, committed);
                }
            }
            topics
        }
    };
    FetchedGroup {
        group: request.group.clone(),
        error: ErrorCode::None,
        topics,
    }
}

/// OffsetDelete: not for topics the members read. // rule G10
pub(crate) fn delete_offsets(
    group: Option<&Group>,
    pending: &Pending,
    effects: &mut Effects,
    request: &DeleteOffsetsRequest,
) -> Result<DeletedOffsets, ErrorCode> {
    let group = group.ok_or(ErrorCode::GroupIdNotFound)?;
    if group.state != State::Empty && !group.is_of_consumers() {
        return Err(ErrorCode::NonEmptyGroup);
    }
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        if group.is_subscribed_to(&topic.name) {
            topics.push(topic.all(ErrorCode::GroupSubscribedToTopic));
            continue;
        }
        topics.push(topic.all(ErrorCode::None));
        let held = group.offsets.get(&topic.name);
        for partition in &topic.partitions {
            if held.is_some_and(|held| held.contains_key(partition))
                || pending.has(&group.id, &topic.name, *partition)
            {
                effects
                    .records
                    .push(Record::offset_tombstone(&group.id, &topic.name, *partition));
            }
        }
    }
    Ok(DeletedOffsets {
        error: ErrorCode::None,
        topics,
    })
}

impl Group {
    /// Who may commit to a consumer group; one partition that may not refuses all. // rule N6
    fn check_consumer_commit(
        &self,
        stage: &Stage,
        from: &Committer,
        topics: &[CommitTopic],
    ) -> Result<(), ErrorCode> {
        let Some(consumer) = &self.consumer else {
            return Ok(());
        };
        let admitted = consumer.check_commit(from)?;
        for topic in topics {
            let id = stage.cluster.topic(&topic.name).map(|facts| facts.id);
            for partition in &topic.partitions {
                admitted.check(id, partition.partition, from.transactional)?;
            }
        }
        Ok(())
    }

    /// Who may commit, and when. // rules G4, G6
    fn check_commit(
        &self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        transactional: bool,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.state == State::Empty {
            // An administrator, or a consumer that manages its partitions alone.
            return Ok(());
        }
        if generation >= 0 || !member.is_empty() || instance.is_some() {
            self.check_member(member, instance)?;
            if generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else if !transactional {
            return Err(ErrorCode::UnknownMemberId);
        }
        if !transactional && self.state == State::Completing {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }

    /// Tombstones for everything committed or pending.
    pub(crate) fn forget_offsets(&self, pending: &Pending, effects: &mut Effects) {
        let held = self
            .offsets
            .iter()
            .flat_map(|(topic, partitions)| partitions.keys().map(move |p| (topic, *p)));
        let all: BTreeSet<(&Arc<str>, i32)> = held.chain(pending.partitions(&self.id)).collect();
        for (topic, partition) in all {
            effects
                .records
                .push(Record::offset_tombstone(&self.id, topic, partition));
        }
    }

    /// Writes tombstones for expired offsets; `true` if nothing is left to keep the group. // rule G8
    fn expire_offsets(
        &self,
        now: Now,
        settings: &Settings,
        pending: &Pending,
        effects: &mut Effects,
    ) -> bool {
        if self.offsets.is_empty() {
            return true;
        }
        // From when on the retention runs: for a group that had members, from when it became empty;
        // for a simple one, and for topics an active group no longer reads, from the commit.
        let since_empty = match (&self.protocol_type, self.state) {
            (None, _) => None,
            (Some(_), State::Empty) => self.since_ms,
            (Some(_), State::Stable) if self.is_of_consumers() && self.subscribed.is_some() => None,
            _ => return false,
        };
        let mut nothing_left = true;
        for (topic, partitions) in &self.offsets {
            if self.is_subscribed_to(topic) {
                nothing_left = false;
                continue;
            }
            for (partition, Committed { value, .. }) in partitions {
                let expired = match value.expire_timestamp_ms {
                    Some(at) => now.wall_ms >= at,
                    None => {
                        let base = since_empty.unwrap_or(value.commit_timestamp_ms);
                        now.wall_ms.saturating_sub(base) >= settings.offsets_retention_ms
                    }
                };
                if expired && !pending.has(&self.id, topic, *partition) {
                    effects
                        .records
                        .push(Record::offset_tombstone(&self.id, topic, *partition));
                } else {
                    nothing_left = false;
                }
            }
        }
        nothing_left && !pending.is_open(&self.id)
    }
}

/// One step of the search for expired offsets and abandoned groups, from `after` on. Returns where
/// to go on, or `None` at the end.
pub(crate) fn clean_up(
    groups: &BTreeMap<Arc<str>, Group>,
    pending: &Pending,
    now: Now,
    settings: &Settings,
    after: Option<Arc<str>>,
    effects: &mut Effects,
) -> Option<Arc<str>> {
    let from = after
        .as_ref()
        .map_or(Bound::Unbounded, |id| Bound::Excluded(id.clone()));
    let mut visits = 0;
    for (id, group) in groups.range((from, Bound::Unbounded)) {
        visits += 1 + group.offset_count();
        let nothing_left = group.expire_offsets(now, settings, pending, effects);
        if nothing_left && group.is_empty() {
            admin::forget(group, effects);
        }
        if effects.records.len() >= CLEANUP_RECORDS_MAX || visits >= CLEANUP_VISITS_MAX {
            return Some(id.clone());
        }
    }
    None
}

/// Tombstones for partitions that no longer exist.
pub(crate) fn partitions_deleted(
    groups: &BTreeMap<Arc<str>, Group>,
    pending: &Pending,
    gone: &[(Arc<str>, i32)],
    effects: &mut Effects,
) {
    let ids: BTreeSet<&Arc<str>> = groups.keys().chain(pending.groups()).collect();
    for id in ids {
        let offsets = groups.get(id).map(|group| &group.offsets);
        for (topic, partition) in gone {
            let held = offsets
                .and_then(|offsets| offsets.get(topic))
                .is_some_and(|partitions| partitions.contains_key(partition));
            if held || pending.has(id, topic, *partition) {
                effects
                    .records
                    .push(Record::offset_tombstone(id, topic, *partition));
            }
        }
    }
}
