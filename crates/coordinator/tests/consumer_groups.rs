//! Consumer groups (KIP-848), told as stories: rules N1 to N7.
#![expect(clippy::unwrap_used, reason = "a failed expectation is a failed test")]

#[path = "consumer_groups/stage.rs"]
mod stage;

use std::sync::Arc;

use coordinator::*;
use wire::ErrorCode;

use stage::*;

#[test]
fn a_member_must_say_who_it_is_and_what_it_reads_when_it_joins() {
    // rule N1
    let mut stage = Stage::new();
    let good = joining("m", &["a"]);
    let without = |change: &dyn Fn(&mut ConsumerHeartbeatRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    let bad = [
        without(&|r| r.member_id = Arc::from("")),
        without(&|r| r.group = Arc::from(" ")),
        without(&|r| r.instance_id = Some(Arc::from(""))),
        without(&|r| r.rack_id = Some(Arc::from(""))),
        without(&|r| r.rebalance_timeout_ms = -1),
        without(&|r| r.owned = None),
        without(&|r| r.owned = Some([(id(1), [0].into())].into())),
        without(&|r| r.topics = None),
        without(&|r| r.member_epoch = -3),
        without(&|r| r.member_epoch = -2),
    ];
    for request in bad {
        let response = stage.heartbeat(&request);
        assert_eq!(response.error, ErrorCode::InvalidRequest, "{request:?}");
        assert!(response.message.is_some());
    }
    assert!(stage.log.is_empty(), "nothing was founded");
    // In version 0 the broker makes the id.
    let request = without(&|r| r.member_id = Arc::from(""));
    match stage.ask(0, GroupRequest::ConsumerHeartbeat(request)) {
        GroupResponse::ConsumerHeartbeat(response) => {
            assert_eq!(response.error, ErrorCode::None);
            assert_eq!(response.member_id.unwrap().len(), 22);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_reports_to_a_group_or_as_a_member_that_is_not_there() {
    // rule N1
    let mut stage = Stage::new();
    for epoch in [1, -1] {
        let response = stage.heartbeat(&report("m", epoch));
        assert_eq!(response.error, ErrorCode::GroupIdNotFound);
    }
    Consumer::join(&mut stage, "m", &["a"]);
    for epoch in [1, -1] {
        let response = stage.heartbeat(&report("other", epoch));
        assert_eq!(response.error, ErrorCode::UnknownMemberId);
    }
}

#[test]
fn the_first_member_gets_everything_at_once() {
    // rules N1, N3, N5
    let mut stage = Stage::new();
    let response = stage.heartbeat(&joining("m", &["a", "b", "nothing"]));
    assert_eq!(response.error, ErrorCode::None);
    assert_eq!(
        response.member_epoch, 2,
        "as in Kafka, whose epochs begin at 1"
    );
    assert_eq!(response.heartbeat_interval_ms, 5_000);
    assert_eq!(
        response.assignment,
        Some(vec![(id(1), vec![0, 1, 2, 3]), (id(2), vec![0, 1])])
    );
    // Nothing new is no assignment; a full heartbeat is told again.
    let response = stage.heartbeat(&report("m", 2));
    assert_eq!(
        (response.error, response.assignment),
        (ErrorCode::None, None)
    );
    let full = ConsumerHeartbeatRequest {
        owned: Some([(id(1), [0].into())].into()),
        member_epoch: 2,
        ..joining("m", &["a", "b", "nothing"])
    };
    assert!(stage.heartbeat(&full).assignment.is_some());
    let described = stage.describe();
    assert_eq!((described.state, described.assignor), ("Stable", "uniform"));
    assert_eq!((described.epoch, described.target_epoch), (2, 2));
}

#[test]
fn a_member_that_reads_nothing_is_a_member() {
    // rule N3: empty means nothing
    let mut stage = Stage::new();
    let response = stage.heartbeat(&joining("m", &[]));
    assert_eq!(response.assignment, Some(Vec::new()));
    assert_eq!(response.member_epoch, 1);
}

#[test]
fn partitions_are_given_up_before_they_are_given_away() {
    // rule N4
    let mut stage = Stage::new();
    let mut first = Consumer::join(&mut stage, "m1", &["a"]);
    stage.pass(1_000);
    let mut second = Consumer::join(&mut stage, "m2", &["a"]);
    assert_eq!(second.partitions(), 0, "all are still the first's");
    assert_eq!(second.epoch, 3, "it is at the new epoch and waits");
    assert_eq!(stage.describe().state, "Reconciling");
    // The first is told to give two up, at its old epoch.
    assert!(first.beat(&mut stage));
    assert_eq!((first.epoch, first.partitions()), (2, 2));
    assert!(!second.beat(&mut stage), "nothing is released yet");
    // It says it no longer has them, and advances.
    assert!(first.beat(&mut stage));
    assert_eq!((first.epoch, first.partitions()), (3, 2));
    assert!(second.beat(&mut stage));
    assert_eq!((second.epoch, second.partitions()), (3, 2));
    assert_eq!(stage.describe().state, "Stable");
}

#[test]
fn each_epoch_of_a_group_is_a_rebalance() {
    let mut stage = Stage::new();
    stage.heartbeat(&joining("m", &["a"]));
    assert_eq!(stage.rebalances, 1);
    stage.heartbeat(&joining("n", &["a"]));
    assert_eq!(stage.rebalances, 2);
    stage.heartbeat(&report("n", -1));
    assert_eq!(stage.rebalances, 3);
    stage.heartbeat(&report("m", 1));
    assert_eq!(stage.rebalances, 3, "nothing has changed");
}

#[test]
fn an_answer_that_was_lost_is_given_again() {
    // rule N2
    let mut stage = Stage::new();
    let mut first = Consumer::join(&mut stage, "m1", &["a"]);
    stage.pass(1_000);
    let mut second = Consumer::join(&mut stage, "m2", &["a"]);
    settle(&mut stage, &mut [&mut first, &mut second]);
    assert_eq!(first.epoch, 3);
    // It did not hear of epoch 3: it reports at 2, with what it was left with.
    let behind = ConsumerHeartbeatRequest {
        owned: Some(first.owned.clone()),
        ..report("m1", 2)
    };
    let response = stage.heartbeat(&behind);
    assert_eq!(
        (response.error, response.member_epoch),
        (ErrorCode::None, 3)
    );
    // With more than it should have, or without saying what, it is out.
    for owned in [None, Some([(id(1), [0, 1, 2, 3].into())].into())] {
        let response = stage.heartbeat(&ConsumerHeartbeatRequest {
            owned,
            ..report("m1", 2)
        });
        assert_eq!(response.error, ErrorCode::FencedMemberEpoch);
    }
    for epoch in [1, 4] {
        let response = stage.heartbeat(&ConsumerHeartbeatRequest {
            owned: Some(Partitions::new()),
            ..report("m1", epoch)
        });
        assert_eq!(response.error, ErrorCode::FencedMemberEpoch, "{epoch}");
    }
    // Fenced, it joins again under its id and gets what it had.
    let again = Consumer::join(&mut stage, "m1", &["a"]);
    assert_eq!(again.owned, first.owned);
}

#[test]
fn whoever_keeps_partitions_too_long_is_expelled() {
    // rule N4
    let mut stage = Stage::new();
    let first = Consumer::join(&mut stage, "m1", &["a"]);
    stage.pass(1_000);
    let mut second = Consumer::join(&mut stage, "m2", &["a"]);
    // It reports, but never gives up what it must.
    for _ in 0..12 {
        let response = stage.heartbeat(&ConsumerHeartbeatRequest {
            owned: Some(first.owned.clone()),
            ..report("m1", 2)
        });
        assert_eq!(response.error, ErrorCode::None);
        second.beat(&mut stage);
        stage.pass(5_000);
    }
    let response = stage.heartbeat(&report("m1", 2));
    assert_eq!(response.error, ErrorCode::UnknownMemberId);
    settle(&mut stage, &mut [&mut second]);
    assert_eq!(second.partitions(), 4);
}

#[test]
fn a_member_that_vanishes_makes_room_for_the_others() {
    // rule N5: 45 seconds
    let mut stage = Stage::new();
    let mut first = Consumer::join(&mut stage, "m1", &["a"]);
    stage.pass(1_000);
    let mut second = Consumer::join(&mut stage, "m2", &["a"]);
    settle(&mut stage, &mut [&mut first, &mut second]);
    let silent_since = stage.at_ms;
    while stage.at_ms < silent_since + 44_000 {
        stage.pass(1_000);
        second.beat(&mut stage);
        assert_eq!(second.partitions(), 2);
    }
    stage.pass(2_000);
    settle(&mut stage, &mut [&mut second]);
    assert_eq!(second.partitions(), 4);
    assert_eq!(stage.describe().members.len(), 1);
}

#[test]
fn a_member_that_leaves_is_gone_at_once() {
    // rule N1
    let mut stage = Stage::new();
    let mut first = Consumer::join(&mut stage, "m1", &["a"]);
    stage.pass(1_000);
    let mut second = Consumer::join(&mut stage, "m2", &["a"]);
    settle(&mut stage, &mut [&mut first, &mut second]);
    let response = stage.heartbeat(&report("m1", -1));
    assert_eq!(
        (response.error, response.member_epoch),
        (ErrorCode::None, -1)
    );
    settle(&mut stage, &mut [&mut second]);
    assert_eq!(second.partitions(), 4);
    stage.heartbeat(&report("m2", -1));
    assert_eq!(stage.describe().state, "Empty");
    assert_eq!(stage.listed(), [(Arc::from("g"), "consumer", "Empty")]);
}

#[test]
fn new_targets_keep_their_distance() {
    // rule N5: 1 second
    let mut stage = Stage::new();
    Consumer::join(&mut stage, "m1", &["a"]);
    let mut second = Consumer::join(&mut stage, "m2", &["a"]);
    assert_eq!((second.epoch, second.partitions()), (2, 0));
    let described = stage.describe();
    assert_eq!(
        (described.state, described.epoch, described.target_epoch),
        ("Assigning", 3, 2)
    );
    stage.pass(999);
    second.beat(&mut stage);
    assert_eq!(second.epoch, 2);
    stage.pass(1);
    second.beat(&mut stage);
    assert_eq!(second.epoch, 3);
    // A group may set its own distance, and its own times.
    stage.topics.overrides = GroupOverrides {
        session_timeout_ms: Some(50_000),
        heartbeat_interval_ms: Some(7_000),
        assignment_interval_ms: Some(0),
    };
    stage.topic("b", 2, 3);
    let third = stage.heartbeat(&joining("m3", &["a"]));
    assert_eq!(
        (third.member_epoch, third.heartbeat_interval_ms),
        (4, 7_000)
    );
    stage.pass(49_000);
    assert_eq!(
        stage.describe().members.len(),
        1,
        "the others had 45 seconds"
    );
}

#[test]
fn an_assignor_nobody_knows_is_refused_and_the_majority_chooses() {
    // rule N5
    let mut stage = Stage::new();
    let with = |member, assignor: &str| ConsumerHeartbeatRequest {
        assignor: Some(Arc::from(assignor)),
        ..joining(member, &["a", "b"])
    };
    let response = stage.heartbeat(&with("m1", "magic"));
    assert_eq!(response.error, ErrorCode::UnsupportedAssignor);
    assert!(response.message.unwrap().contains("uniform, range"));
    let mut first = Consumer::join_as(&mut stage, "m1", with("m1", "range"));
    stage.pass(1_000);
    let mut second = Consumer::join_as(&mut stage, "m2", with("m2", "range"));
    settle(&mut stage, &mut [&mut first, &mut second]);
    assert_eq!(stage.describe().assignor, "range");
    assert_eq!((first.has(1), first.has(2)), (vec![0, 1], vec![0]));
    assert_eq!((second.has(1), second.has(2)), (vec![2, 3], vec![1]));
}

#[test]
fn a_pattern_is_looked_up_by_the_broker() {
    // rule N5
    let mut stage = Stage::new();
    let with = |member, pattern: &str| ConsumerHeartbeatRequest {
        topics: None,
        pattern: Some(Arc::from(pattern)),
        ..joining(member, &[])
    };
    let response = stage.heartbeat(&with("m1", "(a"));
    assert_eq!(response.error, ErrorCode::InvalidRegularExpression);
    let mut first = Consumer::join_as(&mut stage, "m1", with("m1", "[ac]"));
    assert_eq!(
        (first.epoch, first.partitions()),
        (1, 0),
        "it is not looked up yet"
    );
    settle(&mut stage, &mut [&mut first]);
    assert_eq!((first.epoch, first.has(1)), (2, vec![0, 1, 2, 3]));
    // A second of the same pattern does not wait for a look.
    let mut second = Consumer::join_as(&mut stage, "m2", with("m2", "[ac]"));
    settle(&mut stage, &mut [&mut first, &mut second]);
    assert_eq!(second.partitions(), 2);
    // A new topic is found with the heartbeats, at most every ten seconds.
    stage.topic("c", 3, 2);
    stage.topic("d", 4, 2);
    for _ in 0..12 {
        stage.pass(1_000);
        first.beat(&mut stage);
        second.beat(&mut stage);
    }
    settle(&mut stage, &mut [&mut first, &mut second]);
    assert_eq!((first.partitions(), second.partitions()), (3, 3));
    // A topic that goes, goes; and whoever names a topic instead reads only that.
    stage.delete_topic("c");
    settle(&mut stage, &mut [&mut first, &mut second]);
    assert_eq!((first.partitions(), second.partitions()), (2, 2));
    let renamed = ConsumerHeartbeatRequest {
        topics: Some(vec![Arc::from("b")]),
        pattern: Some(Arc::from("")),
        ..report("m2", second.epoch)
    };
    assert_eq!(stage.heartbeat(&renamed).error, ErrorCode::None);
    second.owned.clear();
    settle(&mut stage, &mut [&mut first, &mut second]);
    assert_eq!((first.has(1).len(), second.has(2).len()), (4, 2));
    stage.heartbeat(&report("m1", -1));
    stage.heartbeat(&report("m2", -1));
    let deleted = stage.ask(2, GroupRequest::Delete(vec![Arc::from("g")]));
    assert_eq!(
        deleted,
        GroupResponse::Delete(vec![(Arc::from("g"), ErrorCode::None)])
    );
    assert_eq!(stage.shard.counts().groups, 0);
}

#[test]
fn a_change_of_mind_is_a_new_target() {
    // rule N4: what is no longer read is given up at once
    let mut stage = Stage::new();
    let mut first = Consumer::join(&mut stage, "m1", &["a"]);
    stage.pass(1_000);
    let mut second = Consumer::join(&mut stage, "m2", &["a"]);
    settle(&mut stage, &mut [&mut first, &mut second]);
    let changed = ConsumerHeartbeatRequest {
        topics: Some(vec![Arc::from("b")]),
        owned: Some(first.owned.clone()),
        ..report("m1", first.epoch)
    };
    let response = stage.heartbeat(&changed);
    assert_eq!(
        response.assignment,
        Some(Vec::new()),
        "nothing of a is its any more"
    );
    first.owned.clear();
    settle(&mut stage, &mut [&mut first, &mut second]);
    assert_eq!((first.has(2).len(), second.has(1).len()), (2, 4));
}

#[test]
fn a_topic_that_grows_or_appears_is_shared_out() {
    let mut stage = Stage::new();
    let mut first = Consumer::join(&mut stage, "m1", &["a", "c"]);
    assert_eq!(first.partitions(), 4);
    stage.topic("a", 1, 6);
    settle(&mut stage, &mut [&mut first]);
    assert_eq!(first.partitions(), 6);
    stage.topic("c", 3, 1);
    settle(&mut stage, &mut [&mut first]);
    assert_eq!(first.partitions(), 7);
    // Made anew under its name it is another topic.
    stage.delete_topic("a");
    stage.topic("a", 9, 2);
    settle(&mut stage, &mut [&mut first]);
    assert_eq!(
        (first.has(1).len(), first.has(9).len(), first.partitions()),
        (0, 2, 3)
    );
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    // rules N1, G7
    let mut stage = Stage::new();
    let of = |member, instance: &str| ConsumerHeartbeatRequest {
        instance_id: Some(Arc::from(instance)),
        ..joining(member, &["a"])
    };
    let mut first = Consumer::join_as(&mut stage, "m1", of("m1", "i1"));
    stage.pass(1_000);
    let mut second = Consumer::join_as(&mut stage, "m2", of("m2", "i2"));
    settle(&mut stage, &mut [&mut first, &mut second]);
    // While the first is there its instance is taken.
    let response = stage.heartbeat(&of("m3", "i1"));
    assert_eq!(response.error, ErrorCode::UnreleasedInstanceId);
    let leave = |member, epoch| ConsumerHeartbeatRequest {
        instance_id: Some(Arc::from("i1")),
        ..report(member, epoch)
    };
    assert_eq!(
        stage.heartbeat(&leave("m9", -2)).error,
        ErrorCode::FencedInstanceId
    );
    let response = stage.heartbeat(&leave("m1", -2));
    assert_eq!(
        (response.error, response.member_epoch),
        (ErrorCode::None, -2)
    );
    let epoch = stage.describe().epoch;
    stage.pass(10_000);
    second.beat(&mut stage);
    assert_eq!(second.partitions(), 2, "its place is kept");
    let back = Consumer::join_as(&mut stage, "m3", of("m3", "i1"));
    assert_eq!(back.owned, first.owned);
    assert_eq!(
        stage.describe().epoch,
        epoch,
        "for nobody else anything changed"
    );
    assert_eq!(
        stage.heartbeat(&leave("m1", -2)).error,
        ErrorCode::FencedInstanceId
    );
    // Gone for good by its own word, or when its session ends.
    assert_eq!(stage.heartbeat(&leave("m3", -1)).error, ErrorCode::None);
    settle(&mut stage, &mut [&mut second]);
    assert_eq!(second.partitions(), 4);
    let unknown = stage.heartbeat(&leave("m3", -1));
    assert_eq!(unknown.error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_static_member_that_stays_away_is_expelled() {
    // rule N5
    let mut stage = Stage::new();
    let of = |member, epoch| ConsumerHeartbeatRequest {
        instance_id: Some(Arc::from("i1")),
        member_epoch: epoch,
        ..joining(member, &["a"])
    };
    Consumer::join_as(&mut stage, "m1", of("m1", 0));
    stage.heartbeat(&of("m1", -2));
    stage.pass(46_000);
    assert_eq!(stage.describe().members, []);
}

#[test]
fn a_full_group_takes_nobody_more() {
    let mut settings = Settings::default();
    settings.consumer.size_max = 1;
    let mut stage = Stage::with(settings);
    Consumer::join(&mut stage, "m1", &["a"]);
    let response = stage.heartbeat(&joining("m2", &["a"]));
    assert_eq!(response.error, ErrorCode::GroupMaxSizeReached);
}

#[test]
fn commits_of_the_stale_and_the_expelled_are_refused() {
    // rule N6
    let mut stage = Stage::new();
    let mut first = Consumer::join(&mut stage, "m1", &["a"]);
    stage.pass(1_000);
    let mut second = Consumer::join(&mut stage, "m2", &["a"]);
    settle(&mut stage, &mut [&mut first, &mut second]);
    let (kept, given) = (first.has(1)[0], second.has(1)[0]);
    assert_eq!(stage.commit(9, "m1", 3, kept), ErrorCode::None);
    assert_eq!(
        stage.commit(9, "m1", 2, kept),
        ErrorCode::None,
        "it had it in epoch 2 already"
    );
    assert_eq!(stage.commit(9, "m1", 2, given), ErrorCode::StaleMemberEpoch);
    assert_eq!(stage.commit(9, "m2", 2, given), ErrorCode::StaleMemberEpoch);
    assert_eq!(stage.commit(9, "m1", 4, kept), ErrorCode::StaleMemberEpoch);
    assert_eq!(
        stage.commit(9, "nobody", 3, kept),
        ErrorCode::UnknownMemberId
    );
    assert_eq!(stage.commit(9, "", -1, kept), ErrorCode::UnknownMemberId);
    assert_eq!(
        stage.commit(8, "m1", 3, kept),
        ErrorCode::UnsupportedVersion
    );
    stage.heartbeat(&report("m1", -1));
    assert_eq!(
        stage.commit(9, "m1", 3, kept),
        ErrorCode::UnknownMemberId,
        "expelled"
    );
    stage.heartbeat(&report("m2", -1));
    assert_eq!(
        stage.commit(9, "", -1, kept),
        ErrorCode::None,
        "an administrator"
    );
    assert_eq!(stage.commit(2, "", -1, kept), ErrorCode::None);
}

#[test]
fn offsets_are_shown_to_members_of_the_present_epoch() {
    // rule N6
    let mut stage = Stage::new();
    Consumer::join(&mut stage, "m1", &["a"]);
    stage.commit(9, "m1", 2, 0);
    let mut fetch = |member: Option<&str>, epoch| {
        let request = FetchRequest {
            group: Arc::from("g"),
            member_id: member.map(Arc::from),
            member_epoch: epoch,
            topics: None,
            require_stable: false,
        };
        match stage.ask(9, GroupRequest::Fetch(request)) {
            GroupResponse::Fetch(fetched) => (fetched.error, fetched.topics.len()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fetch(None, -1), (ErrorCode::None, 1));
    assert_eq!(fetch(Some("m1"), 2), (ErrorCode::None, 1));
    assert_eq!(fetch(Some("m1"), 1), (ErrorCode::StaleMemberEpoch, 0));
    assert_eq!(fetch(Some("m2"), 2), (ErrorCode::UnknownMemberId, 0));
}

#[test]
fn offsets_and_groups_are_deleted_when_nobody_needs_them() {
    // rules G8, G10
    let mut stage = Stage::new();
    Consumer::join(&mut stage, "m1", &["a"]);
    stage.commit(9, "m1", 2, 0);
    let delete = |name: &str| {
        GroupRequest::DeleteOffsets(DeleteOffsetsRequest {
            group: Arc::from("g"),
            topics: vec![TopicPartitions {
                name: Arc::from(name),
                partitions: vec![0],
            }],
        })
    };
    let mut deleted = |name| match stage.ask(0, delete(name)) {
        GroupResponse::DeleteOffsets(deleted) => deleted.topics[0].partitions[0].error,
        other => panic!("{other:?}"),
    };
    assert_eq!(deleted("a"), ErrorCode::GroupSubscribedToTopic);
    assert_eq!(deleted("b"), ErrorCode::None);
    let group = vec![Arc::from("g")];
    let refused = stage.ask(2, GroupRequest::Delete(group.clone()));
    let expected = vec![(Arc::from("g"), ErrorCode::NonEmptyGroup)];
    assert_eq!(refused, GroupResponse::Delete(expected));
    // To DescribeGroups it is a group of another kind.
    match stage.ask(6, GroupRequest::Describe(group)) {
        GroupResponse::Describe(groups) => {
            assert_eq!(groups[0].error, ErrorCode::GroupIdNotFound);
        }
        other => panic!("{other:?}"),
    }
    stage.heartbeat(&report("m1", -1));
    stage.pass(6 * 24 * 3_600_000);
    assert_eq!(stage.listed().len(), 1);
    stage.pass(2 * 24 * 3_600_000);
    assert_eq!(stage.listed().len(), 0, "seven days after the last commit");
}

#[test]
fn a_restart_changes_nothing_and_everybody_has_a_session_anew() {
    let mut stage = Stage::new();
    let mut first = Consumer::join(&mut stage, "m1", &["a"]);
    stage.pass(1_000);
    let mut second = Consumer::join(&mut stage, "m2", &["a"]);
    first.beat(&mut stage);
    let before = stage.describe();
    stage.restart();
    assert_eq!(stage.describe(), before);
    settle(&mut stage, &mut [&mut first, &mut second]);
    assert_eq!((first.partitions(), second.partitions()), (2, 2));
    stage.restart();
    stage.pass(46_000);
    assert_eq!(stage.describe().members, []);
}

#[test]
fn a_seek_expels_everybody_and_writes_the_offsets_in_one_batch() {
    let mut stage = Stage::new();
    let first = Consumer::join(&mut stage, "m1", &["a"]);
    let seek = SeekRequest {
        group: Arc::from("g"),
        topics: vec![CommitTopic {
            name: Arc::from("a"),
            partitions: vec![CommitPartition {
                partition: 0,
                offset: 1,
                leader_epoch: -1,
                metadata: None,
            }],
        }],
    };
    stage.ask(0, GroupRequest::Seek(seek));
    assert_eq!(
        stage.commit(9, "m1", first.epoch, 0),
        ErrorCode::UnknownMemberId
    );
    stage.pass(1_000);
    let again = Consumer::join(&mut stage, "m1", &["a"]);
    assert!(again.epoch > first.epoch);
}

/// A classic group of two members, each with half of `a`.
fn classic_group(stage: &mut Stage) -> [Arc<str>; 2] {
    let metadata = subscription(&["a"], &[]);
    let first = stage.join(5, classic("", metadata.clone())).member_id;
    let second = stage.join(5, classic("", metadata.clone())).member_id;
    let first_join = stage.send(5, GroupRequest::Join(classic(&first, metadata.clone())));
    let second_join = stage.send(5, GroupRequest::Join(classic(&second, metadata)));
    stage.pass(6_000);
    for token in [first_join, second_join] {
        match stage.answer(token) {
            Some(GroupResponse::Join(join)) => assert_eq!(join.generation, 1),
            other => panic!("{other:?}"),
        }
    }
    let sync = |member: &Arc<str>, assignments| {
        GroupRequest::Sync(SyncRequest {
            group: Arc::from("g"),
            generation: 1,
            member_id: member.clone(),
            instance_id: None,
            protocol_type: Some(Arc::from("consumer")),
            protocol_name: Some(Arc::from("range")),
            assignments,
        })
    };
    let assignments = vec![
        (first.clone(), assignment(&[("a", &[0, 1])])),
        (second.clone(), assignment(&[("a", &[2, 3])])),
    ];
    // Whoever leads brings both; the other's is not looked at.
    for member in [&first, &second] {
        stage.send(5, sync(member, assignments.clone()));
    }
    assert_eq!(stage.listed(), [(Arc::from("g"), "classic", "Stable")]);
    [first, second]
}

#[test]
fn a_consumer_that_joins_a_classic_group_makes_it_a_consumer_group() {
    // rule N7
    let mut stage = Stage::new();
    let [first, second] = classic_group(&mut stage);
    assert_eq!(stage.commit(2, &first, 1, 0), ErrorCode::None);
    let mut third = Consumer::join(&mut stage, "m3", &["a"]);
    assert_eq!(
        stage.listed(),
        [(Arc::from("g"), "consumer", "Reconciling")]
    );
    assert_eq!((third.epoch, third.partitions()), (2, 0));
    let described = stage.describe();
    assert_eq!(
        described
            .members
            .iter()
            .filter(|member| member.is_classic)
            .count(),
        2
    );
    assert_eq!(
        stage.commit(2, &first, 1, 0),
        ErrorCode::None,
        "offsets go on"
    );
    // The classic members hear of it by their heartbeats, and join to give something up.
    assert_eq!(
        stage.classic_heartbeat(&first, 1),
        ErrorCode::RebalanceInProgress
    );
    assert_eq!(stage.sync(&first, 1).error, ErrorCode::RebalanceInProgress);
    let mut owned: Vec<Vec<i32>> = vec![vec![0, 1], vec![2, 3]];
    let mut epochs = [1, 1];
    for _ in 0..6 {
        for (at, member) in [&first, &second].into_iter().enumerate() {
            if stage.classic_heartbeat(member, epochs[at]) == ErrorCode::None {
                continue;
            }
            let metadata = subscription(&["a"], &[("a", &owned[at])]);
            let joined = stage.join(5, classic(member, metadata));
            assert_eq!(joined.error, ErrorCode::None);
            assert_eq!(
                (&*joined.leader, joined.members.len()),
                ("", 0),
                "nobody leads"
            );
            epochs[at] = joined.generation;
            let synced = stage.sync(member, joined.generation);
            assert_eq!(synced.error, ErrorCode::None);
            owned[at] = (0..4)
                .filter(|number| assignment_has(&synced.assignment, *number))
                .collect();
        }
        third.beat(&mut stage);
        stage.pass(1_000);
    }
    assert_eq!(epochs, [2, 2]);
    let mut sizes = [owned[0].len(), owned[1].len(), third.partitions()];
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 1, 2]);
    assert_eq!(stage.describe().state, "Stable");
    // The consumer goes: what is left is a classic group, which rebalances.
    stage.heartbeat(&report("m3", -1));
    assert_eq!(
        stage.listed(),
        [(Arc::from("g"), "classic", "PreparingRebalance")]
    );
    assert_eq!(
        stage.classic_heartbeat(&first, 2),
        ErrorCode::RebalanceInProgress
    );
    assert_eq!(stage.commit(2, &first, 2, 0), ErrorCode::None);
    stage.restart();
    assert_eq!(stage.listed(), [(Arc::from("g"), "classic", "Stable")]);
}

fn assignment_has(bytes: &[u8], number: i32) -> bool {
    // version, one topic, its name `a`, its partitions
    let count = i32::from_be_bytes(*bytes[2..].first_chunk().unwrap());
    if count == 0 {
        return false;
    }
    bytes[13..bytes.len() - 4]
        .chunks(4)
        .any(|chunk| chunk == number.to_be_bytes())
}

#[test]
fn classic_members_that_do_not_come_when_called_are_expelled() {
    // rule N7
    let mut stage = Stage::new();
    let [first, second] = classic_group(&mut stage);
    let mut third = Consumer::join(&mut stage, "m3", &["a"]);
    // They are called, and go on with their heartbeats only.
    for _ in 0..9 {
        for member in [&first, &second] {
            stage.classic_heartbeat(member, 1);
        }
        third.beat(&mut stage);
        stage.pass(5_000);
    }
    assert_eq!(
        stage.classic_heartbeat(&first, 1),
        ErrorCode::UnknownMemberId
    );
    settle(&mut stage, &mut [&mut third]);
    assert_eq!(third.partitions(), 4);
}

#[test]
fn a_new_classic_member_finds_its_place_in_a_consumer_group() {
    // rule N7
    let mut stage = Stage::new();
    let mut first = Consumer::join(&mut stage, "m1", &["a"]);
    stage.pass(1_000);
    let metadata = subscription(&["a"], &[]);
    let told = stage.join(5, classic("", metadata.clone()));
    assert_eq!(told.error, ErrorCode::MemberIdRequired);
    let joined = stage.join(5, classic(&told.member_id, metadata.clone()));
    assert_eq!((joined.error, joined.generation), (ErrorCode::None, 3));
    let id = joined.member_id;
    assert_eq!(stage.sync(&id, 2).error, ErrorCode::IllegalGeneration);
    assert_eq!(
        stage.sync("m1", 3).error,
        ErrorCode::UnknownMemberId,
        "no classic member"
    );
    let synced = stage.sync(&id, 3);
    assert_eq!(
        (synced.error, assignment_has(&synced.assignment, 0)),
        (ErrorCode::None, false)
    );
    assert_eq!(
        stage.classic_heartbeat(&id, 3),
        ErrorCode::None,
        "nothing is free yet"
    );
    first.beat(&mut stage);
    first.beat(&mut stage);
    assert_eq!(
        stage.classic_heartbeat(&id, 3),
        ErrorCode::RebalanceInProgress
    );
    let joined = stage.join(5, classic(&id, metadata.clone()));
    let synced = stage.sync(&id, joined.generation);
    let has = (0..4).filter(|number| assignment_has(&synced.assignment, *number));
    assert_eq!(has.count(), 2);
    // One with other assignors than all classic members have cannot come in.
    let mut other = classic("", metadata);
    other.protocols[0].name = Arc::from("sticky");
    assert_eq!(
        stage.join(5, other).error,
        ErrorCode::InconsistentGroupProtocol
    );
    // An administrator may remove members of either kind.
    let leave = LeaveRequest {
        group: Arc::from("g"),
        members: vec![
            LeavingMember {
                member_id: id.clone(),
                instance_id: None,
            },
            LeavingMember {
                member_id: Arc::from("nobody"),
                instance_id: None,
            },
        ],
    };
    match stage.ask(4, GroupRequest::Leave(leave)) {
        GroupResponse::Leave(left) => {
            let errors: Vec<ErrorCode> = left.members.iter().map(|member| member.error).collect();
            assert_eq!(errors, [ErrorCode::None, ErrorCode::UnknownMemberId]);
        }
        other => panic!("{other:?}"),
    }
    settle(&mut stage, &mut [&mut first]);
    assert_eq!(first.partitions(), 4);
}

#[test]
fn a_classic_member_in_the_last_consumers_place_makes_the_group_classic() {
    // rule N7, G7
    let mut stage = Stage::new();
    let of = |member| ConsumerHeartbeatRequest {
        instance_id: Some(Arc::from("i1")),
        ..joining(member, &["a"])
    };
    Consumer::join_as(&mut stage, "m1", of("m1"));
    let metadata = subscription(&["a"], &[]);
    let mut request = classic("", metadata);
    request.instance_id = Some(Arc::from("i1"));
    let joined = stage.join(5, request);
    assert_eq!(joined.error, ErrorCode::None);
    assert_eq!(stage.listed(), [(Arc::from("g"), "classic", "Stable")]);
    let synced = stage.sync(&joined.member_id, joined.generation);
    assert_eq!(synced.error, ErrorCode::None);
    assert!((0..4).all(|number| assignment_has(&synced.assignment, number)));
    stage.restart();
    assert_eq!(stage.listed(), [(Arc::from("g"), "classic", "Stable")]);
}

#[test]
fn empty_groups_become_what_the_next_member_is() {
    // rule N7
    let mut stage = Stage::new();
    let metadata = subscription(&["a"], &[]);
    // A classic group nobody is in, with an id given to somebody who never came back.
    stage.join(5, classic("", metadata.clone()));
    assert_eq!(stage.listed(), [(Arc::from("g"), "classic", "Empty")]);
    Consumer::join(&mut stage, "m1", &["a"]);
    assert_eq!(stage.listed(), [(Arc::from("g"), "consumer", "Stable")]);
    stage.commit(9, "m1", 2, 0);
    stage.heartbeat(&report("m1", -1));
    assert_eq!(
        stage.join(5, classic("old", metadata.clone())).error,
        ErrorCode::UnknownMemberId
    );
    assert_eq!(stage.listed(), [(Arc::from("g"), "consumer", "Empty")]);
    stage.join(5, classic("", metadata));
    assert_eq!(stage.listed(), [(Arc::from("g"), "classic", "Empty")]);
    assert_eq!(stage.shard.counts().offsets, 1, "offsets outlive both");
    Consumer::join(&mut stage, "m1", &["a"]);
    assert_eq!(stage.shard.counts().offsets, 1);
}

#[test]
fn a_group_that_may_not_migrate_does_not() {
    // rule N7
    let mut settings = Settings::default();
    settings.consumer.migration = Migration::Disabled;
    let mut stage = Stage::with(settings);
    classic_group(&mut stage);
    let response = stage.heartbeat(&joining("m3", &["a"]));
    assert_eq!(response.error, ErrorCode::GroupIdNotFound);
    assert_eq!(stage.listed(), [(Arc::from("g"), "classic", "Stable")]);
}

#[test]
fn a_join_that_waits_is_sent_back_when_the_group_migrates() {
    // rule N7
    let mut stage = Stage::new();
    let [first, second] = classic_group(&mut stage);
    let changed = subscription(&["a", "b"], &[]);
    let waiting = stage.send(5, GroupRequest::Join(classic(&first, changed)));
    assert_eq!(
        stage.classic_heartbeat(&second, 1),
        ErrorCode::RebalanceInProgress
    );
    Consumer::join(&mut stage, "m3", &["a"]);
    match stage.answer(waiting) {
        Some(GroupResponse::Join(join)) => {
            assert_eq!(join.error, ErrorCode::RebalanceInProgress);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(stage.listed()[0].1, "consumer");
}
