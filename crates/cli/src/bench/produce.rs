//! `bench produce`: records written at a rate, or as fast as they are taken.

use std::time::Duration;

use clap::ValueEnum;
use client::{Compression, NewRecord, Producer, ProducerOptions, Reach};
use tokio::task::{JoinSet, LocalSet};

use super::report::{Tally, show};
use super::topic::BenchTopic;
use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, Global, connect, words};

/// Most records written in one round.
const ROUND_MAX: u64 = 20_000;
/// Bytes of values written in one round without `--rate`.
const ROUND_BYTES: u64 = 512 * 1024;

/// Arguments of `bench produce`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Topic to write to; without it one is made and removed at the end.
    #[arg(add = crate::complete::topics())]
    topic: Option<String>,
    /// Records a second in all, such as 50k/s; without it as fast as possible.
    #[arg(long, value_name = "RATE", value_parser = words::count_argument)]
    rate: Option<u64>,
    /// Bytes of each value.
    #[arg(long, default_value = "1k", value_name = "SIZE", value_parser = words::bytes_argument)]
    size: u64,
    /// How long.
    #[arg(short, long, default_value = "10s", value_name = "DURATION", value_parser = words::duration_argument)]
    duration: Duration,
    /// Connections that write at the same time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    clients: u16,
    /// Partitions of the topic that is made.
    #[arg(short, long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: i32,
    /// Whose acknowledgement is awaited: all, leader, or none.
    #[arg(long, default_value = "all")]
    acks: Acks,
    /// Compress batches.
    #[arg(short = 'z', long, default_value = "none")]
    compression: crate::produce::Codec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Acks {
    All,
    Leader,
    None,
}

pub(super) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    let named = arguments.topic.as_deref();
    let topic = BenchTopic::find(reach, &mut client, named, arguments.partitions).await?;
    let start = reach.clock.now();
    let local = LocalSet::new();
    let mut writers = JoinSet::new();
    for number in 0..arguments.clients {
        let work = write(
            reach.clone(),
            global.clone(),
            arguments.clone(),
            topic.name.clone(),
            number,
        );
        writers.spawn_local_on(work, &local);
    }
    let mut tally = Tally::new()?;
    let mut failed = None;
    local
        .run_until(async {
            while let Some(ended) = writers.join_next().await {
                match ended {
                    Ok(Ok(part)) => tally.add(&part),
                    Ok(Err(failure)) => failed = Some(failure),
                    Err(error) => {
                        let text = error.to_string();
                        failed = Some(Failure::new("bench produce", text, "report this as a bug"));
                    }
                }
            }
        })
        .await;
    let took = reach.clock.now().since(start);
    let report = tally.report("produce", &topic.name, took, arguments.rate);
    topic.remove(reach, global).await?;
    match failed {
        Some(failure) => Err(failure),
        None => show(&report, output),
    }
}

async fn write(
    reach: Reach,
    global: Global,
    arguments: Arguments,
    topic: String,
    number: u16,
) -> Result<Tally, Failure> {
    let failed = |error| {
        let next = format!("duramen topic describe {topic}");
        connect::explain(format!("topic {topic}: not written"), error, next)
    };
    let client = connect::connect(&reach, &global).await?;
    let options = ProducerOptions {
        compression: Compression::from(arguments.compression),
        acks: match arguments.acks {
            Acks::All => -1,
            Acks::Leader => 1,
            Acks::None => 0,
        },
        ..ProducerOptions::default()
    };
    let mut producer = Producer::new(client, options).await.map_err(failed)?;
    let value = noise(&reach, arguments.size);
    // The first client of several carries what does not divide.
    let clients = u64::from(arguments.clients);
    let rate = arguments.rate.map(|rate| match number {
        0 => rate / clients + rate % clients,
        _ => rate / clients,
    });
    let mut tally = Tally::new()?;
    if rate == Some(0) {
        return Ok(tally);
    }
    // The first client draws for all.
    let progress = (number == 0).then(|| Progress::timed("writing", arguments.duration));
    let start = reach.clock.now();
    loop {
        let elapsed = reach.clock.now().since(start);
        if elapsed >= arguments.duration {
            return Ok(tally);
        }
        if let Some(progress) = &progress {
            progress.passed(elapsed);
        }
        let due = match rate {
            Some(rate) => {
                let due = (elapsed.as_secs_f64() * rate as f64) as u64 + 1;
                due.saturating_sub(tally.records).min(ROUND_MAX)
            }
            None => (ROUND_BYTES / arguments.size.max(1)).clamp(1, ROUND_MAX),
        };
        if due == 0 {
            let next = (tally.records as f64 + 0.5) / rate.unwrap_or(1) as f64;
            let wait = Duration::from_secs_f64(next).saturating_sub(elapsed);
            tokio::time::sleep(wait.max(Duration::from_micros(100))).await;
            continue;
        }
        for _ in 0..due {
            let record = NewRecord {
                value: Some(value.clone()),
                ..NewRecord::default()
            };
            producer.send(&topic, None, record).await.map_err(failed)?;
        }
        producer.flush().await.map_err(failed)?;
        let done = reach.clock.now().since(start);
        for record in tally.records..tally.records + due {
            let intended = match rate {
                Some(rate) => Duration::from_secs_f64(record as f64 / rate as f64),
                None => elapsed,
            };
            tally.late(done.saturating_sub(intended));
        }
        tally.records += due;
        tally.bytes += due * arguments.size;
    }
}

/// Bytes that do not compress.
pub(super) fn noise(reach: &Reach, size: u64) -> Vec<u8> {
    let words = size.div_ceil(8);
    let mut bytes: Vec<u8> = (0..words)
        .flat_map(|_| reach.random.next_u64().to_le_bytes())
        .collect();
    bytes.truncate(usize::try_from(size).unwrap_or(0));
    bytes
}
