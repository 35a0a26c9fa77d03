//! Connecting a command to its cluster, and turning the client's errors into three lines.

use std::io::Write;
use std::sync::Arc;

use client::{Call, Client, ClientError, Observer, Reach};
use stdx::nearest::nearest;
use wire::error::ErrorCode;

use crate::context::{self, Target};
use crate::{Failure, Global, errors, probe};

/// Connects to the brokers the command names.
///
/// # Errors
/// None answers: the cause is looked for before it is told.
pub async fn connect(reach: &Reach, global: &Global) -> Result<Client, Failure> {
    let target = context::resolve(global)?;
    let observer = observer(global);
    match Client::connect_observed(reach.clone(), &target.brokers, observer).await {
        Ok(client) => Ok(client),
        Err(error) => Err(why_not(reach, &target, &error).await),
    }
}

/// With `--trace`: tells of every request on standard error.
pub fn observer(global: &Global) -> Option<Observer> {
    global.trace.then(|| {
        Arc::new(|call: &Call| {
            let answer = match call.answer_bytes {
                Some(bytes) => format!("{bytes} bytes"),
                None => "no answer".to_owned(),
            };
            let took = call.took.as_secs_f64() * 1e3;
            let Call {
                api,
                version,
                address,
                ..
            } = call;
            // Nobody is told when standard error is gone.
            let _ = writeln!(
                std::io::stderr(),
                "trace: {api} v{version} to {address}: {took:.2} ms, {answer}"
            );
        }) as Observer
    })
}

async fn why_not(reach: &Reach, target: &Target, error: &ClientError) -> Failure {
    let Target { brokers, origin } = target;
    let what = format!("{brokers} ({origin}): not connected");
    let first = brokers.split(',').map(str::trim).find(|a| !a.is_empty());
    let Some(first) = first else {
        return Failure::usage(
            what,
            "the list of brokers is empty",
            "name one with --brokers HOST:PORT",
        );
    };
    let found = probe::look(reach, &client::with_port(first)).await;
    match found {
        Ok(_) => Failure::new(
            what,
            format!("the broker answers, but not to everything that is asked: {error}"),
            format!("duramen doctor {first}"),
        ),
        Err(fault) => Failure::new(what, fault.cause(), fault.next()),
    }
}

/// Explains a client's error for what was attempted.
pub fn explain(what: impl Into<String>, error: ClientError, next: impl Into<String>) -> Failure {
    let what = what.into();
    match &error {
        ClientError::Server { code, message } => {
            // What was asked for is not what stands in the way.
            let next = match code {
                ErrorCode::KafkaStorageError => "duramen explain KAFKA_STORAGE_ERROR".to_owned(),
                _ => next.into(),
            };
            let cause = message.clone().filter(|text| !text.is_empty());
            Failure::new(
                format!("{what}: {} ({})", code.name(), code.code()),
                cause
                    .unwrap_or_else(|| likely_cause(*code).to_owned())
                    .replace('\n', " "),
                next,
            )
        }
        ClientError::Unreachable { address, reason } => Failure::new(
            format!("{what}: {address} cannot be reached"),
            format!("the cluster hands this address out, and from here: {reason}"),
            "duramen doctor",
        ),
        ClientError::Unsupported { address, api } => Failure::new(
            format!("{what}: no {api} at {address}"),
            "the broker does not offer this request in a version that is spoken here",
            "duramen doctor",
        ),
        _ => Failure::new(what, error.to_string(), next),
    }
}

fn likely_cause(code: ErrorCode) -> &'static str {
    errors::entry(code).cause.unwrap_or_else(|| code.message())
}

/// ` did you mean …` for a name among those that are there; nothing if none is near.
pub fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(name, known).map(str::to_owned)
}
