//! Cluster records, their image and deltas, and the controller's decisions.
//!
//! The cluster's metadata is a log of [`Command`]s and an [`Image`] that is a function of it.
//! [`apply`] decides each command against the image, compare-and-set on epochs, so a controller
//! that lost its place cannot decide anything (replication.md 4).
//!
//! Invariants:
//! - Same commands, same image, byte for byte; a snapshot read back continues the same way.
//! - A partition's ISR is never empty and never meets its ELR; its epochs only grow.
//! - Every command is decided under the rules it was proposed with, for ever.
//!
//! This crate must never know clocks, chance, threads, disks, sockets, consensus or records:
//! times, topic ids and placements are put into a command by whoever proposes it.

mod answer;
mod apply;
mod command;
pub mod config;
mod delta;
mod election;
mod image;
mod partition;
mod placement;
mod quota;
mod shelf;
mod snapshot;
mod topic_name;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Refusal};
pub use apply::{apply, dry_run};
pub use command::{Change, Command, Corrupt, IsrChange, Operation, Placement, Proposed};
pub use delta::Delta;
pub use image::{Broker, ConfigMap, Endpoint, Image, MetadataOffset, Resource, Security, Topic};
pub use partition::{DirectoryId, Partition, Recovery, Replicas};
pub use placement::place;
pub use quota::{
    Allowance, Amount, QUOTA_ENTITIES_MAX, QuotaChange, QuotaEntity, QuotaKey, QuotaMap, Whom,
    check_quota, check_quota_entity,
};
pub use shelf::Shelf;
pub use snapshot::{restore, snapshot};
pub use topic_name::{NAME_LENGTH_MAX, check_name};
