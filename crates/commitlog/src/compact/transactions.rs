//! What a pass over a log knows of its transactions: which data was aborted and goes, and which
//! markers are of no use any more because nothing of their transaction is left.
//!
//! Batches are seen in offset order. A marker waits until a pass meets none of its transaction's
//! batches, and then until its delete horizon (rule C2): a reader that has the data must find the
//! marker behind it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wire::batch::BatchView;
use wire::record::BatchRecords;

use crate::batch_head::BatchHead;
use crate::transactions::AbortedTransaction;

const ABORT: i16 = 0;
const COMMIT: i16 = 1;
/// A control batch's records are a few bytes.
const CONTROL_BYTES_MAX: usize = 1 << 20;

/// The transactions of one pass.
#[derive(Clone, Default)]
pub(crate) struct Seen {
    /// Aborted ones whose first offset was not reached yet, by that.
    waiting: VecDeque<AbortedTransaction>,
    /// Aborted ones that are open where the pass stands, and whether data of them was met.
    aborted: BTreeMap<i64, (AbortedTransaction, bool)>,
    /// Producers of committed data whose marker was not met yet.
    committed: BTreeSet<i64>,
}

/// What a marker means to the pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MarkerSeen {
    /// Nothing of its transaction is left: it may go in time.
    pub alone: bool,
    /// The aborted transaction it ends, if data of it is left: it stays in the index.
    pub aborted: Option<AbortedTransaction>,
}

impl Seen {
    /// A pass over a log with these aborted transactions.
    pub fn new(mut aborted: Vec<AbortedTransaction>) -> Seen {
        aborted.sort_by_key(|transaction| (transaction.first_offset, transaction.last_offset));
        Seen {
            waiting: aborted.into(),
            ..Seen::default()
        }
    }

    /// A data batch comes by; says whether it was aborted.
    pub fn data(&mut self, head: &BatchHead) -> bool {
        self.reach(head);
        if !head.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&head.producer_id) {
            Some((_, met)) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(head.producer_id);
                false
            }
        }
    }

    /// A control batch comes by.
    pub fn control(&mut self, head: &BatchHead, batch: &BatchView<'_>) -> MarkerSeen {
        self.reach(head);
        let stays = MarkerSeen {
            alone: false,
            aborted: None,
        };
        if head.records == 0 {
            // Emptied by an earlier pass.
            return MarkerSeen {
                alone: true,
                ..stays
            };
        }
        match control_kind(batch) {
            Some(ABORT) => match self.aborted.remove(&head.producer_id) {
                Some((transaction, true)) => MarkerSeen {
                    alone: false,
                    aborted: Some(transaction),
                },
                _ => MarkerSeen {
                    alone: true,
                    ..stays
                },
            },
            Some(COMMIT) => MarkerSeen {
                alone: !self.committed.remove(&head.producer_id),
                ..stays
            },
            _ => stays,
        }
    }

    fn reach(&mut self, head: &BatchHead) {
        let last = head.last_offset();
        while let Some(next) = self
            .waiting
            .pop_front_if(|transaction| transaction.first_offset <= last)
        {
            // One that ended below is not open here: its marker went with an earlier pass.
            if next.last_offset.0 >= head.base_offset {
                self.aborted
                    .entry(next.producer_id.0)
                    .or_insert((next, false));
            }
        }
    }
}

/// Abort, commit, or something of a later time.
fn control_kind(batch: &BatchView<'_>) -> Option<i16> {
    let records = BatchRecords::open(batch, CONTROL_BYTES_MAX).ok()?;
    let record = records.iter().next()?.ok()?;
    // Version, then type.
    let key = record.key?.get(2..4)?;
    Some(i16::from_be_bytes([key[0], key[1]]))
}
