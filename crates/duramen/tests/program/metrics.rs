//! What `/metrics` says to the dashboards that people have.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use wire::messages::{find_coordinator, offset_commit, text};

use crate::commands::ask;
use crate::group::{HeartbeatReader, Reader};
use crate::process::Server;

/// Names and the labels that the public dashboards and alert rules ask for, with where they do.
const ASKED: [(&str, &[&str]); 48] = [
    // kafka_exporter_overview.json of danielqsj/kafka_exporter, strimzi-kafka-exporter.json.
    ("kafka_brokers", &[]),
    ("kafka_broker_info", &["id", "address"]),
    ("kafka_topic_partitions", &["topic"]),
    ("kafka_topic_partition_current_offset", PARTITION),
    ("kafka_topic_partition_oldest_offset", PARTITION),
    ("kafka_topic_partition_in_sync_replica", PARTITION),
    ("kafka_topic_partition_leader", PARTITION),
    ("kafka_topic_partition_leader_is_preferred", PARTITION),
    ("kafka_topic_partition_replicas", PARTITION),
    (
        "kafka_topic_partition_under_replicated_partition",
        PARTITION,
    ),
    (
        "kafka_consumergroup_current_offset",
        &["consumergroup", "topic", "partition"],
    ),
    (
        "kafka_consumergroup_current_offset_sum",
        &["consumergroup", "topic"],
    ),
    (
        "kafka_consumergroup_lag",
        &["consumergroup", "topic", "partition"],
    ),
    ("kafka_consumergroup_lag_sum", &["consumergroup", "topic"]),
    ("kafka_consumergroup_members", &["consumergroup"]),
    // strimzi-kafka.json, prometheus-kafka-rules.yaml.
    (
        "kafka_server_brokertopicmetrics_messagesin_total",
        &["topic"],
    ),
    ("kafka_server_brokertopicmetrics_bytesin_total", &["topic"]),
    ("kafka_server_brokertopicmetrics_bytesout_total", &["topic"]),
    (
        "kafka_server_brokertopicmetrics_totalproducerequests_total",
        &["topic"],
    ),
    (
        "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        &["topic"],
    ),
    (
        "kafka_server_brokertopicmetrics_failedproducerequests_total",
        &["topic"],
    ),
    (
        "kafka_server_brokertopicmetrics_failedfetchrequests_total",
        &["topic"],
    ),
    ("kafka_server_replicamanager_leadercount", &[]),
    ("kafka_server_replicamanager_partitioncount", &[]),
    ("kafka_server_replicamanager_underreplicatedpartitions", &[]),
    ("kafka_server_replicamanager_underminisrpartitioncount", &[]),
    (
        "kafka_controller_kafkacontroller_activecontrollercount",
        &[],
    ),
    (
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        &[],
    ),
    (
        "kafka_controller_controllerstats_uncleanleaderelections_total",
        &[],
    ),
    ("kafka_cluster_partition_underminisr", PARTITION),
    ("kafka_cluster_partition_atminisr", PARTITION),
    ("kafka_cluster_partition_replicascount", PARTITION),
    ("kafka_log_log_size", PARTITION),
    ("kafka_log_logmanager_offlinelogdirectorycount", &[]),
    (
        "kafka_server_socket_server_metrics_connection_count",
        &["listener"],
    ),
    (
        "kafka_network_socketserver_networkprocessoravgidle_percent",
        &[],
    ),
    (
        "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
        &[],
    ),
    ("kafka_server_kafkaserver_linux_disk_read_bytes", &[]),
    ("kafka_server_kafkaserver_linux_disk_write_bytes", &[]),
    ("process_open_fds", &[]),
    // Kafka_Lag_Exporter_Dashboard.json of seglo/kafka-lag-exporter, and its README.
    ("kafka_consumergroup_group_offset", GROUP_PARTITION),
    ("kafka_consumergroup_group_lag", GROUP_PARTITION),
    ("kafka_consumergroup_group_lag_seconds", GROUP_PARTITION),
    (
        "kafka_consumergroup_group_max_lag",
        &["cluster_name", "group", "is_simple_consumer"],
    ),
    (
        "kafka_consumergroup_group_max_lag_seconds",
        &["cluster_name", "group", "is_simple_consumer"],
    ),
    (
        "kafka_consumergroup_group_sum_lag",
        &["cluster_name", "group"],
    ),
    (
        "kafka_consumergroup_group_topic_sum_lag",
        &["cluster_name", "group", "topic"],
    ),
    (
        "kafka_partition_latest_offset",
        &["cluster_name", "topic", "partition"],
    ),
];

const PARTITION: &[&str] = &["topic", "partition"];
const GROUP_PARTITION: &[&str] = &[
    "cluster_name",
    "group",
    "topic",
    "partition",
    "member_host",
    "consumer_id",
    "client_id",
];

/// A sample: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

#[expect(clippy::disallowed_methods, reason = "a client of the world outside")]
fn http(server: &Server, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(&server.http).unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}

fn scrape(server: &Server) -> Vec<Sample> {
    let (_, page) = http(server, "GET", "/metrics");
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples.map(sample).collect()
}

/// One line; no label of these stories has a quote or a comma in it.
fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').unwrap();
    let labels = labels.split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (label, value) = label.split_once('=').unwrap();
        (label.to_owned(), value.trim_matches('"').to_owned())
    });
    (name.to_owned(), labels.collect(), value.parse().unwrap())
}

/// The only sample of this name whose labels have these values.
fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted = |sample: &&Sample| {
        let labels = &mut labels.iter();
        sample.0 == name
            && labels.all(|(label, value)| sample.1.get(*label).is_some_and(|is| is == value))
    };
    let found: Vec<&Sample> = samples.iter().filter(wanted).collect();
    let [(_, _, value)] = found[..] else {
        panic!("{name} {labels:?}: {found:?}");
    };
    *value
}

/// A topic of two partitions with five records, of which a group has read two.
fn under_load() -> Server {
    let server = Server::ephemeral();
    server.rows(&["topic", "create", "orders", "-p", "2"]);
    server
        .run_with(&["produce", "orders", "-p", "1"], "a\nb\nc\nd\ne\n")
        .rows();
    let read = server.rows(&["consume", "orders", "-p", "1", "-n", "2"]);
    assert_eq!(read.len(), 2);
    commit(&server, 2);
    server
}

/// The group says how far it has read.
fn commit(server: &Server, offset: i64) {
    let commit = offset_commit::Request {
        group_id: text("billing"),
        generation_id_or_member_epoch: -1,
        topics: vec![offset_commit::OffsetCommitRequestTopic {
            name: text("orders"),
            partitions: vec![offset_commit::OffsetCommitRequestPartition {
                partition_index: 1,
                committed_offset: offset,
                committed_leader_epoch: -1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    // The topic of the offsets comes into being with the first question for a coordinator.
    for _ in 0..1000 {
        let find = find_coordinator::Request {
            coordinator_keys: vec![text("billing")],
            ..Default::default()
        };
        ask(&server.brokers, 4, &find);
        let answer = ask(&server.brokers, 8, &commit);
        if answer.topics[0].partitions[0].error_code == 0 {
            return;
        }
    }
    panic!("the commit is not taken");
}

#[test]
fn every_series_that_public_dashboards_ask_for_is_there_with_its_labels() {
    // experience.md 6.2
    let server = under_load();
    // The share of time that was idle is known from the second look on.
    scrape(&server);
    let samples = scrape(&server);
    for (name, labels) in ASKED {
        let labels: BTreeSet<&str> = labels.iter().copied().collect();
        let fits = |sample: &&Sample| {
            let has: BTreeSet<&str> = sample.1.keys().map(String::as_str).collect();
            sample.0 == name && has == labels
        };
        assert!(
            samples.iter().any(|sample| fits(&sample)),
            "{name}{labels:?}"
        );
    }
    let mut series = BTreeSet::new();
    for (name, labels, _) in &samples {
        assert!(
            series.insert((name, labels)),
            "{name} {labels:?} is there twice"
        );
    }
}

#[test]
fn every_series_that_dashboards_draw_on_is_there() {
    // experience.md 12; whether the expressions have data is told by Prometheus, in crates/e2e.
    let server = under_load();
    scrape(&server);
    let served: BTreeSet<String> = scrape(&server)
        .into_iter()
        .map(|(name, _, _)| name)
        .collect();
    let ours = server.run(&["generate", "grafana"]).stdout;
    let ours: serde_json::Value = serde_json::from_str(&ours).unwrap();
    let panels = ours["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let mut asked: Vec<String> = targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect();
    let public = include_str!("../../../e2e/dashboards.txt").lines();
    asked.extend(
        public
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned),
    );
    let mut count = 0;
    for expression in asked {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for word in words {
            let is_metric = ["kafka_", "duramen_", "process_"].iter().any(|prefix| {
                word.starts_with(prefix) && !expression.contains(&format!("${word}"))
            });
            // It says nothing in the first ten minutes.
            if is_metric && word != "duramen_disk_days_left" {
                assert!(served.contains(word), "{word}: {expression}");
                count += 1;
            }
        }
    }
    assert!(count > 90, "{count}");
}

#[test]
fn figures_of_a_group_say_how_far_it_is_behind() {
    // experience.md 4.3
    let server = under_load();
    let samples = scrape(&server);
    let group = [
        ("group", "billing"),
        ("topic", "orders"),
        ("partition", "1"),
    ];
    let consumer = [
        ("consumergroup", "billing"),
        ("topic", "orders"),
        ("partition", "1"),
    ];
    let of = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    assert_eq!(of("kafka_consumergroup_current_offset", &consumer), 2.0);
    assert_eq!(of("kafka_consumergroup_lag", &consumer), 3.0);
    assert_eq!(of("kafka_consumergroup_lag_sum", &consumer[..2]), 3.0);
    assert_eq!(of("kafka_consumergroup_group_offset", &group), 2.0);
    assert_eq!(of("kafka_consumergroup_group_lag", &group), 3.0);
    assert!(of("kafka_consumergroup_group_lag_seconds", &group) >= 0.0);
    assert_eq!(of("kafka_consumergroup_group_max_lag", &group[..1]), 3.0);
    assert_eq!(of("kafka_consumergroup_group_sum_lag", &group[..1]), 3.0);
    let partition = [("topic", "orders"), ("partition", "1")];
    assert_eq!(of("kafka_topic_partition_current_offset", &partition), 5.0);
    let topic = [("topic", "orders")];
    assert_eq!(
        of("kafka_server_brokertopicmetrics_messagesin_total", &topic),
        5.0
    );
    assert_eq!(of("kafka_topic_partitions", &topic), 2.0);

    // Whoever has read everything is not behind, however long ago that was.
    commit(&server, 5);
    let samples = scrape(&server);
    assert_eq!(
        value(&samples, "kafka_consumergroup_group_lag_seconds", &group),
        0.0
    );
    assert_eq!(value(&samples, "kafka_consumergroup_lag", &consumer), 0.0);
}

#[test]
fn what_only_this_broker_tells_is_counted() {
    // experience.md 6.2, family D
    let server = under_load();
    let mut classic = Reader::join(&server.brokers, "shop", "orders");
    classic.heartbeat().unwrap();
    let mut newer = HeartbeatReader::join(&server.brokers, "till", "orders");
    newer.heartbeat().unwrap();
    let samples = scrape(&server);
    let of = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    let rebalances = |protocol| of("duramen_group_rebalances_total", &[("protocol", protocol)]);
    assert_eq!(rebalances("classic"), 1.0);
    assert!(rebalances("consumer") >= 1.0);
    assert_eq!(of("duramen_requests_total", &[("api", "Produce")]), 1.0);
    let asked = of("duramen_requests_total", &[("api", "Fetch")]);
    let fetches = |kind| of("duramen_fetches_total", &[("kind", kind)]);
    assert!(fetches("full") >= 1.0);
    assert_eq!(fetches("full") + fetches("incremental"), asked);
    assert_eq!(of("duramen_fetch_session_errors_total", &[]), 0.0);
    assert!(of("duramen_fetch_sessions_max", &[]) > 0.0);
    assert_eq!(of("duramen_groups", &[]), 3.0);
    assert_eq!(of("duramen_connections_refused_total", &[]), 0.0);
    assert!(of("duramen_request_bytes_max", &[]) >= of("duramen_request_bytes", &[]));
    assert!(of("duramen_logs", &[]) >= of("duramen_logs_in_use", &[]));
    // Minutes ago at most, and not in the future.
    let started = of("process_start_time_seconds", &[]);
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs_f64();
    assert!((now - started).abs() < 600.0, "{started} {now}");
    let names = samples
        .iter()
        .filter(|sample| sample.0 == "duramen_disk_days_left");
    assert_eq!(names.count(), 0, "too early to say");
}

#[test]
fn the_log_is_told_more_or_less_of_while_the_server_runs() {
    // experience.md 6.3
    let server = Server::ephemeral();
    assert_eq!(
        http(&server, "GET", "/log-level"),
        (200, "info\n".to_owned())
    );
    let set = |levels: &str| http(&server, "PUT", &format!("/log-level?{levels}"));
    assert_eq!(set("loud").0, 400);
    assert_eq!(
        set("warn,broker=debug"),
        (200, "warn,broker=debug\n".to_owned())
    );
    assert_eq!(http(&server, "GET", "/log-level").1, "warn,broker=debug\n");
    assert_eq!(http(&server, "POST", "/log-level?debug").0, 405);
    server.rows(&["topic", "ls"]);

    // The same from the command line, over Kafka's own protocol.
    let level = |rows: &[serde_json::Value], logger: &str| {
        let row = rows.iter().find(|row| row["logger"] == logger).unwrap();
        (row["level"].clone(), row["before"].clone())
    };
    let json = |level: &str| serde_json::Value::from(level);
    let none = serde_json::Value::Null;
    let shown = server.rows(&["cluster", "log-level"]);
    assert_eq!(shown[0]["logger"], "root");
    assert_eq!(level(&shown, "root"), (json("warn"), none.clone()));
    assert_eq!(level(&shown, "broker"), (json("debug"), none.clone()));
    assert_eq!(level(&shown, "commitlog"), (json("warn"), none));
    let checked = server.rows(&["cluster", "log-level", "error", "--dry-run"]);
    assert_eq!(level(&checked, "root"), (json("error"), json("warn")));
    let changed = [
        "cluster",
        "log-level",
        "error",
        "broker::fetch=trace",
        "--unset",
        "broker",
    ];
    let changed = server.rows(&changed);
    assert_eq!(level(&changed, "root"), (json("error"), json("warn")));
    assert_eq!(level(&changed, "broker"), (json("error"), json("debug")));
    assert_eq!(level(&changed, "broker::fetch").0, json("trace"));
    assert_eq!(
        http(&server, "GET", "/log-level").1,
        "error,broker::fetch=trace\n"
    );
    for (wrong, exit) in [
        (&["cluster", "log-level", "loud"][..], 2),
        (&["cluster", "log-level", "nobody=debug"], 1),
        (&["cluster", "log-level", "--unset", "root"], 1),
        (&["cluster", "log-level", "--broker", "9"], 2),
    ] {
        assert_eq!(server.run(wrong).only_failure().0, exit, "{wrong:?}");
    }
    server.rows(&["cluster", "log-level", "warn", "broker=debug"]);
    let end = server.terminate();
    let mut told = end.stderr.iter();
    let line = told.find(|line| line.contains("connection closed"));
    // A log that nobody watches is JSON.
    let line: serde_json::Value = serde_json::from_str(line.expect("told")).unwrap();
    assert_eq!(line["level"], "DEBUG");
    let stopping = "stopping: no new requests";
    assert!(!end.stderr.iter().any(|line| line.contains(stopping)));
}
