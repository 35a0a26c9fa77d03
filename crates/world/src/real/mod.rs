//! The real world: Linux.

mod clock;
mod disk;
mod memory;
mod net;
mod random;
mod spawn;

pub use clock::RealClock;
pub use disk::RealDisk;
pub use memory::give_back_memory;
pub use net::RealNet;
pub use random::RealRandom;
pub use spawn::RealSpawn;
