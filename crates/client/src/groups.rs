//! Consumer groups as an outsider sees them: which there are, and who is in them.

use wire::ErrorCode;
use wire::messages::{Text, consumer_group_describe, describe_groups, list_groups, text};
use wire::protocol_metadata::Assignment;

use crate::cluster::Client;
use crate::error::{ClientError, check};

/// One line of the list of groups.
#[derive(Debug, Clone)]
pub struct GroupListing {
    /// The group's name.
    pub id: String,
    /// `consumer` for consumer groups.
    pub protocol_type: String,
    /// Kafka's name of its state; empty where the broker is too old to tell.
    pub state: String,
    /// `classic`, `consumer`, `share` or `streams`; empty where the broker is too old to tell.
    pub kind: String,
}

/// By which protocol a group's members are led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupKind {
    /// JoinGroup and SyncGroup: one member leads.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848): the coordinator leads.
    Consumer,
}

/// A group and its members.
#[derive(Debug, Clone)]
pub struct GroupView {
    /// The group's name.
    pub id: String,
    /// Its kind.
    pub kind: GroupKind,
    /// Kafka's name of its state.
    pub state: String,
    /// How partitions are assigned, such as `range`; empty without members.
    pub protocol: String,
    /// Who is in it.
    pub members: Vec<MemberView>,
}

/// A member of a group.
#[derive(Debug, Clone)]
pub struct MemberView {
    /// The member id.
    pub id: String,
    /// Its name across restarts, if it is a static member.
    pub instance: Option<String>,
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
        self.ask_patiently(async |client| client.list_groups_once().await)
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
                kind: group.group_type.as_str().to_lowercase(),
            }));
        }
        Ok(groups)
    }

    /// One group and its members, of either protocol.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn describe_group(&mut self, id: &str) -> Result<GroupView, ClientError> {
        let classic = self
            .ask_patiently(async |client| client.describe_classic_once(id).await)
            .await;
        let unknown = match classic {
            Err(
                unknown @ ClientError::Server {
                    code: ErrorCode::GroupIdNotFound,
                    ..
                },
            ) => unknown,
            other => return other,
        };
        // The older request does not know groups of the newer protocol.
        let newer = self
            .ask_patiently(async |client| client.describe_consumer_once(id).await)
            .await;
        match newer {
            Err(ClientError::Unsupported { .. }) => Err(unknown),
            other => other,
        }
    }

    async fn describe_consumer_once(&mut self, id: &str) -> Result<GroupView, ClientError> {
        let coordinator = self.coordinator(id).await?;
        let request = consumer_group_describe::Request {
            group_ids: vec![text(id)],
            ..Default::default()
        };
        let response = self.ask(coordinator, &request).await?;
        let Some(group) = response.groups.into_iter().next() else {
            return Err(ClientError::server(ErrorCode::GroupIdNotFound));
        };
        check(
            group.error_code,
            group.error_message.as_ref().map(|text| text.as_str()),
        )?;
        let members = group.members.into_iter().map(|member| {
            let held = member.assignment.topic_partitions.into_iter();
            let held = held.flat_map(|part| {
                let topic = part.topic_name.as_str().to_owned();
                part.partitions
                    .into_iter()
                    .map(move |partition| (topic.clone(), partition))
            });
            member_view(
                [&member.member_id, &member.client_id, &member.client_host],
                member.instance_id.as_ref(),
                held.collect(),
            )
        });
        Ok(GroupView {
            id: id.to_owned(),
            kind: GroupKind::Consumer,
            state: group.group_state.as_str().to_owned(),
            protocol: group.assignor_name.as_str().to_owned(),
            members: members.collect(),
        })
    }

    async fn describe_classic_once(&mut self, id: &str) -> Result<GroupView, ClientError> {
        let coordinator = self.coordinator(id).await?;
        let request = describe_groups::Request {
            groups: vec![text(id)],
            ..Default::default()
        };
        let response = self.ask(coordinator, &request).await?;
        let Some(group) = response.groups.into_iter().next() else {
            return Err(ClientError::server(ErrorCode::GroupIdNotFound));
        };
        check(
            group.error_code,
            group.error_message.as_ref().map(|text| text.as_str()),
        )?;
        let members = group
            .members
            .into_iter()
            .map(|member| {
                member_view(
                    [&member.member_id, &member.client_id, &member.client_host],
                    member.group_instance_id.as_ref(),
                    assigned(&member.member_assignment),
                )
            })
            .collect();
        Ok(GroupView {
            id: id.to_owned(),
            kind: GroupKind::Classic,
            state: group.group_state.as_str().to_owned(),
            protocol: group.protocol_data.as_str().to_owned(),
            members,
        })
    }
}

/// A member by its id, its client's id and host; both protocols' answers name the same.
fn member_view(
    [id, client_id, host]: [&Text; 3],
    instance: Option<&Text>,
    assignment: Vec<(String, i32)>,
) -> MemberView {
    MemberView {
        id: id.as_str().to_owned(),
        instance: instance.map(|instance| instance.as_str().to_owned()),
        client_id: client_id.as_str().to_owned(),
        host: host.as_str().to_owned(),
        assignment,
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
