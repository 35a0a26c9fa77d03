//! Reads what a collector gets, by the field numbers of opentelemetry-proto, into series and values
//! as Prometheus writes them.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// Series, and their values.
pub type Series = BTreeMap<String, f64>;

/// What a body says: of the process, and in series.
#[derive(Debug, Default, PartialEq)]
pub struct Told {
    pub resource: BTreeMap<String, String>,
    pub series: Series,
    /// Kind of each metric: `gauge`, `sum`, `histogram`.
    pub kinds: BTreeMap<String, String>,
}

/// A field's content.
enum Field<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> &'a [u8] {
        match self {
            Field::Bytes(bytes) => bytes,
            _ => panic!("bytes are expected"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).expect("text")
    }

    fn fixed(&self) -> u64 {
        match self {
            Field::Fixed(bits) => *bits,
            _ => panic!("eight bytes are expected"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for at in 0.. {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * at);
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn fields(mut message: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut message)),
            1 => {
                let (bits, rest) = message.split_first_chunk::<8>().expect("eight bytes");
                message = rest;
                Field::Fixed(u64::from_le_bytes(*bits))
            }
            2 => {
                let length = varint(&mut message) as usize;
                let (bytes, rest) = message.split_at(length);
                message = rest;
                Field::Bytes(bytes)
            }
            other => panic!("no wire type of ours: {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn all<'a>(message: &'a [u8], number: u64) -> impl Iterator<Item = Field<'a>> {
    let found = fields(message).into_iter();
    found
        .filter(move |(at, _)| *at == number)
        .map(|(_, field)| field)
}

fn one(message: &[u8], number: u64) -> Field<'_> {
    all(message, number).next().expect("the field")
}

fn attribute(pair: &[u8]) -> (String, String) {
    (one(pair, 1).text(), one(one(pair, 2).bytes(), 1).text())
}

fn named(name: &str, labels: &[(String, String)]) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}=\"{value}\""))
        .collect();
    match labels.is_empty() {
        true => name.to_owned(),
        false => format!("{name}{{{}}}", labels.join(",")),
    }
}

pub fn put(series: &mut Series, name: String, value: f64) {
    assert!(series.insert(name.clone(), value).is_none(), "{name} twice");
}

fn put_histogram(
    series: &mut Series,
    name: &str,
    labels: &[(String, String)],
    counts: &[u64],
    bounds: &[f64],
    (count, sum): (u64, f64),
) {
    assert_eq!(counts.len(), bounds.len() + 1);
    assert_eq!(counts.iter().sum::<u64>(), count);
    let mut below = 0;
    for (at, count) in counts.iter().enumerate() {
        below += count;
        let bound = bounds.get(at).map_or("+Inf".to_owned(), f64::to_string);
        let labels = [labels, &[("le".to_owned(), bound)]].concat();
        put(
            series,
            named(&format!("{name}_bucket"), &labels),
            below as f64,
        );
    }
    put(series, named(&format!("{name}_sum"), labels), sum);
    put(
        series,
        named(&format!("{name}_count"), labels),
        count as f64,
    );
}

/// Reads a body in protobuf.
pub fn protobuf(body: &[u8]) -> Told {
    let mut told = Told::default();
    for one_resource in all(body, 1) {
        let resource = one(one_resource.bytes(), 1);
        told.resource
            .extend(all(resource.bytes(), 1).map(|pair| attribute(pair.bytes())));
        for scoped in all(one_resource.bytes(), 2) {
            assert_eq!(one(one(scoped.bytes(), 1).bytes(), 1).text(), "duramen");
            for metric in all(scoped.bytes(), 2) {
                read_metric(&mut told, metric.bytes());
            }
        }
    }
    told
}

fn read_metric(told: &mut Told, metric: &[u8]) {
    let name = one(metric, 1).text();
    assert!(!one(metric, 2).text().is_empty());
    let (number, data) = fields(metric).into_iter().next_back().expect("data");
    let data = data.bytes();
    let kind = match number {
        5 => "gauge",
        7 => "sum",
        9 => "histogram",
        other => panic!("no kind of ours: {other}"),
    };
    told.kinds.insert(name.clone(), kind.to_owned());
    if kind != "gauge" {
        assert!(matches!(one(data, 2), Field::Number(2)), "cumulative");
    }
    if kind == "sum" {
        assert!(matches!(one(data, 3), Field::Number(1)), "monotonic");
    }
    for point in all(data, 1) {
        let point = point.bytes();
        assert!(one(point, 2).fixed() <= one(point, 3).fixed());
        let labels = if kind == "histogram" { 9 } else { 7 };
        let labels: Vec<_> = all(point, labels)
            .map(|pair| attribute(pair.bytes()))
            .collect();
        if kind == "histogram" {
            let words = |number| -> Vec<u64> {
                let packed = one(point, number);
                let (words, rest) = packed.bytes().as_chunks::<8>();
                assert!(rest.is_empty());
                words.iter().map(|word| u64::from_le_bytes(*word)).collect()
            };
            let bounds: Vec<f64> = words(7).into_iter().map(f64::from_bits).collect();
            let totals = (one(point, 4).fixed(), f64::from_bits(one(point, 5).fixed()));
            put_histogram(&mut told.series, &name, &labels, &words(6), &bounds, totals);
            continue;
        }
        let real = all(point, 4)
            .next()
            .map(|bits| f64::from_bits(bits.fixed()));
        let whole = all(point, 6).next().map(|bits| bits.fixed() as i64 as f64);
        let value = real.or(whole).expect("a value");
        put(&mut told.series, named(&name, &labels), value);
    }
}

/// Reads a body in JSON.
pub fn json(body: &[u8]) -> Told {
    let body: Json = serde_json::from_slice(body).expect("JSON");
    let mut told = Told::default();
    let list = |of: &Json| of.as_array().cloned().unwrap_or_default();
    let text = |of: &Json| of.as_str().expect("text").to_owned();
    let attributes = |of: &Json| -> Vec<(String, String)> {
        let pair = |pair: &Json| (text(&pair["key"]), text(&pair["value"]["stringValue"]));
        list(&of["attributes"]).iter().map(pair).collect()
    };
    let whole = |of: &Json| -> i64 { text(of).parse().expect("a whole number") };
    for resource in list(&body["resourceMetrics"]) {
        told.resource.extend(attributes(&resource["resource"]));
        for scoped in list(&resource["scopeMetrics"]) {
            for metric in list(&scoped["metrics"]) {
                let name = text(&metric["name"]);
                let kinds = ["gauge", "sum", "histogram"];
                let kind = kinds.iter().find(|kind| metric[**kind].is_object());
                let kind = *kind.expect("a kind");
                told.kinds.insert(name.clone(), kind.to_owned());
                if kind != "gauge" {
                    assert_eq!(metric[kind]["aggregationTemporality"], 2);
                }
                for point in list(&metric[kind]["dataPoints"]) {
                    let labels = attributes(&point);
                    assert!(whole(&point["startTimeUnixNano"]) <= whole(&point["timeUnixNano"]));
                    if kind == "histogram" {
                        let counts: Vec<u64> = list(&point["bucketCounts"])
                            .iter()
                            .map(|count| whole(count) as u64)
                            .collect();
                        let bounds: Vec<f64> = list(&point["explicitBounds"])
                            .iter()
                            .map(|bound| bound.as_f64().expect("a number"))
                            .collect();
                        let sum = point["sum"].as_f64().expect("a sum");
                        let totals = (whole(&point["count"]) as u64, sum);
                        put_histogram(&mut told.series, &name, &labels, &counts, &bounds, totals);
                        continue;
                    }
                    let real = point["asDouble"].as_f64();
                    let value = real.unwrap_or_else(|| whole(&point["asInt"]) as f64);
                    put(&mut told.series, named(&name, &labels), value);
                }
            }
        }
    }
    told
}
