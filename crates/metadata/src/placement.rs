//! Where new partitions go: over the brokers in turn, racks mixed, from a start the proposer drew.

use std::sync::Arc;

use wire::ErrorCode;
use wire::ids::BrokerId;

use crate::answer::Refusal;
use crate::command::Placement;
use crate::image::{Broker, Image};
use crate::partition::DirectoryId;

/// A topic has at most this many partitions; above it one command would outgrow the 1 MiB that an
/// entry of the metadata log may have.
const PARTITIONS_PER_TOPIC_MAX: usize = 10_000;

/// Refuses a topic of more partitions than a topic may have.
pub(crate) fn check_partition_count(partitions: usize) -> Result<(), Refusal> {
    if partitions <= PARTITIONS_PER_TOPIC_MAX {
        return Ok(());
    }
    Err(Refusal {
        code: ErrorCode::InvalidPartitions,
        message: format!(
            "{partitions} partitions, at most {PARTITIONS_PER_TOPIC_MAX} are allowed."
        ),
    })
}

/// Places `partitions` partitions of `replication` replicas on the brokers that serve.
///
/// `start` is any random number: it decides who leads the first partition, so that many topics
/// of one partition do not all lead on the first broker.
pub fn place(
    image: &Image,
    partitions: usize,
    replication: usize,
    start: u64,
) -> Result<Vec<Placement>, Refusal> {
    let refuse = |message: String| {
        Err(Refusal {
            code: ErrorCode::InvalidReplicationFactor,
            message,
        })
    };
    // Before anything is allocated for them.
    check_partition_count(partitions)?;
    let brokers = mixed_by_rack(image);
    if replication == 0 {
        return refuse("Replication factor must be larger than 0.".into());
    }
    if replication > brokers.len() {
        return refuse(format!(
            "Replication factor: {replication} larger than available brokers: {}.",
            brokers.len()
        ));
    }
    let count = brokers.len();
    let start = (start % count as u64) as usize;
    Ok((0..partitions)
        .map(|partition| {
            // Every full turn the followers shift by one more, so that a lost leader's load is
            // spread over all others and not over its neighbour.
            let shift = (partition / count) % (count - 1).max(1);
            let chosen = (0..replication).map(|replica| {
                let step = if replica == 0 {
                    0
                } else {
                    1 + (shift + replica - 1) % (count - 1)
                };
                &brokers[(start + partition + step) % count]
            });
            let chosen: Vec<&Arc<Broker>> = chosen.collect();
            Placement {
                replicas: chosen.iter().map(|broker| broker.id).collect(),
                directories: chosen
                    .iter()
                    .map(|broker| broker.directories.first().copied().unwrap_or_default())
                    .collect::<Vec<DirectoryId>>(),
            }
        })
        .collect())
}

/// Brokers that serve, ordered so that neighbours stand in different racks where possible.
fn mixed_by_rack(image: &Image) -> Vec<Arc<Broker>> {
    let mut racks: Vec<(Option<&str>, Vec<&Arc<Broker>>)> = Vec::new();
    for broker in image.brokers().filter(|broker| broker.is_active()) {
        match racks
            .iter_mut()
            .find(|(rack, _)| *rack == broker.rack.as_deref())
        {
            Some((_, brokers)) => brokers.push(broker),
            None => racks.push((broker.rack.as_deref(), vec![broker])),
        }
    }
    let longest = racks
        .iter()
        .map(|(_, brokers)| brokers.len())
        .max()
        .unwrap_or(0);
    (0..longest)
        .flat_map(|at| {
            racks
                .iter()
                .filter_map(move |(_, brokers)| brokers.get(at).copied())
        })
        .cloned()
        .collect()
}

/// The broker ids of a placement, for checks.
pub(crate) fn has_duplicates(brokers: &[BrokerId]) -> bool {
    brokers
        .iter()
        .enumerate()
        .any(|(at, broker)| brokers[..at].contains(broker))
}
