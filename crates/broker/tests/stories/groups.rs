//! Groups through the broker: gated on the log, reloaded from it.

use std::time::Duration;

use bytes::Bytes;
use wire::ErrorCode;
use wire::messages::join_group::JoinGroupRequestProtocol;
use wire::messages::offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use wire::messages::{
    delete_groups, delete_topics, describe_groups, find_coordinator, heartbeat, join_group,
    list_groups, offset_commit, offset_fetch, sync_group, text,
};

use crate::stage::{Client, Stage, sleep};

/// Waits until the coordinator of the group `g` serves it.
pub async fn coordinator(client: &mut Client) {
    for _ in 0..100 {
        let asked = find_coordinator::Request {
            key: text("g"),
            ..Default::default()
        };
        if client.ask(2, &asked).await.error_code == 0 {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("no coordinator");
}

pub fn join(member: &str) -> join_group::Request {
    join_group::Request {
        group_id: text("g"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 10_000,
        member_id: text(member),
        protocol_type: text("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: text("range"),
            metadata: Bytes::from_static(b"\x00\x00"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

pub fn commit(generation: i32, member: &str, topic: &str, offset: i64) -> offset_commit::Request {
    offset_commit::Request {
        group_id: text("g"),
        generation_id_or_member_epoch: generation,
        member_id: text(member),
        topics: vec![OffsetCommitRequestTopic {
            name: text(topic),
            partitions: vec![OffsetCommitRequestPartition {
                partition_index: 0,
                committed_offset: offset,
                committed_metadata: Some(text("note")),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn fetch() -> offset_fetch::Request {
    offset_fetch::Request {
        group_id: text("g"),
        topics: Some(vec![offset_fetch::OffsetFetchRequestTopic {
            name: text("t"),
            partition_indexes: vec![0],
            ..Default::default()
        }]),
        ..Default::default()
    }
}

#[test]
fn a_member_joins_syncs_beats_and_commits() {
    // rules G1, G3 and G4
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        coordinator(&mut client).await;
        let told = client.ask(5, &join("")).await;
        assert_eq!(told.error_code, ErrorCode::MemberIdRequired.code());
        let member = told.member_id.to_string();
        let joined = client.ask(5, &join(&member)).await;
        assert_eq!((joined.error_code, joined.generation_id), (0, 1));
        assert_eq!(joined.leader.as_str(), member);
        let sync = sync_group::Request {
            group_id: text("g"),
            generation_id: 1,
            member_id: text(&member),
            assignments: vec![sync_group::SyncGroupRequestAssignment {
                member_id: text(&member),
                assignment: Bytes::from_static(b"mine"),
                ..Default::default()
            }],
            ..Default::default()
        };
        let synced = client.ask(3, &sync).await;
        assert_eq!(
            (synced.error_code, &synced.assignment[..]),
            (0, &b"mine"[..])
        );
        let beat = heartbeat::Request {
            group_id: text("g"),
            generation_id: 1,
            member_id: text(&member),
            ..Default::default()
        };
        assert_eq!(client.ask(3, &beat).await.error_code, 0);
        let committed = client.ask(8, &commit(1, &member, "t", 42)).await;
        assert_eq!(committed.topics[0].partitions[0].error_code, 0);
        let fetched = client.ask(5, &fetch()).await;
        assert_eq!(fetched.topics[0].partitions[0].committed_offset, 42);
        let described = client
            .ask(
                5,
                &describe_groups::Request {
                    groups: vec![text("g")],
                    ..Default::default()
                },
            )
            .await;
        assert_eq!(described.groups[0].group_state.as_str(), "Stable");
        assert!(
            described.groups[0].members[0]
                .client_host
                .as_str()
                .starts_with('/')
        );
        let listed = client.ask(4, &list_groups::Request::default()).await;
        assert_eq!(listed.groups.len(), 1);
        // Silent for its session timeout, it is expelled.
        sleep(Duration::from_secs(11)).await;
        let late = client.ask(3, &beat).await;
        assert_eq!(late.error_code, ErrorCode::UnknownMemberId.code());
    });
}

#[test]
fn committed_offsets_and_their_notes_survive_a_power_cut() {
    // rule G6
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        coordinator(&mut client).await;
        for offset in 0..50 {
            let committed = client.ask(8, &commit(-1, "", "t", offset)).await;
            assert_eq!(committed.topics[0].partitions[0].error_code, 0);
        }
    });
    let sim = stage.sim.restart_after_power_cut(5);
    let stage = Stage::on(sim, |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        for _ in 0..100 {
            let fetched = client.ask(5, &fetch()).await;
            if fetched.error_code == ErrorCode::CoordinatorLoadInProgress.code() {
                sleep(Duration::from_millis(5)).await;
                continue;
            }
            let partition = &fetched.topics[0].partitions[0];
            assert_eq!(partition.committed_offset, 49);
            assert_eq!(
                partition.metadata.as_ref().map(|m| m.as_str()),
                Some("note")
            );
            return;
        }
        panic!("the group did not load");
    });
}

#[test]
fn commits_for_topics_that_do_not_exist_are_refused_by_themselves() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        coordinator(&mut client).await;
        let mut request = commit(-1, "", "nowhere", 1);
        request.topics.extend(commit(-1, "", "t", 7).topics);
        let answer = client.ask(8, &request).await;
        let codes: Vec<i16> = answer
            .topics
            .iter()
            .map(|topic| topic.partitions[0].error_code)
            .collect();
        assert_eq!(codes, [ErrorCode::UnknownTopicOrPartition.code(), 0]);
    });
}

#[test]
fn without_the_offsets_topic_there_is_no_coordinator_yet() {
    // rule G9
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        let answer = client.ask(5, &join("")).await;
        assert_eq!(answer.error_code, ErrorCode::CoordinatorNotAvailable.code());
    });
}

#[test]
fn a_member_that_waits_does_not_hold_up_the_end_of_its_broker() {
    let stage = Stage::new();
    let mut waiting = stage.play(async {
        let mut client = stage.connect().await;
        coordinator(&mut client).await;
        // A second member joins, and waits for the first to come back.
        let first = client.ask(5, &join("")).await.member_id.to_string();
        client.ask(5, &join(&first)).await;
        let mut waiting = stage.connect().await;
        let second = waiting.ask(5, &join("")).await.member_id.to_string();
        waiting.send_request(5, &join(&second)).await;
        sleep(Duration::from_millis(10)).await;
        waiting
    });
    let Stage { sim, broker } = stage;
    let begun = sim.world.clock.now();
    broker.drain(Duration::from_secs(3_600)).unwrap();
    assert!(
        sim.world.clock.now().since(begun) < Duration::from_secs(60),
        "virtual time"
    );
    sim.block_on(async {
        let (_, answer) = waiting.answer::<join_group::Request>(5).await;
        assert_eq!(answer.error_code, ErrorCode::NotCoordinator.code());
    });
}

const MANY: i32 = 4_500;

/// A commit to many partitions, whose records are more than the log takes in at once.
fn large_commit(group: &str, topic: &str) -> offset_commit::Request {
    let mut request = commit(-1, "", topic, 1);
    request.group_id = text(group);
    let one = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..MANY)
        .map(|partition| OffsetCommitRequestPartition {
            partition_index: partition,
            ..one.clone()
        })
        .collect();
    request
}

/// Sizes of the batches in the partitions of the offsets topic.
fn group_batches(stage: &Stage) -> Vec<usize> {
    let replicas = stage.broker.node().partitions.all();
    let offsets = replicas
        .iter()
        .filter(|replica| &**replica.topic() == "__consumer_offsets");
    let mut sizes = Vec::new();
    for replica in offsets {
        let mut from = replica.log.offsets().log_start;
        let bound = commitlog::ReadBound::HighWatermark;
        while let Some(file) = {
            let slice = replica.log.read(from, 1, true, bound).unwrap();
            from = slice.next_offset;
            slice.file.filter(|file| file.length > 0)
        } {
            sizes.push(file.length as usize);
        }
    }
    sizes
}

#[test]
fn more_group_records_than_a_batch_takes_become_several_batches() {
    // The staging buffers take two of them at once: the rest is held back and goes on by itself.
    let stage = Stage::new();
    let (group, topic) = ("g".repeat(200), "t".repeat(240));
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic_of(&topic, MANY).await;
        coordinator(&mut client).await;
        let begun = stage.sim.world.clock.now();
        let committed = client.ask(8, &large_commit(&group, &topic)).await;
        let partitions = &committed.topics[0].partitions;
        assert_eq!(partitions.len(), MANY as usize);
        assert!(partitions.iter().all(|one| one.error_code == 0));
        let delete = delete_groups::Request {
            groups_names: vec![text(&group)],
            ..Default::default()
        };
        let deleted = client.ask(2, &delete).await;
        assert_eq!(deleted.results[0].error_code, 0);
        let mut left = fetch();
        left.group_id = text(&group);
        left.topics = None;
        assert!(client.ask(5, &left).await.topics.is_empty());
        let took = stage.sim.world.clock.now().since(begun);
        assert!(took < Duration::from_secs(60), "virtual time");
    });
    let sizes = group_batches(&stage);
    assert!(sizes.len() >= 6, "{sizes:?}");
    assert!(
        sizes.iter().all(|size| *size <= 1 << 20),
        "each within the topic's max.message.bytes: {sizes:?}"
    );
}

#[test]
fn offsets_of_a_deleted_topic_are_forgotten_by_a_shard_nobody_has_asked_yet() {
    let stage = Stage::new();
    stage.play(async {
        let mut client = stage.connect().await;
        client.topic("t").await;
        client.topic("kept").await;
        coordinator(&mut client).await;
        client.ask(8, &commit(-1, "", "t", 42)).await;
        client.ask(8, &commit(-1, "", "kept", 7)).await;
    });
    let Stage { sim, broker } = stage;
    broker.drain(Duration::from_secs(1)).unwrap();
    let stage = Stage::on(sim.restart_after_power_cut(6), |_| {});
    let all = offset_fetch::Request {
        topics: None,
        ..fetch()
    };
    let committed = async |client: &mut Client| {
        for _ in 0..100 {
            let fetched = client.ask(5, &all).await;
            if fetched.error_code == 0 {
                return fetched
                    .topics
                    .iter()
                    .map(|topic| (topic.name.to_string(), topic.partitions[0].committed_offset))
                    .collect::<Vec<_>>();
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("the group did not load");
    };
    stage.play(async {
        let mut client = stage.connect().await;
        let delete = delete_topics::Request {
            topic_names: vec![text("t")],
            timeout_ms: 1000,
            ..Default::default()
        };
        let deleted = client.ask(5, &delete).await;
        assert_eq!(deleted.responses[0].error_code, 0);
        // Made anew under its name, it does not inherit them.
        client.topic("t").await;
        sleep(Duration::from_millis(100)).await;
        assert_eq!(committed(&mut client).await, [("kept".to_owned(), 7)]);
        client.ask(8, &commit(-1, "", "t", 5)).await;
    });
    // And a restart, which replays the deletion, leaves the new topic's offsets alone.
    let Stage { sim, broker } = stage;
    broker.drain(Duration::from_secs(1)).unwrap();
    let stage = Stage::on(sim.restart_after_power_cut(7), |_| {});
    stage.play(async {
        let mut client = stage.connect().await;
        sleep(Duration::from_millis(100)).await;
        let expected = [("kept".to_owned(), 7), ("t".to_owned(), 5)];
        assert_eq!(committed(&mut client).await, expected);
    });
}
