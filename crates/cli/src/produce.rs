//! `produce`: each line of standard input becomes a record, acknowledged when it is durable.

use std::io::BufRead;

use client::{Compression, NewRecord, Producer, ProducerOptions, Reach};
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, Global, connect, lookup, record};

/// Records handed to the producer between two looks at its errors.
const LINES_PER_TURN: usize = 1_000;
/// Longest line taken from standard input; a longer one is refused, not cut.
const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Arguments of `produce`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Topic to write to.
    #[arg(add = crate::complete::topics())]
    topic: String,
    /// Each line is a JSON object as `consume` writes it: key, value, headers, timestamp_ms.
    #[arg(long, conflicts_with = "key_separator")]
    json: bool,
    /// Write lines without a value as tombstones: the key is removed from a compacted topic.
    #[arg(short = 'Z', long, requires = "key_separator")]
    tombstone: bool,
    /// Split each line at the first occurrence: key before it, value behind it.
    #[arg(short = 'K', long, value_name = "TEXT")]
    key_separator: Option<String>,
    /// Write to this partition instead of choosing by key.
    #[arg(short, long, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// Compress batches.
    #[arg(short = 'z', long, default_value = "none")]
    compression: Codec,
    /// A header for every record; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "KEY=VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
}

/// Kafka's compression codecs.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Compression {
        match codec {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        }
    }
}

#[derive(Serialize)]
struct Written {
    topic: String,
    records: u64,
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    let name = arguments.topic.clone();
    let topic = lookup::topic(&mut client, &name).await?;
    lookup::chosen(&topic, arguments.partition.as_slice())?;
    let options = ProducerOptions {
        compression: Compression::from(arguments.compression),
        ..ProducerOptions::default()
    };
    let failed = |error| {
        connect::explain(
            format!("topic {name}: not every record was acknowledged"),
            error,
            format!("duramen topic describe {name}"),
        )
    };
    let mut producer = Producer::new(client, options).await.map_err(failed)?;
    let mut lines = std::io::stdin().lock();
    let mut line = Vec::new();
    let mut records = 0u64;
    let mut turn = 0;
    while read_line(&mut lines, &mut line)? {
        let record = match arguments.record(&line, records + 1) {
            Ok(record) => record,
            Err(wrong) => {
                producer.flush().await.map_err(failed)?;
                return Err(wrong);
            }
        };
        producer
            .send(&name, arguments.partition, record)
            .await
            .map_err(failed)?;
        records += 1;
        turn += 1;
        if turn == LINES_PER_TURN {
            turn = 0;
            producer.progress().await.map_err(failed)?;
        }
    }
    producer.flush().await.map_err(failed)?;
    let row = Written {
        topic: name,
        records,
    };
    output.rows(&["topic", "records"], &[row], |row| {
        vec![row.topic.clone(), row.records.to_string()]
    })
}

impl Arguments {
    /// The record of a line, the `number`th.
    fn record(&self, line: &[u8], number: u64) -> Result<NewRecord, Failure> {
        let mut record = if self.json {
            record::parse(line).map_err(|error| {
                Failure::new(
                    format!(
                        "standard input line {number}: no record; {} before it were written",
                        number - 1
                    ),
                    error,
                    "write {\"key\": \"k\", \"value\": \"v\"}, one object a line",
                )
            })?
        } else {
            let (key, value) = split(line, self.key_separator.as_deref());
            let none = self.tombstone && value.is_empty();
            NewRecord {
                key: key.map(<[u8]>::to_vec),
                value: (!none).then(|| value.to_vec()),
                ..NewRecord::default()
            }
        };
        let more = self
            .headers
            .iter()
            .map(|(key, value)| (key.clone(), Some(value.clone().into_bytes())));
        record.headers.extend(more);
        Ok(record)
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "write it as key=value".to_owned())
}

/// Reads one line without its end; false at the end of input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, Failure> {
    line.clear();
    let mut limited = std::io::Read::take(input, LINE_BYTES_MAX as u64 + 1);
    let length = limited.read_until(b'\n', line).map_err(|error| {
        Failure::new(
            "standard input",
            error.to_string(),
            "check what is piped in",
        )
    })?;
    if line.len() > LINE_BYTES_MAX {
        return Err(Failure::new(
            "standard input: a line is too long",
            format!("a record has at most {LINE_BYTES_MAX} bytes"),
            "split the input into smaller lines",
        ));
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(length > 0)
}

fn split<'a>(line: &'a [u8], separator: Option<&str>) -> (Option<&'a [u8]>, &'a [u8]) {
    let Some(separator) = separator.map(str::as_bytes).filter(|text| !text.is_empty()) else {
        return (None, line);
    };
    match line
        .windows(separator.len())
        .position(|window| window == separator)
    {
        Some(at) => (Some(&line[..at]), &line[at + separator.len()..]),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        assert_eq!(split(b"k1:a:b", Some(":")), (Some(&b"k1"[..]), &b"a:b"[..]));
        assert_eq!(split(b"plain", Some(":")), (None, &b"plain"[..]));
        assert_eq!(split(b"k:v", None), (None, &b"k:v"[..]));
    }

    #[test]
    fn the_last_line_needs_no_newline() {
        let mut input = &b"a\nb"[..];
        let mut line = Vec::new();
        let mut lines = Vec::new();
        while read_line(&mut input, &mut line).expect("memory does not fail") {
            lines.push(line.clone());
        }
        assert_eq!(lines, [b"a".to_vec(), b"b".to_vec()]);
    }
}
