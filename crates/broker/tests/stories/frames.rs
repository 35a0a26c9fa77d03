//! Produce and Fetch for one partition, short to write.

use bytes::Bytes;
use wire::batch::{BatchView, batches};
use wire::messages::fetch::{self, FetchPartition, FetchTopic, PartitionData};
use wire::messages::produce::{
    self, PartitionProduceData, PartitionProduceResponse, TopicProduceData,
};
use wire::messages::text;
use wire::record::BatchRecords;

use crate::stage::Client;

pub const PRODUCE: i16 = 9;
pub const FETCH: i16 = 12;

pub fn produce_request(topic: &str, partition: i32, records: Bytes) -> produce::Request {
    produce::Request {
        acks: -1,
        timeout_ms: 1000,
        topic_data: vec![TopicProduceData {
            name: text(topic),
            partition_data: vec![PartitionProduceData {
                index: partition,
                records: Some(records),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub async fn produce(client: &mut Client, topic: &str, records: Bytes) -> PartitionProduceResponse {
    let answer = client
        .ask(PRODUCE, &produce_request(topic, 0, records))
        .await;
    answer.responses[0].partition_responses[0].clone()
}

pub fn fetch_request(topic: &str, offset: i64) -> fetch::Request {
    fetch::Request {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![FetchTopic {
            topic: text(topic),
            partitions: vec![fetch_partition(0, offset)],
            ..Default::default()
        }],
        session_epoch: -1,
        ..Default::default()
    }
}

pub fn fetch_partition(partition: i32, offset: i64) -> FetchPartition {
    FetchPartition {
        partition,
        current_leader_epoch: -1,
        fetch_offset: offset,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    }
}

pub async fn fetch(client: &mut Client, topic: &str, offset: i64) -> PartitionData {
    let answer = client.ask(FETCH, &fetch_request(topic, offset)).await;
    answer.responses[0].partitions[0].clone()
}

/// Offset and value of each record in `records`.
pub fn values(records: &Option<Bytes>) -> Vec<(i64, String)> {
    let bytes = records.clone().expect("records are never null");
    let mut found = Vec::new();
    for batch in batches(&bytes) {
        let batch: BatchView<'_> = batch.unwrap();
        let records = BatchRecords::open(&batch, 1 << 20).unwrap();
        for record in records.iter() {
            let record = record.unwrap();
            let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            found.push((record.offset.0, value));
        }
    }
    found
}
