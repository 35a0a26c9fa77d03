//! The rdkafka crate, over the librdkafka it builds, behind the stories' surface.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::runtime::Runtime;

use crate::stories::{Outcome, PARTITIONS, Reader, Record, Surface, WAIT, When};

const MOMENT: Duration = Duration::from_millis(300);

struct Rd {
    on: Runtime,
    base: ClientConfig,
    admin: AdminClient<DefaultClientContext>,
    protocol: &'static str,
}

pub fn open(broker: &str, newer: bool) -> Outcome<Box<dyn Surface>> {
    let mut base = ClientConfig::new();
    base.set("bootstrap.servers", broker)
        .set("client.id", "e2e-rdkafka");
    let admin = base.create()?;
    let protocol = if newer { "consumer" } else { "classic" };
    Ok(Box::new(Rd {
        on: Runtime::new()?,
        base,
        admin,
        protocol,
    }))
}

impl Rd {
    fn options(&self) -> AdminOptions {
        AdminOptions::new().operation_timeout(Some(WAIT))
    }

    fn consumer(&self, group: &str) -> Outcome<BaseConsumer<Commits>> {
        let mut config = self.base.clone();
        config
            .set("group.id", group)
            .set("group.protocol", self.protocol)
            .set("auto.offset.reset", "earliest");
        config
            .set("enable.auto.commit", "false")
            .set("check.crcs", "true")
            // A consumer that closes empties its queue: what nobody read must not count as read.
            .set("enable.auto.offset.store", "false");
        Ok(config.create_with_context(Commits)?)
    }
}

/// Commits what was read before a partition is given up.
struct Commits;

impl ClientContext for Commits {}

impl ConsumerContext for Commits {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(_) = rebalance
            && let Err(error) = commit(consumer)
        {
            eprintln!("commit: {error}");
        }
    }
}

fn commit(consumer: &BaseConsumer<Commits>) -> Outcome {
    match consumer.commit_consumer_state(CommitMode::Sync) {
        Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()), // committed already
        done => Ok(done?),
    }
}

/// Up to 50 records, or none after a moment.
fn poll(consumer: &BaseConsumer<Commits>) -> Outcome<Vec<Record>> {
    let (mut batch, mut patience) = (Vec::new(), MOMENT);
    while batch.len() < 50 {
        match consumer.poll(patience) {
            Some(message) => {
                let message = message?;
                consumer.store_offset_from_message(&message)?;
                batch.push(record(&message)?);
            }
            None => break,
        }
        patience = Duration::ZERO;
    }
    Ok(batch)
}

fn record(message: &BorrowedMessage<'_>) -> Outcome<Record> {
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec());
    let mut headers = Vec::new();
    for header in message.headers().into_iter().flat_map(Headers::iter) {
        headers.push((header.key.to_owned(), text(header.value)?));
    }
    Ok(Record {
        key: text(message.key())?,
        value: text(message.payload())?,
        headers,
        partition: Some(message.partition()),
        timestamp: message.timestamp().to_millis(),
        offset: message.offset(),
    })
}

struct Group(BaseConsumer<Commits>);

impl Reader for Group {
    fn poll(&mut self) -> Outcome<Vec<Record>> {
        poll(&self.0)
    }

    fn assigned(&self) -> Outcome<BTreeSet<i32>> {
        Ok(self
            .0
            .assignment()?
            .elements()
            .iter()
            .map(|one| one.partition())
            .collect())
    }

    fn commit(&mut self) -> Outcome {
        commit(&self.0)
    }
}

/// Every partition of a topic, each with the same mark.
fn every(topic: &str, mark: Offset) -> Outcome<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS as i32 {
        list.add_partition_offset(topic, partition, mark)?;
    }
    Ok(list)
}

impl Surface for Rd {
    fn repeats_headers(&self) -> bool {
        true
    }

    /// librdkafka gives its mark for the end when no record is young enough.
    fn none_is_end(&self) -> bool {
        false
    }

    fn create(&self, topic: &str) -> Outcome<bool> {
        let wanted = NewTopic::new(topic, PARTITIONS as i32, TopicReplication::Fixed(1));
        let answers = self
            .on
            .block_on(self.admin.create_topics([&wanted], &self.options()))?;
        for answer in answers {
            match answer {
                Ok(_) => {}
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => return Ok(false),
                Err((topic, code)) => return Err(format!("{topic}: {code}").into()),
            }
        }
        Ok(true)
    }

    fn delete(&self, topic: &str) -> Outcome {
        for answer in self
            .on
            .block_on(self.admin.delete_topics(&[topic], &self.options()))?
        {
            answer.map_err(|(topic, code)| format!("{topic}: {code}"))?;
        }
        Ok(())
    }

    fn partitions(&self, topic: &str) -> Outcome<usize> {
        let found = self.admin.inner().fetch_metadata(None, WAIT)?;
        Ok(found
            .topics()
            .iter()
            .find(|one| one.name() == topic)
            .map_or(0, |one| one.partitions().len()))
    }

    fn produce(&self, topic: &str, records: &[Record], codec: &str) -> Outcome {
        let mut config = self.base.clone();
        config
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("compression.type", codec)
            .set("linger.ms", "20");
        let producer: FutureProducer = config.create()?;
        let mut sent = Vec::new();
        for record in records {
            let mut headers = OwnedHeaders::new();
            for (key, value) in &record.headers {
                headers = headers.insert(Header {
                    key,
                    value: Some(value),
                });
            }
            let mut one = FutureRecord::to(topic)
                .key(&record.key)
                .payload(&record.value)
                .headers(headers);
            one.partition = record.partition;
            one.timestamp = record.timestamp;
            sent.push(producer.send_result(one).map_err(|(error, _)| error)?);
        }
        for one in sent {
            self.on.block_on(one)?.map_err(|(error, _)| error)?;
        }
        Ok(())
    }

    fn read_all(&self, topic: &str, count: usize) -> Outcome<Vec<Record>> {
        let consumer = self.consumer(&format!("{topic}-all"))?;
        consumer.assign(&every(topic, Offset::Beginning)?)?;
        let (mut got, until) = (Vec::new(), Instant::now() + WAIT);
        while got.len() < count && Instant::now() < until {
            got.extend(poll(&consumer)?);
        }
        got.extend(poll(&consumer)?); // one more look: nothing may follow
        Ok(got)
    }

    fn offsets(&self, topic: &str, when: When) -> Outcome<Vec<i64>> {
        let consumer = self.consumer(&format!("{topic}-none"))?;
        if let When::At(ms) = when {
            let found = consumer.offsets_for_times(every(topic, Offset::Offset(ms))?, WAIT)?;
            let mut found: Vec<_> = found
                .elements()
                .iter()
                .map(|one| (one.partition(), one.offset()))
                .collect();
            found.sort_by_key(|(partition, _)| *partition);
            return Ok(found
                .into_iter()
                .map(|(_, offset)| {
                    if let Offset::Offset(at) = offset {
                        at
                    } else {
                        -1
                    }
                })
                .collect());
        }
        (0..PARTITIONS as i32)
            .map(|partition| {
                let (low, high) = consumer.fetch_watermarks(topic, partition, WAIT)?;
                Ok(if let When::Earliest = when { low } else { high })
            })
            .collect()
    }

    fn reader(&self, group: &str, topic: &str) -> Outcome<Box<dyn Reader>> {
        let consumer = self.consumer(group)?;
        consumer.subscribe(&[topic])?;
        Ok(Box::new(Group(consumer)))
    }

    fn committed(&self, group: &str, topic: &str) -> Outcome<i64> {
        let found = self
            .consumer(group)?
            .committed_offsets(every(topic, Offset::Invalid)?, WAIT)?;
        Ok(found
            .elements()
            .iter()
            .map(|one| {
                if let Offset::Offset(at) = one.offset() {
                    at
                } else {
                    0
                }
            })
            .sum())
    }

    fn configs(&self, topic: &str) -> Outcome<HashMap<String, String>> {
        let asked = [ResourceSpecifier::Topic(topic)];
        let mut named = HashMap::new();
        for answer in self
            .on
            .block_on(self.admin.describe_configs(&asked, &self.options()))?
        {
            for entry in answer?.entries {
                named.insert(entry.name, entry.value.unwrap_or_default());
            }
        }
        Ok(named)
    }

    fn alter(&self, topic: &str, key: &str, value: &str) -> Outcome {
        let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(key, value);
        for answer in self
            .on
            .block_on(self.admin.alter_configs([&change], &self.options()))?
        {
            answer.map_err(|(_, code)| code.to_string())?;
        }
        Ok(())
    }
}
