//! The process's log: text on a terminal, JSON lines otherwise, always on standard error. What is
//! told can be changed while it runs.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

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
        let filter = filter(text)?;
        self.filter
            .reload(filter)
            .map_err(|error| error.to_string())?;
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        text.clone_into(&mut said);
        drop(said);
        tracing::info!(levels = text, "log levels changed");
        Ok(())
    }
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
    use tracing_subscriber::filter::LevelFilter as Level;

    #[test]
    fn a_part_of_the_program_can_speak_more_than_the_rest() {
        let levels = filter("warn,commitlog=debug").expect("levels");
        let tells = |target: &str, level: &tracing::Level| levels.would_enable(target, level);
        assert!(tells("commitlog::compact", &tracing::Level::DEBUG));
        assert!(!tells("broker", &tracing::Level::INFO));
        assert!(tells("broker", &tracing::Level::WARN));
        let levels = filter("commitlog=trace").expect("levels");
        assert_eq!(levels.default_level(), Some(Level::INFO));
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
