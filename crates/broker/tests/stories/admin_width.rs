//! What administrators ask of a cluster, answered by a cluster of one: elections, reassignments,
//! producers, the quorum, features, configured names.

use wire::ErrorCode;
use wire::messages::elect_leaders::{self, TopicPartitions};
use wire::messages::{
    AskedQuorumPartition, AskedQuorumTopic, alter_partition_reassignments, api_versions,
    consumer_group_heartbeat, describe_producers, describe_quorum, incremental_alter_configs,
    list_config_resources, list_partition_reassignments, text, unregister_broker, update_features,
};

use crate::frames::produce;
use crate::groups::coordinator;
use crate::stage::{Client, Stage, batch, batch_of};

#[test]
fn a_partition_that_is_led_needs_no_election() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic_of("t", 2).await;
        let mut asked = elect_leaders::Request {
            topic_partitions: Some(vec![TopicPartitions {
                topic: text("t"),
                partitions: vec![1, 7],
                ..Default::default()
            }]),
            ..Default::default()
        };
        for (version, kind) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
            asked.election_type = if version == 0 { 0 } else { kind };
            let answer = client.ask(version, &asked).await;
            assert_eq!(answer.error_code, 0);
            let results = &answer.replica_election_results[0];
            let told: Vec<_> = results
                .partition_result
                .iter()
                .map(|one| (one.partition_id, one.error_code))
                .collect();
            assert_eq!(
                told,
                [
                    (1, ErrorCode::ElectionNotNeeded.code()),
                    (7, ErrorCode::UnknownTopicOrPartition.code())
                ]
            );
        }
        // Of all partitions only those are told where something happened.
        asked.topic_partitions = None;
        let answer = client.ask(2, &asked).await;
        let all = answer.replica_election_results.iter();
        assert_eq!(
            all.map(|topic| topic.partition_result.len()).sum::<usize>(),
            0
        );
        asked.election_type = 2;
        let answer = client.ask(2, &asked).await;
        assert_eq!(answer.error_code, ErrorCode::InvalidRequest.code());
    });
}

/// Asks that a partition's replicas be `replicas`; the error.
async fn reassign(client: &mut Client, topic: &str, replicas: Option<Vec<i32>>) -> i16 {
    use alter_partition_reassignments::{ReassignablePartition, ReassignableTopic, Request};
    let asked = Request {
        topics: vec![ReassignableTopic {
            name: text(topic),
            partitions: vec![ReassignablePartition {
                replicas,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    let answer = client.ask(1, &asked).await;
    assert_eq!((answer.error_code, answer.responses.len()), (0, 1));
    answer.responses[0].partitions[0].error_code
}

#[test]
fn a_replica_may_stay_where_it_is_and_goes_nowhere_else() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        assert_eq!(reassign(&mut client, "t", Some(vec![1])).await, 0);
        for (topic, replicas, error) in [
            ("u", Some(vec![1]), ErrorCode::UnknownTopicOrPartition),
            ("t", None, ErrorCode::NoReassignmentInProgress),
            ("t", Some(vec![]), ErrorCode::InvalidReplicaAssignment),
            ("t", Some(vec![1, 1]), ErrorCode::InvalidReplicaAssignment),
            ("t", Some(vec![1, 2]), ErrorCode::InvalidReplicaAssignment),
        ] {
            assert_eq!(reassign(&mut client, topic, replicas).await, error.code());
        }
        let none = list_partition_reassignments::Request::default();
        let answer = client.ask(0, &none).await;
        assert_eq!((answer.error_code, answer.topics.len()), (0, 0));
    });
}

#[test]
fn the_producers_of_a_partition_are_told_and_those_without_number_are_not() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        produce(&mut client, "t", batch(&["nobody"])).await;
        let producer = batch_of(77, 3, 0, &["a", "b"]);
        assert_eq!(produce(&mut client, "t", producer).await.error_code, 0);
        let topic = |name: &str, partition| describe_producers::TopicRequest {
            name: text(name),
            partition_indexes: vec![partition],
            ..Default::default()
        };
        let asked = describe_producers::Request {
            topics: vec![topic("t", 0), topic("t", 5), topic("u", 0), topic("..", 0)],
            ..Default::default()
        };
        let answer = client.ask(0, &asked).await;
        let parts: Vec<_> = answer.topics.iter().map(|t| &t.partitions[0]).collect();
        let known = &parts[0].active_producers;
        assert_eq!(known.len(), 1);
        assert_eq!(
            (
                known[0].producer_id,
                known[0].producer_epoch,
                known[0].last_sequence,
                known[0].last_timestamp,
                known[0].coordinator_epoch,
                known[0].current_txn_start_offset
            ),
            (77, 3, 1, 1001, -1, -1)
        );
        let errors: Vec<i16> = parts.iter().map(|part| part.error_code).collect();
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        let invalid = ErrorCode::InvalidTopicException.code();
        assert_eq!(errors, [0, unknown, unknown, invalid]);
    });
}

#[test]
fn the_quorum_is_this_node_and_its_log_grows_with_what_is_decided() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let mut asked = describe_quorum::Request {
            topics: vec![AskedQuorumTopic {
                topic_name: text("__cluster_metadata"),
                partitions: vec![AskedQuorumPartition::default()],
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut before = 0;
        for version in 0..=2 {
            client.topic(&format!("t{version}")).await;
            let answer = client.ask(version, &asked).await;
            assert_eq!(answer.error_code, 0);
            let part = &answer.topics[0].partitions[0];
            assert_eq!((part.error_code, part.leader_id), (0, 1));
            assert!(part.leader_epoch > 0);
            assert!(part.high_watermark > before);
            before = part.high_watermark;
            assert_eq!(part.current_voters.len(), 1);
            assert_eq!(part.current_voters[0].replica_id, 1);
            assert_eq!(part.current_voters[0].log_end_offset, before);
            assert_eq!(part.observers.len(), 0);
            assert_eq!(answer.nodes.len(), usize::from(version == 2));
        }
        asked.topics[0].topic_name = text("orders");
        let answer = client.ask(2, &asked).await;
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(answer.topics[0].partitions[0].error_code, unknown);
    });
}

/// Asks for one feature level; the error.
async fn update(client: &mut Client, feature: &str, level: i16, kind: i8, dry: bool) -> i16 {
    let asked = update_features::Request {
        feature_updates: vec![update_features::FeatureUpdateKey {
            feature: text(feature),
            max_version_level: level,
            upgrade_type: kind,
            ..Default::default()
        }],
        validate_only: dry,
        ..Default::default()
    };
    let answer = client.ask(2, &asked).await;
    answer.error_code
}

async fn finalized(client: &mut Client) -> Vec<(String, i16)> {
    let asked = api_versions::Request {
        client_software_name: text("story"),
        client_software_version: text("1"),
        ..Default::default()
    };
    let answer = client.ask(4, &asked).await;
    let features = answer.finalized_features.iter();
    features
        .map(|one| (one.name.as_str().to_owned(), one.max_version_level))
        .collect()
}

async fn heartbeat(client: &mut Client) -> i16 {
    let asked = consumer_group_heartbeat::Request {
        group_id: text("g"),
        member_id: text("m"),
        rebalance_timeout_ms: 1000,
        subscribed_topic_names: Some(vec![text("t")]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    client.ask(1, &asked).await.error_code
}

#[test]
fn group_version_switches_consumer_groups_off_and_on() {
    // rule W11
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let both = [("metadata.version".into(), 30), ("group.version".into(), 1)];
        assert_eq!(finalized(&mut client).await, both);
        let refused = ErrorCode::InvalidUpdateVersion.code();
        for (feature, level, kind) in [
            ("group.version", 0, 1),
            ("group.version", 2, 1),
            ("group.version", -1, 2),
            ("group.version", 1, 0),
            ("metadata.version", 29, 2),
            ("metadata.version", 31, 1),
            ("kraft.version", 1, 1),
            ("share.version", 1, 1),
        ] {
            assert_eq!(
                update(&mut client, feature, level, kind, false).await,
                refused
            );
        }
        assert_eq!(update(&mut client, "group.version", 0, 2, true).await, 0);
        assert_eq!(finalized(&mut client).await, both, "only validated");
        assert_eq!(
            update(&mut client, "metadata.version", 30, 1, false).await,
            0
        );
        assert_eq!(update(&mut client, "group.version", 0, 2, false).await, 0);
        assert_eq!(finalized(&mut client).await, both[..1]);
        let off = ErrorCode::UnsupportedVersion.code();
        coordinator(&mut client).await;
        assert_eq!(heartbeat(&mut client).await, off);
        assert_eq!(update(&mut client, "group.version", 0, 1, false).await, 0);
        assert_eq!(
            update(&mut client, "group.version", 1, 2, false).await,
            refused
        );
        assert_eq!(update(&mut client, "group.version", 1, 1, false).await, 0);
        assert_eq!(finalized(&mut client).await, both);
        assert_eq!(heartbeat(&mut client).await, 0);
    });
}

#[test]
fn older_versions_of_a_feature_update_tell_each_feature() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let mut asked = update_features::Request {
            feature_updates: vec![update_features::FeatureUpdateKey {
                feature: text("group.version"),
                max_version_level: 0,
                allow_downgrade: true,
                ..Default::default()
            }],
            ..Default::default()
        };
        let answer = client.ask(0, &asked).await;
        assert_eq!((answer.error_code, answer.results.len()), (0, 1));
        assert_eq!(answer.results[0].feature.as_str(), "group.version");
        asked.feature_updates[0].allow_downgrade = false;
        asked.feature_updates[0].max_version_level = 9;
        let answer = client.ask(0, &asked).await;
        let refused = ErrorCode::InvalidUpdateVersion.code();
        assert_eq!((answer.error_code, answer.results.len()), (refused, 0));
    });
}

#[test]
fn names_with_configuration_are_listed_by_kind() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let change = incremental_alter_configs::Request {
            resources: vec![incremental_alter_configs::AlterConfigsResource {
                resource_type: 32,
                resource_name: text("readers"),
                configs: vec![incremental_alter_configs::AlterableConfig {
                    name: text("consumer.session.timeout.ms"),
                    value: Some(text("50000")),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let changed = client.ask(1, &change).await;
        assert_eq!(changed.responses[0].error_code, 0);
        let list = async |client: &mut Client, version, kinds: &[i8]| {
            let asked = list_config_resources::Request {
                resource_types: kinds.to_vec(),
                ..Default::default()
            };
            let answer = client.ask(version, &asked).await;
            let names = answer.config_resources.iter();
            let names = names.map(|one| (one.resource_type, one.resource_name.as_str().to_owned()));
            (answer.error_code, names.collect::<Vec<_>>())
        };
        let (topic, group) = ((2, "t".to_owned()), (32, "readers".to_owned()));
        let (broker, logger) = ((4, "1".to_owned()), (8, "1".to_owned()));
        let found = list(&mut client, 1, &[]).await;
        assert_eq!(
            found,
            (0, vec![topic.clone(), broker, logger, group.clone()])
        );
        let found = list(&mut client, 1, &[32, 2]).await;
        assert_eq!(found, (0, vec![topic, group]));
        assert_eq!(list(&mut client, 1, &[16]).await, (0, vec![]));
        assert_eq!(list(&mut client, 0, &[]).await, (0, vec![]));
        let unknown = ErrorCode::UnsupportedVersion.code();
        assert_eq!(list(&mut client, 1, &[3]).await, (unknown, vec![]));
    });
}

#[test]
fn an_unknown_broker_cannot_be_forgotten_and_the_only_one_stays() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        for (broker_id, error) in [
            (9, ErrorCode::BrokerIdNotRegistered),
            (1, ErrorCode::InvalidRequest),
        ] {
            let asked = unregister_broker::Request {
                broker_id,
                ..Default::default()
            };
            let answer = client.ask(0, &asked).await;
            assert_eq!(answer.error_code, error.code());
        }
        client.topic("t").await;
    });
}
