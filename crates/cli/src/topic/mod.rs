//! `topic`: create, ls, describe, stat, alter, trim, rm.

mod alter;
mod create;
mod describe;
mod keys;
mod ls;
mod rm;
mod stat;
mod trim;

use clap::Subcommand;
use client::Reach;

use crate::output::Output;
use crate::{Failure, Global, connect};

pub(crate) use keys::{check_key, untold_default};

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a topic.
    Create(create::Arguments),
    /// List the topics.
    #[command(alias = "list")]
    Ls(ls::Arguments),
    /// Show a topic's partitions, offsets and configuration.
    Describe(describe::Arguments),
    /// Show a topic's size, rate, keys and age, and what retention removes next.
    Stat(stat::Arguments),
    /// Change a topic's configuration or add partitions.
    Alter(alter::Arguments),
    /// Remove records below a place, after saying which.
    Trim(trim::Arguments),
    /// Remove topics and their records, after saying what goes.
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
        Command::Create(arguments) => create::run(&mut client, arguments, output).await,
        Command::Ls(arguments) => ls::run(&mut client, arguments, output).await,
        Command::Describe(arguments) => describe::run(&mut client, arguments, output).await,
        Command::Stat(arguments) => stat::run(client, arguments, now, output).await,
        Command::Trim(arguments) => trim::run(&mut client, arguments, now, output).await,
        Command::Alter(arguments) => alter::run(&mut client, arguments, output).await,
        Command::Rm(arguments) => rm::run(&mut client, arguments, output).await,
    }
}

/// Splits `key=value`.
pub(crate) fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write it as key=value".to_owned()),
    }
}
