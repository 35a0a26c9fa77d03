//! The binary as a child process: a server that is ready, a command with its answer.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything a story expects; only a broken program needs it.
pub const PATIENCE: Duration = Duration::from_secs(60);

const BINARY: &str = env!("CARGO_BIN_EXE_duramen");

/// Where the binary is.
pub fn binary() -> &'static str {
    BINARY
}

/// The binary with nothing of this environment.
pub fn program<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(BINARY);
    command
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Reads a stream to its end on the side, line by line.
#[expect(
    clippy::disallowed_methods,
    reason = "a pipe that nobody reads would block the child"
)]
fn lines_of(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            // The story may have ended before the child.
            if line.is_err() || sender.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

/// A server, ready; killed when the story ends before it.
pub struct Server {
    child: Child,
    errors: Receiver<String>,
    /// Where it keeps temporary files; what it leaves there goes with the story.
    scratch: Option<TempDir>,
    /// Where Kafka clients connect to.
    pub brokers: String,
    /// Where the operations port is.
    pub http: String,
}

/// What a server that ended said.
pub struct End {
    pub status: ExitStatus,
    pub stderr: Vec<String>,
    /// Names of the temporary files it left.
    pub left: Vec<String>,
    /// Where they are.
    pub scratch: TempDir,
}

impl Server {
    /// `dev` on this data directory.
    pub fn dev(data_dir: &Path) -> Server {
        let more = [OsStr::new("--data-dir"), data_dir.as_os_str()];
        Server::start(&more, directory(), &[])
    }

    /// `dev` on a directory of its own choice.
    pub fn ephemeral() -> Server {
        Server::ephemeral_in(directory())
    }

    /// `dev` on a directory of its own choice, below this one.
    pub fn ephemeral_in(scratch: TempDir) -> Server {
        Server::start(&[OsStr::new("--ephemeral")], scratch, &[])
    }

    /// `dev` on a directory of its own choice, with these variables in its environment.
    pub fn ephemeral_with(variables: &[(&str, &str)]) -> Server {
        Server::start(&[OsStr::new("--ephemeral")], directory(), variables)
    }

    fn start(more: &[&OsStr], scratch: TempDir, variables: &[(&str, &str)]) -> Server {
        let arguments = ["dev", "--port", "auto", "--print-env"].map(OsStr::new);
        let mut command = program(&[&arguments[..], more].concat());
        command.envs(variables.iter().copied());
        let mut child = command.env("TMPDIR", scratch.path()).spawn().unwrap();
        let output = lines_of(child.stdout.take().unwrap());
        let errors = lines_of(child.stderr.take().unwrap());
        let mut exports = Vec::new();
        while exports.len() < 3 {
            match output.recv_timeout(PATIENCE) {
                Ok(line) => exports.push(line),
                Err(_) => {
                    let _ = child.kill();
                    let said: Vec<String> = errors.iter().collect();
                    panic!("not ready: {exports:?} {said:#?}");
                }
            }
        }
        let export = |name: &str| {
            let prefix = format!("export {name}=");
            let found = exports.iter().find_map(|line| line.strip_prefix(&prefix));
            found.unwrap().to_owned()
        };
        assert_eq!(export("DURAMEN_BROKERS"), export("KAFKA_BOOTSTRAP_SERVERS"));
        Server {
            brokers: export("DURAMEN_BROKERS"),
            http: export("DURAMEN_HTTP")
                .trim_start_matches("http://")
                .to_owned(),
            child,
            errors,
            scratch: Some(scratch),
        }
    }

    /// A command against this server.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with(arguments, "")
    }

    /// A command against this server, with lines on its standard input.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Answer {
        run(&[arguments, &["-b", &self.brokers]].concat(), input)
    }

    /// The rows of a command that succeeds.
    pub fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        self.run(arguments).rows()
    }

    /// Asks it to stop, and waits until it has.
    pub fn terminate(self) -> End {
        self.signal("-TERM")
    }

    /// Asks it to stop as a terminal does, and waits until it has.
    pub fn interrupt(self) -> End {
        self.signal("-INT")
    }

    fn signal(self, name: &str) -> End {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args([name, &id])
                .status()
                .unwrap()
                .success()
        );
        self.end()
    }

    /// Ends it as a power cut would end the process.
    pub fn kill(mut self) -> End {
        self.child.kill().unwrap();
        self.end()
    }

    fn end(mut self) -> End {
        let mut stderr = Vec::new();
        // Standard error is open as long as the process lives.
        loop {
            match self.errors.recv_timeout(PATIENCE) {
                Ok(line) => stderr.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it does not end: {stderr:#?}"),
            }
        }
        let scratch = self.scratch.take().unwrap();
        End {
            status: self.child.wait().unwrap(),
            stderr,
            left: names_in(scratch.path()),
            scratch,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "what a program left behind")]
fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command did.
pub struct Answer {
    pub exit: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// The JSON lines of a success.
    pub fn rows(&self) -> Vec<Value> {
        assert_eq!(
            (self.exit, self.stderr.as_str()),
            (0, ""),
            "{}",
            self.stdout
        );
        self.stdout
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The failure: its exit code, and what follows `error: `, `cause: ` and `next: `.
    pub fn failure(&self) -> (i32, [String; 3]) {
        let lines: Vec<&str> = self.stderr.lines().collect();
        let last = lines
            .len()
            .checked_sub(3)
            .unwrap_or_else(|| panic!("{}", self.stderr));
        let said = [("error: ", 0), ("cause: ", 1), ("next:  ", 2)].map(|(prefix, at)| {
            let line = lines[last + at].strip_prefix(prefix);
            line.unwrap_or_else(|| panic!("{}", self.stderr)).to_owned()
        });
        (self.exit, said)
    }

    /// The failure of a command: three lines and nothing else.
    pub fn only_failure(&self) -> (i32, [String; 3]) {
        assert_eq!(self.stderr.lines().count(), 3, "{}", self.stderr);
        self.failure()
    }
}

/// Runs the binary to its end.
pub fn run<S: AsRef<OsStr>>(arguments: &[S], input: &str) -> Answer {
    answer_of(program(arguments), input)
}

/// Runs the binary to its end with these variables in its environment.
pub fn run_in(variables: &[(&str, &str)], arguments: &[&str]) -> Answer {
    let mut command = program(arguments);
    command.envs(variables.iter().copied());
    answer_of(command, "")
}

/// Runs any program to its end.
pub fn answer_of(mut command: Command, input: &str) -> Answer {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let stdout = lines_of(child.stdout.take().unwrap());
    let stderr = lines_of(child.stderr.take().unwrap());
    // A command that fails early does not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let mut hangs = false;
    let mut text = |lines: Receiver<String>| {
        let mut text = String::new();
        loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    text.push_str(&line);
                    text.push('\n');
                }
                Err(RecvTimeoutError::Disconnected) => return text,
                Err(RecvTimeoutError::Timeout) => {
                    hangs = true;
                    return text;
                }
            }
        }
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    if hangs {
        let _ = child.kill();
    }
    Answer {
        exit: child.wait().unwrap().code().unwrap_or(-1),
        stdout,
        stderr,
    }
}

/// A new directory, removed at the end of the story.
pub fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}
