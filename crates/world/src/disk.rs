//! The disk seam: one data directory, named files inside it, and what durability costs.
//!
//! Paths are relative to the data directory, use `/`, and never contain `..`. All calls block;
//! they are made from workers ([`crate::Worker`]) or are cheap page-cache operations.
//!
//! Rules callers live by:
//! - A name created, renamed or removed is durable only after [`Disk::sync_dir`] of its parent.
//! - After a failed [`File::sync_data`] or [`Disk::sync_fs`] the unsynced bytes are unknown: the
//!   kernel may have dropped them and marked the pages clean. The call is never retried.
//! - The same holds for the names of a failed [`Disk::sync_dir`]: they are made anew, or the
//!   directory is given up.
//! - [`File::write_durable`] is durable when it returns `Ok`; on an error its range is unknown.

use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// Alignment of address, offset and length that [`File::write_durable`] needs, in bytes.
pub const DURABLE_ALIGN: usize = 4096;

/// What went wrong on the disk.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DiskError {
    /// No such file or directory.
    #[error("{path}: not found")]
    NotFound {
        /// The path, relative to the data directory.
        path: String,
    },
    /// [`OpenMode::CreateNew`] met an existing file.
    #[error("{path}: already exists")]
    AlreadyExists {
        /// The path, relative to the data directory.
        path: String,
    },
    /// The filesystem is full (ENOSPC, EDQUOT).
    #[error("{path}: no space left")]
    Full {
        /// The path, relative to the data directory.
        path: String,
    },
    /// Not permitted, or a read-only filesystem.
    #[error("{path}: not writable: {reason}")]
    Denied {
        /// The path, relative to the data directory.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// Another process holds the lock.
    #[error("{path}: in use by another process")]
    Locked {
        /// The path, relative to the data directory.
        path: String,
    },
    /// Any other failure; EIO above all.
    #[error("{path}: {operation}: {reason}")]
    Io {
        /// The path, relative to the data directory.
        path: String,
        /// The operation that failed, e.g. `sync_data`.
        operation: &'static str,
        /// What the system said.
        reason: String,
    },
}

impl DiskError {
    /// Whether room is what is missing.
    pub fn is_full(&self) -> bool {
        matches!(self, DiskError::Full { .. })
    }

    /// Whether the name is what is missing.
    pub fn is_not_found(&self) -> bool {
        matches!(self, DiskError::NotFound { .. })
    }
}

/// A disk operation's outcome.
pub type DiskResult<T> = Result<T, DiskError>;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing file, reads only.
    Read,
    /// Existing file, page-cache reads and writes.
    ReadWrite,
    /// New file, page-cache reads and writes; fails if it exists.
    CreateNew,
    /// Existing file for [`File::write_durable`] and no other writes: O_DIRECT and O_DSYNC where the filesystem
    /// takes them, else buffered writes followed by a data sync. Reads go to the disk, not to
    /// the page cache, where O_DIRECT works.
    Durable,
}

/// Room on the filesystem of the data directory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Free for us.
    pub free: u64,
    /// In all.
    pub total: u64,
}

/// One entry of [`Disk::list`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Name inside the listed directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// What [`Disk::probe`] found out about the filesystem once at start.
#[derive(Clone, Debug)]
pub struct DiskTraits {
    /// O_DIRECT and O_DSYNC work; otherwise durable writes are buffered and synced.
    pub direct: bool,
    /// An overwrite allocates (btrfs, ZFS, ...), so a pre-written slot can still meet ENOSPC.
    pub copy_on_write: bool,
    /// Filesystem name, for messages.
    pub filesystem: String,
    /// Median latency of one small durable write, microseconds.
    pub durable_write_us: u64,
}

/// Keeps a lock file locked until dropped.
pub trait DiskLock: Send + Sync {}

/// One data directory.
pub trait Disk: Send + Sync + 'static {
    /// Opens a file. `NotFound` unless `CreateNew`.
    fn open(&self, path: &str, mode: OpenMode) -> DiskResult<Arc<dyn File>>;
    /// Creates a directory and its missing parents; fine if it exists.
    fn create_dir(&self, path: &str) -> DiskResult<()>;
    /// Atomically renames a file, replacing the target.
    fn rename(&self, from: &str, to: &str) -> DiskResult<()>;
    /// Removes a file.
    fn unlink(&self, path: &str) -> DiskResult<()>;
    /// Entries of a directory, sorted by name. Names that are not UTF-8 are left out.
    fn list(&self, path: &str) -> DiskResult<Vec<Entry>>;
    /// Makes the names in a directory durable. `""` is the data directory itself.
    fn sync_dir(&self, path: &str) -> DiskResult<()>;
    /// Makes everything written to the filesystem durable, reporting write-back errors.
    fn sync_fs(&self) -> DiskResult<()>;
    /// Free and total bytes.
    fn free_space(&self) -> DiskResult<Space>;
    /// Takes the exclusive lock on a lock file (created if missing), or fails with `Locked` at
    /// once. Taken before anything else in the directory is touched.
    fn lock(&self, path: &str) -> DiskResult<Box<dyn DiskLock>>;
    /// Tries what the filesystem can do, with a small scratch file.
    fn probe(&self) -> DiskResult<DiskTraits>;
    /// Where the directory is, for messages to people.
    fn root(&self) -> String;
}

/// Advice about future reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// The range will be read front to back.
    Sequential,
    /// The range will not be read again soon; drop it from the cache.
    DontNeed,
}

/// One open file. Positions and lengths are bytes.
pub trait File: Send + Sync + 'static {
    /// Current length.
    fn len(&self) -> DiskResult<u64>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> DiskResult<bool> {
        Ok(self.len()? == 0)
    }
    /// Reads up to `buffer.len()` bytes; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> DiskResult<usize>;
    /// Writes all bytes into the page cache, extending the file if needed.
    fn write_at(&self, bytes: &[u8], position: u64) -> DiskResult<()>;
    /// Writes all slices one behind the other into the page cache.
    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> DiskResult<()>;
    /// Writes and makes durable. Address, position and length must be multiples of
    /// [`DURABLE_ALIGN`]; needs [`OpenMode::Durable`].
    fn write_durable(&self, bytes: &[u8], position: u64) -> DiskResult<()>;
    /// Starts write-back of a range without waiting; promises nothing.
    fn start_writeback(&self, position: u64, length: u64) -> DiskResult<()>;
    /// Waits until no write-back of a range is under way; promises nothing. An error is one of this
    /// write-back or of an earlier one of this open file, and [`File::sync_data`] may not tell it
    /// again: what was written since the last sync is lost like after a failed sync.
    fn await_writeback(&self, position: u64, length: u64) -> DiskResult<()>;
    /// Makes data and length durable.
    fn sync_data(&self) -> DiskResult<()>;
    /// Cuts or extends (with zeros) to `length`.
    fn truncate(&self, length: u64) -> DiskResult<()>;
    /// Overwrites `[0, length)` with real zero blocks and makes them durable; the file is then
    /// exactly that long. On an error its content and length are unknown.
    fn zero_fill(&self, length: u64) -> DiskResult<()>;
    /// Makes a new file `length` bytes of zeros that have their blocks on the disk, at once and
    /// durably. Cheaper than [`File::zero_fill`] now, dearer at the first write of each block; where
    /// the filesystem cannot, it is a zero fill. On an error content and length are unknown.
    fn allocate(&self, length: u64) -> DiskResult<()>;
    /// Advice about a range.
    fn advise(&self, position: u64, length: u64, advice: Advice) -> DiskResult<()>;
    /// The descriptor, for `sendfile`; `None` where there is none (simulation).
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// A range of an open file, held open for as long as the slice lives.
#[derive(Clone)]
pub struct FileSlice {
    /// The file.
    pub file: Arc<dyn File>,
    /// First byte.
    pub position: u64,
    /// Number of bytes.
    pub length: u64,
}

/// Checks that a path stays below the data directory: relative, no empty, `.` or `..` step.
pub(crate) fn check_path(path: &str) -> DiskResult<()> {
    let stays = path.split('/').all(|step| !matches!(step, "" | "." | ".."));
    if stays && !path.contains('\0') {
        return Ok(());
    }
    Err(DiskError::Denied {
        path: path.to_owned(),
        reason: "not a plain path below the data directory".to_owned(),
    })
}

/// Asserts what [`File::write_durable`] needs of its caller.
pub(crate) fn assert_aligned(bytes: &[u8], position: u64) {
    assert!(
        (bytes.as_ptr() as usize).is_multiple_of(DURABLE_ALIGN)
            && bytes.len().is_multiple_of(DURABLE_ALIGN)
            && position.is_multiple_of(DURABLE_ALIGN as u64),
        "a durable write of {} bytes at {position} from {:p} is not aligned",
        bytes.len(),
        bytes.as_ptr(),
    );
}
