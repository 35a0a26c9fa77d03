//! Where to begin in a log and where to stop: the grammar of `-o`.
//!
//! It is rpk's, with three additions: ten digits are seconds as well as nine, durations have days
//! and weeks, and `FROM:UNTIL` takes `start`, `+N`, `-N` and `end` where rpk takes numbers only.
//!
//! | form | meaning |
//! |---|---|
//! | `start`, `end` | from the log start, from the current end |
//! | `N`, `N:` | from this offset |
//! | `+N`, `-N` | N behind the log start, N before the current end |
//! | `:N`, `N:M` | until offset M, which is not read |
//! | `:end` | until the end as it is now |
//! | `@T`, `@T:`, `@:T`, `@T:U` | the same by time |
//!
//! Times: 13 digits are Unix milliseconds, 9 or 10 seconds, `YYYY-MM-DD` is a day in UTC, else
//! RFC 3339 or a duration: before now with a minus, and behind the first time if that is no
//! duration.

use std::collections::BTreeMap;
use std::fmt;

use client::{At, Client, ClientError};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::words::{parse_duration_ms, spell_duration_ms};

/// What may be written, for messages.
pub const FORMS: &str = "start, end, N, +N, -N, N:M, :N, :end, @TIME, @TIME:TIME";

/// A stretch of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub from: Edge,
    /// Where it ends, if it does.
    pub until: Option<Edge>,
}

/// One end of a stretch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// The log start.
    Start,
    /// The current end.
    End,
    /// An offset.
    Offset(i64),
    /// So many behind the log start.
    AfterStart(i64),
    /// So many before the end.
    BeforeEnd(i64),
    /// A Unix time, milliseconds.
    Time(i64),
    /// So many milliseconds from now; negative is the past.
    FromNow(i64),
}

impl Edge {
    /// The place in the client's terms, at this time.
    pub fn at(self, now_ms: i64) -> At {
        match self {
            Edge::Start => At::Start,
            Edge::End => At::End,
            Edge::Offset(offset) => At::Offset(offset),
            Edge::AfterStart(count) => At::AfterStart(count),
            Edge::BeforeEnd(count) => At::BeforeEnd(count),
            Edge::Time(ms) => At::Timestamp(ms),
            Edge::FromNow(ms) => At::Timestamp(now_ms.saturating_add(ms)),
        }
    }
}

impl fmt::Display for Edge {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Edge::Start => f.write_str("start"),
            Edge::End => f.write_str("end"),
            Edge::Offset(offset) => write!(f, "{offset}"),
            Edge::AfterStart(count) => write!(f, "+{count}"),
            Edge::BeforeEnd(count) => write!(f, "-{count}"),
            Edge::Time(ms) => match Timestamp::from_millisecond(*ms) {
                Ok(time) => write!(f, "@{time}"),
                Err(_) => write!(f, "@{ms}"),
            },
            Edge::FromNow(ms) => {
                let sign = if *ms < 0 { "-" } else { "" };
                write!(f, "@{sign}{}", spell_duration_ms(ms.unsigned_abs()))
            }
        }
    }
}

impl Span {
    /// The offsets to begin at, and to stop before, of each partition. A beginning before the log
    /// start is moved there, one behind the end is left as it is.
    pub async fn resolve(
        &self,
        client: &mut Client,
        topic: &str,
        partitions: &[i32],
        now_ms: i64,
    ) -> Result<(BTreeMap<i32, i64>, Option<BTreeMap<i32, i64>>), ClientError> {
        let mut starts = client
            .list_offsets(topic, partitions, self.from.at(now_ms))
            .await?;
        let Some(until) = self.until else {
            return Ok((starts, None));
        };
        // A stretch with an end is read as far as it is there: nobody waits for what is gone.
        let first = client.list_offsets(topic, partitions, At::Start).await?;
        let last = client.list_offsets(topic, partitions, At::End).await?;
        let mut ends = client
            .list_offsets(topic, partitions, until.at(now_ms))
            .await?;
        for (partition, end) in &mut ends {
            *end = (*end).min(last.get(partition).copied().unwrap_or(i64::MAX));
        }
        for (partition, start) in &mut starts {
            *start = (*start).max(first.get(partition).copied().unwrap_or(0));
        }
        Ok((starts, Some(ends)))
    }
}

/// For clap: a stretch.
pub fn parse(text: &str) -> Result<Span, String> {
    let wrong = || format!("`{text}` is none of: {FORMS}");
    if let Some(times) = text.strip_prefix('@') {
        return parse_times(times).ok_or_else(wrong);
    }
    let span = match text.split_once(':') {
        None => match dashed(text) {
            Some(span) => Some(span),
            None => edge(text).map(|from| Span { from, until: None }),
        },
        Some(("", until)) => last_edge(until).map(|until| Span {
            from: Edge::Start,
            until: Some(until),
        }),
        Some((from, "")) => edge(from).map(|from| Span { from, until: None }),
        Some((from, until)) => edge(from).zip(last_edge(until)).map(|(from, until)| Span {
            from,
            until: Some(until),
        }),
    };
    let span = span.ok_or_else(wrong)?;
    if let (Edge::Offset(from), Some(Edge::Offset(until))) = (span.from, span.until)
        && until <= from
    {
        return Err(format!("`{text}` ends at {until}, before it begins"));
    }
    Ok(span)
}

/// For clap: one place, where a stretch makes no sense.
pub fn parse_edge(text: &str) -> Result<Edge, String> {
    match parse(text)? {
        Span { from, until: None } => Ok(from),
        _ => Err(format!(
            "`{text}` is a stretch: one place is meant, such as start, end, 120, -5 or @-1h"
        )),
    }
}

fn edge(text: &str) -> Option<Edge> {
    match text {
        "start" | "oldest" | "earliest" => return Some(Edge::Start),
        "end" | "newest" | "latest" => return Some(Edge::End),
        _ => {}
    }
    if let Some(count) = text.strip_prefix('+') {
        return number(count).map(Edge::AfterStart);
    }
    if let Some(count) = text.strip_prefix('-') {
        return number(count).map(Edge::BeforeEnd);
    }
    number(text).map(Edge::Offset)
}

fn last_edge(text: &str) -> Option<Edge> {
    edge(text).filter(|edge| !matches!(edge, Edge::Start))
}

/// `3-7`, which rpk takes for `3:7`.
fn dashed(text: &str) -> Option<Span> {
    let (from, until) = text.split_once('-')?;
    let (from, until) = (number(from)?, last_edge(until)?);
    Some(Span {
        from: Edge::Offset(from),
        until: Some(until),
    })
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn parse_times(text: &str) -> Option<Span> {
    let (from, rest) = match text.strip_prefix(':') {
        Some(rest) => (Edge::Start, rest),
        None => {
            let (from, rest) = take_time(text, None)?;
            match rest.strip_prefix(':') {
                None if rest.is_empty() => return Some(Span { from, until: None }),
                None => return None,
                Some("") => return Some(Span { from, until: None }),
                Some(rest) => (from, rest),
            }
        }
    };
    let base = match from {
        Edge::Time(ms) => Some(ms),
        _ => None,
    };
    let (until, rest) = if rest == "end" {
        (Edge::End, "")
    } else {
        take_time(rest, base)?
    };
    rest.is_empty().then_some(Span {
        from,
        until: Some(until),
    })
}

/// Takes one time from the front. A duration counts from `base`, or from now without one.
fn take_time(text: &str, base: Option<i64>) -> Option<(Edge, &str)> {
    let until_colon = text.find(':').unwrap_or(text.len());
    let (word, rest) = text.split_at(until_colon);
    if let Some(n) = number(word) {
        return match word.len() {
            13 => Some((Edge::Time(n), rest)),
            9 | 10 => Some((Edge::Time(n * 1_000), rest)),
            _ => None,
        };
    }
    if let Ok(day) = word.parse::<Date>()
        && word.len() == 10
    {
        let midnight = day.to_zoned_datetime(TimeZone::UTC).ok()?;
        return Some((Edge::Time(midnight.timestamp().as_millisecond()), rest));
    }
    // RFC 3339 has colons of its own: its end is its zone.
    if word.contains('T') {
        let length = match text.find('Z') {
            Some(zulu) => zulu + 1,
            None => text.len(),
        };
        let (stamp, rest) = text.split_at(length);
        let stamp: Timestamp = stamp.parse().ok()?;
        return Some((Edge::Time(stamp.as_millisecond()), rest));
    }
    let (sign, bare) = match word.strip_prefix('-') {
        Some(bare) => (-1, bare),
        None => (1, word),
    };
    let ms = parse_duration_ms(bare)? * sign;
    match base {
        Some(base) => Some((Edge::Time(base.saturating_add(ms)), rest)),
        None => Some((Edge::FromNow(ms), rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(from: Edge, until: Option<Edge>) -> Result<Span, String> {
        Ok(Span { from, until })
    }

    #[test]
    fn every_form_of_rpk_is_read() {
        // experience.md 3.2
        use Edge::*;
        const DAY: i64 = 1_644_796_800_000;
        for (text, from, until) in [
            ("start", Start, None),
            ("end", End, None),
            ("47", Offset(47), None),
            ("47:", Offset(47), None),
            (":47", Start, Some(Offset(47))),
            ("3:7", Offset(3), Some(Offset(7))),
            ("3-7", Offset(3), Some(Offset(7))),
            ("3:end", Offset(3), Some(End)),
            ("+2", AfterStart(2), None),
            ("-3", BeforeEnd(3), None),
            ("-3:end", BeforeEnd(3), Some(End)),
            (":end", Start, Some(End)),
            ("@1644796800000", Time(DAY), None),
            ("@1644796800", Time(DAY), None),
            ("@999999999", Time(999_999_999_000), None),
            ("@1644796800000:", Time(DAY), None),
            ("@2022-02-14", Time(DAY), None),
            ("@2022-02-14:1h", Time(DAY), Some(Time(DAY + 3_600_000))),
            ("@2022-02-14:-1h", Time(DAY), Some(Time(DAY - 3_600_000))),
            ("@2022-02-14T00:00:01Z", Time(DAY + 1_000), None),
            ("@2022-02-14T00:00:01.500Z", Time(DAY + 1_500), None),
            ("@2022-02-14T01:00:00+01:00", Time(DAY), None),
            (
                "@2022-02-14T00:00:00Z:2022-02-14T00:00:02Z",
                Time(DAY),
                Some(Time(DAY + 2_000)),
            ),
            ("@-1h", FromNow(-3_600_000), None),
            (
                "@-48h:-24h",
                FromNow(-172_800_000),
                Some(FromNow(-86_400_000)),
            ),
            ("@-1m:end", FromNow(-60_000), Some(End)),
            ("@:-1h", Start, Some(FromNow(-3_600_000))),
            ("@:-1hr", Start, Some(FromNow(-3_600_000))),
            ("@-7d", FromNow(-604_800_000), None),
        ] {
            assert_eq!(parse(text), span(from, until), "{text}");
        }
    }

    #[test]
    fn what_is_no_place_is_refused_with_the_forms_that_are() {
        for wrong in [
            "",
            "soon",
            ":",
            "7:3",
            "5:5",
            "@",
            "@end",
            "@12",
            "@2022-13-01",
            "@1h:x",
            "+",
            "-",
            "1:2:3",
            ":start",
            "@-1h:end:5",
            "--5",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse("soon").is_err_and(|told| told.contains("@TIME")));
        assert!(parse("7:3").is_err_and(|told| told.contains("before it begins")));
    }

    #[test]
    fn one_place_is_not_a_stretch() {
        assert_eq!(parse_edge("@-1h"), Ok(Edge::FromNow(-3_600_000)));
        assert!(parse_edge("3:7").is_err());
    }

    #[test]
    fn a_place_is_shown_as_it_is_typed() {
        for text in [
            "start", "end", "47", "+2", "-3", "@-1h", "@-90m", "@-7d", "@-1001ms",
        ] {
            let edge = parse_edge(text).expect(text);
            assert_eq!(edge.to_string(), text);
        }
        let edge = parse_edge("@1644796801500").expect("a time");
        assert_eq!(edge.to_string(), "@2022-02-14T00:00:01.5Z");
        assert_eq!(parse_edge(&edge.to_string()), Ok(edge));
    }

    #[test]
    fn now_is_added_when_the_place_is_looked_up() {
        assert_eq!(Edge::FromNow(-10).at(100), At::Timestamp(90));
        assert_eq!(Edge::AfterStart(2).at(0), At::AfterStart(2));
    }
}
