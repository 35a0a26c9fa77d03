//! Topics that cannot be: names, sizes and settings that are refused one by one.

use wire::messages::{create_partitions, create_topics, metadata, text};

use crate::node::{Node, scratch};
use crate::peer::batch;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const INVALID_CONFIG: i16 = 40;

#[test]
fn names_that_cannot_be_are_refused_and_leave_no_topic() {
    let data = scratch();
    let mut node = Node::on(data.path());
    let mut peer = node.connect();
    let long = "x".repeat(249);
    let longer = "x".repeat(250);
    let longest = "x".repeat(32_000);
    assert_eq!(peer.create_topic(&long, &[]), 0);
    assert_eq!(peer.create_topic("a.b", &[]), 0);
    assert_eq!(peer.create_topic("a.b", &[]), TOPIC_ALREADY_EXISTS);
    let names = [
        "",
        ".",
        "..",
        "a/b",
        "../../etc/passwd",
        "a b",
        "a\0b",
        "a\nb",
        "ü",
        "a_b",
        &longer,
        &longest,
    ];
    for name in names {
        assert_eq!(
            peer.create_topic(name, &[]),
            INVALID_TOPIC_EXCEPTION,
            "{:?}",
            name.get(..40).unwrap_or(name)
        );
        if name != "a_b" {
            let (error, _) = peer.produce(9, name, &batch(&[b"x"]));
            assert_eq!(error, UNKNOWN_TOPIC_OR_PARTITION, "{name:?}");
        }
        // Neither does a look at it make one, although looks make topics here.
        let look = metadata::Request {
            topics: Some(vec![metadata::MetadataRequestTopic {
                name: Some(text(name)),
                ..Default::default()
            }]),
            allow_auto_topic_creation: true,
            ..Default::default()
        };
        let error = peer.call(12, &look).topics[0].error_code;
        assert_ne!(error, 0, "{name:?}");
    }
    let all = peer.call(
        12,
        &metadata::Request {
            topics: None,
            ..Default::default()
        },
    );
    assert_eq!(all.topics.len(), 2, "{:?}", all.topics);
    node.assert_well(128 << 20, "bad names");
}

#[test]
fn sizes_and_settings_that_cannot_be_are_refused() {
    let data = scratch();
    let mut node = Node::on(data.path());
    let mut peer = node.connect();
    let settings = [
        ("no.such.key", "1"),
        ("", "1"),
        ("retention.ms", "soon"),
        ("retention.ms", ""),
        ("retention.ms", "99999999999999999999999"),
        ("max.message.bytes", "-1"),
        ("segment.bytes", "1"),
        ("cleanup.policy", "hoard"),
        ("compression.type", "rot13"),
        ("message.timestamp.type", "Yesterday"),
    ];
    for (key, value) in settings {
        let error = peer.create_topic("t", &[(key, value)]);
        assert_eq!(error, INVALID_CONFIG, "{key}={value}");
    }
    let sizes = [
        (0, 1, INVALID_PARTITIONS),
        (-2, 1, INVALID_PARTITIONS),
        (i32::MIN, 1, INVALID_PARTITIONS),
        (1, 0, INVALID_REPLICATION_FACTOR),
        (1, 2, INVALID_REPLICATION_FACTOR),
        (1, i16::MAX, INVALID_REPLICATION_FACTOR),
    ];
    let create = |partitions, replicas| create_topics::Request {
        topics: vec![create_topics::CreatableTopic {
            name: text("t"),
            num_partitions: partitions,
            replication_factor: replicas,
            ..Default::default()
        }],
        timeout_ms: 15_000,
        ..Default::default()
    };
    for (partitions, replicas, error) in sizes {
        let answer = peer.call(7, &create(partitions, replicas));
        assert_eq!(
            answer.topics[0].error_code, error,
            "{partitions} × {replicas}"
        );
    }
    // More than anybody can hold is refused before anything is allocated for it.
    for partitions in [i32::MAX, i32::MAX - 1, 100_000_000, 10_001] {
        let answer = peer.call(7, &create(partitions, 1));
        let error = answer.topics[0].error_code;
        assert_eq!(error, INVALID_PARTITIONS, "{partitions} partitions");
        node.assert_well(128 << 20, "too many partitions");
    }
    assert_eq!(peer.create_topic("t", &[]), 0);
    for (partitions, error) in [
        (i32::MAX, INVALID_PARTITIONS),
        (i32::MIN, INVALID_PARTITIONS),
    ] {
        let grow = create_partitions::Request {
            topics: vec![create_partitions::CreatePartitionsTopic {
                name: text("t"),
                count: partitions,
                assignments: None,
                ..Default::default()
            }],
            timeout_ms: 15_000,
            ..Default::default()
        };
        let answer = peer.call(3, &grow);
        assert_eq!(answer.results[0].error_code, error, "to {partitions}");
        node.assert_well(128 << 20, "too many partitions");
    }
}
