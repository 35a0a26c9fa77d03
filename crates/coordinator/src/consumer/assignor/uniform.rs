//! Equal shares: nobody has two partitions more than another who could read one of them, and no
//! partition moves that need not.
//!
//! If all members read the same topics, everybody has a quota and keeps up to it. Otherwise
//! partitions go to the least loaded of their readers, the hardest topics first, and then move from
//! loaded to less loaded readers, topic by topic, until nothing moves or [`ROUNDS_MAX`] is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::ids::TopicId;

use crate::consumer::assignor::Spec;
use crate::consumer::member::Partitions;

/// Rounds over all topics. Where readers of a topic read the same topics, one round is enough; where
/// subscriptions overlap crosswise, each halves the imbalance, roughly.
const ROUNDS_MAX: usize = 16;

/// A partition of a topic.
type Place = (TopicId, i32);

pub(crate) fn assign(spec: &Spec) -> BTreeMap<Arc<str>, Partitions> {
    let mut subscriptions = spec.members.values().map(|member| &member.topics);
    let first = subscriptions.next();
    if subscriptions.all(|topics| Some(topics) == first) {
        assign_equals(spec)
    } else {
        Crosswise::new(spec).assign()
    }
}

fn assign_equals(spec: &Spec) -> BTreeMap<Arc<str>, Partitions> {
    let mut target = BTreeMap::new();
    let mut free: BTreeSet<(TopicId, i32)> = spec
        .topics
        .iter()
        .flat_map(|(topic, count)| (0..*count).map(|partition| (*topic, partition)))
        .collect();
    let members = spec.members.len().max(1);
    let (share, mut larger) = (free.len() / members, free.len() % members);

    // Who has most is first to keep one more; then nobody gives up what another needs to be given.
    let mut order: Vec<(&Arc<str>, Vec<Place>)> = spec
        .members
        .iter()
        .map(|(id, member)| {
            let kept = flat(&member.target)
                .filter(|(topic, _)| member.topics.contains(topic))
                // Two members never share a partition of a target; should a damaged log say so,
                // the first keeps it.
                .filter(|place| free.remove(place))
                .collect();
            (id, kept)
        })
        .collect();
    order.sort_by_key(|(_, kept)| std::cmp::Reverse(kept.len()));

    let mut unfilled = Vec::new();
    for (id, mut kept) in order {
        let quota = share + usize::from(larger > 0);
        larger -= usize::from(larger > 0);
        free.extend(kept.drain(quota.min(kept.len())..));
        unfilled.push((id, quota - kept.len()));
        target.insert(id.clone(), gathered(kept));
    }
    let mut free = free.into_iter();
    for (id, room) in unfilled {
        if let Some(partitions) = target.get_mut(id) {
            for (topic, partition) in free.by_ref().take(room) {
                partitions.entry(topic).or_default().insert(partition);
            }
        }
    }
    debug_assert!(free.next().is_none(), "the quotas add up to all partitions");
    target
}

/// Members by number, in the order of their ids.
struct Crosswise<'a> {
    spec: &'a Spec,
    ids: Vec<&'a Arc<str>>,
    /// Who reads a topic.
    readers: BTreeMap<TopicId, Vec<usize>>,
    /// Who has a topic's partitions.
    owners: BTreeMap<TopicId, Vec<Option<usize>>>,
    /// How many partitions each member has.
    loads: Vec<usize>,
}

impl<'a> Crosswise<'a> {
    fn new(spec: &'a Spec) -> Crosswise<'a> {
        let mut readers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
        let mut owners: BTreeMap<TopicId, Vec<Option<usize>>> = spec
            .topics
            .iter()
            .map(|(topic, count)| (*topic, vec![None; usize::try_from(*count).unwrap_or(0)]))
            .collect();
        let mut loads = vec![0; spec.members.len()];
        for (number, member) in spec.members.values().enumerate() {
            for topic in &member.topics {
                readers.entry(*topic).or_default().push(number);
            }
            for (topic, partition) in flat(&member.target) {
                let place = owners.get_mut(&topic).and_then(|partitions| {
                    partitions.get_mut(usize::try_from(partition).unwrap_or(usize::MAX))
                });
                if let Some(owner @ None) = place
                    && member.topics.contains(&topic)
                {
                    *owner = Some(number);
                    loads[number] += 1;
                }
            }
        }
        Crosswise {
            spec,
            ids: spec.members.keys().collect(),
            readers,
            owners,
            loads,
        }
    }

    fn assign(mut self) -> BTreeMap<Arc<str>, Partitions> {
        let topics = self.topics_hardest_first();
        for topic in &topics {
            self.fill(*topic);
        }
        for _ in 0..ROUNDS_MAX {
            let mut moved = false;
            for topic in &topics {
                moved |= self.balance(*topic);
            }
            if !moved {
                break;
            }
        }
        let mut target: BTreeMap<Arc<str>, Partitions> = self
            .ids
            .iter()
            .map(|id| (Arc::clone(id), Partitions::new()))
            .collect();
        for (topic, partitions) in &self.owners {
            for (partition, owner) in partitions.iter().enumerate() {
                let owner = owner.and_then(|number| target.get_mut(self.ids[number]));
                if let Some(owned) = owner {
                    owned.entry(*topic).or_default().insert(partition as i32);
                }
            }
        }
        target
    }

    /// Most partitions for a reader first, then fewest readers.
    fn topics_hardest_first(&self) -> Vec<TopicId> {
        let mut topics: Vec<TopicId> = self.readers.keys().copied().collect();
        let rank = |topic: &TopicId| {
            let readers = self.readers[topic].len() as u64;
            let partitions = self.spec.topics.get(topic).copied().unwrap_or(0);
            (u64::try_from(partitions).unwrap_or(0), readers)
        };
        topics.sort_by(|a, b| {
            let ((a_partitions, a_readers), (b_partitions, b_readers)) = (rank(a), rank(b));
            // a / b > c / d without dividing.
            (b_partitions * a_readers)
                .cmp(&(a_partitions * b_readers))
                .then(a_readers.cmp(&b_readers))
                .then(a.cmp(b))
        });
        topics
    }

    /// Readers of a topic by load, then number.
    fn by_load(&self, topic: TopicId) -> BTreeSet<(usize, usize)> {
        let readers = self.readers.get(&topic).into_iter().flatten();
        readers
            .map(|number| (self.loads[*number], *number))
            .collect()
    }

    /// Gives a topic's free partitions away.
    fn fill(&mut self, topic: TopicId) {
        let mut by_load = self.by_load(topic);
        let Some(owners) = self.owners.get_mut(&topic) else {
            return;
        };
        for owner in owners.iter_mut().filter(|owner| owner.is_none()) {
            let Some((load, number)) = by_load.pop_first() else {
                return;
            };
            *owner = Some(number);
            self.loads[number] = load + 1;
            by_load.insert((load + 1, number));
        }
    }

    /// Moves a topic's partitions from loaded to less loaded readers. Whether any moved.
    fn balance(&mut self, topic: TopicId) -> bool {
        let mut by_load = self.by_load(topic);
        let Some(owners) = self.owners.get_mut(&topic) else {
            return false;
        };
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in owners.iter().enumerate() {
            if let Some(number) = owner {
                owned.entry(*number).or_default().push(partition);
            }
        }
        let mut moved = false;
        // From the most loaded that has something to give.
        while let Some((high, giver)) = by_load.pop_last() {
            let Some((low, taker)) = by_load.first().copied() else {
                break;
            };
            if high <= low + 1 {
                break;
            }
            // Who has nothing of this topic to give stays out of it.
            let Some(partition) = owned.get_mut(&giver).and_then(Vec::pop) else {
                continue;
            };
            owners[partition] = Some(taker);
            owned.entry(taker).or_default().push(partition);
            by_load.pop_first();
            self.loads[giver] = high - 1;
            self.loads[taker] = low + 1;
            by_load.insert((high - 1, giver));
            by_load.insert((low + 1, taker));
            moved = true;
        }
        moved
    }
}

fn flat(partitions: &Partitions) -> impl Iterator<Item = (TopicId, i32)> + '_ {
    partitions
        .iter()
        .flat_map(|(topic, numbers)| numbers.iter().map(|number| (*topic, *number)))
}

fn gathered(places: Vec<(TopicId, i32)>) -> Partitions {
    let mut partitions = Partitions::new();
    for (topic, partition) in places {
        partitions.entry(topic).or_default().insert(partition);
    }
    partitions
}
