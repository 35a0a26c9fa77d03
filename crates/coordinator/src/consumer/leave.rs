//! Members that go: by their own word, by silence, by an administrator.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::ErrorCode;

use crate::consumer::ConsumerGroup;
use crate::consumer::heartbeat::Refusal;
use crate::consumer::member::{ConsumerMember, EPOCH_LEAVE_STATIC, Owned};
use crate::consumer::record::{ConsumerKey, current_record, epoch_record};
use crate::group::Group;
use crate::rebalance::Stage;
use crate::record::Record;
use crate::request::ConsumerHeartbeatRequest;
use crate::response::ConsumerHeartbeatResponse;
use crate::time::Alarm;

impl Group {
    /// A heartbeat that says goodbye, already checked. // rule N1
    pub(crate) fn consumer_leave(
        &mut self,
        stage: &mut Stage,
        request: &ConsumerHeartbeatRequest,
    ) -> Result<ConsumerHeartbeatResponse, Refusal> {
        let Some(group) = &self.consumer else {
            return Err(not_of_consumers(&self.id));
        };
        let id = &request.member_id;
        let member = match &request.instance_id {
            None => group
                .members
                .get(id)
                .ok_or_else(|| group.not_a_member(id))?,
            Some(instance) => group.static_by(instance, id)?,
        };
        let response = ConsumerHeartbeatResponse {
            member_id: Some(id.clone()),
            member_epoch: request.member_epoch,
            ..ConsumerHeartbeatResponse::refused(ErrorCode::None, None)
        };
        if request.instance_id.is_some() && request.member_epoch == EPOCH_LEAVE_STATIC {
            // Its place is kept, with what it has, until its session ends.
            let mut away = member.clone();
            away.epoch = EPOCH_LEAVE_STATIC;
            away.revoking = Owned::new();
            for epoch in away.assigned.values_mut().flat_map(BTreeMap::values_mut) {
                *epoch = 0;
            }
            stage.effects.records.push(current_record(&group.id, &away));
        } else {
            let gone = vec![member.id.clone()];
            self.fence(stage, &gone);
        }
        Ok(response)
    }

    /// A member of a consumer group has been silent for too long, or has not done in time what it
    /// had to.
    pub(crate) fn consumer_time_is_up(&mut self, stage: &mut Stage, member: &Arc<str>) {
        let known = self
            .consumer
            .as_ref()
            .is_some_and(|group| group.members.contains_key(member));
        if known {
            self.fence(stage, std::slice::from_ref(member));
        }
    }

    /// A member has not given partitions up in time. // rule N4
    pub(crate) fn revocation_time_is_up(&mut self, stage: &mut Stage, member: &Arc<str>) {
        let late = self
            .consumer
            .as_ref()
            .and_then(|group| group.members.get(member))
            .is_some_and(ConsumerMember::must_revoke);
        if late {
            self.fence(stage, std::slice::from_ref(member));
        }
    }

    /// Expels members. If only members of the classic protocol are left, the group becomes a classic
    /// one. // rule N7
    pub(crate) fn fence(&mut self, stage: &mut Stage, gone: &[Arc<str>]) {
        let Some(group) = &self.consumer else {
            return;
        };
        if gone.is_empty() {
            return;
        }
        if group.may_become_classic_without(stage, gone)
            && let Some(converted) = group.as_classic_without(stage, gone)
        {
            for member in gone {
                cancel_alarms(stage, &self.id, member);
            }
            self.become_classic(stage, converted, true);
            return;
        }
        let mut records = Vec::new();
        group.fence_records(stage, gone, &mut records);
        for member in gone {
            cancel_alarms(stage, &self.id, member);
        }
        stage.effects.records.append(&mut records);
    }
}

impl ConsumerGroup {
    /// The records of a group without these members.
    pub(crate) fn fence_records(
        &self,
        stage: &mut Stage,
        gone: &[Arc<str>],
        records: &mut Vec<Record>,
    ) {
        let members: Vec<&ConsumerMember> =
            gone.iter().filter_map(|id| self.members.get(id)).collect();
        let mut leaving: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        let mut topics = self.topics.clone();
        for member in &members {
            self.forget_member(records, &member.id);
            for topic in &member.topics {
                super::lose(&mut topics, topic, |readers| readers.members -= 1);
            }
            if let Some(pattern) = member.pattern() {
                *leaving.entry(pattern).or_default() += 1;
            }
        }
        for (pattern, count) in leaving {
            if self.patterns.get(pattern) == Some(&count) {
                let (group, text) = (self.id.clone(), pattern.clone());
                records.push(
                    ConsumerKey::Pattern {
                        group,
                        pattern: text,
                    }
                    .tombstone(),
                );
                self.lose_pattern(&mut topics, pattern);
            }
        }
        let hash = ConsumerGroup::hash_of(stage.cluster, &topics);
        records.push(epoch_record(&self.id, self.epoch.saturating_add(1), hash));
        stage.effects.rebalances.consumer += 1;
    }
}

pub(crate) fn cancel_alarms(stage: &mut Stage, group: &Arc<str>, member: &Arc<str>) {
    for alarm in [
        Alarm::Session(group.clone(), member.clone()),
        Alarm::Revocation(group.clone(), member.clone()),
        Alarm::Rejoin(group.clone(), member.clone()),
        Alarm::Resync(group.clone(), member.clone()),
    ] {
        stage.alarms.cancel(&alarm);
    }
}

pub(crate) fn not_of_consumers(group: &str) -> Refusal {
    Refusal::new(
        ErrorCode::GroupIdNotFound,
        format!("Group {group} is not a consumer group."),
    )
}
