//! ConsumerGroupDescribe, and who may commit and fetch offsets: a consumer group from outside.

use std::sync::Arc;

use wire::ErrorCode;
use wire::ids::TopicId;

use crate::cluster::Cluster;
use crate::consumer::ConsumerGroup;
use crate::consumer::assignor::Assignor;
use crate::consumer::member::{ConsumerMember, Partitions, without_epochs};
use crate::group::Group;
use crate::response::{DescribedConsumer, DescribedConsumerGroup, DescribedTopic};

/// From this version of OffsetCommit on, a member epoch can be given.
const COMMIT_MEMBER_EPOCH: i16 = 9;

pub(crate) fn describe(
    id: &Arc<str>,
    group: Option<&Group>,
    cluster: &dyn Cluster,
    default: Assignor,
) -> DescribedConsumerGroup {
    let unknown = |words: String| {
        let words = Some(Arc::from(words));
        DescribedConsumerGroup::refused(id, ErrorCode::GroupIdNotFound, words)
    };
    if id.is_empty() {
        return DescribedConsumerGroup::refused(id, ErrorCode::InvalidGroupId, None);
    }
    let Some(group) = group else {
        return unknown(format!("Group {id} not found."));
    };
    let Some(group) = &group.consumer else {
        return unknown(format!("Group {id} is not a consumer group."));
    };
    DescribedConsumerGroup {
        group: id.clone(),
        error: ErrorCode::None,
        message: None,
        state: group.state_name(),
        epoch: group.epoch,
        target_epoch: group.target_epoch,
        assignor: group.assignor_name(default),
        members: group
            .members
            .values()
            .map(|member| describe_member(group, member, cluster))
            .collect(),
    }
}

fn describe_member(
    group: &ConsumerGroup,
    member: &ConsumerMember,
    cluster: &dyn Cluster,
) -> DescribedConsumer {
    let mut has = without_epochs(&member.assigned);
    for (topic, partitions) in without_epochs(&member.revoking) {
        has.entry(topic).or_default().extend(partitions);
    }
    let nothing = Partitions::new();
    DescribedConsumer {
        member_id: member.id.clone(),
        instance_id: member.instance.clone(),
        rack_id: member.rack.clone(),
        epoch: member.epoch,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: member.topics.iter().cloned().collect(),
        pattern: member.pattern.clone(),
        assignment: describe_topics(&has, cluster),
        target: describe_topics(group.target.get(&member.id).unwrap_or(&nothing), cluster),
        is_classic: member.is_classic(),
    }
}

fn describe_topics(partitions: &Partitions, cluster: &dyn Cluster) -> Vec<DescribedTopic> {
    partitions
        .iter()
        .filter_map(|(id, numbers)| {
            let facts = cluster.topic_by_id(*id)?;
            Some(DescribedTopic {
                id: *id,
                name: facts.name,
                partitions: numbers.iter().copied().collect(),
            })
        })
        .collect()
}

/// Who commits, in which epoch.
pub(crate) struct Committer<'a> {
    pub(crate) member: &'a str,
    pub(crate) instance: Option<&'a str>,
    pub(crate) epoch: i32,
    /// Set for a transaction's commit, whose version says nothing about members.
    pub(crate) transactional: bool,
    pub(crate) version: i16,
}

/// A commit that may go on.
pub(crate) enum Admitted<'a> {
    /// For all partitions.
    Whole,
    /// For those the member was given at its epoch or before. // rule N6
    Since(&'a ConsumerMember, i32),
}

impl ConsumerGroup {
    /// Who may commit. // rule N6
    pub(crate) fn check_commit(&self, from: &Committer) -> Result<Admitted<'_>, ErrorCode> {
        // An administrator, or a consumer that manages its partitions alone.
        if from.epoch < 0 && self.members.is_empty() {
            return Ok(Admitted::Whole);
        }
        // A producer that names no member.
        if from.transactional
            && from.epoch == -1
            && from.member.is_empty()
            && from.instance.is_none()
        {
            return Ok(Admitted::Whole);
        }
        let member = self
            .members
            .get(from.member)
            .ok_or(ErrorCode::UnknownMemberId)?;
        if !from.transactional && !member.is_classic() && from.version < COMMIT_MEMBER_EPOCH {
            return Err(ErrorCode::UnsupportedVersion);
        }
        match from.epoch.cmp(&member.epoch) {
            std::cmp::Ordering::Equal => Ok(Admitted::Whole),
            std::cmp::Ordering::Greater => Err(stale(member, from.transactional)),
            std::cmp::Ordering::Less => Ok(Admitted::Since(member, from.epoch)),
        }
    }

    /// Who may read offsets.
    pub(crate) fn check_fetch(&self, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        let member = match member {
            None if epoch < 0 => return Ok(()),
            None => return Err(ErrorCode::UnknownMemberId),
            Some(id) => self.members.get(id).ok_or(ErrorCode::UnknownMemberId)?,
        };
        if member.epoch == epoch {
            Ok(())
        } else {
            Err(stale(member, false))
        }
    }
}

impl Admitted<'_> {
    /// Whether this partition may be committed. A topic that is gone has no id, and is nobody's.
    pub(crate) fn check(
        &self,
        topic: Option<TopicId>,
        partition: i32,
        transactional: bool,
    ) -> Result<(), ErrorCode> {
        match self {
            Admitted::Whole => Ok(()),
            Admitted::Since(member, epoch) => {
                let given = topic.and_then(|topic| member.given_at(topic, partition));
                match given {
                    Some(given) if given <= *epoch => Ok(()),
                    _ => Err(stale(member, transactional)),
                }
            }
        }
    }
}

/// What an epoch that does not fit is called, by the protocol the client speaks.
fn stale(member: &ConsumerMember, transactional: bool) -> ErrorCode {
    if member.is_classic() || transactional {
        ErrorCode::IllegalGeneration
    } else {
        ErrorCode::StaleMemberEpoch
    }
}
