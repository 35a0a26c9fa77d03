//! `bench consume`: what a topic holds, read as fast as it comes.

use std::time::Duration;

use client::{At, Consumer, FetchOptions, Reach};

use super::report::{Tally, show};
use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, Global, connect, lookup, words};

/// Arguments of `bench consume`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Topic to read, from its start to its end as it is now.
    #[arg(add = crate::complete::topics())]
    topic: String,
    /// Stop after this time at the latest.
    #[arg(short, long, default_value = "60s", value_name = "DURATION", value_parser = words::duration_argument)]
    duration: Duration,
}

pub(super) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    let name = arguments.topic;
    let failed = |error| {
        let next = format!("duramen topic describe {name}");
        connect::explain(format!("topic {name}: not read"), error, next)
    };
    let topic = lookup::topic(&mut client, &name).await?;
    let partitions = lookup::partitions(&topic);
    let starts = client.list_offsets(&name, &partitions, At::Start).await;
    let starts = starts.map_err(failed)?;
    let ends = client.list_offsets(&name, &partitions, At::End).await;
    let ends = ends.map_err(failed)?;
    let total: i64 = ends.values().sum::<i64>() - starts.values().sum::<i64>();
    let places = starts
        .into_iter()
        .filter(|(partition, start)| ends.get(partition).is_some_and(|end| start < end))
        .map(|(partition, start)| ((name.clone(), partition), start));
    let options = FetchOptions {
        bytes_max: 64 * 1024 * 1024,
        partition_bytes_max: 8 * 1024 * 1024,
        ..FetchOptions::default()
    };
    let mut consumer = Consumer::assign_places(client, places.collect(), options);
    let mut tally = Tally::new()?;
    let progress = Progress::new("records", u64::try_from(total).unwrap_or(0));
    let start = reach.clock.now();
    while consumer.positions().next().is_some()
        && reach.clock.now().since(start) < arguments.duration
    {
        for record in consumer.poll().await.map_err(failed)? {
            tally.records += 1;
            let length = record.value.as_ref().map_or(0, Vec::len);
            tally.bytes += u64::try_from(length).unwrap_or(0);
        }
        progress.set(tally.records);
        let done: Vec<_> = consumer
            .positions()
            .filter(|((_, partition), at)| ends.get(partition).is_none_or(|end| at >= end))
            .map(|(place, _)| place.clone())
            .collect();
        for place in done {
            consumer.drop_place(&place);
        }
    }
    let took = reach.clock.now().since(start);
    progress.end();
    show(&tally.report("consume", &name, took, None), output)
}
