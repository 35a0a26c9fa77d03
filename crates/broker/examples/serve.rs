//! A broker on 127.0.0.1 with a given data directory, until its input ends. For trying out.
//!
//! `serve DIR [PORT]`

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, BrokerConfig, ListenerConfig};
use metadata::config::StaticConfig;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("usage: serve DIR [PORT]")?;
    let port = arguments.next().unwrap_or_else(|| "0".into());
    let world = world::World::real(std::path::Path::new(&dir))?;
    let entries = [
        ("auto.create.topics.enable", "true"),
        ("default.replication.factor", "1"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let (settings, _) = StaticConfig::load(entries);
    let config = BrokerConfig {
        listeners: vec![ListenerConfig {
            name: "PLAINTEXT".into(),
            address: format!("127.0.0.1:{port}").parse()?,
            advertised: None,
        }],
        settings: Arc::new(settings),
        ..BrokerConfig::default()
    };
    let broker = Broker::start(world, config)?;
    tracing::info!(addresses = ?broker.addresses(), "serving");
    // The end of the input is the signal to stop: no signal handling in an example.
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest)?;
    broker.drain(Duration::from_secs(5))?;
    Ok(())
}
