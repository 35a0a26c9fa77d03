//! Where appends wait for the disk: a few aligned buffers, filled in order, taken whole.
//!
//! One group is open at a time; whoever appends copies its record behind the last one, under a lock
//! held for the length of that copy. There is no timer: the log writer takes the open group as soon
//! as the disk is free, so the flush in flight is the batching window (storage.md S2). When every
//! buffer is full or in flight the append is refused, the socket is not read, TCP pushes back.
//!
//! Buffers are allocated on first need and given back when the log falls idle.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use world::AlignedBuf;

use crate::block::{
    BLOCK_ALIGN, BLOCK_HEADER_BYTES, RECORD_HEADER_BYTES, RecordHeader, block_bytes,
    write_record_header,
};
use crate::lock;
use crate::partition::Partition;

/// No part follows.
const LAST: u32 = u32::MAX;

/// What a part of a group does to its segment when it is gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartKind {
    /// Bytes of the group go to `position` of segment `segment`.
    Bytes {
        from: u32,
        length: u32,
        position: u64,
    },
    /// The segment is cut to `position`; segments above it are gone.
    Truncate { position: u64 },
    /// Segment `base` ends at `position`; its footer follows.
    Seal { base: i64, position: u64 },
    /// Nothing for the segment: trim, epoch, create, delete.
    Nothing,
}

/// One record's effect on its partition's files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub kind: PartKind,
    /// Base offset of the segment that is active behind this record.
    pub segment: i64,
    /// End offset of the partition behind this record.
    pub end: i64,
    /// Position in it behind this record.
    pub end_position: u64,
    /// Number of truncations the partition had seen: parts of an older one move no mark.
    pub incarnation: u32,
    next: u32,
}

/// A partition's parts in one group.
pub(crate) struct GroupEntry {
    pub partition: Arc<Partition>,
    first: u32,
    last: u32,
}

/// What was appended between two flushes: one block of the log.
pub struct Group {
    /// Number of the block.
    pub lsn: u64,
    buffer: AlignedBuf,
    filled: usize,
    records: u32,
    /// It holds a truncation: no file may be cut before the group is durable.
    barrier: bool,
    pub(crate) entries: Vec<GroupEntry>,
    parts: Vec<Part>,
}

impl Group {
    fn new(capacity: usize) -> Group {
        Group {
            lsn: 0,
            buffer: AlignedBuf::zeroed(capacity),
            filled: BLOCK_HEADER_BYTES,
            records: 0,
            barrier: false,
            entries: Vec::new(),
            parts: Vec::new(),
        }
    }

    /// Bytes of the body so far.
    pub fn body_length(&self) -> usize {
        self.filled - BLOCK_HEADER_BYTES
    }

    /// Records so far.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Size of the block on disk.
    pub fn block_bytes(&self) -> usize {
        block_bytes(self.body_length())
    }

    /// Header, body and padding.
    pub fn block(&self) -> &[u8] {
        &self.buffer[..self.block_bytes()]
    }

    /// The block, for its header to be written; the padding is cleared.
    pub fn block_mut(&mut self) -> &mut [u8] {
        let (filled, end) = (self.filled, self.block_bytes());
        let block = &mut self.buffer[..end];
        block[filled..].fill(0);
        block
    }

    /// The bytes of a part.
    pub(crate) fn bytes(&self, from: u32, length: u32) -> &[u8] {
        &self.buffer[from as usize..from as usize + length as usize]
    }

    /// The parts of an entry, in the order of their append.
    pub(crate) fn parts_of(&self, entry: &GroupEntry) -> impl Iterator<Item = &Part> {
        let mut at = entry.first;
        std::iter::from_fn(move || {
            let part = self.parts.get(at as usize)?;
            at = part.next;
            Some(part)
        })
    }

    /// Whether it must be durable before it is gathered.
    pub(crate) fn is_barrier(&self) -> bool {
        self.barrier
    }

    /// A group around a block's bytes: another copy to be written, or one read back.
    pub fn from_block(lsn: u64, block: &[u8], body_length: usize, records: u32) -> Group {
        let mut group = Group::new(block.len());
        group.reload(lsn, block, body_length, records);
        group
    }

    /// Takes another block's bytes in place of its own, in the same memory where they fit.
    pub fn reload(&mut self, lsn: u64, block: &[u8], body_length: usize, records: u32) {
        if self.buffer.len() < block.len() {
            self.buffer = AlignedBuf::zeroed(block.len());
        }
        self.clear();
        self.lsn = lsn;
        self.buffer[..block.len()].copy_from_slice(block);
        self.filled = BLOCK_HEADER_BYTES + body_length;
        self.records = records;
    }

    /// Notes what a record does, in the order of the log. `entry` is the partition's place in this
    /// group, if it has one; its place from now on is returned.
    pub(crate) fn add_part(
        &mut self,
        partition: &Arc<Partition>,
        entry: Option<u32>,
        from: usize,
        length: usize,
        effect: Effect,
    ) -> u32 {
        let kind = match effect.kind {
            PartKind::Bytes { position, .. } => PartKind::Bytes {
                from: from as u32,
                length: length as u32,
                position,
            },
            kind => kind,
        };
        self.barrier |= matches!(kind, PartKind::Truncate { .. });
        let at = self.parts.len() as u32;
        self.parts.push(Part {
            kind,
            segment: effect.segment,
            end: effect.end,
            end_position: effect.end_position,
            incarnation: effect.incarnation,
            next: LAST,
        });
        match entry {
            Some(entry) => {
                let known = &mut self.entries[entry as usize];
                self.parts[known.last as usize].next = at;
                known.last = at;
                entry
            }
            None => {
                let partition = Arc::clone(partition);
                self.entries.push(GroupEntry {
                    partition,
                    first: at,
                    last: at,
                });
                self.entries.len() as u32 - 1
            }
        }
    }

    /// Forgets the parts, keeps the bytes.
    pub(crate) fn clear_parts(&mut self) {
        self.barrier = false;
        self.entries.clear();
        self.parts.clear();
    }

    fn room(&self) -> usize {
        self.buffer.len() - self.filled
    }

    fn clear(&mut self) {
        self.filled = BLOCK_HEADER_BYTES;
        self.records = 0;
        self.barrier = false;
        self.entries.clear();
        self.parts.clear();
    }
}

/// Where a partition's entry lies in the open group; kept by the partition, so that the next append
/// finds it without a search.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EntryHint {
    lsn: u64,
    entry: u32,
}

pub(crate) struct StagingState {
    open: Option<Group>,
    ready: VecDeque<Group>,
    spare: Vec<Group>,
    /// Buffers of ordinary size that exist: open, ready, spare or in flight.
    buffers: usize,
    /// Whether a batch larger than a buffer waits or is in flight.
    oversized: bool,
    next_lsn: u64,
    /// Number of the checkpoint period, and the partitions that changed in it.
    period: u64,
    dirty: Vec<Arc<Partition>>,
    /// Appends are refused: the log is full or dead.
    stalled: bool,
    buffer_bytes: usize,
    buffers_max: usize,
}

/// No room now: try again when the durable LSN has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl StagingState {
    /// Makes sure that records of `length` bytes in all (headers included) fit into the open group.
    pub fn make_room(&mut self, length: usize) -> Result<(), NoRoom> {
        if self.stalled {
            return Err(NoRoom);
        }
        self.find_room(length, self.buffers_max)
    }

    /// As [`StagingState::make_room`], for a small record that must not be refused: it may take a
    /// buffer beyond the limit, and part of the slot that is kept for a full log.
    pub fn force_room(&mut self, length: usize) {
        let found = self.find_room(length, usize::MAX);
        assert!(found.is_ok(), "a small record fits into a fresh buffer");
    }

    fn find_room(&mut self, length: usize, buffers_max: usize) -> Result<(), NoRoom> {
        if self.open.as_ref().is_some_and(|open| open.room() >= length) {
            return Ok(());
        }
        let fresh = if BLOCK_HEADER_BYTES + length > self.buffer_bytes {
            if self.oversized {
                return Err(NoRoom);
            }
            self.oversized = true;
            Group::new(BLOCK_HEADER_BYTES + length)
        } else if let Some(spare) = self.spare.pop() {
            spare
        } else if self.buffers < buffers_max {
            self.buffers += 1;
            Group::new(self.buffer_bytes)
        } else {
            return Err(NoRoom);
        };
        if let Some(full) = self.open.take() {
            self.ready.push_back(full);
        }
        self.begin(fresh);
        Ok(())
    }

    fn begin(&mut self, mut group: Group) {
        group.lsn = self.next_lsn;
        self.next_lsn += 1;
        self.open = Some(group);
    }

    /// Copies a record into the open group, which has room for it ([`StagingState::make_room`]);
    /// returns its LSN and the copied body.
    pub fn push(
        &mut self,
        partition: &Arc<Partition>,
        hint: &mut EntryHint,
        header: &RecordHeader,
        body: &[u8],
        effect: Effect,
    ) -> (u64, &mut [u8]) {
        let Some(group) = self.open.as_mut() else {
            unreachable!("make_room opened a group");
        };
        let from = group.filled + RECORD_HEADER_BYTES;
        let known = (hint.lsn == group.lsn).then_some(hint.entry);
        let entry = group.add_part(partition, known, from, body.len(), effect);
        *hint = EntryHint {
            lsn: group.lsn,
            entry,
        };
        let buffer = &mut group.buffer[group.filled..];
        write_record_header(buffer, header);
        let copied = &mut buffer[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + body.len()];
        copied.copy_from_slice(body);
        group.filled = from + body.len();
        group.records += 1;
        (group.lsn, copied)
    }

    /// Opens a group without records, for the block that vouches for the last one.
    pub fn open_empty(&mut self) -> Result<u64, NoRoom> {
        self.make_room(0)?;
        Ok(self.next_lsn - 1)
    }

    /// The checkpoint period.
    pub fn period(&self) -> u64 {
        self.period
    }

    /// A partition changes for the first time in this period.
    pub fn note_dirty(&mut self, partition: &Arc<Partition>) {
        self.dirty.push(Arc::clone(partition));
    }

    /// Ends the checkpoint period: the LSN it ends with, and what changed in it. What is appended
    /// from now on gets a higher LSN.
    pub fn end_period(&mut self) -> (u64, Vec<Arc<Partition>>) {
        if let Some(open) = self.open.take() {
            self.ready.push_back(open);
        }
        self.period += 1;
        (self.last_lsn(), std::mem::take(&mut self.dirty))
    }

    /// The next group gets this LSN: after recovery.
    pub fn resume_at(&mut self, next_lsn: u64) {
        assert!(
            self.open.is_none() && self.ready.is_empty(),
            "nothing was staged yet"
        );
        self.next_lsn = next_lsn;
    }

    /// The LSN that the last append got; 0 before the first.
    pub fn last_lsn(&self) -> u64 {
        self.next_lsn - 1
    }
}

/// What a record does to its partition, as far as the gather must know.
#[derive(Clone, Copy)]
pub(crate) struct Effect {
    pub kind: PartKind,
    pub segment: i64,
    pub end: i64,
    pub end_position: u64,
    pub incarnation: u32,
}

/// The staging buffers of one data directory.
pub(crate) struct Staging {
    state: Mutex<StagingState>,
    buffer_bytes: usize,
}

impl Staging {
    /// Up to `buffers_max` buffers of `buffer_bytes`; the first group gets `next_lsn`.
    pub fn new(buffer_bytes: usize, buffers_max: usize, next_lsn: u64) -> Staging {
        let buffer_bytes = buffer_bytes.next_multiple_of(BLOCK_ALIGN);
        let state = StagingState {
            open: None,
            ready: VecDeque::new(),
            spare: Vec::new(),
            buffers: 0,
            oversized: false,
            next_lsn,
            period: 1,
            dirty: Vec::new(),
            stalled: false,
            buffer_bytes,
            buffers_max,
        };
        Staging {
            state: Mutex::new(state),
            buffer_bytes,
        }
    }

    /// The lock; taken last of all locks.
    pub fn lock(&self) -> MutexGuard<'_, StagingState> {
        lock(&self.state)
    }

    /// The next group to be written, oldest first.
    pub fn take(&self) -> Option<Group> {
        let mut state = self.lock();
        state.ready.pop_front().or_else(|| state.open.take())
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        let state = self.lock();
        state.open.is_none() && state.ready.is_empty()
    }

    /// Gives a written group's buffer back.
    pub fn recycle(&self, group: Arc<Group>) {
        let ordinary = group.buffer.len() <= self.buffer_bytes;
        let group = Arc::into_inner(group);
        let mut state = self.lock();
        match group {
            Some(_) if ordinary && state.buffers > state.buffers_max => state.buffers -= 1,
            Some(mut group) if ordinary => {
                group.clear();
                state.spare.push(group);
            }
            // Somebody still looks at it; it frees itself.
            None if ordinary => state.buffers -= 1,
            _ => state.oversized = false,
        }
    }

    /// Frees the buffers that nobody uses.
    pub fn release_spare(&self) {
        let mut state = self.lock();
        let spare = std::mem::take(&mut state.spare);
        state.buffers -= spare.len();
        drop(state);
        drop(spare);
    }

    /// Refuses appends, or takes them again.
    pub fn stall(&self, stalled: bool) {
        self.lock().stalled = stalled;
    }
}
