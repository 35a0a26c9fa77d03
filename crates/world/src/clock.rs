//! The clock seam: monotonic time for deadlines, wall time for stamps.
//!
//! Wall time may step in either direction; monotonic time never does.

use std::time::Duration;

/// A point of monotonic time: nanoseconds since an arbitrary start of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The instant `duration` later, saturating.
    pub fn after(self, duration: Duration) -> Instant {
        Instant(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Time from `earlier` to `self`, zero if `earlier` is later.
    pub fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Tells the time. Implementations are cheap enough to ask once per request.
pub trait Clock: Send + Sync + 'static {
    /// Monotonic now.
    fn now(&self) -> Instant;
    /// Wall clock, milliseconds since the Unix epoch: Kafka's timestamp unit.
    fn wall_ms(&self) -> i64;
}
