//! Patterns of topic names in RE2's syntax, which KIP-848 promises to clients.
//!
//! The library underneath matches in linear time, as RE2 does, but reads a few things otherwise.
//! So a pattern is first rewritten: what RE2 takes literally is escaped, what RE2 does not know is
//! refused. Topic names are ASCII, so the differences between ASCII and Unicode classes cannot be
//! seen.

use regex::{Regex, RegexBuilder};

/// Bytes a compiled pattern may take. A thousand repetitions of a letter take a tenth of it.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Longest pattern, bytes; RE2 has no such limit, a topic name has 249 bytes.
const PATTERN_BYTES_MAX: usize = 16 * 1024;

/// RE2's own limit of repetitions.
const REPETITIONS_MAX: u32 = 1_000;

/// Groups in groups; compiling is recursive.
const NESTING_MAX: u32 = 100;

/// A pattern that is matched against whole names.
#[derive(Debug)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn new(text: &str) -> Result<Pattern, String> {
        if text.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "it has {} bytes, more than {PATTERN_BYTES_MAX}",
                text.len()
            ));
        }
        let rewritten = rewrite(text)?;
        // Alone first: a stray parenthesis must not pair with ours.
        build(&rewritten)?;
        build(&format!(r"\A(?:{rewritten})\z")).map(Pattern)
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

fn build(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text)
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("it takes more than {limit} bytes when compiled")
            }
            // The library points at the place in several lines; the last tells what is wrong.
            other => {
                let words = other.to_string();
                let last = words.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            }
        })
}

/// From RE2's syntax to the library's.
fn rewrite(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    // What stands just before: nothing to repeat again, an operator, or one that is lazy.
    let mut operators = 0;
    while let Some(c) = rest.chars().next() {
        let before = std::mem::take(&mut operators);
        if let Some(after) = rest.strip_prefix(r"\Q") {
            // Literal up to \E, or to the end.
            let (literal, after) = after.split_once(r"\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(literal));
            rest = after;
        } else if c == '\\' {
            rest = escape(rest, &mut out)?;
        } else if c == '[' {
            rest = class(rest, &mut out)?;
        } else if let Some(flags) = rest.strip_prefix("(?") {
            check_group(flags)?;
            out.push_str("(?");
            rest = flags;
        } else if c == '{' {
            let length = out.len();
            rest = repetition(rest, &mut out)?;
            if !out[length..].starts_with('\\') {
                operators = operator(before, c)?;
            }
        } else {
            if matches!(c, '*' | '+' | '?') {
                operators = operator(before, c)?;
            }
            out.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok(out)
}

/// RE2 repeats once: an operator may only be made lazy, not be repeated itself.
fn operator(before: usize, c: char) -> Result<usize, String> {
    match (before, c) {
        (0, _) => Ok(1),
        (1, '?') => Ok(2),
        _ => Err(format!("invalid nested repetition operator: `{c}`")),
    }
}

/// An escape outside or inside of a class; `rest` begins with the backslash.
fn escape<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, String> {
    let Some(c) = rest[1..].chars().next() else {
        return Err("trailing backslash at end of expression".into());
    };
    let after = &rest[1 + c.len_utf8()..];
    match c {
        // One byte, which may be half a character: RE2 in Java does not know it either.
        'C' => return Err("invalid escape sequence: `\\C`".into()),
        // RE2 has octal and hexadecimal numbers; the library only the latter.
        '0'..='7' => {
            let digits: String = rest[1..]
                .chars()
                .take(3)
                .take_while(|c| ('0'..='7').contains(c))
                .collect();
            if c != '0' && digits.len() < 2 {
                return Err(format!("invalid escape sequence: `\\{c}`"));
            }
            let number = u32::from_str_radix(&digits, 8).unwrap_or(0);
            out.push_str(&format!(r"\x{{{number:x}}}"));
            return Ok(&rest[1 + digits.len()..]);
        }
        // Word boundaries of other dialects.
        '<' | '>' => out.push(c),
        // `\b{start}` and the like are the library's own.
        'b' if after.starts_with('{') => {
            out.push_str(r"\b(?:)");
        }
        'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' | 'd' | 'D' | 's' | 'S' | 'w' | 'W' | 'p' | 'P'
        | 'A' | 'b' | 'B' | 'z' => {
            out.push('\\');
            out.push(c);
        }
        c if c.is_ascii_alphanumeric() => {
            return Err(format!("invalid escape sequence: `\\{c}`"));
        }
        c => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
    }
    Ok(after)
}

/// A bracketed class: in RE2 it knows ranges, escapes and `[:name:]`, but no classes in classes and
/// no set operations.
fn class<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, String> {
    out.push('[');
    let mut rest = &rest[1..];
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    loop {
        let Some(c) = rest.chars().next() else {
            return Err("missing closing ]".into());
        };
        let after = &rest[c.len_utf8()..];
        match c {
            ']' if !first => {
                out.push(']');
                return Ok(after);
            }
            '[' => {
                if let Some(end) = rest.strip_prefix("[:").and_then(|named| named.find(":]")) {
                    let length = "[:".len() + end + ":]".len();
                    out.push_str(&rest[..length]);
                    rest = &rest[length..];
                    first = false;
                    continue;
                }
                out.push_str(r"\[");
            }
            ']' => out.push_str(r"\]"),
            '\\' => {
                rest = escape(rest, out)?;
                first = false;
                continue;
            }
            '&' | '~' | '^' => {
                out.push('\\');
                out.push(c);
            }
            // Two are the library's difference; a range may begin with one.
            '-' if after.starts_with('-') => out.push_str(r"\-"),
            c => out.push(c),
        }
        first = false;
        rest = after;
    }
}

/// What may follow `(?`: flags, a name, nothing else.
fn check_group(flags: &str) -> Result<(), String> {
    if flags.starts_with("P<")
        || flags.starts_with('<') && !flags.starts_with("<=") && !flags.starts_with("<!")
    {
        return Ok(());
    }
    let end = flags.find([':', ')']).unwrap_or(flags.len());
    if flags[..end].chars().all(|c| "imsU-".contains(c)) {
        return Ok(());
    }
    Err(format!(
        "invalid or unsupported Perl syntax: `(?{}`",
        flags.chars().take(2).collect::<String>()
    ))
}

/// `{2}`, `{2,}`, `{2,3}` repeat; any other brace is itself.
fn repetition<'a>(rest: &'a str, out: &mut String) -> Result<&'a str, String> {
    let inner = rest[1..].split_once('}').map(|(inner, _)| inner);
    let numbers = inner.map(|inner| inner.split_once(',').unwrap_or((inner, "")));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match (inner, numbers) {
        (Some(inner), Some((from, to))) if digits(from) && (to.is_empty() || digits(to)) => {
            for number in [from, to].into_iter().filter(|number| !number.is_empty()) {
                if number
                    .parse::<u32>()
                    .map_or(true, |count| count > REPETITIONS_MAX)
                {
                    return Err(format!("invalid repeat count: `{{{inner}}}`"));
                }
            }
            out.push_str(&rest[..inner.len() + 2]);
            Ok(&rest[inner.len() + 2..])
        }
        _ => {
            out.push_str(r"\{");
            Ok(&rest[1..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn matches(pattern: &str, name: &str) -> bool {
        Pattern::new(pattern).expect(pattern).matches(name)
    }

    #[test]
    fn a_pattern_means_whole_names() {
        // rule N5
        assert!(matches("orders.*", "orders-eu"));
        assert!(!matches("orders", "orders-eu"));
        assert!(!matches("rder", "orders"));
        assert!(
            matches("a|ab", "ab"),
            "an alternative may not cut the name short"
        );
        assert!(matches("(?i)ORDERS", "orders"));
        assert!(!matches("", "orders"));
    }

    #[test]
    fn what_re2_takes_literally_is_literal() {
        assert!(matches(r"\Qa.b[\E.", "a.b[x"));
        assert!(matches(r"a{", "a{"));
        assert!(matches(r"a{,2}", "a{,2}"));
        assert!(matches(r"[a&&b]+", "a&&b"));
        assert!(matches(r"[a[b]+", "a[b"));
        assert!(matches(r"[]a]+", "]a]"));
        assert!(matches(r"[^]a]+", "bc"));
        assert!(matches(r"[!--]+", "!-"));
        assert!(matches(r"[[:alpha:]_]+", "Ab_"));
        assert!(matches(r"\_\-\.", "_-."));
        assert!(matches(r"\101", "A"));
        assert!(matches(r"\pL+\d", "ab1"));
    }

    #[test]
    fn what_re2_does_not_know_is_refused_with_words() {
        for bad in [
            "(",
            ")",
            "a)(b",
            "[",
            "[a",
            "*",
            "a**",
            r"\",
            r"\1",
            r"\8",
            r"\y",
            "(?=a)",
            "(?!a)",
            "(?<=a)b",
            "(?x)a",
            "a{1001}",
            "a{2,1}",
            r"\C",
            "[b-a]",
            "(?P<n>a)(?P<n>b)",
            r"\p{Nothing}",
        ] {
            let error = Pattern::new(bad).err();
            assert!(error.is_some_and(|words| !words.is_empty()), "{bad}");
        }
    }

    #[test]
    fn a_pattern_cannot_take_much_memory() {
        assert!(Pattern::new("((a{1000}){1000}){1000}").is_err());
        assert!(Pattern::new(&"(".repeat(10_000)).is_err());
        assert!(Pattern::new(&"a".repeat(17_000)).is_err());
        let nested = format!("{}a{}", "(".repeat(5_000), ")".repeat(5_000));
        assert!(Pattern::new(&nested).is_err());
    }
}
