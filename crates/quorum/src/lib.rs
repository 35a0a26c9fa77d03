//! One agreed, ordered log of metadata commands, by openraft, behind a small trait.
//!
//! A node alone is a group of one voter on the same code path as three or five.
//!
//! Invariants:
//! - What [`MetadataQuorum::propose`] answered is on the disk of a quorum and survives a crash at
//!   any disk operation; so does every vote that was given.
//! - Votes, entries, truncations and purges reach the disk in one strict order, through one worker.
//! - A failed flush is never retried: the node stops taking part and says why (replication.md D1).
//!
//! This crate must never know what a command means, nor Kafka, partitions or configuration.

mod block;
mod journal;
mod machine;
mod network;
mod node;
mod raft;
mod record;
mod snapshots;
mod store;

#[cfg(test)]
mod tests;

use std::future::Future;

use tokio::sync::watch;

pub use journal::JournalError;
pub use node::{Settings, SingleNode};

/// The largest command, in bytes: one entry of the log (replication.md 4).
pub const COMMAND_BYTES_MAX: usize = 1024 * 1024;

/// What the log's commands act on. Deterministic; called in order, from one task.
pub trait StateMachine: Send + Sync + 'static {
    /// Carries out the command at `index` and answers it. Indexes grow, with gaps.
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8>;
    /// The whole state as bytes.
    fn snapshot(&self) -> Vec<u8>;
    /// Takes the state of [`StateMachine::snapshot`]'s bytes, or says why it cannot.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String>;
}

/// A command that is committed and applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Its position in the log.
    pub index: u64,
    /// What [`StateMachine::apply`] said.
    pub answer: Vec<u8>,
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The term this node is in.
    pub term: u64,
    /// The leader it knows of.
    pub leader: Option<u64>,
    /// Whether that is this node.
    pub is_local: bool,
    /// Why this node has stopped taking part, if it has.
    pub stopped: Option<String>,
}

/// The state at one index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRef {
    /// The last log index it holds.
    pub index: u64,
    /// What [`StateMachine::snapshot`] gave.
    pub bytes: bytes::Bytes,
}

/// Why something could not be decided.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// Ask the leader; nothing was written.
    #[error("this node does not lead the metadata quorum{}", .leader.map(|id| format!("; node {id} does")).unwrap_or_default())]
    NotLeader {
        /// The leader, if it is known.
        leader: Option<u64>,
    },
    /// The command may still be decided by the next leader; a retry must be harmless.
    #[error("the leader changed before the command was decided; it may or may not hold")]
    Unknown,
    /// The command is larger than an entry may be; nothing was written.
    #[error("a command of {bytes} bytes, at most {COMMAND_BYTES_MAX} are allowed")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not possible with this build.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What was asked for.
        what: String,
    },
    /// The node has stopped taking part; restart it when the cause is gone.
    #[error("the metadata quorum has stopped on this node: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
    /// The files could not be opened or are damaged.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// One agreed, ordered log of metadata commands. Knows nothing of what they mean.
///
/// Kept this thin so that another library could stand behind it (replication.md 3.1).
pub trait MetadataQuorum {
    /// Committed and applied: the answer `apply` gave, and where it stands.
    fn propose(
        &self,
        command: Vec<u8>,
    ) -> impl Future<Output = Result<Decided, QuorumError>> + Send;
    /// After this, local state holds everything committed before the call (ReadIndex). The index
    /// up to which it does.
    fn barrier(&self) -> impl Future<Output = Result<u64, QuorumError>> + Send;
    /// Who leads, in which term, whether it is this node; and whether this node has stopped.
    fn leadership(&self) -> watch::Receiver<Leadership>;
    /// The only way voters change.
    fn change_voters(
        &self,
        voters: std::collections::BTreeSet<u64>,
    ) -> impl Future<Output = Result<(), QuorumError>> + Send;
    /// Takes a snapshot now, and gives it.
    fn snapshot(&self) -> impl Future<Output = Result<SnapshotRef, QuorumError>> + Send;
}
