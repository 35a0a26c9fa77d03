//! What can be made to go wrong on a simulated disk, where, how often.

use crate::disk::DiskError;

/// The calls of the disk seam that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Opening an existing file.
    Open,
    /// Creating a file.
    Create,
    /// Creating directories.
    CreateDir,
    /// Renaming.
    Rename,
    /// Removing a file.
    Unlink,
    /// Listing a directory.
    List,
    /// Syncing a directory's names.
    SyncDir,
    /// Syncing the filesystem.
    SyncFs,
    /// Reading.
    ReadAt,
    /// Writing to the page cache, gathered or not.
    WriteAt,
    /// Writing durably.
    WriteDurable,
    /// Waiting for write-back.
    AwaitWriteback,
    /// Syncing a file.
    SyncData,
    /// Changing a file's length.
    Truncate,
    /// Filling a file with zeros.
    ZeroFill,
}

impl Operation {
    /// Whether it changes what a power cut leaves: these are counted, and can be stopped at.
    pub fn changes(self) -> bool {
        !matches!(
            self,
            Operation::Open | Operation::List | Operation::ReadAt | Operation::AwaitWriteback
        )
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Operation::Open | Operation::Create => "open",
            Operation::CreateDir => "create_dir",
            Operation::Rename => "rename",
            Operation::Unlink => "unlink",
            Operation::List => "list",
            Operation::SyncDir => "sync_dir",
            Operation::SyncFs => "sync_fs",
            Operation::ReadAt => "read_at",
            Operation::WriteAt => "write_at",
            Operation::WriteDurable => "write_durable",
            Operation::AwaitWriteback => "await_writeback",
            Operation::SyncData => "sync_data",
            Operation::Truncate => "truncate",
            Operation::ZeroFill => "zero_fill",
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// EIO. A failed durable write leaves any subset of its sectors; a failed sync leaves any
    /// subset of the unsynced ones and marks all clean; other calls do nothing.
    Io,
    /// ENOSPC, whatever the capacity.
    Full,
    /// A filesystem that became read-only.
    Denied,
    /// Success is reported, and the bytes are nowhere: the disk lied. Durable writes and syncs.
    Lost,
    /// Success is reported, and the bytes are in the wrong place. Durable writes and file syncs.
    Misdirected,
    /// One bit is wrong: in what was stored (durable writes) or in what was read.
    BitFlip,
}

impl Fault {
    /// The error it shows up as, if it shows.
    pub(super) fn error(self, operation: Operation, path: &str) -> Option<DiskError> {
        let path = if path.is_empty() {
            ".".to_owned()
        } else {
            path.to_owned()
        };
        let operation = operation.name();
        match self {
            Fault::Io => Some(DiskError::Io {
                path,
                operation,
                reason: "simulated I/O error".to_owned(),
            }),
            Fault::Full => Some(DiskError::Full { path }),
            Fault::Denied => Some(DiskError::Denied {
                path,
                reason: format!("{operation}: simulated read-only filesystem"),
            }),
            Fault::Lost | Fault::Misdirected | Fault::BitFlip => None,
        }
    }
}

/// A fault and when it strikes: once at the next call, unless told otherwise.
#[derive(Clone, Debug)]
pub struct Injection {
    operation: Operation,
    fault: Fault,
    path: Option<String>,
    skip: u64,
    times: u64,
    probability: f64,
}

impl Injection {
    /// The next call of this operation meets this fault.
    pub fn on(operation: Operation, fault: Fault) -> Injection {
        Injection {
            operation,
            fault,
            path: None,
            skip: 0,
            times: 1,
            probability: 1.0,
        }
    }

    /// Only on paths that contain this.
    pub fn path(mut self, part: &str) -> Injection {
        self.path = Some(part.to_owned());
        self
    }

    /// Lets this many calls through first.
    pub fn skip(mut self, calls: u64) -> Injection {
        self.skip = calls;
        self
    }

    /// Strikes this many times.
    pub fn times(mut self, times: u64) -> Injection {
        self.times = times;
        self
    }

    /// Strikes until [`heal`](super::SimDisk::heal) is called.
    pub fn always(self) -> Injection {
        self.times(u64::MAX)
    }

    /// Strikes each call with this probability, drawn from the disk's seed.
    pub fn chance(mut self, probability: f64) -> Injection {
        self.probability = probability;
        self
    }

    /// Whether it strikes this call.
    pub(super) fn strikes(
        &mut self,
        operation: Operation,
        path: &str,
        rng: &mut crate::sim::Rng,
    ) -> Option<Fault> {
        let meant = self.operation == operation
            && self.times > 0
            && self.path.as_deref().is_none_or(|part| path.contains(part));
        if !meant || (self.probability < 1.0 && !rng.chance(self.probability)) {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times = self.times.saturating_sub(u64::from(self.times != u64::MAX));
        Some(self.fault)
    }
}
