use super::*;
use crate::mutation::for_each_mutation;

fn epochs(entries: &[(i32, i64)]) -> Epochs {
    let mut epochs = Epochs::new();
    for (epoch, start) in entries {
        assert!(epochs.assign(LeaderEpoch(*epoch), Offset(*start)));
    }
    epochs
}

fn pairs(epochs: &Epochs) -> Vec<(i32, i64)> {
    epochs
        .entries()
        .iter()
        .map(|entry| (entry.epoch.0, entry.start.0))
        .collect()
}

fn end(epochs: &Epochs, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
    let found = epochs.end_offset_for(LeaderEpoch(epoch), Offset(log_end))?;
    Some((found.epoch.0, found.end.0))
}

#[test]
fn the_latest_epoch_ends_at_the_log_end() // rules R7, M4
{
    assert_eq!(end(&epochs(&[(2, 0), (4, 30)]), 4, 77), Some((4, 77)));
}

#[test]
fn an_epoch_above_all_known_ones_is_undefined() // rule R7
{
    assert_eq!(end(&epochs(&[(2, 0), (4, 30)]), 5, 77), None);
    assert_eq!(end(&Epochs::new(), 0, 77), None);
    assert_eq!(end(&epochs(&[(2, 0)]), -1, 77), None);
}

#[test]
fn an_epoch_below_all_known_ones_ends_where_the_first_known_one_begins() // rule R7
{
    assert_eq!(end(&epochs(&[(2, 11), (4, 30)]), 1, 77), Some((1, 11)));
}

#[test]
fn an_epoch_the_log_skipped_ends_with_the_one_before_it() // rule R7, KIP-279
{
    assert_eq!(end(&epochs(&[(2, 11), (4, 30)]), 3, 77), Some((2, 30)));
    assert_eq!(end(&epochs(&[(2, 11), (4, 30)]), 2, 77), Some((2, 30)));
}

#[test]
fn an_epoch_that_wrote_nothing_gives_way_to_the_next() // rule R8
{
    let mut epochs = epochs(&[(2, 0), (4, 30)]);
    assert!(epochs.assign(LeaderEpoch(5), Offset(30)));
    assert_eq!(pairs(&epochs), [(2, 0), (5, 30)]);
    assert!(
        !epochs.assign(LeaderEpoch(5), Offset(40)),
        "an epoch begins once"
    );
}

#[test]
fn a_conflicting_assignment_takes_what_it_contradicts() // as Kafka's epoch cache
{
    let mut epochs = epochs(&[(1, 0), (3, 10), (6, 20)]);
    assert!(
        epochs.assign(LeaderEpoch(4), Offset(15)),
        "a log that was truncated and led anew"
    );
    assert_eq!(pairs(&epochs), [(1, 0), (3, 10), (4, 15)]);
    assert!(
        epochs.assign(LeaderEpoch(4), Offset(12)),
        "the same epoch, earlier"
    );
    assert_eq!(pairs(&epochs), [(1, 0), (3, 10), (4, 12)]);
    assert!(epochs.assign(LeaderEpoch(9), Offset(0)));
    assert_eq!(pairs(&epochs), [(9, 0)]);
}

#[test]
fn a_cut_at_the_start_of_an_epoch_takes_the_epoch() // rule R7
{
    let mut epochs = epochs(&[(1, 0), (3, 10), (6, 20)]);
    assert!(!epochs.truncate_from_end(Offset(21)));
    assert!(epochs.truncate_from_end(Offset(20)));
    assert_eq!(pairs(&epochs), [(1, 0), (3, 10)]);
    assert!(epochs.truncate_from_end(Offset(0)));
    assert!(epochs.is_empty());
}

#[test]
fn the_epoch_that_holds_the_new_log_start_begins_there() {
    let mut epochs = epochs(&[(1, 0), (3, 10), (6, 20)]);
    assert!(!epochs.truncate_from_start(Offset(0)));
    assert!(epochs.truncate_from_start(Offset(15)));
    assert_eq!(pairs(&epochs), [(3, 15), (6, 20)]);
    assert!(epochs.truncate_from_start(Offset(20)));
    assert_eq!(pairs(&epochs), [(6, 20)]);
    assert!(epochs.truncate_from_start(Offset(99)));
    assert_eq!(
        pairs(&epochs),
        [(6, 99)],
        "the latest epoch is never forgotten"
    );
}

/// The epoch of every record, from `log_start`: what the cache stands for.
struct Model {
    log_start: i64,
    records: Vec<i32>,
}

impl Model {
    fn log_end(&self) -> i64 {
        self.log_start + self.records.len() as i64
    }

    fn end_offset_for(&self, epoch: i32, latest: i32) -> Option<(i32, i64)> {
        if epoch == latest {
            return Some((epoch, self.log_end()));
        }
        if epoch > latest {
            return None;
        }
        let found = self
            .records
            .iter()
            .copied()
            .filter(|known| *known <= epoch)
            .max();
        let behind = self
            .records
            .iter()
            .take_while(|known| **known <= epoch)
            .count();
        Some((found.unwrap_or(epoch), self.log_start + behind as i64))
    }
}

#[test]
fn answers_agree_with_a_list_of_every_record() // rules R7, M4, F7
{
    for seed in 0..100 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut epochs = Epochs::new();
        let mut model = Model {
            log_start: 0,
            records: Vec::new(),
        };
        let mut epoch = 0;
        for _ in 0..80 {
            match rng.u8(..10) {
                // A new leader; most write something.
                0 | 1 => epoch += rng.i32(1..4),
                2 => {
                    let cut = rng.i64(model.log_start..=model.log_end());
                    model.records.truncate((cut - model.log_start) as usize);
                    epochs.truncate_from_end(Offset(cut));
                }
                3 if !model.records.is_empty() => {
                    // Never the whole log: then Kafka keeps the last epoch, and so do we.
                    let start = rng.i64(model.log_start..model.log_end());
                    model.records.drain(..(start - model.log_start) as usize);
                    model.log_start = start;
                    epochs.truncate_from_start(Offset(start));
                }
                _ => {
                    epochs.assign(LeaderEpoch(epoch), Offset(model.log_end()));
                    model
                        .records
                        .extend(std::iter::repeat_n(epoch, rng.usize(1..4)));
                }
            }
            let latest = model.records.last().copied();
            assert_eq!(
                epochs.latest().map(|entry| entry.epoch.0),
                latest,
                "seed {seed}"
            );
            for asked in 0..epoch + 3 {
                let expected = latest.and_then(|latest| model.end_offset_for(asked, latest));
                assert_eq!(
                    end(&epochs, asked, model.log_end()),
                    expected,
                    "seed {seed}, {asked}"
                );
            }
            for (at, expected) in model.records.iter().enumerate() {
                let offset = Offset(model.log_start + at as i64);
                assert_eq!(epochs.epoch_at(offset), Some(LeaderEpoch(*expected)));
            }
            let mut out = Writer::new();
            epochs.encode(&mut out);
            assert_eq!(out.len(), epochs.encoded_bytes());
            assert_eq!(Epochs::decode(out.as_slice()).as_ref(), Ok(&epochs));
        }
    }
}

#[test]
fn a_segment_gets_the_epochs_of_its_offsets() {
    let epochs = epochs(&[(1, 0), (3, 10), (6, 20)]);
    assert_eq!(
        pairs(&epochs.within(Offset(5), Offset(20))),
        [(1, 5), (3, 10)]
    );
    assert_eq!(pairs(&epochs.within(Offset(20), Offset(30))), [(6, 20)]);
}

#[test]
fn the_bytes_are_those_of_the_page() {
    let mut out = Writer::new();
    epochs(&[(2, 0), (4, 0x0102)]).encode(&mut out);
    #[rustfmt::skip]
    let golden = [
        1, 0, 0, 0, // version, flags
        2, 0, 0, 0, // count
        2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, // epoch, start
        4, 0, 0, 0, 0x02, 0x01, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(out.as_slice(), golden);
}

#[test]
fn hostile_bytes_are_refused_or_read_and_nothing_else() {
    let mut out = Writer::new();
    epochs(&[(1, 0), (3, 10), (6, 20)]).encode(&mut out);
    for_each_mutation(out.as_slice(), 5, 5_000, |bytes| {
        if let Ok(epochs) = Epochs::decode(bytes) {
            assert!(epochs.encoded_bytes() <= bytes.len());
        }
    });
}
