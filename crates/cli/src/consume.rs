//! `consume`: records of topics from a chosen place on, until the end or for ever.

use std::collections::BTreeMap;

use client::{Consumer, FetchOptions, Place, Reach};

use crate::output::Output;
use crate::place::{self, Edge, Span};
use crate::template::Template;
use crate::{Failure, Global, connect, lookup, record};

/// How `-o` and `-f` are written, behind `--help`.
const HELP: &str = "\
Places (-o): start, end, N, +N (behind the start), -N (before the end), N:M, :N, :end, and by time \
@T, @:T, @T:U where a time is Unix ms or s, 2026-11-25, RFC 3339, or a duration: -o @-1h is the last \
hour, -o @2026-11-25:1h an hour of that day.

Templates (-f): %t %k %v topic, key, value; %p %o %d partition, offset, timestamp; %h{ %k=%v} headers; \
%e %x %y leader epoch, producer id, producer epoch; %[ %| %] log start, last stable offset, high \
watermark; %a{compression}; %i running count; %T %K %V %H lengths. Text: {hex} {base64} {unpack[>Iq]}. \
Numbers: {hex32} {big64} {little16} {byte} {bool}. Times: %d{strftime[%F %T]} or %d{go[2006-01-02]}.";

/// Arguments of `consume`.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Topics to read.
    #[arg(required = true, value_name = "TOPIC", add = crate::complete::topics())]
    topics: Vec<String>,
    /// Where to begin, and where to stop.
    #[arg(
        short,
        long,
        default_value = "start",
        allow_hyphen_values = true,
        value_name = "PLACE",
        value_parser = place::parse
    )]
    offset: Span,
    /// Write each record by this template.
    #[arg(short, long, value_name = "TEMPLATE", allow_hyphen_values = true, value_parser = template)]
    format: Option<Template>,
    /// Read only this partition; may be repeated, or listed with commas.
    #[arg(short, long, value_delimiter = ',')]
    partition: Vec<i32>,
    /// Stop after this many records.
    #[arg(short = 'n', long)]
    num: Option<u64>,
    /// Stop at the end of each partition as it is now.
    #[arg(short, long)]
    exit: bool,
    /// Leave out records of transactions that are open or were aborted.
    #[arg(long)]
    read_committed: bool,
    /// Show the marks at the end of transactions too.
    #[arg(long)]
    print_control_records: bool,
}

/// For clap: `json` is what is written without a template anyway.
fn template(text: &str) -> Result<Template, String> {
    match text {
        "json" => Template::parse("").map_err(|_| "no template".to_owned()),
        text => Template::parse(text),
    }
}

pub(crate) async fn run(
    reach: &Reach,
    global: &Global,
    arguments: Arguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut client = connect::connect(reach, global).await?;
    let now = reach.clock.wall_ms();
    let mut starts: BTreeMap<Place, i64> = BTreeMap::new();
    let mut ends: BTreeMap<Place, i64> = BTreeMap::new();
    let span = match (arguments.exit, arguments.offset) {
        (true, span @ Span { until: None, .. }) => Span {
            until: Some(Edge::End),
            ..span
        },
        (_, span) => span,
    };
    // An offset that is not there any more, or not yet, is an error only where it was named.
    let exact = matches!(
        arguments.offset,
        Span {
            from: Edge::Offset(_),
            until: None
        }
    );
    for name in &arguments.topics {
        let topic = lookup::topic(&mut client, name).await?;
        let partitions = lookup::chosen(&topic, &arguments.partition)?;
        let failed = |error| not_read(name, error);
        let (from, until) = span
            .resolve(&mut client, name, &partitions, now)
            .await
            .map_err(failed)?;
        let from = match arguments.offset.from {
            Edge::Offset(offset) if exact => partitions.iter().map(|p| (*p, offset)).collect(),
            _ => from,
        };
        let place = |(partition, offset)| ((name.clone(), partition), offset);
        starts.extend(from.into_iter().map(place));
        ends.extend(until.unwrap_or_default().into_iter().map(place));
    }
    let bounded = span.until.is_some();
    if bounded {
        // What has nothing to read is not asked for; a named offset beyond the end still is.
        starts.retain(|place, start| {
            let end = ends.get(place).copied().unwrap_or(0);
            *start < end || exact && *start > end
        });
    }
    let options = FetchOptions {
        read_committed: arguments.read_committed,
        control: arguments.print_control_records,
        ..FetchOptions::default()
    };
    let mut consumer = Consumer::assign_places(client, starts, options);
    let mut left = arguments.num.unwrap_or(u64::MAX);
    let mut running = 0;
    let mut line = Vec::new();
    while left > 0 && !(bounded && consumer.positions().next().is_none()) {
        let records = consumer
            .poll()
            .await
            .map_err(|error| not_read(&arguments.topics.join(" "), error))?;
        for record in &records {
            let place = (record.batch.topic.to_string(), record.partition);
            let end = ends.get(&place).copied().unwrap_or(i64::MAX);
            if bounded && record.offset >= end {
                continue;
            }
            running += 1;
            match &arguments.format {
                Some(template) if !template.is_empty() => {
                    line.clear();
                    template.write(record, running, &mut line);
                    output.bytes(&line)?;
                }
                _ => record::show(record, arguments.topics.len() > 1, output)?,
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
        let done: Vec<Place> = consumer
            .positions()
            .filter(|(place, position)| ends.get(*place).is_some_and(|end| position >= end))
            .map(|(place, _)| place.clone())
            .collect();
        for place in done {
            consumer.drop_place(&place);
        }
        output.flush()?;
    }
    Ok(())
}

fn not_read(topic: &str, error: client::ClientError) -> Failure {
    let next = format!("duramen topic describe {topic}");
    connect::explain(format!("topic {topic}: not read"), error, next)
}
