//! Append, group commit, read: the simple life of a partition.

mod world_in_memory;

use std::sync::Arc;

use commitlog::{
    AppendError, AppendOrigin, LogSettings, LogStore, PartitionKey, ReadBound, StoreConfig,
};
use wire::batch::BatchView;
use wire::ids::{LeaderEpoch, Offset, TopicId};
use world_in_memory::{batch, contents, world};

fn config() -> StoreConfig {
    StoreConfig {
        slot_bytes: 256 << 10,
        slots: 4,
        staging_bytes: 64 << 10,
        ..StoreConfig::default()
    }
}

const KEY: PartitionKey = PartitionKey {
    topic: TopicId([7; 16]),
    partition: 0,
};
const LEADER: AppendOrigin = AppendOrigin::Client {
    leader_epoch: LeaderEpoch(0),
};

fn view(bytes: &[u8]) -> BatchView<'_> {
    BatchView::whole(bytes).expect("a batch")
}

fn open() -> Arc<LogStore> {
    LogStore::open(&world(), config()).expect("open").0
}

#[test]
fn an_appended_batch_is_read_when_its_group_is_durable() {
    let store = open();
    let partition = store
        .create_partition(KEY, LogSettings::default())
        .expect("create");
    partition.become_leader(LeaderEpoch(0)).expect("epoch");
    let appended = partition
        .append(&view(&batch(3, 100)), LEADER, 1_000)
        .expect("append");
    assert_eq!(
        (appended.base_offset, appended.last_offset),
        (Offset(0), Offset(2))
    );
    let early = partition
        .read(Offset(0), 1 << 20, true, ReadBound::HighWatermark)
        .expect("read");
    assert!(early.file.is_none(), "not durable, not readable");

    store.wait_durable(appended.lsn).expect("durable");
    let read = partition
        .read(Offset(0), 1 << 20, true, ReadBound::HighWatermark)
        .expect("read");
    assert_eq!(read.next_offset, Offset(3));
    let bytes = contents(&read.file.expect("bytes"));
    assert_eq!(bytes[..8], 0i64.to_be_bytes());
    assert_eq!(bytes[16..], batch(3, 100)[16..]);
    assert_eq!(
        bytes[12..16],
        0i32.to_be_bytes(),
        "the leader's epoch is written in"
    ); // rule P3
}

#[test]
fn fetch_inside_a_batch_returns_the_whole_batch() {
    // rule F1
    let store = open();
    let partition = store
        .create_partition(KEY, LogSettings::default())
        .expect("create");
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
        let read = partition
            .read(Offset(offset), 1 << 20, true, ReadBound::HighWatermark)
            .expect("read");
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
}

#[test]
fn full_staging_buffers_refuse_until_a_group_is_written() {
    let store = open();
    let partition = store
        .create_partition(KEY, LogSettings::default())
        .expect("create");
    partition.become_leader(LeaderEpoch(0)).expect("epoch");
    let mut last = None;
    let refused =
        (0..1000).find_map(
            |_| match partition.append(&view(&batch(1, 4000)), LEADER, 0) {
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
        .append(&view(&batch(1, 4000)), LEADER, 0)
        .expect("room again");
}

#[test]
fn a_batch_larger_than_a_staging_buffer_gets_its_own() {
    let store = open();
    let partition = store
        .create_partition(KEY, LogSettings::default())
        .expect("create");
    partition.become_leader(LeaderEpoch(0)).expect("epoch");
    let appended = partition
        .append(&view(&batch(1, 100_000)), LEADER, 0)
        .expect("append");
    store.wait_durable(appended.lsn).expect("durable");
    let read = partition
        .read(Offset(0), 10, true, ReadBound::HighWatermark)
        .expect("read");
    assert!(read.file.expect("bytes").length > 100_000);
    let error = partition.append(&view(&batch(1, 200_000)), LEADER, 0);
    assert!(matches!(error, Err(AppendError::TooLarge { .. })));
}

#[test]
fn only_the_leader_of_the_epoch_appends() {
    // rule R1
    let store = open();
    let partition = store
        .create_partition(KEY, LogSettings::default())
        .expect("create");
    assert_eq!(
        partition.append(&view(&batch(1, 1)), LEADER, 0),
        Err(AppendError::NotLeader)
    );
    partition.become_leader(LeaderEpoch(1)).expect("epoch");
    assert_eq!(
        partition.append(&view(&batch(1, 1)), LEADER, 0),
        Err(AppendError::NotLeader)
    );
}
