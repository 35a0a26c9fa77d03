//! A classic group becomes a consumer group when a member of the new protocol joins it, and a classic
//! one again when the last of those goes. Nobody is expelled, no partition changes hands for it.
//! // rule N7

use std::sync::Arc;

use bytes::Bytes;
use wire::ErrorCode;

use crate::cluster::Cluster;
use crate::consumer::heartbeat::Refusal;
use crate::consumer::member::{ClassicPart, ConsumerMember, MemberState, Partitions};
use crate::consumer::record::{
    current_record, epoch_record, member_record, target_epoch_record, target_record,
};
use crate::consumer::{ConsumerGroup, given_at};
use crate::group::{Group, State};
use crate::member::Member;
use crate::rebalance::Stage;
use crate::record::Record;
use crate::settings::Settings;
use crate::subscription::{self, CONSUMER, Named};
use crate::time::Alarm;

impl Group {
    /// This classic group as a consumer group: each member with what the last generation gave it.
    ///
    /// # Errors
    /// GROUP_ID_NOT_FOUND, with words, if it cannot become one.
    pub(crate) fn as_consumer_group(
        &self,
        cluster: &dyn Cluster,
        settings: &Settings,
    ) -> Result<ConsumerGroup, Refusal> {
        let refuse = |why: &str| {
            Err(Refusal::new(
                ErrorCode::GroupIdNotFound,
                format!(
                    "Cannot upgrade classic group {} to consumer group because {why}.",
                    self.id
                ),
            ))
        };
        if !settings.consumer.migration.upgrades() {
            return refuse("online upgrade is disabled");
        }
        if !self.is_of_consumers() {
            return refuse("the group does not use the consumer embedded protocol");
        }
        if self.members.len() > settings.consumer.size_max {
            return refuse("the group size exceeds the consumer group maximum size");
        }
        // In its first join phase a group has not chosen a protocol yet.
        let Some(protocol) = self.protocol.clone().or_else(|| self.select_protocol()) else {
            return refuse("its members have no assignor in common");
        };
        let mut group = ConsumerGroup::new(self.id.clone());
        group.epoch = self.generation;
        group.target_epoch = self.generation;
        for member in self.members.values() {
            let said = subscription::read(&member.metadata(&protocol));
            let has = subscription::read_assignment(&member.assignment);
            let (Some(said), Some((has, user_data))) = (said, has) else {
                return refuse("the embedded consumer protocol is malformed");
            };
            if user_data {
                return refuse(
                    "an unsupported custom assignor is in use. Please refer to the documentation \
                     or switch to a default assignor before re-attempting the upgrade",
                );
            }
            let has = by_id(cluster, &has);
            group.target.insert(member.id.clone(), has.clone());
            group.put(ConsumerMember {
                id: member.id.clone(),
                epoch: self.generation,
                previous_epoch: self.generation,
                state: MemberState::Stable,
                instance: member.instance.clone(),
                rack: said.rack,
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                topics: said.topics,
                pattern: Arc::from(""),
                assignor: None,
                assigned: given_at(&has, self.generation),
                revoking: Default::default(),
                classic: Some(ClassicPart {
                    session_timeout_ms: member.session_timeout_ms,
                    protocols: member.protocols.clone(),
                }),
            });
        }
        group.topics_hash = ConsumerGroup::hash_of(cluster, &group.topics);
        Ok(group)
    }

    /// Ends what this group was doing as a classic one: whoever waits joins again, and each member
    /// has its session anew. Its records follow.
    pub(crate) fn leave_classic(&mut self, stage: &mut Stage) {
        stage.alarms.cancel(&Alarm::Join(self.id.clone()));
        stage.alarms.cancel(&Alarm::Sync(self.id.clone()));
        let sessions: Vec<(Arc<str>, i32)> = self
            .members
            .values()
            .map(|member| (member.id.clone(), member.session_timeout_ms))
            .collect();
        for (member, timeout_ms) in sessions {
            self.turn_away(stage, &member, ErrorCode::RebalanceInProgress);
            let alarm = Alarm::Session(self.id.clone(), member);
            stage.alarm_in(alarm, i64::from(timeout_ms));
        }
        for member in std::mem::take(&mut self.pending_join) {
            stage
                .alarms
                .cancel(&Alarm::Session(self.id.clone(), member));
        }
        let former = std::mem::replace(self, Group::new(self.id.clone()));
        self.image = former.image;
        self.offsets = former.offsets;
    }

    /// Becomes the classic group that its consumer group was converted to, all in one batch: the
    /// records before these are already pushed.
    pub(crate) fn become_classic(
        &mut self,
        stage: &mut Stage,
        converted: Converted,
        rebalance: bool,
    ) {
        let Converted {
            group: mut classic,
            mut forgotten,
        } = converted;
        stage.alarms.cancel(&Alarm::Patterns(self.id.clone()));
        for member in classic.members.keys() {
            for alarm in [
                Alarm::Revocation(self.id.clone(), member.clone()),
                Alarm::Rejoin(self.id.clone(), member.clone()),
                Alarm::Resync(self.id.clone(), member.clone()),
            ] {
                stage.alarms.cancel(&alarm);
            }
        }
        // Until the tombstones are applied the group is both; nobody looks in between.
        classic.consumer = self.consumer.take();
        classic.offsets = std::mem::take(&mut self.offsets);
        classic.image = self.image.take();
        *self = classic;
        self.since_ms = Some(stage.now.wall_ms);
        stage.effects.records.append(&mut forgotten);
        let image = self.project(|member| member.assignment.clone());
        stage.effects.records.push(Record::group(&self.id, &image));
        let members: Vec<Arc<str>> = self.members.keys().cloned().collect();
        for member in &members {
            self.renew_session(stage, member);
        }
        if rebalance {
            self.prepare_rebalance(stage);
        }
    }
}

/// A consumer group as a classic one.
pub(crate) struct Converted {
    /// The classic group, without offsets.
    group: Group,
    /// Tombstones for what it was.
    forgotten: Vec<Record>,
}

impl ConsumerGroup {
    /// The records of a group nobody has heard of yet.
    pub(crate) fn founding_records(&self, records: &mut Vec<Record>) {
        for member in self.members.values() {
            records.push(member_record(&self.id, member));
        }
        records.push(epoch_record(&self.id, self.epoch, self.topics_hash));
        for (member, target) in &self.target {
            records.push(target_record(&self.id, member, target));
        }
        records.push(target_epoch_record(
            &self.id,
            self.target_epoch,
            self.target_ms,
        ));
        for member in self.members.values() {
            records.push(current_record(&self.id, member));
        }
    }

    /// Whether without these members the group is one of classic members only, and may become
    /// classic.
    pub(crate) fn may_become_classic_without(&self, stage: &Stage, gone: &[Arc<str>]) -> bool {
        let left = self
            .members
            .values()
            .filter(|member| !gone.contains(&member.id));
        let (mut count, mut classic) = (0, 0);
        for member in left {
            count += 1;
            classic += usize::from(member.is_classic());
        }
        count > 0
            && count == classic
            && count <= stage.settings.group_size_max
            && stage.settings.consumer.migration.downgrades()
    }

    /// Whether, once this static member is replaced by one of the classic protocol, the group may
    /// become classic.
    pub(crate) fn may_become_classic_with(&self, stage: &Stage, replaced: &ConsumerMember) -> bool {
        !replaced.is_classic()
            && self.classic_members() + 1 == self.members.len()
            && self.members.len() <= stage.settings.group_size_max
            && stage.settings.consumer.migration.downgrades()
    }

    /// Without these members, as a classic group; `None` if what members brought cannot be read or
    /// they have no assignor in common.
    pub(crate) fn as_classic_without(&self, stage: &Stage, gone: &[Arc<str>]) -> Option<Converted> {
        let members = self
            .members
            .values()
            .filter(|member| !gone.contains(&member.id));
        let mut forgotten = Vec::new();
        self.forget(&mut forgotten);
        self.as_classic(stage.cluster, members, None, forgotten)
    }

    /// With a static member replaced by a classic one, as a classic group. The records before have
    /// renamed it already.
    pub(crate) fn as_classic_with(
        &self,
        stage: &Stage,
        replaced: &Arc<str>,
        joined: &ConsumerMember,
    ) -> Option<Converted> {
        let members = self
            .members
            .values()
            .filter(|member| member.id != *replaced);
        let mut forgotten = Vec::new();
        self.forget_as(&mut forgotten, Some((replaced, &joined.id)));
        let renamed = Some((replaced, &joined.id));
        self.as_classic(stage.cluster, members.chain([joined]), renamed, forgotten)
    }

    fn as_classic<'a>(
        &self,
        cluster: &dyn Cluster,
        members: impl Iterator<Item = &'a ConsumerMember>,
        renamed: Option<(&Arc<str>, &Arc<str>)>,
        forgotten: Vec<Record>,
    ) -> Option<Converted> {
        let mut group = Group::new(self.id.clone());
        group.protocol_type = Some(Arc::from(CONSUMER));
        group.generation = self.epoch;
        for member in members {
            let classic = member.classic.as_ref()?;
            let instance = member.instance.as_ref();
            if group.members.contains_key(&member.id)
                || instance.is_some_and(|instance| group.statics.contains_key(instance))
            {
                return None;
            }
            group.add(Member {
                id: member.id.clone(),
                instance: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic.protocols.clone(),
                assignment: Bytes::new(),
                awaiting_join: None,
                awaiting_sync: None,
                is_new: false,
            });
        }
        let protocol = group.select_protocol()?;
        let nothing = Partitions::new();
        for member in group.members.values_mut() {
            let version = subscription::read(&member.metadata(&protocol))?.version;
            let id = match renamed {
                Some((former, new)) if *new == member.id => former,
                _ => &member.id,
            };
            let target = self.target.get(id).unwrap_or(&nothing);
            member.assignment = subscription::write_assignment(version, &by_name(cluster, target));
        }
        group.protocol = Some(protocol);
        group.subscribed = group.subscribed_topics();
        group.state = State::Stable;
        Some(Converted { group, forgotten })
    }
}

/// Partitions by topic id; topics that do not exist are left out.
pub(crate) fn by_id(cluster: &dyn Cluster, named: &Named) -> Partitions {
    let mut partitions = Partitions::new();
    for (name, numbers) in named {
        if let Some(facts) = cluster.topic(name) {
            let known = numbers.iter().filter(|number| **number >= 0);
            partitions.entry(facts.id).or_default().extend(known);
        }
    }
    partitions.retain(|_, numbers| !numbers.is_empty());
    partitions
}

/// Partitions by topic name; topics that do not exist are left out.
pub(crate) fn by_name(cluster: &dyn Cluster, partitions: &Partitions) -> Named {
    partitions
        .iter()
        .filter_map(|(id, numbers)| {
            let facts = cluster.topic_by_id(*id)?;
            Some((facts.name, numbers.iter().copied().collect()))
        })
        .collect()
}
