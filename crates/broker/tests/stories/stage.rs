//! What a story stands on: a node on a simulated world, and clients that speak raw frames.

use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use ::metadata::config::StaticConfig;
use broker::{Broker, BrokerConfig, ListenerConfig};
use bytes::Bytes;
use commitlog::StoreConfig;
use wire::messages::{self, Request, create_topics, list_offsets, metadata, text};
use wire::record::{BatchBuilder, NewRecord};
use wire::{ProducerEpoch, ProducerId};
use world::sim::SimWorld;
use world::{Stream, World};

pub const PORT: u16 = 9092;

/// A node that serves on a simulated world.
pub struct Stage {
    pub sim: SimWorld,
    pub broker: Broker,
}

/// A log small enough for a test to fill.
fn small_store() -> StoreConfig {
    StoreConfig {
        slot_bytes: 8 << 20,
        slots: 4,
        staging_bytes: 1 << 20,
        staging_buffers: 2,
        ballast_bytes: 0,
        ..StoreConfig::default()
    }
}

pub fn settings(more: &[(&str, &str)]) -> Arc<StaticConfig> {
    let base = [
        ("auto.create.topics.enable", "true"),
        ("default.replication.factor", "1"),
        ("offsets.topic.num.partitions", "3"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let all = base.iter().chain(more).copied();
    let (settings, _) = StaticConfig::load(all);
    Arc::new(settings)
}

impl Stage {
    pub fn new() -> Stage {
        Stage::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut BrokerConfig)) -> Stage {
        Stage::on(World::sim(7), change)
    }

    pub fn on(sim: SimWorld, change: impl FnOnce(&mut BrokerConfig)) -> Stage {
        let mut config = BrokerConfig {
            listeners: vec![ListenerConfig {
                name: "PLAINTEXT".into(),
                address: ([0, 0, 0, 0], PORT).into(),
                advertised: None,
            }],
            store: small_store(),
            settings: settings(&[]),
            ..BrokerConfig::default()
        };
        change(&mut config);
        let broker = Broker::start(sim.world.clone(), config).unwrap();
        Stage { sim, broker }
    }

    /// Plays a story among the node's own tasks.
    pub fn play<F: Future>(&self, story: F) -> F::Output {
        self.sim.block_on(story)
    }

    pub async fn connect(&self) -> Client {
        let address = format!("{}:{PORT}", self.sim.net.address());
        let stream = self.sim.world.net.connect(&address).await.unwrap();
        Client {
            stream,
            received: Vec::new(),
            correlation: 0,
        }
    }

    /// Whether the connection limit or a closed door ends it.
    pub fn open_connections(&self) -> u64 {
        self.broker.metrics().connections
    }
}

/// A client that speaks frames.
pub struct Client {
    pub stream: Box<dyn Stream>,
    received: Vec<u8>,
    correlation: i32,
}

impl Client {
    /// Sends bytes as they are; `false` if the other side has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        let mut sent = 0;
        while sent < bytes.len() {
            let slices = [IoSlice::new(&bytes[sent..])];
            match poll_fn(|cx| self.stream.poll_write(cx, &slices, false)).await {
                Ok(count) => sent += count,
                Err(_) => return false,
            }
        }
        true
    }

    /// The next frame without its size; `None` when the connection is closed.
    pub async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if self.received.len() >= 4 {
                let size = i32::from_be_bytes(self.received[..4].try_into().unwrap()) as usize;
                if self.received.len() >= 4 + size {
                    let rest = self.received.split_off(4 + size);
                    let frame = std::mem::replace(&mut self.received, rest);
                    return Some(Bytes::from(frame).slice(4..));
                }
            }
            let mut buffer = [0; 4096];
            match poll_fn(|cx| self.stream.poll_read(cx, &mut buffer)).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }

    /// Whether the other side closes without saying anything more.
    pub async fn is_closed(&mut self) -> bool {
        self.frame().await.is_none()
    }

    pub async fn send_request<T: Request>(&mut self, version: i16, request: &T) -> i32 {
        self.correlation += 1;
        let frame =
            messages::encode_request(version, self.correlation, Some("story"), request).unwrap();
        self.send(&frame).await;
        self.correlation
    }

    pub async fn answer<T: Request>(&mut self, version: i16) -> (i32, T::Response) {
        let frame = self.frame().await.expect("an answer");
        messages::decode_response::<T>(version, frame).expect("an answer of this version")
    }

    pub async fn ask<T: Request>(&mut self, version: i16, request: &T) -> T::Response {
        let correlation = self.send_request(version, request).await;
        let (answered, response) = self.answer::<T>(version).await;
        assert_eq!(answered, correlation, "answers come in order");
        response
    }

    /// Creates a topic by asking for it, and waits until it is served.
    pub async fn topic(&mut self, name: &str) {
        let asked = metadata::Request {
            topics: Some(vec![metadata::MetadataRequestTopic {
                name: Some(text(name)),
                ..Default::default()
            }]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        for _ in 0..100 {
            let answer = self.ask(9, &asked).await;
            if answer.topics[0].error_code == 0 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the topic {name} did not come into being");
    }

    /// Creates a topic with settings of its own.
    pub async fn topic_with(&mut self, name: &str, settings: &[(&str, &str)]) {
        self.create(name, 1, settings).await;
    }

    /// Creates a topic of many partitions.
    pub async fn topic_of(&mut self, name: &str, partitions: i32) {
        self.create(name, partitions, &[]).await;
    }

    async fn create(&mut self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let request = create_topics::Request {
            topics: vec![create_topics::CreatableTopic {
                name: text(name),
                num_partitions: partitions,
                replication_factor: 1,
                configs: settings
                    .iter()
                    .map(|(name, value)| create_topics::CreatableTopicConfig {
                        name: text(name),
                        value: Some(text(value)),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }],
            timeout_ms: 1000,
            ..Default::default()
        };
        let created = self.ask(7, &request).await;
        assert_eq!(
            created.topics[0].error_code, 0,
            "{:?}",
            created.topics[0].error_message
        );
    }

    pub async fn offset(&mut self, topic: &str, partition: i32, timestamp: i64) -> (i16, i64, i64) {
        let request = list_offsets::Request {
            replica_id: -1,
            topics: vec![list_offsets::ListOffsetsTopic {
                name: text(topic),
                partitions: vec![list_offsets::ListOffsetsPartition {
                    partition_index: partition,
                    current_leader_epoch: -1,
                    timestamp,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = self.ask(8, &request).await;
        let found = &answer.topics[0].partitions[0];
        (found.error_code, found.offset, found.timestamp)
    }
}

/// Lets virtual time pass.
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// A batch of `values`, one record each, stamped with consecutive milliseconds from 1000.
pub fn batch(values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new();
    put(&mut builder, values);
    builder.build().unwrap().into()
}

/// A batch of an idempotent producer.
pub fn batch_of(producer: i64, epoch: i16, sequence: i32, values: &[&str]) -> Bytes {
    let mut builder =
        BatchBuilder::new().producer(ProducerId(producer), ProducerEpoch(epoch), sequence);
    put(&mut builder, values);
    builder.build().unwrap().into()
}

fn put(builder: &mut BatchBuilder, values: &[&str]) {
    for (at, value) in values.iter().enumerate() {
        builder.append(&NewRecord {
            timestamp: 1000 + at as i64,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
}
