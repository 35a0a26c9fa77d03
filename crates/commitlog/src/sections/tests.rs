use super::*;
use crate::mutation::for_each_mutation;

fn facts() -> Facts {
    Facts {
        key: PartitionKey {
            topic: TopicId([0xab; 16]),
            partition: 3,
        },
        id: PartitionId(9),
        base: Offset(100),
        end: Offset(250),
        data_bytes: 4096,
        max_timestamp_ms: 1_000,
        since_ms: 2_000,
        last_epoch: LeaderEpoch(5),
        revision: 1,
    }
}

#[test]
fn sections_of_later_releases_are_passed_over() {
    let mut out = Writer::new();
    append_section(&mut out, EPOCHS, 0, |out| {
        out.raw(b"epochs");
    });
    append_section(&mut out, 900, 0, |out| {
        out.raw(b"what is this?");
    });
    let found = split_sections(out.as_slice(), 2).expect("unknown, not required");
    assert_eq!(find_section(&found, EPOCHS), Ok(&b"epochs"[..]));
    assert_eq!(found[1].number, 900);
    assert!(find_section(&found, PRODUCERS).is_err());
}

#[test]
fn a_required_section_of_a_later_release_refuses_the_whole() {
    let mut out = Writer::new();
    append_section(&mut out, 900, REQUIRED, |out| {
        out.raw(b"encrypted with");
    });
    assert!(split_sections(out.as_slice(), 1).is_err());
}

#[test]
fn a_section_comes_once_and_in_order() {
    let mut out = Writer::new();
    append_section(&mut out, EPOCHS, 0, |_| ());
    append_section(&mut out, EPOCHS, 0, |_| ());
    assert!(split_sections(out.as_slice(), 2).is_err());
}

#[test]
fn the_bytes_are_those_of_the_page() {
    let mut out = Writer::new();
    append_section(&mut out, FACTS, REQUIRED, |out| facts().encode(out));
    #[rustfmt::skip]
    let golden = [
        1, 0, 1, 0, 80, 0, 0, 0, // number, flags, length
        0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, // topic id
        0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab,
        3, 0, 0, 0, 1, 0, 0, 0, // partition, revision
        9, 0, 0, 0, 0, 0, 0, 0, // internal id
        100, 0, 0, 0, 0, 0, 0, 0, // base
        250, 0, 0, 0, 0, 0, 0, 0, // end
        0, 16, 0, 0, 0, 0, 0, 0, // data bytes
        0xe8, 3, 0, 0, 0, 0, 0, 0, // max timestamp
        0xd0, 7, 0, 0, 0, 0, 0, 0, // since
        5, 0, 0, 0, 0, 0, 0, 0, // last epoch, reserved
    ];
    assert_eq!(out.as_slice(), golden);
    let found = split_sections(out.as_slice(), 1).expect("as written");
    assert_eq!(Facts::decode(found[0].body), Ok(facts()));
}

#[test]
fn hostile_bytes_are_refused_or_read_and_nothing_else() {
    let mut out = Writer::new();
    append_section(&mut out, FACTS, REQUIRED, |out| facts().encode(out));
    append_section(&mut out, EPOCHS, 0, |out| {
        out.zeros(40);
    });
    for_each_mutation(out.as_slice(), 2, 5_000, |bytes| {
        for count in [2, 3, u32::MAX] {
            if let Ok(found) = split_sections(bytes, count) {
                let _ = find_section(&found, FACTS).and_then(Facts::decode);
            }
        }
    });
}
