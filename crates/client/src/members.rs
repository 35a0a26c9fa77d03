//! What an administrator does to groups: members sent away, groups removed.

use wire::ErrorCode;
use wire::messages::{consumer_group_heartbeat, delete_groups, leave_group, text};

use crate::cluster::Client;
use crate::error::{ClientError, check};
use crate::groups::{GroupKind, GroupView};

/// The epoch by which a member of the newer protocol says that it leaves for good (KIP-848).
const EPOCH_LEAVE: i32 = -1;

impl Client {
    /// Sends every member of a group away. They learn it with their next heartbeat, may
    /// commit nothing any more, and join anew.
    ///
    /// # Errors
    /// The coordinator's refusal. A member that is gone already is no error.
    pub async fn expel_members(
        &mut self,
        group: &GroupView,
        reason: &str,
    ) -> Result<(), ClientError> {
        if group.members.is_empty() {
            return Ok(());
        }
        self.ask_patiently(async |client| client.expel_once(group, reason).await)
            .await
    }

    async fn expel_once(&mut self, group: &GroupView, reason: &str) -> Result<(), ClientError> {
        let coordinator = self.coordinator(&group.id).await?;
        if group.kind == GroupKind::Consumer {
            // Whoever may read the group may say in a member's name that it leaves.
            for member in &group.members {
                let request = consumer_group_heartbeat::Request {
                    group_id: text(&group.id),
                    member_id: text(&member.id),
                    instance_id: member.instance.as_deref().map(text),
                    member_epoch: EPOCH_LEAVE,
                    ..Default::default()
                };
                let response = self.ask(coordinator, &request).await?;
                if response.error_code != ErrorCode::UnknownMemberId.code() {
                    check(
                        response.error_code,
                        response.error_message.as_ref().map(|text| text.as_str()),
                    )?;
                }
            }
            return Ok(());
        }
        let request = leave_group::Request {
            group_id: text(&group.id),
            members: group
                .members
                .iter()
                .map(|member| leave_group::MemberIdentity {
                    member_id: text(&member.id),
                    group_instance_id: None,
                    reason: Some(text(reason)),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        let response = self.ask(coordinator, &request).await?;
        check(response.error_code, None)?;
        for member in response.members {
            if member.error_code != ErrorCode::UnknownMemberId.code() {
                check(member.error_code, None)?;
            }
        }
        Ok(())
    }

    /// Removes a group without members, with the offsets it committed.
    ///
    /// # Errors
    /// The coordinator's refusal: `NON_EMPTY_GROUP` while it has members.
    pub async fn delete_group(&mut self, group: &str) -> Result<(), ClientError> {
        self.ask_patiently(async |client| client.delete_group_once(group).await)
            .await
    }

    async fn delete_group_once(&mut self, group: &str) -> Result<(), ClientError> {
        let coordinator = self.coordinator(group).await?;
        let request = delete_groups::Request {
            groups_names: vec![text(group)],
            ..Default::default()
        };
        let response = self.ask(coordinator, &request).await?;
        response
            .results
            .first()
            .map_or(Ok(()), |result| check(result.error_code, None))
    }
}
