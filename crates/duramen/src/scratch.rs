//! Temporary data directories of `dev --ephemeral`: made under a name nobody has, removed at the
//! end, and what a killed process left is removed by the next one.
//!
//! A directory is taken for a leftover only if it bears our name, is a directory of this user (in a
//! shared `/tmp` a link could lead anywhere), has the identity of a data directory, and nobody
//! holds its lock; the lock is held while it is removed.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use cli::Failure;
use world::real::{RealDisk, RealRandom};
use world::{Disk, Random};

/// Begins the name of every temporary data directory; 16 hexadecimal digits follow.
const NAME: &str = "duramen-ephemeral-";
/// Names tried; a second one is needed once in 2^64 times.
const NAMES_MAX: usize = 4;
/// Entries of the temporary directory looked at: cleaning up is a courtesy, not a search.
const ENTRIES_MAX: usize = 10_000;

/// A temporary directory, removed with all that is in it when dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Removes what killed processes left, then makes a directory.
    ///
    /// # Errors
    /// The system's temporary directory cannot be written to.
    pub fn create() -> Result<Scratch, Failure> {
        let parent = std::env::temp_dir();
        remove_leftovers(&parent);
        make_in(&parent).map(Scratch).map_err(|error| {
            Failure::new(
                format!("{}: no directory could be made in it", parent.display()),
                error.to_string(),
                "set TMPDIR to a writable directory",
            )
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(self.path()) {
            let shown = self.path().display();
            let _ = writeln!(io::stderr(), "{shown}: not removed: {error}");
        }
    }
}

fn make_in(parent: &Path) -> io::Result<PathBuf> {
    let mut last = ErrorKind::AlreadyExists.into();
    for _ in 0..NAMES_MAX {
        let path = parent.join(format!("{NAME}{:016x}", RealRandom.next_u64()));
        // Records are nobody else's business.
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

#[expect(
    clippy::disallowed_methods,
    reason = "directories that no world is rooted in any more"
)]
fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten().take(ENTRIES_MAX) {
        let path = entry.path();
        // Of the entry itself, not of what a link leads to.
        let ours = is_our_name(&entry.file_name().to_string_lossy())
            && entry.metadata().is_ok_and(|found| is_our_directory(&found));
        if !ours {
            continue;
        }
        let Some(lock) = RealDisk::open(&path).ok().and_then(|disk| {
            let disk: &dyn Disk = &disk;
            commitlog::claim_unused(disk)
        }) else {
            continue;
        };
        match fs::remove_dir_all(&path) {
            Ok(()) => tracing::info!(path = %path.display(), "removed what a killed process left"),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a leftover cannot be removed");
            }
        }
        drop(lock);
    }
}

fn is_our_name(name: &str) -> bool {
    name.strip_prefix(NAME)
        .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

fn is_our_directory(found: &Metadata) -> bool {
    found.is_dir() && found.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use commitlog::{LogStore, StoreConfig};
    use world::World;

    use super::*;

    fn store_in(path: &Path) -> std::sync::Arc<LogStore> {
        let world = World::real(path).expect("a directory");
        let config = StoreConfig {
            slot_bytes: 256 << 10,
            slots: 4,
            staging_bytes: 32 << 10,
            staging_buffers: 2,
            ballast_bytes: 0,
            ..StoreConfig::default()
        };
        LogStore::open(&world, config).expect("a store").0
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the world before the program")]
    fn only_our_own_unused_directories_are_removed() {
        let place = tempfile::tempdir().expect("a place");
        let named = |digits: &str| place.path().join(format!("{NAME}{digits}"));
        // A store whose process is gone, and one whose process lives.
        let gone = make_in(place.path()).expect("made");
        store_in(&gone).abandon();
        let used = make_in(place.path()).expect("made");
        let store = store_in(&used);
        // One that has just been made, somebody's files, and a link to a store elsewhere.
        let fresh = make_in(place.path()).expect("made");
        let other = named("not-ours");
        fs::create_dir(&other).expect("made");
        store_in(&other).abandon();
        let elsewhere = tempfile::tempdir().expect("a place");
        store_in(elsewhere.path()).abandon();
        let link = named("0123456789abcdef");
        std::os::unix::fs::symlink(elsewhere.path(), &link).expect("linked");

        remove_leftovers(place.path());

        let left: BTreeSet<PathBuf> = fs::read_dir(place.path())
            .expect("listed")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        assert_eq!(left, BTreeSet::from([used, fresh, other, link]));
        assert!(elsewhere.path().join("identity").exists());
        store.abandon();
    }
}
