//! Kafka Streams, unchanged: an application with a stream-table join, windows, and stores whose
//! changelogs are compacted topics, at least once, while it and the broker are killed.
//!
//! What its results must be is computed beside it (`clients/java/ecosystem/Flow.java`). Where nothing dies,
//! the windowed counts are compared exactly. Where something is killed, rows may be processed again:
//! then the sets of rows in each window and the maxima are compared exactly, since those are the same however
//! often a row comes, and the counts must only not be below the truth.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::broker::Broker;
use crate::libraries::ecosystem;
use crate::program::{self, Failure, Outcome, Running, eventually, home};
use crate::run::{Stage, Suite, say};

const LIMIT: Duration = Duration::from_secs(180);

/// The application without and with deaths.
pub fn suite() -> Suite {
    Suite {
        client: "streams",
        stories: &["exact", "killed"],
        tell: |stage, stories, teller| {
            for story in stories {
                teller.time(story, || tell(stage, story));
            }
        },
    }
}

fn tell(stage: &mut Stage, story: &str) -> Outcome {
    let flights = home().join("flights.tsv");
    if !flights.is_file() {
        return Err(Failure::Missing(flights.display().to_string()));
    }
    let mut broker = stage.fresh()?;
    let outcome = match story {
        "exact" => exact(&broker, &flights),
        _ => killed(&mut broker, &flights),
    };
    match (outcome, broker.death()) {
        (Err(failure), Some(death)) => Err(format!("{failure}\n{death}").into()),
        (outcome, _) => outcome,
    }
}

/// Nobody dies: every result is exact.
fn exact(broker: &Broker, flights: &Path) -> Outcome {
    const ROWS: usize = 10_000;
    fill(broker, flights, 0, ROWS)?;
    let mut application = Application::start(broker, "state")?;
    check(broker, flights, ROWS, "exact", &mut application)
}

/// The application is killed and started anew on an empty disk, so that its stores come back from their
/// changelogs; then the broker is killed under it while rows come in.
fn killed(broker: &mut Broker, flights: &Path) -> Outcome {
    const ROWS: usize = 24_000;
    fill(broker, flights, 0, ROWS / 2)?;
    let first = Application::start(broker, "first")?;
    first.joins(ROWS / 8)?;
    drop(first); // kill -9
    let mut second = Application::start(broker, "second")?;
    second.joins(ROWS / 8)?;
    let mut command = flow()?;
    command.arg("fill").arg(broker.address()).arg(flights);
    command.args([(ROWS / 2).to_string(), ROWS.to_string()]);
    let producer = Running::start(command, |_| {}, |_| {})?;
    second.joins(ROWS / 4)?;
    broker.kill()?;
    broker.boot()?;
    let words = producer.last_words();
    if !producer.end(LIMIT)?.success() {
        return Err(format!("the producer ended badly: {words}").into());
    }
    check(broker, flights, ROWS, "again", &mut second)
}

fn flow() -> Outcome<Command> {
    ecosystem("Flow")
}

fn fill(broker: &Broker, flights: &Path, from: usize, to: usize) -> Outcome {
    let mut command = flow()?;
    command.arg("fill").arg(broker.address()).arg(flights);
    command.args([from.to_string(), to.to_string()]);
    program::run(command, None, LIMIT)?
        .good("Flow fill")
        .map(drop)
}

fn check(
    broker: &Broker,
    flights: &Path,
    rows: usize,
    mode: &str,
    application: &mut Application,
) -> Outcome {
    let mut command = flow()?;
    command.arg("check").arg(broker.address()).arg(flights);
    command.args([&rows.to_string(), mode]);
    let said = program::run(command, None, LIMIT)?.good("Flow check");
    application.lives()?;
    say(&format!("    {}", said?.trim_end()));
    Ok(())
}

/// The application, running.
struct Application {
    running: Running,
    joined: Arc<AtomicUsize>,
}

impl Application {
    fn start(broker: &Broker, state: &str) -> Outcome<Application> {
        let state: PathBuf = broker.scratch().join(state);
        let mut command = flow()?;
        command.arg("run").arg(broker.address()).arg(state);
        let joined = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&joined);
        let running = Running::start(
            command,
            move |line| {
                if let Ok(rows) = line.parse() {
                    seen.store(rows, Ordering::Relaxed);
                }
            },
            |_| {},
        )?;
        Ok(Application { running, joined })
    }

    /// Waits until it has joined so many rows.
    fn joins(&self, rows: usize) -> Outcome {
        eventually("the application to join rows", LIMIT, || {
            Ok(self.joined.load(Ordering::Relaxed) >= rows)
        })
        .map_err(|failure| format!("{failure}: {}", self.running.last_words()).into())
    }

    fn lives(&mut self) -> Outcome {
        if self.running.runs() {
            return Ok(());
        }
        Err(format!("the application ended: {}", self.running.last_words()).into())
    }
}
