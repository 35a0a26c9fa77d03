//! Hosts the coordinators of groups: one shard per partition of `__consumer_offsets`.
//!
//! A shard is a pure state machine; here its records are appended, its answers held back until
//! those are durable, its deadlines kept, and its state read from the log when it is first asked
//! for. A shard is owned by a lock, like a partition: whoever has a request runs it, on any
//! reactor, for microseconds; nothing waits under the lock.
//!
//! What an append did when it failed is unknown, so a failed append ends the shard; the next
//! request loads a new one from the log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use commitlog::{AppendError, AppendOrigin, Lsn, ReadBound};
use coordinator::{
    Assignor, Caller, ConsumerSettings, Counts, Effects, FetchRequest, GroupRequest, GroupResponse,
    ListRequest, Migration, Now, Rebalances, Record, RecordOrigin, Settings, Shard, Token,
    shard_of_group,
};
use metadata::config::StaticConfig;
use metadata::{Command, Image, MetadataOffset, Refusal};
use tokio::sync::oneshot;
use wire::ErrorCode;
use wire::batch::{BatchView, batches};
use wire::ids::{LeaderEpoch, Offset};
use wire::messages::{Text, text};
use wire::protocol_metadata::Assignment;
use wire::record::{BatchBuilder, BatchRecords, NewRecord};
use world::spawn::Priority;
use world::{Clock, Instant, Next, Signal, Worker};

use crate::bell::Bell;
use crate::census::Reader;
use crate::dispatch::{Context, Request};
use crate::features::{self, GROUP_VERSION};
use crate::group_view::GroupView;
use crate::node::Node;
use crate::replica::Replica;

/// The topic in which groups and their offsets live.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Bytes of the log that loading a shard reads at once.
const LOAD_BYTES: u32 = 1 << 20;

/// Bytes one compressed batch of the offsets topic may unfold to; ours are not compressed, but
/// a mirrored topic's may be.
const UNFOLDED_BYTES_MAX: usize = 64 << 20;

/// Bytes of a batch of group records at most. Kafka bounds its own by the topic's
/// `max.message.bytes`, 1 MiB unless an operator says otherwise, and whoever copies the topic
/// counts on it. One record that is larger stands alone in its batch.
const BATCH_BYTES_MAX: usize = 1_000_000;

/// Pause before effects that met a full staging buffer, or a log that is not durable up to its
/// end, are looked at again.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// An answer, and what must be durable before it leaves.
type Given = (GroupResponse, Option<Lsn>);

/// Deleted partitions: topic and number of each.
type Deleted = Vec<(Arc<str>, i32)>;

/// Version of the requests by which groups are surveyed: one in which errors stand once.
const SURVEY_VERSION: i16 = 8;

/// Partitions that a member reads: topic and number.
pub type Reads = Vec<(Arc<str>, i32)>;

/// A group, its members with what they were given, its committed offsets.
pub struct SurveyedGroup {
    pub group: Arc<str>,
    pub is_simple: bool,
    pub members: Vec<(Arc<Reader>, Reads)>,
    pub offsets: Vec<(Arc<str>, i32, i64)>,
}

/// The shards of this node.
pub struct GroupHost {
    partitions: i32,
    serves_consumer: bool,
    settings: Settings,
    shards: Mutex<BTreeMap<i32, Arc<Host>>>,
    /// Deleted partitions whose offsets a shard has still to forget, because it is loading or
    /// holds effects back. Not part of the shard, so that one that ends leaves them to the next.
    to_forget: Mutex<BTreeMap<i32, Deleted>>,
    tokens: AtomicU64,
    /// Rebalances begun, for metrics.
    rebalances_classic: AtomicU64,
    rebalances_consumer: AtomicU64,
    /// Rung when some shard wants to be called earlier than the timer task knows.
    bell: Bell,
    /// What the timer task waits for, nanoseconds.
    armed: AtomicU64,
}

struct Host {
    replica: Arc<Replica>,
    epoch: LeaderEpoch,
    state: Mutex<HostState>,
}

struct HostState {
    /// `None` after a failed append: the host is dead and out of the map.
    shard: Option<Shard>,
    /// Who waits for which answer.
    waiting: BTreeMap<Token, oneshot::Sender<Given>>,
    /// What met a full staging buffer. While there is any, the shard is not called.
    held: Option<Held>,
    /// The last append; answers without records wait for it.
    applied: Lsn,
    /// The metadata the shard was last shown.
    shown: Option<MetadataOffset>,
}

/// Effects on their way into the log.
struct Held {
    effects: Effects,
    /// How many of the records are appended and applied.
    done: usize,
}

/// What became of a request to a shard.
enum HandIn {
    /// The answer comes here.
    Taken(oneshot::Receiver<Given>),
    /// The log has no room at the moment.
    Later,
    /// The shard ended.
    Dead,
}

impl GroupHost {
    /// No shard yet.
    pub fn new(settings: &StaticConfig) -> GroupHost {
        let number = |name: &str| settings.number(name);
        let int = |name: &str| i32::try_from(number(name)).unwrap_or(i32::MAX);
        let defaults = Settings::default();
        GroupHost {
            partitions: int("offsets.topic.num.partitions").max(1),
            serves_consumer: settings
                .list("group.coordinator.rebalance.protocols")
                .contains(&"consumer"),
            settings: Settings {
                session_timeout_ms_min: int("group.min.session.timeout.ms"),
                session_timeout_ms_max: int("group.max.session.timeout.ms"),
                initial_rebalance_delay_ms: int("group.initial.rebalance.delay.ms"),
                offset_metadata_max: usize::try_from(number("offset.metadata.max.bytes"))
                    .unwrap_or(defaults.offset_metadata_max),
                offsets_retention_ms: number("offsets.retention.minutes").saturating_mul(60_000),
                offsets_retention_check_interval_ms: number("offsets.retention.check.interval.ms"),
                group_size_max: match usize::try_from(number("group.max.size")) {
                    // Kafka's default is "no limit"; ours is the coordinator's.
                    Ok(size) if (1..=defaults.group_size_max).contains(&size) => size,
                    _ => defaults.group_size_max,
                },
                consumer: ConsumerSettings {
                    session_timeout_ms: int("group.consumer.session.timeout.ms"),
                    heartbeat_interval_ms: int("group.consumer.heartbeat.interval.ms"),
                    assignment_interval_ms: int("group.consumer.assignment.interval.ms"),
                    size_max: match usize::try_from(number("group.consumer.max.size")) {
                        Ok(size) if (1..=defaults.consumer.size_max).contains(&size) => size,
                        _ => defaults.consumer.size_max,
                    },
                    assignors: settings
                        .list("group.consumer.assignors")
                        .into_iter()
                        .filter_map(Assignor::by_name)
                        .collect(),
                    migration: settings
                        .text("group.consumer.migration.policy")
                        .and_then(Migration::by_name)
                        .unwrap_or(defaults.consumer.migration),
                    ..defaults.consumer
                },
                ..defaults
            },
            shards: Mutex::default(),
            to_forget: Mutex::default(),
            tokens: AtomicU64::new(0),
            rebalances_classic: AtomicU64::new(0),
            rebalances_consumer: AtomicU64::new(0),
            bell: Bell::new(),
            armed: AtomicU64::new(u64::MAX),
        }
    }

    /// Whether KIP-848's protocol is switched on, by this broker and by the cluster. // rule W11
    pub fn serves_consumer(&self, image: &Image) -> bool {
        self.serves_consumer && features::level(image, GROUP_VERSION) > 0
    }

    /// The command that creates the offsets topic.
    ///
    /// # Errors
    /// There is no broker to place it on.
    pub fn plan_offsets_topic(&self, node: &Node) -> Result<Command, Refusal> {
        let image = node.image();
        let brokers = image.brokers().filter(|broker| broker.is_active()).count();
        let wanted = node.settings.number("offsets.topic.replication.factor");
        // Kafka waits for enough brokers; a small cluster is better served by fewer copies.
        let copies = i16::try_from(wanted.min(brokers as i64))
            .unwrap_or(1)
            .max(1);
        let segment = node
            .settings
            .number("offsets.topic.segment.bytes")
            .to_string();
        let settings = vec![
            ("cleanup.policy".to_owned(), "compact".to_owned()),
            ("compression.type".to_owned(), "producer".to_owned()),
            ("segment.bytes".to_owned(), segment),
        ];
        node.plan_topic(OFFSETS_TOPIC, Some(self.partitions), Some(copies), settings)
    }

    /// The partition of the offsets topic in which a group lives, if the topic exists.
    pub fn partition_of(&self, node: &Node, group: &str) -> Option<i32> {
        let image = node.image();
        let topic = image.topic(OFFSETS_TOPIC)?;
        Some(shard_of_group(
            group,
            i32::try_from(topic.partitions.len()).ok()?,
        ))
    }

    /// The partitions of the offsets topic that this node leads.
    pub fn led_partitions(&self, node: &Node) -> Vec<i32> {
        let image = node.image();
        let Some(topic) = image.topic(OFFSETS_TOPIC) else {
            return Vec::new();
        };
        (0..i32::try_from(topic.partitions.len()).unwrap_or(0))
            .filter(|partition| self.replica(node, *partition).is_ok())
            .collect()
    }

    /// Asks the shard of `group`.
    pub async fn ask(
        &self,
        node: &Arc<Node>,
        group: &str,
        caller: Caller,
        request: GroupRequest,
    ) -> Given {
        match self.partition_of(node, group) {
            Some(partition) => self.ask_shard(node, partition, caller, request).await,
            // rule G9
            None => (
                request.refused(caller.version, ErrorCode::CoordinatorNotAvailable),
                None,
            ),
        }
    }

    /// Asks the shard of one partition of the offsets topic.
    pub async fn ask_shard(
        &self,
        node: &Arc<Node>,
        partition: i32,
        caller: Caller,
        request: GroupRequest,
    ) -> Given {
        let token = Token(self.tokens.fetch_add(1, Ordering::Relaxed));
        loop {
            let host = match self.host(node, partition) {
                Ok(host) => host,
                Err(error) => return (request.refused(caller.version, error), None),
            };
            match self.hand_in(node, &host, token, &caller, &request) {
                HandIn::Taken(answer) => {
                    return match answer.await {
                        Ok(given) => given,
                        // Every waiting answer is given, or its shard is unloaded with an
                        // answer; a dropped sender is a shard that went down with the node.
                        Err(_) => (
                            request.refused(caller.version, ErrorCode::NotCoordinator),
                            None,
                        ),
                    };
                }
                HandIn::Later => crate::timer::sleep(RETRY_PAUSE).await,
                HandIn::Dead => self.forget(partition, &host),
            }
        }
    }

    fn hand_in(
        &self,
        node: &Arc<Node>,
        host: &Host,
        token: Token,
        caller: &Caller,
        request: &GroupRequest,
    ) -> HandIn {
        let mut state = host.lock();
        if !host.catch_up(node, &mut state) {
            return HandIn::Later;
        }
        state.show(node);
        let Some(shard) = &mut state.shard else {
            return HandIn::Dead;
        };
        let effects = shard.handle(now(node), token, caller, request.clone());
        let (sender, answer) = oneshot::channel();
        state.waiting.insert(token, sender);
        host.carry_out(node, &mut state, effects);
        self.note_deadline(&state);
        HandIn::Taken(answer)
    }

    /// Rebalances begun since the start, for metrics.
    pub fn rebalances(&self) -> Rebalances {
        Rebalances {
            classic: self.rebalances_classic.load(Ordering::Relaxed),
            consumer: self.rebalances_consumer.load(Ordering::Relaxed),
        }
    }

    fn note_rebalances(&self, begun: Rebalances) {
        if begun != Rebalances::default() {
            self.rebalances_classic
                .fetch_add(begun.classic, Ordering::Relaxed);
            self.rebalances_consumer
                .fetch_add(begun.consumer, Ordering::Relaxed);
        }
    }

    /// Counts over all shards, for metrics.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for host in self.hosts() {
            if let Some(shard) = &host.lock().shard {
                let counts = shard.counts();
                sum.groups += counts.groups;
                sum.members += counts.members;
                sum.offsets += counts.offsets;
                sum.skipped_records += counts.skipped_records;
            }
        }
        sum
    }

    /// Every group of the shards that this node leads and has loaded; those it has not are begun to
    /// be loaded, for a group that nobody asks about may be the one that falls behind.
    pub fn survey(&self, node: &Arc<Node>) -> Vec<SurveyedGroup> {
        let mut found = Vec::new();
        for partition in self.led_partitions(node) {
            if let Ok(host) = self.host(node, partition)
                && let Some(shard) = &mut host.lock().shard
            {
                survey_shard(shard, now(node), &mut found);
            }
        }
        found.sort_by(|one, other| one.group.cmp(&other.group));
        found
    }

    /// Ends every shard, because the node goes down: whoever waits for a rebalance is told to
    /// look for another coordinator, and does not hold up the end.
    pub fn unload(&self) {
        for host in self.hosts() {
            host.end(ErrorCode::NotCoordinator);
        }
    }

    /// Forgets the offsets of deleted partitions, in every shard this node has: one that was not
    /// asked for anything yet is loaded, or a topic of the same name would begin at them.
    pub fn partitions_deleted(&self, node: &Arc<Node>, gone: &[(Arc<str>, i32)]) {
        for partition in self.led_partitions(node) {
            self.to_forget()
                .entry(partition)
                .or_default()
                .extend_from_slice(gone);
            // A shard that cannot be had belongs to another node by now, and so do its offsets.
            if let Ok(host) = self.host(node, partition) {
                let mut state = host.lock();
                host.catch_up(node, &mut state);
                self.note_deadline(&state);
            }
        }
    }

    fn to_forget(&self) -> MutexGuard<'_, BTreeMap<i32, Deleted>> {
        self.to_forget
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn replica(&self, node: &Node, partition: i32) -> Result<Arc<Replica>, ErrorCode> {
        let replica = node
            .partitions
            .by_name(&node.image(), OFFSETS_TOPIC, partition)
            .map_err(|_| ErrorCode::NotCoordinator)?;
        match replica.leading() {
            Some(_) => Ok(replica),
            None => Err(ErrorCode::NotCoordinator),
        }
    }

    /// The host of a partition's shard; starts to load it if it is not there.
    fn host(&self, node: &Arc<Node>, partition: i32) -> Result<Arc<Host>, ErrorCode> {
        let replica = self.replica(node, partition)?;
        let epoch = replica.leading().ok_or(ErrorCode::NotCoordinator)?;
        let mut shards = self.shards();
        if let Some(host) = shards.get(&partition)
            && host.epoch == epoch
            && host.replica.key() == replica.key()
        {
            return Ok(host.clone());
        }
        let host = Arc::new(Host {
            replica: replica.clone(),
            epoch,
            state: Mutex::new(HostState {
                shard: Some(Shard::new(self.settings.clone())),
                waiting: BTreeMap::new(),
                held: None,
                applied: Lsn::ZERO,
                shown: None,
            }),
        });
        let replaced = shards.insert(partition, host.clone());
        drop(shards);
        if let Some(replaced) = replaced {
            replaced.end(ErrorCode::NotCoordinator);
        }
        let offsets = replica.log.offsets();
        let mut loader = Loader {
            node: node.clone(),
            host: host.clone(),
            next: offsets.log_start,
            end: offsets.end,
        };
        // A short log is read at once; a long one by a worker, while requests are told to wait.
        if loader.next >= loader.end {
            loader.finish();
        } else {
            let signal = Signal::new();
            drop(node.world.spawn.worker(
                "group-loader",
                Priority::Normal,
                signal,
                Box::new(loader),
            ));
        }
        Ok(host)
    }

    fn forget(&self, partition: i32, dead: &Arc<Host>) {
        let mut shards = self.shards();
        if shards
            .get(&partition)
            .is_some_and(|host| Arc::ptr_eq(host, dead))
        {
            shards.remove(&partition);
        }
    }

    /// Calls the timer task if it would come too late for this shard.
    fn note_deadline(&self, state: &HostState) {
        let deadline = state.shard.as_ref().and_then(Shard::deadline);
        let early = deadline.is_some_and(|at| at.0 < self.armed.load(Ordering::Acquire));
        // What is held back is tried again by the timer task, if no request comes before it.
        if early || state.held.is_some() {
            self.bell.ring();
        }
    }

    fn hosts(&self) -> Vec<Arc<Host>> {
        self.shards().values().cloned().collect()
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<Host>>> {
        self.shards
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Asks a shard what any client may ask it; it writes nothing for that.
fn survey_shard(shard: &mut Shard, now: Now, found: &mut Vec<SurveyedGroup>) {
    let caller = Caller {
        version: SURVEY_VERSION,
        client_id: "".into(),
        client_host: "".into(),
        chance: 0,
    };
    let mut ask = |request| {
        let effects = shard.handle(now, Token(u64::MAX), &caller, request);
        effects.replies.into_iter().next().map(|(_, reply)| reply)
    };
    let Some(GroupResponse::List(listed)) = ask(GroupRequest::List(ListRequest::default())) else {
        return;
    };
    for listed in listed.groups {
        let group = listed.group;
        let asked = vec![group.clone()];
        let described = ask(match listed.group_type {
            coordinator::CONSUMER => GroupRequest::ConsumerDescribe(asked),
            _ => GroupRequest::Describe(asked),
        });
        let members = match described {
            Some(GroupResponse::Describe(described)) => described
                .into_iter()
                .flat_map(|described| described.members)
                .map(|member| {
                    let reader = reader(member.member_id, member.client_id, &member.client_host);
                    (reader, assigned(&member.assignment))
                })
                .collect(),
            Some(GroupResponse::ConsumerDescribe(described)) => described
                .into_iter()
                .flat_map(|described| described.members)
                .map(|member| {
                    let reader = reader(member.member_id, member.client_id, &member.client_host);
                    let topics = member.assignment.into_iter();
                    let reads = topics.flat_map(|topic| {
                        let partitions = topic.partitions.into_iter();
                        partitions.map(move |partition| (topic.name.clone(), partition))
                    });
                    (reader, reads.collect())
                })
                .collect(),
            _ => Vec::new(),
        };
        let fetched = ask(GroupRequest::Fetch(FetchRequest {
            group: group.clone(),
            member_id: None,
            member_epoch: -1,
            topics: None,
            require_stable: false,
        }));
        let topics = match fetched {
            Some(GroupResponse::Fetch(fetched)) => fetched.topics,
            _ => Vec::new(),
        };
        let offsets = topics.into_iter().flat_map(|topic| {
            let name = topic.name;
            let committed = topic.partitions.into_iter().filter(|one| one.offset >= 0);
            committed.map(move |one| (name.clone(), one.partition, one.offset))
        });
        found.push(SurveyedGroup {
            // Nobody was ever a member where no kind of member is known.
            is_simple: listed.protocol_type.is_empty(),
            members,
            offsets: offsets.collect(),
            group,
        });
    }
}

fn reader(id: Arc<str>, client: Arc<str>, host: &str) -> Arc<Reader> {
    let host = host.trim_start_matches('/').into();
    Arc::new(Reader { id, client, host })
}

/// What a classic member reads: nothing before it was given something, or if it is no consumer.
fn assigned(assignment: &Bytes) -> Reads {
    let Ok(assignment) = Assignment::decode(assignment) else {
        return Vec::new();
    };
    let topics = assignment.partitions.into_iter();
    topics
        .flat_map(|topic| {
            let name: Arc<str> = topic.topic.into();
            let partitions = topic.partitions.into_iter();
            partitions.map(move |partition| (name.clone(), partition))
        })
        .collect()
}

/// Calls each shard when it asked to be called. Runs on the control reactor.
pub async fn run_timers(node: Arc<Node>) {
    loop {
        let mut next: Option<Instant> = None;
        for host in node.groups.hosts() {
            if let Some(deadline) = host.tick(&node) {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        let armed = next.map_or(u64::MAX, |next| next.0);
        node.groups.armed.store(armed, Ordering::Release);
        let pause = match next {
            Some(next) => next.since(node.world.clock.now()),
            None => Duration::from_secs(3600),
        };
        let mut sleep = crate::timer::sleep(pause);
        std::future::poll_fn(|cx| {
            let rung = node.groups.bell.poll_rung(cx);
            if rung.is_ready() {
                rung
            } else {
                sleep.as_mut().poll(cx)
            }
        })
        .await;
    }
}

impl Host {
    fn lock(&self) -> MutexGuard<'_, HostState> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Does what is due; when to come back.
    fn tick(&self, node: &Node) -> Option<Instant> {
        let mut state = self.lock();
        if !self.catch_up(node, &mut state) {
            return Some(node.world.clock.now().after(RETRY_PAUSE));
        }
        state.show(node);
        let now = now(node);
        if let Some(shard) = &mut state.shard
            && shard
                .deadline()
                .is_some_and(|deadline| deadline <= now.monotonic)
        {
            let effects = shard.tick(now);
            self.carry_out(node, &mut state, effects);
        }
        state
            .shard
            .as_ref()
            .and_then(Shard::deadline)
            .map(|deadline| Instant(deadline.0))
    }

    /// Does what was left over: effects that were held, then partitions to forget. Whether nothing
    /// is left that has to come before the next request.
    fn catch_up(&self, node: &Node, state: &mut HostState) -> bool {
        if let Some(held) = state.held.take() {
            self.go_on(node, state, held);
        }
        if state.held.is_none()
            && let Some(shard) = &mut state.shard
            && !shard.is_loading()
            && let Some(gone) = node
                .groups
                .to_forget()
                .remove(&self.replica.key().partition)
        {
            let effects = shard.partitions_deleted(&gone);
            self.carry_out(node, state, effects);
        }
        state.held.is_none()
    }

    /// Appends, applies, answers: the host's part of the shard's contract.
    fn carry_out(&self, node: &Node, state: &mut HostState, effects: Effects) {
        node.groups.note_rebalances(effects.rebalances);
        self.go_on(node, state, Held { effects, done: 0 });
    }

    /// Carries out what is left, a batch at a time; holds the rest if the log has no room.
    fn go_on(&self, node: &Node, state: &mut HostState, mut held: Held) {
        // The cuts are the same each time, so what is done is a number of whole batches.
        let mut skip = held.done;
        let mut stopped = None;
        for batch in held.effects.batches(BATCH_BYTES_MAX) {
            if skip >= batch.len() {
                skip -= batch.len();
                continue;
            }
            match self.append(node, batch) {
                Ok((base, lsn)) => {
                    state.applied = lsn;
                    state.apply(base, batch);
                    held.done += batch.len();
                }
                Err(error) => {
                    stopped = Some(error);
                    break;
                }
            }
        }
        match stopped {
            None => {
                for (token, response) in held.effects.replies {
                    state.give(token, response);
                }
            }
            Some(AppendError::StagingFull) => state.held = Some(held),
            Some(error) => {
                tracing::warn!(%error, partition = %self.replica.key(), "group records not appended");
                state.fail(held.effects, &error);
            }
        }
    }

    fn append(&self, node: &Node, records: &[Record]) -> Result<(Offset, Lsn), AppendError> {
        let now_ms = node.world.clock.wall_ms();
        let mut builder = BatchBuilder::new();
        for record in records {
            builder.append(&NewRecord {
                timestamp: now_ms,
                key: Some(&record.key),
                value: record.value.as_deref(),
                headers: &[],
            });
        }
        let bytes = builder
            .build()
            .map_err(|_| AppendError::TooLarge { bytes: 0, limit: 0 })?;
        let batch = BatchView::whole(&bytes).map_err(|_| AppendError::BadOffsets {
            found: -1,
            expected: -1,
        })?;
        let origin = AppendOrigin::Coordinator {
            leader_epoch: self.epoch,
        };
        let appended = self.replica.log.append(&batch, origin, now_ms)?;
        Ok((appended.base_offset, appended.lsn))
    }

    /// Ends the shard; whoever waits is told.
    fn end(&self, error: ErrorCode) {
        let mut state = self.lock();
        if let Some(shard) = state.shard.take() {
            for (token, response) in shard.unload(error) {
                state.give(token, response);
            }
        }
        state.waiting.clear();
    }
}

impl HostState {
    /// Shows the shard the cluster, if that has changed since.
    fn show(&mut self, node: &Node) {
        let image = node.image();
        if self.shown == Some(image.offset()) {
            return;
        }
        self.shown = Some(image.offset());
        if let Some(shard) = &mut self.shard {
            shard.follow(Arc::new(GroupView::new(image, node.settings.clone())));
        }
    }

    /// Takes in records that were appended from `base` on.
    fn apply(&mut self, base: Offset, records: &[Record]) {
        let Some(shard) = &mut self.shard else {
            return;
        };
        for (at, record) in records.iter().enumerate() {
            let origin = RecordOrigin {
                offset: base.0.saturating_add(at as i64),
                producer_id: None,
            };
            if let Err(error) = shard.apply(origin, &record.key, record.value.as_deref()) {
                tracing::error!(%error, "a coordinator's own record cannot be read");
            }
        }
    }

    /// Ends the shard over an append that failed; everybody who waits is told.
    fn fail(&mut self, effects: Effects, error: &AppendError) {
        let Some(shard) = self.shard.take() else {
            return;
        };
        let told = match error {
            AppendError::NotLeader => ErrorCode::NotLeaderOrFollower,
            AppendError::TooLarge { .. } => ErrorCode::RecordListTooLarge,
            _ => ErrorCode::KafkaStorageError,
        };
        for (token, response) in shard.append_failed(effects, told) {
            self.give(token, response);
        }
    }

    fn give(&mut self, token: Token, response: GroupResponse) {
        if let Some(waiting) = self.waiting.remove(&token) {
            let after = (self.applied > Lsn::ZERO).then_some(self.applied);
            // A client that went away needs no answer.
            let _ = waiting.send((response, after));
        }
    }
}

/// Reads a shard's log from its start to where it ended when loading began.
struct Loader {
    node: Arc<Node>,
    host: Arc<Host>,
    next: Offset,
    end: Offset,
}

impl Worker for Loader {
    fn step(&mut self) -> Next {
        if self.node.drain_grace().is_some() {
            return Next::Done;
        }
        match self.read() {
            Ok(true) if self.next >= self.end => {
                self.finish();
                Next::Done
            }
            Ok(true) => Next::Again,
            // The end is not durable yet.
            Ok(false) => Next::WaitFor(RETRY_PAUSE),
            Err(reason) => {
                tracing::error!(%reason, partition = %self.host.replica.key(), "groups cannot be loaded");
                self.host.end(ErrorCode::NotCoordinator);
                Next::Done
            }
        }
    }
}

impl Loader {
    /// Reads and applies the next range. Whether it got further.
    fn read(&mut self) -> Result<bool, String> {
        let slice = self
            .host
            .replica
            .log
            .read(self.next, LOAD_BYTES, true, ReadBound::HighWatermark)
            .map_err(|error| error.to_string())?;
        let Some(file) = slice.file else {
            // Compaction may have left a hole up to the end.
            let further = slice.next_offset > self.next;
            self.next = slice.next_offset;
            return Ok(further);
        };
        let mut bytes = vec![0; usize::try_from(file.length).map_err(|error| error.to_string())?];
        let read = file
            .file
            .read_at(&mut bytes, file.position)
            .map_err(|error| error.to_string())?;
        if read < bytes.len() {
            return Err("the log ended before its range".into());
        }
        let mut state = self.host.lock();
        let Some(shard) = &mut state.shard else {
            return Err("the shard was ended".into());
        };
        for batch in batches(&bytes) {
            let batch = batch.map_err(|error| error.to_string())?;
            if batch.is_control() {
                continue;
            }
            let producer_id = batch.is_transactional().then(|| batch.producer_id().0);
            let records = BatchRecords::open(&batch, UNFOLDED_BYTES_MAX)
                .map_err(|error| error.to_string())?;
            for record in records.iter() {
                let record = record.map_err(|error| error.to_string())?;
                let Some(key) = record.key else { continue };
                let origin = RecordOrigin {
                    offset: record.offset.0,
                    producer_id,
                };
                // Like Kafka, one record that cannot be read does not take its whole shard down.
                if let Err(error) = shard.apply(origin, key, record.value) {
                    tracing::error!(%error, offset = record.offset.0, "group record skipped");
                }
            }
        }
        self.next = slice.next_offset;
        Ok(true)
    }

    fn finish(&mut self) {
        let mut state = self.host.lock();
        state.show(&self.node);
        if let Some(shard) = &mut state.shard {
            shard.loaded(now(&self.node));
        }
        drop(state);
        self.node.groups.bell.ring();
    }
}

fn now(node: &Node) -> Now {
    let clock: &dyn Clock = &*node.world.clock;
    Now {
        monotonic: coordinator::Instant(clock.now().0),
        wall_ms: clock.wall_ms(),
    }
}

/// Who asks, for a coordinator.
pub fn caller(context: &Context, request: &Request) -> Caller {
    let random = &context.node.world.random;
    let chance = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
    Caller {
        version: request.version(),
        client_id: shared(request.header.client_id.as_ref()),
        // As Kafka prints an address that has no name.
        client_host: format!("/{}", context.session.peer.ip().to_canonical()).into(),
        chance,
    }
}

/// A string that outlives its frame; nothing is the empty one.
pub fn shared(text: Option<&Text>) -> Arc<str> {
    text.map_or("", Text::as_str).into()
}

/// A string that outlives its frame, if it is there.
pub fn maybe_shared(text: Option<&Text>) -> Option<Arc<str>> {
    text.map(|text| text.as_str().into())
}

/// Bytes that outlive their frame: a slice would keep the whole frame alive in a group.
pub fn owned(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// A shared string for a message.
pub fn maybe_text(from: Option<&Arc<str>>) -> Option<Text> {
    from.map(|from| text(from))
}
