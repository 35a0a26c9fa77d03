//! The manifest's files: `meta/CURRENT`, `meta/<n>.snap`, `meta/<n>.delta`.
//!
//! A change is appended to the delta file and synced; when that has outgrown its snapshot, a new
//! snapshot with the same content is written beside it and `CURRENT` is replaced. The generation
//! before is kept, and is enough by itself: a damaged newest snapshot costs nothing but tail states.

use std::sync::{Arc, RwLock};

use stdx::Writer;
use world::disk::{DiskError, DiskResult};
use world::{Disk, File, OpenMode};

use crate::errors::OpenError;
use crate::format_error::{FormatError, Reason};
use crate::ids::{Lsn, PartitionId};
use crate::manifest::{
    CURRENT_BYTES, Change, FrameHeader, HEADER_BYTES, Manifest, TailChange, TailPlace,
    decode_current, encode_current, encode_delta,
};

const CURRENT: &str = "meta/CURRENT";
/// Directory of the manifest.
pub(crate) const META_DIR: &str = "meta";
/// A delta file shorter than this is never folded.
const FOLD_BYTES_MIN: u64 = 4 << 20;

fn snapshot_path(generation: u64) -> String {
    format!("{META_DIR}/{generation:010}.snap")
}

fn delta_path(generation: u64) -> String {
    format!("{META_DIR}/{generation:010}.delta")
}

/// The manifest and its open files.
pub(crate) struct Meta {
    disk: Arc<dyn Disk>,
    pub manifest: Manifest,
    snapshot: Arc<dyn File>,
    delta: Arc<dyn File>,
    snapshot_bytes: u64,
    delta_bytes: u64,
    /// A delta or a snapshot could not be written: the end of the delta file, or the generation in
    /// force, is unknown. A fresh snapshot is due before anything else.
    spoilt: bool,
}

impl Meta {
    /// Loads the manifest; `None` in a directory that has none.
    pub fn load(disk: &Arc<dyn Disk>) -> Result<Option<Meta>, OpenError> {
        let current = match disk.open(CURRENT, OpenMode::Read) {
            Err(DiskError::NotFound { .. }) => return Ok(None),
            other => other?,
        };
        let mut bytes = [0; CURRENT_BYTES];
        let read = current.read_at(&mut bytes, 0)?;
        let generation = decode_current(&bytes[..read]).map_err(|error| at(CURRENT, error))?;
        match Meta::load_generation(disk, generation) {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if generation > 1 => {
                tracing::warn!(%error, "manifest snapshot damaged: falling back to the one before");
                Meta::load_older(disk, generation).map(Some)
            }
            Err(error) => Err(error),
        }
    }

    fn load_generation(disk: &Arc<dyn Disk>, generation: u64) -> Result<Meta, OpenError> {
        let path = snapshot_path(generation);
        let snapshot = disk.open(&path, OpenMode::Read)?;
        let bytes = read_head(&*snapshot).map_err(|error| refine(&path, error))?;
        let manifest = Manifest::decode_snapshot(&bytes).map_err(|error| at(&path, error))?;
        let delta = open_delta(disk, generation)?;
        let snapshot_bytes = snapshot.len()?;
        let mut meta = Meta {
            disk: Arc::clone(disk),
            manifest,
            snapshot,
            delta,
            snapshot_bytes,
            delta_bytes: 0,
            spoilt: false,
        };
        meta.apply_deltas(generation)?;
        Ok(meta)
    }

    /// The generation before, all its deltas, then the deltas of this one: the same content, since a
    /// snapshot only repeats what the deltas before it said.
    fn load_older(disk: &Arc<dyn Disk>, generation: u64) -> Result<Meta, OpenError> {
        let mut meta = Meta::load_generation(disk, generation - 1)?;
        meta.manifest.generation = generation;
        meta.manifest.sequence = 0;
        meta.delta = open_delta(disk, generation)?;
        meta.apply_deltas(generation)?;
        meta.spoilt = true;
        Ok(meta)
    }

    fn apply_deltas(&mut self, generation: u64) -> Result<(), OpenError> {
        let path = delta_path(generation);
        let length = self.delta.len()?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = self.delta.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        let (taken, rest) = self
            .manifest
            .apply_deltas(&bytes)
            .map_err(|error| at(&path, error))?;
        if let Some(error) = rest {
            tracing::info!(%error, %path, "the manifest's last delta was not completed");
        }
        self.delta_bytes = taken;
        Ok(())
    }

    /// The first manifest of a new directory.
    pub fn create(disk: &Arc<dyn Disk>) -> Result<Meta, OpenError> {
        let manifest = Manifest::new();
        let bytes = manifest.encode_snapshot(1, Lsn(1), 0, |_| TailChange::None);
        write_generation(disk, 1, &[&bytes])?;
        Meta::load_generation(disk, 1)
    }

    /// Appends a delta and makes it durable. `tails` is the tail area that the changes point into.
    /// One caller at a time; others read the manifest while the disk is busy.
    pub fn append(
        meta: &RwLock<Meta>,
        replay_from: Lsn,
        changes: &[Change],
        tails: &[u8],
    ) -> Result<(), OpenError> {
        let spoilt = crate::read_lock(meta).spoilt;
        if spoilt {
            Meta::fold(meta)?;
        }
        let (head, file, position) = {
            let meta = crate::read_lock(meta);
            let tail_bytes = tails.len() as u64;
            let head = encode_delta(&meta.manifest, replay_from, tail_bytes, changes);
            (head, Arc::clone(&meta.delta), meta.delta_bytes)
        };
        let header = FrameHeader::decode(&head).map_err(|error| at(META_DIR, error))?;
        // The tails are durable before the head that points to them: a sync that fails may leave any
        // part of a delta, and one that a restart takes for whole must be.
        let written = file
            .write_at(tails, position + head.len() as u64)
            .and_then(|()| file.sync_data())
            .and_then(|()| file.write_at(&head, position))
            .and_then(|()| file.sync_data());
        let mut meta = crate::write_lock(meta);
        if let Err(error) = written {
            meta.spoilt = true;
            return Err(error.into());
        }
        let tail_area = position + header.head_bytes();
        meta.manifest
            .apply(changes, tail_area)
            .map_err(|error| at(META_DIR, error))?;
        meta.manifest.adopt(&header);
        meta.delta_bytes += header.frame_bytes();
        Ok(())
    }

    /// Has the next change put into a new generation, with a snapshot of all before it.
    pub fn write_anew(&mut self) {
        self.spoilt = true;
    }

    /// Whether the deltas outgrew their snapshot.
    pub fn wants_fold(&self) -> bool {
        self.delta_bytes > FOLD_BYTES_MIN.max(2 * self.snapshot_bytes)
    }

    /// Writes a new snapshot of what is known. Not beside an append; others read the manifest
    /// meanwhile.
    pub fn fold(meta: &RwLock<Meta>) -> Result<(), OpenError> {
        let folded = crate::read_lock(meta).fold_aside();
        let mut meta = crate::write_lock(meta);
        match folded {
            Ok(fresh) => *meta = fresh,
            Err(error) => {
                // `CURRENT` may name either generation: nothing more goes to the older one.
                meta.spoilt = true;
                return Err(error);
            }
        }
        Ok(())
    }

    fn fold_aside(&self) -> Result<Meta, OpenError> {
        let generation = self.manifest.generation + 1;
        let mut tails = Writer::new();
        let mut places = std::collections::BTreeMap::new();
        for entry in self.manifest.iter() {
            if let Some(place) = entry.record.tail {
                let at = tails.len() as u64;
                if let Some(bytes) = self.tail_bytes(&place)? {
                    tails.raw(&bytes);
                    let (length, crc) = (place.length, place.crc);
                    places.insert(entry.record.id, TailChange::Here { at, length, crc });
                }
            }
        }
        let tails = tails.into_bytes();
        let head = self.manifest.encode_snapshot(
            generation,
            self.manifest.replay_from,
            tails.len() as u64,
            |entry| {
                places
                    .get(&entry.record.id)
                    .copied()
                    .unwrap_or(TailChange::None)
            },
        );
        write_generation(&self.disk, generation, &[&head, &tails])?;
        let disk = &self.disk;
        let fresh = Meta::load_generation(disk, generation)?;
        if let Some(old) = generation.checked_sub(2).filter(|old| *old > 0) {
            for path in [snapshot_path(old), delta_path(old)] {
                match disk.unlink(&path) {
                    Ok(()) | Err(DiskError::NotFound { .. }) => {}
                    Err(error) => tracing::warn!(%error, "an old manifest stays"),
                }
            }
        }
        Ok(fresh)
    }

    /// A partition's tail state as the last checkpoint wrote it, with its CRC.
    pub fn tail(&self, id: PartitionId) -> DiskResult<Option<(Vec<u8>, u32)>> {
        let place = self
            .manifest
            .partition(id)
            .and_then(|entry| entry.record.tail);
        let Some(place) = place else {
            return Ok(None);
        };
        Ok(self.tail_bytes(&place)?.map(|bytes| (bytes, place.crc)))
    }

    fn tail_bytes(&self, place: &TailPlace) -> DiskResult<Option<Vec<u8>>> {
        let file = if place.in_delta {
            &self.delta
        } else {
            &self.snapshot
        };
        let end = place.offset.saturating_add(u64::from(place.length));
        if end > file.len()? {
            return Ok(None);
        }
        let mut bytes = vec![0; place.length as usize];
        let read = file.read_at(&mut bytes, place.offset)?;
        Ok((read == bytes.len()).then_some(bytes))
    }
}

fn open_delta(disk: &Arc<dyn Disk>, generation: u64) -> DiskResult<Arc<dyn File>> {
    let path = delta_path(generation);
    match disk.open(&path, OpenMode::ReadWrite) {
        Err(DiskError::NotFound { .. }) => {
            let file = disk.open(&path, OpenMode::CreateNew)?;
            disk.sync_dir(META_DIR)?;
            Ok(file)
        }
        other => other,
    }
}

/// Header, records and CRC table of a snapshot: no more than the file has.
fn read_head(file: &dyn File) -> Result<Vec<u8>, Trouble> {
    let mut header = [0; HEADER_BYTES];
    let read = file.read_at(&mut header, 0)?;
    let parsed = FrameHeader::decode(&header[..read])?;
    let head_bytes = parsed.head_bytes();
    if head_bytes > file.len()? {
        return Err(Reason::Broken("shorter than its header says")
            .of("manifest")
            .into());
    }
    let mut bytes = vec![0; head_bytes as usize];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Writes snapshot and empty delta of a generation, then `CURRENT`; every step durable before the
/// next. Each file gets its name when it is whole: an attempt that failed may have made this
/// generation the current one, so that its files are replaced and never missing.
fn write_generation(disk: &Arc<dyn Disk>, generation: u64, pieces: &[&[u8]]) -> DiskResult<()> {
    let write = |path: &str, pieces: &[&[u8]]| {
        let unfinished = format!("{path}.new");
        match disk.unlink(&unfinished) {
            Ok(()) | Err(DiskError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let file = disk.open(&unfinished, OpenMode::CreateNew)?;
        let mut position = 0;
        for piece in pieces {
            file.write_at(piece, position)?;
            position += piece.len() as u64;
        }
        file.sync_data()?;
        disk.rename(&unfinished, path)
    };
    write(&snapshot_path(generation), pieces)?;
    write(&delta_path(generation), &[])?;
    disk.sync_dir(META_DIR)?;
    write(CURRENT, &[&encode_current(generation)])?;
    disk.sync_dir(META_DIR)
}

enum Trouble {
    Disk(DiskError),
    Format(FormatError),
}

impl From<DiskError> for Trouble {
    fn from(error: DiskError) -> Trouble {
        Trouble::Disk(error)
    }
}

impl From<FormatError> for Trouble {
    fn from(error: FormatError) -> Trouble {
        Trouble::Format(error)
    }
}

fn refine(path: &str, trouble: Trouble) -> OpenError {
    match trouble {
        Trouble::Disk(error) => error.into(),
        Trouble::Format(error) => at(path, error),
    }
}

fn at(path: &str, error: FormatError) -> OpenError {
    OpenError::Format {
        path: path.to_owned(),
        error,
    }
}
