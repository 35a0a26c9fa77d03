//! Java's `.properties` syntax, as far as Kafka's `server.properties` files use it.
//!
//! `key=value`, `key: value`, `key value`; `#` and `!` comments; a backslash joins lines and
//! escapes; later keys win. Source: java.util.Properties, load.

/// Parses the text into (line number, key, value), in order.
pub fn parse(text: &str) -> Vec<(usize, String, String)> {
    let mut pairs = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, first)) = lines.next() {
        let mut logical = first.trim_start().to_owned();
        if logical.is_empty() || logical.starts_with(['#', '!']) {
            continue;
        }
        while ends_with_odd_backslashes(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        pairs.push((number + 1, unescape(key), unescape(value)));
    }
    pairs
}

fn ends_with_odd_backslashes(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// Splits at the first unescaped `=`, `:` or white space, and drops the separator.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == '=' || c == ':' || c.is_whitespace() {
            let rest = line[at..].trim_start();
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start());
        }
    }
    (line, "")
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let decoded = u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                match decoded {
                    Some(decoded) => plain.push(decoded),
                    None => plain.push_str(&format!("\\u{digits}")),
                }
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text)
            .into_iter()
            .map(|(_, key, value)| (key, value))
            .collect()
    }

    #[test]
    fn kafkas_sample_lines_parse() {
        let text =
            "# comment\n\nnode.id=1\nlog.dirs = /tmp/a,/tmp/b\nlisteners: PLAINTEXT://:9092\n! x";
        assert_eq!(
            pairs(text),
            [
                ("node.id".into(), "1".into()),
                ("log.dirs".into(), "/tmp/a,/tmp/b".into()),
                ("listeners".into(), "PLAINTEXT://:9092".into()),
            ]
        );
    }

    #[test]
    fn a_backslash_joins_lines_and_escapes_separators() {
        assert_eq!(pairs("a\\=b = c\\\n   d\n"), [("a=b".into(), "cd".into())]);
        assert_eq!(pairs("k=\\u0041\\t!"), [("k".into(), "A\t!".into())]);
    }

    #[test]
    fn a_key_without_value_has_an_empty_one_and_line_numbers_count_from_one() {
        assert_eq!(parse("\nflag\n"), [(2, "flag".into(), String::new())]);
    }
}
