//! Bytes of real records, and a first group from join to commit.

use std::sync::Arc;

use bytes::Bytes;
use wire::ErrorCode;

use crate::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .map(|byte| (byte as char).to_digit(16).expect("a hex digit") as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// Written by Kafka 4.3.0: the group `fixed` with one static member.
const KAFKA_GROUP: &str = "
    0003 0008 636f6e73756d6572 00000001 0005 72616e6765
    0028 692d312d30623532396235352d333736332d343631612d386532322d383566356466613166616537
    000001a21050343b 00000001
    0028 692d312d30623532396235352d333736332d343631612d386532322d383566356466613166616537
    0003 692d31 0003 617070 000a 2f3132372e302e302e31 0000ea60 00002710
    0000001c 00030000000100066f7264657273ffffffff00000000ffffffffffff
    0000001e 00030000000100066f7264657273000000020000000000000001ffffffff";

#[test]
fn a_group_record_of_kafka_is_read_and_written_back_byte_for_byte() {
    // rule G9, design D17
    let bytes = hex(KAFKA_GROUP);
    let image = decode_group_value(&bytes).expect("a group");
    assert_eq!(image.generation, 1);
    assert_eq!(image.protocol.as_deref(), Some("range"));
    assert_eq!(image.members[0].instance_id.as_deref(), Some("i-1"));
    assert_eq!(&*image.members[0].client_host, "/127.0.0.1");
    assert_eq!(image.members[0].rebalance_timeout_ms, 60_000);
    assert_eq!(image.members[0].session_timeout_ms, 10_000);
    let record = Record::group("fixed", &image);
    assert_eq!(record.key, hex("0002 0005 6669786564"));
    assert_eq!(record.value.as_deref(), Some(&*bytes));
}

#[test]
fn empty_groups_of_kafka_are_read_and_written_back_byte_for_byte() {
    // A group on its first day, and one its members have left.
    for text in [
        "0003 0000 00000000 ffff ffff 000001a210503436 00000000",
        "0003 0008 636f6e73756d6572 00000002 ffff ffff 000001a2105033ba 00000000",
    ] {
        let bytes = hex(text);
        let image = decode_group_value(&bytes).expect("a group");
        assert_eq!(Record::group("g", &image).value.as_deref(), Some(&*bytes));
    }
}

#[test]
fn a_flexible_commit_of_kafka_is_read() {
    // Written by Kafka 4.3.0, value version 4 with the topic id in tagged field 0.
    let bytes = hex("0004 000000000000002a 00000003 056e6f7465 000001a21050338b
         01 00 10 76f35b58315e4cf99ef1aca901f0cb55");
    let committed = decode_offset_value(&bytes).expect("a commit");
    assert_eq!(
        committed,
        CommittedOffset {
            offset: 42,
            leader_epoch: 3,
            metadata: Arc::from("note"),
            commit_timestamp_ms: 0x1a2_1050_338b,
            expire_timestamp_ms: None,
        }
    );
    // The same commit as version 3, which we write, derived from OffsetCommitValue.json.
    let record = Record::offset("readers", "orders", 1, &committed);
    assert_eq!(
        record.key,
        hex("0001 0007 72656164657273 0006 6f7264657273 00000001")
    );
    let v3 = hex("0003 000000000000002a 00000003 0004 6e6f7465 000001a21050338b");
    assert_eq!(record.value.as_deref(), Some(&*v3));
    assert_eq!(decode_offset_value(&v3), Ok(committed));
}

#[test]
fn a_commit_with_its_own_expiry_is_version_one() {
    let committed = CommittedOffset {
        offset: 7,
        leader_epoch: -1,
        metadata: Arc::from(""),
        commit_timestamp_ms: 1,
        expire_timestamp_ms: Some(2),
    };
    let record = Record::offset("g", "t", 0, &committed);
    let v1 = hex("0001 0000000000000007 0000 0000000000000001 0000000000000002");
    assert_eq!(record.value.as_deref(), Some(&*v1));
    assert_eq!(decode_offset_value(&v1), Ok(committed));
}

#[test]
fn older_values_are_read() {
    // v0 of a commit; v0 and v1 of a group, by hand from the JSON schemas.
    let v0 = decode_offset_value(&hex("0000 0000000000000007 0001 61 0000000000000001"));
    assert_eq!(
        v0.map(|committed| (committed.offset, committed.leader_epoch)),
        Ok((7, -1))
    );
    let v0 = decode_group_value(&hex("0000 0001 63 00000005 0001 72 0001 6d 00000001
         0001 6d 0001 61 0001 68 00001388 00000001 aa 00000001 bb"));
    let image = v0.expect("a group");
    assert_eq!((image.generation, image.state_timestamp_ms), (5, None));
    assert_eq!(
        image.members[0].rebalance_timeout_ms, 5000,
        "the session timeout stands in"
    );
    assert_eq!(&image.members[0].assignment[..], [0xbb]);
    let flexible = decode_group_value(&hex("0004 02 63 00000005 02 72 02 6d 0000000000000009 02
         02 6d 00 02 61 02 68 00000001 00001388 02 aa 02 bb 00 00"));
    assert_eq!(
        flexible.map(|image| image.members[0].subscription.len()),
        Ok(1)
    );
}

#[test]
fn keys_of_other_group_types_are_skipped_and_counted() {
    let mut shard = Shard::new(Settings::default());
    let origin = RecordOrigin {
        offset: 0,
        producer_id: None,
    };
    for kind in [10u8, 15, 17] {
        shard
            .apply(origin, &[0, kind, 0, 1, b'g'], Some(&[0, 0]))
            .expect("skipped");
    }
    assert_eq!(shard.counts().skipped_records, 3);
    assert_eq!(shard.persistent(), Persistent::default());
}

fn call(version: i16, chance: u128) -> Caller {
    Caller {
        version,
        client_id: Arc::from("app"),
        client_host: Arc::from("/127.0.0.1"),
        chance,
    }
}

fn feed(shard: &mut Shard, effects: &Effects) {
    for record in &effects.records {
        let origin = RecordOrigin {
            offset: 0,
            producer_id: None,
        };
        shard
            .apply(origin, &record.key, record.value.as_deref())
            .expect("our own record");
    }
}

#[test]
fn a_consumer_joins_syncs_and_commits() {
    // rules G1, G3, G6
    let mut shard = Shard::new(Settings {
        initial_rebalance_delay_ms: 0,
        ..Settings::default()
    });
    let now = Now::default();
    shard.loaded(now);
    let mut join = JoinRequest {
        group: Arc::from("g"),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: Arc::from(""),
        instance_id: None,
        protocol_type: Arc::from("consumer"),
        protocols: vec![Protocol {
            name: Arc::from("range"),
            metadata: Bytes::new(),
        }],
    };
    let effects = shard.handle(now, Token(1), &call(9, 7), GroupRequest::Join(join.clone()));
    feed(&mut shard, &effects);
    let [(Token(1), GroupResponse::Join(answer))] = &effects.replies[..] else {
        panic!("an answer: {effects:?}")
    };
    assert_eq!(answer.error, ErrorCode::MemberIdRequired);
    assert_eq!(
        &*answer.member_id,
        "app-00000000-0000-4000-8000-000000000007"
    );

    join.member_id = answer.member_id.clone();
    let effects = shard.handle(now, Token(2), &call(9, 8), GroupRequest::Join(join.clone()));
    assert!(
        effects.replies.is_empty(),
        "waits for the first join phase to end"
    );
    let effects = shard.tick(now);
    let [(Token(2), GroupResponse::Join(answer))] = &effects.replies[..] else {
        panic!("an answer: {effects:?}")
    };
    assert_eq!((answer.error, answer.generation), (ErrorCode::None, 1));
    assert_eq!(answer.members.len(), 1);

    let sync = SyncRequest {
        group: Arc::from("g"),
        generation: 1,
        member_id: join.member_id.clone(),
        instance_id: None,
        protocol_type: Some(Arc::from("consumer")),
        protocol_name: Some(Arc::from("range")),
        assignments: vec![(join.member_id.clone(), Bytes::from_static(b"all"))],
    };
    let effects = shard.handle(now, Token(3), &call(5, 0), GroupRequest::Sync(sync));
    feed(&mut shard, &effects);
    let [(Token(3), GroupResponse::Sync(answer))] = &effects.replies[..] else {
        panic!("an answer: {effects:?}")
    };
    assert_eq!(
        (answer.error, &answer.assignment[..]),
        (ErrorCode::None, &b"all"[..])
    );

    let commit = CommitRequest {
        group: Arc::from("g"),
        generation: 1,
        member_id: join.member_id.clone(),
        instance_id: None,
        retention_ms: -1,
        topics: vec![CommitTopic {
            name: Arc::from("orders"),
            partitions: vec![CommitPartition {
                partition: 0,
                offset: 5,
                leader_epoch: -1,
                metadata: Some(Arc::from("note")),
            }],
        }],
    };
    let effects = shard.handle(now, Token(4), &call(9, 0), GroupRequest::Commit(commit));
    feed(&mut shard, &effects);
    let fetch = FetchRequest {
        group: Arc::from("g"),
        topics: None,
        member_id: None,
        member_epoch: -1,
        require_stable: false,
    };
    let effects = shard.handle(now, Token(5), &call(9, 0), GroupRequest::Fetch(fetch));
    let [(Token(5), GroupResponse::Fetch(fetched))] = &effects.replies[..] else {
        panic!("an answer: {effects:?}")
    };
    let partition = &fetched.topics[0].partitions[0];
    assert_eq!((partition.offset, &*partition.metadata), (5, "note"));
}

#[test]
fn the_examples_of_the_format_page_are_what_is_written() {
    // Each hex block of the page: a key line, then a value, comments behind two spaces.
    let page = include_str!("../../../docs/formats/consumer-offsets.md");
    let mut records = Vec::new();
    for block in page.split("```").skip(1).step_by(2) {
        let digits = |lines: &str| {
            lines
                .lines()
                .map(|line| {
                    line.trim_start_matches(|c: char| c.is_alphabetic() && !c.is_ascii_hexdigit())
                })
                .map(|line| {
                    line.trim_start()
                        .split("  ")
                        .next()
                        .unwrap_or("")
                        .to_owned()
                })
                .collect::<String>()
        };
        let (key, value) = block.split_once("value").expect("key and value");
        let key = key.trim_start().trim_start_matches("key");
        records.push((hex(&digits(key)), hex(&digits(value))));
    }
    let [(offset_key, offset_value), (group_key, group_value)] = &records[..] else {
        panic!("two examples: {records:x?}")
    };
    let committed = decode_offset_value(offset_value).expect("a commit");
    let record = Record::offset("g", "orders", 1, &committed);
    assert_eq!(
        (&record.key[..], record.value.as_deref()),
        (&offset_key[..], Some(&offset_value[..]))
    );
    assert_eq!((committed.offset, &*committed.metadata), (42, "ok"));
    let image = decode_group_value(group_value).expect("a group");
    let record = Record::group("g", &image);
    assert_eq!(
        (&record.key[..], record.value.as_deref()),
        (&group_key[..], Some(&group_value[..]))
    );
    assert_eq!(image.members.len(), 1);
}

#[test]
fn effects_are_cut_into_batches_in_order() {
    let record = |size: usize| Record {
        key: Bytes::from(vec![0; size]),
        value: None,
    };
    let effects = Effects {
        records: [10, 20, 500, 30, 40, 50].map(record).to_vec(),
        ..Effects::default()
    };
    let sizes = |max: usize| -> Vec<usize> { effects.batches(max).map(<[Record]>::len).collect() };
    assert_eq!(sizes(10_000), [6]);
    assert_eq!(sizes(200), [2, 1, 2, 1], "the large one stands alone");
    assert_eq!(sizes(0), [1; 6]);
    assert_eq!(Effects::default().batches(100).count(), 0);
}
