//! What a start needs, and how it says what is in its way.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::process::{Answer, Server, directory, run};

/// `dev` on a data directory, where it is not expected to start.
fn refused(data_dir: &Path, more: &[&str]) -> Answer {
    let mut arguments = vec![OsStr::new("dev"), OsStr::new("--print-env")];
    arguments.extend([OsStr::new("--data-dir"), data_dir.as_os_str()]);
    arguments.extend(more.iter().map(OsStr::new));
    run(&arguments, "")
}

#[expect(clippy::disallowed_methods, reason = "a client of the world outside")]
fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_started_server_is_ready_healthy_and_measured() {
    // experience.md 8.3
    let server = Server::ephemeral();
    for path in ["/healthz", "/readyz"] {
        let answer = get(&server.http, path);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    server.rows(&["topic", "create", "t"]);
    assert!(get(&server.http, "/metrics").contains("duramen_"));
    assert!(get(&server.http, "/nothing").starts_with("HTTP/1.1 404"));
}

#[test]
fn one_data_directory_has_one_process() {
    // experience.md 8.3
    let place = directory();
    let data = place.path().join("data");
    let first = Server::dev(&data);
    let (exit, [what, cause, next]) = refused(&data, &["--port", "auto"]).failure();
    assert_eq!(exit, 1);
    assert!(what.contains(&data.display().to_string()), "{what}");
    assert_eq!(cause, "another process holds its lock");
    assert!(next.contains("--data-dir"), "{next}");
    first.rows(&["topic", "create", "t"]);
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_made() {
    // experience.md 8.3
    let place = directory();
    let first = Server::ephemeral();
    let data = place.path().join("data");
    let arguments = ["--listen", &first.brokers, "--http", "127.0.0.1:0"];
    let (exit, [what, _, next]) = refused(&data, &arguments).failure();
    assert_eq!(exit, 1);
    assert!(what.contains(&first.brokers), "{what}");
    assert!(next.contains("--listen"), "{next}");
    let arguments = ["--listen", "127.0.0.1:0", "--http", &first.http];
    let (exit, [what, ..]) = refused(&data, &arguments).failure();
    assert_eq!(exit, 1);
    assert!(what.contains("http"), "{what}");
    first.rows(&["topic", "create", "t"]);
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the world before the program starts"
)]
fn a_place_that_cannot_hold_data_is_refused() {
    // experience.md 8.3
    let place = directory();
    let file = place.path().join("file");
    fs::write(&file, "no directory").unwrap();
    let (exit, [what, _, next]) = refused(&file.join("data"), &["--port", "auto"]).failure();
    assert_eq!(exit, 1);
    assert!(what.contains("file"), "{what}");
    assert!(next.contains("--data-dir"), "{next}");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "somebody else's files")]
fn a_directory_whose_identity_is_gone_is_left_as_it_is() {
    // experience.md 8.3
    let place = directory();
    let data = place.path().join("data");
    let segments = data.join("seg");
    fs::create_dir_all(&segments).unwrap();
    fs::write(segments.join("records"), "precious").unwrap();
    let (exit, [what, _, next]) = refused(&data, &["--port", "auto"]).failure();
    assert_eq!(exit, 1);
    assert!(what.contains("not ours"), "{what}");
    assert!(next.contains("nothing in it was changed"), "{next}");
    assert_eq!(
        fs::read_to_string(segments.join("records")).unwrap(),
        "precious"
    );
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a configuration as an operator writes it"
)]
fn a_configuration_is_read_whole_before_it_is_refused() {
    // experience.md 8.3
    let place = directory();
    let config = place.path().join("server.properties");
    let start = |text: &str| {
        fs::write(&config, text).unwrap();
        run(
            &["server", "start", "--config", &config.display().to_string()],
            "",
        )
    };
    let data = place.path().join("data").display().to_string();
    let given = format!("log.dirs={data}\nnum.partition=3\nlog.retention.hours=soon\n");
    let (exit, [what, cause, next]) = start(&given).failure();
    assert_eq!(exit, 2);
    assert_eq!(what, "configuration: 2 settings are wrong");
    assert!(
        cause.contains("line 2") && cause.contains("line 3"),
        "{cause}"
    );
    assert_eq!(
        next,
        "write num.partitions instead of num.partition, or remove it"
    );
    let (exit, [what, ..]) = start("num.partitions=3\n").failure();
    assert_eq!((exit, what.as_str()), (2, "data directory: none given"));
    let (exit, [what, ..]) = start("log.dirs=/a,/b\n").failure();
    assert_eq!(
        (exit, what.as_str()),
        (2, "log.dirs: more than one directory")
    );
    let missing = run(&["server", "start", "--config", "/no/such/file.toml"], "");
    assert_eq!(missing.failure().0, 2);
    assert!(!Path::new(&data).exists(), "nothing was made");
}
