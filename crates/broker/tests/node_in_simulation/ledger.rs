//! What the node has promised, and whether it keeps it.
//!
//! Every record names its partition, its writer and its number, and is as long as these say, so
//! that any record read can be judged by itself. The ledger panics at the first broken promise.

use std::collections::{BTreeMap, BTreeSet};

use client::{At, Consumer, Record, TopicView};

use crate::stage::{Door, pause};

/// Whose record, and which of his.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    pub writer: u32,
    pub number: u32,
}

/// A partition by name.
pub type Place = (String, i32);

/// The promises.
#[derive(Default)]
pub struct Ledger {
    pub partitions: BTreeMap<Place, Promised>,
    /// Topics, once their creation was asked for.
    pub topics: BTreeMap<String, Topic>,
    /// Group offsets by group and partition.
    pub commits: BTreeMap<(String, Place), Setting<i64>>,
    /// Every producer id handed out.
    pub producer_ids: BTreeSet<i64>,
    pub writer_next: u32,
    /// What happened, for whoever has to find out why.
    pub told: Vec<String>,
    /// Counts that show that the story was worth telling.
    pub acknowledged: u64,
    pub kept_unacknowledged: u64,
    pub lost_unacknowledged: u64,
}

/// A partition's promises.
#[derive(Default)]
pub struct Promised {
    /// Records asked to be stored: number of records of each writer.
    sent: BTreeMap<u32, u32>,
    /// What stands at an offset: acknowledged there, or read there.
    fixed: BTreeMap<i64, Tag>,
    /// Acknowledged, offset unknown.
    acknowledged: BTreeSet<Tag>,
    /// Refused: never stored.
    refused: BTreeSet<Tag>,
    /// Deletes of records: what was answered, what was asked for.
    start_least: i64,
    start_most: i64,
    /// No log end was below it.
    end_least: i64,
}

/// A value that was set: what holds, and what may hold because its answer never came.
#[derive(Clone, Debug, Default)]
pub struct Setting<T> {
    pub holds: Option<T>,
    pub maybe: Vec<T>,
}

impl<T: PartialEq + std::fmt::Debug> Setting<T> {
    /// It is about to be set.
    pub fn asked(&mut self, value: T) {
        self.maybe.push(value);
    }

    /// The last one asked for was answered with success.
    pub fn answered(&mut self) {
        if let Some(value) = self.maybe.pop() {
            self.holds = Some(value);
            self.maybe.clear();
        }
    }

    /// What is there now, behind a restart; it holds from here on.
    pub fn found(&mut self, what: &str, value: Option<T>) {
        let known = value == self.holds || value.as_ref().is_some_and(|it| self.maybe.contains(it));
        assert!(known, "{what} is {value:?}, acknowledged was {self:?}");
        self.holds = value;
        self.maybe.clear();
    }
}

/// A topic's promises.
#[derive(Default)]
pub struct Topic {
    /// Its number of partitions; `None` and 0 for a topic that is not there.
    pub partitions: Setting<i32>,
    /// Its `retention.ms`.
    pub retention: Setting<String>,
}

/// The bytes of a record.
pub fn value(topic: &str, partition: i32, tag: Tag) -> Vec<u8> {
    let mut bytes = format!("{topic}/{partition}/{}/{}/", tag.writer, tag.number).into_bytes();
    let mut mixed = u64::from(tag.writer) << 32 | u64::from(tag.number) << 1 | 1;
    mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    // One in 16 is several pages long.
    let length = match mixed % 16 {
        0 => 6_000 + (mixed >> 8) % 9_000,
        _ => (mixed >> 8) % 300,
    };
    for at in 0..length {
        bytes.push((mixed >> (at % 56)) as u8 ^ at as u8);
    }
    bytes
}

impl Ledger {
    /// Notes what happens.
    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        let what = what();
        if crate::crashes::telling() {
            eprintln!("{what}");
        }
        self.told.push(what);
    }

    pub fn new_writer(&mut self) -> u32 {
        self.writer_next += 1;
        self.writer_next
    }

    pub fn promised(&mut self, place: &Place) -> &mut Promised {
        self.partitions.entry(place.clone()).or_default()
    }

    /// Topics that are surely there.
    pub fn existing(&self) -> Vec<(String, i32)> {
        let there = self
            .topics
            .iter()
            .filter(|(_, topic)| topic.partitions.maybe.is_empty());
        there
            .filter_map(|(name, topic)| Some((name.clone(), topic.partitions.holds?)))
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// These records are about to be sent; `writer` sends in order.
    pub fn send(&mut self, place: &Place, writer: u32, count: u32) -> Vec<Tag> {
        let sent = self.promised(place).sent.entry(writer).or_default();
        let first = *sent;
        *sent += count;
        (first..first + count)
            .map(|number| Tag { writer, number })
            .collect()
    }

    /// A batch was acknowledged at this offset.
    pub fn acknowledge(&mut self, place: &Place, base_offset: i64, tags: &[Tag]) {
        self.acknowledged += tags.len() as u64;
        let promised = self.promised(place);
        for (offset, tag) in (base_offset..).zip(tags) {
            promised.fix(place, offset, *tag);
            promised.end_least = promised.end_least.max(offset + 1);
        }
    }

    /// Records were acknowledged, at offsets that were not told.
    pub fn acknowledge_somewhere(&mut self, place: &Place, tags: &[Tag]) {
        self.acknowledged += tags.len() as u64;
        self.promised(place).acknowledged.extend(tags);
    }

    /// A batch was refused.
    pub fn refuse(&mut self, place: &Place, tags: &[Tag]) {
        self.promised(place).refused.extend(tags);
    }

    /// Records up to here are asked to be deleted.
    pub fn ask_to_delete(&mut self, place: &Place, offset: i64) {
        let promised = self.promised(place);
        promised.start_most = promised.start_most.max(offset);
    }

    /// They are deleted.
    pub fn deleted(&mut self, place: &Place, low: i64) {
        let promised = self.promised(place);
        assert!(
            low <= promised.start_most,
            "{place:?}: log start {low} was never asked for"
        );
        promised.start_least = promised.start_least.max(low);
    }

    /// A record was read by a client, on a running node.
    pub fn read(&mut self, topic: &str, record: &Record) {
        let place = (topic.to_owned(), record.partition);
        let tag = judge(&place, record);
        let promised = self.promised(&place);
        promised.check_sent(&place, record.offset, tag);
        promised.fix(&place, record.offset, tag);
        promised.end_least = promised.end_least.max(record.offset + 1);
    }

    fn found_topics(&mut self, found: &[TopicView]) {
        for view in found.iter().filter(|view| !view.internal) {
            assert!(
                self.topics.contains_key(&view.name),
                "nobody asked for {}",
                view.name
            );
        }
        for (name, topic) in &mut self.topics {
            let there = found.iter().find(|view| view.name == *name);
            let count = there.map_or(0, |view| view.partitions.len() as i32);
            topic.partitions.holds.get_or_insert(0);
            topic
                .partitions
                .found(&format!("partitions of {name}"), Some(count));
            if count == 0 {
                topic.retention = Setting::default();
            }
        }
    }

    fn found_retention(&mut self, name: &str, retention: Option<String>) {
        let topic = self.topics.get_mut(name).unwrap();
        topic
            .retention
            .found(&format!("retention.ms of {name}"), retention);
    }

    /// Reads everything that is there and holds it against what was promised.
    pub async fn check(this: &std::rc::Rc<std::cell::RefCell<Ledger>>, door: &Door) {
        let mut client = door.client().await.expect("the node serves again");
        let found = client.topics(None).await.expect("topics");
        this.borrow_mut().found_topics(&found);
        let existing = this.borrow().existing();
        for (name, count) in existing {
            let configs = client.topic_configs(&name).await.expect("configs");
            let retention = configs.iter().find(|config| config.name == "retention.ms");
            let retention = retention.and_then(|config| config.value.clone());
            this.borrow_mut().found_retention(&name, retention);
            for partition in 0..count {
                check_partition(this, door, (name.clone(), partition)).await;
            }
        }
        check_commits(this, &mut client).await;
    }
}

/// Reads a partition from start to end.
async fn check_partition(
    this: &std::rc::Rc<std::cell::RefCell<Ledger>>,
    door: &Door,
    place: Place,
) {
    let mut client = door.client().await.expect("the node serves again");
    let (topic, partition) = (place.0.as_str(), place.1);
    let only = [partition];
    let start = client
        .list_offsets(topic, &only, At::Start)
        .await
        .expect("log start")[&partition];
    let end = client
        .list_offsets(topic, &only, At::End)
        .await
        .expect("log end")[&partition];
    let starts = BTreeMap::from([(partition, start)]);
    let mut consumer = Consumer::assign(client, topic, &starts);
    let mut records = Vec::new();
    let mut empty = 0;
    while consumer.positions().any(|(_, position)| position < end) {
        let polled = consumer.poll().await;
        let polled = polled.unwrap_or_else(|error| panic!("{place:?}, {start}..{end}: {error}"));
        empty = if polled.is_empty() { empty + 1 } else { 0 };
        assert!(
            empty < 20,
            "{place:?}: {:?} of {end}",
            consumer.positions().next()
        );
        records.extend(polled);
        pause(1).await;
    }
    let mut ledger = this.borrow_mut();
    let settled = ledger.promised(&place).settle(&place, start, end, &records);
    ledger.kept_unacknowledged += settled.kept;
    ledger.lost_unacknowledged += settled.lost;
}

async fn check_commits(
    this: &std::rc::Rc<std::cell::RefCell<Ledger>>,
    client: &mut client::Client,
) {
    let groups: BTreeSet<String> = this
        .borrow()
        .commits
        .keys()
        .map(|(group, _)| group.clone())
        .collect();
    for group in groups {
        // The coordinator replays its log first; our client waits for that by itself.
        let found = client.committed_offsets(&group).await;
        let found = found.unwrap_or_else(|error| panic!("offsets of {group}: {error}"));
        let mut ledger = this.borrow_mut();
        for ((_, place), setting) in ledger
            .commits
            .iter_mut()
            .filter(|((name, _), _)| *name == group)
        {
            let offset = found.get(place).copied();
            setting.found(&format!("offset of {group} in {place:?}"), offset);
        }
    }
}

/// Which record it is, by its bytes, all of them.
fn judge(place: &Place, record: &Record) -> Tag {
    let bytes = record.value.as_deref().unwrap_or_default();
    let parts: Vec<&[u8]> = bytes.splitn(5, |byte| *byte == b'/').collect();
    let number =
        |at: usize| -> Option<u32> { std::str::from_utf8(parts.get(at)?).ok()?.parse().ok() };
    let (Some(writer), Some(number)) = (number(2), number(3)) else {
        panic!("{place:?} at {}: nobody's record: {bytes:?}", record.offset);
    };
    let tag = Tag { writer, number };
    let same = bytes == value(&place.0, place.1, tag);
    assert!(
        same,
        "{place:?} at {}: {tag:?} is not as it was sent",
        record.offset
    );
    tag
}

/// What became of records that were never acknowledged.
struct Settled {
    kept: u64,
    lost: u64,
}

impl Promised {
    /// The least log start and log end that hold.
    pub fn bounds(&self) -> (i64, i64) {
        (self.start_least.max(self.start_most), self.end_least)
    }

    fn fix(&mut self, place: &Place, offset: i64, tag: Tag) {
        let stands = *self.fixed.entry(offset).or_insert(tag);
        assert_eq!(stands, tag, "{place:?}: two records at offset {offset}");
    }

    fn check_sent(&self, place: &Place, offset: i64, tag: Tag) {
        let sent = self.sent.get(&tag.writer).copied().unwrap_or(0);
        assert!(
            tag.number < sent,
            "{place:?} at {offset}: {tag:?} was never sent"
        );
        assert!(
            !self.refused.contains(&tag),
            "{place:?} at {offset}: {tag:?} was refused"
        );
    }

    /// Holds a whole log, as it is behind a restart, against what was promised of it.
    fn settle(&mut self, place: &Place, start: i64, end: i64, records: &[Record]) -> Settled {
        assert!(
            (self.start_least..=self.start_most).contains(&start),
            "{place:?}: log start {start}, promised {}, asked for {}",
            self.start_least,
            self.start_most
        );
        let least = self.end_least;
        assert!(
            end >= least,
            "{place:?}: log end {end}, it was {least} before the crash"
        );
        let count = records.len() as i64;
        assert_eq!(
            count,
            (end - start).max(0),
            "{place:?}: records of {start}..{end}"
        );
        let known = self.fixed.len();
        let mut seen = BTreeMap::new();
        let mut newest: BTreeMap<u32, u32> = BTreeMap::new();
        for (offset, record) in (start..).zip(records) {
            assert_eq!(record.offset, offset, "{place:?}: a hole");
            let tag = judge(place, record);
            self.check_sent(place, offset, tag);
            let twice = seen.insert(tag, offset);
            assert!(
                twice.is_none(),
                "{place:?}: {tag:?} at {twice:?} and at {offset}"
            );
            let before = newest.insert(tag.writer, tag.number);
            assert!(
                before.is_none_or(|before| before < tag.number),
                "{place:?} at {offset}: {tag:?} behind {before:?} of the same writer"
            );
            self.fix(place, offset, tag);
        }
        for (offset, tag) in self.fixed.range(start..) {
            assert!(
                *offset < end,
                "{place:?}: {tag:?} at {offset} is lost, the log ends at {end}"
            );
        }
        for tag in &self.acknowledged {
            // A record below the log start cannot be told from a lost one.
            let there = seen.contains_key(tag) || start > 0;
            assert!(there, "{place:?}: {tag:?} was acknowledged and is lost");
        }
        let kept = (self.fixed.len() - known) as u64;
        let sent: u64 = self.sent.values().map(|count| u64::from(*count)).sum();
        self.start_least = start;
        self.start_most = start;
        self.end_least = end;
        Settled {
            kept,
            lost: sent.saturating_sub(self.fixed.len() as u64),
        }
    }
}
