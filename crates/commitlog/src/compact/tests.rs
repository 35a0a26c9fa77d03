//! Transactions and markers, batch by batch, since nothing writes them yet; and logs that change
//! under a pass, step by step.

use std::sync::Arc;
use std::time::Duration;

use wire::batch::BatchView;
use wire::compress::Codec;
use wire::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId};
use wire::record::{BatchBuilder, NewRecord};
use world::World;
use world::sim::SimWorld;

use super::batch::{Fate, Rules};
use super::job::{Job, Step, Stop, group_by_size};
use super::keys::Keys;
use super::transactions::Seen;
use crate::batch_head::BatchHead;
use crate::ids::PartitionKey;
use crate::manifest::{Location, SegmentRecord};
use crate::partition::{AppendOrigin, Partition};
use crate::settings::{LogSettings, StoreConfig};
use crate::store::LogStore;
use crate::transactions::AbortedTransaction;

const NOW: i64 = 1_000_000;
const RETENTION: i64 = 5_000;

fn data(offset: i64, producer: i64, key: &[u8]) -> Vec<u8> {
    let mut builder = BatchBuilder::new()
        .producer(ProducerId(producer), ProducerEpoch(0), 0)
        .transactional();
    builder.append(&NewRecord {
        timestamp: 1,
        key: Some(key),
        value: Some(b"v"),
        headers: &[],
    });
    at(builder, offset)
}

fn marker(offset: i64, producer: i64, commit: bool) -> Vec<u8> {
    let mut builder = BatchBuilder::new()
        .producer(ProducerId(producer), ProducerEpoch(0), -1)
        .transactional()
        .control();
    let kind = [0, 0, 0, u8::from(commit)];
    builder.append(&NewRecord {
        timestamp: 1,
        key: Some(&kind),
        value: Some(&[0; 6]),
        headers: &[],
    });
    at(builder, offset)
}

fn at(builder: BatchBuilder, offset: i64) -> Vec<u8> {
    let mut bytes = builder.build().expect("builds");
    wire::batch::stamp_header(&mut bytes, Offset(offset), LeaderEpoch(0));
    bytes
}

fn aborted(producer: i64, first: i64, last: i64) -> AbortedTransaction {
    AbortedTransaction {
        producer_id: ProducerId(producer),
        first_offset: Offset(first),
        last_offset: Offset(last),
        last_stable_offset: Offset(last + 1),
    }
}

/// One pass over these batches: what is left, and the aborted transactions that stay in the index.
fn pass(
    batches: &[Vec<u8>],
    aborts: &[AbortedTransaction],
    producers: &[(i64, i64)],
    now_ms: i64,
) -> (Vec<Vec<u8>>, Vec<AbortedTransaction>) {
    let mut keys = Keys::new([1; 16], 100, 0);
    let mut seen = Seen::new(aborts.to_vec());
    let view = |bytes: &'_ [u8]| BatchHead::parse(bytes).expect("a head");
    for bytes in batches {
        let (head, batch) = (view(bytes), BatchView::whole(bytes).expect("whole"));
        if head.is_control() {
            seen.control(&head, &batch);
        } else if !seen.data(&head) {
            let records = wire::record::BatchRecords::open(&batch, 1 << 20).expect("opens");
            for record in &records {
                let record = record.expect("whole");
                keys.put(record.key.expect("a key"), record.offset.0)
                    .expect("room");
            }
        }
    }
    let mut seen = Seen::new(aborts.to_vec());
    let (mut left, mut index) = (Vec::new(), Vec::new());
    for bytes in batches {
        let (head, batch) = (view(bytes), BatchView::whole(bytes).expect("whole"));
        let mut kept = None;
        let rules = Rules {
            keys: &keys,
            now_ms,
            delete_retention_ms: RETENTION,
            producers,
            end: i64::MAX,
        };
        let fate = rules
            .fate(&head, &batch, &mut seen, &mut kept)
            .expect("reads");
        match fate {
            Fate::Whole => left.push(bytes.clone()),
            Fate::Instead(bytes) => left.push(bytes),
            Fate::Gone => {
                assert_eq!(kept, None, "an index entry has its marker");
                continue;
            }
        }
        index.extend(kept);
    }
    (left, index)
}

fn told(batches: &[Vec<u8>]) -> Vec<(i64, bool, i32)> {
    batches
        .iter()
        .map(|bytes| {
            let view = BatchView::whole(bytes).expect("whole");
            assert!(wire::batch::check_crc(&view));
            (view.base_offset().0, view.is_control(), view.record_count())
        })
        .collect()
}

#[test]
fn aborted_data_goes_and_its_marker_follows_when_it_is_alone() {
    // rules C1, C2
    let log = [
        data(0, 7, b"a"),
        data(1, 8, b"b"),
        marker(2, 7, false),
        marker(3, 8, true),
    ];
    let aborts = [aborted(7, 0, 2)];
    let (first, index) = pass(&log, &aborts, &[], NOW);
    assert_eq!(told(&first), [(1, false, 1), (2, true, 1), (3, true, 1)]);
    assert_eq!(index, aborts, "its data was there when the pass began");

    // The next pass meets no data of it: the marker gets a horizon.
    let (second, index) = pass(&first, &index, &[], NOW);
    assert_eq!(told(&second), told(&first));
    assert_eq!(index, []);
    let horizon = |bytes: &[u8]| BatchView::whole(bytes).expect("whole").delete_horizon_ms();
    assert_eq!(horizon(&second[1]), Some(NOW + RETENTION));
    assert_eq!(horizon(&second[2]), None, "committed data is left");

    let (third, _) = pass(&second, &[], &[], NOW + RETENTION - 1);
    assert_eq!(told(&third), told(&second));
    let (fourth, _) = pass(&third, &[], &[], NOW + RETENTION);
    assert_eq!(told(&fourth), [(1, false, 1), (3, true, 1)]);
}

#[test]
fn a_commit_marker_waits_for_its_last_record() {
    // rule C2
    let log = [
        data(0, 7, b"a"),
        marker(1, 7, true),
        data(2, 8, b"a"),
        marker(3, 8, true),
    ];
    let (first, _) = pass(&log, &[], &[], NOW);
    assert_eq!(told(&first), [(1, true, 1), (2, false, 1), (3, true, 1)]);
    let (second, _) = pass(&first, &[], &[], NOW);
    let (third, _) = pass(&second, &[], &[], NOW + RETENTION);
    assert_eq!(told(&third), [(2, false, 1), (3, true, 1)]);
}

#[test]
fn an_aborted_key_supersedes_nothing() {
    // rule C1
    let log = [
        data(0, 7, b"a"),
        marker(1, 7, true),
        data(2, 8, b"a"),
        marker(3, 8, false),
    ];
    let (left, _) = pass(&log, &[aborted(8, 2, 3)], &[], NOW);
    assert_eq!(told(&left), [(0, false, 1), (1, true, 1), (3, true, 1)]);
}

#[test]
fn the_last_batch_and_the_last_marker_of_a_producer_leave_a_header() {
    // rule C3
    let log = [
        data(0, 7, b"a"),
        marker(1, 7, false),
        data(2, 8, b"b"),
        marker(3, 8, false),
    ];
    let aborts = [aborted(7, 0, 1), aborted(8, 2, 3)];
    // 7 has sent data in its epoch; of 8 only the marker is known.
    let producers = [(7, 0), (8, 3)];
    let (first, index) = pass(&log, &aborts, &producers, NOW);
    assert_eq!(told(&first), [(0, false, 0), (1, true, 1), (3, true, 1)]);
    // The header of 7's data is still data of its transaction.
    let (second, _) = pass(&first, &index, &producers, NOW);
    let (third, _) = pass(&second, &index[..1], &producers, NOW + RETENTION);
    assert_eq!(told(&third), [(0, false, 0), (1, true, 1), (3, true, 0)]);
    let (fourth, _) = pass(&third, &[], &producers, NOW + 9 * RETENTION);
    assert_eq!(told(&fourth)[2], (3, true, 0));
}

#[test]
fn a_control_record_of_a_later_time_stays() {
    let mut builder = BatchBuilder::new().control();
    builder.append(&NewRecord {
        timestamp: 1,
        key: Some(&[0, 0, 0, 5]),
        value: Some(b"?"),
        headers: &[],
    });
    let log = [at(builder, 0)];
    let (left, _) = pass(&log, &[], &[], NOW);
    assert!(left == log);
}

#[test]
fn groups_are_neighbours_that_fit_into_a_segment() {
    let segment = |base: i64, end: i64, data_bytes: u64| SegmentRecord {
        base: Offset(base),
        end: Offset(end),
        data_bytes,
        max_timestamp_ms: 0,
        last_epoch: LeaderEpoch(0),
        location: Location::Local,
        footer_crc: 0,
        revision: 0,
        cleaned: false,
    };
    let segments = [
        segment(0, 10, 60),
        segment(10, 20, 40),
        segment(20, 30, 1),
        segment(30, 40, 200),
        segment(40, 50, 0),
        segment(50, 1 << 40, 1),
    ];
    assert_eq!(
        group_by_size(&segments, 100),
        [0..2, 2..3, 3..4, 4..5, 5..6]
    );
    assert_eq!(group_by_size(&segments, 300), [0..3, 3..5, 5..6]);
    assert_eq!(group_by_size(&[], 100), []);
}

// Logs that change under a pass.

fn key() -> PartitionKey {
    PartitionKey {
        topic: TopicId([7; 16]),
        partition: 0,
    }
}

fn append(store: &LogStore, partition: &Arc<Partition>, key: &str, size: usize) {
    let mut builder = BatchBuilder::new().compression(Codec::None, None);
    let value = vec![b'v'; size];
    builder.append(&NewRecord {
        timestamp: 1,
        key: Some(key.as_bytes()),
        value: Some(&value),
        headers: &[],
    });
    let bytes = builder.build().expect("builds");
    let origin = AppendOrigin::Client {
        leader_epoch: LeaderEpoch(0),
    };
    let view = BatchView::whole(&bytes).expect("whole");
    while partition.append(&view, origin, 1).is_err() {
        store.wait_durable(store.last_lsn()).expect("durable");
    }
}

/// A store with three dirty segments and an active one.
fn dirty() -> (SimWorld, Arc<LogStore>, Arc<Partition>) {
    let sim = World::sim(1);
    let config = StoreConfig {
        slot_bytes: 64 << 10,
        slots: 4,
        staging_bytes: 8 << 10,
        staging_buffers: 2,
        compact_interval: Duration::from_secs(3600),
        ballast_bytes: 0,
        free_bytes_min: Some(0),
        ..StoreConfig::default()
    };
    let store = LogStore::open(&sim.world, config).expect("opens").0;
    let settings = LogSettings {
        segment_bytes: 2_000,
        compact: true,
        delete: false,
        dirty_ratio_min: 0,
        ..LogSettings::default()
    };
    let partition = store.create_partition(key(), settings).expect("created");
    partition.become_leader(LeaderEpoch(0)).expect("epoch");
    for at in 0..30 {
        append(&store, &partition, &format!("{}", at % 4), 250);
    }
    store.wait_durable(store.last_lsn()).expect("durable");
    store.checkpoint().expect("checkpoint");
    (sim, store, partition)
}

/// Steps a pass until its first swap is ready.
fn until_swap(store: &LogStore, job: &mut Job) -> super::Swap {
    for _ in 0..100 {
        match job.step(&store.shared) {
            Ok(Step::Worked(_)) => {}
            Ok(Step::Swap(swap)) => return *swap,
            Ok(Step::Done) => panic!("the pass swaps something"),
            Err(stop) => panic!("{stop}"),
        }
    }
    panic!("the pass gets there");
}

fn files(sim: &SimWorld) -> usize {
    sim.world.disk.list("seg/01").expect("listed").len()
}

fn records(partition: &Partition) -> usize {
    let mut at = partition.offsets().log_start;
    let mut found = 0;
    loop {
        let bound = crate::ReadBound::HighWatermark;
        let read = partition.read(at, 100, true, bound).expect("read");
        if read.file.is_none() {
            return found;
        }
        found += 1;
        at = read.next_offset;
    }
}

#[test]
fn a_pass_ends_when_the_log_is_cut_under_it() {
    let (sim, store, partition) = dirty();
    let before = files(&sim);
    let mut job = store.shared.begin_pass(NOW).expect("dirty");
    let swap = until_swap(&store, &mut job);
    assert!(files(&sim) > before);
    partition.truncate(Offset(5)).expect("cut");
    *crate::lock(&store.shared.posted) = Some(swap);
    assert!(store.shared.swap_posted());
    let outcome = crate::lock(&store.shared.swapped).take();
    assert!(matches!(outcome, Some(Ok(false))));
    assert!(matches!(job.step(&store.shared), Err(Stop::Moved)));
    store.shared.end_pass(job, Err(Stop::Moved));
    store.wait_durable(store.last_lsn()).expect("durable");
    assert_eq!(records(&partition), 5);
    assert_eq!(files(&sim), 1, "what the pass wrote is removed");
}

#[test]
fn a_pass_ends_when_the_partition_is_deleted_under_it() {
    let (sim, store, partition) = dirty();
    let mut job = store.shared.begin_pass(NOW).expect("dirty");
    let swap = until_swap(&store, &mut job);
    store.delete_partition(&partition.key()).expect("deleted");
    *crate::lock(&store.shared.posted) = Some(swap);
    assert!(store.shared.swap_posted());
    let outcome = crate::lock(&store.shared.swapped).take();
    assert!(matches!(outcome, Some(Ok(false))));
    store.shared.end_pass(job, Err(Stop::Moved));
    store.wait_durable(store.last_lsn()).expect("durable");
    store.checkpoint().expect("checkpoint");
    store.shared.unlink_due();
    assert_eq!(files(&sim), 0);
}

#[test]
fn a_trim_under_a_pass_is_caught_up_with() {
    let (sim, store, partition) = dirty();
    let mut job = store.shared.begin_pass(NOW).expect("dirty");
    let swap = until_swap(&store, &mut job);
    let end = swap.old.last().expect("some").end;
    partition.advance_log_start(end).expect("trimmed");
    // It came while the manifest was being written.
    partition.state().adopt(&swap);
    store.shared.end_pass(job, Err(Stop::Moved));
    store.wait_durable(store.last_lsn()).expect("durable");
    store.checkpoint().expect("checkpoint");
    store.shared.unlink_due();
    let left = partition.state().sealed.len() + 1;
    assert_eq!(files(&sim), left);
    assert_eq!(partition.offsets().log_start, end);
    assert_eq!(records(&partition) as i64, 30 - end.0);
}

#[test]
fn a_swap_that_nobody_began_can_be_taken_back() {
    let (sim, store, _partition) = dirty();
    let before = files(&sim);
    let mut job = store.shared.begin_pass(NOW).expect("dirty");
    let swap = until_swap(&store, &mut job);
    *crate::lock(&store.shared.posted) = Some(swap);
    store.shared.take_back();
    assert!(!store.shared.swap_posted());
    store.shared.end_pass(job, Err(Stop::Moved));
    assert_eq!(files(&sim), before);
}
