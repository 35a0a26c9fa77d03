//! `quota`: ls, describe, set, rm.

mod change;
mod describe;
mod key;
mod ls;
mod rm;
mod whose;

use clap::Subcommand;
use client::{Client, QuotaView, Reach};

use crate::output::Output;
use crate::{Failure, Global, connect};

/// What to do with client quotas.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the quotas that were set.
    #[command(alias = "list")]
    Ls(ls::Arguments),
    /// Show which quotas hold for a client, and where they were set.
    Describe(describe::Arguments),
    /// Set quotas, with sizes in words: --produce 5MB/s.
    Set(change::Arguments),
    /// Take quotas away, after saying which.
    #[command(alias = "delete", alias = "remove", alias = "unset")]
    Rm(rm::Arguments),
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    command: Command,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    match command {
        Command::Ls(arguments) => ls::run(&mut client, &arguments, output).await,
        Command::Describe(arguments) => describe::run(&mut client, &arguments, output).await,
        Command::Set(arguments) => change::run(&mut client, arguments, output).await,
        Command::Rm(arguments) => rm::run(&mut client, &arguments, output).await,
    }
}

/// All quotas of the cluster.
async fn read(client: &mut Client) -> Result<Vec<QuotaView>, Failure> {
    client
        .quotas()
        .await
        .map_err(|error| connect::explain("quotas: not read", error, "duramen doctor"))
}
