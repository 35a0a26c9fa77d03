//! The snapshots' files: written new, synced, renamed, and the directory synced; two are kept.
//! `docs/formats/quorum-log.md`.

use std::sync::Arc;

use bytes::Bytes;
use stdx::{Reader, Writer, crc32c};
use world::disk::{Disk, DiskError, OpenMode};

use crate::journal::{DIRECTORY, JournalError, release_reserve};
use crate::raft::{Snapshot, SnapshotMeta};
use crate::record;

const MAGIC: [u8; 4] = *b"MSNP";
const VERSION: u16 = 1;
const NEW: &str = "meta-log/snapshot.new";
/// The newest, and one to fall back to should it be damaged.
const KEPT: usize = 2;

/// The snapshots of one node.
#[derive(Clone)]
pub(crate) struct Snapshots {
    disk: Arc<dyn Disk>,
}

impl Snapshots {
    /// Nothing is touched yet.
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Snapshots {
        Snapshots { disk }
    }

    /// The newest snapshot that is whole. A damaged one is passed over: the log still holds
    /// everything since the one before it (`node.rs` purges that far only).
    pub(crate) fn newest(&self) -> Result<Option<Snapshot>, JournalError> {
        let mut refused = None;
        for index in self.indexes()?.into_iter().rev() {
            match self.read(index) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) => {
                    tracing::error!(%error, "a metadata snapshot is damaged; trying the one before it");
                    refused = Some(error);
                }
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// Whether there is any, whole or not.
    pub(crate) fn exist(&self) -> Result<bool, JournalError> {
        Ok(!self.indexes()?.is_empty())
    }

    /// Writes a snapshot's file ([`encode`]'s bytes) and removes all but the newest two.
    pub(crate) fn save(&self, index: u64, content: &[u8]) -> Result<(), DiskError> {
        match self.write(index, content) {
            Err(error) if error.is_full() => {
                release_reserve(&*self.disk)?;
                self.write(index, content)?;
            }
            other => other?,
        }
        let indexes = self.indexes()?;
        for old in &indexes[..indexes.len().saturating_sub(KEPT)] {
            self.disk.unlink(&path(*old))?;
        }
        Ok(())
    }

    fn write(&self, index: u64, content: &[u8]) -> Result<(), DiskError> {
        match self.disk.unlink(NEW) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        let file = self.disk.open(NEW, OpenMode::CreateNew)?;
        file.write_at(content, 0)?;
        file.sync_data()?;
        self.disk.rename(NEW, &path(index))?;
        self.disk.sync_dir(DIRECTORY)
    }

    /// Ascending. The directory may not be there yet.
    fn indexes(&self) -> Result<Vec<u64>, DiskError> {
        let entries = match self.disk.list(DIRECTORY) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            other => other?,
        };
        let mut indexes: Vec<u64> = entries
            .iter()
            .filter_map(|entry| entry.name.strip_suffix(".snap")?.parse().ok())
            .collect();
        indexes.sort_unstable();
        Ok(indexes)
    }

    fn read(&self, index: u64) -> Result<Snapshot, JournalError> {
        let path = path(index);
        let file = self.disk.open(&path, OpenMode::Read)?;
        let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        // The file's own length: nothing inside it is believed before the checksum is.
        let mut bytes = vec![0; length];
        let got = file.read_at(&mut bytes, 0)?;
        bytes.truncate(got);
        decode(&path, bytes)
    }
}

fn path(index: u64) -> String {
    format!("{DIRECTORY}/{index:020}.snap")
}

/// A snapshot file's bytes.
pub(crate) fn encode(meta: &SnapshotMeta, content: &[u8]) -> Vec<u8> {
    let mut out = Writer::with_capacity(content.len() + 256);
    out.raw(&MAGIC).u16_le(VERSION);
    record::encode_meta(meta, &mut out);
    out.bytes_u32_le(content);
    let checksum = crc32c(out.as_slice());
    out.u32_le(checksum);
    out.into_bytes()
}

fn decode(path: &str, bytes: Vec<u8>) -> Result<Snapshot, JournalError> {
    let corrupt = |reason: &str| JournalError::Corrupt {
        path: path.into(),
        position: 0,
        reason: reason.into(),
    };
    let Some((body, tail)) = bytes.split_last_chunk::<4>() else {
        return Err(corrupt("it is too short"));
    };
    if body.get(..4) != Some(&MAGIC[..]) {
        return Err(corrupt("it is not a snapshot"));
    }
    if crc32c(body).to_le_bytes() != *tail {
        return Err(corrupt("its checksum does not agree"));
    }
    let mut input = Reader::new(&body[4..]);
    let version = input.u16_le().map_err(|_| corrupt("it is too short"))?;
    if version > VERSION {
        return Err(JournalError::TooNew {
            path: path.into(),
            version,
        });
    }
    let mut read = || {
        let meta = record::decode_meta(&mut input)?;
        let length = input.bytes_u32_le()?.len();
        input.finish()?;
        Ok::<_, stdx::CursorError>((meta, length))
    };
    let (meta, length) = read().map_err(|error| corrupt(&error.to_string()))?;
    let end = bytes.len() - 4;
    let content = Bytes::from(bytes).slice(end - length..end);
    Ok(Snapshot {
        meta,
        snapshot: content,
    })
}
