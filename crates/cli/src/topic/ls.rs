//! `topic ls`: the topics of the cluster.

use client::Client;
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, connect};

/// Arguments of `topic ls`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Show internal topics too.
    #[arg(short, long)]
    all: bool,
}

#[derive(Serialize)]
struct Row {
    topic: String,
    id: String,
    partitions: usize,
    replicas: usize,
    internal: bool,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut topics = client
        .topics(None)
        .await
        .map_err(|error| connect::explain("topics: not listed", error, "duramen topic ls"))?;
    topics.retain(|topic| arguments.all || !topic.internal);
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<Row> = topics
        .into_iter()
        .map(|topic| Row {
            id: topic.id.to_string(),
            partitions: topic.partitions.len(),
            replicas: topic
                .partitions
                .first()
                .map_or(0, |partition| partition.replicas.len()),
            internal: topic.internal,
            topic: topic.name,
        })
        .collect();
    output.rows(&["topic", "partitions", "replicas", "+id"], &rows, |row| {
        vec![
            row.topic.clone(),
            row.partitions.to_string(),
            row.replicas.to_string(),
            row.id.clone(),
        ]
    })
}
