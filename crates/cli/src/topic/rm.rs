//! `topic rm`: remove topics and their records, after saying what goes.

use std::collections::BTreeSet;

use client::{At, Client};
use serde::Serialize;

use crate::consent::Consent;
use crate::output::Output;
use crate::{Failure, connect, lookup};

/// Arguments of `topic rm`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Names of the topics.
    #[arg(required = true, add = crate::complete::topics())]
    names: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Serialize)]
struct Row {
    topic: String,
    partitions: usize,
    records: i64,
    /// Groups that read it.
    groups: Vec<String>,
    removed: bool,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let readers = readers(client).await;
    for name in &arguments.names {
        let failed =
            |error| connect::explain(format!("topic {name}: not read"), error, "duramen topic ls");
        let topic = lookup::topic(client, name).await?;
        let partitions = lookup::partitions(&topic);
        let starts = client
            .list_offsets(name, &partitions, At::Start)
            .await
            .map_err(failed)?;
        let ends = client
            .list_offsets(name, &partitions, At::End)
            .await
            .map_err(failed)?;
        let records = ends.values().sum::<i64>() - starts.values().sum::<i64>();
        rows.push(Row {
            topic: name.clone(),
            partitions: partitions.len(),
            records,
            groups: readers
                .iter()
                .filter(|(_, topics)| topics.contains(name))
                .map(|(group, _)| group.clone())
                .collect(),
            removed: false,
        });
    }
    if arguments.consent.is_given() {
        for row in &mut rows {
            client.delete_topic(&row.topic).await.map_err(|error| {
                connect::explain(
                    format!("topic {}: not removed", row.topic),
                    error,
                    "duramen topic ls --all",
                )
            })?;
            row.removed = true;
        }
    }
    output.rows(
        &["topic", "partitions", "records", "read by", "removed"],
        &rows,
        |row| {
            let removed = if row.removed { "yes" } else { "no" };
            vec![
                row.topic.clone(),
                row.partitions.to_string(),
                row.records.to_string(),
                row.groups.join(" "),
                removed.to_owned(),
            ]
        },
    )?;
    arguments.consent.settle(
        "topics: nothing removed".to_owned(),
        ": removing records cannot be undone",
        format!("duramen topic rm --yes {}", arguments.names.join(" ")),
    )
}

/// Which topics each group has committed offsets of. A plan is worth less without it, not nothing:
/// what cannot be read is left out.
async fn readers(client: &mut Client) -> Vec<(String, BTreeSet<String>)> {
    let mut readers = Vec::new();
    for group in client.groups().await.unwrap_or_default() {
        let commits = client.commits(&group.id).await.unwrap_or_default();
        let topics = commits.into_keys().map(|(topic, _)| topic).collect();
        readers.push((group.id, topics));
    }
    readers
}
