//! The verbs of the command line against a running broker: what they do, and how they look to people,
//! to programs, on a narrow terminal and on none.

use serde_json::{Value, json};

use crate::group::{HeartbeatReader, Reader};
use crate::process::{Server, directory, run, run_in};

fn column(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

/// `orders` with three records of two keys in one partition.
fn shop() -> Server {
    let server = Server::ephemeral();
    server.rows(&["topic", "create", "orders", "-p", "1"]);
    server
        .run_with(
            &["produce", "orders", "-K", ":", "-H", "h=1"],
            "a:1\nb:2\na:3\n",
        )
        .rows();
    server
}

#[test]
fn places_and_templates_are_those_of_rpk() {
    // experience.md 3.2
    let server = shop();
    let shown = |place: &str, template: &str| {
        let arguments = ["consume", "orders", "-e", "-o", place, "-f", template];
        server.run(&arguments).stdout.trim_end().to_owned()
    };
    let lines = "orders/0/0 a=1\norders/0/1 b=2\norders/0/2 a=3";
    assert_eq!(shown("start", "%t/%p/%o %k=%v\\n"), lines);
    assert_eq!(shown("1:2", "%v"), "2");
    assert_eq!(shown("-1", "%v"), "3");
    assert_eq!(shown("+1", "%v,"), "2,3,");
    assert_eq!(shown(":end", "%i"), "123");
    assert_eq!(
        shown("@-1h", "%K%V%H %h{%k:%v}|"),
        "111 h:1|111 h:1|111 h:1|"
    );
    assert_eq!(shown("@-2h:-1h", "%v"), "");
    assert_eq!(shown("2", "%[ %] %a{compression}"), "0 3 none");
    let day = shown("0:1", "%d{strftime[%F]} %d{go[2006-01-02]}");
    let (one, other) = day.split_once(' ').unwrap();
    assert_eq!(one, other);
    let (exit, [what, cause, _]) = server
        .run(&["consume", "orders", "-f", "%q"])
        .only_failure();
    assert_eq!(exit, 2);
    assert!(
        what.contains("`%q`") && cause.contains("%q is nothing"),
        "{what} {cause}"
    );
}

#[test]
fn what_consume_writes_as_json_produce_reads() {
    // experience.md 12
    let server = shop();
    server.rows(&["topic", "create", "copy", "-p", "1"]);
    let written = server.run(&["consume", "orders", "-e"]).stdout;
    server
        .run_with(&["produce", "copy", "--json"], &written)
        .rows();
    let original = server.rows(&["consume", "orders", "-e"]);
    let copy = server.rows(&["consume", "copy", "-e"]);
    for field in ["key", "value", "headers", "timestamp_ms", "offset"] {
        assert_eq!(column(&copy, field), column(&original, field), "{field}");
    }
    let (exit, [what, ..]) = server
        .run_with(
            &["produce", "copy", "--json"],
            "{\"value\":\"x\"}\nno json\n",
        )
        .only_failure();
    assert_eq!(exit, 1);
    assert!(
        what.contains("line 2") && what.contains("1 before it"),
        "{what}"
    );
    assert_eq!(
        server.rows(&["consume", "copy", "-e"]).len(),
        4,
        "the first one was written"
    );
    let tombstone = ["produce", "copy", "-K", ":", "-Z"];
    server.run_with(&tombstone, "a:\n").rows();
    assert_eq!(
        server.rows(&["consume", "copy", "-o", "-1", "-e"])[0]["value"],
        Value::Null
    );
}

#[test]
fn get_finds_the_newest_records_of_a_key() {
    let server = shop();
    let rows = server.rows(&["get", "orders", "--key", "a"]);
    assert_eq!(column(&rows, "value"), [json!("3")]);
    let rows = server.rows(&["get", "orders", "--key", "a", "--last", "5"]);
    assert_eq!(column(&rows, "value"), [json!("1"), json!("3")]);
    let (exit, [what, _, next]) = server.run(&["get", "orders", "--key", "c"]).only_failure();
    assert_eq!((exit, what.as_str()), (1, "topic orders: key c not found"));
    assert!(next.contains("--all-partitions"), "{next}");
}

#[test]
fn tail_shows_the_end_of_several_topics() {
    let server = shop();
    server.rows(&["topic", "create", "payments"]);
    server.run_with(&["produce", "payments"], "p\n").rows();
    let rows = server.rows(&["tail", "orders", "payments", "-n", "1", "--exit"]);
    let mut values: Vec<String> = column(&rows, "value")
        .iter()
        .map(Value::to_string)
        .collect();
    values.sort();
    assert_eq!(values, ["\"3\"", "\"p\""]);
    let table = server.run(&["tail", "orders", "-n", "1", "--exit", "--output", "table"]);
    assert!(
        table.stdout.starts_with("orders 0:2  20"),
        "{}",
        table.stdout
    );
}

#[test]
fn a_topic_tells_its_size_and_is_trimmed() {
    let server = shop();
    let stat = &server.rows(&["topic", "stat", "orders"])[0];
    assert_eq!(stat["records"], 3);
    assert_eq!(stat["sampled_keys"], 2);
    assert!(stat["bytes"].as_u64().unwrap() > 0);
    assert!(stat["removed_next_ms"].as_i64().unwrap() > stat["oldest_ms"].as_i64().unwrap());
    let table = server
        .run(&["topic", "stat", "orders", "--output", "table"])
        .stdout;
    assert!(
        table.contains("2 different in the newest 3 records"),
        "{table}"
    );

    let trim = ["topic", "trim", "orders", "--before", "2"];
    let plan = server.run(&trim);
    let (exit, [_, cause, _]) = plan.only_failure();
    assert_eq!(exit, 2);
    assert!(cause.contains("--yes"), "{cause}");
    assert!(plan.stdout.contains("\"records\":2"), "{}", plan.stdout);
    server.rows(&[&trim[..], &["--dry-run"]].concat());
    assert_eq!(
        server.rows(&["consume", "orders", "-e"]).len(),
        3,
        "only a plan"
    );
    let done = server.rows(&[&trim[..], &["--yes"]].concat());
    assert_eq!(done[0]["removed"], true);
    assert_eq!(
        column(&server.rows(&["consume", "orders", "-e"]), "value"),
        [json!("3")]
    );
}

#[test]
fn a_group_is_moved_and_moved_back() {
    // experience.md 4.4
    let server = shop();
    let seek = |more: &[&str]| {
        let all = [&["group", "seek", "readers"][..], more].concat();
        server.run(&all)
    };
    let committed =
        || server.rows(&["group", "describe", "readers"])[0]["committed_offset"].clone();
    let founded = seek(&["--to", "1", "--topic", "orders", "--yes"]).rows();
    assert_eq!(
        (&founded[0]["from"], &founded[0]["to"]),
        (&Value::Null, &json!(1))
    );
    let row = &server.rows(&["group", "describe", "readers"])[0];
    assert_eq!(
        (&row["lag"], &row["committed_offset"]),
        (&json!(2), &json!(1))
    );
    assert!(row["lag_seconds"].as_f64().unwrap() >= 0.0);

    let plan = seek(&["--to", "end"]);
    assert_eq!(plan.only_failure().0, 2);
    assert!(plan.stdout.contains("\"reread\":-2"), "{}", plan.stdout);
    seek(&["--to", "end", "--dry-run"]).rows();
    assert_eq!(committed(), 1, "only a plan");
    seek(&["--to", "end", "--yes"]).rows();
    let row = &server.rows(&["group", "describe", "readers"])[0];
    assert_eq!((&row["lag"], &row["lag_seconds"]), (&json!(0), &json!(0.0)));
    seek(&["--undo", "--yes"]).rows();
    assert_eq!(committed(), 1, "as before the last seek");
    seek(&["--undo", "--yes"]).rows();
    assert_eq!(committed(), 3, "an undo is a seek too");
    seek(&["--to", "900", "--yes"]).rows();
    assert_eq!(committed(), 3, "the nearest that is there");

    let events = server.rows(&["group", "explain", "readers"]);
    let seeks = column(&events, "event")
        .iter()
        .filter(|e| **e == "seek")
        .count();
    assert_eq!(seeks, 5, "{events:?}");
    let trend = &server.rows(&["group", "describe", "readers", "--trend"])[0];
    assert!(trend["read_per_second"].is_number(), "{trend}");
    let table = server
        .run(&["group", "describe", "readers", "--output", "table"])
        .stdout;
    assert!(table.starts_with("group readers: "), "{table}");
    assert!(table.contains("nothing to read"), "{table}");

    assert_eq!(server.run(&["group", "rm", "readers"]).only_failure().0, 2);
    assert_eq!(
        server.rows(&["group", "rm", "readers", "--yes"])[0]["removed"],
        true
    );
    let (exit, [what, ..]) = server
        .run(&["group", "seek", "reders", "--to", "end"])
        .only_failure();
    assert_eq!(exit, 1);
    assert!(what.contains("GROUP_ID_NOT_FOUND"), "{what}");
}

#[test]
fn a_group_is_moved_while_it_reads_and_no_old_commit_survives() {
    // experience.md 4.4, 12
    let server = shop();
    let mut reader = Reader::join(&server.brokers, "busy", "orders");
    reader.commit(3).unwrap();
    let rows = server.rows(&["group", "describe", "busy"]);
    assert_eq!(
        (&rows[0]["client_id"], &rows[0]["lag"]),
        (&json!("story"), &json!(0))
    );

    let moved = server.rows(&["group", "seek", "busy", "--to", "start", "--yes"]);
    assert_eq!(
        (&moved[0]["reread"], &moved[0]["done"]),
        (&json!(3), &json!(true))
    );
    assert_eq!(
        reader.commit(3),
        Err("UNKNOWN_MEMBER_ID"),
        "the old generation commits nothing"
    );
    assert_eq!(
        reader.heartbeat(),
        Err("UNKNOWN_MEMBER_ID"),
        "so the member joins again"
    );
    let mut reader = Reader::join(&server.brokers, "busy", "orders");
    assert_eq!(reader.committed(), 0, "it begins at the target");
    reader.commit(2).unwrap();
    server.rows(&["group", "seek", "busy", "--undo", "--yes"]);
    let row = &server.rows(&["group", "describe", "busy"])[0];
    assert_eq!(
        row["committed_offset"], 3,
        "where it stood before, though members committed since"
    );

    let events = column(&server.rows(&["group", "explain", "busy"]), "event");
    for wanted in ["generation", "joined", "left", "seek", "commits"] {
        assert!(events.contains(&json!(wanted)), "{wanted}: {events:?}");
    }
}

#[test]
fn a_group_of_the_newer_protocol_is_moved_while_it_reads() {
    // experience.md 4.4, 12
    let server = shop();
    let mut reader = HeartbeatReader::join(&server.brokers, "newer", "orders");
    reader.commit(3).unwrap();
    let row = &server.rows(&["group", "describe", "newer"])[0];
    assert_eq!(
        (&row["client_id"], &row["committed_offset"]),
        (&json!("story"), &json!(3))
    );
    assert_eq!(server.rows(&["group", "ls"])[0]["kind"], "consumer");
    let moved = server.rows(&["group", "seek", "newer", "--to", "start", "--yes"]);
    assert_eq!(moved[0]["done"], true);
    assert!(reader.commit(3).is_err(), "what it read before is void");
    assert_eq!(reader.heartbeat(), Err("UNKNOWN_MEMBER_ID"));
    let mut reader = HeartbeatReader::join(&server.brokers, "newer", "orders");
    assert_eq!(reader.committed(), 0, "it begins at the target");
    let events = column(&server.rows(&["group", "explain", "newer"]), "event");
    for wanted in ["generation", "joined", "left", "seek"] {
        assert!(events.contains(&json!(wanted)), "{wanted}: {events:?}");
    }
}

#[test]
fn configuration_is_read_changed_and_compared() {
    // experience.md 3.3
    let server = shop();
    let get = |more: &[&str]| {
        let all = [&["config", "get", "--topic", "orders"][..], more].concat();
        server.rows(&all)
    };
    assert!(get(&[]).is_empty(), "nothing was set");
    assert!(get(&["--all"]).len() > 30);
    let changed = server.rows(&["config", "set", "retention.ms=7d", "--topic", "orders"]);
    assert_eq!(changed[0]["after"], "604800000");
    assert_eq!(get(&["retention.ms"])[0]["source"], "topic");
    let set = [
        "config",
        "set",
        "max.message.bytes=2MiB",
        "--topic",
        "orders",
    ];
    assert_eq!(server.rows(&set)[0]["after"], "2097152");
    let shown = get(&["max.message.bytes", "--origin"]);
    assert!(!shown[0]["fallbacks"].as_array().unwrap().is_empty());
    server.rows(&["config", "unset", "max.message.bytes", "--topic", "orders"]);
    let table = server
        .run(&["config", "get", "--topic", "orders", "--output", "table"])
        .stdout;
    assert!(table.contains("7 d"), "{table}");
    server.rows(&[
        "config",
        "set",
        "segment.bytes=64MiB",
        "--topic",
        "orders",
        "--dry-run",
    ]);
    assert_eq!(
        column(&get(&[]), "key"),
        [json!("retention.ms")],
        "only checked"
    );

    let diff = server.rows(&["config", "diff", "--topic", "orders"]);
    assert!(
        column(&diff, "key").is_empty(),
        "7 d is the default: {diff:?}"
    );
    server.rows(&["config", "set", "retention.ms=1h", "--topic", "orders"]);
    let diff = server.rows(&["config", "diff", "--topic", "orders"]);
    assert_eq!(column(&diff, "against"), [json!("604800000")]);
    server.rows(&["topic", "create", "other"]);
    let diff = server.rows(&[
        "config",
        "diff",
        "--topic",
        "orders",
        "--against",
        "topic:other",
    ]);
    assert_eq!(column(&diff, "key"), [json!("retention.ms")]);
    server.rows(&["config", "unset", "retention.ms", "--topic", "orders"]);
    assert!(get(&[]).is_empty());
    assert!(!server.rows(&["config", "get", "log.dirs"]).is_empty());

    for wrong in [
        &["config", "get", "retention.mss", "--topic", "orders"][..],
        &["config", "set", "retention.mss=1", "--topic", "orders"],
    ] {
        let (exit, [what, _, next]) = server.run(wrong).only_failure();
        assert_eq!(
            (exit, what.as_str()),
            (2, "topic orders: no key retention.mss")
        );
        assert!(next.contains("did you mean `retention.ms`?"), "{next}");
    }
}

#[test]
fn a_configuration_file_is_checked_without_a_broker() {
    let place = directory();
    let file = place.path().join("server.properties");
    let write = |text: &str| {
        #[expect(clippy::disallowed_methods, reason = "a file of the world outside")]
        std::fs::write(&file, text).unwrap();
    };
    let name = file.to_str().unwrap();
    write("num.partitions=3\nnum.network.threads=3\n");
    let found = run(&["config", "lint", name], "").rows();
    assert_eq!(column(&found, "severity"), [json!("note")]);
    write("num.partitons=3\n");
    let answer = run(&["config", "lint", name], "");
    let (exit, [_, cause, _]) = answer.only_failure();
    assert_eq!(exit, 1);
    assert!(cause.contains("num.partitions"), "{cause}");
    let server = Server::ephemeral();
    write("num.partitions=7\n");
    let diff = server.rows(&["config", "diff", "--against", name]);
    assert_eq!(column(&diff, "against"), [json!("7")]);
    assert!(server.run(&["config", "lint"]).exit == 0);
}

#[test]
fn the_cluster_is_shown_and_healthy() {
    let server = shop();
    let info = server.rows(&["cluster", "info"]);
    assert_eq!(
        (&info[0]["broker"], &info[0]["controller"]),
        (&json!(1), &json!(true))
    );
    assert!(info[0]["bytes"].as_u64().unwrap() > 0);
    assert_eq!(server.rows(&["cluster", "health"])[0]["healthy"], true);
    assert_eq!(
        server
            .run(&["cluster", "health", "--output", "table"])
            .stdout,
        "healthy\n"
    );
    let away = run(&["cluster", "health", "-b", "127.0.0.1:1"], "");
    assert_eq!(away.only_failure().0, 10);
}

#[test]
fn a_bench_writes_reads_and_leaves_nothing() {
    let server = Server::ephemeral();
    let rows = server.rows(&[
        "bench", "produce", "--rate", "2000/s", "--size", "100", "-d", "300ms",
    ]);
    let records = rows[0]["records"].as_u64().unwrap();
    assert!((1..=700).contains(&records), "{records}");
    assert!(rows[0]["p99_ms"].as_f64().unwrap() > 0.0);
    let fast = server.rows(&[
        "bench",
        "produce",
        "-d",
        "200ms",
        "--clients",
        "2",
        "-z",
        "lz4",
    ]);
    assert!(fast[0]["records"].as_u64().unwrap() > 0);
    let latency = server.rows(&["bench", "latency", "-d", "200ms", "--rate", "50"]);
    assert_eq!(latency[0]["records"], 10);
    assert!(
        server.rows(&["topic", "ls"]).is_empty(),
        "what was made was removed"
    );
    server.rows(&["topic", "create", "t"]);
    server.run_with(&["produce", "t"], "a\nb\n").rows();
    assert_eq!(server.rows(&["bench", "consume", "t"])[0]["records"], 2);
}

#[test]
fn contexts_name_clusters() {
    // experience.md 3.2
    let home = directory();
    let home = [("XDG_CONFIG_HOME", home.path().to_str().unwrap())];
    let server = shop();
    let context = |words: &[&str]| run_in(&home, &[&["context"][..], words].concat());
    context(&["add", "here", &server.brokers]).rows();
    context(&["add", "away", "127.0.0.1:1"]).rows();
    let topics = |more: &[&str]| run_in(&home, &[&["topic", "ls"][..], more].concat());
    assert_eq!(topics(&[]).rows().len(), 1, "the first one added is in use");
    context(&["use", "away"]).rows();
    assert_eq!(topics(&[]).only_failure().0, 1);
    assert_eq!(topics(&["--context", "here"]).rows().len(), 1);
    assert_eq!(
        topics(&["-X", &format!("bootstrap.servers={}", server.brokers)])
            .rows()
            .len(),
        1
    );
    context(&["use", "-"]).rows();
    assert_eq!(topics(&[]).rows().len(), 1, "back again");
    let shown = context(&["show"]).rows();
    assert_eq!(shown[0]["named_by"], "context here");
    let (exit, [_, cause, next]) = context(&["use", "her"]).only_failure();
    assert_eq!(exit, 2);
    assert!(
        cause.contains("away, here") && next.contains("`here`"),
        "{cause} {next}"
    );
    context(&["rm", "here"]).rows();
    assert_eq!(context(&["ls"]).rows().len(), 1);
    let refused = topics(&["-X", "security.protocol=SSL"]);
    assert!(refused.only_failure().1[1].contains("plain"));
}

#[test]
fn errors_are_explained_by_name_and_number() {
    let named = run(&["explain", "NOT_LEADER_OR_FOLLOWER"], "").rows();
    let numbered = run(&["explain", "6"], "").rows();
    assert_eq!(named, numbered);
    assert_eq!(named[0]["retried"], true);
    let text = run(&["explain", "6", "--output", "table"], "").stdout;
    assert!(text.contains("Usual cause: "), "{text}");
    assert!(run(&["explain"], "").rows().len() > 100);
    let (exit, [_, _, next]) = run(&["explain", "NOT_LEADER"], "").only_failure();
    assert_eq!(exit, 2);
    assert!(!next.is_empty());
}

#[test]
fn files_for_other_tools_are_written() {
    for what in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["man"],
        &["systemd"],
        &["compose"],
        &["prometheus", "a:8080"],
        &["grafana"],
        &["client-config"],
        &["client-config", "librdkafka"],
    ] {
        let answer = run(&[&["generate"][..], what].concat(), "");
        assert_eq!((answer.exit, answer.stderr.as_str()), (0, ""), "{what:?}");
        assert!(answer.stdout.len() > 40, "{what:?}: {}", answer.stdout);
    }
    let pages = directory();
    let dir = pages.path().to_str().unwrap();
    assert_eq!(run(&["generate", "man", "--dir", dir], "").exit, 0);
    assert!(pages.path().join("duramen-topic-create.1").exists());
}

#[test]
fn the_shell_completes_topics_and_groups_from_the_cluster() {
    let server = shop();
    server.rows(&[
        "group", "seek", "readers", "--to", "1", "--topic", "orders", "--yes",
    ]);
    let offered = |words: &[&str]| {
        let index = words.len().to_string();
        let shell = [
            ("COMPLETE", "bash"),
            ("_CLAP_COMPLETE_INDEX", index.as_str()),
        ];
        let line = [&["--", "duramen"][..], words].concat();
        run_in(&shell, &line).stdout
    };
    let brokers = server.brokers.as_str();
    assert_eq!(
        offered(&["-b", brokers, "topic", "describe", "or"]),
        "orders\n"
    );
    assert_eq!(
        offered(&["-b", brokers, "group", "seek", ""])
            .lines()
            .next(),
        Some("readers")
    );
    assert_eq!(offered(&["topi"]), "topic\n");
    let nobody = offered(&["-b", "127.0.0.1:1", "topic", "describe", "or"]);
    assert_eq!(nobody, "", "nothing is offered, nothing is said");
}

#[test]
fn every_request_is_told_with_its_time() {
    // experience.md 3.2
    let server = shop();
    let answer = server.run(&["topic", "ls", "--trace"]);
    assert_eq!(answer.exit, 0);
    let told: Vec<&str> = answer.stderr.lines().collect();
    assert!(
        told.iter().all(|line| line.starts_with("trace: ")),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|line| line.contains("Metadata v") && line.contains(" ms, "))
    );
}

#[test]
fn a_narrow_terminal_gets_blocks_and_loses_nothing() {
    // experience.md 3.2
    let server = shop();
    let describe = [
        "topic",
        "describe",
        "orders",
        "-b",
        &server.brokers,
        "--output",
        "table",
    ];
    let narrow = run_in(&[("COLUMNS", "40")], &describe).stdout;
    assert!(
        narrow.starts_with("partition       0\nleader          1\n"),
        "{narrow}"
    );
    let wide = run_in(&[("COLUMNS", "200")], &describe).stdout;
    assert!(wide.starts_with("PARTITION  LEADER  "), "{wide}");
    assert!(narrow.lines().all(|line| line.len() <= 40), "{narrow}");
}

#[test]
fn programs_choose_their_format() {
    let server = shop();
    let listed = |format: &[&str]| server.run(&[&["topic", "ls"][..], format].concat()).stdout;
    assert_eq!(listed(&["-q"]), "orders\n");
    assert_eq!(listed(&["--output", "name"]), "orders\n");
    let csv = listed(&["--output", "csv"]);
    assert!(
        csv.starts_with("topic,id,partitions,replicas,internal\norders,"),
        "{csv}"
    );
    assert!(listed(&["-O", "yaml"]).starts_with("- topic: \"orders\"\n  id: "));
    assert!(listed(&["-O", "wide"]).contains("ID"));
}

#[test]
fn wrong_command_lines_find_the_nearest_right_one() {
    // experience.md 3.2
    for (line, near) in [
        ("topc ls", "`duramen topic`"),
        ("topic creat x", "`duramen topic create`"),
        ("topic create x --partitons 3", "`--partitions`"),
        ("group seek x --to end --dryrun", "`--dry-run`"),
        ("topic ls --output jsn", "`json`"),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let (exit, [_, _, next]) = run(&words, "").only_failure();
        assert_eq!(exit, 2, "{line}");
        assert!(next.contains(near), "{line}: {next}");
    }
    let bare = run(&["topic"], "");
    assert_eq!(bare.exit, 2, "help, as there is nothing to do");
    assert!(bare.stderr.contains("create"), "{}", bare.stderr);
}

#[test]
fn no_verb_waits_for_a_key_press() {
    // experience.md 12: standard input is no terminal and empty, and every verb comes to its end
    let server = shop();
    for line in [
        "topic ls",
        "topic create x",
        "topic describe x",
        "topic stat x",
        "topic alter x -s retention.ms=1h",
        "topic trim x --before end",
        "topic rm x",
        "produce x",
        "consume x -e",
        "tail x -e",
        "get x --key k",
        "group ls",
        "group describe g",
        "group explain g",
        "group seek g --to end",
        "group rm g",
        "cluster info",
        "cluster health",
        "config get",
        "config set retention.ms=1h --topic x",
        "config unset retention.ms --topic x",
        "config lint",
        "config diff",
        "doctor",
        "context show",
        "explain 3",
        "version",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = server.run(&words);
        assert!(
            (0..=2).contains(&answer.exit),
            "{line}: {} {}",
            answer.exit,
            answer.stderr
        );
    }
}
