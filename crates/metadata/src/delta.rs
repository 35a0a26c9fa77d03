//! What one command changed, so that a node acts on that and not on the whole image.

use std::sync::Arc;

use wire::ids::{BrokerId, TopicId};

use crate::image::Resource;
use crate::quota::QuotaEntity;

/// The changes of one command. Empty if it was refused or changed nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// New topics; their partitions are not listed again.
    pub topics_created: Vec<TopicId>,
    /// Topics that are gone, with the names they had.
    pub topics_deleted: Vec<(TopicId, Arc<str>)>,
    /// New or changed partitions of existing topics.
    pub partitions: Vec<(TopicId, i32)>,
    /// Brokers registered, fenced, unfenced or shutting down.
    pub brokers: Vec<BrokerId>,
    /// Resources whose settings changed.
    pub configs: Vec<Resource>,
    /// Whose quotas changed.
    pub quotas: Vec<QuotaEntity>,
    /// Whether the cluster id, a feature level or the producer-id counter changed.
    pub cluster: bool,
}

impl Delta {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Delta::default()
    }
}
