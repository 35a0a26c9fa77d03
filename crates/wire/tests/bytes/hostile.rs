//! Lengths that lie, under an allocator that counts: an error or a success, never much memory
//! (rule W8, CVE-2022-34917).

use bytes::Bytes;
use stdx::Reader;
use wire::ApiKey;
use wire::batch::{BatchView, HEADER_BYTES, LENGTH_END, Stamp, check_crc, stamp};
use wire::compress::{BATCH_DECOMPRESSED_BYTES_MAX, Codec};
use wire::header::read_request;
use wire::ids::{LeaderEpoch, Offset};
use wire::produce::ProduceRequest;
use wire::protocol_metadata::{Assignment, Subscription};
use wire::record::{BatchBuilder, BatchRecords, NewRecord};

use crate::catalogue::{End, golden, golden_frames, read, served};
use crate::counting::counted;

/// What lengths are replaced by, at every position and width, and as varints.
const LIES: [(usize, &[u8]); 15] = [
    (1, &[0]),
    (1, &[0xff]),
    (1, &[0x7f]),
    (1, &[0x7e]),
    (2, &[0, 0]),
    (2, &[0xff, 0xff]),
    (2, &[0x7f, 0xff]),
    (2, &[0x7f, 0xfe]),
    (4, &[0, 0, 0, 0]),
    (4, &[0xff, 0xff, 0xff, 0xff]),
    (4, &[0x7f, 0xff, 0xff, 0xff]),
    (4, &[0x7f, 0xff, 0xff, 0xfe]),
    (1, &[0xff, 0xff, 0xff, 0xff, 0x0f]), // u32::MAX, and i32::MIN zigzagged
    (1, &[0xfe, 0xff, 0xff, 0xff, 0x0f]), // one less, and i32::MAX zigzagged
    (1, &[0xff, 0xff, 0xff, 0xff, 0x07]), // i32::MAX
];

/// Every lie at every position.
fn lies(honest: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..honest.len()).flat_map(move |at| {
        LIES.iter()
            .filter(move |(width, _)| at + width <= honest.len())
            .map(move |(width, lie)| {
                let mut bytes = honest[..at].to_vec();
                bytes.extend_from_slice(lie);
                bytes.extend_from_slice(&honest[at + width..]);
                bytes
            })
    })
}

/// What a hand-written reader may hold: nothing that grows with a number in the input.
fn within(input: usize) -> usize {
    input + 64 * 1024
}

#[test]
fn hand_written_readers_allocate_no_more_than_their_input() {
    // rule W8
    for version in 3..=13 {
        let [(_, golden), _] = golden_frames(ApiKey::Produce.api(), version);
        for lie in lies(&golden.body()) {
            let body = Bytes::from(lie);
            let (_, cost) = counted(|| {
                if let Ok(request) = ProduceRequest::decode(version, &body) {
                    for topic in request.topics() {
                        topic.partitions().for_each(drop);
                    }
                }
            });
            assert!(
                cost.peak <= 64,
                "version {version}: {cost:?} for {body:02x?}"
            );
        }
    }
    for (api, version) in served() {
        let [(_, golden), _] = golden_frames(api, version);
        let head = golden
            .bytes
            .slice(4..(golden.body_at + 4).min(golden.bytes.len()));
        for lie in lies(&head) {
            let frame = Bytes::from(lie);
            let (_, cost) = counted(|| read_request(frame.clone()).map(drop));
            assert!(cost.peak <= 64, "{} {version}: {cost:?}", api.name);
        }
    }
    for version in 0..=3 {
        for name in ["subscription", "assignment"] {
            let mut file = golden(&format!("consumer_protocol_{name}-v{version}.txt"));
            let honest = file.remove("data").expect("data").bytes;
            for lie in lies(&honest) {
                let (_, cost) = counted(|| {
                    (
                        Subscription::decode(&lie).map(drop),
                        Assignment::decode(&lie).map(drop),
                    )
                });
                assert!(cost.peak <= within(lie.len()), "{cost:?} for {lie:02x?}");
            }
        }
    }
}

#[test]
fn the_record_walker_allocates_nothing_for_lies_in_records() {
    // rule W8
    let mut builder = BatchBuilder::new();
    for at in 0..3u8 {
        builder.append(&NewRecord {
            timestamp: i64::from(at),
            key: Some(&[at; 3]),
            value: Some(&[at; 20]),
            headers: &[(b"h", Some(b"v")), (b"i", None)],
        });
    }
    let honest = builder.build().expect("builds");
    for lie in lies(&honest) {
        let (_, cost) = counted(|| walk(&lie));
        assert_eq!(cost.calls, 0, "{lie:02x?}");
    }
}

/// Walks whatever is a batch of uncompressed records, headers included.
fn walk(bytes: &[u8]) {
    let Ok((batch, _)) = BatchView::split(bytes) else {
        return;
    };
    if batch.codec() != Some(Codec::None) {
        return;
    }
    let Ok(records) = BatchRecords::open(&batch, BATCH_DECOMPRESSED_BYTES_MAX) else {
        return;
    };
    for record in &records {
        let Ok(record) = record else { return };
        record.headers.iter().for_each(drop);
    }
}

#[test]
fn codecs_allocate_in_proportion_to_what_comes_out() {
    // rule W8, decision D9
    let mut batches = golden("batches.txt");
    for codec in Codec::ALL {
        let honest = batches.remove(codec.name()).expect("a batch").bytes;
        for lie in lies(&honest[HEADER_BYTES..]) {
            let (result, cost) =
                counted(|| wire::compress::decompress(codec, &lie, BATCH_DECOMPRESSED_BYTES_MAX));
            // An LZ4 frame may ask for blocks of 4 MiB, linked ones for twice that and a window.
            let buffers = if codec == Codec::Lz4 { 13 << 20 } else { 0 };
            let out = result.map_or(0, |out| out.len());
            assert!(
                cost.peak <= within(4 * (lie.len() + out)) + buffers,
                "{codec}: {cost:?}"
            );
        }
    }
}

/// The generated codec reserves up to 1024 elements of an array before it has read them, at each
/// level of nesting, and an element in memory is larger than on the wire. So it stays below a
/// multiple of its input and a constant, not below its input: docs/design/0040-cold-requests.md
/// says what follows from that.
const GENERATED_SLACK: usize = 512 * 1024;

#[test]
fn the_generated_reader_survives_lies_at_every_position() {
    // rule W8
    let mut worst = 0;
    for (api, version) in served() {
        let flexible = api.flexible_from.unwrap_or(i16::MAX);
        // Layouts change where tags come in; the oldest and newest are read most.
        if ![api.min, api.max, flexible - 1, flexible].contains(&version) {
            continue;
        }
        for (end, golden) in golden_frames(api, version) {
            for lie in lies(&golden.body()) {
                let body = Bytes::from(lie);
                let input = body.len();
                let (_, cost) = counted(|| read(api.key, end, version, body));
                worst = worst.max(cost.peak.saturating_sub(input));
                assert!(
                    cost.peak <= input + GENERATED_SLACK,
                    "{} {version} {end:?}: {cost:?}",
                    api.name
                );
            }
        }
    }
    assert!(worst > 0, "the allocator counts");
}

/// A request that is all elements and no content.
struct Shape {
    key: ApiKey,
    version: i16,
    before: &'static [u8],
    element: &'static [u8],
    behind: &'static [u8],
}

const SHAPES: [Shape; 5] = [
    Shape {
        key: ApiKey::DescribeGroups,
        version: 5,
        before: &[],
        element: &[1],
        behind: &[0, 0],
    },
    Shape {
        key: ApiKey::FindCoordinator,
        version: 4,
        before: &[0],
        element: &[1],
        behind: &[0],
    },
    Shape {
        key: ApiKey::LeaveGroup,
        version: 5,
        before: &[1],
        element: &[1, 0, 0, 0],
        behind: &[0],
    },
    Shape {
        key: ApiKey::DescribeTopicPartitions,
        version: 0,
        before: &[],
        element: &[1, 0],
        behind: &[0, 0, 0, 1, 0xff, 0],
    },
    Shape {
        key: ApiKey::JoinGroup,
        version: 9,
        before: &[1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 1],
        element: &[1, 1, 0],
        behind: &[0, 0],
    },
];

#[test]
fn the_worst_cold_request_stays_below_sixty_four_times_its_bytes() {
    // rule W8. The factor does not depend on the length: an eighth of the longest is enough.
    let bytes = wire::api::COLD_REQUEST_BYTES_MAX / 8;
    for shape in SHAPES {
        let count = bytes / shape.element.len();
        let mut body = stdx::Writer::new();
        body.raw(shape.before).varint_u64(count as u64 + 1);
        for _ in 0..count {
            body.raw(shape.element);
        }
        body.raw(shape.behind);
        let body = Bytes::from(body.into_bytes());
        let (result, cost) = counted(|| read(shape.key, End::Request, shape.version, body.clone()));
        assert!(result.is_ok(), "{}: {result:?}", shape.key);
        let times = cost.peak / body.len();
        assert!(times < 64, "{}: {times} times", shape.key);
    }
}

#[test]
fn twelve_bytes_that_ask_for_gigabytes_are_an_error() {
    // CVE-2022-34917: an array of 2^31 topics in a frame of nothing.
    let body = Bytes::from_static(&[0, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x07]);
    let (result, cost) = counted(|| ProduceRequest::decode(9, &body));
    assert!(result.is_err());
    assert!(cost.peak <= 64, "{cost:?}");
    let (result, cost) = counted(|| read(ApiKey::Produce, End::Request, 9, body.clone()));
    assert!(result.is_err());
    assert!(cost.peak <= 64 * 1024, "{cost:?}");
}

#[test]
fn a_produce_request_costs_nothing_per_record_partition_or_topic() {
    // rules P1 and P3: decode, check, stamp
    let mut builder = BatchBuilder::new();
    for _ in 0..1000 {
        builder.append(&NewRecord {
            value: Some(b"value"),
            ..Default::default()
        });
    }
    let batch = Bytes::from(builder.build().expect("builds"));
    use wire::messages::{self, produce, text};
    let partition = |index| produce::PartitionProduceData {
        index,
        records: Some(batch.clone()),
        ..Default::default()
    };
    let topic = |name| produce::TopicProduceData {
        name: text(name),
        partition_data: (0..50).map(partition).collect(),
        ..Default::default()
    };
    let request = produce::Request {
        acks: 1,
        topic_data: vec![topic("one"), topic("two")],
        ..Default::default()
    };
    let body = messages::encode_body(9, &request).expect("encodes");
    // The first slice of a buffer makes it shared, once.
    let _shared = body.slice(1..);
    let mut log = vec![0; 2 * batch.len()];
    let (batches, cost) = counted(|| {
        let request = ProduceRequest::decode(9, &body).expect("decodes");
        let mut batches = 0;
        for topic in request.topics() {
            for partition in topic.partitions() {
                let view = wire::batch::client_batch(&partition.records, 9).expect("a batch");
                assert!(check_crc(&view));
                let place = &mut log[..view.len()];
                place.copy_from_slice(view.bytes());
                let time = (batches % 2 == 0).then_some(77);
                stamp(
                    place,
                    Stamp {
                        base_offset: Offset(1000 * batches),
                        leader_epoch: LeaderEpoch(1),
                        append_time_ms: time,
                    },
                );
                batches += 1;
            }
        }
        batches
    });
    assert_eq!(batches, 100);
    assert_eq!(cost.calls, 0, "100 batches of 1000 records: {cost:?}");
}

#[test]
fn a_fetch_answer_allocates_its_head_and_its_cuts() {
    // No allocation per record, none per partition beyond the two buffers
    use wire::ErrorCode;
    use wire::fetch::{FetchAnswer, PartitionAnswer, TopicAnswer, encode_answer};
    let partitions: Vec<_> = (0..1000)
        .map(|partition| PartitionAnswer {
            records_bytes: 1 << 20,
            ..PartitionAnswer::failed(partition, ErrorCode::None)
        })
        .collect();
    let topics = [TopicAnswer {
        name: "t",
        id: wire::TopicId::NONE,
        partitions: &partitions,
    }];
    let answer = FetchAnswer {
        throttle_ms: 0,
        error: ErrorCode::None,
        session_id: 0,
        topics: &topics,
        node_endpoints: &[],
    };
    let (response, cost) = counted(|| encode_answer(12, 1, &answer).expect("encodes"));
    assert_eq!(response.cuts.len(), 1000);
    assert!(
        cost.calls <= 3,
        "head, cuts, and the head's shared counter: {cost:?}"
    );
}

#[test]
fn a_batch_length_that_lies_is_never_followed() {
    // rule W8
    let mut builder = BatchBuilder::new();
    builder.append(&NewRecord::default());
    let honest = builder.build().expect("builds");
    for length in [
        i32::MIN,
        -1,
        0,
        48,
        honest.len() as i32 - LENGTH_END as i32 + 1,
        i32::MAX,
    ] {
        let mut lie = honest.clone();
        lie[8..12].copy_from_slice(&length.to_be_bytes());
        let (result, cost) = counted(|| BatchView::whole(&lie).map(drop));
        assert!(result.is_err());
        assert_eq!(cost.calls, 0);
    }
    let mut reader = Reader::new(&honest);
    assert_eq!(reader.i64_be(), Ok(0));
}
