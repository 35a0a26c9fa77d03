//! The bytes of one simulated file: sparse pages, shared between copies until written.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The unit a disk writes atomically, bytes.
pub(super) const SECTOR: usize = 512;
/// The unit of allocation and sharing, bytes.
pub(super) const PAGE: usize = 4096;

/// A file's bytes and length. Bytes that were never written are zero and take no room.
#[derive(Clone, Default)]
pub(super) struct Content {
    length: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Pages that take room.
    pub(super) fn pages(&self) -> u64 {
        self.pages.len() as u64
    }

    /// Pages of the range that would have to be allocated.
    pub(super) fn pages_missing(&self, position: u64, length: u64) -> u64 {
        let (first, behind) = page_range(position, length);
        (behind - first) - self.pages.range(first..behind).count() as u64
    }

    /// Numbers of the pages that take room, in order.
    pub(super) fn page_numbers(&self) -> Vec<u64> {
        self.pages.keys().copied().collect()
    }

    /// Reads below the length; says how many bytes.
    pub(super) fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        let left = self.length.saturating_sub(position);
        let count = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        self.read_raw(&mut buffer[..count], position);
        count
    }

    /// The whole sectors of a range, whatever the length says.
    pub(super) fn sectors(&self, position: u64, length: usize) -> (u64, Vec<u8>) {
        let start = position - position % SECTOR as u64;
        let end = (position + length as u64).next_multiple_of(SECTOR as u64);
        let mut bytes = vec![0; (end - start) as usize];
        self.read_raw(&mut bytes, start);
        (start, bytes)
    }

    /// Writes and extends.
    pub(super) fn write(&mut self, bytes: &[u8], position: u64) {
        self.write_raw(bytes, position);
        self.length = self.length.max(position + bytes.len() as u64);
    }

    /// Writes without touching the length.
    pub(super) fn write_raw(&mut self, mut bytes: &[u8], mut position: u64) {
        while !bytes.is_empty() {
            let skip = (position % PAGE as u64) as usize;
            let count = bytes.len().min(PAGE - skip);
            let page = self
                .pages
                .entry(position / PAGE as u64)
                .or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[skip..skip + count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            position += count as u64;
        }
    }

    /// Makes the length at least this.
    pub(super) fn grow(&mut self, length: u64) {
        self.length = self.length.max(length);
    }

    /// Cuts or extends; what is cut off reads as zeros if the file grows again.
    pub(super) fn set_len(&mut self, length: u64) {
        self.length = length;
        let tail = (length % PAGE as u64) as usize;
        let mut keep = length / PAGE as u64;
        if tail > 0 {
            if let Some(page) = self.pages.get_mut(&keep)
                && page[tail..].iter().any(|&byte| byte != 0)
            {
                Arc::make_mut(page)[tail..].fill(0);
            }
            keep += 1;
        }
        self.pages.split_off(&keep);
    }

    /// Becomes `length` allocated zero bytes.
    pub(super) fn zero_fill(&mut self, length: u64) {
        let zeros = Arc::new([0; PAGE]);
        let (_, behind) = page_range(0, length);
        self.pages = (0..behind).map(|page| (page, Arc::clone(&zeros))).collect();
        self.length = length;
    }

    fn read_raw(&self, mut buffer: &mut [u8], mut position: u64) {
        while !buffer.is_empty() {
            let skip = (position % PAGE as u64) as usize;
            let count = buffer.len().min(PAGE - skip);
            let (head, rest) = buffer.split_at_mut(count);
            match self.pages.get(&(position / PAGE as u64)) {
                Some(page) => head.copy_from_slice(&page[skip..skip + count]),
                None => head.fill(0),
            }
            buffer = rest;
            position += count as u64;
        }
    }
}

fn page_range(position: u64, length: u64) -> (u64, u64) {
    (
        position / PAGE as u64,
        (position + length).div_ceil(PAGE as u64),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_reads_as_zeros_when_the_file_grows_again() {
        let mut content = Content::default();
        content.write(&[7; 10_000], 100);
        assert_eq!(content.len(), 10_100);
        let copy = content.clone();
        content.set_len(5_000);
        content.set_len(10_100);
        let mut bytes = vec![1; 10_200];
        assert_eq!(content.read(&mut bytes, 0), 10_100);
        assert!(bytes[..100].iter().all(|&byte| byte == 0));
        assert!(bytes[100..5_000].iter().all(|&byte| byte == 7));
        assert!(bytes[5_000..10_100].iter().all(|&byte| byte == 0));
        let mut byte = [0];
        assert_eq!(copy.read(&mut byte, 10_000), 1);
        assert_eq!(byte, [7]);
    }
}
