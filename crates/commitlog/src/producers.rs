//! What one partition remembers of its producers: who may append next, what was appended already,
//! which transactions are open.
//!
//! A pure function of the log: applying the same batches in the same order gives the same state on
//! every replica, after a restart and after a truncation (protocol.md T5, replication.md 7). Two
//! things are local and may differ: *when* a producer was last active here, and so when it expires.
//!
//! Invariants:
//! - Per producer at most [`BATCHES_KEPT`] batches, all of its current epoch, in offset order.
//! - `open` holds exactly the producers that have an open transaction, by its first offset.
//! - Nothing at or above [`Producers::end`] has been applied.
//! - Iteration is by producer id: deterministic.
//!
//! Knows no clock (time is an argument), no disk and no network.

use crate::format_error::{FormatError, Reason, check_version};
use crate::ids::Lsn;
use std::collections::BTreeMap;
use stdx::{Reader, Writer};
use wire::ErrorCode;
use wire::ids::{Offset, ProducerEpoch, ProducerId};

/// Batches remembered per producer: a client may have this many in flight, so any it can still
/// repeat is among them (T1; Kafka's `max.in.flight.requests.per.connection` is capped to match).
pub const BATCHES_KEPT: usize = 5;

/// Producers remembered per partition, at about 250 bytes each: 16 MB. A client that takes a new
/// producer id for every message must not be able to fill the memory. Beyond it the longest idle
/// ones are forgotten (their next batch is "no known state" in T2), never one with an open
/// transaction; if there are only such, a new producer is refused with a retriable error.
pub const PRODUCERS_MAX: usize = 65_536;

/// Forgotten at once when the limit is met, so that the search for the idle ones is paid once per
/// this many new producers.
const EVICTED_AT_ONCE: usize = PRODUCERS_MAX / 16;

/// The sequence of a batch without one: a coordinator's.
pub const NO_SEQUENCE: i32 = -1;

const FORMAT: &str = "producers";
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 24;
const PRODUCER_BYTES: usize = 56;
const BATCH_BYTES: usize = 24;
const ENDED_BYTES: usize = 24;
const FLAG_WINDOW_OVERFLOWED: u8 = 1;

/// The sequence `count` after `sequence`: 0 follows `i32::MAX` (T2).
pub fn sequence_after(sequence: i32, count: i32) -> i32 {
    debug_assert!(
        sequence >= NO_SEQUENCE && count >= 0,
        "{sequence} + {count}"
    );
    match sequence.checked_add(count) {
        Some(after) => after,
        None => count - (i32::MAX - sequence) - 1,
    }
}

/// The sequence `count` before `sequence`: `i32::MAX` precedes 0.
fn sequence_before(sequence: i32, count: i32) -> i32 {
    if sequence < count {
        i32::MAX - (count - sequence) + 1
    } else {
        sequence - count
    }
}

/// What a data batch's header says about its producer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerBatch {
    /// The producer; not −1.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub producer_epoch: ProducerEpoch,
    /// Sequence of the first record, or [`NO_SEQUENCE`] for a coordinator's batch.
    pub first_sequence: i32,
    /// Sequence of the last record: `sequence_after(first, lastOffsetDelta)`.
    pub last_sequence: i32,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
}

/// What is to happen with a data batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Give it offsets, append it, then [`Producers::apply_batch`].
    Append,
    /// It was appended before: append nothing, answer with the original's offsets and time once
    /// `lsn` is durable and the watermark has passed `last_offset` (T1, R6).
    Duplicate {
        /// First offset of the original.
        first_offset: Offset,
        /// Last offset of the original.
        last_offset: Offset,
        /// Max timestamp of the original: its append time on a LogAppendTime topic.
        timestamp_ms: i64,
        /// Durable when the original is.
        lsn: Lsn,
    },
    /// Append nothing, answer with [`Rejection::code`].
    Reject(Rejection),
}

/// Why a batch or marker is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// A gap, or a batch older than those remembered (T2).
    OutOfOrderSequence,
    /// A producer that was fenced by a newer epoch (T3, T11).
    InvalidProducerEpoch,
    /// A plain batch inside an open transaction (T13).
    InvalidTransactionState,
    /// A marker of a coordinator that was replaced (T11).
    CoordinatorFenced,
    /// [`PRODUCERS_MAX`] producers, each with an open transaction.
    TooManyOpen,
}

impl Rejection {
    /// Kafka's error code.
    pub fn code(self) -> ErrorCode {
        match self {
            Rejection::OutOfOrderSequence => ErrorCode::OutOfOrderSequenceNumber,
            Rejection::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
            Rejection::InvalidTransactionState => ErrorCode::InvalidTxnState,
            Rejection::CoordinatorFenced => ErrorCode::TransactionCoordinatorFenced,
            // Retriable, and says that a limit was met.
            Rejection::TooManyOpen => ErrorCode::ThrottlingQuotaExceeded,
        }
    }
}

/// Where and when something was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppendedAt {
    /// First offset.
    pub first_offset: Offset,
    /// Last offset; the first one for a marker.
    pub last_offset: Offset,
    /// Max timestamp of the batch, milliseconds; on a LogAppendTime topic the append time.
    pub timestamp_ms: i64,
    /// Durable when this append is. In replay: the LSN known to cover what is replayed.
    pub lsn: Lsn,
    /// Wall clock here and now, also in replay: what expiry counts from. Never a producer's
    /// timestamp, which may lie (`docs/design/0030-producer-state.md`).
    pub now_ms: i64,
}

/// What an end-of-transaction control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marker {
    /// The producer whose transaction ends.
    pub producer_id: ProducerId,
    /// Epoch in the control batch's header: the producer's, under TV2 already raised by one.
    pub producer_epoch: ProducerEpoch,
    /// Epoch of the coordinator that wrote it.
    pub coordinator_epoch: i32,
    /// Abort, else commit.
    pub aborted: bool,
}

/// A transaction that a marker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndedTransaction {
    /// Whose it was.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
    /// Its marker.
    pub last_offset: Offset,
    /// The first offset still undecided after it: of another open transaction, else behind the
    /// marker. Goes into the index of aborted transactions.
    pub last_stable_offset: Offset,
    /// Abort, else commit.
    pub aborted: bool,
}

/// One producer, for DescribeProducers, compaction and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerInfo {
    /// Who.
    pub producer_id: ProducerId,
    /// Current epoch.
    pub producer_epoch: ProducerEpoch,
    /// Last sequence, or [`NO_SEQUENCE`].
    pub last_sequence: i32,
    /// Max timestamp of the last batch or marker, milliseconds.
    pub last_timestamp_ms: i64,
    /// Epoch of the coordinator that wrote the last marker, or −1.
    pub coordinator_epoch: i32,
    /// First offset of the open transaction.
    pub open_from: Option<Offset>,
    /// Last offset of the last data batch of this epoch, else of the last marker: what compaction
    /// must leave an empty batch for (C3).
    pub last_offset: Offset,
}

/// Outcome of [`Producers::truncate_to`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Cut {
    /// The state is that of a log which ends at the cut.
    Done,
    /// What was undone cannot be undone from memory: an epoch change, a marker, a producer whose
    /// remembered batches are all gone. The state is now empty and must be rebuilt: decode the
    /// newest snapshot that ends at or below the cut, then apply the batch headers up to it.
    Rebuild,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct KeptBatch {
    last_offset: i64,
    timestamp_ms: i64,
    lsn: Lsn,
    last_sequence: i32,
    /// Last minus first: of the offsets, and of the sequences too.
    delta: i32,
}

impl KeptBatch {
    fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.delta)
    }

    fn first_sequence(&self) -> i32 {
        match self.last_sequence {
            NO_SEQUENCE => NO_SEQUENCE,
            last => sequence_before(last, self.delta),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    batches: [KeptBatch; BATCHES_KEPT],
    /// How many of `batches` are in use.
    kept: u8,
    /// Whether an older batch of this epoch was dropped from `batches`.
    overflowed: bool,
    epoch: ProducerEpoch,
    coordinator_epoch: i32,
    open_from: Offset,
    last_timestamp_ms: i64,
    active_ms: i64,
    /// Offset of what created this entry: a cut at or below it removes the producer.
    born: Offset,
    /// Offset of the last change that memory cannot undo; a cut at or below it needs a rebuild.
    settled: Offset,
}

impl Producer {
    fn new(at: Offset, epoch: ProducerEpoch) -> Producer {
        Producer {
            batches: [KeptBatch::default(); BATCHES_KEPT],
            kept: 0,
            overflowed: false,
            epoch,
            coordinator_epoch: -1,
            open_from: Offset::NONE,
            last_timestamp_ms: -1,
            active_ms: i64::MIN,
            born: at,
            settled: at,
        }
    }

    fn batches(&self) -> &[KeptBatch] {
        &self.batches[..usize::from(self.kept)]
    }

    fn last_sequence(&self) -> i32 {
        self.batches()
            .last()
            .map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    fn last_offset(&self) -> Offset {
        self.batches()
            .last()
            .map_or(self.settled, |batch| Offset(batch.last_offset))
    }

    fn is_open(&self) -> bool {
        self.open_from != Offset::NONE
    }

    fn enter_epoch(&mut self, epoch: ProducerEpoch, at: Offset) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.kept = 0;
            self.overflowed = false;
            self.settled = at;
        }
    }

    fn keep(&mut self, batch: KeptBatch) {
        if usize::from(self.kept) == BATCHES_KEPT {
            self.batches.rotate_left(1);
            self.batches[BATCHES_KEPT - 1] = batch;
            self.overflowed = true;
        } else {
            self.batches[usize::from(self.kept)] = batch;
            self.kept += 1;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ended {
    producer_id: ProducerId,
    last_offset: Offset,
}

/// All producers of one partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Producers {
    producers: BTreeMap<ProducerId, Producer>,
    /// Open transactions by first offset.
    open: BTreeMap<Offset, ProducerId>,
    /// Transactions whose marker the high watermark has not passed yet, by first offset.
    ended: BTreeMap<Offset, Ended>,
    end: Offset,
}

impl Producers {
    /// No producer known, for a log that starts at `start`.
    pub fn new(start: Offset) -> Producers {
        Producers {
            end: start,
            ..Producers::default()
        }
    }

    /// Everything below this offset has been applied.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether no producer is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Whether a data batch may be appended. `first_at_zero` is set for a producer of transaction
    /// version 2, which must begin at sequence 0 where nothing is known of it (T2).
    ///
    /// Duplicates are looked for first (T1), then epoch (T3), sequence (T2) and transaction (T13)
    /// are checked. A batch without a sequence skips the first and the third.
    pub fn check(&self, batch: &ProducerBatch, first_at_zero: bool) -> Decision {
        if batch.producer_epoch.0 < 0 {
            return Decision::Reject(Rejection::InvalidProducerEpoch);
        }
        if batch.first_sequence < NO_SEQUENCE {
            return Decision::Reject(Rejection::OutOfOrderSequence);
        }
        let Some(producer) = self.producers.get(&batch.producer_id) else {
            return if self.producers.len() >= PRODUCERS_MAX && self.open.len() >= PRODUCERS_MAX {
                Decision::Reject(Rejection::TooManyOpen)
            } else if first_at_zero && batch.first_sequence > 0 {
                Decision::Reject(Rejection::OutOfOrderSequence)
            } else {
                Decision::Append
            };
        };
        let sequenced = batch.first_sequence != NO_SEQUENCE;
        if sequenced && batch.producer_epoch == producer.epoch {
            let same = |kept: &&KeptBatch| {
                kept.last_sequence == batch.last_sequence
                    && kept.first_sequence() == batch.first_sequence
            };
            if let Some(kept) = producer.batches().iter().find(same) {
                return Decision::Duplicate {
                    first_offset: Offset(kept.first_offset()),
                    last_offset: Offset(kept.last_offset),
                    timestamp_ms: kept.timestamp_ms,
                    lsn: kept.lsn,
                };
            }
        }
        if batch.producer_epoch < producer.epoch {
            return Decision::Reject(Rejection::InvalidProducerEpoch);
        }
        if sequenced {
            let expected = if batch.producer_epoch == producer.epoch {
                sequence_after(producer.last_sequence(), 1)
            } else {
                0
            };
            if batch.first_sequence != expected {
                return Decision::Reject(Rejection::OutOfOrderSequence);
            }
        }
        if producer.is_open() && !batch.transactional {
            return Decision::Reject(Rejection::InvalidTransactionState);
        }
        Decision::Append
    }

    /// Takes a data batch that was appended, replicated or replayed. What lies below
    /// [`Producers::end`] has been taken before and changes nothing, so that replay may overlap. A
    /// batch without a producer only moves the end.
    pub fn apply_batch(&mut self, batch: &ProducerBatch, at: &AppendedAt) {
        if at.last_offset < self.end {
            return;
        }
        self.end = at.last_offset.plus(1);
        if !batch.producer_id.is_some() {
            return;
        }
        let (first, epoch) = (at.first_offset, batch.producer_epoch);
        let producer = self.entry(batch.producer_id, first, epoch);
        producer.enter_epoch(epoch, first);
        producer.keep(KeptBatch {
            last_offset: at.last_offset.0,
            timestamp_ms: at.timestamp_ms,
            lsn: at.lsn,
            last_sequence: batch.last_sequence.max(NO_SEQUENCE),
            delta: (at.last_offset.0 - first.0) as i32,
        });
        producer.last_timestamp_ms = at.timestamp_ms;
        producer.active_ms = producer.active_ms.max(at.now_ms);
        if batch.transactional && !producer.is_open() {
            producer.open_from = first;
            self.open.insert(first, batch.producer_id);
        }
    }

    /// Whether a marker may be appended (T11). `transaction_v2` says which rule WriteTxnMarkers
    /// asked for (KIP-1228): version 2 demands a higher epoch than the transaction's, except for
    /// the repeat of a marker that was already taken, which may be appended again harmlessly.
    pub fn check_marker(&self, marker: &Marker, transaction_v2: bool) -> Result<(), Rejection> {
        let Some(producer) = self.producers.get(&marker.producer_id) else {
            return Ok(());
        };
        let too_old = marker.producer_epoch < producer.epoch
            || transaction_v2 && marker.producer_epoch == producer.epoch && producer.is_open();
        if too_old {
            return Err(Rejection::InvalidProducerEpoch);
        }
        if marker.coordinator_epoch < producer.coordinator_epoch {
            return Err(Rejection::CoordinatorFenced);
        }
        Ok(())
    }

    /// Takes a marker that was appended, replicated or replayed. Returns the transaction it ended,
    /// unless there was none: an empty transaction holds nobody back and is in no index.
    pub fn apply_marker(&mut self, marker: &Marker, at: &AppendedAt) -> Option<EndedTransaction> {
        if at.last_offset < self.end {
            return None;
        }
        self.end = at.last_offset.plus(1);
        let offset = at.first_offset;
        let producer = self.entry(marker.producer_id, offset, marker.producer_epoch);
        producer.enter_epoch(marker.producer_epoch, offset);
        producer.coordinator_epoch = marker.coordinator_epoch;
        producer.last_timestamp_ms = at.timestamp_ms;
        producer.active_ms = producer.active_ms.max(at.now_ms);
        producer.settled = offset;
        let first_offset = std::mem::replace(&mut producer.open_from, Offset::NONE);
        if first_offset == Offset::NONE {
            return None;
        }
        self.open.remove(&first_offset);
        let ended = Ended {
            producer_id: marker.producer_id,
            last_offset: at.last_offset,
        };
        self.ended.insert(first_offset, ended);
        let undecided = self.open.keys().next().copied();
        Some(EndedTransaction {
            producer_id: marker.producer_id,
            first_offset,
            last_offset: at.last_offset,
            last_stable_offset: undecided.unwrap_or(at.last_offset.plus(1)),
            aborted: marker.aborted,
        })
    }

    /// Batches without a producer were appended up to `end`: notes only that.
    pub fn advance(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// First offset of the oldest open transaction.
    pub fn first_open(&self) -> Option<Offset> {
        self.open.keys().next().copied()
    }

    /// Last timestamp of the producer whose transaction is the oldest open one: what "open
    /// transaction since" shows.
    pub fn first_open_producer(&self) -> Option<ProducerInfo> {
        let (_, id) = self.open.iter().next()?;
        self.producers
            .get(id)
            .map(|producer| describe(*id, producer))
    }

    /// The last stable offset: the watermark, or the first offset of a transaction that is open,
    /// or whose marker lies at or above the watermark (replication.md 8). The caller clamps it to
    /// its log start.
    pub fn last_stable(&self, high_watermark: Offset) -> Offset {
        let unreplicated = self
            .ended
            .iter()
            .find(|(_, ended)| ended.last_offset >= high_watermark)
            .map(|(first, _)| *first);
        [Some(high_watermark), self.first_open(), unreplicated]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(high_watermark)
    }

    /// The watermark has reached `high_watermark` and will not go back below it for these
    /// transactions: forgets the ended ones it passed.
    pub fn pass_watermark(&mut self, high_watermark: Offset) {
        if !self.ended.is_empty() {
            self.ended
                .retain(|_, ended| ended.last_offset >= high_watermark);
        }
    }

    /// Forgets producers that were idle for `idle_ms_max` (producer.id.expiration.ms, T4), never
    /// one with an open transaction (T5). Returns how many.
    pub fn expire(&mut self, now_ms: i64, idle_ms_max: i64) -> usize {
        let before = self.producers.len();
        self.producers.retain(|_, producer| {
            producer.is_open() || now_ms.saturating_sub(producer.active_ms) < idle_ms_max
        });
        before - self.producers.len()
    }

    /// The log was cut to end at `end`; the producers' state is cut at the same point (R7).
    ///
    /// Most cuts undo a few batches of producers that stay: done in memory. What is then left of a
    /// producer's batches is enough: those a client may still repeat are the latest ones, and the
    /// ones cut away were the latest of all.
    pub fn truncate_to(&mut self, end: Offset) -> Cut {
        if end >= self.end {
            return Cut::Done;
        }
        let lost = |producer: &Producer| {
            let emptied = producer.overflowed
                && producer
                    .batches()
                    .iter()
                    .all(|batch| batch.last_offset >= end.0);
            producer.born < end && (producer.settled >= end || emptied)
        };
        let reopened = self
            .ended
            .range(..end)
            .any(|(_, ended)| ended.last_offset >= end);
        if reopened || self.producers.values().any(lost) {
            *self = Producers::new(end);
            return Cut::Rebuild;
        }
        self.producers.retain(|_, producer| producer.born < end);
        for producer in self.producers.values_mut() {
            let kept = producer
                .batches()
                .partition_point(|batch| batch.last_offset < end.0);
            if kept < usize::from(producer.kept) {
                producer.kept = kept as u8;
                // A marker behind the last batch had a timestamp of its own, not kept: then the
                // undone batch's stays, which only a listing shows.
                if let Some(last) = producer
                    .batches()
                    .last()
                    .filter(|last| last.last_offset >= producer.settled.0)
                {
                    producer.last_timestamp_ms = last.timestamp_ms;
                }
            }
            if producer.open_from >= end {
                producer.open_from = Offset::NONE;
            }
        }
        self.open.split_off(&end);
        self.ended.split_off(&end);
        self.end = end;
        Cut::Done
    }

    /// The log now starts at `start`. Producers stay: their next batch must still be checked.
    pub fn advance_log_start(&mut self, start: Offset) {
        self.pass_watermark(start);
        self.advance(start);
    }

    /// One producer.
    pub fn producer(&self, id: ProducerId) -> Option<ProducerInfo> {
        self.producers
            .get(&id)
            .map(|producer| describe(id, producer))
    }

    /// All producers by id.
    pub fn iter(&self) -> impl Iterator<Item = ProducerInfo> + '_ {
        self.producers
            .iter()
            .map(|(id, producer)| describe(*id, producer))
    }

    fn entry(&mut self, id: ProducerId, at: Offset, epoch: ProducerEpoch) -> &mut Producer {
        if self.producers.len() >= PRODUCERS_MAX && !self.producers.contains_key(&id) {
            self.evict();
        }
        self.producers
            .entry(id)
            .or_insert_with(|| Producer::new(at, epoch))
    }

    fn evict(&mut self) {
        let mut idle: Vec<(i64, ProducerId)> = self
            .producers
            .iter()
            .filter(|(_, producer)| !producer.is_open())
            .map(|(id, producer)| (producer.active_ms, *id))
            .collect();
        if idle.len() > EVICTED_AT_ONCE {
            idle.select_nth_unstable(EVICTED_AT_ONCE);
            idle.truncate(EVICTED_AT_ONCE);
        }
        for (_, id) in idle {
            self.producers.remove(&id);
        }
    }

    /// Bytes of [`Producers::encode`].
    pub fn encoded_bytes(&self) -> usize {
        let batches: usize = self.producers.values().map(|p| usize::from(p.kept)).sum();
        HEADER_BYTES
            + self.producers.len() * PRODUCER_BYTES
            + batches * BATCH_BYTES
            + self.ended.len() * ENDED_BYTES
    }

    /// Appends the state: `docs/formats/segment.md`, section `producers`.
    pub fn encode(&self, out: &mut Writer) {
        out.u16_le(VERSION).u16_le(0);
        out.u32_le(self.producers.len() as u32)
            .u32_le(self.ended.len() as u32)
            .u32_le(0);
        out.i64_le(self.end.0);
        for (id, producer) in &self.producers {
            let flags = if producer.overflowed {
                FLAG_WINDOW_OVERFLOWED
            } else {
                0
            };
            out.i64_le(id.0)
                .i16_le(producer.epoch.0)
                .u8(producer.kept)
                .u8(flags);
            out.i32_le(producer.coordinator_epoch)
                .i64_le(producer.open_from.0);
            out.i64_le(producer.last_timestamp_ms)
                .i64_le(producer.active_ms);
            out.i64_le(producer.born.0).i64_le(producer.settled.0);
            for batch in producer.batches() {
                out.i32_le(batch.last_sequence).i32_le(batch.delta);
                out.i64_le(batch.last_offset).i64_le(batch.timestamp_ms);
            }
        }
        for (first, ended) in &self.ended {
            out.i64_le(ended.producer_id.0)
                .i64_le(first.0)
                .i64_le(ended.last_offset.0);
        }
    }

    /// Reads what [`Producers::encode`] wrote; all of `bytes` is the state. `lsn` is durable when
    /// all of it is: [`Lsn::ZERO`] at start-up.
    pub fn decode(bytes: &[u8], lsn: Lsn) -> Result<Producers, FormatError> {
        let mut reader = Reader::new(bytes);
        let version = reader
            .u16_le()
            .map_err(|error| Reason::from(error).of(FORMAT))?;
        check_version(FORMAT, version, VERSION)?;
        Producers::decode_body(&mut reader, lsn).map_err(|reason| reason.of(FORMAT))
    }

    fn decode_body(reader: &mut Reader<'_>, lsn: Lsn) -> Result<Producers, Reason> {
        let _flags = reader.u16_le()?;
        let count = reader.count_u32_le(PRODUCER_BYTES)?;
        let ended_count = reader.u32_le()?;
        let _reserved = reader.u32_le()?;
        let end = Offset(reader.i64_le()?);
        if end.0 < 0 {
            return Err(Reason::Broken("negative end offset"));
        }
        let mut state = Producers::new(end);
        let mut previous = ProducerId::NONE;
        for _ in 0..count {
            let (id, producer) = decode_producer(reader, end, lsn)?;
            if id <= previous {
                return Err(Reason::Broken("producer ids must rise from 0"));
            }
            previous = id;
            if producer.is_open() && state.open.insert(producer.open_from, id).is_some() {
                return Err(Reason::Broken("two transactions begin at one offset"));
            }
            state.producers.insert(id, producer);
        }
        let mut previous = Offset::NONE;
        for _ in 0..ended_count {
            let producer_id = ProducerId(reader.i64_le()?);
            let first = Offset(reader.i64_le()?);
            let last_offset = Offset(reader.i64_le()?);
            if !producer_id.is_some()
                || first <= previous
                || last_offset < first
                || last_offset >= end
            {
                return Err(Reason::Broken(
                    "ended transactions must rise and lie in the log",
                ));
            }
            previous = first;
            state.ended.insert(
                first,
                Ended {
                    producer_id,
                    last_offset,
                },
            );
        }
        reader.finish()?;
        Ok(state)
    }
}

fn describe(producer_id: ProducerId, producer: &Producer) -> ProducerInfo {
    ProducerInfo {
        producer_id,
        producer_epoch: producer.epoch,
        last_sequence: producer.last_sequence(),
        last_timestamp_ms: producer.last_timestamp_ms,
        coordinator_epoch: producer.coordinator_epoch,
        open_from: producer.is_open().then_some(producer.open_from),
        last_offset: producer.last_offset(),
    }
}

fn decode_producer(
    reader: &mut Reader<'_>,
    end: Offset,
    lsn: Lsn,
) -> Result<(ProducerId, Producer), Reason> {
    let id = ProducerId(reader.i64_le()?);
    let epoch = ProducerEpoch(reader.i16_le()?);
    let kept = reader.u8()?;
    let flags = reader.u8()?;
    let mut producer = Producer::new(Offset::NONE, epoch);
    producer.overflowed = flags & FLAG_WINDOW_OVERFLOWED != 0;
    producer.coordinator_epoch = reader.i32_le()?;
    producer.open_from = Offset(reader.i64_le()?);
    producer.last_timestamp_ms = reader.i64_le()?;
    producer.active_ms = reader.i64_le()?;
    producer.born = Offset(reader.i64_le()?);
    producer.settled = Offset(reader.i64_le()?);
    let within = |offset: Offset| offset.0 >= 0 && offset < end;
    let opened = producer.open_from == Offset::NONE || within(producer.open_from);
    if !opened || !within(producer.born) || !within(producer.settled) {
        return Err(Reason::Broken("a producer's offsets are impossible"));
    }
    if usize::from(kept) > BATCHES_KEPT {
        return Err(Reason::Broken("more batches than are kept"));
    }
    let mut previous = -1;
    for slot in &mut producer.batches[..usize::from(kept)] {
        let last_sequence = reader.i32_le()?;
        let delta = reader.i32_le()?;
        let last_offset = reader.i64_le()?;
        let timestamp_ms = reader.i64_le()?;
        let rises = delta >= 0 && last_offset >= i64::from(delta) && last_offset < end.0;
        if last_sequence < NO_SEQUENCE || !rises || last_offset - i64::from(delta) <= previous {
            return Err(Reason::Broken(
                "a producer's batches must rise and lie in the log",
            ));
        }
        previous = last_offset;
        *slot = KeptBatch {
            last_offset,
            timestamp_ms,
            lsn,
            last_sequence,
            delta,
        };
    }
    producer.kept = kept;
    Ok((id, producer))
}

#[cfg(test)]
mod tests;
