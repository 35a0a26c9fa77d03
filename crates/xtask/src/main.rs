//! Chores of the repository: `cargo xtask tidy` checks what can be checked, `cargo xtask scale`
//! measures a broker with many partitions.
//!
//! Never part of the product; reads the working tree and `cargo metadata`, writes only to the
//! terminal and to a scratch folder.
#![expect(
    clippy::disallowed_methods,
    reason = "drives real processes on the real clock and disk; no part of the product"
)]

mod scale;
mod tidy;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut out = std::io::stdout().lock();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let verdict = match arguments.first().map(String::as_str) {
        Some("tidy") => tidy::run(&root),
        Some("scale") => {
            return match scale::run(&arguments[1..], &mut out) {
                Ok(()) => ExitCode::SUCCESS,
                Err(reason) => {
                    let _ = writeln!(out, "scale: {reason}");
                    ExitCode::FAILURE
                }
            };
        }
        _ => {
            let _ = writeln!(out, "usage: cargo xtask tidy\n       {}", scale::USAGE);
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
