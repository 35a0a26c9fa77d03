//! OTLP's metrics in JSON: lowerCamelCase names, 64-bit integers as text, enumerations as numbers.

use commitlog::FLUSH_BUCKETS;
use serde_json::{Value as Json, json};

use super::message::{Family, Labels, Times, bounds};
use crate::metrics::{Kind, Label, Value};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// Adds an element to a list that will stand in brackets.
fn add(list: &mut Vec<u8>, element: &Json) {
    if !list.is_empty() {
        list.push(b',');
    }
    list.extend_from_slice(element.to_string().as_bytes());
}

fn attribute(key: &str, text: &str) -> Json {
    json!({"key": key, "value": {"stringValue": text}})
}

fn attributes(labels: &Labels<'_>) -> Vec<Json> {
    let one = |(key, value): &(&'static str, Label<'_>)| match value {
        Label::Text(text) => attribute(key, text),
        Label::Number(number) => attribute(key, &number.to_string()),
    };
    labels.iter().map(one).collect()
}

/// `NumberDataPoint`.
pub fn number(points: &mut Vec<u8>, labels: &Labels<'_>, value: Value, times: Times) {
    let mut point = json!({
        "attributes": attributes(labels),
        "startTimeUnixNano": times.start.to_string(),
        "timeUnixNano": times.now.to_string(),
    });
    match value {
        Value::Whole(number) => point["asInt"] = json!(number.to_string()),
        Value::Real(number) => point["asDouble"] = json!(number),
    }
    add(points, &point);
}

/// `HistogramDataPoint`.
pub fn histogram(
    points: &mut Vec<u8>,
    labels: &Labels<'_>,
    buckets: &[u64; FLUSH_BUCKETS],
    micros: u64,
    times: Times,
) {
    let counts: Vec<String> = buckets.iter().map(u64::to_string).collect();
    let point = json!({
        "attributes": attributes(labels),
        "startTimeUnixNano": times.start.to_string(),
        "timeUnixNano": times.now.to_string(),
        "count": buckets.iter().sum::<u64>().to_string(),
        "sum": micros as f64 / 1e6,
        "bucketCounts": counts,
        "explicitBounds": bounds().collect::<Vec<f64>>(),
    });
    add(points, &point);
}

/// `Metric`. The points are copied as they are, so the rest is written around them.
pub fn metric(metrics: &mut Vec<u8>, family: &Family, points: &[u8]) {
    if !metrics.is_empty() {
        metrics.push(b',');
    }
    let (data, after) = match family.kind {
        Kind::Gauge | Kind::Untyped => ("gauge", String::new()),
        Kind::Counter => (
            "sum",
            format!(",\"aggregationTemporality\":{CUMULATIVE},\"isMonotonic\":true"),
        ),
        Kind::Histogram => (
            "histogram",
            format!(",\"aggregationTemporality\":{CUMULATIVE}"),
        ),
    };
    let (name, help, unit) = (json!(family.name), json!(family.help), json!(family.unit));
    let head = format!("{{\"name\":{name},\"description\":{help},\"unit\":{unit},");
    metrics.extend_from_slice(head.as_bytes());
    metrics.extend_from_slice(format!("\"{data}\":{{\"dataPoints\":[").as_bytes());
    metrics.extend_from_slice(points);
    metrics.extend_from_slice(format!("]{after}}}}}").as_bytes());
}

/// `ExportMetricsServiceRequest`.
pub fn body(resource: &[(String, String)], metrics: &[u8]) -> Vec<u8> {
    let said: Vec<Json> = resource
        .iter()
        .map(|(key, value)| attribute(key, value))
        .collect();
    let scope = json!({"name": "duramen", "version": env!("CARGO_PKG_VERSION")});
    let resource = json!({"attributes": said});
    let mut body = Vec::with_capacity(metrics.len() + 1_024);
    body.extend_from_slice(
        format!(
            "{{\"resourceMetrics\":[{{\"resource\":{resource},\"scopeMetrics\":[{{\"scope\":{scope},\
             \"metrics\":["
        )
        .as_bytes(),
    );
    body.extend_from_slice(metrics);
    body.extend_from_slice(b"]}]}]}");
    body
}

/// How many points an answer says were not taken. What cannot be read says nothing.
pub fn rejected(response: &[u8]) -> u64 {
    let response: Json = serde_json::from_slice(response).unwrap_or_default();
    let count = &response["partialSuccess"]["rejectedDataPoints"];
    let text = count.as_str().and_then(|text| text.parse().ok());
    text.or_else(|| count.as_u64()).unwrap_or(0)
}
