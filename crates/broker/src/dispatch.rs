//! The one table from API key to handler, and what a handler is given and gives back.
//!
//! A handler is a plain function `fn(&Context, Request) -> Handled`, one file per API, named
//! after the API. Two shapes cover nearly all of them:
//!
//! ```ignore
//! // Knows its answer at once: reads the image or a partition.
//! pub fn handle(context: &Context, request: Request) -> Handled {
//!     let asked: ListOffsetsRequest = request.decode()?;
//!     request.reply(&answer(context, &request, asked))
//! }
//!
//! // Has to wait: proposes a metadata command, asks a coordinator.
//! pub fn handle(context: &Context, request: Request) -> Handled {
//!     let asked: CreateTopicsRequest = request.decode()?;
//!     let context = context.clone();
//!     Ok(Reply::later(async move { request.answer(&create(&context, asked).await) }))
//! }
//! ```
//!
//! Rules for handlers:
//! - They run on the reactor of the connection: no blocking call, no lock held across an await.
//! - An `Err` closes the connection. It is for requests that cannot be understood; everything
//!   else is answered with an error code.
//! - Requests of a connection are handled one after the other (W7); only Produce requests
//!   overlap, because their effects are ordered by the append and only the flush is awaited.
//! - A waiting handler is dropped when its client goes away. What it proposed still happens.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use commitlog::Lsn;
use wire::api::{Api, ApiKey};
use wire::header::{Incoming, RequestHeader, read_request};
use wire::messages::{self, Message, text};
use world::net::LocalFuture;

use crate::close::CloseReason;
use crate::fetch::ParkedFetch;
use crate::node::Node;
use crate::outgoing::Outgoing;
use crate::produce::StalledProduce;
use crate::quotas::{ClientMeters, Throttle};
use crate::reactor::Reactor;
use crate::session::Session;
use crate::{
    alter_client_quotas, alter_configs, alter_partition_reassignments, api_versions,
    consumer_group_describe, consumer_group_heartbeat, create_partitions, create_topics,
    delete_groups, delete_records, delete_topics, describe_client_quotas, describe_cluster,
    describe_configs, describe_groups, describe_log_dirs, describe_producers, describe_quorum,
    describe_topic_partitions, describe_user_scram_credentials, elect_leaders, fetch,
    find_coordinator, heartbeat, incremental_alter_configs, init_producer_id, join_group,
    leave_group, list_config_resources, list_groups, list_offsets, list_partition_reassignments,
    metadata_api, offset_commit, offset_delete, offset_fetch, offset_for_leader_epoch, produce,
    sync_group, unregister_broker, update_features,
};

/// Where a handler stands: the node, the reactor it runs on, and the connection it serves.
#[derive(Clone)]
pub struct Context {
    /// What all connections share.
    pub node: Arc<Node>,
    /// The reactor of this connection.
    pub reactor: Rc<Reactor>,
    /// This connection.
    pub session: Rc<Session>,
}

impl Context {
    /// The meters of a client of this connection, if anything of it is measured. Where nobody has
    /// a quota this is one atomic load.
    pub fn meters(&self, client_id: &str) -> Option<Rc<ClientMeters>> {
        let quotas = &self.node.quotas;
        if !quotas.has_clients() {
            return None;
        }
        // In this order: meters of an older image are looked up once more, never kept.
        let generation = quotas.generation();
        let meters = self.session.meters(generation, client_id, || {
            let (image, user) = (self.node.image(), self.session.user());
            quotas.client(&image, generation, user, client_id, self.reactor.now())
        });
        (!meters.is_empty()).then_some(meters)
    }
}

/// One request: its header, and its body still as bytes.
pub struct Request {
    /// Key, version, correlation id and client id.
    pub header: RequestHeader,
    /// What follows the header, until it is decoded: a request that waits keeps no bytes alive.
    pub body: Cell<Bytes>,
    /// Bytes of the whole frame, without its size field.
    pub bytes: usize,
    /// What its client is measured by, if at all.
    pub meters: Option<Rc<ClientMeters>>,
}

impl Request {
    /// The row of the API table.
    pub fn api(&self) -> &'static Api {
        self.header.api
    }

    /// The version that was asked for, and that the answer must have.
    pub fn version(&self) -> i16 {
        self.header.version
    }

    /// The body as a message of `wire::messages`. Once.
    pub fn decode<T: messages::Request>(&self) -> Result<T, CloseReason> {
        messages::decode_request::<T>(self.header.version, self.body.take())
            .map_err(|error| self.unreadable(&error))
    }

    /// The closing reason for a body that does not parse.
    pub fn unreadable(&self, error: &dyn std::fmt::Display) -> CloseReason {
        CloseReason::Unreadable {
            api: self.header.api.name,
            reason: error.to_string(),
        }
    }

    /// The closing reason when a coordinator gave an answer of another kind than was asked for:
    /// only while the node goes down.
    pub fn unanswered(&self) -> CloseReason {
        CloseReason::Draining
    }

    /// Encodes the answer.
    pub fn answer<T: Message>(&self, response: &T) -> Result<Outgoing, CloseReason> {
        messages::encode_response(self.header.version, self.header.correlation_id, response)
            .map(Outgoing::bytes)
            .map_err(|error| CloseReason::Unencodable {
                api: self.header.api.name,
                reason: error.to_string(),
            })
    }

    /// Encodes the answer, to leave at once.
    pub fn reply<T: Message>(&self, response: &T) -> Handled {
        self.answer(response).map(Reply::Now)
    }
}

/// What a handler did.
pub enum Reply {
    /// The answer.
    Now(Outgoing),
    /// The answer, to leave when the log is durable up to this LSN.
    WhenDurable(Lsn, Outgoing),
    /// No answer: Produce with acks=0. Its client may be held back all the same.
    Never(Throttle),
    /// The answer comes; see [`Reply::later`].
    Later(LocalFuture<'static, Result<Answer, CloseReason>>),
    /// A long poll that waits for records.
    Fetch(Box<ParkedFetch>),
    /// A produce that met a full staging buffer and goes on when there is room.
    Stalled(Box<StalledProduce>),
}

/// A late answer, and the LSN it may have to wait for on top.
pub struct Answer {
    /// The frame.
    pub outgoing: Outgoing,
    /// Leaves when the log is durable up to here.
    pub after: Option<Lsn>,
}

impl Reply {
    /// An answer that some future gives.
    pub fn later<F>(future: F) -> Reply
    where
        F: Future<Output = Result<Outgoing, CloseReason>> + 'static,
    {
        Reply::Later(Box::pin(async move {
            future.await.map(|outgoing| Answer {
                outgoing,
                after: None,
            })
        }))
    }

    /// An answer that some future gives, and that leaves when the LSN it names is durable.
    pub fn later_durable<F>(future: F) -> Reply
    where
        F: Future<Output = Result<Answer, CloseReason>> + 'static,
    {
        Reply::Later(Box::pin(future))
    }
}

/// What a handler returns: an error closes the connection.
pub type Handled = Result<Reply, CloseReason>;

/// A handler.
pub type Handler = fn(&Context, Request) -> Handled;

/// The table. An exhaustive match, so that a key in `wire`'s table cannot lack its handler.
pub fn handler(key: ApiKey) -> Handler {
    match key {
        ApiKey::Produce => produce::handle,
        ApiKey::Fetch => fetch::handle,
        ApiKey::ListOffsets => list_offsets::handle,
        ApiKey::Metadata => metadata_api::handle,
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch::handle,
        ApiKey::ApiVersions => api_versions::handle,
        ApiKey::InitProducerId => init_producer_id::handle,
        ApiKey::FindCoordinator => find_coordinator::handle,
        ApiKey::OffsetCommit => offset_commit::handle,
        ApiKey::OffsetFetch => offset_fetch::handle,
        ApiKey::JoinGroup => join_group::handle,
        ApiKey::Heartbeat => heartbeat::handle,
        ApiKey::LeaveGroup => leave_group::handle,
        ApiKey::SyncGroup => sync_group::handle,
        ApiKey::DescribeGroups => describe_groups::handle,
        ApiKey::ListGroups => list_groups::handle,
        ApiKey::DeleteGroups => delete_groups::handle,
        ApiKey::OffsetDelete => offset_delete::handle,
        ApiKey::CreateTopics => create_topics::handle,
        ApiKey::DeleteTopics => delete_topics::handle,
        ApiKey::CreatePartitions => create_partitions::handle,
        ApiKey::DescribeConfigs => describe_configs::handle,
        ApiKey::AlterConfigs => alter_configs::handle,
        ApiKey::IncrementalAlterConfigs => incremental_alter_configs::handle,
        ApiKey::DescribeCluster => describe_cluster::handle,
        ApiKey::DeleteRecords => delete_records::handle,
        ApiKey::DescribeLogDirs => describe_log_dirs::handle,
        ApiKey::ConsumerGroupHeartbeat => consumer_group_heartbeat::handle,
        ApiKey::ConsumerGroupDescribe => consumer_group_describe::handle,
        ApiKey::ElectLeaders => elect_leaders::handle,
        ApiKey::AlterPartitionReassignments => alter_partition_reassignments::handle,
        ApiKey::ListPartitionReassignments => list_partition_reassignments::handle,
        ApiKey::UpdateFeatures => update_features::handle,
        ApiKey::DescribeProducers => describe_producers::handle,
        ApiKey::UnregisterBroker => unregister_broker::handle,
        ApiKey::ListConfigResources => list_config_resources::handle,
        ApiKey::DescribeClientQuotas => describe_client_quotas::handle,
        ApiKey::AlterClientQuotas => alter_client_quotas::handle,
        ApiKey::DescribeUserScramCredentials => describe_user_scram_credentials::handle,
        ApiKey::DescribeQuorum => describe_quorum::handle,
        ApiKey::DescribeTopicPartitions => describe_topic_partitions::handle,
    }
}

/// A request that was handed to its handler.
pub struct Dispatched {
    /// The API.
    pub key: ApiKey,
    /// The version, which the answer has.
    pub version: i16,
    /// What its client is measured by, if at all.
    pub meters: Option<Rc<ClientMeters>>,
    /// What the handler did.
    pub reply: Reply,
}

/// From a whole frame to what its handler did.
///
/// A frame is a slice of a read buffer of a megabyte. Produce is done with it when it returns;
/// every other request may wait, for records or for a rebalance, so it gets a copy of its own.
pub fn dispatch(context: &Context, frame: Bytes) -> Result<Dispatched, CloseReason> {
    let bytes = frame.len();
    let produces = frame.starts_with(&ApiKey::Produce.code().to_be_bytes());
    let frame = if produces {
        frame
    } else {
        Bytes::copy_from_slice(&frame)
    };
    // rule W6
    match read_request(frame).map_err(CloseReason::Unserved)? {
        Incoming::Request { mut header, body } => {
            let key = header.api.key;
            if !produces {
                // A slice would keep the whole frame alive as long as the request waits.
                header.client_id = header.client_id.map(|id| text(id.as_str()));
            }
            let client_id = header.client_id.as_ref().map_or("", |id| id.as_str());
            let meters = context.meters(client_id);
            let version = header.version;
            let request = Request {
                header,
                body: Cell::new(body),
                bytes,
                meters: meters.clone(),
            };
            let reply = handler(key)(context, request)?;
            Ok(Dispatched {
                key,
                version,
                meters,
                reply,
            })
        }
        // rule W1
        Incoming::ApiVersionsFallback { correlation_id } => Ok(Dispatched {
            key: ApiKey::ApiVersions,
            version: 0,
            meters: None,
            reply: api_versions::fallback(correlation_id),
        }),
    }
}
