//! `config get`: keys, their values in Kafka's numbers and in words, and who set them.

use client::{Client, Config};
use serde::Serialize;

use super::{Whose, read, unknown_key};
use crate::output::Output;
use crate::{Failure, words};

/// Arguments of `config get`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only these keys.
    #[arg(value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    whose: Whose,
    /// Every key, not only those that were set.
    #[arg(short, long)]
    all: bool,
    /// Show what each key falls back to, in order.
    #[arg(long)]
    origin: bool,
}

/// One key. Field names are API.
#[derive(Serialize)]
struct Row {
    key: String,
    value: Option<String>,
    source: &'static str,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallbacks: Option<Vec<Fallback>>,
}

#[derive(Serialize)]
struct Fallback {
    key: String,
    value: Option<String>,
    source: &'static str,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let Arguments {
        keys,
        whose,
        all,
        origin,
    } = arguments;
    let resource = whose.resource(client).await?;
    let configs = read(client, &resource).await?;
    for key in &keys {
        if !configs.iter().any(|config| config.name == *key) {
            return Err(unknown_key(&resource, key, &configs, &whose.flag()));
        }
    }
    let wanted = |config: &Config| match keys.is_empty() {
        true => all || !config.is_default,
        false => keys.contains(&config.name),
    };
    let rows: Vec<Row> = configs
        .into_iter()
        .filter(wanted)
        .map(|config| Row {
            fallbacks: origin.then(|| {
                let fallbacks = config.fallbacks.into_iter();
                fallbacks
                    .map(|(key, value, source)| Fallback { key, value, source })
                    .collect()
            }),
            key: config.name,
            value: config.value,
            source: config.source,
            read_only: config.read_only,
        })
        .collect();
    let mut columns = vec!["key", "value", "meaning", "source", "+changes"];
    if origin {
        columns.push("else");
    }
    output.rows(&columns, &rows, |row| {
        let value = row.value.clone().unwrap_or_else(|| "-".to_owned());
        let changes = if row.read_only { "at start" } else { "running" };
        let fallbacks = row.fallbacks.iter().flatten().map(|fallback| {
            let value = fallback.value.as_deref().unwrap_or("-");
            format!("{}={value} ({})", fallback.key, fallback.source)
        });
        vec![
            row.key.clone(),
            value.clone(),
            words::config_value(&row.key, &value).unwrap_or_default(),
            row.source.to_owned(),
            changes.to_owned(),
            fallbacks.collect::<Vec<_>>().join(", "),
        ]
    })
}
