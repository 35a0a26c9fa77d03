//! Members of groups by either protocol, as a consumer would be one.

use std::io::{Read, Write};
use std::net::TcpStream;

use wire::ErrorCode;
use wire::messages::{
    self, Request, consumer_group_heartbeat, find_coordinator, heartbeat, join_group,
    offset_commit, offset_fetch, sync_group, text,
};
use wire::protocol_metadata::{Assignment, Subscription, TopicPartitions};

/// Questions to a coordinator that is still coming into being.
const TRIES_MAX: usize = 1_000;

/// Beats of a member that waits to be given something; the coordinator takes its time to decide.
const BEATS_MAX: usize = 1_000_000;

/// Reads partition 0 of one topic.
pub struct Reader {
    stream: TcpStream,
    group: String,
    topic: String,
    member: String,
    generation: i32,
}

impl Reader {
    /// Connects, and waits until the group has a coordinator.
    fn connect(brokers: &str, group: &str, topic: &str) -> Reader {
        #[expect(clippy::disallowed_methods, reason = "a client of the world outside")]
        let stream = TcpStream::connect(brokers).unwrap();
        let mut reader = Reader {
            stream,
            group: group.to_owned(),
            topic: topic.to_owned(),
            member: String::new(),
            generation: -1,
        };
        for _ in 0..TRIES_MAX {
            let find = find_coordinator::Request {
                coordinator_keys: vec![text(group)],
                ..Default::default()
            };
            if reader.ask(4, &find).coordinators[0].error_code == 0 {
                break;
            }
        }
        reader
    }

    /// Joins, and is given its partition.
    pub fn join(brokers: &str, group: &str, topic: &str) -> Reader {
        let mut reader = Reader::connect(brokers, group, topic);
        let subscription = Subscription {
            topics: vec![topic.to_owned()],
            ..Subscription::default()
        };
        for _ in 0..TRIES_MAX {
            let join = join_group::Request {
                group_id: text(group),
                session_timeout_ms: 30_000,
                rebalance_timeout_ms: 30_000,
                member_id: text(&reader.member),
                protocol_type: text("consumer"),
                protocols: vec![join_group::JoinGroupRequestProtocol {
                    name: text("range"),
                    metadata: subscription.encode(1).into(),
                    ..Default::default()
                }],
                ..Default::default()
            };
            let joined = reader.ask(5, &join);
            reader.member = joined.member_id.as_str().to_owned();
            reader.generation = joined.generation_id;
            if joined.error_code == 0 {
                break;
            }
        }
        let assignment = Assignment {
            partitions: vec![TopicPartitions {
                topic: topic.to_owned(),
                partitions: vec![0],
            }],
            user_data: None,
        };
        let sync = sync_group::Request {
            group_id: text(group),
            generation_id: reader.generation,
            member_id: text(&reader.member),
            assignments: vec![sync_group::SyncGroupRequestAssignment {
                member_id: text(&reader.member),
                assignment: assignment.encode(1).into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert_eq!(reader.ask(3, &sync).error_code, 0);
        reader
    }

    /// Commits an offset as this member of this generation.
    pub fn commit(&mut self, offset: i64) -> Result<(), &'static str> {
        self.commit_at(7, offset)
    }

    fn beat(&self) -> consumer_group_heartbeat::Request {
        consumer_group_heartbeat::Request {
            group_id: text(&self.group),
            member_id: text(&self.member),
            member_epoch: self.generation,
            ..Default::default()
        }
    }

    fn commit_at(&mut self, version: i16, offset: i64) -> Result<(), &'static str> {
        let commit = offset_commit::Request {
            group_id: text(&self.group),
            generation_id_or_member_epoch: self.generation,
            member_id: text(&self.member),
            topics: vec![offset_commit::OffsetCommitRequestTopic {
                name: text(&self.topic),
                partitions: vec![offset_commit::OffsetCommitRequestPartition {
                    committed_offset: offset,
                    committed_leader_epoch: -1,
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        result(self.ask(version, &commit).topics[0].partitions[0].error_code)
    }

    /// Says that it is alive.
    pub fn heartbeat(&mut self) -> Result<(), &'static str> {
        let beat = heartbeat::Request {
            group_id: text(&self.group),
            generation_id: self.generation,
            member_id: text(&self.member),
            ..Default::default()
        };
        result(self.ask(3, &beat).error_code)
    }

    /// Where the group stands.
    pub fn committed(&mut self) -> i64 {
        let fetch = offset_fetch::Request {
            group_id: text(&self.group),
            topics: Some(vec![offset_fetch::OffsetFetchRequestTopic {
                name: text(&self.topic),
                partition_indexes: vec![0],
                ..Default::default()
            }]),
            ..Default::default()
        };
        self.ask(5, &fetch).topics[0].partitions[0].committed_offset
    }

    fn ask<T: Request>(&mut self, version: i16, request: &T) -> T::Response {
        let frame = messages::encode_request(version, 1, Some("story"), request).unwrap();
        self.stream.write_all(&frame).unwrap();
        let mut size = [0; 4];
        self.stream.read_exact(&mut size).unwrap();
        let mut answer = vec![0; i32::from_be_bytes(size) as usize];
        self.stream.read_exact(&mut answer).unwrap();
        messages::decode_response::<T>(version, answer.into())
            .unwrap()
            .1
    }
}

fn result(code: i16) -> Result<(), &'static str> {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => Ok(()),
        Some(error) => Err(error.name()),
        None => Err("an unknown error"),
    }
}

/// A member by the newer protocol (KIP-848): the coordinator says what it reads.
pub struct HeartbeatReader {
    reader: Reader,
}

impl HeartbeatReader {
    /// Joins, and beats until it has been given something.
    pub fn join(brokers: &str, group: &str, topic: &str) -> HeartbeatReader {
        let mut reader = Reader::connect(brokers, group, topic);
        reader.member = format!("{group}-story");
        reader.generation = 0;
        let mut last = String::new();
        for _ in 0..BEATS_MAX {
            let beat = consumer_group_heartbeat::Request {
                rebalance_timeout_ms: 30_000,
                subscribed_topic_names: Some(vec![text(topic)]),
                topic_partitions: Some(Vec::new()),
                ..reader.beat()
            };
            let answer = reader.ask(1, &beat);
            last = format!("{answer:?}");
            // Until the coordinator is there, and the topic known to it.
            if answer.error_code != 0 {
                continue;
            }
            reader.generation = answer.member_epoch;
            let given = answer.assignment;
            if given.is_some_and(|given| !given.topic_partitions.is_empty()) {
                return HeartbeatReader { reader };
            }
        }
        panic!("never given anything: {last}");
    }

    /// Commits an offset as this member at its epoch.
    pub fn commit(&mut self, offset: i64) -> Result<(), &'static str> {
        self.reader.commit_at(9, offset)
    }

    /// Says that it is alive.
    pub fn heartbeat(&mut self) -> Result<(), &'static str> {
        let beat = consumer_group_heartbeat::Request {
            rebalance_timeout_ms: -1,
            ..self.reader.beat()
        };
        result(self.reader.ask(1, &beat).error_code)
    }

    /// Where the group stands.
    pub fn committed(&mut self) -> i64 {
        self.reader.committed()
    }
}
