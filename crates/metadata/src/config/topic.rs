//! The topic keys: all 32 of Kafka's client library, the deprecated ones that older clients still
//! send, the two of the reassignment tool, and our own.

use super::{Alias, Check, ConfigError, Effect, Key, Kind, RULES, Unit, find};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

const NO_LOCAL_FILES: Effect =
    Effect::Accepted("every record goes through one shared log; there is no such file");
const SYNC_POLICY_DECIDES: Effect =
    Effect::Accepted("sync.policy decides when a record is durable");
const NO_TIERING: &str = "tiered storage does not exist here yet";
const OLD_CLIENT: Effect = Effect::Accepted("a key of older Kafka versions; ignored");
pub(super) const NO_COMPACTION: &str =
    "log compaction did not exist under these rules; use cleanup.policy=delete";

/// All topic keys, by name.
pub static TOPIC: &[Key] = &[
    Key::new(
        "cleanup.policy",
        Kind::List,
        "delete",
        "What happens to old records. delete removes whole segments past the retention limits; \
         an empty list keeps everything. compact keeps the newest record of each key.",
    )
    .check(Check::EachOf(&["compact", "delete"]))
    .dynamic()
    .aliases(&[Alias {
        name: "log.cleanup.policy",
        scale: 1,
    }])
    .refused_before(2, "compact", NO_COMPACTION),
    Key::new(
        "compression.gzip.level",
        Kind::Int,
        "-1",
        "The gzip level, where the broker recompresses to gzip.",
    )
    .check(Check::GzipLevel)
    .dynamic()
    .effect(DEFAULT_LEVEL_ONLY)
    .aliases(&[Alias {
        name: "compression.gzip.level",
        scale: 1,
    }]),
    Key::new(
        "compression.lz4.level",
        Kind::Int,
        "9",
        "The lz4 level, where the broker recompresses to lz4.",
    )
    .check(Check::Between(1, 17))
    .dynamic()
    .effect(DEFAULT_LEVEL_ONLY)
    .aliases(&[Alias {
        name: "compression.lz4.level",
        scale: 1,
    }]),
    Key::new(
        "compression.type",
        Kind::Text,
        "producer",
        "How batches are stored. producer keeps what the producer sent, untouched.",
    )
    .check(Check::OneOf(&[
        "uncompressed",
        "zstd",
        "lz4",
        "snappy",
        "gzip",
        "producer",
    ]))
    .dynamic()
    .aliases(&[Alias {
        name: "compression.type",
        scale: 1,
    }]),
    Key::new(
        "compression.zstd.level",
        Kind::Int,
        "3",
        "The zstd level, where the broker recompresses to zstd.",
    )
    .check(Check::Between(-131_072, 22))
    .dynamic()
    .effect(DEFAULT_LEVEL_ONLY)
    .aliases(&[Alias {
        name: "compression.zstd.level",
        scale: 1,
    }]),
    Key::new(
        "delete.retention.ms",
        Kind::Long,
        "86400000",
        "How long a tombstone stays in a compacted topic, so that a reader who started at the \
         beginning still sees it.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .aliases(&[Alias {
        name: "log.cleaner.delete.retention.ms",
        scale: 1,
    }]),
    Key::new(
        "file.delete.delay.ms",
        Kind::Long,
        "60000",
        "How long Kafka waits before it removes a file it no longer needs.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(Effect::Accepted(
        "a file is removed when its last reader lets go",
    ))
    .aliases(&[Alias {
        name: "log.segment.delete.delay.ms",
        scale: 1,
    }]),
    Key::new(
        "flush.messages",
        Kind::Long,
        "9223372036854775807",
        "After how many records Kafka forces a flush.",
    )
    .check(Check::AtLeast(1))
    .dynamic()
    .effect(SYNC_POLICY_DECIDES)
    .aliases(&[Alias {
        name: "log.flush.interval.messages",
        scale: 1,
    }]),
    Key::new(
        "flush.ms",
        Kind::Long,
        "9223372036854775807",
        "After how much time Kafka forces a flush.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(SYNC_POLICY_DECIDES)
    .aliases(&[
        Alias {
            name: "log.flush.interval.ms",
            scale: 1,
        },
        Alias {
            name: "log.flush.scheduler.interval.ms",
            scale: 1,
        },
    ]),
    Key::new(
        "follower.replication.throttled.replicas",
        Kind::List,
        "",
        "Followers whose copying the reassignment tool slows down.",
    )
    .check(Check::ThrottledReplicas)
    .dynamic()
    .effect(Effect::Accepted("replication is not throttled")),
    Key::new(
        "index.interval.bytes",
        Kind::Int,
        "4096",
        "How densely Kafka's offset index is filled.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(NO_LOCAL_FILES)
    .aliases(&[Alias {
        name: "log.index.interval.bytes",
        scale: 1,
    }]),
    Key::new(
        "leader.replication.throttled.replicas",
        Kind::List,
        "",
        "Leaders whose copying the reassignment tool slows down.",
    )
    .check(Check::ThrottledReplicas)
    .dynamic()
    .effect(Effect::Accepted("replication is not throttled")),
    Key::new(
        "local.retention.bytes",
        Kind::Long,
        "-2",
        "How much of a tiered partition stays on the local disk; -2 follows retention.bytes.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(-2))
    .dynamic()
    .effect(Effect::RefusedWhenOn(NO_TIERING))
    .aliases(&[Alias {
        name: "log.local.retention.bytes",
        scale: 1,
    }]),
    Key::new(
        "local.retention.ms",
        Kind::Long,
        "-2",
        "How long a tiered partition's records stay on the local disk; -2 follows retention.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(-2))
    .dynamic()
    .effect(Effect::RefusedWhenOn(NO_TIERING))
    .aliases(&[Alias {
        name: "log.local.retention.ms",
        scale: 1,
    }]),
    Key::new(
        "max.compaction.lag.ms",
        Kind::Long,
        "9223372036854775807",
        "The longest a record may wait to be compacted.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .dynamic()
    .aliases(&[Alias {
        name: "log.cleaner.max.compaction.lag.ms",
        scale: 1,
    }]),
    Key::new(
        "max.message.bytes",
        Kind::Int,
        "1048588",
        "The largest record batch a producer may send, as it is stored.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(0))
    .dynamic()
    .aliases(&[Alias {
        name: "message.max.bytes",
        scale: 1,
    }]),
    Key::new(
        "message.downconversion.enable",
        Kind::Boolean,
        "true",
        "Whether older Kafka versions converted batches for very old consumers.",
    )
    .dynamic()
    .unlisted()
    .effect(OLD_CLIENT)
    .aliases(&[Alias {
        name: "log.message.downconversion.enable",
        scale: 1,
    }]),
    Key::new(
        "message.format.version",
        Kind::Text,
        "3.0-IV1",
        "The record format of older Kafka versions; only format 2 exists here.",
    )
    .dynamic()
    .effect(OLD_CLIENT)
    .unlisted()
    .aliases(&[Alias {
        name: "log.message.format.version",
        scale: 1,
    }]),
    Key::new(
        "message.timestamp.after.max.ms",
        Kind::Long,
        "3600000",
        "How far a record's own timestamp may lie in the broker's future.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .aliases(&[Alias {
        name: "log.message.timestamp.after.max.ms",
        scale: 1,
    }]),
    Key::new(
        "message.timestamp.before.max.ms",
        Kind::Long,
        "9223372036854775807",
        "How far a record's own timestamp may lie in the broker's past.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .aliases(&[Alias {
        name: "log.message.timestamp.before.max.ms",
        scale: 1,
    }]),
    Key::new(
        "message.timestamp.difference.max.ms",
        Kind::Long,
        "9223372036854775807",
        "Replaced by message.timestamp.before.max.ms and message.timestamp.after.max.ms.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(OLD_CLIENT)
    .unlisted()
    .aliases(&[Alias {
        name: "log.message.timestamp.difference.max.ms",
        scale: 1,
    }]),
    Key::new(
        "message.timestamp.type",
        Kind::Text,
        "CreateTime",
        "Whose clock stamps a record: the producer's, or the broker's when it arrives.",
    )
    .check(Check::OneOf(&["CreateTime", "LogAppendTime"]))
    .dynamic()
    .aliases(&[Alias {
        name: "log.message.timestamp.type",
        scale: 1,
    }]),
    Key::new(
        "min.cleanable.dirty.ratio",
        Kind::Double,
        "0.5",
        "Which share of a compacted log must be new before it is compacted again.",
    )
    .check(Check::Ratio)
    .dynamic()
    .aliases(&[Alias {
        name: "log.cleaner.min.cleanable.ratio",
        scale: 1,
    }]),
    Key::new(
        "min.compaction.lag.ms",
        Kind::Long,
        "0",
        "The least time a record stays as it is before it may be compacted away.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .aliases(&[Alias {
        name: "log.cleaner.min.compaction.lag.ms",
        scale: 1,
    }]),
    Key::new(
        "min.insync.replicas",
        Kind::Int,
        "1",
        "How many replicas must hold a record before acks=all is answered; with fewer in sync, \
         such writes are refused.",
    )
    .check(Check::AtLeast(1))
    .dynamic()
    .aliases(&[Alias {
        name: "min.insync.replicas",
        scale: 1,
    }]),
    Key::new(
        "preallocate",
        Kind::Boolean,
        "false",
        "Whether Kafka reserves a segment's file in full when it is created.",
    )
    .dynamic()
    .effect(NO_LOCAL_FILES)
    .aliases(&[Alias {
        name: "log.preallocate",
        scale: 1,
    }]),
    Key::new(
        "remote.log.copy.disable",
        Kind::Boolean,
        "false",
        "Stops copying to the remote tier and makes the tiered part read-only.",
    )
    .dynamic()
    .effect(Effect::RefusedWhenOn(NO_TIERING)),
    Key::new(
        "remote.log.delete.on.disable",
        Kind::Boolean,
        "false",
        "Whether switching the remote tier off deletes what it holds.",
    )
    .dynamic()
    .effect(Effect::RefusedWhenOn(NO_TIERING)),
    Key::new(
        "remote.storage.enable",
        Kind::Boolean,
        "false",
        "Whether old segments move to the remote tier.",
    )
    .dynamic()
    .effect(Effect::RefusedWhenOn(NO_TIERING)),
    Key::new(
        "retention.bytes",
        Kind::Long,
        "-1",
        "How large a partition may grow before its oldest segments go; -1 is without limit.",
    )
    .unit(Unit::Bytes)
    .dynamic()
    .aliases(&[Alias {
        name: "log.retention.bytes",
        scale: 1,
    }]),
    Key::new(
        "retention.ms",
        Kind::Long,
        "604800000",
        "How long a record is kept, by its timestamp; -1 is for ever.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(-1))
    .dynamic()
    .aliases(&[
        Alias {
            name: "log.retention.ms",
            scale: 1,
        },
        Alias {
            name: "log.retention.minutes",
            scale: MINUTE_MS,
        },
        Alias {
            name: "log.retention.hours",
            scale: HOUR_MS,
        },
    ]),
    Key::new(
        "segment.bytes",
        Kind::Int,
        "1073741824",
        "How large a segment file grows before the next one is begun. Retention works by whole \
         segments.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(1_048_576))
    .dynamic()
    .aliases(&[Alias {
        name: "log.segment.bytes",
        scale: 1,
    }]),
    Key::new(
        "segment.index.bytes",
        Kind::Int,
        "10485760",
        "How large Kafka's index file of one segment may be.",
    )
    .unit(Unit::Bytes)
    .check(Check::AtLeast(4))
    .dynamic()
    .effect(NO_LOCAL_FILES)
    .aliases(&[Alias {
        name: "log.index.size.max.bytes",
        scale: 1,
    }]),
    Key::new(
        "segment.jitter.ms",
        Kind::Long,
        "0",
        "A random part taken off segment.ms so that Kafka's segments do not all roll at once.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(0))
    .dynamic()
    .effect(Effect::Accepted("rolling a segment costs no flush here"))
    .aliases(&[
        Alias {
            name: "log.roll.jitter.ms",
            scale: 1,
        },
        Alias {
            name: "log.roll.jitter.hours",
            scale: HOUR_MS,
        },
    ]),
    Key::new(
        "segment.ms",
        Kind::Long,
        "604800000",
        "How long a segment stays open before the next one is begun.",
    )
    .unit(Unit::Millis)
    .check(Check::AtLeast(1))
    .dynamic()
    .aliases(&[
        Alias {
            name: "log.roll.ms",
            scale: 1,
        },
        Alias {
            name: "log.roll.hours",
            scale: HOUR_MS,
        },
    ]),
    Key::new(
        "sync.policy",
        Kind::Text,
        "durable",
        "What an acknowledgement means on each replica. durable: the record is on disk. os: it \
         is in memory and reaches the disk a few milliseconds later, as in Kafka. Ours; chosen \
         when the topic is created.",
    )
    .check(Check::OneOf(&["durable", "os"]))
    .fixed()
    .aliases(&[Alias {
        name: "log.sync.policy",
        scale: 1,
    }]),
    Key::new(
        "unclean.leader.election.enable",
        Kind::Boolean,
        "false",
        "Whether a replica that may lack acknowledged records can become leader when no other \
         is left.",
    )
    .dynamic()
    .aliases(&[Alias {
        name: "unclean.leader.election.enable",
        scale: 1,
    }]),
];

const DEFAULT_LEVEL_ONLY: Effect =
    Effect::Accepted("recompression takes each codec's default level");

/// Topics the broker keeps for itself; they may be compacted whatever the rules say.
pub fn is_internal(topic: &str) -> bool {
    matches!(
        topic,
        "__consumer_offsets" | "__transaction_state" | "__share_group_state"
    )
}

/// The declaration of a topic key.
pub fn find_topic(name: &str) -> Result<&'static Key, ConfigError> {
    find(TOPIC, name).ok_or_else(|| ConfigError::Unknown {
        scope: "topic",
        name: name.into(),
        nearest: stdx::nearest(name, TOPIC.iter().map(|key| key.name)),
    })
}

/// Checks a topic's whole set of own settings: names, values, and that they agree with each other.
///
/// `rules` is the number the command was proposed under ([`super::RULES`]).
pub fn check_topic<'a>(
    topic: &str,
    settings: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    rules: u16,
) -> Result<(), ConfigError> {
    debug_assert!(rules >= 1, "rules are counted from 1");
    for (name, value) in settings.clone() {
        let key = find_topic(name)?;
        // The broker's own topics might be compacted before anybody's.
        let rules = if is_internal(topic) { RULES } else { rules };
        key.validate_under(rules, value)?;
    }
    let number = |name: &str, default: i64| {
        settings
            .clone()
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.trim().parse::<i64>().ok())
            .unwrap_or(default)
    };
    let shortest = number("min.compaction.lag.ms", 0);
    let longest = number("max.compaction.lag.ms", i64::MAX);
    if shortest > longest {
        return Err(ConfigError::Conflict {
            key: "min.compaction.lag.ms",
            value: shortest.to_string(),
            why: format!("it is longer than max.compaction.lag.ms, {longest}"),
        });
    }
    Ok(())
}
