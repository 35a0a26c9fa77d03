//! The consumer: records of chosen partitions in offset order, from a place on.
//!
//! It reads by assignment and keeps its own positions; nothing is committed anywhere.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use wire::batch::{batches, check_crc};
use wire::compress::BATCH_DECOMPRESSED_BYTES_MAX;
use wire::ids::TopicId;
use wire::messages::{Uuid, fetch, list_offsets, text};
use wire::record::BatchRecords;
use wire::{ApiKey, ErrorCode};

use crate::cluster::{Client, RETRY_PAUSE, TRIES_MAX};
use crate::connection::ANSWER_WAIT;
use crate::error::{ClientError, check};

/// The broker waits this long for the first byte.
const FETCH_WAIT_MS: i32 = 500;
/// Bytes asked for in one fetch, in all and per partition.
const FETCH_BYTES_MAX: i32 = 16 * 1024 * 1024;
const PARTITION_BYTES_MAX: i32 = 1024 * 1024;

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The log start.
    Start,
    /// The high watermark.
    End,
    /// This offset.
    Offset(i64),
    /// So many offsets before the end, the log start at the earliest.
    BeforeEnd(i64),
    /// The first record at or after this Unix time in milliseconds; the end if there is none.
    Timestamp(i64),
}

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
}

impl Client {
    /// Offsets of a place in each of these partitions.
    ///
    /// # Errors
    /// A leader's refusal, or its retries ran out.
    pub async fn list_offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        at: At,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        match at {
            At::Start => self.offsets_at(topic, partitions, -2).await,
            At::End => self.offsets_at(topic, partitions, -1).await,
            At::Offset(offset) => Ok(partitions
                .iter()
                .map(|partition| (*partition, offset))
                .collect()),
            At::BeforeEnd(count) => {
                let starts = self.offsets_at(topic, partitions, -2).await?;
                let mut ends = self.offsets_at(topic, partitions, -1).await?;
                for (partition, end) in &mut ends {
                    let start = starts.get(partition).copied().unwrap_or(0);
                    *end = end.saturating_sub(count).max(start);
                }
                Ok(ends)
            }
            At::Timestamp(timestamp) => {
                let ends = self.offsets_at(topic, partitions, -1).await?;
                let mut found = self.offsets_at(topic, partitions, timestamp.max(0)).await?;
                for (partition, offset) in &mut found {
                    if *offset < 0 {
                        *offset = ends.get(partition).copied().unwrap_or(0);
                    }
                }
                Ok(found)
            }
        }
    }

    async fn offsets_at(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut offsets = BTreeMap::new();
        let mut last = ClientError::server(ErrorCode::UnknownTopicOrPartition);
        for _ in 0..TRIES_MAX {
            match self
                .offsets_once(topic, partitions, timestamp, &mut offsets)
                .await
            {
                Ok(()) => return Ok(offsets),
                Err(error) if error.is_retriable() => last = error,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            self.refresh(topic).await?;
        }
        Err(last)
    }

    async fn offsets_once(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
        offsets: &mut BTreeMap<i32, i64>,
    ) -> Result<(), ClientError> {
        for (broker, partitions) in self.by_leader(topic, partitions).await? {
            let request = list_offsets::Request {
                replica_id: -1,
                topics: vec![list_offsets::ListOffsetsTopic {
                    name: text(topic),
                    partitions: partitions
                        .iter()
                        .map(|partition| list_offsets::ListOffsetsPartition {
                            partition_index: *partition,
                            current_leader_epoch: -1,
                            timestamp,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                }],
                timeout_ms: FETCH_WAIT_MS,
                ..Default::default()
            };
            let response = self.ask(broker, &request).await?;
            for partition in response
                .topics
                .into_iter()
                .flat_map(|topic| topic.partitions)
            {
                check(partition.error_code, None)?;
                offsets.insert(partition.partition_index, partition.offset);
            }
        }
        Ok(())
    }
}

/// Reads chosen partitions of one topic.
pub struct Consumer {
    client: Client,
    topic: String,
    positions: BTreeMap<i32, i64>,
}

impl Consumer {
    /// A consumer that begins at these offsets.
    pub fn assign(client: Client, topic: &str, starts: &BTreeMap<i32, i64>) -> Consumer {
        Consumer {
            client,
            topic: topic.to_owned(),
            positions: starts.clone(),
        }
    }

    /// The next offset of each partition.
    pub fn positions(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.positions
            .iter()
            .map(|(partition, offset)| (*partition, *offset))
    }

    /// The records that are there, after at most half a second of waiting; none when there are none.
    ///
    /// # Errors
    /// A leader's refusal (`OFFSET_OUT_OF_RANGE` among them), or its retries ran out.
    pub async fn poll(&mut self) -> Result<Vec<Record>, ClientError> {
        let mut last = ClientError::server(ErrorCode::LeaderNotAvailable);
        for _ in 0..TRIES_MAX {
            match self.fetch_once().await {
                Ok(records) => return Ok(records),
                Err(error) if error.is_retriable() => last = error,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            if let Err(error) = self.client.refresh(&self.topic).await {
                tracing::debug!(%error, topic = self.topic, "metadata not refreshed");
            }
        }
        Err(last)
    }

    async fn fetch_once(&mut self) -> Result<Vec<Record>, ClientError> {
        let partitions: Vec<i32> = self.positions.keys().copied().collect();
        let by_leader = self.client.by_leader(&self.topic, &partitions).await?;
        let mut asked = VecDeque::new();
        for (broker, partitions) in by_leader {
            let request = self.request(broker, &partitions).await?;
            match self
                .client
                .connection_to(broker)
                .await?
                .send(&request)
                .await
            {
                Ok(()) => asked.push_back(broker),
                Err(error) => {
                    self.client.forget(broker);
                    return Err(error);
                }
            }
        }
        let mut records = Vec::new();
        let mut failed = None;
        for broker in asked {
            let wait = ANSWER_WAIT + Duration::from_millis(FETCH_WAIT_MS.unsigned_abs().into());
            let connection = self.client.connection_to(broker).await?;
            match connection.receive::<fetch::Request>(wait).await {
                Ok(response) => {
                    if let Err(error) = self.take(response, &mut records) {
                        failed.get_or_insert(error);
                    }
                }
                Err(error) => {
                    self.client.forget(broker);
                    failed.get_or_insert(error);
                }
            }
        }
        // What was read has moved the positions: it must reach the caller, the error comes again.
        match failed {
            Some(error) if records.is_empty() => Err(error),
            _ => Ok(records),
        }
    }

    async fn request(
        &mut self,
        broker: i32,
        partitions: &[i32],
    ) -> Result<fetch::Request, ClientError> {
        let version = self
            .client
            .connection_to(broker)
            .await?
            .version(ApiKey::Fetch)?;
        let id = self
            .client
            .ids
            .get(&self.topic)
            .copied()
            .unwrap_or(TopicId::NONE);
        // Up to version 12 a topic goes by its name, from 13 on by its id.
        let (name, topic_id) = if version >= 13 {
            ("", id)
        } else {
            (self.topic.as_str(), TopicId::NONE)
        };
        Ok(fetch::Request {
            max_wait_ms: FETCH_WAIT_MS,
            min_bytes: 1,
            max_bytes: FETCH_BYTES_MAX,
            session_id: 0,
            session_epoch: -1,
            topics: vec![fetch::FetchTopic {
                topic: text(name),
                topic_id: Uuid::from(topic_id),
                partitions: partitions
                    .iter()
                    .map(|partition| fetch::FetchPartition {
                        partition: *partition,
                        current_leader_epoch: -1,
                        fetch_offset: self.positions.get(partition).copied().unwrap_or(0),
                        last_fetched_epoch: -1,
                        log_start_offset: -1,
                        partition_max_bytes: PARTITION_BYTES_MAX,
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    fn take(
        &mut self,
        response: fetch::Response,
        records: &mut Vec<Record>,
    ) -> Result<(), ClientError> {
        check(response.error_code, None)?;
        let mut failed = None;
        for data in response
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions)
        {
            if let Err(error) = check(data.error_code, None) {
                failed.get_or_insert(error);
                continue;
            }
            let Some(bytes) = data.records else { continue };
            if let Err(error) = self.take_batches(data.partition_index, &bytes, records) {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn take_batches(
        &mut self,
        partition: i32,
        bytes: &[u8],
        records: &mut Vec<Record>,
    ) -> Result<(), ClientError> {
        let unreadable = |reason: String| ClientError::Protocol {
            address: format!("{} partition {partition}", self.topic),
            reason,
        };
        let position = self.positions.entry(partition).or_default();
        for batch in batches(bytes) {
            // A batch cut at the end of the answer ends the walk: it comes again, whole.
            let batch = batch.map_err(|error| unreadable(error.to_string()))?;
            let next = batch.last_offset().0 + 1;
            if next <= *position {
                continue;
            }
            // The broker sends files as they are: the checksum is looked at here, or nowhere.
            if !check_crc(&batch) {
                let offset = batch.base_offset().0;
                return Err(unreadable(format!(
                    "the batch at {offset} fails its checksum"
                )));
            }
            if !batch.is_control() {
                let decoded = BatchRecords::open(&batch, BATCH_DECOMPRESSED_BYTES_MAX)
                    .map_err(|error| unreadable(error.to_string()))?;
                for record in decoded.iter() {
                    let record = record.map_err(|error| unreadable(error.to_string()))?;
                    if record.offset.0 < *position {
                        continue;
                    }
                    records.push(Record {
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
                    });
                }
            }
            *position = next;
        }
        Ok(())
    }
}
