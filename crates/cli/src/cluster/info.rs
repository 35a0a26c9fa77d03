//! `cluster info`: brokers, controller, id, and how much the cluster holds.

use std::collections::BTreeMap;

use client::Reach;
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, Global, connect, words};

/// One broker. Field names are API.
#[derive(Serialize)]
struct Row {
    broker: i32,
    address: String,
    controller: bool,
    rack: Option<String>,
    leaders: usize,
    replicas: usize,
    bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    cluster: Option<String>,
}

pub(super) async fn run(
    reach: &Reach,
    global: &Global,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    let failed = |error| connect::explain("cluster: not described", error, "duramen doctor");
    let topics = client.topics(None).await.map_err(failed)?;
    let cluster = client.cluster().clone();
    // A broker that keeps its disks to itself, or is away, is shown without them.
    let dirs = client.log_dirs().await.unwrap_or_default();
    let mut leaders: BTreeMap<i32, usize> = BTreeMap::new();
    let mut replicas: BTreeMap<i32, usize> = BTreeMap::new();
    for partition in topics.iter().flat_map(|topic| &topic.partitions) {
        *leaders.entry(partition.leader).or_default() += 1;
        for replica in &partition.replicas {
            *replicas.entry(*replica).or_default() += 1;
        }
    }
    let rows: Vec<Row> = cluster
        .brokers
        .iter()
        .map(|broker| {
            let mine = || dirs.iter().filter(|dir| dir.broker == broker.id);
            let known = mine().next().is_some();
            let bytes = || {
                mine()
                    .flat_map(|dir| dir.logs.values())
                    .map(|log| log.bytes)
                    .sum()
            };
            Row {
                broker: broker.id,
                address: broker.address(),
                controller: cluster.controller == Some(broker.id),
                rack: broker.rack.clone(),
                leaders: leaders.get(&broker.id).copied().unwrap_or(0),
                replicas: replicas.get(&broker.id).copied().unwrap_or(0),
                bytes: known.then(bytes),
                disk_free_bytes: mine().filter_map(|dir| dir.usable_bytes).min(),
                cluster: cluster.id.clone(),
            }
        })
        .collect();
    let groups = client.groups().await.map_err(failed)?;
    let own = topics.iter().filter(|topic| !topic.internal).count();
    let partitions: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    output.note(&format!(
        "cluster {}: {}, {}, {}\n\n",
        cluster.id.as_deref().unwrap_or("-"),
        words::several(own, "topic"),
        words::several(partitions, "partition"),
        words::several(groups.len(), "group"),
    ))?;
    let columns = [
        "broker", "address", "role", "leads", "holds", "data", "free", "+rack",
    ];
    output.rows(&columns, &rows, |row| {
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), words::bytes);
        let role = if row.controller { "controller" } else { "" };
        vec![
            row.broker.to_string(),
            row.address.clone(),
            role.to_owned(),
            row.leaders.to_string(),
            row.replicas.to_string(),
            size(row.bytes),
            size(row.disk_free_bytes),
            row.rack.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    })
}
