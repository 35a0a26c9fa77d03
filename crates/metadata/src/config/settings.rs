//! Settings as plain data: what the process was started with, and a topic's effective values.

use std::collections::BTreeMap;

use super::effective::{Layers, topic_value};
use super::{Effect, Key, RULES, broker, parse_bool, split_list};

/// The broker keys given in the configuration file, the environment or flags, checked.
///
/// Lookups fall back to the declared default, and name only declared keys.
#[derive(Clone, Debug, Default)]
pub struct StaticConfig {
    given: BTreeMap<&'static str, String>,
}

/// What was wrong with one given key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StaticProblem {
    /// The process must not start: unknown key or bad value.
    Refuse(super::ConfigError),
    /// Tell the operator, then go on: a key without effect here. Name and reason.
    Warn(&'static str, String),
}

impl StaticConfig {
    /// Nothing given: every key has its default.
    pub const fn none() -> StaticConfig {
        StaticConfig {
            given: BTreeMap::new(),
        }
    }

    /// Checks each key and value. Later entries win over earlier ones of the same name.
    ///
    /// Everything that is wrong is reported at once, so that a person fixes a file in one go.
    pub fn load<'a>(
        entries: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> (StaticConfig, Vec<StaticProblem>) {
        let mut config = StaticConfig::default();
        let mut problems = Vec::new();
        for (name, value) in entries {
            let checked = broker::find_broker(name)
                .and_then(|key| key.validate_under(RULES, value).map(|()| key));
            match checked {
                Err(error) => problems.push(StaticProblem::Refuse(error)),
                Ok(key) => {
                    match key.effect {
                        Effect::Foreign => problems.push(StaticProblem::Warn(
                            key.name,
                            "it is one of Kafka's keys, but nothing here depends on it".into(),
                        )),
                        Effect::Accepted(note) => {
                            problems.push(StaticProblem::Warn(key.name, note.into()));
                        }
                        Effect::Acts | Effect::RefusedWhenOn(_) => {}
                    }
                    config.given.insert(key.name, value.trim().to_string());
                }
            }
        }
        (config, problems)
    }

    /// The value as given, without the default.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.given.get(name).map(String::as_str)
    }

    /// Every given key, by name.
    pub fn all_given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.given
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
    }

    /// The value or its default; `None` for null and for a name that is not declared.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.given(name).or_else(|| {
            broker::find_broker(name)
                .ok()
                .and_then(|key: &Key| key.default)
        })
    }

    /// A number of kind INT, SHORT or LONG; 0 if it is null.
    pub fn number(&self, name: &str) -> i64 {
        self.text(name)
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(0)
    }

    /// A BOOLEAN.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name).and_then(parse_bool).unwrap_or(false)
    }

    /// A LIST; empty if it is null.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.text(name).map(split_list).unwrap_or_default()
    }
}

/// When an acknowledgement is given (storage.md 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// After the flush.
    Durable,
    /// After the copy in memory.
    Os,
}

/// What happens to old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanup {
    /// Whole segments past the retention limits go.
    pub delete: bool,
    /// The newest record of each key stays.
    pub compact: bool,
}

/// How batches are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As the producer sent them.
    Producer,
    /// Not compressed.
    Uncompressed,
    /// gzip.
    Gzip,
    /// snappy.
    Snappy,
    /// lz4.
    Lz4,
    /// zstd.
    Zstd,
}

/// Whose clock stamps a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampKind {
    /// The producer's.
    CreateTime,
    /// The broker's, when the record arrives.
    LogAppendTime,
}

/// A topic's effective settings, the ones that act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// `cleanup.policy`.
    pub cleanup: Cleanup,
    /// `compression.type`.
    pub compression: Compression,
    /// `max.message.bytes`: the largest batch, bytes.
    pub message_bytes_max: i32,
    /// `message.timestamp.type`.
    pub timestamp_kind: TimestampKind,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_ms_max: i64,
    /// `min.insync.replicas`.
    pub insync_replicas_min: i32,
    /// `retention.bytes`, `None` without limit.
    pub retention_bytes: Option<i64>,
    /// `retention.ms`, `None` for ever.
    pub retention_ms: Option<i64>,
    /// `segment.bytes`.
    pub segment_bytes: i32,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`.
    pub compaction_lag_ms_min: i64,
    /// `max.compaction.lag.ms`.
    pub compaction_lag_ms_max: i64,
    /// `min.cleanable.dirty.ratio`, in parts of a million.
    pub dirty_ratio_min: u32,
    /// `sync.policy`.
    pub sync: SyncPolicy,
    /// `unclean.leader.election.enable`.
    pub unclean_election: bool,
}

impl TopicSettings {
    /// Reads every layer. A value that does not parse (it was checked when it was set) falls back
    /// to the built-in default.
    pub fn resolve(layers: &Layers<'_>) -> TopicSettings {
        let text = |name: &str| topic_value(name, layers).unwrap_or_default();
        let number = |name: &str| {
            let built_in = || {
                let key = super::topic::find_topic(name).ok()?;
                key.default?.parse::<i64>().ok()
            };
            text(name)
                .trim()
                .parse::<i64>()
                .ok()
                .or_else(built_in)
                .unwrap_or(0)
        };
        let int = |name: &str| i32::try_from(number(name)).unwrap_or(i32::MAX);
        let policy = text("cleanup.policy");
        let policies = split_list(&policy);
        TopicSettings {
            cleanup: Cleanup {
                delete: policies.contains(&"delete"),
                compact: policies.contains(&"compact"),
            },
            compression: match text("compression.type").trim() {
                "uncompressed" => Compression::Uncompressed,
                "gzip" => Compression::Gzip,
                "snappy" => Compression::Snappy,
                "lz4" => Compression::Lz4,
                "zstd" => Compression::Zstd,
                _ => Compression::Producer,
            },
            message_bytes_max: int("max.message.bytes"),
            timestamp_kind: match text("message.timestamp.type").trim() {
                "LogAppendTime" => TimestampKind::LogAppendTime,
                _ => TimestampKind::CreateTime,
            },
            timestamp_before_ms_max: number("message.timestamp.before.max.ms"),
            timestamp_after_ms_max: number("message.timestamp.after.max.ms"),
            insync_replicas_min: int("min.insync.replicas"),
            retention_bytes: Some(number("retention.bytes")).filter(|bytes| *bytes >= 0),
            retention_ms: Some(number("retention.ms")).filter(|ms| *ms >= 0),
            segment_bytes: int("segment.bytes"),
            segment_ms: number("segment.ms"),
            delete_retention_ms: number("delete.retention.ms"),
            compaction_lag_ms_min: number("min.compaction.lag.ms"),
            compaction_lag_ms_max: number("max.compaction.lag.ms"),
            dirty_ratio_min: millionths(&text("min.cleanable.dirty.ratio")),
            sync: if text("sync.policy").trim() == "os" {
                SyncPolicy::Os
            } else {
                SyncPolicy::Durable
            },
            unclean_election: parse_bool(&text("unclean.leader.election.enable")).unwrap_or(false),
        }
    }
}

/// A ratio of 0 to 1 in parts of a million; Kafka's half where it does not parse.
fn millionths(ratio: &str) -> u32 {
    let ratio = ratio.trim().parse::<f64>().unwrap_or(0.5);
    (ratio.clamp(0.0, 1.0) * 1_000_000.0).round() as u32
}
