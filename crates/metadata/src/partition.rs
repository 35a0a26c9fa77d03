//! One partition as the controller knows it, small: 50,000 of them live in memory on every node.

use std::sync::Arc;

use wire::ids::{BrokerId, LeaderEpoch};

/// One data directory of one broker: a random id written when it is first used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DirectoryId(pub [u8; 16]);

/// A short list of brokers; up to three stand in the value itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Replicas(List);

#[derive(Clone, PartialEq, Eq)]
enum List {
    Few {
        count: u8,
        ids: [BrokerId; 3],
    },
    /// One word wide, so that the whole list is two.
    Many(Arc<Vec<BrokerId>>),
}

impl Replicas {
    /// No broker.
    pub fn none() -> Replicas {
        Replicas::from_slice(&[])
    }

    /// These brokers, in this order.
    pub fn from_slice(brokers: &[BrokerId]) -> Replicas {
        // Unused places hold a fixed value, so that equal lists are equal bytes.
        let mut ids = [BrokerId::NONE; 3];
        match ids.get_mut(..brokers.len()) {
            Some(few) => {
                few.copy_from_slice(brokers);
                Replicas(List::Few {
                    count: brokers.len() as u8,
                    ids,
                })
            }
            None => Replicas(List::Many(Arc::new(brokers.to_vec()))),
        }
    }

    /// The brokers, in order.
    pub fn as_slice(&self) -> &[BrokerId] {
        match &self.0 {
            List::Few { count, ids } => &ids[..usize::from(*count)],
            List::Many(all) => all,
        }
    }

    /// Whether the broker is in the list.
    pub fn contains(&self, broker: BrokerId) -> bool {
        self.as_slice().contains(&broker)
    }

    /// How many brokers.
    pub fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether there is no broker.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The list without one broker.
    pub fn without(&self, broker: BrokerId) -> Replicas {
        let left: Vec<BrokerId> = self
            .as_slice()
            .iter()
            .copied()
            .filter(|b| *b != broker)
            .collect();
        Replicas::from_slice(&left)
    }

    /// The list with one broker more, at the end, if it is not in it.
    pub fn with(&self, broker: BrokerId) -> Replicas {
        if self.contains(broker) {
            return self.clone();
        }
        let mut all = self.as_slice().to_vec();
        all.push(broker);
        Replicas::from_slice(&all)
    }
}

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.as_slice().iter().map(|broker| broker.0))
            .finish()
    }
}

/// Whether the leader's log is known to hold everything acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It is.
    Recovered,
    /// The leader was elected although it may lack records.
    Recovering,
}

/// A partition's state (replication.md 5).
///
/// ISR and ELR never meet; ISR and ELR are parts of the replicas; epochs only grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Who holds it; the first is the preferred leader.
    pub replicas: Replicas,
    /// Who holds everything acknowledged and is counted.
    pub isr: Replicas,
    /// Who left the ISR while it was too small to write to, and so still holds everything.
    pub elr: Replicas,
    /// Where each replica lies, in the order of `replicas`.
    pub directories: Arc<[DirectoryId]>,
    /// The leader, if there is one.
    pub leader: Option<BrokerId>,
    /// Grows with every leader, also with "none".
    pub leader_epoch: LeaderEpoch,
    /// Grows with every change.
    pub partition_epoch: i32,
    /// Whether the leader is known to be complete.
    pub recovery: Recovery,
}
