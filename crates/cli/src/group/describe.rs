//! `group describe`: who holds which partition, what is committed, how far behind it is.

use std::collections::BTreeMap;

use client::{At, Client, ClientError, GroupKind, GroupView, Place};
use serde::Serialize;
use wire::ErrorCode;
use wire::lag::{Lag, Standing, catch_up_ms};

use super::history::{self, Event};
use crate::output::Output;
use crate::{Failure, connect, lookup, words};

/// Trends are those of the last so many milliseconds.
const TREND_MS: i64 = 300_000;

/// Arguments of `group describe`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the group.
    #[arg(add = crate::complete::groups())]
    name: String,
    /// Show the rates of the last five minutes and when the group will have caught up.
    #[arg(long)]
    trend: bool,
    /// Reckon with open and aborted transactions, as members with
    /// isolation.level=read_committed do.
    #[arg(long)]
    read_committed: bool,
}

/// One partition of a group. Field names are API.
#[derive(Serialize)]
struct Row {
    group: String,
    state: String,
    topic: String,
    partition: i32,
    committed_offset: Option<i64>,
    high_watermark: Option<i64>,
    /// Offsets between the committed one and the end; none without a commit.
    lag: Option<i64>,
    /// Seconds since the first unread record was written; none without a commit.
    lag_seconds: Option<f64>,
    /// Records that retention removed before they were read.
    lost: i64,
    member: Option<String>,
    client_id: Option<String>,
    host: Option<String>,
    instance: Option<String>,
    #[serde(flatten)]
    trend: Option<Trend>,
}

/// How a partition's lag goes on.
#[derive(Clone, Copy, Serialize)]
struct Trend {
    read_per_second: f64,
    written_per_second: f64,
    /// None: never.
    catch_up_seconds: Option<f64>,
}

pub(super) async fn run(
    mut client: Client,
    arguments: Arguments,
    now_ms: i64,
    output: &mut Output,
) -> Result<(), Failure> {
    let name = arguments.name;
    let failed = |error| {
        connect::explain(
            format!("group {name}: not described"),
            error,
            "duramen group ls",
        )
    };
    let listed = lookup::group(&mut client, &name, "describe").await?;
    let group = members(&mut client, &name, &listed.state)
        .await
        .map_err(failed)?;
    let committed = client.committed_offsets(&name).await.map_err(failed)?;

    let mut rows: BTreeMap<Place, Row> = BTreeMap::new();
    let blank = |place: &Place| Row {
        group: name.clone(),
        state: group.state.clone(),
        topic: place.0.clone(),
        partition: place.1,
        committed_offset: None,
        high_watermark: None,
        lag: None,
        lag_seconds: None,
        lost: 0,
        member: None,
        client_id: None,
        host: None,
        instance: None,
        trend: None,
    };
    for (place, offset) in &committed {
        let row = rows.entry(place.clone()).or_insert_with(|| blank(place));
        row.committed_offset = Some(*offset);
    }
    for member in &group.members {
        for place in &member.assignment {
            let row = rows.entry(place.clone()).or_insert_with(|| blank(place));
            row.member = Some(member.id.clone());
            row.client_id = Some(member.client_id.clone());
            row.host = Some(member.host.clone());
            row.instance = member.instance.clone();
        }
    }
    let places: Vec<Place> = rows.keys().cloned().collect();
    let standings = standings(&mut client, &places, &committed, arguments.read_committed).await;
    let lags = lags(&mut client, &standings, now_ms, arguments.read_committed)
        .await
        .map_err(failed)?;
    for (place, lag) in &lags {
        if let Some(row) = rows.get_mut(place) {
            row.high_watermark = standings.get(place).map(|standing| standing.limit);
            row.lag = lag.records;
            row.lag_seconds = lag.ms.map(|ms| ms as f64 / 1_000.0);
            row.lost = lag.lost;
        }
    }
    if arguments.trend {
        let trends = trends(client, &name, &standings, now_ms).await?;
        for (place, trend) in trends {
            if let Some(row) = rows.get_mut(&place) {
                row.trend = Some(trend);
            }
        }
    }
    let rows: Vec<Row> = rows.into_values().collect();
    output.note(&summary(&name, &listed.kind, &group, &rows))?;
    let mut columns = vec![
        "topic",
        "partition",
        "committed",
        "end",
        "lag",
        "behind",
        "client",
        "host",
        "+member",
        "+instance",
    ];
    if arguments.trend {
        columns.extend(["read", "written", "caught up in"]);
    }
    if rows.iter().any(|row| row.lost > 0) {
        columns.push("lost");
    }
    output.rows(&columns, &rows, |row| cells(row, &columns))
}

fn cells(row: &Row, columns: &[&str]) -> Vec<String> {
    let dash = || "-".to_owned();
    let number = |value: Option<i64>| value.map_or_else(dash, |value| value.to_string());
    let text = |value: &Option<String>| value.clone().unwrap_or_else(dash);
    let behind = row.lag_seconds;
    let cell = |column: &&str| match *column {
        "topic" => row.topic.clone(),
        "partition" => row.partition.to_string(),
        "committed" => number(row.committed_offset),
        "end" => number(row.high_watermark),
        "lag" => number(row.lag),
        "behind" => behind.map_or_else(dash, |s| words::duration((s * 1_000.0) as i64)),
        "client" => text(&row.client_id),
        "host" => text(&row.host),
        "+member" => text(&row.member),
        "+instance" => text(&row.instance),
        "read" => row
            .trend
            .map_or_else(dash, |t| words::rate(t.read_per_second)),
        "written" => row
            .trend
            .map_or_else(dash, |t| words::rate(t.written_per_second)),
        "caught up in" => row.trend.map_or_else(dash, |trend| {
            trend.catch_up_seconds.map_or_else(
                || "never".to_owned(),
                |seconds| words::duration((seconds * 1_000.0) as i64),
            )
        }),
        "lost" => row.lost.to_string(),
        _ => String::new(),
    };
    columns.iter().map(cell).collect()
}

fn summary(name: &str, kind: &str, group: &GroupView, rows: &[Row]) -> String {
    let lag: i64 = rows.iter().filter_map(|row| row.lag).sum();
    let behind = rows
        .iter()
        .filter_map(|row| row.lag_seconds)
        .fold(0.0, f64::max);
    let kind = if kind.is_empty() {
        String::new()
    } else {
        format!("{kind}, ")
    };
    let members = words::several(group.members.len(), "member");
    let behind = match lag {
        0 => "nothing to read".to_owned(),
        lag => format!(
            "{lag} behind, {}",
            words::duration((behind * 1_000.0) as i64)
        ),
    };
    let protocol = match group.protocol.as_str() {
        "" => String::new(),
        protocol => format!(", {protocol}"),
    };
    format!(
        "group {name}: {kind}{}, {members}{protocol}; {behind}\n\n",
        group.state
    )
}

/// A group and its members; without them where the broker does not show this kind of group to
/// the request that is spoken here.
pub(super) async fn members(
    client: &mut Client,
    name: &str,
    state: &str,
) -> Result<GroupView, ClientError> {
    match client.describe_group(name).await {
        Err(ClientError::Server {
            code: ErrorCode::GroupIdNotFound,
            ..
        }) => Ok(GroupView {
            id: name.to_owned(),
            kind: GroupKind::Classic,
            state: state.to_owned(),
            protocol: String::new(),
            members: Vec::new(),
        }),
        other => other,
    }
}

/// Where a group stands in each place. A topic may have been removed since the commit: its lag is
/// unknown, not an error.
pub(super) async fn standings(
    client: &mut Client,
    places: &[Place],
    committed: &BTreeMap<Place, i64>,
    read_committed: bool,
) -> BTreeMap<Place, Standing> {
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        by_topic.entry(topic).or_default().push(*partition);
    }
    let limit = match read_committed {
        true => At::StableEnd,
        false => At::End,
    };
    let mut standings = BTreeMap::new();
    for (topic, partitions) in by_topic {
        let exists = client
            .topics(Some(&[topic.to_owned()]))
            .await
            .is_ok_and(|found| found.iter().any(|view| view.exists));
        if !exists {
            continue;
        }
        let Ok(starts) = client.list_offsets(topic, &partitions, At::Start).await else {
            continue;
        };
        let Ok(limits) = client.list_offsets(topic, &partitions, limit).await else {
            continue;
        };
        for (partition, limit) in limits {
            let place = (topic.to_owned(), partition);
            let standing = Standing {
                committed: committed.get(&place).copied(),
                log_start: starts.get(&partition).copied().unwrap_or(0),
                limit,
            };
            standings.insert(place, standing);
        }
    }
    standings
}

/// The lag at each place, by the one definition.
async fn lags(
    client: &mut Client,
    standings: &BTreeMap<Place, Standing>,
    now_ms: i64,
    read_committed: bool,
) -> Result<BTreeMap<Place, Lag>, ClientError> {
    let behind: BTreeMap<Place, i64> = standings
        .iter()
        .filter(|(_, standing)| standing.may_be_behind())
        .filter_map(|(place, standing)| Some((place.clone(), standing.next()?)))
        .collect();
    let first = client.first_readable(&behind, read_committed).await?;
    let lag = |(place, standing): (&Place, &Standing)| {
        // What lies at or behind the limit may not be read yet.
        let unread = first
            .get(place)
            .filter(|(offset, _)| *offset < standing.limit);
        let lag = standing.lag(unread.map(|(_, timestamp)| *timestamp), now_ms);
        (place.clone(), lag)
    };
    Ok(standings.iter().map(lag).collect())
}

/// Rates of the last minutes: what the group committed, and what was written.
async fn trends(
    mut client: Client,
    group: &str,
    standings: &BTreeMap<Place, Standing>,
    now_ms: i64,
) -> Result<BTreeMap<Place, Trend>, Failure> {
    let mut written = BTreeMap::new();
    let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in standings.keys() {
        by_topic.entry(topic).or_default().push(*partition);
    }
    let since = At::Timestamp(now_ms - TREND_MS);
    for (topic, partitions) in by_topic {
        // A topic that is gone has no rate.
        let before = client.list_offsets(topic, &partitions, since).await;
        for (partition, before) in before.unwrap_or_default() {
            let place = (topic.to_owned(), partition);
            if let Some(standing) = standings.get(&place) {
                written.insert(place, standing.limit - before);
            }
        }
    }
    let events = history::read(client, group, now_ms - TREND_MS).await?;
    let mut firsts: BTreeMap<Place, (i64, i64)> = BTreeMap::new();
    for event in events {
        if let Event::Commit {
            place,
            offset,
            time_ms,
            ..
        } = event
        {
            firsts.entry(place).or_insert((offset, time_ms));
        }
    }
    let trend = |(place, standing): (&Place, &Standing)| {
        let committed = standing.committed?;
        let read = firsts.get(place).map_or(0.0, |(offset, since)| {
            let seconds = ((now_ms - since).max(1) as f64) / 1_000.0;
            (committed - offset).max(0) as f64 / seconds
        });
        let count = written.get(place).copied().unwrap_or(0);
        let written = count as f64 * 1_000.0 / TREND_MS as f64;
        let left = standing.limit - standing.next()?;
        let trend = Trend {
            read_per_second: read,
            written_per_second: written,
            catch_up_seconds: catch_up_ms(left, read, written).map(|ms| ms as f64 / 1_000.0),
        };
        Some((place.clone(), trend))
    };
    Ok(standings.iter().filter_map(trend).collect())
}
