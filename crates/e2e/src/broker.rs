//! The broker under test: started on a free loopback port and a folder of its own, killed and started
//! again on the same.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use crate::program::{self, Failure, Outcome, signal, tail};

/// Generous: the machine may be busy, and Apache Kafka repairs its logs before it answers.
const START_LIMIT: Duration = Duration::from_secs(180);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What is under test.
#[derive(Clone)]
pub enum Target {
    /// A broker that somebody else runs; it cannot be killed.
    Address(String),
    /// Our binary.
    Duramen(PathBuf),
    /// Apache Kafka, through a script that knows `start DIR PORT`, `boot DIR PORT`; for checking the
    /// stories themselves.
    Kafka(PathBuf),
}

impl Target {
    /// Starts a fresh broker on an empty folder.
    pub fn start(&self) -> Outcome<Broker> {
        let dir = tempfile::Builder::new().prefix("e2e-broker-").tempdir()?;
        let (port, http) = free_ports()?;
        let mut broker = Broker {
            target: self.clone(),
            dir,
            port,
            http,
            child: None,
            pid: 0,
            starts: 0,
        };
        broker.boot()?;
        Ok(broker)
    }
}

/// How long a start took, from the process to an open port and to "ready".
#[derive(Clone, Copy)]
pub struct Started {
    pub port_open: Duration,
    pub ready: Duration,
}

/// One broker process and its data; stopped and removed when dropped.
pub struct Broker {
    target: Target,
    dir: TempDir,
    port: u16,
    http: u16,
    child: Option<Child>,
    pid: u32,
    starts: u32,
}

impl Broker {
    /// Where clients bootstrap.
    pub fn address(&self) -> String {
        match &self.target {
            Target::Address(address) => address.clone(),
            _ => format!("127.0.0.1:{}", self.port),
        }
    }

    /// The port of [`Broker::address`].
    pub fn port(&self) -> u16 {
        let address = self.address();
        address
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok())
            .unwrap_or(self.port)
    }

    /// Where our own binary has its operations port.
    pub fn http(&self) -> u16 {
        self.http
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// A folder for the story's own files, gone with the broker.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it on its port and folder, and waits until it is ready.
    pub fn boot(&mut self) -> Outcome<Started> {
        let began = Instant::now();
        match &self.target {
            Target::Address(_) => {}
            Target::Duramen(binary) => {
                let log = File::options().create(true).append(true).open(self.log())?;
                let child = duramen(binary, self.dir.path(), self.port, self.http)
                    .stdin(Stdio::null())
                    .stdout(log.try_clone()?)
                    .stderr(log)
                    .spawn()
                    .map_err(|error| format!("{}: {error}", binary.display()))?;
                self.pid = child.id();
                self.child = Some(child);
            }
            Target::Kafka(script) => {
                let word = if self.starts == 0 { "start" } else { "boot" };
                let mut command = Command::new(script);
                command
                    .arg(word)
                    .arg(self.dir.path().join("data"))
                    .arg(self.port.to_string());
                // Its output goes to its own file; the script prints only the process id.
                let said = program::run(command, None, START_LIMIT)?.good("the peer script")?;
                self.pid = said
                    .trim()
                    .parse()
                    .map_err(|_| format!("no process id in {said:?}"))?;
            }
        }
        self.starts += 1;
        self.wait_ready(began)
    }

    /// `kill -9`, and waits until the process is gone.
    pub fn kill(&mut self) -> Outcome {
        self.end("KILL")
    }

    /// Asks it to stop in order, and waits until the process is gone.
    pub fn stop(&mut self) -> Outcome {
        self.end("TERM")
    }

    /// What it last logged, if it is not alive any more.
    pub fn death(&mut self) -> Option<String> {
        if self.alive() {
            return None;
        }
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        Some(format!("the broker has ended: {}", tail(&log, 12)))
    }

    /// What it cost since its last start, for a line of figures.
    pub fn costs(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.map_or("unknown", str::trim);
        format!("; resident at most {peak} since the last start")
    }

    fn alive(&mut self) -> bool {
        match (&self.target, &mut self.child) {
            (Target::Address(_), _) => true,
            (_, Some(child)) => matches!(child.try_wait(), Ok(None)),
            (Target::Kafka(_), None) => process_exists(self.pid),
            _ => false,
        }
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("broker.log")
    }

    fn end(&mut self, name: &str) -> Outcome {
        if matches!(self.target, Target::Address(_)) {
            return Err("this story needs a broker that it may kill".into());
        }
        signal(self.pid, name)?;
        let until = Instant::now() + STOP_LIMIT;
        // Of a process that is not our child only the first thread can be seen to be gone; its sockets
        // close with the last.
        while self.alive() || TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
            if Instant::now() > until {
                signal(self.pid, "KILL")?;
                return Err(format!("no end {} s after SIG{name}", STOP_LIMIT.as_secs()).into());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        self.child = None;
        Ok(())
    }

    fn wait_ready(&mut self, began: Instant) -> Outcome<Started> {
        let mut port_open = None;
        while began.elapsed() < START_LIMIT {
            if let Some(death) = self.death() {
                return Err(Failure::Wrong(death));
            }
            if port_open.is_none() && TcpStream::connect(self.address()).is_ok() {
                port_open = Some(began.elapsed());
            }
            if let Some(port_open) = port_open
                && (!matches!(self.target, Target::Duramen(_)) || answers_ready(self.http))
            {
                return Ok(Started {
                    port_open,
                    ready: began.elapsed(),
                });
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        Err(Failure::Wrong(format!(
            "the broker was not ready after {} s (port open: {}): {}",
            START_LIMIT.as_secs(),
            port_open.is_some(),
            tail(&log, 12)
        )))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if !matches!(self.target, Target::Address(_)) && self.pid != 0 && self.alive() {
            let _ = signal(self.pid, "KILL");
        }
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }
}

/// The command that starts our binary for a story.
pub fn duramen(binary: &Path, dir: &Path, port: u16, http: u16) -> Command {
    let mut command = Command::new(binary);
    // What a machine sets for another Kafka is no setting of this one.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KAFKA_") {
            command.env_remove(name);
        }
    }
    command.arg("dev").arg("--data-dir").arg(dir.join("data"));
    command.arg("--listen").arg(format!("127.0.0.1:{port}"));
    command.arg("--http").arg(format!("127.0.0.1:{http}"));
    command
}

/// Two free neighbours below the ephemeral range: a client that reconnects from an ephemeral port
/// while the broker is down could otherwise meet itself there.
pub fn free_ports() -> Outcome<(u16, u16)> {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut at = now.subsec_nanos() ^ std::process::id().wrapping_mul(2_654_435_761);
    for _ in 0..500 {
        at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let port = 20_000 + u16::try_from((at >> 16) % 5_000).unwrap_or(0) * 2;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 1) {
            return Ok((port, port + 1));
        }
    }
    Err("no free port".into())
}

fn answers_ready(http: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", http)) else {
        return false;
    };
    let asked = stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .and_then(|()| {
            stream
                .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        })
        .is_ok();
    let mut head = [0u8; 12];
    asked && stream.read_exact(&mut head).is_ok() && head.ends_with(b" 200")
}

fn process_exists(pid: u32) -> bool {
    // A zombie of a process that is not our child is reaped by its parent; its state says Z.
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .trim_start()
            .starts_with('Z')
    })
}
