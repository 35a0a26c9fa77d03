//! The cluster as a client sees it: its brokers, its topics, and a connection to each broker in use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use wire::ErrorCode;
use wire::ids::TopicId;
use wire::messages::{Request, find_coordinator, metadata, text};
use world::{Clock, Net, Random, World};

use crate::connection::{Connection, Observer, Watch};
use crate::error::{ClientError, check};

/// Tries of a retriable call before its error is given up to the caller.
pub(crate) const TRIES_MAX: u32 = 30;
/// Pause between two tries.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// A topic as the metadata shows it.
#[derive(Debug, Clone)]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: TopicId,
    /// Whether the cluster has it.
    pub exists: bool,
    /// Kafka's own topics.
    pub internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionView>,
}

/// A partition as the metadata shows it.
#[derive(Debug, Clone)]
pub struct PartitionView {
    /// Its number.
    pub index: i32,
    /// The leading broker, -1 for none.
    pub leader: i32,
    /// The leader epoch, -1 where the broker is too old to tell.
    pub leader_epoch: i32,
    /// Brokers that hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub isr: Vec<i32>,
    /// Those whose broker or disk is away.
    pub offline: Vec<i32>,
}

/// A broker as the metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerView {
    /// Its id.
    pub id: i32,
    /// The host it advertises.
    pub host: String,
    /// The port it advertises.
    pub port: i32,
    /// Its rack, if it has one.
    pub rack: Option<String>,
}

impl BrokerView {
    /// `host:port`, as clients connect to it.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// A cluster as the metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterView {
    /// Its id; none where the broker is too old to tell.
    pub id: Option<String>,
    /// The broker that takes administrative requests.
    pub controller: Option<i32>,
    /// Its brokers, by id.
    pub brokers: Vec<BrokerView>,
}

/// What a client needs of the outside world: no disk, no threads.
#[derive(Clone)]
pub struct Reach {
    /// Connecting.
    pub net: Arc<dyn Net>,
    /// Timestamps.
    pub clock: Arc<dyn Clock>,
    /// Which partition keyless records begin with.
    pub random: Arc<dyn Random>,
}

impl From<&World> for Reach {
    fn from(world: &World) -> Reach {
        Reach {
            net: Arc::clone(&world.net),
            clock: Arc::clone(&world.clock),
            random: Arc::clone(&world.random),
        }
    }
}

/// A way into one cluster. Used by one task at a time.
pub struct Client {
    reach: Reach,
    observer: Option<Observer>,
    bootstrap: Vec<String>,
    connections: BTreeMap<String, Connection>,
    brokers: BTreeMap<i32, String>,
    seen: ClusterView,
    /// Identities as last seen, by topic.
    pub(crate) ids: BTreeMap<String, TopicId>,
    /// Leaders as last seen, by topic.
    pub(crate) leaders: BTreeMap<String, BTreeMap<i32, i32>>,
}

impl Client {
    /// Connects to the first broker of the list (`HOST:PORT,…`) that answers.
    ///
    /// # Errors
    /// The last broker's error when none answers.
    pub async fn connect(reach: Reach, bootstrap: &str) -> Result<Client, ClientError> {
        Client::connect_observed(reach, bootstrap, None).await
    }

    /// As [`Self::connect`], and tells the observer of every request.
    ///
    /// # Errors
    /// The last broker's error when none answers.
    pub async fn connect_observed(
        reach: Reach,
        bootstrap: &str,
        observer: Option<Observer>,
    ) -> Result<Client, ClientError> {
        let mut client = Client {
            reach,
            observer,
            bootstrap: bootstrap
                .split(',')
                .map(str::trim)
                .filter(|address| !address.is_empty())
                .map(with_port)
                .collect(),
            connections: BTreeMap::new(),
            brokers: BTreeMap::new(),
            seen: ClusterView {
                id: None,
                controller: None,
                brokers: Vec::new(),
            },
            ids: BTreeMap::new(),
            leaders: BTreeMap::new(),
        };
        client.topics(Some(&[])).await?;
        Ok(client)
    }

    /// Another way into the same cluster, with connections of its own.
    pub fn reopen(&self) -> Client {
        Client {
            reach: self.reach.clone(),
            observer: self.observer.clone(),
            bootstrap: self.bootstrap.clone(),
            connections: BTreeMap::new(),
            brokers: self.brokers.clone(),
            seen: self.seen.clone(),
            ids: self.ids.clone(),
            leaders: self.leaders.clone(),
        }
    }

    /// Topics by name, or all of them. A named topic that is not there comes back with `exists`
    /// false.
    ///
    /// # Errors
    /// No broker answers, or it refuses.
    pub async fn topics(
        &mut self,
        names: Option<&[String]>,
    ) -> Result<Vec<TopicView>, ClientError> {
        let request = metadata::Request {
            topics: names.map(|names| {
                names
                    .iter()
                    .map(|name| metadata::MetadataRequestTopic {
                        name: Some(text(name)),
                        ..Default::default()
                    })
                    .collect()
            }),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        let response = self.ask_any(&request).await?;
        let mut brokers: Vec<BrokerView> = response
            .brokers
            .iter()
            .map(|broker| BrokerView {
                id: broker.node_id,
                host: broker.host.as_str().to_owned(),
                port: broker.port,
                rack: broker.rack.as_ref().map(|rack| rack.as_str().to_owned()),
            })
            .collect();
        brokers.sort_by_key(|broker| broker.id);
        self.brokers = brokers
            .iter()
            .map(|broker| (broker.id, broker.address()))
            .collect();
        self.seen = ClusterView {
            id: response.cluster_id.map(|id| id.as_str().to_owned()),
            controller: Some(response.controller_id).filter(|id| *id >= 0),
            brokers,
        };
        let mut views = Vec::with_capacity(response.topics.len());
        for topic in response.topics {
            let view = view(topic)?;
            let leaders = view
                .partitions
                .iter()
                .map(|part| (part.index, part.leader))
                .collect();
            if view.exists {
                self.ids.insert(view.name.clone(), view.id);
                self.leaders.insert(view.name.clone(), leaders);
            } else {
                self.leaders.remove(&view.name);
            }
            views.push(view);
        }
        Ok(views)
    }

    /// The cluster as the last metadata answer showed it.
    pub fn cluster(&self) -> &ClusterView {
        &self.seen
    }

    /// What a broker offers: api key, lowest and highest version.
    ///
    /// # Errors
    /// It cannot be reached, or speaks something else than Kafka's protocol.
    pub async fn api_ranges(&mut self, broker: i32) -> Result<Vec<(i16, i16, i16)>, ClientError> {
        Ok(self.connection_to(broker).await?.ranges().to_vec())
    }

    /// Unix milliseconds, for records without a timestamp of their own.
    pub(crate) fn wall_ms(&self) -> i64 {
        self.reach.clock.wall_ms()
    }

    /// A random number.
    pub(crate) fn chance(&self) -> u64 {
        self.reach.random.next_u64()
    }

    /// The brokers of the last metadata answer.
    pub(crate) fn broker_ids(&self) -> Vec<i32> {
        self.brokers.keys().copied().collect()
    }

    /// Looks the leaders of a topic up again.
    pub(crate) async fn refresh(&mut self, topic: &str) -> Result<(), ClientError> {
        self.topics(Some(&[topic.to_owned()])).await.map(drop)
    }

    /// Asks any broker, the ones already connected first.
    pub(crate) async fn ask_any<T: Request>(
        &mut self,
        request: &T,
    ) -> Result<T::Response, ClientError> {
        let mut candidates: Vec<String> = self.connections.keys().cloned().collect();
        candidates.extend(self.brokers.values().cloned());
        candidates.extend(self.bootstrap.iter().cloned());
        candidates.dedup();
        let mut last = ClientError::Unreachable {
            address: "-".to_owned(),
            reason: "no broker address was given".to_owned(),
        };
        for address in candidates {
            match self.call_address(&address, request).await {
                Ok(response) => return Ok(response),
                Err(error) if error.is_retriable() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// Asks one broker by id.
    pub(crate) async fn ask<T: Request>(
        &mut self,
        broker: i32,
        request: &T,
    ) -> Result<T::Response, ClientError> {
        let address = self.address(broker)?;
        self.call_address(&address, request).await
    }

    /// Asks the broker that takes administrative requests.
    pub(crate) async fn ask_controller<T: Request>(
        &mut self,
        request: &T,
    ) -> Result<T::Response, ClientError> {
        match self.seen.controller {
            Some(controller) if self.brokers.contains_key(&controller) => {
                self.ask(controller, request).await
            }
            _ => self.ask_any(request).await,
        }
    }

    /// The broker that coordinates a group, waiting while the cluster is still creating it.
    pub(crate) async fn coordinator(&mut self, group: &str) -> Result<i32, ClientError> {
        // One field for a single key up to version 3, a list from 4 on: fill what each has.
        let old = find_coordinator::Request {
            key: text(group),
            ..Default::default()
        };
        let new = find_coordinator::Request {
            coordinator_keys: vec![text(group)],
            ..Default::default()
        };
        let mut last = ClientError::server(ErrorCode::CoordinatorNotAvailable);
        for _ in 0..TRIES_MAX {
            let address = self.bootstrap_address()?;
            let version = self
                .connection(&address)
                .await?
                .version(wire::ApiKey::FindCoordinator)?;
            let request = if version >= 4 { &new } else { &old };
            let response = self.call_address(&address, request).await?;
            let (code, message, node, host, port) = match response.coordinators.first() {
                Some(one) => (
                    one.error_code,
                    one.error_message.clone(),
                    one.node_id,
                    one.host.clone(),
                    one.port,
                ),
                None => (
                    response.error_code,
                    response.error_message.clone(),
                    response.node_id,
                    response.host.clone(),
                    response.port,
                ),
            };
            match check(code, message.as_ref().map(|text| text.as_str())) {
                Ok(()) => {
                    self.brokers
                        .insert(node, format!("{}:{port}", host.as_str()));
                    return Ok(node);
                }
                Err(error) if error.is_retriable() => last = error,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Err(last)
    }

    /// Partitions grouped by their leading broker.
    pub(crate) async fn by_leader(
        &mut self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, Vec<i32>>, ClientError> {
        if !self.leaders.contains_key(topic) {
            self.refresh(topic).await?;
        }
        let unknown = || ClientError::server(ErrorCode::UnknownTopicOrPartition);
        let leaders = self.leaders.get(topic).ok_or_else(unknown)?;
        let mut grouped: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            let leader = *leaders.get(partition).ok_or_else(unknown)?;
            if leader < 0 {
                return Err(ClientError::server(ErrorCode::LeaderNotAvailable));
            }
            grouped.entry(leader).or_default().push(*partition);
        }
        Ok(grouped)
    }

    /// The open connection to a broker by id.
    pub(crate) async fn connection_to(
        &mut self,
        broker: i32,
    ) -> Result<&mut Connection, ClientError> {
        let address = self.address(broker)?;
        self.connection(&address).await
    }

    /// Drops the connection to a broker after an error that leaves it in an unknown state.
    pub(crate) fn forget(&mut self, broker: i32) {
        if let Ok(address) = self.address(broker) {
            self.connections.remove(&address);
        }
    }

    fn address(&self, broker: i32) -> Result<String, ClientError> {
        self.brokers
            .get(&broker)
            .cloned()
            .ok_or_else(|| ClientError::Unreachable {
                address: format!("broker {broker}"),
                reason: "its address is not in the metadata".to_owned(),
            })
    }

    fn bootstrap_address(&self) -> Result<String, ClientError> {
        let mut known = self
            .connections
            .keys()
            .chain(self.brokers.values())
            .chain(&self.bootstrap);
        known
            .next()
            .cloned()
            .ok_or_else(|| ClientError::Unreachable {
                address: "-".to_owned(),
                reason: "no broker address was given".to_owned(),
            })
    }

    async fn connection(&mut self, address: &str) -> Result<&mut Connection, ClientError> {
        if !self.connections.contains_key(address) {
            let watch = Watch {
                observer: self.observer.clone(),
                clock: Arc::clone(&self.reach.clock),
            };
            let connection = Connection::open(self.reach.net.as_ref(), address, watch).await?;
            self.connections.insert(address.to_owned(), connection);
        }
        self.connections
            .get_mut(address)
            .ok_or_else(|| ClientError::Unreachable {
                address: address.to_owned(),
                reason: "the connection is gone".to_owned(),
            })
    }

    async fn call_address<T: Request>(
        &mut self,
        address: &str,
        request: &T,
    ) -> Result<T::Response, ClientError> {
        let answer = self.connection(address).await?.call(request).await;
        if answer.is_err() {
            self.connections.remove(address);
        }
        answer
    }
}

fn view(topic: metadata::MetadataResponseTopic) -> Result<TopicView, ClientError> {
    let code = ErrorCode::from_code(topic.error_code).unwrap_or(ErrorCode::UnknownServerError);
    let exists = match code {
        ErrorCode::None | ErrorCode::LeaderNotAvailable => true,
        ErrorCode::UnknownTopicOrPartition => false,
        other => return Err(ClientError::server(other)),
    };
    let mut partitions: Vec<PartitionView> = topic
        .partitions
        .into_iter()
        .map(|partition| PartitionView {
            index: partition.partition_index,
            leader: partition.leader_id,
            leader_epoch: partition.leader_epoch,
            replicas: partition.replica_nodes,
            isr: partition.isr_nodes,
            offline: partition.offline_replicas,
        })
        .collect();
    partitions.sort_by_key(|partition| partition.index);
    Ok(TopicView {
        name: topic
            .name
            .map(|name| name.as_str().to_owned())
            .unwrap_or_default(),
        id: TopicId::from(topic.topic_id),
        exists,
        internal: topic.is_internal,
        partitions,
    })
}

/// `host` alone means Kafka's port.
pub fn with_port(address: &str) -> String {
    let bare = address
        .rsplit_once(':')
        .is_none_or(|(_, port)| port.parse::<u16>().is_err());
    if bare {
        format!("{address}:9092")
    } else {
        address.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_port_means_kafkas_port() {
        assert_eq!(with_port("localhost"), "localhost:9092");
        assert_eq!(with_port("[::1]"), "[::1]:9092");
        assert_eq!(with_port("h:1"), "h:1");
    }
}
