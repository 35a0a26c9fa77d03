//! Assignors: who shall read what. Pure functions of members, subscriptions and the last target.
//!
//! Kafka leaves ties to the order of hash maps; here they go by topic id, partition and member id,
//! so the same group is assigned the same way on every node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wire::ids::TopicId;

use crate::consumer::member::Partitions;

mod range;
mod uniform;

/// The assignors there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Equal shares, and partitions stay where they are.
    Uniform,
    /// Of each topic a range, so that members read the same partitions of all topics.
    Range,
}

impl Assignor {
    /// By the name Kafka gives it; `None` for any other.
    pub fn by_name(name: &str) -> Option<Assignor> {
        match name {
            "uniform" => Some(Assignor::Uniform),
            "range" => Some(Assignor::Range),
            _ => None,
        }
    }

    /// The name Kafka gives it.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    /// A new target: every partition of every topic somebody reads, each with one who reads it.
    pub(crate) fn assign(self, spec: &Spec) -> BTreeMap<Arc<str>, Partitions> {
        match self {
            Assignor::Uniform => uniform::assign(spec),
            Assignor::Range => range::assign(spec),
        }
    }
}

/// What an assignor is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spec {
    /// The members by id.
    pub(crate) members: BTreeMap<Arc<str>, MemberSpec>,
    /// Number of partitions of every topic somebody reads.
    pub(crate) topics: BTreeMap<TopicId, i32>,
}

/// A member, to an assignor.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemberSpec {
    pub(crate) instance: Option<Arc<str>>,
    /// Topics it reads; each is in [`Spec::topics`].
    pub(crate) topics: BTreeSet<TopicId>,
    /// What it was to have so far.
    pub(crate) target: Partitions,
}

#[cfg(test)]
mod tests;
