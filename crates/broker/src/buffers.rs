//! Read buffers: one shared by all connections of a reactor, lent for the length of a read.
//!
//! A received request is a slice of the buffer it was read into; when the last slice is dropped
//! the buffer returns to the shelf, already initialised. So a request handled within its read
//! costs no copy, no allocation and no clearing, and an idle connection owns no buffer at all.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::limits::{READ_BYTES_MAX, SPARE_BUFFERS_MAX};

/// The spare read buffers of one reactor.
#[derive(Clone, Default)]
pub struct Shelf(Arc<Mutex<Vec<Vec<u8>>>>);

struct Lent {
    bytes: Vec<u8>,
    shelf: Shelf,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.shelf.give_back(std::mem::take(&mut self.bytes));
    }
}

impl Shelf {
    /// An empty shelf.
    pub fn new() -> Shelf {
        Shelf::default()
    }

    /// An initialised buffer of [`READ_BYTES_MAX`] bytes.
    pub fn take(&self) -> Vec<u8> {
        let spare = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .pop();
        spare.unwrap_or_else(|| vec![0; READ_BYTES_MAX])
    }

    /// Keeps a buffer for the next read; odd sizes and more than a few are freed.
    pub fn give_back(&self, buffer: Vec<u8>) {
        if buffer.len() != READ_BYTES_MAX {
            return;
        }
        let mut spares = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if spares.len() < SPARE_BUFFERS_MAX {
            spares.push(buffer);
        }
    }

    /// The first `length` bytes of `buffer` as shared bytes; the buffer comes back to the shelf
    /// when the last slice of them is gone.
    pub fn freeze(&self, buffer: Vec<u8>, length: usize) -> Bytes {
        Bytes::from_owner(Lent {
            bytes: buffer,
            shelf: self.clone(),
        })
        .slice(..length)
    }

    /// Buffers on the shelf.
    pub fn spares(&self) -> usize {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_when_its_last_slice_is_dropped() {
        let shelf = Shelf::new();
        let mut buffer = shelf.take();
        buffer[..4].copy_from_slice(b"abcd");
        let frame = shelf.freeze(buffer, 4);
        let part = frame.slice(1..3);
        drop(frame);
        assert_eq!(&part[..], b"bc");
        assert_eq!(shelf.spares(), 0);
        drop(part);
        assert_eq!(shelf.spares(), 1);
    }
}
