//! The reader of pages is itself read: pages that are right, and pages that lie.

use crate::page::Page;
use crate::reader::{Reading, read};
use crate::shown::{line_matches, matches};

fn page(text: &str) -> Page {
    Page::parse("sample.md", text)
}

/// What comes of a page with one block.
fn block(lines: &str) -> Reading {
    read(&page(&format!("```console\n{lines}\n```\n")), false)
}

/// The only complaint of a page with one block.
fn complaint(lines: &str) -> String {
    let reading = block(lines);
    let [complaint] = &reading.complaints[..] else {
        panic!("{:#?}", reading.complaints);
    };
    complaint.clone()
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_page_that_shows_what_is_said_is_right() {
    let reading = block(
        "$ printf 'a\\n\\nb\\n'\na\n\nb\n\n$ cd / && kept=1\n$ pwd; echo $kept\n/\n1\n$ cat <<END\n> 9092 x\n> END\n9092 x",
    );
    assert_eq!(reading.complaints, Vec::<String>::new());
}

#[test]
fn a_page_that_shows_something_else_is_named_with_both() {
    let said = complaint("$ printf 'a\\nb\\n'\na\nc");
    assert!(said.starts_with("sample.md:2: `printf"), "{said}");
    assert!(said.contains("> c") && said.contains("> b"), "{said}");
    for wrong in [
        "$ echo a",
        "$ true\na",
        "$ echo a\na\nb",
        "$ printf 'a\\nb\\n'\nb",
        "$ echo aa\na",
    ] {
        complaint(wrong);
    }
}

#[test]
fn what_fails_must_be_shown_to_fail() {
    let said = complaint("$ sh -c 'echo x; exit 3'\nx");
    assert!(said.contains("exit code 3"), "{said}");
    for right in [
        "$ sh -c 'echo x; exit 3'\nx\n$ echo $?\n3",
        "$ sh -c 'echo error: x; exit 3'\nerror: x",
        "$ duramen topic describe\n…\n$ echo $?\n2",
    ] {
        assert_eq!(block(right).complaints, Vec::<String>::new(), "{right}");
    }
}

#[test]
fn a_server_serves_the_page_until_its_end_or_ctrl_c() {
    let reading = read(
        &page(concat!(
            "<!--\n```console\n$ duramen dev\n…\nTransitioning from RECOVERY to RUNNING\n```\n-->\n",
            "```console\n$ duramen topic create orders -q\norders\n",
            "$ duramen tail orders -n 0\n^C\n```\n",
            "Stop it:\n```console\n^C\n…\n```\n",
            "```console\n$ duramen topic ls\nerror: …\n…\n```\n",
        )),
        false,
    );
    assert_eq!(reading.complaints, Vec::<String>::new());
}

#[test]
fn a_server_that_says_more_than_is_shown_is_named() {
    let said = complaint("$ duramen dev --ephemeral\n…\nKafka Server started");
    assert!(said.contains("says more than the page shows"), "{said}");
    let said = complaint("$ duramen dev --no-such-flag\n…\nready");
    assert!(said.contains("error: "), "{said}");
}

#[test]
fn a_block_whose_programs_are_missing_is_skipped_with_a_line() {
    let reading = read(
        &page("```console needs=no-such-program\n$ no-such-program\nx\n```\n"),
        false,
    );
    assert_eq!(reading.complaints, Vec::<String>::new());
    assert_eq!(
        reading.skipped,
        ["sample.md:2: no no-such-program on this machine"]
    );
}

#[test]
fn a_command_that_nobody_runs_is_named() {
    for (text, line) in [
        ("text\n\n$ duramen dev\n", 3),
        ("    $ duramen dev\n", 1),
        ("```\n$ ls\n```\n", 2),
        ("```sh\nduramen dev\n```\n", 2),
        ("```console\nls\n```\n", 2),
        ("```console\n```\n", 1),
        ("```console not-run=\"\"\n$ ls\n```\n", 1),
        ("```console sometimes\n$ ls\n```\n", 1),
        ("```console\n$ ls\n", 1),
    ] {
        let wrong = page(text).wrong;
        let named = wrong
            .iter()
            .any(|what| what.starts_with(&format!("sample.md:{line}: ")));
        assert!(named, "{text}: {wrong:?}");
    }
    let reason = "```console not-run=\"wants a service manager\"\n$ systemctl start duramen\n```\n";
    assert_eq!(page(reason).wrong, Vec::<String>::new());
    assert!(!page(reason).has_commands());
}

#[test]
fn an_ellipsis_stands_for_what_varies_and_for_nothing_else() {
    for (shown, said) in [
        ("ready in … ms", "ready in 17 ms"),
        ("…b…", "abc"),
        ("a…", "a"),
        ("a  …  b", "a  x y  b   "),
        ("5    …   b", "5    947 ms  b"),
    ] {
        assert!(line_matches(shown, said), "{shown} {said}");
    }
    for (shown, said) in [
        ("ready in … ms", "ready in 17 s"),
        ("a…a", "a"),
        ("a", "ab"),
        ("…a…b", "b a"),
    ] {
        assert!(!line_matches(shown, said), "{shown} {said}");
    }
    let said = lines("a\nb\nc\nd");
    for shown in [
        "a\nb\nc\nd",
        "…",
        "…\nd",
        "a\n…\nd",
        "a\n…\n…\nc\nd",
        "…\na\nb\nc\nd\n…",
    ] {
        assert!(matches(&lines(shown), &said), "{shown}");
    }
    for shown in ["a\nb\nc", "…\nc", "a\n…\nb\nd", "", "b\n…"] {
        assert!(!matches(&lines(shown), &said), "{shown}");
    }
}

#[test]
fn an_update_keeps_the_words_of_the_page_that_still_fit() {
    let text = "# x\n\n```console\n$ printf 'at 12\\nold 5\\nnew\\n'\nat …\nold …\nx\n\n$ echo b\na\n```\n\nend\n";
    let reading = read(&page(text), true);
    assert_eq!(reading.complaints, Vec::<String>::new());
    assert_eq!(
        reading.text,
        "# x\n\n```console\n$ printf 'at 12\\nold 5\\nnew\\n'\nat …\nold …\nnew\n\n$ echo b\nb\n```\n\nend\n"
    );
    assert_eq!(read(&page(&reading.text), true).text, reading.text);
    let said =
        "id ykBPYL62SHWq7iCsQmUKAQ, at 2026-11-25 16:50:07.148Z, in 17.5 ms, port 9092, 3 of 12";
    let new = read(&page(&format!("```console\n$ echo '{said}'\n```\n")), true).text;
    assert!(
        new.contains("\nid …, at … …, in … ms, port 9092, 3 of 12\n"),
        "{new}"
    );
}
