//! A broker from nothing to serving, and back.
//!
//! Order of a start: open and recover the logs, bind the listeners, catch up with the metadata,
//! register, host what the image says, serve. Order of a stop: take no more connections or
//! requests, finish what is in flight, close the logs cleanly.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use commitlog::{LogError, LogStore, OpenError, RecoveryReport, StoreConfig, StoreHealth};
use metadata::config::StaticConfig;
use metadata::{Answer, Command, DirectoryId, Endpoint, Refusal, Security};
use quorum::{Settings, SingleNode};
use tokio::sync::mpsc;
use wire::ids::BrokerId;
use world::net::Accepted;
use world::{Listener, Signal, WorkerHandle, World};

use crate::advertised::{ConnectionFacts, Surroundings, advertise};
use crate::census::{self, Census};
use crate::connection::Connection;
use crate::control::{Cluster, Control, Machine};
use crate::dispatch::Context;
use crate::limits::Limits;
use crate::loggers::Loggers;
use crate::metrics::Snapshot;
use crate::node::{ImageCell, Node, NodeParts};
use crate::partitions::Partitions;
use crate::quotas::Quotas;
use crate::reactor::Reactor;
use crate::session::{ListenerConfig, Session};

/// Accepted connections that may wait for their reactor; beyond, they wait in the kernel.
const HANDOVER_QUEUE: usize = 256;

/// Pause before the control task tries again what the log had no room for.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(2);

/// How long a start waits for room in the log. A checkpoint that takes longer has met a disk that
/// takes no more.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(30);

/// How often the end of a drain is looked for.
const DRAIN_LOOK: Duration = Duration::from_millis(2);

/// What a broker is started with.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// This broker's number.
    pub broker_id: BrokerId,
    /// The cluster's id; `None` takes the stored one, or invents it at the first start.
    pub cluster_id: Option<String>,
    /// Where the broker stands.
    pub rack: Option<String>,
    /// Where it listens; at least one.
    pub listeners: Vec<ListenerConfig>,
    /// Limits of the network side.
    pub limits: Limits,
    /// Settings of the data directory.
    pub store: StoreConfig,
    /// The broker keys as given; defaults for topics and groups come from here.
    pub settings: Arc<StaticConfig>,
    /// What is known of the network around.
    pub surroundings: Surroundings,
    /// The log of the program; `None` if it is not the broker's to change.
    pub loggers: Option<Arc<dyn Loggers>>,
    /// Reactors for connections; `None`: one per core.
    pub reactors: Option<usize>,
}

impl Default for BrokerConfig {
    fn default() -> BrokerConfig {
        BrokerConfig {
            broker_id: BrokerId(1),
            cluster_id: None,
            rack: None,
            listeners: Vec::new(),
            limits: Limits::default(),
            store: StoreConfig::default(),
            settings: Arc::new(StaticConfig::default()),
            surroundings: Surroundings::default(),
            loggers: None,
            reactors: None,
        }
    }
}

/// Why a broker did not start. Nothing runs, nothing listens.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory cannot be used.
    #[error("data directory: {0}")]
    Store(#[from] OpenError),
    /// A listener's address cannot be bound.
    #[error("listener {listener}: cannot listen on {address}: {reason}")]
    Listen {
        /// Its name.
        listener: String,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// There is no listener.
    #[error("no listener is configured: set listeners")]
    NoListener,
    /// The metadata log cannot be used, or the cluster does not want this broker.
    #[error("metadata: {0}")]
    Metadata(String),
    /// A partition named in the metadata cannot be hosted.
    #[error("hosting partitions: {0}")]
    Hosting(#[from] LogError),
}

impl From<Refusal> for StartError {
    fn from(refusal: Refusal) -> StartError {
        StartError::Metadata(format!("{}: {}", refusal.code, refusal.message))
    }
}

/// A running broker.
pub struct Broker {
    node: Arc<Node>,
    addresses: BTreeMap<String, SocketAddr>,
    recovery: RecoveryReport,
    reactors: Vec<Box<dyn WorkerHandle>>,
}

impl Broker {
    /// Starts a broker; it serves when this returns.
    ///
    /// # Errors
    /// [`StartError`]; the data directory is closed again.
    pub fn start(world: World, config: BrokerConfig) -> Result<Broker, StartError> {
        if config.listeners.is_empty() {
            return Err(StartError::NoListener);
        }
        let listeners = bind(&world, &config.listeners)?;
        let (store, recovery) = LogStore::open(&world, config.store.clone())?;
        let image = Arc::new(ImageCell::default());
        let partitions = Arc::new(Partitions::new(
            config.broker_id,
            store.clone(),
            config.settings.clone(),
        ));
        let quotas = Quotas::new(&config.settings);
        let cluster = Cluster::new(image.clone(), partitions.clone(), quotas.clone());
        let reactors = config
            .reactors
            .unwrap_or_else(|| world.spawn.reactors_suggested())
            .max(1);
        let node = Node::new(NodeParts {
            world: world.clone(),
            id: config.broker_id,
            limits: config.limits.clone(),
            settings: config.settings.clone(),
            surroundings: Arc::new(config.surroundings.clone()),
            store,
            partitions,
            image,
            control: Control::new(cluster),
            loggers: config.loggers.clone(),
            quotas,
            reactors,
        });
        let addresses = listeners
            .iter()
            .map(|bound| (bound.config.name.clone(), bound.config.address))
            .collect();
        let mut handles = Vec::with_capacity(reactors + 1);
        let mut doors = Vec::with_capacity(reactors);
        for index in 0..reactors {
            let (door, arrivals) = mpsc::channel(HANDOVER_QUEUE);
            doors.push(door);
            let node = node.clone();
            let start = move || -> world::net::LocalFuture<'static, ()> {
                Box::pin(run_reactor(node, index, arrivals))
            };
            handles.push(world.spawn.reactor("reactor", Box::new(start)));
        }
        let begun = Begun::default();
        let start = {
            let (node, begun) = (node.clone(), begun.clone());
            move || -> world::net::LocalFuture<'static, ()> {
                Box::pin(run_control(node, config, listeners, doors, begun))
            }
        };
        handles.push(world.spawn.reactor("control", Box::new(start)));
        let broker = Broker {
            node,
            addresses,
            recovery,
            reactors: handles,
        };
        world.spawn.wait(&begun.signal, None);
        let outcome = begun
            .outcome
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take();
        match outcome {
            Some(Ok(())) => Ok(broker),
            Some(Err(error)) => {
                // The error that stopped the start matters, not what closing says on top.
                let _ = broker.drain(Duration::ZERO);
                Err(error)
            }
            None => Err(StartError::Metadata(
                "the control task ended before it began".into(),
            )),
        }
    }

    /// Where each listener is bound, by name.
    pub fn addresses(&self) -> &BTreeMap<String, SocketAddr> {
        &self.addresses
    }

    /// What opening the logs found.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// The shared part, for whoever looks inside: the operations port, tests.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Whether every partition hosted here can be served: recovery done, a leader for each, the
    /// log taking writes.
    pub fn is_ready(&self) -> bool {
        let image = self.node.image();
        let led = image
            .topics()
            .flat_map(|topic| topic.partitions.iter())
            .all(|partition| {
                !partition.replicas.contains(self.node.id) || partition.leader.is_some()
            });
        led && matches!(self.node.store.health(), commitlog::StoreHealth::Ok)
            && self.node.drain_grace().is_none()
    }

    /// Counters and gauges.
    pub fn metrics(&self) -> Snapshot {
        self.node.metrics()
    }

    /// Partitions and groups one by one, up to so many partitions.
    pub fn census(&self, partitions_max: usize) -> Census {
        census::take(&self.node, partitions_max)
    }

    /// Stops: no new connections and requests, what is in flight is finished within `grace`,
    /// the logs are closed cleanly.
    ///
    /// # Errors
    /// The logs could not be closed cleanly; the next start recovers them.
    pub fn drain(self, grace: Duration) -> Result<(), LogError> {
        self.node.start_drain(grace);
        for handle in self.reactors {
            handle.join();
        }
        self.node.store.close()
    }
}

struct Bound {
    config: ListenerConfig,
    listener: Box<dyn Listener>,
}

fn bind(world: &World, listeners: &[ListenerConfig]) -> Result<Vec<Bound>, StartError> {
    listeners
        .iter()
        .map(|config| {
            let listener =
                world
                    .net
                    .listen(config.address)
                    .map_err(|error| StartError::Listen {
                        listener: config.name.clone(),
                        address: config.address,
                        reason: error.to_string(),
                    })?;
            let mut config = config.clone();
            config.address = listener.local_address();
            // An advertised port 0 means the one that was bound.
            if let Some(advertised) = &mut config.advertised
                && advertised.port == 0
            {
                advertised.port = config.address.port();
            }
            Ok(Bound { config, listener })
        })
        .collect()
}

/// How the control task tells that it has begun.
#[derive(Clone, Default)]
struct Begun {
    signal: Signal,
    outcome: Arc<Mutex<Option<Result<(), StartError>>>>,
}

impl Begun {
    fn tell(&self, outcome: Result<(), StartError>) {
        *self
            .outcome
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(outcome);
        self.signal.raise();
    }
}

/// A connection on its way from the accept loop to its reactor.
struct Arrival {
    accepted: Box<dyn Accepted>,
    listener: Arc<ListenerConfig>,
    place: Place,
}

/// A connection's place under `connections_max`; given back when dropped.
struct Place(Arc<Node>);

impl Place {
    fn take(node: &Arc<Node>) -> Option<Place> {
        let before = node.connections.fetch_add(1, Ordering::AcqRel);
        let place = Place(node.clone());
        (before < node.limits.connections_max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The control task: begins, deals out connections, keeps partitions and groups on time.
async fn run_control(
    node: Arc<Node>,
    config: BrokerConfig,
    listeners: Vec<Bound>,
    doors: Vec<mpsc::Sender<Arrival>>,
    begun: Begun,
) {
    let outcome = begin(&node, &config, &listeners).await;
    let failed = outcome.is_err();
    begun.tell(outcome);
    if failed {
        node.control.close().await;
        return;
    }
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|bound| tokio::task::spawn_local(accept(node.clone(), bound, doors.clone())))
        .collect();
    let timers = tokio::task::spawn_local(crate::group_host::run_timers(node.clone()));
    while node.drain_grace().is_none() {
        let deleted = node.control.cluster().take_deleted();
        if !deleted.is_empty() {
            node.groups.partitions_deleted(&node, &deleted);
        }
        if node.control.cluster().catch_up() {
            node.control.woken().await;
        } else {
            crate::timer::sleep(CATCH_UP_PAUSE).await;
        }
    }
    node.groups.unload();
    for task in accepting {
        task.abort();
    }
    timers.abort();
    // Last: answers that wait for a decision get it before their reactors end.
    if let Some(grace) = node.drain_grace() {
        let end = node.world.clock.now().after(grace);
        while node.connections.load(Ordering::Acquire) > 0 && node.world.clock.now() < end {
            crate::timer::sleep(DRAIN_LOOK).await;
        }
    }
    node.control.close().await;
}

/// Catches up with the metadata, registers, and hosts what belongs here.
async fn begin(
    node: &Arc<Node>,
    config: &BrokerConfig,
    listeners: &[Bound],
) -> Result<(), StartError> {
    let settings = Settings {
        node: u64::try_from(node.id.0).unwrap_or(0),
        address: listeners
            .first()
            .map(|bound| bound.config.address.to_string())
            .unwrap_or_default(),
    };
    let machine = Box::new(Machine(node.control.cluster().clone()));
    let quorum = SingleNode::start(&node.world, settings, machine)
        .await
        .map_err(|error| StartError::Metadata(error.to_string()))?;
    node.control.attach(quorum);
    // Metadata that was never written cannot say which logs are wanted (replication.md D9).
    let known = node
        .control
        .cluster()
        .image()
        .cluster_id()
        .map(String::from);
    let logs = node.store.metrics().partitions;
    if known.is_none() && logs > 0 {
        return Err(StartError::Metadata(format!(
            "the data directory holds {logs} partition logs, but no metadata: restore its meta \
             files, or start with an empty directory"
        )));
    }
    let cluster_id = config
        .cluster_id
        .clone()
        .or(known)
        .unwrap_or_else(|| node.new_topic_id().to_string());
    node.propose(Command::NameCluster { cluster_id }).await?;
    let mut incarnation = [0; 16];
    node.world.random.fill(&mut incarnation);
    let registered = node
        .propose(Command::RegisterBroker {
            broker: node.id,
            incarnation,
            endpoints: endpoints(node, listeners),
            rack: config.rack.clone(),
            directories: vec![DirectoryId(incarnation)],
        })
        .await?;
    let Answer::Registered { epoch } = registered else {
        return Err(StartError::Metadata(
            "the registration was not answered as one".into(),
        ));
    };
    node.control.set_broker_epoch(epoch);
    node.propose(Command::UnfenceBroker {
        broker: node.id,
        epoch,
    })
    .await?;
    host(node).await
}

/// Hosts what the image says. A log that was full when the last process died has room for the
/// records this may take after its first checkpoint, which the store is at already.
async fn host(node: &Node) -> Result<(), StartError> {
    let give_up = node.world.clock.now().after(ROOM_WAIT_MAX);
    loop {
        match node.control.cluster().start_following() {
            Err(LogError::StagingFull)
                if node.world.clock.now() < give_up
                    && !matches!(node.store.health(), StoreHealth::Dead(_)) =>
            {
                crate::timer::sleep(CATCH_UP_PAUSE).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// What other nodes, and their clients, are told of this one.
fn endpoints(node: &Node, listeners: &[Bound]) -> Vec<Endpoint> {
    listeners
        .iter()
        .map(|bound| {
            let here = ConnectionFacts {
                peer: bound.config.address,
                local: bound.config.address,
                server_name: None,
            };
            let told = advertise(bound.config.advertised.as_ref(), &node.surroundings, here);
            Endpoint {
                listener: bound.config.name.clone(),
                host: told.host,
                port: told.port,
                security: Security::Plaintext,
            }
        })
        .collect()
}

/// Deals connections out to the reactors, in turn.
async fn accept(node: Arc<Node>, bound: Bound, doors: Vec<mpsc::Sender<Arrival>>) {
    let Bound {
        config,
        mut listener,
    } = bound;
    let config = Arc::new(config);
    let mut turn = 0;
    let mut full = false;
    loop {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::error!(listener = %config.name, %error, "the listener failed");
                return;
            }
        };
        let Some(place) = Place::take(&node) else {
            node.connections_refused.fetch_add(1, Ordering::Relaxed);
            if !std::mem::replace(&mut full, true) {
                let limit = node.limits.connections_max;
                tracing::warn!(limit, "connections beyond max.connections are closed");
            }
            continue;
        };
        full = false;
        let came_from = accepted.peer_address().ip();
        if let Some(throttle) = node.quotas.connected(came_from, node.world.clock.now()) {
            node.counters[turn % doors.len()].throttled(throttle);
            // Closed at once, its client would be back at once.
            tokio::task::spawn_local(async move {
                crate::timer::sleep(throttle.wait()).await;
                drop((accepted, place));
            });
            continue;
        }
        let door = &doors[turn % doors.len()];
        turn += 1;
        let arrival = Arrival {
            accepted,
            listener: config.clone(),
            place,
        };
        if door.send(arrival).await.is_err() {
            return;
        }
    }
}

/// One reactor: takes in its connections and serves them until the node has drained.
async fn run_reactor(node: Arc<Node>, index: usize, mut arrivals: mpsc::Receiver<Arrival>) {
    let reactor = Reactor::new(
        index,
        node.world.clock.clone(),
        node.doorsteps[index].clone(),
        node.counters[index].clone(),
    );
    let pump = tokio::task::spawn_local(reactor.clone().run_pump(node.clone()));
    let intake = tokio::task::spawn_local({
        let (node, reactor) = (node.clone(), reactor.clone());
        async move {
            while let Some(arrival) = arrivals.recv().await {
                take_in(&node, &reactor, arrival);
            }
        }
    });
    // The pump ends when the node has drained; a panic in it ends the reactor as well.
    if let Err(error) = pump.await
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
    intake.abort();
}

fn take_in(node: &Arc<Node>, reactor: &Rc<Reactor>, arrival: Arrival) {
    let Arrival {
        accepted,
        listener,
        place,
    } = arrival;
    let stream = match accepted.adopt() {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a connection was gone before it was served");
            return;
        }
    };
    let session = Rc::new(Session::new(
        stream.peer_address(),
        stream.local_address(),
        listener,
        node.surroundings.clone(),
    ));
    let context = Context {
        node: node.clone(),
        reactor: reactor.clone(),
        session,
    };
    let connection = Connection::new(context, stream);
    tokio::task::spawn_local(async move {
        connection.serve().await;
        drop(place);
    });
}
