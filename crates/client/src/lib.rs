//! Our Kafka producer, consumer and admin, over any broker that speaks Kafka.
//!
//! Invariants:
//! - Every request has a deadline and every retry a limit.
//! - One task uses a [`Client`] at a time; nothing runs in the background, so a program that stops
//!   calling has nothing in flight it does not know of.
//! - The producer is idempotent with acks=all unless told otherwise: a retried batch is stored once.
//!
//! This crate must never know the broker's insides: it is a stranger to it, and so tests it.

mod admin;
mod cluster;
mod connection;
mod consumer;
mod error;
mod fetch;
mod groups;
mod inventory;
mod members;
mod offsets;
mod partitioner;
mod patience;
mod producer;
mod quotas;

pub use admin::{Config, CreatedTopic, NewTopic, Resource};
pub use cluster::{BrokerView, Client, ClusterView, PartitionView, Reach, TopicView, with_port};
pub use connection::{Call, Observer};
pub use consumer::Consumer;
pub use error::ClientError;
pub use fetch::{BatchFacts, FetchOptions, Place, Record};
pub use groups::{GroupKind, GroupListing, GroupView, MemberView};
pub use inventory::{LogDir, LogOnDisk};
pub use offsets::{At, Committed};
pub use partitioner::partition_for_key;
pub use producer::{NewRecord, Producer, ProducerOptions};
pub use quotas::{QuotaPart, QuotaView};
pub use wire::compress::Codec as Compression;
