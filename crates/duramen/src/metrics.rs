//! Every metric that is told: its name, its meaning, and where its value comes from.
//!
//! Told to a [`Writer`], whoever that is: the page that Prometheus scrapes and what is pushed to a
//! collector have the same names and values, because there is one telling.
//!
//! Names are those that dashboards for Kafka query where Kafka has the figure, `duramen_*` where it
//! is ours. Counters start at zero with the process. Labels of the families here come from lists in
//! the program; those of topics, partitions and groups are in `census`, which is bounded.

mod census;
pub(crate) mod process;
mod writer;

use broker::{Census, LATENCY_BUCKETS, Snapshot};
use commitlog::{FLUSH_BUCKETS, StoreHealth, StoreMetrics};

pub use writer::{Kind, Label, Value, Writer};

use process::ProcessFigures;

/// The figures of one moment.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// What the broker counts.
    pub snapshot: Snapshot,
    /// Its topics, partitions and groups.
    pub census: Census,
    /// What the system knows of the process; `None` where it cannot be asked.
    pub process: Option<ProcessFigures>,
    /// Days until producers are refused for want of space; `None` if the disk does not fill up.
    pub disk_days_left: Option<f64>,
    /// What became of pushes to a collector; `None` if there is none.
    pub pushes: Option<Pushes>,
}

/// Pushes to a collector, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushes {
    /// Pushes that arrived.
    pub delivered: u64,
    /// Pushes that were given up.
    pub failed: u64,
}

/// Tells everything.
pub fn tell(page: &mut dyn Writer, figures: &Figures) {
    let (snapshot, census) = (&figures.snapshot, &figures.census);
    topics(page, snapshot, census);
    requests(page, snapshot);
    connections(page, snapshot);
    fetch_sessions(page, snapshot);
    partitions_and_groups(page, snapshot);
    shared_log(page, &snapshot.store);
    data_directory(page, snapshot);
    disk(page, figures);
    census::tell(page, census);
    pushes(page, figures.pushes);
    build(page);
    process::tell(page, figures.process.as_ref());
}

/// What is counted of topics: of all together, without a label, and of each.
fn topics(page: &mut dyn Writer, snapshot: &Snapshot, census: &Census) {
    page.counter(
        "kafka_server_brokertopicmetrics_messagesin_total",
        "Records appended for clients.",
        snapshot.messages_in,
    );
    census::of_topics(page, census, |topic| topic.messages_in);
    page.counter(
        "kafka_server_brokertopicmetrics_bytesin_total",
        "Bytes of record batches appended for clients.",
        snapshot.message_bytes_in,
    );
    census::of_topics(page, census, |topic| topic.bytes_in);
    page.counter(
        "kafka_server_brokertopicmetrics_bytesout_total",
        "Bytes of record batches handed to readers.",
        snapshot.message_bytes_out,
    );
    census::of_topics(page, census, |topic| topic.bytes_out);
    page.counter(
        "kafka_server_brokertopicmetrics_totalproducerequests_total",
        "Produce requests.",
        taken_up(snapshot, "Produce"),
    );
    census::of_topics(page, census, |topic| topic.produces);
    page.counter(
        "kafka_server_brokertopicmetrics_totalfetchrequests_total",
        "Fetch requests.",
        taken_up(snapshot, "Fetch"),
    );
    census::of_topics(page, census, |topic| topic.fetches);
    page.counter(
        "kafka_server_brokertopicmetrics_failedproducerequests_total",
        "Partitions of Produce requests that were answered with an error.",
        snapshot.produce_failed,
    );
    census::of_topics(page, census, |topic| topic.produce_failed);
    page.counter(
        "kafka_server_brokertopicmetrics_failedfetchrequests_total",
        "Partitions of Fetch requests that were answered with an error.",
        snapshot.fetch_failed,
    );
    census::of_topics(page, census, |topic| topic.fetch_failed);
}

fn connections(page: &mut dyn Writer, snapshot: &Snapshot) {
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
    page.gauge(
        "duramen_connections_max",
        "Connections that are served at once; further ones are closed.",
        snapshot.connections_max,
    );
    page.counter(
        "duramen_connections_refused_total",
        "Connections that were closed for being more than that.",
        snapshot.connections_refused,
    );
    page.family(
        "duramen_connections_closed_total",
        "Connections that ended, by reason.",
        Kind::Counter,
    );
    for (reason, count) in &snapshot.connections_closed {
        page.sample(&[("reason", Label::Text(reason))], (*count).into());
    }
    page.gauge(
        "duramen_request_bytes",
        "Bytes of received, not yet handled requests held now.",
        snapshot.request_bytes,
    );
    page.gauge(
        "duramen_request_bytes_max",
        "Bytes of them from which on sockets are not read.",
        snapshot.request_bytes_max,
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
    page.family(
        "duramen_throttles_total",
        "Times a client was held back by a quota, by the quota's key.",
        Kind::Counter,
    );
    for (quota, counts) in &snapshot.throttles {
        page.sample(&[("quota", Label::Text(quota))], counts.throttles.into());
    }
    page.family(
        "duramen_throttle_seconds_total",
        "Time that clients were held back by quotas, by the quota's key.",
        Kind::Counter,
    );
    for (quota, counts) in &snapshot.throttles {
        let seconds = counts.wait_ms as f64 / 1e3;
        page.sample(&[("quota", Label::Text(quota))], seconds.into());
    }
    page.family(
        "kafka_server_socket_server_metrics_connection_count",
        "Connections now, by listener.",
        Kind::Untyped,
    );
    for (listener, count) in &snapshot.connections_of {
        page.sample(&[("listener", Label::Text(listener))], (*count).into());
    }
}

/// What is counted of requests, by API.
fn requests(page: &mut dyn Writer, snapshot: &Snapshot) {
    page.family(
        "duramen_requests_total",
        "Requests taken up, by API.",
        Kind::Counter,
    );
    for (api, counted) in &snapshot.apis {
        page.sample(&[("api", Label::Text(api))], counted.requests.into());
    }
    page.family(
        "duramen_request_latency_seconds",
        "Time from a request taken up to its answer decided.",
        Kind::Histogram,
    );
    for (api, counted) in &snapshot.apis {
        let label = ("api", Label::Text(api));
        page.histogram(&[label], &counted.buckets, counted.micros);
    }
}

/// What readers asked for before, KIP-227.
fn fetch_sessions(page: &mut dyn Writer, snapshot: &Snapshot) {
    let sessions = &snapshot.fetch_sessions;
    page.family(
        "duramen_fetches_total",
        "Fetch requests: full ones name all they want, incremental ones what changed.",
        Kind::Counter,
    );
    for (kind, count) in [
        ("full", sessions.full),
        ("incremental", sessions.incremental),
    ] {
        page.sample(&[("kind", Label::Text(kind))], count.into());
    }
    page.counter(
        "duramen_fetch_session_errors_total",
        "Fetch requests refused for a session that is not there or at another epoch.",
        sessions.refused,
    );
    page.gauge(
        "duramen_fetch_sessions",
        "Fetch sessions remembered.",
        sessions.sessions,
    );
    page.gauge(
        "duramen_fetch_sessions_max",
        "Fetch sessions that can be: max.incremental.fetch.session.cache.slots.",
        sessions.sessions_max,
    );
    page.gauge(
        "duramen_fetch_session_partitions",
        "Partitions that they remember.",
        sessions.partitions,
    );
    page.counter(
        "duramen_fetch_session_evictions_total",
        "Fetch sessions that gave way to others.",
        sessions.evictions,
    );
}

fn partitions_and_groups(page: &mut dyn Writer, snapshot: &Snapshot) {
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
        "duramen_logs",
        "Logs of partitions in the data directory.",
        snapshot.store.partitions,
    );
    page.gauge(
        "duramen_logs_in_use",
        "Logs whose indexes and producers are in memory; the others were not asked for in a while.",
        snapshot.store.partitions_in_use,
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
    page.family(
        "duramen_group_rebalances_total",
        "Rebalances begun, by the protocol of the group.",
        Kind::Counter,
    );
    for (protocol, count) in [
        ("classic", snapshot.rebalances.classic),
        ("consumer", snapshot.rebalances.consumer),
    ] {
        page.sample(&[("protocol", Label::Text(protocol))], count.into());
    }
    page.counter(
        "duramen_group_records_skipped_total",
        "Records of groups that a newer version wrote and that were passed over at loading.",
        snapshot.groups.skipped_records,
    );
}

fn shared_log(page: &mut dyn Writer, store: &StoreMetrics) {
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
    page.family(
        "duramen_fsync_seconds",
        "Time a flush of the shared log took.",
        Kind::Histogram,
    );
    page.histogram(&[], &store.flush_buckets, store.flush_us);
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

fn data_directory(page: &mut dyn Writer, snapshot: &Snapshot) {
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
}

fn compaction(page: &mut dyn Writer, store: &StoreMetrics) {
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
    page.family(
        "kafka_log_logcleanermanager_uncleanable_partitions_count",
        "Compacted logs with damage or too many keys in one batch, which are left alone.",
        Kind::Untyped,
    );
    page.sample(&[], store.compaction_uncleanable.into());
}

fn disk(page: &mut dyn Writer, figures: &Figures) {
    let snapshot = &figures.snapshot;
    let store = &snapshot.store;
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
    page.family(
        "duramen_disk_days_left",
        "Days until producers are refused for want of space, as fast as it was used in the last \
         hours; absent while the space does not shrink.",
        Kind::Gauge,
    );
    if let Some(days) = figures.disk_days_left {
        page.sample(&[], days.into());
    }
}

fn pushes(page: &mut dyn Writer, pushes: Option<Pushes>) {
    page.family(
        "duramen_otlp_pushes_total",
        "Pushes of metrics to a collector, by how they ended; absent without one.",
        Kind::Counter,
    );
    let Some(pushes) = pushes else { return };
    for (result, count) in [("delivered", pushes.delivered), ("failed", pushes.failed)] {
        page.sample(&[("result", Label::Text(result))], count.into());
    }
}

fn build(page: &mut dyn Writer) {
    page.family(
        "duramen_build_info",
        "1, with the version of this program.",
        Kind::Gauge,
    );
    let version = env!("CARGO_PKG_VERSION");
    page.sample(&[("version", Label::Text(version))], 1u64.into());
}

fn taken_up(snapshot: &Snapshot, api: &str) -> u64 {
    snapshot.apis.get(api).map_or(0, |counted| counted.requests)
}

// One way to tell them serves both.
const _: () = assert!(LATENCY_BUCKETS == FLUSH_BUCKETS);

#[cfg(test)]
pub(crate) mod tests;
