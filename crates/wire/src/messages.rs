//! Every message that is not written by hand, behind one seam.
//!
//! This is the only file of the workspace that names the generated codec (protocol.md D5); a test
//! holds that. The codec knows more versions than we serve, some of them unstable: the caps come
//! from the API table, both ways. Each API is a module with Kafka's own struct names, and
//! `Request` and `Response` for the two ends:
//!
//! ```
//! use wire::messages::{self, metadata, text};
//! let request = metadata::Request {
//!     topics: Some(vec![metadata::MetadataRequestTopic {
//!         name: Some(text("orders")),
//!         ..Default::default()
//!     }]),
//!     ..Default::default()
//! };
//! let frame = messages::encode_request(12, 1, Some("me"), &request)?;
//! # Ok::<(), messages::CodecError>(())
//! ```
//!
//! Two traits of the codec to know: a field that is set although the version lacks it is an
//! error, unless Kafka calls it ignorable; and bytes behind the last known field are ignored, as
//! Kafka does.

use bytes::{BufMut, Bytes, BytesMut};
use kacrab_protocol::ProtocolError;
use stdx::CursorError;

pub use kacrab_protocol::KafkaString as Text;
pub use kacrab_protocol::KafkaUuid as Uuid;
pub use kacrab_protocol::RawTaggedField as RawTag;

use crate::api::{Api, ApiKey};
use crate::frame::PREFIX_BYTES;
use crate::header;
use crate::ids::TopicId;

/// A string for a message, copied.
pub fn text(from: &str) -> Text {
    Text::from(from.to_owned())
}

impl From<TopicId> for Uuid {
    fn from(id: TopicId) -> Uuid {
        let bits = u128::from_be_bytes(id.0);
        Uuid::from_parts((bits >> 64) as u64, bits as u64)
    }
}

impl From<Uuid> for TopicId {
    fn from(id: Uuid) -> TopicId {
        TopicId(id.to_bytes())
    }
}

/// Why a message could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The version is outside the API table's range.
    #[error("{api} has no version {version} here")]
    Version {
        /// The API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
    },
    /// The bytes are no such message, or the struct does not fit the version.
    #[error("{api} version {version}: {reason}")]
    Malformed {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What the codec said.
        reason: ProtocolError,
    },
    /// The bytes are no such message, found by the hand-written reader.
    #[error("{api} version {version}: {reason}")]
    Damaged {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What was wrong.
        reason: CursorError,
    },
    /// The header of a response cannot be read.
    #[error("{api} version {version}: response header: {reason}")]
    Header {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// What was wrong.
        reason: CursorError,
    },
    /// The message would not fit a frame.
    #[error("{api} version {version}: {bytes} bytes do not fit a frame")]
    TooLarge {
        /// The API.
        api: ApiKey,
        /// The version.
        version: i16,
        /// The frame's size, bytes.
        bytes: usize,
    },
}

mod sealed {
    use bytes::{Bytes, BytesMut};
    use kacrab_protocol::Result;

    /// The codec's own three functions, out of sight.
    pub trait Coded: Sized {
        fn read(buf: &mut Bytes, version: i16) -> Result<Self>;
        fn write(&self, buf: &mut BytesMut, version: i16) -> Result<()>;
        fn encoded_len(&self, version: i16) -> Result<usize>;
    }
}

/// A request or response of the API table.
pub trait Message: sealed::Coded + Clone + Default + PartialEq + std::fmt::Debug {
    /// Its row.
    const KEY: ApiKey;
}

/// A request; its answer is known by type.
pub trait Request: Message {
    /// What answers it.
    type Response: Message;
}

macro_rules! messages {
    ($($(#[$attribute:meta])* $module:ident: $key:ident, $request_module:ident::$request:ident, $response_module:ident::$response:ident;)*) => {
        $(
            $(#[$attribute])*
            #[doc = concat!("The structs of `", stringify!($key), "`.")]
            pub mod $module {
                pub use kacrab_protocol::generated::$request_module::*;
                pub use kacrab_protocol::generated::$response_module::*;
                pub use kacrab_protocol::generated::$request_module::$request as Request;
                pub use kacrab_protocol::generated::$response_module::$response as Response;
            }
            messages!(@message $module::Request, $key);
            messages!(@message $module::Response, $key);
            impl Request for $module::Request {
                type Response = $module::Response;
            }
        )*
    };
    (@message $message:ty, $key:ident) => {
        impl sealed::Coded for $message {
            fn read(buf: &mut Bytes, version: i16) -> kacrab_protocol::Result<Self> {
                <$message>::read(buf, version)
            }
            fn write(&self, buf: &mut BytesMut, version: i16) -> kacrab_protocol::Result<()> {
                <$message>::write(self, buf, version)
            }
            fn encoded_len(&self, version: i16) -> kacrab_protocol::Result<usize> {
                <$message>::encoded_len(self, version)
            }
        }
        impl Message for $message {
            const KEY: ApiKey = ApiKey::$key;
        }
    };
}

messages! {
    produce: Produce, produce_request::ProduceRequestData, produce_response::ProduceResponseData;
    fetch: Fetch, fetch_request::FetchRequestData, fetch_response::FetchResponseData;
    list_offsets: ListOffsets, list_offsets_request::ListOffsetsRequestData, list_offsets_response::ListOffsetsResponseData;
    metadata: Metadata, metadata_request::MetadataRequestData, metadata_response::MetadataResponseData;
    offset_commit: OffsetCommit, offset_commit_request::OffsetCommitRequestData, offset_commit_response::OffsetCommitResponseData;
    offset_fetch: OffsetFetch, offset_fetch_request::OffsetFetchRequestData, offset_fetch_response::OffsetFetchResponseData;
    find_coordinator: FindCoordinator, find_coordinator_request::FindCoordinatorRequestData, find_coordinator_response::FindCoordinatorResponseData;
    join_group: JoinGroup, join_group_request::JoinGroupRequestData, join_group_response::JoinGroupResponseData;
    heartbeat: Heartbeat, heartbeat_request::HeartbeatRequestData, heartbeat_response::HeartbeatResponseData;
    leave_group: LeaveGroup, leave_group_request::LeaveGroupRequestData, leave_group_response::LeaveGroupResponseData;
    sync_group: SyncGroup, sync_group_request::SyncGroupRequestData, sync_group_response::SyncGroupResponseData;
    describe_groups: DescribeGroups, describe_groups_request::DescribeGroupsRequestData, describe_groups_response::DescribeGroupsResponseData;
    list_groups: ListGroups, list_groups_request::ListGroupsRequestData, list_groups_response::ListGroupsResponseData;
    api_versions: ApiVersions, api_versions_request::ApiVersionsRequestData, api_versions_response::ApiVersionsResponseData;
    create_topics: CreateTopics, create_topics_request::CreateTopicsRequestData, create_topics_response::CreateTopicsResponseData;
    delete_topics: DeleteTopics, delete_topics_request::DeleteTopicsRequestData, delete_topics_response::DeleteTopicsResponseData;
    delete_records: DeleteRecords, delete_records_request::DeleteRecordsRequestData, delete_records_response::DeleteRecordsResponseData;
    init_producer_id: InitProducerId, init_producer_id_request::InitProducerIdRequestData, init_producer_id_response::InitProducerIdResponseData;
    offset_for_leader_epoch: OffsetForLeaderEpoch, offset_for_leader_epoch_request::OffsetForLeaderEpochRequestData, offset_for_leader_epoch_response::OffsetForLeaderEpochResponseData;
    describe_configs: DescribeConfigs, describe_configs_request::DescribeConfigsRequestData, describe_configs_response::DescribeConfigsResponseData;
    alter_configs: AlterConfigs, alter_configs_request::AlterConfigsRequestData, alter_configs_response::AlterConfigsResponseData;
    describe_log_dirs: DescribeLogDirs, describe_log_dirs_request::DescribeLogDirsRequestData, describe_log_dirs_response::DescribeLogDirsResponseData;
    create_partitions: CreatePartitions, create_partitions_request::CreatePartitionsRequestData, create_partitions_response::CreatePartitionsResponseData;
    delete_groups: DeleteGroups, delete_groups_request::DeleteGroupsRequestData, delete_groups_response::DeleteGroupsResponseData;
    incremental_alter_configs: IncrementalAlterConfigs, incremental_alter_configs_request::IncrementalAlterConfigsRequestData, incremental_alter_configs_response::IncrementalAlterConfigsResponseData;
    offset_delete: OffsetDelete, offset_delete_request::OffsetDeleteRequestData, offset_delete_response::OffsetDeleteResponseData;
    describe_cluster: DescribeCluster, describe_cluster_request::DescribeClusterRequestData, describe_cluster_response::DescribeClusterResponseData;
    #[expect(ambiguous_glob_reexports, reason = "both ends have TopicPartitions: see HeartbeatTopicPartitions")]
    consumer_group_heartbeat: ConsumerGroupHeartbeat, consumer_group_heartbeat_request::ConsumerGroupHeartbeatRequestData, consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponseData;
    consumer_group_describe: ConsumerGroupDescribe, consumer_group_describe_request::ConsumerGroupDescribeRequestData, consumer_group_describe_response::ConsumerGroupDescribeResponseData;
    elect_leaders: ElectLeaders, elect_leaders_request::ElectLeadersRequestData, elect_leaders_response::ElectLeadersResponseData;
    alter_partition_reassignments: AlterPartitionReassignments, alter_partition_reassignments_request::AlterPartitionReassignmentsRequestData, alter_partition_reassignments_response::AlterPartitionReassignmentsResponseData;
    list_partition_reassignments: ListPartitionReassignments, list_partition_reassignments_request::ListPartitionReassignmentsRequestData, list_partition_reassignments_response::ListPartitionReassignmentsResponseData;
    update_features: UpdateFeatures, update_features_request::UpdateFeaturesRequestData, update_features_response::UpdateFeaturesResponseData;
    describe_producers: DescribeProducers, describe_producers_request::DescribeProducersRequestData, describe_producers_response::DescribeProducersResponseData;
    unregister_broker: UnregisterBroker, unregister_broker_request::UnregisterBrokerRequestData, unregister_broker_response::UnregisterBrokerResponseData;
    list_config_resources: ListConfigResources, list_config_resources_request::ListConfigResourcesRequestData, list_config_resources_response::ListConfigResourcesResponseData;
    describe_client_quotas: DescribeClientQuotas, describe_client_quotas_request::DescribeClientQuotasRequestData, describe_client_quotas_response::DescribeClientQuotasResponseData;
    #[expect(ambiguous_glob_reexports, reason = "both ends have EntryData and EntityData: see QuotaAlteration")]
    alter_client_quotas: AlterClientQuotas, alter_client_quotas_request::AlterClientQuotasRequestData, alter_client_quotas_response::AlterClientQuotasResponseData;
    describe_user_scram_credentials: DescribeUserScramCredentials, describe_user_scram_credentials_request::DescribeUserScramCredentialsRequestData, describe_user_scram_credentials_response::DescribeUserScramCredentialsResponseData;
    #[expect(ambiguous_glob_reexports, reason = "both ends have TopicData and PartitionData: see QuorumTopic")]
    describe_quorum: DescribeQuorum, describe_quorum_request::DescribeQuorumRequestData, describe_quorum_response::DescribeQuorumResponseData;
    #[expect(ambiguous_glob_reexports, reason = "both ends have a Cursor: see RequestCursor")]
    describe_topic_partitions: DescribeTopicPartitions, describe_topic_partitions_request::DescribeTopicPartitionsRequestData, describe_topic_partitions_response::DescribeTopicPartitionsResponseData;
}

/// Two structs called `Cursor` meet in DescribeTopicPartitions; these names tell them apart.
pub use kacrab_protocol::generated::describe_topic_partitions_request::Cursor as RequestCursor;
pub use kacrab_protocol::generated::describe_topic_partitions_response::Cursor as ResponseCursor;

/// The partitions a consumer group's member says it has.
pub use kacrab_protocol::generated::consumer_group_heartbeat_request::TopicPartitions as OwnedTopicPartitions;
/// The partitions of a heartbeat's answer; those of its request are another struct.
pub use kacrab_protocol::generated::consumer_group_heartbeat_response::TopicPartitions as HeartbeatTopicPartitions;

/// An entity and the changes of its quotas, as AlterClientQuotas asks for them.
pub use kacrab_protocol::generated::alter_client_quotas_request::EntityData as AlteredQuotaPart;
pub use kacrab_protocol::generated::alter_client_quotas_request::EntryData as QuotaAlteration;
/// An entity and what became of its changes, as AlterClientQuotas answers.
pub use kacrab_protocol::generated::alter_client_quotas_response::EntityData as AnsweredQuotaPart;
pub use kacrab_protocol::generated::alter_client_quotas_response::EntryData as QuotaAnswer;

/// A topic and its partitions as DescribeQuorum asks for them.
pub use kacrab_protocol::generated::describe_quorum_request::PartitionData as AskedQuorumPartition;
pub use kacrab_protocol::generated::describe_quorum_request::TopicData as AskedQuorumTopic;
/// A topic and its partitions as DescribeQuorum answers.
pub use kacrab_protocol::generated::describe_quorum_response::PartitionData as QuorumPartition;
pub use kacrab_protocol::generated::describe_quorum_response::TopicData as QuorumTopic;

/// Reads the body of a request at this version.
///
/// Strings and bytes of the result are slices of `body`.
///
/// # Errors
/// The version is not served, or the bytes are no such request.
pub fn decode_request<T: Request>(version: i16, body: Bytes) -> Result<T, CodecError> {
    decode_body(version, body)
}

/// Writes a whole response frame: size, header, body.
///
/// # Errors
/// The version is not served, or a field is set that this version does not have.
pub fn encode_response<T: Message>(
    version: i16,
    correlation_id: i32,
    response: &T,
) -> Result<Bytes, CodecError> {
    let api = row::<T>(version)?;
    let header_bytes = header::response_header_bytes(api, version);
    encode_frame(api, version, header_bytes, response, |frame| {
        frame.put_i32(correlation_id);
        if header_bytes > 4 {
            frame.put_u8(0);
        }
    })
}

/// Writes a whole request frame: size, header, body. For clients.
///
/// # Errors
/// As [`encode_response`].
pub fn encode_request<T: Request>(
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
    request: &T,
) -> Result<Bytes, CodecError> {
    let api = row::<T>(version)?;
    let mut head = Vec::with_capacity(64);
    header::put_request(&mut head, api, version, correlation_id, client_id);
    encode_frame(api, version, head.len(), request, |frame| {
        frame.put_slice(&head)
    })
}

/// Reads a response frame (without its size): the correlation id and the response. For clients.
///
/// # Errors
/// As [`decode_request`].
pub fn decode_response<T: Request>(
    version: i16,
    frame: Bytes,
) -> Result<(i32, T::Response), CodecError> {
    let api = row::<T::Response>(version)?;
    let (correlation_id, header_bytes) =
        header::read_response(api, version, &frame).map_err(|reason| CodecError::Header {
            api: api.key,
            version,
            reason,
        })?;
    let response = decode_body::<T::Response>(version, frame.slice(header_bytes..))?;
    Ok((correlation_id, response))
}

/// Reads any message of the table at this version.
///
/// # Errors
/// As [`decode_request`].
pub fn decode_body<T: Message>(version: i16, mut body: Bytes) -> Result<T, CodecError> {
    let api = row::<T>(version)?;
    <T as sealed::Coded>::read(&mut body, version).map_err(|reason| CodecError::Malformed {
        api: api.key,
        version,
        reason,
    })
}

/// Writes any message of the table at this version, without frame or header.
///
/// # Errors
/// As [`encode_response`].
pub fn encode_body<T: Message>(version: i16, message: &T) -> Result<Bytes, CodecError> {
    let api = row::<T>(version)?;
    let malformed = |reason| CodecError::Malformed {
        api: api.key,
        version,
        reason,
    };
    let mut body = BytesMut::with_capacity(message.encoded_len(version).map_err(malformed)?);
    message.write(&mut body, version).map_err(malformed)?;
    Ok(body.freeze())
}

fn row<T: Message>(version: i16) -> Result<&'static Api, CodecError> {
    let api = T::KEY.api();
    if api.serves(version) {
        Ok(api)
    } else {
        Err(CodecError::Version {
            api: T::KEY,
            version,
        })
    }
}

fn encode_frame<T: Message>(
    api: &Api,
    version: i16,
    header_bytes: usize,
    message: &T,
    put_header: impl FnOnce(&mut BytesMut),
) -> Result<Bytes, CodecError> {
    let malformed = |reason| CodecError::Malformed {
        api: api.key,
        version,
        reason,
    };
    let bytes = header_bytes + message.encoded_len(version).map_err(malformed)?;
    let Ok(size) = i32::try_from(bytes) else {
        return Err(CodecError::TooLarge {
            api: api.key,
            version,
            bytes,
        });
    };
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + bytes);
    frame.put_i32(size);
    put_header(&mut frame);
    message.write(&mut frame, version).map_err(malformed)?;
    debug_assert_eq!(
        frame.len(),
        PREFIX_BYTES + bytes,
        "the size is counted before it is written"
    );
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{Incoming, read_request};

    #[test]
    fn a_request_travels_from_client_to_broker_and_its_answer_back() {
        let request = metadata::Request {
            topics: Some(vec![metadata::MetadataRequestTopic {
                name: Some(text("orders")),
                ..Default::default()
            }]),
            ..Default::default()
        };
        for version in 1..=13 {
            let frame = encode_request(version, 4, Some("me"), &request).expect("encodes");
            let Ok(Incoming::Request { header, body }) = read_request(frame.slice(PREFIX_BYTES..))
            else {
                panic!("a request")
            };
            assert_eq!(header.version, version);
            let read: metadata::Request = decode_request(version, body).expect("decodes");
            assert_eq!(read, request);

            let response = metadata::Response {
                brokers: vec![metadata::MetadataResponseBroker {
                    node_id: 1,
                    host: text("localhost"),
                    port: 9092,
                    ..Default::default()
                }],
                ..Default::default()
            };
            let frame = encode_response(version, 4, &response).expect("encodes");
            let size = i32::from_be_bytes(*frame.first_chunk().expect("a size"));
            assert_eq!(size as usize, frame.len() - PREFIX_BYTES);
            let (correlation_id, read) =
                decode_response::<metadata::Request>(version, frame.slice(PREFIX_BYTES..))
                    .expect("decodes");
            assert_eq!(correlation_id, 4);
            assert_eq!(read.brokers, response.brokers);
        }
    }

    #[test]
    fn versions_are_capped_by_the_table_not_by_the_codec() {
        // The codec knows InitProducerId 6, which Kafka calls unstable.
        let request = init_producer_id::Request::default();
        assert!(encode_body(5, &request).is_ok());
        assert!(matches!(
            encode_body(6, &request),
            Err(CodecError::Version { version: 6, .. })
        ));
        assert!(matches!(
            decode_request::<init_producer_id::Request>(6, Bytes::new()),
            Err(CodecError::Version { version: 6, .. })
        ));
    }

    #[test]
    fn a_field_the_version_lacks_is_an_error_to_the_writer() {
        let response = list_offsets::Response {
            throttle_time_ms: 7,
            ..Default::default()
        };
        assert!(encode_body(1, &response).is_ok(), "ignorable: left out");
        let response = metadata::Response {
            cluster_authorized_operations: 3,
            ..Default::default()
        };
        assert!(matches!(
            encode_body(7, &response),
            Err(CodecError::Malformed { .. })
        ));
    }

    #[test]
    fn topic_ids_and_uuids_are_the_same_sixteen_bytes() {
        let id = TopicId(*b"0123456789abcdef");
        assert_eq!(TopicId::from(Uuid::from(id)), id);
        assert_eq!(Uuid::from(id).to_string(), id.to_string());
    }
}
