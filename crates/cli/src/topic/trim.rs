//! `topic trim`: removes the records below a place, after saying how many.

use std::collections::BTreeMap;

use client::{At, Client};
use serde::Serialize;

use crate::consent::Consent;
use crate::output::Output;
use crate::place::{self, Edge};
use crate::{Failure, connect, lookup};

/// Arguments of `topic trim`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the topic.
    #[arg(add = crate::complete::topics())]
    name: String,
    /// Remove what lies before this place: an offset, end, -N or @TIME.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true, value_parser = place::parse_edge)]
    before: Edge,
    /// Only in this partition; may be repeated, or listed with commas.
    #[arg(short, long, value_delimiter = ',')]
    partition: Vec<i32>,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Serialize)]
struct Row {
    topic: String,
    partition: i32,
    log_start_offset: i64,
    before: i64,
    records: i64,
    removed: bool,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    now_ms: i64,
    output: &mut Output,
) -> Result<(), Failure> {
    let name = arguments.name;
    let failed = |error| {
        let next = format!("duramen topic describe {name}");
        connect::explain(format!("topic {name}: not trimmed"), error, next)
    };
    let topic = lookup::topic(client, &name).await?;
    let partitions = lookup::chosen(&topic, &arguments.partition)?;
    let mut list = async |at| client.list_offsets(&name, &partitions, at).await;
    let starts = list(At::Start).await.map_err(failed)?;
    let ends = list(At::End).await.map_err(failed)?;
    let before = arguments.before;
    let only = arguments.partition.iter().map(|one| format!(" -p {one}"));
    let only: String = only.collect();
    let wanted = list(arguments.before.at(now_ms)).await.map_err(failed)?;
    let at = |map: &BTreeMap<i32, i64>, partition: &i32| map.get(partition).copied().unwrap_or(0);
    let mut rows: Vec<Row> = partitions
        .iter()
        .map(|partition| {
            let start = at(&starts, partition);
            let before = at(&wanted, partition).clamp(start, at(&ends, partition).max(start));
            Row {
                topic: name.clone(),
                partition: *partition,
                log_start_offset: start,
                before,
                records: before - start,
                removed: false,
            }
        })
        .collect();
    if arguments.consent.is_given() {
        let below = rows
            .iter()
            .filter(|row| row.records > 0)
            .map(|row| (row.partition, row.before))
            .collect();
        let starts = client.delete_records(&name, &below).await.map_err(failed)?;
        for row in &mut rows {
            row.removed = starts.contains_key(&row.partition);
        }
    }
    let columns = [
        "topic",
        "partition",
        "log-start",
        "before",
        "records",
        "removed",
    ];
    output.rows(&columns, &rows, |row| {
        let removed = if row.removed { "yes" } else { "no" };
        vec![
            row.topic.clone(),
            row.partition.to_string(),
            row.log_start_offset.to_string(),
            row.before.to_string(),
            row.records.to_string(),
            removed.to_owned(),
        ]
    })?;
    arguments.consent.settle(
        format!("topic {name}: nothing removed"),
        ": removing records cannot be undone",
        format!("duramen topic trim {name} --before {before}{only} --yes"),
    )
}
