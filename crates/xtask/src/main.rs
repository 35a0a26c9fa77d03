//! Chores of the repository: `cargo xtask tidy` checks what can be checked.
//!
//! Never part of the product; reads the working tree and `cargo metadata`, writes only to the
//! terminal.

mod tidy;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut out = std::io::stdout().lock();
    let verdict = match std::env::args().nth(1).as_deref() {
        Some("tidy") => tidy::run(&root),
        _ => {
            let _ = writeln!(out, "usage: cargo xtask tidy");
            return ExitCode::from(2);
        }
    };
    for complaint in &verdict {
        let _ = writeln!(out, "{complaint}");
    }
    let _ = writeln!(out, "tidy: {} complaints", verdict.len());
    if verdict.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
