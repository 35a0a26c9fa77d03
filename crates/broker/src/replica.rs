//! One partition as this broker hosts it: its log, the epoch it leads in, the settings that
//! decide what it takes.
//!
//! The log counts offsets; this says who may write and read. Changed only by the control side
//! when metadata changes; read by every request.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, RwLock};

use commitlog::{LogSettings, Partition, PartitionKey, SyncPolicy, TimestampSource};
use metadata::config::{self, TimestampKind, TopicSettings};
use wire::ErrorCode;
use wire::ids::LeaderEpoch;

use crate::metrics::TopicCounters;

/// What the partitions of one topic share.
pub struct TopicFacts {
    name: Arc<str>,
    settings: RwLock<Arc<TopicSettings>>,
    counters: TopicCounters,
}

impl TopicFacts {
    /// A topic with its settings in force.
    pub fn new(name: Arc<str>, settings: Arc<TopicSettings>) -> Arc<TopicFacts> {
        Arc::new(TopicFacts {
            name,
            settings: RwLock::new(settings),
            counters: TopicCounters::default(),
        })
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// What is counted of it here.
    pub fn counters(&self) -> &TopicCounters {
        &self.counters
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<TopicSettings> {
        self.settings
            .read()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// Puts settings in force; whether they are others than before.
    pub fn apply_settings(&self, settings: &Arc<TopicSettings>) -> bool {
        let mut known = self
            .settings
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let changed = *known != *settings;
        *known = Arc::clone(settings);
        changed
    }
}

/// A hosted partition.
pub struct Replica {
    topic: Arc<TopicFacts>,
    /// Its log.
    pub log: Arc<Partition>,
    /// The epoch in which we lead; −1 if we do not.
    leads_in: AtomicI32,
    insync: AtomicU32,
}

impl Replica {
    /// A hosted partition that does not lead yet.
    pub fn new(topic: Arc<TopicFacts>, log: Arc<Partition>) -> Replica {
        Replica {
            topic,
            log,
            leads_in: AtomicI32::new(LeaderEpoch::NONE.0),
            insync: AtomicU32::new(0),
        }
    }

    /// Its name in the cluster.
    pub fn key(&self) -> PartitionKey {
        self.log.key()
    }

    /// Its topic's name.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic.name
    }

    /// What is counted of its topic here.
    pub fn counters(&self) -> &TopicCounters {
        self.topic.counters()
    }

    /// The epoch in which this broker leads the partition, if it does.
    pub fn leading(&self) -> Option<LeaderEpoch> {
        let epoch = self.leads_in.load(Ordering::Acquire);
        (epoch >= 0).then_some(LeaderEpoch(epoch))
    }

    /// Whether requests that name `asked` as the leader epoch may be served, and our epoch.
    // rule F6
    pub fn check_epoch(&self, asked: LeaderEpoch) -> Result<LeaderEpoch, ErrorCode> {
        let Some(ours) = self.leading() else {
            return Err(ErrorCode::NotLeaderOrFollower);
        };
        if asked.0 < 0 || asked == ours {
            Ok(ours)
        } else if asked < ours {
            Err(ErrorCode::FencedLeaderEpoch)
        } else {
            Err(ErrorCode::UnknownLeaderEpoch)
        }
    }

    /// Whether so many replicas are in sync as the topic asks for with acks=all.
    // rule P6
    pub fn has_enough_insync(&self, settings: &TopicSettings) -> bool {
        i64::from(self.insync.load(Ordering::Relaxed)) >= i64::from(settings.insync_replicas_min)
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<TopicSettings> {
        self.topic.settings()
    }

    /// Starts or stops leading, as the metadata says.
    pub fn lead(
        &self,
        epoch: Option<LeaderEpoch>,
        insync: usize,
    ) -> Result<(), commitlog::LogError> {
        self.insync
            .store(u32::try_from(insync).unwrap_or(u32::MAX), Ordering::Relaxed);
        match epoch {
            None => self.leads_in.store(LeaderEpoch::NONE.0, Ordering::Release),
            Some(epoch) if self.leading() != Some(epoch) => {
                // What is appended in this epoch carries it into the log, so no answer leaves
                // before the epoch is durable. rule R8
                self.log.become_leader(epoch)?;
                self.leads_in.store(epoch.0, Ordering::Release);
            }
            Some(_) => {}
        }
        Ok(())
    }
}

/// The log's part of a topic's settings.
pub fn log_settings(settings: &TopicSettings, producer_expiry_ms: i64) -> LogSettings {
    LogSettings {
        sync: match settings.sync {
            config::SyncPolicy::Durable => SyncPolicy::Durable,
            config::SyncPolicy::Os => SyncPolicy::Os,
        },
        timestamps: match settings.timestamp_kind {
            TimestampKind::CreateTime => TimestampSource::CreateTime,
            TimestampKind::LogAppendTime => TimestampSource::LogAppendTime,
        },
        segment_bytes: u64::try_from(settings.segment_bytes).unwrap_or(1 << 30),
        segment_ms: settings.segment_ms,
        retention_ms: settings.retention_ms.unwrap_or(-1),
        retention_bytes: settings.retention_bytes.unwrap_or(-1),
        delete: settings.cleanup.delete,
        compact: settings.cleanup.compact,
        delete_retention_ms: settings.delete_retention_ms,
        compaction_lag_ms_min: settings.compaction_lag_ms_min,
        compaction_lag_ms_max: settings.compaction_lag_ms_max,
        dirty_ratio_min: settings.dirty_ratio_min,
        producer_expiry_ms,
    }
}
