//! The groups of one partition of `__consumer_offsets`: requests, timers and records come in here.
//!
//! The host's part, in this order for every call of [`Shard::handle`], [`Shard::tick`] and
//! [`Shard::partitions_deleted`]:
//! 1. append [`Effects::records`] as one batch (or as [`Effects::batches`] cuts them), with
//!    [`Effects::producer`] in its header if that is given;
//! 2. apply each record, with its offset; only then call the shard again;
//! 3. give the replies away when that batch is durable (and, for replies without records, when all
//!    that was applied before is durable).
//!
//! If the append is refused for the moment (no room to stage), hold the effects, try again, and let
//! requests wait meanwhile. If it fails, [`Shard::append_failed`] ends the shard and gives everybody
//! an answer; replies still held for earlier batches that are lost go through
//! [`GroupResponse::failed`]. A new shard is then loaded from the log, for what a failed append left
//! there is not known.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::ErrorCode;

use crate::cluster::{Cluster, Nothing};
use crate::consumer::ConsumerGroup;
use crate::consumer::assignor::Assignor;
use crate::consumer::heartbeat::{self, Refusal};
use crate::consumer::leave::not_of_consumers;
use crate::consumer::record::ConsumerKey;
use crate::consumer::view;
use crate::group::{Committed, Group, Offsets, State};
use crate::member::Waiter;
use crate::offset::{self, Pending};
use crate::rebalance::Stage;
use crate::record::{
    Corrupt, GroupImage, Key, Record, decode_group_value, decode_key, decode_offset_value,
};
use crate::request::{Caller, ConsumerHeartbeatRequest, GroupRequest, JoinRequest, Token};
use crate::response::{
    ConsumerHeartbeatResponse, GroupResponse, JoinResponse, ListedGroups, SyncResponse,
    append_error,
};
use crate::settings::{CONSUMER_TOPICS_MAX, STRING_BYTES_MAX, Settings};
use crate::time::{Alarm, Alarms, Instant, Now};
use crate::{admin, membership};

/// What a step wants of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// To append and apply, in this order.
    pub records: Vec<Record>,
    /// To give once the records are durable.
    pub replies: Vec<(Token, GroupResponse)>,
    /// If given, the records belong to this producer's open transaction.
    pub producer: Option<ProducerStamp>,
    /// Rebalances that this step began.
    pub rebalances: Rebalances,
}

/// Rebalances by the protocol of their group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebalances {
    /// Calls to join, of the classic protocol.
    pub classic: u64,
    /// Epochs begun, of KIP-848's.
    pub consumer: u64,
}

/// Bytes a record takes in a batch besides its key and value, at most: lengths, deltas, headers.
const RECORD_OVERHEAD_BYTES: usize = 32;

impl Effects {
    /// The records in order, cut so that each part fits a batch of `bytes_max`; a single record that
    /// does not is alone in its part. Most effects are one part; deleting a group with many offsets
    /// is several. If a later part cannot be appended, nothing was promised yet: the shard ends, and
    /// what the log kept of the earlier parts is a state like any other.
    pub fn batches(&self, bytes_max: usize) -> impl Iterator<Item = &[Record]> {
        let mut rest = &self.records[..];
        std::iter::from_fn(move || {
            let mut room = bytes_max;
            let fits = rest.iter().take_while(|record| {
                let value = record.value.as_ref().map_or(0, |value| value.len());
                let size = RECORD_OVERHEAD_BYTES + record.key.len() + value;
                let fits = size <= room;
                room = room.saturating_sub(size);
                fits
            });
            let cut = fits.count().max(1).min(rest.len());
            let part;
            (part, rest) = rest.split_at(cut);
            (!part.is_empty()).then_some(part)
        })
    }
}

/// Producer id and epoch of a transactional batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
}

/// Where an applied record stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordOrigin {
    /// Its offset.
    pub offset: i64,
    /// The producer id of its batch, if the batch is transactional.
    pub producer_id: Option<i64>,
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Groups, of any state.
    pub groups: usize,
    /// Members of all groups.
    pub members: usize,
    /// Committed offsets of all groups.
    pub offsets: usize,
    /// Records skipped because this build does not know their key type, since loading began.
    pub skipped_records: u64,
}

/// What a restart keeps of a group.
type Kept = (Option<GroupImage>, Offsets, Option<Box<ConsumerGroup>>);

/// What a restart keeps of a shard: a function of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persistent {
    groups: BTreeMap<Arc<str>, Kept>,
    pending: Pending,
}

/// The groups of one partition. See the crate's head for what holds, this module's for the order of
/// calls.
#[derive(Debug)]
pub struct Shard {
    settings: Settings,
    /// As the host last showed it.
    cluster: Arc<dyn Cluster>,
    loading: bool,
    groups: BTreeMap<Arc<str>, Group>,
    pending: Pending,
    alarms: Alarms,
    /// Where a cleanup in steps goes on.
    cleanup_after: Option<Arc<str>>,
    skipped_records: u64,
}

impl Shard {
    /// A shard about to load: feed it the log with [`Shard::apply`] and [`Shard::apply_marker`], then
    /// call [`Shard::loaded`]. Until then it refuses requests. // rule G9
    pub fn new(settings: Settings) -> Shard {
        Shard {
            settings,
            cluster: Arc::new(Nothing),
            loading: true,
            groups: BTreeMap::new(),
            pending: Pending::default(),
            alarms: Alarms::default(),
            cleanup_after: None,
            skipped_records: 0,
        }
    }

    /// The cluster as it is from now on. The host calls this before any other call whenever the
    /// metadata has changed; a shard never told knows of no topic.
    pub fn follow(&mut self, cluster: Arc<dyn Cluster>) {
        self.cluster = cluster;
    }

    /// The log has been applied to its end: members come back to life, each with a full session
    /// timeout to show itself.
    pub fn loaded(&mut self, now: Now) {
        if !std::mem::replace(&mut self.loading, false) {
            return;
        }
        let mut effects = Effects::default();
        let Shard {
            groups,
            alarms,
            settings,
            cluster,
            ..
        } = self;
        let mut stage = Stage {
            now,
            settings,
            cluster: &**cluster,
            alarms,
            effects: &mut effects,
        };
        for group in groups.values_mut() {
            if let Some(consumer) = &group.consumer {
                consumer.loaded(&mut stage);
                continue;
            }
            group.restore();
            let members: Vec<Arc<str>> = group.members.keys().cloned().collect();
            for member in &members {
                group.renew_session(&mut stage, member);
            }
            if members.len() > settings.group_size_max {
                // The limit was lowered; members may commit before some of them must go.
                group.prepare_rebalance(&mut stage);
            }
        }
        let interval = settings.offsets_retention_check_interval_ms.max(1);
        alarms.set(Alarm::Cleanup, now.monotonic.after_ms(interval));
        // A rebalance begun here is of a life before this one's counters.
        effects.rebalances = Rebalances::default();
        debug_assert!(
            effects == Effects::default(),
            "nobody waits while a shard loads"
        );
    }

    /// Whether requests are still refused.
    pub fn is_loading(&self) -> bool {
        self.loading
    }

    /// Handles a request; its answer comes under `token` in these effects or later ones.
    pub fn handle(
        &mut self,
        now: Now,
        token: Token,
        caller: &Caller,
        request: GroupRequest,
    ) -> Effects {
        let mut effects = Effects::default();
        let waiter = Waiter {
            token,
            version: caller.version,
        };
        let refusal = if self.loading {
            Some(ErrorCode::CoordinatorLoadInProgress)
        } else {
            check_strings(caller, &request).or_else(|| self.check_room(&request))
        };
        if let Some(error) = refusal {
            effects
                .replies
                .push((token, request.refused(caller.version, error)));
            return effects;
        }
        if let GroupRequest::Join(join) = &request {
            self.join(now, waiter, caller, join, &mut effects);
            return effects;
        }

        let version = caller.version;
        let Shard {
            groups,
            pending,
            alarms,
            settings,
            cluster,
            ..
        } = self;
        let mut stage = Stage {
            now,
            settings,
            cluster: &**cluster,
            alarms,
            effects: &mut effects,
        };
        let answer = match &request {
            GroupRequest::Join(_) => return effects,
            GroupRequest::Sync(sync) => {
                let found = groups.get_mut(&sync.group);
                let Some(group) =
                    found.filter(|group| group.consumer.is_none() || !group.is_empty())
                else {
                    let error = unknown_or_invalid(&sync.group);
                    stage.answer(waiter, GroupResponse::Sync(SyncResponse::refused(error)));
                    return effects;
                };
                let GroupRequest::Sync(sync) = request else {
                    return effects;
                };
                if group.consumer.is_some() {
                    group.consumer_sync(&mut stage, caller, waiter, &sync);
                } else {
                    group.sync(&mut stage, caller, waiter, sync);
                }
                return effects;
            }
            GroupRequest::Heartbeat(heartbeat) => Ok(GroupResponse::Heartbeat(
                match groups.get_mut(&heartbeat.group) {
                    Some(group) if group.consumer.is_some() => {
                        group.consumer_classic_heartbeat(&mut stage, heartbeat)
                    }
                    Some(group) => group.heartbeat(&mut stage, heartbeat),
                    None => unknown_or_invalid(&heartbeat.group),
                },
            )),
            GroupRequest::Leave(leave) => match groups.get_mut(&leave.group) {
                Some(group) if group.consumer.is_some() => Ok(GroupResponse::Leave(
                    group.consumer_group_leave(&mut stage, leave),
                )),
                Some(group) => Ok(GroupResponse::Leave(group.leave(&mut stage, leave))),
                None => Err(unknown_or_invalid(&leave.group)),
            },
            GroupRequest::Commit(commit) => {
                let group = groups.get_mut(&commit.group);
                offset::commit(group, &mut stage, version, commit).map(GroupResponse::Commit)
            }
            GroupRequest::TxnCommit(commit) if commit.group.is_empty() => {
                Err(ErrorCode::InvalidGroupId)
            }
            GroupRequest::TxnCommit(commit) => {
                stage.effects.producer = Some(ProducerStamp {
                    id: commit.producer_id,
                    epoch: commit.producer_epoch,
                });
                let group = groups.get(&commit.group);
                offset::txn_commit(group, pending, &mut stage, commit).map(GroupResponse::TxnCommit)
            }
            GroupRequest::Fetch(fetch) => {
                let group = groups.get(&fetch.group);
                Ok(GroupResponse::Fetch(offset::fetch(group, pending, fetch)))
            }
            GroupRequest::DeleteOffsets(delete) if delete.group.is_empty() => {
                Err(ErrorCode::InvalidGroupId)
            }
            GroupRequest::DeleteOffsets(delete) => {
                let group = groups.get(&delete.group);
                offset::delete_offsets(group, pending, stage.effects, delete)
                    .map(GroupResponse::DeleteOffsets)
            }
            GroupRequest::Describe(ids) => Ok(GroupResponse::Describe(
                ids.iter()
                    .map(|id| admin::describe(id, groups.get(id)))
                    .collect(),
            )),
            GroupRequest::Delete(ids) => Ok(GroupResponse::Delete(
                ids.iter()
                    .map(|id| {
                        (
                            id.clone(),
                            admin::delete(groups.get(id), pending, stage.effects),
                        )
                    })
                    .collect(),
            )),
            GroupRequest::List(list) => Ok(GroupResponse::List(ListedGroups {
                error: ErrorCode::None,
                groups: admin::list(groups.values(), list),
            })),
            GroupRequest::Seek(seek) => {
                let group = groups.get_mut(&seek.group);
                Ok(GroupResponse::Seek(offset::seek(group, &mut stage, seek)))
            }
            GroupRequest::ConsumerHeartbeat(heartbeat) => {
                let response = consumer_heartbeat(groups, &mut stage, caller, heartbeat);
                Ok(GroupResponse::ConsumerHeartbeat(response.unwrap_or_else(
                    |Refusal { error, message }| {
                        ConsumerHeartbeatResponse::refused(error, Some(Arc::from(message)))
                    },
                )))
            }
            GroupRequest::ConsumerDescribe(ids) => {
                let default = stage.settings.consumer.assignors.first();
                let default = default.copied().unwrap_or(Assignor::Uniform);
                Ok(GroupResponse::ConsumerDescribe(
                    ids.iter()
                        .map(|id| view::describe(id, groups.get(id), stage.cluster, default))
                        .collect(),
                ))
            }
        };
        match answer {
            Ok(response) => stage.answer(waiter, response),
            Err(error) => effects
                .replies
                .push((token, request.refused(version, error))),
        }
        if effects.records.is_empty() {
            effects.producer = None;
        }
        effects
    }

    /// JoinGroup may found a group; one that nobody gets into is not founded.
    fn join(
        &mut self,
        now: Now,
        waiter: Waiter,
        caller: &Caller,
        join: &JoinRequest,
        effects: &mut Effects,
    ) {
        let Shard {
            groups,
            alarms,
            settings,
            cluster,
            ..
        } = self;
        let mut stage = Stage {
            now,
            settings,
            cluster: &**cluster,
            alarms,
            effects,
        };
        let refusal = membership::check_join(join, &stage).err();
        if let Some(error) = refusal {
            let refused = JoinResponse::refused(error, join.member_id.clone());
            stage.answer(waiter, GroupResponse::Join(refused));
        } else if let Some(group) = groups.get_mut(&join.group)
            && (group.consumer.is_none() || !group.is_empty())
        {
            if group.consumer.is_some() {
                group.consumer_join(&mut stage, caller, waiter, join);
            } else {
                group.join(&mut stage, caller, waiter, join);
            }
        } else if !join.member_id.is_empty() {
            let refused = JoinResponse::refused(ErrorCode::UnknownMemberId, join.member_id.clone());
            stage.answer(waiter, GroupResponse::Join(refused));
        } else if let Some(group) = groups.get_mut(&join.group) {
            // A consumer group that everybody has left becomes a classic one.
            let mut forgotten = Vec::new();
            if let Some(consumer) = &group.consumer {
                consumer.forget(&mut forgotten);
            }
            group.since_ms = Some(now.wall_ms);
            forgotten.push(Record::group(
                &join.group,
                &group.project(|_| bytes::Bytes::new()),
            ));
            group.join(&mut stage, caller, waiter, join);
            if !group.members.is_empty() || !group.pending_join.is_empty() {
                stage.effects.records.splice(0..0, forgotten);
            } else {
                group.since_ms = None;
            }
        } else {
            let mut group = Group::new(join.group.clone());
            group.since_ms = Some(now.wall_ms);
            // As in Kafka, a group is in the log from its first day, with nothing in it yet.
            let founding = Record::group(&join.group, &group.project(|_| bytes::Bytes::new()));
            group.join(&mut stage, caller, waiter, join);
            if !group.members.is_empty() || !group.pending_join.is_empty() {
                stage.effects.records.insert(0, founding);
                groups.insert(join.group.clone(), group);
            }
        }
    }

    /// Does everything that is due. Call it when [`Shard::deadline`] has come; earlier does no harm.
    pub fn tick(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        let Shard {
            groups,
            pending,
            alarms,
            settings,
            cluster,
            cleanup_after,
            ..
        } = self;
        let mut cleanup = false;
        // Alarms set meanwhile may be due at once; this many at most, so that a tick ends.
        for _ in 0..alarms.len() {
            let Some(alarm) = alarms.pop_due(now.monotonic) else {
                break;
            };
            let mut stage = Stage {
                now,
                settings,
                cluster: &**cluster,
                alarms,
                effects: &mut effects,
            };
            match alarm {
                Alarm::Join(id) => {
                    if let Some(group) = groups.get_mut(&id) {
                        group.join_time_is_up(&mut stage);
                    }
                }
                Alarm::Sync(id) => {
                    if let Some(group) = groups.get_mut(&id) {
                        group.sync_time_is_up(&mut stage);
                    }
                }
                Alarm::Session(id, member) => {
                    if let Some(group) = groups.get_mut(&id) {
                        if group.consumer.is_some() {
                            group.consumer_time_is_up(&mut stage, &member);
                        } else {
                            group.session_is_up(&mut stage, &member);
                        }
                    }
                }
                Alarm::Revocation(id, member) => {
                    if let Some(group) = groups.get_mut(&id) {
                        group.revocation_time_is_up(&mut stage, &member);
                    }
                }
                Alarm::Rejoin(id, member) | Alarm::Resync(id, member) => {
                    if let Some(group) = groups.get_mut(&id) {
                        group.consumer_time_is_up(&mut stage, &member);
                    }
                }
                Alarm::Patterns(id) => {
                    if let Some(group) = groups.get_mut(&id) {
                        let mut records = Vec::new();
                        if let Some(consumer) = &group.consumer
                            && !consumer.patterns.is_empty()
                        {
                            let seen = &mut group.seen_topics;
                            consumer.resolve_patterns(&mut stage, seen, &mut records);
                        }
                        effects.records.append(&mut records);
                    }
                }
                Alarm::Cleanup => cleanup = true,
            }
        }
        if cleanup {
            let mut next_ms = settings.offsets_retention_check_interval_ms.max(1);
            if effects.records.is_empty() {
                let after = cleanup_after.take();
                *cleanup_after =
                    offset::clean_up(groups, pending, now, settings, after, &mut effects);
                if cleanup_after.is_some() {
                    next_ms = 0;
                }
            } else {
                // What was decided just now is not applied yet; look again after it.
                next_ms = 0;
            }
            alarms.set(Alarm::Cleanup, now.monotonic.after_ms(next_ms));
        }
        effects
    }

    /// When [`Shard::tick`] has something to do next.
    pub fn deadline(&self) -> Option<Instant> {
        self.alarms.next()
    }

    /// Partitions were deleted: their offsets are to be forgotten. Name and partition of each.
    pub fn partitions_deleted(&mut self, gone: &[(Arc<str>, i32)]) -> Effects {
        let mut effects = Effects::default();
        offset::partitions_deleted(&self.groups, &self.pending, gone, &mut effects);
        effects
    }

    /// Takes in one record of the log: while loading, and after each append.
    ///
    /// Records of key types this build does not know are counted and skipped.
    ///
    /// # Errors
    /// [`Corrupt`] if the bytes are not what their type says; the state is then unchanged.
    pub fn apply(
        &mut self,
        origin: RecordOrigin,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), Corrupt> {
        match (decode_key(key)?, value) {
            (Key::Unknown(_), _) => self.skipped_records += 1,
            (Key::Consumer(key), value) => self.apply_consumer(key, value)?,
            (Key::Group { group }, Some(value)) => {
                let image = decode_group_value(value)?;
                self.group_entry(group).adopt(image);
            }
            (Key::Group { group }, None) => self.forget_group(&group),
            (
                Key::Offset {
                    group,
                    topic,
                    partition,
                },
                Some(value),
            ) => {
                let value = decode_offset_value(value)?;
                let committed = Committed {
                    at: origin.offset,
                    value,
                };
                let entry = self.group_entry(group.clone());
                match origin.producer_id {
                    None => {
                        entry
                            .offsets
                            .entry(topic)
                            .or_default()
                            .insert(partition, committed);
                    }
                    Some(producer) => {
                        self.pending
                            .put(producer, &group, topic, partition, committed);
                    }
                }
            }
            (
                Key::Offset {
                    group,
                    topic,
                    partition,
                },
                None,
            ) => {
                if let Some(group) = self.groups.get_mut(&group)
                    && let Some(partitions) = group.offsets.get_mut(&topic)
                {
                    partitions.remove(&partition);
                    if partitions.is_empty() {
                        group.offsets.remove(&topic);
                    }
                }
                self.pending.forget(&group, &topic, partition);
            }
        }
        Ok(())
    }

    /// Takes in a transaction marker of the log: the producer's pending offsets count, or are gone.
    pub fn apply_marker(&mut self, producer_id: i64, committed: bool) {
        let groups = self.pending.end(producer_id);
        if !committed {
            return;
        }
        for (id, mut topics) in groups {
            // What was deleted meanwhile does not bring its group back.
            topics.retain(|_, partitions| !partitions.is_empty());
            if topics.is_empty() {
                continue;
            }
            let group = self.group_entry(id);
            for (topic, partitions) in topics {
                let held = group.offsets.entry(topic).or_default();
                for (partition, committed) in partitions {
                    // The later record in the log wins, whichever way it came, so that compaction
                    // cannot change the outcome.
                    let newer = held
                        .get(&partition)
                        .is_none_or(|held| held.at < committed.at);
                    if newer {
                        held.insert(partition, committed);
                    }
                }
            }
        }
    }

    /// Ends the shard, because another node has its partition now or this one stops: everybody who
    /// waits is answered with `error`, usually NOT_COORDINATOR. // rule G9
    #[must_use = "the replies are owed to clients"]
    pub fn unload(mut self, error: ErrorCode) -> Vec<(Token, GroupResponse)> {
        let mut replies = Vec::new();
        for group in self.groups.values_mut() {
            let ids: Vec<Arc<str>> = group.members.keys().cloned().collect();
            for id in ids {
                if let Some(waiter) = group.take_join(&id) {
                    let refused = JoinResponse::refused(error, id.clone());
                    let response = GroupResponse::Join(refused).shaped(waiter.version);
                    replies.push((waiter.token, response));
                }
                if let Some(waiter) = group.take_sync(&id) {
                    let response = GroupResponse::Sync(SyncResponse::refused(error));
                    replies.push((waiter.token, response));
                }
            }
        }
        replies
    }

    /// Ends the shard, because these effects' records could not be appended. `error` is the append's
    /// own; clients are told what it means to them. Load a new shard from the log.
    #[must_use = "the replies are owed to clients"]
    pub fn append_failed(self, effects: Effects, error: ErrorCode) -> Vec<(Token, GroupResponse)> {
        let error = append_error(error);
        let mut replies: Vec<(Token, GroupResponse)> = effects
            .replies
            .into_iter()
            .map(|(token, response)| (token, response.failed(error)))
            .collect();
        replies.extend(self.unload(ErrorCode::NotCoordinator));
        replies
    }

    /// Numbers for metrics; walks over everything.
    pub fn counts(&self) -> Counts {
        Counts {
            groups: self.groups.len(),
            members: self.groups.values().map(Group::member_count).sum(),
            offsets: self.groups.values().map(Group::offset_count).sum(),
            skipped_records: self.skipped_records,
        }
    }

    /// A copy of what a restart keeps, to compare shards by.
    pub fn persistent(&self) -> Persistent {
        let groups = self
            .groups
            .iter()
            .map(|(id, group)| {
                let kept = (
                    group.image.clone(),
                    group.offsets.clone(),
                    group.consumer.clone(),
                );
                (id.clone(), kept)
            })
            .collect();
        Persistent {
            groups,
            pending: self.pending.clone(),
        }
    }

    fn group_entry(&mut self, id: Arc<str>) -> &mut Group {
        self.groups
            .entry(id.clone())
            .or_insert_with(|| Group::new(id))
    }

    fn apply_consumer(&mut self, key: ConsumerKey, value: Option<&[u8]>) -> Result<(), Corrupt> {
        let id = key.group().clone();
        let known = self.groups.get_mut(&id);
        let Some(value) = value else {
            // A tombstone for what is not there founds nothing.
            let Some(group) = known else { return Ok(()) };
            if !matches!(key, ConsumerKey::Epoch { .. }) {
                return match &mut group.consumer {
                    Some(consumer) => consumer.apply(key, None),
                    None => Ok(()),
                };
            }
            group.consumer = None;
            group.seen_topics = None;
            if group.is_hollow() {
                self.groups.remove(&id);
            }
            return Ok(());
        };
        if let Some(Group {
            consumer: Some(consumer),
            ..
        }) = known
        {
            return consumer.apply(key, Some(value));
        }
        let mut consumer = ConsumerGroup::new(id.clone());
        consumer.apply(key, Some(value))?;
        let group = self.group_entry(id);
        // Written after the classic group's tombstone, which compaction may have dropped.
        group.image = None;
        group.consumer = Some(Box::new(consumer));
        Ok(())
    }

    /// A group's tombstone. Offsets still there go on as those of a simple group; tombstones are only
    /// written for empty groups, so a living one is left to its members.
    fn forget_group(&mut self, id: &Arc<str>) {
        let Some(group) = self.groups.get_mut(id) else {
            return;
        };
        group.image = None;
        if group.state != State::Empty || group.consumer.is_some() {
            return;
        }
        for member in &group.pending_join {
            self.alarms
                .cancel(&Alarm::Session(id.clone(), member.clone()));
        }
        let offsets = std::mem::take(&mut group.offsets);
        self.groups.remove(id);
        if !offsets.is_empty() {
            self.group_entry(id.clone()).offsets = offsets;
        }
    }

    /// Refuses what would found one group too many.
    fn check_room(&self, request: &GroupRequest) -> Option<ErrorCode> {
        let founded = match request {
            GroupRequest::Join(join) if join.member_id.is_empty() => &join.group,
            GroupRequest::Commit(commit) if commit.generation < 0 => &commit.group,
            GroupRequest::TxnCommit(commit) if commit.generation < 0 => &commit.group,
            GroupRequest::Seek(seek) => &seek.group,
            GroupRequest::ConsumerHeartbeat(heartbeat) if heartbeat.member_epoch == 0 => {
                &heartbeat.group
            }
            _ => return None,
        };
        let full = self.groups.len() >= self.settings.groups_max;
        (full && !self.groups.contains_key(founded)).then_some(ErrorCode::PolicyViolation)
    }
}

/// ConsumerGroupHeartbeat may found a group, or make a classic one a consumer group. // rules N1, N7
fn consumer_heartbeat(
    groups: &mut BTreeMap<Arc<str>, Group>,
    stage: &mut Stage,
    caller: &Caller,
    request: &ConsumerHeartbeatRequest,
) -> Result<ConsumerHeartbeatResponse, Refusal> {
    heartbeat::check(stage.settings, caller.version, request)?;
    let id = &request.group;
    let joins = request.member_epoch == 0;
    let known = groups.get_mut(id);
    if request.member_epoch < 0 {
        return match known {
            Some(group) => group.consumer_leave(stage, request),
            None => Err(Refusal::new(
                ErrorCode::GroupIdNotFound,
                format!("Group {id} not found."),
            )),
        };
    }
    let mut records = Vec::new();
    let Some(group) = known else {
        if !joins {
            return Err(Refusal::new(
                ErrorCode::GroupIdNotFound,
                format!("Consumer group {id} not found."),
            ));
        }
        let founded = ConsumerGroup::new(id.clone());
        let response = founded.heartbeat(stage, caller, request, &mut None, &mut records)?;
        stage.effects.records.append(&mut records);
        return Ok(response);
    };
    let mut seen = group.seen_topics;
    let response = if let Some(consumer) = &group.consumer {
        consumer.heartbeat(stage, caller, request, &mut seen, &mut records)?
    } else if !joins {
        return Err(not_of_consumers(id));
    } else if group.is_empty() {
        records.push(Record::group_tombstone(id));
        let founded = ConsumerGroup::new(id.clone());
        founded.heartbeat(stage, caller, request, &mut seen, &mut records)?
    } else {
        let converted = group.as_consumer_group(stage.cluster, stage.settings)?;
        records.push(Record::group_tombstone(id));
        converted.founding_records(&mut records);
        let response = converted.heartbeat(stage, caller, request, &mut seen, &mut records)?;
        group.leave_classic(stage);
        response
    };
    group.seen_topics = seen;
    stage.effects.records.append(&mut records);
    Ok(response)
}

/// What the membership APIs say to a group that is not there.
fn unknown_or_invalid(group: &str) -> ErrorCode {
    if group.is_empty() {
        ErrorCode::InvalidGroupId
    } else {
        ErrorCode::UnknownMemberId
    }
}

/// Strings that would be stored must fit a record's string.
fn check_strings(caller: &Caller, request: &GroupRequest) -> Option<ErrorCode> {
    let long = |text: &Arc<str>| text.len() > STRING_BYTES_MAX;
    let (group, others) = match request {
        GroupRequest::Join(join) => {
            let named = join.instance_id.iter().any(long) || long(&join.protocol_type);
            let caller = long(&caller.client_id) || long(&caller.client_host);
            let protocols = join.protocols.iter().any(|protocol| long(&protocol.name));
            (&join.group, named || caller || protocols)
        }
        GroupRequest::Commit(commit) => (
            &commit.group,
            commit.topics.iter().any(|topic| long(&topic.name)),
        ),
        GroupRequest::TxnCommit(commit) => (
            &commit.group,
            commit.topics.iter().any(|topic| long(&topic.name)),
        ),
        GroupRequest::Seek(seek) => (
            &seek.group,
            seek.topics.iter().any(|topic| long(&topic.name)),
        ),
        GroupRequest::ConsumerHeartbeat(heartbeat) => {
            let named = [
                &heartbeat.instance_id,
                &heartbeat.rack_id,
                &heartbeat.pattern,
                &heartbeat.assignor,
            ];
            let named = named.into_iter().flatten().any(long) || long(&heartbeat.member_id);
            let caller = long(&caller.client_id) || long(&caller.client_host);
            let topics = heartbeat.topics.iter().flatten();
            let crowded = topics.clone().count() > CONSUMER_TOPICS_MAX;
            let topics = topics.clone().any(long);
            (&heartbeat.group, named || caller || topics || crowded)
        }
        _ => return None,
    };
    if long(group) {
        Some(ErrorCode::InvalidGroupId)
    } else {
        others.then_some(ErrorCode::InvalidRequest)
    }
}
