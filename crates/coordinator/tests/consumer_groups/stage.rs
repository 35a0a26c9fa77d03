//! A shard, a cluster it sees, and consumers who behave: what the stories are told with.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use coordinator::*;
use wire::ErrorCode;
use wire::ids::TopicId;

/// Topics by name: number (their id repeats it) and partitions.
#[derive(Clone, Debug, Default)]
pub struct Topics {
    pub version: u64,
    pub by_name: BTreeMap<Arc<str>, (u8, i32)>,
    pub overrides: GroupOverrides,
}

pub fn id(number: u8) -> TopicId {
    TopicId([number; 16])
}

impl Topics {
    fn facts(name: &Arc<str>, (number, partitions): (u8, i32)) -> TopicFacts {
        TopicFacts {
            name: name.clone(),
            id: id(number),
            partitions,
        }
    }
}

impl Cluster for Topics {
    fn topics_version(&self) -> u64 {
        self.version
    }
    fn topic(&self, name: &str) -> Option<TopicFacts> {
        let (name, topic) = self.by_name.get_key_value(name)?;
        Some(Topics::facts(name, *topic))
    }
    fn topic_by_id(&self, asked: TopicId) -> Option<TopicFacts> {
        let found = self
            .by_name
            .iter()
            .find(|(_, (number, _))| id(*number) == asked);
        found.map(|(name, topic)| Topics::facts(name, *topic))
    }
    fn racks(&self, _: TopicId, _: i32) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn each_topic(&self, show: &mut dyn FnMut(&Arc<str>)) {
        self.by_name.keys().for_each(show);
    }
    fn group_overrides(&self, _: &str) -> GroupOverrides {
        self.overrides
    }
}

pub struct Stage {
    pub settings: Settings,
    pub topics: Topics,
    pub shard: Shard,
    pub log: Vec<Record>,
    pub at_ms: i64,
    /// Rebalances begun.
    pub rebalances: u64,
    token: u64,
    answers: BTreeMap<Token, GroupResponse>,
}

impl Stage {
    /// Two topics, `a` with four partitions and `b` with two.
    pub fn new() -> Stage {
        Stage::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Stage {
        let mut stage = Stage {
            shard: Shard::new(settings.clone()),
            settings,
            topics: Topics::default(),
            log: Vec::new(),
            at_ms: 0,
            rebalances: 0,
            token: 0,
            answers: BTreeMap::new(),
        };
        let now = stage.now();
        stage.shard.loaded(now);
        stage.topic("a", 1, 4);
        stage.topic("b", 2, 2);
        stage
    }

    pub fn now(&self) -> Now {
        Now {
            monotonic: Instant(self.at_ms as u64 * 1_000_000),
            wall_ms: 1_000_000_000_000 + self.at_ms,
        }
    }

    /// Creates a topic, or gives it partitions.
    pub fn topic(&mut self, name: &str, number: u8, partitions: i32) {
        self.topics
            .by_name
            .insert(Arc::from(name), (number, partitions));
        self.topics.version += 1;
        self.shard.follow(Arc::new(self.topics.clone()));
    }

    pub fn delete_topic(&mut self, name: &str) {
        self.topics.by_name.remove(name);
        self.topics.version += 1;
        self.shard.follow(Arc::new(self.topics.clone()));
    }

    fn take(&mut self, effects: Effects) {
        self.rebalances += effects.rebalances.consumer;
        for record in effects.records {
            let origin = RecordOrigin {
                offset: self.log.len() as i64,
                producer_id: None,
            };
            self.shard
                .apply(origin, &record.key, record.value.as_deref())
                .expect("its own record");
            self.log.push(record);
        }
        self.answers.extend(effects.replies);
        assert_eq!(
            self.replayed().persistent(),
            self.shard.persistent(),
            "what a restart keeps is what the records say"
        );
    }

    pub fn replayed(&self) -> Shard {
        let mut shard = Shard::new(self.settings.clone());
        for (offset, record) in self.log.iter().enumerate() {
            let origin = RecordOrigin {
                offset: offset as i64,
                producer_id: None,
            };
            shard
                .apply(origin, &record.key, record.value.as_deref())
                .expect("a record");
        }
        shard
    }

    pub fn restart(&mut self) {
        self.shard = self.replayed();
        self.shard.follow(Arc::new(self.topics.clone()));
        let now = self.now();
        self.shard.loaded(now);
    }

    /// Lets time pass, with everything that becomes due.
    pub fn pass(&mut self, ms: i64) {
        let until = self.at_ms + ms;
        while let Some(deadline) = self.shard.deadline() {
            let at = deadline.0.div_ceil(1_000_000) as i64;
            if at > until {
                break;
            }
            self.at_ms = self.at_ms.max(at);
            let effects = self.shard.tick(self.now());
            self.take(effects);
        }
        self.at_ms = until;
    }

    /// Asks, and does not wait.
    pub fn send(&mut self, version: i16, request: GroupRequest) -> Token {
        self.token += 1;
        let token = Token(self.token);
        let caller = Caller {
            version,
            client_id: Arc::from("app"),
            client_host: Arc::from("/127.0.0.1"),
            chance: u128::from(self.token) << 64 | 7,
        };
        let effects = self.shard.handle(self.now(), token, &caller, request);
        self.take(effects);
        token
    }

    pub fn answer(&mut self, token: Token) -> Option<GroupResponse> {
        self.answers.remove(&token)
    }

    pub fn ask(&mut self, version: i16, request: GroupRequest) -> GroupResponse {
        let token = self.send(version, request);
        self.answer(token).expect("an answer at once")
    }

    pub fn heartbeat(&mut self, request: &ConsumerHeartbeatRequest) -> ConsumerHeartbeatResponse {
        match self.ask(1, GroupRequest::ConsumerHeartbeat(request.clone())) {
            GroupResponse::ConsumerHeartbeat(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn describe(&mut self) -> DescribedConsumerGroup {
        match self.ask(1, GroupRequest::ConsumerDescribe(vec![Arc::from("g")])) {
            GroupResponse::ConsumerDescribe(groups) => groups.into_iter().next().expect("one"),
            other => panic!("{other:?}"),
        }
    }

    pub fn listed(&mut self) -> Vec<(Arc<str>, &'static str, &'static str)> {
        match self.ask(5, GroupRequest::List(ListRequest::default())) {
            GroupResponse::List(listed) => listed
                .groups
                .into_iter()
                .map(|group| (group.group, group.group_type, group.state))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    pub fn commit(&mut self, version: i16, member: &str, epoch: i32, partition: i32) -> ErrorCode {
        let request = CommitRequest {
            group: Arc::from("g"),
            generation: epoch,
            member_id: Arc::from(member),
            instance_id: None,
            retention_ms: -1,
            topics: vec![CommitTopic {
                name: Arc::from("a"),
                partitions: vec![CommitPartition {
                    partition,
                    offset: 5,
                    leader_epoch: -1,
                    metadata: None,
                }],
            }],
        };
        match self.ask(version, GroupRequest::Commit(request)) {
            GroupResponse::Commit(topics) => topics[0].partitions[0].error,
            other => panic!("{other:?}"),
        }
    }

    pub fn join(&mut self, version: i16, request: JoinRequest) -> JoinResponse {
        match self.ask(version, GroupRequest::Join(request)) {
            GroupResponse::Join(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn sync(&mut self, member: &str, generation: i32) -> SyncResponse {
        let request = SyncRequest {
            group: Arc::from("g"),
            generation,
            member_id: Arc::from(member),
            instance_id: None,
            protocol_type: Some(Arc::from("consumer")),
            protocol_name: Some(Arc::from("range")),
            assignments: Vec::new(),
        };
        match self.ask(5, GroupRequest::Sync(request)) {
            GroupResponse::Sync(response) => response,
            other => panic!("{other:?}"),
        }
    }

    pub fn classic_heartbeat(&mut self, member: &str, generation: i32) -> ErrorCode {
        let request = HeartbeatRequest {
            group: Arc::from("g"),
            generation,
            member_id: Arc::from(member),
            instance_id: None,
        };
        match self.ask(4, GroupRequest::Heartbeat(request)) {
            GroupResponse::Heartbeat(error) => error,
            other => panic!("{other:?}"),
        }
    }
}

/// A heartbeat that says nothing new.
pub fn report(member: &str, epoch: i32) -> ConsumerHeartbeatRequest {
    ConsumerHeartbeatRequest {
        group: Arc::from("g"),
        member_id: Arc::from(member),
        member_epoch: epoch,
        instance_id: None,
        rack_id: None,
        rebalance_timeout_ms: -1,
        topics: None,
        pattern: None,
        assignor: None,
        owned: None,
    }
}

/// A heartbeat that joins, reading these topics.
pub fn joining(member: &str, topics: &[&str]) -> ConsumerHeartbeatRequest {
    ConsumerHeartbeatRequest {
        rebalance_timeout_ms: 60_000,
        topics: Some(topics.iter().map(|name| Arc::from(*name)).collect()),
        owned: Some(Partitions::new()),
        ..report(member, 0)
    }
}

/// A consumer that does what it is told, at once.
#[derive(Clone, Debug)]
pub struct Consumer {
    pub id: &'static str,
    pub epoch: i32,
    pub owned: Partitions,
}

impl Consumer {
    pub fn join(stage: &mut Stage, id: &'static str, topics: &[&str]) -> Consumer {
        Consumer::join_as(stage, id, joining(id, topics))
    }

    pub fn join_as(
        stage: &mut Stage,
        id: &'static str,
        request: ConsumerHeartbeatRequest,
    ) -> Consumer {
        let mut consumer = Consumer {
            id,
            epoch: 0,
            owned: Partitions::new(),
        };
        let response = stage.heartbeat(&request);
        assert_eq!(response.error, ErrorCode::None, "{:?}", response.message);
        consumer.obey(&response);
        consumer
    }

    fn obey(&mut self, response: &ConsumerHeartbeatResponse) {
        self.epoch = response.member_epoch;
        if let Some(assignment) = &response.assignment {
            let topics = assignment.iter();
            self.owned = topics
                .map(|(topic, partitions)| (*topic, partitions.iter().copied().collect()))
                .collect();
        }
    }

    /// Reports what it has; whether anything changed.
    pub fn beat(&mut self, stage: &mut Stage) -> bool {
        let before = self.clone();
        let response = stage.heartbeat(&ConsumerHeartbeatRequest {
            owned: Some(self.owned.clone()),
            ..report(self.id, self.epoch)
        });
        assert_eq!(response.error, ErrorCode::None, "{:?}", response.message);
        self.obey(&response);
        before.epoch != self.epoch || before.owned != self.owned
    }

    pub fn partitions(&self) -> usize {
        self.owned.values().map(|numbers| numbers.len()).sum()
    }

    pub fn has(&self, topic: u8) -> Vec<i32> {
        let numbers = self.owned.get(&id(topic));
        numbers.into_iter().flatten().copied().collect()
    }
}

/// Everybody reports until nothing changes, and no partition is ever two members'.
pub fn settle(stage: &mut Stage, consumers: &mut [&mut Consumer]) {
    for _ in 0..50 {
        stage.pass(1_000);
        let mut changed = false;
        for at in 0..consumers.len() {
            changed |= consumers[at].beat(stage);
            let mut seen = std::collections::BTreeSet::new();
            for consumer in consumers.iter() {
                for (topic, numbers) in &consumer.owned {
                    for number in numbers {
                        assert!(seen.insert((*topic, *number)), "two members have it");
                    }
                }
            }
        }
        if !changed {
            return;
        }
    }
    panic!("the group does not come to rest");
}

/// A subscription of the classic protocol, version 3.
pub fn subscription(topics: &[&str], owned: &[(&str, &[i32])]) -> Bytes {
    let mut out = BytesMut::new();
    let put = |out: &mut BytesMut, text: &str| {
        out.put_i16(text.len() as i16);
        out.put_slice(text.as_bytes());
    };
    out.put_i16(3);
    out.put_i32(topics.len() as i32);
    for topic in topics {
        put(&mut out, topic);
    }
    out.put_i32(-1);
    out.put_i32(owned.len() as i32);
    for (topic, partitions) in owned {
        put(&mut out, topic);
        out.put_i32(partitions.len() as i32);
        for partition in *partitions {
            out.put_i32(*partition);
        }
    }
    out.put_i32(-1);
    out.put_i16(-1);
    out.freeze()
}

/// An assignment of the classic protocol, version 3.
pub fn assignment(partitions: &[(&str, &[i32])]) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(3);
    out.put_i32(partitions.len() as i32);
    for (topic, numbers) in partitions {
        out.put_i16(topic.len() as i16);
        out.put_slice(topic.as_bytes());
        out.put_i32(numbers.len() as i32);
        for number in *numbers {
            out.put_i32(*number);
        }
    }
    out.put_i32(-1);
    out.freeze()
}

/// A join of the classic protocol.
pub fn classic(member: &str, metadata: Bytes) -> JoinRequest {
    JoinRequest {
        group: Arc::from("g"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        member_id: Arc::from(member),
        instance_id: None,
        protocol_type: Arc::from("consumer"),
        protocols: vec![Protocol {
            name: Arc::from("range"),
            metadata,
        }],
    }
}
