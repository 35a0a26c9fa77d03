//! The real world: Linux.

mod clock;
mod disk;
mod net;
mod random;
mod spawn;

pub use clock::RealClock;
pub use disk::RealDisk;
pub use net::RealNet;
pub use random::RealRandom;
pub use spawn::RealSpawn;
