//! One partition's log: its bookkeeping, under a lock held for microseconds.
//!
//! Invariants, under the lock:
//! - `log_start <= high_watermark <= end`; `completed <= gathered or durable <= end`.
//! - What lies below `completed` is on the disk (in the shared log or the segment) and in the
//!   segment's page cache: a reader finds it there.
//! - Segments are sorted, gapless and do not overlap; the active one is the last.
//! - Nothing is changed before the period of the checkpoint is entered ([`State::enter`]), so that a
//!   checkpoint sees every partition exactly as of one LSN.
//!
//! No I/O happens under the lock on the way of an append or a read; only the first touch of a
//! dormant partition and a truncation read a little under it. Files are changed by the gather alone,
//! in log order.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use wire::batch::{BatchView, Stamp, stamp as stamp_batch};
use wire::ids::{LeaderEpoch, Offset};

use crate::batch_head::BatchHead;
use crate::block::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, pack_append_time};
use crate::epochs::{EpochEnd, Epochs};
use crate::errors::{AppendError, LogError};
use crate::ids::{Lsn, PartitionId, PartitionKey};
use crate::lock;
use crate::manifest::{PartitionRecord, SegmentRecord};
use crate::producers::{Decision, ProducerInfo, Producers, Rejection};
use crate::segment::{ActiveHead, ActiveParts, SealedSegment, Tally, producer_batch};
use crate::settings::{LogSettings, SyncPolicy, TimestampSource};
use crate::staging::{Effect, EntryHint, Part, PartKind, StagingState};
use crate::store::Shared;

/// Told when a partition's watermark moved. Called once per registration, on the thread that moved
/// it, under no lock of this crate.
pub trait AdvanceWaiter: Send + Sync {
    /// The watermark of some partition this waiter was registered with moved.
    fn advanced(&self);
}

/// Whose batch it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A client's: the producer's sequence is checked (rules T1, T2).
    Client {
        /// The epoch the request was made for (rule R1).
        leader_epoch: LeaderEpoch,
    },
    /// A coordinator's of this broker.
    Coordinator {
        /// The epoch the coordinator was elected in.
        leader_epoch: LeaderEpoch,
    },
    /// The leader's: offsets and epoch are already in the batch.
    Replica,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// The stamp, on topics stamped at append (rule P5).
    pub append_time_ms: Option<i64>,
    /// Where the log starts.
    pub log_start: Offset,
    /// The answer leaves when the durable LSN has reached this (on `durable` topics). A duplicate
    /// carries the LSN of the original (rule R6).
    pub lsn: Lsn,
    /// Nothing was appended: the batch was there already (rule T1).
    pub duplicate: bool,
}

/// Where a log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offsets {
    /// First readable offset.
    pub log_start: Offset,
    /// Consumers read below this.
    pub high_watermark: Offset,
    /// `read_committed` consumers read below this.
    pub last_stable: Offset,
    /// The next append goes here.
    pub end: Offset,
    /// Everything below is on the disk and readable.
    pub durable_end: Offset,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    pub offset: i64,
    /// Base of the segment the next byte goes to, if nothing rolls.
    pub segment: i64,
    pub position: u64,
}

impl Mark {
    pub fn min(self, other: Mark) -> Mark {
        if other.offset < self.offset {
            other
        } else {
            self
        }
    }
}

/// One partition's log on this node.
pub struct Partition {
    key: PartitionKey,
    id: PartitionId,
    pub(crate) shared: Arc<Shared>,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub settings: Arc<LogSettings>,
    pub log_start: i64,
    pub end: Mark,
    pub gathered: Mark,
    pub completed: Mark,
    pub high_watermark: i64,
    pub last_lsn: u64,
    /// Checkpoint period of the last change.
    pub period: u64,
    /// The state as of the end of an earlier period whose checkpoint has not fetched it yet.
    pub capture: Option<Box<Capture>>,
    pub sealed: Vec<SealedSegment>,
    pub active: ActiveHead,
    pub live: Option<Box<Live>>,
    /// The epoch in which appends are taken, −1 for none.
    pub leader_epoch: i32,
    /// The newest epoch in the log.
    pub last_epoch: i32,
    pub incarnation: u32,
    /// LSN of the last truncation: only one may lie behind the last checkpoint.
    pub truncated_lsn: u64,
    pub gone: bool,
    /// Changed since the last checkpoint fetched it.
    pub dirty: bool,
    /// The high watermark is told from outside ([`Partition::set_high_watermark`]).
    pub watermark_given: bool,
    /// A segment write failed: nothing is gathered until the segments are rebuilt from the log.
    pub broken: bool,
    /// Recovery could not vouch for it.
    pub suspect: bool,
    /// Used since the last round of retention.
    pub touched: bool,
    /// A compaction pass is at work on it.
    pub in_pass: bool,
    /// The manifest is being written with other files in it: no truncation meanwhile.
    pub swapping: bool,
    /// Compaction cannot read it.
    pub uncleanable: bool,
}

/// What a partition in use knows in addition.
#[derive(Clone)]
pub(crate) struct Live {
    pub parts: ActiveParts,
    pub epochs: Epochs,
    pub producers: Producers,
    pub hint: EntryHint,
    pub read_hint: Mark,
    pub waiters: Vec<Weak<dyn AdvanceWaiter>>,
    /// Files cut away by a truncation, to be removed when it is gathered: base and revision.
    pub cut_away: Vec<(i64, u32)>,
    /// Files below the log start: to be removed when a checkpoint has the trim of this LSN, so that
    /// recovery finds every file that the manifest names.
    pub trimmed: Vec<(u64, i64, u32)>,
}

impl Live {
    pub fn new(start: i64, base: i64) -> Live {
        Live {
            parts: ActiveParts::new(base),
            epochs: Epochs::new(),
            producers: Producers::new(Offset(start)),
            hint: EntryHint::default(),
            read_hint: Mark {
                offset: -1,
                segment: -1,
                position: 0,
            },
            waiters: Vec::new(),
            cut_away: Vec::new(),
            trimmed: Vec::new(),
        }
    }
}

/// A partition as of the end of a checkpoint period.
pub(crate) struct Capture {
    pub record: PartitionRecord,
    pub sealed: Vec<SegmentRecord>,
    /// Its encoded tail state; empty if it has none, or keeps the one the manifest has.
    pub tail: Vec<u8>,
    pub tail_crc: u32,
    pub tail_kept: bool,
}

impl Partition {
    pub(crate) fn new(
        key: PartitionKey,
        id: PartitionId,
        shared: Arc<Shared>,
        state: State,
    ) -> Arc<Partition> {
        Arc::new(Partition {
            key,
            id,
            shared,
            state: Mutex::new(state),
        })
    }

    /// Its name in the cluster.
    pub fn key(&self) -> PartitionKey {
        self.key
    }

    /// Its name in this data directory.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Appends a batch whose header and CRC the caller has checked. The records stay as they are;
    /// base offset, leader epoch and, on topics stamped at append, the time are written in
    /// (rule P3). The batch is readable and acknowledged when the returned LSN is durable.
    pub fn append(
        self: &Arc<Partition>,
        batch: &BatchView<'_>,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        let Some(head) = BatchHead::parse(batch.bytes()) else {
            return Err(AppendError::BadOffsets {
                found: batch.base_offset().0,
                expected: 0,
            });
        };
        self.shared
            .admit(matches!(origin, AppendOrigin::Client { .. }))?;
        let appended = self
            .state()
            .append(self, batch.bytes(), head, origin, now_ms)?;
        if !appended.duplicate {
            self.shared.wake_writer();
        }
        Ok(appended)
    }

    /// Where the log stands.
    pub fn offsets(&self) -> Offsets {
        self.state().offsets()
    }

    /// Registers a waiter, to be told once when the watermark moves next. A caller that found
    /// nothing to read registers first and looks again then, or it misses a move in between.
    pub fn on_advance(&self, waiter: Weak<dyn AdvanceWaiter>) {
        let mut state = self.state();
        if let Ok(live) = state.touch(self) {
            push_waiter(&mut live.waiters, waiter);
        }
    }

    /// A leader epoch begins here (rule R8): appends of that epoch are taken from now on.
    ///
    /// Nothing is written: the first batch of the epoch carries it into the log, from the same
    /// offset, and an epoch without a batch leaves no trace that anybody asks for
    /// (docs/design/0073). So a node takes over tens of thousands of partitions at once. It enters
    /// no checkpoint period either: a checkpoint that sees the epoch early sees it at the log's end
    /// of its own boundary, for an append since would have put that state aside.
    pub fn become_leader(&self, epoch: LeaderEpoch) -> Result<(), LogError> {
        let mut state = self.state();
        if state.gone {
            return Err(LogError::Closed);
        }
        if epoch.0 < state.last_epoch {
            let known = LeaderEpoch(state.last_epoch);
            return Err(LogError::StaleEpoch { epoch, known });
        }
        let end = state.end.offset;
        state.begin_epoch(epoch, end);
        state.leader_epoch = epoch.0;
        Ok(())
    }

    /// Takes no more appends of clients or coordinators.
    pub fn become_follower(&self) {
        self.state().leader_epoch = -1;
    }

    /// Switches to a high watermark told from outside and moves it; it never passes the end. It may
    /// go down after an election (rule R5).
    pub fn set_high_watermark(&self, to: Offset) {
        let mut state = self.state();
        state.watermark_given = true;
        let to = to.0.min(state.end.offset).max(state.log_start);
        let moved = to > state.high_watermark;
        state.high_watermark = to;
        let waiters = if moved {
            state.take_waiters()
        } else {
            Vec::new()
        };
        drop(state);
        wake(waiters);
    }

    /// Where `epoch` ends in this log (rules R7, M4); `None` if that is undefined.
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let mut state = self.state();
        let end = Offset(state.end.offset);
        state.touch(self).ok()?.epochs.end_offset_for(epoch, end)
    }

    /// The leader epochs the log knows.
    pub fn epochs(&self) -> Epochs {
        self.state()
            .touch(self)
            .map(|live| live.epochs.clone())
            .unwrap_or_default()
    }

    /// The epoch that wrote `offset` (rule M2).
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.state().touch(self).ok()?.epochs.epoch_at(offset)
    }

    /// The producers the log knows.
    pub fn producers(&self) -> Vec<ProducerInfo> {
        let mut state = self.state();
        state
            .touch(self)
            .map(|live| live.producers.iter().collect())
            .unwrap_or_default()
    }

    /// Bytes of data in all segments.
    pub fn size_bytes(&self) -> u64 {
        self.state().size_bytes()
    }

    /// Takes new settings; they act from the next append on.
    pub fn apply_settings(&self, settings: LogSettings) {
        self.state().settings = self.shared.share_settings(settings);
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<LogSettings> {
        Arc::clone(&self.state().settings)
    }

    /// The parts of a group reached the segments' page cache.
    pub(crate) fn note_gathered<'a>(&self, parts: impl Iterator<Item = &'a Part>) {
        let mut state = self.state();
        if state.broken {
            return;
        }
        if let Some(mark) = state.mark_of(parts) {
            state.gathered = mark;
            if state.settings.sync == SyncPolicy::Os {
                let waiters = state.raise_watermark(mark.offset);
                drop(state);
                wake(waiters);
            }
        }
    }

    /// A group is on the disk and in the page cache: the watermark moves. Waiters are added to
    /// `woken`.
    pub(crate) fn note_completed<'a>(
        &self,
        parts: impl Iterator<Item = &'a Part>,
        woken: &mut Vec<Weak<dyn AdvanceWaiter>>,
    ) {
        let mut state = self.state();
        if state.broken {
            return;
        }
        if let Some(mark) = state.mark_of(parts) {
            state.completed = mark;
            woken.extend(state.raise_watermark(mark.offset));
        }
    }
}

/// Adds a waiter. Connections that ended leave dead entries behind, and an idle partition wakes
/// nobody who could clear them away: that is done when the list would have to grow, and leaves it
/// half empty, so that it costs nothing on the whole and the dead never outnumber the living.
fn push_waiter(waiters: &mut Vec<Weak<dyn AdvanceWaiter>>, waiter: Weak<dyn AdvanceWaiter>) {
    if waiters.len() == waiters.capacity() {
        waiters.retain(|waiter| waiter.strong_count() > 0);
        waiters.reserve(waiters.len() + 1);
    }
    waiters.push(waiter);
}

/// Tells waiters, under no lock.
pub(crate) fn wake(waiters: Vec<Weak<dyn AdvanceWaiter>>) {
    for waiter in waiters {
        if let Some(waiter) = waiter.upgrade() {
            waiter.advanced();
        }
    }
}

impl State {
    /// An empty log that starts at `start`.
    pub fn new(settings: Arc<LogSettings>, start: i64) -> State {
        let mark = Mark {
            offset: start,
            segment: start,
            position: 0,
        };
        State {
            settings,
            log_start: start,
            end: mark,
            gathered: mark,
            completed: mark,
            high_watermark: start,
            last_lsn: 0,
            period: 0,
            capture: None,
            sealed: Vec::new(),
            active: ActiveHead::new(start),
            live: None,
            leader_epoch: -1,
            last_epoch: -1,
            incarnation: 0,
            truncated_lsn: 0,
            gone: false,
            dirty: false,
            watermark_given: false,
            broken: false,
            suspect: false,
            touched: false,
            in_pass: false,
            swapping: false,
            uncleanable: false,
        }
    }

    fn offsets(&self) -> Offsets {
        Offsets {
            log_start: Offset(self.log_start),
            high_watermark: Offset(self.high_watermark),
            last_stable: Offset(self.last_stable()),
            end: Offset(self.end.offset),
            durable_end: Offset(self.completed.offset),
        }
    }

    /// The last stable offset.
    pub fn last_stable(&self) -> i64 {
        let stable = match &self.live {
            Some(live) => live.producers.last_stable(Offset(self.high_watermark)).0,
            None => self.high_watermark,
        };
        stable.max(self.log_start)
    }

    pub fn size_bytes(&self) -> u64 {
        self.sealed
            .iter()
            .map(|segment| segment.record.data_bytes)
            .sum::<u64>()
            + self.end.position
    }

    pub fn take_waiters(&mut self) -> Vec<Weak<dyn AdvanceWaiter>> {
        self.live
            .as_mut()
            .map(|live| std::mem::take(&mut live.waiters))
            .unwrap_or_default()
    }

    /// The place behind the last part that belongs to the present incarnation.
    fn mark_of<'a>(&self, parts: impl Iterator<Item = &'a Part>) -> Option<Mark> {
        let last = parts
            .filter(|part| part.incarnation == self.incarnation)
            .last()?;
        Some(Mark {
            offset: last.end,
            segment: last.segment,
            position: last.end_position,
        })
    }

    pub fn raise_watermark(&mut self, to: i64) -> Vec<Weak<dyn AdvanceWaiter>> {
        if self.watermark_given || to <= self.high_watermark {
            return Vec::new();
        }
        self.high_watermark = to;
        if let Some(live) = self.live.as_mut() {
            live.producers.pass_watermark(Offset(to));
        }
        self.take_waiters()
    }

    /// Which file the segment with this base is in.
    pub fn revision_of(&self, base: i64) -> u32 {
        self.known_revision(base).unwrap_or(0)
    }

    /// The same, if there is such a segment: `None` if it was cut away or trimmed.
    pub fn known_revision(&self, base: i64) -> Option<u32> {
        if self.active.base == base {
            return Some(self.active.revision);
        }
        let at = self
            .sealed
            .binary_search_by_key(&base, SealedSegment::base)
            .ok()?;
        Some(self.sealed[at].record.revision)
    }

    /// The manifest names these segments now, with their footers on the disk.
    pub fn drop_footers(&mut self, names: &[SegmentRecord]) {
        for segment in &mut self.sealed {
            if names
                .binary_search_by_key(&segment.record.base, |name| name.base)
                .is_ok()
            {
                segment.footer = None;
            }
        }
    }

    /// The segment with this base is in another file now.
    pub fn set_revision(&mut self, base: i64, revision: u32) {
        if self.active.base == base {
            self.active.revision = revision;
        } else if let Ok(at) = self.sealed.binary_search_by_key(&base, SealedSegment::base) {
            self.sealed[at].record.revision = revision;
        }
    }

    /// The footer of a sealed segment, while no checkpoint has it.
    pub fn footer_of(&self, base: i64) -> Option<Arc<Vec<u8>>> {
        let at = self
            .sealed
            .binary_search_by_key(&base, SealedSegment::base)
            .ok()?;
        self.sealed[at].footer.clone()
    }

    /// Files cut away by truncations that are gathered now.
    pub fn take_cut_away(&mut self) -> Vec<(i64, u32)> {
        self.live
            .as_mut()
            .map(|live| std::mem::take(&mut live.cut_away))
            .unwrap_or_default()
    }

    /// Files whose trim or deletion a checkpoint of `boundary` covers.
    pub fn take_trimmed(&mut self, boundary: u64) -> Vec<(i64, u32)> {
        let mut due = Vec::new();
        if let Some(live) = self.live.as_mut() {
            live.trimmed.retain(|(lsn, base, revision)| {
                if *lsn <= boundary {
                    due.push((*base, *revision));
                }
                *lsn > boundary
            });
        }
        due
    }

    /// Whether a file belongs to it, needed or not.
    pub fn has_file(&self, base: i64, revision: u32) -> bool {
        let of_live = |live: &Live| {
            live.cut_away.contains(&(base, revision))
                || live
                    .trimmed
                    .iter()
                    .any(|(_, known, of)| (*known, *of) == (base, revision))
        };
        self.known_revision(base) == Some(revision) || self.live.as_deref().is_some_and(of_live)
    }

    /// Gives a checkpoint the state as of the end of its period.
    pub fn fetch_capture(&mut self, partition: &Partition) -> Option<Capture> {
        if let Some(mut capture) = self.capture.take() {
            // A segment may have been rebuilt since: the bytes are the same, the file is not.
            if let Some(revision) = self.known_revision(capture.record.active_base.0) {
                capture.record.active_revision = revision;
            }
            for segment in &mut capture.sealed {
                if let Some(revision) = self.known_revision(segment.base.0) {
                    segment.revision = revision;
                }
            }
            return Some(*capture);
        }
        self.dirty = false;
        (!self.gone).then(|| self.make_capture(partition))
    }

    /// A checkpoint failed: the partition is still to be written.
    pub fn keep_dirty(&mut self, partition: &Arc<Partition>, staging: &mut StagingState) {
        self.capture = None;
        if !self.dirty || self.period != staging.period() {
            self.dirty = true;
            self.period = staging.period();
            staging.note_dirty(partition);
        }
    }

    /// Enters the checkpoint period of the staging buffers before a change: what an earlier
    /// period's checkpoint has not fetched yet is kept aside.
    pub fn enter(&mut self, partition: &Arc<Partition>, staging: &mut StagingState) {
        let period = staging.period();
        if self.dirty && self.period == period {
            return;
        }
        if self.dirty {
            debug_assert!(self.capture.is_none(), "one checkpoint at a time");
            self.capture = Some(Box::new(self.make_capture(partition)));
        }
        self.dirty = true;
        self.period = period;
        staging.note_dirty(partition);
    }

    pub fn begin_epoch(&mut self, epoch: LeaderEpoch, start: i64) {
        if let Some(live) = self.live.as_mut() {
            live.epochs.assign(epoch, Offset(start));
        }
        self.last_epoch = self.last_epoch.max(epoch.0);
    }

    fn append(
        &mut self,
        partition: &Arc<Partition>,
        batch: &[u8],
        mut head: BatchHead,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        self.touch(partition).map_err(|_| AppendError::Dead)?;
        if self.suspect {
            return Err(AppendError::Dead);
        }
        let (base, leader_epoch) = self.admit(&head, origin)?;
        if let Some(duplicate) = self.check_producer(&head, origin)? {
            return Ok(duplicate);
        }
        let length = batch.len() as u64;
        let limit = partition.shared.batch_bytes_max();
        if length > limit {
            return Err(AppendError::TooLarge {
                bytes: length,
                limit,
            });
        }
        let stamped = match (origin, self.settings.timestamps) {
            (AppendOrigin::Replica, _) | (_, TimestampSource::CreateTime) => None,
            (_, TimestampSource::LogAppendTime) => Some(now_ms),
        };
        let end = base
            .saturating_add(i64::from(head.last_offset_delta))
            .saturating_add(1);
        let roll = self.wants_roll(length, end, now_ms);
        let segment = if roll {
            self.end.offset
        } else {
            self.active.base
        };
        if end - segment > i64::from(u32::MAX) {
            // A leader's hole that no segment of ours can span.
            return Err(AppendError::BadOffsets {
                found: base,
                expected: self.end.offset,
            });
        }

        let shared = &partition.shared;
        let mut staging = shared.staging.lock();
        let roll_bytes = if roll { RECORD_HEADER_BYTES + 8 } else { 0 };
        if staging
            .make_room(roll_bytes + RECORD_HEADER_BYTES + batch.len())
            .is_err()
        {
            return Err(AppendError::StagingFull);
        }
        self.enter(partition, &mut staging);
        let ended = roll.then(|| self.roll(partition, &mut staging));
        let position = self.end.position;
        let header = RecordHeader {
            kind: RecordKind::Batch,
            leader_epoch,
            partition: partition.id.0,
            base_offset: base,
            position,
            length: batch.len() as u32,
            append_time: pack_append_time(now_ms),
        };
        let effect = Effect {
            kind: PartKind::Bytes {
                from: 0,
                length: 0,
                position,
            },
            segment: self.active.base,
            end,
            end_position: position + length,
            incarnation: self.incarnation,
        };
        let Some(live) = self.live.as_mut() else {
            unreachable!("touched above");
        };
        let (lsn, copied) = staging.push(partition, &mut live.hint, &header, batch, effect);
        stamp_batch(
            copied,
            Stamp {
                base_offset: Offset(base),
                leader_epoch: LeaderEpoch(leader_epoch),
                append_time_ms: stamped,
            },
        );
        head.base_offset = base;
        head.leader_epoch = leader_epoch;
        head.max_timestamp = stamped.unwrap_or(head.max_timestamp);
        let mut tally = Tally {
            head: &mut self.active,
            parts: &mut live.parts,
            producers: &mut live.producers,
            epochs: &mut live.epochs,
        };
        let indexed = tally.index(&head, position, copied, now_ms);
        assert!(indexed.is_ok(), "a batch that does not fit was refused");
        drop(staging);

        if let Some(ended) = ended {
            // Producers and epochs are still those of the ended segment's end.
            let (facts, parts) = *ended;
            let sealed = SealedSegment::seal(&facts, parts, tally.producers, tally.epochs);
            self.sealed.push(sealed);
        }
        tally.account(&head, Lsn(lsn), now_ms);
        self.end = Mark {
            offset: end,
            segment: self.active.base,
            position: effect.end_position,
        };
        self.last_lsn = lsn;
        self.last_epoch = self.last_epoch.max(leader_epoch);
        Ok(Appended {
            base_offset: Offset(base),
            last_offset: Offset(end - 1),
            append_time_ms: stamped,
            log_start: Offset(self.log_start),
            lsn: Lsn(lsn),
            duplicate: false,
        })
    }

    /// Base offset and epoch the batch gets, if it may be appended (rule R1).
    fn admit(&self, head: &BatchHead, origin: AppendOrigin) -> Result<(i64, i32), AppendError> {
        match origin {
            AppendOrigin::Client { leader_epoch } | AppendOrigin::Coordinator { leader_epoch } => {
                if leader_epoch.0 != self.leader_epoch || leader_epoch.0 < 0 {
                    return Err(AppendError::NotLeader);
                }
                Ok((self.end.offset, self.leader_epoch))
            }
            AppendOrigin::Replica => {
                if head.base_offset < self.end.offset || head.leader_epoch < self.last_epoch {
                    let (found, expected) = (head.base_offset, self.end.offset);
                    return Err(AppendError::BadOffsets { found, expected });
                }
                Ok((head.base_offset, head.leader_epoch))
            }
        }
    }

    /// Rules T1 and T2; the answer of the original, if the batch is a duplicate.
    fn check_producer(
        &self,
        head: &BatchHead,
        origin: AppendOrigin,
    ) -> Result<Option<Appended>, AppendError> {
        let (AppendOrigin::Client { .. }, Some(live), Some(batch)) =
            (origin, self.live.as_ref(), producer_batch(head))
        else {
            return Ok(None);
        };
        match live.producers.check(&batch, false) {
            Decision::Append => Ok(None),
            Decision::Duplicate {
                first_offset,
                last_offset,
                timestamp_ms,
                lsn,
            } => {
                let stamped = self.settings.timestamps == TimestampSource::LogAppendTime;
                Ok(Some(Appended {
                    base_offset: first_offset,
                    last_offset,
                    append_time_ms: stamped.then_some(timestamp_ms),
                    log_start: Offset(self.log_start),
                    lsn,
                    duplicate: true,
                }))
            }
            Decision::Reject(Rejection::OutOfOrderSequence) => {
                let known = live.producers.producer(batch.producer_id);
                let expected = known.map_or(0, |known| {
                    if known.producer_epoch == batch.producer_epoch {
                        wire::batch::advance_sequence(known.last_sequence, 1)
                    } else {
                        0
                    }
                });
                Err(AppendError::OutOfOrderSequence {
                    found: batch.first_sequence,
                    expected,
                })
            }
            Decision::Reject(Rejection::InvalidProducerEpoch) => {
                let known = live.producers.producer(batch.producer_id);
                Err(AppendError::InvalidProducerEpoch {
                    found: batch.producer_epoch.0,
                    known: known.map_or(-1, |known| known.producer_epoch.0),
                })
            }
            Decision::Reject(Rejection::TooManyOpen) => Err(AppendError::StagingFull),
            Decision::Reject(_) => Err(AppendError::InvalidTxnState),
        }
    }

    fn wants_roll(&self, length: u64, end: i64, now_ms: i64) -> bool {
        let after = self.end.position + length;
        let old = self.active.since_ms >= 0
            && now_ms.saturating_sub(self.active.since_ms) >= self.settings.roll_ms();
        // Positions and offset deltas are 32 bits (storage.md section 12, trap 9).
        let full = after > i32::MAX as u64 || end - self.active.base > i64::from(u32::MAX);
        self.end.position > 0 && (after > self.settings.segment_bytes || old || full)
    }

    /// Logs the end of the active segment and begins the next; what the footer is to be made of.
    pub fn roll(
        &mut self,
        partition: &Arc<Partition>,
        staging: &mut StagingState,
    ) -> Box<(crate::sections::Facts, ActiveParts)> {
        let Mark {
            offset, position, ..
        } = self.end;
        let header = RecordHeader {
            kind: RecordKind::Roll,
            leader_epoch: self.active.last_epoch,
            partition: partition.id.0,
            base_offset: offset,
            position,
            length: 8,
            append_time: 0,
        };
        let effect = Effect {
            kind: PartKind::Seal {
                base: self.active.base,
                position,
            },
            segment: offset,
            end: offset,
            end_position: 0,
            incarnation: self.incarnation,
        };
        let body = self.active.base.to_le_bytes();
        let ended = self.begin_segment(partition);
        let Some(live) = self.live.as_mut() else {
            unreachable!("only a partition in use rolls");
        };
        let (lsn, _) = staging.push(partition, &mut live.hint, &header, &body, effect);
        self.last_lsn = lsn;
        ended
    }

    /// Ends the active segment without an append.
    pub fn roll_now(&mut self, partition: &Arc<Partition>) -> Result<(), LogError> {
        let mut staging = partition.shared.staging.lock();
        staging
            .make_room(RECORD_HEADER_BYTES + 8)
            .map_err(|_| LogError::StagingFull)?;
        self.enter(partition, &mut staging);
        let (facts, parts) = *self.roll(partition, &mut staging);
        drop(staging);
        if let Some(live) = self.live.as_ref() {
            self.sealed.push(SealedSegment::seal(
                &facts,
                parts,
                &live.producers,
                &live.epochs,
            ));
        }
        Ok(())
    }

    /// Begins a segment at the end; what is known of the one that ended.
    pub fn begin_segment(
        &mut self,
        partition: &Partition,
    ) -> Box<(crate::sections::Facts, ActiveParts)> {
        let Mark {
            offset, position, ..
        } = self.end;
        let facts = self
            .active
            .facts(partition.key, partition.id, offset, position);
        self.active = ActiveHead::new(offset);
        self.end = Mark {
            offset,
            segment: offset,
            position: 0,
        };
        let parts = match self.live.as_mut() {
            Some(live) => std::mem::replace(&mut live.parts, ActiveParts::new(offset)),
            None => unreachable!("only a partition in use rolls"),
        };
        Box::new((facts, parts))
    }

    /// Logs a record that carries no batch; `apply` changes the state, once the record has its
    /// place. A dormant partition stays dormant.
    pub fn log_control(
        &mut self,
        partition: &Arc<Partition>,
        header: &RecordHeader,
        body: &[u8],
        apply: impl FnOnce(&mut State),
        kind: PartKind,
    ) -> Result<u64, LogError> {
        if self.gone {
            return Err(LogError::Closed);
        }
        let mut staging = partition.shared.staging.lock();
        if staging.make_room(RECORD_HEADER_BYTES + body.len()).is_err() {
            return Err(LogError::StagingFull);
        }
        self.enter(partition, &mut staging);
        apply(self);
        let effect = Effect {
            kind,
            segment: self.end.segment,
            end: self.end.offset,
            end_position: self.end.position,
            incarnation: self.incarnation,
        };
        let mut first = EntryHint::default();
        let hint = match self.live.as_mut() {
            Some(live) => &mut live.hint,
            None => &mut first,
        };
        let (lsn, _) = staging.push(partition, hint, header, body, effect);
        self.last_lsn = lsn;
        Ok(lsn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Connection;

    impl AdvanceWaiter for Connection {
        fn advanced(&self) {}
    }

    #[test]
    fn waiters_of_dead_connections_do_not_collect_on_an_idle_partition() {
        let mut waiters = Vec::new();
        let living: Vec<Arc<dyn AdvanceWaiter>> =
            (0..20).map(|_| Arc::new(Connection) as _).collect();
        for waiter in &living {
            push_waiter(&mut waiters, Arc::downgrade(waiter));
        }
        for _ in 0..10_000 {
            let gone: Arc<dyn AdvanceWaiter> = Arc::new(Connection);
            push_waiter(&mut waiters, Arc::downgrade(&gone));
        }
        assert!(waiters.len() <= 4 * living.len(), "{}", waiters.len());
        let alive = waiters.iter().filter(|one| one.strong_count() > 0).count();
        assert_eq!(alive, living.len());
    }
}
