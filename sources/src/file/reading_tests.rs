//! What is read of a file, and what an operator can set.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use regex::bytes::Regex;

use super::page::Facts;
use super::testing::{World, access, gz, lines_of};

#[test]
fn the_smallest_files_are_read_from_their_first_byte() {
    let mut world = World::with(&["*.log*"], |_| {});
    world.write("a.log", "x");
    world.write("b.log", "y\n");
    world.write("c.log", "");
    world.write("d.log.1.gz", gz(b"z"));
    world.write("e.log.1.gz", gz(b""));
    world.step();
    let mut texts: Vec<_> = world
        .lines
        .iter()
        .map(|line| (line.text.clone(), line.facts.partial))
        .collect();
    texts.sort();
    assert_eq!(texts, [("y".to_owned(), false), ("z".to_owned(), true)]);
    world.texts();
    world.append("a.log", "1\n");
    world.append("c.log", "c");
    assert_eq!(world.reads(), ["x1"]);
    world.remove("c.log");
    world.wait(61);
    assert_eq!(
        (world.lines[0].text.as_str(), world.lines[0].facts.partial),
        ("c", true)
    );
}

#[test]
fn a_rotated_file_without_a_last_newline_ends_with_a_partial_line() {
    let mut world = World::new();
    world.write("a.log.1", "one\nha");
    world.write("a.log", "two\n");
    world.step();
    assert_eq!(world.texts(), ["one", "two"]);
    world.wait(61);
    assert_eq!(world.lines.len(), 1);
    assert_eq!(
        world.lines[0].facts,
        Facts {
            partial: true,
            cut: None
        }
    );
    assert_eq!(world.lines[0].offset, 4);
}

#[test]
fn a_restart_goes_on_at_the_line_that_was_not_whole() {
    let mut world = World::new();
    world.write("a.log", "one\ntwo");
    assert_eq!(world.reads(), ["one"]);
    world.restart();
    assert!(world.reads().is_empty());
    world.append("a.log", " and more\nthree\n");
    assert_eq!(world.reads(), ["two and more", "three"]);
    assert_eq!(world.positions.len(), 1);
    assert_eq!(world.files.notes.counts.resumed, 1);
}

#[test]
fn places_are_the_same_after_rotation_restart_and_compression() {
    let text = access(0, 5000);
    let mut all = Vec::new();
    for step in 0..3 {
        let mut world = World::new();
        match step {
            0 => world.write("a.log", &text),
            1 => world.write("a.log.1", &text),
            _ => world.write("a.log.3.gz", gz(text.as_bytes())),
        }
        world.step();
        let name =
            |line: &super::testing::Line| (line.lane.generation(), line.offset, line.text.clone());
        all.push(world.lines.iter().map(name).collect::<Vec<_>>());
    }
    assert_eq!(all[0].len(), 5000);
    assert!(all[0] == all[1] && all[1] == all[2]);
}

#[test]
fn reading_from_the_end_leaves_out_what_was_there_and_nothing_else() {
    let mut world = World::with(&["*.log*"], |settings| settings.from_end = true);
    world.write("a.log", access(0, 5000) + "half");
    world.write("a.log.1", access(9000, 3));
    world.write("a.log.2.gz", gz(access(9010, 3).as_bytes()));
    world.step();
    assert!(world.texts().is_empty());
    world.restart();
    world.append("a.log", " line\n");
    world.write("b.log", "new\n");
    world.step();
    assert_eq!(
        world.texts(),
        ["half line"],
        "what came while nothing ran is read, new files at the first look are not"
    );
    world.write("c.log", "newer\n");
    assert_eq!(world.reads(), ["newer"]);
    world.gzip("a.log.1");
    world.wait(100);
    assert!(world.texts().is_empty());
}

#[test]
fn old_files_are_left_alone_until_they_change() {
    let mut world = World::with(&["*.log"], |settings| {
        settings.ignore_older = Some(Duration::from_secs(3600))
    });
    world.write("a.log", "one\n");
    let file = fs::File::options()
        .write(true)
        .open(world.at("a.log"))
        .unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    drop(file);
    assert!(world.reads().is_empty());
    assert_eq!(world.files.notes.counts.unwatched, 1);
    world.append("a.log", "two\n");
    assert_eq!(world.reads(), ["one", "two"]);
}

#[test]
fn an_unreadable_file_is_told_and_read_as_soon_as_it_can_be() {
    if rustix::process::geteuid().is_root() {
        // Nothing is unreadable for root; a folder that is in the way stands for it.
        return;
    }
    let mut world = World::new();
    world.write("a.log", "one\n");
    fs::set_permissions(world.at("a.log"), fs::Permissions::from_mode(0o000)).unwrap();
    assert!(world.reads().is_empty());
    assert_eq!(world.told(), ["permission_denied"]);
    fs::set_permissions(world.at("a.log"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(world.reads(), ["one"]);
}

#[test]
fn what_is_no_file_is_told_and_never_waited_for() {
    let mut world = World::with(&["a.log", "b.log*", "c.log.xz"], |_| {});
    fs::create_dir(world.at("a.log")).unwrap();
    std::os::unix::net::UnixListener::bind(world.at("b.log")).unwrap();
    std::os::unix::fs::symlink(world.at("nowhere"), world.at("b.log.1")).unwrap();
    world.write("c.log.xz", b"\xfd7zXZ\0");
    assert!(world.reads().is_empty());
    let mut told = world.told();
    told.sort_unstable();
    assert_eq!(
        told,
        [
            "broken_symlink",
            "is_a_folder",
            "not_a_file",
            "unknown_compression"
        ]
    );
    fs::remove_dir(world.at("a.log")).unwrap();
    world.write("a.log", "now\n");
    assert_eq!(world.reads(), ["now"]);
}

#[test]
fn two_names_of_one_file_are_read_once() {
    let mut world = World::with(&["*.log"], |_| {});
    world.write("a.log", "one\n");
    fs::hard_link(world.at("a.log"), world.at("b.log")).unwrap();
    std::os::unix::fs::symlink(world.at("a.log"), world.at("c.log")).unwrap();
    assert_eq!(world.reads(), ["one"]);
    world.remove("a.log");
    world.append("b.log", "two\n");
    world.wait(100);
    assert_eq!(world.texts(), ["two"]);
}

#[test]
fn files_take_turns() {
    let mut world = World::with(&["*.log"], |_| {});
    for name in ["a.log", "b.log", "c.log"] {
        world.write(name, access(0, 8000));
    }
    world.step();
    let mut order: Vec<_> = world
        .lines
        .iter()
        .map(|line| line.lane.family.clone())
        .collect();
    order.dedup();
    assert!(
        order.len() >= 9,
        "each file waited for the others only one turn: {}",
        order.len()
    );
    assert_eq!(world.texts().len(), 24_000);
}

#[test]
fn more_files_than_may_be_open_are_all_read_and_followed() {
    let mut world = World::with(&["*.log"], |settings| settings.max_open = 3);
    for n in 0..20 {
        world.write(&format!("{n}.log"), format!("{n} one\n"));
    }
    assert_eq!(world.reads().len(), 20);
    for round in 0..3 {
        for n in (0..20).rev() {
            world.append(&format!("{n}.log"), format!("{n} {round}\n"));
        }
        assert_eq!(world.reads().len(), 20);
        assert!(world.files.open() <= 3, "{} are open", world.files.open());
    }
    world.rename("4.log", "4.log.1");
    world.write("4.log", "new 4\n");
    world.rename("4.log.1", "renamed.log");
    world.append("renamed.log", "late 4\n");
    let mut texts = world.reads();
    texts.extend(world.reads());
    texts.sort();
    assert_eq!(texts, ["late 4", "new 4"]);
}

#[test]
fn lines_that_belong_together_wait_for_each_other_but_not_for_ever() {
    let start = Regex::new("^[0-9]").unwrap();
    let mut world = World::with(&["a.log"], move |settings| {
        settings.multiline = Some((start.clone(), Duration::from_secs(5)))
    });
    world.write("a.log", "1 error\n  at x\n2 error\n");
    assert_eq!(world.reads(), ["1 error\n  at x"]);
    world.append("a.log", "  at y\n");
    assert!(world.reads().is_empty());
    world.restart();
    assert!(
        world.reads().is_empty(),
        "the open event is read again, whole"
    );
    world.wait(5);
    assert_eq!(world.texts(), ["2 error\n  at y"]);
    world.append("a.log", "3 last\n");
    world.step();
    world.remove("a.log");
    world.wait(70);
    assert_eq!(world.texts(), ["3 last"]);
}

#[test]
fn a_hole_left_by_copytruncate_is_skipped() {
    let mut world = World::new();
    world.write("a.log", access(0, 100));
    world.step();
    world.texts();
    // A writer without O_APPEND goes on at its old offset after the truncation.
    let mut text = vec![0; access(0, 100).len()];
    text.extend_from_slice(access(200, 1).as_bytes());
    world.copytruncate("a.log", "a.log.1");
    world.write("a.log", text);
    world.step().step();
    assert_eq!(world.texts(), lines_of(&access(200, 1)));
}

#[test]
fn a_read_that_races_with_a_truncation_is_not_believed() {
    let mut world = World::new();
    world.write("a.log", access(0, 10_000));
    world.files.poll(world.now, super::testing::START, true);
    let ready = world.files.next(world.now).unwrap();
    let mut page = super::page::testing::Sheet::default();
    world
        .files
        .read(ready.id, &mut page, world.now, super::testing::START)
        .unwrap();
    let first = page.texts().len();
    // Between two reads of a long backlog, without a look around.
    world.copytruncate("a.log", "a.log.1");
    world.append("a.log", access(20_000, 10_000));
    world.step().step();
    let texts = world.texts();
    assert_eq!(first + texts.len(), 20_000);
    assert_eq!(
        texts[..10_000 - first],
        lines_of(&access(first, 10_000 - first))
    );
}
