//! The numbers of this crate: log sequence number, partition key and internal partition id.

use std::fmt;
use wire::ids::TopicId;

/// Number of a block in the shared log: +1 for each, for ever (storage.md 2.3).
///
/// What is appended gets the LSN of the block it will be written in; it is durable once
/// `durable_lsn` has reached that. [`Lsn::ZERO`] is before every block: always durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Before the first block.
    pub const ZERO: Lsn = Lsn(0);
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A partition as the cluster names it. A topic's id outlives its name, so the name is not here
/// (replication.md R20).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicId,
    /// The partition's number in its topic, from 0.
    pub partition: i32,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A partition as this data directory names it: in log records and file names. Never reused, so
/// that a file or record left over from a deleted partition belongs to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u64);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
