//! A broker with its operations port: started from settings, drained by a signal.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use broker::{Broker, BrokerConfig, Limits, Loggers, Node, StartError};
use cli::Failure;
use commitlog::{OpenError, StoreConfig, StoreHealth, StoreMetrics};
use metadata::config::StaticConfig;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use wire::ids::BrokerId;
use world::World;
use world::disk::DiskError;
use world::real::give_back_memory;

use crate::logging::Levels;
use crate::metrics::Figures;
use crate::metrics::process::{ProcessFigures, ProcessWatch};
use crate::otlp::Push;
use crate::outlook::Outlook;
use crate::space::{News, SpaceWatch, shortage};
use crate::{data_directory, http, listeners, notify, otlp, prometheus, surroundings};

/// How often the health of the data directory is looked at.
const HEALTH_INTERVAL: Duration = Duration::from_millis(500);
/// Open segments at most: with its own files and threads the process stays below 4,096. Half of what
/// it may open leaves room for connections.
const DESCRIPTORS_MAX: usize = 4_000;
/// In-flight requests get this long at a stop.
pub const DRAIN_GRACE: Duration = Duration::from_secs(10);
/// How often memory that is not used any more goes back to the system.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(10);

/// A running broker.
pub struct Running {
    /// The broker; `None` once it drains.
    broker: Arc<Mutex<Option<Broker>>>,
    /// Where each Kafka listener is bound.
    pub kafka: Vec<SocketAddr>,
    /// Where the operations port is bound.
    pub http: Option<SocketAddr>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// From the process's start to ready.
    pub ready_in: Duration,
    /// What opening the data directory found, in words.
    pub recovered: String,
    /// The operations port, and what it may change.
    operations: Option<(Box<dyn world::Listener>, Levels)>,
    clock: Arc<dyn world::Clock>,
    drain_grace: Duration,
    partitions_max: usize,
    /// How long the space lasts.
    outlook: Arc<Mutex<Outlook>>,
    push: Option<Push>,
}

/// What the settings do not say.
pub struct Place {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The operations port, and the log levels that can be changed there; `None` for none.
    pub http: Option<(SocketAddr, Levels)>,
    /// Where metrics are pushed to; `None` for nowhere. Only with an operations port.
    pub push: Option<otlp::Settings>,
    /// How long requests in flight may take at a stop.
    pub drain_grace: Duration,
}

/// The signals that ask the process to stop. From [`Signals::listen`] on they do not kill it.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// The system gives no handler.
    pub fn listen() -> Result<Signals, Failure> {
        Ok(Signals {
            terminate: handler(SignalKind::terminate())?,
            interrupt: handler(SignalKind::interrupt())?,
        })
    }

    /// Ready when one came, even before this was asked.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let came =
            self.terminate.poll_recv(cx).is_ready() | self.interrupt.poll_recv(cx).is_ready();
        if came { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Running {
    /// Starts everything; serves Kafka when it returns.
    ///
    /// # Errors
    /// Three lines about what stood in the way. Nothing runs then.
    pub fn start(settings: StaticConfig, place: Place) -> Result<Running, Failure> {
        let shown = place.data_dir.display().to_string();
        let world = World::real(&place.data_dir).map_err(|error| directory(&shown, &error))?;
        let begun = world.clock.now();
        let operations = place
            .http
            .map(|(address, levels)| bind_http(&world, address).map(|bound| (bound, levels)))
            .transpose()?;
        let partitions_max = settings.number("metrics.partitions.max");
        let mut config = assemble(settings)?;
        config.loggers = operations
            .as_ref()
            .map(|(_, levels): &(_, Levels)| Arc::new(levels.clone()) as Arc<dyn Loggers>);
        if let Ok(space) = world.disk.free_space() {
            data_directory::check_room(&config.store, space)?;
        }
        let broker =
            Broker::start(world.clone(), config).map_err(|error| explain(&shown, error))?;
        let ready_in = world.clock.now().since(begun);
        // A disk that cannot be measured shows itself elsewhere.
        let disk = world.disk.probe().ok();
        data_directory::tell_start(&broker, disk.as_ref(), ready_in);
        let recovered = data_directory::recovered(broker.recovery());
        let push = place.push.map(|settings| {
            let node = broker.node();
            let image = node.image();
            let cluster = image.cluster_id().unwrap_or_default();
            Push::new(settings, &format!("{cluster}/{}", node.id), &world)
        });
        Ok(Running {
            kafka: broker.addresses().values().copied().collect(),
            http: operations
                .as_ref()
                .map(|(listener, _)| listener.local_address()),
            operations,
            data_dir: place.data_dir,
            ready_in,
            recovered,
            drain_grace: place.drain_grace,
            partitions_max: usize::try_from(partitions_max).unwrap_or(0),
            outlook: Arc::default(),
            push,
            clock: Arc::clone(&world.clock),
            broker: Arc::new(Mutex::new(Some(broker))),
        })
    }

    /// Serves until SIGTERM or Ctrl-C, then drains.
    ///
    /// # Errors
    /// The logs could not be closed cleanly.
    pub async fn until_signal(mut self, mut signals: Signals) -> Result<(), Failure> {
        let mut pushing = None;
        let serving = self.operations.take().map(|(listener, levels)| {
            let look = Arc::new(Look {
                broker: Arc::clone(&self.broker),
                partitions_max: self.partitions_max,
                levels,
                clock: Arc::clone(&self.clock),
                process: Mutex::default(),
                outlook: Arc::clone(&self.outlook),
                pushes: self.push.as_ref().map(Push::counts),
            });
            pushing = self.push.take().map(|push| Pushing::start(push, &look));
            let source: Arc<dyn http::Source> = look;
            tokio::task::spawn_local(http::serve(listener, source))
        });
        let mut look = tokio::time::interval(HEALTH_INTERVAL);
        let mut space = SpaceWatch::default();
        // This thread answers no client: what the start left behind goes at once.
        let mut give_back = tokio::time::interval(GIVE_BACK_INTERVAL);
        let mut kept = 0;
        let ended = std::future::poll_fn(|cx| {
            if signals.poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            while give_back.poll_tick(cx).is_ready() {
                kept = give_back_memory(kept);
            }
            while look.poll_tick(cx).is_ready() {
                if let Some(reason) = self.look(&mut space) {
                    return Poll::Ready(Some(reason));
                }
            }
            Poll::Pending
        })
        .await;
        if let Some(reason) = ended {
            return Err(Failure::new(
                format!(
                    "data directory {}: dead, nothing is acknowledged",
                    self.data_dir.display()
                ),
                reason,
                "check the disk, then start again: what was acknowledged is recovered",
            ));
        }
        tracing::info!("stopping: no new requests, finishing what is in flight");
        notify::stopping();
        let last = pushing.as_ref().and_then(|pushing| pushing.look.figures());
        let node = self.node();
        self.drain()?;
        if let Some(serving) = serving {
            serving.abort();
        }
        // What was in flight is counted too; who is behind where is not told of closed logs.
        if let (Some(pushing), Some(mut last), Some(node)) = (pushing, last, node) {
            last.snapshot = node.metrics();
            pushing.end(last).await;
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// A push to a collector, under way beside the broker.
struct Pushing {
    look: Arc<Look>,
    last: oneshot::Sender<Figures>,
    task: tokio::task::JoinHandle<()>,
}

impl Pushing {
    fn start(push: Push, look: &Arc<Look>) -> Pushing {
        let (last, receiver) = oneshot::channel();
        let seen = Arc::clone(look);
        Pushing {
            look: Arc::clone(look),
            last,
            task: tokio::task::spawn_local(push.run(move || seen.figures(), receiver)),
        }
    }

    /// Brings the last figures on their way; bounded in time by the push itself.
    async fn end(self, figures: Figures) {
        // A task that is gone has panicked, which the log says.
        let _ = self.last.send(figures);
        let _ = self.task.await;
    }
}

impl Running {
    fn node(&self) -> Option<Arc<Node>> {
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        broker.as_ref().map(|broker| Arc::clone(broker.node()))
    }

    /// Finishes what is in flight and closes the logs. Readiness turns false at once; the operations
    /// port answers until the end.
    ///
    /// # Errors
    /// The logs could not be closed cleanly.
    pub fn drain(&self) -> Result<(), Failure> {
        let broker = self
            .broker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(broker) = broker else { return Ok(()) };
        broker.drain(self.drain_grace).map_err(|error| {
            Failure::new(
                format!("{}: not closed cleanly", self.data_dir.display()),
                error.to_string(),
                "start again: what was acknowledged is recovered from the log",
            )
        })
    }

    /// Looks at the data directory and tells what an operator must know. Why nothing is acknowledged
    /// any more, if that is so: a node that stands alone ends then.
    fn look(&self, space: &mut SpaceWatch) -> Option<String> {
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let store = &broker.as_ref()?.node().store;
        let health = store.health();
        if let StoreHealth::Dead(reason) = health {
            return Some(reason);
        }
        let full = health == StoreHealth::Full;
        let (now, metrics) = (self.clock.now(), store.metrics());
        let mut outlook = self.outlook.lock().unwrap_or_else(PoisonError::into_inner);
        outlook.look(now, metrics.free_bytes, metrics.free_bytes_min);
        drop(outlook);
        match space.look(now, full, &metrics) {
            Some(News::Full(text)) => tracing::warn!("{text}"),
            Some(News::Enough(text)) => tracing::info!("{text}"),
            None => {}
        }
        None
    }
}

fn handler(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::new(
            "signals: no handler",
            error.to_string(),
            "report this with your system",
        )
    })
}

/// What the operations port may see of the broker.
struct Look {
    broker: Arc<Mutex<Option<Broker>>>,
    /// How many partitions are told of one by one.
    partitions_max: usize,
    levels: Levels,
    clock: Arc<dyn world::Clock>,
    process: Mutex<ProcessWatch>,
    outlook: Arc<Mutex<Outlook>>,
    pushes: Option<Arc<otlp::Counts>>,
}

impl Look {
    /// Everything that is told of this moment; `None` once the broker drains.
    fn figures(&self) -> Option<Figures> {
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let broker = broker.as_ref()?;
        let outlook = self.outlook.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Figures {
            snapshot: broker.metrics(),
            census: broker.census(self.partitions_max),
            process: self.process(),
            disk_days_left: outlook.days_left(),
            pushes: self.pushes.as_ref().map(|counts| counts.read()),
        })
    }

    fn process(&self) -> Option<ProcessFigures> {
        let mut watch = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        watch.look(self.clock.now())
    }
}

impl http::Source for Look {
    fn readiness(&self) -> Result<(), String> {
        let broker = self.broker.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(broker) = broker.as_ref() else {
            return Err("the broker is stopping".to_owned());
        };
        let store = &broker.node().store;
        readiness(&store.health(), broker.is_ready(), &store.metrics())
    }

    fn metrics(&self) -> String {
        self.figures()
            .map_or_else(String::new, |figures| prometheus::render(&figures))
    }

    fn log_levels(&self) -> String {
        self.levels.current()
    }

    fn set_log_levels(&self, levels: &str) -> Result<(), String> {
        self.levels.set(levels)
    }
}

/// Whether producers and consumers should be sent here; otherwise why not.
fn readiness(health: &StoreHealth, serves_all: bool, store: &StoreMetrics) -> Result<(), String> {
    match health {
        StoreHealth::Ok if serves_all => Ok(()),
        StoreHealth::Ok => Err("a partition has no leader yet".to_owned()),
        StoreHealth::Full => Err(format!(
            "the disk is nearly full, producers are refused: {}",
            shortage(store)
        )),
        StoreHealth::Dead(reason) => Err(format!("the data directory failed: {reason}")),
    }
}

/// Settings as the broker takes them.
fn assemble(settings: StaticConfig) -> Result<BrokerConfig, Failure> {
    let listeners = listeners::resolve(&settings)?;
    let size = |key: &str| usize::try_from(settings.number(key)).unwrap_or(usize::MAX);
    let millis = |key: &str| Duration::from_millis(settings.number(key).max(0).unsigned_abs());
    let defaults = Limits::default();
    let limits = Limits {
        request_bytes_max: size("socket.request.max.bytes"),
        connections_max: size("max.connections").min(defaults.connections_max),
        idle: match settings.number("connections.max.idle.ms") {
            forever if forever < 0 => Duration::MAX,
            _ => millis("connections.max.idle.ms"),
        },
        fetch_bytes_max: u32::try_from(settings.number("fetch.max.bytes")).unwrap_or(u32::MAX),
        fetch_sessions_max: size("max.incremental.fetch.session.cache.slots"),
        ..defaults
    };
    Ok(BrokerConfig {
        broker_id: BrokerId(i32::try_from(settings.number("node.id")).unwrap_or(1)),
        cluster_id: settings
            .text("cluster.id")
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
        rack: settings
            .text("broker.rack")
            .filter(|rack| !rack.is_empty())
            .map(str::to_owned),
        listeners,
        limits,
        store: data_directory::store_config(
            &settings,
            StoreConfig {
                retention_interval: millis("log.retention.check.interval.ms"),
                descriptors: (raise_descriptor_limit() / 2).clamp(16, DESCRIPTORS_MAX),
                ..StoreConfig::default()
            },
        )?,
        settings: Arc::new(settings),
        surroundings: surroundings::read(),
        // Whoever has the log says so.
        loggers: None,
        reactors: None,
    })
}

/// Raises the soft limit of open files to the hard one; says how many may be open.
fn raise_descriptor_limit() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
        limit.current = before;
    }
    limit.current.map_or(DESCRIPTORS_MAX * 2, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    })
}

fn bind_http(world: &World, address: SocketAddr) -> Result<Box<dyn world::Listener>, Failure> {
    world.net.listen(address).map_err(|error| {
        Failure::new(
            format!("http: cannot listen on {address}"),
            error.to_string(),
            "stop what uses the port, or choose another with --http 127.0.0.1:PORT",
        )
    })
}

fn explain(data_dir: &str, error: StartError) -> Failure {
    match error {
        StartError::Listen {
            listener,
            address,
            reason,
        } => Failure::new(
            format!("listener {listener}: cannot listen on {address}"),
            reason,
            "stop what uses the port, or choose another with --listen 127.0.0.1:PORT",
        ),
        StartError::NoListener => Failure::usage(
            "listeners: nothing to listen on",
            "no listener is configured",
            "set listeners=PLAINTEXT://127.0.0.1:9092",
        ),
        StartError::Store(OpenError::InUse { root }) => Failure::new(
            format!("data directory {root}: in use"),
            "another process holds its lock",
            "stop that process, or choose another with --data-dir DIR",
        ),
        StartError::Store(OpenError::Foreign { root, reason }) => Failure::new(
            format!("data directory {root}: not ours"),
            reason,
            "choose another with --data-dir DIR; nothing in it was changed",
        ),
        StartError::Store(OpenError::Disk(error)) => directory(data_dir, &error),
        StartError::Store(OpenError::Config(reason)) => Failure::new(
            format!("data directory {data_dir}: not opened with this configuration"),
            reason,
            "set it back to what the directory was made with; if it was not changed, restore the \
             directory from a backup",
        ),
        StartError::Store(error) => Failure::new(
            format!("data directory {data_dir}: not opened"),
            error.to_string(),
            "restore it from a backup, or choose another with --data-dir DIR",
        ),
        StartError::Metadata(reason) => Failure::new(
            format!("data directory {data_dir}: its metadata cannot be used"),
            reason,
            "restore it from a backup, or choose another with --data-dir DIR",
        ),
        StartError::Hosting(error) => Failure::new(
            format!("data directory {data_dir}: a partition cannot be served"),
            error.to_string(),
            "free some space or restore the directory, then start again",
        ),
    }
}

fn directory(shown: &str, error: &DiskError) -> Failure {
    let (cause, next) = match error {
        DiskError::Full { .. } => (
            "the disk is full".to_owned(),
            "free some space (the log alone takes wal.slots times wal.slot.bytes, 512 MiB by \
             default), then start again",
        ),
        DiskError::Denied { reason, .. } => (
            format!("it is not writable: {reason}"),
            "give this user write access, or choose another with --data-dir DIR",
        ),
        DiskError::Locked { .. } => (
            "another process holds its lock".to_owned(),
            "stop that process, or choose another with --data-dir DIR",
        ),
        other => (
            other.to_string(),
            "check the disk, or choose another with --data-dir DIR",
        ),
    };
    Failure::new(
        format!("data directory {shown}: cannot be used"),
        cause,
        next,
    )
}

/// Time between two moments, in words.
pub fn words(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis < 10_000 => format!("{millis} ms"),
        millis => format!("{:.1} s", millis as f64 / 1000.0),
    }
}

/// The directory's absolute path where that can be told.
pub fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_does_not_serve_everything_says_why() {
        let store = StoreMetrics::default();
        let says = |health: StoreHealth, serves_all| readiness(&health, serves_all, &store);
        assert_eq!(says(StoreHealth::Ok, true), Ok(()));
        for (health, part) in [
            (StoreHealth::Ok, "leader"),
            (StoreHealth::Full, "disk.free.bytes.min"),
            (
                StoreHealth::Dead("log flush failed".into()),
                "log flush failed",
            ),
        ] {
            let reason = says(health, false).expect_err("not ready");
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn every_start_error_is_three_lines_with_a_next_step() {
        let errors = [
            StartError::NoListener,
            StartError::Metadata("x".into()),
            StartError::Store(OpenError::InUse { root: "d".into() }),
            StartError::Store(OpenError::Config("x".into())),
            StartError::Store(OpenError::Foreign {
                root: "d".into(),
                reason: "r".into(),
            }),
            StartError::Store(OpenError::Disk(DiskError::Full { path: "wal".into() })),
            StartError::Store(OpenError::Disk(DiskError::Denied {
                path: "wal".into(),
                reason: "read-only".into(),
            })),
        ];
        for error in errors {
            let failure = explain("d", error);
            assert_eq!(failure.to_string().lines().count(), 3, "{failure}");
            assert!(!failure.next.is_empty());
        }
    }
}
