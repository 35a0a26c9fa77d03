//! How the command line behaves where its output goes: a terminal of any width, a pipe that closes.

use std::process::Command;

use crate::process::{Server, answer_of, binary, program};

/// A command on a terminal of this many columns; what it shows, without colours, and its exit code.
/// None where this machine has no `script` to make a terminal with.
fn on_terminal(columns: u16, words: &[&str]) -> Option<(String, i32)> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    // Some terminals know their width and not their height.
    let line = format!("stty cols {columns}; {} {}", binary(), quoted.join(" "));
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env_remove("COLUMNS")
        .env("TERM", "xterm");
    if Command::new("script").arg("--version").output().is_err() {
        return None;
    }
    let answer = answer_of(script, "");
    let plain = answer.stdout.replace('\r', "");
    let plain = plain.replace("\x1b[1m", "").replace("\x1b[0m", "");
    Some((plain, answer.exit))
}

#[test]
fn a_terminal_shows_tables_that_fit_it() {
    // experience.md 3.2, 12
    let server = Server::ephemeral();
    server.rows(&["topic", "create", "orders", "-p", "1"]);
    let lines = "a:1\nb:2\na:3\n";
    server
        .run_with(&["produce", "orders", "-K", ":"], lines)
        .rows();
    let to_start = ["group", "seek", "g", "--to", "start", "-t", "orders", "-y"];
    server.rows(&to_start);
    let shown = |columns: u16, words: &[&str]| {
        let all = [words, &["-b", &server.brokers]].concat();
        on_terminal(columns, &all)
    };
    let Some((table, exit)) = shown(100, &["topic", "ls"]) else {
        eprintln!("skipped: no `script` on this machine");
        return;
    };
    assert_eq!(exit, 0);
    assert_eq!(
        table,
        "TOPIC   PARTITIONS  REPLICAS\norders  1           1\n"
    );
    for words in [
        &["topic", "describe", "orders"][..],
        &["topic", "ls"],
        &["group", "describe", "g"],
        &["cluster", "info"],
        &["config", "get", "retention.ms", "-t", "orders"],
        &["explain", "6"],
        &["doctor"],
        &["consume", "orders", "-e"],
    ] {
        let (text, exit) = shown(40, words).unwrap();
        assert_eq!(exit, 0, "{words:?} {text}");
        // Sentences wrap by themselves; columns that wrap cannot be read.
        let too_wide = |line: &&str| line.chars().count() > 40 && line.trim().contains("  ");
        let wide: Vec<&str> = text.lines().filter(too_wide).collect();
        assert!(wide.is_empty(), "{words:?} {text}");
        assert!(!text.contains('{'), "JSON is for programs: {text}");
    }
    let (plan, exit) = shown(100, &["topic", "rm", "orders"]).unwrap();
    assert_eq!(exit, 2, "a plan, and no question");
    assert!(
        plan.contains("next:  duramen topic rm --yes orders"),
        "{plan}"
    );
}

#[test]
fn a_closed_pipe_ends_a_command_without_a_word() {
    let server = Server::ephemeral();
    server.rows(&["topic", "create", "orders"]);
    server.run_with(&["produce", "orders"], "a\nb\n").rows();
    for words in [
        &["--help"][..],
        &["topic", "ls"],
        &["topic", "describe", "orders"],
        &["topic", "stat", "orders", "-O", "table"],
        &["consume", "orders"],
        &["tail", "orders", "-n", "5"],
        &["config", "get", "--all"],
        &["explain"],
        &["generate", "man"],
        &["doctor"],
    ] {
        let mut command = program(words);
        command.env("DURAMEN_BROKERS", &server.brokers);
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(
            (ended.status.code(), said.as_str()),
            (Some(0), ""),
            "{words:?}"
        );
    }
}
