//! What may be asked of a shard, free of any wire version's layout.
//!
//! One request speaks of one group, except lists of groups in one shard. The host takes apart what
//! Kafka bundles: OffsetFetch v8+ with several groups, DescribeGroups and DeleteGroups over several
//! shards, ListGroups over all of them; it maps topic ids (OffsetCommit and OffsetFetch v10) to names,
//! and answers by itself for topics that do not exist or may not be seen.
//!
//! Rules that hang on the request's version are kept here and in `response.rs`, by [`Caller::version`]:
//! no other place of the system needs to know them.

use std::sync::Arc;

use bytes::Bytes;
use wire::ErrorCode;

use crate::consumer::member::Partitions;
use crate::response::{
    ConsumerHeartbeatResponse, DeletedOffsets, DescribedConsumerGroup, FetchedGroup,
    FetchedPartition, FetchedTopic, GroupResponse, JoinResponse, LeaveResponse, LeftMember,
    ListedGroups, PartitionResult, SyncResponse, commit_results,
};

/// Names one waiting answer; the host chooses it, the shard only hands it back, exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// Who asks, and in which version of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Version of the request.
    pub version: i16,
    /// Client id of the request header, empty if none.
    pub client_id: Arc<str>,
    /// The peer's address as Kafka prints it in group records: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// 128 random bits, fresh for each call: a new member id's UUID is made of them.
    pub chance: u128,
}

/// A request to one shard.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "each variant carries the request it is named after"
)]
pub enum GroupRequest {
    Join(JoinRequest),
    Sync(SyncRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveRequest),
    Commit(CommitRequest),
    TxnCommit(TxnCommitRequest),
    Fetch(FetchRequest),
    DeleteOffsets(DeleteOffsetsRequest),
    /// DescribeGroups: group ids of this shard.
    Describe(Vec<Arc<str>>),
    /// DeleteGroups: group ids of this shard.
    Delete(Vec<Arc<str>>),
    List(ListRequest),
    Seek(SeekRequest),
    ConsumerHeartbeat(ConsumerHeartbeatRequest),
    /// ConsumerGroupDescribe: group ids of this shard.
    ConsumerDescribe(Vec<Arc<str>>),
}

/// JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRequest {
    /// Group id.
    pub group: Arc<str>,
    /// Milliseconds.
    pub session_timeout_ms: i32,
    /// Milliseconds; in v0, where the field is absent, anything: the session timeout counts.
    pub rebalance_timeout_ms: i32,
    /// Empty for a new member.
    pub member_id: Arc<str>,
    /// Instance id of a static member.
    pub instance_id: Option<Arc<str>>,
    /// `consumer`, `connect`, …
    pub protocol_type: Arc<str>,
    /// Protocols (assignors), the preferred one first.
    pub protocols: Vec<Protocol>,
}

/// A protocol a member offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// Name of the assignor.
    pub name: Arc<str>,
    /// Its metadata: for consumers, the subscription.
    pub metadata: Bytes,
}

/// SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRequest {
    /// Group id.
    pub group: Arc<str>,
    /// Generation the join answered.
    pub generation: i32,
    /// Member id.
    pub member_id: Arc<str>,
    /// Instance id of a static member.
    pub instance_id: Option<Arc<str>>,
    /// v5+: protocol type, mandatory there.
    pub protocol_type: Option<Arc<str>>,
    /// v5+: protocol name, mandatory there.
    pub protocol_name: Option<Arc<str>>,
    /// From the leader: member id and assignment.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// Heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// Group id.
    pub group: Arc<str>,
    /// Generation.
    pub generation: i32,
    /// Member id.
    pub member_id: Arc<str>,
    /// Instance id of a static member.
    pub instance_id: Option<Arc<str>>,
}

/// LeaveGroup; v0–v2 name exactly one member, by its member id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveRequest {
    /// Group id.
    pub group: Arc<str>,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// A member of a [`LeaveRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// Member id; empty when an administrator names a static member.
    pub member_id: Arc<str>,
    /// Instance id of a static member.
    pub instance_id: Option<Arc<str>>,
}

/// OffsetCommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRequest {
    /// Group id; may be empty, as in Kafka.
    pub group: Arc<str>,
    /// Generation (member epoch), −1 outside group membership.
    pub generation: i32,
    /// Member id, empty outside group membership.
    pub member_id: Arc<str>,
    /// Instance id of a static member.
    pub instance_id: Option<Arc<str>>,
    /// v2–v4: how long to keep the offsets, milliseconds; −1 or absent for the broker's rule.
    pub retention_ms: i64,
    /// Topics known to exist.
    pub topics: Vec<CommitTopic>,
}

/// TxnOffsetCommit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnCommitRequest {
    /// Group id.
    pub group: Arc<str>,
    /// Producer id of the transaction.
    pub producer_id: i64,
    /// Producer epoch of the transaction.
    pub producer_epoch: i16,
    /// v3+: generation, else −1.
    pub generation: i32,
    /// v3+: member id, else empty.
    pub member_id: Arc<str>,
    /// v3+: instance id of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Topics known to exist.
    pub topics: Vec<CommitTopic>,
}

/// A topic of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitTopic {
    /// Topic name.
    pub name: Arc<str>,
    /// Its partitions.
    pub partitions: Vec<CommitPartition>,
}

/// A partition of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPartition {
    /// Partition number.
    pub partition: i32,
    /// The offset to read next.
    pub offset: i64,
    /// −1 if unknown.
    pub leader_epoch: i32,
    /// The client's note.
    pub metadata: Option<Arc<str>>,
}

/// A topic and partitions of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicPartitions {
    /// Topic name.
    pub name: Arc<str>,
    /// Partition numbers.
    pub partitions: Vec<i32>,
}

/// OffsetFetch for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// Group id; may be empty, as in Kafka.
    pub group: Arc<str>,
    /// v9+, consumer groups only: who asks; `None` if an administrator does.
    pub member_id: Option<Arc<str>>,
    /// v9+, consumer groups only: its epoch, else −1.
    pub member_epoch: i32,
    /// `None` for everything the group has committed (v2+).
    pub topics: Option<Vec<TopicPartitions>>,
    /// v7+: refuse offsets with a transaction pending instead of answering the older ones.
    pub require_stable: bool,
}

/// OffsetDelete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteOffsetsRequest {
    /// Group id.
    pub group: Arc<str>,
    /// Topics known to exist.
    pub topics: Vec<TopicPartitions>,
}

/// ListGroups; empty filters let everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListRequest {
    /// v4+: names of states, in any case.
    pub states: Vec<Arc<str>>,
    /// v5+: names of types, in any case.
    pub types: Vec<Arc<str>>,
}

/// Not in Kafka: move a group, active or not, to other offsets. All members are expelled and the
/// generation rises in the same batch, so no member can commit its old position over the new one;
/// they join again and start from the new offsets. (Design, experience 4.4.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeekRequest {
    /// Group id.
    pub group: Arc<str>,
    /// Where to go.
    pub topics: Vec<CommitTopic>,
}

/// ConsumerGroupHeartbeat. `None` means unchanged since the last one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeatRequest {
    /// Group id.
    pub group: Arc<str>,
    /// The id the member made for itself; empty only in v0, to be given one.
    pub member_id: Arc<str>,
    /// 0 joins, −1 leaves, −2 leaves and comes back.
    pub member_epoch: i32,
    /// Instance id of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Where it stands.
    pub rack_id: Option<Arc<str>>,
    /// Milliseconds; −1 for unchanged.
    pub rebalance_timeout_ms: i32,
    /// Topics it names.
    pub topics: Option<Vec<Arc<str>>>,
    /// v1+: pattern of further topics; empty for none.
    pub pattern: Option<Arc<str>>,
    /// The assignor it asks for.
    pub assignor: Option<Arc<str>>,
    /// The partitions it has.
    pub owned: Option<Partitions>,
}

impl GroupRequest {
    /// The answer that refuses this request as a whole, in the shape its version needs.
    ///
    /// For the shard's own use, and for a host that has no shard to ask: NOT_COORDINATOR,
    /// COORDINATOR_NOT_AVAILABLE, an authorization error. // rule G9
    pub fn refused(&self, version: i16, error: ErrorCode) -> GroupResponse {
        let response = match self {
            GroupRequest::Join(join) => {
                GroupResponse::Join(JoinResponse::refused(error, join.member_id.clone()))
            }
            GroupRequest::Sync(_) => GroupResponse::Sync(SyncResponse::refused(error)),
            // A loading shard cannot know better than the client's own belief that it is a member.
            GroupRequest::Heartbeat(_) if error == ErrorCode::CoordinatorLoadInProgress => {
                GroupResponse::Heartbeat(ErrorCode::None)
            }
            GroupRequest::Heartbeat(_) => GroupResponse::Heartbeat(error),
            GroupRequest::Leave(leave) => GroupResponse::Leave(match error {
                // A group that does not exist has none of these members.
                ErrorCode::UnknownMemberId => LeaveResponse {
                    error: ErrorCode::None,
                    members: leave
                        .members
                        .iter()
                        .map(|m| LeftMember::of(m, error))
                        .collect(),
                },
                _ => LeaveResponse {
                    error,
                    members: Vec::new(),
                },
            }),
            GroupRequest::Commit(commit) => {
                GroupResponse::Commit(commit_results(&commit.topics, error))
            }
            GroupRequest::TxnCommit(commit) => {
                GroupResponse::TxnCommit(commit_results(&commit.topics, error))
            }
            GroupRequest::Fetch(fetch) => GroupResponse::Fetch(FetchedGroup {
                group: fetch.group.clone(),
                error,
                topics: nothing_fetched(fetch.topics.as_deref().unwrap_or(&[])),
            }),
            GroupRequest::DeleteOffsets(_) => GroupResponse::DeleteOffsets(DeletedOffsets {
                error,
                topics: Vec::new(),
            }),
            GroupRequest::Describe(groups) => GroupResponse::Describe(
                groups
                    .iter()
                    .map(|group| crate::admin::undescribed(group, error, None))
                    .collect(),
            ),
            GroupRequest::Delete(groups) => {
                GroupResponse::Delete(groups.iter().map(|group| (group.clone(), error)).collect())
            }
            GroupRequest::List(_) => GroupResponse::List(ListedGroups {
                error,
                groups: Vec::new(),
            }),
            GroupRequest::Seek(seek) => GroupResponse::Seek(commit_results(&seek.topics, error)),
            GroupRequest::ConsumerHeartbeat(_) => {
                GroupResponse::ConsumerHeartbeat(ConsumerHeartbeatResponse::refused(error, None))
            }
            GroupRequest::ConsumerDescribe(groups) => GroupResponse::ConsumerDescribe(
                groups
                    .iter()
                    .map(|group| DescribedConsumerGroup::refused(group, error, None))
                    .collect(),
            ),
        };
        response.shaped(version)
    }
}

/// The asked partitions, each without an offset.
pub(crate) fn nothing_fetched(topics: &[TopicPartitions]) -> Vec<FetchedTopic> {
    topics
        .iter()
        .map(|topic| FetchedTopic {
            name: topic.name.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|p| FetchedPartition::none(*p))
                .collect(),
        })
        .collect()
}

impl LeftMember {
    pub(crate) fn of(member: &LeavingMember, error: ErrorCode) -> LeftMember {
        LeftMember {
            member_id: member.member_id.clone(),
            instance_id: member.instance_id.clone(),
            error,
        }
    }
}

impl TopicPartitions {
    /// The same error for each partition.
    pub(crate) fn all(&self, error: ErrorCode) -> crate::response::CommittedTopic {
        crate::response::CommittedTopic {
            name: self.name.clone(),
            partitions: self
                .partitions
                .iter()
                .map(|partition| PartitionResult {
                    partition: *partition,
                    error,
                })
                .collect(),
        }
    }
}
