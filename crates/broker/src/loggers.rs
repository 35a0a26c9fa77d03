//! The levels of the broker's log, as Kafka's BROKER_LOGGER resource: read and changed one by one
//! while it runs (KIP-412, `RuntimeLoggerManager.java`).
//!
//! It must never know how the log is written: whoever assembled the broker says which loggers there
//! are and carries out what is asked.

use metadata::{Change, Operation, Refusal};
use wire::ErrorCode;
use wire::ids::BrokerId;

use crate::config_change::invalid;
use crate::node::Node;

/// Kafka's number for the kind of resource.
pub const BROKER_LOGGER: i8 = 8;
/// The logger that the others follow unless they have a level of their own.
pub const ROOT: &str = "root";

/// How much a logger tells: Kafka's names. `Fatal` tells of nothing, for nothing here is fatal and
/// goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// FATAL
    Fatal,
    /// ERROR
    Error,
    /// WARN
    Warn,
    /// INFO
    Info,
    /// DEBUG
    Debug,
    /// TRACE
    Trace,
}

const LEVELS: [(Level, &str); 6] = [
    (Level::Fatal, "FATAL"),
    (Level::Error, "ERROR"),
    (Level::Warn, "WARN"),
    (Level::Info, "INFO"),
    (Level::Debug, "DEBUG"),
    (Level::Trace, "TRACE"),
];

impl Level {
    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        let found = LEVELS.iter().find(|(level, _)| *level == self);
        found.map_or("", |(_, name)| name)
    }

    fn by_name(name: &str) -> Option<Level> {
        let found = LEVELS.iter().find(|(_, known)| *known == name);
        found.map(|(level, _)| *level)
    }
}

/// The log of the program that the broker runs in.
pub trait Loggers: std::fmt::Debug + Send + Sync {
    /// Every logger and its level, the root first.
    fn levels(&self) -> Vec<(String, Level)>;
    /// Whether there is a logger of this name, or could be.
    fn has(&self, name: &str) -> bool;
    /// Gives loggers a level, or takes theirs away so that they follow the root again. All names are
    /// of loggers that there are.
    fn change(&self, changes: &[(&str, Option<Level>)]);
}

/// Checks that the resource is this broker, and that it has loggers.
fn of_this<'a>(node: &'a Node, resource: &str) -> Result<&'a dyn Loggers, Refusal> {
    if resource.is_empty() {
        return Err(invalid("Broker id must not be empty".to_owned()));
    }
    let asked = resource.parse().map(BrokerId).map_err(|_| {
        invalid(format!(
            "Broker id must be an integer, but it is: {resource}"
        ))
    })?;
    if asked != node.id {
        return Err(invalid(format!(
            "Unexpected broker id, expected {} but received {asked}",
            node.id
        )));
    }
    let none = || invalid("the log of this program is not the broker's to change".to_owned());
    node.loggers.as_deref().ok_or_else(none)
}

/// Every logger and its level.
///
/// # Errors
/// The resource is not this broker.
pub fn describe(node: &Node, resource: &str) -> Result<Vec<(String, Level)>, Refusal> {
    Ok(of_this(node, resource)?.levels())
}

/// Changes levels, all or none of them; only checks if so asked.
///
/// # Errors
/// The resource is not this broker, or a change that cannot be.
pub fn change(
    node: &Node,
    resource: &str,
    changes: &[Change],
    validate_only: bool,
) -> Result<(), Refusal> {
    let loggers = of_this(node, resource)?;
    let mut wanted = Vec::with_capacity(changes.len());
    for one in changes {
        let name = one.name.as_str();
        let known = || match loggers.has(name) {
            true => Ok(()),
            false => Err(no_config(format!("Logger {name} does not exist!"))),
        };
        match one.operation {
            Operation::Set => {
                known()?;
                let text = one.value.as_deref().unwrap_or_default();
                let level = Level::by_name(text).ok_or_else(|| {
                    let names: Vec<&str> = LEVELS.iter().map(|(_, name)| *name).collect();
                    no_config(format!(
                        "{text} is no level for {name}: the levels are {}",
                        names.join(", ")
                    ))
                })?;
                wanted.push((name, Some(level)));
            }
            Operation::Delete => {
                known()?;
                if name == ROOT {
                    return Err(invalid(format!("the {ROOT} logger must have a level")));
                }
                wanted.push((name, None));
            }
            Operation::Append | Operation::Subtract => {
                return Err(invalid(format!("{name} has a level, not a list")));
            }
        }
    }
    if !validate_only {
        loggers.change(&wanted);
    }
    Ok(())
}

fn no_config(message: String) -> Refusal {
    Refusal {
        code: ErrorCode::InvalidConfig,
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_kafkas_names() {
        for (level, name) in LEVELS {
            assert_eq!((level.name(), Level::by_name(name)), (name, Some(level)));
        }
        assert_eq!(Level::by_name("info"), None, "Kafka takes capitals only");
    }
}
