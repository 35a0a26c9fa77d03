//! The tables against Kafka 4.3, the checks, and the layers.

use super::broker::{BROKER, check_broker, find_broker};
use super::group::{GROUP, check_group};
use super::topic::{TOPIC, check_topic, find_topic};
use super::*;
use crate::image::ConfigMap;

/// The 32 topic keys of Kafka 4.3's client library with the defaults a 4.3 broker describes.
/// `message.downconversion.enable` is in the library only; its last default was true.
const KAFKA_TOPIC_DEFAULTS: [(&str, &str, Kind); 32] = [
    ("cleanup.policy", "delete", Kind::List),
    ("compression.gzip.level", "-1", Kind::Int),
    ("compression.lz4.level", "9", Kind::Int),
    ("compression.type", "producer", Kind::Text),
    ("compression.zstd.level", "3", Kind::Int),
    ("delete.retention.ms", "86400000", Kind::Long),
    ("file.delete.delay.ms", "60000", Kind::Long),
    ("flush.messages", "9223372036854775807", Kind::Long),
    ("flush.ms", "9223372036854775807", Kind::Long),
    ("index.interval.bytes", "4096", Kind::Int),
    ("local.retention.bytes", "-2", Kind::Long),
    ("local.retention.ms", "-2", Kind::Long),
    ("max.compaction.lag.ms", "9223372036854775807", Kind::Long),
    ("max.message.bytes", "1048588", Kind::Int),
    ("message.downconversion.enable", "true", Kind::Boolean),
    ("message.timestamp.after.max.ms", "3600000", Kind::Long),
    (
        "message.timestamp.before.max.ms",
        "9223372036854775807",
        Kind::Long,
    ),
    ("message.timestamp.type", "CreateTime", Kind::Text),
    ("min.cleanable.dirty.ratio", "0.5", Kind::Double),
    ("min.compaction.lag.ms", "0", Kind::Long),
    ("min.insync.replicas", "1", Kind::Int),
    ("preallocate", "false", Kind::Boolean),
    ("remote.log.copy.disable", "false", Kind::Boolean),
    ("remote.log.delete.on.disable", "false", Kind::Boolean),
    ("remote.storage.enable", "false", Kind::Boolean),
    ("retention.bytes", "-1", Kind::Long),
    ("retention.ms", "604800000", Kind::Long),
    ("segment.bytes", "1073741824", Kind::Int),
    ("segment.index.bytes", "10485760", Kind::Int),
    ("segment.jitter.ms", "0", Kind::Long),
    ("segment.ms", "604800000", Kind::Long),
    ("unclean.leader.election.enable", "false", Kind::Boolean),
];

const NOTHING: Layers<'static> = Layers {
    own: None,
    broker: None,
    cluster: None,
    fixed: &EMPTY,
};
static EMPTY: StaticConfig = StaticConfig::none();

fn map(entries: &[(&'static str, &'static str)]) -> ConfigMap {
    entries.iter().copied().collect()
}

#[test]
fn every_topic_key_of_kafka_is_declared_with_its_default() {
    for (name, default, kind) in KAFKA_TOPIC_DEFAULTS {
        let key = find_topic(name).expect("declared");
        assert_eq!((key.default, key.kind), (Some(default), kind), "{name}");
        // Kafka's brokers do not know this one any more; tools still set it.
        let listed = name != "message.downconversion.enable";
        assert!(key.dynamic && key.listed == listed, "{name}");
    }
    let others: Vec<&str> = TOPIC
        .iter()
        .map(|key| key.name)
        .filter(|name| !KAFKA_TOPIC_DEFAULTS.iter().any(|(known, ..)| known == name))
        .collect();
    assert_eq!(
        others,
        [
            "follower.replication.throttled.replicas",
            "leader.replication.throttled.replicas",
            "message.format.version",
            "message.timestamp.difference.max.ms",
            "sync.policy",
        ]
    );
}

#[test]
fn tables_are_sorted_documented_and_their_defaults_are_valid() {
    for table in [TOPIC, BROKER, GROUP, FOREIGN] {
        assert!(table.windows(2).all(|pair| pair[0].name < pair[1].name));
        for key in table {
            assert!(key.doc.ends_with('.'), "{}", key.name);
            if let Some(default) = key.default {
                key.validate(default).expect("a default is a valid value");
            }
        }
    }
    assert!(
        BROKER
            .iter()
            .all(|key| FOREIGN.iter().all(|foreign| foreign.name != key.name))
    );
}

#[test]
fn every_alias_is_a_broker_key_with_an_agreeing_default() {
    for key in TOPIC.iter().chain(GROUP) {
        for (at, alias) in key.aliases.iter().enumerate() {
            let broker = find_broker(alias.name).expect("an alias is a broker key");
            if at == 0
                && let (Some(ours), Some(theirs)) = (key.default, broker.default)
            {
                assert_eq!(ours, theirs, "{} and {}", key.name, alias.name);
            }
        }
    }
}

#[test]
fn what_testcontainers_sets_loads_without_refusal() {
    let environment = [
        (
            "listeners",
            "PLAINTEXT://:9092,BROKER://:9093,CONTROLLER://:9094",
        ),
        (
            "listener.security.protocol.map",
            "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ),
        ("inter.broker.listener.name", "BROKER"),
        ("process.roles", "broker,controller"),
        ("controller.listener.names", "CONTROLLER"),
        ("controller.quorum.voters", "1@localhost:9094"),
        ("node.id", "1"),
        ("broker.id", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("offsets.topic.num.partitions", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        ("log.flush.interval.messages", "9223372036854775807"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let (config, problems) = StaticConfig::load(environment);
    assert!(
        problems
            .iter()
            .all(|problem| matches!(problem, StaticProblem::Warn(..))),
        "{problems:?}"
    );
    assert_eq!(config.number("offsets.topic.num.partitions"), 1);
    assert_eq!(config.list("listeners").len(), 3);
    assert_eq!(config.number("num.partitions"), 1);
    assert!(config.flag("delete.topic.enable"));
}

#[test]
fn a_bad_file_is_reported_whole_and_names_the_nearest_key() {
    let (_, problems) = StaticConfig::load([
        ("log.retention.houres", "1"),
        ("num.partitions", "zero"),
        ("zookeeper.connect", "localhost:2181"),
        ("authorizer.class.name", "org.example.Mine"),
        ("log.cleanup.policy", "shred"),
    ]);
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| match problem {
            StaticProblem::Refuse(error) => error.to_string(),
            StaticProblem::Warn(name, note) => format!("{name}: {note}"),
        })
        .collect();
    assert_eq!(
        texts,
        [
            "Unknown broker config name: log.retention.houres (did you mean log.retention.hours?)",
            "Invalid value zero for configuration num.partitions: Not a number of type INT",
            "zookeeper.connect: it is one of Kafka's keys, but nothing here depends on it",
            "Invalid value org.example.Mine for configuration authorizer.class.name: access rules do \
         not exist here yet",
            "Invalid value shred for configuration log.cleanup.policy: Each entry must be one of: compact, delete",
        ]
    );
}

#[test]
fn values_are_checked_like_kafka_does() {
    let check = |name: &str, value: &str| {
        check_topic("t", [(name, value)].into_iter(), RULES).map_err(|error| error.to_string())
    };
    for (name, value) in [
        ("retention.ms", "-1"),
        ("retention.ms", " 5 "),
        ("retention.bytes", "-5"),
        ("cleanup.policy", ""),
        ("compression.gzip.level", "-1"),
        ("compression.gzip.level", "9"),
        ("preallocate", "TRUE"),
        ("min.cleanable.dirty.ratio", "1"),
        ("remote.storage.enable", "false"),
        ("local.retention.ms", "-2"),
        ("leader.replication.throttled.replicas", "*"),
        ("follower.replication.throttled.replicas", "0:1,1:2"),
        ("message.format.version", "2.8"),
        ("sync.policy", "os"),
    ] {
        check(name, value).unwrap_or_else(|error| panic!("{name}={value}: {error}"));
    }
    for (name, value, text) in [
        (
            "retention.ms",
            "-2",
            "Invalid value -2 for configuration retention.ms: Value must be at least -1",
        ),
        (
            "retention.ms",
            "soon",
            "Invalid value soon for configuration retention.ms: Not a number of type LONG",
        ),
        (
            "segment.bytes",
            "1048575",
            "Invalid value 1048575 for configuration segment.bytes: Value must be at least 1048576",
        ),
        (
            "segment.bytes",
            "4294967296",
            "Invalid value 4294967296 for configuration segment.bytes: Not a number of type INT",
        ),
        (
            "compression.gzip.level",
            "0",
            "Invalid value 0 for configuration compression.gzip.level: Value must be from 1 to 9 or equal to -1",
        ),
        (
            "compression.lz4.level",
            "18",
            "Invalid value 18 for configuration compression.lz4.level: Value must be from 1 to 17",
        ),
        (
            "min.cleanable.dirty.ratio",
            "1.5",
            "Invalid value 1.5 for configuration min.cleanable.dirty.ratio: Value must be from 0 to 1",
        ),
        (
            "min.cleanable.dirty.ratio",
            "NaN",
            "Invalid value NaN for configuration min.cleanable.dirty.ratio: Not a number of type DOUBLE",
        ),
        (
            "preallocate",
            "yes",
            "Invalid value yes for configuration preallocate: Expected value to be either true or false",
        ),
        (
            "message.timestamp.type",
            "createtime",
            "Invalid value createtime for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime",
        ),
        (
            "cleanup.policy",
            "shred",
            "Invalid value shred for configuration cleanup.policy: Each entry must be one of: compact, delete",
        ),
        (
            "cleanup.policy",
            "delete,delete",
            "Invalid value delete,delete for configuration cleanup.policy: 'delete' is given twice",
        ),
        (
            "remote.storage.enable",
            "true",
            "Invalid value true for configuration remote.storage.enable: tiered storage does not exist here yet",
        ),
        (
            "leader.replication.throttled.replicas",
            "0-1",
            "Invalid value 0-1 for configuration leader.replication.throttled.replicas: Expected * or a list like 0:1,1:2 of partition:broker",
        ),
        (
            "retention.hours",
            "1",
            "Unknown topic config name: retention.hours (did you mean retention.bytes?)",
        ),
    ] {
        assert_eq!(check(name, value), Err(text.to_string()));
    }
}

#[test]
fn an_old_log_is_decided_as_it_was_when_there_was_no_compaction() {
    for policy in ["compact", "compact,delete", "delete, compact"] {
        let settings = [("cleanup.policy", policy)];
        assert!(check_topic("orders", settings.into_iter(), 1).is_err());
        assert!(check_topic("orders", settings.into_iter(), 2).is_ok());
        assert!(check_topic("__consumer_offsets", settings.into_iter(), 1).is_ok());
        assert!(check_topic("__transaction_state", settings.into_iter(), 1).is_ok());
        let default = [("log.cleanup.policy", policy)];
        assert!(check_broker(default.into_iter(), 1).is_err());
        assert!(check_broker(default.into_iter(), 2).is_ok());
    }
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let lags = [
        ("min.compaction.lag.ms", "10"),
        ("max.compaction.lag.ms", "5"),
    ];
    assert!(matches!(
        check_topic("t", lags.into_iter(), RULES),
        Err(ConfigError::Conflict { .. })
    ));
    let beats = [("consumer.session.timeout.ms", "5000")];
    assert!(matches!(
        check_group(beats.into_iter()),
        Err(ConfigError::Conflict { .. })
    ));
    let steady = [
        ("consumer.session.timeout.ms", "50000"),
        ("consumer.heartbeat.interval.ms", "6000"),
    ];
    assert_eq!(check_group(steady.into_iter()), Ok(()));
}

#[test]
fn secrets_never_appear_in_errors() {
    let key = find_broker("ssl.key.password").expect("known");
    assert!(key.sensitive());
    let wrong =
        Key::new("some.secret", Kind::Password, "", "A secret.").check(Check::OneOf(&["a"]));
    assert!(
        !wrong
            .validate("hunter2")
            .expect_err("refused")
            .to_string()
            .contains("hunter2")
    );
}

#[test]
fn only_dynamic_broker_keys_change_while_it_runs() {
    assert_eq!(
        check_broker([("log.retention.ms", "5")].into_iter(), RULES),
        Ok(())
    );
    assert_eq!(
        check_broker([("num.partitions", "5")].into_iter(), RULES),
        Err(ConfigError::NotDynamic {
            key: "num.partitions"
        })
    );
}

// rule M11
#[test]
fn the_nearest_layer_wins_and_synonyms_are_ordered_by_precedence() {
    let key = find_topic("retention.ms").expect("known");
    let effective = effective_topic(key, &NOTHING);
    assert_eq!(
        (effective.value.as_deref(), effective.source),
        (Some("604800000"), Source::Default)
    );

    let (fixed, _) =
        StaticConfig::load([("log.retention.hours", "2"), ("log.retention.minutes", "3")]);
    let mut layers = Layers {
        fixed: &fixed,
        ..NOTHING
    };
    let effective = effective_topic(key, &layers);
    assert_eq!(
        (effective.value.as_deref(), effective.source),
        (Some("180000"), Source::Static)
    );

    let cluster = map(&[("log.retention.ms", "1000")]);
    let own = map(&[("retention.ms", "7")]);
    layers.cluster = Some(&cluster);
    layers.own = Some(&own);
    let effective = effective_topic(key, &layers);
    assert_eq!(
        (effective.value.as_deref(), effective.source),
        (Some("7"), Source::Topic)
    );
    let synonyms: Vec<(&str, i8)> = effective
        .synonyms
        .iter()
        .map(|synonym| (synonym.name, synonym.source.code()))
        .collect();
    assert_eq!(
        synonyms,
        [
            ("retention.ms", 1),
            ("log.retention.ms", 3),
            ("log.retention.minutes", 4),
            ("log.retention.hours", 4),
        ]
    );
}

#[test]
fn a_broker_without_time_limit_stays_so_in_every_unit() {
    let (fixed, _) = StaticConfig::load([("log.retention.hours", "-1")]);
    let layers = Layers {
        fixed: &fixed,
        ..NOTHING
    };
    assert_eq!(TopicSettings::resolve(&layers).retention_ms, None);
}

#[test]
fn typed_settings_follow_the_layers() {
    let settings = TopicSettings::resolve(&NOTHING);
    assert_eq!(settings.retention_ms, Some(604_800_000));
    assert_eq!(settings.retention_bytes, None);
    assert_eq!(settings.segment_bytes, 1 << 30);
    assert_eq!(settings.message_bytes_max, 1_048_588);
    assert_eq!(
        settings.cleanup,
        Cleanup {
            delete: true,
            compact: false
        }
    );
    assert_eq!(settings.sync, SyncPolicy::Durable);
    assert_eq!(settings.compression, Compression::Producer);
    assert_eq!(settings.dirty_ratio_min, 500_000);
    assert_eq!(settings.compaction_lag_ms_min, 0);
    assert_eq!(settings.compaction_lag_ms_max, i64::MAX);

    let own = map(&[
        ("cleanup.policy", "compact"),
        ("sync.policy", "os"),
        ("retention.ms", "-1"),
        ("message.timestamp.type", "LogAppendTime"),
        ("compression.type", "zstd"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("min.compaction.lag.ms", "7"),
        ("max.compaction.lag.ms", "8"),
    ]);
    let settings = TopicSettings::resolve(&Layers {
        own: Some(&own),
        ..NOTHING
    });
    assert_eq!(
        settings.cleanup,
        Cleanup {
            delete: false,
            compact: true
        }
    );
    assert_eq!(settings.sync, SyncPolicy::Os);
    assert_eq!(settings.retention_ms, None);
    assert_eq!(settings.timestamp_kind, TimestampKind::LogAppendTime);
    assert_eq!(settings.compression, Compression::Zstd);
    assert_eq!(settings.dirty_ratio_min, 10_000);
    assert_eq!(
        (
            settings.compaction_lag_ms_min,
            settings.compaction_lag_ms_max
        ),
        (7, 8)
    );
}

// rule M11
#[test]
fn describing_lists_every_key_and_old_ones_only_when_set() {
    let all = describe_topic(&NOTHING);
    assert_eq!(all.len(), 34, "Kafka's 33 and sync.policy");
    let own = map(&[("message.format.version", "2.8")]);
    let all = describe_topic(&Layers {
        own: Some(&own),
        ..NOTHING
    });
    assert_eq!(all.len(), 35);
    assert!(describe_broker(&NOTHING).len() > 300);
    assert!(
        describe_broker(&NOTHING)
            .iter()
            .all(|one| one.key.name != "zookeeper.connect")
    );
    assert_eq!(describe_group(&NOTHING).len(), 17);
}

#[test]
fn the_reference_page_says_what_the_tables_say() {
    let page = include_str!("../../../../docs/guide/configuration-keys.md");
    let expected = reference();
    for (line, (said, wanted)) in page.lines().zip(expected.lines()).enumerate() {
        assert_eq!(
            said,
            wanted,
            "line {} of docs/guide/configuration-keys.md",
            line + 1
        );
    }
    assert_eq!(page.lines().count(), expected.lines().count());
}
