//! `topic create`: one topic with its partitions and configuration.

use client::{Client, NewTopic};
use serde::Serialize;

use super::parse_setting;
use crate::output::Output;
use crate::{Failure, cluster};

/// Arguments of `topic create`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the new topic.
    name: String,
    /// Number of partitions; the broker's default if not given.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Replicas of each partition; the broker's default if not given.
    #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
    replicas: Option<i16>,
    /// A configuration key, e.g. retention.ms=3600000; may be repeated.
    #[arg(short = 'c', long = "config", value_name = "KEY=VALUE", value_parser = parse_setting)]
    configs: Vec<(String, String)>,
    /// Only check whether the topic could be created.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Created {
    topic: String,
    id: String,
    partitions: i32,
    replicas: i16,
    dry_run: bool,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let Arguments {
        name,
        partitions,
        replicas,
        configs,
        dry_run,
    } = arguments;
    let topic = NewTopic {
        name: name.clone(),
        partitions: partitions.unwrap_or(-1),
        replicas: replicas.unwrap_or(-1),
        configs,
        validate_only: dry_run,
    };
    let created = client.create_topic(topic).await.map_err(|error| {
        cluster::explain(
            format!("topic {name}: not created"),
            error,
            format!("duramen topic describe {name}, or duramen topic create --help"),
        )
    })?;
    let row = Created {
        topic: name,
        id: created.id.to_string(),
        partitions: created.partitions,
        replicas: created.replicas,
        dry_run,
    };
    output.rows(&["topic", "id", "partitions", "replicas"], &[row], |row| {
        vec![
            row.topic.clone(),
            row.id.clone(),
            row.partitions.to_string(),
            row.replicas.to_string(),
        ]
    })
}
