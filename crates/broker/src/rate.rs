//! How fast something goes: Kafka's two measures. They are given the time.
//!
//! A [`Rate`] is a sum over sliding windows. It holds bytes, time and connections to a quota; what
//! came too fast is paid for by waiting. A [`Bucket`] refills steadily. It lets bursts through,
//! which suits what is done seldom and at once: creating and deleting topics.

use std::collections::VecDeque;
use std::time::Duration;

use world::Instant;

/// Over which time a rate is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// How many windows, the current one included.
    pub count: u32,
    /// How long each is.
    pub length: Duration,
}

impl Windows {
    /// The whole time.
    pub fn span(self) -> Duration {
        self.length.saturating_mul(self.count)
    }

    /// The time of the windows that have ended: what a full burst is measured over.
    pub fn span_ended(self) -> Duration {
        self.length.saturating_mul(self.count.saturating_sub(1))
    }
}

/// A sum over sliding windows.
///
/// At most `count` + 1 windows are held: one may overlap the begin of the time measured.
#[derive(Debug)]
pub struct Rate {
    windows: Windows,
    /// In order of time.
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    began: Instant,
    last: Instant,
    sum: f64,
}

impl Rate {
    /// Nothing has been recorded.
    pub fn new(windows: Windows) -> Rate {
        Rate {
            windows,
            samples: VecDeque::new(),
        }
    }

    /// Records that so much went; a negative value takes back what was recorded at the same time.
    pub fn record(&mut self, now: Instant, value: f64) {
        self.forget(now);
        let current = self.samples.back_mut();
        match current.filter(|sample| now.since(sample.began) < self.windows.length) {
            Some(sample) => {
                sample.sum += value;
                sample.last = now;
            }
            None => {
                if self.samples.len() > self.windows.count as usize {
                    self.samples.pop_front();
                }
                self.samples.push_back(Sample {
                    began: now,
                    last: now,
                    sum: value,
                });
            }
        }
    }

    /// What was recorded within the windows.
    pub fn sum(&mut self, now: Instant) -> f64 {
        self.forget(now);
        self.samples.iter().map(|sample| sample.sum).sum()
    }

    /// How long nothing more may go until the rate is down to `limit` a second.
    pub fn excess(&mut self, now: Instant, limit: f64) -> Duration {
        let sum = self.sum(now);
        let measured = self.measured(now).as_secs_f64();
        let rate = sum / measured;
        if rate <= limit {
            return Duration::ZERO;
        }
        // Over W seconds the rate was O; after X more it is O·W/(W+X) = T, so X = (O−T)/T·W.
        let seconds = (rate - limit) / limit * measured;
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The time the sum is divided by. A beginning counts as if the windows before it had been
    /// silent; else the first bytes of a client would look like a flood.
    fn measured(&self, now: Instant) -> Duration {
        let began = self.samples.front().map_or(now, |sample| sample.began);
        let elapsed = now.since(began);
        let length = self.windows.length.max(Duration::from_millis(1));
        let full = elapsed.as_nanos() / length.as_nanos();
        let wanted = u128::from(self.windows.count.saturating_sub(1));
        let missing = u32::try_from(wanted.saturating_sub(full)).unwrap_or(0);
        (elapsed + length * missing).max(Duration::from_millis(1))
    }

    fn forget(&mut self, now: Instant) {
        let span = self.windows.span();
        while self
            .samples
            .front()
            .is_some_and(|sample| now.since(sample.last) >= span)
        {
            self.samples.pop_front();
        }
    }
}

/// A bucket of permits that refills at the quota's rate, up to what all windows together allow.
#[derive(Debug)]
pub struct Bucket {
    windows: Windows,
    permits: f64,
    limit: f64,
    /// When it was last refilled; a new one is full.
    filled: Option<Instant>,
}

impl Bucket {
    /// A full bucket.
    pub fn new(windows: Windows) -> Bucket {
        Bucket {
            windows,
            permits: 0.0,
            limit: 0.0,
            filled: None,
        }
    }

    /// Takes permits out, even if there are not so many.
    pub fn take(&mut self, now: Instant, limit: f64, permits: f64) {
        self.fill(now, limit);
        self.permits -= permits;
    }

    /// How long it takes until nothing is owed.
    pub fn debt(&mut self, now: Instant, limit: f64) -> Duration {
        self.fill(now, limit);
        if self.permits >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.permits / limit).unwrap_or(Duration::MAX)
    }

    /// Whether it is as full as a new one.
    pub fn is_full(&mut self, now: Instant) -> bool {
        if self.filled.is_none() {
            return true;
        }
        let limit = self.limit;
        self.fill(now, limit);
        self.permits >= self.most()
    }

    fn fill(&mut self, now: Instant, limit: f64) {
        self.limit = limit;
        let most = self.most();
        self.permits = match self.filled {
            None => most,
            Some(filled) => (self.permits + limit * now.since(filled).as_secs_f64()).min(most),
        };
        self.filled = Some(now);
    }

    fn most(&self) -> f64 {
        self.windows.span().as_secs_f64() * self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOWS: Windows = Windows {
        count: 11,
        length: Duration::from_secs(1),
    };

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn what_comes_at_once_is_measured_over_ten_windows() {
        // rule S7
        let mut rate = Rate::new(WINDOWS);
        rate.record(at(0), 1_000.0);
        assert_eq!(rate.excess(at(0), 100.0), Duration::ZERO);
        rate.record(at(0), 500.0);
        // 150 a second over 10 seconds: after 5 more it is 100.
        assert_eq!(rate.excess(at(0), 100.0), ms(5_000));
        assert_eq!(rate.excess(at(0), 150.0), Duration::ZERO);
    }

    #[test]
    fn waiting_brings_a_rate_down_and_old_windows_are_forgotten() {
        // rule S7
        let mut rate = Rate::new(WINDOWS);
        rate.record(at(0), 1_500.0);
        assert_eq!(rate.excess(at(500), 100.0), ms(4_500));
        assert_eq!(rate.excess(at(10_500), 100.0), ms(4_500));
        assert_eq!(rate.excess(at(11_000), 100.0), Duration::ZERO);
        assert_eq!(rate.sum(at(11_000)), 0.0);
    }

    #[test]
    fn a_steady_stream_below_its_limit_is_never_held_back() {
        let mut rate = Rate::new(WINDOWS);
        for step in 0..1_000 {
            let now = at(step * 100);
            rate.record(now, 9.9);
            assert_eq!(rate.excess(now, 100.0), Duration::ZERO, "step {step}");
            assert!(rate.samples.len() <= 12);
        }
        let now = at(1_000 * 100);
        rate.record(now, 500.0);
        assert!(!rate.excess(now, 100.0).is_zero());
    }

    #[test]
    fn what_is_taken_back_was_never_there() {
        let mut rate = Rate::new(WINDOWS);
        rate.record(at(0), 5_000.0);
        rate.record(at(0), -5_000.0);
        assert_eq!(rate.sum(at(0)), 0.0);
        assert_eq!(rate.excess(at(0), 1.0), Duration::ZERO);
    }

    #[test]
    fn limits_next_to_nothing_give_long_waits_and_no_panic() {
        let mut rate = Rate::new(WINDOWS);
        rate.record(at(0), 1e18);
        assert!(rate.excess(at(0), f64::MIN_POSITIVE) > Duration::from_secs(1_000));
        let mut bucket = Bucket::new(WINDOWS);
        bucket.take(at(0), f64::MIN_POSITIVE, 1e18);
        assert!(bucket.debt(at(0), f64::MIN_POSITIVE) > Duration::from_secs(1_000));
    }

    #[test]
    fn a_bucket_lets_a_burst_through_and_refills() {
        // rule S7
        let mut bucket = Bucket::new(WINDOWS);
        bucket.take(at(0), 2.0, 22.0);
        assert_eq!(bucket.debt(at(0), 2.0), Duration::ZERO, "all of a full one");
        bucket.take(at(0), 2.0, 5.0);
        assert_eq!(bucket.debt(at(0), 2.0), ms(2_500));
        assert_eq!(bucket.debt(at(1_000), 2.0), ms(1_500));
        assert_eq!(bucket.debt(at(2_500), 2.0), Duration::ZERO);
        assert!(!bucket.is_full(at(2_500)));
        assert!(bucket.is_full(at(13_500)));
        assert!(bucket.is_full(at(1_000_000)), "and no fuller");
    }
}
