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

/// When an alarm is due, and where it lies in the queue: no later than that.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    due: Instant,
    queued: Instant,
}

/// Deadlines by name, at most one each; setting one again moves it. One that moves to later, as each
/// heartbeat's does, stays in the queue where it is and is moved when its turn comes.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    queue: BTreeSet<(Instant, Alarm)>,
    by_name: BTreeMap<Alarm, Deadline>,
}

impl Alarms {
    pub(crate) fn set(&mut self, alarm: Alarm, at: Instant) {
        if let Some(deadline) = self.by_name.get_mut(&alarm)
            && deadline.queued <= at
        {
            deadline.due = at;
            return;
        }
        self.cancel(&alarm);
        self.queue.insert((at, alarm.clone()));
        let deadline = Deadline {
            due: at,
            queued: at,
        };
        self.by_name.insert(alarm, deadline);
    }

    pub(crate) fn cancel(&mut self, alarm: &Alarm) {
        if let Some((alarm, deadline)) = self.by_name.remove_entry(alarm) {
            self.queue.remove(&(deadline.queued, alarm));
        }
    }

    pub(crate) fn is_set(&self, alarm: &Alarm) -> bool {
        self.by_name.contains_key(alarm)
    }

    /// When to look again: the earliest deadline or earlier.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Removes and returns the earliest alarm that is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Alarm> {
        while self.next()? <= now {
            let (queued, alarm) = self.queue.pop_first()?;
            let deadline = self.by_name.get_mut(&alarm)?;
            if deadline.due > queued {
                deadline.queued = deadline.due;
                self.queue.insert((deadline.due, alarm));
                continue;
            }
            self.by_name.remove(&alarm);
            return Some(alarm);
        }
        None
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(member: &str) -> Alarm {
        Alarm::Session("group".into(), member.into())
    }

    fn due(alarms: &mut Alarms, at: u64) -> Vec<Alarm> {
        std::iter::from_fn(|| alarms.pop_due(Instant(at))).collect()
    }

    #[test]
    fn alarms_come_in_the_order_of_their_deadlines_however_they_were_moved() {
        let mut alarms = Alarms::default();
        alarms.set(session("a"), Instant(10));
        alarms.set(session("b"), Instant(40));
        alarms.set(session("a"), Instant(50));
        alarms.set(session("c"), Instant(90));
        alarms.set(session("c"), Instant(45));
        assert_eq!(due(&mut alarms, 39), []);
        assert_eq!(alarms.len(), 3);
        let all = [session("b"), session("c"), session("a")];
        assert_eq!(due(&mut alarms, 60), all);
        assert_eq!((alarms.len(), alarms.next()), (0, None));
    }

    #[test]
    fn one_that_was_moved_and_is_cancelled_does_not_come() {
        let mut alarms = Alarms::default();
        alarms.set(session("a"), Instant(10));
        alarms.set(session("a"), Instant(20));
        alarms.cancel(&session("a"));
        assert_eq!((due(&mut alarms, 30), alarms.len()), (vec![], 0));
    }
}
