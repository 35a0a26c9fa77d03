//! The client libraries: programs under `clients/`, each telling the same six stories and printing a JSON
//! line for each, after one that names the version of the library. Those that know groups assigned by the
//! broker (KIP-848) tell the stories of groups by that protocol too.
//!
//! They share a broker and mostly wait, so a few of them run side by side.

use std::ffi::OsString;
use std::process::Command;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::broker::Broker;
use crate::program::{self, Failure, Outcome, Said, home, sources, tail};
use crate::run::{Stage, Suite, Teller};

const STORIES: &[&str] = &["topic", "codecs", "group", "resume", "offsets", "configs"];
/// By the protocol of KIP-848, for clients that speak both.
const NEWER: &[&str] = &["group", "resume"];
/// The same, and from one protocol to the other and back.
const BOTH: &[&str] = &["group", "resume", "migrate"];
/// The same with what only the newest Java client can do and see.
const JAVA_848: &[&str] = &["group", "resume", "three", "static", "migrate", "killed"];
/// What administrators ask, with the newest Java client.
const ADMIN: &[&str] = &["replicas", "producers", "cluster"];
/// For a client that knows no groups and no settings.
const PLAIN: &[&str] = &["topic", "codecs", "offsets"];
/// For all of a client together; each has its own, shorter limits inside.
const LIMIT: Duration = Duration::from_secs(900);
/// How many programs run at once: they wait more than they compute, but some count on heartbeats of a
/// second, and a machine may have two cores.
const AT_ONCE: usize = 3;

/// One client library, or one way to use it.
struct Library {
    client: &'static str,
    program: fn() -> Outcome<Command>,
    stories: &'static [&'static str],
}

const fn library(
    client: &'static str,
    program: fn() -> Outcome<Command>,
    stories: &'static [&'static str],
) -> Library {
    Library {
        client,
        program,
        stories,
    }
}

/// Those that take longest come first: the others then run beside them.
static LIBRARIES: &[Library] = &[
    library("java-848", || java("4.3.0", "ConsumerGroups"), JAVA_848),
    library("confluent-848", || python("stories.py"), BOTH),
    library("rdkafka-848", rust, NEWER),
    library("platformatic-848", || node("newer-node"), NEWER),
    library("franz-go-848", franz, NEWER),
    library("java-3.9-848", || java("3.9.1", "Stories"), NEWER),
    library("franz-go", franz, STORIES),
    library("confluent", || python("stories.py"), STORIES),
    library("rdkafka", rust, STORIES),
    library("kafka-python", || python("stories.py"), STORIES),
    library("aiokafka", || python("stories.py"), STORIES),
    library("java-4.3", || java("4.3.0", "Stories"), STORIES),
    library("java-3.9", || java("3.9.1", "Stories"), STORIES),
    library("java-2.8", || java("2.8.2", "Stories"), STORIES),
    library("kafkajs", || node("node"), STORIES),
    library("platformatic", || node("newer-node"), STORIES),
    library("sarama", franz, STORIES),
    library("kafka-go", franz, STORIES),
    library("rskafka", rust, PLAIN),
    library("java-admin", || java("4.3.0", "AdminWidth"), ADMIN),
];

/// Looks at the whole cluster, so nothing may run beside it.
const ALONE: &str = "java-admin";

/// The suites, one per client library.
pub fn suites() -> Vec<Suite> {
    LIBRARIES
        .iter()
        .map(|library| Suite {
            client: library.client,
            stories: library.stories,
            tell: |stage, stories, teller| alone(stage, stories, teller),
        })
        .collect()
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

/// `clients/node` with the machine's Node or, where a library wants one, a newer one of our own.
fn node(which: &str) -> Outcome<Command> {
    let mut command = match which {
        "node" => Command::new("node"),
        newer => Command::new(present(home().join(newer))?),
    };
    command
        .env("NODE_PATH", present(home().join("node/node_modules"))?)
        .env("KAFKAJS_NO_PARTITIONER_WARNING", "1")
        .arg(sources().join("clients/node/stories.js"));
    Ok(command)
}

/// The program of the Rust clients.
fn rust() -> Outcome<Command> {
    Ok(Command::new(present(home().join("rust-clients"))?))
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

/// Tells the stories of the chosen libraries, a few at once, and returns the suites that are left.
pub fn side_by_side(
    stage: &mut Stage,
    chosen: Vec<(Suite, Vec<&'static str>)>,
    teller: &mut Teller,
) -> Vec<(Suite, Vec<&'static str>)> {
    let (together, rest): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|(suite, _)| {
        suite.client != ALONE && LIBRARIES.iter().any(|one| one.client == suite.client)
    });
    let address = match stage.shared() {
        Ok(broker) if together.len() > 1 => broker.address(),
        // Without a broker each story says so by itself.
        _ => return together.into_iter().chain(rest).collect(),
    };
    let queue = Mutex::new(together.into_iter());
    let (done, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (queue, address, done) = (&queue, &address, done.clone());
            scope.spawn(move || {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some((suite, stories)) = next() {
                    let began = Instant::now();
                    let ran = run(suite.client, address, &stories);
                    if done
                        .send((suite.client, stories, ran, began.elapsed()))
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(done);
        for (client, stories, ran, took) in told {
            let death = stage.shared_death();
            teller.begin(client);
            report(&stories, ran, took, death.as_deref(), teller);
        }
    });
    rest
}

fn alone(stage: &mut Stage, stories: &[&'static str], teller: &mut Teller) {
    let began = Instant::now();
    let ran = match stage.shared().map(|broker| broker.address()) {
        Ok(address) => run(teller.client(), &address, stories),
        Err(failure) => Err(failure),
    };
    let death = stage.shared_death();
    report(stories, ran, began.elapsed(), death.as_deref(), teller);
}

fn run(client: &str, address: &str, stories: &[&'static str]) -> Outcome<Said> {
    let library = LIBRARIES
        .iter()
        .find(|one| one.client == client)
        .ok_or_else(|| format!("no library {client}"))?;
    let mut command = (library.program)()?;
    command
        .args(["--broker", address, "--client", client])
        .args(stories);
    program::run(command, None, LIMIT)
}

/// Takes down what a program said of each story.
fn report(
    stories: &[&'static str],
    ran: Outcome<Said>,
    took: Duration,
    death: Option<&str>,
    teller: &mut Teller,
) {
    let said = match ran {
        Ok(said) => said,
        Err(failure) => {
            let kind = |what: &Failure| match what {
                Failure::Missing(tool) => Failure::Missing(tool.clone()),
                Failure::Wrong(what) => Failure::Wrong(what.clone()),
            };
            for story in stories {
                teller.tell(story, took, Err(kind(&failure)));
            }
            return;
        }
    };
    let lines: Vec<serde_json::Value> = said
        .out
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    if let Some(version) = lines.iter().find_map(|line| line["version"].as_str()) {
        teller.version(version);
    }
    for story in stories {
        let line = lines.iter().find(|line| line["story"] == *story);
        let ms = line.and_then(|line| line["ms"].as_u64());
        let outcome = match line {
            Some(line) if line["ok"] == true => Ok(()),
            Some(line) => {
                let error = line["error"].as_str().unwrap_or("failed without a word");
                Err(Failure::Wrong(match death {
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
        teller.tell(story, ms.map_or(took, Duration::from_millis), outcome);
    }
}
