//! The fetch response, written by hand: everything but the records, and where the records go.
//!
//! The records stay where they are. A [`Response`] is the frame without them (`head`) and a list
//! of [`Cut`]s: after so many bytes of the head, so many bytes of that slot. The frame's size
//! counts the records, so their lengths are fixed before the first byte leaves; whoever sends
//! must send exactly that much or close the connection, never pad.
//!
//! The request goes through [`crate::messages::fetch`].

use bytes::Bytes;
use stdx::Writer;

use crate::api::ApiKey;
use crate::error::ErrorCode;
use crate::frame::PREFIX_BYTES;
use crate::ids::{BrokerId, LeaderEpoch, Offset, ProducerId, TopicId};
use crate::messages::CodecError;

/// A whole answer. Lists are the caller's, so nothing is copied on the way.
#[derive(Debug, Clone, Copy)]
pub struct FetchAnswer<'a> {
    /// How long the client should pause, ms.
    pub throttle_ms: i32,
    /// An error of the request or its session (version 7 and later).
    pub error: ErrorCode,
    /// 0 without a session (decision D15).
    pub session_id: i32,
    /// By topic, in the request's order.
    pub topics: &'a [TopicAnswer<'a>],
    /// Where the leaders named in `current_leader` are reached (version 16 and later).
    pub node_endpoints: &'a [NodeEndpoint<'a>],
}

/// The partitions of one topic.
#[derive(Debug, Clone, Copy)]
pub struct TopicAnswer<'a> {
    /// Written up to version 12.
    pub name: &'a str,
    /// Written from version 13 on.
    pub id: TopicId,
    /// The partitions, in the request's order.
    pub partitions: &'a [PartitionAnswer<'a>],
}

/// One partition.
#[derive(Debug, Clone, Copy)]
pub struct PartitionAnswer<'a> {
    /// Which.
    pub partition: i32,
    /// Its error.
    pub error: ErrorCode,
    /// Where consumers may read to; −1 with most errors.
    pub high_watermark: Offset,
    /// Where read_committed consumers may read to; −1 if not asked.
    pub last_stable_offset: Offset,
    /// The first offset there is (version 5 and later).
    pub log_start_offset: Offset,
    /// Aborted transactions that overlap the records, sorted by first offset; `None`, sent as
    /// null, for read_uncommitted (rule F8).
    pub aborted: Option<&'a [AbortedTransaction]>,
    /// A follower to read from instead; −1 for none (version 11 and later).
    pub preferred_read_replica: BrokerId,
    /// Where the reader's log left ours (version 12 and later).
    pub diverging: Option<EpochEnd>,
    /// Who leads now, if not us (version 12 and later).
    pub current_leader: Option<CurrentLeader>,
    /// How many bytes of records follow. 0 is sent as an empty list, never as null (rule F3).
    pub records_bytes: u32,
}

impl PartitionAnswer<'_> {
    /// A partition that could not be read: an error and nothing known.
    pub fn failed(partition: i32, error: ErrorCode) -> PartitionAnswer<'static> {
        PartitionAnswer {
            partition,
            error,
            high_watermark: Offset::NONE,
            last_stable_offset: Offset::NONE,
            log_start_offset: Offset::NONE,
            aborted: None,
            preferred_read_replica: BrokerId::NONE,
            diverging: None,
            current_leader: None,
            records_bytes: 0,
        }
    }
}

/// An aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its first offset in the partition.
    pub first_offset: Offset,
}

/// The end of the largest epoch that both sides know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// One beyond its last offset.
    pub end_offset: Offset,
}

/// A partition's leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurrentLeader {
    /// The broker.
    pub id: BrokerId,
    /// Its epoch.
    pub epoch: LeaderEpoch,
}

/// Where a broker is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    /// The broker.
    pub id: BrokerId,
    /// Host name or address.
    pub host: &'a str,
    /// Port.
    pub port: i32,
    /// Rack, if it has one.
    pub rack: Option<&'a str>,
}

/// After `at` bytes of the head, `length` bytes of slot `slot` are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Position in the head, bytes from the size prefix on.
    pub at: u32,
    /// Which partition's records: counted over all topics, from 0.
    pub slot: u32,
    /// Bytes, more than 0.
    pub length: u32,
}

/// A frame whose records are elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The frame without the records, size prefix included.
    pub head: Bytes,
    /// Where the records go, front to back; partitions without records have no cut.
    pub cuts: Vec<Cut>,
}

impl Response {
    /// Bytes of the whole frame, records and size prefix included.
    pub fn frame_bytes(&self) -> usize {
        self.head.len()
            + self
                .cuts
                .iter()
                .map(|cut| cut.length as usize)
                .sum::<usize>()
    }

    /// A frame without records, or with all of them in the head.
    pub fn whole(head: Bytes) -> Response {
        Response {
            head,
            cuts: Vec::new(),
        }
    }

    /// The frame in one piece; `slot` gives the records of a slot. For tests and small answers.
    pub fn assemble<'s>(&self, mut slot: impl FnMut(u32) -> &'s [u8]) -> Vec<u8> {
        let mut frame = Vec::with_capacity(self.frame_bytes());
        let mut sent = 0;
        for cut in &self.cuts {
            frame.extend_from_slice(&self.head[sent..cut.at as usize]);
            frame.extend_from_slice(slot(cut.slot));
            sent = cut.at as usize;
        }
        frame.extend_from_slice(&self.head[sent..]);
        frame
    }
}

/// Writes the head and the cuts of an answer.
///
/// # Errors
/// The version is not served, or the frame would be longer than 2 GiB.
pub fn encode_answer(
    version: i16,
    correlation_id: i32,
    answer: &FetchAnswer<'_>,
) -> Result<Response, CodecError> {
    let api = ApiKey::Fetch.api();
    if !api.serves(version) {
        return Err(CodecError::Version {
            api: api.key,
            version,
        });
    }
    let partitions: usize = answer
        .topics
        .iter()
        .map(|topic| topic.partitions.len())
        .sum();
    let mut encoder = Encoder {
        version,
        flexible: api.is_flexible(version),
        out: Writer::with_capacity(64 + 48 * answer.topics.len() + 64 * partitions),
        cuts: Vec::with_capacity(partitions),
        slot: 0,
    };
    encoder.out.u32_be(0).i32_be(correlation_id);
    encoder.no_tags();
    encoder.put_answer(answer);

    let Encoder { out, cuts, .. } = encoder;
    let mut response = Response {
        head: Bytes::new(),
        cuts,
    };
    let records = response.frame_bytes();
    let size = out.len() - PREFIX_BYTES + records;
    if i32::try_from(size).is_err() {
        return Err(CodecError::TooLarge {
            api: api.key,
            version,
            bytes: size,
        });
    }
    let mut out = out;
    out.patch_u32_be(0, size as u32);
    response.head = out.into_bytes().into();
    Ok(response)
}

struct Encoder {
    version: i16,
    flexible: bool,
    out: Writer,
    cuts: Vec<Cut>,
    slot: u32,
}

impl Encoder {
    fn put_answer(&mut self, answer: &FetchAnswer<'_>) {
        self.out.i32_be(answer.throttle_ms);
        if self.version >= 7 {
            self.out
                .i16_be(answer.error.code())
                .i32_be(answer.session_id);
        }
        self.put_count(answer.topics.len());
        for topic in answer.topics {
            if self.version >= 13 {
                self.out.raw(&topic.id.0);
            } else {
                self.put_text(topic.name);
            }
            self.put_count(topic.partitions.len());
            for partition in topic.partitions {
                self.put_partition(partition);
            }
            self.no_tags();
        }
        if self.flexible {
            self.put_node_endpoints(answer.node_endpoints);
        }
    }

    fn put_partition(&mut self, partition: &PartitionAnswer<'_>) {
        self.out
            .i32_be(partition.partition)
            .i16_be(partition.error.code())
            .i64_be(partition.high_watermark.0)
            .i64_be(partition.last_stable_offset.0);
        if self.version >= 5 {
            self.out.i64_be(partition.log_start_offset.0);
        }
        match partition.aborted {
            Some(aborted) => {
                self.put_count(aborted.len());
                for transaction in aborted {
                    self.out
                        .i64_be(transaction.producer_id.0)
                        .i64_be(transaction.first_offset.0);
                    self.no_tags();
                }
            }
            None if self.flexible => {
                self.out.u8(0);
            }
            None => {
                self.out.i32_be(-1);
            }
        }
        if self.version >= 11 {
            self.out.i32_be(partition.preferred_read_replica.0);
        }
        self.put_records(partition.records_bytes);
        if self.flexible {
            self.put_partition_tags(partition);
        }
    }

    /// The length of the records, and the cut where they go.
    fn put_records(&mut self, length: u32) {
        if self.flexible {
            self.out.varint_u64(u64::from(length) + 1);
        } else {
            self.out.u32_be(length);
        }
        if length > 0 {
            self.cuts.push(Cut {
                at: self.out.len() as u32,
                slot: self.slot,
                length,
            });
        }
        self.slot += 1;
    }

    /// 0 the diverging epoch, 1 the current leader. Our leaders have no snapshots to name (2).
    fn put_partition_tags(&mut self, partition: &PartitionAnswer<'_>) {
        let count = u32::from(partition.diverging.is_some())
            + u32::from(partition.current_leader.is_some());
        self.out.varint_u32(count);
        if let Some(end) = partition.diverging {
            self.out.varint_u32(0).varint_u32(13);
            self.out.i32_be(end.epoch.0).i64_be(end.end_offset.0).u8(0);
        }
        if let Some(leader) = partition.current_leader {
            self.out.varint_u32(1).varint_u32(9);
            self.out.i32_be(leader.id.0).i32_be(leader.epoch.0).u8(0);
        }
    }

    /// The tags behind the topics: 0 the endpoints, from version 16 on.
    fn put_node_endpoints(&mut self, endpoints: &[NodeEndpoint<'_>]) {
        if self.version < 16 || endpoints.is_empty() {
            self.out.u8(0);
            return;
        }
        let mut tag = Encoder {
            version: self.version,
            flexible: true,
            out: Writer::new(),
            cuts: Vec::new(),
            slot: 0,
        };
        tag.put_count(endpoints.len());
        for endpoint in endpoints {
            tag.out.i32_be(endpoint.id.0);
            tag.put_text(endpoint.host);
            tag.out.i32_be(endpoint.port);
            match endpoint.rack {
                Some(rack) => tag.put_text(rack),
                None => {
                    tag.out.u8(0);
                }
            }
            tag.no_tags();
        }
        self.out
            .varint_u32(1)
            .varint_u32(0)
            .bytes_varint(tag.out.as_slice());
    }

    fn put_count(&mut self, count: usize) {
        if self.flexible {
            self.out.varint_u64(count as u64 + 1);
        } else {
            self.out.i32_be(count as i32);
        }
    }

    fn put_text(&mut self, text: &str) {
        if self.flexible {
            self.out.varint_u64(text.len() as u64 + 1);
        } else {
            self.out.i16_be(text.len() as i16);
        }
        self.out.raw(text.as_bytes());
    }

    fn no_tags(&mut self) {
        if self.flexible {
            self.out.u8(0);
        }
    }
}

#[cfg(test)]
mod tests;
