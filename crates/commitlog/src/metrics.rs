//! Everything this crate counts, in one place.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of [`StoreMetrics::flush_buckets`]. The last bound but one is 2^24 microseconds, 17 s:
/// whatever takes longer is not told apart.
pub const FLUSH_BUCKETS: usize = 26;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub groups: Counter,
    pub log_bytes: Counter,
    flush_us: Counter,
    flush_buckets: [Counter; FLUSH_BUCKETS],
    /// Written by whoever holds the writer's lock, so that asking for figures never waits for a
    /// disk that is slow.
    slots: AtomicU64,
    slots_free: AtomicU64,
    pub flush_failures: Counter,
    pub segment_failures: Counter,
    pub rebuilds: Counter,
    pub log_full: Counter,
    pub checkpoints: Counter,
    pub checkpoint_failures: Counter,
    pub scrubbed_bytes: Counter,
    pub scrub_damage: Counter,
    pub compactions: Counter,
    pub compacted_bytes: Counter,
    pub compaction_written_bytes: Counter,
    pub compaction_failures: Counter,
    /// As the last look for a log to compact saw them, and the last pass.
    dirty_percent: AtomicU64,
    uncleanable: AtomicU64,
    recopy_percent: AtomicU64,
}

/// The counters of a store at one moment. Shares in percent, and those from `slots` on, are of this
/// moment, the others only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreMetrics {
    /// Groups made durable.
    pub groups: u64,
    /// Bytes written to the shared log, headers and padding included.
    pub log_bytes: u64,
    /// Time spent in log flushes, microseconds.
    pub flush_us: u64,
    /// Log flushes by time: bucket n counts those below 2^n microseconds and not below half of it;
    /// the last one is open.
    pub flush_buckets: [u64; FLUSH_BUCKETS],
    /// Log flushes that failed.
    pub flush_failures: u64,
    /// Segment writes or syncs that failed.
    pub segment_failures: u64,
    /// Segments rebuilt from the log.
    pub rebuilds: u64,
    /// Times a group found the log full.
    pub log_full: u64,
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Checkpoints that failed; each is tried again.
    pub checkpoint_failures: u64,
    /// Bytes the scrub has read.
    pub scrubbed_bytes: u64,
    /// Damaged ranges the scrub has found.
    pub scrub_damage: u64,
    /// Compaction passes completed.
    pub compactions: u64,
    /// Bytes compaction has read, those twice that were dirty.
    pub compacted_bytes: u64,
    /// Bytes compaction has written.
    pub compaction_written_bytes: u64,
    /// Compaction passes that failed.
    pub compaction_failures: u64,
    /// Share of the dirtiest compacted log that is dirty, percent, at the last look.
    pub compaction_dirty_percent: u64,
    /// Logs whose bytes stand in the way of their compaction, at the last look.
    pub compaction_uncleanable: u64,
    /// What the last pass wrote of what it copied from, percent.
    pub compaction_recopy_percent: u64,
    /// Slots of the log.
    pub slots: u64,
    /// Slots that may be written over.
    pub slots_free: u64,
    /// Segment files held open.
    pub descriptors: u64,
    /// Free bytes of the filesystem at the last look.
    pub free_bytes: u64,
    /// Below so many of them clients' appends are refused.
    pub free_bytes_min: u64,
    /// From so many of them on, they are taken again.
    pub free_bytes_resume: u64,
    /// Partitions.
    pub partitions: u64,
    /// Those of them that are not dormant: their indexes and producers are in memory.
    pub partitions_in_use: u64,
}

impl Metrics {
    /// A flush of the log took so long.
    pub fn flushed(&self, micros: u32) {
        let bucket = (u32::BITS - micros.leading_zeros()) as usize;
        self.flush_buckets[bucket.min(FLUSH_BUCKETS - 1)].add(1);
        self.flush_us.add(u64::from(micros));
    }

    /// The log has so many slots, and so many of them are free.
    pub fn note_slots(&self, count: usize, free: usize) {
        self.slots.store(count as u64, Ordering::Relaxed);
        self.slots_free.store(free as u64, Ordering::Relaxed);
    }

    /// A look for a log to compact found these.
    pub fn note_dirt(&self, dirty_percent: u64, uncleanable: u64) {
        self.dirty_percent.store(dirty_percent, Ordering::Relaxed);
        self.uncleanable.store(uncleanable, Ordering::Relaxed);
    }

    /// A pass copied so much of so much.
    pub fn note_recopied(&self, written: u64, of: u64) {
        let percent = written.saturating_mul(100).checked_div(of).unwrap_or(0);
        self.recopy_percent.store(percent, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> StoreMetrics {
        StoreMetrics {
            groups: self.groups.value(),
            log_bytes: self.log_bytes.value(),
            flush_us: self.flush_us.value(),
            flush_buckets: std::array::from_fn(|at| self.flush_buckets[at].value()),
            slots: self.slots.load(Ordering::Relaxed),
            slots_free: self.slots_free.load(Ordering::Relaxed),
            flush_failures: self.flush_failures.value(),
            segment_failures: self.segment_failures.value(),
            rebuilds: self.rebuilds.value(),
            log_full: self.log_full.value(),
            checkpoints: self.checkpoints.value(),
            checkpoint_failures: self.checkpoint_failures.value(),
            scrubbed_bytes: self.scrubbed_bytes.value(),
            scrub_damage: self.scrub_damage.value(),
            compactions: self.compactions.value(),
            compacted_bytes: self.compacted_bytes.value(),
            compaction_written_bytes: self.compaction_written_bytes.value(),
            compaction_failures: self.compaction_failures.value(),
            compaction_dirty_percent: self.dirty_percent.load(Ordering::Relaxed),
            compaction_uncleanable: self.uncleanable.load(Ordering::Relaxed),
            compaction_recopy_percent: self.recopy_percent.load(Ordering::Relaxed),
            ..StoreMetrics::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushes_fall_into_their_bucket() {
        let metrics = Metrics::default();
        for micros in [0, 1, 5, 300, u32::MAX] {
            metrics.flushed(micros);
        }
        let counted = metrics.snapshot();
        let filled = |at: usize| counted.flush_buckets[at];
        let found = [filled(0), filled(1), filled(3), filled(9)];
        assert_eq!(found, [1, 1, 1, 1]);
        assert_eq!(filled(FLUSH_BUCKETS - 1), 1);
        assert_eq!(counted.flush_us, 306 + u64::from(u32::MAX));
    }
}
