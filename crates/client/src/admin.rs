//! Administration: topics, partitions and their configuration.

use wire::ids::TopicId;
use wire::messages::{
    create_partitions, create_topics, delete_topics, describe_configs, incremental_alter_configs,
    text,
};

use crate::cluster::{Client, RETRY_PAUSE, TRIES_MAX};
use crate::error::{ClientError, check};

/// What has a configuration. The numbers are Kafka's (ConfigResource.java).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A topic, by name.
    Topic(String),
    /// A broker, by id.
    Broker(i32),
    /// What all brokers share.
    EveryBroker,
    /// A consumer group, by name.
    Group(String),
    /// What a broker logs, by id; its keys are loggers.
    BrokerLogger(i32),
}

impl Resource {
    fn kind(&self) -> i8 {
        match self {
            Resource::Topic(_) => 2,
            Resource::Broker(_) | Resource::EveryBroker => 4,
            Resource::Group(_) => 32,
            Resource::BrokerLogger(_) => 8,
        }
    }

    fn name(&self) -> String {
        match self {
            Resource::Topic(name) | Resource::Group(name) => name.clone(),
            Resource::Broker(id) | Resource::BrokerLogger(id) => id.to_string(),
            Resource::EveryBroker => String::new(),
        }
    }
}
/// The broker may take this long over an administrative request.
const ADMIN_WAIT_MS: i32 = 20_000;

/// A topic to create.
#[derive(Debug, Clone)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Partitions; -1 for the broker's default.
    pub partitions: i32,
    /// Replicas; -1 for the broker's default.
    pub replicas: i16,
    /// Configuration keys and values.
    pub configs: Vec<(String, String)>,
    /// Only check, create nothing.
    pub validate_only: bool,
}

/// What was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// The new topic's identity; all zero when only checked, or on an old broker.
    pub id: TopicId,
    /// Partitions, -1 if the broker is too old to tell.
    pub partitions: i32,
    /// Replicas of each, -1 if the broker is too old to tell.
    pub replicas: i16,
}

/// One configuration key as the broker shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The key.
    pub name: String,
    /// Its value; none for secrets.
    pub value: Option<String>,
    /// Where the value comes from, in words.
    pub source: &'static str,
    /// Whether it is the built-in default.
    pub is_default: bool,
    /// Whether it can be changed only in the configuration file.
    pub read_only: bool,
    /// What decides when the value above is taken away, in order: key, value, source in words.
    pub fallbacks: Vec<(String, Option<String>, &'static str)>,
}

impl Client {
    /// Creates a topic and waits until its partitions have leaders.
    ///
    /// # Errors
    /// The broker's refusal, with its words.
    pub async fn create_topic(&mut self, topic: NewTopic) -> Result<CreatedTopic, ClientError> {
        let request = create_topics::Request {
            topics: vec![create_topics::CreatableTopic {
                name: text(&topic.name),
                num_partitions: topic.partitions,
                replication_factor: topic.replicas,
                assignments: Vec::new(),
                configs: topic
                    .configs
                    .iter()
                    .map(|(key, value)| create_topics::CreatableTopicConfig {
                        name: text(key),
                        value: Some(text(value)),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }],
            timeout_ms: ADMIN_WAIT_MS,
            validate_only: topic.validate_only,
            ..Default::default()
        };
        let response = self.ask_controller(&request).await?;
        let result = response
            .topics
            .first()
            .ok_or_else(|| missing("CreateTopics"))?;
        check(
            result.error_code,
            result.error_message.as_ref().map(|text| text.as_str()),
        )?;
        let created = CreatedTopic {
            id: TopicId::from(result.topic_id),
            partitions: result.num_partitions,
            replicas: result.replication_factor,
        };
        if !topic.validate_only {
            self.await_leaders(&topic.name).await?;
        }
        Ok(created)
    }

    /// Deletes a topic and its records.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn delete_topic(&mut self, name: &str) -> Result<(), ClientError> {
        // A list of names up to version 5, of states from 6 on: each version writes its own.
        let request = delete_topics::Request {
            topics: vec![delete_topics::DeleteTopicState {
                name: Some(text(name)),
                ..Default::default()
            }],
            topic_names: Vec::new(),
            timeout_ms: ADMIN_WAIT_MS,
            ..Default::default()
        };
        let response = self.ask_controller(&request).await?;
        let result = response
            .responses
            .first()
            .ok_or_else(|| missing("DeleteTopics"))?;
        self.leaders.remove(name);
        check(
            result.error_code,
            result.error_message.as_ref().map(|text| text.as_str()),
        )
    }

    /// Grows a topic to `total` partitions.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn create_partitions(
        &mut self,
        name: &str,
        total: i32,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let request = create_partitions::Request {
            topics: vec![create_partitions::CreatePartitionsTopic {
                name: text(name),
                count: total,
                assignments: None,
                ..Default::default()
            }],
            timeout_ms: ADMIN_WAIT_MS,
            validate_only,
            ..Default::default()
        };
        let response = self.ask_controller(&request).await?;
        let result = response
            .results
            .first()
            .ok_or_else(|| missing("CreatePartitions"))?;
        self.leaders.remove(name);
        check(
            result.error_code,
            result.error_message.as_ref().map(|text| text.as_str()),
        )
    }

    /// A topic's configuration, every key.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn topic_configs(&mut self, name: &str) -> Result<Vec<Config>, ClientError> {
        self.configs(&Resource::Topic(name.to_owned())).await
    }

    /// A resource's configuration, every key, with what it falls back to.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn configs(&mut self, resource: &Resource) -> Result<Vec<Config>, ClientError> {
        let request = describe_configs::Request {
            resources: vec![describe_configs::DescribeConfigsResource {
                resource_type: resource.kind(),
                resource_name: text(&resource.name()),
                configuration_keys: None,
                ..Default::default()
            }],
            include_synonyms: true,
            ..Default::default()
        };
        let response = match resource {
            // A broker tells its own configuration only.
            Resource::Broker(id) | Resource::BrokerLogger(id) => self.ask(*id, &request).await?,
            _ => self.ask_any(&request).await?,
        };
        let result = response.results.into_iter().next();
        let result = result.ok_or_else(|| missing("DescribeConfigs"))?;
        check(
            result.error_code,
            result.error_message.as_ref().map(|text| text.as_str()),
        )?;
        Ok(result.configs.into_iter().map(config).collect())
    }

    /// Sets (`Some`) and deletes (`None`) configuration keys of a topic, all or none of them.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn alter_topic_configs(
        &mut self,
        name: &str,
        changes: Vec<(String, Option<String>)>,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let resource = Resource::Topic(name.to_owned());
        self.alter_configs(&resource, changes, validate_only).await
    }

    /// Sets (`Some`) and deletes (`None`) configuration keys, all or none of them.
    ///
    /// # Errors
    /// The broker's refusal.
    pub async fn alter_configs(
        &mut self,
        resource: &Resource,
        changes: Vec<(String, Option<String>)>,
        validate_only: bool,
    ) -> Result<(), ClientError> {
        const SET: i8 = 0;
        const DELETE: i8 = 1;
        let request = incremental_alter_configs::Request {
            resources: vec![incremental_alter_configs::AlterConfigsResource {
                resource_type: resource.kind(),
                resource_name: text(&resource.name()),
                configs: changes
                    .into_iter()
                    .map(|(key, value)| incremental_alter_configs::AlterableConfig {
                        name: text(&key),
                        config_operation: if value.is_some() { SET } else { DELETE },
                        value: value.as_deref().map(text),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }],
            validate_only,
            ..Default::default()
        };
        let response = match resource {
            Resource::Broker(id) | Resource::BrokerLogger(id) => self.ask(*id, &request).await?,
            _ => self.ask_controller(&request).await?,
        };
        let result = response.responses.first();
        let result = result.ok_or_else(|| missing("IncrementalAlterConfigs"))?;
        check(
            result.error_code,
            result.error_message.as_ref().map(|text| text.as_str()),
        )
    }

    async fn await_leaders(&mut self, name: &str) -> Result<(), ClientError> {
        for _ in 0..TRIES_MAX {
            self.refresh(name).await?;
            let led = self
                .leaders
                .get(name)
                .is_some_and(|leaders| leaders.values().all(|leader| *leader >= 0));
            if led {
                return Ok(());
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Err(ClientError::server(wire::ErrorCode::LeaderNotAvailable))
    }
}

/// Kafka's numbers for where a value comes from (DescribeConfigsResponse.java).
const SOURCE_DEFAULT: i8 = 5;

fn config(told: describe_configs::DescribeConfigsResourceResult) -> Config {
    let fallbacks = told.synonyms.into_iter().skip(1).map(|synonym| {
        (
            synonym.name.as_str().to_owned(),
            synonym.value.map(|value| value.as_str().to_owned()),
            source(synonym.source),
        )
    });
    Config {
        name: told.name.as_str().to_owned(),
        value: told.value.map(|value| value.as_str().to_owned()),
        source: source(told.config_source),
        is_default: told.config_source == SOURCE_DEFAULT,
        read_only: told.read_only,
        fallbacks: fallbacks.collect(),
    }
}

fn source(number: i8) -> &'static str {
    match number {
        1 => "topic",
        2 => "broker",
        3 => "cluster default",
        4 => "static broker configuration",
        SOURCE_DEFAULT => "default",
        6 => "log level",
        8 => "group",
        _ => "unknown",
    }
}

/// An answer without the one item that was asked for.
fn missing(api: &str) -> ClientError {
    ClientError::Protocol {
        address: "broker".to_owned(),
        reason: format!("{api} answered nothing about what was asked"),
    }
}
