//! The process's log: text on a terminal, JSON lines otherwise, always on standard error. What is
//! told can be changed while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use broker::{Level, Loggers, ROOT_LOGGER};
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;

/// Says what is told, and changes it.
#[derive(Clone)]
pub struct Levels {
    filter: Handle<Targets, Registry>,
    said: Arc<Mutex<String>>,
}

impl Levels {
    /// The levels in force, as they were given.
    pub fn current(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    /// Puts others in force: a level, and after commas `target=level` for parts of the program.
    ///
    /// # Errors
    /// What is wrong with the text; nothing has changed then.
    pub fn set(&self, text: &str) -> Result<(), String> {
        self.put(|_| text.to_owned())
    }

    /// Puts in force what is made of the levels in force; nobody else changes them meanwhile.
    fn put(&self, make: impl FnOnce(&str) -> String) -> Result<(), String> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let text = make(&said);
        let filter = filter(&text)?;
        self.filter
            .reload(filter)
            .map_err(|error| error.to_string())?;
        said.clone_from(&text);
        drop(said);
        tracing::info!(levels = text, "log levels changed");
        Ok(())
    }
}

/// Parts of the program that are loggers of their own; their modules, as `broker::connection`, are
/// too, and are shown once they have a level.
const LOGGERS: [&str; 11] = [
    "broker",
    "client",
    "commitlog",
    "coordinator",
    "duramen",
    "hyper",
    "metadata",
    "openraft",
    "quorum",
    "wire",
    "world",
];

/// Levels as Kafka's protocol names them.
const KAFKA: [(Level, LevelFilter); 6] = [
    (Level::Fatal, LevelFilter::OFF),
    (Level::Error, LevelFilter::ERROR),
    (Level::Warn, LevelFilter::WARN),
    (Level::Info, LevelFilter::INFO),
    (Level::Debug, LevelFilter::DEBUG),
    (Level::Trace, LevelFilter::TRACE),
];

fn to_kafka(filter: LevelFilter) -> Level {
    let found = KAFKA.iter().find(|(_, known)| *known == filter);
    found.map_or(Level::Info, |(level, _)| *level)
}

fn from_kafka(level: Level) -> LevelFilter {
    let found = KAFKA.iter().find(|(known, _)| *known == level);
    found.map_or(LevelFilter::INFO, |(_, filter)| *filter)
}

/// A logger's level: its own, or that of the nearest part it belongs to, or everybody's.
fn level_of(targets: &Targets, name: &str) -> LevelFilter {
    let above = |target: &str| {
        let rest = name.strip_prefix(target);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let found = targets.iter().filter(|(target, _)| above(target));
    let nearest = found.max_by_key(|(target, _)| target.len());
    nearest.map_or_else(
        || targets.default_level().unwrap_or(LevelFilter::INFO),
        |(_, level)| level,
    )
}

impl std::fmt::Debug for Levels {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Levels").field(&self.current()).finish()
    }
}

impl Loggers for Levels {
    fn levels(&self) -> Vec<(String, Level)> {
        let targets = filter(&self.current()).unwrap_or_default();
        let root = targets.default_level().unwrap_or(LevelFilter::INFO);
        let told = targets.iter().map(|(target, _)| target);
        let names: BTreeSet<&str> = LOGGERS.into_iter().chain(told).collect();
        let named = names
            .into_iter()
            .map(|name| (name.to_owned(), to_kafka(level_of(&targets, name))));
        let root = (ROOT_LOGGER.to_owned(), to_kafka(root));
        std::iter::once(root).chain(named).collect()
    }

    fn has(&self, name: &str) -> bool {
        let part = name.split("::").next().unwrap_or_default();
        let clean = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        name == ROOT_LOGGER || LOGGERS.contains(&part) && name.chars().all(clean)
    }

    fn change(&self, changes: &[(&str, Option<Level>)]) {
        if let Err(error) = self.put(|said| changed(said, changes)) {
            tracing::error!(%error, "log levels not changed");
        }
    }
}

/// Levels as a text, with these changes.
fn changed(said: &str, changes: &[(&str, Option<Level>)]) -> String {
    let mut root = "info".to_owned();
    let mut named: BTreeMap<String, String> = BTreeMap::new();
    for part in said.split(',') {
        match part.split_once('=') {
            Some((target, level)) => {
                named.insert(target.trim().to_owned(), level.trim().to_lowercase());
            }
            None => root = part.trim().to_lowercase(),
        }
    }
    for (name, level) in changes {
        let level = level.map(|level| from_kafka(level).to_string().to_lowercase());
        match level {
            Some(level) if *name == ROOT_LOGGER => root = level,
            Some(level) => drop(named.insert((*name).to_owned(), level)),
            None => drop(named.remove(*name)),
        }
    }
    let named = named
        .into_iter()
        .map(|(name, level)| format!("{name}={level}"));
    let parts: Vec<String> = std::iter::once(root).chain(named).collect();
    parts.join(",")
}

/// Starts logging at `DURAMEN_LOG` (error, warn, info, debug, trace).
///
/// Libraries below us speak at `warn` unless the level is `debug` or finer. A command that only talks
/// to a broker starts at `warn`: its output is the answer.
pub fn start(quiet: bool) -> Levels {
    let default = if quiet { "warn" } else { "info" };
    let (said, first) = std::env::var("DURAMEN_LOG")
        .ok()
        .and_then(|given| filter(&given).ok().map(|filter| (given, filter)))
        .unwrap_or_else(|| (default.to_owned(), filter(default).unwrap_or_default()));
    let (first, handle) = reload::Layer::new(first);
    let registry = tracing_subscriber::registry().with(first);
    if std::io::stderr().is_terminal() {
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_ansi(std::env::var_os("NO_COLOR").is_none());
        registry.with(layer).init();
    } else {
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .with_writer(std::io::stderr),
            )
            .init();
    }
    Levels {
        filter: handle,
        said: Arc::new(Mutex::new(said)),
    }
}

/// What a text asks for.
fn filter(text: &str) -> Result<Targets, String> {
    let mut level = None;
    for part in text.split(',') {
        let (target, named) = match part.split_once('=') {
            Some((target, named)) => (Some(target), named),
            None => (None, part),
        };
        // An empty word is a level to that library.
        let named = if named.trim().is_empty() { "?" } else { named };
        let named: LevelFilter = named
            .trim()
            .parse()
            .map_err(|_| format!("{named:?} is none of off, error, warn, info, debug, trace"))?;
        if target.is_none() {
            level = Some(named);
        }
    }
    let targets: Targets = text.parse().map_err(|_| format!("{text:?}: no levels"))?;
    let level = level.unwrap_or(LevelFilter::INFO);
    let targets = targets.with_default(level);
    let named = targets.iter().any(|(target, _)| target == "openraft");
    if level > LevelFilter::INFO || named {
        return Ok(targets);
    }
    Ok(targets.with_target("openraft", level.min(LevelFilter::WARN)))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn a_part_of_the_program_can_speak_more_than_the_rest() {
        let levels = filter("warn,commitlog=debug").expect("levels");
        let tells = |target: &str, level: &tracing::Level| levels.would_enable(target, level);
        assert!(tells("commitlog::compact", &tracing::Level::DEBUG));
        assert!(!tells("broker", &tracing::Level::INFO));
        assert!(tells("broker", &tracing::Level::WARN));
        let levels = filter("commitlog=trace").expect("levels");
        assert_eq!(levels.default_level(), Some(LevelFilter::INFO));
    }

    #[test]
    fn single_levels_are_changed_in_what_was_said() {
        let change = |said: &str, name: &str, level| changed(said, &[(name, level)]);
        let debug = Some(Level::Debug);
        assert_eq!(change("info", ROOT_LOGGER, debug), "debug");
        assert_eq!(change("info", "broker", debug), "info,broker=debug");
        assert_eq!(change("broker=trace", "broker", debug), "info,broker=debug");
        assert_eq!(change("WARN,broker=Debug", "broker", None), "warn");
        assert_eq!(
            change("warn", "broker::fetch", Some(Level::Fatal)),
            "warn,broker::fetch=off"
        );
    }

    #[test]
    fn a_logger_has_the_level_of_the_nearest_part_it_belongs_to() {
        let targets = filter("warn,broker=info,broker::fetch=trace").expect("levels");
        for (name, level) in [
            ("broker", LevelFilter::INFO),
            ("broker::fetch", LevelFilter::TRACE),
            ("broker::fetch::inner", LevelFilter::TRACE),
            ("broker::produce", LevelFilter::INFO),
            ("brokerage", LevelFilter::WARN),
            ("commitlog", LevelFilter::WARN),
        ] {
            assert_eq!(level_of(&targets, name), level, "{name}");
        }
    }

    #[test]
    fn libraries_speak_less_unless_they_are_asked() {
        let raft = |text: &str| {
            let levels = filter(text).expect("levels");
            levels.would_enable("openraft", &tracing::Level::INFO)
        };
        assert!(!raft("info"));
        assert!(raft("debug"));
        assert!(raft("info,openraft=info"));
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for wrong in ["", "loud", "info,commitlog=loud", "commitlog"] {
            assert!(filter(wrong).is_err(), "{wrong}");
        }
    }
}
