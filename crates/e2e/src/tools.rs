//! Kafka's own command-line tools, in sessions whose every answer is known.
//!
//! A session is a file under `golden/`: a line `$ tool arguments`, lines `< …` that the tool is given
//! (on its standard input, or as the file that `{file}` names), then what it prints, then `= exit N`
//! if it ends badly. Outputs were recorded from Apache Kafka 4.3.0; `E2E_RECORD=1` records anew. What
//! no two brokers share (ids, times, ports, column widths) is written the same way on both sides; groups
//! that the console consumer makes up for itself are left out.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::broker::Broker;
use crate::program::{self, Failure, Outcome, home, sources};
use crate::run::{Stage, Suite, Teller};

const LIMIT: Duration = Duration::from_secs(180);

/// The tools' sessions.
pub fn suite() -> Suite {
    Suite {
        client: "kafka-tools",
        stories: &["topics", "configs", "records", "groups", "cluster"],
        tell: |stage, stories, teller| tell(stage, stories, teller),
    }
}

fn tell(stage: &mut Stage, stories: &[&'static str], teller: &mut Teller) {
    // Their lists show every topic and group, so they get a broker where nobody else was.
    let mut broker = stage.fresh();
    for story in stories {
        teller.time(story, || match &mut broker {
            Ok(broker) => session(broker, story),
            Err(failure) => Err(Failure::Wrong(failure.to_string())),
        });
    }
}

/// One command of a session.
struct Step {
    line: String,
    given: Vec<String>,
    wanted: Vec<String>,
}

fn session(broker: &mut Broker, name: &str) -> Outcome {
    let path = sources().join("golden").join(format!("{name}.txt"));
    let steps = read(&std::fs::read_to_string(&path)?);
    let record = std::env::var_os("E2E_RECORD").is_some();
    let (mut recorded, mut wrong) = (String::new(), String::new());
    for step in &steps {
        let got = run(broker, step)?;
        if got != step.wanted {
            let differs = (0..got.len().max(step.wanted.len()))
                .filter(|at| got.get(*at) != step.wanted.get(*at))
                .map(|at| {
                    let line = |of: &[String]| of.get(at).cloned().unwrap_or_default();
                    format!(
                        "\n  wanted: {}\n  got:    {}",
                        line(&step.wanted),
                        line(&got)
                    )
                });
            wrong.push_str(&format!("$ {}{}\n", step.line, differs.collect::<String>()));
        }
        let mut say =
            |line: std::fmt::Arguments<'_>| writeln!(recorded, "{line}").map_err(|e| e.to_string());
        say(format_args!("$ {}", step.line))?;
        for line in &step.given {
            say(format_args!("< {line}"))?;
        }
        for line in &got {
            say(format_args!("{line}"))?;
        }
        if let Some(death) = broker.death() {
            return Err(format!("{wrong}{death}").into());
        }
    }
    if record {
        std::fs::write(&path, recorded)?;
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
                given: Vec::new(),
                wanted: Vec::new(),
            });
        } else if let Some(step) = steps.last_mut() {
            match line.strip_prefix("< ") {
                Some(given) => step.given.push(given.to_owned()),
                None => step.wanted.push(line.to_owned()),
            }
        }
    }
    steps
}

fn run(broker: &Broker, step: &Step) -> Outcome<Vec<String>> {
    let mut words = step.line.split(' ');
    let class = match words.next().unwrap_or_default() {
        "topics" => "org.apache.kafka.tools.TopicCommand",
        "configs" => "kafka.admin.ConfigCommand",
        "groups" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        "offsets" => "org.apache.kafka.tools.GetOffsetShell",
        "delete-records" => "org.apache.kafka.tools.DeleteRecordsCommand",
        "elections" => "org.apache.kafka.tools.LeaderElectionCommand",
        "reassign" => "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
        "features" => "org.apache.kafka.tools.FeatureCommand",
        "quorum" => "org.apache.kafka.tools.MetadataQuorumCommand",
        "transactions" => "org.apache.kafka.tools.TransactionsCommand",
        "all-groups" => "org.apache.kafka.tools.GroupsCommand",
        "console-producer" => "org.apache.kafka.tools.ConsoleProducer",
        "console-consumer" => "org.apache.kafka.tools.consumer.ConsoleConsumer",
        other => return Err(format!("no tool called {other}").into()),
    };
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
    command.args(["--bootstrap-server", &broker.address()]);
    for word in words {
        if word == "{file}" {
            std::fs::write(&file, &input)?;
            input.clear();
            command.arg(&file);
        } else {
            command.arg(word);
        }
    }
    let said = program::run(command, Some(input.as_bytes()), LIMIT)?;
    let mut lines: Vec<String> = said
        .out
        .lines()
        .map(|line| alike(line, &broker.address(), &file))
        .filter(|line| !line.is_empty() && !line.starts_with("console-consumer-"))
        .collect();
    if step.line == "groups --list" {
        lines.sort(); // Kafka lists them in no order
    }
    if !said.status.success() {
        lines.push(format!("= exit {}", said.status.code().unwrap_or(-1)));
    }
    Ok(lines)
}

/// A line with everything rewritten that no two brokers share.
fn alike(line: &str, address: &str, file: &Path) -> String {
    let line = line
        .replace(address, "BROKER")
        .replace(&file.display().to_string(), "FILE");
    // Kafka 4.3 adds its eligible-leader lists, which say nothing on one node.
    let line = line.split("Elr:").next().unwrap_or_default();
    // With those lists on, Kafka also sets this default on the cluster.
    let line = line
        .replace("min.insync.replicas=1,", "")
        .replace("min.insync.replicas=1", "");
    let line = match line.split_once("\"log_dirs\":[\"") {
        Some((before, after)) => {
            let after = after.split_once('"').map_or("", |(_, after)| after);
            format!("{before}\"log_dirs\":[\"DIR\"{after}")
        }
        None => line,
    };
    let mut out: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let before = out.last().map(String::as_str).unwrap_or_default();
        out.push(match before {
            "TopicId:" | "ClusterId:" => "ID".to_owned(),
            "HighWatermark:" | "LeaderEpoch:" if digits(word) => "NUMBER".to_owned(),
            "LeaderId:" if digits(word) => "NODE".to_owned(),
            // Kafka names its controllers' listener, which does not exist here.
            "\"endpoints\":" => "ENDPOINTS".to_owned(),
            "Leader:" | "Replicas:" | "Isr:" if digits(word) => "NODE".to_owned(),
            "BROKER" if word.starts_with('(') => "(NODE)".to_owned(),
            _ if word.len() == 13 && digits(word) => "TIME".to_owned(),
            _ => word.to_owned(),
        });
    }
    out.join(" ")
}

fn digits(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_digit())
}
