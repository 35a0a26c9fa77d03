//! What lies on the brokers' disks.

use std::collections::BTreeMap;

use wire::messages::describe_log_dirs;

use crate::cluster::Client;
use crate::error::{ClientError, check};
use crate::fetch::Place;

/// A data directory of a broker.
#[derive(Debug, Clone, PartialEq)]
pub struct LogDir {
    /// The broker.
    pub broker: i32,
    /// The directory, as the broker calls it.
    pub path: String,
    /// Why it cannot be used, if it cannot.
    pub error: Option<String>,
    /// Size of its disk, bytes; none where the broker is too old to tell.
    pub total_bytes: Option<u64>,
    /// Free bytes of its disk; none where the broker is too old to tell.
    pub usable_bytes: Option<u64>,
    /// What lies in it, by partition.
    pub logs: BTreeMap<Place, LogOnDisk>,
}

/// A partition's log on one broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOnDisk {
    /// Its size, bytes.
    pub bytes: u64,
}

impl Client {
    /// The data directories of every broker that can be asked.
    ///
    /// # Errors
    /// A broker that cannot be reached, or its refusal.
    pub async fn log_dirs(&mut self) -> Result<Vec<LogDir>, ClientError> {
        let mut dirs = Vec::new();
        for broker in self.broker_ids() {
            let request = describe_log_dirs::Request {
                topics: None,
                ..Default::default()
            };
            let response = self.ask(broker, &request).await?;
            check(response.error_code, None)?;
            for told in response.results {
                let logs = told.topics.iter().flat_map(|topic| {
                    let current = topic.partitions.iter().filter(|part| !part.is_future_key);
                    current.map(|part| {
                        let bytes = u64::try_from(part.partition_size).unwrap_or(0);
                        let place = (topic.name.as_str().to_owned(), part.partition_index);
                        (place, LogOnDisk { bytes })
                    })
                });
                dirs.push(LogDir {
                    broker,
                    path: told.log_dir.as_str().to_owned(),
                    error: check(told.error_code, None)
                        .err()
                        .map(|error| error.to_string()),
                    total_bytes: u64::try_from(told.total_bytes).ok(),
                    usable_bytes: u64::try_from(told.usable_bytes).ok(),
                    logs: logs.collect(),
                });
            }
        }
        Ok(dirs)
    }
}
