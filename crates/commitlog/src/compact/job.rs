//! One pass over one partition: a machine that does a bounded piece of work per step and holds no
//! lock over I/O.
//!
//! 1. *Look*: the aborted transactions of the segments, from their footers.
//! 2. *Map*: the dirty segments, batch by batch; the newest offset of each key.
//! 3. *Copy*: all segments from the log's first to the last one mapped, group by group, into new
//!    files, without what is superseded. Groups join small segments up to the size of one.
//! 4. *Swap*: each group's files take the place of the old ones, by one manifest record
//!    ([`crate::compact::swap`]).
//!
//! Where the keys of the first dirty segment alone do not fit into the map, that segment is cut in
//! two at the batch where it was full: what lies below is clean then, the next pass goes on behind.
//!
//! Every range read is checked against its segment's index first: rot at rest must not get a fresh
//! checksum here.
//!
//! The job knows nothing of schedules: who steps it, how fast, and who swaps is told elsewhere.

use std::ops::Range;
use std::sync::Arc;

use stdx::crc32c;
use wire::ids::Offset;
use world::disk::{Advice, DiskError};
use world::{File, OpenMode};

use crate::batch_head::BatchHead;
use crate::compact::batch::{Fate, Rules, Unreadable, sound_batch};
use crate::compact::keys::Keys;
use crate::compact::output::Output;
use crate::compact::swap::Swap;
use crate::compact::transactions::Seen;
use crate::epochs::Epochs;
use crate::ids::Lsn;
use crate::index::{AppendTimes, SparseIndex};
use crate::manifest::SegmentRecord;
use crate::partition::Partition;
use crate::producers::{EndedTransaction, Producers};
use crate::segment::{ActiveHead, ActiveParts, Tally, read_footer, segment_path};
use crate::settings::LogSettings;
use crate::store::Shared;
use crate::transactions::AbortedTransaction;

/// Bytes read in one step, about: a few milliseconds of work.
const STEP_BYTES: u64 = 1 << 20;

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The log changed under it, or it is not to be compacted any more: nothing is wrong.
    #[error("the log changed")]
    Moved,
    /// The disk refused; a later pass may do better.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log's bytes stand in the way: no pass will do better.
    #[error("{0}")]
    Damaged(String),
}

impl From<Unreadable> for Stop {
    fn from(error: Unreadable) -> Stop {
        Stop::Damaged(error.to_string())
    }
}

/// What a step did.
pub(crate) enum Step {
    /// Read and wrote this many bytes in all; there is more.
    Worked(u64),
    /// These files are ready: call [`Job::swapped`] when they are in place.
    Swap(Box<Swap>),
    /// The pass is over.
    Done,
}

/// What a pass is to do.
pub(crate) struct Plan {
    /// The log's sealed segments from the first to the last that may be compacted.
    pub segments: Vec<SegmentRecord>,
    /// The first that no pass has cleaned yet.
    pub dirty: usize,
    /// Later ones: data in the former may belong to transactions that end here.
    pub beyond: Vec<SegmentRecord>,
    /// Aborted transactions known without reading.
    pub aborted: Vec<AbortedTransaction>,
    pub incarnation: u32,
    pub settings: Arc<LogSettings>,
}

/// Counts of a pass.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tallied {
    pub read_bytes: u64,
    /// Read in order to be copied.
    pub copied_bytes: u64,
    pub written_bytes: u64,
}

enum Phase {
    Look(usize),
    Map {
        at: usize,
        source: Option<Box<Source>>,
        seen: Seen,
    },
    Copy(Box<Copying>),
    Done,
}

/// A group being copied.
struct Copying {
    group: Range<usize>,
    /// Groups behind it.
    later: Vec<Range<usize>>,
    at: usize,
    source: Option<Source>,
    seen: Seen,
    epochs: Epochs,
    /// Last offset of each producer, by producer.
    last_offsets: Vec<(i64, i64)>,
    /// The producers as of where the copy stands.
    producers: Producers,
    output: Option<Output>,
    finished: Vec<Output>,
    swapping: bool,
}

/// A pass.
pub(crate) struct Job {
    pub partition: Arc<Partition>,
    plan: Plan,
    now_ms: i64,
    keys: Keys,
    phase: Phase,
    /// Where the pass ends, inside the last segment if its keys did not fit.
    end: i64,
    split: bool,
    buffer: Vec<u8>,
    pub tallied: Tallied,
}

impl Job {
    pub fn new(shared: &Shared, partition: Arc<Partition>, plan: Plan, now_ms: i64) -> Job {
        let mut secret = [0; 16];
        shared.world.random.fill(&mut secret);
        let first = plan
            .segments
            .get(plan.dirty)
            .map_or(0, |segment| segment.base.0);
        let end = plan.segments.last().map_or(0, |segment| segment.end.0);
        // There are no more keys than offsets.
        let offsets = usize::try_from(end - first).unwrap_or(usize::MAX);
        let keys = Keys::new(secret, offsets.min(shared.config.compact_keys_max), first);
        Job {
            partition,
            plan,
            now_ms,
            keys,
            phase: Phase::Look(0),
            end,
            split: false,
            buffer: Vec::new(),
            tallied: Tallied::default(),
        }
    }

    /// Does the next piece of work. After an error: [`Job::abandon`].
    pub fn step(&mut self, shared: &Shared) -> Result<Step, Stop> {
        self.check_still_wanted()?;
        match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Look(at) => self.look(shared, at),
            Phase::Map { at, source, seen } => self.map(shared, at, source, seen),
            Phase::Copy(copying) => self.copy(shared, copying),
            Phase::Done => Ok(Step::Done),
        }
    }

    /// The files of the last [`Step::Swap`] are in place, or it is not known whether they are: they
    /// are not this pass's any more.
    pub fn swapped(&mut self) {
        if let Phase::Copy(copying) = &mut self.phase {
            copying.finished.clear();
            copying.swapping = false;
        }
    }

    /// Removes what was written and is not in place.
    pub fn abandon(&mut self, shared: &Shared) {
        if let Phase::Copy(copying) = std::mem::replace(&mut self.phase, Phase::Done) {
            for output in copying.output.into_iter().chain(copying.finished) {
                output.discard(shared, &self.partition);
            }
        }
    }

    fn check_still_wanted(&self) -> Result<(), Stop> {
        let state = self.partition.state();
        let wanted = !state.gone
            && !state.broken
            && state.incarnation == self.plan.incarnation
            && state.settings.compact;
        if wanted { Ok(()) } else { Err(Stop::Moved) }
    }

    fn look(&mut self, shared: &Shared, at: usize) -> Result<Step, Stop> {
        let segments = self.plan.segments.iter().chain(&self.plan.beyond);
        let Some(record) = segments.clone().nth(at).copied() else {
            self.phase = Phase::Map {
                at: self.plan.dirty,
                source: None,
                seen: Seen::new(self.plan.aborted.clone()),
            };
            return Ok(Step::Worked(0));
        };
        let source = Source::open(shared, &self.partition, &record)?;
        self.plan.aborted.extend(source.aborted);
        self.phase = Phase::Look(at + 1);
        Ok(Step::Worked(0))
    }

    fn map(
        &mut self,
        shared: &Shared,
        mut at: usize,
        mut source: Option<Box<Source>>,
        mut seen: Seen,
    ) -> Result<Step, Stop> {
        let mut read = 0;
        while read < STEP_BYTES {
            let Some(open) = source.as_mut() else {
                let Some(record) = self.plan.segments.get(at) else {
                    return self.begin_copy(shared, read);
                };
                source = Some(Box::new(Source::open(shared, &self.partition, record)?));
                continue;
            };
            if !open.read_range(&mut self.buffer)? {
                source = None;
                at += 1;
                continue;
            }
            read += self.buffer.len() as u64;
            let full = map_range(&self.buffer, &mut self.keys, &mut seen)?;
            if let Some(offset) = full {
                self.end_full(at, offset)?;
                return self.begin_copy(shared, read);
            }
        }
        self.tallied.read_bytes += read;
        self.phase = Phase::Map { at, source, seen };
        Ok(Step::Worked(read))
    }

    /// The map was full before the batch at `offset`, of segment `at`, was in it.
    fn end_full(&mut self, at: usize, offset: i64) -> Result<(), Stop> {
        if at > self.plan.dirty {
            self.plan.segments.truncate(at);
            self.end = self.plan.segments.last().map_or(0, |last| last.end.0);
            return Ok(());
        }
        if self
            .plan
            .segments
            .get(at)
            .is_none_or(|segment| offset <= segment.base.0)
        {
            let keys = self.keys.len();
            return Err(Stop::Damaged(format!(
                "the batch at {offset} alone has more than {keys} keys"
            )));
        }
        self.plan.segments.truncate(at + 1);
        self.end = offset;
        self.split = true;
        Ok(())
    }

    fn begin_copy(&mut self, shared: &Shared, read: u64) -> Result<Step, Stop> {
        self.tallied.read_bytes += read;
        let mut groups = group_by_size(&self.plan.segments, self.plan.settings.segment_bytes);
        groups.reverse();
        let seen = Seen::new(self.plan.aborted.clone());
        self.next_group(shared, groups, seen)?;
        Ok(Step::Worked(read))
    }

    fn next_group(
        &mut self,
        shared: &Shared,
        mut later: Vec<Range<usize>>,
        seen: Seen,
    ) -> Result<(), Stop> {
        let Some(group) = later.pop() else {
            self.phase = Phase::Done;
            return Ok(());
        };
        let base = self.plan.segments[group.start].base;
        let (epochs, last_offsets) = {
            let mut state = self.partition.state();
            let live = state.touch(&self.partition).map_err(|_| Stop::Moved)?;
            let last_offsets: Vec<(i64, i64)> = live
                .producers
                .iter()
                .map(|producer| (producer.producer_id.0, producer.last_offset.0))
                .collect();
            (live.epochs.clone(), last_offsets)
        };
        let mut producers = match group.start.checked_sub(1) {
            // It may be one that this pass has swapped: the producers at its end are the same.
            Some(before) => self.producers_at_end_of(shared, before)?,
            None => Producers::new(base),
        };
        producers.advance(base);
        self.phase = Phase::Copy(Box::new(Copying {
            at: group.start,
            group,
            later,
            source: None,
            seen,
            epochs,
            last_offsets,
            producers,
            output: None,
            finished: Vec::new(),
            swapping: false,
        }));
        Ok(())
    }

    fn producers_at_end_of(&self, shared: &Shared, at: usize) -> Result<Producers, Stop> {
        let end = self.plan.segments[at].end;
        let record = {
            let state = self.partition.state();
            let found = state
                .sealed
                .iter()
                .find(|segment| segment.record.end == end);
            found.map(|segment| segment.record).ok_or(Stop::Moved)?
        };
        Ok(Source::open(shared, &self.partition, &record)?.producers)
    }

    fn copy(&mut self, shared: &Shared, mut copying: Box<Copying>) -> Result<Step, Stop> {
        if copying.swapping {
            // Whoever swaps did not say that it is done: nothing to do yet.
            self.phase = Phase::Copy(copying);
            return Ok(Step::Worked(0));
        }
        let done = self.copy_some(shared, &mut copying);
        let worked = match done {
            Ok(Some(worked)) => worked,
            Ok(None) => {
                let Copying { later, seen, .. } = *copying;
                self.next_group(shared, later, seen)?;
                return Ok(Step::Worked(0));
            }
            Err(stop) => {
                // Its files are to be removed.
                self.phase = Phase::Copy(copying);
                return Err(stop);
            }
        };
        let ready = copying.at == copying.group.end;
        let step = if ready {
            copying.swapping = true;
            Step::Swap(Box::new(Swap {
                partition: Arc::clone(&self.partition),
                incarnation: self.plan.incarnation,
                old: self.plan.segments[copying.group.clone()].to_vec(),
                new: copying.finished.iter().map(Output::record).collect(),
            }))
        } else {
            Step::Worked(worked)
        };
        self.phase = Phase::Copy(copying);
        Ok(step)
    }

    /// Copies about a step's worth; `None` when the group was swapped already.
    fn copy_some(&mut self, shared: &Shared, copying: &mut Copying) -> Result<Option<u64>, Stop> {
        if copying.at == copying.group.end {
            return Ok(None);
        }
        let written = self.tallied.written_bytes;
        let mut read = 0;
        while read < STEP_BYTES && copying.at < copying.group.end {
            let record = self.plan.segments[copying.at];
            let Some(source) = copying.source.as_mut() else {
                let source = Source::open(shared, &self.partition, &record)?;
                if copying.output.is_none() && copying.finished.is_empty() {
                    let output =
                        Output::create(shared, &self.partition, record.base.0, source.head)?;
                    copying.output = Some(output);
                }
                copying.source = Some(source);
                continue;
            };
            if source.read_range(&mut self.buffer)? {
                read += self.buffer.len() as u64;
                self.copy_range(shared, copying)?;
                continue;
            }
            // The footer knows them better than headers do: markers count there.
            copying.producers = std::mem::take(&mut source.producers);
            source.forget_pages();
            let head = source.head;
            copying.source = None;
            copying.at += 1;
            if let Some(output) = copying.output.as_mut() {
                output.pass(head.last_epoch);
            }
        }
        if copying.at == copying.group.end {
            let end = self.plan.segments[copying.at - 1].end.0;
            // Behind a cut nothing is clean yet.
            let clean =
                !self.split || copying.group.end < self.plan.segments.len() || self.end == end;
            self.finish_output(shared, copying, end, clean)?;
        }
        self.tallied.read_bytes += read;
        self.tallied.copied_bytes += read;
        Ok(Some(read + self.tallied.written_bytes - written))
    }

    /// Copies what stays of the range in the buffer.
    fn copy_range(&mut self, shared: &Shared, copying: &mut Copying) -> Result<(), Stop> {
        let taken = std::mem::take(&mut self.buffer);
        let mut rest = taken.as_slice();
        let mut done = Ok(());
        while let Some(head) = BatchHead::parse(rest) {
            let Some((bytes, more)) = rest.split_at_checked(head.bytes as usize) else {
                break;
            };
            rest = more;
            done = self.copy_batch(shared, copying, &head, bytes);
            if done.is_err() {
                break;
            }
        }
        let whole = rest.is_empty();
        self.buffer = taken;
        done?;
        if whole {
            Ok(())
        } else {
            Err(Stop::Damaged(
                "a range does not end with a batch".to_owned(),
            ))
        }
    }

    fn copy_batch(
        &mut self,
        shared: &Shared,
        copying: &mut Copying,
        head: &BatchHead,
        bytes: &[u8],
    ) -> Result<(), Stop> {
        let batch = sound_batch(head, bytes)?;
        let mut aborted = None;
        let behind = self.split && head.base_offset >= self.end;
        let fate = if behind {
            // Its keys are not all known: the next pass looks at it.
            if let Some(output) = copying.output.as_ref()
                && output.base() < self.end
            {
                self.finish_output(shared, copying, self.end, true)?;
            }
            if head.is_control() {
                aborted = copying.seen.control(head, &batch).aborted;
            } else {
                copying.seen.data(head);
            }
            Fate::Whole
        } else {
            let rules = Rules {
                keys: &self.keys,
                now_ms: self.now_ms,
                delete_retention_ms: self.plan.settings.delete_retention_ms,
                producers: &copying.last_offsets,
                end: self.end,
            };
            rules.fate(head, &batch, &mut copying.seen, &mut aborted)?
        };
        let stays = match &fate {
            Fate::Whole => Some(bytes),
            Fate::Instead(bytes) => Some(bytes.as_slice()),
            Fate::Gone => None,
        };
        if let Some(stays) = stays {
            self.keep(shared, copying, head, stays, aborted)?;
        }
        account(&mut copying.producers, head);
        Ok(())
    }

    fn keep(
        &mut self,
        shared: &Shared,
        copying: &mut Copying,
        head: &BatchHead,
        bytes: &[u8],
        aborted: Option<AbortedTransaction>,
    ) -> Result<(), Stop> {
        let base = head.base_offset;
        if let Some(output) = &copying.output
            && !output.has_room(head, bytes.len())
        {
            let clean = !self.split || base < self.end;
            self.finish_output(shared, copying, base, clean)?;
        }
        let Some(source) = copying.source.as_ref() else {
            return Err(Stop::Moved);
        };
        let since_ms = source.head.since_ms;
        let time_ms = source
            .times
            .append_time_ms(Offset(base))
            .unwrap_or(since_ms.max(0));
        if copying.output.is_none() {
            let output = Output::create(shared, &self.partition, base, source.head)?;
            copying.output = Some(output);
        }
        let Some(output) = copying.output.as_mut() else {
            return Err(Stop::Moved);
        };
        self.tallied.written_bytes += bytes.len() as u64;
        output.add(bytes, time_ms)?;
        if let Some(transaction) = aborted {
            output.aborted(&EndedTransaction {
                producer_id: transaction.producer_id,
                first_offset: transaction.first_offset,
                last_offset: transaction.last_offset,
                last_stable_offset: transaction.last_stable_offset,
                aborted: true,
            });
        }
        Ok(())
    }

    fn finish_output(
        &self,
        shared: &Shared,
        copying: &mut Copying,
        end: i64,
        clean: bool,
    ) -> Result<(), Stop> {
        let Some(mut output) = copying.output.take() else {
            return Ok(());
        };
        copying.producers.advance(Offset(end));
        let finished = output.finish(
            shared,
            &self.partition,
            end,
            &copying.producers,
            &copying.epochs,
            clean,
        );
        // Kept in any case: what was written must be removed again if the pass fails.
        copying.finished.push(output);
        finished
    }
}

fn account(producers: &mut Producers, head: &BatchHead) {
    let mut parts = ActiveParts::new(0);
    let mut tally = Tally {
        head: &mut ActiveHead::new(0),
        parts: &mut parts,
        producers,
        epochs: &mut Epochs::new(),
    };
    tally.account(head, Lsn::ZERO, head.max_timestamp.max(0));
}

/// Puts the keys of a range into the map; the offset of the batch at which it was full.
fn map_range(range: &[u8], keys: &mut Keys, seen: &mut Seen) -> Result<Option<i64>, Stop> {
    let mut rest = range;
    while let Some(head) = BatchHead::parse(rest) {
        let Some((bytes, more)) = rest.split_at_checked(head.bytes as usize) else {
            break;
        };
        rest = more;
        let batch = sound_batch(&head, bytes)?;
        if head.is_control() {
            seen.control(&head, &batch);
        } else if !seen.data(&head) && !put_keys(&head, &batch, keys)? {
            return Ok(Some(head.base_offset));
        }
    }
    if rest.is_empty() {
        Ok(None)
    } else {
        Err(Stop::Damaged(
            "a range does not end with a batch".to_owned(),
        ))
    }
}

fn put_keys(
    head: &BatchHead,
    batch: &wire::batch::BatchView<'_>,
    keys: &mut Keys,
) -> Result<bool, Stop> {
    let unreadable = |error: wire::record::RecordError| {
        Stop::from(Unreadable {
            offset: head.base_offset,
            reason: error.to_string(),
        })
    };
    let cap = wire::compress::BATCH_DECOMPRESSED_BYTES_MAX;
    let records = wire::record::BatchRecords::open(batch, cap).map_err(unreadable)?;
    for record in &records {
        let record = record.map_err(unreadable)?;
        if let Some(key) = record.key
            && keys.put(key, record.offset.0).is_err()
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Neighbours whose data fits into one segment together.
pub(crate) fn group_by_size(segments: &[SegmentRecord], bytes_max: u64) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut bytes = 0;
    for (at, segment) in segments.iter().enumerate() {
        if let Some(group) = groups.last_mut() {
            let base = segments[group.start].base;
            let fits = bytes + segment.data_bytes <= bytes_max
                && segment.end.0 - base.0 <= i64::from(i32::MAX);
            if fits {
                group.end = at + 1;
                bytes += segment.data_bytes;
                continue;
            }
        }
        groups.push(at..at + 1);
        bytes = segment.data_bytes;
    }
    groups
}

/// A sealed segment that is being read.
struct Source {
    file: Arc<dyn File>,
    index: SparseIndex,
    times: AppendTimes,
    producers: Producers,
    head: ActiveHead,
    aborted: Vec<AbortedTransaction>,
    at: u32,
    data_bytes: u64,
}

impl Source {
    /// Opens a segment without taking a place among the open files that readers use.
    fn open(
        shared: &Shared,
        partition: &Partition,
        record: &SegmentRecord,
    ) -> Result<Source, Stop> {
        let id = partition.id();
        let revision = record.revision;
        let file = match shared.descriptors.cached((id.0, record.base.0), revision) {
            Some(file) => file,
            None => {
                let path = segment_path(id, record.base.0, revision);
                match shared.world.disk.open(&path, OpenMode::Read) {
                    // Trimmed or cut away.
                    Err(DiskError::NotFound { .. }) => return Err(Stop::Moved),
                    other => other?,
                }
            }
        };
        let Some(sealed) = read_footer(&*file, record)? else {
            return Err(Stop::Damaged(format!(
                "the footer of the segment at {} is damaged",
                record.base
            )));
        };
        drop(file.advise(0, record.data_bytes, Advice::Sequential));
        Ok(Source {
            file,
            index: sealed.parts.index,
            times: sealed.parts.times,
            producers: sealed.producers,
            head: sealed.head,
            aborted: sealed.parts.aborted.entries().to_vec(),
            at: 0,
            data_bytes: record.data_bytes,
        })
    }

    /// Reads the next range into the buffer; `false` behind the last.
    fn read_range(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Stop> {
        let Some(range) = self.index.range_at(self.at) else {
            return Ok(false);
        };
        buffer.resize((range.end_position - range.position) as usize, 0);
        let read = self.file.read_at(buffer, u64::from(range.position))?;
        if read != buffer.len() || crc32c(buffer) != range.crc {
            return Err(Stop::Damaged(format!(
                "bytes {} to {} of the segment at {} are damaged",
                range.position, range.end_position, self.head.base
            )));
        }
        self.at = range.end_position;
        Ok(true)
    }

    /// It was read for the last time: not worth its place in the cache.
    fn forget_pages(&self) {
        drop(self.file.advise(0, self.data_bytes, Advice::DontNeed));
    }
}
