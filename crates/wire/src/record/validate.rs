//! What Kafka's broker checks record by record (rule P2). We do it where it is asked for: on
//! compacted topics (keys) and on topics with `strict` validation (everything).
//!
//! The checks that the header alone allows were made before
//! ([`crate::batch::check_client_batch`]).

use super::{BatchRecords, RecordError};
use crate::batch::BatchView;
use crate::error::ErrorCode;

/// What a topic asks of each record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordRules {
    /// Compacted topics take no record without a key.
    pub keys_needed: bool,
    /// On CreateTime topics: the oldest and newest timestamp accepted, ms since 1970. A record
    /// without a timestamp (−1) passes.
    pub timestamps: Option<(i64, i64)>,
}

/// What a walk through all records found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validated {
    /// The largest timestamp, ms since 1970; −1 without any. The header may say otherwise: see
    /// [`crate::batch::set_max_timestamp`].
    pub max_timestamp: i64,
    /// The offset delta of the first record that has it.
    pub max_timestamp_delta: i32,
    /// Whether offset deltas are 0, 1, 2, …. If not, a compressed batch is to be written anew
    /// ([`super::rebuild`]), not refused.
    pub deltas_in_order: bool,
}

/// One record that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRefusal {
    /// Which record of the batch, from 0.
    pub index: i32,
    /// Why, for people.
    pub reason: &'static str,
}

/// A batch that is refused because of its records. The whole batch is refused.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {reason}")]
pub struct RecordsRefused {
    /// INVALID_RECORD, INVALID_TIMESTAMP or CORRUPT_MESSAGE; the first bad record decides.
    pub code: ErrorCode,
    /// For people.
    pub reason: String,
    /// The bad records, for Produce 8 and later; the first [`RECORD_REFUSALS_MAX`] of them.
    pub records: Vec<RecordRefusal>,
}

/// More refusals per batch help nobody and would let a small request ask for a large answer.
pub const RECORD_REFUSALS_MAX: usize = 100;

/// Walks every record of a batch; `cap` as in [`BatchRecords::open`].
///
/// # Errors
/// [`RecordsRefused`].
pub fn validate(
    batch: &BatchView<'_>,
    rules: &RecordRules,
    cap: usize,
) -> Result<Validated, RecordsRefused> {
    let records = BatchRecords::open(batch, cap).map_err(damaged)?;
    let mut found = Validated {
        max_timestamp: -1,
        max_timestamp_delta: -1,
        deltas_in_order: true,
    };
    let mut refused: Option<RecordsRefused> = None;
    for (index, record) in (0i32..).zip(&records) {
        let record = record.map_err(damaged)?;
        found.deltas_in_order &= record.offset_delta == index;
        if record.timestamp > found.max_timestamp {
            found.max_timestamp = record.timestamp;
            found.max_timestamp_delta = record.offset_delta;
        }
        let broken = match rules.timestamps {
            _ if rules.keys_needed && record.key.is_none() => Some((
                ErrorCode::InvalidRecord,
                "a compacted topic takes no record without a key",
            )),
            Some((min, max))
                if record.timestamp != -1 && !(min..=max).contains(&record.timestamp) =>
            {
                Some((
                    ErrorCode::InvalidTimestamp,
                    "the timestamp is out of the accepted range",
                ))
            }
            _ => None,
        };
        if let Some((code, reason)) = broken {
            let refused = refused.get_or_insert_with(|| RecordsRefused {
                code,
                reason: format!("record {index}: {reason}"),
                records: Vec::new(),
            });
            if refused.records.len() < RECORD_REFUSALS_MAX {
                refused.records.push(RecordRefusal { index, reason });
            }
        }
    }
    match refused {
        Some(refused) => Err(refused),
        None => Ok(found),
    }
}

fn damaged(error: RecordError) -> RecordsRefused {
    let code = match error {
        RecordError::UnknownCodec { .. } | RecordError::Count { .. } => ErrorCode::InvalidRecord,
        RecordError::Damaged { .. } => ErrorCode::InvalidRecord,
        RecordError::Decompress(_) => ErrorCode::CorruptMessage,
    };
    RecordsRefused {
        code,
        reason: error.to_string(),
        records: Vec::new(),
    }
}
