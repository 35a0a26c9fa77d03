//! FindCoordinator: which broker coordinates a group. Creates the offsets topic when it is first
//! asked for, as Kafka does.

use wire::ErrorCode;
use wire::ids::BrokerId;
use wire::messages::find_coordinator::{Coordinator, Request as Asked, Response};
use wire::messages::{Text, text};

use crate::dispatch::{Context, Handled, Request};
use crate::group_host::OFFSETS_TOPIC;

/// `key_type` of groups; transactional ids are 1, share partitions 2 (version 6).
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Answers each key by itself.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked: Asked = request.decode()?;
    let version = request.version();
    let key_type = if version >= 1 { asked.key_type } else { GROUP };
    if version >= 4 {
        let coordinators = asked
            .coordinator_keys
            .into_iter()
            .map(|key| find(context, key_type, key))
            .collect();
        return request.reply(&Response {
            coordinators,
            ..Response::default()
        });
    }
    let found = find(context, key_type, asked.key);
    request.reply(&Response {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Response::default()
    })
}

fn find(context: &Context, key_type: i8, key: Text) -> Coordinator {
    let failed = |error: ErrorCode, message: Option<&str>, key: Text| Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code: error.code(),
        error_message: message.map(text),
        ..Coordinator::default()
    };
    match key_type {
        GROUP => {}
        // See docs/design/0070-no-transactions-yet.md.
        TRANSACTION => {
            let message = "transactions are not served by this release";
            return failed(ErrorCode::UnsupportedVersion, Some(message), key);
        }
        _ => return failed(ErrorCode::InvalidRequest, Some("unknown key type"), key),
    }
    let image = context.node.image();
    let Some(partition) = context
        .node
        .groups
        .partition_of(&context.node, key.as_str())
    else {
        context.node.create_topic_soon(OFFSETS_TOPIC);
        return failed(ErrorCode::CoordinatorNotAvailable, None, key);
    };
    let leader = image
        .topic(OFFSETS_TOPIC)
        .and_then(|topic| image.partition(topic.id, partition))
        .and_then(|partition| partition.leader)
        .and_then(|leader: BrokerId| image.broker(leader));
    let address = leader.and_then(|leader| context.node.address_of(context, leader));
    match (leader, address) {
        (Some(leader), Some((host, port))) => Coordinator {
            key,
            node_id: leader.id.0,
            host: text(&host),
            port: i32::from(port),
            ..Coordinator::default()
        },
        _ => failed(ErrorCode::CoordinatorNotAvailable, None, key),
    }
}
