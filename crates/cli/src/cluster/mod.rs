//! `cluster`: info, health.

mod health;
mod info;

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
    }
}
