//! The partitions this broker hosts, found by topic name or topic id.
//!
//! Follows the metadata image: missing logs are created, those of deleted topics removed,
//! leadership and settings handed on. Only the control side changes anything here.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

use commitlog::{LogError, LogStore, PartitionKey};
use metadata::config::{Layers, StaticConfig, TopicSettings};
use metadata::{ConfigMap, Delta, Image, Resource};
use wire::ErrorCode;
use wire::ids::{BrokerId, TopicId};

use crate::replica::{Replica, TopicFacts, log_settings};

#[derive(Default)]
struct Hosted {
    ids: HashMap<Arc<str>, TopicId>,
    topics: HashMap<TopicId, HostedTopic>,
}

struct HostedTopic {
    facts: Arc<TopicFacts>,
    replicas: Vec<Option<Arc<Replica>>>,
}

/// The hosted partitions.
pub struct Partitions {
    broker: BrokerId,
    store: Arc<LogStore>,
    fixed: Arc<StaticConfig>,
    hosted: RwLock<Hosted>,
}

impl Partitions {
    /// Nothing hosted yet.
    pub fn new(broker: BrokerId, store: Arc<LogStore>, fixed: Arc<StaticConfig>) -> Partitions {
        Partitions {
            broker,
            store,
            fixed,
            hosted: RwLock::default(),
        }
    }

    /// A hosted partition by topic name: UNKNOWN_TOPIC_OR_PARTITION if the cluster has none,
    /// NOT_LEADER_OR_FOLLOWER if it lives elsewhere (or not here yet).
    pub fn by_name(
        &self,
        image: &Image,
        topic: &str,
        partition: i32,
    ) -> Result<Arc<Replica>, ErrorCode> {
        let hosted = self
            .hosted
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let found = hosted
            .ids
            .get(topic)
            .and_then(|id| hosted.topics.get(id))
            .and_then(|topic| topic.replica(partition));
        if let Some(found) = found {
            return Ok(found);
        }
        let known = image
            .topic(topic)
            .and_then(|known| image.partition(known.id, partition));
        Err(match known {
            Some(_) => ErrorCode::NotLeaderOrFollower,
            None => ErrorCode::UnknownTopicOrPartition,
        })
    }

    /// A hosted partition by topic id: UNKNOWN_TOPIC_ID for an id the cluster does not have.
    pub fn by_id(
        &self,
        image: &Image,
        topic: TopicId,
        partition: i32,
    ) -> Result<Arc<Replica>, ErrorCode> {
        let hosted = self
            .hosted
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(found) = hosted
            .topics
            .get(&topic)
            .and_then(|topic| topic.replica(partition))
        {
            return Ok(found);
        }
        Err(match image.topic_by_id(topic) {
            None => ErrorCode::UnknownTopicId,
            Some(known) if image.partition(known.id, partition).is_none() => {
                ErrorCode::UnknownTopicOrPartition
            }
            Some(_) => ErrorCode::NotLeaderOrFollower,
        })
    }

    /// Every hosted partition.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        let hosted = self
            .hosted
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        hosted
            .topics
            .values()
            .flat_map(|topic| topic.replicas.iter().flatten().cloned())
            .collect()
    }

    /// The settings in force of topics that have none of their own.
    fn defaults(&self, image: &Image) -> Arc<TopicSettings> {
        Arc::new(self.resolve(image, None))
    }

    fn resolve(&self, image: &Image, own: Option<&ConfigMap>) -> TopicSettings {
        TopicSettings::resolve(&Layers {
            own,
            broker: image.config(&Resource::Broker(self.broker)),
            cluster: image.config(&Resource::ClusterDefault),
            fixed: &self.fixed,
        })
    }

    /// Makes what is hosted equal to the image: at start, and after a snapshot.
    pub fn follow_image(&self, image: &Image) -> Result<(), LogError> {
        let mut hosted = self
            .hosted
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let defaults = self.defaults(image);
        for topic in image.topics() {
            self.host_topic(&mut hosted, image, topic.id, &defaults)?;
        }
        let gone: Vec<TopicId> = hosted
            .topics
            .keys()
            .filter(|id| image.topic_by_id(**id).is_none())
            .copied()
            .collect();
        for id in gone {
            self.drop_topic(&mut hosted, id)?;
        }
        drop(hosted);
        // Logs whose topic went while we were down.
        for key in self.store.partitions() {
            if !self.is_ours(image, key) {
                self.store.delete_partition(&key)?;
            }
        }
        Ok(())
    }

    /// Makes what is hosted follow the changes of one command; `image` is the one after it.
    pub fn follow_delta(&self, image: &Image, delta: &Delta) -> Result<(), LogError> {
        let mut hosted = self
            .hosted
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        for (id, _) in &delta.topics_deleted {
            self.drop_topic(&mut hosted, *id)?;
        }
        // Each topic once, however many of its partitions changed.
        let changed = delta.partitions.iter().map(|(id, _)| *id);
        let mut topics: BTreeSet<TopicId> = changed
            .chain(delta.topics_created.iter().copied())
            .collect();
        let mut all = false;
        for resource in &delta.configs {
            match resource {
                Resource::Topic(name) => topics.extend(image.topic(name).map(|topic| topic.id)),
                Resource::ClusterDefault => all = true,
                Resource::Broker(id) => all |= *id == self.broker,
                Resource::Group(_) => {}
            }
        }
        if all {
            topics.extend(hosted.topics.keys());
        }
        if topics.is_empty() {
            return Ok(());
        }
        let defaults = self.defaults(image);
        for id in topics {
            self.host_topic(&mut hosted, image, id, &defaults)?;
        }
        Ok(())
    }

    /// Creates, leads and configures every partition of a topic that belongs here.
    fn host_topic(
        &self,
        hosted: &mut Hosted,
        image: &Image,
        id: TopicId,
        defaults: &Arc<TopicSettings>,
    ) -> Result<(), LogError> {
        let Some(topic) = image.topic_by_id(id) else {
            return Ok(());
        };
        let settings = match image.config(&Resource::Topic(topic.name.to_string())) {
            Some(own) => Arc::new(self.resolve(image, Some(own))),
            None => Arc::clone(defaults),
        };
        let expiry = self.fixed.number("producer.id.expiration.ms");
        let ours = hosted.topics.entry(id).or_insert_with(|| {
            let facts = TopicFacts::new(topic.name.clone(), settings.clone());
            hosted.ids.insert(topic.name.clone(), id);
            HostedTopic {
                facts,
                replicas: Vec::new(),
            }
        });
        if ours.facts.apply_settings(&settings) {
            for replica in ours.replicas.iter().flatten() {
                replica.log.apply_settings(log_settings(&settings, expiry));
            }
        }
        let count = topic.partitions.len();
        ours.replicas
            .reserve_exact(count.saturating_sub(ours.replicas.len()));
        ours.replicas.resize(count.max(ours.replicas.len()), None);
        for (number, partition) in topic.partitions.iter().enumerate() {
            if !partition.replicas.contains(self.broker) {
                ours.replicas[number] = None;
                continue;
            }
            let replica = match &ours.replicas[number] {
                Some(replica) => replica.clone(),
                None => {
                    let key = PartitionKey {
                        topic: id,
                        partition: number as i32,
                    };
                    let log = match self.store.partition(&key) {
                        Some(log) => {
                            log.apply_settings(log_settings(&settings, expiry));
                            log
                        }
                        None => self
                            .store
                            .create_partition(key, log_settings(&settings, expiry))?,
                    };
                    let replica = Arc::new(Replica::new(ours.facts.clone(), log));
                    ours.replicas[number] = Some(replica.clone());
                    replica
                }
            };
            let leads = partition.leader == Some(self.broker);
            replica.lead(leads.then_some(partition.leader_epoch), partition.isr.len())?;
        }
        Ok(())
    }

    fn drop_topic(&self, hosted: &mut Hosted, id: TopicId) -> Result<(), LogError> {
        let Some(topic) = hosted.topics.remove(&id) else {
            return Ok(());
        };
        // A topic of the same name may have been created since.
        if hosted.ids.get(topic.facts.name()) == Some(&id) {
            hosted.ids.remove(topic.facts.name());
        }
        for replica in topic.replicas.into_iter().flatten() {
            replica.lead(None, 0)?;
            self.store.delete_partition(&replica.key())?;
        }
        Ok(())
    }

    fn is_ours(&self, image: &Image, key: PartitionKey) -> bool {
        image
            .partition(key.topic, key.partition)
            .is_some_and(|partition| partition.replicas.contains(self.broker))
    }
}

impl HostedTopic {
    fn replica(&self, partition: i32) -> Option<Arc<Replica>> {
        self.replicas.get(usize::try_from(partition).ok()?)?.clone()
    }
}
