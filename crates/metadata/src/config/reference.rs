//! The reference page of all keys, from the same tables: `docs/guide/configuration-keys.md`.

use std::fmt::Write as _;

use super::broker::BROKER;
use super::group::GROUP;
use super::topic::TOPIC;
use super::{Check, Effect, FOREIGN, Key, Unit};

/// The page as Markdown. A test holds the page in the repository against it.
pub fn reference() -> String {
    let mut page = String::from(
        "# Configuration keys\n\n\
         Written from the declarations in `crates/metadata/src/config`; names, types and defaults \
         are Kafka 4.3's. *Dynamic* keys change while the node runs. A key that is *accepted* is \
         taken, stored and shown, but nothing depends on it.\n",
    );
    let sections: [(&str, &str, &[Key]); 3] = [
        (
            "Topic keys",
            "Set when a topic is created, or later; all but the fixed ones are dynamic.",
            TOPIC,
        ),
        (
            "Broker keys",
            "Set in the configuration file, by environment or by flag.",
            BROKER,
        ),
        ("Group keys", "Set per group; all are dynamic.", GROUP),
    ];
    for (title, note, table) in sections {
        let _ = write!(page, "\n## {title}\n\n{note}\n\n");
        page.push_str(
            "| key | type | default | allowed | what it does |\n| --- | --- | --- | --- | --- |\n",
        );
        for key in table {
            row(&mut page, key, title == "Broker keys");
        }
    }
    page.push_str(
        "\n## Kafka's other broker keys\n\n\
         Loaded with a warning; nothing here depends on them.\n\n",
    );
    let names: Vec<String> = FOREIGN
        .iter()
        .map(|key| format!("`{}`", key.name))
        .collect();
    page.push_str(&names.join(", "));
    page.push('\n');
    page
}

fn row(page: &mut String, key: &Key, tells_dynamic: bool) {
    let default = match key.default {
        None => "none".to_string(),
        Some("") => "empty".to_string(),
        Some(default) => format!("`{default}`"),
    };
    let mut words = key.doc.to_string();
    if key.fixed {
        words.push_str(" *Fixed at creation.*");
    }
    if tells_dynamic && key.dynamic {
        words.push_str(" *Dynamic.*");
    }
    match key.effect {
        Effect::Acts | Effect::Foreign => {}
        Effect::Accepted(note) => {
            let _ = write!(words, " *Accepted: {note}.*");
        }
        Effect::RefusedWhenOn(why) => {
            let _ = write!(words, " *Only the default is taken: {why}.*");
        }
    }
    let kind = match key.unit {
        Unit::None => key.kind.word().to_ascii_lowercase(),
        unit => format!(
            "{}, {}",
            key.kind.word().to_ascii_lowercase(),
            unit_word(unit)
        ),
    };
    let _ = writeln!(
        page,
        "| `{}` | {kind} | {default} | {} | {words} |",
        key.name,
        allowed(key.check)
    );
}

fn unit_word(unit: Unit) -> &'static str {
    match unit {
        Unit::None => "",
        Unit::Bytes => "bytes",
        Unit::Millis => "ms",
        Unit::Seconds => "s",
        Unit::Minutes => "min",
        Unit::Hours => "h",
    }
}

fn allowed(check: Check) -> String {
    match check {
        Check::Any => "any".into(),
        Check::AtLeast(min) => format!("from {min}"),
        Check::Between(min, max) => format!("{min} to {max}"),
        Check::GzipLevel => "-1, 1 to 9".into(),
        Check::Ratio => "0 to 1".into(),
        Check::OneOf(words) => words.join(", "),
        Check::EachOf(words) => format!("list of {}", words.join(", ")),
        Check::NonEmpty => "at least one".into(),
        Check::ThrottledReplicas => "`*`, or partition:broker,…".into(),
        Check::ShareReset => "earliest, latest, by_duration:…".into(),
    }
}
