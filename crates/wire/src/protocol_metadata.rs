//! The blobs that consumers of classic groups exchange through the coordinator: subscription and
//! assignment of the `consumer` protocol type, versions 0 to 3.
//!
//! The coordinator reads them only to describe groups and to know who is subscribed (rule G10);
//! our client writes them. A version above 3 is read as 3, as Kafka does: later versions only
//! append. A field whose version promises it, but where the bytes end before it, is taken as
//! absent: some clients promise too much.
//!
//! Layout: version i16; subscription: topics [string], user data nullable bytes, 1+: owned
//! [topic, [i32]], 2+: generation i32, 3+: rack nullable string; assignment: partitions
//! [topic, [i32]], user data nullable bytes. Nothing here is flexible.

use stdx::{CursorError, Reader, Writer};

/// The highest version written and understood.
pub const VERSION_MAX: i16 = 3;

/// Why a blob cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// A negative version.
    #[error("consumer protocol version {0} does not exist")]
    Version(i16),
    /// The bytes do not hold together.
    #[error("consumer protocol data is damaged: {0}")]
    Damaged(#[from] CursorError),
}

/// Partitions of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct TopicPartitions {
    /// The topic's name.
    pub topic: String,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// What a member wants to read, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscription {
    /// Topics, as the member sent them; Kafka sorts them.
    pub topics: Vec<String>,
    /// The assignor's own data.
    pub user_data: Option<Vec<u8>>,
    /// What the member held when it sent this (version 1).
    pub owned: Vec<TopicPartitions>,
    /// The generation in which it did; `None` if unknown (version 2).
    pub generation: Option<i32>,
    /// The member's rack; `None` if unknown (version 3).
    pub rack: Option<String>,
}

/// What a member is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The partitions, by topic.
    pub partitions: Vec<TopicPartitions>,
    /// The assignor's own data.
    pub user_data: Option<Vec<u8>>,
}

impl Subscription {
    /// Reads a member's metadata of a group whose protocol type is `consumer`.
    ///
    /// # Errors
    /// [`BlobError`].
    pub fn decode(bytes: &[u8]) -> Result<Subscription, BlobError> {
        let mut reader = Reader::new(bytes);
        let version = read_version(&mut reader)?;
        let count = read_count(&mut reader, 2)?;
        let mut topics = Vec::new();
        for _ in 0..count {
            topics.push(read_text(&mut reader)?);
        }
        let mut subscription = Subscription {
            topics,
            user_data: read_user_data(&mut reader)?,
            ..Default::default()
        };
        if version >= 1 && !reader.is_empty() {
            subscription.owned = read_topics(&mut reader)?;
        }
        if version >= 2 && !reader.is_empty() {
            subscription.generation = Some(reader.i32_be()?).filter(|generation| *generation >= 0);
        }
        if version >= 3 && !reader.is_empty() {
            subscription.rack = read_nullable_text(&mut reader)?.filter(|rack| !rack.is_empty());
        }
        Ok(subscription)
    }

    /// Writes it at a version from 0 to [`VERSION_MAX`]; what the version lacks is left out.
    pub fn encode(&self, version: i16) -> Vec<u8> {
        let version = version.clamp(0, VERSION_MAX);
        let mut out = Writer::new();
        out.i16_be(version).i32_be(self.topics.len() as i32);
        for topic in &self.topics {
            put_text(&mut out, topic);
        }
        put_user_data(&mut out, self.user_data.as_deref());
        if version >= 1 {
            put_topics(&mut out, &self.owned);
        }
        if version >= 2 {
            out.i32_be(self.generation.unwrap_or(-1));
        }
        if version >= 3 {
            match &self.rack {
                Some(rack) => put_text(&mut out, rack),
                None => {
                    out.i16_be(-1);
                }
            }
        }
        out.into_bytes()
    }
}

impl Assignment {
    /// Reads a member's assignment of a group whose protocol type is `consumer`.
    ///
    /// # Errors
    /// [`BlobError`], also for no bytes at all: a member that was given nothing yet.
    pub fn decode(bytes: &[u8]) -> Result<Assignment, BlobError> {
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        let partitions = read_topics(&mut reader)?;
        let user_data = if reader.is_empty() {
            None
        } else {
            read_user_data(&mut reader)?
        };
        Ok(Assignment {
            partitions,
            user_data,
        })
    }

    /// Writes it at a version from 0 to [`VERSION_MAX`]; the layout is the same for all.
    pub fn encode(&self, version: i16) -> Vec<u8> {
        let mut out = Writer::new();
        out.i16_be(version.clamp(0, VERSION_MAX));
        put_topics(&mut out, &self.partitions);
        put_user_data(&mut out, self.user_data.as_deref());
        out.into_bytes()
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<i16, BlobError> {
    match reader.i16_be()? {
        version if version < 0 => Err(BlobError::Version(version)),
        version => Ok(version),
    }
}

/// A count of elements of at least `element_bytes_min` bytes: refused if they cannot be there
/// (rule W8).
fn read_count(reader: &mut Reader<'_>, element_bytes_min: usize) -> Result<usize, CursorError> {
    let position = reader.position();
    let count = reader.i32_be()?;
    match usize::try_from(count) {
        Ok(count) if count <= reader.left() / element_bytes_min => Ok(count),
        _ => Err(CursorError::BadLength {
            position,
            length: i64::from(count),
        }),
    }
}

fn read_topics(reader: &mut Reader<'_>) -> Result<Vec<TopicPartitions>, CursorError> {
    // Vectors grow with what is read: an element in memory is larger than on the wire.
    let count = read_count(reader, 6)?;
    let mut topics = Vec::new();
    for _ in 0..count {
        let topic = read_text(reader)?;
        let count = read_count(reader, 4)?;
        let mut partitions = Vec::with_capacity(count);
        for _ in 0..count {
            partitions.push(reader.i32_be()?);
        }
        topics.push(TopicPartitions { topic, partitions });
    }
    Ok(topics)
}

fn read_text(reader: &mut Reader<'_>) -> Result<String, CursorError> {
    let position = reader.position();
    read_nullable_text(reader)?.ok_or(CursorError::BadLength {
        position,
        length: -1,
    })
}

fn read_nullable_text(reader: &mut Reader<'_>) -> Result<Option<String>, CursorError> {
    if reader.rest().starts_with(&[0xff, 0xff]) {
        reader.skip(2)?;
        return Ok(None);
    }
    let bytes = reader.bytes_i16_be()?;
    let position = reader.position() - bytes.len();
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(_) => Err(CursorError::NotUtf8 { position }),
    }
}

fn read_user_data(reader: &mut Reader<'_>) -> Result<Option<Vec<u8>>, CursorError> {
    if reader.rest().starts_with(&[0xff; 4]) {
        reader.skip(4)?;
        return Ok(None);
    }
    Ok(Some(reader.bytes_i32_be()?.to_vec()))
}

fn put_text(out: &mut Writer, text: &str) {
    out.i16_be(text.len() as i16).raw(text.as_bytes());
}

fn put_user_data(out: &mut Writer, data: Option<&[u8]>) {
    match data {
        Some(data) => out.i32_be(data.len() as i32).raw(data),
        None => out.i32_be(-1),
    };
}

fn put_topics(out: &mut Writer, topics: &[TopicPartitions]) {
    out.i32_be(topics.len() as i32);
    for topic in topics {
        put_text(out, &topic.topic);
        out.i32_be(topic.partitions.len() as i32);
        for partition in &topic.partitions {
            out.i32_be(*partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held() -> Vec<TopicPartitions> {
        vec![
            TopicPartitions {
                topic: "a".to_owned(),
                partitions: vec![0, 2],
            },
            TopicPartitions {
                topic: "b".to_owned(),
                partitions: vec![],
            },
        ]
    }

    fn subscription() -> Subscription {
        Subscription {
            topics: vec!["a".to_owned(), "b".to_owned()],
            user_data: Some(vec![1, 2, 3]),
            owned: held(),
            generation: Some(4),
            rack: Some("r1".to_owned()),
        }
    }

    #[test]
    fn a_subscription_keeps_what_its_version_has() {
        let full = subscription();
        for version in 0..=3 {
            let read = Subscription::decode(&full.encode(version)).expect("decodes");
            let mut expected = full.clone();
            if version < 3 {
                expected.rack = None;
            }
            if version < 2 {
                expected.generation = None;
            }
            if version < 1 {
                expected.owned.clear();
            }
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn the_bytes_of_a_subscription_are_kafkas() {
        let subscription = Subscription {
            topics: vec!["t".to_owned()],
            generation: Some(1),
            ..Default::default()
        };
        assert_eq!(
            subscription.encode(3),
            [
                0, 3, // version
                0, 0, 0, 1, 0, 1, b't', // topics
                0xff, 0xff, 0xff, 0xff, // no user data
                0, 0, 0, 0, // nothing owned
                0, 0, 0, 1, // generation
                0xff, 0xff, // no rack
            ]
        );
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let mut bytes = subscription().encode(3);
        bytes[1] = 9;
        bytes.extend_from_slice(b"whatever comes then");
        assert_eq!(Subscription::decode(&bytes), Ok(subscription()));
        assert_eq!(
            Subscription::decode(&[0xff, 0xff]),
            Err(BlobError::Version(-1))
        );
    }

    #[test]
    fn a_blob_that_promises_more_than_it_holds_is_read() {
        let mut bytes = subscription().encode(0);
        bytes[1] = 1;
        let read = Subscription::decode(&bytes).expect("decodes");
        assert!(read.owned.is_empty());
    }

    #[test]
    fn an_assignment_reads_back_at_every_version() {
        for user_data in [None, Some(vec![]), Some(vec![7])] {
            let assignment = Assignment {
                partitions: held(),
                user_data,
            };
            for version in 0..=3 {
                assert_eq!(
                    Assignment::decode(&assignment.encode(version)),
                    Ok(assignment.clone())
                );
            }
        }
        assert!(Assignment::decode(&[]).is_err());
    }

    #[test]
    fn hostile_counts_are_refused_before_anything_is_reserved() {
        // rule W8
        for count in [i32::MAX, i32::MAX - 1, -1, i32::MIN, 3] {
            let mut bytes = vec![0, 0];
            bytes.extend_from_slice(&count.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0]);
            assert!(Subscription::decode(&bytes).is_err());
            assert!(Assignment::decode(&bytes).is_err());
        }
    }
}
