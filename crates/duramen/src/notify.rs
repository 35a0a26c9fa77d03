//! What a service manager is told: ready, and stopping. The protocol is systemd's `sd_notify`: a
//! datagram to the socket that `NOTIFY_SOCKET` names; without the variable nobody wants to know.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the socket; one that begins with `@` is in the abstract namespace.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Says that clients are served.
pub fn ready() {
    tell("READY=1");
}

/// Says that a stop was asked for and goes on.
pub fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(socket) = std::env::var_os(VARIABLE) else {
        return;
    };
    // A manager that waits for the word will say so itself; serving goes on.
    if let Err(error) = send(&socket, state) {
        tracing::warn!(%error, ?socket, state, "the service manager was not told");
    }
}

fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?
        .send_to_addr(state.as_bytes(), &address)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_without_a_file_hears_it_too() {
        let name = format!("duramen-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a free name");
        send(OsStr::new(&format!("@{name}")), "READY=1").expect("told");
        let mut heard = [0; 16];
        let length = socket.recv(&mut heard).expect("heard");
        assert_eq!(&heard[..length], b"READY=1");
        assert!(send(OsStr::new("/nowhere/at/all"), "READY=1").is_err());
    }
}
