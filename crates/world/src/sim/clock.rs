//! Virtual time: it stands still until somebody moves it.
//!
//! Moved by hand ([`SimClock::advance`]) or by a tokio runtime with paused time, which jumps to
//! the next timer when nothing else can run. The wall clock runs beside it with an offset and a
//! drift of its own, because nodes disagree about the time.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::clock::{Clock, Instant};

/// Where simulated wall time starts, milliseconds since 1970: 2024-01-01T00:00:00Z.
pub const WALL_START_MS: i64 = 1_704_067_200_000;

/// A clock of one node. Clones are the same clock; [`SimClock::sibling`] is another node's.
#[derive(Clone, Debug)]
pub struct SimClock {
    time: Arc<Mutex<Time>>,
    wall: Arc<Mutex<Wall>>,
}

/// Monotonic time, shared by all nodes.
#[derive(Debug, Default)]
struct Time {
    /// Moved by hand, nanoseconds.
    moved: u64,
    /// The runtime whose time adds to it.
    followed: Option<tokio::time::Instant>,
    /// The latest reading: never less is told.
    latest: u64,
    timers: BTreeMap<(Instant, u64), Waker>,
    timer_next: u64,
}

/// One node's wall clock: right at `since`, and running off from there.
#[derive(Debug)]
struct Wall {
    since: Instant,
    ms: i64,
    drift_ppm: i64,
}

impl Time {
    fn now(&mut self) -> Instant {
        // Asked outside its runtime, a followed clock stands still.
        if let Some(start) = self.followed
            && tokio::runtime::Handle::try_current().is_ok()
        {
            let followed = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.latest = self.latest.max(self.moved.saturating_add(followed));
        } else {
            self.latest = self.latest.max(self.moved);
        }
        Instant(self.latest)
    }
}

impl SimClock {
    /// Monotonic zero, wall clock at [`WALL_START_MS`].
    pub fn new() -> SimClock {
        SimClock {
            time: Arc::default(),
            wall: Arc::new(Mutex::new(Wall {
                since: Instant::default(),
                ms: WALL_START_MS,
                drift_ppm: 0,
            })),
        }
    }

    /// Another node's clock: the same time, a wall clock of its own, right for now.
    pub fn sibling(&self) -> SimClock {
        let wall = Wall {
            since: self.now(),
            ms: self.wall_ms(),
            drift_ppm: 0,
        };
        SimClock {
            time: Arc::clone(&self.time),
            wall: Arc::new(Mutex::new(wall)),
        }
    }

    /// Moves time forward and wakes the timers that are due.
    pub fn advance(&self, duration: Duration) {
        let mut time = lock(&self.time);
        time.moved = Instant(time.moved).after(duration).0;
        // A followed clock's readings include the hand's moves; keep both in step.
        let now = time.now();
        let later = time
            .timers
            .split_off(&(now.after(Duration::from_nanos(1)), 0));
        let due = std::mem::replace(&mut time.timers, later);
        drop(time);
        for waker in due.into_values() {
            waker.wake();
        }
    }

    /// Moves time to `instant`, if that is in the future.
    pub fn advance_to(&self, instant: Instant) {
        self.advance(instant.since(self.now()));
    }

    /// Lets the current tokio runtime's time, paused for tests, drive this clock from now on.
    ///
    /// # Panics
    /// Outside a tokio runtime with timers.
    pub fn follow_tokio(&self) {
        let start = tokio::time::Instant::now();
        let mut time = lock(&self.time);
        let now = time.now();
        time.moved = now.0;
        time.followed = Some(start);
    }

    /// Sets the wall clock off by this much, in either direction.
    pub fn step_wall(&self, ms: i64) {
        lock(&self.wall).ms += ms;
    }

    /// Lets the wall clock run this much too fast (or slow), parts per million.
    pub fn set_drift(&self, ppm: i64) {
        let (now, ms) = (self.now(), self.wall_ms());
        *lock(&self.wall) = Wall {
            since: now,
            ms,
            drift_ppm: ppm,
        };
    }

    /// The earliest timer somebody waits for, for whoever moves time by hand.
    pub fn timer_earliest(&self) -> Option<Instant> {
        lock(&self.time)
            .timers
            .first_key_value()
            .map(|((deadline, _), _)| *deadline)
    }

    /// Ends when it is `deadline`.
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        Sleep {
            clock: self.clone(),
            deadline,
            timer: None,
            followed: None,
        }
    }
}

impl Default for SimClock {
    fn default() -> Self {
        SimClock::new()
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        lock(&self.time).now()
    }

    fn wall_ms(&self) -> i64 {
        let now = self.now();
        let wall = lock(&self.wall);
        let elapsed = i64::try_from(now.since(wall.since).as_millis()).unwrap_or(i64::MAX);
        let drifted = i128::from(elapsed) * i128::from(wall.drift_ppm) / 1_000_000;
        wall.ms
            .saturating_add(elapsed)
            .saturating_add(i64::try_from(drifted).unwrap_or(0))
    }
}

/// A wait for a point of virtual time.
pub struct Sleep {
    clock: SimClock,
    deadline: Instant,
    timer: Option<u64>,
    followed: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            let now = this.clock.now();
            if now >= this.deadline {
                this.forget();
                return Poll::Ready(());
            }
            let mut time = lock(&this.clock.time);
            if time.followed.is_some() {
                drop(time);
                let left = this.deadline.since(now);
                let sleep = this
                    .followed
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(left)));
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                // tokio rounds to milliseconds: look again, and sleep the rest if there is one.
                this.followed = None;
                continue;
            }
            let timer = match this.timer {
                Some(timer) => timer,
                None => {
                    time.timer_next += 1;
                    time.timer_next
                }
            };
            this.timer = Some(timer);
            time.timers
                .insert((this.deadline, timer), cx.waker().clone());
            return Poll::Pending;
        }
    }
}

impl Sleep {
    fn forget(&mut self) {
        if let Some(timer) = self.timer.take() {
            lock(&self.clock.time)
                .timers
                .remove(&(self.deadline, timer));
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_until_it_is_moved() {
        let clock = SimClock::new();
        assert_eq!((clock.now(), clock.wall_ms()), (Instant(0), WALL_START_MS));
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now(), Instant(1_500_000_000));
        assert_eq!(clock.wall_ms(), WALL_START_MS + 1500);
    }

    #[test]
    fn wall_clocks_of_two_nodes_drift_apart_and_monotonic_time_does_not() {
        let one = SimClock::new();
        one.advance(Duration::from_secs(10));
        let two = one.sibling();
        two.set_drift(100_000);
        two.step_wall(-500);
        two.advance(Duration::from_secs(10));
        assert_eq!(one.now(), two.now());
        assert_eq!(one.wall_ms(), WALL_START_MS + 20_000);
        assert_eq!(two.wall_ms(), WALL_START_MS + 20_000 + 1_000 - 500);
    }

    #[test]
    fn timers_fire_when_time_is_moved_past_them() {
        let clock = SimClock::new();
        let mut sleep = Box::pin(clock.sleep_until(Instant(50)));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        assert_eq!(clock.timer_earliest(), Some(Instant(50)));
        clock.advance(Duration::from_nanos(49));
        assert!(sleep.as_mut().poll(&mut cx).is_pending());
        clock.advance_to(Instant(50));
        assert!(sleep.as_mut().poll(&mut cx).is_ready());
        assert_eq!(clock.timer_earliest(), None);
    }
}
