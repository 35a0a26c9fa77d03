//! Runs the client stories with one Rust client and prints one JSON line per story, after one that names
//! the version of the client.
//!
//! ```text
//! rust-clients --broker HOST:PORT --client rdkafka|rdkafka-848|rskafka STORY…
//! ```
//!
//! The stories are written once, in `stories.rs`, over the small surface that each client's file offers.

mod rd;
mod rs;
mod stories;

use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use stories::{Outcome, Surface};

fn main() -> ExitCode {
    let (mut broker, mut client, mut names) = (String::new(), String::new(), Vec::new());
    let mut given = std::env::args().skip(1);
    while let Some(word) = given.next() {
        match word.as_str() {
            "--broker" => broker = given.next().unwrap_or_default(),
            "--client" => client = given.next().unwrap_or_default(),
            _ => names.push(word),
        }
    }
    let opened: Outcome<(Box<dyn Surface>, String)> = match client.as_str() {
        "rdkafka" | "rdkafka-848" => rd::open(&broker, client.ends_with("-848")).map(|on| {
            let inside = rdkafka::util::get_rdkafka_version().1;
            (on, format!("{} (librdkafka {inside})", locked("rdkafka")))
        }),
        "rskafka" => rs::open(&broker).map(|on| (on, locked("rskafka"))),
        _ => Err(format!("no client {client:?} here").into()),
    };
    let (on, version) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    println!("{}", json!({ "client": client, "version": version }));
    let mut status = ExitCode::SUCCESS;
    for name in names {
        let began = Instant::now();
        let outcome = stories::tell(&*on, &name);
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut line = json!({ "client": client, "story": name, "ok": outcome.is_ok(), "ms": ms });
        if let Err(error) = outcome {
            line["error"] = error.to_string().into();
            status = ExitCode::FAILURE;
        }
        println!("{line}");
    }
    status
}

/// The version of a crate, from the lock file that this was built by.
fn locked(name: &str) -> String {
    let named = format!("name = \"{name}\"");
    include_str!("../Cargo.lock")
        .lines()
        .skip_while(|line| *line != named)
        .find_map(|line| line.strip_prefix("version = "))
        .map_or_else(
            || "unknown".to_owned(),
            |version| version.trim_matches('"').to_owned(),
        )
}
