use super::*;

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
