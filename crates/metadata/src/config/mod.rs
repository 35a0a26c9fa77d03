//! One declaration per configuration key: name, kind, default, unit, bounds, words, effect.
//!
//! DescribeConfigs, `--help`, the reference page, validation and the typed settings all read the
//! tables of this module, so a key cannot be documented one way and behave another.
//! The names, kinds and defaults are those of Kafka 4.3; the words are ours.

pub mod broker;
mod effective;
mod foreign;
pub mod group;
mod reference;
mod settings;
pub mod topic;

#[cfg(test)]
mod tests;

pub use effective::{
    Effective, Layers, Source, Synonym, describe_broker, describe_group, describe_topic,
    effective_broker, effective_group, effective_topic,
};
pub use foreign::FOREIGN;

pub use reference::reference;
pub use settings::{
    Cleanup, Compression, StaticConfig, StaticProblem, SyncPolicy, TimestampKind, TopicSettings,
};

/// The set of validation rules that [`check_topic`] and [`crate::apply`] know.
///
/// A command carries the number of the rules it was proposed under, so that replaying an old log
/// with newer code decides each command as it was decided then (design note 0050).
///
/// - 1: `compact` in cleanup policies is refused, except on the broker's own topics.
/// - 2: it is taken.
pub const RULES: u16 = 2;

/// What kind of value a key takes. The numbers are DescribeConfigs' type codes (rule M11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean = 1,
    /// Any text.
    Text = 2,
    /// 32-bit signed.
    Int = 3,
    /// 16-bit signed.
    Short = 4,
    /// 64-bit signed.
    Long = 5,
    /// 64-bit floating point, finite.
    Double = 6,
    /// Comma-separated texts.
    List = 7,
    /// A Java class name; none of them is loaded here.
    Class = 8,
    /// A secret: never shown.
    Password = 9,
}

impl Kind {
    /// DescribeConfigs' code for this kind.
    pub fn code(self) -> i8 {
        self as i8
    }

    fn word(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::Text => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }
}

/// What a number counts. For help texts and the reference page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Not a quantity, or a plain count.
    None,
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
}

/// Which values are allowed beyond the kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Every value of the kind.
    Any,
    /// At least this.
    AtLeast(i64),
    /// From the first to the second, both included.
    Between(i64, i64),
    /// gzip's levels: 1 to 9, or -1 for its own default.
    GzipLevel,
    /// A ratio from 0 to 1.
    Ratio,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of these words.
    EachOf(&'static [&'static str]),
    /// A list without repetitions, at least one entry.
    NonEmpty,
    /// `*`, or a list of `partition:broker`.
    ThrottledReplicas,
    /// `earliest`, `latest` or `by_duration:` and an ISO 8601 duration.
    ShareReset,
}

/// What a key does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It changes behaviour.
    Acts,
    /// Taken, stored and shown, but nothing depends on it; the text says why.
    Accepted(&'static str),
    /// Only its default is taken; the text says why anything else is refused.
    RefusedWhenOn(&'static str),
    /// Known to Kafka, concerns its threads, its JVM or parts that do not exist here: a warning.
    Foreign,
}

/// A broker key that gives a topic or group key its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The broker key.
    pub name: &'static str,
    /// The broker key's value times this is the topic key's value (hours to milliseconds).
    pub scale: i64,
}

/// A word of a value that was refused before some rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused {
    rules: u16,
    word: &'static str,
    why: &'static str,
}

/// The declaration of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name, Kafka's where Kafka has one.
    pub name: &'static str,
    /// What kind of value it takes.
    pub kind: Kind,
    /// Kafka's default; `None` is null.
    pub default: Option<&'static str>,
    /// What a number counts.
    pub unit: Unit,
    /// Allowed values.
    pub check: Check,
    /// What it does, in our words.
    pub doc: &'static str,
    /// Whether it acts.
    pub effect: Effect,
    /// Whether it can be changed while the node runs. Topic and group keys all can.
    pub dynamic: bool,
    /// Whether only the creation of the topic may set it.
    pub fixed: bool,
    /// Whether DescribeConfigs lists it when nobody has set it.
    pub listed: bool,
    /// Broker keys that give the default, in order of precedence.
    pub aliases: &'static [Alias],
    /// One word of the value that older rules refuse ([`RULES`]).
    refused: Option<Refused>,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Key {
        Key {
            name,
            kind,
            default: Some(default),
            unit: Unit::None,
            check: Check::Any,
            doc,
            effect: Effect::Acts,
            dynamic: false,
            fixed: false,
            listed: true,
            aliases: &[],
            refused: None,
        }
    }
    const fn null(mut self) -> Key {
        self.default = None;
        self
    }
    const fn unit(mut self, unit: Unit) -> Key {
        self.unit = unit;
        self
    }
    const fn check(mut self, check: Check) -> Key {
        self.check = check;
        self
    }
    const fn effect(mut self, effect: Effect) -> Key {
        self.effect = effect;
        self
    }
    const fn dynamic(mut self) -> Key {
        self.dynamic = true;
        self
    }
    const fn fixed(mut self) -> Key {
        self.fixed = true;
        self
    }
    const fn unlisted(mut self) -> Key {
        self.listed = false;
        self
    }
    const fn aliases(mut self, aliases: &'static [Alias]) -> Key {
        self.aliases = aliases;
        self
    }
    const fn refused_before(mut self, rules: u16, word: &'static str, why: &'static str) -> Key {
        self.refused = Some(Refused { rules, word, why });
        self
    }

    /// Whether the value must never be shown.
    pub fn sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// Whether appending to and subtracting from it makes sense (rule M12).
    pub fn is_list(&self) -> bool {
        self.kind == Kind::List
    }

    /// Says whether a value is allowed; the error names the key, the value and what is allowed.
    pub fn validate(&self, value: &str) -> Result<(), ConfigError> {
        let wrong = |allowed: String| {
            Err(ConfigError::Value {
                key: self.name,
                value: if self.sensitive() {
                    "[hidden]".into()
                } else {
                    value.into()
                },
                allowed,
            })
        };
        let trimmed = value.trim();
        match self.kind {
            Kind::Boolean if parse_bool(trimmed).is_none() => {
                return wrong("Expected value to be either true or false".into());
            }
            Kind::Int | Kind::Short | Kind::Long => {
                let fits = match self.kind {
                    Kind::Int => trimmed.parse::<i32>().ok().map(i64::from),
                    Kind::Short => trimmed.parse::<i16>().ok().map(i64::from),
                    _ => trimmed.parse::<i64>().ok(),
                };
                let Some(number) = fits else {
                    return wrong(format!("Not a number of type {}", self.kind.word()));
                };
                match self.check {
                    Check::AtLeast(min) if number < min => {
                        return wrong(format!("Value must be at least {min}"));
                    }
                    Check::Between(min, max) if !(min..=max).contains(&number) => {
                        return wrong(format!("Value must be from {min} to {max}"));
                    }
                    Check::GzipLevel if number != -1 && !(1..=9).contains(&number) => {
                        return wrong("Value must be from 1 to 9 or equal to -1".into());
                    }
                    _ => {}
                }
            }
            Kind::Double => match trimmed.parse::<f64>() {
                Ok(number) if number.is_finite() => {
                    if self.check == Check::Ratio && !(0.0..=1.0).contains(&number) {
                        return wrong("Value must be from 0 to 1".into());
                    }
                }
                _ => return wrong("Not a number of type DOUBLE".into()),
            },
            Kind::List => {
                let words = split_list(value);
                for (at, word) in words.iter().enumerate() {
                    if words[..at].contains(word) {
                        return wrong(format!("'{word}' is given twice"));
                    }
                    match self.check {
                        Check::EachOf(allowed) if !allowed.contains(word) => {
                            return wrong(format!(
                                "Each entry must be one of: {}",
                                allowed.join(", ")
                            ));
                        }
                        Check::ThrottledReplicas if !throttled_replica(word, words.len()) => {
                            return wrong(
                                "Expected * or a list like 0:1,1:2 of partition:broker".into(),
                            );
                        }
                        _ if word.is_empty() => return wrong("An entry is empty".into()),
                        _ => {}
                    }
                }
                if self.check == Check::NonEmpty && words.is_empty() {
                    return wrong("The list must not be empty".into());
                }
            }
            _ => match self.check {
                Check::OneOf(allowed) if !allowed.contains(&trimmed) => {
                    return wrong(format!("String must be one of: {}", allowed.join(", ")));
                }
                Check::ShareReset
                    if !matches!(trimmed, "earliest" | "latest")
                        && !trimmed.starts_with("by_duration:P") =>
                {
                    return wrong(
                        "Must be earliest, latest or by_duration: and an ISO 8601 duration".into(),
                    );
                }
                _ => {}
            },
        }
        if let Effect::RefusedWhenOn(why) = self.effect
            && !self.same_as_default(trimmed)
        {
            return Err(ConfigError::Refused {
                key: self.name,
                value: value.into(),
                why,
            });
        }
        Ok(())
    }

    /// Like [`Key::validate`], and refuses what these rules refuse.
    fn validate_under(&self, rules: u16, value: &str) -> Result<(), ConfigError> {
        self.validate(value)?;
        match self.refused {
            Some(refused) if rules < refused.rules && split_list(value).contains(&refused.word) => {
                Err(ConfigError::Refused {
                    key: self.name,
                    value: value.into(),
                    why: refused.why,
                })
            }
            _ => Ok(()),
        }
    }

    fn same_as_default(&self, value: &str) -> bool {
        match self.default {
            None => value.is_empty(),
            Some(default) if self.kind == Kind::Boolean => parse_bool(value) == parse_bool(default),
            Some(default) => match (value.parse::<i64>(), default.parse::<i64>()) {
                (Ok(value), Ok(default)) => value == default,
                _ => value == default,
            },
        }
    }
}

/// Why a configuration is not taken. The text goes to the client as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No such key.
    #[error("Unknown {scope} config name: {name}{}", .nearest.map(|n| format!(" (did you mean {n}?)")).unwrap_or_default())]
    Unknown {
        /// `topic`, `broker` or `group`.
        scope: &'static str,
        /// What was asked for.
        name: String,
        /// The most similar known name.
        nearest: Option<&'static str>,
    },
    /// The value is not allowed.
    #[error("Invalid value {value} for configuration {key}: {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value, hidden if it is a secret.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// Allowed in Kafka, refused here for now.
    #[error("Invalid value {value} for configuration {key}: {why}")]
    Refused {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// The reason.
        why: &'static str,
    },
    /// Two keys contradict each other.
    #[error("Invalid value {value} for configuration {key}: {why}")]
    Conflict {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What it contradicts.
        why: String,
    },
    /// Can be set only when the topic is created.
    #[error("{key} is fixed when the topic is created and is {value}")]
    Fixed {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// Can be set only in the configuration file.
    #[error("{key} cannot be changed while the broker runs: set it in the configuration file")]
    NotDynamic {
        /// The key.
        key: &'static str,
    },
    /// Append or subtract on something that is not a list (rule M12).
    #[error("Can't {operation} to key {key} because its type is not LIST.")]
    NotAList {
        /// The key.
        key: String,
        /// `APPEND` or `SUBTRACT`.
        operation: &'static str,
    },
}

/// Splits a comma-separated list the way Kafka does: entries trimmed, an empty text is empty.
pub fn split_list(value: &str) -> Vec<&str> {
    let value = value.trim();
    if value.is_empty() {
        Vec::new()
    } else {
        value.split(',').map(str::trim).collect()
    }
}

pub(crate) fn parse_bool(value: &str) -> Option<bool> {
    let value = value.trim();
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn throttled_replica(word: &str, words: usize) -> bool {
    if word == "*" {
        return words == 1;
    }
    word.split_once(':').is_some_and(|(partition, broker)| {
        partition.parse::<u32>().is_ok() && broker.parse::<u32>().is_ok()
    })
}

fn find(table: &'static [Key], name: &str) -> Option<&'static Key> {
    table
        .binary_search_by(|key| key.name.cmp(name))
        .ok()
        .map(|at| &table[at])
}
