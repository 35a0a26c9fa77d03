//! One node's logs on disk: append, read, recover, retain, compact.
//!
//! All partitions of a data directory share one write-ahead log; a group of appends becomes durable
//! with one write. Each partition has segments of its own, filled through the page cache, from
//! which readers are served by file ranges.
//!
//! Invariants:
//! - An LSN at or below [`LogStore::durable_lsn`] is on the disk, and its batches are readable.
//! - Segments are a function of the log: the gather applies records in log order, recovery applies
//!   the same records again and ends in the same state.
//! - A reader never sees a byte beyond the end of data, nor, below the watermark, one that could
//!   be lost.
//! - No lock is held over I/O on the way of an append.
//!
//! This crate must never know sockets, requests, topic names, groups or the cluster's metadata, and
//! it never decides who leads: it is told.

mod batch_head;
mod block;
mod checkpoint;
mod commit;
mod compact;
mod descriptors;
pub mod epochs;
mod errors;
pub mod footer;
pub mod format_error;
mod identity;
pub mod ids;
pub mod index;
mod lookup;
pub mod manifest;
mod meta;
mod metrics;
#[cfg(test)]
mod mutation;
mod open;
mod partition;
pub mod producers;
mod reader;
mod recover;
mod retain;
mod scrub;
pub mod sections;
mod segment;
mod settings;
mod slot;
mod staging;
mod store;
mod tail;
pub mod tail_state;
pub mod transactions;
mod trickle;
mod truncate;
mod upkeep;
mod writer;

use std::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use block::{BLOCK_ALIGN, BLOCK_HEADER_BYTES, BlockError, BlockHeader, check_block};
pub use compact::RATIO_WHOLE;
pub use epochs::{EpochEnd, EpochStart, Epochs};
pub use errors::{AppendError, LogError, OpenError, ReadError};
pub use format_error::{FormatError, Reason};
pub use identity::claim_unused;
pub use ids::{Lsn, PartitionId, PartitionKey};
pub use lookup::TimestampedOffset;
pub use metrics::{FLUSH_BUCKETS, StoreMetrics};
pub use partition::{AdvanceWaiter, AppendOrigin, Appended, Offsets, Partition};
pub use reader::{ReadBound, ReadSlice};
pub use settings::{Identity, LogSettings, StoreConfig, SyncPolicy, TimestampSource};
pub use staging::Group;
pub use store::{DurableListener, LogStore, RecoveryReport, StoreHealth};

pub use writer::{BlockingWriter, Busy, GroupOutcome, LogWriter, SealedGroup};

/// Locks; a panic elsewhere does not spread: the states here are consistent between statements that
/// can panic, and a node that goes on serving is worth more than one that stops everywhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn read_lock<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn write_lock<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
