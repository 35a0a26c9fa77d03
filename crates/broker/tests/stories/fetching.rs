//! Fetch and its relatives: what is found, what is waited for, what is refused.

use std::time::Duration;

use wire::ErrorCode;
use wire::messages::fetch::{self, FetchTopic};
use wire::messages::{delete_topics, offset_for_leader_epoch, text};

use crate::frames::{
    FETCH, fetch, fetch_partition, fetch_request, produce, produce_request, values,
};
use crate::stage::{Client, Stage, batch, sleep};

async fn three_batches(client: &mut Client) {
    client.topic("t").await;
    for values in [&["a", "b", "c"][..], &["d"], &["e", "f"]] {
        assert_eq!(produce(client, "t", batch(values)).await.error_code, 0);
    }
}

#[test]
fn fetch_inside_a_batch_returns_the_whole_batch() {
    // rule F1
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        three_batches(&mut client).await;
        let found = fetch(&mut client, "t", 2).await;
        assert_eq!(values(&found.records)[0], (0, "a".into()));
        assert_eq!(values(&found.records).last(), Some(&(5, "f".into())));
        assert_eq!(
            (
                found.high_watermark,
                found.last_stable_offset,
                found.log_start_offset
            ),
            (6, 6, 0)
        );
    });
}

#[test]
fn the_first_partition_with_data_gets_a_batch_however_small_the_limit() {
    // rule F2
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        three_batches(&mut client).await;
        client.topic("u").await;
        produce(&mut client, "u", batch(&["x"])).await;
        let mut request = fetch_request("t", 0);
        request.max_bytes = 1;
        request.topics[0].partitions[0].partition_max_bytes = 1;
        request.topics.push(FetchTopic {
            topic: text("u"),
            partitions: vec![fetch_partition(0, 0)],
            ..Default::default()
        });
        let answer = client.ask(FETCH, &request).await;
        assert_eq!(values(&answer.responses[0].partitions[0].records).len(), 3);
        assert!(values(&answer.responses[1].partitions[0].records).is_empty());
    });
}

#[test]
fn records_are_never_null_and_offsets_outside_the_log_are_told() {
    // rule F3
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        three_batches(&mut client).await;
        let end = fetch(&mut client, "t", 6).await;
        assert_eq!(
            (end.error_code, end.records),
            (0, Some(bytes::Bytes::new()))
        );
        for offset in [7, -1] {
            let outside = fetch(&mut client, "t", offset).await;
            assert_eq!(outside.error_code, ErrorCode::OffsetOutOfRange.code());
            assert_eq!(outside.records, Some(bytes::Bytes::new()));
        }
    });
}

#[test]
fn a_long_poll_ends_when_records_come() {
    // rule F4
    let stage = Stage::new();
    stage.play(async {
        let mut reader = stage.connect().await;
        reader.topic("t").await;
        let mut writer = stage.connect().await;
        let mut request = fetch_request("t", 0);
        request.max_wait_ms = 60_000;
        let before = tokio::time::Instant::now();
        reader.send_request(FETCH, &request).await;
        sleep(Duration::from_millis(200)).await;
        produce(&mut writer, "t", batch(&["a"])).await;
        let (_, answer) = reader.answer::<fetch::Request>(FETCH).await;
        assert_eq!(values(&answer.responses[0].partitions[0].records).len(), 1);
        assert!(before.elapsed() < Duration::from_secs(1), "virtual time");
    });
}

#[test]
fn a_long_poll_waits_for_min_bytes_but_not_beyond_max_wait() {
    // rule F4
    let stage = Stage::new();
    stage.play(async {
        let mut reader = stage.connect().await;
        reader.topic("t").await;
        let mut writer = stage.connect().await;
        let mut request = fetch_request("t", 0);
        request.max_wait_ms = 5_000;
        request.min_bytes = 1 << 20;
        let before = tokio::time::Instant::now();
        reader.send_request(FETCH, &request).await;
        for _ in 0..3 {
            produce(&mut writer, "t", batch(&["a"])).await;
            sleep(Duration::from_millis(100)).await;
        }
        let (_, answer) = reader.answer::<fetch::Request>(FETCH).await;
        assert_eq!(values(&answer.responses[0].partitions[0].records).len(), 3);
        assert!(before.elapsed() >= Duration::from_secs(5), "virtual time");
    });
}

#[test]
fn an_error_in_one_partition_ends_the_wait_for_all() {
    // rule F4
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let mut request = fetch_request("t", 0);
        request.max_wait_ms = 600_000;
        request.topics[0].partitions.push(fetch_partition(7, 0));
        let before = tokio::time::Instant::now();
        let answer = client.ask(FETCH, &request).await;
        let codes: Vec<i16> = answer.responses[0]
            .partitions
            .iter()
            .map(|part| part.error_code)
            .collect();
        assert_eq!(codes, [0, ErrorCode::UnknownTopicOrPartition.code()]);
        assert!(before.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn a_long_poll_gives_way_to_the_request_behind_it() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let mut request = fetch_request("t", 0);
        request.max_wait_ms = 600_000;
        let before = tokio::time::Instant::now();
        client.send_request(FETCH, &request).await;
        client
            .send_request(9, &produce_request("t", 0, batch(&["a"])))
            .await;
        let (_, empty) = client.answer::<fetch::Request>(FETCH).await;
        assert!(values(&empty.responses[0].partitions[0].records).is_empty());
        let (_, answer) = client.answer::<wire::messages::produce::Request>(9).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
        assert!(before.elapsed() < Duration::from_secs(1));
    });
}

#[test]
fn a_long_poll_on_a_topic_that_is_deleted_ends_at_once() {
    // rules F4 and F10
    let stage = Stage::new();
    stage.play(async {
        for version in [FETCH, 17] {
            let mut reader = stage.connect().await;
            reader.topic("t").await;
            let mut request = fetch_request("t", 0);
            request.max_wait_ms = 600_000;
            request.replica_state.replica_id = -1;
            let id = stage.broker.node().image().topic("t").unwrap().id;
            request.topics[0].topic_id = id.into();
            let before = tokio::time::Instant::now();
            reader.send_request(version, &request).await;
            sleep(Duration::from_millis(200)).await;
            let mut admin = stage.connect().await;
            let delete = delete_topics::Request {
                topic_names: vec![text("t")],
                timeout_ms: 1000,
                ..Default::default()
            };
            let deleted = admin.ask(5, &delete).await;
            assert_eq!(deleted.responses[0].error_code, 0);
            let (_, answer) = reader.answer::<fetch::Request>(version).await;
            let told = answer.responses[0].partitions[0].error_code;
            assert_eq!(
                told,
                ErrorCode::UnknownTopicOrPartition.code(),
                "v{version}"
            );
            assert!(before.elapsed() < Duration::from_secs(1), "virtual time");
        }
    });
}

#[test]
fn a_partition_that_moves_while_others_idle_wakes_its_reader_each_time() {
    // rule F4
    let stage = Stage::new();
    stage.play(async {
        let mut reader = stage.connect().await;
        let mut writer = stage.connect().await;
        for topic in ["busy", "idle"] {
            reader.topic(topic).await;
        }
        for round in 0..20 {
            let mut request = fetch_request("busy", round);
            request.max_wait_ms = 60_000;
            request.topics.push(FetchTopic {
                topic: text("idle"),
                partitions: vec![fetch_partition(0, 0)],
                ..Default::default()
            });
            reader.send_request(FETCH, &request).await;
            produce(&mut writer, "busy", batch(&["a"])).await;
            let (_, answer) = reader.answer::<fetch::Request>(FETCH).await;
            assert_eq!(values(&answer.responses[0].partitions[0].records).len(), 1);
        }
    });
}

#[test]
fn leader_epochs_are_checked_both_ways() {
    // rule F6
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        three_batches(&mut client).await;
        for (epoch, code) in [
            (-1, ErrorCode::None),
            (1_000, ErrorCode::UnknownLeaderEpoch),
            (0, ErrorCode::None),
        ] {
            let mut request = fetch_request("t", 0);
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            let answer = client.ask(FETCH, &request).await;
            assert_eq!(
                answer.responses[0].partitions[0].error_code,
                code.code(),
                "{epoch}"
            );
        }
    });
    // A restart makes a new epoch; readers of the old one are fenced.
    let sim = stage.sim.restart_after_power_cut(3);
    let stage = Stage::on(sim, |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        let mut request = fetch_request("t", 0);
        request.topics[0].partitions[0].current_leader_epoch = 0;
        let answer = client.ask(FETCH, &request).await;
        let error = answer.responses[0].partitions[0].error_code;
        assert_eq!(error, ErrorCode::FencedLeaderEpoch.code());
    });
}

#[test]
fn a_reader_of_an_epoch_that_ended_earlier_is_told_where() {
    // rules F7 and M4
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        three_batches(&mut client).await;
    });
    let sim = stage.sim.restart_after_power_cut(3);
    let stage = Stage::on(sim, |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        produce(&mut client, "t", batch(&["g"])).await;
        let mut request = fetch_request("t", 7);
        request.topics[0].partitions[0].last_fetched_epoch = 0;
        let answer = client.ask(FETCH, &request).await;
        let told = &answer.responses[0].partitions[0];
        assert_eq!(
            (told.diverging_epoch.epoch, told.diverging_epoch.end_offset),
            (0, 6)
        );
        assert_eq!(told.records, Some(bytes::Bytes::new()));
        let asked = offset_for_leader_epoch::Request {
            replica_id: -1,
            topics: vec![offset_for_leader_epoch::OffsetForLeaderTopic {
                topic: text("t"),
                partitions: vec![offset_for_leader_epoch::OffsetForLeaderPartition {
                    partition: 0,
                    current_leader_epoch: -1,
                    leader_epoch: 0,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = client.ask(4, &asked).await;
        let end = &answer.topics[0].partitions[0];
        assert_eq!(
            (end.error_code, end.leader_epoch, end.end_offset),
            (0, 0, 6)
        );
    });
}

#[test]
fn readers_of_committed_records_get_an_empty_list_of_aborts() {
    // rule F8
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        three_batches(&mut client).await;
        let mut request = fetch_request("t", 0);
        request.isolation_level = 1;
        let answer = client.ask(FETCH, &request).await;
        assert_eq!(
            answer.responses[0].partitions[0].aborted_transactions,
            Some(vec![])
        );
        let plain = fetch(&mut client, "t", 0).await;
        assert_eq!(plain.aborted_transactions, None);
    });
}

#[test]
fn an_unknown_topic_id_is_told_as_such() {
    // rule F10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let mut request = fetch_request("", 0);
        request.topics[0].topic_id = wire::TopicId([3; 16]).into();
        let answer = client.ask(16, &request).await;
        let error = answer.responses[0].partitions[0].error_code;
        assert_eq!(error, ErrorCode::UnknownTopicId.code());
    });
}

#[test]
fn a_large_answer_is_sent_from_the_file_byte_for_byte() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let value = "y".repeat(100_000);
        for _ in 0..5 {
            produce(&mut client, "t", batch(&[value.as_str()])).await;
        }
        let found = fetch(&mut client, "t", 0).await;
        let read = values(&found.records);
        assert_eq!(read.len(), 5);
        assert!(read.iter().all(|(_, read)| *read == value));
    });
}

#[test]
fn list_offsets_tells_begin_and_end() {
    // rule M1
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        three_batches(&mut client).await;
        assert_eq!(client.offset("t", 0, -1).await, (0, 6, -1));
        assert_eq!(client.offset("t", 0, -2).await, (0, 0, -1));
        assert_eq!(client.offset("t", 0, -4).await, (0, 0, -1));
        let unknown = client.offset("t", 4, -1).await;
        assert_eq!(unknown.0, ErrorCode::UnknownTopicOrPartition.code());
    });
}

#[test]
fn list_offsets_finds_records_by_their_time() {
    // rules M1 and M2
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        three_batches(&mut client).await;
        // Each batch is stamped 1000, 1001, ...
        assert_eq!(client.offset("t", 0, 500).await, (0, 0, 1000));
        assert_eq!(client.offset("t", 0, 1001).await, (0, 1, 1001));
        assert_eq!(client.offset("t", 0, 1002).await, (0, 2, 1002));
        assert_eq!(client.offset("t", 0, 1003).await, (0, -1, -1));
        assert_eq!(client.offset("t", 0, -3).await, (0, 2, 1002));
    });
}
