//! What the system knows of this process: under the names that Prometheus' own libraries use, and
//! under those of Kafka's broker that dashboards query.

use std::collections::BTreeMap;
use std::time::Duration;

use world::Instant;

use super::{Kind, Value, Writer};

/// Ticks of processor time in a second: fixed for programs on Linux, whatever the kernel's own are.
const TICKS_PER_SECOND: f64 = 100.0;
/// Bytes of a page in `/proc`.
const PAGE_BYTES: u64 = 4096;
/// Name of the threads that serve connections.
const REACTOR: &str = "reactor";
/// The least time between two looks that are compared.
const WATCH_MIN: Duration = Duration::from_secs(1);

/// The figures of one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    cpu_seconds: f64,
    /// Since the Unix epoch.
    start_seconds: f64,
    resident_bytes: u64,
    virtual_bytes: u64,
    threads: u64,
    descriptors: u64,
    descriptors_max: Option<u64>,
    disk_read_bytes: u64,
    disk_written_bytes: u64,
    /// Processor time of each thread that serves connections, seconds, by thread.
    reactors: BTreeMap<u64, f64>,
    /// Share of their time in which they had nothing to do, since the look before.
    idle: Option<f64>,
}

/// Looks at the process from time to time; some figures are of the time between two looks.
#[derive(Debug, Default)]
pub struct ProcessWatch {
    before: Option<(Instant, BTreeMap<u64, f64>)>,
    idle: Option<f64>,
}

impl ProcessWatch {
    /// The figures of now.
    pub fn look(&mut self, now: Instant) -> Option<ProcessFigures> {
        let mut figures = ProcessFigures::read()?;
        self.compare(now, &figures.reactors);
        figures.idle = self.idle;
        Some(figures)
    }

    fn compare(&mut self, now: Instant, reactors: &BTreeMap<u64, f64>) {
        if let Some((then, before)) = &self.before {
            let passed = now.since(*then);
            // Ticks are 10 ms: a shorter time says nothing. Two who ask in turns share the figure.
            if passed < WATCH_MIN {
                return;
            }
            let busy: f64 = reactors
                .iter()
                .map(|(thread, seconds)| seconds - before.get(thread).unwrap_or(seconds))
                .sum();
            let had = passed.as_secs_f64() * reactors.len().max(1) as f64;
            self.idle = Some((1.0 - busy / had).clamp(0.0, 1.0));
        }
        self.before = Some((now, reactors.clone()));
    }
}

impl ProcessFigures {
    /// Figures of which every one is there.
    #[cfg(test)]
    pub(super) fn for_tests() -> ProcessFigures {
        ProcessFigures {
            descriptors_max: Some(1_024),
            ..ProcessFigures::default()
        }
    }

    /// Asks the system; `None` where it has no `/proc`.
    fn read() -> Option<ProcessFigures> {
        let io = read("io").unwrap_or_default();
        let mut figures = parse(&read("stat")?, &io)?;
        // The listing itself has one open.
        figures.descriptors = (list("fd").len() as u64).saturating_sub(1);
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        figures.descriptors_max = limit.current;
        figures.start_seconds += boot_seconds();
        figures.reactors = reactors();
        Some(figures)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a question to the kernel, not a file of ours"
)]
fn read(name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/self/{name}")).ok()
}

/// When the system started, seconds since the Unix epoch.
fn boot_seconds() -> f64 {
    let stat = read("../stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok())
        .unwrap_or(0.0)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a question to the kernel, not a directory of ours"
)]
fn list(name: &str) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/self/{name}"));
    let entries = entries.into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// The threads that serve connections, and their processor time.
fn reactors() -> BTreeMap<u64, f64> {
    let of = |thread: &str| {
        let stat = read(&format!("task/{thread}/stat"))?;
        if !stat.contains(&format!("({REACTOR})")) {
            return None;
        }
        Some((thread.parse().ok()?, parse(&stat, "")?.cpu_seconds))
    };
    list("task")
        .iter()
        .filter_map(|thread| of(thread))
        .collect()
}

/// `/proc/self/stat` and `/proc/self/io`.
fn parse(stat: &str, io: &str) -> Option<ProcessFigures> {
    // The name stands in parentheses and may hold anything; what follows is numbers, the third first.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let line = |name: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse::<u64>().ok()
    };
    Some(ProcessFigures {
        cpu_seconds: (field(14)? + field(15)?) as f64 / TICKS_PER_SECOND,
        // Since the system started.
        start_seconds: field(22)? as f64 / TICKS_PER_SECOND,
        threads: field(20)?,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)?.saturating_mul(PAGE_BYTES),
        disk_read_bytes: line("read_bytes:").unwrap_or(0),
        disk_written_bytes: line("write_bytes:").unwrap_or(0),
        ..ProcessFigures::default()
    })
}

/// Tells them, or only their names where the system cannot be asked.
pub(super) fn tell(page: &mut dyn Writer, process: Option<&ProcessFigures>) {
    let figure = |of: fn(&ProcessFigures) -> Value| process.map(of);
    let told: [(&str, &str, Kind, Option<Value>); 11] = [
        (
            "process_cpu_seconds_total",
            "Processor time, user and system.",
            Kind::Counter,
            figure(|is| is.cpu_seconds.into()),
        ),
        (
            "process_start_time_seconds",
            "When the process started, seconds since the Unix epoch.",
            Kind::Gauge,
            figure(|is| is.start_seconds.into()),
        ),
        (
            "process_resident_memory_bytes",
            "Memory in use.",
            Kind::Gauge,
            figure(|is| is.resident_bytes.into()),
        ),
        (
            "process_virtual_memory_bytes",
            "Address space.",
            Kind::Gauge,
            figure(|is| is.virtual_bytes.into()),
        ),
        (
            "process_threads",
            "Threads.",
            Kind::Gauge,
            figure(|is| is.threads.into()),
        ),
        (
            "process_open_fds",
            "Open files.",
            Kind::Gauge,
            figure(|is| is.descriptors.into()),
        ),
        (
            "process_max_fds",
            "Files that may be open.",
            Kind::Gauge,
            process.and_then(|is| is.descriptors_max).map(Value::from),
        ),
        (
            "kafka_server_kafkaserver_linux_disk_read_bytes",
            "Bytes that this process made the disk read.",
            Kind::Gauge,
            figure(|is| is.disk_read_bytes.into()),
        ),
        (
            "kafka_server_kafkaserver_linux_disk_write_bytes",
            "Bytes that this process made the disk write.",
            Kind::Gauge,
            figure(|is| is.disk_written_bytes.into()),
        ),
        // The same threads read requests and handle them; before there is a time to speak of they
        // had nothing to do.
        (
            "kafka_network_socketserver_networkprocessoravgidle_percent",
            "Share of time, 0 to 1, in which the threads that read requests had nothing to do.",
            Kind::Gauge,
            figure(|is| is.idle.unwrap_or(1.0).into()),
        ),
        (
            "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
            "Share of time, 0 to 1, in which the threads that handle requests had nothing to do.",
            Kind::Gauge,
            figure(|is| is.idle.unwrap_or(1.0).into()),
        ),
    ];
    for (name, help, kind, value) in told {
        page.family(name, help, kind);
        if let Some(value) = value {
            page.sample(&[], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_what_processor_time_leaves_of_the_time_between_two_looks() {
        let at = |seconds: u64| Instant(seconds * 1_000_000_000);
        let spent = |one: f64, other: f64| BTreeMap::from([(1, one), (2, other)]);
        let mut watch = ProcessWatch::default();
        watch.compare(at(10), &spent(3.0, 5.0));
        assert_eq!(watch.idle, None);
        watch.compare(at(20), &spent(8.0, 10.0));
        assert_eq!(watch.idle, Some(0.5));
        watch.compare(Instant(at(20).0 + 1), &spent(9.0, 11.0));
        assert_eq!(watch.idle, Some(0.5), "too soon to say");
    }

    #[test]
    fn figures_are_read_behind_a_name_with_anything_in_it() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 12 0 99 8192 3 18446744073709551615 1 1";
        let io = "rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 0\n";
        let figures = parse(stat, io).expect("whole");
        assert!((figures.cpu_seconds - 2.0).abs() < 1e-9);
        assert!((figures.start_seconds - 0.99).abs() < 1e-9);
        assert_eq!((figures.threads, figures.virtual_bytes), (12, 8192));
        assert_eq!(figures.resident_bytes, 3 * 4096);
        let disk = (figures.disk_read_bytes, figures.disk_written_bytes);
        assert_eq!(disk, (4096, 8192));
        assert_eq!(parse("nonsense", ""), None);
    }
}
