//! Clients that do not do their part: that do not read, do not finish, or come by the thousand.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wire::messages::{self, metadata};

use crate::node::{Node, command, scratch};
use crate::peer::{Peer, batch, fetch_request};

#[test]
fn a_client_that_never_reads_costs_a_bounded_amount_and_nobody_else_waits() {
    let data = scratch();
    let mut node = Node::on(data.path());
    let mut peer = node.connect();
    assert_eq!(peer.create_topic("large", &[]), 0);
    let value = vec![b'x'; 900_000];
    let full = batch(&[&value]);
    for offset in 0..32 {
        assert_eq!(peer.produce(9, "large", &full), (0, offset));
    }
    let fetch = fetch_request("large", 0, i32::MAX);
    let frame = messages::encode_request(12, 7, Some("deaf"), &fetch).expect("encodes");
    let mut deaf: Vec<Peer> = (0..4).map(|_| node.connect()).collect();
    for peer in &mut deaf {
        let timeout = Some(Duration::from_millis(500));
        peer.stream
            .set_write_timeout(timeout)
            .expect("a socket option");
        for _ in 0..10_000 {
            // Once the broker has stopped reading, the rest does not fit: as it should be.
            if peer.stream.write_all(&frame).is_err() {
                break;
            }
        }
    }
    for offset in 32..40 {
        assert_eq!(peer.produce(9, "large", &full), (0, offset));
        node.assert_well(128 << 20, "40,000 fetches of 28 MiB asked, none read");
    }
    assert_eq!(node.connect().read_all("large").expect("read").len(), 40);
    drop(deaf);
    assert_eq!(peer.produce(9, "large", &batch(&[b"after"])), (0, 40));
}

#[test]
fn ten_thousand_idle_connections_leave_the_broker_serving() {
    let wanted = 10_000;
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.is_none_or(|most| most >= wanted + 1_000);
    assert!(enough, "this story needs {wanted} descriptors: {limit:?}");
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("a soft limit may be raised to the hard one");
    let data = scratch();
    let mut node = Node::on(data.path());
    let mut peer = node.connect();
    assert_eq!(peer.create_topic("t", &[]), 0);
    let before = node.resident_bytes();
    let mut idle = Vec::new();
    for number in 0..wanted {
        let mut connection = node.connect();
        // A third of them hangs in the middle of a frame.
        if number % 3 == 0 {
            connection.send(&[0, 0, 1, 0, 0, 3, 0, 12]);
        }
        idle.push(connection);
    }
    // One that comes later is served, so all before it have been accepted.
    node.connect().call(12, &metadata::Request::default());
    for offset in 0..10 {
        assert_eq!(node.connect().produce(9, "t", &batch(&[b"x"])), (0, offset));
    }
    node.assert_well(256 << 20, "10,000 idle connections");
    let grown = node.resident_bytes().saturating_sub(before) / wanted;
    assert!(grown < 16 << 10, "{grown} bytes for an idle connection");
    // Whoever hangs inside a frame may have run out of time on a slow machine: not looked at here.
    for connection in idle.iter_mut().skip(1).step_by(999) {
        connection
            .stream
            .set_read_timeout(Some(Duration::from_millis(1)))
            .expect("a socket option");
        let silence = connection.stream.read(&mut [0; 1]).expect_err("still open");
        assert!(matches!(
            silence.kind(),
            ErrorKind::WouldBlock | ErrorKind::TimedOut
        ));
    }
    drop(idle);
    assert_eq!(node.connect().produce(9, "t", &batch(&[b"x"])), (0, 10));
}

#[test]
fn a_client_that_hangs_inside_a_frame_is_closed_when_it_has_been_idle_too_long() {
    let data = scratch();
    let mut start = command(data.path());
    start.env("KAFKA_CONNECTIONS_MAX_IDLE_MS", "1000");
    let node = Node::launch(start).expect("starts");
    for begun in [&[][..], &[0], &[0, 0, 1, 0], &[0, 0, 1, 0, 0, 3, 0]] {
        let mut peer = node.connect();
        peer.send(begun);
        peer.expect_closed(&format!("{} bytes, then nothing", begun.len()));
    }
}

#[test]
fn a_client_that_sends_a_byte_a_second_is_closed_before_it_has_sent_a_frame() {
    let data = scratch();
    let node = Node::on(data.path());
    let mut slow = node.connect();
    slow.send(&100_i32.to_be_bytes());
    slow.stream
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("a socket option");
    let begun = Instant::now();
    for sent in 0..100 {
        slow.send(&[0]);
        match slow.stream.read(&mut [0; 1]) {
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(_) => {}
            Ok(_) => panic!("an answer to {sent} bytes"),
        }
        // Others are served meanwhile.
        node.connect().call(12, &metadata::Request::default());
    }
    panic!("not closed after {:?}", begun.elapsed());
}
