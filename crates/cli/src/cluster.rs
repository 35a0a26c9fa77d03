//! Connecting a command to its cluster, and turning the client's errors into three lines.

use client::{Client, ClientError, Reach};
use wire::error::ErrorCode;

use crate::{Failure, Global};

/// Connects to the brokers the command names.
pub async fn connect(reach: &Reach, global: &Global) -> Result<Client, Failure> {
    Client::connect(reach.clone(), &global.brokers)
        .await
        .map_err(|error| {
            Failure::new(
                format!("connect to {}: {error}", global.brokers),
                "no broker listens there, or the address is wrong",
                "start one with `duramen dev`, or name yours with --brokers HOST:PORT",
            )
        })
}

/// Explains a client's error for what was attempted.
pub fn explain(what: impl Into<String>, error: ClientError, next: impl Into<String>) -> Failure {
    let what = what.into();
    match &error {
        ClientError::Server { code, message } => {
            let cause = message.clone().filter(|text| !text.is_empty());
            Failure::new(
                format!("{what}: {} ({})", code.name(), code.code()),
                cause.unwrap_or_else(|| likely_cause(*code).to_owned()),
                next,
            )
        }
        _ => Failure::new(what, error.to_string(), next),
    }
}

fn likely_cause(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
            "the cluster has no such topic or partition"
        }
        ErrorCode::TopicAlreadyExists => "a topic of that name exists",
        ErrorCode::GroupIdNotFound => "the cluster has no such group",
        ErrorCode::OffsetOutOfRange => "no record has that offset any more, or yet",
        other => other.message(),
    }
}
