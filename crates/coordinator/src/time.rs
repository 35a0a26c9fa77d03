//! Time as an argument: deadlines in monotonic time, stamps in wall time. Nothing here asks a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A point of monotonic time: nanoseconds since an arbitrary start, as `world`'s clock counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// The instant `ms` milliseconds later, saturating; a negative span counts as none.
    pub fn after_ms(self, ms: i64) -> Instant {
        let span = u64::try_from(ms).unwrap_or(0).saturating_mul(1_000_000);
        Instant(self.0.saturating_add(span))
    }
}

/// Both clocks, read once per call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For deadlines; never steps back.
    pub monotonic: Instant,
    /// For stamps and offset expiry: milliseconds since the Unix epoch; may step.
    pub wall_ms: i64,
}

/// What a deadline is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Alarm {
    /// The join phase of a group ends.
    Join(Arc<str>),
    /// Members of a group that have not sent SyncGroup are given up.
    Sync(Arc<str>),
    /// A member, joined or pending, has been silent for too long: group, member.
    Session(Arc<str>, Arc<str>),
    /// A member of a consumer group should have given partitions up: group, member.
    Revocation(Arc<str>, Arc<str>),
    /// A classic member of a consumer group should have joined again: group, member.
    Rejoin(Arc<str>, Arc<str>),
    /// A classic member of a consumer group should have asked for its assignment: group, member.
    Resync(Arc<str>, Arc<str>),
    /// The patterns of a consumer group want looking at.
    Patterns(Arc<str>),
    /// Expired offsets and abandoned groups are looked for.
    Cleanup,
}

/// Deadlines by name, at most one each; setting one again moves it.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    by_time: BTreeSet<(Instant, Alarm)>,
    by_name: BTreeMap<Alarm, Instant>,
}

impl Alarms {
    pub(crate) fn set(&mut self, alarm: Alarm, at: Instant) {
        self.cancel(&alarm);
        self.by_time.insert((at, alarm.clone()));
        self.by_name.insert(alarm, at);
    }

    pub(crate) fn cancel(&mut self, alarm: &Alarm) {
        if let Some((alarm, at)) = self.by_name.remove_entry(alarm) {
            self.by_time.remove(&(at, alarm));
        }
    }

    pub(crate) fn is_set(&self, alarm: &Alarm) -> bool {
        self.by_name.contains_key(alarm)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Removes and returns the earliest alarm that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Alarm> {
        if self.next()? > now {
            return None;
        }
        let (_, alarm) = self.by_time.pop_first()?;
        self.by_name.remove(&alarm);
        Some(alarm)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_time.len()
    }
}
