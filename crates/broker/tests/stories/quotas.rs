//! Client quotas: set and told, kept over a restart, and acting.

use wire::ErrorCode;
use wire::messages::alter_client_quotas::{self, OpData};
use wire::messages::describe_client_quotas::{self, ComponentData, EntryData};
use wire::messages::{AlteredQuotaPart, QuotaAlteration, describe_user_scram_credentials, text};

use crate::stage::{Client, Stage};

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
