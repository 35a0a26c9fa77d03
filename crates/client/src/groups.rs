//! Consumer groups as an outsider sees them: which there are, who is in them, what is committed.

use std::collections::BTreeMap;
use std::time::Duration;

use wire::ApiKey;
use wire::ids::TopicId;
use wire::messages::{describe_groups, list_groups, offset_fetch, text};
use wire::protocol_metadata::Assignment;

use crate::cluster::Client;
use crate::error::{ClientError, check};

/// Tries of a question to a coordinator that is loading or moving. With the pauses below a caller
/// waits about a quarter of a minute; what takes longer to load, an operator should see.
const COORDINATOR_TRIES_MAX: u32 = 20;
/// Pause after the first try; each further one is twice as long, up to the next constant.
const COORDINATOR_PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause between two tries.
const COORDINATOR_PAUSE_MAX: Duration = Duration::from_secs(1);

/// One line of the list of groups.
#[derive(Debug, Clone)]
pub struct GroupListing {
    /// The group's name.
    pub id: String,
    /// `consumer` for consumer groups.
    pub protocol_type: String,
    /// Kafka's name of its state; empty where the broker is too old to tell.
    pub state: String,
}

/// A group and its members.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// The group's name.
    pub id: String,
    /// Kafka's name of its state.
    pub state: String,
    /// Who is in it.
    pub members: Vec<MemberView>,
}

/// A member of a group.
#[derive(Debug, Clone)]
pub struct MemberView {
    /// The member id.
    pub id: String,
    /// How the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
    /// Its partitions, by topic.
    pub assignment: Vec<(String, i32)>,
}

impl Client {
    /// The groups of the cluster.
    ///
    /// # Errors
    /// No broker answers, or it refuses.
    pub async fn groups(&mut self) -> Result<Vec<GroupListing>, ClientError> {
        self.patiently(async |client| client.list_groups_once().await)
            .await
    }

    async fn list_groups_once(&mut self) -> Result<Vec<GroupListing>, ClientError> {
        let mut groups = Vec::new();
        self.topics(Some(&[])).await?;
        for broker in self.broker_ids() {
            let response = self.ask(broker, &list_groups::Request::default()).await?;
            check(response.error_code, None)?;
            groups.extend(response.groups.into_iter().map(|group| GroupListing {
                id: group.group_id.as_str().to_owned(),
                protocol_type: group.protocol_type.as_str().to_owned(),
                state: group.group_state.as_str().to_owned(),
            }));
        }
        Ok(groups)
    }

    /// One group and its members.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn describe_group(&mut self, id: &str) -> Result<GroupView, ClientError> {
        self.patiently(async |client| client.describe_group_once(id).await)
            .await
    }

    async fn describe_group_once(&mut self, id: &str) -> Result<GroupView, ClientError> {
        let coordinator = self.coordinator(id).await?;
        let request = describe_groups::Request {
            groups: vec![text(id)],
            ..Default::default()
        };
        let response = self.ask(coordinator, &request).await?;
        let Some(group) = response.groups.into_iter().next() else {
            return Err(ClientError::server(wire::ErrorCode::GroupIdNotFound));
        };
        check(
            group.error_code,
            group.error_message.as_ref().map(|text| text.as_str()),
        )?;
        let members = group
            .members
            .into_iter()
            .map(|member| MemberView {
                id: member.member_id.as_str().to_owned(),
                client_id: member.client_id.as_str().to_owned(),
                host: member.client_host.as_str().to_owned(),
                assignment: assigned(&member.member_assignment),
            })
            .collect();
        Ok(GroupView {
            id: id.to_owned(),
            state: group.group_state.as_str().to_owned(),
            members,
        })
    }

    /// Every offset a group has committed, by topic and partition. Waits for a coordinator that is
    /// still loading the group.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn committed_offsets(
        &mut self,
        id: &str,
    ) -> Result<BTreeMap<(String, i32), i64>, ClientError> {
        self.patiently(async |client| client.committed_offsets_once(id).await)
            .await
    }

    /// Asks again while a coordinator says that it is loading, moving or not there yet.
    async fn patiently<T>(
        &mut self,
        mut ask: impl AsyncFnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut pause = COORDINATOR_PAUSE_MIN;
        for _ in 1..COORDINATOR_TRIES_MAX {
            match ask(self).await {
                Err(ClientError::Server { code, .. }) if code.is_retriable() => {}
                outcome => return outcome,
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(COORDINATOR_PAUSE_MAX);
        }
        ask(self).await
    }

    async fn committed_offsets_once(
        &mut self,
        id: &str,
    ) -> Result<BTreeMap<(String, i32), i64>, ClientError> {
        let coordinator = self.coordinator(id).await?;
        let version = self
            .connection_to(coordinator)
            .await?
            .version(ApiKey::OffsetFetch)?;
        // One group up to version 7, several from 8 on; version 10 knows topics by id only.
        let request = if version >= 8 {
            offset_fetch::Request {
                groups: vec![offset_fetch::OffsetFetchRequestGroup {
                    group_id: text(id),
                    topics: None,
                    member_epoch: -1,
                    ..Default::default()
                }],
                ..Default::default()
            }
        } else {
            offset_fetch::Request {
                group_id: text(id),
                topics: None,
                ..Default::default()
            }
        };
        let response = self.ask(coordinator, &request).await?;
        check(response.error_code, None)?;
        let mut offsets = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions {
                check(partition.error_code, None)?;
                let key = (topic.name.as_str().to_owned(), partition.partition_index);
                offsets.insert(key, partition.committed_offset);
            }
        }
        let names = if version >= 10 {
            self.names_by_id().await?
        } else {
            BTreeMap::new()
        };
        for group in response.groups {
            check(group.error_code, None)?;
            for topic in group.topics {
                let name = match names.get(&TopicId::from(topic.topic_id)) {
                    Some(name) => name.clone(),
                    None if version < 10 => topic.name.as_str().to_owned(),
                    // Deleted since: its offsets have no name to show.
                    None => continue,
                };
                for partition in topic.partitions {
                    check(partition.error_code, None)?;
                    let key = (name.clone(), partition.partition_index);
                    offsets.insert(key, partition.committed_offset);
                }
            }
        }
        offsets.retain(|_, offset| *offset >= 0);
        Ok(offsets)
    }

    async fn names_by_id(&mut self) -> Result<BTreeMap<TopicId, String>, ClientError> {
        let topics = self.topics(None).await?;
        Ok(topics
            .into_iter()
            .map(|topic| (topic.id, topic.name))
            .collect())
    }
}

/// A member's partitions; none for an assignment that is not a consumer's.
fn assigned(bytes: &[u8]) -> Vec<(String, i32)> {
    let Ok(assignment) = Assignment::decode(bytes) else {
        return Vec::new();
    };
    let flat = assignment.partitions.into_iter().flat_map(|part| {
        let topic = part.topic;
        part.partitions
            .into_iter()
            .map(move |partition| (topic.clone(), partition))
    });
    flat.collect()
}
