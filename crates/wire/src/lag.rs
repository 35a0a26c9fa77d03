//! How far a reader is behind: one definition for the command line, the metrics and the API.
//!
//! Lag in seconds is the age of the first record the reader has not read and could read, by the
//! time it was appended. It is zero when there is no such record, also where only control batches,
//! aborted transactions or holes left by compaction lie between the reader and the end: so it is
//! never computed from offsets. Wall clocks step, so it is never negative. A reader that has not
//! committed anything has no lag, which is not the same as none.
//!
//! Whoever asks finds the record: the broker knows append times; a client sees the record's
//! timestamp, which is the append time only on topics with `message.timestamp.type=LogAppendTime`
//! and the producer's word otherwise.

use crate::batch::batches;
use crate::compress::BATCH_DECOMPRESSED_BYTES_MAX;
use crate::ids::ProducerId;
use crate::record::BatchRecords;

/// Where a reader stands in a partition, and what it could read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The committed offset: the first record that was not read. None if nothing was committed.
    pub committed: Option<i64>,
    /// The first offset the partition still has.
    pub log_start: i64,
    /// The first offset the reader may not read: the high watermark, or the last stable offset for
    /// a reader of committed records.
    pub limit: i64,
}

/// How far behind a reader is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lag {
    /// Offsets between the reader and the limit: at least the records to read. None without a
    /// commit.
    pub records: Option<i64>,
    /// Milliseconds since the first unread record was appended. None without a commit.
    pub ms: Option<i64>,
    /// Offsets that retention removed before they were read.
    pub lost: i64,
}

impl Standing {
    /// The first offset the reader has yet to read that is still there; none without a commit.
    pub fn next(&self) -> Option<i64> {
        self.committed
            .map(|committed| committed.max(self.log_start))
    }

    /// Whether a readable record may lie before the limit. If not, nothing need be looked up.
    pub fn may_be_behind(&self) -> bool {
        self.next().is_some_and(|next| next < self.limit)
    }

    /// The lag, given when the first readable record from [`Self::next`] on was appended (none if
    /// there is no such record) and the time now, both in Unix milliseconds.
    pub fn lag(&self, first_unread_ms: Option<i64>, now_ms: i64) -> Lag {
        let Some(committed) = self.committed else {
            return Lag::default();
        };
        let next = committed.max(self.log_start);
        let age = first_unread_ms.map_or(0, |appended| now_ms.saturating_sub(appended).max(0));
        Lag {
            records: Some((self.limit - next).max(0)),
            ms: Some(age),
            lost: (self.log_start - committed).max(0),
        }
    }
}

/// What a look at some bytes of a log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The first readable record: its offset, and its timestamp in Unix milliseconds.
    Record {
        /// Its offset.
        offset: i64,
        /// Its timestamp.
        timestamp_ms: i64,
    },
    /// No readable record in these bytes; look on from this offset.
    Nothing {
        /// The first offset behind what was looked at.
        next: i64,
    },
}

/// Looks for the first record at or after `from` that a reader is shown: none of control batches,
/// and none of the aborted transactions given by producer and first offset.
///
/// Damaged batches count as readable at their header's timestamp: a reader stands before them, and
/// hiding its lag would hide the damage.
pub fn first_readable(bytes: &[u8], from: i64, aborted: &[(i64, i64)]) -> Found {
    let mut next = from;
    for batch in batches(bytes) {
        let Ok(batch) = batch else { break };
        let last = batch.last_offset().0;
        if last < from {
            continue;
        }
        next = last.saturating_add(1);
        let base = batch.base_offset().0;
        let ProducerId(producer) = batch.producer_id();
        let hidden = batch.is_control()
            || batch.is_transactional()
                && aborted
                    .iter()
                    .any(|(id, first)| *id == producer && base >= *first);
        if hidden {
            continue;
        }
        let Ok(records) = BatchRecords::open(&batch, BATCH_DECOMPRESSED_BYTES_MAX) else {
            return Found::Record {
                offset: base.max(from),
                timestamp_ms: batch.max_timestamp(),
            };
        };
        for record in records.iter() {
            let Ok(record) = record else { break };
            if record.offset.0 >= from {
                return Found::Record {
                    offset: record.offset.0,
                    timestamp_ms: record.timestamp,
                };
            }
        }
    }
    Found::Nothing { next }
}

/// Milliseconds until a reader has caught up at these rates (records a second); none for never.
pub fn catch_up_ms(records: i64, read_rate: f64, write_rate: f64) -> Option<i64> {
    if records <= 0 {
        return Some(0);
    }
    let gain = read_rate - write_rate;
    let ms = records as f64 / gain * 1000.0;
    (gain > 0.0 && ms < i64::MAX as f64).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch;
    use crate::ids::{LeaderEpoch, Offset, ProducerEpoch};
    use crate::record::{BatchBuilder, NewRecord};

    fn standing(committed: Option<i64>, log_start: i64, limit: i64) -> Standing {
        Standing {
            committed,
            log_start,
            limit,
        }
    }

    fn with(mut builder: BatchBuilder, base: i64, stamps: &[i64]) -> Vec<u8> {
        for timestamp in stamps {
            builder.append(&NewRecord {
                timestamp: *timestamp,
                key: None,
                value: Some(b"v"),
                headers: &[],
            });
        }
        let mut bytes = builder.build().expect("a batch");
        batch::stamp_header(&mut bytes, Offset(base), LeaderEpoch(0));
        bytes
    }

    #[test]
    fn lag_is_the_age_of_the_first_unread_record() {
        // experience.md 4.3
        let lag = standing(Some(10), 0, 15).lag(Some(1_000), 4_500);
        assert_eq!((lag.records, lag.ms, lag.lost), (Some(5), Some(3_500), 0));
    }

    #[test]
    fn lag_is_zero_when_nothing_readable_is_left_whatever_the_offsets_say() {
        assert!(!standing(Some(15), 0, 15).may_be_behind());
        let holes = standing(Some(10), 0, 15);
        assert!(holes.may_be_behind());
        assert_eq!(holes.lag(None, 9_999).ms, Some(0));
        let mut log = with(BatchBuilder::new().control(), 10, &[5]);
        let transaction = BatchBuilder::new()
            .producer(ProducerId(7), ProducerEpoch(0), 0)
            .transactional();
        log.extend(with(transaction, 11, &[6, 7]));
        assert_eq!(
            first_readable(&log, 10, &[(7, 11)]),
            Found::Nothing { next: 13 }
        );
        assert_eq!(
            first_readable(&log, 10, &[(7, 12)]),
            Found::Record {
                offset: 11,
                timestamp_ms: 6
            }
        );
    }

    #[test]
    fn a_clock_that_stepped_back_never_makes_it_negative() {
        assert_eq!(standing(Some(1), 0, 2).lag(Some(9_000), 4_000).ms, Some(0));
    }

    #[test]
    fn without_a_commit_there_is_no_number() {
        assert_eq!(standing(None, 0, 9).lag(None, 1), Lag::default());
        assert!(!standing(None, 0, 9).may_be_behind());
    }

    #[test]
    fn what_retention_removed_is_counted_as_lost_and_lag_begins_at_the_log_start() {
        let behind = standing(Some(3), 10, 12);
        assert_eq!(behind.next(), Some(10));
        let lag = behind.lag(Some(0), 1_000);
        assert_eq!((lag.records, lag.ms, lag.lost), (Some(2), Some(1_000), 7));
    }

    #[test]
    fn records_before_the_position_are_passed_over_inside_their_batch() {
        let log = with(BatchBuilder::new(), 4, &[10, 20, 30]);
        let found = Found::Record {
            offset: 5,
            timestamp_ms: 20,
        };
        assert_eq!(first_readable(&log, 5, &[]), found);
        assert_eq!(first_readable(&log, 7, &[]), Found::Nothing { next: 7 });
        assert_eq!(
            first_readable(&log[..20], 4, &[]),
            Found::Nothing { next: 4 }
        );
    }

    #[test]
    fn a_reader_that_gains_nothing_never_catches_up() {
        assert_eq!(catch_up_ms(100, 60.0, 10.0), Some(2_000));
        assert_eq!(catch_up_ms(100, 10.0, 10.0), None);
        assert_eq!(catch_up_ms(100, 1.0, 10.0), None);
        assert_eq!(catch_up_ms(0, 0.0, 10.0), Some(0));
    }
}
