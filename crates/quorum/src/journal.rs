//! The quorum log on the disk: two pre-written slot files, used in turn. Synchronous.
//!
//! Each write is one block, durable when the call returns. A slot begins with a block that holds
//! the whole state, so the other slot is free from that moment: there is no separate checkpoint,
//! and the log never grows beyond the live entries. `docs/formats/quorum-log.md` has the bytes.
//!
//! Invariant: the state on the disk is the state in `state`, or (during a write) the one after it.

use std::sync::Arc;

use stdx::{Reader, Writer};
use world::disk::{DURABLE_ALIGN, Disk, DiskError, File, OpenMode};
use world::{AlignedBuf, Random};

use crate::block::{self, Header, Seen};
use crate::record::{self, Record, State};

/// Where everything of this crate lies, relative to the data directory.
pub(crate) const DIRECTORY: &str = "meta-log";
const SLOTS: [&str; 2] = ["meta-log/0.log", "meta-log/1.log"];
/// Space to give up when the disk is full, so that deletions can still be recorded.
const RESERVE: &str = "meta-log/reserve";

/// A slot's size at least: 256 commands written one by one before the next slot's turn.
const SLOT_BYTES_MIN: u64 = 1024 * 1024;
/// The first slot's size: it is filled before a new node can do anything. A first start writes
/// about seven blocks, and the second slot is filled in the first quiet moment; at its next turn
/// this one gets its full size.
const SLOT_BYTES_FIRST: u64 = 64 * 1024;
/// A slot is at least this many times what it begins with, so that beginning slots costs at most
/// a third of all writing.
const SLOT_TIMES_START: u64 = 4;
/// The reserve holds one larger slot or a few snapshots.
const RESERVE_BYTES: u64 = 4 * 1024 * 1024;
/// How large the files are; tests make them small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    /// [`SLOT_BYTES_FIRST`].
    pub(crate) slot_bytes_first: u64,
    /// [`SLOT_BYTES_MIN`].
    pub(crate) slot_bytes_min: u64,
    /// [`RESERVE_BYTES`].
    pub(crate) reserve_bytes: u64,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes {
            slot_bytes_first: SLOT_BYTES_FIRST,
            slot_bytes_min: SLOT_BYTES_MIN,
            reserve_bytes: RESERVE_BYTES,
        }
    }
}

/// How much is read at once while looking for blocks behind the end.
const SCAN_BYTES: usize = 256 * 1024;

/// Why the log cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The disk said no. Nothing more is written by this process.
    #[error("metadata log: {reason}")]
    Disk {
        /// What the disk said.
        reason: String,
    },
    /// The files were damaged after they were written. Restore this node from the others or from
    /// a backup of the data directory; do not delete them.
    #[error("metadata log: {path} at {position}: {reason}")]
    Corrupt {
        /// Which file.
        path: String,
        /// Where, bytes.
        position: u64,
        /// What is wrong.
        reason: String,
    },
    /// The files belong to another node.
    #[error("metadata log: the files belong to node {found}, this is node {node}")]
    Foreign {
        /// Whose they are.
        found: u64,
        /// Who we are.
        node: u64,
    },
    /// Written by a newer build.
    #[error("metadata log: {path} has format {version}, which needs a newer build")]
    TooNew {
        /// Which file.
        path: String,
        /// Its format.
        version: u16,
    },
}

impl From<DiskError> for JournalError {
    fn from(error: DiskError) -> JournalError {
        JournalError::Disk {
            reason: error.to_string(),
        }
    }
}

/// The log of one node. One owner; every call blocks on the disk.
pub(crate) struct Journal {
    sizes: Sizes,
    disk: Arc<dyn Disk>,
    random: Arc<dyn Random>,
    node: u64,
    store: u64,
    active: usize,
    file: Arc<dyn File>,
    /// Length of the active slot.
    length: u64,
    /// Where the next block goes.
    position: u64,
    generation: u64,
    /// The last block's.
    lsn: u64,
    checksum: u32,
    state: State,
    buffer: AlignedBuf,
    body: Writer,
    /// Whether damage to the last block would lose nothing that was acknowledged: it is empty, or
    /// there is none.
    vouched: bool,
    /// Why nothing more may be written.
    dead: Option<JournalError>,
}

/// What a slot's first block and the blocks behind it say.
struct Found {
    slot: usize,
    length: u64,
    header: Header,
    checksum: u32,
    state: State,
    position: u64,
}

impl Journal {
    /// Opens or creates the log of `node`. `has_snapshot`: a log that is missing is then damage,
    /// not a first start.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        node: u64,
        has_snapshot: bool,
        sizes: Sizes,
    ) -> Result<Journal, JournalError> {
        disk.create_dir(DIRECTORY)?;
        let mut found = Vec::new();
        for slot in 0..SLOTS.len() {
            if let Some(start) = read_slot(&*disk, slot)? {
                found.push(start);
            }
        }
        found.sort_by_key(|found| found.header.lsn);
        let Some(newest) = found.pop() else {
            return Journal::create(disk, random, node, has_snapshot, sizes);
        };
        if newest.header.node != node {
            return Err(JournalError::Foreign {
                found: newest.header.node,
                node,
            });
        }
        // Filled durably before it began: one of another length was cut since, and what is gone
        // with its end has nothing behind it that could tell.
        let whole = newest.length == sizes.slot_bytes_first
            || newest.length.is_multiple_of(sizes.slot_bytes_min);
        if !whole {
            return Err(JournalError::Corrupt {
                path: SLOTS[newest.slot].into(),
                position: newest.length,
                reason: "it ends here, and no slot is made so long".into(),
            });
        }
        for slot in 0..SLOTS.len() {
            let from = if slot == newest.slot {
                newest.position
            } else {
                0
            };
            refuse_blocks_behind(&*disk, slot, from, Some(&newest))?;
        }
        Ok(Journal {
            sizes,
            file: disk.open(SLOTS[newest.slot], OpenMode::Durable)?,
            disk,
            random,
            node,
            store: newest.header.store,
            active: newest.slot,
            length: newest.length,
            position: newest.position,
            generation: newest.header.generation,
            lsn: newest.header.lsn,
            checksum: newest.checksum,
            state: newest.state,
            buffer: AlignedBuf::zeroed(DURABLE_ALIGN),
            body: Writer::new(),
            vouched: newest.header.count == 0,
            dead: None,
        })
    }

    /// First start, or one that was interrupted before anything was acknowledged.
    fn create(
        disk: Arc<dyn Disk>,
        random: Arc<dyn Random>,
        node: u64,
        has_snapshot: bool,
        sizes: Sizes,
    ) -> Result<Journal, JournalError> {
        for slot in 0..SLOTS.len() {
            refuse_blocks_behind(&*disk, slot, 0, None)?;
        }
        if has_snapshot {
            return Err(JournalError::Corrupt {
                path: SLOTS[0].into(),
                position: 0,
                reason: "there is a snapshot but no log: votes would be forgotten".into(),
            });
        }
        fill(&*disk, SLOTS[0], sizes.slot_bytes_first)?;
        // The directory's own name as well as the slot's in it.
        disk.sync_dir(DIRECTORY)?;
        disk.sync_dir("")?;
        let store = random.next_u64();
        // As if the other slot were full: the first write begins this one, so that an empty
        // beginning costs no flush of its own.
        Ok(Journal {
            sizes,
            file: disk.open(SLOTS[0], OpenMode::Durable)?,
            disk,
            random,
            node,
            store,
            active: 1,
            length: sizes.slot_bytes_first,
            position: sizes.slot_bytes_first,
            generation: 0,
            lsn: 0,
            checksum: 0,
            state: State::default(),
            buffer: AlignedBuf::zeroed(DURABLE_ALIGN),
            body: Writer::new(),
            vouched: true,
            dead: None,
        })
    }

    /// What is on the disk.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Makes the records durable, all in one block. On an error nothing more is ever written:
    /// what the disk holds of this block is unknown, and a second try could contradict it.
    pub(crate) fn write(&mut self, records: Vec<Record>) -> Result<(), JournalError> {
        self.write_unless_dead(records)?;
        self.vouched = false;
        Ok(())
    }

    /// Whether somebody was told of the last block, and nothing on the disk says that it was ever
    /// whole: damage to it would look like a torn write.
    pub(crate) fn wants_voucher(&self) -> bool {
        !self.vouched && self.dead.is_none()
    }

    /// Writes a block behind the last one that proves it was whole: an empty one, or one of marks
    /// that nobody waits for. Damage to the new block itself loses nothing.
    pub(crate) fn vouch(&mut self, marks: Vec<Record>) -> Result<(), JournalError> {
        self.write_unless_dead(marks)?;
        self.vouched = true;
        Ok(())
    }

    fn write_unless_dead(&mut self, records: Vec<Record>) -> Result<(), JournalError> {
        if let Some(dead) = &self.dead {
            return Err(dead.clone());
        }
        let written = self.try_write(records);
        if let Err(error) = &written {
            self.dead = Some(error.clone());
        }
        written
    }

    fn try_write(&mut self, records: Vec<Record>) -> Result<(), JournalError> {
        let mut body = Writer::new();
        let count = records.len() as u32;
        for record in &records {
            record::encode(record, &mut body);
        }
        for record in records {
            self.state
                .apply(record)
                .map_err(|reason| JournalError::Corrupt {
                    path: SLOTS[self.active].into(),
                    position: self.position,
                    reason,
                })?;
        }
        self.body = body;
        if self.position + block::size(self.body.len()) as u64 > self.length {
            // The new slot begins with the state these records lead to.
            return self.begin_slot();
        }
        self.write_block(false, count)
    }

    /// Begins the other slot with the whole state.
    fn begin_slot(&mut self) -> Result<(), JournalError> {
        let mut body = Writer::new();
        let mut count = 0;
        for record in self.state.records() {
            record::encode(&record, &mut body);
            count += 1;
        }
        let next = 1 - self.active;
        let start = block::size(body.len()) as u64;
        let wanted = (start * SLOT_TIMES_START).next_multiple_of(self.sizes.slot_bytes_min);
        let there = length(&*self.disk, SLOTS[next])?.unwrap_or(0);
        // The very first slot is short on purpose.
        let enough = if self.lsn == 0 { start } else { wanted };
        if there < enough {
            self.fill_slot(next, wanted)?;
        }
        self.file = self.disk.open(SLOTS[next], OpenMode::Durable)?;
        self.length = if there < enough { wanted } else { there };
        self.active = next;
        self.position = 0;
        self.generation = self.random.next_u64();
        self.body = body;
        self.write_block(true, count)
    }

    /// A longer slot needs room; the reserve is there for when the disk is full.
    fn fill_slot(&mut self, slot: usize, bytes: u64) -> Result<(), JournalError> {
        match fill(&*self.disk, SLOTS[slot], bytes) {
            Err(error) if error.is_full() => {
                release_reserve(&*self.disk)?;
                fill(&*self.disk, SLOTS[slot], bytes)?;
            }
            other => other?,
        }
        self.disk.sync_dir(DIRECTORY)?;
        Ok(())
    }

    fn write_block(&mut self, start: bool, count: u32) -> Result<(), JournalError> {
        let size = block::size(self.body.len());
        if self.buffer.len() < size {
            self.buffer = AlignedBuf::zeroed(size);
        }
        let header = Header {
            start,
            lsn: self.lsn + 1,
            generation: self.generation,
            length: self.body.len() as u32,
            count,
            previous: self.checksum,
            node: self.node,
            store: self.store,
        };
        let checksum = block::write(&header, self.body.as_slice(), &mut self.buffer[..size]);
        self.file
            .write_durable(&self.buffer[..size], self.position)?;
        self.lsn = header.lsn;
        self.checksum = checksum;
        self.position += size as u64;
        if self.buffer.len() > SCAN_BYTES {
            // The state of a whole slot was in it; the blocks to come are small.
            self.buffer = AlignedBuf::zeroed(DURABLE_ALIGN);
        }
        Ok(())
    }

    /// What can wait until a node has started: fills the other slot and the reserve, if they are
    /// not there. A disk without room for them is no error yet.
    pub(crate) fn prepare(&mut self) -> Result<(), JournalError> {
        let next = SLOTS[1 - self.active];
        if length(&*self.disk, next)?.is_none()
            && fill(&*self.disk, next, self.sizes.slot_bytes_min).is_ok()
        {
            self.disk.sync_dir(DIRECTORY)?;
        }
        let there = length(&*self.disk, RESERVE)?.unwrap_or(0);
        let missing = there < self.sizes.reserve_bytes;
        if missing && fill(&*self.disk, RESERVE, self.sizes.reserve_bytes).is_err() {
            release_reserve(&*self.disk)?;
        }
        Ok(())
    }
}

/// Gives the reserve's room back to the disk.
pub(crate) fn release_reserve(disk: &dyn Disk) -> Result<(), DiskError> {
    match disk.unlink(RESERVE) {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

fn length(disk: &dyn Disk, path: &str) -> Result<Option<u64>, DiskError> {
    match disk.open(path, OpenMode::Read) {
        Ok(file) => file.len().map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates the file if it is missing and fills it with zeros, durably; the name is not yet.
fn fill(disk: &dyn Disk, path: &str, bytes: u64) -> Result<(), DiskError> {
    let file = match disk.open(path, OpenMode::ReadWrite) {
        Err(error) if error.is_not_found() => disk.open(path, OpenMode::CreateNew)?,
        other => other?,
    };
    file.zero_fill(bytes)
}

/// Reads a slot from its first block to the end of its chain; `None` if it does not begin.
fn read_slot(disk: &dyn Disk, slot: usize) -> Result<Option<Found>, JournalError> {
    let path = SLOTS[slot];
    let file = match disk.open(path, OpenMode::Read) {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other?,
    };
    let length = file.len()?;
    let mut found: Option<Found> = None;
    let mut position = 0;
    while let Some((header, block, checksum)) = read_block(&*file, path, position, length)? {
        let continues = match &found {
            None => header.start,
            Some(found) => {
                !header.start
                    && header.generation == found.header.generation
                    && header.store == found.header.store
                    && header.lsn == found.header.lsn + 1
                    && header.previous == found.checksum
            }
        };
        if !continues {
            break;
        }
        let mut state = found.take().map(|found| found.state).unwrap_or_default();
        read_records(&header, block::body(&header, &block), &mut state).map_err(|reason| {
            JournalError::Corrupt {
                path: path.into(),
                position,
                reason,
            }
        })?;
        position += block::size(header.length as usize) as u64;
        found = Some(Found {
            slot,
            length,
            header,
            checksum,
            state,
            position,
        });
    }
    Ok(found)
}

/// Reads one block whose checksum agrees.
fn read_block(
    file: &dyn File,
    path: &str,
    position: u64,
    length: u64,
) -> Result<Option<(Header, Vec<u8>, u32)>, JournalError> {
    let mut head = [0; block::HEADER_BYTES];
    if position + DURABLE_ALIGN as u64 > length || file.read_at(&mut head, position)? < head.len() {
        return Ok(None);
    }
    let header = match block::read_header(&head, length - position) {
        Seen::Nothing => return Ok(None),
        Seen::TooNew(version) => {
            return Err(JournalError::TooNew {
                path: path.into(),
                version,
            });
        }
        Seen::Header(header) => header,
    };
    let mut whole = vec![0; block::HEADER_BYTES + header.length as usize];
    if file.read_at(&mut whole, position)? < whole.len() {
        return Ok(None);
    }
    Ok(block::check(&header, &whole).map(|checksum| (header, whole, checksum)))
}

fn read_records(header: &Header, body: &[u8], state: &mut State) -> Result<(), String> {
    let mut input = Reader::new(body);
    for _ in 0..header.count {
        let record = record::decode(&mut input).map_err(|error| error.to_string())?;
        state.apply(record)?;
    }
    input.finish().map_err(|error| error.to_string())
}

/// Looks for a whole block behind the end of the log. Writes are strictly one after the other, so
/// a later block proves that all before it were durable: what does not parse is then damage, and
/// cutting the log there would forget votes and entries. A torn last write has nothing behind it.
fn refuse_blocks_behind(
    disk: &dyn Disk,
    slot: usize,
    from: u64,
    newest: Option<&Found>,
) -> Result<(), JournalError> {
    let path = SLOTS[slot];
    let file = match disk.open(path, OpenMode::Read) {
        Err(error) if error.is_not_found() => return Ok(()),
        other => other?,
    };
    let length = file.len()?;
    let mut chunk = vec![0; SCAN_BYTES];
    let mut position = from;
    while position < length {
        let got = file.read_at(&mut chunk, position)?;
        for at in (0..got).step_by(DURABLE_ALIGN) {
            let here = position + at as u64;
            let Seen::Header(header) = block::read_header(&chunk[at..got], length - here) else {
                continue;
            };
            let later = newest.is_none_or(|newest| {
                header.store == newest.header.store && header.lsn > newest.header.lsn
            });
            if later && read_block(&*file, path, here, length)?.is_some() {
                return Err(JournalError::Corrupt {
                    path: path.into(),
                    position: from,
                    reason: format!("it ends here, but block {} stands behind it", header.lsn),
                });
            }
        }
        if got == 0 {
            break;
        }
        position += got as u64;
    }
    Ok(())
}
