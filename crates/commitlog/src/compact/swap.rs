//! New files for old ones: one manifest record, then the partition's state, then the old names go.
//!
//! Runs where checkpoints run, alone, so that a partition's state and the manifest change together:
//! a crash before the record is durable finds the old segments, a crash behind it the new ones.
//! Either way the other files are nobody's, and recovery removes them.
//!
//! The partition is locked twice for microseconds, not over the write between: reads go on, a
//! truncation waits ([`State::swapping`]), a trim or deletion meanwhile is caught up with.
//!
//! [`State::swapping`]: crate::partition::State::swapping

use std::sync::Arc;

use world::disk::DiskError;

use crate::errors::LogError;
use crate::manifest::{Change, SegmentRecord};
use crate::meta::Meta;
use crate::partition::{Mark, Partition, State};
use crate::segment::{SealedSegment, segment_path};
use crate::store::Shared;
use crate::{lock, read_lock};

/// Files that are ready to take the place of others.
pub(crate) struct Swap {
    pub partition: Arc<Partition>,
    pub incarnation: u32,
    /// What is to go: neighbours.
    pub old: Vec<SegmentRecord>,
    /// What comes: the same offsets.
    pub new: Vec<SegmentRecord>,
}

impl Shared {
    /// Does what a pass asked for, if one did; says whether.
    pub fn swap_posted(&self) -> bool {
        // Taken under the lock: whoever takes a swap back under it knows that it was not done.
        let _one_at_a_time = lock(&self.checkpointer);
        let Some(swap) = lock(&self.posted).take() else {
            return false;
        };
        let outcome = self.swap(&swap);
        *lock(&self.swapped) = Some(outcome);
        self.compact_signal.raise();
        true
    }

    /// Does a swap here and now.
    pub fn swap_now(&self, swap: &Swap) -> Result<bool, LogError> {
        let _one_at_a_time = lock(&self.checkpointer);
        self.swap(swap)
    }

    /// Puts new segments in place of old ones; `false` if the log changed and the old ones stay.
    ///
    /// # Errors
    /// The manifest could not be written. Which of the two it names is not known until it is
    /// written again: both stay.
    fn swap(&self, swap: &Swap) -> Result<bool, LogError> {
        let partition = &swap.partition;
        let id = partition.id();
        {
            let meta = read_lock(&self.meta);
            let replay_from = meta.manifest.replay_from.0;
            let named = meta
                .manifest
                .partition(id)
                .is_some_and(|entry| swap.old.iter().all(|old| entry.segments.contains(old)));
            drop(meta);
            let mut state = partition.state();
            if !named || !state.may_swap(swap, replay_from) {
                return Ok(false);
            }
            state.swapping = true;
        }
        let removed = swap
            .old
            .iter()
            .map(|old| Change::RemoveSegment(id, old.base));
        let put = swap.new.iter().map(|new| Change::PutSegment(id, *new));
        let changes: Vec<Change> = removed.chain(put).collect();
        let replay_from = read_lock(&self.meta).manifest.replay_from;
        let written = Meta::append(&self.meta, replay_from, &changes, &[]);
        let mut state = partition.state();
        state.swapping = false;
        if let Err(error) = written {
            drop(state);
            let doubtful = swap.new.iter().map(|new| (id, new.base.0, new.revision));
            lock(&self.doubtful).extend(doubtful);
            return Err(self.meta_error(error));
        }
        state.adopt(swap);
        drop(state);
        let old = swap.old.iter().map(|old| (id, old.base.0, old.revision));
        lock(&self.replaced).extend(old);
        self.settle_doubtful();
        self.upkeep_signal.raise();
        Ok(true)
    }

    /// The manifest was written: what an earlier failure left in doubt is certainly not in it.
    pub fn settle_doubtful(&self) {
        let doubtful = std::mem::take(&mut *lock(&self.doubtful));
        lock(&self.replaced).extend(doubtful);
    }

    /// Removes files that others took the place of: the names only, readers may hold them open.
    pub fn unlink_replaced(&self) {
        loop {
            let next = lock(&self.replaced).pop();
            let Some((id, base, revision)) = next else {
                return;
            };
            let current = read_lock(&self.by_id)
                .get(&id)
                .and_then(|partition| partition.state().known_revision(base));
            if current == Some(revision) {
                // A cut took the segment away, and a new one that begins there has the name.
                continue;
            }
            drop(self.descriptors.forget((id.0, base), revision));
            match self.world.disk.unlink(&segment_path(id, base, revision)) {
                Ok(()) | Err(DiskError::NotFound { .. }) => {}
                Err(error) => tracing::warn!(%error, "a segment that was replaced stays"),
            }
        }
    }
}

impl State {
    fn may_swap(&self, swap: &Swap, replay_from: u64) -> bool {
        let Some(first) = swap.old.first() else {
            return false;
        };
        let at = self
            .sealed
            .partition_point(|segment| segment.record.base < first.base);
        let there = self.sealed.get(at..at + swap.old.len());
        let unchanged = there.is_some_and(|there| {
            there
                .iter()
                .zip(&swap.old)
                .all(|(segment, old)| segment.record == *old && segment.footer.is_none())
        });
        unchanged
            && !self.gone
            && !self.broken
            && self.incarnation == swap.incarnation
            // What recovery reads below a cut must be what lay there when it was made.
            && self.truncated_lsn < replay_from
            && self.capture.is_none()
    }

    /// Takes the new segments, as far as the log was not trimmed or deleted meanwhile.
    pub(super) fn adopt(&mut self, swap: &Swap) {
        let (Some(first), Some(last)) = (swap.old.first(), swap.old.last()) else {
            return;
        };
        let from = self
            .sealed
            .partition_point(|segment| segment.record.base < first.base);
        let to = self
            .sealed
            .partition_point(|segment| segment.record.base < last.end);
        // All that lay there was trimmed, or the partition deleted.
        let unwanted = from == to;
        if !unwanted {
            let new = swap.new.iter().copied().map(SealedSegment::new);
            self.sealed.splice(from..to, new);
        }
        let lsn = self.last_lsn;
        if let Some(live) = self.live.as_mut() {
            live.read_hint = Mark {
                offset: -1,
                segment: -1,
                position: 0,
            };
            if unwanted {
                // The manifest names them until a checkpoint has the trim or the deletion.
                let new = swap.new.iter();
                live.trimmed
                    .extend(new.map(|new| (lsn, new.base.0, new.revision)));
            }
        }
    }

    /// Whether a file is one of this partition's segments.
    pub fn uses(&self, base: i64, revision: u32) -> bool {
        self.active.base == base && self.active.revision == revision
            || self
                .sealed
                .binary_search_by_key(&base, SealedSegment::base)
                .is_ok_and(|at| self.sealed[at].record.revision == revision)
    }
}
