//! A Kafka client without manners: whole frames, broken ones, and the few requests the stories need.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use wire::batch::batches;
use wire::messages::{
    self, Request, create_topics, delete_topics, fetch, list_offsets, produce, text,
};
use wire::record::{BatchBuilder, BatchRecords, NewRecord};

/// Nothing a broker answers may take longer, on a machine that builds something else meanwhile.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(60);

/// The answer frames we are willing to read.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// One connection.
pub struct Peer {
    /// Its socket.
    pub stream: TcpStream,
}

/// What came of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A frame, without its size.
    Answer(Bytes),
    /// The broker closed the connection.
    Closed,
    /// Neither, within the time given.
    Silence,
}

impl Peer {
    /// Connects.
    pub fn connect(to: SocketAddr) -> Peer {
        let stream = TcpStream::connect(to).expect("the broker accepts");
        stream.set_nodelay(true).expect("a socket option");
        Peer { stream }
    }

    /// Sends bytes; a broker that has already closed is no error here, `outcome` tells.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Nothing more will be sent.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// What the broker does next.
    pub fn outcome(&mut self, within: Duration) -> Outcome {
        self.stream
            .set_read_timeout(Some(within))
            .expect("a socket option");
        let mut size = [0; 4];
        match self.stream.read_exact(&mut size) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Outcome::Silence;
            }
            Err(_) => return Outcome::Closed,
        }
        let size = usize::try_from(i32::from_be_bytes(size)).expect("a size is not negative");
        assert!((4..=FRAME_BYTES_MAX).contains(&size), "{size} bytes");
        let mut frame = vec![0; size];
        self.stream
            .set_read_timeout(Some(ANSWER_DEADLINE))
            .expect("a socket option");
        self.stream
            .read_exact(&mut frame)
            .expect("an answer that has begun is finished");
        Outcome::Answer(frame.into())
    }

    /// Fails unless the broker closes without an answer.
    pub fn expect_closed(&mut self, context: &str) {
        let outcome = self.outcome(ANSWER_DEADLINE);
        assert_eq!(outcome, Outcome::Closed, "{context}");
    }

    /// A well-formed request and its answer.
    pub fn call<T: Request>(&mut self, version: i16, request: &T) -> T::Response {
        let frame = messages::encode_request(version, 7, Some("hostile"), request)
            .expect("a request of this version");
        self.send(&frame);
        match self.outcome(ANSWER_DEADLINE) {
            Outcome::Answer(frame) => {
                let (correlation_id, response) =
                    messages::decode_response::<T>(version, frame).expect("an answer");
                assert_eq!(correlation_id, 7);
                response
            }
            other => panic!("{other:?} instead of an answer to {request:?}"),
        }
    }

    /// Creates a topic of one partition; returns the error code.
    pub fn create_topic(&mut self, name: &str, configs: &[(&str, &str)]) -> i16 {
        let request = create_topics::Request {
            topics: vec![create_topics::CreatableTopic {
                name: text(name),
                num_partitions: 1,
                replication_factor: 1,
                configs: configs
                    .iter()
                    .map(|(name, value)| create_topics::CreatableTopicConfig {
                        name: text(name),
                        value: Some(text(value)),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            }],
            timeout_ms: 15_000,
            ..Default::default()
        };
        self.call(7, &request).topics[0].error_code
    }

    /// Deletes a topic; returns the error code.
    pub fn delete_topic(&mut self, name: &str) -> i16 {
        let request = delete_topics::Request {
            topic_names: vec![text(name)],
            timeout_ms: 15_000,
            ..Default::default()
        };
        self.call(5, &request).responses[0].error_code
    }

    /// Sends bytes as the batch of partition 0; returns the error code and the offset.
    pub fn produce(&mut self, version: i16, topic: &str, records: &[u8]) -> (i16, i64) {
        let request = produce_request(topic, records);
        let mut response = self.call(version, &request);
        let partition = response.responses.remove(0).partition_responses.remove(0);
        (partition.error_code, partition.base_offset)
    }

    /// All values of partition 0 with their offsets, or the error code.
    pub fn read_all(&mut self, topic: &str) -> Result<Vec<(i64, Vec<u8>)>, i16> {
        let mut found: Vec<(i64, Vec<u8>)> = Vec::new();
        loop {
            let from = found.last().map_or(0, |(offset, _)| offset + 1);
            let mut response = self.call(12, &fetch_request(topic, from, 1 << 20));
            let partition = response.responses.remove(0).partitions.remove(0);
            if partition.error_code != 0 {
                return Err(partition.error_code);
            }
            let records = partition.records.unwrap_or_default();
            let before = found.len();
            for batch in batches(&records) {
                let batch = batch.expect("what is stored is a batch");
                let records = BatchRecords::open(&batch, 64 << 20).expect("records");
                for record in records.iter() {
                    let record = record.expect("a record");
                    if record.offset.0 >= from {
                        found.push((record.offset.0, record.value.unwrap_or(b"").to_vec()));
                    }
                }
            }
            if found.len() == before {
                assert_eq!(
                    partition.high_watermark, from,
                    "nothing is left below the high watermark"
                );
                return Ok(found);
            }
        }
    }

    /// The answer of ListOffsets for partition 0: error code and offset.
    pub fn offset_at(&mut self, topic: &str, timestamp: i64) -> (i16, i64) {
        let request = list_offsets::Request {
            replica_id: -1,
            topics: vec![list_offsets::ListOffsetsTopic {
                name: text(topic),
                partitions: vec![list_offsets::ListOffsetsPartition {
                    partition_index: 0,
                    current_leader_epoch: -1,
                    timestamp,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        let partition = &self.call(7, &request).topics[0].partitions[0];
        (partition.error_code, partition.offset)
    }
}

/// A Produce request for partition 0, up to version 12.
pub fn produce_request(topic: &str, records: &[u8]) -> produce::Request {
    produce::Request {
        acks: -1,
        timeout_ms: 15_000,
        topic_data: vec![produce::TopicProduceData {
            name: text(topic),
            partition_data: vec![produce::PartitionProduceData {
                index: 0,
                records: Some(Bytes::copy_from_slice(records)),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// A Fetch request for partition 0 that does not wait, up to version 12.
pub fn fetch_request(topic: &str, from: i64, bytes_max: i32) -> fetch::Request {
    fetch::Request {
        replica_id: -1,
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: bytes_max,
        session_epoch: -1,
        topics: vec![fetch::FetchTopic {
            topic: text(topic),
            partitions: vec![fetch::FetchPartition {
                partition: 0,
                current_leader_epoch: -1,
                fetch_offset: from,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: bytes_max,
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_millis()).expect("before the year 292 million")
}

/// A builder that holds these values.
pub fn holding(mut builder: BatchBuilder, values: &[&[u8]]) -> BatchBuilder {
    for value in values {
        builder.append(&NewRecord {
            timestamp: now_ms(),
            value: Some(value),
            ..Default::default()
        });
    }
    builder
}

/// An honest batch.
pub fn batch(values: &[&[u8]]) -> Vec<u8> {
    holding(BatchBuilder::new(), values)
        .build()
        .expect("a batch")
        .to_vec()
}
