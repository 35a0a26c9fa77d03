//! DescribeCluster, DescribeLogDirs, DescribeTopicPartitions.

use wire::ErrorCode;
use wire::messages::describe_log_dirs::DescribableLogDirTopic;
use wire::messages::describe_topic_partitions::TopicRequest;
use wire::messages::{
    RequestCursor, create_topics, describe_cluster, describe_log_dirs, describe_topic_partitions,
    text,
};

use crate::frames::produce;
use crate::stage::{Client, PORT, Stage, batch};

async fn create(client: &mut Client, name: &str, partitions: i32) {
    let asked = create_topics::Request {
        topics: vec![create_topics::CreatableTopic {
            name: text(name),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 1000,
        ..Default::default()
    };
    assert_eq!(client.ask(7, &asked).await.topics[0].error_code, 0);
}

#[test]
fn a_cluster_names_its_brokers_and_who_takes_administrative_requests() {
    // rules M7 and M8
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        for version in 0..=2 {
            let asked = describe_cluster::Request {
                endpoint_type: 1,
                ..Default::default()
            };
            let answer = client.ask(version, &asked).await;
            assert_eq!(answer.error_code, 0);
            assert!(!answer.cluster_id.as_str().is_empty());
            assert_eq!(answer.controller_id, 1);
            assert_eq!(answer.brokers.len(), 1);
            assert_eq!(answer.brokers[0].broker_id, 1);
            assert_eq!(answer.brokers[0].port, i32::from(PORT));
            assert_eq!(
                answer.cluster_authorized_operations,
                i32::MIN,
                "nobody asked"
            );
            let with = describe_cluster::Request {
                include_cluster_authorized_operations: true,
                ..asked
            };
            let answer = client.ask(version, &with).await;
            assert!(answer.cluster_authorized_operations > 0);
        }
    });
}

#[test]
fn endpoints_of_controllers_are_not_told_here() {
    // rule M8
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        for (kind, code) in [
            (2, ErrorCode::MismatchedEndpointType),
            (9, ErrorCode::UnsupportedEndpointType),
        ] {
            let asked = describe_cluster::Request {
                endpoint_type: kind,
                ..Default::default()
            };
            let answer = client.ask(1, &asked).await;
            assert_eq!(answer.error_code, code.code());
            assert!(answer.brokers.is_empty());
        }
    });
}

fn dirs(topics: Option<&[(&str, &[i32])]>) -> describe_log_dirs::Request {
    describe_log_dirs::Request {
        topics: topics.map(|all| {
            all.iter()
                .map(|(name, partitions)| DescribableLogDirTopic {
                    topic: text(name),
                    partitions: partitions.to_vec(),
                    ..Default::default()
                })
                .collect()
        }),
        ..Default::default()
    }
}

/// Topic, partition, bytes of what the answer tells of the one directory.
fn told(answer: &describe_log_dirs::Response) -> Vec<(String, i32, i64)> {
    assert_eq!(answer.error_code, 0);
    assert_eq!(answer.results.len(), 1, "one data directory");
    let dir = &answer.results[0];
    assert_eq!(dir.error_code, 0);
    assert_eq!(dir.log_dir.as_str(), "simulated disk");
    dir.topics
        .iter()
        .flat_map(|topic| {
            let name = topic.name.to_string();
            topic.partitions.iter().map(move |one| {
                assert!(!one.is_future_key);
                assert_eq!(one.offset_lag, 0);
                (name.clone(), one.partition_index, one.partition_size)
            })
        })
        .collect()
}

#[test]
fn the_data_directory_tells_what_is_in_it_and_what_fits() {
    // rule M10; protocol.md 2
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        create(&mut client, "b", 2).await;
        create(&mut client, "a", 1).await;
        let records = batch(&["one", "two"]);
        assert_eq!(
            produce(&mut client, "b", records.clone()).await.error_code,
            0
        );
        let bytes = records.len() as i64;
        for version in 1..=5 {
            let answer = client.ask(version, &dirs(None)).await;
            let all = [
                ("a".into(), 0, 0),
                ("b".into(), 0, bytes),
                ("b".into(), 1, 0),
            ];
            assert_eq!(told(&answer), all);
            let dir = &answer.results[0];
            if version >= 4 {
                assert!(dir.usable_bytes > 0 && dir.usable_bytes <= dir.total_bytes);
            }
            let some = dirs(Some(&[("b", &[0, 7]), ("nobody", &[0])]));
            assert_eq!(
                told(&client.ask(version, &some).await),
                [("b".into(), 0, bytes)]
            );
            assert!(told(&client.ask(version, &dirs(Some(&[]))).await).is_empty());
        }
    });
}

fn page(
    names: &[&str],
    limit: i32,
    cursor: Option<(&str, i32)>,
) -> describe_topic_partitions::Request {
    describe_topic_partitions::Request {
        topics: names
            .iter()
            .map(|name| TopicRequest {
                name: text(name),
                ..Default::default()
            })
            .collect(),
        response_partition_limit: limit,
        cursor: cursor.map(|(name, partition)| {
            Box::new(RequestCursor {
                topic_name: text(name),
                partition_index: partition,
                ..Default::default()
            })
        }),
        ..Default::default()
    }
}

/// Topic, code and partitions of each entry.
type Pages = Vec<(String, i16, Vec<i32>)>;

async fn describe(
    client: &mut Client,
    asked: describe_topic_partitions::Request,
) -> (Pages, Option<(String, i32)>) {
    let answer = client.ask(0, &asked).await;
    let topics = answer
        .topics
        .iter()
        .map(|topic| {
            let numbers = topic
                .partitions
                .iter()
                .map(|one| one.partition_index)
                .collect();
            (
                topic.name.as_ref().unwrap().to_string(),
                topic.error_code,
                numbers,
            )
        })
        .collect();
    let next = answer
        .next_cursor
        .map(|next| (next.topic_name.to_string(), next.partition_index));
    (topics, next)
}

#[test]
fn topics_are_described_page_by_page_in_the_order_of_their_names() {
    // rule M5; protocol.md 2
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        create(&mut client, "b", 3).await;
        create(&mut client, "a", 2).await;
        let whole: Pages = vec![("a".into(), 0, vec![0, 1]), ("b".into(), 0, vec![0, 1, 2])];
        for names in [&[][..], &["b", "a"], &["b", "a", "b"]] {
            let (topics, next) = describe(&mut client, page(names, 2000, None)).await;
            assert_eq!((topics, next), (whole.clone(), None));
            // A page of each size, until nothing follows.
            for limit in 1..=6 {
                let mut seen: Vec<(String, i32)> = Vec::new();
                let mut cursor: Option<(String, i32)> = None;
                for _ in 0..10 {
                    let at = cursor
                        .as_ref()
                        .map(|(name, number)| (name.as_str(), *number));
                    let (topics, next) = describe(&mut client, page(names, limit, at)).await;
                    let count: usize = topics.iter().map(|(_, _, numbers)| numbers.len()).sum();
                    assert!(count <= limit as usize);
                    for (name, _, numbers) in topics {
                        seen.extend(numbers.into_iter().map(|number| (name.clone(), number)));
                    }
                    cursor = next;
                    if cursor.is_none() {
                        break;
                    }
                }
                let all: Vec<(String, i32)> = whole
                    .iter()
                    .flat_map(|(name, _, numbers)| numbers.iter().map(|n| (name.clone(), *n)))
                    .collect();
                assert_eq!(seen, all, "limit {limit}");
            }
        }
        let (topics, _) = describe(&mut client, page(&["b"], 0, None)).await;
        assert_eq!(
            topics,
            [("b".into(), 0, vec![0])],
            "a page has at least one partition"
        );
    });
}

#[test]
fn a_described_partition_has_its_leader_and_its_replicas() {
    // rule M7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        create(&mut client, "a", 1).await;
        let answer = client.ask(0, &page(&["a"], 10, None)).await;
        let topic = &answer.topics[0];
        assert!(!topic.is_internal);
        assert_ne!(topic.topic_id, Default::default());
        assert!(topic.topic_authorized_operations > 0);
        let partition = &topic.partitions[0];
        assert_eq!(
            (
                partition.error_code,
                partition.leader_id,
                partition.leader_epoch
            ),
            (0, 1, 0)
        );
        assert_eq!(partition.replica_nodes, [1]);
        assert_eq!(partition.isr_nodes, [1]);
        assert!(partition.offline_replicas.is_empty());
        assert_eq!(partition.eligible_leader_replicas, Some(Vec::new()));
    });
}

#[test]
fn topics_that_are_not_there_are_told_of_when_they_are_named() {
    // rule M5
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        create(&mut client, "a", 1).await;
        let (topics, next) =
            describe(&mut client, page(&["nobody", "bad name", "a"], 10, None)).await;
        assert_eq!(
            topics,
            [
                ("a".into(), 0, vec![0]),
                (
                    "bad name".into(),
                    ErrorCode::InvalidTopicException.code(),
                    vec![]
                ),
                (
                    "nobody".into(),
                    ErrorCode::UnknownTopicOrPartition.code(),
                    vec![]
                ),
            ]
        );
        assert_eq!(next, None);
    });
}

#[test]
fn a_cursor_that_makes_no_sense_is_refused() {
    // protocol.md 2
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        create(&mut client, "a", 2).await;
        create(&mut client, "b", 1).await;
        for cursor in [("c", 0), ("a", -1), ("aa", 0)] {
            let (topics, next) = describe(&mut client, page(&["a", "b"], 9, Some(cursor))).await;
            let code = ErrorCode::InvalidRequest.code();
            assert_eq!(
                topics,
                [("a".into(), code, vec![]), ("b".into(), code, vec![])]
            );
            assert_eq!(next, None);
        }
        // A topic that shrank away, or went, between two pages of all topics.
        let (topics, _) = describe(&mut client, page(&[], 9, Some(("a", 7)))).await;
        assert_eq!(topics, [("a".into(), 0, vec![]), ("b".into(), 0, vec![0])]);
        let (topics, _) = describe(&mut client, page(&[], 9, Some(("aa", 0)))).await;
        assert_eq!(topics, [("b".into(), 0, vec![0])]);
    });
}
