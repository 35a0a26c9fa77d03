//! `quota set`: sets quotas of one entity.

use client::Client;
use serde::Serialize;

use super::key::{self, Key};
use super::read;
use super::whose::{Whose, exact, flags, title};
use crate::output::Output;
use crate::{Failure, connect, topic};

/// Arguments of `quota set`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Kafka's keys and values, such as producer_byte_rate=5MB/s.
    #[arg(value_name = "KEY=VALUE", value_parser = topic::parse_setting)]
    settings: Vec<(String, String)>,
    #[command(flatten)]
    whose: Whose,
    /// Bytes a second that may be written, such as 5MB/s: producer_byte_rate.
    #[arg(long, value_name = "RATE")]
    produce: Option<String>,
    /// Bytes a second that may be read: consumer_byte_rate.
    #[arg(long, value_name = "RATE")]
    consume: Option<String>,
    /// Percent of one of the broker's threads, such as 50%: request_percentage.
    #[arg(long, value_name = "PERCENT")]
    requests: Option<String>,
    /// Partitions a second that may be created and deleted: controller_mutation_rate.
    #[arg(long, value_name = "RATE")]
    mutations: Option<String>,
    /// Connections a second from an address: connection_creation_rate.
    #[arg(long, value_name = "RATE")]
    connections: Option<String>,
    /// Only check whether the change would be accepted.
    #[arg(long)]
    dry_run: bool,
}

/// One changed key. Field names are API.
#[derive(Serialize)]
pub struct Row {
    /// Kafka's key.
    pub key: &'static str,
    /// What it was.
    pub before: Option<f64>,
    /// What it is, or would be.
    pub after: Option<f64>,
    /// Whether it was only checked.
    pub dry_run: bool,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let entity = arguments.whose.entity("set")?;
    let wanted = wanted(&arguments)?;
    let before = read(client).await?;
    let held = exact(&before, &entity);
    let changes: Vec<(String, Option<f64>)> = wanted
        .iter()
        .map(|(key, value)| (key.name().to_owned(), Some(*value)))
        .collect();
    client
        .alter_quotas(&entity, &changes, arguments.dry_run)
        .await
        .map_err(|error| {
            let what = format!("quota of {}: not set", title(&entity));
            connect::explain(what, error, format!("duramen quota ls {}", flags(&entity)))
        })?;
    let rows: Vec<Row> = wanted
        .into_iter()
        .map(|(key, value)| Row {
            key: key.name(),
            before: held.and_then(|held| {
                let found = held.values.iter().find(|(name, _)| name == key.name());
                found.map(|(_, value)| *value)
            }),
            after: Some(value),
            dry_run: arguments.dry_run,
        })
        .collect();
    write(&rows, output)
}

/// Tells what changed.
pub(super) fn write(rows: &[Row], output: &mut Output) -> Result<(), Failure> {
    output.rows(&["key", "before", "after", "meaning"], rows, |row| {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| value.to_string());
        let key = key::ALL.into_iter().find(|key| key.name() == row.key);
        let meaning = key.zip(row.after).map(|(key, value)| key.spell(value));
        vec![
            row.key.to_owned(),
            number(row.before),
            number(row.after),
            meaning.unwrap_or_else(|| "no limit".to_owned()),
        ]
    })
}

/// The keys and values that were given, each key once.
fn wanted(arguments: &Arguments) -> Result<Vec<(Key, f64)>, Failure> {
    let by_flag = [
        (Key::Produce, &arguments.produce),
        (Key::Consume, &arguments.consume),
        (Key::Requests, &arguments.requests),
        (Key::Mutations, &arguments.mutations),
        (Key::Connections, &arguments.connections),
    ];
    let by_flag = by_flag
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.clone()?)));
    let mut given = Vec::new();
    for (name, value) in &arguments.settings {
        given.push((key::find(name)?, value.clone()));
    }
    given.extend(by_flag);
    let mut wanted: Vec<(Key, f64)> = Vec::new();
    for (key, text) in given {
        let number = key.parse(&text).map_err(|reason| {
            Failure::usage(
                format!("quota {}={text}: not a value of this key", key.name()),
                reason,
                "duramen quota set --help",
            )
        })?;
        if wanted.iter().any(|(known, _)| *known == key) {
            return Err(Failure::usage(
                format!("quota {}: given twice", key.name()),
                "a flag and a key mean the same",
                "give one of them",
            ));
        }
        wanted.push((key, number));
    }
    if wanted.is_empty() {
        return Err(Failure::usage(
            "quota set: no quota is given",
            "nothing would change",
            "name one, such as --produce 5MB/s; taking away: duramen quota rm",
        ));
    }
    Ok(wanted)
}
