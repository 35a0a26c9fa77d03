//! `group`: ls, describe, explain, seek, rm.

mod describe;
mod explain;
mod history;
mod ls;
mod rm;
mod seek;

use clap::Subcommand;
use client::Reach;

use crate::output::Output;
use crate::{Failure, Global, connect};

/// What to do with consumer groups.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the groups.
    #[command(alias = "list")]
    Ls,
    /// Show a group's members, committed offsets and lag in records and in time.
    Describe(describe::Arguments),
    /// Show what happened in a group: joins, leaves, generations, seeks.
    Explain(explain::Arguments),
    /// Move a group to another place, also while it is reading, after saying what that means.
    Seek(seek::Arguments),
    /// Remove groups without members, with their committed offsets.
    #[command(alias = "delete", alias = "remove")]
    Rm(rm::Arguments),
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    command: Command,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    let now = reach.clock.wall_ms();
    match command {
        Command::Ls => ls::run(&mut client, output).await,
        Command::Describe(arguments) => describe::run(client, arguments, now, output).await,
        Command::Explain(arguments) => explain::run(client, arguments, now, output).await,
        Command::Seek(arguments) => seek::run(client, arguments, now, output).await,
        Command::Rm(arguments) => rm::run(&mut client, arguments, output).await,
    }
}
