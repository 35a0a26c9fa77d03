//! Batches that lie: the exact error for each, nothing appended, and bombs that are never decoded.

use stdx::crc32c;
use wire::compress::{Codec, compress};
use wire::ids::{ProducerEpoch, ProducerId};
use wire::messages::{init_producer_id, text};
use wire::record::BatchBuilder;

use crate::node::{Node, scratch};
use crate::peer::{Peer, batch, holding, now_ms, produce_request};

/// Kafka's error codes, by the names people know.
const CORRUPT_MESSAGE: i16 = 2;
const MESSAGE_TOO_LARGE: i16 = 10;
const INVALID_TIMESTAMP: i16 = 32;
const UNSUPPORTED_VERSION: i16 = 35;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const INVALID_RECORD: i16 = 87;

/// Overwrites bytes of a batch and makes its checksum right again.
fn patched(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn built(builder: BatchBuilder) -> Vec<u8> {
    holding(builder, &[b"a", b"b"]).build().expect("a batch")
}

#[test]
fn a_batch_that_breaks_a_rule_gets_its_error_and_is_not_appended() {
    // rules P1 and P2
    let data = scratch();
    let mut node = Node::on(data.path());
    let mut peer = node.connect();
    assert_eq!(peer.create_topic("t", &[("max.message.bytes", "2000")]), 0);
    let honest = || batch(&[b"a", b"b"]);
    let mut wrong_crc = honest();
    wrong_crc[17] ^= 1;
    let mut damaged = honest();
    *damaged.last_mut().expect("bytes") ^= 1;
    let mut cut = honest();
    cut.pop();
    let mut long = honest();
    long.push(0);
    let producer =
        |sequence| built(BatchBuilder::new().producer(ProducerId(1), ProducerEpoch(0), sequence));
    let late = now_ms() + 2 * 3_600_000;
    let cases: Vec<(&str, i16, Vec<u8>, i16)> = vec![
        ("wrong checksum", 9, wrong_crc, CORRUPT_MESSAGE),
        ("damaged record", 9, damaged, CORRUPT_MESSAGE),
        ("magic 0", 9, patched(honest(), 16, &[0]), INVALID_RECORD),
        ("magic 1", 9, patched(honest(), 16, &[1]), INVALID_RECORD),
        ("magic 3", 9, patched(honest(), 16, &[3]), INVALID_RECORD),
        (
            "magic -1",
            9,
            patched(honest(), 16, &[0xff]),
            INVALID_RECORD,
        ),
        (
            "base offset 1",
            9,
            patched(honest(), 0, &1_i64.to_be_bytes()),
            INVALID_RECORD,
        ),
        (
            "base offset -1",
            9,
            patched(honest(), 0, &(-1_i64).to_be_bytes()),
            INVALID_RECORD,
        ),
        (
            "more records than offsets",
            9,
            patched(honest(), 57, &3_i32.to_be_bytes()),
            INVALID_RECORD,
        ),
        (
            "no records",
            9,
            patched(honest(), 57, &0_i32.to_be_bytes()),
            INVALID_RECORD,
        ),
        (
            "negative count",
            9,
            patched(honest(), 57, &(-1_i32).to_be_bytes()),
            INVALID_RECORD,
        ),
        (
            "greatest count",
            9,
            patched(honest(), 57, &i32::MAX.to_be_bytes()),
            INVALID_RECORD,
        ),
        (
            "greatest delta",
            9,
            patched(honest(), 23, &i32::MAX.to_be_bytes()),
            INVALID_RECORD,
        ),
        (
            "negative delta",
            9,
            patched(honest(), 23, &(-2_i32).to_be_bytes()),
            INVALID_RECORD,
        ),
        (
            "control batch",
            9,
            built(BatchBuilder::new().control()),
            INVALID_RECORD,
        ),
        ("producer without sequence", 9, producer(-1), INVALID_RECORD),
        ("codec 5", 9, patched(honest(), 21, &[0, 5]), INVALID_RECORD),
        ("codec 6", 9, patched(honest(), 21, &[0, 6]), INVALID_RECORD),
        ("codec 7", 9, patched(honest(), 21, &[0, 7]), INVALID_RECORD),
        (
            "zstd before version 7",
            6,
            built(BatchBuilder::new().compression(Codec::Zstd, None)),
            UNSUPPORTED_COMPRESSION_TYPE,
        ),
        (
            "two hours ahead",
            9,
            patched(honest(), 35, &late.to_be_bytes()),
            INVALID_TIMESTAMP,
        ),
        (
            "the end of time",
            9,
            patched(honest(), 35, &i64::MAX.to_be_bytes()),
            INVALID_TIMESTAMP,
        ),
        ("too large", 9, batch(&[&[b'x'; 2000]]), MESSAGE_TOO_LARGE),
        (
            "two batches",
            9,
            [honest(), honest()].concat(),
            INVALID_RECORD,
        ),
        ("nothing", 9, Vec::new(), INVALID_RECORD),
        ("a header only", 9, honest()[..61].to_vec(), INVALID_RECORD),
        ("60 bytes", 9, honest()[..60].to_vec(), INVALID_RECORD),
        ("cut", 9, cut, INVALID_RECORD),
        ("a byte too many", 9, long, INVALID_RECORD),
        (
            "length 0",
            9,
            patched(honest(), 8, &[0; 4]),
            CORRUPT_MESSAGE,
        ),
        (
            "negative length",
            9,
            patched(honest(), 8, &[0xff; 4]),
            CORRUPT_MESSAGE,
        ),
        // docs/design/0070
        (
            "transactional",
            9,
            built(
                BatchBuilder::new()
                    .producer(ProducerId(1), ProducerEpoch(0), 0)
                    .transactional(),
            ),
            UNSUPPORTED_VERSION,
        ),
    ];
    for (case, version, records, error) in cases {
        let answer = peer.produce(version, "t", &records);
        assert_eq!(answer, (error, -1), "{case}");
    }
    let mut transactional = produce_request("t", &honest());
    transactional.transactional_id = Some(text("tx"));
    let answer = peer.call(9, &transactional);
    let code = answer.responses[0].partition_responses[0].error_code;
    assert_eq!(code, UNSUPPORTED_VERSION, "a transactional request");
    assert_eq!(peer.read_all("t"), Ok(Vec::new()), "none was appended");
    assert_eq!(peer.produce(9, "t", &honest()), (0, 0));
    node.assert_well(128 << 20, "broken batches");
}

fn producer_id(peer: &mut Peer) -> (i64, i16) {
    let request = init_producer_id::Request {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let answer = peer.call(4, &request);
    assert_eq!(answer.error_code, 0);
    (answer.producer_id, answer.producer_epoch)
}

#[test]
fn sequences_are_held_to_their_order() {
    // rules T1 and T2
    let data = scratch();
    let node = Node::on(data.path());
    let mut peer = node.connect();
    assert_eq!(peer.create_topic("t", &[]), 0);
    let (id, epoch) = producer_id(&mut peer);
    let numbered = |epoch: i16, sequence: i32| {
        built(BatchBuilder::new().producer(ProducerId(id), ProducerEpoch(epoch), sequence))
    };
    let cases = [
        ("the first", numbered(epoch, 0), (0, 0)),
        ("the next", numbered(epoch, 2), (0, 2)),
        ("the first again", numbered(epoch, 0), (0, 0)),
        ("the next again", numbered(epoch, 2), (0, 2)),
        (
            "a gap",
            numbered(epoch, 6),
            (OUT_OF_ORDER_SEQUENCE_NUMBER, -1),
        ),
        (
            "overlapping",
            numbered(epoch, 3),
            (OUT_OF_ORDER_SEQUENCE_NUMBER, -1),
        ),
        (
            "a new epoch not at 0",
            numbered(epoch + 1, 4),
            (OUT_OF_ORDER_SEQUENCE_NUMBER, -1),
        ),
        ("a new epoch", numbered(epoch + 1, 0), (0, 4)),
        (
            "the old epoch",
            numbered(epoch, 4),
            (INVALID_PRODUCER_EPOCH, -1),
        ),
    ];
    for (case, records, answer) in cases {
        assert_eq!(peer.produce(9, "t", &records), answer, "{case}");
    }
    assert_eq!(peer.read_all("t").expect("readable").len(), 6);
}

#[test]
fn a_decompression_bomb_is_stored_and_never_unpacked_at_the_broker_s_expense() {
    let data = scratch();
    let mut node = Node::on(data.path());
    let mut peer = node.connect();
    assert_eq!(peer.create_topic("bombs", &[]), 0);
    let honest = batch(&[b"x"]);
    for (codec, bits) in [
        (Codec::Zstd, 4_u8),
        (Codec::Gzip, 1),
        (Codec::Lz4, 3),
        (Codec::Snappy, 2),
    ] {
        // Frames of zeros, one behind the other, are one stream to zstd and gzip: a gibibyte.
        let frame = compress(codec, None, &vec![0; 16 << 20]).expect("compresses");
        let repeats = match codec {
            Codec::Zstd => 64,
            Codec::Gzip => 32,
            _ => 1,
        };
        let mut bomb = honest[..61].to_vec();
        for _ in 0..repeats {
            if bomb.len() + frame.len() < 1_000_000 {
                bomb.extend_from_slice(&frame);
            }
        }
        let length = i32::try_from(bomb.len() - 12).expect("small");
        bomb[8..12].copy_from_slice(&length.to_be_bytes());
        let bomb = patched(bomb, 21, &[0, bits]);
        let (error, offset) = peer.produce(9, "bombs", &bomb);
        assert_eq!(error, 0, "{codec:?}: the header is in order");
        node.assert_well(128 << 20, "after storing a bomb");
        // A lookup by time may want to see the records; it may fail, it may not take the memory.
        let (_, found) = peer.offset_at("bombs", 1);
        assert!(found <= offset, "{codec:?}");
        node.assert_well(160 << 20, "after a lookup in a bomb");
    }
    assert_eq!(peer.offset_at("bombs", -1), (0, 4));
}
