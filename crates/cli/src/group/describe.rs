//! `group describe`: who holds which partition, what is committed, how far behind it is.

use std::collections::BTreeMap;

use client::{At, Client};
use serde::Serialize;
use stdx::nearest::nearest;

use crate::output::Output;
use crate::{Failure, cluster};

/// Arguments of `group describe`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the group.
    name: String,
}

#[derive(Serialize)]
struct Row {
    group: String,
    state: String,
    topic: String,
    partition: i32,
    committed_offset: Option<i64>,
    high_watermark: Option<i64>,
    /// Records between the committed offset and the high watermark; none without a commit.
    lag: Option<i64>,
    member: Option<String>,
    client_id: Option<String>,
    host: Option<String>,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let name = arguments.name;
    let failed = |error| {
        cluster::explain(
            format!("group {name}: not described"),
            error,
            "duramen group ls",
        )
    };
    let known = client.groups().await.map_err(failed)?;
    if !known.iter().any(|group| group.id == name) {
        let near = nearest(&name, known.iter().map(|group| group.id.as_str()));
        let next = near.map_or_else(
            || "duramen group ls".to_owned(),
            |near| format!("did you mean `{near}`? duramen group describe {near}"),
        );
        return Err(Failure::new(
            format!("group {name}: GROUP_ID_NOT_FOUND (69)"),
            "the cluster has no such group",
            next,
        ));
    }
    let group = client.describe_group(&name).await.map_err(failed)?;
    let committed = client.committed_offsets(&name).await.map_err(failed)?;

    let mut rows: BTreeMap<(String, i32), Row> = BTreeMap::new();
    let blank = |topic: &str, partition: i32| Row {
        group: name.clone(),
        state: group.state.clone(),
        topic: topic.to_owned(),
        partition,
        committed_offset: None,
        high_watermark: None,
        lag: None,
        member: None,
        client_id: None,
        host: None,
    };
    for ((topic, partition), offset) in committed {
        let row = rows
            .entry((topic.clone(), partition))
            .or_insert_with(|| blank(&topic, partition));
        row.committed_offset = Some(offset);
    }
    for member in &group.members {
        for (topic, partition) in &member.assignment {
            let row = rows
                .entry((topic.clone(), *partition))
                .or_insert_with(|| blank(topic, *partition));
            row.member = Some(member.id.clone());
            row.client_id = Some(member.client_id.clone());
            row.host = Some(member.host.clone());
        }
    }
    let mut wanted: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in rows.keys() {
        wanted.entry(topic.clone()).or_default().push(*partition);
    }
    for (topic, partitions) in wanted {
        // A topic may have been removed since the commit: its lag is unknown, not an error.
        let Ok(ends) = client.list_offsets(&topic, &partitions, At::End).await else {
            continue;
        };
        for (partition, end) in ends {
            if let Some(row) = rows.get_mut(&(topic.clone(), partition)) {
                row.high_watermark = Some(end);
                row.lag = row
                    .committed_offset
                    .map(|committed| (end - committed).max(0));
            }
        }
    }
    let rows: Vec<Row> = rows.into_values().collect();
    if output.is_table() {
        output.text(&format!(
            "group {name}: {}, {} members\n\n",
            group.state,
            group.members.len()
        ))?;
    }
    output.rows(
        &[
            "topic",
            "partition",
            "committed",
            "high-watermark",
            "lag",
            "client",
            "host",
        ],
        &rows,
        |row| {
            vec![
                row.topic.clone(),
                row.partition.to_string(),
                number(row.committed_offset),
                number(row.high_watermark),
                number(row.lag),
                row.client_id.clone().unwrap_or_else(|| "-".to_owned()),
                row.host.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        },
    )
}

fn number(value: Option<i64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
