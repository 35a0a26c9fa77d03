//! DescribeConfigs, IncrementalAlterConfigs, AlterConfigs.

use wire::ErrorCode;
use wire::messages::describe_configs::{DescribeConfigsResource, DescribeConfigsResourceResult};
use wire::messages::{alter_configs, describe_configs, incremental_alter_configs, text};

use crate::stage::{Client, Stage, settings};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

/// Code and message; the message is empty when there is none.
pub type Outcome = (i16, String);

pub async fn alter(
    client: &mut Client,
    version: i16,
    (kind, name): (i8, &str),
    changes: &[(i8, &str, Option<&str>)],
    validate_only: bool,
) -> Outcome {
    let asked = incremental_alter_configs::Request {
        resources: vec![incremental_alter_configs::AlterConfigsResource {
            resource_type: kind,
            resource_name: text(name),
            configs: changes
                .iter()
                .map(
                    |(operation, key, value)| incremental_alter_configs::AlterableConfig {
                        name: text(key),
                        config_operation: *operation,
                        value: value.map(text),
                        ..Default::default()
                    },
                )
                .collect(),
            ..Default::default()
        }],
        validate_only,
        ..Default::default()
    };
    let answer = client.ask(version, &asked).await;
    assert_eq!(answer.responses.len(), 1, "one answer for each resource");
    let told = &answer.responses[0];
    assert_eq!(
        (told.resource_type, told.resource_name.as_str()),
        (kind, name)
    );
    let message = told.error_message.as_ref().map(|text| text.to_string());
    (told.error_code, message.unwrap_or_default())
}

async fn set(client: &mut Client, resource: (i8, &str), key: &str, value: &str) {
    let outcome = alter(client, 1, resource, &[(SET, key, Some(value))], false).await;
    assert_eq!(outcome, (0, String::new()), "{key}={value}");
}

fn question(kind: i8, name: &str, keys: Option<&[&str]>) -> describe_configs::Request {
    describe_configs::Request {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: text(name),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| text(key)).collect()),
            ..Default::default()
        }],
        include_synonyms: true,
        ..Default::default()
    }
}

async fn described(
    client: &mut Client,
    kind: i8,
    name: &str,
    keys: Option<&[&str]>,
) -> Vec<DescribeConfigsResourceResult> {
    let mut answer = client.ask(4, &question(kind, name, keys)).await;
    let told = answer.results.remove(0);
    assert_eq!(told.error_code, 0, "{:?}", told.error_message);
    told.configs
}

async fn value(client: &mut Client, kind: i8, name: &str, key: &str) -> (Option<String>, i8) {
    let found = described(client, kind, name, Some(&[key])).await;
    assert_eq!(found.len(), 1, "{key}");
    (
        found[0].value.as_ref().map(|value| value.to_string()),
        found[0].config_source,
    )
}

/// Name, value and source of each synonym.
fn synonyms(config: &DescribeConfigsResourceResult) -> Vec<(String, Option<String>, i8)> {
    config
        .synonyms
        .iter()
        .map(|one| {
            let value = one.value.as_ref().map(|value| value.to_string());
            (one.name.to_string(), value, one.source)
        })
        .collect()
}

#[test]
fn every_key_of_a_topic_is_described_with_value_source_and_type() {
    // rule M11
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        for version in 1..=4 {
            let answer = client.ask(version, &question(TOPIC, "a", None)).await;
            let configs = &answer.results[0].configs;
            assert!(configs.len() >= 30, "{} keys", configs.len());
            let key = |name: &str| {
                configs
                    .iter()
                    .find(|one| one.name.as_str() == name)
                    .unwrap()
            };
            assert_eq!(key("retention.ms").value, Some(text("604800000")));
            assert_eq!(key("cleanup.policy").config_source, 5, "built in");
            assert!(
                configs
                    .iter()
                    .all(|one| !one.read_only && !one.is_sensitive)
            );
            if version >= 3 {
                assert_eq!(key("retention.ms").config_type, 5, "LONG");
                assert_eq!(key("cleanup.policy").config_type, 7, "LIST");
                assert_eq!(key("preallocate").config_type, 1, "BOOLEAN");
            }
        }
        let asked = describe_configs::Request {
            include_documentation: true,
            ..question(TOPIC, "a", None)
        };
        let answer = client.ask(4, &asked).await;
        assert!(
            answer.results[0]
                .configs
                .iter()
                .all(|one| one.documentation.is_some())
        );
    });
}

#[test]
fn asking_for_keys_leaves_the_others_out() {
    // rule M11
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        let some = described(
            &mut client,
            TOPIC,
            "a",
            Some(&["retention.ms", "no.such.key"]),
        )
        .await;
        assert_eq!(some.len(), 1);
        let all = described(&mut client, TOPIC, "a", None).await;
        let empty = described(&mut client, TOPIC, "a", Some(&[])).await;
        assert_eq!(
            all.len(),
            empty.len(),
            "an empty list asks for all, as in Kafka"
        );
    });
}

#[test]
fn the_nearest_layer_wins_and_the_others_are_its_synonyms() {
    // rule M11
    let stage = Stage::with(|config| config.settings = settings(&[("log.retention.hours", "24")]));
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        assert_eq!(
            value(&mut client, TOPIC, "a", "retention.ms").await,
            (Some("86400000".into()), 4),
            "hours of the configuration file, in milliseconds"
        );
        set(&mut client, (BROKER, ""), "log.retention.ms", "3000").await;
        assert_eq!(
            value(&mut client, TOPIC, "a", "retention.ms").await,
            (Some("3000".into()), 3)
        );
        set(&mut client, (BROKER, "1"), "log.retention.ms", "2000").await;
        assert_eq!(
            value(&mut client, TOPIC, "a", "retention.ms").await,
            (Some("2000".into()), 2)
        );
        set(&mut client, (TOPIC, "a"), "retention.ms", "1000").await;
        let found = described(&mut client, TOPIC, "a", Some(&["retention.ms"])).await;
        assert_eq!(found[0].config_source, 1);
        let names = synonyms(&found[0]);
        assert_eq!(
            names[..4],
            [
                ("retention.ms".into(), Some("1000".into()), 1),
                ("log.retention.ms".into(), Some("2000".into()), 2),
                ("log.retention.ms".into(), Some("3000".into()), 3),
                ("log.retention.hours".into(), Some("24".into()), 4),
            ]
        );
        let asked = describe_configs::Request {
            include_synonyms: false,
            ..question(TOPIC, "a", Some(&["retention.ms"]))
        };
        let answer = client.ask(4, &asked).await;
        assert!(
            answer.results[0].configs[0].synonyms.is_empty(),
            "nobody asked"
        );
    });
}

#[test]
fn a_broker_tells_what_can_change_while_it_runs_and_hides_secrets() {
    // rule M11
    let stage = Stage::with(|config| {
        config.settings = settings(&[("num.partitions", "7"), ("ssl.keystore.password", "hush")]);
    });
    stage.play(async {
        let mut client = stage.connect().await;
        let configs = described(&mut client, BROKER, "1", None).await;
        let key = |name: &str| {
            configs
                .iter()
                .find(|one| one.name.as_str() == name)
                .unwrap()
        };
        let partitions = key("num.partitions");
        assert_eq!(partitions.value, Some(text("7")));
        assert_eq!((partitions.config_source, partitions.read_only), (4, true));
        assert_eq!(
            synonyms(partitions),
            [
                ("num.partitions".into(), Some("7".into()), 4),
                ("num.partitions".into(), Some("1".into()), 5),
            ]
        );
        assert!(!key("message.max.bytes").read_only);
        let secret = key("ssl.keystore.password");
        assert!(secret.is_sensitive);
        assert_eq!((&secret.value, secret.config_type), (&None, 9));
        assert!(secret.synonyms.iter().all(|one| one.value.is_none()));
    });
}

#[test]
fn the_default_broker_has_only_what_was_set_for_all_brokers() {
    // rule M11
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        assert!(described(&mut client, BROKER, "", None).await.is_empty());
        set(&mut client, (BROKER, ""), "message.max.bytes", "2000000").await;
        set(&mut client, (BROKER, "1"), "message.max.bytes", "3000000").await;
        let configs = described(&mut client, BROKER, "", None).await;
        assert_eq!(configs.len(), 1);
        assert_eq!(configs[0].value, Some(text("2000000")));
        assert_eq!(configs[0].config_source, 3);
        let only = [("message.max.bytes".into(), Some("2000000".into()), 3)];
        assert_eq!(synonyms(&configs[0]), only);
        let mine = value(&mut client, BROKER, "1", "message.max.bytes").await;
        assert_eq!(mine, (Some("3000000".into()), 2));
    });
}

#[test]
fn resources_that_are_not_there_are_refused_one_by_one() {
    // rules M10 and M11
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        let strangers = [
            (TOPIC, "nobody", ErrorCode::UnknownTopicOrPartition),
            (TOPIC, "bad name", ErrorCode::InvalidTopicException),
            (BROKER, "9", ErrorCode::InvalidRequest),
            (BROKER, "one", ErrorCode::InvalidRequest),
            (GROUP, "", ErrorCode::InvalidRequest),
            (8, "1", ErrorCode::InvalidRequest),
            (77, "x", ErrorCode::InvalidRequest),
        ];
        let mut asked = question(TOPIC, "a", None);
        for (kind, name, code) in strangers {
            asked
                .resources
                .push(question(kind, name, None).resources.remove(0));
            let outcome = alter(&mut client, 1, (kind, name), &[], false).await;
            assert_eq!(outcome.0, code.code(), "{kind} {name}");
            assert!(!outcome.1.is_empty());
        }
        let answer = client.ask(4, &asked).await;
        let codes: Vec<i16> = answer.results.iter().map(|one| one.error_code).collect();
        let expected: Vec<i16> = std::iter::once(0)
            .chain(strangers.iter().map(|(_, _, code)| code.code()))
            .collect();
        assert_eq!(codes, expected);
        assert!(answer.results[1..].iter().all(|one| one.configs.is_empty()));
    });
}

#[test]
fn single_keys_are_set_and_deleted() {
    // rule M12
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        for version in 0..=1 {
            let both = [
                (SET, "retention.ms", Some("1000")),
                (SET, "segment.bytes", Some("2000000")),
            ];
            assert_eq!(
                alter(&mut client, version, (TOPIC, "a"), &both, false)
                    .await
                    .0,
                0
            );
            let now = value(&mut client, TOPIC, "a", "retention.ms").await;
            assert_eq!(now, (Some("1000".into()), 1));
            let delete = [(DELETE, "retention.ms", None)];
            assert_eq!(
                alter(&mut client, version, (TOPIC, "a"), &delete, false)
                    .await
                    .0,
                0
            );
            assert_eq!(
                alter(&mut client, version, (TOPIC, "a"), &delete, false)
                    .await
                    .0,
                0,
                "absent"
            );
            let now = value(&mut client, TOPIC, "a", "retention.ms").await;
            assert_eq!(now, (Some("604800000".into()), 5));
            let other = value(&mut client, TOPIC, "a", "segment.bytes").await;
            assert_eq!(other, (Some("2000000".into()), 1), "other keys stay");
        }
        let unknown = [(DELETE, "no.such.key", None)];
        assert_eq!(
            alter(&mut client, 1, (TOPIC, "a"), &unknown, false).await.0,
            0
        );
    });
}

#[test]
fn lists_grow_and_shrink_by_their_words() {
    // rule M12
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        let key = "follower.replication.throttled.replicas";
        let steps = [
            (APPEND, "0:1", "0:1"),
            (APPEND, "1:1,0:1", "0:1,1:1"),
            (SUBTRACT, "0:1", "1:1"),
            (SUBTRACT, "7:7", "1:1"),
            (SUBTRACT, "1:1", ""),
        ];
        for (operation, words, expected) in steps {
            let change = [(operation, key, Some(words))];
            assert_eq!(
                alter(&mut client, 1, (TOPIC, "a"), &change, false).await.0,
                0
            );
            let now = value(&mut client, TOPIC, "a", key).await;
            assert_eq!(now, (Some(expected.into()), 1), "after {operation} {words}");
        }
        // The default is what is appended to.
        let change = [(APPEND, "cleanup.policy", Some("delete"))];
        assert_eq!(
            alter(&mut client, 1, (TOPIC, "a"), &change, false).await.0,
            0
        );
        assert_eq!(
            value(&mut client, TOPIC, "a", "cleanup.policy").await.0,
            Some("delete".into())
        );
        let change = [(APPEND, "cleanup.policy", Some("compact"))];
        assert_eq!(
            alter(&mut client, 1, (TOPIC, "a"), &change, false).await.0,
            0
        );
        assert_eq!(
            value(&mut client, TOPIC, "a", "cleanup.policy").await.0,
            Some("delete,compact".into())
        );
        for operation in [APPEND, SUBTRACT] {
            let change = [(operation, "retention.ms", Some("1"))];
            let (code, message) = alter(&mut client, 1, (TOPIC, "a"), &change, false).await;
            assert_eq!(code, ErrorCode::InvalidConfig.code());
            assert!(message.contains("not LIST"), "{message}");
        }
    });
}

#[test]
fn changes_that_make_no_sense_change_nothing() {
    // rule M12; experience.md 7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        let good = (SET, "segment.bytes", Some("2000000"));
        let bad = [
            (
                (SET, "retention.mss", Some("1")),
                ErrorCode::InvalidConfig,
                "did you mean retention.ms?",
            ),
            (
                (SET, "retention.ms", Some("x")),
                ErrorCode::InvalidConfig,
                "LONG",
            ),
            (
                (SET, "retention.ms", None),
                ErrorCode::InvalidRequest,
                "Null value",
            ),
            (
                (APPEND, "cleanup.policy", None),
                ErrorCode::InvalidRequest,
                "Null value",
            ),
            (
                (9, "retention.ms", Some("1")),
                ErrorCode::InvalidRequest,
                "operation",
            ),
            (
                (SET, "segment.bytes", Some("1")),
                ErrorCode::InvalidRequest,
                "segment.bytes",
            ),
            (
                (SET, "max.message.bytes", Some("-1")),
                ErrorCode::InvalidConfig,
                "at least 0",
            ),
            (
                (SET, "remote.storage.enable", Some("true")),
                ErrorCode::InvalidConfig,
                "tiered",
            ),
        ];
        for (change, code, words) in bad {
            let outcome = alter(&mut client, 1, (TOPIC, "a"), &[good, change], false).await;
            assert_eq!(outcome.0, code.code(), "{change:?}: {}", outcome.1);
            assert!(outcome.1.contains(words), "{change:?}: {}", outcome.1);
        }
        let untouched = value(&mut client, TOPIC, "a", "segment.bytes").await;
        assert_eq!(untouched.1, 5, "all or nothing");
        let validated = alter(&mut client, 1, (TOPIC, "a"), &[good], true).await;
        assert_eq!(validated.0, 0);
        assert_eq!(
            value(&mut client, TOPIC, "a", "segment.bytes").await.1,
            5,
            "only checked"
        );
    });
}

#[test]
fn a_resource_named_twice_is_not_changed() {
    // rules M10 and M12
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        let once = incremental_alter_configs::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: text("a"),
            configs: vec![incremental_alter_configs::AlterableConfig {
                name: text("retention.ms"),
                value: Some(text("1")),
                ..Default::default()
            }],
            ..Default::default()
        };
        let asked = incremental_alter_configs::Request {
            resources: vec![once.clone(), once],
            ..Default::default()
        };
        let codes: Vec<i16> = client
            .ask(1, &asked)
            .await
            .responses
            .iter()
            .map(|one| one.error_code)
            .collect();
        assert_eq!(codes, [ErrorCode::InvalidRequest.code(); 2]);
        assert_eq!(value(&mut client, TOPIC, "a", "retention.ms").await.1, 5);
    });
}

#[test]
fn a_broker_changes_only_what_may_change_while_it_runs() {
    // rules M11 and M12
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        for broker in ["", "1"] {
            let fixed = [(SET, "num.partitions", Some("3"))];
            let (code, message) = alter(&mut client, 1, (BROKER, broker), &fixed, false).await;
            assert_eq!(code, ErrorCode::InvalidRequest.code());
            assert!(message.contains("configuration file"), "{message}");
            let unknown = [(SET, "log.retention.mss", Some("3"))];
            let (code, message) = alter(&mut client, 1, (BROKER, broker), &unknown, false).await;
            assert_eq!(code, ErrorCode::InvalidConfig.code());
            assert!(
                message.contains("did you mean log.retention.ms?"),
                "{message}"
            );
        }
        let other = [(SET, "log.retention.ms", Some("3"))];
        let (code, message) = alter(&mut client, 1, (BROKER, "9"), &other, false).await;
        assert_eq!(code, ErrorCode::InvalidRequest.code());
        assert!(message.contains("expected 1"), "{message}");
    });
}

#[test]
fn a_group_has_settings_before_it_has_members() {
    // rule M11
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let key = "consumer.session.timeout.ms";
        assert_eq!(
            value(&mut client, GROUP, "g", key).await,
            (Some("45000".into()), 5)
        );
        set(&mut client, (GROUP, "g"), key, "50000").await;
        assert_eq!(
            value(&mut client, GROUP, "g", key).await,
            (Some("50000".into()), 8)
        );
        assert_eq!(
            value(&mut client, GROUP, "h", key).await.1,
            5,
            "of this group only"
        );
    });
}

async fn replace(
    client: &mut Client,
    version: i16,
    names: &[&str],
    settings: &[(&str, Option<&str>)],
    validate_only: bool,
) -> Vec<i16> {
    let asked = alter_configs::Request {
        resources: names
            .iter()
            .map(|name| alter_configs::AlterConfigsResource {
                resource_type: TOPIC,
                resource_name: text(name),
                configs: settings
                    .iter()
                    .map(|(key, value)| alter_configs::AlterableConfig {
                        name: text(key),
                        value: value.map(text),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            })
            .collect(),
        validate_only,
        ..Default::default()
    };
    client
        .ask(version, &asked)
        .await
        .responses
        .iter()
        .map(|one| one.error_code)
        .collect()
}

#[test]
fn the_older_call_replaces_everything_that_was_set() {
    // rule M12
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        for version in 0..=2 {
            set(&mut client, (TOPIC, "a"), "retention.ms", "1000").await;
            let next = [("retention.bytes", Some("5"))];
            assert_eq!(
                replace(&mut client, version, &["a"], &next, true).await,
                [0]
            );
            assert_eq!(
                value(&mut client, TOPIC, "a", "retention.ms").await.1,
                1,
                "only checked"
            );
            assert_eq!(
                replace(&mut client, version, &["a"], &next, false).await,
                [0]
            );
            assert_eq!(
                value(&mut client, TOPIC, "a", "retention.ms").await.1,
                5,
                "not named"
            );
            let named = value(&mut client, TOPIC, "a", "retention.bytes").await;
            assert_eq!(named, (Some("5".into()), 1));
        }
        assert_eq!(replace(&mut client, 2, &["a"], &[], false).await, [0]);
        assert_eq!(value(&mut client, TOPIC, "a", "retention.bytes").await.1, 5);
    });
}

#[test]
fn the_older_call_refuses_nulls_duplicates_and_strangers() {
    // rules M10 and M12
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("a").await;
        set(&mut client, (TOPIC, "a"), "retention.ms", "1000").await;
        let invalid = ErrorCode::InvalidRequest.code();
        let null = [("retention.ms", None)];
        assert_eq!(
            replace(&mut client, 2, &["a"], &null, false).await,
            [invalid]
        );
        let twice = [("retention.ms", Some("1")), ("retention.ms", Some("2"))];
        assert_eq!(
            replace(&mut client, 2, &["a"], &twice, false).await,
            [invalid]
        );
        assert_eq!(
            replace(&mut client, 2, &["a", "a"], &[], false).await,
            [invalid; 2]
        );
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(
            replace(&mut client, 2, &["nobody"], &[], false).await,
            [unknown]
        );
        let wrong = [("retention.mss", Some("1"))];
        let refused = ErrorCode::InvalidConfig.code();
        assert_eq!(
            replace(&mut client, 2, &["a"], &wrong, false).await,
            [refused]
        );
        assert_eq!(
            value(&mut client, TOPIC, "a", "retention.ms").await.0,
            Some("1000".into())
        );
    });
}
