//! A whole broker inside a test: no process to start, no port to choose, nothing left behind.
//!
//! ```
//! use duramen::testing::Broker;
//!
//! let broker = Broker::ephemeral()?;
//! // Any Kafka client in this test now connects to `broker.bootstrap_servers()`.
//! # assert!(broker.bootstrap_servers().starts_with("127.0.0.1:"));
//! # Ok::<(), duramen::testing::Failure>(())
//! ```
//!
//! It is the broker of the product, on loopback, with its own threads and its data in a temporary
//! directory. Tests that run at the same time each have their own.

use std::net::SocketAddr;
use std::time::Duration;

pub use cli::Failure;

use crate::running::{Place, Running};
use crate::scratch::Scratch;
use crate::settings::{self, Setting};

/// A running broker; it stops, and its data goes, when this is dropped.
pub struct Broker {
    running: Option<Running>,
    address: SocketAddr,
    /// Dropped last: the directory outlives the broker in it.
    _scratch: Scratch,
}

impl Broker {
    /// Starts one with the settings of `duramen dev`: topics are created when they are first used,
    /// and a group of one does not wait for others. Serves when this returns.
    ///
    /// # Errors
    /// Three lines about what stood in the way, such as a temporary directory without room.
    pub fn ephemeral() -> Result<Broker, Failure> {
        Broker::ephemeral_with(&[])
    }

    /// The same with more settings, by Kafka's names: `[("num.partitions", "3")]`.
    ///
    /// # Errors
    /// As [`Self::ephemeral`], and for a setting that is not known or not allowed.
    pub fn ephemeral_with(more: &[(&str, &str)]) -> Result<Broker, Failure> {
        let scratch = Scratch::create()?;
        let data_dir = scratch.path().to_owned();
        let mut layers = settings::of_a_laptop();
        layers.extend(
            more.iter()
                .map(|(key, value)| Setting::flag("test", key, *value)),
        );
        layers.push(Setting::flag(
            "test",
            "listeners",
            "PLAINTEXT://127.0.0.1:0",
        ));
        layers.push(Setting::flag(
            "test",
            "log.dirs",
            data_dir.display().to_string(),
        ));
        let place = Place {
            data_dir,
            http: None,
            push: None,
            drain_grace: Duration::ZERO,
        };
        let running = Running::start(settings::check(layers)?, place)?;
        let address = running.kafka.first().copied().ok_or_else(|| {
            Failure::new(
                "listeners: none",
                "nothing was bound",
                "report this as a bug",
            )
        })?;
        Ok(Broker {
            running: Some(running),
            address,
            _scratch: scratch,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as text, as clients take it for `bootstrap.servers`.
    pub fn bootstrap_servers(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(running) = self.running.take()
            && let Err(failure) = running.drain()
        {
            tracing::warn!(%failure, "the broker of a test was not closed cleanly");
        }
    }
}
