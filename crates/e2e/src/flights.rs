//! Real input, and a broker that is killed under it: the 336,776 flights that left New York in 2013,
//! keyed by tail number, through a topic of six partitions while the broker dies by `kill -9` once in
//! the middle and once at the end.
//!
//! After each restart what had been acknowledged must be there: every row once, whole, in order within
//! its key, and a group of two must go on where it had committed. Rows are compared with the source.
//! Flights without a tail number share the key `NA`, so one key is heavier than all others.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::kcat::{self, kcat};
use crate::libraries::{create_topic, java, python};
use crate::program::{self, Failure, Outcome, Running, eventually, home};
use crate::run::{Stage, Suite, Teller};

/// For one step: producing all, or reading all.
const LIMIT: Duration = Duration::from_secs(420);
/// So many acknowledgements before the first kill.
const ACKED_BEFORE_KILL: usize = 30_000;
/// A group that reads nothing for so long has all it will get.
const SILENCE: Duration = Duration::from_secs(120);
const TOPIC: &str = "flights";
const GROUP: &str = "flights-readers";

/// The flights, once for each way of producing and reading them.
pub fn suite() -> Suite {
    Suite {
        client: "flights",
        stories: &["kcat", "java-4.3", "confluent"],
        tell: |stage, stories, teller| tell(stage, stories, teller),
    }
}

fn tell(stage: &mut Stage, stories: &[&'static str], teller: &mut Teller) {
    for story in stories {
        teller.time(story, || {
            let path = home().join("flights.tsv");
            let text = std::fs::read_to_string(&path)
                .map_err(|_| Failure::Missing(path.display().to_string()))?;
            let source = Source::new(&text);
            let mut broker = stage.fresh()?;
            create_topic(&broker, TOPIC)?;
            let outcome = match *story {
                "kcat" => with_kcat(&mut broker, &source),
                "java-4.3" => with_library(&mut broker, &source, &path, || java("4.3.0", "Lines")),
                _ => with_library(&mut broker, &source, &path, || python("lines.py")),
            };
            match (outcome, broker.death()) {
                (Err(failure), Some(death)) => Err(format!("{failure}\n{death}").into()),
                (outcome, _) => outcome,
            }
        });
    }
}

/// kcat: no delivery reports by row, but it prints the partition and offset of each acknowledgement,
/// and ends well only if all were acknowledged.
fn with_kcat(broker: &mut Broker, source: &Source<'_>) -> Outcome {
    let mut command = kcat(broker);
    command.args([
        "-P", "-E", "-vvv", "-t", TOPIC, "-K", "\\t", "-z", "zstd", "-X", "acks=all",
    ]);
    command.args([
        "-X",
        "enable.idempotence=true",
        "-X",
        "message.timeout.ms=400000",
    ]);
    command
        .args(["-X", "retry.backoff.ms=100"])
        .stdin(Stdio::piped());
    let acked = Arc::new(Mutex::new(Acked::default()));
    let taken = Arc::clone(&acked);
    let mut producer = Running::start(command, |_| {}, move |line| locked(&taken).take(line))?;
    let mut stdin = producer.input().ok_or("kcat takes no input")?;
    let (first, rest) = source.halves();
    let (first, rest) = (first.to_owned(), rest.to_owned());
    let (go_on, told) = mpsc::channel::<()>();
    let feeding = std::thread::spawn(move || {
        // A producer that stops reading has ended; its status tells why.
        let _ = stdin
            .write_all(first.as_bytes())
            .and_then(|()| stdin.flush());
        if told.recv().is_ok() {
            let _ = stdin.write_all(rest.as_bytes());
        }
    });
    eventually("acknowledgements", LIMIT, || {
        if !producer.runs() {
            return Err(format!("kcat ended: {}", producer.last_words()).into());
        }
        Ok(locked(&acked).count >= ACKED_BEFORE_KILL)
    })?;
    let before = locked(&acked).highest.clone();
    broker.kill()?;
    broker.boot()?;
    let ends = source.check(&read_all(broker)?, Span::SoFar)?;
    for (partition, offset) in &before {
        if ends.get(partition).is_none_or(|end| end <= offset) {
            return Err(format!(
                "partition {partition}: offset {offset} was acknowledged before the kill, but {:?} is the end after it",
                ends.get(partition)
            )
            .into());
        }
    }
    let mut of_group = group_of_two(broker, Until::Each(source.rows.len() / 16))?;
    go_on.send(()).map_err(|_| "kcat stopped reading")?;
    let status = producer.end(LIMIT)?;
    let _ = feeding.join();
    let acked = std::mem::take(&mut *locked(&acked));
    if !status.success() || acked.failed > 0 || acked.count != source.rows.len() {
        let rows = source.rows.len();
        return Err(format!(
            "{status}: {} of {rows} acknowledged, {} failed",
            acked.count, acked.failed
        )
        .into());
    }
    broker.kill()?;
    broker.boot()?;
    source.check(&read_all(broker)?, Span::All)?;
    let left = source.rows.len().saturating_sub(of_group.lines().count());
    of_group.push_str(&group_of_two(broker, Until::Together(left))?);
    source
        .check(&of_group, Span::All)
        .map_err(|failure| format!("the group: {failure}"))?;
    Ok(())
}

/// A library's program, whose delivery callbacks write down each acknowledged row.
fn with_library(
    broker: &mut Broker,
    source: &Source<'_>,
    path: &Path,
    program: fn() -> Outcome<Command>,
) -> Outcome {
    let acked_path = broker.scratch().join("acked");
    let mut command = program()?;
    command
        .arg(broker.address())
        .arg("produce")
        .arg(path)
        .arg(TOPIC)
        .arg(&acked_path);
    let mut producer = Running::start(command, |_| {}, |_| {})?;
    let acked = || std::fs::read_to_string(&acked_path).unwrap_or_default();
    eventually("acknowledgements", LIMIT, || {
        if !producer.runs() {
            return Err(format!("the producer ended too early: {}", producer.last_words()).into());
        }
        Ok(acked().lines().count() >= ACKED_BEFORE_KILL)
    })?;
    let before = acked();
    broker.kill()?;
    broker.boot()?;
    source.check_acked(&before, &read_all(broker)?)?;
    let mut of_group = read_with(broker, program()?, source.rows.len() / 8)?;
    let last_words = producer.last_words();
    let status = producer.end(LIMIT)?;
    if !status.success() {
        return Err(format!("the producer ended with {status}: {last_words}").into());
    }
    let told = acked();
    if told.lines().count() != source.rows.len() {
        return Err(format!("{} rows acknowledged", told.lines().count()).into());
    }
    broker.kill()?;
    broker.boot()?;
    let all = read_all(broker)?;
    source.check(&all, Span::All)?;
    source.check_acked(&told, &all)?;
    let left = source.rows.len().saturating_sub(of_group.lines().count());
    of_group.push_str(&read_with(broker, program()?, left)?);
    source
        .check(&of_group, Span::All)
        .map_err(|failure| format!("the group: {failure}"))?;
    Ok(())
}

/// Everything in the topic, as `partition TAB offset TAB key TAB value` lines.
fn read_all(broker: &Broker) -> Outcome<String> {
    kcat::whole(broker, TOPIC, "%p\\t%o\\t%k\\t%s\\n")
}

/// How long two members read.
#[derive(Clone, Copy)]
enum Until {
    /// So many records each.
    Each(usize),
    /// So many records together, which must be all there are.
    Together(usize),
}

/// Two `kcat -G` read, then commit and leave.
///
/// Only a member with nothing left to read may be asked to end by a signal: kcat drops the record it
/// is handed after one, and librdkafka has noted that record's offset as read already. So in the
/// midst of the records a member ends by its own count.
fn group_of_two(broker: &Broker, until: Until) -> Outcome<String> {
    let lines = Arc::new(Mutex::new((String::new(), 0usize)));
    let mut members = Vec::new();
    for _ in 0..2 {
        let mut command = kcat(broker);
        command.args(["-E", "-u", "-G", GROUP, "-f", "%p\\t%o\\t%k\\t%s\\n"]);
        command.args(["-X", "auto.offset.reset=earliest", "-X", "check.crcs=true"]);
        if let Until::Each(count) = until {
            command.args(["-c", &count.to_string()]);
        }
        command.arg(TOPIC);
        let kept = Arc::clone(&lines);
        members.push(Running::start(
            command,
            move |line| {
                let mut kept = locked(&kept);
                kept.0.push_str(line);
                kept.0.push('\n');
                kept.1 += 1;
            },
            |_| {},
        )?);
    }
    // No progress for long enough ends it too: the caller's check then says what is missing.
    let (mut seen, mut moved) = (0, Instant::now());
    eventually("the group's records", LIMIT, || {
        let mut running = 0;
        for member in &mut members {
            running += usize::from(member.runs());
        }
        let now = locked(&lines).1;
        if now > seen {
            (seen, moved) = (now, Instant::now());
        }
        let done = match until {
            Until::Each(_) => running == 0,
            Until::Together(_) if running < 2 => {
                let words: Vec<_> = members.iter().map(Running::last_words).collect();
                return Err(format!("a member ended: {}", words.join(" / ")).into());
            }
            Until::Together(count) => seen >= count,
        };
        Ok(done || moved.elapsed() > SILENCE)
    })?;
    for mut member in members {
        if member.runs() {
            member.terminate(LIMIT)?;
            continue;
        }
        let words = member.last_words();
        let status = member.end(LIMIT)?;
        if !status.success() {
            return Err(format!("a member ended with {status}: {words}").into());
        }
    }
    Ok(std::mem::take(&mut locked(&lines).0))
}

/// The library's own two members read `count` records, commit and leave.
fn read_with(broker: &Broker, mut command: Command, count: usize) -> Outcome<String> {
    let out = broker.scratch().join("read");
    command
        .arg(broker.address())
        .args(["read", TOPIC, GROUP, &count.to_string()])
        .arg(&out);
    program::run(command, None, LIMIT)?.good("the readers")?;
    Ok(std::fs::read_to_string(&out)?)
}

/// What kcat's `-vvv` said was delivered.
#[derive(Default)]
struct Acked {
    count: usize,
    failed: usize,
    /// Per partition, the highest offset.
    highest: HashMap<u32, u64>,
}

impl Acked {
    /// `% Message delivered to partition 3 (offset 17)`
    fn take(&mut self, line: &str) {
        if line.contains("Delivery failed") {
            self.failed += 1;
        }
        let Some((_, place)) = line.split_once("delivered to partition ") else {
            return;
        };
        self.count += 1;
        let mut numbers = place
            .split(|c: char| !c.is_ascii_digit())
            .filter(|word| !word.is_empty());
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
        if let (Some(partition), Some(offset)) = (number(numbers.next()), number(numbers.next())) {
            let partition = u32::try_from(partition).unwrap_or(u32::MAX);
            let highest = self.highest.entry(partition).or_default();
            *highest = offset.max(*highest);
        }
    }
}

/// How much of the source must be there.
#[derive(Clone, Copy, PartialEq)]
enum Span {
    /// No hole within a key's rows, but not all of them yet.
    SoFar,
    All,
}

/// The rows as they were given to the producers.
struct Source<'a> {
    text: &'a str,
    rows: Vec<(&'a str, &'a str)>,
    by_key: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Source<'a> {
    fn new(text: &'a str) -> Source<'a> {
        let rows: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .collect();
        let mut by_key: HashMap<&str, Vec<usize>> = HashMap::new();
        for (row, (key, _)) in rows.iter().enumerate() {
            by_key.entry(key).or_default().push(row);
        }
        Source { text, rows, by_key }
    }

    fn halves(&self) -> (&'a str, &'a str) {
        let middle = self.text.len() / 2;
        let at = self.text[middle..]
            .find('\n')
            .map_or(middle, |found| middle + found + 1);
        self.text.split_at(at)
    }

    /// Every row at most once (all of them, if so asked), whole, the rows of a key in their order and
    /// without a hole, all in one partition, offsets dense from 0. Returns each partition's end.
    fn check(&self, read: &str, span: Span) -> Outcome<HashMap<u32, u64>> {
        let mut lines = read.lines().map(Line::parse).collect::<Outcome<Vec<_>>>()?;
        lines.sort_by_key(|line| (line.partition, line.offset));
        let mut ends: HashMap<u32, u64> = HashMap::new();
        let mut seen_of: HashMap<&str, (u32, usize)> = HashMap::new();
        for line in &lines {
            let end = ends.entry(line.partition).or_default();
            if line.offset != *end {
                return Err(format!(
                    "partition {}: offset {} where {end} was due, {} lines in all",
                    line.partition,
                    line.offset,
                    lines.len()
                )
                .into());
            }
            *end += 1;
            let (partition, seen) = seen_of.entry(line.key).or_insert((line.partition, 0));
            if *partition != line.partition {
                return Err(format!("key {} is in two partitions", line.key).into());
            }
            let due = self
                .by_key
                .get(line.key)
                .and_then(|rows| rows.get(*seen))
                .copied();
            let same = due.is_some_and(|row| self.rows[row].1 == line.value);
            if !same {
                return Err(format!(
                    "key {}: row {due:?} was due at partition {} offset {}, not {}",
                    line.key, line.partition, line.offset, line.value
                )
                .into());
            }
            *seen += 1;
        }
        if span == Span::All && lines.len() != self.rows.len() {
            return Err(format!("{} of {} rows", lines.len(), self.rows.len()).into());
        }
        Ok(ends)
    }

    /// Every acknowledged `row TAB partition TAB offset` is in what was read, at that very place.
    fn check_acked(&self, acked: &str, read: &str) -> Outcome {
        self.check(read, Span::SoFar)?;
        let lines = read.lines().map(Line::parse).collect::<Outcome<Vec<_>>>()?;
        let at: HashMap<(u32, u64), &str> = lines
            .iter()
            .map(|line| ((line.partition, line.offset), line.value))
            .collect();
        // The last line may be cut short: the file was read while it was written.
        let whole = &acked[..acked.rfind('\n').map_or(0, |end| end + 1)];
        for line in whole.lines() {
            let mut words = line.split('\t').map(str::parse::<u64>);
            let (Some(Ok(row)), Some(Ok(partition)), Some(Ok(offset))) =
                (words.next(), words.next(), words.next())
            else {
                return Err(format!("an acknowledgement reads {line:?}").into());
            };
            let place = (u32::try_from(partition).unwrap_or(u32::MAX), offset);
            let wanted = usize::try_from(row).ok().and_then(|row| self.rows.get(row));
            if at.get(&place).copied() != wanted.map(|(_, value)| *value) {
                return Err(format!(
                    "row {row} was acknowledged at partition {partition} offset {offset}, where {:?} is",
                    at.get(&place)
                )
                .into());
            }
        }
        Ok(())
    }
}

/// One record as read.
struct Line<'a> {
    partition: u32,
    offset: u64,
    key: &'a str,
    value: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Outcome<Line<'a>> {
        let mut words = line.splitn(4, '\t');
        let parsed = (|| {
            Some(Line {
                partition: words.next()?.parse().ok()?,
                offset: words.next()?.parse().ok()?,
                key: words.next()?,
                value: words.next()?,
            })
        })();
        parsed.ok_or_else(|| format!("a record reads {line:?}").into())
    }
}

fn locked<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
