//! What becomes of one batch when a log is compacted (rules C1 to C3): the decision, without any
//! bookkeeping of where it came from and where it goes.

use wire::batch::{BatchView, check_crc};
use wire::compress::BATCH_DECOMPRESSED_BYTES_MAX;
use wire::record::{Horizon, Record, Retained, empty_batch, retain};

use crate::batch_head::BatchHead;
use crate::compact::keys::Keys;
use crate::compact::transactions::Seen;
use crate::transactions::AbortedTransaction;

/// Why a batch cannot be compacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the batch at {offset} cannot be compacted: {reason}")]
pub(crate) struct Unreadable {
    pub offset: i64,
    pub reason: String,
}

/// What a pass knows when it looks at a batch.
pub(crate) struct Rules<'a> {
    /// The newest offset of each key in the dirty part.
    pub keys: &'a Keys,
    /// When the pass began, ms since 1970.
    pub now_ms: i64,
    /// How long tombstones and lone markers stay, ms.
    pub delete_retention_ms: i64,
    /// Last offset of each producer that may still append, by producer.
    pub producers: &'a [(i64, i64)],
    /// Where the pass ends: the batch that ends here leaves at least its header.
    pub end: i64,
}

/// What becomes of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays as it is.
    Whole,
    /// These bytes take its place; with how many records.
    Instead(Vec<u8>),
    /// It goes.
    Gone,
}

impl Rules<'_> {
    /// Decides on a data or control batch; `aborted` gets the transaction whose marker it is, if
    /// that stays in the index.
    pub fn fate(
        &self,
        head: &BatchHead,
        batch: &BatchView<'_>,
        seen: &mut Seen,
        aborted: &mut Option<AbortedTransaction>,
    ) -> Result<Fate, Unreadable> {
        let horizon_ms = batch.delete_horizon_ms();
        let past = horizon_ms.is_some_and(|at_ms| at_ms <= self.now_ms);
        let (lone_marker, discard) = if head.is_control() {
            let marker = seen.control(head, batch);
            *aborted = marker.aborted;
            (marker.alone, marker.alone && past)
        } else {
            (false, seen.data(head))
        };
        let leaves_header = self.is_last_of_producer(head) || head.end() == self.end;
        if discard {
            return Ok(self.emptied(batch, leaves_header));
        }
        let horizon = Horizon {
            at_ms: self.now_ms.saturating_add(self.delete_retention_ms),
            always: lone_marker,
        };
        let control = head.is_control();
        let keep = |record: &Record<'_>| control || self.keeps(record, past);
        match retain(batch, horizon, BATCH_DECOMPRESSED_BYTES_MAX, keep) {
            Ok(Retained::Whole) => Ok(Fate::Whole),
            Ok(Retained::Part { bytes, .. }) => Ok(Fate::Instead(bytes)),
            Ok(Retained::Nothing) => Ok(self.emptied(batch, leaves_header)),
            Err(error) => Err(Unreadable {
                offset: head.base_offset,
                reason: error.to_string(),
            }),
        }
    }

    /// The newest record of its key stays; a tombstone until its horizon. A record without a key
    /// has no place in a compacted log (rule C4).
    fn keeps(&self, record: &Record<'_>, past: bool) -> bool {
        let Some(key) = record.key else {
            return false;
        };
        let newest = self
            .keys
            .newest(key)
            .is_none_or(|newest| record.offset.0 >= newest);
        newest && (record.value.is_some() || !past)
    }

    /// Rule C3: the last batch of a producer carries its sequence number and epoch.
    fn is_last_of_producer(&self, head: &BatchHead) -> bool {
        head.producer_id >= 0
            && self
                .producers
                .binary_search_by_key(&head.producer_id, |(id, _)| *id)
                .is_ok_and(|at| self.producers[at].1 == head.last_offset().0)
    }

    fn emptied(&self, batch: &BatchView<'_>, leaves_header: bool) -> Fate {
        match (leaves_header, batch.record_count()) {
            (false, _) => Fate::Gone,
            (true, 0) => Fate::Whole,
            (true, _) => Fate::Instead(empty_batch(batch).to_vec()),
        }
    }
}

/// A batch of a segment, its checksum looked at: rot must not get a fresh one.
pub(crate) fn sound_batch<'a>(
    head: &BatchHead,
    bytes: &'a [u8],
) -> Result<BatchView<'a>, Unreadable> {
    let unreadable = |reason: &str| Unreadable {
        offset: head.base_offset,
        reason: reason.to_owned(),
    };
    let batch = BatchView::whole(bytes).map_err(|_| unreadable("it is no batch"))?;
    if !check_crc(&batch) {
        return Err(unreadable("its checksum does not hold"));
    }
    Ok(batch)
}
