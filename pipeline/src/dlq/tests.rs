//! What stands in the files of dead letters, whatever happens to them.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::clock::Time;
use crate::component::ReasonKind;
use crate::event::{EventId, fields};

fn event(n: u64) -> Event {
    let mut event = Event::new(EventId([0, n]), Time::from_secs(1));
    event.set_str(fields::MESSAGE, "quotes \" and \u{1b}[31m and \u{fffd}");
    event
}

fn bury(letters: &DeadLetters, ids: std::ops::Range<u64>) {
    let reason = Reason::new(
        ReasonKind::Mapping,
        "failed to parse field [x]\nof type [ip]",
    );
    let events: Vec<Event> = ids.map(event).collect();
    letters
        .append("es", "elasticsearch", &reason, 2, &events)
        .unwrap();
}

fn folder_of(data: &Path) -> PathBuf {
    folder(data).join("es")
}

fn read(data: &Path) -> Vec<Letter> {
    let lines = lines(data, "es")
        .unwrap()
        .into_iter()
        .flat_map(|(_, lines)| lines);
    lines
        .map(|line| match line.unwrap() {
            Line::Letter(letter) => *letter,
            Line::Unreadable(why) => panic!("{why}"),
        })
        .collect()
}

fn ids(data: &Path) -> Vec<u64> {
    read(data)
        .iter()
        .map(|letter| EventId::parse(letter.id()).unwrap().0[1])
        .collect()
}

#[test]
fn a_letter_says_what_when_why_and_how_often_and_nobody_else_may_read_it() {
    let data = tempfile::tempdir().unwrap();
    let letters = DeadLetters::new(data.path(), Clock::manual(Time::from_secs(1_000_000_000)));
    assert!(components(data.path()).unwrap().is_empty());
    bury(&letters, 0..2);
    assert_eq!(components(data.path()).unwrap(), ["es"]);
    let path = folder_of(data.path()).join("00000001.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let expected = concat!(
        r#"{"dead_at":"2001-09-09T01:46:40.000Z","component":"es","type":"elasticsearch","#,
        r#""reason":{"kind":"mapping","text":"failed to parse field [x]\nof type [ip]"},"attempts":2,"event":{"#
    );
    assert!(text.starts_with(expected), "{text}");
    let read = read(data.path());
    assert_eq!(
        Event::from_json(read[1].event.clone()).unwrap().to_json(),
        event(1).to_json()
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&folder_of(data.path()))), (0o600, 0o700));
}

#[test]
fn a_torn_last_line_is_not_read_and_is_cut_before_the_next_one() {
    let data = tempfile::tempdir().unwrap();
    bury(&DeadLetters::new(data.path(), Clock::system()), 0..3);
    let path = folder_of(data.path()).join("00000001.jsonl");
    let whole = fs::read(&path).unwrap();
    // Every place at which a kill may have cut the last line.
    let last = memchr::memrchr(b'\n', &whole[..whole.len() - 1]).unwrap() + 1;
    for cut in last..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(ids(data.path()), [0, 1], "cut at {cut}");
        bury(&DeadLetters::new(data.path(), Clock::system()), 7..8);
        assert_eq!(ids(data.path()), [0, 1, 7], "cut at {cut}");
    }
}

#[test]
fn an_append_that_fails_leaves_nothing_and_the_next_one_works() {
    let data = tempfile::tempdir().unwrap();
    let letters = DeadLetters::new(data.path(), Clock::system());
    bury(&letters, 0..1);
    // Another program keeps the lock for longer than anyone waits.
    let lock = segment::Lock::take(&folder_of(data.path())).unwrap();
    let reason = Reason::new(ReasonKind::Mapping, "no");
    let why = letters
        .append("es", "elasticsearch", &reason, 1, &[event(1)])
        .unwrap_err();
    assert!(
        why.contains("another program holds") && why.contains("dlq/es"),
        "{why}"
    );
    assert_eq!(ids(data.path()), [0]);
    drop(lock);
    bury(&letters, 1..2);
    assert_eq!(ids(data.path()), [0, 1]);
}

#[test]
fn a_full_disk_leaves_no_half_line() {
    // The limit on the size of a file is the disk that is full; it holds for the whole process, so it is another one.
    if std::env::var_os("PVETRAIL_TEST_FULL_DISK").is_none() {
        let test = "dlq::tests::a_full_disk_leaves_no_half_line";
        let me = std::env::current_exe().unwrap();
        // Its output goes through a pipe: a log file it inherits may already be larger than the limit.
        let ended = std::process::Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""])
            .arg(me)
            .args(["--exact", test, "--test-threads=1"])
            .env("PVETRAIL_TEST_FULL_DISK", "1")
            .output()
            .unwrap();
        assert!(ended.status.success(), "{ended:?}");
        return;
    }
    let data = tempfile::tempdir().unwrap();
    let letters = DeadLetters::new(data.path(), Clock::system());
    let reason = Reason::new(ReasonKind::Mapping, "no");
    let mut buried = 0;
    let why = loop {
        let events: Vec<Event> = (buried..buried + 7).map(event).collect();
        match letters.append("es", "elasticsearch", &reason, 1, &events) {
            Ok(()) => buried += 7,
            Err(why) => break why,
        }
    };
    assert!(buried > 0, "{why}");
    assert_eq!(ids(data.path()), (0..buried).collect::<Vec<_>>());
    let text = fs::read(folder_of(data.path()).join("00000001.jsonl")).unwrap();
    assert_eq!(text.last(), Some(&b'\n'));
}

#[test]
fn a_file_that_is_full_is_followed_by_another() {
    let data = tempfile::tempdir().unwrap();
    let letters = DeadLetters::new(data.path(), Clock::system());
    bury(&letters, 0..1);
    let path = folder_of(data.path()).join("00000001.jsonl");
    // Blank lines, so that the file is long without being work.
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&vec![b'\n'; segment::SEGMENT as usize])
        .unwrap();
    bury(&letters, 1..2);
    bury(&letters, 2..3);
    let second = fs::read_to_string(folder_of(data.path()).join("00000002.jsonl")).unwrap();
    assert_eq!(second.lines().count(), 2);
}

#[test]
fn what_is_removed_is_gone_and_what_another_program_appends_meanwhile_stays() {
    let data = tempfile::tempdir().unwrap();
    let running = DeadLetters::new(data.path(), Clock::system());
    bury(&running, 0..4);
    let path = folder_of(data.path()).join("00000001.jsonl");
    // Appended after somebody had read the four.
    bury(&running, 4..6);
    let edited = edit(&path, |n, line| match line {
        Line::Letter(letter) if n == 2 => Decision::Change(Box::new(Letter {
            attempts: letter.attempts + 1,
            ..(**letter).clone()
        })),
        Line::Letter(_) if n < 4 => Decision::Remove,
        _ => Decision::Keep,
    });
    assert_eq!(
        edited.unwrap(),
        Edited {
            removed: 3,
            kept: 3
        }
    );
    // The running program still has the old file open.
    bury(&running, 6..7);
    assert_eq!(ids(data.path()), [2, 4, 5, 6]);
    assert_eq!(read(data.path())[0].attempts, 3);
    let edited = edit(&path, |_, _| Decision::Remove).unwrap();
    assert_eq!(
        edited,
        Edited {
            removed: 4,
            kept: 0
        }
    );
    assert!(!path.exists());
    bury(&running, 7..8);
    assert_eq!(ids(data.path()), [7]);
    let names = fs::read_dir(folder_of(data.path()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| name != "00000001.new"));
}

#[test]
fn a_line_that_is_no_letter_is_told_and_kept() {
    let data = tempfile::tempdir().unwrap();
    let letters = DeadLetters::new(data.path(), Clock::system());
    bury(&letters, 0..1);
    let path = folder_of(data.path()).join("00000001.jsonl");
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"dead_at\": 7}\n\xff\xfe\n").unwrap();
    bury(&letters, 1..2);
    let (_, lines) = lines(data.path(), "es").unwrap().remove(0);
    let read: Vec<bool> = lines
        .map(|line| matches!(line.unwrap(), Line::Letter(_)))
        .collect();
    assert_eq!(read, [true, false, false, true]);
    let only_letters = |_: usize, line: &Line| match line {
        Line::Letter(_) => Decision::Remove,
        Line::Unreadable(_) => Decision::Keep,
    };
    assert_eq!(
        edit(&path, only_letters).unwrap(),
        Edited {
            removed: 2,
            kept: 2
        }
    );
    assert_eq!(fs::read(&path).unwrap(), b"{\"dead_at\": 7}\n\xff\xfe\n");
}

#[test]
fn a_filter_takes_what_it_names() {
    let data = tempfile::tempdir().unwrap();
    let letters = DeadLetters::new(data.path(), Clock::manual(Time::from_secs(100)));
    bury(&letters, 0x1a..0x1b);
    let letter = &read(data.path())[0];
    let some = |text: &str| Some(text.to_owned());
    let takes = |filter: Filter| filter.takes(letter);
    assert!(takes(Filter::default()) && Filter::default().is_open());
    assert!(takes(Filter {
        component: some("es"),
        reason: some("mapping"),
        ..Filter::default()
    }));
    assert!(!takes(Filter {
        component: some("es"),
        reason: some("panic"),
        ..Filter::default()
    }));
    assert!(!takes(Filter {
        component: some("loki"),
        ..Filter::default()
    }));
    assert!(takes(Filter {
        id: some(letter.id()),
        ..Filter::default()
    }));
    assert!(
        takes(Filter {
            id: some("0000"),
            ..Filter::default()
        }) && !takes(Filter {
            id: some("1a"),
            ..Filter::default()
        })
    );
    assert!(takes(Filter {
        before: Some(Time::from_secs(101)),
        ..Filter::default()
    }));
    assert!(!takes(Filter {
        before: Some(Time::from_secs(100)),
        ..Filter::default()
    }));
}

#[test]
fn two_commands_do_not_work_on_the_same_letters() {
    let data = tempfile::tempdir().unwrap();
    bury(&DeadLetters::new(data.path(), Clock::system()), 0..1);
    let first = AtWork::on(data.path(), "es").unwrap();
    assert!(AtWork::on(data.path(), "es").is_err());
    drop(first);
    AtWork::on(data.path(), "es").unwrap();
}

#[test]
fn many_threads_and_an_editor_lose_nothing() {
    let data = tempfile::tempdir().unwrap();
    let letters = DeadLetters::new(data.path(), Clock::system());
    // Each has files open of its own, like several programs.
    let other = DeadLetters::new(data.path(), Clock::system());
    bury(&letters, 0..1);
    let path = folder_of(data.path()).join("00000001.jsonl");
    std::thread::scope(|scope| {
        for (n, letters) in [&letters, &letters, &other, &other].into_iter().enumerate() {
            scope.spawn(move || {
                (0..20).for_each(|m| bury(letters, 100 * n as u64 + m..100 * n as u64 + m + 1))
            });
        }
        scope.spawn(|| {
            for _ in 0..20 {
                // Even ones are removed, the others rewritten.
                let decide = |_: usize, line: &Line| match line {
                    Line::Letter(letter)
                        if EventId::parse(letter.id()).unwrap().0[1].is_multiple_of(2) =>
                    {
                        Decision::Remove
                    }
                    Line::Letter(letter) => Decision::Change(letter.clone()),
                    Line::Unreadable(why) => panic!("{why}"),
                };
                let _ = edit(&path, decide);
            }
        });
    });
    let mut odd: Vec<u64> = ids(data.path())
        .into_iter()
        .filter(|id| id % 2 == 1)
        .collect();
    odd.sort_unstable();
    let expected: Vec<u64> = (0..4)
        .flat_map(|n| (1..20).step_by(2).map(move |m| 100 * n + m))
        .collect();
    assert_eq!(odd, expected);
}
