//! `pve_tasks` in the whole program, on a folder that is written as PVE writes it: killed, rotated, overwritten.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;
use support::Ground;
use support::store::Store;

/// What PVE does to its lists (`pve.md` 3).
struct Node {
    folder: PathBuf,
    made: u32,
    running: Vec<String>,
    finished: VecDeque<String>,
}

/// Where the first task begins: 2026-01-26 08:15:30 UTC.
const BEGIN: u32 = 0x6977_22A2;

impl Node {
    fn new(folder: PathBuf) -> Node {
        fs::create_dir_all(&folder).unwrap();
        Node {
            folder,
            made: 0,
            running: Vec::new(),
            finished: VecDeque::new(),
        }
    }

    fn begin(&mut self) -> String {
        self.made += 1;
        let n = self.made;
        let upid = format!(
            "UPID:pve1:{n:08X}:01C8F2A4:{:08X}:qmstart:{}:alice@pve!ci:",
            BEGIN + n,
            100 + n % 900
        );
        self.running.push(upid.clone());
        self.active();
        upid
    }

    /// The task that has run longest ends: its log, its line, and the rotation.
    fn end(&mut self, status: &str, log: bool) -> String {
        let upid = self.running.remove(0);
        let start = upid.split(':').nth(4).unwrap();
        let at = u32::from_str_radix(start, 16).unwrap() + 2;
        if log {
            let folder = self.folder.join(&start[7..]);
            fs::create_dir_all(&folder).unwrap();
            let last = match status {
                "OK" => "TASK OK\n".to_owned(),
                why => format!("TASK ERROR: {why}\n"),
            };
            let path = folder.join(&upid);
            fs::write(&path, format!("password=hunter2hunter2\n{last}")).unwrap();
            let file = fs::File::options().write(true).open(path).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(at.into()))
                .unwrap();
        }
        let index = self.folder.join("index");
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .open(&index)
            .unwrap();
        file.write_all(format!("{upid} {at:08X} {status}\n").as_bytes())
            .unwrap();
        if file.metadata().unwrap().len() > 50_000 {
            fs::rename(&index, self.folder.join("index.1")).unwrap();
        }
        self.finished
            .push_front(format!("{upid} 1 {at:08X} {status}"));
        self.finished.truncate(25);
        self.active();
        upid
    }

    fn active(&self) {
        let running = self.running.iter().map(|upid| format!("{upid} 0\n"));
        let finished = self.finished.iter().map(|line| format!("{line}\n"));
        let aside = self.folder.join("active.tmp.9");
        fs::write(&aside, running.chain(finished).collect::<String>()).unwrap();
        fs::rename(aside, self.folder.join("active")).unwrap();
    }

    /// So many tasks, one after another.
    fn tasks(&mut self, count: u32, log: bool) -> Vec<String> {
        let one = |_| {
            self.begin();
            self.end("OK", log)
        };
        (0..count).map(one).collect()
    }
}

fn graph(store: &Store, folder: &Path) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.tasks]
type = "pve_tasks"
path = {folder:?}

[sources.self]
type = "internal"

[sinks.es]
type = "elasticsearch"
inputs = ["tasks", "self"]
endpoints = ["{}"]
request = {{ retry_initial_backoff = "10ms", retry_max_backoff = "50ms" }}
"#,
        store.uri()
    )
}

/// Documents of one phase by their UPID; one that was stored under two ids fails the test.
fn phase(store: &Store, phase: &str) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (_, document) in store.documents() {
        let task = &document["pve"]["task"];
        if task["phase"] == phase {
            let upid = task["upid"].as_str().unwrap().to_owned();
            assert!(found.insert(upid, document).is_none(), "told twice");
        }
    }
    found
}

fn told(store: &Store, code: &str) -> Vec<Value> {
    let documents = store.documents().into_iter().map(|(_, document)| document);
    documents
        .filter(|document| document["event"]["code"] == code)
        .collect()
}

fn keys(documents: &BTreeMap<String, Value>) -> BTreeSet<String> {
    documents.keys().cloned().collect()
}

#[test]
fn killed_again_and_again_while_lists_are_rotated_every_task_is_told_once() {
    let (ground, store) = (Ground::new(), Store::start());
    let mut node = Node::new(ground.path("tasks"));
    ground.configure(&graph(&store, &node.folder));
    let mut random = fastrand::Rng::with_seed(5);
    let mut all = BTreeSet::new();
    let kills = if support::long() { 60 } else { 8 };
    for _ in 0..kills {
        all.extend(node.tasks(200, false));
        node.begin();
        let program = ground.start();
        std::thread::sleep(Duration::from_millis(random.u64(20..700)));
        // Some while it runs.
        for _ in 0..60 {
            all.extend(node.tasks(1, false));
            std::thread::sleep(Duration::from_millis(random.u64(0..4)));
        }
        program.kill();
    }
    while !node.running.is_empty() {
        all.insert(node.end("unexpected status", false));
    }
    let program = ground.start();
    ground.until("every end is told", || keys(&phase(&store, "end")) == all);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert!(told(&store, "PVE-9014").is_empty());
    assert!(keys(&phase(&store, "start")).is_subset(&all));
    // A run that nobody disturbed makes the same documents of what is left.
    let (calm, again) = (Ground::new(), Store::start());
    calm.configure(&graph(&again, &node.folder));
    let program = calm.start();
    calm.until("what is left is told", || !phase(&again, "end").is_empty());
    calm.until("all of it", || {
        phase(&again, "end").contains_key(all.iter().next_back().unwrap())
    });
    assert_eq!(program.stop(), Some(0), "{}", calm.log());
    let before = store.documents().into_iter().collect::<BTreeMap<_, _>>();
    let ends = again.documents().into_iter();
    let ends = ends.filter(|(_, document)| document["pve"]["task"]["phase"] == "end");
    let mut compared = 0;
    for (id, document) in ends {
        assert_eq!(before.get(&id), Some(&document));
        compared += 1;
    }
    assert!(compared > 500, "{compared}");
}

#[test]
fn a_restart_tells_nothing_twice_and_one_rotation_loses_nothing() {
    let (ground, store) = (Ground::new(), Store::start());
    let mut node = Node::new(ground.path("tasks"));
    ground.configure(&graph(&store, &node.folder));
    let mut all: BTreeSet<String> = node.tasks(300, false).into_iter().collect();
    let long = node.begin();
    let program = ground.start();
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    ground.until("the start", || phase(&store, "start").contains_key(&long));
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    // Enough for one rotation, and then some.
    let other = node.running.clone();
    node.running.clear();
    all.extend(node.tasks(700, false));
    node.running = other;
    all.insert(node.end("received interrupt", false));
    assert!(node.folder.join("index.1").exists());
    let program = ground.start();
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    assert_eq!(
        ground.metric("component_received_events_total", "tasks"),
        701.0
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let end = &phase(&store, "end")[&long];
    assert_eq!(end["pve"]["task"]["status"], "received interrupt");
    assert!(told(&store, "PVE-9014").is_empty());
}

#[test]
fn lists_overwritten_unread_are_told_and_what_has_a_log_is_told_by_it() {
    let (ground, store) = (Ground::new(), Store::start());
    let mut node = Node::new(ground.path("tasks"));
    ground.configure(&graph(&store, &node.folder));
    let mut all: BTreeSet<String> = node.tasks(300, true).into_iter().collect();
    let program = ground.start();
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    // `index.1` is replaced twice: what was in it between is in no list any more.
    let lost = node.tasks(40, false);
    node.begin();
    let failed = node.end("it's: \"broken\"", true);
    all.insert(failed.clone());
    all.extend(node.tasks(200, true));
    all.extend(node.tasks(1300, true));
    let program = ground.start();
    ground.until("the gap is told", || told(&store, "PVE-9014").len() == 1);
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    assert_eq!(ground.metric("gap_detected_total", "tasks"), 1.0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let gap = &told(&store, "PVE-9014")[0];
    assert_eq!(gap["event"]["outcome"], "failure");
    let reason = gap["event"]["reason"].as_str().unwrap();
    assert!(
        reason.contains("overwrote task lists before they were read"),
        "{reason}"
    );
    assert!(
        reason.contains("tasks were found by their logs"),
        "{reason}"
    );
    let ends = phase(&store, "end");
    assert!(lost.iter().all(|upid| !ends.contains_key(upid)));
    let end = &ends[&failed];
    assert_eq!(end["pve"]["task"]["status"], "it's: \"broken\"");
    assert_eq!(end["tags"], serde_json::json!(["end_from_log"]));
    assert_eq!(end["event"]["end"], end["@timestamp"]);
    let log = end["pve"]["task"]["log"].as_str().unwrap();
    assert!(log.contains("password=[redacted]"), "{log}");
    // It is told once.
    let before = store.documents().len();
    let program = ground.start();
    ground.until("it runs", || {
        ground.log().matches("\"started\"").count() == 3
    });
    all.extend(node.tasks(1, true));
    ground.until("one more", || keys(&phase(&store, "end")) == all);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(told(&store, "PVE-9014").len(), 1);
    assert!(store.documents().len() > before);
}

#[test]
fn a_folder_that_cannot_be_read_is_told_and_tried_again() {
    let (ground, store) = (Ground::new(), Store::start());
    let folder = ground.path("tasks");
    ground.configure(&graph(&store, &folder));
    let program = ground.start();
    ground.until("it is told", || told(&store, "PVE-9012").len() == 1);
    let mut node = Node::new(folder.clone());
    let mut all: BTreeSet<String> = node.tasks(3, false).into_iter().collect();
    ground.until("it is read", || keys(&phase(&store, "end")) == all);
    // Gone, and back.
    fs::rename(&folder, ground.path("aside")).unwrap();
    ground.until("it is missed", || {
        ground.metric("component_errors_total", "tasks") > 1.0
    });
    fs::rename(ground.path("aside"), &folder).unwrap();
    all.extend(node.tasks(2, false));
    ground.until("it is read on", || keys(&phase(&store, "end")) == all);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let reason = &told(&store, "PVE-9012")[0]["event"]["reason"];
    assert!(reason.as_str().unwrap().contains("tasks"), "{reason}");
    assert!(told(&store, "PVE-9014").is_empty());
}

#[test]
fn however_fast_lists_are_rotated_what_has_a_log_is_told_once() {
    let (ground, store) = (Ground::new(), Store::start());
    let mut node = Node::new(ground.path("tasks"));
    ground.configure(&graph(&store, &node.folder));
    node.begin();
    let mut all = BTreeSet::from([node.end("OK", true)]);
    let program = ground.start();
    ground.until("the first", || keys(&phase(&store, "end")) == all);
    // Two rotations between two looks are likely here, and a look in the middle of one.
    all.extend(node.tasks(6000, true));
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    // Not even a repetition that the store would know by its id.
    let told_of = phase(&store, "start").len() + all.len();
    assert_eq!(
        ground.metric("component_received_events_total", "tasks"),
        told_of as f64
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    // Where tasks were found by their logs alone, there was a gap, and it is told.
    let ends = phase(&store, "end");
    let mut from_log = ends.values().filter(|end| end["tags"][0] == "end_from_log");
    assert!(from_log.next().is_none() || !told(&store, "PVE-9014").is_empty());
}

#[test]
fn many_tasks_cost_little_and_no_file_stays_open() {
    let (ground, store) = (Ground::new(), Store::start());
    let mut node = Node::new(ground.path("tasks"));
    ground.configure(&graph(&store, &node.folder));
    let mut all: BTreeSet<String> = BTreeSet::new();
    let program = ground.start();
    ground.until("it runs", || ground.log().contains("\"started\""));
    for _ in 0..500 {
        node.begin();
        all.insert(node.end("migration aborted", true));
    }
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    // Ten thousand at once, in one write of each list, as after a power failure.
    let mut index = String::new();
    let mut active = String::new();
    for n in 0..10_000_u32 {
        let upid = format!(
            "UPID:pve1:{:08X}:0001C8F2:{:08X}:vzstart:{}:root@pam:",
            0x10_0000 + n,
            BEGIN + 5000 + n / 10,
            n
        );
        active.push_str(&format!("{upid} 0\n"));
        index.push_str(&format!("{upid} {:08X} unexpected status\n", BEGIN + 9000));
        all.insert(upid);
    }
    let aside = node.folder.join("active.tmp.9");
    fs::write(&aside, active).unwrap();
    fs::rename(&aside, node.folder.join("active")).unwrap();
    ground.until("all starts", || phase(&store, "start").len() >= 10_000);
    let mut file = fs::File::options()
        .append(true)
        .create(true)
        .open(node.folder.join("index"))
        .unwrap();
    file.write_all(index.as_bytes()).unwrap();
    fs::rename(node.folder.join("index"), node.folder.join("index.1")).unwrap();
    node.active();
    ground.until("all ends", || keys(&phase(&store, "end")) == all);
    let held = fs::read_dir(format!("/proc/{}/fd", program.pid())).unwrap();
    let held = held.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    let held: Vec<PathBuf> = held.filter(|path| path.starts_with(&node.folder)).collect();
    assert!(held.is_empty(), "{held:?}");
    let memory = program.memory();
    assert!(memory < 64 << 10, "{memory} KiB");
    // Idle, with a full history behind it: a look a second.
    let before = cpu(program.pid());
    std::thread::sleep(Duration::from_secs(3));
    let spent = cpu(program.pid()) - before;
    assert!(spent < 30, "{spent} ticks of 10 ms in 3 s");
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

/// Processor time of a process so far [10 ms].
fn cpu(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after = stat.rfind(')').unwrap() + 1;
    let fields: Vec<&str> = stat[after..].split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
