//! CreateTopics, CreatePartitions, DeleteTopics.

use wire::ErrorCode;
use wire::messages::create_partitions::{CreatePartitionsAssignment, CreatePartitionsTopic};
use wire::messages::create_topics::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig, CreatableTopicResult,
};
use wire::messages::delete_topics::DeleteTopicState;
use wire::messages::{create_partitions, create_topics, delete_topics, metadata, text};

use crate::stage::{Client, Stage, settings};

/// A topic to create, with the broker's defaults.
fn topic(name: &str) -> CreatableTopic {
    CreatableTopic {
        name: text(name),
        num_partitions: -1,
        replication_factor: -1,
        ..Default::default()
    }
}

fn sized(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic {
        num_partitions: partitions,
        replication_factor: replicas,
        ..topic(name)
    }
}

fn with_config(name: &str, key: &str, value: Option<&str>) -> CreatableTopic {
    CreatableTopic {
        configs: vec![CreatableTopicConfig {
            name: text(key),
            value: value.map(text),
            ..Default::default()
        }],
        ..topic(name)
    }
}

fn assigned(name: &str, partitions: &[(i32, &[i32])]) -> CreatableTopic {
    CreatableTopic {
        assignments: partitions
            .iter()
            .map(|(number, brokers)| CreatableReplicaAssignment {
                partition_index: *number,
                broker_ids: brokers.to_vec(),
                ..Default::default()
            })
            .collect(),
        ..topic(name)
    }
}

fn request(topics: Vec<CreatableTopic>) -> create_topics::Request {
    create_topics::Request {
        topics,
        timeout_ms: 1000,
        ..Default::default()
    }
}

async fn create(
    client: &mut Client,
    version: i16,
    topics: Vec<CreatableTopic>,
) -> Vec<CreatableTopicResult> {
    client.ask(version, &request(topics)).await.topics
}

/// The only answer's code and message.
fn one(results: &[CreatableTopicResult]) -> (i16, String) {
    assert_eq!(results.len(), 1, "{results:?}");
    let message = results[0].error_message.as_ref();
    (
        results[0].error_code,
        message.map(|text| text.to_string()).unwrap_or_default(),
    )
}

async fn refused(client: &mut Client, topic: CreatableTopic) -> (ErrorCode, String) {
    let (code, message) = one(&create(client, 7, vec![topic]).await);
    (ErrorCode::from_code(code).unwrap(), message)
}

async fn partition_count(client: &mut Client, name: &str) -> Option<usize> {
    let asked = metadata::Request {
        topics: Some(vec![metadata::MetadataRequestTopic {
            name: Some(text(name)),
            ..Default::default()
        }]),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    let answer = client.ask(9, &asked).await;
    let found = &answer.topics[0];
    (found.error_code == 0).then_some(found.partitions.len())
}

#[test]
fn a_created_topic_is_served_when_the_answer_arrives() {
    // rule M9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        for version in 2..=7 {
            let name = format!("orders-{version}");
            let results = create(&mut client, version, vec![sized(&name, 3, 1)]).await;
            assert_eq!(one(&results).0, 0, "version {version}");
            assert_eq!(
                client.offset(&name, 2, -1).await.0,
                0,
                "served, not only known"
            );
            let told = &results[0];
            if version >= 5 {
                assert_eq!((told.num_partitions, told.replication_factor), (3, 1));
                let configs = told.configs.as_ref().unwrap();
                assert!(
                    configs
                        .iter()
                        .any(|config| config.name.as_str() == "retention.ms")
                );
            }
            let has_id = told.topic_id != Default::default();
            assert_eq!(
                has_id,
                version >= 7,
                "identities are told from version 7 on"
            );
        }
    });
}

#[test]
fn minus_one_asks_for_the_brokers_default() {
    // rule M9
    let stage = Stage::with(|config| config.settings = settings(&[("num.partitions", "4")]));
    stage.play(async {
        let mut client = stage.connect().await;
        for version in [2, 4, 7] {
            let name = format!("t{version}");
            assert_eq!(
                one(&create(&mut client, version, vec![topic(&name)]).await).0,
                0
            );
            assert_eq!(partition_count(&mut client, &name).await, Some(4));
        }
    });
}

#[test]
fn validate_only_answers_like_the_real_thing_and_changes_nothing() {
    // rule M9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let asked = create_topics::Request {
            validate_only: true,
            ..request(vec![sized("a", 2, 1), sized("b", 0, 1)])
        };
        let results = client.ask(7, &asked).await.topics;
        assert_eq!(results[0].error_code, 0);
        assert_eq!(results[0].num_partitions, 2);
        assert_eq!(
            results[0].topic_id,
            Default::default(),
            "nothing has an identity yet"
        );
        assert_eq!(results[1].error_code, ErrorCode::InvalidPartitions.code());
        assert_eq!(partition_count(&mut client, "a").await, None);
    });
}

#[test]
fn bad_names_are_refused_with_the_reason() {
    // rule M9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let long = "x".repeat(250);
        for name in ["", ".", "..", "a b", "a/b", "ä", &long] {
            let (code, message) = refused(&mut client, topic(name)).await;
            assert_eq!(code, ErrorCode::InvalidTopicException, "{name:?}");
            assert!(message.starts_with("Topic name is invalid"), "{message}");
        }
        let longest = "x".repeat(249);
        assert_eq!(
            one(&create(&mut client, 7, vec![topic(&longest)]).await).0,
            0
        );
        let (code, _) = refused(&mut client, topic("__cluster_metadata")).await;
        assert_eq!(code, ErrorCode::InvalidRequest);
    });
}

#[test]
fn names_that_differ_in_dot_and_underscore_only_collide() {
    // rule M9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        assert_eq!(one(&create(&mut client, 7, vec![topic("a.b")]).await).0, 0);
        let (code, message) = refused(&mut client, topic("a_b")).await;
        assert_eq!(code, ErrorCode::InvalidTopicException);
        assert!(message.contains("a.b"), "{message}");
        assert_eq!(one(&create(&mut client, 7, vec![topic("a-b")]).await).0, 0);
    });
}

#[test]
fn an_existing_topic_is_told_so_even_if_it_could_not_be_placed_again() {
    // rule M9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        assert_eq!(one(&create(&mut client, 7, vec![topic("a")]).await).0, 0);
        for again in [topic("a"), sized("a", 0, 1), sized("a", 1, 3)] {
            let (code, _) = refused(&mut client, again).await;
            assert_eq!(code, ErrorCode::TopicAlreadyExists);
        }
    });
}

#[test]
fn counts_that_make_no_sense_are_refused_before_anything_is_made_for_them() {
    // rule M9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        for partitions in [0, -2, i32::MIN, 10_001, i32::MAX] {
            let (code, _) = refused(&mut client, sized("a", partitions, 1)).await;
            assert_eq!(code, ErrorCode::InvalidPartitions, "{partitions}");
        }
        for replicas in [0, -2, 2, i16::MAX] {
            let (code, _) = refused(&mut client, sized("a", 1, replicas)).await;
            assert_eq!(code, ErrorCode::InvalidReplicationFactor, "{replicas}");
        }
        assert_eq!(partition_count(&mut client, "a").await, None);
    });
}

#[test]
fn settings_of_a_new_topic_are_judged_with_the_nearest_name() {
    // rules M9 and M12; experience.md 7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let (code, message) =
            refused(&mut client, with_config("a", "retention.mss", Some("1"))).await;
        assert_eq!(code, ErrorCode::InvalidConfig);
        assert!(message.contains("did you mean retention.ms?"), "{message}");
        let (code, message) =
            refused(&mut client, with_config("a", "retention.ms", Some("x"))).await;
        assert_eq!(code, ErrorCode::InvalidConfig);
        assert!(
            message.contains("retention.ms") && message.contains("LONG"),
            "{message}"
        );
        let (code, message) = refused(&mut client, with_config("a", "retention.ms", None)).await;
        assert_eq!(code, ErrorCode::InvalidConfig);
        assert!(message.contains("Null value not supported"), "{message}");
        let asked = with_config("a", "cleanup.policy", Some("compact,shred"));
        let (code, message) = refused(&mut client, asked).await;
        assert_eq!(code, ErrorCode::InvalidConfig);
        assert!(message.contains("compact, delete"), "{message}");
        let twice = CreatableTopic {
            configs: [
                with_config("a", "retention.ms", Some("1")).configs,
                with_config("a", "retention.ms", Some("2")).configs,
            ]
            .concat(),
            ..topic("a")
        };
        assert_eq!(
            refused(&mut client, twice).await.0,
            ErrorCode::InvalidConfig
        );
        let results = create(
            &mut client,
            7,
            vec![with_config("a", "retention.ms", Some("60000"))],
        )
        .await;
        let configs = results[0].configs.as_ref().unwrap();
        let shown = configs
            .iter()
            .find(|config| config.name.as_str() == "retention.ms")
            .unwrap();
        assert_eq!(shown.value, Some(text("60000")));
        assert_eq!(shown.config_source, 1, "the topic's own");
        assert!(!shown.read_only);
    });
}

#[test]
fn a_manual_placement_is_checked_in_full() {
    // rule M9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let bad: [(CreatableTopic, ErrorCode); 7] = [
            (
                assigned("a", &[(0, &[9])]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (
                assigned("a", &[(1, &[1])]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (
                assigned("a", &[(0, &[1, 1])]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (
                assigned("a", &[(0, &[])]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (
                assigned("a", &[(0, &[1]), (0, &[1])]),
                ErrorCode::InvalidReplicaAssignment,
            ),
            (
                CreatableTopic {
                    num_partitions: 1,
                    ..assigned("a", &[(0, &[1])])
                },
                ErrorCode::InvalidRequest,
            ),
            (
                CreatableTopic {
                    replication_factor: 1,
                    ..assigned("a", &[(0, &[1])])
                },
                ErrorCode::InvalidRequest,
            ),
        ];
        for (asked, code) in bad {
            let shown = format!("{:?}", asked.assignments);
            assert_eq!(refused(&mut client, asked).await.0, code, "{shown}");
        }
        let results = create(&mut client, 7, vec![assigned("a", &[(1, &[1]), (0, &[1])])]).await;
        assert_eq!(one(&results).0, 0);
        assert_eq!(partition_count(&mut client, "a").await, Some(2));
    });
}

#[test]
fn each_topic_has_its_own_answer_and_a_name_given_twice_has_one() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let asked = vec![
            topic("a"),
            topic("bad name"),
            topic("twice"),
            topic("twice"),
        ];
        let results = create(&mut client, 7, asked).await;
        let told: Vec<(String, i16)> = results
            .iter()
            .map(|one| (one.name.to_string(), one.error_code))
            .collect();
        assert_eq!(
            told,
            [
                ("a".into(), 0),
                ("bad name".into(), ErrorCode::InvalidTopicException.code()),
                ("twice".into(), ErrorCode::InvalidRequest.code()),
            ]
        );
        assert_eq!(partition_count(&mut client, "twice").await, None);
    });
}

async fn grow(
    client: &mut Client,
    version: i16,
    name: &str,
    count: i32,
    assignments: Option<&[&[i32]]>,
    validate_only: bool,
) -> (i16, String) {
    let asked = create_partitions::Request {
        topics: vec![CreatePartitionsTopic {
            name: text(name),
            count,
            assignments: assignments.map(|all| {
                all.iter()
                    .map(|brokers| CreatePartitionsAssignment {
                        broker_ids: brokers.to_vec(),
                        ..Default::default()
                    })
                    .collect()
            }),
            ..Default::default()
        }],
        timeout_ms: 1000,
        validate_only,
        ..Default::default()
    };
    let answer = client.ask(version, &asked).await;
    assert_eq!(answer.results.len(), 1, "one answer for each topic");
    let told = &answer.results[0];
    assert_eq!(told.name.as_str(), name);
    let message = told.error_message.as_ref().map(|text| text.to_string());
    (told.error_code, message.unwrap_or_default())
}

#[test]
fn a_topic_grows_and_its_new_partitions_are_served_at_once() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        create(&mut client, 7, vec![sized("a", 1, 1)]).await;
        for (at, version) in (0..=3).enumerate() {
            let count = at as i32 + 2;
            assert_eq!(
                grow(&mut client, version, "a", count, None, true).await.0,
                0
            );
            assert_eq!(
                partition_count(&mut client, "a").await,
                Some(at + 1),
                "only checked"
            );
            assert_eq!(
                grow(&mut client, version, "a", count, None, false).await.0,
                0
            );
            assert_eq!(client.offset("a", count - 1, -1).await.0, 0);
        }
        let placed: &[&[i32]] = &[&[1]];
        assert_eq!(grow(&mut client, 3, "a", 6, Some(placed), false).await.0, 0);
        assert_eq!(partition_count(&mut client, "a").await, Some(6));
    });
}

#[test]
fn growth_that_is_none_or_that_cannot_be_placed_is_refused() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        create(&mut client, 7, vec![sized("a", 3, 1)]).await;
        for count in [3, 2, 0, -1, i32::MIN, 10_001, i32::MAX] {
            let (code, message) = grow(&mut client, 3, "a", count, None, false).await;
            assert_eq!(
                code,
                ErrorCode::InvalidPartitions.code(),
                "{count}: {message}"
            );
        }
        let bad: [&[&[i32]]; 5] = [&[], &[&[1], &[1]], &[&[7]], &[&[1, 1]], &[&[]]];
        for placed in bad {
            let (code, message) = grow(&mut client, 3, "a", 4, Some(placed), false).await;
            assert_eq!(
                code,
                ErrorCode::InvalidReplicaAssignment.code(),
                "{placed:?}: {message}"
            );
        }
        let (code, _) = grow(&mut client, 3, "nobody", 4, None, false).await;
        assert_eq!(code, ErrorCode::UnknownTopicOrPartition.code());
        assert_eq!(partition_count(&mut client, "a").await, Some(3));
    });
}

#[test]
fn a_topic_named_twice_does_not_grow() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        create(&mut client, 7, vec![sized("a", 1, 1)]).await;
        let one = CreatePartitionsTopic {
            name: text("a"),
            count: 2,
            ..Default::default()
        };
        let asked = create_partitions::Request {
            topics: vec![one.clone(), one],
            timeout_ms: 1000,
            ..Default::default()
        };
        let answer = client.ask(3, &asked).await;
        assert_eq!(answer.results.len(), 1);
        assert_eq!(
            answer.results[0].error_code,
            ErrorCode::InvalidRequest.code()
        );
        assert_eq!(partition_count(&mut client, "a").await, Some(1));
    });
}

fn by_name(name: &str) -> DeleteTopicState {
    DeleteTopicState {
        name: Some(text(name)),
        ..Default::default()
    }
}

/// Name, code of each answer.
async fn delete(
    client: &mut Client,
    version: i16,
    topics: Vec<DeleteTopicState>,
) -> Vec<(Option<String>, i16)> {
    let mut asked = delete_topics::Request {
        timeout_ms: 1000,
        ..Default::default()
    };
    if version >= 6 {
        asked.topics = topics;
    } else {
        asked.topic_names = topics
            .into_iter()
            .map(|topic| topic.name.unwrap())
            .collect();
    }
    let answer = client.ask(version, &asked).await;
    answer
        .responses
        .iter()
        .map(|one| {
            (
                one.name.as_ref().map(|name| name.to_string()),
                one.error_code,
            )
        })
        .collect()
}

#[test]
fn topics_go_by_name_and_from_version_six_on_by_identity() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        for version in 1..=6 {
            create(&mut client, 7, vec![topic("a")]).await;
            let told = delete(&mut client, version, vec![by_name("a")]).await;
            assert_eq!(told, [(Some("a".into()), 0)], "version {version}");
            assert_eq!(partition_count(&mut client, "a").await, None);
        }
        let created = create(&mut client, 7, vec![topic("a")]).await;
        assert_eq!(one(&created), (0, String::new()));
        let id = created[0].topic_id;
        let by_id = DeleteTopicState {
            name: None,
            topic_id: id,
            ..Default::default()
        };
        assert_eq!(
            delete(&mut client, 6, vec![by_id.clone()]).await,
            [(Some("a".into()), 0)]
        );
        let again = delete(&mut client, 6, vec![by_id]).await;
        assert_eq!(again, [(None, ErrorCode::UnknownTopicId.code())]);
        let again = create(&mut client, 7, vec![topic("a")]).await;
        assert_ne!(
            again[0].topic_id, id,
            "a new topic of an old name is another topic"
        );
    });
}

#[test]
fn a_deletion_answers_each_item_once() {
    // rule M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        create(&mut client, 7, vec![topic("a"), topic("b")]).await;
        let id = wire::TopicId([3; 16]).into();
        let asked = vec![
            by_name("a"),
            by_name("nobody"),
            by_name("b"),
            by_name("b"),
            DeleteTopicState {
                name: Some(text("c")),
                topic_id: id,
                ..Default::default()
            },
            DeleteTopicState {
                name: None,
                ..Default::default()
            },
        ];
        assert_eq!(
            delete(&mut client, 6, asked).await,
            [
                (Some("a".into()), 0),
                (
                    Some("nobody".into()),
                    ErrorCode::UnknownTopicOrPartition.code()
                ),
                (Some("b".into()), ErrorCode::InvalidRequest.code()),
                (Some("c".into()), ErrorCode::InvalidRequest.code()),
                (None, ErrorCode::InvalidRequest.code()),
            ]
        );
        assert_eq!(
            partition_count(&mut client, "b").await,
            Some(1),
            "named twice, kept"
        );
    });
}

#[test]
fn a_broker_that_forbids_deletion_says_so_for_every_topic() {
    // rule M10
    let stage =
        Stage::with(|config| config.settings = settings(&[("delete.topic.enable", "false")]));
    stage.play(async {
        let mut client = stage.connect().await;
        create(&mut client, 7, vec![topic("a")]).await;
        for (version, code) in [
            (1, ErrorCode::InvalidRequest),
            (3, ErrorCode::TopicDeletionDisabled),
            (6, ErrorCode::TopicDeletionDisabled),
        ] {
            let told = delete(&mut client, version, vec![by_name("a"), by_name("nobody")]).await;
            assert_eq!(
                told,
                [
                    (Some("a".into()), code.code()),
                    (Some("nobody".into()), code.code())
                ]
            );
        }
        assert_eq!(partition_count(&mut client, "a").await, Some(1));
    });
}
