//! Series of single topics, partitions and groups: families A, B and C of the names that public
//! dashboards query.
//!
//! Each cluster-wide series has one server at a time, or a dashboard's sum counts it once per node:
//! partitions by their leader, groups by their coordinator.

use std::collections::BTreeMap;

use broker::{Census, GroupFigures, OffsetFigures, PartitionFigures, Reader, TopicCounts};

use super::writer::Pair;
use super::{Kind, Label, Value, Writer};

use Label::{Number, Text};

/// Tells it.
pub(super) fn tell(page: &mut dyn Writer, census: &Census) {
    cluster(page, census);
    partitions(page, census);
    groups_of_a(page, &census.groups);
    groups_of_c(page, &census.cluster, &census.groups);
    page.gauge(
        "duramen_metrics_partitions_left_out",
        "Partitions led here that are not told of one by one: more than metrics.partitions.max.",
        census.partitions_left_out,
    );
    page.gauge(
        "duramen_metrics_offsets_left_out",
        "Committed offsets that are not told of one by one: more than metrics.partitions.max.",
        census.offsets_left_out,
    );
}

/// What dashboards of kafka_exporter ask of the cluster as a whole.
fn cluster(page: &mut dyn Writer, census: &Census) {
    let brokers = census.brokers.len() as u64;
    page.gauge("kafka_brokers", "Brokers of the cluster.", brokers);
    page.family(
        "kafka_broker_info",
        "Brokers and their addresses.",
        Kind::Gauge,
    );
    for (id, address) in &census.brokers {
        page.sample(
            &[("id", Number(id.0)), ("address", Text(address))],
            1u64.into(),
        );
    }
    page.family(
        "kafka_topic_partitions",
        "How many partitions a topic has.",
        Kind::Gauge,
    );
    for topic in &census.topics {
        let count = topic.partitions as u64;
        page.sample(&[("topic", Text(&topic.name))], count.into());
    }
}

/// The counter that was told of all topics together, of each topic.
pub(super) fn of_topics(page: &mut dyn Writer, census: &Census, of: fn(&TopicCounts) -> u64) {
    for topic in &census.topics {
        if let Some(counts) = &topic.counts {
            page.sample(&[("topic", Text(&topic.name))], of(counts).into());
        }
    }
}

/// A series, and what it tells of a partition.
type PartitionSeries = (&'static str, &'static str, fn(&PartitionFigures) -> i64);

const PARTITION_SERIES: [PartitionSeries; 12] = [
    (
        "kafka_topic_partition_current_offset",
        "High watermark: the next offset that is written.",
        |partition| partition.latest,
    ),
    (
        "kafka_topic_partition_oldest_offset",
        "The first offset that is there.",
        |partition| partition.earliest,
    ),
    (
        "kafka_topic_partition_in_sync_replica",
        "Replicas in sync.",
        |partition| partition.in_sync as i64,
    ),
    (
        "kafka_topic_partition_leader",
        "Number of the broker that leads.",
        |partition| i64::from(partition.leader.0),
    ),
    (
        "kafka_topic_partition_leader_is_preferred",
        "1 if the first of the replicas leads.",
        |partition| i64::from(partition.leader_is_preferred),
    ),
    ("kafka_topic_partition_replicas", "Replicas.", |partition| {
        partition.replicas as i64
    }),
    (
        "kafka_topic_partition_under_replicated_partition",
        "1 if fewer replicas are in sync than there are.",
        |partition| i64::from(partition.in_sync < partition.replicas),
    ),
    (
        "kafka_cluster_partition_replicascount",
        "Replicas.",
        |partition| partition.replicas as i64,
    ),
    (
        "kafka_cluster_partition_underminisr",
        "1 if fewer replicas are in sync than acks=all asks for.",
        |partition| i64::from(partition.in_sync < partition.in_sync_min),
    ),
    (
        "kafka_cluster_partition_atminisr",
        "1 if just as many replicas are in sync as acks=all asks for.",
        |partition| i64::from(partition.in_sync == partition.in_sync_min),
    ),
    (
        "kafka_cluster_partition_insyncreplicascount",
        "Replicas in sync.",
        |partition| partition.in_sync as i64,
    ),
    (
        "kafka_log_log_size",
        "Bytes of the partition's log.",
        |partition| i64::try_from(partition.bytes).unwrap_or(i64::MAX),
    ),
];

fn partitions(page: &mut dyn Writer, census: &Census) {
    for (name, help, of) in PARTITION_SERIES {
        page.family(name, help, Kind::Gauge);
        for partition in &census.partitions {
            let labels = [
                ("topic", Text(&partition.topic)),
                ("partition", Number(partition.partition)),
            ];
            page.sample(&labels, of(partition).into());
        }
    }
    let bounds: [PartitionSeries; 2] = [
        (
            "kafka_partition_latest_offset",
            "High watermark: the next offset that is written.",
            |partition| partition.latest,
        ),
        (
            "kafka_partition_earliest_offset",
            "The first offset that is there.",
            |partition| partition.earliest,
        ),
    ];
    for (name, help, of) in bounds {
        page.family(name, help, Kind::Gauge);
        for partition in &census.partitions {
            let labels = [
                ("cluster_name", Text(&census.cluster)),
                ("topic", Text(&partition.topic)),
                ("partition", Number(partition.partition)),
            ];
            page.sample(&labels, of(partition).into());
        }
    }
}

/// A series, and what it tells of a committed offset if it applies.
type OffsetSeries<T> = (&'static str, &'static str, fn(&OffsetFigures) -> Option<T>);

/// Names and labels of kafka_exporter, which says `consumergroup`.
fn groups_of_a(page: &mut dyn Writer, groups: &[GroupFigures]) {
    page.family(
        "kafka_consumergroup_members",
        "Members of a group.",
        Kind::Gauge,
    );
    for group in groups {
        let members = group.members as u64;
        page.sample(&[("consumergroup", Text(&group.group))], members.into());
    }
    let per_partition: [(OffsetSeries<i64>, &str); 2] = [
        (
            (
                "kafka_consumergroup_current_offset",
                "The committed offset: the first record that was not read.",
                |one| Some(one.committed),
            ),
            "kafka_consumergroup_current_offset_sum",
        ),
        (
            (
                "kafka_consumergroup_lag",
                "Offsets between the committed one and the high watermark.",
                records,
            ),
            "kafka_consumergroup_lag_sum",
        ),
    ];
    for ((name, help, of), sum) in per_partition {
        page.family(name, help, Kind::Gauge);
        for group in groups {
            for one in &group.offsets {
                let Some(value) = of(one) else { continue };
                let labels = [
                    ("consumergroup", Text(&group.group)),
                    ("topic", Text(&one.topic)),
                    ("partition", Number(one.partition)),
                ];
                page.sample(&labels, value.into());
            }
        }
        page.family(sum, "The same over a topic's partitions.", Kind::Untyped);
        for group in groups {
            for (topic, value) in sums(group, of) {
                let labels = [
                    ("consumergroup", Text(&group.group)),
                    ("topic", Text(topic)),
                ];
                page.sample(&labels, value.into());
            }
        }
    }
}

/// Names and labels of kafka-lag-exporter, which says `group` and knows time.
fn groups_of_c(page: &mut dyn Writer, cluster: &str, groups: &[GroupFigures]) {
    let per_partition: [OffsetSeries<Value>; 3] = [
        (
            "kafka_consumergroup_group_offset",
            "The committed offset: the first record that was not read.",
            |one| Some(one.committed.into()),
        ),
        (
            "kafka_consumergroup_group_lag",
            "Offsets between the committed one and the high watermark.",
            |one| records(one).map(Value::from),
        ),
        (
            "kafka_consumergroup_group_lag_seconds",
            "Age of the first record that was not read and could be; 0 if there is none.",
            |one| seconds(one).map(Value::from),
        ),
    ];
    for (name, help, of) in per_partition {
        page.family(name, help, Kind::Gauge);
        for group in groups {
            for one in &group.offsets {
                let Some(value) = of(one) else { continue };
                let [host, id, client] = member_labels(one.member.as_deref());
                let labels = [
                    ("cluster_name", Text(cluster)),
                    ("group", Text(&group.group)),
                    ("topic", Text(&one.topic)),
                    ("partition", Number(one.partition)),
                    host,
                    id,
                    client,
                ];
                page.sample(&labels, value);
            }
        }
    }
    page.family(
        "kafka_consumergroup_group_max_lag",
        "The largest lag of a group in offsets.",
        Kind::Gauge,
    );
    for group in groups {
        if let Some(most) = group.offsets.iter().filter_map(records).max() {
            page.sample(&group_labels(cluster, group), most.into());
        }
    }
    page.family(
        "kafka_consumergroup_group_max_lag_seconds",
        "The largest lag of a group in seconds.",
        Kind::Gauge,
    );
    for group in groups {
        let lags = group.offsets.iter().filter_map(seconds);
        if let Some(most) = lags.reduce(f64::max) {
            page.sample(&group_labels(cluster, group), most.into());
        }
    }
    page.family(
        "kafka_consumergroup_group_sum_lag",
        "The lag of a group in offsets, over all partitions.",
        Kind::Gauge,
    );
    for group in groups.iter().filter(|group| !group.offsets.is_empty()) {
        let sum: i64 = group.offsets.iter().filter_map(records).sum();
        let labels = [
            ("cluster_name", Text(cluster)),
            ("group", Text(&group.group)),
        ];
        page.sample(&labels, sum.into());
    }
    page.family(
        "kafka_consumergroup_group_topic_sum_lag",
        "The lag of a group in offsets, over a topic's partitions.",
        Kind::Gauge,
    );
    for group in groups {
        for (topic, sum) in sums(group, records) {
            let labels = [
                ("cluster_name", Text(cluster)),
                ("group", Text(&group.group)),
                ("topic", Text(topic)),
            ];
            page.sample(&labels, sum.into());
        }
    }
}

fn group_labels<'a>(cluster: &'a str, group: &'a GroupFigures) -> [Pair<'a>; 3] {
    let simple = if group.is_simple { "true" } else { "false" };
    [
        ("cluster_name", Text(cluster)),
        ("group", Text(&group.group)),
        ("is_simple_consumer", Text(simple)),
    ]
}

fn records(one: &OffsetFigures) -> Option<i64> {
    one.lag?.records
}

fn seconds(one: &OffsetFigures) -> Option<f64> {
    Some(one.lag?.ms? as f64 / 1e3)
}

/// Over each topic's partitions.
fn sums(group: &GroupFigures, of: fn(&OffsetFigures) -> Option<i64>) -> BTreeMap<&str, i64> {
    let mut sums = BTreeMap::new();
    for one in &group.offsets {
        if let Some(value) = of(one) {
            *sums.entry(&*one.topic).or_default() += value;
        }
    }
    sums
}

/// Empty where nobody reads a partition, as that exporter has it.
fn member_labels(reader: Option<&Reader>) -> [Pair<'_>; 3] {
    let (host, id, client) = reader.map_or(("", "", ""), |reader| {
        (&*reader.host, &*reader.id, &*reader.client)
    });
    [
        ("member_host", Text(host)),
        ("consumer_id", Text(id)),
        ("client_id", Text(client)),
    ]
}
