//! A small node for the stories: a store on a simulated disk, batches to put in, and a model of
//! what must be found.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod script;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use commitlog::{
    AppendOrigin, LogSettings, LogStore, Partition, PartitionKey, ReadBound, ReadError, StoreConfig,
};
use stdx::crc32c;
use wire::batch::BatchView;
use wire::ids::{LeaderEpoch, Offset, TopicId};
use wire::record::BatchRecords;
use world::World;
use world::disk::FileSlice;

pub const LEADER: AppendOrigin = AppendOrigin::Client {
    leader_epoch: LeaderEpoch(0),
};

pub fn key(number: i32) -> PartitionKey {
    PartitionKey {
        topic: TopicId([7; 16]),
        partition: number,
    }
}

/// Everything small, so that slots, segments and buffers fill up within a story.
pub fn config() -> StoreConfig {
    StoreConfig {
        slot_bytes: 64 << 10,
        slots: 4,
        staging_bytes: 8 << 10,
        staging_buffers: 2,
        checkpoint_interval: Duration::from_secs(30),
        trickle_interval: Duration::from_millis(250),
        ballast_bytes: 0,
        free_bytes_min: Some(0),
        ..StoreConfig::default()
    }
}

pub fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: 4 << 10,
        ..LogSettings::default()
    }
}

pub fn open(world: &World) -> Arc<LogStore> {
    LogStore::open(world, config()).expect("the store opens").0
}

pub fn leader(store: &LogStore, number: i32) -> Arc<Partition> {
    let partition = store
        .create_partition(key(number), settings())
        .expect("created");
    partition.become_leader(LeaderEpoch(0)).expect("epoch");
    partition
}

/// What a batch is made of.
#[derive(Clone, Copy)]
pub struct Spec {
    pub records: i32,
    pub payload: usize,
    pub tag: u8,
    pub timestamp: i64,
    pub producer: Option<(i64, i16, i32)>,
}

impl Spec {
    pub fn new(records: i32, payload: usize, tag: u8) -> Spec {
        Spec {
            records,
            payload,
            tag,
            timestamp: 1_000,
            producer: None,
        }
    }

    pub fn at(self, timestamp: i64) -> Spec {
        Spec { timestamp, ..self }
    }

    pub fn by(self, producer: i64, epoch: i16, sequence: i32) -> Spec {
        Spec {
            producer: Some((producer, epoch, sequence)),
            ..self
        }
    }

    /// The bytes: record `i` has timestamp `timestamp + i`.
    pub fn bytes(self) -> Vec<u8> {
        let mut records = stdx::Writer::new();
        for at in 0..self.records {
            let mut body = stdx::Writer::new();
            body.u8(0);
            body.varint_i64(i64::from(at));
            body.varint_i32(at);
            body.varint_i32(-1);
            let value = vec![self.tag; self.payload / self.records as usize];
            body.varint_i32(value.len() as i32);
            body.raw(&value);
            body.varint_i32(0);
            records.varint_i32(body.len() as i32);
            records.raw(body.as_slice());
        }
        let records = records.into_bytes();
        let mut bytes = vec![0; 61];
        bytes[8..12].copy_from_slice(&(49 + records.len() as i32).to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&(self.records - 1).to_be_bytes());
        bytes[27..35].copy_from_slice(&self.timestamp.to_be_bytes());
        let newest = self.timestamp + i64::from(self.records) - 1;
        bytes[35..43].copy_from_slice(&newest.to_be_bytes());
        let (id, epoch, sequence) = self.producer.unwrap_or((-1, -1, -1));
        bytes[43..51].copy_from_slice(&id.to_be_bytes());
        bytes[51..53].copy_from_slice(&epoch.to_be_bytes());
        bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
        bytes[57..61].copy_from_slice(&self.records.to_be_bytes());
        bytes.extend_from_slice(&records);
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

pub fn batch(records: i32, payload: usize) -> Vec<u8> {
    Spec::new(records, payload, 0xAB).bytes()
}

pub fn view(bytes: &[u8]) -> BatchView<'_> {
    BatchView::whole(bytes).expect("a batch")
}

/// A batch as it lies in the log.
pub fn stamped(bytes: &[u8], offset: i64, epoch: i32) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
    bytes
}

/// The bytes of a slice.
pub fn contents(slice: &FileSlice) -> Vec<u8> {
    let mut bytes = vec![0; slice.length as usize];
    let read = slice
        .file
        .read_at(&mut bytes, slice.position)
        .expect("read");
    assert_eq!(read, bytes.len(), "a promised range is there");
    bytes
}

/// All batches from `from` up to the bound, one vector each.
pub fn read_all(
    partition: &Partition,
    from: i64,
    bound: ReadBound,
) -> Result<Vec<Vec<u8>>, ReadError> {
    let mut batches = Vec::new();
    let mut at = Offset(from);
    loop {
        let read = partition.read(at, 3000, true, bound)?;
        let Some(file) = read.file else {
            return Ok(batches);
        };
        let bytes = contents(&file);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (batch, more) = BatchView::split(rest).expect("whole batches only");
            batches.push(batch.bytes().to_vec());
            rest = more;
        }
        assert!(read.next_offset > at, "a read moves on");
        at = read.next_offset;
    }
}

/// One thing that was done to a partition, and the LSN it got.
#[derive(Clone, Debug)]
pub enum Did {
    Create,
    Epoch(i32),
    Append { base: i64, end: i64, bytes: Vec<u8> },
    Truncate(i64),
    Trim(i64),
    Delete,
}

/// What was done to all partitions, in order. A deleted key may come back.
#[derive(Clone, Default)]
pub struct Model {
    pub done: Vec<(u64, i32, Did)>,
    /// Of the records of a key perhaps only the newest is there.
    pub compacted: bool,
}

/// A partition as it must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    pub start: i64,
    pub end: i64,
    pub batches: Vec<(i64, i64, Vec<u8>)>,
    pub epochs: Vec<(i32, i64)>,
}

impl Model {
    pub fn note(&mut self, lsn: u64, partition: i32, did: Did) {
        self.done.push((lsn, partition, did));
    }

    /// All partitions after everything up to `lsn`.
    pub fn at(&self, lsn: u64) -> BTreeMap<i32, Expected> {
        let mut partitions: BTreeMap<i32, Expected> = BTreeMap::new();
        for (_, number, did) in self.done.iter().filter(|(done, _, _)| *done <= lsn) {
            match did {
                Did::Create => drop(partitions.insert(*number, Expected::default())),
                Did::Delete => drop(partitions.remove(number)),
                did => {
                    let Some(partition) = partitions.get_mut(number) else {
                        continue;
                    };
                    partition.apply(did);
                }
            }
        }
        partitions
    }
}

impl Expected {
    fn apply(&mut self, did: &Did) {
        match did {
            Did::Append { base, end, bytes } => {
                let epoch = view(bytes).leader_epoch().0;
                if self.epochs.last().is_none_or(|(last, _)| *last < epoch) {
                    self.epochs.retain(|(_, start)| start < base);
                    self.epochs.push((epoch, *base));
                }
                self.batches.push((*base, *end, bytes.clone()));
                self.end = *end;
            }
            Did::Truncate(to) => {
                self.batches.retain(|(_, end, _)| end <= to);
                self.epochs.retain(|(_, start)| start < to);
                self.end = *to;
            }
            Did::Trim(to) => {
                self.start = *to;
                // The epoch that holds the log start begins there.
                let below = self.epochs.iter().filter(|(_, start)| start <= to).count();
                if below > 0 {
                    self.epochs.drain(..below - 1);
                    self.epochs[0].1 = *to;
                }
            }
            Did::Epoch(epoch) => {
                self.epochs.retain(|(_, start)| *start < self.end);
                self.epochs.push((*epoch, self.end));
            }
            Did::Create | Did::Delete => {}
        }
    }
}

/// Checks that a store holds exactly what the model says for `lsn`.
pub fn check(store: &LogStore, model: &Model, lsn: u64) {
    let expected = model.at(lsn);
    let found: Vec<i32> = store.partitions().iter().map(|key| key.partition).collect();
    let wanted: Vec<i32> = expected.keys().copied().collect();
    assert_eq!(found, wanted, "the partitions of LSN {lsn}");
    for (number, expected) in expected {
        let partition = store.partition(&key(number)).expect("listed");
        let offsets = partition.offsets();
        assert_eq!(
            offsets.log_start,
            Offset(expected.start),
            "start of {number} at LSN {lsn}"
        );
        assert_eq!(
            offsets.end,
            Offset(expected.end),
            "end of {number} at LSN {lsn}"
        );
        let readable: Vec<_> = expected
            .batches
            .iter()
            .filter(|(_, end, _)| *end > expected.start)
            .collect();
        let from = expected.start;
        let batches = read_all(&partition, from, ReadBound::LogEnd).expect("readable");
        if model.compacted {
            let context = format!("partition {number} at LSN {lsn}");
            check_compacted(&batches, &expected, &context);
        } else {
            assert_eq!(
                batches.len(),
                readable.len(),
                "batches of {number} at LSN {lsn}"
            );
            for (found, (base, _, bytes)) in batches.iter().zip(&readable) {
                assert!(found == bytes, "bytes of {number} at {base}, LSN {lsn}");
            }
        }
        // An epoch is in the log with its first batch; one without may be forgotten.
        let end = partition.offsets().end.0;
        let written = |epochs: Vec<(i32, i64)>| -> Vec<(i32, i64)> {
            epochs.into_iter().filter(|(_, at)| *at < end).collect()
        };
        let epochs: Vec<(i32, i64)> = partition
            .epochs()
            .entries()
            .iter()
            .map(|entry| (entry.epoch.0, entry.start.0))
            .collect();
        assert_eq!(
            written(epochs),
            written(expected.epochs.clone()),
            "epochs of {number} at LSN {lsn}"
        );
    }
}

/// A record: key and value.
pub type Keyed = (Vec<u8>, Option<Vec<u8>>);

/// The records of batches by their offsets.
pub fn records_of<'a>(batches: impl IntoIterator<Item = &'a [u8]>) -> BTreeMap<i64, Keyed> {
    let mut records = BTreeMap::new();
    for bytes in batches {
        let view = view(bytes);
        assert!(wire::batch::check_crc(&view), "at {}", view.base_offset());
        for record in &BatchRecords::open(&view, 1 << 20).expect("opens") {
            let record = record.expect("whole");
            let key = record.key.expect("a key").to_vec();
            let value = record.value.map(<[u8]>::to_vec);
            let known = records.insert(record.offset.0, (key, value));
            assert!(known.is_none(), "offset {} is there twice", record.offset);
        }
    }
    records
}

/// Nothing is there that was not written, and the newest record of each key is there, unless it is
/// a tombstone.
fn check_compacted(found: &[Vec<u8>], expected: &Expected, context: &str) {
    let found = records_of(found.iter().map(Vec::as_slice));
    let written = records_of(
        expected
            .batches
            .iter()
            .map(|(_, _, bytes)| bytes.as_slice()),
    );
    for (offset, record) in &found {
        assert!(
            written.get(offset) == Some(record),
            "{context}: offset {offset} was not written so"
        );
    }
    let mut newest = BTreeMap::new();
    for (offset, (key, value)) in &written {
        newest.insert(key, (*offset, value.is_some()));
    }
    for (key, (offset, has_value)) in newest {
        assert!(
            found.contains_key(&offset) || !has_value || offset < expected.start,
            "{context}: the newest record of {key:?}, offset {offset}, is gone"
        );
    }
}
