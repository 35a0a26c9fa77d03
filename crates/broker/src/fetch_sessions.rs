//! Fetch sessions (KIP-227): what a reader asked for before, so that it names only what changed
//! and is told only what changed.
//!
//! Invariants:
//! - At most `slots` sessions and [`SESSION_PARTITIONS_MAX`] partitions are remembered. A newcomer
//!   takes the place of a session that nobody used for two minutes, or else of the smallest that
//!   is older than that and smaller than itself; otherwise it gets none, which is always legal.
//! - A session's epoch rises with each request that is taken; a request at another epoch changes
//!   nothing.
//! - The cache's lock is taken before a session's, never the other way round, and both are held
//!   without waiting for anything.
//!
//! It must never know logs or sockets: it remembers requests and what was answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wire::ErrorCode;
use wire::ids::{Offset, TopicId};
use wire::messages::{Text, text};
use world::{Instant, Random};

use crate::fetch::Wanted;

/// The session id of a fetch without session.
pub const NO_SESSION: i32 = 0;

/// The epoch that asks for everything, and for a session.
const EPOCH_FIRST: i32 = 0;

/// The epoch that asks for everything, and for no session.
const EPOCH_NONE: i32 = -1;

/// How long an unused session is safe, and how long a new one is. Kafka's two minutes.
const SAFE: Duration = Duration::from_secs(120);

/// Partitions that all sessions together remember, at about 200 bytes each. Beyond, no session is
/// opened, and one that would grow is closed: its reader names all it wants each time. Kafka has
/// no such bound.
pub const SESSION_PARTITIONS_MAX: usize = 1_000_000;

/// One partition as a request names it: by id with an empty name from version 13 on, else by name
/// with a zero id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The topic's name, or empty.
    pub topic: Text,
    /// The topic's id, or zero.
    pub id: TopicId,
    /// The partition.
    pub partition: i32,
}

/// What a request says about its session.
#[derive(Clone, Copy)]
pub struct Claim {
    /// The session's number; 0 is none.
    pub id: i32,
    /// 0 asks for a session, −1 for none, others go on with one.
    pub epoch: i32,
    /// Whether topics are named by id, which a session does not change.
    pub by_id: bool,
}

/// How a request is to be answered.
pub enum Manner {
    /// In full, without a session.
    Alone,
    /// In full, and a session is opened with the answer.
    Opening {
        /// Whether it names topics by id.
        by_id: bool,
    },
    /// With what changed since the session's last answer.
    Within {
        /// The session.
        session: Arc<Mutex<Session>>,
        /// The epoch that it has as long as no other request came in between.
        epoch: i32,
    },
}

/// What was told of a partition, as far as it decides whether to tell it again.
pub struct Told {
    /// Whether it has records, an error, or something else that is always told.
    pub news: bool,
    /// Whether records went out.
    pub served: bool,
    /// High watermark; −1 with an error, so that it is told again when the error is gone.
    pub high_watermark: Offset,
    /// Log start; −1 with an error.
    pub log_start: Offset,
}

/// The sessions of a node.
pub struct FetchSessions(Mutex<Cache>);

/// How many sessions there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Sessions that are remembered.
    pub sessions: u64,
    /// Partitions that they remember.
    pub partitions: u64,
    /// Sessions that can be.
    pub sessions_max: u64,
    /// Sessions that gave way to others, since the start.
    pub evictions: u64,
    /// Requests that named all they want, since the start.
    pub full: u64,
    /// Requests that named what changed, since the start.
    pub incremental: u64,
    /// Requests whose session is not there or is elsewhere, since the start.
    pub refused: u64,
}

struct Cache {
    slots: usize,
    partitions_max: usize,
    entries: HashMap<i32, Entry>,
    /// By the time of their last use.
    used: BTreeSet<(Instant, i32)>,
    /// Those that are old enough to give way to a larger one, by size.
    evictable: BTreeSet<(usize, i32)>,
    partitions: usize,
    evictions: u64,
    // Counted under the lock that each request takes anyway.
    full: u64,
    incremental: u64,
    refused: u64,
}

struct Entry {
    session: Arc<Mutex<Session>>,
    created: Instant,
    used: Instant,
    size: usize,
}

/// One session: the partitions in the order in which they are next served.
pub struct Session {
    id: i32,
    by_id: bool,
    epoch: i32,
    places: HashMap<Place, u64>,
    parts: BTreeMap<u64, Remembered>,
    next: u64,
}

struct Remembered {
    place: Place,
    wanted: Wanted,
    high_watermark: Offset,
    log_start: Offset,
}

impl FetchSessions {
    /// No session yet, and room for `slots`.
    pub fn new(slots: usize) -> FetchSessions {
        FetchSessions::bounded(slots, SESSION_PARTITIONS_MAX)
    }

    fn bounded(slots: usize, partitions_max: usize) -> FetchSessions {
        FetchSessions(Mutex::new(Cache {
            slots,
            partitions_max,
            entries: HashMap::new(),
            used: BTreeSet::new(),
            evictable: BTreeSet::new(),
            partitions: 0,
            evictions: 0,
            full: 0,
            incremental: 0,
            refused: 0,
        }))
    }

    /// Takes a request in: what it wants, what it does not want any more. The error is the whole
    /// answer.
    // rule F5
    pub fn take(
        &self,
        claim: Claim,
        wanted: impl Iterator<Item = (Place, Wanted)>,
        forgotten: impl Iterator<Item = Place>,
        now: Instant,
    ) -> Result<Manner, ErrorCode> {
        let mut cache = self.lock();
        if claim.epoch == EPOCH_FIRST || claim.epoch == EPOCH_NONE {
            cache.full += 1;
            cache.remove(claim.id);
            return Ok(if claim.epoch == EPOCH_NONE {
                Manner::Alone
            } else {
                Manner::Opening { by_id: claim.by_id }
            });
        }
        let taken = cache.go_on(claim, wanted, forgotten, now);
        match &taken {
            Ok(_) => cache.incremental += 1,
            Err(_) => cache.refused += 1,
        }
        taken
    }

    /// Opens a session over what was just answered in full; its number, or 0 if there is no room.
    pub fn open(
        &self,
        by_id: bool,
        answered: impl ExactSizeIterator<Item = (Place, Wanted, Told)>,
        now: Instant,
        random: &dyn Random,
    ) -> i32 {
        let mut cache = self.lock();
        let size = answered.len();
        if cache.entries.len() >= cache.slots && !cache.make_room(size, now) {
            return NO_SESSION;
        }
        if cache.partitions + size > cache.partitions_max {
            return NO_SESSION;
        }
        let id = loop {
            let id = (random.next_u64() >> 33) as i32;
            if id != NO_SESSION && !cache.entries.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            id,
            by_id,
            epoch: next_epoch(EPOCH_FIRST),
            places: HashMap::with_capacity(size),
            parts: BTreeMap::new(),
            next: 0,
        };
        for (place, wanted, told) in answered {
            session.want(place.clone(), wanted);
            session.note(&place, &told);
        }
        let size = session.parts.len();
        cache.entries.insert(
            id,
            Entry {
                session: Arc::new(Mutex::new(session)),
                created: now,
                used: now,
                size: 0,
            },
        );
        cache.touch(id, size, now);
        id
    }

    /// How many there are.
    pub fn counts(&self) -> SessionCounts {
        let cache = self.lock();
        SessionCounts {
            sessions: cache.entries.len() as u64,
            partitions: cache.partitions as u64,
            sessions_max: cache.slots as u64,
            evictions: cache.evictions,
            full: cache.full,
            incremental: cache.incremental,
            refused: cache.refused,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Manner {
    /// What is to be read, if a session knows it: all its partitions in order.
    pub fn remembered(&self) -> Option<Vec<(Place, Wanted)>> {
        let Manner::Within { session, .. } = self else {
            return None;
        };
        let session = lock(session);
        let parts = session.parts.values();
        Some(
            parts
                .map(|part| (part.place.clone(), part.wanted))
                .collect(),
        )
    }

    /// Takes down what is answered within a session: its number, and which partitions are told.
    /// The error, with that number, is for a request that came twice.
    pub fn settle<'a>(
        session: &Mutex<Session>,
        epoch: i32,
        answers: impl Iterator<Item = (&'a Place, Told)>,
    ) -> Result<(i32, Vec<bool>), (i32, ErrorCode)> {
        let mut session = lock(session);
        if session.epoch != epoch {
            return Err((session.id, ErrorCode::InvalidFetchSessionEpoch));
        }
        let kept = answers
            .map(|(place, told)| session.note(place, &told))
            .collect();
        Ok((session.id, kept))
    }

    /// The number an empty answer within this session carries, for a reader that is throttled.
    pub fn session_id(&self) -> i32 {
        match self {
            Manner::Alone | Manner::Opening { .. } => NO_SESSION,
            Manner::Within { session, .. } => lock(session).id,
        }
    }
}

impl Session {
    fn want(&mut self, place: Place, wanted: Wanted) {
        if let Some(at) = self.places.get(&place) {
            if let Some(part) = self.parts.get_mut(at) {
                part.wanted = wanted;
            }
            return;
        }
        // A copy: the name would keep the request it came with alive.
        let place = Place {
            topic: text(place.topic.as_str()),
            ..place
        };
        self.places.insert(place.clone(), self.next);
        self.parts.insert(
            self.next,
            Remembered {
                place,
                wanted,
                high_watermark: Offset::NONE,
                log_start: Offset::NONE,
            },
        );
        self.next += 1;
    }

    fn forget(&mut self, place: &Place) {
        if let Some(at) = self.places.remove(place) {
            self.parts.remove(&at);
        }
    }

    /// Takes down what a partition's answer is; whether it is told. One that was served goes to
    /// the end, so that the others come first next time.
    fn note(&mut self, place: &Place, told: &Told) -> bool {
        let Some(slot) = self.places.get_mut(place) else {
            return false;
        };
        let Some(part) = self.parts.get_mut(slot) else {
            return false;
        };
        let changed =
            part.high_watermark != told.high_watermark || part.log_start != told.log_start;
        part.high_watermark = told.high_watermark;
        part.log_start = told.log_start;
        if told.served
            && let Some(part) = self.parts.remove(slot)
        {
            *slot = self.next;
            self.parts.insert(self.next, part);
            self.next += 1;
        }
        told.news || changed
    }
}

impl Cache {
    /// Takes in a request that goes on with a session.
    fn go_on(
        &mut self,
        claim: Claim,
        wanted: impl Iterator<Item = (Place, Wanted)>,
        forgotten: impl Iterator<Item = Place>,
        now: Instant,
    ) -> Result<Manner, ErrorCode> {
        let Some(entry) = self.entries.get(&claim.id) else {
            return Err(ErrorCode::FetchSessionIdNotFound);
        };
        let session = entry.session.clone();
        let mut inside = lock(&session);
        if inside.epoch != claim.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if inside.by_id != claim.by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        for (place, wanted) in wanted {
            inside.want(place, wanted);
        }
        for place in forgotten {
            inside.forget(&place);
        }
        let size = inside.parts.len();
        let grown = self.partitions + size - entry_size(self, claim.id);
        if size == 0 || grown > self.partitions_max {
            drop(inside);
            self.remove(claim.id);
            return if size == 0 {
                Ok(Manner::Alone)
            } else {
                // Asked for everything, it gets an answer without a session.
                Err(ErrorCode::FetchSessionIdNotFound)
            };
        }
        inside.epoch = next_epoch(inside.epoch);
        let epoch = inside.epoch;
        drop(inside);
        self.touch(claim.id, size, now);
        Ok(Manner::Within { session, epoch })
    }

    /// Notes a use, and a new size.
    fn touch(&mut self, id: i32, size: usize, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        self.used.remove(&(entry.used, id));
        self.evictable.remove(&(entry.size, id));
        self.partitions = self.partitions - entry.size + size;
        entry.used = now;
        entry.size = size;
        self.used.insert((now, id));
        if now.since(entry.created) > SAFE {
            self.evictable.insert((size, id));
        }
    }

    fn remove(&mut self, id: i32) {
        if let Some(entry) = self.entries.remove(&id) {
            self.used.remove(&(entry.used, id));
            self.evictable.remove(&(entry.size, id));
            self.partitions -= entry.size;
        }
    }

    /// Ends a session that is worth less than one of `size` partitions; whether there was one.
    fn make_room(&mut self, size: usize, now: Instant) -> bool {
        let stale = self.used.first().copied();
        let smallest = self.evictable.first().copied();
        let victim = match (stale, smallest) {
            (Some((used, id)), _) if now.since(used) > SAFE => id,
            (_, Some((least, id))) if size > least => id,
            _ => return false,
        };
        self.remove(victim);
        self.evictions += 1;
        true
    }
}

fn entry_size(cache: &Cache, id: i32) -> usize {
    cache.entries.get(&id).map_or(0, |entry| entry.size)
}

fn lock(session: &Mutex<Session>) -> MutexGuard<'_, Session> {
    session.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The epoch after `epoch`: 1 follows the highest.
fn next_epoch(epoch: i32) -> i32 {
    epoch.checked_add(1).unwrap_or(1)
}

#[cfg(test)]
mod tests;
