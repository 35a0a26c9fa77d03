//! The system's clocks.

#![expect(
    clippy::disallowed_methods,
    reason = "this is what world::Clock stands for"
)]

use std::time::{SystemTime, UNIX_EPOCH};

use crate::clock::{Clock, Instant};

/// Monotonic time since its creation, and the system's wall clock.
#[derive(Debug)]
pub struct RealClock {
    start: std::time::Instant,
}

impl RealClock {
    /// Monotonic time starts now.
    pub fn new() -> RealClock {
        RealClock {
            start: std::time::Instant::now(),
        }
    }
}

impl Default for RealClock {
    fn default() -> Self {
        RealClock::new()
    }
}

impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::default().after(self.start.elapsed())
    }

    fn wall_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            // A clock set before 1970 is a negative stamp, as in Kafka.
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }
}
