//! Frames that lie: lengths, keys, versions, cuts, and damage at every place of every request.

use std::time::Duration;

use wire::api::TABLE;
use wire::frame::REQUEST_BYTES_MAX;
use wire::messages::{self, api_versions, metadata};

use crate::node::{Node, command, scratch};
use crate::peer::{ANSWER_DEADLINE, Outcome, Peer, batch, fetch_request, produce_request};

/// The broker under a hail of broken frames stays below this.
const RESIDENT_BYTES_MAX: u64 = 128 << 20;

/// Connections that carry broken frames at a time.
const LANES: usize = 48;

/// What a request that may rightly be left without an answer gets to show that it is one.
const PATIENCE: Duration = Duration::from_millis(250);

/// What lengths are replaced by, at every position and width, and as varints.
const LIES: [(usize, &[u8]); 15] = [
    (1, &[0]),
    (1, &[0xff]),
    (1, &[0x7f]),
    (1, &[0x7e]),
    (2, &[0, 0]),
    (2, &[0xff, 0xff]),
    (2, &[0x7f, 0xff]),
    (2, &[0x7f, 0xfe]),
    (4, &[0, 0, 0, 0]),
    (4, &[0xff, 0xff, 0xff, 0xff]),
    (4, &[0x7f, 0xff, 0xff, 0xff]),
    (4, &[0x7f, 0xff, 0xff, 0xfe]),
    (1, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
    (1, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
    (1, &[0xff, 0xff, 0xff, 0xff, 0x07]),
];

/// A request of the golden files, without its size: written by a codec that is not ours.
fn golden_request(key: i16, name: &str, version: i16) -> Vec<u8> {
    let path = format!(
        "{}/../wire/tests/golden/{key:02}-{name}-v{version:02}.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let lines = text
        .lines()
        .skip_while(|line| *line != "[request]")
        .skip(1)
        .take_while(|line| !line.starts_with('['));
    let mut bytes = Vec::new();
    for line in lines {
        let digits = line.split_whitespace().next().unwrap_or("");
        if digits.len() % 2 != 0 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            continue;
        }
        bytes.extend((0..digits.len()).step_by(2).map(|at| {
            u8::from_str_radix(&digits[at..at + 2], 16).expect("two hexadecimal digits")
        }));
    }
    let size = i32::from_be_bytes(*bytes.first_chunk().expect("a size"));
    assert_eq!(
        size as usize,
        bytes.len() - 4,
        "{path} is read as it is meant"
    );
    bytes.split_off(4)
}

/// `OffsetForLeaderEpoch` to `offset_for_leader_epoch`, as the golden files are named.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// A request whose answer waits for something else than the broker: records, other members, or,
/// with `acks=0`, nothing at all.
fn may_stay_silent(frame: &[u8]) -> bool {
    let key = i16::from_be_bytes(*frame.first_chunk().expect("a key"));
    matches!(key, 0 | 1 | 11 | 14)
}

fn framed(request: &[u8]) -> Vec<u8> {
    let size = i32::try_from(request.len()).expect("small");
    [&size.to_be_bytes(), request].concat()
}

#[derive(Debug, Default)]
struct Tally {
    answers: usize,
    closed: usize,
    silent: usize,
}

/// Sends each request, whole frames all of them, and wants an answer or a close for each.
fn bombard(node: &mut Node, requests: &[Vec<u8>], context: &str) -> Tally {
    let mut tally = Tally::default();
    let mut lanes: Vec<Option<Peer>> = (0..LANES).map(|_| None).collect();
    for round in requests.chunks(LANES) {
        for (lane, request) in lanes.iter_mut().zip(round) {
            lane.get_or_insert_with(|| node.connect())
                .send(&framed(request));
        }
        let mut patience = PATIENCE;
        for (lane, request) in lanes.iter_mut().zip(round) {
            let peer = lane.as_mut().expect("connected above");
            let silent = may_stay_silent(request);
            let within = if silent { patience } else { ANSWER_DEADLINE };
            match peer.outcome(within) {
                Outcome::Answer(_) => tally.answers += 1,
                Outcome::Closed => {
                    tally.closed += 1;
                    *lane = None;
                }
                Outcome::Silence => {
                    assert!(silent, "{context}: no answer, no close: {request:02x?}");
                    tally.silent += 1;
                    *lane = None;
                    // The others of this round had the same time already.
                    patience = Duration::from_millis(5);
                }
            }
        }
    }
    node.assert_well(RESIDENT_BYTES_MAX, context);
    tally
}

/// A connection that did nothing wrong is served, and stays below its own record.
fn expect_service(node: &Node, written: &mut Vec<Vec<u8>>) {
    let value = format!("honest {}", written.len()).into_bytes();
    let (error, offset) = node.connect().produce(9, "honest", &batch(&[&value]));
    assert_eq!((error, offset), (0, written.len() as i64));
    written.push(value);
}

fn expect_everything(node: &Node, written: &[Vec<u8>]) {
    let read = node.connect().read_all("honest").expect("readable");
    let values: Vec<Vec<u8>> = read.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, written, "nothing is lost, nothing is changed");
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for api in TABLE {
        for version in [api.min, api.max] {
            let name = snake(api.name);
            let context = format!("{name} v{version}");
            seeds.push((context, golden_request(api.key.code(), &name, version)));
        }
    }
    // The golden requests name topics that do not exist; these reach the log.
    let produce = produce_request("target", &batch(&[b"one", b"two"]));
    let fetch = fetch_request("target", 0, 1 << 20);
    for (version, context) in [
        (3, "produce to a topic"),
        (12, "produce to a topic, flexible"),
    ] {
        let frame = messages::encode_request(version, 7, Some("h"), &produce).expect("encodes");
        seeds.push((context.to_owned(), frame[4..].to_vec()));
    }
    for (version, context) in [
        (4, "fetch from a topic"),
        (12, "fetch from a topic, flexible"),
    ] {
        let frame = messages::encode_request(version, 7, Some("h"), &fetch).expect("encodes");
        seeds.push((context.to_owned(), frame[4..].to_vec()));
    }
    seeds
}

#[test]
fn lengths_that_lie_in_any_field_get_an_answer_or_a_close() {
    // rule W8
    let data = scratch();
    let mut node = Node::on(data.path());
    for topic in ["honest", "target"] {
        assert_eq!(node.connect().create_topic(topic, &[]), 0);
    }
    let mut written = Vec::new();
    let mut chance = fastrand::Rng::with_seed(95);
    let (mut answers, mut closed) = (0, 0);
    for (context, honest) in seeds() {
        let mut requests = Vec::new();
        for _ in 0..2 * LANES {
            let (width, lie) = LIES[chance.usize(..LIES.len())];
            // The key and the version have a story of their own.
            let at = chance.usize(4..honest.len().saturating_sub(width).max(5));
            let rest = honest.get(at + width..).unwrap_or(&[]);
            requests.push([&honest[..at], lie, rest].concat());
        }
        let tally = bombard(&mut node, &requests, &context);
        answers += tally.answers;
        closed += tally.closed;
        expect_service(&node, &mut written);
    }
    assert!(
        answers > 0 && closed > 0,
        "{answers} answers, {closed} closed"
    );
    expect_everything(&node, &written);
}

#[test]
fn damage_at_random_places_gets_an_answer_or_a_close() {
    let data = scratch();
    let mut node = Node::on(data.path());
    for topic in ["honest", "target"] {
        assert_eq!(node.connect().create_topic(topic, &[]), 0);
    }
    let mut written = Vec::new();
    let mut chance = fastrand::Rng::with_seed(96);
    for (context, honest) in seeds() {
        let requests: Vec<Vec<u8>> = (0..LANES)
            .map(|_| {
                let mut request = honest.clone();
                for _ in 0..chance.usize(1..6) {
                    let at = chance.usize(..request.len());
                    request[at] = chance.u8(..);
                }
                match chance.u8(..4) {
                    0 => request.truncate(chance.usize(4..=honest.len())),
                    1 => request.extend((0..chance.usize(..64)).map(|_| chance.u8(..))),
                    _ => {}
                }
                request
            })
            .collect();
        bombard(&mut node, &requests, &context);
        expect_service(&node, &mut written);
    }
    expect_everything(&node, &written);
}

#[test]
fn unlisted_keys_and_versions_close_the_connection() {
    // rule W6
    let data = scratch();
    let mut node = Node::on(data.path());
    let mut unlisted = Vec::new();
    for key in -2..=100_i16 {
        match TABLE.iter().find(|api| api.key.code() == key) {
            Some(api) if api.key == wire::ApiKey::ApiVersions => {}
            Some(api) => unlisted.extend([(key, api.min - 1), (key, api.max + 1), (key, -1)]),
            None => unlisted.extend([(key, 0), (key, 1)]),
        }
    }
    // decision D3: advertised for librdkafka, never served
    unlisted.extend([(0, 0), (0, 1), (0, 2), (i16::MAX, 0), (i16::MIN, i16::MIN)]);
    for (key, version) in unlisted {
        let mut request = Vec::new();
        request.extend(key.to_be_bytes());
        request.extend(version.to_be_bytes());
        request.extend([0, 0, 0, 7, 0xff, 0xff, 0, 0, 0, 0]);
        let mut peer = node.connect();
        peer.send(&framed(&request));
        peer.expect_closed(&format!("key {key} version {version}"));
    }
    node.assert_well(RESIDENT_BYTES_MAX, "unlisted keys");
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_the_first_layout() {
    // rule W1
    let data = scratch();
    let node = Node::on(data.path());
    let mut peer = node.connect();
    for version in [5_i16, 99, i16::MAX] {
        let mut request = vec![0, 18];
        request.extend(version.to_be_bytes());
        request.extend(9_i32.to_be_bytes());
        request.extend([0xff; 20]);
        peer.send(&framed(&request));
        let Outcome::Answer(frame) = peer.outcome(ANSWER_DEADLINE) else {
            panic!("version {version} is answered")
        };
        let (correlation_id, answer) =
            messages::decode_response::<api_versions::Request>(0, frame).expect("version 0");
        assert_eq!((correlation_id, answer.error_code), (9, 35));
        let own = answer.api_keys.iter().find(|api| api.api_key == 18);
        assert_eq!(own.map(|api| api.max_version), Some(4));
    }
    // The connection goes on.
    let answer = peer.call(
        3,
        &api_versions::Request {
            client_software_name: messages::text("hostile"),
            client_software_version: messages::text("1"),
            ..Default::default()
        },
    );
    assert_eq!(answer.error_code, 0);
}

#[test]
fn impossible_frame_sizes_close_at_once_and_nothing_is_allocated_for_them() {
    // rule W7
    let data = scratch();
    let mut node = Node::on(data.path());
    let above = i32::try_from(REQUEST_BYTES_MAX).expect("fits") + 1;
    for size in [above, i32::MAX, i32::MAX - 1, -1, -2, i32::MIN, 0, 1, 7] {
        let mut peer = node.connect();
        peer.send(&size.to_be_bytes());
        peer.send(&[0; 7]);
        peer.expect_closed(&format!("size {size}"));
    }
    // A size that is allowed costs nothing before its bytes are there.
    let mut announced = Vec::new();
    for _ in 0..200 {
        let mut peer = node.connect();
        peer.send(&(above - 1).to_be_bytes());
        peer.send(&[0, 0, 0, 9, 0, 0, 0, 7]);
        announced.push(peer);
    }
    node.connect().call(12, &metadata::Request::default());
    node.assert_well(RESIDENT_BYTES_MAX, "20 GiB announced");
}

#[test]
fn the_limit_of_a_frame_is_the_configured_one() {
    // rule W7
    let data = scratch();
    let mut start = command(data.path());
    start.env("KAFKA_SOCKET_REQUEST_MAX_BYTES", "2000");
    let node = Node::launch(start).expect("starts");
    assert_eq!(node.connect().create_topic("t", &[]), 0);
    let fits = node.connect().produce(9, "t", &batch(&[&[b'x'; 1500]]));
    assert_eq!(fits, (0, 0));
    let request = produce_request("t", &batch(&[&[b'x'; 2500]]));
    let mut peer = node.connect();
    peer.send(&messages::encode_request(9, 7, None, &request).expect("encodes"));
    peer.expect_closed("a frame above socket.request.max.bytes");
    let read = node.connect().read_all("t").expect("readable");
    assert_eq!(read.len(), 1, "the refused frame left nothing behind");
}

#[test]
fn a_frame_cut_anywhere_leaves_nothing_behind() {
    let data = scratch();
    let mut node = Node::on(data.path());
    assert_eq!(node.connect().create_topic("t", &[]), 0);
    let request = produce_request("t", &batch(&[b"never whole"]));
    let frame = messages::encode_request(9, 7, Some("h"), &request).expect("encodes");
    for length in 0..frame.len() {
        let mut peer = node.connect();
        peer.send(&frame[..length]);
        peer.finish();
        peer.expect_closed(&format!("cut after {length} bytes"));
    }
    assert_eq!(node.connect().read_all("t"), Ok(Vec::new()));
    assert_eq!(node.connect().produce(9, "t", &batch(&[b"whole"])), (0, 0));
    node.assert_well(RESIDENT_BYTES_MAX, "cut frames");
}
