//! The bytes of `__consumer_offsets`: keys and values in Kafka's layout, written and read here only.
//! Described in docs/formats/consumer-offsets.md.
//!
//! Reading trusts nothing: every length is checked against the bytes left before anything is kept,
//! and nothing is reserved by an announced count.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::consumer::record::ConsumerKey;
use crate::settings::STRING_BYTES_MAX;

/// One record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Key bytes, in Kafka's layout.
    pub key: Bytes,
    /// Value bytes, or `None` for a tombstone.
    pub value: Option<Bytes>,
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// Key types 0 and 1: a committed offset.
    Offset {
        /// Group id.
        group: Arc<str>,
        /// Topic name.
        topic: Arc<str>,
        /// Partition number.
        partition: i32,
    },
    /// Key type 2: a classic group's last generation.
    Group {
        /// Group id.
        group: Arc<str>,
    },
    /// Key types 3 to 8 and 16: a consumer group (KIP-848).
    Consumer(ConsumerKey),
    /// Key types this build does not know (share and streams groups).
    Unknown(i16),
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset to read next.
    pub offset: i64,
    /// Leader epoch of the record before it, −1 if unknown.
    pub leader_epoch: i32,
    /// The client's own note; empty if none.
    pub metadata: Arc<str>,
    /// When it was committed, milliseconds since the Unix epoch.
    pub commit_timestamp_ms: i64,
    /// When it expires, if the client chose that itself (OffsetCommit v2–v4).
    pub expire_timestamp_ms: Option<i64>,
}

/// A group as its last metadata record left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupImage {
    /// `consumer`, `connect`, …; empty for a group that never had members.
    pub protocol_type: Arc<str>,
    /// Generation number.
    pub generation: i32,
    /// The chosen assignor; `None` without members.
    pub protocol: Option<Arc<str>>,
    /// Member id of the leader; `None` without members.
    pub leader: Option<Arc<str>>,
    /// When the group reached this state, milliseconds since the Unix epoch; `None` in old records.
    pub state_timestamp_ms: Option<i64>,
    /// The members, by member id.
    pub members: Vec<MemberImage>,
}

/// A member of a [`GroupImage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberImage {
    /// Member id.
    pub member_id: Arc<str>,
    /// Instance id of a static member.
    pub instance_id: Option<Arc<str>>,
    /// Client id.
    pub client_id: Arc<str>,
    /// Address as Kafka prints it: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// Rebalance timeout, milliseconds.
    pub rebalance_timeout_ms: i32,
    /// Session timeout, milliseconds.
    pub session_timeout_ms: i32,
    /// Join metadata for the group's protocol.
    pub subscription: Bytes,
    /// What the leader gave this member.
    pub assignment: Bytes,
}

/// Bytes that are not the record they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// A length reaches beyond the end, or is negative where nothing may be missing.
    #[error("a field reaches beyond the end of the record")]
    Truncated,
    /// A string is not UTF-8 or longer than a record's string may be.
    #[error("a string is not valid UTF-8 or too long")]
    Text,
    /// A value version newer than any known.
    #[error("value version {0} is not known")]
    Version(i16),
    /// A group with members but no protocol, or two members of one id; a negative number of
    /// partitions.
    #[error("the group's members contradict each other")]
    Members,
}

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
/// v3 has been readable since Kafka 2.1; v4 only since 3.5, and older tools still read this topic.
const OFFSET_VALUE: i16 = 3;
/// The only version with an expiry per commit.
const OFFSET_VALUE_EXPIRING: i16 = 1;
const GROUP_VALUE: i16 = 3;
/// The highest value version that can be read, and the first flexible one (KIP-915).
const VALUE_FLEXIBLE: i16 = 4;

impl Record {
    /// The record of a commit.
    pub(crate) fn offset(
        group: &str,
        topic: &str,
        partition: i32,
        committed: &CommittedOffset,
    ) -> Record {
        Record {
            key: offset_key(group, topic, partition),
            value: Some(offset_value(committed)),
        }
    }

    /// The record that forgets a commit.
    pub(crate) fn offset_tombstone(group: &str, topic: &str, partition: i32) -> Record {
        Record {
            key: offset_key(group, topic, partition),
            value: None,
        }
    }

    /// The record of a group's generation.
    pub(crate) fn group(group: &str, image: &GroupImage) -> Record {
        Record {
            key: group_key(group),
            value: Some(group_value(image)),
        }
    }

    /// The record that forgets a group.
    pub(crate) fn group_tombstone(group: &str) -> Record {
        Record {
            key: group_key(group),
            value: None,
        }
    }
}

/// Reads a key.
///
/// # Errors
/// [`Corrupt`] if the bytes end early or hold text that is not UTF-8.
pub fn decode_key(bytes: &[u8]) -> Result<Key, Corrupt> {
    let mut reader = Reader::new(bytes);
    match reader.int16()? {
        0 | OFFSET_KEY => Ok(Key::Offset {
            group: reader.string()?,
            topic: reader.string()?,
            partition: reader.int32()?,
        }),
        GROUP_KEY => Ok(Key::Group {
            group: reader.string()?,
        }),
        kind => match ConsumerKey::read(kind, &mut reader)? {
            Some(key) => Ok(Key::Consumer(key)),
            None => Ok(Key::Unknown(kind)),
        },
    }
}

/// Reads the value of a commit, versions 0 to 4.
///
/// # Errors
/// [`Corrupt`] if the bytes are not such a value.
pub fn decode_offset_value(bytes: &[u8]) -> Result<CommittedOffset, Corrupt> {
    let mut reader = Reader::new(bytes);
    let version = reader.version()?;
    let offset = reader.int64()?;
    let leader_epoch = if version >= 3 { reader.int32()? } else { -1 };
    let metadata = reader.string()?;
    let commit_timestamp_ms = reader.int64()?;
    let expire = if version == OFFSET_VALUE_EXPIRING {
        reader.int64()?
    } else {
        -1
    };
    // v4's one tagged field, the topic id, is dropped: topics are known by name here.
    reader.tags()?;
    Ok(CommittedOffset {
        offset,
        leader_epoch,
        metadata,
        commit_timestamp_ms,
        expire_timestamp_ms: (expire != -1).then_some(expire),
    })
}

/// Reads the value of a group, versions 0 to 4.
///
/// # Errors
/// [`Corrupt`] if the bytes are not such a value.
pub fn decode_group_value(bytes: &[u8]) -> Result<GroupImage, Corrupt> {
    let mut reader = Reader::new(bytes);
    let version = reader.version()?;
    let protocol_type = reader.string()?;
    let generation = reader.int32()?;
    let protocol = reader.nullable_string()?;
    let leader = reader.nullable_string()?;
    let since = if version >= 2 { reader.int64()? } else { -1 };
    let count = reader.array()?;
    let mut members: Vec<MemberImage> = Vec::new();
    for _ in 0..count {
        let member_id = reader.string()?;
        let instance_id = if version >= 3 {
            reader.nullable_string()?
        } else {
            None
        };
        let client_id = reader.string()?;
        let client_host = reader.string()?;
        let rebalance = if version >= 1 { reader.int32()? } else { -1 };
        let session_timeout_ms = reader.int32()?;
        let subscription = reader.blob()?;
        let assignment = reader.blob()?;
        reader.tags()?;
        members.push(MemberImage {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout_ms: if rebalance == -1 {
                session_timeout_ms
            } else {
                rebalance
            },
            session_timeout_ms,
            subscription,
            assignment,
        });
    }
    reader.tags()?;
    // A set of members by id and by instance, and a protocol they agreed on: the coordinator
    // relies on both.
    members.sort_by(|a, b| a.member_id.cmp(&b.member_id));
    let twice = members
        .windows(2)
        .any(|pair| pair[0].member_id == pair[1].member_id);
    let mut instances: Vec<&str> = members
        .iter()
        .filter_map(|member| member.instance_id.as_deref())
        .collect();
    instances.sort_unstable();
    let instance_twice = instances.windows(2).any(|pair| pair[0] == pair[1]);
    let undecided = !members.is_empty() && (protocol.is_none() || protocol_type.is_empty());
    if twice || instance_twice || undecided {
        return Err(Corrupt::Members);
    }
    Ok(GroupImage {
        protocol_type,
        generation,
        protocol,
        leader,
        state_timestamp_ms: (since != -1).then_some(since),
        members,
    })
}

fn offset_key(group: &str, topic: &str, partition: i32) -> Bytes {
    let mut out = BytesMut::with_capacity(2 + 2 + group.len() + 2 + topic.len() + 4);
    out.put_i16(OFFSET_KEY);
    put_string(&mut out, group);
    put_string(&mut out, topic);
    out.put_i32(partition);
    out.freeze()
}

fn group_key(group: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(2 + 2 + group.len());
    out.put_i16(GROUP_KEY);
    put_string(&mut out, group);
    out.freeze()
}

fn offset_value(committed: &CommittedOffset) -> Bytes {
    let mut out = BytesMut::with_capacity(2 + 8 + 4 + 2 + committed.metadata.len() + 8 + 8);
    match committed.expire_timestamp_ms {
        None => {
            out.put_i16(OFFSET_VALUE);
            out.put_i64(committed.offset);
            out.put_i32(committed.leader_epoch);
            put_string(&mut out, &committed.metadata);
            out.put_i64(committed.commit_timestamp_ms);
        }
        Some(expire) => {
            out.put_i16(OFFSET_VALUE_EXPIRING);
            out.put_i64(committed.offset);
            put_string(&mut out, &committed.metadata);
            out.put_i64(committed.commit_timestamp_ms);
            out.put_i64(expire);
        }
    }
    out.freeze()
}

fn group_value(image: &GroupImage) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(GROUP_VALUE);
    put_string(&mut out, &image.protocol_type);
    out.put_i32(image.generation);
    put_nullable_string(&mut out, image.protocol.as_deref());
    put_nullable_string(&mut out, image.leader.as_deref());
    out.put_i64(image.state_timestamp_ms.unwrap_or(-1));
    out.put_i32(image.members.len() as i32);
    for member in &image.members {
        put_string(&mut out, &member.member_id);
        put_nullable_string(&mut out, member.instance_id.as_deref());
        put_string(&mut out, &member.client_id);
        put_string(&mut out, &member.client_host);
        out.put_i32(member.rebalance_timeout_ms);
        out.put_i32(member.session_timeout_ms);
        put_blob(&mut out, &member.subscription);
        put_blob(&mut out, &member.assignment);
    }
    out.freeze()
}

pub(crate) fn put_string(out: &mut BytesMut, text: &str) {
    // Requests are checked at the door and records when read, so a longer string is our own fault;
    // in a release build it is cut rather than written with a lying length.
    debug_assert!(
        text.len() <= STRING_BYTES_MAX,
        "string of {} bytes in a record",
        text.len()
    );
    let text = &text[..text.floor_char_boundary(STRING_BYTES_MAX)];
    out.put_i16(text.len() as i16);
    out.put_slice(text.as_bytes());
}

fn put_nullable_string(out: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_string(out, text),
        None => out.put_i16(-1),
    }
}

fn put_blob(out: &mut BytesMut, blob: &[u8]) {
    out.put_i32(blob.len() as i32);
    out.put_slice(blob);
}

/// Walks over bytes in Kafka's encoding; after [`Reader::version`], strings, arrays and blobs are
/// read as that version writes them.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader {
            rest: bytes,
            flexible: false,
        }
    }

    /// Reads a version that must be 0 and is flexible, as the values of consumer groups are.
    pub(crate) fn flexible_version(&mut self) -> Result<(), Corrupt> {
        match self.int16()? {
            0 => {
                self.flexible = true;
                Ok(())
            }
            other => Err(Corrupt::Version(other)),
        }
    }

    fn version(&mut self) -> Result<i16, Corrupt> {
        let version = self.int16()?;
        if !(0..=VALUE_FLEXIBLE).contains(&version) {
            return Err(Corrupt::Version(version));
        }
        self.flexible = version >= VALUE_FLEXIBLE;
        Ok(version)
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Corrupt::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Corrupt::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn int16(&mut self) -> Result<i16, Corrupt> {
        self.fixed().map(i16::from_be_bytes)
    }

    pub(crate) fn int32(&mut self) -> Result<i32, Corrupt> {
        self.fixed().map(i32::from_be_bytes)
    }

    pub(crate) fn int64(&mut self) -> Result<i64, Corrupt> {
        self.fixed().map(i64::from_be_bytes)
    }

    pub(crate) fn uvarint(&mut self) -> Result<u32, Corrupt> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Corrupt::Truncated);
            }
        }
        Err(Corrupt::Truncated)
    }

    /// A length, `None` for null.
    fn length(&mut self, wide: bool) -> Result<Option<usize>, Corrupt> {
        if self.flexible {
            return Ok((self.uvarint()? as usize).checked_sub(1));
        }
        let length = if wide {
            self.int32()?
        } else {
            i32::from(self.int16()?)
        };
        match length {
            -1 => Ok(None),
            _ => usize::try_from(length)
                .map(Some)
                .map_err(|_| Corrupt::Truncated),
        }
    }

    pub(crate) fn nullable_string(&mut self) -> Result<Option<Arc<str>>, Corrupt> {
        let Some(length) = self.length(false)? else {
            return Ok(None);
        };
        if length > STRING_BYTES_MAX {
            return Err(Corrupt::Text);
        }
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Corrupt::Text)?;
        Ok(Some(Arc::from(text)))
    }

    pub(crate) fn string(&mut self) -> Result<Arc<str>, Corrupt> {
        self.nullable_string()?.ok_or(Corrupt::Truncated)
    }

    pub(crate) fn blob(&mut self) -> Result<Bytes, Corrupt> {
        let length = self.length(true)?.ok_or(Corrupt::Truncated)?;
        self.take(length).map(Bytes::copy_from_slice)
    }

    pub(crate) fn array(&mut self) -> Result<usize, Corrupt> {
        self.length(true)?.ok_or(Corrupt::Truncated)
    }

    /// Skips tagged fields, if this version has them.
    pub(crate) fn tags(&mut self) -> Result<(), Corrupt> {
        self.tag_zero().map(drop)
    }

    /// Skips tagged fields, if this version has them, and returns what is in the one with number 0.
    pub(crate) fn tag_zero(&mut self) -> Result<Option<Reader<'a>>, Corrupt> {
        let mut found = None;
        if self.flexible {
            for _ in 0..self.uvarint()? {
                let tag = self.uvarint()?;
                let length = self.uvarint()?;
                let rest = self.take(length as usize)?;
                if tag == 0 {
                    found = Some(Reader {
                        rest,
                        flexible: true,
                    });
                }
            }
        }
        Ok(found)
    }
}
