//! What is known about one connection for as long as it lives.

use std::cell::{OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::advertised::{Advertised, ConnectionFacts, Surroundings, advertise};
use crate::quotas::{ANONYMOUS, ClientMeters};

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
    /// The meters of the client id that was named last.
    meters: RefCell<Option<Rc<ClientMeters>>>,
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
            meters: RefCell::new(None),
        }
    }

    /// The name of the listener it came in by.
    pub fn listener_name(&self) -> &str {
        &self.listener.name
    }

    /// Who it is.
    pub fn user(&self) -> &str {
        ANONYMOUS
    }

    /// The meters of this client id: those of its last request, or those that `look_up` finds.
    pub fn meters(
        &self,
        generation: u64,
        client_id: &str,
        look_up: impl FnOnce() -> ClientMeters,
    ) -> Rc<ClientMeters> {
        let mut known = self.meters.borrow_mut();
        match &*known {
            Some(meters) if meters.are_of(generation, client_id) => meters.clone(),
            _ => known.insert(Rc::new(look_up())).clone(),
        }
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
