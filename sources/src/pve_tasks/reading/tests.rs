//! What is news, and what is missing.

use super::*;
use proptest::prelude::*;

use crate::pve_tasks::lists::Looker;
use crate::pve_tasks::testing::{BEGIN, Node};

const HOST: &str = "other";

fn look(node: &Node, reading: &mut Reading, told: &mut Told) -> Found {
    let lists = Looker::new(node.path()).look(true).unwrap().unwrap();
    let found = reading.read(&lists, told, Time::from_secs(i64::from(BEGIN) + 5000));
    found.news.iter().for_each(|news| news.remember(told));
    told.settle(&found);
    found
}

fn restarted(node: &Node, told: &Told) -> (Reading, Told) {
    let json = serde_json::to_string(&told.position()).unwrap();
    let reading = Reading::new(Logs::new(node.path()), HOST);
    (reading, Told::new(serde_json::from_str(&json).unwrap()))
}

#[test]
fn one_rotation_is_no_gap_two_are() {
    let mut node = Node::new();
    let mut told = Told::default();
    let mut reading = Reading::new(Logs::new(node.path()), HOST);
    node.ended("qmstart", "1", "OK");
    let found = look(&node, &mut reading, &mut told);
    assert_eq!((found.news.len(), found.gap), (1, None));
    node.ended("qmstart", "2", "OK");
    node.rotate();
    node.ended("qmstart", "3", "OK");
    let found = look(&node, &mut reading, &mut told);
    assert_eq!((found.news.len(), found.gap), (2, None));
    let lost = node.ended("qmstart", "4", "OK");
    node.log(&lost, "TASK OK\n");
    node.rotate();
    node.ended("qmstart", "5", "OK");
    node.rotate();
    node.ended("qmstart", "6", "OK");
    let found = look(&node, &mut reading, &mut told);
    let gap = found.gap.unwrap();
    assert_eq!((gap.certain, gap.found), (true, 1));
    let end = |n| Some(Time::from_secs(i64::from(BEGIN + n + 1)));
    assert_eq!((gap.from, gap.to), (end(3), end(5)));
    let what: Vec<_> = found
        .news
        .iter()
        .map(|news| (&news.text, &news.what))
        .collect();
    assert_eq!(what[0], (&lost, &What::Unlisted));
    assert_eq!(what.len(), 3);
    // Told, and no news after a restart.
    let (mut reading, mut told) = restarted(&node, &told);
    let found = look(&node, &mut reading, &mut told);
    assert!(found.news.is_empty() && found.gap.is_none());
}

#[test]
fn an_empty_index_leaves_it_open_whether_something_is_missing() {
    let mut node = Node::new();
    let mut told = Told::default();
    let mut reading = Reading::new(Logs::new(node.path()), HOST);
    node.ended("qmstart", "1", "OK");
    node.rotate();
    assert_eq!(look(&node, &mut reading, &mut told).gap, None);
    node.ended("qmstart", "2", "OK");
    node.rotate();
    let gap = look(&node, &mut reading, &mut told).gap.unwrap();
    assert!(!gap.certain);
    assert_eq!(look(&node, &mut reading, &mut told).gap, None);
}

#[test]
fn a_deleted_index_is_a_gap() {
    let mut node = Node::new();
    let mut told = Told::default();
    let mut reading = Reading::new(Logs::new(node.path()), HOST);
    node.ended("qmstart", "1", "OK");
    look(&node, &mut reading, &mut told);
    std::fs::remove_file(node.file("index")).unwrap();
    assert!(look(&node, &mut reading, &mut told).gap.unwrap().certain);
    assert_eq!(look(&node, &mut reading, &mut told).gap, None);
}

#[test]
fn a_task_that_left_the_lists_without_a_word_has_ended_after_a_minute() {
    let mut node = Node::new();
    let mut told = Told::default();
    let mut reading = Reading::new(Logs::new(node.path()), HOST);
    let upid = node.upid("qmigrate", "1");
    let stays = node.upid("vncproxy", "1");
    node.active(&[format!("{upid} 0"), format!("{stays} 0")]);
    assert_eq!(look(&node, &mut reading, &mut told).news.len(), 2);
    node.active(&[format!("{stays} 0")]);
    assert!(look(&node, &mut reading, &mut told).news.is_empty());
    assert!(reading.waits());
    let long_ago = Instant::now().checked_sub(GONE).unwrap();
    reading.missing.insert(upid.clone(), long_ago);
    let found = look(&node, &mut reading, &mut told);
    assert_eq!(found.news.len(), 1);
    assert_eq!(
        (&found.news[0].text, &found.news[0].what),
        (&upid, &What::Unlisted)
    );
    assert!(!reading.waits() && !told.running.contains(&upid));
    // Whatever comes of it later was told.
    node.end(&upid, "migration aborted");
    assert!(look(&node, &mut reading, &mut told).news.is_empty());
}

#[test]
fn of_two_lines_about_one_task_the_one_that_knows_its_end_counts() {
    let mut node = Node::new();
    let mut told = Told::default();
    let mut reading = Reading::new(Logs::new(node.path()), HOST);
    let upid = node.ended("vzdump", "1", "unexpected status");
    node.ended("qmstart", "1", "OK");
    node.end(&upid, "job errors");
    node.end(&upid, "unexpected status");
    let found = look(&node, &mut reading, &mut told);
    assert_eq!(found.news.len(), 2);
    assert_eq!(found.news[0].what, What::End("job errors".to_owned()));
}

#[test]
fn zeros_of_a_crash_and_a_list_that_ended_in_half_a_line_are_read() {
    let mut node = Node::new();
    let mut told = Told::default();
    let mut reading = Reading::new(Logs::new(node.path()), HOST);
    let upid = node.upid("qmstart", "1");
    node.append(&format!("\0\0\0{} OK\n\0\0", node.ending(&upid)));
    let half = node.upid("qmstart", "2");
    node.append(&format!("\n{} O", node.ending(&half)));
    assert_eq!(look(&node, &mut reading, &mut told).news.len(), 1);
    node.rotate();
    let found = look(&node, &mut reading, &mut told);
    assert_eq!(found.news.len(), 1);
    assert!(found.news[0].partial && found.news[0].text == half);
}

/// What PVE, this program and fate do.
#[derive(Clone, Debug)]
enum Step {
    Begin,
    End,
    /// A line that stands there twice.
    Again,
    Rotate,
    Look,
    /// The program dies after so many pieces of news were stored, and starts again.
    Crash(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Begin),
        4 => Just(Step::End),
        1 => Just(Step::Again),
        1 => Just(Step::Rotate),
        2 => Just(Step::Look),
        1 => (0_usize..8).prop_map(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However often the program dies and the lists are rotated, every end is told once; unless a list was overwritten
    /// unread, and then that is told.
    #[test]
    fn every_end_is_told_once(steps in prop::collection::vec(step(), 1..80)) {
        let mut node = Node::new();
        let (mut running, mut finished) = (Vec::new(), Vec::new());
        let mut all = Vec::new();
        let mut told = Told::default();
        let mut reading = Reading::new(Logs::new(node.path()), HOST);
        let (mut ends, mut starts): (Vec<String>, Vec<String>) = Default::default();
        let mut gap = false;
        // What was overwritten before it ever ran is nothing it could know of.
        let first = [Step::Begin, Step::End, Step::Look];
        for step in first.into_iter().chain(steps).chain([Step::Look]) {
            match step {
                Step::Begin => running.push(node.upid("qmstart", "1")),
                Step::End if !running.is_empty() => {
                    let upid: String = running.remove(0);
                    node.end(&upid, "OK");
                    finished.insert(0, format!("{} OK", node.ending(&upid).replacen(": ", ": 1 ", 1)));
                    all.push(upid);
                }
                Step::Again => if let Some(upid) = all.last() { node.end(upid, "OK") },
                Step::Rotate if node.file("index").exists() => node.rotate(),
                Step::End | Step::Rotate => {}
                Step::Look | Step::Crash(_) => {
                    finished.truncate(3);
                    let active: Vec<String> =
                        running.iter().map(|upid| format!("{upid} 0")).chain(finished.clone()).collect();
                    node.active(&active);
                    let lists = Looker::new(node.path()).look(true).unwrap().unwrap();
                    let found = reading.read(&lists, &mut told, Time::from_secs(i64::from(BEGIN)));
                    gap |= found.gap.is_some();
                    let stored = match step {
                        Step::Crash(n) => n.min(found.news.len()),
                        _ => found.news.len(),
                    };
                    for news in &found.news[..stored] {
                        news.remember(&mut told);
                        match news.what {
                            What::Start => starts.push(news.text.clone()),
                            _ => ends.push(news.text.clone()),
                        }
                    }
                    if stored == found.news.len() {
                        told.settle(&found);
                    }
                    if let Step::Crash(_) = step {
                        (reading, told) = restarted(&node, &told);
                    }
                }
            }
        }
        let once: HashSet<&String> = ends.iter().collect();
        prop_assert_eq!(once.len(), ends.len(), "told twice");
        let once: HashSet<&String> = starts.iter().collect();
        prop_assert_eq!(once.len(), starts.len(), "a start told twice");
        let missing: Vec<&String> = all.iter().filter(|upid| !ends.contains(upid)).collect();
        prop_assert!(missing.is_empty() || gap, "lost without a word: {:?}", missing);
    }

    /// Lists of anything at all are read to their end, and every line of them is told or known.
    #[test]
    fn lists_of_anything_are_survived(
        lists in prop::collection::vec(prop::collection::vec(prop_oneof![
            3 => Just(b'\n'),
            3 => Just(b' '),
            3 => Just(b':'),
            9 => any::<u8>(),
        ], 0..400), 3),
        begin in prop_oneof![Just(""), Just("UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam: ")],
    ) {
        let list = |n: usize| List {
            text: [begin.as_bytes(), &lists[n]].concat(),
            cut: false,
        };
        let lists = Lists { active: list(0), index: list(1), previous: list(2) };
        let mut told = Told::default();
        let mut reading = Reading::new(Logs::new(std::path::Path::new("/nowhere")), HOST);
        let found = reading.read(&lists, &mut told, Time(0));
        found.news.iter().for_each(|news| news.remember(&mut told));
        told.settle(&found);
        prop_assert!(reading.read(&lists, &mut told, Time(0)).news.is_empty());
    }
}
