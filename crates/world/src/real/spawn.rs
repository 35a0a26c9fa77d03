//! Threads: one per worker, one per reactor.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::spawn::{Next, Priority, ReactorStart, Scheduling, Signal, Spawn, Worker, WorkerHandle};

/// Starts threads.
#[derive(Debug, Default)]
pub struct RealSpawn;

struct ThreadHandle {
    name: &'static str,
    scheduling: Scheduling,
    thread: JoinHandle<()>,
}

impl WorkerHandle for ThreadHandle {
    fn join(self: Box<Self>) {
        if let Err(panic) = self.thread.join() {
            // Logged where it happened; the owner fails with it.
            resume_unwind(panic);
        }
    }

    fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    fn scheduling(&self) -> Scheduling {
        self.scheduling
    }
}

impl std::fmt::Debug for ThreadHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ThreadHandle({}, {:?})", self.name, self.scheduling)
    }
}

impl Spawn for RealSpawn {
    fn worker(
        &self,
        name: &'static str,
        priority: Priority,
        signal: Signal,
        mut worker: Box<dyn Worker>,
    ) -> Box<dyn WorkerHandle> {
        start_thread(name, priority, move || {
            loop {
                match worker.step() {
                    Next::Again => {}
                    Next::Wait => {
                        signal.wait(None);
                    }
                    Next::WaitFor(limit) => {
                        signal.wait(Some(limit));
                    }
                    Next::Done => break,
                }
            }
        })
    }

    fn reactor(&self, name: &'static str, start: ReactorStart) -> Box<dyn WorkerHandle> {
        start_thread(name, Priority::Normal, move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("the system gives no epoll or eventfd descriptor: raise its limits");
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move { start().await });
            // Tasks the root left behind end here, on their own thread.
            drop(local);
            runtime.shutdown_timeout(Duration::ZERO);
        })
    }

    fn reactors_suggested(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn wait(&self, signal: &Signal, limit: Option<Duration>) -> bool {
        signal.wait(limit)
    }
}

fn start_thread(
    name: &'static str,
    priority: Priority,
    body: impl FnOnce() + Send + 'static,
) -> Box<dyn WorkerHandle> {
    let (tell, told) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _ = tell.send(apply_priority(priority));
            if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
                tracing::error!(
                    thread = name,
                    reason = panic_reason(panic.as_ref()),
                    "a thread of the process panicked"
                );
                resume_unwind(panic);
            }
        })
        .expect("the system starts no more threads: raise its limits");
    let scheduling = told.recv().unwrap_or(Scheduling::AsIs);
    Box::new(ThreadHandle {
        name,
        scheduling,
        thread,
    })
}

fn panic_reason(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not said")
}

/// Nice value where a real-time class is refused.
const URGENT_NICE: i32 = -10;

fn apply_priority(priority: Priority) -> Scheduling {
    match priority {
        Priority::Urgent => {
            // The lowest real-time priority is above every normal thread, and below whatever
            // the operator runs in real time on purpose.
            if set_scheduler(libc::SCHED_RR, 1) {
                Scheduling::RealTime
            } else if rustix::process::setpriority_process(None, URGENT_NICE).is_ok() {
                Scheduling::Nice
            } else {
                Scheduling::AsIs
            }
        }
        Priority::Normal => Scheduling::AsIs,
        Priority::Idle => {
            if set_scheduler(libc::SCHED_IDLE, 0) {
                Scheduling::Idle
            } else {
                Scheduling::AsIs
            }
        }
    }
}

/// Sets class and priority of the calling thread; says whether the system agreed.
#[expect(
    unsafe_code,
    reason = "musl's sched_setscheduler is a stub, so the call is made raw"
)]
fn set_scheduler(policy: libc::c_int, priority: libc::c_int) -> bool {
    #[repr(C)]
    struct Parameter {
        priority: libc::c_int,
    }
    let parameter = Parameter { priority };
    // SAFETY: sched_setscheduler(0, policy, &param) reads one `int` behind the pointer and
    // changes the calling thread only.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            policy,
            std::ptr::from_ref(&parameter),
        )
    };
    outcome == 0
}
