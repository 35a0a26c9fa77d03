//! Prometheus scrapes the broker while it works, and has an answer to every question of the
//! dashboards that people have, and of our own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::broker::{Broker, free_ports};
use crate::kcat::kcat;
use crate::libraries::create_topic;
use crate::program::{self, Failure, Outcome, Running, eventually, sources};
use crate::run::{Stage, Suite, Teller, say};

const LIMIT: Duration = Duration::from_secs(40);
const TOPIC: &str = "e2e-metrics";
const GROUP: &str = "e2e-readers";

/// Prometheus' stories.
pub fn suite() -> Suite {
    Suite {
        client: "prometheus",
        stories: &["check", "dashboards"],
        tell,
    }
}

fn tell(stage: &mut Stage, stories: &[&'static str], teller: &mut Teller) {
    let mut load = Load::start(stage);
    for story in stories {
        teller.time(story, || {
            let load = match &mut load {
                Ok(load) => load,
                Err(failure) => return Err(Failure::Wrong(failure.to_string())),
            };
            match *story {
                "check" => check(load),
                _ => dashboards(stage, load),
            }
        });
    }
}

/// A broker with a producer and a group at work.
struct Load {
    broker: Broker,
    _reader: Running,
}

impl Load {
    fn start(stage: &Stage) -> Outcome<Load> {
        stage.binary().ok_or("only our own binary has the page")?;
        let broker = stage.fresh()?;
        create_topic(&broker, TOPIC)?;
        let mut command = kcat(&broker);
        command.args(["-G", GROUP, "-X", "auto.commit.interval.ms=200"]);
        command.args(["-X", "auto.offset.reset=earliest", TOPIC]);
        let reader = Running::start(command, |_| {}, |_| {})?;
        let mut load = Load {
            broker,
            _reader: reader,
        };
        load.produce()?;
        let group = format!("kafka_consumergroup_members{{consumergroup=\"{GROUP}\"}} 1");
        let offset = format!("kafka_consumergroup_current_offset{{consumergroup=\"{GROUP}\"");
        eventually("the group to have read something", LIMIT, || {
            let page = load.page()?;
            Ok(page.contains(&group) && page.contains(&offset))
        })?;
        Ok(load)
    }

    fn produce(&mut self) -> Outcome {
        let rows: String = (0..200)
            .map(|row| format!("{row}\tvalue {row}\n"))
            .collect();
        let mut command = kcat(&self.broker);
        command.args(["-P", "-t", TOPIC, "-K", "\\t"]);
        program::run(command, Some(rows.as_bytes()), LIMIT)?.good("kcat -P")?;
        match self.broker.death() {
            Some(death) => Err(Failure::Wrong(death)),
            None => Ok(()),
        }
    }

    fn page(&self) -> Outcome<String> {
        get(self.broker.http(), "/metrics")
    }
}

/// `promtool check metrics` has nothing to say.
fn check(load: &mut Load) -> Outcome {
    let page = load.page()?;
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]);
    let said = program::run(command, Some(page.as_bytes()), LIMIT)?;
    if said.status.success() && said.err.trim().is_empty() && said.out.trim().is_empty() {
        return Ok(());
    }
    Err(format!("{}\n{}", said.out, said.err).into())
}

/// Every expression has an answer while records come and go.
fn dashboards(stage: &Stage, load: &mut Load) -> Outcome {
    let mut questions = public()?;
    let others = questions.len();
    questions.extend(own(stage)?);
    let (port, _) = free_ports()?;
    let prometheus = prometheus(load, port)?;
    eventually("Prometheus to be ready", LIMIT, || {
        Ok(get(port, "/-/ready").is_ok())
    })?;
    let mut silent = questions.clone();
    let asked = eventually("every expression to have data", LIMIT, || {
        load.produce()?;
        let mut left = Vec::new();
        for question in std::mem::take(&mut silent) {
            if !has_data(port, &question)? {
                left.push(question);
            }
        }
        silent = left;
        Ok(silent.is_empty())
    });
    prometheus.terminate(LIMIT)?;
    if let Err(failure) = asked {
        return Err(format!("{failure}; without data:\n{}", silent.join("\n")).into());
    }
    let ours = questions.len() - others;
    say(&format!(
        "    {others} expressions of public dashboards and {ours} of ours have data"
    ));
    Ok(())
}

/// What public dashboards ask, with their variables filled in.
fn public() -> Outcome<Vec<String>> {
    let text = std::fs::read_to_string(sources().join("dashboards.txt"))?;
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(filled_in).collect())
}

/// What our own dashboard asks.
fn own(stage: &Stage) -> Outcome<Vec<String>> {
    let binary = stage
        .binary()
        .ok_or("only our own binary has a dashboard")?;
    let mut command = Command::new(binary);
    command.args(["generate", "grafana"]);
    let page = program::run(command, None, LIMIT)?.good("generate grafana")?;
    let page: Value = serde_json::from_str(&page).map_err(|error| error.to_string())?;
    let panels = page["panels"].as_array().cloned().unwrap_or_default();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().cloned().unwrap_or_default());
    let questions: Vec<String> = targets
        .map(|target| filled_in(target["expr"].as_str().unwrap_or_default()))
        .collect();
    if questions.is_empty() {
        return Err("our dashboard asks nothing".into());
    }
    Ok(questions)
}

/// Variables of the dashboards, longer names first. Strimzi's and the exporter's labels are put on by
/// whoever scrapes, here too.
fn filled_in(expression: &str) -> String {
    let mut expression = expression.to_owned();
    for (variable, value) in [
        ("$__rate_interval", "10s"),
        ("$strimzi_cluster_name", "cluster"),
        ("$kubernetes_namespace", "kafka"),
        ("$kafka_partition", ".+"),
        ("$consumer_group", ".+"),
        ("$consumergroup", ".+"),
        ("$cluster_name", "CLUSTER"),
        ("$kafka_broker", "[0-9]+"),
        ("$kafka_topic", ".+"),
        ("$namespace", "kafka"),
        ("$instance", "broker"),
        ("$topic", ".+"),
    ] {
        expression = expression.replace(variable, value);
    }
    // What our page calls the cluster is its id, which nobody knows beforehand.
    expression.replace("cluster_name=\"CLUSTER\"", "cluster_name=~\".+\"")
}

fn prometheus(load: &Load, port: u16) -> Outcome<Running> {
    let folder = load.broker.scratch().join("prometheus");
    std::fs::create_dir_all(&folder)?;
    let configuration = folder.join("prometheus.yml");
    let labels = [
        ("instance", "broker"),
        ("namespace", "kafka"),
        ("container", "kafka"),
        ("strimzi_io_cluster", "cluster"),
        ("strimzi_io_name", "cluster-kafka"),
        ("kubernetes_pod_name", "cluster-0"),
    ];
    let labels: String = labels
        .iter()
        .map(|(label, value)| format!("          {label}: {value}\n"))
        .collect();
    std::fs::write(
        &configuration,
        format!(
            "scrape_configs:\n  - job_name: kafka\n    scrape_interval: 1s\n    static_configs:\n      \
             - targets: ['127.0.0.1:{}']\n        labels:\n{labels}",
            load.broker.http()
        ),
    )?;
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", configuration.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=warn");
    Running::start(command, |_| {}, |_| {})
}

fn has_data(port: u16, expression: &str) -> Outcome<bool> {
    let mut query = String::new();
    for byte in expression.bytes() {
        if byte.is_ascii_alphanumeric() {
            query.push(char::from(byte));
        } else {
            query.push_str(&format!("%{byte:02X}"));
        }
    }
    let answer = get(port, &format!("/api/v1/query?query={query}"))?;
    let answer: Value =
        serde_json::from_str(&answer).map_err(|error| format!("{error}: {answer}"))?;
    if answer["status"] != "success" {
        return Err(format!("{expression}: {answer}").into());
    }
    let found = answer["data"]["result"].as_array();
    Ok(found.is_some_and(|found| !found.is_empty()))
}

/// The body of a page, without chunks: HTTP/1.0 has none.
fn get(port: u16, path: &str) -> Outcome<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(body.to_owned()),
        // A question that is wrong is answered with what is wrong.
        Some("400" | "422") => Ok(body.to_owned()),
        _ => Err(format!("{path}: {head}").into()),
    }
}
