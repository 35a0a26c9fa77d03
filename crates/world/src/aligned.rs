//! Page-aligned memory for durable writes, mapped from the system and given back on drop.
//!
//! Mapped rather than allocated: pages cost memory only once touched, so a large staging buffer
//! that is used little stays small.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use crate::disk::DURABLE_ALIGN;

/// A fixed number of bytes, zeroed, whose address is a multiple of [`DURABLE_ALIGN`].
pub struct AlignedBuf {
    pointer: NonNull<u8>,
    length: usize,
}

impl AlignedBuf {
    /// Maps `length` zero bytes, rounded up to a multiple of [`DURABLE_ALIGN`], at least one.
    ///
    /// # Panics
    /// If the system has no memory left, as every allocation does.
    #[expect(unsafe_code, reason = "mmap has no safe form")]
    pub fn zeroed(length: usize) -> AlignedBuf {
        use rustix::mm::{MapFlags, ProtFlags};
        let length = length.max(1).next_multiple_of(DURABLE_ALIGN);
        // SAFETY: an anonymous private mapping at an address of the kernel's choice aliases
        // nothing; a page is at least DURABLE_ALIGN bytes on every Linux we run on.
        let mapped = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        };
        let pointer = mapped
            .ok()
            .and_then(|address| NonNull::new(address.cast::<u8>()));
        let Some(pointer) = pointer else {
            panic!("no memory for a buffer of {length} bytes");
        };
        AlignedBuf { pointer, length }
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];

    #[expect(unsafe_code, reason = "the mapping is raw memory")]
    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is `length` readable, initialised (zeroed) bytes, owned by us.
        unsafe { std::slice::from_raw_parts(self.pointer.as_ptr(), self.length) }
    }
}

impl DerefMut for AlignedBuf {
    #[expect(unsafe_code, reason = "the mapping is raw memory")]
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.as_ptr(), self.length) }
    }
}

impl Drop for AlignedBuf {
    #[expect(unsafe_code, reason = "munmap has no safe form")]
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `zeroed`, and no borrow of it outlives `self`.
        // It cannot fail with these arguments; if it did, the memory would leak.
        let _ = unsafe { rustix::mm::munmap(self.pointer.as_ptr().cast(), self.length) };
    }
}

// SAFETY: plain memory with one owner; shared access is read-only through `&self`.
#[expect(unsafe_code, reason = "NonNull is not Send by itself")]
unsafe impl Send for AlignedBuf {}
// SAFETY: as above.
#[expect(unsafe_code, reason = "NonNull is not Sync by itself")]
unsafe impl Sync for AlignedBuf {}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_zeroed_and_whole_blocks() {
        for length in [0, 1, 4095, 4096, 4097, 4 << 20] {
            let mut buffer = AlignedBuf::zeroed(length);
            assert!(buffer.len() >= length.max(1));
            assert_eq!(buffer.len() % DURABLE_ALIGN, 0);
            assert_eq!(buffer.as_ptr() as usize % DURABLE_ALIGN, 0);
            assert!(buffer.iter().all(|&byte| byte == 0));
            let last = buffer.len() - 1;
            buffer[last] = 7;
            assert_eq!(buffer[last], 7);
        }
    }
}
