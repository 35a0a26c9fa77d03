//! Foreign clients against the built binary: each of them a program that somebody else wrote and that
//! knows nothing of us, driven through the same stories, with every record compared to what was sent.
//!
//! Invariants:
//! - A story passes only if the contents are right: each record once, whole, in order within its key.
//! - A story that could not run is a failure, never a silence (`--allow-missing` forgives tools that
//!   are not installed, and says so).
//! - The stories hold against Apache Kafka too (`--kafka`): they test the protocol, not our habits.
//!
//! It must never know a crate of the product: it starts the binary and speaks through strangers.
//! What the strangers need is brought by `crates/e2e/install`.
#![expect(
    clippy::disallowed_methods,
    reason = "drives real processes on the real clock and disk; no part of the product"
)]

mod broker;
mod connect;
mod dissect;
mod durable;
mod flights;
mod flow;
mod kcat;
mod lag;
mod libraries;
mod matrix;
mod measure;
mod program;
mod prometheus;
mod restart;
mod run;
mod table;
mod tools;

pub use run::main;
