//! Lag as others compute it: franz-go's kadm, the library under kminion and kcl, must say of a group what
//! `duramen group describe` says, while members read, commit, leave and come back.
//!
//! Burrow, which computes lag from `__consumer_offsets`, is not here: the newest that Debian has, 1.2.1,
//! asks for the ends of partitions with ListOffsets version 0, which Kafka 4.0 dropped (Apache
//! Kafka 4.3.0 closes its connection too). What it would read is decoded by Kafka's own formatter in the
//! `kafka-tools` stories instead.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::broker::Broker;
use crate::kcat::{self, kcat};
use crate::libraries::create_topic;
use crate::program::{self, Failure, Outcome, Running, eventually, home};
use crate::run::{Stage, Suite};

const LIMIT: Duration = Duration::from_secs(120);
const TOPIC: &str = "lagging";
const GROUP: &str = "lagging-readers";

/// The one story.
pub fn suite() -> Suite {
    Suite {
        client: "kadm",
        stories: &["lag"],
        tell: |stage, _, teller| teller.time("lag", || tell(stage)),
    }
}

/// What is committed and how far that is behind, by partition.
type Lag = BTreeMap<i64, (i64, i64)>;

fn tell(stage: &mut Stage) -> Outcome {
    let binary = stage
        .binary()
        .cloned()
        .ok_or("only our own binary describes groups")?;
    let broker = stage.fresh()?;
    create_topic(&broker, TOPIC)?;
    produce(&broker, 0, 300)?;
    // Behind in some partitions, further behind, nearly there, there.
    for (read, written, behind) in [(120, 0, 180), (90, 200, 290), (289, 0, 1), (1, 0, 0)] {
        let mut command = kcat(&broker);
        command.args(["-G", GROUP, "-c", &read.to_string(), "-q"]);
        command.args(["-X", "auto.offset.reset=earliest", TOPIC]);
        program::run(command, None, LIMIT)?.good("kcat -G")?;
        produce(&broker, 300, written)?;
        same(&binary, &broker, behind)?;
    }
    // While a member lives.
    let mut command = kcat(&broker);
    command
        .args(["-G", GROUP, "-q", TOPIC])
        .stdin(Stdio::null());
    let member = Running::start(command, |_| {}, |_| {})?;
    produce(&broker, 500, 100)?;
    eventually("the member to catch up", LIMIT, || {
        Ok(ours(&binary, &broker)?.values().all(|(_, lag)| *lag == 0))
    })?;
    same(&binary, &broker, 0)?;
    drop(member);
    Ok(())
}

/// Both say the same, and what is behind in all is what was never committed.
fn same(binary: &Path, broker: &Broker, behind: i64) -> Outcome {
    let (ours, theirs) = (ours(binary, broker)?, theirs(broker)?);
    if ours != theirs {
        return Err(format!("we say {ours:?}, kadm says {theirs:?}").into());
    }
    // A partition without a commit has no lag on either side; its records are part of what is behind.
    let committed: i64 = ours.values().map(|(at, _)| at).sum();
    let ends: i64 = ends(broker)?;
    if ends - committed != behind {
        return Err(format!("{committed} of {ends} committed, {behind} were to be left").into());
    }
    Ok(())
}

fn produce(broker: &Broker, from: usize, count: usize) -> Outcome {
    let rows: String = (from..from + count)
        .map(|row| format!("k{}\t{row}\n", row % 37))
        .collect();
    let mut command = kcat(broker);
    command.args(["-P", "-t", TOPIC, "-K", "\\t", "-X", "acks=all"]);
    program::run(command, Some(rows.as_bytes()), LIMIT)?
        .good("kcat -P")
        .map(drop)
}

fn ends(broker: &Broker) -> Outcome<i64> {
    let said = kcat::whole(broker, TOPIC, "%o\\n")?;
    i64::try_from(said.lines().count()).map_err(|error| error.to_string().into())
}

fn ours(binary: &Path, broker: &Broker) -> Outcome<Lag> {
    let mut command = Command::new(binary);
    command.args(["-b", &broker.address(), "-O", "json"]);
    command.args(["group", "describe", GROUP]);
    let said = program::run(command, None, LIMIT)?.good("duramen group describe")?;
    let mut lag = Lag::new();
    for line in said.lines() {
        let row: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        let number = |name: &str| row[name].as_i64();
        if let (Some(partition), Some(at), Some(behind)) = (
            number("partition"),
            number("committed_offset"),
            number("lag"),
        ) {
            lag.insert(partition, (at, behind));
        }
    }
    Ok(lag)
}

fn theirs(broker: &Broker) -> Outcome<Lag> {
    let program = home().join("lag");
    if !program.is_file() {
        return Err(Failure::Missing(program.display().to_string()));
    }
    let mut command = Command::new(program);
    command.arg(broker.address()).arg(GROUP);
    let said = program::run(command, None, LIMIT)?.good("kadm")?;
    let mut lag = Lag::new();
    for line in said.lines() {
        let numbers: Vec<i64> = line
            .split('\t')
            .skip(1)
            .filter_map(|word| word.parse().ok())
            .collect();
        if let [partition, at, behind] = numbers[..] {
            lag.insert(partition, (at, behind));
        }
    }
    Ok(lag)
}
