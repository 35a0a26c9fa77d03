//! A disk in memory that is never kinder than a real one.
//!
//! Each file keeps apart what is on the platter and what the page cache shows; each name the
//! same. A power cut ([`SimDisk::crash_image`]) leaves what was made durable, and of the rest any
//! subset of 512-byte sectors, lengths and names, drawn from a seed. Faults are injected per
//! operation, path and probability. Operations that change something are counted, and the disk
//! can be stopped at any of them.

mod content;
mod fault;
mod file;
mod names;
mod node;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

pub use fault::{Fault, Injection, Operation};

use crate::disk::{
    Disk, DiskError, DiskLock, DiskResult, DiskTraits, Entry, File, OpenMode, Space, check_path,
};
use crate::sim::Rng;
use content::PAGE;
use file::SimFile;
use names::{Named, Names};
use node::Node;

/// Capacity unless [`SimDisk::set_capacity`] says otherwise: more than any test writes.
const CAPACITY_BYTES: u64 = 1 << 40;

/// A call about to be made, as the watcher sees it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Which call.
    pub operation: Operation,
    /// Its path; for a rename the old one.
    pub path: String,
    /// First byte, for reads and writes.
    pub position: u64,
    /// Bytes asked for or given; the new length for truncate and zero fill.
    pub length: u64,
    /// How many changing operations there were before.
    pub operations: u64,
}

/// Told of each call before it is made, outside all locks: it may stall, advance a clock, take a
/// crash image or inject a fault for this very call.
pub type Watcher = Arc<dyn Fn(&Event) + Send + Sync>;

/// A simulated data directory. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    watcher: Mutex<Option<Watcher>>,
}

#[derive(Clone)]
struct State {
    names: Names,
    nodes: BTreeMap<u64, Arc<Node>>,
    node_next: u64,
    locks: BTreeSet<String>,
    capacity_pages: u64,
    copy_on_write: bool,
    rng: Rng,
    operations: u64,
    stop_at: Option<u64>,
    power_cut: bool,
    injections: Vec<Injection>,
    struck: BTreeMap<(Operation, Fault), u64>,
}

/// What is to become of a call.
enum Verdict {
    Proceed,
    Strike(Fault),
    /// The power goes while the call is under way.
    PowerCut,
}

impl SimDisk {
    /// An empty disk whose chance comes from this seed.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::from_state(State {
            names: Names::default(),
            nodes: BTreeMap::new(),
            node_next: 1,
            locks: BTreeSet::new(),
            capacity_pages: CAPACITY_BYTES / PAGE as u64,
            copy_on_write: false,
            rng: Rng::fork(seed, "disk"),
            operations: 0,
            stop_at: None,
            power_cut: false,
            injections: Vec::new(),
            struck: BTreeMap::new(),
        })
    }

    fn from_state(state: State) -> SimDisk {
        SimDisk(Arc::new(Shared {
            state: Mutex::new(state),
            watcher: Mutex::new(None),
        }))
    }

    /// The disk as it is after a power cut at this moment and a restart; this one goes on. The
    /// same disk and seed give the same image. Faults, locks and counts do not carry over.
    pub fn crash_image(&self, seed: u64) -> SimDisk {
        let state = self.state();
        let mut rng = Rng::fork(seed, "crash");
        let names = state.names.after_power_cut(&mut rng);
        let mut nodes = BTreeMap::new();
        for named in names.values() {
            if let Named::File(node) = named
                && let Some(node_now) = state.nodes.get(node)
            {
                let content = node_now.after_power_cut(&mut rng);
                nodes.insert(*node, Arc::new(Node::restarted(content)));
            }
        }
        state.restarted(Names::restarted(names), nodes, rng)
    }

    /// The disk as it is after the process died at this moment and the machine lived: the page
    /// cache is whole, and still not durable.
    pub fn process_crash_image(&self, seed: u64) -> SimDisk {
        let state = self.state();
        // What has no name now may get it back from a later power cut.
        let kept = state.names.nodes_kept();
        let nodes = state
            .nodes
            .iter()
            .filter(|(id, node)| node.named || kept.contains(id))
            .map(|(id, node)| {
                let mut node = Node::clone(node);
                node.open = 0;
                (*id, Arc::new(node))
            })
            .collect();
        let names = state.names.clone();
        state.restarted(names, nodes, Rng::fork(seed, "process"))
    }

    /// An empty disk in place of this one, with its capacity: somebody replaced it.
    pub fn replaced(&self, seed: u64) -> SimDisk {
        let state = self.state();
        state.restarted(Names::default(), BTreeMap::new(), Rng::fork(seed, "disk"))
    }

    /// How many changing operations were made ([`Operation::changes`]), failed ones included.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Cuts the power in the middle of the changing operation with this number, counted from 1:
    /// it fails having done any part of its work, and every later call fails too.
    pub fn stop_at(&self, operation: u64) {
        self.state().stop_at = Some(operation);
    }

    /// Cuts the power now: every later call fails.
    pub fn cut_power(&self) {
        self.state().power_cut = true;
    }

    /// Whether the power was cut.
    pub fn is_power_cut(&self) -> bool {
        self.state().power_cut
    }

    /// Adds a fault. Several may be waiting; the first that strikes decides.
    pub fn inject(&self, injection: Injection) {
        self.state().injections.push(injection);
    }

    /// Takes all injected faults away. What they did stays done.
    pub fn heal(&self) {
        self.state().injections.clear();
    }

    /// How often each fault struck: what "sometimes" assertions count.
    pub fn faults_struck(&self) -> BTreeMap<(Operation, Fault), u64> {
        self.state().struck.clone()
    }

    /// Sets how many bytes fit, in whole pages of 4 KiB.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_pages = bytes / PAGE as u64;
    }

    /// Makes overwrites allocate, as btrfs and ZFS do: a full disk refuses them too.
    pub fn set_copy_on_write(&self, copy_on_write: bool) {
        self.state().copy_on_write = copy_on_write;
    }

    /// Is told of each call; replaces the one before.
    pub fn watch(&self, watcher: Watcher) {
        *lock(&self.0.watcher) = Some(watcher);
    }

    /// Nobody is told any more.
    pub fn unwatch(&self) {
        *lock(&self.0.watcher) = None;
    }

    /// Flips one bit of a file at rest, unseen by all checks but the reader's own.
    ///
    /// # Errors
    /// `NotFound` if there is no such file.
    pub fn flip_bit(&self, path: &str, position: u64, bit: u8) -> DiskResult<()> {
        let mut state = self.state();
        let node = state.file(path)?;
        state.node_mut(node).flip_bit(position, bit);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Counts a call, asks what is to become of it, and holds the state for it.
    fn begin(
        &self,
        operation: Operation,
        path: &str,
        position: u64,
        length: u64,
    ) -> DiskResult<(MutexGuard<'_, State>, Verdict)> {
        let watcher = lock(&self.0.watcher).clone();
        if let Some(watcher) = watcher {
            let operations = self.state().operations;
            watcher(&Event {
                operation,
                path: path.to_owned(),
                position,
                length,
                operations,
            });
        }
        let mut state = self.state();
        if state.power_cut {
            return Err(power_cut(operation, path));
        }
        if operation.changes() {
            state.operations += 1;
            if state.stop_at == Some(state.operations) {
                state.power_cut = true;
                return Ok((state, Verdict::PowerCut));
            }
        }
        let State {
            injections,
            rng,
            struck,
            ..
        } = &mut *state;
        let fault = injections
            .iter_mut()
            .find_map(|injection| injection.strikes(operation, path, rng));
        let verdict = match fault {
            Some(fault) => {
                *struck.entry((operation, fault)).or_default() += 1;
                Verdict::Strike(fault)
            }
            None => Verdict::Proceed,
        };
        Ok((state, verdict))
    }

    /// A call whose faults only keep it from happening: ready to go on, or its error. Behind a
    /// power cut the change is made all the same, unsynced, and the error told by `finish`.
    fn begin_plain(&self, operation: Operation, path: &str) -> DiskResult<MutexGuard<'_, State>> {
        let (state, verdict) = self.begin(operation, path, 0, 0)?;
        if let Verdict::Strike(fault) = verdict
            && let Some(error) = fault.error(operation, path)
        {
            return Err(error);
        }
        Ok(state)
    }

    fn handle(&self, node: u64, path: &str, mode: OpenMode) -> Arc<dyn File> {
        Arc::new(SimFile {
            disk: self.clone(),
            node,
            path: path.to_owned(),
            mode,
        })
    }
}

impl State {
    /// The same hardware behind a restart.
    fn restarted(&self, names: Names, nodes: BTreeMap<u64, Arc<Node>>, rng: Rng) -> SimDisk {
        SimDisk::from_state(State {
            names,
            nodes,
            node_next: self.node_next,
            locks: BTreeSet::new(),
            capacity_pages: self.capacity_pages,
            copy_on_write: self.copy_on_write,
            rng,
            operations: 0,
            stop_at: None,
            power_cut: false,
            injections: Vec::new(),
            struck: BTreeMap::new(),
        })
    }

    /// The error of a call that the power cut interrupted.
    fn finish(&self, operation: Operation, path: &str) -> DiskResult<()> {
        if self.power_cut {
            Err(power_cut(operation, path))
        } else {
            Ok(())
        }
    }

    fn file(&self, path: &str) -> DiskResult<u64> {
        match self.names.find(path) {
            Some(Named::File(node)) => Ok(node),
            Some(Named::Dir) => Err(DiskError::Io {
                path: path.to_owned(),
                operation: "open",
                reason: "is a directory".to_owned(),
            }),
            None => Err(DiskError::NotFound {
                path: path.to_owned(),
            }),
        }
    }

    /// A file of this state. Handles and names keep theirs alive, so it is there.
    fn node(&self, node: u64) -> &Node {
        &self.nodes[&node]
    }

    fn node_mut(&mut self, node: u64) -> &mut Node {
        Arc::make_mut(self.nodes.entry(node).or_default())
    }

    fn create(&mut self, path: &str) -> u64 {
        let node = self.node_next;
        self.node_next += 1;
        self.names.set(path, Named::File(node));
        self.node_mut(node).named = true;
        node
    }

    /// Forgets the name's hold on a file.
    fn unname(&mut self, node: u64) {
        self.node_mut(node).named = false;
        self.sweep();
    }

    /// Drops files that no name, handle or power cut can reach.
    fn sweep(&mut self) {
        if self.nodes.values().all(|node| node.named || node.open > 0) {
            return;
        }
        let kept = self.names.nodes_kept();
        self.nodes
            .retain(|id, node| node.named || node.open > 0 || kept.contains(id));
    }

    fn pages_free(&self) -> u64 {
        let used = self
            .nodes
            .values()
            .filter(|node| node.named || node.open > 0)
            .map(|node| node.pages())
            .sum();
        self.capacity_pages.saturating_sub(used)
    }

    /// How many of these bytes there is room for.
    fn room_for(&self, node: u64, position: u64, length: u64) -> u64 {
        let node = self.node(node);
        // The common case without a sum over all files.
        if self.capacity_pages >= CAPACITY_BYTES / PAGE as u64 {
            return length;
        }
        let free = self.pages_free();
        if self.copy_on_write {
            let pages = length.div_ceil(PAGE as u64) + 1;
            return if pages <= free { length } else { 0 };
        }
        if node.pages_missing(position, length) <= free {
            return length;
        }
        // Page by page up to the first that finds none.
        let mut fits = 0;
        while fits < length {
            let step = (PAGE as u64 - (position + fits) % PAGE as u64).min(length - fits);
            if node.pages_missing(position, fits + step) > free {
                break;
            }
            fits += step;
        }
        fits
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &str, mode: OpenMode) -> DiskResult<Arc<dyn File>> {
        check_path(path)?;
        let operation = if mode == OpenMode::CreateNew {
            Operation::Create
        } else {
            Operation::Open
        };
        let mut state = self.begin_plain(operation, path)?;
        let node = if mode == OpenMode::CreateNew {
            if state.names.find(path).is_some() {
                return Err(DiskError::AlreadyExists {
                    path: path.to_owned(),
                });
            }
            if !state.names.has_parent(path) {
                return Err(DiskError::NotFound {
                    path: path.to_owned(),
                });
            }
            state.create(path)
        } else {
            state.file(path)?
        };
        state.finish(operation, path)?;
        state.node_mut(node).open += 1;
        Ok(self.handle(node, path, mode))
    }

    fn create_dir(&self, path: &str) -> DiskResult<()> {
        check_path(path)?;
        let mut state = self.begin_plain(Operation::CreateDir, path)?;
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for end in ends {
            let ancestor = &path[..end];
            match state.names.find(ancestor) {
                Some(Named::Dir) => {}
                Some(Named::File(_)) => {
                    return Err(DiskError::Io {
                        path: ancestor.to_owned(),
                        operation: "create_dir",
                        reason: "is a file".to_owned(),
                    });
                }
                None => state.names.set(ancestor, Named::Dir),
            }
        }
        state.finish(Operation::CreateDir, path)
    }

    fn rename(&self, from: &str, to: &str) -> DiskResult<()> {
        check_path(from)?;
        check_path(to)?;
        let mut state = self.begin_plain(Operation::Rename, from)?;
        let node = state.file(from)?;
        if !state.names.has_parent(to) {
            return Err(DiskError::NotFound {
                path: to.to_owned(),
            });
        }
        match state.names.find(to) {
            Some(Named::Dir) => {
                return Err(DiskError::Io {
                    path: to.to_owned(),
                    operation: "rename",
                    reason: "is a directory".to_owned(),
                });
            }
            Some(Named::File(replaced)) if replaced != node => {
                state.names.rename(from, to, Named::File(node));
                state.unname(replaced);
            }
            Some(Named::File(_)) => {}
            None => state.names.rename(from, to, Named::File(node)),
        }
        state.finish(Operation::Rename, from)
    }

    fn unlink(&self, path: &str) -> DiskResult<()> {
        check_path(path)?;
        let mut state = self.begin_plain(Operation::Unlink, path)?;
        let node = state.file(path)?;
        state.names.remove(path);
        state.unname(node);
        state.finish(Operation::Unlink, path)
    }

    fn list(&self, path: &str) -> DiskResult<Vec<Entry>> {
        if !path.is_empty() {
            check_path(path)?;
        }
        let state = self.begin_plain(Operation::List, path)?;
        check_directory(&state.names, path, "list")?;
        let entry = |(name, named)| Entry {
            name,
            is_dir: named == Named::Dir,
        };
        let mut entries: Vec<Entry> = state.names.list(path).into_iter().map(entry).collect();
        entries.sort();
        Ok(entries)
    }

    fn sync_dir(&self, path: &str) -> DiskResult<()> {
        if !path.is_empty() {
            check_path(path)?;
        }
        let (mut state, verdict) = self.begin(Operation::SyncDir, path, 0, 0)?;
        check_directory(&state.names, path, "sync_dir")?;
        match verdict {
            Verdict::Proceed => {
                state.names.sync(path);
                state.sweep();
                Ok(())
            }
            Verdict::PowerCut => Err(power_cut(Operation::SyncDir, path)),
            Verdict::Strike(fault) => match fault.error(Operation::SyncDir, path) {
                Some(error) => {
                    let State { names, rng, .. } = &mut *state;
                    names.sync_failed(path, rng);
                    Err(error)
                }
                // The disk lied: nothing is durable.
                None => Ok(()),
            },
        }
    }

    fn sync_fs(&self) -> DiskResult<()> {
        let (mut state, verdict) = self.begin(Operation::SyncFs, "", 0, 0)?;
        let State { nodes, rng, .. } = &mut *state;
        match verdict {
            // Names stay as they are: callers may not count on more than the seam promises.
            Verdict::Proceed => {
                for node in nodes.values_mut() {
                    Arc::make_mut(node).sync();
                }
                Ok(())
            }
            Verdict::PowerCut => Err(power_cut(Operation::SyncFs, "")),
            Verdict::Strike(fault) => match fault.error(Operation::SyncFs, "") {
                Some(error) => {
                    for node in nodes.values_mut() {
                        let node = Arc::make_mut(node);
                        if rng.chance(0.5) {
                            node.sync_failed(rng);
                        } else {
                            node.sync();
                        }
                    }
                    Err(error)
                }
                None => Ok(()),
            },
        }
    }

    fn free_space(&self) -> DiskResult<Space> {
        let state = self.state();
        if state.power_cut {
            return Err(power_cut(Operation::List, ""));
        }
        Ok(Space {
            free: state.pages_free().saturating_mul(PAGE as u64),
            total: state.capacity_pages.saturating_mul(PAGE as u64),
        })
    }

    fn lock(&self, path: &str) -> DiskResult<Box<dyn DiskLock>> {
        check_path(path)?;
        let mut state = self.begin_plain(Operation::Create, path)?;
        if state.names.find(path).is_none() {
            if !state.names.has_parent(path) {
                return Err(DiskError::NotFound {
                    path: path.to_owned(),
                });
            }
            state.create(path);
        }
        state.finish(Operation::Create, path)?;
        if !state.locks.insert(path.to_owned()) {
            return Err(DiskError::Locked {
                path: path.to_owned(),
            });
        }
        Ok(Box::new(SimLock {
            disk: self.clone(),
            path: path.to_owned(),
        }))
    }

    fn probe(&self) -> DiskResult<DiskTraits> {
        let state = self.state();
        if state.power_cut {
            return Err(power_cut(Operation::WriteDurable, ""));
        }
        Ok(DiskTraits {
            direct: true,
            copy_on_write: state.copy_on_write,
            filesystem: "simulated".to_owned(),
            durable_write_us: 100,
        })
    }

    fn root(&self) -> String {
        "simulated disk".to_owned()
    }
}

struct SimLock {
    disk: SimDisk,
    path: String,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.disk.state().locks.remove(&self.path);
    }
}

fn check_directory(names: &Names, path: &str, operation: &'static str) -> DiskResult<()> {
    match names.find(path) {
        Some(Named::Dir) => Ok(()),
        Some(Named::File(_)) => Err(DiskError::Io {
            path: path.to_owned(),
            operation,
            reason: "is a file".to_owned(),
        }),
        None => Err(DiskError::NotFound {
            path: path.to_owned(),
        }),
    }
}

fn power_cut(operation: Operation, path: &str) -> DiskError {
    DiskError::Io {
        path: if path.is_empty() {
            ".".to_owned()
        } else {
            path.to_owned()
        },
        operation: operation.name(),
        reason: "power cut".to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}
