//! `config`: get, set, unset, lint, diff.

mod change;
mod diff;
mod get;
mod lint;

use clap::{Args, Subcommand};
use client::{Client, Config, Reach, Resource};

use crate::output::Output;
use crate::{Failure, Global, Program, connect, lookup};

/// What to do with configuration.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show configuration of a topic, a broker or a group; what was set, or the keys named.
    Get(get::Arguments),
    /// Set keys: KEY=VALUE, with durations and sizes in words.
    Set(change::Set),
    /// Take keys back to what they fall back to.
    Unset(change::Unset),
    /// Find what is wrong or dangerous in a configuration file, or in the running cluster.
    Lint(lint::Arguments),
    /// Show what differs from the defaults, a file, or another topic or broker.
    Diff(diff::Arguments),
}

/// Whose configuration.
#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
struct Whose {
    /// Of this topic.
    #[arg(short, long, add = crate::complete::topics())]
    topic: Option<String>,
    /// Of this broker, by its id. Without any of these: of the broker that was reached.
    #[arg(long, value_name = "ID")]
    broker: Option<i32>,
    /// Of all brokers together.
    #[arg(long)]
    every_broker: bool,
    /// Of this consumer group.
    #[arg(short, long, add = crate::complete::groups())]
    group: Option<String>,
}

impl Whose {
    /// What is meant; it is there.
    async fn resource(&self, client: &mut Client) -> Result<Resource, Failure> {
        if let Some(topic) = &self.topic {
            lookup::topic(client, topic).await?;
            return Ok(Resource::Topic(topic.clone()));
        }
        if let Some(group) = &self.group {
            return Ok(Resource::Group(group.clone()));
        }
        if self.every_broker {
            return Ok(Resource::EveryBroker);
        }
        let brokers: Vec<i32> = client
            .cluster()
            .brokers
            .iter()
            .map(|broker| broker.id)
            .collect();
        match self.broker {
            Some(id) if brokers.contains(&id) => Ok(Resource::Broker(id)),
            Some(id) => {
                let ids: Vec<String> = brokers.iter().map(i32::to_string).collect();
                Err(Failure::usage(
                    format!("broker {id}: there is none"),
                    format!("the cluster has: {}", ids.join(", ")),
                    "duramen cluster info",
                ))
            }
            None => Ok(brokers
                .first()
                .map_or(Resource::EveryBroker, |id| Resource::Broker(*id))),
        }
    }

    /// The flag that says the same, for messages.
    fn flag(&self) -> String {
        match (&self.topic, self.broker, &self.group) {
            (Some(topic), ..) => format!(" --topic {topic}"),
            (_, Some(broker), _) => format!(" --broker {broker}"),
            (.., Some(group)) => format!(" --group {group}"),
            _ if self.every_broker => " --every-broker".to_owned(),
            _ => String::new(),
        }
    }
}

/// How a resource is called in messages.
fn title(resource: &Resource) -> String {
    match resource {
        Resource::Topic(name) => format!("topic {name}"),
        Resource::Broker(id) => format!("broker {id}"),
        Resource::EveryBroker => "all brokers".to_owned(),
        Resource::Group(name) => format!("group {name}"),
        Resource::BrokerLogger(id) => format!("log of broker {id}"),
    }
}

/// The configuration of a resource, by key.
async fn read(client: &mut Client, resource: &Resource) -> Result<Vec<Config>, Failure> {
    let mut configs = client.configs(resource).await.map_err(|error| {
        let what = format!("{}: configuration not read", title(resource));
        connect::explain(what, error, "duramen doctor")
    })?;
    configs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(configs)
}

/// The failure for a key the resource does not have, naming the nearest it has.
fn unknown_key(resource: &Resource, key: &str, configs: &[Config], flag: &str) -> Failure {
    let near = connect::near(key, configs.iter().map(|config| config.name.as_str()));
    Failure::usage(
        format!("{}: no key {key}", title(resource)),
        "it has no configuration key of that name",
        match near {
            Some(near) => {
                format!("did you mean `{near}`? Otherwise: duramen config get --all{flag}")
            }
            None => format!("duramen config get --all{flag}"),
        },
    )
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    command: Command,
    program: &Program,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        Command::Get(arguments) => {
            let mut client = connect::connect(reach, global).await?;
            get::run(&mut client, arguments, output).await
        }
        Command::Set(arguments) => {
            let mut client = connect::connect(reach, global).await?;
            change::set(&mut client, arguments, output).await
        }
        Command::Unset(arguments) => {
            let mut client = connect::connect(reach, global).await?;
            change::unset(&mut client, arguments, output).await
        }
        Command::Lint(arguments) => lint::run(reach, global, arguments, program, output).await,
        Command::Diff(arguments) => {
            let mut client = connect::connect(reach, global).await?;
            diff::run(&mut client, arguments, program, output).await
        }
    }
}
