//! The concurrency seam: workers that step, and the signal that wakes them.
//!
//! A worker is a loop turned inside out: it does one bounded piece of work per step and says when
//! it wants to be called again. The real world gives each a thread; the simulated one steps them
//! all in one thread, in an order drawn from the seed, and may crash between any two steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// What a worker wants after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More work is ready: call again at once.
    Again,
    /// Call again when the signal is raised.
    Wait,
    /// Call again when the signal is raised, or after this long.
    WaitFor(Duration),
    /// Never call again.
    Done,
}

/// A background loop, one bounded step at a time.
pub trait Worker: Send {
    /// Does one piece of work.
    fn step(&mut self) -> Next;
}

/// How urgent a worker is to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// The log writer: SCHED_RR, else a negative nice value, else as it is.
    Urgent,
    /// As the process.
    Normal,
    /// Only when nothing else runs: scrub, retention, compaction.
    Idle,
}

/// Starts workers and the node's reactors.
pub trait Spawn: Send + Sync + 'static {
    /// Runs a worker until it says `Done`. Raising `signal` ends its wait.
    fn worker(
        &self,
        name: &'static str,
        priority: Priority,
        signal: Signal,
        worker: Box<dyn Worker>,
    ) -> Box<dyn WorkerHandle>;
    /// Starts a reactor: a single-threaded async runtime that runs what `start` returns. The
    /// closure runs on the reactor's thread, so the future need not be `Send`.
    fn reactor(&self, name: &'static str, start: ReactorStart) -> Box<dyn WorkerHandle>;
    /// How many reactors are worth starting for connections: one per core; one in simulation.
    fn reactors_suggested(&self) -> usize;
}

/// Builds a reactor's root future on its own thread.
pub type ReactorStart = Box<dyn FnOnce() -> crate::net::LocalFuture<'static, ()> + Send>;

/// A started worker or reactor.
pub trait WorkerHandle: Send {
    /// Blocks until it ended. In simulation: steps it until it says `Done`.
    fn join(self: Box<Self>);
}

/// Wakes a worker. Raising is idempotent, and costs one atomic when it is raised already.
#[derive(Clone, Default)]
pub struct Signal(Arc<SignalState>);

#[derive(Default)]
struct SignalState {
    raised: AtomicBool,
    hook: Mutex<Option<Box<dyn Fn() + Send + Sync>>>,
    lock: Mutex<()>,
    condvar: Condvar,
}

impl Signal {
    /// A lowered signal.
    pub fn new() -> Signal {
        Signal::default()
    }

    /// Wakes the waiter, now or at its next wait.
    pub fn raise(&self) {
        if self.0.raised.swap(true, Ordering::AcqRel) {
            return;
        }
        let guard = self.0.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        self.0.condvar.notify_one();
        drop(guard);
        if let Some(hook) =
            &*self.0.hook.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
        {
            hook();
        }
    }

    /// Lowers the signal; says whether it was raised.
    pub fn take(&self) -> bool {
        self.0.raised.swap(false, Ordering::AcqRel)
    }

    /// Blocks until raised or the time is over, then lowers it. Real threads only.
    pub fn wait(&self, limit: Option<Duration>) {
        let mut guard = self.0.lock.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        while !self.take() {
            match limit {
                None => {
                    guard =
                        self.0.condvar.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner());
                }
                Some(limit) => {
                    let (_guard, timeout) = self
                        .0
                        .condvar
                        .wait_timeout(guard, limit)
                        .unwrap_or_else(|poisoned| poisoned.into_inner());
                    if timeout.timed_out() {
                        self.take();
                    }
                    return;
                }
            }
        }
    }

    /// Calls `hook` at each raise: how the simulation learns that a worker is runnable.
    pub fn on_raise(&self, hook: Box<dyn Fn() + Send + Sync>) {
        *self.0.hook.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(hook);
    }
}
