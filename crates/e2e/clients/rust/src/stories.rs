//! The stories, over what they need of a client. They check contents, not counts: every record once,
//! whole, in order within its key.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

pub const PARTITIONS: usize = 6;
/// Generous: the machine may be busy; only failures take this long.
pub const WAIT: Duration = Duration::from_secs(120);

pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// One record as produced or as read.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub key: String,
    pub value: String,
    /// A list, since names may repeat.
    pub headers: Vec<(String, String)>,
    /// As the client chooses, if none is given.
    pub partition: Option<i32>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
    pub offset: i64,
}

#[derive(Clone, Copy, Debug)]
pub enum When {
    Earliest,
    Latest,
    /// Milliseconds since 1970.
    At(i64),
}

/// One reader of a group, polled by a thread of its own.
pub trait Reader: Send {
    /// What came within a moment.
    fn poll(&mut self) -> Outcome<Vec<Record>>;
    fn assigned(&self) -> Outcome<BTreeSet<i32>>;
    fn commit(&mut self) -> Outcome;
}

/// What the stories need of a client.
pub trait Surface {
    /// Whether one record may have two headers of one name.
    fn repeats_headers(&self) -> bool;
    /// Whether the answer is the end of the partition when no record is young enough, instead of none.
    fn none_is_end(&self) -> bool;
    /// False if there is a topic of that name.
    fn create(&self, topic: &str) -> Outcome<bool>;
    fn delete(&self, topic: &str) -> Outcome;
    /// 0 if there is no such topic.
    fn partitions(&self, topic: &str) -> Outcome<usize>;
    /// Returns when every record is acknowledged.
    fn produce(&self, topic: &str, records: &[Record], codec: &str) -> Outcome;
    /// Reads every partition from its start until so many records came, and looks once more.
    fn read_all(&self, topic: &str, count: usize) -> Outcome<Vec<Record>>;
    fn offsets(&self, topic: &str, when: When) -> Outcome<Vec<i64>>;
    fn reader(&self, group: &str, topic: &str) -> Outcome<Box<dyn Reader>>;
    /// The sum of a group's offsets.
    fn committed(&self, group: &str, topic: &str) -> Outcome<i64>;
    fn configs(&self, topic: &str) -> Outcome<HashMap<String, String>>;
    fn alter(&self, topic: &str, key: &str, value: &str) -> Outcome;
}

pub fn tell(on: &dyn Surface, story: &str) -> Outcome {
    match story {
        "topic" => topic(on),
        "codecs" => codecs(on),
        "group" => group(on),
        "resume" => resume(on),
        "offsets" => offsets(on),
        "configs" => configs(on),
        _ => Err(format!("no story {story:?} here").into()),
    }
}

/// A topic is created with six partitions, cannot be created twice, and is gone when deleted.
fn topic(on: &dyn Surface) -> Outcome {
    let name = with_topic(on, "topic")?;
    let found = on.partitions(&name)?;
    check(found == PARTITIONS, || format!("{found} partitions"))?;
    check(!on.create(&name)?, || {
        "the same topic was created twice".into()
    })?;
    on.delete(&name)?;
    eventually("the topic to be gone", || Ok(on.partitions(&name)? == 0))
}

/// Records survive every codec, with keys and headers, in one topic.
fn codecs(on: &dyn Surface) -> Outcome {
    let name = with_topic(on, "codecs")?;
    let mut wanted = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let batch = numbered(on, 600, codec, wanted.len());
        on.produce(&name, &batch, codec)?;
        wanted.extend(batch);
    }
    let got = on.read_all(&name, wanted.len())?;
    check_exact(&got, &wanted)?;
    on.delete(&name)
}

/// A group of two: one joins, one leaves, and every record is read once.
fn group(on: &dyn Surface) -> Outcome {
    let name = with_topic(on, "group")?;
    let readers = format!("{name}-readers");
    let mut wanted = Vec::new();
    let more = |wanted: &mut Vec<Record>| {
        let batch = numbered(on, 600, "group", wanted.len());
        wanted.extend(batch.iter().cloned());
        on.produce(&name, &batch, "none")
    };
    more(&mut wanted)?;
    let first = Member::start(on.reader(&readers, &name)?, usize::MAX);
    eventually("the first member to read all", || {
        Ok(first.holds()?.len() == PARTITIONS && first.count() >= wanted.len())
    })?;
    let second = Member::start(on.reader(&readers, &name)?, usize::MAX);
    eventually("two members to hold three each", || {
        Ok(first.holds()?.len() == 3 && second.holds()?.len() == 3)
    })?;
    check(first.holds()?.is_disjoint(&second.holds()?), || {
        "a partition has two owners".into()
    })?;
    more(&mut wanted)?;
    eventually("two members to read all", || {
        first.holds()?;
        second.holds()?;
        Ok(first.count() + second.count() >= wanted.len())
    })?;
    check(second.count() > 0, || {
        "the second member read nothing".into()
    })?;
    let mut got = first.leave()?;
    eventually("the member that stays to hold all", || {
        Ok(second.holds()?.len() == PARTITIONS)
    })?;
    more(&mut wanted)?;
    eventually("the member that stays to read all", || {
        second.holds()?;
        Ok(got.len() + second.count() >= wanted.len())
    })?;
    got.extend(second.leave()?);
    check_exact(&got, &wanted)?;
    let sum = on.committed(&readers, &name)?;
    check(sum == wanted.len() as i64, || {
        format!("committed {sum} of {}", wanted.len())
    })?;
    on.delete(&name)
}

/// A reader that commits and stops is continued exactly where it was.
fn resume(on: &dyn Surface) -> Outcome {
    let name = with_topic(on, "resume")?;
    let readers = format!("{name}-readers");
    let wanted = numbered(on, 900, "resume", 0);
    on.produce(&name, &wanted, "none")?;
    let first = Member::start(on.reader(&readers, &name)?, 250);
    eventually("the first reader", || {
        first.holds()?;
        Ok(first.thread.is_finished())
    })?;
    let mut got = first.leave()?;
    check(got.len() < wanted.len(), || {
        "the first reader took everything at once".into()
    })?;
    let sum = on.committed(&readers, &name)?;
    check(sum == got.len() as i64, || {
        format!("read {}, committed {sum}", got.len())
    })?;
    let second = Member::start(on.reader(&readers, &name)?, usize::MAX);
    eventually("the rest", || {
        second.holds()?;
        Ok(second.count() >= wanted.len() - got.len())
    })?;
    got.extend(second.leave()?);
    check_exact(&got, &wanted)?;
    on.delete(&name)
}

/// Earliest, latest and by-time offsets, also inside a compressed batch.
fn offsets(on: &dyn Surface) -> Outcome {
    for codec in ["none", "gzip"] {
        let name = with_topic(on, "offsets")?;
        let base = millis() - 3_600_000;
        let records: Vec<Record> = (0..60)
            .map(|i| Record {
                key: "k".into(),
                value: format!("{i}:t"),
                partition: Some(i % PARTITIONS as i32),
                timestamp: Some(base + i64::from(i) * 1000),
                ..Record::default()
            })
            .collect();
        on.produce(&name, &records, codec)?;
        let none = if on.none_is_end() { 10 } else { -1 };
        for (when, wanted) in [
            (When::Earliest, [0; 6]),
            (When::Latest, [10; 6]),
            (When::At(base), [0; 6]),
            (When::At(base + 30_000), [5; 6]),
            (When::At(base + 30_500), [6, 5, 5, 5, 5, 5]),
            (When::At(base + 59_000), [none, none, none, none, none, 9]),
            (When::At(base + 60_000), [none; 6]),
        ] {
            let got = on.offsets(&name, when)?;
            check(got == wanted, || {
                format!("offsets {when:?} of base {base} ({codec}): {got:?}, not {wanted:?}")
            })?;
        }
        on.delete(&name)?;
    }
    Ok(())
}

/// A topic's settings are described, altered, seen altered.
fn configs(on: &dyn Surface) -> Outcome {
    let name = with_topic(on, "configs")?;
    let before = on.configs(&name)?;
    for key in [
        "cleanup.policy",
        "retention.ms",
        "max.message.bytes",
        "min.insync.replicas",
        "compression.type",
    ] {
        check(before.contains_key(key), || {
            format!("{key} is not described")
        })?;
    }
    let retention = before.get("retention.ms").map(String::as_str);
    check(retention == Some("604800000"), || {
        format!("retention.ms is {retention:?}")
    })?;
    on.alter(&name, "retention.ms", "86400000")?;
    eventually("the altered setting to show", || {
        let now = on.configs(&name)?;
        let altered = now
            .get("retention.ms")
            .is_some_and(|value| value == "86400000");
        Ok(altered && now.get("cleanup.policy") == before.get("cleanup.policy"))
    })?;
    on.delete(&name)
}

/// A group member with a thread of its own: polls, commits, keeps what it read.
struct Member {
    shelf: Arc<Mutex<Shelf>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shelf {
    records: Vec<Record>,
    assigned: BTreeSet<i32>,
    failure: Option<String>,
}

impl Member {
    /// Reads until told to leave, or until it has read so many.
    fn start(mut reader: Box<dyn Reader>, limit: usize) -> Member {
        let (shelf, stop) = (Arc::<Mutex<Shelf>>::default(), Arc::<AtomicBool>::default());
        let (kept, told) = (Arc::clone(&shelf), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut read = 0;
            while !told.load(Ordering::Relaxed) && read < limit {
                let step = reader.poll().and_then(|batch| {
                    if !batch.is_empty() {
                        reader.commit()?;
                    }
                    Ok((batch, reader.assigned()?))
                });
                let mut shelf = locked(&kept);
                match step {
                    Ok((batch, assigned)) => {
                        read += batch.len();
                        shelf.records.extend(batch);
                        shelf.assigned = assigned;
                    }
                    Err(error) => {
                        shelf.failure = Some(error.to_string());
                        return;
                    }
                }
            }
        });
        Member {
            shelf,
            stop,
            thread,
        }
    }

    fn count(&self) -> usize {
        locked(&self.shelf).records.len()
    }

    fn holds(&self) -> Outcome<BTreeSet<i32>> {
        let shelf = locked(&self.shelf);
        match &shelf.failure {
            Some(failure) => Err(format!("a member failed: {failure}").into()),
            None => Ok(shelf.assigned.clone()),
        }
    }

    fn leave(self) -> Outcome<Vec<Record>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "a member panicked")?;
        let mut shelf = locked(&self.shelf);
        match shelf.failure.take() {
            Some(failure) => Err(format!("a member failed: {failure}").into()),
            None => Ok(std::mem::take(&mut shelf.records)),
        }
    }
}

fn locked<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records over 37 keys; the value starts with the record's number.
fn numbered(on: &dyn Surface, count: usize, tag: &str, start: usize) -> Vec<Record> {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    (start..start + count)
        .map(|i| {
            let mut headers = vec![pair("n", &i.to_string()), pair("tag", tag)];
            if on.repeats_headers() {
                headers.push(pair("tag", "again"));
            }
            headers.push(pair("empty", ""));
            Record {
                key: format!("key-{}", i % 37),
                value: format!("{i}:{tag}:{}", "abcdefgh".repeat(i % 23)),
                headers,
                ..Record::default()
            }
        })
        .collect()
}

fn number(record: &Record) -> Option<usize> {
    record.value.split(':').next()?.parse().ok()
}

/// Every wanted record once, whole, in order within its key; offsets of a partition rise.
fn check_exact(got: &[Record], wanted: &[Record]) -> Outcome {
    let mut left: BTreeMap<usize, &Record> = wanted
        .iter()
        .filter_map(|record| Some((number(record)?, record)))
        .collect();
    let (mut last, mut at) = (HashMap::new(), HashMap::new());
    for record in got {
        let n = number(record).ok_or_else(|| format!("a record reads {:?}", record.value))?;
        let due = left
            .remove(&n)
            .ok_or_else(|| format!("record {n} came twice or was never produced"))?;
        // Some clients sort headers by name.
        let (mut has, mut should) = (record.headers.clone(), due.headers.clone());
        has.sort();
        should.sort();
        check(
            record.key == due.key && record.value == due.value && has == should,
            || format!("record {n} changed: {:?}", record.headers),
        )?;
        let before = last.insert(&record.key, n);
        check(before.is_none_or(|before| before < n), || {
            format!("record {n} after {before:?} of the same key")
        })?;
        let before = at.insert(record.partition, record.offset);
        check(before.is_none_or(|before| before < record.offset), || {
            format!(
                "partition {:?} goes from offset {before:?} to {}",
                record.partition, record.offset
            )
        })?;
    }
    check(left.is_empty(), || {
        format!(
            "{} records are missing, first {:?}",
            left.len(),
            left.keys().next()
        )
    })
}

fn with_topic(on: &dyn Surface, story: &str) -> Outcome<String> {
    let nanos = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)?
        .as_nanos();
    let name = format!(
        "e2e-{story}-{:x}",
        nanos ^ u128::from(std::process::id()) << 40
    );
    check(on.create(&name)?, || format!("{name} is there already"))?;
    // A broker may answer before its metadata shows what it made.
    eventually("the topic to show", || Ok(on.partitions(&name)? > 0))?;
    Ok(name)
}

pub fn millis() -> i64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

fn check(holds: bool, else_say: impl FnOnce() -> String) -> Outcome {
    if holds {
        Ok(())
    } else {
        Err(else_say().into())
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> Outcome<bool>) -> Outcome {
    let until = Instant::now() + WAIT;
    while !holds()? {
        check(Instant::now() < until, || {
            format!("waited {} s for {what}", WAIT.as_secs())
        })?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
