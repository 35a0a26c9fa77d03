//! What the commands do, say and refuse.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use wire::ErrorCode;
use wire::messages::{self, Request, offset_commit, text};

use crate::process::{Server, directory, run};

/// What a row says under some names.
fn pick(row: &Value, names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| row[*name].clone()).collect()
}

fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

/// One request of the Kafka protocol, from outside.
#[expect(clippy::disallowed_methods, reason = "a client of the world outside")]
pub fn ask<T: Request>(brokers: &str, version: i16, request: &T) -> T::Response {
    let mut stream = TcpStream::connect(brokers).unwrap();
    let frame = messages::encode_request(version, 1, Some("story"), request).unwrap();
    stream.write_all(&frame).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut answer = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).unwrap();
    messages::decode_response::<T>(version, answer.into())
        .unwrap()
        .1
}

#[test]
fn a_topic_lives_from_its_creation_to_its_removal() {
    // experience.md 7
    let server = Server::ephemeral();
    assert!(server.rows(&["topic", "ls"]).is_empty());

    let checked = server.rows(&["topic", "create", "orders", "-p", "3", "--dry-run"]);
    assert_eq!(
        pick(&checked[0], &["topic", "partitions", "dry_run"]),
        [json!("orders"), json!(3), json!(true)]
    );
    assert!(server.rows(&["topic", "ls"]).is_empty(), "only checked");

    let created = server.rows(&[
        "topic",
        "create",
        "orders",
        "-p",
        "3",
        "-c",
        "retention.ms=3600000",
    ]);
    let told = pick(&created[0], &["topic", "partitions", "replicas", "dry_run"]);
    assert_eq!(told, [json!("orders"), json!(3), json!(1), json!(false)]);
    let listed = server.rows(&["topic", "ls"]);
    assert_eq!(
        pick(&listed[0], &["topic", "id", "partitions"]),
        [json!("orders"), created[0]["id"].clone(), json!(3)]
    );

    let described = server.rows(&["topic", "describe", "orders"]);
    assert_eq!(
        column(&described[..3], "partition"),
        [json!(0), json!(1), json!(2)]
    );
    let offsets = pick(
        &described[0],
        &["leader", "log_start_offset", "high_watermark"],
    );
    assert_eq!(offsets, [json!(1), json!(0), json!(0)]);
    let config = pick(&described[3], &["config", "value"]);
    assert_eq!(config, [json!("retention.ms"), json!("3600000")]);
    assert_eq!(described.len(), 4, "only what was set");
    assert!(server.rows(&["topic", "describe", "orders", "--all"]).len() > 30);

    server.rows(&[
        "topic",
        "alter",
        "orders",
        "-s",
        "segment.bytes=2000000",
        "-d",
        "retention.ms",
    ]);
    server.rows(&["topic", "alter", "orders", "-p", "5"]);
    let described = server.rows(&["topic", "describe", "orders"]);
    assert_eq!(column(&described[5..], "config"), [json!("segment.bytes")]);

    let plan = server.run(&["topic", "rm", "orders"]);
    let (exit, [what, cause, next]) = plan.only_failure();
    assert_eq!((exit, what.as_str()), (2, "topics: nothing removed"));
    assert!(cause.contains("--yes"), "{cause}");
    assert_eq!(next, "duramen topic rm --yes orders");
    let shown: Value = serde_json::from_str(plan.stdout.trim()).unwrap();
    assert_eq!(shown["removed"], false);
    assert_eq!(
        server.rows(&["topic", "rm", "orders", "--dry-run"])[0]["removed"],
        false
    );
    assert_eq!(server.rows(&["topic", "ls"]).len(), 1, "only a plan");

    assert_eq!(
        server.rows(&["topic", "rm", "-y", "orders"])[0]["removed"],
        true
    );
    assert!(server.rows(&["topic", "ls"]).is_empty());
}

#[test]
fn records_come_back_with_keys_headers_and_from_any_place() {
    // experience.md 7
    let server = Server::ephemeral();
    server.rows(&["topic", "create", "t", "-p", "3"]);
    for (codec, value) in [
        ("none", "v0"),
        ("gzip", "v1"),
        ("snappy", "v2"),
        ("lz4", "v3"),
        ("zstd", "v4"),
    ] {
        let line = format!("key:{value}:x");
        let arguments = [
            "produce", "t", "-K", ":", "-z", codec, "-H", "codec=1", "-H", "b=c=d",
        ];
        assert_eq!(
            server.run_with(&arguments, &line).rows(),
            [json!({"topic": "t", "records": 1})]
        );
    }
    let rows = server.rows(&["consume", "t", "--exit"]);
    let values = ["v0:x", "v1:x", "v2:x", "v3:x", "v4:x"];
    assert_eq!(
        column(&rows, "value"),
        values,
        "one key, one partition, one order"
    );
    assert!(rows.iter().all(|row| row["key"] == "key"));
    let headers = json!([{"key": "codec", "value": "1"}, {"key": "b", "value": "c=d"}]);
    assert_eq!(rows[4]["headers"], headers);

    let partition = rows[0]["partition"].to_string();
    let from = |place: &str| {
        let arguments = ["consume", "t", "-p", &partition, "-o", place, "--exit"];
        column(&server.rows(&arguments), "value")
    };
    assert_eq!(from("start"), values);
    assert_eq!(from("3"), values[3..]);
    assert_eq!(from("-2"), values[3..]);
    assert!(from("end").is_empty());
    let time = rows[2]["timestamp_ms"].as_i64().unwrap();
    let later: Vec<Value> = rows
        .iter()
        .filter(|row| row["timestamp_ms"].as_i64().unwrap() >= time)
        .map(|row| row["value"].clone())
        .collect();
    assert_eq!(from(&format!("@{time}")), later);
    assert_eq!(
        column(&server.rows(&["consume", "t", "-n", "2"]), "value"),
        values[..2]
    );

    let spread: String = (0..300).map(|n| format!("k{n}:{n}\n")).collect();
    let produced = server
        .run_with(&["produce", "t", "-K", ":", "-z", "lz4"], &spread)
        .rows();
    assert_eq!(produced[0]["records"], 300);
    let rows = server.rows(&["consume", "t", "--exit"]);
    assert_eq!(rows.len(), 305);
    let described = server.rows(&["topic", "describe", "t"]);
    let ends: i64 = described
        .iter()
        .map(|row| row["high_watermark"].as_i64().unwrap())
        .sum();
    assert_eq!(ends, 305);
    assert!(
        described.iter().all(|row| row["high_watermark"] != 0),
        "keys are spread"
    );
    let mine = server
        .run_with(&["produce", "t", "-p", "2"], "to two\n")
        .rows();
    assert_eq!(mine[0]["records"], 1);
    let rows = server.rows(&["consume", "t", "-p", "2", "-o", "-1", "--exit"]);
    assert_eq!(rows[0]["value"], "to two");
    assert_eq!(rows[0]["key"], Value::Null);
}

#[test]
fn a_failure_is_three_lines_with_the_nearest_name_and_an_exit_code() {
    // experience.md 7
    let server = Server::ephemeral();
    server.rows(&["topic", "create", "orders"]);

    for command in [
        &["topic", "describe", "ordesr"][..],
        &["topic", "alter", "ordesr", "-p", "2"],
        &["topic", "rm", "--yes", "ordesr"],
        &["consume", "ordesr", "--exit"],
        &["produce", "ordesr"],
    ] {
        let (exit, [what, _, next]) = server.run(command).only_failure();
        assert_eq!(exit, 1, "{command:?}");
        assert!(what.contains("UNKNOWN_TOPIC_OR_PARTITION (3)"), "{what}");
        assert!(next.contains("did you mean `orders`?"), "{next}");
    }
    let (exit, [what, ..]) = server.run(&["topic", "create", "orders"]).only_failure();
    assert_eq!(exit, 1);
    assert!(what.contains("TOPIC_ALREADY_EXISTS (36)"), "{what}");
    let (exit, [what, cause, _]) = server
        .run(&["topic", "create", "x", "-c", "retention.mss=1"])
        .only_failure();
    assert_eq!(exit, 1);
    assert!(what.contains("INVALID_CONFIG (40)"), "{what}");
    assert!(cause.contains("did you mean retention.ms?"), "{cause}");
    let (exit, [what, ..]) = server.run(&["topic", "create", "a b"]).only_failure();
    assert_eq!(exit, 1);
    assert!(what.contains("INVALID_TOPIC_EXCEPTION (17)"), "{what}");
    let (exit, [what, ..]) = server
        .run(&["topic", "create", "x", "-r", "3"])
        .only_failure();
    assert_eq!(exit, 1);
    assert!(what.contains("INVALID_REPLICATION_FACTOR (38)"), "{what}");
    let (exit, [what, ..]) = server
        .run(&["consume", "orders", "-o", "7", "-n", "1"])
        .only_failure();
    assert_eq!(exit, 1);
    assert!(what.contains("OFFSET_OUT_OF_RANGE (1)"), "{what}");
    let (exit, [what, ..]) = server.run(&["consume", "orders", "-p", "7"]).only_failure();
    assert_eq!((exit, what.as_str()), (2, "topic orders: no partition 7"));
    let (exit, _) = server.run(&["topic", "alter", "orders"]).only_failure();
    assert_eq!(exit, 2, "nothing to alter");
    for wrong in [
        &["topic", "create"][..],
        &["topic", "create", "x", "-p", "0"],
        &["consume", "orders", "-o", "soon"],
        &["nonsense"],
    ] {
        assert_eq!(server.run(wrong).exit, 2, "{wrong:?}");
    }
}

#[test]
fn groups_are_listed_and_described_with_their_lag() {
    // experience.md 7
    let server = Server::ephemeral();
    server.rows(&["topic", "create", "orders"]);
    server.run_with(&["produce", "orders"], "a\nb\nc\n").rows();
    assert!(server.rows(&["group", "ls"]).is_empty());
    let commit = offset_commit::Request {
        group_id: text("readers"),
        generation_id_or_member_epoch: -1,
        topics: vec![offset_commit::OffsetCommitRequestTopic {
            name: text("orders"),
            partitions: vec![offset_commit::OffsetCommitRequestPartition {
                committed_offset: 1,
                committed_leader_epoch: -1,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    // The topic of the offsets comes into being with the first question for a coordinator.
    server.run(&["group", "describe", "readers"]);
    let mut code = ErrorCode::CoordinatorNotAvailable.code();
    for _ in 0..1000 {
        let answer = ask(&server.brokers, 8, &commit);
        code = answer.topics[0].partitions[0].error_code;
        if code == 0 {
            break;
        }
        let find = messages::find_coordinator::Request {
            coordinator_keys: vec![text("readers")],
            ..Default::default()
        };
        ask(&server.brokers, 4, &find);
    }
    assert_eq!(code, 0, "the commit is taken");
    let groups = server.rows(&["group", "ls"]);
    assert_eq!(column(&groups, "group"), [json!("readers")]);
    assert_eq!(groups[0]["state"], "Empty");
    let rows = server.rows(&["group", "describe", "readers"]);
    let told = pick(
        &rows[0],
        &[
            "topic",
            "partition",
            "committed_offset",
            "high_watermark",
            "lag",
        ],
    );
    assert_eq!(
        told,
        [json!("orders"), json!(0), json!(1), json!(3), json!(2)]
    );

    let (exit, [what, _, next]) = server.run(&["group", "describe", "reader"]).only_failure();
    assert_eq!(exit, 1);
    assert!(what.contains("GROUP_ID_NOT_FOUND (69)"), "{what}");
    assert!(next.contains("did you mean `readers`?"), "{next}");
    let all = server.rows(&["topic", "ls", "--all"]);
    assert!(
        all.iter()
            .any(|row| row["topic"] == "__consumer_offsets" && row["internal"] == true)
    );
    assert_eq!(
        column(&server.rows(&["topic", "ls"]), "topic"),
        [json!("orders")]
    );
}

#[test]
fn commands_answer_without_a_server_where_they_can() {
    // experience.md 7
    let version = run(&["version"], "").rows();
    assert_eq!(version[0]["name"], "duramen");
    assert_eq!(version[0]["version"], env!("CARGO_PKG_VERSION"));
    let table = run(&["version", "--output", "table"], "");
    assert!(table.stdout.starts_with("duramen "), "{}", table.stdout);
    let help = run(&["--help"], "");
    assert_eq!(help.exit, 0);
    assert!(help.stdout.contains("topic"), "{}", help.stdout);

    let (exit, [what, cause, next]) = run(&["topic", "ls", "-b", "127.0.0.1:1"], "").only_failure();
    assert_eq!(exit, 1);
    assert_eq!(what, "127.0.0.1:1 (--brokers): not connected");
    assert!(cause.contains("no broker listens there"), "{cause}");
    assert!(next.contains("duramen dev"), "{next}");
}

#[test]
fn tables_are_for_people() {
    // experience.md 7
    let server = Server::ephemeral();
    server.rows(&["topic", "create", "orders", "-p", "2"]);
    let table = server.run(&["topic", "ls", "--output", "table"]);
    assert_eq!(
        table.stdout,
        "TOPIC   PARTITIONS  REPLICAS\norders  2           1\n"
    );
    server
        .run_with(&["produce", "orders", "-K", ":", "-p", "1"], "k:v\n")
        .rows();
    let table = server.run(&["consume", "orders", "--exit", "--output", "table"]);
    assert_eq!(table.stdout, "1:0  k  v\n");
}

#[test]
fn the_data_directory_is_told_to_clients_as_it_is() {
    let place = directory();
    let data = place.path().join("data");
    let server = Server::dev(&data);
    let answer = ask(
        &server.brokers,
        4,
        &messages::describe_log_dirs::Request::default(),
    );
    assert_eq!(
        answer.results[0].log_dir.as_str(),
        data.display().to_string()
    );
    assert!(answer.results[0].total_bytes > 0);
}
