//! OffsetFetch: where groups stand. One group up to version 7, several from version 8 on, topics
//! by id from version 10 on.

use std::sync::Arc;

use commitlog::Lsn;
use coordinator::{
    Caller, FetchRequest, FetchedGroup, FetchedPartition, GroupRequest, GroupResponse,
    TopicPartitions,
};
use metadata::Image;
use wire::ErrorCode;
use wire::ids::TopicId;
use wire::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    Request as Asked, Response,
};
use wire::messages::{Uuid, text};

use crate::close::CloseReason;
use crate::dispatch::{Answer, Context, Handled, Reply, Request};
use crate::group_host::{caller, maybe_shared, shared};
use crate::node::Node;

/// Asks each group's shard in turn.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let caller = caller(context, &request);
    let node = context.node.clone();
    Ok(Reply::later_durable(async move {
        if request.version() >= 8 {
            several(&node, &request, &caller, asked).await
        } else {
            one(&node, &request, caller, asked).await
        }
    }))
}

async fn one(
    node: &Arc<Node>,
    request: &Request,
    caller: Caller,
    asked: Asked,
) -> Result<Answer, CloseReason> {
    let fetch = FetchRequest {
        group: shared(Some(&asked.group_id)),
        member_id: None,
        member_epoch: -1,
        topics: asked.topics.as_ref().map(|topics| {
            topics
                .iter()
                .map(|topic| TopicPartitions {
                    name: shared(Some(&topic.name)),
                    partitions: topic.partition_indexes.clone(),
                })
                .collect()
        }),
        require_stable: request.version() >= 7 && asked.require_stable,
    };
    let (fetched, after) = ask(node, request, caller, fetch).await?;
    let mut answer = Response {
        topics: fetched
            .topics
            .iter()
            .map(|topic| OffsetFetchResponseTopic {
                name: text(&topic.name),
                partitions: topic
                    .partitions
                    .iter()
                    .map(|partition| old_partition(partition, request.version()))
                    .collect(),
                ..OffsetFetchResponseTopic::default()
            })
            .collect(),
        ..Response::default()
    };
    if request.version() >= 2 {
        answer.error_code = fetched.error.code();
    }
    Ok(Answer {
        outgoing: request.answer(&answer)?,
        after,
    })
}

async fn several(
    node: &Arc<Node>,
    request: &Request,
    caller: &Caller,
    asked: Asked,
) -> Result<Answer, CloseReason> {
    let by_id = request.version() >= 10;
    let mut groups = Vec::with_capacity(asked.groups.len());
    let mut after: Option<Lsn> = None;
    for group in &asked.groups {
        let image = node.image();
        let (topics, missing) = sort(&image, group, by_id);
        let fetch = FetchRequest {
            group: shared(Some(&group.group_id)),
            member_id: maybe_shared(group.member_id.as_ref()),
            member_epoch: group.member_epoch,
            topics,
            require_stable: asked.require_stable,
        };
        let (fetched, lsn) = ask(node, request, caller.clone(), fetch).await?;
        after = after.max(lsn);
        let mut answer = OffsetFetchResponseGroup {
            group_id: group.group_id.clone(),
            error_code: fetched.error.code(),
            topics: fetched
                .topics
                .iter()
                .filter_map(|topic| {
                    let id = image.topic(&topic.name).map(|topic| topic.id);
                    // A topic that is gone has no id to be named by.
                    (!by_id || id.is_some()).then(|| OffsetFetchResponseTopics {
                        name: text(&topic.name),
                        topic_id: Uuid::from(id.filter(|_| by_id).unwrap_or(TopicId::NONE)),
                        partitions: topic.partitions.iter().map(partition).collect(),
                        ..OffsetFetchResponseTopics::default()
                    })
                })
                .collect(),
            ..OffsetFetchResponseGroup::default()
        };
        if fetched.error == ErrorCode::None {
            answer.topics.extend(missing);
        }
        groups.push(answer);
    }
    let answer = Response {
        groups,
        ..Response::default()
    };
    Ok(Answer {
        outgoing: request.answer(&answer)?,
        after,
    })
}

/// The topics to ask for, by name, and the answer for ids that no topic has.
fn sort(
    image: &Image,
    group: &OffsetFetchRequestGroup,
    by_id: bool,
) -> (Option<Vec<TopicPartitions>>, Vec<OffsetFetchResponseTopics>) {
    let Some(asked) = &group.topics else {
        return (None, Vec::new());
    };
    let mut topics = Vec::with_capacity(asked.len());
    let mut missing = Vec::new();
    for topic in asked {
        let name = if by_id {
            image
                .topic_by_id(TopicId::from(topic.topic_id))
                .map(|known| known.name.clone())
        } else {
            Some(shared(Some(&topic.name)))
        };
        match name {
            Some(name) => {
                topics.push(TopicPartitions {
                    name,
                    partitions: topic.partition_indexes.clone(),
                });
            }
            None => missing.push(OffsetFetchResponseTopics {
                topic_id: topic.topic_id,
                partitions: topic
                    .partition_indexes
                    .iter()
                    .map(|number| OffsetFetchResponsePartitions {
                        partition_index: *number,
                        committed_offset: -1,
                        committed_leader_epoch: -1,
                        metadata: Some(text("")),
                        error_code: ErrorCode::UnknownTopicId.code(),
                        ..OffsetFetchResponsePartitions::default()
                    })
                    .collect(),
                ..OffsetFetchResponseTopics::default()
            }),
        }
    }
    (Some(topics), missing)
}

async fn ask(
    node: &Arc<Node>,
    request: &Request,
    caller: Caller,
    fetch: FetchRequest,
) -> Result<(FetchedGroup, Option<Lsn>), CloseReason> {
    let group = fetch.group.clone();
    match node
        .groups
        .ask(node, &group, caller, GroupRequest::Fetch(fetch))
        .await
    {
        (GroupResponse::Fetch(fetched), after) => Ok((fetched, after)),
        _ => Err(request.unanswered()),
    }
}

fn old_partition(found: &FetchedPartition, version: i16) -> OffsetFetchResponsePartition {
    OffsetFetchResponsePartition {
        partition_index: found.partition,
        committed_offset: found.offset,
        committed_leader_epoch: if version >= 5 { found.leader_epoch } else { -1 },
        metadata: Some(text(&found.metadata)),
        error_code: found.error.code(),
        ..OffsetFetchResponsePartition::default()
    }
}

fn partition(found: &FetchedPartition) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: found.partition,
        committed_offset: found.offset,
        committed_leader_epoch: found.leader_epoch,
        metadata: Some(text(&found.metadata)),
        error_code: found.error.code(),
        ..OffsetFetchResponsePartitions::default()
    }
}
