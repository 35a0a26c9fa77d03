//! openraft's own suite on our log store and state machine (replication.md 3.3, point 5).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use world::sim::SimDisk;
use world::{WorkerHandle, World};

use super::Memory;
use crate::journal::{Journal, Sizes};
use crate::machine::Machine;
use crate::raft::{Runtime, Types};
use crate::snapshots::Snapshots;
use crate::store::LogStore;

/// Small slots, so that the suite also crosses from one to the next.
const SIZES: Sizes = Sizes {
    slot_bytes_first: 16 * 1024,
    slot_bytes_min: 16 * 1024,
    reserve_bytes: 16 * 1024,
};

/// Makes a store on a disk of its own for each test of the suite.
struct Builder<F> {
    world: F,
}

/// Ends the worker when the test is over, and keeps its directory until then.
struct Guard {
    store: LogStore,
    worker: Option<Box<dyn WorkerHandle + Send>>,
    _directory: Option<tempfile::TempDir>,
}

// The handle is only ever used by `drop`, which has it alone.
struct Shared(std::sync::Mutex<Guard>);

impl Drop for Shared {
    fn drop(&mut self) {
        let guard = self.0.get_mut().expect("whole");
        guard.store.close();
        if let Some(worker) = guard.worker.take() {
            worker.join();
        }
    }
}

impl<F> StoreBuilder<Types, LogStore, Machine, Shared> for Builder<F>
where
    F: Fn() -> (World, Option<tempfile::TempDir>) + Send + Sync,
{
    async fn build(&self) -> Result<(Shared, LogStore, Machine), StorageError<Types>> {
        let (world, directory) = (self.world)();
        let snapshots = Snapshots::new(Arc::clone(&world.disk));
        let journal = Journal::open(
            Arc::clone(&world.disk),
            Arc::clone(&world.random),
            0,
            false,
            SIZES,
        )
        .expect("a new log");
        let (store, worker) = LogStore::start(
            &*world.spawn,
            Arc::clone(&world.clock),
            journal,
            snapshots.clone(),
        );
        let machine = Machine::new(Box::new(Memory::default()), None, snapshots, store.clone())
            .expect("nothing to restore");
        let guard = Guard {
            store: store.clone(),
            worker: Some(worker),
            _directory: directory,
        };
        Ok((Shared(std::sync::Mutex::new(guard)), store, machine))
    }
}

#[test]
fn openrafts_suite_passes_on_a_real_disk() {
    let builder = Builder {
        world: || {
            let directory = tempfile::tempdir().expect("a directory");
            (
                World::real(directory.path()).expect("a world"),
                Some(directory),
            )
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(Runtime::scope(1, Suite::test_all(builder)))
        .expect("the suite passes");
}

#[test]
fn openrafts_suite_passes_on_the_simulated_disk() {
    let node = World::sim(7);
    let world = node.world.clone();
    let seed = AtomicU64::new(0);
    let builder = Builder {
        world: move || {
            let disk = SimDisk::new(seed.fetch_add(1, Ordering::Relaxed));
            (
                World {
                    disk: Arc::new(disk),
                    ..world.clone()
                },
                None,
            )
        },
    };
    node.block_on(Runtime::scope(1, Suite::test_all(builder)))
        .expect("the suite passes");
}
