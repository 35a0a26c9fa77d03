//! The producer: records gathered into batches, sent to their leaders, retried without duplicates.
//!
//! Invariants:
//! - A batch's sequence is fixed when it is sealed, so that a retry is recognised as the same batch.
//! - Batches of one partition are sent one at a time, in order: nothing overtakes a retry.
//! - Memory is bounded: [`ProducerOptions::buffer_bytes_max`] buffered bytes end in a send.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use wire::ids::{ProducerEpoch, ProducerId, TopicId};
use wire::messages::{Uuid, init_producer_id, produce, text};
use wire::record::{self, BatchBuilder};
use wire::{ApiKey, ErrorCode};

use crate::Compression;
use crate::cluster::{Client, RETRY_PAUSE, TRIES_MAX};
use crate::connection::ANSWER_WAIT;
use crate::error::{ClientError, check};
use crate::partitioner::partition_for_key;

/// How a producer sends.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// Codec of every batch.
    pub compression: Compression,
    /// 0, 1 or -1. Anything else than -1 switches idempotence off.
    pub acks: i16,
    /// A batch is sealed when its records reach this many bytes.
    pub batch_bytes: usize,
    /// Buffered bytes at which `send` waits for the brokers.
    pub buffer_bytes_max: usize,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            compression: Compression::None,
            acks: -1,
            batch_bytes: 256 * 1024,
            buffer_bytes_max: 8 * 1024 * 1024,
        }
    }
}

/// A record to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// Decides the partition; none for no key.
    pub key: Option<Vec<u8>>,
    /// None is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order; a name may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Unix milliseconds; now if not given.
    pub timestamp_ms: Option<i64>,
}

impl NewRecord {
    fn bytes(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, Vec::len) + 4)
            .sum();
        let part = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        part(&self.key) + part(&self.value) + headers + RECORD_OVERHEAD_BYTES
    }
}

/// Lengths, deltas and attributes of a record, at most.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Writes records to topics of one cluster.
pub struct Producer {
    client: Client,
    options: ProducerOptions,
    id: ProducerId,
    epoch: ProducerEpoch,
    queues: BTreeMap<(String, i32), Queue>,
    /// Where keyless records of a topic go until its next batch is sealed.
    sticky: BTreeMap<String, i32>,
    buffered_bytes: usize,
}

#[derive(Default)]
struct Queue {
    sequence_next: i32,
    open: Vec<NewRecord>,
    open_bytes: usize,
    sealed: VecDeque<Sealed>,
}

struct Sealed {
    batch: Bytes,
    /// What the records counted for while they were buffered.
    buffered_bytes: usize,
}

impl Producer {
    /// A producer with an id of its own, unless acks say otherwise.
    ///
    /// # Errors
    /// No broker gives out an id.
    pub async fn new(
        mut client: Client,
        options: ProducerOptions,
    ) -> Result<Producer, ClientError> {
        let (id, epoch) = if options.acks == -1 {
            init_producer(&mut client).await?
        } else {
            (ProducerId::NONE, ProducerEpoch::NONE)
        };
        Ok(Producer {
            client,
            options,
            id,
            epoch,
            queues: BTreeMap::new(),
            sticky: BTreeMap::new(),
            buffered_bytes: 0,
        })
    }

    /// Takes a record. It is acknowledged once [`Self::flush`] returned without an error.
    ///
    /// # Errors
    /// The topic or partition is unknown; or buffered records had to be sent and that failed.
    pub async fn send(
        &mut self,
        topic: &str,
        partition: Option<i32>,
        mut record: NewRecord,
    ) -> Result<(), ClientError> {
        let partition = match partition {
            Some(partition) => partition,
            None => self.choose(topic, record.key.as_deref()).await?,
        };
        record
            .timestamp_ms
            .get_or_insert_with(|| self.client.wall_ms());
        let bytes = record.bytes();
        self.buffered_bytes += bytes;
        let queue = self
            .queues
            .entry((topic.to_owned(), partition))
            .or_default();
        queue.open.push(record);
        queue.open_bytes += bytes;
        if queue.open_bytes >= self.options.batch_bytes {
            self.sticky.remove(topic);
            self.seal(&(topic.to_owned(), partition))?;
        }
        if self.buffered_bytes >= self.options.buffer_bytes_max {
            self.send_sealed().await?;
        }
        Ok(())
    }

    /// Sends what is sealed, keeping what is still gathering.
    ///
    /// # Errors
    /// A batch was refused for good, or its retries ran out.
    pub async fn progress(&mut self) -> Result<(), ClientError> {
        self.send_sealed().await
    }

    /// Sends everything and returns when all of it is acknowledged.
    ///
    /// # Errors
    /// A batch was refused for good, or its retries ran out: of the records since the last
    /// successful flush, some may be stored and some not.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        let keys: Vec<(String, i32)> = self.queues.keys().cloned().collect();
        for key in keys {
            self.seal(&key)?;
        }
        self.send_sealed().await
    }

    async fn choose(&mut self, topic: &str, key: Option<&[u8]>) -> Result<i32, ClientError> {
        if !self.client.leaders.contains_key(topic) {
            self.client.refresh(topic).await?;
        }
        let count = self.client.leaders.get(topic).map_or(0, BTreeMap::len);
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        if count == 0 {
            return Err(ClientError::server(ErrorCode::UnknownTopicOrPartition));
        }
        if let Some(key) = key {
            return Ok(partition_for_key(key, count));
        }
        if let Some(partition) = self.sticky.get(topic) {
            return Ok(*partition);
        }
        let chosen = i32::try_from(self.client.chance() % u64::from(count.unsigned_abs()));
        let chosen = chosen.unwrap_or(0);
        self.sticky.insert(topic.to_owned(), chosen);
        Ok(chosen)
    }

    fn seal(&mut self, key: &(String, i32)) -> Result<(), ClientError> {
        let Some(queue) = self.queues.get_mut(key) else {
            return Ok(());
        };
        if queue.open.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut queue.open);
        let buffered_bytes = std::mem::take(&mut queue.open_bytes);
        let mut builder = BatchBuilder::new().compression(self.options.compression, None);
        if self.id.is_some() {
            builder = builder.producer(self.id, self.epoch, queue.sequence_next);
            // 0 follows i32::MAX (rule T2).
            let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
            let next = (i64::from(queue.sequence_next) + count) % (i64::from(i32::MAX) + 1);
            queue.sequence_next = i32::try_from(next).unwrap_or(0);
        }
        for record in &records {
            let headers: Vec<(&[u8], Option<&[u8]>)> = record
                .headers
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_deref()))
                .collect();
            builder.append(&record::NewRecord {
                timestamp: record.timestamp_ms.unwrap_or(-1),
                key: record.key.as_deref(),
                value: record.value.as_deref(),
                headers: &headers,
            });
        }
        let batch = builder.build().map_err(|error| ClientError::Server {
            code: ErrorCode::InvalidRecord,
            message: Some(error.to_string()),
        })?;
        queue.sealed.push_back(Sealed {
            batch: Bytes::from(batch),
            buffered_bytes,
        });
        Ok(())
    }

    /// Rounds of one batch per partition until nothing sealed is left.
    async fn send_sealed(&mut self) -> Result<(), ClientError> {
        let mut tries = 0;
        while self.queues.values().any(|queue| !queue.sealed.is_empty()) {
            match self.round().await {
                Ok(()) => tries = 0,
                Err(error) if error.is_retriable() && tries < TRIES_MAX => {
                    tries += 1;
                    tokio::time::sleep(RETRY_PAUSE).await;
                    self.refresh_waiting().await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends the oldest sealed batch of every partition to its leader and takes the answers.
    ///
    /// What was acknowledged is dropped even when another batch failed; the first error comes back.
    async fn round(&mut self) -> Result<(), ClientError> {
        let waiting: Vec<(String, i32)> = self
            .queues
            .iter()
            .filter(|(_, queue)| !queue.sealed.is_empty())
            .map(|(key, _)| key.clone())
            .collect();
        let mut by_broker: BTreeMap<i32, Vec<(String, i32)>> = BTreeMap::new();
        for (topic, partition) in waiting {
            for (leader, _) in self.client.by_leader(&topic, &[partition]).await? {
                by_broker
                    .entry(leader)
                    .or_default()
                    .push((topic.clone(), partition));
            }
        }
        let mut failed = None;
        let mut asked = Vec::new();
        for (broker, keys) in by_broker {
            match self.send_to(broker, &keys).await {
                Ok(()) => asked.push(broker),
                Err(error) => {
                    self.client.forget(broker);
                    failed.get_or_insert(error);
                }
            }
        }
        for broker in asked {
            if let Err(error) = self.take_answer(broker).await {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn send_to(&mut self, broker: i32, keys: &[(String, i32)]) -> Result<(), ClientError> {
        let version = self
            .client
            .connection_to(broker)
            .await?
            .version(ApiKey::Produce)?;
        let mut topics: Vec<produce::TopicProduceData> = Vec::new();
        for (topic, partition) in keys {
            let Some(sealed) = self
                .queues
                .get(&(topic.clone(), *partition))
                .and_then(|queue| queue.sealed.front())
            else {
                continue;
            };
            let data = produce::PartitionProduceData {
                index: *partition,
                records: Some(sealed.batch.clone()),
                ..Default::default()
            };
            let id = self.client.ids.get(topic).copied().unwrap_or(TopicId::NONE);
            // Up to version 12 a topic goes by its name, from 13 on by its id.
            let (name, topic_id) = if version >= 13 {
                ("", id)
            } else {
                (topic.as_str(), TopicId::NONE)
            };
            let same = topics.iter_mut().find(|known| {
                known.name.as_str() == name && TopicId::from(known.topic_id) == topic_id
            });
            match same {
                Some(known) => known.partition_data.push(data),
                None => topics.push(produce::TopicProduceData {
                    name: text(name),
                    topic_id: Uuid::from(topic_id),
                    partition_data: vec![data],
                    ..Default::default()
                }),
            }
        }
        let request = produce::Request {
            transactional_id: None,
            acks: self.options.acks,
            timeout_ms: i32::try_from(ANSWER_WAIT.as_millis()).unwrap_or(i32::MAX),
            topic_data: topics,
            ..Default::default()
        };
        let connection = self.client.connection_to(broker).await?;
        if self.options.acks == 0 {
            connection.send_unanswered(&request).await?;
            for key in keys {
                self.acknowledged(key);
            }
            return Ok(());
        }
        connection.send(&request).await
    }

    async fn take_answer(&mut self, broker: i32) -> Result<(), ClientError> {
        if self.options.acks == 0 {
            return Ok(());
        }
        let answer = self
            .client
            .connection_to(broker)
            .await?
            .receive::<produce::Request>(ANSWER_WAIT)
            .await;
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                self.client.forget(broker);
                return Err(error);
            }
        };
        let mut failed = None;
        for topic in response.responses {
            let by_id = TopicId::from(topic.topic_id);
            let name = match topic.name.as_str() {
                "" => self
                    .client
                    .ids
                    .iter()
                    .find(|(_, id)| **id == by_id)
                    .map(|(name, _)| name.clone())
                    .unwrap_or_default(),
                name => name.to_owned(),
            };
            for partition in topic.partition_responses {
                let message = partition.error_message.as_ref().map(|text| text.as_str());
                match check(partition.error_code, message) {
                    Ok(()) => self.acknowledged(&(name.clone(), partition.index)),
                    // It is stored already: an earlier try's answer was lost.
                    Err(ClientError::Server {
                        code: ErrorCode::DuplicateSequenceNumber,
                        ..
                    }) => self.acknowledged(&(name.clone(), partition.index)),
                    Err(error) => {
                        failed.get_or_insert(error);
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn acknowledged(&mut self, key: &(String, i32)) {
        if let Some(sealed) = self
            .queues
            .get_mut(key)
            .and_then(|queue| queue.sealed.pop_front())
        {
            self.buffered_bytes -= sealed.buffered_bytes;
        }
    }

    /// Looks up the leaders of what still waits. A failure shows in the next round.
    async fn refresh_waiting(&mut self) {
        let topics: std::collections::BTreeSet<String> = self
            .queues
            .iter()
            .filter(|(_, queue)| !queue.sealed.is_empty())
            .map(|((topic, _), _)| topic.clone())
            .collect();
        for topic in topics {
            if let Err(error) = self.client.refresh(&topic).await {
                tracing::debug!(%error, topic, "metadata not refreshed");
            }
        }
    }
}

/// A producer id and epoch, retried while the cluster is starting.
async fn init_producer(client: &mut Client) -> Result<(ProducerId, ProducerEpoch), ClientError> {
    let request = init_producer_id::Request {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let mut last = ClientError::server(ErrorCode::CoordinatorNotAvailable);
    for _ in 0..TRIES_MAX {
        let response = client.ask_any(&request).await?;
        match check(response.error_code, None) {
            Ok(()) => {
                return Ok((
                    ProducerId(response.producer_id),
                    ProducerEpoch(response.producer_epoch),
                ));
            }
            Err(error) if error.is_retriable() => last = error,
            Err(error) => return Err(error),
        }
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Err(last)
}
