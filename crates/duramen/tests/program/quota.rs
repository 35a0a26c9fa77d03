//! `quota`: set, listed, explained and taken away, and felt by a producer.

use serde_json::{Value, json};

use crate::process::Server;

/// One row per entity: its parts as `type=name` and its quotas.
fn listed(server: &Server) -> Vec<(String, Value)> {
    let rows = server.rows(&["quota", "ls"]);
    let title = |row: &Value| {
        let parts = row["entity"].as_array().unwrap().iter().map(|part| {
            let name = part["name"].as_str().unwrap_or("*");
            format!("{}={name}", part["type"].as_str().unwrap())
        });
        parts.collect::<Vec<_>>().join(" ")
    };
    rows.iter()
        .map(|row| (title(row), row["quotas"].clone()))
        .collect()
}

#[test]
fn quotas_are_set_in_words_listed_explained_and_taken_away() {
    // experience.md 3.3
    let server = Server::ephemeral();
    assert!(listed(&server).is_empty());
    let set = ["quota", "set", "--user", "svc-a", "--produce", "5MB/s"];
    let rows = server.rows(&set);
    assert_eq!(rows[0]["key"], "producer_byte_rate");
    assert_eq!(rows[0]["before"], Value::Null);
    assert_eq!(rows[0]["after"], 5_000_000.0);
    let more = [
        "quota",
        "set",
        "request_percentage=50%",
        "--consume",
        "1MiB",
        "--every-user",
        "--client-id",
        "app",
    ];
    server.rows(&more);
    server.rows(&["quota", "set", "--ip", "10.0.0.1", "--connections", "10/s"]);
    let tried = [
        "quota",
        "set",
        "--every-ip",
        "--connections",
        "1k/s",
        "--dry-run",
    ];
    assert_eq!(server.rows(&tried)[0]["dry_run"], true);
    assert_eq!(
        listed(&server),
        [
            (
                "ip=10.0.0.1".to_owned(),
                json!({"connection_creation_rate": 10.0})
            ),
            (
                "user=* client-id=app".to_owned(),
                json!({"consumer_byte_rate": 1_048_576.0, "request_percentage": 50.0})
            ),
            (
                "user=svc-a".to_owned(),
                json!({"producer_byte_rate": 5_000_000.0})
            ),
        ]
    );
    let table = server.run(&["quota", "ls", "-O", "table"]).stdout;
    assert!(table.contains("every user, client id app"), "{table}");
    assert!(
        table.contains("5.00 MB/s") && table.contains("50%"),
        "{table}"
    );

    // What holds for one client, and who said so.
    let held = server.rows(&["quota", "describe", "--user", "bob", "--client-id", "app"]);
    let by_key = |key: &str| held.iter().find(|row| row["key"] == key).unwrap().clone();
    assert_eq!(by_key("producer_byte_rate")["value"], Value::Null);
    assert_eq!(by_key("request_percentage")["value"], 50.0);
    let set_on = by_key("request_percentage")["set_on"].clone();
    assert_eq!(
        set_on,
        json!([{"type": "user", "name": null}, {"type": "client-id", "name": "app"}])
    );

    // Without consent only the plan is shown.
    let rm = ["quota", "rm", "--user", "svc-a"];
    let (exit, [what, _, next]) = server.run(&rm).failure();
    assert_eq!(exit, 2);
    assert!(what.contains("nothing removed"), "{what}");
    assert_eq!(next, "duramen quota rm --yes --user svc-a");
    assert_eq!(listed(&server).len(), 3);
    server.rows(&["quota", "rm", "--user", "svc-a", "--dry-run"]);
    assert_eq!(listed(&server).len(), 3);
    server.rows(&["quota", "rm", "--user", "svc-a", "--yes"]);
    assert_eq!(listed(&server).len(), 2);
}

#[test]
fn a_failed_quota_command_says_what_to_do() {
    // experience.md 3.2
    let server = Server::ephemeral();
    let failed = |arguments: &[&str]| server.run(arguments).only_failure();
    let (exit, [what, _, next]) = failed(&["quota", "set", "produce_byte_rate=1MB", "--user", "a"]);
    assert_eq!(exit, 2);
    assert!(
        what.contains("no such key") && next.contains("`producer_byte_rate`"),
        "{what} {next}"
    );
    let (_, [what, cause, _]) = failed(&["quota", "set", "--user", "a", "--produce", "fast"]);
    assert!(
        what.contains("producer_byte_rate=fast") && cause.contains("no known unit"),
        "{what} {cause}"
    );
    let (_, [what, ..]) = failed(&["quota", "set", "--produce", "1MB"]);
    assert!(what.contains("nobody is named"), "{what}");
    let (exit, [what, cause, _]) = failed(&["quota", "set", "--user", "a", "--produce", "0"]);
    assert_eq!(exit, 1);
    assert!(what.contains("INVALID_REQUEST (42)"), "{what}");
    assert!(cause.contains("must be greater than 0"), "{cause}");
    server.rows(&["quota", "set", "--user", "ann", "--produce", "1MB"]);
    let (_, [what, _, next]) = failed(&["quota", "rm", "--user", "anne", "--yes"]);
    assert!(
        what.contains("there is none") && next.contains("`user ann`"),
        "{what} {next}"
    );
}
