//! Stories of the built binary: started, asked by its own commands, stopped, killed, started again.
//!
//! Servers listen on loopback with free ports and keep their data in temporary directories.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed story")]

mod commands;
mod doctor;
mod group;
mod metrics;
mod network;
mod process;
mod push;
mod quota;
mod service;
mod starting;
mod stopping;
mod terminal;
mod verbs;
