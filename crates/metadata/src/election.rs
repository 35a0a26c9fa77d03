//! Who leads a partition after brokers come and go (replication.md 5, KIP-966).

use std::sync::Arc;

use wire::ids::{BrokerId, LeaderEpoch, TopicId};

use crate::delta::Delta;
use crate::image::{Image, Resource};
use crate::partition::{Partition, Recovery, Replicas};

/// Takes a broker out of the leaderships and ISRs it can be spared from.
///
/// The last member of an ISR stays in it, without a leader: it alone is known to hold everything.
pub(crate) fn retire(image: &mut Image, broker: BrokerId, delta: &mut Delta) {
    each_partition(image, broker, delta, |partition, insync_min, is_active| {
        let mut next = partition.clone();
        if next.isr.contains(broker) && next.isr.len() > 1 {
            next.isr = next.isr.without(broker);
            // Below the minimum nothing more was acknowledged, so it still holds everything.
            if next.isr.len() < insync_min() {
                next.elr = next.elr.with(broker);
            }
        }
        if next.leader == Some(broker) {
            next.leader = None;
            elect(&mut next, is_active);
        }
        next
    });
}

/// Lets a broker that came back lead what has no leader.
pub(crate) fn welcome(image: &mut Image, broker: BrokerId, delta: &mut Delta) {
    each_partition(image, broker, delta, |partition, _, is_active| {
        let mut next = partition.clone();
        if next.leader.is_none() {
            elect(&mut next, is_active);
        }
        next
    });
}

/// A leader changed the ISR: who left it while it was too small is eligible, who joined is not
/// kept twice, and an ISR that is large enough needs no reserve.
pub(crate) fn settle_elr(partition: &mut Partition, before: &Replicas, insync_min: usize) {
    if partition.isr.len() >= insync_min {
        partition.elr = Replicas::none();
        return;
    }
    let candidates = partition.elr.as_slice().iter().chain(before.as_slice());
    let elr: Vec<BrokerId> = candidates.copied().fold(Vec::new(), |mut elr, broker| {
        if !partition.isr.contains(broker) && !elr.contains(&broker) {
            elr.push(broker);
        }
        elr
    });
    partition.elr = Replicas::from_slice(&elr);
}

/// How many replicas must be in sync for a topic's writes, as far as the log knows. A value from
/// one broker's file is not the cluster's and is not looked at.
pub(crate) fn insync_min(image: &Image, topic: &str) -> usize {
    let key = "min.insync.replicas";
    let of = |resource: &Resource| image.config(resource).and_then(|map| map.get(key));
    of(&Resource::Topic(topic.into()))
        .or_else(|| of(&Resource::ClusterDefault))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(1)
}

/// The first active replica of the ISR, else of the ELR; none if there is neither.
fn elect(partition: &mut Partition, is_active: &dyn Fn(BrokerId) -> bool) {
    let chosen = |from: &Replicas| {
        let mut replicas = partition.replicas.as_slice().iter().copied();
        replicas.find(|broker| from.contains(*broker) && is_active(*broker))
    };
    if let Some(leader) = chosen(&partition.isr) {
        partition.leader = Some(leader);
    } else if let Some(leader) = chosen(&partition.elr) {
        partition.leader = Some(leader);
        // The new leader stands alone; who was in the ISR held everything too.
        let eligible = partition.isr.as_slice().to_vec();
        partition.isr = Replicas::from_slice(&[leader]);
        let mut elr = partition.elr.without(leader);
        for broker in eligible {
            elr = elr.with(broker);
        }
        partition.elr = elr;
        partition.recovery = Recovery::Recovered;
    }
}

/// Runs `change` on every partition the broker is a replica of, and counts the epochs on. An image
/// that nobody shares is changed in place: a node of 50,000 partitions comes and goes in
/// milliseconds.
fn each_partition(
    image: &mut Image,
    broker: BrokerId,
    delta: &mut Delta,
    change: impl Fn(&Partition, &dyn Fn() -> usize, &dyn Fn(BrokerId) -> bool) -> Partition,
) {
    let brokers = Arc::clone(&image.brokers);
    let is_active = |id: BrokerId| brokers.get(&id).is_some_and(|broker| broker.is_active());
    let ids: Vec<TopicId> = image.topics.iter().map(|(id, _)| *id).collect();
    let mut changed = Vec::new();
    for id in ids {
        let Some(topic) = image.topics.get(&id) else {
            continue;
        };
        let minimum = || insync_min(image, &topic.name);
        for (number, partition) in topic.partitions.iter().enumerate() {
            if !partition.replicas.contains(broker) {
                continue;
            }
            let mut next = change(partition, &minimum, &is_active);
            if next == *partition {
                continue;
            }
            if next.leader != partition.leader {
                next.leader_epoch = LeaderEpoch(partition.leader_epoch.0 + 1);
            }
            next.partition_epoch = partition.partition_epoch + 1;
            changed.push((number, next));
        }
        if changed.is_empty() {
            continue;
        }
        let Some(topic) = image.topics.get_mut(&id) else {
            continue;
        };
        let topic = Arc::make_mut(topic);
        for (number, next) in changed.drain(..) {
            delta.partitions.push((id, number as i32));
            topic.partitions[number] = next;
        }
    }
}
