//! Client quotas: set and told, kept over a restart, and acting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::alter_client_quotas::{self, OpData};
use wire::messages::describe_client_quotas::{self, ComponentData, EntryData};
use wire::messages::{
    self, AlteredQuotaPart, QuotaAlteration, create_partitions, create_topics, delete_topics,
    describe_user_scram_credentials, metadata, text,
};
use world::{Clock, Instant, World};

use crate::frames::{FETCH, fetch_request, produce, produce_request, values};
use crate::stage::{Client, Stage, batch, sleep};

/// Parts of an entity: kind and name, no name for the default.
type Parts<'a> = &'a [(&'a str, Option<&'a str>)];

fn alteration(parts: Parts<'_>, ops: &[(&str, Option<f64>)]) -> QuotaAlteration {
    QuotaAlteration {
        entity: parts
            .iter()
            .map(|(kind, name)| AlteredQuotaPart {
                entity_type: text(kind),
                entity_name: name.map(text),
                ..Default::default()
            })
            .collect(),
        ops: ops
            .iter()
            .map(|(key, value)| OpData {
                key: text(key),
                value: value.unwrap_or(0.0),
                remove: value.is_none(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

/// Changes one entity's quotas: the error and what is said of it.
async fn alter(
    client: &mut Client,
    parts: Parts<'_>,
    ops: &[(&str, Option<f64>)],
) -> (i16, Option<String>) {
    let asked = alter_client_quotas::Request {
        entries: vec![alteration(parts, ops)],
        ..Default::default()
    };
    let answer = client.ask(1, &asked).await;
    assert_eq!(answer.entries.len(), 1);
    let told = &answer.entries[0];
    let message = told.error_message.as_ref().map(ToString::to_string);
    (told.error_code, message)
}

/// Sets one quota, which is accepted.
pub async fn set(client: &mut Client, parts: Parts<'_>, key: &str, value: f64) {
    assert_eq!(alter(client, parts, &[(key, Some(value))]).await, (0, None));
}

/// Takes one quota away.
pub async fn unset(client: &mut Client, parts: Parts<'_>, key: &str) {
    assert_eq!(alter(client, parts, &[(key, None)]).await, (0, None));
}

fn component(kind: &str, match_type: i8, name: Option<&str>) -> ComponentData {
    ComponentData {
        entity_type: text(kind),
        match_type,
        r#match: name.map(text),
        ..Default::default()
    }
}

async fn describe(
    client: &mut Client,
    components: Vec<ComponentData>,
    strict: bool,
) -> describe_client_quotas::Response {
    let asked = describe_client_quotas::Request {
        components,
        strict,
        ..Default::default()
    };
    client.ask(1, &asked).await
}

/// `user=ann client-id=* producer_byte_rate=5`: an entry in one line.
fn line(entry: &EntryData) -> String {
    let parts = entry.entity.iter().map(|part| {
        let name = part.entity_name.as_ref().map_or("*", |name| name.as_str());
        format!("{}={name}", part.entity_type)
    });
    let values = entry
        .values
        .iter()
        .map(|value| format!("{}={}", value.key, value.value));
    parts.chain(values).collect::<Vec<_>>().join(" ")
}

async fn lines(client: &mut Client, components: Vec<ComponentData>, strict: bool) -> Vec<String> {
    let answer = describe(client, components, strict).await;
    assert_eq!(answer.error_code, 0);
    answer.entries.expect("entries").iter().map(line).collect()
}

const ANN: Parts<'static> = &[("user", Some("ann"))];
const EVERY_USER: Parts<'static> = &[("user", None)];
const ANNS_APP: Parts<'static> = &[("user", Some("ann")), ("client-id", Some("app"))];
const APP: Parts<'static> = &[("client-id", Some("app"))];
const ADDRESS: Parts<'static> = &[("ip", Some("10.0.0.1"))];

#[test]
fn quotas_are_found_by_exact_default_and_any_name() {
    // rule S7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        set(&mut client, ANN, "producer_byte_rate", 1.0).await;
        set(&mut client, EVERY_USER, "producer_byte_rate", 2.0).await;
        set(&mut client, ANNS_APP, "consumer_byte_rate", 3.0).await;
        set(&mut client, APP, "request_percentage", 0.5).await;
        set(&mut client, ADDRESS, "connection_creation_rate", 5.0).await;
        assert_eq!(lines(&mut client, vec![], false).await.len(), 5, "all");
        assert_eq!(
            lines(&mut client, vec![], true).await.len(),
            0,
            "no entity has no part"
        );
        let ann = || vec![component("user", 0, Some("ann"))];
        assert_eq!(
            lines(&mut client, ann(), false).await,
            [
                "user=ann producer_byte_rate=1",
                "user=ann client-id=app consumer_byte_rate=3"
            ]
        );
        assert_eq!(
            lines(&mut client, ann(), true).await,
            ["user=ann producer_byte_rate=1"]
        );
        assert_eq!(
            lines(&mut client, vec![component("user", 1, None)], true).await,
            ["user=* producer_byte_rate=2"]
        );
        let any = |kind: &str| vec![component(kind, 2, None)];
        assert_eq!(lines(&mut client, any("user"), false).await.len(), 3);
        assert_eq!(lines(&mut client, any("client-id"), false).await.len(), 2);
        assert_eq!(
            lines(&mut client, any("ip"), false).await,
            ["ip=10.0.0.1 connection_creation_rate=5"]
        );
        unset(&mut client, ANN, "producer_byte_rate").await;
        assert_eq!(lines(&mut client, ann(), true).await.len(), 0);
    });
}

#[test]
fn filters_that_mean_nothing_are_refused_in_kafkas_words() {
    // rule S7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let (invalid, unsupported) = (ErrorCode::InvalidRequest, ErrorCode::UnsupportedVersion);
        for (components, code, message) in [
            (
                vec![component("", 2, None)],
                invalid,
                "Invalid empty entity type.",
            ),
            (
                vec![component("user", 2, None), component("user", 1, None)],
                invalid,
                "Entity type user cannot appear more than once in the filter.",
            ),
            (
                vec![component("rack", 2, None)],
                unsupported,
                "Unsupported entity type rack",
            ),
            (
                vec![component("user", 0, None)],
                invalid,
                "Request specified MATCH_TYPE_EXACT, but set match string to null.",
            ),
            (
                vec![component("user", 1, Some("a"))],
                invalid,
                "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.",
            ),
            (
                vec![component("user", 2, Some("a"))],
                invalid,
                "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.",
            ),
            (
                vec![component("user", 7, None)],
                invalid,
                "Unknown match type 7",
            ),
            (
                vec![component("ip", 2, None), component("user", 2, None)],
                invalid,
                "Invalid entity filter component combination. IP filter component should not be \
                 used with user or clientId filter component.",
            ),
        ] {
            let answer = describe(&mut client, components, false).await;
            assert_eq!(answer.error_code, code.code());
            assert_eq!(answer.error_message.expect("words").as_str(), message);
            assert_eq!(answer.entries, None);
        }
    });
}

#[test]
fn each_entity_has_its_own_answer_and_only_right_ones_change() {
    // rules S7 and M10
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let invalid = ErrorCode::InvalidRequest.code();
        for (parts, ops, message) in [
            (
                &[("rack", Some("a"))] as Parts<'_>,
                &[("producer_byte_rate", Some(1.0))] as &[_],
                "Unhandled client quota entity type: rack",
            ),
            (
                &[("ip", Some("10.0.0.1")), ("user", None)],
                &[("producer_byte_rate", Some(1.0))],
                "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId",
            ),
            (ANN, &[("speed", Some(1.0))], "Invalid configuration key speed"),
            (ANN, &[("producer_byte_rate", Some(0.0))], "Quota producer_byte_rate must be greater than 0"),
            (ANN, &[("producer_byte_rate", Some(f64::NAN))], "Quota producer_byte_rate must be greater than 0"),
            (&[], &[("producer_byte_rate", Some(1.0))], "Invalid empty client quota entity"),
            (
                ANN,
                &[("producer_byte_rate", Some(1.0)), ("producer_byte_rate", Some(2.0))],
                "Ignoring duplicate entity ClientQuotaEntity(entries={user=ann})",
            ),
        ] {
            let (code, said) = alter(&mut client, parts, ops).await;
            assert_eq!((code, said.as_deref()), (invalid, Some(message)));
        }
        // Unknown or absent, what is taken away need not be there.
        assert_eq!(alter(&mut client, ANN, &[("speed", None)]).await.0, 0);
        let mut asked = alter_client_quotas::Request {
            entries: vec![
                alteration(ANN, &[("producer_byte_rate", Some(7.0))]),
                alteration(APP, &[("producer_byte_rate", Some(-7.0))]),
            ],
            validate_only: true,
            ..Default::default()
        };
        for version in [0, 1] {
            let answer = client.ask(version, &asked).await;
            let codes: Vec<i16> = answer.entries.iter().map(|told| told.error_code).collect();
            assert_eq!(codes, [0, invalid]);
        }
        assert_eq!(lines(&mut client, vec![], false).await.len(), 0, "only asked");
        asked.validate_only = false;
        client.ask(1, &asked).await;
        assert_eq!(
            lines(&mut client, vec![], false).await,
            ["user=ann producer_byte_rate=7"]
        );
    });
}

#[test]
fn a_restarted_node_keeps_its_quotas() {
    // rule S7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        set(&mut client, ANNS_APP, "producer_byte_rate", 9.0).await;
    });
    let Stage { sim, broker } = stage;
    broker
        .drain(std::time::Duration::from_secs(1))
        .expect("drains");
    let stage = Stage::on(sim, |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        assert_eq!(
            lines(&mut client, vec![], false).await,
            ["user=ann client-id=app producer_byte_rate=9"]
        );
    });
}

#[test]
fn no_user_has_scram_credentials() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let user = |name: &str| describe_user_scram_credentials::UserName {
            name: text(name),
            ..Default::default()
        };
        let asked = describe_user_scram_credentials::Request {
            users: Some(vec![user("ann"), user("bob"), user("bob")]),
            ..Default::default()
        };
        let answer = client.ask(0, &asked).await;
        let told: Vec<_> = answer
            .results
            .iter()
            .map(|one| (one.user.to_string(), one.error_code))
            .collect();
        assert_eq!(
            told,
            [
                ("ann".to_owned(), ErrorCode::ResourceNotFound.code()),
                ("bob".to_owned(), ErrorCode::DuplicateResource.code())
            ]
        );
        let answer = client
            .ask(0, &describe_user_scram_credentials::Request::default())
            .await;
        assert_eq!((answer.error_code, answer.results.len()), (0, 0));
    });
}

/// The client id of the stories' clients.
const STORY: Parts<'static> = &[("client-id", Some("story"))];

/// A record of so many bytes.
fn heavy(bytes: usize) -> Bytes {
    batch(&["x".repeat(bytes).as_str()])
}

async fn produce_throttled(client: &mut Client, version: i16, bytes: usize) -> i32 {
    let answer = client
        .ask(version, &produce_request("t", 0, heavy(bytes)))
        .await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    answer.throttle_time_ms
}

/// How long the client waits for an answer to something small, in virtual time.
async fn wait_for_answer(stage: &Stage, client: &mut Client) -> Duration {
    let began = stage.sim.world.clock.now();
    client.ask(9, &metadata::Request::default()).await;
    stage.sim.world.clock.now().since(began)
}

#[test]
fn a_producer_over_its_quota_is_answered_at_once_and_then_not_read() {
    // rule W9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        set(&mut client, STORY, "producer_byte_rate", 1_000.0).await;
        for version in [3, 5, 6, 9, 12] {
            let began = stage.sim.world.clock.now();
            let throttle = produce_throttled(&mut client, version, 20_000).await;
            let took = stage.sim.world.clock.now().since(began);
            assert!(throttle > 9_000, "version {version}: {throttle} ms");
            assert!(took < Duration::from_secs(1), "answered after {took:?}");
            let waited = wait_for_answer(&stage, &mut client).await;
            let told = Duration::from_millis(throttle as u64);
            assert!(
                waited >= told - Duration::from_millis(1),
                "waited {waited:?}"
            );
            assert!(waited < told + Duration::from_secs(1), "waited {waited:?}");
            // What was sent is forgotten before the next version's turn.
            sleep(Duration::from_secs(11)).await;
        }
        let throttles = stage.broker.metrics().throttles;
        assert_eq!(throttles["producer_byte_rate"].throttles, 5);
        assert!(throttles["producer_byte_rate"].wait_ms > 45_000);
    });
}

#[test]
fn acknowledgements_that_nobody_waits_for_do_not_evade_the_quota() {
    // rule W9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        set(&mut client, STORY, "producer_byte_rate", 1_000.0).await;
        // The time of such requests is not counted.
        set(&mut client, STORY, "request_percentage", 1e-9).await;
        sleep(Duration::from_secs(20)).await;
        let mut request = produce_request("t", 0, heavy(30_000));
        request.acks = 0;
        client.send_request(9, &request).await;
        sleep(Duration::from_millis(10)).await;
        let waited = wait_for_answer(&stage, &mut client).await;
        assert!(waited > Duration::from_secs(15), "waited {waited:?}");
    });
}

#[test]
fn others_go_on_while_one_is_held_back() {
    // rules W9 and S7
    let stage = Stage::with(|config| config.reactors = Some(1));
    stage.play(async {
        let mut client = stage.connect().await;
        let mut other = stage.connect().await;
        client.topic("t").await;
        set(&mut client, STORY, "producer_byte_rate", 1_000.0).await;
        assert!(produce_throttled(&mut client, 9, 50_000).await > 0);
        let waited = wait_for_answer(&stage, &mut other).await;
        assert!(waited < Duration::from_secs(1), "waited {waited:?}");
        assert!(
            produce_throttled(&mut other, 9, 10).await > 0,
            "one client id has one allowance, however many connections it opens"
        );
    });
}

#[test]
fn a_reader_over_its_quota_is_told_nothing_and_keeps_its_session() {
    // rules W9 and F5
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        for _ in 0..4 {
            assert_eq!(produce(&mut client, "t", heavy(6_000)).await.error_code, 0);
        }
        let mut request = fetch_request("t", 0);
        request.session_epoch = 0;
        request.max_bytes = 7_000;
        let answer = client.ask(FETCH, &request).await;
        let session = answer.session_id;
        assert!(session > 0);
        set(&mut client, STORY, "consumer_byte_rate", 1_000.0).await;
        request.session_id = session;
        let mut offset = 0;
        let mut throttled = 0;
        // What was read counts until its window is forgotten, as on Kafka.
        for epoch in 1..=40 {
            request.session_epoch = epoch;
            request.topics[0].partitions[0].fetch_offset = offset;
            let answer = client.ask(FETCH, &request).await;
            assert_eq!((answer.error_code, answer.session_id), (0, session));
            if answer.throttle_time_ms > 0 {
                throttled += 1;
                assert!(answer.responses.is_empty(), "a throttled answer is empty");
                continue;
            }
            for topic in &answer.responses {
                let found = values(&topic.partitions[0].records);
                offset = found.last().map_or(offset, |(offset, _)| offset + 1);
            }
            if offset == 4 {
                break;
            }
        }
        assert_eq!(offset, 4, "everything was read in the end");
        assert!(throttled > 0, "24 kB at 1 kB a second");
    });
}

#[test]
fn a_batch_larger_than_the_quota_allows_is_read_all_the_same() {
    // rule W9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        assert_eq!(produce(&mut client, "t", heavy(6_000)).await.error_code, 0);
        set(&mut client, STORY, "consumer_byte_rate", 1.0).await;
        let answer = client.ask(FETCH, &fetch_request("t", 0)).await;
        assert_eq!(answer.throttle_time_ms, 0);
        assert_eq!(values(&answer.responses[0].partitions[0].records).len(), 1);
        let answer = client.ask(FETCH, &fetch_request("t", 0)).await;
        assert!(answer.throttle_time_ms > 1_000_000, "and paid for");
        assert!(answer.responses.is_empty());
    });
}

#[test]
fn a_long_poll_that_finds_too_much_ends_empty() {
    // rule W9
    let stage = Stage::new();
    stage.play(async {
        let mut reader = stage.connect().await;
        let mut writer = stage.connect().await;
        reader.topic("t").await;
        set(&mut writer, STORY, "consumer_byte_rate", 100.0).await;
        // Something was read before, so the next batch is not alone.
        assert_eq!(produce(&mut writer, "t", heavy(500)).await.error_code, 0);
        reader.ask(FETCH, &fetch_request("t", 0)).await;
        let mut request = fetch_request("t", 1);
        request.max_wait_ms = 60_000;
        reader.send_request(FETCH, &request).await;
        sleep(Duration::from_millis(10)).await;
        assert_eq!(produce(&mut writer, "t", heavy(900)).await.error_code, 0);
        let (_, answer) = reader.answer::<wire::messages::fetch::Request>(FETCH).await;
        assert!(answer.throttle_time_ms > 0);
        assert!(answer.responses.is_empty());
    });
}

#[test]
fn a_quota_that_is_taken_away_lets_go_of_whom_it_holds() {
    // rules S7 and W9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let mut admin = stage.connect().await;
        client.topic("t").await;
        set(&mut client, STORY, "producer_byte_rate", 1.0).await;
        let throttle = produce_throttled(&mut client, 9, 50_000).await;
        assert!(
            throttle > 10_000_000,
            "more than a hundred days: {throttle}"
        );
        client.send_request(9, &metadata::Request::default()).await;
        sleep(Duration::from_secs(5)).await;
        // More is still too little.
        set(&mut admin, STORY, "producer_byte_rate", 2_000.0).await;
        sleep(Duration::from_secs(1)).await;
        let began = stage.sim.world.clock.now();
        unset(&mut admin, STORY, "producer_byte_rate").await;
        client.answer::<metadata::Request>(9).await;
        let waited = stage.sim.world.clock.now().since(began);
        assert!(waited < Duration::from_secs(1), "waited {waited:?}");
        assert_eq!(produce_throttled(&mut client, 9, 50_000).await, 0);
    });
}

#[test]
fn a_frame_that_was_begun_is_taken_to_its_end() {
    // rule W9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        set(&mut client, STORY, "producer_byte_rate", 1_000.0).await;
        let first = messages::encode_request(
            9,
            101,
            Some("story"),
            &produce_request("t", 0, heavy(20_000)),
        )
        .unwrap();
        let second = messages::encode_request(
            9,
            102,
            Some("story"),
            &produce_request("t", 0, heavy(90_000)),
        )
        .unwrap();
        let third =
            messages::encode_request(9, 103, Some("story"), &produce_request("t", 0, heavy(10)))
                .unwrap();
        // The second is cut where the first is answered.
        client.send(&[&first[..], &second[..50]].concat()).await;
        let (correlation, answer) = client.answer::<wire::messages::produce::Request>(9).await;
        assert_eq!(correlation, 101);
        assert!(answer.throttle_time_ms > 0);
        client.send(&[&second[50..], &third[..]].concat()).await;
        let began = stage.sim.world.clock.now();
        let (correlation, _) = client.answer::<wire::messages::produce::Request>(9).await;
        assert_eq!(correlation, 102);
        assert!(stage.sim.world.clock.now().since(began) < Duration::from_secs(1));
        assert_eq!(
            stage.broker.metrics().request_bytes,
            0,
            "nothing is held meanwhile"
        );
        let (correlation, _) = client.answer::<wire::messages::produce::Request>(9).await;
        assert_eq!(correlation, 103);
        let waited = stage.sim.world.clock.now().since(began);
        assert!(waited > Duration::from_secs(60), "behind both: {waited:?}");
    });
}

#[test]
fn a_drain_does_not_wait_for_who_is_held_back() {
    // rule W9
    let stage = Stage::new();
    let client = stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        set(&mut client, STORY, "producer_byte_rate", 1.0).await;
        assert!(produce_throttled(&mut client, 9, 50_000).await > 0);
        client
    });
    let Stage { sim, broker } = stage;
    let began = sim.world.clock.now();
    broker.drain(Duration::from_secs(3_600)).unwrap();
    assert!(sim.world.clock.now().since(began) < Duration::from_secs(60));
    drop(client);
}

fn creation(name: &str, partitions: i32) -> create_topics::Request {
    create_topics::Request {
        topics: vec![create_topics::CreatableTopic {
            name: text(name),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 1_000,
        ..Default::default()
    }
}

#[test]
fn topics_that_come_too_fast_are_refused_or_slowed_down() {
    // rule S7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        set(&mut client, STORY, "controller_mutation_rate", 1.0).await;
        let exceeded = ErrorCode::ThrottlingQuotaExceeded.code();
        // A burst that begins within the quota is taken whole.
        let answer = client.ask(7, &creation("a", 15)).await;
        assert_eq!(
            (answer.topics[0].error_code, answer.throttle_time_ms),
            (0, 0)
        );
        let answer = client.ask(7, &creation("b", 1)).await;
        assert_eq!(answer.topics[0].error_code, exceeded);
        assert!(
            (3_900..=4_000).contains(&answer.throttle_time_ms),
            "four more than eleven"
        );
        // It was refused, and the client waits: then there is room.
        let answer = client.ask(7, &creation("b", 3)).await;
        assert_eq!(answer.topics[0].error_code, 0);
        let grow = create_partitions::Request {
            topics: vec![create_partitions::CreatePartitionsTopic {
                name: text("a"),
                count: 20,
                assignments: None,
                ..Default::default()
            }],
            timeout_ms: 1_000,
            ..Default::default()
        };
        let answer = client.ask(3, &grow).await;
        assert_eq!(answer.results[0].error_code, exceeded);
        let delete = |name: &str| delete_topics::Request {
            topic_names: vec![text(name)],
            timeout_ms: 1_000,
            ..Default::default()
        };
        let answer = client.ask(5, &delete("a")).await;
        assert_eq!(answer.responses[0].error_code, 0, "it had waited");
        let answer = client.ask(5, &delete("b")).await;
        assert_eq!(answer.responses[0].error_code, exceeded);
        // Older clients do not know the error: it is done, and they wait.
        let answer = client.ask(4, &delete("b")).await;
        assert_eq!(answer.responses[0].error_code, 0);
        assert!(answer.throttle_time_ms > 0);
        let answer = client.ask(5, &creation("c", 1)).await;
        assert_eq!(answer.topics[0].error_code, 0);
    });
}

#[test]
fn connections_of_an_address_that_come_too_fast_are_closed_after_a_while() {
    // rule S7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        set(
            &mut client,
            &[("ip", None)],
            "connection_creation_rate",
            1.0,
        )
        .await;
        let mut answered = 0;
        for _ in 0..20 {
            let mut newcomer = stage.connect().await;
            let began = stage.sim.world.clock.now();
            newcomer
                .send_request(9, &metadata::Request::default())
                .await;
            if newcomer.frame().await.is_some() {
                answered += 1;
            } else {
                assert!(stage.sim.world.clock.now().since(began) > Duration::from_millis(1));
            }
        }
        assert!((10..20).contains(&answered), "{answered} of 20");
        assert!(stage.broker.metrics().throttles["connection_creation_rate"].throttles > 0);
        unset(&mut client, &[("ip", None)], "connection_creation_rate").await;
        assert!(wait_for_answer(&stage, &mut stage.connect().await).await < Duration::from_secs(1));
    });
}

#[test]
fn where_nobody_has_a_quota_nothing_is_measured() {
    // rule S7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        set(&mut client, ANN, "producer_byte_rate", 1.0).await;
        set(
            &mut client,
            &[("client-id", Some("other"))],
            "producer_byte_rate",
            1.0,
        )
        .await;
        assert_eq!(produce_throttled(&mut client, 9, 50_000).await, 0);
        set(
            &mut client,
            &[("user", Some("ANONYMOUS"))],
            "producer_byte_rate",
            1.0,
        )
        .await;
        assert!(
            produce_throttled(&mut client, 9, 50_000).await > 0,
            "who says no name"
        );
    });
}

/// A clock that goes on a little whenever somebody looks at it: work takes time.
struct Ticking {
    clock: Arc<dyn Clock>,
    looks: AtomicU64,
}

impl Clock for Ticking {
    fn now(&self) -> Instant {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        self.clock.now().after(Duration::from_micros(looks))
    }

    fn wall_ms(&self) -> i64 {
        self.clock.wall_ms()
    }
}

#[test]
fn a_client_that_takes_too_much_time_waits_a_second_at_most() {
    // rules W9 and S7
    let mut sim = World::sim(7);
    sim.world.clock = Arc::new(Ticking {
        clock: sim.world.clock.clone(),
        looks: AtomicU64::new(0),
    });
    let stage = Stage::on(sim, |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        assert_eq!(produce(&mut client, "t", heavy(10)).await.error_code, 0);
        set(&mut client, STORY, "request_percentage", 1e-6).await;
        // Answered at once, in the handler, in a future, from the log.
        let answer = client.ask(9, &metadata::Request::default()).await;
        assert_eq!(answer.throttle_time_ms, 1_000);
        let answer = client.ask(7, &creation("u", 1)).await;
        assert_eq!(
            (answer.topics[0].error_code, answer.throttle_time_ms),
            (0, 1_000)
        );
        assert_eq!(produce_throttled(&mut client, 9, 10).await, 1_000);
        let answer = client.ask(FETCH, &fetch_request("t", 0)).await;
        assert_eq!(answer.throttle_time_ms, 1_000);
        assert!(answer.responses.is_empty());
        let versions = messages::api_versions::Request {
            client_software_name: text("story"),
            client_software_version: text("1"),
            ..Default::default()
        };
        for version in 1..=4 {
            let answer = client.ask(version, &versions).await;
            assert_eq!(answer.throttle_time_ms, 1_000);
        }
        let waited = wait_for_answer(&stage, &mut client).await;
        assert!(waited > Duration::from_millis(900), "waited {waited:?}");
    });
}
