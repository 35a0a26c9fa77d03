//! What this host knows about its place in the network, read once at start.

use std::net::{IpAddr, Ipv4Addr};

use broker::Surroundings;

/// Reads the hostname, the interfaces and, in a container, the default gateway.
pub fn read() -> Surroundings {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    Surroundings {
        hostname: hostname(),
        container_gateway: in_container().then(default_gateway).flatten(),
        interfaces: interfaces
            .into_iter()
            .map(|interface| {
                let prefix = match &interface.addr {
                    if_addrs::IfAddr::V4(v4) => v4.prefixlen,
                    if_addrs::IfAddr::V6(v6) => v6.prefixlen,
                };
                (interface.ip(), prefix)
            })
            .collect(),
    }
}

fn hostname() -> Option<String> {
    let names = rustix::system::uname();
    let name = names.nodename().to_str().ok()?.to_owned();
    (!name.is_empty() && name != "(none)").then_some(name)
}

fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| std::path::Path::new(mark).exists())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the kernel's table, not the data directory"
)]
fn default_gateway() -> Option<IpAddr> {
    gateway_in(&std::fs::read_to_string("/proc/net/route").ok()?)
}

/// The gateway of the row whose destination is everything; addresses are little-endian hex.
fn gateway_in(table: &str) -> Option<IpAddr> {
    table.lines().skip(1).find_map(|row| {
        let mut cells = row.split_whitespace().skip(1);
        let (destination, gateway) = (cells.next()?, cells.next()?);
        let gateway = u32::from_str_radix(gateway, 16).ok()?;
        (destination == "00000000" && gateway != 0)
            .then(|| IpAddr::V4(Ipv4Addr::from(gateway.swap_bytes())))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_names_the_gateway() {
        let table = "Iface\tDestination\tGateway\tFlags\n\
                     eth0\t000011AC\t00000000\t0001\n\
                     eth0\t00000000\t010011AC\t0003\n";
        assert_eq!(
            gateway_in(table),
            Some(IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1)))
        );
        assert_eq!(gateway_in("Iface\n"), None);
    }
}
