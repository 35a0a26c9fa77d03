//! A data directory on a Linux filesystem.
//!
//! Every name is resolved from the directory's descriptor, opened once, so nothing depends on
//! the working directory of the process.

use std::io::IoSlice;
use std::num::NonZeroU64;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::aligned::AlignedBuf;
use crate::clock::Clock;
use crate::disk::{
    Advice, DURABLE_ALIGN, Disk, DiskError, DiskLock, DiskResult, DiskTraits, Entry, File,
    OpenMode, Space, check_path,
};

/// Slices one `pwritev` takes (IOV_MAX).
const SLICES_MAX: usize = 1024;
/// Zeros written per call: large enough to be cheap, small enough to be no burst of memory.
const ZEROS_BYTES: usize = 1 << 20;
/// Zeros between two syncs.
const ZEROS_SYNC_BYTES: u64 = 4 << 20;
/// The scratch file of [`Disk::probe`].
const PROBE_PATH: &str = ".probe";
/// Writes whose median is the probe's latency.
const PROBE_WRITES: u64 = 15;

/// The files below one directory.
pub struct RealDisk {
    root: PathBuf,
    directory: OwnedFd,
    /// Whether O_DIRECT with O_DSYNC works here; tried at first need.
    direct: Mutex<Option<bool>>,
}

impl RealDisk {
    /// Opens the data directory, creating it (durably) if it is missing.
    ///
    /// # Errors
    /// `Denied` if it cannot be written, `Io` if it is no directory.
    pub fn open(root: &Path) -> DiskResult<RealDisk> {
        let shown = root.display().to_string();
        create_root(root, &shown)?;
        let directory = retry(|| {
            rustix::fs::open(
                root,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            )
        })
        .map_err(|errno| failed(&shown, "open", errno))?;
        rustix::fs::access(
            root,
            rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
        )
        .map_err(|errno| failed(&shown, "access", errno))?;
        Ok(RealDisk {
            root: root.to_owned(),
            directory,
            direct: Mutex::new(None),
        })
    }

    fn open_at(&self, path: &str, flags: OFlags, operation: &'static str) -> DiskResult<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        let mode = Mode::from_raw_mode(0o644);
        retry(|| rustix::fs::openat(&self.directory, path, flags, mode))
            .map_err(|errno| failed(path, operation, errno))
    }

    fn open_directory(&self, path: &str, operation: &'static str) -> DiskResult<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        self.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, operation)
    }

    /// Whether durable writes go around the page cache; asks the filesystem once.
    fn direct(&self) -> DiskResult<bool> {
        let mut known = self
            .direct
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        match *known {
            Some(direct) => Ok(direct),
            None => {
                let direct = self.try_direct()?;
                *known = Some(direct);
                Ok(direct)
            }
        }
    }

    /// Some filesystems refuse the open (tmpfs before 6.6), some the write (odd block sizes):
    /// only a write on a scratch file tells.
    fn try_direct(&self) -> DiskResult<bool> {
        let scratch = self.scratch_file()?;
        let opened = self.open_at(PROBE_PATH, DIRECT_FLAGS, "probe");
        let outcome = match opened {
            Ok(descriptor) => {
                let block = AlignedBuf::zeroed(DURABLE_ALIGN);
                let file = RealFile {
                    descriptor,
                    path: PROBE_PATH.to_owned(),
                    kind: Kind::Direct,
                };
                file.write_durable(&block, 0).is_ok()
            }
            Err(_) => false,
        };
        drop(scratch);
        self.unlink(PROBE_PATH)?;
        Ok(outcome)
    }

    /// An empty file under the probe's name, left over or not.
    fn scratch_file(&self) -> DiskResult<RealFile> {
        let descriptor = self.open_at(
            PROBE_PATH,
            OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC,
            "probe",
        )?;
        Ok(RealFile {
            descriptor,
            path: PROBE_PATH.to_owned(),
            kind: Kind::Cached,
        })
    }
}

const DIRECT_FLAGS: OFlags = OFlags::RDWR.union(OFlags::DIRECT).union(OFlags::DSYNC);

impl Disk for RealDisk {
    fn open(&self, path: &str, mode: OpenMode) -> DiskResult<Arc<dyn File>> {
        check_path(path)?;
        let (flags, kind) = match mode {
            OpenMode::Read => (OFlags::RDONLY, Kind::ReadOnly),
            OpenMode::ReadWrite => (OFlags::RDWR, Kind::Cached),
            OpenMode::CreateNew => (OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, Kind::Cached),
            OpenMode::Durable if self.direct()? => (DIRECT_FLAGS, Kind::Direct),
            OpenMode::Durable => (OFlags::RDWR, Kind::Synced),
        };
        let descriptor = self.open_at(path, flags, "open")?;
        Ok(Arc::new(RealFile {
            descriptor,
            path: path.to_owned(),
            kind,
        }))
    }

    fn create_dir(&self, path: &str) -> DiskResult<()> {
        check_path(path)?;
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for end in ends {
            let ancestor = &path[..end];
            let mode = Mode::from_raw_mode(0o755);
            match retry(|| rustix::fs::mkdirat(&self.directory, ancestor, mode)) {
                // What exists may still be a file; the next step or the open below tells.
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed(ancestor, "create_dir", errno)),
            }
        }
        self.open_directory(path, "create_dir").map(drop)
    }

    fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        check_path(from)?;
        check_path(to)?;
        retry(|| rustix::fs::renameat(&self.directory, from, &self.directory, to))
            .map_err(|errno| failed(from, "rename", errno))
    }

    fn unlink(&self, path: &str) -> DiskResult<()> {
        check_path(path)?;
        retry(|| rustix::fs::unlinkat(&self.directory, path, AtFlags::empty()))
            .map_err(|errno| failed(path, "unlink", errno))
    }

    fn list(&self, path: &str) -> DiskResult<Vec<Entry>> {
        if !path.is_empty() {
            check_path(path)?;
        }
        let descriptor = self.open_directory(path, "list")?;
        let mut directory =
            rustix::fs::Dir::new(descriptor).map_err(|errno| failed(path, "list", errno))?;
        let mut entries = Vec::new();
        while let Some(entry) = directory.read() {
            let entry = entry.map_err(|errno| failed(path, "list", errno))?;
            // Names that are not UTF-8 are not ours.
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown | FileType::Symlink => {
                    let whole = if path.is_empty() {
                        name.to_owned()
                    } else {
                        format!("{path}/{name}")
                    };
                    match rustix::fs::statat(&self.directory, &whole, AtFlags::empty()) {
                        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
                        // Gone between the two looks, or a dangling link.
                        Err(Errno::NOENT) => continue,
                        Err(errno) => return Err(failed(&whole, "list", errno)),
                    }
                }
                known => known,
            };
            entries.push(Entry {
                name: name.to_owned(),
                is_dir: kind == FileType::Directory,
            });
        }
        entries.sort();
        Ok(entries)
    }

    fn sync_dir(&self, path: &str) -> DiskResult<()> {
        if !path.is_empty() {
            check_path(path)?;
        }
        let descriptor = self.open_directory(path, "sync_dir")?;
        retry(|| rustix::fs::fsync(&descriptor)).map_err(|errno| failed(path, "sync_dir", errno))
    }

    fn sync_fs(&self) -> DiskResult<()> {
        // Reports write-back errors of the whole filesystem since the last call (Linux 5.8).
        rustix::fs::syncfs(&self.directory).map_err(|errno| failed("", "sync_fs", errno))
    }

    fn free_space(&self) -> DiskResult<Space> {
        let stat = retry(|| rustix::fs::fstatvfs(&self.directory))
            .map_err(|errno| failed("", "free_space", errno))?;
        Ok(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }

    fn lock(&self, path: &str) -> DiskResult<Box<dyn DiskLock>> {
        check_path(path)?;
        let descriptor = self.open_at(path, OFlags::RDWR | OFlags::CREATE, "lock")?;
        match retry(|| rustix::fs::flock(&descriptor, FlockOperation::NonBlockingLockExclusive)) {
            Ok(()) => Ok(Box::new(FlockHeld {
                _descriptor: descriptor,
            })),
            Err(Errno::WOULDBLOCK) => Err(DiskError::Locked {
                path: path.to_owned(),
            }),
            Err(errno) => Err(failed(path, "lock", errno)),
        }
    }

    fn probe(&self) -> DiskResult<DiskTraits> {
        let direct = self.direct()?;
        let scratch = self.scratch_file()?;
        let copy_on_write = match filesystem_kind(&self.directory)? {
            (_, true) => {
                // chattr +C on the directory is inherited and brings overwriting in place back.
                !rustix::fs::ioctl_getflags(&scratch.descriptor)
                    .is_ok_and(|flags| flags.contains(rustix::fs::IFlags::NOCOW))
            }
            (_, false) => false,
        };
        // The latency of interest is that of overwriting.
        scratch.zero_fill(DURABLE_ALIGN as u64)?;
        drop(scratch);
        let file = self.open(PROBE_PATH, OpenMode::Durable)?;
        let block = AlignedBuf::zeroed(DURABLE_ALIGN);
        let clock = super::RealClock::new();
        let mut latencies = Vec::new();
        for _ in 0..PROBE_WRITES {
            let start = clock.now();
            file.write_durable(&block, 0)?;
            latencies.push(clock.now().since(start).as_micros());
        }
        drop(file);
        self.unlink(PROBE_PATH)?;
        latencies.sort_unstable();
        let median = latencies[latencies.len() / 2];
        Ok(DiskTraits {
            direct,
            copy_on_write,
            filesystem: filesystem_kind(&self.directory)?.0,
            durable_write_us: u64::try_from(median).unwrap_or(u64::MAX),
        })
    }

    fn root(&self) -> String {
        self.root.display().to_string()
    }
}

struct FlockHeld {
    /// Closing the descriptor releases the lock.
    _descriptor: OwnedFd,
}

impl DiskLock for FlockHeld {}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Reads only.
    ReadOnly,
    /// Through the page cache.
    Cached,
    /// O_DIRECT and O_DSYNC.
    Direct,
    /// Durable where O_DIRECT is refused: through the page cache, then a data sync.
    Synced,
}

struct RealFile {
    descriptor: OwnedFd,
    path: String,
    kind: Kind,
}

impl RealFile {
    fn failed(&self, operation: &'static str, errno: Errno) -> DiskError {
        failed(&self.path, operation, errno)
    }

    /// Page-cache writes need a file opened for them.
    fn check_cached(&self, operation: &'static str) -> DiskResult<()> {
        let reason = match self.kind {
            Kind::Cached => return Ok(()),
            Kind::ReadOnly => "opened for reads only",
            Kind::Direct | Kind::Synced => "opened for durable writes only",
        };
        Err(DiskError::Denied {
            path: self.path.clone(),
            reason: format!("{operation}: {reason}"),
        })
    }

    /// Where the system does not know it nothing happens: it is only a hint.
    #[expect(unsafe_code, reason = "sync_file_range has no safe form")]
    fn sync_range(
        &self,
        position: u64,
        length: u64,
        flags: libc::c_uint,
        operation: &'static str,
    ) -> DiskResult<()> {
        // Zero means "to the end" to the kernel.
        if length == 0 {
            return Ok(());
        }
        let (Ok(start), Ok(count)) = (i64::try_from(position), i64::try_from(length)) else {
            return Err(self.failed(operation, Errno::INVAL));
        };
        let descriptor = self.descriptor.as_raw_fd();
        // SAFETY: takes a descriptor we hold open and three integers; touches no memory of ours.
        if unsafe { libc::sync_file_range(descriptor, start, count, flags) } == 0 {
            return Ok(());
        }
        match Errno::from_io_error(&std::io::Error::last_os_error()) {
            Some(Errno::NOSYS | Errno::SPIPE | Errno::INTR) | None => Ok(()),
            Some(errno) => Err(self.failed(operation, errno)),
        }
    }

    fn write_all(
        &self,
        mut bytes: &[u8],
        mut position: u64,
        operation: &'static str,
    ) -> DiskResult<()> {
        while !bytes.is_empty() {
            match rustix::io::pwrite(&self.descriptor, bytes, position) {
                Ok(0) => return Err(self.failed(operation, Errno::IO)),
                Ok(written) => {
                    bytes = &bytes[written..];
                    position += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed(operation, errno)),
            }
        }
        Ok(())
    }

    fn read_all(&self, buffer: &mut [u8], position: u64) -> DiskResult<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = position + filled as u64;
            match rustix::io::pread(&self.descriptor, &mut buffer[filled..], at) {
                Ok(0) => break,
                Ok(taken) => filled += taken,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("read_at", errno)),
            }
        }
        Ok(filled)
    }

    /// O_DIRECT reads whole blocks into aligned memory; others are cut out of such a read.
    fn read_around(&self, buffer: &mut [u8], position: u64) -> DiskResult<usize> {
        let align = DURABLE_ALIGN as u64;
        let start = position - position % align;
        let skip = (position - start) as usize;
        let mut bounce = AlignedBuf::zeroed(skip + buffer.len());
        let mut filled = 0;
        while filled < bounce.len() {
            let at = start + filled as u64;
            match rustix::io::pread(&self.descriptor, &mut bounce[filled..], at) {
                Ok(0) => break,
                Ok(taken) => {
                    filled += taken;
                    // A read that stops inside a block stopped at the end of the file.
                    if !filled.is_multiple_of(DURABLE_ALIGN) {
                        break;
                    }
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(self.failed("read_at", errno)),
            }
        }
        let wanted = bounce[..filled].get(skip..).unwrap_or_default();
        let taken = wanted.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&wanted[..taken]);
        Ok(taken)
    }
}

impl File for RealFile {
    fn len(&self) -> DiskResult<u64> {
        let stat = retry(|| rustix::fs::fstat(&self.descriptor))
            .map_err(|errno| self.failed("len", errno))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> DiskResult<usize> {
        let aligned = (buffer.as_ptr() as usize).is_multiple_of(DURABLE_ALIGN)
            && buffer.len().is_multiple_of(DURABLE_ALIGN)
            && position.is_multiple_of(DURABLE_ALIGN as u64);
        if self.kind == Kind::Direct {
            // A short aligned read near the end leaves an unaligned rest, which the bounce
            // buffer's loop knows how to end.
            return if aligned && position + buffer.len() as u64 <= self.len()? {
                self.read_all(buffer, position)
            } else {
                self.read_around(buffer, position)
            };
        }
        self.read_all(buffer, position)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> DiskResult<()> {
        self.check_cached("write_at")?;
        self.write_all(bytes, position, "write_at")
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> DiskResult<()> {
        const OPERATION: &str = "write_vectored_at";
        self.check_cached(OPERATION)?;
        let mut slices = slices;
        let mut position = position;
        while !slices.is_empty() {
            let batch = &slices[..slices.len().min(SLICES_MAX)];
            let mut written = match rustix::io::pwritev(&self.descriptor, batch, position) {
                Ok(written) => written,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(self.failed(OPERATION, errno)),
            };
            if written == 0 && batch.iter().any(|slice| !slice.is_empty()) {
                return Err(self.failed(OPERATION, Errno::IO));
            }
            position += written as u64;
            let mut whole = 0;
            for slice in batch {
                if written < slice.len() {
                    break;
                }
                written -= slice.len();
                whole += 1;
            }
            slices = &slices[whole..];
            // A slice written in part is finished by itself: no list to copy and adjust.
            if written > 0
                && let Some((cut, behind)) = slices.split_first()
            {
                self.write_all(&cut[written..], position, OPERATION)?;
                position += (cut.len() - written) as u64;
                slices = behind;
            }
        }
        Ok(())
    }

    fn write_durable(&self, bytes: &[u8], position: u64) -> DiskResult<()> {
        const OPERATION: &str = "write_durable";
        crate::disk::assert_aligned(bytes, position);
        match self.kind {
            Kind::Direct => self.write_all(bytes, position, OPERATION),
            Kind::Synced => {
                self.write_all(bytes, position, OPERATION)?;
                rustix::fs::fdatasync(&self.descriptor)
                    .map_err(|errno| self.failed(OPERATION, errno))
            }
            Kind::ReadOnly | Kind::Cached => Err(DiskError::Denied {
                path: self.path.clone(),
                reason: format!("{OPERATION}: not opened for durable writes"),
            }),
        }
    }

    fn start_writeback(&self, position: u64, length: u64) -> DiskResult<()> {
        const OPERATION: &str = "start_writeback";
        self.sync_range(position, length, libc::SYNC_FILE_RANGE_WRITE, OPERATION)
    }

    fn await_writeback(&self, position: u64, length: u64) -> DiskResult<()> {
        let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE;
        self.sync_range(position, length, flags, "await_writeback")
    }

    fn sync_data(&self) -> DiskResult<()> {
        // Not retried, not even after EINTR: a second call could say yes without the data.
        rustix::fs::fdatasync(&self.descriptor).map_err(|errno| self.failed("sync_data", errno))
    }

    fn truncate(&self, length: u64) -> DiskResult<()> {
        self.check_cached("truncate")?;
        retry(|| rustix::fs::ftruncate(&self.descriptor, length))
            .map_err(|errno| self.failed("truncate", errno))
    }

    fn zero_fill(&self, length: u64) -> DiskResult<()> {
        const OPERATION: &str = "zero_fill";
        self.check_cached(OPERATION)?;
        self.truncate(length)?;
        let zeros = AlignedBuf::zeroed(ZEROS_BYTES);
        let mut position = 0;
        while position < length {
            let count = (length - position).min(ZEROS_BYTES as u64);
            self.write_all(&zeros[..count as usize], position, OPERATION)?;
            position += count;
            // In steps: whoever else syncs on this disk waits for what is in its queue.
            if position.is_multiple_of(ZEROS_SYNC_BYTES) {
                self.sync_data()?;
            }
        }
        self.sync_data()?;
        // The zeros are of no use in the cache, and direct writes would have to evict them.
        self.advise(0, length, Advice::DontNeed)
    }

    fn allocate(&self, length: u64) -> DiskResult<()> {
        const OPERATION: &str = "allocate";
        self.check_cached(OPERATION)?;
        let flags = rustix::fs::FallocateFlags::empty();
        match retry(|| rustix::fs::fallocate(&self.descriptor, flags, 0, length)) {
            Ok(()) => self.sync_data(),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.zero_fill(length),
            Err(errno) => Err(self.failed(OPERATION, errno)),
        }
    }

    fn advise(&self, position: u64, length: u64, advice: Advice) -> DiskResult<()> {
        let Some(length) = NonZeroU64::new(length) else {
            return Ok(());
        };
        let advice = match advice {
            Advice::Sequential => rustix::fs::Advice::Sequential,
            Advice::DontNeed => rustix::fs::Advice::DontNeed,
        };
        match rustix::fs::fadvise(&self.descriptor, position, Some(length), advice) {
            // Only a hint.
            Ok(()) | Err(Errno::NOSYS | Errno::SPIPE) => Ok(()),
            Err(errno) => Err(self.failed("advise", errno)),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        // sendfile from an O_DIRECT descriptor goes around the cache and is refused by some
        // filesystems: such a file is read and copied instead.
        (self.kind != Kind::Direct).then(|| self.descriptor.as_fd())
    }
}

/// Creates the data directory and what is missing above it, each name made durable.
fn create_root(root: &Path, shown: &str) -> DiskResult<()> {
    let mut missing = Vec::new();
    let mut at = Some(root);
    while let Some(directory) = at {
        if directory.as_os_str().is_empty() || directory.exists() {
            break;
        }
        missing.push(directory);
        at = directory.parent();
    }
    for directory in missing.into_iter().rev() {
        match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(failed(shown, "create", errno)),
        }
        let parent = match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(parent, flags, Mode::empty())
            .and_then(rustix::fs::fsync)
            .map_err(|errno| failed(shown, "create", errno))?;
    }
    Ok(())
}

/// Name of the filesystem, and whether it writes every overwrite to a new place.
fn filesystem_kind(directory: &OwnedFd) -> DiskResult<(String, bool)> {
    let stat =
        retry(|| rustix::fs::fstatfs(directory)).map_err(|errno| failed("", "probe", errno))?;
    // Magic numbers of linux/magic.h and of the out-of-tree filesystems themselves.
    let (name, copy_on_write) = match stat.f_type as u32 {
        0x0000_ef53 => ("ext4", false),
        0x5846_5342 => ("xfs", false),
        0x9123_683e => ("btrfs", true),
        0x2fc1_2fc1 => ("zfs", true),
        0xca45_1a4e => ("bcachefs", true),
        0xf2f5_2010 => ("f2fs", true),
        0x0102_1994 => ("tmpfs", false),
        0x8584_58f6 => ("ramfs", false),
        0x794c_7630 => ("overlay", false),
        0x0000_6969 => ("nfs", false),
        0x6573_5546 => ("fuse", false),
        0x0102_1997 => ("9p", false),
        0xff53_4d42 => ("cifs", false),
        0xfe53_4d42 => ("smb2", false),
        other => return Ok((format!("unknown ({other:#x})"), false)),
    };
    Ok((name.to_owned(), copy_on_write))
}

/// Repeats calls that a signal interrupted before they did anything.
fn retry<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

fn failed(path: &str, operation: &'static str, errno: Errno) -> DiskError {
    let path = if path.is_empty() {
        ".".to_owned()
    } else {
        path.to_owned()
    };
    match errno {
        Errno::NOENT => DiskError::NotFound { path },
        Errno::EXIST => DiskError::AlreadyExists { path },
        Errno::NOSPC | Errno::DQUOT => DiskError::Full { path },
        Errno::ACCESS | Errno::PERM | Errno::ROFS => DiskError::Denied {
            path,
            reason: format!("{operation}: {errno}"),
        },
        _ => DiskError::Io {
            path,
            operation,
            reason: errno.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk_without_direct() -> (RealDisk, tempfile::TempDir) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let disk = RealDisk::open(directory.path()).expect("open");
        *disk.direct.lock().expect("lock") = Some(false);
        (disk, directory)
    }

    #[test]
    fn where_direct_writes_are_refused_durable_ones_are_buffered_and_synced() {
        let (disk, _guard) = disk_without_direct();
        let traits = disk.probe().expect("probe");
        assert!(!traits.direct);
        disk.open("wal", OpenMode::CreateNew)
            .expect("create")
            .zero_fill(8192)
            .expect("fill");
        let file = disk.open("wal", OpenMode::Durable).expect("open");
        let mut block = AlignedBuf::zeroed(4096);
        block.fill(7);
        file.write_durable(&block, 4096).expect("write");
        let mut bytes = [0; 100];
        assert_eq!(file.read_at(&mut bytes, 4090).expect("read"), 100);
        assert_eq!(bytes[..6], [0; 6]);
        assert_eq!(bytes[6..], [7; 94]);
        assert!(matches!(
            file.write_at(b"x", 0),
            Err(DiskError::Denied { .. })
        ));
    }

    #[test]
    fn a_data_directory_that_is_a_file_or_below_one_is_refused() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let file = directory.path().join("file");
        std::os::unix::fs::symlink("/dev/null", &file).expect("symlink");
        assert!(matches!(RealDisk::open(&file), Err(DiskError::Io { .. })));
        assert!(matches!(
            RealDisk::open(&file.join("data")),
            Err(DiskError::Io { .. })
        ));
    }

    #[test]
    fn a_data_directory_that_cannot_be_written_is_denied() {
        // Root may write anywhere but on a read-only filesystem; /proc and /sys refuse it too.
        let outcome = RealDisk::open(Path::new("/proc/self/no-such-data"));
        assert!(outcome.is_err());
    }

    #[test]
    fn errors_of_the_system_are_told_apart() {
        let of = |errno| failed("a", "write_at", errno);
        assert!(of(Errno::NOSPC).is_full() && of(Errno::DQUOT).is_full());
        assert!(of(Errno::NOENT).is_not_found());
        assert!(matches!(of(Errno::ROFS), DiskError::Denied { .. }));
        assert!(matches!(of(Errno::ACCESS), DiskError::Denied { .. }));
        assert!(matches!(
            of(Errno::IO),
            DiskError::Io {
                operation: "write_at",
                ..
            }
        ));
        let message = of(Errno::IO).to_string();
        assert!(message.starts_with("a: write_at: "), "{message}");
    }

    #[test]
    fn a_lock_is_seen_by_another_opening_of_the_directory() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (one, two) = (
            RealDisk::open(directory.path()),
            RealDisk::open(directory.path()),
        );
        let (one, two) = (one.expect("open"), two.expect("open"));
        let held = one.lock("lock").expect("lock");
        assert!(matches!(two.lock("lock"), Err(DiskError::Locked { .. })));
        drop(held);
        two.lock("lock").expect("released");
    }
}
