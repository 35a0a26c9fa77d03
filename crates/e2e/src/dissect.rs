//! A third party reads our bytes: a loopback run is captured, and tshark's Kafka dissector must find no
//! malformed packet in it.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::broker::Broker;
use crate::kcat::kcat;
use crate::libraries::create_topic;
use crate::program::{self, Outcome, Running, eventually, tail};
use crate::run::{Stage, Suite, Teller, say};

const LIMIT: Duration = Duration::from_secs(300);

/// The one story.
pub fn suite() -> Suite {
    Suite {
        client: "tshark",
        stories: &["dissect"],
        tell: |stage, _, teller| tell(stage, teller),
    }
}

fn tell(stage: &mut Stage, teller: &mut Teller) {
    teller.time("dissect", || {
        let broker = stage.fresh()?;
        dissect(&broker)
    });
}

/// What the dissector of Debian 12 cannot read whoever sends it: versions younger than itself, and the
/// consumer protocol inside JoinGroup and SyncGroup, where it stumbles over the client's own bytes.
const BEYOND_IT: [&str; 3] = ["Unsupported API version", "JoinGroup v", "SyncGroup v"];

/// kcat is captured, since its librdkafka is as old as the dissector.
fn dissect(broker: &Broker) -> Outcome {
    create_topic(broker, "dissected")?;
    let capture = broker.scratch().join("capture.pcapng");
    let mut command = Command::new("tshark");
    command.args([
        "-i",
        "lo",
        "-f",
        &format!("tcp port {}", broker.port()),
        "-q",
        "-w",
    ]);
    command.arg(&capture).stdin(Stdio::null());
    let listens = Arc::new(AtomicBool::new(false));
    let heard = Arc::clone(&listens);
    let listener = Running::start(
        command,
        |_| {},
        move |line| {
            if line.contains("Capturing on") {
                heard.store(true, Ordering::Relaxed);
            }
        },
    )?;
    eventually("tshark to listen", LIMIT, || {
        Ok(listens.load(Ordering::Relaxed))
    })?;
    eventually("the first captured packet", LIMIT, || {
        // "Capturing" is said before the first packet can be seen.
        let mut command = kcat(broker);
        command.args(["-L", "-t", "dissected"]);
        program::run(command, None, LIMIT)?.good("kcat -L")?;
        Ok(std::fs::metadata(&capture).is_ok_and(|file| file.len() > 4096))
    })?;
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let mut command = kcat(broker);
        command.args([
            "-P",
            "-t",
            "dissected",
            "-K",
            "\\t",
            "-z",
            codec,
            "-X",
            "acks=all",
        ]);
        command.args(["-H", "from=kcat", "-X", "enable.idempotence=true"]);
        let rows: String = (0..200)
            .map(|row| format!("k{}\t{codec} {row}\n", row % 7))
            .collect();
        program::run(command, Some(rows.as_bytes()), LIMIT)?.good("kcat -P")?;
    }
    let mut command = kcat(broker);
    command.args(["-C", "-t", "dissected", "-o", "beginning", "-e", "-q"]);
    program::run(command, None, LIMIT)?.good("kcat -C")?;
    let mut command = kcat(broker);
    command.args([
        "-G",
        "dissected-readers",
        "-c",
        "500",
        "-q",
        "-X",
        "auto.offset.reset=earliest",
    ]);
    command.arg("dissected");
    program::run(command, None, LIMIT)?.good("kcat -G")?;
    for when in ["-2", "-1", "0"] {
        let mut command = kcat(broker);
        command.args(["-Q", "-t", &format!("dissected:0:{when}")]);
        program::run(command, None, LIMIT)?.good("kcat -Q")?;
    }
    listener.terminate(LIMIT)?;

    let port = broker.port();
    let shown = |filter: &str| -> Outcome<Vec<String>> {
        let mut command = Command::new("tshark");
        command
            .arg("-r")
            .arg(&capture)
            .args(["-d", &format!("tcp.port=={port},kafka")]);
        command.args(["-Y", filter]);
        let said = program::run(command, None, LIMIT)?.good("tshark -r")?;
        Ok(said.lines().map(str::to_owned).collect())
    };
    let dissected = shown("kafka")?.len();
    let mut malformed = shown("_ws.malformed")?;
    malformed.retain(|line| !BEYOND_IT.iter().any(|known| line.contains(known)));
    say(&format!(
        "    {dissected} packets with Kafka messages, {} malformed",
        malformed.len()
    ));
    if dissected < 50 {
        return Err(format!("only {dissected} packets were captured").into());
    }
    if !malformed.is_empty() {
        return Err(format!(
            "{} malformed packets, the last: {}",
            malformed.len(),
            tail(&malformed.join("\n"), 5)
        )
        .into());
    }
    Ok(())
}
