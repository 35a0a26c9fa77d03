//! What goes wrong with disks, one story each (storage.md 15, item 4).

mod node;

use std::sync::Arc;
use std::time::Duration;

use commitlog::{
    AppendError, AppendOrigin, LogError, LogStore, OpenError, Partition, ReadBound, ReadError,
    StoreConfig, StoreHealth,
};
use node::{LEADER, Spec, batch, config, contents, key, leader, open, read_all, view};
use wire::ids::{LeaderEpoch, Offset};
use world::sim::{Fault, Injection, Operation, SimDisk, SimWorld};
use world::{Disk, OpenMode, World};

fn append(store: &LogStore, partition: &Arc<Partition>, tag: u8) {
    let bytes = Spec::new(1, 600, tag).bytes();
    let lsn = partition
        .append(&view(&bytes), LEADER, 0)
        .expect("append")
        .lsn;
    store.wait_durable(lsn).expect("durable");
}

fn tags(partition: &Partition) -> Vec<u8> {
    let start = partition.offsets().log_start.0;
    let batches = read_all(partition, start, ReadBound::HighWatermark).expect("readable");
    batches.iter().map(|batch| batch[batch.len() - 2]).collect()
}

fn reopened(sim: &SimWorld, disk: SimDisk, seed: u64) -> (SimWorld, Arc<LogStore>) {
    let sim = sim.restart_on(seed, disk);
    let store = open(&sim.world);
    (sim, store)
}

#[test]
fn failed_flush_moves_the_group_to_a_fresh_slot() {
    // rule D1
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append(&store, &partition, 1);
    sim.spawn.run_until_idle();
    sim.disk
        .inject(Injection::on(Operation::WriteDurable, Fault::Io));
    append(&store, &partition, 2);
    append(&store, &partition, 3);
    assert_eq!(store.metrics().flush_failures, 1);
    assert_eq!(store.health(), StoreHealth::Ok);
    assert_eq!(tags(&partition), [1, 2, 3]);
}

#[test]
fn second_failed_flush_stops_acks() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append(&store, &partition, 1);
    sim.spawn.run_until_idle();
    sim.disk
        .inject(Injection::on(Operation::WriteDurable, Fault::Io).times(2));
    let lsn = partition
        .append(&view(&batch(1, 10)), LEADER, 0)
        .expect("staged")
        .lsn;
    assert!(matches!(store.wait_durable(lsn), Err(LogError::Dead(_))));
    assert!(store.durable_lsn() < lsn);
    assert!(matches!(store.health(), StoreHealth::Dead(_)));
    assert_eq!(
        partition.append(&view(&batch(1, 10)), LEADER, 0),
        Err(AppendError::Dead)
    );
    assert_eq!(tags(&partition), [1], "reads go on");
}

#[test]
fn retired_slot_is_not_taken_for_corruption() {
    for seed in 0..40 {
        let sim = World::sim(seed);
        let store = open(&sim.world);
        let partition = leader(&store, 0);
        sim.spawn.run_until_idle();
        for tag in 0..4 {
            append(&store, &partition, tag);
        }
        sim.disk
            .inject(Injection::on(Operation::WriteDurable, Fault::Io));
        for tag in 4..8 {
            append(&store, &partition, tag);
        }
        // The failed write left any part of itself in the retired slot.
        let (_, store) = reopened(&sim, sim.disk.crash_image(seed), seed);
        let partition = store.partition(&key(0)).expect("there");
        assert_eq!(tags(&partition), [0, 1, 2, 3, 4, 5, 6, 7], "seed {seed}");
    }
}

#[test]
fn writeback_error_rebuilds_segment_from_log() {
    // rule D1
    for seed in 0..10 {
        let sim = World::sim(seed);
        let store = open(&sim.world);
        let partition = leader(&store, 0);
        append(&store, &partition, 1);
        store.checkpoint().expect("checkpoint");
        for tag in 2..12 {
            append(&store, &partition, tag);
        }
        let held = partition.read(Offset(9), 2_000, true, ReadBound::HighWatermark);
        let held = held.expect("read").file.expect("bytes");
        let before = contents(&held);
        let sync = Injection::on(Operation::SyncData, Fault::Io).path("seg/");
        sim.disk.inject(sync);
        store.checkpoint().expect("the second copy is good");
        assert!(store.metrics().rebuilds > 0);
        let all: Vec<u8> = (1..12).collect();
        assert_eq!(tags(&partition), all);
        assert_eq!(contents(&held), before, "a reader keeps the old file");
        append(&store, &partition, 12);
        let (_, store) = reopened(&sim, sim.disk.crash_image(seed), seed);
        let partition = store.partition(&key(0)).expect("there");
        assert_eq!(tags(&partition), (1..13).collect::<Vec<u8>>());
    }
}

#[test]
fn a_writeback_error_that_only_the_trickle_is_told_of_rebuilds_the_segment() {
    // rule D1
    for seed in 0..10 {
        let sim = World::sim(seed);
        let store = open(&sim.world);
        let partition = leader(&store, 0);
        let awaited = Injection::on(Operation::AwaitWriteback, Fault::Io).path("seg/");
        sim.disk.inject(awaited);
        for tag in 1..12 {
            append(&store, &partition, tag);
        }
        // The trickle writes a young tail back when it is a second old; its error drops pages, and
        // the checkpoint's own sync succeeds without them.
        sim.spawn.run_for(Duration::from_secs(2));
        store.checkpoint().expect("rebuilt");
        assert!(store.metrics().rebuilds > 0);
        let all: Vec<u8> = (1..12).collect();
        assert_eq!(tags(&partition), all);
        let (_, store) = reopened(&sim, sim.disk.crash_image(seed), seed);
        let partition = store.partition(&key(0)).expect("there");
        assert_eq!(tags(&partition), all);
    }
}

#[test]
fn a_footer_written_again_after_a_kill_ends_its_segment() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    // At the log's resolution of 1,024 ms those of offsets 8 and 9, in the second segment, are one
    // instant: a pair of append times less.
    let instant = |at: i64| 1_024_000 + (at - 8) * 1_000;
    for at in 0..20 {
        let bytes = Spec::new(1, 600, 1).bytes();
        let appended = partition.append(&view(&bytes), LEADER, instant(at));
        let lsn = appended.expect("append").lsn;
        store.wait_durable(lsn).expect("durable");
    }
    // The process is killed and the machine lives: the page cache has all that was written.
    let (_, store) = reopened(&sim, sim.disk.process_crash_image(2), 2);
    let partition = store.partition(&key(0)).expect("there");
    for at in 0..20 {
        let told = partition.append_time_ms(Offset(at)).expect("known");
        let early = instant(at) - told;
        assert!((0..2_048).contains(&early), "offset {at}: {early} ms early");
    }
}

/// What is done to a slot's file of a process that died.
type Damage = fn(&dyn world::Disk, &str);

const SLOT_DAMAGES: [(&str, Damage); 3] = [
    ("cut", |disk, path| {
        let file = disk.open(path, OpenMode::ReadWrite).expect("there");
        file.truncate(file.len().expect("known") / 3).expect("cut");
    }),
    ("emptied", |disk, path| {
        let file = disk.open(path, OpenMode::ReadWrite).expect("there");
        file.truncate(0).expect("emptied");
    }),
    ("gone", |disk, path| disk.unlink(path).expect("unlinked")),
];

#[test]
fn a_slot_in_use_that_was_cut_emptied_or_lost_is_refused() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 0..4 {
        append(&store, &partition, tag);
    }
    for (kind, damage) in SLOT_DAMAGES {
        let image = sim.disk.process_crash_image(2);
        damage(&image, "wal/00000000.wal");
        let sim = sim.restart_on(2, image);
        let Err(refusal) = LogStore::open(&sim.world, config()) else {
            panic!("{kind}: acknowledged records would be gone");
        };
        let told = refusal.to_string();
        assert!(told.contains("wal/00000000.wal"), "{kind}: {told}");
    }
}

#[test]
fn slots_that_were_never_used_are_made_again_as_are_all_after_a_clean_stop() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 0..4 {
        append(&store, &partition, tag);
    }
    // The other slots are filled beside the work.
    sim.spawn.run_for(Duration::from_secs(20));
    let killed = sim.disk.process_crash_image(2);
    store.close().expect("closed");
    let stopped = sim.disk.process_crash_image(2);
    let opens = |image: &SimDisk, slot: &str, context: &str| {
        let sim = sim.restart_on(2, image.clone());
        let (store, _) = LogStore::open(&sim.world, config())
            .unwrap_or_else(|error| panic!("{context}: {error}"));
        let partition = store.partition(&key(0)).expect("there");
        assert_eq!(tags(&partition), [0, 1, 2, 3], "{context}");
        sim.spawn.run_for(Duration::from_secs(20));
        let file = sim.world.disk.open(slot, OpenMode::Read).expect(context);
        assert_eq!(file.len().ok(), Some(config().slot_bytes), "{context}");
    };
    for (image, slot, kinds) in [
        (&killed, "wal/00000002.wal", ["cut", "gone"].as_slice()),
        (&stopped, "wal/00000000.wal", &["cut", "emptied", "gone"]),
    ] {
        for (kind, damage) in SLOT_DAMAGES {
            if kinds.contains(&kind) {
                let image = image.process_crash_image(3);
                damage(&image, slot);
                opens(&image, slot, &format!("{slot} {kind}"));
            }
        }
    }
}

#[test]
fn slots_are_made_piece_by_piece_beside_the_work() {
    let sim = World::sim(1);
    let large = StoreConfig {
        slot_bytes: 4 << 20,
        ..config()
    };
    let slots = large.slots as usize;
    let (store, _) = LogStore::open(&sim.world, large).expect("open");
    let names = || -> Vec<String> {
        let entries = sim.world.disk.list("wal").expect("there");
        entries.into_iter().map(|entry| entry.name).collect()
    };
    // The first look, and then a piece of 1 MiB every 15 ms.
    sim.spawn.run_for(Duration::from_millis(280));
    assert_eq!(names(), ["00000000.wal", "00000001.new"]);
    let partition = leader(&store, 0);
    append(&store, &partition, 1);
    assert_eq!(
        names(),
        ["00000000.wal", "00000001.new"],
        "nobody waits for it"
    );
    sim.spawn.run_for(Duration::from_secs(2));
    assert_eq!(names().len(), slots);
    assert!(names().iter().all(|name| name.ends_with(".wal")));
}

#[test]
fn a_slot_that_a_crash_left_unfinished_is_made_again() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append(&store, &partition, 7);
    let image = sim.disk.process_crash_image(2);
    let left = "wal/00000001.new";
    if let Ok(file) = image.open(left, OpenMode::CreateNew) {
        file.write_at(&[0; 4096], 0).expect("written");
    }
    let sim = sim.restart_on(2, image);
    let (store, _) = LogStore::open(&sim.world, config()).expect("open");
    assert_eq!(tags(&store.partition(&key(0)).expect("there")), [7]);
    sim.spawn.run_for(Duration::from_secs(20));
    let names = sim.world.disk.list("wal").expect("there");
    let names: Vec<&str> = names.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names.len(), config().slots as usize, "{names:?}");
    assert!(names.iter().all(|name| name.ends_with(".wal")), "{names:?}");
}

#[test]
fn segment_write_that_meets_a_full_disk_loses_nothing() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append(&store, &partition, 1);
    sim.disk.inject(
        Injection::on(Operation::WriteAt, Fault::Full)
            .path("seg/")
            .times(3),
    );
    append(&store, &partition, 2);
    assert_eq!(
        partition.offsets().high_watermark,
        Offset(1),
        "acknowledged, not yet readable"
    );
    for _ in 0..5 {
        drop(store.checkpoint());
    }
    append(&store, &partition, 3);
    assert_eq!(tags(&partition), [1, 2, 3]);
}

fn small_disk() -> (SimWorld, Arc<LogStore>, Arc<Partition>) {
    let sim = World::sim(1);
    sim.disk.set_capacity(1 << 20);
    let config = StoreConfig {
        free_bytes_min: Some(400 << 10),
        ..config()
    };
    let (store, _) = LogStore::open(&sim.world, config).expect("open");
    let partition = leader(&store, 0);
    let mut tag = 0;
    while store.health() == StoreHealth::Ok {
        let bytes = Spec::new(1, 5_000, tag).bytes();
        let lsn = partition
            .append(&view(&bytes), LEADER, 0)
            .expect("append")
            .lsn;
        store.wait_durable(lsn).expect("durable");
        sim.spawn.run_for(Duration::from_secs(1));
        tag += 1;
        assert!(tag < 255, "the disk fills up");
    }
    (sim, store, partition)
}

#[test]
fn full_disk_refuses_produce_and_serves_reads() {
    // rule D6
    let (_, store, partition) = small_disk();
    assert_eq!(store.health(), StoreHealth::Full);
    assert_eq!(
        partition.append(&view(&batch(1, 10)), LEADER, 0),
        Err(AppendError::Full)
    );
    assert!(tags(&partition).len() > 20);
    let coordinator = AppendOrigin::Coordinator {
        leader_epoch: LeaderEpoch(0),
    };
    partition
        .append(&view(&batch(1, 10)), coordinator, 0)
        .expect("the house's own records go on");
}

#[test]
fn space_freed_by_retention_resumes_produce() {
    let (sim, store, partition) = small_disk();
    let settings = commitlog::LogSettings {
        retention_bytes: 10_000,
        ..node::settings()
    };
    partition.apply_settings(settings);
    store.retain(0);
    sim.spawn.run_for(Duration::from_secs(5));
    assert_eq!(store.health(), StoreHealth::Ok);
    assert!(partition.offsets().log_start > Offset(0));
    append(&store, &partition, 77);
    assert_eq!(tags(&partition).last(), Some(&77));
}

/// Position of the block with this LSN in the first slot.
fn block_position(sim: &SimWorld, lsn: u64) -> u64 {
    let file = sim
        .world
        .disk
        .open("wal/00000000.wal", world::OpenMode::Read)
        .expect("slot");
    let mut bytes = vec![0; 64 << 10];
    file.read_at(&mut bytes, 0).expect("read");
    (0..16)
        .map(|at| at * 4096)
        .find(|at| {
            let block = &bytes[*at as usize..];
            commitlog::check_block(block).is_ok_and(|(header, _)| header.lsn == lsn)
        })
        .expect("the block is in the first slot")
}

#[test]
fn acknowledged_block_gone_is_corruption_not_torn_tail() {
    // rule D2
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 0..6 {
        append(&store, &partition, tag);
    }
    let last = store.durable_lsn().0;
    // One second of silence: an empty block vouches for the last one too.
    sim.spawn.run_for(Duration::from_secs(2));
    for lsn in [3, last] {
        let image = sim.disk.crash_image(lsn);
        image
            .flip_bit("wal/00000000.wal", block_position(&sim, lsn) + 100, 3)
            .expect("flip");
        let node = sim.restart_on(lsn, image);
        match LogStore::open(&node.world, config()).map(drop) {
            Err(OpenError::AcknowledgedBlockLost { lsn: lost, .. }) => assert_eq!(lost, lsn),
            other => panic!("{other:?}"),
        }
        // Refused again and again, until an operator decides.
        assert!(LogStore::open(&node.world, config()).is_err());
        let accept = StoreConfig {
            accept_lost_blocks: true,
            ..config()
        };
        let (store, report) = LogStore::open(&node.world, accept).expect("opens");
        assert!(report.lost.is_some());
        let found = tags(&store.partition(&key(0)).expect("there"));
        assert!(
            found.len() < 6
                && found
                    .iter()
                    .enumerate()
                    .all(|(at, tag)| at == *tag as usize)
        );
    }
}

#[test]
fn block_that_was_never_acknowledged_is_a_torn_tail() {
    // rule D2
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 0..3 {
        append(&store, &partition, tag);
    }
    let lsn = store.durable_lsn().0;
    let image = sim.disk.crash_image(1);
    image
        .flip_bit("wal/00000000.wal", block_position(&sim, lsn) + 100, 3)
        .expect("flip");
    let node = sim.restart_on(1, image);
    let (store, report) = LogStore::open(&node.world, config()).expect("opens");
    assert!(report.torn_tail && report.lost.is_none());
    assert_eq!(tags(&store.partition(&key(0)).expect("there")), [0, 1]);
}

#[test]
fn footer_bytes_are_never_served() {
    // rule D8: the file is longer than the log
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 0..20 {
        append(&store, &partition, tag);
    }
    let mut at = Offset(0);
    let mut footers = 0;
    while at < Offset(20) {
        let read = partition
            .read(at, u32::MAX, true, ReadBound::LogEnd)
            .expect("read");
        let slice = read.file.expect("bytes");
        let mut rest = contents(&slice);
        while !rest.is_empty() {
            let length = wire::batch::BatchView::split(&rest)
                .expect("batches only")
                .0
                .len();
            rest.drain(..length);
        }
        footers += u64::from(slice.file.len().expect("length") > slice.position + slice.length);
        at = read.next_offset;
    }
    assert!(
        footers >= 3,
        "there were footers behind the data: {footers}"
    );
}

#[test]
fn reader_survives_unlink_and_compaction_swap() {
    // The swap of a segment for another file is the one that a rebuild makes; see also
    // writeback_error_rebuilds_segment_from_log.
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 0..20 {
        append(&store, &partition, tag);
    }
    let slice = partition
        .read(Offset(0), 3_000, true, ReadBound::HighWatermark)
        .expect("read");
    let slice = slice.file.expect("bytes");
    let before = contents(&slice);
    partition.advance_log_start(Offset(15)).expect("trim");
    store.checkpoint().expect("checkpoint");
    sim.spawn.run_for(Duration::from_secs(2));
    let names = sim.world.disk.list("seg/01").expect("list");
    assert!(
        !names
            .iter()
            .any(|name| name.name.ends_with("-00000000000000000000.seg"))
    );
    assert_eq!(contents(&slice), before);
    let below = partition
        .read(Offset(0), 3_000, true, ReadBound::HighWatermark)
        .map(drop);
    assert!(matches!(below, Err(ReadError::OutOfRange { .. })));
    assert_eq!(tags(&partition), [15, 16, 17, 18, 19]);
}

#[test]
fn scrubbed_damage_is_marked_and_not_served() {
    // rule D4, rule D5
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 0..20 {
        append(&store, &partition, tag);
    }
    store.checkpoint().expect("checkpoint");
    assert_eq!(store.scrub(), 0);
    // In the leader epoch: no CRC of Kafka's covers it.
    let path = "seg/01/1-00000000000000000000.seg";
    sim.disk.flip_bit(path, 15, 0).expect("flip");
    assert_eq!(store.scrub(), 1);
    let read = partition
        .read(Offset(0), 3_000, true, ReadBound::HighWatermark)
        .map(drop);
    assert!(matches!(read, Err(ReadError::Corrupt { .. })));
    partition
        .read(Offset(15), 3_000, true, ReadBound::HighWatermark)
        .expect("the rest is good");
}

#[test]
fn a_segment_that_was_cut_is_told_before_an_answer_begins() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 0..4 {
        append(&store, &partition, tag);
    }
    store.close().expect("closed");
    let image = sim.disk.process_crash_image(1);
    let segment = image
        .open("seg/01/1-00000000000000000000.seg", OpenMode::ReadWrite)
        .expect("there");
    // In the body of the third batch.
    let batch = Spec::new(1, 600, 0).bytes().len() as u64;
    segment.truncate(batch * 3 - 10).expect("cut");
    let (_, store) = reopened(&sim, image, 1);
    let partition = store.partition(&key(0)).expect("there");
    let read = |offset| {
        partition
            .read(Offset(offset), 10, true, ReadBound::HighWatermark)
            .map(|slice| slice.next_offset)
    };
    assert_eq!(read(1).expect("whole"), Offset(2));
    for lost in [2, 3] {
        let told = read(lost).expect_err("cut");
        assert!(matches!(told, ReadError::Corrupt { .. }), "{told}");
    }
}

#[test]
fn what_lies_behind_the_logs_end_is_cut_off_a_segment() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append(&store, &partition, 0);
    store.checkpoint().expect("checkpoint");
    append(&store, &partition, 1);
    let path = "seg/01/1-00000000000000000000.seg";
    let image = sim.disk.process_crash_image(1);
    let segment = image.open(path, OpenMode::ReadWrite).expect("there");
    let end = 2 * Spec::new(1, 600, 0).bytes().len() as u64;
    segment.write_at(&[7; 5_000], end).expect("a torn group");
    let (sim, store) = reopened(&sim, image, 1);
    let partition = store.partition(&key(0)).expect("there");
    assert_eq!(tags(&partition), [0, 1]);
    let segment = sim.disk.open(path, OpenMode::Read).expect("there");
    assert_eq!(segment.len().expect("told"), end);
}

#[test]
fn damaged_newest_manifest_falls_back_to_the_one_before() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 0..20 {
        append(&store, &partition, tag);
        store.checkpoint().expect("checkpoint");
    }
    store.fold_manifest().expect("fold");
    append(&store, &partition, 20);
    store.checkpoint().expect("checkpoint");
    append(&store, &partition, 21);
    let image = sim.disk.crash_image(1);
    image.flip_bit("meta/0000000002.snap", 70, 1).expect("flip");
    let (_, store) = reopened(&sim, image, 1);
    let partition = store.partition(&key(0)).expect("there");
    assert_eq!(tags(&partition), (0..22).collect::<Vec<u8>>());
}

#[test]
fn a_manifest_snapshot_that_fails_half_way_is_made_again_before_anything_is_added() {
    for (operation, skip) in [
        (Operation::Rename, 0),
        (Operation::SyncDir, 1),
        (Operation::SyncData, 2),
    ] {
        let sim = World::sim(1);
        let store = open(&sim.world);
        let partition = leader(&store, 0);
        append(&store, &partition, 0);
        store.checkpoint().expect("checkpoint");
        let fault = Injection::on(operation, Fault::Io).path("meta").skip(skip);
        sim.disk.inject(fault);
        store.fold_manifest().expect_err("the disk failed");
        // Which generation is in force is not known. The log's slots are used over again, so what
        // goes to the wrong one is lost.
        for tag in 1..200 {
            append(&store, &partition, tag);
            if tag % 10 == 0 {
                store.checkpoint().expect("checkpoint");
            }
        }
        let (_, store) = reopened(&sim, sim.disk.crash_image(1), 1);
        let partition = store.partition(&key(0)).expect("there");
        assert_eq!(tags(&partition), (0..200).collect::<Vec<u8>>());
    }
}

#[test]
fn a_log_that_fills_up_before_its_slots_are_made_goes_on() {
    for seed in 0..30 {
        let sim = World::sim(seed);
        let store = open(&sim.world);
        let partition = leader(&store, 0);
        let bytes = Spec::new(1, 3_000, 1).bytes();
        let (mut appended, mut refused) = (0, 0);
        // Three times what the log holds.
        while appended < 3 * 4 * 64 / 3 {
            match partition.append(&view(&bytes), LEADER, 0) {
                Ok(_) => appended += 1,
                Err(AppendError::StagingFull) => {
                    refused += 1;
                    assert!(refused < 10_000, "seed {seed}: stuck after {appended}");
                    sim.spawn.run_for(Duration::from_millis(1));
                }
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        assert!(refused > 0);
    }
}

#[test]
fn between_the_marks_a_full_disk_stays_full() {
    // rule D6
    let (sim, store, _) = small_disk();
    let marks = store.metrics();
    assert_eq!(marks.free_bytes_min, 400 << 10);
    assert_eq!(marks.free_bytes_resume, 500 << 10, "a quarter more");
    let grow = |by: u64| {
        sim.disk.set_capacity((1 << 20) + by);
        sim.spawn.run_for(Duration::from_secs(2));
        (store.metrics().free_bytes, store.health())
    };
    let (free, health) = grow(50 << 10);
    assert!(free > marks.free_bytes_min && free < marks.free_bytes_resume);
    assert_eq!(health, StoreHealth::Full);
    let (free, health) = grow(200 << 10);
    assert!(free >= marks.free_bytes_resume);
    assert_eq!(health, StoreHealth::Ok);
}

#[test]
fn slots_in_use_open_with_the_size_they_were_made_with_and_no_other() {
    // Whether the configuration was changed or a slot was cut: nothing acknowledged is given up.
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 1..20 {
        append(&store, &partition, tag);
    }
    let sim = sim.restart_after_power_cut(2);
    for slot_bytes in [128 << 10, 48 << 10] {
        let other = StoreConfig {
            slot_bytes,
            staging_bytes: 4 << 10,
            ..config()
        };
        let Err(OpenError::Config(reason)) = LogStore::open(&sim.world, other) else {
            panic!("{slot_bytes} is refused");
        };
        for part in ["wal/0000000", "65536", &slot_bytes.to_string()] {
            assert!(reason.contains(part), "{part}: {reason}");
        }
    }
    let (store, report) = LogStore::open(&sim.world, config()).expect("open");
    assert!(report.batches > 0, "it was in the log alone");
    let partition = store.partition(&key(0)).expect("there");
    let expected: Vec<u8> = (1..20).collect();
    assert_eq!(tags(&partition), expected);
}

#[test]
fn slots_that_never_held_a_block_follow_the_configuration() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    sim.spawn.run_for(Duration::from_secs(5));
    store.close().expect("closed");
    for slot_bytes in [128 << 10, 64 << 10] {
        let other = StoreConfig {
            slot_bytes,
            ..config()
        };
        let (store, _) = LogStore::open(&sim.world, other).expect("open");
        sim.spawn.run_for(Duration::from_secs(5));
        store.close().expect("closed");
        let file = sim
            .world
            .disk
            .open("wal/00000003.wal", world::OpenMode::Read);
        let bytes = file.and_then(|file| file.len()).expect("a slot");
        assert_eq!(bytes, slot_bytes);
    }
}

#[test]
fn a_cut_waits_until_a_failed_segment_write_is_made_good() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append(&store, &partition, 0);
    store.checkpoint().expect("checkpoint");
    // What follows, two whole segments, is in the log alone.
    let write = Injection::on(Operation::WriteAt, Fault::Io).path("seg/");
    sim.disk.inject(write);
    for tag in 1..16 {
        append(&store, &partition, tag);
    }
    let lsn = partition.truncate(Offset(4)).expect("cut");
    store.wait_durable(lsn).expect("durable");
    assert_eq!(tags(&partition), [0, 1, 2, 3]);
    let (_, store) = reopened(&sim, sim.disk.crash_image(1), 1);
    let partition = store.partition(&key(0)).expect("there");
    assert_eq!(tags(&partition), [0, 1, 2, 3]);
}

#[test]
fn segments_are_rebuilt_though_a_cut_behind_the_checkpoint_shortened_them() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for tag in 0..16 {
        append(&store, &partition, tag);
    }
    store.checkpoint().expect("checkpoint");
    let lsn = partition.truncate(Offset(3)).expect("cut");
    store.wait_durable(lsn).expect("durable");
    let write = Injection::on(Operation::WriteAt, Fault::Io).path("seg/");
    sim.disk.inject(write);
    for tag in 16..26 {
        append(&store, &partition, tag);
    }
    store.checkpoint().expect("rebuilt");
    let expected: Vec<u8> = (0..3).chain(16..26).collect();
    assert_eq!(tags(&partition), expected);
    let (_, store) = reopened(&sim, sim.disk.crash_image(1), 1);
    let partition = store.partition(&key(0)).expect("there");
    assert_eq!(tags(&partition), expected);
}

#[test]
fn a_first_segment_is_rebuilt_though_its_directory_was_never_made() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    let create = Injection::on(Operation::Create, Fault::Io).path("seg/");
    sim.disk.inject(create);
    append(&store, &partition, 1);
    store.checkpoint().expect("rebuilt");
    assert_eq!(tags(&partition), [1]);
}

#[test]
fn a_dead_directory_takes_no_checkpoint() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append(&store, &partition, 1);
    let names = Injection::on(Operation::SyncDir, Fault::Io).path("seg/");
    sim.disk.inject(names);
    for _ in 0..2 {
        // A second sync would say yes, without the names.
        assert!(matches!(store.checkpoint(), Err(LogError::Dead(_))));
    }
    let (_, store) = reopened(&sim, sim.disk.crash_image(1), 1);
    let partition = store.partition(&key(0)).expect("there");
    assert_eq!(tags(&partition), [1]);
}

#[test]
fn a_log_that_was_full_at_a_crash_opens_and_takes_appends() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    sim.spawn.run_for(Duration::from_secs(2));
    // No checkpoint succeeds, so that the log fills up.
    let delta = Injection::on(Operation::SyncData, Fault::Io).path("meta/");
    sim.disk.inject(delta.always());
    let mut durable = 0;
    for tag in 0..200 {
        let bytes = Spec::new(1, 3_000, tag).bytes();
        let Ok(appended) = partition.append(&view(&bytes), LEADER, 0) else {
            break;
        };
        sim.spawn.run_for(Duration::from_millis(100));
        if store.durable_lsn() < appended.lsn {
            break;
        }
        durable += 1;
    }
    let (sim, store) = reopened(&sim, sim.disk.crash_image(1), 1);
    let partition = store.partition(&key(0)).expect("there");
    assert!(tags(&partition).len() >= durable);
    let leader_epoch = LeaderEpoch(1);
    partition.become_leader(leader_epoch).expect("epoch");
    let bytes = Spec::new(1, 600, 201).bytes();
    let origin = AppendOrigin::Coordinator { leader_epoch };
    let appended = partition.append(&view(&bytes), origin, 0).expect("append");
    store.wait_durable(appended.lsn).expect("there is room");
    sim.spawn.run_for(Duration::from_secs(2));
    assert_eq!(store.health(), StoreHealth::Ok);
}

/// Appends 600-byte batches until `tags` are in, all durable.
fn append_all(store: &LogStore, partition: &Arc<Partition>, tags: std::ops::Range<u8>) {
    for tag in tags {
        append(store, partition, tag);
    }
}

const FIRST_SEGMENT: &str = "seg/01/1-00000000000000000000.seg";

#[test]
fn a_batch_header_that_rotted_is_told_by_the_cut_that_reads_it() {
    // rule D5: no checksum of Kafka's covers the first bytes of a batch.
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append_all(&store, &partition, 0..10);
    store.checkpoint().expect("checkpoint");
    let whole = sim.disk.crash_image(1);
    let lsn = partition.truncate(Offset(4)).expect("cut");
    store.wait_durable(lsn).expect("durable");
    let cut = sim.disk.crash_image(1);
    let second = Spec::new(1, 600, 0).bytes().len() as u64;
    let mut suspect = 0;
    // Base offset, length, epoch, magic, CRC, attributes, offset delta.
    for bit in 0..27 * 8 {
        for image in [&whole, &cut] {
            let image = image.process_crash_image(bit);
            let (at, flipped) = (second + bit / 8, (bit % 8) as u8);
            image.flip_bit(FIRST_SEGMENT, at, flipped).expect("there");
            let sim = sim.restart_on(bit, image);
            let (store, report) = LogStore::open(&sim.world, config()).expect("opens");
            let partition = store.partition(&key(0)).expect("there");
            partition.become_leader(LeaderEpoch(1)).expect("epoch");
            let end = partition.offsets().end;
            if partition.truncate(Offset(4)).is_err() {
                assert_eq!(partition.offsets().end, end, "bit {bit}: it is no cut");
            }
            // Whatever the cut made of it, what follows is in order or refused.
            let bytes = Spec::new(1, 600, 77).bytes();
            let origin = AppendOrigin::Client {
                leader_epoch: LeaderEpoch(1),
            };
            let end = partition.offsets().end;
            match partition.append(&view(&bytes), origin, 0) {
                Ok(appended) => {
                    assert!(report.suspect.is_empty(), "bit {bit}");
                    assert_eq!(appended.base_offset, end, "bit {bit}");
                    store.wait_durable(appended.lsn).expect("durable");
                }
                Err(AppendError::Dead) => {
                    assert_eq!(report.suspect, [key(0)], "bit {bit}");
                    suspect += 1;
                }
                Err(error) => panic!("bit {bit}: {error}"),
            }
        }
    }
    assert!(suspect > 50, "{suspect}");
}

#[test]
fn a_cut_that_cannot_read_a_segment_is_no_cut() {
    for skip in 0..4 {
        for (operation, to) in [
            (Operation::ReadAt, 3),
            (Operation::ReadAt, 8),
            (Operation::ReadAt, 15),
            (Operation::Open, 3),
        ] {
            let sim = World::sim(1);
            let store = open(&sim.world);
            let partition = leader(&store, 0);
            append_all(&store, &partition, 0..16);
            store.close().expect("closed");
            // After a start nothing is in memory.
            let (sim, store) = reopened(&sim, sim.disk.crash_image(1), 1);
            let partition = store.partition(&key(0)).expect("there");
            partition.become_leader(LeaderEpoch(0)).expect("epoch");
            let fault = Injection::on(operation, Fault::Io).path("seg/").skip(skip);
            sim.disk.inject(fault);
            let cut = partition.truncate(Offset(to));
            sim.disk.heal();
            append_all(&store, &partition, 16..24);
            let kept = if cut.is_ok() { to as u8 } else { 16 };
            let expected: Vec<u8> = (0..kept).chain(16..24).collect();
            assert_eq!(tags(&partition), expected, "{operation:?}, {skip}: {cut:?}");
            let (_, store) = reopened(&sim, sim.disk.crash_image(1), 1);
            let partition = store.partition(&key(0)).expect("there");
            assert_eq!(tags(&partition), expected, "{operation:?}, {skip}: {cut:?}");
            assert!(
                skip > 0 || cut.is_err(),
                "{operation:?}, {to}: it read nothing"
            );
        }
    }
}

#[test]
fn a_rebuild_leaves_the_files_alone_that_recovery_reads() {
    for seed in 0..20 {
        let sim = World::sim(seed);
        let store = open(&sim.world);
        let partition = leader(&store, 0);
        let write = Injection::on(Operation::WriteAt, Fault::Io).path("seg/");
        append(&store, &partition, 0);
        sim.disk.inject(write.clone());
        append_all(&store, &partition, 1..16);
        store
            .checkpoint()
            .expect("rebuilt, in files of another name");
        let lsn = partition.truncate(Offset(3)).expect("cut");
        store.wait_durable(lsn).expect("durable");
        append_all(&store, &partition, 16..24);
        // The first segment is not needed any more, but until a checkpoint says so, recovery cuts it.
        let lsn = partition.advance_log_start(Offset(7)).expect("trim");
        store.wait_durable(lsn).expect("durable");
        sim.disk.inject(write);
        append_all(&store, &partition, 24..26);
        let delta = Injection::on(Operation::SyncData, Fault::Io).path("meta/");
        sim.disk.inject(delta.always());
        store
            .checkpoint()
            .expect_err("rebuilt, and not written down");
        let (_, store) = reopened(&sim, sim.disk.crash_image(seed), seed);
        let partition = store.partition(&key(0)).expect("there");
        assert_eq!(partition.offsets().log_start, Offset(7), "seed {seed}");
        assert_eq!(
            tags(&partition),
            (20..26).collect::<Vec<u8>>(),
            "seed {seed}"
        );
    }
}

#[test]
fn files_that_a_rebuild_took_the_place_of_are_removed() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for round in 0..4 {
        let write = Injection::on(Operation::WriteAt, Fault::Io).path("seg/");
        sim.disk.inject(write.skip(4));
        append_all(&store, &partition, round * 16..round * 16 + 16);
        // The first time the new files cannot be made durable.
        let sync = Injection::on(Operation::SyncData, Fault::Io).path("seg/");
        sim.disk.inject(sync.times(4));
        while store.checkpoint().is_err() {}
        sim.spawn.run_for(Duration::from_secs(5));
    }
    assert!(store.metrics().rebuilds > 3);
    assert_eq!(tags(&partition), (0..64).collect::<Vec<u8>>());
    let files = sim.world.disk.list("seg/01").expect("there");
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    // Six batches fill a segment.
    assert_eq!(names.len(), 11, "{names:?}");
}

#[test]
fn a_partition_that_nobody_can_vouch_for_is_deleted_all_the_same() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append_all(&store, &partition, 0..10);
    store.checkpoint().expect("checkpoint");
    partition.truncate(Offset(4)).expect("cut");
    let lsn = store.delete_partition(&key(0)).expect("deleted");
    store.wait_durable(lsn).expect("durable");
    let image = sim.disk.crash_image(1);
    let second = Spec::new(1, 600, 0).bytes().len() as u64;
    // Its base offset, which the cut that comes before the deletion reads.
    image.flip_bit(FIRST_SEGMENT, second + 3, 0).expect("there");
    let sim = sim.restart_on(1, image);
    let (store, report) = LogStore::open(&sim.world, config()).expect("opens");
    assert_eq!((store.partitions(), report.suspect), (vec![], vec![]));
}

#[test]
fn a_batch_that_says_it_begins_later_is_not_served() {
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    append_all(&store, &partition, 0..6);
    drop(store);
    let image = sim.disk.process_crash_image(1);
    let batch = Spec::new(1, 600, 0).bytes().len() as u64;
    // Batch 1 says that it is batch 3 or 5: the log ends there, and what it says is not impossible.
    for (bit, from) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 5)] {
        let image = image.process_crash_image(1);
        let sim = sim.restart_on(1, image);
        let store = open(&sim.world);
        let partition = store.partition(&key(0)).expect("there");
        sim.disk
            .flip_bit(FIRST_SEGMENT, batch + 7, bit)
            .expect("there");
        let read = partition.read(Offset(from), 10, true, ReadBound::LogEnd);
        let told = read.map(drop).expect_err("damaged");
        assert!(matches!(told, ReadError::Corrupt { .. }), "{told}");
    }
}
