//! The commands, one file each: they talk Kafka through `client`, like any stranger.
//!
//! Invariants: a table on a terminal, JSON lines when piped; an error is three lines (what failed,
//! the likely cause, the next command); nothing ever waits for a key press; what cannot be undone
//! shows a plan first and wants `--yes`.
//!
//! This crate must never know the broker, its files or its organs.

mod bench;
mod cluster;
mod complete;
mod config;
mod connect;
mod consent;
mod consume;
mod context;
mod doctor;
mod errors;
mod explain;
pub mod failure;
mod generate;
mod get;
mod group;
mod lookup;
mod output;
mod place;
mod probe;
mod produce;
mod progress;
mod quota;
mod record;
mod tail;
mod template;
mod topic;
mod usage;
mod version;
mod words;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use client::Reach;
pub use failure::Failure;
use output::{Format, Output};

/// Where to connect and how to answer; the same for every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Global {
    /// Brokers to connect to first, HOST:PORT, separated by commas. Else DURAMEN_BROKERS, else the
    /// context in use, else 127.0.0.1:9092.
    #[arg(
        short = 'b',
        long,
        global = true,
        value_name = "HOST:PORT",
        help_heading = "Cluster"
    )]
    pub brokers: Option<String>,
    /// Use this context's brokers; `-` is the context used before.
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        allow_hyphen_values = true,
        help_heading = "Cluster",
        add = complete::contexts()
    )]
    pub context: Option<String>,
    /// Read the brokers from a client.properties file.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Cluster")]
    pub client_config: Option<PathBuf>,
    /// A client property as librdkafka's tools take it, such as bootstrap.servers=HOST:PORT.
    #[arg(
        short = 'X',
        global = true,
        value_name = "KEY=VALUE",
        value_parser = topic::parse_setting,
        help_heading = "Cluster"
    )]
    pub properties: Vec<(String, String)>,
    /// Output format. The default is a table on a terminal and JSON lines when piped.
    #[arg(
        short = 'O',
        long,
        global = true,
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    output: Option<Format>,
    /// Names only, one a line.
    #[arg(
        short = 'q',
        long,
        global = true,
        conflicts_with = "output",
        help_heading = "Output"
    )]
    pub quiet: bool,
    /// Tell on standard error of every request: its name, version, broker and time.
    #[arg(long, global = true, help_heading = "Output")]
    pub trace: bool,
}

/// The commands that talk to a cluster.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create, list, describe, alter, trim and remove topics.
    #[command(subcommand)]
    Topic(topic::Command),
    /// Write lines from standard input as records.
    Produce(produce::Arguments),
    /// Read records.
    Consume(consume::Arguments),
    /// Follow topics as they grow.
    Tail(tail::Arguments),
    /// Find the newest records of a key.
    Get(get::Arguments),
    /// List, describe, explain, move and remove consumer groups.
    #[command(subcommand)]
    Group(group::Command),
    /// Show a cluster and its health.
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// Read, change, check and compare configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// List, explain, set and remove client quotas.
    #[command(subcommand)]
    Quota(quota::Command),
    /// Find out why a cluster cannot be reached or used.
    Doctor(doctor::Arguments),
    /// Measure how fast a cluster writes and reads.
    #[command(subcommand)]
    Bench(bench::Command),
    /// Name clusters, and choose the one to talk to.
    #[command(subcommand)]
    Context(context::Command),
    /// Write completions, manual pages and files for other tools.
    #[command(subcommand)]
    Generate(generate::Command),
    /// Explain an error of Kafka's.
    Explain(explain::Arguments),
    /// Show the version of this program.
    Version,
}

/// What only the whole program knows.
pub struct Program {
    /// The declaration of every command.
    pub root: clap::Command,
    /// Checks a broker's configuration file: its settings as key and value, and what is wrong with
    /// them or has no effect.
    pub read_config: fn(&Path) -> Result<CheckedFile, Failure>,
}

/// A broker's configuration file, checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckedFile {
    /// Keys and values, in order.
    pub settings: Vec<(String, String)>,
    /// Key, and why it has no effect.
    pub idle: Vec<(String, String)>,
    /// Key, and why the broker would not start with it.
    pub refused: Vec<(String, String)>,
}

/// Reads the command line; what is wrong with it becomes a failure of three lines.
///
/// # Errors
/// A [`Failure`] to print. Help and version are printed here and come back as success with nothing
/// to do.
pub fn parse<A: clap::Parser>() -> Result<Option<A>, Failure> {
    clap_complete::CompleteEnv::with_factory(A::command).complete();
    let error = match A::try_parse() {
        Ok(arguments) => return Ok(Some(arguments)),
        Err(error) => error,
    };
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut root = A::command();
    root.build();
    match usage::explain(&error, &root, &words) {
        Some(failure) => Err(failure),
        None => {
            // A reader that went away wants no help.
            let _ = error.print();
            let missing = clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
            match error.kind() == missing {
                true => Err(Failure::silent(failure::EXIT_USAGE)),
                false => Ok(None),
            }
        }
    }
}

/// Runs one command to its end.
///
/// # Errors
/// A [`Failure`] to print; its `exit` is the process's exit code.
pub async fn run(
    reach: &Reach,
    global: &Global,
    command: Command,
    program: &Program,
) -> Result<(), Failure> {
    let format = match global.quiet {
        true => Some(Format::Name),
        false => global.output,
    };
    let mut output = Output::new(format);
    let output = &mut output;
    match command {
        Command::Topic(command) => topic::run(reach, global, command, output).await,
        Command::Produce(arguments) => produce::run(reach, global, arguments, output).await,
        Command::Consume(arguments) => consume::run(reach, global, arguments, output).await,
        Command::Tail(arguments) => tail::run(reach, global, arguments, output).await,
        Command::Get(arguments) => get::run(reach, global, arguments, output).await,
        Command::Group(command) => group::run(reach, global, command, output).await,
        Command::Cluster(command) => cluster::run(reach, global, command, output).await,
        Command::Config(command) => config::run(reach, global, command, program, output).await,
        Command::Quota(command) => quota::run(reach, global, command, output).await,
        Command::Doctor(arguments) => doctor::run(reach, global, arguments, output).await,
        Command::Bench(command) => Box::pin(bench::run(reach, global, command, output)).await,
        Command::Context(command) => context::run(global, command, output),
        Command::Generate(command) => generate::run(global, command, program, output),
        Command::Explain(arguments) => explain::run(&arguments, output),
        Command::Version => version::run(output),
    }
}
