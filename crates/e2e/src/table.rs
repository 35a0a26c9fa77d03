//! A compacted topic ends with exactly the last value of each key, although the broker is killed again
//! and again while it cleans: many records over fewer keys, read back by Java and by `duramen consume`.
//!
//! `E2E_TABLE=RECORDS/KEYS` tells it in another size, by hand: 10000000/1000000.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::libraries::ecosystem;
use crate::program::{self, Failure, Outcome, Running, eventually};
use crate::run::{Stage, Suite, say};

const LIMIT: Duration = Duration::from_secs(900);
const TOPIC: &str = "table";
/// Small enough for every test run.
const RECORDS: usize = 500_000;
const KEYS: usize = 50_000;
const KILLS: usize = 2;
const LOOK: Duration = Duration::from_secs(4);

/// The one story.
pub fn suite() -> Suite {
    Suite {
        client: "compaction",
        stories: &["table"],
        tell: |stage, _, teller| teller.time("table", || tell(stage)),
    }
}

fn tell(stage: &mut Stage) -> Outcome {
    let binary = stage
        .binary()
        .cloned()
        .ok_or("only our own broker's files tell when it cleans")?;
    let size = std::env::var("E2E_TABLE").unwrap_or_default();
    let (records, keys) = match size.split_once('/') {
        Some((records, keys)) => (number(records)?, number(keys)?),
        None => (RECORDS, KEYS),
    };
    let mut broker = stage.fresh()?;
    let outcome = table(&mut broker, &binary, records, keys);
    match (outcome, broker.death()) {
        (Err(failure), Some(death)) => Err(format!("{failure}\n{death}").into()),
        (outcome, _) => outcome,
    }
}

fn number(word: &str) -> Outcome<usize> {
    word.parse()
        .map_err(|_| Failure::from("E2E_TABLE=RECORDS/KEYS"))
}

fn table(broker: &mut Broker, binary: &Path, records: usize, keys: usize) -> Outcome {
    let began = Instant::now();
    let size = [records.to_string(), keys.to_string()];
    let java = |act: &str, broker: &Broker| -> Outcome<Command> {
        let mut command = ecosystem("Table")?;
        command.args([act, &broker.address(), TOPIC]).args(&size);
        Ok(command)
    };
    let filler = Running::start(java("fill", broker)?, |_| {}, |_| {})?;
    let data = broker.scratch().join("data");
    for _ in 0..KILLS {
        // A new revision of a segment is a pass at work, which takes its place when it is whole.
        let before = revised(&data);
        eventually("a pass to write", LIMIT, || {
            Ok(revised(&data).iter().any(|file| !before.contains(file)))
        })?;
        broker.kill()?;
        broker.boot()?;
    }
    let words = filler.last_words();
    if !filler.end(LIMIT)?.success() {
        return Err(format!("the producer ended badly: {words}").into());
    }
    let filled = began.elapsed();
    let mut left = usize::MAX;
    let mut looked = Instant::now();
    eventually("every superseded record to go", LIMIT, || {
        // Each look reads all.
        if looked.elapsed() < LOOK {
            return Ok(false);
        }
        looked = Instant::now();
        if let Some(death) = broker.death() {
            return Err(death.into());
        }
        let said = program::run(java("check", broker)?, None, LIMIT)?.good("Table check")?;
        left = number(said.trim())?;
        Ok(left == keys)
    })
    .map_err(|failure| format!("{failure}: {left} records of {keys} keys are left"))?;
    let cleaned = began.elapsed();
    consumed(broker, binary, records, keys)?;
    let ms = |of: Duration| of.as_millis();
    say(&format!(
        "    {records} records over {keys} keys: written after {} ms, {KILLS} kills in it; clean after {} ms; read by both after {} ms{}",
        ms(filled),
        ms(cleaned),
        ms(began.elapsed()),
        broker.costs()
    ));
    Ok(())
}

/// Our own client reads each key once, and its last value.
fn consumed(broker: &Broker, binary: &Path, records: usize, keys: usize) -> Outcome {
    let mut command = Command::new(binary);
    command.args(["-b", &broker.address(), "consume", TOPIC, "-e"]);
    command.args(["-f", "%k %v\\n"]).stdin(Stdio::null());
    let said = program::run(command, None, LIMIT)?.good("duramen consume")?;
    let mut read = 0;
    for line in said.lines() {
        // The last records hold every key once.
        let wanted = records - keys + read;
        let begins = format!("key-{:08} {wanted} of", wanted * 7919 % keys);
        if !line.starts_with(&begins) {
            return Err(format!("duramen consume: {line:?} where {begins:?} was due").into());
        }
        read += 1;
    }
    if read == keys {
        Ok(())
    } else {
        Err(format!("duramen consume: {read} records of {keys} keys").into())
    }
}

/// Files of segments in their second or later revision.
fn revised(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            found.extend(revised(&path));
        } else if path.extension().is_some_and(|kind| kind == "seg")
            // PARTITION-BASE.seg, and PARTITION-BASE-REVISION.seg for what replaces another.
            && path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| stem.split('-').count() == 3)
        {
            found.push(path);
        }
    }
    found
}
