//! Broken set-ups, and whether `doctor` names the cause of each.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;
use wire::messages::{self, Message, api_versions, metadata, text};

use crate::process::{Server, run};

/// A peer that is not what it should be, on a port of its own; it lives as long as the test program.
fn peer(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    #[expect(clippy::disallowed_methods, reason = "a server of the world outside")]
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    #[expect(clippy::disallowed_methods, reason = "a server of the world outside")]
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.unwrap());
        }
    });
    address
}

/// What a pretended broker says.
struct Pretence {
    cluster: &'static str,
    /// Api keys that are offered.
    keys: &'static [i16],
    /// Brokers as metadata shows them; none closes the connection instead.
    brokers: Option<Vec<(i32, String)>>,
}

/// Keys of a broker that a client can use.
const USABLE: &[i16] = &[0, 1, 2, 3, 10, 18];
/// The same, and the one that begins a login.
const WITH_LOGIN: &[i16] = &[0, 1, 2, 3, 10, 17, 18];
/// Keys of a controller's listener.
const CONTROLLER: &[i16] = &[18, 52, 53, 62];

fn pretend(pretence: Pretence) -> String {
    peer(move |mut stream| {
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        while let Some((key, version, correlation)) = request(&mut stream) {
            let answer = match key {
                18 => answer(version, correlation, &offer(pretence.keys)),
                3 => match &pretence.brokers {
                    Some(brokers) => answer(version, correlation, &show(&pretence, brokers)),
                    None => return,
                },
                _ => return,
            };
            if stream.write_all(&answer).is_err() {
                return;
            }
        }
    })
}

fn request(stream: &mut TcpStream) -> Option<(i16, i16, i32)> {
    let mut size = [0; 4];
    stream.read_exact(&mut size).ok()?;
    let mut frame = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut frame).ok()?;
    let short = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
    let correlation = i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]);
    Some((short(0), short(2), correlation))
}

fn answer<T: Message>(version: i16, correlation: i32, response: &T) -> Vec<u8> {
    messages::encode_response(version, correlation, response)
        .unwrap()
        .to_vec()
}

fn offer(keys: &[i16]) -> api_versions::Response {
    api_versions::Response {
        api_keys: keys
            .iter()
            .map(|key| api_versions::ApiVersion {
                api_key: *key,
                min_version: 0,
                max_version: 8,
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    }
}

fn show(pretence: &Pretence, brokers: &[(i32, String)]) -> metadata::Response {
    let broker = |(id, address): &(i32, String)| {
        let (host, port) = address.rsplit_once(':').unwrap();
        metadata::MetadataResponseBroker {
            node_id: *id,
            host: text(host),
            port: port.parse().unwrap(),
            ..Default::default()
        }
    };
    metadata::Response {
        brokers: brokers.iter().map(broker).collect(),
        cluster_id: Some(text(pretence.cluster)),
        controller_id: 1,
        ..Default::default()
    }
}

/// The cause `doctor` names for this address, and what it says to do.
fn diagnosis(address: &str) -> (String, String) {
    let (exit, [_, cause, next]) = run(&["doctor", address], "").only_failure();
    assert_eq!(exit, 1);
    (cause, next)
}

fn shows(brokers: &[(i32, &str)]) -> Pretence {
    let owned = brokers
        .iter()
        .map(|(id, address)| (*id, (*address).to_owned()));
    Pretence {
        cluster: "ours",
        keys: USABLE,
        brokers: Some(owned.collect()),
    }
}

#[test]
fn a_name_that_does_not_resolve() {
    // experience.md 6.1, 12
    let (cause, next) = diagnosis("no-such-host.invalid:9092");
    assert!(
        cause.contains("no-such-host.invalid does not resolve"),
        "{cause}"
    );
    assert!(next.contains("/etc/hosts"), "{next}");
}

#[test]
fn a_port_where_nobody_listens() {
    // experience.md 6.1, 12
    let (cause, next) = diagnosis("127.0.0.1:1");
    assert!(cause.contains("no broker listens there"), "{cause}");
    assert!(next.contains("duramen dev"), "{next}");
}

#[test]
fn a_listener_that_wants_tls() {
    // experience.md 6.1, 12
    let address = peer(|mut stream| {
        let mut greeting = [0; 3];
        // A TLS server answers a greeting with an alert at least, and hangs up on anything else.
        if stream.read_exact(&mut greeting).is_ok() && greeting == [22, 3, 1] {
            let _ = stream.write_all(&[21, 3, 3, 0, 2, 2, 40]);
        }
    });
    let (cause, next) = diagnosis(&address);
    assert!(cause.contains("speaks TLS"), "{cause}");
    assert!(next.contains("PLAINTEXT"), "{next}");
}

#[test]
fn a_port_that_speaks_http() {
    // experience.md 6.1, 12
    let address = peer(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = stream.read(&mut [0; 64]);
    });
    let (cause, next) = diagnosis(&address);
    assert!(cause.contains("speaks HTTP"), "{cause}");
    assert!(next.contains("Kafka port"), "{next}");
}

#[test]
fn a_controllers_listener() {
    // experience.md 6.1, 12
    let address = pretend(Pretence {
        cluster: "ours",
        keys: CONTROLLER,
        brokers: None,
    });
    let (cause, _) = diagnosis(&address);
    assert!(cause.contains("controller's listener"), "{cause}");
}

#[test]
fn a_listener_that_wants_a_login() {
    // experience.md 6.1, 12
    let address = pretend(Pretence {
        cluster: "ours",
        keys: WITH_LOGIN,
        brokers: None,
    });
    let (cause, _) = diagnosis(&address);
    assert!(cause.contains("wants a login"), "{cause}");
}

#[test]
fn an_advertised_name_that_does_not_resolve_here() {
    // experience.md 6.1, 12
    let address = pretend(shows(&[(1, "broker.internal.invalid:9092")]));
    let (cause, next) = diagnosis(&address);
    assert!(
        cause.contains("hands out broker.internal.invalid:9092"),
        "{cause}"
    );
    assert!(next.contains("advertised.listeners"), "{next}");
}

#[test]
fn an_advertised_port_that_is_not_published() {
    // experience.md 6.1, 12
    let address = pretend(shows(&[(1, "127.0.0.1:1")]));
    let (cause, next) = diagnosis(&address);
    assert!(cause.contains("hands out 127.0.0.1:1"), "{cause}");
    assert!(next.contains("advertised.listeners"), "{next}");
}

#[test]
fn two_brokers_with_one_address() {
    // experience.md 6.1, 12
    let address = pretend(shows(&[(1, "127.0.0.1:1"), (2, "127.0.0.1:1")]));
    let (cause, _) = diagnosis(&address);
    assert!(
        cause.contains("brokers 1 and 2 hand out the same address"),
        "{cause}"
    );
}

#[test]
fn an_advertised_address_where_another_cluster_answers() {
    // experience.md 6.1, 12
    let other = pretend(Pretence {
        cluster: "theirs",
        keys: USABLE,
        brokers: Some(Vec::new()),
    });
    let address = pretend(shows(&[(1, &other)]));
    let (cause, _) = diagnosis(&address);
    assert!(
        cause.contains("cluster theirs answers instead of ours"),
        "{cause}"
    );
}

#[test]
fn a_broker_that_speaks_no_version_in_common() {
    let address = pretend(Pretence {
        cluster: "ours",
        keys: &[3, 18],
        brokers: Some(Vec::new()),
    });
    let (cause, _) = diagnosis(&address);
    assert!(cause.contains("Produce, Fetch"), "{cause}");
}

#[test]
fn a_set_up_that_works_passes_every_check() {
    let server = Server::ephemeral();
    let place = crate::process::directory();
    let dir = place.path().to_str().unwrap();
    let rows = server.rows(&["doctor", "--data-dir", dir]);
    let failed = rows.iter().filter(|row| row["result"] == "failed").count();
    assert_eq!(failed, 0, "{rows:?}");
    for check in [
        "name",
        "port",
        "protocol",
        "versions",
        "metadata",
        "advertised",
        "health",
    ] {
        assert!(
            rows.iter().any(|row| row["check"] == json!(check)),
            "{check}"
        );
    }
    let apis = server.rows(&["doctor", "--apis"]);
    assert!(apis.iter().any(|row| row["api"] == "Produce"));
}

#[test]
fn every_command_names_the_cause_when_it_cannot_connect() {
    let server = Server::ephemeral();
    let (exit, [_, cause, _]) = run(&["topic", "ls", "-b", &server.http], "").only_failure();
    assert_eq!(exit, 1);
    assert!(
        cause.contains("HTTP") || cause.contains("no Kafka broker"),
        "{cause}"
    );
}
