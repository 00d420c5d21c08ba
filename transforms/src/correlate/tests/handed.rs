//! Tasks whose lists are read late.

use std::time::Duration;

use pipeline::Event;
use pipeline::testing::{StatefulBench, events};

use super::super::Config;
use super::made::{forks, task, told, upid_of};

/// A child of an act upon all guests, which has no line, and the task of the same user upon the same guest from elsewhere,
/// which has one.
fn two() -> (String, String) {
    let of = |pid, at| upid_of("pve1", pid, at, "qmstart", "104", "team@pve");
    (of(1, 10.0), of(2, 13.0))
}

const CALL: &str = "POST /api2/extjs/nodes/pve1/qemu/104/status/start";

/// The child is listed; the owner of the line only so many seconds after it, with the next list.
fn late(bench: &mut StatefulBench, by: u64) -> Vec<Event> {
    let (child, owner) = two();
    let mut out = Vec::new();
    let line = forks("pve1", "192.0.2.66", "team@pve", CALL, &owner, 13.0);
    out.extend(bench.feed(events([line])).events().to_vec());
    bench.hush("lists");
    let child = bench.feed_by("lists", events([task("task", &child, "end", 11.0)]));
    out.extend(child.events().to_vec());
    for _ in 0..by {
        out.extend(bench.wait(Duration::from_secs(1)).events().to_vec());
    }
    let owner = bench.feed_by("lists", events([task("task", &owner, "end", 14.0)]));
    out.extend(owner.events().to_vec());
    for _ in 0..60 {
        // The next list, and the one after it.
        out.extend(bench.feed_by("lists", Vec::new()).events().to_vec());
        out.extend(bench.wait(Duration::from_secs(1)).events().to_vec());
    }
    out
}

fn of_tasks(out: &[Event]) -> Vec<[String; 3]> {
    let tasks = out
        .iter()
        .filter(|event| event.has(pipeline::Field::new("pve.task.upid")));
    tasks.map(told).collect()
}

#[test]
fn nothing_is_claimed_before_the_lists_of_the_node_were_read() {
    for by in [5, 12, 16, 30] {
        let mut bench = pipeline::testing::stateful::<Config>("");
        let out = late(&mut bench, by);
        let told = of_tasks(&out);
        assert_eq!(told.len(), 2, "{by}");
        for task in told {
            assert_eq!(task, ["primary", "ambiguous", "-"], "{by}");
        }
    }
}

#[test]
fn it_waits_for_them_no_longer_than_its_line_does() {
    let (child, _) = two();
    let mut bench = pipeline::testing::stateful::<Config>("");
    bench.hush("lists");
    bench.feed_by("lists", events([task("task", &child, "end", 11.0)]));
    let before = bench.wait(Duration::from_secs(17));
    assert!(before.events().is_empty());
    assert_eq!(bench.wait(Duration::from_secs(2)).events().len(), 1);
}

#[test]
fn where_they_were_read_the_one_call_is_the_tasks_own() {
    let (_, owner) = two();
    let mut bench = pipeline::testing::stateful::<Config>("");
    let line = forks("pve1", "192.0.2.66", "team@pve", CALL, &owner, 13.0);
    bench.feed(events([line]));
    bench.hush("lists");
    bench.feed_by("lists", events([task("task", &owner, "end", 14.0)]));
    bench.wait(Duration::from_secs(11));
    // The list is read seven seconds after it, and again after a restart.
    bench.restart();
    bench.feed_by("lists", Vec::new());
    let out = bench.wait(Duration::from_secs(1));
    assert_eq!(
        of_tasks(out.events()),
        [["primary", "matched", "192.0.2.66"]]
    );
}

#[test]
fn the_journal_of_the_node_is_as_good_as_its_lists() {
    let (child, owner) = two();
    let mut bench = pipeline::testing::stateful::<Config>("");
    let line = forks("pve1", "192.0.2.66", "team@pve", CALL, &owner, 13.0);
    bench.feed_by("access", events([line]));
    bench.hush("lists");
    bench.feed_by("lists", events([task("task", &child, "end", 11.0)]));
    // Another task of the node shows that its journal is read, and goes on to be.
    let other = upid_of("pve1", 9, 12.0, "qmstop", "300", "else@pve");
    bench.feed_by("journal", events([task("journal", &other, "start", 12.0)]));
    let out = bench.wait(Duration::from_secs(11));
    assert_eq!(
        of_tasks(out.events())[0],
        ["primary", "matched", "192.0.2.66"]
    );
}
