//! Stories of a whole broker in a simulated world: frames in, frames out, one seed, virtual time.
//!
//! Each test cites the rule of the design it is about.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed story")]

mod admin_cluster;
mod admin_configs;
mod admin_logs;
mod admin_topics;
mod admin_width;
mod allocations;
mod census;
mod compacted_topics;
mod connections;
#[path = "../../../wire/tests/bytes/counting.rs"]
mod counting;
mod every_version;
mod fetch_sessions;
mod fetching;
mod frames;
mod groups;
mod metadata_answers;
mod producing;
mod quotas;
mod stage;
