//! From dormant to in use and back: the tail state of a partition is read at its first touch and
//! written by checkpoints.
//!
//! A node may hold tens of thousands of partitions of which few are used: a dormant one owns no
//! index, no producers and no file. What its first touch needs lies in the manifest's files; where
//! that is damaged, the same state comes from the last footer and a scan of the active segment
//! (storage.md 2.4), which costs time, never data.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use stdx::Writer;
use wire::ids::{LeaderEpoch, Offset};

use crate::epochs::Epochs;
use crate::errors::{LogError, ReadError};
use crate::ids::Lsn;
use crate::manifest::{PartitionEntry, PartitionRecord, SegmentRecord};
use crate::partition::{Capture, Live, Mark, Partition, State};
use crate::producers::Producers;
use crate::segment::{
    ActiveHead, ActiveParts, SealedParts, SealedSegment, Tally, read_footer, scan_batches,
};
use crate::settings::LogSettings;
use crate::tail_state::TailState;

impl State {
    /// What the manifest knows, dormant.
    pub fn from_manifest(entry: &PartitionEntry, settings: Arc<LogSettings>) -> State {
        let record = &entry.record;
        let end = Mark {
            offset: record.end.0,
            segment: record.active_base.0,
            position: u64::from(record.active_bytes),
        };
        State {
            log_start: record.log_start.0,
            end,
            gathered: end,
            completed: end,
            high_watermark: record.end.0,
            sealed: entry
                .segments
                .iter()
                .map(|record| SealedSegment::new(*record))
                .collect(),
            active: ActiveHead {
                base: record.active_base.0,
                revision: record.active_revision,
                since_ms: record.active_since_ms,
                max_timestamp: record.active_max_timestamp_ms,
                last_epoch: record.last_epoch.0,
            },
            last_epoch: record.last_epoch.0,
            suspect: record.flags & PartitionRecord::SUSPECT != 0,
            ..State::new(settings, record.log_start.0)
        }
    }

    /// The live part, read in if the partition is dormant.
    pub fn touch(&mut self, partition: &Partition) -> Result<&mut Live, LogError> {
        if self.gone {
            return Err(LogError::Closed);
        }
        self.touched = true;
        if self.live.is_none() {
            let mut live = self.materialise(partition).map_err(|error| match error {
                ReadError::Disk(error) => LogError::Disk(error),
                other => LogError::Corrupt(other.to_string()),
            })?;
            // The epoch we lead in is in the log from its first batch on; until then it is here.
            if self.leader_epoch > live.epochs.latest().map_or(-1, |latest| latest.epoch.0) {
                let end = Offset(self.end.offset);
                live.epochs.assign(LeaderEpoch(self.leader_epoch), end);
            }
            self.live = Some(Box::new(live));
            partition.shared.in_use.fetch_add(1, Ordering::Relaxed);
        }
        match self.live.as_deref_mut() {
            Some(live) => Ok(live),
            None => unreachable!("put in just now"),
        }
    }

    /// Forgets the live part if the manifest has all of it and nobody waits; whether it did. Not
    /// beside a checkpoint. One with an open transaction stays: its last stable offset is known to
    /// the live part alone.
    pub fn go_dormant(&mut self) -> bool {
        let idle = self.live.as_ref().is_some_and(|live| {
            live.cut_away.is_empty()
                && live.trimmed.is_empty()
                && live.producers.first_open().is_none()
                && live.waiters.iter().all(|waiter| waiter.strong_count() == 0)
        });
        let rests = idle && !self.gone && !self.dirty && !self.broken && self.completed == self.end;
        if rests {
            self.live = None;
        }
        for segment in &mut self.sealed {
            if segment.footer.is_none() {
                segment.index = None;
            }
        }
        rests
    }

    fn materialise(&mut self, partition: &Partition) -> Result<Live, ReadError> {
        let mut live = Live::new(self.log_start, self.active.base);
        live.producers
            .advance(Offset(self.end.offset.min(self.active.base)));
        if let Some((bytes, crc)) = partition.shared.read_tail(partition.id())? {
            match TailState::decode(&bytes, crc, Lsn::ZERO) {
                Ok(tail) if self.agrees(&tail) => {
                    self.active.since_ms = tail.facts.since_ms;
                    self.active.max_timestamp = tail.facts.max_timestamp_ms;
                    self.active.last_epoch = tail.facts.last_epoch.0;
                    live.parts = ActiveParts {
                        index: tail.index,
                        times: tail.append_times,
                        aborted: tail.aborted,
                    };
                    live.producers = tail.producers;
                    live.epochs = tail.epochs;
                    return Ok(live);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(partition = %partition.key(), %error, "tail state damaged: scanning the active segment");
                }
            }
        } else if self.end.position == 0 && self.sealed.is_empty() {
            live.producers.advance(Offset(self.end.offset));
            return Ok(live);
        }
        self.scan_active(partition, &mut live)?;
        Ok(live)
    }

    fn agrees(&self, tail: &TailState) -> bool {
        tail.facts.base.0 == self.active.base
            && tail.facts.end.0 == self.end.offset
            && tail.facts.data_bytes == self.end.position
    }

    /// Rebuilds index, epochs and producers from the last footers and the active segment.
    pub fn scan_active(&mut self, partition: &Partition, live: &mut Live) -> Result<(), ReadError> {
        live.parts = ActiveParts::new(self.active.base);
        live.epochs = self.sealed_epochs();
        live.producers = match self.sealed.last() {
            Some(last) => read_sealed(partition, last)?.map_or_else(
                || Producers::new(Offset(last.end())),
                |sealed| sealed.producers,
            ),
            None => Producers::new(Offset(self.log_start)),
        };
        live.producers.advance(Offset(self.active.base));
        let (since_ms, end) = (self.active.since_ms, self.end);
        if end.position > 0 {
            let file = partition.shared.open_segment(
                partition.id(),
                self.active.base,
                self.active.revision,
            )?;
            let mut tally = Tally {
                head: &mut self.active,
                parts: &mut live.parts,
                producers: &mut live.producers,
                epochs: &mut live.epochs,
            };
            let (to, end) = (end.position, Offset(end.offset));
            scan_batches(&*file, 0, to, end, |head, position, bytes| {
                tally.add(head, position, bytes, Lsn::ZERO, since_ms.max(0))?;
                Ok(true)
            })?;
            self.active.since_ms = since_ms;
        }
        live.producers.advance(Offset(end.offset));
        Ok(())
    }

    /// Epochs of the sealed segments, as far as the manifest tells: one entry per segment whose
    /// last epoch is new. The exact starts are in the tail state; this is the fallback.
    fn sealed_epochs(&self) -> Epochs {
        let mut epochs = Epochs::new();
        for segment in &self.sealed {
            let epoch = segment.record.last_epoch;
            if epoch.0 >= 0 && epochs.latest().is_none_or(|latest| latest.epoch < epoch) {
                epochs.assign(epoch, segment.record.base);
            }
        }
        epochs
    }

    /// The partition as it is now, for a checkpoint.
    pub fn make_capture(&self, partition: &Partition) -> Capture {
        let mut out = Writer::new();
        let mut tail_crc = 0;
        let mut tail_kept = true;
        let record = PartitionRecord {
            key: partition.key(),
            id: partition.id(),
            flags: if self.suspect {
                PartitionRecord::SUSPECT
            } else {
                0
            },
            log_start: Offset(self.log_start),
            end: Offset(self.end.offset),
            high_watermark: Offset(self.high_watermark),
            active_base: Offset(self.active.base),
            active_bytes: self.end.position as u32,
            active_revision: self.active.revision,
            last_epoch: LeaderEpoch(self.last_epoch),
            active_max_timestamp_ms: self.active.max_timestamp,
            active_since_ms: self.active.since_ms,
            tail: None,
        };
        if let Some(live) = &self.live {
            tail_kept = false;
            let empty = live.parts.index.is_empty()
                && live.epochs.is_empty()
                && live.producers.is_empty()
                && self.sealed.is_empty();
            if !empty {
                let tail = TailState {
                    facts: self.active.facts(
                        partition.key(),
                        partition.id(),
                        self.end.offset,
                        self.end.position,
                    ),
                    index: live.parts.index.clone(),
                    append_times: live.parts.times.clone(),
                    aborted: live.parts.aborted.clone(),
                    producers: live.producers.clone(),
                    epochs: live.epochs.clone(),
                };
                tail_crc = tail.encode(&mut out);
            }
        }
        Capture {
            record,
            sealed: self.sealed.iter().map(|segment| segment.record).collect(),
            tail: out.into_bytes(),
            tail_crc,
            tail_kept,
        }
    }
}

/// A sealed segment's footer; where it is damaged, what a scan of its data gives instead.
pub(crate) fn read_sealed(
    partition: &Partition,
    segment: &SealedSegment,
) -> Result<Option<SealedParts>, ReadError> {
    let record = &segment.record;
    let file = partition
        .shared
        .open_segment(partition.id(), record.base.0, record.revision)?;
    if let Some(parts) = read_footer(&*file, record)? {
        return Ok(Some(parts));
    }
    tracing::warn!(partition = %partition.key(), base = %record.base, "footer damaged: scanning the segment");
    Ok(None)
}

/// Rebuilds what a footer would say about a segment's own data, up to `bytes`.
pub(crate) fn scan_sealed(
    partition: &Partition,
    record: &SegmentRecord,
    bytes: u64,
    producers: &mut Producers,
) -> Result<(ActiveHead, ActiveParts), ReadError> {
    let (base, revision) = (record.base.0, record.revision);
    let file = partition
        .shared
        .open_segment(partition.id(), base, revision)?;
    let mut head = ActiveHead {
        revision,
        ..ActiveHead::new(base)
    };
    let mut parts = ActiveParts::new(base);
    let mut epochs = Epochs::new();
    producers.advance(Offset(base));
    let mut tally = Tally {
        head: &mut head,
        parts: &mut parts,
        producers,
        epochs: &mut epochs,
    };
    scan_batches(&*file, 0, bytes, record.end, |batch, position, bytes| {
        let now_ms = batch.max_timestamp.max(0);
        tally.add(batch, position, bytes, Lsn::ZERO, now_ms)?;
        Ok(true)
    })?;
    Ok((head, parts))
}
