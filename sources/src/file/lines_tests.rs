//! Cases of `lines.rs`: every text is fed in steps of several sizes and must give the same lines.

use aws_lc_rs::digest;
use regex::bytes::Regex;

use super::super::page::testing::Sheet;
use super::*;

/// What a reader does, on text that is already there.
fn feed(lines: &mut Lines, text: &[u8], step: usize) -> Sheet {
    let mut all = Sheet::default();
    loop {
        let at = lines.scanned() as usize;
        let chunk = &text[at.min(text.len())..text.len().min(at + step)];
        if chunk.is_empty() {
            return all;
        }
        let mut page = Sheet::default();
        lines.begin(&mut page);
        page.append(chunk);
        lines.split(&mut page);
        all.take_lines(page);
        assert_eq!(
            lines.tail().bytes(),
            Tail::of(&text[..lines.offset() as usize]).bytes()
        );
        assert_eq!(
            lines.scanned_tail().bytes(),
            Tail::of(&text[..lines.scanned() as usize]).bytes()
        );
    }
}

fn finish(lines: &mut Lines, all: &mut Sheet) {
    let mut page = Sheet::default();
    lines.finish(&mut page);
    all.take_lines(page);
}

fn lines(max: usize) -> Lines {
    Lines::new(max, None, 0, Tail::new())
}

fn groups(max: usize) -> Lines {
    Lines::new(
        max,
        Some(Group::new(Regex::new(r"^\d").unwrap())),
        0,
        Tail::new(),
    )
}

#[test]
fn lines_are_the_same_however_the_text_arrives() {
    let text = "one\ntwo\r\n\n\r\n\0\0\0three\n\u{fc}\nrest".as_bytes();
    for step in 1..=text.len() {
        let mut lines = lines(64);
        let mut all = feed(&mut lines, text, step);
        assert_eq!(
            all.texts(),
            ["one", "two", "three", "ü"],
            "in steps of {step}"
        );
        assert_eq!(all.offsets(), [0, 4, 15, 21], "in steps of {step}");
        assert_eq!((lines.offset(), lines.holds()), (24, true));
        finish(&mut lines, &mut all);
        assert_eq!(all.texts().last().map(String::as_str), Some("rest"));
        assert!(all.facts.last().unwrap().partial);
        assert_eq!((lines.offset(), lines.holds()), (28, false));
    }
}

#[test]
fn a_line_that_is_too_long_keeps_its_head_and_says_what_it_was() {
    let long: Vec<u8> = (0..500u32).map(|n| b'a' + (n % 26) as u8).collect();
    for (end, step) in [
        ("\n", 1),
        ("\n", 7),
        ("\r\n", 3),
        ("\r\n", 100),
        ("\n", 4000),
    ] {
        let text = [b"before\n", &long[..], end.as_bytes(), b"after\n"].concat();
        let mut lines = lines(100);
        let all = feed(&mut lines, &text, step);
        assert_eq!(
            all.texts(),
            [
                "before",
                std::str::from_utf8(&long[..100]).unwrap(),
                "after"
            ]
        );
        assert_eq!(all.offsets(), [0, 7, 507 + end.len() as u64]);
        let cut = all.facts[1].cut.clone().expect("it is cut");
        assert_eq!(cut.bytes, 500);
        assert_eq!(cut.sha256, digest::digest(&digest::SHA256, &long).as_ref());
        assert_eq!(lines.offset(), text.len() as u64);
    }
}

#[test]
fn a_line_of_exactly_the_allowed_length_is_whole() {
    for end in ["\n", "\r\n"] {
        let text = format!("{}{end}", "x".repeat(100));
        for step in [1, 99, 100, 101, 102, 4000] {
            let all = feed(&mut lines(100), text.as_bytes(), step);
            assert_eq!(
                (all.facts.len(), all.facts[0].cut.is_none()),
                (1, true),
                "in steps of {step}"
            );
        }
    }
}

#[test]
fn a_cut_splits_no_character() {
    let text = format!("{}\n", "ü".repeat(300));
    for step in [13, 10_000] {
        let all = feed(&mut lines(101), text.as_bytes(), step);
        assert_eq!(all.texts(), ["ü".repeat(50)]);
    }
    assert_eq!(
        cut_at(&[0x80; 9], 5),
        5,
        "no character at all: cut where it is"
    );
}

#[test]
fn memory_is_bounded_by_a_line_without_an_end() {
    let chunk = vec![b'x'; 64 * 1024];
    let mut lines = lines(1000);
    let mut last = digest::Context::new(&digest::SHA256);
    for _ in 0..2000 {
        let mut page = Sheet::default();
        lines.begin(&mut page);
        page.append(&chunk);
        lines.split(&mut page);
        last.update(&chunk);
        assert!(page.facts.is_empty());
        assert!(
            lines.held.capacity() <= 64 * 1024
                && lines
                    .long
                    .as_ref()
                    .is_some_and(|long| long.head.len() == 1000)
        );
    }
    assert_eq!(
        lines.offset(),
        0,
        "the position stays at the start of the line"
    );
    let mut all = Sheet::default();
    finish(&mut lines, &mut all);
    let facts = &all.facts[0];
    assert!(facts.partial);
    assert_eq!(facts.cut.as_ref().unwrap().bytes, 2000 * 64 * 1024);
    assert_eq!(facts.cut.as_ref().unwrap().sha256, last.finish().as_ref());
    assert_eq!(lines.offset(), 2000 * 64 * 1024);
}

#[test]
fn a_hole_of_nul_bytes_is_not_held() {
    let mut text = vec![0; 300_000];
    text.extend_from_slice(b"after the hole\n");
    let mut lines = lines(100);
    let all = feed(&mut lines, &text, 4096);
    assert_eq!(all.texts(), ["after the hole"]);
    assert_eq!(all.offsets(), [300_000]);
    assert!(all.facts[0] == Facts::default());
}

#[test]
fn many_small_lines_come_in_several_turns() {
    let text = b"x\n".repeat(3 * LINES + 5);
    let mut page = Sheet::default();
    let mut lines = lines(100);
    page.append(&text);
    lines.split(&mut page);
    assert_eq!(
        (page.facts.len(), lines.offset()),
        (LINES, 2 * LINES as u64)
    );
    let all = feed(&mut lines, &text, text.len());
    assert_eq!(all.facts.len() + LINES, 3 * LINES + 5);
}

#[test]
fn lines_that_belong_together_are_one_event_at_the_place_of_the_last() {
    let text = b"1 a\n  b\n  c\r\n2 d\n3 e\n  f\n";
    for step in 1..=text.len() {
        let mut lines = groups(64);
        let mut all = feed(&mut lines, text, step);
        assert_eq!(all.texts(), ["1 a\n  b\n  c", "2 d"], "in steps of {step}");
        assert_eq!(all.offsets(), [8, 13]);
        assert_eq!(
            lines.offset(),
            17,
            "the open group is read again after a restart"
        );
        let mut page = Sheet::default();
        lines.end_group(&mut page);
        all.take_lines(page);
        assert_eq!(all.texts().last().map(String::as_str), Some("3 e\n  f"));
        assert_eq!(all.offsets()[2], 21);
        assert_eq!((lines.offset(), lines.holds()), (text.len() as u64, false));
    }
}

#[test]
fn a_group_that_waited_leaves_the_unfinished_line_held() {
    let mut lines = groups(64);
    feed(&mut lines, b"1 a\n b\n  unfin", 4);
    let mut page = Sheet::default();
    lines.end_group(&mut page);
    assert_eq!(page.texts(), ["1 a\n b"]);
    assert_eq!((lines.offset(), lines.scanned()), (7, 14));
    let mut rest = Sheet::default();
    finish(&mut lines, &mut rest);
    assert_eq!(
        (rest.texts(), rest.facts[0].partial),
        (vec!["  unfin".to_owned()], true)
    );
}

#[test]
fn a_group_that_outgrows_the_limit_comes_in_pieces_and_nothing_is_lost() {
    let mut text = b"1 begin\n".to_vec();
    for n in 0..50 {
        text.extend_from_slice(format!("  line {n:02}\n").as_bytes());
    }
    let long = "y".repeat(300);
    text.extend_from_slice(format!("  short\n{long}\n2 end\n3 x\n").as_bytes());
    for step in [1, 10, 64, 5000] {
        let mut lines = groups(100);
        let all = feed(&mut lines, &text, step);
        let whole = all.texts().join("\n");
        for n in 0..50 {
            assert!(
                whole.contains(&format!("  line {n:02}")),
                "line {n} in steps of {step}"
            );
        }
        assert!(all.texts().iter().all(|text| text.len() <= 100));
        let cut: Vec<_> = all
            .facts
            .iter()
            .filter_map(|facts| facts.cut.as_ref())
            .collect();
        assert_eq!((cut.len(), cut[0].bytes), (1, 300), "in steps of {step}");
        assert_eq!(all.texts().last().map(String::as_str), Some("2 end"));
    }
}

#[test]
fn a_byte_order_mark_is_no_text() {
    let all = feed(
        &mut lines(100),
        b"\xef\xbb\xbffirst\n\xef\xbb\xbfsecond\n",
        4,
    );
    assert_eq!(all.texts(), ["first", "\u{feff}second"]);
}
