//! One simulated file: what is on the platter, what the page cache shows, and what lies between.
//!
//! The writes since the last sync are kept in order. A power cut keeps any subset of their
//! sectors, in any combination; metadata (a cut of the length) survives only in order, as a
//! journal keeps it: data written behind a cut that did not survive is lost with it.

use super::content::{Content, PAGE, SECTOR};
use crate::sim::Rng;

/// A change of the cache that no sync has covered yet.
#[derive(Clone)]
enum Pending {
    /// Whole sectors, and the length afterwards (which may not survive although they do).
    Write {
        position: u64,
        sectors: Vec<u8>,
        length_after: u64,
        /// Durable already: written behind others that are not.
        certain: bool,
    },
    /// The file was made shorter.
    Cut { length: u64 },
}

/// How much of the pending writes a power cut leaves.
#[derive(Clone, Copy)]
pub(super) enum Survival {
    /// Each sector with this probability.
    Each(f64),
    /// Everything up to a random point, nothing behind it.
    Prefix,
}

impl Survival {
    pub(super) fn draw(rng: &mut Rng) -> Survival {
        match rng.below(8) {
            0 => Survival::Each(0.0),
            1 => Survival::Each(1.0),
            2 => Survival::Each(0.1),
            3 => Survival::Each(0.9),
            4 | 5 => Survival::Each(0.5),
            _ => Survival::Prefix,
        }
    }
}

#[derive(Clone, Default)]
pub(super) struct Node {
    disk: Content,
    cache: Content,
    pending: Vec<Pending>,
    /// A sync failed and left clean pages that the disk does not have.
    stale: bool,
    /// Open handles.
    pub(super) open: usize,
    /// Whether a name leads here now.
    pub(super) named: bool,
}

impl Node {
    /// A file as it is after a restart: the cache shows the disk.
    pub(super) fn restarted(disk: Content) -> Node {
        Node {
            cache: disk.clone(),
            disk,
            named: true,
            ..Node::default()
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.cache.len()
    }

    pub(super) fn pages(&self) -> u64 {
        self.cache.pages()
    }

    pub(super) fn pages_missing(&self, position: u64, length: u64) -> u64 {
        self.cache.pages_missing(position, length)
    }

    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        self.cache.read(buffer, position)
    }

    /// A page-cache write.
    pub(super) fn write(&mut self, bytes: &[u8], position: u64) {
        if bytes.is_empty() {
            return;
        }
        self.cache.write(bytes, position);
        let (position, sectors) = self.cache.sectors(position, bytes.len());
        let length_after = self.cache.len();
        self.pending.push(Pending::Write {
            position,
            sectors,
            length_after,
            certain: false,
        });
    }

    /// A write that is durable when it returns.
    pub(super) fn write_durable(&mut self, bytes: &[u8], position: u64) {
        self.cache.write(bytes, position);
        if self.pending.is_empty() {
            self.disk.write(bytes, position);
        } else {
            self.pending.push(Pending::Write {
                position,
                sectors: bytes.to_vec(),
                length_after: position + bytes.len() as u64,
                certain: true,
            });
        }
    }

    /// A durable write that failed on its way: each sector arrived, or did not; what arrived is
    /// not durable either.
    pub(super) fn write_torn(&mut self, bytes: &[u8], position: u64, rng: &mut Rng) {
        let survival = Survival::draw(rng);
        let stop = rng.index(bytes.len() / SECTOR + 1);
        for (index, sector) in bytes.chunks(SECTOR).enumerate() {
            let arrives = match survival {
                Survival::Each(probability) => rng.chance(probability),
                Survival::Prefix => index < stop,
            };
            if arrives {
                self.write(sector, position + (index * SECTOR) as u64);
            }
        }
    }

    pub(super) fn truncate(&mut self, length: u64) {
        let shorter = length < self.cache.len();
        self.cache.set_len(length);
        self.pending.push(if shorter {
            Pending::Cut { length }
        } else {
            Pending::Write {
                position: 0,
                sectors: Vec::new(),
                length_after: length,
                certain: false,
            }
        });
    }

    pub(super) fn zero_fill(&mut self, length: u64) {
        self.cache.zero_fill(length);
        self.disk = self.cache.clone();
        self.pending.clear();
        self.stale = false;
    }

    /// A zero fill that stopped on its way: old bytes may shine through, and the end be missing.
    pub(super) fn zero_fill_torn(&mut self, length: u64, rng: &mut Rng) {
        if length < self.len() {
            self.truncate(length);
        }
        for page in self.cache.page_numbers() {
            let position = page * PAGE as u64;
            let count = self.len().saturating_sub(position).min(PAGE as u64);
            self.write(&[0; PAGE][..count as usize], position);
        }
        let reached = rng.below(length + 1);
        if reached > self.len() {
            self.truncate(reached);
        }
    }

    /// All pending writes reach the disk.
    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Pending::Write {
                    position,
                    sectors,
                    length_after,
                    ..
                } => {
                    self.disk.write_raw(&sectors, position);
                    self.disk.grow(length_after);
                }
                Pending::Cut { length } => self.disk.set_len(length),
            }
        }
        // A last sector reaches beyond the length.
        let length = self.disk.len();
        self.disk.set_len(length);
    }

    /// A failed sync: some sectors made it, the pages count as clean all the same, and the cache
    /// shows either what was written or what is on the disk.
    pub(super) fn sync_failed(&mut self, rng: &mut Rng) {
        if self.pending.is_empty() {
            return;
        }
        self.disk = self.after_power_cut(rng);
        self.pending.clear();
        self.stale = true;
        if rng.chance(0.5) {
            self.evict();
        }
    }

    /// Clean pages leave the cache; the next read goes to the disk.
    pub(super) fn evict(&mut self) {
        if self.stale && self.pending.is_empty() {
            let length = self.cache.len();
            self.cache = self.disk.clone();
            self.cache.set_len(length);
            self.stale = false;
        }
    }

    /// The first pending write lands on another place of the file, then all is synced.
    pub(super) fn sync_misdirected(&mut self, rng: &mut Rng) {
        let sectors_in_file = self.len() / SECTOR as u64;
        if let Some(Pending::Write {
            position, sectors, ..
        }) = self.pending.first_mut()
            && !sectors.is_empty()
        {
            let wrong = rng.below(sectors_in_file.max(1)) * SECTOR as u64;
            *position = if wrong == *position {
                *position + SECTOR as u64
            } else {
                wrong
            };
        }
        self.sync();
        self.stale = true;
    }

    /// Changes one bit on the disk and in the cache, unseen.
    pub(super) fn flip_bit(&mut self, position: u64, bit: u8) {
        for content in [&mut self.disk, &mut self.cache] {
            let mut byte = [0];
            if content.read(&mut byte, position) == 1 {
                content.write_raw(&[byte[0] ^ (1 << (bit % 8))], position);
            }
        }
    }

    /// What the disk holds if the power goes now.
    pub(super) fn after_power_cut(&self, rng: &mut Rng) -> Content {
        let survival = Survival::draw(rng);
        // A durable write takes the metadata before it along.
        let (mut cuts, mut cuts_certain) = (0, 0);
        for change in &self.pending {
            match change {
                Pending::Cut { .. } => cuts += 1,
                Pending::Write { certain: true, .. } => cuts_certain = cuts,
                Pending::Write { .. } => {}
            }
        }
        let cuts_kept = match survival {
            Survival::Each(0.0) => 0,
            Survival::Each(1.0) => cuts,
            Survival::Each(_) | Survival::Prefix => rng.below(cuts + 1),
        };
        let cuts_kept = cuts_kept.max(cuts_certain);
        // For a prefix: how many changes are whole, and how far the next one came.
        let stop = rng.index(self.pending.len() + 1);
        let mut content = self.disk.clone();
        let mut cuts_seen = 0;
        // Behind a lost cut, what was written from its length on went to blocks of nobody.
        let mut reachable = u64::MAX;
        for (index, change) in self.pending.iter().enumerate() {
            match change {
                Pending::Cut { length } => {
                    cuts_seen += 1;
                    if cuts_seen <= cuts_kept {
                        content.set_len(*length);
                    } else {
                        reachable = reachable.min(*length);
                    }
                }
                Pending::Write {
                    position,
                    sectors,
                    length_after,
                    certain,
                } => {
                    let reached = rng.index(sectors.len() / SECTOR + 1);
                    let mut keeps = |sector: usize| match survival {
                        _ if *certain => true,
                        Survival::Each(probability) => rng.chance(probability),
                        Survival::Prefix => index < stop || (index == stop && sector < reached),
                    };
                    for (sector, bytes) in sectors.chunks(SECTOR).enumerate() {
                        let at = position + (sector * SECTOR) as u64;
                        if keeps(sector) && at < reachable {
                            content.write_raw(bytes, at);
                        }
                    }
                    if keeps(0) && reachable == u64::MAX {
                        content.grow(*length_after);
                    }
                }
            }
        }
        let length = content.len();
        content.set_len(length);
        content
    }
}
