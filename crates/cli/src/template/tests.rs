use std::sync::Arc;

use client::BatchFacts;

use super::*;

fn record() -> Record {
    Record {
        partition: 3,
        offset: 260,
        timestamp_ms: 1_644_796_801_500,
        key: Some(b"k1".to_vec()),
        value: Some(b"\x00\x00\x01\x02xyz".to_vec()),
        headers: vec![
            ("a".to_owned(), Some(b"1".to_vec())),
            ("b".to_owned(), None),
        ],
        batch: Arc::new(BatchFacts {
            topic: Arc::from("foo"),
            leader_epoch: 7,
            producer_id: 9_001,
            producer_epoch: 2,
            compression: Compression::Gzip,
            log_append_time: true,
            transactional: false,
            control: false,
            log_start: 1,
            last_stable: 299,
            high_watermark: 300,
        }),
    }
}

fn written(template: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let template = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
    template.write(&record(), 5, &mut out);
    out
}

#[test]
fn every_escape_writes_its_field() {
    // experience.md 3.2
    for (template, text) in [
        ("%t %T", "foo 3"),
        ("%k %K", "k1 2"),
        ("%V", "7"),
        ("%p %o %e", "3 260 7"),
        ("%x %y", "9001 2"),
        ("%[ %| %]", "1 299 300"),
        ("%d", "1644796801500"),
        ("%H", "2"),
        ("%h{ %k=%v;%K%V}", " a=1;11 b=;10"),
        ("%i", "5"),
        ("%% %{ %}", "% { }"),
        ("\\t\\n\\r\\\\\\x41", "\t\n\r\\A"),
        ("ü%kü", "ük1ü"),
        ("", ""),
    ] {
        assert_eq!(
            String::from_utf8(written(template)).unwrap(),
            text,
            "{template}"
        );
    }
}

#[test]
fn numbers_have_all_the_forms_of_rpk() {
    // experience.md 3.2: truncated to what the form holds
    for (template, bytes) in [
        ("%o{ascii}", &b"260"[..]),
        ("%o{hex64}", b"0000000000000104"),
        ("%o{hex32}", b"00000104"),
        ("%o{hex16}", b"0104"),
        ("%o{hex8}", b"04"),
        ("%o{hex4}", b"4"),
        ("%o{big64}", &[0, 0, 0, 0, 0, 0, 1, 4]),
        ("%o{big32}", &[0, 0, 1, 4]),
        ("%o{big16}", &[1, 4]),
        ("%o{big8}", &[4]),
        ("%o{byte}", &[4]),
        ("%o{little64}", &[4, 1, 0, 0, 0, 0, 0, 0]),
        ("%o{little32}", &[4, 1, 0, 0]),
        ("%o{little16}", &[4, 1]),
        ("%o{little8}", &[4]),
        ("%o{bool}", b"true"),
        ("%K{big32}%k{hex}", b"\0\0\0\x026b31"),
    ] {
        assert_eq!(written(template), bytes, "{template}");
    }
}

#[test]
fn texts_are_encoded_and_unpacked() {
    // experience.md 3.2
    for (template, text) in [
        ("%T %t{hex}", "3 666f6f"),
        ("%k{base64}", "azE="),
        ("%k{base64raw}", "azE"),
        ("%v{unpack[>Is$]}", "258xyz"),
        ("%v{unpack[<I.]}", "33619968x"),
        ("%v{unpack[hxH$]}", "0 258(3 bytes left)"),
        ("%k{unpack[q]}", "(not enough bytes)"),
        ("%k{unpack{bB}}", "10749"),
    ] {
        assert_eq!(
            String::from_utf8(written(template)).unwrap(),
            text,
            "{template}"
        );
    }
    assert_eq!(number(&[0xff, 0xfe], true, false), -2);
    assert_eq!(number(&[0xff; 8], false, true), i128::from(u64::MAX));
}

use super::pack::number;

#[test]
fn timestamps_follow_strftime_and_go() {
    // experience.md 3.2
    for (template, text) in [
        ("%d{strftime[%F]}", "2022-02-14"),
        ("%d{strftime[%F %T]}", "2022-02-14 00:00:01"),
        ("%d{strftime### [%F] ###}", " [2022-02-14] "),
        ("%d{go[2006-01-02T15:04:05Z07:00]}", "2022-02-14T00:00:01Z"),
        ("%d{go[2006-01-02 15:04:05.000]}", "2022-02-14 00:00:01.500"),
        ("%d{go[Mon Jan _2 3:04PM]}", "Mon Feb 14 12:00AM"),
        ("%d{go[Monday, 2 January 06]}", "Monday, 14 February 22"),
        ("%d{hex8}", "dc"),
    ] {
        let out = String::from_utf8(written(template)).unwrap();
        assert_eq!(out, text, "{template}");
    }
}

#[test]
fn attributes_are_words_or_numbers() {
    // experience.md 3.2
    for (template, text) in [
        ("%a{compression}", "gzip"),
        ("%a{compression;number}", "1"),
        ("%a{compression;hex8}", "01"),
        ("%a{timestamp-type}", "1"),
        ("%a{transactional-bit;bool}", "false"),
        ("%a{control-bit}", "0"),
    ] {
        assert_eq!(
            String::from_utf8(written(template)).unwrap(),
            text,
            "{template}"
        );
    }
}

#[test]
fn a_wrong_template_says_what_is_allowed() {
    for (template, told) in [
        ("%", "%%"),
        ("%q", "%q is nothing"),
        ("%o{hexy}", "hex64"),
        ("%k{rot13}", "base64"),
        ("%k{unpack[z]}", "none of"),
        ("%d{go}", "strftime"),
        ("%h", "braces"),
        ("%k{hex", "never closed"),
        ("\\q", "backslash"),
        ("\\x4", "two hexadecimal"),
        ("%a{size}", "compression"),
        ("%o{big4}", "big64"),
        ("%d{strftime[%]}", "timestamp format"),
    ] {
        let error = Template::parse(template).unwrap_err();
        assert!(error.contains(told), "{template}: {error}");
    }
}
