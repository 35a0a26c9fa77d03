//! Data directories that cannot be used or are damaged: a start refuses in three lines or serves
//! exactly what was acknowledged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use stdx::crc32c;
use wire::batch::{batches, check_crc};
use wire::record::BatchRecords;

use crate::node::{Node, Refusal, START_DEADLINE, command, scratch};
use crate::peer::{batch, fetch_request};

const KAFKA_STORAGE_ERROR: i16 = 56;

/// An operator's mistake is told in three lines, once, with exit code 1.
fn assert_three_lines(refusal: &Refusal, context: &str) {
    assert_eq!(refusal.code, Some(1), "{context}: {}", refusal.errors);
    for head in ["error: ", "cause: ", "next:  "] {
        let told = refusal.errors.lines().filter(|line| line.starts_with(head));
        let told: Vec<&str> = told.collect();
        assert_eq!(told.len(), 1, "{context}: {}", refusal.errors);
        assert!(told[0].len() > head.len(), "{context}: {}", refusal.errors);
    }
}

fn refusal(command: Command, context: &str) -> Refusal {
    match Node::launch(command) {
        Err(refusal) => {
            assert_three_lines(&refusal, context);
            refusal
        }
        Ok(_) => panic!("{context}: it started"),
    }
}

/// Starts the broker in mounts of its own, made by `prepare` (a line of shell) on `at`.
fn in_own_mounts(prepare: &str, at: &Path) -> Command {
    let inner = command(at);
    let mut outer = Command::new("unshare");
    // Whoever is not root becomes it in a user namespace.
    let root = rustix::process::geteuid().is_root();
    outer.arg(if root { "-m" } else { "-rm" });
    outer.args(["sh", "-c", &format!("{prepare} && exec \"$@\""), "sh"]);
    outer.arg(inner.get_program()).args(inner.get_args());
    outer
}

#[test]
fn a_file_in_place_of_the_directory_is_refused() {
    let place = scratch();
    let file = place.path().join("data");
    std::fs::write(&file, "not a directory").expect("written");
    refusal(command(&file), "a file");
    assert_eq!(
        std::fs::read(&file).expect("still there"),
        b"not a directory"
    );
}

#[test]
fn a_read_only_directory_is_refused() {
    let place = scratch();
    let shown = place.path().display();
    let prepare = format!("mount --bind '{shown}' '{shown}' && mount -o remount,ro,bind '{shown}'");
    let refused = refusal(in_own_mounts(&prepare, place.path()), "read-only");
    assert!(refused.errors.contains("--data-dir"), "{}", refused.errors);
}

/// A filesystem in memory of this size on `at`, and what else is done there before the start.
fn on_small_disk(size: &str, at: &Path, more: &str) -> Command {
    let shown = at.display();
    in_own_mounts(
        &format!("mount -t tmpfs -o size={size} none '{shown}' && cd '{shown}' && {more}"),
        at,
    )
}

#[test]
fn a_disk_smaller_than_the_log_is_refused() {
    for size in ["1m", "100m"] {
        let place = scratch();
        let refused = refusal(on_small_disk(size, place.path(), "true"), size);
        assert!(
            refused.errors.contains("does not fit"),
            "{}",
            refused.errors
        );
    }
}

#[test]
fn a_disk_that_is_full_at_the_first_start_is_refused() {
    let place = scratch();
    // The smallest log there is would fit, but for somebody else's file.
    let more = "export DURAMEN_WAL_SLOTS=4 DURAMEN_WAL_SLOT_BYTES=33554432 && \
                { head -c 160000000 /dev/zero > taken; true; }";
    let refused = refusal(on_small_disk("150m", place.path(), more), "taken");
    assert!(refused.errors.contains("full"), "{}", refused.errors);
}

#[test]
fn a_disk_below_its_mark_takes_no_records_and_says_why() {
    let place = scratch();
    // 970 MiB: the first slot of the log alone brings it below.
    let more = "export DURAMEN_DISK_FREE_BYTES_MIN=1017118720";
    let mut node = Node::launch(on_small_disk("1000m", place.path(), more)).expect("starts");
    let mut peer = node.connect();
    assert_eq!(peer.create_topic("t", &[]), 0);
    for _ in 0..3 {
        let answer = peer.produce(9, "t", &batch(&[b"x"]));
        assert_eq!(answer, (KAFKA_STORAGE_ERROR, -1));
    }
    assert_eq!(peer.read_all("t"), Ok(Vec::new()));
    let deadline = Instant::now() + START_DEADLINE;
    while !node.errors().contains("nearly full") {
        assert!(Instant::now() < deadline, "{}", node.errors());
        std::thread::sleep(Duration::from_millis(10));
    }
    let told = node.errors().matches("nearly full").count();
    assert_eq!(told, 1, "once, however many are refused");
    node.assert_well(128 << 20, "below its mark");
}

#[test]
fn a_directory_in_use_is_refused_and_its_user_goes_on() {
    let place = scratch();
    let node = Node::on(place.path());
    assert_eq!(node.connect().create_topic("t", &[]), 0);
    let refused = refusal(command(place.path()), "in use");
    assert!(refused.errors.contains("in use"), "{}", refused.errors);
    assert_eq!(node.connect().produce(9, "t", &batch(&[b"on"])), (0, 0));
}

#[test]
fn a_full_disk_refuses_writes_serves_reads_and_recovers_when_a_topic_is_deleted() {
    let place = scratch();
    // Records are refused while an eighth of it is still free: checkpoints need room to work in.
    let node = Node::launch(on_small_disk("1100m", place.path(), "true")).expect("starts");
    let mut peer = node.connect();
    for topic in ["filler", "small"] {
        assert_eq!(peer.create_topic(topic, &[("segment.bytes", "1048576")]), 0);
    }
    assert_eq!(peer.produce(9, "small", &batch(&[b"before"])), (0, 0));
    let filling = batch(&[&[b'x'; 900_000]]);
    let mut acknowledged = 0;
    let refused = loop {
        match peer.produce(9, "filler", &filling) {
            (0, offset) => {
                assert_eq!(offset, acknowledged);
                acknowledged += 1;
            }
            (error, _) => break error,
        }
        assert!(acknowledged < 1_000, "1,100 MiB do not hold so much");
    };
    assert_eq!(refused, KAFKA_STORAGE_ERROR, "after {acknowledged} batches");
    assert!(acknowledged > 0);
    let read = node.connect().read_all("filler").expect("reads go on");
    assert_eq!(read.len() as i64, acknowledged);
    assert_eq!(peer.delete_topic("filler"), 0);
    let deadline = Instant::now() + START_DEADLINE;
    let mut resumed = peer.produce(9, "small", &batch(&[b"after"]));
    while resumed.0 == KAFKA_STORAGE_ERROR && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
        resumed = peer.produce(9, "small", &batch(&[b"after"]));
    }
    assert_eq!(resumed, (0, 1), "{}", node.errors());
    assert_eq!(peer.read_all("small").expect("readable").len(), 2);
}

/// Sixteen values in several segments, acknowledged one after the other, then the power cut.
struct Template {
    place: tempfile::TempDir,
    acknowledged: Vec<Vec<u8>>,
}

impl Template {
    fn make(cleanly: bool) -> Template {
        let place = scratch();
        let data = place.path().join("data");
        let node = Node::on(&data);
        let mut peer = node.connect();
        assert_eq!(
            peer.create_topic("kept", &[("segment.bytes", "1048576")]),
            0
        );
        let mut acknowledged = Vec::new();
        for number in 0..16_u8 {
            let value = vec![number ^ 0x5a; 200_000];
            let (error, offset) = peer.produce(9, "kept", &batch(&[&value]));
            assert_eq!((error, offset), (0, i64::from(number)));
            acknowledged.push(value);
        }
        // What comes last can look like a torn write when it is damaged; this is not compared.
        assert_eq!(peer.create_topic("last", &[]), 0);
        assert_eq!(peer.produce(9, "last", &batch(&[b"last"])), (0, 0));
        if cleanly {
            assert_eq!(node.stop(), Some(0));
        } else {
            node.kill();
        }
        Template {
            place,
            acknowledged,
        }
    }

    fn copy(&self) -> (tempfile::TempDir, PathBuf) {
        let copy = scratch();
        copy_sparse(&self.place.path().join("data"), copy.path());
        let data = copy.path().join("data");
        (copy, data)
    }

    /// Brings a lost part of a copy back, as from a backup; what was made in its place goes.
    fn put_back(&self, data: &Path, part: &str) {
        let lost = data.join(part);
        if lost.exists() {
            remove(&lost);
        }
        copy_sparse(
            &self.place.path().join("data").join(part),
            lost.parent().expect("inside"),
        );
    }

    /// Starts on a copy that `damage` has been done to.
    fn judge(&self, context: &str, damage: impl FnOnce(&Path)) -> Verdict {
        let (_copy, data) = self.copy();
        damage(&data);
        match Node::launch(command(&data)) {
            Err(refusal) => {
                assert_three_lines(&refusal, context);
                Verdict::Refused(refusal.errors)
            }
            Ok(mut node) => {
                let verdict = self.read_back(&node, context);
                node.assert_well(256 << 20, context);
                verdict
            }
        }
    }

    /// Every offset has its value, or an error stands in its place; nothing else ever.
    fn read_back(&self, node: &Node, context: &str) -> Verdict {
        let mut peer = node.connect();
        let mut wrong = 0;
        for (offset, value) in (0..).zip(&self.acknowledged) {
            let mut response = peer.call(12, &fetch_request("kept", offset, 1));
            let partition = response.responses.remove(0).partitions.remove(0);
            let records = partition.records.unwrap_or_default();
            let Some(Ok(batch)) = batches(&records).next() else {
                // A topic that is not known, or an offset past the end, is loss without a word.
                let told = !matches!(partition.error_code, 0 | 1 | 3) || !records.is_empty();
                let error = partition.error_code;
                assert!(told, "{context}: offset {offset} is silently gone: {error}");
                wrong += 1;
                continue;
            };
            // What the broker cannot see without reading everything, the client's checksum does.
            if !check_crc(&batch) {
                wrong += 1;
                continue;
            }
            assert_eq!(batch.base_offset().0, offset, "{context}");
            let records = BatchRecords::open(&batch, 1 << 20).expect("records");
            let first = records.iter().next().expect("one").expect("whole");
            assert!(
                first.value == Some(value),
                "{context}: offset {offset} is changed"
            );
        }
        match wrong {
            0 => Verdict::Whole,
            wrong => Verdict::Told(wrong),
        }
    }
}

/// Copies a file or folder into a folder; the zeros of a log stay a hole.
fn copy_sparse(from: &Path, into: &Path) {
    let copied = Command::new("cp")
        .args(["-a", "--sparse=always"])
        .args([from, into])
        .status()
        .expect("cp");
    assert!(copied.success());
}

/// What a start made of a damaged directory.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Everything acknowledged is there.
    Whole,
    /// So many offsets answer with an error or fail the client's checksum.
    Told(usize),
    /// It did not start, and said so in three lines.
    Refused(String),
}

/// The files of a directory, by the folder they lie in, largest content first.
fn files(data: &Path) -> BTreeMap<String, Vec<PathBuf>> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(data, &mut found);
    found.sort();
    let mut by_folder: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for path in found {
        let name = path.strip_prefix(data).expect("inside");
        if ["lock", "ballast", "meta-log/reserve"]
            .iter()
            .any(|skip| name == Path::new(skip))
        {
            continue;
        }
        let first = name.components().next().expect("a name").as_os_str();
        let folder = first.to_string_lossy().into_owned();
        by_folder.entry(folder).or_default().push(path);
    }
    by_folder
}

/// Every file that holds something, of the segments' a few.
fn worth_damaging(data: &Path, chance: &mut fastrand::Rng) -> Vec<PathBuf> {
    let mut worth = Vec::new();
    for (folder, mut paths) in files(data) {
        match folder.as_str() {
            "seg" => {
                chance.shuffle(&mut paths);
                paths.truncate(2);
            }
            // Of a log only the slots that were ever used.
            "wal" | "meta-log" => paths.retain(|path| {
                let bytes = std::fs::read(path).expect("readable");
                bytes.iter().any(|byte| *byte != 0)
            }),
            _ => {}
        }
        worth.extend(paths);
    }
    worth
}

/// Changes a file's bytes in place; the zeros of a log stay a hole.
fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("readable");
    change(&mut bytes);
    std::fs::write(path, bytes).expect("writable");
}

#[test]
fn an_undamaged_directory_comes_back_whole_after_a_kill_and_after_a_stop() {
    for cleanly in [false, true] {
        let template = Template::make(cleanly);
        assert_eq!(template.judge("undamaged", |_| ()), Verdict::Whole);
    }
}

#[test]
fn a_newer_directory_is_refused_as_newer() {
    let template = Template::make(true);
    let newer = |path: PathBuf, checked: std::ops::Range<usize>, context: &str| {
        let verdict = template.judge(context, |data| {
            change(&data.join(&path), |bytes| {
                bytes[8] += 1;
                let end = checked.end.min(bytes.len() - 4);
                let crc = crc32c(&bytes[checked.start..end]);
                bytes[end..end + 4].copy_from_slice(&crc.to_le_bytes());
            });
        });
        match verdict {
            Verdict::Refused(errors) => assert!(
                errors.contains("newer") || errors.contains("later"),
                "{context}: {errors}"
            ),
            other => panic!("{context}: {other:?}"),
        }
    };
    newer("identity".into(), 0..usize::MAX, "identity");
    newer("meta/CURRENT".into(), 0..28, "CURRENT");
    let (_copy, data) = template.copy();
    let snapshot = files(&data)["meta"]
        .iter()
        .rfind(|path| {
            path.extension()
                .is_some_and(|extension| extension == "snap")
        })
        .expect("a snapshot")
        .strip_prefix(&data)
        .expect("inside")
        .to_path_buf();
    newer(snapshot, 0..60, "manifest");
}

#[test]
fn any_damaged_file_is_survived_or_told_never_served_as_something_else() {
    let mut chance = fastrand::Rng::with_seed(97);
    let mut refused = 0;
    for cleanly in [false, true] {
        let template = Template::make(cleanly);
        let (_copy, data) = template.copy();
        for path in worth_damaging(&data, &mut chance) {
            for kind in ["flip", "cut", "empty", "gone"] {
                let name = path.strip_prefix(&data).expect("inside").to_path_buf();
                let context = format!("{} {kind}, clean {cleanly}", name.display());
                let seed = chance.u64(..);
                let verdict = template.judge(&context, |data| {
                    let path = data.join(&name);
                    let mut chance = fastrand::Rng::with_seed(seed);
                    match kind {
                        "flip" => change(&path, |bytes| {
                            // Somewhere in what was written, not in the zeros behind it.
                            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
                            for _ in 0..8 {
                                if let Some(byte) = bytes.get_mut(chance.usize(..=used)) {
                                    *byte ^= 1 << chance.u8(..8);
                                }
                            }
                        }),
                        "cut" => change(&path, |bytes| bytes.truncate(bytes.len() / 3)),
                        "empty" => change(&path, Vec::clear),
                        _ => std::fs::remove_file(&path).expect("removed"),
                    }
                });
                refused += usize::from(matches!(verdict, Verdict::Refused(_)));
            }
        }
    }
    assert!(refused > 0, "some of it cannot be survived");
}

#[test]
fn a_directory_that_lost_a_part_comes_back_or_is_refused_and_whole_once_it_is_put_back() {
    for cleanly in [false, true] {
        let template = Template::make(cleanly);
        for part in ["identity", "meta", "meta-log", "seg", "meta-log/0.log"] {
            let context = format!("{part} gone, clean {cleanly}");
            let (_copy, data) = template.copy();
            remove(&data.join(part));
            match Node::launch(command(&data)) {
                Err(refusal) => {
                    assert_three_lines(&refusal, &context);
                    template.put_back(&data, part);
                    let context = format!("{context}, then put back");
                    let node = Node::launch(command(&data))
                        .unwrap_or_else(|refusal| panic!("{context}: {}", refusal.errors));
                    assert_eq!(
                        template.read_back(&node, &context),
                        Verdict::Whole,
                        "{context}"
                    );
                }
                // Young records are still in the shared log as well.
                Ok(node) => {
                    template.read_back(&node, &context);
                }
            }
        }
    }
}

fn remove(path: &Path) {
    let removed = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    removed.expect("removed");
}

#[test]
fn a_directory_full_of_another_program_s_files_is_left_as_it_is() {
    let place = scratch();
    let theirs = [
        (
            "meta.properties",
            "version=1\nnode.id=1\ncluster.id=4L6g3nShT-eMCtK--X86sw\n",
        ),
        ("wal/00000000.wal", "somebody else's log"),
        ("meta/CURRENT", "MANIFEST-000001\n"),
    ];
    for (name, content) in theirs {
        let path = place.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    refusal(command(place.path()), "foreign");
    for (name, content) in theirs {
        let now = std::fs::read(place.path().join(name)).expect("still there");
        assert!(now == content.as_bytes(), "{name} was changed");
    }
}
