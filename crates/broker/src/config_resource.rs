//! Which resource a configuration request means, from Kafka's number and name for it (rule M11).

use metadata::{Image, Refusal, Resource, check_name};
use wire::ErrorCode;
use wire::ids::BrokerId;

use crate::loggers::BROKER_LOGGER;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;

/// Whose keys a resource has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A topic's.
    Topic,
    /// A broker's or all brokers'.
    Broker,
    /// A group's.
    Group,
}

impl Scope {
    /// The scope of a resource.
    pub fn of(resource: &Resource) -> Scope {
        match resource {
            Resource::Topic(_) => Scope::Topic,
            Resource::Broker(_) | Resource::ClusterDefault => Scope::Broker,
            Resource::Group(_) => Scope::Group,
        }
    }
}

/// Reads type and name.
///
/// # Errors
/// A kind that is not there, or a name that cannot be one of its kind.
pub fn parse(kind: i8, name: &str) -> Result<Resource, Refusal> {
    match kind {
        TOPIC => match check_name(name) {
            Ok(()) => Ok(Resource::Topic(name.to_owned())),
            Err(reason) => refuse(ErrorCode::InvalidTopicException, reason),
        },
        BROKER if name.is_empty() => Ok(Resource::ClusterDefault),
        BROKER => match name.parse() {
            Ok(id) => Ok(Resource::Broker(BrokerId(id))),
            Err(_) => refuse(
                ErrorCode::InvalidRequest,
                format!("Broker id must be an integer, but it is: {name}"),
            ),
        },
        GROUP if name.is_empty() => refuse(
            ErrorCode::InvalidRequest,
            "Default group resources are not allowed.",
        ),
        GROUP => Ok(Resource::Group(name.to_owned())),
        BROKER_LOGGER => refuse(
            ErrorCode::InvalidRequest,
            "log levels are changed one by one: use IncrementalAlterConfigs",
        ),
        CLIENT_METRICS => refuse(
            ErrorCode::InvalidRequest,
            "client metrics subscriptions do not exist here",
        ),
        other => refuse(
            ErrorCode::InvalidRequest,
            format!("Unsupported resource type: {other}"),
        ),
    }
}

/// A topic resource must name a topic there is.
///
/// # Errors
/// UNKNOWN_TOPIC_OR_PARTITION.
pub fn check_topic_exists(image: &Image, name: &str) -> Result<(), Refusal> {
    match image.topic(name) {
        Some(_) => Ok(()),
        None => refuse(
            ErrorCode::UnknownTopicOrPartition,
            format!("The topic '{name}' does not exist."),
        ),
    }
}

/// A broker takes questions about itself only: its settings are its own.
///
/// # Errors
/// INVALID_REQUEST.
pub fn check_broker_is_ours(ours: BrokerId, asked: BrokerId) -> Result<(), Refusal> {
    if asked == ours {
        return Ok(());
    }
    refuse(
        ErrorCode::InvalidRequest,
        format!("Unexpected broker id, expected {ours} or empty string, but received {asked}"),
    )
}

fn refuse<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        code,
        message: message.into(),
    })
}
