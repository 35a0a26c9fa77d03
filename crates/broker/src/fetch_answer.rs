//! The Fetch answer: what is told of each partition, and its bytes around the records.

use wire::ErrorCode;
use wire::fetch::{EpochEnd, FetchAnswer, PartitionAnswer, TopicAnswer, encode_answer};
use wire::ids::{BrokerId, LeaderEpoch, Offset};
use world::disk::FileSlice;

use crate::close::CloseReason;
use crate::dispatch::Request;
use crate::fetch::{Part, Plan};
use crate::fetch_sessions::{Place, Told};
use crate::outgoing::{Insert, Outgoing};
use crate::quotas::Throttle;

/// What is told of one partition.
pub struct PartAnswer {
    /// The error.
    pub error: ErrorCode,
    /// High watermark; −1 with an error.
    pub high_watermark: Offset,
    /// Last stable offset.
    pub last_stable: Offset,
    /// Log start.
    pub log_start: Offset,
    /// The records.
    pub slice: Option<FileSlice>,
    /// Where the reader's log and ours went apart (F7).
    pub diverging: Option<(LeaderEpoch, Offset)>,
    /// Ends a long poll.
    pub urgent: bool,
}

impl PartAnswer {
    /// An error, which ends a long poll (F4).
    pub fn failed(error: ErrorCode) -> PartAnswer {
        PartAnswer {
            error,
            high_watermark: Offset::NONE,
            last_stable: Offset::NONE,
            log_start: Offset::NONE,
            slice: None,
            diverging: None,
            urgent: true,
        }
    }
}

impl PartAnswer {
    /// What a session remembers of it.
    pub fn told(&self) -> Told {
        let served = self.slice.is_some();
        Told {
            news: served || self.error != ErrorCode::None || self.diverging.is_some(),
            served,
            high_watermark: self.high_watermark,
            log_start: self.log_start,
        }
    }
}

/// An answer that is one error.
pub fn encode_failed(
    request: &Request,
    session_id: i32,
    error: ErrorCode,
) -> Result<Outgoing, CloseReason> {
    encode_topics(request, error, session_id, &[], Vec::new())
}

/// The answer to a reader that is held back: nothing but its session.
pub fn encode_empty(request: &Request, session_id: i32) -> Result<Outgoing, CloseReason> {
    encode_topics(request, ErrorCode::None, session_id, &[], Vec::new())
}

/// The answer to `plan`. `inserts` are the records of the partitions that have some, in order;
/// `kept` says which partitions are told, all of them without.
pub fn encode(
    request: &Request,
    plan: &Plan,
    answers: &[PartAnswer],
    inserts: Vec<(usize, Insert)>,
    session_id: i32,
    kept: Option<&[bool]>,
) -> Result<Outgoing, CloseReason> {
    let is_kept = |at: usize| kept.is_none_or(|kept| kept.get(at).copied().unwrap_or(true));
    let told = plan.parts.iter().zip(answers).enumerate();
    let (places, partitions): (Vec<&Place>, Vec<PartitionAnswer<'_>>) = told
        .filter(|(at, _)| is_kept(*at))
        .map(|(_, (part, answer))| (&part.place, partition(plan, part, answer)))
        .unzip();
    let mut topics: Vec<TopicAnswer<'_>> = Vec::new();
    let mut begin = 0;
    for end in 1..=places.len() {
        let first = places[begin];
        let ends = places
            .get(end)
            .is_none_or(|next| next.topic != first.topic || next.id != first.id);
        if ends {
            topics.push(TopicAnswer {
                name: first.topic.as_str(),
                id: first.id,
                partitions: &partitions[begin..end],
            });
            begin = end;
        }
    }
    encode_topics(request, ErrorCode::None, session_id, &topics, inserts)
}

fn partition<'a>(plan: &Plan, part: &Part, answer: &PartAnswer) -> PartitionAnswer<'a> {
    PartitionAnswer {
        partition: part.place.partition,
        error: answer.error,
        high_watermark: answer.high_watermark,
        last_stable_offset: answer.last_stable,
        log_start_offset: answer.log_start,
        // rule F8: there are no transactions yet, so none was aborted.
        aborted: plan.is_committed().then_some(&[]),
        preferred_read_replica: BrokerId::NONE,
        diverging: answer
            .diverging
            .map(|(epoch, end_offset)| EpochEnd { epoch, end_offset }),
        current_leader: None,
        records_bytes: answer
            .slice
            .as_ref()
            .map_or(0, |slice| u32::try_from(slice.length).unwrap_or(u32::MAX)),
    }
}

fn encode_topics(
    request: &Request,
    error: ErrorCode,
    session_id: i32,
    topics: &[TopicAnswer<'_>],
    inserts: Vec<(usize, Insert)>,
) -> Result<Outgoing, CloseReason> {
    let answer = FetchAnswer {
        throttle_ms: 0,
        error,
        session_id,
        topics,
        node_endpoints: &[],
    };
    let encoded = encode_answer(request.version(), request.header.correlation_id, &answer)
        .map_err(|error| CloseReason::Unencodable {
            api: request.api().name,
            reason: error.to_string(),
        })?;
    // Both lists name the partitions with records, in the same order.
    debug_assert_eq!(
        encoded.cuts.len(),
        inserts.len(),
        "each cut has its records"
    );
    let inserts = encoded
        .cuts
        .iter()
        .zip(inserts)
        .map(|(cut, (_, insert))| (cut.at, insert))
        .collect();
    Ok(Outgoing {
        head: encoded.head,
        inserts,
        throttle: Throttle::NONE,
    })
}
