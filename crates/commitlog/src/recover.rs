//! Reading the shared log back: which blocks are there, in what order, and where it ends.
//!
//! Recovery is bounded by the log, not by the data: only the log's slots are read, and only the
//! segments that the log names are opened (storage.md section 6). The slots are read past the page
//! cache where the disk allows it, so that what is believed is what the disk holds.

use std::sync::Arc;

use world::disk::{DURABLE_ALIGN, DiskResult};
use world::{AlignedBuf, File};

use crate::block::{
    BLOCK_HEADER_BYTES, BlockHeader, CONTINUES_RETIRED, block_bytes, check_block, parse_header,
};

/// Bytes read at once: several blocks of a busy log.
const WINDOW_BYTES: usize = 8 << 20;
/// Bytes of nothing after which a slot counts as never used.
const LOOK_BYTES: usize = 1 << 20;

/// A slot's file.
#[derive(Clone)]
pub(crate) struct SlotFile {
    pub number: u32,
    pub file: Arc<dyn File>,
}

/// What the log's walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// Last valid block, or the one before the first asked for.
    pub last_lsn: u64,
    /// Its CRC; `None` if no block was read.
    pub last_crc: Option<u32>,
    /// Blocks walked.
    pub blocks: u64,
    /// Last LSN of each slot that holds blocks of the log.
    pub slots: Vec<(u32, u64)>,
    /// Something lay behind the last block that was not empty: a group that was being written.
    pub torn: bool,
    /// An acknowledged block is missing: the first one, and what lies there.
    pub lost: Option<(u64, String)>,
}

/// Walks over the blocks of the log from `from` on, in order, at most up to `to`. `each` gets header
/// and bytes of each block.
pub(crate) fn walk_log<E: From<world::DiskError>>(
    slots: &[SlotFile],
    slot_bytes: u64,
    from: u64,
    to: u64,
    mut each: impl FnMut(&BlockHeader, &[u8]) -> Result<(), E>,
) -> Result<LogEnd, E> {
    let mut heads = Vec::new();
    let mut reader = SlotReader::new(slots, slot_bytes);
    for at in 0..slots.len() {
        reader.turn_to(at, false);
        if let Some(head) = reader.valid_block(0)?.map(|(head, _, _)| head) {
            heads.push((head, at));
        }
    }
    heads.sort_by_key(|(head, at)| (head.lsn, head.flags & CONTINUES_RETIRED != 0, *at));
    let mut end = LogEnd {
        last_lsn: from.saturating_sub(1),
        ..LogEnd::default()
    };

    // The slot that holds `from` is the last one that begins at or before it.
    let mut next = heads.iter().rposition(|(head, _)| head.lsn <= from);
    let mut expected = next.map_or(from, |at| heads[at].0.lsn);
    let mut chain: Option<u32> = None;
    let mut invalid = String::from("no slot begins with it");
    let mut rest: Option<(usize, u64, u64)> = None;
    'slots: while let Some(at) = next {
        let (first, slot) = &heads[at];
        reader.turn_to(*slot, true);
        let (generation, mut position) = (first.generation, 0);
        loop {
            // A slot that continues this one, after its retirement, wins over what is here.
            let continued = position > 0
                && heads.iter().any(|(head, _)| {
                    head.lsn == expected
                        && head.flags & CONTINUES_RETIRED != 0
                        && head.retired_generation == generation
                });
            let block = if continued {
                None
            } else {
                reader.valid_block(position)?
            };
            let fits = block.filter(|(head, _, _)| {
                head.generation == generation
                    && head.lsn == expected
                    && chain.is_none_or(|chain| chain == head.previous_crc)
            });
            let Some((head, crc, length)) = fits else {
                if !continued {
                    invalid = reader.describe(position)?;
                    rest = Some((*slot, position, generation));
                }
                break;
            };
            if head.lsn > to {
                break 'slots;
            }
            if head.lsn >= from {
                let block = reader.block(position, length)?;
                each(&head, block)?;
                end.blocks += 1;
                end.last_crc = Some(crc);
                end.last_lsn = head.lsn;
            } else if head.lsn + 1 == from {
                end.last_crc = Some(crc);
            }
            note_slot(&mut end.slots, slots[*slot].number, head.lsn);
            chain = Some(crc);
            expected = head.lsn + 1;
            position += length as u64;
        }
        next = heads.iter().rposition(|(head, _)| head.lsn == expected);
        // What ends below `from` and is not continued is an empty log.
        if next.is_none() && expected < from {
            chain = None;
            next = heads.iter().rposition(|(head, _)| head.lsn == from);
            if next.is_some() {
                expected = from;
            }
        }
    }
    if to < u64::MAX {
        return Ok(end);
    }
    let missing = end.last_lsn + 1;
    if find_voucher(&mut reader, &heads, rest, missing)? {
        end.lost = Some((missing, invalid));
    } else if let Some((slot, position, _)) = rest {
        reader.turn_to(slot, false);
        end.torn = reader.has_lsn(position, missing)?;
    }
    Ok(end)
}

fn note_slot(slots: &mut Vec<(u32, u64)>, number: u32, lsn: u64) {
    match slots.iter_mut().find(|(known, _)| *known == number) {
        Some((_, last)) => *last = lsn,
        None => slots.push((number, lsn)),
    }
}

/// Whether any valid block behind the first invalid one says that `missing` had been acknowledged:
/// then it is corruption, not a torn tail (storage.md 6.3).
fn find_voucher(
    reader: &mut SlotReader<'_>,
    heads: &[(BlockHeader, usize)],
    rest: Option<(usize, u64, u64)>,
    missing: u64,
) -> DiskResult<bool> {
    let later = heads
        .iter()
        .filter(|(head, _)| head.lsn > missing)
        .map(|(head, slot)| (*slot, 0, head.generation));
    // A slot whose first block is damaged says nothing by its head; what stands behind it does.
    // What an earlier use left there has lower LSNs.
    let headless = (0..reader.slots.len())
        .filter(|slot| heads.iter().all(|(_, known)| known != slot))
        .map(|slot| (slot, 0, None));
    let known = rest
        .into_iter()
        .chain(later)
        .map(|(slot, position, generation)| (slot, position, Some(generation)));
    for (slot, position, generation) in known.chain(headless) {
        reader.turn_to(slot, generation.is_some());
        let mut at = position;
        let mut looked = 0;
        while at < reader.slot_bytes {
            if generation.is_none() && at >= looked {
                // Most such slots were never used.
                if reader.is_zero(at)? {
                    break;
                }
                reader.turn_to(slot, true);
                looked = at + LOOK_BYTES as u64;
            }
            match reader.valid_block(at)? {
                Some((head, _, length))
                    if generation.is_none_or(|generation| head.generation == generation) =>
                {
                    if head.lsn > missing && head.durable_lsn >= missing {
                        return Ok(true);
                    }
                    at += length as u64;
                }
                _ => at += DURABLE_ALIGN as u64,
            }
        }
    }
    Ok(false)
}

/// Reads blocks, of one slot after the other, through one window that moves over it.
struct SlotReader<'a> {
    slots: &'a [SlotFile],
    slot: usize,
    slot_bytes: u64,
    /// Whether more than what is asked for is read, for it will be asked for next.
    ahead: bool,
    window: AlignedBuf,
    start: u64,
    length: usize,
}

impl<'a> SlotReader<'a> {
    fn new(slots: &'a [SlotFile], slot_bytes: u64) -> SlotReader<'a> {
        SlotReader {
            slots,
            slot: 0,
            slot_bytes,
            ahead: false,
            window: AlignedBuf::zeroed(WINDOW_BYTES.min(slot_bytes as usize)),
            start: 0,
            length: 0,
        }
    }

    /// Reads from this slot from now on.
    fn turn_to(&mut self, slot: usize, ahead: bool) {
        self.ahead = ahead;
        if self.slot != slot {
            self.slot = slot;
            self.length = 0;
        }
    }

    /// Makes sure that `length` bytes from `position` are in the window; says how many are. What the
    /// window held of them is not read again.
    fn load(&mut self, position: u64, length: usize) -> DiskResult<usize> {
        let end = self.start + self.length as u64;
        let inside = position >= self.start && position + length as u64 <= end;
        if !inside {
            let left = self.slot_bytes.saturating_sub(position) as usize;
            let kept = if (self.start..end).contains(&position) {
                (position - self.start) as usize..self.length
            } else {
                0..0
            };
            let mut have = kept.len();
            if self.window.len() < length {
                let mut larger = AlignedBuf::zeroed(length);
                larger[..have].copy_from_slice(&self.window[kept]);
                self.window = larger;
            } else {
                self.window.copy_within(kept, 0);
            }
            self.start = position;
            self.length = have;
            let most = if self.ahead {
                self.window.len()
            } else {
                length
            };
            let wanted = most.min(left);
            have += self.slots[self.slot]
                .file
                .read_at(&mut self.window[have..wanted], position + have as u64)?;
            self.length = have;
        }
        let have = (self.start + self.length as u64).saturating_sub(position);
        Ok(length.min(have as usize))
    }

    fn block(&mut self, position: u64, length: usize) -> DiskResult<&[u8]> {
        let have = self.load(position, length)?;
        let from = (position - self.start) as usize;
        Ok(&self.window[from..from + have])
    }

    /// Whether the bytes from `position` on hold nothing, as far as one look goes.
    fn is_zero(&mut self, position: u64) -> DiskResult<bool> {
        let left = self.slot_bytes.saturating_sub(position) as usize;
        let bytes = self.block(position, LOOK_BYTES.min(left))?;
        Ok(bytes.iter().all(|byte| *byte == 0))
    }

    /// Header, CRC and bytes on disk of the block at `position`, if it is one.
    fn valid_block(&mut self, position: u64) -> DiskResult<Option<(BlockHeader, u32, usize)>> {
        let room = self.slot_bytes.saturating_sub(position);
        if room < DURABLE_ALIGN as u64 {
            return Ok(None);
        }
        let header = match self
            .block(position, DURABLE_ALIGN)?
            .first_chunk::<BLOCK_HEADER_BYTES>()
        {
            Some(head) => match parse_header(head, room) {
                Ok((header, _)) => header,
                Err(_) => return Ok(None),
            },
            None => return Ok(None),
        };
        let length = block_bytes(header.length as usize);
        let block = self.block(position, length)?;
        Ok(check_block(block)
            .ok()
            .map(|(header, crc)| (header, crc, length)))
    }

    /// What lies at `position`, for people.
    fn describe(&mut self, position: u64) -> DiskResult<String> {
        let number = self.slots[self.slot].number;
        let what = match self.block(position, DURABLE_ALIGN)? {
            [] => "the end of the slot".to_owned(),
            block => match check_block(block) {
                Ok((header, _)) => format!("block {} of another use", header.lsn),
                Err(error) => format!("{error:?}"),
            },
        };
        Ok(format!("slot {number}, byte {position}: {what}"))
    }

    /// Whether a damaged block with this LSN lies at `position`.
    fn has_lsn(&mut self, position: u64, lsn: u64) -> DiskResult<bool> {
        let room = self.slot_bytes.saturating_sub(position);
        let head = self
            .block(position, DURABLE_ALIGN)?
            .first_chunk::<BLOCK_HEADER_BYTES>();
        Ok(head
            .and_then(|head| parse_header(head, room).ok())
            .is_some_and(|(header, _)| header.lsn == lsn))
    }
}
