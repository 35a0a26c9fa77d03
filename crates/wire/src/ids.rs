//! Offsets, epochs and ids as distinct types, so that one cannot be passed for another.
//!
//! Each is a plain number as it stands on the wire; negative values keep Kafka's meaning
//! ("unknown", "none") and are named here.

use std::fmt;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }

        impl From<$name> for $inner {
            fn from(value: $name) -> Self {
                value.0
            }
        }
    };
}

number_id! {
    /// A record's position in its partition, from 0. −1 means "none" or "unknown".
    Offset(i64)
}
number_id! {
    /// How many leaders a partition has had, from 0. −1 means "unknown" or "do not check".
    LeaderEpoch(i32)
}
number_id! {
    /// A producer's number, given out by the cluster. −1 means a producer without idempotence.
    ProducerId(i64)
}
number_id! {
    /// The incarnation of a producer id; a higher one fences the lower ones. −1 means none.
    ProducerEpoch(i16)
}
number_id! {
    /// A broker's number in its cluster. −1 means none.
    BrokerId(i32)
}

impl Offset {
    /// No offset.
    pub const NONE: Offset = Offset(-1);

    /// The offset `delta` further on; saturates at the end of the range.
    pub fn plus(self, delta: i64) -> Offset {
        Offset(self.0.saturating_add(delta))
    }
}

impl LeaderEpoch {
    /// No epoch, or one that is not to be checked.
    pub const NONE: LeaderEpoch = LeaderEpoch(-1);
}

impl ProducerId {
    /// A producer that asked for no id.
    pub const NONE: ProducerId = ProducerId(-1);

    /// Whether this is a real producer id.
    pub fn is_some(self) -> bool {
        self.0 >= 0
    }
}

impl ProducerEpoch {
    /// No epoch.
    pub const NONE: ProducerEpoch = ProducerEpoch(-1);
}

impl BrokerId {
    /// No broker.
    pub const NONE: BrokerId = BrokerId(-1);
}

/// A topic's identity: 16 bytes that outlive its name. All zeros means "none".
///
/// Shown and read as Kafka does: URL-safe base64 without padding, 22 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl TopicId {
    /// No topic.
    pub const NONE: TopicId = TopicId([0; 16]);

    /// Whether this names no topic.
    pub fn is_none(self) -> bool {
        self == TopicId::NONE
    }

    /// Reads the 22-character form; `None` if it is anything else.
    pub fn parse(text: &str) -> Option<TopicId> {
        let text = text.as_bytes();
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        for (at, c) in text.iter().enumerate() {
            let six = BASE64_URL.iter().position(|b| b == c)? as u128;
            if at < 21 {
                bits = bits << 6 | six;
            } else {
                // The last character carries two bits; the four below them must be zero.
                if six & 0x0f != 0 {
                    return None;
                }
                bits = bits << 2 | six >> 4;
            }
        }
        Some(TopicId(bits.to_be_bytes()))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = u128::from_be_bytes(self.0);
        let mut text = [0u8; 22];
        for (at, c) in text.iter_mut().enumerate() {
            let six = if at < 21 {
                bits >> (122 - 6 * at)
            } else {
                bits << 4
            };
            *c = BASE64_URL[(six & 0x3f) as usize];
        }
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_ids_read_back_as_written() {
        let id = TopicId(*b"\x00\x01\x02\xff\xfe\xfd\x10\x20\x30\x40\x50\x60\x70\x80\x90\xa0");
        assert_eq!(id.to_string(), "AAEC__79ECAwQFBgcICQoA");
        assert_eq!(TopicId::parse("AAEC__79ECAwQFBgcICQoA"), Some(id));
        assert_eq!(TopicId::NONE.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    }

    #[test]
    fn a_topic_id_has_one_spelling() {
        assert_eq!(
            TopicId::parse("AAAAAAAAAAAAAAAAAAAAAB"),
            None,
            "stray bits at the end"
        );
        assert_eq!(TopicId::parse("AAAAAAAAAAAAAAAAAAAAA"), None, "too short");
        assert_eq!(
            TopicId::parse("AAAAAAAAAAAAAAAAAAAAA+"),
            None,
            "plain base64 is not URL-safe"
        );
    }
}
