//! The records in a block, and the state that is a function of them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::impls::BasicNode;
use openraft::{EntryPayload, Membership};
use stdx::{CursorError, Reader, Writer};

use crate::raft::{Entry, LogId, Payload, SnapshotMeta, StoredMembership, Types, Vote};

type LeaderId = openraft::type_config::alias::LeaderIdOf<Types>;

/// One change of the log.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    /// A vote given, or a leadership gained.
    Vote(Vote),
    /// An entry behind the last one.
    Append(Entry),
    /// Entries behind this one are gone; all, if there is none.
    TruncateAfter(Option<LogId>),
    /// Entries up to and including this one are in a snapshot.
    PurgeTo(LogId),
    /// Entries up to and including this one are known to be committed.
    Committed(Option<LogId>),
}

/// What the log holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    /// Without gaps, directly behind `purged`.
    pub(crate) entries: VecDeque<Entry>,
    /// Bytes of the commands in `entries`.
    pub(crate) command_bytes: usize,
}

impl State {
    /// Carries a record out, or says why it does not fit.
    pub(crate) fn apply(&mut self, record: Record) -> Result<(), String> {
        match record {
            Record::Vote(vote) => self.vote = Some(vote),
            Record::Committed(committed) => self.committed = committed,
            Record::Append(entry) => {
                if let Some(last) = self.last()
                    && entry.index() != last.index() + 1
                {
                    return Err(format!(
                        "entry {} follows entry {}",
                        entry.index(),
                        last.index()
                    ));
                }
                self.command_bytes += command_bytes(&entry);
                self.entries.push_back(entry);
            }
            Record::TruncateAfter(last) => {
                let keep = last.map_or(0, |last| last.index() + 1);
                while self
                    .entries
                    .back()
                    .is_some_and(|entry| entry.index() >= keep)
                {
                    let gone = self.entries.pop_back();
                    self.command_bytes -= gone.as_ref().map_or(0, command_bytes);
                }
            }
            Record::PurgeTo(to) => {
                while self
                    .entries
                    .front()
                    .is_some_and(|entry| entry.index() <= to.index())
                {
                    let gone = self.entries.pop_front();
                    self.command_bytes -= gone.as_ref().map_or(0, command_bytes);
                }
                self.purged = self.purged.max(Some(to));
            }
        }
        Ok(())
    }

    /// The last entry, or the last that was purged.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.entries.back().map(RaftEntry::log_id).or(self.purged)
    }

    /// Records that lead from nothing to this state.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let vote = self.vote.map(Record::Vote);
        let purged = self.purged.map(Record::PurgeTo);
        let committed = self
            .committed
            .map(|committed| Record::Committed(Some(committed)));
        let entries = self.entries.iter().cloned().map(Record::Append);
        vote.into_iter()
            .chain(purged)
            .chain(committed)
            .chain(entries)
    }
}

fn command_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(payload) => payload.0.len(),
        _ => 0,
    }
}

/// Appends a record's bytes.
pub(crate) fn encode(record: &Record, out: &mut Writer) {
    match record {
        Record::Vote(vote) => {
            out.u8(1)
                .u64_le(vote.leader_id.term)
                .u64_le(vote.leader_id.node_id);
            out.u8(u8::from(vote.committed));
        }
        Record::Append(entry) => {
            out.u8(2);
            encode_log_id(&entry.log_id, out);
            match &entry.payload {
                EntryPayload::Blank => {
                    out.u8(0);
                }
                EntryPayload::Normal(payload) => {
                    out.u8(1).bytes_u32_le(&payload.0);
                }
                EntryPayload::Membership(members) => {
                    out.u8(2);
                    encode_membership(members, out);
                }
            }
        }
        Record::TruncateAfter(last) => {
            out.u8(3);
            encode_option(last.as_ref(), out);
        }
        Record::PurgeTo(to) => {
            out.u8(4);
            encode_log_id(to, out);
        }
        Record::Committed(committed) => {
            out.u8(5);
            encode_option(committed.as_ref(), out);
        }
    }
}

/// Reads one record. A command's bytes are copied once and shared from then on.
pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Record, CursorError> {
    let position = input.position();
    let unknown = |kind: u8| CursorError::BadLength {
        position,
        length: i64::from(kind),
    };
    Ok(match input.u8()? {
        1 => {
            let (term, node) = (input.u64_le()?, input.u64_le()?);
            Record::Vote(match input.u8()? {
                0 => Vote::new(term, node),
                1 => Vote::new_committed(term, node),
                other => return Err(unknown(other)),
            })
        }
        2 => {
            let log_id = decode_log_id(input)?;
            let payload = match input.u8()? {
                0 => EntryPayload::Blank,
                1 => EntryPayload::Normal(Payload(Bytes::copy_from_slice(input.bytes_u32_le()?))),
                2 => EntryPayload::Membership(decode_membership(input)?),
                other => return Err(unknown(other)),
            };
            Record::Append(Entry::new(log_id, payload))
        }
        3 => Record::TruncateAfter(decode_option(input)?),
        4 => Record::PurgeTo(decode_log_id(input)?),
        5 => Record::Committed(decode_option(input)?),
        kind => return Err(unknown(kind)),
    })
}

fn encode_log_id(id: &LogId, out: &mut Writer) {
    let leader = id.committed_leader_id();
    out.u64_le(leader.term)
        .u64_le(leader.node_id)
        .u64_le(id.index());
}

fn decode_log_id(input: &mut Reader<'_>) -> Result<LogId, CursorError> {
    let leader = LeaderId {
        term: input.u64_le()?,
        node_id: input.u64_le()?,
    };
    Ok(LogId::new(leader, input.u64_le()?))
}

fn encode_option(id: Option<&LogId>, out: &mut Writer) {
    out.u8(u8::from(id.is_some()));
    if let Some(id) = id {
        encode_log_id(id, out);
    }
}

fn decode_option(input: &mut Reader<'_>) -> Result<Option<LogId>, CursorError> {
    let position = input.position();
    match input.u8()? {
        0 => Ok(None),
        1 => decode_log_id(input).map(Some),
        other => Err(CursorError::BadLength {
            position,
            length: i64::from(other),
        }),
    }
}

fn encode_membership(membership: &Membership<u64, BasicNode>, out: &mut Writer) {
    let configs = membership.get_joint_config();
    out.u32_le(configs.len() as u32);
    for config in configs {
        out.u32_le(config.len() as u32);
        for node in config {
            out.u64_le(*node);
        }
    }
    let nodes: Vec<_> = membership.nodes().collect();
    out.u32_le(nodes.len() as u32);
    for (id, node) in nodes {
        out.u64_le(*id).bytes_u32_le(node.addr.as_bytes());
    }
}

fn decode_membership(input: &mut Reader<'_>) -> Result<Membership<u64, BasicNode>, CursorError> {
    let position = input.position();
    let mut configs = Vec::new();
    for _ in 0..input.count_u32_le(4)? {
        let count = input.count_u32_le(8)?;
        let config: Result<BTreeSet<u64>, _> = (0..count).map(|_| input.u64_le()).collect();
        configs.push(config?);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..input.count_u32_le(12)? {
        let id = input.u64_le()?;
        nodes.insert(id, BasicNode::new(input.text_u32_le()?));
    }
    if configs.is_empty() {
        // What a snapshot carries before there is any member.
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|_| CursorError::BadLength {
        position,
        length: -1,
    })
}

/// What a snapshot's file says about it, ahead of its content.
pub(crate) fn encode_meta(meta: &SnapshotMeta, out: &mut Writer) {
    encode_option(meta.last_log_id.as_ref(), out);
    encode_option(meta.last_membership.log_id().as_ref(), out);
    encode_membership(meta.last_membership.membership(), out);
}

/// Reads [`encode_meta`]'s bytes.
pub(crate) fn decode_meta(input: &mut Reader<'_>) -> Result<SnapshotMeta, CursorError> {
    let last_log_id = decode_option(input)?;
    let log_id = decode_option(input)?;
    let membership = decode_membership(input)?;
    Ok(SnapshotMeta {
        last_log_id,
        last_membership: StoredMembership::new(log_id, membership),
    })
}
