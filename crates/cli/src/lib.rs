//! The commands, one file each: they talk Kafka through `client`, like any stranger.
//!
//! Invariants: a table on a terminal, JSON lines when piped; an error is three lines (what failed,
//! the likely cause, the next command); nothing ever waits for a key press.
//!
//! This crate must never know the broker, its files or its organs.

mod cluster;
mod consume;
pub mod failure;
mod group;
mod output;
mod produce;
mod topic;
mod version;

use clap::{Args, Subcommand, ValueEnum};
use client::Reach;
pub use failure::Failure;
use output::Output;

/// Where to connect and how to answer; the same for every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Brokers to connect to first, HOST:PORT, separated by commas.
    #[arg(
        short = 'b',
        long,
        env = "DURAMEN_BROKERS",
        default_value = "127.0.0.1:9092",
        global = true,
        value_name = "HOST:PORT"
    )]
    pub brokers: String,
    /// Output format. The default is a table on a terminal and JSON lines when piped.
    #[arg(long, global = true, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// One JSON object a line for programs.
    Json,
}

/// The commands that talk to a cluster.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, describe, alter and remove topics.
    #[command(subcommand)]
    Topic(topic::Command),
    /// Write lines from standard input as records.
    Produce(produce::Arguments),
    /// Read records.
    Consume(consume::Arguments),
    /// List and describe consumer groups.
    #[command(subcommand)]
    Group(group::Command),
    /// Show the version of this program.
    Version,
}

/// Runs one command to its end.
///
/// # Errors
/// A [`Failure`] to print; its `exit` is the process's exit code.
pub async fn run(reach: &Reach, global: &Global, command: Command) -> Result<(), Failure> {
    let mut output = Output::new(global.output);
    match command {
        Command::Topic(command) => topic::run(reach, global, command, &mut output).await,
        Command::Produce(arguments) => produce::run(reach, global, arguments, &mut output).await,
        Command::Consume(arguments) => consume::run(reach, global, arguments, &mut output).await,
        Command::Group(command) => group::run(reach, global, command, &mut output).await,
        Command::Version => version::run(&mut output),
    }
}
