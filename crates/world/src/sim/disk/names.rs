//! The names of a simulated disk: what directories show now, and what a power cut leaves of it.
//!
//! A change of names is durable only once the directory it lies in was synced. Until then it may
//! survive a power cut or not: changes that touch the same name only in order, others in any
//! combination. A rename survives whole or not at all.

use std::collections::{BTreeMap, BTreeSet};

use crate::sim::Rng;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    Dir,
    File(u64),
}

#[derive(Clone, Debug)]
enum Change {
    Set {
        path: String,
        named: Named,
    },
    Remove {
        path: String,
    },
    Rename {
        from: String,
        to: String,
        named: Named,
    },
}

impl Change {
    fn touched(&self) -> [&str; 2] {
        match self {
            Change::Set { path, .. } | Change::Remove { path } => [path, path],
            Change::Rename { from, to, .. } => [from, to],
        }
    }

    fn apply(&self, names: &mut BTreeMap<String, Named>) {
        match self {
            Change::Set { path, named } => {
                names.insert(path.clone(), *named);
            }
            Change::Remove { path } => {
                names.remove(path);
            }
            Change::Rename { from, to, named } => {
                names.remove(from);
                names.insert(to.clone(), *named);
            }
        }
    }
}

/// All names, by whole path.
#[derive(Clone, Default)]
pub(super) struct Names {
    now: BTreeMap<String, Named>,
    durable: BTreeMap<String, Named>,
    pending: Vec<Change>,
}

impl Names {
    /// Names as they are after a restart.
    pub(super) fn restarted(names: BTreeMap<String, Named>) -> Names {
        Names {
            now: names.clone(),
            durable: names,
            pending: Vec::new(),
        }
    }

    pub(super) fn find(&self, path: &str) -> Option<Named> {
        if path.is_empty() {
            Some(Named::Dir)
        } else {
            self.now.get(path).copied()
        }
    }

    pub(super) fn has_parent(&self, path: &str) -> bool {
        self.find(parent(path)) == Some(Named::Dir)
    }

    pub(super) fn set(&mut self, path: &str, named: Named) {
        self.change(Change::Set {
            path: path.to_owned(),
            named,
        });
    }

    pub(super) fn remove(&mut self, path: &str) {
        self.change(Change::Remove {
            path: path.to_owned(),
        });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, named: Named) {
        self.change(Change::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
            named,
        });
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    /// Names directly in a directory, sorted, and what they stand for.
    pub(super) fn list(&self, directory: &str) -> Vec<(String, Named)> {
        let prefix = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        self.now
            .range(prefix.clone()..)
            .take_while(|(path, _)| path.starts_with(&prefix))
            .filter_map(|(path, named)| {
                let name = &path[prefix.len()..];
                (!name.contains('/')).then(|| (name.to_owned(), *named))
            })
            .collect()
    }

    /// Makes the names of a directory durable, and what they depend on.
    pub(super) fn sync(&mut self, directory: &str) {
        for change in self.take_pending(directory) {
            change.apply(&mut self.durable);
        }
    }

    /// A failed sync: some changes of the directory are durable, the others never will be.
    pub(super) fn sync_failed(&mut self, directory: &str, rng: &mut Rng) {
        let changes = self.take_pending(directory);
        survive(&changes, &mut self.durable, rng);
    }

    /// What a power cut leaves.
    pub(super) fn after_power_cut(&self, rng: &mut Rng) -> BTreeMap<String, Named> {
        let mut names = self.durable.clone();
        survive(&self.pending, &mut names, rng);
        // A name whose directory is gone cannot be reached.
        let mut reachable: BTreeMap<String, Named> = BTreeMap::new();
        for (path, named) in names {
            let above = parent(&path);
            if above.is_empty() || reachable.get(above) == Some(&Named::Dir) {
                reachable.insert(path, named);
            }
        }
        reachable
    }

    /// Files that a power cut could bring back, or leave.
    pub(super) fn nodes_kept(&self) -> BTreeSet<u64> {
        let pending = self.pending.iter().filter_map(|change| match change {
            Change::Set { named, .. } | Change::Rename { named, .. } => Some(*named),
            Change::Remove { .. } => None,
        });
        self.durable
            .values()
            .copied()
            .chain(pending)
            .filter_map(|named| match named {
                Named::File(node) => Some(node),
                Named::Dir => None,
            })
            .collect()
    }

    /// Takes the changes in a directory and the earlier ones they build on, in order.
    fn take_pending(&mut self, directory: &str) -> Vec<Change> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut taken = vec![false; self.pending.len()];
        for (index, change) in self.pending.iter().enumerate().rev() {
            let touched = change.touched();
            if touched
                .iter()
                .any(|path| parent(path) == directory || names.contains(*path))
            {
                taken[index] = true;
                names.extend(touched.iter().map(|path| (*path).to_owned()));
            }
        }
        let mut changes = Vec::new();
        let mut index = 0;
        self.pending.retain(|change| {
            if taken[index] {
                changes.push(change.clone());
            }
            index += 1;
            !taken[index - 1]
        });
        changes
    }
}

/// Applies a random part of the changes: of those that share a name, always the earlier ones.
fn survive(changes: &[Change], names: &mut BTreeMap<String, Named>, rng: &mut Rng) {
    let probability = [0.0, 0.1, 0.5, 0.9, 1.0][rng.index(5)];
    let mut lost: BTreeSet<&str> = BTreeSet::new();
    for change in changes {
        let touched = change.touched();
        let follows = touched.iter().any(|path| lost.contains(path));
        if !follows && rng.chance(probability) {
            change.apply(names);
        } else {
            lost.extend(touched);
        }
    }
}

/// The directory a path lies in.
fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}
