//! A disk that fails under a running node: what is promised still holds, and what cannot be
//! promised is not.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use client::{At, ClientError, Consumer};
use commitlog::{StoreConfig, StoreHealth};
use wire::ErrorCode;
use wire::messages::produce;
use world::sim::{Fault, Injection, Operation};

use crate::ledger::{Ledger, Place, Tag, value};
use crate::line::{Line, PRODUCE_VERSION, batch, produce_request};
use crate::stage::{Door, Stage, pause, small_store, topic};

const TOPIC: &str = "data";

/// Where the shared log is.
const LOG: &str = "wal/";
/// Somebody who writes to one partition and keeps count.
struct Author {
    door: Door,
    ledger: Rc<RefCell<Ledger>>,
    line: Line,
    writer: u32,
    place: Place,
}

impl Author {
    async fn new(door: &Door, ledger: &Rc<RefCell<Ledger>>) -> Author {
        let line = door.line().await.unwrap();
        let writer = ledger.borrow_mut().new_writer();
        let place = (TOPIC.to_owned(), 0);
        Author {
            door: door.clone(),
            ledger: ledger.clone(),
            line,
            writer,
            place,
        }
    }

    /// Sends one batch.
    async fn send(&mut self, count: u32) -> std::io::Result<Vec<Tag>> {
        let tags = self
            .ledger
            .borrow_mut()
            .send(&self.place, self.writer, count);
        let (topic, partition) = (self.place.0.as_str(), self.place.1);
        let values: Vec<Vec<u8>> = tags
            .iter()
            .map(|tag| value(topic, partition, *tag))
            .collect();
        let records = batch(None, self.door.wall_ms(), &values);
        let asked = produce_request(-1, &[(topic, partition, records)]);
        self.line
            .send::<produce::Request>(PRODUCE_VERSION, &asked)
            .await?;
        Ok(tags)
    }

    /// Takes the answer to the oldest batch without one.
    async fn answer(&mut self, tags: &[Tag]) -> std::io::Result<ErrorCode> {
        let answer = self
            .line
            .answer::<produce::Request>(PRODUCE_VERSION)
            .await?;
        let part = &answer.responses[0].partition_responses[0];
        let code = ErrorCode::from_code(part.error_code).unwrap();
        let mut ledger = self.ledger.borrow_mut();
        match code {
            ErrorCode::None => ledger.acknowledge(&self.place, part.base_offset, tags),
            _ => ledger.refuse(&self.place, tags),
        }
        Ok(code)
    }

    /// Writes a batch and waits for its answer.
    async fn write(&mut self, count: u32) -> std::io::Result<ErrorCode> {
        let tags = self.send(count).await?;
        self.answer(&tags).await
    }

    /// Writes batches that are all acknowledged.
    async fn write_many(&mut self, batches: u32) {
        for _ in 0..batches {
            assert_eq!(self.write(3).await.unwrap(), ErrorCode::None);
        }
    }
}

/// A node with one topic of one partition, noted in a ledger.
async fn prepare(door: &Door) -> Rc<RefCell<Ledger>> {
    let ledger: Rc<RefCell<Ledger>> = Rc::default();
    let mut client = door.client().await.unwrap();
    let retention = "86400000";
    let configs = [("segment.bytes", "1048576"), ("retention.ms", retention)];
    client
        .create_topic(topic(TOPIC, 1, &configs))
        .await
        .unwrap();
    {
        let mut ledger = ledger.borrow_mut();
        let entry = ledger.topics.entry(TOPIC.to_owned()).or_default();
        entry.partitions.holds = Some(1);
        entry.retention.holds = Some(retention.to_owned());
    }
    ledger
}

/// The node behind a power cut at this moment keeps what it promised.
fn check_behind_a_power_cut(stage: Stage, ledger: &Rc<RefCell<Ledger>>) {
    let image = stage.sim.disk.crash_image(99);
    let node = stage.crash(99, image);
    let stage = node
        .start(small_store())
        .map_err(|failed| failed.0)
        .unwrap();
    stage.play(Ledger::check(ledger, &stage.door()));
}

/// Everything that can be read, by our consumer; it is all as it was sent.
async fn read_all(door: &Door, ledger: &RefCell<Ledger>) -> Result<usize, ClientError> {
    let mut client = door.client().await?;
    let starts = client.list_offsets(TOPIC, &[0], At::Start).await?;
    let end = client.list_offsets(TOPIC, &[0], At::End).await?[&0];
    let mut consumer = Consumer::assign(client, TOPIC, &starts);
    let mut count = 0;
    while consumer.positions().any(|(_, position)| position < end) {
        for record in consumer.poll().await? {
            ledger.borrow_mut().read(TOPIC, &record);
            count += 1;
        }
    }
    Ok(count)
}

fn health(stage: &Stage) -> StoreHealth {
    stage.broker.node().store.health()
}

fn times_struck(stage: &Stage, operation: Operation, fault: Fault) -> u64 {
    stage
        .sim
        .disk
        .faults_struck()
        .get(&(operation, fault))
        .copied()
        .unwrap_or(0)
}

#[test]
fn a_failed_flush_moves_to_a_fresh_slot_and_is_acknowledged() {
    let stage = Stage::new(1, small_store());
    let door = stage.door();
    let ledger = stage.play(async {
        let ledger = prepare(&door).await;
        let mut author = Author::new(&door, &ledger).await;
        author.write_many(5).await;
        for _ in 0..3 {
            stage
                .sim
                .disk
                .inject(Injection::on(Operation::WriteDurable, Fault::Io).path(LOG));
            author.write_many(20).await;
            // The retired slot is replaced.
            pause(2_000).await;
        }
        assert_eq!(read_all(&door, &ledger).await.unwrap(), 195);
        ledger
    });
    assert_eq!(times_struck(&stage, Operation::WriteDurable, Fault::Io), 3);
    assert_eq!(health(&stage), StoreHealth::Ok);
    check_behind_a_power_cut(stage, &ledger);
}

#[test]
fn a_flush_that_fails_twice_ends_acknowledgements_and_not_reads() {
    let stage = Stage::new(2, small_store());
    let door = stage.door();
    let ledger = stage.play(async {
        let ledger = prepare(&door).await;
        let mut author = Author::new(&door, &ledger).await;
        author.write_many(5).await;
        stage.sim.disk.inject(
            Injection::on(Operation::WriteDurable, Fault::Io)
                .path(LOG)
                .times(2),
        );
        // Stored or not, nobody knows: the connection ends without an answer, and at once.
        let begun = stage.sim.world.clock.now();
        assert!(author.write(3).await.is_err());
        assert!(stage.sim.world.clock.now().since(begun) < Duration::from_secs(1));
        let mut again = Author::new(&door, &ledger).await;
        let code = again.write(3).await.unwrap();
        assert_eq!(code, ErrorCode::KafkaStorageError);
        assert!(code.is_retriable());
        assert_eq!(read_all(&door, &ledger).await.unwrap(), 15);
        ledger
    });
    assert!(matches!(health(&stage), StoreHealth::Dead(_)));
    assert!(!stage.broker.is_ready());
    assert_eq!(ledger.borrow().acknowledged, 15);
    check_behind_a_power_cut(stage, &ledger);
}

#[test]
fn a_disk_short_of_space_refuses_writes_until_there_is_room_and_serves_reads() {
    let store = StoreConfig {
        free_bytes_min: Some(1 << 20),
        ..small_store()
    };
    let stage = Stage::new(3, store);
    let door = stage.door();
    let ledger = stage.play(async {
        let ledger = prepare(&door).await;
        let mut author = Author::new(&door, &ledger).await;
        author.write_many(5).await;
        let space = stage.sim.world.disk.free_space().unwrap();
        let used = space.total - space.free;
        stage.sim.disk.set_capacity(used + (512 << 10));
        pause(1_500).await;
        assert_eq!(health(&stage), StoreHealth::Full);
        for _ in 0..3 {
            let code = author.write(3).await.unwrap();
            assert_eq!(code, ErrorCode::KafkaStorageError);
            assert!(code.is_retriable());
        }
        assert_eq!(read_all(&door, &ledger).await.unwrap(), 15);
        stage.sim.disk.set_capacity(space.total);
        pause(1_500).await;
        assert_eq!(health(&stage), StoreHealth::Ok);
        author.write_many(5).await;
        assert_eq!(read_all(&door, &ledger).await.unwrap(), 30);
        ledger
    });
    check_behind_a_power_cut(stage, &ledger);
}

#[test]
fn a_disk_without_a_byte_left_loses_nothing_that_was_acknowledged() {
    let stage = Stage::new(4, small_store());
    let door = stage.door();
    let ledger = stage.play(async {
        let ledger = prepare(&door).await;
        let mut author = Author::new(&door, &ledger).await;
        author.write_many(5).await;
        // Between two looks at the free space: segments cannot grow, the log's slots can be
        // written.
        let space = stage.sim.world.disk.free_space().unwrap();
        stage.sim.disk.set_capacity(space.total - space.free);
        let mut open = Vec::new();
        for _ in 0..10 {
            open.push(author.send(3).await.unwrap());
        }
        pause(400).await;
        stage.sim.disk.set_capacity(space.total);
        for tags in open {
            // Acknowledged or refused, but answered.
            author.answer(&tags).await.unwrap();
        }
        pause(2_000).await;
        author.write_many(5).await;
        let acknowledged = ledger.borrow().acknowledged as usize;
        assert_eq!(read_all(&door, &ledger).await.unwrap(), acknowledged);
        ledger
    });
    assert_eq!(health(&stage), StoreHealth::Ok);
    check_behind_a_power_cut(stage, &ledger);
}

const WRITERS: u64 = 12;
const BATCHES: u64 = 200;
/// More than the staging buffers have room for.
const LATE_PARTITIONS: i32 = 1_000;

/// Sends many batches without waiting, and awaits that all are acknowledged.
async fn pipeline(door: Door, ledger: Rc<RefCell<Ledger>>) {
    let mut author = Author::new(&door, &ledger).await;
    let mut open = VecDeque::new();
    for _ in 0..BATCHES {
        open.push_back(author.send(3).await.unwrap());
        if open.len() > 30 {
            let tags = open.pop_front().unwrap();
            assert_eq!(author.answer(&tags).await.unwrap(), ErrorCode::None);
        }
    }
    for tags in open {
        assert_eq!(author.answer(&tags).await.unwrap(), ErrorCode::None);
    }
}

#[test]
fn segments_that_cannot_be_synced_stall_writers_in_bounded_memory_until_they_can() {
    let mut bounded = crate::stage::config(small_store());
    bounded.limits.request_bytes_total_max = 256 << 10;
    bounded.limits.request_bytes_max = 128 << 10;
    // The budget, one read buffer of one reactor, one frame that is let in to be finished.
    let most_allowed = (256 << 10) + (1 << 20) + (128 << 10);
    let stage = Stage::with(5, bounded);
    let door = stage.door();
    let ledger = stage.play(async {
        let ledger = prepare(&door).await;
        let disk = &stage.sim.disk;
        let sync = Injection::on(Operation::SyncData, Fault::Io).path("seg/");
        disk.inject(sync.always());
        disk.inject(Injection::on(Operation::SyncFs, Fault::Io).always());
        // Far more than log, staging buffers and permits hold together.
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| tokio::task::spawn_local(pipeline(door.clone(), ledger.clone())))
            .collect();
        let mut most = 0;
        for _ in 0..1000 {
            pause(5).await;
            most = most.max(stage.broker.metrics().request_bytes);
        }
        let stalled = ledger.borrow().acknowledged;
        pause(5_000).await;
        assert_eq!(
            ledger.borrow().acknowledged,
            stalled,
            "acknowledgements wait"
        );
        assert!(stalled < WRITERS * BATCHES * 3, "the log was never full");
        assert!(most <= most_allowed, "{most} bytes of requests");
        disk.heal();
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(ledger.borrow().acknowledged, WRITERS * BATCHES * 3);
        ledger
    });
    check_behind_a_power_cut(stage, &ledger);
}

#[test]
fn an_acknowledgement_waits_for_a_slow_disk() {
    const FLUSH: Duration = Duration::from_millis(700);
    let stage = Stage::new(6, small_store());
    let door = stage.door();
    let ledger = stage.play(async {
        let ledger = prepare(&door).await;
        let mut author = Author::new(&door, &ledger).await;
        let clock = stage.sim.clock.clone();
        stage.sim.disk.watch(Arc::new(move |event| {
            if event.operation == Operation::WriteDurable && event.path.starts_with(LOG) {
                clock.advance(FLUSH);
            }
        }));
        for _ in 0..5 {
            let begun = stage.sim.world.clock.now();
            author.write_many(1).await;
            assert!(stage.sim.world.clock.now().since(begun) >= FLUSH);
        }
        stage.sim.disk.unwatch();
        ledger
    });
    check_behind_a_power_cut(stage, &ledger);
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_an_error_and_never_a_record() {
    let stage = Stage::new(7, small_store());
    let door = stage.door();
    stage.play(async {
        let ledger = prepare(&door).await;
        let mut author = Author::new(&door, &ledger).await;
        // More than one segment, and long enough for a checkpoint to seal it.
        author.write_many(600).await;
        pause(2_000).await;
        let (path, bytes) = first_segment(&stage);
        assert!(bytes > 900 << 10, "{path} has {bytes} bytes");
        stage.sim.disk.flip_bit(&path, bytes / 2, 3).unwrap();
        // Before anybody knows of it: the batch's own checksum tells the reader.
        let error = read_all(&door, &ledger).await.expect_err("a damaged batch");
        assert!(error.to_string().contains("checksum"), "{error}");
        // The scrub finds it by itself; from then on the node does not send it.
        pause(70_000).await;
        let error = read_all(&door, &ledger).await.expect_err("a damaged range");
        let ClientError::Server { code, .. } = error else {
            panic!("{error}");
        };
        assert!(
            matches!(
                code,
                ErrorCode::KafkaStorageError | ErrorCode::CorruptMessage
            ),
            "{code}"
        );
        // Behind the damage everything is there.
        let mut client = door.client().await.unwrap();
        let starts = client
            .list_offsets(TOPIC, &[0], At::BeforeEnd(50))
            .await
            .unwrap();
        let mut consumer = Consumer::assign(client, TOPIC, &starts);
        assert!(!consumer.poll().await.unwrap().is_empty());
    });
}

/// Path and length of the oldest segment of the partition with most bytes.
fn first_segment(stage: &Stage) -> (String, u64) {
    let disk = &stage.sim.world.disk;
    let mut found = Vec::new();
    let mut dirs = vec!["seg".to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in disk.list(&dir).unwrap() {
            let path = format!("{dir}/{}", entry.name);
            match disk.open(&path, world::OpenMode::Read) {
                Ok(file) => found.push((path, file.len().unwrap())),
                Err(_) => dirs.push(path),
            }
        }
    }
    found.sort_by_key(|(path, bytes)| (std::cmp::Reverse(*bytes), path.clone()));
    found.swap_remove(0)
}

#[test]
fn a_node_killed_with_a_full_log_starts_again_and_hosts_what_it_had_no_room_for() {
    let stage = Stage::new(6, small_store());
    let door = stage.door();
    let ledger = stage.play(async {
        let ledger = prepare(&door).await;
        // No checkpoint succeeds.
        let manifest = Injection::on(Operation::SyncData, Fault::Io).path("meta/");
        stage.sim.disk.inject(manifest.always());
        for _ in 0..WRITERS {
            let (door, ledger) = (door.clone(), ledger.clone());
            tokio::task::spawn_local(async move {
                let mut author = Author::new(&door, &ledger).await;
                for _ in 0..BATCHES {
                    // The connection of the dead process.
                    if author.write(3).await.is_err() {
                        break;
                    }
                }
            });
        }
        pause(5_000).await;
        let acknowledged = ledger.borrow().acknowledged;
        pause(2_000).await;
        assert_eq!(
            ledger.borrow().acknowledged,
            acknowledged,
            "the log is full"
        );
        // Who reads does not wait for who writes.
        let readable = read_all(&door, &ledger).await.unwrap();
        assert!(readable as u64 >= acknowledged, "{readable}");
        // Decided, and more than there is room for.
        let mut client = door.client().await.unwrap();
        tokio::task::spawn_local(async move {
            let _ = client
                .create_topic(topic("late", LATE_PARTITIONS, &[]))
                .await;
        });
        pause(500).await;
        assert!(stage.broker.node().image().topic("late").is_some());
        let mut noted = ledger.borrow_mut();
        let late = noted.topics.entry("late".to_owned()).or_default();
        late.partitions.holds = Some(LATE_PARTITIONS);
        late.retention.holds = Some("604800000".to_owned());
        drop(noted);
        ledger
    });
    let image = stage.sim.disk.process_crash_image(7);
    let stage = stage
        .crash(7, image)
        .start(small_store())
        .map_err(|failed| failed.0)
        .unwrap();
    stage.play(Ledger::check(&ledger, &stage.door()));
    assert!(ledger.borrow().acknowledged > 0);
    let hosted = stage.broker.node().store.partitions().len();
    assert!(hosted > LATE_PARTITIONS as usize, "{hosted}");
}
