//! Sockets to partitions: connections, one file per API, hosting of the organs.
//!
//! The house that holds the organs together: it turns frames into calls on the logs, the
//! metadata and the coordinators, and lets answers leave when what they say is durable.
//!
//! The walk of a request: `connection` (frames in order) → `dispatch` (the one table from API
//! key to handler) → the file named after the API → `partitions` and `commitlog`. Back: the log
//! rings each `reactor` once per group, whose pump wakes the connections concerned.
//!
//! Invariants:
//! - Nothing is acknowledged that the topic's sync policy does not cover.
//! - Answers leave a connection in the order of its requests (W7).
//! - Memory is bounded under any load by the limits in `limits.rs`; at a limit clients are held
//!   back or closed, never lied to, and nothing that was accepted is dropped.
//! - What an answer says about metadata is hosted here when it leaves.
//!
//! This crate must never know file formats, record contents (but for the keys that compaction
//! needs), the command line, HTTP, SQL, or how metadata is agreed on.

pub mod advertised;
mod alter_client_quotas;
mod alter_configs;
mod alter_partition_reassignments;
mod api_versions;
pub mod authorized;
mod bell;
mod buffers;
mod census;
mod close;
mod config_change;
mod config_resource;
mod config_view;
mod connection;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod control;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_client_quotas;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_quorum;
mod describe_topic_partitions;
mod describe_user_scram_credentials;
pub mod dispatch;
mod elect_leaders;
mod features;
mod fetch;
mod fetch_answer;
mod fetch_sessions;
mod find_coordinator;
mod group_host;
mod group_view;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod input;
mod join_group;
mod leave_group;
mod limits;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_partition_reassignments;
mod loggers;
mod mentions;
mod metadata_api;
mod metrics;
mod node;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod outgoing;
mod partitions;
mod permits;
mod produce;
mod quotas;
mod rate;
mod reactor;
mod record_checks;
mod replica;
mod session;
mod start;
mod sync_group;
mod timer;
mod unregister_broker;
mod update_features;

pub use advertised::{Advertised, Surroundings};
pub use census::{Census, GroupFigures, OffsetFigures, PartitionFigures, Reader, TopicFigures};
pub use close::CloseReason;
pub use coordinator::{Counts as GroupCounts, Rebalances};
pub use fetch_sessions::SessionCounts;
pub use limits::Limits;
pub use loggers::{Level, Loggers, ROOT as ROOT_LOGGER};
pub use metrics::{
    ApiSnapshot, LATENCY_BUCKETS, PartitionCounts, Snapshot, ThrottleCounts, TopicCounts,
};
pub use node::Node;
pub use session::ListenerConfig;
pub use start::{Broker, BrokerConfig, StartError};
