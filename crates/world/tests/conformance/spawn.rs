//! What every way of running workers does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use world::{Next, Priority, Signal, Worker, WorkerHandle, World};

use crate::facts;

facts! {
    real: crate::real => [
        a_worker_steps_until_it_is_done, a_raised_signal_wakes_a_worker,
        a_signal_raised_early_is_not_lost, a_worker_wakes_by_itself_when_its_time_is_over,
        a_wait_ends_when_its_time_is_over, workers_of_every_priority_run,
        a_panic_comes_up_at_the_join, workers_feed_each_other,
    ];
    sim: crate::sim => [
        a_worker_steps_until_it_is_done, a_raised_signal_wakes_a_worker,
        a_signal_raised_early_is_not_lost, a_worker_wakes_by_itself_when_its_time_is_over,
        a_wait_ends_when_its_time_is_over, workers_of_every_priority_run,
        a_panic_comes_up_at_the_join, workers_feed_each_other,
    ];
}

struct Steps<F>(F);

impl<F: FnMut() -> Next + Send> Worker for Steps<F> {
    fn step(&mut self) -> Next {
        (self.0)()
    }
}

fn start(
    world: &World,
    signal: &Signal,
    step: impl FnMut() -> Next + Send + 'static,
) -> Box<dyn WorkerHandle> {
    world.spawn.worker(
        "test",
        Priority::Normal,
        signal.clone(),
        Box::new(Steps(step)),
    )
}

fn a_worker_steps_until_it_is_done(world: World) {
    let steps = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&steps);
    let handle = start(&world, &Signal::new(), move || {
        if counted.fetch_add(1, Ordering::SeqCst) < 9 {
            Next::Again
        } else {
            Next::Done
        }
    });
    handle.join();
    assert_eq!(steps.load(Ordering::SeqCst), 10);
}

fn a_raised_signal_wakes_a_worker(world: World) {
    let (asked, answered) = (Signal::new(), Signal::new());
    let answer = answered.clone();
    let mut started = false;
    let handle = start(&world, &asked, move || {
        if !std::mem::replace(&mut started, true) {
            return Next::Wait;
        }
        answer.raise();
        Next::Done
    });
    assert!(!handle.is_finished());
    asked.raise();
    asked.raise();
    // In the real world the worker may not have started: its first step then eats the signal.
    while !world.spawn.wait(&answered, Some(Duration::from_millis(10))) {
        asked.raise();
    }
    handle.join();
}

fn a_signal_raised_early_is_not_lost(world: World) {
    let signal = Signal::new();
    signal.raise();
    assert!(signal.is_raised());
    assert!(world.spawn.wait(&signal, None));
    assert!(!signal.is_raised());
    assert!(!signal.take());
}

fn a_worker_wakes_by_itself_when_its_time_is_over(world: World) {
    let mut rounds = 0;
    let clock = Arc::clone(&world.clock);
    let start_time = clock.now();
    let handle = start(&world, &Signal::new(), move || {
        rounds += 1;
        if rounds < 4 {
            Next::WaitFor(Duration::from_millis(2))
        } else {
            Next::Done
        }
    });
    handle.join();
    assert!(clock.now().since(start_time) >= Duration::from_millis(6));
}

fn a_wait_ends_when_its_time_is_over(world: World) {
    let before = world.clock.now();
    assert!(
        !world
            .spawn
            .wait(&Signal::new(), Some(Duration::from_millis(5)))
    );
    assert!(world.clock.now().since(before) >= Duration::from_millis(5));
}

fn workers_of_every_priority_run(world: World) {
    for priority in [Priority::Urgent, Priority::Normal, Priority::Idle] {
        let step = Steps(|| Next::Done);
        let handle = world
            .spawn
            .worker("test", priority, Signal::new(), Box::new(step));
        // Which one it got depends on the machine; that it says one does not.
        let _scheduling = handle.scheduling();
        handle.join();
    }
    assert!(world.spawn.reactors_suggested() >= 1);
}

fn a_panic_comes_up_at_the_join(world: World) {
    let handle = start(&world, &Signal::new(), || panic!("the worker fell"));
    let panic = catch_unwind(AssertUnwindSafe(|| handle.join())).expect_err("comes up");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the worker fell"));
}

fn workers_feed_each_other(world: World) {
    const ITEMS: usize = 200;
    let (made, eaten) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (more, less) = (Signal::new(), Signal::new());
    let (made_here, eaten_here, tell) = (Arc::clone(&made), Arc::clone(&eaten), more.clone());
    let producer = start(&world, &less, move || {
        let made = made_here.load(Ordering::SeqCst);
        if made == ITEMS {
            return Next::Done;
        }
        if made - eaten_here.load(Ordering::SeqCst) >= 4 {
            return Next::Wait;
        }
        made_here.store(made + 1, Ordering::SeqCst);
        tell.raise();
        Next::Again
    });
    let (made_here, eaten_here, tell) = (Arc::clone(&made), Arc::clone(&eaten), less.clone());
    let consumer = start(&world, &more, move || {
        let eaten = eaten_here.load(Ordering::SeqCst);
        if eaten == ITEMS {
            return Next::Done;
        }
        if made_here.load(Ordering::SeqCst) == eaten {
            return Next::Wait;
        }
        eaten_here.store(eaten + 1, Ordering::SeqCst);
        tell.raise();
        Next::Again
    });
    producer.join();
    consumer.join();
    assert_eq!(eaten.load(Ordering::SeqCst), ITEMS);
}

#[test]
fn a_real_reactor_runs_what_stays_on_its_thread() {
    let (world, _guard) = crate::real();
    let done = Signal::new();
    let told = done.clone();
    let handle = world.spawn.reactor(
        "test",
        Box::new(move || {
            Box::pin(async move {
                let stays = std::rc::Rc::new(7);
                let task = tokio::task::spawn_local(async move { *stays });
                tokio::time::sleep(Duration::from_millis(1)).await;
                assert_eq!(task.await.expect("task"), 7);
                told.raise();
            })
        }),
    );
    assert!(world.spawn.wait(&done, Some(Duration::from_secs(30))));
    handle.join();
}

#[test]
fn a_panic_of_a_real_reactor_comes_up_at_the_join() {
    let (world, _guard) = crate::real();
    let handle = world.spawn.reactor(
        "test",
        Box::new(|| Box::pin(async { panic!("the reactor fell") })),
    );
    let panic = catch_unwind(AssertUnwindSafe(|| handle.join())).expect_err("comes up");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"the reactor fell"));
}
