//! `topic`: create, ls, describe, alter, rm.

mod alter;
mod create;
mod describe;
mod ls;
mod rm;

use clap::Subcommand;
use client::Reach;
use stdx::nearest::nearest;

use crate::output::Output;
use crate::{Failure, Global, cluster};

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a topic.
    Create(create::Arguments),
    /// List the topics.
    Ls(ls::Arguments),
    /// Show a topic's partitions, offsets and configuration.
    Describe(describe::Arguments),
    /// Change a topic's configuration or add partitions.
    Alter(alter::Arguments),
    /// Remove topics and their records.
    Rm(rm::Arguments),
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    command: Command,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = cluster::connect(reach, global).await?;
    match command {
        Command::Create(arguments) => create::run(&mut client, arguments, output).await,
        Command::Ls(arguments) => ls::run(&mut client, arguments, output).await,
        Command::Describe(arguments) => describe::run(&mut client, arguments, output).await,
        Command::Alter(arguments) => alter::run(&mut client, arguments, output).await,
        Command::Rm(arguments) => rm::run(&mut client, arguments, output).await,
    }
}

/// Splits `key=value`.
fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("write it as key=value".to_owned()),
    }
}

/// The failure for a topic the cluster does not have, naming the nearest one it has.
pub(crate) async fn unknown_topic(client: &mut client::Client, name: &str) -> Failure {
    let names: Vec<String> = match client.topics(None).await {
        Ok(topics) => topics.into_iter().map(|topic| topic.name).collect(),
        Err(_) => Vec::new(),
    };
    let next = match nearest(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`? Otherwise: duramen topic create {name}"),
        None => format!("duramen topic create {name}, or duramen topic ls"),
    };
    Failure::new(
        format!("topic {name}: UNKNOWN_TOPIC_OR_PARTITION (3)"),
        "the cluster has no such topic",
        next,
    )
}
