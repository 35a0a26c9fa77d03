//! What can be set: for the data directory, and for one partition's log.

use std::time::Duration;

/// Settings of a data directory. Plain data; [`StoreConfig::default`] is the product.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Bytes of a slot of the shared log. A directory in use opens only with the size it was made
    /// with. A batch must fit into half of one.
    pub slot_bytes: u64,
    /// Number of slots, at least 4.
    pub slots: u32,
    /// Bytes of a staging buffer: the most that one ordinary group carries.
    pub staging_bytes: usize,
    /// Number of staging buffers.
    pub staging_buffers: usize,
    /// Segment files held open at most.
    pub descriptors: usize,
    /// Time between checkpoints when the log does not fill up earlier.
    pub checkpoint_interval: Duration,
    /// Time between two rounds of the write-back trickle.
    pub trickle_interval: Duration,
    /// Time between two rounds of retention.
    pub retention_interval: Duration,
    /// Bytes per second that the scrub reads at most; 0 switches it off.
    pub scrub_bytes_per_second: u64,
    /// Time between two looks for a log to compact.
    pub compact_interval: Duration,
    /// Bytes per second that compaction reads and writes at most; 0: without limit.
    pub compact_bytes_per_second: u64,
    /// Keys that a compaction pass remembers at most, at 17 bytes each. A hash table has 7 entries
    /// in 8 places and a power of two of places.
    pub compact_keys_max: usize,
    /// Dirty files up to which a checkpoint syncs each; above it syncs the filesystem.
    pub sync_each_max: usize,
    /// Who we are; `None` takes what the directory says (and invents an id for a new one).
    pub identity: Option<Identity>,
    /// Bytes kept in reserve so that deletes can be recorded on a full disk.
    pub ballast_bytes: u64,
    /// Free bytes below which clients' appends are refused; `None`: size of the log, twice 256 MiB
    /// and a hundredth of the filesystem, but no more than an eighth of it.
    pub free_bytes_min: Option<u64>,
    /// Free bytes from which they are taken again, at least as many; `None`: a quarter more.
    pub free_bytes_resume: Option<u64>,
    /// Open although acknowledged blocks of the log are lost, and cut the log there. What was lost
    /// stays lost; an operator says so.
    pub accept_lost_blocks: bool,
}

/// Marks for the free bytes of the filesystem.
pub(crate) struct SpaceMarks {
    /// Below it clients' appends are refused.
    pub soft: u64,
    /// From it on they are taken again; between the two nothing changes.
    pub resume: u64,
    /// Below it the ballast is given up.
    pub hard: u64,
}

impl StoreConfig {
    pub(crate) fn space_marks(&self, total: u64) -> SpaceMarks {
        const SEGMENT: u64 = 256 << 20;
        let log = self.slot_bytes * u64::from(self.slots);
        // On a small disk the full reserve would leave nothing to write into: note 0086.
        let reserve = (log + 2 * SEGMENT + total / 100).min(total / 8);
        let soft = self.free_bytes_min.unwrap_or(reserve);
        let resume = self.free_bytes_resume.unwrap_or(soft + soft / 4);
        SpaceMarks {
            soft,
            resume: resume.max(soft),
            hard: soft.min(log) / 2,
        }
    }
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            slot_bytes: 64 << 20,
            slots: 8,
            staging_bytes: 4 << 20,
            staging_buffers: 3,
            descriptors: 4096,
            checkpoint_interval: Duration::from_secs(30),
            trickle_interval: Duration::from_millis(5),
            retention_interval: Duration::from_secs(300),
            scrub_bytes_per_second: 16 << 20,
            compact_interval: Duration::from_secs(15),
            compact_bytes_per_second: 0,
            compact_keys_max: (2 << 20) / 8 * 7,
            sync_each_max: 64,
            identity: None,
            ballast_bytes: 64 << 20,
            free_bytes_min: None,
            free_bytes_resume: None,
            accept_lost_blocks: false,
        }
    }
}

/// Which cluster and broker a data directory belongs to (replication.md D9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id, as Kafka shows it.
    pub cluster_id: String,
    /// The broker's number.
    pub broker_id: i32,
}

/// What an acknowledgement waits for on this node (storage.md section 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SyncPolicy {
    /// The flush of the shared log.
    #[default]
    Durable,
    /// The copy in memory; the log is written all the same, nobody waits.
    Os,
}

/// Whose clock a batch's timestamps show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampSource {
    /// The producer's.
    #[default]
    CreateTime,
    /// Ours, stamped at append.
    LogAppendTime,
}

/// Settings of one partition's log, from the topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// What an acknowledgement waits for.
    pub sync: SyncPolicy,
    /// Whose clock stamps the batches.
    pub timestamps: TimestampSource,
    /// Data bytes of a segment at most.
    pub segment_bytes: u64,
    /// Age of a segment at most, by its first append, milliseconds.
    pub segment_ms: i64,
    /// Segments whose newest record is older are deleted, milliseconds; −1: never.
    pub retention_ms: i64,
    /// Segments are deleted while the log without them has this many bytes; −1: never.
    pub retention_bytes: i64,
    /// Whether retention deletes at all (`cleanup.policy` contains `delete`).
    pub delete: bool,
    /// Whether only the newest record of each key is kept (`cleanup.policy` contains `compact`).
    pub compact: bool,
    /// How long tombstones stay after a pass has seen them, milliseconds (rule C2).
    pub delete_retention_ms: i64,
    /// A segment with a younger record is not compacted, milliseconds.
    pub compaction_lag_ms_min: i64,
    /// A record older than this is compacted whatever the dirty ratio, milliseconds;
    /// `i64::MAX`: never.
    pub compaction_lag_ms_max: i64,
    /// Share of a log that must be dirty before it is compacted, in parts of
    /// [`RATIO_WHOLE`](crate::RATIO_WHOLE).
    pub dirty_ratio_min: u32,
    /// A producer unseen for this long is forgotten, milliseconds.
    pub producer_expiry_ms: i64,
}

impl LogSettings {
    /// Age at which a segment ends: what waits in an active one is not compacted.
    pub(crate) fn roll_ms(&self) -> i64 {
        if self.compact {
            self.segment_ms.min(self.compaction_lag_ms_max.max(0))
        } else {
            self.segment_ms
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        LogSettings {
            sync: SyncPolicy::Durable,
            timestamps: TimestampSource::CreateTime,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3600 * 1000,
            retention_ms: -1,
            retention_bytes: -1,
            delete: true,
            compact: false,
            delete_retention_ms: 24 * 3600 * 1000,
            compaction_lag_ms_min: 0,
            compaction_lag_ms_max: i64::MAX,
            dirty_ratio_min: crate::RATIO_WHOLE / 2,
            producer_expiry_ms: 24 * 3600 * 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_small_disk_keeps_most_of_itself_for_data() {
        let config = StoreConfig::default();
        for (total, soft) in [
            (GIB, GIB / 8),
            (4 * GIB, GIB / 2),
            (100 * GIB, 2 * GIB),
            (1000 * GIB, 11 * GIB),
        ] {
            let marks = config.space_marks(total);
            assert_eq!(marks.soft, soft, "of {total}");
            assert_eq!(marks.resume, soft + soft / 4);
            assert!(marks.hard <= marks.soft);
        }
    }

    #[test]
    fn writes_never_resume_below_the_mark_at_which_they_stop() {
        let config = StoreConfig {
            free_bytes_min: Some(GIB),
            free_bytes_resume: Some(1),
            ..StoreConfig::default()
        };
        assert_eq!(config.space_marks(100 * GIB).resume, GIB);
    }
}
