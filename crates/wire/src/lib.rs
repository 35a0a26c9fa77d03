//! Kafka's wire: frames, messages and record batches. Bytes in, types out, no I/O.
//!
//! Invariants:
//! - Nothing received is trusted: every length is checked against the bytes that are there before
//!   anything is allocated (rule W8), and no input makes a function panic.
//! - The API table ([`api::TABLE`]) is the only list of what is served. The gate, ApiVersions and
//!   every version cap read it.
//! - Record batches stay bytes. Their header is read and stamped in place; records are decoded
//!   only where a rule asks for it.
//! - Whatever is decompressed has a cap.
//!
//! Two layers: the hot path is written by hand ([`frame`], [`header`], [`api_versions`],
//! [`produce`], [`fetch`], [`batch`], [`record`]), everything else is generated and reached only through [`messages`].
//!
//! This crate must never know sockets, files, clocks, threads, topics that exist, or who is
//! allowed what.

pub mod api;
pub mod api_versions;
pub mod batch;
pub mod compress;
pub mod error;
pub mod fetch;
pub mod frame;
pub mod header;
pub mod ids;
pub mod lag;
pub mod messages;
pub mod produce;
pub mod protocol_metadata;
pub mod record;
pub mod throttle;

pub use api::{Api, ApiKey, CloseReason, Gate};
pub use error::ErrorCode;
pub use ids::{BrokerId, LeaderEpoch, Offset, ProducerEpoch, ProducerId, TopicId};
