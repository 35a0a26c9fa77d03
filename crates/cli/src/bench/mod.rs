//! `bench`: produce, consume, latency.
//!
//! With `--rate` a record has a time at which it was due, and its latency counts from there: when the
//! cluster stalls, the records that had to wait are counted as late, not left out (coordinated
//! omission). Without it the client goes as fast as it can, and latency is that of a round.

mod consume;
mod latency;
mod produce;
mod report;
mod topic;

use clap::Subcommand;
use client::Reach;

use crate::output::Output;
use crate::{Failure, Global};

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write records and time their acknowledgements.
    Produce(produce::Arguments),
    /// Read records as fast as they come.
    Consume(consume::Arguments),
    /// Time records from their writing to their reading.
    Latency(latency::Arguments),
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    command: Command,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        Command::Produce(arguments) => produce::run(reach, global, arguments, output).await,
        Command::Consume(arguments) => consume::run(reach, global, arguments, output).await,
        Command::Latency(arguments) => {
            Box::pin(latency::run(reach, global, arguments, output)).await
        }
    }
}
