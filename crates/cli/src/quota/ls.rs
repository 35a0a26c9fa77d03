//! `quota ls`: who has quotas, and which.

use std::collections::BTreeMap;

use client::Client;
use serde::Serialize;

use super::key::{self, Key};
use super::read;
use super::whose::{Part, Whose, parts, title};
use crate::Failure;
use crate::output::Output;

/// Arguments of `quota ls`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    whose: Whose,
}

/// The quotas of one entity. Field names are API.
#[derive(Serialize)]
struct Row {
    entity: Vec<Part>,
    /// By Kafka's keys.
    quotas: BTreeMap<String, f64>,
    #[serde(skip)]
    title: String,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: &Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let wanted = arguments.whose.parts();
    let rows: Vec<Row> = read(client)
        .await?
        .into_iter()
        .filter(|quota| wanted.iter().all(|part| quota.entity.contains(part)))
        .map(|quota| Row {
            title: title(&quota.entity),
            entity: parts(&quota.entity),
            quotas: quota.values.into_iter().collect(),
        })
        .collect();
    let columns = [
        "of",
        "produce",
        "consume",
        "requests",
        "mutations",
        "connections",
    ];
    output.rows(&columns, &rows, |row| {
        let cell = |key: Key| match row.quotas.get(key.name()) {
            Some(value) => key.spell(*value),
            None => "-".to_owned(),
        };
        let mut cells = vec![row.title.clone()];
        cells.extend(key::ALL.map(cell));
        cells
    })
}
