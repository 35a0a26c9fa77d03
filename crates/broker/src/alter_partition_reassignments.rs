//! AlterPartitionReassignments: where the replicas of partitions shall be.
//!
//! Nothing moves yet: a partition may be told to stay where it is, and everything else is refused
//! with its reason. So no reassignment is ever under way, and none can be cancelled.

use metadata::{Image, Refusal};
use wire::ErrorCode;
use wire::ids::BrokerId;
use wire::messages::alter_partition_reassignments::{
    ReassignablePartition, ReassignablePartitionResponse, ReassignableTopicResponse,
    Request as Asked, Response,
};
use wire::messages::text;

use crate::create_topics::place_on;
use crate::dispatch::{Context, Handled, Request};

/// Answers from the image at hand.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let may_resize = request.version() < 1 || asked.allow_replication_factor_change;
    let image = context.node.image();
    let responses = asked.topics.iter().map(|topic| {
        let name = topic.name.as_str();
        let partitions = topic.partitions.iter();
        ReassignableTopicResponse {
            name: text(name),
            partitions: partitions
                .map(|wish| told(wish, reassign(&image, name, wish, may_resize)))
                .collect(),
            ..ReassignableTopicResponse::default()
        }
    });
    request.reply(&Response {
        responses: responses.collect(),
        allow_replication_factor_change: may_resize,
        ..Response::default()
    })
}

fn reassign(
    image: &Image,
    name: &str,
    wish: &ReassignablePartition,
    may_resize: bool,
) -> Result<(), Refusal> {
    let refuse = |code, message| Err(Refusal { code, message });
    let Some(topic) = image.topic(name) else {
        return refuse(
            ErrorCode::UnknownTopicOrPartition,
            format!("Unable to find a topic named {name}."),
        );
    };
    let Some(partition) = image.partition(topic.id, wish.partition_index) else {
        return refuse(
            ErrorCode::UnknownTopicOrPartition,
            format!("Unable to find partition {name}:{}.", wish.partition_index),
        );
    };
    let Some(wanted) = &wish.replicas else {
        return refuse(
            ErrorCode::NoReassignmentInProgress,
            "No partition reassignment is in progress.".into(),
        );
    };
    let wanted = place_on(image, wanted.iter().copied().map(BrokerId).collect())?.replicas;
    let (now, then) = (partition.replicas.len(), wanted.len());
    if now != then && !may_resize {
        return refuse(
            ErrorCode::InvalidReplicationFactor,
            format!("The replication factor is changed from {now} to {then}"),
        );
    }
    if partition.replicas.as_slice() != wanted {
        return refuse(
            ErrorCode::InvalidReplicaAssignment,
            "Replicas cannot be moved between brokers yet.".into(),
        );
    }
    Ok(())
}

fn told(
    wish: &ReassignablePartition,
    outcome: Result<(), Refusal>,
) -> ReassignablePartitionResponse {
    let mut told = ReassignablePartitionResponse {
        partition_index: wish.partition_index,
        ..ReassignablePartitionResponse::default()
    };
    if let Err(refusal) = outcome {
        told.error_code = refusal.code.code();
        told.error_message = Some(text(&refusal.message));
    }
    told
}
