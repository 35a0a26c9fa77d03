//! The hand-written answer against the generated one, at every version.

use super::*;
use crate::messages::{self, fetch, text};

const ABORTED: &[AbortedTransaction] = &[
    AbortedTransaction {
        producer_id: ProducerId(7),
        first_offset: Offset(3),
    },
    AbortedTransaction {
        producer_id: ProducerId(8),
        first_offset: Offset(4),
    },
];

/// Records of each slot: some long enough that their length takes three bytes as a varint.
fn slot(slot: u32) -> Vec<u8> {
    vec![slot as u8 + 1; [0, 5, 20_000, 0, 130][slot as usize]]
}

fn partitions() -> Vec<PartitionAnswer<'static>> {
    (0..5)
        .map(|at| PartitionAnswer {
            high_watermark: Offset(100 + i64::from(at)),
            last_stable_offset: Offset(90),
            log_start_offset: Offset(10),
            records_bytes: slot(at as u32).len() as u32,
            ..PartitionAnswer::failed(at, ErrorCode::None)
        })
        .collect()
}

fn partition_data(version: i16, from: &PartitionAnswer<'_>, slot: Vec<u8>) -> fetch::PartitionData {
    let mut data = fetch::PartitionData {
        partition_index: from.partition,
        error_code: from.error.code(),
        high_watermark: from.high_watermark.0,
        last_stable_offset: from.last_stable_offset.0,
        aborted_transactions: from.aborted.map(|aborted| {
            aborted
                .iter()
                .map(|a| fetch::AbortedTransaction {
                    producer_id: a.producer_id.0,
                    first_offset: a.first_offset.0,
                    ..Default::default()
                })
                .collect()
        }),
        records: Some(slot.into()),
        ..Default::default()
    };
    if version >= 5 {
        data.log_start_offset = from.log_start_offset.0;
    }
    if version >= 11 {
        data.preferred_read_replica = from.preferred_read_replica.0;
    }
    if version >= 12 {
        if let Some(end) = from.diverging {
            data.diverging_epoch.epoch = end.epoch.0;
            data.diverging_epoch.end_offset = end.end_offset.0;
        }
        if let Some(leader) = from.current_leader {
            data.current_leader.leader_id = leader.id.0;
            data.current_leader.leader_epoch = leader.epoch.0;
        }
    }
    data
}

#[test]
fn head_and_records_equal_the_generated_frame_byte_for_byte() {
    let mut partitions = partitions();
    partitions[1].aborted = Some(ABORTED);
    partitions[2].aborted = Some(&[]);
    partitions[2].preferred_read_replica = BrokerId(3);
    partitions[3].error = ErrorCode::NotLeaderOrFollower;
    partitions[3].current_leader = Some(CurrentLeader {
        id: BrokerId(2),
        epoch: LeaderEpoch(9),
    });
    partitions[4].diverging = Some(EpochEnd {
        epoch: LeaderEpoch(4),
        end_offset: Offset(77),
    });
    let topics = [
        TopicAnswer {
            name: "one",
            id: TopicId([1; 16]),
            partitions: &partitions[..3],
        },
        TopicAnswer {
            name: "empty",
            id: TopicId([2; 16]),
            partitions: &[],
        },
        TopicAnswer {
            name: "two",
            id: TopicId([3; 16]),
            partitions: &partitions[3..],
        },
    ];
    let endpoints = [NodeEndpoint {
        id: BrokerId(2),
        host: "b2.example",
        port: 9092,
        rack: Some("r"),
    }];
    let answer = FetchAnswer {
        throttle_ms: 11,
        error: ErrorCode::None,
        session_id: 0,
        topics: &topics,
        node_endpoints: &endpoints,
    };
    let slots: Vec<_> = (0..5).map(slot).collect();
    for version in 4..=18 {
        let response = encode_answer(version, 5, &answer).expect("encodes");
        assert_eq!(
            response.cuts.iter().map(|c| c.slot).collect::<Vec<_>>(),
            [1, 2, 4]
        );
        let frame = response.assemble(|slot| &slots[slot as usize]);
        assert_eq!(frame.len(), response.frame_bytes());

        let mut flat = 0;
        let generated = fetch::Response {
            throttle_time_ms: 11,
            responses: topics
                .iter()
                .map(|topic| {
                    let mut out = fetch::FetchableTopicResponse::default();
                    if version >= 13 {
                        out.topic_id = topic.id.into();
                    } else {
                        out.topic = text(topic.name);
                    }
                    for partition in topic.partitions {
                        let records = slots[flat].clone();
                        out.partitions
                            .push(partition_data(version, partition, records));
                        flat += 1;
                    }
                    out
                })
                .collect(),
            node_endpoints: if version >= 16 {
                vec![fetch_endpoint()]
            } else {
                Vec::new()
            },
            ..Default::default()
        };
        let expected = messages::encode_response(version, 5, &generated).expect("encodes");
        assert_eq!(frame, expected, "version {version}");
    }
}

fn fetch_endpoint() -> fetch::NodeEndpoint {
    fetch::NodeEndpoint {
        node_id: 2,
        host: text("b2.example"),
        port: 9092,
        rack: Some(text("r")),
        ..Default::default()
    }
}

#[test]
fn records_are_never_null() {
    // rule F3
    let partitions = [PartitionAnswer::failed(
        0,
        ErrorCode::UnknownTopicOrPartition,
    )];
    let topics = [TopicAnswer {
        name: "t",
        id: TopicId::NONE,
        partitions: &partitions,
    }];
    let answer = FetchAnswer {
        throttle_ms: 0,
        error: ErrorCode::None,
        session_id: 0,
        topics: &topics,
        node_endpoints: &[],
    };
    for version in 4..=18 {
        let response = encode_answer(version, 5, &answer).expect("encodes");
        assert!(response.cuts.is_empty());
        let (_, read) =
            messages::decode_response::<fetch::Request>(version, response.head.slice(4..))
                .expect("decodes");
        let data = &read.responses[0].partitions[0];
        assert_eq!(data.records.as_deref(), Some(&[][..]));
        assert_eq!((data.error_code, data.high_watermark), (3, -1));
        assert_eq!(data.aborted_transactions, None, "null for read_uncommitted"); // rule F8
    }
}

#[test]
fn a_throttled_answer_is_empty() {
    // rule W9
    let answer = FetchAnswer {
        throttle_ms: 500,
        error: ErrorCode::None,
        session_id: 0,
        topics: &[],
        node_endpoints: &[],
    };
    let response = encode_answer(4, 1, &answer).expect("encodes");
    assert_eq!(
        response.head[..],
        [0, 0, 0, 12, 0, 0, 0, 1, 0, 0, 1, 0xf4, 0, 0, 0, 0]
    );
}

#[test]
fn a_frame_beyond_two_gibibytes_is_refused() {
    let mut partitions = partitions();
    for partition in &mut partitions {
        partition.records_bytes = 1 << 30;
    }
    let topics = [TopicAnswer {
        name: "t",
        id: TopicId::NONE,
        partitions: &partitions,
    }];
    let answer = FetchAnswer {
        throttle_ms: 0,
        error: ErrorCode::None,
        session_id: 0,
        topics: &topics,
        node_endpoints: &[],
    };
    assert!(matches!(
        encode_answer(12, 1, &answer),
        Err(CodecError::TooLarge { .. })
    ));
    assert!(matches!(
        encode_answer(3, 1, &answer),
        Err(CodecError::Version { .. })
    ));
}
