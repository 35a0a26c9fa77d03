//! `tail`: several topics as they grow, a colour each, with readers' positions between the records.

use std::collections::BTreeMap;

use client::{At, Client, Consumer, FetchOptions, Place, Reach};
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, Global, connect, lookup, record};

/// Colours of topics, in the order they are named: readable on dark and on light.
const COLOURS: [u8; 6] = [36, 33, 35, 32, 34, 31];
/// Polls between two looks at the readers; a poll waits half a second when nothing comes.
const POLLS_PER_LOOK: u32 = 2;

/// Arguments of `tail`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Topics to follow.
    #[arg(required = true, value_name = "TOPIC", add = crate::complete::topics())]
    topics: Vec<String>,
    /// Begin so many records before the end of each partition.
    #[arg(short = 'n', long, default_value_t = 0)]
    num: u32,
    /// Show between the records how far each group has read.
    #[arg(long)]
    group_view: bool,
    /// Show only these groups; implies --group-view.
    #[arg(short, long, value_name = "GROUP", add = crate::complete::groups())]
    group: Vec<String>,
    /// Stop at the end of each partition as it is now.
    #[arg(short, long)]
    exit: bool,
}

/// A group went on reading.
#[derive(Serialize)]
struct Advance<'a> {
    group: &'a str,
    topic: &'a str,
    partition: i32,
    committed_offset: i64,
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    let names = &arguments.topics;
    let mut starts: BTreeMap<Place, i64> = BTreeMap::new();
    let mut ends: BTreeMap<Place, i64> = BTreeMap::new();
    for name in names {
        let topic = lookup::topic(&mut client, name).await?;
        let partitions = lookup::partitions(&topic);
        let failed = |error| not_followed(names, error);
        let from = At::BeforeEnd(arguments.num.into());
        let begin = client.list_offsets(name, &partitions, from).await;
        let place = |(partition, offset)| ((name.clone(), partition), offset);
        starts.extend(begin.map_err(failed)?.into_iter().map(place));
        let end = client.list_offsets(name, &partitions, At::End).await;
        ends.extend(end.map_err(failed)?.into_iter().map(place));
    }
    if arguments.exit {
        starts.retain(|place, start| ends.get(place).is_some_and(|end| *start < *end));
    }
    let mut readers = Readers::new(&arguments);
    let mut consumer = Consumer::assign_places(client, starts, FetchOptions::default());
    let mut polls = 0;
    while !arguments.exit || consumer.positions().next().is_some() {
        if readers.wanted && polls % POLLS_PER_LOOK == 0 {
            readers.look(consumer.client(), names, output).await?;
        }
        polls += 1;
        let records = consumer
            .poll()
            .await
            .map_err(|error| not_followed(names, error))?;
        for record in &records {
            show(record, names, output)?;
        }
        if arguments.exit {
            let done: Vec<Place> = consumer
                .positions()
                .filter(|(place, position)| ends.get(*place).is_some_and(|end| position >= end))
                .map(|(place, _)| place.clone())
                .collect();
            for place in done {
                consumer.drop_place(&place);
            }
        }
        output.flush()?;
    }
    Ok(())
}

fn show(record: &client::Record, names: &[String], output: &mut Output) -> Result<(), Failure> {
    if !output.is_table() {
        return record::show(record, false, output);
    }
    let topic = &record.batch.topic;
    let at = names.iter().position(|name| **name == **topic).unwrap_or(0);
    let colour = COLOURS[at % COLOURS.len()];
    let row = record::Row::new(record);
    let line = match output.has_colour() {
        true => format!("\x1b[{colour}m{topic}\x1b[0m {}\n", row.line(true)),
        false => format!("{topic} {}\n", row.line(true)),
    };
    output.bytes(line.as_bytes())
}

/// How far groups have read, as last seen.
struct Readers {
    wanted: bool,
    only: Vec<String>,
    seen: BTreeMap<(String, Place), i64>,
}

impl Readers {
    fn new(arguments: &Arguments) -> Readers {
        Readers {
            wanted: arguments.group_view || !arguments.group.is_empty(),
            only: arguments.group.clone(),
            seen: BTreeMap::new(),
        }
    }

    /// Tells of every group that has gone on since the last look.
    async fn look(
        &mut self,
        client: &mut Client,
        topics: &[String],
        output: &mut Output,
    ) -> Result<(), Failure> {
        let failed = |error| connect::explain("groups: not read", error, "duramen group ls");
        let mut groups = self.only.clone();
        if groups.is_empty() {
            let all = client.groups().await.map_err(failed)?;
            groups = all.into_iter().map(|group| group.id).collect();
        }
        for group in groups {
            let commits = client.commits(&group).await.map_err(failed)?;
            for (place, commit) in commits {
                if !topics.contains(&place.0) {
                    continue;
                }
                let before = self
                    .seen
                    .insert((group.clone(), place.clone()), commit.offset);
                if before == Some(commit.offset) {
                    continue;
                }
                let advance = Advance {
                    group: &group,
                    topic: &place.0,
                    partition: place.1,
                    committed_offset: commit.offset,
                };
                if !output.is_table() {
                    output.json(&advance)?;
                    continue;
                }
                let text = format!(
                    "{} {}:{}  <- group {group} reads on from here\n",
                    advance.topic, advance.partition, advance.committed_offset
                );
                output.bytes(text.as_bytes())?;
            }
        }
        Ok(())
    }
}

fn not_followed(topics: &[String], error: client::ClientError) -> Failure {
    let topics = topics.join(" ");
    let next = format!("duramen topic describe {topics}");
    connect::explain(format!("topic {topics}: not followed"), error, next)
}
