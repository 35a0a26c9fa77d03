//! Batches built, read back, damaged, validated and written anew.

use super::*;
use crate::ErrorCode;
use crate::batch::{self, BatchView, Stamp, check_crc};
use crate::compress::BATCH_DECOMPRESSED_BYTES_MAX as CAP;
use crate::ids::{LeaderEpoch, ProducerEpoch, ProducerId};

fn sample(codec: Codec) -> Vec<u8> {
    let mut builder =
        BatchBuilder::new()
            .compression(codec, None)
            .producer(ProducerId(7), ProducerEpoch(1), 10);
    builder.append(&NewRecord {
        timestamp: 1000,
        key: Some(b"k"),
        value: Some(b"v"),
        headers: &[(b"h", Some(b"1")), (b"h", None), (b"h", Some(b""))],
    });
    builder.append(&NewRecord {
        timestamp: 900,
        ..Default::default()
    });
    builder.append(&NewRecord {
        timestamp: 1500,
        key: Some(b""),
        value: None,
        headers: &[],
    });
    builder.build().expect("builds")
}

fn view(bytes: &[u8]) -> BatchView<'_> {
    BatchView::whole(bytes).expect("a batch")
}

#[test]
fn what_is_built_is_read_back_with_every_codec() {
    for codec in Codec::ALL {
        let bytes = sample(codec);
        let batch = view(&bytes);
        assert!(check_crc(&batch));
        assert_eq!(batch.codec(), Some(codec));
        assert_eq!((batch.record_count(), batch.last_offset_delta()), (3, 2));
        assert_eq!(
            (batch.base_timestamp(), batch.max_timestamp()),
            (1000, 1500)
        );
        assert_eq!(
            (batch.producer_id(), batch.producer_epoch()),
            (ProducerId(7), ProducerEpoch(1))
        );
        assert_eq!((batch.base_sequence(), batch.last_sequence()), (10, 12));
        assert_eq!(
            (batch.base_offset(), batch.leader_epoch()),
            (Offset(0), LeaderEpoch(-1))
        );
        let limits = batch::BatchLimits {
            batch_bytes_max: 1000,
            segment_bytes_max: 1000,
            timestamp_max: Some(1500),
        };
        assert_eq!(batch::check_client_batch(&batch, &limits), Ok(()));

        let records = BatchRecords::open(&batch, CAP).expect("opens");
        let read: Vec<_> = records.iter().map(|r| r.expect("a record")).collect();
        assert_eq!(read.len(), 3);
        assert_eq!(
            (read[0].key, read[0].value),
            (Some(&b"k"[..]), Some(&b"v"[..]))
        );
        assert_eq!((read[1].key, read[1].value), (None, None));
        assert_eq!((read[2].key, read[2].value), (Some(&b""[..]), None));
        assert_eq!(
            read.iter().map(|r| r.timestamp).collect::<Vec<_>>(),
            [1000, 900, 1500]
        );
        assert_eq!(
            read.iter().map(|r| r.offset.0).collect::<Vec<_>>(),
            [0, 1, 2]
        );
    }
}

#[test]
fn headers_are_a_list_with_duplicates_in_order() {
    // rule C4
    let bytes = sample(Codec::None);
    let records = BatchRecords::open(&view(&bytes), CAP).expect("opens");
    let first = records.iter().next().expect("one").expect("a record");
    assert_eq!(first.headers.len(), 3);
    let values: Vec<_> = first
        .headers
        .iter()
        .map(|h| {
            assert_eq!(h.key, b"h");
            h.value
        })
        .collect();
    assert_eq!(values, [Some(&b"1"[..]), None, Some(&b""[..])]);
}

#[test]
fn a_stamped_batch_gives_its_records_their_offsets_and_the_append_time() {
    // rules P3 and P5
    let mut bytes = sample(Codec::Lz4);
    let place = Stamp {
        base_offset: Offset(40),
        leader_epoch: LeaderEpoch(2),
        append_time_ms: Some(9000),
    };
    batch::stamp(&mut bytes, place);
    let batch = view(&bytes);
    assert!(check_crc(&batch));
    let records = BatchRecords::open(&batch, CAP).expect("opens");
    for (offset, record) in (40..).zip(&records) {
        let record = record.expect("a record");
        assert_eq!((record.offset, record.timestamp), (Offset(offset), 9000));
    }
}

#[test]
fn an_empty_builder_makes_no_batch() {
    // rule P1
    assert!(matches!(
        BatchBuilder::new().build(),
        Err(BuildError::Empty)
    ));
}

#[test]
fn the_size_of_a_record_is_known_before_it_is_appended() {
    let headers: &[(&[u8], Option<&[u8]>)] = &[(b"name", Some(b"value")), (b"none", None)];
    let record = NewRecord {
        timestamp: 5,
        key: Some(&[1; 300]),
        value: Some(&[2; 9000]),
        headers,
    };
    let mut builder = BatchBuilder::new();
    builder.append(&record);
    builder.append(&record);
    let before = builder.bytes();
    builder.append(&record);
    let added = builder.bytes() - before;
    let most = BatchBuilder::record_bytes_max(&record);
    assert!(added <= most && most <= added + 16, "{added} {most}");
}

/// Overwrites the records of an uncompressed batch and tells the reader's complaint.
fn complaint(count: i32, records: &[u8]) -> String {
    let mut bytes = sample(Codec::None);
    bytes.truncate(batch::HEADER_BYTES);
    bytes.extend_from_slice(records);
    let length = (bytes.len() - batch::LENGTH_END) as i32;
    batch::put(&mut bytes, batch::LENGTH_AT, length.to_be_bytes());
    batch::put(&mut bytes, batch::RECORD_COUNT_AT, count.to_be_bytes());
    match BatchRecords::open(&view(&bytes), CAP) {
        Err(error) => error.to_string(),
        Ok(records) => records
            .iter()
            .find_map(Result::err)
            .map_or_else(|| "none".to_owned(), |error| error.to_string()),
    }
}

#[test]
fn damaged_records_are_found_before_anything_is_allocated() {
    // rule W8
    // length 6: attributes, two deltas, null key, null value, no headers
    let good = [12u8, 0, 0, 0, 1, 1, 0];
    assert_eq!(complaint(1, &good), "none");
    assert_eq!(
        complaint(2, &good),
        "2 records announced, 0 bytes left after them"
    );
    assert_eq!(
        complaint(i32::MAX, &good),
        "2147483647 records announced, 0 bytes left after them"
    );
    assert_eq!(
        complaint(-1, &good),
        "-1 records announced, 0 bytes left after them"
    );
    let two = [good, good].concat();
    assert_eq!(
        complaint(1, &two),
        "1 records announced, 7 bytes left after them"
    );
    // A length beyond the end, a negative one, one too short for its fields, one too long.
    for bad in [
        [14u8, 0, 0, 0, 1, 1, 0],
        [1, 0, 0, 0, 1, 1, 0],
        [10, 0, 0, 0, 1, 1, 0],
        [12, 0, 0, 0, 3, 1, 0],  // key length −2
        [12, 0, 0, 0, 10, 1, 0], // key beyond the record
        [12, 0, 0, 0, 1, 1, 2],  // a header that is not there
        [12, 0, 0, 0, 1, 1, 1],  // −1 headers
        [12, 0, 0x80, 0x80, 0x80, 0x80, 0x80],
    ] {
        assert!(
            complaint(1, &bad).starts_with("record 0: "),
            "{bad:?}: {}",
            complaint(1, &bad)
        );
    }
}

#[test]
fn a_null_header_key_is_damage() {
    // length 8, one header: key −1, value −1
    assert!(complaint(1, &[16, 0, 0, 0, 1, 1, 2, 1, 1]).starts_with("record 0: "));
    // the same with an empty key
    assert_eq!(complaint(1, &[16, 0, 0, 0, 1, 1, 2, 0, 1]), "none");
}

#[test]
fn a_bomb_in_a_batch_is_refused_at_the_cap() {
    // decision D9
    let mut builder = BatchBuilder::new().compression(Codec::Zstd, None);
    let zeros = vec![0; 200_000];
    builder.append(&NewRecord {
        value: Some(&zeros),
        ..Default::default()
    });
    let bytes = builder.build().expect("builds");
    assert!(bytes.len() < 1000);
    assert!(matches!(
        BatchRecords::open(&view(&bytes), 100_000),
        Err(RecordError::Decompress(DecompressError::TooLarge {
            cap: 100_000,
            ..
        }))
    ));
}

#[test]
fn compacted_topics_need_a_key_in_every_record() {
    // rule P2
    for codec in Codec::ALL {
        let bytes = sample(codec);
        let rules = RecordRules {
            keys_needed: true,
            timestamps: None,
        };
        let refused = validate(&view(&bytes), &rules, CAP).expect_err("refused");
        assert_eq!(refused.code, ErrorCode::InvalidRecord);
        assert_eq!(refused.records.len(), 1);
        assert_eq!(refused.records[0].index, 1);
        assert!(validate(&view(&bytes), &RecordRules::default(), CAP).is_ok());
    }
}

#[test]
fn strict_topics_check_every_timestamp() {
    // rule P2
    let bytes = sample(Codec::Gzip);
    let rules = |min, max| RecordRules {
        keys_needed: false,
        timestamps: Some((min, max)),
    };
    let found = validate(&view(&bytes), &rules(900, 1500), CAP).expect("passes");
    assert_eq!((found.max_timestamp, found.max_timestamp_delta), (1500, 2));
    assert!(found.deltas_in_order);
    let refused = validate(&view(&bytes), &rules(901, 1499), CAP).expect_err("refused");
    assert_eq!(refused.code, ErrorCode::InvalidTimestamp);
    assert_eq!(
        refused.records.iter().map(|r| r.index).collect::<Vec<_>>(),
        [1, 2]
    );
}

#[test]
fn odd_deltas_are_written_anew_not_refused() {
    // rule P2
    let mut builder = BatchBuilder::new();
    let headers: &[(&[u8], Option<&[u8]>)] = &[(b"a", None), (b"a", Some(b"2"))];
    builder.append_at(
        0,
        &NewRecord {
            timestamp: 5,
            key: Some(b"a"),
            value: None,
            headers,
        },
    );
    builder.append_at(
        3,
        &NewRecord {
            timestamp: 6,
            ..Default::default()
        },
    );
    let odd = builder.build().expect("builds");
    assert!(
        !validate(&view(&odd), &RecordRules::default(), CAP)
            .expect("passes")
            .deltas_in_order
    );
    let again = rebuild(&view(&odd), Codec::Zstd, None, CAP).expect("rebuilds"); // rule P4
    let batch = view(&again);
    assert!(
        validate(&batch, &RecordRules::default(), CAP)
            .expect("passes")
            .deltas_in_order
    );
    assert_eq!(batch.codec(), Some(Codec::Zstd));
    assert_eq!(batch.last_offset_delta(), 1);
    let records = BatchRecords::open(&batch, CAP).expect("opens");
    let first = records.iter().next().expect("one").expect("a record");
    assert_eq!(first.headers.len(), 2);
    assert_eq!((first.key, first.timestamp), (Some(&b"a"[..]), 5));
}

#[test]
fn refusals_are_limited() {
    let mut builder = BatchBuilder::new();
    for _ in 0..1000 {
        builder.append(&NewRecord::default());
    }
    let bytes = builder.build().expect("builds");
    let rules = RecordRules {
        keys_needed: true,
        timestamps: None,
    };
    let refused = validate(&view(&bytes), &rules, CAP).expect_err("refused");
    assert_eq!(refused.records.len(), validate::RECORD_REFUSALS_MAX);
}

#[test]
fn random_batches_come_back_as_they_went_in() {
    let mut rng = fastrand::Rng::with_seed(11);
    for _ in 0..300 {
        let codec = Codec::ALL[rng.usize(..Codec::ALL.len())];
        let mut builder = BatchBuilder::new().compression(codec, None);
        let mut expected = Vec::new();
        for _ in 0..rng.usize(1..20) {
            let mut bytes = |max: usize| -> Option<Vec<u8>> {
                let length = rng.usize(..max);
                rng.bool()
                    .then(|| std::iter::repeat_with(|| rng.u8(..)).take(length).collect())
            };
            let (key, value) = (bytes(20), bytes(300));
            let headers: Vec<(Vec<u8>, Option<Vec<u8>>)> = (0..3)
                .filter_map(|_| bytes(9).map(|key| (key, bytes(70))))
                .collect();
            expected.push((rng.i64(-1..1 << 50), key, value, headers));
        }
        for (timestamp, key, value, headers) in &expected {
            let headers: Vec<(&[u8], Option<&[u8]>)> = headers
                .iter()
                .map(|(k, v)| (k.as_slice(), v.as_deref()))
                .collect();
            builder.append(&NewRecord {
                timestamp: *timestamp,
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
            });
        }
        let bytes = builder.build().expect("builds");
        let records = BatchRecords::open(&view(&bytes), CAP).expect("opens");
        let read: Vec<_> = records
            .iter()
            .map(|record| {
                let record = record.expect("a record");
                let headers: Vec<_> = record
                    .headers
                    .iter()
                    .map(|h| (h.key.to_vec(), h.value.map(<[u8]>::to_vec)))
                    .collect();
                let value = record.value.map(<[u8]>::to_vec);
                (
                    record.timestamp,
                    record.key.map(<[u8]>::to_vec),
                    value,
                    headers,
                )
            })
            .collect();
        assert_eq!(read, expected);
    }
}

const NO_HORIZON: Horizon = Horizon {
    at_ms: 9_000,
    always: false,
};

/// Offset, timestamp, key, value and how many headers.
type Told = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, usize);

fn records_of(bytes: &[u8]) -> Vec<Told> {
    let batch = view(bytes);
    assert!(check_crc(&batch));
    let records = BatchRecords::open(&batch, CAP).expect("opens");
    records
        .iter()
        .map(|record| {
            let record = record.expect("whole");
            let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            let headers = record.headers.len();
            (
                record.offset.0,
                record.timestamp,
                own(record.key),
                own(record.value),
                headers,
            )
        })
        .collect()
}

#[test]
fn a_batch_that_keeps_everything_is_left_alone() {
    let mut builder = BatchBuilder::new();
    builder.append(&NewRecord {
        timestamp: 5,
        key: Some(b"a"),
        value: Some(b"1"),
        headers: &[],
    });
    let bytes = builder.build().expect("builds");
    let kept = retain(&view(&bytes), NO_HORIZON, CAP, |_| true).expect("reads");
    assert_eq!(kept, Retained::Whole);
    let kept = retain(&view(&bytes), NO_HORIZON, CAP, |_| false).expect("reads");
    assert_eq!(kept, Retained::Nothing);
}

#[test]
fn what_stays_of_a_batch_keeps_its_offsets_producer_and_codec() {
    // rule C1
    for codec in Codec::ALL {
        let bytes = sample(codec);
        let all = records_of(&bytes);
        let keep = |record: &Record<'_>| record.offset_delta < 1;
        let Ok(Retained::Part {
            bytes: part,
            records,
        }) = retain(&view(&bytes), NO_HORIZON, CAP, keep)
        else {
            panic!("{codec}: a part stays");
        };
        assert_eq!(records, 1);
        let (before, after) = (view(&bytes), view(&part));
        assert_eq!(records_of(&part), all[..1]);
        assert_eq!(after.codec(), Some(codec));
        assert_eq!(after.last_offset_delta(), before.last_offset_delta());
        assert_eq!(after.base_timestamp(), before.base_timestamp());
        assert_eq!(after.max_timestamp(), 1000);
        assert_eq!(after.delete_horizon_ms(), None);
        assert_eq!(after.producer_id(), before.producer_id());
        assert_eq!(after.last_sequence(), before.last_sequence());
    }
}

#[test]
fn a_batch_with_a_tombstone_gets_a_horizon_once() {
    // rule C2
    for codec in Codec::ALL {
        let bytes = sample(codec);
        let Ok(Retained::Part { bytes: first, .. }) =
            retain(&view(&bytes), NO_HORIZON, CAP, |_| true)
        else {
            panic!("{codec}: a tombstone needs a horizon");
        };
        assert_eq!(view(&first).delete_horizon_ms(), Some(9_000));
        assert_eq!(
            records_of(&first),
            records_of(&bytes),
            "timestamps stay what they were"
        );
        let later = Horizon {
            at_ms: 20_000,
            always: true,
        };
        let again = retain(&view(&first), later, CAP, |_| true).expect("reads");
        assert_eq!(again, Retained::Whole);
        let keep = |record: &Record<'_>| record.offset_delta == 2;
        let Ok(Retained::Part { bytes: part, .. }) = retain(&view(&first), later, CAP, keep) else {
            panic!("{codec}: a part stays");
        };
        assert_eq!(view(&part).delete_horizon_ms(), Some(9_000));
        assert_eq!(records_of(&part), records_of(&bytes)[2..]);
    }
}

#[test]
fn an_empty_batch_keeps_offsets_producer_and_newest_timestamp() {
    // rule C3
    let mut bytes = sample(Codec::Zstd);
    batch::stamp_header(&mut bytes, Offset(40), LeaderEpoch(3));
    let empty = empty_batch(&view(&bytes));
    let (before, after) = (view(&bytes), view(&empty));
    assert!(check_crc(&after));
    assert_eq!(after.len(), batch::HEADER_BYTES);
    assert_eq!(after.record_count(), 0);
    assert_eq!(after.codec(), Some(Codec::None));
    assert_eq!(
        (after.base_offset(), after.last_offset()),
        (before.base_offset(), before.last_offset())
    );
    assert_eq!(after.leader_epoch(), LeaderEpoch(3));
    assert_eq!(after.max_timestamp(), before.max_timestamp());
    assert_eq!(after.last_sequence(), before.last_sequence());
    assert_eq!(after.producer_epoch(), before.producer_epoch());
    assert!(records_of(&empty).is_empty());
}

#[test]
fn append_time_survives_a_horizon() {
    let mut bytes = sample(Codec::None);
    batch::stamp(
        &mut bytes,
        Stamp {
            base_offset: Offset(0),
            leader_epoch: LeaderEpoch(0),
            append_time_ms: Some(7_777),
        },
    );
    let Ok(Retained::Part { bytes: kept, .. }) = retain(&view(&bytes), NO_HORIZON, CAP, |_| true)
    else {
        panic!("a tombstone needs a horizon");
    };
    assert_eq!(view(&kept).max_timestamp(), 7_777);
    assert!(
        records_of(&kept)
            .iter()
            .all(|(_, timestamp, ..)| *timestamp == 7_777)
    );
}
