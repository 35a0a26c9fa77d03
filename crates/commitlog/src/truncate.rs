//! Taking back and taking away: truncation at the end, trimming at the start, deletion, and the
//! replay of all of it.
//!
//! A truncation is a record in the log, flushed before any file is cut (rule R7): cutting first
//! could lose what an earlier checkpoint had already moved out of the log. It is rare, so it reads
//! under the partition's lock; appends wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use wire::ids::Offset;

use crate::batch_head::BatchHead;
use crate::block::{RECORD_HEADER_BYTES, Record, RecordHeader, RecordKind, unpack_append_time};
use crate::errors::{LogError, ReadError};
use crate::ids::Lsn;
use crate::partition::{Live, Mark, Partition, State};
use crate::producers::{Cut, Producers};
use crate::reader::{Chunk, Walk};
use crate::segment::{SealedSegment, Tally, scan_batches};
use crate::staging::{Effect, PartKind};
use crate::tail::{read_sealed, scan_sealed};

impl Partition {
    /// Cuts the log so that it ends at `to` (rule R7): epochs, producers and index are cut at the
    /// same point. A batch that `to` lies inside goes as a whole. The cut is sure when the returned
    /// LSN is durable. Blocks for a flush or two.
    pub fn truncate(self: &Arc<Partition>, to: Offset) -> Result<Lsn, LogError> {
        loop {
            let last = self.state().last_lsn;
            self.shared.wait_durable(last)?;
            let mut state = self.state();
            if state.last_lsn != last {
                continue;
            }
            if state.swapping {
                // Compaction writes the manifest: which files are cut is known when it is done.
                drop(state);
                drop(crate::lock(&self.shared.checkpointer));
                continue;
            }
            if to.0 >= state.end.offset {
                return Ok(Lsn(state.last_lsn));
            }
            if to.0 < state.log_start {
                return Err(LogError::OutOfRange {
                    offset: to,
                    log_start: Offset(state.log_start),
                    end: Offset(state.end.offset),
                });
            }
            // A cut looks at the files for where it falls, and they may lack what the log has.
            if state.broken {
                drop(state);
                self.shared.checkpoint()?;
                continue;
            }
            // Recovery reads below a cut what lay there when it was made: a second cut before the
            // first is in the manifest could have changed that.
            if state.truncated_lsn >= crate::read_lock(&self.shared.meta).manifest.replay_from.0 {
                drop(state);
                self.shared.checkpoint()?;
                continue;
            }
            state.touch(self)?;
            let lsn = self.log_cut(&mut state, to.0)?;
            drop(state);
            self.shared.wake_writer();
            return Ok(Lsn(lsn));
        }
    }

    fn log_cut(self: &Arc<Partition>, state: &mut State, to: i64) -> Result<u64, LogError> {
        // A checkpoint period may end while the cut reads: its checkpoint must see the state from
        // before.
        state.enter(self, &mut self.shared.staging.lock());
        let period = state.period;
        let before = state.make_capture(self);
        let position = state.cut(self, to, None).map_err(as_log_error)?;
        let body = state.active.base.to_le_bytes();
        let header = RecordHeader {
            kind: RecordKind::Truncate,
            leader_epoch: state.last_epoch,
            partition: self.id().0,
            base_offset: to,
            position,
            length: body.len() as u32,
            append_time: 0,
        };
        let effect = Effect {
            kind: PartKind::Truncate { position },
            segment: state.active.base,
            end: to,
            end_position: position,
            incarnation: state.incarnation,
        };
        let mut staging = self.shared.staging.lock();
        staging.force_room(RECORD_HEADER_BYTES + body.len());
        if staging.period() != period {
            state.capture = Some(Box::new(before));
            state.period = staging.period();
            staging.note_dirty(self);
        }
        let Some(live) = state.live.as_mut() else {
            return Err(LogError::Closed);
        };
        let (lsn, _) = staging.push(self, &mut live.hint, &header, &body, effect);
        state.last_lsn = lsn;
        state.truncated_lsn = lsn;
        Ok(lsn)
    }

    /// Moves the start of the log up to `to` (DeleteRecords, retention): whole segments below it
    /// are removed once the returned LSN is durable, the rest cannot be read any more.
    pub fn advance_log_start(self: &Arc<Partition>, to: Offset) -> Result<Lsn, LogError> {
        let mut state = self.state();
        if to.0 <= state.log_start {
            return Ok(Lsn(state.last_lsn));
        }
        if to.0 > state.high_watermark {
            return Err(LogError::OutOfRange {
                offset: to,
                log_start: Offset(state.log_start),
                end: Offset(state.high_watermark),
            });
        }
        state.touch(self)?;
        let header = RecordHeader {
            kind: RecordKind::Trim,
            leader_epoch: state.last_epoch,
            partition: self.id().0,
            base_offset: to.0,
            position: 0,
            length: 0,
            append_time: 0,
        };
        let lsn = state.log_control(
            self,
            &header,
            &[],
            |state| state.trim(to.0),
            PartKind::Nothing,
        )?;
        if let Some(live) = state.live.as_mut() {
            for (trimmed, _, _) in live.trimmed.iter_mut().filter(|(lsn, _, _)| *lsn == 0) {
                *trimmed = lsn;
            }
        }
        drop(state);
        self.shared.wake_writer();
        Ok(Lsn(lsn))
    }

    /// Logs the end of the partition; its files go when that is durable.
    pub(crate) fn delete(self: &Arc<Partition>) -> Result<Lsn, LogError> {
        let mut state = self.state();
        let header = RecordHeader {
            kind: RecordKind::Delete,
            leader_epoch: -1,
            partition: self.id().0,
            base_offset: 0,
            position: 0,
            length: 0,
            append_time: 0,
        };
        let lsn = state.log_control(self, &header, &[], |_| {}, PartKind::Nothing)?;
        state.mark_deleted(self, lsn);
        let waiters = state.take_waiters();
        drop(state);
        crate::partition::wake(waiters);
        self.shared.wake_writer();
        Ok(Lsn(lsn))
    }
}

pub(crate) fn as_log_error(error: ReadError) -> LogError {
    match error {
        ReadError::Disk(error) => LogError::Disk(error),
        ReadError::Closed => LogError::Closed,
        other => LogError::Corrupt(other.to_string()),
    }
}

impl State {
    /// Every file is to go with the given LSN.
    pub fn mark_deleted(&mut self, partition: &Partition, lsn: u64) {
        self.gone = true;
        if self.live.is_some() {
            partition.shared.in_use.fetch_sub(1, Ordering::Relaxed);
        }
        let files: Vec<_> = self
            .sealed
            .drain(..)
            .map(|segment| (lsn, segment.record.base.0, segment.record.revision))
            .chain([(lsn, self.active.base, self.active.revision)])
            .collect();
        // A dormant one is not read in for that.
        let (start, base) = (self.log_start, self.active.base);
        self.live
            .get_or_insert_with(|| Box::new(Live::new(start, base)))
            .trimmed
            .extend(files);
    }

    /// Moves the log start; files of whole segments below it are noted with LSN 0.
    pub fn trim(&mut self, to: i64) {
        self.log_start = self.log_start.max(to);
        self.high_watermark = self.high_watermark.max(self.log_start);
        let gone = self.sealed.partition_point(|segment| segment.end() <= to);
        let files: Vec<_> = self
            .sealed
            .drain(..gone)
            .map(|segment| (0, segment.record.base.0, segment.record.revision))
            .collect();
        if let Some(live) = self.live.as_mut() {
            live.trimmed.extend(files);
            live.epochs.truncate_from_start(Offset(to));
            live.producers
                .advance_log_start(Offset(to.min(self.end.offset)));
        }
    }

    /// Cuts everything known to end at `to`; returns where the data of the then active segment
    /// ends. `known` is that position, if the log says it.
    ///
    /// A cut that fails half-way, because a file cannot be read, is none: the log does not have it
    /// either, and what is appended next follows the old end.
    pub fn cut(
        &mut self,
        partition: &Partition,
        to: i64,
        known: Option<(i64, u64)>,
    ) -> Result<u64, ReadError> {
        let (sealed, live) = (self.sealed.clone(), self.live.clone());
        let (active, end, last_epoch) = (self.active, self.end, self.last_epoch);
        let cut = self.cut_all(partition, to, known);
        if cut.is_err() {
            (self.sealed, self.live) = (sealed, live);
            (self.active, self.end, self.last_epoch) = (active, end, last_epoch);
        }
        cut
    }

    fn cut_all(
        &mut self,
        partition: &Partition,
        to: i64,
        known: Option<(i64, u64)>,
    ) -> Result<u64, ReadError> {
        if to < self.active.base {
            self.unseal(partition, to, known)?;
        }
        let position = match known {
            Some((base, position)) if base == self.active.base => position,
            _ => self.cut_position(partition, to)?,
        };
        let position = position.min(self.end.position);
        let Some(mut live) = self.live.take() else {
            return Err(ReadError::Closed);
        };
        self.cut_live(partition, &mut live, to, position)?;
        self.live = Some(live);
        let mark = Mark {
            offset: to,
            segment: self.active.base,
            position,
        };
        self.end = mark;
        self.gathered = self.gathered.min(mark);
        self.completed = self.completed.min(mark);
        self.high_watermark = self.high_watermark.min(to);
        self.incarnation += 1;
        Ok(position)
    }

    /// Where the first batch begins that reaches to or beyond `to`.
    fn cut_position(&self, partition: &Partition, to: i64) -> Result<u64, ReadError> {
        let from = match &self.live {
            Some(live) => live
                .parts
                .index
                .find_offset(Offset(to))
                .map_or(0, |range| range.position),
            None => 0,
        };
        if self.end.position == 0 {
            return Ok(0);
        }
        let file = self.open_active(partition)?;
        let mut walk = Walk {
            file: &*file,
            at: u64::from(from),
            end: self.end.position,
            chunk: Chunk::new(),
        };
        loop {
            let at = walk.at;
            match walk.next(Offset(to))? {
                Some(head) if head.end() <= to => {}
                _ => return Ok(at),
            }
        }
    }

    fn open_active(&self, partition: &Partition) -> Result<Arc<dyn world::File>, ReadError> {
        Ok(partition
            .shared
            .open_segment(partition.id(), self.active.base, self.active.revision)?)
    }

    fn cut_live(
        &mut self,
        partition: &Partition,
        live: &mut Live,
        to: i64,
        position: u64,
    ) -> Result<(), ReadError> {
        let from = u64::from(live.parts.index.truncate_to(position as u32));
        live.parts.times.truncate_to(Offset(to));
        live.parts.aborted.truncate_to(Offset(to));
        live.epochs.truncate_from_end(Offset(to));
        live.read_hint = Mark {
            offset: -1,
            segment: -1,
            position: 0,
        };
        self.last_epoch = live.epochs.latest().map_or(-1, |latest| latest.epoch.0);
        self.active.last_epoch = self.last_epoch;
        self.active.max_timestamp = -1;
        let rebuild = matches!(live.producers.truncate_to(Offset(to)), Cut::Rebuild);
        if rebuild {
            live.producers = match self.sealed.last() {
                Some(last) => read_sealed(partition, last)?.map_or_else(
                    || Producers::new(Offset(last.end())),
                    |sealed| sealed.producers,
                ),
                None => Producers::new(Offset(self.log_start.min(self.active.base))),
            };
            live.producers.advance(Offset(self.active.base));
        }
        let start = if rebuild { 0 } else { from };
        if position > 0 {
            let file = self.open_active(partition)?;
            let since_ms = self.active.since_ms;
            // Ranges that stayed whole know their highest timestamps.
            let kept = live
                .parts
                .index
                .ranges()
                .map(|range| range.max_timestamp_ms)
                .max();
            self.active.max_timestamp = kept.unwrap_or(-1);
            let mut tally = Tally {
                head: &mut self.active,
                parts: &mut live.parts,
                producers: &mut live.producers,
                epochs: &mut live.epochs,
            };
            scan_batches(&*file, start, position, Offset(to), |head, at, bytes| {
                if at >= from {
                    tally.index(head, at, bytes, since_ms)?;
                }
                if rebuild {
                    tally.account(head, Lsn::ZERO, since_ms.max(0));
                }
                Ok(true)
            })?;
            self.active.since_ms = since_ms;
        } else {
            self.active.since_ms = -1;
        }
        live.producers.advance(Offset(to));
        Ok(())
    }

    /// Makes the segment that holds `to` the active one again; those above it are cut away.
    fn unseal(
        &mut self,
        partition: &Partition,
        to: i64,
        known: Option<(i64, u64)>,
    ) -> Result<(), ReadError> {
        let at = self
            .sealed
            .partition_point(|segment| segment.base() <= to)
            .saturating_sub(1);
        let mut above = self.sealed.split_off(at);
        let target = above.remove(0);
        let record = target.record;
        let mut before = match self.sealed.last() {
            Some(last) => read_sealed(partition, last)?.map(|sealed| sealed.producers),
            None => None,
        }
        .unwrap_or_else(|| Producers::new(Offset(record.base.0.min(self.log_start))));
        let (head, parts) = match read_sealed(partition, &target)? {
            Some(sealed) => (sealed.head, sealed.parts),
            // A crash may have come between cutting the footer off and the next checkpoint: index
            // what is there up to the cut. Behind it may be what was appended since.
            None => {
                let file = partition.shared.open_segment(
                    partition.id(),
                    record.base.0,
                    record.revision,
                )?;
                let cut = known.filter(|(base, _)| *base == record.base.0);
                let limit = cut.map_or(u64::MAX, |(_, position)| position);
                let whole = whole_batches(&*file, record.data_bytes.min(limit))?;
                scan_sealed(partition, &record, whole, &mut before)?
            }
        };
        let removed = above
            .iter()
            .map(|segment| (segment.record.base.0, segment.record.revision))
            .chain([(self.active.base, self.active.revision)]);
        let position = u64::from(parts.index.end_position());
        if let Some(live) = self.live.as_mut() {
            live.cut_away.extend(removed);
            live.parts = parts;
        }
        self.active = head;
        self.end = Mark {
            offset: record.end.0,
            segment: record.base.0,
            position,
        };
        Ok(())
    }

    /// Applies a record of the log again, at recovery; what is to be gathered for it.
    pub fn replay(
        &mut self,
        partition: &Arc<Partition>,
        record: &Record<'_>,
        lsn: u64,
    ) -> Result<Effect, ReadError> {
        if record.header.kind.needs_segments() {
            self.touch(partition).map_err(|error| ReadError::Corrupt {
                offset: Offset(record.header.base_offset),
                reason: error.to_string(),
            })?;
        }
        self.last_lsn = lsn;
        let corrupt = |reason: &str| ReadError::Corrupt {
            offset: Offset(record.header.base_offset),
            reason: format!("log record of partition {}: {reason}", partition.id()),
        };
        let header = &record.header;
        let mut kind = PartKind::Nothing;
        match header.kind {
            RecordKind::Batch => {
                let head = BatchHead::parse(record.body)
                    .filter(|head| head.bytes as usize == record.body.len())
                    .ok_or_else(|| corrupt("no batch"))?;
                let follows = head.base_offset >= self.end.offset
                    && head.base_offset == header.base_offset
                    && header.position == self.end.position;
                if !follows {
                    return Err(corrupt("the batch does not follow the log's end"));
                }
                let Some(live) = self.live.as_mut() else {
                    return Err(ReadError::Closed);
                };
                let now_ms = unpack_append_time(header.append_time);
                Tally {
                    head: &mut self.active,
                    parts: &mut live.parts,
                    producers: &mut live.producers,
                    epochs: &mut live.epochs,
                }
                .add(&head, header.position, record.body, Lsn(lsn), now_ms)?;
                kind = PartKind::Bytes {
                    from: 0,
                    length: 0,
                    position: header.position,
                };
                self.end = Mark {
                    offset: head.end(),
                    segment: self.active.base,
                    position: header.position + u64::from(head.bytes),
                };
                self.last_epoch = self.last_epoch.max(head.leader_epoch);
            }
            RecordKind::Roll => {
                if header.base_offset != self.end.offset || header.position != self.end.position {
                    return Err(corrupt("the roll is not at the log's end"));
                }
                kind = PartKind::Seal {
                    base: self.active.base,
                    position: header.position,
                };
                self.roll_over(partition);
            }
            RecordKind::Truncate => {
                let base = record
                    .body
                    .first_chunk()
                    .map(|base| i64::from_le_bytes(*base));
                let base = base.ok_or_else(|| corrupt("a truncation without a segment"))?;
                if !(self.log_start..=self.end.offset).contains(&header.base_offset) {
                    return Err(corrupt("a truncation outside the log"));
                }
                self.cut(partition, header.base_offset, Some((base, header.position)))?;
                self.truncated_lsn = lsn;
                kind = PartKind::Truncate {
                    position: self.end.position,
                };
            }
            RecordKind::Trim => {
                if header.base_offset > self.end.offset {
                    return Err(corrupt("a trim beyond the log's end"));
                }
                self.trim(header.base_offset);
                if let Some(live) = self.live.as_mut() {
                    for (trimmed, _, _) in &mut live.trimmed {
                        *trimmed = lsn;
                    }
                }
            }
            RecordKind::Delete => self.mark_deleted(partition, lsn),
            RecordKind::Create => {}
        }
        Ok(Effect {
            kind,
            segment: self.end.segment,
            end: self.end.offset,
            end_position: self.end.position,
            incarnation: self.incarnation,
        })
    }

    /// Ends the active segment at the log's end, footer and all.
    pub fn roll_over(&mut self, partition: &Partition) {
        let (facts, parts) = *self.begin_segment(partition);
        if let Some(live) = self.live.as_ref() {
            self.sealed.push(SealedSegment::seal(
                &facts,
                parts,
                &live.producers,
                &live.epochs,
            ));
        }
    }
}

/// Bytes of whole batches at the front of a file, `limit` at most.
fn whole_batches(file: &dyn world::File, limit: u64) -> Result<u64, ReadError> {
    let mut walk = Walk {
        file,
        at: 0,
        end: limit.min(file.len()?),
        chunk: Chunk::new(),
    };
    loop {
        let at = walk.at;
        match walk.next(Offset::NONE) {
            Ok(Some(_)) => {}
            Ok(None) | Err(ReadError::Corrupt { .. }) => return Ok(at),
            Err(error) => return Err(error),
        }
    }
}
