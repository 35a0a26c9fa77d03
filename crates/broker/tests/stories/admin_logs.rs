//! DeleteRecords.

use wire::ErrorCode;
use wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsTopic, Request, Response,
};
use wire::messages::{incremental_alter_configs, text};

use crate::frames::produce;
use crate::stage::{Client, Stage, batch};

fn trim(topic: &str, partitions: &[(i32, i64)]) -> DeleteRecordsTopic {
    DeleteRecordsTopic {
        name: text(topic),
        partitions: partitions
            .iter()
            .map(|(number, offset)| DeleteRecordsPartition {
                partition_index: *number,
                offset: *offset,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn request(topics: Vec<DeleteRecordsTopic>) -> Request {
    Request {
        topics,
        timeout_ms: 1000,
        ..Default::default()
    }
}

/// Partition, low watermark and code of each entry.
fn told(answer: &Response) -> Vec<(i32, i64, i16)> {
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    partitions
        .map(|one| (one.partition_index, one.low_watermark, one.error_code))
        .collect()
}

async fn ten_records(client: &mut Client, topic: &str) {
    client.topic(topic).await;
    for _ in 0..5 {
        assert_eq!(
            produce(client, topic, batch(&["one", "two"]))
                .await
                .error_code,
            0
        );
    }
}

#[test]
fn records_below_an_offset_go_and_stay_gone() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        ten_records(&mut client, "a").await;
        for (version, to) in [(0, 1), (1, 2), (2, 5)] {
            let answer = client
                .ask(version, &request(vec![trim("a", &[(0, to)])]))
                .await;
            assert_eq!(told(&answer), [(0, to, 0)], "version {version}");
            assert_eq!(
                client.offset("a", 0, -2).await.1,
                to,
                "the log starts there"
            );
        }
        let answer = client.ask(2, &request(vec![trim("a", &[(0, 3)])])).await;
        assert_eq!(
            told(&answer),
            [(0, 5, 0)],
            "an offset that is gone already changes nothing"
        );
        assert_eq!(client.offset("a", 0, -1).await.1, 10);
    });
    let stage = Stage::on(stage.sim.restart_after_power_cut(4), |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        assert_eq!(
            client.offset("a", 0, -2).await.1,
            5,
            "it was durable when it was answered"
        );
    });
}

#[test]
fn minus_one_deletes_up_to_the_high_watermark() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        ten_records(&mut client, "a").await;
        let answer = client.ask(2, &request(vec![trim("a", &[(0, -1)])])).await;
        assert_eq!(told(&answer), [(0, 10, 0)]);
        assert_eq!(
            produce(&mut client, "a", batch(&["next"])).await.error_code,
            0
        );
        assert_eq!(client.offset("a", 0, -2).await.1, 10);
        assert_eq!(client.offset("a", 0, -1).await.1, 11);
    });
}

#[test]
fn every_asked_partition_is_answered_once() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        ten_records(&mut client, "a").await;
        let asked = request(vec![
            trim("a", &[(0, 2), (7, 0), (-1, 0)]),
            trim("nobody", &[(0, 0)]),
            trim("a", &[(0, 4)]),
        ]);
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(
            told(&client.ask(2, &asked).await),
            [
                (0, 4, 0),
                (7, -1, unknown),
                (-1, -1, unknown),
                (0, -1, unknown)
            ]
        );
    });
}

#[test]
fn offsets_outside_the_log_are_out_of_range() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        ten_records(&mut client, "a").await;
        for offset in [11, i64::MAX, -2, i64::MIN] {
            let answer = client
                .ask(2, &request(vec![trim("a", &[(0, offset)])]))
                .await;
            assert_eq!(
                told(&answer),
                [(0, -1, ErrorCode::OffsetOutOfRange.code())],
                "{offset}"
            );
        }
        assert_eq!(client.offset("a", 0, -2).await.1, 0);
    });
}

#[test]
fn what_retention_may_not_delete_a_client_may_not_either() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        ten_records(&mut client, "a").await;
        let keep = incremental_alter_configs::Request {
            resources: vec![incremental_alter_configs::AlterConfigsResource {
                resource_type: 2,
                resource_name: text("a"),
                configs: vec![incremental_alter_configs::AlterableConfig {
                    name: text("cleanup.policy"),
                    config_operation: 0,
                    value: Some(text("")),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(client.ask(1, &keep).await.responses[0].error_code, 0);
        let answer = client.ask(2, &request(vec![trim("a", &[(0, 2)])])).await;
        assert_eq!(told(&answer), [(0, -1, ErrorCode::PolicyViolation.code())]);
        client.topic("__consumer_offsets").await;
        let answer = client
            .ask(2, &request(vec![trim("__consumer_offsets", &[(0, 0)])]))
            .await;
        assert_eq!(
            told(&answer),
            [(0, -1, ErrorCode::InvalidTopicException.code())]
        );
    });
}
