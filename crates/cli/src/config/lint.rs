//! `config lint`: what is wrong or dangerous in a configuration file, or in the running cluster.

use std::path::PathBuf;

use client::{Client, Config, Reach, Resource, TopicView};
use serde::Serialize;

use super::read;
use crate::output::Output;
use crate::{Failure, Global, Program, connect};

/// Copies of a topic that survive the loss of a broker while another one is being restarted.
const COPIES_SAFE: usize = 3;

/// Arguments of `config lint`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A configuration file: TOML, or Kafka's server.properties. Without it: the running cluster.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Something found. Field names are API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    /// `error`, `warning` or `note`.
    severity: &'static str,
    subject: String,
    key: String,
    why: String,
    next: String,
}

pub(super) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    program: &Program,
    output: &mut Output,
) -> Result<(), Failure> {
    let (subject, rows) = match &arguments.file {
        Some(path) => {
            let shown = path.display().to_string();
            let file = (program.read_config)(path)?;
            let found = |severity, next: &str, (key, why): (String, String)| Row {
                severity,
                subject: shown.clone(),
                next: next.to_owned(),
                key,
                why,
            };
            let refused = file.refused.into_iter();
            let refused = refused.map(|one| found("error", "correct or remove it", one));
            let idle = file.idle.into_iter();
            let idle = idle.map(|one| found("note", "it may be removed", one));
            (shown.clone(), refused.chain(idle).collect())
        }
        None => {
            let mut client = connect::connect(reach, global).await?;
            ("cluster".to_owned(), cluster(&mut client).await?)
        }
    };
    if rows.is_empty() && output.is_table() {
        return output.text(&format!("{subject}: nothing found\n"));
    }
    output.rows(
        &["severity", "subject", "key", "why", "next"],
        &rows,
        |row| {
            vec![
                row.severity.to_owned(),
                row.subject.clone(),
                row.key.clone(),
                row.why.clone(),
                row.next.clone(),
            ]
        },
    )?;
    let errors = rows.iter().filter(|row| row.severity == "error").count();
    match rows.iter().find(|row| row.severity == "error") {
        None => Ok(()),
        Some(first) => Err(Failure::new(
            format!("{subject}: {errors} errors"),
            format!("{}: {}", first.key, first.why),
            first.next.clone(),
        )),
    }
}

async fn cluster(client: &mut Client) -> Result<Vec<Row>, Failure> {
    let topics = client
        .topics(None)
        .await
        .map_err(|error| connect::explain("topics: not listed", error, "duramen doctor"))?;
    let brokers = client.cluster().brokers.clone();
    let mut rows = Vec::new();
    for broker in &brokers {
        let configs = read(client, &Resource::Broker(broker.id)).await?;
        rows.extend(lint_broker(broker.id, brokers.len(), &configs));
    }
    for topic in topics.iter().filter(|topic| !topic.internal) {
        let configs = read(client, &Resource::Topic(topic.name.clone())).await?;
        rows.extend(lint_topic(topic, brokers.len(), &configs));
    }
    Ok(rows)
}

fn lint_broker(id: i32, brokers: usize, configs: &[Config]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut found = |severity, key: &str, why: &str, next: &str| {
        rows.push(Row {
            severity,
            subject: format!("broker {id}"),
            key: key.to_owned(),
            why: why.to_owned(),
            next: next.to_owned(),
        });
    };
    if is(configs, "auto.create.topics.enable", "true") {
        found(
            "note",
            "auto.create.topics.enable",
            "a mistyped name in any client creates a topic",
            "switch it off in production",
        );
    }
    if is(configs, "unclean.leader.election.enable", "true") {
        found(
            "warning",
            "unclean.leader.election.enable",
            "a copy that lacks acknowledged records may become leader: they are lost",
            "duramen config unset unclean.leader.election.enable --every-broker",
        );
    }
    let copies = number(configs, "offsets.topic.replication.factor");
    if brokers >= COPIES_SAFE && copies.is_some_and(|copies| copies < 3) {
        found(
            "warning",
            "offsets.topic.replication.factor",
            "groups lose their offsets with one or two brokers",
            "set it to 3 before __consumer_offsets is created",
        );
    }
    let default = number(configs, "default.replication.factor");
    if brokers >= COPIES_SAFE && default.is_some_and(|copies| copies < 2) {
        found(
            "note",
            "default.replication.factor",
            "topics created without a number of copies have one",
            "set it to 3",
        );
    }
    rows
}

fn lint_topic(topic: &TopicView, brokers: usize, configs: &[Config]) -> Vec<Row> {
    let mut rows = Vec::new();
    let name = &topic.name;
    let mut found = |severity, key: &str, why: String, next: String| {
        rows.push(Row {
            severity,
            subject: format!("topic {name}"),
            key: key.to_owned(),
            why,
            next,
        });
    };
    let copies = topic
        .partitions
        .first()
        .map_or(0, |part| part.replicas.len());
    let min_isr = number(configs, "min.insync.replicas");
    let min_isr = min_isr
        .and_then(|count| usize::try_from(count).ok())
        .unwrap_or(1);
    if brokers > 1 && copies == 1 {
        found(
            "warning",
            "replication factor",
            "it has one copy: it is away with its broker, and lost with its disk".to_owned(),
            "create it anew with -r 3, or reassign its partitions".to_owned(),
        );
    }
    if min_isr > copies {
        found(
            "error",
            "min.insync.replicas",
            format!("{min_isr} copies are wanted and there are {copies}: nothing can be written"),
            format!("duramen config set min.insync.replicas={copies} --topic {name}"),
        );
    } else if copies > 1 && min_isr == copies {
        found(
            "warning",
            "min.insync.replicas",
            "it equals the number of copies: nothing can be written while a broker restarts"
                .to_owned(),
            format!(
                "duramen config set min.insync.replicas={} --topic {name}",
                copies - 1
            ),
        );
    } else if copies >= COPIES_SAFE && min_isr == 1 {
        found(
            "warning",
            "min.insync.replicas",
            "a record is acknowledged when one copy has it: it is lost with that broker".to_owned(),
            format!("duramen config set min.insync.replicas=2 --topic {name}"),
        );
    }
    if is(configs, "unclean.leader.election.enable", "true") {
        found(
            "warning",
            "unclean.leader.election.enable",
            "a copy that lacks acknowledged records may become leader: they are lost".to_owned(),
            format!("duramen config unset unclean.leader.election.enable --topic {name}"),
        );
    }
    let deletes = text(configs, "cleanup.policy").is_none_or(|policy| policy.contains("delete"));
    let for_ever = ["retention.ms", "retention.bytes"]
        .iter()
        .all(|key| is(configs, key, "-1"));
    if deletes && for_ever {
        found(
            "note",
            "retention.ms",
            "neither time nor size ends the life of a record: the topic grows for ever".to_owned(),
            format!("duramen config set retention.ms=30d --topic {name}"),
        );
    }
    let set = |key: &str| {
        configs
            .iter()
            .any(|one| one.name == key && one.source == "topic")
    };
    if !deletes && set("retention.ms") {
        found(
            "note",
            "retention.ms",
            "it has no effect on a topic that is only compacted".to_owned(),
            format!("duramen config set cleanup.policy=compact,delete --topic {name}"),
        );
    }
    rows
}

fn text<'a>(configs: &'a [Config], key: &str) -> Option<&'a str> {
    let found = configs.iter().find(|config| config.name == key);
    found.and_then(|config| config.value.as_deref())
}

fn number(configs: &[Config], key: &str) -> Option<i64> {
    text(configs, key).and_then(|value| value.parse().ok())
}

fn is(configs: &[Config], key: &str, value: &str) -> bool {
    text(configs, key) == Some(value)
}

#[cfg(test)]
mod tests {
    use client::PartitionView;

    use super::*;

    fn configs(pairs: &[(&str, &str)]) -> Vec<Config> {
        let config = |(name, value): &(&str, &str)| Config {
            name: (*name).to_owned(),
            value: Some((*value).to_owned()),
            source: "topic",
            is_default: false,
            read_only: false,
            fallbacks: Vec::new(),
        };
        pairs.iter().map(config).collect()
    }

    fn topic(copies: i32) -> TopicView {
        TopicView {
            name: "t".to_owned(),
            id: wire::TopicId::NONE,
            exists: true,
            internal: false,
            partitions: vec![PartitionView {
                index: 0,
                leader: 1,
                leader_epoch: 0,
                replicas: (1..=copies).collect(),
                isr: (1..=copies).collect(),
                offline: Vec::new(),
            }],
        }
    }

    fn found(copies: i32, pairs: &[(&str, &str)]) -> Vec<(&'static str, String)> {
        let rows = lint_topic(&topic(copies), 3, &configs(pairs));
        rows.into_iter()
            .map(|row| (row.severity, row.key))
            .collect()
    }

    #[test]
    fn a_topic_that_cannot_be_written_is_an_error() {
        let rows = found(1, &[("min.insync.replicas", "2")]);
        assert!(
            rows.contains(&("error", "min.insync.replicas".to_owned())),
            "{rows:?}"
        );
    }

    #[test]
    fn three_copies_and_two_in_sync_are_fine() {
        assert_eq!(found(3, &[("min.insync.replicas", "2")]), []);
        assert_eq!(found(3, &[("min.insync.replicas", "3")]).len(), 1);
        assert_eq!(found(3, &[("min.insync.replicas", "1")]).len(), 1);
    }

    #[test]
    fn a_topic_that_grows_for_ever_is_noted() {
        let for_ever = [
            ("min.insync.replicas", "2"),
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
        ];
        assert_eq!(found(3, &for_ever), [("note", "retention.ms".to_owned())]);
    }
}
