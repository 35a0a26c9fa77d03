//! Power cuts at every disk operation of a scripted life: what was acknowledged is there, nothing
//! is at a wrong offset, nothing is there that was not written, and a recovery recovers equal.

mod node;

use commitlog::{LogStore, StoreConfig};
use node::script::Script;
use node::{Model, check, config};
use world::World;
use world::sim::{SimDisk, SimWorld};

/// What a scripted life leaves behind.
struct Life {
    sim: SimWorld,
    model: Model,
    durable: u64,
    done: bool,
}

/// Runs the script of a seed until its end, or until the disk fails.
fn live(seed: u64, steps: usize, stop_at: Option<u64>) -> Life {
    let sim = World::sim(seed);
    if let Some(operation) = stop_at {
        sim.disk.stop_at(operation);
    }
    let mut script = Script::new(seed);
    let Ok((store, _)) = LogStore::open(&sim.world, config()) else {
        return Life {
            sim,
            model: script.model,
            durable: 0,
            done: false,
        };
    };
    let mut done = true;
    for _ in 0..steps {
        if matches!(store.health(), commitlog::StoreHealth::Dead(_)) || sim.disk.is_power_cut() {
            done = false;
            break;
        }
        script.step(&sim, &store);
    }
    let durable = store.durable_lsn().0;
    Life {
        sim,
        model: script.model,
        durable,
        done,
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
