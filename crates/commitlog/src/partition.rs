//! One partition's log: its bookkeeping, under a lock held for microseconds.
//!
//! Invariants, under the lock:
//! - `log_start <= high_watermark <= end`; `completed <= gathered or durable <= end`.
//! - What lies below `completed` is on the disk (in the shared log or the segment) and in the
//!   segment's page cache: a reader finds it there.
//! - Segments are sorted, gapless and do not overlap; the active one is the last.
//!
//! No I/O happens under the lock. Files are changed by the gather alone, in log order.

use std::sync::{Arc, Mutex, MutexGuard, Weak};

use wire::batch::{BatchView, Stamp, stamp as stamp_batch};
use wire::ids::{LeaderEpoch, Offset};

use crate::batch_head::BatchHead;
use crate::block::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, pack_append_time};
use crate::epochs::{EpochEnd, Epochs};
use crate::errors::{AppendError, LogError};
use crate::ids::{Lsn, PartitionId, PartitionKey};
use crate::lock;
use crate::segment::{ActiveSegment, SealedSegment};
use crate::settings::{LogSettings, SyncPolicy, TimestampSource};
use crate::staging::{Effect, EntryHint, Part, PartKind};
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
    /// carries the LSN of the original or a later one (rule R6).
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
    pub gone: bool,
    pub log_start: i64,
    pub end: Mark,
    pub gathered: Mark,
    pub completed: Mark,
    pub high_watermark: i64,
    /// The high watermark is told from outside ([`Partition::set_high_watermark`]).
    pub watermark_given: bool,
    pub leader_epoch: i32,
    pub last_lsn: u64,
    pub incarnation: u32,
    pub sealed: Vec<SealedSegment>,
    pub active: ActiveSegment,
    pub epochs: Epochs,
    pub read_hint: (i64, Mark),
    hint: EntryHint,
    waiters: Vec<Weak<dyn AdvanceWaiter>>,
}

impl Partition {
    pub(crate) fn new(
        key: PartitionKey,
        id: PartitionId,
        shared: Arc<Shared>,
        settings: LogSettings,
        start: i64,
    ) -> Arc<Partition> {
        let mark = Mark {
            offset: start,
            segment: start,
            position: 0,
        };
        Arc::new(Partition {
            key,
            id,
            shared,
            state: Mutex::new(State {
                settings: Arc::new(settings),
                gone: false,
                log_start: start,
                end: mark,
                gathered: mark,
                completed: mark,
                high_watermark: start,
                watermark_given: false,
                leader_epoch: -1,
                last_lsn: 0,
                incarnation: 0,
                sealed: Vec::new(),
                active: ActiveSegment::new(start),
                epochs: Epochs::new(),
                read_hint: (-1, mark),
                hint: EntryHint::default(),
                waiters: Vec::new(),
            }),
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
        let mut state = self.state();
        let appended = state.append(self, batch.bytes(), head, origin, now_ms)?;
        drop(state);
        self.shared.wake_writer();
        Ok(appended)
    }

    /// Where the log stands.
    pub fn offsets(&self) -> Offsets {
        self.state().offsets()
    }

    /// Registers a waiter, to be told once when the watermark moves next. A caller that found
    /// nothing to read registers first and looks again then, or it misses a move in between.
    pub fn on_advance(&self, waiter: Weak<dyn AdvanceWaiter>) {
        self.state().waiters.push(waiter);
    }

    /// A leader epoch begins here (rule R8): appends of that epoch are taken from now on. Serve
    /// only when the returned LSN is durable.
    pub fn become_leader(self: &Arc<Partition>, epoch: LeaderEpoch) -> Result<Lsn, LogError> {
        let mut state = self.state();
        if state.gone {
            return Err(LogError::Closed);
        }
        if epoch.0 < state.leader_epoch {
            let known = LeaderEpoch(state.leader_epoch);
            return Err(LogError::StaleEpoch { epoch, known });
        }
        if state.leader_epoch == epoch.0 {
            return Ok(Lsn(state.last_lsn));
        }
        let end = state.end;
        state.log_control(
            self,
            &RecordHeader {
                kind: RecordKind::Epoch,
                leader_epoch: epoch.0,
                partition: self.id.0,
                base_offset: end.offset,
                position: end.position,
                length: 0,
                append_time: 0,
            },
            &[],
            PartKind::Nothing,
        )?;
        state.leader_epoch = epoch.0;
        state.epochs.assign(epoch, Offset(end.offset));
        let lsn = Lsn(state.last_lsn);
        drop(state);
        self.shared.wake_writer();
        Ok(lsn)
    }

    /// Switches to a high watermark told from outside and moves it; it never passes the end.
    pub fn set_high_watermark(&self, to: Offset) {
        let mut state = self.state();
        state.watermark_given = true;
        let to = to.0.min(state.end.offset).max(state.log_start);
        let moved = to > state.high_watermark;
        state.high_watermark = to;
        let waiters = if moved {
            std::mem::take(&mut state.waiters)
        } else {
            Vec::new()
        };
        drop(state);
        wake(waiters);
    }

    /// Where `epoch` ends in this log (rules R7, M4); `None` if that is undefined.
    pub fn epoch_end(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        let state = self.state();
        state.epochs.end_offset_for(epoch, Offset(state.end.offset))
    }

    /// The leader epochs the log knows.
    pub fn epochs(&self) -> Epochs {
        self.state().epochs.clone()
    }

    /// Bytes of data in all segments.
    pub fn size_bytes(&self) -> u64 {
        let state = self.state();
        state
            .sealed
            .iter()
            .map(|segment| segment.bytes)
            .sum::<u64>()
            + state.end.position
    }

    /// Takes new settings; they act from the next append on.
    pub fn apply_settings(&self, settings: LogSettings) {
        self.state().settings = Arc::new(settings);
    }

    /// The parts of a group reached the segments' page cache.
    pub(crate) fn note_gathered<'a>(&self, parts: impl Iterator<Item = &'a Part>) {
        let mut state = self.state();
        for part in parts {
            if part.incarnation == state.incarnation {
                state.gathered = Mark {
                    offset: part.end,
                    segment: part.segment,
                    position: part.end_position,
                };
            }
        }
        let waiters = if state.settings.sync == SyncPolicy::Os {
            let mark = state.gathered;
            state.complete(mark)
        } else {
            Vec::new()
        };
        drop(state);
        wake(waiters);
    }

    /// A group is on the disk and in the page cache: the watermark moves. Waiters are added to
    /// `woken`.
    pub(crate) fn note_completed<'a>(
        &self,
        parts: impl Iterator<Item = &'a Part>,
        woken: &mut Vec<Weak<dyn AdvanceWaiter>>,
    ) {
        let mut state = self.state();
        let mut mark = None;
        for part in parts {
            if part.incarnation == state.incarnation {
                mark = Some(Mark {
                    offset: part.end,
                    segment: part.segment,
                    position: part.end_position,
                });
            }
        }
        if let Some(mark) = mark.filter(|mark| mark.offset >= state.completed.offset) {
            woken.extend(state.complete(mark));
        }
    }
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
        self.high_watermark
    }

    fn complete(&mut self, mark: Mark) -> Vec<Weak<dyn AdvanceWaiter>> {
        self.completed = mark;
        if self.watermark_given || mark.offset <= self.high_watermark {
            return Vec::new();
        }
        self.high_watermark = mark.offset;
        std::mem::take(&mut self.waiters)
    }

    fn append(
        &mut self,
        partition: &Arc<Partition>,
        batch: &[u8],
        head: BatchHead,
        origin: AppendOrigin,
        now_ms: i64,
    ) -> Result<Appended, AppendError> {
        if self.gone {
            return Err(AppendError::Dead);
        }
        let base = match origin {
            AppendOrigin::Client { leader_epoch } | AppendOrigin::Coordinator { leader_epoch } => {
                if leader_epoch.0 != self.leader_epoch {
                    return Err(AppendError::NotLeader);
                }
                self.end.offset
            }
            AppendOrigin::Replica => {
                if head.base_offset < self.end.offset || head.leader_epoch < self.leader_epoch {
                    let (found, expected) = (head.base_offset, self.end.offset);
                    return Err(AppendError::BadOffsets { found, expected });
                }
                head.base_offset
            }
        };
        let leader_epoch = match origin {
            AppendOrigin::Replica => head.leader_epoch,
            _ => self.leader_epoch,
        };
        let length = batch.len();
        let limit = partition.shared.batch_bytes_max();
        if length as u64 > limit {
            return Err(AppendError::TooLarge {
                bytes: length as u64,
                limit,
            });
        }
        let stamp = match (origin, self.settings.timestamps) {
            (AppendOrigin::Replica, _) | (_, TimestampSource::CreateTime) => None,
            (_, TimestampSource::LogAppendTime) => Some(now_ms),
        };
        let roll = self.wants_roll(length as u64, now_ms);

        let mut staging = partition.shared.staging.lock();
        let roll_bytes = if roll { RECORD_HEADER_BYTES + 8 } else { 0 };
        if staging
            .make_room(roll_bytes + RECORD_HEADER_BYTES + length)
            .is_err()
        {
            return Err(AppendError::StagingFull);
        }
        if roll {
            let (header, body, effect) = self.roll(partition.id);
            staging.push(partition, &mut self.hint, &header, &body, effect);
        }
        let end = base + i64::from(head.last_offset_delta) + 1;
        let position = self.end.position;
        let header = RecordHeader {
            kind: RecordKind::Batch,
            leader_epoch,
            partition: partition.id.0,
            base_offset: base,
            position,
            length: length as u32,
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
            end_position: position + length as u64,
            incarnation: self.incarnation,
        };
        let (lsn, copied) = staging.push(partition, &mut self.hint, &header, batch, effect);
        let (base_offset, leader_epoch_of) = (Offset(base), LeaderEpoch(leader_epoch));
        stamp_batch(
            copied,
            Stamp {
                base_offset,
                leader_epoch: leader_epoch_of,
                append_time_ms: stamp,
            },
        );
        self.active.note(
            copied,
            base,
            position,
            stamp.unwrap_or(head.max_timestamp),
            now_ms,
        );
        drop(staging);

        self.end = Mark {
            offset: end,
            segment: self.active.base,
            position: effect.end_position,
        };
        self.last_lsn = lsn;
        if matches!(origin, AppendOrigin::Replica) && leader_epoch > self.leader_epoch {
            self.leader_epoch = leader_epoch;
        }
        if leader_epoch >= 0 {
            self.epochs.assign(LeaderEpoch(leader_epoch), Offset(base));
        }
        Ok(Appended {
            base_offset: Offset(base),
            last_offset: Offset(end - 1),
            append_time_ms: stamp,
            log_start: Offset(self.log_start),
            lsn: Lsn(lsn),
            duplicate: false,
        })
    }

    fn wants_roll(&self, length: u64, now_ms: i64) -> bool {
        self.end.position > 0
            && (self.end.position + length > self.settings.segment_bytes
                || now_ms.saturating_sub(self.active.first_append_ms) >= self.settings.segment_ms)
    }

    /// Closes the active segment and begins the next; what to log and to gather.
    fn roll(&mut self, id: PartitionId) -> (RecordHeader, [u8; 8], Effect) {
        let old = std::mem::replace(&mut self.active, ActiveSegment::new(self.end.offset));
        let closing = self.end.position;
        let header = RecordHeader {
            kind: RecordKind::Roll,
            leader_epoch: self.leader_epoch,
            partition: id.0,
            base_offset: self.end.offset,
            position: closing,
            length: 8,
            append_time: 0,
        };
        let effect = Effect {
            kind: PartKind::Seal { position: closing },
            segment: old.base,
            end: self.end.offset,
            end_position: closing,
            incarnation: self.incarnation,
        };
        let body = old.base.to_le_bytes();
        self.sealed.push(old.seal(self.end.offset, closing));
        self.end = Mark {
            offset: self.end.offset,
            segment: self.active.base,
            position: 0,
        };
        (header, body, effect)
    }

    /// Logs a record that carries no batch.
    pub fn log_control(
        &mut self,
        partition: &Arc<Partition>,
        header: &RecordHeader,
        body: &[u8],
        kind: PartKind,
    ) -> Result<u64, LogError> {
        let mut staging = partition.shared.staging.lock();
        if staging.make_room(RECORD_HEADER_BYTES + body.len()).is_err() {
            return Err(LogError::StagingFull);
        }
        let effect = Effect {
            kind,
            segment: self.end.segment,
            end: self.end.offset,
            end_position: self.end.position,
            incarnation: self.incarnation,
        };
        let (lsn, _) = staging.push(partition, &mut self.hint, header, body, effect);
        self.last_lsn = lsn;
        Ok(lsn)
    }
}
