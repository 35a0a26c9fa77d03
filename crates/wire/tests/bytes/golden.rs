//! Frames, batches and blobs that others wrote, read by us and written again.

use crate::catalogue::{End, golden, golden_frames, read_and_write, served};
use wire::batch::{BatchView, check_crc};
use wire::compress::{BATCH_DECOMPRESSED_BYTES_MAX, Codec};
use wire::header::{Incoming, read_request, read_response};
use wire::ids::{Offset, ProducerEpoch, ProducerId};
use wire::messages;
use wire::produce::{ProduceRequest, TopicRef};
use wire::protocol_metadata::{Assignment, Subscription, TopicPartitions};
use wire::record::{BatchRecords, RecordRules, validate};

#[test]
fn every_served_version_reads_what_an_independent_codec_wrote() {
    // rules W2 and W5: the headers too
    for (api, version) in served() {
        for (end, golden) in golden_frames(api, version) {
            let context = format!("{} {version} {end:?}", api.name);
            let frame = golden.bytes.slice(4..);
            match end {
                End::Request => {
                    let Ok(Incoming::Request { header, body }) = read_request(frame) else {
                        panic!("{context}: the header is not read")
                    };
                    assert_eq!((header.api, header.version), (api, version));
                    assert_eq!(header.correlation_id, 1_234_567);
                    assert_eq!(header.client_id.expect("a client id").as_str(), "golden");
                    assert_eq!(body, golden.body(), "{context}");
                }
                End::Response => {
                    let (correlation_id, bytes) =
                        read_response(api, version, &frame).expect("a header");
                    assert_eq!(correlation_id, 1_234_567);
                    assert_eq!(bytes + 4, golden.body_at, "{context}");
                }
            }
            let (again, message) = read_and_write(api.key, end, version, golden.body())
                .unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(again, golden.body(), "{context}");
            for line in &golden.lines {
                expect_field(&message, line, &context);
            }
        }
    }
}

#[test]
fn the_throttle_time_is_written_where_it_belongs() {
    // rule W9
    for (api, version) in served() {
        let [_, (_, response)] = golden_frames(api, version);
        let has = response
            .lines
            .iter()
            .any(|line| line.starts_with("throttle_time = "));
        let frame = match api.key {
            // The file fills in where other leaders are, which we never send.
            wire::ApiKey::Produce if version >= 10 => {
                let body = messages::produce::Response {
                    throttle_time_ms: 70_001,
                    responses: vec![Default::default()],
                    ..Default::default()
                };
                messages::encode_response(version, 1_234_567, &body).expect("encodes")
            }
            _ => response.bytes,
        };
        let zero = wire::throttle::set(api, version, frame.clone(), 0);
        let set = wire::throttle::set(api, version, zero.clone(), 0x0102_0304);
        assert_eq!(zero == frame, !has, "{} {version}", api.name);
        let changed: Vec<u8> = zero
            .iter()
            .zip(&set)
            .filter(|(a, b)| a != b)
            .map(|(_, b)| *b)
            .collect();
        let expected: &[u8] = if has { &[1, 2, 3, 4] } else { &[] };
        assert_eq!(changed, expected, "{} {version}", api.name);
        let was: Vec<u8> = frame
            .iter()
            .zip(&zero)
            .filter(|(a, b)| a != b)
            .map(|(a, _)| *a)
            .collect();
        if has && api.key != wire::ApiKey::Produce {
            let number = response
                .lines
                .iter()
                .find_map(|line| line.strip_prefix("throttle_time = "));
            let number: i32 = number.expect("a number").parse().expect("a number");
            let bytes: Vec<u8> = number
                .to_be_bytes()
                .into_iter()
                .filter(|b| *b != 0)
                .collect();
            assert_eq!(was, bytes, "{} {version}", api.name);
        }
    }
}

/// Numbers in a file do not repeat, so finding `field: number` means the right field has it.
fn expect_field(message: &str, line: &str, context: &str) {
    let Some((path, value)) = line.split_once(" = ") else {
        return;
    };
    let known = path.rsplit('.').next().expect("a name");
    let number = value.parse::<i64>().is_ok();
    if path.starts_with("header.") || path == "size" || !number {
        return;
    }
    // kio leaves the unit of durations away, and the part behind a group's name.
    let found = message
        .match_indices(&format!(": {value}"))
        .any(|(at, text)| {
            let ends = !message[at + text.len()..].starts_with(|c: char| c.is_ascii_digit());
            let name = message[..at].rsplit([' ', '{']).next().unwrap_or_default();
            ends && (name == known || name == format!("{known}_ms") || name.starts_with(known))
        });
    assert!(found, "{context}: {line} not in {message}");
}

#[test]
fn produce_by_hand_reads_what_an_independent_codec_wrote() {
    for version in 3..=13 {
        let [(_, request), _] = golden_frames(wire::ApiKey::Produce.api(), version);
        let read = ProduceRequest::decode(version, &request.body()).expect("decodes");
        let mut lines = request.lines.iter().filter(|line| line.contains(" = "));
        let mut next = |name: &str| {
            let line = lines
                .find(|line| line.contains(&format!("{name} = ")))
                .expect("a line");
            line.split_once(" = ").expect("a value").1.to_owned()
        };
        assert_eq!(
            read.transactional_id.as_ref().expect("an id").as_str(),
            next("transactional_id")
        );
        assert_eq!(read.acks.to_string(), next("acks"));
        assert_eq!(read.timeout_ms.to_string(), next("timeout"));
        assert_eq!(read.topic_count(), 2);
        for topic in read.topics() {
            match &topic.topic {
                TopicRef::Name(name) => assert_eq!(name.as_str(), next(".name")),
                TopicRef::Id(id) => {
                    let hex: String = id.0.iter().map(|byte| format!("{byte:02x}")).collect();
                    assert_eq!(hex, next(".topic_id").replace('-', ""));
                }
            }
            assert_eq!(topic.partition_count(), 2);
            for partition in topic.partitions() {
                assert_eq!(partition.partition.to_string(), next(".index"));
                assert_eq!(partition.records, next(".records"));
            }
        }
    }
}

#[test]
fn batches_of_kafkas_own_client_are_read_with_every_codec() {
    // rules P2 and C4
    let mut batches = golden("batches.txt");
    for codec in Codec::ALL {
        let bytes = batches
            .remove(codec.name())
            .expect("a batch of each codec")
            .bytes;
        let batch = BatchView::whole(&bytes).expect("a batch");
        assert!(check_crc(&batch), "{codec}");
        assert_eq!(batch.codec(), Some(codec));
        assert_eq!(
            (batch.base_offset(), batch.last_offset()),
            (Offset(10), Offset(13))
        );
        assert_eq!(batch.leader_epoch().0, 5);
        assert_eq!(
            (batch.producer_id(), batch.producer_epoch()),
            (ProducerId(77), ProducerEpoch(3))
        );
        assert_eq!(batch.base_sequence(), i32::MAX - 1);
        assert_eq!(batch.last_sequence(), 1, "sequences wrap"); // rule T2
        assert!(batch.is_transactional() && !batch.is_control());
        assert_eq!(
            (batch.base_timestamp(), batch.max_timestamp()),
            (1000, 5000)
        );
        let records = BatchRecords::open(&batch, BATCH_DECOMPRESSED_BYTES_MAX).expect("opens");
        let read: Vec<_> = records.iter().map(|r| r.expect("a record")).collect();
        assert_eq!(read.len(), 4);
        assert_eq!(
            (read[0].key, read[0].value),
            (Some(&b"key"[..]), Some(&b"value"[..]))
        );
        assert_eq!((read[1].key, read[1].value), (None, Some(&[b'x'; 500][..])));
        assert_eq!((read[2].key, read[2].value), (Some(&b""[..]), None));
        assert_eq!((read[3].key, read[3].value), (None, None));
        assert_eq!(
            read.iter().map(|r| r.timestamp).collect::<Vec<_>>(),
            [1000, 900, 5000, 5000]
        );
        assert_eq!(
            read.iter().map(|r| r.offset.0).collect::<Vec<_>>(),
            [10, 11, 12, 13]
        );
        let headers: Vec<_> = read[2].headers.iter().map(|h| (h.key, h.value)).collect();
        assert_eq!(
            headers,
            [
                (&b"h"[..], Some(&b"1"[..])),
                (b"h", None),
                ("ü".as_bytes(), Some(b""))
            ]
        );
        let found = validate(
            &batch,
            &RecordRules::default(),
            BATCH_DECOMPRESSED_BYTES_MAX,
        );
        assert!(found.expect("valid").deltas_in_order);
    }
}

#[test]
fn blobs_of_an_independent_codec_are_read_and_written_again() {
    for version in 0..=3 {
        let mut file = golden(&format!("consumer_protocol_subscription-v{version}.txt"));
        let bytes = file.remove("data").expect("data").bytes;
        let read = Subscription::decode(&bytes).expect("decodes");
        assert_eq!(read.topics, ["topics-1", "topics-2"]);
        assert_eq!(read.user_data.as_deref(), Some(&b"<user_data-3>"[..]));
        if version >= 1 {
            let partitions = vec![70_005, 70_006];
            assert_eq!(
                read.owned[0],
                TopicPartitions {
                    topic: "topic-4".into(),
                    partitions
                }
            );
        }
        assert_eq!(read.generation, (version >= 2).then_some(70_010));
        assert_eq!(read.rack.as_deref(), (version >= 3).then_some("rack_id-11"));
        assert_eq!(read.encode(version), bytes);

        let mut file = golden(&format!("consumer_protocol_assignment-v{version}.txt"));
        let bytes = file.remove("data").expect("data").bytes;
        let read = Assignment::decode(&bytes).expect("decodes");
        assert_eq!(read.partitions.len(), 2);
        assert_eq!(read.encode(version), bytes);
    }
}
