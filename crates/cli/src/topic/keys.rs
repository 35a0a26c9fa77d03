//! Names of topic configuration keys, to find the one that was meant.

use stdx::nearest::nearest;

use crate::Failure;

/// The topic keys of Kafka 4.3, and those that older clients and tools still send.
pub const KEYS: [&str; 36] = [
    "cleanup.policy",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.type",
    "compression.zstd.level",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "follower.replication.throttled.replicas",
    "index.interval.bytes",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.downconversion.enable",
    "message.format.version",
    "message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

/// Defaults that no broker tells beside a value that was set: the broker's keys behind these have
/// other units, and are null unless given.
const UNTOLD: [(&str, &str); 4] = [
    ("flush.ms", "9223372036854775807"),
    ("retention.ms", "604800000"),
    ("segment.jitter.ms", "0"),
    ("segment.ms", "604800000"),
];

/// The default of a topic key, where brokers do not tell it.
pub(crate) fn untold_default(key: &str) -> Option<&'static str> {
    let found = UNTOLD.iter().find(|(name, _)| *name == key);
    found.map(|(_, default)| *default)
}

/// Adds to a refusal the key that was meant, if one of these is no key of a topic.
pub(crate) fn check_key(keys: &[String], refusal: Failure) -> Failure {
    let stranger = keys.iter().find(|key| !KEYS.contains(&key.as_str()));
    let near = stranger.and_then(|key| nearest(key, KEYS));
    match (stranger, near) {
        (Some(key), Some(near)) => Failure {
            next: format!("did you mean `{near}` instead of `{key}`?"),
            ..refusal
        },
        _ => refusal,
    }
}
