//! Records as Kafka 4.3.0's own classes write them, read and written back byte for byte.

use super::*;
use crate::record::{Key, decode_key};

const FIRST: TopicId = TopicId(0x0102_0304_0506_0708_1112_1314_1516_1718u128.to_be_bytes());
const SECOND: TopicId = TopicId(0x2122_2324_2526_2728_3132_3334_3536_3738u128.to_be_bytes());

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits"))
        .collect()
}

fn group() -> Arc<str> {
    Arc::from("g")
}

fn check(record: &Record, key: &str, value: &str) {
    assert_eq!(record.key, hex(key));
    assert_eq!(record.value.as_deref(), Some(&*hex(value)));
}

#[test]
fn epochs_are_written_as_kafka_does() {
    // design D17
    let value = "0000000000070100084eb2a2a9bb19a22e";
    check(
        &epoch_record(&group(), 7, 0x4eb2_a2a9_bb19_a22e),
        "0003000167",
        value,
    );
    assert_eq!(decode_epoch(&hex(value)), Ok((7, 0x4eb2_a2a9_bb19_a22e)));
    let value = "00000000000700";
    check(&epoch_record(&group(), 7, 0), "0003000167", value);
    assert_eq!(decode_epoch(&hex(value)), Ok((7, 0)));
    let value = "000000000007010008000001a21050338b";
    let record = target_epoch_record(&group(), 7, 0x1a2_1050_338b);
    check(&record, "0006000167", value);
    assert_eq!(decode_target_epoch(&hex(value)), Ok((7, 0x1a2_1050_338b)));
}

#[test]
fn members_are_written_as_kafka_does() {
    // design D17
    let mut member = ConsumerMember::new(Arc::from("m-1"));
    member.instance = Some(Arc::from("i"));
    member.rack = Some(Arc::from("r"));
    member.client_id = Arc::from("app");
    member.client_host = Arc::from("/127.0.0.1");
    member.topics = [Arc::from("orders"), Arc::from("payments")].into();
    member.rebalance_timeout_ms = 60_000;
    member.assignor = Some(Arc::from("range"));
    let value = "000002690272046170700b2f3132372e302e302e3103076f7264657273097061796d656e7473\
                 010000ea600672616e676501000100";
    check(
        &member_record(&group(), &member),
        "000500016700036d2d31",
        value,
    );
    let mut read = ConsumerMember::new(Arc::from("m-1"));
    decode_member(&hex(value), &mut read).expect("a member");
    assert_eq!(read, member);
}

#[test]
fn members_of_the_classic_protocol_are_written_as_kafka_does() {
    // design D17, rule N7
    let mut member = ConsumerMember::new(Arc::from("m-2"));
    member.client_id = Arc::from("app");
    member.client_host = Arc::from("/127.0.0.1");
    member.topics = [Arc::from("orders")].into();
    member.rebalance_timeout_ms = 60_000;
    // As the class leaves strings nobody has set.
    member.instance = Some(Arc::from(""));
    member.rack = Some(Arc::from(""));
    member.assignor = Some(Arc::from(""));
    member.classic = Some(ClassicPart {
        session_timeout_ms: 10_000,
        protocols: vec![Protocol {
            name: Arc::from("range"),
            metadata: Bytes::from_static(&[0, 3, 0, 0, 0, 0]),
        }],
    });
    let value = "00000101046170700b2f3132372e302e302e3102076f7264657273010000ea60010100150100\
                 002710020672616e6765070003000000000000";
    check(
        &member_record(&group(), &member),
        "000500016700036d2d32",
        value,
    );
    let mut read = ConsumerMember::new(Arc::from("m-2"));
    decode_member(&hex(value), &mut read).expect("a member");
    assert_eq!(read, member);
}

#[test]
fn targets_are_written_as_kafka_does() {
    // design D17
    let target: Partitions = [(FIRST, [0, 2].into()), (SECOND, [1].into())].into();
    let value = "00000301020304050607081112131415161718030000000000000002002122232425262728\
                 313233343536373802000000010000";
    let record = target_record(&group(), &Arc::from("m-1"), &target);
    check(&record, "000700016700036d2d31", value);
    assert_eq!(decode_target(&hex(value)), Ok(target));
}

#[test]
fn what_members_have_is_written_as_kafka_does() {
    // design D17, rule N6
    let mut member = ConsumerMember::new(Arc::from("m-1"));
    member.epoch = 7;
    member.previous_epoch = 6;
    member.state = MemberState::Unrevoked;
    member.assigned = [(FIRST, [(0, 5), (2, 7)].into())].into();
    member.revoking = [(SECOND, [(1, 3)].into())].into();
    let value = "000000000007000000060102010203040506070811121314151617180300000000000000020100\
                 0903000000050000000702212223242526272831323334353637380200000001010005020000000300";
    check(
        &current_record(&group(), &member),
        "000800016700036d2d31",
        value,
    );
    let mut read = ConsumerMember::new(Arc::from("m-1"));
    decode_current(&hex(value), &mut read).expect("what a member has");
    assert_eq!(read, member);
}

#[test]
fn partitions_without_epochs_count_from_the_members_own() {
    // A record of Kafka before 4.3, as 4.3's classes write a null there.
    let value = "00000000000700000006000201020304050607081112131415161718030000000000000002010001\
                 000100";
    let mut read = ConsumerMember::new(Arc::from("m-1"));
    decode_current(&hex(value), &mut read).expect("what a member has");
    assert_eq!(read.assigned, [(FIRST, [(0, 7), (2, 7)].into())].into());
    assert_eq!(read.state, MemberState::Stable);
}

#[test]
fn patterns_are_written_as_kafka_does() {
    // design D17
    let resolved = ResolvedPattern {
        topics: [Arc::from("orders")].into(),
        version: 12,
        timestamp_ms: 0x1a2_1050_338b,
    };
    let value = "000002076f7264657273000000000000000c000001a21050338b00";
    let record = pattern_record(&group(), &Arc::from("ord.*"), &resolved);
    check(&record, "001000016700056f72642e2a", value);
    assert_eq!(decode_pattern(&hex(value)), Ok(resolved));
}

#[test]
fn keys_read_back_and_share_groups_stay_unknown() {
    for key in [
        ConsumerKey::Epoch { group: group() },
        ConsumerKey::Topics { group: group() },
        ConsumerKey::TargetEpoch { group: group() },
        ConsumerKey::Current {
            group: group(),
            member: Arc::from("m"),
        },
        ConsumerKey::Pattern {
            group: group(),
            pattern: Arc::from(".*"),
        },
    ] {
        assert_eq!(decode_key(&key.bytes()), Ok(Key::Consumer(key)));
    }
    assert_eq!(decode_key(&[0, 10, 0, 1, b'g']), Ok(Key::Unknown(10)));
}
