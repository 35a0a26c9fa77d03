//! DescribeQuorum: who decides about the metadata, and how far each of them is.

use wire::ErrorCode;
use wire::messages::describe_quorum::{Listener, Node, ReplicaState, Request as Asked, Response};
use wire::messages::{AskedQuorumPartition, AskedQuorumTopic, QuorumPartition, QuorumTopic, text};

use crate::control::QuorumState;
use crate::dispatch::{Context, Handled, Reply, Request};

/// The name Kafka has for the metadata log.
const METADATA_TOPIC: &str = "__cluster_metadata";

/// Answers with the state of the consensus after everything that was committed before.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    if !asks_for_metadata(&asked) {
        return request.reply(&failed(&asked, ErrorCode::UnknownTopicOrPartition));
    }
    let context = context.clone();
    Ok(Reply::later(async move {
        let response = match context.node.control.quorum_state().await {
            Ok(state) => described(&context, &state, request.version()),
            Err(_) => failed(&asked, ErrorCode::NotLeaderOrFollower),
        };
        request.answer(&response)
    }))
}

/// Whether it names the one partition there is, and nothing else.
fn asks_for_metadata(asked: &Asked) -> bool {
    let [topic] = asked.topics.as_slice() else {
        return false;
    };
    let [partition] = topic.partitions.as_slice() else {
        return false;
    };
    topic.topic_name.as_str() == METADATA_TOPIC && partition.partition_index == 0
}

fn described(context: &Context, state: &QuorumState, version: i16) -> Response {
    let id = context.node.id.0;
    let now_ms = context.node.world.clock.wall_ms();
    // What is committed is what the only voter has.
    let end = i64::try_from(state.applied.saturating_add(1)).unwrap_or(i64::MAX);
    let advertised = context.session.advertised();
    let nodes = vec![Node {
        node_id: id,
        listeners: vec![Listener {
            name: text(context.session.listener_name()),
            host: text(&advertised.host),
            port: advertised.port,
            ..Listener::default()
        }],
        ..Node::default()
    }];
    Response {
        topics: vec![QuorumTopic {
            topic_name: text(METADATA_TOPIC),
            partitions: vec![QuorumPartition {
                leader_id: id,
                leader_epoch: i32::try_from(state.term).unwrap_or(i32::MAX),
                high_watermark: end,
                current_voters: vec![ReplicaState {
                    replica_id: id,
                    log_end_offset: end,
                    last_fetch_timestamp: now_ms,
                    last_caught_up_timestamp: now_ms,
                    ..ReplicaState::default()
                }],
                ..QuorumPartition::default()
            }],
            ..QuorumTopic::default()
        }],
        nodes: if version >= 2 { nodes } else { Vec::new() },
        ..Response::default()
    }
}

fn failed(asked: &Asked, code: ErrorCode) -> Response {
    let partition = |partition: &AskedQuorumPartition| QuorumPartition {
        partition_index: partition.partition_index,
        error_code: code.code(),
        error_message: Some(text(code.message())),
        ..QuorumPartition::default()
    };
    let topic = |topic: &AskedQuorumTopic| QuorumTopic {
        topic_name: text(topic.topic_name.as_str()),
        partitions: topic.partitions.iter().map(partition).collect(),
        ..QuorumTopic::default()
    };
    Response {
        topics: asked.topics.iter().map(topic).collect(),
        ..Response::default()
    }
}
