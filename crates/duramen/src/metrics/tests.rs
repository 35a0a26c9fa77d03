//! The telling is whole: each family once, each explained, each in the guide.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use broker::{GroupFigures, OffsetFigures, PartitionFigures, Reader, TopicCounts, TopicFigures};
use wire::ids::BrokerId;
use wire::lag::Lag;

use super::*;
use crate::prometheus::render;

/// The guide, whose table names everything.
const GUIDE: &str = include_str!("../../../../docs/guide/monitoring.md");

/// Figures in which every family has a sample.
pub(crate) fn full() -> Figures {
    let mut snapshot = Snapshot {
        messages_in: 7,
        ..Snapshot::default()
    };
    snapshot.apis.entry("Fetch").or_default().buckets[3] = 2;
    snapshot.store.flush_buckets[8] = 3;
    snapshot.store.flush_us = 600;
    snapshot.connections_closed.insert("peer", 1);
    let throttles = snapshot.throttles.entry("producer_byte_rate").or_default();
    (throttles.throttles, throttles.wait_ms) = (2, 1_500);
    snapshot.connections_of.insert("PLAINTEXT".to_owned(), 1);
    let topic: Arc<str> = Arc::from("orders");
    let census = Census {
        cluster: "c".to_owned(),
        brokers: vec![(BrokerId(1), "localhost:9092".to_owned())],
        topics: vec![TopicFigures {
            name: topic.clone(),
            partitions: 1,
            counts: Some(TopicCounts::default()),
        }],
        partitions: vec![PartitionFigures {
            topic: topic.clone(),
            partition: 0,
            earliest: 0,
            latest: 5,
            bytes: 1,
            leader: BrokerId(1),
            leader_is_preferred: true,
            replicas: 1,
            in_sync: 1,
            in_sync_min: 1,
        }],
        groups: vec![GroupFigures {
            group: Arc::from("bill\"ing"),
            members: 1,
            is_simple: false,
            offsets: vec![OffsetFigures {
                topic,
                partition: 0,
                committed: 2,
                lag: Some(Lag {
                    records: Some(3),
                    ms: Some(1_500),
                    ..Lag::default()
                }),
                member: Some(Arc::new(Reader {
                    id: Arc::from("m"),
                    client: Arc::from("c"),
                    host: Arc::from("127.0.0.1"),
                })),
            }],
        }],
        ..Census::default()
    };
    Figures {
        snapshot,
        census,
        process: Some(ProcessFigures::for_tests()),
        disk_days_left: Some(2.5),
        pushes: Some(Pushes::default()),
    }
}

/// Takes down the names.
#[derive(Default)]
struct Names {
    families: Vec<(&'static str, &'static str, Kind)>,
    told: BTreeMap<&'static str, BTreeSet<Vec<&'static str>>>,
}

impl Names {
    fn of(figures: &Figures) -> Names {
        let mut names = Names::default();
        tell(&mut names, figures);
        names
    }

    fn note(&mut self, labels: &[(&'static str, Label<'_>)]) {
        let (family, _, _) = self.families.last().expect("a family before its samples");
        let labels = labels.iter().map(|(label, _)| *label).collect();
        self.told.entry(family).or_default().insert(labels);
    }
}

impl Writer for Names {
    fn family(&mut self, name: &'static str, help: &'static str, kind: Kind) {
        self.families.push((name, help, kind));
    }

    fn sample(&mut self, labels: &[(&'static str, Label<'_>)], _: Value) {
        self.note(labels);
    }

    fn histogram(
        &mut self,
        labels: &[(&'static str, Label<'_>)],
        _: &[u64; FLUSH_BUCKETS],
        _: u64,
    ) {
        self.note(labels);
    }
}

#[test]
fn every_family_comes_once_is_explained_and_named_as_prometheus_wants() {
    let names = Names::of(&full());
    let mut seen = BTreeSet::new();
    for (name, help, kind) in &names.families {
        assert!(seen.insert(name), "{name} comes twice");
        assert!(
            help.ends_with('.') && !help.contains('\n'),
            "{name}: {help}"
        );
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(allowed), "{name}");
        if *kind != Kind::Untyped {
            let kept = ["_bucket", "_sum", "_count"];
            assert!(!kept.iter().any(|ending| name.ends_with(ending)), "{name}");
        }
        assert!(names.told.contains_key(name), "{name}: no sample");
    }
}

#[test]
fn a_broker_that_just_started_tells_the_same_families() {
    let of = |figures: &Figures| -> Vec<&'static str> {
        let told = Names::of(figures).families;
        told.into_iter().map(|(name, _, _)| name).collect()
    };
    assert_eq!(of(&Figures::default()), of(&full()));
}

#[test]
fn the_guide_names_every_family_with_its_labels_and_no_other() {
    let names = Names::of(&full());
    let mut table = String::from("| name | kind | labels | what it says |\n|---|---|---|---|\n");
    for (name, help, kind) in &names.families {
        let kind = format!("{kind:?}").to_lowercase();
        let labels: BTreeSet<&str> = names.told[name].iter().flatten().copied().collect();
        let labels: Vec<&str> = labels.into_iter().collect();
        let (labels, help) = (labels.join(", "), help.trim_end_matches('.'));
        table.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
    }
    let (_, after) = GUIDE.split_once("\n## All names\n").expect("the chapter");
    let written = &after[after.find("| name |").unwrap_or(after.len())..];
    let end = written.find("\n\n").map_or(written.len(), |at| at + 1);
    assert!(
        written[..end] == table,
        "docs/guide/monitoring.md, All names, should be\n{table}"
    );
}

#[test]
fn the_page_has_samples_below_their_family_and_escapes_what_clients_named() {
    let text = render(&full());
    for line in [
        "kafka_server_brokertopicmetrics_messagesin_total 7",
        "kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"} 0",
        "duramen_request_latency_seconds_bucket{api=\"Fetch\",le=\"+Inf\"} 2",
        "duramen_fsync_seconds_bucket{le=\"0.000128\"} 0",
        "duramen_fsync_seconds_bucket{le=\"0.000256\"} 3",
        "duramen_fsync_seconds_sum 0.0006",
        "duramen_fsync_seconds_count 3",
        "kafka_consumergroup_members{consumergroup=\"bill\\\"ing\"} 1",
        "kafka_consumergroup_group_max_lag_seconds{cluster_name=\"c\",group=\"bill\\\"ing\",is_simple_consumer=\"false\"} 1.5",
        "duramen_disk_days_left 2.5",
    ] {
        assert!(text.lines().any(|is| is == line), "{line}\n{text}");
    }
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap_or_default();
        } else if !line.starts_with('#') {
            let rest = line.strip_prefix(family).expect("below its family");
            assert!(rest.starts_with(['{', ' ', '_']), "{line}");
        }
    }
}
