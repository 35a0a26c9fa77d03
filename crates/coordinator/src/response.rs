//! What a shard answers, free of any wire layout; a host copies the fields into the message.
//!
//! [`GroupResponse::shaped`] is the one place where an answer's form depends on the request's version.

use std::sync::Arc;

use bytes::Bytes;
use wire::ErrorCode;
use wire::ids::TopicId;

use crate::request::CommitTopic;

/// An answer of one shard, by the request's kind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant answers the request it is named after"
)]
pub enum GroupResponse {
    Join(JoinResponse),
    Sync(SyncResponse),
    Heartbeat(ErrorCode),
    Leave(LeaveResponse),
    Commit(Vec<CommittedTopic>),
    TxnCommit(Vec<CommittedTopic>),
    Fetch(FetchedGroup),
    DeleteOffsets(DeletedOffsets),
    Describe(Vec<DescribedGroup>),
    /// Group id and result.
    Delete(Vec<(Arc<str>, ErrorCode)>),
    List(ListedGroups),
    Seek(Vec<CommittedTopic>),
    ConsumerHeartbeat(ConsumerHeartbeatResponse),
    ConsumerDescribe(Vec<DescribedConsumerGroup>),
}

/// Answer to JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinResponse {
    /// Result.
    pub error: ErrorCode,
    /// Generation, −1 with an error.
    pub generation: i32,
    /// v7+.
    pub protocol_type: Option<Arc<str>>,
    /// Null only in v7+.
    pub protocol_name: Option<Arc<str>>,
    /// Member id of the leader.
    pub leader: Arc<str>,
    /// v9+: the leader need not compute an assignment (KIP-814).
    pub skip_assignment: bool,
    /// The member's own id.
    pub member_id: Arc<str>,
    /// For the leader: all members.
    pub members: Vec<JoinedMember>,
}

/// A member, as the leader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Member id.
    pub member_id: Arc<str>,
    /// Instance id of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Metadata for the chosen protocol.
    pub metadata: Bytes,
}

/// Answer to SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncResponse {
    /// Result.
    pub error: ErrorCode,
    /// v5+.
    pub protocol_type: Option<Arc<str>>,
    /// v5+.
    pub protocol_name: Option<Arc<str>>,
    /// The member's assignment.
    pub assignment: Bytes,
}

/// Answer to LeaveGroup; v0–v2 have only `error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveResponse {
    /// Result as a whole.
    pub error: ErrorCode,
    /// Result for each member.
    pub members: Vec<LeftMember>,
}

/// A member of a [`LeaveResponse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftMember {
    /// As asked.
    pub member_id: Arc<str>,
    /// As asked.
    pub instance_id: Option<Arc<str>>,
    /// Result.
    pub error: ErrorCode,
}

/// Results for the partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedTopic {
    /// Topic name.
    pub name: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<PartitionResult>,
}

/// Result for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionResult {
    /// Partition number.
    pub partition: i32,
    /// Result.
    pub error: ErrorCode,
}

/// Answer to OffsetFetch, for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedGroup {
    /// Group id.
    pub group: Arc<str>,
    /// Result as a whole; v0–v1 carry it in each partition instead.
    pub error: ErrorCode,
    /// The offsets.
    pub topics: Vec<FetchedTopic>,
}

/// A topic of a [`FetchedGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// Topic name.
    pub name: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<FetchedPartition>,
}

/// A partition of a [`FetchedGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedPartition {
    /// Partition number.
    pub partition: i32,
    /// −1 if nothing is committed.
    pub offset: i64,
    /// −1 if unknown.
    pub leader_epoch: i32,
    /// As committed; empty if nothing is committed.
    pub metadata: Arc<str>,
    /// Result.
    pub error: ErrorCode,
}

/// Answer to OffsetDelete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedOffsets {
    /// Result as a whole.
    pub error: ErrorCode,
    /// Result for each partition.
    pub topics: Vec<CommittedTopic>,
}

/// A group as DescribeGroups shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// Group id.
    pub group: Arc<str>,
    /// Result.
    pub error: ErrorCode,
    /// v6+: words for the error.
    pub error_message: Option<Arc<str>>,
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable` or `Dead`.
    pub state: &'static str,
    /// Empty for a group that never had members.
    pub protocol_type: Arc<str>,
    /// The assignor, while Stable.
    pub protocol: Arc<str>,
    /// The members.
    pub members: Vec<DescribedMember>,
}

/// A member of a [`DescribedGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Member id.
    pub member_id: Arc<str>,
    /// v4+: instance id of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Client id.
    pub client_id: Arc<str>,
    /// Address: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// Join metadata for the assignor, while Stable.
    pub metadata: Bytes,
    /// The assignment.
    pub assignment: Bytes,
}

/// Answer to ListGroups, for one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroups {
    /// Result.
    pub error: ErrorCode,
    /// The groups.
    pub groups: Vec<ListedGroup>,
}

/// A group of a [`ListedGroups`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Group id.
    pub group: Arc<str>,
    /// Empty for a group that never had members.
    pub protocol_type: Arc<str>,
    /// v4+: name of the state.
    pub state: &'static str,
    /// v5+: name of the type, `classic` or `consumer`.
    pub group_type: &'static str,
}

/// Answer to ConsumerGroupHeartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeatResponse {
    /// Result.
    pub error: ErrorCode,
    /// Words for the error.
    pub message: Option<Arc<str>>,
    /// The member's id; `None` with an error.
    pub member_id: Option<Arc<str>>,
    /// Its epoch.
    pub member_epoch: i32,
    /// When to report next, milliseconds.
    pub heartbeat_interval_ms: i32,
    /// What it has from now on; `None` if that has not changed.
    pub assignment: Option<Vec<(TopicId, Vec<i32>)>>,
}

/// A group as ConsumerGroupDescribe shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    /// Group id.
    pub group: Arc<str>,
    /// Result.
    pub error: ErrorCode,
    /// Words for the error.
    pub message: Option<Arc<str>>,
    /// `Empty`, `Assigning`, `Reconciling` or `Stable`.
    pub state: &'static str,
    /// The group's epoch.
    pub epoch: i32,
    /// The epoch of its target.
    pub target_epoch: i32,
    /// The assignor.
    pub assignor: &'static str,
    /// The members.
    pub members: Vec<DescribedConsumer>,
}

/// A member of a [`DescribedConsumerGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumer {
    /// Member id.
    pub member_id: Arc<str>,
    /// Instance id of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Where it stands.
    pub rack_id: Option<Arc<str>>,
    /// Its epoch.
    pub epoch: i32,
    /// Client id.
    pub client_id: Arc<str>,
    /// Address: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// Topics it names.
    pub topics: Vec<Arc<str>>,
    /// Its pattern; empty for none.
    pub pattern: Arc<str>,
    /// What it has, or must still give up; topics that exist.
    pub assignment: Vec<DescribedTopic>,
    /// What it shall have; topics that exist.
    pub target: Vec<DescribedTopic>,
    /// v1+: whether it speaks the classic protocol.
    pub is_classic: bool,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTopic {
    /// Topic id.
    pub id: TopicId,
    /// Topic name.
    pub name: Arc<str>,
    /// Partition numbers.
    pub partitions: Vec<i32>,
}

/// What a failed append of group records means to a client, as Kafka maps it.
pub fn append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError => ErrorCode::NotCoordinator,
        ErrorCode::MessageTooLarge
        | ErrorCode::RecordListTooLarge
        | ErrorCode::InvalidFetchSize => ErrorCode::UnknownServerError,
        other => other,
    }
}

impl GroupResponse {
    /// This answer turned into a failure, because the records it rests on did not become durable.
    /// The outcome is unknown to the client, so `error` should be one that makes it look again:
    /// COORDINATOR_NOT_AVAILABLE or NOT_COORDINATOR.
    #[must_use]
    pub fn failed(self, error: ErrorCode) -> GroupResponse {
        match self {
            GroupResponse::Join(join) => {
                GroupResponse::Join(JoinResponse::refused(error, join.member_id))
            }
            GroupResponse::Sync(_) => GroupResponse::Sync(SyncResponse::refused(error)),
            GroupResponse::Heartbeat(_) => GroupResponse::Heartbeat(error),
            GroupResponse::Leave(_) => GroupResponse::Leave(LeaveResponse {
                error,
                members: Vec::new(),
            }),
            GroupResponse::Commit(topics) => GroupResponse::Commit(overwrite(topics, error)),
            GroupResponse::TxnCommit(topics) => GroupResponse::TxnCommit(overwrite(topics, error)),
            GroupResponse::Fetch(mut fetched) => {
                // Consumers before 3.9 do not expect COORDINATOR_NOT_AVAILABLE from OffsetFetch.
                fetched.error = match error {
                    ErrorCode::CoordinatorNotAvailable => ErrorCode::NotCoordinator,
                    other => other,
                };
                for partition in fetched.topics.iter_mut().flat_map(|t| &mut t.partitions) {
                    *partition = FetchedPartition {
                        error: fetched.error,
                        ..FetchedPartition::none(partition.partition)
                    };
                }
                GroupResponse::Fetch(fetched)
            }
            GroupResponse::DeleteOffsets(_) => GroupResponse::DeleteOffsets(DeletedOffsets {
                error,
                topics: Vec::new(),
            }),
            GroupResponse::Describe(groups) => GroupResponse::Describe(
                groups
                    .into_iter()
                    .map(|group| crate::admin::undescribed(&group.group, error, None))
                    .collect(),
            ),
            GroupResponse::Delete(groups) => GroupResponse::Delete(
                groups
                    .into_iter()
                    .map(|(group, _)| (group, error))
                    .collect(),
            ),
            GroupResponse::List(_) => GroupResponse::List(ListedGroups {
                error,
                groups: Vec::new(),
            }),
            GroupResponse::Seek(topics) => GroupResponse::Seek(overwrite(topics, error)),
            GroupResponse::ConsumerHeartbeat(_) => {
                GroupResponse::ConsumerHeartbeat(ConsumerHeartbeatResponse::refused(error, None))
            }
            GroupResponse::ConsumerDescribe(groups) => GroupResponse::ConsumerDescribe(
                groups
                    .into_iter()
                    .map(|group| DescribedConsumerGroup::refused(&group.group, error, None))
                    .collect(),
            ),
        }
    }

    /// This answer in the form its request's version can carry.
    pub(crate) fn shaped(mut self, version: i16) -> GroupResponse {
        match &mut self {
            // The name became nullable with v7.
            GroupResponse::Join(join) if version < 7 && join.protocol_name.is_none() => {
                join.protocol_name = Some(Arc::from(""));
            }
            // Before v3 there was one member and one error.
            GroupResponse::Leave(leave) if version < 3 => {
                if leave.error == ErrorCode::None {
                    leave.error = leave
                        .members
                        .first()
                        .map_or(ErrorCode::None, |member| member.error);
                }
                leave.members.clear();
            }
            GroupResponse::Fetch(fetched) if fetched.error != ErrorCode::None => {
                if version < 2 {
                    for partition in fetched.topics.iter_mut().flat_map(|t| &mut t.partitions) {
                        partition.error = fetched.error;
                    }
                } else {
                    fetched.topics.clear();
                }
            }
            // Producers of those versions do not know the loading error. // rule T15
            GroupResponse::TxnCommit(topics) if version < 2 => {
                for partition in topics.iter_mut().flat_map(|t| &mut t.partitions) {
                    if partition.error == ErrorCode::CoordinatorLoadInProgress {
                        partition.error = ErrorCode::CoordinatorNotAvailable;
                    }
                }
            }
            // v6 reports an unknown group as an error; before, as a dead group. (KIP-1043)
            GroupResponse::Describe(groups) if version < 6 => {
                for group in groups {
                    group.error_message = None;
                    if group.error == ErrorCode::GroupIdNotFound {
                        group.error = ErrorCode::None;
                    }
                }
            }
            _ => {}
        }
        self
    }
}

impl JoinResponse {
    pub(crate) fn refused(error: ErrorCode, member_id: Arc<str>) -> JoinResponse {
        JoinResponse {
            error,
            generation: -1,
            protocol_type: None,
            protocol_name: None,
            leader: Arc::from(""),
            skip_assignment: false,
            member_id,
            members: Vec::new(),
        }
    }
}

impl ConsumerHeartbeatResponse {
    pub(crate) fn refused(error: ErrorCode, message: Option<Arc<str>>) -> Self {
        ConsumerHeartbeatResponse {
            error,
            message,
            member_id: None,
            member_epoch: 0,
            heartbeat_interval_ms: 0,
            assignment: None,
        }
    }
}

impl DescribedConsumerGroup {
    pub(crate) fn refused(group: &Arc<str>, error: ErrorCode, message: Option<Arc<str>>) -> Self {
        DescribedConsumerGroup {
            group: group.clone(),
            error,
            message,
            state: "",
            epoch: 0,
            target_epoch: 0,
            assignor: "",
            members: Vec::new(),
        }
    }
}

impl SyncResponse {
    pub(crate) fn refused(error: ErrorCode) -> SyncResponse {
        SyncResponse {
            error,
            protocol_type: None,
            protocol_name: None,
            assignment: Bytes::new(),
        }
    }
}

impl FetchedPartition {
    pub(crate) fn none(partition: i32) -> FetchedPartition {
        FetchedPartition {
            partition,
            offset: -1,
            leader_epoch: -1,
            metadata: Arc::from(""),
            error: ErrorCode::None,
        }
    }
}

/// The same result for every partition of a commit.
pub(crate) fn commit_results(topics: &[CommitTopic], error: ErrorCode) -> Vec<CommittedTopic> {
    topics
        .iter()
        .map(|topic| CommittedTopic {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|p| PartitionResult {
                    partition: p.partition,
                    error,
                })
                .collect(),
        })
        .collect()
}

fn overwrite(mut topics: Vec<CommittedTopic>, error: ErrorCode) -> Vec<CommittedTopic> {
    for partition in topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        partition.error = error;
    }
    topics
}
