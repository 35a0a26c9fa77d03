//! Figures of groups, by hand: printed, not asserted. `--peer HOST:PORT` measures another broker beside
//! ours in the same run.
//!
//! `e2e --duramen PATH --peer HOST:PORT measure` tells them all; without being named they are not told.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::libraries::java_measure;
use crate::program::{self, Outcome};
use crate::run::{Stage, Suite, say};

const LIMIT: Duration = Duration::from_secs(900);
const ROUNDS: usize = 5;

/// How fast groups start and heal, what many cost, and how fast a wide one is described.
pub fn suite() -> Suite {
    Suite {
        client: "measure",
        stories: &["groups", "heartbeats", "describe"],
        tell: |stage, stories, teller| {
            for story in stories {
                teller.time(story, || tell(stage, story));
            }
        },
    }
}

fn tell(stage: &mut Stage, story: &str) -> Outcome {
    let binary = stage
        .binary()
        .cloned()
        .ok_or("our own broker is measured")?;
    let broker = stage.fresh()?;
    match story {
        "groups" => {
            let mut command = java_measure(broker.pid())?;
            command.args(["groups", &ROUNDS.to_string(), &broker.address()]);
            command.args(stage.peer());
            print(command)
        }
        "heartbeats" => {
            for kind in ["classic", "consumer"] {
                let mut command = java_measure(broker.pid())?;
                command.args(["heartbeats", kind, "1000", "10", "30"]);
                command.arg(broker.address());
                print(command)?;
            }
            Ok(())
        }
        _ => describe(&binary, &broker),
    }
}

fn print(command: Command) -> Outcome {
    let said = program::run(command, None, LIMIT)?.good("Measure")?;
    for line in said.lines() {
        say(&format!("    {line}"));
    }
    Ok(())
}

/// A group with an offset in each of a thousand partitions, from the start of the command to its end.
fn describe(binary: &Path, broker: &Broker) -> Outcome {
    let mut command = java_measure(broker.pid())?;
    command.args(["commit", "wide", "1000", &broker.address()]);
    print(command)?;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let mut command = Command::new(binary);
        command.args(["-b", &broker.address(), "-O", "json"]);
        command
            .args(["group", "describe", "wide"])
            .stdin(Stdio::null());
        let began = Instant::now();
        let said = program::run(command, None, LIMIT)?.good("duramen group describe")?;
        took.push(format!("{}", began.elapsed().as_millis()));
        let rows = said.lines().count();
        if rows != 1000 {
            return Err(format!("{rows} partitions are described").into());
        }
    }
    say(&format!(
        "    group describe of 1,000 partitions: {} ms",
        took.join(", ")
    ));
    Ok(())
}
