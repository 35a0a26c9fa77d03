//! `topic stat`: size, rate, keys and age of a topic, and what retention removes next.

use std::collections::{BTreeMap, HashSet};

use client::{At, Client, Consumer, FetchOptions, Place};
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, connect, lookup, words};

/// The rate is that of the last so many milliseconds.
const RATE_MS: i64 = 60_000;
/// Records of each partition's end that keys are counted in, without `--sample`.
const SAMPLE: i64 = 1_000;

/// Arguments of `topic stat`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the topic.
    #[arg(add = crate::complete::topics())]
    name: String,
    /// Count keys and sizes in so many records at the end of each partition.
    #[arg(long, default_value_t = SAMPLE, value_name = "N", value_parser = clap::value_parser!(i64).range(0..10_000_000))]
    sample: i64,
}

#[derive(Serialize)]
struct Stat {
    topic: String,
    partitions: usize,
    /// Offsets from log start to end: the records, where nothing was compacted.
    records: i64,
    /// On disk, all replicas; none where the broker does not tell.
    bytes: Option<u64>,
    bytes_per_record: Option<f64>,
    records_per_second: f64,
    sampled: usize,
    sampled_keys: usize,
    keyless: usize,
    value_bytes_average: Option<f64>,
    oldest_ms: Option<i64>,
    newest_ms: Option<i64>,
    /// Name of the partition with most records, and its share of all.
    largest_partition: Option<i32>,
    largest_share: Option<f64>,
    retention: Option<String>,
    /// When retention by time reaches the oldest record.
    removed_next_ms: Option<i64>,
}

pub(super) async fn run(
    mut client: Client,
    arguments: Arguments,
    now_ms: i64,
    output: &mut Output,
) -> Result<(), Failure> {
    let name = arguments.name;
    let failed =
        |error| connect::explain(format!("topic {name}: not read"), error, "duramen topic ls");
    let topic = lookup::topic(&mut client, &name).await?;
    let partitions = lookup::partitions(&topic);
    let mut list = async |at| client.list_offsets(&name, &partitions, at).await;
    let starts = list(At::Start).await.map_err(failed)?;
    let ends = list(At::End).await.map_err(failed)?;
    let before = list(At::Timestamp(now_ms - RATE_MS))
        .await
        .map_err(failed)?;
    let count = |from: &BTreeMap<i32, i64>| {
        let counted = partitions.iter().map(|partition| {
            let from = from.get(partition).copied().unwrap_or(0);
            (*partition, ends.get(partition).copied().unwrap_or(0) - from)
        });
        counted.collect::<BTreeMap<i32, i64>>()
    };
    let held = count(&starts);
    let records: i64 = held.values().sum();
    let recent: i64 = count(&before).values().sum();
    let configs = client.topic_configs(&name).await.map_err(failed)?;
    let config = |key: &str| {
        let found = configs.iter().find(|config| config.name == key);
        found.and_then(|config| config.value.clone())
    };
    // Some clusters keep their disks to themselves: the rest is worth showing without.
    let dirs = client.log_dirs().await.ok();
    let bytes = dirs.map(|dirs| {
        let logs = dirs.iter().flat_map(|dir| &dir.logs);
        logs.filter(|((topic, _), _)| *topic == name)
            .map(|(_, log)| log.bytes)
            .sum::<u64>()
    });
    let firsts: BTreeMap<Place, i64> = starts
        .iter()
        .filter(|(partition, _)| held.get(*partition).is_some_and(|count| *count > 0))
        .map(|(partition, start)| ((name.clone(), *partition), *start))
        .collect();
    let oldest = client
        .first_readable(&firsts, false)
        .await
        .map_err(failed)?;
    let oldest_ms = oldest.values().map(|(_, timestamp)| *timestamp).min();
    let retention_ms = config("retention.ms").and_then(|ms| ms.parse::<i64>().ok());
    let deletes = config("cleanup.policy").is_some_and(|policy| policy.contains("delete"));
    let removed_next_ms = oldest_ms
        .zip(retention_ms.filter(|ms| *ms >= 0 && deletes))
        .map(|(oldest, retention)| oldest.saturating_add(retention));
    let retention = match (deletes, retention_ms, config("retention.bytes").as_deref()) {
        (false, ..) => Some("the newest record of each key".to_owned()),
        (true, Some(ms), Some("-1")) if ms >= 0 => Some(words::duration(ms)),
        (true, Some(ms), Some(bytes)) if ms >= 0 => Some(format!(
            "{}, at most {bytes} bytes a partition",
            words::duration(ms)
        )),
        (true, _, Some("-1")) => Some("for ever".to_owned()),
        (true, _, Some(bytes)) => Some(format!("at most {bytes} bytes a partition")),
        _ => None,
    };
    let sample = sample(client, &name, &held, &ends, arguments.sample)
        .await
        .map_err(failed)?;
    let largest = held.iter().max_by_key(|(_, count)| **count);
    let largest = largest.filter(|(_, count)| **count > 0 && partitions.len() > 1);
    let copies = topic
        .partitions
        .first()
        .map_or(1, |part| part.replicas.len().max(1));
    let stat = Stat {
        topic: name,
        partitions: partitions.len(),
        records,
        bytes,
        bytes_per_record: bytes
            .filter(|_| records > 0)
            .map(|bytes| bytes as f64 / copies as f64 / records as f64),
        records_per_second: recent as f64 * 1_000.0 / RATE_MS as f64,
        sampled: sample.records,
        sampled_keys: sample.keys.len(),
        keyless: sample.keyless,
        value_bytes_average: (sample.records > 0)
            .then(|| sample.value_bytes as f64 / sample.records as f64),
        oldest_ms,
        newest_ms: sample.newest_ms,
        largest_partition: largest.map(|(partition, _)| *partition),
        largest_share: largest.map(|(_, count)| *count as f64 / records as f64),
        retention,
        removed_next_ms,
    };
    if !output.is_table() {
        return output.rows(&["topic"], &[stat], |stat| vec![stat.topic.clone()]);
    }
    output.text(&describe(&stat, now_ms))
}

#[derive(Default)]
struct Sample {
    records: usize,
    keyless: usize,
    keys: HashSet<Vec<u8>>,
    value_bytes: usize,
    newest_ms: Option<i64>,
}

/// Reads the newest records of each partition.
async fn sample(
    client: Client,
    topic: &str,
    held: &BTreeMap<i32, i64>,
    ends: &BTreeMap<i32, i64>,
    wanted: i64,
) -> Result<Sample, client::ClientError> {
    let starts: BTreeMap<Place, i64> = held
        .iter()
        .filter(|(_, count)| **count > 0 && wanted > 0)
        .map(|(partition, count)| {
            let end = ends.get(partition).copied().unwrap_or(0);
            ((topic.to_owned(), *partition), end - wanted.min(*count))
        })
        .collect();
    let options = FetchOptions {
        wait: std::time::Duration::ZERO,
        ..FetchOptions::default()
    };
    let mut consumer = Consumer::assign_places(client, starts, options);
    let mut sample = Sample::default();
    loop {
        let done: Vec<Place> = consumer
            .positions()
            .filter(|((_, partition), at)| ends.get(partition).is_none_or(|end| at >= end))
            .map(|(place, _)| place.clone())
            .collect();
        for place in done {
            consumer.drop_place(&place);
        }
        if consumer.positions().next().is_none() {
            return Ok(sample);
        }
        let before: i64 = consumer.positions().map(|(_, at)| at).sum();
        for record in consumer.poll().await? {
            if ends
                .get(&record.partition)
                .is_none_or(|end| record.offset >= *end)
            {
                continue;
            }
            sample.records += 1;
            sample.value_bytes += record.value.map_or(0, |value| value.len());
            sample.newest_ms = sample.newest_ms.max(Some(record.timestamp_ms));
            match record.key {
                Some(key) => {
                    sample.keys.insert(key);
                }
                None => sample.keyless += 1,
            }
        }
        // What retention removes meanwhile does not come.
        if before == consumer.positions().map(|(_, at)| at).sum::<i64>() {
            return Ok(sample);
        }
    }
}

fn describe(stat: &Stat, now_ms: i64) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text.push_str(&format!("{name:12}  {value}\n"));
    let ago = |ms: i64| {
        let time = words::time(ms).unwrap_or_default();
        format!("{time}, {} ago", words::duration((now_ms - ms).max(0)))
    };
    line("topic", stat.topic.clone());
    line("partitions", stat.partitions.to_string());
    line("records", stat.records.to_string());
    if let Some(bytes) = stat.bytes {
        let each = stat
            .bytes_per_record
            .map_or_else(String::new, |each| format!(", {each:.1} B a record"));
        line("on disk", format!("{}{each}", words::bytes(bytes)));
    }
    let rate = words::rate(stat.records_per_second);
    line("written", format!("{rate} in the last minute"));
    if stat.sampled > 0 {
        let keyless = match stat.keyless {
            0 => String::new(),
            count => format!(", {count} without a key"),
        };
        line(
            "keys",
            format!(
                "{} different in the newest {} records{keyless}",
                stat.sampled_keys, stat.sampled
            ),
        );
    }
    if let Some(average) = stat.value_bytes_average {
        line("value", format!("{average:.1} B on average"));
    }
    if let Some(oldest) = stat.oldest_ms {
        line("oldest", ago(oldest));
    }
    if let Some(newest) = stat.newest_ms {
        line("newest", ago(newest));
    }
    if let (Some(partition), Some(share)) = (stat.largest_partition, stat.largest_share) {
        let even = 1.0 / stat.partitions as f64;
        let skewed = match share > 2.0 * even {
            true => ": keys are spread unevenly",
            false => "",
        };
        let share = share * 100.0;
        line(
            "largest",
            format!("partition {partition} with {share:.0} %{skewed}"),
        );
    }
    if let Some(retention) = &stat.retention {
        line("kept", retention.clone());
    }
    if let Some(next) = stat.removed_next_ms {
        let when = match next > now_ms {
            true => format!("in {}", words::duration(next - now_ms)),
            false => "now".to_owned(),
        };
        line("removed next", format!("the oldest record, {when}"));
    }
    text
}
