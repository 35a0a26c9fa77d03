//! A dashboard for Grafana over the metrics that are served.

use serde_json::{Value, json};

/// Columns of Grafana's grid.
const GRID: u64 = 24;
/// Height of a panel in its rows.
const HEIGHT: u64 = 8;

/// A panel: its title, its unit in Grafana's words, and its lines as legend and expression.
type Panel = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
);

/// In reading order, two a row.
const PANELS: [Panel; 8] = [
    (
        "Records in",
        "reqps",
        &[(
            "in",
            "sum(rate(kafka_server_brokertopicmetrics_messagesin_total[1m]))",
        )],
    ),
    (
        "Bytes in and out",
        "Bps",
        &[
            (
                "in",
                "sum(rate(kafka_server_brokertopicmetrics_bytesin_total[1m]))",
            ),
            (
                "out",
                "sum(rate(kafka_server_brokertopicmetrics_bytesout_total[1m]))",
            ),
        ],
    ),
    (
        "Produce: time to the decision",
        "s",
        &[
            (
                "p50",
                "histogram_quantile(0.5, sum by (le) \
                 (rate(duramen_request_latency_seconds_bucket{api=\"Produce\"}[1m])))",
            ),
            (
                "p99",
                "histogram_quantile(0.99, sum by (le) \
                 (rate(duramen_request_latency_seconds_bucket{api=\"Produce\"}[1m])))",
            ),
        ],
    ),
    (
        "Requests by kind",
        "reqps",
        &[(
            "{{api}}",
            "sum by (api) (rate(duramen_request_latency_seconds_count[1m]))",
        )],
    ),
    (
        "Failed requests",
        "reqps",
        &[
            (
                "produce",
                "sum(rate(kafka_server_brokertopicmetrics_failedproducerequests_total[1m]))",
            ),
            (
                "fetch",
                "sum(rate(kafka_server_brokertopicmetrics_failedfetchrequests_total[1m]))",
            ),
        ],
    ),
    (
        "Connections",
        "short",
        &[("open", "sum(duramen_connections)")],
    ),
    (
        "Clients held back",
        "reqps",
        &[
            ("log full", "sum(rate(duramen_staging_full_total[1m]))"),
            (
                "requests waiting",
                "sum(rate(duramen_request_permit_waits_total[1m]))",
            ),
        ],
    ),
    (
        "Connections that ended",
        "reqps",
        &[(
            "{{reason}}",
            "sum by (reason) (rate(duramen_connections_closed_total[1m]))",
        )],
    ),
];

/// The dashboard, as Grafana imports it.
pub fn page() -> String {
    let panels: Vec<Value> = PANELS.iter().zip(0u64..).map(panel).collect();
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
        "panels": panels,
    });
    // The alternate form indents.
    format!("{page:#}\n")
}

fn panel((panel, number): (&Panel, u64)) -> Value {
    let (title, unit, lines) = panel;
    let source = json!({"type": "prometheus", "uid": "${source}"});
    let targets: Vec<Value> = lines
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
    json!({
        "id": number + 1,
        "type": "timeseries",
        "title": title,
        "datasource": source,
        "gridPos": {
            "x": number % 2 * (GRID / 2),
            "y": number / 2 * HEIGHT,
            "w": GRID / 2,
            "h": HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": targets,
    })
}

/// The names of the metrics that the dashboard draws on.
#[cfg(test)]
fn metrics() -> Vec<String> {
    let expressions = PANELS.iter().flat_map(|(_, _, lines)| lines.iter());
    let words = expressions.flat_map(|(_, expression)| {
        expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
    });
    let named = words.filter(|word| word.starts_with("kafka_") || word.starts_with("duramen_"));
    named.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guide, which names what is served.
    const SERVED: &str = include_str!("../../../../docs/guide/monitoring.md");

    #[test]
    fn the_dashboard_is_json_and_draws_on_metrics_that_are_served() {
        let page: Value = serde_json::from_str(&page()).expect("JSON");
        assert_eq!(page["panels"].as_array().map(Vec::len), Some(PANELS.len()));
        for metric in metrics() {
            let base = ["_bucket", "_count", "_sum"]
                .iter()
                .find_map(|suffix| metric.strip_suffix(suffix))
                .unwrap_or(&metric);
            assert!(SERVED.contains(&format!("| `{base}` |")), "{metric}");
        }
    }
}
