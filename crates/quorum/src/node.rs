//! A node of the metadata group: start, propose, read, snapshot, stop.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::impls::BasicNode;
use openraft::rt::{AsyncRuntime, WatchReceiver};
use openraft::{Raft, RaftMetrics, ReadPolicy};
use tokio::sync::{oneshot, watch};
use world::{WorkerHandle, World};

use crate::journal::{Journal, Sizes};
use crate::machine::Machine;
use crate::network::Alone;
use crate::raft::{Payload, Runtime, Types, config};
use crate::snapshots::Snapshots;
use crate::store::LogStore;
use crate::{
    COMMAND_BYTES_MAX, Decided, Leadership, MetadataQuorum, QuorumError, SnapshotRef, StateMachine,
};

/// A snapshot is taken when the log has grown by this many entries (replication.md 4).
const SNAPSHOT_ENTRIES: u64 = 10_000;
/// Or by this many bytes of commands: they live in memory until they are purged.
const SNAPSHOT_BYTES: usize = 2 * 1024 * 1024;
/// Or this long after a change, so that a quiet node restarts from a short log.
const SNAPSHOT_AFTER: Duration = Duration::from_secs(60);
/// How often those limits are looked at.
const SNAPSHOT_LOOK: Duration = Duration::from_secs(1);
/// A node alone leads within milliseconds; longer means the disk hangs.
const START_LIMIT: Duration = Duration::from_secs(30);

/// What a node must be told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its number in the group. A node with a new data directory takes a new one: a wiped disk
    /// has forgotten its vote (replication.md 4).
    pub node: u64,
    /// Where other voters find it, for when there are any.
    pub address: String,
}

/// A node that is the only voter of its group.
pub struct SingleNode {
    raft: Raft<Types, Machine>,
    store: LogStore,
    node: u64,
    seed: u64,
    leadership: watch::Receiver<Leadership>,
    ends: Mutex<Ends>,
}

/// What must end before the node has stopped.
#[derive(Default)]
struct Ends {
    tasks: Vec<tokio::task::JoinHandle<()>>,
    stop: Vec<oneshot::Sender<()>>,
    worker: Option<Box<dyn WorkerHandle>>,
}

impl SingleNode {
    /// Opens or creates the log, restores the state machine, and returns when this node leads and
    /// the state machine holds everything that was ever acknowledged.
    ///
    /// Runs on a tokio runtime, which must live on: openraft's tasks run there. Opening blocks on
    /// the disk for a few milliseconds.
    ///
    /// # Errors
    /// [`QuorumError::Journal`] if the files are damaged, foreign, newer, or the disk fails;
    /// [`QuorumError::Stopped`] if the state machine refuses a snapshot, or no leader came up.
    pub async fn start(
        world: &World,
        settings: Settings,
        machine: Box<dyn StateMachine>,
    ) -> Result<SingleNode, QuorumError> {
        let snapshots = Snapshots::new(Arc::clone(&world.disk));
        let journal = Journal::open(
            Arc::clone(&world.disk),
            Arc::clone(&world.random),
            settings.node,
            snapshots.exist()?,
            Sizes::default(),
        )?;
        let newest = snapshots.newest()?;
        let (store, worker) = LogStore::start(
            &*world.spawn,
            Arc::clone(&world.clock),
            journal,
            snapshots.clone(),
        );
        let machine = Machine::new(machine, newest, snapshots, store.clone())
            .map_err(|reason| QuorumError::Stopped { reason })?;
        let seed = world.random.next_u64();
        let started = scope(seed, start_raft(&settings, store.clone(), machine)).await;
        let raft = match started {
            Ok(raft) => raft,
            Err(error) => {
                store.close();
                worker.join();
                return Err(error);
            }
        };
        let ((leadership, follow), (keep_short, stop)) = scope(seed, async {
            (
                follow_leadership(&raft, settings.node),
                keep_log_short(raft.clone(), store.clone()),
            )
        })
        .await;
        let ends = Ends {
            tasks: vec![follow, keep_short],
            stop: vec![stop],
            worker: Some(worker),
        };
        Ok(SingleNode {
            raft,
            store,
            node: settings.node,
            seed,
            leadership,
            ends: Mutex::new(ends),
        })
    }

    /// Stops taking part; everything handed over is on the disk when it returns.
    pub async fn close(&self) {
        let ends = {
            let mut ends = self
                .ends
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            std::mem::take(&mut *ends)
        };
        for stop in ends.stop {
            let _ = stop.send(());
        }
        // A node that has already stopped with an error says so again; it was logged then.
        let _ = self.raft.shutdown().await;
        for task in ends.tasks {
            let _ = task.await;
        }
        self.store.close();
        if let Some(worker) = ends.worker {
            worker.join();
        }
    }

    fn not_leader(&self, forward: &ForwardToLeader<Types>) -> QuorumError {
        QuorumError::NotLeader {
            leader: forward.leader_id,
        }
    }
}

impl Drop for SingleNode {
    /// Without [`SingleNode::close`] the tasks and the worker end by themselves, some time later.
    fn drop(&mut self) {
        self.store.close();
    }
}

/// Runs a future in which openraft draws its chance from the seed.
fn scope<F: Future>(
    seed: u64,
    future: F,
) -> openraft::rt::task_local::TaskLocalFuture<Cell<u64>, F> {
    Runtime::scope(seed, future)
}

fn stopped(reason: impl ToString) -> QuorumError {
    QuorumError::Stopped {
        reason: reason.to_string(),
    }
}

async fn start_raft(
    settings: &Settings,
    store: LogStore,
    machine: Machine,
) -> Result<Raft<Types, Machine>, QuorumError> {
    let raft = Raft::new(settings.node, config(), Alone, store, machine)
        .await
        .map_err(stopped)?;
    if raft.is_initialized().await.map_err(stopped)? {
        // Waiting for the election timeout would cost a second or two at every restart, and
        // nobody else can lead.
        raft.trigger().elect(false).await.map_err(stopped)?;
    } else {
        let member = BasicNode::new(&settings.address);
        raft.initialize(BTreeMap::from([(settings.node, member)]))
            .await
            .map_err(stopped)?;
    }
    raft.wait(Some(START_LIMIT))
        .metrics(
            |metrics| metrics.current_leader == Some(metrics.id),
            "a node alone leads",
        )
        .await
        .map_err(stopped)?;
    // The new leader's first entry commits everything before it.
    raft.wait_for_recovery(Some(START_LIMIT))
        .await
        .map_err(stopped)?;
    Ok(raft)
}

/// Translates openraft's metrics; ends with it.
fn follow_leadership(
    raft: &Raft<Types, Machine>,
    node: u64,
) -> (watch::Receiver<Leadership>, tokio::task::JoinHandle<()>) {
    let mut metrics = raft.metrics();
    let read = move |metrics: &RaftMetrics<Types>| Leadership {
        term: metrics.current_term,
        leader: metrics.current_leader,
        is_local: metrics.current_leader == Some(node) && metrics.running_state.is_ok(),
        stopped: metrics
            .running_state
            .as_ref()
            .err()
            .map(ToString::to_string),
    };
    let now = read(&metrics.borrow_watched());
    let (sender, receiver) = watch::channel(now);
    let task = Runtime::spawn(async move {
        while metrics.changed().await.is_ok() {
            let now = read(&metrics.borrow_watched());
            sender.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
        }
        sender.send_modify(|before| {
            before.is_local = false;
            before.stopped.get_or_insert_with(|| "closed".into());
        });
    });
    (receiver, task)
}

/// Takes a snapshot when the log has grown enough, and purges what the one before it holds: so a
/// damaged newest snapshot still leaves everything (`snapshots.rs`).
fn keep_log_short(
    raft: Raft<Types, Machine>,
    store: LogStore,
) -> (tokio::task::JoinHandle<()>, oneshot::Sender<()>) {
    let (stop, mut stopping) = oneshot::channel::<()>();
    let task = async move {
        let mut taken = snapshot_index(&raft);
        let mut bytes_then = 0;
        let mut changed_at: Option<tokio::time::Instant> = None;
        loop {
            let sleep = pin!(tokio::time::sleep(SNAPSHOT_LOOK));
            if let Either::Left(_) = select(&mut stopping, sleep).await {
                return;
            }
            let applied = applied_index(&raft);
            let grown = applied.saturating_sub(taken);
            if grown == 0 {
                continue;
            }
            let since = *changed_at.get_or_insert_with(tokio::time::Instant::now);
            let (bytes, _) = store.live();
            if grown < SNAPSHOT_ENTRIES
                && bytes.saturating_sub(bytes_then) < SNAPSHOT_BYTES
                && since.elapsed() < SNAPSHOT_AFTER
            {
                continue;
            }
            let before = taken;
            match take_snapshot(&raft, applied).await {
                Ok(index) => {
                    taken = index;
                    changed_at = None;
                    if before > 0 && raft.trigger().purge_log(before).await.is_err() {
                        return;
                    }
                    bytes_then = store.live().0;
                }
                Err(error) => {
                    // Told once by openraft as the reason it stopped; there is nothing to retry.
                    tracing::warn!(%error, "no metadata snapshot");
                    return;
                }
            }
        }
    };
    (Runtime::spawn(task), stop)
}

fn snapshot_index(raft: &Raft<Types, Machine>) -> u64 {
    raft.metrics()
        .borrow_watched()
        .snapshot
        .map_or(0, |id| id.index())
}

fn applied_index(raft: &Raft<Types, Machine>) -> u64 {
    raft.metrics()
        .borrow_watched()
        .last_applied
        .map_or(0, |id| id.index())
}

/// Takes a snapshot that holds at least everything up to `applied`. Its index.
async fn take_snapshot(raft: &Raft<Types, Machine>, applied: u64) -> Result<u64, QuorumError> {
    raft.trigger().snapshot().await.map_err(stopped)?;
    let metrics = raft
        .wait(Some(START_LIMIT))
        .metrics(
            |metrics| metrics.snapshot.is_some_and(|id| id.index() >= applied),
            "the snapshot is on the disk",
        )
        .await
        .map_err(stopped)?;
    Ok(metrics.snapshot.map_or(0, |id| id.index()))
}

impl MetadataQuorum for SingleNode {
    async fn propose(&self, command: Vec<u8>) -> Result<Decided, QuorumError> {
        if command.len() > COMMAND_BYTES_MAX {
            return Err(QuorumError::TooLarge {
                bytes: command.len(),
            });
        }
        let payload = Payload(Bytes::from(command));
        match scope(self.seed, self.raft.client_write(payload)).await {
            Ok(response) => Ok(Decided {
                index: response.log_id.index(),
                answer: response.data.0,
            }),
            Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                Err(self.not_leader(&forward))
            }
            Err(RaftError::APIError(_)) => Err(QuorumError::Unknown),
            Err(RaftError::Fatal(fatal)) => Err(stopped(fatal)),
        }
    }

    async fn barrier(&self) -> Result<u64, QuorumError> {
        match scope(
            self.seed,
            self.raft.ensure_linearizable(ReadPolicy::ReadIndex),
        )
        .await
        {
            Ok(read) => Ok(read.log_id().index()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(self.not_leader(&forward))
            }
            Err(RaftError::APIError(_)) => Err(QuorumError::NotLeader { leader: None }),
            Err(RaftError::Fatal(fatal)) => Err(stopped(fatal)),
        }
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    async fn change_voters(&self, voters: BTreeSet<u64>) -> Result<(), QuorumError> {
        if voters == BTreeSet::from([self.node]) {
            return Ok(());
        }
        Err(QuorumError::Unsupported {
            what: format!("a metadata quorum of {voters:?}"),
        })
    }

    async fn snapshot(&self) -> Result<SnapshotRef, QuorumError> {
        let applied = applied_index(&self.raft);
        scope(self.seed, take_snapshot(&self.raft, applied)).await?;
        match scope(self.seed, self.raft.get_snapshot())
            .await
            .map_err(stopped)?
        {
            Some(snapshot) => Ok(SnapshotRef {
                index: snapshot.meta.last_log_id.map_or(0, |id| id.index()),
                bytes: snapshot.snapshot,
            }),
            None => Err(stopped("the snapshot that was just taken is gone")),
        }
    }
}
