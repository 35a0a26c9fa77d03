//! Kafka's error codes: number, name, whether a retry can help, and a sentence for people.
//!
//! Names, numbers and the retriable mark are Kafka 4.3's, the mark as its Java client sees it
//! (an exception under `RetriableException`). The sentences are our own.

use std::fmt;

macro_rules! error_codes {
    ($($variant:ident = $code:literal, $name:literal, $retriable:ident, $message:literal;)*) => {
        /// Every error code of Kafka 4.3.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ErrorCode {
            $(#[doc = concat!($name, ": ", $message, ".")] $variant = $code,)*
        }

        impl ErrorCode {
            /// All codes, by number.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The code of this number, or `None` for a number Kafka 4.3 does not know.
            pub fn from_code(code: i16) -> Option<ErrorCode> {
                match code {
                    $($code => Some(ErrorCode::$variant),)*
                    _ => None,
                }
            }

            /// Kafka's own name, as it stands in its documentation: `OFFSET_OUT_OF_RANGE`.
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $name,)*
                }
            }

            /// Whether a client may send the same request again and hope.
            pub fn is_retriable(self) -> bool {
                match self {
                    $(ErrorCode::$variant => error_codes!(@$retriable),)*
                }
            }

            /// One clause for people, without a full stop.
            pub fn message(self) -> &'static str {
                match self {
                    $(ErrorCode::$variant => $message,)*
                }
            }
        }
    };
    (@retry) => { true };
    (@final) => { false };
}

error_codes! {
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR", final,
        "the broker failed in a way it did not foresee";
    None = 0, "NONE", final,
        "no error";
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE", final,
        "the offset lies outside the range this partition holds";
    CorruptMessage = 2, "CORRUPT_MESSAGE", retry,
        "the record data is damaged: checksum, size or structure does not hold";
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION", retry,
        "this broker does not know the topic or partition";
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE", final,
        "the fetch size is not valid";
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE", retry,
        "the partition has no leader at the moment";
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER", retry,
        "this broker is not the leader, or not a replica, of the partition";
    RequestTimedOut = 7, "REQUEST_TIMED_OUT", retry,
        "the request ran out of time";
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE", final,
        "the broker is not available";
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE", retry,
        "the replica is not available";
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE", final,
        "the batch is larger than the topic accepts";
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH", final,
        "the controller has moved to another node";
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE", final,
        "the metadata string of the committed offset is too long";
    NetworkException = 13, "NETWORK_EXCEPTION", retry,
        "the connection ended before the answer arrived";
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS", retry,
        "the coordinator is still loading its state";
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE", retry,
        "the coordinator is not available";
    NotCoordinator = 16, "NOT_COORDINATOR", retry,
        "this broker is not the coordinator asked for";
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION", final,
        "the topic name is not valid, or the operation is not allowed on this topic";
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE", final,
        "the batch is larger than a log segment";
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS", retry,
        "too few replicas are in sync to accept the write";
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", retry,
        "the write was appended, but too few replicas are in sync now";
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS", final,
        "acks must be -1, 0 or 1";
    IllegalGeneration = 22, "ILLEGAL_GENERATION", final,
        "the generation is not the group's current one";
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL", final,
        "the member's protocol type or protocols do not fit the group";
    InvalidGroupId = 24, "INVALID_GROUP_ID", final,
        "the group id is not valid";
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID", final,
        "the group does not know this member";
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT", final,
        "the session timeout lies outside the allowed range";
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS", final,
        "the group is rebalancing: join again";
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE", final,
        "the commit is too large";
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED", final,
        "not authorized for the topic";
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED", final,
        "not authorized for the group";
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED", final,
        "not authorized for the cluster";
    InvalidTimestamp = 32, "INVALID_TIMESTAMP", final,
        "the timestamp lies outside the accepted range";
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM", final,
        "the SASL mechanism is not offered here";
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE", final,
        "the request does not fit the state of the SASL exchange";
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION", final,
        "this version of the request is not served";
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS", final,
        "a topic of this name exists already";
    InvalidPartitions = 37, "INVALID_PARTITIONS", final,
        "the number of partitions is not valid";
    InvalidReplicationFactor = 38, "INVALID_REPLICATION_FACTOR", final,
        "the replication factor is below one or above the number of brokers";
    InvalidReplicaAssignment = 39, "INVALID_REPLICA_ASSIGNMENT", final,
        "the replica assignment is not valid";
    InvalidConfig = 40, "INVALID_CONFIG", final,
        "the configuration is not valid";
    NotController = 41, "NOT_CONTROLLER", retry,
        "this node is not the active controller";
    InvalidRequest = 42, "INVALID_REQUEST", final,
        "the request contradicts itself or cannot be read";
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", final,
        "the topic's message format cannot serve this request";
    PolicyViolation = 44, "POLICY_VIOLATION", final,
        "a policy forbids the request";
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER", final,
        "the producer's sequence number is not the next one";
    DuplicateSequenceNumber = 46, "DUPLICATE_SEQUENCE_NUMBER", final,
        "the producer's sequence number was seen before";
    InvalidProducerEpoch = 47, "INVALID_PRODUCER_EPOCH", final,
        "the producer's epoch is older than the known one";
    InvalidTxnState = 48, "INVALID_TXN_STATE", final,
        "the transaction is not in a state that allows this";
    InvalidProducerIdMapping = 49, "INVALID_PRODUCER_ID_MAPPING", final,
        "the producer id does not belong to this transactional id";
    InvalidTransactionTimeout = 50, "INVALID_TRANSACTION_TIMEOUT", final,
        "the transaction timeout is above the allowed maximum";
    ConcurrentTransactions = 51, "CONCURRENT_TRANSACTIONS", retry,
        "another operation on the same transaction is still running";
    TransactionCoordinatorFenced = 52, "TRANSACTION_COORDINATOR_FENCED", final,
        "a newer transaction coordinator has taken over";
    TransactionalIdAuthorizationFailed = 53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", final,
        "not authorized for the transactional id";
    SecurityDisabled = 54, "SECURITY_DISABLED", final,
        "security features are switched off";
    OperationNotAttempted = 55, "OPERATION_NOT_ATTEMPTED", final,
        "not attempted, because another part of the request failed";
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR", retry,
        "the broker's disk failed";
    LogDirNotFound = 57, "LOG_DIR_NOT_FOUND", final,
        "the log directory is not known here";
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED", final,
        "authentication failed";
    UnknownProducerId = 59, "UNKNOWN_PRODUCER_ID", final,
        "nothing is known of the producer id";
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS", final,
        "a reassignment of the partition is running";
    DelegationTokenAuthDisabled = 61, "DELEGATION_TOKEN_AUTH_DISABLED", final,
        "delegation tokens are switched off";
    DelegationTokenNotFound = 62, "DELEGATION_TOKEN_NOT_FOUND", final,
        "the delegation token is not known";
    DelegationTokenOwnerMismatch = 63, "DELEGATION_TOKEN_OWNER_MISMATCH", final,
        "the principal is neither owner nor renewer of the token";
    DelegationTokenRequestNotAllowed = 64, "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", final,
        "delegation tokens cannot be requested over this connection";
    DelegationTokenAuthorizationFailed = 65, "DELEGATION_TOKEN_AUTHORIZATION_FAILED", final,
        "not authorized for the delegation token";
    DelegationTokenExpired = 66, "DELEGATION_TOKEN_EXPIRED", final,
        "the delegation token has expired";
    InvalidPrincipalType = 67, "INVALID_PRINCIPAL_TYPE", final,
        "the type of principal is not supported";
    NonEmptyGroup = 68, "NON_EMPTY_GROUP", final,
        "the group still has members";
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND", final,
        "there is no group of this id";
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND", retry,
        "the fetch session is not known";
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH", retry,
        "the fetch session is at another epoch";
    ListenerNotFound = 72, "LISTENER_NOT_FOUND", retry,
        "the leader has no listener that matches the one asked";
    TopicDeletionDisabled = 73, "TOPIC_DELETION_DISABLED", final,
        "deleting topics is switched off";
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH", retry,
        "the leader epoch given is older than the current one";
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH", retry,
        "the leader epoch given is newer than any known here";
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE", final,
        "the request version does not allow this compression codec";
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH", final,
        "the broker epoch has changed";
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE", retry,
        "the new leader cannot answer for this offset yet";
    MemberIdRequired = 79, "MEMBER_ID_REQUIRED", final,
        "join again with the member id just assigned";
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE", retry,
        "the preferred leader is not available";
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED", final,
        "the group is full";
    FencedInstanceId = 82, "FENCED_INSTANCE_ID", final,
        "another member has taken over this instance id";
    EligibleLeadersNotAvailable = 83, "ELIGIBLE_LEADERS_NOT_AVAILABLE", retry,
        "no eligible leader is available";
    ElectionNotNeeded = 84, "ELECTION_NOT_NEEDED", retry,
        "no election is needed";
    NoReassignmentInProgress = 85, "NO_REASSIGNMENT_IN_PROGRESS", final,
        "no reassignment is running";
    GroupSubscribedToTopic = 86, "GROUP_SUBSCRIBED_TO_TOPIC", final,
        "the group is subscribed to the topic";
    InvalidRecord = 87, "INVALID_RECORD", final,
        "a record failed validation";
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT", retry,
        "offsets of an open transaction are pending";
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED", retry,
        "the quota is exhausted for now";
    ProducerFenced = 90, "PRODUCER_FENCED", final,
        "a newer producer uses the same transactional id";
    ResourceNotFound = 91, "RESOURCE_NOT_FOUND", final,
        "the resource does not exist";
    DuplicateResource = 92, "DUPLICATE_RESOURCE", final,
        "the resource is named twice";
    UnacceptableCredential = 93, "UNACCEPTABLE_CREDENTIAL", final,
        "the credential does not meet the rules";
    InconsistentVoterSet = 94, "INCONSISTENT_VOTER_SET", final,
        "sender or receiver is not one of the voters";
    InvalidUpdateVersion = 95, "INVALID_UPDATE_VERSION", final,
        "the feature version to update to is not valid";
    FeatureUpdateFailed = 96, "FEATURE_UPDATE_FAILED", final,
        "the features could not be updated";
    PrincipalDeserializationFailure = 97, "PRINCIPAL_DESERIALIZATION_FAILURE", final,
        "the forwarded principal cannot be read";
    SnapshotNotFound = 98, "SNAPSHOT_NOT_FOUND", final,
        "the snapshot is not known";
    PositionOutOfRange = 99, "POSITION_OUT_OF_RANGE", final,
        "the position lies outside the snapshot";
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID", retry,
        "this broker does not know the topic id";
    DuplicateBrokerRegistration = 101, "DUPLICATE_BROKER_REGISTRATION", final,
        "the broker id is in use";
    BrokerIdNotRegistered = 102, "BROKER_ID_NOT_REGISTERED", final,
        "the broker id is not registered";
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID", retry,
        "the partition's log belongs to another topic id";
    InconsistentClusterId = 104, "INCONSISTENT_CLUSTER_ID", final,
        "the request is meant for another cluster";
    TransactionalIdNotFound = 105, "TRANSACTIONAL_ID_NOT_FOUND", final,
        "the transactional id is not known";
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR", retry,
        "the fetch session mixes topic names and topic ids";
    IneligibleReplica = 107, "INELIGIBLE_REPLICA", final,
        "a replica of the new in-sync set is not eligible";
    NewLeaderElected = 108, "NEW_LEADER_ELECTED", final,
        "the partition changed, and so did its leader";
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE", final,
        "the offset has moved to tiered storage";
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH", final,
        "the member epoch is fenced: give up all partitions and join again";
    UnreleasedInstanceId = 111, "UNRELEASED_INSTANCE_ID", final,
        "another member still holds the instance id";
    UnsupportedAssignor = 112, "UNSUPPORTED_ASSIGNOR", final,
        "the assignor is not supported by the group";
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH", final,
        "the member epoch is stale: retry after the next heartbeat";
    MismatchedEndpointType = 114, "MISMATCHED_ENDPOINT_TYPE", final,
        "the endpoint is of another type than the request needs";
    UnsupportedEndpointType = 115, "UNSUPPORTED_ENDPOINT_TYPE", final,
        "the type of endpoint is not supported";
    UnknownControllerId = 116, "UNKNOWN_CONTROLLER_ID", final,
        "the controller id is not known";
    UnknownSubscriptionId = 117, "UNKNOWN_SUBSCRIPTION_ID", final,
        "the telemetry subscription id is not valid any more";
    TelemetryTooLarge = 118, "TELEMETRY_TOO_LARGE", final,
        "the pushed telemetry is too large";
    InvalidRegistration = 119, "INVALID_REGISTRATION", final,
        "the broker's registration is not acceptable";
    TransactionAbortable = 120, "TRANSACTION_ABORTABLE", final,
        "the transaction failed: abort it and go on";
    InvalidRecordState = 121, "INVALID_RECORD_STATE", final,
        "the record is not in a state that can be acknowledged";
    ShareSessionNotFound = 122, "SHARE_SESSION_NOT_FOUND", retry,
        "the share session is not known";
    InvalidShareSessionEpoch = 123, "INVALID_SHARE_SESSION_EPOCH", retry,
        "the share session is at another epoch";
    FencedStateEpoch = 124, "FENCED_STATE_EPOCH", final,
        "the share-group state is at another epoch";
    InvalidVoterKey = 125, "INVALID_VOTER_KEY", final,
        "the voter key is not the one of this replica";
    DuplicateVoter = 126, "DUPLICATE_VOTER", final,
        "the voter is in the set already";
    VoterNotFound = 127, "VOTER_NOT_FOUND", final,
        "the voter is not in the set";
    InvalidRegularExpression = 128, "INVALID_REGULAR_EXPRESSION", final,
        "the regular expression is not valid";
    RebootstrapRequired = 129, "REBOOTSTRAP_REQUIRED", final,
        "start again from the bootstrap servers: this is another cluster or node";
    StreamsInvalidTopology = 130, "STREAMS_INVALID_TOPOLOGY", final,
        "the streams topology is not valid";
    StreamsInvalidTopologyEpoch = 131, "STREAMS_INVALID_TOPOLOGY_EPOCH", final,
        "the streams topology epoch is not valid";
    StreamsTopologyFenced = 132, "STREAMS_TOPOLOGY_FENCED", final,
        "a newer streams topology has taken over";
    ShareSessionLimitReached = 133, "SHARE_SESSION_LIMIT_REACHED", retry,
        "the broker holds as many share sessions as it may";
}

impl ErrorCode {
    /// The number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Whether this is anything else than [`ErrorCode::None`].
    pub fn is_error(self) -> bool {
        self != ErrorCode::None
    }
}

impl From<ErrorCode> for i16 {
    fn from(error: ErrorCode) -> i16 {
        error.code()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_numbers_agree_both_ways() {
        for error in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_code(error.code()), Some(*error));
        }
        assert_eq!(ErrorCode::ALL.len(), 135, "-1 to 133 without a gap");
        assert_eq!(ErrorCode::from_code(134), None);
        assert_eq!(ErrorCode::from_code(-2), None);
    }

    #[test]
    fn names_are_kafkas_and_unique() {
        let mut names: Vec<_> = ErrorCode::ALL.iter().map(|e| e.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ErrorCode::ALL.len());
        assert_eq!(
            ErrorCode::FencedInstanceId.to_string(),
            "FENCED_INSTANCE_ID (82)"
        );
    }

    #[test]
    fn a_fenced_leader_epoch_is_retried_and_a_fenced_producer_is_not() {
        assert!(ErrorCode::FencedLeaderEpoch.is_retriable());
        assert!(!ErrorCode::ProducerFenced.is_retriable());
    }
}
