//! The header, by hand-made batches; what records do to it is told in `record`.

use super::*;

/// A batch of `count` records' header with 10 bytes of records, checksum right.
fn batch(count: i32) -> Vec<u8> {
    let mut bytes = vec![0u8; HEADER_BYTES + 10];
    put(
        &mut bytes,
        LENGTH_AT,
        ((HEADER_BYTES + 10 - LENGTH_END) as i32).to_be_bytes(),
    );
    put(&mut bytes, LEADER_EPOCH_AT, (-1i32).to_be_bytes());
    bytes[MAGIC_AT] = 2;
    put(&mut bytes, LAST_OFFSET_DELTA_AT, (count - 1).to_be_bytes());
    put(&mut bytes, BASE_TIMESTAMP_AT, 1000i64.to_be_bytes());
    put(&mut bytes, MAX_TIMESTAMP_AT, 2000i64.to_be_bytes());
    put(&mut bytes, PRODUCER_ID_AT, (-1i64).to_be_bytes());
    put(&mut bytes, PRODUCER_EPOCH_AT, (-1i16).to_be_bytes());
    put(&mut bytes, BASE_SEQUENCE_AT, (-1i32).to_be_bytes());
    put(&mut bytes, RECORD_COUNT_AT, count.to_be_bytes());
    put_crc(&mut bytes);
    bytes
}

const LIMITS: BatchLimits = BatchLimits {
    batch_bytes_max: 100,
    segment_bytes_max: 100,
    timestamp_max: Some(5000),
};

fn refusal(change: impl FnOnce(&mut Vec<u8>)) -> ErrorCode {
    let mut bytes = batch(3);
    change(&mut bytes);
    put_crc(&mut bytes);
    let batch = BatchView::whole(&bytes).expect("a batch");
    check_client_batch(&batch, &LIMITS)
        .expect_err("refused")
        .code
}

#[test]
fn every_field_is_where_kafka_puts_it() {
    let mut bytes = vec![0u8; HEADER_BYTES];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = at as u8;
    }
    put(&mut bytes, LENGTH_AT, 49i32.to_be_bytes());
    bytes[MAGIC_AT] = 2;
    let view = BatchView::whole(&bytes).expect("a batch");
    assert_eq!(view.base_offset(), Offset(0x0001_0203_0405_0607));
    assert_eq!(view.leader_epoch(), LeaderEpoch(0x0c0d_0e0f));
    assert_eq!(view.crc(), 0x1112_1314);
    assert_eq!(view.attributes(), 0x1516);
    assert_eq!(view.last_offset_delta(), 0x1718_191a);
    assert_eq!(view.base_timestamp(), 0x1b1c_1d1e_1f20_2122);
    assert_eq!(view.max_timestamp(), 0x2324_2526_2728_292a);
    assert_eq!(view.producer_id(), ProducerId(0x2b2c_2d2e_2f30_3132));
    assert_eq!(view.producer_epoch(), ProducerEpoch(0x3334));
    assert_eq!(view.base_sequence(), 0x3536_3738);
    assert_eq!(view.record_count(), 0x393a_3b3c);
    assert!(view.records().is_empty());
}

#[test]
fn attributes_are_bits() {
    let mut bytes = batch(1);
    put(&mut bytes, ATTRIBUTES_AT, 0x7ci16.to_be_bytes());
    let view = BatchView::whole(&bytes).expect("a batch");
    assert_eq!(view.codec(), Some(Codec::Zstd));
    assert!(view.is_log_append_time() && view.is_transactional() && view.is_control());
    assert_eq!(view.delete_horizon_ms(), Some(1000)); // rule C2
    put(&mut bytes, ATTRIBUTES_AT, 5i16.to_be_bytes());
    assert_eq!(BatchView::whole(&bytes).expect("a batch").codec(), None);
}

#[test]
fn a_view_needs_header_length_and_magic_to_agree() {
    let whole = batch(1);
    assert!(BatchView::whole(&whole).is_ok());
    for cut in 0..whole.len() {
        assert!(matches!(
            BatchView::whole(&whole[..cut]),
            Err(BatchError::Short { .. })
        ));
    }
    for length in [i32::MIN, -1, 0, 48] {
        let mut bytes = whole.clone();
        put(&mut bytes, LENGTH_AT, length.to_be_bytes());
        assert_eq!(BatchView::whole(&bytes), Err(BatchError::Length { length }));
    }
    for magic in [-1i8, 0, 1, 3] {
        let mut bytes = whole.clone();
        bytes[MAGIC_AT] = magic as u8;
        assert_eq!(BatchView::whole(&bytes), Err(BatchError::Magic { magic }));
    }
    let mut longer = whole.clone();
    longer.push(0);
    assert_eq!(
        BatchView::whole(&longer),
        Err(BatchError::Trailing { left: 1 })
    );
}

#[test]
fn several_batches_are_walked_and_a_cut_one_ends_the_walk() {
    // rule F2
    let mut bytes = [batch(1), batch(2), batch(3)].concat();
    let counts: Vec<_> = batches(&bytes)
        .map(|b| b.expect("a batch").record_count())
        .collect();
    assert_eq!(counts, [1, 2, 3]);
    bytes.truncate(bytes.len() - 1);
    let mut walk = batches(&bytes);
    assert_eq!(walk.by_ref().count(), 2);
    assert_eq!(walk.tail().len(), HEADER_BYTES + 9);
    let at = batch(1).len() + MAGIC_AT;
    bytes[at] = 1;
    let all: Vec<_> = batches(&bytes).collect();
    assert_eq!(all.len(), 2);
    assert_eq!(all[1], Err(BatchError::Magic { magic: 1 }));
}

#[test]
fn a_partition_gets_exactly_one_batch_of_magic_two() {
    // rule P1
    let one = batch(1);
    assert!(client_batch(&one, 3).is_ok());
    let code = |bytes: &[u8], version| client_batch(bytes, version).map(|_| ()).map_err(|r| r.code);
    assert_eq!(code(&[], 9), Err(ErrorCode::InvalidRecord));
    assert_eq!(
        code(&[one.clone(), one.clone()].concat(), 9),
        Err(ErrorCode::InvalidRecord)
    );
    let mut old = one.clone();
    old[MAGIC_AT] = 1;
    assert_eq!(code(&old, 9), Err(ErrorCode::InvalidRecord));
    assert_eq!(code(&one[..70], 9), Err(ErrorCode::InvalidRecord));
    let mut short = one.clone();
    put(&mut short, LENGTH_AT, 48i32.to_be_bytes());
    assert_eq!(code(&short, 9), Err(ErrorCode::CorruptMessage));
}

#[test]
fn zstd_needs_produce_seven() {
    // rule P1
    let mut bytes = batch(1);
    put(&mut bytes, ATTRIBUTES_AT, 4i16.to_be_bytes());
    let refused = client_batch(&bytes, 6).expect_err("refused");
    assert_eq!(refused.code, ErrorCode::UnsupportedCompressionType);
    assert!(client_batch(&bytes, 7).is_ok());
    put(&mut bytes, ATTRIBUTES_AT, 6i16.to_be_bytes());
    assert_eq!(
        client_batch(&bytes, 13).expect_err("refused").code,
        ErrorCode::InvalidRecord
    );
}

#[test]
fn a_good_batch_passes() {
    let bytes = batch(3);
    let batch = BatchView::whole(&bytes).expect("a batch");
    assert_eq!(check_client_batch(&batch, &LIMITS), Ok(()));
}

#[test]
fn the_header_alone_refuses_what_kafka_refuses() {
    // rules P1 and P2
    use ErrorCode as E;
    assert_eq!(
        refusal(|b| put(b, BASE_OFFSET_AT, 1i64.to_be_bytes())),
        E::InvalidRecord
    );
    assert_eq!(
        refusal(|b| put(b, RECORD_COUNT_AT, 2i32.to_be_bytes())),
        E::InvalidRecord
    );
    assert_eq!(
        refusal(|b| put(b, RECORD_COUNT_AT, 0i32.to_be_bytes())),
        E::InvalidRecord
    );
    assert_eq!(
        refusal(|b| put(b, RECORD_COUNT_AT, i32::MIN.to_be_bytes())),
        E::InvalidRecord
    );
    assert_eq!(
        refusal(|b| put(b, LAST_OFFSET_DELTA_AT, (-1i32).to_be_bytes())),
        E::InvalidRecord
    );
    assert_eq!(
        refusal(|b| put(b, ATTRIBUTES_AT, CONTROL.to_be_bytes())),
        E::InvalidRecord
    );
    assert_eq!(
        refusal(|b| put(b, PRODUCER_ID_AT, 7i64.to_be_bytes())),
        E::InvalidRecord
    );
    assert_eq!(
        refusal(|b| put(b, ATTRIBUTES_AT, LOG_APPEND_TIME.to_be_bytes())),
        E::InvalidTimestamp
    );
    assert_eq!(
        refusal(|b| put(b, MAX_TIMESTAMP_AT, 5001i64.to_be_bytes())),
        E::InvalidTimestamp
    );
}

#[test]
fn size_and_checksum_are_refused() {
    // rule P2
    let bytes = batch(3);
    let view = BatchView::whole(&bytes).expect("a batch");
    let small = BatchLimits {
        batch_bytes_max: 70,
        ..LIMITS
    };
    let code = |limits: &BatchLimits| check_client_batch(&view, limits).map_err(|r| r.code);
    assert_eq!(code(&small), Err(ErrorCode::MessageTooLarge));
    let small = BatchLimits {
        segment_bytes_max: 70,
        ..LIMITS
    };
    assert_eq!(code(&small), Err(ErrorCode::RecordListTooLarge));
    for at in ATTRIBUTES_AT..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        let view = BatchView::whole(&flipped).expect("a batch");
        let refused = check_client_batch(&view, &LIMITS).expect_err("refused");
        assert_eq!(refused.code, ErrorCode::CorruptMessage);
    }
}

#[test]
fn a_stamp_without_append_time_leaves_the_checksum_alone() {
    // rule P3
    let mut bytes = batch(3);
    let crc = BatchView::whole(&bytes).expect("a batch").crc();
    let place = Stamp {
        base_offset: Offset(42),
        leader_epoch: LeaderEpoch(7),
        append_time_ms: None,
    };
    stamp(&mut bytes, place);
    let view = BatchView::whole(&bytes).expect("a batch");
    assert_eq!(
        (view.base_offset(), view.last_offset()),
        (Offset(42), Offset(44))
    );
    assert_eq!(view.leader_epoch(), LeaderEpoch(7));
    assert_eq!(view.crc(), crc);
    assert!(check_crc(&view));
    assert_eq!(view.max_timestamp(), 2000);
}

#[test]
fn log_append_time_sets_the_bit_the_maximum_and_the_checksum() {
    // rules P3 and P5
    let mut bytes = batch(3);
    let before = BatchView::whole(&bytes).expect("a batch").crc();
    let place = Stamp {
        base_offset: Offset(1),
        leader_epoch: LeaderEpoch(0),
        append_time_ms: Some(9000),
    };
    stamp(&mut bytes, place);
    let view = BatchView::whole(&bytes).expect("a batch");
    assert!(view.is_log_append_time());
    assert_eq!((view.base_timestamp(), view.max_timestamp()), (1000, 9000));
    assert_ne!(view.crc(), before);
    assert!(check_crc(&view));
}

#[test]
fn sequences_wrap_to_zero() {
    // rule T2
    assert_eq!(advance_sequence(i32::MAX, 1), 0);
    assert_eq!(advance_sequence(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(advance_sequence(i32::MAX, i32::MAX), i32::MAX - 1);
    let mut bytes = batch(4);
    put(&mut bytes, BASE_SEQUENCE_AT, (i32::MAX - 1).to_be_bytes());
    assert_eq!(
        BatchView::whole(&bytes).expect("a batch").last_sequence(),
        1
    );
}
