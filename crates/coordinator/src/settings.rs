//! The broker settings groups obey, and the limits that bound their memory.

use crate::consumer::assignor::Assignor;

/// Which way online migration between the protocols goes (`group.consumer.migration.policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migration {
    /// Neither way.
    Disabled,
    /// Classic groups become consumer groups.
    Upgrade,
    /// Consumer groups become classic groups.
    Downgrade,
    /// Both ways.
    Bidirectional,
}

impl Migration {
    /// By the name Kafka gives it, in any case; `None` for any other.
    pub fn by_name(name: &str) -> Option<Migration> {
        let all = [
            ("disabled", Migration::Disabled),
            ("upgrade", Migration::Upgrade),
            ("downgrade", Migration::Downgrade),
            ("bidirectional", Migration::Bidirectional),
        ];
        all.into_iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, policy)| policy)
    }

    pub(crate) fn upgrades(self) -> bool {
        matches!(self, Migration::Upgrade | Migration::Bidirectional)
    }

    pub(crate) fn downgrades(self) -> bool {
        matches!(self, Migration::Downgrade | Migration::Bidirectional)
    }
}

/// Settings of consumer groups (KIP-848); the defaults are Kafka 4.3's unless a line says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// `group.consumer.session.timeout.ms`.
    pub session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`.
    pub assignment_interval_ms: i32,
    /// `group.consumer.max.size`. Kafka's default is no limit; ours is 10,000, as for classic
    /// groups. Beyond: GROUP_MAX_SIZE_REACHED.
    pub size_max: usize,
    /// `group.consumer.assignors`, the default one first.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`.
    pub migration: Migration,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub pattern_refresh_interval_ms: i32,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        ConsumerSettings {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            assignment_interval_ms: 1_000,
            size_max: 10_000,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration: Migration::Bidirectional,
            pattern_refresh_interval_ms: 600_000,
        }
    }
}

impl ConsumerSettings {
    pub(crate) fn supports(&self, assignor: &str) -> bool {
        self.assignors.iter().any(|known| known.name() == assignor)
    }
}

/// Settings of one shard; the defaults are Kafka's unless a line says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `group.max.size`: members, and pending members, of one group. Kafka's default is no limit;
    /// ours is 10,000, since one generation must fit one record anyway. Beyond: GROUP_MAX_SIZE_REACHED.
    pub group_size_max: usize,
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for company.
    pub initial_rebalance_delay_ms: i32,
    /// How long a new member may wait for its join before it is given up and told to retry.
    pub new_member_join_timeout_ms: i32,
    /// `offset.metadata.max.bytes`, counted as Kafka counts it: UTF-16 units.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
    /// Groups of one shard. Beyond, nobody founds a new one: POLICY_VIOLATION.
    pub groups_max: usize,
    /// Committed offsets of one group. Beyond, commits of further partitions: POLICY_VIOLATION.
    pub offsets_per_group_max: usize,
    /// Bytes of join metadata all members of one group may hold. One protocol's share must fit the
    /// group's record; this bounds what gathers before that is known. Beyond:
    /// GROUP_MAX_SIZE_REACHED.
    pub group_metadata_bytes_max: usize,
    /// Bytes of one group's metadata record. A generation that does not fit is refused with
    /// UNKNOWN_SERVER_ERROR, as Kafka does for a record too large, and the group rebalances.
    pub group_record_bytes_max: usize,
    /// Those of consumer groups.
    pub consumer: ConsumerSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            group_size_max: 10_000,
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            new_member_join_timeout_ms: 300_000,
            offset_metadata_max: 4_096,
            offsets_retention_ms: 7 * 24 * 3_600_000,
            offsets_retention_check_interval_ms: 600_000,
            groups_max: 100_000,
            offsets_per_group_max: 200_000,
            group_metadata_bytes_max: 16 << 20,
            // A little under Kafka's max.message.bytes (1,048,588), which counts the batch around it.
            group_record_bytes_max: 1_048_576 - 256,
            consumer: ConsumerSettings::default(),
        }
    }
}

/// Protocols (assignors) one member may offer; clients offer one to four. Beyond: INVALID_REQUEST.
pub(crate) const PROTOCOLS_PER_MEMBER_MAX: usize = 64;

/// Bytes of all protocol metadata of one member. It must fit the group's record. Beyond:
/// INVALID_REQUEST.
pub(crate) const MEMBER_METADATA_BYTES_MAX: usize = 1_048_576;

/// Strings in Kafka's records have a 2-byte signed length. Longer ids: INVALID_GROUP_ID or
/// INVALID_REQUEST, before anything is stored.
pub(crate) const STRING_BYTES_MAX: usize = 32_767;

/// Different patterns of one consumer group; each is looked up in all topics. Beyond:
/// POLICY_VIOLATION.
pub(crate) const CONSUMER_PATTERNS_MAX: usize = 1_000;

/// Topics one member of a consumer group may name. Beyond: INVALID_REQUEST.
pub(crate) const CONSUMER_TOPICS_MAX: usize = 100_000;

/// Bytes of a client id that become part of a member id; the rest is cut off, for a member id must
/// itself fit a string.
pub(crate) const MEMBER_ID_PREFIX_BYTES_MAX: usize = 1_024;

/// Tombstones after which one cleanup step ends; the next follows at once. Keeps batches small.
pub(crate) const CLEANUP_RECORDS_MAX: usize = 1_000;

/// Offsets looked at (a group counts as one more) after which one cleanup step ends, so that requests
/// get in between.
pub(crate) const CLEANUP_VISITS_MAX: usize = 10_000;

/// Shortest wait before a join phase in which nobody came back is looked at again, so that a
/// rebalance timeout of zero cannot spin.
pub(crate) const POSTPONED_JOIN_MS_MIN: i64 = 1_000;
