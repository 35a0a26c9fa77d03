//! Workers and reactors of all nodes run in one thread, in an order drawn from the seed.
//!
//! Workers alone need no runtime: [`SimSpawn::step_one`], [`SimSpawn::run_until_idle`], or simply
//! waiting through [`Spawn::wait`] or a join, which step the workers of all nodes and move
//! virtual time when everybody sleeps. Reactors are tasks of a tokio runtime with virtual time,
//! which is behind the feature `paused_time`: a wait or join outside of it then runs reactors
//! too, and [`SimWorld::block_on`](crate::SimWorld::block_on) runs a test's own tasks among them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::sim::{Rng, SimClock};
use crate::spawn::{Next, Priority, ReactorStart, Signal, Spawn, Worker, WorkerHandle};

/// Steps without an end after which the simulation gives up: workers that keep each other busy.
const STEPS_MAX: u64 = 50_000_000;

/// The simulated threads of one node. Clones are the same set.
#[derive(Clone)]
pub struct SimSpawn {
    scheduler: Arc<Scheduler>,
    node: u64,
}

/// Everything that can run on any node.
pub(super) struct Scheduler {
    pub(super) clock: SimClock,
    state: Mutex<State>,
    pub(super) driver: Arc<Mutex<Option<Waker>>>,
    #[cfg(feature = "paused_time")]
    stage: super::stage::Stage,
}

struct State {
    rng: Rng,
    slots: Vec<Slot>,
    reactors: Vec<Reactor>,
    steps: u64,
    node_next: u64,
}

struct Slot {
    node: u64,
    name: &'static str,
    signal: Signal,
    /// Away while it is being stepped.
    worker: Option<Box<dyn Worker>>,
    next: Wake,
    finished: Arc<AtomicBool>,
}

struct Reactor {
    node: u64,
    name: &'static str,
    #[cfg_attr(
        not(feature = "paused_time"),
        expect(dead_code, reason = "without the runtime nobody starts a reactor")
    )]
    start: Option<ReactorStart>,
    finished: Arc<AtomicBool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wake {
    Ready,
    Raised,
    RaisedOrAt(Instant),
}

impl SimSpawn {
    /// Nothing runs yet; the order comes from this seed.
    pub fn new(seed: u64, clock: SimClock) -> SimSpawn {
        let scheduler = Scheduler {
            clock,
            state: Mutex::new(State {
                rng: Rng::fork(seed, "spawn"),
                slots: Vec::new(),
                reactors: Vec::new(),
                steps: 0,
                node_next: 1,
            }),
            driver: Arc::default(),
            #[cfg(feature = "paused_time")]
            stage: super::stage::Stage::default(),
        };
        SimSpawn {
            scheduler: Arc::new(scheduler),
            node: 0,
        }
    }

    /// Another node's threads, run among this one's.
    pub fn sibling(&self) -> SimSpawn {
        let mut state = self.scheduler.state();
        let node = state.node_next;
        state.node_next += 1;
        SimSpawn {
            scheduler: Arc::clone(&self.scheduler),
            node,
        }
    }

    /// Steps one worker of any node that can run, drawn from the seed; `false` if none can.
    pub fn step_one(&self) -> bool {
        self.scheduler.step_one()
    }

    /// Steps workers until none can run. Time stands still.
    pub fn run_until_idle(&self) {
        while self.step_one() {}
    }

    /// Steps workers for this long in virtual time, timers included.
    pub fn run_for(&self, duration: Duration) {
        let end = self.scheduler.clock.now().after(duration);
        loop {
            self.run_until_idle();
            match self.scheduler.deadline() {
                Some(deadline) if deadline <= end => self.scheduler.clock.advance_to(deadline),
                _ => break,
            }
        }
        self.scheduler.clock.advance_to(end);
        self.run_until_idle();
    }

    /// How many steps the workers of all nodes made.
    pub fn steps(&self) -> u64 {
        self.scheduler.state().steps
    }

    /// Names of this node's workers that have not ended, in order of their start.
    pub fn workers(&self) -> Vec<&'static str> {
        let state = self.scheduler.state();
        let own = state.slots.iter().filter(|slot| slot.node == self.node);
        own.map(|slot| slot.name).collect()
    }

    /// Drops this node's workers, reactors and all their tasks, as a crash does: nobody is asked.
    pub fn crash(&self) {
        let mut state = self.scheduler.state();
        let node = self.node;
        let slots: Vec<Slot> = state
            .slots
            .extract_if(.., |slot| slot.node == node)
            .collect();
        let reactors: Vec<Reactor> = state
            .reactors
            .extract_if(.., |reactor| reactor.node == node)
            .collect();
        drop(state);
        // Dropped outside the lock: what they hold may reach for it.
        drop(slots);
        drop(reactors);
        #[cfg(feature = "paused_time")]
        self.scheduler.stage.crash(node);
    }

    /// Runs `main`, the workers and the reactors of all nodes in a runtime whose time is virtual,
    /// until `main` ends. Panics of workers and reactors come up here; tasks that `main` spawned
    /// end with it, reactors go on at the next call.
    ///
    /// # Panics
    /// If nothing happens for a year: everybody waits for somebody else.
    #[cfg(feature = "paused_time")]
    pub fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.scheduler.stage.block_on(&self.scheduler, main)
    }

    /// Steps, runs reactors, or moves time, until `done`; `false` when it is `limit` first.
    fn run_until(&self, limit: Option<Instant>, mut done: impl FnMut() -> bool) -> bool {
        #[cfg(feature = "paused_time")]
        if self.scheduler.has_reactors() && tokio::runtime::Handle::try_current().is_err() {
            return self.scheduler.stage.run_until(&self.scheduler, limit, done);
        }
        let clock = &self.scheduler.clock;
        loop {
            if done() {
                return true;
            }
            if self.step_one() {
                continue;
            }
            if limit.is_some_and(|limit| limit <= clock.now()) {
                return false;
            }
            let deadline = match (self.scheduler.deadline(), limit) {
                (Some(worker), Some(limit)) => worker.min(limit),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => self.scheduler.deadlock(),
            };
            clock.advance_to(deadline);
        }
    }
}

impl Scheduler {
    pub(super) fn step_one(&self) -> bool {
        let now = self.clock.now();
        let mut state = self.state();
        let runnable: Vec<usize> = state
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.worker.is_some() && slot.can_run(now))
            .map(|(index, _)| index)
            .collect();
        if runnable.is_empty() {
            return false;
        }
        state.steps += 1;
        assert!(
            state.steps < STEPS_MAX,
            "the workers keep each other busy for ever"
        );
        let index = runnable[state.rng.index(runnable.len())];
        let slot = &mut state.slots[index];
        slot.signal.take();
        let finished = Arc::clone(&slot.finished);
        let Some(mut worker) = slot.worker.take() else {
            return false;
        };
        // The step may raise signals, spawn, and wait: the set is not locked meanwhile.
        drop(state);
        let next = worker.step();
        let wake = match next {
            Next::Again => Some(Wake::Ready),
            Next::Wait => Some(Wake::Raised),
            Next::WaitFor(limit) => Some(Wake::RaisedOrAt(now.after(limit))),
            Next::Done => None,
        };
        let mut state = self.state();
        let found = state
            .slots
            .iter()
            .position(|slot| Arc::ptr_eq(&slot.finished, &finished));
        // Not found: the node crashed during the step.
        if let Some(index) = found {
            match wake {
                Some(wake) => {
                    state.slots[index].next = wake;
                    state.slots[index].worker = Some(worker);
                }
                None => {
                    let slot = state.slots.remove(index);
                    drop(state);
                    slot.finished.store(true, Ordering::Release);
                    // A worker's end may raise signals too.
                    drop(worker);
                }
            }
        }
        true
    }

    /// The reactors of each node that wait to be started.
    #[cfg(feature = "paused_time")]
    pub(super) fn take_starts(&self) -> Vec<(u64, ReactorStart, Arc<AtomicBool>)> {
        let mut state = self.state();
        let waiting = state.reactors.iter_mut().filter_map(|reactor| {
            let start = reactor.start.take()?;
            Some((reactor.node, start, Arc::clone(&reactor.finished)))
        });
        waiting.collect()
    }

    #[cfg(feature = "paused_time")]
    fn has_reactors(&self) -> bool {
        let mut state = self.state();
        state
            .reactors
            .retain(|reactor| !reactor.finished.load(Ordering::Acquire));
        !state.reactors.is_empty()
    }

    /// When the first sleeping worker wants to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let state = self.state();
        let deadlines = state.slots.iter().filter_map(|slot| match slot.next {
            Wake::RaisedOrAt(deadline) if slot.worker.is_some() => Some(deadline),
            _ => None,
        });
        deadlines.min()
    }

    /// Nobody can run, and nobody sleeps.
    pub(super) fn deadlock(&self) -> ! {
        let state = self.state();
        let workers: Vec<&str> = state.slots.iter().map(|slot| slot.name).collect();
        let reactors: Vec<&str> = state
            .reactors
            .iter()
            .filter(|reactor| !reactor.finished.load(Ordering::Acquire))
            .map(|reactor| reactor.name)
            .collect();
        drop(state);
        panic!("deadlock: everybody waits; workers {workers:?}, reactors {reactors:?}");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn wake_driver(&self) {
        wake(&self.driver);
    }
}

impl Slot {
    fn can_run(&self, now: Instant) -> bool {
        match self.next {
            Wake::Ready => true,
            Wake::Raised => self.signal.is_raised(),
            Wake::RaisedOrAt(deadline) => self.signal.is_raised() || deadline <= now,
        }
    }
}

impl Spawn for SimSpawn {
    fn worker(
        &self,
        name: &'static str,
        _priority: Priority,
        signal: Signal,
        worker: Box<dyn Worker>,
    ) -> Box<dyn WorkerHandle> {
        let finished = Arc::new(AtomicBool::new(false));
        let driver = Arc::clone(&self.scheduler.driver);
        signal.on_raise(Box::new(move || wake(&driver)));
        self.scheduler.state().slots.push(Slot {
            node: self.node,
            name,
            signal,
            worker: Some(worker),
            next: Wake::Ready,
            finished: Arc::clone(&finished),
        });
        self.scheduler.wake_driver();
        Box::new(SimHandle {
            spawn: self.clone(),
            finished,
        })
    }

    fn reactor(&self, name: &'static str, start: ReactorStart) -> Box<dyn WorkerHandle> {
        let finished = Arc::new(AtomicBool::new(false));
        self.scheduler.state().reactors.push(Reactor {
            node: self.node,
            name,
            start: Some(start),
            finished: Arc::clone(&finished),
        });
        self.scheduler.wake_driver();
        Box::new(SimHandle {
            spawn: self.clone(),
            finished,
        })
    }

    fn reactors_suggested(&self) -> usize {
        1
    }

    fn wait(&self, signal: &Signal, limit: Option<Duration>) -> bool {
        let limit = limit.map(|limit| self.scheduler.clock.now().after(limit));
        self.run_until(limit, || signal.take())
    }
}

struct SimHandle {
    spawn: SimSpawn,
    finished: Arc<AtomicBool>,
}

impl WorkerHandle for SimHandle {
    fn join(self: Box<Self>) {
        self.spawn.run_until(None, || self.is_finished());
    }

    fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}

fn wake(driver: &Mutex<Option<Waker>>) {
    let waker = lock(driver).take();
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
