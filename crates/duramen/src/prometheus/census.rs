//! Series of single topics, partitions and groups: families A, B and C of the names that public
//! dashboards query.
//!
//! Each cluster-wide series has one server at a time, or a dashboard's sum counts it once per node:
//! partitions by their leader, groups by their coordinator.

use std::collections::BTreeMap;

use broker::{Census, GroupFigures, OffsetFigures, PartitionFigures, Reader, TopicCounts};

use super::{Page, escaped};

/// Renders it.
pub(super) fn render(page: &mut Page, census: &Census) {
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
fn cluster(page: &mut Page, census: &Census) {
    let brokers = census.brokers.len() as u64;
    page.gauge("kafka_brokers", "Brokers of the cluster.", brokers);
    page.head("kafka_broker_info", "Brokers and their addresses.", "gauge");
    for (id, address) in &census.brokers {
        let address = escaped(address);
        page.line(format_args!(
            "kafka_broker_info{{id=\"{id}\",address=\"{address}\"}} 1"
        ));
    }
    page.head(
        "kafka_topic_partitions",
        "How many partitions a topic has.",
        "gauge",
    );
    for topic in &census.topics {
        let (name, count) = (&topic.name, topic.partitions);
        page.line(format_args!(
            "kafka_topic_partitions{{topic=\"{name}\"}} {count}"
        ));
    }
}

/// The counters that the page has for all topics together, of each topic.
pub(super) fn of_topics(page: &mut Page, census: &Census, name: &str, of: fn(&TopicCounts) -> u64) {
    for topic in &census.topics {
        if let Some(counts) = &topic.counts {
            let (topic, count) = (&topic.name, of(counts));
            page.line(format_args!("{name}{{topic=\"{topic}\"}} {count}"));
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

fn partitions(page: &mut Page, census: &Census) {
    for (name, help, of) in PARTITION_SERIES {
        page.head(name, help, "gauge");
        for partition in &census.partitions {
            let (topic, number, value) = (&partition.topic, partition.partition, of(partition));
            page.line(format_args!(
                "{name}{{topic=\"{topic}\",partition=\"{number}\"}} {value}"
            ));
        }
    }
    let cluster = escaped(&census.cluster);
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
        page.head(name, help, "gauge");
        for partition in &census.partitions {
            let (topic, number, value) = (&partition.topic, partition.partition, of(partition));
            page.line(format_args!(
                "{name}{{cluster_name=\"{cluster}\",topic=\"{topic}\",partition=\"{number}\"}} {value}"
            ));
        }
    }
}

/// A series, and what it tells of a committed offset if it applies.
type OffsetSeries<T> = (&'static str, &'static str, fn(&OffsetFigures) -> Option<T>);

/// Names and labels of kafka_exporter, which says `consumergroup`.
fn groups_of_a(page: &mut Page, groups: &[GroupFigures]) {
    const MEMBERS: &str = "kafka_consumergroup_members";
    page.head(MEMBERS, "Members of a group.", "gauge");
    for group in groups {
        let (id, members) = (escaped(&group.group), group.members);
        page.line(format_args!(
            "{MEMBERS}{{consumergroup=\"{id}\"}} {members}"
        ));
    }
    let per_partition: [OffsetSeries<i64>; 2] = [
        (
            "kafka_consumergroup_current_offset",
            "The committed offset: the first record that was not read.",
            |one| Some(one.committed),
        ),
        (
            "kafka_consumergroup_lag",
            "Offsets between the committed one and the high watermark.",
            records,
        ),
    ];
    for (name, help, of) in per_partition {
        page.head(name, help, "gauge");
        for group in groups {
            let id = escaped(&group.group);
            for one in &group.offsets {
                let Some(value) = of(one) else { continue };
                let (topic, number) = (&one.topic, one.partition);
                page.line(format_args!(
                    "{name}{{consumergroup=\"{id}\",topic=\"{topic}\",partition=\"{number}\"}} {value}"
                ));
            }
        }
        let sum = format!("{name}_sum");
        page.head(&sum, "The same over a topic's partitions.", "gauge");
        for group in groups {
            let id = escaped(&group.group);
            for (topic, value) in sums(group, of) {
                page.line(format_args!(
                    "{sum}{{consumergroup=\"{id}\",topic=\"{topic}\"}} {value}"
                ));
            }
        }
    }
}

/// Names and labels of kafka-lag-exporter, which says `group` and knows time.
fn groups_of_c(page: &mut Page, cluster: &str, groups: &[GroupFigures]) {
    let cluster = escaped(cluster);
    let per_partition: [OffsetSeries<f64>; 3] = [
        (
            "kafka_consumergroup_group_offset",
            "The committed offset: the first record that was not read.",
            |one| Some(one.committed as f64),
        ),
        (
            "kafka_consumergroup_group_lag",
            "Offsets between the committed one and the high watermark.",
            |one| records(one).map(|records| records as f64),
        ),
        (
            "kafka_consumergroup_group_lag_seconds",
            "Age of the first record that was not read and could be; 0 if there is none.",
            seconds,
        ),
    ];
    for (name, help, of) in per_partition {
        page.head(name, help, "gauge");
        for group in groups {
            let id = escaped(&group.group);
            for one in &group.offsets {
                let Some(value) = of(one) else { continue };
                let (topic, number) = (&one.topic, one.partition);
                let member = member_labels(one.member.as_deref());
                page.line(format_args!(
                    "{name}{{cluster_name=\"{cluster}\",group=\"{id}\",topic=\"{topic}\",partition=\"{number}\",{member}}} {value}"
                ));
            }
        }
    }
    let highest: [OffsetSeries<f64>; 2] = [
        (
            "kafka_consumergroup_group_max_lag",
            "The largest lag of a group in offsets.",
            |one| records(one).map(|records| records as f64),
        ),
        (
            "kafka_consumergroup_group_max_lag_seconds",
            "The largest lag of a group in seconds.",
            seconds,
        ),
    ];
    for (name, help, of) in highest {
        page.head(name, help, "gauge");
        for group in groups {
            let Some(value) = group.offsets.iter().filter_map(of).reduce(f64::max) else {
                continue;
            };
            let (id, simple) = (escaped(&group.group), group.is_simple);
            page.line(format_args!(
                "{name}{{cluster_name=\"{cluster}\",group=\"{id}\",is_simple_consumer=\"{simple}\"}} {value}"
            ));
        }
    }
    const SUM: &str = "kafka_consumergroup_group_sum_lag";
    page.head(
        SUM,
        "The lag of a group in offsets, over all partitions.",
        "gauge",
    );
    for group in groups.iter().filter(|group| !group.offsets.is_empty()) {
        let sum: i64 = group.offsets.iter().filter_map(records).sum();
        let id = escaped(&group.group);
        page.line(format_args!(
            "{SUM}{{cluster_name=\"{cluster}\",group=\"{id}\"}} {sum}"
        ));
    }
    const TOPIC_SUM: &str = "kafka_consumergroup_group_topic_sum_lag";
    page.head(
        TOPIC_SUM,
        "The lag of a group in offsets, over a topic's partitions.",
        "gauge",
    );
    for group in groups {
        let id = escaped(&group.group);
        for (topic, sum) in sums(group, records) {
            page.line(format_args!(
                "{TOPIC_SUM}{{cluster_name=\"{cluster}\",group=\"{id}\",topic=\"{topic}\"}} {sum}"
            ));
        }
    }
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
fn member_labels(reader: Option<&Reader>) -> String {
    let (host, id, client) = reader.map_or(("", "", ""), |reader| {
        (&*reader.host, &*reader.id, &*reader.client)
    });
    format!(
        "member_host=\"{}\",consumer_id=\"{}\",client_id=\"{}\"",
        escaped(host),
        escaped(id),
        escaped(client)
    )
}
