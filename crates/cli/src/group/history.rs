//! What happened in a group, read from the log in which brokers keep groups: `__consumer_offsets`.
//!
//! The layout is Kafka's (docs/formats/consumer-offsets.md), so this reads any Kafka cluster. What
//! compaction removed is not told, and neither is why a member went: the log has no word for it.

use std::collections::BTreeMap;

use client::{At, Client, Consumer, FetchOptions, Place, Record};
use stdx::{CursorError, Reader};

use crate::{Failure, connect};

/// The log.
pub const TOPIC: &str = "__consumer_offsets";
/// Longest list of members believed.
const MEMBERS_MAX: usize = 100_000;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// An offset was committed, or forgotten.
    Commit {
        /// When, Unix milliseconds.
        time_ms: i64,
        /// Of which partition.
        place: Place,
        /// The offset; -1 when it was forgotten.
        offset: i64,
        /// What the committer noted beside it.
        note: String,
    },
    /// A classic group completed a generation, or became empty.
    Generation {
        /// When, Unix milliseconds.
        time_ms: i64,
        /// Its number.
        generation: i32,
        /// How partitions are assigned; empty without members.
        protocol: String,
        /// Who is in it.
        members: Vec<Member>,
    },
    /// A group of the newer protocol moved on to this epoch.
    Epoch {
        /// When, Unix milliseconds.
        time_ms: i64,
        /// Its number.
        epoch: i32,
    },
    /// A member of such a group came, or changed.
    Came {
        /// When, Unix milliseconds.
        time_ms: i64,
        /// Who.
        member: Member,
    },
    /// A member of such a group went.
    Went {
        /// When, Unix milliseconds.
        time_ms: i64,
        /// Its id.
        id: String,
    },
    /// The group was removed.
    Removed {
        /// When, Unix milliseconds.
        time_ms: i64,
    },
}

/// A member as the log has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// Its id.
    pub id: String,
    /// Its name across restarts, if it is static.
    pub instance: Option<String>,
    /// How the client calls itself.
    pub client_id: String,
    /// Where it connects from.
    pub host: String,
}

/// What happened in a group since a time, oldest first.
pub async fn read(mut client: Client, group: &str, since_ms: i64) -> Result<Vec<Event>, Failure> {
    let failed = |error| {
        connect::explain(
            format!("group {group}: its history was not read"),
            error,
            format!("duramen topic describe {TOPIC}"),
        )
    };
    let found = client
        .topics(Some(&[TOPIC.to_owned()]))
        .await
        .map_err(failed)?;
    let Some(topic) = found.into_iter().find(|topic| topic.exists) else {
        return Ok(Vec::new());
    };
    let partition = partition_of(group, topic.partitions.len());
    let since = At::Timestamp(since_ms);
    let partitions = [partition];
    let starts = client.list_offsets(TOPIC, &partitions, since).await;
    let start = starts.map_err(failed)?.remove(&partition).unwrap_or(0);
    let ends = client.list_offsets(TOPIC, &partitions, At::End).await;
    let end = ends.map_err(failed)?.remove(&partition).unwrap_or(0);
    let place = (TOPIC.to_owned(), partition);
    let mut events = Vec::new();
    let options = FetchOptions {
        wait: std::time::Duration::ZERO,
        ..FetchOptions::default()
    };
    let mut consumer = Consumer::assign_places(client, BTreeMap::from([(place, start)]), options);
    let mut position = start;
    while position < end {
        let records = consumer.poll().await.map_err(failed)?;
        events.extend(records.iter().filter_map(|record| event(record, group)));
        let next = consumer.positions().map(|(_, at)| at).max().unwrap_or(end);
        // Nothing came: the rest was compacted away.
        if next == position {
            break;
        }
        position = next;
    }
    Ok(events)
}

/// The partition a group's records lie in: Java's hash of its name, without its sign.
pub fn partition_of(group: &str, partitions: usize) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    let hash = if hash == i32::MIN { 0 } else { hash.abs() };
    hash % i32::try_from(partitions.max(1)).unwrap_or(1)
}

/// What a record says about the group; nothing if it is about another, or not understood.
fn event(record: &Record, group: &str) -> Option<Event> {
    decode(
        record.key.as_deref()?,
        record.value.as_deref(),
        group,
        record.timestamp_ms,
    )
    .ok()
    .flatten()
}

fn decode(
    key: &[u8],
    value: Option<&[u8]>,
    group: &str,
    written_ms: i64,
) -> Result<Option<Event>, CursorError> {
    let mut key = Reader::new(key);
    let kind = key.i16_be()?;
    if text(key.bytes_i16_be()?) != group {
        return Ok(None);
    }
    let mut value = value.map(Reader::new);
    let version = match &mut value {
        Some(value) => value.i16_be()?,
        None => 0,
    };
    let event = match kind {
        0 | 1 => {
            let topic = text(key.bytes_i16_be()?);
            let place = (topic, key.i32_be()?);
            commit(place, value, version, written_ms)?
        }
        2 => match value {
            Some(value) => generation(value, version, written_ms)?,
            None => Event::Removed {
                time_ms: written_ms,
            },
        },
        3 => match value {
            Some(mut value) => Event::Epoch {
                time_ms: written_ms,
                epoch: value.i32_be()?,
            },
            None => Event::Removed {
                time_ms: written_ms,
            },
        },
        5 => {
            let id = text(key.bytes_i16_be()?);
            match value {
                Some(mut value) => {
                    let instance = compact(&mut value)?;
                    let _rack = compact(&mut value)?;
                    let client_id = compact(&mut value)?.unwrap_or_default();
                    let host = compact(&mut value)?.unwrap_or_default();
                    Event::Came {
                        time_ms: written_ms,
                        member: Member {
                            id,
                            instance,
                            client_id,
                            host,
                        },
                    }
                }
                None => Event::Went {
                    time_ms: written_ms,
                    id,
                },
            }
        }
        _ => return Ok(None),
    };
    Ok(Some(event))
}

fn commit(
    place: Place,
    value: Option<Reader<'_>>,
    version: i16,
    written_ms: i64,
) -> Result<Event, CursorError> {
    let Some(mut value) = value else {
        return Ok(Event::Commit {
            time_ms: written_ms,
            place,
            offset: -1,
            note: String::new(),
        });
    };
    let offset = value.i64_be()?;
    if version >= 3 {
        value.i32_be()?;
    }
    let note = match version {
        4.. => compact(&mut value)?.unwrap_or_default(),
        _ => text(value.bytes_i16_be()?),
    };
    Ok(Event::Commit {
        time_ms: value.i64_be()?,
        place,
        offset,
        note,
    })
}

fn generation(mut value: Reader<'_>, version: i16, written_ms: i64) -> Result<Event, CursorError> {
    let flexible = version >= 4;
    let word = |value: &mut Reader<'_>| match flexible {
        true => compact(value),
        false => nullable(value),
    };
    let skip_bytes = |value: &mut Reader<'_>| match flexible {
        true => {
            let length = usize::try_from(value.varint_u32()?).unwrap_or(0);
            value.skip(length.saturating_sub(1))
        }
        false => value.bytes_i32_be().map(drop),
    };
    word(&mut value)?;
    let generation = value.i32_be()?;
    let protocol = word(&mut value)?.unwrap_or_default();
    word(&mut value)?;
    let stamped = match version {
        2.. => value.i64_be()?,
        _ => -1,
    };
    let count = match flexible {
        true => usize::try_from(value.varint_u32()?)
            .unwrap_or(0)
            .saturating_sub(1),
        false => usize::try_from(value.i32_be()?).unwrap_or(0),
    };
    let mut members = Vec::new();
    for _ in 0..count.min(MEMBERS_MAX) {
        let id = word(&mut value)?.unwrap_or_default();
        let instance = match version {
            3.. => word(&mut value)?,
            _ => None,
        };
        let client_id = word(&mut value)?.unwrap_or_default();
        let host = word(&mut value)?.unwrap_or_default();
        if version >= 1 {
            value.i32_be()?;
        }
        value.i32_be()?;
        skip_bytes(&mut value)?;
        skip_bytes(&mut value)?;
        if flexible {
            skip_tags(&mut value)?;
        }
        members.push(Member {
            id,
            instance,
            client_id,
            host,
        });
    }
    Ok(Event::Generation {
        time_ms: if stamped >= 0 { stamped } else { written_ms },
        generation,
        protocol,
        members,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A string whose length may be -1 for null.
fn nullable(value: &mut Reader<'_>) -> Result<Option<String>, CursorError> {
    match value.rest().first_chunk() {
        Some([0xff, 0xff]) => value.skip(2).map(|()| None),
        _ => value.bytes_i16_be().map(|bytes| Some(text(bytes))),
    }
}

/// A string with its length plus one as an unsigned varint, 0 for null (KIP-482).
fn compact(value: &mut Reader<'_>) -> Result<Option<String>, CursorError> {
    let length = usize::try_from(value.varint_u32()?).unwrap_or(0);
    match length.checked_sub(1) {
        Some(length) => Ok(Some(text(value.take(length)?))),
        None => Ok(None),
    }
}

fn skip_tags(value: &mut Reader<'_>) -> Result<(), CursorError> {
    for _ in 0..value.varint_u32()? {
        value.varint_u32()?;
        let length = usize::try_from(value.varint_u32()?).unwrap_or(0);
        value.skip(length)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: String = text.split_whitespace().collect();
        (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).expect("digits"))
            .collect()
    }

    #[test]
    fn the_examples_of_the_format_page_are_read() {
        // docs/formats/consumer-offsets.md
        let key = hex("0001 000167 00066f7264657273 00000001");
        let value = hex("0003 000000000000002a 00000003 00026f6b 000001a21050338b");
        let read = decode(&key, Some(&value), "g", 5).expect("whole");
        assert_eq!(
            read,
            Some(Event::Commit {
                time_ms: 0x1a2_1050_338b,
                place: ("orders".to_owned(), 1),
                offset: 42,
                note: "ok".to_owned(),
            })
        );
        assert_eq!(
            decode(&key, Some(&value), "h", 5),
            Ok(None),
            "another group"
        );
        let forgotten = decode(&key, None, "g", 5).expect("whole");
        assert!(matches!(
            forgotten,
            Some(Event::Commit {
                offset: -1,
                time_ms: 5,
                ..
            })
        ));
        let key = hex("0002 000167");
        let value = hex(
            "0003 0008636f6e73756d6572 00000001 000572616e6765 00056170702d31 000001a2105032ed \
             00000001 00056170702d31 ffff 0003617070 000a2f3132372e302e302e31 0000ea60 00002710 \
             00000012 0000 00000001 00066f7264657273 ffffffff 00000000",
        );
        let read = decode(&key, Some(&value), "g", 5).expect("whole");
        let member = Member {
            id: "app-1".to_owned(),
            instance: None,
            client_id: "app".to_owned(),
            host: "/127.0.0.1".to_owned(),
        };
        assert_eq!(
            read,
            Some(Event::Generation {
                time_ms: 0x1a2_1050_32ed,
                generation: 1,
                protocol: "range".to_owned(),
                members: vec![member],
            })
        );
    }

    #[test]
    fn members_of_the_newer_protocol_come_and_go() {
        let key = hex("0005 000167 00026d31");
        let value = hex("0000 00 00 04617070 0b2f3132372e302e302e31");
        let came = decode(&key, Some(&value), "g", 9).expect("whole");
        assert!(
            matches!(&came, Some(Event::Came { member, .. })
                if member.id == "m1" && member.client_id == "app" && member.host == "/127.0.0.1"),
            "{came:?}"
        );
        let went = decode(&key, None, "g", 9).expect("whole");
        assert_eq!(
            went,
            Some(Event::Went {
                time_ms: 9,
                id: "m1".to_owned()
            })
        );
        let epoch = decode(&hex("0003 000167"), Some(&hex("0000 00000007 00")), "g", 9);
        assert_eq!(
            epoch,
            Ok(Some(Event::Epoch {
                time_ms: 9,
                epoch: 7
            }))
        );
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let key = hex("0002 000167");
        let value = hex("0003 0008636f6e73756d6572 00000001 000572616e6765");
        for length in 0..value.len() {
            assert!(
                decode(&key, Some(&value[..length]), "g", 0).is_err(),
                "{length}"
            );
        }
        assert!(decode(&[0], None, "g", 0).is_err());
    }

    #[test]
    fn groups_hash_as_java_hashes_them() {
        assert_eq!(partition_of("g", 50), 103 % 50);
        // "polygenelubricants" hashes to i32::MIN, whose absolute value is taken as 0.
        assert_eq!(partition_of("polygenelubricants", 50), 0);
    }
}
