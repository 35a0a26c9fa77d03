//! Power cuts at every disk operation of a scripted life: what was acknowledged is there, nothing
//! is at a wrong offset, nothing is there that was not written, and a recovery recovers equal.

mod node;

use std::sync::Arc;

use commitlog::{AppendOrigin, LogStore, Partition, StoreConfig};
use node::{Did, Model, Spec, check, config, key, settings, view};
use wire::ids::{LeaderEpoch, Offset};
use world::World;
use world::sim::{Rng, SimDisk, SimWorld};

/// What a scripted life leaves behind.
struct Life {
    sim: SimWorld,
    model: Model,
    durable: u64,
    done: bool,
}

const PARTITIONS: i32 = 3;

/// Runs the script of a seed until its end, or until the disk fails.
fn live(seed: u64, steps: usize, stop_at: Option<u64>) -> Life {
    let sim = World::sim(seed);
    if let Some(operation) = stop_at {
        sim.disk.stop_at(operation);
    }
    let mut model = Model::default();
    let Ok((store, _)) = LogStore::open(&sim.world, config()) else {
        return Life {
            sim,
            model,
            durable: 0,
            done: false,
        };
    };
    let mut rng = Rng::fork(seed, "script");
    let mut epochs = [0; PARTITIONS as usize];
    let mut done = true;
    for step in 0..steps {
        if matches!(store.health(), commitlog::StoreHealth::Dead(_)) || sim.disk.is_power_cut() {
            done = false;
            break;
        }
        one_step(&sim, &store, &mut model, &mut rng, &mut epochs, step);
    }
    let durable = store.durable_lsn().0;
    Life {
        sim,
        model,
        durable,
        done,
    }
}

fn one_step(
    sim: &SimWorld,
    store: &LogStore,
    model: &mut Model,
    rng: &mut Rng,
    epochs: &mut [i32; PARTITIONS as usize],
    step: usize,
) {
    let number = rng.below(PARTITIONS as u64) as i32;
    let Some(partition) = store.partition(&key(number)) else {
        if let Ok(partition) = store.create_partition(key(number), settings()) {
            model.note(store.last_lsn().0, number, Did::Create);
            lead(&partition, number, model, epochs);
        }
        return;
    };
    match rng.below(100) {
        0..60 => append(&partition, number, model, rng, epochs, step),
        60..70 => drop(store.wait_durable(store.last_lsn())),
        70..78 => sim.spawn.run_until_idle(),
        78..83 => {
            let offsets = partition.offsets();
            let (start, end) = (offsets.log_start.0, offsets.end.0);
            let to = start + rng.below((end - start) as u64 + 1) as i64;
            if let Ok(lsn) = partition.truncate(Offset(to))
                && to < end
            {
                model.note(lsn.0, number, Did::Truncate(to));
            }
        }
        83..87 => {
            let offsets = partition.offsets();
            let (start, high) = (offsets.log_start.0, offsets.high_watermark.0);
            let to = start + rng.below((high - start) as u64 + 1) as i64;
            if to > start
                && let Ok(lsn) = partition.advance_log_start(Offset(to))
            {
                model.note(lsn.0, number, Did::Trim(to));
            }
        }
        87..90 => lead(&partition, number, model, epochs),
        90..96 => drop(store.checkpoint()),
        96..98 => {
            if let Ok(lsn) = store.delete_partition(&key(number)) {
                model.note(lsn.0, number, Did::Delete);
            }
        }
        _ => sim.spawn.run_for(std::time::Duration::from_secs(2)),
    }
}

fn lead(
    partition: &Arc<Partition>,
    number: i32,
    model: &mut Model,
    epochs: &mut [i32; PARTITIONS as usize],
) {
    let epoch = epochs[number as usize] + 1;
    if let Ok(lsn) = partition.become_leader(LeaderEpoch(epoch)) {
        epochs[number as usize] = epoch;
        model.note(lsn.0, number, Did::Epoch(epoch));
    }
}

fn append(
    partition: &Arc<Partition>,
    number: i32,
    model: &mut Model,
    rng: &mut Rng,
    epochs: &[i32; PARTITIONS as usize],
    step: usize,
) {
    let (records, payload) = (1 + rng.below(4) as i32, 10 + rng.below(1500) as usize);
    let bytes = Spec::new(records, payload, step as u8)
        .at(step as i64 * 10)
        .bytes();
    let epoch = epochs[number as usize];
    let origin = AppendOrigin::Coordinator {
        leader_epoch: LeaderEpoch(epoch),
    };
    if let Ok(appended) = partition.append(&view(&bytes), origin, step as i64) {
        let base = appended.base_offset.0;
        let bytes = node::stamped(&bytes, base, epoch);
        let end = appended.last_offset.0 + 1;
        model.note(appended.lsn.0, number, Did::Append { base, end, bytes });
    }
}

/// Opens an image and checks it; returns the world it ran in.
fn recovered(life: &Life, disk: SimDisk, seed: u64, context: &str) -> (SimWorld, u64) {
    let sim = life.sim.restart_on(seed, disk);
    let opened = LogStore::open(&sim.world, StoreConfig { ..config() });
    let (store, report) = match opened {
        Ok(opened) => opened,
        Err(error) => panic!("{context}: {error}"),
    };
    assert!(report.suspect.is_empty(), "{context}: {report:?}");
    let lsn = store.last_lsn().0;
    assert!(
        lsn >= life.durable,
        "{context}: LSN {lsn}, acknowledged {}",
        life.durable
    );
    check(&store, &life.model, lsn);
    (sim, lsn)
}

fn crash_everywhere(seed: u64, steps: usize, images: u64) {
    let whole = live(seed, steps, None);
    assert!(whole.done);
    let operations = whole.sim.disk.operations();
    assert!(operations > 50, "a life with a disk: {operations}");
    for operation in 1..=operations {
        let life = live(seed, steps, Some(operation));
        for image in 0..images {
            let context = format!("seed {seed}, operation {operation}, image {image}");
            let disk = life.sim.disk.crash_image(image);
            let (sim, lsn) = recovered(&life, disk, image, &context);
            // The recovery is itself cut short, and recovered.
            let again = sim.disk.crash_image(image + 100);
            let (_, second) = recovered(&life, again, image + 100, &format!("{context}, again"));
            assert_eq!(lsn, second, "{context}: recovery of a recovery");
        }
    }
}

#[test]
fn a_power_cut_at_every_operation_loses_nothing_acknowledged() {
    for seed in 0..4 {
        crash_everywhere(seed, 60, 2);
    }
}

#[test]
fn a_process_that_dies_finds_everything_it_had_flushed() {
    for seed in 10..30 {
        let life = live(seed, 120, None);
        let disk = life.sim.disk.process_crash_image(seed);
        recovered(&life, disk, seed, &format!("seed {seed}"));
    }
}

#[test]
fn long_lives_survive_a_power_cut_at_their_end() {
    for seed in 100..130 {
        let life = live(seed, 400, None);
        for image in 0..3 {
            let disk = life.sim.disk.crash_image(image);
            recovered(&life, disk, image, &format!("seed {seed}, image {image}"));
        }
    }
}
