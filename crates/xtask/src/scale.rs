//! Measures a broker with many partitions: memory, descriptors, time to start after a clean stop and
//! after a kill, and the longest a produce waits while topics come and go.
//!
//! Starts the binary it is given, on free loopback ports and a fresh folder, and speaks to it as a
//! client would. A measurement, not a test: it prints figures and judges none.

mod wire;

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use wire::{Connection, batch};

/// What the command line takes.
pub const USAGE: &str = "cargo xtask scale --binary PATH [--topics N] [--partitions N] [--log-mib N] \
                         [--dir DIR] [--idle-s N] [--pauses]";

/// Partitions created or written by one request.
const PER_REQUEST: usize = 1_000;
const START_LIMIT: Duration = Duration::from_secs(120);

struct Plan {
    binary: PathBuf,
    dir: PathBuf,
    topics: usize,
    partitions: i32,
    log_mib: usize,
    idle: Duration,
    pauses: bool,
}

/// Runs the measurement; each figure is a line on `out`.
///
/// # Errors
/// What could not be started, asked or read.
pub fn run(arguments: &[String], out: &mut dyn Write) -> Result<(), String> {
    let plan = parse(arguments)?;
    measure(&plan, out).map_err(|error| error.to_string())
}

fn parse(arguments: &[String]) -> Result<Plan, String> {
    let mut plan = Plan {
        binary: PathBuf::new(),
        dir: std::env::temp_dir().join(format!("scale-{}", std::process::id())),
        topics: 50,
        partitions: 1_000,
        log_mib: 512,
        idle: Duration::from_secs(5),
        pauses: false,
    };
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        if flag == "--pauses" {
            plan.pauses = true;
            continue;
        }
        let value = rest.next().ok_or(USAGE)?;
        let number = || value.parse::<usize>().map_err(|_| USAGE.to_owned());
        match flag.as_str() {
            "--binary" => plan.binary = value.into(),
            "--dir" => plan.dir = value.into(),
            "--topics" => plan.topics = number()?,
            "--partitions" => plan.partitions = number()? as i32,
            "--log-mib" => plan.log_mib = number()?,
            "--idle-s" => plan.idle = Duration::from_secs(number()? as u64),
            _ => return Err(USAGE.to_owned()),
        }
    }
    if plan.binary.as_os_str().is_empty() {
        return Err(USAGE.to_owned());
    }
    Ok(plan)
}

fn measure(plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let names: Vec<String> = (0..plan.topics)
        .map(|number| format!("scale-topic-{number:05}"))
        .collect();
    let total = names.len() * plan.partitions as usize;
    let mut say = |what: &str, value: String| writeln!(out, "{what:<44} {value}");
    say(
        "shape",
        format!(
            "{} topics x {} partitions = {total}",
            plan.topics, plan.partitions
        ),
    )?;
    let mut broker = Running::boot(&plan.binary, &plan.dir)?;
    say("first start", broker.started.words())?;
    thread::sleep(plan.idle);
    say("  empty and idle", broker.footprint()?)?;

    let began = Instant::now();
    create(broker.port, &names, plan.partitions)?;
    say("topics created in", words(began.elapsed()))?;
    thread::sleep(plan.idle);
    say("  idle after creation", broker.footprint()?)?;
    let small = batch(100);
    let began = Instant::now();
    write_each(broker.port, &names, plan.partitions, &small)?;
    say("one batch into each in", words(began.elapsed()))?;
    thread::sleep(plan.idle);
    say("  idle after writing", broker.footprint()?)?;

    for _ in 0..2 {
        let stopped = broker.stop()?;
        broker = Running::boot(&plan.binary, &plan.dir)?;
        say("clean restart", broker.started.words())?;
        say("  the stop before it took", words(stopped))?;
        thread::sleep(plan.idle);
        say("  idle after the restart", broker.footprint()?)?;
    }

    broker.kill()?;
    broker = Running::boot(&plan.binary, &plan.dir)?;
    say("restart after kill -9, idle before", broker.started.words())?;
    write_each(broker.port, &names, plan.partitions, &small)?;
    broker.kill()?;
    broker = Running::boot(&plan.binary, &plan.dir)?;
    say(
        "restart after kill -9, one batch in each",
        broker.started.words(),
    )?;
    thread::sleep(plan.idle);
    say("  idle after the restart", broker.footprint()?)?;

    if plan.log_mib > 0 {
        let written = write_bulk(broker.port, &names, plan.log_mib)?;
        broker.kill()?;
        broker = Running::boot(&plan.binary, &plan.dir)?;
        say(
            &format!("restart after kill -9, {} MiB fresh", plan.log_mib),
            broker.started.words(),
        )?;
        say("  they were written in", words(written))?;
        say("  found", broker.found()?)?;
        thread::sleep(plan.idle);
        say("  idle after the restart", broker.footprint()?)?;
    }
    if plan.pauses {
        measure_pauses(&broker, &names, plan, &mut say)?;
    }
    let stopped = broker.stop()?;
    say("stop", words(stopped))?;
    fs::remove_dir_all(&plan.dir)
}

/// The longest a produce to one topic waits while others are created, deleted, created again.
fn measure_pauses(
    broker: &Running,
    names: &[String],
    plan: &Plan,
    say: &mut impl FnMut(&str, String) -> io::Result<()>,
) -> io::Result<()> {
    let steady = vec!["steady".to_owned()];
    create(broker.port, &steady, 1)?;
    let stop = Arc::new(AtomicBool::new(false));
    let waits = Arc::new(Mutex::new(Vec::new()));
    let writer = {
        let (stop, waits, port) = (stop.clone(), waits.clone(), broker.port);
        thread::spawn(move || -> io::Result<()> {
            let mut connection = Connection::open(port)?;
            let small = batch(1_000);
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let refused = connection.produce(&[("steady", 0)], &small)?;
                let waited = began.elapsed();
                if let Ok(mut waits) = waits.lock() {
                    waits.push((waited, refused));
                }
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
    };
    let take = || {
        let mut waits = waits
            .lock()
            .map(|mut waits| std::mem::take(&mut *waits))
            .unwrap_or_default();
        let refused: usize = waits.iter().map(|(_, refused)| refused).sum();
        waits.sort();
        let at = |part: usize| {
            waits
                .get(waits.len() * part / 1000)
                .map_or(0, |w| w.0.as_micros())
        };
        let worst = waits.last().map_or(0, |w| w.0.as_micros());
        format!(
            "of {} produces p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms, {refused} refused",
            waits.len(),
            at(500) as f64 / 1e3,
            at(990) as f64 / 1e3,
            worst as f64 / 1e3
        )
    };
    thread::sleep(Duration::from_secs(2));
    say("produce, nothing else going on", take())?;
    let wide: Vec<String> = (0..10).map(|number| format!("wide-{number}")).collect();
    for name in &wide {
        create(broker.port, std::slice::from_ref(name), 1_000)?;
    }
    say("produce while 10 x 1,000 are created", take())?;
    delete(broker.port, &wide)?;
    say("produce while they are deleted", take())?;
    let began = Instant::now();
    delete(broker.port, names)?;
    say("all deleted in", words(began.elapsed()))?;
    say("produce meanwhile", take())?;
    let began = Instant::now();
    create(broker.port, names, plan.partitions)?;
    say("all created again in", words(began.elapsed()))?;
    say("produce meanwhile", take())?;
    thread::sleep(plan.idle);
    say("  idle afterwards", broker.footprint()?)?;
    stop.store(true, Ordering::Relaxed);
    writer
        .join()
        .map_err(|_| io::Error::other("the writer ended"))?
}

fn create(port: u16, names: &[String], partitions: i32) -> io::Result<()> {
    let mut connection = Connection::open(port)?;
    let group = (PER_REQUEST / partitions as usize).max(1);
    for names in names.chunks(group) {
        let refused = connection.create_topics(names, partitions)?;
        if refused > 0 {
            return Err(io::Error::other(format!("{refused} topics refused")));
        }
    }
    Ok(())
}

fn delete(port: u16, names: &[String]) -> io::Result<()> {
    let mut connection = Connection::open(port)?;
    for names in names.chunks(PER_REQUEST) {
        let refused = connection.delete_topics(names)?;
        if refused > 0 {
            return Err(io::Error::other(format!("{refused} deletions refused")));
        }
    }
    Ok(())
}

fn write_each(port: u16, names: &[String], partitions: i32, batch: &[u8]) -> io::Result<()> {
    let mut connection = Connection::open(port)?;
    let places: Vec<(&str, i32)> = names
        .iter()
        .flat_map(|name| (0..partitions).map(move |number| (name.as_str(), number)))
        .collect();
    for places in places.chunks(PER_REQUEST) {
        let mut refused = connection.produce(places, batch)?;
        while refused > 0 {
            // A full buffer: some are written twice then, which does not matter here.
            thread::sleep(Duration::from_millis(20));
            refused = connection.produce(places, batch)?;
        }
    }
    Ok(())
}

/// Fills the log as fast as one connection can; how long it took.
fn write_bulk(port: u16, names: &[String], mib: usize) -> io::Result<Duration> {
    let mut connection = Connection::open(port)?;
    let large = batch(64 * 1024);
    let began = Instant::now();
    for round in 0..mib {
        let places: Vec<(&str, i32)> = (0..16)
            .map(|at| (names[(round * 16 + at) % names.len()].as_str(), 0))
            .collect();
        let _ = connection.produce(&places, &large)?;
    }
    Ok(began.elapsed())
}

fn words(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

/// How long a start took from the process on.
struct Started {
    answered: Duration,
    ready: Duration,
}

impl Started {
    fn words(&self) -> String {
        let (answered, ready) = (words(self.answered), words(self.ready));
        format!("{answered} to the first answer, {ready} to the ready line")
    }
}

/// A broker process.
struct Running {
    child: Child,
    port: u16,
    out: PathBuf,
    started: Started,
}

impl Running {
    fn boot(binary: &Path, dir: &Path) -> io::Result<Running> {
        fs::create_dir_all(dir)?;
        let free =
            || -> io::Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
        let (port, http) = (free()?, free()?);
        let out = dir.join("out");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(dir.join("log"))?;
        let began = Instant::now();
        let child = Command::new(binary)
            .args(["dev", "--listen", &format!("127.0.0.1:{port}")])
            .args(["--http", &format!("127.0.0.1:{http}")])
            .arg("--data-dir")
            .arg(dir.join("data"))
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out)?)
            .stderr(log)
            .spawn()?;
        let mut running = Running {
            child,
            port,
            out,
            started: Started {
                answered: Duration::ZERO,
                ready: Duration::ZERO,
            },
        };
        while Connection::open(port).is_err() {
            running.check(began)?;
        }
        Connection::open(port)?.ask_versions()?;
        running.started.answered = began.elapsed();
        while !fs::read_to_string(&running.out)?.contains("Kafka Server started") {
            running.check(began)?;
        }
        running.started.ready = began.elapsed();
        Ok(running)
    }

    fn check(&mut self, began: Instant) -> io::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            return Err(io::Error::other(format!("the broker ended: {status}")));
        }
        if began.elapsed() > START_LIMIT {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(1));
        Ok(())
    }

    /// What the ready block says of the directory.
    fn found(&self) -> io::Result<String> {
        let text = fs::read_to_string(&self.out)?;
        let line = text.lines().find(|line| line.contains("  data "));
        Ok(line
            .and_then(|line| line.split_once('('))
            .map_or_else(String::new, |(_, found)| found.trim_end_matches(')').into()))
    }

    /// Memory and descriptors.
    fn footprint(&self) -> io::Result<String> {
        let proc = PathBuf::from(format!("/proc/{}", self.child.id()));
        let field = |file: &str, name: &str| -> io::Result<f64> {
            let text = fs::read_to_string(proc.join(file))?;
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            Ok(kib.unwrap_or(f64::NAN) * 1024.0 / 1e6)
        };
        Ok(format!(
            "RSS {:.1} MB (peak {:.1}), Pss {:.1}, anonymous {:.1}, {} descriptors",
            field("status", "VmRSS:")?,
            field("status", "VmHWM:")?,
            field("smaps_rollup", "Pss:")?,
            field("smaps_rollup", "Anonymous:")?,
            fs::read_dir(proc.join("fd"))?.count(),
        ))
    }

    /// A clean stop; how long it took.
    fn stop(&mut self) -> io::Result<Duration> {
        let began = Instant::now();
        Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status()?;
        self.child.wait()?;
        Ok(began.elapsed())
    }

    fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
