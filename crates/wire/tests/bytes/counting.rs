//! An allocator that counts, per thread, what a piece of code allocates.
#![expect(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static CALLS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn note(bytes: isize) {
    // During a thread's end its counters may be gone; nothing is measured then.
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + bytes);
        if bytes > 0 {
            let _ = PEAK.try_with(|peak| peak.set(peak.get().max(live.get())));
            let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
        }
    });
}

// SAFETY: every call is passed on to the system's allocator unchanged; the counters are plain
// thread-local cells that never allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size as isize - layout.size() as isize);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What a piece of code allocated on this thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// The most bytes it held at once, beyond what was there before.
    pub peak: usize,
    /// How often it allocated or grew.
    pub calls: usize,
}

/// Runs `work` and counts.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, Counted) {
    let (before, calls) = (LIVE.get(), CALLS.get());
    PEAK.set(before);
    let result = work();
    let peak = (PEAK.get() - before).max(0) as usize;
    (
        result,
        Counted {
            peak,
            calls: CALLS.get() - calls,
        },
    )
}
