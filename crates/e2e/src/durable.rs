//! Durable before it answers, seen from outside: the system calls of the broker under acks=all.
//!
//! `crates/e2e/trace-durable` does it, so that a person can run it alone too.

use std::process::Command;
use std::time::Duration;

use crate::program::{self, Failure, Outcome, sources, tail};
use crate::run::{Stage, Suite, Teller, say};

/// The one story.
pub fn suite() -> Suite {
    Suite {
        client: "strace",
        stories: &["durable"],
        tell: |stage, _, teller| tell(stage, teller),
    }
}

fn tell(stage: &mut Stage, teller: &mut Teller) {
    teller.time("durable", || durable(stage));
}

fn durable(stage: &Stage) -> Outcome {
    let binary = stage.binary().ok_or("only our own binary is traced")?;
    for tool in ["strace", "kcat"] {
        let found = Command::new(tool).arg("-V").output();
        if found.is_err() {
            return Err(Failure::Missing(tool.to_owned()));
        }
    }
    let mut command = Command::new(sources().join("trace-durable"));
    command.arg(std::path::absolute(binary)?);
    let said = program::run(command, None, Duration::from_secs(600))?;
    for line in said.out.lines() {
        say(&format!("    {line}"));
    }
    if said.status.success() {
        Ok(())
    } else {
        Err(Failure::Wrong(tail(&said.err, 6)))
    }
}
