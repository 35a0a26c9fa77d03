//! Append, group commit, read: the simple life of a partition.

mod node;

use std::time::Duration;

use commitlog::{AppendError, AppendOrigin, LogSettings, LogStore, ReadBound, ReadError};
use node::{LEADER, Spec, batch, config, contents, key, leader, open, settings, stamped, view};
use wire::ids::{LeaderEpoch, Offset};
use world::{OpenMode, World};

const ALL: u32 = 1 << 20;

#[test]
fn an_appended_batch_is_read_when_its_group_is_durable() {
    let store = open(&World::sim(1).world);
    let partition = leader(&store, 0);
    let appended = partition
        .append(&view(&batch(3, 100)), LEADER, 1_000)
        .expect("append");
    assert_eq!(
        (appended.base_offset, appended.last_offset),
        (Offset(0), Offset(2))
    );
    let early = partition
        .read(Offset(0), ALL, true, ReadBound::HighWatermark)
        .expect("read");
    assert!(early.file.is_none(), "not durable, not readable");

    store.wait_durable(appended.lsn).expect("durable");
    let read = partition
        .read(Offset(0), ALL, true, ReadBound::HighWatermark)
        .expect("read");
    assert_eq!(read.next_offset, Offset(3));
    // rule P3: offset and epoch are written in, the rest is as it came.
    assert_eq!(
        contents(&read.file.expect("bytes")),
        stamped(&batch(3, 100), 0, 0)
    );
}

#[test]
fn fetch_inside_a_batch_returns_the_whole_batch() {
    // rule F1
    let store = open(&World::sim(1).world);
    let settings = LogSettings::default();
    let partition = store.create_partition(key(0), settings).expect("create");
    partition.become_leader(LeaderEpoch(0)).expect("epoch");
    let mut lsn = partition
        .append(&view(&batch(5, 10)), LEADER, 0)
        .expect("append")
        .lsn;
    for _ in 0..9 {
        lsn = partition
            .append(&view(&batch(5, 10)), LEADER, 0)
            .expect("append")
            .lsn;
    }
    store.wait_durable(lsn).expect("durable");
    for offset in 0..50 {
        let read = partition.read(Offset(offset), ALL, true, ReadBound::HighWatermark);
        let read = read.expect("read");
        assert_eq!(read.first_offset, Offset(offset / 5 * 5));
        assert_eq!(read.next_offset, Offset(50));
    }
    let small = partition
        .read(Offset(12), 1, true, ReadBound::HighWatermark)
        .expect("read");
    assert_eq!(
        (small.first_offset, small.next_offset),
        (Offset(10), Offset(15))
    ); // rule F2
    let none = partition
        .read(Offset(12), 1, false, ReadBound::HighWatermark)
        .expect("read");
    assert!(none.file.is_none());
    let beyond = partition.read(Offset(51), ALL, true, ReadBound::HighWatermark);
    assert!(matches!(beyond, Err(ReadError::OutOfRange { .. })));
}

#[test]
fn full_staging_buffers_refuse_until_a_group_is_written() {
    let store = open(&World::sim(1).world);
    let partition = leader(&store, 0);
    let mut last = None;
    let refused =
        (0..1000).find_map(
            |_| match partition.append(&view(&batch(1, 2000)), LEADER, 0) {
                Ok(appended) => {
                    last = Some(appended.lsn);
                    None
                }
                Err(error) => Some(error),
            },
        );
    assert_eq!(refused, Some(AppendError::StagingFull));
    store.wait_durable(last.expect("some")).expect("durable");
    partition
        .append(&view(&batch(1, 2000)), LEADER, 0)
        .expect("room again");
}

#[test]
fn a_batch_larger_than_a_staging_buffer_gets_its_own() {
    let store = open(&World::sim(1).world);
    let partition = leader(&store, 0);
    let appended = partition
        .append(&view(&batch(1, 30_000)), LEADER, 0)
        .expect("append");
    store.wait_durable(appended.lsn).expect("durable");
    let read = partition
        .read(Offset(0), 10, true, ReadBound::HighWatermark)
        .expect("read");
    assert!(read.file.expect("bytes").length > 30_000);
    let error = partition.append(&view(&batch(1, 40_000)), LEADER, 0);
    assert!(matches!(error, Err(AppendError::TooLarge { .. })));
}

#[test]
fn only_the_leader_of_the_epoch_appends() {
    // rule R1
    let store = open(&World::sim(1).world);
    let partition = store.create_partition(key(0), settings()).expect("create");
    assert_eq!(
        partition.append(&view(&batch(1, 1)), LEADER, 0),
        Err(AppendError::NotLeader)
    );
    partition.become_leader(LeaderEpoch(1)).expect("epoch");
    assert_eq!(
        partition.append(&view(&batch(1, 1)), LEADER, 0),
        Err(AppendError::NotLeader)
    );
    let one = AppendOrigin::Client {
        leader_epoch: LeaderEpoch(1),
    };
    partition
        .append(&view(&batch(1, 1)), one, 0)
        .expect("append");
}

#[test]
fn a_repeated_batch_answers_as_the_original_did_also_after_a_restart() {
    // rules T1, T2, T5, R6
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    let first = Spec::new(2, 50, 1).by(9, 0, 0).bytes();
    let second = Spec::new(2, 50, 2).by(9, 0, 2).bytes();
    let original = partition.append(&view(&first), LEADER, 5).expect("append");
    let again = partition
        .append(&view(&first), LEADER, 6)
        .expect("duplicate");
    assert!(again.duplicate && again.base_offset == original.base_offset);
    assert_eq!(again.lsn, original.lsn, "never acknowledged from memory");
    partition.append(&view(&second), LEADER, 7).expect("append");
    let gap = Spec::new(1, 5, 3).by(9, 0, 7).bytes();
    let refused = partition.append(&view(&gap), LEADER, 8);
    assert_eq!(
        refused,
        Err(AppendError::OutOfOrderSequence {
            found: 7,
            expected: 4
        })
    );
    store.close().expect("close");

    for _ in 0..2 {
        let store = open(&sim.world);
        let partition = store.partition(&key(0)).expect("there");
        partition.become_leader(LeaderEpoch(0)).expect("epoch");
        let again = partition
            .append(&view(&second), LEADER, 9)
            .expect("duplicate");
        assert!(again.duplicate && again.base_offset == Offset(2));
        let old = Spec::new(1, 5, 3).by(9, -1, 4).bytes();
        assert!(partition.append(&view(&old), LEADER, 8).is_err());
        store.close().expect("close");
    }
}

#[test]
fn a_clean_stop_reads_no_log_and_loses_nothing() {
    let sim = World::sim(3);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    for _ in 0..20 {
        partition
            .append(&view(&batch(1, 700)), LEADER, 0)
            .expect("append");
        store.wait_durable(store.last_lsn()).expect("durable");
    }
    store.close().expect("close");
    let (store, report) = LogStore::open(&sim.world, config()).expect("open");
    assert!(report.clean && !report.created);
    assert_eq!((report.blocks, report.partitions), (0, 1));
    assert_eq!(
        store.partition(&key(0)).expect("there").offsets().end,
        Offset(20)
    );
}

#[test]
fn a_clean_stop_leaves_no_file_of_what_was_deleted() {
    let sim = World::sim(3);
    let store = open(&sim.world);
    for number in 0..2 {
        let partition = leader(&store, number);
        partition
            .append(&view(&batch(1, 700)), LEADER, 0)
            .expect("append");
    }
    store.wait_durable(store.last_lsn()).expect("durable");
    store.delete_partition(&key(0)).expect("deleted");
    store.close().expect("close");
    let left: Vec<String> = ["seg/00", "seg/01", "seg/02"]
        .into_iter()
        .filter_map(|dir| sim.world.disk.list(dir).ok())
        .flatten()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
    let (_, report) = LogStore::open(&sim.world, config()).expect("open");
    assert!(report.clean);
}

#[test]
fn a_large_file_goes_a_piece_at_a_time() {
    const PIECE: u64 = 1 << 20;
    let sim = World::sim(3);
    let store = open(&sim.world);
    let settings = LogSettings {
        segment_bytes: 8 << 20,
        ..settings()
    };
    let partition = store.create_partition(key(0), settings).expect("created");
    partition.become_leader(LeaderEpoch(0)).expect("leads");
    for _ in 0..120 {
        partition
            .append(&view(&batch(1, 30_000)), LEADER, 0)
            .expect("append");
        store.wait_durable(store.last_lsn()).expect("durable");
    }
    let path = "seg/01/1-00000000000000000000.seg";
    let length = || {
        let file = sim.world.disk.open(path, OpenMode::Read);
        file.and_then(|file| file.len()).unwrap_or(0)
    };
    let mut lengths = vec![length()];
    assert!(lengths[0] > 3 * PIECE);
    store.delete_partition(&key(0)).expect("deleted");
    drop(partition);
    store.wait_durable(store.last_lsn()).expect("durable");
    store.checkpoint().expect("checkpoint");
    for _ in 0..1_000 {
        sim.spawn.run_for(Duration::from_millis(5));
        lengths.push(length());
    }
    assert_eq!(lengths.last(), Some(&0), "it is gone");
    assert!(lengths.windows(2).all(|two| two[0] - two[1] <= PIECE));
}

#[test]
fn lookups_by_time_name_the_record_itself() {
    // rules M1, M2
    let store = open(&World::sim(1).world);
    let partition = leader(&store, 0);
    for at in 0..30 {
        let bytes = Spec::new(3, 300, 1).at(1_000 * at).bytes();
        let lsn = partition
            .append(&view(&bytes), LEADER, 0)
            .expect("append")
            .lsn;
        store.wait_durable(lsn).expect("durable");
    }
    for at in 0..30 {
        let found = partition
            .offset_for_timestamp(1_000 * at + 1)
            .expect("look-up");
        let found = found.expect("found");
        assert_eq!(
            (found.offset, found.timestamp_ms),
            (Offset(3 * at + 1), 1_000 * at + 1)
        );
        let next = partition
            .offset_for_timestamp(1_000 * at + 3)
            .expect("look-up");
        assert_eq!(
            next.map(|next| next.offset.0),
            (at < 29).then_some(3 * at + 3)
        );
    }
    let newest = partition
        .offset_of_max_timestamp()
        .expect("look-up")
        .expect("found");
    assert_eq!((newest.offset, newest.timestamp_ms), (Offset(89), 29_002));
}

#[test]
fn a_directory_of_another_cluster_or_without_identity_is_refused_untouched() {
    let sim = World::sim(1);
    let mine = commitlog::Identity {
        cluster_id: "one".into(),
        broker_id: 1,
    };
    let owned = commitlog::StoreConfig {
        identity: Some(mine.clone()),
        ..config()
    };
    let (store, _) = LogStore::open(&sim.world, owned.clone()).expect("open");
    let partition = leader(&store, 0);
    let lsn = partition
        .append(&view(&batch(1, 1)), LEADER, 0)
        .expect("append")
        .lsn;
    store.wait_durable(lsn).expect("durable");
    store.close().expect("close");
    drop((partition, store));
    let other = commitlog::Identity {
        broker_id: 2,
        ..mine
    };
    let foreign = commitlog::StoreConfig {
        identity: Some(other),
        ..config()
    };
    let refused = LogStore::open(&sim.world, foreign).map(drop);
    assert!(matches!(refused, Err(commitlog::OpenError::Foreign { .. })));
    let (store, report) = LogStore::open(&sim.world, owned.clone()).expect("still good");
    assert!(report.clean);
    store.close().expect("close");
    drop(store);
    sim.world.disk.unlink("identity").expect("unlink");
    let refused = LogStore::open(&sim.world, owned).map(drop);
    assert!(matches!(refused, Err(commitlog::OpenError::Foreign { .. })));
}

#[test]
fn a_hole_at_a_segments_end_is_read_over() {
    // rule F1
    let sim = World::sim(1);
    let store = open(&sim.world);
    let partition = leader(&store, 0);
    let put = |records: i32, payload: usize| {
        let bytes = batch(records, payload);
        let lsn = partition
            .append(&view(&bytes), LEADER, 0)
            .expect("append")
            .lsn;
        store.wait_durable(lsn).expect("durable");
    };
    put(4, 2_000);
    put(4, 500);
    // Inside the second batch, which goes as a whole; the third one begins a segment.
    let lsn = partition.truncate(Offset(6)).expect("cut");
    store.wait_durable(lsn).expect("durable");
    put(4, 3_000);
    let read = partition.read(Offset(4), 10_000, true, ReadBound::HighWatermark);
    let read = read.expect("read");
    assert!(read.file.is_some());
    assert_eq!(
        (read.first_offset, read.next_offset),
        (Offset(6), Offset(10))
    );
}
