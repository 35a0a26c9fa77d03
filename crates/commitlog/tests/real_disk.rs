//! The real disk: a store in a directory of its own, with its workers as threads.

mod node;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use commitlog::{
    AppendError, AppendOrigin, DurableListener, LogSettings, LogStore, Lsn, ReadBound, StoreConfig,
};
use node::{Spec, contents, key, view};
use wire::ids::{LeaderEpoch, Offset};
use world::World;

#[derive(Default)]
struct Groups(AtomicU64);

impl DurableListener for Groups {
    fn durable(&self, _: Lsn) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn config() -> StoreConfig {
    StoreConfig {
        slot_bytes: 4 << 20,
        slots: 4,
        staging_bytes: 256 << 10,
        ballast_bytes: 1 << 20,
        free_bytes_min: Some(0),
        ..StoreConfig::default()
    }
}

fn works_in(root: &std::path::Path) {
    const BATCHES: i64 = 2_000;
    let world = World::real(root).expect("a world");
    let (store, report) = LogStore::open(&world, config()).expect("open");
    assert!(report.created);
    let groups = Arc::new(Groups::default());
    store.listen_durable(groups.clone());
    let settings = LogSettings {
        segment_bytes: 1 << 20,
        ..LogSettings::default()
    };
    let leader = AppendOrigin::Client {
        leader_epoch: LeaderEpoch(0),
    };
    let partitions: Vec<_> = (0..3)
        .map(|number| {
            let partition = store
                .create_partition(key(number), settings.clone())
                .expect("new");
            partition.become_leader(LeaderEpoch(0)).expect("epoch");
            partition
        })
        .collect();
    // 24 MB through 16 MB of log: slots are used again.
    for at in 0..BATCHES {
        let bytes = Spec::new(1, 4_000, at as u8).by(1, 0, at as i32).bytes();
        for partition in &partitions {
            loop {
                match partition.append(&view(&bytes), leader, at) {
                    Ok(_) => break,
                    Err(AppendError::StagingFull) => {
                        store.wait_durable(store.last_lsn()).expect("durable");
                        std::thread::yield_now();
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        store.gather();
    }
    store.wait_durable(store.last_lsn()).expect("durable");
    assert!(groups.0.load(Ordering::Relaxed) > 0);
    let check = |store: &LogStore| {
        for number in 0..3 {
            let partition = store.partition(&key(number)).expect("there");
            assert_eq!(partition.offsets().high_watermark, Offset(BATCHES));
            let mut at = 0;
            while at < BATCHES {
                let read = partition.read(Offset(at), 1 << 20, true, ReadBound::HighWatermark);
                let read = read.expect("read");
                let bytes = contents(&read.file.expect("bytes"));
                for batch in bytes.chunks(bytes.len() / (read.next_offset.0 - at) as usize) {
                    assert_eq!(view(batch).base_offset(), Offset(at));
                    assert_eq!(batch[batch.len() - 2], at as u8);
                    at += 1;
                }
            }
        }
    };
    check(&store);
    store.close().expect("close");
    drop((partitions, store));
    let (store, report) = LogStore::open(&world, config()).expect("open");
    assert!(report.clean && report.blocks == 0);
    check(&store);
    // Dies without a word: the next start replays.
    let partition = store.partition(&key(0)).expect("there");
    partition.become_leader(LeaderEpoch(1)).expect("epoch");
    let next = AppendOrigin::Coordinator {
        leader_epoch: LeaderEpoch(1),
    };
    let appended = partition
        .append(&view(&node::batch(1, 100)), next, 0)
        .expect("append");
    store.wait_durable(appended.lsn).expect("durable");
    store.abandon();
    drop((partition, store));
    let (store, report) = LogStore::open(&world, config()).expect("open");
    assert!(!report.clean && report.batches == 1);
    assert_eq!(
        store.partition(&key(0)).expect("there").offsets().end,
        Offset(BATCHES + 1)
    );
    store.close().expect("close");
}

#[test]
fn a_store_lives_dies_and_comes_back_on_a_real_disk() {
    let root = tempfile::tempdir().expect("a directory");
    works_in(root.path());
}

#[test]
fn a_store_works_where_direct_writes_are_refused() {
    // tmpfs, where there is one (storage.md 7.1)
    if let Ok(root) = tempfile::tempdir_in("/dev/shm") {
        works_in(root.path());
    }
}
