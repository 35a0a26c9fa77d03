//! What every disk does.

use std::io::IoSlice;
use std::sync::Arc;

use world::disk::{Advice, DURABLE_ALIGN, Entry};
use world::{AlignedBuf, Disk, DiskError, File, OpenMode, World};

use crate::facts;

facts! {
    real: crate::real => [
        bytes_written_are_read_back, a_hole_reads_as_zeros, a_new_file_must_be_new,
        a_missing_name_is_not_found, slices_are_written_one_behind_the_other,
        durable_writes_are_read_back_from_any_position, modes_allow_what_they_say,
        an_unaligned_durable_write_panics, a_rename_replaces_and_open_files_live_on,
        an_unlinked_file_is_readable_while_open, a_directory_lists_its_names_in_order,
        directories_are_created_with_those_above, paths_stay_below_the_data_directory,
        a_file_is_cut_and_extended, a_zero_fill_overwrites_everything, an_allocated_file_is_zeros,
        a_lock_is_held_by_one, a_probe_leaves_nothing_behind, everything_can_be_synced,
        clones_of_a_file_are_used_from_many_threads,
    ];
    real_in_memory: crate::real_in_memory => [
        bytes_written_are_read_back, slices_are_written_one_behind_the_other,
        durable_writes_are_read_back_from_any_position, modes_allow_what_they_say,
        a_zero_fill_overwrites_everything, an_allocated_file_is_zeros, a_probe_leaves_nothing_behind, everything_can_be_synced,
    ];
    sim: crate::sim => [
        bytes_written_are_read_back, a_hole_reads_as_zeros, a_new_file_must_be_new,
        a_missing_name_is_not_found, slices_are_written_one_behind_the_other,
        durable_writes_are_read_back_from_any_position, modes_allow_what_they_say,
        an_unaligned_durable_write_panics, a_rename_replaces_and_open_files_live_on,
        an_unlinked_file_is_readable_while_open, a_directory_lists_its_names_in_order,
        directories_are_created_with_those_above, paths_stay_below_the_data_directory,
        a_file_is_cut_and_extended, a_zero_fill_overwrites_everything, an_allocated_file_is_zeros,
        a_lock_is_held_by_one, a_probe_leaves_nothing_behind, everything_can_be_synced,
        clones_of_a_file_are_used_from_many_threads,
    ];
}

fn create(disk: &dyn Disk, path: &str) -> Arc<dyn File> {
    disk.open(path, OpenMode::CreateNew).expect("create")
}

fn contents(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().expect("len") as usize + 10];
    let taken = file.read_at(&mut bytes, 0).expect("read");
    bytes.truncate(taken);
    bytes
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 + at / 4096) as u8).collect()
}

fn failure<T>(outcome: Result<T, DiskError>) -> DiskError {
    match outcome {
        Ok(_) => panic!("should have failed"),
        Err(error) => error,
    }
}

fn bytes_written_are_read_back(world: World) {
    let file = create(&*world.disk, "a");
    assert!(file.is_empty().expect("empty"));
    file.write_at(b"hello world", 0).expect("write");
    file.write_at(b"W", 6).expect("write");
    file.write_at(b"", 100)
        .expect("an empty write does nothing");
    assert_eq!(contents(&*file), b"hello World");
    let mut buffer = [0; 5];
    assert_eq!(file.read_at(&mut buffer, 6).expect("read"), 5);
    assert_eq!(&buffer, b"World");
    assert_eq!(
        file.read_at(&mut buffer, 9).expect("read"),
        2,
        "short at the end"
    );
    assert_eq!(file.read_at(&mut buffer, 11).expect("read"), 0);
    assert_eq!(file.read_at(&mut buffer, 1 << 40).expect("read"), 0);
    let again = world.disk.open("a", OpenMode::Read).expect("open");
    assert_eq!(contents(&*again), b"hello World");
}

fn a_hole_reads_as_zeros(world: World) {
    let file = create(&*world.disk, "a");
    file.write_at(b"x", 10_000).expect("write");
    let bytes = contents(&*file);
    assert_eq!(bytes.len(), 10_001);
    assert!(bytes[..10_000].iter().all(|&byte| byte == 0));
}

fn a_new_file_must_be_new(world: World) {
    create(&*world.disk, "a");
    let error = failure(world.disk.open("a", OpenMode::CreateNew));
    assert!(matches!(error, DiskError::AlreadyExists { path } if path == "a"));
}

fn a_missing_name_is_not_found(world: World) {
    let disk = &*world.disk;
    for mode in [OpenMode::Read, OpenMode::ReadWrite, OpenMode::Durable] {
        assert!(failure(disk.open("a", mode)).is_not_found());
    }
    assert!(failure(disk.open("no/a", OpenMode::CreateNew)).is_not_found());
    assert!(failure(disk.rename("a", "b")).is_not_found());
    assert!(failure(disk.unlink("a")).is_not_found());
    assert!(failure(disk.list("a")).is_not_found());
    assert!(failure(disk.sync_dir("a")).is_not_found());
    create(disk, "a");
    assert!(failure(disk.rename("a", "no/a")).is_not_found());
}

fn slices_are_written_one_behind_the_other(world: World) {
    let file = create(&*world.disk, "a");
    // More than one system call takes, with empty ones between.
    let bytes = pattern(30_000);
    let mut slices: Vec<IoSlice<'_>> = bytes.chunks(11).map(IoSlice::new).collect();
    slices.insert(5, IoSlice::new(b""));
    slices.push(IoSlice::new(b""));
    file.write_vectored_at(&slices, 3).expect("write");
    file.write_vectored_at(&[], 0).expect("nothing");
    file.write_vectored_at(&[IoSlice::new(b"")], 0)
        .expect("nothing");
    assert_eq!(contents(&*file)[3..], bytes);
}

fn durable_writes_are_read_back_from_any_position(world: World) {
    create(&*world.disk, "wal")
        .zero_fill(16 * DURABLE_ALIGN as u64)
        .expect("zero_fill");
    let file = world.disk.open("wal", OpenMode::Durable).expect("open");
    let bytes = pattern(8 * DURABLE_ALIGN);
    let mut buffer = AlignedBuf::zeroed(bytes.len());
    buffer.copy_from_slice(&bytes);
    file.write_durable(&buffer, 2 * DURABLE_ALIGN as u64)
        .expect("write");
    let mut whole = vec![0; 2 * DURABLE_ALIGN];
    whole.extend(&bytes);
    whole.resize(16 * DURABLE_ALIGN, 0);
    for (position, length) in [
        (0, 16 * DURABLE_ALIGN),
        (8191, 2),
        (8192, 1),
        (12_000, 5000),
        (65_530, 100),
        (70_000, 5),
    ] {
        let mut read = vec![0; length];
        let taken = file.read_at(&mut read, position as u64).expect("read");
        let end = (position + length).min(whole.len());
        assert_eq!(
            read[..taken],
            whole[position.min(end)..end],
            "at {position}"
        );
    }
    let mut aligned = AlignedBuf::zeroed(DURABLE_ALIGN);
    assert_eq!(
        file.read_at(&mut aligned, 2 * DURABLE_ALIGN as u64)
            .expect("read"),
        4096
    );
    assert_eq!(aligned[..], bytes[..DURABLE_ALIGN]);
    let cached = world.disk.open("wal", OpenMode::Read).expect("open");
    assert_eq!(contents(&*cached), whole, "page-cache readers see it too");
    file.write_durable(
        &AlignedBuf::zeroed(DURABLE_ALIGN),
        16 * DURABLE_ALIGN as u64,
    )
    .expect("a durable write may extend");
    assert_eq!(file.len().expect("len"), 17 * DURABLE_ALIGN as u64);
}

fn modes_allow_what_they_say(world: World) {
    create(&*world.disk, "a")
        .write_at(b"abc", 0)
        .expect("write");
    let buffer = AlignedBuf::zeroed(DURABLE_ALIGN);
    let denied = |outcome| matches!(failure::<()>(outcome), DiskError::Denied { .. });
    let read = world.disk.open("a", OpenMode::Read).expect("open");
    assert!(denied(read.write_at(b"x", 0)));
    assert!(denied(read.write_vectored_at(&[IoSlice::new(b"x")], 0)));
    assert!(denied(read.truncate(1)));
    assert!(denied(read.zero_fill(1)));
    assert!(denied(read.write_durable(&buffer, 0)));
    let cached = world.disk.open("a", OpenMode::ReadWrite).expect("open");
    assert!(denied(cached.write_durable(&buffer, 0)));
    let durable = world.disk.open("a", OpenMode::Durable).expect("open");
    assert!(denied(durable.write_at(b"x", 0)));
    assert!(denied(durable.truncate(0)));
    assert_eq!(contents(&*cached), b"abc");
}

fn an_unaligned_durable_write_panics(world: World) {
    create(&*world.disk, "wal")
        .zero_fill(2 * DURABLE_ALIGN as u64)
        .expect("zero_fill");
    let file = world.disk.open("wal", OpenMode::Durable).expect("open");
    let buffer = AlignedBuf::zeroed(2 * DURABLE_ALIGN);
    for (bytes, position) in [
        (&buffer[..512], 0),
        (&buffer[..DURABLE_ALIGN], 512),
        (&buffer[1..DURABLE_ALIGN + 1], 0),
    ] {
        let write = std::panic::AssertUnwindSafe(|| file.write_durable(bytes, position));
        assert!(std::panic::catch_unwind(write).is_err());
    }
}

fn a_rename_replaces_and_open_files_live_on(world: World) {
    let disk = &*world.disk;
    let old = create(disk, "CURRENT");
    old.write_at(b"old", 0).expect("write");
    let new = create(disk, "CURRENT.new");
    new.write_at(b"new", 0).expect("write");
    disk.rename("CURRENT.new", "CURRENT").expect("rename");
    assert_eq!(
        contents(&*disk.open("CURRENT", OpenMode::Read).expect("open")),
        b"new"
    );
    assert!(failure(disk.open("CURRENT.new", OpenMode::Read)).is_not_found());
    assert_eq!(contents(&*old), b"old", "the replaced file, while open");
    new.write_at(b"s", 3).expect("write");
    assert_eq!(
        contents(&*disk.open("CURRENT", OpenMode::Read).expect("open")),
        b"news"
    );
}

fn an_unlinked_file_is_readable_while_open(world: World) {
    let file = create(&*world.disk, "seg");
    file.write_at(b"abc", 0).expect("write");
    world.disk.unlink("seg").expect("unlink");
    assert_eq!(contents(&*file), b"abc");
    file.truncate(1).expect("truncate");
    assert_eq!(contents(&*file), b"a");
    create(&*world.disk, "seg");
    assert_eq!(
        contents(&*file),
        b"a",
        "another file of the same name is another file"
    );
}

fn a_directory_lists_its_names_in_order(world: World) {
    let disk = &*world.disk;
    disk.create_dir("seg/0a").expect("create_dir");
    for path in ["b", "a", "seg/0a/x", "seg.old"] {
        create(disk, path);
    }
    let entry = |name: &str, is_dir| Entry {
        name: name.to_owned(),
        is_dir,
    };
    assert_eq!(
        disk.list("").expect("list"),
        [
            entry("a", false),
            entry("b", false),
            entry("seg", true),
            entry("seg.old", false)
        ]
    );
    assert_eq!(disk.list("seg").expect("list"), [entry("0a", true)]);
    assert_eq!(disk.list("seg/0a").expect("list"), [entry("x", false)]);
    assert!(matches!(failure(disk.list("a")), DiskError::Io { .. }));
}

fn directories_are_created_with_those_above(world: World) {
    let disk = &*world.disk;
    disk.create_dir("a/b/c").expect("create_dir");
    disk.create_dir("a/b/c").expect("again");
    disk.create_dir("a").expect("again");
    create(disk, "a/b/c/file");
    assert!(matches!(
        failure(disk.create_dir("a/b/c/file")),
        DiskError::Io { .. }
    ));
    assert!(matches!(
        failure(disk.create_dir("a/b/c/file/d")),
        DiskError::Io { .. }
    ));
}

fn paths_stay_below_the_data_directory(world: World) {
    let disk = &*world.disk;
    for path in ["/etc/x", "../x", "a/../../x", ".", "a//b", "a/", "x\0y"] {
        let denied = |outcome| matches!(failure::<()>(outcome), DiskError::Denied { .. });
        assert!(
            denied(disk.open(path, OpenMode::CreateNew).map(drop)),
            "{path}"
        );
        assert!(denied(disk.create_dir(path)), "{path}");
        assert!(denied(disk.rename(path, "y")), "{path}");
        assert!(denied(disk.rename("y", path)), "{path}");
        assert!(denied(disk.unlink(path)), "{path}");
        assert!(denied(disk.list(path).map(drop)), "{path}");
        assert!(denied(disk.sync_dir(path)), "{path}");
        assert!(denied(disk.lock(path).map(drop)), "{path}");
    }
    assert!(
        failure(disk.open("", OpenMode::Read))
            .to_string()
            .contains("plain path")
    );
}

fn a_file_is_cut_and_extended(world: World) {
    let file = create(&*world.disk, "a");
    file.write_at(&[1; 9000], 0).expect("write");
    file.truncate(5000).expect("truncate");
    assert_eq!(contents(&*file), [1; 5000]);
    file.truncate(6000).expect("truncate");
    let bytes = contents(&*file);
    assert_eq!(bytes.len(), 6000);
    assert!(
        bytes[5000..].iter().all(|&byte| byte == 0),
        "what was cut off is gone"
    );
}

fn a_zero_fill_overwrites_everything(world: World) {
    let file = create(&*world.disk, "wal");
    file.write_at(&[1; 3_000_000], 0).expect("write");
    file.zero_fill(2_500_000).expect("zero_fill");
    assert_eq!(contents(&*file), vec![0; 2_500_000]);
    file.zero_fill(8192).expect("zero_fill");
    assert_eq!(contents(&*file), [0; 8192]);
    file.zero_fill(0).expect("zero_fill");
    assert!(file.is_empty().expect("empty"));
}

fn an_allocated_file_is_zeros(world: World) {
    let file = create(&*world.disk, "wal");
    file.allocate(3_000_000).expect("allocate");
    assert_eq!(contents(&*file), vec![0; 3_000_000]);
    file.write_at(&[1; 5000], 4096).expect("write");
    let bytes = contents(&*file);
    assert_eq!(bytes.len(), 3_000_000);
    assert!(bytes[..4096].iter().all(|byte| *byte == 0));
    assert!(bytes[4096..9096].iter().all(|byte| *byte == 1));
}

fn a_lock_is_held_by_one(world: World) {
    let lock = world.disk.lock("lock").expect("lock");
    let error = failure(world.disk.lock("lock"));
    assert!(matches!(error, DiskError::Locked { path } if path == "lock"));
    drop(lock);
    world.disk.lock("lock").expect("released");
}

fn a_probe_leaves_nothing_behind(world: World) {
    let traits = world.disk.probe().expect("probe");
    assert!(!traits.filesystem.is_empty());
    world.disk.probe().expect("probe again");
    assert_eq!(world.disk.list("").expect("list"), []);
    let space = world.disk.free_space().expect("space");
    assert!(space.free <= space.total && space.total > 0);
    assert!(!world.disk.root().is_empty());
}

fn everything_can_be_synced(world: World) {
    let disk = &*world.disk;
    let file = create(disk, "a");
    file.write_at(&[1; 10_000], 0).expect("write");
    file.start_writeback(0, 8192).expect("start_writeback");
    file.start_writeback(0, 0).expect("nothing to start");
    file.await_writeback(0, 8192).expect("await_writeback");
    file.await_writeback(0, 0).expect("nothing to await");
    file.sync_data().expect("sync_data");
    disk.sync_dir("").expect("sync_dir");
    disk.sync_fs().expect("sync_fs");
    file.advise(0, 10_000, Advice::Sequential).expect("advise");
    file.advise(0, 10_000, Advice::DontNeed).expect("advise");
    file.advise(0, 0, Advice::DontNeed)
        .expect("advise about nothing");
    assert_eq!(contents(&*file), [1; 10_000]);
    let read = disk.open("a", OpenMode::Read).expect("open");
    read.sync_data().expect("a reader may sync");
}

fn clones_of_a_file_are_used_from_many_threads(world: World) {
    let file = create(&*world.disk, "a");
    std::thread::scope(|scope| {
        for part in 0..8u8 {
            let file = &file;
            scope.spawn(move || {
                for round in 0..20 {
                    let position = (u64::from(part) * 20 + round) * 100;
                    file.write_at(&[part; 100], position).expect("write");
                }
            });
        }
    });
    let bytes = contents(&*file);
    assert_eq!(bytes.len(), 16_000);
    for (part, bytes) in bytes.chunks(2000).enumerate() {
        assert!(bytes.iter().all(|&byte| byte == part as u8));
    }
}
