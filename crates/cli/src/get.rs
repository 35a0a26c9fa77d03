//! `get`: the newest records of a key, read backwards from the end of its partition.

use std::collections::{BTreeMap, VecDeque};

use client::{At, Consumer, FetchOptions, Reach, Record, partition_for_key};

use crate::output::Output;
use crate::progress::Progress;
use crate::{Failure, Global, connect, lookup, record};

/// Offsets looked at first; each further step back is twice as long, up to the next constant.
const STEP_FIRST: i64 = 1_000;
/// Longest step back.
const STEP_MAX: i64 = 256_000;

/// Arguments of `get`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Topic to look in.
    #[arg(add = crate::complete::topics())]
    topic: String,
    /// The key, whole.
    #[arg(short, long)]
    key: String,
    /// How many of its newest records to find.
    #[arg(short, long, default_value_t = 1, value_name = "N")]
    last: usize,
    /// Look in every partition, for topics whose producers do not choose it by Kafka's hash of the key.
    #[arg(long)]
    all_partitions: bool,
    /// Stop after this many records were looked at in each partition.
    #[arg(long, value_name = "N", value_parser = crate::words::count_argument)]
    limit: Option<u64>,
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    let Arguments {
        topic: name,
        key,
        last,
        all_partitions,
        limit,
    } = arguments;
    let failed = |error| {
        let next = format!("duramen topic describe {name}");
        connect::explain(format!("topic {name}: not read"), error, next)
    };
    let topic = lookup::topic(&mut client, &name).await?;
    let all = lookup::partitions(&topic);
    let count = i32::try_from(all.len()).unwrap_or(i32::MAX);
    let partitions = match all_partitions {
        true => all,
        false => vec![partition_for_key(key.as_bytes(), count)],
    };
    let starts = client.list_offsets(&name, &partitions, At::Start).await;
    let starts = starts.map_err(failed)?;
    let ends = client.list_offsets(&name, &partitions, At::End).await;
    let ends = ends.map_err(failed)?;
    let mut found: Vec<Record> = Vec::new();
    let mut exhausted = true;
    for partition in &partitions {
        let start = starts.get(partition).copied().unwrap_or(0);
        let mut until = ends.get(partition).copied().unwrap_or(0);
        let total = u64::try_from(until - start).unwrap_or(0);
        let progress = Progress::new("looked at", total.min(limit.unwrap_or(u64::MAX)));
        let mut looked = 0;
        let mut step = STEP_FIRST;
        let mut here: VecDeque<Record> = VecDeque::new();
        while until > start && here.len() < last {
            if limit.is_some_and(|limit| looked >= limit) {
                exhausted = false;
                break;
            }
            let from = until.saturating_sub(step).max(start);
            let (back, records) = stretch(client, &name, *partition, from, until)
                .await
                .map_err(failed)?;
            client = back;
            let mine = |record: &Record| record.key.as_deref() == Some(key.as_bytes());
            for record in records.into_iter().rev().filter(mine) {
                if here.len() == last {
                    break;
                }
                here.push_front(record);
            }
            looked += u64::try_from(until - from).unwrap_or(0);
            progress.set(looked);
            until = from;
            step = (step * 2).min(STEP_MAX);
        }
        progress.end();
        found.extend(here);
    }
    found.sort_by_key(|record| (record.timestamp_ms, record.partition, record.offset));
    let surplus = found.len().saturating_sub(last);
    for record in &found[surplus..] {
        record::show(record, false, output)?;
    }
    output.flush()?;
    if !found.is_empty() {
        return Ok(());
    }
    let (cause, next) = match (exhausted, all_partitions) {
        (false, _) => (
            "the newest records that were looked at do not have it".to_owned(),
            format!("look further back without --limit: duramen get {name} --key {key}"),
        ),
        (true, false) => (
            format!("partition {} has no record of it", partitions[0]),
            format!("duramen get {name} --key {key} --all-partitions"),
        ),
        (true, true) => (
            "no record of the topic has it".to_owned(),
            format!("duramen topic stat {name}"),
        ),
    };
    Err(Failure::new(
        format!("topic {name}: key {key} not found"),
        cause,
        next,
    ))
}

/// The records of a stretch, and the client back.
async fn stretch(
    client: client::Client,
    topic: &str,
    partition: i32,
    from: i64,
    until: i64,
) -> Result<(client::Client, Vec<Record>), client::ClientError> {
    let place = (topic.to_owned(), partition);
    let options = FetchOptions {
        partition_bytes_max: 8 * 1024 * 1024,
        ..FetchOptions::default()
    };
    let starts = BTreeMap::from([(place.clone(), from)]);
    let mut consumer = Consumer::assign_places(client, starts, options);
    let mut records = Vec::new();
    while consumer
        .positions()
        .any(|(at, position)| *at == place && position < until)
    {
        let before: Vec<i64> = consumer.positions().map(|(_, position)| position).collect();
        records.extend(consumer.poll().await?);
        let after: Vec<i64> = consumer.positions().map(|(_, position)| position).collect();
        // Nothing more comes: what lay there was removed meanwhile.
        if before == after {
            break;
        }
    }
    records.retain(|record| record.offset < until);
    Ok((consumer.into_client(), records))
}
