//! `topic create`: one topic with its partitions and configuration.

use client::{Client, ClientError, CreatedTopic, NewTopic};
use serde::Serialize;
use wire::ErrorCode;

use super::{check_key, parse_setting};
use crate::output::Output;
use crate::{Failure, connect, words};

/// Arguments of `topic create`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the new topic.
    name: String,
    /// Number of partitions; the broker's default if not given.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Replicas of each partition; the broker's default if not given.
    #[arg(short, long, value_parser = clap::value_parser!(i16).range(1..))]
    replicas: Option<i16>,
    /// Keep records for this long, such as 7d; sets retention.ms.
    #[arg(long, value_name = "DURATION", value_parser = words::duration_argument)]
    retention: Option<std::time::Duration>,
    /// Keep the newest record of each key; sets cleanup.policy=compact.
    #[arg(long)]
    compact: bool,
    /// Set a configuration key, e.g. retention.ms=7d or segment.bytes=64MiB; may be repeated.
    #[arg(
        short = 's',
        long = "set",
        short_alias = 'c',
        alias = "config",
        value_name = "KEY=VALUE",
        value_parser = parse_setting
    )]
    configs: Vec<(String, String)>,
    /// Only check whether the topic could be created.
    #[arg(long)]
    dry_run: bool,
    /// Succeed if the topic is there already.
    #[arg(long)]
    if_not_exists: bool,
}

#[derive(Serialize)]
struct Created {
    topic: String,
    id: String,
    partitions: i32,
    replicas: i16,
    dry_run: bool,
    created: bool,
}

pub(super) async fn run(
    client: &mut Client,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let Arguments {
        name,
        partitions,
        replicas,
        retention,
        compact,
        configs,
        dry_run,
        if_not_exists,
    } = arguments;
    let mut configs: Vec<(String, String)> = configs
        .into_iter()
        .map(|(key, value)| {
            let value = words::config_number(&key, &value);
            (key, value)
        })
        .collect();
    configs.extend(retention.map(|retention| {
        let ms = retention.as_millis().to_string();
        ("retention.ms".to_owned(), ms)
    }));
    if compact {
        configs.push(("cleanup.policy".to_owned(), "compact".to_owned()));
    }
    let keys: Vec<String> = configs.iter().map(|(key, _)| key.clone()).collect();
    let topic = NewTopic {
        name: name.clone(),
        partitions: partitions.unwrap_or(-1),
        replicas: replicas.unwrap_or(-1),
        configs,
        validate_only: dry_run,
    };
    let (created, is_new) = match client.create_topic(topic).await {
        Ok(created) => (created, true),
        Err(ClientError::Server {
            code: ErrorCode::TopicAlreadyExists,
            ..
        }) if if_not_exists => (existing(client, &name).await?, false),
        Err(error) => {
            let refused = matches!(
                error,
                ClientError::Server {
                    code: ErrorCode::InvalidConfig,
                    ..
                }
            );
            let next = format!("duramen topic describe {name}, or duramen topic create --help");
            let failure = connect::explain(format!("topic {name}: not created"), error, next);
            // Kafka says that a key is wrong; the nearest right one is ours to say.
            return Err(match refused {
                true => check_key(&keys, failure),
                false => failure,
            });
        }
    };
    let row = Created {
        topic: name,
        id: created.id.to_string(),
        partitions: created.partitions,
        replicas: created.replicas,
        dry_run,
        created: is_new && !dry_run,
    };
    output.rows(&["topic", "id", "partitions", "replicas"], &[row], |row| {
        vec![
            row.topic.clone(),
            row.id.clone(),
            row.partitions.to_string(),
            row.replicas.to_string(),
        ]
    })
}

async fn existing(client: &mut Client, name: &str) -> Result<CreatedTopic, Failure> {
    let topic = crate::lookup::topic(client, name).await?;
    let replicas = topic
        .partitions
        .first()
        .map_or(0, |part| part.replicas.len());
    Ok(CreatedTopic {
        id: topic.id,
        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replicas: i16::try_from(replicas).unwrap_or(i16::MAX),
    })
}
