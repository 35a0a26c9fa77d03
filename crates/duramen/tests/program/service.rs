//! What surrounds a broker in production: a service manager, and images made for Kafka.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::process::{PATIENCE, binary, directory, program};

#[test]
fn a_service_manager_is_told_when_it_serves_and_when_it_stops() {
    // experience.md 6.3
    let place = directory();
    let path = place.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let data = place.path().join("data");
    let mut server = program(&["server", "start", "--http", "127.0.0.1:0"])
        .args(["--set", "listeners=PLAINTEXT://127.0.0.1:0", "--data-dir"])
        .arg(&data)
        .env("NOTIFY_SOCKET", &path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let heard = || {
        let mut word = [0; 64];
        let length = socket.recv(&mut word).unwrap();
        String::from_utf8_lossy(&word[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1");
    let kill = Command::new("kill").arg(server.id().to_string()).status();
    assert!(kill.unwrap().success());
    assert_eq!(heard(), "STOPPING=1");
    assert!(server.wait().unwrap().success());
}

#[test]
fn what_testcontainers_does_with_kafkas_image_starts_a_broker() {
    // experience.md 6.3: the variables of its module, the script it copies in, the line it waits for
    let place = directory();
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("../xtask/package/run");
    let folder = Path::new(binary()).parent().unwrap();
    let mut shell = Command::new("sh");
    shell
        .arg(run)
        .args(["--http", "127.0.0.1:0"])
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", folder.display()))
        .env("KAFKA_LOG_DIRS", place.path().join("data"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    for (name, value) in [
        ("CLUSTER_ID", "4L6g3nShT-eMCtK--X86sw"),
        (
            "KAFKA_LISTENERS",
            "PLAINTEXT://:0,BROKER://:0,CONTROLLER://:0",
        ),
        (
            "KAFKA_ADVERTISED_LISTENERS",
            "PLAINTEXT://localhost:32768,BROKER://c0ffee:9093",
        ),
        (
            "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP",
            "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        ),
        ("KAFKA_INTER_BROKER_LISTENER_NAME", "BROKER"),
        ("KAFKA_PROCESS_ROLES", "broker,controller"),
        ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
        ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@localhost:9094"),
        ("KAFKA_NODE_ID", "1"),
        ("KAFKA_BROKER_ID", "1"),
        ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
        ("KAFKA_OFFSETS_TOPIC_NUM_PARTITIONS", "1"),
        ("KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR", "1"),
        ("KAFKA_TRANSACTION_STATE_LOG_MIN_ISR", "1"),
        ("KAFKA_LOG_FLUSH_INTERVAL_MESSAGES", "9223372036854775807"),
        ("KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS", "0"),
    ] {
        shell.env(name, value);
    }
    let mut broker = shell.spawn().unwrap();
    let mut waited = Vec::new();
    for line in BufReader::new(broker.stdout.take().unwrap()).lines() {
        waited.push(line.unwrap());
        if waited
            .last()
            .unwrap()
            .contains("Transitioning from RECOVERY to RUNNING")
        {
            break;
        }
    }
    let kill = Command::new("kill").arg(broker.id().to_string()).status();
    assert!(kill.unwrap().success());
    assert!(broker.wait().unwrap().success(), "{waited:#?}");
    let ready = |text: &str| waited.iter().filter(|line| line.contains(text)).count();
    assert_eq!(ready("Kafka Server started"), 1, "{waited:#?}");
    assert_eq!(
        ready("Transitioning from RECOVERY to RUNNING"),
        1,
        "{waited:#?}"
    );
}
