//! Pages of `docs/` that repeat what the code declares, held to it by tests.

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use wire::api::TABLE;

    const PROTOCOL: &str = include_str!("../../../docs/protocol.md");

    #[test]
    fn the_protocol_page_lists_what_is_served_and_nothing_else() {
        let mut rows = String::new();
        for api in TABLE {
            let lowest = if api.advertised_min == api.min {
                String::new()
            } else {
                format!(" (advertised from {})", api.advertised_min)
            };
            writeln!(
                rows,
                "| {} | {} | {}-{}{lowest} |",
                api.key.code(),
                api.name,
                api.min,
                api.max
            )
            .expect("a string takes everything");
        }
        let listed: String = PROTOCOL
            .lines()
            .filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit())
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(listed, rows, "docs/protocol.md must read:\n{rows}");
    }
}
