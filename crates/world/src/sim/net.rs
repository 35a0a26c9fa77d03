//! A network in memory: hosts, listeners, and connections that can be delayed, held and reset.
//!
//! No thread and no clock of its own: the same calls in the same order give the same bytes at
//! the same virtual times. Like a TCP that never retransmits, a held connection stays open and
//! silent: every request needs a deadline.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::pipe::{self, Connection, End, Weather};
use crate::net::{Accepted, Listener, LocalFuture, Net, Stream};
use crate::sim::{Rng, SimClock};

/// Bytes each direction buffers: the order of a socket's buffer.
const PIPE_BYTES: usize = 64 << 10;
/// Connections waiting to be accepted; more are refused.
const BACKLOG_MAX: usize = 1024;
/// First of the ports that `listen` gives for port zero, and `connect` for its own side.
const PORT_FIRST: u16 = 32_768;

/// One host's view of the network. Clones are the same host.
#[derive(Clone)]
pub struct SimNet {
    network: Arc<Mutex<Network>>,
    address: IpAddr,
}

struct Network {
    clock: SimClock,
    rng: Rng,
    hosts: BTreeMap<String, IpAddr>,
    listeners: BTreeMap<(IpAddr, u16), Queue>,
    port_next: u16,
    delay: (u64, u64),
    connections: Vec<Open>,
    refusing: BTreeSet<IpAddr>,
    held: BTreeSet<(IpAddr, IpAddr)>,
    /// Connects that wait for a hold to end.
    waiting: Vec<Waker>,
}

struct Open {
    hosts: (IpAddr, IpAddr),
    connection: Connection,
}

#[derive(Default)]
struct Queue {
    loopback_only: bool,
    arrived: VecDeque<End>,
    acceptor: Option<Waker>,
}

impl SimNet {
    /// A network with one host.
    pub fn new(seed: u64, clock: SimClock, host: &str) -> SimNet {
        let network = Arc::new(Mutex::new(Network {
            clock,
            rng: Rng::fork(seed, "net"),
            hosts: BTreeMap::new(),
            listeners: BTreeMap::new(),
            port_next: PORT_FIRST,
            delay: (0, 0),
            connections: Vec::new(),
            refusing: BTreeSet::new(),
            held: BTreeSet::new(),
            waiting: Vec::new(),
        }));
        SimNet {
            network,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        }
        .host(host)
    }

    /// Another host of the same network, or the one of that name.
    pub fn host(&self, name: &str) -> SimNet {
        let mut network = self.network();
        let next = network.hosts.len() as u32 + 1;
        let address = *network
            .hosts
            .entry(name.to_owned())
            .or_insert_with(|| IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + next)));
        SimNet {
            network: Arc::clone(&self.network),
            address,
        }
    }

    /// This host's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How long bytes of new connections are under way, drawn anew for each piece.
    pub fn set_delay(&self, least: Duration, most: Duration) {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.network().delay = (nanos(least), nanos(most).max(nanos(least)));
    }

    /// Whether connects to this host are refused, as if nobody listened.
    pub fn refuse(&self, refuse: bool) {
        let mut network = self.network();
        if refuse {
            network.refusing.insert(self.address);
        } else {
            network.refusing.remove(&self.address);
        }
    }

    /// Resets all connections between this host and another; new ones are possible at once.
    pub fn reset_with(&self, other: &SimNet) {
        for connection in self.connections_with(|host| host == other.address) {
            connection.reset();
        }
    }

    /// Takes the host off the network as its crash would: connections are reset, listeners gone.
    pub fn crash(&self) {
        for connection in self.connections_with(|_| true) {
            connection.reset();
        }
        self.network()
            .listeners
            .retain(|(host, _), _| *host != self.address);
    }

    /// Nothing passes between this host and another, and nobody is told, until released.
    pub fn hold_with(&self, other: &SimNet) {
        self.network()
            .held
            .insert(pair(self.address, other.address));
        for connection in self.connections_with(|host| host == other.address) {
            connection.hold(true);
        }
    }

    /// Ends a hold: what was written meanwhile arrives.
    pub fn release_with(&self, other: &SimNet) {
        let waiting = {
            let mut network = self.network();
            network.held.remove(&pair(self.address, other.address));
            std::mem::take(&mut network.waiting)
        };
        for connection in self.connections_with(|host| host == other.address) {
            connection.hold(false);
        }
        for waker in waiting {
            waker.wake();
        }
    }

    /// Open connections of this host.
    pub fn connections(&self) -> usize {
        self.connections_with(|_| true).len()
    }

    fn connections_with(&self, other: impl Fn(IpAddr) -> bool) -> Vec<Connection> {
        let mut network = self.network();
        network
            .connections
            .retain(|open| !open.connection.is_closed());
        network
            .connections
            .iter()
            .filter(|open| {
                let (one, two) = open.hosts;
                (one == self.address && other(two)) || (two == self.address && other(one))
            })
            .map(|open| open.connection.clone())
            .collect()
    }

    fn network(&self) -> MutexGuard<'_, Network> {
        self.network
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn poll_connect(&self, cx: &mut Context<'_>, address: &str) -> Poll<io::Result<End>> {
        let mut network = self.network();
        let (host, port) = network.resolve(self.address, address)?;
        if network.held.contains(&pair(self.address, host)) {
            network.waiting.push(cx.waker().clone());
            return Poll::Pending;
        }
        let refused = || Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into()));
        if network.refusing.contains(&host) {
            return refused();
        }
        let own_port = network.port();
        let weather = [network.weather(), network.weather()];
        let Some(queue) = network.listeners.get_mut(&(host, port)) else {
            return refused();
        };
        if queue.arrived.len() >= BACKLOG_MAX || (queue.loopback_only && host != self.address) {
            return refused();
        }
        let addresses = [
            SocketAddr::new(self.address, own_port),
            SocketAddr::new(host, port),
        ];
        let (ours, theirs, connection) = pipe::connection(PIPE_BYTES, addresses, weather);
        queue.arrived.push_back(theirs);
        let acceptor = queue.acceptor.take();
        network
            .connections
            .retain(|open| !open.connection.is_closed());
        network.connections.push(Open {
            hosts: (self.address, host),
            connection,
        });
        drop(network);
        if let Some(acceptor) = acceptor {
            acceptor.wake();
        }
        Poll::Ready(Ok(ours))
    }
}

impl Network {
    fn port(&mut self) -> u16 {
        let port = self.port_next;
        self.port_next = port.checked_add(1).unwrap_or(PORT_FIRST);
        port
    }

    fn weather(&mut self) -> Option<Weather> {
        Some(Weather {
            clock: self.clock.clone(),
            rng: Rng::new(self.rng.next_u64()),
            delay: self.delay,
        })
    }

    fn resolve(&self, from: IpAddr, address: &str) -> io::Result<(IpAddr, u16)> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "not a host:port address");
        if let Ok(address) = address.parse::<SocketAddr>() {
            let host = if address.ip().is_loopback() {
                from
            } else {
                address.ip()
            };
            return Ok((host, address.port()));
        }
        let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().map_err(|_| invalid())?;
        if host == "localhost" {
            return Ok((from, port));
        }
        match self.hosts.get(host) {
            Some(host) => Ok((*host, port)),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
        }
    }
}

impl Net for SimNet {
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let mut network = self.network();
        let wildcard = address.ip().is_unspecified();
        let loopback_only = address.ip().is_loopback();
        if !wildcard && !loopback_only && address.ip() != self.address {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        let mut port = address.port();
        while port == 0 || network.listeners.contains_key(&(self.address, port)) {
            if address.port() != 0 {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            port = network.port();
        }
        network.listeners.insert(
            (self.address, port),
            Queue {
                loopback_only,
                ..Queue::default()
            },
        );
        // What is shown can be connected to: the wildcard is not an address.
        let shown = if wildcard { self.address } else { address.ip() };
        Ok(Box::new(SimListener {
            net: self.clone(),
            local: SocketAddr::new(shown, port),
        }))
    }

    fn connect<'a>(&'a self, address: &'a str) -> LocalFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let end = poll_fn(|cx| self.poll_connect(cx, address)).await?;
            Ok(Box::new(end) as Box<dyn Stream>)
        })
    }
}

struct SimListener {
    net: SimNet,
    local: SocketAddr,
}

impl Listener for SimListener {
    fn local_address(&self) -> SocketAddr {
        self.local
    }

    fn accept(&mut self) -> LocalFuture<'_, io::Result<Box<dyn Accepted>>> {
        Box::pin(poll_fn(|cx| {
            let key = (self.net.address, self.local.port());
            let mut network = self.net.network();
            let Some(queue) = network.listeners.get_mut(&key) else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            match queue.arrived.pop_front() {
                Some(end) => Poll::Ready(Ok(Box::new(end) as Box<dyn Accepted>)),
                None => {
                    queue.acceptor = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let queue = self
            .net
            .network()
            .listeners
            .remove(&(self.net.address, self.local.port()));
        // Closed outside the lock; their peers see the end.
        drop(queue);
    }
}

fn pair(one: IpAddr, two: IpAddr) -> (IpAddr, IpAddr) {
    (one.min(two), one.max(two))
}
