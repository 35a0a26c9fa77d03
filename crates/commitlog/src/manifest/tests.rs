use super::*;
use crate::mutation::for_each_mutation;
use fastrand::Rng;

fn record(id: u64, topic: u8, partition: i32) -> PartitionRecord {
    PartitionRecord {
        key: PartitionKey {
            topic: TopicId([topic; 16]),
            partition,
        },
        id: PartitionId(id),
        flags: 0,
        log_start: Offset(1),
        end: Offset(50),
        high_watermark: Offset(49),
        active_base: Offset(40),
        active_bytes: 1_000,
        active_revision: 0,
        last_epoch: LeaderEpoch(3),
        active_max_timestamp_ms: 0x1122,
        active_since_ms: 0x3344,
        tail: None,
    }
}

fn segment(base: i64, end: i64) -> SegmentRecord {
    SegmentRecord {
        base: Offset(base),
        end: Offset(end),
        data_bytes: 0x0abc,
        max_timestamp_ms: 0x1020,
        last_epoch: LeaderEpoch(2),
        location: Location::Local,
        footer_crc: 0xdead_beef,
        cleaned: false,
        revision: 1,
    }
}

fn put(record: PartitionRecord, tail: TailChange) -> Change {
    Change::PutPartition { record, tail }
}

/// Two partitions, one with two sealed segments.
fn sample() -> Manifest {
    let mut manifest = Manifest::new();
    let changes = [
        put(record(1, 7, 0), TailChange::None),
        put(record(2, 7, 1), TailChange::None),
        Change::PutSegment(PartitionId(1), segment(1, 20)),
        Change::PutSegment(PartitionId(1), segment(20, 40)),
    ];
    manifest.apply(&changes, 0).expect("consistent");
    manifest
}

fn snapshot(manifest: &Manifest, generation: u64) -> Vec<u8> {
    manifest.encode_snapshot(generation, Lsn(9), 0, |_| TailChange::None)
}

#[test]
fn a_snapshot_reads_back() {
    let manifest = sample();
    let bytes = snapshot(&manifest, 5);
    let read = Manifest::decode_snapshot(&bytes).expect("as written");
    assert_eq!(
        (read.generation, read.sequence, read.replay_from),
        (5, 0, Lsn(9))
    );
    assert_eq!(read.next_id(), PartitionId(3));
    assert!(read.iter().eq(manifest.iter()));
    assert_eq!(
        FrameHeader::decode(&bytes).map(|h| h.head_bytes()),
        Ok(bytes.len() as u64)
    );
}

#[test]
fn a_snapshot_does_not_need_its_tail_states_to_be_read() // storage.md 2.4
{
    let manifest = sample();
    let bytes = manifest.encode_snapshot(5, Lsn(9), 300, |entry| match entry.record.id {
        PartitionId(2) => TailChange::Here {
            at: 100,
            length: 200,
            crc: 77,
        },
        _ => TailChange::None,
    });
    let read = Manifest::decode_snapshot(&bytes).expect("as written");
    let place = |id| {
        read.partition(PartitionId(id))
            .and_then(|entry| entry.record.tail)
    };
    assert_eq!(place(1), None);
    let offset = bytes.len() as u64 + 100;
    assert_eq!(
        place(2),
        Some(TailPlace {
            in_delta: false,
            offset,
            length: 200,
            crc: 77
        })
    );
    // One byte further would lie outside the tail area.
    let bytes = manifest.encode_snapshot(5, Lsn(9), 299, |_| TailChange::Here {
        at: 100,
        length: 200,
        crc: 77,
    });
    assert!(Manifest::decode_snapshot(&bytes).is_err());
}

#[test]
fn deltas_are_applied_up_to_the_torn_one() // storage.md 2.1
{
    let mut manifest = sample();
    let base = snapshot(&manifest, 5);
    manifest = Manifest::decode_snapshot(&base).expect("as written");
    let steps = [
        vec![put(
            record(3, 8, 0),
            TailChange::Here {
                at: 0,
                length: 10,
                crc: 1,
            },
        )],
        vec![
            put(
                PartitionRecord {
                    end: Offset(60),
                    ..record(3, 8, 0)
                },
                TailChange::Kept,
            ),
            Change::RemoveSegment(PartitionId(1), Offset(1)),
        ],
        vec![Change::RemovePartition(PartitionId(2))],
    ];
    let mut file = Vec::new();
    let mut states = vec![(0, manifest.clone())];
    for (at, changes) in steps.iter().enumerate() {
        let bytes = encode_delta(&manifest, Lsn(10 + at as u64), 10, changes);
        let delta = decode_delta(&bytes).expect("as written");
        assert_eq!(delta.changes, *changes);
        let tail_area = file.len() as u64 + delta.header.head_bytes();
        manifest.apply(changes, tail_area).expect("consistent");
        manifest.adopt(&delta.header);
        file.extend(bytes);
        file.extend([0xee; 10]);
        states.push((file.len(), manifest.clone()));
    }
    let entry = manifest.partition(PartitionId(3)).expect("put");
    assert_eq!(
        entry.record.tail.map(|tail| tail.length),
        Some(10),
        "kept over the second delta"
    );
    assert_eq!(entry.record.end, Offset(60));
    assert_eq!(manifest.replay_from, Lsn(12));
    for end in 0..=file.len() {
        let mut read = Manifest::decode_snapshot(&base).expect("as written");
        let (taken, rest) = read.apply_deltas(&file[..end]).expect("no contradiction");
        let (whole, expected) = states
            .iter()
            .rev()
            .find(|(at, _)| *at <= end)
            .expect("some");
        assert_eq!(taken, *whole as u64);
        assert_eq!(rest.is_none(), end == *whole);
        assert_eq!(read, *expected);
    }
    // A delta that was left out, and one of another snapshot.
    let mut read = Manifest::decode_snapshot(&base).expect("as written");
    let (taken, rest) = read
        .apply_deltas(&file[states[1].0..])
        .expect("no contradiction");
    assert_eq!((taken, rest.is_some()), (0, true));
}

#[test]
fn contradictions_are_refused() {
    let refused = |change: Change| sample().apply(&[change], 0).is_err();
    assert!(
        refused(put(record(9, 7, 0), TailChange::None)),
        "a second log of one partition"
    );
    assert!(
        refused(put(record(1, 8, 0), TailChange::None)),
        "another partition's log"
    );
    assert!(refused(Change::RemovePartition(PartitionId(9))));
    let behind_its_removal = [
        Change::RemovePartition(PartitionId(1)),
        Change::PutSegment(PartitionId(1), segment(20, 40)),
    ];
    assert!(sample().apply(&behind_its_removal, 0).is_err());
    assert!(refused(Change::PutSegment(PartitionId(9), segment(1, 2))));
    assert!(
        refused(Change::PutSegment(PartitionId(1), segment(10, 30))),
        "overlaps"
    );
    assert!(
        refused(Change::PutSegment(PartitionId(1), segment(40, 60))),
        "above the active one"
    );
    assert!(refused(Change::RemoveSegment(PartitionId(1), Offset(2))));
    assert!(
        !refused(Change::PutSegment(PartitionId(1), segment(20, 40))),
        "a replacement"
    );
}

#[test]
fn an_internal_id_is_never_given_twice() {
    let mut manifest = sample();
    manifest
        .apply(&[Change::RemovePartition(PartitionId(2))], 0)
        .expect("known");
    assert_eq!(manifest.next_id(), PartitionId(3));
    let read = Manifest::decode_snapshot(&snapshot(&manifest, 1)).expect("as written");
    assert_eq!(read.next_id(), PartitionId(3));
}

#[test]
fn changes_agree_with_a_plain_list() {
    for seed in 0..40 {
        let mut rng = Rng::with_seed(seed);
        let mut manifest = Manifest::new();
        let mut model: Vec<(PartitionRecord, Vec<SegmentRecord>)> = Vec::new();
        let mut delta_file = Vec::new();
        let base = snapshot(&manifest, 1);
        manifest = Manifest::decode_snapshot(&base).expect("as written");
        for step in 0..60_i64 {
            let mut changes = Vec::new();
            for _ in 0..rng.usize(0..4) {
                let known = (!model.is_empty()).then(|| rng.usize(0..model.len()));
                match (rng.u8(..6), known) {
                    (0, Some(at)) => {
                        let (gone, _) = model.remove(at);
                        changes.push(Change::RemovePartition(gone.id));
                    }
                    (1 | 2, Some(at)) => {
                        // Seal the active segment.
                        let (record, segments) = &mut model[at];
                        let end = record.active_base.plus(rng.i64(1..20));
                        let sealed = SegmentRecord {
                            base: record.active_base,
                            end,
                            ..segment(0, 0)
                        };
                        segments.push(sealed);
                        record.active_base = end;
                        record.end = record.end.max(end);
                        changes.push(Change::PutSegment(record.id, sealed));
                        changes.push(put(*record, TailChange::None));
                    }
                    (3, Some(at)) if !model[at].1.is_empty() => {
                        let gone = model[at].1.remove(0);
                        changes.push(Change::RemoveSegment(model[at].0.id, gone.base));
                    }
                    (4, Some(at)) if !model[at].1.is_empty() => {
                        let (record, segments) = &mut model[at];
                        let last = segments.len() - 1;
                        segments[last].revision += 1;
                        changes.push(Change::PutSegment(record.id, segments[last]));
                    }
                    _ => {
                        let next = manifest.next_id().0 + changes.len() as u64;
                        let made = record(next, step as u8, changes.len() as i32);
                        model.push((made, Vec::new()));
                        changes.push(put(made, TailChange::None));
                    }
                }
            }
            let bytes = encode_delta(&manifest, Lsn(step as u64), 0, &changes);
            let header = decode_delta(&bytes).expect("as written").header;
            manifest.apply(&changes, 0).expect("consistent");
            manifest.adopt(&header);
            delta_file.extend(bytes);
            model.sort_by_key(|(record, _)| record.id);
            assert_eq!(manifest.len(), model.len());
            for (entry, (record, segments)) in manifest.iter().zip(&model) {
                assert_eq!(
                    (&entry.record, &*entry.segments),
                    (record, segments.as_slice())
                );
                assert_eq!(manifest.partition(record.id), Some(entry));
            }
        }
        let mut replayed = Manifest::decode_snapshot(&base).expect("as written");
        assert_eq!(
            replayed.apply_deltas(&delta_file),
            Ok((delta_file.len() as u64, None))
        );
        assert_eq!(replayed, manifest);
        let folded = Manifest::decode_snapshot(&snapshot(&manifest, 2)).expect("as written");
        assert!(folded.iter().eq(manifest.iter()));
        assert_eq!(folded.next_id(), manifest.next_id());
    }
}

#[test]
fn the_snapshot_bytes_are_those_of_the_page() {
    let mut manifest = Manifest::new();
    let changes = [
        put(record(1, 0xaa, 2), TailChange::None),
        Change::PutSegment(PartitionId(1), segment(1, 40)),
    ];
    manifest.apply(&changes, 0).expect("consistent");
    let here = TailChange::Here {
        at: 4,
        length: 6,
        crc: 0x0403_0201,
    };
    let bytes = manifest.encode_snapshot(5, Lsn(0x0908), 16, |_| here);
    let crcs = (
        crc32c(&bytes[..60]).to_le_bytes(),
        crc32c(&bytes[..224]).to_le_bytes(),
    );
    let (header_crc, block_crc) = crcs;
    #[rustfmt::skip]
    let golden = [
        b'D', b'M', b'A', b'N', b'I', b'F', b'S', b'T', // magic
        1, 0, 0, 0, // format, flags
        1, 0, 0, 0, // partitions
        5, 0, 0, 0, 0, 0, 0, 0, // generation
        8, 9, 0, 0, 0, 0, 0, 0, // replay from LSN
        2, 0, 0, 0, 0, 0, 0, 0, // next internal id
        160, 0, 0, 0, 0, 0, 0, 0, // bytes of records
        16, 0, 0, 0, 0, 0, 0, 0, // bytes of tail states
        0, 0, 0, 0, // sequence
        header_crc[0], header_crc[1], header_crc[2], header_crc[3],
        // partition
        0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, // topic id
        0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
        2, 0, 0, 0, 1, 0, 0, 0, // partition, flags: tail state here
        1, 0, 0, 0, 0, 0, 0, 0, // internal id
        1, 0, 0, 0, 0, 0, 0, 0, // log start
        50, 0, 0, 0, 0, 0, 0, 0, // end
        49, 0, 0, 0, 0, 0, 0, 0, // high watermark
        40, 0, 0, 0, 0, 0, 0, 0, // base of the active segment
        0xe8, 3, 0, 0, 0, 0, 0, 0, // its bytes, its revision
        3, 0, 0, 0, 1, 0, 0, 0, // last epoch, segments
        4, 0, 0, 0, 0, 0, 0, 0, // tail state: at
        6, 0, 0, 0, 1, 2, 3, 4, // its length, its CRC
        0x22, 0x11, 0, 0, 0, 0, 0, 0, // max timestamp of the active segment
        0x44, 0x33, 0, 0, 0, 0, 0, 0, // its first append
        // sealed segment
        1, 0, 0, 0, 0, 0, 0, 0, // base
        40, 0, 0, 0, 0, 0, 0, 0, // end
        0xbc, 0x0a, 0, 0, 0, 0, 0, 0, // data bytes
        0x20, 0x10, 0, 0, 0, 0, 0, 0, // max timestamp
        2, 0, 0, 0, 0, 0, 0, 0, // last epoch, location
        0xef, 0xbe, 0xad, 0xde, 1, 0, 0, 0, // CRC of the footer, revision
        // CRC table
        block_crc[0], block_crc[1], block_crc[2], block_crc[3],
    ];
    assert_eq!(bytes, golden);
}

#[test]
fn the_delta_bytes_are_those_of_the_page() {
    let manifest = Manifest {
        generation: 5,
        ..sample()
    };
    let changes = [
        Change::RemovePartition(PartitionId(2)),
        Change::RemoveSegment(PartitionId(1), Offset(20)),
    ];
    let bytes = encode_delta(&manifest, Lsn(7), 0, &changes);
    #[rustfmt::skip]
    let golden_head = [
        b'D', b'M', b'A', b'N', b'I', b'F', b'S', b'T',
        1, 0, 1, 0, // format, flags: delta
        2, 0, 0, 0, // changes
        5, 0, 0, 0, 0, 0, 0, 0, // generation
        7, 0, 0, 0, 0, 0, 0, 0, // replay from LSN
        3, 0, 0, 0, 0, 0, 0, 0, // next internal id
        40, 0, 0, 0, 0, 0, 0, 0, // bytes of changes
        0, 0, 0, 0, 0, 0, 0, 0, // bytes of tail states
        1, 0, 0, 0, // sequence
    ];
    #[rustfmt::skip]
    let golden_changes = [
        2, 0, 0, 0, 0, 0, 0, 0, // remove partition, reserved
        2, 0, 0, 0, 0, 0, 0, 0, // internal id
        4, 0, 0, 0, 0, 0, 0, 0, // remove segment, reserved
        1, 0, 0, 0, 0, 0, 0, 0, // internal id
        20, 0, 0, 0, 0, 0, 0, 0, // base
    ];
    assert_eq!(bytes[..60], golden_head);
    assert_eq!(bytes[64..104], golden_changes);
    let puts = [
        put(record(1, 7, 0), TailChange::Kept),
        Change::PutSegment(PartitionId(1), segment(1, 20)),
    ];
    let bytes = encode_delta(&manifest, Lsn(7), 0, &puts);
    assert_eq!(
        bytes[64..72],
        [1, 0, 0, 0, 0, 0, 0, 0],
        "put partition, then its record"
    );
    assert_eq!(bytes[64 + 8 + 20], 2, "its tail state is kept");
    assert_eq!(
        bytes[184..200],
        [3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        "put segment"
    );
    assert_eq!(bytes.len(), 64 + 120 + 64 + 4);
}

#[test]
fn the_current_file_is_that_of_the_page() {
    let bytes = encode_current(7);
    #[rustfmt::skip]
    let golden = [
        b'D', b'C', b'U', b'R', b'R', b'E', b'N', b'T', // magic
        1, 0, 0, 0, 0, 0, 0, 0, // format, reserved
        7, 0, 0, 0, 0, 0, 0, 0, // generation
        0, 0, 0, 0, // reserved
    ];
    assert_eq!(bytes[..28], golden);
    assert_eq!(decode_current(&bytes), Ok(7));
    for bit in 0..bytes.len() * 8 {
        let mut rotten = bytes;
        rotten[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_current(&rotten).is_err(), "bit {bit}");
    }
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let bytes = snapshot(&sample(), 5);
    for bit in 0..bytes.len() * 8 {
        let mut rotten = bytes.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        assert!(Manifest::decode_snapshot(&rotten).is_err(), "bit {bit}");
    }
}

/// Gives hostile bytes the checksums they need to get past them.
fn forge(bytes: &mut [u8]) {
    if bytes.len() < HEADER_BYTES {
        return;
    }
    let crc = crc32c(&bytes[..HEADER_BYTES - 4]);
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let Ok(header) = FrameHeader::decode(bytes) else {
        return;
    };
    if header.head_bytes() > bytes.len() as u64 {
        return;
    }
    let (checked, table) = bytes.split_at_mut(HEADER_BYTES + header.records_bytes as usize);
    for (block, crc) in checked.chunks(BLOCK_BYTES).zip(table.chunks_exact_mut(4)) {
        crc.copy_from_slice(&crc32c(block).to_le_bytes());
    }
}

#[test]
fn hostile_bytes_are_refused_or_read_and_nothing_else() {
    let manifest = sample();
    let snapshot = snapshot(&manifest, 0);
    let changes = [
        put(
            record(3, 8, 0),
            TailChange::Here {
                at: 0,
                length: 3,
                crc: 0,
            },
        ),
        Change::PutSegment(PartitionId(3), segment(1, 20)),
        Change::RemoveSegment(PartitionId(1), Offset(20)),
        Change::RemovePartition(PartitionId(2)),
    ];
    let mut delta = encode_delta(&manifest, Lsn(3), 3, &changes);
    delta.extend([1, 2, 3]);
    for forged in [false, true] {
        for_each_mutation(&snapshot, 9, 5_000, |bytes| {
            let mut bytes = bytes.to_vec();
            if forged {
                forge(&mut bytes);
            }
            if let Ok(manifest) = Manifest::decode_snapshot(&bytes) {
                let records = manifest
                    .iter()
                    .map(|entry| PARTITION_BYTES + entry.segments.len() * SEGMENT_BYTES);
                assert!(records.sum::<usize>() <= bytes.len());
            }
        });
        for_each_mutation(&delta, 10, 5_000, |bytes| {
            let mut bytes = bytes.to_vec();
            if forged {
                forge(&mut bytes);
            }
            let _ = sample().apply_deltas(&bytes);
            if let Ok(delta) = decode_delta(&bytes) {
                assert!(delta.changes.len() * OP_BYTES_MIN <= bytes.len());
            }
        });
    }
}

#[test]
fn fifty_thousand_partitions_read_back_and_stay_small() // storage.md 9
{
    let mut manifest = Manifest::new();
    let changes: Vec<Change> = (0..50_000)
        .map(|n| put(record(n + 1, (n / 100) as u8, n as i32), TailChange::None))
        .collect();
    manifest.apply(&changes, 0).expect("consistent");
    let bytes = snapshot(&manifest, 1);
    assert!(bytes.len() > 80 * BLOCK_BYTES, "many blocks");
    let read = Manifest::decode_snapshot(&bytes).expect("as written");
    assert!(read.iter().eq(manifest.iter()));
    // What one idle partition costs: its entry and its two keys, in maps built full.
    let entry = size_of::<(PartitionId, PartitionEntry)>();
    let key = size_of::<(PartitionKey, PartitionId)>();
    assert!(entry + key <= 200, "{entry} + {key} bytes");
    let mut rotten = bytes.clone();
    rotten[40 * BLOCK_BYTES + 17] ^= 1;
    assert!(matches!(
        Manifest::decode_snapshot(&rotten),
        Err(FormatError::Corrupt {
            reason: Reason::Checksum { .. },
            ..
        })
    ));
}
