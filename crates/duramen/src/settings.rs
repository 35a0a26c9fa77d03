//! Where a setting comes from: flags over environment over file over defaults.
//!
//! Files are TOML (tables make dotted keys) or Kafka's `server.properties` as it is. Keys are
//! checked against the declarations of `metadata::config`: an unknown key stops the start and
//! names the nearest one; a key without effect here is one warning.

use std::path::Path;

use cli::Failure;
use metadata::config::{ConfigError, StaticConfig, StaticProblem};

use crate::environment::{self, Variable};
use crate::otlp;
use crate::properties;

/// A key, its value, and where it was given, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The configuration key.
    pub key: String,
    /// Its value as text.
    pub value: String,
    /// `server.properties line 3`, `KAFKA_LISTENERS`, `--listen`.
    pub origin: String,
}

impl Setting {
    /// A setting given by a flag.
    pub fn flag(flag: &str, key: &str, value: impl Into<String>) -> Setting {
        Setting {
            key: key.to_owned(),
            value: value.into(),
            origin: flag.to_owned(),
        }
    }
}

/// The number of a node that was given none.
const NODE_ID: &str = "1";

/// Checks the layers, lowest first; a later one wins. `node.id` and its older name `broker.id` are
/// both there afterwards, whichever was given.
///
/// # Errors
/// Every unknown key and bad value at once, in one failure.
pub fn check(mut layers: Vec<Setting>) -> Result<StaticConfig, Failure> {
    name_node(&mut layers)?;
    let entries = layers
        .iter()
        .map(|setting| (setting.key.as_str(), setting.value.as_str()));
    let (config, problems) = StaticConfig::load(entries);
    let mut refused = Vec::new();
    for problem in problems {
        match problem {
            StaticProblem::Warn(key, why) => {
                tracing::warn!(
                    key,
                    origin = origin_of(&layers, key),
                    "setting has no effect: {why}"
                );
            }
            StaticProblem::Refuse(error) => refused.push(error),
        }
    }
    let Some(first) = refused.first() else {
        return Ok(config);
    };
    let name = named(first);
    let what = match refused.len() {
        1 => "configuration: one setting is wrong".to_owned(),
        count => format!("configuration: {count} settings are wrong"),
    };
    let causes: Vec<String> = refused
        .iter()
        .map(|error| format!("{} ({error})", origin_of(&layers, named(error))))
        .collect();
    let next = match first {
        ConfigError::Unknown {
            nearest: Some(nearest),
            ..
        } => {
            format!("write {nearest} instead of {name}, or remove it")
        }
        _ => format!("correct or remove {name}"),
    };
    Err(Failure::usage(what, causes.join("; "), next))
}

/// Gives each of the two names of the node's number the value of the other, as Kafka does; clients
/// read either.
fn name_node(layers: &mut Vec<Setting>) -> Result<(), Failure> {
    let given = |key: &str| layers.iter().rev().find(|setting| setting.key == key);
    let default = Setting::flag("default", "node.id", NODE_ID);
    let missing = match (given("node.id"), given("broker.id")) {
        (Some(new), Some(old)) if new.value.trim() != old.value.trim() => {
            return Err(Failure::usage(
                format!(
                    "configuration: node.id={} and broker.id={}",
                    new.value, old.value
                ),
                format!(
                    "they are two names for the same number ({}, {})",
                    new.origin, old.origin
                ),
                "remove broker.id, the older one",
            ));
        }
        (Some(_), Some(_)) => return Ok(()),
        (Some(new), None) => vec![("broker.id", new.clone())],
        (None, Some(old)) if old.value.trim() != "-1" => vec![("node.id", old.clone())],
        (None, _) => vec![("node.id", default.clone()), ("broker.id", default)],
    };
    layers.extend(missing.into_iter().map(|(key, known)| Setting {
        key: key.to_owned(),
        ..known
    }));
    Ok(())
}

/// A laptop, or a test, has one broker and no time to wait for a second consumer.
pub fn of_a_laptop() -> Vec<Setting> {
    vec![
        Setting::flag("dev", "auto.create.topics.enable", "true"),
        Setting::flag("dev", "group.initial.rebalance.delay.ms", "0"),
        Setting::flag("dev", "offsets.topic.replication.factor", "1"),
    ]
}

/// Reads a configuration file and says of every setting whether the broker takes it.
///
/// # Errors
/// The file cannot be read, or is not what its name says.
pub fn examine(path: &Path) -> Result<cli::CheckedFile, Failure> {
    let layers = read_file(path)?;
    let entries = layers
        .iter()
        .map(|setting| (setting.key.as_str(), setting.value.as_str()));
    let (_, problems) = StaticConfig::load(entries);
    let mut checked = cli::CheckedFile::default();
    for problem in problems {
        match problem {
            StaticProblem::Warn(key, why) => checked.idle.push((key.to_owned(), why.to_string())),
            StaticProblem::Refuse(error) => {
                checked
                    .refused
                    .push((named(&error).to_owned(), error.to_string()));
            }
        }
    }
    let settings = layers
        .into_iter()
        .map(|setting| (setting.key, setting.value));
    checked.settings = settings.collect();
    Ok(checked)
}

fn named(error: &ConfigError) -> &str {
    match error {
        ConfigError::Unknown { name, .. } => name,
        ConfigError::NotAList { key, .. } => key,
        ConfigError::Value { key, .. }
        | ConfigError::Refused { key, .. }
        | ConfigError::Conflict { key, .. }
        | ConfigError::Fixed { key, .. }
        | ConfigError::NotDynamic { key } => key,
    }
}

fn origin_of<'a>(layers: &'a [Setting], key: &str) -> &'a str {
    let given = layers.iter().rev().find(|setting| setting.key == key);
    given.map_or("given", |setting| setting.origin.as_str())
}

/// Reads a configuration file: `.properties` as Kafka has it, everything else as TOML.
///
/// # Errors
/// The file cannot be read, or is not what its name says.
pub fn read_file(path: &Path) -> Result<Vec<Setting>, Failure> {
    let shown = path.display();
    let text = read_text(path).map_err(|error| {
        Failure::usage(
            format!("configuration file {shown}: not read"),
            error.to_string(),
            "name an existing file with --config",
        )
    })?;
    if path
        .extension()
        .is_some_and(|extension| extension == "properties")
    {
        return Ok(properties::parse(&text)
            .into_iter()
            .map(|(line, key, value)| Setting {
                key,
                value,
                origin: format!("{shown} line {line}"),
            })
            .collect());
    }
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        Failure::usage(
            format!("configuration file {shown}: not TOML"),
            error.message().to_owned(),
            "correct it, or name it something.properties if it is Kafka's format",
        )
    })?;
    let mut settings = Vec::new();
    flatten("", &table, &shown.to_string(), &mut settings)?;
    Ok(settings)
}

#[expect(
    clippy::disallowed_methods,
    reason = "read before there is a data directory to be seen"
)]
fn read_text(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

/// `[log]` with `dirs = "x"` is `log.dirs`; a list is joined by commas.
fn flatten(
    prefix: &str,
    table: &toml::Table,
    file: &str,
    settings: &mut Vec<Setting>,
) -> Result<(), Failure> {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, file, settings)?,
            other => {
                let value = scalar(other).ok_or_else(|| {
                    Failure::usage(
                        format!("configuration file {file}: {key}"),
                        "a value is a text, a number, a boolean or a list of these",
                        format!("write {key} = \"…\""),
                    )
                })?;
                settings.push(Setting {
                    key,
                    value,
                    origin: file.to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn scalar(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        toml::Value::Array(items) => {
            let parts: Option<Vec<String>> = items.iter().map(scalar).collect();
            parts.map(|parts| parts.join(","))
        }
        toml::Value::Datetime(_) | toml::Value::Table(_) => None,
    }
}

/// Where metrics are pushed to, by OpenTelemetry's variables; `None` for nowhere.
///
/// # Errors
/// A variable that cannot be followed, in three lines.
pub fn read_push() -> Result<Option<otlp::Settings>, Failure> {
    otlp::read(&|name| std::env::var(name).ok())
}

/// Settings of the process environment.
pub fn read_environment() -> Vec<Setting> {
    let mut settings = Vec::new();
    for variable in environment::read(std::env::vars()) {
        match variable {
            Variable::Key {
                variable,
                key,
                value,
            } => {
                settings.push(Setting {
                    key,
                    value,
                    origin: variable,
                });
            }
            Variable::Ignored(name) => {
                tracing::debug!(variable = name, "ignored: it is no setting of the broker");
            }
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml_settings(text: &str) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        flatten("", &text.parse().expect("TOML"), "file", &mut settings).expect("flat");
        settings
            .into_iter()
            .map(|setting| (setting.key, setting.value))
            .collect()
    }

    #[test]
    fn tables_make_dotted_keys_and_lists_are_joined() {
        assert_eq!(
            toml_settings("num.partitions = 3\n[log]\ndirs = ['a', 'b']\n"),
            [
                ("log.dirs".into(), "a,b".into()),
                ("num.partitions".into(), "3".into())
            ]
        );
    }

    #[test]
    fn an_unknown_key_stops_the_start_and_names_the_nearest() {
        let wrong = Setting {
            key: "num.partition".into(),
            value: "3".into(),
            origin: "duramen.toml".into(),
        };
        let failure = check(vec![wrong]).expect_err("unknown");
        assert_eq!(failure.exit, cli::failure::EXIT_USAGE);
        assert!(failure.cause.contains("duramen.toml"), "{failure}");
        assert!(failure.next.contains("num.partitions"), "{failure}");
        assert_eq!(failure.to_string().lines().count(), 3);
    }

    #[test]
    fn a_later_layer_wins() {
        let file = Setting::flag("file", "num.partitions", "3");
        let flag = Setting::flag("--x", "num.partitions", "6");
        let config = check(vec![file, flag]).expect("both are right");
        assert_eq!(config.number("num.partitions"), 6);
    }

    #[test]
    fn the_node_has_one_number_under_both_its_names() {
        // As Kafka 4.3 describes itself: both, from the configuration.
        for (given, expected) in [
            (&[][..], "1"),
            (&[("node.id", "7")], "7"),
            (&[("broker.id", "7")], "7"),
            (&[("broker.id", "-1")], "1"),
            (&[("broker.id", "7"), ("node.id", "7")], "7"),
        ] {
            let layers = given
                .iter()
                .map(|(key, value)| Setting::flag("f", key, *value));
            let config = check(layers.collect()).expect("fine");
            for key in ["node.id", "broker.id"] {
                assert_eq!(config.given(key), Some(expected), "{given:?}");
            }
        }
        let both = [("broker.id", "1"), ("node.id", "2")];
        let layers = both.map(|(key, value)| Setting::flag("f", key, value));
        let failure = check(layers.into()).expect_err("which one?");
        assert!(failure.what.contains("node.id=2"), "{failure}");
    }

    #[test]
    fn every_wrong_setting_is_reported_at_once() {
        let failure = check(vec![
            Setting::flag("a", "num.partitions", "zero"),
            Setting::flag("b", "listenerss", "x"),
        ])
        .expect_err("wrong");
        assert!(failure.what.contains("2 settings"), "{failure}");
    }

    #[test]
    fn the_environment_of_testcontainers_parses() {
        let given = [
            ("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw"),
            (
                "KAFKA_LISTENERS",
                "PLAINTEXT://:9092,BROKER://:9093,CONTROLLER://:9094",
            ),
            (
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
                "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            ),
            ("KAFKA_INTER_BROKER_LISTENER_NAME", "BROKER"),
            ("KAFKA_PROCESS_ROLES", "broker,controller"),
            ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
            ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9094"),
            ("KAFKA_NODE_ID", "1"),
            ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
            ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "1"),
            ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
            ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
            ("KAFKA_LOG_FLUSH_INTERVAL_MESSAGES", "9223372036854775807"),
            ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
            ("KAFKA_HEAP_OPTS", "-Xmx512M"),
        ];
        let variables = environment::read(given.map(|(k, v)| (k.into(), v.into())).into_iter());
        let settings = variables
            .into_iter()
            .filter_map(|variable| match variable {
                Variable::Key {
                    variable,
                    key,
                    value,
                } => Some(Setting {
                    key,
                    value,
                    origin: variable,
                }),
                Variable::Ignored(_) => None,
            })
            .collect();
        let config = check(settings).expect("every key is known");
        assert_eq!(config.number("offsets.topic.num.partitions"), 1);
    }
}
