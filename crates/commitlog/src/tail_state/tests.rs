use super::*;
use crate::ids::{PartitionId, PartitionKey};
use crate::index::IndexedBatch;
use crate::mutation::for_each_mutation;
use crate::producers::{AppendedAt, ProducerBatch};
use wire::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId};

fn tail_state() -> TailState {
    let base = Offset(40);
    let mut state = TailState {
        facts: Facts {
            key: PartitionKey {
                topic: TopicId([7; 16]),
                partition: 0,
            },
            id: PartitionId(1),
            base,
            end: Offset(42),
            data_bytes: 100,
            max_timestamp_ms: 10,
            since_ms: 20,
            last_epoch: LeaderEpoch(2),
            revision: 0,
        },
        index: SparseIndex::new(base),
        append_times: AppendTimes::new(base),
        aborted: AbortedTransactions::new(),
        producers: Producers::new(base),
        epochs: Epochs::new(),
    };
    let (first_offset, last_offset, timestamp_ms) = (base, Offset(41), 10);
    let batch = IndexedBatch {
        base_offset: base,
        last_offset,
        position: 0,
        length: 100,
        max_timestamp_ms: timestamp_ms,
    };
    state.index.add(&batch, &[1; 100]).expect("room");
    state.append_times.note(base, 20);
    state.producers.apply_batch(
        &ProducerBatch {
            producer_id: ProducerId(3),
            producer_epoch: ProducerEpoch(0),
            first_sequence: 0,
            last_sequence: 1,
            transactional: true,
        },
        &AppendedAt {
            first_offset,
            last_offset,
            timestamp_ms,
            lsn: Lsn(8),
            now_ms: 20,
        },
    );
    state.epochs.assign(LeaderEpoch(0), Offset(0));
    state.epochs.assign(LeaderEpoch(2), Offset(40));
    state
}

#[test]
fn a_tail_state_gives_back_its_parts_and_the_open_transaction() // rule T5
{
    let state = tail_state();
    let mut out = Writer::new();
    let crc = state.encode(&mut out);
    let read = TailState::decode(out.as_slice(), crc, Lsn::ZERO).expect("as written");
    assert_eq!(read.facts, state.facts);
    assert_eq!(read.epochs, state.epochs);
    assert_eq!(read.append_times, state.append_times);
    assert_eq!(read.producers.first_open(), Some(Offset(40)));
    assert_eq!(read.index.end_position(), 100);
    let mut again = Writer::new();
    assert_eq!(read.encode(&mut again), crc);
    assert_eq!(again.as_slice(), out.as_slice());
}

#[test]
fn the_bytes_are_those_of_the_page() {
    let mut out = Writer::new();
    tail_state().encode(&mut out);
    #[rustfmt::skip]
    let golden = [
        b'D', b'T', b'A', b'L', // magic
        1, 0, 0, 0, // version, flags
        6, 0, 0, 0, // sections
        0, 0, 0, 0, // reserved
        1, 0, 1, 0, 80, 0, 0, 0, // the first section's head
    ];
    assert_eq!(out.as_slice()[..golden.len()], golden);
}

#[test]
fn parts_of_different_moments_are_refused() {
    let mut state = tail_state();
    state.producers.advance(Offset(43));
    let mut out = Writer::new();
    let crc = state.encode(&mut out);
    assert!(TailState::decode(out.as_slice(), crc, Lsn::ZERO).is_err());
}

#[test]
fn hostile_bytes_are_refused_or_read_and_nothing_else() {
    let mut out = Writer::new();
    let crc = tail_state().encode(&mut out);
    for_each_mutation(out.as_slice(), 4, 5_000, |bytes| {
        if bytes != out.as_slice() {
            assert!(TailState::decode(bytes, crc, Lsn::ZERO).is_err());
        }
        drop(TailState::decode(bytes, crc32c(bytes), Lsn::ZERO));
    });
}
