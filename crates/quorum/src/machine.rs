//! openraft's state machine around ours: applies commands, takes snapshots, remembers members.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};

use crate::StateMachine;
use crate::raft::{LogId, Response, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::snapshots::{self, Snapshots};
use crate::store::LogStore;

/// The state machine and what openraft keeps beside it.
pub(crate) struct Machine {
    inner: Box<dyn StateMachine>,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: Snapshots,
    /// Its worker writes the files.
    store: LogStore,
}

impl Machine {
    /// Takes the newest snapshot, if there is one.
    pub(crate) fn new(
        mut inner: Box<dyn StateMachine>,
        newest: Option<Snapshot>,
        snapshots: Snapshots,
        store: LogStore,
    ) -> Result<Machine, String> {
        let meta = match newest {
            None => SnapshotMeta::default(),
            Some(snapshot) => {
                inner.restore(&snapshot.snapshot)?;
                snapshot.meta
            }
        };
        Ok(Machine {
            inner,
            applied: meta.last_log_id,
            membership: meta.last_membership,
            snapshots,
            store,
        })
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let log_id = entry.log_id();
            self.applied = Some(log_id);
            let answer = match entry.payload {
                EntryPayload::Blank => Vec::new(),
                EntryPayload::Normal(payload) => self.inner.apply(log_id.index(), &payload.0),
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembership::new(Some(log_id), membership);
                    Vec::new()
                }
            };
            if let Some(responder) = responder {
                responder.send(Response(answer));
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        };
        Builder {
            meta,
            content: self.inner.snapshot().into(),
            store: self.store.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        self.inner.restore(&snapshot).map_err(io::Error::other)?;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        save(&self.store, meta, &snapshot).await
    }

    /// Read from the disk each time: it is rarely asked for, and would double the state in memory.
    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.snapshots.newest().map_err(io::Error::other)
    }
}

/// A view of the state, to be written while the state goes on.
pub(crate) struct Builder {
    meta: SnapshotMeta,
    content: Bytes,
    store: LogStore,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        save(&self.store, &self.meta, &self.content).await?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: self.content.clone(),
        })
    }
}

async fn save(store: &LogStore, meta: &SnapshotMeta, content: &Bytes) -> io::Result<()> {
    let index = meta.last_log_id.map_or(0, |id| id.index());
    store
        .save_snapshot(index, snapshots::encode(meta, content))
        .await
}
