//! A program of somebody else, run with a time limit and its words kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Why a story did not pass.
#[derive(Debug)]
pub enum Failure {
    /// A tool is not installed: run `crates/e2e/install`.
    Missing(String),
    /// The story ran and something was wrong.
    Wrong(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Missing(tool) => {
                write!(out, "{tool} is not installed: run crates/e2e/install")
            }
            Failure::Wrong(what) => out.write_str(what),
        }
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Failure {
        Failure::Wrong(what)
    }
}

impl From<&str> for Failure {
    fn from(what: &str) -> Failure {
        Failure::Wrong(what.to_owned())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Wrong(error.to_string())
    }
}

/// What a story, or a step of one, comes to.
pub type Outcome<T = ()> = Result<T, Failure>;

/// The folder that `crates/e2e/install` filled.
pub fn home() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("E2E_HOME").map_or_else(
        || {
            set("XDG_CACHE_HOME")
                .map_or_else(
                    || PathBuf::from(set("HOME").unwrap_or_default()).join(".cache"),
                    PathBuf::from,
                )
                .join("duramen-e2e")
        },
        PathBuf::from,
    )
}

/// The folder of this crate's sources, where the client programs and golden outputs are.
pub fn sources() -> PathBuf {
    let built = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    if built.is_dir() {
        built
    } else {
        PathBuf::from("crates/e2e")
    }
}

/// What a finished program said.
pub struct Said {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Standard output, if the program ended well.
    pub fn good(self, what: &str) -> Outcome<String> {
        if self.status.success() {
            return Ok(self.out);
        }
        Err(Failure::Wrong(format!(
            "{what} ended with {}: {}",
            self.status,
            tail(&self.err, 12)
        )))
    }
}

/// Runs `command` to its end, with `input` on its standard input.
pub fn run(mut command: Command, input: Option<&[u8]>, limit: Duration) -> Outcome<Said> {
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    let mut child = spawn(&mut command)?;
    let feeding = input.map(|bytes| {
        let (mut stdin, bytes) = (child.stdin.take(), bytes.to_vec());
        thread::spawn(move || {
            if let Some(stdin) = &mut stdin {
                // A program that stops reading has ended; its status tells why.
                let _ = stdin.write_all(&bytes);
            }
        })
    });
    let out = gather(child.stdout.take());
    let err = gather(child.stderr.take());
    let status = wait(&mut child, limit);
    if let Some(feeding) = feeding {
        let _ = feeding.join();
    }
    let (out, err) = (joined(out), joined(err));
    match status? {
        Some(status) => Ok(Said { status, out, err }),
        None => Err(Failure::Wrong(format!(
            "no end after {} s: {:?}: {}",
            limit.as_secs(),
            command.get_program(),
            tail(&err, 12)
        ))),
    }
}

/// A program that goes on beside the story; killed when dropped.
pub struct Running {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    err: Lines,
}

/// The lines a program has printed so far.
pub type Lines = Arc<Mutex<Vec<String>>>;

impl Running {
    /// Starts `command`; every line of its standard output goes to `on_out`, of its standard error to
    /// `on_err` (the last ones are kept for failures too).
    pub fn start(
        mut command: Command,
        mut on_out: impl FnMut(&str) + Send + 'static,
        mut on_err: impl FnMut(&str) + Send + 'static,
    ) -> Outcome<Running> {
        let mut child = spawn(&mut command)?;
        let err = Lines::default();
        let kept = Arc::clone(&err);
        let readers = vec![
            each_line(child.stdout.take(), move |line| on_out(line)),
            each_line(child.stderr.take(), move |line| {
                on_err(line);
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() > 200 {
                    kept.drain(..100);
                }
                kept.push(line.to_owned());
            }),
        ];
        Ok(Running {
            child,
            readers,
            err,
        })
    }

    /// Its standard input, once, if the command asked for a pipe.
    pub fn input(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Asks it to end, as a person at a terminal would, and waits.
    pub fn terminate(self, limit: Duration) -> Outcome<ExitStatus> {
        signal(self.child.id(), "TERM")?;
        self.end(limit)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines of its standard error.
    pub fn last_words(&self) -> String {
        tail(
            &self
                .err
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .join("\n"),
            12,
        )
    }

    /// Waits for its end and for its last line to be read.
    pub fn end(mut self, limit: Duration) -> Outcome<ExitStatus> {
        let status = wait(&mut self.child, limit)?;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        status.ok_or_else(|| {
            Failure::Wrong(format!(
                "no end after {} s: {}",
                limit.as_secs(),
                self.last_words()
            ))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal by name to a process that we started.
pub fn signal(pid: u32, name: &str) -> Outcome {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .output()?;
    if sent.status.success() {
        return Ok(());
    }
    Err(Failure::Wrong(format!(
        "kill -{name} {pid}: {}",
        String::from_utf8_lossy(&sent.stderr)
    )))
}

/// Looks again and again until `holds` says so.
pub fn eventually(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> Outcome<bool>,
) -> Outcome {
    let until = Instant::now() + limit;
    while !holds()? {
        if Instant::now() > until {
            return Err(Failure::Wrong(format!(
                "waited {} s for {what}",
                limit.as_secs()
            )));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The last `count` lines of a text, on one line.
pub fn tail(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

fn spawn(command: &mut Command) -> Outcome<Child> {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| {
            let program = command.get_program().to_string_lossy().into_owned();
            match error.kind() {
                std::io::ErrorKind::NotFound => Failure::Missing(program),
                _ => Failure::Wrong(format!("{program}: {error}")),
            }
        })
}

fn wait(child: &mut Child, limit: Duration) -> Outcome<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn gather(from: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What came before a broken pipe is still worth showing.
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn joined(reader: JoinHandle<String>) -> String {
    reader.join().unwrap_or_default()
}

fn each_line(
    from: Option<impl Read + Send + 'static>,
    mut on_line: impl FnMut(&str) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let Some(from) = from else { return };
        let (mut from, mut line) = (BufReader::new(from), Vec::new());
        while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            on_line(String::from_utf8_lossy(&line).trim_end_matches('\n'));
            line.clear();
        }
    })
}
