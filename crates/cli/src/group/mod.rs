//! `group`: ls, describe.

mod describe;
mod ls;

use clap::Subcommand;
use client::Reach;

use crate::output::Output;
use crate::{Failure, Global, cluster};

/// What to do with consumer groups.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the groups.
    Ls,
    /// Show a group's members, committed offsets and lag.
    Describe(describe::Arguments),
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    command: Command,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = cluster::connect(reach, global).await?;
    match command {
        Command::Ls => ls::run(&mut client, output).await,
        Command::Describe(arguments) => describe::run(&mut client, arguments, output).await,
    }
}
