//! `group rm`: removes groups without members, after saying what they committed.

use client::Client;
use serde::Serialize;

use crate::consent::Consent;
use crate::output::Output;
use crate::{Failure, connect, lookup};

/// Arguments of `group rm`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Names of the groups.
    #[arg(required = true, add = crate::complete::groups())]
    names: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

#[derive(Serialize)]
struct Row {
    group: String,
    state: String,
    committed_partitions: usize,
    removed: bool,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for name in &arguments.names {
        let listed = lookup::group(client, name, "rm").await?;
        let commits = client.commits(name).await.map_err(|error| {
            connect::explain(format!("group {name}: not read"), error, "duramen group ls")
        })?;
        rows.push(Row {
            group: name.clone(),
            state: listed.state,
            committed_partitions: commits.len(),
            removed: false,
        });
    }
    if arguments.consent.is_given() {
        for row in &mut rows {
            client.delete_group(&row.group).await.map_err(|error| {
                let next = format!("duramen group describe {}", row.group);
                connect::explain(format!("group {}: not removed", row.group), error, next)
            })?;
            row.removed = true;
        }
    }
    output.rows(&["group", "state", "commits", "removed"], &rows, |row| {
        let removed = if row.removed { "yes" } else { "no" };
        vec![
            row.group.clone(),
            row.state.clone(),
            row.committed_partitions.to_string(),
            removed.to_owned(),
        ]
    })?;
    arguments.consent.settle(
        "groups: nothing removed".to_owned(),
        ": committed offsets cannot be brought back",
        format!("duramen group rm --yes {}", arguments.names.join(" ")),
    )
}
