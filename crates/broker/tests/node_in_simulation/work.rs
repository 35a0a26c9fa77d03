//! Random work on a running node: what clients do, all at once, each noting what it asked for
//! and what it was answered.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use client::{At, ClientError, Consumer, NewRecord, Producer, ProducerOptions};
use tokio::task::JoinHandle;
use wire::messages::{delete_records, init_producer_id, offset_commit, produce, text};
use wire::{ApiKey, ErrorCode, ProducerEpoch, ProducerId};
use world::sim::Rng;

use crate::ledger::{Ledger, Place, Tag, value};
use crate::line::{Line, PRODUCE_VERSION, batch, produce_request};
use crate::stage::{Door, pause, topic};

/// Requests of a writer under way at once. One batch more must still be recognised: five are.
const IN_FLIGHT_MAX: usize = 4;
/// Topics that are written to are never deleted.
const DATA: &str = "data";

/// Where a client stands.
#[derive(Clone)]
pub struct Work {
    pub door: Door,
    pub ledger: Rc<RefCell<Ledger>>,
    pub seed: u64,
}

/// An idempotent producer, who lives longer than the node.
#[derive(Default)]
pub struct Idempotent {
    writer: u32,
    id: Option<(ProducerId, ProducerEpoch)>,
    sequences: BTreeMap<Place, i32>,
    /// Requests without an answer, oldest first.
    unanswered: VecDeque<Vec<Sent>>,
    /// The last batch of each partition that was acknowledged.
    last: BTreeMap<Place, Sent>,
}

#[derive(Clone)]
struct Sent {
    place: Place,
    tags: Vec<Tag>,
    records: Bytes,
}

/// Producers that go on after a restart.
pub type Writers = Vec<Rc<RefCell<Idempotent>>>;

pub fn new_writers(count: usize) -> Writers {
    (0..count).map(|_| Rc::default()).collect()
}

/// Sets everybody to work.
pub fn begin(work: &Work, writers: &Writers) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    let fork = |part: &str| Rng::fork(work.seed, part);
    for (at, writer) in writers.iter().enumerate() {
        let (work, writer, rng) = (work.clone(), writer.clone(), fork(&format!("writer{at}")));
        tasks.push(tokio::task::spawn_local(write_for_ever(work, writer, rng)));
    }
    for acks in [1, -1] {
        let rng = fork(&format!("plain{acks}"));
        tasks.push(tokio::task::spawn_local(write_plainly(
            work.clone(),
            acks,
            rng,
        )));
    }
    tasks.push(tokio::task::spawn_local(use_the_producer(
        work.clone(),
        fork("producer"),
    )));
    tasks.push(tokio::task::spawn_local(read(work.clone(), fork("reader"))));
    tasks.push(tokio::task::spawn_local(administer(
        work.clone(),
        fork("admin"),
    )));
    tasks.push(tokio::task::spawn_local(commit(
        work.clone(),
        fork("group"),
    )));
    tasks.push(tokio::task::spawn_local(delete(
        work.clone(),
        fork("deletes"),
    )));
    tasks
}

/// Some partition that is surely there.
fn some_place(ledger: &Ledger, rng: &mut Rng) -> Option<Place> {
    let mut topics = ledger.existing();
    topics.retain(|(name, _)| name.starts_with(DATA));
    let (name, count) = topics.get(rng.index(topics.len()))?;
    Some((name.clone(), rng.below(*count as u64) as i32))
}

/// One to three different partitions.
fn some_places(ledger: &Ledger, rng: &mut Rng) -> Vec<Place> {
    let mut places: Vec<Place> = (0..1 + rng.below(3))
        .filter_map(|_| some_place(ledger, rng))
        .collect();
    places.sort();
    places.dedup();
    places
}

fn values(place: &Place, tags: &[Tag]) -> Vec<Vec<u8>> {
    tags.iter()
        .map(|tag| value(&place.0, place.1, *tag))
        .collect()
}

fn request_of(acks: i16, parts: &[Sent]) -> produce::Request {
    let parts: Vec<(&str, i32, Bytes)> = parts
        .iter()
        .map(|sent| (sent.place.0.as_str(), sent.place.1, sent.records.clone()))
        .collect();
    produce_request(acks, &parts)
}

/// What a Produce was answered for one partition.
fn outcome_of(answer: &produce::Response, place: &Place) -> (ErrorCode, i64) {
    let mut parts = answer
        .responses
        .iter()
        .filter(|topic| topic.name.as_str() == place.0)
        .flat_map(|topic| &topic.partition_responses);
    let part = parts
        .find(|part| part.index == place.1)
        .expect("every partition is answered");
    let code = ErrorCode::from_code(part.error_code).expect("a code of Kafka's");
    (code, part.base_offset)
}

/// An idempotent producer: pipelined, resending in order what has no answer.
async fn write_for_ever(work: Work, writer: Rc<RefCell<Idempotent>>, mut rng: Rng) {
    loop {
        // It ends by a lost connection or a refusal; both are tried again.
        drop(write_idempotently(&work, &writer, &mut rng).await);
        pause(1 + rng.below(20)).await;
    }
}

async fn write_idempotently(
    work: &Work,
    writer: &RefCell<Idempotent>,
    rng: &mut Rng,
) -> io::Result<()> {
    let mut line = work.door.line().await?;
    let known = writer.borrow().id;
    let (id, epoch) = match known {
        Some(known) => known,
        None => {
            let new = new_producer_id(work, &mut line).await?;
            let mut writer = writer.borrow_mut();
            writer.id = Some(new);
            writer.writer = work.ledger.borrow_mut().new_writer();
            new
        }
    };
    // What was acknowledged is sent again and must be known again.
    if rng.chance(0.5) {
        let again: Vec<Sent> = writer.borrow().last.values().cloned().collect();
        for sent in again {
            writer.borrow_mut().unanswered.push_front(vec![sent]);
        }
    }
    let mut in_flight = 0;
    let open = writer.borrow().unanswered.clone();
    for parts in &open {
        line.send(PRODUCE_VERSION, &request_of(-1, parts)).await?;
        in_flight += 1;
    }
    loop {
        while in_flight < IN_FLIGHT_MAX && rng.chance(0.7) {
            let parts = next_request(work, &mut writer.borrow_mut(), (id, epoch), rng);
            if parts.is_empty() {
                break;
            }
            line.send(PRODUCE_VERSION, &request_of(-1, &parts)).await?;
            in_flight += 1;
        }
        if in_flight > 0 {
            let answer = line.answer::<produce::Request>(PRODUCE_VERSION).await?;
            in_flight -= 1;
            take_answer(work, &mut writer.borrow_mut(), &answer)?;
        }
        pause(rng.below(4)).await;
    }
}

async fn new_producer_id(work: &Work, line: &mut Line) -> io::Result<(ProducerId, ProducerEpoch)> {
    let asked = init_producer_id::Request {
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    let answer = line.ask::<init_producer_id::Request>(4, &asked).await?;
    if answer.error_code != 0 {
        return Err(io::Error::other(format!("error {}", answer.error_code)));
    }
    let new = work
        .ledger
        .borrow_mut()
        .producer_ids
        .insert(answer.producer_id);
    assert!(
        new,
        "producer id {} was given out twice",
        answer.producer_id
    );
    Ok((
        ProducerId(answer.producer_id),
        ProducerEpoch(answer.producer_epoch),
    ))
}

fn next_request(
    work: &Work,
    writer: &mut Idempotent,
    (id, epoch): (ProducerId, ProducerEpoch),
    rng: &mut Rng,
) -> Vec<Sent> {
    let mut ledger = work.ledger.borrow_mut();
    let places = some_places(&ledger, rng);
    let mut parts = Vec::new();
    for place in places {
        let tags = ledger.send(&place, writer.writer, 1 + rng.below(4) as u32);
        let sequence = writer.sequences.entry(place.clone()).or_default();
        let stamp = Some((id, epoch, *sequence));
        *sequence += tags.len() as i32;
        let records = batch(stamp, work.door.wall_ms(), &values(&place, &tags));
        parts.push(Sent {
            place,
            tags,
            records,
        });
    }
    if !parts.is_empty() {
        writer.unanswered.push_back(parts.clone());
    }
    parts
}

/// Notes what was acknowledged; a refusal ends the session, and what is open is sent again.
fn take_answer(work: &Work, writer: &mut Idempotent, answer: &produce::Response) -> io::Result<()> {
    let Some(parts) = writer.unanswered.pop_front() else {
        panic!("an answer to nothing");
    };
    let mut ledger = work.ledger.borrow_mut();
    let mut left = Vec::new();
    let mut refused = None;
    for sent in parts {
        match outcome_of(answer, &sent.place) {
            (ErrorCode::None, base_offset) => {
                ledger.acknowledge(&sent.place, base_offset, &sent.tags);
                ledger.tell(|| {
                    let Sent { place, tags, .. } = &sent;
                    let (first, count) = (tags[0], tags.len());
                    format!("ack {place:?} {base_offset}: {count} from {first:?}")
                });
                writer.last.insert(sent.place.clone(), sent);
            }
            // Sent in order, without a gap, and no more than is remembered.
            (
                code @ (ErrorCode::OutOfOrderSequenceNumber | ErrorCode::DuplicateSequenceNumber),
                _,
            ) => panic!("{:?}: {:?} answered {code}", sent.place, sent.tags),
            (code, _) => {
                ledger.tell(|| format!("refused {:?} {:?}: {code}", sent.place, sent.tags[0]));
                refused = Some(code);
                left.push(sent);
            }
        }
    }
    match refused {
        Some(code) => {
            writer.unanswered.push_front(left);
            Err(io::Error::other(code.name()))
        }
        None => Ok(()),
    }
}

/// A producer without an id: pipelined, never sending anything twice.
async fn write_plainly(work: Work, acks: i16, mut rng: Rng) {
    loop {
        drop(write_plain_session(&work, acks, &mut rng).await);
        pause(1 + rng.below(20)).await;
    }
}

async fn write_plain_session(work: &Work, acks: i16, rng: &mut Rng) -> io::Result<()> {
    let mut line = work.door.line().await?;
    let writer = work.ledger.borrow_mut().new_writer();
    let mut unanswered: VecDeque<Vec<Sent>> = VecDeque::new();
    loop {
        while unanswered.len() < IN_FLIGHT_MAX && rng.chance(0.6) {
            let mut parts = Vec::new();
            {
                let mut ledger = work.ledger.borrow_mut();
                for place in some_places(&ledger, rng) {
                    let tags = ledger.send(&place, writer, 1 + rng.below(3) as u32);
                    let records = batch(None, work.door.wall_ms(), &values(&place, &tags));
                    parts.push(Sent {
                        place,
                        tags,
                        records,
                    });
                }
            }
            if parts.is_empty() {
                break;
            }
            let request = request_of(acks, &parts);
            unanswered.push_back(parts);
            line.send(PRODUCE_VERSION, &request).await?;
        }
        if let Some(parts) = unanswered.pop_front() {
            let answer = line.answer::<produce::Request>(PRODUCE_VERSION).await?;
            let mut ledger = work.ledger.borrow_mut();
            for sent in parts {
                match outcome_of(&answer, &sent.place) {
                    (ErrorCode::None, base) => ledger.acknowledge(&sent.place, base, &sent.tags),
                    _ => ledger.refuse(&sent.place, &sent.tags),
                }
            }
        }
        pause(rng.below(6)).await;
    }
}

/// Our own producer.
async fn use_the_producer(work: Work, mut rng: Rng) {
    loop {
        if let Err(error) = produce_with(&work, &mut rng).await
            && let ClientError::Server { code, .. } = error
        {
            assert_ne!(code, ErrorCode::OutOfOrderSequenceNumber, "our producer");
        }
        pause(1 + rng.below(20)).await;
    }
}

async fn produce_with(work: &Work, rng: &mut Rng) -> Result<(), ClientError> {
    let client = work.door.client().await?;
    let mut producer = Producer::new(client, ProducerOptions::default()).await?;
    let writer = work.ledger.borrow_mut().new_writer();
    loop {
        let mut sent = Vec::new();
        for _ in 0..1 + rng.below(3) {
            let Some((place, tags)) = some_records(work, writer, rng) else {
                break;
            };
            for tag in &tags {
                let record = NewRecord {
                    value: Some(value(&place.0, place.1, *tag)),
                    ..NewRecord::default()
                };
                producer.send(&place.0, Some(place.1), record).await?;
            }
            sent.push((place, tags));
        }
        producer.flush().await?;
        for (place, tags) in sent {
            work.ledger
                .borrow_mut()
                .acknowledge_somewhere(&place, &tags);
        }
        pause(rng.below(12)).await;
    }
}

fn some_records(work: &Work, writer: u32, rng: &mut Rng) -> Option<(Place, Vec<Tag>)> {
    let mut ledger = work.ledger.borrow_mut();
    let place = some_place(&ledger, rng)?;
    let tags = ledger.send(&place, writer, 1 + rng.below(3) as u32);
    Some((place, tags))
}

/// Our own consumer: what it has seen may never be gone.
async fn read(work: Work, mut rng: Rng) {
    loop {
        drop(read_some(&work, &mut rng).await);
        pause(1 + rng.below(10)).await;
    }
}

async fn read_some(work: &Work, rng: &mut Rng) -> Result<(), ClientError> {
    let Some((topic, partition)) = some_place(&work.ledger.borrow(), rng) else {
        return Ok(());
    };
    let mut client = work.door.client().await?;
    let at = if rng.chance(0.3) {
        At::Start
    } else {
        At::BeforeEnd(rng.below(20) as i64)
    };
    let starts = client.list_offsets(&topic, &[partition], at).await?;
    let mut consumer = Consumer::assign(client, &topic, &starts);
    for _ in 0..1 + rng.below(10) {
        for record in consumer.poll().await? {
            work.ledger.borrow_mut().read(&topic, &record);
        }
        pause(rng.below(5)).await;
    }
    Ok(())
}

/// Creates topics, sets a key of them, lets them grow, deletes some.
async fn administer(work: Work, mut rng: Rng) {
    loop {
        if let Err(error) = administer_once(&work, &mut rng).await {
            work.ledger.borrow_mut().tell(|| format!("admin: {error}"));
        }
        pause(rng.below(30)).await;
    }
}

async fn administer_once(work: &Work, rng: &mut Rng) -> Result<(), ClientError> {
    let mut client = work.door.client().await?;
    let ledger = &work.ledger;
    let existing = ledger.borrow().existing();
    let data = existing
        .iter()
        .filter(|(name, _)| name.starts_with(DATA))
        .count();
    let open = ledger
        .borrow()
        .topics
        .values()
        .any(|topic| !topic.partitions.maybe.is_empty());
    let pick = existing.get(rng.index(existing.len())).cloned();
    let action = if data < 2 { 0 } else { rng.below(10) };
    match (action, pick) {
        // Whether it was created is found out at the next start: until then, nothing on top.
        (0..=1, _) | (_, None) if !open => {
            let kind = if data < 2 { DATA } else { "spare" };
            let name = format!("{kind}-{}", ledger.borrow().topics.len());
            let partitions = 1 + rng.below(2) as i32;
            let retention = (86_400_000 + rng.below(1 << 30)).to_string();
            ask_for_topic(&mut ledger.borrow_mut(), &name, partitions, &retention);
            let configs = [
                ("segment.bytes", "1048576"),
                ("retention.ms", retention.as_str()),
            ];
            client
                .create_topic(topic(&name, partitions, &configs))
                .await?;
            topic_created(&mut ledger.borrow_mut(), &name);
        }
        (2..=6, Some((name, _))) => {
            let retention = (86_400_000 + rng.below(1 << 30)).to_string();
            let asked = |ledger: &mut Ledger| {
                ledger
                    .topics
                    .get_mut(&name)
                    .unwrap()
                    .retention
                    .asked(retention.clone());
            };
            asked(&mut ledger.borrow_mut());
            let changes = vec![("retention.ms".to_owned(), Some(retention.clone()))];
            client.alter_topic_configs(&name, changes, false).await?;
            ledger
                .borrow_mut()
                .topics
                .get_mut(&name)
                .unwrap()
                .retention
                .answered();
        }
        (7, Some((name, count))) if count < 4 => {
            set_partitions(ledger, &name, count + 1);
            client.create_partitions(&name, count + 1, false).await?;
            ledger
                .borrow_mut()
                .topics
                .get_mut(&name)
                .unwrap()
                .partitions
                .answered();
        }
        (8, Some((name, _))) if !name.starts_with(DATA) => {
            set_partitions(ledger, &name, 0);
            client.delete_topic(&name).await?;
            let mut ledger = ledger.borrow_mut();
            let entry = ledger.topics.get_mut(&name).unwrap();
            entry.partitions.answered();
            entry.retention = Default::default();
            ledger.tell(|| format!("deleted {name}"));
        }
        _ => {}
    }
    Ok(())
}

fn ask_for_topic(ledger: &mut Ledger, name: &str, partitions: i32, retention: &str) {
    let entry = ledger.topics.entry(name.to_owned()).or_default();
    entry.partitions.holds = Some(0);
    entry.partitions.asked(partitions);
    entry.retention.asked(retention.to_owned());
}

fn topic_created(ledger: &mut Ledger, name: &str) {
    ledger.tell(|| format!("created {name}"));
    let entry = ledger.topics.get_mut(name).unwrap();
    entry.partitions.answered();
    entry.retention.answered();
}

fn set_partitions(ledger: &RefCell<Ledger>, name: &str, count: i32) {
    ledger
        .borrow_mut()
        .topics
        .get_mut(name)
        .unwrap()
        .partitions
        .asked(count);
}

/// Commits offsets of groups without members.
async fn commit(work: Work, mut rng: Rng) {
    loop {
        drop(commit_session(&work, &mut rng).await);
        pause(1 + rng.below(20)).await;
    }
}

async fn commit_session(work: &Work, rng: &mut Rng) -> io::Result<()> {
    // Asking for its offsets finds the coordinator, and makes the cluster create it.
    let mut client = work.door.client().await.map_err(io::Error::other)?;
    client
        .committed_offsets("group-0")
        .await
        .map_err(io::Error::other)?;
    let mut line = work.door.line().await?;
    loop {
        let Some(place) = some_place(&work.ledger.borrow(), rng) else {
            return Ok(());
        };
        let group = format!("group-{}", rng.below(3));
        let offset = rng.below(1000) as i64;
        let key = (group.clone(), place.clone());
        work.ledger
            .borrow_mut()
            .commits
            .entry(key.clone())
            .or_default()
            .asked(offset);
        let asked = commit_request(&group, &place, offset);
        let answer = line.ask::<offset_commit::Request>(8, &asked).await?;
        let code = answer.topics[0].partitions[0].error_code;
        if code != 0 {
            pause(10).await;
            return Err(io::Error::other(format!("commit: error {code}")));
        }
        work.ledger
            .borrow_mut()
            .commits
            .get_mut(&key)
            .unwrap()
            .answered();
        pause(rng.below(15)).await;
    }
}

fn commit_request(group: &str, place: &Place, offset: i64) -> offset_commit::Request {
    offset_commit::Request {
        group_id: text(group),
        generation_id_or_member_epoch: -1,
        topics: vec![offset_commit::OffsetCommitRequestTopic {
            name: text(&place.0),
            partitions: vec![offset_commit::OffsetCommitRequestPartition {
                partition_index: place.1,
                committed_offset: offset,
                committed_leader_epoch: -1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Deletes the oldest records of a partition now and then, where the node serves that.
async fn delete(work: Work, mut rng: Rng) {
    loop {
        drop(delete_session(&work, &mut rng).await);
        pause(20 + rng.below(60)).await;
    }
}

async fn delete_session(work: &Work, rng: &mut Rng) -> io::Result<()> {
    let mut line = work.door.line().await?;
    if !line.serves(ApiKey::DeleteRecords).await? {
        return Ok(());
    }
    let asked = {
        let mut ledger = work.ledger.borrow_mut();
        let Some(place) = some_place(&ledger, rng) else {
            return Ok(());
        };
        let (start, end) = ledger.promised(&place).bounds();
        let offset = start + rng.below((end - start).max(0) as u64 / 2 + 1) as i64;
        ledger.ask_to_delete(&place, offset);
        (place, offset)
    };
    let ((topic, partition), offset) = asked.clone();
    let request = delete_records::Request {
        topics: vec![delete_records::DeleteRecordsTopic {
            name: text(&topic),
            partitions: vec![delete_records::DeleteRecordsPartition {
                partition_index: partition,
                offset,
                ..Default::default()
            }],
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    let answer = line.ask::<delete_records::Request>(1, &request).await?;
    let part = &answer.topics[0].partitions[0];
    if part.error_code == 0 {
        let mut ledger = work.ledger.borrow_mut();
        ledger.deleted(&asked.0, part.low_watermark);
        ledger.tell(|| format!("deleted {asked:?}"));
    }
    Ok(())
}
