//! Power cuts at every disk operation of a compaction: the log is the old one or the new one, never
//! a part of either, and what nobody names is removed.

mod keyed;
mod node;

use commitlog::{LogStore, StoreConfig};
use keyed::{
    append, config, end_segment, entries, entry, leader, look_everywhere, segment_files, settings,
    table,
};
use node::key;
use wire::compress::Codec;
use wire::ids::Offset;
use world::World;
use world::sim::{Rng, SimDisk, SimWorld};

struct Life {
    sim: SimWorld,
    /// What a reader of everything had before.
    before: Vec<keyed::Entry>,
    end: Offset,
    producers: Vec<(i64, i32)>,
    /// Disk operations until the compaction, and in all.
    compaction_from: u64,
    operations: u64,
}

fn small_map(keys_max: usize) -> StoreConfig {
    StoreConfig {
        compact_keys_max: keys_max,
        ..config()
    }
}

/// Some segments, then passes over them; the disk stops at an operation.
fn live(seed: u64, keys_max: usize, stop_at: Option<u64>) -> Life {
    let sim = World::sim(seed);
    let mut rng = Rng::fork(seed, "script");
    let store = LogStore::open(&sim.world, small_map(keys_max))
        .expect("opens")
        .0;
    let partition = leader(&store, settings());
    let mut sequences = [0; 2];
    let mut now = 1_000;
    for _ in 0..60 {
        now += 10;
        let batch: Vec<_> = (0..1 + rng.below(4))
            .map(|_| {
                let value = (rng.below(6) > 0).then(|| "v".repeat(rng.below(200) as usize));
                entry(&format!("{}", rng.below(20)), value.as_deref(), now)
            })
            .collect();
        let who = rng.below(4) as usize;
        let producer = sequences.get_mut(who).map(|sequence| {
            let first = *sequence;
            *sequence += batch.len() as i32;
            (who as i64, 0, first)
        });
        let codec = Codec::ALL[rng.below(5) as usize];
        append(&store, &partition, &batch, codec, producer, now);
    }
    end_segment(&store, &partition, now);
    let before = entries(&partition);
    let end = partition.offsets().end;
    let producers = known(&partition);
    let compaction_from = sim.disk.operations();
    if let Some(operation) = stop_at {
        sim.disk.stop_at(operation);
    }
    store.compact(now);
    // The old names go with the upkeep.
    sim.spawn.run_for(std::time::Duration::from_secs(2));
    let operations = sim.disk.operations();
    store.abandon();
    Life {
        sim,
        before,
        end,
        producers,
        compaction_from,
        operations,
    }
}

fn known(partition: &commitlog::Partition) -> Vec<(i64, i32)> {
    partition
        .producers()
        .iter()
        .map(|known| (known.producer_id.0, known.last_sequence))
        .collect()
}

/// Opens an image; which records are there, and the world it ran in.
fn recovered(
    life: &Life,
    keys_max: usize,
    disk: SimDisk,
    seed: u64,
    context: &str,
) -> (SimWorld, Vec<keyed::Entry>) {
    let sim = life.sim.restart_on(seed, disk);
    let (store, report) = match LogStore::open(&sim.world, small_map(keys_max)) {
        Ok(opened) => opened,
        Err(error) => panic!("{context}: {error}"),
    };
    assert!(report.suspect.is_empty(), "{context}: {report:?}");
    let partition = store.partition(&key(0)).expect("there");
    partition.apply_settings(settings());
    let found = entries(&partition);
    assert_eq!(table(&found), table(&life.before), "{context}");
    let mut rest = life.before.as_slice();
    for entry in &found {
        let at = rest.iter().position(|known| known == entry);
        let at = at.unwrap_or_else(|| panic!("{context}: {entry:?} is new"));
        rest = &rest[at + 1..];
    }
    assert_eq!(partition.offsets().end, life.end, "{context}");
    assert_eq!(known(&partition), life.producers, "{context}");
    look_everywhere(&partition);
    // What a cut pass left behind is gone: every file is one that is read.
    let files = segment_files(&*sim.world.disk);
    let bases: std::collections::BTreeSet<&str> = files
        .iter()
        .filter_map(|path| path.split('-').nth(1))
        .map(|base| base.trim_end_matches(".seg"))
        .collect();
    assert_eq!(bases.len(), files.len(), "{context}: {files:?}");
    // It is compacted in the end as if nothing had happened.
    store.compact(2_000);
    assert_eq!(
        table(&entries(&partition)),
        table(&life.before),
        "{context}"
    );
    store.abandon();
    (sim, found)
}

fn crash_everywhere(seed: u64, keys_max: usize, images: u64) {
    let whole = live(seed, keys_max, None);
    assert!(
        whole.operations > whole.compaction_from + 10,
        "a pass has a disk"
    );
    let mut outcomes = std::collections::BTreeSet::new();
    for operation in whole.compaction_from + 1..=whole.operations {
        let life = live(seed, keys_max, Some(operation));
        for image in 0..images {
            let context = format!("seed {seed}, operation {operation}, image {image}");
            let disk = life.sim.disk.crash_image(image);
            let (sim, found) = recovered(&life, keys_max, disk, image, &context);
            outcomes.insert(found.len());
            // A recovery that is cut short, and the pass after it, are recovered too.
            if image == 0 {
                let again = sim.disk.crash_image(100);
                recovered(&life, keys_max, again, 100, &format!("{context}, again"));
            }
        }
    }
    assert!(
        outcomes.len() > 1,
        "some images are from before, some from behind"
    );
}

#[test]
fn a_power_cut_at_every_operation_of_a_pass_leaves_the_old_log_or_the_new_one() {
    for seed in 0..2 {
        crash_everywhere(seed, 1_000, 2);
    }
}

#[test]
fn a_power_cut_while_a_segment_is_cut_in_two_leaves_the_old_log_or_the_new_one() {
    crash_everywhere(7, 9, 1);
}
