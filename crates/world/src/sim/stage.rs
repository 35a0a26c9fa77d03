//! Where simulated reactors run: one tokio runtime with virtual time, one set of tasks per node.
//!
//! Each turn polls the test's own task, then each node's tasks, then steps one worker. Time jumps
//! to the next timer only when nobody can run.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::thread::ThreadId;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::{JoinHandle, LocalSet};

use super::clock::Sleep;
use super::spawn::Scheduler;
use crate::clock::Instant;

/// Virtual time after which nothing but this limit can have been waited for.
const DEADLOCK_AFTER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The runtime and its tasks, made at first use by the thread that then owns them.
#[derive(Default)]
pub(super) struct Stage(OnceLock<Owned<Tasks>>);

#[derive(Default)]
struct Tasks {
    runtime: OnceCell<Runtime>,
    nodes: RefCell<BTreeMap<u64, NodeTasks>>,
    /// Crashes so far, per node: a set that is away for its turn may not come back.
    crashes: RefCell<BTreeMap<u64, u64>>,
}

#[derive(Default)]
struct NodeTasks {
    local: LocalSet,
    reactors: Vec<JoinHandle<()>>,
}

impl Stage {
    pub(super) fn block_on<F: Future>(&self, scheduler: &Scheduler, main: F) -> F::Output {
        let tasks = self.0.get_or_init(Owned::default).here();
        let runtime = tasks.runtime.get_or_init(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime without I/O needs nothing of the system");
            let _entered = runtime.enter();
            scheduler.clock.follow_tokio();
            drop(_entered);
            runtime
        });
        LocalSet::new().block_on(runtime, async {
            let mut main = pin!(main);
            let mut deadlock = pin!(tokio::time::sleep(DEADLOCK_AFTER));
            let mut timer = None;
            poll_fn(|cx| {
                if let Poll::Ready(output) = main.as_mut().poll(cx) {
                    return Poll::Ready(output);
                }
                tasks.take_turn(scheduler, &mut timer, cx);
                if deadlock.as_mut().poll(cx).is_ready() {
                    scheduler.deadlock();
                }
                Poll::Pending
            })
            .await
        })
    }

    /// Runs everybody until `done`; `false` when it is `limit` first.
    pub(super) fn run_until(
        &self,
        scheduler: &Scheduler,
        limit: Option<Instant>,
        mut done: impl FnMut() -> bool,
    ) -> bool {
        let mut limit = limit.map(|limit| Box::pin(scheduler.clock.sleep_until(limit)));
        self.block_on(
            scheduler,
            poll_fn(|cx| {
                if done() {
                    return Poll::Ready(true);
                }
                match &mut limit {
                    Some(limit) => limit.as_mut().poll(cx).map(|()| false),
                    None => Poll::Pending,
                }
            }),
        )
    }

    /// Drops a node's tasks. From another thread than the owner's they are only never run again.
    pub(super) fn crash(&self, node: u64) {
        if let Some(tasks) = self.0.get().and_then(Owned::try_here) {
            *tasks.crashes.borrow_mut().entry(node).or_default() += 1;
            let dropped = tasks.nodes.borrow_mut().remove(&node);
            drop(dropped);
        }
    }
}

impl Tasks {
    fn take_turn(
        &self,
        scheduler: &Scheduler,
        timer: &mut Option<(Instant, Pin<Box<Sleep>>)>,
        cx: &mut Context<'_>,
    ) {
        *scheduler
            .driver
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(cx.waker().clone());
        for (node, start, finished) in scheduler.take_starts() {
            let mut nodes = self.nodes.borrow_mut();
            let tasks = nodes.entry(node).or_default();
            let root = async move {
                start().await;
                finished.store(true, Ordering::Release);
            };
            tasks.reactors.push(tasks.local.spawn_local(root));
        }
        let nodes: Vec<u64> = self.nodes.borrow().keys().copied().collect();
        for node in nodes {
            self.poll_node(node, cx);
        }
        if scheduler.step_one() {
            // The main task first: it may have waited for what the step did.
            cx.waker().wake_by_ref();
            return;
        }
        let deadline = scheduler.deadline();
        if timer.as_ref().map(|(at, _)| *at) != deadline {
            *timer = deadline.map(|at| (at, Box::pin(scheduler.clock.sleep_until(at))));
        }
        if let Some((_, sleep)) = timer
            && sleep.as_mut().poll(cx).is_ready()
        {
            *timer = None;
            cx.waker().wake_by_ref();
        }
    }

    /// One turn for a node's tasks, which may crash their own node meanwhile.
    fn poll_node(&self, node: u64, cx: &mut Context<'_>) {
        let crashes = || {
            self.crashes
                .borrow()
                .get(&node)
                .copied()
                .unwrap_or_default()
        };
        let Some(mut tasks) = self.nodes.borrow_mut().remove(&node) else {
            return;
        };
        let before = crashes();
        // Ready means that no task is left for now.
        let _ = Pin::new(&mut tasks.local).poll(cx);
        let mut panic = None;
        tasks
            .reactors
            .retain_mut(|reactor| match Pin::new(reactor).poll(cx) {
                Poll::Pending => true,
                Poll::Ready(Err(error)) if error.is_panic() => {
                    panic = Some(error.into_panic());
                    false
                }
                Poll::Ready(_) => false,
            });
        if crashes() == before {
            self.nodes.borrow_mut().insert(node, tasks);
        }
        if let Some(panic) = panic {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.nodes.borrow_mut().clear();
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: the drop may come from inside another runtime.
            runtime.shutdown_background();
        }
    }
}

/// A value that only the thread that made it can reach, inside something that any thread holds.
struct Owned<T> {
    value: ManuallyDrop<T>,
    owner: ThreadId,
}

impl<T: Default> Default for Owned<T> {
    fn default() -> Self {
        Owned {
            value: ManuallyDrop::new(T::default()),
            owner: std::thread::current().id(),
        }
    }
}

impl<T> Owned<T> {
    fn try_here(&self) -> Option<&T> {
        (self.owner == std::thread::current().id()).then_some(&*self.value)
    }

    fn here(&self) -> &T {
        self.try_here()
            .expect("a simulation is run by one thread, the one that first ran it")
    }
}

impl<T> Drop for Owned<T> {
    #[expect(
        unsafe_code,
        reason = "another thread must leak the value, its own one drops it"
    )]
    fn drop(&mut self) {
        if self.owner == std::thread::current().id() {
            // SAFETY: dropped once, here, and never used behind it.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

// SAFETY: the value is reached through `try_here` and dropped in `drop`, both of which let only
// the thread through that made it; other threads hold no more than its bytes.
#[expect(unsafe_code, reason = "tokio's local sets stay on their thread")]
unsafe impl<T> Send for Owned<T> {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "tokio's local sets stay on their thread")]
unsafe impl<T> Sync for Owned<T> {}
