//! kcat 1.7.1, which carries the librdkafka 2.0.2 of Debian: the tool of every tutorial.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::broker::Broker;
use crate::libraries::create_topic;
use crate::program::{self, Failure, Outcome, Running, eventually};
use crate::run::{Stage, Suite, Teller};

const LIMIT: Duration = Duration::from_secs(180);
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: usize = 6;

/// kcat's stories.
pub fn suite() -> Suite {
    Suite {
        client: "kcat",
        stories: &["metadata", "codecs", "group", "resume", "offsets"],
        tell: |stage, stories, teller| tell(stage, stories, teller),
    }
}

fn tell(stage: &mut Stage, stories: &[&'static str], teller: &mut Teller) {
    for story in stories {
        teller.time(story, || {
            let broker = stage.shared()?;
            let topic = format!("e2e-kcat-{story}");
            create_topic(broker, &topic)?;
            let outcome = match *story {
                "metadata" => metadata(broker, &topic),
                "codecs" => codecs(broker, &topic),
                "group" => group(broker, &topic),
                "resume" => resume(broker, &topic),
                _ => offsets(broker, &topic),
            };
            match (outcome, broker.death()) {
                (Err(failure), Some(death)) => Err(format!("{failure}\n{death}").into()),
                (outcome, _) => outcome,
            }
        });
    }
}

/// kcat against `broker`.
pub fn kcat(broker: &Broker) -> Command {
    let mut command = Command::new("kcat");
    command.args([
        "-b",
        &broker.address(),
        "-m",
        "60",
        "-X",
        "reconnect.backoff.max.ms=500",
    ]);
    command
}

/// Everything in a topic, from its beginning to its end as it is now, a line a record as `format` says.
pub fn whole(broker: &Broker, topic: &str, format: &str) -> Outcome<String> {
    let mut command = kcat(broker);
    command.args(["-C", "-t", topic, "-o", "beginning", "-e", "-q"]);
    command.args(["-X", "check.crcs=true", "-f", format]);
    program::run(command, None, LIMIT)?.good("kcat -C")
}

/// `kcat -L` names the broker, the topic and six led partitions.
fn metadata(broker: &Broker, topic: &str) -> Outcome {
    eventually("the topic to show with leaders", LIMIT, || {
        let mut command = kcat(broker);
        command.args(["-L", "-J", "-t", topic]);
        let said = program::run(command, None, LIMIT)?.good("kcat -L")?;
        let seen: Value =
            serde_json::from_str(&said).map_err(|error| format!("{error}: {said}"))?;
        let address = seen["brokers"][0]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if address != broker.address() {
            return Err(format!("the broker calls itself {address}").into());
        }
        let partitions = seen["topics"][0]["partitions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let led = |p: &Value| p["leader"] == seen["brokers"][0]["id"];
        Ok(partitions.len() == PARTITIONS && partitions.iter().all(led))
    })
}

/// Keyed records with headers through every codec, read back whole.
fn codecs(broker: &Broker, topic: &str) -> Outcome {
    let mut wanted = Vec::new();
    for codec in CODECS {
        let batch = numbered(wanted.len(), 600, codec);
        produce(broker, topic, codec, &batch)?;
        wanted.extend(batch);
    }
    let mut command = kcat(broker);
    command.args([
        "-C",
        "-t",
        topic,
        "-o",
        "beginning",
        "-e",
        "-q",
        "-J",
        "-X",
        "check.crcs=true",
    ]);
    let said = program::run(command, None, LIMIT)?.good("kcat -C")?;
    let got: Vec<Read> = said.lines().map(parse).collect::<Outcome<_>>()?;
    check_exact(&got, &wanted)?;
    check_dense(&got)
}

/// A group of two: one joins, one leaves, every record is read once.
fn group(broker: &Broker, topic: &str) -> Outcome {
    let id = format!("{topic}-readers");
    let mut wanted = Vec::new();
    let more = |wanted: &mut Vec<Row>| {
        let batch = numbered(wanted.len(), 600, "zstd");
        wanted.extend(batch.clone());
        produce(broker, topic, "zstd", &batch)
    };
    more(&mut wanted)?;
    let mut first = Member::join(broker, &id, topic)?;
    eventually("the first member to read all", LIMIT, || {
        Ok(first.healthy()? && first.holds() == PARTITIONS && first.count() >= wanted.len())
    })?;
    let mut second = Member::join(broker, &id, topic)?;
    eventually("two members to hold three each", LIMIT, || {
        let healthy = first.healthy()? && second.healthy()?;
        Ok(healthy && first.holds() == 3 && second.holds() == 3)
    })?;
    more(&mut wanted)?;
    eventually("two members to read all", LIMIT, || {
        let healthy = first.healthy()? && second.healthy()?;
        Ok(healthy && first.count() + second.count() >= wanted.len())
    })?;
    let mut got = first.leave()?;
    eventually("the member that stays to hold all", LIMIT, || {
        Ok(second.healthy()? && second.holds() == PARTITIONS)
    })?;
    more(&mut wanted)?;
    eventually("the member that stays to read all", LIMIT, || {
        Ok(second.healthy()? && got.len() + second.count() >= wanted.len())
    })?;
    let of_second = second.leave()?;
    if of_second.is_empty() {
        return Err("the second member read nothing".into());
    }
    got.extend(of_second);
    check_exact(&got, &wanted)
}

/// A reader that commits and stops is continued exactly where it was.
fn resume(broker: &Broker, topic: &str) -> Outcome {
    let wanted = numbered(0, 900, "none");
    produce(broker, topic, "none", &wanted)?;
    let id = format!("{topic}-readers");
    let mut command = member(broker, &id, topic);
    command.args(["-c", "250"]);
    let said = program::run(command, None, LIMIT)?.good("kcat -G")?;
    let mut got: Vec<Read> = said.lines().map(parse).collect::<Outcome<_>>()?;
    if got.len() != 250 {
        return Err(format!("asked for 250 records, read {}", got.len()).into());
    }
    let mut second = Member::join(broker, &id, topic)?;
    eventually("the rest", LIMIT, || {
        Ok(second.healthy()? && second.count() >= wanted.len() - 250)
    })?;
    got.extend(second.leave()?);
    check_exact(&got, &wanted)
}

/// Earliest, latest and by-time offsets, between two produced halves.
fn offsets(broker: &Broker, topic: &str) -> Outcome {
    produce(broker, topic, "none", &numbered(0, 300, "early"))?;
    let between = millis() + 1;
    eventually("the clock to move on", LIMIT, || Ok(millis() > between))?;
    let earlier = by_partition(&read_all(broker, topic)?);
    produce(broker, topic, "gzip", &numbered(300, 300, "late"))?;
    let all = by_partition(&read_all(broker, topic)?);
    let count = |of: &BTreeMap<i64, usize>, p| *of.get(&p).unwrap_or(&0) as i64;
    for p in 0..PARTITIONS as i64 {
        for (when, wanted) in [
            (-2, 0),
            (-1, count(&all, p)),
            (0, if count(&all, p) == 0 { -1 } else { 0 }),
            (
                between,
                if count(&all, p) == count(&earlier, p) {
                    -1
                } else {
                    count(&earlier, p)
                },
            ),
            (millis() + 3_600_000, -1),
        ] {
            let mut command = kcat(broker);
            command.args(["-Q", "-t", &format!("{topic}:{p}:{when}")]);
            let said = program::run(command, None, LIMIT)?.good("kcat -Q")?;
            let got = said
                .trim()
                .rsplit(' ')
                .next()
                .and_then(|word| word.parse::<i64>().ok());
            if got != Some(wanted) {
                return Err(format!("partition {p} at {when}: {said:?}, not {wanted}").into());
            }
        }
    }
    Ok(())
}

/// One record as produced.
#[derive(Clone)]
struct Row {
    key: String,
    value: String,
    tag: String,
}

/// One record as kcat shows it.
struct Read {
    partition: i64,
    offset: i64,
    key: String,
    value: String,
    headers: Vec<(String, String)>,
}

/// `count` records over 37 keys; the value starts with the record's number.
fn numbered(start: usize, count: usize, tag: &str) -> Vec<Row> {
    (start..start + count)
        .map(|i| Row {
            key: format!("key-{}", i % 37),
            value: format!("{i}:{tag}:{}", "abcdefgh".repeat(i % 23)),
            tag: tag.to_owned(),
        })
        .collect()
}

fn produce(broker: &Broker, topic: &str, codec: &str, rows: &[Row]) -> Outcome {
    let mut command = kcat(broker);
    command.args([
        "-P", "-t", topic, "-K", "\\t", "-z", codec, "-X", "acks=all",
    ]);
    command.args(["-X", "enable.idempotence=true", "-X", "linger.ms=20"]);
    let tag = rows.first().map(|row| row.tag.clone()).unwrap_or_default();
    command.args([
        "-H",
        &format!("tag={tag}"),
        "-H",
        "tag=again",
        "-H",
        "from=kcat",
    ]);
    let input: String = rows
        .iter()
        .map(|row| format!("{}\t{}\n", row.key, row.value))
        .collect();
    let said = program::run(command, Some(input.as_bytes()), LIMIT)?;
    if said.err.contains("Delivery failed") {
        return Err(Failure::Wrong(program::tail(&said.err, 4)));
    }
    said.good("kcat -P").map(drop)
}

fn read_all(broker: &Broker, topic: &str) -> Outcome<Vec<Read>> {
    let mut command = kcat(broker);
    command.args(["-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J"]);
    program::run(command, None, LIMIT)?
        .good("kcat -C")?
        .lines()
        .map(parse)
        .collect()
}

fn parse(line: &str) -> Outcome<Read> {
    let seen: Value = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let words: Vec<String> = seen["headers"]
        .as_array()
        .map(|all| all.iter().map(text).collect())
        .unwrap_or_default();
    Ok(Read {
        partition: seen["partition"].as_i64().unwrap_or(-1),
        offset: seen["offset"].as_i64().unwrap_or(-1),
        key: text(&seen["key"]),
        value: text(&seen["payload"]),
        headers: words
            .chunks_exact(2)
            .map(|two| (two[0].clone(), two[1].clone()))
            .collect(),
    })
}

fn check_exact(got: &[Read], wanted: &[Row]) -> Outcome {
    let number = |value: &str| {
        value
            .split(':')
            .next()
            .and_then(|n| n.parse::<usize>().ok())
    };
    let mut left: BTreeMap<usize, &Row> = wanted
        .iter()
        .filter_map(|row| Some((number(&row.value)?, row)))
        .collect();
    let mut last: HashMap<&str, usize> = HashMap::new();
    for read in got {
        let n = number(&read.value).ok_or_else(|| format!("a record reads {:?}", read.value))?;
        let row = left
            .remove(&n)
            .ok_or_else(|| format!("record {n} came twice or was never produced"))?;
        if read.key != row.key || read.value != row.value {
            return Err(format!("record {n} changed").into());
        }
        let headers = [
            ("tag", row.tag.as_str()),
            ("tag", "again"),
            ("from", "kcat"),
        ];
        if !read
            .headers
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .eq(headers)
        {
            return Err(format!("record {n} has headers {:?}", read.headers).into());
        }
        if let Some(before) = last.insert(&read.key, n)
            && before >= n
        {
            return Err(format!("record {n} after {before} of the same key").into());
        }
    }
    match left.keys().next() {
        None => Ok(()),
        Some(first) => Err(format!("{} records are missing, first {first}", left.len()).into()),
    }
}

fn check_dense(got: &[Read]) -> Outcome {
    let mut at: HashMap<i64, i64> = HashMap::new();
    for read in got {
        let next = at.entry(read.partition).or_default();
        if read.offset != *next {
            let p = read.partition;
            return Err(
                format!("partition {p}: offset {} where {next} was due", read.offset).into(),
            );
        }
        *next += 1;
    }
    Ok(())
}

fn by_partition(got: &[Read]) -> BTreeMap<i64, usize> {
    let mut counts = BTreeMap::new();
    for read in got {
        *counts.entry(read.partition).or_default() += 1;
    }
    counts
}

fn millis() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

fn member(broker: &Broker, group: &str, topic: &str) -> Command {
    let mut command = kcat(broker);
    command.args([
        "-G",
        group,
        "-u",
        "-J",
        "-X",
        "auto.offset.reset=earliest",
        topic,
    ]);
    command
}

/// `kcat -G`, with what it printed so far.
struct Member {
    running: Running,
    lines: program::Lines,
    assigned: Arc<Mutex<BTreeSet<i64>>>,
}

impl Member {
    fn join(broker: &Broker, group: &str, topic: &str) -> Outcome<Member> {
        let lines = program::Lines::default();
        let assigned = Arc::new(Mutex::new(BTreeSet::new()));
        let (kept, held) = (Arc::clone(&lines), Arc::clone(&assigned));
        let running = Running::start(
            member(broker, group, topic),
            move |line| locked(&kept).push(line.to_owned()),
            // "% Group … rebalanced (memberid …): assigned: topic [0], topic [1]", or "revoked: …"
            move |line| {
                let Some((_, change)) = line.split_once("rebalanced") else {
                    return;
                };
                let mut held = locked(&held);
                let named = change
                    .split('[')
                    .skip(1)
                    .filter_map(|p| p.split(']').next()?.parse().ok());
                if change.contains("assigned:") {
                    held.extend(named);
                } else {
                    for p in named {
                        held.remove(&p);
                    }
                }
            },
        )?;
        Ok(Member {
            running,
            lines,
            assigned,
        })
    }

    fn healthy(&mut self) -> Outcome<bool> {
        if self.running.runs() {
            return Ok(true);
        }
        Err(format!("a member ended: {}", self.running.last_words()).into())
    }

    fn holds(&self) -> usize {
        locked(&self.assigned).len()
    }

    fn count(&self) -> usize {
        locked(&self.lines).len()
    }

    fn leave(self) -> Outcome<Vec<Read>> {
        self.running.terminate(LIMIT)?;
        locked(&self.lines).iter().map(|line| parse(line)).collect()
    }
}

fn locked<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}
