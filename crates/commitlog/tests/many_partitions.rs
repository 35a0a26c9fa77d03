//! Partitions that nobody uses cost nothing: not at a start, not when leaders change, not while they
//! rest.

mod node;

use std::sync::Arc;
use std::time::Duration;

use commitlog::{AppendOrigin, EpochEnd, LogStore, Partition, ReadBound};
use node::{LEADER, batch, config, key, leader, open, read_all, settings, view};
use wire::ids::{LeaderEpoch, Offset};
use world::sim::{SimDisk, SimWorld};
use world::{Disk, World};

fn append(store: &LogStore, partition: &Arc<Partition>, epoch: i32) {
    let origin = AppendOrigin::Client {
        leader_epoch: LeaderEpoch(epoch),
    };
    let lsn = partition
        .append(&view(&batch(1, 100)), origin, 0)
        .expect("append")
        .lsn;
    store.wait_durable(lsn).expect("durable");
}

fn reopened(sim: &SimWorld, disk: SimDisk) -> (SimWorld, Arc<LogStore>, Arc<Partition>) {
    let sim = sim.restart_on(1, disk);
    let store = open(&sim.world);
    let partition = store.partition(&key(0)).expect("there");
    (sim, store, partition)
}

fn epochs(partition: &Partition) -> Vec<(i32, i64)> {
    let known = partition.epochs();
    let entries = known.entries().iter();
    entries
        .map(|entry| (entry.epoch.0, entry.start.0))
        .collect()
}

fn in_use(store: &LogStore) -> u64 {
    store.metrics().partitions_in_use
}

#[test]
fn a_new_leader_epoch_is_known_at_once_and_writes_nothing() {
    // rule R8
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append(&store, &partition, 0);
    store.close().expect("close");

    let (_sim, store, partition) = reopened(&sim, sim.disk.clone());
    let before = store.last_lsn();
    partition.become_leader(LeaderEpoch(4)).expect("epoch");
    assert_eq!(store.last_lsn(), before);
    assert_eq!(in_use(&store), 0, "nothing was read for it");
    let end = EpochEnd {
        epoch: LeaderEpoch(4),
        end: Offset(1),
    };
    assert_eq!(partition.epoch_end(LeaderEpoch(4)), Some(end));
    assert_eq!(epochs(&partition), [(0, 0), (4, 1)]);
    partition
        .append(&view(&batch(1, 1)), LEADER, 0)
        .expect_err("an epoch that is over");
}

#[test]
fn a_leader_epoch_is_in_the_log_from_its_first_batch_on() {
    // rule R8
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append(&store, &partition, 0);
    store.checkpoint().expect("checkpoint");
    partition.become_leader(LeaderEpoch(3)).expect("epoch");
    append(&store, &partition, 3);
    append(&store, &partition, 3);

    let (_sim, store, partition) = reopened(&sim, sim.disk.crash_image(1));
    assert_eq!(epochs(&partition), [(0, 0), (3, 1)]);
    partition
        .become_leader(LeaderEpoch(2))
        .expect_err("older than what the log holds");
    drop(store);
}

#[test]
fn an_epoch_that_wrote_nothing_is_answered_for_alike_before_and_after_a_crash() {
    // rules R7, R8
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append(&store, &partition, 0);
    partition.become_leader(LeaderEpoch(1)).expect("epoch");
    let image = sim.disk.crash_image(1);
    let answers = |partition: &Partition| {
        partition.become_leader(LeaderEpoch(2)).expect("epoch");
        (0..4)
            .map(|epoch| partition.epoch_end(LeaderEpoch(epoch)))
            .collect::<Vec<_>>()
    };
    let before = answers(&partition);
    let (_sim, _store, partition) = reopened(&sim, image);
    assert_eq!(answers(&partition), before);
}

#[test]
fn partitions_that_nobody_used_are_replayed_without_being_read_in() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    for number in 0..50 {
        leader(&store, number);
    }
    assert_eq!(in_use(&store), 0);
    store.delete_partition(&key(49)).expect("deleted");
    store.wait_durable(store.last_lsn()).expect("durable");

    let (_sim, store, partition) = reopened(&sim, sim.disk.crash_image(1));
    assert_eq!((store.metrics().partitions, in_use(&store)), (49, 0));
    partition.become_leader(LeaderEpoch(1)).expect("epoch");
    append(&store, &partition, 1);
    assert_eq!(in_use(&store), 1);
}

#[test]
fn a_partition_that_is_deleted_at_rest_takes_its_files_along() {
    for crash in [false, true] {
        let sim = World::sim(1);
        let store = open(&sim.world);
        let partition = leader(&store, 0);
        append(&store, &partition, 0);
        store.close().expect("close");

        let (mut sim, mut store, _) = reopened(&sim, sim.disk.clone());
        let lsn = store.delete_partition(&key(0)).expect("deleted");
        store.wait_durable(lsn).expect("durable");
        if crash {
            let disk = sim.disk.process_crash_image(1);
            sim = sim.restart_on(2, disk);
            store = open(&sim.world);
        }
        assert_eq!((store.metrics().partitions, in_use(&store)), (0, 0));
        store.checkpoint().expect("checkpoint");
        sim.spawn.run_for(Duration::from_secs(10));
        let left = sim.disk.list("seg/01").expect("its directory");
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn what_nobody_uses_for_a_while_is_put_to_rest_and_read_back_at_the_next_touch() {
    let sim = World::sim(1);
    let (store, _) = LogStore::open(&sim.world, config()).expect("open");
    let partitions: Vec<_> = (0..600)
        .map(|number| {
            let made = loop {
                match store.create_partition(key(number), settings()) {
                    Ok(made) => break made,
                    Err(_) => sim.spawn.run_for(Duration::from_millis(1)),
                }
            };
            made.become_leader(LeaderEpoch(0)).expect("epoch");
            append(&store, &made, 0);
            made
        })
        .collect();
    assert_eq!(in_use(&store), 600);
    partitions[7].become_leader(LeaderEpoch(5)).expect("epoch");
    sim.spawn.run_for(Duration::from_secs(90));
    assert_eq!(in_use(&store), 0);

    assert_eq!(epochs(&partitions[7]), [(0, 0), (5, 1)]);
    append(&store, &partitions[7], 5);
    let batches = read_all(&partitions[7], 0, ReadBound::HighWatermark).expect("readable");
    assert_eq!(batches.len(), 2);
    assert_eq!(in_use(&store), 1);
}
