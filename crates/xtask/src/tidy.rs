//! The tidy checks: layer edges, heads, names, dead files, rule index, links, stray paths.
//!
//! Each check returns complaints, one line each, that say where and what to do.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names that say nothing about what a file or crate owns (STYLE.md).
const EMPTY_NAMES: [&str; 7] = [
    "utils", "helpers", "common", "misc", "types", "core", "manager",
];

/// One source or text file of the repository.
pub struct Source {
    /// Path from the repository root, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Runs every check on the tree at `root`.
pub fn run(root: &Path) -> Vec<String> {
    let sources = read_tree(root);
    let mut complaints = Vec::new();
    complaints.extend(check_heads(&sources));
    complaints.extend(check_names(&sources));
    complaints.extend(check_dead_files(&sources));
    complaints.extend(check_rules(&sources));
    complaints.extend(check_links(&sources));
    complaints.extend(check_single_home(&sources));
    complaints.extend(check_strays(&sources));
    match dependency_edges(root) {
        Ok(edges) => complaints.extend(check_layers(&sources, &edges)),
        Err(reason) => complaints.push(format!("cargo metadata: {reason}")),
    }
    complaints
}

/// Every crate and source file says at its head what it is; crates also what they must not know.
fn check_heads(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in rust(sources) {
        let in_test = source.path.contains("/tests/") || source.path.ends_with("/tests.rs");
        if !in_test && !source.text.trim_start().starts_with("//!") {
            complaints.push(format!(
                "{}: no head: say what this file is with //!",
                source.path
            ));
        }
        let is_library = source.path.ends_with("/src/lib.rs");
        let head: String = source
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase();
        if is_library && !(head.contains("never") || head.contains("knows no")) {
            complaints.push(format!(
                "{}: the crate head does not say what the crate must never know",
                source.path
            ));
        }
    }
    complaints
}

fn check_names(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in rust(sources) {
        for part in source.path.trim_end_matches(".rs").split('/') {
            if EMPTY_NAMES.contains(&part) {
                complaints.push(format!(
                    "{}: `{part}` is no name: say what it owns",
                    source.path
                ));
            }
        }
    }
    complaints
}

/// Every file under a crate's `src` is named by a `mod` of its parent.
fn check_dead_files(sources: &[Source]) -> Vec<String> {
    let by_path: BTreeMap<&str, &str> = sources
        .iter()
        .map(|source| (source.path.as_str(), source.text.as_str()))
        .collect();
    let mut complaints = Vec::new();
    for source in rust(sources).filter(|source| source.path.contains("/src/")) {
        let path = Path::new(&source.path);
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default();
        if ["lib", "main"].contains(&stem) || source.path.contains("/src/bin/") {
            continue;
        }
        let folder = path.parent().unwrap_or(Path::new(""));
        let (module, home) = if stem == "mod" {
            let name = folder
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            (name, folder.parent().unwrap_or(Path::new("")))
        } else {
            (stem, folder)
        };
        let parents = [
            home.join("lib.rs"),
            home.join("main.rs"),
            home.join("mod.rs"),
            home.with_extension("rs"),
        ];
        let named = parents.iter().any(|parent| {
            by_path
                .get(parent.to_string_lossy().as_ref())
                .is_some_and(|text| {
                    text.lines().any(|line| {
                        let line = line.trim();
                        line.ends_with(&format!("mod {module};"))
                            || line.contains(&format!("mod {module} {{"))
                    })
                })
        });
        if !named {
            complaints.push(format!(
                "{}: no `mod {module}` names this file",
                source.path
            ));
        }
    }
    complaints
}

/// docs/rules.md lists the rules; each one marked built is cited by a test, and nothing else is.
fn check_rules(sources: &[Source]) -> Vec<String> {
    let Some(index) = sources.iter().find(|source| source.path == "docs/rules.md") else {
        return vec!["docs/rules.md: missing".to_owned()];
    };
    let mut known = BTreeSet::new();
    let mut built = BTreeSet::new();
    for line in index.text.lines().filter(|line| line.starts_with("| ")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (Some(name), Some(state)) = (cells.next(), cells.next()) else {
            continue;
        };
        if is_rule_name(name) {
            known.insert(name.to_owned());
            if state == "built" {
                built.insert(name.to_owned());
            }
        }
    }
    let mut complaints = Vec::new();
    let mut cited = BTreeSet::new();
    for source in rust(sources) {
        let has_tests = source.text.contains("#[test]") || source.text.contains("tests!");
        for (number, line) in source.text.lines().enumerate() {
            for name in citations(line) {
                if !known.contains(&name) {
                    complaints.push(format!(
                        "{}:{}: rule {name} is not in docs/rules.md",
                        source.path,
                        number + 1
                    ));
                } else if has_tests {
                    cited.insert(name);
                }
            }
        }
    }
    complaints.extend(
        built
            .difference(&cited)
            .map(|name| format!("docs/rules.md: no test cites rule {name}")),
    );
    complaints
}

/// Rule names in `rule F1`, `rules W5, W6` and the like.
fn citations(line: &str) -> Vec<String> {
    let Some(comment) = line.find("//").map(|at| &line[at..]) else {
        return Vec::new();
    };
    let mut names = Vec::new();
    for marker in ["rule ", "rules "] {
        for (at, _) in comment.match_indices(marker) {
            let words = comment[at + marker.len()..]
                .split(|c: char| c.is_whitespace() || c == ',')
                .filter(|word| !word.is_empty() && *word != "and");
            for word in words {
                let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
                if !is_rule_name(word) {
                    break;
                }
                names.push(word.to_owned());
            }
        }
    }
    names
}

fn is_rule_name(word: &str) -> bool {
    let mut chars = word.chars();
    let letter = chars.next().is_some_and(|c| "WPFMTGNCSRD".contains(c));
    let digits = chars.as_str();
    letter && (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Relative links in Markdown lead somewhere.
fn check_links(sources: &[Source]) -> Vec<String> {
    let paths: BTreeSet<&str> = sources.iter().map(|source| source.path.as_str()).collect();
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.path.ends_with(".md")) {
        let folder = Path::new(&source.path).parent().unwrap_or(Path::new(""));
        for target in links(&source.text) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let Some(resolved) = normalise(&folder.join(target)) else {
                complaints.push(format!(
                    "{}: link {target} leaves the repository",
                    source.path
                ));
                continue;
            };
            let prefix = format!("{}/", resolved.trim_end_matches('/'));
            let exists = paths.contains(resolved.as_str())
                || paths.iter().any(|path| path.starts_with(&prefix));
            if !exists {
                complaints.push(format!("{}: link {target} leads nowhere", source.path));
            }
        }
    }
    complaints
}

fn links(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("](") {
        rest = &rest[at + 2..];
        if let Some(end) = rest.find(')') {
            found.push(&rest[..end]);
        }
    }
    found
}

fn normalise(path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.to_str()?.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join("/"))
}

/// The generated codec is named by one file only (ARCHITECTURE.md, law 3).
fn check_single_home(sources: &[Source]) -> Vec<String> {
    rust(sources)
        .filter(|source| {
            !source.path.starts_with("crates/xtask/")
                && !source.path.starts_with("crates/wire/tests/")
                && source.path != "crates/wire/src/messages.rs"
                && source.text.contains("kacrab_protocol")
        })
        .map(|source| {
            format!(
                "{}: only wire::messages may name the codec crate",
                source.path
            )
        })
        .collect()
}

/// No path of one machine, no mark of unfinished work.
fn check_strays(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| !source.path.starts_with("crates/xtask/"))
    {
        for (number, line) in source.text.lines().enumerate() {
            let stray = ["/home/", "/root/", "/work/", "/Users/"]
                .iter()
                .find(|prefix| line.contains(**prefix))
                .copied()
                .or_else(|| {
                    ["FIXME", "XXX:", "TODO"]
                        .iter()
                        .find(|mark| line.contains(**mark))
                        .copied()
                });
            if let Some(stray) = stray {
                complaints.push(format!("{}:{}: stray `{stray}`", source.path, number + 1));
            }
        }
    }
    complaints
}

/// Every edge between our crates stands in ARCHITECTURE.md's table, and points down in it.
fn check_layers(sources: &[Source], edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let Some(page) = sources
        .iter()
        .find(|source| source.path == "ARCHITECTURE.md")
    else {
        return vec!["ARCHITECTURE.md: missing".to_owned()];
    };
    let mut allowed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut order = Vec::new();
    for line in page
        .text
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("| `"))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [_, name, _, may] = cells[..] else {
            continue;
        };
        let name = name.trim_matches('`').to_owned();
        order.push(name.clone());
        allowed.insert(
            name,
            may.split(',').map(|part| part.trim().to_owned()).collect(),
        );
    }
    let rank = |name: &str| order.iter().position(|known| known == name);
    let mut complaints = Vec::new();
    for (from, targets) in edges {
        let Some(may) = allowed.get(from) else {
            complaints.push(format!(
                "ARCHITECTURE.md: crate `{from}` is not in the table"
            ));
            continue;
        };
        for target in targets {
            if !may.contains(target) {
                complaints.push(format!(
                    "ARCHITECTURE.md: edge {from} -> {target} is not allowed"
                ));
            } else if rank(from) >= rank(target) {
                complaints.push(format!(
                    "ARCHITECTURE.md: edge {from} -> {target} points up"
                ));
            }
        }
    }
    for name in allowed.keys().filter(|name| !edges.contains_key(*name)) {
        complaints.push(format!("ARCHITECTURE.md: crate `{name}` does not exist"));
    }
    complaints
}

fn dependency_edges(root: &Path) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(root)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("no packages")?;
    let ours: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    let mut edges = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().ok_or("a package without a name")?;
        let targets = package["dependencies"]
            .as_array()
            .ok_or("a package without dependencies")?
            .iter()
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"))
            .filter_map(|dependency| dependency["name"].as_str())
            .filter(|target| ours.contains(target))
            .map(str::to_owned)
            .collect();
        edges.insert(name.to_owned(), targets);
    }
    Ok(edges)
}

fn rust(sources: &[Source]) -> impl Iterator<Item = &Source> {
    sources.iter().filter(|source| source.path.ends_with(".rs"))
}

/// All text files git tracks, or will track.
fn read_tree(root: &Path) -> Vec<Source> {
    let mut pending: Vec<PathBuf> = vec![root.to_path_buf()];
    let mut sources = Vec::new();
    while let Some(folder) = pending.pop() {
        let Ok(entries) = folder.read_dir() else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if name == ".git" {
                continue;
            }
            if path.is_dir() {
                if !["target", "node_modules", "duramen-data"].contains(&name.as_str()) {
                    pending.push(path);
                }
            } else if let Ok(bytes) = path.canonicalize().and_then(|path| {
                let mut bytes = Vec::new();
                std::io::Read::read_to_end(&mut open(&path)?, &mut bytes)?;
                Ok(bytes)
            }) && let Ok(text) = String::from_utf8(bytes)
                && let Ok(relative) = path.strip_prefix(root)
            {
                sources.push(Source {
                    path: relative.to_string_lossy().replace('\\', "/"),
                    text,
                });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

#[expect(
    clippy::disallowed_methods,
    reason = "a chore of the repository has no world"
)]
fn open(path: &Path) -> std::io::Result<std::fs::File> {
    std::fs::File::open(path)
}
