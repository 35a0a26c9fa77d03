//! DescribeGroups, ListGroups, DeleteGroups: groups seen from outside.

use std::sync::Arc;

use bytes::Bytes;
use wire::ErrorCode;

use crate::group::{Group, State};
use crate::offset::Pending;
use crate::record::Record;
use crate::request::ListRequest;
use crate::response::{DescribedGroup, DescribedMember, ListedGroup};
use crate::shard::Effects;
use crate::subscription;

/// The types of groups this build knows.
const CLASSIC: &str = "classic";
/// The type of groups of KIP-848 in ListGroups.
pub const CONSUMER: &str = "consumer";
/// How a group that does not exist is shown.
const DEAD: &str = "Dead";

/// A group that cannot be described; unknown ones are dead, with words from v6 on.
pub(crate) fn undescribed(
    group: &Arc<str>,
    error: ErrorCode,
    message: Option<Arc<str>>,
) -> DescribedGroup {
    DescribedGroup {
        group: group.clone(),
        error,
        error_message: message,
        state: if error == ErrorCode::GroupIdNotFound {
            DEAD
        } else {
            ""
        },
        protocol_type: Arc::from(""),
        protocol: Arc::from(""),
        members: Vec::new(),
    }
}

pub(crate) fn describe(id: &Arc<str>, group: Option<&Group>) -> DescribedGroup {
    let Some(group) = group else {
        let message = Arc::from(format!("Group {id} not found."));
        return undescribed(id, ErrorCode::GroupIdNotFound, Some(message));
    };
    if group.consumer.is_some() {
        let message = Arc::from(format!("Group {id} is not a classic group."));
        return undescribed(id, ErrorCode::GroupIdNotFound, Some(message));
    }
    let protocol = match group.state {
        State::Stable => group.protocol.clone(),
        _ => None,
    };
    DescribedGroup {
        group: id.clone(),
        error: ErrorCode::None,
        error_message: None,
        state: group.state.name(),
        protocol_type: group.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
        members: group
            .members
            .values()
            .map(|member| DescribedMember {
                member_id: member.id.clone(),
                instance_id: member.instance.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
                metadata: protocol
                    .as_ref()
                    .map_or_else(Bytes::new, |p| member.metadata(p)),
                assignment: member.assignment.clone(),
            })
            .collect(),
        protocol: protocol.unwrap_or_else(|| Arc::from("")),
    }
}

/// DeleteGroups, of one group: only if nobody is in it. // rule G10
pub(crate) fn delete(group: Option<&Group>, pending: &Pending, effects: &mut Effects) -> ErrorCode {
    let Some(group) = group else {
        return ErrorCode::GroupIdNotFound;
    };
    if !group.is_empty() {
        return ErrorCode::NonEmptyGroup;
    }
    group.forget_offsets(pending, effects);
    forget(group, effects);
    ErrorCode::None
}

/// Tombstones for a group nobody is in.
pub(crate) fn forget(group: &Group, effects: &mut Effects) {
    match &group.consumer {
        Some(consumer) => consumer.forget(&mut effects.records),
        None => effects.records.push(Record::group_tombstone(&group.id)),
    }
}

pub(crate) fn list<'a>(
    groups: impl Iterator<Item = &'a Group>,
    request: &ListRequest,
) -> Vec<ListedGroup> {
    let wanted = |filter: &[Arc<str>], name: &str| {
        filter.is_empty()
            || filter
                .iter()
                .any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
    };
    groups
        .map(|group| match &group.consumer {
            Some(consumer) => ListedGroup {
                group: group.id.clone(),
                protocol_type: Arc::from(subscription::CONSUMER),
                state: consumer.state_name(),
                group_type: CONSUMER,
            },
            None => ListedGroup {
                group: group.id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_else(|| Arc::from("")),
                state: group.state.name(),
                group_type: CLASSIC,
            },
        })
        .filter(|group| wanted(&request.states, group.state))
        .filter(|group| wanted(&request.types, group.group_type))
        .collect()
}
