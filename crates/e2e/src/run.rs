//! The runner: which stories, on which broker, and the lines that tell how they went.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::broker::{Broker, Target};
use crate::program::{Failure, Outcome};
use crate::{
    connect, dissect, durable, flights, flow, kcat, lag, libraries, matrix, measure, prometheus,
    restart, table, tools,
};

const HELP: &str = "\
Foreign clients against the built binary.

    e2e [--duramen PATH | --kafka | --broker ADDR] [--allow-missing] [--list] [--write PAGE] [STORY…]

    --duramen PATH    the binary under test (default: target/release/duramen)
    --kafka           Apache Kafka instead, through the script that $E2E_KAFKA names
    --broker ADDR     a broker that runs already; stories that kill it fail
    --allow-missing   a story whose tool is not installed is not a failure
    --golden-from ADDR  record what Kafka's tools print against the unused Apache Kafka there
    --peer ADDR       a broker that is measured beside ours (story measure, told only by name)
    --write-pages     write docs/tools.md anew
    --list            print the stories and end
    --write PAGE      put the table of clients and stories into docs/clients.md; without this, a run
                      that told all of them fails if the page says otherwise

A STORY is a client (kcat), a story (codecs), both (kcat/codecs), or `clients` for all that the table
shows; without one, all are told.
crates/e2e/install brings the clients.
";

/// One client and the stories it can tell, in one go or one by one.
pub struct Suite {
    pub client: &'static str,
    pub stories: &'static [&'static str],
    pub tell: fn(&mut Stage, &[&'static str], &mut Teller),
}

/// The brokers a suite may use.
pub struct Stage {
    target: Target,
    shared: Option<Broker>,
    records: bool,
    peer: Option<String>,
}

impl Stage {
    /// The broker that suites share which only use it; started again if a story brought it down.
    pub fn shared(&mut self) -> Outcome<&mut Broker> {
        if let Some(broker) = &mut self.shared
            && broker.death().is_some()
        {
            self.shared = None;
        }
        if self.shared.is_none() {
            self.shared = Some(self.target.start()?);
        }
        self.shared
            .as_mut()
            .ok_or_else(|| Failure::from("no broker"))
    }

    /// What the shared broker last logged, if there was one and it is not alive any more.
    pub fn shared_death(&mut self) -> Option<String> {
        self.shared.as_mut().and_then(Broker::death)
    }

    /// A broker of the suite's own, to kill or to listen in on.
    pub fn fresh(&self) -> Outcome<Broker> {
        self.target.start()
    }

    /// The broker to measure beside ours.
    pub fn peer(&self) -> Option<&String> {
        self.peer.as_ref()
    }

    /// Whether what is seen becomes what is wanted.
    pub fn records(&self) -> bool {
        self.records
    }

    /// The binary under test, if it is ours.
    pub fn binary(&self) -> Option<&PathBuf> {
        match &self.target {
            Target::Duramen(binary) => Some(binary),
            _ => None,
        }
    }
}

/// Takes down how each story went, and says so at once.
pub struct Teller {
    client: &'static str,
    allow_missing: bool,
    told: Vec<serde_json::Value>,
    seen: matrix::Seen,
    passed: usize,
    failed: usize,
    missing: usize,
}

impl Teller {
    /// Whose stories are told from here on.
    pub fn begin(&mut self, client: &'static str) {
        self.client = client;
    }

    /// Whose stories are told now.
    pub fn client(&self) -> &'static str {
        self.client
    }

    /// Takes down what the client says its version is.
    pub fn version(&mut self, version: &str) {
        self.seen.versions.insert(self.client, version.to_owned());
    }

    /// Takes down one story.
    pub fn tell(&mut self, story: &str, took: Duration, outcome: Outcome) {
        let outcome = matrix::judge(self.client, story, outcome);
        let went = (self.client, story.to_owned());
        self.seen.stories.insert(went, outcome.is_ok());
        let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (word, error) = match &outcome {
            Ok(()) => ("ok", None),
            Err(Failure::Missing(_)) if self.allow_missing => ("missing", None),
            Err(failure) => ("failed", Some(failure.to_string())),
        };
        match word {
            "ok" => self.passed += 1,
            "missing" => self.missing += 1,
            _ => self.failed += 1,
        }
        say(&format!(
            "{:<14} {:<10} {word:<8} {ms:>7} ms",
            self.client, story
        ));
        if let Some(error) = &error {
            say(&format!("    {}", error.replace('\n', "\n    ")));
        }
        self.told.push(json!({
            "client": self.client, "story": story, "result": word, "ms": ms, "error": error,
        }));
    }

    /// Runs one story and takes it down.
    pub fn time(&mut self, story: &str, run: impl FnOnce() -> Outcome) {
        let began = Instant::now();
        let outcome = run();
        self.tell(story, began.elapsed(), outcome);
    }
}

/// Runs what the arguments ask for; the exit code is 0 only if every story passed.
pub fn main(arguments: Vec<String>) -> ExitCode {
    let mut target = Target::Duramen(PathBuf::from("target/release/duramen"));
    let (mut allow_missing, mut list, mut names) = (false, false, Vec::new());
    let (mut records, mut peer) = (false, None);
    let mut page: Option<PathBuf> = None;
    let mut given = arguments.into_iter();
    while let Some(word) = given.next() {
        match word.as_str() {
            "--broker" => target = Target::Address(given.next().unwrap_or_default()),
            "--duramen" => target = Target::Duramen(given.next().unwrap_or_default().into()),
            "--kafka" => match std::env::var_os("E2E_KAFKA") {
                Some(script) => target = Target::Kafka(script.into()),
                None => return usage("--kafka needs E2E_KAFKA: the script that starts it"),
            },
            "--golden-from" => {
                target = Target::Address(given.next().unwrap_or_default());
                records = true;
                names.push("kafka-tools".to_owned());
            }
            "--peer" => peer = given.next(),
            "--write-pages" => {
                target = Target::Address(String::new());
                records = true;
                names.push("kafka-tools/page".to_owned());
            }
            "--allow-missing" => allow_missing = true,
            "--list" => list = true,
            "--write" => page = given.next().map(PathBuf::from),
            "--help" | "-h" => {
                say(HELP.trim_end());
                return ExitCode::SUCCESS;
            }
            flag if flag.starts_with('-') => return usage(&format!("unknown option {flag}")),
            _ => names.push(word),
        }
    }
    if let Target::Duramen(binary) = &target
        && !list
        && !binary.is_file()
    {
        return usage(&format!(
            "no binary at {}: build it first",
            binary.display()
        ));
    }
    let mut chosen = Vec::new();
    for suite in suites() {
        let stories: Vec<&'static str> = suite
            .stories
            .iter()
            .copied()
            .filter(|story| {
                let named = |name: &String| {
                    name == suite.client
                        || name == story
                        || name == "clients" && matrix::clients().any(|one| one == suite.client)
                        || *name == format!("{}/{story}", suite.client)
                };
                // Figures are told by hand.
                names.is_empty() && suite.client != "measure" || names.iter().any(named)
            })
            .collect();
        if !stories.is_empty() {
            chosen.push((suite, stories));
        }
    }
    if list {
        for (suite, stories) in &chosen {
            for story in stories {
                say(&format!("{}/{story}", suite.client));
            }
        }
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        return usage("no story of that name; --list prints them");
    }
    let mut teller = Teller {
        client: "",
        allow_missing,
        told: Vec::new(),
        seen: matrix::Seen::default(),
        passed: 0,
        failed: 0,
        missing: 0,
    };
    let mut stage = Stage {
        target,
        shared: None,
        records,
        peer,
    };
    if let Err(failure) = libraries::build() {
        say(&format!("crates/e2e/install build: {failure}"));
    }
    for (suite, stories) in libraries::side_by_side(&mut stage, chosen, &mut teller) {
        teller.client = suite.client;
        (suite.tell)(&mut stage, &stories, &mut teller);
    }
    let paged = match page {
        Some(page) if teller.seen.whole() && teller.missing == 0 => teller.seen.write(&page),
        Some(_) => Err("the table needs the stories of all its clients".into()),
        None if stage.binary().is_some() && teller.missing == 0 && teller.seen.whole() => {
            teller.seen.check()
        }
        None => Ok(()),
    };
    if let Err(failure) = paged {
        say(&failure.to_string());
        teller.failed += 1;
    }
    say(&json!({ "stories": teller.told }).to_string());
    if teller.missing > 0 {
        say(&format!(
            "{} stories were not told: their tools are missing",
            teller.missing
        ));
    }
    say(&format!(
        "{} passed, {} failed",
        teller.passed, teller.failed
    ));
    if teller.failed == 0 && teller.passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn suites() -> Vec<Suite> {
    let mut suites = vec![kcat::suite()];
    suites.extend(libraries::suites());
    suites.extend([
        tools::suite(),
        dissect::suite(),
        durable::suite(),
        restart::suite(),
        flights::suite(),
        flow::suite(),
        connect::suite(),
        prometheus::suite(),
        lag::suite(),
        table::suite(),
        measure::suite(),
    ]);
    suites
}

fn usage(complaint: &str) -> ExitCode {
    // Nothing is left to do if the terminal is gone.
    let _ = writeln!(std::io::stderr(), "{complaint}\n\n{HELP}");
    ExitCode::from(2)
}

/// Prints one line of the report.
pub fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that went away does not change how the stories went.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
