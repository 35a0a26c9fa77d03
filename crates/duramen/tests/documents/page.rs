//! A page of Markdown, and the transcripts in it.
//!
//! A block with the language `console` is run. After the language may stand `needs=kcat,curl`: it is run
//! where these programs are, and skipped with a line elsewhere; or `not-run="reason"`. A block inside a
//! comment is run too: what the reader of the page has already.

use std::ops::Range;

/// Programs whose name at the start of a line in a block makes the line a command.
const PROGRAMS: [&str; 8] = [
    "duramen",
    "kcat",
    "curl",
    "docker",
    "systemctl",
    "journalctl",
    "apt",
    "promtool",
];

/// One page.
pub struct Page {
    /// Path from the root of the repository.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its blocks to run, in order.
    pub blocks: Vec<Block>,
    /// What a maintainer has to mend before it can be run: one line each.
    pub wrong: Vec<String>,
}

/// One transcript.
pub struct Block {
    /// Programs it needs that a bare machine may not have.
    pub needs: Vec<String>,
    /// What is typed, in order.
    pub steps: Vec<Step>,
}

/// What is typed at once, and what is shown then.
#[derive(Debug)]
pub struct Step {
    /// The line of the page it stands on, from 1.
    pub line: usize,
    /// What is typed.
    pub typed: Typed,
    /// Lines shown.
    pub shown: Shown,
    /// It is ended with Ctrl-C; lines shown after that.
    pub interrupted: Option<Shown>,
}

/// What is typed.
#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// A command.
    Command(String),
    /// Ctrl-C, where the last server runs.
    Interrupt,
}

/// Lines of output on the page.
#[derive(Debug)]
pub struct Shown {
    /// Which lines of the page, from 0.
    pub lines: Range<usize>,
    /// What they say, without empty lines at the end.
    pub text: Vec<String>,
}

impl Page {
    /// Reads a page.
    pub fn parse(name: &str, text: &str) -> Page {
        let lines: Vec<&str> = text.lines().collect();
        let mut page = Page {
            name: name.to_owned(),
            text: text.to_owned(),
            blocks: Vec::new(),
            wrong: Vec::new(),
        };
        let mut at = 0;
        while at < lines.len() {
            let Some(words) = lines[at].trim_start().strip_prefix("```") else {
                page.check_stray(at, lines[at], false);
                at += 1;
                continue;
            };
            let first = at + 1;
            let closes = |line: &&str| line.trim() == "```";
            let Some(length) = lines[first..].iter().position(closes) else {
                page.complain(at, "this block has no end");
                break;
            };
            let inside = first..first + length;
            at = inside.end + 1;
            match words.trim().split_once(' ').unwrap_or((words.trim(), "")) {
                ("console", more) => match Mark::parse(more.trim()) {
                    Ok(Mark::Run(needs)) => page.add_block(&lines, inside, needs),
                    Ok(Mark::NotRun) => {}
                    Err(reason) => page.complain(first - 1, &reason),
                },
                _ => {
                    for line in inside {
                        page.check_stray(line, lines[line], true);
                    }
                }
            }
        }
        page
    }

    /// Whether anything is run.
    pub fn has_commands(&self) -> bool {
        self.blocks.iter().any(|block| !block.steps.is_empty())
    }

    fn complain(&mut self, line: usize, what: &str) {
        self.wrong
            .push(format!("{}:{}: {what}", self.name, line + 1));
    }

    fn check_stray(&mut self, at: usize, line: &str, fenced: bool) {
        let line = line.trim_start();
        let first = line.split(' ').next().unwrap_or_default();
        if line.starts_with("$ ") || (fenced && PROGRAMS.contains(&first)) {
            self.complain(
                at,
                "a command outside a ```console block is not run: move it into one",
            );
        }
    }

    fn add_block(&mut self, lines: &[&str], inside: Range<usize>, needs: Vec<String>) {
        let mut steps: Vec<Step> = Vec::new();
        let mut at = inside.start;
        while at < inside.end {
            let line = lines[at];
            let number = at + 1;
            at += 1;
            if line == "^C" && steps.is_empty() {
                let shown = take_output(lines, &mut at, inside.end);
                steps.push(Step {
                    line: number,
                    typed: Typed::Interrupt,
                    shown,
                    interrupted: None,
                });
            } else if line == "^C" {
                let shown = take_output(lines, &mut at, inside.end);
                let last = steps.last_mut().unwrap();
                if last.interrupted.replace(shown).is_some() || last.typed == Typed::Interrupt {
                    self.complain(number - 1, "Ctrl-C twice: the first ended it");
                }
            } else if let Some(command) = line.strip_prefix("$ ") {
                let mut command = command.to_owned();
                while at < inside.end
                    && let Some(more) = lines[at].strip_prefix("> ")
                {
                    command.push('\n');
                    command.push_str(more);
                    at += 1;
                }
                let shown = take_output(lines, &mut at, inside.end);
                steps.push(Step {
                    line: number,
                    typed: Typed::Command(command),
                    shown,
                    interrupted: None,
                });
            } else {
                self.complain(number - 1, "a block begins with `$ ` or with `^C`");
            }
        }
        if steps.is_empty() {
            self.complain(inside.start - 1, "a ```console block without a command");
        }
        self.blocks.push(Block { needs, steps });
    }
}

/// The lines up to the next command or Ctrl-C.
fn take_output(lines: &[&str], at: &mut usize, end: usize) -> Shown {
    let first = *at;
    while *at < end && !lines[*at].starts_with("$ ") && lines[*at] != "^C" {
        *at += 1;
    }
    let mut last = *at;
    while last > first && lines[last - 1].trim().is_empty() {
        last -= 1;
    }
    Shown {
        lines: first..last,
        text: lines[first..last]
            .iter()
            .map(|line| line.trim_end().to_owned())
            .collect(),
    }
}

/// What stands after `console`.
enum Mark {
    /// Run where these programs are.
    Run(Vec<String>),
    /// Not run, for a reason that stands there.
    NotRun,
}

impl Mark {
    fn parse(text: &str) -> Result<Mark, String> {
        if text.is_empty() {
            return Ok(Mark::Run(Vec::new()));
        }
        if let Some(needs) = text.strip_prefix("needs=") {
            return Ok(Mark::Run(needs.split(',').map(str::to_owned).collect()));
        }
        let reason = text.strip_prefix("not-run=\"");
        match reason.and_then(|reason| reason.strip_suffix('"')) {
            Some(reason) if reason.split_whitespace().count() > 1 => Ok(Mark::NotRun),
            Some(_) => Err("not-run=\"…\": say in words why it is not run".to_owned()),
            None => Err(format!(
                "{text}: after console stands needs=PROGRAM,… or not-run=\"reason\""
            )),
        }
    }
}
