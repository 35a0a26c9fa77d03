//! How a record is written: the grammar of `-f`, as rpk has it.
//!
//! Percent escapes name what is written, braces behind them say how:
//!
//! | escape | writes | modifiers |
//! |---|---|---|
//! | `%t` `%k` `%v` | topic, key, value | `{hex}` `{base64}` `{base64raw}` `{unpack[…]}` |
//! | `%T` `%K` `%V` `%H` | their lengths in raw bytes, number of headers | numbers |
//! | `%h{…}` | the inner template for each header, with `%k %v %K %V` | |
//! | `%p %o %e %x %y` | partition, offset, leader epoch, producer id and epoch | numbers |
//! | `%d` | timestamp | numbers, `{strftime[…]}`, `{go[…]}` |
//! | `%[` `%\|` `%]` | log start, last stable offset, high watermark | numbers |
//! | `%a{…}` | `compression`, `timestamp-type`, `transactional-bit`, `control-bit` | `;` and a number modifier |
//! | `%i` | how many records were written, this one included | numbers |
//! | `%%` `%{` `%}` | the sign itself | |
//!
//! Numbers: `ascii` (as without), `hex64` to `hex4`, `big64` to `big8`, `little64` to `little8`,
//! `byte`, `bool`. Escapes: `\t \n \r \\ \xNN`.

use client::{Compression, Record};
use jiff::Timestamp;

mod date;
mod pack;

pub use pack::Unpack;

/// A template, ready to write records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Text(Field, Text),
    Length(Field, Number),
    Headers(Template),
    Number(Count, Number),
    /// A timestamp by a format of strftime.
    Date(String),
    Attribute(Attribute, Option<Number>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Topic,
    Key,
    Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Raw,
    Hex,
    Base64 { padded: bool },
    Unpack(Unpack),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Headers,
    Partition,
    Offset,
    LeaderEpoch,
    Timestamp,
    ProducerId,
    ProducerEpoch,
    LogStart,
    LastStable,
    HighWatermark,
    Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    Compression,
    TimestampType,
    Transactional,
    Control,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Ascii,
    /// So many hexadecimal digits.
    Hex(usize),
    /// So many bytes, the highest first.
    Big(usize),
    /// So many bytes, the lowest first.
    Little(usize),
    Bool,
}

/// What a template draws on.
struct Source<'a> {
    topic: &'a [u8],
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    record: &'a Record,
    running: u64,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed there.
    pub fn parse(text: &str) -> Result<Template, String> {
        let mut parser = Parser { rest: text };
        parser.template()
    }

    /// Whether it writes nothing at all.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Writes a record, the `running`th.
    pub fn write(&self, record: &Record, running: u64, out: &mut Vec<u8>) {
        let source = Source {
            topic: record.batch.topic.as_bytes(),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            record,
            running,
        };
        self.write_from(&source, out);
    }

    fn write_from(&self, source: &Source<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            part.write(source, out);
        }
    }
}

impl Part {
    fn write(&self, source: &Source<'_>, out: &mut Vec<u8>) {
        match self {
            Part::Literal(bytes) => out.extend_from_slice(bytes),
            Part::Text(field, how) => how.write(source.field(*field), out),
            Part::Length(field, how) => how.write(source.field(*field).len() as i64, out),
            Part::Headers(inner) => {
                for (name, value) in &source.record.headers {
                    let header = Source {
                        key: Some(name.as_bytes()),
                        value: value.as_deref(),
                        ..*source
                    };
                    inner.write_from(&header, out);
                }
            }
            Part::Number(count, how) => how.write(source.count(*count), out),
            Part::Date(format) => {
                if let Ok(time) = Timestamp::from_millisecond(source.record.timestamp_ms) {
                    out.extend_from_slice(date::write(time, format).as_bytes());
                }
            }
            Part::Attribute(attribute, how) => source.attribute(*attribute, *how, out),
        }
    }
}

impl Source<'_> {
    fn field(&self, field: Field) -> &[u8] {
        match field {
            Field::Topic => self.topic,
            Field::Key => self.key.unwrap_or_default(),
            Field::Value => self.value.unwrap_or_default(),
        }
    }

    fn count(&self, count: Count) -> i64 {
        let batch = &self.record.batch;
        match count {
            Count::Headers => self.record.headers.len() as i64,
            Count::Partition => self.record.partition.into(),
            Count::Offset => self.record.offset,
            Count::LeaderEpoch => batch.leader_epoch.into(),
            Count::Timestamp => self.record.timestamp_ms,
            Count::ProducerId => batch.producer_id,
            Count::ProducerEpoch => batch.producer_epoch.into(),
            Count::LogStart => batch.log_start,
            Count::LastStable => batch.last_stable,
            Count::HighWatermark => batch.high_watermark,
            Count::Running => i64::try_from(self.running).unwrap_or(i64::MAX),
        }
    }

    fn attribute(&self, attribute: Attribute, how: Option<Number>, out: &mut Vec<u8>) {
        let batch = &self.record.batch;
        let number = match attribute {
            Attribute::Compression => batch.compression as i64,
            Attribute::TimestampType => i64::from(batch.log_append_time),
            Attribute::Transactional => i64::from(batch.transactional),
            Attribute::Control => i64::from(batch.control),
        };
        match (how, attribute) {
            (Some(how), _) => how.write(number, out),
            (None, Attribute::Compression) => {
                let name = match batch.compression {
                    Compression::None => "none",
                    Compression::Gzip => "gzip",
                    Compression::Snappy => "snappy",
                    Compression::Lz4 => "lz4",
                    Compression::Zstd => "zstd",
                };
                out.extend_from_slice(name.as_bytes());
            }
            (None, _) => Number::Ascii.write(number, out),
        }
    }
}

impl Text {
    fn write(&self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Text::Raw => out.extend_from_slice(bytes),
            Text::Hex => {
                for byte in bytes {
                    out.extend_from_slice(format!("{byte:02x}").as_bytes());
                }
            }
            Text::Base64 { padded } => pack::base64(bytes, *padded, out),
            Text::Unpack(unpack) => unpack.write(bytes, out),
        }
    }
}

impl Number {
    fn parse(name: &str) -> Option<Number> {
        let bits = |prefix: &str| {
            let bits: usize = name.strip_prefix(prefix)?.parse().ok()?;
            [4, 8, 16, 32, 64].contains(&bits).then_some(bits)
        };
        match name {
            "" | "ascii" => Some(Number::Ascii),
            "byte" => Some(Number::Big(1)),
            "bool" => Some(Number::Bool),
            _ => bits("hex")
                .map(|bits| Number::Hex(bits / 4))
                .or_else(|| bits("big").filter(|b| *b > 4).map(|b| Number::Big(b / 8)))
                .or_else(|| {
                    bits("little")
                        .filter(|b| *b > 4)
                        .map(|b| Number::Little(b / 8))
                }),
        }
    }

    fn write(self, number: i64, out: &mut Vec<u8>) {
        match self {
            Number::Ascii => out.extend_from_slice(number.to_string().as_bytes()),
            Number::Hex(digits) => {
                let all = format!("{number:016x}");
                out.extend_from_slice(&all.as_bytes()[16 - digits..]);
            }
            Number::Big(bytes) => out.extend_from_slice(&number.to_be_bytes()[8 - bytes..]),
            Number::Little(bytes) => out.extend_from_slice(&number.to_le_bytes()[..bytes]),
            Number::Bool => {
                out.extend_from_slice(if number == 0 { b"false" } else { b"true" });
            }
        }
    }
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn template(&mut self) -> Result<Template, String> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        while let Some(c) = self.next() {
            match c {
                '\\' => literal.push(self.escape()?),
                '%' => match self.next() {
                    Some(sign @ ('%' | '{' | '}')) => literal.push(sign as u8),
                    Some(name) => {
                        if !literal.is_empty() {
                            parts.push(Part::Literal(std::mem::take(&mut literal)));
                        }
                        parts.push(self.part(name)?);
                    }
                    None => return Err("a template cannot end with %: write %%".to_owned()),
                },
                c => literal.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Template { parts })
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn escape(&mut self) -> Result<u8, String> {
        match self.next() {
            Some('t') => Ok(b'\t'),
            Some('n') => Ok(b'\n'),
            Some('r') => Ok(b'\r'),
            Some('\\') => Ok(b'\\'),
            Some('x') => {
                let digits = self.rest.get(..2);
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let byte = byte.ok_or("\\x needs two hexadecimal digits behind it")?;
                self.rest = &self.rest[2..];
                Ok(byte)
            }
            _ => Err("a backslash stands before t, n, r, \\ or xNN".to_owned()),
        }
    }

    fn part(&mut self, name: char) -> Result<Part, String> {
        let number = |parser: &mut Self, count| parser.number(name).map(|n| Part::Number(count, n));
        match name {
            't' => self.text(name).map(|how| Part::Text(Field::Topic, how)),
            'k' => self.text(name).map(|how| Part::Text(Field::Key, how)),
            'v' => self.text(name).map(|how| Part::Text(Field::Value, how)),
            'T' => self.number(name).map(|how| Part::Length(Field::Topic, how)),
            'K' => self.number(name).map(|how| Part::Length(Field::Key, how)),
            'V' => self.number(name).map(|how| Part::Length(Field::Value, how)),
            'H' => number(self, Count::Headers),
            'p' => number(self, Count::Partition),
            'o' => number(self, Count::Offset),
            'e' => number(self, Count::LeaderEpoch),
            'x' => number(self, Count::ProducerId),
            'y' => number(self, Count::ProducerEpoch),
            '[' => number(self, Count::LogStart),
            '|' => number(self, Count::LastStable),
            ']' => number(self, Count::HighWatermark),
            'i' => number(self, Count::Running),
            'd' => self.date(),
            'h' => {
                let inner = self
                    .braces()?
                    .ok_or("%h needs a template in braces, such as %h{ %k=%v}")?;
                Template::parse(inner).map(Part::Headers)
            }
            'a' => self.attribute(),
            other => Err(format!(
                "%{other} is nothing: t k v h p o d e x y a i T K V H [ | ] % {{ }} are"
            )),
        }
    }

    /// What stands in the braces that follow, if any do; braces inside are counted, and a percent
    /// sign takes the meaning from the one behind it.
    fn braces(&mut self) -> Result<Option<&'t str>, String> {
        let Some(inside) = self.rest.strip_prefix('{') else {
            return Ok(None);
        };
        let mut depth = 1;
        let mut before = ' ';
        for (at, c) in inside.char_indices() {
            match c {
                '{' if before != '%' => depth += 1,
                '}' if before != '%' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.rest = &inside[at + 1..];
                return Ok(Some(&inside[..at]));
            }
            before = if before == '%' { ' ' } else { c };
        }
        Err("a brace is opened and never closed; a literal one is %{".to_owned())
    }

    fn number(&mut self, name: char) -> Result<Number, String> {
        let modifier = self.braces()?.unwrap_or_default();
        Number::parse(modifier).ok_or_else(|| {
            format!(
                "%{name}{{{modifier}}}: a number is ascii, hex64 to hex4, big64 to big8, \
                 little64 to little8, byte or bool"
            )
        })
    }

    fn text(&mut self, name: char) -> Result<Text, String> {
        let modifier = self.braces()?.unwrap_or_default();
        match modifier {
            "" => Ok(Text::Raw),
            "hex" => Ok(Text::Hex),
            "base64" => Ok(Text::Base64 { padded: true }),
            "base64raw" => Ok(Text::Base64 { padded: false }),
            _ => match modifier.strip_prefix("unpack").map(unwrap) {
                Some(Some(inner)) => Unpack::parse(inner).map(Text::Unpack),
                _ => Err(format!(
                    "%{name}{{{modifier}}}: a text is hex, base64, base64raw or unpack[…]"
                )),
            },
        }
    }

    fn date(&mut self) -> Result<Part, String> {
        let modifier = self.braces()?.unwrap_or_default();
        let number = Number::parse(modifier).map(|n| Part::Number(Count::Timestamp, n));
        if let Some(part) = number {
            return Ok(part);
        }
        let wrapped = |kind: &str| modifier.strip_prefix(kind).and_then(unwrap);
        let format = match (wrapped("strftime"), wrapped("go")) {
            (Some(format), _) => format.to_owned(),
            (None, Some(layout)) => date::from_go(layout),
            (None, None) => {
                return Err(format!(
                    "%d{{{modifier}}}: a timestamp is a number modifier, strftime[%F] or \
                     go[2006-01-02]"
                ));
            }
        };
        date::check(&format)?;
        Ok(Part::Date(format))
    }

    fn attribute(&mut self) -> Result<Part, String> {
        let modifier = self.braces()?.unwrap_or_default();
        let (name, how) = match modifier.split_once(';') {
            Some((name, how)) => (name, Some(how)),
            None => (modifier, None),
        };
        let attribute = match name {
            "compression" => Some(Attribute::Compression),
            "timestamp-type" => Some(Attribute::TimestampType),
            "transactional-bit" => Some(Attribute::Transactional),
            "control-bit" => Some(Attribute::Control),
            _ => None,
        };
        // `;number` is rpk's way to say "as a number, in digits".
        let how = how.map(|how| match how {
            "number" => Some(Number::Ascii),
            how => Number::parse(how),
        });
        match (attribute, how) {
            (Some(attribute), None) => Ok(Part::Attribute(attribute, None)),
            (Some(attribute), Some(Some(how))) => Ok(Part::Attribute(attribute, Some(how))),
            _ => Err(format!(
                "%a{{{modifier}}}: an attribute is compression, timestamp-type, \
                 transactional-bit or control-bit, with ;NUMBER behind it if wanted"
            )),
        }
    }
}

/// What stands in any number of `[`, `{` or `#` and as many of their counterparts.
fn unwrap(text: &str) -> Option<&str> {
    let open = text.chars().next()?;
    let close = match open {
        '[' => ']',
        '{' => '}',
        '#' => '#',
        _ => return None,
    };
    let count = text.chars().take_while(|c| *c == open).count();
    let inner = text.get(count..text.len().checked_sub(count)?)?;
    text[count + inner.len()..]
        .chars()
        .all(|c| c == close)
        .then_some(inner)
}

#[cfg(test)]
mod tests;
