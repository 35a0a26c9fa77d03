//! Chores of the repository: `cargo xtask tidy` checks what can be checked, `cargo xtask scale`
//! measures a broker with many partitions, `cargo xtask dist` builds what is shipped.
//!
//! Never part of the product; reads the working tree and `cargo metadata`, writes only to the
//! terminal, to a scratch folder and to `target/dist`.
#![expect(
    clippy::disallowed_methods,
    reason = "drives real processes on the real clock and disk; no part of the product"
)]

mod dist;
mod scale;
mod tidy;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().unwrap_or(root);
    let mut out = std::io::stdout().lock();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let chore = arguments.first().map(String::as_str);
    let outcome = match chore {
        Some("tidy") => return tidy(&root, &mut out),
        Some("scale") => scale::run(&arguments[1..], &mut out),
        Some("dist") => dist::run(&root, &arguments[1..], &mut out),
        _ => {
            let (scale, dist) = (scale::USAGE, dist::USAGE);
            let _ = writeln!(
                out,
                "usage: cargo xtask tidy\n       {scale}\n       {dist}"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(out, "{}: {reason}", chore.unwrap_or_default());
            ExitCode::FAILURE
        }
    }
}

fn tidy(root: &Path, out: &mut impl Write) -> ExitCode {
    let verdict = tidy::run(root);
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
