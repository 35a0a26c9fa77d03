//! `bench latency`: from the time a record was due to the time a waiting reader has it.

use std::time::Duration;

use client::{
    At, ClientError, Consumer, FetchOptions, NewRecord, Producer, ProducerOptions, Reach,
};
use tokio::task::LocalSet;
use world::Instant;

use super::produce::noise;
use super::report::{Tally, show};
use super::topic::BenchTopic;
use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, Global, connect, words};

/// Bytes of the time that begins each value.
const STAMP_BYTES: usize = 8;

/// Arguments of `bench latency`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Topic to write to and read; without it one is made and removed at the end.
    #[arg(add = crate::complete::topics())]
    topic: Option<String>,
    /// Records a second.
    #[arg(long, default_value = "100", value_name = "RATE", value_parser = words::count_argument)]
    rate: u64,
    /// Bytes of each value.
    #[arg(long, default_value = "100", value_name = "SIZE", value_parser = words::bytes_argument)]
    size: u64,
    /// How long.
    #[arg(short, long, default_value = "10s", value_name = "DURATION", value_parser = words::duration_argument)]
    duration: Duration,
}

pub(super) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    let named = arguments.topic.as_deref();
    let topic = BenchTopic::find(reach, &mut client, named, 1).await?;
    let failed = |error| {
        let next = format!("duramen topic describe {}", topic.name);
        connect::explain(format!("topic {}: not measured", topic.name), error, next)
    };
    let ends = client.list_offsets(&topic.name, &[0], At::End).await;
    let end = ends.map_err(failed)?.remove(&0).unwrap_or(0);
    let place = (topic.name.clone(), 0);
    let starts = [(place, end)].into_iter().collect();
    let options = FetchOptions {
        wait: Duration::from_millis(100),
        ..FetchOptions::default()
    };
    let mut consumer = Consumer::assign_places(client, starts, options);
    let writer = connect::connect(reach, global).await?;
    let writer = Producer::new(writer, ProducerOptions::default()).await;
    let mut producer = writer.map_err(failed)?;
    let rate = arguments.rate.max(1);
    let count = ((arguments.duration.as_secs_f64() * rate as f64) as u64).max(1);
    let noise = noise(reach, arguments.size.max(STAMP_BYTES as u64));
    let start = reach.clock.now();
    let write = async {
        for number in 0..count {
            let due = Duration::from_secs_f64(number as f64 / rate as f64);
            let elapsed = reach.clock.now().since(start);
            tokio::time::sleep(due.saturating_sub(elapsed)).await;
            let mut value = noise.clone();
            value[..STAMP_BYTES].copy_from_slice(&start.after(due).0.to_be_bytes());
            let record = NewRecord {
                value: Some(value),
                ..NewRecord::default()
            };
            producer.send(&topic.name, Some(0), record).await?;
            producer.flush().await?;
        }
        Ok::<(), ClientError>(())
    };
    let mut tally = Tally::new()?;
    let progress = Progress::new("records", count);
    let read = async {
        while tally.records < count {
            let records = consumer.poll().await?;
            let now = reach.clock.now();
            for record in records {
                let value = record.value.unwrap_or_default();
                if let Some(stamp) = value.first_chunk::<STAMP_BYTES>() {
                    tally.late(now.since(Instant(u64::from_be_bytes(*stamp))));
                }
                tally.records += 1;
                tally.bytes += arguments.size;
            }
            progress.set(tally.records);
        }
        Ok::<(), ClientError>(())
    };
    let both = Box::pin(async { tokio::try_join!(write, read) });
    let outcome = LocalSet::new().run_until(both).await;
    let took = reach.clock.now().since(start);
    progress.end();
    let measured = outcome.map_err(failed).map(drop);
    let report = tally.report("latency", &topic.name, took, Some(rate));
    topic.remove(reach, global).await?;
    measured?;
    show(&report, output)
}
