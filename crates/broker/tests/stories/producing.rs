//! Produce: what is taken, what is refused, what is answered when.

use std::time::Duration;

use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::produce::{PartitionProduceData, TopicProduceData};
use wire::messages::{init_producer_id, text};

use crate::frames::{PRODUCE, fetch, produce, produce_request, values};
use crate::stage::{Stage, batch, batch_of, settings};

#[test]
fn an_acknowledged_batch_is_read_back_and_survives_a_power_cut() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let answer = produce(&mut client, "t", batch(&["a", "b"])).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, 0));
        assert_eq!(
            produce(&mut client, "t", batch(&["c"])).await.base_offset,
            2
        );
    });
    let sim = stage.sim.restart_after_power_cut(8);
    let stage = Stage::on(sim, |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        let found = fetch(&mut client, "t", 0).await;
        let expected: Vec<_> = ["a", "b", "c"]
            .iter()
            .zip(0..)
            .map(|(v, at)| (at, (*v).to_string()))
            .collect();
        assert_eq!(values(&found.records), expected);
    });
}

#[test]
fn each_partition_must_bring_exactly_one_whole_batch() {
    // rules P1 and P2
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let good = batch(&["a"]);
        let two: Bytes = [&good[..], &good[..]].concat().into();
        let mut flipped = good.to_vec();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        let mut magic = good.to_vec();
        magic[16] = 1;
        let mut offset = good.to_vec();
        offset[7] = 5;
        for (records, code) in [
            (Bytes::new(), ErrorCode::InvalidRecord),
            (two, ErrorCode::InvalidRecord),
            (flipped.into(), ErrorCode::CorruptMessage),
            (magic.into(), ErrorCode::InvalidRecord),
            (offset.into(), ErrorCode::InvalidRecord),
        ] {
            let answer = produce(&mut client, "t", records).await;
            assert_eq!(answer.error_code, code.code());
            assert_eq!(answer.base_offset, -1);
        }
        assert_eq!(
            client.offset("t", 0, -1).await,
            (0, 0, -1),
            "nothing was appended"
        );
    });
}

#[test]
fn a_batch_above_max_message_bytes_is_too_large() {
    // rule P2
    let stage = Stage::with(|config| config.settings = settings(&[("message.max.bytes", "100")]));
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let answer = produce(&mut client, "t", batch(&["x".repeat(200).as_str()])).await;
        assert_eq!(answer.error_code, ErrorCode::MessageTooLarge.code());
    });
}

#[test]
fn records_from_the_far_future_are_refused_with_their_batch() {
    // rule P2
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let mut builder = wire::record::BatchBuilder::new();
        builder.append(&wire::record::NewRecord {
            timestamp: i64::MAX / 2,
            key: None,
            value: Some(b"x"),
            headers: &[],
        });
        let answer = produce(&mut client, "t", builder.build().unwrap().into()).await;
        assert_eq!(answer.error_code, ErrorCode::InvalidTimestamp.code());
        assert_eq!(answer.record_errors.len(), 1);
        assert!(answer.error_message.is_some());
    });
}

#[test]
fn acks_outside_the_three_values_are_refused() {
    // rule P6
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let mut request = produce_request("t", 0, batch(&["a"]));
        request.acks = 2;
        let answer = client.ask(PRODUCE, &request).await;
        let error = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(error, ErrorCode::InvalidRequiredAcks.code());
        assert_eq!(client.offset("t", 0, -1).await.1, 0);
    });
}

#[test]
fn acks_zero_is_not_answered_and_an_error_closes() {
    // rule P6
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let mut request = produce_request("t", 0, batch(&["a"]));
        request.acks = 0;
        client.send_request(PRODUCE, &request).await;
        // The next answer on the connection is the next request's.
        assert_eq!(
            produce(&mut client, "t", batch(&["b"])).await.base_offset,
            1
        );
        let mut request = produce_request("nowhere", 0, batch(&["a"]));
        request.acks = 0;
        client.send_request(PRODUCE, &request).await;
        assert!(client.is_closed().await);
    });
}

#[test]
fn unknown_topics_and_partitions_are_told_each_by_itself() {
    // rule P7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let mut request = produce_request("t", 0, batch(&["a"]));
        request.topic_data[0]
            .partition_data
            .push(PartitionProduceData {
                index: 9,
                records: Some(batch(&["b"])),
                ..Default::default()
            });
        request.topic_data.push(TopicProduceData {
            name: text("nowhere"),
            partition_data: request.topic_data[0].partition_data[..1].to_vec(),
            ..Default::default()
        });
        let answer = client.ask(PRODUCE, &request).await;
        let codes: Vec<Vec<i16>> = answer
            .responses
            .iter()
            .map(|topic| {
                topic
                    .partition_responses
                    .iter()
                    .map(|part| part.error_code)
                    .collect()
            })
            .collect();
        assert_eq!(codes, [vec![0, 3], vec![3]]);
        let mut by_id = produce_request("", 0, batch(&["a"]));
        by_id.topic_data[0].topic_id = wire::TopicId([9; 16]).into();
        let answer = client.ask(13, &by_id).await;
        let error = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(error, ErrorCode::UnknownTopicId.code());
    });
}

#[test]
fn a_repeated_batch_is_answered_with_its_first_offset() {
    // rules T1, T2 and T3
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let given = client
            .ask(
                4,
                &init_producer_id::Request {
                    producer_id: -1,
                    producer_epoch: -1,
                    ..Default::default()
                },
            )
            .await;
        assert_eq!((given.error_code, given.producer_epoch), (0, 0));
        let id = given.producer_id;
        let first = batch_of(id, 0, 0, &["a", "b"]);
        assert_eq!(
            produce(&mut client, "t", first.clone()).await.base_offset,
            0
        );
        let second = produce(&mut client, "t", batch_of(id, 0, 2, &["c"])).await;
        assert_eq!((second.error_code, second.base_offset), (0, 2));
        let again = produce(&mut client, "t", first).await;
        assert_eq!((again.error_code, again.base_offset), (0, 0));
        let gap = produce(&mut client, "t", batch_of(id, 0, 7, &["x"])).await;
        assert_eq!(gap.error_code, ErrorCode::OutOfOrderSequenceNumber.code());
        let newer = produce(&mut client, "t", batch_of(id, 1, 0, &["d"])).await;
        assert_eq!((newer.error_code, newer.base_offset), (0, 3));
        let fenced = produce(&mut client, "t", batch_of(id, 0, 3, &["x"])).await;
        assert_eq!(fenced.error_code, ErrorCode::InvalidProducerEpoch.code());
    });
}

#[test]
fn producer_ids_are_never_given_twice_and_transactions_are_refused_plainly() {
    // rule T6
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let fresh = init_producer_id::Request {
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let first = client.ask(4, &fresh).await;
        let second = client.ask(4, &fresh).await;
        assert!(first.producer_id >= 0 && second.producer_id > first.producer_id);
        let named = |name: &str| init_producer_id::Request {
            transactional_id: Some(text(name)),
            transaction_timeout_ms: 1000,
            ..fresh.clone()
        };
        let refused = client.ask(4, &named("tx")).await;
        assert_eq!(refused.error_code, ErrorCode::UnsupportedVersion.code());
        assert_eq!(refused.producer_id, -1);
        let empty = client.ask(4, &named("")).await;
        assert_eq!(empty.error_code, ErrorCode::InvalidRequest.code());
    });
}

#[test]
fn pipelined_requests_are_answered_in_their_order_from_one_group() {
    // rule W7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let request = produce_request("t", 0, batch(&["a"]));
        let mut sent = Vec::new();
        for _ in 0..50 {
            sent.push(client.send_request(PRODUCE, &request).await);
        }
        for (at, correlation) in sent.into_iter().enumerate() {
            let (answered, answer) = client
                .answer::<wire::messages::produce::Request>(PRODUCE)
                .await;
            assert_eq!(answered, correlation);
            assert_eq!(
                answer.responses[0].partition_responses[0].base_offset,
                at as i64
            );
        }
    });
}

#[test]
fn log_append_time_topics_tell_the_time_they_stamped() {
    // rule P5
    let stage = Stage::with(|config| {
        config.settings = settings(&[("log.message.timestamp.type", "LogAppendTime")]);
    });
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let answer = produce(&mut client, "t", batch(&["a"])).await;
        assert!(answer.log_append_time_ms > 1000);
    });
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        assert_eq!(
            produce(&mut client, "t", batch(&["a"]))
                .await
                .log_append_time_ms,
            -1
        );
    });
}

#[test]
fn a_full_staging_buffer_holds_producers_back_and_drops_nothing() {
    let stage = Stage::with(|config| {
        config.store.staging_bytes = 256 << 10;
        config.limits.in_flight_max = 1000;
    });
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let value = "x".repeat(60_000);
        let request = produce_request("t", 0, batch(&[value.as_str()]));
        for _ in 0..100 {
            client.send_request(PRODUCE, &request).await;
        }
        for at in 0..100 {
            let (_, answer) = client
                .answer::<wire::messages::produce::Request>(PRODUCE)
                .await;
            let part = &answer.responses[0].partition_responses[0];
            assert_eq!((part.error_code, part.base_offset), (0, at));
        }
    });
    stage.sim.spawn.run_for(Duration::from_millis(1));
}

#[test]
fn clients_do_not_write_into_the_clusters_own_topics() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("__consumer_offsets").await;
        let answer = produce(&mut client, "__consumer_offsets", batch(&["a"])).await;
        assert_eq!(answer.error_code, ErrorCode::InvalidTopicException.code());
    });
}

#[test]
fn a_topic_with_its_own_codec_stores_batches_in_it() {
    // rule P4
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client
            .topic_with("t", &[("compression.type", "zstd")])
            .await;
        let value = "v".repeat(5_000);
        assert_eq!(
            produce(&mut client, "t", batch(&[value.as_str()]))
                .await
                .error_code,
            0
        );
        let found = fetch(&mut client, "t", 0).await;
        let bytes = found.records.clone().unwrap();
        assert_eq!(bytes[22] & 7, 4, "the codec of the stored batch");
        assert!(bytes.len() < 1_000);
        assert_eq!(values(&found.records), [(0, value)]);
    });
}
