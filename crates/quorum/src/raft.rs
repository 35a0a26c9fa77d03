//! Our choice of openraft's types and settings (replication.md 3.2).

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::type_config::alias::{
    EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
};
use openraft::{Config, SnapshotPolicy};

/// Heartbeats of a leader, milliseconds.
const HEARTBEAT_MS: u64 = 100;
/// A follower without heartbeats stands for election after this, at the earliest and latest.
const ELECTION_MS: (u64, u64) = (1_000, 2_000);
/// Requests waiting for the core: far more than administrators and controllers send at once.
const API_CHANNEL: u64 = 1_024;
/// Notices within openraft, and work for the state machine.
const INNER_CHANNEL: u64 = 1_024;
/// Entries per block and per apply batch.
const BATCH_ENTRIES: u64 = 256;

openraft::declare_raft_types!(
    /// The types of the metadata group. The leader id is openraft's default (term, node): the one
    /// its own fuzzer runs.
    pub(crate) Types:
        D = Payload,
        R = Response,
        AsyncRuntime = Runtime,
);

/// tokio, with openraft's chance (election timeouts) drawn from the node's own seed.
pub(crate) type Runtime =
    openraft::rt::deterministic_rng::DeterministicRng<openraft::impls::TokioRuntime>;

pub(crate) type Entry = EntryOf<Types>;
pub(crate) type LogId = LogIdOf<Types>;
pub(crate) type Vote = VoteOf<Types>;
pub(crate) type SnapshotMeta = SnapshotMetaOf<Types>;
pub(crate) type Snapshot = SnapshotOf<Types, Bytes>;
pub(crate) type StoredMembership = StoredMembershipOf<Types>;

/// A command's bytes. Clones share them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Payload(pub(crate) Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// What the state machine said; empty for the quorum's own entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response(pub(crate) Vec<u8>);

/// The settings, each for its reason.
pub(crate) fn config() -> Arc<Config> {
    Arc::new(Config {
        cluster_name: "metadata".into(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS.0,
        election_timeout_max: ELECTION_MS.1,
        // A node that was cut off must not depose a good leader when it comes back.
        enable_pre_vote: Some(true),
        // A follower whose log shrank has lost acknowledged entries: an error, never a fresh start.
        allow_log_reversion: Some(false),
        // A restarted leader asks again instead of trusting what it remembers.
        enable_leader_restore: Some(false),
        // Snapshots and purges are driven by `node.rs`, which also counts bytes and time.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        max_payload_entries: BATCH_ENTRIES,
        max_append_entries: Some(BATCH_ENTRIES),
        api_channel_size: Some(API_CHANNEL),
        notification_channel_size: Some(INNER_CHANNEL),
        state_machine_channel_size: Some(INNER_CHANNEL),
        ..Config::default()
    })
}
