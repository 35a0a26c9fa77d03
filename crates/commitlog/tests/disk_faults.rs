//! Random lives on disks that fail: refused, torn and stalled operations while the store runs,
//! writes that the disk lied about, bits that flip at rest, each from one seed.
//!
//! The oracle is the model of `node`: what was acknowledged is there once and in order. Where a
//! disk lied or rotted, what is not there, or not as it was, is told as damaged: the store does
//! not open, a partition is suspect, a read is refused, a scrub finds it, or the batch's own
//! checksum fails in the reader's hands. Nothing damaged is ever served as good.
//!
//! `DISK_SEEDS=n` tells more stories than the default, `DISK_SEED=n` one.

mod node;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use commitlog::{LogStore, OpenError, ReadBound, StoreConfig, StoreHealth};
use node::script::Script;
use node::{Expected, Model, check, config, key, records_of};
use stdx::crc32c;
use wire::batch::BatchView;
use wire::ids::Offset;
use world::sim::{Fault, Injection, Operation, Rng, SimDisk, SimWorld};
use world::{OpenMode, World};

/// Stories of failing operations told by default. What more of them found is told by name in
/// `fault_stories`: a seed means another story when a kind of fault is added.
const TOLD: u64 = 100;

fn seeds(usual: u64) -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    match number("DISK_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("DISK_SEEDS").unwrap_or(usual)).collect(),
    }
}

/// Tells one story per seed to its end, bad or good, and fails with all seeds that ended badly.
fn tell_all(seeds: &[u64], mut story: impl FnMut(u64)) {
    let mut bad = Vec::new();
    for seed in seeds {
        // What a story panics with names its seed and is printed as it happens.
        if catch_unwind(AssertUnwindSafe(|| story(*seed))).is_err() {
            bad.push(*seed);
        }
    }
    assert!(bad.is_empty(), "these seeds ended badly: {bad:?}");
}

/// Calls that can fail in a way that shows.
const FALLIBLE: [Operation; 12] = [
    Operation::Open,
    Operation::Create,
    Operation::Unlink,
    Operation::Rename,
    Operation::SyncDir,
    Operation::SyncFs,
    Operation::WriteAt,
    Operation::WriteDurable,
    Operation::AwaitWriteback,
    Operation::SyncData,
    Operation::Truncate,
    Operation::ReadAt,
];

/// A few faults that show as errors, at once or somewhat later.
fn inject_told(disk: &SimDisk, rng: &mut Rng) {
    for _ in 0..1 + rng.below(3) {
        let operation = FALLIBLE[rng.index(FALLIBLE.len())];
        let fault = match rng.below(4) {
            0 => Fault::Full,
            _ => Fault::Io,
        };
        let injection = Injection::on(operation, fault)
            .skip(rng.below(4))
            .times(1 + rng.below(2));
        disk.inject(injection);
    }
}

/// Some operations take long.
fn stall(sim: &SimWorld, seed: u64) {
    let clock = sim.clock.clone();
    let rng = std::sync::Mutex::new(Rng::fork(seed, "stalls"));
    sim.disk.watch(Arc::new(move |_| {
        let mut rng = rng.lock().expect("whole");
        if rng.chance(0.02) {
            clock.advance(Duration::from_millis(rng.below(3_000)));
        }
    }));
}

/// What can be read of a running store is as it was written.
fn check_readable(store: &LogStore, model: &Model, context: &str) {
    let expected = model.at(store.durable_lsn().0);
    for number in 0..3 {
        let Some(partition) = store.partition(&key(number)) else {
            continue;
        };
        let offsets = partition.offsets();
        assert!(offsets.high_watermark <= offsets.end, "{context}");
        let mut at = offsets.log_start;
        while at < offsets.high_watermark {
            // A disk that fails may refuse the read; it must not invent one.
            let Ok(read) = partition.read(at, 3_000, true, ReadBound::HighWatermark) else {
                break;
            };
            let Some(slice) = read.file else {
                break;
            };
            let known = expected.get(&number);
            let mut bytes = vec![0; slice.length as usize];
            let Ok(taken) = slice.file.read_at(&mut bytes, slice.position) else {
                break;
            };
            assert_eq!(taken, bytes.len(), "{context}: a promised range is there");
            if model.compacted {
                let written = known.map_or_else(Default::default, |known| {
                    records_of(known.batches.iter().map(|(_, _, bytes)| bytes.as_slice()))
                });
                let batches = batches_of(&bytes);
                let found = records_of(batches.iter().map(|(_, bytes)| bytes.as_slice()));
                for (offset, record) in found {
                    assert!(
                        written.get(&offset) == Some(&record),
                        "{context}: partition {number}, offset {offset}"
                    );
                }
                at = read.next_offset;
                continue;
            }
            for (base, bytes) in batches_of(&bytes) {
                let written = known.and_then(|known| batch_at(known, base));
                assert!(
                    written == Some(bytes.as_slice()),
                    "{context}: partition {number}, offset {base}"
                );
            }
            at = read.next_offset;
        }
    }
}

fn batch_at(expected: &Expected, base: i64) -> Option<&[u8]> {
    let found = expected.batches.iter().find(|(at, _, _)| *at == base)?;
    Some(&found.2)
}

/// Whole batches with their base offsets.
fn batches_of(mut bytes: &[u8]) -> Vec<(i64, Vec<u8>)> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let (batch, rest) = BatchView::split(bytes).expect("whole batches only");
        batches.push((batch.base_offset().0, batch.bytes().to_vec()));
        bytes = rest;
    }
    batches
}

/// Opens a store behind a power cut, on a disk that works again, and checks all of it.
fn recover(
    sim: &SimWorld,
    disk: SimDisk,
    model: &mut Model,
    durable: u64,
    context: &str,
) -> (SimWorld, Arc<LogStore>) {
    let seed = durable;
    let sim = sim.restart_on(seed, disk);
    let (store, report) =
        LogStore::open(&sim.world, config()).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(
        report.suspect.is_empty() && report.lost.is_none(),
        "{context}: {report:?}"
    );
    let lsn = store.last_lsn().0;
    assert!(
        lsn >= durable,
        "{context}: LSN {lsn}, {durable} was acknowledged"
    );
    check(&store, model, lsn);
    // What the crash took away never happened.
    model.done.retain(|(done, _, _)| *done <= lsn);
    (sim, store)
}

#[derive(Default)]
struct Struck(BTreeMap<(Operation, Fault), u64>);

impl Struck {
    fn add(&mut self, disk: &SimDisk) {
        for (fault, times) in disk.faults_struck() {
            *self.0.entry(fault).or_default() += times;
        }
    }
}

/// What happened in the lives of a seed.
#[derive(Default)]
struct Lived {
    dead: u64,
    durable: u64,
    compactions: u64,
    compaction_failures: u64,
}

impl Lived {
    fn add(&mut self, other: &Lived) {
        self.dead += other.dead;
        self.durable += other.durable;
        self.compactions += other.compactions;
        self.compaction_failures += other.compaction_failures;
    }
}

/// Several lives on one disk; each ends with a power cut, and one in four by the process's death.
fn fail_and_recover(seed: u64, mut script: Script, struck: &mut Struck) -> Lived {
    let mut chance = Rng::fork(seed, "faults");
    let mut sim = World::sim(seed);
    let mut lived = Lived::default();
    let mut store = LogStore::open(&sim.world, config())
        .expect("an empty disk")
        .0;
    for life in 0..5 {
        let context = format!("DISK_SEED={seed}, life {life}");
        if chance.chance(0.3) {
            stall(&sim, chance.next_u64());
        }
        for step in 0..120 {
            if matches!(store.health(), StoreHealth::Dead(_)) {
                lived.dead += 1;
                break;
            }
            if step > 10 && chance.chance(0.08) {
                inject_told(&sim.disk, &mut chance);
            }
            script.step(&sim, &store);
            if chance.chance(0.05) {
                check_readable(&store, &script.model, &context);
            }
            if chance.chance(0.1) {
                sim.disk.heal();
            }
        }
        check_readable(&store, &script.model, &context);
        let durable = store.durable_lsn().0;
        lived.durable += durable;
        let metrics = store.metrics();
        lived.compactions += metrics.compactions;
        lived.compaction_failures += metrics.compaction_failures;
        struck.add(&sim.disk);
        // Behind a failed sync of a directory the cache may show names that no later sync makes
        // durable, and a new process cannot know: the filesystem is mounted again first.
        let names_lost = sim
            .disk
            .faults_struck()
            .keys()
            .any(|(operation, _)| *operation == Operation::SyncDir);
        let image = if chance.chance(0.25) && !names_lost {
            sim.disk.process_crash_image(chance.next_u64())
        } else {
            sim.disk.crash_image(chance.next_u64())
        };
        drop(store);
        (sim, store) = recover(&sim, image, &mut script.model, durable, &context);
        script.lead_all(&store);
    }
    lived
}

#[test]
fn no_failing_operation_loses_what_was_acknowledged() {
    // rules D1, D6
    let mut struck = Struck::default();
    let mut lived = Lived::default();
    let seeds = seeds(TOLD);
    tell_all(&seeds, |seed| {
        lived.add(&fail_and_recover(seed, Script::new(seed), &mut struck));
    });
    if seeds.len() >= TOLD as usize {
        // Stories in which nothing went wrong prove nothing.
        let Lived { durable, dead, .. } = lived;
        assert!(
            durable > 3_000 && dead > 0,
            "{durable} blocks, {dead} deaths"
        );
        for operation in FALLIBLE {
            let times = struck.0.get(&(operation, Fault::Io));
            let times = times.copied().unwrap_or(0);
            // Nothing is opened often while it is cached, nothing is synced as a whole in small lives.
            assert!(
                times > 0 || operation == Operation::SyncFs || operation == Operation::Rename,
                "{operation:?} never failed"
            );
        }
    }
}

#[test]
fn no_failing_operation_in_a_pass_loses_the_newest_record_of_a_key() {
    // rules C1, D1, D6
    let mut struck = Struck::default();
    let mut lived = Lived::default();
    let seeds = seeds(TOLD / 2);
    tell_all(&seeds, |seed| {
        lived.add(&fail_and_recover(
            seed,
            Script::compacted(seed),
            &mut struck,
        ));
    });
    if seeds.len() >= TOLD as usize / 2 {
        // Stories without passes, or in which all of them went well, prove nothing.
        assert!(
            lived.compactions > 100 && lived.compaction_failures > 10,
            "{} passes, {} failed",
            lived.compactions,
            lived.compaction_failures
        );
    }
}

/// All files of a disk with their lengths.
fn files(disk: &SimDisk) -> Vec<(String, u64)> {
    use world::Disk;
    let mut found = Vec::new();
    let mut dirs = vec![String::new()];
    while let Some(dir) = dirs.pop() {
        for entry in disk.list(&dir).expect("listed") {
            let path = match dir.as_str() {
                "" => entry.name.clone(),
                dir => format!("{dir}/{}", entry.name),
            };
            if entry.is_dir {
                dirs.push(path);
            } else if let Ok(file) = disk.open(&path, OpenMode::Read) {
                found.push((path, file.len().expect("length")));
            }
        }
    }
    found.sort();
    found
}

/// How damage showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// Everything is as it was.
    Harmless,
    /// The store does not open.
    AtOpen,
    /// Recovery cannot vouch for a partition.
    Suspect,
    /// A read is refused.
    AtRead,
    /// The batch's own checksum does not agree.
    ByChecksum,
    /// A scrub marked it.
    ByScrub,
}

/// Opens a damaged disk. Everything that can be read is as it was written, or told as damaged;
/// with `may_end_early`, the log may end before what was acknowledged.
fn judge(
    sim: &SimWorld,
    disk: SimDisk,
    model: &Model,
    durable: u64,
    may_end_early: bool,
    context: &str,
) -> Told {
    let sim = sim.restart_on(durable, disk);
    let (store, report) = match LogStore::open(&sim.world, StoreConfig { ..config() }) {
        Ok(opened) => opened,
        // A message that asks for the wrong thing would be as bad as none.
        Err(OpenError::InUse { .. }) => panic!("{context}: nobody uses it"),
        Err(_) => return Told::AtOpen,
    };
    let mut told = Told::Harmless;
    let lsn = store.last_lsn().0;
    assert!(
        lsn >= durable || may_end_early,
        "{context}: it ends at LSN {lsn}, {durable} was acknowledged: {report:?}"
    );
    let found: Vec<i32> = store.partitions().iter().map(|key| key.partition).collect();
    let expected = model.at(lsn);
    let wanted: Vec<i32> = expected.keys().copied().collect();
    assert_eq!(found, wanted, "{context}: the partitions of LSN {lsn}");
    // First without a scrub, as a reader would that comes early; then with.
    for scrubbed in [false, true] {
        if scrubbed && store.scrub() > 0 {
            told = told.max(Told::ByScrub);
        }
        for (number, expected) in &expected {
            if report.suspect.contains(&key(*number)) {
                told = told.max(Told::Suspect);
                continue;
            }
            let seen = judge_partition(&store, *number, expected, scrubbed, context);
            told = told.max(seen);
        }
    }
    told
}

fn judge_partition(
    store: &LogStore,
    number: i32,
    expected: &Expected,
    scrubbed: bool,
    context: &str,
) -> Told {
    let partition = store.partition(&key(number)).expect("listed");
    let offsets = partition.offsets();
    assert_eq!(
        (offsets.log_start.0, offsets.end.0),
        (expected.start, expected.end),
        "{context}: bounds of {number}"
    );
    let readable: Vec<_> = expected
        .batches
        .iter()
        .filter(|(_, end, _)| *end > expected.start)
        .collect();
    for (base, _, bytes) in readable {
        let from = Offset((*base).max(expected.start));
        let Ok(read) = partition.read(from, 1, true, ReadBound::LogEnd) else {
            return Told::AtRead;
        };
        let Some(slice) = read.file else {
            panic!("{context}: nothing at {base} of {number}");
        };
        let mut found = vec![0; slice.length as usize];
        let got = slice
            .file
            .read_at(&mut found, slice.position)
            .expect("reads");
        if found == *bytes && got == found.len() {
            continue;
        }
        let sound = BatchView::split(&found)
            .is_ok_and(|(batch, _)| crc32c(&batch.bytes()[21..]) == batch.crc());
        if !sound {
            return Told::ByChecksum;
        }
        // What Kafka's checksum does not cover is told by a scrub, once the segment is sealed (rule
        // D4). Until then the leader epoch is covered by nothing; a wrong base offset, length or
        // magic shows as it is read.
        let differs: Vec<usize> = (0..bytes.len())
            .filter(|at| found.get(*at) != Some(&bytes[*at]))
            .collect();
        let is_epoch = found.len() == bytes.len() && differs.iter().all(|at| (12..16).contains(at));
        assert!(
            is_epoch || !scrubbed,
            "{context}: offset {base} of {number} is damaged and served, bytes {differs:?}"
        );
    }
    Told::Harmless
}

/// A life that ends quietly: the last block is vouched for.
fn quiet_life(seed: u64, steps: usize) -> (SimWorld, Model, u64) {
    let sim = World::sim(seed);
    let mut script = Script::new(seed);
    let store = LogStore::open(&sim.world, config())
        .expect("an empty disk")
        .0;
    for _ in 0..steps {
        script.step(&sim, &store);
    }
    store.wait_durable(store.last_lsn()).expect("durable");
    sim.spawn.run_for(Duration::from_secs(3));
    let durable = store.durable_lsn().0;
    (sim, script.model, durable)
}

#[test]
fn a_bit_that_flips_at_rest_is_told_or_costs_nothing() {
    // rules D2, D4, D5
    let mut seen: BTreeMap<(String, Told), u64> = BTreeMap::new();
    let seeds = seeds(25);
    tell_all(&seeds, |seed| {
        let (sim, model, durable) = quiet_life(seed, 150);
        let mut chance = Rng::fork(seed, "rot");
        let whole = sim.disk.crash_image(seed);
        let files = files(&whole);
        for round in 0..60 {
            let (path, length) = &files[chance.index(files.len())];
            if *length == 0 {
                continue;
            }
            // Slots are mostly empty: half of the flips hit where blocks are.
            let within = if path.starts_with("wal") && chance.chance(0.7) {
                8 << 10
            } else {
                *length
            };
            let (position, bit) = (chance.below(within.min(*length)), chance.below(8) as u8);
            let image = whole.process_crash_image(round);
            image.flip_bit(path, position, bit).expect("there");
            let context = format!("DISK_SEED={seed}, {path} byte {position} bit {bit}");
            let told = judge(&sim, image, &model, durable - 1, false, &context);
            let kind = path.split('/').next().unwrap_or_default().to_owned();
            *seen.entry((kind, told)).or_default() += 1;
        }
    });
    if seeds.len() >= 25 {
        for (kind, told) in [
            ("wal", Told::AtOpen),
            ("wal", Told::Harmless),
            ("seg", Told::ByChecksum),
            ("seg", Told::ByScrub),
            ("meta", Told::Harmless),
        ] {
            assert!(seen.contains_key(&(kind.to_owned(), told)), "{seen:?}");
        }
    }
}
