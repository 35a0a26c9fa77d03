//! Disks that fail in the middle of a pass: the log is as it was, a later pass does the work, and
//! no file stays that nobody reads.

mod keyed;
mod node;

use std::sync::Arc;
use std::time::Duration;

use commitlog::{LogStore, Partition, StoreHealth};
use keyed::{
    append, config, end_segment, entries, entry, leader, look_everywhere, segment_files, settings,
    table,
};
use node::key;
use wire::compress::Codec;
use world::World;
use world::sim::{Fault, Injection, Operation, SimWorld};

const NOW: i64 = 1_000_000_000;

/// A log of several segments with much to clean.
fn dirty(seed: u64) -> (SimWorld, Arc<LogStore>, Arc<Partition>) {
    let sim = World::sim(seed);
    let store = LogStore::open(&sim.world, config()).expect("opens").0;
    let partition = leader(&store, settings());
    for round in 0..12 {
        let batch: Vec<_> = (0..6)
            .map(|key| entry(&format!("{key}"), Some(&"v".repeat(40 + round)), NOW))
            .collect();
        append(&store, &partition, &batch, Codec::None, None, NOW);
    }
    end_segment(&store, &partition, NOW);
    (sim, store, partition)
}

/// Every file is one that is read.
fn check_no_leftovers(sim: &SimWorld, context: &str) {
    let files = segment_files(&*sim.world.disk);
    let bases: std::collections::BTreeSet<&str> = files
        .iter()
        .filter_map(|path| path.split('-').nth(1))
        .map(|base| base.trim_end_matches(".seg"))
        .collect();
    assert_eq!(bases.len(), files.len(), "{context}: {files:?}");
}

/// Lets a fault strike the nth call of a pass, for every n there is.
fn strike_everywhere(operation: Operation, fault: Fault, path: &str) -> u64 {
    let mut struck = 0;
    for nth in 0..200 {
        let context = format!("{fault:?} at call {nth} of {operation:?} on {path:?}");
        let (sim, store, partition) = dirty(nth);
        let before = table(&entries(&partition));
        let offsets = partition.offsets();
        sim.disk
            .inject(Injection::on(operation, fault).path(path).skip(nth));
        store.compact(NOW);
        let fell = sim.disk.faults_struck().len() as u64;
        sim.disk.heal();
        struck += fell;
        assert_eq!(table(&entries(&partition)), before, "{context}");
        look_everywhere(&partition);
        if !matches!(store.health(), StoreHealth::Dead(_)) {
            // Nothing is in the way of appends, checkpoints and the next pass.
            let bytes = [entry("later", Some("1"), NOW)];
            append(&store, &partition, &bytes, Codec::None, None, NOW);
            store.checkpoint().expect("checkpoint");
            store.compact(NOW);
            sim.spawn.run_for(Duration::from_secs(3));
            assert!(store.metrics().compactions > 0, "{context}");
            check_no_leftovers(&sim, &context);
        }
        let durable = store.durable_lsn();
        let image = sim.disk.crash_image(nth);
        drop((partition, store));
        let sim = sim.restart_on(nth, image);
        let (store, report) = LogStore::open(&sim.world, config()).expect("opens");
        assert!(report.suspect.is_empty(), "{context}: {report:?}");
        assert!(store.last_lsn() >= durable, "{context}");
        let partition = store.partition(&key(0)).expect("there");
        partition.apply_settings(settings());
        let mut found = table(&entries(&partition));
        found.remove(b"later".as_slice());
        assert_eq!(found, before, "{context}");
        assert!(partition.offsets().end >= offsets.end, "{context}");
        look_everywhere(&partition);
        if fell == 0 {
            return struck;
        }
    }
    panic!("a pass has fewer calls");
}

#[test]
fn a_file_that_cannot_be_made_written_or_synced_ends_the_pass_and_nothing_else() {
    // rule D6
    for fault in [Fault::Io, Fault::Full] {
        for operation in [Operation::Create, Operation::WriteAt, Operation::SyncData] {
            let struck = strike_everywhere(operation, fault, "seg/");
            assert!(struck > 0, "{operation:?} is part of a pass");
        }
    }
}

#[test]
fn a_segment_that_cannot_be_opened_or_read_ends_the_pass_and_nothing_else() {
    assert!(strike_everywhere(Operation::ReadAt, Fault::Io, "seg/") > 0);
    strike_everywhere(Operation::Open, Fault::Io, "seg/");
}

#[test]
fn a_manifest_that_cannot_be_written_leaves_the_old_log_or_the_new_one() {
    for fault in [Fault::Io, Fault::Full] {
        for operation in [Operation::WriteAt, Operation::SyncData] {
            assert!(strike_everywhere(operation, fault, "meta/") > 0);
        }
    }
}

#[test]
fn names_that_cannot_be_made_durable_end_the_directory_and_lose_nothing() {
    // A second sync could say yes without names that a checkpoint is to vouch for.
    assert!(strike_everywhere(Operation::SyncDir, Fault::Io, "seg") > 0);
}

#[test]
fn an_old_file_that_cannot_be_removed_is_removed_by_the_next_start() {
    let (sim, store, partition) = dirty(1);
    let before = table(&entries(&partition));
    sim.disk.inject(
        Injection::on(Operation::Unlink, Fault::Io)
            .path("seg/")
            .always(),
    );
    store.compact(NOW);
    sim.spawn.run_for(Duration::from_secs(3));
    assert_eq!(table(&entries(&partition)), before);
    let many = segment_files(&*sim.world.disk).len();
    sim.disk.heal();
    // The shard's files are looked through where the log names the partition.
    append(
        &store,
        &partition,
        &[entry("0", Some("x"), NOW)],
        Codec::None,
        None,
        NOW,
    );
    store.wait_durable(store.last_lsn()).expect("durable");
    store.abandon();
    drop((partition, store));
    let sim = sim.restart_on(1, sim.disk.process_crash_image(1));
    let (_store, _) = LogStore::open(&sim.world, config()).expect("opens");
    assert!(segment_files(&*sim.world.disk).len() < many);
    check_no_leftovers(&sim, "behind the start");
}

#[test]
fn a_disk_without_room_for_the_new_files_begins_no_pass() {
    let (sim, store, partition) = dirty(1);
    let before = segment_files(&*sim.world.disk);
    sim.disk.set_capacity(0);
    sim.spawn.run_for(Duration::from_secs(3));
    store.compact(NOW);
    assert_eq!(store.metrics().compactions, 0);
    assert_eq!(store.metrics().compaction_failures, 0);
    assert_eq!(segment_files(&*sim.world.disk), before);
    sim.disk.set_capacity(1 << 40);
    sim.spawn.run_for(Duration::from_secs(3));
    store.compact(NOW);
    assert_eq!(store.metrics().compactions, 1);
    look_everywhere(&partition);
}
