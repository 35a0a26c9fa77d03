//! The consumer: records of chosen partitions in offset order, from a place on.
//!
//! It reads by assignment and keeps its own positions; nothing is committed anywhere.

use std::collections::BTreeMap;

use crate::cluster::Client;
use crate::error::ClientError;
use crate::fetch::{FetchOptions, Place, Record};

/// Reads chosen partitions.
pub struct Consumer {
    client: Client,
    positions: BTreeMap<Place, i64>,
    options: FetchOptions,
}

impl Consumer {
    /// A consumer of one topic that begins at these offsets.
    pub fn assign(client: Client, topic: &str, starts: &BTreeMap<i32, i64>) -> Consumer {
        let starts = starts
            .iter()
            .map(|(partition, offset)| ((topic.to_owned(), *partition), *offset));
        Consumer::assign_places(client, starts.collect(), FetchOptions::default())
    }

    /// A consumer of any partitions that begins at these offsets.
    pub fn assign_places(
        client: Client,
        starts: BTreeMap<Place, i64>,
        options: FetchOptions,
    ) -> Consumer {
        Consumer {
            client,
            positions: starts,
            options,
        }
    }

    /// The next offset of each partition.
    pub fn positions(&self) -> impl Iterator<Item = (&Place, i64)> + '_ {
        self.positions
            .iter()
            .map(|(place, offset)| (place, *offset))
    }

    /// Reads this partition no more.
    pub fn drop_place(&mut self, place: &Place) {
        self.positions.remove(place);
    }

    /// The client it reads with, for questions between two polls.
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The client back, when reading is done.
    pub fn into_client(self) -> Client {
        self.client
    }

    /// The records that are there, after at most [`FetchOptions::wait`]; none when there are none.
    /// Those of one partition come in offset order.
    ///
    /// # Errors
    /// A leader's refusal (`OFFSET_OUT_OF_RANGE` among them), or its retries ran out.
    pub async fn poll(&mut self) -> Result<Vec<Record>, ClientError> {
        let mut records = Vec::new();
        let mut failed = None;
        for fetched in self.client.fetch(&self.positions, &self.options).await? {
            let Some(position) = self.positions.get_mut(&fetched.place) else {
                continue;
            };
            if let Err(error) = fetched.records(position, &self.options, &mut records) {
                failed.get_or_insert(error);
            }
        }
        // What was read has moved the positions: it must reach the caller, the error comes again.
        match failed {
            Some(error) if records.is_empty() => Err(error),
            _ => Ok(records),
        }
    }
}
