//! Frames are the same however the stream is cut into reads, and nothing of it vanishes.

use proptest::prelude::*;

use super::*;
use crate::file::page::testing::Sheet;

/// Feeds the chunks one by one, and gives texts and facts of all frames.
fn frames(max: usize, chunks: &[&[u8]]) -> (Sheet, Oddities) {
    let mut framer = Framer::new(max);
    let mut all = Sheet::default();
    let mut number = 0;
    let mut odd = Oddities::default();
    let mut turn = |framer: &mut Framer, chunk: &[u8], end: bool| {
        let mut page = Sheet::default();
        // Whatever stands on the page before is left alone.
        page.append(b"another's");
        let from = framer.begin(&mut page);
        page.append(chunk);
        let now = framer.split(&mut page, from, &mut number, end);
        odd.lost += now.lost;
        odd.partial += now.partial;
        odd.long += now.long;
        odd.empty += now.empty;
        assert!(page.text().starts_with(b"another's"));
        all.take_lines(page);
    };
    for chunk in chunks {
        turn(&mut framer, chunk, false);
        while framer.has_more() {
            turn(&mut framer, b"", false);
        }
    }
    turn(&mut framer, b"", true);
    while framer.has_more() {
        turn(&mut framer, b"", true);
    }
    assert!(!framer.holds());
    (all, odd)
}

fn texts(stream: &[u8]) -> Vec<String> {
    frames(1024, &[stream]).0.texts()
}

#[test]
fn frames_are_told_apart_one_by_one() {
    let stream = b"<13>one\n<13>two\r\n\n10 <13>a\nbcde6 <13>x\n<13>nul\0<13>nul\x00008 <13>\xc3\xbc\xc3\xbc";
    assert_eq!(
        texts(stream),
        [
            "<13>one",
            "<13>two",
            "<13>a\nbcde",
            "<13>x",
            "<13>nul",
            "<13>nul",
            "008 <13>üü"
        ]
    );
    assert_eq!(
        texts(b"8 <13>\xfc\xfc\xfc\xfc<13>last"),
        ["<13>\u{fffd}\u{fffd}\u{fffd}\u{fffd}", "<13>last"]
    );
}

#[test]
fn text_that_begins_with_a_number_is_no_count() {
    let stream = b"2026-11-25T02:00:00Z pve1 x: y\n12 monkeys\n<13>z\n";
    assert_eq!(
        texts(stream),
        ["2026-11-25T02:00:00Z pve1 x: y", "12 monkeys", "<13>z"]
    );
    let json = b"12 {\"a\":\"b\ncd\"}7 \"msg\":1<13>z\n";
    assert_eq!(texts(json), ["{\"a\":\"b\ncd\"}", "\"msg\":1", "<13>z"]);
}

#[test]
fn the_end_of_the_stream_ends_the_last_frame() {
    assert_eq!(texts(b"<13>no line end"), ["<13>no line end"]);
    let (sheet, odd) = frames(1024, &[b"50 <13>cut off"]);
    assert_eq!(sheet.texts(), ["<13>cut off"]);
    assert!(sheet.facts[0].partial);
    assert_eq!(odd.partial, 1);
    assert_eq!(texts(b"123"), ["123"]);
    assert_eq!(texts(b"123 "), ["123 "]);
}

#[test]
fn a_count_that_lies_loses_no_byte_and_the_next_frame_is_found() {
    // Characters counted where bytes are meant: five bytes are left over.
    let (sheet, odd) = frames(1024, &["9 <13>üüüüü7 <13>abc7 <13>def".as_bytes()]);
    let texts = sheet.texts();
    assert_eq!(texts.len(), 4, "{texts:?}");
    assert_eq!(texts[2..], ["<13>abc", "<13>def"]);
    assert_eq!(odd.lost, 1);
    // Far beyond reason: kept as text, up to the next line or count.
    let (sheet, odd) = frames(
        1024,
        &[b"7 <13>abc209715200 <13>huge\n<13>next\n209715200 <13>x7 <13>end"],
    );
    assert_eq!(
        sheet.texts(),
        [
            "<13>abc",
            "209715200 <13>huge",
            "<13>next",
            "209715200 <13>x",
            "<13>end"
        ]
    );
    assert_eq!(odd.lost, 2);
    // Too large within reason: it takes what follows with it, which stays in its text.
    assert_eq!(
        texts_of(b"30 <13>short\n<13>next\n<13>third\n"),
        ["<13>short\n<13>next\n<13>third"]
    );
}

fn texts_of(stream: &[u8]) -> Vec<String> {
    texts(stream)
}

#[test]
fn nothing_but_nul_is_counted_and_makes_no_event() {
    let (sheet, odd) = frames(1024, &[&[0; 100_000], b"<13>x\0"]);
    assert_eq!(sheet.texts(), ["<13>x"]);
    assert_eq!(odd.empty, 1);
    assert_eq!(texts(b"7 <13>abc3 \0\0\0"), ["<13>abc", "\0\0\0"]);
}

#[test]
fn of_a_long_frame_the_head_is_kept_with_length_and_hash() {
    for stream in [
        [b"<13>".to_vec(), vec![b'x'; 50_000], b"\n<13>y\n".to_vec()].concat(),
        [
            b"50004 <13>".to_vec(),
            vec![b'x'; 50_000],
            b"6 <13>y".to_vec(),
        ]
        .concat(),
    ] {
        let whole = [b"<13>".to_vec(), vec![b'x'; 50_000]].concat();
        let mut expected = [0; 32];
        expected.copy_from_slice(digest::digest(&digest::SHA256, &whole).as_ref());
        for size in [stream.len(), 1000, 7] {
            let chunks: Vec<&[u8]> = stream.chunks(size).collect();
            let (sheet, odd) = frames(1024, &chunks);
            assert_eq!(sheet.texts()[0].len(), 1024);
            let cut = sheet.facts[0].cut.clone().unwrap();
            assert_eq!((cut.bytes, cut.sha256), (50_004, expected));
            assert_eq!(sheet.texts()[1], "<13>y");
            assert_eq!(odd.long, 1);
        }
    }
}

#[test]
fn an_announced_giant_takes_no_memory() {
    let mut framer = Framer::new(1024);
    let mut number = 0;
    let mut page = Sheet::default();
    let from = framer.begin(&mut page);
    page.append(b"7 <13>abc16777216 <13>");
    framer.split(&mut page, from, &mut number, false);
    for _ in 0..1000 {
        let mut page = Sheet::default();
        let from = framer.begin(&mut page);
        page.append(&[b'x'; 8000]);
        framer.split(&mut page, from, &mut number, false);
        assert!(page.text().is_empty());
        let held =
            framer.held.capacity() + framer.big.as_ref().map_or(0, |big| big.head.capacity());
        assert!(held <= 2 * SMALL + 2048, "{held}");
    }
}

#[test]
fn tiny_frames_are_made_in_several_turns() {
    let stream = b"<\n".repeat(3 * FRAMES);
    assert_eq!(texts(&stream).len(), 3 * FRAMES);
    let numbers = frames(1024, &[&stream]).0.offsets();
    assert!(numbers.iter().copied().eq(0..3 * FRAMES as u64));
}

/// Pieces that frames are made of, and pieces that they are not made of.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let text = proptest::collection::vec(
        prop_oneof![
            Just(b'a'),
            Just(b' '),
            Just(b'<'),
            Just(b'3'),
            Just(b'>'),
            Just(0xc3),
            Just(0xbc)
        ],
        0..40,
    );
    let counted = text.clone().prop_map(|text| {
        let message = [b"<13>", &text[..]].concat();
        [format!("{} ", message.len()).into_bytes(), message].concat()
    });
    prop_oneof![
        counted,
        text.clone()
            .prop_map(|text| [b"<13>", &text[..], b"\n"].concat()),
        text.clone().prop_map(|text| [&text[..], b"\r\n"].concat()),
        text.prop_map(|text| [&text[..], b"\0"].concat()),
        (1_u64..400).prop_map(|n| format!("{n} <13>").into_bytes()),
        Just(b"209715200 <1>".to_vec()),
        (1_usize..12_000).prop_map(|n| vec![b'x'; n]),
        (1_usize..400).prop_map(|n| "ü".repeat(n).into_bytes()),
        Just(b"\n\n\0\0".to_vec()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_chunking_gives_the_same_frames(
        pieces in proptest::collection::vec(piece(), 0..30),
        cuts in proptest::collection::vec(1_usize..300, 1..20),
        max in 64_usize..9000,
    ) {
        let stream = pieces.concat();
        let (whole, of_whole) = frames(max, &[&stream]);
        let mut chunks: Vec<&[u8]> = Vec::new();
        let mut rest = &stream[..];
        for size in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, after) = rest.split_at(rest.len().min(*size));
            chunks.push(chunk);
            rest = after;
        }
        let (cut, of_cut) = frames(max, &chunks);
        prop_assert_eq!(whole.texts(), cut.texts());
        prop_assert_eq!(&whole.facts, &cut.facts);
        prop_assert_eq!((of_whole.lost, of_whole.long, of_whole.partial), (of_cut.lost, of_cut.long, of_cut.partial));
    }

    #[test]
    fn no_byte_is_lost(pieces in proptest::collection::vec(piece(), 0..30)) {
        let stream = pieces.concat();
        let (sheet, _) = frames(1 << 20, &[&stream]);
        // What is left out: counts, line ends and NULs.
        let kept: usize = sheet.texts().iter().map(|text| text.matches('x').count() + text.matches('a').count()).sum();
        let sent = stream.iter().filter(|byte| matches!(byte, b'x' | b'a')).count();
        prop_assert_eq!(kept, sent);
    }
}
