//! Metadata and FindCoordinator.

use broker::Advertised;
use wire::ErrorCode;
use wire::messages::metadata::{MetadataRequestTopic, Request, Response};
use wire::messages::{find_coordinator, text};

use crate::stage::{Client, PORT, Stage, settings};

fn named(names: &[&str]) -> Request {
    Request {
        topics: Some(
            names
                .iter()
                .map(|name| MetadataRequestTopic {
                    name: Some(text(name)),
                    ..Default::default()
                })
                .collect(),
        ),
        allow_auto_topic_creation: false,
        ..Default::default()
    }
}

fn names(response: &Response) -> Vec<String> {
    response
        .topics
        .iter()
        .filter_map(|topic| topic.name.as_ref().map(|n| n.to_string()))
        .collect()
}

async fn two_topics(client: &mut Client) {
    client.topic("a").await;
    client.topic("b").await;
}

#[test]
fn no_list_asks_for_all_topics_and_an_empty_one_for_none() {
    // rule M5
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        two_topics(&mut client).await;
        let old = Request {
            allow_auto_topic_creation: true,
            ..named(&[])
        };
        let all = Request {
            topics: None,
            ..old.clone()
        };
        assert_eq!(names(&client.ask(1, &all).await), ["a", "b"]);
        assert_eq!(names(&client.ask(12, &all).await), ["a", "b"]);
        assert!(client.ask(1, &old).await.topics.is_empty());
        assert_eq!(
            names(&client.ask(0, &old).await),
            ["a", "b"],
            "version 0 has no null"
        );
    });
}

#[test]
fn topic_ids_and_null_names_need_version_twelve() {
    // rule M5
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        two_topics(&mut client).await;
        let id = client.ask(12, &named(&["a"])).await.topics[0].topic_id;
        let by_id = Request {
            topics: Some(vec![MetadataRequestTopic {
                topic_id: id,
                name: None,
                ..Default::default()
            }]),
            ..named(&[])
        };
        assert_eq!(names(&client.ask(12, &by_id).await), ["a"]);
        let mut old = by_id.clone();
        old.topics.as_mut().unwrap()[0].name = Some(text("a"));
        let refused = client.ask(10, &old).await;
        assert_eq!(
            refused.topics[0].error_code,
            ErrorCode::InvalidRequest.code()
        );
        let unknown = Request {
            topics: Some(vec![MetadataRequestTopic {
                topic_id: wire::TopicId([1; 16]).into(),
                name: None,
                ..Default::default()
            }]),
            ..named(&[])
        };
        let refused = client.ask(12, &unknown).await;
        assert_eq!(
            refused.topics[0].error_code,
            ErrorCode::UnknownTopicId.code()
        );
    });
}

#[test]
fn a_topic_comes_into_being_only_if_client_and_broker_both_allow_it() {
    // rule M6
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let allowed = Request {
            allow_auto_topic_creation: true,
            ..named(&["new"])
        };
        let first = client.ask(9, &named(&["new"])).await;
        assert_eq!(
            first.topics[0].error_code,
            ErrorCode::UnknownTopicOrPartition.code()
        );
        crate::stage::sleep(std::time::Duration::from_secs(1)).await;
        let still = client.ask(9, &allowed).await;
        assert_eq!(
            still.topics[0].error_code,
            ErrorCode::UnknownTopicOrPartition.code()
        );
        crate::stage::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(
            client.ask(9, &named(&["new"])).await.topics[0].error_code,
            0
        );
        let bad = Request {
            allow_auto_topic_creation: true,
            ..named(&["not/a/name"])
        };
        let refused = client.ask(9, &bad).await;
        assert_eq!(
            refused.topics[0].error_code,
            ErrorCode::InvalidTopicException.code()
        );
    });
    let stage = Stage::with(|config| {
        config.settings = settings(&[("auto.create.topics.enable", "false")]);
    });
    stage.play(async {
        let mut client = stage.connect().await;
        let asked = Request {
            allow_auto_topic_creation: true,
            ..named(&["new"])
        };
        client.ask(9, &asked).await;
        crate::stage::sleep(std::time::Duration::from_secs(1)).await;
        let refused = client.ask(9, &asked).await;
        assert_eq!(
            refused.topics[0].error_code,
            ErrorCode::UnknownTopicOrPartition.code()
        );
    });
}

#[test]
fn operations_are_told_only_when_asked_for() {
    // rule M7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        let plain = client.ask(9, &named(&["a"])).await;
        assert_eq!(plain.topics[0].topic_authorized_operations, i32::MIN);
        assert_eq!(plain.cluster_authorized_operations, i32::MIN);
        let asked = Request {
            include_cluster_authorized_operations: true,
            include_topic_authorized_operations: true,
            ..named(&["a"])
        };
        let told = client.ask(9, &asked).await;
        assert!(told.topics[0].topic_authorized_operations > 0);
        assert!(told.cluster_authorized_operations > 0);
    });
}

#[test]
fn the_controller_is_a_broker_that_is_listed() {
    // rule M8
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let answer = client.ask(9, &named(&[])).await;
        assert!(
            answer
                .brokers
                .iter()
                .any(|broker| broker.node_id == answer.controller_id)
        );
        assert_eq!(answer.brokers[0].port, i32::from(PORT));
        assert!(answer.cluster_id.is_some_and(|id| id.as_str().len() == 22));
    });
}

#[test]
fn an_explicit_address_is_told_to_everybody() {
    let stage = Stage::with(|config| {
        config.listeners[0].advertised = Some(Advertised {
            host: "kafka.example".into(),
            port: 19092,
        });
    });
    stage.play(async {
        let mut client = stage.connect().await;
        let broker = client.ask(9, &named(&[])).await.brokers[0].clone();
        assert_eq!(
            (broker.host.as_str(), broker.port),
            ("kafka.example", 19092)
        );
        let asked = find_coordinator::Request {
            key: text("g"),
            ..Default::default()
        };
        client.ask(1, &asked).await;
        crate::stage::sleep(std::time::Duration::from_secs(1)).await;
        let found = client.ask(1, &asked).await;
        assert_eq!(
            (found.error_code, found.host.as_str(), found.port),
            (0, "kafka.example", 19092)
        );
    });
}

#[test]
fn the_cluster_keeps_its_name_and_topics_over_a_restart() {
    let stage = Stage::new();
    let before = stage.play(async {
        let mut client = stage.connect().await;
        two_topics(&mut client).await;
        client.ask(12, &named(&["a", "b"])).await
    });
    let sim = stage.sim.restart_after_power_cut(1);
    let stage = Stage::on(sim, |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        let after = client.ask(12, &named(&["a", "b"])).await;
        assert_eq!(after.cluster_id, before.cluster_id);
        let ids = |answer: &Response| answer.topics.iter().map(|t| t.topic_id).collect::<Vec<_>>();
        assert_eq!(ids(&after), ids(&before));
    });
}

#[test]
fn coordinators_of_transactions_are_refused_with_words() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let asked = find_coordinator::Request {
            key: text("tx"),
            key_type: 1,
            ..Default::default()
        };
        let refused = client.ask(2, &asked).await;
        assert_eq!(refused.error_code, ErrorCode::UnsupportedVersion.code());
        assert!(refused.error_message.is_some());
    });
}
