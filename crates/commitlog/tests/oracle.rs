//! A partition is a vector of batches: random operations against both, with look-ups at every
//! offset, time and epoch, and restarts in between.

mod node;

use commitlog::{AppendOrigin, LogStore, ReadBound};
use node::{Did, Expected, Model, Spec, check, config, contents, key, settings, view};
use wire::batch::BatchView;
use wire::ids::{LeaderEpoch, Offset};
use world::World;
use world::sim::{Rng, SimWorld};

fn look_up_everything(store: &LogStore, expected: &Expected) {
    let partition = store.partition(&key(0)).expect("there");
    let readable: Vec<_> = expected
        .batches
        .iter()
        .filter(|(_, end, _)| *end > expected.start)
        .collect();
    for offset in expected.start..expected.end {
        let read = partition.read(Offset(offset), 2_500, true, ReadBound::HighWatermark);
        let read = read.expect("read");
        // A truncation inside a batch leaves a hole at the end until the next append.
        let Some((base, _, bytes)) = readable.iter().find(|(_, end, _)| *end > offset) else {
            assert!(read.file.is_none());
            continue;
        };
        assert_eq!(read.first_offset, Offset(*base), "rule F1 at {offset}");
        let found = contents(&read.file.expect("bytes"));
        let (first, _) = BatchView::split(&found).expect("whole");
        assert!(first.bytes() == bytes.as_slice());
    }
    // Records: (offset, timestamp), as Spec makes them.
    let records: Vec<(i64, i64)> = readable
        .iter()
        .flat_map(|(base, end, bytes)| {
            let first = view(bytes).base_timestamp();
            (*base..*end).map(move |offset| (offset, first + offset - base))
        })
        .filter(|(offset, _)| *offset >= expected.start && *offset < expected.end)
        .collect();
    let newest = records.iter().map(|(_, time)| *time).max().unwrap_or(0);
    for target in [0, 1, newest / 3, newest / 2, newest - 1, newest, newest + 1] {
        let wanted = records.iter().find(|(_, time)| *time >= target).copied();
        let found = partition.offset_for_timestamp(target).expect("look-up"); // rule M2
        assert_eq!(
            found.map(|found| (found.offset.0, found.timestamp_ms)),
            wanted,
            "{target}"
        );
    }
    let wanted = records.iter().find(|(_, time)| *time == newest).copied();
    let found = partition.offset_of_max_timestamp().expect("look-up"); // rule M1
    assert_eq!(
        found.map(|found| (found.offset.0, found.timestamp_ms)),
        wanted
    );
}

fn play(seed: u64, steps: usize) {
    let mut sim: SimWorld = World::sim(seed);
    let mut rng = Rng::fork(seed, "oracle");
    let mut model = Model::default();
    let mut store = LogStore::open(&sim.world, config()).expect("open").0;
    let mut epoch = 0;
    store.create_partition(key(0), settings()).expect("create");
    model.note(store.last_lsn().0, 0, Did::Create);
    let mut lead = true;
    for step in 0..steps {
        let partition = store.partition(&key(0)).expect("there");
        if std::mem::take(&mut lead) {
            epoch += 1;
            partition.become_leader(LeaderEpoch(epoch)).expect("epoch");
            model.note(store.last_lsn().0, 0, Did::Epoch(epoch));
        }
        let offsets = partition.offsets();
        let (start, end, high) = (offsets.log_start.0, offsets.end.0, offsets.high_watermark.0);
        match rng.below(100) {
            0..70 => {
                let records = 1 + rng.below(5) as i32;
                let time = rng.below(1_000_000) as i64;
                let spec = Spec::new(records, 10 + rng.below(900) as usize, step as u8).at(time);
                let bytes = spec.bytes();
                let origin = AppendOrigin::Coordinator {
                    leader_epoch: LeaderEpoch(epoch),
                };
                if let Ok(appended) = partition.append(&view(&bytes), origin, step as i64) {
                    let base = appended.base_offset.0;
                    let bytes = node::stamped(&bytes, base, epoch);
                    let end = appended.last_offset.0 + 1;
                    model.note(appended.lsn.0, 0, Did::Append { base, end, bytes });
                } else {
                    store.wait_durable(store.last_lsn()).expect("durable");
                    store.checkpoint().expect("checkpoint");
                }
            }
            70..76 => {
                let to = start + rng.below((end - start) as u64 + 1) as i64;
                let lsn = partition.truncate(Offset(to)).expect("truncate");
                if to < end {
                    model.note(lsn.0, 0, Did::Truncate(to));
                }
            }
            76..79 if high > start => {
                let to = start + 1 + rng.below((high - start) as u64) as i64;
                if let Ok(lsn) = partition.advance_log_start(Offset(to)) {
                    model.note(lsn.0, 0, Did::Trim(to));
                }
            }
            79..82 => lead = true,
            82..90 => store.checkpoint().expect("checkpoint"),
            90..94 => {
                store.close().expect("close");
                drop(partition);
                store = LogStore::open(&sim.world, config()).expect("open").0;
                lead = true;
            }
            94..97 => {
                store.wait_durable(store.last_lsn()).expect("durable");
                let image = sim.disk.crash_image(step as u64);
                drop((partition, store));
                sim = sim.restart_on(step as u64, image);
                store = LogStore::open(&sim.world, config()).expect("open").0;
                lead = true;
            }
            _ => sim.spawn.run_until_idle(),
        }
        if step % 20 == 19 {
            store.wait_durable(store.last_lsn()).expect("durable");
            check(&store, &model, u64::MAX);
            let expected = model.at(u64::MAX).remove(&0).expect("there");
            look_up_everything(&store, &expected);
        }
    }
}

#[test]
fn a_partition_is_a_vector_of_batches() {
    for seed in 0..12 {
        play(seed, 200);
    }
}
