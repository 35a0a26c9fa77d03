//! Everything the broker counts, in one place.
//!
//! Each reactor has its own counters, so counting costs an uncontended atomic and no cache line
//! travels between cores. [`Snapshot`] adds them up when somebody asks. Counters start at zero
//! with the process. Names and labels for a monitoring system are the renderer's business.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use commitlog::{StoreHealth, StoreMetrics};
use coordinator::{Counts, Rebalances};
use metadata::QuotaKey;
use wire::api::{ApiKey, TABLE};

use crate::close::CloseReason;
use crate::fetch_sessions::SessionCounts;
use crate::quotas::Throttle;

/// Upper bounds of the latency buckets are 2^n microseconds, n from 0; the last one is open.
pub const LATENCY_BUCKETS: usize = 26;

/// Every label of [`CloseReason`], in a fixed order.
const CLOSE_LABELS: [&str; 12] = [
    "ended",
    "peer",
    "frame_too_long",
    "unserved",
    "unreadable",
    "idle",
    "slow_frame",
    "short_file",
    "unacknowledged_failed",
    "log_failed",
    "unencodable",
    "draining",
];

struct ApiCounters {
    requests: AtomicU64,
    micros: AtomicU64,
    buckets: [AtomicU64; LATENCY_BUCKETS],
}

/// The counters of one reactor.
pub struct Counters {
    apis: Vec<ApiCounters>,
    /// Table position by key number, so that counting does not search.
    positions: Vec<u8>,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    connections_opened: AtomicU64,
    closed: [AtomicU64; CLOSE_LABELS.len()],
    batches_in: AtomicU64,
    messages_in: AtomicU64,
    message_bytes_in: AtomicU64,
    message_bytes_out: AtomicU64,
    produce_failed: AtomicU64,
    fetch_failed: AtomicU64,
    stalls: AtomicU64,
    /// By kind of quota: how often, and how many milliseconds in all.
    throttles: [[AtomicU64; 2]; QuotaKey::ALL.len()],
    /// Connections by listener: touched when one comes or goes.
    listeners: Mutex<BTreeMap<String, u64>>,
}

fn zeros<const N: usize>() -> [AtomicU64; N] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Default for Counters {
    fn default() -> Counters {
        let keys = TABLE
            .iter()
            .map(|api| api.key.code() as usize + 1)
            .max()
            .unwrap_or(0);
        let mut positions = vec![0; keys];
        for (at, api) in TABLE.iter().enumerate() {
            positions[api.key.code() as usize] = at as u8;
        }
        Counters {
            apis: TABLE
                .iter()
                .map(|_| ApiCounters {
                    requests: AtomicU64::new(0),
                    micros: AtomicU64::new(0),
                    buckets: zeros(),
                })
                .collect(),
            positions,
            bytes_received: AtomicU64::new(0),
            bytes_sent: AtomicU64::new(0),
            connections_opened: AtomicU64::new(0),
            closed: zeros(),
            batches_in: AtomicU64::new(0),
            messages_in: AtomicU64::new(0),
            message_bytes_in: AtomicU64::new(0),
            message_bytes_out: AtomicU64::new(0),
            produce_failed: AtomicU64::new(0),
            fetch_failed: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            throttles: std::array::from_fn(|_| zeros()),
            listeners: Mutex::default(),
        }
    }
}

impl Counters {
    fn api(&self, key: ApiKey) -> &ApiCounters {
        &self.apis[usize::from(self.positions[key.code() as usize])]
    }

    /// A request was taken up.
    pub fn requested(&self, key: ApiKey) {
        add(&self.api(key).requests, 1);
    }

    /// Its answer was decided, `took` after the request was taken up.
    pub fn answered(&self, key: ApiKey, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (64 - micros.leading_zeros() as usize).min(LATENCY_BUCKETS - 1);
        add(&self.api(key).buckets[bucket], 1);
        add(&self.api(key).micros, micros);
    }

    /// A connection was opened.
    pub fn opened(&self) {
        add(&self.connections_opened, 1);
    }

    /// A connection came in on this listener.
    pub fn entered(&self, listener: &str) {
        let mut listeners = self.listeners();
        match listeners.get_mut(listener) {
            Some(count) => *count += 1,
            None => drop(listeners.insert(listener.to_owned(), 1)),
        }
    }

    /// One of this listener's connections ended.
    pub fn left(&self, listener: &str) {
        if let Some(count) = self.listeners().get_mut(listener) {
            *count = count.saturating_sub(1);
        }
    }

    fn listeners(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.listeners
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A connection was closed.
    pub fn closed(&self, reason: &CloseReason) {
        let label = reason.label();
        if let Some(at) = CLOSE_LABELS.iter().position(|known| *known == label) {
            add(&self.closed[at], 1);
        }
    }

    /// Bytes came in.
    pub fn received(&self, count: u64) {
        add(&self.bytes_received, count);
    }

    /// Bytes left.
    pub fn sent(&self, count: u64) {
        add(&self.bytes_sent, count);
    }

    /// A batch was appended.
    pub fn appended(&self, records: u64, bytes: u64) {
        add(&self.batches_in, 1);
        add(&self.messages_in, records);
        add(&self.message_bytes_in, bytes);
    }

    /// Record bytes were handed out.
    pub fn fetched(&self, bytes: u64) {
        add(&self.message_bytes_out, bytes);
    }

    /// A partition of a Produce request failed.
    pub fn produce_failed(&self) {
        add(&self.produce_failed, 1);
    }

    /// A partition of a Fetch request failed.
    pub fn fetch_failed(&self) {
        add(&self.fetch_failed, 1);
    }

    /// A client is held back.
    pub fn throttled(&self, throttle: Throttle) {
        if let Some(at) = QuotaKey::ALL
            .iter()
            .position(|key| Some(*key) == throttle.by)
        {
            add(&self.throttles[at][0], 1);
            add(
                &self.throttles[at][1],
                u64::try_from(throttle.ms).unwrap_or(0),
            );
        }
    }

    /// The staging buffer was full.
    pub fn stalled(&self) {
        add(&self.stalls, 1);
    }
}

/// What is counted of one topic: once for a batch or for a partition of a request, never for a record.
#[derive(Debug, Default)]
pub struct TopicCounters {
    messages_in: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    produces: AtomicU64,
    fetches: AtomicU64,
    produce_failed: AtomicU64,
    fetch_failed: AtomicU64,
}

impl TopicCounters {
    /// A partition of a Produce request was answered.
    pub fn produced(&self, failed: bool) {
        add(&self.produces, 1);
        if failed {
            add(&self.produce_failed, 1);
        }
    }

    /// A batch was appended.
    pub fn appended(&self, records: u64, bytes: u64) {
        add(&self.messages_in, records);
        add(&self.bytes_in, bytes);
    }

    /// A partition of a Fetch request was looked at.
    pub fn looked_at(&self, failed: bool) {
        add(&self.fetches, 1);
        if failed {
            add(&self.fetch_failed, 1);
        }
    }

    /// Record bytes were handed out.
    pub fn fetched(&self, bytes: u64) {
        add(&self.bytes_out, bytes);
    }

    /// All of them at this moment.
    pub fn counts(&self) -> TopicCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TopicCounts {
            messages_in: read(&self.messages_in),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            produces: read(&self.produces),
            fetches: read(&self.fetches),
            produce_failed: read(&self.produce_failed),
            fetch_failed: read(&self.fetch_failed),
        }
    }
}

/// The counters of a topic at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicCounts {
    /// Records appended for clients.
    pub messages_in: u64,
    /// Bytes of their batches.
    pub bytes_in: u64,
    /// Record bytes handed to readers.
    pub bytes_out: u64,
    /// Partitions in Produce requests.
    pub produces: u64,
    /// Partitions looked at for Fetch requests.
    pub fetches: u64,
    /// Partitions of Produce requests that were answered with an error.
    pub produce_failed: u64,
    /// Partitions of Fetch requests that were answered with an error.
    pub fetch_failed: u64,
}

/// What is known of one API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiSnapshot {
    /// Requests taken up.
    pub requests: u64,
    /// Sum of the times to their answers, microseconds.
    pub micros: u64,
    /// Answers by time: bucket n counts those below 2^n microseconds and not below half of it.
    pub buckets: [u64; LATENCY_BUCKETS],
}

/// All counters added up, and the gauges of this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// By API name, only those that were asked for.
    pub apis: BTreeMap<&'static str, ApiSnapshot>,
    /// Bytes read from sockets.
    pub bytes_received: u64,
    /// Bytes written to sockets.
    pub bytes_sent: u64,
    /// Connections that were accepted.
    pub connections_opened: u64,
    /// Connections that ended, by reason.
    pub connections_closed: BTreeMap<&'static str, u64>,
    /// Batches appended for clients.
    pub batches_in: u64,
    /// Records in them.
    pub messages_in: u64,
    /// Their bytes, as stored.
    pub message_bytes_in: u64,
    /// Record bytes handed to readers.
    pub message_bytes_out: u64,
    /// Partitions of Produce requests that were answered with an error.
    pub produce_failed: u64,
    /// Partitions of Fetch requests that were answered with an error.
    pub fetch_failed: u64,
    /// Times the staging buffer was full.
    pub stalls: u64,
    /// By kind of quota, those that held somebody back.
    pub throttles: BTreeMap<&'static str, ThrottleCounts>,
    /// Connections now.
    pub connections: u64,
    /// Connections that can be.
    pub connections_max: u64,
    /// Connections that were closed for being more.
    pub connections_refused: u64,
    /// Connections now, by listener.
    pub connections_of: BTreeMap<String, u64>,
    /// Request bytes held now.
    pub request_bytes: u64,
    /// Request bytes from which on sockets are not read.
    pub request_bytes_max: u64,
    /// What readers asked for before.
    pub fetch_sessions: SessionCounts,
    /// Times a connection waited for request bytes of others.
    pub permit_waits: u64,
    /// The data directory.
    pub store: StoreMetrics,
    /// Whether the data directory takes writes.
    pub health: StoreHealth,
    /// Groups whose coordinator is here.
    pub groups: Counts,
    /// Rebalances of groups whose coordinator was here, since the start.
    pub rebalances: Rebalances,
    /// Partitions hosted here.
    pub partitions: PartitionCounts,
    /// Whether the cluster's metadata is decided here.
    pub is_controller: bool,
}

/// What a kind of quota did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleCounts {
    /// How often a client was held back.
    pub throttles: u64,
    /// How long in all, milliseconds.
    pub wait_ms: u64,
}

/// Partitions by how they fare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionCounts {
    /// Hosted here.
    pub hosted: u64,
    /// Led from here.
    pub led: u64,
    /// Led from here, with fewer replicas in sync than there are.
    pub under_replicated: u64,
    /// Led from here, with fewer replicas in sync than acks=all asks for.
    pub under_insync_min: u64,
    /// Of the whole cluster, without a leader.
    pub offline: u64,
}

impl Snapshot {
    /// Adds the counters of one reactor.
    pub fn add(&mut self, counters: &Counters) {
        for (listener, count) in counters.listeners().iter() {
            *self.connections_of.entry(listener.clone()).or_default() += count;
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (api, counted) in TABLE.iter().zip(&counters.apis) {
            let requests = read(&counted.requests);
            if requests == 0 {
                continue;
            }
            let entry = self.apis.entry(api.name).or_default();
            entry.requests += requests;
            entry.micros += read(&counted.micros);
            for (sum, bucket) in entry.buckets.iter_mut().zip(&counted.buckets) {
                *sum += read(bucket);
            }
        }
        let mut closed_in_all = 0;
        for (label, counter) in CLOSE_LABELS.iter().zip(&counters.closed) {
            let count = read(counter);
            closed_in_all += count;
            if count > 0 {
                *self.connections_closed.entry(label).or_default() += count;
            }
        }
        for (key, [throttles, wait_ms]) in QuotaKey::ALL.iter().zip(&counters.throttles) {
            if read(throttles) > 0 {
                let counts = self.throttles.entry(key.name()).or_default();
                counts.throttles += read(throttles);
                counts.wait_ms += read(wait_ms);
            }
        }
        let opened = read(&counters.connections_opened);
        self.bytes_received += read(&counters.bytes_received);
        self.bytes_sent += read(&counters.bytes_sent);
        self.connections_opened += opened;
        self.connections += opened.saturating_sub(closed_in_all);
        self.batches_in += read(&counters.batches_in);
        self.messages_in += read(&counters.messages_in);
        self.message_bytes_in += read(&counters.message_bytes_in);
        self.message_bytes_out += read(&counters.message_bytes_out);
        self.produce_failed += read(&counters.produce_failed);
        self.fetch_failed += read(&counters.fetch_failed);
        self.stalls += read(&counters.stalls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_close_reason_has_its_counter() {
        let reasons = [
            CloseReason::Ended,
            CloseReason::Peer(std::io::ErrorKind::ConnectionReset),
            CloseReason::FrameTooLong,
            CloseReason::Unserved(wire::api::CloseReason::UnknownApi { key: 999 }),
            CloseReason::Unreadable {
                api: "Fetch",
                reason: String::new(),
            },
            CloseReason::Idle,
            CloseReason::SlowFrame,
            CloseReason::ShortFile,
            CloseReason::UnacknowledgedFailed,
            CloseReason::LogFailed,
            CloseReason::Unencodable {
                api: "Fetch",
                reason: String::new(),
            },
            CloseReason::Draining,
        ];
        let counters = Counters::default();
        for reason in &reasons {
            counters.closed(reason);
        }
        let mut snapshot = Snapshot::default();
        snapshot.add(&counters);
        assert_eq!(snapshot.connections_closed.len(), CLOSE_LABELS.len());
    }

    #[test]
    fn latencies_fall_into_their_bucket() {
        let counters = Counters::default();
        counters.requested(ApiKey::Fetch);
        counters.answered(ApiKey::Fetch, Duration::from_micros(5));
        let mut snapshot = Snapshot::default();
        snapshot.add(&counters);
        assert_eq!(snapshot.apis["Fetch"].buckets[3], 1);
        assert_eq!(snapshot.apis["Fetch"].micros, 5);
    }
}
