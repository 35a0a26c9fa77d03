//! `topic alter`: set and delete configuration keys, add partitions.

use client::Client;
use serde::Serialize;

use super::{check_key, parse_setting};
use crate::output::Output;
use crate::{Failure, connect, lookup, words};

/// Arguments of `topic alter`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the topic.
    #[arg(add = crate::complete::topics())]
    name: String,
    /// Set a configuration key, e.g. retention.ms=7d; may be repeated.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    set: Vec<(String, String)>,
    /// Take a configuration key back to its default; may be repeated.
    #[arg(short = 'd', long = "delete", value_name = "KEY")]
    delete: Vec<String>,
    /// Grow the topic to this many partitions in all.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Only check whether the change would be accepted.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Serialize)]
struct Altered {
    topic: String,
    set: Vec<String>,
    deleted: Vec<String>,
    partitions: Option<i32>,
    dry_run: bool,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let Arguments {
        name,
        set,
        delete,
        partitions,
        dry_run,
    } = arguments;
    if set.is_empty() && delete.is_empty() && partitions.is_none() {
        return Err(Failure::usage(
            format!("topic {name}: nothing to alter"),
            "neither --set, --delete nor --partitions was given",
            format!("duramen topic alter {name} --set retention.ms=3600000"),
        ));
    }
    lookup::topic(client, &name).await?;
    let set: Vec<(String, String)> = set
        .into_iter()
        .map(|(key, value)| {
            let value = words::config_number(&key, &value);
            (key, value)
        })
        .collect();
    let keys: Vec<String> = set
        .iter()
        .map(|(key, _)| key)
        .chain(&delete)
        .cloned()
        .collect();
    let failed = |error| {
        connect::explain(
            format!("topic {name}: not altered"),
            error,
            format!("duramen topic describe {name} --all"),
        )
    };
    if !set.is_empty() || !delete.is_empty() {
        let changes: Vec<(String, Option<String>)> = set
            .iter()
            .map(|(key, value)| (key.clone(), Some(value.clone())))
            .chain(delete.iter().map(|key| (key.clone(), None)))
            .collect();
        client
            .alter_topic_configs(&name, changes, dry_run)
            .await
            .map_err(|error| check_key(&keys, failed(error)))?;
    }
    if let Some(total) = partitions {
        client
            .create_partitions(&name, total, dry_run)
            .await
            .map_err(failed)?;
    }
    let row = Altered {
        topic: name,
        set: set
            .into_iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect(),
        deleted: delete,
        partitions,
        dry_run,
    };
    output.rows(&["topic", "set", "deleted", "partitions"], &[row], |row| {
        vec![
            row.topic.clone(),
            row.set.join(" "),
            row.deleted.join(" "),
            row.partitions
                .map_or_else(|| "-".to_owned(), |total| total.to_string()),
        ]
    })
}
