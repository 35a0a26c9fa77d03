//! `cluster`: info, health, log-level.

mod health;
mod info;
mod log_level;

use clap::Subcommand;
use client::Reach;

use crate::output::Output;
use crate::{Failure, Global};

pub(crate) use health::examine;

/// What to show of the cluster.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the brokers, the controller and the cluster's id.
    Info,
    /// Check that every partition has a leader and all its copies; exit code 10 if not.
    Health(health::Arguments),
    /// Show or change what brokers log, while they run.
    LogLevel(log_level::Arguments),
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    command: Command,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        Command::Info => info::run(reach, global, output).await,
        Command::Health(arguments) => health::run(reach, global, arguments, output).await,
        Command::LogLevel(arguments) => log_level::run(reach, global, arguments, output).await,
    }
}
