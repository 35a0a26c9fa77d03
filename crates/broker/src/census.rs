//! Partitions and groups one by one, for those who watch: where they stand, who is behind and how
//! far, in records and in seconds.
//!
//! Nothing is kept for it: whoever shows metrics asks, on their own thread, and what is told is read
//! from the metadata image, the bounds of the logs and the shards of groups. While nobody asks, it
//! costs nothing. What one look may cost, and how much it may tell, is bounded: where there are more
//! partitions than that, they are left out together, and so that this can be told from silence, they
//! are counted. Half a sum would be worse than none.

use std::collections::HashMap;
use std::sync::Arc;

use commitlog::ReadBound;
use wire::ids::{BrokerId, Offset};
use wire::lag::{Lag, Standing};

use crate::group_host::SurveyedGroup;
use crate::metrics::TopicCounts;
use crate::node::Node;
use crate::replica::Replica;

/// What is told at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// The cluster's id.
    pub cluster: String,
    /// Brokers of the cluster: number and address.
    pub brokers: Vec<(BrokerId, String)>,
    /// Topics of the cluster, by name.
    pub topics: Vec<TopicFigures>,
    /// Partitions led here.
    pub partitions: Vec<PartitionFigures>,
    /// Groups whose coordinator is here.
    pub groups: Vec<GroupFigures>,
    /// Partitions led here that are left out.
    pub partitions_left_out: u64,
    /// Committed offsets that are left out.
    pub offsets_left_out: u64,
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFigures {
    /// Its name.
    pub name: Arc<str>,
    /// How many partitions it has.
    pub partitions: usize,
    /// What was counted of it here; `None` if no partition of it is here.
    pub counts: Option<TopicCounts>,
}

/// A partition led here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFigures {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its number.
    pub partition: i32,
    /// Log start.
    pub earliest: i64,
    /// High watermark.
    pub latest: i64,
    /// Bytes of its log.
    pub bytes: u64,
    /// Its leader.
    pub leader: BrokerId,
    /// Whether that is the first of its replicas.
    pub leader_is_preferred: bool,
    /// How many replicas it has.
    pub replicas: usize,
    /// How many of them are in sync.
    pub in_sync: usize,
    /// How many of them must be for acks=all.
    pub in_sync_min: usize,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupFigures {
    /// Its id.
    pub group: Arc<str>,
    /// How many members it has.
    pub members: usize,
    /// Whether its offsets were committed by hand: nobody is or was a member.
    pub is_simple: bool,
    /// Its committed offsets in topics that are there; empty if they are left out.
    pub offsets: Vec<OffsetFigures>,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFigures {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The first offset that was not read.
    pub committed: i64,
    /// How far that is behind; `None` if the partition is not led here.
    pub lag: Option<Lag>,
    /// The member that reads the partition, if one does.
    pub member: Option<Arc<Reader>>,
}

/// A member of a group, as metrics name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Member id.
    pub id: Arc<str>,
    /// Client id.
    pub client: Arc<str>,
    /// Its address.
    pub host: Arc<str>,
}

/// Looks at everything; tells of single partitions only up to `partitions_max`, of single offsets
/// likewise.
pub fn take(node: &Arc<Node>, partitions_max: usize) -> Census {
    let image = node.image();
    let mut census = Census {
        cluster: image.cluster_id().unwrap_or_default().to_owned(),
        brokers: image
            .brokers()
            .map(|broker| {
                let address = broker.endpoints.first();
                let address = address.map(|at| format!("{}:{}", at.host, at.port));
                (broker.id, address.unwrap_or_default())
            })
            .collect(),
        ..Census::default()
    };
    let hosted: HashMap<(Arc<str>, i32), Arc<Replica>> = node
        .partitions
        .all()
        .into_iter()
        .map(|replica| ((replica.topic().clone(), replica.key().partition), replica))
        .collect();
    let led = hosted
        .values()
        .filter(|replica| replica.leading().is_some())
        .count();
    let told = led <= partitions_max;
    if !told {
        census.partitions_left_out = led as u64;
    }
    for topic in image.topics() {
        let mut counts = None;
        for (number, placed) in topic.partitions.iter().enumerate() {
            let number = number as i32;
            let Some(replica) = hosted.get(&(topic.name.clone(), number)) else {
                continue;
            };
            counts.get_or_insert_with(|| replica.counters().counts());
            let Some(leader) = placed.leader.filter(|leader| *leader == node.id && told) else {
                continue;
            };
            let offsets = replica.log.offsets();
            census.partitions.push(PartitionFigures {
                topic: topic.name.clone(),
                partition: number,
                earliest: offsets.log_start.0,
                latest: offsets.high_watermark.0,
                bytes: replica.log.size_bytes(),
                leader,
                leader_is_preferred: placed.replicas.as_slice().first() == Some(&leader),
                replicas: placed.replicas.len(),
                in_sync: placed.isr.len(),
                in_sync_min: usize::try_from(replica.settings().insync_replicas_min).unwrap_or(1),
            });
        }
        census.topics.push(TopicFigures {
            name: topic.name.clone(),
            partitions: topic.partitions.len(),
            counts,
        });
    }
    census
        .topics
        .sort_by(|one, other| one.name.cmp(&other.name));
    let groups = node.groups.survey(node);
    let offsets: usize = groups.iter().map(|group| group.offsets.len()).sum();
    let told = offsets <= partitions_max;
    if !told {
        census.offsets_left_out = offsets as u64;
    }
    let now_ms = node.world.clock.wall_ms();
    census.groups = groups
        .into_iter()
        .map(|group| figures(group, told, now_ms, &hosted))
        .collect();
    census
}

fn figures(
    group: SurveyedGroup,
    told: bool,
    now_ms: i64,
    hosted: &HashMap<(Arc<str>, i32), Arc<Replica>>,
) -> GroupFigures {
    let members = group.members.len();
    let readers: HashMap<(Arc<str>, i32), Arc<Reader>> = group
        .members
        .into_iter()
        .flat_map(|(reader, reads)| reads.into_iter().map(move |place| (place, reader.clone())))
        .collect();
    let offsets = group.offsets.into_iter().filter(|_| told);
    GroupFigures {
        members,
        is_simple: group.is_simple,
        offsets: offsets
            .map(|(topic, partition, committed)| {
                let replica = hosted.get(&(topic.clone(), partition));
                let replica = replica.filter(|replica| replica.leading().is_some());
                OffsetFigures {
                    lag: replica.map(|replica| lag_of(replica, committed, now_ms)),
                    member: readers.get(&(topic.clone(), partition)).cloned(),
                    topic,
                    partition,
                    committed,
                }
            })
            .collect(),
        group: group.group,
    }
}

/// How far a reader that committed this is behind.
fn lag_of(replica: &Replica, committed: i64, now_ms: i64) -> Lag {
    let log = &replica.log;
    let offsets = log.offsets();
    let standing = Standing {
        committed: Some(committed),
        log_start: offsets.log_start.0,
        limit: offsets.high_watermark.0,
    };
    let first = standing.next().filter(|_| standing.may_be_behind());
    let first_unread_ms = first.and_then(|from| {
        // A log that cannot be read has no age; whoever reads it is told.
        let found = log.first_record_from(Offset(from), ReadBound::HighWatermark);
        log.append_time_ms(found.ok()??)
    });
    standing.lag(first_unread_ms, now_ms)
}
