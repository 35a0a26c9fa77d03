//! Who makes groups durable: a trait, and its first implementation on a worker's own thread.

use std::sync::Arc;

use world::File;
use world::disk::DiskError;

use crate::Lsn;
use crate::staging::Group;

/// A group whose header is written, and where it goes.
pub struct SealedGroup {
    /// The block.
    pub group: Arc<Group>,
    /// The slot's file, opened for durable writes.
    pub file: Arc<dyn File>,
    /// Where in the slot, bytes; a multiple of the block alignment.
    pub position: u64,
}

/// The writer has as many groups in flight as it takes; the group comes back.
pub struct Busy(pub SealedGroup);

/// What became of a group.
pub enum GroupOutcome {
    /// It is on the disk.
    Durable {
        /// Number of its block.
        lsn: Lsn,
        /// How long the write took, microseconds.
        flush_us: u32,
    },
    /// It is not. The buffer comes back: it is the only good copy of these records.
    Failed {
        /// The group as submitted.
        group: SealedGroup,
        /// What the disk said.
        error: DiskError,
    },
}

/// Makes groups durable in LSN order. One per data directory. Knows no partitions.
pub trait LogWriter: Send {
    /// Takes a group.
    fn submit(&mut self, group: SealedGroup) -> Result<(), Busy>;
    /// Adds the groups that finished since the last call, in LSN order.
    fn completed(&mut self, out: &mut Vec<GroupOutcome>);
}

/// Writes on the calling thread: `submit` returns when the disk has answered.
pub struct BlockingWriter {
    clock: Arc<dyn world::Clock>,
    finished: Option<GroupOutcome>,
}

impl BlockingWriter {
    /// A writer; the clock measures its flushes.
    pub fn new(clock: Arc<dyn world::Clock>) -> BlockingWriter {
        BlockingWriter {
            clock,
            finished: None,
        }
    }
}

impl LogWriter for BlockingWriter {
    fn submit(&mut self, group: SealedGroup) -> Result<(), Busy> {
        if self.finished.is_some() {
            return Err(Busy(group));
        }
        let start = self.clock.now();
        self.finished = Some(
            match group
                .file
                .write_durable(group.group.block(), group.position)
            {
                Ok(()) => GroupOutcome::Durable {
                    lsn: Lsn(group.group.lsn),
                    flush_us: u32::try_from(self.clock.now().since(start).as_micros())
                        .unwrap_or(u32::MAX),
                },
                Err(error) => GroupOutcome::Failed { group, error },
            },
        );
        Ok(())
    }

    fn completed(&mut self, out: &mut Vec<GroupOutcome>) {
        out.extend(self.finished.take());
    }
}
