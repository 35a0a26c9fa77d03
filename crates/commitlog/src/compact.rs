//! Compaction: of the records of a key only the newest stays (rules C1 to C3, storage.md 10).
//!
//! Which partition is next, and how fast its pass goes; what a pass does is in [`job`]. One pass at
//! a time in a data directory, on a worker of idle priority; the swaps are done where checkpoints
//! are, so that a worker that gets little time holds up nobody.
//!
//! A sealed segment is *clean* when a pass had all its keys in the map, which the manifest notes
//! ([`SegmentRecord::cleaned`]). Clean segments lie before dirty ones. A segment that a truncation
//! opened again is dirty again: a little work done twice, and nothing to keep up to date.
//!
//! [`SegmentRecord::cleaned`]: crate::manifest::SegmentRecord::cleaned

mod batch;
mod job;
mod keys;
mod output;
mod swap;
#[cfg(test)]
mod tests;
mod transactions;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wire::ids::Offset;
use world::{Next, OpenMode, Worker};

use crate::batch_head::{BATCH_HEADER_BYTES, BatchHead};
use crate::errors::LogError;
use crate::footer::Footer;
use crate::lock;
use crate::manifest::SegmentRecord;
use crate::partition::{Partition, State};
use crate::segment::segment_path;
use crate::store::Shared;
use crate::transactions::AbortedTransaction;

use job::{Job, Plan, Step, Stop};
pub(crate) use swap::Swap;

/// Parts of a whole in which the dirty ratio is counted: integers compare the same everywhere.
pub const RATIO_WHOLE: u32 = 1_000_000;

/// The compaction's loop: a step chooses a partition or works on one.
pub(crate) struct CompactLoop {
    shared: Arc<Shared>,
    job: Option<Job>,
    waiting: bool,
    began: bool,
}

impl CompactLoop {
    pub fn new(shared: Arc<Shared>) -> CompactLoop {
        CompactLoop {
            shared,
            job: None,
            waiting: false,
            began: false,
        }
    }
}

impl Worker for CompactLoop {
    fn step(&mut self) -> Next {
        let shared = Arc::clone(&self.shared);
        if shared.is_closing() || shared.is_dead() {
            if let Some(job) = self.job.take() {
                shared.take_back();
                shared.end_pass(job, Err(Stop::Moved));
            }
            return Next::Done;
        }
        // Starting has enough to do.
        if !std::mem::replace(&mut self.began, true) {
            return Next::WaitFor(shared.config.compact_interval);
        }
        let Some(job) = self.job.as_mut() else {
            self.job = shared.begin_pass(shared.world.clock.wall_ms());
            return match self.job {
                Some(_) => Next::Again,
                None => Next::WaitFor(shared.config.compact_interval),
            };
        };
        if self.waiting {
            let Some(outcome) = lock(&shared.swapped).take() else {
                return Next::Wait;
            };
            self.waiting = false;
            return match settled(job, outcome) {
                Ok(()) => Next::Again,
                Err(stop) => self.end(Err(stop)),
            };
        }
        match job.step(&shared) {
            Ok(Step::Worked(bytes)) => shared.pace(bytes),
            Ok(Step::Swap(swap)) => {
                *lock(&shared.posted) = Some(*swap);
                self.waiting = true;
                shared.checkpoint_signal.raise();
                Next::Wait
            }
            Ok(Step::Done) => self.end(Ok(())),
            Err(stop) => self.end(Err(stop)),
        }
    }
}

impl CompactLoop {
    fn end(&mut self, ended: Result<(), Stop>) -> Next {
        // What stood in the way will stand there for a while.
        let next = match &ended {
            Ok(()) => Next::Again,
            Err(_) => Next::WaitFor(self.shared.config.compact_interval),
        };
        if let Some(job) = self.job.take() {
            self.shared.end_pass(job, ended);
        }
        next
    }
}

/// What the outcome of a swap means to the pass.
fn settled(job: &mut Job, outcome: Result<bool, LogError>) -> Result<(), Stop> {
    match outcome {
        Ok(true) => {
            job.swapped();
            Ok(())
        }
        Ok(false) => Err(Stop::Moved),
        Err(error) => {
            job.swapped();
            Err(match error {
                LogError::Disk(error) => Stop::Disk(error),
                other => Stop::Damaged(other.to_string()),
            })
        }
    }
}

impl Shared {
    /// One round: passes over every partition that wants one, to their end.
    pub fn compact_all(&self, now_ms: i64) {
        // Each pass leaves its partition cleaner; where one makes no progress the round ends.
        while let Some(mut job) = self.begin_pass(now_ms) {
            let ended = loop {
                match job.step(self) {
                    Ok(Step::Worked(_)) => {}
                    Ok(Step::Swap(swap)) => {
                        let outcome = self.swap_now(&swap);
                        if let Err(stop) = settled(&mut job, outcome) {
                            break Err(stop);
                        }
                    }
                    Ok(Step::Done) => break Ok(()),
                    Err(stop) => break Err(stop),
                }
            };
            let failed = ended.is_err();
            self.end_pass(job, ended);
            if failed {
                return;
            }
        }
    }

    fn pace(&self, bytes: u64) -> Next {
        match self.config.compact_bytes_per_second {
            0 => Next::Again,
            _ if bytes == 0 => Next::Again,
            rate => Next::WaitFor(Duration::from_nanos(
                bytes.saturating_mul(1_000_000_000) / rate,
            )),
        }
    }

    /// A posted swap that nobody began is not done.
    fn take_back(&self) {
        let _alone = lock(&self.checkpointer);
        lock(&self.posted).take();
        lock(&self.swapped).take();
    }

    /// Chooses the partition whose log is dirtiest, if any is dirty enough.
    fn begin_pass(&self, now_ms: i64) -> Option<Job> {
        let mut best: Option<(Dirt, Arc<Partition>)> = None;
        let (mut dirty_percent, mut uncleanable) = (0, 0);
        let replay_from = crate::read_lock(&self.meta).manifest.replay_from.0;
        for partition in self.all_partitions() {
            let settings = partition.settings();
            if !settings.compact {
                continue;
            }
            self.end_overdue_segment(&partition, now_ms);
            let ripe = |dirt: &Dirt| {
                dirt.above(settings.dirty_ratio_min)
                    || self.is_overdue(&partition, dirt, settings.compaction_lag_ms_max, now_ms)
            };
            let dirt = {
                let state = partition.state();
                // A truncation that no checkpoint has puts every swap off.
                let cut = state.truncated_lsn >= replay_from;
                uncleanable += u64::from(state.uncleanable && !state.gone);
                state.dirt(now_ms).filter(|_| !cut)
            };
            dirty_percent = dirty_percent.max(dirt.as_ref().map_or(0, Dirt::percent));
            if dirt.filter(ripe).is_none() {
                continue;
            };
            // Only a partition in use knows its open transactions, behind which nothing is stable.
            if partition.state().touch(&partition).is_err() {
                continue;
            }
            let now_known = partition.state().dirt(now_ms);
            let Some(dirt) = now_known.filter(ripe) else {
                continue;
            };
            if best.as_ref().is_none_or(|(known, _)| dirt.dirtier(known)) {
                best = Some((dirt, Arc::clone(&partition)));
            }
        }
        self.metrics.note_dirt(dirty_percent, uncleanable);
        let (_, partition) = best?;
        let plan = partition.state().plan_pass(now_ms)?;
        // A group is there twice until its old files go: what checkpoints need is not for this.
        let sizes = plan.segments.iter().map(|segment| segment.data_bytes);
        let (largest, all): (Option<u64>, u64) = (sizes.clone().max(), sizes.sum());
        let needed = largest
            .unwrap_or(0)
            .max(all.min(plan.settings.segment_bytes));
        let kept = self.config.ballast_bytes.saturating_mul(2);
        if self.free_bytes.load(Ordering::Relaxed) < needed.saturating_add(kept) {
            partition.state().in_pass = false;
            tracing::warn!(partition = %partition.key(), needed, "no room to compact");
            return None;
        }
        tracing::debug!(partition = %partition.key(), segments = plan.segments.len(), dirty = plan.dirty, "a pass begins");
        Some(Job::new(self, partition, plan, now_ms))
    }

    fn end_pass(&self, mut job: Job, ended: Result<(), Stop>) {
        let partition = Arc::clone(&job.partition);
        let tallied = job.tallied;
        self.metrics.compacted_bytes.add(tallied.read_bytes);
        self.metrics
            .compaction_written_bytes
            .add(tallied.written_bytes);
        match ended {
            Ok(()) => {
                self.metrics.compactions.add(1);
                self.metrics
                    .note_recopied(tallied.written_bytes, tallied.copied_bytes);
                tracing::debug!(partition = %partition.key(), read = tallied.read_bytes, written = tallied.written_bytes, "a pass ended");
            }
            Err(stop) => {
                job.abandon(self);
                match stop {
                    Stop::Moved => {}
                    Stop::Disk(error) => {
                        self.metrics.compaction_failures.add(1);
                        tracing::warn!(partition = %partition.key(), %error, "a pass failed");
                    }
                    Stop::Damaged(reason) => {
                        self.metrics.compaction_failures.add(1);
                        tracing::error!(partition = %partition.key(), %reason, "this log is not compacted any more");
                        partition.state().uncleanable = true;
                    }
                }
            }
        }
        partition.state().in_pass = false;
    }

    /// Ends an active segment whose oldest record may not wait any longer to be compacted; Kafka
    /// would wait for the next append.
    fn end_overdue_segment(&self, partition: &Arc<Partition>, now_ms: i64) {
        if partition.state().active_is_overdue(now_ms)
            && let Err(error) = partition.roll_active()
        {
            tracing::debug!(%error, "an old segment is not ended now");
        }
    }

    /// Whether the oldest dirty batch is older than the topic lets it wait.
    fn is_overdue(&self, partition: &Partition, dirt: &Dirt, lag_ms_max: i64, now_ms: i64) -> bool {
        if lag_ms_max == i64::MAX {
            return false;
        }
        let until = now_ms.saturating_sub(lag_ms_max.max(0));
        dirt.dirty.iter().any(|segment| {
            self.first_timestamp(partition, segment)
                .is_some_and(|first| first > 0 && first < until)
        })
    }

    fn first_timestamp(&self, partition: &Partition, segment: &SegmentRecord) -> Option<i64> {
        let path = segment_path(partition.id(), segment.base.0, segment.revision);
        let key = (partition.id().0, segment.base.0);
        let file = match self.descriptors.cached(key, segment.revision) {
            Some(file) => file,
            None => self.world.disk.open(&path, OpenMode::Read).ok()?,
        };
        let mut head = [0; BATCH_HEADER_BYTES];
        let length = segment.data_bytes.min(BATCH_HEADER_BYTES as u64) as usize;
        file.read_at(&mut head[..length], 0).ok()?;
        BatchHead::parse(&head[..length]).map(|head| head.max_timestamp)
    }
}

/// How dirty a log is.
struct Dirt {
    clean_bytes: u64,
    dirty_bytes: u64,
    /// Dirty segments that may be compacted now.
    dirty: Vec<SegmentRecord>,
}

impl Dirt {
    fn above(&self, ratio: u32) -> bool {
        let all = u128::from(self.clean_bytes + self.dirty_bytes);
        u128::from(self.dirty_bytes) * u128::from(RATIO_WHOLE) > all * u128::from(ratio)
    }

    fn percent(&self) -> u64 {
        let all = self.clean_bytes + self.dirty_bytes;
        self.dirty_bytes
            .saturating_mul(100)
            .checked_div(all)
            .unwrap_or(0)
    }

    fn dirtier(&self, other: &Dirt) -> bool {
        let share = |of: &Dirt, whole: &Dirt| {
            u128::from(of.dirty_bytes) * u128::from(whole.clean_bytes + whole.dirty_bytes)
        };
        share(self, other) > share(other, self)
    }
}

impl State {
    fn active_is_overdue(&self, now_ms: i64) -> bool {
        let lag = self.settings.compaction_lag_ms_max;
        lag < i64::MAX
            && !self.gone
            && !self.suspect
            && self.end.position > 0
            && self.active.since_ms >= 0
            && now_ms.saturating_sub(self.active.since_ms) > lag.max(0)
    }

    /// Segments behind which nothing may be compacted now, and the first dirty one: those that the
    /// manifest has, below the last stable offset, older than the topic's lag (rule C1).
    fn cleanable(&self, now_ms: i64) -> (usize, usize) {
        let stable = self.last_stable();
        let lag = self.settings.compaction_lag_ms_min;
        let dirty = self
            .sealed
            .iter()
            .position(|segment| !segment.record.cleaned)
            .unwrap_or(self.sealed.len());
        let end = self
            .sealed
            .iter()
            .enumerate()
            .position(|(at, segment)| {
                let young = lag > 0
                    && at >= dirty
                    && segment.record.max_timestamp_ms > now_ms.saturating_sub(lag);
                segment.footer.is_some() || segment.end() > stable || young
            })
            .unwrap_or(self.sealed.len());
        (dirty.min(end), end)
    }

    fn dirt(&self, now_ms: i64) -> Option<Dirt> {
        if self.gone || self.broken || self.suspect || self.uncleanable || self.in_pass {
            return None;
        }
        let (dirty, end) = self.cleanable(now_ms);
        let records = |from: usize, to: usize| {
            self.sealed[from..to]
                .iter()
                .map(|segment| segment.record)
                .collect::<Vec<_>>()
        };
        let bytes = |records: &[SegmentRecord]| records.iter().map(|one| one.data_bytes).sum();
        let clean = records(0, dirty);
        let dirty = records(dirty, end);
        let found = Dirt {
            clean_bytes: bytes(&clean),
            dirty_bytes: bytes(&dirty),
            dirty,
        };
        (found.dirty_bytes > 0).then_some(found)
    }

    /// What a pass that begins now is to do; the partition is in it until [`Shared::end_pass`].
    fn plan_pass(&mut self, now_ms: i64) -> Option<Plan> {
        self.dirt(now_ms)?;
        let (dirty, end) = self.cleanable(now_ms);
        let segments: Vec<SegmentRecord> = self.sealed[..end]
            .iter()
            .map(|segment| segment.record)
            .collect();
        let mut aborted: Vec<AbortedTransaction> = self
            .live
            .iter()
            .flat_map(|live| live.parts.aborted.entries().iter().copied())
            .collect();
        let mut beyond = Vec::new();
        for segment in &self.sealed[end..] {
            match &segment.footer {
                None => beyond.push(segment.record),
                Some(footer) => {
                    let length = segment.record.data_bytes + footer.len() as u64;
                    let decoded =
                        Footer::decode(footer, length).and_then(|footer| footer.aborted());
                    aborted.extend(decoded.iter().flat_map(|found| found.entries().to_vec()));
                }
            }
        }
        let above = |transaction: &AbortedTransaction| {
            segments
                .first()
                .is_some_and(|first| transaction.last_offset >= Offset(first.base.0))
        };
        aborted.retain(above);
        self.in_pass = true;
        Some(Plan {
            segments,
            dirty,
            beyond,
            aborted,
            incarnation: self.incarnation,
            settings: Arc::clone(&self.settings),
        })
    }
}
