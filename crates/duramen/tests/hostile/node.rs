//! One process of the built binary, watched: a panic anywhere in it fails the test that started it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::peer::Peer;

/// Long enough for a start on a busy machine, the filling of a new log included.
pub const START_DEADLINE: Duration = Duration::from_secs(90);

/// A running broker.
pub struct Node {
    child: Child,
    /// Where it listens for Kafka clients.
    pub kafka: SocketAddr,
    errors: PathBuf,
    _scratch: TempDir,
}

/// A start that ended instead of serving.
#[derive(Debug)]
pub struct Refusal {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it wrote on standard error.
    pub errors: String,
}

/// An empty place for a data directory, on disk.
pub fn scratch() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

/// The command that starts a broker on free ports of the loopback interface.
pub fn command(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_duramen"));
    command.arg("dev").arg("--data-dir").arg(data_dir);
    command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    command.arg("--print-env");
    command
}

impl Node {
    /// A broker on a directory.
    pub fn on(data_dir: &Path) -> Node {
        Node::launch(command(data_dir)).expect("the broker starts")
    }

    /// A broker as `command` says, once it serves; or why it does not.
    pub fn launch(mut command: Command) -> Result<Node, Refusal> {
        let scratch = scratch();
        let errors = scratch.path().join("stderr");
        let file = std::fs::File::create(&errors).expect("a file for standard error");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .expect("the binary is there");
        let output = child.stdout.take().expect("a pipe");
        let (found, address) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("export DURAMEN_BROKERS=") {
                    // Nobody listens any more when the deadline has passed.
                    let _ = found.send(address.parse().expect("an address"));
                }
            }
        });
        match address.recv_timeout(START_DEADLINE) {
            Ok(kafka) => Ok(Node {
                child,
                kafka,
                errors,
                _scratch: scratch,
            }),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("neither served nor refused within {START_DEADLINE:?}")
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                reader.join().expect("the reader ends with the process");
                let status = child.wait().expect("it ended");
                let errors = std::fs::read_to_string(&errors).expect("standard error");
                assert!(!errors.contains("panicked"), "{errors}");
                Err(Refusal {
                    code: status.code(),
                    errors,
                })
            }
        }
    }

    /// A new connection to it.
    pub fn connect(&self) -> Peer {
        Peer::connect(self.kafka)
    }

    /// Resident memory of the process, bytes.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .expect("the process lives");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .expect("a resident size");
        let kib = line.trim().trim_end_matches(" kB").trim();
        kib.parse::<u64>().expect("a number") << 10
    }

    /// Fails unless the process lives, is smaller than `bytes_max`, and has not panicked.
    pub fn assert_well(&mut self, bytes_max: u64, after: &str) {
        let ended = self.child.try_wait().expect("asked");
        assert!(ended.is_none(), "{after}: {ended:?}: {}", self.errors());
        let resident = self.resident_bytes();
        assert!(
            resident < bytes_max,
            "{after}: {} MiB resident, {} allowed",
            resident >> 20,
            bytes_max >> 20
        );
        let errors = self.errors();
        assert!(!errors.contains("panicked"), "{after}: {errors}");
    }

    /// What it has written on standard error.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(&self.errors).expect("standard error")
    }

    /// Ends it as an operator does, and says how it ended.
    pub fn stop(mut self) -> Option<i32> {
        kill_process(self.pid(), Signal::TERM).expect("signalled");
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("asked") {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("still there a minute after SIGTERM: {}", self.errors())
    }

    /// Ends it as a power switch does (what the page cache holds stays).
    pub fn kill(mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("gone");
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let errors = self.errors();
            assert!(!errors.contains("panicked"), "{errors}");
        }
    }
}
