//! The simulated world: one thread, one seed, every fault of the real one.
//!
//! Compiled always, so that every crate's tests can use it; the product never starts it, except
//! for [`loopback`], the connection inside the process.

pub mod clock;
pub mod disk;
pub mod net;
pub mod pipe;
mod random;
pub mod spawn;
#[cfg(feature = "paused_time")]
mod stage;

use std::sync::Arc;

pub use clock::SimClock;
pub use disk::{Fault, Injection, Operation, SimDisk};
pub use net::SimNet;
pub use pipe::loopback;
pub use random::{Rng, SimRandom};
pub use spawn::SimSpawn;

use crate::World;

/// A simulated node: its world, and the parts behind it for whoever makes them fail. Kept for
/// as long as the node is to live: the last clone takes its workers and reactors along.
#[derive(Clone)]
pub struct SimWorld {
    /// What the node gets.
    pub world: World,
    /// Moves time.
    pub clock: SimClock,
    /// Tears, lies, fills up, loses power.
    pub disk: SimDisk,
    /// Delays, holds, resets.
    pub net: SimNet,
    /// Steps workers.
    pub spawn: SimSpawn,
    seed: u64,
    _life: Arc<Life>,
}

impl World {
    /// A simulated node on an empty disk, alone on its network as host `node`.
    pub fn sim(seed: u64) -> SimWorld {
        let clock = SimClock::new();
        let net = SimNet::new(seed, clock.clone(), "node");
        let spawn = SimSpawn::new(seed, clock.clone());
        SimWorld::assemble(seed, clock, SimDisk::new(seed), net, spawn)
    }
}

impl SimWorld {
    fn assemble(
        seed: u64,
        clock: SimClock,
        disk: SimDisk,
        net: SimNet,
        spawn: SimSpawn,
    ) -> SimWorld {
        let world = World {
            clock: Arc::new(clock.clone()),
            disk: Arc::new(disk.clone()),
            net: Arc::new(net.clone()),
            random: Arc::new(SimRandom::new(seed)),
            spawn: Arc::new(spawn.clone()),
        };
        let life = Arc::new(Life(spawn.clone()));
        SimWorld {
            world,
            clock,
            disk,
            net,
            spawn,
            seed,
            _life: life,
        }
    }

    /// Another node on the same network and time, with a disk, chance and workers of its own.
    pub fn peer(&self, host: &str) -> SimWorld {
        let seed = Rng::fork(self.seed, host).next_u64();
        let net = self.net.host(host);
        let spawn = self.spawn.sibling();
        SimWorld::assemble(seed, self.clock.sibling(), SimDisk::new(seed), net, spawn)
    }

    /// The node behind a power cut at this moment and a restart: its workers are dropped, its
    /// connections reset, its disk is [`SimDisk::crash_image`].
    pub fn restart_after_power_cut(&self, seed: u64) -> SimWorld {
        self.restart_on(seed, self.disk.crash_image(seed))
    }

    /// The node started again with another disk in it.
    pub fn restart_on(&self, seed: u64, disk: SimDisk) -> SimWorld {
        self.spawn.crash();
        self.net.crash();
        let spawn = self.spawn.sibling();
        SimWorld::assemble(seed, self.clock.clone(), disk, self.net.clone(), spawn)
    }

    /// Runs `main`, the workers and the reactors of all nodes of this network in a runtime whose
    /// time is virtual, until `main` ends: [`SimSpawn::block_on`].
    #[cfg(feature = "paused_time")]
    pub fn block_on<F: Future>(&self, main: F) -> F::Output {
        self.spawn.block_on(main)
    }
}

/// Ends a node when the last hold on its [`SimWorld`] goes: its reactors hold its world, which
/// holds them.
struct Life(SimSpawn);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.crash();
    }
}
