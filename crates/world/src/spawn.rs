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

/// What a worker got of the [`Priority`] it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduling {
    /// A real-time class.
    RealTime,
    /// A negative nice value.
    Nice,
    /// The idle class.
    Idle,
    /// That of the process.
    AsIs,
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
    /// Waits until the signal is raised, then lowers it and says `true`; `false` if the time was
    /// over first. Blocks a real thread; in simulation it steps the workers meanwhile, which is
    /// why code outside workers waits here and not on [`Signal::wait`].
    fn wait(&self, signal: &Signal, limit: Option<Duration>) -> bool;
}

/// Builds a reactor's root future on its own thread.
pub type ReactorStart = Box<dyn FnOnce() -> crate::net::LocalFuture<'static, ()> + Send>;

/// A started worker or reactor. Dropping the handle lets it run on.
pub trait WorkerHandle: Send {
    /// Blocks until it ended; panics with its panic. In simulation: steps all workers until this
    /// one says `Done`; a simulated reactor must be finished already.
    fn join(self: Box<Self>);
    /// Whether it ended, by itself or by a panic (which [`WorkerHandle::join`] brings up).
    fn is_finished(&self) -> bool;
    /// What the system gave of the priority asked for.
    fn scheduling(&self) -> Scheduling {
        Scheduling::AsIs
    }
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
        let guard = self
            .0
            .lock
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        self.0.condvar.notify_one();
        drop(guard);
        if let Some(hook) = &*self
            .0
            .hook
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
        {
            hook();
        }
    }

    /// Whether it is raised, without lowering it.
    pub fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::Acquire)
    }

    /// Lowers the signal; says whether it was raised.
    pub fn take(&self) -> bool {
        self.0.raised.swap(false, Ordering::AcqRel)
    }

    /// Blocks the thread until raised or the time is over, then lowers it; says whether it was
    /// raised. For the one waiter of a real thread; elsewhere use [`Spawn::wait`].
    pub fn wait(&self, limit: Option<Duration>) -> bool {
        if self.take() {
            return true;
        }
        let mut raised = false;
        let guard = self
            .0
            .lock
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let sleeping = |_: &mut ()| {
            raised = self.take();
            !raised
        };
        match limit {
            None => drop(
                self.0
                    .condvar
                    .wait_while(guard, sleeping)
                    .unwrap_or_else(|poisoned| poisoned.into_inner()),
            ),
            Some(limit) => drop(
                self.0
                    .condvar
                    .wait_timeout_while(guard, limit, sleeping)
                    .unwrap_or_else(|poisoned| poisoned.into_inner()),
            ),
        }
        raised
    }

    /// Calls `hook` at each raise: how the simulation learns that a worker is runnable.
    pub fn on_raise(&self, hook: Box<dyn Fn() + Send + Sync>) {
        *self
            .0
            .hook
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(hook);
    }
}
