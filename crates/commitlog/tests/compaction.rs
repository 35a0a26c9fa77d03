//! What compaction keeps and what it takes, told record by record and against an oracle.

mod keyed;
mod node;

use commitlog::{LogSettings, LogStore, ReadBound, StoreConfig};
use keyed::{
    DAY_MS, Entry, append, append_in, batches, config, end_segment, end_segment_in, entries, entry,
    leader, look_everywhere, segment_files, settings, table, told,
};
use node::{contents, key};
use wire::batch::BatchView;
use wire::compress::Codec;
use wire::ids::{LeaderEpoch, Offset};
use world::World;
use world::sim::{Rng, SimWorld};

const NOW: i64 = 1_000_000_000;

fn opened(sim: &SimWorld) -> std::sync::Arc<LogStore> {
    LogStore::open(&sim.world, config()).expect("opens").0
}

fn one(
    store: &LogStore,
    partition: &std::sync::Arc<commitlog::Partition>,
    key: &str,
    value: Option<&str>,
) -> i64 {
    append(
        store,
        partition,
        &[entry(key, value, NOW)],
        Codec::None,
        None,
        NOW,
    )
    .base_offset
    .0
}

#[test]
fn the_newest_record_of_each_key_stays_where_it_was() {
    // rule C1
    let sim = World::sim(1);
    let store = opened(&sim);
    let partition = leader(&store, settings());
    for value in ["1", "2", "3"] {
        one(&store, &partition, "a", Some(value));
        one(&store, &partition, "b", Some(value));
    }
    one(&store, &partition, "c", Some("only"));
    end_segment(&store, &partition, NOW);
    let before = partition.offsets();
    store.compact(NOW);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        told(&partition),
        [
            (4, "a".to_owned(), some("3")),
            (5, "b".to_owned(), some("3")),
            (6, "c".to_owned(), some("only")),
        ]
    );
    assert_eq!(partition.offsets(), before);
    look_everywhere(&partition);
    assert_eq!(store.metrics().compactions, 1);
    store.compact(NOW);
    assert_eq!(store.metrics().compactions, 1, "nothing is dirty any more");
}

#[test]
fn records_of_one_batch_go_one_by_one() {
    // rule C1
    for codec in Codec::ALL {
        let sim = World::sim(2);
        let store = opened(&sim);
        let partition = leader(&store, settings());
        let batch: Vec<Entry> = ["a", "b", "a", "c", "b"]
            .iter()
            .enumerate()
            .map(|(at, key)| entry(key, Some(&format!("{at}")), NOW - at as i64))
            .collect();
        append(&store, &partition, &batch, codec, None, NOW);
        append(
            &store,
            &partition,
            &[entry("c", Some("new"), NOW)],
            codec,
            None,
            NOW,
        );
        end_segment(&store, &partition, NOW);
        store.compact(NOW);
        let kept: Vec<i64> = told(&partition)
            .iter()
            .map(|(offset, ..)| *offset)
            .collect();
        assert_eq!(kept, [2, 4, 5]);
        let found = entries(&partition);
        assert_eq!(found[0].timestamp, NOW - 2, "{codec}");
        let first = &batches(&partition)[0];
        let first = BatchView::whole(first).expect("whole");
        assert_eq!(first.codec(), Some(codec));
        assert_eq!((first.base_offset().0, first.last_offset().0), (0, 4));
        look_everywhere(&partition);
    }
}

#[test]
fn a_tombstone_waits_for_its_horizon() {
    // rule C2
    let sim = World::sim(3);
    let store = opened(&sim);
    let partition = leader(&store, settings());
    one(&store, &partition, "a", Some("1"));
    one(&store, &partition, "a", None);
    one(&store, &partition, "b", Some("1"));
    end_segment(&store, &partition, NOW);
    store.compact(NOW);
    let keys = |partition: &commitlog::Partition| -> Vec<(i64, String)> {
        told(partition)
            .into_iter()
            .map(|(offset, key, _)| (offset, key))
            .collect()
    };
    let both = [(1, "a".to_owned()), (2, "b".to_owned())];
    assert_eq!(keys(&partition), both);
    let found = batches(&partition);
    let stamped = BatchView::whole(&found[0]).expect("whole");
    assert_eq!(stamped.delete_horizon_ms(), Some(NOW + DAY_MS));
    assert_eq!(entries(&partition)[0].timestamp, NOW, "its own time stays");

    // A later pass, before the horizon.
    let again = |at: i64| {
        end_segment(&store, &partition, at);
        store.compact(at);
    };
    again(NOW + DAY_MS - 1);
    assert_eq!(keys(&partition), both);
    again(NOW + DAY_MS);
    assert_eq!(keys(&partition), both[1..]);
    look_everywhere(&partition);
}

#[test]
fn the_last_batch_of_a_producer_leaves_its_header() {
    // rule C3
    let sim = World::sim(4);
    let store = opened(&sim);
    let partition = leader(&store, settings());
    let write = |producer, sequence, key: &str| {
        let entries = [entry(key, Some("v"), NOW)];
        append(
            &store,
            &partition,
            &entries,
            Codec::None,
            Some((producer, 0, sequence)),
            NOW,
        )
    };
    write(7, 0, "a");
    write(7, 1, "a");
    write(8, 0, "a");
    write(9, 0, "a");
    write(9, 1, "a");
    end_segment(&store, &partition, NOW);
    store.compact(NOW);
    let kept: Vec<(i64, i64, i32)> = batches(&partition)
        .iter()
        .map(|bytes| {
            let view = BatchView::whole(bytes).expect("whole");
            (
                view.base_offset().0,
                view.producer_id().0,
                view.record_count(),
            )
        })
        .filter(|(_, producer, _)| *producer >= 0)
        .collect();
    assert_eq!(kept, [(1, 7, 0), (2, 8, 0), (4, 9, 1)]);
    let again = write(7, 1, "a");
    assert!(again.duplicate, "its sequence is known");
    assert_eq!(again.base_offset, Offset(1));
    assert!(!write(7, 2, "a").duplicate);
    look_everywhere(&partition);
}

#[test]
fn records_without_a_key_leave_a_log_that_became_compacted() {
    // rule C4
    let sim = World::sim(5);
    let store = opened(&sim);
    let plain = LogSettings {
        compact: false,
        ..settings()
    };
    let partition = leader(&store, plain);
    let keyless = Entry {
        key: None,
        ..entry("", Some("v"), NOW)
    };
    append(&store, &partition, &[keyless], Codec::None, None, NOW);
    one(&store, &partition, "a", Some("1"));
    end_segment(&store, &partition, NOW);
    store.compact(NOW);
    assert_eq!(entries(&partition).len(), 4, "it is not compacted");
    partition.apply_settings(settings());
    store.compact(NOW);
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(told(&partition), [(1, "a".to_owned(), some("1"))]);
}

#[test]
fn what_is_young_undecided_or_active_is_not_compacted() {
    // rule C1
    let sim = World::sim(6);
    let store = opened(&sim);
    let lag = LogSettings {
        compaction_lag_ms_min: 1_000,
        ..settings()
    };
    let partition = leader(&store, lag);
    one(&store, &partition, "a", Some("1"));
    one(&store, &partition, "a", Some("2"));
    store.wait_durable(store.last_lsn()).expect("durable");
    assert_eq!(told(&partition).len(), 2);
    store.checkpoint().expect("checkpoint");
    store.compact(NOW + 5_000);
    assert_eq!(told(&partition).len(), 2, "the active segment stays");
    end_segment(&store, &partition, NOW);
    store.compact(NOW + 999);
    assert_eq!(told(&partition).len(), 2, "it is too young");
    partition.set_high_watermark(Offset(1));
    store.compact(NOW + 1_001);
    assert_eq!(told(&partition).len(), 2, "it is above the watermark");
    partition.set_high_watermark(partition.offsets().end);
    store.compact(NOW + 1_001);
    assert_eq!(told(&partition).len(), 1);
}

#[test]
fn a_log_waits_until_enough_is_dirty_or_its_oldest_record_is_overdue() {
    let sim = World::sim(7);
    let store = opened(&sim);
    let patient = LogSettings {
        dirty_ratio_min: commitlog::RATIO_WHOLE / 2,
        ..settings()
    };
    let partition = leader(&store, patient.clone());
    for key in 0..60 {
        one(&store, &partition, &format!("{key:060}"), Some("1"));
    }
    end_segment(&store, &partition, NOW);
    store.compact(NOW);
    assert_eq!(store.metrics().compactions, 1, "all of it was dirty");
    one(&store, &partition, "a", Some("1"));
    one(&store, &partition, "a", Some("2"));
    end_segment(&store, &partition, NOW);
    store.compact(NOW);
    assert_eq!(store.metrics().compactions, 1, "little of it is dirty");
    partition.apply_settings(LogSettings {
        compaction_lag_ms_max: 1_000,
        ..patient
    });
    store.compact(NOW + 1_000);
    assert_eq!(store.metrics().compactions, 1);
    store.compact(NOW + 1_001);
    assert_eq!(store.metrics().compactions, 2, "it waited long enough");
}

#[test]
fn an_idle_active_segment_ends_when_its_records_may_not_wait_longer() {
    let sim = World::sim(8);
    let store = opened(&sim);
    let partition = leader(
        &store,
        LogSettings {
            compaction_lag_ms_max: 1_000,
            ..settings()
        },
    );
    one(&store, &partition, "a", Some("1"));
    one(&store, &partition, "a", Some("2"));
    one(&store, &partition, "b", Some("1"));
    store.compact(NOW + 1_001);
    store.checkpoint().expect("checkpoint");
    store.compact(NOW + 1_002);
    let kept: Vec<i64> = told(&partition)
        .iter()
        .map(|(offset, ..)| *offset)
        .collect();
    assert_eq!(kept, [1, 2]);
}

#[test]
fn more_keys_than_the_map_holds_take_several_passes() {
    let sim = World::sim(9);
    let small = StoreConfig {
        compact_keys_max: 7,
        ..config()
    };
    let store = LogStore::open(&sim.world, small).expect("opens").0;
    let partition = leader(&store, settings());
    for round in 0..4 {
        for key in 0..30 {
            let value = format!("{round}");
            one(&store, &partition, &format!("key {key}"), Some(&value));
        }
    }
    end_segment(&store, &partition, NOW);
    let before = table(&entries(&partition));
    store.compact(NOW);
    assert!(store.metrics().compactions > 4);
    let kept = entries(&partition);
    assert_eq!(table(&kept), before);
    let old = kept
        .iter()
        .filter(|entry| entry.value == Some(b"0".to_vec()));
    assert_eq!(old.count(), 0);
    assert_eq!(kept.len(), 30 + 1 + 1, "two of the last key: one is active");
    look_everywhere(&partition);
}

#[test]
fn a_reader_of_the_old_file_finishes_after_the_swap() {
    let sim = World::sim(10);
    let store = opened(&sim);
    let partition = leader(&store, settings());
    for value in 0..20 {
        one(&store, &partition, "a", Some(&format!("{value}")));
    }
    end_segment(&store, &partition, NOW);
    let read = |store: &LogStore| {
        let partition = store.partition(&key(0)).expect("there");
        let read = partition.read(Offset(0), 10_000, true, ReadBound::HighWatermark);
        read.expect("read").file.expect("bytes")
    };
    let held = read(&store);
    let bytes = contents(&held);
    store.compact(NOW);
    sim.spawn.run_for(std::time::Duration::from_secs(5));
    assert!(contents(&held) == bytes, "the old file is still there");
    let fresh = contents(&read(&store));
    assert!(fresh.len() < bytes.len());
    look_everywhere(&partition);
}

#[test]
fn rot_is_not_copied_into_a_fresh_file() {
    let sim = World::sim(11);
    let store = opened(&sim);
    let partition = leader(&store, settings());
    for value in 0..10 {
        one(&store, &partition, "a", Some(&format!("{value}")));
    }
    end_segment(&store, &partition, NOW);
    let segment = segment_files(&*sim.world.disk)
        .into_iter()
        .find(|path| path.ends_with("00000000000000000000.seg"))
        .expect("a segment");
    sim.disk.flip_bit(&segment, 5, 0).expect("flipped");
    store.compact(NOW);
    assert_eq!(store.metrics().compaction_failures, 1);
    assert_eq!(store.metrics().compactions, 0);
    store.compact(NOW);
    assert_eq!(store.metrics().compaction_failures, 1, "it is left alone");
}

#[test]
fn small_segments_become_one() {
    let sim = World::sim(12);
    let store = opened(&sim);
    let partition = leader(&store, settings());
    for round in 0..10 {
        for key in 0..12 {
            one(
                &store,
                &partition,
                &format!("{key}"),
                Some(&format!("{round}")),
            );
        }
    }
    end_segment(&store, &partition, NOW);
    store.compact(NOW);
    // The first pass shrinks them, the next one joins what is small.
    end_segment(&store, &partition, NOW);
    store.compact(NOW);
    sim.spawn.run_for(std::time::Duration::from_secs(3));
    let files = segment_files(&*sim.world.disk);
    assert!(files.len() <= 5, "{files:?}");
    look_everywhere(&partition);
}

#[test]
fn append_times_and_look_ups_by_time_survive() {
    let sim = World::sim(13);
    let store = opened(&sim);
    let partition = leader(&store, settings());
    for at in 0..40i64 {
        let records = [entry(&format!("{}", at % 10), Some("v"), at * 10)];
        let now = NOW + at * 10_000;
        append(&store, &partition, &records, Codec::None, None, now);
    }
    end_segment(&store, &partition, NOW + 400_000);
    store.compact(NOW);
    let kept = entries(&partition);
    assert_eq!(kept[0].offset, 30);
    let found = partition
        .offset_for_timestamp(5)
        .expect("look-up")
        .expect("one");
    assert_eq!((found.offset.0, found.timestamp_ms), (30, 300)); // rule M2
    let time = partition.append_time_ms(Offset(35)).expect("known");
    assert_eq!(time, NOW + 350_000);
}

#[test]
fn the_next_record_is_found_over_holes_and_inside_a_batch_that_lost_some() {
    // experience.md 4.3: what compaction left between two offsets is not to be read
    let sim = World::sim(14);
    let store = opened(&sim);
    let partition = leader(&store, settings());
    let batch = |keys: &[&str]| -> Vec<Entry> {
        let entries = keys.iter().map(|key| entry(key, Some("v"), NOW));
        entries.collect()
    };
    append(
        &store,
        &partition,
        &batch(&["a", "b", "c"]),
        Codec::Zstd,
        None,
        NOW,
    );
    append(
        &store,
        &partition,
        &batch(&["b", "d"]),
        Codec::None,
        None,
        NOW,
    );
    append(
        &store,
        &partition,
        &batch(&["c", "d"]),
        Codec::None,
        None,
        NOW,
    );
    end_segment(&store, &partition, NOW);
    store.compact(NOW);
    let kept: Vec<i64> = entries(&partition)
        .iter()
        .map(|entry| entry.offset)
        .collect();
    assert_eq!(kept[..4], [0, 3, 5, 6]);
    let next = |from: i64| {
        let found = partition.first_record_from(Offset(from), ReadBound::HighWatermark);
        found.expect("readable").map(|offset| offset.0)
    };
    for from in 0..=6 {
        let wanted = kept.iter().find(|offset| **offset >= from);
        assert_eq!(next(from), wanted.copied(), "from {from}");
    }
    assert_eq!(next(partition.offsets().high_watermark.0), None);
}

/// What was appended, and what may be missing from the log.
struct Oracle {
    appended: Vec<Entry>,
}

impl Oracle {
    fn check(&self, partition: &commitlog::Partition, context: &str) {
        let start = partition.offsets().log_start.0;
        let found = entries(partition);
        let mut rest = self.appended.as_slice();
        for entry in &found {
            let at = rest.iter().position(|known| known.offset == entry.offset);
            let at = at.unwrap_or_else(|| panic!("{context}: {entry:?} was never appended"));
            assert_eq!(rest[at], *entry, "{context}");
            rest = &rest[at + 1..];
        }
        // Nobody who reads everything sees another end.
        let visible: Vec<Entry> = self
            .appended
            .iter()
            .filter(|entry| entry.offset >= start)
            .cloned()
            .collect();
        assert_eq!(table(&found), table(&visible), "{context}");
        // The newest tombstone of a key stays: a day does not pass here.
        for (at, tombstone) in visible.iter().enumerate() {
            let newest = !visible[at + 1..]
                .iter()
                .any(|later| later.key == tombstone.key);
            if tombstone.value.is_none() && newest {
                assert!(found.contains(tombstone), "{context}: {tombstone:?}");
            }
        }
    }

    /// Behind what a pass saw lies one record.
    fn check_clean(&self, partition: &commitlog::Partition, context: &str) {
        let mut keys: Vec<_> = entries(partition)
            .into_iter()
            .filter_map(|entry| entry.key.filter(|key| key != b"last"))
            .collect();
        let all = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(all, keys.len(), "{context}: a key is there twice");
    }
}

fn play(seed: u64, steps: usize, keys_max: usize, workers: bool) {
    let mut sim = World::sim(seed);
    let mut rng = Rng::fork(seed, "compaction");
    let config = || StoreConfig {
        compact_keys_max: keys_max,
        compact_interval: if workers {
            std::time::Duration::from_millis(20)
        } else {
            std::time::Duration::from_secs(3600)
        },
        ..keyed::config()
    };
    let mut store = LogStore::open(&sim.world, config()).expect("opens").0;
    let mut oracle = Oracle {
        appended: Vec::new(),
    };
    store.create_partition(key(0), settings()).expect("created");
    let mut epoch = 0;
    let mut lead = true;
    let mut now = 1_000;
    let mut sequences = [0; 3];
    // Nothing below it is ever cut away, nothing above it compacted.
    let mut high = 0;
    for step in 0..steps {
        let partition = store.partition(&key(0)).expect("there");
        if std::mem::take(&mut lead) {
            partition.apply_settings(settings());
            epoch += 1;
            partition.become_leader(LeaderEpoch(epoch)).expect("epoch");
            partition.set_high_watermark(Offset(high));
        }
        let context = format!("seed {seed}, step {step}");
        now += rng.below(1_000) as i64;
        match rng.below(100) {
            0..70 => {
                let mut batch: Vec<Entry> = (0..1 + rng.below(5))
                    .map(|_| {
                        let value =
                            (rng.below(5) > 0).then(|| "v".repeat(1 + rng.below(120) as usize));
                        entry(&format!("{}", rng.below(25)), value.as_deref(), now)
                    })
                    .collect();
                let codec = Codec::ALL[rng.below(5) as usize];
                let who = rng.below(6) as usize;
                let producer = sequences.get_mut(who).map(|sequence| {
                    let first = *sequence;
                    *sequence += batch.len() as i32;
                    (who as i64, 0, first)
                });
                let bytes = keyed::batch(&batch, codec, producer);
                let appended = append_in(epoch, &store, &partition, &bytes, now);
                for (entry, offset) in batch.iter_mut().zip(appended.base_offset.0..) {
                    entry.offset = offset;
                }
                oracle.appended.extend(batch);
            }
            70..78 => store.checkpoint().expect("checkpoint"),
            78..82 => {
                store.wait_durable(store.last_lsn()).expect("durable");
                high = partition.offsets().end.0;
                partition.set_high_watermark(Offset(high));
            }
            82..88 if !workers => {
                let whole = rng.below(2) == 0;
                if whole {
                    let last = end_segment_in(epoch, &store, &partition, now);
                    oracle.appended.extend(last);
                    high = partition.offsets().end.0;
                    partition.set_high_watermark(Offset(high));
                }
                store.checkpoint().expect("checkpoint");
                store.compact(now);
                oracle.check(&partition, &context);
                if whole {
                    oracle.check_clean(&partition, &context);
                }
            }
            82..88 => {
                let time = std::time::Duration::from_millis(rng.below(60));
                sim.spawn.run_for(time);
                oracle.check(&partition, &context);
            }
            88..91 => {
                store.wait_durable(store.last_lsn()).expect("durable");
                let end = partition.offsets().end.0;
                let to = high + rng.below((end - high) as u64 + 1) as i64;
                partition.truncate(Offset(to)).expect("truncate");
                // The batch that the cut lies in goes as a whole.
                let whole = entries(&partition).last().map_or(-1, |entry| entry.offset);
                let stays = |offset| offset < high || offset <= whole;
                oracle.appended.retain(|entry| stays(entry.offset));
                for (who, sequence) in sequences.iter_mut().enumerate() {
                    let known = partition
                        .producers()
                        .into_iter()
                        .find(|known| known.producer_id.0 == who as i64);
                    *sequence = known.map_or(0, |known| known.last_sequence + 1);
                }
            }
            91..92 => {
                store.wait_durable(store.last_lsn()).expect("durable");
                let start = partition.offsets().log_start.0;
                let to = start + rng.below((high - start) as u64 / 4 + 1) as i64;
                partition.advance_log_start(Offset(to)).expect("trim");
            }
            92..95 => {
                store.close().expect("close");
                drop(partition);
                store = LogStore::open(&sim.world, config()).expect("opens").0;
                lead = true;
            }
            95..98 => {
                store.wait_durable(store.last_lsn()).expect("durable");
                let image = sim.disk.crash_image(step as u64);
                drop((partition, store));
                sim = sim.restart_on(step as u64, image);
                store = LogStore::open(&sim.world, config()).expect("opens").0;
                lead = true;
            }
            _ => sim.spawn.run_until_idle(),
        }
    }
    store.wait_durable(store.last_lsn()).expect("durable");
    let partition = store.partition(&key(0)).expect("there");
    oracle.check(&partition, &format!("seed {seed}, end"));
    look_everywhere(&partition);
}

#[test]
fn a_compacted_log_says_what_the_whole_log_said() {
    for seed in 0..10 {
        play(seed, 250, 1_000, false);
    }
}

#[test]
fn a_small_map_says_the_same() {
    for seed in 20..26 {
        play(seed, 250, 9, false);
    }
}

#[test]
fn passes_run_among_appends_cuts_trims_and_crashes() {
    for seed in 40..52 {
        play(seed, 300, if seed % 2 == 0 { 1_000 } else { 12 }, true);
    }
}
