//! One suite for every implementation of `LogWriter`: order, completeness, failure hands the group
//! back, drop while in flight.

use std::sync::Arc;

use commitlog::{BlockingWriter, Group, GroupOutcome, LogWriter, SealedGroup};
use world::sim::{Fault, Injection, Operation, SimWorld};
use world::{File, OpenMode, World};

const SLOT: &str = "wal/slot";

fn slot(sim: &SimWorld) -> Arc<dyn File> {
    sim.world.disk.create_dir("wal").expect("dir");
    let file = sim
        .world
        .disk
        .open(SLOT, OpenMode::CreateNew)
        .expect("create");
    file.zero_fill(1 << 20).expect("zeros");
    sim.world.disk.open(SLOT, OpenMode::Durable).expect("open")
}

fn group(file: &Arc<dyn File>, lsn: u64) -> SealedGroup {
    let block = vec![lsn as u8; 4096];
    SealedGroup {
        group: Arc::new(Group::from_block(lsn, &block, 4000, 1)),
        file: Arc::clone(file),
        position: (lsn - 1) * 4096,
    }
}

fn drain(writer: &mut dyn LogWriter, out: &mut Vec<GroupOutcome>, wanted: usize) {
    for _ in 0..1_000_000 {
        writer.completed(out);
        if out.len() >= wanted {
            return;
        }
    }
    panic!("a group was never completed");
}

fn conforms(new: impl Fn(&SimWorld) -> Box<dyn LogWriter>) {
    let sim = World::sim(1);
    let file = slot(&sim);
    let mut writer = new(&sim);
    let mut out = Vec::new();
    let mut lsn = 1;
    let mut finished = 0;
    while lsn <= 50 {
        match writer.submit(group(&file, lsn)) {
            Ok(()) => lsn += 1,
            Err(busy) => {
                assert_eq!(busy.0.group.lsn, lsn, "a refused group comes back");
                finished += 1;
                drain(&mut *writer, &mut out, finished);
                finished = out.len();
            }
        }
    }
    drain(&mut *writer, &mut out, 50);
    let order: Vec<u64> = out
        .iter()
        .map(|outcome| match outcome {
            GroupOutcome::Durable { lsn, .. } => lsn.0,
            GroupOutcome::Failed { error, .. } => panic!("{error}"),
        })
        .collect();
    assert_eq!(order, (1..=50).collect::<Vec<u64>>());
    // What was reported durable outlives a power cut.
    let image = sim.disk.crash_image(1);
    let sim_after = sim.restart_on(1, image);
    let after = sim_after
        .world
        .disk
        .open(SLOT, OpenMode::Read)
        .expect("open");
    let mut bytes = vec![0; 50 * 4096];
    after.read_at(&mut bytes, 0).expect("read");
    for lsn in 1..=50_usize {
        assert!(
            bytes[(lsn - 1) * 4096..lsn * 4096]
                .iter()
                .all(|byte| *byte == lsn as u8)
        );
    }

    let sim = World::sim(2);
    let file = slot(&sim);
    let mut writer = new(&sim);
    sim.disk
        .inject(Injection::on(Operation::WriteDurable, Fault::Io));
    assert!(writer.submit(group(&file, 1)).is_ok());
    let mut out = Vec::new();
    drain(&mut *writer, &mut out, 1);
    match out.pop() {
        Some(GroupOutcome::Failed { group, .. }) => {
            assert_eq!(group.group.lsn, 1);
            assert!(
                group.group.block().iter().all(|byte| *byte == 1),
                "the only good copy"
            );
        }
        _ => panic!("the failure was hidden"),
    }
    assert!(writer.submit(group(&file, 2)).is_ok());
    drop(writer);
}

#[test]
fn the_blocking_writer_conforms() {
    conforms(|sim| Box::new(BlockingWriter::new(Arc::clone(&sim.world.clock))));
}
