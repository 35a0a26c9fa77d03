//! The cluster as the coordinators of groups see it: topics, racks, what groups set for themselves.

use std::sync::Arc;

use coordinator::{Cluster, GroupOverrides, TopicFacts};
use metadata::config::StaticConfig;
use metadata::{Image, Resource, Topic};
use wire::ids::TopicId;

/// One image of the metadata.
pub struct GroupView {
    image: Arc<Image>,
    settings: Arc<StaticConfig>,
}

impl GroupView {
    /// This image, with the bounds of groups' settings from the broker's.
    pub fn new(image: Arc<Image>, settings: Arc<StaticConfig>) -> GroupView {
        GroupView { image, settings }
    }
}

impl std::fmt::Debug for GroupView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupView")
            .field("offset", &self.image.offset())
            .finish_non_exhaustive()
    }
}

impl Cluster for GroupView {
    fn topics_version(&self) -> u64 {
        self.image.topics_version().0
    }

    fn topic(&self, name: &str) -> Option<TopicFacts> {
        self.image.topic(name).map(|topic| facts(topic))
    }

    fn topic_by_id(&self, id: TopicId) -> Option<TopicFacts> {
        self.image.topic_by_id(id).map(|topic| facts(topic))
    }

    fn racks(&self, id: TopicId, partition: i32) -> Vec<Arc<str>> {
        let Some(partition) = self.image.partition(id, partition) else {
            return Vec::new();
        };
        // A broker that is gone still stands among the replicas.
        self.image
            .brokers()
            .filter(|broker| partition.replicas.contains(broker.id))
            .filter_map(|broker| broker.rack.as_deref().map(Arc::from))
            .collect()
    }

    fn each_topic(&self, show: &mut dyn FnMut(&Arc<str>)) {
        for topic in self.image.topics() {
            show(&topic.name);
        }
    }

    fn group_overrides(&self, group: &str) -> GroupOverrides {
        let Some(own) = self.image.config(&Resource::Group(group.to_owned())) else {
            return GroupOverrides::default();
        };
        // As in Kafka, bounds that were narrowed later hold for what was set before.
        let number = |name: &str| {
            let value: i64 = own.get(&format!("consumer.{name}"))?.trim().parse().ok()?;
            let bound = |which: &str| {
                self.settings
                    .number(&format!("group.consumer.{which}.{name}"))
            };
            let (low, high) = (bound("min"), bound("max"));
            i32::try_from(value.clamp(low, high.max(low))).ok()
        };
        GroupOverrides {
            session_timeout_ms: number("session.timeout.ms"),
            heartbeat_interval_ms: number("heartbeat.interval.ms"),
            assignment_interval_ms: number("assignment.interval.ms"),
        }
    }
}

fn facts(topic: &Topic) -> TopicFacts {
    TopicFacts {
        name: topic.name.clone(),
        id: topic.id,
        partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
    }
}
