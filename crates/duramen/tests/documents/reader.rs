//! A reader who follows a page: a directory, a shell, and a terminal more for each server.
//!
//! Nothing of this machine is touched. The program on the shell's path is the one that was just built;
//! `cargo run --release -- …` stands for it too. The ports that pages name become free ones in what is
//! typed, and are named again in what is shown, so pages are read beside each other and beside a broker
//! of the machine's own.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::page::{Page, Shown, Step, Typed};
use crate::shown::{ANY, difference, matches, matches_first, merge};
use crate::terminal::{Answer, Terminal};

/// Longest wait for a command; only a broken program or page needs it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a command that says nothing is looked after.
const MOMENT: Duration = Duration::from_millis(100);

/// What every server says when it serves.
const READY: &str = "Transitioning from RECOVERY to RUNNING";

/// Ports that pages name.
const PORTS: [u16; 5] = [9092, 8080, 9093, 9192, 8180];

/// Where they lead to meanwhile: as many digits, so that tables keep their shape, and no number that
/// is likely to be shown for another reason.
const FREE_PORTS: std::ops::Range<u16> = 6100..8000;

/// Ports that readers of this process have.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// What came of a page.
pub struct Reading {
    /// Where the program says something else than the page.
    pub complaints: Vec<String>,
    /// Blocks that were left out, and why.
    pub skipped: Vec<String>,
    /// The page with what the program said.
    pub text: String,
}

/// Follows a page from its first command to its last.
pub fn read(page: &Page, update: bool) -> Reading {
    let mut reading = Reading {
        complaints: page.wrong.clone(),
        skipped: Vec::new(),
        text: page.text.clone(),
    };
    let Some(mut reader) = Reader::sit_down() else {
        reading
            .skipped
            .push(format!("{}: this machine has no terminals", page.name));
        return reading;
    };
    let mut edits: Vec<(std::ops::Range<usize>, Vec<String>)> = Vec::new();
    'page: for block in &page.blocks {
        if let Some(missing) = block.needs.iter().find(|name| !is_installed(name)) {
            let line = block.steps.first().map_or(0, |step| step.line);
            reading.skipped.push(format!(
                "{}:{line}: no {missing} on this machine",
                page.name
            ));
            continue;
        }
        for (at, step) in block.steps.iter().enumerate() {
            let fails = shows_failure(step, block.steps.get(at + 1));
            for outcome in reader.follow(step, fails, update) {
                let place = format!("{}:{}", page.name, step.line);
                match outcome {
                    Outcome::Same => {}
                    Outcome::Differs { shown, said } if update => {
                        edits.push((shown.lines.clone(), merge(&shown.text, &said)));
                    }
                    Outcome::Differs { shown, said } => reading.complaints.push(format!(
                        "{place}: {} says something else\n{}",
                        step.typed_words(),
                        difference(&shown.text, &said)
                    )),
                    Outcome::Broken(reason) => {
                        let what = format!("{place}: {} {reason}", step.typed_words());
                        reading.complaints.push(what);
                        // What follows would only fail too.
                        break 'page;
                    }
                }
            }
        }
    }
    let left = reader.leave();
    reading
        .complaints
        .extend(left.iter().map(|what| format!("{}:{what}", page.name)));
    if update {
        reading.text = edited(&page.text, edits);
    }
    reading
}

/// A command may fail where the page shows that it does.
fn shows_failure(step: &Step, next: Option<&Step>) -> bool {
    let shown = step.shown.text.iter();
    let asked = next.is_some_and(
        |next| matches!(&next.typed, Typed::Command(command) if command.starts_with("echo $?")),
    );
    asked || shown.into_iter().any(|line| line.starts_with("error: "))
}

fn edited(text: &str, mut edits: Vec<(std::ops::Range<usize>, Vec<String>)>) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    edits.sort_by_key(|(range, _)| range.start);
    for (range, new) in edits.into_iter().rev() {
        lines.splice(range, new);
    }
    lines.join("\n") + "\n"
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

impl Step {
    fn typed_words(&self) -> String {
        match &self.typed {
            Typed::Command(command) => format!("`{}`", command.lines().next().unwrap_or_default()),
            Typed::Interrupt => "Ctrl-C".to_owned(),
        }
    }
}

/// What came of what was typed.
enum Outcome<'a> {
    Same,
    Differs { shown: &'a Shown, said: Vec<String> },
    Broken(String),
}

struct Reader {
    place: TempDir,
    shell: Child,
    typing: ChildStdin,
    terminal: Terminal,
    /// What each of [`PORTS`] became.
    ports: Vec<(u16, u16)>,
    /// Servers, in the order they were started.
    running: Vec<Running>,
    started: usize,
}

/// A program that goes on in a terminal of its own.
struct Running {
    terminal: Terminal,
    /// Where the program wrote its process id.
    id_file: std::path::PathBuf,
    line: usize,
    command: String,
    serves: bool,
    /// Lines the page has shown.
    seen: usize,
    /// The page wants to hear no more of it.
    rest_is_shown: bool,
}

impl Reader {
    fn sit_down() -> Option<Reader> {
        let terminal = Terminal::open()?;
        // A short name, of the same length everywhere: tables have it in them.
        let place = tempfile::tempdir_in("/tmp").or_else(|_| tempfile::tempdir());
        let place = place.unwrap();
        let ports = free_ports();
        let programs = place.path().join(".programs");
        std::fs::create_dir_all(&programs).unwrap();
        for (name, text) in [
            ("duramen", wrapper(&ports)),
            ("cargo", CARGO_RUN.to_owned()),
        ] {
            let path = programs.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        }
        let output = || File::options().write(true).open(&terminal.path).unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("sh")
            .current_dir(place.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("HOME", place.path())
            .env("TMPDIR", place.path())
            .env("TERM", "xterm")
            .env("NO_COLOR", "1")
            .env("LANG", "C.UTF-8")
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(output())
            .stderr(output())
            // Whatever the page starts ends with the page.
            .process_group(0)
            .spawn()
            .unwrap();
        Some(Reader {
            typing: shell.stdin.take().unwrap(),
            shell,
            terminal,
            place,
            ports,
            running: Vec::new(),
            started: 0,
        })
    }

    fn follow<'a>(&mut self, step: &'a Step, fails: bool, update: bool) -> Vec<Outcome<'a>> {
        match &step.typed {
            Typed::Interrupt => vec![self.interrupt(&step.shown)],
            Typed::Command(command) if step.interrupted.is_some() || serves(command) => {
                let mut outcomes = vec![self.start(command, step, fails)];
                if let Some(shown) = &step.interrupted
                    && !matches!(outcomes[0], Outcome::Broken(_))
                {
                    outcomes.push(self.interrupt(shown));
                }
                outcomes
            }
            // An update is what makes a page show that a command fails.
            Typed::Command(command) => vec![self.run(command, &step.shown, fails || update)],
        }
    }

    /// A command that ends by itself.
    fn run<'a>(&mut self, command: &str, shown: &'a Shown, may_fail: bool) -> Outcome<'a> {
        let command = self.typed(command);
        let line = format!(
            "{{ {command}\n}} </dev/null; said=$?; printf '\\001%d\\001' $said; (exit $said)\n"
        );
        let _ = self.typing.write_all(line.as_bytes());
        let deadline = Instant::now() + PATIENCE;
        let exit = loop {
            if let Some(exit) = self.terminal.answer().exit {
                break exit;
            }
            let more = self.terminal.wait(MOMENT);
            if !more && (Instant::now() > deadline || self.shell.try_wait().unwrap().is_some()) {
                let said = self.as_shown(self.terminal.answer().lines).join("\n  ");
                return Outcome::Broken(format!("does not end. It said:\n  {said}"));
            }
        };
        let said = self.as_shown(self.terminal.answer().lines);
        self.terminal.clear();
        if exit != 0 && !may_fail {
            return Outcome::Broken(format!(
                "fails with exit code {exit}, and the page does not show `error: …` or `echo $?`. It \
                 said:\n  {}",
                said.join("\n  ")
            ));
        }
        if matches(&shown.text, &said) {
            return Outcome::Same;
        }
        Outcome::Differs { shown, said }
    }

    /// A command that goes on; the page goes on when it has said what is shown.
    fn start<'a>(&mut self, command: &str, step: &'a Step, fails: bool) -> Outcome<'a> {
        let Some(terminal) = Terminal::open() else {
            return Outcome::Broken("has no terminal to run in".to_owned());
        };
        self.started += 1;
        let id_file = self.place.path().join(format!(".running-{}", self.started));
        let line = format!(
            "( PAGE_RUNNING='{}'; export PAGE_RUNNING; {{ {}\n}} </dev/null >'{path}' 2>&1; \
             printf '\\001%d\\001' $? >'{path}' ) 2>/dev/null &\n",
            id_file.display(),
            self.typed(command),
            path = terminal.path,
        );
        let _ = self.typing.write_all(line.as_bytes());
        let mut running = Running {
            terminal,
            id_file,
            line: step.line,
            command: step.typed_words(),
            serves: serves(command),
            seen: 0,
            rest_is_shown: step.shown.text.last().is_some_and(|line| line == ANY),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Answer { lines, exit } = running.terminal.answer();
            let said = self.as_shown(lines);
            if exit.is_some_and(|exit| exit != 0) && !fails {
                return Outcome::Broken(format!("ends at once. It said:\n  {}", said.join("\n  ")));
            }
            let is_ready = match running.serves {
                true => said.iter().any(|line| line.contains(READY)),
                // Without its id it could not be ended.
                false => std::fs::metadata(&running.id_file).is_ok_and(|file| file.len() > 0),
            };
            if let Some(seen) = matches_first(&step.shown.text, &said)
                && (is_ready || exit.is_some())
            {
                running.seen = seen;
                self.running.push(running);
                return Outcome::Same;
            }
            let more = running.terminal.wait(MOMENT);
            if !more && (exit.is_some() || Instant::now() > deadline) {
                running.seen = said.len();
                self.running.push(running);
                let shown = &step.shown;
                return Outcome::Differs { shown, said };
            }
        }
    }

    /// Ctrl-C where the last server runs, and what that says to its end.
    fn interrupt<'a>(&mut self, shown: &'a Shown) -> Outcome<'a> {
        let Some(mut running) = self.running.pop() else {
            return Outcome::Broken("has nothing to end".to_owned());
        };
        let id = std::fs::read_to_string(&running.id_file).unwrap_or_default();
        // What a shell runs on the side ignores Ctrl-C unless it asks for it, as servers do.
        let signal = match running.serves {
            true => "-INT",
            false => "-TERM",
        };
        let sent = Command::new("kill").args([signal, id.trim()]).status();
        if !sent.is_ok_and(|status| status.success()) {
            return Outcome::Broken(format!("finds no {} to end", running.command));
        }
        let deadline = Instant::now() + PATIENCE;
        while running.terminal.answer().exit.is_none() {
            if !running.terminal.wait(MOMENT) && Instant::now() > deadline {
                return Outcome::Broken(format!("does not end {}", running.command));
            }
        }
        let mut said = self.as_shown(running.terminal.answer().lines);
        let mut said = said.split_off(running.seen.min(said.len()));
        // Some shells say how it ended; nobody at a terminal sees that of Ctrl-C.
        said.retain(|line| !line.is_empty() && line != "Terminated");
        if running.rest_is_shown || matches(&shown.text, &said) {
            return Outcome::Same;
        }
        Outcome::Differs { shown, said }
    }

    /// Ends what still runs; tells what it said that the page does not show.
    fn leave(mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        for mut running in std::mem::take(&mut self.running) {
            while running.terminal.wait(Duration::ZERO) {}
            let said = self.as_shown(running.terminal.answer().lines);
            let more = said.get(running.seen..).unwrap_or_default();
            if !running.rest_is_shown && more.iter().any(|line| !line.is_empty()) {
                complaints.push(format!(
                    "{}: {} says more than the page shows:\n  {}",
                    running.line,
                    running.command,
                    more.join("\n  ")
                ));
            }
        }
        complaints
    }

    /// What is typed, with the ports that are free.
    fn typed(&self, command: &str) -> String {
        let swaps = self.ports.iter().map(|(named, free)| (*named, *free));
        with_numbers(command, &swaps.collect::<Vec<_>>())
    }

    /// What is shown, with the ports that pages name.
    fn as_shown(&self, lines: Vec<String>) -> Vec<String> {
        let swaps: Vec<(u16, u16)> = self
            .ports
            .iter()
            .map(|(named, free)| (*free, *named))
            .collect();
        let line = |line: String| with_numbers(&line, &swaps);
        lines.into_iter().map(line).collect()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let group = format!("-{}", self.shell.id());
        let _ = Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
        let _ = self.shell.wait();
        let mut taken = TAKEN.lock().unwrap();
        for (_, free) in &self.ports {
            taken.remove(free);
        }
    }
}

/// Whether it goes on until it is stopped.
fn serves(command: &str) -> bool {
    let first = |words: &str| {
        let after = command.split("duramen ").nth(1).unwrap_or_default();
        after.starts_with(words)
    };
    let asks = command.contains("--help") || command.ends_with('&');
    !asks && (first("dev") || first("server start") || command.ends_with("-- dev"))
}

/// The text with whole numbers in place of others.
fn with_numbers(text: &str, swaps: &[(u16, u16)]) -> String {
    let mut swapped = String::new();
    let mut digits = String::new();
    for char in text.chars().chain(['\0']) {
        if char.is_ascii_digit() {
            digits.push(char);
            continue;
        }
        let found = swaps.iter().find(|(from, _)| from.to_string() == digits);
        match found {
            Some((_, to)) => swapped.push_str(&to.to_string()),
            None => swapped.push_str(&digits),
        }
        digits.clear();
        swapped.push(char);
    }
    swapped.pop();
    swapped
}

/// A free port for each that pages name.
fn free_ports() -> Vec<(u16, u16)> {
    let mut taken = TAKEN.lock().unwrap();
    let mut free = || {
        loop {
            let port = fastrand::u16(FREE_PORTS);
            if TcpListener::bind(("127.0.0.1", port)).is_ok() && taken.insert(port) {
                return port;
            }
        }
    };
    PORTS.into_iter().map(|named| (named, free())).collect()
}

/// The program as it was built, on the ports of this reader.
fn wrapper(ports: &[(u16, u16)]) -> String {
    let binary = env!("CARGO_BIN_EXE_duramen");
    let (kafka, http) = (ports[0].1, ports[1].1);
    format!(
        r#"#!/bin/sh
if [ -n "$PAGE_RUNNING" ]; then echo $$ >"$PAGE_RUNNING"; fi
if [ ! -e "$HOME/.config/duramen" ]; then
    export DURAMEN_BROKERS="${{DURAMEN_BROKERS:-127.0.0.1:{kafka}}}"
fi
case "$1" in dev | server)
    case " $* " in *" --port "* | *" --http"* | *" --help "*) ;; *) set -- "$@" --http 127.0.0.1:{http} ;; esac
esac
case "$1" in dev)
    case " $* " in *" --port "* | *" --listen"* | *" --help "*) ;; *) set -- "$@" --listen 127.0.0.1:{kafka} ;; esac
esac
exec '{binary}' "$@"
"#
    )
}

/// The command of the README is the program.
const CARGO_RUN: &str = r#"#!/bin/sh
if [ "$1 $2 $3" != "run --release --" ]; then echo "cargo $*: not run from a page" >&2; exit 2; fi
shift 3
exec duramen "$@"
"#;
