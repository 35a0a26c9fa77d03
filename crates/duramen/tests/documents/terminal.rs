//! A terminal of a hundred columns: what a program shows there, as a reader sees it.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Around the exit code that ends a command; no program prints it.
const MARK: char = '\u{1}';

/// Width of what the pages show.
const COLUMNS: u16 = 100;

/// One terminal.
pub struct Terminal {
    /// The file to open as output.
    pub path: String,
    /// Without it, the terminal would end with the first program on it.
    _held: File,
    bytes: Receiver<Vec<u8>>,
    text: String,
}

/// What a command did.
pub struct Answer {
    /// What was shown, by line.
    pub lines: Vec<String>,
    /// How it ended; none while it runs.
    pub exit: Option<i32>,
}

impl Terminal {
    /// A new one. None where this machine has none to give.
    pub fn open() -> Option<Terminal> {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).ok()?;
        grantpt(&master).ok()?;
        unlockpt(&master).ok()?;
        let path = ptsname(&master, Vec::new()).ok()?.into_string().ok()?;
        let held = File::options().read(true).write(true).open(&path).ok()?;
        let size = Winsize {
            ws_row: 50,
            ws_col: COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&held, size).ok()?;
        let (sender, bytes) = channel();
        std::thread::spawn(move || {
            let mut master = File::from(master);
            let mut buffer = [0; 4096];
            while let Ok(count) = master.read(&mut buffer)
                && count > 0
                && sender.send(buffer[..count].to_vec()).is_ok()
            {}
        });
        Some(Terminal {
            path,
            _held: held,
            bytes,
            text: String::new(),
        })
    }

    /// Waits a moment for more; false when none came.
    pub fn wait(&mut self, moment: Duration) -> bool {
        match self.bytes.recv_timeout(moment) {
            Ok(bytes) => {
                self.text.push_str(&String::from_utf8_lossy(&bytes));
                true
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        }
    }

    /// What was shown since the last command ended.
    pub fn answer(&self) -> Answer {
        let mut parts = self.text.splitn(3, MARK);
        let said = parts.next().unwrap_or_default();
        let exit = match (parts.next(), parts.next()) {
            (Some(exit), Some(_)) => Some(exit.parse().unwrap_or(-1)),
            _ => None,
        };
        let mut lines: Vec<String> = plain(said).lines().map(as_seen).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        Answer { lines, exit }
    }

    /// Forgets the command that ended.
    pub fn clear(&mut self) {
        let rest = self.text.splitn(3, MARK).nth(2).unwrap_or_default();
        self.text = rest.to_owned();
    }
}

/// Without colours and other orders to the terminal.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\u{1b}' {
            plain.push(char);
        } else if chars.next() == Some('[') {
            // The order ends with a letter.
            chars.find(|char| ('@'..='~').contains(char));
        }
    }
    plain
}

/// A line as it stays on the screen: what a carriage return wrote over is gone.
fn as_seen(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    line.rsplit('\r')
        .next()
        .unwrap_or_default()
        .trim_end()
        .to_owned()
}
