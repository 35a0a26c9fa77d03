//! Every command that README and docs/ show is run, and says what the page says it says.
//!
//! A page's fenced blocks with the language `console` are transcripts (docs/testing.md tells how they
//! are written). `PAGE=docs/quickstart.md` runs one page; `UPDATE_PAGES=1` writes what the program said
//! into the pages; with `WHOLE_PAGES=1` a program that is missing is a failure.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed page")]
#![expect(
    clippy::disallowed_methods,
    reason = "a reader of pages lives in the world outside"
)]

mod page;
mod reader;
mod samples;
mod shown;
mod terminal;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use page::Page;
use reader::Reading;

/// Pages read at the same time; each has a broker of its own.
const READERS: usize = 3;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// README, CONTRIBUTING and everything below docs/, by path.
fn pages() -> Vec<Page> {
    let root = root();
    let mut paths = vec![root.join("README.md"), root.join("CONTRIBUTING.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "md") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        Page::parse(&name, &std::fs::read_to_string(path).unwrap())
    };
    paths.iter().map(read).collect()
}

#[test]
fn every_command_on_a_page_is_in_a_block_that_is_run_or_says_why_not() {
    let complaints: Vec<String> = pages().into_iter().flat_map(|page| page.wrong).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn every_page_shows_what_its_commands_say() {
    let wanted = std::env::var("PAGE").ok();
    let update = std::env::var_os("UPDATE_PAGES").is_some();
    let whole = std::env::var_os("WHOLE_PAGES").is_some();
    let chosen = |page: &Page| {
        page.has_commands()
            && wanted
                .as_ref()
                .is_none_or(|wanted| page.name.contains(wanted))
    };
    let queue: Mutex<VecDeque<Page>> = Mutex::new(pages().into_iter().filter(chosen).collect());
    let found: Mutex<Vec<String>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                loop {
                    let Some(page) = queue.lock().unwrap().pop_front() else {
                        return;
                    };
                    let Reading {
                        complaints,
                        skipped,
                        text,
                    } = reader::read(&page, update);
                    for reason in &skipped {
                        eprintln!("skipped: {reason}");
                    }
                    if whole {
                        found.lock().unwrap().extend(skipped);
                    }
                    if update && text != page.text {
                        std::fs::write(root().join(&page.name), text).unwrap();
                    }
                    found.lock().unwrap().extend(complaints);
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    assert!(
        found.is_empty(),
        "\n{}\n\nUPDATE_PAGES=1 writes what the program said into the pages; look at the difference.",
        found.join("\n")
    );
}
