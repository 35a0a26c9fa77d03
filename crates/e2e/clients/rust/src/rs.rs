//! rskafka behind the stories' surface: it knows topics, partitions and records, but no groups and no
//! settings, and asks for the oldest versions of all clients here.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::time::Instant;

use rskafka::chrono::{DateTime, Utc};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use tokio::runtime::Runtime;

use crate::stories::{Outcome, PARTITIONS, Reader, Record, Surface, WAIT, When, millis};

struct Rs {
    on: Runtime,
    client: Client,
}

pub fn open(broker: &str) -> Outcome<Box<dyn Surface>> {
    let on = Runtime::new()?;
    let client = on.block_on(
        ClientBuilder::new(vec![broker.to_owned()])
            .client_id("e2e-rskafka")
            .build(),
    )?;
    Ok(Box::new(Rs { on, client }))
}

impl Rs {
    fn partition(&self, topic: &str, partition: i32) -> Outcome<PartitionClient> {
        let client = self
            .client
            .partition_client(topic, partition, UnknownTopicHandling::Retry);
        Ok(self.on.block_on(client)?)
    }
}

impl Surface for Rs {
    fn repeats_headers(&self) -> bool {
        false
    }

    fn none_is_end(&self) -> bool {
        false
    }

    fn create(&self, topic: &str) -> Outcome<bool> {
        let made = self.client.controller_client()?;
        match self
            .on
            .block_on(made.create_topic(topic, PARTITIONS as i32, 1, 60_000))
        {
            Ok(()) => Ok(true),
            Err(Error::ServerError {
                protocol_error: ProtocolError::TopicAlreadyExists,
                ..
            }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn delete(&self, topic: &str) -> Outcome {
        let controller = self.client.controller_client()?;
        Ok(self.on.block_on(controller.delete_topic(topic, 60_000))?)
    }

    fn partitions(&self, topic: &str) -> Outcome<usize> {
        let topics = self.on.block_on(self.client.list_topics())?;
        Ok(topics
            .iter()
            .find(|found| found.name == topic)
            .map_or(0, |found| found.partitions.len()))
    }

    fn produce(&self, topic: &str, records: &[Record], codec: &str) -> Outcome {
        let codec = match codec {
            "gzip" => Compression::Gzip,
            "snappy" => Compression::Snappy,
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd,
            _ => Compression::NoCompression,
        };
        // It leaves the choice of a partition to whoever uses it.
        let mut by_partition = BTreeMap::<i32, Vec<rskafka::record::Record>>::new();
        for record in records {
            let partition = record.partition.unwrap_or_else(|| {
                let mut hasher = DefaultHasher::new();
                record.key.hash(&mut hasher);
                (hasher.finish() % PARTITIONS as u64) as i32
            });
            by_partition
                .entry(partition)
                .or_default()
                .push(rskafka::record::Record {
                    key: Some(record.key.clone().into_bytes()),
                    value: Some(record.value.clone().into_bytes()),
                    headers: record
                        .headers
                        .iter()
                        .map(|(name, value)| (name.clone(), value.clone().into_bytes()))
                        .collect(),
                    timestamp: time(record.timestamp.unwrap_or_else(millis))?,
                });
        }
        for (partition, records) in by_partition {
            let client = self.partition(topic, partition)?;
            self.on.block_on(client.produce(records, codec))?;
        }
        Ok(())
    }

    fn read_all(&self, topic: &str, count: usize) -> Outcome<Vec<Record>> {
        let clients = (0..PARTITIONS as i32)
            .map(|partition| self.partition(topic, partition))
            .collect::<Outcome<Vec<_>>>()?;
        let (mut got, mut at) = (Vec::new(), [0; PARTITIONS]);
        let until = Instant::now() + WAIT;
        let mut enough = false;
        while !enough && Instant::now() < until {
            enough = got.len() >= count; // then one more look: nothing may follow
            for (client, at) in clients.iter().zip(&mut at) {
                let (records, _) = self
                    .on
                    .block_on(client.fetch_records(*at, 1..16_384, 100))?;
                for read in records {
                    *at = read.offset + 1;
                    got.push(Record {
                        key: String::from_utf8(read.record.key.unwrap_or_default())?,
                        value: String::from_utf8(read.record.value.unwrap_or_default())?,
                        headers: read
                            .record
                            .headers
                            .into_iter()
                            .map(|(name, value)| Ok((name, String::from_utf8(value)?)))
                            .collect::<Outcome<_>>()?,
                        partition: Some(client.partition()),
                        timestamp: Some(read.record.timestamp.timestamp_millis()),
                        offset: read.offset,
                    });
                }
            }
        }
        Ok(got)
    }

    fn offsets(&self, topic: &str, when: When) -> Outcome<Vec<i64>> {
        let at = match when {
            When::Earliest => OffsetAt::Earliest,
            When::Latest => OffsetAt::Latest,
            When::At(ms) => OffsetAt::Timestamp(time(ms)?),
        };
        (0..PARTITIONS as i32)
            .map(|partition| {
                Ok(self
                    .on
                    .block_on(self.partition(topic, partition)?.get_offset(at))?)
            })
            .collect()
    }

    fn reader(&self, _: &str, _: &str) -> Outcome<Box<dyn Reader>> {
        Err("rskafka has no groups".into())
    }

    fn committed(&self, _: &str, _: &str) -> Outcome<i64> {
        Err("rskafka has no groups".into())
    }

    fn configs(&self, _: &str) -> Outcome<HashMap<String, String>> {
        Err("rskafka has no settings".into())
    }

    fn alter(&self, _: &str, _: &str, _: &str) -> Outcome {
        Err("rskafka has no settings".into())
    }
}

fn time(ms: i64) -> Outcome<DateTime<Utc>> {
    DateTime::from_timestamp_millis(ms).ok_or_else(|| format!("{ms} is no time").into())
}
