//! `group ls`: the groups of the cluster and their states.

use client::Client;
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, connect};

#[derive(Serialize)]
struct Row {
    group: String,
    state: String,
    protocol_type: String,
    /// classic, consumer, share or streams; empty where the broker is too old to tell.
    kind: String,
}

pub(super) async fn run(client: &mut Client, output: &mut Output) -> Result<(), Failure> {
    let groups = client
        .groups()
        .await
        .map_err(|error| connect::explain("groups: not listed", error, "duramen group ls"))?;
    let mut rows: Vec<Row> = groups
        .into_iter()
        .map(|group| Row {
            group: group.id,
            state: group.state,
            protocol_type: group.protocol_type,
            kind: group.kind,
        })
        .collect();
    rows.sort_by(|a, b| a.group.cmp(&b.group));
    output.rows(&["group", "state", "kind", "+type"], &rows, |row| {
        vec![
            row.group.clone(),
            row.state.clone(),
            row.kind.clone(),
            row.protocol_type.clone(),
        ]
    })
}
