//! A seed means the same twice: every disk operation, every answer.

use std::sync::{Arc, Mutex};

use client::{At, Consumer, NewRecord, Producer, ProducerOptions};
use wire::messages::produce;

use crate::line::{PRODUCE_VERSION, batch, produce_request};
use crate::stage::{Stage, pause, small_store, topic};

/// Plays a short life; each disk operation and each answer's bytes.
fn trace(seed: u64) -> Vec<String> {
    let stage = Stage::new(seed, small_store());
    let trace: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = trace.clone();
    stage.sim.disk.watch(Arc::new(move |event| {
        told.lock().unwrap().push(format!("{event:?}"))
    }));
    let door = stage.door();
    let note = |what: String| trace.lock().unwrap().push(what);
    stage.play(async {
        let mut admin = door.client().await.unwrap();
        let created = admin.create_topic(topic("orders", 2, &[])).await.unwrap();
        note(format!("{created:?}"));
        let mut producer = Producer::new(door.client().await.unwrap(), ProducerOptions::default())
            .await
            .unwrap();
        for number in 0..50 {
            let record = NewRecord {
                value: Some(format!("order {number}").into_bytes()),
                ..NewRecord::default()
            };
            producer
                .send("orders", Some(number % 2), record)
                .await
                .unwrap();
            if number % 7 == 0 {
                producer.flush().await.unwrap();
                pause(1).await;
            }
        }
        producer.flush().await.unwrap();
        let mut line = door.line().await.unwrap();
        for number in 0..10_u8 {
            let records = batch(None, door.wall_ms(), &[vec![number; 2000]]);
            let asked = produce_request(1, &[("orders", 0, records)]);
            line.send::<produce::Request>(PRODUCE_VERSION, &asked)
                .await
                .unwrap();
        }
        for _ in 0..10 {
            note(format!("{:?}", line.frame().await.unwrap()));
        }
        let mut client = door.client().await.unwrap();
        let starts = client
            .list_offsets("orders", &[0, 1], At::Start)
            .await
            .unwrap();
        let mut consumer = Consumer::assign(client, "orders", &starts);
        let mut count = 0;
        while count < 60 {
            let records = consumer.poll().await.unwrap();
            count += records.len();
            note(format!("{records:?}"));
        }
        pause(2000).await;
    });
    drop(stage);
    let trace = trace.lock().unwrap();
    trace.clone()
}

#[test]
fn the_same_seed_gives_the_same_disk_operations_and_answers() {
    let (one, two) = (trace(11), trace(11));
    let differ = one.iter().zip(&two).position(|(one, two)| one != two);
    if let Some(at) = differ {
        panic!("entry {at}: {:?} and {:?}", one[at], two[at]);
    }
    assert_eq!(one.len(), two.len());
    assert!(one.len() > 60, "a trace of {} entries", one.len());
}

#[test]
fn another_seed_gives_another_run() {
    assert_ne!(trace(11), trace(12));
}
