//! The files under crashes at every disk operation, and under damage.

use std::sync::Arc;

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use stdx::Writer;
use world::disk::Disk;
use world::sim::{Fault, Injection, Operation, SimDisk, SimRandom};

use crate::journal::{Journal, JournalError, Sizes};
use crate::raft::{Entry, LogId, Payload, SnapshotMeta, StoredMembership, Vote};
use crate::record::{self, Record, State};
use crate::snapshots::{self, Snapshots};

const SIZES: Sizes = Sizes {
    slot_bytes_first: 24 * 1024,
    slot_bytes_min: 32 * 1024,
    reserve_bytes: 8 * 1024,
};
const NODE: u64 = 3;

fn open(disk: &SimDisk) -> Result<Journal, JournalError> {
    Journal::open(
        Arc::new(disk.clone()),
        Arc::new(SimRandom::new(99)),
        NODE,
        false,
        SIZES,
    )
}

fn log_id(term: u64, index: u64) -> LogId {
    let vote = Vote::new(term, NODE);
    LogId::new(vote.leader_id, index)
}

fn entry(term: u64, index: u64, bytes: usize) -> Record {
    let payload = Payload(Bytes::from(vec![index as u8; bytes]));
    Record::Append(Entry::new(
        log_id(term, index),
        EntryPayload::Normal(payload),
    ))
}

/// The state's content, to compare.
fn content(state: &State) -> Vec<u8> {
    let mut out = Writer::new();
    for record in state.records() {
        record::encode(&record, &mut out);
    }
    out.into_bytes()
}

/// A run of writes that votes, appends, truncates, purges and crosses slots several times.
fn script() -> Vec<Vec<Record>> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut state = State::default();
    let mut term = 1;
    let mut script = vec![
        vec![Record::Vote(Vote::new(1, NODE))],
        vec![entry(1, 0, 10)],
    ];
    for records in &script {
        for record in records {
            state.apply(record.clone()).expect("fits");
        }
    }
    for _ in 0..45 {
        let next = state.last().map_or(0, |last| last.index() + 1);
        let first = state.entries.front().map_or(next, RaftEntry::index);
        let records = match random.u8(0..10) {
            0 => {
                term += 1;
                vec![
                    Record::Vote(Vote::new(term, NODE)),
                    Record::Vote(Vote::new_committed(term, NODE)),
                ]
            }
            1 if next > first + 3 => vec![
                Record::TruncateAfter(state.entries.get(1).map(RaftEntry::log_id)),
                entry(term, first + 2, random.usize(0..3_000)),
            ],
            2 if next > first + 4 => {
                let to = state.entries[2].log_id();
                vec![Record::Committed(Some(to)), Record::PurgeTo(to)]
            }
            _ => (0..random.u64(1..4))
                .map(|at| entry(term, next + at, random.usize(0..6_000)))
                .collect(),
        };
        for record in &records {
            state.apply(record.clone()).expect("fits");
        }
        script.push(records);
    }
    script
}

/// Plays the script until the disk stops. What was acknowledged, and what was under way.
fn play(disk: &SimDisk, script: &[Vec<Record>]) -> (State, State) {
    let mut acknowledged = State::default();
    let mut attempted = State::default();
    let Ok(mut journal) = open(disk) else {
        return (acknowledged, attempted);
    };
    for (step, records) in script.iter().enumerate() {
        if step == 3 {
            // Its own failure is no loss; what follows fails as well.
            let _ = journal.prepare();
        }
        // A quiet moment now and then.
        if step % 6 == 5 && journal.vouch(Vec::new()).is_err() {
            break;
        }
        for record in records {
            attempted.apply(record.clone()).expect("fits");
        }
        match journal.write(records.clone()) {
            Ok(()) => acknowledged = attempted.clone(),
            Err(_) => break,
        }
    }
    (acknowledged, attempted)
}

#[test]
fn no_crash_loses_a_vote_or_an_acknowledged_entry() {
    let script = script();
    let whole = SimDisk::new(1);
    let (all, _) = play(&whole, &script);
    let operations = whole.operations();
    assert!(operations > 50, "{operations} operations");
    let mut torn = 0;
    for stop in 1..=operations {
        for seed in 0..3 {
            let disk = SimDisk::new(seed);
            disk.stop_at(stop);
            let (acknowledged, attempted) = play(&disk, &script);
            let image = disk.crash_image(seed * 1_000 + stop);
            let mut journal = open(&image)
                .unwrap_or_else(|error| panic!("stopped at {stop}, seed {seed}: {error}"));
            let found = content(journal.state());
            assert!(
                found == content(&acknowledged) || found == content(&attempted),
                "stopped at {stop}, seed {seed}: neither what was acknowledged nor what was tried"
            );
            torn += u64::from(found == content(&acknowledged));

            // And it goes on: the next write lands behind whatever the crash left.
            let vote = Record::Vote(Vote::new(1_000, NODE));
            journal
                .write(vec![vote.clone()])
                .expect("the new disk works");
            let mut expected = journal.state().clone();
            expected.apply(vote).expect("a vote fits");
            let again = open(&image.crash_image(1)).expect("opens again");
            assert_eq!(content(again.state()), content(&expected));
        }
    }
    assert!(torn > 0, "some crashes lose the write under way");
    let image = whole.crash_image(1);
    assert_eq!(content(open(&image).expect("opens").state()), content(&all));
}

#[test]
fn a_crash_during_recovery_changes_nothing() {
    let disk = SimDisk::new(1);
    let (all, _) = play(&disk, &script());
    for stop in 1..6 {
        let image = disk.crash_image(2);
        image.stop_at(stop);
        let _ = open(&image);
        let again = open(&image.crash_image(3)).expect("opens");
        assert_eq!(content(again.state()), content(&all));
    }
}

// rule D1
#[test]
fn a_failed_flush_is_the_last_write() {
    let script = script();
    for skip in 0..40 {
        let disk = SimDisk::new(skip);
        disk.inject(Injection::on(Operation::WriteDurable, Fault::Io).skip(skip));
        let (acknowledged, attempted) = play(&disk, &script);
        if skip > 0 {
            let mut journal = open(&disk.process_crash_image(1)).expect("opens");
            let found = content(journal.state());
            assert!(found == content(&acknowledged) || found == content(&attempted));
            journal
                .write(vec![Record::Vote(Vote::new(1_000, NODE))])
                .expect("a new process may");
        }
    }
    let disk = SimDisk::new(1);
    let mut journal = open(&disk).expect("opens");
    disk.inject(Injection::on(Operation::WriteDurable, Fault::Io));
    let vote = || vec![Record::Vote(Vote::new(1, NODE))];
    assert!(matches!(
        journal.write(vote()),
        Err(JournalError::Disk { .. })
    ));
    let operations = disk.operations();
    assert!(
        journal.write(vote()).is_err(),
        "the disk works again, but nobody knows what it holds"
    );
    assert_eq!(disk.operations(), operations, "nothing more is written");
}

/// A log of a few blocks in one slot.
fn short_log() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk).expect("opens");
    journal
        .write(vec![Record::Vote(Vote::new(1, NODE))])
        .expect("works");
    for index in 0..4 {
        journal.write(vec![entry(1, index, 100)]).expect("works");
    }
    disk
}

// rule D2
#[test]
fn damage_with_blocks_behind_it_is_refused() {
    // Blocks: 0 the start with the vote, 1 to 4 the entries.
    for block in 0..4 {
        for at in [0, 9, 33, 50, 70] {
            let disk = short_log();
            disk.flip_bit("meta-log/0.log", block * 4096 + at, 3)
                .expect("there");
            assert!(
                matches!(open(&disk), Err(JournalError::Corrupt { .. })),
                "block {block}, byte {at}"
            );
        }
    }
}

// rule D2
#[test]
fn a_slot_that_was_cut_is_refused() {
    let whole = SIZES.slot_bytes_first;
    for length in (4096..whole).step_by(1000) {
        let disk = short_log();
        let file = disk.open("meta-log/0.log", world::OpenMode::ReadWrite);
        file.expect("there").truncate(length).expect("cut");
        assert!(
            matches!(open(&disk), Err(JournalError::Corrupt { .. })),
            "{length} of {whole} bytes"
        );
    }
}

// rule D2
#[test]
fn a_damaged_last_block_is_a_torn_write_until_a_block_behind_it_vouches_for_it() {
    let damage = |disk: &SimDisk| {
        disk.flip_bit("meta-log/0.log", 4 * 4096 + 70, 3)
            .expect("there");
    };
    let disk = short_log();
    damage(&disk);
    let journal = open(&disk).expect("opens");
    assert_eq!(journal.state().last(), Some(log_id(1, 2)));

    let disk = short_log();
    let mut journal = open(&disk).expect("opens");
    assert!(journal.wants_voucher());
    journal.vouch(Vec::new()).expect("works");
    assert!(!journal.wants_voucher());
    assert!(!open(&disk).expect("opens").wants_voucher());
    damage(&disk);
    assert!(matches!(open(&disk), Err(JournalError::Corrupt { .. })));
}

// rule D2
#[test]
fn damage_anywhere_in_a_log_at_rest_is_told_or_costs_nothing() {
    // Long enough for several turns of the slots; the last write ends in either.
    let (mut told, mut harmless) = (0, 0);
    for steps in [1, 2, 5, 9, 20, 30, 47] {
        let disk = SimDisk::new(1);
        let (all, _) = play(&disk, &script()[..steps]);
        let mut journal = open(&disk).expect("opens");
        journal.vouch(Vec::new()).expect("works");
        drop(journal);
        for slot in ["meta-log/0.log", "meta-log/1.log"] {
            let Ok(file) = disk.open(slot, world::OpenMode::Read) else {
                continue;
            };
            for block in 0..file.len().expect("there") / 4096 {
                for at in [1, 7, 12, 20, 34, 38, 42, 45, 52, 60, 66, 90] {
                    let image = disk.crash_image(1);
                    image.flip_bit(slot, block * 4096 + at, 5).expect("there");
                    match open(&image) {
                        Err(JournalError::Corrupt { .. } | JournalError::TooNew { .. }) => {
                            told += 1;
                        }
                        Err(error) => panic!("{steps} steps, {slot}, {block}: {error}"),
                        Ok(journal) => {
                            assert_eq!(
                                content(journal.state()),
                                content(&all),
                                "{steps} steps, {slot}, block {block}, byte {at}"
                            );
                            harmless += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(told > 100 && harmless > 100, "{told} told, {harmless} not");
}

// rule D9
#[test]
fn a_foreign_newer_or_missing_log_is_refused() {
    let disk = short_log();
    let other = Journal::open(
        Arc::new(disk.clone()),
        Arc::new(SimRandom::new(1)),
        4,
        false,
        SIZES,
    );
    assert_eq!(
        other.err(),
        Some(JournalError::Foreign {
            found: NODE,
            node: 4
        })
    );

    disk.flip_bit("meta-log/0.log", 4, 1).expect("there");
    assert!(matches!(
        open(&disk),
        Err(JournalError::TooNew { version: 3, .. })
    ));

    let empty = SimDisk::new(1);
    let lost = Journal::open(
        Arc::new(empty),
        Arc::new(SimRandom::new(1)),
        NODE,
        true,
        SIZES,
    );
    assert!(
        matches!(lost, Err(JournalError::Corrupt { .. })),
        "votes would be forgotten"
    );
}

#[test]
fn a_log_that_outgrows_its_slots_grows_them_from_the_reserve_if_it_must() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk).expect("opens");
    journal.prepare().expect("there is room");
    disk.inject(Injection::on(Operation::ZeroFill, Fault::Full));
    for index in 0..40 {
        journal
            .write(vec![entry(1, index, 4_000)])
            .expect("the reserve is given up");
    }
    assert!(
        disk.open("meta-log/reserve", world::OpenMode::Read)
            .is_err()
    );
    let again = open(&disk.crash_image(1)).expect("opens");
    assert_eq!(again.state().entries.len(), 40);
    assert_eq!(again.state().command_bytes, 160_000);
}

#[test]
fn hostile_bytes_never_panic_or_allocate_much() {
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..400 {
        let disk = short_log();
        for _ in 0..random.usize(1..6) {
            let at = random.u64(0..8 * 4096);
            disk.flip_bit("meta-log/0.log", at, random.u8(0..8))
                .expect("there");
        }
        if let Ok(mut journal) = open(&disk) {
            journal
                .write(vec![Record::Vote(Vote::new(9, NODE))])
                .expect("works");
            open(&disk.crash_image(round)).expect("opens");
        }
    }
    let mut bytes = Writer::new();
    record::encode(&entry(1, 7, 30), &mut bytes);
    record::encode(&Record::Committed(Some(log_id(1, 2))), &mut bytes);
    for _ in 0..20_000 {
        let mut hostile = bytes.as_slice().to_vec();
        let at = random.usize(..hostile.len());
        hostile[at] = random.u8(..);
        let mut input = stdx::Reader::new(&hostile);
        while record::decode(&mut input).is_ok() {}
        let _ = record::decode_meta(&mut stdx::Reader::new(&hostile));
    }
}

#[test]
fn block_bytes_are_as_written_down() {
    let disk = SimDisk::new(1);
    let mut journal = open(&disk).expect("opens");
    journal
        .write(vec![Record::Vote(Vote::new_committed(7, NODE))])
        .expect("works");
    let mut block = [0; 4096];
    let file = disk
        .open("meta-log/0.log", world::OpenMode::Read)
        .expect("there");
    file.read_at(&mut block, 0).expect("reads");
    assert_eq!(block[..8], [0x44, 0x4d, 0x51, 0x4c, 1, 0, 1, 0]);
    assert_eq!(block[8..16], 1_u64.to_le_bytes(), "the first block");
    assert_eq!(
        block[32..40],
        [18, 0, 0, 0, 1, 0, 0, 0],
        "18 bytes, one record"
    );
    assert_eq!(block[48..56], NODE.to_le_bytes());
    let mut vote = vec![1];
    vote.extend(7_u64.to_le_bytes());
    vote.extend(NODE.to_le_bytes());
    vote.push(1);
    assert_eq!(block[64..82], vote);
    assert!(block[82..].iter().all(|byte| *byte == 0));
}

fn snapshot_bytes(index: u64) -> Vec<u8> {
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(1, index)),
        last_membership: StoredMembership::default(),
    };
    snapshots::encode(&meta, &vec![index as u8; 3_000])
}

// rule D7
#[test]
fn no_crash_loses_a_snapshot_and_two_are_kept() {
    let save_all = |disk: &SimDisk| {
        let mut saved = None;
        if disk.create_dir("meta-log").is_err() || disk.sync_dir("").is_err() {
            return saved;
        }
        let snapshots = Snapshots::new(Arc::new(disk.clone()));
        for index in [5, 9, 12, 30] {
            if snapshots.save(index, &snapshot_bytes(index)).is_err() {
                break;
            }
            saved = Some(index);
        }
        saved
    };
    let whole = SimDisk::new(1);
    assert_eq!(save_all(&whole), Some(30));
    let names: Vec<String> = whole
        .list("meta-log")
        .expect("there")
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert_eq!(
        names,
        ["00000000000000000012.snap", "00000000000000000030.snap"]
    );
    for stop in 1..=whole.operations() {
        for seed in 0..4 {
            let disk = SimDisk::new(seed);
            disk.stop_at(stop);
            let saved = save_all(&disk);
            let snapshots = Snapshots::new(Arc::new(disk.crash_image(seed)));
            let newest = snapshots
                .newest()
                .expect("a torn file never has a snapshot's name");
            let found = newest
                .and_then(|snapshot| snapshot.meta.last_log_id)
                .map(|id| id.index());
            assert!(
                found >= saved,
                "stopped at {stop}: {found:?}, {saved:?} was saved"
            );
        }
    }
    whole
        .flip_bit("meta-log/00000000000000000030.snap", 500, 1)
        .expect("there");
    let newest = Snapshots::new(Arc::new(whole))
        .newest()
        .expect("the older one is whole");
    assert_eq!(
        newest.and_then(|snapshot| snapshot.meta.last_log_id),
        Some(log_id(1, 12))
    );
}
