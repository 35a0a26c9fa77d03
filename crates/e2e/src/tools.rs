//! Kafka's own command-line tools, in sessions whose every answer is known.
//!
//! A session is a file under `golden/`: a line `$ tool arguments`, lines `< …` that the tool is given
//! (on its standard input, or as the file that `{file}` names), then what it prints, then `= exit N`
//! if it ends badly. Outputs were recorded from Apache Kafka 4.3.0; `--golden-from HOST:PORT` records
//! anew from one that runs there and was never used. Where this broker answers otherwise, a line `! …`
//! says why, and lines `> …` are what it prints instead. What no two brokers share (ids, times, ports,
//! column widths) is written the same way on both sides; groups that the console consumer makes up for
//! itself are left out. `docs/tools.md` is written from all that, and checked.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::broker::Broker;
use crate::program::{self, Failure, Outcome, home, sources};
use crate::run::{Stage, Suite, Teller};

const LIMIT: Duration = Duration::from_secs(180);
const SESSIONS: &[&str] = &[
    "topics", "configs", "records", "groups", "cluster", "nodes", "load",
];
const STORIES: &[&str] = &[
    "topics", "configs", "records", "groups", "cluster", "quotas", "nodes", "load", "page",
];

/// The tools' sessions, and the page about them.
pub fn suite() -> Suite {
    Suite {
        client: "kafka-tools",
        stories: STORIES,
        tell: |stage, stories, teller| tell(stage, stories, teller),
    }
}

/// A tool: its name in a session, the script that starts it in Kafka's release, its class, and whether
/// it takes the broker's address before or behind its other arguments.
struct Tool(&'static str, &'static str, &'static str, Place);

#[derive(Clone, Copy)]
enum Place {
    First,
    Last,
}

const TOOLS: &[Tool] = &[
    Tool(
        "topics",
        "kafka-topics",
        "org.apache.kafka.tools.TopicCommand",
        Place::First,
    ),
    Tool(
        "configs",
        "kafka-configs",
        "kafka.admin.ConfigCommand",
        Place::First,
    ),
    Tool(
        "groups",
        "kafka-consumer-groups",
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        Place::First,
    ),
    Tool(
        "all-groups",
        "kafka-groups",
        "org.apache.kafka.tools.GroupsCommand",
        Place::First,
    ),
    Tool(
        "offsets",
        "kafka-get-offsets",
        "org.apache.kafka.tools.GetOffsetShell",
        Place::First,
    ),
    Tool(
        "delete-records",
        "kafka-delete-records",
        "org.apache.kafka.tools.DeleteRecordsCommand",
        Place::First,
    ),
    Tool(
        "log-dirs",
        "kafka-log-dirs",
        "org.apache.kafka.tools.LogDirsCommand",
        Place::First,
    ),
    Tool(
        "elections",
        "kafka-leader-election",
        "org.apache.kafka.tools.LeaderElectionCommand",
        Place::First,
    ),
    Tool(
        "quorum",
        "kafka-metadata-quorum",
        "org.apache.kafka.tools.MetadataQuorumCommand",
        Place::First,
    ),
    Tool(
        "features",
        "kafka-features",
        "org.apache.kafka.tools.FeatureCommand",
        Place::First,
    ),
    Tool(
        "nodes",
        "kafka-cluster",
        "org.apache.kafka.tools.ClusterTool",
        Place::Last,
    ),
    Tool(
        "reassign",
        "kafka-reassign-partitions",
        "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
        Place::First,
    ),
    Tool(
        "transactions",
        "kafka-transactions",
        "org.apache.kafka.tools.TransactionsCommand",
        Place::First,
    ),
    Tool(
        "console-producer",
        "kafka-console-producer",
        "org.apache.kafka.tools.ConsoleProducer",
        Place::First,
    ),
    Tool(
        "console-consumer",
        "kafka-console-consumer",
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        Place::First,
    ),
    Tool(
        "verifiable-producer",
        "kafka-verifiable-producer",
        "org.apache.kafka.tools.VerifiableProducer",
        Place::First,
    ),
    Tool(
        "perf-producer",
        "kafka-producer-perf-test",
        "org.apache.kafka.tools.ProducerPerformance",
        Place::First,
    ),
];

/// What is written the same way on both sides, and why.
const ALIKE: &[(&str, &str)] = &[
    (
        "the broker's address and port, ids of topics and clusters, times, widths of columns",
        "no two clusters share them",
    ),
    (
        "numbers of nodes in lists of replicas",
        "another configuration may number its node otherwise",
    ),
    (
        "the high watermark, epoch and log end of the metadata log, and the epoch of features",
        "they count what a cluster has done since it was made",
    ),
    (
        "the path and the order of what a log directory holds",
        "Kafka lists it in no order",
    ),
    (
        "rates and latencies that a load prints",
        "they are measured",
    ),
    (
        "`Elr:` and `LastKnownElr:` in descriptions of topics, and the `min.insync.replicas` that Kafka sets with them",
        "lists of eligible leaders say nothing on one node",
    ),
    (
        "the endpoints of voters",
        "Kafka names the listener of its controllers, which does not exist here",
    ),
    (
        "groups called `console-consumer-…`",
        "the console consumer makes them up",
    ),
];

fn tell(stage: &mut Stage, stories: &[&'static str], teller: &mut Teller) {
    // Their lists show every topic and group, so they get a broker where nobody else was.
    let mut broker = None;
    let peer = stage.binary().is_none();
    for story in stories {
        teller.time(story, || {
            if *story == "page" {
                return page(stage.records());
            }
            if broker.is_none() {
                broker = Some(stage.fresh()?);
            }
            match &mut broker {
                Some(broker) => session(broker, story, peer, stage.records()),
                None => Err("no broker".into()),
            }
        });
    }
}

/// One command of a session.
#[derive(Default)]
struct Step {
    line: String,
    given: Vec<String>,
    /// What Apache Kafka prints.
    wanted: Vec<String>,
    /// Why this broker prints something else, and what.
    why: Vec<String>,
    ours: Vec<String>,
}

impl Step {
    fn differs(&self) -> bool {
        !self.why.is_empty()
    }
}

fn golden(name: &str) -> PathBuf {
    sources().join("golden").join(format!("{name}.txt"))
}

fn session(broker: &mut Broker, name: &str, peer: bool, record: bool) -> Outcome {
    let steps = read(&std::fs::read_to_string(golden(name))?);
    let (mut recorded, mut wrong) = (String::new(), String::new());
    for step in &steps {
        let got = run(broker, step)?;
        let wanted = if step.differs() && !peer {
            &step.ours
        } else {
            &step.wanted
        };
        if got != *wanted {
            let differs = (0..got.len().max(wanted.len()))
                .filter(|at| got.get(*at) != wanted.get(*at))
                .map(|at| {
                    let line = |of: &[String]| of.get(at).cloned().unwrap_or_default();
                    format!("\n  wanted: {}\n  got:    {}", line(wanted), line(&got))
                });
            wrong.push_str(&format!("$ {}{}\n", step.line, differs.collect::<String>()));
        }
        let parts = [
            ("$ ", std::slice::from_ref(&step.line)),
            ("< ", &step.given),
            ("", &got),
            ("! ", &step.why),
            ("> ", &step.ours),
        ];
        for (mark, lines) in parts {
            for line in lines {
                writeln!(recorded, "{mark}{line}").map_err(|error| error.to_string())?;
            }
        }
        if let Some(death) = broker.death() {
            return Err(format!("{wrong}{death}").into());
        }
    }
    if record {
        std::fs::write(golden(name), recorded)?;
        return Ok(());
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.trim_end().into())
    }
}

fn read(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("$ ") {
            steps.push(Step {
                line: line.to_owned(),
                ..Step::default()
            });
        } else if let Some(step) = steps.last_mut() {
            let (mark, rest) = line.split_at_checked(2).unwrap_or((line, ""));
            match mark {
                "< " => step.given.push(rest.to_owned()),
                "! " => step.why.push(rest.to_owned()),
                "> " => step.ours.push(rest.to_owned()),
                _ => step.wanted.push(line.to_owned()),
            }
        }
    }
    steps
}

/// Writes the page anew, or says that it is not what it would be.
fn page(record: bool) -> Outcome {
    let path = sources().join("../../docs/tools.md");
    let page = written()?;
    if record {
        std::fs::write(&path, page)?;
        return Ok(());
    }
    match std::fs::read_to_string(&path) {
        Ok(text) if text == page => Ok(()),
        _ => Err("docs/tools.md is not what `e2e --write-pages` writes".into()),
    }
}

fn written() -> Outcome<String> {
    let mut sessions = Vec::new();
    for name in SESSIONS {
        sessions.push(read(&std::fs::read_to_string(golden(name))?));
    }
    let steps = || sessions.iter().flatten();
    let of = |tool: &Tool, step: &Step| step.line.split(' ').next() == Some(tool.0);
    let mut out = String::from(
        "# Kafka's command-line tools\n\n\
         Written by `e2e --write-pages`; do not edit. Kafka's own tools, version 4.3.0, unchanged, run\n\
         against this broker in every test run. What they print is compared, line by line, with what they\n\
         print against Apache Kafka 4.3.0; that was recorded by `e2e --golden-from HOST:PORT kafka-tools`\n\
         and lies in `crates/e2e/golden`.\n\n\
         | tool | commands compared | answered otherwise |\n|---|---|---|\n",
    );
    let mut say =
        |line: std::fmt::Arguments<'_>| writeln!(out, "{line}").map_err(|e| e.to_string());
    for tool in TOOLS {
        let all = steps().filter(|step| of(tool, step)).count();
        let other = steps()
            .filter(|step| of(tool, step) && step.differs())
            .count();
        say(format_args!("| `{}` | {all} | {other} |", tool.1))?;
    }
    say(format_args!("\n## Where the answer differs\n"))?;
    for tool in TOOLS {
        for step in steps().filter(|step| of(tool, step) && step.differs()) {
            let arguments = step.line.split_once(' ').map_or("", |(_, rest)| rest);
            say(format_args!(
                "`{} {arguments}`: {}\n",
                tool.1,
                step.why.join(" ")
            ))?;
            say(format_args!("```text\nApache Kafka:"))?;
            for line in &step.wanted {
                say(format_args!("  {line}"))?;
            }
            say(format_args!("here:"))?;
            for line in &step.ours {
                say(format_args!("  {line}"))?;
            }
            say(format_args!("```\n"))?;
        }
    }
    say(format_args!(
        "## What is not compared\n\n| what | why |\n|---|---|"
    ))?;
    for (what, why) in ALIKE {
        say(format_args!("| {what} | {why} |"))?;
    }
    Ok(out)
}

fn run(broker: &Broker, step: &Step) -> Outcome<Vec<String>> {
    let mut words = step.line.split(' ');
    let name = words.next().unwrap_or_default();
    let Tool(_, _, class, place) = TOOLS
        .iter()
        .find(|tool| tool.0 == name)
        .ok_or_else(|| format!("no tool called {name}"))?;
    let libraries = home().join("tools/libs");
    if !libraries.is_dir() {
        return Err(Failure::Missing(libraries.display().to_string()));
    }
    let mut input: String = step.given.iter().map(|line| format!("{line}\n")).collect();
    let file = broker.scratch().join("given");
    let mut command = Command::new("java");
    // Short runs: start fast rather than run fast.
    command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"]);
    command.arg(format!("{}/*", libraries.display())).arg(class);
    let address = ["--bootstrap-server", &broker.address()];
    if let Place::First = place {
        command.args(address);
    }
    for word in words {
        if word == "{file}" {
            std::fs::write(&file, &input)?;
            input.clear();
            command.arg(&file);
        } else {
            command.arg(word);
        }
    }
    if let Place::Last = place {
        command.args(address);
    }
    let said = program::run(command, Some(input.as_bytes()), LIMIT)?;
    let mut lines: Vec<String> = said
        .out
        .lines()
        .map(|line| match name {
            "log-dirs" => directories(line),
            "perf-producer" => measured(line),
            _ => line.to_owned(),
        })
        .map(|line| alike(&line, broker, &file))
        .filter(|line| !line.is_empty() && !line.starts_with("console-consumer-"))
        .filter(|line| !line.starts_with("sensitive=")) // what is left of min.insync.replicas
        .collect();
    // Kafka lists these in no order.
    if step.line == "groups --list"
        || step
            .line
            .ends_with("--entity-type users --entity-type clients")
    {
        lines.sort();
    }
    if !said.status.success() {
        lines.push(format!("= exit {}", said.status.code().unwrap_or(-1)));
    }
    Ok(lines)
}

/// The answer about log directories, in order, without their paths.
fn directories(line: &str) -> String {
    let Ok(mut seen) = serde_json::from_str::<serde_json::Value>(line) else {
        return line.to_owned();
    };
    for broker in seen["brokers"].as_array_mut().into_iter().flatten() {
        for directory in broker["logDirs"].as_array_mut().into_iter().flatten() {
            directory["logDir"] = "DIR".into();
            if let Some(partitions) = directory["partitions"].as_array_mut() {
                partitions.sort_by_key(|partition| partition["partition"].to_string());
            }
        }
    }
    seen.to_string()
}

/// A line about a load, without what was measured.
fn measured(line: &str) -> String {
    let words = line.split(' ').enumerate().map(|(at, word)| {
        let number = word.trim_start_matches('(');
        match at > 0
            && number.starts_with(|first: char| first.is_ascii_digit())
            && !number.ends_with("th")
            && !number.ends_with("th,")
            && !number.ends_with("th.")
        {
            true => word.replace(number, "NUMBER"),
            false => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A line with everything rewritten that no two brokers share.
fn alike(line: &str, broker: &Broker, file: &Path) -> String {
    let line = line
        .replace(&broker.address(), "BROKER")
        .replace(&file.display().to_string(), "FILE");
    // Kafka 4.3 adds its eligible-leader lists, which say nothing on one node.
    let line = line.split("Elr:").next().unwrap_or_default();
    // With those lists on, Kafka also sets this default on the cluster.
    let line = line
        .replace("min.insync.replicas=1,", "")
        .replace("min.insync.replicas=1", "");
    let line = hidden(&line, "\"log_dirs\":[\"", '"', "DIR");
    let line = hidden(&line, "\"topicId\":\"", '"', "ID");
    let line = hidden(&line, "\"avg_throughput\":", '}', "NUMBER");
    let mut out: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let before = out.last().map(String::as_str).unwrap_or_default();
        out.push(match before {
            "TopicId:" | "ClusterId:" => "ID".to_owned(),
            "ID:" if out.first().is_some_and(|first| first == "Cluster") => "ID".to_owned(),
            "HighWatermark:" | "LeaderEpoch:" | "Epoch:" if digits(word) => "NUMBER".to_owned(),
            "LeaderId:" if digits(word) => "NODE".to_owned(),
            // Kafka names its controllers' listener, which does not exist here.
            "\"endpoints\":" => "ENDPOINTS".to_owned(),
            "Leader:" | "Replicas:" | "Isr:" if digits(word) => "NODE".to_owned(),
            "BROKER" if word.starts_with('(') => "(NODE)".to_owned(),
            "127.0.0.1" if word == broker.port().to_string() => "PORT".to_owned(),
            _ => timeless(word),
        });
    }
    // A row of the table about the quorum's voters: node, directory, end of its log, lag, times, role.
    if let [_, _, end, _, "TIME", "TIME", _] =
        out.iter().map(String::as_str).collect::<Vec<_>>()[..]
        && digits(end)
    {
        out[1] = "ID".to_owned();
        out[2] = "NUMBER".to_owned();
    }
    out.join(" ")
}

/// A line with what lies between `before` and `end` replaced, wherever both are there.
fn hidden(line: &str, before: &str, end: char, by: &str) -> String {
    let mut parts = line.split(before);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.find(end).map_or("", |at| &part[at..]);
        out.push_str(before);
        out.push_str(by);
        out.push_str(rest);
    }
    out
}

/// A word with each number of thirteen digits, a time in milliseconds, written as TIME.
fn timeless(word: &str) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let (head, tail) = rest.split_at(at);
        let length = tail
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (number, tail) = tail.split_at(length);
        out.push_str(head);
        out.push_str(if length == 13 { "TIME" } else { number });
        rest = tail;
    }
    out + rest
}

fn digits(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}
