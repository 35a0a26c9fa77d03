//! Which address a client is told to come back to: a pure function of what is known about its
//! connection (experience.md 6.1).
//!
//! Clients cache addresses, so a connection gets the same answer throughout its life: the
//! function is asked once per connection, and its input does not change.
//!
//! The port is always the listener's own: a published port that differs from it cannot be seen
//! from inside. Never asked here: whether the address works. `doctor` finds out from outside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Host and port as handed to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What the host knows about its own place in the network; read once at start.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The node's hostname, if it has one that means something to others.
    pub hostname: Option<String>,
    /// The default gateway of a container; `None` outside of one.
    pub container_gateway: Option<IpAddr>,
    /// Own addresses with the length of their network prefix.
    pub interfaces: Vec<(IpAddr, u8)>,
}

/// What is known about one connection.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFacts<'a> {
    /// The other side.
    pub peer: SocketAddr,
    /// Our side: the address the client reached, with the listener's port.
    pub local: SocketAddr,
    /// The name the client asked for by TLS, if it did.
    pub server_name: Option<&'a str>,
}

/// The address for one connection. `explicit` is `advertised.listeners` for its listener.
pub fn advertise(
    explicit: Option<&Advertised>,
    surroundings: &Surroundings,
    connection: ConnectionFacts<'_>,
) -> Advertised {
    if let Some(explicit) = explicit {
        return explicit.clone();
    }
    let port = connection.local.port();
    let peer = plain(connection.peer.ip());
    let host = if let Some(name) = connection.server_name {
        name.to_owned()
    } else if peer.is_loopback() {
        // Also for a peer on ::1: it reached us over IPv6, but old clients try only one family,
        // and a listener on both serves 127.0.0.1 as well. A listener on ::1 alone does not.
        if connection.local.is_ipv6() && plain(connection.local.ip()).is_ipv6() {
            plain(connection.local.ip()).to_string()
        } else {
            Ipv4Addr::LOCALHOST.to_string()
        }
    } else if surroundings.container_gateway.map(plain) == Some(peer) {
        "localhost".to_owned()
    } else if let Some(own) = own_address_beside(surroundings, peer) {
        own.to_string()
    } else {
        surroundings
            .hostname
            .clone()
            .unwrap_or_else(|| plain(connection.local.ip()).to_string())
    };
    Advertised { host, port }
}

/// Our address in the subnet the peer is in.
fn own_address_beside(surroundings: &Surroundings, peer: IpAddr) -> Option<IpAddr> {
    surroundings
        .interfaces
        .iter()
        .filter(|(own, _)| !own.is_loopback())
        .find(|(own, prefix)| same_subnet(*own, peer, *prefix))
        .map(|(own, _)| *own)
}

fn same_subnet(own: IpAddr, peer: IpAddr, prefix: u8) -> bool {
    let (own, peer, width) = match (own, peer) {
        (IpAddr::V4(own), IpAddr::V4(peer)) => {
            (u128::from(u32::from(own)), u128::from(u32::from(peer)), 32)
        }
        (IpAddr::V6(own), IpAddr::V6(peer)) => (u128::from(own), u128::from(peer), 128),
        _ => return false,
    };
    if prefix == 0 || prefix > width {
        return false;
    }
    (own ^ peer) >> (width - prefix) == 0
}

/// An IPv4 address that came in an IPv6 socket is an IPv4 address.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn container() -> Surroundings {
        Surroundings {
            hostname: Some("node-a".into()),
            container_gateway: Some("172.17.0.1".parse().expect("an address")),
            interfaces: vec![
                ("127.0.0.1".parse().expect("an address"), 8),
                ("172.17.0.5".parse().expect("an address"), 16),
            ],
        }
    }

    fn host_for(peer: &str, local: &str) -> String {
        let connection = ConnectionFacts {
            peer: at(peer),
            local: at(local),
            server_name: None,
        };
        advertise(None, &container(), connection).host
    }

    #[test]
    fn each_row_of_the_table_gets_its_address() {
        assert_eq!(host_for("127.0.0.1:5000", "127.0.0.1:9092"), "127.0.0.1");
        assert_eq!(
            host_for("[::ffff:127.0.0.1]:5000", "[::ffff:127.0.0.1]:9092"),
            "127.0.0.1"
        );
        assert_eq!(host_for("[::1]:5000", "[::1]:9092"), "::1");
        assert_eq!(host_for("172.17.0.1:5000", "172.17.0.5:9092"), "localhost");
        assert_eq!(host_for("172.17.3.9:5000", "172.17.0.5:9092"), "172.17.0.5");
        assert_eq!(host_for("10.1.2.3:5000", "172.17.0.5:9092"), "node-a");
    }

    #[test]
    fn an_explicit_listener_wins_over_everything() {
        let explicit = Advertised {
            host: "kafka.example".into(),
            port: 19092,
        };
        let connection = ConnectionFacts {
            peer: at("127.0.0.1:5000"),
            local: at("127.0.0.1:9092"),
            server_name: Some("other.example"),
        };
        assert_eq!(
            advertise(Some(&explicit), &container(), connection),
            explicit
        );
    }

    #[test]
    fn a_server_name_is_answered_with_itself() {
        let connection = ConnectionFacts {
            peer: at("10.0.0.1:5000"),
            local: at("10.0.0.2:9092"),
            server_name: Some("kafka.example"),
        };
        let advertised = advertise(None, &container(), connection);
        assert_eq!(
            advertised,
            Advertised {
                host: "kafka.example".into(),
                port: 9092
            }
        );
    }

    #[test]
    fn without_a_hostname_the_reached_address_is_told() {
        let surroundings = Surroundings::default();
        let connection = ConnectionFacts {
            peer: at("10.0.0.1:5000"),
            local: at("10.9.9.9:9092"),
            server_name: None,
        };
        assert_eq!(advertise(None, &surroundings, connection).host, "10.9.9.9");
    }
}
