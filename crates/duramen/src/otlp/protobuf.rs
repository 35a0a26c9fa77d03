//! OTLP's metrics in protobuf's wire format.
//!
//! Field numbers are those of opentelemetry-proto 1.x, `metrics/v1/metrics.proto` and
//! `common/v1/common.proto`, which are stable. Eight messages of plain fields: a generator and its
//! library would be more than what they write.

use commitlog::FLUSH_BUCKETS;

use super::message::{Family, Labels, Times, bounds};
use crate::metrics::{Kind, Label, Value};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn tag(out: &mut Vec<u8>, field: u64, kind: u64) {
    varint(out, field << 3 | kind);
}

fn number_field(out: &mut Vec<u8>, field: u64, value: u64) {
    tag(out, field, VARINT);
    varint(out, value);
}

fn fixed64(out: &mut Vec<u8>, field: u64, bits: u64) {
    tag(out, field, FIXED64);
    out.extend_from_slice(&bits.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    tag(out, field, LENGTH);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// `KeyValue` with a text.
fn attribute(out: &mut Vec<u8>, field: u64, key: &str, text: &str) {
    let mut value = Vec::with_capacity(text.len() + 4);
    bytes(&mut value, 1, text.as_bytes());
    let mut pair = Vec::with_capacity(key.len() + value.len() + 8);
    bytes(&mut pair, 1, key.as_bytes());
    bytes(&mut pair, 2, &value);
    bytes(out, field, &pair);
}

fn attributes(out: &mut Vec<u8>, field: u64, labels: &Labels<'_>) {
    for (key, value) in labels {
        match value {
            Label::Text(text) => attribute(out, field, key, text),
            Label::Number(number) => attribute(out, field, key, &number.to_string()),
        }
    }
}

/// `NumberDataPoint`, as a `data_points` of what holds it.
pub fn number(points: &mut Vec<u8>, labels: &Labels<'_>, value: Value, times: Times) {
    let mut point = Vec::with_capacity(128);
    fixed64(&mut point, 2, times.start);
    fixed64(&mut point, 3, times.now);
    match value {
        Value::Real(value) => fixed64(&mut point, 4, value.to_bits()),
        Value::Whole(value) => fixed64(&mut point, 6, value as u64),
    }
    attributes(&mut point, 7, labels);
    bytes(points, 1, &point);
}

/// `HistogramDataPoint`, likewise.
pub fn histogram(
    points: &mut Vec<u8>,
    labels: &Labels<'_>,
    buckets: &[u64; FLUSH_BUCKETS],
    micros: u64,
    times: Times,
) {
    let mut point = Vec::with_capacity(512);
    fixed64(&mut point, 2, times.start);
    fixed64(&mut point, 3, times.now);
    fixed64(&mut point, 4, buckets.iter().sum());
    fixed64(&mut point, 5, (micros as f64 / 1e6).to_bits());
    let counts: Vec<u8> = buckets
        .iter()
        .flat_map(|count| count.to_le_bytes())
        .collect();
    bytes(&mut point, 6, &counts);
    let bounds: Vec<u8> = bounds().flat_map(f64::to_le_bytes).collect();
    bytes(&mut point, 7, &bounds);
    attributes(&mut point, 9, labels);
    bytes(points, 1, &point);
}

/// `Metric`, as a `metrics` of `ScopeMetrics`.
pub fn metric(metrics: &mut Vec<u8>, family: &Family, points: &[u8]) {
    let mut data = points.to_vec();
    let field = match family.kind {
        Kind::Gauge | Kind::Untyped => 5,
        Kind::Counter => {
            number_field(&mut data, 2, CUMULATIVE);
            number_field(&mut data, 3, 1);
            7
        }
        Kind::Histogram => {
            number_field(&mut data, 2, CUMULATIVE);
            9
        }
    };
    let mut metric = Vec::with_capacity(data.len() + 256);
    bytes(&mut metric, 1, family.name.as_bytes());
    bytes(&mut metric, 2, family.help.as_bytes());
    if !family.unit.is_empty() {
        bytes(&mut metric, 3, family.unit.as_bytes());
    }
    bytes(&mut metric, field, &data);
    bytes(metrics, 2, &metric);
}

/// `ExportMetricsServiceRequest`.
pub fn body(resource: &[(String, String)], metrics: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    for (key, value) in resource {
        attribute(&mut said, 1, key, value);
    }
    let mut scope = Vec::new();
    bytes(&mut scope, 1, b"duramen");
    bytes(&mut scope, 2, env!("CARGO_PKG_VERSION").as_bytes());
    let mut scoped = Vec::with_capacity(metrics.len() + 64);
    bytes(&mut scoped, 1, &scope);
    scoped.extend_from_slice(metrics);
    let mut one = Vec::with_capacity(scoped.len() + said.len() + 16);
    bytes(&mut one, 1, &said);
    bytes(&mut one, 2, &scoped);
    let mut body = Vec::with_capacity(one.len() + 8);
    bytes(&mut body, 1, &one);
    body
}

/// How many points an `ExportMetricsServiceResponse` says were not taken. What cannot be read says
/// nothing.
pub fn rejected(response: &[u8]) -> u64 {
    let Some(partial) = field(response, 1) else {
        return 0;
    };
    match field(partial, 1) {
        Some(count) => read_varint(count).map_or(0, |(count, _)| count),
        None => 0,
    }
}

/// The bytes of the last field of this number: its content, or its varint.
fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    let mut found = None;
    while !message.is_empty() {
        let (key, rest) = read_varint(message)?;
        let (content, rest) = match key & 7 {
            VARINT => {
                let (_, after) = read_varint(rest)?;
                rest.split_at(rest.len() - after.len())
            }
            FIXED64 => rest.split_at_checked(8)?,
            LENGTH => {
                let (length, rest) = read_varint(rest)?;
                rest.split_at_checked(usize::try_from(length).ok()?)?
            }
            5 => rest.split_at_checked(4)?,
            _ => return None,
        };
        if key >> 3 == wanted {
            found = Some(content);
        }
        message = rest;
    }
    found
}

fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_says_how_much_was_not_taken() {
        // { partial_success: { rejected_data_points: 300, error_message: "no" } }
        let response = [0x0a, 0x07, 0x08, 0xac, 0x02, 0x12, 0x02, b'n', b'o'];
        assert_eq!(rejected(&response), 300);
        assert_eq!(rejected(&[]), 0);
        for broken in [&response[..4], &[0xff; 20][..], &[0x0a, 0x7f]] {
            assert_eq!(rejected(broken), 0, "{broken:?}");
        }
    }
}
