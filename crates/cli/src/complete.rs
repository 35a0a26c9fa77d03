//! Completion in the shell: commands and flags from their declaration, topics and groups from the
//! cluster the command line names.
//!
//! The cluster gets [`BUDGET`] to answer, then nothing is offered: a shell must not hang.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use client::{Client, Reach};
use world::real::{RealClock, RealNet, RealRandom};

use crate::{Global, context};

/// Longest time a cluster is asked for names.
const BUDGET: Duration = Duration::from_millis(300);

/// Offers the names of topics.
pub fn topics() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        ask(current, async |client| {
            let topics = client.topics(None).await.unwrap_or_default();
            topics.into_iter().map(|topic| topic.name).collect()
        })
    })
}

/// Offers the names of groups.
pub fn groups() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        ask(current, async |client| {
            let groups = client.groups().await.unwrap_or_default();
            groups.into_iter().map(|group| group.id).collect()
        })
    })
}

/// Offers the names of a kind that have quotas: `user`, `client-id` or `ip`.
pub fn with_quotas(kind: &'static str) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        ask(current, async |client| {
            let quotas = client.quotas().await.unwrap_or_default();
            let parts = quotas.into_iter().flat_map(|quota| quota.entity);
            let mut names: Vec<String> = parts
                .filter(|part| part.kind == kind)
                .filter_map(|part| part.name)
                .collect();
            names.sort();
            names.dedup();
            names
        })
    })
}

/// Offers the names of contexts.
pub fn contexts() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| matching(current, context::names()))
}

fn ask(
    current: &OsStr,
    question: impl AsyncFnOnce(&mut Client) -> Vec<String>,
) -> Vec<CompletionCandidate> {
    let names = || {
        let target = context::resolve(&global(std::env::args())).ok()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        let reach = Reach {
            net: Arc::new(RealNet),
            clock: Arc::new(RealClock::new()),
            random: Arc::new(RealRandom),
        };
        runtime.block_on(async {
            let work = async {
                let mut client = Client::connect(reach, &target.brokers).await.ok()?;
                Some(question(&mut client).await)
            };
            tokio::time::timeout(BUDGET, work).await.ok().flatten()
        })
    };
    matching(current, names().unwrap_or_default())
}

fn matching(current: &OsStr, mut names: Vec<String>) -> Vec<CompletionCandidate> {
    let begun = current.to_string_lossy();
    names.retain(|name| name.starts_with(begun.as_ref()));
    names.sort();
    names.into_iter().map(CompletionCandidate::new).collect()
}

/// What the unfinished command line says of brokers; it stands behind `--`.
fn global(words: impl Iterator<Item = String>) -> Global {
    let mut global = Global::default();
    let mut words = words.skip_while(|word| word != "--").skip(1);
    while let Some(word) = words.next() {
        let (flag, joined) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        match flag {
            "-b" | "--brokers" => global.brokers = joined.or_else(|| words.next()),
            "--context" => global.context = joined.or_else(|| words.next()),
            _ => {}
        }
    }
    global
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> impl Iterator<Item = String> {
        text.split(' ').map(str::to_owned)
    }

    #[test]
    fn the_unfinished_line_says_which_cluster_is_meant() {
        let told = global(line("duramen -- duramen topic describe -b h:1 "));
        assert_eq!(told.brokers.as_deref(), Some("h:1"));
        let told = global(line("duramen -- duramen --context=prod group describe b"));
        assert_eq!(told.context.as_deref(), Some("prod"));
        assert_eq!(global(line("duramen topic ls")).brokers, None);
    }

    #[test]
    fn names_that_begin_otherwise_are_not_offered() {
        let names = ["orders", "payments", "order-lines"].map(str::to_owned);
        let offered = matching(OsStr::new("ord"), names.to_vec());
        let values: Vec<_> = offered.iter().map(|one| one.get_value()).collect();
        assert_eq!(values, ["order-lines", "orders"]);
    }
}
