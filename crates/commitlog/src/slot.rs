//! The slots of the shared log: files of real zero blocks, written front to back, used again.
//!
//! Invariants:
//! - A slot gets its name when it is whole and never loses it: what is shorter, or gone, was damaged.
//!   A retired one is replaced by a new file under the same name.
//! - A slot is never extended once it is in use.
//! - Each use has a random generation, so that what a slot held before never parses as new.
//! - One free slot is always left for the group of a failed flush, and one for the groups that were
//!   staged when the log filled up, so that a checkpoint never waits for the space it frees.

use std::collections::BTreeSet;
use std::sync::Arc;

use world::disk::{Advice, DiskError, DiskResult};
use world::{AlignedBuf, Disk, File, OpenMode, Random};

use crate::recover::SlotFile;

/// Free slots that ordinary groups leave alone.
const RESERVED: usize = 2;
/// Free slots that the groups already staged leave alone when the log is full.
const RESERVED_FOR_RETIREMENT: usize = 1;

/// Zeros written at once where a slot is made: a few milliseconds of a disk.
const PIECE_BYTES: usize = 1 << 20;

/// Directory of the slots.
pub(crate) const SLOT_DIR: &str = "wal";

/// Path of a slot.
pub(crate) fn slot_path(number: u32) -> String {
    format!("{SLOT_DIR}/{number:08}.wal")
}

/// Path of a slot that is being made.
pub(crate) fn unfinished_path(number: u32) -> String {
    format!("{SLOT_DIR}/{number:08}.new")
}

/// Number of the slot with this file name.
pub(crate) fn slot_number(name: &str) -> Option<u32> {
    number_before(name, ".wal")
}

/// Number of the slot that this file was to become when a crash came.
pub(crate) fn unfinished_number(name: &str) -> Option<u32> {
    number_before(name, ".new")
}

fn number_before(name: &str, suffix: &str) -> Option<u32> {
    name.strip_suffix(suffix)
        .filter(|digits| digits.len() == 8)?
        .parse()
        .ok()
}

/// Makes a slot's file of real zero blocks, in place of what has its name, and opens it for durable
/// writes.
pub(crate) fn create_slot(disk: &dyn Disk, number: u32, bytes: u64) -> DiskResult<Arc<dyn File>> {
    let mut making = Making::begin(disk, number, bytes)?;
    while !making.step()? {}
    making.finish(disk)
}

/// Makes the first slot of a new directory. Its blocks are only reserved: filling them would be
/// most of a first start, and each is filled by its first write.
pub(crate) fn create_first_slot(disk: &dyn Disk, bytes: u64) -> DiskResult<Arc<dyn File>> {
    begin_file(disk, 0)?.allocate(bytes)?;
    name_slot(disk, 0)
}

/// A slot that is filled with zeros piece by piece: who waits for the disk meanwhile waits for a
/// piece, not for a slot.
pub(crate) struct Making {
    pub number: u32,
    file: Arc<dyn File>,
    zeros: AlignedBuf,
    at: u64,
    bytes: u64,
}

impl Making {
    /// Begins with an empty file.
    pub fn begin(disk: &dyn Disk, number: u32, bytes: u64) -> DiskResult<Making> {
        Ok(Making {
            number,
            file: begin_file(disk, number)?,
            zeros: AlignedBuf::zeroed(PIECE_BYTES.min(bytes as usize)),
            at: 0,
            bytes,
        })
    }

    /// Writes a piece and makes it durable; whether it was the last.
    pub fn step(&mut self) -> DiskResult<bool> {
        let count = (self.bytes - self.at).min(self.zeros.len() as u64);
        self.file.write_at(&self.zeros[..count as usize], self.at)?;
        self.file.sync_data()?;
        // The zeros are of no use in the cache, and direct writes would have to evict them.
        self.file.advise(self.at, count, Advice::DontNeed)?;
        self.at += count;
        Ok(self.at == self.bytes)
    }

    /// Gives the whole file its name and opens it.
    pub fn finish(self, disk: &dyn Disk) -> DiskResult<Arc<dyn File>> {
        name_slot(disk, self.number)
    }
}

fn begin_file(disk: &dyn Disk, number: u32) -> DiskResult<Arc<dyn File>> {
    let path = unfinished_path(number);
    match disk.open(&path, OpenMode::CreateNew) {
        // An earlier attempt failed half-way.
        Err(DiskError::AlreadyExists { .. }) => {
            let file = disk.open(&path, OpenMode::ReadWrite)?;
            file.truncate(0)?;
            Ok(file)
        }
        other => other,
    }
}

fn name_slot(disk: &dyn Disk, number: u32) -> DiskResult<Arc<dyn File>> {
    let path = slot_path(number);
    disk.rename(&unfinished_path(number), &path)?;
    disk.sync_dir(SLOT_DIR)?;
    disk.open(&path, OpenMode::Durable)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Free,
    Written,
    Retired,
}

struct Slot {
    number: u32,
    file: Arc<dyn File>,
    state: Use,
    last_lsn: u64,
}

/// Where a block goes.
pub(crate) struct Place {
    pub file: Arc<dyn File>,
    pub position: u64,
    pub generation: u64,
    /// The block is the first of its slot.
    pub first: bool,
}

/// All slots of a data directory.
pub(crate) struct Slots {
    bytes: u64,
    slots: Vec<Slot>,
    /// Numbers of slots about to be made.
    in_making: BTreeSet<u32>,
    current: Option<usize>,
    at: u64,
    generation: u64,
    random: Arc<dyn Random>,
}

impl Slots {
    /// No slot yet, each `bytes` long.
    pub fn new(bytes: u64, random: Arc<dyn Random>) -> Slots {
        Slots {
            bytes,
            slots: Vec::new(),
            in_making: BTreeSet::new(),
            current: None,
            at: 0,
            generation: 0,
            random,
        }
    }

    /// Adds a slot; `last_lsn` of a slot that still holds blocks of the log.
    pub fn add(&mut self, number: u32, file: Arc<dyn File>, last_lsn: Option<u64>) {
        self.in_making.remove(&number);
        assert!(
            self.slots.iter().all(|slot| slot.number != number),
            "slot {number} is there already"
        );
        let state = if last_lsn.is_some() {
            Use::Written
        } else {
            Use::Free
        };
        self.slots.push(Slot {
            number,
            file,
            state,
            last_lsn: last_lsn.unwrap_or(0),
        });
        self.slots.sort_by_key(|slot| slot.number);
        debug_assert!(self.current.is_none() || last_lsn.is_none());
        // Sorting may have moved the current slot.
        if let Some(current) = self.current {
            let number_of_current = self.slots.iter().position(|slot| slot.number == number);
            if number_of_current.is_some_and(|at| at <= current) {
                self.current = Some(current + 1);
            }
        }
    }

    /// Room for a block of `bytes`. `drain` lets it use the slot kept for a full log. `None`: the
    /// log is full until a checkpoint.
    pub fn place(&mut self, bytes: u64, lsn: u64, drain: bool) -> Option<Place> {
        let fits = self.current.is_some() && self.at + bytes <= self.bytes;
        let first = !fits;
        if !fits {
            let reserved = if drain {
                RESERVED_FOR_RETIREMENT
            } else {
                RESERVED
            };
            if self.free() <= reserved && !self.is_young() {
                return None;
            }
            self.next_slot()?;
        }
        Some(self.take(bytes, lsn, first))
    }

    /// Gives the current slot up after a failed flush and takes a fresh one for the same group.
    /// Returns the retired slot's generation as well. `None`: no slot is free.
    pub fn place_after_failure(&mut self, bytes: u64, lsn: u64) -> Option<(Place, u64)> {
        let retired = self.generation;
        if let Some(current) = self.current {
            self.slots[current].state = Use::Retired;
        }
        self.next_slot()?;
        Some((self.take(bytes, lsn, true), retired))
    }

    /// While only the first slot exists, nothing is held back: the log is empty and others are
    /// being made.
    fn is_young(&self) -> bool {
        self.slots.len() <= RESERVED && self.current.is_none()
    }

    fn next_slot(&mut self) -> Option<()> {
        let free = self.slots.iter().position(|slot| slot.state == Use::Free)?;
        self.slots[free].state = Use::Written;
        self.current = Some(free);
        self.at = 0;
        self.generation = self.random.next_u64();
        Some(())
    }

    fn take(&mut self, bytes: u64, lsn: u64, first: bool) -> Place {
        let Some(current) = self.current else {
            unreachable!("a slot was taken just now");
        };
        let slot = &mut self.slots[current];
        slot.last_lsn = lsn;
        let place = Place {
            file: Arc::clone(&slot.file),
            position: self.at,
            generation: self.generation,
            first,
        };
        self.at += bytes;
        place
    }

    /// Slots that may be written over.
    pub fn free(&self) -> usize {
        self.slots
            .iter()
            .filter(|slot| slot.state == Use::Free)
            .count()
    }

    /// Slots in all.
    pub fn count(&self) -> usize {
        self.slots.len()
    }

    /// All files, for reading the log back.
    pub fn files(&self) -> Vec<SlotFile> {
        let file = |slot: &Slot| SlotFile {
            number: slot.number,
            file: Arc::clone(&slot.file),
        };
        self.slots.iter().map(file).collect()
    }

    /// Whether ordinary groups have a slot to go on to.
    pub fn has_room(&self) -> bool {
        self.free() > RESERVED
    }

    /// Whether the log will wait for a slot soon: half of the last one that ordinary groups may
    /// take is written.
    pub fn is_short(&self) -> bool {
        self.current.is_some() && self.at > self.bytes / 2 && !self.has_room()
    }

    /// Whether what is staged can still be written.
    pub fn can_drain(&self) -> bool {
        self.free() > RESERVED_FOR_RETIREMENT
    }

    /// Takes a number for a slot that is about to be made, the lowest one free: several may be at it,
    /// and two of them in one file would write over each other's blocks. [`Slots::add`] or
    /// [`Slots::give_up`] ends it.
    pub fn begin_making(&mut self) -> u32 {
        let taken = |number| {
            self.in_making.contains(&number) || self.slots.iter().any(|slot| slot.number == number)
        };
        let number = (0..).find(|number| !taken(*number)).unwrap_or(0);
        self.in_making.insert(number);
        number
    }

    /// The slot could not be made: the number is free again.
    pub fn give_up(&mut self, number: u32) {
        self.in_making.remove(&number);
    }

    /// Slots that are there or about to be made.
    pub fn count_to_come(&self) -> usize {
        self.slots.len() + self.in_making.len()
    }

    /// Whether it is time for a checkpoint: half of the log is used.
    pub fn half_used(&self, configured: u32) -> bool {
        self.count() - self.free() > configured as usize / 2
    }

    /// Everything up to `lsn` is durable in segments and manifest: slots that hold nothing newer
    /// are free. Retired ones are let go, for new files to take their names; whether there were any.
    pub fn free_through(&mut self, lsn: u64) -> bool {
        let current = self.current.map(|current| self.slots[current].number);
        let count = self.slots.len();
        let done = |slot: &Slot| slot.last_lsn <= lsn && Some(slot.number) != current;
        self.slots
            .retain(|slot| slot.state != Use::Retired || !done(slot));
        for slot in &mut self.slots {
            if slot.state == Use::Written && done(slot) {
                slot.state = Use::Free;
            }
        }
        self.current =
            current.and_then(|number| self.slots.iter().position(|slot| slot.number == number));
        self.slots.len() < count
    }
}

#[cfg(test)]
mod tests {
    use world::World;

    use super::*;

    #[test]
    fn two_who_make_slots_at_once_never_make_the_same() {
        let sim = World::sim(1);
        sim.world.disk.create_dir(SLOT_DIR).expect("made");
        let mut slots = Slots::new(8192, Arc::clone(&sim.world.random));
        let (first, second) = (slots.begin_making(), slots.begin_making());
        assert_eq!((first, second), (0, 1));
        assert_eq!((slots.count(), slots.count_to_come()), (0, 2));
        let file = create_slot(&*sim.world.disk, second, 8192).expect("made");
        slots.add(second, file, None);
        slots.give_up(first);
        assert_eq!((slots.count(), slots.count_to_come()), (1, 1));
        assert_eq!(slots.begin_making(), 0, "free again");
    }
}
