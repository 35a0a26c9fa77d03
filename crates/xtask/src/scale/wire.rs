//! The few requests the measurement needs, as bytes: spelled out here, so that this chore stays
//! apart from the code it measures.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const PRODUCE: i16 = 0;
const API_VERSIONS: i16 = 18;
const CREATE_TOPICS: i16 = 19;
const DELETE_TOPICS: i16 = 20;

/// A request may take this long on a loaded machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// One connection; one request at a time.
pub struct Connection {
    stream: TcpStream,
    correlation: i32,
}

impl Connection {
    /// Connects to a broker on this machine.
    pub fn open(port: u16) -> io::Result<Connection> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        Ok(Connection {
            stream,
            correlation: 0,
        })
    }

    /// Asks for the versions: the cheapest request there is.
    pub fn ask_versions(&mut self) -> io::Result<()> {
        self.call(API_VERSIONS, 0, &[]).map(drop)
    }

    /// Creates topics of one replica. How many were refused.
    pub fn create_topics(&mut self, names: &[String], partitions: i32) -> io::Result<usize> {
        let mut body = Vec::new();
        put_i32(&mut body, names.len() as i32);
        for name in names {
            put_text(&mut body, name);
            put_i32(&mut body, partitions);
            put_i16(&mut body, 1);
            put_i32(&mut body, 0);
            put_i32(&mut body, 0);
        }
        put_i32(&mut body, 60_000);
        body.push(0);
        let answer = self.call(CREATE_TOPICS, 2, &body)?;
        let mut at = Cursor(&answer[4..]);
        let mut refused = 0;
        for _ in 0..at.i32()? {
            at.text()?;
            let code = at.i16()?;
            at.text()?;
            refused += usize::from(code != 0);
        }
        Ok(refused)
    }

    /// Deletes topics. How many were refused.
    pub fn delete_topics(&mut self, names: &[String]) -> io::Result<usize> {
        let mut body = Vec::new();
        put_i32(&mut body, names.len() as i32);
        for name in names {
            put_text(&mut body, name);
        }
        put_i32(&mut body, 60_000);
        let answer = self.call(DELETE_TOPICS, 1, &body)?;
        let mut at = Cursor(&answer[4..]);
        let mut refused = 0;
        for _ in 0..at.i32()? {
            at.text()?;
            refused += usize::from(at.i16()? != 0);
        }
        Ok(refused)
    }

    /// Appends one batch to each of the given partitions, acks=all. How many were refused.
    pub fn produce(&mut self, places: &[(&str, i32)], batch: &[u8]) -> io::Result<usize> {
        let mut body = Vec::with_capacity(places.len() * (batch.len() + 64) + 64);
        put_i16(&mut body, -1);
        put_i16(&mut body, -1);
        put_i32(&mut body, 60_000);
        put_i32(&mut body, places.len() as i32);
        for (topic, partition) in places {
            put_text(&mut body, topic);
            put_i32(&mut body, 1);
            put_i32(&mut body, *partition);
            put_i32(&mut body, batch.len() as i32);
            body.extend_from_slice(batch);
        }
        let answer = self.call(PRODUCE, 3, &body)?;
        let mut at = Cursor(&answer);
        let mut refused = 0;
        for _ in 0..at.i32()? {
            at.text()?;
            for _ in 0..at.i32()? {
                at.i32()?;
                refused += usize::from(at.i16()? != 0);
                at.take(16)?;
            }
        }
        Ok(refused)
    }

    fn call(&mut self, api: i16, version: i16, body: &[u8]) -> io::Result<Vec<u8>> {
        self.correlation += 1;
        let mut frame = Vec::with_capacity(body.len() + 32);
        put_i32(&mut frame, 0);
        put_i16(&mut frame, api);
        put_i16(&mut frame, version);
        put_i32(&mut frame, self.correlation);
        put_text(&mut frame, "scale");
        frame.extend_from_slice(body);
        let length = frame.len() as i32 - 4;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame)?;
        let mut head = [0; 8];
        self.stream.read_exact(&mut head)?;
        let length = i32::from_be_bytes([head[0], head[1], head[2], head[3]]);
        let mut answer = vec![0; usize::try_from(length - 4).unwrap_or(0)];
        self.stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// A record batch (magic 2) with one record whose value is `bytes` long.
pub fn batch(bytes: usize) -> Vec<u8> {
    let mut record = vec![0, 0, 0, 1];
    put_varint(&mut record, bytes as i64);
    record.resize(record.len() + bytes, b'x');
    record.push(0);
    let mut counted = Vec::new();
    put_i16(&mut counted, 0);
    put_i32(&mut counted, 0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64);
    counted.extend_from_slice(&now.to_be_bytes());
    counted.extend_from_slice(&now.to_be_bytes());
    counted.extend_from_slice(&(-1_i64).to_be_bytes());
    put_i16(&mut counted, -1);
    put_i32(&mut counted, -1);
    put_i32(&mut counted, 1);
    put_varint(&mut counted, record.len() as i64);
    counted.extend_from_slice(&record);
    let mut out = vec![0; 8];
    put_i32(&mut out, counted.len() as i32 + 9);
    put_i32(&mut out, -1);
    out.push(2);
    out.extend_from_slice(&crc32c(&counted).to_be_bytes());
    out.extend_from_slice(&counted);
    out
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn put_i16(out: &mut Vec<u8>, value: i16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_i32(out: &mut Vec<u8>, value: i32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_i16(out, text.len() as i16);
    out.extend_from_slice(text.as_bytes());
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut left = (value << 1 ^ value >> 63) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let found = self.0.split_at_checked(count);
        let (taken, rest) = found.ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> io::Result<i16> {
        let bytes = self.take(2)?;
        Ok(i16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn i32(&mut self) -> io::Result<i32> {
        let bytes = self.take(4)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn text(&mut self) -> io::Result<()> {
        let length = self.i16()?;
        self.take(usize::try_from(length).unwrap_or(0)).map(drop)
    }
}
