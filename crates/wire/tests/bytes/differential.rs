//! Two generated codecs and our hand-written ones over the same messages.
//!
//! Messages come from the golden files by random edits: whatever our codec still reads after an
//! edit (nulls, empty lists, other numbers, more or fewer elements) it writes again, and those
//! bytes, valid by construction, go to the second codec and to the readers written by hand.

use crate::catalogue::{End, each_api, golden_frames, read_and_write, served};
use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Message};
use wire::messages::{self, produce};
use wire::produce::{ProduceRequest, TopicRef};
use wire::{ApiKey, TopicId};

macro_rules! second_any {
    (($key:expr, $end:expr, $version:expr, $body:expr) $($variant:ident $_module:ident $request:ident $response:ident;)*) => {
        match ($key, $end) {
            $(
                (ApiKey::$variant, End::Request) => second::<kafka_protocol::messages::$request>($version, $body),
                (ApiKey::$variant, End::Response) => second::<kafka_protocol::messages::$response>($version, $body),
            )*
        }
    };
}

/// The second codec's bytes for the same message; `None` for versions it does not know.
fn second<T: Decodable + Encodable + Message>(version: i16, mut body: Bytes) -> Option<Bytes> {
    if version < T::VERSIONS.min || version > T::VERSIONS.max {
        return None;
    }
    let message = T::decode(&mut body, version).expect("the second codec reads it");
    assert!(body.is_empty(), "nothing is left over");
    let mut again = BytesMut::new();
    message
        .encode(&mut again, version)
        .expect("the second codec writes it");
    Some(again.freeze())
}

/// Changes a few bytes: mostly to what lengths and flags look like.
fn edit(rng: &mut fastrand::Rng, body: &Bytes) -> Bytes {
    let mut bytes = body.to_vec();
    for _ in 0..rng.usize(1..4) {
        if bytes.is_empty() {
            break;
        }
        let at = rng.usize(..bytes.len());
        match rng.u8(..6) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes[at] = rng.u8(..3),
            2 => bytes[at] ^= 1 << rng.u8(..8),
            3 => {
                // A null of some kind.
                let width = [1, 2, 4][rng.usize(..3)].min(bytes.len() - at);
                bytes[at..at + width].fill(0xff);
            }
            4 => {
                let until = (at + rng.usize(1..12)).min(bytes.len());
                bytes.drain(at..until);
            }
            _ => {
                let until = (at + rng.usize(1..12)).min(bytes.len());
                let copy = bytes[at..until].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes.into()
}

#[test]
fn two_codecs_write_the_same_bytes_for_the_same_message() {
    let mut rng = fastrand::Rng::with_seed(4);
    let (mut compared, mut unknown) = (0, 0);
    for (api, version) in served() {
        for (end, golden) in golden_frames(api, version) {
            let mut bodies = vec![golden.body()];
            for _ in 0..300 {
                let from = &bodies[rng.usize(..bodies.len())];
                // What is read is written in the one canonical way.
                let edited = edit(&mut rng, from);
                if let Ok((body, _)) = read_and_write(api.key, end, version, edited) {
                    bodies.push(body);
                }
            }
            for body in bodies {
                let (again, _) = read_and_write(api.key, end, version, body.clone())
                    .expect("what was written is read");
                assert_eq!(again, body, "{} {version} {end:?}", api.name);
                match each_api!(second_any, api.key, end, version, body.clone()) {
                    Some(second) => {
                        assert_eq!(second, body, "{} {version} {end:?}", api.name);
                        compared += 1;
                    }
                    None => unknown += 1,
                }
            }
        }
    }
    assert!(
        compared > 30_000,
        "{compared} messages compared, {unknown} of unknown versions"
    );
}

#[test]
fn produce_by_hand_agrees_with_the_generated_reader() {
    let mut rng = fastrand::Rng::with_seed(5);
    let (mut accepted, mut refused) = (0, 0);
    for version in 3..=13 {
        let [(_, golden), _] = golden_frames(ApiKey::Produce.api(), version);
        let mut bodies = vec![golden.body()];
        for _ in 0..8000 {
            let from = rng.usize(..bodies.len());
            let body = edit(&mut rng, &bodies[from]);
            let by_hand = ProduceRequest::decode(version, &body);
            let generated = messages::decode_request::<produce::Request>(version, body.clone());
            match (by_hand, generated) {
                (Ok(by_hand), Ok(generated)) => {
                    accepted += 1;
                    assert_eq!(
                        flatten(&by_hand),
                        plain(generated),
                        "version {version}: {body:02x?}"
                    );
                    bodies.push(body);
                }
                (Err(_), Err(_)) => refused += 1,
                // The generated reader takes a null or negative count for an empty list, and
                // varint bits beyond 32 for nothing; we do not.
                (Err(_), Ok(_)) => refused += 1,
                // Tags out of order break KIP-482; Kafka reads them, and so do we.
                (Ok(_), Err(error)) if error.to_string().contains("out of order") => refused += 1,
                (Ok(_), Err(error)) => panic!("version {version}: {error}: {body:02x?}"),
            }
        }
    }
    assert!(
        accepted > 1000 && refused > 1000,
        "{accepted} accepted, {refused} refused"
    );
}

/// A null batch is an empty one to us, and tags nobody knows are passed over.
fn plain(mut request: produce::Request) -> produce::Request {
    request._unknown_tagged_fields.clear();
    for topic in &mut request.topic_data {
        topic._unknown_tagged_fields.clear();
        for partition in &mut topic.partition_data {
            partition._unknown_tagged_fields.clear();
            partition.records.get_or_insert_default();
        }
    }
    request
}

/// The hand-written reader's view as the generated struct.
fn flatten(request: &ProduceRequest) -> produce::Request {
    let topic_data = request
        .topics()
        .map(|topic| {
            let mut data = produce::TopicProduceData {
                partition_data: topic
                    .partitions()
                    .map(|partition| produce::PartitionProduceData {
                        index: partition.partition,
                        records: Some(partition.records),
                        ..Default::default()
                    })
                    .collect(),
                ..Default::default()
            };
            match topic.topic {
                TopicRef::Name(name) => data.name = name,
                TopicRef::Id(id) => data.topic_id = id.into(),
            }
            data
        })
        .collect();
    produce::Request {
        transactional_id: request.transactional_id.clone(),
        acks: request.acks,
        timeout_ms: request.timeout_ms,
        topic_data,
        ..Default::default()
    }
}

#[test]
fn fetch_by_hand_writes_what_the_generated_writer_writes() {
    use wire::ErrorCode;
    use wire::fetch::{
        AbortedTransaction, CurrentLeader, EpochEnd, FetchAnswer, NodeEndpoint, PartitionAnswer,
        TopicAnswer, encode_answer,
    };
    use wire::ids::{BrokerId, LeaderEpoch, Offset, ProducerId};
    use wire::messages::fetch;

    // The golden frames' values come back in through the hand-written writer.
    for version in 4..=18 {
        let [_, (_, golden)] = golden_frames(ApiKey::Fetch.api(), version);
        let (_, mut response) = messages::decode_response::<wire::messages::fetch::Request>(
            version,
            golden.bytes.slice(4..),
        )
        .expect("decodes");
        // Snapshots are for Raft's own fetches; we never send one.
        for topic in &mut response.responses {
            for partition in &mut topic.partitions {
                partition.snapshot_id = fetch::SnapshotId::default();
            }
        }
        let expected = messages::encode_response(version, 1_234_567, &response).expect("encodes");

        let mut aborted = Vec::new();
        let mut records = Vec::new();
        for partition in response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
        {
            let list = partition.aborted_transactions.as_ref().expect("a list");
            aborted.push(
                list.iter()
                    .map(|a| AbortedTransaction {
                        producer_id: ProducerId(a.producer_id),
                        first_offset: Offset(a.first_offset),
                    })
                    .collect::<Vec<_>>(),
            );
            records.push(partition.records.clone().expect("records"));
        }
        let mut at = 0;
        let partitions: Vec<Vec<PartitionAnswer<'_>>> = response
            .responses
            .iter()
            .map(|topic| {
                let one = |partition: &fetch::PartitionData| {
                    at += 1;
                    PartitionAnswer {
                        partition: partition.partition_index,
                        error: ErrorCode::from_code(partition.error_code).expect("a code"),
                        high_watermark: Offset(partition.high_watermark),
                        last_stable_offset: Offset(partition.last_stable_offset),
                        log_start_offset: Offset(partition.log_start_offset),
                        aborted: Some(&aborted[at - 1]),
                        preferred_read_replica: BrokerId(partition.preferred_read_replica),
                        diverging: (version >= 12).then_some(EpochEnd {
                            epoch: LeaderEpoch(partition.diverging_epoch.epoch),
                            end_offset: Offset(partition.diverging_epoch.end_offset),
                        }),
                        current_leader: (version >= 12).then_some(CurrentLeader {
                            id: BrokerId(partition.current_leader.leader_id),
                            epoch: LeaderEpoch(partition.current_leader.leader_epoch),
                        }),
                        records_bytes: records[at - 1].len() as u32,
                    }
                };
                topic.partitions.iter().map(one).collect()
            })
            .collect();
        let topics: Vec<TopicAnswer<'_>> = response
            .responses
            .iter()
            .zip(&partitions)
            .map(|(topic, partitions)| TopicAnswer {
                name: topic.topic.as_str(),
                id: TopicId::from(topic.topic_id),
                partitions,
            })
            .collect();
        let endpoints: Vec<NodeEndpoint<'_>> = response
            .node_endpoints
            .iter()
            .map(|endpoint| NodeEndpoint {
                id: BrokerId(endpoint.node_id),
                host: endpoint.host.as_str(),
                port: endpoint.port,
                rack: endpoint.rack.as_ref().map(|rack| rack.as_str()),
            })
            .collect();
        let answer = FetchAnswer {
            throttle_ms: response.throttle_time_ms,
            error: ErrorCode::from_code(response.error_code).expect("a code"),
            session_id: response.session_id,
            topics: &topics,
            node_endpoints: &endpoints,
        };
        let by_hand = encode_answer(version, 1_234_567, &answer).expect("encodes");
        let frame = by_hand.assemble(|slot| &records[slot as usize]);
        assert_eq!(frame, expected, "version {version}");
    }
}
