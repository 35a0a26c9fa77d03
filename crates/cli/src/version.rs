//! `version`: which program this is.

use serde::Serialize;

use crate::Failure;
use crate::output::Output;

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
    kafka_protocol: &'static str,
}

/// Shows name, version and the Kafka release whose protocol is spoken.
pub fn run(output: &mut Output) -> Result<(), Failure> {
    let version = Version {
        name: "duramen",
        version: env!("CARGO_PKG_VERSION"),
        kafka_protocol: "4.3",
    };
    if output.is_table() {
        let Version {
            name,
            version,
            kafka_protocol,
        } = version;
        return output.text(&format!(
            "{name} {version} (Kafka protocol {kafka_protocol})\n"
        ));
    }
    output.json(&version)?;
    output.flush()
}
