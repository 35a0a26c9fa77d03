//! A scripted life of a store: appends, truncations, trims, new epochs, deletions, checkpoints and
//! idle time, drawn from a seed, each noted in a model with the LSN it got. A script for compacted
//! logs writes records with few keys, and cleans.

use std::sync::Arc;
use std::time::Duration;

use commitlog::{AppendOrigin, LogSettings, LogStore, Partition};
use wire::ids::{LeaderEpoch, Offset};
use wire::record::{BatchBuilder, NewRecord};
use world::sim::{Rng, SimWorld};

use super::{Did, Model, Spec, key, settings, stamped, view};

const PARTITIONS: usize = 3;

/// What is going to happen, and what has.
pub struct Script {
    pub model: Model,
    pub rng: Rng,
    epochs: [i32; PARTITIONS],
    steps: usize,
}

impl Script {
    pub fn new(seed: u64) -> Script {
        Script {
            model: Model::default(),
            rng: Rng::fork(seed, "script"),
            epochs: [0; PARTITIONS],
            steps: 0,
        }
    }

    /// Of logs of which only the newest record of each key stays.
    pub fn compacted(seed: u64) -> Script {
        let mut script = Script::new(seed);
        script.model.compacted = true;
        script
    }

    fn settings(&self) -> LogSettings {
        LogSettings {
            compact: self.model.compacted,
            delete: !self.model.compacted,
            dirty_ratio_min: 0,
            // Steps are milliseconds here.
            delete_retention_ms: 40,
            ..settings()
        }
    }

    /// Does one thing.
    pub fn step(&mut self, sim: &SimWorld, store: &LogStore) {
        self.steps += 1;
        let number = self.rng.below(PARTITIONS as u64) as i32;
        let Some(partition) = store.partition(&key(number)) else {
            if let Ok(partition) = store.create_partition(key(number), self.settings()) {
                self.model.note(store.last_lsn().0, number, Did::Create);
                self.lead(store, &partition, number);
            }
            return;
        };
        match self.rng.below(100) {
            0..60 => self.append(&partition, number),
            60..70 => drop(store.wait_durable(store.last_lsn())),
            70..78 => sim.spawn.run_until_idle(),
            78..83 => {
                let offsets = partition.offsets();
                let (mut start, end) = (offsets.log_start.0, offsets.end.0);
                if self.model.compacted {
                    // What superseded older records is not cut away (rule C1).
                    start = offsets.high_watermark.0;
                }
                let to = start + self.rng.below((end - start) as u64 + 1) as i64;
                if let Ok(lsn) = partition.truncate(Offset(to))
                    && to < end
                {
                    self.model.note(lsn.0, number, Did::Truncate(to));
                }
            }
            83..87 => {
                let offsets = partition.offsets();
                let (start, high) = (offsets.log_start.0, offsets.high_watermark.0);
                let to = start + self.rng.below((high - start) as u64 + 1) as i64;
                if to > start
                    && let Ok(lsn) = partition.advance_log_start(Offset(to))
                {
                    self.model.note(lsn.0, number, Did::Trim(to));
                }
            }
            87..90 => self.lead(store, &partition, number),
            90..96 => drop(store.checkpoint()),
            96..98 => {
                if let Ok(lsn) = store.delete_partition(&key(number)) {
                    self.model.note(lsn.0, number, Did::Delete);
                }
            }
            _ if self.model.compacted => store.compact(self.steps as i64),
            _ => sim.spawn.run_for(Duration::from_secs(2)),
        }
    }

    /// A new leader epoch for every partition, as a restarted node gets it.
    pub fn lead_all(&mut self, store: &LogStore) {
        for number in 0..PARTITIONS as i32 {
            if let Some(partition) = store.partition(&key(number)) {
                partition.apply_settings(self.settings());
                self.lead(store, &partition, number);
            }
        }
    }

    fn lead(&mut self, store: &LogStore, partition: &Arc<Partition>, number: i32) {
        let epoch = self.epochs[number as usize] + 1;
        if partition.become_leader(LeaderEpoch(epoch)).is_ok() {
            self.epochs[number as usize] = epoch;
            self.model
                .note(store.last_lsn().0, number, Did::Epoch(epoch));
        }
    }

    fn append(&mut self, partition: &Arc<Partition>, number: i32) {
        let rng = &mut self.rng;
        let (records, payload) = (1 + rng.below(4) as i32, 10 + rng.below(1500) as usize);
        let step = self.steps;
        let bytes = if self.model.compacted {
            keyed(rng, records, payload, step)
        } else {
            Spec::new(records, payload, step as u8)
                .at(step as i64 * 10)
                .bytes()
        };
        let epoch = self.epochs[number as usize];
        let origin = AppendOrigin::Coordinator {
            leader_epoch: LeaderEpoch(epoch),
        };
        if let Ok(appended) = partition.append(&view(&bytes), origin, step as i64) {
            let base = appended.base_offset.0;
            let bytes = stamped(&bytes, base, epoch);
            let end = appended.last_offset.0 + 1;
            self.model
                .note(appended.lsn.0, number, Did::Append { base, end, bytes });
        }
    }
}

/// Records of eight keys, some of them tombstones.
fn keyed(rng: &mut Rng, records: i32, payload: usize, step: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    let value = vec![step as u8; payload / records as usize];
    for _ in 0..records {
        let key = [rng.below(8) as u8];
        builder.append(&NewRecord {
            timestamp: step as i64 * 10,
            key: Some(&key),
            value: (!rng.chance(0.15)).then_some(value.as_slice()),
            headers: &[],
        });
    }
    builder.build().expect("builds")
}
