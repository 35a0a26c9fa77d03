//! What was measured, in figures.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, words};

/// Longest latency told apart, microseconds: an hour.
const MICROS_MAX: u64 = 3_600_000_000;
/// Digits that are kept of a latency.
const DIGITS: u8 = 3;

/// Latencies and counts while a run goes on.
pub struct Tally {
    histogram: Histogram<u64>,
    /// Records done.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

/// The figures of a run. Field names are API.
#[derive(Serialize)]
pub struct Report {
    bench: &'static str,
    topic: String,
    records: u64,
    bytes: u64,
    seconds: f64,
    records_per_second: f64,
    bytes_per_second: f64,
    /// What was asked for; none without `--rate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted_per_second: Option<u64>,
    #[serde(flatten)]
    latency: Option<Latency>,
}

/// Latencies, milliseconds.
#[derive(Serialize)]
struct Latency {
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Result<Tally, Failure> {
        let histogram = Histogram::new_with_bounds(1, MICROS_MAX, DIGITS)
            .map_err(|error| Failure::new("bench", error.to_string(), "report this as a bug"))?;
        Ok(Tally {
            histogram,
            records: 0,
            bytes: 0,
        })
    }

    /// A record took so long.
    pub fn late(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(MICROS_MAX);
        self.histogram
            .saturating_record(micros.clamp(1, MICROS_MAX));
    }

    /// What another client measured beside this one.
    pub fn add(&mut self, other: &Tally) {
        self.records += other.records;
        self.bytes += other.bytes;
        // The bounds are the same, so nothing is out of them.
        let _ = self.histogram.add(&other.histogram);
    }

    /// The figures.
    pub fn report(
        &self,
        bench: &'static str,
        topic: &str,
        took: Duration,
        wanted_per_second: Option<u64>,
    ) -> Report {
        let seconds = took.as_secs_f64().max(1e-9);
        let at = |quantile: f64| self.histogram.value_at_quantile(quantile) as f64 / 1e3;
        let latency = (!self.histogram.is_empty()).then(|| Latency {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.histogram.max() as f64 / 1e3,
        });
        Report {
            bench,
            topic: topic.to_owned(),
            records: self.records,
            bytes: self.bytes,
            seconds,
            records_per_second: self.records as f64 / seconds,
            bytes_per_second: self.bytes as f64 / seconds,
            wanted_per_second,
            latency,
        }
    }
}

/// Writes the figures.
pub fn show(report: &Report, output: &mut Output) -> Result<(), Failure> {
    if !output.is_table() {
        output.json(report)?;
        return output.flush();
    }
    let mut text = format!(
        "{} records, {} in {:.1} s\n{}, {}/s\n",
        report.records,
        words::bytes(report.bytes),
        report.seconds,
        words::rate(report.records_per_second),
        words::bytes(report.bytes_per_second as u64),
    );
    if let Some(wanted) = report.wanted_per_second
        && report.records_per_second < wanted as f64 * 0.95
    {
        text.push_str(&format!(
            "{wanted}/s were wanted: the cluster is at its limit\n"
        ));
    }
    if let Some(latency) = &report.latency {
        text.push_str(&format!(
            "latency  p50 {:.2} ms  p90 {:.2} ms  p99 {:.2} ms  p99.9 {:.2} ms  max {:.2} ms\n",
            latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p999_ms, latency.max_ms
        ));
    }
    output.text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_all_clients_together() {
        let mut one = Tally::new().expect("bounds");
        let mut other = Tally::new().expect("bounds");
        for ms in 1..=99 {
            one.late(Duration::from_millis(ms));
            one.records += 1;
        }
        other.late(Duration::from_millis(500));
        other.records += 1;
        one.add(&other);
        let report = one.report("produce", "t", Duration::from_secs(2), None);
        assert_eq!(report.records, 100);
        assert!((report.records_per_second - 50.0).abs() < 1e-6);
        let latency = report.latency.expect("there were some");
        assert!((latency.p50_ms - 50.0).abs() < 0.1, "{}", latency.p50_ms);
        assert!((latency.max_ms - 500.0).abs() < 1.0);
    }
}
