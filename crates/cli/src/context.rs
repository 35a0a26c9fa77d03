//! Contexts: names for clusters, kept in the user's configuration file, and the commands about them.
//!
//! Which brokers a command talks to, first match wins: `--brokers`; `--context`; `-X
//! bootstrap.servers=…`; `--client-config`; `DURAMEN_BROKERS`; `DURAMEN_CONTEXT`; the context in
//! use; this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use stdx::nearest::nearest;

use crate::output::Output;
use crate::{Failure, Global};

/// Where a broker on this machine listens.
pub const LOCAL: &str = "127.0.0.1:9092";
/// The word for the context that was used before.
const PREVIOUS: &str = "-";

/// The configuration file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Book {
    /// The context in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    /// The one before.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    /// The contexts by name.
    #[serde(rename = "context")]
    contexts: BTreeMap<String, Context>,
}

/// One cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    /// Brokers to connect to first, HOST:PORT, separated by commas.
    brokers: String,
}

/// Which brokers to talk to, and why these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// HOST:PORT, separated by commas.
    pub brokers: String,
    /// What named them, for messages.
    pub origin: String,
}

/// What to do with contexts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the contexts.
    #[command(alias = "list")]
    Ls,
    /// Add a context, or change one.
    #[command(alias = "set")]
    Add {
        /// Its name.
        name: String,
        /// Its brokers, HOST:PORT, separated by commas.
        #[arg(value_name = "HOST:PORT")]
        address: String,
        /// Use it from now on.
        #[arg(long)]
        select: bool,
    },
    /// Use a context from now on; `-` is the one before.
    Use {
        /// Its name.
        #[arg(allow_hyphen_values = true, add = crate::complete::contexts())]
        name: String,
    },
    /// Remove a context.
    #[command(alias = "delete", alias = "remove")]
    Rm {
        /// Its name.
        #[arg(add = crate::complete::contexts())]
        name: String,
    },
    /// Show which brokers a command would talk to, and why.
    Show,
}

#[derive(Serialize)]
struct Row {
    context: String,
    brokers: String,
    current: bool,
}

/// Runs one of the commands about contexts.
pub fn run(global: &Global, command: Command, output: &mut Output) -> Result<(), Failure> {
    if let Command::Show = command {
        let target = resolve(global)?;
        return output.rows(&["brokers", "named by"], &[Shown::from(target)], |row| {
            vec![row.brokers.clone(), row.named_by.clone()]
        });
    }
    let path = path()?;
    let mut book = read(&path)?;
    match command {
        Command::Ls | Command::Show => {}
        Command::Add {
            name,
            address,
            select,
        } => {
            check_name(&name)?;
            let context = Context { brokers: address };
            book.contexts.insert(name.clone(), context);
            if select || book.current.is_none() {
                book.select(name);
            }
            write(&path, &book)?;
        }
        Command::Use { name } => {
            let name = match (name.as_str(), &book.previous) {
                (PREVIOUS, Some(previous)) => previous.clone(),
                (PREVIOUS, None) => {
                    return Err(Failure::usage(
                        "context -: there is none before",
                        "no other context was used yet",
                        "duramen context ls",
                    ));
                }
                _ => name,
            };
            book.find(&name)?;
            book.select(name);
            write(&path, &book)?;
        }
        Command::Rm { name } => {
            book.find(&name)?;
            book.contexts.remove(&name);
            let gone = |used: &Option<String>| used.as_deref() == Some(name.as_str());
            if gone(&book.current) {
                book.current = None;
            }
            if gone(&book.previous) {
                book.previous = None;
            }
            write(&path, &book)?;
        }
    }
    let rows: Vec<Row> = book
        .contexts
        .iter()
        .map(|(name, context)| Row {
            context: name.clone(),
            brokers: context.brokers.clone(),
            current: book.current.as_ref() == Some(name),
        })
        .collect();
    output.rows(&["context", "brokers", "in use"], &rows, |row| {
        let current = if row.current { "yes" } else { "" };
        vec![row.context.clone(), row.brokers.clone(), current.to_owned()]
    })
}

#[derive(Serialize)]
struct Shown {
    brokers: String,
    named_by: String,
}

impl From<Target> for Shown {
    fn from(target: Target) -> Shown {
        Shown {
            brokers: target.brokers,
            named_by: target.origin,
        }
    }
}

/// The names of the contexts, for completion.
pub fn names() -> Vec<String> {
    let book = path().and_then(|path| read(&path)).unwrap_or_default();
    book.contexts.into_keys().collect()
}

/// Which brokers to talk to.
pub fn resolve(global: &Global) -> Result<Target, Failure> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let target = |brokers: &str, origin: &str| {
        Ok(Target {
            brokers: brokers.to_owned(),
            origin: origin.to_owned(),
        })
    };
    let properties = properties(global)?;
    if let Some(brokers) = &global.brokers {
        return target(brokers, "--brokers");
    }
    if let Some(name) = &global.context {
        return named(name, "--context");
    }
    if let Some((brokers, origin)) = properties {
        return target(&brokers, &origin);
    }
    if let Some(brokers) = variable("DURAMEN_BROKERS") {
        return target(&brokers, "DURAMEN_BROKERS");
    }
    if let Some(name) = variable("DURAMEN_CONTEXT") {
        return named(&name, "DURAMEN_CONTEXT");
    }
    let book = match path() {
        Ok(path) => read(&path)?,
        // Nowhere to keep contexts: none are there.
        Err(_) => Book::default(),
    };
    match &book.current {
        Some(name) => Ok(Target {
            brokers: book.find(name)?.brokers.clone(),
            origin: format!("context {name}"),
        }),
        None => target(LOCAL, "default"),
    }
}

fn named(name: &str, origin: &str) -> Result<Target, Failure> {
    let book = read(&path()?)?;
    let name = match (name, &book.previous) {
        (PREVIOUS, Some(previous)) => previous.as_str(),
        _ => name,
    };
    Ok(Target {
        brokers: book.find(name)?.brokers.clone(),
        origin: format!("{origin} {name}"),
    })
}

/// What `-X` and `--client-config` say of the brokers. Keys that ask for what this client does not
/// speak are refused; the many that tune other clients are passed over.
fn properties(global: &Global) -> Result<Option<(String, String)>, Failure> {
    let mut found = None;
    let mut take = |key: &str, value: &str, origin: &str| {
        match key {
            "bootstrap.servers" | "metadata.broker.list" => {
                found = Some((value.to_owned(), origin.to_owned()));
            }
            "security.protocol" if !value.eq_ignore_ascii_case("plaintext") => {
                return Err(Failure::usage(
                    format!("{origin}: {key}={value}"),
                    "only plain connections are spoken here so far",
                    "name a PLAINTEXT listener with --brokers HOST:PORT",
                ));
            }
            _ => {}
        }
        Ok(())
    };
    if let Some(path) = &global.client_config {
        let text = read_text(path).map_err(|error| {
            Failure::usage(
                format!("--client-config {}: not read", path.display()),
                error.to_string(),
                "name a file such as client.properties",
            )
        })?;
        for line in text.lines() {
            let line = line.trim();
            if line.starts_with(['#', '!']) {
                continue;
            }
            if let Some((key, value)) = line.split_once(['=', ':']) {
                take(key.trim(), value.trim(), &format!("{}", path.display()))?;
            }
        }
    }
    for (key, value) in &global.properties {
        take(key, value, "-X")?;
    }
    Ok(found)
}

impl Book {
    fn find(&self, name: &str) -> Result<&Context, Failure> {
        self.contexts.get(name).ok_or_else(|| {
            let near = nearest(name, self.contexts.keys().map(String::as_str));
            Failure::usage(
                format!("context {name}: there is none"),
                match self.contexts.is_empty() {
                    true => "no context was added yet".to_owned(),
                    false => {
                        let names: Vec<&str> = self.contexts.keys().map(String::as_str).collect();
                        format!("there are: {}", names.join(", "))
                    }
                },
                match near {
                    Some(near) => {
                        format!("did you mean `{near}`? Otherwise: duramen context ls")
                    }
                    None => format!("duramen context add {name} HOST:PORT"),
                },
            )
        })
    }

    fn select(&mut self, name: String) {
        if self.current.as_ref() != Some(&name) {
            self.previous = self.current.replace(name);
        }
    }
}

fn check_name(name: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name != PREVIOUS && name.chars().all(plain) {
        return Ok(());
    }
    Err(Failure::usage(
        format!("context {name}: no name"),
        "a name has letters, digits, dots, dashes and underscores",
        "duramen context add local 127.0.0.1:9092",
    ))
}

/// `$XDG_CONFIG_HOME/duramen/config.toml`, or the same under `~/.config`.
fn path() -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
    base.map(|base| base.join("duramen").join("config.toml"))
        .ok_or_else(|| {
            Failure::usage(
                "contexts: no place for them",
                "neither HOME nor XDG_CONFIG_HOME is set",
                "set HOME, or name brokers with --brokers HOST:PORT",
            )
        })
}

fn read(path: &Path) -> Result<Book, Failure> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Book::default()),
        Err(error) => return Err(unusable(path, error.to_string())),
    };
    toml::from_str(&text).map_err(|error| unusable(path, error.message().to_owned()))
}

fn unusable(path: &Path, cause: String) -> Failure {
    Failure::usage(
        format!("{}: not usable", path.display()),
        cause.replace('\n', " "),
        "correct the file, or remove it and add the contexts anew",
    )
}

#[expect(
    clippy::disallowed_methods,
    reason = "the user's own file, not a node's data"
)]
fn read_text(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path)
}

/// Written beside and renamed: another command never reads half a file.
#[expect(
    clippy::disallowed_methods,
    reason = "the user's own file, not a node's data"
)]
fn write(path: &Path, book: &Book) -> Result<(), Failure> {
    let failed = |error: std::io::Error| unusable(path, error.to_string());
    let text = toml::to_string(book).map_err(|error| unusable(path, error.to_string()))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let beside = path.with_extension(format!("toml.{}", std::process::id()));
    std::fs::write(&beside, text).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_book_is_read_as_it_was_written() {
        let mut book = Book::default();
        let local = Context {
            brokers: LOCAL.to_owned(),
        };
        book.contexts.insert("local".to_owned(), local.clone());
        book.contexts.insert("prod.eu".to_owned(), local);
        book.select("local".to_owned());
        book.select("prod.eu".to_owned());
        let text = toml::to_string(&book).expect("TOML");
        assert_eq!(toml::from_str::<Book>(&text), Ok(book.clone()), "{text}");
        assert_eq!(book.previous.as_deref(), Some("local"));
        book.select("prod.eu".to_owned());
        assert_eq!(book.previous.as_deref(), Some("local"), "no step, no trace");
    }

    #[test]
    fn an_unknown_context_finds_the_nearest() {
        let mut book = Book::default();
        let context = Context {
            brokers: LOCAL.to_owned(),
        };
        book.contexts.insert("staging".to_owned(), context);
        let failure = book.find("stagin").expect_err("unknown");
        assert!(failure.next.contains("`staging`"), "{failure}");
    }
}
