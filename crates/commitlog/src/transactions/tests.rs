use super::*;
use crate::mutation::for_each_mutation;

fn ended(producer: i64, first: i64, last: i64, stable: i64) -> EndedTransaction {
    EndedTransaction {
        producer_id: ProducerId(producer),
        first_offset: Offset(first),
        last_offset: Offset(last),
        last_stable_offset: Offset(stable),
        aborted: true,
    }
}

fn sample() -> AbortedTransactions {
    let mut aborted = AbortedTransactions::new();
    // Producer 2 begins first and ends last.
    aborted.add(&ended(1, 5, 10, 0));
    aborted.add(&EndedTransaction {
        aborted: false,
        ..ended(4, 11, 12, 0)
    });
    aborted.add(&ended(2, 0, 20, 21));
    aborted.add(&ended(3, 30, 40, 41));
    aborted
}

fn firsts(overlap: &Overlap) -> Vec<i64> {
    overlap
        .aborted
        .iter()
        .map(|entry| entry.first_offset.0)
        .collect()
}

#[test]
fn commits_leave_nothing_behind() {
    let ids: Vec<i64> = sample()
        .entries()
        .iter()
        .map(|entry| entry.producer_id.0)
        .collect();
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn every_abort_that_overlaps_a_range_is_found_by_first_offset() // rule F8
{
    let found = sample().overlapping(Offset(8), Offset(31));
    assert_eq!(firsts(&found), [0, 5, 30]);
    // 40 is the marker, inclusive; the range's end is not.
    assert_eq!(firsts(&sample().overlapping(Offset(40), Offset(50))), [30]);
    assert_eq!(
        firsts(&sample().overlapping(Offset(41), Offset(50))),
        [0_i64; 0]
    );
    assert_eq!(
        firsts(&sample().overlapping(Offset(21), Offset(30))),
        [0_i64; 0]
    );
}

#[test]
fn a_search_ends_where_nothing_undecided_is_left_below_the_range() // rule F8
{
    assert!(sample().overlapping(Offset(0), Offset(21)).complete);
    assert!(
        !sample().overlapping(Offset(0), Offset(42)).complete,
        "a later segment may know more"
    );
}

#[test]
fn a_cut_takes_the_markers_above_it() // rule R7
{
    let mut aborted = sample();
    aborted.truncate_to(Offset(40));
    assert_eq!(aborted.entries().len(), 2);
    aborted.truncate_to(Offset(10));
    assert!(aborted.is_empty());
}

#[test]
fn searches_agree_with_a_scan_of_all_transactions() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut aborted, mut all) = (AbortedTransactions::new(), Vec::new());
        let mut open: Vec<(i64, i64)> = Vec::new();
        for offset in 0..60 {
            if rng.u8(..3) > 0 {
                open.push((rng.i64(0..1000) * 100 + offset, offset));
            } else if !open.is_empty() {
                let (producer, first) = open.swap_remove(rng.usize(..open.len()));
                let undecided = open.iter().map(|(_, first)| *first).min();
                let entry = ended(producer, first, offset, undecided.unwrap_or(offset + 1));
                let entry = EndedTransaction {
                    aborted: rng.bool(),
                    ..entry
                };
                aborted.add(&entry);
                all.push(entry);
            }
        }
        for _ in 0..50 {
            let first = rng.i64(0..60);
            let end = first + rng.i64(1..20);
            // No fetch returns undecided data, so a range ends at the last stable offset at most.
            let undecided = open.iter().map(|(_, first)| *first).min().unwrap_or(60);
            let end = end.min(undecided);
            let mut expected: Vec<i64> = all
                .iter()
                .filter(|e| e.aborted && e.last_offset.0 >= first && e.first_offset.0 < end)
                .map(|e| e.first_offset.0)
                .collect();
            expected.sort_unstable();
            assert_eq!(
                firsts(&aborted.overlapping(Offset(first), Offset(end))),
                expected
            );
        }
        let mut out = Writer::new();
        aborted.encode(&mut out);
        assert_eq!(out.len(), aborted.encoded_bytes());
        assert_eq!(AbortedTransactions::decode(out.as_slice()), Ok(aborted));
    }
}

#[test]
fn the_bytes_are_those_of_the_page() {
    let mut aborted = AbortedTransactions::new();
    aborted.add(&ended(7, 0x10, 0x0203, 0x0204));
    let mut out = Writer::new();
    aborted.encode(&mut out);
    #[rustfmt::skip]
    let golden = [
        1, 0, 0, 0, // version, flags
        1, 0, 0, 0, // count
        7, 0, 0, 0, 0, 0, 0, 0, // producer id
        0x10, 0, 0, 0, 0, 0, 0, 0, // first offset
        0x03, 0x02, 0, 0, 0, 0, 0, 0, // last offset
        0x04, 0x02, 0, 0, 0, 0, 0, 0, // last stable offset
    ];
    assert_eq!(out.as_slice(), golden);
}

#[test]
fn hostile_bytes_are_refused_or_read_and_nothing_else() {
    let mut out = Writer::new();
    sample().encode(&mut out);
    for_each_mutation(out.as_slice(), 1, 5_000, |bytes| {
        if let Ok(aborted) = AbortedTransactions::decode(bytes) {
            assert!(aborted.encoded_bytes() <= bytes.len());
        }
    });
    let newer = [2, 0, 0, 0, 0, 0, 0, 0];
    let error = AbortedTransactions::decode(&newer);
    assert!(matches!(
        error,
        Err(FormatError::Newer {
            version: 2,
            known: 1,
            ..
        })
    ));
}
