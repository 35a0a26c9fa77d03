//! What std lacks: checksums, varints, checked cursors, byte sizes, nearest names.
//!
//! Invariants:
//! - Pure functions and plain values: no I/O, no clock, no threads, no chance.
//! - Nothing read from a slice is trusted: every length is checked against the bytes that are
//!   there before anything is allocated, and no input makes a function panic.
//!
//! This crate must never know Kafka, files, sockets or any other crate of the workspace.

pub mod byte_size;
pub mod checksum;
pub mod cursor;
pub mod nearest;
pub mod varint;

pub use byte_size::ByteSize;
pub use checksum::{Crc32c, crc32c, crc32c_extend};
pub use cursor::{CursorError, Reader, Writer};
pub use nearest::nearest;
