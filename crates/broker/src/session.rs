//! What is known about one connection for as long as it lives.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::advertised::{Advertised, ConnectionFacts, Surroundings, advertise};

/// One listening address and what its clients are told.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Its name, for messages and the `listener` label.
    pub name: String,
    /// Where to bind; port 0 takes any free one.
    pub address: SocketAddr,
    /// `advertised.listeners` for this listener; unset, the address is chosen per connection.
    pub advertised: Option<Advertised>,
}

/// Facts of one connection. They do not change, so neither do the answers made of them.
pub struct Session {
    /// The other side.
    pub peer: SocketAddr,
    /// Our side.
    pub local: SocketAddr,
    listener: Arc<ListenerConfig>,
    surroundings: Arc<Surroundings>,
    advertised: OnceCell<Advertised>,
}

impl Session {
    /// The facts of a new connection to `listener`.
    pub fn new(
        peer: SocketAddr,
        local: SocketAddr,
        listener: Arc<ListenerConfig>,
        surroundings: Arc<Surroundings>,
    ) -> Session {
        Session {
            peer,
            local,
            listener,
            surroundings,
            advertised: OnceCell::new(),
        }
    }

    /// The name of the listener it came in by.
    pub fn listener_name(&self) -> &str {
        &self.listener.name
    }

    /// The address this client is told for this node; the same for the connection's whole life.
    pub fn advertised(&self) -> &Advertised {
        self.advertised.get_or_init(|| {
            let connection = ConnectionFacts {
                peer: self.peer,
                local: self.local,
                server_name: None,
            };
            advertise(
                self.listener.advertised.as_ref(),
                &self.surroundings,
                connection,
            )
        })
    }
}
