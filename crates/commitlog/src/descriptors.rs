//! Open segment files, as many as the process may hold: a cache with second chance.
//!
//! A segment may be in another file than before: rebuilt from the log, or compacted. The cache keeps
//! one file a segment and answers only for the revision that is asked for.
//!
//! Whoever uses a file holds an `Arc` of it, so dropping it here closes nothing that is in use. A
//! reopening costs about 2 us (storage.md section 9), a descriptor too many costs the process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use world::File;
use world::disk::DiskResult;

use crate::lock;

/// Names a segment: the partition's internal id and the segment's base offset.
pub(crate) type SegmentId = (u64, i64);

struct Entry {
    id: SegmentId,
    revision: u32,
    file: Arc<dyn File>,
    used: bool,
}

#[derive(Default)]
struct Cache {
    places: HashMap<SegmentId, usize>,
    entries: Vec<Entry>,
    hand: usize,
}

/// The cache.
pub(crate) struct Descriptors {
    cache: Mutex<Cache>,
    limit: usize,
}

impl Descriptors {
    /// Holds up to `limit` files open.
    pub fn new(limit: usize) -> Descriptors {
        Descriptors {
            cache: Mutex::default(),
            limit: limit.max(1),
        }
    }

    /// The open file, or the one that `open` opens now. `open` runs without the cache's lock.
    pub fn file(
        &self,
        id: SegmentId,
        revision: u32,
        open: impl FnOnce() -> DiskResult<Arc<dyn File>>,
    ) -> DiskResult<Arc<dyn File>> {
        if let Some(file) = self.cached(id, revision) {
            return Ok(file);
        }
        let file = open()?;
        self.insert(id, revision, Arc::clone(&file));
        Ok(file)
    }

    /// The file, if it is open.
    pub fn cached(&self, id: SegmentId, revision: u32) -> Option<Arc<dyn File>> {
        let mut cache = lock(&self.cache);
        let place = *cache.places.get(&id)?;
        let entry = &mut cache.entries[place];
        if entry.revision != revision {
            return None;
        }
        entry.used = true;
        Some(Arc::clone(&entry.file))
    }

    /// The segment's file that is open, whichever it is.
    pub fn cached_any(&self, id: SegmentId) -> Option<Arc<dyn File>> {
        let cache = lock(&self.cache);
        let place = *cache.places.get(&id)?;
        Some(Arc::clone(&cache.entries[place].file))
    }

    /// Remembers an open file, in place of another if there are too many.
    pub fn insert(&self, id: SegmentId, revision: u32, file: Arc<dyn File>) {
        let mut cache = lock(&self.cache);
        let fresh = Entry {
            id,
            revision,
            file,
            used: true,
        };
        if let Some(place) = cache.places.get(&id).copied() {
            cache.entries[place] = fresh;
            return;
        }
        if cache.entries.len() < self.limit {
            let place = cache.entries.len();
            cache.places.insert(id, place);
            cache.entries.push(fresh);
            return;
        }
        let place = cache.victim();
        let old = std::mem::replace(&mut cache.entries[place], fresh);
        cache.places.remove(&old.id);
        cache.places.insert(id, place);
    }

    /// Forgets a file, because its name is gone or means another file now.
    pub fn forget(&self, id: SegmentId, revision: u32) -> Option<Arc<dyn File>> {
        let mut cache = lock(&self.cache);
        let known = *cache.places.get(&id)?;
        if cache.entries[known].revision != revision {
            return None;
        }
        let place = cache.places.remove(&id)?;
        let removed = cache.entries.swap_remove(place);
        if let Some(moved) = cache.entries.get(place).map(|entry| entry.id) {
            cache.places.insert(moved, place);
        }
        Some(removed.file)
    }

    /// How many files are held.
    pub fn open(&self) -> usize {
        lock(&self.cache).entries.len()
    }
}

impl Cache {
    fn victim(&mut self) -> usize {
        loop {
            self.hand = (self.hand + 1) % self.entries.len();
            let entry = &mut self.entries[self.hand];
            if !std::mem::take(&mut entry.used) {
                return self.hand;
            }
        }
    }
}
