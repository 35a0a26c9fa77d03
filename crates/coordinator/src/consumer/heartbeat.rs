//! ConsumerGroupHeartbeat: join, report, leave. // rules N1 to N5

use std::sync::Arc;

use wire::ErrorCode;
use wire::ids::TopicId;

use crate::consumer::ConsumerGroup;
use crate::consumer::assignor::Assignor;
use crate::consumer::member::{
    ConsumerMember, EPOCH_JOIN, EPOCH_LEAVE, EPOCH_LEAVE_STATIC, MemberState, Partitions,
};
use crate::consumer::patterns::PatternChange;
use crate::consumer::reconcile::Reconciliation;
use crate::consumer::record::{
    ConsumerKey, current_record, epoch_record, member_record, target_record,
};
use crate::consumer::target::TargetSettings;
use crate::rebalance::Stage;
use crate::record::Record;
use crate::request::{Caller, ConsumerHeartbeatRequest};
use crate::response::ConsumerHeartbeatResponse;
use crate::settings::Settings;
use crate::time::Alarm;

/// From this version on, a member brings the id it has made for itself. (KIP-1082)
const MEMBER_ID_REQUIRED: i16 = 1;

/// Why a request is refused, with words for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, message: impl Into<String>) -> Refusal {
        Refusal {
            error,
            message: message.into(),
        }
    }
}

/// What a request wants that comes from members of either protocol.
pub(crate) struct Arrival<'a> {
    pub(crate) member_id: &'a Arc<str>,
    pub(crate) epoch: i32,
    pub(crate) instance: Option<&'a Arc<str>>,
    pub(crate) reported: Option<&'a Partitions>,
    /// Whether a member that is not known may come in.
    pub(crate) may_join: bool,
    pub(crate) classic: bool,
}

/// A member as it will be, and what that means for the group.
pub(crate) struct Change {
    pub(crate) member: ConsumerMember,
    /// The group's epoch after the change.
    pub(crate) epoch: i32,
    /// Whether the member has changed what it reads.
    pub(crate) subscription: bool,
}

/// Refusals that need no group. // rule N1
pub(crate) fn check(
    settings: &Settings,
    version: i16,
    request: &ConsumerHeartbeatRequest,
) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
    let blank = |text: &str| text.trim().is_empty();
    let epoch = request.member_epoch;
    let named = version >= MEMBER_ID_REQUIRED || epoch > EPOCH_JOIN || epoch == EPOCH_LEAVE;
    if named && blank(&request.member_id) {
        return invalid("MemberId can't be empty.");
    }
    if blank(&request.group) {
        return invalid("GroupId can't be empty.");
    }
    if request.instance_id.as_deref().is_some_and(blank) {
        return invalid("InstanceId can't be empty.");
    }
    if request.rack_id.as_deref().is_some_and(blank) {
        return invalid("RackId can't be empty.");
    }
    if epoch == EPOCH_JOIN {
        if request.rebalance_timeout_ms == -1 {
            return invalid("RebalanceTimeoutMs must be provided in first request.");
        }
        if request.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
            return invalid("TopicPartitions must be empty when (re-)joining.");
        }
        if request.topics.is_none() && request.pattern.is_none() {
            return invalid(
                "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when \
                 (re-)joining.",
            );
        }
    } else if epoch == EPOCH_LEAVE_STATIC {
        if request.instance_id.is_none() {
            return invalid("InstanceId can't be null.");
        }
    } else if epoch < EPOCH_LEAVE_STATIC {
        return invalid("MemberEpoch is invalid.");
    }
    match &request.assignor {
        Some(name) if !settings.consumer.supports(name) => {
            let known: Vec<&str> = settings
                .consumer
                .assignors
                .iter()
                .map(|assignor| assignor.name())
                .collect();
            Err(Refusal::new(
                ErrorCode::UnsupportedAssignor,
                format!(
                    "ServerAssignor {name} is not supported. Supported assignors: {}.",
                    known.join(", ")
                ),
            ))
        }
        _ => Ok(()),
    }
}

impl ConsumerGroup {
    /// A heartbeat of a member that stays or joins, already checked. `seen_topics` is the version of
    /// the topics the group was last compared with. Records are only pushed if it is not refused.
    pub(crate) fn heartbeat(
        &self,
        stage: &mut Stage,
        caller: &Caller,
        request: &ConsumerHeartbeatRequest,
        seen_topics: &mut Option<u64>,
        records: &mut Vec<Record>,
    ) -> Result<ConsumerHeartbeatResponse, Refusal> {
        let joins = request.member_epoch == EPOCH_JOIN;
        self.check_room(stage, &request.member_id)?;
        let member_id = match &*request.member_id {
            // As Kafka makes ids: a random UUID in base64.
            "" => Arc::from(TopicId(caller.chance.to_be_bytes()).to_string()),
            _ => request.member_id.clone(),
        };
        let reported = request.owned.as_ref();
        let member = self.arriving(
            &Arrival {
                member_id: &member_id,
                epoch: request.member_epoch,
                instance: request.instance_id.as_ref(),
                reported,
                may_join: joins,
                classic: false,
            },
            records,
        )?;

        let mut updated = member.clone();
        if let Some(instance) = &request.instance_id {
            updated.instance = Some(instance.clone());
        }
        if let Some(rack) = &request.rack_id {
            updated.rack = Some(rack.clone());
        }
        if request.rebalance_timeout_ms != -1 {
            updated.rebalance_timeout_ms = request.rebalance_timeout_ms;
        }
        if let Some(assignor) = &request.assignor {
            updated.assignor = Some(assignor.clone());
        }
        if let Some(topics) = &request.topics {
            updated.topics = topics.iter().cloned().collect();
        }
        if let Some(pattern) = &request.pattern {
            updated.pattern = pattern.clone();
        }
        updated.client_id = caller.client_id.clone();
        updated.client_host = caller.client_host.clone();
        updated.classic = None;

        let change = self.take_up(stage, &member, updated, seen_topics, false, records)?;
        let target = self.target_for(
            stage.cluster,
            stage.now,
            &self.target_settings(stage),
            change.epoch,
            &change.member,
            records,
        );
        let updated = self.reconcile(
            stage,
            &change.member,
            target.epoch,
            &target.partitions,
            change.subscription,
            reported,
            records,
        )?;
        let session = self.session_timeout_ms(stage);
        stage.alarm_in(
            Alarm::Session(self.id.clone(), updated.id.clone()),
            i64::from(session),
        );

        // rule N3
        let is_full = request.rebalance_timeout_ms != -1
            && (request.topics.is_some() || request.pattern.is_some())
            && reported.is_some();
        let shown = joins || is_full || member.assigned != updated.assigned;
        Ok(ConsumerHeartbeatResponse {
            error: ErrorCode::None,
            message: None,
            member_id: Some(updated.id.clone()),
            member_epoch: updated.epoch,
            heartbeat_interval_ms: self.heartbeat_interval_ms(stage),
            assignment: shown.then(|| {
                updated
                    .assigned
                    .iter()
                    .map(|(topic, partitions)| (*topic, partitions.keys().copied().collect()))
                    .collect()
            }),
        })
    }

    pub(crate) fn check_room(&self, stage: &Stage, member: &str) -> Result<(), Refusal> {
        let max = stage.settings.consumer.size_max;
        if self.members.len() >= max && !self.members.contains_key(member) {
            return Err(Refusal::new(
                ErrorCode::GroupMaxSizeReached,
                format!("The consumer group has reached its maximum capacity of {max} members."),
            ));
        }
        Ok(())
    }

    /// The member a request comes from, new or known; a static one may take its instance's place.
    pub(crate) fn arriving(
        &self,
        arrival: &Arrival,
        records: &mut Vec<Record>,
    ) -> Result<ConsumerMember, Refusal> {
        let id = arrival.member_id;
        let Some(instance) = arrival.instance else {
            let member = match self.members.get(id) {
                Some(member) => member.clone(),
                None if arrival.may_join => ConsumerMember::new(id.clone()),
                None => return Err(self.not_a_member(id)),
            };
            if !arrival.classic {
                check_epoch(&member, arrival.epoch, arrival.reported)?;
            }
            return Ok(member);
        };
        let existing = self.static_member(instance);
        if !arrival.may_join {
            let member = self.static_by(instance, id)?;
            if !arrival.classic {
                check_epoch(member, arrival.epoch, arrival.reported)?;
            }
            return Ok(member.clone());
        }
        let Some(existing) = existing else {
            let member = self.members.get(id).cloned();
            return Ok(member.unwrap_or_else(|| ConsumerMember::new(id.clone())));
        };
        let unreleased = existing.epoch != EPOCH_LEAVE_STATIC;
        if !arrival.classic && !existing.is_classic() && unreleased {
            return Err(Refusal::new(
                ErrorCode::UnreleasedInstanceId,
                format!(
                    "Static member {id} with instance id {instance} cannot join the group because \
                     the instance id is owned by {} member.",
                    existing.id
                ),
            ));
        }
        let mut member = existing.clone();
        member.id = id.clone();
        member.epoch = EPOCH_JOIN;
        member.previous_epoch = EPOCH_JOIN;
        self.forget_member(records, &existing.id);
        records.push(member_record(&self.id, &member));
        let nothing = Partitions::new();
        let target = self.target.get(&existing.id).unwrap_or(&nothing);
        records.push(target_record(&self.id, id, target));
        records.push(current_record(&self.id, &member));
        Ok(member)
    }

    pub(crate) fn not_a_member(&self, id: &str) -> Refusal {
        Refusal::new(
            ErrorCode::UnknownMemberId,
            format!("Member {id} is not a member of group {}.", self.id),
        )
    }

    /// The static member of an instance, if it goes by this id. // rule G7
    pub(crate) fn static_by(&self, instance: &str, id: &str) -> Result<&ConsumerMember, Refusal> {
        match self.static_member(instance) {
            None => Err(Refusal::new(
                ErrorCode::UnknownMemberId,
                format!("Instance id {instance} is unknown."),
            )),
            Some(member) if *member.id != *id => Err(Refusal::new(
                ErrorCode::FencedInstanceId,
                format!(
                    "Static member {id} with instance id {instance} was fenced by member {}.",
                    member.id
                ),
            )),
            Some(member) => Ok(member),
        }
    }

    /// Writes down what a member has changed about itself, and whether the group's epoch rises: it
    /// does if the member reads something else now, or if the topics the group reads have changed.
    /// A pattern nobody has looked at yet does not count until it has been, unless `at_once`.
    pub(crate) fn take_up(
        &self,
        stage: &mut Stage,
        member: &ConsumerMember,
        updated: ConsumerMember,
        seen_topics: &mut Option<u64>,
        at_once: bool,
        records: &mut Vec<Record>,
    ) -> Result<Change, Refusal> {
        if updated != *member {
            let record = member_record(&self.id, &updated);
            if record.value.as_ref().map_or(0, bytes::Bytes::len)
                > stage.settings.group_record_bytes_max
            {
                return Err(Refusal::new(
                    ErrorCode::UnknownServerError,
                    "what the member says of itself does not fit a record",
                ));
            }
            records.push(record);
        }
        let names = updated.topics != member.topics;
        let pattern = self.pattern_change(stage, member, &updated, records)?;
        let bumps = names
            || pattern == PatternChange::Resolved
            || at_once && pattern != PatternChange::None;
        let mut epoch = self.epoch;
        let version = stage.cluster.topics_version();
        if bumps || *seen_topics != Some(version) {
            let topics = self.subscribed_after(Some(member), Some(&updated));
            let hash = ConsumerGroup::hash_of(stage.cluster, &topics);
            if bumps || hash != self.topics_hash {
                epoch = epoch.saturating_add(1);
                records.push(epoch_record(&self.id, epoch, hash));
                stage.effects.rebalances.consumer += 1;
            }
            *seen_topics = Some(version);
            if self.has_topics_record {
                let group = self.id.clone();
                records.push(ConsumerKey::Topics { group }.tombstone());
            }
        }
        Ok(Change {
            member: updated,
            epoch,
            subscription: names || pattern != PatternChange::None,
        })
    }

    /// One step of a member towards its target, written down if it is one.
    #[expect(clippy::too_many_arguments, reason = "each is one fact of the step")]
    pub(crate) fn reconcile(
        &self,
        stage: &mut Stage,
        member: &ConsumerMember,
        target_epoch: i32,
        target: &Partitions,
        subscription_changed: bool,
        reported: Option<&Partitions>,
        records: &mut Vec<Record>,
    ) -> Result<ConsumerMember, Refusal> {
        let step = Reconciliation {
            group: self,
            cluster: stage.cluster,
            target_epoch,
            target,
            subscription_changed,
            reported,
        };
        let updated = step.step(member)?;
        if updated != *member {
            records.push(current_record(&self.id, &updated));
            // Members of the classic protocol have a time to join and a time to sync instead.
            if !updated.is_classic() {
                let alarm = Alarm::Revocation(self.id.clone(), updated.id.clone());
                if updated.state == MemberState::Unrevoked {
                    stage.alarm_in(alarm, i64::from(updated.rebalance_timeout_ms));
                } else {
                    stage.alarms.cancel(&alarm);
                }
            }
        }
        Ok(updated)
    }

    pub(crate) fn session_timeout_ms(&self, stage: &Stage) -> i32 {
        let own = stage.cluster.group_overrides(&self.id).session_timeout_ms;
        own.unwrap_or(stage.settings.consumer.session_timeout_ms)
    }

    fn heartbeat_interval_ms(&self, stage: &Stage) -> i32 {
        let own = stage
            .cluster
            .group_overrides(&self.id)
            .heartbeat_interval_ms;
        own.unwrap_or(stage.settings.consumer.heartbeat_interval_ms)
    }

    pub(crate) fn target_settings(&self, stage: &Stage) -> TargetSettings {
        let settings = &stage.settings.consumer;
        let own = stage
            .cluster
            .group_overrides(&self.id)
            .assignment_interval_ms;
        TargetSettings {
            assignor: settings
                .assignors
                .first()
                .copied()
                .unwrap_or(Assignor::Uniform),
            interval_ms: own.unwrap_or(settings.assignment_interval_ms),
        }
    }
}

/// Whether a member may report in this epoch. // rule N2
fn check_epoch(
    member: &ConsumerMember,
    epoch: i32,
    reported: Option<&Partitions>,
) -> Result<(), Refusal> {
    // Whoever joins anew has given up everything.
    if epoch == EPOCH_JOIN || epoch == member.epoch {
        return Ok(());
    }
    let fenced = |word: &str| {
        Err(Refusal::new(
            ErrorCode::FencedMemberEpoch,
            format!(
                "The consumer group member has a {word} member epoch ({epoch}) than the one known \
                 by the group coordinator ({}). The member must abandon all its partitions and \
                 rejoin.",
                member.epoch
            ),
        ))
    };
    if epoch > member.epoch {
        return fenced("greater");
    }
    // The answer that told it of its new epoch may have been lost; it has nothing then that it
    // should not have.
    let harmless = reported.is_some_and(|reported| {
        reported.iter().all(|(topic, partitions)| {
            member
                .assigned
                .get(topic)
                .is_some_and(|owned| partitions.iter().all(|p| owned.contains_key(p)))
        })
    });
    if epoch == member.previous_epoch && harmless {
        Ok(())
    } else {
        fenced("smaller")
    }
}
