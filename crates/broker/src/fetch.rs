//! Fetch: ranges of log files, found by offset and sent without a copy, or a wait for them.
//!
//! A fetch that finds too little parks: it registers with its partitions, is woken once when one
//! of them moves, looks again, and gives what there is when its time is over. What a reader's
//! session knows already is neither asked nor told again (`fetch_sessions.rs`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use commitlog::{AdvanceWaiter, PartitionKey, ReadBound, ReadError};
use metadata::{Image, QuotaKey};
use wire::ErrorCode;
use wire::ids::{LeaderEpoch, Offset, TopicId};
use wire::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic, Request as Asked};
use world::Instant;
use world::disk::FileSlice;

use crate::close::CloseReason;
use crate::dispatch::{Context, Handled, Reply, Request};
use crate::fetch_answer::{PartAnswer, encode, encode_empty, encode_failed};
use crate::fetch_sessions::{Claim, Manner, NO_SESSION, Place};
use crate::limits::{COPY_BYTES_MAX, REQUEST_PARTITIONS_MAX};
use crate::outgoing::{Insert, Outgoing};
use crate::quotas::Throttle;
use crate::reactor::AdvanceFlag;
use crate::replica::Replica;

/// `isolation_level` of a reader of committed records.
const READ_COMMITTED: i8 = 1;

/// What a fetch asks for.
pub struct Plan {
    /// In the order of the request (F2).
    pub parts: Vec<Part>,
    min_bytes: u64,
    max_bytes: u64,
    bound: ReadBound,
    manner: Manner,
}

/// One asked partition.
pub struct Part {
    /// How the request names it.
    pub place: Place,
    wanted: Wanted,
    replica: Result<Arc<Replica>, ErrorCode>,
}

/// What is wanted of a partition.
#[derive(Clone, Copy, Default)]
pub struct Wanted {
    current_leader_epoch: LeaderEpoch,
    fetch_offset: Offset,
    last_fetched_epoch: LeaderEpoch,
    bytes_max: u64,
}

/// A fetch that waits for records.
pub struct ParkedFetch {
    request: Request,
    plan: Plan,
    deadline: Instant,
}

/// A connection's entries at the partitions it waits for: at most one each, however often it
/// parks, so that idle partitions do not collect them.
#[derive(Default)]
pub struct Waits(HashMap<PartitionKey, Arc<Wait>>);

struct Wait {
    flag: Arc<AdvanceFlag>,
    entered: AtomicBool,
}

impl AdvanceWaiter for Wait {
    fn advanced(&self) {
        self.entered.store(false, Ordering::Release);
        self.flag.raise();
    }
}

/// What one look at the partitions found.
struct Found {
    answers: Vec<PartAnswer>,
    bytes: u64,
    /// Something must be told at once (F4).
    urgent: bool,
}

/// Answers, or parks.
pub fn handle(context: &Context, request: Request) -> Handled {
    let work = Work::begin(context, &request);
    let asked: Asked = request.decode()?;
    let count: usize = asked
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    if count > REQUEST_PARTITIONS_MAX {
        return Err(request.unreadable(&"more partitions than a request may name"));
    }
    let manner = match manner(context, &request, &asked) {
        Ok(manner) => manner,
        Err(refused) => return encode_failed(&request, NO_SESSION, refused).map(Reply::Now),
    };
    let wait = Duration::from_millis(u64::try_from(asked.max_wait_ms).unwrap_or(0))
        .min(context.node.limits.fetch_wait_max);
    let plan = Plan::new(context, &request, asked, manner);
    let found = plan.look(context, request.version());
    if found.urgent || found.bytes >= plan.min_bytes || wait.is_zero() || plan.parts.is_empty() {
        let outgoing = finish(context, &request, &plan, found, work)?;
        return Ok(Reply::Now(outgoing));
    }
    work.end(context, &request);
    let deadline = context.reactor.now().after(wait);
    Ok(Reply::Fetch(Box::new(ParkedFetch {
        request,
        plan,
        deadline,
    })))
}

impl ParkedFetch {
    /// When it gives what there is.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Ends the wait.
    pub fn hurry(&mut self, now: Instant) {
        self.deadline = self.deadline.min(now);
    }

    /// Enters the connection at each partition, and asks for a second look: one may have moved
    /// since the first.
    pub fn park(&self, flag: &Arc<AdvanceFlag>, waits: &mut Waits) {
        if waits.0.len() > 2 * self.plan.parts.len() + 16 {
            waits.0.clear();
        }
        for part in &self.plan.parts {
            let Ok(replica) = &part.replica else { continue };
            let wait = waits.0.entry(replica.key()).or_insert_with(|| {
                Arc::new(Wait {
                    flag: flag.clone(),
                    entered: AtomicBool::new(false),
                })
            });
            if !wait.entered.swap(true, Ordering::AcqRel) {
                let entry: Arc<dyn AdvanceWaiter> = wait.clone();
                replica.log.on_advance(Arc::downgrade(&entry));
            }
        }
        flag.raise();
    }

    /// Looks again; the answer if there is enough, else it parks once more.
    pub fn retry(
        &mut self,
        context: &Context,
        flag: &Arc<AdvanceFlag>,
        waits: &mut Waits,
    ) -> Result<Option<Outgoing>, CloseReason> {
        let work = Work::begin(context, &self.request);
        if let Some(found) = self.enough(context) {
            return finish(context, &self.request, &self.plan, found, work).map(Some);
        }
        // Whoever moved has forgotten us. Entered anew, then looked at once more.
        let mut missing = false;
        for part in &self.plan.parts {
            if let Ok(replica) = &part.replica
                && let Some(wait) = waits.0.get(&replica.key())
                && !wait.entered.load(Ordering::Acquire)
            {
                missing = true;
            }
        }
        if missing {
            self.park(flag, waits);
        }
        work.end(context, &self.request);
        Ok(None)
    }

    fn enough(&self, context: &Context) -> Option<Found> {
        let found = self.plan.look(context, self.request.version());
        (found.urgent || found.bytes >= self.plan.min_bytes).then_some(found)
    }

    /// The answer with whatever there is.
    pub fn finish(&self, context: &Context) -> Result<Outgoing, CloseReason> {
        let work = Work::begin(context, &self.request);
        let found = self.plan.look(context, self.request.version());
        finish(context, &self.request, &self.plan, found, work)
    }
}

/// Takes the request into its session, if it has one or asks for one.
fn manner(context: &Context, request: &Request, asked: &Asked) -> Result<Manner, ErrorCode> {
    if request.version() < 7 || is_follower(request, asked) {
        return Ok(Manner::Alone);
    }
    let claim = Claim {
        id: asked.session_id,
        epoch: asked.session_epoch,
        by_id: request.version() >= 13,
    };
    let forgotten = asked.forgotten_topics_data.iter().flat_map(forgotten);
    let now = context.reactor.now();
    let sessions = &context.node.fetch_sessions;
    sessions.take(claim, asked.topics.iter().flat_map(wanted), forgotten, now)
}

/// Whether a broker asks, to copy. Brokers copy from each other by another protocol (D16).
fn is_follower(request: &Request, asked: &Asked) -> bool {
    let replica_id = if request.version() >= 15 {
        asked.replica_state.replica_id
    } else {
        asked.replica_id
    };
    replica_id >= 0
}

fn wanted(topic: &FetchTopic) -> impl Iterator<Item = (Place, Wanted)> + '_ {
    topic.partitions.iter().map(|asked| {
        let place = Place {
            topic: topic.topic.clone(),
            id: TopicId::from(topic.topic_id),
            partition: asked.partition,
        };
        (place, Wanted::new(asked))
    })
}

fn forgotten(topic: &ForgottenTopic) -> impl Iterator<Item = Place> + '_ {
    topic.partitions.iter().map(|partition| Place {
        topic: topic.topic.clone(),
        id: TopicId::from(topic.topic_id),
        partition: *partition,
    })
}

impl Wanted {
    fn new(asked: &FetchPartition) -> Wanted {
        Wanted {
            current_leader_epoch: LeaderEpoch(asked.current_leader_epoch),
            fetch_offset: Offset(asked.fetch_offset),
            last_fetched_epoch: LeaderEpoch(asked.last_fetched_epoch),
            bytes_max: u64::try_from(asked.partition_max_bytes).unwrap_or(0),
        }
    }
}

impl Plan {
    fn new(context: &Context, request: &Request, asked: Asked, manner: Manner) -> Plan {
        let image = context.node.image();
        let version = request.version();
        let follows = is_follower(request, &asked);
        let part = |(place, wanted): (Place, Wanted)| {
            let replica = if follows {
                Err(ErrorCode::TopicAuthorizationFailed)
            } else {
                find(context, &image, version, &place)
            };
            Part {
                place,
                wanted,
                replica,
            }
        };
        let parts = match manner.remembered() {
            Some(remembered) => remembered.into_iter().map(part).collect(),
            None => {
                let count = asked.topics.iter().map(|topic| topic.partitions.len());
                let mut parts = Vec::with_capacity(count.sum());
                parts.extend(asked.topics.iter().flat_map(wanted).map(part));
                parts
            }
        };
        let meters = request.meters.as_ref();
        let allowed = meters.map_or(u64::MAX, |meters| meters.fetch_bytes_max());
        let committed = asked.isolation_level == READ_COMMITTED;
        let max_bytes = u64::try_from(asked.max_bytes).unwrap_or(0);
        Plan {
            parts,
            min_bytes: u64::try_from(asked.min_bytes).unwrap_or(0),
            max_bytes: max_bytes
                .min(u64::from(context.node.limits.fetch_bytes_max))
                // More at once would never be let through.
                .min(allowed),
            bound: if committed {
                ReadBound::LastStable
            } else {
                ReadBound::HighWatermark
            },
            manner,
        }
    }

    /// Whether readers of committed records asked.
    pub fn is_committed(&self) -> bool {
        self.bound == ReadBound::LastStable
    }

    /// Looks at each partition once, in order.
    // rule F2
    fn look(&self, context: &Context, version: i16) -> Found {
        let mut found = Found {
            answers: Vec::with_capacity(self.parts.len()),
            bytes: 0,
            urgent: false,
        };
        for part in &self.parts {
            let answer = part.read(self, found.bytes);
            if let Ok(replica) = &part.replica {
                replica.counters().looked_at(answer.is_err());
            }
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    let error = part.explained(context, version, error);
                    context.reactor.counters.fetch_failed();
                    // rule F12
                    let told = match error {
                        ErrorCode::KafkaStorageError if version <= 5 => {
                            ErrorCode::NotLeaderOrFollower
                        }
                        other => other,
                    };
                    PartAnswer::failed(told)
                }
            };
            found.bytes += answer.slice.as_ref().map_or(0, |slice| slice.length);
            found.urgent |= answer.urgent;
            found.answers.push(answer);
        }
        found
    }
}

// rule F10
fn find(
    context: &Context,
    image: &Image,
    version: i16,
    place: &Place,
) -> Result<Arc<Replica>, ErrorCode> {
    let (partitions, partition) = (&context.node.partitions, place.partition);
    if version >= 13 {
        partitions.by_id(image, place.id, partition)
    } else {
        partitions.by_name(image, place.topic.as_str(), partition)
    }
}

impl Part {
    /// The bytes for this partition, after `taken` bytes for those before it.
    fn read(&self, plan: &Plan, taken: u64) -> Result<PartAnswer, ErrorCode> {
        let replica = self.replica.as_ref().map_err(|error| *error)?;
        // rule F6
        replica.check_epoch(self.wanted.current_leader_epoch)?;
        if let Some(diverged) = self.diverging(replica)? {
            return Ok(diverged);
        }
        let left = plan.max_bytes.saturating_sub(taken);
        let wanted = self.wanted.bytes_max.min(left);
        let first = taken == 0;
        let slice = replica
            .log
            .read(
                self.wanted.fetch_offset,
                u32::try_from(wanted).unwrap_or(u32::MAX),
                first,
                plan.bound,
            )
            .map_err(|error| read_error(&error))?;
        let end = if plan.is_committed() {
            slice.last_stable
        } else {
            slice.high_watermark
        };
        let length = slice.file.as_ref().map_or(0, |file| file.length);
        // The range ended before its limit and before the end of what is readable: the offset
        // lies on an older segment, whose end no new record will move (F4).
        let cut_by_segment = length > 0 && length < wanted && slice.next_offset < end;
        Ok(PartAnswer {
            error: ErrorCode::None,
            high_watermark: slice.high_watermark,
            last_stable: slice.last_stable,
            log_start: slice.log_start,
            slice: slice.file.filter(|file| file.length > 0),
            diverging: None,
            urgent: cut_by_segment,
        })
    }

    /// Why a partition that was found when the request came does not lead here any more: it may
    /// have been deleted while the fetch waited. Like Kafka, which looks names up only when a
    /// request comes in, that is told as an unknown partition even to who asked by topic id.
    fn explained(&self, context: &Context, version: i16, error: ErrorCode) -> ErrorCode {
        if error != ErrorCode::NotLeaderOrFollower || self.replica.is_err() {
            return error;
        }
        match find(context, &context.node.image(), version, &self.place) {
            Err(ErrorCode::UnknownTopicId | ErrorCode::UnknownTopicOrPartition) => {
                ErrorCode::UnknownTopicOrPartition
            }
            _ => error,
        }
    }

    // rule F7
    fn diverging(&self, replica: &Replica) -> Result<Option<PartAnswer>, ErrorCode> {
        let asked = self.wanted.last_fetched_epoch;
        if asked.0 < 0 {
            return Ok(None);
        }
        let offsets = replica.log.offsets();
        if self.wanted.fetch_offset < offsets.log_start {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        let Some(end) = replica.log.epoch_end(asked) else {
            return Err(ErrorCode::OffsetOutOfRange);
        };
        if end.epoch >= asked && end.end >= self.wanted.fetch_offset {
            return Ok(None);
        }
        Ok(Some(PartAnswer {
            error: ErrorCode::None,
            high_watermark: offsets.high_watermark,
            last_stable: offsets.last_stable,
            log_start: offsets.log_start,
            slice: None,
            diverging: Some((end.epoch, end.end)),
            urgent: true,
        }))
    }
}

fn read_error(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Closed => ErrorCode::NotLeaderOrFollower,
        ReadError::Corrupt { .. } | ReadError::Disk(_) => {
            tracing::error!(%error, "a partition cannot be read");
            ErrorCode::KafkaStorageError
        }
    }
}

/// Encodes what was found, small ranges as bytes and the others as file ranges.
fn finish(
    context: &Context,
    request: &Request,
    plan: &Plan,
    mut found: Found,
    work: Work,
) -> Result<Outgoing, CloseReason> {
    let throttle = work.throttle(context, request, found.bytes);
    if !throttle.is_none() {
        // rule W9: the session stays as it is, and the same is asked for again
        return Ok(encode_empty(request, plan.manner.session_id())?.throttled(throttle));
    }
    let mut inserts = Vec::new();
    for (at, answer) in found.answers.iter_mut().enumerate() {
        let Some(slice) = &answer.slice else { continue };
        match insert(slice) {
            Ok(insert) => {
                context.reactor.counters.fetched(slice.length);
                if let Ok(replica) = &plan.parts[at].replica {
                    replica.counters().fetched(slice.length);
                }
                inserts.push((at, insert));
            }
            Err(error) => {
                tracing::error!(%error, "a partition cannot be read");
                *answer = PartAnswer::failed(ErrorCode::KafkaStorageError);
            }
        }
    }
    let (session_id, kept) = match settle(context, plan, &found.answers) {
        Ok(settled) => settled,
        Err((session_id, refused)) => return encode_failed(request, session_id, refused),
    };
    let outgoing = encode(
        request,
        plan,
        &found.answers,
        inserts,
        session_id,
        kept.as_deref(),
    )?;
    if let Some(meters) = &request.meters {
        meters.fetched_around(outgoing.head.len(), context.reactor.now());
    }
    Ok(outgoing)
}

/// One stretch of work on a fetch, for the quota on time; not looked at where nothing is measured.
struct Work(Option<Instant>);

impl Work {
    fn begin(context: &Context, request: &Request) -> Work {
        Work(request.meters.as_ref().map(|_| context.reactor.now()))
    }

    /// Ends it without an answer.
    fn end(self, context: &Context, request: &Request) {
        if let (Some(began), Some(meters)) = (self.0, &request.meters) {
            let now = context.reactor.now();
            meters.worked(now.since(began), now);
        }
    }

    /// Ends it with so many bytes of records: whether they may leave.
    fn throttle(self, context: &Context, request: &Request, bytes: u64) -> Throttle {
        let (Some(began), Some(meters)) = (self.0, &request.meters) else {
            return Throttle::NONE;
        };
        let now = context.reactor.now();
        let worked = meters.worked(now.since(began), now);
        if worked.is_none() {
            return meters.fetched(bytes, now);
        }
        // Nothing leaves, so nothing is counted.
        worked.max(meters.owed(QuotaKey::ConsumerByteRate, now))
    }
}

/// The number of the answer's session, and which partitions it tells; all without a list.
type Settled = (i32, Option<Vec<bool>>);

// rule F5
fn settle(
    context: &Context,
    plan: &Plan,
    answers: &[PartAnswer],
) -> Result<Settled, (i32, ErrorCode)> {
    let answered = plan.parts.iter().zip(answers);
    match &plan.manner {
        Manner::Alone => Ok((NO_SESSION, None)),
        Manner::Opening { by_id } => {
            let answered =
                answered.map(|(part, answer)| (part.place.clone(), part.wanted, answer.told()));
            let (now, random) = (context.reactor.now(), &*context.node.world.random);
            let sessions = &context.node.fetch_sessions;
            Ok((sessions.open(*by_id, answered, now, random), None))
        }
        Manner::Within { session, epoch } => {
            let answered = answered.map(|(part, answer)| (&part.place, answer.told()));
            let (id, kept) = Manner::settle(session, *epoch, answered)?;
            Ok((id, Some(kept)))
        }
    }
}

fn insert(slice: &FileSlice) -> Result<Insert, world::DiskError> {
    if slice.length >= COPY_BYTES_MAX {
        return Ok(Insert::File(slice.clone()));
    }
    let mut bytes = vec![0; slice.length as usize];
    let read = slice.file.read_at(&mut bytes, slice.position)?;
    if read < bytes.len() {
        // Never padded: sent as a file range it ends the connection.
        return Ok(Insert::File(slice.clone()));
    }
    Ok(Insert::Bytes(Bytes::from(bytes)))
}
