//! Workers stepped in one thread, in an order drawn from the seed.
//!
//! Two ways to run them. Without a runtime: [`SimSpawn::step_one`], [`SimSpawn::run_until_idle`],
//! or simply waiting through [`Spawn::wait`] or a join, which step the workers and move virtual
//! time when all of them sleep. Under a tokio `current_thread` runtime: [`SimSpawn::run`], which
//! interleaves workers with the tasks of the reactors.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::clock::{Clock, Instant};
use crate::sim::{Rng, SimClock};
use crate::spawn::{Next, Priority, ReactorStart, Signal, Spawn, Worker, WorkerHandle};

/// Steps without an end after which the simulation gives up: workers that keep each other busy.
const STEPS_MAX: u64 = 50_000_000;

/// Simulated threads. Clones are the same set.
#[derive(Clone)]
pub struct SimSpawn(Arc<Shared>);

struct Shared {
    clock: SimClock,
    state: Mutex<State>,
    driver: Arc<Mutex<Option<Waker>>>,
}

struct State {
    rng: Rng,
    slots: Vec<Slot>,
    reactors: Vec<(ReactorStart, Arc<AtomicBool>)>,
    steps: u64,
}

struct Slot {
    name: &'static str,
    signal: Signal,
    /// Away while it is being stepped.
    worker: Option<Box<dyn Worker>>,
    next: Wake,
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
        SimSpawn(Arc::new(Shared {
            clock,
            state: Mutex::new(State {
                rng: Rng::fork(seed, "spawn"),
                slots: Vec::new(),
                reactors: Vec::new(),
                steps: 0,
            }),
            driver: Arc::default(),
        }))
    }

    /// Steps one worker that can run, drawn from the seed; `false` if none can.
    pub fn step_one(&self) -> bool {
        let now = self.0.clock.now();
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

    /// Steps workers until none can run. Time stands still.
    pub fn run_until_idle(&self) {
        while self.step_one() {}
    }

    /// Steps workers for this long in virtual time, timers included.
    pub fn run_for(&self, duration: Duration) {
        let end = self.0.clock.now().after(duration);
        loop {
            self.run_until_idle();
            match self.deadline() {
                Some(deadline) if deadline <= end => self.0.clock.advance_to(deadline),
                _ => break,
            }
        }
        self.0.clock.advance_to(end);
        self.run_until_idle();
    }

    /// How many steps were made.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Names of the workers that have not ended, in order of their start.
    pub fn workers(&self) -> Vec<&'static str> {
        self.state().slots.iter().map(|slot| slot.name).collect()
    }

    /// Drops all workers and reactors not yet started, as a crash does: nobody is asked.
    pub fn crash(&self) {
        let mut state = self.state();
        let slots = std::mem::take(&mut state.slots);
        let reactors = std::mem::take(&mut state.reactors);
        drop(state);
        drop(slots);
        drop(reactors);
    }

    /// Runs `main`, all workers and all reactors in the current task of a tokio `current_thread`
    /// runtime until `main` ends. Panics of workers and reactors come up here. What is left of
    /// the reactors ends with it.
    pub async fn run<F: Future>(&self, main: F) -> F::Output {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let mut main = pin!(main);
                let mut driver = pin!(self.drive());
                poll_fn(|cx| {
                    if let Poll::Ready(output) = main.as_mut().poll(cx) {
                        return Poll::Ready(output);
                    }
                    match driver.as_mut().poll(cx) {
                        Poll::Ready(never) => match never {},
                        Poll::Pending => Poll::Pending,
                    }
                })
                .await
            })
            .await
    }

    /// One worker step at a time, then everybody else's turn.
    async fn drive(&self) -> std::convert::Infallible {
        let mut reactors = JoinSet::new();
        loop {
            let started = std::mem::take(&mut self.state().reactors);
            for (start, finished) in started {
                reactors.spawn_local(async move {
                    start().await;
                    finished.store(true, Ordering::Release);
                });
            }
            if self.step_one() {
                tokio::task::yield_now().await;
                continue;
            }
            let mut timer = self
                .deadline()
                .map(|at| Box::pin(self.0.clock.sleep_until(at)));
            poll_fn(|cx| {
                *lock(&self.0.driver) = Some(cx.waker().clone());
                let timer_is_due = timer
                    .as_mut()
                    .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
                if timer_is_due || self.has_work() {
                    return Poll::Ready(());
                }
                poll_reactors(&mut reactors, cx);
                Poll::Pending
            })
            .await;
        }
    }

    fn has_work(&self) -> bool {
        let now = self.0.clock.now();
        let state = self.state();
        !state.reactors.is_empty()
            || state
                .slots
                .iter()
                .any(|slot| slot.worker.is_some() && slot.can_run(now))
    }

    /// When the first sleeping worker wants to be called.
    fn deadline(&self) -> Option<Instant> {
        let state = self.state();
        let deadlines = state.slots.iter().filter_map(|slot| match slot.next {
            Wake::RaisedOrAt(deadline) if slot.worker.is_some() => Some(deadline),
            _ => None,
        });
        deadlines.min()
    }

    /// Steps, or moves time, until `done`; `false` when it is `limit` first.
    fn step_until(&self, limit: Option<Instant>, done: impl Fn() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            if self.step_one() {
                continue;
            }
            let deadline = match (self.deadline(), limit) {
                (Some(worker), Some(limit)) => worker.min(limit),
                (Some(one), None) | (None, Some(one)) => one,
                (None, None) => panic!(
                    "deadlock: nobody can run and nobody sleeps; waiting: {:?}",
                    self.workers()
                ),
            };
            if limit.is_some_and(|limit| limit <= self.0.clock.now()) {
                return false;
            }
            self.0.clock.advance_to(deadline);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    fn wake_driver(&self) {
        wake(&self.0.driver);
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
        let driver = Arc::clone(&self.0.driver);
        signal.on_raise(Box::new(move || wake(&driver)));
        self.state().slots.push(Slot {
            name,
            signal,
            worker: Some(worker),
            next: Wake::Ready,
            finished: Arc::clone(&finished),
        });
        self.wake_driver();
        Box::new(SimHandle {
            spawn: self.clone(),
            name,
            is_worker: true,
            finished,
        })
    }

    fn reactor(&self, name: &'static str, start: ReactorStart) -> Box<dyn WorkerHandle> {
        let finished = Arc::new(AtomicBool::new(false));
        self.state().reactors.push((start, Arc::clone(&finished)));
        self.wake_driver();
        Box::new(SimHandle {
            spawn: self.clone(),
            name,
            is_worker: false,
            finished,
        })
    }

    fn reactors_suggested(&self) -> usize {
        1
    }

    fn wait(&self, signal: &Signal, limit: Option<Duration>) -> bool {
        let limit = limit.map(|limit| self.0.clock.now().after(limit));
        self.step_until(limit, || signal.take())
    }
}

struct SimHandle {
    spawn: SimSpawn,
    name: &'static str,
    is_worker: bool,
    finished: Arc<AtomicBool>,
}

impl WorkerHandle for SimHandle {
    fn join(self: Box<Self>) {
        assert!(
            self.is_worker || self.is_finished(),
            "the simulated reactor {} still runs: await its end before joining it",
            self.name
        );
        self.spawn.step_until(None, || self.is_finished());
    }

    fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }
}

/// Lets the panic of a reactor come up.
fn poll_reactors(reactors: &mut JoinSet<()>, cx: &mut Context<'_>) {
    while let Poll::Ready(Some(ended)) = Pin::new(&mut *reactors).poll_join_next(cx) {
        if let Err(error) = ended
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
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
