//! One open file of a simulated disk.

use std::io::IoSlice;
use std::sync::{Arc, MutexGuard};

use super::{Fault, Operation, SimDisk, State, Verdict, power_cut};
use crate::disk::{Advice, DURABLE_ALIGN, DiskError, DiskResult, File, OpenMode, assert_aligned};

pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) node: u64,
    pub(super) path: String,
    pub(super) mode: OpenMode,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        let node = state.node_mut(self.node);
        node.open -= 1;
        if !node.named && node.open == 0 {
            state.sweep();
        }
    }
}

impl SimFile {
    fn check_mode(&self, operation: Operation, allowed: bool) -> DiskResult<()> {
        if allowed {
            return Ok(());
        }
        Err(DiskError::Denied {
            path: self.path.clone(),
            reason: format!("{}: opened as {:?}", operation.name(), self.mode),
        })
    }

    fn is_cached(&self) -> bool {
        matches!(self.mode, OpenMode::ReadWrite | OpenMode::CreateNew)
    }

    fn full(&self) -> DiskError {
        DiskError::Full {
            path: self.path.clone(),
        }
    }

    fn begin(
        &self,
        operation: Operation,
        position: u64,
        length: u64,
    ) -> DiskResult<(MutexGuard<'_, State>, Verdict)> {
        self.disk.begin(operation, &self.path, position, length)
    }
}

impl File for SimFile {
    fn len(&self) -> DiskResult<u64> {
        let state = self.disk.state();
        if state.power_cut {
            return Err(power_cut(Operation::ReadAt, &self.path));
        }
        Ok(state.node(self.node).len())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> DiskResult<usize> {
        let operation = Operation::ReadAt;
        let (mut state, verdict) = self.begin(operation, position, buffer.len() as u64)?;
        let taken = state.node(self.node).read(buffer, position);
        if let Verdict::Strike(fault) = verdict {
            if let Some(error) = fault.error(operation, &self.path) {
                return Err(error);
            }
            if taken > 0 {
                let at = state.rng.index(taken);
                buffer[at] ^= 1 << state.rng.below(8);
            }
        }
        Ok(taken)
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> DiskResult<()> {
        let operation = Operation::WriteAt;
        self.check_mode(operation, self.is_cached())?;
        let (mut state, verdict) = self.begin(operation, position, bytes.len() as u64)?;
        if let Verdict::Strike(fault) = verdict
            && let Some(error) = fault.error(operation, &self.path)
        {
            // Some of it may be in the cache.
            let part = state.rng.index(bytes.len() + 1);
            state.node_mut(self.node).write(&bytes[..part], position);
            return Err(error);
        }
        let fits = state.room_for(self.node, position, bytes.len() as u64) as usize;
        state.node_mut(self.node).write(&bytes[..fits], position);
        state.finish(operation, &self.path)?;
        if fits < bytes.len() {
            Err(self.full())
        } else {
            Ok(())
        }
    }

    fn write_vectored_at(&self, slices: &[IoSlice<'_>], position: u64) -> DiskResult<()> {
        let mut bytes = Vec::new();
        for slice in slices {
            bytes.extend_from_slice(slice);
        }
        self.write_at(&bytes, position)
    }

    fn write_durable(&self, bytes: &[u8], position: u64) -> DiskResult<()> {
        let operation = Operation::WriteDurable;
        assert_aligned(bytes, position);
        self.check_mode(operation, self.mode == OpenMode::Durable)?;
        let (mut state, verdict) = self.begin(operation, position, bytes.len() as u64)?;
        let room = state.room_for(self.node, position, bytes.len() as u64);
        let State { nodes, rng, .. } = &mut *state;
        let node = Arc::make_mut(nodes.entry(self.node).or_default());
        match verdict {
            Verdict::Proceed if room < bytes.len() as u64 => {
                node.write_torn(&bytes[..room as usize / 512 * 512], position, rng);
                return Err(self.full());
            }
            Verdict::Proceed => node.write_durable(bytes, position),
            Verdict::PowerCut => {
                node.write(bytes, position);
                return Err(power_cut(operation, &self.path));
            }
            Verdict::Strike(Fault::Lost) => {}
            Verdict::Strike(Fault::Misdirected) => {
                let blocks = node.len().div_ceil(DURABLE_ALIGN as u64).max(1);
                let wrong = rng.below(blocks) * DURABLE_ALIGN as u64;
                let wrong = if wrong == position {
                    wrong + DURABLE_ALIGN as u64
                } else {
                    wrong
                };
                node.write_durable(bytes, wrong);
            }
            Verdict::Strike(Fault::BitFlip) => {
                let mut bytes = bytes.to_vec();
                let at = rng.index(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << rng.below(8);
                }
                node.write_durable(&bytes, position);
            }
            Verdict::Strike(fault) => {
                node.write_torn(bytes, position, rng);
                return fault.error(operation, &self.path).map_or(Ok(()), Err);
            }
        }
        Ok(())
    }

    fn start_writeback(&self, _position: u64, _length: u64) -> DiskResult<()> {
        // Promises nothing, and a power cut may keep the sectors either way.
        if self.disk.state().power_cut {
            return Err(power_cut(Operation::WriteAt, &self.path));
        }
        Ok(())
    }

    fn await_writeback(&self, position: u64, length: u64) -> DiskResult<()> {
        let operation = Operation::AwaitWriteback;
        let (mut state, verdict) = self.begin(operation, position, length)?;
        if let Verdict::Strike(fault) = verdict
            && let Some(error) = fault.error(operation, &self.path)
        {
            let State { nodes, rng, .. } = &mut *state;
            Arc::make_mut(nodes.entry(self.node).or_default()).sync_failed(rng);
            return Err(error);
        }
        Ok(())
    }

    fn sync_data(&self) -> DiskResult<()> {
        let operation = Operation::SyncData;
        let (mut state, verdict) = self.begin(operation, 0, 0)?;
        let State { nodes, rng, .. } = &mut *state;
        let node = Arc::make_mut(nodes.entry(self.node).or_default());
        match verdict {
            Verdict::Proceed => node.sync(),
            Verdict::PowerCut => return Err(power_cut(operation, &self.path)),
            Verdict::Strike(Fault::Misdirected) => node.sync_misdirected(rng),
            Verdict::Strike(fault) => {
                if let Some(error) = fault.error(operation, &self.path) {
                    node.sync_failed(rng);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> DiskResult<()> {
        let operation = Operation::Truncate;
        self.check_mode(operation, self.is_cached())?;
        let (mut state, verdict) = self.begin(operation, 0, length)?;
        if let Verdict::Strike(fault) = verdict
            && let Some(error) = fault.error(operation, &self.path)
        {
            return Err(error);
        }
        state.node_mut(self.node).truncate(length);
        state.finish(operation, &self.path)
    }

    fn zero_fill(&self, length: u64) -> DiskResult<()> {
        let operation = Operation::ZeroFill;
        self.check_mode(operation, self.is_cached())?;
        let (mut state, verdict) = self.begin(operation, 0, length)?;
        let fits = state.room_for(self.node, 0, length);
        let State { nodes, rng, .. } = &mut *state;
        let node = Arc::make_mut(nodes.entry(self.node).or_default());
        let error = match verdict {
            Verdict::PowerCut => Some(power_cut(operation, &self.path)),
            Verdict::Strike(fault) => fault.error(operation, &self.path),
            Verdict::Proceed => (fits < length).then(|| self.full()),
        };
        match error {
            None => {
                node.zero_fill(length);
                Ok(())
            }
            Some(error) => {
                node.zero_fill_torn(fits, rng);
                Err(error)
            }
        }
    }

    /// The simulated disk has no cheaper way.
    fn allocate(&self, length: u64) -> DiskResult<()> {
        self.zero_fill(length)
    }

    fn advise(&self, _position: u64, _length: u64, advice: Advice) -> DiskResult<()> {
        let mut state = self.disk.state();
        if state.power_cut {
            return Err(power_cut(Operation::ReadAt, &self.path));
        }
        if advice == Advice::DontNeed {
            state.node_mut(self.node).evict();
        }
        Ok(())
    }
}
