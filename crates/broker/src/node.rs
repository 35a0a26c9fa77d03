//! What all connections of a node share: identity, logs, metadata, budgets, counters.
//!
//! Handlers read it without waiting: the image is replaced, never changed, and hosted
//! partitions are found under a read lock that only metadata changes contend for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use commitlog::LogStore;
use metadata::config::StaticConfig;
use metadata::{Answer, Broker, Command, Image, Placement, Refusal};
use wire::ErrorCode;
use wire::ids::{BrokerId, ProducerId, TopicId};
use world::World;

use crate::advertised::Surroundings;
use crate::control::Control;
use crate::dispatch::Context;
use crate::fetch_sessions::FetchSessions;
use crate::group_host::GroupHost;
use crate::limits::Limits;
use crate::loggers::Loggers;
use crate::metrics::{Counters, PartitionCounts, Snapshot};
use crate::partitions::Partitions;
use crate::permits::Permits;
use crate::quotas::Quotas;
use crate::reactor::Doorstep;

/// Listener name under which a broker's address for clients stands in the metadata when it was
/// not chosen by an operator.
const ANY_LISTENER: usize = 0;

/// The shared part of a node.
pub struct Node {
    /// The outside world.
    pub world: World,
    /// This broker's number.
    pub id: BrokerId,
    /// Limits of the network side.
    pub limits: Limits,
    /// What the process was started with.
    pub settings: Arc<StaticConfig>,
    /// What is known of the network around.
    pub surroundings: Arc<Surroundings>,
    /// The logs.
    pub store: Arc<LogStore>,
    /// The hosted partitions.
    pub partitions: Arc<Partitions>,
    /// The metadata image, replaced whenever it changes.
    pub image: Arc<ImageCell>,
    /// Proposes metadata commands.
    pub control: Control,
    /// The coordinators of groups.
    pub groups: GroupHost,
    /// What readers asked for before.
    pub fetch_sessions: FetchSessions,
    /// The budget of request bytes.
    pub permits: Arc<Permits>,
    /// Client quotas.
    pub quotas: Arc<Quotas>,
    /// What each reactor counts.
    pub counters: Vec<Arc<Counters>>,
    /// How each reactor is woken.
    pub doorsteps: Vec<Arc<Doorstep>>,
    /// The log of the program, if it is the broker's to change.
    pub loggers: Option<Arc<dyn Loggers>>,
    /// Connections at present.
    pub connections: AtomicUsize,
    /// Connections that found no place, since the start.
    pub connections_refused: AtomicU64,
    producer_ids: Mutex<std::ops::Range<i64>>,
    drain: OnceLock<Duration>,
}

/// The current image.
#[derive(Default)]
pub struct ImageCell(RwLock<Arc<Image>>);

impl ImageCell {
    /// The image as of now; it does not change in the caller's hands.
    pub fn load(&self) -> Arc<Image> {
        self.0
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Replaces it.
    pub fn store(&self, image: Arc<Image>) {
        *self
            .0
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = image;
    }
}

/// What [`Node`] is made of.
pub struct NodeParts {
    /// See [`Node`].
    pub world: World,
    /// See [`Node`].
    pub id: BrokerId,
    /// See [`Node`].
    pub limits: Limits,
    /// See [`Node`].
    pub settings: Arc<StaticConfig>,
    /// See [`Node`].
    pub surroundings: Arc<Surroundings>,
    /// See [`Node`].
    pub store: Arc<LogStore>,
    /// See [`Node`].
    pub partitions: Arc<Partitions>,
    /// See [`Node`].
    pub image: Arc<ImageCell>,
    /// See [`Node`].
    pub control: Control,
    /// See [`Node`].
    pub loggers: Option<Arc<dyn Loggers>>,
    /// See [`Node`].
    pub quotas: Arc<Quotas>,
    /// How many reactors serve connections.
    pub reactors: usize,
}

impl Node {
    /// A node without connections.
    pub fn new(parts: NodeParts) -> Arc<Node> {
        let permits = Permits::new(parts.limits.request_bytes_total_max);
        let doorsteps: Vec<Arc<Doorstep>> = (0..parts.reactors)
            .map(|_| Arc::new(Doorstep::default()))
            .collect();
        for doorstep in &doorsteps {
            permits.ring_when_freed(doorstep.bell.clone());
            parts.quotas.ring_when_changed(doorstep.bell.clone());
            parts.store.listen_durable(doorstep.clone());
        }
        Arc::new(Node {
            groups: GroupHost::new(&parts.settings),
            fetch_sessions: FetchSessions::new(parts.limits.fetch_sessions_max),
            counters: (0..parts.reactors)
                .map(|_| Arc::new(Counters::default()))
                .collect(),
            doorsteps,
            permits,
            quotas: parts.quotas,
            world: parts.world,
            id: parts.id,
            limits: parts.limits,
            settings: parts.settings,
            surroundings: parts.surroundings,
            store: parts.store,
            partitions: parts.partitions,
            image: parts.image,
            control: parts.control,
            loggers: parts.loggers,
            connections: AtomicUsize::new(0),
            connections_refused: AtomicU64::new(0),
            producer_ids: Mutex::new(0..0),
            drain: OnceLock::new(),
        })
    }

    /// The metadata as of now.
    pub fn image(&self) -> Arc<Image> {
        self.image.load()
    }

    /// Puts a command before the cluster; the answer holds, and what it changed is hosted here.
    ///
    /// # Errors
    /// The cluster's refusal, or NOT_CONTROLLER if nobody decides at the moment: retry.
    pub async fn propose(&self, command: Command) -> Result<Answer, Refusal> {
        self.control.propose(command).await?.accepted()
    }

    /// The address of `broker` for the client of this connection.
    pub fn address_of(&self, context: &Context, broker: &Broker) -> Option<(String, u16)> {
        if broker.id == self.id {
            let advertised = context.session.advertised();
            return Some((advertised.host.clone(), advertised.port));
        }
        let endpoint = broker
            .endpoints
            .iter()
            .find(|endpoint| endpoint.listener == context.session.listener_name())
            .or_else(|| broker.endpoints.get(ANY_LISTENER))?;
        Some((endpoint.host.clone(), endpoint.port))
    }

    /// Whether a topic may come into being by being asked for.
    pub fn auto_create_topics(&self) -> bool {
        self.settings.flag("auto.create.topics.enable")
    }

    /// The command that creates a topic with the broker's defaults.
    ///
    /// # Errors
    /// No brokers to place it on.
    pub fn plan_topic(
        &self,
        name: &str,
        partitions: Option<i32>,
        replication: Option<i16>,
        settings: Vec<(String, String)>,
    ) -> Result<Command, Refusal> {
        let image = self.image();
        let count = match partitions {
            Some(count) => i64::from(count),
            None => self.settings.number("num.partitions"),
        };
        let copies = match replication {
            Some(copies) => i64::from(copies),
            None => self.settings.number("default.replication.factor"),
        };
        let count = usize::try_from(count).unwrap_or(0);
        let copies = usize::try_from(copies).unwrap_or(0);
        let placements = metadata::place(&image, count, copies, self.world.random.next_u64())?;
        Ok(create_topic(
            name,
            self.new_topic_id(),
            placements,
            settings,
        ))
    }

    /// A topic id that no topic has: random, and never one that Kafka keeps for itself.
    pub fn new_topic_id(&self) -> TopicId {
        loop {
            let mut id = [0; 16];
            self.world.random.fill(&mut id);
            // Version 4, variant 1, as Kafka's own ids are; and clients' command lines take an
            // id that starts with a dash for a flag.
            id[6] = id[6] & 0x0f | 0x40;
            id[8] = id[8] & 0x3f | 0x80;
            let id = TopicId(id);
            if !id.to_string().starts_with('-') {
                return id;
            }
        }
    }

    /// Starts to create a topic with the broker's defaults, and does not wait for it (M6).
    pub fn create_topic_soon(self: &Arc<Node>, name: &str) {
        if !self.control.claim_creation(name) {
            return;
        }
        let node = self.clone();
        let name = name.to_owned();
        tokio::task::spawn_local(async move {
            let outcome = match node.plan_auto_topic(&name) {
                Ok(command) => node.propose(command).await.map(|_| ()),
                Err(refusal) => Err(refusal),
            };
            if let Err(refusal) = outcome
                && refusal.code != ErrorCode::TopicAlreadyExists
            {
                tracing::warn!(topic = %name, reason = %refusal.message, "topic not created");
            }
            node.control.release_creation(&name);
        });
    }

    fn plan_auto_topic(&self, name: &str) -> Result<Command, Refusal> {
        if name == crate::group_host::OFFSETS_TOPIC {
            return self.groups.plan_offsets_topic(self);
        }
        self.plan_topic(name, None, None, Vec::new())
    }

    /// A producer id nobody has had.
    pub async fn next_producer_id(&self) -> Result<ProducerId, Refusal> {
        loop {
            if let Some(id) = self.lock_producer_ids().next() {
                return Ok(ProducerId(id));
            }
            let epoch = self.control.broker_epoch();
            let asked = Command::AllocateProducerIds {
                broker: self.id,
                epoch,
            };
            if let Answer::ProducerIds { first, count } = self.propose(asked).await? {
                let block = first.0..first.0.saturating_add(i64::from(count));
                let mut ids = self.lock_producer_ids();
                // Two may have asked at once; a block that is dropped is merely never used.
                if ids.is_empty() {
                    *ids = block;
                }
            }
        }
    }

    fn lock_producer_ids(&self) -> std::sync::MutexGuard<'_, std::ops::Range<i64>> {
        self.producer_ids
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Tells every reactor to take no more requests and to end within `grace`.
    pub fn start_drain(&self, grace: Duration) {
        let _ = self.drain.set(grace);
        for doorstep in &self.doorsteps {
            doorstep.bell.ring();
        }
        self.control.wake();
    }

    /// The grace, once the node is going down.
    pub fn drain_grace(&self) -> Option<Duration> {
        self.drain.get().copied()
    }

    /// All counters and gauges of this moment.
    pub fn metrics(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for counters in &self.counters {
            snapshot.add(counters);
        }
        snapshot.connections = self.connections.load(Ordering::Relaxed) as u64;
        snapshot.request_bytes = self.permits.used() as u64;
        snapshot.permit_waits = self.permits.refusals();
        snapshot.store = self.store.metrics();
        snapshot.health = self.store.health();
        snapshot.groups = self.groups.counts();
        snapshot.rebalances = self.groups.rebalances();
        snapshot.fetch_sessions = self.fetch_sessions.counts();
        snapshot.connections_max = self.limits.connections_max as u64;
        snapshot.connections_refused = self.connections_refused.load(Ordering::Relaxed);
        snapshot.request_bytes_max = self.limits.request_bytes_total_max as u64;
        snapshot.partitions = self.partition_counts();
        // One node decides alone.
        snapshot.is_controller = true;
        snapshot
    }

    fn partition_counts(&self) -> PartitionCounts {
        let image = self.image();
        let mut counts = PartitionCounts::default();
        for partition in image.topics().flat_map(|topic| topic.partitions.iter()) {
            let led = partition.leader == Some(self.id);
            let missing = partition.isr.len() < partition.replicas.len();
            counts.hosted += u64::from(partition.replicas.contains(self.id));
            counts.led += u64::from(led);
            counts.under_replicated += u64::from(led && missing);
            counts.offline += u64::from(partition.leader.is_none());
        }
        for replica in self.partitions.all() {
            let short =
                replica.leading().is_some() && !replica.has_enough_insync(&replica.settings());
            counts.under_insync_min += u64::from(short);
        }
        counts
    }
}

/// The command that creates one topic.
pub fn create_topic(
    name: &str,
    id: TopicId,
    partitions: Vec<Placement>,
    settings: Vec<(String, String)>,
) -> Command {
    Command::CreateTopic {
        name: name.to_owned(),
        id,
        partitions,
        settings,
    }
}
