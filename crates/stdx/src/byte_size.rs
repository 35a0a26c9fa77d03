//! Sizes in bytes, as people write and read them: `64MiB`, `5MB`, `1.5 GiB`, `4096`.
//!
//! `KiB, MiB, GiB, TiB` are powers of 1024, `kB (or KB), MB, GB, TB` powers of 1000. A bare `K`
//! or `M` is refused: half of the world reads it one way and half the other.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

/// Units, longest power first within a family; the first name is the one shown.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

impl ByteSize {
    /// `count` times 1024 bytes.
    pub const fn kib(count: u64) -> ByteSize {
        ByteSize(count << 10)
    }

    /// `count` times 1024² bytes.
    pub const fn mib(count: u64) -> ByteSize {
        ByteSize(count << 20)
    }

    /// `count` times 1024³ bytes.
    pub const fn gib(count: u64) -> ByteSize {
        ByteSize(count << 30)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteSizeError {
    text: String,
    reason: Reason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Number,
    Unit,
    Ambiguous,
    Range,
}

impl fmt::Display for ByteSizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = &self.text;
        match self.reason {
            Reason::Number => write!(
                f,
                "'{text}' is not a size: write a number and a unit, like 64MiB"
            ),
            Reason::Unit => write!(
                f,
                "'{text}' has no known unit: use B, kB, MB, GB, TB or KiB, MiB, GiB, TiB"
            ),
            Reason::Ambiguous => write!(
                f,
                "'{text}' could mean powers of 1000 or of 1024: write MB or MiB"
            ),
            Reason::Range => write!(
                f,
                "'{text}' is more than 16 EiB or no whole number of bytes"
            ),
        }
    }
}

impl std::error::Error for ByteSizeError {}

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<ByteSize, ByteSizeError> {
        let trimmed = text.trim();
        let error = |reason| ByteSizeError {
            text: trimmed.to_owned(),
            reason,
        };
        let digits_end = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits_end);
        let unit = unit.trim();
        let factor = match unit.to_ascii_lowercase().as_str() {
            "" => 1,
            "k" | "m" | "g" | "t" => return Err(error(Reason::Ambiguous)),
            lower => {
                UNITS
                    .iter()
                    .find(|(name, _)| name.eq_ignore_ascii_case(lower))
                    .ok_or_else(|| error(Reason::Unit))?
                    .1
            }
        };
        let number = number.replace('_', "");
        let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
        if whole.is_empty() || (fraction.is_empty() && number.contains('.')) {
            return Err(error(Reason::Number));
        }
        let out_of_range = || error(Reason::Range);
        let whole: u128 = parse_digits(whole).ok_or_else(out_of_range)?;
        // The fraction is exact: 1.5KiB is 1536 bytes, 0.3B is an error, not a rounding.
        let fraction = fraction.trim_end_matches('0');
        let scale = u32::try_from(fraction.len())
            .ok()
            .and_then(|digits| 10u128.checked_pow(digits))
            .ok_or_else(out_of_range)?;
        let part: u128 = if fraction.is_empty() {
            0
        } else {
            parse_digits(fraction).ok_or_else(out_of_range)?
        };
        let scaled = whole
            .checked_mul(scale)
            .and_then(|all| all.checked_add(part))
            .and_then(|all| all.checked_mul(u128::from(factor)))
            .ok_or_else(out_of_range)?;
        if scaled % scale != 0 {
            return Err(out_of_range());
        }
        u64::try_from(scaled / scale)
            .map(ByteSize)
            .map_err(|_| out_of_range())
    }
}

fn parse_digits(digits: &str) -> Option<u128> {
    digits.parse().ok()
}

impl fmt::Display for ByteSize {
    /// Exact if it can be short (`64MiB`, `5MB`), else rounded to one decimal of a power of 1024.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0;
        let exact = UNITS.iter().find(|(_, factor)| {
            bytes >= *factor && bytes.is_multiple_of(*factor) && bytes / factor < 10_000
        });
        if let Some((name, factor)) = exact {
            return f.pad(&format!("{}{name}", bytes / factor));
        }
        let binary = UNITS.iter().take(4).find(|(_, factor)| bytes >= *factor);
        match binary {
            None => f.pad(&format!("{bytes}B")),
            Some((name, factor)) => f.pad(&format!("{:.1}{name}", bytes as f64 / *factor as f64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u64, ByteSizeError> {
        text.parse().map(ByteSize::bytes)
    }

    #[test]
    fn sizes_are_read_in_both_families() {
        assert_eq!(parse("4096"), Ok(4096));
        assert_eq!(parse("64MiB"), Ok(64 << 20));
        assert_eq!(parse(" 64 mib "), Ok(64 << 20));
        assert_eq!(parse("5MB"), Ok(5_000_000));
        assert_eq!(parse("1KB"), Ok(1000));
        assert_eq!(parse("1.5KiB"), Ok(1536));
        assert_eq!(parse("0.25GB"), Ok(250_000_000));
        assert_eq!(parse("1_048_576"), Ok(1 << 20));
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("18446744073709551615"), Ok(u64::MAX));
    }

    #[test]
    fn wrong_sizes_say_what_to_write() {
        for (text, hint) in [
            ("", "like 64MiB"),
            ("MiB", "like 64MiB"),
            ("-1", "no known unit"),
            ("1.MiB", "like 64MiB"),
            ("12 parsecs", "no known unit"),
            ("64M", "MB or MiB"),
            ("1.2.3MB", "16 EiB"),
            ("0.3B", "whole number"),
            ("16777216TiB", "16 EiB"),
            ("99999999999999999999999999999999999999999", "16 EiB"),
        ] {
            let message = parse(text).expect_err(text).to_string();
            assert!(message.contains(hint), "{text}: {message}");
        }
    }

    #[test]
    fn sizes_are_shown_short() {
        for (bytes, shown) in [
            (0, "0B"),
            (1, "1B"),
            (1000, "1kB"),
            (1024, "1KiB"),
            (64 << 20, "64MiB"),
            (5_000_000, "5MB"),
            (1536, "1536B"),
            (123_456_789, "117.7MiB"),
            (u64::MAX, "16777216.0TiB"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), shown);
        }
    }

    #[test]
    fn a_round_size_survives_being_shown() {
        for size in [
            ByteSize::kib(4),
            ByteSize::mib(512),
            ByteSize::gib(1),
            ByteSize(7),
        ] {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
