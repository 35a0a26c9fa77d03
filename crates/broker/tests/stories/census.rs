//! What those who watch are told of partitions and groups.

use std::time::Duration;

use broker::{Census, OffsetFigures};
use bytes::Bytes;
use wire::messages::{join_group, sync_group, text};
use wire::protocol_metadata::{Assignment, TopicPartitions};

use crate::frames::produce;
use crate::groups::{commit, coordinator, join};
use crate::stage::{Client, Stage, batch, sleep};

/// What is told of the group's offset in the only partition of `t`.
fn offset(stage: &Stage) -> OffsetFigures {
    let census = stage.broker.census(100);
    assert_eq!(census.groups.len(), 1, "{census:?}");
    census.groups[0].offsets[0].clone()
}

/// Lag in records and milliseconds.
fn lag(stage: &Stage) -> (Option<i64>, Option<i64>) {
    let lag = offset(stage).lag.unwrap();
    (lag.records, lag.ms)
}

async fn commit_by_hand(client: &mut Client, offset: i64) {
    let answer = client.ask(8, &commit(-1, "", "t", offset)).await;
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

#[test]
fn lag_in_time_is_the_age_of_the_first_unread_record_by_the_brokers_clock() {
    // experience.md 4.3; the records' own timestamps say something else
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        coordinator(&mut client).await;
        for value in ["a", "b", "c"] {
            produce(&mut client, "t", batch(&[value])).await;
            sleep(Duration::from_secs(60)).await;
        }
        commit_by_hand(&mut client, 1).await;
        let (records, ms) = lag(&stage);
        assert_eq!(records, Some(2));
        let ms = ms.unwrap();
        assert!((119_000..=122_000).contains(&ms), "{ms}");
        commit_by_hand(&mut client, 3).await;
        assert_eq!(lag(&stage), (Some(0), Some(0)));
        sleep(Duration::from_secs(3600)).await;
        assert_eq!(lag(&stage), (Some(0), Some(0)), "an idle partition");
    });
}

#[test]
fn a_partition_is_named_with_the_member_that_reads_it() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        coordinator(&mut client).await;
        let told = client.ask(5, &join("")).await;
        let member = told.member_id.to_string();
        let joined: join_group::Response = client.ask(5, &join(&member)).await;
        assert_eq!(joined.error_code, 0);
        let partitions = vec![TopicPartitions {
            topic: "t".to_owned(),
            partitions: vec![0],
        }];
        let assignment = Assignment {
            partitions,
            user_data: None,
        };
        let sync = sync_group::Request {
            group_id: text("g"),
            generation_id: 1,
            member_id: text(&member),
            assignments: vec![sync_group::SyncGroupRequestAssignment {
                member_id: text(&member),
                assignment: Bytes::from(assignment.encode(0)),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(client.ask(3, &sync).await.error_code, 0);
        let committed = client.ask(8, &commit(1, &member, "t", 0)).await;
        assert_eq!(committed.topics[0].partitions[0].error_code, 0);
        let reader = offset(&stage).member.expect("a member");
        assert_eq!(&*reader.id, member);
        assert!(!reader.host.starts_with('/'), "{reader:?}");
        let group = &stage.broker.census(100).groups[0];
        assert_eq!((group.members, group.is_simple), (1, false));
    });
}

#[test]
fn more_partitions_than_are_told_of_are_left_out_together_and_counted() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic_of("t", 3).await;
        client.topic_of("u", 2).await;
        let told: Census = stage.broker.census(5);
        assert_eq!((told.partitions.len(), told.partitions_left_out), (5, 0));
        let told = stage.broker.census(4);
        assert_eq!((told.partitions.len(), told.partitions_left_out), (0, 5));
        let counts: Vec<usize> = told.topics.iter().map(|topic| topic.partitions).collect();
        assert_eq!(counts, [3, 2], "topics are told of all the same");
    });
}
