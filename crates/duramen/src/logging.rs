//! The process's log: text on a terminal, JSON lines otherwise, always on standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging at `DURAMEN_LOG` (error, warn, info, debug, trace).
///
/// Libraries below us speak at `warn` unless the level is `debug` or finer. A command that only talks
/// to a broker starts at `warn`: its output is the answer.
pub fn start(quiet: bool) {
    let default = if quiet {
        LevelFilter::WARN
    } else {
        LevelFilter::INFO
    };
    let level = std::env::var("DURAMEN_LOG")
        .ok()
        .and_then(|level| level.parse::<LevelFilter>().ok())
        .unwrap_or(default);
    let libraries = level.min(LevelFilter::WARN);
    let filter = if level > LevelFilter::INFO {
        Targets::new().with_default(level)
    } else {
        Targets::new()
            .with_default(level)
            .with_target("openraft", libraries)
    };
    let registry = tracing_subscriber::registry().with(filter);
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
}
