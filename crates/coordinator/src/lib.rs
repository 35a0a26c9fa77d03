//! Groups of consumers, of the classic protocol and of KIP-848's, and committed offsets, as a pure
//! state machine over records.
//!
//! A [`Shard`] owns the groups of one partition of `__consumer_offsets`. A request or a timer goes in,
//! [`Effects`] come out: records to append, answers to give. The host appends the records, applies
//! them at once with [`Shard::apply`], and lets the answers leave when the log says so; start-up and
//! failover feed the same records through the same `apply`.
//!
//! What holds:
//! - What a restart keeps (committed offsets, the last completed generation of each group) changes
//!   only in `apply`. So it is a function of the log, and a test replays the log to prove it.
//! - What a restart loses (who waits for a join, heartbeats due) lives beside it, as in Kafka, and is
//!   rebuilt from the last generation by [`Shard::loaded`].
//! - Every join and sync is answered, at the latest when its deadline passes in [`Shard::tick`].
//! - Same inputs, same outputs: maps are ordered, time and chance are arguments.
//! - Memory is bounded by the limits of [`Settings`] and the constants in `settings.rs`.
//!
//! What this crate must never know: sockets, wire versions' byte layouts, where topics lie, permissions, clocks, threads, files, how or when a record becomes durable.
//!
//! Rules G1–G10, N1–N7, T14 and T15 of the design are cited where they are obeyed.

mod admin;
mod cluster;
mod consumer;
mod group;
mod member;
mod membership;
mod offset;
mod placement;
mod rebalance;
mod record;
mod request;
mod response;
mod settings;
mod shard;
mod subscription;
mod time;

pub use admin::CONSUMER;
pub use cluster::{Cluster, GroupOverrides, TopicFacts};
pub use consumer::assignor::Assignor;
pub use consumer::member::{ClassicPart, ConsumerMember, MemberState, Owned, Partitions};
pub use consumer::record::{ConsumerKey, ResolvedPattern};
pub use placement::shard_of_group;
pub use record::{CommittedOffset, Corrupt, GroupImage, Key, MemberImage, Record, decode_key};
pub use record::{decode_group_value, decode_offset_value};
pub use request::{
    Caller, CommitPartition, CommitRequest, CommitTopic, ConsumerHeartbeatRequest,
    DeleteOffsetsRequest, FetchRequest, GroupRequest, HeartbeatRequest, JoinRequest, LeaveRequest,
    LeavingMember, ListRequest, Protocol, SeekRequest, SyncRequest, Token, TopicPartitions,
    TxnCommitRequest,
};
pub use response::{
    CommittedTopic, ConsumerHeartbeatResponse, DeletedOffsets, DescribedConsumer,
    DescribedConsumerGroup, DescribedGroup, DescribedMember, DescribedTopic, FetchedGroup,
    FetchedPartition, FetchedTopic, GroupResponse, JoinResponse, JoinedMember, LeaveResponse,
    LeftMember, ListedGroup, ListedGroups, PartitionResult, SyncResponse, append_error,
};
pub use settings::{ConsumerSettings, Migration, Settings};
pub use shard::{Counts, Effects, Persistent, ProducerStamp, Rebalances, RecordOrigin, Shard};
pub use time::{Instant, Now};

#[cfg(test)]
mod tests;
