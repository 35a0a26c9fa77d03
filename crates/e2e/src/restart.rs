//! How long a start takes, to an open port and to "ready": after a stop in order and after `kill -9`.
//! Prints figures and asserts none; what was acknowledged must be there, of course.

use std::time::Duration;

use crate::broker::Started;
use crate::kcat::{self, kcat};
use crate::libraries::create_topic;
use crate::program::{self, Outcome};
use crate::run::{Stage, Suite, Teller, say};

const LIMIT: Duration = Duration::from_secs(300);
const TOPIC: &str = "restart";
const ROUNDS: usize = 3;
const ROWS: usize = 50_000;

/// The one story.
pub fn suite() -> Suite {
    Suite {
        client: "start-up",
        stories: &["restart"],
        tell: |stage, _, teller| tell(stage, teller),
    }
}

fn tell(stage: &mut Stage, teller: &mut Teller) {
    teller.time("restart", || restart(stage));
}

fn restart(stage: &Stage) -> Outcome {
    let mut broker = stage.fresh()?;
    create_topic(&broker, TOPIC)?;
    let (mut clean, mut killed) = (Vec::new(), Vec::new());
    let mut wanted = 0;
    for round in 0..ROUNDS * 2 {
        let rows: String = (0..ROWS)
            .map(|row| {
                format!(
                    "k{}\t{round} {row} {}\n",
                    row % 97,
                    "abcdefgh".repeat(row % 20)
                )
            })
            .collect();
        let mut command = kcat(&broker);
        command.args([
            "-P",
            "-t",
            TOPIC,
            "-K",
            "\\t",
            "-X",
            "acks=all",
            "-X",
            "linger.ms=5",
        ]);
        command.args(["-X", "enable.idempotence=true"]);
        program::run(command, Some(rows.as_bytes()), LIMIT)?.good("kcat -P")?;
        wanted += ROWS;
        if round % 2 == 0 {
            broker.stop()?;
            clean.push(broker.boot()?);
        } else {
            broker.kill()?;
            killed.push(broker.boot()?);
        }
        let got = kcat::whole(&broker, TOPIC, "%o\\n")?.lines().count();
        if got != wanted {
            return Err(format!("{got} of {wanted} records after restart {}", round + 1).into());
        }
    }
    say(&format!("    after a stop in order: {}", figures(&clean)));
    say(&format!("    after kill -9:         {}", figures(&killed)));
    Ok(())
}

fn figures(starts: &[Started]) -> String {
    let ms = |of: fn(&Started) -> Duration| {
        let each: Vec<String> = starts
            .iter()
            .map(|one| of(one).as_millis().to_string())
            .collect();
        each.join(" ")
    };
    format!(
        "port open after {} ms, ready after {} ms",
        ms(|s| s.port_open),
        ms(|s| s.ready)
    )
}
