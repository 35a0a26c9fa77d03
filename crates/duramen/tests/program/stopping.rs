//! How a server ends, and what the next one finds.

use std::net::TcpStream;

use serde_json::Value;

use crate::process::{Server, directory};

fn values(server: &Server, topic: &str) -> Vec<Value> {
    let rows = server.rows(&["consume", topic, "--exit"]);
    rows.iter().map(|row| row["value"].clone()).collect()
}

#[test]
fn a_server_that_is_asked_to_stop_stops_cleanly_and_keeps_everything() {
    // experience.md 8.3
    let place = directory();
    let data = place.path().join("data");
    let server = Server::dev(&data);
    let created = server.rows(&["topic", "create", "orders", "-c", "retention.ms=3600000"]);
    server.run_with(&["produce", "orders"], "a\nb\n").rows();
    let end = server.terminate();
    assert_eq!(end.status.code(), Some(0), "{:#?}", end.stderr);
    assert!(
        end.stderr.iter().any(|line| line.contains("stopped")),
        "{:#?}",
        end.stderr
    );

    let server = Server::dev(&data);
    assert_eq!(server.rows(&["topic", "ls"])[0]["id"], created[0]["id"]);
    assert_eq!(values(&server, "orders"), ["a", "b"]);
    server.run_with(&["produce", "orders"], "c\n").rows();
    assert_eq!(values(&server, "orders"), ["a", "b", "c"]);
    let described = server.rows(&["topic", "describe", "orders"]);
    assert!(described.iter().any(|row| row["config"] == "retention.ms"));
}

#[test]
fn a_killed_server_kept_what_it_acknowledged() {
    // experience.md 8.3
    let place = directory();
    let data = place.path().join("data");
    let mut expected = Vec::new();
    for round in 0..3 {
        let server = Server::dev(&data);
        if round == 0 {
            server.rows(&["topic", "create", "orders"]);
        }
        assert_eq!(values(&server, "orders"), expected);
        let lines: Vec<String> = (0..50).map(|n| format!("{round}-{n}")).collect();
        let produced = server
            .run_with(&["produce", "orders"], &lines.join("\n"))
            .rows();
        assert_eq!(produced[0]["records"], 50);
        expected.extend(lines.into_iter().map(Value::from));
        let end = server.kill();
        assert_eq!(end.status.code(), None, "it had no time to say anything");
    }
    let server = Server::dev(&data);
    assert_eq!(values(&server, "orders"), expected);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a client of the world outside")]
fn an_ephemeral_server_leaves_nothing_behind() {
    // experience.md 8.3
    for stop in [Server::terminate, Server::interrupt] {
        let server = Server::ephemeral();
        server.rows(&["topic", "create", "orders"]);
        // Somebody who says nothing and does not go does not hold it up.
        let guest = TcpStream::connect(&server.brokers).unwrap();
        let end = stop(server);
        assert_eq!(end.status.code(), Some(0), "{:#?}", end.stderr);
        assert!(end.left.is_empty(), "{:?}", end.left);
        drop(guest);
    }
}

#[test]
fn an_ephemeral_server_tidies_up_behind_one_that_was_killed() {
    let killed = Server::ephemeral().kill();
    assert_eq!(killed.left.len(), 1, "it had no time to tidy up");
    let living = Server::ephemeral_in(killed.scratch);
    living.rows(&["topic", "create", "orders"]);
    let end = living.terminate();
    assert!(end.left.is_empty(), "{:?}", end.left);
}
