//! Produce: batches into logs; the answer leaves when they are durable.
//!
//! A batch stays as it came: its header is checked and stamped, its records are decoded only
//! where the topic needs it. All partitions of a request are appended in one go, so they land in
//! one group where they can, and the answer waits for the highest of their LSNs.
//!
//! A full staging buffer is no error: what was not appended yet is kept, the connection stops
//! reading, and the request goes on where it stopped when there is room.

use std::sync::Arc;

use bytes::Bytes;
use commitlog::{AppendError, AppendOrigin, Appended, Lsn};
use metadata::Image;
use metadata::config::{SyncPolicy, TimestampKind};
use wire::ErrorCode;
use wire::batch::{BatchLimits, check_client_batch, client_batch};
use wire::ids::TopicId;
use wire::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceResponse, Response,
    TopicProduceResponse,
};
use wire::messages::{Text, text};
use wire::produce::{ProduceRequest, TopicRef};

use crate::close::CloseReason;
use crate::dispatch::{Context, Handled, Reply, Request};
use crate::limits::REQUEST_PARTITIONS_MAX;
use crate::metadata_api::is_internal;
use crate::outgoing::Outgoing;
use crate::quotas::Throttle;
use crate::record_checks::{self, check_records};
use crate::replica::Replica;

/// The client id that may write into internal topics; Kafka's name for it.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// A request on its way through its partitions.
pub struct StalledProduce {
    request: Request,
    acks: i16,
    parts: std::vec::IntoIter<Part>,
    /// The part that met the full buffer.
    held: Option<Part>,
    image: Arc<Image>,
    response: Response,
    /// What the answer waits for.
    lsn: Lsn,
    failed: bool,
}

struct Part {
    topic: Text,
    topic_id: TopicId,
    partition: i32,
    records: Bytes,
}

/// Why one partition took nothing.
struct Refused {
    code: ErrorCode,
    message: Option<String>,
    /// The records at fault, and why each is (P2).
    records: Vec<(i32, Option<String>)>,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Refused {
        Refused {
            code,
            message: None,
            records: Vec::new(),
        }
    }
}

/// Appends what is asked.
pub fn handle(context: &Context, request: Request) -> Handled {
    let asked = ProduceRequest::decode(request.version(), &request.body.take())
        .map_err(|error| request.unreadable(&error))?;
    // rule P6
    let refusal = if !matches!(asked.acks, -1..=1) {
        Some(ErrorCode::InvalidRequiredAcks)
    } else if asked.transactional_id.is_some() {
        // Transactions are not served: docs/design/0070-no-transactions-yet.md; rule T8.
        Some(ErrorCode::UnsupportedVersion)
    } else {
        None
    };
    let count: usize = asked.topics().map(|topic| topic.partition_count()).sum();
    if count > REQUEST_PARTITIONS_MAX {
        return Err(request.unreadable(&"more partitions than a request may name"));
    }
    let mut parts = Vec::with_capacity(count);
    for topic in asked.topics() {
        let (name, id) = match &topic.topic {
            TopicRef::Name(name) => (name.clone(), TopicId::NONE),
            TopicRef::Id(id) => (Text::default(), *id),
        };
        parts.extend(topic.partitions().map(|partition| Part {
            topic: name.clone(),
            topic_id: id,
            partition: partition.partition,
            records: partition.records,
        }));
    }
    let mut work = StalledProduce {
        request,
        acks: asked.acks,
        parts: parts.into_iter(),
        held: None,
        image: context.node.image(),
        response: Response::default(),
        lsn: Lsn::ZERO,
        failed: false,
    };
    if let Some(code) = refusal {
        while let Some(part) = work.parts.next() {
            work.note(context, &part, Err(code.into()));
        }
    }
    Box::new(work).resume(context)
}

impl StalledProduce {
    /// Goes on until done or until the staging buffer is full (again).
    pub fn resume(mut self: Box<Self>, context: &Context) -> Handled {
        let now_ms = context.reactor.wall_ms();
        let mut appended = false;
        while let Some(part) = self.held.take().or_else(|| self.parts.next()) {
            let outcome = self.append(context, &part, now_ms);
            if matches!(outcome, Err(Attempt::Full)) {
                self.held = Some(part);
                context.reactor.note_no_room();
                if appended {
                    context.reactor.note_append();
                }
                return Ok(Reply::Stalled(self));
            }
            appended |= outcome.is_ok();
            let outcome = outcome.map_err(|attempt| match attempt {
                Attempt::Refused(refused) => refused,
                Attempt::Full => ErrorCode::KafkaStorageError.into(),
            });
            self.note(context, &part, outcome);
        }
        if appended {
            context.reactor.note_append();
        }
        self.finish(context)
    }

    fn append(&mut self, context: &Context, part: &Part, now_ms: i64) -> Result<Appended, Attempt> {
        let replica = if self.request.version() >= 13 {
            // rule P7
            context
                .node
                .partitions
                .by_id(&self.image, part.topic_id, part.partition)
        } else {
            context
                .node
                .partitions
                .by_name(&self.image, part.topic.as_str(), part.partition)
        };
        let replica = replica?;
        let outcome = self.append_to(context, part, &replica, now_ms);
        let full = matches!(outcome, Err(Attempt::Full));
        if !full {
            replica.counters().produced(outcome.is_err());
        }
        outcome
    }

    fn append_to(
        &mut self,
        context: &Context,
        part: &Part,
        replica: &Replica,
        now_ms: i64,
    ) -> Result<Appended, Attempt> {
        // As Kafka: only tools may write into the cluster's own topics.
        if is_internal(replica.topic()) && !self.is_admin() {
            return Err(ErrorCode::InvalidTopicException.into());
        }
        let Some(leader_epoch) = replica.leading() else {
            return Err(ErrorCode::NotLeaderOrFollower.into());
        };
        let settings = replica.settings();
        // rule P6
        if self.acks == -1 && !replica.has_enough_insync(&settings) {
            return Err(ErrorCode::NotEnoughReplicas.into());
        }
        // rules P1 and P2
        let batch = client_batch(&part.records, self.request.version())?;
        let limits = BatchLimits {
            batch_bytes_max: usize::try_from(settings.message_bytes_max).unwrap_or(0),
            segment_bytes_max: usize::try_from(settings.segment_bytes).unwrap_or(0),
            timestamp_max: (settings.timestamp_kind == TimestampKind::CreateTime)
                .then(|| now_ms.saturating_add(settings.timestamp_after_ms_max)),
        };
        check_client_batch(&batch, &limits)?;
        if batch.is_transactional() {
            return Err(ErrorCode::UnsupportedVersion.into());
        }
        let anew = check_records(&batch, &settings, now_ms)?;
        let batch = match &anew {
            None => batch,
            Some(anew) => client_batch(anew, self.request.version())?,
        };
        let origin = AppendOrigin::Client { leader_epoch };
        let appended = replica
            .log
            .append(&batch, origin, now_ms)
            .map_err(append_error)?;
        // An `os` topic does not wait for the flush (storage.md 7).
        if settings.sync == SyncPolicy::Durable {
            self.lsn = self.lsn.max(appended.lsn);
        }
        if !appended.duplicate {
            let count = u64::try_from(batch.record_count()).unwrap_or(0);
            context.reactor.counters.appended(count, batch.len() as u64);
            replica.counters().appended(count, batch.len() as u64);
        }
        Ok(appended)
    }

    /// Writes a partition's outcome into the answer.
    fn note(&mut self, context: &Context, part: &Part, outcome: Result<Appended, Refused>) {
        let mut answer = PartitionProduceResponse {
            index: part.partition,
            ..PartitionProduceResponse::default()
        };
        match outcome {
            Ok(appended) => {
                answer.base_offset = appended.base_offset.0;
                // rule P5
                answer.log_append_time_ms = appended.append_time_ms.unwrap_or(-1);
                answer.log_start_offset = appended.log_start.0;
            }
            Err(refused) => {
                self.failed = true;
                context.reactor.counters.produce_failed();
                answer.error_code = refused.code.code();
                answer.base_offset = -1;
                answer.log_append_time_ms = -1;
                answer.log_start_offset = -1;
                answer.error_message = refused.message.as_deref().map(text);
                answer.record_errors = refused
                    .records
                    .into_iter()
                    .map(|(index, message)| BatchIndexAndErrorMessage {
                        batch_index: index,
                        batch_index_error_message: message.as_deref().map(text),
                        ..BatchIndexAndErrorMessage::default()
                    })
                    .collect();
                // rule P7
                if refused.code == ErrorCode::NotLeaderOrFollower && self.request.version() >= 10 {
                    answer.current_leader = self.leader_of(part);
                }
            }
        }
        let id = part.topic_id.into();
        match self.response.responses.last_mut() {
            Some(topic) if topic.name == part.topic && topic.topic_id == id => {
                topic.partition_responses.push(answer);
            }
            _ => self.response.responses.push(TopicProduceResponse {
                name: part.topic.clone(),
                topic_id: id,
                partition_responses: vec![answer],
                ..TopicProduceResponse::default()
            }),
        }
    }

    /// Whether this is the client id with which Kafka's tools copy internal topics.
    fn is_admin(&self) -> bool {
        self.request
            .header
            .client_id
            .as_ref()
            .is_some_and(|id| id.as_str() == ADMIN_CLIENT_ID)
    }

    fn leader_of(&self, part: &Part) -> LeaderIdAndEpoch {
        let topic = if self.request.version() >= 13 {
            self.image.topic_by_id(part.topic_id)
        } else {
            self.image.topic(part.topic.as_str())
        };
        let known = topic.and_then(|topic| self.image.partition(topic.id, part.partition));
        match known {
            Some(known) => LeaderIdAndEpoch {
                leader_id: known.leader.map_or(-1, |leader| leader.0),
                leader_epoch: known.leader_epoch.0,
                ..LeaderIdAndEpoch::default()
            },
            None => LeaderIdAndEpoch::default(),
        }
    }

    fn finish(self: Box<Self>, context: &Context) -> Handled {
        // rule W9: what was refused was sent all the same
        let throttle = self
            .request
            .meters
            .as_ref()
            .map_or(Throttle::NONE, |meters| {
                meters.produced(self.request.bytes, context.reactor.now())
            });
        if self.acks == 0 {
            // rule P6: closing is the only way to say that something went wrong.
            return if self.failed {
                Err(CloseReason::UnacknowledgedFailed)
            } else {
                Ok(Reply::Never(throttle))
            };
        }
        let outgoing: Outgoing = self.request.answer(&self.response)?.throttled(throttle);
        Ok(if self.lsn == Lsn::ZERO {
            Reply::Now(outgoing)
        } else {
            Reply::WhenDurable(self.lsn, outgoing)
        })
    }
}

/// Why an append did not happen.
enum Attempt {
    /// No room; try again.
    Full,
    Refused(Refused),
}

impl From<ErrorCode> for Attempt {
    fn from(code: ErrorCode) -> Attempt {
        Attempt::Refused(code.into())
    }
}

impl From<wire::batch::Refusal> for Attempt {
    fn from(refusal: wire::batch::Refusal) -> Attempt {
        let message = Some(refusal.reason.to_owned());
        // The batch as a whole is at fault; its first record stands for it.
        let of_records = matches!(
            refusal.code,
            ErrorCode::InvalidRecord | ErrorCode::InvalidTimestamp
        );
        let records = if of_records {
            vec![(0, message.clone())]
        } else {
            Vec::new()
        };
        Attempt::Refused(Refused {
            code: refusal.code,
            message,
            records,
        })
    }
}

impl From<record_checks::Refused> for Attempt {
    fn from(refused: record_checks::Refused) -> Attempt {
        let records = refused
            .records
            .into_iter()
            .map(|(index, reason)| (index, Some(reason.to_owned())))
            .collect();
        Attempt::Refused(Refused {
            code: refused.code,
            message: Some(refused.reason),
            records,
        })
    }
}

fn append_error(error: AppendError) -> Attempt {
    let code = match &error {
        AppendError::StagingFull => return Attempt::Full,
        AppendError::NotLeader => ErrorCode::NotLeaderOrFollower,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::TooLarge { .. } => ErrorCode::RecordListTooLarge,
        AppendError::BadOffsets { .. } => ErrorCode::InvalidRecord,
        AppendError::InvalidTxnState => ErrorCode::InvalidTxnState,
        // Retriable: the client comes back, and finds another leader if there is one.
        AppendError::Full | AppendError::Dead => ErrorCode::KafkaStorageError,
    };
    Attempt::Refused(Refused {
        code,
        message: Some(error.to_string()),
        records: Vec::new(),
    })
}
