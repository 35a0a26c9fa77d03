//! What a story stands on: a node on a simulated world, and a host beside it for its clients.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerConfig, ListenerConfig, StartError};
use client::{Client, ClientError, NewTopic, Reach};
use commitlog::StoreConfig;
use metadata::config::StaticConfig;
use world::World;
use world::sim::{SimDisk, SimWorld};

use crate::line::Line;

/// Where the node listens.
pub const ADDRESS: &str = "node:9092";

/// A node that serves, and the host its clients are on.
pub struct Stage {
    /// The node's world.
    pub sim: SimWorld,
    /// The clients' host.
    pub clients: SimWorld,
    /// The product.
    pub broker: Broker,
}

/// A node that is not running: its world, and the host of its clients.
pub struct Empty {
    /// The node's world.
    pub sim: SimWorld,
    /// The clients' host.
    pub clients: SimWorld,
}

/// A log so small that a short story fills it more than once.
pub fn small_store() -> StoreConfig {
    StoreConfig {
        slot_bytes: 256 << 10,
        slots: 4,
        staging_bytes: 32 << 10,
        staging_buffers: 2,
        descriptors: 8,
        checkpoint_interval: Duration::from_millis(300),
        retention_interval: Duration::from_secs(2),
        ballast_bytes: 0,
        free_bytes_min: Some(0),
        ..StoreConfig::default()
    }
}

fn settings() -> Arc<StaticConfig> {
    let keys = [
        ("auto.create.topics.enable", "false"),
        ("default.replication.factor", "1"),
        ("offsets.topic.num.partitions", "3"),
        ("offsets.topic.replication.factor", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    Arc::new(StaticConfig::load(keys).0)
}

/// The node's configuration on every stage.
pub fn config(store: StoreConfig) -> BrokerConfig {
    BrokerConfig {
        listeners: vec![ListenerConfig {
            name: "PLAINTEXT".into(),
            address: ([0, 0, 0, 0], 9092).into(),
            advertised: None,
        }],
        store,
        settings: settings(),
        ..BrokerConfig::default()
    }
}

impl Empty {
    /// An empty disk, and a network whose bytes take up to two milliseconds.
    pub fn new(seed: u64) -> Empty {
        let sim = World::sim(seed);
        sim.net.set_delay(Duration::ZERO, Duration::from_millis(2));
        let clients = sim.peer("clients");
        Empty { sim, clients }
    }

    /// Starts the product.
    pub fn start(self, store: StoreConfig) -> Result<Stage, Box<(StartError, Empty)>> {
        self.start_with(config(store))
    }

    fn start_with(self, config: BrokerConfig) -> Result<Stage, Box<(StartError, Empty)>> {
        match Broker::start(self.sim.world.clone(), config) {
            Ok(broker) => Ok(Stage {
                sim: self.sim,
                clients: self.clients,
                broker,
            }),
            Err(error) => Err(Box::new((error, self))),
        }
    }

    /// The node with another disk in it, or the same disk after a restart.
    pub fn again(self, seed: u64, disk: SimDisk) -> Empty {
        let sim = self.sim.restart_on(seed, disk);
        Empty {
            sim,
            clients: self.clients,
        }
    }
}

impl Stage {
    /// A node that starts on an empty disk.
    pub fn new(seed: u64, store: StoreConfig) -> Stage {
        Stage::with(seed, config(store))
    }

    /// The same, configured further.
    pub fn with(seed: u64, config: BrokerConfig) -> Stage {
        match Empty::new(seed).start_with(config) {
            Ok(stage) => stage,
            Err(failed) => panic!("an empty disk: {}", failed.0),
        }
    }

    /// Ends the process at this moment; the machine gets this disk.
    pub fn crash(self, seed: u64, disk: SimDisk) -> Empty {
        let sim = self.sim.restart_on(seed, disk);
        Empty {
            sim,
            clients: self.clients,
        }
    }

    /// Plays a story among the node's own tasks.
    pub fn play<F: Future>(&self, story: F) -> F::Output {
        self.sim.block_on(story)
    }

    /// A way for clients to come in.
    pub fn door(&self) -> Door {
        Door(self.clients.clone())
    }
}

/// How clients come in.
#[derive(Clone)]
pub struct Door(pub SimWorld);

impl Door {
    /// A client of ours.
    pub async fn client(&self) -> Result<Client, ClientError> {
        Client::connect(Reach::from(&self.0.world), ADDRESS).await
    }

    /// A client that speaks frames.
    pub async fn line(&self) -> std::io::Result<Line> {
        Ok(Line::new(self.0.world.net.connect(ADDRESS).await?))
    }

    /// Wall time.
    pub fn wall_ms(&self) -> i64 {
        self.0.world.clock.wall_ms()
    }
}

/// A topic with one replica of each partition.
pub fn topic(name: &str, partitions: i32, configs: &[(&str, &str)]) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        replicas: 1,
        configs: configs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        validate_only: false,
    }
}

/// Lets virtual time pass.
pub async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
