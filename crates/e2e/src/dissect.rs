//! A third party reads our bytes: a loopback run is captured, and tshark's Kafka dissector must find no
//! malformed packet in it.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::broker::Broker;
use crate::kcat::kcat;
use crate::libraries::{create_topic, java};
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

/// Only clients whose versions the dissector of Debian 12 knows are captured: kcat and Java 2.8.
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
    let mut command = java("2.8.2", "Stories")?;
    command.args([
        "--broker",
        &broker.address(),
        "topic",
        "group",
        "offsets",
        "configs",
    ]);
    program::run(command, None, LIMIT)?.good("the Java 2.8 stories")?;
    listener.terminate(LIMIT)?;

    let port = broker.port();
    let count = |filter: &str| -> Outcome<(usize, String)> {
        let mut command = Command::new("tshark");
        command
            .arg("-r")
            .arg(&capture)
            .args(["-d", &format!("tcp.port=={port},kafka")]);
        command.args(["-Y", filter]);
        let said = program::run(command, None, LIMIT)?.good("tshark -r")?;
        Ok((said.lines().count(), said))
    };
    let (dissected, _) = count("kafka")?;
    let (malformed, shown) = count("_ws.malformed")?;
    say(&format!(
        "    {dissected} packets with Kafka messages, {malformed} malformed"
    ));
    if dissected < 100 {
        return Err(format!("only {dissected} packets were captured").into());
    }
    if malformed > 0 {
        return Err(format!(
            "{malformed} malformed packets, the last: {}",
            tail(&shown, 5)
        )
        .into());
    }
    Ok(())
}
