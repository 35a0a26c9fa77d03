//! What the settings say of the data directory, refused where it cannot be; and what one is told of
//! the disk behind it once the node has started.

use broker::Broker;
use cli::Failure;
use commitlog::{RecoveryReport, StoreConfig};
use metadata::config::StaticConfig;
use stdx::ByteSize;
use world::disk::{DiskTraits, Space};

use crate::running::words;

/// Flushes faster than this come from a cache that may lie, or from memory (storage.md 7.1).
const FLUSH_US_SUSPICIOUS: u64 = 20;
/// Flushes slower than this are felt by every producer that waits for them.
const FLUSH_US_SLOW: u64 = 20_000;
/// Blocks of the shared log; a slot is a number of them.
const BLOCK_BYTES: u64 = 4096;

/// The store's part of the settings; the rest of `config` is kept.
///
/// # Errors
/// Settings that contradict each other: three lines, and nothing was touched.
pub fn store_config(settings: &StaticConfig, config: StoreConfig) -> Result<StoreConfig, Failure> {
    let bytes = |key: &str| {
        let number = settings.given(key).map(|_| settings.number(key));
        number.and_then(|bytes| u64::try_from(bytes).ok())
    };
    let config = StoreConfig {
        slot_bytes: settings.number("wal.slot.bytes").unsigned_abs(),
        slots: u32::try_from(settings.number("wal.slots")).unwrap_or(config.slots),
        free_bytes_min: bytes("disk.free.bytes.min"),
        free_bytes_resume: bytes("disk.free.bytes.resume"),
        ..config
    };
    if !config.slot_bytes.is_multiple_of(BLOCK_BYTES) {
        return Err(wrong(
            format!("wal.slot.bytes={}", config.slot_bytes),
            format!("the log is written in blocks of {BLOCK_BYTES} bytes, and a slot is so many"),
            "choose a multiple of 4096".to_owned(),
        ));
    }
    let (half, largest) = (
        config.slot_bytes / 2,
        settings.number("message.max.bytes").unsigned_abs(),
    );
    if largest > half {
        return Err(wrong(
            format!("message.max.bytes={largest}"),
            format!("a batch must fit into half a slot of the log, and that is {half} bytes"),
            format!(
                "lower it, or set wal.slot.bytes to twice as much or more, now {}",
                half * 2
            ),
        ));
    }
    if let (Some(min), Some(resume)) = (config.free_bytes_min, config.free_bytes_resume)
        && resume < min
    {
        return Err(wrong(
            format!("disk.free.bytes.resume={resume}"),
            format!("writes stop below disk.free.bytes.min={min}, they cannot resume there"),
            format!("set it to {min} or more, or remove it"),
        ));
    }
    Ok(config)
}

/// Whether a filesystem of this size can hold what the settings want.
///
/// # Errors
/// It cannot, however empty it is.
pub fn check_room(config: &StoreConfig, space: Space) -> Result<(), Failure> {
    let total = space.total;
    let log = config.slot_bytes.saturating_mul(u64::from(config.slots));
    if log >= total {
        return Err(Failure::new(
            "the disk is too small",
            format!(
                "a log of {} (wal.slots times wal.slot.bytes) does not fit on a filesystem of {}",
                ByteSize(log),
                ByteSize(total)
            ),
            "use a larger disk, or lower wal.slots or wal.slot.bytes",
        ));
    }
    for (key, mark) in [
        ("disk.free.bytes.min", config.free_bytes_min),
        ("disk.free.bytes.resume", config.free_bytes_resume),
    ] {
        if let Some(mark) = mark.filter(|mark| *mark >= total) {
            return Err(wrong(
                format!("{key}={mark}"),
                format!("the whole filesystem has {total} bytes: nothing could ever be written"),
                "lower it, or remove it for the default".to_owned(),
            ));
        }
    }
    Ok(())
}

fn wrong(what: String, cause: String, next: String) -> Failure {
    Failure::usage(format!("configuration: {what} cannot be"), cause, next)
}

/// What opening the directory found, in words.
pub fn recovered(report: &RecoveryReport) -> String {
    let partitions = counted(report.partitions as u64, "partition", "partitions");
    if report.created {
        "new".to_owned()
    } else if report.clean {
        format!("{partitions}, clean stop")
    } else {
        let batches = counted(report.batches, "batch", "batches");
        format!("{partitions}, recovered {batches} from the log")
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Says once, in one line, how this node writes and what it found; and warns of a disk or a recovery
/// that an operator should look at.
pub fn tell_start(broker: &Broker, disk: Option<&DiskTraits>, ready_in: std::time::Duration) {
    let report = broker.recovery();
    let found = recovered(report);
    let ready = words(ready_in);
    match disk {
        Some(disk) => {
            tracing::info!(
                filesystem = disk.filesystem,
                flush_us = disk.durable_write_us,
                replayed_blocks = report.blocks,
                "started: {}; {found}; ready in {ready}",
                write_path(disk)
            );
            for warning in disk_warnings(disk) {
                tracing::warn!(filesystem = disk.filesystem, "{warning}");
            }
        }
        None => tracing::info!("started: {found}; ready in {ready}"),
    }
    if let Some(lost) = &report.lost {
        tracing::warn!("acknowledged records were lost, as accepted: {lost}");
    }
    if !report.suspect.is_empty() {
        let partitions: Vec<String> = report.suspect.iter().map(ToString::to_string).collect();
        tracing::warn!(
            partitions = partitions.join(" "),
            "recovery cannot vouch for these partitions: they are read only. Restore them from a \
             backup, or delete and create their topics"
        );
    }
}

/// How acknowledged records reach the disk.
fn write_path(disk: &DiskTraits) -> String {
    let flush = std::time::Duration::from_micros(disk.durable_write_us);
    let path = if disk.direct {
        "direct durable writes (O_DIRECT+O_DSYNC)"
    } else {
        "buffered writes and fdatasync, for the filesystem refuses O_DIRECT"
    };
    format!("{path}, {flush:.1?} a flush")
}

fn disk_warnings(disk: &DiskTraits) -> Vec<String> {
    let mut warnings = Vec::new();
    let us = disk.durable_write_us;
    if us < FLUSH_US_SUSPICIOUS {
        warnings.push(format!(
            "a flush takes {us} us, which no disk can do: this is memory, or a cache that lies. \
             What is acknowledged may be lost when the machine stops. Keep the data on a real disk"
        ));
    }
    if us > FLUSH_US_SLOW {
        warnings.push(format!(
            "a flush takes {} ms, and every producer that waits for durability waits as long. Use \
             a faster disk, or one whose cache survives a power cut",
            us / 1000
        ));
    }
    if disk.copy_on_write {
        warnings.push(
            "the filesystem copies on write: the log, written over in place, can meet a full disk \
             there. Run chattr +C on the empty data directory before the first start, or use \
             ext4 or XFS"
                .to_owned(),
        );
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(given: &[(&str, &str)]) -> StaticConfig {
        let (settings, problems) = StaticConfig::load(given.iter().copied());
        assert!(problems.is_empty(), "{problems:?}");
        settings
    }

    fn refused(given: &[(&str, &str)]) -> Failure {
        let outcome = store_config(&settings(given), StoreConfig::default());
        outcome.expect_err("these contradict each other")
    }

    #[test]
    fn without_settings_the_store_is_what_it_is_by_default() {
        let config = store_config(&settings(&[]), StoreConfig::default()).expect("fine");
        let default = StoreConfig::default();
        assert_eq!(
            (config.slots, config.slot_bytes, config.free_bytes_min),
            (default.slots, default.slot_bytes, None)
        );
    }

    #[test]
    fn the_settings_reach_the_store() {
        let given = [
            ("wal.slots", "16"),
            ("wal.slot.bytes", "33554432"),
            ("disk.free.bytes.min", "1000"),
            ("disk.free.bytes.resume", "2000"),
        ];
        let config = store_config(&settings(&given), StoreConfig::default()).expect("fine");
        assert_eq!((config.slots, config.slot_bytes), (16, 32 << 20));
        let marks = (config.free_bytes_min, config.free_bytes_resume);
        assert_eq!(marks, (Some(1000), Some(2000)));
    }

    #[test]
    fn values_that_contradict_each_other_are_refused_in_three_lines() {
        for (given, named) in [
            (&[("wal.slot.bytes", "67108865")][..], "wal.slot.bytes"),
            (
                &[("message.max.bytes", "40000000")],
                "message.max.bytes=40000000",
            ),
            (
                &[
                    ("disk.free.bytes.min", "10"),
                    ("disk.free.bytes.resume", "9"),
                ],
                "disk.free.bytes.resume",
            ),
        ] {
            let failure = refused(given);
            assert_eq!(failure.exit, cli::failure::EXIT_USAGE);
            assert!(failure.what.contains(named), "{failure}");
            assert_eq!(failure.to_string().lines().count(), 3, "{failure}");
        }
    }

    #[test]
    fn values_out_of_bounds_are_refused_before_that() {
        for (key, value) in [
            ("wal.slots", "3"),
            ("wal.slots", "many"),
            ("wal.slot.bytes", "4096"),
            ("disk.free.bytes.min", "-1"),
        ] {
            let (_, problems) = StaticConfig::load([(key, value)]);
            assert_eq!(problems.len(), 1, "{key}={value}");
        }
    }

    #[test]
    fn what_no_disk_of_this_size_can_hold_is_refused() {
        let space = Space {
            free: 1 << 30,
            total: 1 << 30,
        };
        check_room(&StoreConfig::default(), space).expect("half of it is the log");
        let log = StoreConfig {
            slots: 16,
            ..StoreConfig::default()
        };
        let mark = StoreConfig {
            free_bytes_min: Some(1 << 30),
            ..StoreConfig::default()
        };
        for config in [log, mark] {
            let failure = check_room(&config, space).expect_err("too much");
            assert_eq!(failure.to_string().lines().count(), 3, "{failure}");
        }
    }

    #[test]
    fn the_write_path_and_its_dangers_are_told() {
        let disk = |direct, us| DiskTraits {
            direct,
            copy_on_write: false,
            filesystem: "ext4".to_owned(),
            durable_write_us: us,
        };
        let fine = disk(true, 310);
        assert!(write_path(&fine).contains("O_DIRECT+O_DSYNC"));
        assert!(
            write_path(&fine).contains("310.0µs"),
            "{}",
            write_path(&fine)
        );
        assert!(disk_warnings(&fine).is_empty());
        assert!(write_path(&disk(false, 310)).contains("refuses O_DIRECT"));
        assert_eq!(disk_warnings(&disk(true, 3)).len(), 1);
        assert_eq!(disk_warnings(&disk(true, 30_000)).len(), 1);
        let copying = DiskTraits {
            copy_on_write: true,
            ..disk(true, 310)
        };
        assert_eq!(disk_warnings(&copying).len(), 1);
    }
}
