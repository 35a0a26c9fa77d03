//! The client libraries: one program per language under `clients/`, each telling the same six stories
//! and printing a JSON line for each. Those that know groups assigned by the broker (KIP-848) tell the
//! stories of groups by that protocol too.

use std::ffi::OsString;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::program::{self, Failure, Outcome, home, sources, tail};
use crate::run::{Stage, Suite, Teller};

const STORIES: &[&str] = &["topic", "codecs", "group", "resume", "offsets", "configs"];
/// By the protocol of KIP-848, for clients that speak both.
const BOTH: &[&str] = &["group", "resume", "migrate"];
/// The same with what only the newest Java client can do and see.
const JAVA_848: &[&str] = &["group", "resume", "three", "static", "migrate", "killed"];
/// What administrators ask, with the newest Java client.
const ADMIN: &[&str] = &["replicas", "producers", "cluster"];
/// For all of a client together; each has its own, shorter limits inside.
const LIMIT: Duration = Duration::from_secs(900);

/// The suites, one per client library.
pub fn suites() -> Vec<Suite> {
    macro_rules! library {
        ($client:literal, $command:expr) => {
            library!($client, $command, STORIES)
        };
        ($client:literal, $command:expr, $stories:expr) => {
            Suite {
                client: $client,
                stories: $stories,
                tell: |stage, stories, teller| tell($client, $command, stage, stories, teller),
            }
        };
    }
    vec![
        library!("confluent", || python("stories.py")),
        library!("confluent-848", || python("stories.py"), BOTH),
        library!("kafka-python", || python("stories.py")),
        library!("aiokafka", || python("stories.py")),
        library!("java-4.3", || java("4.3.0", "Stories")),
        library!("java-848", || java("4.3.0", "ConsumerGroups"), JAVA_848),
        library!("java-admin", || java("4.3.0", "AdminWidth"), ADMIN),
        library!("java-3.9", || java("3.9.1", "Stories")),
        library!("java-2.8", || java("2.8.2", "Stories")),
        library!("kafkajs", node),
        library!("franz-go", franz),
        library!("sarama", franz),
        library!("kafka-go", franz),
    ]
}

/// Compiles the programs again whose sources changed.
pub fn build() -> Outcome {
    let mut command = Command::new(sources().join("install"));
    command.arg("build");
    program::run(command, None, Duration::from_secs(300))?
        .good("its build")
        .map(drop)
}

/// A Python program of `clients/python`.
pub fn python(program: &str) -> Outcome<Command> {
    let mut command = Command::new(present(home().join("venv/bin/python"))?);
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(sources().join("clients/python").join(program));
    Ok(command)
}

/// A class of `clients/java` on one line of kafka-clients.
pub fn java(line: &str, class: &str) -> Outcome<Command> {
    class_in(&format!("java-{line}"), &[], class)
}

/// A class of `clients/java/ecosystem` or of its jars: Kafka Streams and Kafka Connect.
pub fn ecosystem(class: &str) -> Outcome<Command> {
    // Short runs: start fast rather than run fast.
    let options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
    class_in("ecosystem", &options, class)
}

/// The program that measures groups; it asks the system what the broker of this process id costs.
pub fn java_measure(pid: u32) -> Outcome<Command> {
    let pid = format!("-Dbroker.pid={pid}");
    class_in("ecosystem", &[&pid], "Measure")
}

fn class_in(folder: &str, options: &[&str], class: &str) -> Outcome<Command> {
    let at = home().join(folder);
    let mut path = OsString::from(present(at.join("classes"))?);
    path.push(":");
    path.push(at.join("libs"));
    path.push("/*");
    let mut command = Command::new("java");
    command.args(options).args([
        "-Xmx512m",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
        "-cp",
    ]);
    command.arg(path).arg(class);
    Ok(command)
}

/// Makes a topic of six partitions, for clients that cannot.
pub fn create_topic(broker: &Broker, topic: &str) -> Outcome {
    let mut command = franz()?;
    command.args(["--broker", &broker.address(), "--create", topic]);
    program::run(command, None, Duration::from_secs(180))?
        .good("creating a topic")
        .map(drop)
}

fn node() -> Outcome<Command> {
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", present(home().join("node/node_modules"))?)
        .env("KAFKAJS_NO_PARTITIONER_WARNING", "1")
        .arg(sources().join("clients/node/stories.js"));
    Ok(command)
}

/// The program of the Go clients; franz-go's where none is named.
pub fn franz() -> Outcome<Command> {
    Ok(Command::new(present(home().join("go-clients"))?))
}

fn present(path: std::path::PathBuf) -> Outcome<std::path::PathBuf> {
    if path.exists() {
        Ok(path)
    } else {
        Err(Failure::Missing(path.display().to_string()))
    }
}

fn tell(
    client: &'static str,
    command: fn() -> Outcome<Command>,
    stage: &mut Stage,
    stories: &[&'static str],
    teller: &mut Teller,
) {
    let began = Instant::now();
    let ran = stage.shared().and_then(|broker| {
        let mut command = command()?;
        command
            .args(["--broker", &broker.address(), "--client", client])
            .args(stories);
        program::run(command, None, LIMIT)
    });
    let death = stage.shared().ok().and_then(Broker::death);
    let said = match ran {
        Ok(said) => said,
        Err(failure) => {
            let kind = |what: &Failure| match what {
                Failure::Missing(tool) => Failure::Missing(tool.clone()),
                Failure::Wrong(what) => Failure::Wrong(what.clone()),
            };
            for story in stories {
                teller.tell(story, began.elapsed(), Err(kind(&failure)));
            }
            return;
        }
    };
    let lines: Vec<serde_json::Value> = said
        .out
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    for story in stories {
        let line = lines.iter().find(|line| line["story"] == *story);
        let took = line
            .and_then(|line| line["ms"].as_u64())
            .map(Duration::from_millis);
        let outcome = match line {
            Some(line) if line["ok"] == true => Ok(()),
            Some(line) => {
                let error = line["error"].as_str().unwrap_or("failed without a word");
                Err(Failure::Wrong(match &death {
                    Some(death) => format!("{error}\n{death}"),
                    None => error.to_owned(),
                }))
            }
            None => Err(Failure::Wrong(format!(
                "the program ended with {} before this story: {}",
                said.status,
                tail(&said.err, 12)
            ))),
        };
        teller.tell(story, took.unwrap_or_else(|| began.elapsed()), outcome);
    }
}
