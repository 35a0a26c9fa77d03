//! The API table as types, and the golden files as bytes; for the tests of this folder.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use wire::api::TABLE;
use wire::messages::{self, CodecError, Message};
use wire::{Api, ApiKey};

/// Calls a macro with all rows: key, module of `wire::messages`, types of `kafka-protocol`.
macro_rules! each_api {
    ($callback:ident, $($argument:tt)*) => {
        $callback! {
            ($($argument)*)
            Produce produce ProduceRequest ProduceResponse;
            Fetch fetch FetchRequest FetchResponse;
            ListOffsets list_offsets ListOffsetsRequest ListOffsetsResponse;
            Metadata metadata MetadataRequest MetadataResponse;
            OffsetCommit offset_commit OffsetCommitRequest OffsetCommitResponse;
            OffsetFetch offset_fetch OffsetFetchRequest OffsetFetchResponse;
            FindCoordinator find_coordinator FindCoordinatorRequest FindCoordinatorResponse;
            JoinGroup join_group JoinGroupRequest JoinGroupResponse;
            Heartbeat heartbeat HeartbeatRequest HeartbeatResponse;
            LeaveGroup leave_group LeaveGroupRequest LeaveGroupResponse;
            SyncGroup sync_group SyncGroupRequest SyncGroupResponse;
            DescribeGroups describe_groups DescribeGroupsRequest DescribeGroupsResponse;
            ListGroups list_groups ListGroupsRequest ListGroupsResponse;
            ApiVersions api_versions ApiVersionsRequest ApiVersionsResponse;
            CreateTopics create_topics CreateTopicsRequest CreateTopicsResponse;
            DeleteTopics delete_topics DeleteTopicsRequest DeleteTopicsResponse;
            DeleteRecords delete_records DeleteRecordsRequest DeleteRecordsResponse;
            InitProducerId init_producer_id InitProducerIdRequest InitProducerIdResponse;
            OffsetForLeaderEpoch offset_for_leader_epoch OffsetForLeaderEpochRequest
                OffsetForLeaderEpochResponse;
            DescribeConfigs describe_configs DescribeConfigsRequest DescribeConfigsResponse;
            AlterConfigs alter_configs AlterConfigsRequest AlterConfigsResponse;
            DescribeLogDirs describe_log_dirs DescribeLogDirsRequest DescribeLogDirsResponse;
            CreatePartitions create_partitions CreatePartitionsRequest CreatePartitionsResponse;
            DeleteGroups delete_groups DeleteGroupsRequest DeleteGroupsResponse;
            IncrementalAlterConfigs incremental_alter_configs IncrementalAlterConfigsRequest
                IncrementalAlterConfigsResponse;
            OffsetDelete offset_delete OffsetDeleteRequest OffsetDeleteResponse;
            DescribeCluster describe_cluster DescribeClusterRequest DescribeClusterResponse;
            ConsumerGroupHeartbeat consumer_group_heartbeat ConsumerGroupHeartbeatRequest
                ConsumerGroupHeartbeatResponse;
            ConsumerGroupDescribe consumer_group_describe ConsumerGroupDescribeRequest
                ConsumerGroupDescribeResponse;
            ElectLeaders elect_leaders ElectLeadersRequest ElectLeadersResponse;
            AlterPartitionReassignments alter_partition_reassignments AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse;
            ListPartitionReassignments list_partition_reassignments ListPartitionReassignmentsRequest ListPartitionReassignmentsResponse;
            UpdateFeatures update_features UpdateFeaturesRequest UpdateFeaturesResponse;
            DescribeProducers describe_producers DescribeProducersRequest DescribeProducersResponse;
            UnregisterBroker unregister_broker UnregisterBrokerRequest UnregisterBrokerResponse;
            ListConfigResources list_config_resources ListConfigResourcesRequest ListConfigResourcesResponse;
            DescribeClientQuotas describe_client_quotas DescribeClientQuotasRequest DescribeClientQuotasResponse;
            AlterClientQuotas alter_client_quotas AlterClientQuotasRequest AlterClientQuotasResponse;
            DescribeUserScramCredentials describe_user_scram_credentials DescribeUserScramCredentialsRequest DescribeUserScramCredentialsResponse;
            DescribeQuorum describe_quorum DescribeQuorumRequest DescribeQuorumResponse;
            DescribeTopicPartitions describe_topic_partitions DescribeTopicPartitionsRequest
                DescribeTopicPartitionsResponse;
        }
    };
}
pub(crate) use each_api;

/// Request or response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// What the client sends.
    Request,
    /// What the broker sends.
    Response,
}

macro_rules! recode_any {
    (($key:expr, $end:expr, $version:expr, $body:expr) $($variant:ident $module:ident $_request:ident $_response:ident;)*) => {
        match ($key, $end) {
            $(
                (ApiKey::$variant, End::Request) => recode::<messages::$module::Request>($version, $body),
                (ApiKey::$variant, End::Response) => recode::<messages::$module::Response>($version, $body),
            )*
        }
    };
}

/// Reads a body and writes it again: the bytes, and the message for people.
pub fn read_and_write(
    key: ApiKey,
    end: End,
    version: i16,
    body: Bytes,
) -> Result<(Bytes, String), CodecError> {
    each_api!(recode_any, key, end, version, body)
}

fn recode<T: Message>(version: i16, body: Bytes) -> Result<(Bytes, String), CodecError> {
    let message: T = messages::decode_body(version, body)?;
    let again = messages::encode_body(version, &message)?;
    Ok((again, format!("{message:?}")))
}

macro_rules! read_any {
    (($key:expr, $end:expr, $version:expr, $body:expr) $($variant:ident $module:ident $_request:ident $_response:ident;)*) => {
        match ($key, $end) {
            $(
                (ApiKey::$variant, End::Request) => messages::decode_body::<messages::$module::Request>($version, $body).map(drop),
                (ApiKey::$variant, End::Response) => messages::decode_body::<messages::$module::Response>($version, $body).map(drop),
            )*
        }
    };
}

/// Reads a body and drops it.
pub fn read(key: ApiKey, end: End, version: i16, body: Bytes) -> Result<(), CodecError> {
    each_api!(read_any, key, end, version, body)
}

/// A section of a golden file.
pub struct Golden {
    /// All bytes.
    pub bytes: Bytes,
    /// `path = value` of each line.
    pub lines: Vec<String>,
    /// Where the body begins, behind size and header.
    pub body_at: usize,
}

impl Golden {
    /// The bytes behind size and header.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.body_at..)
    }
}

/// Reads a golden file: its sections by name.
pub fn golden(file: &str) -> BTreeMap<String, Golden> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; run generate.py", path.display()));
    let mut sections = BTreeMap::new();
    for section in text.split("\n[").skip(1) {
        let (name, body) = section.split_once("]\n").expect("a section's name");
        let (mut bytes, mut lines, mut body_at) = (Vec::new(), Vec::new(), 0);
        for line in body.lines().filter(|line| !line.is_empty()) {
            let (hex, what) = line.split_once("  ").expect("hex and a field");
            let digits = hex.as_bytes().chunks(2);
            bytes.extend(digits.map(|two| {
                let two = std::str::from_utf8(two).expect("text");
                u8::from_str_radix(two, 16).expect("two hex digits")
            }));
            lines.push(what.to_owned());
            if what.starts_with("size") || what.starts_with("header.") {
                body_at = bytes.len();
            }
        }
        sections.insert(
            name.to_owned(),
            Golden {
                bytes: bytes.into(),
                lines,
                body_at,
            },
        );
    }
    sections
}

/// Request and response of a row at a version.
pub fn golden_frames(api: &Api, version: i16) -> [(End, Golden); 2] {
    let mut name = String::new();
    for (at, c) in api.name.char_indices() {
        if c.is_ascii_uppercase() && at > 0 {
            name.push('_');
        }
        name.push(c.to_ascii_lowercase());
    }
    let mut sections = golden(&format!("{:02}-{name}-v{version:02}.txt", api.key.code()));
    [(End::Request, "request"), (End::Response, "response")].map(|(end, section)| {
        (
            end,
            sections.remove(section).expect("both ends are in the file"),
        )
    })
}

/// Every served row and version.
pub fn served() -> impl Iterator<Item = (&'static Api, i16)> {
    TABLE
        .iter()
        .flat_map(|api| (api.min..=api.max).map(move |version| (api, version)))
}
