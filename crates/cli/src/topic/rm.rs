//! `topic rm`: remove topics and their records, after saying what goes.

use std::io::IsTerminal;

use client::{At, Client};
use serde::Serialize;

use super::unknown_topic;
use crate::output::Output;
use crate::{Failure, cluster};

/// Arguments of `topic rm`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Names of the topics.
    #[arg(required = true)]
    names: Vec<String>,
    /// Do it. Without this only the plan is shown.
    #[arg(short, long)]
    yes: bool,
    /// Only show the plan.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

#[derive(Serialize)]
struct Row {
    topic: String,
    partitions: usize,
    records: i64,
    removed: bool,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for name in &arguments.names {
        let failed =
            |error| cluster::explain(format!("topic {name}: not read"), error, "duramen topic ls");
        let topics = client
            .topics(Some(std::slice::from_ref(name)))
            .await
            .map_err(failed)?;
        let Some(topic) = topics
            .into_iter()
            .find(|topic| topic.name == *name && topic.exists)
        else {
            return Err(unknown_topic(client, name).await);
        };
        let partitions: Vec<i32> = topic.partitions.iter().map(|part| part.index).collect();
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
            removed: false,
        });
    }
    if arguments.yes {
        for row in &mut rows {
            client.delete_topic(&row.topic).await.map_err(|error| {
                cluster::explain(
                    format!("topic {}: not removed", row.topic),
                    error,
                    "duramen topic ls --all",
                )
            })?;
            row.removed = true;
        }
    }
    output.rows(
        &["topic", "partitions", "records", "removed"],
        &rows,
        |row| {
            let removed = if row.removed { "yes" } else { "no" };
            vec![
                row.topic.clone(),
                row.partitions.to_string(),
                row.records.to_string(),
                removed.to_owned(),
            ]
        },
    )?;
    if arguments.yes || arguments.dry_run {
        return Ok(());
    }
    let place = if std::io::stdin().is_terminal() {
        "this was the plan"
    } else {
        "no --yes"
    };
    Err(Failure::usage(
        "topics: nothing removed",
        format!("{place}: removing records cannot be undone"),
        format!("duramen topic rm --yes {}", arguments.names.join(" ")),
    ))
}
