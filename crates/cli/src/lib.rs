//! The commands, one file each: they talk Kafka through `client`, like any stranger.
//!
//! Invariants: a table on a terminal, JSON lines when piped; an error is three lines (what failed,
//! the likely cause, the next command); nothing ever waits for a key press.
//!
//! This crate must never know the broker, its files or its organs.

pub mod failure;

pub use failure::Failure;
