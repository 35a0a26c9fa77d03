//! What is printed once the broker is ready: for people, for harnesses that wait for Kafka's words.

use std::io::Write;
use std::net::SocketAddr;

use cli::Failure;

use crate::running::{Running, words};

/// Harnesses written for Kafka wait for these texts; they appear once each, when it is true.
const KAFKAS_WORDS: &str = "Kafka Server started\nTransitioning from RECOVERY to RUNNING\n";

/// Addresses, directory, what was found there, and what to type next.
pub fn print_block(running: &Running, mode: &str) -> Result<(), Failure> {
    let kafka: Vec<String> = running.kafka.iter().map(SocketAddr::to_string).collect();
    let first = running.kafka.first().map(reachable).unwrap_or_default();
    let mut text = format!(
        "duramen {} {mode}, ready in {}\n\n  kafka    {}\n",
        env!("CARGO_PKG_VERSION"),
        words(running.ready_in),
        kafka.join(", "),
    );
    if let Some(http) = running.http {
        text.push_str(&format!(
            "  http     http://{http}  /healthz /readyz /metrics\n"
        ));
    }
    text.push_str(&format!(
        "  data     {} ({})\n",
        running.data_dir.display(),
        running.recovered
    ));
    text.push_str(&format!(
        "  next     duramen topic create orders -p 6 -b {first}\n"
    ));
    text.push_str(&format!("           kcat -b {first} -L\n\n"));
    text.push_str(KAFKAS_WORDS);
    write(&text)
}

/// Shell exports, nothing else on standard output.
pub fn print_environment(running: &Running) -> Result<(), Failure> {
    let mut text = String::new();
    if let Some(kafka) = running.kafka.first() {
        let kafka = reachable(kafka);
        text.push_str(&format!("export DURAMEN_BROKERS={kafka}\n"));
        text.push_str(&format!("export KAFKA_BOOTSTRAP_SERVERS={kafka}\n"));
    }
    if let Some(http) = running.http {
        text.push_str(&format!(
            "export DURAMEN_HTTP=http://{}\n",
            reachable(&http)
        ));
    }
    write(&text)?;
    std::io::stderr()
        .write_all(KAFKAS_WORDS.as_bytes())
        .map_err(closed)
}

/// An address one can connect to: every interface includes loopback.
fn reachable(address: &SocketAddr) -> String {
    let mut address = *address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address.to_string()
}

fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(closed)
}

fn closed(error: std::io::Error) -> Failure {
    Failure::new(
        "standard output",
        error.to_string(),
        "check where it leads to",
    )
}
