//! Memory that was freed and that the allocator keeps, given back to the system.
//!
//! A start, a recovery or ten thousand partitions that fall idle leave more free memory behind than
//! the process will use again soon. glibc returns it by itself only where it lies at the end of a
//! heap.

/// Freed bytes that make it worth a look.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const WORTH_BYTES: usize = 2 << 20;

/// Gives freed memory back to the system if there is more of it than `kept`, which is what the last
/// call returned (0 before the first). Returns the bytes free in the allocator's heaps, given back
/// or not. Takes milliseconds when it acts: not for a thread that answers requests.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "the allocator's interface is C")]
pub fn give_back_memory(kept: usize) -> usize {
    // SAFETY: takes no argument, reads the allocator's own counters under its own locks. The newer
    // `mallinfo2` would shut out systems whose glibc does not have it.
    let free = unsafe { libc::mallinfo() }.fordblks as u32 as usize;
    if free > kept + WORTH_BYTES {
        // SAFETY: releases pages that hold no allocation; 0 is the padding kept at the heap's end.
        unsafe { libc::malloc_trim(0) };
        return free;
    }
    free.min(kept)
}

/// Gives freed memory back to the system, where the allocator can.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn give_back_memory(kept: usize) -> usize {
    kept
}
