//! openraft's log storage over the journal: reads from memory, writes through one worker.
//!
//! Blocking disk calls would stop the control reactor, and with it the accept loop, whenever the
//! disk stalls; so a worker owns the journal. It takes everything that waits and makes one block
//! of it (group commit), in the order it was handed over: that order is the safety argument
//! (replication.md 3.3).

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};
use tokio::sync::oneshot;
use world::{Clock, Instant, Next, Priority, Signal, Spawn, Worker, WorkerHandle};

use crate::journal::{Journal, JournalError};
use crate::raft::{Entry, LogId, Types, Vote};
use crate::record::{Record, State};
use crate::snapshots::Snapshots;

/// At most this many command bytes in one block: it bounds the worker's buffer, and how much one
/// flush can hold up.
const BLOCK_COMMAND_BYTES_MAX: usize = 1024 * 1024;

/// When nothing was asked for so long, the last block is vouched for, and what a start does not
/// need is prepared: neither then slows anybody down, nor doubles the flushes of a busy node.
const QUIET: Duration = Duration::from_secs(1);
/// A node that is never quiet prepares at last when it is so old.
const PREPARE_LATEST: Duration = Duration::from_secs(10);

/// The log as openraft sees it. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    /// What was handed over, durable or not: appended entries must be readable at once.
    state: Mutex<State>,
    queue: Mutex<Queue>,
    signal: Signal,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closing: bool,
    /// The worker has ended: nothing handed over now would ever be written.
    ended: bool,
}

enum Job {
    Records {
        records: Vec<Record>,
        bytes: usize,
        done: Done,
    },
    Snapshot {
        index: u64,
        content: Vec<u8>,
        done: oneshot::Sender<Result<(), String>>,
    },
}

/// Who is told that the records are durable.
enum Done {
    /// Nobody: it may be lost in a crash.
    Nobody,
    Callback(IOFlushed<Types>),
    Waiter(oneshot::Sender<Result<(), JournalError>>),
}

impl Done {
    fn tell(self, result: &Result<(), JournalError>) {
        match self {
            Done::Nobody => {}
            Done::Callback(callback) => {
                callback.io_completed(result.clone().map_err(io::Error::other));
            }
            Done::Waiter(waiter) => {
                // Whoever waited may have been dropped meanwhile.
                let _ = waiter.send(result.clone());
            }
        }
    }
}

impl LogStore {
    /// Starts the worker that owns the journal and the snapshots' files.
    pub(crate) fn start(
        spawn: &dyn Spawn,
        clock: Arc<dyn Clock>,
        journal: Journal,
        snapshots: Snapshots,
    ) -> (LogStore, Box<dyn WorkerHandle>) {
        let shared = Arc::new(Shared {
            state: Mutex::new(journal.state().clone()),
            queue: Mutex::default(),
            signal: Signal::new(),
        });
        let writer = LogWriter {
            shared: Arc::clone(&shared),
            journal,
            snapshots,
            unwritten: Vec::new(),
            prepared: false,
            started: clock.now(),
            busy: clock.now(),
            clock,
        };
        let signal = shared.signal.clone();
        let handle = spawn.worker("metadata-log", Priority::Normal, signal, Box::new(writer));
        (LogStore { shared }, handle)
    }

    /// Lets the worker write what was handed over, and end.
    pub(crate) fn close(&self) {
        lock(&self.shared.queue).closing = true;
        self.shared.signal.raise();
    }

    /// Writes a snapshot's file. Waits until it is durable.
    pub(crate) async fn save_snapshot(&self, index: u64, content: Vec<u8>) -> io::Result<()> {
        let (done, waiter) = oneshot::channel();
        self.hand_over(Job::Snapshot {
            index,
            content,
            done,
        })?;
        match waiter.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(closed()),
        }
    }

    /// Command bytes and number of entries that a restart would replay.
    pub(crate) fn live(&self) -> (usize, usize) {
        let state = lock(&self.shared.state);
        (state.command_bytes, state.entries.len())
    }

    fn hand_over(&self, job: Job) -> io::Result<()> {
        let mut queue = lock(&self.shared.queue);
        if queue.ended {
            return Err(closed());
        }
        queue.jobs.push_back(job);
        drop(queue);
        self.shared.signal.raise();
        Ok(())
    }

    /// Carries records out in memory and hands them to the worker, as one step.
    fn submit(&self, records: Vec<Record>, done: Done) -> io::Result<()> {
        let mut state = lock(&self.shared.state);
        let before = state.command_bytes;
        for record in &records {
            state.apply(record.clone()).map_err(io::Error::other)?;
        }
        let bytes = state.command_bytes.saturating_sub(before);
        // Under the state's lock, so that both orders are the same.
        let handed = self.hand_over(Job::Records {
            records,
            bytes,
            done,
        });
        drop(state);
        handed
    }

    async fn submit_and_wait(&self, record: Record) -> io::Result<()> {
        let (done, waiter) = oneshot::channel();
        self.submit(vec![record], Done::Waiter(done))?;
        match waiter.await {
            Ok(result) => result.map_err(io::Error::other),
            Err(_) => Err(closed()),
        }
    }
}

fn closed() -> io::Error {
    io::Error::other("the metadata log was closed")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere has not left the state half changed: every change is one call.
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let state = lock(&self.shared.state);
        let Some(first) = state.entries.front().map(RaftEntry::index) else {
            return Ok(Vec::new());
        };
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let skip = from.saturating_sub(first) as usize;
        let entries = state.entries.iter().skip(skip);
        Ok(entries
            .take_while(|entry| entry.index() < end)
            .cloned()
            .collect())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(lock(&self.shared.state).vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let state = lock(&self.shared.state);
        Ok(LogState {
            last_purged_log_id: state.purged,
            last_log_id: state.last(),
        })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.submit_and_wait(Record::Vote(*vote)).await
    }

    /// Goes to the disk with the next block and is not waited for: it only shortens recovery. A
    /// node serves nothing before it has applied everything a quorum committed (`node.rs`), so a
    /// lost mark cannot show older state than before.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.submit(vec![Record::Committed(committed)], Done::Nobody)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(lock(&self.shared.state).committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records = entries.into_iter().map(Record::Append).collect();
        self.submit(records, Done::Callback(callback))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.submit_and_wait(Record::TruncateAfter(last_log_id))
            .await
    }

    /// Like the committed mark: if it is lost, entries that a snapshot holds come back.
    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.submit(vec![Record::PurgeTo(log_id)], Done::Nobody)
    }
}

/// The one writer of the log and of the snapshots' files.
struct LogWriter {
    shared: Arc<Shared>,
    journal: Journal,
    snapshots: Snapshots,
    /// Records nobody waits for; they go with the next ones somebody does.
    unwritten: Vec<Record>,
    prepared: bool,
    clock: Arc<dyn Clock>,
    started: Instant,
    /// When something was last asked of the worker.
    busy: Instant,
}

impl LogWriter {
    /// Waits for the next job, and uses a quiet moment for what nobody waits for.
    fn rest(&mut self) -> Next {
        let wants_voucher = self.journal.wants_voucher();
        if self.prepared && !wants_voucher {
            return Next::Wait;
        }
        // Measured, not counted in wake-ups: a signal may have been raised for a job that was
        // taken before.
        let now = self.clock.now();
        let quiet = now.since(self.busy);
        let late = now.since(self.started) >= PREPARE_LATEST;
        if quiet < QUIET && (self.prepared || !late) {
            return Next::WaitFor(QUIET - quiet);
        }
        if wants_voucher && quiet >= QUIET {
            self.vouch();
            return Next::Again;
        }
        self.prepared = true;
        if let Err(error) = self.journal.prepare() {
            tracing::warn!(%error, "the metadata log has no reserve");
        }
        Next::Again
    }

    fn vouch(&mut self) {
        let marks = std::mem::take(&mut self.unwritten);
        if let Err(error) = self.journal.vouch(marks) {
            tell_dead(&error);
        }
    }
}

fn tell_dead(error: &JournalError) {
    tracing::error!(%error, "the metadata log cannot be written; this node stops taking part");
}

impl Worker for LogWriter {
    fn step(&mut self) -> Next {
        let mut records = std::mem::take(&mut self.unwritten);
        let mut waiting = Vec::new();
        let mut bytes = 0;
        let mut snapshot = None;
        let closing;
        {
            let mut queue = lock(&self.shared.queue);
            if !queue.jobs.is_empty() {
                self.busy = self.clock.now();
            }
            while let Some(job) = queue.jobs.pop_front() {
                match job {
                    Job::Records {
                        bytes: more,
                        records: next,
                        done,
                    } => {
                        if !waiting.is_empty() && bytes + more > BLOCK_COMMAND_BYTES_MAX {
                            queue.jobs.push_front(Job::Records {
                                bytes: more,
                                records: next,
                                done,
                            });
                            break;
                        }
                        bytes += more;
                        records.extend(next);
                        if !matches!(done, Done::Nobody) {
                            waiting.push(done);
                        }
                    }
                    Job::Snapshot {
                        index,
                        content,
                        done,
                    } => {
                        // What was handed over before it is written first.
                        snapshot = Some((index, content, done));
                        break;
                    }
                }
            }
            closing = queue.closing && queue.jobs.is_empty() && snapshot.is_none();
            queue.ended = closing;
        }
        if waiting.is_empty() {
            self.unwritten = records;
        } else {
            let result = self.journal.write(records);
            if let Err(error) = &result {
                tell_dead(error);
            }
            for done in waiting {
                done.tell(&result);
            }
        }
        if let Some((index, content, done)) = snapshot {
            let result = self
                .snapshots
                .save(index, &content)
                .map_err(|error| error.to_string());
            let _ = done.send(result);
            return Next::Again;
        }
        if closing {
            if self.journal.wants_voucher() {
                self.vouch();
            }
            return Next::Done;
        }
        if lock(&self.shared.queue).jobs.is_empty() {
            self.rest()
        } else {
            Next::Again
        }
    }
}
