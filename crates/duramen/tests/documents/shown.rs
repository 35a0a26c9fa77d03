//! Whether what a page shows is what a program said.
//!
//! Lines are equal, without spaces at their ends. `…` in a line stands for any text with the spaces around
//! it; a line that is only `…` for any number of lines.

/// Stands for what differs from run to run.
pub const ANY: &str = "…";

/// Whether these lines are all that was said.
pub fn matches(shown: &[String], said: &[String]) -> bool {
    // reached[n]: what is shown so far stands for exactly the first n lines.
    let mut reached = vec![false; said.len() + 1];
    reached[0] = true;
    for line in shown {
        let mut next = vec![false; said.len() + 1];
        if line == ANY {
            let mut any = false;
            for (at, reached) in reached.iter().enumerate() {
                any |= reached;
                next[at] = any;
            }
        } else {
            for at in 0..said.len() {
                next[at + 1] = reached[at] && line_matches(line, &said[at]);
            }
        }
        reached = next;
    }
    reached[said.len()]
}

/// The number of lines, as few as possible, that are what is shown.
pub fn matches_first(shown: &[String], said: &[String]) -> Option<usize> {
    (0..=said.len()).find(|count| matches(shown, &said[..*count]))
}

/// Whether one line is the other. Spaces beside a `…` are part of it: columns are as wide as what is in
/// them.
pub fn line_matches(shown: &str, said: &str) -> bool {
    let said = said.trim_end();
    let Some((first, after)) = shown.split_once(ANY) else {
        return shown == said;
    };
    let Some(mut rest) = said.strip_prefix(first.trim_end()) else {
        return false;
    };
    let mut parts: Vec<&str> = after.split(ANY).map(str::trim).collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What was said, in the words of the page where they still fit.
pub fn merge(shown: &[String], said: &[String]) -> Vec<String> {
    let mut next = 0;
    let mut merged = Vec::new();
    for line in said {
        let fits = |shown: &String| shown != ANY && line_matches(shown, line);
        match shown[next..].iter().position(fits) {
            Some(at) => {
                merged.push(shown[next + at].clone());
                next += at + 1;
            }
            None => merged.push(without_chance(line.trim_end())),
        }
    }
    merged
}

/// A line with `…` for what is surely another the next time: ids, times of day, milliseconds.
fn without_chance(line: &str) -> String {
    let in_word = |char: char| char.is_ascii_alphanumeric() || "-_:.+".contains(char);
    let mut kept = String::new();
    let mut rest = line;
    while !rest.is_empty() {
        let end = rest.find(|char| !in_word(char)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        let is_id = word.len() == 22
            && digits < 22
            && !word.contains(['.', ':'])
            && word.chars().any(|char| char.is_ascii_uppercase());
        let is_time = digits >= 6 && word.matches(':').count() > 1 && word.matches('.').count() < 2
            || digits == 8 && word.len() == 10 && word.contains('-')
            || digits == 13 && word.len() == 13;
        let has_unit = [" ms", " µs"].iter().any(|unit| after.starts_with(unit));
        let is_lapse = has_unit && digits > 0 && word.parse::<f64>().is_ok();
        kept.push_str(match is_id || is_time || is_lapse {
            true => ANY,
            false => word,
        });
        let gap = after.find(in_word).unwrap_or(after.len());
        kept.push_str(&after[..gap]);
        rest = &after[gap..];
    }
    kept
}

/// Both, for whoever has to find the difference.
pub fn difference(shown: &[String], said: &[String]) -> String {
    let same = shown
        .iter()
        .zip(said)
        .take_while(|(shown, said)| line_matches(shown, said))
        .count();
    let list = |lines: &[String], name: &str| {
        let mut text = format!("  {name}:\n");
        for (at, line) in lines.iter().enumerate() {
            let mark = if at == same { '>' } else { ' ' };
            text.push_str(&format!("  {mark} {line}\n"));
        }
        text
    };
    list(shown, "the page") + &list(said, "the program")
}
