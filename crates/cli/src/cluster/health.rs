//! `cluster health`: whether every partition has a leader and all its copies, every disk works, and
//! every broker answers.

use std::time::Duration;

use client::{Client, Reach, TopicView};
use serde::Serialize;

use crate::failure::EXIT_UNHEALTHY;
use crate::output::Output;
use crate::{Failure, Global, connect, words};

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Partitions named in one line; the rest is counted.
const NAMED_MAX: usize = 5;

/// Arguments of `cluster health`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Wait this long for the cluster to become healthy, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = words::duration_argument, conflicts_with = "watch")]
    wait: Option<Duration>,
    /// Look again and again, and tell when something changes.
    #[arg(long)]
    watch: bool,
}

/// Something that is wrong. Field names are API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Trouble {
    /// A word for it, the same in every version.
    pub trouble: &'static str,
    /// How many there are of it.
    pub count: usize,
    /// Which.
    pub what: String,
    /// What to do.
    pub next: String,
}

pub(super) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let start = reach.clock.now();
    let mut before = None;
    loop {
        let found = look(reach, global).await;
        let over = match arguments.wait {
            Some(wait) => reach.clock.now().since(start) >= wait,
            None => true,
        };
        if arguments.watch {
            if before.as_ref() != Some(&found) {
                tell(&found, output)?;
                before = Some(found);
            }
        } else if over || found.as_ref().is_ok_and(Vec::is_empty) {
            tell(&found, output)?;
            return verdict(found);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(reach: &Reach, global: &Global) -> Result<Vec<Trouble>, Failure> {
    let mut client = connect::connect(reach, global).await?;
    let topics = client
        .topics(None)
        .await
        .map_err(|error| connect::explain("cluster: not examined", error, "duramen doctor"))?;
    Ok(examine(&mut client, &topics).await)
}

/// Everything that is wrong with a cluster, the worst first.
pub(crate) async fn examine(client: &mut Client, topics: &[TopicView]) -> Vec<Trouble> {
    let mut troubles = partitions(topics);
    if client.cluster().controller.is_none() {
        troubles.insert(
            0,
            Trouble {
                trouble: "no-controller",
                count: 1,
                what: "no broker takes administrative requests".to_owned(),
                next: "start the brokers that are away".to_owned(),
            },
        );
    }
    for broker in client.cluster().brokers.clone() {
        if let Err(error) = client.api_ranges(broker.id).await {
            troubles.push(Trouble {
                trouble: "broker-unreachable",
                count: 1,
                what: format!("broker {} at {}: {error}", broker.id, broker.address()),
                next: "duramen doctor".to_owned(),
            });
        }
    }
    // Brokers that keep their disks to themselves are not at fault.
    for dir in client.log_dirs().await.unwrap_or_default() {
        if let Some(error) = dir.error {
            troubles.push(Trouble {
                trouble: "disk-offline",
                count: 1,
                what: format!("broker {}: {}: {error}", dir.broker, dir.path),
                next: format!("see the log of broker {}", dir.broker),
            });
        }
    }
    troubles
}

fn partitions(topics: &[TopicView]) -> Vec<Trouble> {
    let mut leaderless = Vec::new();
    let mut short = Vec::new();
    let mut offline = Vec::new();
    for topic in topics {
        for partition in &topic.partitions {
            let place = format!("{}:{}", topic.name, partition.index);
            if partition.leader < 0 {
                leaderless.push(place.clone());
            } else if partition.isr.len() < partition.replicas.len() {
                short.push(place.clone());
            }
            offline.extend(partition.offline.iter().copied());
        }
    }
    offline.sort_unstable();
    offline.dedup();
    let away = match offline.is_empty() {
        true => "see the brokers' logs".to_owned(),
        false => {
            let ids: Vec<String> = offline.iter().map(i32::to_string).collect();
            format!("start broker {}", ids.join(", "))
        }
    };
    let trouble = |trouble, places: &[String]| {
        let mut what = places[..places.len().min(NAMED_MAX)].join(" ");
        if places.len() > NAMED_MAX {
            what.push_str(&format!(" and {} more", places.len() - NAMED_MAX));
        }
        (!places.is_empty()).then(|| Trouble {
            trouble,
            count: places.len(),
            what,
            next: away.clone(),
        })
    };
    [
        trouble("partitions-without-leader", &leaderless),
        trouble("partitions-missing-copies", &short),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[derive(Serialize)]
struct Health<'a> {
    healthy: bool,
    troubles: &'a [Trouble],
}

fn tell(found: &Result<Vec<Trouble>, Failure>, output: &mut Output) -> Result<(), Failure> {
    // A cluster that is not reached is told as any failure is.
    let Ok(troubles) = found else { return Ok(()) };
    if !output.is_table() {
        output.json(&Health {
            healthy: troubles.is_empty(),
            troubles,
        })?;
        return output.flush();
    }
    if troubles.is_empty() {
        return output.text("healthy\n");
    }
    output.rows(&["trouble", "count", "what", "next"], troubles, |row| {
        vec![
            row.trouble.to_owned(),
            row.count.to_string(),
            row.what.clone(),
            row.next.clone(),
        ]
    })
}

fn verdict(found: Result<Vec<Trouble>, Failure>) -> Result<(), Failure> {
    match found {
        Ok(troubles) if troubles.is_empty() => Ok(()),
        Ok(troubles) => {
            let worst = &troubles[0];
            Err(Failure {
                exit: EXIT_UNHEALTHY,
                ..Failure::new(
                    format!("cluster: not healthy: {} {}", worst.count, worst.trouble),
                    worst.what.clone(),
                    worst.next.clone(),
                )
            })
        }
        Err(failure) => Err(Failure {
            exit: EXIT_UNHEALTHY,
            ..failure
        }),
    }
}

#[cfg(test)]
mod tests {
    use client::PartitionView;

    use super::*;

    fn topic(name: &str, partitions: &[(i32, &[i32], &[i32])]) -> TopicView {
        TopicView {
            name: name.to_owned(),
            id: wire::TopicId::NONE,
            exists: true,
            internal: false,
            partitions: partitions
                .iter()
                .zip(0..)
                .map(|((leader, isr, offline), index)| PartitionView {
                    index,
                    leader: *leader,
                    leader_epoch: 0,
                    replicas: vec![1, 2, 3],
                    isr: isr.to_vec(),
                    offline: offline.to_vec(),
                })
                .collect(),
        }
    }

    #[test]
    fn a_whole_cluster_has_no_trouble() {
        assert_eq!(partitions(&[topic("t", &[(1, &[1, 2, 3], &[])])]), []);
        assert_eq!(verdict(Ok(Vec::new())), Ok(()));
    }

    #[test]
    fn partitions_without_leader_come_before_missing_copies() {
        let topics = [topic("t", &[(1, &[1, 2], &[3]), (-1, &[], &[3])])];
        let troubles = partitions(&topics);
        let names: Vec<&str> = troubles.iter().map(|trouble| trouble.trouble).collect();
        assert_eq!(
            names,
            ["partitions-without-leader", "partitions-missing-copies"]
        );
        assert_eq!(troubles[0].what, "t:1");
        assert_eq!(troubles[0].next, "start broker 3");
        let failure = verdict(Ok(troubles)).expect_err("not healthy");
        assert_eq!(failure.exit, EXIT_UNHEALTHY);
    }
}
