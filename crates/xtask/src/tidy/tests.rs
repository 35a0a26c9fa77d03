use super::*;

fn source(path: &str, text: &str) -> Source {
    Source {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

#[test]
fn the_repository_is_tidy() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().expect("the repository root");
    let complaints = run(&root);
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn a_file_without_a_head_is_named() {
    let complaints = check_heads(&[source("crates/a/src/b.rs", "fn f() {}")]);
    assert_eq!(complaints.len(), 1);
    assert!(complaints[0].starts_with("crates/a/src/b.rs: no head"));
}

#[test]
fn a_crate_head_must_say_what_is_absent() {
    let silent = [source("crates/a/src/lib.rs", "//! Does a thing.")];
    assert_eq!(check_heads(&silent).len(), 1);
    let honest = [source(
        "crates/a/src/lib.rs",
        "//! Does a thing.\n//! Must never know tokio.",
    )];
    assert_eq!(check_heads(&honest), Vec::<String>::new());
}

#[test]
fn a_file_no_module_names_is_dead() {
    let tree = [
        source("crates/a/src/lib.rs", "//! x\nmod b;\n"),
        source("crates/a/src/b.rs", "//! x\n"),
        source("crates/a/src/c.rs", "//! x\n"),
    ];
    assert_eq!(
        check_dead_files(&tree),
        ["crates/a/src/c.rs: no `mod c` names this file"]
    );
}

#[test]
fn a_built_rule_without_a_test_is_named() {
    let index = source(
        "docs/rules.md",
        "| F1 | built | whole batch |\n| F2 | later | x |\n",
    );
    let code = source("crates/a/src/lib.rs", "#[test]\nfn x() {} // rule F3\n");
    let complaints = check_rules(&[index, code]);
    assert_eq!(
        complaints,
        [
            "crates/a/src/lib.rs:2: rule F3 is not in docs/rules.md",
            "docs/rules.md: no test cites rule F1"
        ]
    );
}

#[test]
fn several_rules_in_one_comment_are_all_cited() {
    assert_eq!(
        citations("fn x() {} // rules W5, W6 and F12"),
        ["W5", "W6", "F12"]
    );
    assert_eq!(citations("let rule = 1;"), Vec::<String>::new());
}

#[test]
fn a_link_that_leads_nowhere_is_named() {
    let tree = [
        source("docs/a.md", "[x](b.md) [y](../README.md)"),
        source("README.md", ""),
    ];
    assert_eq!(check_links(&tree), ["docs/a.md: link b.md leads nowhere"]);
}

#[test]
fn an_edge_that_points_up_is_named() {
    let page = source(
        "ARCHITECTURE.md",
        "| l | `a` | p | nothing |\n| l | `b` | p | a |\n",
    );
    let edges = BTreeMap::from([
        ("a".to_owned(), BTreeSet::new()),
        ("b".to_owned(), BTreeSet::from(["a".to_owned()])),
    ]);
    assert_eq!(
        check_layers(&[page], &edges),
        ["ARCHITECTURE.md: edge b -> a points up"]
    );
}

#[test]
fn a_path_of_one_machine_is_a_stray() {
    let tree = [source("README.md", "see /home/someone/x")];
    assert_eq!(check_strays(&tree).len(), 1);
}
