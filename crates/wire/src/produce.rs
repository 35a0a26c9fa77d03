//! The produce request, read by hand: from the frame to (topic, partition, record bytes) without
//! copying or allocating anything, at every version from 3 to 13.
//!
//! The whole request is checked once when it is read, and then walked in place. So a
//! request of many tiny partitions costs no more memory than its frame (rule W8).
//!
//! The answer is small and goes through [`crate::messages::produce`].

use std::ops::Range;

use bytes::Bytes;
use stdx::{CursorError, Reader};

use crate::api::ApiKey;
use crate::header::skip_tags;
use crate::ids::TopicId;
use crate::messages::{CodecError, Text};

/// A produce request. Strings and record bytes are slices of the frame.
#[derive(Debug, Clone)]
pub struct ProduceRequest {
    /// The transaction's owner, if any.
    pub transactional_id: Option<Text>,
    /// −1, 0 or 1; anything else is to be refused (rule P6).
    pub acks: i16,
    /// How long to wait for replicas, ms.
    pub timeout_ms: i32,
    body: Bytes,
    topics: Items,
    layout: Layout,
}

/// How a topic is named: by name up to version 12, by id from 13 on (rule P7).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TopicRef {
    /// By name.
    Name(Text),
    /// By id.
    Id(TopicId),
}

/// One topic of a request.
#[derive(Debug, Clone)]
pub struct ProduceTopic<'r> {
    /// Which.
    pub topic: TopicRef,
    body: &'r Bytes,
    partitions: Items,
    layout: Layout,
}

/// What is to be appended to one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePartition {
    /// Which.
    pub partition: i32,
    /// The bytes that should be one batch (rule P1), a slice of the frame; empty if they were
    /// null. [`crate::batch::client_batch`] looks at them.
    pub records: Bytes,
}

/// An array that was checked: how many elements, and where in the body the first begins.
#[derive(Debug, Clone, Copy)]
struct Items {
    count: usize,
    start: usize,
}

#[derive(Debug, Clone, Copy)]
struct Layout {
    flexible: bool,
    topic_ids: bool,
}

impl ProduceRequest {
    /// Reads the body of a request at this version.
    ///
    /// # Errors
    /// As [`crate::messages::decode_request`].
    pub fn decode(version: i16, body: &Bytes) -> Result<ProduceRequest, CodecError> {
        let api = ApiKey::Produce.api();
        if !api.serves(version) {
            return Err(CodecError::Version {
                api: api.key,
                version,
            });
        }
        let layout = Layout {
            flexible: api.is_flexible(version),
            topic_ids: version >= 13,
        };
        read_request(body, layout).map_err(|reason| CodecError::Damaged {
            api: api.key,
            version,
            reason,
        })
    }

    /// The topics, in the request's order. The same topic may come twice: that is the caller's to
    /// judge.
    pub fn topics(&self) -> impl Iterator<Item = ProduceTopic<'_>> {
        let layout = self.layout;
        // What was checked on decoding cannot fail here; if it did, the walk would end.
        walk(&self.body, self.topics, move |reader, body| {
            let topic = match pass_topic_ref(reader, layout)? {
                Named::Id(id) => TopicRef::Id(id),
                Named::Name(range) => TopicRef::Name(text(body, range)?),
            };
            let partitions = pass_partitions(reader, layout)?;
            if layout.flexible {
                skip_tags(reader)?;
            }
            Ok(ProduceTopic {
                topic,
                body,
                partitions,
                layout,
            })
        })
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.count
    }
}

impl ProduceTopic<'_> {
    /// The partitions, in the request's order.
    pub fn partitions(&self) -> impl Iterator<Item = ProducePartition> + '_ {
        let layout = self.layout;
        walk(self.body, self.partitions, move |reader, body| {
            let (partition, records) = pass_partition(reader, layout)?;
            Ok(ProducePartition {
                partition,
                records: body.slice(records),
            })
        })
    }

    /// How many partitions there are.
    pub fn partition_count(&self) -> usize {
        self.partitions.count
    }
}

/// Walks an array that was checked.
fn walk<'r, T: 'r>(
    body: &'r Bytes,
    items: Items,
    read: impl Fn(&mut Reader<'r>, &'r Bytes) -> Result<T, CursorError> + 'r,
) -> impl Iterator<Item = T> + 'r {
    let mut reader = Reader::new(body);
    let mut left = if reader.skip(items.start).is_ok() {
        items.count
    } else {
        0
    };
    std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        read(&mut reader, body).ok()
    })
}

/// The one pass that checks everything; it makes no slices.
fn read_request(body: &Bytes, layout: Layout) -> Result<ProduceRequest, CursorError> {
    let mut reader = Reader::new(body);
    let transactional_id = match pass_text(&mut reader, layout)? {
        Some(range) => Some(text(body, range)?),
        None => None,
    };
    let acks = reader.i16_be()?;
    let timeout_ms = reader.i32_be()?;
    let topics = read_count(&mut reader, layout)?;
    // A hostile count ends with the bytes: each element takes some.
    for _ in 0..topics.count {
        if let Named::Name(range) = pass_topic_ref(&mut reader, layout)? {
            check_text(body, range)?;
        }
        pass_partitions(&mut reader, layout)?;
        if layout.flexible {
            skip_tags(&mut reader)?;
        }
    }
    if layout.flexible {
        skip_tags(&mut reader)?;
    }
    Ok(ProduceRequest {
        transactional_id,
        acks,
        timeout_ms,
        body: body.clone(),
        topics,
        layout,
    })
}

enum Named {
    Name(Range<usize>),
    Id(TopicId),
}

fn pass_topic_ref(reader: &mut Reader<'_>, layout: Layout) -> Result<Named, CursorError> {
    if layout.topic_ids {
        return Ok(Named::Id(TopicId(reader.array()?)));
    }
    let position = reader.position();
    let name = pass_text(reader, layout)?;
    name.map(Named::Name).ok_or(CursorError::BadLength {
        position,
        length: -1,
    })
}

fn pass_partitions(reader: &mut Reader<'_>, layout: Layout) -> Result<Items, CursorError> {
    let partitions = read_count(reader, layout)?;
    for _ in 0..partitions.count {
        pass_partition(reader, layout)?;
    }
    Ok(partitions)
}

fn pass_partition(
    reader: &mut Reader<'_>,
    layout: Layout,
) -> Result<(i32, Range<usize>), CursorError> {
    let partition = reader.i32_be()?;
    let length = if layout.flexible {
        read_compact_length(reader)?
    } else {
        let position = reader.position();
        let length = reader.i32_be()?;
        plain_length(position, i64::from(length))?
    };
    let start = reader.position();
    reader.skip(length.unwrap_or(0))?;
    let records = start..reader.position();
    if layout.flexible {
        skip_tags(reader)?;
    }
    Ok((partition, records))
}

/// An array's count, and where its elements begin; null is an error.
fn read_count(reader: &mut Reader<'_>, layout: Layout) -> Result<Items, CursorError> {
    let position = reader.position();
    let count = if layout.flexible {
        read_compact_length(reader)?
    } else {
        let count = reader.i32_be()?;
        plain_length(position, i64::from(count))?
    };
    let count = count.ok_or(CursorError::BadLength {
        position,
        length: -1,
    })?;
    Ok(Items {
        count,
        start: reader.position(),
    })
}

fn pass_text(reader: &mut Reader<'_>, layout: Layout) -> Result<Option<Range<usize>>, CursorError> {
    let length = if layout.flexible {
        read_compact_length(reader)?
    } else {
        let position = reader.position();
        let length = reader.i16_be()?;
        plain_length(position, i64::from(length))?
    };
    let Some(length) = length else {
        return Ok(None);
    };
    let start = reader.position();
    reader.skip(length)?;
    Ok(Some(start..reader.position()))
}

fn check_text(body: &Bytes, range: Range<usize>) -> Result<(), CursorError> {
    let position = range.start;
    match std::str::from_utf8(&body[range]) {
        Ok(_) => Ok(()),
        Err(_) => Err(CursorError::NotUtf8 { position }),
    }
}

fn text(body: &Bytes, range: Range<usize>) -> Result<Text, CursorError> {
    let position = range.start;
    Text::new(body.slice(range)).map_err(|_| CursorError::NotUtf8 { position })
}

/// A varint of length + 1; 0 is null.
#[inline]
fn read_compact_length(reader: &mut Reader<'_>) -> Result<Option<usize>, CursorError> {
    Ok((reader.varint_u32()? as usize).checked_sub(1))
}

/// −1 is null, anything else below 0 an error.
#[inline]
fn plain_length(position: usize, length: i64) -> Result<Option<usize>, CursorError> {
    match usize::try_from(length) {
        Ok(length) => Ok(Some(length)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(CursorError::BadLength { position, length }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{self, produce, text};

    fn sample(version: i16) -> produce::Request {
        let topic = |name: &str, id: u8, records: Vec<Option<&'static [u8]>>| {
            let mut topic = produce::TopicProduceData {
                partition_data: (0..)
                    .zip(records)
                    .map(|(index, records)| produce::PartitionProduceData {
                        index,
                        records: records.map(Bytes::from_static),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            };
            if version >= 13 {
                topic.topic_id = TopicId([id; 16]).into();
            } else {
                topic.name = text(name);
            }
            topic
        };
        produce::Request {
            transactional_id: Some(text("tx")),
            acks: -1,
            timeout_ms: 1500,
            topic_data: vec![
                topic("one", 1, vec![Some(b"abc"), None, Some(b"")]),
                topic("none", 2, vec![]),
                topic("two", 3, vec![Some(b"defg")]),
            ],
            ..Default::default()
        }
    }

    #[test]
    fn every_version_is_read_as_slices_of_the_frame() {
        for version in 3..=13 {
            let body = messages::encode_body(version, &sample(version)).expect("encodes");
            let request = ProduceRequest::decode(version, &body).expect("decodes");
            assert_eq!(request.transactional_id, Some(text("tx")));
            assert_eq!((request.acks, request.timeout_ms), (-1, 1500));
            let topics: Vec<_> = request.topics().collect();
            assert_eq!((topics.len(), request.topic_count()), (3, 3));
            let named = |at: usize, name: &str, id: u8| {
                if version >= 13 {
                    assert_eq!(topics[at].topic, TopicRef::Id(TopicId([id; 16]))); // rule P7
                } else {
                    assert_eq!(topics[at].topic, TopicRef::Name(text(name)));
                }
            };
            named(0, "one", 1);
            named(1, "none", 2);
            named(2, "two", 3);
            let parts: Vec<_> = topics[0].partitions().collect();
            assert_eq!(
                parts.iter().map(|p| p.partition).collect::<Vec<_>>(),
                [0, 1, 2]
            );
            assert_eq!(parts[0].records, &b"abc"[..]);
            assert!(parts[1].records.is_empty() && parts[2].records.is_empty());
            assert_eq!(topics[1].partition_count(), 0);
            let records = topics[2].partitions().next().expect("one").records;
            assert_eq!(records, &b"defg"[..]);
            let frame = body.as_ptr_range();
            assert!(
                frame.contains(&records.as_ptr()),
                "a slice of the frame, not a copy"
            );
        }
    }

    #[test]
    fn a_request_cut_anywhere_is_an_error() {
        // rule W8
        for version in [3, 8, 9, 12, 13] {
            let body = messages::encode_body(version, &sample(version)).expect("encodes");
            for cut in 0..body.len() {
                assert!(ProduceRequest::decode(version, &body.slice(..cut)).is_err());
            }
        }
    }

    #[test]
    fn versions_below_three_are_not_read() {
        // rule W6
        for version in [-1, 0, 2, 14] {
            assert!(matches!(
                ProduceRequest::decode(version, &Bytes::new()),
                Err(CodecError::Version { .. })
            ));
        }
    }
}
