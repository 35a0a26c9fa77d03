//! Batches with keys, and what a compacted log must still say.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use commitlog::{
    AppendOrigin, Appended, LogSettings, LogStore, Partition, ReadBound, ReadError, StoreConfig,
};
use wire::batch::BatchView;
use wire::compress::Codec;
use wire::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId};
use wire::record::{BatchBuilder, BatchRecords, NewRecord};

use crate::node;
use world::Disk;

pub const CAP: usize = 1 << 20;
pub const DAY_MS: i64 = 24 * 3600 * 1000;

/// Everything small, and compaction only when it is called.
pub fn config() -> StoreConfig {
    StoreConfig {
        compact_interval: Duration::from_secs(3600),
        ..node::config()
    }
}

/// Compacted whenever anything is dirty.
pub fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: 2 << 10,
        compact: true,
        delete: false,
        dirty_ratio_min: 0,
        delete_retention_ms: DAY_MS,
        ..LogSettings::default()
    }
}

/// A record as it was appended or found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

pub fn entry(key: &str, value: Option<&str>, timestamp: i64) -> Entry {
    Entry {
        offset: -1,
        timestamp,
        key: Some(key.as_bytes().to_vec()),
        value: value.map(|value| value.as_bytes().to_vec()),
    }
}

/// A batch of these records.
pub fn batch(entries: &[Entry], codec: Codec, producer: Option<(i64, i16, i32)>) -> Vec<u8> {
    let mut builder = BatchBuilder::new().compression(codec, None);
    if let Some((id, epoch, sequence)) = producer {
        builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), sequence);
    }
    for entry in entries {
        builder.append(&NewRecord {
            timestamp: entry.timestamp,
            key: entry.key.as_deref(),
            value: entry.value.as_deref(),
            headers: &[(b"h", entry.key.as_deref())],
        });
    }
    builder.build().expect("builds")
}

/// Appends records in one batch; waits for room if need be.
pub fn append(
    store: &LogStore,
    partition: &Arc<Partition>,
    entries: &[Entry],
    codec: Codec,
    producer: Option<(i64, i16, i32)>,
    now_ms: i64,
) -> Appended {
    append_in(
        0,
        store,
        partition,
        &batch(entries, codec, producer),
        now_ms,
    )
}

/// Appends a batch in a leader epoch.
pub fn append_in(
    epoch: i32,
    store: &LogStore,
    partition: &Arc<Partition>,
    bytes: &[u8],
    now_ms: i64,
) -> Appended {
    let origin = AppendOrigin::Client {
        leader_epoch: LeaderEpoch(epoch),
    };
    for _ in 0..10 {
        match partition.append(&BatchView::whole(bytes).expect("a batch"), origin, now_ms) {
            Ok(appended) => return appended,
            Err(commitlog::AppendError::StagingFull) => {
                store.wait_durable(store.last_lsn()).expect("durable");
            }
            Err(error) => panic!("append: {error}"),
        }
    }
    panic!("no room");
}

/// Puts a record into a segment of its own, so that all before it may be compacted.
pub fn end_segment(store: &LogStore, partition: &Arc<Partition>, now_ms: i64) -> Vec<Entry> {
    end_segment_in(0, store, partition, now_ms)
}

pub fn end_segment_in(
    epoch: i32,
    store: &LogStore,
    partition: &Arc<Partition>,
    now_ms: i64,
) -> Vec<Entry> {
    let large = "x".repeat(1900);
    let mut last = Vec::new();
    for _ in 0..2 {
        let mut record = entry("last", Some(&large), now_ms);
        let records = std::slice::from_ref(&record);
        let bytes = batch(records, Codec::None, None);
        let appended = append_in(epoch, store, partition, &bytes, now_ms);
        record.offset = appended.base_offset.0;
        last.push(record);
    }
    store.wait_durable(store.last_lsn()).expect("durable");
    store.checkpoint().expect("checkpoint");
    last
}

/// The segment files that there are.
pub fn segment_files(disk: &dyn Disk) -> Vec<String> {
    let mut files = Vec::new();
    for dir in disk.list("seg").expect("listed") {
        let dir = format!("seg/{}", dir.name);
        for file in disk.list(&dir).expect("listed") {
            files.push(format!("{dir}/{}", file.name));
        }
    }
    files
}

/// All batches' bytes.
pub fn batches(partition: &Partition) -> Vec<Vec<u8>> {
    let start = partition.offsets().log_start.0;
    node::read_all(partition, start, ReadBound::LogEnd).expect("readable")
}

/// All records, in order, from the log's start.
pub fn try_entries(partition: &Partition) -> Result<Vec<Entry>, ReadError> {
    let start = partition.offsets().log_start.0;
    let mut found = Vec::new();
    for bytes in node::read_all(partition, start, ReadBound::LogEnd)? {
        let view = BatchView::whole(&bytes).expect("whole");
        assert!(wire::batch::check_crc(&view), "at {}", view.base_offset());
        for record in &BatchRecords::open(&view, CAP).expect("opens") {
            let record = record.expect("whole");
            found.push(Entry {
                offset: record.offset.0,
                timestamp: record.timestamp,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
            });
        }
    }
    found.retain(|entry| entry.offset >= start);
    Ok(found)
}

pub fn entries(partition: &Partition) -> Vec<Entry> {
    try_entries(partition).expect("readable")
}

/// What a reader has who goes through everything: the newest value of each key.
pub fn table(entries: &[Entry]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut table = BTreeMap::new();
    for entry in entries {
        let Some(key) = entry.key.clone() else {
            continue;
        };
        match &entry.value {
            Some(value) => drop(table.insert(key, value.clone())),
            None => drop(table.remove(&key)),
        }
    }
    table
}

/// Keys and values, for short stories.
pub fn told(partition: &Partition) -> Vec<(i64, String, Option<String>)> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    entries(partition)
        .into_iter()
        .filter(|entry| entry.key.as_deref() != Some(b"last"))
        .map(|entry| {
            (
                entry.offset,
                text(entry.key.expect("a key")),
                entry.value.map(text),
            )
        })
        .collect()
}

/// Every offset finds the batch that holds it, or the next one (rule F1).
pub fn look_everywhere(partition: &Partition) {
    let offsets = partition.offsets();
    let heads: Vec<(i64, i64)> = batches(partition)
        .iter()
        .map(|bytes| {
            let view = BatchView::whole(bytes).expect("whole");
            (view.base_offset().0, view.last_offset().0)
        })
        .collect();
    for (before, after) in heads.iter().zip(heads.iter().skip(1)) {
        assert!(before.1 < after.0, "offsets rise: {before:?}, {after:?}");
    }
    for offset in offsets.log_start.0..offsets.end.0 {
        let read = partition
            .read(Offset(offset), 1, true, ReadBound::LogEnd)
            .expect("read");
        let wanted = heads.iter().find(|(_, last)| *last >= offset);
        match wanted {
            Some((base, _)) => {
                assert!(read.file.is_some(), "offset {offset}: {base} follows");
                assert_eq!(read.first_offset.0, *base, "offset {offset}");
            }
            None => assert!(read.file.is_none(), "offset {offset}"),
        }
    }
}

pub fn leader(store: &LogStore, settings: LogSettings) -> Arc<Partition> {
    let partition = store
        .create_partition(node::key(0), settings)
        .expect("created");
    partition.become_leader(LeaderEpoch(0)).expect("epoch");
    partition
}
