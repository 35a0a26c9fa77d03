//! The bytes of consumer groups in `__consumer_offsets`: keys 3 to 8 and 16, values of version 0, in
//! Kafka's layout. Described in docs/formats/consumer-offsets.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use wire::ids::TopicId;

use crate::consumer::member::{ClassicPart, ConsumerMember, MemberState, Owned, Partitions};
use crate::record::{Corrupt, Reader, Record, put_string};
use crate::request::Protocol;

/// What a record of a consumer group is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "groups, members and patterns are what they say"
)]
pub enum ConsumerKey {
    /// Key type 3: the group's epoch.
    Epoch { group: Arc<str> },
    /// Key type 4: what Kafka up to 4.0 kept of the topics; only ever forgotten here.
    Topics { group: Arc<str> },
    /// Key type 5: what a member said of itself.
    Member { group: Arc<str>, member: Arc<str> },
    /// Key type 6: the epoch of the target assignment.
    TargetEpoch { group: Arc<str> },
    /// Key type 7: what a member shall have.
    Target { group: Arc<str>, member: Arc<str> },
    /// Key type 8: what a member has.
    Current { group: Arc<str>, member: Arc<str> },
    /// Key type 16: the topics a pattern stands for.
    Pattern { group: Arc<str>, pattern: Arc<str> },
}

impl ConsumerKey {
    /// Reads what follows the key type; `None` for types of other kinds of groups.
    pub(crate) fn read(kind: i16, reader: &mut Reader) -> Result<Option<ConsumerKey>, Corrupt> {
        let group = match kind {
            3..=8 | 16 => reader.string()?,
            _ => return Ok(None),
        };
        Ok(Some(match kind {
            3 => ConsumerKey::Epoch { group },
            4 => ConsumerKey::Topics { group },
            6 => ConsumerKey::TargetEpoch { group },
            5 => ConsumerKey::Member {
                group,
                member: reader.string()?,
            },
            7 => ConsumerKey::Target {
                group,
                member: reader.string()?,
            },
            8 => ConsumerKey::Current {
                group,
                member: reader.string()?,
            },
            _ => ConsumerKey::Pattern {
                group,
                pattern: reader.string()?,
            },
        }))
    }

    /// The group's id.
    pub fn group(&self) -> &Arc<str> {
        match self {
            ConsumerKey::Epoch { group }
            | ConsumerKey::Topics { group }
            | ConsumerKey::Member { group, .. }
            | ConsumerKey::TargetEpoch { group }
            | ConsumerKey::Target { group, .. }
            | ConsumerKey::Current { group, .. }
            | ConsumerKey::Pattern { group, .. } => group,
        }
    }

    fn bytes(&self) -> Bytes {
        let (kind, second): (i16, Option<&str>) = match self {
            ConsumerKey::Epoch { .. } => (3, None),
            ConsumerKey::Topics { .. } => (4, None),
            ConsumerKey::Member { member, .. } => (5, Some(member)),
            ConsumerKey::TargetEpoch { .. } => (6, None),
            ConsumerKey::Target { member, .. } => (7, Some(member)),
            ConsumerKey::Current { member, .. } => (8, Some(member)),
            ConsumerKey::Pattern { pattern, .. } => (16, Some(pattern)),
        };
        let mut out = BytesMut::new();
        out.put_i16(kind);
        put_string(&mut out, self.group());
        if let Some(second) = second {
            put_string(&mut out, second);
        }
        out.freeze()
    }

    /// The record that forgets what this key names.
    pub(crate) fn tombstone(&self) -> Record {
        Record {
            key: self.bytes(),
            value: None,
        }
    }

    fn with(&self, value: BytesMut) -> Record {
        Record {
            key: self.bytes(),
            value: Some(value.freeze()),
        }
    }
}

/// The topics a pattern stood for when it was last looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedPattern {
    /// Names of the topics that match.
    pub topics: BTreeSet<Arc<str>>,
    /// Version of the cluster's topics then.
    pub version: i64,
    /// When that was, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

pub(crate) fn epoch_record(group: &Arc<str>, epoch: i32, topics_hash: i64) -> Record {
    let mut out = value();
    out.put_i32(epoch);
    put_tagged_int64(&mut out, topics_hash);
    let group = group.clone();
    ConsumerKey::Epoch { group }.with(out)
}

/// Epoch and hash of the subscribed topics.
pub(crate) fn decode_epoch(bytes: &[u8]) -> Result<(i32, i64), Corrupt> {
    let mut reader = open(bytes)?;
    let epoch = reader.int32()?;
    Ok((epoch, tagged_int64(&mut reader)?))
}

pub(crate) fn target_epoch_record(group: &Arc<str>, epoch: i32, timestamp_ms: i64) -> Record {
    let mut out = value();
    out.put_i32(epoch);
    put_tagged_int64(&mut out, timestamp_ms);
    let group = group.clone();
    ConsumerKey::TargetEpoch { group }.with(out)
}

/// Epoch of the target assignment, and when it was made.
pub(crate) fn decode_target_epoch(bytes: &[u8]) -> Result<(i32, i64), Corrupt> {
    decode_epoch(bytes)
}

pub(crate) fn target_record(group: &Arc<str>, member: &Arc<str>, target: &Partitions) -> Record {
    let mut out = value();
    put_count(&mut out, target.len());
    for (topic, partitions) in target {
        out.put_slice(&topic.0);
        put_count(&mut out, partitions.len());
        for partition in partitions {
            out.put_i32(*partition);
        }
        out.put_u8(0);
    }
    out.put_u8(0);
    let (group, member) = (group.clone(), member.clone());
    ConsumerKey::Target { group, member }.with(out)
}

pub(crate) fn decode_target(bytes: &[u8]) -> Result<Partitions, Corrupt> {
    let mut reader = open(bytes)?;
    let mut target = Partitions::new();
    for _ in 0..reader.array()? {
        let topic = TopicId(reader.fixed()?);
        let partitions: BTreeSet<i32> = numbers(&mut reader)?.into_iter().collect();
        reader.tags()?;
        if !partitions.is_empty() {
            target.entry(topic).or_default().extend(partitions);
        }
    }
    reader.tags()?;
    Ok(target)
}

pub(crate) fn current_record(group: &Arc<str>, member: &ConsumerMember) -> Record {
    let mut out = value();
    out.put_i32(member.epoch);
    out.put_i32(member.previous_epoch);
    out.put_i8(member.state.code());
    put_owned(&mut out, &member.assigned);
    put_owned(&mut out, &member.revoking);
    out.put_u8(0);
    let (group, member) = (group.clone(), member.id.clone());
    ConsumerKey::Current { group, member }.with(out)
}

/// Puts into a member what the value says it has.
pub(crate) fn decode_current(bytes: &[u8], member: &mut ConsumerMember) -> Result<(), Corrupt> {
    let mut reader = open(bytes)?;
    let epoch = reader.int32()?;
    let previous_epoch = reader.int32()?;
    let [state] = reader.fixed()?;
    // A static member that is away has epoch −2; its partitions count from 0.
    let assigned = owned(&mut reader, epoch.max(0))?;
    let revoking = owned(&mut reader, epoch.max(0))?;
    reader.tags()?;
    member.epoch = epoch;
    member.previous_epoch = previous_epoch;
    member.state = MemberState::of(state as i8);
    member.assigned = assigned;
    member.revoking = revoking;
    Ok(())
}

pub(crate) fn member_record(group: &Arc<str>, member: &ConsumerMember) -> Record {
    let mut out = value();
    put_text(&mut out, member.instance.as_deref());
    put_text(&mut out, member.rack.as_deref());
    put_text(&mut out, Some(&member.client_id));
    put_text(&mut out, Some(&member.client_host));
    put_count(&mut out, member.topics.len());
    for topic in &member.topics {
        put_text(&mut out, Some(topic));
    }
    put_text(&mut out, Some(&member.pattern));
    out.put_i32(member.rebalance_timeout_ms);
    put_text(&mut out, member.assignor.as_deref());
    out.put_u8(1);
    out.put_u8(0);
    match &member.classic {
        // Kafka's way to say null in a tagged field: one byte, 0.
        None => out.put_slice(&[1, 0]),
        Some(classic) => {
            let mut tagged = BytesMut::new();
            tagged.put_u8(1);
            tagged.put_i32(classic.session_timeout_ms);
            put_count(&mut tagged, classic.protocols.len());
            for protocol in &classic.protocols {
                put_text(&mut tagged, Some(&protocol.name));
                put_count(&mut tagged, protocol.metadata.len());
                tagged.put_slice(&protocol.metadata);
                tagged.put_u8(0);
            }
            tagged.put_u8(0);
            put_uvarint(&mut out, tagged.len());
            out.put_slice(&tagged);
        }
    }
    let (group, member) = (group.clone(), member.id.clone());
    ConsumerKey::Member { group, member }.with(out)
}

/// Puts into a member what the value says of it.
pub(crate) fn decode_member(bytes: &[u8], member: &mut ConsumerMember) -> Result<(), Corrupt> {
    let mut reader = open(bytes)?;
    let instance = reader.nullable_string()?;
    let rack = reader.nullable_string()?;
    let client_id = reader.string()?;
    let client_host = reader.string()?;
    let topics = names(&mut reader)?;
    let pattern = reader.nullable_string()?;
    let rebalance_timeout_ms = reader.int32()?;
    let assignor = reader.nullable_string()?;
    let classic = match reader.tag_zero()? {
        None => None,
        Some(mut tagged) => classic_part(&mut tagged)?,
    };
    member.instance = instance;
    member.rack = rack;
    member.client_id = client_id;
    member.client_host = client_host;
    member.topics = topics;
    member.pattern = pattern.unwrap_or_else(|| Arc::from(""));
    member.rebalance_timeout_ms = rebalance_timeout_ms;
    member.assignor = assignor;
    member.classic = classic;
    Ok(())
}

pub(crate) fn pattern_record(
    group: &Arc<str>,
    pattern: &Arc<str>,
    resolved: &ResolvedPattern,
) -> Record {
    let mut out = value();
    put_count(&mut out, resolved.topics.len());
    for topic in &resolved.topics {
        put_text(&mut out, Some(topic));
    }
    out.put_i64(resolved.version);
    out.put_i64(resolved.timestamp_ms);
    out.put_u8(0);
    let (group, pattern) = (group.clone(), pattern.clone());
    ConsumerKey::Pattern { group, pattern }.with(out)
}

pub(crate) fn decode_pattern(bytes: &[u8]) -> Result<ResolvedPattern, Corrupt> {
    let mut reader = open(bytes)?;
    let topics = names(&mut reader)?;
    let version = reader.int64()?;
    let timestamp_ms = reader.int64()?;
    reader.tags()?;
    Ok(ResolvedPattern {
        topics,
        version,
        timestamp_ms,
    })
}

/// A value of version 0.
fn value() -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out
}

fn open(bytes: &[u8]) -> Result<Reader<'_>, Corrupt> {
    let mut reader = Reader::new(bytes);
    reader.flexible_version()?;
    Ok(reader)
}

fn put_uvarint(out: &mut BytesMut, value: usize) {
    debug_assert!(u32::try_from(value).is_ok(), "a length of {value}");
    let mut rest = value as u32;
    while rest >= 0x80 {
        out.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

fn put_count(out: &mut BytesMut, count: usize) {
    put_uvarint(out, count + 1);
}

fn put_text(out: &mut BytesMut, text: Option<&str>) {
    match text {
        None => out.put_u8(0),
        Some(text) => {
            put_count(out, text.len());
            out.put_slice(text.as_bytes());
        }
    }
}

/// The one tagged field of a value, left out when it is zero.
fn put_tagged_int64(out: &mut BytesMut, value: i64) {
    if value == 0 {
        out.put_u8(0);
    } else {
        out.put_slice(&[1, 0, 8]);
        out.put_i64(value);
    }
}

fn tagged_int64(reader: &mut Reader) -> Result<i64, Corrupt> {
    match reader.tag_zero()? {
        None => Ok(0),
        Some(mut tagged) => tagged.int64(),
    }
}

fn put_owned(out: &mut BytesMut, owned: &Owned) {
    put_count(out, owned.len());
    for (topic, partitions) in owned {
        out.put_slice(&topic.0);
        put_count(out, partitions.len());
        for partition in partitions.keys() {
            out.put_i32(*partition);
        }
        if partitions.is_empty() {
            out.put_u8(0);
            continue;
        }
        let mut epochs = BytesMut::new();
        put_count(&mut epochs, partitions.len());
        for epoch in partitions.values() {
            epochs.put_i32(*epoch);
        }
        out.put_slice(&[1, 0]);
        put_uvarint(out, epochs.len());
        out.put_slice(&epochs);
    }
}

/// Partitions with the epochs they were given at; records of Kafka before 4.3 have none, and then
/// the member's own counts.
fn owned(reader: &mut Reader, epoch: i32) -> Result<Owned, Corrupt> {
    let mut owned = Owned::new();
    for _ in 0..reader.array()? {
        let topic = TopicId(reader.fixed()?);
        let partitions = numbers(reader)?;
        let epochs = match reader.tag_zero()? {
            None => Vec::new(),
            // Null is one zero byte.
            Some(mut tagged) => match tagged.uvarint()? {
                0 => Vec::new(),
                count => (1..count)
                    .map(|_| tagged.int32())
                    .collect::<Result<_, _>>()?,
            },
        };
        let with_epochs: BTreeMap<i32, i32> = if epochs.len() == partitions.len() {
            partitions.into_iter().zip(epochs).collect()
        } else {
            partitions.into_iter().map(|p| (p, epoch)).collect()
        };
        if !with_epochs.is_empty() {
            owned.entry(topic).or_default().extend(with_epochs);
        }
    }
    Ok(owned)
}

fn numbers(reader: &mut Reader) -> Result<Vec<i32>, Corrupt> {
    let count = reader.array()?;
    // Collecting through Result reserves nothing by the announced count.
    (0..count)
        .map(|_| match reader.int32()? {
            number if number < 0 => Err(Corrupt::Members),
            number => Ok(number),
        })
        .collect()
}

fn names(reader: &mut Reader) -> Result<BTreeSet<Arc<str>>, Corrupt> {
    (0..reader.array()?).map(|_| reader.string()).collect()
}

fn classic_part(reader: &mut Reader) -> Result<Option<ClassicPart>, Corrupt> {
    let [present] = reader.fixed()?;
    if present == 0 {
        return Ok(None);
    }
    let session_timeout_ms = reader.int32()?;
    let mut protocols = Vec::new();
    for _ in 0..reader.array()? {
        let name = reader.string()?;
        let metadata = reader.blob()?;
        reader.tags()?;
        protocols.push(Protocol { name, metadata });
    }
    reader.tags()?;
    Ok(Some(ClassicPart {
        session_timeout_ms,
        protocols,
    }))
}

#[cfg(test)]
mod tests;
