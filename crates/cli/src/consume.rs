//! `consume`: records of a topic from a chosen place on, until the end or for ever.

use client::{At, Consumer, Reach, Record};
use serde::Serialize;

use crate::output::Output;
use crate::{Failure, Global, cluster, topic};

/// Arguments of `consume`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Topic to read.
    topic: String,
    /// Where to begin: start, end, an offset, -N before the end, or @UNIX_MS.
    #[arg(short, long, default_value = "start", allow_hyphen_values = true, value_parser = parse_at)]
    offset: At,
    /// Read only this partition; may be repeated.
    #[arg(short, long)]
    partition: Vec<i32>,
    /// Stop after this many records.
    #[arg(short = 'n', long)]
    num: Option<u64>,
    /// Stop at the end of each partition as it is now.
    #[arg(short, long)]
    exit: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    key: Option<Text>,
    value: Option<Text>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<Header>,
}

#[derive(Serialize)]
struct Header {
    key: String,
    value: Option<Text>,
}

/// Bytes as text where they are text, else as hexadecimal digits, so that nothing is lost.
#[derive(Serialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Hex { hex: String },
}

impl Text {
    fn new(bytes: &[u8]) -> Text {
        match std::str::from_utf8(bytes) {
            Ok(text) => Text::Utf8(text.to_owned()),
            Err(_) => Text::Hex {
                hex: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            },
        }
    }

    fn show(&self) -> &str {
        match self {
            Text::Utf8(text) | Text::Hex { hex: text } => text,
        }
    }
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = cluster::connect(reach, global).await?;
    let name = arguments.topic;
    let failed = |error| {
        cluster::explain(
            format!("topic {name}: not read"),
            error,
            format!("duramen topic describe {name}"),
        )
    };
    let topics = client
        .topics(Some(std::slice::from_ref(&name)))
        .await
        .map_err(failed)?;
    let Some(topic) = topics
        .into_iter()
        .find(|topic| topic.name == name && topic.exists)
    else {
        return Err(topic::unknown_topic(&mut client, &name).await);
    };
    let all: Vec<i32> = topic
        .partitions
        .iter()
        .map(|partition| partition.index)
        .collect();
    if let Some(stranger) = arguments
        .partition
        .iter()
        .find(|wanted| !all.contains(wanted))
    {
        return Err(Failure::usage(
            format!("topic {name}: no partition {stranger}"),
            format!("it has {} partitions, from 0", all.len()),
            format!("duramen topic describe {name}"),
        ));
    }
    let partitions = if arguments.partition.is_empty() {
        all
    } else {
        arguments.partition
    };
    let starts = client
        .list_offsets(&name, &partitions, arguments.offset)
        .await
        .map_err(failed)?;
    let ends = client
        .list_offsets(&name, &partitions, At::End)
        .await
        .map_err(failed)?;
    let mut open: std::collections::BTreeMap<i32, i64> = ends.clone();
    if arguments.exit {
        open.retain(|partition, end| starts.get(partition).is_some_and(|start| start < end));
    }
    let mut consumer = Consumer::assign(client, &name, &starts);
    let mut left = arguments.num.unwrap_or(u64::MAX);
    while left > 0 && !(arguments.exit && open.is_empty()) {
        let records = consumer.poll().await.map_err(failed)?;
        for record in &records {
            let end = ends.get(&record.partition).copied().unwrap_or(i64::MAX);
            if arguments.exit && record.offset >= end {
                continue;
            }
            show(&name, record, output)?;
            left -= 1;
            if left == 0 {
                break;
            }
        }
        for (partition, position) in consumer.positions() {
            if open.get(&partition).is_some_and(|end| position >= *end) {
                open.remove(&partition);
            }
        }
        output.flush()?;
    }
    Ok(())
}

fn show(topic: &str, record: &Record, output: &mut Output) -> Result<(), Failure> {
    let row = Row {
        topic,
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
    };
    if !output.is_table() {
        return output.json(&row);
    }
    let key = row.key.as_ref().map_or("-", Text::show);
    let value = row.value.as_ref().map_or("-", Text::show);
    let line = format!("{}:{}  {key}  {value}\n", row.partition, row.offset);
    output.bytes(line.as_bytes())
}

fn parse_at(text: &str) -> Result<At, String> {
    let wrong = || format!("`{text}` is none of: start, end, OFFSET, -N, @UNIX_MS");
    match text {
        "start" => Ok(At::Start),
        "end" => Ok(At::End),
        _ => {
            if let Some(time) = text.strip_prefix('@') {
                return time.parse().map(At::Timestamp).map_err(|_| wrong());
            }
            if let Some(count) = text.strip_prefix('-') {
                return count
                    .parse::<u32>()
                    .map(|n| At::BeforeEnd(i64::from(n)))
                    .map_err(|_| wrong());
            }
            text.parse::<i64>().map(At::Offset).map_err(|_| wrong())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_to_begin_has_five_forms() {
        assert_eq!(parse_at("start"), Ok(At::Start));
        assert_eq!(parse_at("end"), Ok(At::End));
        assert_eq!(parse_at("42"), Ok(At::Offset(42)));
        assert_eq!(parse_at("-5"), Ok(At::BeforeEnd(5)));
        assert_eq!(
            parse_at("@1700000000000"),
            Ok(At::Timestamp(1_700_000_000_000))
        );
        assert!(parse_at("soon").is_err());
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_in_hexadecimal() {
        assert_eq!(Text::new(&[0xff, 0x00]).show(), "ff00");
    }
}
