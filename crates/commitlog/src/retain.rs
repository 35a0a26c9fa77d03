//! Retention: whole segments leave by age and by size, as the manifest's records tell, without a
//! look at any file. The same round puts partitions to rest that nobody uses.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use wire::ids::Offset;
use world::{Instant, Next, Worker};

use crate::errors::LogError;
use crate::partition::{Partition, State};
use crate::store::Shared;

/// Partitions looked at in one step.
const BATCH: usize = 256;

/// What a partition in use knows takes half a kilobyte and more. A partition that saw neither an
/// append nor a read for this long, once or twice, gives it up; the next touch reads it back.
const REST_INTERVAL: Duration = Duration::from_secs(15);

/// So many partitions in use are not worth a round.
const IN_USE_MIN: usize = 512;

/// The retention's loop: a step looks at some partitions.
pub(crate) struct RetentionLoop {
    shared: Arc<Shared>,
    left: Vec<Arc<Partition>>,
    retain: bool,
    last: Instant,
}

impl RetentionLoop {
    pub fn new(shared: Arc<Shared>) -> RetentionLoop {
        let last = shared.world.clock.now();
        RetentionLoop {
            shared,
            left: Vec::new(),
            retain: false,
            last,
        }
    }

    /// Begins a round if one is due; otherwise the time until then.
    fn begin(&mut self) -> Option<Duration> {
        let now = self.shared.world.clock.now();
        let interval = self.shared.config.retention_interval;
        let since = now.since(self.last);
        self.retain = since >= interval;
        if self.retain {
            self.last = now;
        } else if self.shared.in_use.load(Ordering::Relaxed) < IN_USE_MIN {
            return Some(REST_INTERVAL.min(interval - since));
        }
        self.left = self.shared.all_partitions();
        self.left.is_empty().then_some(REST_INTERVAL.min(interval))
    }
}

impl Worker for RetentionLoop {
    fn step(&mut self) -> Next {
        if self.shared.is_closing() {
            return Next::Done;
        }
        if self.left.is_empty()
            && let Some(wait) = self.begin()
        {
            return Next::WaitFor(wait);
        }
        let now_ms = self.shared.world.clock.wall_ms();
        for _ in 0..BATCH {
            let Some(partition) = self.left.pop() else {
                break;
            };
            if self.retain {
                self.shared.retain(&partition, now_ms);
                partition.state().expire_producers(now_ms);
            }
            self.shared.rest(&partition);
        }
        if !self.left.is_empty() {
            return Next::Again;
        }
        self.left = Vec::new();
        let interval = self.shared.config.retention_interval;
        Next::WaitFor(REST_INTERVAL.min(interval))
    }
}

impl Shared {
    pub fn all_partitions(&self) -> Vec<Arc<Partition>> {
        crate::read_lock(&self.partitions)
            .values()
            .cloned()
            .collect()
    }

    /// One round over all partitions.
    pub fn retain_all(&self, now_ms: i64) {
        for partition in self.all_partitions() {
            self.retain(&partition, now_ms);
        }
    }

    /// A whole round without a touch: what the manifest has need not be in memory.
    fn rest(&self, partition: &Partition) {
        // What a checkpoint has fetched and not written yet, the manifest has not: until the
        // checkpoint ends nobody goes.
        let Ok(_no_checkpoint) = self.checkpointer.try_lock() else {
            return;
        };
        let mut state = partition.state();
        if !std::mem::replace(&mut state.touched, false) && state.go_dormant() {
            self.in_use.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn retain(&self, partition: &Arc<Partition>, now_ms: i64) {
        if partition.state().active_is_old(now_ms) {
            // Kafka deletes an active segment too when all of it is old: it is ended first.
            if let Err(error) = partition.roll_active() {
                tracing::debug!(%error, "an old segment is not ended now");
            }
        }
        let start = partition.state().retained_start(now_ms);
        let Some(start) = start else {
            return;
        };
        match partition.advance_log_start(Offset(start)) {
            Ok(_) | Err(LogError::Closed) => {}
            Err(error) => {
                tracing::warn!(partition = %partition.key(), %error, "retention waits");
            }
        }
    }
}

impl Partition {
    /// Ends the active segment, if it has data.
    pub(crate) fn roll_active(self: &Arc<Partition>) -> Result<(), LogError> {
        let mut state = self.state();
        state.touch(self)?;
        if state.end.position == 0 {
            return Ok(());
        }
        state.roll_now(self)?;
        drop(state);
        self.shared.wake_writer();
        Ok(())
    }
}

impl State {
    fn expire_producers(&mut self, now_ms: i64) {
        let idle_ms_max = self.settings.producer_expiry_ms;
        if let Some(live) = self.live.as_mut() {
            live.producers.expire(now_ms, idle_ms_max);
        }
    }

    fn active_is_old(&self, now_ms: i64) -> bool {
        let keep = self.settings.retention_ms;
        self.settings.delete
            && keep >= 0
            && self.end.position > 0
            && self.active.max_timestamp >= 0
            && now_ms.saturating_sub(self.active.max_timestamp) > keep
            && self.high_watermark == self.end.offset
    }

    /// Where the log should start now, if segments are to go.
    fn retained_start(&self, now_ms: i64) -> Option<i64> {
        if !self.settings.delete || self.gone {
            return None;
        }
        let mut left = self.size_bytes();
        let mut start = None;
        for segment in &self.sealed {
            let record = &segment.record;
            let by_time = self.settings.retention_ms >= 0
                && now_ms.saturating_sub(record.max_timestamp_ms) > self.settings.retention_ms;
            let by_size = self.settings.retention_bytes >= 0
                && left.saturating_sub(record.data_bytes) >= self.settings.retention_bytes as u64;
            if !(by_time || by_size) || record.end.0 > self.high_watermark {
                break;
            }
            left -= record.data_bytes;
            start = Some(record.end.0);
        }
        start.filter(|start| *start > self.log_start)
    }
}
