//! The node's side of the metadata log: proposes commands, applies what was decided, and keeps
//! the hosted partitions equal to the image.
//!
//! A decided command changes the image, and what is hosted follows before the answer goes back:
//! whoever was told that a topic exists finds it served.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use commitlog::LogError;
use metadata::{Answer, Command, Image, MetadataOffset, Proposed, Refusal, apply};
use quorum::{MetadataQuorum, QuorumError, SingleNode, StateMachine};
use wire::ErrorCode;

use crate::bell::Bell;
use crate::node::ImageCell;
use crate::partitions::Partitions;
use crate::quotas::Quotas;

/// Proposes commands. Cheap to clone, usable from every reactor.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    cluster: Arc<Cluster>,
    quorum: OnceLock<SingleNode>,
    broker_epoch: AtomicI64,
    creations: Mutex<HashSet<String>>,
}

/// What is told of the metadata log.
pub struct QuorumState {
    /// The leader's term.
    pub term: u64,
    /// The last entry that is committed and applied.
    pub applied: u64,
}

/// The state machine behind the metadata log: commands in, image and hosted partitions out.
pub struct Cluster {
    state: Mutex<Image>,
    image: Arc<ImageCell>,
    partitions: Arc<Partitions>,
    quotas: Arc<Quotas>,
    /// Whether hosted partitions follow each command; not while old commands are replayed.
    following: AtomicBool,
    /// Whether a follow failed and has to be made up for.
    behind: AtomicBool,
    /// Partitions of deleted topics, for the coordinators to forget.
    deleted: Mutex<Vec<(Arc<str>, i32)>>,
    /// Wakes the control task.
    bell: Bell,
}

/// [`Cluster`] as the quorum calls it.
pub struct Machine(pub Arc<Cluster>);

impl StateMachine for Machine {
    fn apply(&mut self, index: u64, command: &[u8]) -> Vec<u8> {
        match Command::decode(command) {
            Ok(proposed) => self.0.apply(MetadataOffset(index), proposed).encode(),
            // Agreed on, and not understood: skipping it would make this node's state another
            // one than the cluster's. It stops, and says what it met.
            Err(error) => panic!("metadata command {index}: {error}"),
        }
    }

    fn snapshot(&self) -> Vec<u8> {
        metadata::snapshot(&self.0.image())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), String> {
        let image = metadata::restore(snapshot).map_err(|error| error.to_string())?;
        self.0.restore(image);
        Ok(())
    }
}

impl Cluster {
    /// An empty cluster.
    pub fn new(
        image: Arc<ImageCell>,
        partitions: Arc<Partitions>,
        quotas: Arc<Quotas>,
    ) -> Arc<Cluster> {
        Arc::new(Cluster {
            state: Mutex::default(),
            image,
            partitions,
            quotas,
            following: AtomicBool::new(false),
            behind: AtomicBool::new(false),
            deleted: Mutex::default(),
            bell: Bell::new(),
        })
    }

    /// Carries out the command at `offset` of the metadata log.
    ///
    /// While old commands are replayed nobody looks at the published image: ours has no second
    /// owner, so it is changed in place. A shared one would be copied as far as it changes, which
    /// for the epochs of a whole node is all of it.
    pub fn apply(&self, offset: MetadataOffset, proposed: Proposed) -> Answer {
        let mut state = self.state();
        let doomed = match &proposed.command {
            Command::DeleteTopic { id } => state.topic_by_id(*id).cloned(),
            _ => None,
        };
        let (answer, delta) = apply(&mut state, offset, proposed);
        if let Some(topic) = doomed.filter(|_| !delta.topics_deleted.is_empty()) {
            let numbers = 0..topic.partitions.len() as i32;
            let gone = numbers.map(|number| (topic.name.clone(), number));
            self.deleted().extend(gone);
            self.bell.ring();
        }
        if !self.following.load(Ordering::Acquire) {
            return answer;
        }
        let image = Arc::new(state.clone());
        self.image.store(image.clone());
        if !delta.quotas.is_empty() {
            self.quotas.follow(&image);
        }
        if !delta.is_empty()
            && let Err(error) = self.partitions.follow_delta(&image, &delta)
        {
            self.fall_behind(&error);
        }
        answer
    }

    /// Takes over a whole image, from a snapshot.
    pub fn restore(&self, image: Image) {
        let mut state = self.state();
        *state = image;
        if !self.following.load(Ordering::Acquire) {
            return;
        }
        self.image.store(Arc::new(state.clone()));
        self.quotas.follow(&state);
        drop(state);
        self.behind.store(true, Ordering::Release);
        self.catch_up();
    }

    /// Partitions deleted since this was last asked.
    pub fn take_deleted(&self) -> Vec<(Arc<str>, i32)> {
        std::mem::take(&mut *self.deleted())
    }

    /// The image, to be written out.
    pub fn image(&self) -> Image {
        self.state().clone()
    }

    /// Publishes the image, hosts what it says, and from now on follows each command.
    pub fn start_following(&self) -> Result<(), LogError> {
        let state = self.state();
        self.image.store(Arc::new(state.clone()));
        self.quotas.follow(&state);
        self.partitions.follow_image(&state)?;
        // Replayed deletions are forgotten once more, for the last run may have ended before it
        // did; but the offsets of a topic that was made anew since are its own.
        self.deleted()
            .retain(|(name, _)| state.topic(name).is_none());
        self.following.store(true, Ordering::Release);
        Ok(())
    }

    /// Makes up for a follow that failed. Whether nothing is left to be done.
    pub fn catch_up(&self) -> bool {
        if !self.behind.load(Ordering::Acquire) {
            return true;
        }
        let state = self.state();
        match self.partitions.follow_image(&state) {
            Ok(()) => {
                self.behind.store(false, Ordering::Release);
                true
            }
            Err(error) => {
                self.fall_behind(&error);
                false
            }
        }
    }

    fn fall_behind(&self, error: &LogError) {
        // A full staging buffer passes within a flush; the rest an operator should know of.
        if !self.behind.swap(true, Ordering::AcqRel) && !matches!(error, LogError::StagingFull) {
            tracing::error!(%error, "hosted partitions do not follow the metadata; trying again");
        }
        self.bell.ring();
    }

    fn deleted(&self) -> MutexGuard<'_, Vec<(Arc<str>, i32)>> {
        self.deleted
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn state(&self) -> MutexGuard<'_, Image> {
        self.state
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Control {
    /// Proposals go to the log in front of `cluster`.
    pub fn new(cluster: Arc<Cluster>) -> Control {
        Control(Arc::new(Inner {
            cluster,
            quorum: OnceLock::new(),
            broker_epoch: AtomicI64::new(-1),
            creations: Mutex::default(),
        }))
    }

    /// Proposals go to this quorum from now on.
    pub fn attach(&self, quorum: SingleNode) {
        // Attached once, by the control task's begin.
        let _ = self.0.quorum.set(quorum);
    }

    /// Stops taking part in the metadata.
    pub async fn close(&self) {
        if let Some(quorum) = self.0.quorum.get() {
            quorum.close().await;
        }
    }

    /// Puts a command before the cluster and waits until it is decided and carried out here.
    ///
    /// # Errors
    /// NOT_CONTROLLER: nobody decides at the moment, try again. REQUEST_TIMED_OUT: it may or may
    /// not have been decided.
    pub async fn propose(&self, command: Command) -> Result<Answer, Refusal> {
        let refusal = |code, message: String| Refusal { code, message };
        let Some(quorum) = self.0.quorum.get() else {
            return Err(refusal(
                ErrorCode::NotController,
                "the metadata is not open yet".into(),
            ));
        };
        let decided = quorum.propose(command.encode()).await.map_err(|error| {
            let code = match &error {
                QuorumError::NotLeader { .. } | QuorumError::Stopped { .. } => {
                    ErrorCode::NotController
                }
                QuorumError::Unknown => ErrorCode::RequestTimedOut,
                QuorumError::TooLarge { .. } => ErrorCode::InvalidRequest,
                QuorumError::Unsupported { .. } | QuorumError::Journal(_) => {
                    ErrorCode::UnknownServerError
                }
            };
            refusal(code, error.to_string())
        })?;
        Answer::decode(&decided.answer)
            .map_err(|error| refusal(ErrorCode::UnknownServerError, error.to_string()))
    }

    /// How far the metadata is, with everything that was committed before the call.
    ///
    /// # Errors
    /// This node does not lead, or takes part no more.
    pub async fn quorum_state(&self) -> Result<QuorumState, QuorumError> {
        let Some(quorum) = self.0.quorum.get() else {
            return Err(QuorumError::NotLeader { leader: None });
        };
        let applied = quorum.barrier().await?;
        let term = quorum.leadership().borrow().term;
        Ok(QuorumState { term, applied })
    }

    /// The epoch of this broker's registration; −1 before it.
    pub fn broker_epoch(&self) -> i64 {
        self.0.broker_epoch.load(Ordering::Acquire)
    }

    /// Notes the epoch of this broker's registration.
    pub fn set_broker_epoch(&self, epoch: i64) {
        self.0.broker_epoch.store(epoch, Ordering::Release);
    }

    /// Claims the creation of a topic, so that a crowd that asks for it proposes it once.
    pub fn claim_creation(&self, topic: &str) -> bool {
        self.creations().insert(topic.to_owned())
    }

    /// Gives the claim back.
    pub fn release_creation(&self, topic: &str) {
        self.creations().remove(topic);
    }

    /// Wakes the control task.
    pub fn wake(&self) {
        self.0.cluster.bell.ring();
    }

    /// Waits until [`Control::wake`] is called.
    pub async fn woken(&self) {
        std::future::poll_fn(|cx| self.0.cluster.bell.poll_rung(cx)).await;
    }

    /// The state machine.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.0.cluster
    }

    fn creations(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0
            .creations
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}
