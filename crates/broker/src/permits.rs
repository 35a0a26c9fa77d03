//! The one budget of request bytes that all connections share.
//!
//! Invariant: the charged bytes exceed the budget by at most one read buffer per reactor plus
//! what the one overdraft holder needs to finish its frame. So hostile frames cannot fill
//! memory, and honest ones cannot wait for each other in a circle.
//!
//! A connection asks before it reads, and charges afterwards what it really keeps: a request
//! handled within its read costs nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::bell::Bell;

/// The budget. One per node.
pub struct Permits {
    total: usize,
    used: AtomicUsize,
    overdraft: AtomicBool,
    waiting: AtomicBool,
    refused: AtomicU64,
    bells: Mutex<Vec<Arc<Bell>>>,
}

/// What one connection has charged. Released when dropped.
pub struct Charge {
    permits: Arc<Permits>,
    bytes: usize,
    overdraft: bool,
}

impl Permits {
    /// A budget of `total` bytes.
    pub fn new(total: usize) -> Arc<Permits> {
        Arc::new(Permits {
            total,
            used: AtomicUsize::new(0),
            overdraft: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            bells: Mutex::new(Vec::new()),
        })
    }

    /// Rings `bell` whenever bytes came back while somebody waited.
    pub fn ring_when_freed(&self, bell: Arc<Bell>) {
        self.bells
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push(bell);
    }

    /// Bytes charged now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How often a connection was told to wait.
    pub fn refusals(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn free(&self, bytes: usize) {
        if bytes > 0 {
            self.used.fetch_sub(bytes, Ordering::AcqRel);
        }
        if self.waiting.swap(false, Ordering::AcqRel) {
            for bell in self
                .bells
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .iter()
            {
                bell.ring();
            }
        }
    }
}

impl Charge {
    /// An empty charge against `permits`.
    pub fn new(permits: Arc<Permits>) -> Charge {
        Charge {
            permits,
            bytes: 0,
            overdraft: false,
        }
    }

    /// Whether the connection may read now. After a refusal the bells ring when bytes come back.
    pub fn may_read(&mut self) -> bool {
        if self.overdraft || self.permits.used.load(Ordering::Acquire) < self.permits.total {
            return true;
        }
        // Only who holds part of a frame can help the node by finishing it.
        if self.bytes > 0 && !self.permits.overdraft.swap(true, Ordering::AcqRel) {
            self.overdraft = true;
            return true;
        }
        self.permits.waiting.store(true, Ordering::Release);
        self.permits.refused.fetch_add(1, Ordering::Relaxed);
        // Bytes that came back between the check and the flag would otherwise ring nobody.
        self.permits.used.load(Ordering::Acquire) < self.permits.total
    }

    /// Sets what the connection holds now; zero also returns the overdraft.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.permits
                .used
                .fetch_add(bytes - self.bytes, Ordering::AcqRel);
            self.bytes = bytes;
            return;
        }
        let freed = self.bytes - bytes;
        self.bytes = bytes;
        let returned = bytes == 0 && std::mem::take(&mut self.overdraft);
        if returned {
            self.permits.overdraft.store(false, Ordering::Release);
        }
        if freed > 0 || returned {
            self.permits.free(freed);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_budget_stops_readers_until_bytes_come_back() {
        let permits = Permits::new(100);
        let bell = Arc::new(Bell::new());
        permits.ring_when_freed(bell.clone());
        let mut first = Charge::new(permits.clone());
        let mut second = Charge::new(permits.clone());
        assert!(first.may_read());
        first.set(100);
        assert!(!second.may_read());
        assert!(!bell.take());
        first.set(0);
        assert!(bell.take());
        assert!(second.may_read());
    }

    #[test]
    fn one_holder_of_a_partial_frame_may_finish_it_over_the_budget() {
        let permits = Permits::new(100);
        let mut first = Charge::new(permits.clone());
        let mut second = Charge::new(permits.clone());
        first.set(60);
        second.set(60);
        assert!(first.may_read(), "the first takes the overdraft");
        assert!(!second.may_read(), "there is only one overdraft");
        first.set(500);
        assert!(first.may_read());
        drop(first);
        assert!(second.may_read());
        assert_eq!(permits.used(), 60);
    }
}
