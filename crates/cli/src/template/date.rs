//! Timestamps by strftime, and by Go's layouts, which are turned into strftime's.

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

/// Go's reference time, piece by piece, with what writes the same here; a longer piece stands
/// before its beginnings. The zone is UTC, as everywhere in Kafka.
const GO: [(&str, &str); 29] = [
    ("January", "%B"),
    ("Jan", "%b"),
    ("Monday", "%A"),
    ("Mon", "%a"),
    ("MST", "UTC"),
    ("2006", "%Y"),
    (".000000000", ".%9f"),
    (".000000", ".%6f"),
    (".000", ".%3f"),
    (".999999999", "%.f"),
    (".999999", "%.6f"),
    (".999", "%.3f"),
    ("Z07:00", "Z"),
    ("Z0700", "Z"),
    ("-07:00", "+00:00"),
    ("-0700", "+0000"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("_2", "%e"),
    ("1", "%-m"),
    ("2", "%-d"),
    ("3", "%-I"),
];

/// The format of strftime that writes what this layout of Go's writes.
pub fn from_go(layout: &str) -> String {
    let mut format = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        match GO.iter().find(|(piece, _)| rest.starts_with(piece)) {
            Some((piece, same)) => {
                format.push_str(same);
                rest = &rest[piece.len()..];
            }
            None => {
                if c == '%' {
                    format.push('%');
                }
                format.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    format
}

/// Refuses a format that cannot be written.
pub fn check(format: &str) -> Result<(), String> {
    let epoch = Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC);
    strtime::format(format, &epoch)
        .map(drop)
        .map_err(|error| format!("the timestamp format `{format}`: {error}"))
}

/// Writes a time; the format was checked.
pub fn write(time: Timestamp, format: &str) -> String {
    strtime::format(format, &time.to_zoned_datetime(TimeZone::UTC)).unwrap_or_default()
}
