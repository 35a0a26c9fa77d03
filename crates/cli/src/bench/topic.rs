//! The topic a run writes to: one that is there, or one that is made for the run and removed.

use client::{Client, NewTopic, Reach};

use crate::{Failure, Global, connect, lookup};

/// A topic for a run.
pub struct BenchTopic {
    /// Its name.
    pub name: String,
    made: bool,
}

impl BenchTopic {
    /// The topic named, or a new one.
    pub async fn find(
        reach: &Reach,
        client: &mut Client,
        named: Option<&str>,
        partitions: i32,
    ) -> Result<BenchTopic, Failure> {
        if let Some(name) = named {
            lookup::topic(client, name).await?;
            return Ok(BenchTopic {
                name: name.to_owned(),
                made: false,
            });
        }
        let name = format!("duramen-bench-{:08x}", reach.random.next_u64() as u32);
        let topic = NewTopic {
            name: name.clone(),
            partitions,
            replicas: -1,
            configs: Vec::new(),
            validate_only: false,
        };
        client.create_topic(topic).await.map_err(|error| {
            let next = "name a topic that is there: duramen bench produce TOPIC";
            connect::explain(format!("topic {name}: not created"), error, next)
        })?;
        Ok(BenchTopic { name, made: true })
    }

    /// Removes what was made for the run.
    pub async fn remove(self, reach: &Reach, global: &Global) -> Result<(), Failure> {
        if !self.made {
            return Ok(());
        }
        let mut client = connect::connect(reach, global).await?;
        client.delete_topic(&self.name).await.map_err(|error| {
            let next = format!("duramen topic rm --yes {}", self.name);
            connect::explain(format!("topic {}: not removed", self.name), error, next)
        })
    }
}
