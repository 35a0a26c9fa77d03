//! The keys of quotas: Kafka's names, and their values in words.

use crate::{Failure, connect, words};

/// One kind of quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Bytes a second of Produce requests.
    Produce,
    /// Bytes a second of Fetch answers.
    Consume,
    /// Percent of one thread.
    Requests,
    /// Partitions created and deleted a second.
    Mutations,
    /// Connections a second of an address.
    Connections,
}

/// All of them, in the order of tables.
pub const ALL: [Key; 5] = [
    Key::Produce,
    Key::Consume,
    Key::Requests,
    Key::Mutations,
    Key::Connections,
];

impl Key {
    /// Kafka's name.
    pub fn name(self) -> &'static str {
        match self {
            Key::Produce => "producer_byte_rate",
            Key::Consume => "consumer_byte_rate",
            Key::Requests => "request_percentage",
            Key::Mutations => "controller_mutation_rate",
            Key::Connections => "connection_creation_rate",
        }
    }

    /// Whether an address has it, and not a user or client id.
    pub fn is_of_addresses(self) -> bool {
        self == Key::Connections
    }

    /// Reads a value: `5MB/s`, `50%`, `10/s`, or Kafka's bare number.
    pub fn parse(self, text: &str) -> Result<f64, String> {
        let bare = text.trim();
        let bare = bare.strip_suffix("/s").unwrap_or(bare).trim_end();
        let number = match self {
            Key::Produce | Key::Consume => {
                return words::bytes_argument(bare).map(|bytes| bytes as f64);
            }
            Key::Requests => bare.strip_suffix('%').unwrap_or(bare).trim_end(),
            Key::Mutations | Key::Connections => bare,
        };
        let (number, scale) = match number.chars().last() {
            Some('k' | 'K') if self != Key::Requests => (&number[..number.len() - 1], 1e3),
            _ => (number, 1.0),
        };
        match number.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(value * scale),
            _ => Err(match self {
                Key::Requests => "write a percentage such as 50% or 12.5%".to_owned(),
                _ => "write a rate such as 10/s or 0.5/s".to_owned(),
            }),
        }
    }

    /// A value in words.
    pub fn spell(self, value: f64) -> String {
        match self {
            Key::Produce | Key::Consume => format!("{}/s", words::bytes(value as u64)),
            Key::Requests => format!("{value}%"),
            Key::Mutations | Key::Connections => format!("{value}/s"),
        }
    }
}

/// The key of that name.
///
/// # Errors
/// There is none; the nearest is named.
pub fn find(name: &str) -> Result<Key, Failure> {
    ALL.into_iter()
        .find(|key| key.name() == name)
        .ok_or_else(|| {
            let known = ALL.map(Key::name);
            let next = match connect::near(name, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "duramen quota set --help".to_owned(),
            };
            Failure::usage(
                format!("quota {name}: no such key"),
                format!("there are: {}", known.join(", ")),
                next,
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_words_and_written_in_words() {
        // experience.md 3.2
        for (key, text, value) in [
            (Key::Produce, "5MB/s", 5_000_000.0),
            (Key::Produce, "5MiB", 5_242_880.0),
            (Key::Consume, "1024", 1_024.0),
            (Key::Requests, "12.5%", 12.5),
            (Key::Requests, "200", 200.0),
            (Key::Mutations, "0.5/s", 0.5),
            (Key::Connections, "1k/s", 1_000.0),
        ] {
            assert_eq!(key.parse(text), Ok(value), "{text}");
        }
        for (key, wrong) in [
            (Key::Produce, "fast"),
            (Key::Requests, "half"),
            (Key::Requests, "1k%"),
            (Key::Mutations, "inf"),
            (Key::Connections, ""),
        ] {
            assert!(key.parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Key::Produce.spell(5_000_000.0), "5.00 MB/s");
        assert_eq!(Key::Requests.spell(12.5), "12.5%");
        assert_eq!(Key::Connections.spell(10.0), "10/s");
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let failure = find("produce_byte_rate").unwrap_err();
        assert!(failure.next.contains("producer_byte_rate"), "{failure}");
    }
}
