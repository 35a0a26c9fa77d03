//! The API table: which requests are served, at which versions, and the gate in front of them.
//!
//! There is no second list: ApiVersions answers from this table, the gate reads it, and every
//! version cap of the codec comes from it. A key stands here only when its whole range works
//! (protocol.md section 2, decision D2): a client can fall back from "not listed", never from a
//! wrong answer.

use std::fmt;

use crate::frame::REQUEST_BYTES_MAX;

/// The longest request that is not Produce. A group of 5,000 members with 100 partitions each
/// exchanges about 4 MB; a fetch of 100,000 partitions is 3 MB.
pub const COLD_REQUEST_BYTES_MAX: usize = 8 * 1024 * 1024;

macro_rules! apis {
    ($($(#[$doc:meta])* $variant:ident = $key:literal, $min:literal..=$max:literal, flex $flexible:expr $(, advertised from $advertised:literal)?;)*) => {
        /// The APIs of the table. The number is Kafka's api key.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($(#[$doc])* $variant = $key,)*
        }

        /// Every API that is served, by key.
        pub static TABLE: &[Api] = &[
            $(Api {
                key: ApiKey::$variant,
                name: stringify!($variant),
                min: $min,
                max: $max,
                flexible_from: $flexible,
                advertised_min: apis!(@advertised $min $($advertised)?),
            },)*
        ];
    };
    (@advertised $min:literal) => { $min };
    (@advertised $min:literal $advertised:literal) => { $advertised };
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Api {
    /// The key.
    pub key: ApiKey,
    /// Kafka's name of the API, without "Request".
    pub name: &'static str,
    /// Lowest version served.
    pub min: i16,
    /// Highest version served.
    pub max: i16,
    /// First version with compact lengths and tags; `None` if there is none (rule W5).
    pub flexible_from: Option<i16>,
    /// Lowest version that ApiVersions names. Below `min` only for Produce (decision D3): old
    /// librdkafka looks for version 0 before it switches compression on. What lies between is
    /// refused by the gate.
    pub advertised_min: i16,
}

apis! {
    /// Append record batches.
    Produce = 0, 3..=13, flex Some(9), advertised from 0;
    /// Read record batches.
    Fetch = 1, 4..=18, flex Some(12);
    /// Offsets by position or timestamp.
    ListOffsets = 2, 1..=11, flex Some(6);
    /// Brokers, topics, leaders.
    Metadata = 3, 0..=13, flex Some(9);
    /// Commit group offsets.
    OffsetCommit = 8, 2..=10, flex Some(8);
    /// Read committed group offsets.
    OffsetFetch = 9, 1..=10, flex Some(6);
    /// The broker that coordinates a group or transactional id.
    FindCoordinator = 10, 0..=5, flex Some(3);
    /// Join a classic group.
    JoinGroup = 11, 0..=9, flex Some(6);
    /// Stay in a classic group.
    Heartbeat = 12, 0..=4, flex Some(4);
    /// Leave a classic group.
    LeaveGroup = 13, 0..=5, flex Some(4);
    /// Exchange a classic group's assignment.
    SyncGroup = 14, 0..=5, flex Some(4);
    /// Members and state of groups.
    DescribeGroups = 15, 0..=6, flex Some(5);
    /// The groups of this broker.
    ListGroups = 16, 0..=5, flex Some(3);
    /// What is served; the first request of a connection.
    ApiVersions = 18, 0..=4, flex Some(3);
    /// Create topics.
    CreateTopics = 19, 2..=7, flex Some(5);
    /// Delete topics.
    DeleteTopics = 20, 1..=6, flex Some(4);
    /// Drop records below an offset.
    DeleteRecords = 21, 0..=2, flex Some(2);
    /// A producer id and epoch.
    InitProducerId = 22, 0..=5, flex Some(2);
    /// Where a leader epoch ended.
    OffsetForLeaderEpoch = 23, 2..=4, flex Some(4);
    /// Read configuration.
    DescribeConfigs = 32, 1..=4, flex Some(4);
    /// Replace configuration as a whole.
    AlterConfigs = 33, 0..=2, flex Some(2);
    /// Sizes of the logs on disk.
    DescribeLogDirs = 35, 1..=5, flex Some(2);
    /// Add partitions to topics.
    CreatePartitions = 37, 0..=3, flex Some(2);
    /// Delete empty groups.
    DeleteGroups = 42, 0..=2, flex Some(2);
    /// Let the preferred replica lead again.
    ElectLeaders = 43, 0..=2, flex Some(2);
    /// Change single configuration keys.
    IncrementalAlterConfigs = 44, 0..=1, flex Some(1);
    /// Move replicas.
    AlterPartitionReassignments = 45, 0..=1, flex Some(0);
    /// Replicas that are moving.
    ListPartitionReassignments = 46, 0..=0, flex Some(0);
    /// Delete committed offsets of a group.
    OffsetDelete = 47, 0..=0, flex None;
    /// Read client quotas.
    DescribeClientQuotas = 48, 0..=1, flex Some(1);
    /// Change client quotas.
    AlterClientQuotas = 49, 0..=1, flex Some(1);
    /// The SCRAM credentials of users.
    DescribeUserScramCredentials = 50, 0..=0, flex Some(0);
    /// Who decides about the metadata.
    DescribeQuorum = 55, 0..=2, flex Some(0);
    /// Move feature levels.
    UpdateFeatures = 57, 0..=2, flex Some(0);
    /// Brokers and controller of the cluster.
    DescribeCluster = 60, 0..=2, flex Some(0);
    /// The idempotent producers of partitions.
    DescribeProducers = 61, 0..=0, flex Some(0);
    /// Forget a broker.
    UnregisterBroker = 64, 0..=0, flex Some(0);
    /// Join, stay in or leave a consumer group (KIP-848).
    ConsumerGroupHeartbeat = 68, 0..=1, flex Some(0);
    /// Members and state of consumer groups.
    ConsumerGroupDescribe = 69, 0..=1, flex Some(0);
    /// What has configuration.
    ListConfigResources = 74, 0..=1, flex Some(0);
    /// Partitions of topics, in pages.
    DescribeTopicPartitions = 75, 0..=0, flex Some(0);
}

impl ApiKey {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The row of this key. Every key has one.
    pub fn api(self) -> &'static Api {
        // The table is written by the same macro as the enum, so the row exists.
        TABLE
            .iter()
            .find(|api| api.key == self)
            .unwrap_or(&TABLE[0])
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.api().name)
    }
}

impl Api {
    /// Whether this version is served.
    pub fn serves(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// Whether this version uses compact lengths and tags.
    pub fn is_flexible(&self, version: i16) -> bool {
        self.flexible_from.is_some_and(|from| version >= from)
    }

    /// 1 or 2: the layout of the request header (rule W5).
    pub fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// 0 or 1: the layout of the response header. ApiVersions stays at 0 (rule W2).
    pub fn response_header_version(&self, version: i16) -> i16 {
        i16::from(self.key != ApiKey::ApiVersions && self.is_flexible(version))
    }

    /// The longest request of this API, bytes. Only Produce may fill a whole frame: it is read in
    /// place, while the others become structs that take many times their bytes in memory
    /// (docs/design/0040-cold-requests.md).
    pub fn request_bytes_max(&self) -> usize {
        match self.key {
            ApiKey::Produce => REQUEST_BYTES_MAX,
            _ => COLD_REQUEST_BYTES_MAX,
        }
    }

    /// For a client: the highest version both sides speak, given the peer's advertised range.
    pub fn best_version(&self, peer_min: i16, peer_max: i16) -> Option<i16> {
        let best = self.max.min(peer_max);
        (best >= self.min.max(peer_min)).then_some(best)
    }
}

/// The row of a key number, if it is served.
pub fn find(key: i16) -> Option<&'static Api> {
    TABLE
        .binary_search_by_key(&key, |api| api.key.code())
        .ok()
        .map(|at| &TABLE[at])
}

/// What to do with a request, judged by key and version alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Parse and handle it.
    Serve(&'static Api),
    /// Answer as [`crate::api_versions::encode_fallback`] does, without reading on (rule W1).
    ApiVersionsFallback,
    /// Close the connection: there is no error body for this (rule W6).
    Close(CloseReason),
}

/// Why a connection is closed instead of answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The key is not in the table.
    #[error("request with api key {key}, which is not served")]
    UnknownApi {
        /// The key received.
        key: i16,
    },
    /// The key is, the version is not.
    #[error("{api} request at version {version}, which is not served")]
    UnknownVersion {
        /// The API.
        api: ApiKey,
        /// The version received.
        version: i16,
    },
    /// The request is longer than its API may be ([`Api::request_bytes_max`]).
    #[error("{api} request of {bytes} bytes, {max} are accepted")]
    TooLarge {
        /// The API.
        api: ApiKey,
        /// The frame's length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The header cannot be read.
    #[error("request header cannot be read: {0}")]
    Header(#[from] stdx::CursorError),
}

/// Rules W1 and W6 (and decision D3 for Produce 0 to 2).
pub fn gate(key: i16, version: i16) -> Gate {
    match find(key) {
        Some(api) if api.serves(version) => Gate::Serve(api),
        Some(api) if api.key == ApiKey::ApiVersions => Gate::ApiVersionsFallback,
        Some(api) => Gate::Close(CloseReason::UnknownVersion {
            api: api.key,
            version,
        }),
        None => Gate::Close(CloseReason::UnknownApi { key }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_sane() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].key < pair[1].key);
        }
        for api in TABLE {
            assert!(api.min <= api.max && api.advertised_min <= api.min);
            assert_eq!(find(api.key.code()), Some(api));
            assert_eq!(api.key.api(), api);
        }
    }

    #[test]
    fn the_gate_serves_exactly_the_table() {
        for key in -2..200 {
            for version in -2..30 {
                let gate = gate(key, version);
                match find(key) {
                    Some(api) if api.serves(version) => assert_eq!(gate, Gate::Serve(api)),
                    // rule W1
                    Some(api) if api.key == ApiKey::ApiVersions => {
                        assert_eq!(gate, Gate::ApiVersionsFallback);
                    }
                    // rule W6
                    _ => assert!(matches!(gate, Gate::Close(_))),
                }
            }
        }
    }

    #[test]
    fn produce_below_three_is_advertised_and_refused() {
        // rule W6, decision D3
        assert_eq!(ApiKey::Produce.api().advertised_min, 0);
        for version in 0..3 {
            assert_eq!(
                gate(0, version),
                Gate::Close(CloseReason::UnknownVersion {
                    api: ApiKey::Produce,
                    version
                })
            );
        }
    }

    #[test]
    fn telemetry_is_not_listed_without_a_receiver() {
        // rule W10
        assert_eq!((find(71), find(72)), (None, None));
    }

    #[test]
    fn header_versions_follow_the_first_flexible_version() {
        // rules W2 and W5
        let metadata = ApiKey::Metadata.api();
        assert_eq!(
            (
                metadata.request_header_version(8),
                metadata.response_header_version(8)
            ),
            (1, 0)
        );
        assert_eq!(
            (
                metadata.request_header_version(9),
                metadata.response_header_version(9)
            ),
            (2, 1)
        );
        let versions = ApiKey::ApiVersions.api();
        assert_eq!(
            (
                versions.request_header_version(4),
                versions.response_header_version(4)
            ),
            (2, 0)
        );
        let offset_delete = ApiKey::OffsetDelete.api();
        assert_eq!(offset_delete.request_header_version(0), 1);
    }

    #[test]
    fn the_best_version_is_the_highest_common_one() {
        let fetch = ApiKey::Fetch.api();
        assert_eq!(fetch.best_version(0, 11), Some(11));
        assert_eq!(fetch.best_version(4, 99), Some(18));
        assert_eq!(fetch.best_version(0, 3), None);
        assert_eq!(fetch.best_version(19, 20), None);
    }
}
