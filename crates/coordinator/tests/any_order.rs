//! Anything, in any order: after every step a shard is what replaying its records makes of it, every
//! join and sync is answered once and in time, and no bytes make it panic.
#![expect(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use coordinator::*;
use fastrand::Rng;
use wire::ErrorCode;
use wire::ids::TopicId;

const GROUPS: [&str; 3] = ["g", "h", "k"];
const TOPICS: [&str; 2] = ["orders", "payments"];
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 20_000;
/// No join or sync may wait longer: the new member timeout, a session, a rebalance and a second.
const PATIENCE_MS: i64 = 30_000 + (SESSION_MS + 2 * REBALANCE_MS) as i64 + 1_000;

/// Group, member id, instance id, generation.
type Known = (Arc<str>, Arc<str>, Option<Arc<str>>, i32);

/// The cluster: each of [`TOPICS`] with so many partitions; none is no topic.
#[derive(Clone, Debug, Default)]
struct Topics {
    version: u64,
    partitions: [i32; TOPICS.len()],
}

impl Topics {
    fn facts(&self, at: usize) -> Option<TopicFacts> {
        (self.partitions[at] > 0).then(|| TopicFacts {
            name: Arc::from(TOPICS[at]),
            id: TopicId([at as u8 + 1; 16]),
            partitions: self.partitions[at],
        })
    }
}

impl Cluster for Topics {
    fn topics_version(&self) -> u64 {
        self.version
    }
    fn topic(&self, name: &str) -> Option<TopicFacts> {
        self.facts(TOPICS.iter().position(|topic| *topic == name)?)
    }
    fn topic_by_id(&self, id: TopicId) -> Option<TopicFacts> {
        (0..TOPICS.len())
            .filter_map(|at| self.facts(at))
            .find(|facts| facts.id == id)
    }
    fn racks(&self, _: TopicId, _: i32) -> Vec<Arc<str>> {
        Vec::new()
    }
    fn each_topic(&self, show: &mut dyn FnMut(&Arc<str>)) {
        (0..TOPICS.len())
            .filter_map(|at| self.facts(at))
            .for_each(|facts| show(&facts.name));
    }
    fn group_overrides(&self, _: &str) -> GroupOverrides {
        GroupOverrides::default()
    }
}

/// A member of a consumer group, as its client sees itself.
#[derive(Clone, Debug)]
struct Consumer {
    group: Arc<str>,
    id: Arc<str>,
    instance: Option<Arc<str>>,
    epoch: i32,
    owned: Partitions,
}

struct Driver {
    rng: Rng,
    settings: Settings,
    shard: Shard,
    /// Has only ever read the log.
    reader: Shard,
    log: Vec<(Option<RecordOrigin>, Record)>,
    markers: BTreeMap<usize, Vec<(i64, bool)>>,
    at_ms: i64,
    token: u64,
    /// Open requests: since when, and whether it is of an API that may wait.
    open: BTreeMap<Token, (i64, bool)>,
    /// Everybody who was told a member id.
    known: Vec<Known>,
    joins: BTreeMap<Token, (Arc<str>, Option<Arc<str>>)>,
    topics: Topics,
    consumers: Vec<Consumer>,
    /// Who waits for the answer to a heartbeat of the consumer protocol.
    beating: BTreeMap<Token, usize>,
    answers: BTreeMap<&'static str, usize>,
}

impl Driver {
    fn new(seed: u64) -> Driver {
        let mut rng = Rng::with_seed(seed);
        let settings = Settings {
            initial_rebalance_delay_ms: *rng.choice(&[0, 3_000]).unwrap(),
            group_size_max: *rng.choice(&[2, 5, 100]).unwrap(),
            new_member_join_timeout_ms: 30_000,
            offsets_retention_ms: 60_000,
            offsets_retention_check_interval_ms: 7_000,
            offset_metadata_max: 8,
            ..Settings::default()
        };
        let mut shard = Shard::new(settings.clone());
        shard.loaded(now_at(0));
        Driver {
            rng,
            reader: Shard::new(settings.clone()),
            settings,
            shard,
            log: Vec::new(),
            markers: BTreeMap::new(),
            at_ms: 0,
            token: 0,
            open: BTreeMap::new(),
            known: Vec::new(),
            joins: BTreeMap::new(),
            topics: Topics::default(),
            consumers: Vec::new(),
            beating: BTreeMap::new(),
            answers: BTreeMap::new(),
        }
    }

    fn replayed(&self) -> Shard {
        let mut shard = Shard::new(self.settings.clone());
        for index in 0..=self.log.len() {
            for (producer, committed) in self.markers.get(&index).into_iter().flatten() {
                shard.apply_marker(*producer, *committed);
            }
            if let Some((origin, record)) = self.log.get(index) {
                let origin = origin.unwrap();
                shard
                    .apply(origin, &record.key, record.value.as_deref())
                    .unwrap();
            }
        }
        shard
    }

    fn take(&mut self, effects: Effects) {
        for record in effects.records {
            let origin = RecordOrigin {
                offset: self.log.len() as i64,
                producer_id: effects.producer.map(|producer| producer.id),
            };
            for shard in [&mut self.shard, &mut self.reader] {
                shard
                    .apply(origin, &record.key, record.value.as_deref())
                    .unwrap();
            }
            self.log.push((Some(origin), record));
        }
        self.answer(effects.replies);
    }

    fn answer(&mut self, replies: Vec<(Token, GroupResponse)>) {
        for (token, response) in replies {
            self.open
                .remove(&token)
                .expect("each token is answered once");
            let kind = match &response {
                GroupResponse::Join(join) => {
                    let (group, instance) = self.joins.remove(&token).unwrap();
                    if !join.member_id.is_empty() {
                        let id = join.member_id.clone();
                        self.known.push((group, id, instance, join.generation));
                    }
                    if join.error == ErrorCode::None {
                        "joined"
                    } else {
                        "not joined"
                    }
                }
                GroupResponse::Sync(sync) if sync.error == ErrorCode::None => "synced",
                GroupResponse::Heartbeat(ErrorCode::None) => "alive",
                GroupResponse::ConsumerHeartbeat(beat) => self.hear(token, beat),
                _ => "other",
            };
            *self.answers.entry(kind).or_default() += 1;
        }
    }

    fn hear(&mut self, token: Token, beat: &ConsumerHeartbeatResponse) -> &'static str {
        let Some(at) = self.beating.remove(&token) else {
            return "other";
        };
        let consumer = &mut self.consumers[at];
        if beat.error != ErrorCode::None {
            // It abandons everything and joins again, or it was a stranger.
            consumer.epoch = 0;
            consumer.owned.clear();
            return "refused";
        }
        consumer.epoch = beat.member_epoch;
        if let Some(assignment) = &beat.assignment {
            let topics = assignment.iter().cloned();
            consumer.owned = topics
                .map(|(topic, partitions)| (topic, partitions.into_iter().collect()))
                .collect();
        }
        if consumer.owned.is_empty() {
            "beaten"
        } else {
            "fed"
        }
    }

    /// A heartbeat of the consumer protocol, mostly by one who behaves.
    fn beat(&mut self, token: Token) -> GroupRequest {
        let fresh = self.consumers.len() < 4 || self.rng.u8(..12) == 0;
        if fresh {
            // The last group stays with the classic protocol.
            let group = Arc::from(*self.rng.choice(&GROUPS[..2]).unwrap());
            let instance = (self.rng.u8(..3) == 0).then(|| Arc::from("i1"));
            self.consumers.push(Consumer {
                group,
                id: Arc::from(format!("consumer-{}", self.consumers.len())),
                instance,
                epoch: 0,
                owned: Partitions::new(),
            });
        }
        let recent = self.consumers.len().saturating_sub(5)..self.consumers.len();
        let at = if fresh {
            self.consumers.len() - 1
        } else {
            self.rng.usize(recent)
        };
        self.beating.insert(token, at);
        let consumer = self.consumers[at].clone();
        let epoch = match self.rng.u8(..40) {
            0 => -1,
            1 if consumer.instance.is_some() => -2,
            2 => self.rng.i32(-3..5),
            3 => 0,
            _ => consumer.epoch,
        };
        let joins = epoch == 0;
        let changes = joins || self.rng.u8(..20) == 0;
        let pattern = match self.rng.u8(..12) {
            0 => Some(Arc::from("orders|pay.*")),
            1 => Some(Arc::from(".*s")),
            2 => Some(Arc::from("")),
            3 => Some(Arc::from("(")),
            _ => None,
        };
        let named = TOPICS.iter().filter(|_| self.rng.u8(..4) > 0);
        let named: Vec<Arc<str>> = named.map(|topic| Arc::from(*topic)).collect();
        GroupRequest::ConsumerHeartbeat(ConsumerHeartbeatRequest {
            group: consumer.group,
            member_id: consumer.id,
            member_epoch: epoch,
            instance_id: consumer.instance,
            rack_id: None,
            rebalance_timeout_ms: if joins { REBALANCE_MS } else { -1 },
            topics: changes.then_some(named),
            pattern: if changes { pattern } else { None },
            assignor: (self.rng.u8(..6) == 0).then(|| Arc::from("range")),
            owned: if joins {
                Some(Partitions::new())
            } else {
                (self.rng.u8(..4) > 0).then_some(consumer.owned)
            },
        })
    }

    /// The cluster changes, and the shard is shown it.
    fn change_topics(&mut self) {
        let at = self.rng.usize(..TOPICS.len());
        self.topics.version += 1;
        self.topics.partitions[at] = match self.rng.u8(..6) {
            0 => 0,
            _ => self.topics.partitions[at] + self.rng.i32(1..4),
        };
        self.shard.follow(Arc::new(self.topics.clone()));
    }

    /// No partition is ever two members' of a consumer group.
    fn check_owners(&mut self) {
        let groups = GROUPS.iter().map(|id| Arc::from(*id)).collect();
        let caller = Caller {
            version: 1,
            client_id: Arc::from(""),
            client_host: Arc::from(""),
            chance: 0,
        };
        let request = GroupRequest::ConsumerDescribe(groups);
        let effects = self
            .shard
            .handle(now_at(self.at_ms), Token(0), &caller, request);
        let Some((_, GroupResponse::ConsumerDescribe(groups))) = effects.replies.into_iter().next()
        else {
            panic!("described");
        };
        for group in groups {
            let mut seen = std::collections::BTreeSet::new();
            for member in &group.members {
                for topic in &member.assignment {
                    for partition in &topic.partitions {
                        assert!(seen.insert((topic.id, *partition)), "{group:?}");
                    }
                }
            }
            if group.members.len() > 1 {
                *self.answers.entry("together").or_default() += 1;
            }
            if group.members.iter().any(|member| member.is_classic) {
                *self.answers.entry("mixed").or_default() += 1;
            }
        }
    }

    fn somebody(&mut self) -> Known {
        // Mostly recent ones, for the others are long gone.
        let recent = self.known.len().saturating_sub(4)..self.known.len();
        if recent.is_empty() || self.rng.u8(..20) == 0 {
            let group = *self.rng.choice(&GROUPS).unwrap();
            return (Arc::from(group), Arc::from("nobody"), None, 1);
        }
        self.known[self.rng.usize(recent)].clone()
    }

    fn topics(&mut self) -> Vec<CommitTopic> {
        let metadata = "x".repeat(self.rng.usize(..10));
        let partition = CommitPartition {
            partition: self.rng.i32(..3),
            offset: self.rng.i64(..100),
            leader_epoch: self.rng.i32(-1..2),
            metadata: self.rng.bool().then(|| Arc::from(metadata)),
        };
        vec![CommitTopic {
            name: Arc::from(*self.rng.choice(&TOPICS).unwrap()),
            partitions: vec![partition],
        }]
    }

    fn partitions(&mut self) -> Vec<TopicPartitions> {
        vec![TopicPartitions {
            name: Arc::from(*self.rng.choice(&TOPICS).unwrap()),
            partitions: vec![self.rng.i32(..3), self.rng.i32(..3)],
        }]
    }

    fn request(&mut self) -> GroupRequest {
        let (group, member_id, instance_id, generation) = self.somebody();
        let any_group: Arc<str> = Arc::from(*self.rng.choice(&GROUPS).unwrap());
        match self.rng.u8(..26) {
            0..2 => GroupRequest::Join(self.join(any_group, Arc::from(""), None)),
            2..3 => {
                let instance = *self.rng.choice(&["i1", "i2"]).unwrap();
                GroupRequest::Join(self.join(any_group, Arc::from(""), Some(Arc::from(instance))))
            }
            3..8 => GroupRequest::Join(self.join(group, member_id, instance_id)),
            8..16 => {
                let readable = self.rng.u8(..4) > 0;
                let everybody = self.known.iter().map(|known| known.1.clone());
                GroupRequest::Sync(SyncRequest {
                    assignments: everybody
                        .enumerate()
                        .map(|(at, id)| match readable {
                            true => (id, one_partition(at as i32)),
                            false => (id.clone(), Bytes::from(id.to_string())),
                        })
                        .collect(),
                    group,
                    generation,
                    member_id,
                    instance_id,
                    protocol_type: Some(Arc::from("consumer")),
                    protocol_name: None,
                })
            }
            16..18 => GroupRequest::Heartbeat(HeartbeatRequest {
                group,
                generation,
                member_id,
                instance_id,
            }),
            18 => {
                let by_id = self.rng.bool();
                let leaving = LeavingMember {
                    member_id: if by_id { member_id } else { Arc::from("") },
                    instance_id,
                };
                GroupRequest::Leave(LeaveRequest {
                    group,
                    members: vec![leaving],
                })
            }
            19 => GroupRequest::Commit(CommitRequest {
                group,
                generation,
                member_id,
                instance_id,
                retention_ms: *self.rng.choice(&[-1, 1_000]).unwrap(),
                topics: self.topics(),
            }),
            20 => GroupRequest::Commit(CommitRequest {
                group: any_group,
                generation: -1,
                member_id: Arc::from(""),
                instance_id: None,
                retention_ms: -1,
                topics: self.topics(),
            }),
            21 => GroupRequest::TxnCommit(TxnCommitRequest {
                group: any_group,
                producer_id: self.rng.i64(..2),
                producer_epoch: 0,
                generation: -1,
                member_id: Arc::from(""),
                instance_id: None,
                topics: self.topics(),
            }),
            22 => GroupRequest::DeleteOffsets(DeleteOffsetsRequest {
                group: any_group,
                topics: self.partitions(),
            }),
            23 => GroupRequest::Delete(vec![any_group.clone(), any_group]),
            24 if self.rng.u8(..4) == 0 => GroupRequest::Seek(SeekRequest {
                group: any_group,
                topics: self.topics(),
            }),
            _ => GroupRequest::Fetch(FetchRequest {
                group: any_group,
                topics: self.rng.bool().then(|| self.partitions()),
                member_id: None,
                member_epoch: -1,
                require_stable: self.rng.bool(),
            }),
        }
    }

    fn join(
        &mut self,
        group: Arc<str>,
        member_id: Arc<str>,
        instance_id: Option<Arc<str>>,
    ) -> JoinRequest {
        let names: &[&str] = match self.rng.u8(..8) {
            0 => &["sticky", "range"],
            1 => &["sticky"],
            _ => &["range", "sticky"],
        };
        let mut metadata = BytesMut::new();
        metadata.put_i16(0);
        metadata.put_i32(1);
        let topic = *self.rng.choice(&TOPICS).unwrap();
        metadata.put_i16(topic.len() as i16);
        metadata.put_slice(topic.as_bytes());
        metadata.put_i32(-1);
        let metadata = metadata.freeze();
        JoinRequest {
            group,
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: *self.rng.choice(&[0, -1, REBALANCE_MS]).unwrap(),
            member_id,
            instance_id,
            protocol_type: Arc::from("consumer"),
            protocols: names
                .iter()
                .map(|name| Protocol {
                    name: Arc::from(*name),
                    metadata: metadata.clone(),
                })
                .collect(),
        }
    }

    fn step(&mut self) {
        match self.rng.u16(..1000) {
            0..140 => {
                let span = *self.rng.choice(&[0, 50, 1_000, 4_000]).unwrap();
                self.pass(span);
            }
            140..150 => self.change_topics(),
            150..152 => {
                self.shard = self.replayed();
                self.shard.follow(Arc::new(self.topics.clone()));
                self.shard.loaded(now_at(self.at_ms));
                self.open.clear();
                self.joins.clear();
                self.beating.clear();
            }
            152..155 => {
                let mut reloaded = self.replayed();
                reloaded.follow(Arc::new(self.topics.clone()));
                let shard = std::mem::replace(&mut self.shard, reloaded);
                let replies = shard.unload(ErrorCode::NotCoordinator);
                self.answer(replies);
                assert!(self.open.is_empty(), "nobody is left behind");
                self.shard.loaded(now_at(self.at_ms));
            }
            155..165 => {
                let (producer, committed) = (self.rng.i64(..2), self.rng.bool());
                self.shard.apply_marker(producer, committed);
                self.reader.apply_marker(producer, committed);
                self.markers
                    .entry(self.log.len())
                    .or_default()
                    .push((producer, committed));
            }
            165..170 => {
                let gone = (
                    Arc::from(*self.rng.choice(&TOPICS).unwrap()),
                    self.rng.i32(..3),
                );
                let effects = self.shard.partitions_deleted(&[gone]);
                self.take(effects);
            }
            170..172 => {
                // An append fails: nothing of the step is in the log, and everybody is answered.
                let (token, caller, request) = self.prepare();
                let mut reloaded = self.replayed();
                reloaded.follow(Arc::new(self.topics.clone()));
                let mut shard = std::mem::replace(&mut self.shard, reloaded);
                let effects = shard.handle(now_at(self.at_ms), token, &caller, request);
                let replies = shard.append_failed(effects, ErrorCode::NotEnoughReplicas);
                self.answer(replies);
                assert!(self.open.is_empty(), "nobody is left behind");
                self.shard.loaded(now_at(self.at_ms));
            }
            _ => {
                let (token, caller, request) = self.prepare();
                let effects = self
                    .shard
                    .handle(now_at(self.at_ms), token, &caller, request);
                self.take(effects);
                if let Some((_, waits)) = self.open.get(&token) {
                    assert!(waits, "only joins and syncs wait");
                }
            }
        }
    }

    fn prepare(&mut self) -> (Token, Caller, GroupRequest) {
        self.token += 1;
        let token = Token(self.token);
        let request = match self.rng.u8(..3) {
            0 => self.beat(token),
            _ => self.request(),
        };
        let waits = matches!(request, GroupRequest::Join(_) | GroupRequest::Sync(_));
        self.open.insert(token, (self.at_ms, waits));
        if let GroupRequest::Join(join) = &request {
            self.joins
                .insert(token, (join.group.clone(), join.instance_id.clone()));
        }
        let caller = Caller {
            version: self.rng.i16(0..10),
            client_id: Arc::from("app"),
            client_host: Arc::from("/127.0.0.1"),
            chance: self.rng.u128(..),
        };
        (token, caller, request)
    }

    /// A stable group looks the same after a restart.
    fn check_stable_groups(&mut self) {
        let mut restarted = self.replayed();
        restarted.loaded(now_at(self.at_ms));
        let now = now_at(self.at_ms);
        let describe = |shard: &mut Shard| {
            let groups = GROUPS.iter().map(|id| Arc::from(*id)).collect();
            let caller = Caller {
                version: 6,
                client_id: Arc::from(""),
                client_host: Arc::from(""),
                chance: 0,
            };
            let effects = shard.handle(now, Token(0), &caller, GroupRequest::Describe(groups));
            match effects.replies.into_iter().next() {
                Some((_, GroupResponse::Describe(groups))) => groups,
                other => panic!("described: {other:?}"),
            }
        };
        // Over the limit, a restart begins with a rebalance; its members are the same.
        for (here, there) in describe(&mut self.shard)
            .iter()
            .zip(describe(&mut restarted))
        {
            if here.state == "Stable" && there.state == "Stable" {
                assert_eq!(*here, there);
                *self.answers.entry("stable").or_default() += 1;
            } else if here.state == "Stable" {
                assert_eq!(here.members.len(), there.members.len());
            }
        }
    }

    fn pass(&mut self, span: i64) {
        let until = self.at_ms + span;
        while let Some(deadline) = self.shard.deadline() {
            let at = i64::try_from(deadline.0.div_ceil(1_000_000)).unwrap();
            if at > until {
                break;
            }
            self.at_ms = self.at_ms.max(at);
            let effects = self.shard.tick(now_at(self.at_ms));
            self.take(effects);
        }
        self.at_ms = until;
        for (since, _) in self.open.values() {
            assert!(
                until - since <= PATIENCE_MS,
                "a request waits for {} ms",
                until - since
            );
        }
    }
}

/// An assignment of one partition of the first topic.
fn one_partition(number: i32) -> Bytes {
    let mut out = BytesMut::new();
    out.put_i16(0);
    out.put_i32(1);
    out.put_i16(TOPICS[0].len() as i16);
    out.put_slice(TOPICS[0].as_bytes());
    out.put_i32(1);
    out.put_i32(number);
    out.put_i32(-1);
    out.freeze()
}

fn now_at(ms: i64) -> Now {
    Now {
        monotonic: Instant(ms as u64 * 1_000_000),
        wall_ms: 1_000_000_000_000 + ms,
    }
}

#[test]
fn any_history_is_what_its_records_make_of_it() {
    // rules G1–G10, N1–N7; house rule 1: state changes only when a record is applied
    let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..40 {
        let mut driver = Driver::new(seed);
        for step in 0..600 {
            driver.step();
            assert_eq!(
                driver.reader.persistent(),
                driver.shard.persistent(),
                "seed {seed}, step {step}"
            );
            if step % 10 == 0 {
                driver.check_stable_groups();
                driver.check_owners();
            }
        }
        driver.pass(PATIENCE_MS + 1);
        assert!(
            driver.open.is_empty(),
            "seed {seed}: everybody is answered in the end"
        );
        for (kind, count) in driver.answers {
            *answers.entry(kind).or_default() += count;
        }
    }
    // The histories mean something only if groups form in them.
    for kind in [
        "joined", "synced", "alive", "stable", "fed", "together", "mixed",
    ] {
        let count = answers.get(kind).copied().unwrap_or(0);
        assert!(count > 50, "too few {kind}: {answers:?}");
    }
}

#[test]
fn the_same_seed_tells_the_same_history() {
    let run = |seed| {
        let mut driver = Driver::new(seed);
        for _ in 0..300 {
            driver.step();
        }
        (
            driver
                .log
                .into_iter()
                .map(|(_, record)| record)
                .collect::<Vec<_>>(),
            driver.answers,
        )
    };
    assert_eq!(run(7), run(7));
}

#[test]
fn damaged_records_are_errors_or_states_but_never_panics() {
    let mut driver = Driver::new(1);
    for _ in 0..600 {
        driver.step();
    }
    let log: Vec<Record> = driver
        .log
        .iter()
        .map(|(_, record)| record.clone())
        .collect();
    let mut rng = Rng::with_seed(9);
    for round in 0..200 {
        let mut shard = Shard::new(driver.settings.clone());
        for (offset, record) in log.iter().enumerate() {
            let mut key = record.key.to_vec();
            let mut value = record.value.as_deref().map(<[u8]>::to_vec);
            if rng.u8(..4) == 0 {
                damage(&mut rng, &mut key);
            }
            if let Some(value) = &mut value {
                damage(&mut rng, value);
            }
            let producer_id = rng.bool().then(|| rng.i64(..3));
            let origin = RecordOrigin {
                offset: offset as i64,
                producer_id,
            };
            let _ = shard.apply(origin, &key, value.as_deref());
        }
        shard.apply_marker(0, true);
        // What came through must be a state one can live with.
        driver.log.clear();
        driver.markers.clear();
        driver.open.clear();
        driver.joins.clear();
        driver.beating.clear();
        driver.shard = shard;
        driver.shard.follow(Arc::new(driver.topics.clone()));
        driver.reader = Shard::new(driver.settings.clone());
        driver.shard.loaded(now_at(driver.at_ms));
        for _ in 0..30 {
            let (token, caller, request) = driver.prepare();
            let effects = driver
                .shard
                .handle(now_at(driver.at_ms), token, &caller, request);
            driver.take(effects);
        }
        for _ in 0..50 {
            driver.at_ms += 5_000;
            let effects = driver.shard.tick(now_at(driver.at_ms));
            driver.take(effects);
        }
        assert!(driver.shard.counts().groups < 10_000, "round {round}");
    }
}

fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(..3) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.usize(..bytes.len());
        match rng.u8(..4) {
            0 => bytes[at] = rng.u8(..),
            1 => bytes.truncate(at),
            2 => bytes[at] ^= 1 << rng.u8(..8),
            _ => bytes.insert(at, rng.u8(..)),
        }
    }
}

#[test]
fn announced_lengths_reserve_nothing() {
    // rule W8, for records: a few bytes that announce two billion members, topics, tags
    let members = [
        &[0, 3, 0, 1, b'c', 0, 0, 0, 1][..],
        &[0xff; 4],
        &[0; 8],
        &[0x7f, 0xff, 0xff, 0xff],
    ];
    let compact = [
        &[0, 4, 2, b'c', 0, 0, 0, 1, 0, 0][..],
        &[0; 8],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    let tags = [
        &[0, 4, 2, b'c', 0, 0, 0, 1, 0, 0][..],
        &[0; 8],
        &[1, 0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    for value in [
        members.concat(),
        compact.concat(),
        tags.concat(),
        vec![0, 9],
        vec![],
    ] {
        assert!(decode_group_value(&value).is_err(), "{value:?}");
    }
    let note = [&[0, 3][..], &[0; 12], &[0x7f, 0xff]];
    let tags = [
        &[0, 4][..],
        &[0; 12],
        &[1],
        &[0; 8],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
    ];
    for value in [note.concat(), tags.concat(), vec![0, 9], vec![]] {
        assert!(decode_offset_value(&value).is_err(), "{value:?}");
    }
}
