//! `config set` and `config unset`.

use client::{Client, Resource};
use serde::Serialize;

use super::{Whose, read, title, unknown_key};
use crate::output::Output;
use crate::{Failure, connect, topic, words};

/// Arguments of `config set`.
#[derive(Debug, clap::Args)]
pub struct Set {
    /// Keys and values, such as retention.ms=7d or max.message.bytes=4MiB.
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = topic::parse_setting)]
    settings: Vec<(String, String)>,
    #[command(flatten)]
    whose: Whose,
    /// Only check whether the change would be accepted.
    #[arg(long)]
    dry_run: bool,
}

/// Arguments of `config unset`.
#[derive(Debug, clap::Args)]
pub struct Unset {
    /// The keys.
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    #[command(flatten)]
    whose: Whose,
    /// Only check whether the change would be accepted.
    #[arg(long)]
    dry_run: bool,
}

/// One changed key. Field names are API.
#[derive(Serialize)]
struct Row {
    key: String,
    before: Option<String>,
    after: Option<String>,
    dry_run: bool,
}

pub(super) async fn set(
    client: &mut Client,
    arguments: Set,
    output: &mut Output,
) -> Result<(), Failure> {
    let changes = arguments
        .settings
        .into_iter()
        .map(|(key, value)| {
            let number = words::config_number(&key, &value);
            (key, Some(number))
        })
        .collect();
    change(client, &arguments.whose, changes, arguments.dry_run, output).await
}

pub(super) async fn unset(
    client: &mut Client,
    arguments: Unset,
    output: &mut Output,
) -> Result<(), Failure> {
    let changes = arguments.keys.into_iter().map(|key| (key, None)).collect();
    change(client, &arguments.whose, changes, arguments.dry_run, output).await
}

async fn change(
    client: &mut Client,
    whose: &Whose,
    changes: Vec<(String, Option<String>)>,
    dry_run: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let resource = whose.resource(client).await?;
    let before = read(client, &resource).await?;
    let keys: Vec<String> = changes.iter().map(|(key, _)| key.clone()).collect();
    for key in &keys {
        let known = before.iter().any(|config| config.name == *key);
        // What all brokers share lists only what was set.
        if !known && resource != Resource::EveryBroker {
            return Err(unknown_key(&resource, key, &before, &whose.flag()));
        }
    }
    client
        .alter_configs(&resource, changes.clone(), dry_run)
        .await
        .map_err(|error| {
            let next = format!("duramen config get {}{}", keys.join(" "), whose.flag());
            connect::explain(format!("{}: not changed", title(&resource)), error, next)
        })?;
    let after = match dry_run {
        true => Vec::new(),
        false => read(client, &resource).await?,
    };
    let value = |configs: &[client::Config], key: &str| {
        let found = configs.iter().find(|config| config.name == key);
        found.and_then(|config| config.value.clone())
    };
    let rows: Vec<Row> = changes
        .into_iter()
        .map(|(key, wanted)| Row {
            before: value(&before, &key),
            after: match dry_run {
                true => wanted,
                false => value(&after, &key),
            },
            key,
            dry_run,
        })
        .collect();
    output.rows(&["key", "before", "after", "meaning"], &rows, |row| {
        let dash = || "-".to_owned();
        let meaning = row.after.as_deref();
        let meaning = meaning.and_then(|value| words::config_value(&row.key, value));
        vec![
            row.key.clone(),
            row.before.clone().unwrap_or_else(dash),
            row.after.clone().unwrap_or_else(dash),
            meaning.unwrap_or_default(),
        ]
    })
}
