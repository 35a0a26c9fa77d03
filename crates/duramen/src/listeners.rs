//! `listeners`, `advertised.listeners` and `listener.security.protocol.map`, as Kafka writes them.
//!
//! Names are free. The controller's listeners are read and not bound: one node decides alone. An
//! empty host is every interface. With `advertised.listeners` alone, `listeners` follows from it.

use std::net::{SocketAddr, ToSocketAddrs};

use broker::{Advertised, ListenerConfig};
use cli::Failure;
use metadata::config::StaticConfig;

/// Every interface, both families where the system has both.
const ANY_HOST: &str = "0.0.0.0";

#[derive(Debug, PartialEq, Eq)]
struct Named {
    name: String,
    host: String,
    port: u16,
}

/// The listeners the settings ask for.
///
/// # Errors
/// A malformed entry, a host that does not resolve, or a protocol that is not there yet.
pub fn resolve(settings: &StaticConfig) -> Result<Vec<ListenerConfig>, Failure> {
    let advertised = parse_all(
        "advertised.listeners",
        &settings.list("advertised.listeners"),
    )?;
    let listeners = match settings.given("listeners") {
        Some(_) => parse_all("listeners", &settings.list("listeners"))?,
        None if !advertised.is_empty() => advertised
            .iter()
            .map(|named| Named {
                name: named.name.clone(),
                host: String::new(),
                port: named.port,
            })
            .collect(),
        None => parse_all("listeners", &settings.list("listeners"))?,
    };
    let controllers = settings.list("controller.listener.names");
    let mut configs = Vec::new();
    for named in listeners {
        if controllers.contains(&named.name.as_str()) {
            tracing::info!(listener = named.name, "not bound: one node decides alone");
            continue;
        }
        check_protocol(settings, &named.name)?;
        let told = advertised.iter().find(|told| told.name == named.name);
        configs.push(ListenerConfig {
            address: address(&named)?,
            advertised: told.map(|told| Advertised {
                host: told.host.clone(),
                port: told.port,
            }),
            name: named.name,
        });
    }
    if configs.is_empty() {
        return Err(Failure::usage(
            "listeners: nothing to listen on",
            "every listener named is a controller's",
            "set listeners=PLAINTEXT://127.0.0.1:9092",
        ));
    }
    Ok(configs)
}

fn parse_all(key: &str, entries: &[&str]) -> Result<Vec<Named>, Failure> {
    let mut parsed: Vec<Named> = Vec::new();
    for entry in entries {
        let named = parse(entry).ok_or_else(|| {
            Failure::usage(
                format!("{key}: cannot read `{entry}`"),
                "an entry is NAME://HOST:PORT, the host may be empty",
                format!("set {key}=PLAINTEXT://127.0.0.1:9092"),
            )
        })?;
        if parsed.iter().any(|other| other.name == named.name) {
            return Err(Failure::usage(
                format!("{key}: the name {} stands there twice", named.name),
                "each listener has a name of its own",
                "rename one of them, and map it in listener.security.protocol.map",
            ));
        }
        parsed.push(named);
    }
    Ok(parsed)
}

fn parse(entry: &str) -> Option<Named> {
    let (name, rest) = entry.split_once("://")?;
    let (host, port) = rest.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    let valid = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    valid.then_some(())?;
    Some(Named {
        name: name.to_owned(),
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

fn check_protocol(settings: &StaticConfig, name: &str) -> Result<(), Failure> {
    let map = settings.list("listener.security.protocol.map");
    let mapped = map.iter().find_map(|entry| {
        let (listener, protocol) = entry.split_once(':')?;
        (listener.trim() == name).then(|| protocol.trim())
    });
    match mapped {
        Some("PLAINTEXT") => Ok(()),
        Some(protocol) => Err(Failure::usage(
            format!("listener {name}: {protocol} is not there yet"),
            "only PLAINTEXT listeners exist so far",
            format!("map {name}:PLAINTEXT in listener.security.protocol.map, or remove it"),
        )),
        None => Err(Failure::usage(
            format!("listener {name}: no security protocol"),
            "listener.security.protocol.map does not name it",
            format!("add {name}:PLAINTEXT to listener.security.protocol.map"),
        )),
    }
}

fn address(named: &Named) -> Result<SocketAddr, Failure> {
    let host = if named.host.is_empty() {
        ANY_HOST
    } else {
        named.host.as_str()
    };
    let unresolved = |reason: String| {
        Failure::usage(
            format!("listener {}: {host} has no address", named.name),
            reason,
            "name a host or address of this machine, or leave the host empty",
        )
    };
    let mut found = (host, named.port)
        .to_socket_addrs()
        .map_err(|error| unresolved(error.to_string()))?;
    found
        .next()
        .ok_or_else(|| unresolved("it resolved to nothing".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(entries: &[(&str, &str)]) -> StaticConfig {
        let (config, problems) = StaticConfig::load(entries.iter().copied());
        let refused = problems
            .iter()
            .any(|problem| matches!(problem, metadata::config::StaticProblem::Refuse(_)));
        assert!(!refused, "{problems:?}");
        config
    }

    #[test]
    fn the_default_listens_on_kafkas_port() {
        let found = resolve(&settings(&[])).expect("the default is valid");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].address.port(), 9092);
        assert_eq!(found[0].advertised, None);
    }

    #[test]
    fn a_container_images_listeners_work_as_they_are() {
        let found = resolve(&settings(&[
            (
                "listeners",
                "PLAINTEXT://:9092,BROKER://:9093,CONTROLLER://:9094",
            ),
            (
                "advertised.listeners",
                "PLAINTEXT://localhost:32768,BROKER://box:9093",
            ),
            (
                "listener.security.protocol.map",
                "BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            ),
            ("controller.listener.names", "CONTROLLER"),
        ]))
        .expect("valid");
        assert_eq!(found.len(), 2);
        let told = found[0].advertised.as_ref().expect("given");
        assert_eq!((told.host.as_str(), told.port), ("localhost", 32768));
        assert_eq!(found[1].address.port(), 9093);
    }

    #[test]
    fn advertised_listeners_alone_decide_the_listeners() {
        let given = [("advertised.listeners", "PLAINTEXT://kafka.example:19092")];
        let found = resolve(&settings(&given)).expect("valid");
        assert_eq!(found[0].address.to_string(), "0.0.0.0:19092");
    }

    #[test]
    fn a_protocol_that_is_not_there_is_refused_clearly() {
        let failure = resolve(&settings(&[("listeners", "SSL://:9093")])).expect_err("no TLS yet");
        assert!(failure.what.contains("SSL is not there yet"), "{failure}");
        let failure = resolve(&settings(&[("listeners", "X://:9093")])).expect_err("unmapped");
        assert!(failure.next.contains("X:PLAINTEXT"), "{failure}");
    }

    #[test]
    fn nonsense_is_quoted_back() {
        for wrong in [
            "9092",
            "PLAINTEXT://host",
            "PLAINTEXT://host:port",
            "://h:1",
        ] {
            let failure = resolve(&settings(&[("listeners", wrong)])).expect_err(wrong);
            assert!(failure.what.contains(wrong), "{failure}");
        }
    }
}
