//! `topic describe`: partitions with their offsets, and the configuration that was set.

use client::{At, Client};
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, connect, lookup, words};

/// Arguments of `topic describe`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the topic.
    #[arg(add = crate::complete::topics())]
    name: String,
    /// Show every configuration key, not only those that were set.
    #[arg(short, long)]
    all: bool,
}

#[derive(Serialize)]
struct PartitionRow {
    topic: String,
    partition: i32,
    leader: i32,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    log_start_offset: Option<i64>,
    high_watermark: Option<i64>,
}

#[derive(Serialize)]
struct ConfigRow {
    topic: String,
    config: String,
    value: Option<String>,
    source: &'static str,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let name = arguments.name;
    let failed = |error| {
        connect::explain(
            format!("topic {name}: not described"),
            error,
            "duramen topic ls",
        )
    };
    let topic = lookup::topic(client, &name).await?;
    let partitions = lookup::partitions(&topic);
    let starts = client
        .list_offsets(&name, &partitions, At::Start)
        .await
        .map_err(failed)?;
    let ends = client
        .list_offsets(&name, &partitions, At::End)
        .await
        .map_err(failed)?;
    let configs = client.topic_configs(&name).await.map_err(failed)?;

    let rows: Vec<PartitionRow> = topic
        .partitions
        .into_iter()
        .map(|partition| PartitionRow {
            topic: name.clone(),
            log_start_offset: starts.get(&partition.index).copied(),
            high_watermark: ends.get(&partition.index).copied(),
            partition: partition.index,
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replicas,
            isr: partition.isr,
        })
        .collect();
    output.rows(
        &[
            "partition",
            "leader",
            "epoch",
            "replicas",
            "isr",
            "log-start",
            "high-watermark",
        ],
        &rows,
        |row| {
            vec![
                row.partition.to_string(),
                row.leader.to_string(),
                row.leader_epoch.to_string(),
                join(&row.replicas),
                join(&row.isr),
                offset(row.log_start_offset),
                offset(row.high_watermark),
            ]
        },
    )?;
    let rows: Vec<ConfigRow> = configs
        .into_iter()
        .filter(|config| arguments.all || !config.is_default)
        .map(|config| ConfigRow {
            topic: name.clone(),
            config: config.name,
            value: config.value,
            source: config.source,
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    output.note("\n")?;
    output.rows(&["config", "value", "meaning", "source"], &rows, |row| {
        let value = row.value.clone().unwrap_or_else(|| "-".to_owned());
        let meaning = words::config_value(&row.config, &value).unwrap_or_default();
        vec![row.config.clone(), value, meaning, row.source.to_owned()]
    })
}

fn join(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

fn offset(offset: Option<i64>) -> String {
    offset.map_or_else(|| "-".to_owned(), |offset| offset.to_string())
}
