//! Offsets by place and by time, and what groups committed: looked up, written, taken back.

use std::collections::BTreeMap;

use wire::ids::TopicId;
use wire::messages::{Uuid, delete_records, list_offsets, offset_commit, offset_fetch, text};
use wire::{ApiKey, ErrorCode};

use crate::cluster::{Client, RETRY_PAUSE, TRIES_MAX};
use crate::error::{ClientError, check};
use crate::fetch::Place;

/// The broker may take this long over a question for offsets, or over removing records.
const OFFSETS_WAIT_MS: i32 = 20_000;

/// A place in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The log start.
    Start,
    /// The high watermark.
    End,
    /// The last stable offset: where a reader of committed records must stop.
    StableEnd,
    /// This offset.
    Offset(i64),
    /// So many offsets behind the log start, the end at the latest.
    AfterStart(i64),
    /// So many offsets before the end, the log start at the earliest.
    BeforeEnd(i64),
    /// The first record at or after this Unix time in milliseconds; the end if there is none.
    Timestamp(i64),
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset the group will read.
    pub offset: i64,
    /// What the committer noted beside it.
    pub metadata: String,
}

impl Client {
    /// Offsets of a place in each of these partitions.
    ///
    /// # Errors
    /// A leader's refusal, or its retries ran out.
    pub async fn list_offsets(
        &mut self,
        topic: &str,
        partitions: &[i32],
        at: At,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        match at {
            At::Start => self.offsets_at(topic, partitions, -2, false).await,
            At::End => self.offsets_at(topic, partitions, -1, false).await,
            At::StableEnd => self.offsets_at(topic, partitions, -1, true).await,
            At::Offset(offset) => Ok(partitions
                .iter()
                .map(|partition| (*partition, offset))
                .collect()),
            At::AfterStart(count) => {
                let ends = self.offsets_at(topic, partitions, -1, false).await?;
                let mut starts = self.offsets_at(topic, partitions, -2, false).await?;
                for (partition, start) in &mut starts {
                    let end = ends.get(partition).copied().unwrap_or(i64::MAX);
                    *start = start.saturating_add(count).min(end);
                }
                Ok(starts)
            }
            At::BeforeEnd(count) => {
                let starts = self.offsets_at(topic, partitions, -2, false).await?;
                let mut ends = self.offsets_at(topic, partitions, -1, false).await?;
                for (partition, end) in &mut ends {
                    let start = starts.get(partition).copied().unwrap_or(0);
                    *end = end.saturating_sub(count).max(start);
                }
                Ok(ends)
            }
            At::Timestamp(timestamp) => {
                let ends = self.offsets_at(topic, partitions, -1, false).await?;
                let time = timestamp.max(0);
                let mut found = self.offsets_at(topic, partitions, time, false).await?;
                for (partition, offset) in &mut found {
                    if *offset < 0 {
                        *offset = ends.get(partition).copied().unwrap_or(0);
                    }
                }
                Ok(found)
            }
        }
    }

    async fn offsets_at(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
        read_committed: bool,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let mut offsets = BTreeMap::new();
        let mut last = ClientError::server(ErrorCode::UnknownTopicOrPartition);
        for _ in 0..TRIES_MAX {
            match self
                .offsets_once(topic, partitions, timestamp, read_committed, &mut offsets)
                .await
            {
                Ok(()) => return Ok(offsets),
                Err(error) if error.is_retriable() => last = error,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RETRY_PAUSE).await;
            self.refresh(topic).await?;
        }
        Err(last)
    }

    async fn offsets_once(
        &mut self,
        topic: &str,
        partitions: &[i32],
        timestamp: i64,
        read_committed: bool,
        offsets: &mut BTreeMap<i32, i64>,
    ) -> Result<(), ClientError> {
        for (broker, partitions) in self.by_leader(topic, partitions).await? {
            let request = list_offsets::Request {
                replica_id: -1,
                isolation_level: i8::from(read_committed),
                topics: vec![list_offsets::ListOffsetsTopic {
                    name: text(topic),
                    partitions: partitions
                        .iter()
                        .map(|partition| list_offsets::ListOffsetsPartition {
                            partition_index: *partition,
                            current_leader_epoch: -1,
                            timestamp,
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                }],
                timeout_ms: OFFSETS_WAIT_MS,
                ..Default::default()
            };
            let response = self.ask(broker, &request).await?;
            for partition in response
                .topics
                .into_iter()
                .flat_map(|topic| topic.partitions)
            {
                check(partition.error_code, None)?;
                offsets.insert(partition.partition_index, partition.offset);
            }
        }
        Ok(())
    }

    /// Every offset a group has committed, with the note beside it.
    ///
    /// # Errors
    /// The coordinator's refusal.
    pub async fn commits(
        &mut self,
        group: &str,
    ) -> Result<BTreeMap<Place, Committed>, ClientError> {
        self.ask_patiently(async |client| client.commits_once(group).await)
            .await
    }

    /// Every offset a group has committed, without the notes.
    ///
    /// # Errors
    /// As [`Self::commits`].
    pub async fn committed_offsets(
        &mut self,
        group: &str,
    ) -> Result<BTreeMap<Place, i64>, ClientError> {
        let commits = self.commits(group).await?;
        Ok(commits
            .into_iter()
            .map(|(place, commit)| (place, commit.offset))
            .collect())
    }

    async fn commits_once(
        &mut self,
        group: &str,
    ) -> Result<BTreeMap<Place, Committed>, ClientError> {
        let coordinator = self.coordinator(group).await?;
        let version = self
            .connection_to(coordinator)
            .await?
            .version(ApiKey::OffsetFetch)?;
        // One group up to version 7, several from 8 on; version 10 knows topics by id only.
        let request = if version >= 8 {
            offset_fetch::Request {
                groups: vec![offset_fetch::OffsetFetchRequestGroup {
                    group_id: text(group),
                    topics: None,
                    member_epoch: -1,
                    ..Default::default()
                }],
                ..Default::default()
            }
        } else {
            offset_fetch::Request {
                group_id: text(group),
                topics: None,
                ..Default::default()
            }
        };
        let response = self.ask(coordinator, &request).await?;
        check(response.error_code, None)?;
        let mut commits = BTreeMap::new();
        for topic in response.topics {
            for partition in topic.partitions {
                check(partition.error_code, None)?;
                let place = (topic.name.as_str().to_owned(), partition.partition_index);
                let metadata = partition.metadata.as_ref();
                let metadata = metadata.map_or("", |metadata| metadata.as_str());
                commits.insert(place, committed(partition.committed_offset, metadata));
            }
        }
        let names = if version >= 10 {
            self.topic_names().await?
        } else {
            BTreeMap::new()
        };
        for group in response.groups {
            check(group.error_code, None)?;
            for topic in group.topics {
                let name = match names.get(&TopicId::from(topic.topic_id)) {
                    Some(name) => name.clone(),
                    None if version < 10 => topic.name.as_str().to_owned(),
                    // Deleted since: its offsets have no name to show.
                    None => continue,
                };
                for partition in topic.partitions {
                    check(partition.error_code, None)?;
                    let place = (name.clone(), partition.partition_index);
                    let metadata = partition.metadata.as_ref();
                    let metadata = metadata.map_or("", |metadata| metadata.as_str());
                    commits.insert(place, committed(partition.committed_offset, metadata));
                }
            }
        }
        commits.retain(|_, commit| commit.offset >= 0);
        Ok(commits)
    }

    async fn topic_names(&mut self) -> Result<BTreeMap<TopicId, String>, ClientError> {
        let topics = self.topics(None).await?;
        Ok(topics
            .into_iter()
            .map(|topic| (topic.id, topic.name))
            .collect())
    }

    /// Writes a group's offsets from outside, as an administrator: the group must have no members.
    ///
    /// # Errors
    /// The coordinator's refusal: `UNKNOWN_MEMBER_ID` while the group has members.
    pub async fn commit(
        &mut self,
        group: &str,
        commits: &BTreeMap<Place, Committed>,
    ) -> Result<(), ClientError> {
        self.ask_patiently(async |client| client.commit_once(group, commits).await)
            .await
    }

    async fn commit_once(
        &mut self,
        group: &str,
        commits: &BTreeMap<Place, Committed>,
    ) -> Result<(), ClientError> {
        let coordinator = self.coordinator(group).await?;
        let version = self
            .connection_to(coordinator)
            .await?
            .version(ApiKey::OffsetCommit)?;
        let mut topics: BTreeMap<&str, Vec<offset_commit::OffsetCommitRequestPartition>> =
            BTreeMap::new();
        for ((topic, partition), commit) in commits {
            topics
                .entry(topic)
                .or_default()
                .push(offset_commit::OffsetCommitRequestPartition {
                    partition_index: *partition,
                    committed_offset: commit.offset,
                    committed_leader_epoch: -1,
                    committed_metadata: Some(text(&commit.metadata)),
                    ..Default::default()
                });
        }
        let mut named = Vec::new();
        for (topic, partitions) in topics {
            if version >= 10 && !self.ids.contains_key(topic) {
                self.refresh(topic).await?;
            }
            let id = self.ids.get(topic).copied().unwrap_or(TopicId::NONE);
            // Up to version 9 a topic goes by its name, from 10 on by its id.
            let (name, id) = if version >= 10 {
                ("", id)
            } else {
                (topic, TopicId::NONE)
            };
            named.push(offset_commit::OffsetCommitRequestTopic {
                name: text(name),
                topic_id: Uuid::from(id),
                partitions,
                ..Default::default()
            });
        }
        let request = offset_commit::Request {
            group_id: text(group),
            generation_id_or_member_epoch: -1,
            retention_time_ms: -1,
            topics: named,
            ..Default::default()
        };
        let response = self.ask(coordinator, &request).await?;
        let mut partitions = response
            .topics
            .into_iter()
            .flat_map(|topic| topic.partitions);
        partitions.try_for_each(|partition| check(partition.error_code, None))
    }

    /// Removes records below these offsets; returns the new log start of each partition.
    ///
    /// # Errors
    /// A leader's refusal.
    pub async fn delete_records(
        &mut self,
        topic: &str,
        below: &BTreeMap<i32, i64>,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let partitions: Vec<i32> = below.keys().copied().collect();
        let mut starts = BTreeMap::new();
        for (broker, partitions) in self.by_leader(topic, &partitions).await? {
            let request = delete_records::Request {
                topics: vec![delete_records::DeleteRecordsTopic {
                    name: text(topic),
                    partitions: partitions
                        .iter()
                        .map(|partition| delete_records::DeleteRecordsPartition {
                            partition_index: *partition,
                            offset: below.get(partition).copied().unwrap_or(0),
                            ..Default::default()
                        })
                        .collect(),
                    ..Default::default()
                }],
                timeout_ms: OFFSETS_WAIT_MS,
                ..Default::default()
            };
            let response = self.ask(broker, &request).await?;
            let partitions = response
                .topics
                .into_iter()
                .flat_map(|topic| topic.partitions);
            for partition in partitions {
                check(partition.error_code, None)?;
                starts.insert(partition.partition_index, partition.low_watermark);
            }
        }
        Ok(starts)
    }
}

fn committed(offset: i64, metadata: &str) -> Committed {
    Committed {
        offset,
        metadata: metadata.to_owned(),
    }
}
