//! Everything this crate counts, in one place.

use std::sync::atomic::{AtomicU64, Ordering};

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
    pub flush_us: Counter,
    pub flush_failures: Counter,
    pub segment_failures: Counter,
    pub rebuilds: Counter,
    pub log_full: Counter,
    pub checkpoints: Counter,
    pub checkpoint_failures: Counter,
    pub scrubbed_bytes: Counter,
    pub scrub_damage: Counter,
}

/// The counters of a store at one moment. All but the last five only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreMetrics {
    /// Groups made durable.
    pub groups: u64,
    /// Bytes written to the shared log, headers and padding included.
    pub log_bytes: u64,
    /// Time spent in log flushes, microseconds.
    pub flush_us: u64,
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
    /// Slots of the log, and how many of them are free.
    pub slots: u64,
    /// Slots that may be written over.
    pub slots_free: u64,
    /// Segment files held open.
    pub descriptors: u64,
    /// Free bytes of the filesystem at the last look.
    pub free_bytes: u64,
    /// Partitions.
    pub partitions: u64,
}

impl Metrics {
    pub fn snapshot(&self) -> StoreMetrics {
        StoreMetrics {
            groups: self.groups.value(),
            log_bytes: self.log_bytes.value(),
            flush_us: self.flush_us.value(),
            flush_failures: self.flush_failures.value(),
            segment_failures: self.segment_failures.value(),
            rebuilds: self.rebuilds.value(),
            log_full: self.log_full.value(),
            checkpoints: self.checkpoints.value(),
            checkpoint_failures: self.checkpoint_failures.value(),
            scrubbed_bytes: self.scrubbed_bytes.value(),
            scrub_damage: self.scrub_damage.value(),
            ..StoreMetrics::default()
        }
    }
}
