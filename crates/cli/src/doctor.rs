//! `doctor`: why a cluster cannot be reached or used, one check after the other, from here.
//!
//! The order is the way of a connection: name, port, protocol, login, metadata, every address the
//! brokers hand out, then the health of what answers. The first failure is the answer; what could be
//! checked all the same is listed before it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use client::{BrokerView, Client, ClientError, Reach};
use serde::Serialize;
use wire::ApiKey;

use crate::output::Output;
use crate::probe::{self, Answering, Fault, KEY_SASL_HANDSHAKE};
use crate::{Failure, Global, cluster, connect, context, words};

/// Requests without which no client can read or write.
const NEEDED: [ApiKey; 6] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::FindCoordinator,
    ApiKey::ApiVersions,
];
/// A disk with less of it free, in parts of a hundred, is worth a warning.
const FREE_PERCENT_MIN: u64 = 10;
/// Fewer open files than this end a busy broker.
const OPEN_FILES_MIN: u64 = 65_536;
/// Flushes timed for the disk check.
const FLUSHES: u32 = 20;
/// A slower flush makes every acknowledged write as slow.
const FLUSH_MS_MAX: f64 = 20.0;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Brokers to examine, HOST:PORT, separated by commas; else those any command would use.
    #[arg(value_name = "HOST:PORT")]
    address: Option<String>,
    /// List the requests each broker offers, and their versions.
    #[arg(long)]
    apis: bool,
    /// Check this directory's disk and this machine's limits too, for a broker that runs here.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// One check. Field names are API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    check: &'static str,
    /// `ok`, `warning` or `failed`.
    result: &'static str,
    subject: String,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// The checks made so far.
#[derive(Default)]
struct Chart(Vec<Check>);

impl Chart {
    fn add(
        &mut self,
        check: &'static str,
        result: &'static str,
        subject: &str,
        detail: impl Into<String>,
        next: Option<String>,
    ) {
        self.0.push(Check {
            check,
            result,
            subject: subject.to_owned(),
            detail: detail.into(),
            next,
        });
    }

    fn ok(&mut self, check: &'static str, subject: &str, detail: impl Into<String>) {
        self.add(check, "ok", subject, detail, None);
    }

    fn warn(&mut self, check: &'static str, subject: &str, detail: String, next: String) {
        self.add(check, "warning", subject, detail, Some(next));
    }

    fn fail(&mut self, check: &'static str, subject: &str, detail: String, next: String) {
        self.add(check, "failed", subject, detail, Some(next));
    }

    fn fault(&mut self, subject: &str, fault: &Fault) {
        let check = match fault {
            Fault::NoAddress(_) | Fault::UnknownName { .. } => "name",
            Fault::Refused(_) | Fault::Silent(_) | Fault::Unreachable { .. } => "port",
            _ => "protocol",
        };
        self.fail(check, subject, fault.cause(), fault.next());
    }
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let brokers = match &arguments.address {
        Some(address) => address.clone(),
        None => context::resolve(global)?.brokers,
    };
    let mut chart = Chart::default();
    let mut ranges = Vec::new();
    if let Some(answering) = bootstrap(reach, &brokers, &mut chart).await {
        requests(&answering, &brokers, &mut chart);
        ranges = answering.ranges.clone();
        examine(reach, global, &brokers, &answering, &mut chart).await;
    }
    if let Some(directory) = &arguments.data_dir {
        limits(&mut chart);
        flushes(reach, directory, &mut chart);
    }
    if arguments.apis {
        list_apis(&ranges, output)?;
        output.note("\n")?;
    }
    output.rows(&["check", "result", "subject", "detail"], &chart.0, |row| {
        vec![
            row.check.to_owned(),
            row.result.to_owned(),
            row.subject.clone(),
            row.detail.clone(),
        ]
    })?;
    let failed = chart.0.iter().find(|check| check.result == "failed");
    match failed {
        None => Ok(()),
        Some(check) => Err(Failure::new(
            format!(
                "{brokers}: the {} check failed for {}",
                check.check, check.subject
            ),
            check.detail.clone(),
            check
                .next
                .clone()
                .unwrap_or_else(|| "duramen doctor".to_owned()),
        )),
    }
}

/// Name, port and protocol of each address given; what the first that answers offers. An address
/// that fails beside one that works is a warning.
async fn bootstrap(reach: &Reach, brokers: &str, chart: &mut Chart) -> Option<Answering> {
    let mut answering = None;
    let mut faults = Vec::new();
    let given = brokers.split(',').map(str::trim).filter(|a| !a.is_empty());
    for address in given.map(client::with_port) {
        match probe::look(reach, &address).await {
            Ok(found) => {
                if let Ok(resolved) = probe::resolve(&address).await {
                    chart.ok("name", &address, ips(&resolved));
                }
                chart.ok("port", &address, "connects");
                let count = found.ranges.len();
                chart.ok(
                    "protocol",
                    &address,
                    format!("Kafka, {count} kinds of requests"),
                );
                answering.get_or_insert(found);
            }
            Err(fault) => faults.push((address, fault)),
        }
    }
    for (address, fault) in faults {
        match answering {
            Some(_) => chart.warn("port", &address, fault.cause(), fault.next()),
            None => chart.fault(&address, &fault),
        }
    }
    answering
}

fn ips(addresses: &[SocketAddr]) -> String {
    let mut ips: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
    ips.dedup();
    ips.join(", ")
}

/// Whether what is offered suffices.
fn requests(answering: &Answering, brokers: &str, chart: &mut Chart) {
    let missing: Vec<&str> = NEEDED
        .iter()
        .map(|key| key.api())
        .filter(|api| {
            let offered = answering
                .ranges
                .iter()
                .find(|(key, ..)| *key == api.key.code());
            offered.is_none_or(|(_, min, max)| api.best_version(*min, *max).is_none())
        })
        .map(|api| api.name)
        .collect();
    if missing.is_empty() {
        chart.ok(
            "versions",
            brokers,
            "every request that is needed has a version in common",
        );
        return;
    }
    chart.fail(
        "versions",
        brokers,
        format!("no version in common of: {}", missing.join(", ")),
        "use a broker of Kafka 2.1 or later".to_owned(),
    );
}

/// Metadata, the addresses the brokers hand out, and the health of the cluster.
async fn examine(
    reach: &Reach,
    global: &Global,
    brokers: &str,
    answering: &Answering,
    chart: &mut Chart,
) {
    let observer = connect::observer(global);
    let connected = Client::connect_observed(reach.clone(), brokers, observer).await;
    let mut client = match connected {
        Ok(client) => client,
        Err(error) => {
            let (detail, next) = no_metadata(&error, answering);
            chart.fail("metadata", brokers, detail, next);
            return;
        }
    };
    let view = client.cluster().clone();
    let id = view.id.clone().unwrap_or_else(|| "-".to_owned());
    chart.ok(
        "metadata",
        brokers,
        format!(
            "cluster {id}, {}",
            words::several(view.brokers.len(), "broker")
        ),
    );
    let local = only_loopback(brokers).await;
    let mut clean = duplicates(&view.brokers, chart);
    for broker in &view.brokers {
        clean &= advertised(reach, broker, view.id.as_deref(), brokers, local, chart).await;
    }
    // What cannot be reached cannot be examined.
    if !clean {
        return;
    }
    health(&mut client, brokers, chart).await;
}

fn no_metadata(error: &ClientError, answering: &Answering) -> (String, String) {
    let wants_login = answering
        .ranges
        .iter()
        .any(|(key, ..)| *key == KEY_SASL_HANDSHAKE);
    match error {
        ClientError::Disconnected { .. } if wants_login => (
            "it closes the connection after the first question: it wants a login (SASL)".to_owned(),
            "name a listener without login with --brokers HOST:PORT".to_owned(),
        ),
        ClientError::Disconnected { .. } => (
            "it closes the connection after the first question".to_owned(),
            "see the broker's log".to_owned(),
        ),
        other => (other.to_string(), "see the broker's log".to_owned()),
    }
}

/// Whether every address given leads to this machine.
async fn only_loopback(brokers: &str) -> bool {
    for address in brokers.split(',').map(str::trim).filter(|a| !a.is_empty()) {
        match probe::resolve(&client::with_port(address)).await {
            Ok(found) if found.iter().all(|address| address.ip().is_loopback()) => {}
            _ => return false,
        }
    }
    true
}

/// Two brokers with one address: a client reaches one of them at best.
fn duplicates(brokers: &[BrokerView], chart: &mut Chart) -> bool {
    let mut by_address: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
    for broker in brokers {
        by_address
            .entry(broker.address())
            .or_default()
            .insert(broker.id);
    }
    let mut clean = true;
    for (address, ids) in by_address.iter().filter(|(_, ids)| ids.len() > 1) {
        let ids: Vec<String> = ids.iter().map(i32::to_string).collect();
        let ids = ids.join(" and ");
        chart.fail(
            "advertised",
            address,
            format!("brokers {ids} hand out the same address: clients reach only one of them"),
            "give each broker an advertised.listeners of its own".to_owned(),
        );
        clean = false;
    }
    clean
}

/// Whether a broker can be reached where it says that it can.
async fn advertised(
    reach: &Reach,
    broker: &BrokerView,
    cluster: Option<&str>,
    brokers: &str,
    local: bool,
    chart: &mut Chart,
) -> bool {
    let address = broker.address();
    let subject = format!("broker {}", broker.id);
    let setting = format!(
        "set advertised.listeners=PLAINTEXT://HOST:PORT on broker {}, as it is reached from here",
        broker.id
    );
    let loopback = only_loopback(&address).await;
    if loopback && !local {
        chart.fail(
            "advertised",
            &subject,
            format!("it hands out {address}, which is this machine, not the one at {brokers}"),
            setting,
        );
        return false;
    }
    if let Err(fault) = probe::look(reach, &address).await {
        let cause = fault.cause();
        chart.fail(
            "advertised",
            &subject,
            format!("it hands out {address}, which is of no use here: {cause}"),
            setting,
        );
        return false;
    }
    // Another cluster may answer there: a port that was mapped elsewhere.
    let there = Client::connect(reach.clone(), &address).await;
    let other = there.ok().and_then(|client| client.cluster().id.clone());
    if let (Some(wanted), Some(other)) = (cluster, &other)
        && wanted != other
    {
        chart.fail(
            "advertised",
            &subject,
            format!("it hands out {address}, where cluster {other} answers instead of {wanted}"),
            setting,
        );
        return false;
    }
    chart.ok("advertised", &subject, format!("{address} answers"));
    true
}

async fn health(client: &mut Client, brokers: &str, chart: &mut Chart) {
    let topics = match client.topics(None).await {
        Ok(topics) => topics,
        Err(error) => {
            let next = "see the broker's log".to_owned();
            chart.fail("health", brokers, error.to_string(), next);
            return;
        }
    };
    let troubles = cluster::examine(client, &topics).await;
    if troubles.is_empty() {
        chart.ok(
            "health",
            brokers,
            "every partition has its leader and its copies",
        );
    }
    for trouble in troubles {
        let detail = format!("{} {}: {}", trouble.count, trouble.trouble, trouble.what);
        chart.warn("health", brokers, detail, trouble.next);
    }
    for dir in client.log_dirs().await.unwrap_or_default() {
        let subject = format!("broker {} {}", dir.broker, dir.path);
        let (Some(total), Some(free)) = (dir.total_bytes, dir.usable_bytes) else {
            continue;
        };
        let detail = format!("{} of {} free", words::bytes(free), words::bytes(total));
        match free < total / 100 * FREE_PERCENT_MIN {
            true => chart.warn(
                "disk",
                &subject,
                detail,
                "shorten retention, or give it more disk".to_owned(),
            ),
            false => chart.ok("disk", &subject, detail),
        }
    }
}

/// The limit of open files, as processes started from here get it.
#[expect(
    clippy::disallowed_methods,
    reason = "the kernel's table, not a node's data"
)]
fn limits(chart: &mut Chart) {
    let Ok(table) = std::fs::read_to_string("/proc/self/limits") else {
        return;
    };
    let line = table
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(4));
    let Some(hard) = hard else { return };
    let low = hard
        .parse::<u64>()
        .is_ok_and(|limit| limit < OPEN_FILES_MIN);
    let detail = format!("at most {hard} open files");
    match low {
        true => chart.warn(
            "limits",
            "this machine",
            detail,
            format!("raise it to {OPEN_FILES_MIN} or more: LimitNOFILE of systemd, or ulimit -Hn"),
        ),
        false => chart.ok("limits", "this machine", detail),
    }
}

/// How long a flush takes on the disk of a directory.
fn flushes(reach: &Reach, directory: &Path, chart: &mut Chart) {
    let shown = directory.display().to_string();
    match time_flushes(reach, directory) {
        Ok(mut taken) => {
            taken.sort_by(f64::total_cmp);
            let median = taken.get(taken.len() / 2).copied().unwrap_or(0.0);
            let worst = taken.last().copied().unwrap_or(0.0);
            let detail = format!("a flush takes {median:.2} ms, at worst {worst:.2} ms");
            match median > FLUSH_MS_MAX {
                true => chart.warn(
                    "disk",
                    &shown,
                    detail,
                    "every acknowledged write waits for a flush: use a faster disk".to_owned(),
                ),
                false => chart.ok("disk", &shown, detail),
            }
        }
        Err(error) => chart.fail(
            "disk",
            &shown,
            error.to_string(),
            "name a directory that exists and can be written".to_owned(),
        ),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a probe beside a node's data, removed at once"
)]
fn time_flushes(reach: &Reach, directory: &Path) -> std::io::Result<Vec<f64>> {
    use std::io::Write;
    let path = directory.join(format!("doctor-{}", std::process::id()));
    let mut file = std::fs::File::create(&path)?;
    let mut time = || {
        let start = reach.clock.now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        Ok(reach.clock.now().since(start).as_secs_f64() * 1e3)
    };
    let taken = (0..FLUSHES).map(|_| time()).collect();
    std::fs::remove_file(&path)?;
    taken
}

/// One request of a broker. Field names are API.
#[derive(Serialize)]
struct Offered {
    api: String,
    key: i16,
    min: i16,
    max: i16,
    used: Option<i16>,
}

fn list_apis(ranges: &[(i16, i16, i16)], output: &mut Output) -> Result<(), Failure> {
    let rows: Vec<Offered> = ranges
        .iter()
        .map(|(key, min, max)| {
            let api = wire::api::find(*key);
            Offered {
                api: api.map_or_else(|| "-".to_owned(), |api| api.name.to_owned()),
                key: *key,
                min: *min,
                max: *max,
                used: api.and_then(|api| api.best_version(*min, *max)),
            }
        })
        .collect();
    output.rows(&["api", "key", "min", "max", "used here"], &rows, |row| {
        vec![
            row.api.clone(),
            row.key.to_string(),
            row.min.to_string(),
            row.max.to_string(),
            row.used
                .map_or_else(|| "-".to_owned(), |used| used.to_string()),
        ]
    })
}
