//! `group explain`: a group's history, one line for everything that happened.

use std::collections::BTreeMap;

use client::Client;
use serde::Serialize;

use super::history::{self, Event, Member};
use super::seek;
use crate::output::Output;
use crate::{Failure, lookup, words};

/// Arguments of `group explain`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the group.
    #[arg(add = crate::complete::groups())]
    name: String,
    /// How far to look back.
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = words::duration_argument)]
    since: std::time::Duration,
    /// Show every commit, not only how many there were between two changes.
    #[arg(long)]
    commits: bool,
}

/// One thing that happened. Field names are API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line {
    time_ms: i64,
    event: &'static str,
    subject: String,
    detail: String,
}

pub(super) async fn run(
    mut client: Client,
    arguments: Arguments,
    now_ms: i64,
    output: &mut Output,
) -> Result<(), Failure> {
    let name = arguments.name;
    lookup::group(&mut client, &name, "explain").await?;
    let back = i64::try_from(arguments.since.as_millis()).unwrap_or(i64::MAX);
    let since = now_ms.saturating_sub(back).max(0);
    let events = history::read(client, &name, since).await?;
    let lines = tell(&events, arguments.commits);
    let generations = lines
        .iter()
        .filter(|line| line.event == "generation")
        .count();
    let hint = match (lines.is_empty(), generations) {
        (true, _) => format!(
            "group {name}: nothing in the last {}\n\n",
            words::duration(back)
        ),
        (false, 0..4) => String::new(),
        (false, count) => format!(
            "group {name}: {count} rebalances in {}. Members that come and go often: give each a \
             group.instance.id,\nor raise max.poll.interval.ms and session.timeout.ms above their \
             longest pause.\n\n",
            words::duration(back)
        ),
    };
    output.note(&hint)?;
    if lines.is_empty() && output.is_table() {
        return Ok(());
    }
    output.rows(&["time", "event", "subject", "detail"], &lines, |line| {
        vec![
            words::time(line.time_ms).unwrap_or_else(|| "-".to_owned()),
            line.event.to_owned(),
            line.subject.clone(),
            line.detail.clone(),
        ]
    })
}

/// The story the events tell: who joined and who left is the difference of two generations.
fn tell(events: &[Event], every_commit: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut known: Option<BTreeMap<String, Member>> = None;
    let mut commits: Option<(i64, usize)> = None;
    for event in events {
        if let Event::Commit {
            time_ms,
            place,
            offset,
            note,
        } = event
        {
            let (topic, partition) = place;
            let subject = format!("{topic}:{partition}");
            let line = |event, detail| Line {
                time_ms: *time_ms,
                event,
                subject: subject.clone(),
                detail,
            };
            match seek::Note::parse(note) {
                Some(seek) if *offset >= 0 => {
                    flush(&mut commits, &mut lines);
                    let from = seek
                        .from
                        .map_or("nothing".to_owned(), |from| from.to_string());
                    lines.push(line("seek", format!("from {from} to {offset}")));
                }
                _ if *offset < 0 => {
                    flush(&mut commits, &mut lines);
                    lines.push(line(
                        "forgotten",
                        "the committed offset was removed".to_owned(),
                    ));
                }
                _ if every_commit => lines.push(line("commit", format!("offset {offset}"))),
                _ => {
                    let (_, count) = commits.unwrap_or_default();
                    commits = Some((*time_ms, count + 1));
                }
            }
            continue;
        }
        flush(&mut commits, &mut lines);
        match event {
            Event::Generation {
                time_ms,
                generation,
                protocol,
                members,
            } => {
                let now: BTreeMap<String, Member> = members
                    .iter()
                    .map(|member| (member.id.clone(), member.clone()))
                    .collect();
                let before = known.replace(now.clone());
                changes(*time_ms, before.as_ref(), &now, &mut lines);
                let protocol = match protocol.as_str() {
                    "" => String::new(),
                    protocol => format!(", {protocol}"),
                };
                lines.push(Line {
                    time_ms: *time_ms,
                    event: "generation",
                    subject: generation.to_string(),
                    detail: match now.len() {
                        0 => "empty".to_owned(),
                        1 => format!("1 member{protocol}"),
                        count => format!("{count} members{protocol}"),
                    },
                });
            }
            Event::Epoch { time_ms, epoch } => lines.push(Line {
                time_ms: *time_ms,
                event: "generation",
                subject: epoch.to_string(),
                detail: "epoch of the newer protocol".to_owned(),
            }),
            Event::Came { time_ms, member } => lines.push(joined(*time_ms, member)),
            Event::Went { time_ms, id } => lines.push(left(*time_ms, id, "")),
            Event::Removed { time_ms } => {
                known = None;
                lines.push(Line {
                    time_ms: *time_ms,
                    event: "removed",
                    subject: "group".to_owned(),
                    detail: "removed, or expired with its last offset".to_owned(),
                });
            }
            Event::Commit { .. } => {}
        }
    }
    flush(&mut commits, &mut lines);
    lines
}

fn flush(commits: &mut Option<(i64, usize)>, lines: &mut Vec<Line>) {
    if let Some((time_ms, count)) = commits.take() {
        lines.push(Line {
            time_ms,
            event: "commits",
            subject: count.to_string(),
            detail: "up to here".to_owned(),
        });
    }
}

fn changes(
    time_ms: i64,
    before: Option<&BTreeMap<String, Member>>,
    now: &BTreeMap<String, Member>,
    lines: &mut Vec<Line>,
) {
    // What came before the stretch looked at is not known: nobody joined or left in its first line.
    let Some(before) = before else { return };
    for (id, member) in before {
        if now.contains_key(id) {
            continue;
        }
        // A static member that came back has a new id and its old name.
        let back = member.instance.is_some()
            && now.values().any(|other| other.instance == member.instance);
        if !back {
            lines.push(left(time_ms, id, &member.host));
        }
    }
    for (id, member) in now {
        if !before.contains_key(id) {
            lines.push(joined(time_ms, member));
        }
    }
}

fn joined(time_ms: i64, member: &Member) -> Line {
    let instance = match &member.instance {
        Some(instance) => format!(", instance {instance}"),
        None => String::new(),
    };
    Line {
        time_ms,
        event: "joined",
        subject: member.id.clone(),
        detail: format!("{} at {}{instance}", member.client_id, member.host),
    }
}

fn left(time_ms: i64, id: &str, host: &str) -> Line {
    let host = match host {
        "" => String::new(),
        host => format!(" at {host}"),
    };
    Line {
        time_ms,
        event: "left",
        subject: id.to_owned(),
        detail: format!("it{host} left, or was silent longer than its session timeout"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, instance: Option<&str>) -> Member {
        Member {
            id: id.to_owned(),
            instance: instance.map(str::to_owned),
            client_id: "app".to_owned(),
            host: "/10.0.0.1".to_owned(),
        }
    }

    fn generation(time_ms: i64, generation: i32, members: Vec<Member>) -> Event {
        Event::Generation {
            time_ms,
            generation,
            protocol: "range".to_owned(),
            members,
        }
    }

    fn told(events: &[Event]) -> Vec<(&'static str, String)> {
        let lines = tell(events, false).into_iter();
        lines.map(|line| (line.event, line.subject)).collect()
    }

    #[test]
    fn who_joined_and_left_is_the_difference_of_generations() {
        let events = [
            generation(1, 1, vec![member("a", None)]),
            generation(2, 2, vec![member("a", None), member("b", None)]),
            generation(3, 3, vec![member("b", None)]),
        ];
        let expected = [
            ("generation", "1"),
            ("joined", "b"),
            ("generation", "2"),
            ("left", "a"),
            ("generation", "3"),
        ];
        assert_eq!(
            told(&events),
            expected.map(|(event, at)| (event, at.to_owned()))
        );
    }

    #[test]
    fn a_static_member_that_returns_did_not_leave() {
        let events = [
            generation(1, 1, vec![member("a", Some("i1"))]),
            generation(2, 1, vec![member("a2", Some("i1"))]),
        ];
        assert!(told(&events).iter().all(|(event, _)| *event != "left"));
    }

    #[test]
    fn commits_are_counted_and_seeks_stand_out() {
        let commit = |time_ms, note: &str| Event::Commit {
            time_ms,
            place: ("orders".to_owned(), 0),
            offset: 7,
            note: note.to_owned(),
        };
        let seek = seek::Note {
            id: 5,
            from: Some(3),
        };
        let events = [commit(1, ""), commit(2, ""), commit(3, &seek.to_string())];
        let expected = [("commits", "2"), ("seek", "orders:0")];
        assert_eq!(
            told(&events),
            expected.map(|(event, at)| (event, at.to_owned()))
        );
        assert_eq!(tell(&events, true).len(), 3);
    }
}
