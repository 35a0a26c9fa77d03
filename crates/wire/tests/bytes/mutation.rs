//! Random damage to everything that reads bytes from outside: no panic, no endless loop. The
//! rounds are few enough for every test run; set `WIRE_FUZZ_ROUNDS` to a multiplier for more.

use bytes::{Bytes, BytesMut};
use wire::ApiKey;
use wire::batch::{BatchLimits, BatchView, batches, check_client_batch, client_batch};
use wire::compress::{Codec, DecompressError, decompress};
use wire::frame::{FrameStep, split_frame, take_frame};
use wire::header::{Incoming, read_request, read_response};
use wire::produce::ProduceRequest;
use wire::protocol_metadata::{Assignment, Subscription};
use wire::record::{BatchRecords, RecordRules, rebuild, validate};

use crate::catalogue::{golden, golden_frames, read, served};

const CAP: usize = 1 << 20;

fn rounds(base: usize) -> usize {
    let more = std::env::var("WIRE_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse::<usize>().ok());
    base * more.unwrap_or(1)
}

/// Flips, overwrites, cuts, doubles.
fn damage(rng: &mut fastrand::Rng, honest: &[u8]) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    for _ in 0..rng.usize(1..6) {
        if bytes.is_empty() {
            bytes.push(rng.u8(..));
        }
        let at = rng.usize(..bytes.len());
        let until = (at + rng.usize(1..9)).min(bytes.len());
        match rng.u8(..7) {
            0 => bytes[at] ^= 1 << rng.u8(..8),
            1 => bytes[at] = rng.u8(..),
            2 => bytes[at..until].fill(0xff),
            3 => bytes[at..until].fill(0),
            4 => bytes.truncate(at),
            5 => drop(bytes.drain(at..until)),
            _ => {
                let copy = bytes[at..until].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes
}

#[test]
fn damaged_frames_and_headers_are_an_error_or_a_request() {
    // rules W6, W7 and W8
    let mut rng = fastrand::Rng::with_seed(21);
    for (api, version) in served() {
        for (_, golden) in golden_frames(api, version) {
            for _ in 0..rounds(400) {
                let bytes = damage(&mut rng, &golden.bytes);
                match split_frame(&bytes, 1 << 20) {
                    FrameStep::Frame { len } => assert!(len + 4 <= bytes.len()),
                    FrameStep::Need(more) => assert!(more > 0),
                    FrameStep::TooLong { announced } => {
                        assert!(!(0..=1 << 20).contains(&announced));
                    }
                }
                let mut buffer = BytesMut::from(&bytes[..]);
                let _ = take_frame(&mut buffer, 1 << 20);
                let _ = read_response(api, version, &bytes);
                let frame = Bytes::from(bytes).slice(4.min(buffer.len())..);
                if let Ok(Incoming::Request { header, body }) = read_request(frame.clone()) {
                    assert!(header.api.serves(header.version));
                    assert!(body.len() <= frame.len());
                }
            }
        }
    }
}

#[test]
fn damaged_bodies_are_an_error_or_a_message() {
    // rule W8
    let mut rng = fastrand::Rng::with_seed(22);
    for (api, version) in served() {
        for (end, golden) in golden_frames(api, version) {
            for _ in 0..rounds(400) {
                let body = Bytes::from(damage(&mut rng, &golden.body()));
                let _ = read(api.key, end, version, body.clone());
                if api.key == ApiKey::Produce
                    && let Ok(request) = ProduceRequest::decode(version, &body)
                {
                    let walked = request.topics().map(|topic| topic.partitions().count());
                    let counted = request.topics().map(|topic| topic.partition_count());
                    assert!(
                        walked.eq(counted),
                        "what was checked can be walked to its end"
                    );
                }
            }
        }
    }
}

#[test]
fn damaged_batches_are_an_error_or_records() {
    // rules P1, P2 and W8
    let mut rng = fastrand::Rng::with_seed(23);
    let limits = BatchLimits {
        batch_bytes_max: CAP,
        segment_bytes_max: CAP,
        timestamp_max: Some(0),
    };
    let rules = RecordRules {
        keys_needed: true,
        timestamps: Some((0, 1000)),
    };
    for (name, golden) in golden("batches.txt") {
        for _ in 0..rounds(4000) {
            let bytes = damage(&mut rng, &golden.bytes);
            let _ = batches(&bytes).count();
            if let Ok(batch) = client_batch(&bytes, rng.i16(3..14)) {
                let _ = check_client_batch(&batch, &limits);
            }
            let Ok(batch) = BatchView::whole(&bytes) else {
                continue;
            };
            let _ = batch.last_sequence();
            let _ = validate(&batch, &rules, CAP);
            if let Ok(records) = BatchRecords::open(&batch, CAP) {
                let walked = records.iter().count();
                assert!(walked <= records.count() as usize + 1, "{name}");
                let read = records.iter().filter_map(Result::ok);
                let headers: usize = read.map(|record| record.headers.iter().count()).sum();
                assert!(headers <= bytes.len() + CAP);
            }
            if let Ok(again) = rebuild(&batch, Codec::None, None, CAP) {
                assert!(BatchView::whole(&again).is_ok());
            }
        }
    }
}

#[test]
fn damaged_compressed_data_is_an_error_or_below_the_cap() {
    // decision D9
    let mut rng = fastrand::Rng::with_seed(24);
    let data: Vec<u8> = (0..9000u32).flat_map(|i| (i / 7).to_be_bytes()).collect();
    for codec in Codec::ALL {
        let honest = wire::compress::compress(codec, None, &data).expect("compresses");
        for _ in 0..rounds(400) {
            let bytes = damage(&mut rng, &honest);
            match decompress(codec, &bytes, 50_000) {
                Ok(out) => assert!(out.len() <= 50_000),
                Err(DecompressError::TooLarge { cap, .. }) => assert_eq!(cap, 50_000),
                Err(DecompressError::Corrupt { .. }) => {}
            }
        }
    }
}

#[test]
fn damaged_blobs_are_an_error_or_a_subscription() {
    let mut rng = fastrand::Rng::with_seed(25);
    for version in 0..=3 {
        for name in ["subscription", "assignment"] {
            let golden = golden(&format!("consumer_protocol_{name}-v{version}.txt"));
            for _ in 0..rounds(2000) {
                let bytes = damage(&mut rng, &golden["data"].bytes);
                if let Ok(read) = Subscription::decode(&bytes) {
                    let again = Subscription::decode(&read.encode(3)).expect("reads its own");
                    assert_eq!(again, read);
                }
                let _ = Assignment::decode(&bytes);
            }
        }
    }
}
