//! The write-back trickle: what segments got since the last checkpoint goes to the disk a little at a
//! time, so that a checkpoint's sync finds almost nothing to do, and in the pauses of the log, so
//! that its next group finds the disk free (docs/design/0020).
//!
//! Every file that was written to and not synced since is known here; a checkpoint takes them all.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use world::{Instant, Next, Worker};

use crate::ids::PartitionId;
use crate::lock;
use crate::store::Shared;

/// A tail shorter than this is left alone until it is a second old.
const RIPE_BYTES: u64 = 64 << 10;
const RIPE_AGE: Duration = Duration::from_secs(1);
/// Bytes in the disk's queue at a time: what a group of the log may find before it.
const PIECE_BYTES: u64 = 128 << 10;
/// With so much ripe, the log leaves no pauses: pieces follow each other, and are larger.
const BEHIND_BYTES: u64 = 8 << 20;
const PIECE_BYTES_BEHIND: u64 = 1 << 20;
const PAGE: u64 = 4096;

/// A range of a segment written since the last sync.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    pub from: u64,
    pub to: u64,
}

/// A segment: its partition and base offset.
type Key = (PartitionId, i64);

/// A segment with bytes that no checkpoint has synced yet.
#[derive(Clone, Copy, Debug)]
struct Unsynced {
    /// Where the trickle goes on.
    from: u64,
    to: u64,
    /// When the trickle last went over it.
    since: Instant,
    is_ripe: bool,
}

impl Unsynced {
    /// Whole pages only: a page under write-back blocks the append that shares it.
    fn pages(&self) -> u64 {
        (self.to / PAGE * PAGE).saturating_sub(self.from / PAGE * PAGE)
    }
}

/// Segments not synced yet, and those of them that are worth a write.
#[derive(Debug, Default)]
pub(crate) struct UnsyncedFiles {
    files: BTreeMap<Key, Unsynced>,
    ripe: VecDeque<Key>,
    /// Pages of the ripe ones.
    ripe_bytes: u64,
    /// When tails were last looked at for their age.
    looked: Instant,
}

/// A part of a segment that is to be written back.
struct Piece {
    key: Key,
    from: u64,
    length: u64,
}

impl UnsyncedFiles {
    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.files.keys()
    }

    fn note(&mut self, key: Key, written: Written) {
        let file = self.files.entry(key).or_insert(Unsynced {
            from: written.from,
            to: written.to,
            since: Instant(0),
            is_ripe: false,
        });
        let before = file.pages();
        file.from = file.from.min(written.from);
        file.to = file.to.max(written.to);
        let pages = file.pages();
        if file.is_ripe {
            self.ripe_bytes += pages - before;
        } else if pages >= RIPE_BYTES {
            file.is_ripe = true;
            self.ripe.push_back(key);
            self.ripe_bytes += pages;
        }
    }

    fn forget(&mut self, key: Key) {
        if let Some(file) = self.files.remove(&key)
            && file.is_ripe
        {
            self.ripe_bytes -= file.pages();
            self.ripe.retain(|ripe| *ripe != key);
        }
    }

    /// Tails that are short, but a second old, are ripe as well.
    fn look_at_ages(&mut self, now: Instant) {
        if now.since(self.looked) < RIPE_AGE {
            return;
        }
        self.looked = now;
        for (key, file) in &mut self.files {
            let pages = file.pages();
            if !file.is_ripe && pages > 0 && now.since(file.since) >= RIPE_AGE {
                file.is_ripe = true;
                self.ripe.push_back(*key);
                self.ripe_bytes += pages;
            }
        }
    }

    /// What goes next: up to so many bytes, of the files that have been ripe for longest.
    fn take(&mut self, bytes: u64, now: Instant) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut room = bytes;
        while room > 0
            && let Some(key) = self.ripe.front().copied()
        {
            let Some(file) = self.files.get_mut(&key) else {
                self.ripe.pop_front();
                continue;
            };
            let (from, length) = (file.from / PAGE * PAGE, file.pages().min(room));
            self.ripe_bytes -= file.pages();
            file.from = from + length;
            file.since = now;
            let rest = file.pages();
            if rest >= RIPE_BYTES {
                self.ripe_bytes += rest;
            } else {
                file.is_ripe = false;
                self.ripe.pop_front();
            }
            room -= length;
            pieces.push(Piece { key, from, length });
        }
        pieces
    }
}

impl Shared {
    /// A segment got bytes.
    pub fn note_written(&self, id: PartitionId, base: i64, written: Written) {
        let mut unsynced = lock(&self.unsynced);
        let is_first = unsynced.files.is_empty();
        unsynced.note((id, base), written);
        drop(unsynced);
        if is_first {
            self.trickle_signal.raise();
        }
    }

    /// A segment's file is gone.
    pub fn forget_written(&self, id: PartitionId, base: i64) {
        lock(&self.unsynced).forget((id, base));
    }

    /// The log has nothing to write: the disk is free for a piece.
    pub fn trickle_in_a_pause(&self) {
        if !lock(&self.unsynced).ripe.is_empty() {
            self.trickle_signal.raise();
        }
    }

    /// Writes a piece back and waits for it: the log's next group must not find more in the disk's
    /// queue.
    fn trickle(&self) {
        let now = self.world.clock.now();
        let mut unsynced = lock(&self.unsynced);
        unsynced.look_at_ages(now);
        let bytes = if unsynced.ripe_bytes >= BEHIND_BYTES {
            PIECE_BYTES_BEHIND
        } else {
            PIECE_BYTES
        };
        let pieces = unsynced.take(bytes, now);
        drop(unsynced);
        let mut started = Vec::new();
        let trickling = lock(&self.trickling);
        for Piece { key, from, length } in pieces {
            // Only files that are open: the trickle must not cost descriptors.
            if let Some(file) = self.descriptors.cached_any((key.0.0, key.1)) {
                // An error of the start is one of the end.
                drop(file.start_writeback(from, length));
                started.push((key.0, file, from, length));
            }
        }
        for (id, file, from, length) in started {
            if let Err(error) = file.await_writeback(from, length) {
                tracing::error!(%error, "segment write-back failed: rebuilding from the log");
                self.distrust(std::iter::once(id));
                self.request_checkpoint();
            }
        }
        drop(trickling);
    }
}

/// The trickle's loop.
pub(crate) struct TrickleLoop(pub Arc<Shared>);

impl Worker for TrickleLoop {
    fn step(&mut self) -> Next {
        if self.0.is_closing() {
            return Next::Done;
        }
        self.0.trickle();
        let unsynced = lock(&self.0.unsynced);
        if unsynced.files.is_empty() {
            return Next::Wait;
        }
        if unsynced.ripe_bytes >= BEHIND_BYTES {
            return Next::Again;
        }
        Next::WaitFor(self.0.config.trickle_interval)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Key = (PartitionId(1), 0);
    const B: Key = (PartitionId(2), 0);

    fn written(from: u64, to: u64) -> Written {
        Written { from, to }
    }

    fn taken(files: &mut UnsyncedFiles, bytes: u64) -> Vec<(Key, u64, u64)> {
        let pieces = files.take(bytes, Instant(0));
        let pieces = pieces.into_iter();
        pieces.map(|one| (one.key, one.from, one.length)).collect()
    }

    /// What the ripe ones hold, counted anew.
    fn counted(files: &UnsyncedFiles) -> u64 {
        let ripe = files.files.values().filter(|file| file.is_ripe);
        ripe.map(Unsynced::pages).sum()
    }

    #[test]
    fn a_file_is_ripe_with_enough_whole_pages_and_goes_in_pieces() {
        let mut files = UnsyncedFiles::default();
        files.note(A, written(100, RIPE_BYTES - 1));
        assert_eq!(taken(&mut files, PIECE_BYTES), []);
        files.note(A, written(RIPE_BYTES - 1, 3 * RIPE_BYTES + 10));
        files.note(B, written(0, RIPE_BYTES));
        assert_eq!(files.ripe_bytes, 4 * RIPE_BYTES);
        assert_eq!(
            taken(&mut files, 2 * RIPE_BYTES),
            [(A, 0, 2 * RIPE_BYTES)],
            "the oldest first"
        );
        assert_eq!(
            taken(&mut files, 2 * RIPE_BYTES),
            [(A, 2 * RIPE_BYTES, RIPE_BYTES), (B, 0, RIPE_BYTES)],
            "what is left of one, then the next"
        );
        assert_eq!(
            (taken(&mut files, PIECE_BYTES), files.ripe_bytes),
            (vec![], 0)
        );
    }

    #[test]
    fn a_short_tail_goes_when_it_is_a_second_old() {
        let mut files = UnsyncedFiles::default();
        files.note(A, written(0, 5000));
        files.look_at_ages(Instant(0).after(RIPE_AGE));
        assert_eq!(taken(&mut files, PIECE_BYTES), [(A, 0, PAGE)]);
        files.note(A, written(5000, 5001));
        files.look_at_ages(Instant(0).after(RIPE_AGE * 2));
        assert_eq!(taken(&mut files, PIECE_BYTES), [], "no whole page is new");
    }

    #[test]
    fn the_sum_is_that_of_the_ripe_files_whatever_happens_to_them() {
        let mut files = UnsyncedFiles::default();
        let mut random = 7_u64;
        let mut ends = [0_u64; 4];
        for step in 0..10_000_u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let which = (random >> 60) as usize % 4;
            let key = (PartitionId(which as u64), 0);
            match random >> 40 & 15 {
                0 => files.forget(key),
                1 => files.look_at_ages(Instant(step * 100_000_000)),
                2..=5 => drop(files.take((random >> 20) % PIECE_BYTES_BEHIND, Instant(0))),
                // A cut: earlier bytes are written anew.
                6 => {
                    ends[which] /= 2;
                    files.note(key, written(ends[which], ends[which]));
                }
                _ => {
                    let to = ends[which] + (random >> 20) % 50_000;
                    files.note(key, written(ends[which], to));
                    ends[which] = to;
                }
            }
            assert_eq!(files.ripe_bytes, counted(&files), "step {step}");
            assert_eq!(
                files.ripe.len(),
                files.files.values().filter(|file| file.is_ripe).count()
            );
        }
    }
}
