//! Durations, sizes, counts and times as people write and read them.
//!
//! Whoever shows a value in words shows Kafka's own key and number beside it.

use jiff::Timestamp;
use stdx::ByteSize;

/// Milliseconds per unit of time, longest first; the first name is the one shown.
const UNITS: [(&str, f64); 9] = [
    ("w", 604_800_000.0),
    ("d", 86_400_000.0),
    ("hr", 3_600_000.0),
    ("h", 3_600_000.0),
    ("ms", 1.0),
    ("m", 60_000.0),
    ("s", 1_000.0),
    ("us", 0.001),
    ("ns", 0.000_001),
];

/// Reads a duration such as `3ms`, `10s`, `9m`, `1h`, `1.5h`, `7d`, `1m3ms`, in milliseconds.
pub fn parse_duration_ms(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, ms) = UNITS.iter().find(|(unit, _)| rest.starts_with(unit))?;
        total += number * ms;
        rest = &rest[unit.len()..];
    }
    (!text.is_empty() && total < i64::MAX as f64).then_some(total as i64)
}

/// A duration as it is typed, in the longest unit that divides it.
pub fn spell_duration_ms(ms: u64) -> String {
    let whole = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
    ];
    match whole
        .iter()
        .find(|(_, unit)| ms > 0 && ms.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", ms / unit),
        None => format!("{ms}ms"),
    }
}

/// For clap: a duration.
pub fn duration_argument(text: &str) -> Result<std::time::Duration, String> {
    parse_duration_ms(text)
        .and_then(|ms| u64::try_from(ms).ok())
        .map(std::time::Duration::from_millis)
        .ok_or_else(|| "write a duration such as 500ms, 10s, 1h30m or 7d".to_owned())
}

/// For clap: a number of bytes. A bare `k`, `M` or `G` means 1024s here: what is produced is
/// measured in powers of two.
pub fn bytes_argument(text: &str) -> Result<u64, String> {
    let spelled = match text.chars().last() {
        Some('k' | 'K' | 'm' | 'M' | 'g' | 'G') => format!("{text}iB"),
        _ => text.to_owned(),
    };
    spelled
        .parse::<ByteSize>()
        .map(ByteSize::bytes)
        .map_err(|error| error.to_string())
}

/// A count such as `500`, `10k`, `1.5M`, with an optional `/s` behind it.
pub fn count_argument(text: &str) -> Result<u64, String> {
    let bare = text.strip_suffix("/s").unwrap_or(text);
    let (number, scale) = match bare.chars().last() {
        Some('k' | 'K') => (&bare[..bare.len() - 1], 1e3),
        Some('m' | 'M') => (&bare[..bare.len() - 1], 1e6),
        _ => (bare, 1.0),
    };
    number
        .parse::<f64>()
        .ok()
        .filter(|number| number.is_finite() && *number >= 0.0)
        .map(|number| (number * scale) as u64)
        .ok_or_else(|| "write a number such as 500, 10k or 1.5M".to_owned())
}

/// A stretch of time in at most two units: `3 ms`, `4.2 s`, `5 min 3 s`, `2 h 5 min`, `9 d 2 h`.
pub fn duration(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    let two = |big: u64, name: &str, small: u64, small_name: &str| {
        if small == 0 {
            format!("{sign}{big} {name}")
        } else {
            format!("{sign}{big} {name} {small} {small_name}")
        }
    };
    match ms {
        0 => "0 s".to_owned(),
        1..1_000 => format!("{sign}{ms} ms"),
        1_000..60_000 if ms % 1_000 < 100 => format!("{sign}{} s", ms / 1_000),
        1_000..60_000 => format!("{sign}{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..3_600_000 => two(ms / 60_000, "min", ms % 60_000 / 1_000, "s"),
        3_600_000..86_400_000 => two(ms / 3_600_000, "h", ms % 3_600_000 / 60_000, "min"),
        _ => two(ms / 86_400_000, "d", ms % 86_400_000 / 3_600_000, "h"),
    }
}

/// Bytes with three digits: `812 B`, `4.1 kB`, `1.25 GB`.
pub fn bytes(count: u64) -> String {
    let (unit, scale) = match count {
        0..1_000 => return format!("{count} B"),
        1_000..1_000_000 => ("kB", 1e3),
        1_000_000..1_000_000_000 => ("MB", 1e6),
        1_000_000_000..1_000_000_000_000 => ("GB", 1e9),
        _ => ("TB", 1e12),
    };
    let value = count as f64 / scale;
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {unit}")
}

/// A number of things: `1 topic`, `2 topics`.
pub fn several(count: usize, thing: &str) -> String {
    match count {
        1 => format!("1 {thing}"),
        count => format!("{count} {thing}s"),
    }
}

/// A rate with as many digits as it deserves.
pub fn rate(per_second: f64) -> String {
    let digits = if per_second == 0.0 || per_second >= 100.0 {
        0
    } else if per_second >= 1.0 {
        1
    } else {
        3
    };
    format!("{per_second:.digits$}/s")
}

/// A Unix time in milliseconds as `2026-11-25 04:12:07.123Z`; nothing for the times Kafka uses as
/// "unknown".
pub fn time(ms: i64) -> Option<String> {
    if ms < 0 {
        return None;
    }
    let stamp = Timestamp::from_millisecond(ms).ok()?;
    Some(stamp.strftime("%Y-%m-%d %H:%M:%S.%3fZ").to_string())
}

/// What a configuration value means, where Kafka's number says it badly: `604800000` under
/// `retention.ms` is `7 d`.
pub fn config_value(key: &str, value: &str) -> Option<String> {
    let number: i64 = value.parse().ok()?;
    let unit = unit_of(key)?;
    match (unit, number) {
        (Unit::Millis | Unit::Seconds | Unit::Minutes | Unit::Hours, i64::MAX) => {
            Some("for ever".to_owned())
        }
        (Unit::Millis, 1_000..) => Some(duration(number)),
        (Unit::Seconds, 60..) => Some(duration(number.saturating_mul(1_000))),
        (Unit::Minutes, 60..) => Some(duration(number.saturating_mul(60_000))),
        (Unit::Hours, 24..) => Some(duration(number.saturating_mul(3_600_000))),
        (Unit::Bytes, i64::MAX) => Some("no limit".to_owned()),
        (Unit::Bytes, 1_000..) => Some(binary(u64::try_from(number).ok()?)),
        _ if number == -1 && key.contains("retention") => Some("no limit".to_owned()),
        _ => None,
    }
}

/// Turns words into Kafka's number by the key's unit: `retention.ms` takes `7d`. What is no
/// duration or size, or has a key without unit, stays as it is.
pub fn config_number(key: &str, value: &str) -> String {
    if value.parse::<f64>().is_ok() {
        return value.to_owned();
    }
    let scaled = |unit_ms: i64| {
        parse_duration_ms(value)
            .filter(|ms| ms % unit_ms == 0)
            .map(|ms| (ms / unit_ms).to_string())
    };
    let number = match unit_of(key) {
        Some(Unit::Millis) => scaled(1),
        Some(Unit::Seconds) => scaled(1_000),
        Some(Unit::Minutes) => scaled(60_000),
        Some(Unit::Hours) => scaled(3_600_000),
        Some(Unit::Bytes) => bytes_argument(value).ok().map(|bytes| bytes.to_string()),
        None => None,
    };
    number.unwrap_or_else(|| value.to_owned())
}

enum Unit {
    Millis,
    Seconds,
    Minutes,
    Hours,
    Bytes,
}

fn unit_of(key: &str) -> Option<Unit> {
    match key.rsplit('.').next()? {
        "ms" => Some(Unit::Millis),
        "seconds" => Some(Unit::Seconds),
        "minutes" => Some(Unit::Minutes),
        "hours" => Some(Unit::Hours),
        "bytes" => Some(Unit::Bytes),
        _ => None,
    }
}

/// Sizes of configuration keys are powers of 1024 where they divide.
fn binary(count: u64) -> String {
    let (unit, shift) = match count {
        _ if count.is_multiple_of(1 << 30) => ("GiB", 30),
        _ if count.is_multiple_of(1 << 20) => ("MiB", 20),
        _ if count.is_multiple_of(1 << 10) => ("KiB", 10),
        _ => return bytes(count),
    };
    format!("{} {unit}", count >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_rpk_reads_them_and_days_and_weeks_too() {
        // experience.md 3.2
        for (text, ms) in [
            ("3ms", 3),
            ("10s", 10_000),
            ("9m", 540_000),
            ("1h", 3_600_000),
            ("1hr", 3_600_000),
            ("1m3ms", 60_003),
            ("1.5h", 5_400_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
        ] {
            assert_eq!(parse_duration_ms(text), Some(ms), "{text}");
        }
        for wrong in ["", "5", "h", "1x", "-1h", "1h5"] {
            assert_eq!(parse_duration_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn time_is_told_in_at_most_two_units() {
        for (ms, words) in [
            (0, "0 s"),
            (12, "12 ms"),
            (4_260, "4.2 s"),
            (3_000, "3 s"),
            (60_000, "1 min"),
            (303_000, "5 min 3 s"),
            (7_500_000, "2 h 5 min"),
            (786_000_000, "9 d 2 h"),
            (-1_500, "-1.5 s"),
        ] {
            assert_eq!(duration(ms), words);
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (count, words) in [
            (0, "0 B"),
            (812, "812 B"),
            (4_130, "4.13 kB"),
            (41_300, "41.3 kB"),
            (1_250_000_000, "1.25 GB"),
        ] {
            assert_eq!(bytes(count), words);
        }
    }

    #[test]
    fn configuration_values_go_both_ways() {
        assert_eq!(config_number("retention.ms", "7d"), "604800000");
        assert_eq!(config_number("log.retention.hours", "7d"), "168");
        assert_eq!(config_number("segment.bytes", "64MiB"), "67108864");
        assert_eq!(config_number("segment.bytes", "64M"), "67108864");
        assert_eq!(config_number("cleanup.policy", "compact"), "compact");
        assert_eq!(config_number("retention.ms", "-1"), "-1");
        assert_eq!(
            config_value("retention.ms", "604800000").as_deref(),
            Some("7 d")
        );
        assert_eq!(
            config_value("segment.bytes", "1073741824").as_deref(),
            Some("1 GiB")
        );
        assert_eq!(
            config_value("retention.bytes", "-1").as_deref(),
            Some("no limit")
        );
        assert_eq!(config_value("num.partitions", "6"), None);
    }

    #[test]
    fn counts_have_thousands_and_rates_a_unit() {
        assert_eq!(count_argument("50k/s"), Ok(50_000));
        assert_eq!(count_argument("1.5M"), Ok(1_500_000));
        assert!(count_argument("many").is_err());
        assert_eq!(rate(0.25), "0.250/s");
        assert_eq!(rate(12345.6), "12346/s");
    }
}
