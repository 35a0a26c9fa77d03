//! `cluster log-level`: what brokers log, shown and changed while they run.

use clap::Args;
use client::{Client, Reach, Resource};
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, Global, connect};

/// The logger that the others follow.
const ROOT: &str = "root";

/// Levels as people write them, and Kafka's names for them.
const LEVELS: [(&str, &str); 6] = [
    ("off", "FATAL"),
    ("error", "ERROR"),
    ("warn", "WARN"),
    ("info", "INFO"),
    ("debug", "DEBUG"),
    ("trace", "TRACE"),
];

/// Arguments of `cluster log-level`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Levels to set, such as debug for everything or commitlog=trace for a part; without any, shows
    /// those in force.
    #[arg(value_name = "[LOGGER=]LEVEL", value_parser = parse_change)]
    changes: Vec<(String, &'static str)>,
    /// A logger that is to follow the root again; may be repeated.
    #[arg(long, value_name = "LOGGER")]
    unset: Vec<String>,
    /// One broker only.
    #[arg(long, value_name = "ID")]
    broker: Option<i32>,
    /// Only check whether the change would be accepted.
    #[arg(long)]
    dry_run: bool,
}

/// One logger of a broker. Field names are API.
#[derive(Serialize)]
struct Row {
    broker: i32,
    logger: String,
    level: String,
    /// Before a change; null if nothing was to be changed.
    before: Option<String>,
    dry_run: bool,
}

fn parse_change(text: &str) -> Result<(String, &'static str), String> {
    let (logger, level) = text.split_once('=').unwrap_or((ROOT, text));
    let level = level.trim();
    let known = LEVELS
        .iter()
        .find(|(word, name)| level.eq_ignore_ascii_case(word) || level.eq_ignore_ascii_case(name));
    match known {
        Some((_, name)) if !logger.trim().is_empty() => Ok((logger.trim().to_owned(), name)),
        Some(_) => Err("name the logger before =".to_owned()),
        None => Err("the levels are off, error, warn, info, debug, trace".to_owned()),
    }
}

/// A level as people write it.
fn word(name: &str) -> String {
    let known = LEVELS.iter().find(|(_, known)| *known == name);
    known.map_or_else(|| name.to_lowercase(), |(word, _)| (*word).to_owned())
}

pub(super) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    let brokers = chosen(&client, arguments.broker)?;
    let set = arguments
        .changes
        .iter()
        .map(|(logger, level)| (logger.clone(), Some((*level).to_owned())));
    let unset = arguments.unset.iter().map(|logger| (logger.clone(), None));
    let changes: Vec<(String, Option<String>)> = set.chain(unset).collect();
    let mut rows = Vec::new();
    for broker in brokers {
        let before = levels(&mut client, broker).await?;
        if changes.is_empty() {
            rows.extend(before.into_iter().map(|(logger, level)| Row {
                broker,
                logger,
                level,
                before: None,
                dry_run: false,
            }));
            continue;
        }
        client
            .alter_configs(
                &Resource::BrokerLogger(broker),
                changes.clone(),
                arguments.dry_run,
            )
            .await
            .map_err(|error| {
                let what = format!("broker {broker}: log levels not changed");
                connect::explain(what, error, "duramen cluster log-level")
            })?;
        let after = match arguments.dry_run {
            true => Vec::new(),
            false => levels(&mut client, broker).await?,
        };
        let of = |levels: &[(String, String)], logger: &str| {
            let found = levels.iter().find(|(known, _)| known == logger);
            found.map(|(_, level)| level.clone())
        };
        rows.extend(changes.iter().map(|(logger, wanted)| {
            let planned = || match wanted {
                Some(level) => Some(word(level)),
                // It follows the root.
                None => of(&before, ROOT),
            };
            Row {
                broker,
                logger: logger.clone(),
                level: of(&after, logger).or_else(planned).unwrap_or_default(),
                before: of(&before, logger),
                dry_run: arguments.dry_run,
            }
        }));
    }
    let columns: &[&str] = match changes.is_empty() {
        true => &["broker", "logger", "level"],
        false => &["broker", "logger", "level", "before"],
    };
    output.rows(columns, &rows, |row| {
        let mut cells = vec![
            row.broker.to_string(),
            row.logger.clone(),
            row.level.clone(),
        ];
        if !changes.is_empty() {
            cells.push(row.before.clone().unwrap_or_else(|| "-".to_owned()));
        }
        cells
    })
}

fn chosen(client: &Client, broker: Option<i32>) -> Result<Vec<i32>, Failure> {
    let brokers = client.cluster().brokers.iter().map(|broker| broker.id);
    let brokers: Vec<i32> = brokers.collect();
    match broker {
        None => Ok(brokers),
        Some(id) if brokers.contains(&id) => Ok(vec![id]),
        Some(id) => {
            let ids: Vec<String> = brokers.iter().map(i32::to_string).collect();
            Err(Failure::usage(
                format!("broker {id}: there is none"),
                format!("the cluster has: {}", ids.join(", ")),
                "duramen cluster info",
            ))
        }
    }
}

async fn levels(client: &mut Client, broker: i32) -> Result<Vec<(String, String)>, Failure> {
    let resource = Resource::BrokerLogger(broker);
    let configs = client.configs(&resource).await.map_err(|error| {
        let what = format!("broker {broker}: log levels not read");
        connect::explain(what, error, "duramen doctor")
    })?;
    let levels = configs.into_iter();
    Ok(levels
        .map(|config| (config.name, word(&config.value.unwrap_or_default())))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_alone_is_for_everything_and_words_are_taken_in_any_case() {
        let parsed = |text: &str| parse_change(text).ok();
        assert_eq!(parsed("debug"), Some((ROOT.to_owned(), "DEBUG")));
        assert_eq!(
            parsed("commitlog=TRACE"),
            Some(("commitlog".to_owned(), "TRACE"))
        );
        assert_eq!(parsed("off"), Some((ROOT.to_owned(), "FATAL")));
        for wrong in ["loud", "=debug", "commitlog=", ""] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }
}
