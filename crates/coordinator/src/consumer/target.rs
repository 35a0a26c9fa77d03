//! A new target for a whole group, when its epoch has run ahead of the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::ids::TopicId;

use crate::cluster::{Cluster, TopicFacts};
use crate::consumer::ConsumerGroup;
use crate::consumer::assignor::{Assignor, MemberSpec, Spec};
use crate::consumer::member::{ConsumerMember, Partitions};
use crate::consumer::record::{target_epoch_record, target_record};
use crate::record::Record;
use crate::time::Now;

/// A target, and the epoch it belongs to.
pub(crate) struct Target {
    pub(crate) epoch: i32,
    pub(crate) partitions: Partitions,
}

impl ConsumerGroup {
    /// The target of a member: the last one, or that of its instance's former member.
    pub(crate) fn target_of(&self, member: &ConsumerMember) -> Partitions {
        let id = match &member.instance {
            // An instance nobody had has no target.
            Some(instance) => self.statics.get(instance),
            None => Some(&member.id),
        };
        id.and_then(|id| self.target.get(id))
            .cloned()
            .unwrap_or_default()
    }

    /// Whether a new target may be made now: not sooner than `interval_ms` after the last one,
    /// unless nobody knows when that was. // rule N5
    fn may_assign(&self, now: Now, interval_ms: i32) -> bool {
        self.target_ms == 0
            || interval_ms == 0
            || now.wall_ms >= self.target_ms.saturating_add(i64::from(interval_ms))
    }

    /// The target of `member`, who has become what it says now; if the last one is out of date and a
    /// new one may be made, it is, with records for everybody whose target differs.
    pub(crate) fn target_for(
        &self,
        cluster: &dyn Cluster,
        now: Now,
        settings: &TargetSettings,
        epoch: i32,
        member: &ConsumerMember,
        records: &mut Vec<Record>,
    ) -> Target {
        if self.target_epoch >= epoch || !self.may_assign(now, settings.interval_ms) {
            return Target {
                epoch: self.target_epoch,
                partitions: self.target_of(member),
            };
        }
        let spec = self.spec(cluster, member);
        let assignor = self.preferred_assignor(member).unwrap_or(settings.assignor);
        let mut target = assignor.assign(&spec);
        for id in spec.members.keys() {
            let new = target.get(id);
            if self.target.get(id) != new {
                let nothing = Partitions::new();
                records.push(target_record(&self.id, id, new.unwrap_or(&nothing)));
            }
        }
        records.push(target_epoch_record(&self.id, epoch, now.wall_ms));
        Target {
            epoch,
            partitions: target.remove(&member.id).unwrap_or_default(),
        }
    }

    /// The members with `changed` in the place of what was known of it, or of its instance.
    fn spec(&self, cluster: &dyn Cluster, changed: &ConsumerMember) -> Spec {
        let replaced = changed
            .instance
            .as_ref()
            .and_then(|instance| self.statics.get(instance));
        let mut known: BTreeMap<Arc<str>, Option<TopicFacts>> = BTreeMap::new();
        let mut spec = Spec::default();
        let others = self
            .members
            .values()
            .filter(|member| member.id != changed.id && Some(&member.id) != replaced);
        for member in others.chain([changed]) {
            let of_pattern = member
                .pattern()
                .and_then(|pattern| self.resolved.get(pattern));
            let names = member
                .topics
                .iter()
                .chain(of_pattern.iter().flat_map(|resolved| &resolved.topics));
            let mut topics: BTreeSet<TopicId> = BTreeSet::new();
            for name in names {
                let facts = known
                    .entry(name.clone())
                    .or_insert_with(|| cluster.topic(name));
                if let Some(facts) = facts {
                    topics.insert(facts.id);
                    spec.topics.insert(facts.id, facts.partitions);
                }
            }
            let target = if member.id == changed.id {
                let former = replaced.unwrap_or(&changed.id);
                self.target.get(former)
            } else {
                self.target.get(&member.id)
            };
            spec.members.insert(
                member.id.clone(),
                MemberSpec {
                    instance: member.instance.clone(),
                    topics,
                    target: target.cloned().unwrap_or_default(),
                },
            );
        }
        spec
    }

    /// The assignor most members ask for; of equals the one whose name comes first.
    fn preferred_assignor(&self, changed: &ConsumerMember) -> Option<Assignor> {
        let others = self
            .members
            .values()
            .filter(|member| member.id != changed.id);
        self.most_wanted(others.chain([changed]))
    }

    /// The name to show for the group's assignor.
    pub(crate) fn assignor_name(&self, default: Assignor) -> &'static str {
        self.most_wanted(self.members.values())
            .unwrap_or(default)
            .name()
    }

    fn most_wanted<'a>(
        &self,
        members: impl Iterator<Item = &'a ConsumerMember>,
    ) -> Option<Assignor> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for name in members.filter_map(|member| member.assignor.as_deref()) {
            *votes.entry(name).or_default() += 1;
        }
        votes
            .into_iter()
            .filter_map(|(name, count)| Some((Assignor::by_name(name)?, count)))
            .min_by_key(|(_, count)| std::cmp::Reverse(*count))
            .map(|(assignor, _)| assignor)
    }
}

/// What settings say about targets.
pub(crate) struct TargetSettings {
    /// The assignor if nobody asks for one.
    pub(crate) assignor: Assignor,
    /// Least time between two targets, milliseconds.
    pub(crate) interval_ms: i32,
}
