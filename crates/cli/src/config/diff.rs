//! `config diff`: what differs between a configuration and the defaults, a file or another one.

use std::collections::BTreeMap;
use std::path::Path;

use client::{Client, Config, Resource};
use serde::Serialize;

use super::{Whose, read};
use crate::output::Output;
use crate::{Failure, Program, lookup, topic, words};

/// Arguments of `config diff`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whose: Whose,
    /// What to compare with: `defaults`, `topic:NAME`, `broker:ID`, or a configuration file.
    #[arg(long, default_value = "defaults", value_name = "WHAT")]
    against: String,
}

/// One key that differs. Field names are API.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    key: String,
    value: Option<String>,
    against: Option<String>,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    program: &Program,
    output: &mut Output,
) -> Result<(), Failure> {
    let resource = arguments.whose.resource(client).await?;
    let configs = read(client, &resource).await?;
    let rows = match other(client, &arguments.against).await? {
        Other::Defaults => defaults(configs),
        Other::Resource(other) => {
            let other = read(client, &other).await?;
            differences(by_key(configs), by_key(other))
        }
        Other::File(path) => {
            let file = (program.read_config)(Path::new(&path))?;
            let wanted: BTreeMap<String, Option<String>> = file
                .settings
                .into_iter()
                .map(|(key, value)| (key, Some(value)))
                .collect();
            let mut running = by_key(configs);
            // A file says nothing of the keys it does not name.
            running.retain(|key, _| wanted.contains_key(key));
            differences(running, wanted)
        }
    };
    let against = arguments.against.as_str();
    output.rows(&["key", "value", against], &rows, |row| {
        let shown = |value: &Option<String>| {
            let value = value.clone().unwrap_or_else(|| "-".to_owned());
            match words::config_value(&row.key, &value) {
                Some(meaning) => format!("{value} ({meaning})"),
                None => value,
            }
        };
        vec![row.key.clone(), shown(&row.value), shown(&row.against)]
    })
}

enum Other {
    Defaults,
    Resource(Resource),
    File(String),
}

async fn other(client: &mut Client, text: &str) -> Result<Other, Failure> {
    if text == "defaults" {
        return Ok(Other::Defaults);
    }
    if let Some(name) = text.strip_prefix("topic:") {
        lookup::topic(client, name).await?;
        return Ok(Other::Resource(Resource::Topic(name.to_owned())));
    }
    match text.strip_prefix("broker:").map(str::parse::<i32>) {
        Some(Ok(id)) => Ok(Other::Resource(Resource::Broker(id))),
        Some(Err(_)) => Err(Failure::usage(
            format!("--against {text}: no broker"),
            "a broker is named by its number",
            "duramen cluster info",
        )),
        None => Ok(Other::File(text.to_owned())),
    }
}

/// What was set, and what would be without.
fn defaults(configs: Vec<Config>) -> Vec<Row> {
    let set = configs.into_iter().filter(|config| !config.is_default);
    set.map(|config| {
        let told = config.fallbacks.into_iter().next_back();
        let untold = || topic::untold_default(&config.name).map(str::to_owned);
        Row {
            against: told.map_or_else(untold, |(_, value, _)| value),
            key: config.name,
            value: config.value,
        }
    })
    .filter(|row| row.value != row.against)
    .collect()
}

fn by_key(configs: Vec<Config>) -> BTreeMap<String, Option<String>> {
    let pairs = configs
        .into_iter()
        .map(|config| (config.name, config.value));
    pairs.collect()
}

fn differences(
    ours: BTreeMap<String, Option<String>>,
    mut theirs: BTreeMap<String, Option<String>>,
) -> Vec<Row> {
    let mut rows: Vec<Row> = ours
        .into_iter()
        .map(|(key, value)| Row {
            against: theirs.remove(&key).flatten(),
            key,
            value,
        })
        .collect();
    rows.extend(theirs.into_iter().map(|(key, against)| Row {
        key,
        value: None,
        against,
    }));
    rows.retain(|row| row.value != row.against);
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, Option<String>> {
        let owned = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), Some((*v).to_owned())));
        owned.collect()
    }

    #[test]
    fn only_what_differs_is_shown_from_both_sides() {
        let rows = differences(
            map(&[("a", "1"), ("b", "2"), ("c", "3")]),
            map(&[("a", "1"), ("b", "9"), ("d", "4")]),
        );
        let row = |key: &str, value: Option<&str>, against: Option<&str>| Row {
            key: key.to_owned(),
            value: value.map(str::to_owned),
            against: against.map(str::to_owned),
        };
        let expected = [
            row("b", Some("2"), Some("9")),
            row("c", Some("3"), None),
            row("d", None, Some("4")),
        ];
        assert_eq!(rows, expected);
    }
}
