//! Metrics pushed to a collector, which takes them, refuses them, or is not there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use crate::process::{End, PATIENCE, Server, run_in};

#[path = "../../src/otlp/tests/reading.rs"]
mod reading;

/// A request that a collector got.
struct Got {
    head: String,
    body: Vec<u8>,
}

/// A collector on loopback that gives these answers in turn, the last one for ever.
struct Collector {
    address: String,
    got: Receiver<Got>,
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

#[expect(clippy::disallowed_methods, reason = "a server of the world outside")]
fn collector(answers: &[&'static str]) -> Collector {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, got) = channel();
    let answers = answers.to_vec();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let answer = answers[at.min(answers.len() - 1)];
            // A broker that is killed leaves its request unfinished.
            let Some(request) = serve(stream.unwrap(), answer) else {
                continue;
            };
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    Collector { address, got }
}

fn serve(stream: TcpStream, answer: &str) -> Option<Got> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = header(&head, "content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    reader.get_mut().write_all(answer.as_bytes()).ok()?;
    Some(Got { head, body })
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value)
}

impl Collector {
    fn next(&self) -> Got {
        self.got.recv_timeout(PATIENCE).unwrap()
    }

    /// A server that pushes here ten times a second, with these variables too.
    fn server(&self, more: &[(&str, &str)]) -> Server {
        let endpoint = format!("http://{}", self.address);
        let base = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ];
        Server::ephemeral_with(&[&base[..], more].concat())
    }
}

/// Lines of the log about pushes: level and message.
fn told(end: &End) -> Vec<(String, String)> {
    let lines = end.stderr.iter();
    let lines = lines.filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let said = lines.map(|line| {
        let text = |of: &serde_json::Value| of.as_str().unwrap_or_default().to_owned();
        (text(&line["level"]), text(&line["fields"]["message"]))
    });
    said.filter(|(_, message)| message.contains("metrics"))
        .collect()
}

#[test]
fn a_collector_gets_what_the_page_has_and_the_last_figures_at_the_stop() {
    // experience.md 6.2
    let collector = collector(&[TAKEN]);
    let server = collector.server(&[
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=s3cret"),
        ("OTEL_SERVICE_NAME", "orders-log"),
    ]);
    let got = collector.next();
    assert!(
        got.head.starts_with("POST /v1/metrics HTTP/1.1\r\n"),
        "{}",
        got.head
    );
    assert_eq!(
        header(&got.head, "content-type"),
        Some("application/x-protobuf")
    );
    assert_eq!(header(&got.head, "host"), Some(&*collector.address));
    assert_eq!(header(&got.head, "x-key"), Some("s3cret"));
    let first = reading::protobuf(&got.body);
    assert_eq!(first.resource["service.name"], "orders-log");
    assert!(
        first.resource["service.instance.id"].ends_with("/1"),
        "{:?}",
        first.resource
    );
    assert_eq!(first.series["kafka_brokers"], 1.0);

    server.rows(&["topic", "create", "orders"]);
    server.run_with(&["produce", "orders"], "a\nb\nc\n").rows();
    let end = server.terminate();
    assert!(end.status.success());
    let mut last = None;
    while let Ok(got) = collector.got.try_recv() {
        last = Some(reading::protobuf(&got.body));
    }
    let series = last.unwrap().series;
    let topic = "kafka_server_brokertopicmetrics_messagesin_total{topic=\"orders\"}";
    assert_eq!(series[topic], 3.0, "the stop brings the last figures");
    assert!(series["duramen_otlp_pushes_total{result=\"delivered\"}"] >= 1.0);
    assert_eq!(told(&end).len(), 1, "that it pushes: {:?}", told(&end));
    assert!(!end.stderr.iter().any(|line| line.contains("s3cret")));
}

#[test]
fn json_and_gzip_are_spoken_too() {
    let collector = collector(&[TAKEN]);
    let _server = collector.server(&[
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ]);
    let got = collector.next();
    assert_eq!(header(&got.head, "content-type"), Some("application/json"));
    assert_eq!(header(&got.head, "content-encoding"), Some("gzip"));
    let mut body = Vec::new();
    let mut plain = flate2::read::GzDecoder::new(&got.body[..]);
    plain.read_to_end(&mut body).unwrap();
    assert_eq!(reading::json(&body).series["kafka_brokers"], 1.0);
}

#[test]
fn a_collector_that_asks_for_patience_gets_the_same_again_and_one_that_refuses_does_not() {
    let collector = collector(&[
        "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 429 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 400 No\r\nContent-Length: 6\r\n\r\ns3cret",
        TAKEN,
    ]);
    let server = collector.server(&[]);
    let bodies: Vec<Vec<u8>> = (0..4).map(|_| collector.next().body).collect();
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(bodies[1], bodies[2]);
    assert_ne!(bodies[2], bodies[3], "told anew");
    // The counters are told once the push after has begun.
    let told_later = reading::protobuf(&collector.next().body).series;
    assert_eq!(
        told_later["duramen_otlp_pushes_total{result=\"failed\"}"],
        1.0
    );
    let end = server.terminate();
    let levels: Vec<String> = told(&end).into_iter().map(|(level, _)| level).collect();
    assert_eq!(levels, ["INFO", "WARN", "INFO"], "begins, fails, goes on");
    assert!(!end.stderr.iter().any(|line| line.contains("s3cret")));
}

#[test]
fn points_that_a_collector_does_not_take_are_told_once() {
    // { partial_success: { rejected_data_points: 2 } }
    let collector = collector(&["HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\x0a\x02\x08\x02"]);
    let server = collector.server(&[]);
    for _ in 0..3 {
        collector.next();
    }
    let end = server.terminate();
    let partly = "the collector takes only part of the metrics";
    let lines = told(&end);
    let lines = lines.iter().filter(|(_, message)| message == partly);
    assert_eq!(lines.count(), 1);
}

#[expect(clippy::disallowed_methods, reason = "sockets that nobody serves")]
#[test]
fn a_broker_serves_whatever_its_collector_does() {
    // One that is not there, one that answers nothing, one that closes in the middle, one that says
    // what nobody asked.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_address = format!("http://{}", silent.local_addr().unwrap());
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone_address = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let noise = collector(&["nonsense\r\n\r\n"]);
    let cut = collector(&["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"]);
    for endpoint in [
        silent_address,
        gone_address,
        format!("http://{}", noise.address),
        format!("http://{}", cut.address),
        "http://no-such-host.invalid:4318".to_owned(),
    ] {
        let server = Server::ephemeral_with(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
            ("OTEL_METRIC_EXPORT_TIMEOUT", "200"),
        ]);
        server.rows(&["topic", "create", "orders"]);
        server.run_with(&["produce", "orders"], "a\nb\n").rows();
        let read = server.rows(&["consume", "orders", "-n", "2"]);
        assert_eq!(read.len(), 2, "{endpoint}");
        let end = server.terminate();
        assert!(end.status.success(), "{endpoint}: {:?}", end.stderr);
        let warnings = told(&end).into_iter().filter(|(level, _)| level == "WARN");
        assert!(warnings.count() <= 1, "{endpoint}: once: {:?}", end.stderr);
    }
}

#[test]
fn what_is_not_spoken_is_refused_at_the_start_with_what_to_set() {
    let refused = |name: &str, value: &str| {
        let variables = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            (name, value),
        ];
        let answer = run_in(&variables, &["dev", "--ephemeral", "--port", "auto"]);
        let (exit, [error, _, next]) = answer.failure();
        assert_eq!(exit, 2, "{name}={value}");
        assert!(error.contains(name), "{error}");
        next
    };
    let next = refused("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    assert!(
        next.contains("http/protobuf") && next.contains("4318"),
        "{next}"
    );
    let next = refused(
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
        "https://collector:4318",
    );
    assert!(next.contains("http://"), "{next}");
    // Switched off, nothing of it is looked at.
    let off = [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
    ];
    let server = Server::ephemeral_with(&off);
    assert!(told(&server.terminate()).is_empty());
}
