//! `group seek`: moves a group to another place, also while it is reading.
//!
//! A forced rebalance alone would not do: members keep what they have read up to. So the members are
//! sent away first, which makes every commit of theirs void, then the new offsets are written, and
//! the members, who join again by themselves, begin there. Should one be back before the offsets are
//! written, it is sent away again.
//!
//! Beside each offset the seek notes where the group stood. The note stays in the log of groups, so
//! `--undo` works from any machine, until compaction takes it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use client::{Client, ClientError, Committed, GroupView, Place};
use serde::Serialize;
use wire::ErrorCode;
use wire::lag::Standing;

use super::describe::{members, standings};
use super::history::{self, Event};
use crate::consent::Consent;
use crate::output::Output;
use crate::place::{self, Edge};
use crate::{Failure, connect, lookup};

/// Tries to write the offsets between the members' departure and their return.
const TRIES_MAX: u32 = 20;
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// What every note begins with.
const NOTE: &str = "duramen seek";

/// Arguments of `group seek`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the group.
    #[arg(add = crate::complete::groups())]
    name: String,
    /// Where to: start, end, an offset, +N, -N or @TIME.
    #[arg(
        long,
        value_name = "PLACE",
        allow_hyphen_values = true,
        value_parser = place::parse_edge,
        required_unless_present = "undo",
        conflicts_with = "undo"
    )]
    to: Option<Edge>,
    /// Only this topic, or TOPIC:PARTITION; may be repeated. The group need not have read it yet.
    #[arg(short, long, value_name = "TOPIC", add = crate::complete::topics())]
    topic: Vec<String>,
    /// Go back to where the group stood before its last seek.
    #[arg(long)]
    undo: bool,
    #[command(flatten)]
    consent: Consent,
}

/// What a seek writes beside each offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// When the seek began, Unix milliseconds: the same for all its partitions.
    pub id: i64,
    /// Where the group stood; none if it had committed nothing.
    pub from: Option<i64>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NOTE} {} from ", self.id)?;
        match self.from {
            Some(from) => write!(f, "{from}"),
            None => f.write_str("nothing"),
        }
    }
}

impl Note {
    /// Reads a note back; none for what another committer noted.
    pub fn parse(text: &str) -> Option<Note> {
        let mut words = text.strip_prefix(NOTE)?.split_whitespace();
        let id = words.next()?.parse().ok()?;
        words.next().filter(|word| *word == "from")?;
        let from = match words.next()? {
            "nothing" => None,
            from => Some(from.parse().ok()?),
        };
        Some(Note { id, from })
    }
}

/// One partition of the plan. Field names are API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Row {
    group: String,
    topic: String,
    partition: i32,
    from: Option<i64>,
    to: i64,
    /// Records that will be read again; negative: that will be skipped.
    reread: i64,
    /// Whether the wanted place was there; else the nearest that is.
    exact: bool,
    done: bool,
}

pub(super) async fn run(
    mut client: Client,
    arguments: Arguments,
    now_ms: i64,
    output: &mut Output,
) -> Result<(), Failure> {
    let name = arguments.name.clone();
    let failed = |error| {
        let next = format!("duramen group describe {name}");
        connect::explain(format!("group {name}: not moved"), error, next)
    };
    let mut named: Vec<Place> = Vec::new();
    for topic in &arguments.topic {
        named.extend(lookup::places(&mut client, topic).await?);
    }
    // A group that is about to be founded has no state yet, when its topics are named.
    let listed = match lookup::group(&mut client, &name, "seek").await {
        Ok(listed) => Some(listed),
        Err(_) if !named.is_empty() && !arguments.undo => None,
        Err(failure) => return Err(failure),
    };
    let (kind, state) = listed.map_or_else(Default::default, |group| (group.kind, group.state));
    let group = members(&mut client, &name, &state).await.map_err(failed)?;
    let movable = ["classic", "consumer", ""].contains(&kind.as_str());
    if !movable && state != "Empty" && arguments.consent.is_given() {
        return Err(Failure::new(
            format!("group {name}: not moved"),
            format!(
                "it is of the {kind} kind and has members, which only they themselves can leave"
            ),
            "stop its members, then try again",
        ));
    }
    let commits = client.commits(&name).await.map_err(failed)?;
    let committed: BTreeMap<Place, i64> = commits
        .iter()
        .map(|(place, commit)| (place.clone(), commit.offset))
        .collect();
    let places: Vec<Place> = match named.is_empty() {
        false => named,
        true => {
            let held = group.members.iter().flat_map(|member| &member.assignment);
            let mut all: Vec<Place> = committed.keys().chain(held).cloned().collect();
            all.sort();
            all.dedup();
            all
        }
    };
    let wanted = match arguments.to {
        Some(to) => targets(&mut client, &places, to, now_ms)
            .await
            .map_err(failed)?,
        None => {
            let formers = formers(&client, &name, &commits).await?;
            let only = |place: &Place| arguments.topic.is_empty() || places.contains(place);
            formers
                .into_iter()
                .filter(|(place, _)| only(place))
                .collect()
        }
    };
    let there: Vec<Place> = wanted.keys().cloned().collect();
    let standings = standings(&mut client, &there, &committed, false).await;
    let mut rows = plan(&name, &wanted, &standings);
    if rows.is_empty() {
        return Err(Failure::usage(
            format!("group {name}: nothing to move"),
            "it has committed nothing and holds no partition",
            format!("duramen group seek {name} --to start --topic TOPIC"),
        ));
    }
    if arguments.consent.is_given() {
        let new: BTreeMap<Place, Committed> = rows
            .iter()
            .map(|row| {
                let note = Note {
                    id: now_ms,
                    from: row.from,
                };
                let committed = Committed {
                    offset: row.to,
                    metadata: note.to_string(),
                };
                ((row.topic.clone(), row.partition), committed)
            })
            .collect();
        write(&mut client, group, &new).await.map_err(failed)?;
        for row in &mut rows {
            row.done = true;
        }
    }
    let columns = ["topic", "partition", "from", "to", "effect", "done"];
    output.rows(&columns, &rows, |row| {
        let done = if row.done { "yes" } else { "no" };
        vec![
            row.topic.clone(),
            row.partition.to_string(),
            row.from
                .map_or_else(|| "-".to_owned(), |from| from.to_string()),
            row.to.to_string(),
            effect(row),
            done.to_owned(),
        ]
    })?;
    arguments
        .consent
        .settle(format!("group {name}: not moved"), "", again(&arguments))
}

/// The command that does what the plan shows.
fn again(arguments: &Arguments) -> String {
    let where_to = match arguments.to {
        Some(to) => format!("--to {to}"),
        None => "--undo".to_owned(),
    };
    let topics = arguments.topic.iter().map(|topic| format!(" -t {topic}"));
    let topics: String = topics.collect();
    format!(
        "duramen group seek {} {where_to}{topics} --yes",
        arguments.name
    )
}

/// The offsets of a place, for every partition whose topic is there.
async fn targets(
    client: &mut Client,
    places: &[Place],
    to: Edge,
    now_ms: i64,
) -> Result<BTreeMap<Place, i64>, ClientError> {
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        by_topic.entry(topic).or_default().push(*partition);
    }
    let mut targets = BTreeMap::new();
    for (topic, partitions) in by_topic {
        let found = client.topics(Some(&[topic.to_owned()])).await?;
        if !found.iter().any(|view| view.exists) {
            continue;
        }
        let offsets = client
            .list_offsets(topic, &partitions, to.at(now_ms))
            .await?;
        for (partition, offset) in offsets {
            targets.insert((topic.to_owned(), partition), offset);
        }
    }
    Ok(targets)
}

/// Where the group stood before its last seek: from the notes beside its offsets, and from the log
/// of groups for partitions that were committed anew since.
async fn formers(
    client: &Client,
    group: &str,
    commits: &BTreeMap<Place, Committed>,
) -> Result<BTreeMap<Place, i64>, Failure> {
    let mut notes: Vec<(Place, Note)> = commits
        .iter()
        .filter_map(|(place, commit)| Some((place.clone(), Note::parse(&commit.metadata)?)))
        .collect();
    let told = history::read(client.reopen(), group, 0).await;
    // Who may not read the log can still undo what nobody has committed over.
    for event in told.unwrap_or_default() {
        if let Event::Commit { place, note, .. } = event
            && let Some(note) = Note::parse(&note)
        {
            notes.push((place, note));
        }
    }
    let Some(last) = notes.iter().map(|(_, note)| note.id).max() else {
        return Err(Failure::new(
            format!("group {group}: no seek to undo"),
            "no note of one is left beside its offsets or in the log of groups",
            format!("duramen group explain {group} --since 7d"),
        ));
    };
    let formers: BTreeMap<Place, i64> = notes
        .into_iter()
        .filter(|(_, note)| note.id == last)
        .filter_map(|(place, note)| Some((place, note.from?)))
        .collect();
    if formers.is_empty() {
        return Err(Failure::new(
            format!("group {group}: nothing to go back to"),
            "it had committed nothing before its last seek",
            format!("duramen group seek {group} --to start"),
        ));
    }
    Ok(formers)
}

fn plan(
    group: &str,
    wanted: &BTreeMap<Place, i64>,
    standings: &BTreeMap<Place, Standing>,
) -> Vec<Row> {
    let row = |(place, wanted): (&Place, &i64)| {
        let standing = standings.get(place)?;
        let to = (*wanted).clamp(standing.log_start, standing.limit.max(standing.log_start));
        // Where nothing was committed members begin where auto.offset.reset says: unknown here.
        let from = standing.committed;
        let at = from.map(|from| from.clamp(standing.log_start, standing.limit.max(from)));
        Some(Row {
            group: group.to_owned(),
            topic: place.0.clone(),
            partition: place.1,
            from,
            to,
            reread: at.map_or(0, |at| at - to),
            exact: to == *wanted,
            done: false,
        })
    };
    wanted.iter().filter_map(row).collect()
}

fn effect(row: &Row) -> String {
    let moved = match (row.from, row.reread) {
        (None, _) => "first offset".to_owned(),
        (Some(_), 0) => "same place".to_owned(),
        (Some(_), 1..) => format!("{} read again", row.reread),
        (Some(_), _) => format!("{} skipped", row.reread.unsigned_abs()),
    };
    match row.exact {
        true => moved,
        false => format!("{moved}; the nearest that is there"),
    }
}

/// Sends the members away and writes the offsets, as often as members are back in between.
async fn write(
    client: &mut Client,
    mut group: GroupView,
    commits: &BTreeMap<Place, Committed>,
) -> Result<(), ClientError> {
    let name = group.id.clone();
    let mut tries = 0;
    loop {
        client
            .expel_members(&group, "the group is moved to another place")
            .await?;
        match client.commit(&name, commits).await {
            Ok(()) => return Ok(()),
            Err(ClientError::Server { code, .. }) if may_pass(code) && tries < TRIES_MAX => {}
            Err(error) => return Err(error),
        }
        tries += 1;
        tokio::time::sleep(PAUSE).await;
        group = members(client, &name, "").await?;
    }
}

/// Errors of a group whose members are just coming back.
fn may_pass(code: ErrorCode) -> bool {
    code.is_retriable()
        || matches!(
            code,
            ErrorCode::UnknownMemberId
                | ErrorCode::StaleMemberEpoch
                | ErrorCode::RebalanceInProgress
                | ErrorCode::IllegalGeneration
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back_and_others_notes_are_not() {
        for from in [Some(0), Some(77), None] {
            let note = Note { id: 5, from };
            assert_eq!(Note::parse(&note.to_string()), Some(note));
        }
        for other in ["", "duramen", "duramen seek x from 1", "checkpoint 7"] {
            assert_eq!(Note::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_plan_says_what_is_read_again_and_what_is_skipped() {
        // experience.md 4.4
        let place = |partition| ("orders".to_owned(), partition);
        let standing = |committed| Standing {
            committed,
            log_start: 10,
            limit: 100,
        };
        let standings = BTreeMap::from([
            (place(0), standing(Some(50))),
            (place(1), standing(Some(50))),
            (place(2), standing(None)),
            (place(3), standing(Some(3))),
        ]);
        let wanted = BTreeMap::from([
            (place(0), 20),
            (place(1), 500),
            (place(2), 0),
            (place(3), 10),
            (place(9), 1),
        ]);
        let rows = plan("g", &wanted, &standings);
        let told: Vec<(i32, i64, String)> = rows
            .iter()
            .map(|row| (row.partition, row.to, effect(row)))
            .collect();
        assert_eq!(
            told,
            [
                (0, 20, "30 read again".to_owned()),
                (1, 100, "50 skipped; the nearest that is there".to_owned()),
                (2, 10, "first offset; the nearest that is there".to_owned()),
                (3, 10, "same place".to_owned()),
            ]
        );
    }
}
