//! Kafka Connect, unchanged: a distributed worker, which keeps its connectors, positions and states in
//! compacted topics, carries the lines of a file through a topic into another file.
//!
//! Restarted in order, and with the broker killed under it, every line arrives once and in order. A
//! worker that is killed itself goes on from the positions it had written down, so lines may come again
//! then, as on any broker: none may be missing, and each run of them is in order.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::broker::{Broker, free_ports};
use crate::libraries::ecosystem;
use crate::program::{Failure, Outcome, Running, eventually, signal};
use crate::run::{Stage, Suite};

const LIMIT: Duration = Duration::from_secs(180);
/// Lines added to the source each time.
const LINES: usize = 4_000;

/// The one story.
pub fn suite() -> Suite {
    Suite {
        client: "connect",
        stories: &["files"],
        tell: |stage, _, teller| teller.time("files", || tell(stage)),
    }
}

fn tell(stage: &mut Stage) -> Outcome {
    let mut broker = stage.fresh()?;
    let outcome = files(&mut broker);
    match (outcome, broker.death()) {
        (Err(failure), Some(death)) => Err(format!("{failure}\n{death}").into()),
        (outcome, _) => outcome,
    }
}

fn files(broker: &mut Broker) -> Outcome {
    let source = broker.scratch().join("source.txt");
    let sink = broker.scratch().join("sink.txt");
    let mut wanted = String::new();
    let mut worker = Worker::start(broker)?;
    more(&source, &mut wanted)?;
    worker.connect(
        "reader",
        &[
            (
                "connector.class",
                "org.apache.kafka.connect.file.FileStreamSourceConnector",
            ),
            ("file", &source.display().to_string()),
            ("topic", "lines"),
            ("batch.size", "200"),
        ],
    )?;
    worker.connect(
        "writer",
        &[
            (
                "connector.class",
                "org.apache.kafka.connect.file.FileStreamSinkConnector",
            ),
            ("file", &sink.display().to_string()),
            ("topics", "lines"),
        ],
    )?;
    worker.copies(&sink, &wanted, "the first lines")?;

    // In order: what the next worker knows is what the topics say.
    worker.stop()?;
    more(&source, &mut wanted)?;
    let mut worker = Worker::start(broker)?;
    worker.copies(&sink, &wanted, "the lines of the second worker")?;

    // The broker dies while lines flow.
    more(&source, &mut wanted)?;
    let started = std::fs::metadata(&sink)?.len();
    eventually("lines to flow before the broker is killed", LIMIT, || {
        Ok(std::fs::metadata(&sink)?.len() > started)
    })?;
    more(&source, &mut wanted)?;
    broker.kill()?;
    broker.boot()?;
    worker.copies(&sink, &wanted, "the lines around the broker's death")?;

    // The worker dies while lines flow.
    more(&source, &mut wanted)?;
    drop(worker);
    let mut worker = Worker::start(broker)?;
    more(&source, &mut wanted)?;
    let wanted: Vec<&str> = wanted.lines().collect();
    eventually("the last line after the worker's death", LIMIT, || {
        worker.lives()?;
        let seen = std::fs::read_to_string(&sink)?;
        Ok(seen.ends_with('\n') && seen.lines().next_back() == wanted.last().copied())
    })?;
    none_missing(&std::fs::read_to_string(&sink)?, &wanted)
}

/// Appends numbered lines to the source.
fn more(source: &Path, wanted: &mut String) -> Outcome {
    let mut lines = String::new();
    let at = wanted.lines().count();
    for line in at..at + LINES {
        writeln!(lines, "{line} {}", "abcdefgh".repeat(line % 9)).map_err(|e| e.to_string())?;
    }
    wanted.push_str(&lines);
    let mut file = File::options().create(true).append(true).open(source)?;
    file.write_all(lines.as_bytes())?;
    Ok(())
}

/// Every line of `wanted` is there, and the first time each comes they come in order.
fn none_missing(seen: &str, wanted: &[&str]) -> Outcome {
    let mut next = 0;
    for line in seen.lines() {
        let number: usize = line
            .split(' ')
            .next()
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| format!("a line reads {line:?}"))?;
        if wanted.get(number) != Some(&line) {
            return Err(format!("line {number} changed").into());
        }
        if number > next {
            return Err(format!("line {number} came before {next}").into());
        }
        next = next.max(number + 1);
    }
    if next == wanted.len() {
        Ok(())
    } else {
        Err(format!("line {next} of {} never came", wanted.len()).into())
    }
}

/// A distributed worker, alone in its group.
struct Worker {
    running: Running,
    pid: u32,
    rest: u16,
}

impl Worker {
    fn start(broker: &Broker) -> Outcome<Worker> {
        let (rest, _) = free_ports()?;
        let settings: PathBuf = broker.scratch().join("worker.properties");
        std::fs::write(
            &settings,
            format!(
                "bootstrap.servers={}\n\
                 listeners=http://127.0.0.1:{rest}\n\
                 group.id=connect-workers\n\
                 config.storage.topic=connect-configs\n\
                 offset.storage.topic=connect-offsets\n\
                 status.storage.topic=connect-status\n\
                 config.storage.replication.factor=1\n\
                 offset.storage.replication.factor=1\n\
                 status.storage.replication.factor=1\n\
                 key.converter=org.apache.kafka.connect.storage.StringConverter\n\
                 value.converter=org.apache.kafka.connect.storage.StringConverter\n\
                 plugin.discovery=service_load\n\
                 offset.flush.interval.ms=500\n\
                 session.timeout.ms=6000\n\
                 heartbeat.interval.ms=1000\n\
                 scheduled.rebalance.max.delay.ms=0\n\
                 reconnect.backoff.max.ms=500\n\
                 producer.enable.idempotence=true\n\
                 producer.reconnect.backoff.max.ms=500\n\
                 consumer.session.timeout.ms=6000\n\
                 consumer.heartbeat.interval.ms=1000\n\
                 consumer.reconnect.backoff.max.ms=500\n",
                broker.address()
            ),
        )?;
        let mut command = ecosystem("org.apache.kafka.connect.cli.ConnectDistributed")?;
        command.arg(&settings);
        let running = Running::start(command, |_| {}, |_| {})?;
        let pid = running.id();
        let mut worker = Worker { running, pid, rest };
        eventually("the worker to answer", LIMIT, || {
            worker.lives()?;
            Ok(worker.ask("GET", "/connectors", "").is_ok())
        })?;
        Ok(worker)
    }

    /// Makes a connector, unless it knows it already.
    fn connect(&mut self, name: &str, settings: &[(&str, &str)]) -> Outcome {
        let mut config: serde_json::Map<String, serde_json::Value> = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).into()))
            .collect();
        config.insert("tasks.max".to_owned(), "1".into());
        let body = serde_json::Value::Object(config).to_string();
        eventually("a connector to be made", LIMIT, || {
            self.lives()?;
            // While the group settles it says 409: try again.
            match self.ask("PUT", &format!("/connectors/{name}/config"), &body) {
                Ok(_) => Ok(true),
                Err((409, _)) => Ok(false),
                Err((status, said)) => Err(format!("{status}: {said}").into()),
            }
        })
    }

    /// Waits until `sink` is what was wanted, byte for byte.
    fn copies(&mut self, sink: &Path, wanted: &str, what: &str) -> Outcome {
        let waited = eventually(what, LIMIT, || {
            self.lives()?;
            Ok(std::fs::metadata(sink).is_ok_and(|file| file.len() >= wanted.len() as u64))
        });
        let seen = std::fs::read_to_string(sink).unwrap_or_default();
        if seen == wanted {
            return Ok(());
        }
        let differ = seen
            .lines()
            .zip(wanted.lines())
            .position(|(got, want)| got != want);
        let status = self.ask("GET", "/connectors?expand=status", "");
        Err(format!(
            "{what}: {} lines of {} came, the first that differs is {differ:?}; {:?} {status:?}: {}",
            seen.lines().count(),
            wanted.lines().count(),
            waited.map_err(|failure| failure.to_string()),
            self.running.last_words()
        )
        .into())
    }

    fn stop(self) -> Outcome {
        signal(self.pid, "TERM")?;
        // It ends by the signal, with 143; what counts is what it wrote down before.
        self.running.end(LIMIT).map(drop)
    }

    fn lives(&mut self) -> Outcome {
        if self.running.runs() {
            return Ok(());
        }
        Err(Failure::Wrong(format!(
            "the worker ended: {}",
            self.running.last_words()
        )))
    }

    /// One request to its REST interface; an answer that is not 2xx is an error.
    fn ask(&self, method: &str, path: &str, body: &str) -> Result<String, (u16, String)> {
        let say = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.rest))?;
            stream.set_read_timeout(Some(Duration::from_secs(30)))?;
            write!(
                stream,
                "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = say().map_err(|error| (0, error.to_string()))?;
        let status = answer
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .unwrap_or(0);
        match status {
            200..=299 => Ok(answer),
            _ => Err((status, answer)),
        }
    }
}
