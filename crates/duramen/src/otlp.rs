//! Metrics pushed to a collector: OTLP over plain HTTP, when OpenTelemetry's variables ask for it.
//!
//! What is pushed is what `/metrics` shows, told anew at each interval. Counters are cumulative, so
//! a push that is lost costs a point in time and nothing else: it is given up rather than kept.
//!
//! Invariants:
//! - At most one push is under way, and only its bodies are in memory.
//! - A push ends within its time, by at most [`ATTEMPTS_MAX`] attempts for each body; a collector
//!   that asks to be left alone is left alone.
//! - Whatever the collector does, the broker serves: nothing here waits for it on another thread.
//! - The log is told when pushes begin to fail and when they succeed again, once each; never a
//!   header, a path or anything that the collector said.
//!
//! It must never know Kafka, nor what is told.

mod json;
mod message;
mod protobuf;
mod send;
mod settings;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use world::{Clock, Net, Random};

use crate::metrics::{Figures, Pushes};
use message::Times;
use send::Outcome;

pub use settings::{Settings, read};

/// Attempts for one body. With the pauses between them they take 15 s.
const ATTEMPTS_MAX: u32 = 5;
/// Pause after the first attempt; doubled after each.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// A collector is left alone no longer than this, whatever it asks for.
const LEFT_ALONE_MAX: Duration = Duration::from_secs(600);
/// The last push, at a stop, takes no longer.
const LAST_PUSH_MAX: Duration = Duration::from_secs(3);

/// Pushes that were delivered and that were given up.
#[derive(Debug, Default)]
pub struct Counts {
    delivered: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    /// Those of now.
    pub fn read(&self) -> Pushes {
        Pushes {
            delivered: self.delivered.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// How the last push went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unknown,
    Delivered,
    /// Delivered, but for some points.
    Rejected,
    Failed,
}

/// Pushes until it is told to stop.
pub struct Push {
    settings: Settings,
    counts: Arc<Counts>,
    state: State,
    started_ms: i64,
    /// Before, the collector wants no request.
    not_before: Option<Instant>,
    clock: Arc<dyn Clock>,
    net: Arc<dyn Net>,
    random: Arc<dyn Random>,
}

impl Push {
    /// Nothing is sent before [`Push::run`]; `instance` tells this broker from others.
    pub fn new(mut settings: Settings, instance: &str, world: &world::World) -> Push {
        settings::add_missing(&mut settings.resource, "service.instance.id", instance);
        Push {
            settings,
            counts: Arc::default(),
            state: State::Unknown,
            started_ms: world.clock.wall_ms(),
            not_before: None,
            clock: Arc::clone(&world.clock),
            net: Arc::clone(&world.net),
            random: Arc::clone(&world.random),
        }
    }

    /// What is counted of it.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Pushes what `look` sees at each interval, and at the end what `last` brings.
    pub async fn run(
        mut self,
        look: impl Fn() -> Option<Figures>,
        mut last: oneshot::Receiver<Figures>,
    ) {
        let address = &self.settings.address;
        let seconds = self.settings.interval.as_secs_f64();
        tracing::info!(%address, seconds, "metrics are pushed to a collector");
        let mut due = tokio::time::interval(self.settings.interval);
        due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first one is due at once, when there is nothing to say.
        due.reset();
        let last = loop {
            let step = async {
                due.tick().await;
                if self.not_before.is_some_and(|until| Instant::now() < until) {
                    return;
                }
                if let Some(figures) = look() {
                    self.push(&figures).await;
                }
            };
            if let Err(last) = unless(&mut last, step).await {
                break last;
            }
        };
        if let Some(figures) = last
            && timeout(LAST_PUSH_MAX, self.push(&figures)).await.is_err()
        {
            self.note(State::Failed, "no time was left at the stop");
        }
    }

    /// One push, whole or given up.
    async fn push(&mut self, figures: &Figures) {
        let nanoseconds = |ms: i64| u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000);
        let times = Times {
            start: nanoseconds(self.started_ms),
            now: nanoseconds(self.clock.wall_ms()),
        };
        let settings = &self.settings;
        let bodies = message::encode(figures, settings.form, &settings.resource, times);
        let deadline = Instant::now() + settings.push_time_max;
        let mut rejected = 0;
        for body in bodies {
            let body = send::packed(&self.settings, body);
            match self.deliver(body, deadline).await {
                Ok(count) => rejected += count,
                Err(why) => return self.note(State::Failed, &why),
            }
        }
        match rejected {
            0 => self.note(State::Delivered, ""),
            _ => self.note(State::Rejected, &format!("{rejected} points not taken")),
        }
    }

    /// One body, by as many attempts as there is time for. How many points were not taken, or why
    /// it was given up.
    async fn deliver(&mut self, body: Bytes, deadline: Instant) -> Result<u64, String> {
        let mut pause = PAUSE_FIRST;
        for attempt in 1.. {
            let left = deadline.saturating_duration_since(Instant::now());
            let limit = left.min(self.settings.attempt_time_max);
            let sent = send::post(self.net.as_ref(), &self.settings, body.clone());
            let outcome = timeout(limit, sent).await.unwrap_or(Outcome::Again {
                why: "no answer in time".to_owned(),
                after: None,
            });
            let (why, after) = match outcome {
                Outcome::Delivered { rejected } => return Ok(rejected),
                Outcome::Refused { why } => return Err(why),
                Outcome::Again { why, after } => (why, after),
            };
            // Many brokers that lost one collector must not come back at the same moment.
            let jitter = 0.5 + (self.random.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
            let wait =
                after.map_or_else(|| pause.mul_f64(jitter), |asked| asked.min(LEFT_ALONE_MAX));
            if attempt == ATTEMPTS_MAX || Instant::now() + wait >= deadline {
                self.not_before = after.map(|_| Instant::now() + wait);
                return Err(why);
            }
            sleep(wait).await;
            pause *= 2;
        }
        Err("given up".to_owned())
    }

    /// Takes down how a push went; tells the log what has changed.
    fn note(&mut self, state: State, why: &str) {
        let counter = match state {
            State::Failed => &self.counts.failed,
            _ => &self.counts.delivered,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let before = std::mem::replace(&mut self.state, state);
        let address = &self.settings.address;
        match (before, state) {
            (before, after) if before == after => {}
            (_, State::Failed) => tracing::warn!(
                %address,
                why,
                "metrics are not pushed: the collector does not take them; tried again at each \
                 interval"
            ),
            (_, State::Rejected) => {
                tracing::warn!(%address, why, "the collector takes only part of the metrics");
            }
            (State::Failed | State::Rejected, _) => {
                tracing::info!(%address, "metrics are pushed again");
            }
            _ => {}
        }
    }
}

/// Does the work unless `last` comes first: then what it brings, if it brings anything.
async fn unless<T>(
    last: &mut oneshot::Receiver<Figures>,
    work: impl Future<Output = T>,
) -> Result<T, Option<Figures>> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(figures) = Pin::new(&mut *last).poll(cx) {
            return Poll::Ready(Err(figures.ok()));
        }
        work.as_mut().poll(cx).map(Ok)
    })
    .await
}

#[cfg(test)]
mod tests;
