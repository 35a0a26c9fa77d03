//! How fast a log is compacted, how much memory that takes, and what it does to acknowledgements.
//!
//! `compaction DIR MEGABYTES KEYS CODEC [MB_PER_S]`: fills a log in DIR with records of 100 to 1,000
//! bytes in batches of 16 KiB, keys drawn from KEYS; compacts it. With MB_PER_S it appends at that
//! rate to another partition all the while, before and during the pass, and tells the times until
//! appends were durable.
//!
//! Run it built for release, on a filesystem of its own.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use commitlog::{
    AppendError, AppendOrigin, LogSettings, LogStore, Partition, PartitionKey, StoreConfig,
};
use wire::batch::BatchView;
use wire::compress::Codec;
use wire::ids::{LeaderEpoch, TopicId};
use wire::record::{BatchBuilder, NewRecord};
use world::World;

const BATCH_BYTES: usize = 16 << 10;
const LEADER: AppendOrigin = AppendOrigin::Coordinator {
    leader_epoch: LeaderEpoch(0),
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [dir, megabytes, keys, codec, rest @ ..] = arguments.as_slice() else {
        return Err("compaction DIR MEGABYTES KEYS CODEC [MB_PER_S]".into());
    };
    let (megabytes, keys): (u64, u64) = (megabytes.parse()?, keys.parse()?);
    let codec = Codec::from_name(codec).ok_or("no such codec")?;
    let rate: Option<u64> = rest.first().map(|rate| rate.parse()).transpose()?;
    let world = World::real(Path::new(dir))?;
    let config = StoreConfig {
        compact_interval: Duration::from_secs(3600),
        ..StoreConfig::default()
    };
    let (store, _) = LogStore::open(&world, config)?;
    let settings = LogSettings {
        segment_bytes: 128 << 20,
        compact: true,
        delete: false,
        dirty_ratio_min: 0,
        ..LogSettings::default()
    };
    let log = partition(&store, 0, settings.clone())?;
    let mut draw = Draw(1);
    fill(&store, &log, megabytes << 20, keys, codec, &mut draw)?;
    log_line(&format!(
        "filled: {} MB, peak memory {} MB",
        log.size_bytes() >> 20,
        peak_memory_kb()? >> 10
    ))?;

    let busy = rate.map(|rate| -> Outcome<_> {
        let plain = LogSettings {
            compact: false,
            ..settings
        };
        let other = partition(&store, 1, plain)?;
        let before = paced(&world, &store, &other, rate, &AtomicBool::new(false), 5)?;
        log_line(&format!("alone:  {}", told(before)))?;
        Ok((rate, other))
    });
    let busy = busy.transpose()?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| -> Outcome<()> {
        let pass = scope.spawn(|| {
            let (began, cpu) = (world.clock.now(), cpu_ms());
            let before = store.metrics().compacted_bytes;
            store.compact(world.clock.wall_ms());
            let time = world.clock.now().since(began).as_secs_f64();
            done.store(true, Ordering::Relaxed);
            (
                store.metrics().compacted_bytes - before,
                time,
                cpu_ms().saturating_sub(cpu),
            )
        });
        if let Some((rate, other)) = &busy {
            let during = paced(&world, &store, other, *rate, &done, 3600)?;
            log_line(&format!("during: {}", told(during)))?;
        }
        let (read, time, cpu) = pass.join().map_err(|_| "the pass panicked")?;
        let input = megabytes as f64 * 1.048_576;
        log_line(&format!(
            "compacted {input:.0} MB in {time:.2} s: {:.0} MB/s of input ({:.0} MB read), {cpu} ms of \
             CPU in the process, {} MB left, peak memory {} MB, {} failures",
            input / time,
            read as f64 / 1e6,
            log.size_bytes() >> 20,
            peak_memory_kb()? >> 10,
            store.metrics().compaction_failures,
        ))
    })?;
    store.close()?;
    Ok(())
}

fn partition(store: &LogStore, number: i32, settings: LogSettings) -> Outcome<Arc<Partition>> {
    let key = PartitionKey {
        topic: TopicId([9; 16]),
        partition: number,
    };
    let partition = store.create_partition(key, settings)?;
    partition.become_leader(LeaderEpoch(0))?;
    Ok(partition)
}

/// Numbers without a pattern, the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn batch(keys: u64, codec: Codec, draw: &mut Draw, text: &str) -> Outcome<Vec<u8>> {
    let mut builder = BatchBuilder::new().compression(codec, None);
    while builder.bytes() < BATCH_BYTES {
        let key = format!("key-{:012}", draw.below(keys));
        let from = draw.below(1_000) as usize;
        let value = &text[from..from + 100 + draw.below(900) as usize];
        builder.append(&NewRecord {
            timestamp: 1_700_000_000_000,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
    Ok(builder.build()?)
}

/// JSON-like text of two thousand bytes.
fn text() -> String {
    let mut draw = Draw(7);
    let mut text = String::new();
    while text.len() < 2_100 {
        text.push_str(&format!(
            "{{\"id\":{},\"name\":\"n{}\"}},",
            draw.below(1 << 40),
            draw.below(1 << 20)
        ));
    }
    text
}

fn fill(
    store: &LogStore,
    log: &Arc<Partition>,
    bytes: u64,
    keys: u64,
    codec: Codec,
    draw: &mut Draw,
) -> Outcome<()> {
    let text = text();
    while log.size_bytes() < bytes {
        append(store, log, &batch(keys, codec, draw, &text)?)?;
    }
    // The last segment ends, so that all of it is compacted.
    let end = log.offsets().end;
    log.apply_settings(LogSettings {
        segment_bytes: 1,
        ..(*log.settings()).clone()
    });
    append(store, log, &batch(keys, codec, draw, &text)?)?;
    log.apply_settings(LogSettings {
        segment_bytes: 128 << 20,
        ..(*log.settings()).clone()
    });
    assert!(log.offsets().end > end);
    store.wait_durable(store.last_lsn())?;
    store.checkpoint()?;
    Ok(())
}

fn append(store: &LogStore, log: &Arc<Partition>, bytes: &[u8]) -> Outcome<()> {
    let view = BatchView::whole(bytes)?;
    loop {
        match log.append(&view, LEADER, 1) {
            Ok(_) => return Ok(()),
            Err(AppendError::StagingFull) => store.wait_durable(store.durable_lsn())?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Appends at a rate; times until durable, microseconds, sorted.
fn paced(
    world: &World,
    store: &LogStore,
    log: &Arc<Partition>,
    rate: u64,
    done: &AtomicBool,
    seconds: u64,
) -> Outcome<Vec<u64>> {
    let bytes = batch(1_000, Codec::None, &mut Draw(3), &text())?;
    let gap = Duration::from_nanos(bytes.len() as u64 * 1_000 / rate.max(1));
    let began = world.clock.now();
    let mut next = began;
    let mut times = Vec::new();
    while !done.load(Ordering::Relaxed)
        && world.clock.now().since(began) < Duration::from_secs(seconds)
    {
        if world.clock.now() < next {
            std::hint::spin_loop();
            continue;
        }
        append(store, log, &bytes)?;
        store.wait_durable(store.last_lsn())?;
        // From when it should have begun: what waited in line counts.
        times.push(world.clock.now().since(next).as_micros() as u64);
        next = next.after(gap);
    }
    times.sort_unstable();
    Ok(times)
}

fn told(times: Vec<u64>) -> String {
    let at = |share: f64| {
        let place = (times.len() as f64 * share) as usize;
        times
            .get(place.min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0)
    };
    format!(
        "{} appends, durable after {} us (p50), {} us (p99), {} us (p99.9)",
        times.len(),
        at(0.5),
        at(0.99),
        at(0.999)
    )
}

#[expect(clippy::disallowed_methods, reason = "the process's own figures")]
fn proc(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
}

fn peak_memory_kb() -> Outcome<u64> {
    let status = proc("status");
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    let word = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(word.unwrap_or("0").parse()?)
}

/// User and system time of the process so far.
fn cpu_ms() -> u64 {
    let stat = proc("stat");
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    ticks * 10
}

fn log_line(line: &str) -> Outcome<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
