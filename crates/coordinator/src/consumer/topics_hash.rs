//! A number that differs when the topics a group reads have changed: Kafka's metadata hash
//! (KIP-1101), XXH3 over each topic's id, name and partitions with their racks.
//!
//! It stands in the group's record, so that a group whose shard moved or restarted notices what
//! happened meanwhile, and so it is computed exactly as Kafka does.

use std::sync::Arc;

use twox_hash::XxHash3_64;

use crate::cluster::{Cluster, TopicFacts};

/// Hash of all these topics, in the order of their names; 0 if none of them exists.
pub(crate) fn hash<'a>(cluster: &dyn Cluster, topics: impl Iterator<Item = &'a Arc<str>>) -> i64 {
    let mut bytes = Vec::new();
    for name in topics {
        if let Some(facts) = cluster.topic(name) {
            bytes.extend_from_slice(&topic_hash(cluster, &facts).to_le_bytes());
        }
    }
    if bytes.is_empty() {
        return 0;
    }
    XxHash3_64::oneshot(&bytes) as i64
}

/// Kafka feeds its hash with little-endian numbers and with UTF-16 text whose length follows it.
fn topic_hash(cluster: &dyn Cluster, facts: &TopicFacts) -> u64 {
    const LAYOUT: u8 = 0;
    let mut bytes = vec![LAYOUT];
    let (high, low) = facts.id.0.split_at(8);
    bytes.extend(high.iter().rev());
    bytes.extend(low.iter().rev());
    put_text(&mut bytes, &facts.name);
    put_int(&mut bytes, facts.partitions);
    for partition in 0..facts.partitions {
        put_int(&mut bytes, partition);
        let mut racks = cluster.racks(facts.id, partition);
        racks.sort();
        for rack in racks {
            put_int(&mut bytes, rack.encode_utf16().count() as i32);
            put_text(&mut bytes, &rack);
        }
    }
    XxHash3_64::oneshot(&bytes)
}

fn put_int(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    let mut units = 0;
    for unit in text.encode_utf16() {
        out.extend_from_slice(&unit.to_le_bytes());
        units += 1;
    }
    put_int(out, units);
}

#[cfg(test)]
mod tests {
    use wire::ids::TopicId;

    use super::*;
    use crate::cluster::GroupOverrides;

    #[derive(Debug)]
    struct Orders;

    impl Cluster for Orders {
        fn topics_version(&self) -> u64 {
            1
        }
        fn topic(&self, name: &str) -> Option<TopicFacts> {
            (name == "orders").then(|| TopicFacts {
                name: Arc::from("orders"),
                id: TopicId(0x0102_0304_0506_0708_1112_1314_1516_1718u128.to_be_bytes()),
                partitions: 2,
            })
        }
        fn topic_by_id(&self, _: TopicId) -> Option<TopicFacts> {
            self.topic("orders")
        }
        fn racks(&self, _: TopicId, partition: i32) -> Vec<Arc<str>> {
            (partition == 0)
                .then(|| Arc::from("r1"))
                .into_iter()
                .collect()
        }
        fn each_topic(&self, _: &mut dyn FnMut(&Arc<str>)) {}
        fn group_overrides(&self, _: &str) -> GroupOverrides {
            GroupOverrides::default()
        }
    }

    #[test]
    fn a_topic_has_the_hash_kafka_gives_it() {
        // computed with hash4j 0.x of Kafka 4.3.0 over the same topic
        let facts = Orders.topic("orders").expect("a topic");
        assert_eq!(topic_hash(&Orders, &facts), 0x4eb2_a2a9_bb19_a22e);
    }

    #[test]
    fn topics_that_do_not_exist_count_for_nothing() {
        let names = [Arc::from("nothing")];
        assert_eq!(hash(&Orders, names.iter()), 0);
        let names = [Arc::from("nothing"), Arc::from("orders")];
        let expected = XxHash3_64::oneshot(&0x4eb2_a2a9_bb19_a22eu64.to_le_bytes()) as i64;
        assert_eq!(hash(&Orders, names.iter()), expected);
    }
}
