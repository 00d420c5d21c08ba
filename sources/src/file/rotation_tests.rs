//! Rotations, done by the test, one sentence each. Counts in and out are exact unless the sentence says otherwise.

use super::notes::SHRUNK;
use super::testing::{World, access, gz, lines_of};
use std::fs;

const HEADER: &str = "# Fields: time ip user\n";

#[test]
fn rename_and_create_with_the_same_first_line() {
    let mut world = World::new();
    world.write("a.log", format!("{HEADER}one\n"));
    assert_eq!(world.reads(), ["# Fields: time ip user", "one"]);
    world.append("a.log", "two\n");
    world.rename("a.log", "a.log.1");
    world.write("a.log", format!("{HEADER}three\n"));
    world.append("a.log.1", "late\n");
    assert_eq!(
        world.reads(),
        ["two", "late", "# Fields: time ip user", "three"]
    );
    let lanes: Vec<_> = world
        .positions
        .keys()
        .map(|lane| (lane.first, lane.counter))
        .collect();
    assert_eq!(
        (lanes.len(), lanes[0].0),
        (2, lanes[1].0),
        "one family, one first line"
    );
    assert_eq!((lanes[0].1, lanes[1].1), (0, 1));
}

#[test]
fn rename_and_create_while_the_new_file_is_still_a_copy_of_the_old_ones_beginning() {
    let mut world = World::new();
    world.write("a.log", HEADER);
    assert_eq!(world.reads().len(), 1);
    world.rename("a.log", "a.log.1");
    world.write("a.log", HEADER);
    assert_eq!(
        world.reads(),
        ["# Fields: time ip user"],
        "the header of the new file is a line of its own"
    );
    world.append("a.log", "one\n");
    assert_eq!(world.reads(), ["one"]);
}

#[test]
fn late_lines_after_a_rotation_are_read_until_it_was_quiet_for_long_enough() {
    let mut world = World::new();
    world.write("a.log", access(0, 3));
    world.step();
    world.rename("a.log", "a.log.1");
    world.write("a.log", access(10, 1));
    world.step();
    world.texts();
    for n in 0..5 {
        world.append("a.log.1", access(100 + n, 1));
        world.wait(50);
        assert_eq!(world.texts(), lines_of(&access(100 + n, 1)));
    }
    assert_eq!(world.files.open(), 2);
    world.wait(61);
    assert_eq!(world.files.open(), 1, "the old one is closed");
    world.append("a.log.1", "even later\n");
    assert_eq!(
        world.reads(),
        ["even later"],
        "and opened again when it grows all the same"
    );
}

#[test]
fn a_renamed_log_without_a_successor_stays_open() {
    let mut world = World::with(&["a.log"], |_| {});
    world.write("a.log", "one\n");
    world.step();
    world.rename("a.log", "a.log.1");
    world.wait(600);
    world.append("a.log.1", "two\n");
    assert_eq!(world.step().texts(), ["one", "two"]);
}

#[test]
fn copytruncate_with_the_same_first_line() {
    let mut world = World::new();
    world.write("a.log", format!("{HEADER}one\n"));
    world.step();
    world.append("a.log", "two\nthree\n");
    world.copytruncate("a.log", "a.log.1");
    world.append("a.log", format!("{HEADER}four\n"));
    world.step().step();
    assert_eq!(
        world.texts(),
        [
            "# Fields: time ip user",
            "one",
            "two",
            "three",
            "# Fields: time ip user",
            "four"
        ]
    );
    assert_eq!(world.files.notes.counts.truncated, 1);
    let told = world.told();
    assert!(told.contains(&"truncated") && !told.contains(&SHRUNK));
}

#[test]
fn copytruncate_with_another_first_line_when_only_the_log_itself_is_included() {
    let mut world = World::with(&["a.log"], |_| {});
    world.write("a.log", access(0, 20));
    world.step();
    world.append("a.log", access(20, 5));
    world.copytruncate("a.log", "a.log-20260126");
    world.append("a.log", access(30, 2));
    world.step().step();
    assert_eq!(world.texts(), lines_of(&(access(0, 25) + &access(30, 2))));
}

#[test]
fn truncated_and_grown_past_the_old_offset_between_two_looks() {
    let mut world = World::new();
    world.write("a.log", format!("{HEADER}one\n"));
    world.step();
    world.write("a.log", format!("{HEADER}{}", access(0, 50)));
    world.step();
    assert_eq!(world.texts().len(), 2 + 51);
    assert_eq!(world.files.notes.counts.truncated, 1);
    // No copy: this was no rotation, and a rule hears of it.
    assert!(world.told().contains(&SHRUNK));
}

#[test]
fn truncated_with_half_a_line_read_and_no_copy() {
    let mut world = World::new();
    world.write("a.log", "one\nhalf a li");
    assert_eq!(world.reads(), ["one"]);
    world.write("a.log", "2\n");
    world.step().step();
    let mut lines: Vec<_> = world
        .lines
        .iter()
        .map(|line| (line.text.as_str(), line.facts.partial))
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, [("2", false), ("half a li", true)]);
}

#[test]
fn a_copy_that_is_being_made_is_not_taken_for_a_new_log() {
    let mut world = World::new();
    let text = access(0, 30);
    world.write("a.log", &text);
    world.step();
    for len in [0, 1, 700, 2000, text.len()] {
        world.write("a.log.1", &text[..len]);
        world.step();
    }
    assert_eq!(world.texts().len(), 30);
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(world.at("a.log"))
        .unwrap();
    world.append("a.log", access(50, 1));
    world.step().step();
    assert_eq!(world.texts(), lines_of(&access(50, 1)));
    world.wait(100).wait(100);
    assert!(world.texts().is_empty());
}

#[test]
fn two_rotations_while_stopped_are_replayed_oldest_first() {
    for include in ["a.log*", "a.log"] {
        let mut world = World::with(&[include], |_| {});
        world.write("a.log", access(0, 10));
        world.step();
        world.append("a.log", access(10, 1));
        world.rename("a.log", "a.log.2");
        world.write("a.log.1", access(20, 3));
        world.write("a.log", access(30, 2));
        world.gzip("a.log.2");
        world.restart().step().step();
        assert_eq!(
            world.texts(),
            lines_of(&(access(0, 11) + &access(20, 3) + &access(30, 2))),
            "with {include}"
        );
        world.restart().wait(100);
        world.restart().wait(100);
        assert!(
            world.texts().is_empty(),
            "nothing is read twice with {include}"
        );
    }
}

#[test]
fn rotations_while_stopped_that_left_nothing_known_behind() {
    let mut world = World::with(&["a.log"], |_| {});
    world.write("a.log.3", "before our time\n");
    world.write("a.log", "one\n");
    world.step();
    world.remove("a.log");
    // A file made now is younger than what the test's clock calls the last look.
    world.write("a.log.2", "two\n");
    world.write("a.log.1", "three\n");
    world.write("a.log", "four\n");
    let old = fs::File::options()
        .write(true)
        .open(world.at("a.log.3"))
        .unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    world.restart().step().step();
    assert_eq!(world.texts(), ["one", "two", "three", "four"]);
}

#[test]
fn two_rotations_between_two_looks() {
    let mut world = World::with(&["a.log"], |_| {});
    world.write("a.log", "one\n");
    world.step();
    world.rename("a.log", "a.log.2");
    world.write("a.log.1", "two\n");
    world.write("a.log", "three\n");
    world.step().step();
    assert_eq!(world.texts(), ["one", "two", "three"]);
}

#[test]
fn an_inode_that_is_used_again_is_another_file() {
    let mut world = World::with(&["*.log"], |_| {});
    world.write("a.log", access(0, 10));
    world.step();
    // The same inode under another name with another text, as after rm and create.
    world.write("a.log", access(70, 10));
    world.rename("a.log", "b.log");
    world.restart().step();
    assert_eq!(world.texts(), lines_of(&(access(0, 10) + &access(70, 10))));
    assert!(
        world
            .positions
            .keys()
            .any(|lane| lane.family.ends_with("b.log"))
    );
}

#[test]
fn gzip_of_a_log_that_was_read_to_its_end_is_not_read_again() {
    let mut world = World::new();
    world.write("a.log", access(0, 10));
    world.step();
    world.rename("a.log", "a.log.1");
    world.write("a.log", access(10, 1));
    world.wait(100);
    world.gzip("a.log.1");
    world.wait(100);
    world.rename("a.log.1.gz", "a.log.2.gz");
    world.wait(100);
    world.restart().wait(100);
    assert_eq!(world.texts(), lines_of(&access(0, 11)));
    assert_eq!(world.positions.len(), 2);
}

#[test]
fn gzip_of_a_log_that_was_half_read_goes_on_where_it_stood() {
    let mut world = World::new();
    world.write("a.log", access(0, 1000));
    world.step();
    world.append("a.log", access(1000, 2000));
    world.gzip("a.log");
    world.write("a.log", access(5000, 1));
    world.restart().step();
    assert_eq!(
        world.texts(),
        lines_of(&(access(0, 3000) + &access(5000, 1)))
    );
}

#[test]
fn gzip_that_stops_short_is_read_on_when_it_is_whole() {
    let mut world = World::new();
    let text = access(0, 20_000);
    let whole = gz(text.as_bytes());
    world.write("a.log.1.gz", &whole[..40]);
    world.step();
    world.write("a.log.1.gz", &whole[..whole.len() - 20]);
    world.step();
    let got = world.texts();
    assert!(
        !got.is_empty() && got.len() < 20_000,
        "{} lines so far",
        got.len()
    );
    assert!(world.told().contains(&"gzip_cut_short"));
    world.restart().step();
    assert!(world.texts().is_empty());
    world.write("a.log.1.gz", &whole);
    world.step();
    let rest = world.texts();
    assert_eq!([got, rest].concat(), lines_of(&text));
    assert_eq!(world.positions.len(), 1);
}

#[test]
fn damaged_gzip_is_told_and_nothing_before_the_damage_is_lost() {
    let mut world = World::new();
    let mut bytes = gz(access(0, 20_000).as_bytes());
    let at = bytes.len() - 6;
    bytes[at] ^= 0x55;
    world.write("a.log.1.gz", bytes);
    world.wait(5).wait(5);
    assert_eq!(world.texts().len(), 20_000);
    assert!(world.told().contains(&"gzip_damaged"));
    assert_eq!(
        world.files.notes.counts.checksum_errors, 1,
        "told once, not at every look"
    );
}

#[test]
fn lines_written_after_the_log_was_compressed_do_not_make_the_archive_new() {
    let mut world = World::new();
    world.write("a.log", access(0, 10));
    world.step();
    let writer = fs::OpenOptions::new()
        .append(true)
        .open(world.at("a.log"))
        .unwrap();
    world.rename("a.log", "a.log.1");
    world.write("a.log", access(10, 1));
    world.write("a.log.1.gz", gz(access(0, 10).as_bytes()));
    world.step();
    world.remove("a.log.1");
    std::io::Write::write_all(&mut &writer, access(40, 1).as_bytes()).unwrap();
    world.step();
    world.wait(100);
    world.restart().wait(100);
    assert_eq!(world.texts(), lines_of(&(access(0, 11) + &access(40, 1))));
}

#[test]
fn a_deleted_log_is_read_to_its_end() {
    let mut world = World::new();
    world.write("a.log", "one\n");
    world.step();
    world.append("a.log", "two\nhalf");
    world.remove("a.log");
    world.step();
    assert_eq!(world.texts(), ["one", "two"]);
    world.wait(61);
    assert_eq!(world.texts(), ["half"]);
    assert_eq!(
        (world.files.open(), world.files.notes.counts.deleted),
        (0, 1)
    );
    world.write("a.log", "one\n");
    assert_eq!(
        world.reads(),
        ["one"],
        "the same line in a new file is another event"
    );
}

#[test]
fn a_log_that_was_replaced_by_a_longer_copy_goes_on() {
    let mut world = World::new();
    world.write("a.log", access(0, 10));
    world.step();
    world.remove("a.log");
    world.wait(100);
    world.write("a.log", access(0, 12));
    world.step();
    assert_eq!(world.texts(), lines_of(&access(0, 12)));
}

#[test]
fn positions_of_what_is_gone_are_forgotten_but_no_generation_is_counted_twice() {
    let mut world = World::new();
    for _ in 0..3 {
        world.write("a.log", HEADER);
        world.step();
        world.remove("a.log");
        world.wait(100);
    }
    assert_eq!(world.positions.len(), 3);
    world.wait(25 * 3600);
    assert_eq!(world.positions.len(), 1, "the last one holds the counter");
    world.restart();
    world.write("a.log", HEADER);
    world.step();
    let counters: Vec<_> = world.lines.iter().map(|line| line.lane.counter).collect();
    assert_eq!(counters, [0, 1, 2, 3]);
    world.remove("a.log");
    world.wait(100).wait(31 * 24 * 3600);
    assert!(world.positions.is_empty());
}
