//! Metrics in Prometheus' text format.
//!
//! Names are those that dashboards for Kafka query where Kafka has the figure, `duramen_*` where it
//! is ours. Counters start at zero with the process.

mod census;
pub(crate) mod process;

use std::borrow::Cow;
use std::fmt::Write;

use broker::{Census, LATENCY_BUCKETS, Snapshot};
use commitlog::{FLUSH_BUCKETS, StoreHealth, StoreMetrics};

use process::ProcessFigures;

/// Renders a snapshot and a census.
pub fn render(snapshot: &Snapshot, census: &Census, process: Option<&ProcessFigures>) -> String {
    let mut page = Page(String::with_capacity(64 * 1024));
    topics(&mut page, snapshot, census);
    connections(&mut page, snapshot);
    latencies(&mut page, snapshot);
    partitions_and_groups(&mut page, snapshot);
    shared_log(&mut page, &snapshot.store);
    data_directory(&mut page, snapshot);
    census::render(&mut page, census);
    if let Some(process) = process {
        process::render(&mut page, process);
    }
    page.0
}

/// What is counted of topics: of all together, without a label, and of each.
fn topics(page: &mut Page, snapshot: &Snapshot, census: &Census) {
    page.counter(
        "kafka_server_brokertopicmetrics_messagesin_total",
        "Records appended for clients.",
        snapshot.messages_in,
    );
    census::of_topics(
        page,
        census,
        "kafka_server_brokertopicmetrics_messagesin_total",
        |topic| topic.messages_in,
    );
    page.counter(
        "kafka_server_brokertopicmetrics_bytesin_total",
        "Bytes of record batches appended for clients.",
        snapshot.message_bytes_in,
    );
    census::of_topics(
        page,
        census,
        "kafka_server_brokertopicmetrics_bytesin_total",
        |topic| topic.bytes_in,
    );
    page.counter(
        "kafka_server_brokertopicmetrics_bytesout_total",
        "Bytes of record batches handed to readers.",
        snapshot.message_bytes_out,
    );
    census::of_topics(
        page,
        census,
        "kafka_server_brokertopicmetrics_bytesout_total",
        |topic| topic.bytes_out,
    );
    page.counter(
        "kafka_server_brokertopicmetrics_totalproducerequests_total",
        "Produce requests.",
        requests(snapshot, "Produce"),
    );
    census::of_topics(
        page,
        census,
        "kafka_server_brokertopicmetrics_totalproducerequests_total",
        |topic| topic.produces,
    );
    page.counter(
        "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        "Fetch requests.",
        requests(snapshot, "Fetch"),
    );
    census::of_topics(
        page,
        census,
        "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        |topic| topic.fetches,
    );
    page.counter(
        "kafka_server_brokertopicmetrics_failedproducerequests_total",
        "Partitions of Produce requests that were answered with an error.",
        snapshot.produce_failed,
    );
    census::of_topics(
        page,
        census,
        "kafka_server_brokertopicmetrics_failedproducerequests_total",
        |topic| topic.produce_failed,
    );
    page.counter(
        "kafka_server_brokertopicmetrics_failedfetchrequests_total",
        "Partitions of Fetch requests that were answered with an error.",
        snapshot.fetch_failed,
    );
    census::of_topics(
        page,
        census,
        "kafka_server_brokertopicmetrics_failedfetchrequests_total",
        |topic| topic.fetch_failed,
    );
}

fn connections(page: &mut Page, snapshot: &Snapshot) {
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
    const LISTENERS: &str = "kafka_server_socket_server_metrics_connection_count";
    page.head(LISTENERS, "Connections now, by listener.", "untyped");
    for (listener, count) in &snapshot.connections_of {
        page.line(format_args!(
            "{LISTENERS}{{listener=\"{listener}\"}} {count}"
        ));
    }
}

fn partitions_and_groups(page: &mut Page, snapshot: &Snapshot) {
    page.gauge(
        "kafka_server_replicamanager_partitioncount",
        "Partitions hosted here.",
        snapshot.partitions.hosted,
    );
    page.gauge(
        "kafka_server_replicamanager_leadercount",
        "Partitions led from here.",
        snapshot.partitions.led,
    );
    page.gauge(
        "kafka_server_replicamanager_underreplicatedpartitions",
        "Partitions led from here with fewer replicas in sync than there are.",
        snapshot.partitions.under_replicated,
    );
    page.gauge(
        "kafka_server_replicamanager_underminisrpartitioncount",
        "Partitions led from here with fewer replicas in sync than acks=all asks for.",
        snapshot.partitions.under_insync_min,
    );
    page.gauge(
        "kafka_controller_kafkacontroller_activecontrollercount",
        "1 where the cluster's metadata is decided.",
        u64::from(snapshot.is_controller),
    );
    page.counter(
        "kafka_controller_controllerstats_uncleanleaderelections_total",
        "Leaders chosen that may lack acknowledged records: none, ever.",
        0,
    );
    page.gauge(
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        "Partitions of the cluster without a leader.",
        snapshot.partitions.offline,
    );
    page.gauge(
        "duramen_groups",
        "Groups whose coordinator is here and loaded.",
        snapshot.groups.groups as u64,
    );
    page.gauge(
        "duramen_group_members",
        "Members of these groups.",
        snapshot.groups.members as u64,
    );
    page.gauge(
        "duramen_group_offsets",
        "Committed offsets of these groups.",
        snapshot.groups.offsets as u64,
    );
}

fn shared_log(page: &mut Page, store: &StoreMetrics) {
    page.counter(
        "duramen_wal_groups_total",
        "Groups of appends made durable, each by one flush.",
        store.groups,
    );
    page.counter(
        "duramen_wal_written_bytes_total",
        "Bytes written to the shared log, headers and padding included.",
        store.log_bytes,
    );
    const FSYNC: &str = "duramen_fsync_seconds";
    page.head(FSYNC, "Time a flush of the shared log took.", "histogram");
    page.histogram(FSYNC, "", &store.flush_buckets, store.flush_us);
    page.counter(
        "duramen_fsync_failures_total",
        "Flushes of the shared log that failed.",
        store.flush_failures,
    );
    page.counter(
        "duramen_wal_full_total",
        "Times a group found the shared log full and waited for a checkpoint.",
        store.log_full,
    );
    page.gauge("duramen_wal_slots", "Slots of the shared log.", store.slots);
    page.gauge(
        "duramen_wal_slots_free",
        "Slots of the shared log that may be written over.",
        store.slots_free,
    );
    page.counter(
        "duramen_checkpoints_total",
        "Checkpoints completed.",
        store.checkpoints,
    );
    page.counter(
        "duramen_checkpoint_failures_total",
        "Checkpoints that failed; each is tried again.",
        store.checkpoint_failures,
    );
}

fn data_directory(page: &mut Page, snapshot: &Snapshot) {
    let store = &snapshot.store;
    page.counter(
        "duramen_segment_failures_total",
        "Writes and syncs of segments that failed.",
        store.segment_failures,
    );
    page.counter(
        "duramen_segment_rebuilds_total",
        "Segments rebuilt from the shared log.",
        store.rebuilds,
    );
    page.gauge(
        "duramen_segment_files_open",
        "Segment files held open.",
        store.descriptors,
    );
    page.counter(
        "duramen_scrub_read_bytes_total",
        "Bytes of sealed segments read against their checksums.",
        store.scrubbed_bytes,
    );
    page.counter(
        "duramen_scrub_damaged_ranges_total",
        "Damaged ranges found by that.",
        store.scrub_damage,
    );
    compaction(page, store);
    page.gauge(
        "duramen_disk_free_bytes",
        "Free bytes of the filesystem with the data.",
        store.free_bytes,
    );
    page.gauge(
        "duramen_disk_free_min_bytes",
        "Free bytes below which producers are refused.",
        store.free_bytes_min,
    );
    page.gauge(
        "duramen_disk_free_resume_bytes",
        "Free bytes from which refused producers are served again.",
        store.free_bytes_resume,
    );
    page.gauge(
        "duramen_disk_full",
        "1 while producers are refused for want of free bytes.",
        u64::from(snapshot.health == StoreHealth::Full),
    );
    page.gauge(
        "kafka_log_logmanager_offlinelogdirectorycount",
        "1 when the data directory failed and acknowledges nothing more.",
        u64::from(matches!(snapshot.health, StoreHealth::Dead(_))),
    );
}

fn compaction(page: &mut Page, store: &StoreMetrics) {
    page.counter(
        "duramen_compactions_total",
        "Compaction passes completed.",
        store.compactions,
    );
    page.counter(
        "duramen_compaction_failures_total",
        "Compaction passes that failed.",
        store.compaction_failures,
    );
    page.counter(
        "duramen_compaction_read_bytes_total",
        "Bytes that compaction read.",
        store.compacted_bytes,
    );
    page.counter(
        "duramen_compaction_written_bytes_total",
        "Bytes that compaction wrote.",
        store.compaction_written_bytes,
    );
    page.gauge(
        "kafka_log_logcleaner_cleaner_recopy_percent",
        "What the last compaction pass wrote of what it copied from.",
        store.compaction_recopy_percent,
    );
    page.gauge(
        "kafka_log_logcleanermanager_max_dirty_percent",
        "Share of the dirtiest compacted log that is dirty.",
        store.compaction_dirty_percent,
    );
    // A name that ends so is a histogram's in this format, unless it has no type.
    const UNCLEANABLE: &str = "kafka_log_logcleanermanager_uncleanable_partitions_count";
    let help = "Compacted logs with damage or too many keys in one batch, which are left alone.";
    page.head(UNCLEANABLE, help, "untyped");
    page.line(format_args!(
        "{UNCLEANABLE} {}",
        store.compaction_uncleanable
    ));
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
        let label = format!("api=\"{api}\"");
        page.histogram(NAME, &label, &counted.buckets, counted.micros);
    }
}

// One way to print them serves both.
const _: () = assert!(LATENCY_BUCKETS == FLUSH_BUCKETS);

/// A label's value as the format wants it. Names of topics need none of that; groups and clients name
/// themselves.
fn escaped(value: &str) -> Cow<'_, str> {
    if !value.contains(['\\', '"', '\n']) {
        return Cow::Borrowed(value);
    }
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    Cow::Owned(escaped.replace('\n', "\\n"))
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

    /// One series of a histogram: bucket n counts what took less than 2^n microseconds and not less
    /// than half of it, and the last one is open.
    fn histogram(&mut self, name: &str, label: &str, buckets: &[u64; FLUSH_BUCKETS], micros: u64) {
        let (comma, labels) = match label {
            "" => ("", String::new()),
            label => (",", format!("{{{label}}}")),
        };
        let mut below = 0;
        for (at, count) in buckets.iter().enumerate() {
            below += count;
            if at + 1 < buckets.len() {
                let bound = (1u64 << at) as f64 / 1e6;
                self.line(format_args!(
                    "{name}_bucket{{{label}{comma}le=\"{bound}\"}} {below}"
                ));
            }
        }
        self.line(format_args!(
            "{name}_bucket{{{label}{comma}le=\"+Inf\"}} {below}"
        ));
        let seconds = micros as f64 / 1e6;
        self.line(format_args!("{name}_sum{labels} {seconds}"));
        self.line(format_args!("{name}_count{labels} {below}"));
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
        snapshot.store.flush_buckets[8] = 3;
        snapshot.store.flush_us = 600;
        snapshot.connections_closed.insert("peer", 1);
        let text = render(&snapshot, &Census::default(), None);
        assert!(text.contains("\nkafka_server_brokertopicmetrics_messagesin_total 7\n"));
        let bucket = "duramen_request_latency_seconds_bucket{api=\"Fetch\",le=\"+Inf\"} 2";
        assert!(text.contains(bucket), "{text}");
        for flush in [
            "duramen_fsync_seconds_bucket{le=\"0.000128\"} 0",
            "duramen_fsync_seconds_bucket{le=\"0.000256\"} 3",
            "duramen_fsync_seconds_sum 0.0006",
            "duramen_fsync_seconds_count 3",
        ] {
            assert!(text.lines().any(|line| line == flush), "{text}");
        }
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
                .filter(|base| typed.contains(base))
                .unwrap_or(name);
            assert!(typed.contains(&base), "{sample}");
        }
    }
}
