//! Who a data directory belongs to, and whether the last run ended in order: two small files.
//! This file owns their formats, on `docs/formats/identity.md`.
//!
//! A directory with a log and no identity, or with another's, is refused and left as it is: it is
//! never formatted over (replication.md D9). The identity of a new directory is written last, so
//! that a half-made one is recognised.

use stdx::{Reader, Writer, crc32c};
use wire::ids::TopicId;
use world::disk::{DiskError, DiskLock, DiskResult};
use world::{Disk, OpenMode, Random};

use crate::settings::Identity;

/// The lock of a data directory: whoever holds it has the directory open.
pub(crate) const LOCK: &str = "lock";
const IDENTITY: &str = "identity";
const IDENTITY_NEW: &str = "identity.new";
const CLEAN_STOP: &str = "clean-stop";
const IDENTITY_MAGIC: u64 = u64::from_le_bytes(*b"DIDENTTY");
const CLEAN_STOP_MAGIC: u64 = u64::from_le_bytes(*b"DCLNSTOP");
const VERSION: u16 = 1;
/// More than any identity takes.
const BYTES_MAX: usize = 4096;

/// What the identity file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryIdentity {
    /// Cluster and broker; a directory opened without one has an empty cluster id and broker −1.
    pub owner: Identity,
    /// The directory's own id, random, made with it.
    pub directory_id: TopicId,
}

/// Why an identity cannot be read.
pub(crate) enum IdentityError {
    Disk(DiskError),
    Damaged(&'static str),
    Newer(u16),
}

impl From<DiskError> for IdentityError {
    fn from(error: DiskError) -> IdentityError {
        IdentityError::Disk(error)
    }
}

/// Reads the identity; `None` if there is none.
pub(crate) fn read_identity(disk: &dyn Disk) -> Result<Option<DirectoryIdentity>, IdentityError> {
    let Some(bytes) = read_small(disk, IDENTITY)? else {
        return Ok(None);
    };
    decode_identity(&bytes).map(Some)
}

/// Takes the lock of a data directory that has an identity and that nobody has open; `None` for
/// every other directory, which is left as it is. For whoever tidies up.
pub fn claim_unused(disk: &dyn Disk) -> Option<Box<dyn DiskLock>> {
    match read_identity(disk) {
        Ok(Some(_)) => disk.lock(LOCK).ok(),
        Ok(None) | Err(_) => None,
    }
}

fn decode_identity(bytes: &[u8]) -> Result<DirectoryIdentity, IdentityError> {
    let short = |_| IdentityError::Damaged("shorter than an identity");
    let body = checked(bytes).ok_or(IdentityError::Damaged("its checksum does not hold"))?;
    let mut reader = Reader::new(body);
    if reader.u64_le().map_err(short)? != IDENTITY_MAGIC {
        return Err(IdentityError::Damaged("it is no identity"));
    }
    let version = reader.u16_le().map_err(short)?;
    if version != VERSION {
        return Err(IdentityError::Newer(version));
    }
    reader.skip(2).map_err(short)?;
    let broker_id = reader.i32_le().map_err(short)?;
    let directory_id = TopicId(reader.array().map_err(short)?);
    let cluster_id = reader.text_u32_le().map_err(short)?.to_owned();
    Ok(DirectoryIdentity {
        owner: Identity {
            cluster_id,
            broker_id,
        },
        directory_id,
    })
}

fn encode_identity(identity: &DirectoryIdentity) -> Vec<u8> {
    let mut out = Writer::new();
    out.u64_le(IDENTITY_MAGIC).u16_le(VERSION).u16_le(0);
    out.i32_le(identity.owner.broker_id)
        .raw(&identity.directory_id.0);
    let cluster = identity.owner.cluster_id.as_bytes();
    out.u32_le(cluster.len() as u32).raw(cluster);
    let crc = crc32c(out.as_slice());
    out.u32_le(crc);
    out.into_bytes()
}

/// Gives a new directory its identity: the last step of its making.
pub(crate) fn create_identity(
    disk: &dyn Disk,
    random: &dyn Random,
    owner: Option<&Identity>,
) -> DiskResult<DirectoryIdentity> {
    let mut id = [0; 16];
    random.fill(&mut id);
    let nobody = Identity {
        cluster_id: String::new(),
        broker_id: -1,
    };
    let owner = owner.cloned().unwrap_or(nobody);
    let identity = DirectoryIdentity {
        owner,
        directory_id: TopicId(id),
    };
    write_small(disk, IDENTITY_NEW, IDENTITY, &encode_identity(&identity))?;
    Ok(identity)
}

/// Notes that everything up to `lsn` is in segments and manifest.
pub(crate) fn write_clean_stop(disk: &dyn Disk, lsn: u64, crc: u32) -> DiskResult<()> {
    let mut out = Writer::new();
    out.u64_le(CLEAN_STOP_MAGIC).u16_le(VERSION).u16_le(0);
    out.u64_le(lsn).u32_le(crc);
    let checksum = crc32c(out.as_slice());
    out.u32_le(checksum);
    write_small(disk, "clean-stop.new", CLEAN_STOP, out.as_slice())
}

/// Reads and removes the note of a clean stop: LSN and CRC of the last block. A damaged one counts
/// as none.
pub(crate) fn take_clean_stop(disk: &dyn Disk) -> DiskResult<Option<(u64, u32)>> {
    let Some(bytes) = read_small(disk, CLEAN_STOP)? else {
        return Ok(None);
    };
    disk.unlink(CLEAN_STOP)?;
    disk.sync_dir("")?;
    let decode = || {
        let mut reader = Reader::new(checked(&bytes)?);
        if reader.u64_le().ok()? != CLEAN_STOP_MAGIC || reader.u16_le().ok()? != VERSION {
            return None;
        }
        reader.skip(2).ok()?;
        Some((reader.u64_le().ok()?, reader.u32_le().ok()?))
    };
    Ok(decode())
}

fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    (crc32c(body) == u32::from_le_bytes(*crc)).then_some(body)
}

fn read_small(disk: &dyn Disk, path: &str) -> DiskResult<Option<Vec<u8>>> {
    let file = match disk.open(path, OpenMode::Read) {
        Err(DiskError::NotFound { .. }) => return Ok(None),
        other => other?,
    };
    let mut bytes = vec![0; BYTES_MAX];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

fn write_small(disk: &dyn Disk, fresh: &str, path: &str, bytes: &[u8]) -> DiskResult<()> {
    match disk.unlink(fresh) {
        Ok(()) | Err(DiskError::NotFound { .. }) => {}
        Err(error) => return Err(error),
    }
    let file = disk.open(fresh, OpenMode::CreateNew)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    disk.rename(fresh, path)?;
    disk.sync_dir("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_bytes_are_golden_and_damage_is_found() {
        let identity = DirectoryIdentity {
            owner: Identity {
                cluster_id: "abc".into(),
                broker_id: 7,
            },
            directory_id: TopicId([1; 16]),
        };
        let bytes = encode_identity(&identity);
        let mut golden = b"DIDENTTY\x01\0\0\0\x07\0\0\0".to_vec();
        golden.extend_from_slice(&[1; 16]);
        golden.extend_from_slice(b"\x03\0\0\0abc");
        golden.extend_from_slice(&crc32c(&golden).to_le_bytes());
        assert_eq!(bytes, golden);
        assert!(decode_identity(&bytes).is_ok_and(|decoded| decoded == identity));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_identity(&bad).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode_identity(&bytes[..length]).is_err());
        }
    }
}
