//! Stories of the broker inside a test: a stranger's program, with what `duramen` offers it.

use std::sync::Arc;

use client::{At, Client, Consumer, NewRecord, NewTopic, Producer, ProducerOptions, Reach};
use duramen::testing::Broker;
use world::real::{RealClock, RealNet, RealRandom};

fn reach() -> Reach {
    Reach {
        net: Arc::new(RealNet),
        clock: Arc::new(RealClock::new()),
        random: Arc::new(RealRandom),
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}

/// A topic with the broker's defaults.
fn topic(name: &str) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions: -1,
        replicas: -1,
        configs: Vec::new(),
        validate_only: false,
    }
}

#[test]
fn a_broker_in_a_test_takes_records_and_gives_them_back() {
    // experience.md 6.3
    let broker = Broker::ephemeral().expect("a broker");
    let values = block_on(async {
        let mut client = Client::connect(reach(), &broker.bootstrap_servers()).await?;
        client.create_topic(topic("t")).await?;
        let mut producer = Producer::new(client, ProducerOptions::default()).await?;
        for value in ["a", "b"] {
            let record = NewRecord {
                value: Some(value.as_bytes().to_vec()),
                ..NewRecord::default()
            };
            producer.send("t", None, record).await?;
        }
        producer.flush().await?;
        let client = Client::connect(reach(), &broker.bootstrap_servers()).await?;
        let starts = [(("t".to_owned(), 0), 0)].into();
        let mut consumer = Consumer::assign_places(client, starts, Default::default());
        let mut values = Vec::new();
        while values.len() < 2 {
            let records = consumer.poll().await?;
            values.extend(records.into_iter().filter_map(|record| record.value));
        }
        Ok::<_, client::ClientError>(values)
    });
    assert_eq!(values.expect("read"), [b"a".to_vec(), b"b".to_vec()]);
}

#[test]
fn brokers_of_tests_do_not_meet_and_leave_nothing() {
    let one = Broker::ephemeral_with(&[("num.partitions", "3")]).expect("a broker");
    let other = Broker::ephemeral().expect("another");
    assert_ne!(one.address(), other.address());
    let partitions = block_on(async {
        let mut client = Client::connect(reach(), &one.bootstrap_servers()).await?;
        let made = client.create_topic(topic("t")).await?;
        let all: Vec<i32> = (0..made.partitions).collect();
        let ends = client.list_offsets("t", &all, At::End).await?;
        let mut client = Client::connect(reach(), &other.bootstrap_servers()).await?;
        assert!(client.topics(None).await?.is_empty());
        Ok::<_, client::ClientError>(ends.len())
    });
    assert_eq!(partitions.expect("answers"), 3);
    let gone = one.bootstrap_servers();
    drop(one);
    assert!(
        block_on(Client::connect(reach(), &gone)).is_err(),
        "nobody listens there any more"
    );
}

#[test]
fn a_mistyped_setting_is_refused_with_the_nearest() {
    let failure = Broker::ephemeral_with(&[("num.partitons", "3")])
        .err()
        .expect("refused");
    assert!(failure.to_string().contains("num.partitions"), "{failure}");
}
