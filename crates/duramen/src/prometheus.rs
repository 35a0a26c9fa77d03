//! Metrics in Prometheus' text format.
//!
//! Names are those that dashboards for Kafka query where Kafka has the figure, `duramen_*` where it
//! is ours. Counters start at zero with the process.

use std::fmt::Write;

use broker::{LATENCY_BUCKETS, Snapshot};

/// Renders a snapshot.
pub fn render(snapshot: &Snapshot) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    page.counter(
        "kafka_server_brokertopicmetrics_messagesin_total",
        "Records appended for clients.",
        snapshot.messages_in,
    );
    page.counter(
        "kafka_server_brokertopicmetrics_bytesin_total",
        "Bytes of record batches appended for clients.",
        snapshot.message_bytes_in,
    );
    page.counter(
        "kafka_server_brokertopicmetrics_bytesout_total",
        "Bytes of record batches handed to readers.",
        snapshot.message_bytes_out,
    );
    page.counter(
        "kafka_server_brokertopicmetrics_totalproducerequests_total",
        "Produce requests.",
        requests(snapshot, "Produce"),
    );
    page.counter(
        "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        "Fetch requests.",
        requests(snapshot, "Fetch"),
    );
    page.counter(
        "kafka_server_brokertopicmetrics_failedproducerequests_total",
        "Partitions of Produce requests that were answered with an error.",
        snapshot.produce_failed,
    );
    page.counter(
        "kafka_server_brokertopicmetrics_failedfetchrequests_total",
        "Partitions of Fetch requests that were answered with an error.",
        snapshot.fetch_failed,
    );
    page.counter(
        "duramen_batches_in_total",
        "Record batches appended for clients.",
        snapshot.batches_in,
    );
    page.counter(
        "duramen_received_bytes_total",
        "Bytes read from sockets.",
        snapshot.bytes_received,
    );
    page.counter(
        "duramen_sent_bytes_total",
        "Bytes written to sockets.",
        snapshot.bytes_sent,
    );
    page.gauge(
        "duramen_connections",
        "Connections now.",
        snapshot.connections,
    );
    page.counter(
        "duramen_connections_opened_total",
        "Connections that were accepted.",
        snapshot.connections_opened,
    );
    page.head(
        "duramen_connections_closed_total",
        "Connections that ended, by reason.",
        "counter",
    );
    for (reason, count) in &snapshot.connections_closed {
        page.line(format_args!(
            "duramen_connections_closed_total{{reason=\"{reason}\"}} {count}"
        ));
    }
    page.gauge(
        "duramen_request_bytes",
        "Bytes of received, not yet handled requests held now.",
        snapshot.request_bytes,
    );
    page.counter(
        "duramen_request_permit_waits_total",
        "Times a connection waited for the request bytes of others.",
        snapshot.permit_waits,
    );
    page.counter(
        "duramen_staging_full_total",
        "Times the staging buffers of the log were full and clients were held back.",
        snapshot.stalls,
    );
    latencies(&mut page, snapshot);
    page.0
}

fn requests(snapshot: &Snapshot, api: &str) -> u64 {
    snapshot.apis.get(api).map_or(0, |counted| counted.requests)
}

fn latencies(page: &mut Page, snapshot: &Snapshot) {
    const NAME: &str = "duramen_request_latency_seconds";
    page.head(
        NAME,
        "Time from a request taken up to its answer decided.",
        "histogram",
    );
    for (api, counted) in &snapshot.apis {
        let mut below = 0;
        for (at, count) in counted.buckets.iter().enumerate() {
            below += count;
            // The last bucket is open: it is the +Inf line.
            if at + 1 < LATENCY_BUCKETS {
                let bound = (1u64 << at) as f64 / 1e6;
                page.line(format_args!(
                    "{NAME}_bucket{{api=\"{api}\",le=\"{bound}\"}} {below}"
                ));
            }
        }
        page.line(format_args!(
            "{NAME}_bucket{{api=\"{api}\",le=\"+Inf\"}} {below}"
        ));
        let seconds = counted.micros as f64 / 1e6;
        page.line(format_args!("{NAME}_sum{{api=\"{api}\"}} {seconds}"));
        page.line(format_args!("{NAME}_count{{api=\"{api}\"}} {below}"));
    }
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "counter");
        self.line(format_args!("{name} {value}"));
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, help, "gauge");
        self.line(format_args!("{name} {value}"));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.0.write_fmt(line);
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_has_its_help_and_type_once() {
        let mut snapshot = Snapshot {
            messages_in: 7,
            ..Snapshot::default()
        };
        snapshot.apis.entry("Fetch").or_default().buckets[3] = 2;
        snapshot.connections_closed.insert("peer", 1);
        let text = render(&snapshot);
        assert!(text.contains("\nkafka_server_brokertopicmetrics_messagesin_total 7\n"));
        let bucket = "duramen_request_latency_seconds_bucket{api=\"Fetch\",le=\"+Inf\"} 2";
        assert!(text.contains(bucket), "{text}");
        let mut typed: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .filter_map(|line| line.split(' ').next())
            .collect();
        let count = typed.len();
        typed.sort_unstable();
        typed.dedup();
        assert_eq!(typed.len(), count);
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let name = sample.split(['{', ' ']).next().unwrap_or_default();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            assert!(typed.contains(&base), "{sample}");
        }
    }
}
