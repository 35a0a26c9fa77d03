//! The cluster's metadata at one offset. Cheap to clone: what did not change is shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::ids::{BrokerId, TopicId};

use crate::partition::{DirectoryId, Partition};
use crate::quota::{QuotaEntity, QuotaMap};
use crate::shelf::Shelf;

/// A position in the metadata log; the image at it holds all commands up to and including it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetadataOffset(pub u64);

impl std::fmt::Display for MetadataOffset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its identity.
    pub id: TopicId,
    /// Its partitions, by number.
    pub partitions: Vec<Partition>,
}

/// What a listener speaks. The numbers are Kafka's security protocol ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Neither encrypted nor authenticated.
    Plaintext = 0,
    /// TLS.
    Tls = 1,
    /// SASL over plain TCP.
    SaslPlaintext = 2,
    /// SASL over TLS.
    SaslTls = 3,
}

/// Where a broker can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: String,
    /// The advertised host.
    pub host: String,
    /// The advertised port.
    pub port: u16,
    /// What it speaks.
    pub security: Security,
}

/// One registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its number.
    pub id: BrokerId,
    /// The offset of its registration: unique, and larger for every later one.
    pub epoch: i64,
    /// Which start of the process registered.
    pub incarnation: [u8; 16],
    /// Where it can be reached.
    pub endpoints: Vec<Endpoint>,
    /// Where it stands.
    pub rack: Option<String>,
    /// Registered but not serving: never a leader.
    pub fenced: bool,
    /// Giving up its leaderships.
    pub shutting_down: bool,
    /// Its data directories.
    pub directories: Vec<DirectoryId>,
}

impl Broker {
    /// Whether it may lead.
    pub fn is_active(&self) -> bool {
        !self.fenced && !self.shutting_down
    }
}

/// What a setting belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// A topic, by name.
    Topic(String),
    /// One broker.
    Broker(BrokerId),
    /// All brokers.
    ClusterDefault,
    /// A group, by its id.
    Group(String),
}

/// The settings of one resource, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMap(pub(crate) BTreeMap<Box<str>, Box<str>>);

impl ConfigMap {
    /// A key's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// All settings, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for ConfigMap {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(entries: I) -> ConfigMap {
        ConfigMap(
            entries
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

/// The cluster's metadata at one offset.
///
/// Changed only by [`crate::apply`]. Topics are found by id in one step, by name in two.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub(crate) offset: MetadataOffset,
    pub(crate) topics_version: MetadataOffset,
    pub(crate) cluster_id: Option<Arc<str>>,
    pub(crate) topics: Shelf<TopicId, Arc<Topic>>,
    pub(crate) names: Shelf<Arc<str>, TopicId>,
    /// Names with `.` or `_`, by their unified form (rule M9).
    pub(crate) unified: Shelf<Arc<str>, Arc<str>>,
    pub(crate) brokers: Arc<BTreeMap<BrokerId, Arc<Broker>>>,
    pub(crate) configs: Shelf<Resource, Arc<ConfigMap>>,
    pub(crate) quotas: Shelf<QuotaEntity, Arc<QuotaMap>>,
    pub(crate) features: Arc<BTreeMap<String, i16>>,
    pub(crate) producer_id_next: i64,
    pub(crate) partition_count: usize,
}

impl Image {
    /// The last command it holds.
    pub fn offset(&self) -> MetadataOffset {
        self.offset
    }

    /// The last command that created, deleted or enlarged a topic. After a snapshot was restored it
    /// is the snapshot's own offset, so it only tells whether two images of one node's life can
    /// differ in their topics.
    pub fn topics_version(&self) -> MetadataOffset {
        self.topics_version
    }

    /// The cluster's id, once the first start has named it.
    pub fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    /// A topic by name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(name)?)
    }

    /// A topic by id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// A partition by topic id and number.
    pub fn partition(&self, topic: TopicId, partition: i32) -> Option<&Partition> {
        self.topics
            .get(&topic)?
            .partitions
            .get(usize::try_from(partition).ok()?)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.names.iter().filter_map(|(_, id)| self.topics.get(id))
    }

    /// Number of topics.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// Number of partitions of all topics.
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// A registered broker.
    pub fn broker(&self, id: BrokerId) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// All registered brokers, by number.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// The settings of a resource; `None` if nothing is set.
    pub fn config(&self, resource: &Resource) -> Option<&ConfigMap> {
        self.configs.get(resource).map(|map| &**map)
    }

    /// All resources with settings.
    pub fn configs(&self) -> impl Iterator<Item = (&Resource, &ConfigMap)> {
        self.configs
            .iter()
            .map(|(resource, map)| (resource, &**map))
    }

    /// A finalized feature's level.
    pub fn feature(&self, name: &str) -> Option<i16> {
        self.features.get(name).copied()
    }

    /// All finalized features, by name.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features
            .iter()
            .map(|(name, level)| (name.as_str(), *level))
    }

    /// The first producer id that has not been handed out.
    pub fn producer_id_next(&self) -> i64 {
        self.producer_id_next
    }
}
