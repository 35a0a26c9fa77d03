//! Which value holds: the layers from the topic down to the built-in default, and where the value
//! came from (rule M11).

use std::collections::BTreeMap;

use super::{Alias, Key, StaticConfig, broker, find};
use crate::image::ConfigMap;

/// Where a value comes from. The numbers are DescribeConfigs' source codes (rule M11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Set for the topic.
    Topic = 1,
    /// Set for this broker while it runs.
    Broker = 2,
    /// Set for all brokers while they run.
    ClusterDefault = 3,
    /// From the configuration file, the environment or a flag.
    Static = 4,
    /// Built in.
    Default = 5,
    /// Set for the group.
    Group = 8,
}

impl Source {
    /// DescribeConfigs' code.
    pub fn code(self) -> i8 {
        self as i8
    }
}

/// One name that gives, or would give, a key its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The topic key itself or a broker key.
    pub name: &'static str,
    /// Its value as it was written; hidden (`None`) if it is a secret or null.
    pub value: Option<String>,
    /// Which layer it stands in.
    pub source: Source,
}

/// A key's value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The declaration.
    pub key: &'static Key,
    /// The value in the key's own unit; `None` is null.
    pub value: Option<String>,
    /// Which layer won.
    pub source: Source,
    /// Every layer that gives a value, the winner first. Not hidden for secrets: whoever shows
    /// them asks [`Key::sensitive`].
    pub synonyms: Vec<Synonym>,
}

/// The layers a value is looked up in. Empty maps where nothing is set.
#[derive(Clone, Copy)]
pub struct Layers<'a> {
    /// The topic's or group's own settings.
    pub own: Option<&'a ConfigMap>,
    /// This broker's dynamic settings.
    pub broker: Option<&'a ConfigMap>,
    /// The cluster's dynamic settings.
    pub cluster: Option<&'a ConfigMap>,
    /// What the process was started with.
    pub fixed: &'a StaticConfig,
}

/// A topic key's effective value.
pub fn effective_topic(key: &'static Key, layers: &Layers<'_>) -> Effective {
    effective(key, layers, Some(Source::Topic), key.aliases)
}

/// A group key's effective value.
pub fn effective_group(key: &'static Key, layers: &Layers<'_>) -> Effective {
    effective(key, layers, Some(Source::Group), key.aliases)
}

/// A broker key's effective value.
pub fn effective_broker(key: &'static Key, layers: &Layers<'_>) -> Effective {
    effective(key, layers, None, &[])
}

/// Layers come before names: any alias set for the broker beats every alias set in the file.
fn effective(
    key: &'static Key,
    layers: &Layers<'_>,
    own: Option<Source>,
    aliases: &'static [Alias],
) -> Effective {
    let itself = [Alias {
        name: key.name,
        scale: 1,
    }];
    let names: &[Alias] = if own.is_some() { aliases } else { &itself };
    let mut synonyms = Vec::new();
    let mut winner: Option<(Option<String>, Source)> = None;
    let mut add = |name: &'static str, scale: i64, value: &str, source: Source| {
        if winner.is_none() {
            winner = Some((Some(scaled(value, scale)), source));
        }
        synonyms.push(Synonym {
            name,
            value: Some(value.to_string()),
            source,
        });
    };
    if let (Some(source), Some(map)) = (own, layers.own)
        && let Some(value) = map.get(key.name)
    {
        add(key.name, 1, value, source);
    }
    for (map, source) in [
        (layers.broker, Source::Broker),
        (layers.cluster, Source::ClusterDefault),
    ] {
        for alias in names {
            if let Some(value) = map.and_then(|map| map.get(alias.name)) {
                add(name_of(alias), alias.scale, value, source);
            }
        }
    }
    for alias in names {
        if let Some(value) = layers.fixed.given(alias.name) {
            add(name_of(alias), alias.scale, value, Source::Static);
        }
    }
    // A topic's default shows as that of the broker key behind it; where there is none, or its own
    // default is null, Kafka shows no synonym.
    let behind = match (own, names.first()) {
        (None, _) => Some((key.name, key.default)),
        (Some(_), None) => None,
        (Some(_), Some(alias)) => broker::find_broker(alias.name)
            .ok()
            .map(|broker_key| (alias.name, broker_key.default)),
    };
    if let Some((name, Some(default))) = behind {
        synonyms.push(Synonym {
            name,
            value: Some(default.to_string()),
            source: Source::Default,
        });
    }
    let winner = winner.or_else(|| {
        key.default
            .map(|value| (Some(value.to_string()), Source::Default))
    });
    let (value, source) = winner.unwrap_or((None, Source::Default));
    Effective {
        key,
        value,
        source,
        synonyms,
    }
}

fn name_of(alias: &Alias) -> &'static str {
    alias.name
}

/// Hours to milliseconds and the like; -1 stays "for ever", and overflow stops at the largest.
fn scaled(value: &str, scale: i64) -> String {
    match value.trim().parse::<i64>() {
        Ok(number) if scale != 1 && number >= 0 => number.saturating_mul(scale).to_string(),
        Ok(number) if scale != 1 => number.to_string(),
        _ => value.to_string(),
    }
}

/// All settings of a broker resource for DescribeConfigs: the ones that mean something and the
/// foreign ones, by name.
pub fn describe_broker(layers: &Layers<'_>) -> Vec<Effective> {
    let mut all: BTreeMap<&'static str, Effective> = BTreeMap::new();
    for key in broker::BROKER.iter().chain(super::FOREIGN) {
        let effective = effective_broker(key, layers);
        if key.listed || effective.source != Source::Default {
            all.insert(key.name, effective);
        }
    }
    all.into_values().collect()
}

/// All settings of a topic for DescribeConfigs.
pub fn describe_topic(layers: &Layers<'_>) -> Vec<Effective> {
    describe(super::topic::TOPIC, layers, Source::Topic)
}

/// All settings of a group for DescribeConfigs.
pub fn describe_group(layers: &Layers<'_>) -> Vec<Effective> {
    describe(super::group::GROUP, layers, Source::Group)
}

fn describe(table: &'static [Key], layers: &Layers<'_>, own: Source) -> Vec<Effective> {
    table
        .iter()
        .map(|key| effective(key, layers, Some(own), key.aliases))
        .filter(|effective| effective.key.listed || effective.source == own)
        .collect()
}

/// Resolves a topic key by name; `None` if there is no such key.
pub(super) fn topic_value(name: &str, layers: &Layers<'_>) -> Option<String> {
    find(super::topic::TOPIC, name).and_then(|key| effective_topic(key, layers).value)
}
