//! The partitions this broker hosts, found by topic name or topic id.
//!
//! Follows the metadata image: missing logs are created, those of deleted topics removed,
//! leadership and settings handed on. Only the control side changes anything here.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use commitlog::{LogError, LogStore, PartitionKey};
use metadata::config::{Layers, StaticConfig, TopicSettings};
use metadata::{Delta, Image, Resource};
use wire::ErrorCode;
use wire::ids::{BrokerId, TopicId};

use crate::replica::{Replica, log_settings};

#[derive(Default)]
struct Hosted {
    ids: HashMap<Arc<str>, TopicId>,
    topics: HashMap<TopicId, HostedTopic>,
}

struct HostedTopic {
    name: Arc<str>,
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

    /// A topic's settings in force.
    pub fn topic_settings(&self, image: &Image, topic: &str) -> TopicSettings {
        TopicSettings::resolve(&Layers {
            own: image.config(&Resource::Topic(topic.to_owned())),
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
        for topic in image.topics() {
            self.host_topic(&mut hosted, image, topic.id)?;
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
        for id in &delta.topics_created {
            self.host_topic(&mut hosted, image, *id)?;
        }
        for (id, _) in &delta.partitions {
            self.host_topic(&mut hosted, image, *id)?;
        }
        let mut all = false;
        for resource in &delta.configs {
            match resource {
                Resource::Topic(name) => {
                    if let Some(topic) = image.topic(name) {
                        self.host_topic(&mut hosted, image, topic.id)?;
                    }
                }
                Resource::ClusterDefault => all = true,
                Resource::Broker(id) => all |= *id == self.broker,
                Resource::Group(_) => {}
            }
        }
        if all {
            let ids: Vec<TopicId> = hosted.topics.keys().copied().collect();
            for id in ids {
                self.host_topic(&mut hosted, image, id)?;
            }
        }
        Ok(())
    }

    /// Creates, leads and configures every partition of a topic that belongs here.
    fn host_topic(&self, hosted: &mut Hosted, image: &Image, id: TopicId) -> Result<(), LogError> {
        let Some(topic) = image.topic_by_id(id) else {
            return Ok(());
        };
        let settings = Arc::new(self.topic_settings(image, &topic.name));
        let expiry = self.fixed.number("producer.id.expiration.ms");
        hosted.ids.insert(topic.name.clone(), id);
        let ours = hosted.topics.entry(id).or_insert_with(|| HostedTopic {
            name: topic.name.clone(),
            replicas: Vec::new(),
        });
        ours.replicas
            .resize(topic.partitions.len().max(ours.replicas.len()), None);
        for (number, partition) in topic.partitions.iter().enumerate() {
            if !partition.replicas.contains(self.broker) {
                ours.replicas[number] = None;
                continue;
            }
            let replica = match &ours.replicas[number] {
                Some(replica) => {
                    if *replica.settings() != *settings {
                        replica.apply_settings(settings.clone(), expiry);
                    }
                    replica.clone()
                }
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
                    let replica =
                        Arc::new(Replica::new(key, topic.name.clone(), log, settings.clone()));
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
        if hosted.ids.get(&topic.name) == Some(&id) {
            hosted.ids.remove(&topic.name);
        }
        for replica in topic.replicas.into_iter().flatten() {
            replica.lead(None, 0)?;
            self.store.delete_partition(&replica.key)?;
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
