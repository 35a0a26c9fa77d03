//! What a shard knows of the cluster around it: topics, and what groups set for themselves.
//!
//! The host hands in a view whenever it has a newer one ([`crate::Shard::follow`]); between two
//! calls it does not change, so a step is a function of its arguments and this.

use std::sync::Arc;

use wire::ids::TopicId;

/// A topic, as far as groups care.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: i32,
}

/// What a group sets for itself, milliseconds; `None` where the broker's setting holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupOverrides {
    /// `consumer.session.timeout.ms`.
    pub session_timeout_ms: Option<i32>,
    /// `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: Option<i32>,
    /// `consumer.assignment.interval.ms`.
    pub assignment_interval_ms: Option<i32>,
}

/// A view of the cluster at one moment.
pub trait Cluster: std::fmt::Debug + Send + Sync {
    /// Differs whenever a topic has appeared, gone or got partitions.
    fn topics_version(&self) -> u64;

    /// A topic by name.
    fn topic(&self, name: &str) -> Option<TopicFacts>;

    /// A topic by id.
    fn topic_by_id(&self, id: TopicId) -> Option<TopicFacts>;

    /// The racks of a partition's replicas, where they have one.
    fn racks(&self, id: TopicId, partition: i32) -> Vec<Arc<str>>;

    /// Shows every topic's name.
    fn each_topic(&self, show: &mut dyn FnMut(&Arc<str>));

    /// What a group sets for itself.
    fn group_overrides(&self, group: &str) -> GroupOverrides;
}

/// A cluster without topics: what a shard knows before it is told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nothing;

impl Cluster for Nothing {
    fn topics_version(&self) -> u64 {
        0
    }

    fn topic(&self, _: &str) -> Option<TopicFacts> {
        None
    }

    fn topic_by_id(&self, _: TopicId) -> Option<TopicFacts> {
        None
    }

    fn racks(&self, _: TopicId, _: i32) -> Vec<Arc<str>> {
        Vec::new()
    }

    fn each_topic(&self, _: &mut dyn FnMut(&Arc<str>)) {}

    fn group_overrides(&self, _: &str) -> GroupOverrides {
        GroupOverrides::default()
    }
}
