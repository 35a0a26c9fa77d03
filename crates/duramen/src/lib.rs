//! The one binary as a library: configuration, assembly, start, drain.
//!
//! `dev` and `server start` run a broker in this process; every other command talks to one as any
//! Kafka client would. [`testing::Broker`] is the same broker inside a Rust test.
//!
//! This crate must never know Kafka's rules: they are the broker's and its organs'.

mod data_directory;
mod dev;
mod documents;
mod environment;
mod http;
mod listeners;
mod logging;
mod metrics;
mod notify;
mod otlp;
mod outlook;
mod prometheus;
mod properties;
mod ready;
mod running;
mod scratch;
mod server;
mod settings;
mod space;
mod surroundings;
pub mod testing;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{CommandFactory, Parser, Subcommand};
use cli::Failure;
use client::Reach;
use logging::Levels;
use world::real::{RealClock, RealNet, RealRandom};

/// A Kafka-compatible log in one binary: durable before it answers.
#[derive(Debug, Parser)]
#[command(name = "duramen", version, propagate_version = true)]
struct Arguments {
    #[command(flatten)]
    global: cli::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a broker on this machine, without configuration.
    Dev(dev::Arguments),
    /// Start a broker from a configuration file.
    #[command(subcommand)]
    Server(server::Command),
    #[command(flatten)]
    Client(cli::Command),
}

/// Runs the program: its command line in, its exit code out.
pub fn main() -> ExitCode {
    let arguments = match cli::parse::<Arguments>() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(failure) => return report(&failure),
    };
    let levels = logging::start(matches!(arguments.command, Command::Client(_)));
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let next = "raise the limits of this process, then try again";
            return report(&Failure::new("no async runtime", error.to_string(), next));
        }
    };
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, run(arguments, levels));
    drop(local);
    // A resolver that is still asked for a name must not hold up the end.
    runtime.shutdown_background();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

async fn run(arguments: Arguments, levels: Levels) -> Result<(), Failure> {
    match arguments.command {
        Command::Dev(arguments) => dev::run(arguments, levels).await,
        Command::Server(command) => server::run(command, levels).await,
        Command::Client(command) => {
            let reach = Reach {
                net: Arc::new(RealNet),
                clock: Arc::new(RealClock::new()),
                random: Arc::new(RealRandom),
            };
            let program = cli::Program {
                root: Arguments::command(),
                read_config: settings::examine,
            };
            cli::run(&reach, &arguments.global, command, &program).await
        }
    }
}

fn report(failure: &Failure) -> ExitCode {
    if failure.speaks() {
        // Nothing is left to tell a person when standard error is gone as well.
        let _ = writeln!(std::io::stderr(), "{failure}");
    }
    ExitCode::from(failure.exit)
}
