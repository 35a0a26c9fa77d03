//! Which address a client is told, in networks made for the story: a broker with two subnets, a
//! neighbour, a gateway and a client behind it, each in a network namespace of its own.
//!
//! Needs `unshare` and `ip`, and a kernel that lets this user have namespaces; skipped without.

use std::process::Command;

use serde_json::Value;

use crate::process::{answer_of, binary, directory};

/// The broker's host is the outer namespace, and looks like a container: 10.7.1.2 toward its gateway,
/// 10.7.2.2 toward a neighbour. Words: the binary, a directory.
const SCRIPT: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mkdir /run/netns
touch /run/.containerenv
hostname node-a
ip link set lo up
for name in gate near far; do
    ip netns add $name
    ip -n $name link set lo up
done
ip link add eth0 type veth peer name eth0 netns gate
ip link add eth1 type veth peer name eth0 netns near
ip -n gate link add eth1 type veth peer name eth0 netns far
ip addr add 10.7.1.2/24 dev eth0
ip addr add 10.7.2.2/24 dev eth1
ip -n gate addr add 10.7.1.1/24 dev eth0
ip -n gate addr add 10.7.3.1/24 dev eth1
ip -n near addr add 10.7.2.9/24 dev eth0
ip -n far addr add 10.7.3.9/24 dev eth0
ip link set eth0 up
ip link set eth1 up
for name in gate near far; do ip -n $name link set eth0 up; done
ip -n gate link set eth1 up
ip route add default via 10.7.1.1
ip -n near route add default via 10.7.2.2
ip -n far route add default via 10.7.3.1
ip netns exec gate sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
"$1" dev --listen 0.0.0.0:9092 --http 127.0.0.1:0 --data-dir "$2/data" --print-env >"$2/said" 2>"$2/log" &
broker=$!
trap 'kill $broker; wait $broker' EXIT
for turn in $(seq 600); do
    if grep -q DURAMEN_HTTP "$2/said"; then break; fi
    sleep 0.1
done
look() { echo "$1"; shift; "$@" doctor $address -O json 2>/dev/null || true; }
address=127.0.0.1:9092 look here "$1"
address=10.7.2.2:9092 look near ip netns exec near "$1"
address=10.7.1.2:9092 look gate ip netns exec gate "$1"
address=10.7.1.2:9092 look far ip netns exec far "$1"
address=10.7.9.9:9092 look nowhere ip netns exec near "$1"
"#;

/// What `doctor` says of the advertised address from each place; none where namespaces are not to be
/// had.
fn told() -> Option<Vec<(String, Vec<Value>)>> {
    let namespaces = ["-Urnm", "--uts", "--fork"];
    let mut probe = Command::new("unshare");
    probe
        .args(namespaces)
        .args(["ip", "link", "add", "eth0", "type", "veth"]);
    if !probe.output().is_ok_and(|done| done.status.success()) {
        eprintln!("skipped: no network namespaces for this user");
        return None;
    }
    let place = directory();
    let mut script = Command::new("unshare");
    script
        .args(namespaces)
        .args(["sh", "-c", SCRIPT, "sh", binary()])
        .arg(place.path());
    let answer = answer_of(script, "");
    assert_eq!(answer.exit, 0, "{} {}", answer.stdout, answer.stderr);
    let mut told: Vec<(String, Vec<Value>)> = Vec::new();
    for line in answer.stdout.lines() {
        match (serde_json::from_str(line), told.last_mut()) {
            (Ok(row), Some((_, rows))) => rows.push(row),
            _ => told.push((line.to_owned(), Vec::new())),
        }
    }
    Some(told)
}

/// The detail of a check, from one place.
fn detail(told: &[(String, Vec<Value>)], from: &str, check: &str) -> String {
    let (_, rows) = told.iter().find(|(name, _)| name == from).unwrap();
    let row = rows.iter().find(|row| row["check"] == check);
    let row = row.unwrap_or_else(|| panic!("{from}: {rows:?}"));
    row["detail"].as_str().unwrap().to_owned()
}

#[test]
fn each_client_is_told_an_address_that_it_can_reach() {
    // experience.md 6.1, 12
    let Some(told) = told() else { return };
    let advertised = |from: &str| detail(&told, from, "advertised");
    assert_eq!(advertised("here"), "127.0.0.1:9092 answers");
    assert_eq!(advertised("near"), "10.7.2.2:9092 answers");
    // The gateway comes in through a published port, which in this network nobody publishes.
    let gate = advertised("gate");
    assert!(gate.contains("hands out localhost:9092"), "{gate}");
    assert!(gate.contains("not the one at 10.7.1.2:9092"), "{gate}");
    // Nobody told this network what the host is called: that is what is wrong with it.
    let far = advertised("far");
    assert!(far.contains("hands out node-a:9092"), "{far}");
    assert!(far.contains("node-a does not resolve"), "{far}");
    let nowhere = detail(&told, "nowhere", "port");
    assert!(nowhere.contains("10.7.9.9:9092"), "{nowhere}");
}
