//! `duramen dev`: one word from nothing to a running log, on loopback, without configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cli::Failure;

use crate::logging::Levels;
use crate::running::{DRAIN_GRACE, Place, Running, Signals};
use crate::scratch::Scratch;
use crate::settings::{self, Setting};
use crate::{notify, ready};

/// Arguments of `dev`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where the data is kept. Created if missing.
    #[arg(long, default_value = "duramen-data", value_name = "DIR")]
    data_dir: PathBuf,
    /// Address for Kafka clients.
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    listen: String,
    /// Address of /healthz, /readyz and /metrics.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    http: String,
    /// Keep the data in a temporary directory and remove it at the end.
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// `auto` takes free ports instead of the ones given.
    #[arg(long, value_name = "auto")]
    port: Option<Port>,
    /// Print shell exports for test harnesses once ready, and nothing else on standard output.
    #[arg(long)]
    print_env: bool,
}

/// How ports are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Port {
    /// Any free one.
    Auto,
}

/// Runs until a signal.
///
/// # Errors
/// Whatever stood in the way of the start, or of a clean stop.
pub async fn run(arguments: Arguments, levels: Levels) -> Result<(), Failure> {
    let mut listen = parse("--listen", &arguments.listen)?;
    let mut http = parse("--http", &arguments.http)?;
    if arguments.port == Some(Port::Auto) {
        listen.set_port(0);
        http.set_port(0);
    }
    // Before anything is made that a signal would leave behind.
    let signals = Signals::listen()?;
    let scratch = arguments.ephemeral.then(Scratch::create).transpose()?;
    let data_dir = match &scratch {
        Some(scratch) => scratch.path().to_owned(),
        None => crate::running::absolute(&arguments.data_dir),
    };
    // The environment may say otherwise, the flags win over it.
    let mut layers = settings::of_a_laptop();
    layers.extend(settings::read_environment());
    layers.push(Setting::flag(
        "--listen",
        "listeners",
        format!("PLAINTEXT://{listen}"),
    ));
    layers.push(Setting::flag(
        "--data-dir",
        "log.dirs",
        data_dir.display().to_string(),
    ));
    let settings = settings::check(layers)?;
    let running = Running::start(
        settings,
        Place {
            data_dir,
            http: Some((http, levels)),
            push: settings::read_push()?,
            // What is thrown away at the end need not be brought to one.
            drain_grace: match scratch {
                Some(_) => Duration::ZERO,
                None => DRAIN_GRACE,
            },
        },
    )?;
    if arguments.print_env {
        ready::print_environment(&running)?;
    } else {
        ready::print_block(&running, "dev")?;
    }
    notify::ready();
    let outcome = running.until_signal(signals).await;
    drop(scratch);
    outcome
}

fn parse(flag: &str, given: &str) -> Result<SocketAddr, Failure> {
    use std::net::ToSocketAddrs;
    let wrong = |reason: String| {
        Failure::usage(
            format!("{flag} {given}: no address"),
            reason,
            format!("write {flag} 127.0.0.1:PORT"),
        )
    };
    given
        .to_socket_addrs()
        .map_err(|error| wrong(error.to_string()))?
        .next()
        .ok_or_else(|| wrong("it resolved to nothing".to_owned()))
}
