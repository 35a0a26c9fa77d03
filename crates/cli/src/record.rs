//! A record as programs see it: one JSON object, written by `consume` and read by `produce`.

use client::{NewRecord, Record};
use serde::{Deserialize, Serialize};

use crate::output::{Output, visible};
use crate::{Failure, words};

/// The object. Field names are API.
#[derive(Debug, Serialize)]
pub struct Row<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    key: Option<Text>,
    value: Option<Text>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header>,
}

/// What of the object `produce` takes; the rest is where the record came from.
#[derive(Debug, Deserialize)]
struct Read {
    #[serde(default)]
    key: Option<Text>,
    #[serde(default)]
    value: Option<Text>,
    #[serde(default)]
    headers: Vec<Header>,
    #[serde(default)]
    timestamp_ms: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    key: String,
    value: Option<Text>,
}

/// Bytes as text where they are text, else as hexadecimal digits, so that nothing is lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Text {
    /// UTF-8.
    Utf8(String),
    /// Anything else.
    Hex {
        /// Two digits a byte.
        hex: String,
    },
}

impl Text {
    /// Bytes as text.
    pub fn new(bytes: &[u8]) -> Text {
        match std::str::from_utf8(bytes) {
            Ok(text) => Text::Utf8(text.to_owned()),
            Err(_) => Text::Hex {
                hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            },
        }
    }

    /// The text, or the digits.
    pub fn show(&self) -> &str {
        match self {
            Text::Utf8(text) | Text::Hex { hex: text } => text,
        }
    }

    fn bytes(self) -> Result<Vec<u8>, String> {
        match self {
            Text::Utf8(text) => Ok(text.into_bytes()),
            Text::Hex { hex } => {
                let digits = hex.as_bytes().chunks(2).map(|pair| {
                    let pair = std::str::from_utf8(pair)
                        .ok()
                        .filter(|pair| pair.len() == 2)?;
                    u8::from_str_radix(pair, 16).ok()
                });
                digits
                    .collect::<Option<Vec<u8>>>()
                    .ok_or_else(|| format!("`{hex}` is no hexadecimal text"))
            }
        }
    }
}

impl<'a> Row<'a> {
    /// The object of a record.
    pub fn new(record: &'a Record) -> Row<'a> {
        Row {
            topic: &record.batch.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.as_deref().map(Text::new),
            value: record.value.as_deref().map(Text::new),
            headers: record
                .headers
                .iter()
                .map(|(key, value)| Header {
                    key: key.clone(),
                    value: value.as_deref().map(Text::new),
                })
                .collect(),
        }
    }

    /// A line for people: partition, offset, key, value, and its time if wanted.
    pub fn line(&self, with_time: bool) -> String {
        let shown = |text: &Option<Text>| match text {
            Some(text) => visible(text.show()),
            None => "-".to_owned(),
        };
        let time = match with_time {
            true => words::time(self.timestamp_ms).map_or("-  ".to_owned(), |t| format!("{t}  ")),
            false => String::new(),
        };
        format!(
            "{}:{}  {time}{}  {}",
            self.partition,
            self.offset,
            shown(&self.key),
            shown(&self.value)
        )
    }
}

/// Writes a record the way the output wants it: a line for people, the object for programs. The
/// line names the topic where several are read.
pub fn show(record: &Record, with_topic: bool, output: &mut Output) -> Result<(), Failure> {
    let row = Row::new(record);
    if !output.is_table() {
        return output.json(&row);
    }
    let topic = match with_topic {
        true => format!("{} ", row.topic),
        false => String::new(),
    };
    output.bytes(format!("{topic}{}\n", row.line(false)).as_bytes())
}

/// Reads an object that `consume` wrote. Its topic, partition and offset are not looked at; its
/// timestamp is kept.
pub fn parse(line: &[u8]) -> Result<NewRecord, String> {
    let read: Read = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let bytes = |text: Option<Text>| text.map(Text::bytes).transpose();
    let headers = read.headers.into_iter().map(|header| {
        let value = header.value.map(Text::bytes).transpose()?;
        Ok((header.key, value))
    });
    Ok(NewRecord {
        key: bytes(read.key)?,
        value: bytes(read.value)?,
        headers: headers.collect::<Result<_, String>>()?,
        timestamp_ms: read.timestamp_ms,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use client::BatchFacts;

    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hexadecimal() {
        assert_eq!(Text::new(&[0xff, 0x00]).show(), "ff00");
        assert_eq!(Text::new(&[0xff, 0x00]).bytes(), Ok(vec![0xff, 0x00]));
        let odd = Text::Hex { hex: "fff".into() };
        assert!(odd.bytes().is_err());
    }

    #[test]
    fn a_record_written_as_json_is_read_as_the_same() {
        // experience.md 12
        let record = Record {
            partition: 1,
            offset: 9,
            timestamp_ms: 77,
            key: None,
            value: Some(vec![0xfe, 1]),
            headers: vec![
                ("h".to_owned(), Some(b"\xff".to_vec())),
                ("n".to_owned(), None),
            ],
            batch: Arc::new(BatchFacts::default()),
        };
        let line = serde_json::to_vec(&Row::new(&record)).expect("JSON");
        let read = parse(&line).expect("what we wrote");
        assert_eq!(read.key, record.key);
        assert_eq!(read.value, record.value);
        assert_eq!(read.headers, record.headers);
        assert_eq!(read.timestamp_ms, Some(77));
        assert!(parse(b"no json").is_err());
        let bare = parse(b"{\"value\":\"v\",\"note\":1}").expect("other fields are passed over");
        assert_eq!(bare.value.as_deref(), Some(&b"v"[..]));
    }
}
