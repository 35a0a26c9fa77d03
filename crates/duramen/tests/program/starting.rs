//! What a start needs, and how it says what is in its way.

use std::collections::BTreeMap;
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
    assert!(get(&server.http, "/nothing").starts_with("HTTP/1.1 404"));
    let before = scrape(&server);
    server.rows(&["topic", "create", "t", "-p", "3"]);
    server.run_with(&["produce", "t"], "a\nb\n").rows();
    let after = scrape(&server);
    let value = |page: &BTreeMap<String, f64>, name: &str| {
        let found = page.get(name);
        *found.unwrap_or_else(|| panic!("{name} is missing: {page:#?}"))
    };
    for moves in [
        "kafka_server_brokertopicmetrics_messagesin_total",
        "kafka_server_replicamanager_partitioncount",
        "kafka_server_replicamanager_leadercount",
        "duramen_wal_groups_total",
        "duramen_wal_written_bytes_total",
        "duramen_fsync_seconds_count",
        "duramen_fsync_seconds_sum",
        "duramen_fsync_seconds_bucket{le=\"+Inf\"}",
    ] {
        let (before, after) = (value(&before, moves), value(&after, moves));
        assert!(after > before, "{moves}: {before}, then {after}");
    }
    assert_eq!(
        value(&after, "kafka_server_replicamanager_partitioncount"),
        3.0
    );
    for there in [
        "duramen_wal_slots",
        "duramen_disk_free_bytes",
        "duramen_disk_free_min_bytes",
        "duramen_disk_free_resume_bytes",
        "duramen_segment_files_open",
    ] {
        assert!(value(&after, there) > 0.0, "{there}");
    }
    for quiet in [
        "duramen_wal_full_total",
        "duramen_fsync_failures_total",
        "duramen_checkpoint_failures_total",
        "duramen_segment_failures_total",
        "duramen_segment_rebuilds_total",
        "duramen_scrub_damaged_ranges_total",
        "duramen_disk_full",
        "kafka_log_logmanager_offlinelogdirectorycount",
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        "kafka_server_replicamanager_underreplicatedpartitions",
    ] {
        assert_eq!(value(&after, quiet), 0.0, "{quiet}");
    }
    for counted in [
        // The other slots are made in the background, after the first requests.
        "duramen_wal_slots_free",
        "duramen_checkpoints_total",
        "duramen_scrub_read_bytes_total",
        "duramen_groups",
    ] {
        value(&after, counted);
    }
}

/// Every sample of a scrape, by its name and labels.
fn scrape(server: &Server) -> BTreeMap<String, f64> {
    let answer = get(&server.http, "/metrics");
    let (_, page) = answer.split_once("\r\n\r\n").unwrap();
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

#[test]
fn a_started_server_says_in_one_line_how_it_writes_and_what_it_found() {
    let place = directory();
    let data = place.path().join("data");
    for found in ["new", "0 partitions, clean stop"] {
        let end = Server::dev(&data).terminate();
        let told: Vec<&String> = end
            .stderr
            .iter()
            .filter(|line| line.contains("started: "))
            .collect();
        let [line] = told[..] else {
            panic!("one line: {:#?}", end.stderr);
        };
        for part in [found, "a flush", "ready in", "flush_us", "filesystem"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(line.contains("O_DIRECT"), "which path is used: {line}");
    }
}

#[test]
fn a_disk_that_cannot_hold_what_is_wanted_is_refused_before_anything_is_made() {
    // storage.md 8
    let place = directory();
    let data = place.path().join("data");
    let start = |setting: &str| {
        let data = data.display().to_string();
        run(
            &["server", "start", "--data-dir", &data, "--set", setting],
            "",
        )
    };
    let most = (1_u64 << 62).to_string();
    for (setting, part) in [
        (format!("disk.free.bytes.min={most}"), "whole filesystem"),
        (format!("disk.free.bytes.resume={most}"), "whole filesystem"),
        ("wal.slots=3".to_owned(), "from 4 to 1024"),
        ("wal.slot.bytes=33554433".to_owned(), "blocks of 4096"),
        ("message.max.bytes=2000000000".to_owned(), "half a slot"),
    ] {
        let (exit, [what, cause, next]) = start(&setting).failure();
        assert_eq!(exit, 2, "{what}");
        assert!(cause.contains(part), "{cause}");
        let key = setting.split('=').next().unwrap();
        assert!(format!("{what} {next}").contains(key), "{what}: {next}");
    }
    assert!(!data.join("identity").exists(), "nothing was made");
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
