//! One suite for each seam, run on the real world and on the simulated one.

mod clock;
mod disk;
mod net;
mod spawn;

/// Runs each fact on every world it is given.
macro_rules! facts {
    ($($world:ident: $start:expr => [$($fact:ident),* $(,)?];)*) => {
        $(
            mod $world {
                $(
                    #[test]
                    fn $fact() {
                        let (given, _guard) = $start();
                        super::$fact(given);
                    }
                )*
            }
        )*
    };
}
pub(crate) use facts;

use tempfile::TempDir;
use world::World;

/// A real world on the filesystem of the temporary directory.
fn real() -> (World, TempDir) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let world = World::real(&directory.path().join("data/dir")).expect("real world");
    (world, directory)
}

/// A real world on tmpfs where there is one: durable writes take the path for filesystems that
/// refuse O_DIRECT there, on kernels where tmpfs does.
fn real_in_memory() -> (World, TempDir) {
    let directory = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("temporary directory");
    let world = World::real(directory.path()).expect("real world");
    (world, directory)
}

/// A simulated world.
fn sim() -> (World, ()) {
    (World::sim(7).world, ())
}
