//! The outside world: clock, disk, network, randomness and spawning.
//!
//! Every other crate reaches time, bytes at rest, bytes in flight, chance and concurrency only
//! through the traits here, so that a whole node can run in one thread from one seed.
//!
//! Invariants:
//! - Each seam has a real and a simulated implementation that pass one conformance suite.
//! - A seam promises no more than the real thing: the simulated disk tears, lies and fills up.
//!
//! This crate must never know Kafka, records, partitions or configuration.

pub mod aligned;
pub mod clock;
pub mod disk;
pub mod net;
pub mod random;
pub mod real;
pub mod sim;
pub mod spawn;

use std::path::Path;
use std::sync::Arc;

pub use aligned::AlignedBuf;
pub use clock::{Clock, Instant};
pub use disk::{Disk, DiskError, DiskResult, File, OpenMode};
pub use net::{Listener, Net, Stream};
pub use random::Random;
pub use sim::SimWorld;
pub use spawn::{Next, Priority, Scheduling, Signal, Spawn, Worker, WorkerHandle};

/// Everything a node may touch outside its own memory. Cheap to clone; passed in constructors.
#[derive(Clone)]
pub struct World {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The node's one data directory.
    pub disk: Arc<dyn Disk>,
    /// Listening and connecting.
    pub net: Arc<dyn Net>,
    /// Seeded chance.
    pub random: Arc<dyn Random>,
    /// Threads, or their simulation.
    pub spawn: Arc<dyn Spawn>,
}

impl World {
    /// The machine we run on, with one data directory, created if it is missing.
    ///
    /// # Errors
    /// `Denied` if the directory cannot be written; others as the system says.
    pub fn real(data_dir: &Path) -> DiskResult<World> {
        Ok(World {
            clock: Arc::new(real::RealClock::new()),
            disk: Arc::new(real::RealDisk::open(data_dir)?),
            net: Arc::new(real::RealNet),
            random: Arc::new(real::RealRandom),
            spawn: Arc::new(real::RealSpawn),
        })
    }
}
