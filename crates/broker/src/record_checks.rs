//! What some topics ask of a batch beyond its header: keys on compacted ones, old timestamps
//! where a bound is set, another codec where the topic names one.
//!
//! Other topics never get here: their records are not decoded (D7).

use metadata::config::{Compression, TimestampKind, TopicSettings};
use wire::ErrorCode;
use wire::batch::BatchView;
use wire::compress::{BATCH_DECOMPRESSED_BYTES_MAX, Codec};
use wire::record::{BuildError, RecordRules, RecordsRefused, rebuild, validate};

/// Why a batch is refused for its records.
pub struct Refused {
    /// The code of the answer.
    pub code: ErrorCode,
    /// For people.
    pub reason: String,
    /// Which records, and why each.
    pub records: Vec<(i32, &'static str)>,
}

impl From<RecordsRefused> for Refused {
    fn from(refused: RecordsRefused) -> Refused {
        Refused {
            code: refused.code,
            reason: refused.reason,
            records: refused
                .records
                .iter()
                .map(|record| (record.index, record.reason))
                .collect(),
        }
    }
}

impl From<BuildError> for Refused {
    fn from(error: BuildError) -> Refused {
        let code = match error {
            BuildError::Source(_) => ErrorCode::CorruptMessage,
            BuildError::TooLong { .. } => ErrorCode::MessageTooLarge,
            BuildError::Empty | BuildError::Compress(_) => ErrorCode::UnknownServerError,
        };
        Refused {
            code,
            reason: error.to_string(),
            records: Vec::new(),
        }
    }
}

/// Checks the records as far as the topic asks for it; the batch to append instead, if it has to
/// be written anew.
pub fn check_records(
    batch: &BatchView<'_>,
    settings: &TopicSettings,
    now_ms: i64,
) -> Result<Option<Vec<u8>>, Refused> {
    let create_time = settings.timestamp_kind == TimestampKind::CreateTime;
    let rules = RecordRules {
        // rule P2
        keys_needed: settings.cleanup.compact,
        timestamps: (create_time && settings.timestamp_before_ms_max < i64::MAX).then(|| {
            let oldest = now_ms.saturating_sub(settings.timestamp_before_ms_max);
            (
                oldest,
                now_ms.saturating_add(settings.timestamp_after_ms_max),
            )
        }),
    };
    if rules.keys_needed || rules.timestamps.is_some() {
        validate(batch, &rules, BATCH_DECOMPRESSED_BYTES_MAX)?;
    }
    // rule P4
    let Some(codec) = wanted_codec(settings.compression) else {
        return Ok(None);
    };
    if batch.codec() == Some(codec) {
        return Ok(None);
    }
    let anew = rebuild(batch, codec, None, BATCH_DECOMPRESSED_BYTES_MAX)?;
    let limit = usize::try_from(settings.message_bytes_max).unwrap_or(0);
    if anew.len() > limit {
        return Err(Refused {
            code: ErrorCode::MessageTooLarge,
            reason: format!("{} bytes after recompression, {limit} allowed", anew.len()),
            records: Vec::new(),
        });
    }
    Ok(Some(anew))
}

fn wanted_codec(compression: Compression) -> Option<Codec> {
    match compression {
        Compression::Producer => None,
        Compression::Uncompressed => Some(Codec::None),
        Compression::Gzip => Some(Codec::Gzip),
        Compression::Snappy => Some(Codec::Snappy),
        Compression::Lz4 => Some(Codec::Lz4),
        Compression::Zstd => Some(Codec::Zstd),
    }
}

#[cfg(test)]
mod tests {
    use metadata::ConfigMap;
    use metadata::config::{Layers, StaticConfig};
    use wire::record::{BatchBuilder, NewRecord};

    use super::*;

    fn settings(own: &[(&str, &str)]) -> TopicSettings {
        let own: ConfigMap = own.iter().copied().collect();
        let fixed = StaticConfig::default();
        TopicSettings::resolve(&Layers {
            own: Some(&own),
            broker: None,
            cluster: None,
            fixed: &fixed,
        })
    }

    fn batch(records: &[(Option<&[u8]>, i64)]) -> Vec<u8> {
        let mut builder = BatchBuilder::new();
        for (key, timestamp) in records {
            builder.append(&NewRecord {
                timestamp: *timestamp,
                key: *key,
                value: Some(b"v"),
                headers: &[],
            });
        }
        builder.build().expect("a batch")
    }

    fn check(bytes: &[u8], settings: &TopicSettings) -> Result<Option<Vec<u8>>, Refused> {
        check_records(&BatchView::whole(bytes).expect("a batch"), settings, 10_000)
    }

    #[test]
    fn a_compacted_topic_takes_no_record_without_a_key() {
        // rule P2
        let compacted = settings(&[("cleanup.policy", "compact")]);
        let mixed = batch(&[(Some(b"k"), 1), (None, 2), (Some(b"k"), 3)]);
        let refused = check(&mixed, &compacted).expect_err("a record has no key");
        assert_eq!(refused.code, ErrorCode::InvalidRecord);
        assert_eq!(
            refused
                .records
                .iter()
                .map(|record| record.0)
                .collect::<Vec<_>>(),
            [1]
        );
        assert!(
            check(&mixed, &settings(&[])).is_ok(),
            "other topics do not look"
        );
        assert!(check(&batch(&[(Some(b"k"), 1)]), &compacted).is_ok());
    }

    #[test]
    fn old_records_are_refused_where_a_bound_is_set() {
        // rule P2
        let bounded = settings(&[("message.timestamp.before.max.ms", "1000")]);
        let refused = check(&batch(&[(None, 9_500), (None, 8_000)]), &bounded)
            .expect_err("a record is too old");
        assert_eq!(refused.code, ErrorCode::InvalidTimestamp);
        assert!(check(&batch(&[(None, 9_500)]), &bounded).is_ok());
    }
}
