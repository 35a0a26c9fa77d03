use super::*;
use crate::ids::{PartitionId, PartitionKey};
use crate::index::IndexedBatch;
use crate::mutation::for_each_mutation;
use crate::producers::{AppendedAt, Marker, ProducerBatch};
use crate::sections::SECTION_HEADER_BYTES;
use wire::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId};

struct Parts {
    facts: Facts,
    index: SparseIndex,
    append_times: AppendTimes,
    aborted: AbortedTransactions,
    producers: Producers,
    epochs: Epochs,
}

impl Parts {
    fn refer(&self) -> FooterParts<'_> {
        FooterParts {
            facts: &self.facts,
            index: &self.index,
            append_times: &self.append_times,
            aborted: &self.aborted,
            producers: &self.producers,
            epochs: &self.epochs,
        }
    }
}

/// Ten batches of ten records from offset 100, transactional, then an abort.
fn parts() -> Parts {
    let base = Offset(100);
    let mut parts = Parts {
        facts: Facts {
            key: PartitionKey {
                topic: TopicId([7; 16]),
                partition: 0,
            },
            id: PartitionId(1),
            base,
            end: Offset(201),
            data_bytes: 11_000,
            max_timestamp_ms: 1_009,
            since_ms: 5_000,
            last_epoch: LeaderEpoch(2),
            revision: 0,
        },
        index: SparseIndex::new(base),
        append_times: AppendTimes::new(base),
        aborted: AbortedTransactions::new(),
        producers: Producers::new(base),
        epochs: Epochs::new(),
    };
    parts.epochs.assign(LeaderEpoch(2), base);
    let (producer_id, producer_epoch) = (ProducerId(4), ProducerEpoch(0));
    for at in 0..11 {
        let first_offset = Offset(100 + at * 10);
        let last_offset = if at == 10 {
            first_offset
        } else {
            first_offset.plus(9)
        };
        let timestamp_ms = 1_000 + at % 10;
        let batch = IndexedBatch {
            base_offset: first_offset,
            last_offset,
            position: at as u32 * 1_000,
            length: 1_000,
            max_timestamp_ms: timestamp_ms,
        };
        parts.index.add(&batch, &[at as u8; 1_000]).expect("room");
        parts.append_times.note(first_offset, 5_000 + at * 700);
        let now_ms = 5_000 + at * 700;
        let lsn = Lsn(at as u64);
        let appended = AppendedAt {
            first_offset,
            last_offset,
            timestamp_ms,
            lsn,
            now_ms,
        };
        if at == 10 {
            let marker = Marker {
                producer_id,
                producer_epoch,
                coordinator_epoch: 0,
                aborted: true,
            };
            let ended = parts.producers.apply_marker(&marker, &appended);
            parts.aborted.add(&ended.expect("a transaction was open"));
        } else {
            let (first_sequence, last_sequence) = (at as i32 * 10, at as i32 * 10 + 9);
            let transactional = true;
            let batch = ProducerBatch {
                producer_id,
                producer_epoch,
                first_sequence,
                last_sequence,
                transactional,
            };
            parts.producers.apply_batch(&batch, &appended);
        }
    }
    parts
}

#[test]
fn a_footer_gives_back_its_parts() {
    let parts = parts();
    let (bytes, crc) = encode_footer(&parts.refer());
    let file_bytes = 11_000 + bytes.len() as u64;
    let last = bytes.last_chunk().expect("a trailer");
    let trailer = Trailer::decode(last, file_bytes).expect("as written");
    assert_eq!(trailer.footer_offset, 11_000);
    assert_eq!(trailer.footer_bytes, bytes.len() as u64);
    assert_eq!(trailer.crc, crc);
    let footer = Footer::decode(&bytes, file_bytes).expect("as written");
    assert_eq!(footer.crc(), crc);
    assert_eq!(*footer.facts(), parts.facts);
    assert_eq!(footer.append_times(), Ok(parts.append_times));
    assert_eq!(footer.aborted(), Ok(parts.aborted));
    assert_eq!(footer.epochs(), Ok(parts.epochs));
    let ranges: Vec<_> = footer.index().expect("as written").ranges().collect();
    assert_eq!(ranges, parts.index.ranges().collect::<Vec<_>>());
    let producers = footer.producers(Lsn::ZERO).expect("as written");
    assert_eq!(
        producers.iter().collect::<Vec<_>>(),
        parts.producers.iter().collect::<Vec<_>>()
    );
}

#[test]
fn sections_of_later_releases_are_passed_over() {
    let (bytes, _) = encode_footer(&parts().refer());
    let mut out = Writer::from(bytes[..bytes.len() - TRAILER_BYTES].to_vec());
    append_section(&mut out, 7, 0, |out| {
        out.raw(b"key filter");
    });
    let (bytes, _) = finish_footer(out, 11_000, 7);
    let footer = Footer::decode(&bytes, 11_000 + bytes.len() as u64).expect("read without it");
    assert_eq!(footer.sections().len(), 7);
    assert!(footer.index().is_ok());
}

#[test]
fn the_bytes_are_those_of_the_page() {
    let (bytes, crc) = encode_footer(&parts().refer());
    // The first section's head, then the trailer; each section's own bytes are in its own test.
    assert_eq!(&bytes[..SECTION_HEADER_BYTES], [1, 0, 1, 0, 80, 0, 0, 0]);
    let mut numbers = Vec::new();
    let mut at = 0;
    while at < bytes.len() - TRAILER_BYTES {
        numbers.push(bytes[at]);
        let length = [bytes[at + 4], bytes[at + 5], bytes[at + 6], bytes[at + 7]];
        at += SECTION_HEADER_BYTES + u32::from_le_bytes(length) as usize;
    }
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    #[rustfmt::skip]
    let golden = [
        b'D', b'S', b'E', b'G', b'M', b'E', b'N', b'T', // magic
        1, 0, 0, 0, // version, flags
        6, 0, 0, 0, // sections
        0xf8, 0x2a, 0, 0, 0, 0, 0, 0, // footer offset: 11,000
        0, 0, 0, 0, // reserved
    ];
    let trailer = &bytes[bytes.len() - TRAILER_BYTES..];
    assert_eq!(trailer[..28], golden);
    assert_eq!(trailer[28..], crc.to_le_bytes());
    assert_eq!(crc, crc32c(&bytes[..bytes.len() - 4]));
}

#[test]
fn a_flipped_bit_anywhere_is_found() {
    let (bytes, _) = encode_footer(&parts().refer());
    let file_bytes = 11_000 + bytes.len() as u64;
    for bit in 0..bytes.len() * 8 {
        let mut rotten = bytes.clone();
        rotten[bit / 8] ^= 1 << (bit % 8);
        assert!(Footer::decode(&rotten, file_bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn hostile_bytes_are_refused_or_read_and_nothing_else() {
    let (bytes, _) = encode_footer(&parts().refer());
    for_each_mutation(&bytes, 3, 5_000, |bytes| {
        // An attacker computes the checksum too.
        let mut bytes = bytes.to_vec();
        if let Some(end) = bytes.len().checked_sub(4) {
            let crc = crc32c(&bytes[..end]);
            bytes[end..].copy_from_slice(&crc.to_le_bytes());
        }
        for file_bytes in [11_000 + bytes.len() as u64, bytes.len() as u64, 0, u64::MAX] {
            if let Ok(footer) = Footer::decode(&bytes, file_bytes) {
                drop((footer.index(), footer.append_times(), footer.aborted()));
                drop((footer.producers(Lsn::ZERO), footer.epochs()));
            }
        }
    });
}
