//! A client that speaks frames: for what our own client hides, offsets of each answer first.

use std::future::poll_fn;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use wire::frame::take_frame;
use wire::messages::{self, Request, api_versions, produce, text};
use wire::record::{BatchBuilder, NewRecord};
use wire::{ApiKey, ProducerEpoch, ProducerId};
use world::Stream;

const FRAME_BYTES_MAX: usize = 16 << 20;
const READ_BYTES: usize = 16 << 10;

/// The version in which a Produce names its topic and carries log start and messages back.
pub const PRODUCE_VERSION: i16 = 11;

/// One connection.
pub struct Line {
    stream: Box<dyn Stream>,
    received: BytesMut,
    correlation: i32,
}

impl Line {
    pub fn new(stream: Box<dyn Stream>) -> Line {
        Line {
            stream,
            received: BytesMut::new(),
            correlation: 0,
        }
    }

    /// Sends a request; its answer is taken later, in order.
    pub async fn send<T: Request>(&mut self, version: i16, request: &T) -> io::Result<()> {
        self.correlation += 1;
        let frame = messages::encode_request(version, self.correlation, Some("line"), request);
        let mut frame = frame.expect("a request of this version");
        while frame.has_remaining() {
            let slices = [IoSlice::new(&frame)];
            let sent = poll_fn(|cx| self.stream.poll_write(cx, &slices, false)).await?;
            frame.advance(sent);
        }
        Ok(())
    }

    /// The next answer as it came.
    pub async fn frame(&mut self) -> io::Result<Bytes> {
        loop {
            let taken = take_frame(&mut self.received, FRAME_BYTES_MAX).expect("a sane answer");
            if let Some(frame) = taken {
                return Ok(frame);
            }
            let filled = self.received.len();
            self.received.resize(filled + READ_BYTES, 0);
            let read = poll_fn(|cx| self.stream.poll_read(cx, &mut self.received[filled..])).await;
            self.received
                .truncate(filled + read.as_ref().map_or(0, |count| *count));
            if read? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next answer, decoded.
    pub async fn answer<T: Request>(&mut self, version: i16) -> io::Result<T::Response> {
        let frame = self.frame().await?;
        let decoded = messages::decode_response::<T>(version, frame);
        Ok(decoded.expect("an answer of this version").1)
    }

    /// Sends a request and takes its answer.
    pub async fn ask<T: Request>(&mut self, version: i16, request: &T) -> io::Result<T::Response> {
        self.send(version, request).await?;
        self.answer::<T>(version).await
    }

    /// Whether the node serves an API.
    pub async fn serves(&mut self, key: ApiKey) -> io::Result<bool> {
        let asked = api_versions::Request::default();
        let answer = self.ask::<api_versions::Request>(2, &asked).await?;
        Ok(answer
            .api_keys
            .iter()
            .any(|range| range.api_key == key.code()))
    }
}

/// Whose batch, and where in his sequence.
pub type Stamp = (ProducerId, ProducerEpoch, i32);

/// A batch of these values.
pub fn batch(stamp: Option<Stamp>, wall_ms: i64, values: &[Vec<u8>]) -> Bytes {
    let mut builder = BatchBuilder::new();
    if let Some((id, epoch, sequence)) = stamp {
        builder = builder.producer(id, epoch, sequence);
    }
    for value in values {
        builder.append(&NewRecord {
            timestamp: wall_ms,
            key: None,
            value: Some(value),
            headers: &[],
        });
    }
    builder.build().unwrap().into()
}

/// A Produce request of one batch for each of some partitions.
pub fn produce_request(acks: i16, parts: &[(&str, i32, Bytes)]) -> produce::Request {
    let mut topics: Vec<produce::TopicProduceData> = Vec::new();
    for (topic, partition, records) in parts {
        let data = produce::PartitionProduceData {
            index: *partition,
            records: Some(records.clone()),
            ..Default::default()
        };
        match topics
            .iter_mut()
            .find(|known| known.name.as_str() == *topic)
        {
            Some(known) => known.partition_data.push(data),
            None => topics.push(produce::TopicProduceData {
                name: text(topic),
                partition_data: vec![data],
                ..Default::default()
            }),
        }
    }
    produce::Request {
        acks,
        timeout_ms: 30_000,
        topic_data: topics,
        ..Default::default()
    }
}
