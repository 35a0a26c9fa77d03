//! A dashboard for Grafana over the metrics that are served: in the order in which somebody looks who
//! was woken up.

use serde_json::{Value, json};

/// Columns of Grafana's grid.
const GRID: u64 = 24;
/// Height of a line chart, and of a single figure, in its rows.
const CHART_HEIGHT: u64 = 8;
const FIGURE_HEIGHT: u64 = 4;
/// Single figures stand so many in a line.
const FIGURES_A_LINE: u64 = 6;

/// How a panel shows its lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The figure of now, red from this value on; below, if the flag is set.
    Figure { red: u32, below: bool },
    /// Lines over time.
    Chart,
}

struct Panel {
    title: &'static str,
    /// In Grafana's words.
    unit: &'static str,
    form: Form,
    /// Legend and expression.
    lines: &'static [(&'static str, &'static str)],
}

const fn figure(
    title: &'static str,
    unit: &'static str,
    red: u32,
    below: bool,
    lines: &'static [(&'static str, &'static str)],
) -> Panel {
    let form = Form::Figure { red, below };
    Panel {
        title,
        unit,
        form,
        lines,
    }
}

const fn chart(
    title: &'static str,
    unit: &'static str,
    lines: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        unit,
        form: Form::Chart,
        lines,
    }
}

/// A row of panels under one heading.
struct Row {
    title: &'static str,
    panels: &'static [Panel],
}

const ROWS: [Row; 7] = [
    Row {
        title: "Is anything wrong?",
        panels: &[
            figure(
                "Partitions without a leader",
                "none",
                1,
                false,
                &[(
                    "",
                    "sum(kafka_controller_kafkacontroller_offlinepartitionscount)",
                )],
            ),
            figure(
                "Partitions below min.insync.replicas",
                "none",
                1,
                false,
                &[(
                    "",
                    "sum(kafka_server_replicamanager_underminisrpartitioncount)",
                )],
            ),
            figure(
                "Producers refused: disk full",
                "none",
                1,
                false,
                &[("", "sum(duramen_disk_full)")],
            ),
            figure(
                "Data directories failed",
                "none",
                1,
                false,
                &[("", "sum(kafka_log_logmanager_offlinelogdirectorycount)")],
            ),
            // Nothing is said of a disk that does not fill up.
            figure(
                "Days until the disk is full",
                "d",
                3,
                true,
                &[("", "min(duramen_disk_days_left) or vector(Inf)")],
            ),
            // A cluster without groups is not behind.
            figure(
                "Slowest group is behind",
                "s",
                300,
                false,
                &[(
                    "",
                    "max(kafka_consumergroup_group_max_lag_seconds) or vector(0)",
                )],
            ),
        ],
    },
    Row {
        title: "Traffic",
        panels: &[
            chart(
                "Records in, by topic",
                "rowsps",
                &[(
                    "{{topic}}",
                    "topk(10, sum by (topic) (rate(kafka_server_brokertopicmetrics_messagesin_total\
                     {topic!=\"\"}[$__rate_interval])))",
                )],
            ),
            chart(
                "Bytes in and out",
                "Bps",
                &[
                    (
                        "in",
                        "sum(rate(kafka_server_brokertopicmetrics_bytesin_total\
                         {topic=\"\"}[$__rate_interval]))",
                    ),
                    (
                        "out",
                        "sum(rate(kafka_server_brokertopicmetrics_bytesout_total\
                         {topic=\"\"}[$__rate_interval]))",
                    ),
                ],
            ),
            chart(
                "Requests by kind",
                "reqps",
                &[(
                    "{{api}}",
                    "sum by (api) (rate(duramen_requests_total[$__rate_interval]))",
                )],
            ),
            chart(
                "Failed partitions of requests",
                "reqps",
                &[
                    (
                        "produce",
                        "sum(rate(kafka_server_brokertopicmetrics_failedproducerequests_total\
                         {topic=\"\"}[$__rate_interval]))",
                    ),
                    (
                        "fetch",
                        "sum(rate(kafka_server_brokertopicmetrics_failedfetchrequests_total\
                         {topic=\"\"}[$__rate_interval]))",
                    ),
                ],
            ),
        ],
    },
    Row {
        title: "How long it takes",
        panels: &[
            chart(
                "Produce, from taken up to decided",
                "s",
                &[
                    (
                        "p50",
                        "histogram_quantile(0.5, sum by (le) (rate(\
                         duramen_request_latency_seconds_bucket{api=\"Produce\"}[$__rate_interval])))",
                    ),
                    (
                        "p99",
                        "histogram_quantile(0.99, sum by (le) (rate(\
                         duramen_request_latency_seconds_bucket{api=\"Produce\"}[$__rate_interval])))",
                    ),
                ],
            ),
            chart(
                "A flush of the shared log",
                "s",
                &[
                    (
                        "p50",
                        "histogram_quantile(0.5, sum by (le) (rate(\
                         duramen_fsync_seconds_bucket[$__rate_interval])))",
                    ),
                    (
                        "p99",
                        "histogram_quantile(0.99, sum by (le) (rate(\
                         duramen_fsync_seconds_bucket[$__rate_interval])))",
                    ),
                ],
            ),
            chart(
                "Clients held back",
                "reqps",
                &[
                    (
                        "the log's buffers were full",
                        "sum(rate(duramen_staging_full_total[$__rate_interval]))",
                    ),
                    (
                        "the bytes of requests were used up",
                        "sum(rate(duramen_request_permit_waits_total[$__rate_interval]))",
                    ),
                    (
                        "the shared log waited for a checkpoint",
                        "sum(rate(duramen_wal_full_total[$__rate_interval]))",
                    ),
                ],
            ),
            chart(
                "Threads with nothing to do",
                "percentunit",
                &[(
                    "{{instance}}",
                    "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
                )],
            ),
        ],
    },
    Row {
        title: "Groups",
        panels: &[
            chart(
                "Behind, in time",
                "s",
                &[(
                    "{{group}}",
                    "topk(10, max by (group) (kafka_consumergroup_group_max_lag_seconds))",
                )],
            ),
            chart(
                "Behind, in offsets",
                "none",
                &[(
                    "{{group}}",
                    "topk(10, sum by (group) (kafka_consumergroup_group_sum_lag))",
                )],
            ),
            chart(
                "Members",
                "none",
                &[(
                    "{{consumergroup}}",
                    "topk(10, sum by (consumergroup) (kafka_consumergroup_members))",
                )],
            ),
            chart(
                "Rebalances begun",
                "ops",
                &[(
                    "{{protocol}}",
                    "sum by (protocol) (rate(duramen_group_rebalances_total[$__rate_interval]))",
                )],
            ),
        ],
    },
    Row {
        title: "Disk",
        panels: &[
            chart(
                "Free, and where producers are refused",
                "bytes",
                &[
                    ("free {{instance}}", "duramen_disk_free_bytes"),
                    ("refused below {{instance}}", "duramen_disk_free_min_bytes"),
                ],
            ),
            chart(
                "Largest topics",
                "bytes",
                &[("{{topic}}", "topk(10, sum by (topic) (kafka_log_log_size))")],
            ),
            chart(
                "Written",
                "Bps",
                &[
                    (
                        "shared log",
                        "sum(rate(duramen_wal_written_bytes_total[$__rate_interval]))",
                    ),
                    (
                        "compaction",
                        "sum(rate(duramen_compaction_written_bytes_total[$__rate_interval]))",
                    ),
                    (
                        "the disk, by this process",
                        "sum(rate(kafka_server_kafkaserver_linux_disk_write_bytes[$__rate_interval]))",
                    ),
                ],
            ),
            chart(
                "What went wrong with it",
                "none",
                &[
                    (
                        "flushes failed",
                        "sum(increase(duramen_fsync_failures_total[$__rate_interval]))",
                    ),
                    (
                        "segments failed",
                        "sum(increase(duramen_segment_failures_total[$__rate_interval]))",
                    ),
                    (
                        "checkpoints failed",
                        "sum(increase(duramen_checkpoint_failures_total[$__rate_interval]))",
                    ),
                    (
                        "compactions failed",
                        "sum(increase(duramen_compaction_failures_total[$__rate_interval]))",
                    ),
                    (
                        "damage found",
                        "sum(increase(duramen_scrub_damaged_ranges_total[$__rate_interval]))",
                    ),
                ],
            ),
            chart(
                "Free slots of the shared log",
                "percentunit",
                &[("{{instance}}", "duramen_wal_slots_free / duramen_wal_slots")],
            ),
            chart(
                "Compacted logs",
                "none",
                &[
                    (
                        "dirtiest, percent",
                        "max(kafka_log_logcleanermanager_max_dirty_percent)",
                    ),
                    (
                        "left alone",
                        "sum(kafka_log_logcleanermanager_uncleanable_partitions_count)",
                    ),
                ],
            ),
        ],
    },
    Row {
        title: "Connections",
        panels: &[
            chart(
                "Open, by listener",
                "none",
                &[(
                    "{{listener}}",
                    "sum by (listener) (kafka_server_socket_server_metrics_connection_count)",
                )],
            ),
            chart(
                "Ended, by reason",
                "ops",
                &[(
                    "{{reason}}",
                    "sum by (reason) (rate(duramen_connections_closed_total[$__rate_interval]))",
                )],
            ),
            chart(
                "Fetches: all named, or what changed",
                "reqps",
                &[(
                    "{{kind}}",
                    "sum by (kind) (rate(duramen_fetches_total[$__rate_interval]))",
                )],
            ),
            chart(
                "Fetch sessions",
                "none",
                &[
                    ("remembered", "sum(duramen_fetch_sessions)"),
                    ("room", "sum(duramen_fetch_sessions_max)"),
                ],
            ),
            chart(
                "Bytes of requests held",
                "bytes",
                &[
                    ("held", "sum(duramen_request_bytes)"),
                    ("most", "sum(duramen_request_bytes_max)"),
                ],
            ),
        ],
    },
    Row {
        title: "Process",
        panels: &[
            chart(
                "Processor time",
                "none",
                &[(
                    "{{instance}}",
                    "rate(process_cpu_seconds_total[$__rate_interval])",
                )],
            ),
            chart(
                "Memory",
                "bytes",
                &[("{{instance}}", "process_resident_memory_bytes")],
            ),
            chart(
                "Open files",
                "none",
                &[
                    ("open {{instance}}", "process_open_fds"),
                    ("most {{instance}}", "process_max_fds"),
                ],
            ),
            chart(
                "Up since",
                "dateTimeAsIso",
                &[("{{instance}}", "process_start_time_seconds * 1000")],
            ),
        ],
    },
];

/// The dashboard, as Grafana imports it.
pub fn page() -> String {
    let page = json!({
        "uid": "duramen",
        "title": "Duramen",
        "tags": ["kafka", "duramen"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{
            "name": "source",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus"
        }]},
        "panels": panels(),
    });
    // The alternate form indents.
    format!("{page:#}\n")
}

fn panels() -> Vec<Value> {
    let mut panels = Vec::new();
    let mut top = 0;
    for row in &ROWS {
        panels.push(json!({
            "id": panels.len() + 1,
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "gridPos": {"x": 0, "y": top, "w": GRID, "h": 1},
            "panels": [],
        }));
        top += 1;
        let (mut left, mut line_height) = (0, 0);
        for one in row.panels {
            let (width, height) = match one.form {
                Form::Figure { .. } => (GRID / FIGURES_A_LINE, FIGURE_HEIGHT),
                Form::Chart => (GRID / 2, CHART_HEIGHT),
            };
            if left + width > GRID {
                top += line_height;
                left = 0;
            }
            let place = json!({"x": left, "y": top, "w": width, "h": height});
            panels.push(panel(one, panels.len() + 1, place));
            left += width;
            line_height = height;
        }
        top += line_height;
    }
    panels
}

fn panel(panel: &Panel, id: usize, place: Value) -> Value {
    let source = json!({"type": "prometheus", "uid": "${source}"});
    let targets: Vec<Value> = panel
        .lines
        .iter()
        .zip(b'A'..)
        .map(|((legend, expression), letter)| {
            json!({
                "refId": char::from(letter).to_string(),
                "datasource": source,
                "expr": expression,
                "legendFormat": legend,
            })
        })
        .collect();
    let (kind, defaults) = match panel.form {
        Form::Chart => ("timeseries", json!({"unit": panel.unit, "min": 0})),
        Form::Figure { red, below } => {
            let (low, high) = if below {
                ("red", "green")
            } else {
                ("green", "red")
            };
            let steps = json!([
                {"color": low, "value": null},
                {"color": high, "value": red},
            ]);
            let thresholds = json!({"mode": "absolute", "steps": steps});
            (
                "stat",
                json!({"unit": panel.unit, "thresholds": thresholds}),
            )
        }
    };
    json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "datasource": source,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": targets,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guide, whose table of names is what is served.
    const GUIDE: &str = include_str!("../../../../docs/guide/monitoring.md");

    #[test]
    fn the_dashboard_draws_on_metrics_that_are_served() {
        let lines = ROWS
            .iter()
            .flat_map(|row| row.panels)
            .flat_map(|one| one.lines);
        let words = lines.flat_map(|(_, expression)| {
            expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        });
        let ours = ["kafka_", "duramen_", "process_"];
        let mut count = 0;
        for metric in words.filter(|word| ours.iter().any(|prefix| word.starts_with(prefix))) {
            let served = |name: &str| GUIDE.contains(&format!("| `{name}` |"));
            let part = metric.strip_suffix("_bucket").is_some_and(served);
            assert!(served(metric) || part, "{metric}");
            count += 1;
        }
        assert!(count > 30, "{count}");
    }

    #[test]
    fn panels_stand_beside_and_below_each_other() {
        let page: Value = serde_json::from_str(&page()).expect("JSON");
        let panels = page["panels"].as_array().expect("panels");
        let mut ids = Vec::new();
        let mut taken = Vec::new();
        for panel in panels {
            ids.push(panel["id"].as_u64().expect("an id"));
            let at = |side: &str| panel["gridPos"][side].as_u64().expect("a place");
            assert!(at("x") + at("w") <= GRID);
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(!taken.contains(&(x, y)), "{panel}");
                    taken.push((x, y));
                }
            }
        }
        assert_eq!(ids, (1..=panels.len() as u64).collect::<Vec<_>>());
    }
}
