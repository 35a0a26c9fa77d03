//! The table of clients and stories in `docs/clients.md`: written from what a run saw, and held to it.
//!
//! `clients/known.tsv` says where a cell is not a plain yes, and why. It is data that is checked: a story
//! that is said to fail must fail in the way it says, and every cell without a story needs a line.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::program::{self, Failure, Outcome, sources};

const KNOWN: &str = include_str!("../clients/known.tsv");
const BEGIN: &str = "<!-- the table, written by the command below -->";
const END: &str = "<!-- end of the table -->";

/// One row per library: how it is called, and the suites that fill the row by the classic group protocol
/// and by that of KIP-848.
const ROWS: &[(&str, &str, Option<&str>)] = &[
    ("kcat", "kcat", None),
    (
        "confluent-kafka (Python)",
        "confluent",
        Some("confluent-848"),
    ),
    ("rdkafka (Rust)", "rdkafka", Some("rdkafka-848")),
    ("Java kafka-clients 4.3", "java-4.3", Some("java-848")),
    ("Java kafka-clients 3.9", "java-3.9", Some("java-3.9-848")),
    ("Java kafka-clients 2.8", "java-2.8", None),
    ("kafka-python", "kafka-python", None),
    ("aiokafka (Python)", "aiokafka", None),
    ("KafkaJS (Node)", "kafkajs", None),
    (
        "@platformatic/kafka (Node)",
        "platformatic",
        Some("platformatic-848"),
    ),
    ("franz-go (Go)", "franz-go", Some("franz-go-848")),
    ("sarama (Go)", "sarama", None),
    ("kafka-go (Go)", "kafka-go", None),
    ("rskafka (Rust)", "rskafka", None),
];

/// The columns: how they are headed, and the story, which is one of KIP-848's if it has that prefix.
const COLUMNS: &[(&str, &str)] = &[
    ("topic", "topic"),
    ("codecs", "codecs"),
    ("group", "group"),
    ("resume", "resume"),
    ("group, KIP-848", "848/group"),
    ("resume, KIP-848", "848/resume"),
    ("offsets", "offsets"),
    ("configs", "configs"),
];

/// The clients whose stories fill the table.
pub fn clients() -> impl Iterator<Item = &'static str> {
    ROWS.iter()
        .flat_map(|(_, classic, newer)| std::iter::once(*classic).chain(*newer))
}

/// One line of `known.tsv`.
struct Known {
    client: &'static str,
    story: &'static str,
    word: &'static str,
    says: &'static str,
    reason: &'static str,
}

fn known() -> impl Iterator<Item = Known> {
    KNOWN
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let mut columns = line.split('\t');
            Some(Known {
                client: columns.next()?,
                story: columns.next()?,
                word: columns.next()?,
                says: columns.next()?,
                reason: columns.next()?,
            })
        })
}

fn known_of(client: &str, story: &str) -> Option<Known> {
    known().find(|one| {
        let same = one.story == story
            || one
                .story
                .strip_suffix('*')
                .is_some_and(|prefix| story.starts_with(prefix));
        one.client == client && same
    })
}

/// Whether a story went as it should: well or, where `known.tsv` says so, badly in just that way.
pub fn judge(client: &str, story: &str, outcome: Outcome) -> Outcome {
    let Some(wanted) = known_of(client, story).filter(|one| one.word == "fails") else {
        return outcome;
    };
    match outcome {
        Err(Failure::Wrong(error)) if error.contains(wanted.says) => Ok(()),
        Ok(()) => Err(format!(
            "passes, although clients/known.tsv says that it fails: {}",
            wanted.reason
        )
        .into()),
        other => other,
    }
}

/// What the table is made of.
#[derive(Default)]
pub struct Seen {
    /// Of each client and story whether it went as it should.
    pub stories: BTreeMap<(&'static str, String), bool>,
    /// What each client says its version is.
    pub versions: BTreeMap<&'static str, String>,
}

impl Seen {
    /// Whether every story of the table was told.
    pub fn whole(&self) -> bool {
        clients().all(|client| self.stories.keys().any(|(told, _)| *told == client))
    }

    fn table(&self) -> Outcome<String> {
        let mut notes: Vec<&str> = Vec::new();
        let mut table = String::from("| client | version |");
        for (head, _) in COLUMNS {
            table.push_str(&format!(" {head} |"));
        }
        table.push_str(&format!("\n|{}\n", "---|".repeat(COLUMNS.len() + 2)));
        for (name, classic, newer) in ROWS {
            let version = match *classic {
                "kcat" => kcat_version()?,
                client => self.versions.get(client).cloned().unwrap_or_default(),
            };
            table.push_str(&format!("| {name} | {version} |"));
            for (_, story) in COLUMNS {
                let suite = match story.strip_prefix("848/") {
                    Some(inner) => newer.map(|newer| (newer, inner)),
                    None => Some((*classic, *story)),
                };
                let told = suite.and_then(|(suite, inner)| {
                    self.stories.get(&(suite, inner.to_owned())).copied()
                });
                let line = known_of(classic, story);
                let word = match (told, line.as_ref().map(|one| one.word)) {
                    (Some(false), _) => "FAILED",
                    (Some(true), Some("fails")) => "fails, on Kafka too",
                    (Some(true), Some("partly")) => "partly",
                    (Some(true), None) => "yes",
                    (None, Some("absent")) => "–",
                    _ => {
                        return Err(format!(
                            "{classic}: clients/known.tsv and the stories disagree on {story}"
                        )
                        .into());
                    }
                };
                table.push_str(&format!(" {word}"));
                if let Some(line) = line {
                    let number = notes.iter().position(|note| *note == line.reason);
                    let number = number.unwrap_or_else(|| {
                        notes.push(line.reason);
                        notes.len() - 1
                    });
                    table.push_str(&format!(" ({})", number + 1));
                }
                table.push_str(" |");
            }
            table.push('\n');
        }
        table.push('\n');
        for (at, note) in notes.iter().enumerate() {
            table.push_str(&format!("{}. {note}\n", at + 1));
        }
        Ok(table)
    }

    /// Writes the table into `page`.
    pub fn write(&self, page: &Path) -> Outcome {
        let (before, _, after) = split(page)?;
        let table = self.table()?;
        std::fs::write(page, format!("{before}{BEGIN}\n{table}{END}{after}"))?;
        Ok(())
    }

    /// Fails if the table of `docs/clients.md` is not the one of this run.
    pub fn check(&self) -> Outcome {
        let page = sources().join("../../docs/clients.md");
        let (_, has, _) = split(&page)?;
        let saw = self.table()?;
        let differs: Vec<String> = saw
            .lines()
            .filter(|line| !has.lines().any(|other| other == *line))
            .map(|line| format!("\n  {line}"))
            .collect();
        if has.trim() == saw.trim() {
            return Ok(());
        }
        Err(format!(
            "docs/clients.md is not what this run saw; `cargo run --release -p e2e -- clients --write docs/clients.md` writes it{}",
            differs.concat()
        )
        .into())
    }
}

/// The page before, in and after the table.
fn split(page: &Path) -> Outcome<(String, String, String)> {
    let text =
        std::fs::read_to_string(page).map_err(|error| format!("{}: {error}", page.display()))?;
    let parts = text
        .split_once(BEGIN)
        .and_then(|(before, rest)| Some((before, rest.split_once(END)?)));
    let (before, (table, after)) =
        parts.ok_or("docs/clients.md has lost the marks around its table")?;
    Ok((before.to_owned(), table.to_owned(), after.to_owned()))
}

/// `1.7.1 (librdkafka 2.0.2)`
fn kcat_version() -> Outcome<String> {
    let mut command = Command::new("kcat");
    command.arg("-V");
    let said = program::run(command, None, std::time::Duration::from_secs(30))?;
    let text = format!("{}{}", said.out, said.err);
    let word_after = |word: &str| {
        let (_, rest) = text.split_once(word)?;
        rest.split([' ', ',', ')', '\n'])
            .find(|word| !word.is_empty())
    };
    match (word_after("Version "), word_after("librdkafka ")) {
        (Some(own), Some(inside)) => Ok(format!("{own} (librdkafka {inside})")),
        _ => Err(format!("kcat -V says {text:?}").into()),
    }
}
