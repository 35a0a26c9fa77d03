//! Connections: order, limits, and what bad input comes to.

use std::time::Duration;

use wire::messages::{api_versions, metadata, text};

use crate::frames::{FETCH, fetch_request, produce, produce_request};
use crate::stage::{Stage, batch, sleep};

fn versions() -> api_versions::Request {
    api_versions::Request {
        client_software_name: text("story"),
        client_software_version: text("1.0"),
        ..Default::default()
    }
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_the_oldest_layout() {
    // rules W1 and W2
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client
            .send(b"\0\0\0\x0a\0\x12\0\x05\0\0\0\x07\xff\xff")
            .await;
        let frame = client.frame().await.expect("an answer");
        assert_eq!(&frame[..4], [0, 0, 0, 7]);
        assert_eq!(&frame[4..6], [0, 35]);
        assert_eq!(&frame[6..10], [0, 0, 0, 1]);
        assert_eq!(&frame[10..12], [0, 18]);
        // The connection goes on.
        assert_eq!(client.ask(3, &versions()).await.error_code, 0);
    });
}

#[test]
fn software_names_are_checked() {
    // rule W3
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let bad = api_versions::Request {
            client_software_name: text("-no-"),
            ..versions()
        };
        assert_eq!(client.ask(3, &bad).await.error_code, 42);
    });
}

#[test]
fn unknown_keys_versions_and_old_produces_close_the_connection() {
    // rule W6
    let stage = Stage::new();
    stage.play(async {
        for (key, version) in [(999, 0), (7, 0), (3, 99), (0, 0), (0, 1), (0, 2), (3, -1)] {
            let mut client = stage.connect().await;
            let mut frame = vec![0, 0, 0, 10];
            frame.extend_from_slice(&i16::to_be_bytes(key));
            frame.extend_from_slice(&i16::to_be_bytes(version));
            frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
            client.send(&frame).await;
            assert!(client.is_closed().await, "key {key} version {version}");
        }
    });
}

#[test]
fn mixed_requests_in_one_read_are_answered_in_order() {
    // rule W7
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let mut order = Vec::new();
        for _ in 0..10 {
            order.push(
                client
                    .send_request(9, &produce_request("t", 0, batch(&["a"])))
                    .await,
            );
            order.push(client.send_request(FETCH, &fetch_request("t", 0)).await);
            order.push(client.send_request(3, &versions()).await);
        }
        for correlation in order {
            let frame = client.frame().await.expect("an answer");
            assert_eq!(frame[..4], correlation.to_be_bytes());
        }
    });
}

#[test]
fn a_frame_above_the_limit_or_with_a_negative_length_closes() {
    // rules W7 and W8
    let stage = Stage::with(|config| config.limits.request_bytes_max = 1000);
    stage.play(async {
        for length in [1001, i32::MAX, -1, i32::MIN] {
            let mut client = stage.connect().await;
            client.send(&i32::to_be_bytes(length)).await;
            assert!(client.is_closed().await);
        }
        let mut client = stage.connect().await;
        client.send(&[0, 0, 0, 0]).await;
        assert!(client.is_closed().await, "a frame without a header");
    });
}

#[test]
fn hostile_lengths_inside_a_frame_close_and_cost_nothing() {
    // rule W8
    let stage = Stage::new();
    stage.play(async {
        for body in [
            &b"\0\0\0\x09\0\0\0\x01\xff\xff\0\x00\xff\xff\0\0\0\0\xff\xff\xff\xff\x0f"[..],
            b"\0\x03\0\x01\0\0\0\x01\xff\xff\x7f\xff\xff\xff",
            b"\0\x01\0\x0c\0\0\0\x01\xff\xff\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff\x0f",
        ] {
            let mut client = stage.connect().await;
            client.send(&i32::to_be_bytes(body.len() as i32)).await;
            client.send(body).await;
            assert!(client.is_closed().await);
        }
    });
}

#[test]
fn a_cut_frame_is_waited_for_but_not_for_ever() {
    let stage = Stage::new();
    stage.play(async {
        let frame = wire::messages::encode_request(3, 1, Some("slow"), &versions()).unwrap();
        // One byte a second, within the time a frame has: it is served.
        let mut client = stage.connect().await;
        for byte in &frame[..20] {
            client.send(&[*byte]).await;
            sleep(Duration::from_secs(1)).await;
        }
        client.send(&frame[20..]).await;
        assert!(client.frame().await.is_some());
        // One byte a second of a long frame: it is closed.
        let mut client = stage.connect().await;
        client.send(&[0, 0, 0x10, 0]).await;
        let mut sent = 0;
        while client.send(&[0]).await {
            sleep(Duration::from_secs(1)).await;
            sent += 1;
            assert!(sent < 60, "a slow frame is not waited for");
        }
    });
}

#[test]
fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let stage = Stage::with(|config| config.limits.idle = Duration::from_secs(60));
    stage.play(async {
        let mut idle = stage.connect().await;
        let mut busy = stage.connect().await;
        for _ in 0..10 {
            sleep(Duration::from_secs(20)).await;
            assert_eq!(busy.ask(3, &versions()).await.error_code, 0);
        }
        assert!(idle.is_closed().await);
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_and_places_are_given_back() {
    let stage = Stage::with(|config| config.limits.connections_max = 3);
    stage.play(async {
        let mut clients = Vec::new();
        for _ in 0..3 {
            let mut client = stage.connect().await;
            client.ask(3, &versions()).await;
            clients.push(client);
        }
        let mut beyond = stage.connect().await;
        assert!(beyond.is_closed().await);
        clients.pop();
        sleep(Duration::from_millis(100)).await;
        let mut again = stage.connect().await;
        assert_eq!(again.ask(3, &versions()).await.error_code, 0);
    });
}

#[test]
fn a_client_that_stops_reading_is_not_read_any_more() {
    let stage = Stage::with(|config| config.limits.unsent_bytes_max = 64 << 10);
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        let all = metadata::Request {
            topics: None,
            ..Default::default()
        };
        let frame = wire::messages::encode_request(9, 1, Some("deaf"), &all).unwrap();
        let received_before = stage.broker.metrics().apis["Metadata"].requests;
        // Far more requests than fit unsent answers and both socket buffers; a send that does
        // not end is what back-pressure looks like from here.
        let flood = async {
            for _ in 0..200_000 {
                if !client.send(&frame).await {
                    break;
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(30), flood).await;
        assert!(ended.is_err(), "the flood is held back");
        let taken = stage.broker.metrics().apis["Metadata"].requests - received_before;
        assert!(
            taken < 100_000,
            "{taken} requests were taken from a client that does not read"
        );
        // Others are served meanwhile.
        let mut other = stage.connect().await;
        assert_eq!(produce(&mut other, "t", batch(&["a"])).await.error_code, 0);
    });
}

#[test]
fn many_idle_connections_hold_no_request_bytes() {
    let stage = Stage::new();
    stage.play(async {
        let mut clients = Vec::new();
        for _ in 0..1_000 {
            let mut client = stage.connect().await;
            client.ask(3, &versions()).await;
            clients.push(client);
        }
        assert_eq!(stage.open_connections(), 1_000);
        assert_eq!(stage.broker.metrics().request_bytes, 0);
        // A cut frame is charged with what was received, not with what was announced.
        clients[0].send(&[0, 0x10, 0, 0, 1, 2, 3]).await;
        sleep(Duration::from_millis(10)).await;
        assert_eq!(stage.broker.metrics().request_bytes, 7);
    });
}

#[test]
fn frames_larger_than_the_common_budget_still_get_through_one_by_one() {
    let stage = Stage::with(|config| config.limits.request_bytes_total_max = 64 << 10);
    stage.play(async {
        let mut setup = stage.connect().await;
        setup.topic("t").await;
        let value = "z".repeat(300_000);
        let frame = wire::messages::encode_request(
            9,
            1,
            Some("big"),
            &produce_request("t", 0, batch(&[value.as_str()])),
        )
        .unwrap();
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(stage.connect().await);
        }
        let (first, second) = frame.split_at(frame.len() / 2);
        let halves = futures_util::future::join_all(clients.iter_mut().map(|client| async {
            client.send(first).await;
            sleep(Duration::from_millis(50)).await;
            client.send(second).await;
            client.frame().await.is_some()
        }));
        assert!(halves.await.into_iter().all(|answered| answered));
    });
}

#[test]
fn a_drain_answers_what_is_in_flight_and_stops_cleanly() {
    let stage = Stage::new();
    let (mut waiting, mut writer) = stage.play(async {
        let mut waiting = stage.connect().await;
        waiting.topic("t").await;
        let mut request = fetch_request("t", 0);
        request.max_wait_ms = 600_000;
        waiting.send_request(FETCH, &request).await;
        let mut writer = stage.connect().await;
        writer
            .send_request(9, &produce_request("t", 0, batch(&["a"])))
            .await;
        sleep(Duration::from_millis(1)).await;
        (waiting, writer)
    });
    let Stage { sim, broker } = stage;
    broker.drain(Duration::from_secs(5)).unwrap();
    sim.block_on(async {
        assert!(writer.frame().await.is_some(), "the produce was answered");
        assert!(waiting.frame().await.is_some(), "the long poll was ended");
        assert!(waiting.is_closed().await);
    });
    let sim = sim.restart_on(9, sim.disk.clone());
    let stage = Stage::on(sim, |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        assert_eq!(client.offset("t", 0, -1).await.1, 1);
    });
}
