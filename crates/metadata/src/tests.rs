//! Stories of the metadata log: commands in, answers, images and deltas out.

use wire::ErrorCode;
use wire::ids::{BrokerId, LeaderEpoch, ProducerId, TopicId};

use super::*;

const ORDERS: TopicId = TopicId([1; 16]);
const AUDIT: TopicId = TopicId([2; 16]);

/// A metadata log in memory: what was applied, and the image.
#[derive(Default)]
struct Cluster {
    log: Vec<Vec<u8>>,
    image: Image,
    delta: Delta,
}

impl Cluster {
    fn with_brokers(count: i32) -> Cluster {
        let mut cluster = Cluster::default();
        for id in 1..=count {
            let epoch = cluster.register(id, 0);
            cluster.accept(Command::UnfenceBroker {
                broker: BrokerId(id),
                epoch,
            });
        }
        cluster
    }

    fn apply(&mut self, command: Command) -> Answer {
        let bytes = command.encode();
        let proposed = Command::decode(&bytes).expect("own bytes");
        assert_eq!(proposed.command, command);
        let foreseen = dry_run(&self.image, command);
        self.log.push(bytes);
        let offset = MetadataOffset(self.log.len() as u64);
        let (answer, delta) = apply(&mut self.image, offset, proposed);
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer.clone()));
        if !matches!(answer, Answer::Registered { .. }) {
            assert_eq!(foreseen, answer, "a dry run says what will happen");
        }
        self.delta = delta;
        answer
    }

    fn accept(&mut self, command: Command) -> Answer {
        self.apply(command).accepted().expect("accepted")
    }

    fn refuse(&mut self, command: Command) -> (ErrorCode, String) {
        let before = snapshot(&self.image);
        let refusal = self.apply(command).accepted().expect_err("refused");
        assert!(self.delta.is_empty());
        let mut copy = self.image.clone();
        copy.offset = MetadataOffset(self.log.len() as u64 - 1);
        assert_eq!(snapshot(&copy), before, "a refused command changes nothing");
        (refusal.code, refusal.message)
    }

    fn register(&mut self, id: i32, start: u8) -> i64 {
        let answer = self.accept(Command::RegisterBroker {
            broker: BrokerId(id),
            incarnation: [start; 16],
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".into(),
                host: format!("node-{id}"),
                port: 9092,
                security: Security::Plaintext,
            }],
            rack: None,
            directories: vec![DirectoryId([id as u8; 16])],
        });
        match answer {
            Answer::Registered { epoch } => epoch,
            other => panic!("{other:?}"),
        }
    }

    fn epoch(&self, id: i32) -> i64 {
        self.image.broker(BrokerId(id)).expect("registered").epoch
    }

    fn fence(&mut self, id: i32) {
        let epoch = self.epoch(id);
        self.accept(Command::FenceBroker {
            broker: BrokerId(id),
            epoch,
        });
    }

    fn unfence(&mut self, id: i32) {
        let epoch = self.epoch(id);
        self.accept(Command::UnfenceBroker {
            broker: BrokerId(id),
            epoch,
        });
    }

    fn create(&mut self, name: &str, id: TopicId, replicas: &[&[i32]]) -> Answer {
        self.apply(create(name, id, replicas, &[]))
    }

    fn partition(&self, topic: TopicId) -> &Partition {
        self.image.partition(topic, 0).expect("there")
    }

    fn settings(&self, topic: &str) -> Vec<(&str, &str)> {
        let resource = Resource::Topic(topic.into());
        self.image
            .config(&resource)
            .map(|map| map.iter().collect())
            .unwrap_or_default()
    }

    /// Replays the log, and the second half of it over a snapshot of the first half.
    fn replays_to_the_same_image(&self) {
        let run = |image: &mut Image, from: usize, to: usize| {
            for (at, bytes) in self.log[from..to].iter().enumerate() {
                let offset = MetadataOffset((from + at + 1) as u64);
                apply(image, offset, Command::decode(bytes).expect("own bytes"));
            }
        };
        let expected = snapshot(&self.image);
        let mut replayed = Image::default();
        run(&mut replayed, 0, self.log.len());
        assert_eq!(snapshot(&replayed), expected);
        for half in 0..=self.log.len() {
            let mut first = Image::default();
            run(&mut first, 0, half);
            let mut second = restore(&snapshot(&first)).expect("own snapshot");
            run(&mut second, half, self.log.len());
            assert_eq!(
                snapshot(&second),
                expected,
                "continued from a snapshot at {half}"
            );
            assert_eq!(second.partition_count(), self.image.partition_count());
        }
    }
}

fn ids(brokers: &[i32]) -> Vec<BrokerId> {
    brokers.iter().copied().map(BrokerId).collect()
}

fn placement(replicas: &[i32]) -> Placement {
    Placement {
        replicas: ids(replicas),
        directories: replicas
            .iter()
            .map(|id| DirectoryId([*id as u8; 16]))
            .collect(),
    }
}

fn create(name: &str, id: TopicId, replicas: &[&[i32]], settings: &[(&str, &str)]) -> Command {
    Command::CreateTopic {
        name: name.into(),
        id,
        partitions: replicas
            .iter()
            .map(|replicas| placement(replicas))
            .collect(),
        settings: settings
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
    }
}

fn change(topic: &str, changes: &[(&str, Operation, Option<&str>)]) -> Command {
    Command::ChangeConfig {
        resource: Resource::Topic(topic.into()),
        replace: false,
        changes: changes
            .iter()
            .map(|(name, operation, value)| Change {
                name: name.to_string(),
                operation: *operation,
                value: value.map(str::to_string),
            })
            .collect(),
    }
}

#[test]
fn a_topic_is_created_found_grown_and_deleted() {
    let mut cluster = Cluster::with_brokers(1);
    assert_eq!(
        cluster.create("orders", ORDERS, &[&[1], &[1]]),
        Answer::TopicCreated { id: ORDERS }
    );
    assert_eq!(cluster.delta.topics_created, [ORDERS]);
    let topic = cluster.image.topic("orders").expect("there").clone();
    assert_eq!((topic.id, topic.partitions.len()), (ORDERS, 2));
    assert_eq!(topic.partitions[0].leader, Some(BrokerId(1)));
    assert_eq!(topic.partitions[0].isr.as_slice(), ids(&[1]));
    assert_eq!(topic.partitions[0].leader_epoch, LeaderEpoch(0));

    cluster.accept(Command::CreatePartitions {
        topic: ORDERS,
        count: 3,
        placements: vec![placement(&[1])],
    });
    assert_eq!(cluster.delta.partitions, [(ORDERS, 2)]);
    assert_eq!(cluster.image.partition_count(), 3);
    assert_eq!(
        topic.partitions.len(),
        2,
        "an image handed out before does not change"
    );

    cluster.accept(change(
        "orders",
        &[("retention.ms", Operation::Set, Some("5"))],
    ));
    cluster.accept(Command::DeleteTopic { id: ORDERS });
    assert_eq!(cluster.delta.topics_deleted, [(ORDERS, "orders".into())]);
    assert!(cluster.image.topic("orders").is_none() && cluster.image.topic_by_id(ORDERS).is_none());
    assert_eq!(
        (
            cluster.image.partition_count(),
            cluster.image.configs().count()
        ),
        (0, 0)
    );
    assert_eq!(
        cluster.refuse(Command::DeleteTopic { id: ORDERS }).0,
        ErrorCode::UnknownTopicId
    );
    cluster.replays_to_the_same_image();
}

// rule M9
#[test]
fn names_are_checked_and_must_not_collide() {
    let mut cluster = Cluster::with_brokers(1);
    cluster.create("a.b", ORDERS, &[&[1]]);
    let long = "x".repeat(250);
    for (name, code) in [
        ("a.b", ErrorCode::TopicAlreadyExists),
        ("a_b", ErrorCode::InvalidTopicException),
        ("", ErrorCode::InvalidTopicException),
        (".", ErrorCode::InvalidTopicException),
        ("..", ErrorCode::InvalidTopicException),
        ("käse", ErrorCode::InvalidTopicException),
        ("a/b", ErrorCode::InvalidTopicException),
        (long.as_str(), ErrorCode::InvalidTopicException),
    ] {
        assert_eq!(
            cluster.refuse(create(name, AUDIT, &[&[1]], &[])).0,
            code,
            "{name}"
        );
    }
    assert_eq!(
        cluster.refuse(create("a_b", AUDIT, &[&[1]], &[])).1,
        "Topic 'a_b' collides with existing topic: a.b"
    );
    cluster.create("ab", AUDIT, &[&[1]]);
    cluster.accept(Command::DeleteTopic { id: ORDERS });
    cluster.accept(create("a_b", ORDERS, &[&[1]], &[]));
    cluster.accept(create(&"x".repeat(249), TopicId([3; 16]), &[&[1]], &[]));
    cluster.replays_to_the_same_image();
}

#[test]
fn impossible_topics_are_refused_with_kafkas_errors() {
    let mut cluster = Cluster::with_brokers(2);
    for (replicas, code) in [
        (&[][..], ErrorCode::InvalidPartitions),
        (&[&[][..]][..], ErrorCode::InvalidReplicationFactor),
        (&[&[1, 1][..]][..], ErrorCode::InvalidReplicaAssignment),
        (&[&[3][..]][..], ErrorCode::InvalidReplicaAssignment),
        (
            &[&[1][..], &[1, 2][..]][..],
            ErrorCode::InvalidReplicaAssignment,
        ),
    ] {
        assert_eq!(
            cluster.refuse(create("orders", ORDERS, replicas, &[])).0,
            code
        );
    }
    for settings in [
        [("retention.ms", "soon")],
        [("retention", "1")],
        [("cleanup.policy", "shred")],
    ] {
        let refused = cluster.refuse(create("orders", ORDERS, &[&[1]], &settings));
        assert_eq!(refused.0, ErrorCode::InvalidConfig, "{}", refused.1);
    }
    cluster.create("orders", ORDERS, &[&[1]]);
    assert_eq!(
        cluster.refuse(create("audit", ORDERS, &[&[1]], &[])).0,
        ErrorCode::InvalidRequest,
        "an id names one topic only"
    );
    for (count, placements, code) in [
        (1, vec![], ErrorCode::InvalidPartitions),
        (0, vec![], ErrorCode::InvalidPartitions),
        (-1, vec![], ErrorCode::InvalidPartitions),
        (1_000_000, vec![], ErrorCode::InvalidPartitions),
        (
            3,
            vec![placement(&[1])],
            ErrorCode::InvalidReplicaAssignment,
        ),
        (
            2,
            vec![placement(&[1, 2])],
            ErrorCode::InvalidReplicaAssignment,
        ),
    ] {
        let command = Command::CreatePartitions {
            topic: ORDERS,
            count,
            placements,
        };
        assert_eq!(cluster.refuse(command).0, code);
    }
}

#[test]
fn the_brokers_own_topics_may_be_compacted() {
    let mut cluster = Cluster::with_brokers(1);
    let command = create(
        "__consumer_offsets",
        ORDERS,
        &[&[1]],
        &[("cleanup.policy", "compact")],
    );
    cluster.accept(command);
    assert_eq!(
        cluster.settings("__consumer_offsets"),
        [("cleanup.policy", "compact")]
    );
}

// rule M12
#[test]
fn settings_change_all_or_none() {
    use Operation::{Append, Delete, Set, Subtract};
    let mut cluster = Cluster::with_brokers(1);
    cluster.create("orders", ORDERS, &[&[1]]);
    cluster.accept(change(
        "orders",
        &[
            ("retention.ms", Set, Some("5")),
            (
                "leader.replication.throttled.replicas",
                Append,
                Some("0:1,1:1"),
            ),
        ],
    ));
    assert_eq!(cluster.delta.configs, [Resource::Topic("orders".into())]);
    let refused = cluster.refuse(change(
        "orders",
        &[
            ("retention.ms", Set, Some("6")),
            ("segment.ms", Set, Some("0")),
        ],
    ));
    assert_eq!(refused.0, ErrorCode::InvalidConfig);
    for (changes, code) in [
        (
            &[("retention.ms", Append, Some("6"))][..],
            ErrorCode::InvalidConfig,
        ),
        (
            &[("retention.ms", Set, None)][..],
            ErrorCode::InvalidRequest,
        ),
        (
            &[("segment.ms", Set, Some("1")), ("segment.ms", Delete, None)][..],
            ErrorCode::InvalidRequest,
        ),
        (
            &[("retention.mss", Set, Some("1"))][..],
            ErrorCode::InvalidConfig,
        ),
        (
            &[("sync.policy", Set, Some("os"))][..],
            ErrorCode::InvalidConfig,
        ),
    ] {
        assert_eq!(cluster.refuse(change("orders", changes)).0, code);
    }
    cluster.accept(change(
        "orders",
        &[
            (
                "leader.replication.throttled.replicas",
                Subtract,
                Some("0:1"),
            ),
            ("cleanup.policy", Append, Some("delete")),
            ("retention.ms", Delete, None),
            ("segment.ms", Delete, None),
        ],
    ));
    assert_eq!(
        cluster.settings("orders"),
        [
            ("cleanup.policy", "delete"),
            ("leader.replication.throttled.replicas", "1:1"),
        ]
    );
    let unknown = change("payments", &[("retention.ms", Set, Some("5"))]);
    assert_eq!(
        cluster.refuse(unknown).0,
        ErrorCode::UnknownTopicOrPartition
    );
    cluster.replays_to_the_same_image();
}

#[test]
fn the_older_call_replaces_everything_but_what_is_fixed() {
    let mut cluster = Cluster::with_brokers(1);
    let settings = [("sync.policy", "os"), ("retention.ms", "5")];
    cluster.accept(create("orders", ORDERS, &[&[1]], &settings));
    let mut command = change("orders", &[("segment.ms", Operation::Set, Some("9"))]);
    if let Command::ChangeConfig { replace, .. } = &mut command {
        *replace = true;
    }
    cluster.accept(command);
    assert_eq!(
        cluster.settings("orders"),
        [("segment.ms", "9"), ("sync.policy", "os")]
    );
    let delete = change("orders", &[("sync.policy", Operation::Delete, None)]);
    assert_eq!(
        cluster.refuse(delete).1,
        "sync.policy is fixed when the topic is created and is os"
    );
}

#[test]
fn broker_and_group_settings_have_their_own_keys() {
    let mut cluster = Cluster::with_brokers(1);
    let set = |resource: Resource, name: &str, value: &str| Command::ChangeConfig {
        resource,
        replace: false,
        changes: vec![Change {
            name: name.into(),
            operation: Operation::Set,
            value: Some(value.into()),
        }],
    };
    cluster.accept(set(Resource::ClusterDefault, "log.retention.ms", "5"));
    cluster.accept(set(Resource::Broker(BrokerId(1)), "log.retention.ms", "6"));
    cluster.accept(set(
        Resource::Group("g".into()),
        "consumer.session.timeout.ms",
        "50000",
    ));
    let fixed = cluster.refuse(set(Resource::ClusterDefault, "num.partitions", "5"));
    assert_eq!(fixed.0, ErrorCode::InvalidRequest);
    let strange = cluster.refuse(set(Resource::Group("g".into()), "retention.ms", "5"));
    assert_eq!(strange.0, ErrorCode::InvalidConfig);
    cluster.replays_to_the_same_image();
}

#[test]
fn a_restarted_broker_leads_again_in_a_new_epoch() {
    let mut cluster = Cluster::with_brokers(1);
    cluster.create("orders", ORDERS, &[&[1]]);
    let old = cluster.epoch(1);
    let new = cluster.register(1, 7);
    assert!(new > old);
    let partition = cluster.partition(ORDERS);
    assert_eq!(
        (partition.leader, partition.leader_epoch),
        (None, LeaderEpoch(1))
    );
    assert_eq!(
        partition.isr.as_slice(),
        ids(&[1]),
        "the last in-sync replica stays"
    );
    assert_eq!(cluster.register(1, 7), new, "asking twice changes nothing");
    assert!(cluster.delta.is_empty());
    cluster.unfence(1);
    assert_eq!(cluster.delta.partitions, [(ORDERS, 0)]);
    let partition = cluster.partition(ORDERS);
    assert_eq!(
        (partition.leader, partition.leader_epoch),
        (Some(BrokerId(1)), LeaderEpoch(2))
    );
    let stale = Command::FenceBroker {
        broker: BrokerId(1),
        epoch: old,
    };
    assert_eq!(cluster.refuse(stale).0, ErrorCode::StaleBrokerEpoch);
    let stranger = Command::FenceBroker {
        broker: BrokerId(9),
        epoch: old,
    };
    assert_eq!(cluster.refuse(stranger).0, ErrorCode::BrokerIdNotRegistered);
    cluster.replays_to_the_same_image();
}

#[test]
fn the_last_ones_below_the_minimum_stay_eligible() {
    let mut cluster = Cluster::with_brokers(3);
    cluster.accept(create(
        "orders",
        ORDERS,
        &[&[1, 2, 3]],
        &[("min.insync.replicas", "2")],
    ));
    cluster.fence(1);
    let partition = cluster.partition(ORDERS);
    assert_eq!(
        (partition.leader, partition.leader_epoch),
        (Some(BrokerId(2)), LeaderEpoch(1))
    );
    assert_eq!(
        (partition.isr.as_slice(), partition.elr.len()),
        (&ids(&[2, 3])[..], 0)
    );
    cluster.fence(2);
    let partition = cluster.partition(ORDERS);
    assert_eq!(
        (partition.isr.as_slice(), partition.elr.as_slice()),
        (&ids(&[3])[..], &ids(&[2])[..])
    );
    cluster.fence(3);
    assert_eq!(cluster.partition(ORDERS).leader, None);
    cluster.unfence(1);
    assert_eq!(
        cluster.partition(ORDERS).leader,
        None,
        "broker 1 may lack records"
    );
    cluster.unfence(2);
    let partition = cluster.partition(ORDERS).clone();
    assert_eq!(
        (partition.leader, partition.isr.as_slice()),
        (Some(BrokerId(2)), &ids(&[2])[..])
    );
    assert_eq!(partition.elr.as_slice(), ids(&[3]));
    cluster.unfence(3);
    let wish = |isr: &[i32], cluster: &Cluster| IsrChange {
        topic: ORDERS,
        partition: 0,
        leader_epoch: cluster.partition(ORDERS).leader_epoch,
        partition_epoch: cluster.partition(ORDERS).partition_epoch,
        isr: ids(isr),
        recovery: Recovery::Recovered,
    };
    let grow = wish(&[2, 3], &cluster);
    let epoch = cluster.epoch(2);
    let send = |changes: Vec<IsrChange>| Command::ChangeIsr {
        broker: BrokerId(2),
        epoch,
        changes,
    };
    let answer = cluster.accept(send(vec![grow.clone(), grow]));
    assert_eq!(
        answer,
        Answer::Partitions(vec![ErrorCode::None, ErrorCode::InvalidUpdateVersion])
    );
    assert!(cluster.partition(ORDERS).elr.is_empty());
    let mut foreign = wish(&[2, 9], &cluster);
    let mut old = wish(&[2], &cluster);
    old.leader_epoch = LeaderEpoch(0);
    let answer = cluster.accept(send(vec![foreign.clone(), old]));
    assert_eq!(
        answer,
        Answer::Partitions(vec![
            ErrorCode::InvalidRequest,
            ErrorCode::FencedLeaderEpoch
        ])
    );
    foreign.topic = AUDIT;
    let answer = cluster.accept(send(vec![foreign, wish(&[2], &cluster)]));
    assert_eq!(
        answer,
        Answer::Partitions(vec![ErrorCode::UnknownTopicId, ErrorCode::None])
    );
    assert_eq!(cluster.partition(ORDERS).elr.as_slice(), ids(&[3]));
    cluster.replays_to_the_same_image();
}

#[test]
fn a_draining_broker_hands_over() {
    let mut cluster = Cluster::with_brokers(2);
    cluster.create("orders", ORDERS, &[&[1, 2]]);
    let epoch = cluster.epoch(1);
    cluster.accept(Command::DrainBroker {
        broker: BrokerId(1),
        epoch,
    });
    assert_eq!(cluster.partition(ORDERS).leader, Some(BrokerId(2)));
    cluster.create("audit", AUDIT, &[&[1, 2]]);
    assert_eq!(cluster.partition(AUDIT).leader, Some(BrokerId(2)));
    cluster.replays_to_the_same_image();
}

#[test]
fn producer_ids_are_handed_out_once() {
    let mut cluster = Cluster::with_brokers(1);
    let epoch = cluster.epoch(1);
    let ask = || Command::AllocateProducerIds {
        broker: BrokerId(1),
        epoch,
    };
    let block = |first| Answer::ProducerIds {
        first: ProducerId(first),
        count: 1_000,
    };
    assert_eq!(cluster.accept(ask()), block(0));
    assert_eq!(cluster.accept(ask()), block(1_000));
    let stale = Command::AllocateProducerIds {
        broker: BrokerId(1),
        epoch: epoch + 1,
    };
    assert_eq!(cluster.refuse(stale).0, ErrorCode::StaleBrokerEpoch);
    cluster.replays_to_the_same_image();
}

#[test]
fn the_cluster_is_named_once() {
    let mut cluster = Cluster::default();
    let name = |id: &str| Command::NameCluster {
        cluster_id: id.into(),
    };
    cluster.accept(name("abc"));
    cluster.accept(name("abc"));
    assert!(cluster.delta.is_empty());
    assert_eq!(
        cluster.refuse(name("xyz")).0,
        ErrorCode::InconsistentClusterId
    );
    cluster.accept(Command::SetFeature {
        name: "group.version".into(),
        level: 1,
    });
    assert_eq!(cluster.image.feature("group.version"), Some(1));
    cluster.replays_to_the_same_image();
}

#[test]
fn placement_takes_turns_and_never_repeats_a_broker() {
    let cluster = Cluster::with_brokers(3);
    let placements = place(&cluster.image, 9, 2, 4).expect("three brokers hold two replicas");
    let mut leaders = [0; 4];
    for placement in &placements {
        assert_ne!(placement.replicas[0], placement.replicas[1]);
        assert_eq!(
            placement.directories[1],
            DirectoryId([placement.replicas[1].0 as u8; 16])
        );
        leaders[placement.replicas[0].0 as usize] += 1;
    }
    assert_eq!(leaders, [0, 3, 3, 3]);
    let refusal = place(&cluster.image, 1, 4, 0).expect_err("too many");
    assert_eq!(refusal.code, ErrorCode::InvalidReplicationFactor);
    assert_eq!(
        refusal.message,
        "Replication factor: 4 larger than available brokers: 3."
    );
    assert!(place(&Image::default(), 1, 1, 0).is_err());
}

#[test]
fn command_bytes_are_as_written_down() {
    let command = create("ab", TopicId([9; 16]), &[&[1]], &[("retention.ms", "5")]);
    let mut expected = vec![1, 2, 0, 6, 2, b'a', b'b'];
    expected.extend([9; 16]);
    expected.extend([1, 1, 1, 0, 0, 0, 1]);
    expected.extend([1; 16]);
    expected.extend([1, 12]);
    expected.extend(b"retention.ms");
    expected.extend([1, b'5']);
    assert_eq!(command.encode(), expected);
    let fence = Command::FenceBroker {
        broker: BrokerId(2),
        epoch: 3,
    };
    assert_eq!(
        fence.encode(),
        [1, 2, 0, 4, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]
    );
}

#[test]
fn newer_bytes_ask_for_the_newer_build() {
    let mut bytes = Command::DeleteTopic { id: ORDERS }.encode();
    bytes[0] = 3;
    assert!(matches!(
        Command::decode(&bytes),
        Err(Corrupt::TooNew { .. })
    ));
    bytes[0] = 1;
    bytes[1] = 99;
    assert!(matches!(
        Command::decode(&bytes),
        Err(Corrupt::TooNew { .. })
    ));
}

/// An entity of a user, a client id or both; an empty name is the default.
fn client(user: Option<&str>, client_id: Option<&str>) -> QuotaEntity {
    let whom = |name: &str| Whom::of((!name.is_empty()).then_some(name));
    QuotaEntity {
        user: user.map(whom),
        client_id: client_id.map(whom),
        ip: None,
    }
}

fn address(ip: &str) -> QuotaEntity {
    QuotaEntity {
        ip: Some(Whom::of((!ip.is_empty()).then_some(ip))),
        ..QuotaEntity::default()
    }
}

/// New quotas; `None` takes one away.
type Amounts<'a> = &'a [(QuotaKey, Option<f64>)];

fn quotas(changes: &[(QuotaEntity, Amounts<'_>)]) -> Command {
    let amounts = |amounts: Amounts<'_>| {
        amounts
            .iter()
            .map(|(key, value)| {
                (
                    *key,
                    value.map(|value| Amount::new(value).expect("a number")),
                )
            })
            .collect()
    };
    Command::ChangeQuotas {
        changes: changes
            .iter()
            .map(|(entity, changed)| QuotaChange {
                entity: entity.clone(),
                amounts: amounts(changed),
            })
            .collect(),
    }
}

#[test]
fn quotas_are_set_changed_and_taken_away() {
    let mut cluster = Cluster::with_brokers(1);
    let ann = client(Some("ann"), None);
    let key = QuotaKey::ProducerByteRate;
    cluster.accept(quotas(&[(ann.clone(), &[(key, Some(5.0))])]));
    assert_eq!(cluster.delta.quotas, std::slice::from_ref(&ann));
    cluster.accept(quotas(&[(ann.clone(), &[(key, Some(5.0))])]));
    assert!(cluster.delta.is_empty(), "nothing is different");
    let more = [(QuotaKey::RequestPercentage, Some(0.5)), (key, Some(7.0))];
    cluster.accept(quotas(&[(ann.clone(), &more)]));
    let held: Vec<_> = cluster
        .image
        .quotas_of(&ann)
        .expect("has some")
        .iter()
        .collect();
    assert_eq!(held.len(), 2);
    assert_eq!(held[0].1.value(), 7.0);
    cluster.accept(quotas(&[(ann.clone(), &[(key, None)])]));
    cluster.accept(quotas(&[(
        ann.clone(),
        &[(QuotaKey::RequestPercentage, None)],
    )]));
    assert!(
        !cluster.image.has_quotas(),
        "an entity without quotas is gone"
    );
    cluster.accept(quotas(&[(ann, &[(key, None)])]));
    assert!(cluster.delta.is_empty());
    cluster.replays_to_the_same_image();
}

#[test]
fn impossible_quotas_are_refused_in_kafkas_words() {
    // rule S7
    let mut cluster = Cluster::with_brokers(1);
    let produce = QuotaKey::ProducerByteRate;
    let both = QuotaEntity {
        ip: Some(Whom::Default),
        ..client(Some("ann"), None)
    };
    let empty = QuotaEntity {
        user: Some(Whom::Named("".into())),
        ..QuotaEntity::default()
    };
    let ann = || client(Some("ann"), None);
    let connections = QuotaKey::ConnectionCreationRate;
    for (entity, key, value, message) in [
        (
            QuotaEntity::default(),
            produce,
            1.0,
            "Invalid empty client quota entity",
        ),
        (empty, produce, 1.0, "Empty user not supported"),
        (
            both,
            produce,
            1.0,
            "Invalid quota entity combination, IP entity shouldnot be combined with User or ClientId",
        ),
        (
            address("nowhere.example"),
            connections,
            1.0,
            "nowhere.example is not a valid IP or resolvable host.",
        ),
        (
            ann(),
            connections,
            1.0,
            "Invalid configuration key connection_creation_rate",
        ),
        (
            address("::1"),
            produce,
            1.0,
            "Invalid configuration key producer_byte_rate",
        ),
        (
            ann(),
            produce,
            0.0,
            "Quota producer_byte_rate must be greater than 0",
        ),
        (
            ann(),
            produce,
            -1.0,
            "Quota producer_byte_rate must be greater than 0",
        ),
        (
            ann(),
            produce,
            1.5,
            "producer_byte_rate cannot be a fractional value.",
        ),
        (
            ann(),
            produce,
            1e19,
            "Proposed value for producer_byte_rate is too large for a LONG.",
        ),
        (
            address(""),
            connections,
            3e9,
            "Proposed value for connection_creation_rate is too large for an INT.",
        ),
    ] {
        let (code, said) = cluster.refuse(quotas(&[(entity, &[(key, Some(value))])]));
        assert_eq!((code, said.as_str()), (ErrorCode::InvalidRequest, message));
    }
    // What takes fractions takes them, and one wrong change stops all.
    cluster.accept(quotas(&[(
        ann(),
        &[(QuotaKey::RequestPercentage, Some(0.01))],
    )]));
    cluster.refuse(quotas(&[
        (client(None, Some("a")), &[(produce, Some(1.0))]),
        (ann(), &[(produce, Some(0.5))]),
    ]));
    assert_eq!(Amount::new(f64::NAN), None);
}

#[test]
fn entities_with_quotas_are_bounded() {
    let mut cluster = Cluster::with_brokers(1);
    let named = |at: usize| client(None, Some(&format!("c{at}")));
    let amounts: Amounts<'_> = &[(QuotaKey::ProducerByteRate, Some(1.0))];
    let all: Vec<_> = (0..QUOTA_ENTITIES_MAX)
        .map(|at| (named(at), amounts))
        .collect();
    cluster.accept(quotas(&all));
    cluster.refuse(quotas(&[(named(QUOTA_ENTITIES_MAX), amounts)]));
    cluster.accept(quotas(&[(
        named(7),
        &[(QuotaKey::ProducerByteRate, Some(2.0))],
    )]));
    cluster.accept(quotas(&[(named(7), &[(QuotaKey::ProducerByteRate, None)])]));
    cluster.accept(quotas(&[(named(QUOTA_ENTITIES_MAX), amounts)]));
}

#[test]
fn the_most_specific_quota_holds() {
    // rule S7
    let key = QuotaKey::ConsumerByteRate;
    // From the least to the most specific; each is set on top of those before it.
    let order = [
        (client(None, Some("")), (false, true)),
        (client(None, Some("a")), (false, true)),
        (client(Some(""), None), (true, false)),
        (client(Some(""), Some("")), (true, true)),
        (client(Some(""), Some("a")), (true, true)),
        (client(Some("ann"), None), (true, false)),
        (client(Some("ann"), Some("")), (true, true)),
        (client(Some("ann"), Some("a")), (true, true)),
    ];
    let mut cluster = Cluster::with_brokers(1);
    assert_eq!(cluster.image.allowance("ann", "a", key), None);
    for (at, (entity, shared)) in order.iter().enumerate() {
        let amount = at as f64 + 1.0;
        cluster.accept(quotas(&[(entity.clone(), &[(key, Some(amount))])]));
        let holds = cluster.image.allowance("ann", "a", key).expect("one holds");
        assert_eq!(holds.amount.value(), amount);
        assert_eq!((holds.by_user, holds.by_client_id), *shared);
    }
    let holds = |user: &str, id: &str| {
        let found = cluster.image.allowance(user, id, key);
        found.expect("one holds").amount.value()
    };
    assert_eq!(holds("ann", "b"), 7.0);
    assert_eq!(holds("bob", "a"), 5.0);
    assert_eq!(holds("bob", "b"), 4.0);
    let other = cluster
        .image
        .allowance("ann", "a", QuotaKey::ProducerByteRate);
    assert_eq!(other, None, "each key is looked for by itself");
}

#[test]
fn quota_bytes_are_as_written_down() {
    let change = quotas(&[(
        client(Some("ann"), Some("")),
        &[
            (QuotaKey::ProducerByteRate, Some(1.0)),
            (QuotaKey::ConsumerByteRate, None),
        ],
    )]);
    let mut expected = vec![2, 2, 0, 13, 1, 2, 1, 1, 3, b'a', b'n', b'n', 2, 0, 2, 1, 1];
    expected.extend(1.0_f64.to_bits().to_le_bytes());
    expected.extend([2, 0]);
    assert_eq!(change.encode(), expected);

    let mut cluster = Cluster::default();
    let without = snapshot(&cluster.image);
    assert_eq!(
        without[4..6],
        [1, 0],
        "an older build reads what has no quotas"
    );
    cluster.accept(change);
    let with = snapshot(&cluster.image);
    assert_eq!(with[4..6], [2, 0]);
    let mut tail = vec![1, 2, 1, 1, 3, b'a', b'n', b'n', 2, 0, 1, 1];
    tail.extend(1.0_f64.to_bits().to_le_bytes());
    let body = &with[..with.len() - 4];
    assert!(body.ends_with(&tail));
    assert_eq!(
        body.len(),
        without.len() - 4 + tail.len(),
        "quotas follow what was there before"
    );
}

/// Every kind of command, for the codec's tests.
fn samples() -> Vec<Vec<u8>> {
    let mut cluster = Cluster::with_brokers(3);
    cluster.apply(Command::NameCluster {
        cluster_id: "abc".into(),
    });
    cluster.apply(create(
        "orders",
        ORDERS,
        &[&[1, 2, 3], &[2, 3, 1]],
        &[("retention.ms", "5")],
    ));
    cluster.apply(change(
        "orders",
        &[
            ("segment.ms", Operation::Set, Some("5")),
            ("x", Operation::Delete, None),
        ],
    ));
    cluster.apply(Command::CreatePartitions {
        topic: ORDERS,
        count: 3,
        placements: vec![placement(&[3, 1, 2])],
    });
    let epoch = cluster.epoch(1);
    cluster.apply(Command::ChangeIsr {
        broker: BrokerId(1),
        epoch,
        changes: vec![IsrChange {
            topic: ORDERS,
            partition: 0,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            isr: ids(&[1, 2]),
            recovery: Recovery::Recovered,
        }],
    });
    cluster.apply(Command::AllocateProducerIds {
        broker: BrokerId(1),
        epoch,
    });
    cluster.apply(Command::SetFeature {
        name: "group.version".into(),
        level: 1,
    });
    cluster.apply(Command::DrainBroker {
        broker: BrokerId(1),
        epoch,
    });
    cluster.fence(2);
    cluster.apply(quotas(&[(
        client(Some("ann"), Some("")),
        &[(QuotaKey::ProducerByteRate, Some(5.0))],
    )]));
    cluster.apply(quotas(&[
        (
            address("10.0.0.1"),
            &[(QuotaKey::ConnectionCreationRate, Some(2.0))],
        ),
        (
            client(None, Some("a")),
            &[(QuotaKey::RequestPercentage, Some(0.5))],
        ),
    ]));
    cluster.apply(Command::DeleteTopic { id: AUDIT });
    cluster.replays_to_the_same_image();
    let mut samples = cluster.log;
    samples.push(snapshot(&cluster.image));
    samples
}

#[test]
fn no_bytes_panic_or_ask_for_much_memory() {
    let samples = samples();
    let mut random = fastrand::Rng::with_seed(43);
    for _ in 0..60_000 {
        let mut bytes = samples[random.usize(..samples.len())].clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(0..3) {
                0 => bytes[at] = random.u8(..),
                1 => bytes[at] ^= 1 << random.u8(0..8),
                _ => bytes.truncate(at.max(1)),
            }
        }
        if let Ok(proposed) = Command::decode(&bytes) {
            let again = Command::decode(&proposed.command.encode()).expect("own bytes");
            assert_eq!(again.command, proposed.command);
            let mut image = Image::default();
            apply(&mut image, MetadataOffset(1), proposed);
        }
        // With the checksum made right again, the reader behind it must hold as well.
        if bytes.len() > 10 {
            let end = bytes.len() - 4;
            let checksum = stdx::crc32c(&bytes[..end]).to_le_bytes();
            bytes[end..].copy_from_slice(&checksum);
        }
        let _ = restore(&bytes);
        let _ = Answer::decode(&bytes);
    }
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let bytes = samples().pop().expect("the snapshot is last");
    restore(&bytes).expect("whole");
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        assert!(restore(&damaged).is_err(), "byte {at}");
    }
    assert!(restore(&bytes[..bytes.len() - 1]).is_err());
    assert!(restore(&[]).is_err());
}

#[test]
fn random_commands_replay_to_the_same_image() {
    for seed in 0..20 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut cluster = Cluster::with_brokers(3);
        for _ in 0..60 {
            let id = TopicId([random.u8(1..6); 16]);
            let name = ["a.b", "a_b", "orders", "audit", "x"][random.usize(..5)];
            let broker = random.i32(1..4);
            let epoch = cluster.epoch(broker);
            let broker = BrokerId(broker);
            let command = match random.u8(0..8) {
                0 | 1 => create(
                    name,
                    id,
                    &[&[1, 2, 3], &[3, 2, 1]],
                    &[("min.insync.replicas", "2")],
                ),
                2 => Command::DeleteTopic { id },
                3 => Command::FenceBroker { broker, epoch },
                4 => Command::UnfenceBroker { broker, epoch },
                5 => {
                    cluster.register(broker.0, random.u8(..));
                    continue;
                }
                6 => change(name, &[("retention.ms", Operation::Set, Some("7"))]),
                _ => Command::AllocateProducerIds { broker, epoch },
            };
            cluster.apply(command);
            for topic in cluster.image.topics() {
                for partition in &topic.partitions {
                    assert!(!partition.isr.is_empty());
                    assert!(
                        partition
                            .elr
                            .as_slice()
                            .iter()
                            .all(|id| !partition.isr.contains(*id))
                    );
                    assert!(
                        partition
                            .leader
                            .is_none_or(|leader| partition.isr.contains(leader))
                    );
                }
            }
        }
        cluster.replays_to_the_same_image();
    }
}

#[test]
fn fifty_thousand_partitions_stay_small() {
    assert!(
        size_of::<Partition>() <= 88,
        "{} bytes a partition",
        size_of::<Partition>()
    );
    let mut cluster = Cluster::with_brokers(1);
    let partitions: Vec<&[i32]> = vec![&[1]; 1_000];
    for topic in 0..50_u8 {
        let answer = cluster.create(&format!("t{topic}"), TopicId([topic + 1; 16]), &partitions);
        assert!(matches!(answer, Answer::TopicCreated { .. }));
    }
    assert_eq!(cluster.image.partition_count(), 50_000);
    let bytes = snapshot(&cluster.image);
    assert!(bytes.len() < 3 * 1024 * 1024, "{} bytes", bytes.len());
    let back = restore(&bytes).expect("own snapshot");
    assert_eq!(snapshot(&back), bytes);
}
