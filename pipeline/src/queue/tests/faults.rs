//! One test for each thing that can happen to a queue.

use super::super::format::{FILE_HEAD, RECORD_HEAD};
use super::super::open::OpenError;
use super::*;

#[test]
fn what_was_written_is_read_in_order_and_what_was_answered_is_gone() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 600);
    for n in 0..20 {
        bench.write(n * 10..n * 10 + 10).unwrap();
    }
    assert_eq!(bench.read(), ((0..200).collect(), 0));
    let before = bench.names().len();
    assert_eq!(bench.take(15), (0..150).collect::<Vec<_>>());
    assert!(bench.names().len() < before, "{:?}", bench.names());
    bench.open();
    assert_eq!(bench.notes, []);
    assert_eq!(bench.read(), ((150..200).collect(), 0));
    bench.write(200..210).unwrap();
    assert_eq!(bench.take(9).last(), Some(&209));
    bench.files().close(bench.place).unwrap();
    assert_eq!(
        bench.names(),
        ["position"],
        "nothing is left of an empty queue"
    );
    bench.open();
    bench.write(210..220).unwrap();
    assert_eq!(bench.read(), ((210..220).collect(), 0));
}

#[test]
fn files_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 600);
    bench.write(0..10).unwrap();
    bench.take(1);
    for entry in std::fs::read_dir(&bench.folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
    let mode = std::fs::metadata(&bench.folder)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_torn_end_is_cut_off_and_kept_and_told_of() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 1 << 20);
    bench.write(0..10).unwrap();
    let first = std::fs::read(bench.file(0)).unwrap().len();
    bench.write(10..20).unwrap();
    let whole = std::fs::read(bench.file(0)).unwrap().len();
    bench.files = None;
    bench.spoil(0, |bytes| bytes.truncate(whole - 7));
    bench.open();
    assert_eq!(bench.notes.len(), 1, "{:?}", bench.notes);
    let note = &bench.notes[0];
    assert!(
        note.code == "torn_tail" && note.text.contains("were cut off"),
        "{note:?}"
    );
    assert_eq!(bench.read(), ((0..10).collect(), 0));
    let kept = std::fs::read(bench.file(0).with_extension(format!("at-{first}.damaged"))).unwrap();
    assert_eq!(kept.len(), whole - 7 - first);
    // The events had not been answered for, and come again under the numbers that are free.
    bench.write(10..20).unwrap();
    assert_eq!(bench.read(), ((0..20).collect(), 0));
    bench.open();
    assert_eq!(bench.notes, []);
}

#[test]
fn zeros_at_the_end_as_a_power_cut_leaves_them_are_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 1 << 20);
    bench.write(0..10).unwrap();
    bench.files = None;
    bench.spoil(0, |bytes| bytes.resize(bytes.len() + 100_000, 0));
    bench.open();
    assert!(
        bench.notes[0].text.contains("nothing but zeros"),
        "{:?}",
        bench.notes
    );
    assert_eq!(bench.names(), ["0000000000.seg", "position"]);
    assert_eq!(bench.read(), ((0..10).collect(), 0));
}

#[test]
fn a_flipped_bit_costs_one_record_which_is_counted_and_kept() {
    // In the block, and in the head, where the next record has to be looked for.
    for at in [RECORD_HEAD + 60, 5, 0, 13] {
        let data = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(data.path(), 1 << 20);
        bench.write(0..10).unwrap();
        let start = std::fs::metadata(bench.file(0)).unwrap().len() as usize;
        for n in 1..4 {
            bench.write(n * 10..n * 10 + 10).unwrap();
        }
        bench.files = None;
        bench.spoil(0, |bytes| bytes[start + at] ^= 4);
        bench.open();
        assert_eq!(bench.notes, []);
        let good: Vec<u64> = (0..10).chain(20..40).collect();
        assert_eq!(bench.read(), (good, 10), "bit at {at}");
        let kept = bench.file(0).with_extension(format!("at-{start}.damaged"));
        assert!(kept.exists(), "{:?}", bench.names());
    }
}

#[test]
fn a_flipped_bit_in_the_last_record_is_counted_too() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 1 << 20);
    bench.write(0..10).unwrap();
    let start = std::fs::metadata(bench.file(0)).unwrap().len() as usize;
    bench.write(10..30).unwrap();
    bench.files = None;
    bench.spoil(0, |bytes| bytes[start + RECORD_HEAD + 60] ^= 4);
    bench.open();
    let note = &bench.notes[0];
    assert_eq!((note.code, note.lost), ("checksum", 20), "{note:?}");
    assert!(note.text.contains("written whole"), "{note:?}");
    assert_eq!(bench.read(), ((0..10).collect(), 0));
    let kept = bench.file(0).with_extension(format!("at-{start}.damaged"));
    assert!(kept.exists(), "{:?}", bench.names());
}

#[test]
fn a_damaged_last_record_of_a_file_is_counted_by_what_comes_behind() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 600);
    for n in 0..4 {
        bench.write(n * 10..n * 10 + 10).unwrap();
    }
    assert_eq!(
        bench.names(),
        [
            "0000000000.seg",
            "0000000001.seg",
            "0000000002.seg",
            "0000000003.seg",
            "position"
        ]
    );
    bench.files = None;
    bench.spoil(1, |bytes| bytes[FILE_HEAD + 2] ^= 4);
    std::fs::remove_file(bench.file(2)).unwrap();
    bench.open();
    let good: Vec<u64> = (0..10).chain(30..40).collect();
    assert_eq!(bench.read(), (good, 20));
}

#[test]
fn a_damaged_head_of_a_file_costs_nothing() {
    for number in 0..2 {
        let data = tempfile::tempdir().unwrap();
        let mut bench = Bench::new(data.path(), 600);
        bench.write(0..10).unwrap();
        bench.write(10..20).unwrap();
        bench.files = None;
        bench.spoil(number, |bytes| bytes[30] ^= 1);
        bench.open();
        assert_eq!(bench.notes.len(), 1, "{:?}", bench.notes);
        assert_eq!(bench.read(), ((0..20).collect(), 0));
        bench.write(20..30).unwrap();
        assert_eq!(bench.read(), ((0..30).collect(), 0));
    }
}

#[test]
fn garbage_is_put_aside_and_told_of() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 600);
    bench.write(0..10).unwrap();
    bench.files = None;
    std::fs::write(bench.file(1), vec![0xf5; 3000]).unwrap();
    std::fs::write(bench.file(2), b"").unwrap();
    bench.open();
    assert!(
        bench.notes[0].text.contains("nothing in"),
        "{:?}",
        bench.notes
    );
    assert_eq!(
        bench.names(),
        ["0000000000.seg", "0000000001.seg.damaged", "position"]
    );
    bench.write(10..20).unwrap();
    assert_eq!(bench.read(), ((0..20).collect(), 0));
}

#[test]
fn without_a_usable_position_everything_comes_again() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 1 << 20);
    bench.write(0..10).unwrap();
    bench.write(10..20).unwrap();
    bench.take(1);
    bench.files = None;
    let position = bench.folder.join("position");
    let text = std::fs::read_to_string(&position).unwrap();
    std::fs::write(&position, text.replace("\"event\":10", "\"event\":19")).unwrap();
    bench.open();
    assert!(
        bench.notes[0].text.contains("checksum does not fit"),
        "{:?}",
        bench.notes
    );
    assert_eq!(bench.read(), ((0..20).collect(), 0));
    assert!(bench.names().contains(&"position.damaged".to_owned()));
}

#[test]
fn two_programs_do_not_share_a_queue_and_another_version_is_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 600);
    bench.write(0..10).unwrap();
    let again = open(&bench.folder, bench.size, Clock::system());
    assert!(matches!(again, Err(OpenError::InUse { .. })));
    bench.files = None;
    bench.spoil(0, |bytes| {
        bytes[8] = 2;
        let sum = crc32fast::hash(&bytes[..48]);
        bytes[48..52].copy_from_slice(&sum.to_le_bytes());
    });
    let again = open(&bench.folder, bench.size, Clock::system()).map(|_| ());
    let why = again.unwrap_err().to_string();
    assert!(
        why.contains("is of format 2, and this version reads format 1"),
        "{why}"
    );
}

#[test]
fn a_full_queue_takes_nothing_until_something_was_answered() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 1 << 20);
    bench.size = Size {
        most: 1500,
        file: 1 << 20,
    };
    bench.open();
    bench.write(0..10).unwrap();
    let mut written = 10;
    while bench.write(written..written + 10).is_ok() {
        written += 10;
    }
    assert!(matches!(bench.write(0..10), Err(Unwritten::Full)));
    assert!(bench.files().bytes().0 <= 1500);
    bench.take(usize::MAX);
    // What is larger than the whole queue goes into an empty one: it could go nowhere else.
    bench.write(written..written + 100).unwrap();
    assert_eq!(bench.read(), ((written..written + 100).collect(), 0));
}

#[test]
fn a_line_that_looks_like_a_record_is_none() {
    let data = tempfile::tempdir().unwrap();
    let mut bench = Bench::new(data.path(), 1 << 20);
    bench.write(0..10).unwrap();
    let start = std::fs::metadata(bench.file(0)).unwrap().len() as usize;
    // A record of another queue, put into the block of a damaged one.
    let mut framer = Framer::new(bench.files().salt() ^ 1, 10);
    let mut forged = Vec::new();
    framer.push(&batch(666..676), &mut forged);
    framer.frame(&mut forged);
    bench.write(10..40).unwrap();
    bench.write(40..50).unwrap();
    bench.files = None;
    bench.spoil(0, |bytes| {
        bytes[start] ^= 1;
        bytes[start + 100..start + 100 + forged.len()].copy_from_slice(&forged);
    });
    bench.open();
    let good: Vec<u64> = (0..10).chain(40..50).collect();
    assert_eq!(bench.read(), (good, 30));
}
