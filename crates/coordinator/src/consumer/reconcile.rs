//! From what a member has towards what it shall have, one safe step at a time. // rule N4
//!
//! Partitions are given up at the old epoch; only when the member says it no longer has them does
//! it advance, and a partition is given to it only when nobody else has it or must still give it up.

use std::collections::{BTreeMap, BTreeSet};

use wire::ErrorCode;
use wire::ids::TopicId;

use crate::cluster::Cluster;
use crate::consumer::ConsumerGroup;
use crate::consumer::heartbeat::Refusal;
use crate::consumer::member::{ConsumerMember, MemberState, Owned, Partitions};

/// Everything a step depends on besides the member.
pub(crate) struct Reconciliation<'a> {
    pub(crate) group: &'a ConsumerGroup,
    pub(crate) cluster: &'a dyn Cluster,
    pub(crate) target_epoch: i32,
    pub(crate) target: &'a Partitions,
    /// Whether the member has just changed what it reads; then it loses the rest at once.
    pub(crate) subscription_changed: bool,
    /// What it says it has; `None` if it said nothing about that.
    pub(crate) reported: Option<&'a Partitions>,
}

impl Reconciliation<'_> {
    /// The member after the step; unchanged if none is possible.
    pub(crate) fn step(&self, member: &ConsumerMember) -> Result<ConsumerMember, Refusal> {
        if !self.subscription_changed && member.is_reconciled_to(self.target_epoch) {
            return Ok(member.clone());
        }
        Ok(match member.state {
            MemberState::Stable if member.epoch != self.target_epoch => {
                self.towards_target(member, member.epoch)
            }
            MemberState::Stable => self.without_unread(member),
            MemberState::Unrevoked if self.still_has(&member.revoking) => {
                if self.subscription_changed {
                    self.without_unread(member)
                } else {
                    member.clone()
                }
            }
            MemberState::Unrevoked | MemberState::Unreleased => {
                self.towards_target(member, member.epoch)
            }
            MemberState::Unknown => {
                if self.reported.is_none_or(|reported| !reported.is_empty()) {
                    return Err(Refusal::new(
                        ErrorCode::FencedMemberEpoch,
                        "The consumer group member is in a unknown state. The member must abandon \
                         all its partitions and rejoin.",
                    ));
                }
                self.towards_target(member, self.target_epoch)
            }
        })
    }

    /// Whether the member has any of these; if it does not say, it has.
    fn still_has(&self, partitions: &Owned) -> bool {
        let Some(reported) = self.reported else {
            return true;
        };
        reported.iter().any(|(topic, numbers)| {
            partitions
                .get(topic)
                .is_some_and(|owned| numbers.iter().any(|number| owned.contains_key(number)))
        })
    }

    fn reads(&self, member: &ConsumerMember, topic: TopicId) -> bool {
        self.cluster
            .topic_by_id(topic)
            .is_some_and(|facts| self.group.is_subscribed(member, &facts.name))
    }

    /// Takes away what the member no longer reads, and nothing else.
    fn without_unread(&self, member: &ConsumerMember) -> ConsumerMember {
        let unread: BTreeSet<TopicId> = member
            .assigned
            .keys()
            .filter(|topic| !self.reads(member, **topic))
            .copied()
            .collect();
        if unread.is_empty() {
            return member.clone();
        }
        let mut next = member.clone();
        let mut revoking = member.revoking.clone();
        for topic in unread {
            if let Some(partitions) = next.assigned.remove(&topic) {
                revoking.entry(topic).or_default().extend(partitions);
            }
        }
        next.advance(member.epoch);
        if self.still_has(&revoking) {
            next.state = MemberState::Unrevoked;
            next.revoking = revoking;
        }
        next
    }

    fn towards_target(&self, member: &ConsumerMember, epoch: i32) -> ConsumerMember {
        let none = (BTreeMap::new(), BTreeSet::new());
        let mut assigned = Owned::new();
        let mut revoking = Owned::new();
        let mut given: Vec<(TopicId, i32)> = Vec::new();
        let mut unreleased = false;
        let topics: BTreeSet<&TopicId> = self.target.keys().chain(member.assigned.keys()).collect();
        for topic in topics {
            let has = member.assigned.get(topic).unwrap_or(&none.0);
            let shall = match self.target.get(topic) {
                Some(shall) if self.reads(member, *topic) => shall,
                _ => &none.1,
            };
            for (partition, at) in has {
                let side = if shall.contains(partition) {
                    &mut assigned
                } else {
                    &mut revoking
                };
                side.entry(*topic).or_default().insert(*partition, *at);
            }
            for partition in shall.iter().filter(|p| !has.contains_key(p)) {
                // What it gives up itself is its own to take back.
                let own = member
                    .revoking
                    .get(topic)
                    .is_some_and(|revoking| revoking.contains_key(partition));
                if self.group.is_owned(*topic, *partition) && !own {
                    unreleased = true;
                } else {
                    given.push((*topic, *partition));
                }
            }
        }

        let mut next = member.clone();
        next.assigned = assigned;
        if !revoking.is_empty() && self.still_has(&revoking) {
            next.advance(epoch);
            next.state = MemberState::Unrevoked;
            next.revoking = revoking;
            return next;
        }
        next.advance(self.target_epoch);
        next.revoking = Owned::new();
        next.state = if unreleased {
            MemberState::Unreleased
        } else {
            MemberState::Stable
        };
        for (topic, partition) in given {
            let partitions = next.assigned.entry(topic).or_default();
            partitions.insert(partition, self.target_epoch);
        }
        next
    }
}
