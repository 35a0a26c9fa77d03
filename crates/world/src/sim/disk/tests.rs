//! The faults of the simulated disk, each by its name.

use super::*;
use crate::aligned::AlignedBuf;
use crate::disk::{Advice, DURABLE_ALIGN};

fn block(byte: u8, blocks: usize) -> AlignedBuf {
    let mut buffer = AlignedBuf::zeroed(blocks * DURABLE_ALIGN);
    buffer.fill(byte);
    buffer
}

fn contents(disk: &SimDisk, path: &str) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).expect("open");
    let mut bytes = vec![0; file.len().expect("len") as usize];
    let taken = file.read_at(&mut bytes, 0).expect("read");
    assert_eq!(taken, bytes.len());
    bytes
}

/// A durable, empty file.
fn created(disk: &SimDisk, path: &str) -> Arc<dyn File> {
    let file = disk.open(path, OpenMode::CreateNew).expect("create");
    disk.sync_dir("").expect("sync_dir");
    file
}

/// A durable file of zeros, open for durable writes.
fn slot(disk: &SimDisk, path: &str, blocks: u64) -> Arc<dyn File> {
    created(disk, path)
        .zero_fill(blocks * DURABLE_ALIGN as u64)
        .expect("zero_fill");
    disk.open(path, OpenMode::Durable).expect("open durable")
}

fn is_power_cut(error: &DiskError) -> bool {
    error.to_string().contains("power cut")
}

#[test]
fn unsynced_sectors_survive_a_power_cut_in_any_combination() {
    let disk = SimDisk::new(1);
    let file = created(&disk, "a");
    file.write_at(&[1; 4 * 512], 0).expect("write");
    file.sync_data().expect("sync");
    file.write_at(&[2; 4 * 512], 0).expect("write");
    let mut seen = BTreeSet::new();
    for seed in 0..400 {
        let image = contents(&disk.crash_image(seed), "a");
        assert_eq!(image.len(), 4 * 512);
        let sectors: Vec<u8> = image
            .chunks(512)
            .map(|sector| {
                assert!(
                    sector.iter().all(|&byte| byte == sector[0]),
                    "a torn sector"
                );
                sector[0]
            })
            .collect();
        seen.insert(sectors);
    }
    assert_eq!(seen.len(), 16, "every subset is met");
    assert_eq!(
        contents(&disk, "a"),
        vec![2; 4 * 512],
        "the living disk is not touched"
    );
}

#[test]
fn an_overwritten_unsynced_sector_may_survive_in_any_of_its_versions() {
    let disk = SimDisk::new(2);
    let file = created(&disk, "a");
    file.write_at(&[1; 512], 0).expect("write");
    file.sync_data().expect("sync");
    file.write_at(&[2; 512], 0).expect("write");
    file.write_at(&[3; 512], 0).expect("write");
    let seen: BTreeSet<u8> = (0..200)
        .map(|seed| contents(&disk.crash_image(seed), "a")[0])
        .collect();
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
}

#[test]
fn an_unsynced_length_may_survive_without_its_bytes() {
    let disk = SimDisk::new(3);
    let file = created(&disk, "a");
    file.write_at(&[7; 1024], 0).expect("write");
    let images: Vec<Vec<u8>> = (0..300)
        .map(|seed| contents(&disk.crash_image(seed), "a"))
        .collect();
    assert!(images.iter().any(|image| image.is_empty()));
    assert!(images.iter().any(|image| *image == vec![7; 1024]));
    assert!(images.iter().any(|image| *image == vec![0; 1024]));
    assert!(
        images
            .iter()
            .all(|image| image.iter().all(|&byte| byte == 0 || byte == 7))
    );
}

#[test]
fn a_durable_write_survives_every_power_cut_and_neighbours_do_not_help_each_other() {
    let disk = SimDisk::new(4);
    let file = slot(&disk, "wal", 4);
    file.write_durable(&block(1, 1), 0).expect("write");
    file.write_durable(&block(2, 2), 4096).expect("write");
    for seed in 0..50 {
        let image = contents(&disk.crash_image(seed), "wal");
        assert_eq!(image[..4096], block(1, 1)[..]);
        assert_eq!(image[4096..3 * 4096], block(2, 2)[..]);
        assert_eq!(image[3 * 4096..], block(0, 1)[..]);
    }
}

#[test]
fn a_durable_write_behind_unsynced_ones_is_durable_all_the_same() {
    let disk = SimDisk::new(5);
    let durable = slot(&disk, "wal", 2);
    let cached = disk.open("wal", OpenMode::ReadWrite).expect("open");
    cached.write_at(&[9; 4096], 0).expect("write");
    durable.write_durable(&block(1, 1), 0).expect("write");
    for seed in 0..100 {
        assert_eq!(
            contents(&disk.crash_image(seed), "wal")[..4096],
            block(1, 1)[..]
        );
    }
}

#[test]
fn an_interrupted_durable_write_is_torn_at_sectors() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let file = slot(&disk, "wal", 1);
        disk.stop_at(disk.operations() + 1);
        let error = file
            .write_durable(&block(1, 1), 0)
            .expect_err("the power goes");
        assert!(is_power_cut(&error));
        let image = contents(&disk.crash_image(seed), "wal");
        seen.insert(
            image
                .chunks(512)
                .map(|sector| sector[0])
                .collect::<Vec<u8>>(),
        );
    }
    assert!(
        seen.contains(&vec![0; 8]) && seen.contains(&vec![1; 8]),
        "none and all are met"
    );
    assert!(seen.len() > 20, "and much between");
}

#[test]
fn a_failed_durable_write_leaves_any_part_and_the_disk_goes_on() {
    let disk = SimDisk::new(6);
    let file = slot(&disk, "wal", 1);
    let mut seen = BTreeSet::new();
    for round in 1..100 {
        file.write_durable(&block(0, 1), 0).expect("write");
        disk.inject(Injection::on(Operation::WriteDurable, Fault::Io).path("wal"));
        let error = file.write_durable(&block(round, 1), 0).expect_err("EIO");
        assert!(
            matches!(
                error,
                DiskError::Io {
                    operation: "write_durable",
                    ..
                }
            ),
            "{error}"
        );
        let now = contents(&disk, "wal");
        seen.insert(now.chunks(512).filter(|sector| sector[0] == round).count());
    }
    assert!(
        seen.contains(&0) && seen.contains(&8) && seen.len() > 4,
        "{seen:?}"
    );
    assert_eq!(
        disk.faults_struck()[&(Operation::WriteDurable, Fault::Io)],
        99
    );
}

#[test]
fn a_failed_sync_drops_pages_and_the_second_one_succeeds_without_them() {
    let mut lost = 0;
    let mut reverted = 0;
    for seed in 0..100 {
        let disk = SimDisk::new(seed);
        let file = created(&disk, "seg");
        file.write_at(&[5; 2048], 0).expect("write");
        disk.inject(Injection::on(Operation::SyncData, Fault::Io));
        file.sync_data().expect_err("EIO");
        file.sync_data()
            .expect("nothing is dirty any more: the second one says yes");
        reverted += u32::from(contents(&disk, "seg") != vec![5; 2048]);
        lost += u32::from(contents(&disk.crash_image(seed), "seg") != vec![5; 2048]);
        file.advise(0, 2048, Advice::DontNeed).expect("advise");
        let image = contents(&disk.crash_image(seed), "seg");
        assert_eq!(
            contents(&disk, "seg")[..image.len()],
            image[..],
            "evicted pages come from the disk"
        );
    }
    assert!(lost > 50, "{lost}");
    assert!(reverted > 10 && reverted < lost, "{reverted}");
}

#[test]
fn a_failed_sync_of_the_filesystem_leaves_some_files_unsynced() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let files = ["a", "b", "c"].map(|path| created(&disk, path));
        for file in &files {
            file.write_at(&[1; 512], 0).expect("write");
        }
        disk.inject(Injection::on(Operation::SyncFs, Fault::Io));
        disk.sync_fs().expect_err("EIO");
        disk.sync_fs().expect("and says yes without them");
        let image = disk.crash_image(seed);
        let whole = |path: &&str| contents(&image, path) == vec![1; 512];
        lost += 3 - ["a", "b", "c"].iter().filter(|path| whole(path)).count();
    }
    assert!(lost > 10 && lost < 140, "{lost}");
}

#[test]
fn sync_fs_makes_every_files_bytes_durable_and_no_name() {
    let disk = SimDisk::new(7);
    let named = created(&disk, "named");
    let unnamed = disk.open("unnamed", OpenMode::CreateNew).expect("create");
    named.write_at(b"abc", 0).expect("write");
    unnamed.write_at(b"abc", 0).expect("write");
    disk.sync_fs().expect("sync_fs");
    let mut kept = BTreeSet::new();
    for seed in 0..50 {
        let image = disk.crash_image(seed);
        assert_eq!(contents(&image, "named"), b"abc");
        let survived = image.open("unnamed", OpenMode::Read).is_ok();
        if survived {
            assert_eq!(contents(&image, "unnamed"), b"abc");
        }
        kept.insert(survived);
    }
    assert_eq!(kept.len(), 2, "the name may be there or not");
}

#[test]
fn names_are_lost_until_their_directory_is_synced() {
    let disk = SimDisk::new(8);
    disk.create_dir("seg/00").expect("create_dir");
    let file = disk.open("seg/00/a", OpenMode::CreateNew).expect("create");
    file.write_at(b"abc", 0).expect("write");
    file.sync_data().expect("sync");
    disk.sync_dir("seg/00").expect("sync_dir");
    let found = |seed| {
        disk.crash_image(seed)
            .open("seg/00/a", OpenMode::Read)
            .is_ok()
    };
    assert!(!(0..50).all(found), "the directories above are not durable");
    disk.sync_dir("").expect("sync_dir");
    disk.sync_dir("seg").expect("sync_dir");
    assert!((0..50).all(found));
    disk.unlink("seg/00/a").expect("unlink");
    let kept = (0..50).filter(|&seed| found(seed)).count();
    assert!(
        kept > 0 && kept < 50,
        "an unsynced removal is undone, or not: {kept}"
    );
    disk.sync_dir("seg/00").expect("sync_dir");
    assert!(!(0..50).any(found));
}

#[test]
fn a_rename_survives_whole_or_not_at_all() {
    let disk = SimDisk::new(9);
    let old = created(&disk, "CURRENT");
    old.write_at(b"old", 0).expect("write");
    old.sync_data().expect("sync");
    let new = disk
        .open("CURRENT.new", OpenMode::CreateNew)
        .expect("create");
    new.write_at(b"new", 0).expect("write");
    new.sync_data().expect("sync");
    disk.rename("CURRENT.new", "CURRENT").expect("rename");
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let image = disk.crash_image(seed);
        let current = contents(&image, "CURRENT");
        let leftover = image.open("CURRENT.new", OpenMode::Read).is_ok();
        assert!(!(leftover && current == b"new"));
        seen.insert((current, leftover));
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
    disk.sync_dir("").expect("sync_dir");
    assert!((0..50).all(|seed| contents(&disk.crash_image(seed), "CURRENT") == b"new"));
}

#[test]
fn a_failed_directory_sync_is_never_made_good() {
    let mut lost = 0;
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        disk.open("a", OpenMode::CreateNew).expect("create");
        disk.inject(Injection::on(Operation::SyncDir, Fault::Io));
        disk.sync_dir("").expect_err("EIO");
        disk.sync_dir("").expect("says yes");
        lost += u32::from(disk.crash_image(seed).open("a", OpenMode::Read).is_err());
    }
    assert!(lost > 5 && lost < 60, "{lost}");
}

#[test]
fn a_cut_that_was_not_synced_is_undone_or_not_and_never_shows_old_bytes_behind_it() {
    let disk = SimDisk::new(10);
    let file = created(&disk, "seg");
    file.write_at(&[1; 4096], 0).expect("write");
    file.sync_data().expect("sync");
    file.truncate(1000).expect("truncate");
    file.write_at(&[2; 1000], 2000).expect("write");
    let mut cut = BTreeSet::new();
    for seed in 0..300 {
        let image = contents(&disk.crash_image(seed), "seg");
        assert!(image[..1000].iter().all(|&byte| byte == 1));
        match image.len() {
            4096 => assert!(
                image[1024..].iter().all(|&byte| byte == 1),
                "blocks of nobody"
            ),
            1000 => {}
            3000 => assert!(image[1024..2000].iter().all(|&byte| byte == 0)),
            length => panic!("length {length}"),
        }
        cut.insert(image.len());
    }
    assert_eq!(cut.len(), 3, "{cut:?}");
}

#[test]
fn a_full_disk_takes_what_fits_and_says_so() {
    let disk = SimDisk::new(11);
    disk.set_capacity(3 * 4096);
    let file = created(&disk, "a");
    file.write_at(&[1; 2 * 4096], 0).expect("write");
    let error = file.write_at(&[2; 2 * 4096], 2 * 4096).expect_err("full");
    assert!(error.is_full());
    assert_eq!(file.len().expect("len"), 3 * 4096);
    assert_eq!(
        disk.free_space().expect("space"),
        Space {
            free: 0,
            total: 3 * 4096
        }
    );
    file.write_at(&[3; 4096], 0)
        .expect("an overwrite needs no room");
    drop(file);
    disk.unlink("a").expect("unlink");
    assert_eq!(disk.free_space().expect("space").free, 3 * 4096);
    let filled = created(&disk, "wal").zero_fill(4 * 4096).expect_err("full");
    assert!(filled.is_full());
}

#[test]
fn zero_filled_blocks_meet_no_full_disk_unless_it_copies_on_write() {
    let disk = SimDisk::new(12);
    disk.set_capacity(4 * 4096);
    let file = slot(&disk, "wal", 4);
    file.write_durable(&block(1, 4), 0)
        .expect("the blocks are there");
    disk.set_copy_on_write(true);
    assert!(
        file.write_durable(&block(2, 1), 0)
            .expect_err("full")
            .is_full()
    );
    assert!(disk.probe().expect("probe").copy_on_write);
}

#[test]
fn a_misdirected_write_says_yes_and_lies_elsewhere() {
    let disk = SimDisk::new(13);
    let file = slot(&disk, "wal", 8);
    disk.inject(Injection::on(Operation::WriteDurable, Fault::Misdirected));
    file.write_durable(&block(1, 1), 0).expect("says yes");
    let image = contents(&disk.crash_image(0), "wal");
    assert_eq!(
        image[..4096],
        block(0, 1)[..],
        "the old bytes are where the new should be"
    );
    assert_eq!(image.iter().filter(|&&byte| byte == 1).count(), 4096);
}

#[test]
fn a_lying_disk_says_yes_and_has_nothing() {
    let disk = SimDisk::new(14);
    let file = slot(&disk, "wal", 1);
    disk.inject(Injection::on(Operation::WriteDurable, Fault::Lost));
    file.write_durable(&block(1, 1), 0).expect("says yes");
    assert_eq!(contents(&disk, "wal"), block(0, 1)[..]);
    let seg = created(&disk, "seg");
    seg.write_at(&[1; 512], 0).expect("write");
    disk.inject(Injection::on(Operation::SyncData, Fault::Lost));
    seg.sync_data().expect("says yes");
    assert!((0..50).any(|seed| contents(&disk.crash_image(seed), "seg").is_empty()));
}

#[test]
fn bits_flip_at_rest_in_writes_and_in_reads() {
    let disk = SimDisk::new(15);
    let file = slot(&disk, "wal", 1);
    let ones = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>();
    disk.flip_bit("wal", 100, 3).expect("flip");
    assert_eq!(contents(&disk, "wal")[100], 8);
    assert_eq!(
        ones(&contents(&disk.crash_image(0), "wal")),
        1,
        "rot survives a restart"
    );
    disk.inject(Injection::on(Operation::WriteDurable, Fault::BitFlip));
    file.write_durable(&block(0, 1), 0).expect("says yes");
    assert_eq!(ones(&contents(&disk, "wal")), 1);
    file.write_durable(&block(0, 1), 0).expect("write");
    disk.inject(Injection::on(Operation::ReadAt, Fault::BitFlip));
    assert_eq!(ones(&contents(&disk, "wal")), 1, "in the wire, once");
    assert_eq!(ones(&contents(&disk, "wal")), 0);
}

#[test]
fn the_disk_stops_at_every_operation_and_each_image_opens() {
    let script = |disk: &SimDisk| -> DiskResult<()> {
        disk.create_dir("meta")?;
        disk.sync_dir("")?;
        let file = disk.open("meta/new", OpenMode::CreateNew)?;
        file.write_at(b"generation 1", 0)?;
        file.sync_data()?;
        disk.rename("meta/new", "meta/CURRENT")?;
        disk.sync_dir("meta")?;
        Ok(())
    };
    let whole = SimDisk::new(16);
    script(&whole).expect("script");
    let operations = whole.operations();
    assert_eq!(operations, 7);
    for stop in 1..=operations {
        let disk = SimDisk::new(16);
        disk.stop_at(stop);
        assert!(
            is_power_cut(&script(&disk).expect_err("stopped")),
            "stop {stop}"
        );
        assert!(disk.is_power_cut());
        assert!(is_power_cut(
            &disk.list("").expect_err("and nothing works any more")
        ));
        for seed in 0..20 {
            let image = disk.crash_image(seed);
            // Written whole before it got its name: never seen in part.
            if let Ok(file) = image.open("meta/CURRENT", OpenMode::Read) {
                assert!(stop >= 6);
                assert_eq!(file.len().expect("len"), 12);
            }
            image.create_dir("meta").expect("the image works");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_image_and_another_another() {
    let disk = SimDisk::new(17);
    let file = created(&disk, "a");
    file.write_at(&[1; 64 * 512], 0).expect("write");
    let image = |seed| contents(&disk.crash_image(seed), "a");
    assert_eq!(image(5), image(5));
    assert!((0..20).any(|seed| image(seed) != image(5)));
}

#[test]
fn a_dead_process_leaves_the_page_cache_and_promises_nothing() {
    let disk = SimDisk::new(18);
    let lock = disk.lock("lock").expect("lock");
    created(&disk, "a").write_at(b"cached", 0).expect("write");
    let living = disk.process_crash_image(1);
    assert_eq!(contents(&living, "a"), b"cached");
    assert!((0..50).any(|seed| contents(&living.crash_image(seed), "a") != b"cached"));
    drop(living.lock("lock").expect("the dead process holds no lock"));
    drop(lock);
}

#[test]
fn a_replaced_disk_is_empty() {
    let disk = SimDisk::new(19);
    disk.set_capacity(1 << 20);
    created(&disk, "identity");
    let replaced = disk.replaced(1);
    assert_eq!(replaced.list("").expect("list"), []);
    assert_eq!(replaced.free_space().expect("space").total, 1 << 20);
}

#[test]
fn faults_strike_where_when_and_as_often_as_told() {
    let disk = SimDisk::new(20);
    let (a, b) = (
        created(&disk, "seg/a".trim_start_matches("seg/")),
        created(&disk, "b"),
    );
    disk.inject(
        Injection::on(Operation::WriteAt, Fault::Full)
            .path("b")
            .skip(1)
            .times(2),
    );
    a.write_at(b"x", 0).expect("another path");
    b.write_at(b"x", 0).expect("skipped");
    assert!(b.write_at(b"x", 0).expect_err("first").is_full());
    assert!(b.write_at(b"x", 0).expect_err("second").is_full());
    b.write_at(b"x", 0).expect("spent");
    disk.inject(
        Injection::on(Operation::ReadAt, Fault::Io)
            .always()
            .chance(0.5),
    );
    let mut byte = [0];
    let failures = (0..200)
        .filter(|_| a.read_at(&mut byte, 0).is_err())
        .count();
    assert!((60..140).contains(&failures), "{failures}");
    disk.heal();
    a.read_at(&mut byte, 0).expect("healed");
    assert_eq!(
        disk.faults_struck()[&(Operation::ReadAt, Fault::Io)],
        failures as u64
    );
}

#[test]
fn the_watcher_is_told_before_each_call_and_may_take_an_image() {
    let disk = SimDisk::new(21);
    let file = created(&disk, "a");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (watched, told) = (disk.clone(), Arc::clone(&seen));
    disk.watch(Arc::new(move |event| {
        let image = watched.crash_image(event.operations);
        assert!(image.open("a", OpenMode::Read).is_ok());
        lock(&told).push((event.operation, event.length));
    }));
    file.write_at(b"abc", 0).expect("write");
    file.sync_data().expect("sync");
    disk.unwatch();
    file.sync_data().expect("sync");
    assert_eq!(
        *lock(&seen),
        [(Operation::WriteAt, 3), (Operation::SyncData, 0)]
    );
}

#[test]
#[should_panic(expected = "is not aligned")]
fn an_unaligned_durable_write_is_a_bug() {
    let disk = SimDisk::new(22);
    let file = slot(&disk, "wal", 1);
    let _ = file.write_durable(&block(1, 1)[..512], 0);
}

#[test]
fn an_interrupted_zero_fill_shows_old_bytes_or_zeros_and_nothing_else() {
    let mut lengths = BTreeSet::new();
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let file = created(&disk, "wal");
        file.write_at(&[1; 2 * 4096], 0).expect("write");
        file.sync_data().expect("sync");
        disk.stop_at(disk.operations() + 1);
        file.zero_fill(4 * 4096).expect_err("the power goes");
        let image = contents(&disk.crash_image(seed), "wal");
        assert!(image.iter().all(|&byte| byte <= 1));
        lengths.insert(image.len());
    }
    assert!(lengths.len() > 5);
}
