//! DescribeLogDirs: the one data directory, the partitions in it, the room around it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use commitlog::StoreHealth;
use wire::ErrorCode;
use wire::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
    Request as Asked, Response,
};
use wire::messages::text;

use crate::dispatch::{Context, Handled, Request};
use crate::node::Node;

/// Nobody asked the filesystem, or it gave no answer.
const ROOM_UNKNOWN: i64 = -1;

/// Answers from the hosted partitions' logs.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let mut result = DescribeLogDirsResult {
        log_dir: text(&context.node.world.disk.root()),
        topics: topics(&context.node, asked.topics.as_deref()),
        total_bytes: ROOM_UNKNOWN,
        usable_bytes: ROOM_UNKNOWN,
        ..DescribeLogDirsResult::default()
    };
    if matches!(context.node.store.health(), StoreHealth::Dead(_)) {
        // Kafka's answer for a directory that is offline: no partition of it counts.
        result.error_code = ErrorCode::KafkaStorageError.code();
        result.topics.clear();
    } else if let Ok(space) = context.node.world.disk.free_space() {
        result.total_bytes = i64::try_from(space.total).unwrap_or(i64::MAX);
        result.usable_bytes = i64::try_from(space.free).unwrap_or(i64::MAX);
    }
    request.reply(&Response {
        results: vec![result],
        ..Response::default()
    })
}

/// The hosted partitions by topic: all of them, or those asked for. One that is not here is left
/// out, as Kafka does: it may live on another broker.
fn topics(node: &Node, asked: Option<&[DescribableLogDirTopic]>) -> Vec<DescribeLogDirsTopic> {
    let wanted: Option<BTreeSet<(&str, i32)>> = asked.map(|topics| {
        topics
            .iter()
            .flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(|number| (topic.topic.as_str(), *number))
            })
            .collect()
    });
    let mut found: BTreeMap<Arc<str>, BTreeMap<i32, i64>> = BTreeMap::new();
    for replica in node.partitions.all() {
        let number = replica.key().partition;
        if wanted
            .as_ref()
            .is_some_and(|wanted| !wanted.contains(&(&**replica.topic(), number)))
        {
            continue;
        }
        let bytes = i64::try_from(replica.log.size_bytes()).unwrap_or(i64::MAX);
        found
            .entry(replica.topic().clone())
            .or_default()
            .insert(number, bytes);
    }
    found
        .into_iter()
        .map(|(name, partitions)| DescribeLogDirsTopic {
            name: text(&name),
            partitions: partitions
                .into_iter()
                .map(|(number, bytes)| DescribeLogDirsPartition {
                    partition_index: number,
                    partition_size: bytes,
                    // We lead what we host.
                    offset_lag: 0,
                    is_future_key: false,
                    ..DescribeLogDirsPartition::default()
                })
                .collect(),
            ..DescribeLogDirsTopic::default()
        })
        .collect()
}
