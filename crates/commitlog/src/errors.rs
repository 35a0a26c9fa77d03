//! What callers of this crate may be told, few kinds each.

use wire::ids::{LeaderEpoch, Offset};
use world::disk::DiskError;

use crate::format_error::FormatError;

/// Why a data directory was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process uses it.
    #[error("{root}: in use by another process")]
    InUse {
        /// The directory.
        root: String,
    },
    /// It belongs to another cluster or broker, or its identity is gone.
    #[error("{root}: {reason}")]
    Foreign {
        /// The directory.
        root: String,
        /// What does not agree, and what to do.
        reason: String,
    },
    /// A configuration value makes no sense.
    #[error("{0}")]
    Config(String),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file is damaged or from a later release.
    #[error("{path}: {error}")]
    Format {
        /// The file.
        path: String,
        /// What was wrong.
        error: FormatError,
    },
    /// An acknowledged block of the shared log is gone (storage.md 6.3).
    #[error(
        "the log is damaged: block {lsn} was acknowledged and cannot be read ({found}); restore the \
         data directory from a backup or a replica"
    )]
    AcknowledgedBlockLost {
        /// The first block that is not valid.
        lsn: u64,
        /// What is there instead.
        found: String,
    },
}

/// Why an operation on the store or a partition failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The staging buffers are full: try again when the durable LSN has moved.
    #[error("staging buffers full")]
    StagingFull,
    /// The partition is deleted, or the store closed.
    #[error("closed")]
    Closed,
    /// Another partition has this key.
    #[error("partition exists already")]
    Exists,
    /// The offset is outside the log.
    #[error("offset {offset} is outside the log, {log_start} to {end}")]
    OutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// Where the log starts.
        log_start: Offset,
        /// Where it ends.
        end: Offset,
    },
    /// The epoch is lower than one the log knows.
    #[error("leader epoch {epoch} is older than {known}")]
    StaleEpoch {
        /// The epoch given.
        epoch: LeaderEpoch,
        /// The newest one known.
        known: LeaderEpoch,
    },
    /// No space left.
    #[error("disk full")]
    Full,
    /// The directory is dead: nothing is acknowledged any more.
    #[error("data directory dead: {0}")]
    Dead(String),
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Bytes at rest are damaged.
    #[error("damaged: {0}")]
    Corrupt(String),
}

/// Why a batch was not appended. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The staging buffers are full: stop reading sockets, try again when the durable LSN moved.
    #[error("staging buffers full")]
    StagingFull,
    /// The partition has no leader epoch here, or another one (rule R1).
    #[error("not the leader in this epoch")]
    NotLeader,
    /// The sequence does not follow (rule T2): OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error("out of order sequence: {found}, expected {expected}")]
    OutOfOrderSequence {
        /// The batch's first sequence.
        found: i32,
        /// What should have come.
        expected: i32,
    },
    /// The producer's epoch is fenced (rule T3): INVALID_PRODUCER_EPOCH.
    #[error("producer epoch {found} is older than {known}")]
    InvalidProducerEpoch {
        /// The batch's epoch.
        found: i16,
        /// The newest one known.
        known: i16,
    },
    /// The batch does not fit into a segment or half a slot: RECORD_LIST_TOO_LARGE.
    #[error("batch of {bytes} bytes, {limit} allowed")]
    TooLarge {
        /// Bytes of the batch.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The batch's offsets do not follow the log's end (replica) or are not dense (client).
    #[error("batch at {found}, expected {expected}")]
    BadOffsets {
        /// Where the batch says it is, or ends.
        found: i64,
        /// Where it should be, or end.
        expected: i64,
    },
    /// A transactional rule is broken: INVALID_TXN_STATE.
    #[error("invalid transaction state")]
    InvalidTxnState,
    /// No space left: KAFKA_STORAGE_ERROR, retriable.
    #[error("disk full")]
    Full,
    /// The directory is dead, or the partition closed or deleted.
    #[error("log closed")]
    Dead,
}

impl ReadError {
    /// The segment that was to be read is in another file by now, or gone: look again.
    pub(crate) fn moved() -> ReadError {
        ReadError::Disk(DiskError::NotFound {
            path: "a segment that was replaced".to_owned(),
        })
    }

    pub(crate) fn is_moved(&self) -> bool {
        matches!(self, ReadError::Disk(DiskError::NotFound { .. }))
    }
}

/// Why nothing was read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// OFFSET_OUT_OF_RANGE.
    #[error("offset {offset} is outside the log, {log_start} to {end}")]
    OutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// Where the log starts.
        log_start: Offset,
        /// Where it ends.
        end: Offset,
    },
    /// The bytes at rest are damaged there: never served as good.
    #[error("damaged at offset {offset}: {reason}")]
    Corrupt {
        /// Where.
        offset: Offset,
        /// What was found.
        reason: String,
    },
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The partition is deleted, or the store closed.
    #[error("closed")]
    Closed,
}
