//! One round of fetches: what lies at these positions of these partitions, from all leaders at once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wire::batch::{BatchView, batches, check_crc};
use wire::compress::BATCH_DECOMPRESSED_BYTES_MAX;
use wire::ids::TopicId;
use wire::lag::{Found, first_readable};
use wire::messages::{Uuid, fetch, text};
use wire::record::BatchRecords;
use wire::{ApiKey, ErrorCode};

use crate::Compression;
use crate::cluster::{Client, RETRY_PAUSE, TRIES_MAX};
use crate::connection::ANSWER_WAIT;
use crate::error::{ClientError, check};

/// Fetches that [`Client::first_readable`] sends before it gives up looking: holes are short.
const LOOKS_MAX: usize = 64;
/// Bytes asked for when only the first record matters. A whole batch comes, whatever its size.
const LOOK_BYTES: i32 = 4 * 1024;

/// How records are read.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// The broker waits this long for the first byte.
    pub wait: Duration,
    /// Bytes asked for in one fetch.
    pub bytes_max: i32,
    /// Bytes asked for from each partition.
    pub partition_bytes_max: i32,
    /// Only records of committed transactions, and none behind an open one.
    pub read_committed: bool,
    /// Control records too: the marks at the end of transactions.
    pub control: bool,
}

impl Default for FetchOptions {
    fn default() -> FetchOptions {
        FetchOptions {
            wait: Duration::from_millis(500),
            bytes_max: 16 * 1024 * 1024,
            partition_bytes_max: 1024 * 1024,
            read_committed: false,
            control: false,
        }
    }
}

/// A partition by its topic's name.
pub type Place = (String, i32);

/// A record as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Unix milliseconds.
    pub timestamp_ms: i64,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// What it shares with the other records of its batch.
    pub batch: Arc<BatchFacts>,
}

/// What the records of a batch share, and how the partition looked when it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchFacts {
    /// The topic.
    pub topic: Arc<str>,
    /// The leader epoch it was written under, -1 if unknown.
    pub leader_epoch: i32,
    /// The producer's id, -1 for none.
    pub producer_id: i64,
    /// The producer's epoch, -1 for none.
    pub producer_epoch: i16,
    /// How it was compressed.
    pub compression: Compression,
    /// Whether the broker stamped its records.
    pub log_append_time: bool,
    /// Whether it belongs to a transaction.
    pub transactional: bool,
    /// Whether it marks the end of a transaction.
    pub control: bool,
    /// The partition's first offset.
    pub log_start: i64,
    /// Its last stable offset.
    pub last_stable: i64,
    /// Its high watermark.
    pub high_watermark: i64,
}

/// What a fetch brought from one partition.
pub(crate) struct Fetched {
    pub place: Place,
    pub bytes: Bytes,
    /// Producer and first offset of transactions that were aborted.
    pub aborted: Vec<(i64, i64)>,
    pub log_start: i64,
    pub last_stable: i64,
    pub high_watermark: i64,
}

impl Client {
    /// The first record at or after an offset that a reader would be shown: its offset and its
    /// timestamp in Unix milliseconds. None when there is none before the end.
    ///
    /// # Errors
    /// A leader's refusal, or its retries ran out.
    pub async fn first_readable(
        &mut self,
        from: &BTreeMap<Place, i64>,
        read_committed: bool,
    ) -> Result<BTreeMap<Place, (i64, i64)>, ClientError> {
        let options = FetchOptions {
            wait: Duration::ZERO,
            partition_bytes_max: LOOK_BYTES,
            read_committed,
            ..FetchOptions::default()
        };
        let mut found = BTreeMap::new();
        let mut open = from.clone();
        for _ in 0..LOOKS_MAX {
            if open.is_empty() {
                break;
            }
            for fetched in self.fetch(&open, &options).await? {
                let Some(at) = open.get(&fetched.place).copied() else {
                    continue;
                };
                match first_readable(&fetched.bytes, at, &fetched.aborted) {
                    Found::Record {
                        offset,
                        timestamp_ms,
                    } => {
                        open.remove(&fetched.place);
                        found.insert(fetched.place, (offset, timestamp_ms));
                    }
                    // Nothing came: this is the end.
                    Found::Nothing { next } if next == at => {
                        open.remove(&fetched.place);
                    }
                    Found::Nothing { next } => {
                        open.insert(fetched.place, next);
                    }
                }
            }
        }
        Ok(found)
    }

    /// One round, retried while its error may pass.
    pub(crate) async fn fetch(
        &mut self,
        positions: &BTreeMap<Place, i64>,
        options: &FetchOptions,
    ) -> Result<Vec<Fetched>, ClientError> {
        let mut last = ClientError::server(ErrorCode::LeaderNotAvailable);
        for _ in 0..TRIES_MAX {
            match self.fetch_once(positions, options).await {
                Ok(fetched) => return Ok(fetched),
                Err(error) if error.is_retriable() => last = error,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            let topics: std::collections::BTreeSet<&String> =
                positions.keys().map(|(topic, _)| topic).collect();
            for topic in topics {
                if let Err(error) = self.refresh(topic).await {
                    tracing::debug!(%error, topic, "metadata not refreshed");
                }
            }
        }
        Err(last)
    }

    async fn fetch_once(
        &mut self,
        positions: &BTreeMap<Place, i64>,
        options: &FetchOptions,
    ) -> Result<Vec<Fetched>, ClientError> {
        let mut asked = VecDeque::new();
        for (broker, topics) in self.places_by_leader(positions).await? {
            let request = self.fetch_request(broker, topics, options).await?;
            match self.connection_to(broker).await?.send(&request).await {
                Ok(()) => asked.push_back(broker),
                Err(error) => {
                    self.forget(broker);
                    return Err(error);
                }
            }
        }
        let mut fetched = Vec::new();
        let mut failed = None;
        for broker in asked {
            let wait = ANSWER_WAIT + options.wait;
            let connection = self.connection_to(broker).await?;
            match connection.receive::<fetch::Request>(wait).await {
                Ok(response) => {
                    if let Err(error) = self.take_fetched(response, &mut fetched) {
                        failed.get_or_insert(error);
                    }
                }
                Err(error) => {
                    self.forget(broker);
                    failed.get_or_insert(error);
                }
            }
        }
        // What some partitions gave must reach the caller; the error of the others comes again.
        match failed {
            Some(error) if fetched.iter().all(|part| part.bytes.is_empty()) => Err(error),
            _ => Ok(fetched),
        }
    }

    async fn places_by_leader(
        &mut self,
        positions: &BTreeMap<Place, i64>,
    ) -> Result<BTreeMap<i32, BTreeMap<String, Vec<(i32, i64)>>>, ClientError> {
        let mut by_topic: BTreeMap<&String, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in positions.keys() {
            by_topic.entry(topic).or_default().push(*partition);
        }
        let mut by_broker: BTreeMap<i32, BTreeMap<String, Vec<(i32, i64)>>> = BTreeMap::new();
        for (topic, partitions) in by_topic {
            for (broker, partitions) in self.by_leader(topic, &partitions).await? {
                let places = partitions.into_iter().map(|partition| {
                    let position = positions.get(&(topic.clone(), partition));
                    (partition, position.copied().unwrap_or(0))
                });
                let topics = by_broker.entry(broker).or_default();
                topics.insert(topic.clone(), places.collect());
            }
        }
        Ok(by_broker)
    }

    async fn fetch_request(
        &mut self,
        broker: i32,
        topics: BTreeMap<String, Vec<(i32, i64)>>,
        options: &FetchOptions,
    ) -> Result<fetch::Request, ClientError> {
        let version = self.connection_to(broker).await?.version(ApiKey::Fetch)?;
        let topics = topics.into_iter().map(|(topic, partitions)| {
            let id = self.ids.get(&topic).copied().unwrap_or(TopicId::NONE);
            // Up to version 12 a topic goes by its name, from 13 on by its id.
            let (name, topic_id) = if version >= 13 {
                ("", id)
            } else {
                (topic.as_str(), TopicId::NONE)
            };
            fetch::FetchTopic {
                topic: text(name),
                topic_id: Uuid::from(topic_id),
                partitions: partitions
                    .into_iter()
                    .map(|(partition, offset)| fetch::FetchPartition {
                        partition,
                        current_leader_epoch: -1,
                        fetch_offset: offset,
                        last_fetched_epoch: -1,
                        log_start_offset: -1,
                        partition_max_bytes: options.partition_bytes_max,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }
        });
        Ok(fetch::Request {
            max_wait_ms: i32::try_from(options.wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: options.bytes_max,
            isolation_level: i8::from(options.read_committed),
            session_id: 0,
            session_epoch: -1,
            topics: topics.collect(),
            ..Default::default()
        })
    }

    fn take_fetched(
        &self,
        response: fetch::Response,
        fetched: &mut Vec<Fetched>,
    ) -> Result<(), ClientError> {
        check(response.error_code, None)?;
        let mut failed = None;
        for topic in response.responses {
            let by_id = TopicId::from(topic.topic_id);
            let name = match topic.topic.as_str() {
                "" => self
                    .ids
                    .iter()
                    .find(|(_, id)| **id == by_id)
                    .map(|(name, _)| name.clone())
                    .unwrap_or_default(),
                name => name.to_owned(),
            };
            for data in topic.partitions {
                if let Err(error) = check(data.error_code, None) {
                    failed.get_or_insert(error);
                    continue;
                }
                let aborted = data.aborted_transactions.unwrap_or_default();
                fetched.push(Fetched {
                    place: (name.clone(), data.partition_index),
                    bytes: data.records.unwrap_or_default(),
                    aborted: aborted
                        .iter()
                        .map(|transaction| (transaction.producer_id, transaction.first_offset))
                        .collect(),
                    log_start: data.log_start_offset,
                    last_stable: data.last_stable_offset,
                    high_watermark: data.high_watermark,
                });
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Fetched {
    /// Reads the records from `position` on, and moves it behind them.
    pub(crate) fn records(
        &self,
        position: &mut i64,
        options: &FetchOptions,
        records: &mut Vec<Record>,
    ) -> Result<(), ClientError> {
        let unreadable = |reason: String| ClientError::Protocol {
            address: format!("{} partition {}", self.place.0, self.place.1),
            reason,
        };
        let topic: Arc<str> = Arc::from(self.place.0.as_str());
        // Transactions whose batches are to be left out, until their abort marker.
        let mut aborting: Vec<i64> = Vec::new();
        let mut aborted = self.aborted.clone();
        aborted.sort_by_key(|(_, first)| *first);
        let mut aborted = aborted.into_iter().peekable();
        for batch in batches(&self.bytes) {
            // A batch cut at the end of the answer ends the walk: it comes again, whole.
            let batch = batch.map_err(|error| unreadable(error.to_string()))?;
            let last = batch.last_offset().0;
            let producer = batch.producer_id().0;
            while let Some((id, _)) = aborted.next_if(|(_, first)| *first <= last) {
                aborting.push(id);
            }
            let hidden = options.read_committed
                && batch.is_transactional()
                && !batch.is_control()
                && aborting.contains(&producer);
            if batch.is_control() {
                aborting.retain(|id| *id != producer);
            }
            if last < *position {
                continue;
            }
            // The broker sends files as they are: the checksum is looked at here, or nowhere.
            if !check_crc(&batch) {
                let offset = batch.base_offset().0;
                return Err(unreadable(format!(
                    "the batch at {offset} fails its checksum"
                )));
            }
            if !hidden && (options.control || !batch.is_control()) {
                let facts = Arc::new(self.facts(&batch, Arc::clone(&topic)));
                let decoded = BatchRecords::open(&batch, BATCH_DECOMPRESSED_BYTES_MAX)
                    .map_err(|error| unreadable(error.to_string()))?;
                for record in decoded.iter() {
                    let record = record.map_err(|error| unreadable(error.to_string()))?;
                    if record.offset.0 >= *position {
                        records.push(read(self.place.1, &record, &facts));
                    }
                }
            }
            *position = last + 1;
        }
        Ok(())
    }

    fn facts(&self, batch: &BatchView<'_>, topic: Arc<str>) -> BatchFacts {
        BatchFacts {
            topic,
            leader_epoch: batch.leader_epoch().0,
            producer_id: batch.producer_id().0,
            producer_epoch: batch.producer_epoch().0,
            compression: batch.codec().unwrap_or(Compression::None),
            log_append_time: batch.is_log_append_time(),
            transactional: batch.is_transactional(),
            control: batch.is_control(),
            log_start: self.log_start,
            last_stable: self.last_stable,
            high_watermark: self.high_watermark,
        }
    }
}

fn read(partition: i32, record: &wire::record::Record<'_>, facts: &Arc<BatchFacts>) -> Record {
    Record {
        partition,
        offset: record.offset.0,
        timestamp_ms: record.timestamp,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: record
            .headers
            .iter()
            .map(|header| {
                let name = String::from_utf8_lossy(header.key).into_owned();
                (name, header.value.map(<[u8]>::to_vec))
            })
            .collect(),
        batch: Arc::clone(facts),
    }
}
