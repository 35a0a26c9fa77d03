//! The nearest known name, for messages that ask "did you mean".

/// The candidate most like `name`, or `None` if none is like enough to be a slip of the keys.
///
/// Like enough: at most a third of the name's letters (at least one) must be inserted, removed,
/// replaced or swapped with their neighbour. Case does not count, and `-`, `_` and `.` are one
/// letter, so `Log-Dirs` finds `log.dirs`. The first of equals wins.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = fold(name);
    let distance_max = (wanted.len() / 3).max(1);
    let mut best: Option<(usize, &'a str)> = None;
    for candidate in candidates {
        let folded = fold(candidate);
        if folded.is_empty() || folded.len().abs_diff(wanted.len()) > distance_max {
            continue;
        }
        let distance = edit_distance(&wanted, &folded);
        // A name replaced altogether is no slip, however short.
        if distance <= distance_max
            && distance < folded.len().max(wanted.len())
            && best.is_none_or(|(least, _)| distance < least)
        {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> Vec<char> {
    name.chars()
        .flat_map(char::to_lowercase)
        .map(|c| if matches!(c, '-' | '_') { '.' } else { c })
        .collect()
}

/// Optimal string alignment: Levenshtein with swaps of neighbours.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let replaced = previous[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(previous[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 4] = [
        "retention.ms",
        "retention.bytes",
        "segment.bytes",
        "cleanup.policy",
    ];

    #[test]
    fn a_slip_finds_its_key() {
        assert_eq!(nearest("retention.mx", KEYS), Some("retention.ms"));
        assert_eq!(nearest("retentoin.ms", KEYS), Some("retention.ms"));
        assert_eq!(nearest("segment_byte", KEYS), Some("segment.bytes"));
        assert_eq!(nearest("CLEANUP-POLICY", KEYS), Some("cleanup.policy"));
        assert_eq!(nearest("oders", ["orders", "payments"]), Some("orders"));
    }

    #[test]
    fn a_stranger_finds_nothing() {
        assert_eq!(nearest("compression.type", KEYS), None);
        assert_eq!(nearest("", KEYS), None);
        assert_eq!(nearest("x", ["y"]), None);
        assert_eq!(nearest("orders", []), None);
    }

    #[test]
    fn a_swap_costs_one_and_the_first_of_equals_wins() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(edit_distance(&chars("ab"), &chars("ba")), 1);
        assert_eq!(edit_distance(&chars("kitten"), &chars("sitting")), 3);
        assert_eq!(edit_distance(&chars(""), &chars("abc")), 3);
        assert_eq!(nearest("topic", ["topia", "topib"]), Some("topia"));
    }
}
