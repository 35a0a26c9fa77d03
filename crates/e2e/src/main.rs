//! The runner: `cargo run -p e2e --release -- --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    e2e::main(std::env::args().skip(1).collect())
}
