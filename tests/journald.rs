//! `journald` with real journal files: killed, rotated, vacuumed, and what is told of it.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::Ground;
use support::service::skip;
use support::store::Store;

/// Journal files made by Debian's own tool; `None`, told where the tests look, if this machine has none.
struct Journal {
    script: std::path::PathBuf,
    folder: std::path::PathBuf,
    written: u64,
}

impl Journal {
    fn new(folder: &Path) -> Option<Journal> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/journal.sh");
        let installed = Command::new(&script).arg("install").output().unwrap();
        let reads = Command::new("journalctl").arg("--version").output();
        if !installed.status.success() || reads.is_err() {
            let why = String::from_utf8_lossy(&installed.stderr);
            skip(&format!(
                "service: journal: {}",
                why.lines().last().unwrap_or("there is no journalctl")
            ));
            return None;
        }
        let folder = folder.join("journal");
        std::fs::create_dir(&folder).unwrap();
        Some(Journal {
            script,
            folder,
            written: 0,
        })
    }

    fn run(&self, words: &[&std::ffi::OsStr]) {
        let output = Command::new(&self.script).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
    }

    /// Writes entries whose messages are `make(number)`.
    fn write(&mut self, count: u64, make: impl Fn(u64) -> Vec<u8>) {
        let mut export = Vec::new();
        for _ in 0..count {
            self.written += 1;
            let n = self.written;
            let time = 1_700_000_000_000_000 + n * 1000;
            export.extend_from_slice(
                format!(
                    "__REALTIME_TIMESTAMP={time}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={:032x}\n_MACHINE_ID={:032x}\n_HOSTNAME=pve1\n\
                     _PID={n}\nPRIORITY=6\nSYSLOG_IDENTIFIER=pvedaemon\n_SYSTEMD_UNIT=pvedaemon.service\n",
                    n * 1000, 0xb007, 0x1d
                )
                .as_bytes(),
            );
            let message = make(n);
            export.extend_from_slice(b"MESSAGE\n");
            export.extend_from_slice(&(message.len() as u64).to_le_bytes());
            export.extend_from_slice(&message);
            export.extend_from_slice(b"\n\n");
        }
        let file = self.folder.with_extension("export");
        std::fs::write(&file, export).unwrap();
        self.run(&["write".as_ref(), self.folder.as_ref(), file.as_ref()]);
    }

    fn lines(&mut self, count: u64) {
        self.write(count, |n| format!("line {n:07} of the log").into_bytes());
    }

    fn rotate(&self) {
        self.run(&["rotate".as_ref(), self.folder.as_ref()]);
    }

    fn vacuum(&self) {
        self.run(&["vacuum".as_ref(), self.folder.as_ref()]);
    }
}

fn graph(store: &Store, journal: &Journal, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.journal]
type = "journald"
journal_directory = {:?}
{more}

[sources.self]
type = "internal"

[sinks.es]
type = "elasticsearch"
inputs = ["journal", "self"]
endpoints = ["{}"]
request = {{ retry_initial_backoff = "10ms", retry_max_backoff = "50ms" }}
"#,
        journal.folder,
        store.uri()
    )
}

/// What the program told of itself under this code.
fn told(store: &Store, code: &str) -> Vec<serde_json::Value> {
    let documents = store.documents().into_iter().map(|(_, document)| document);
    documents
        .filter(|document| document["event"]["code"] == code)
        .collect()
}

fn entries(store: &Store) -> Vec<String> {
    let mut messages = store.messages();
    messages.retain(|message| message.starts_with("line "));
    messages
}

fn expected(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|n| format!("line {n:07} of the log")).collect()
}

#[test]
fn killed_again_and_again_while_the_journal_is_rotated_every_entry_arrives_once() {
    let (ground, store) = (Ground::new(), Store::start());
    let Some(mut journal) = Journal::new(&ground.path("")) else {
        return;
    };
    ground.configure(&graph(&store, &journal, "include_units = [\"pvedaemon\"]"));
    let mut random = fastrand::Rng::with_seed(3);
    let kills = if support::long() { 100 } else { 8 };
    for n in 0..kills {
        journal.lines(400);
        if n % 3 == 2 {
            journal.rotate();
            journal.lines(10);
        }
        let program = ground.start();
        let most = if random.u32(..3) == 0 { 2500 } else { 400 };
        std::thread::sleep(Duration::from_millis(random.u64(20..most)));
        // Some while it runs.
        journal.lines(100);
        std::thread::sleep(Duration::from_millis(random.u64(0..200)));
        program.kill();
    }
    let starts = || ground.log().matches("\"started\"").count();
    let before = starts();
    let program = ground.start();
    ground.until("it runs", || starts() > before);
    let all = expected(1..=journal.written);
    ground.until("everything has arrived", || {
        entries(&store).len() >= all.len()
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    // An entry that was stored under two ids would be there twice.
    assert_eq!(entries(&store), all);
    assert!(
        told(&store, "PVE-9014").is_empty(),
        "{:?}",
        told(&store, "PVE-9014")
    );
}

#[test]
fn what_was_vacuumed_while_nobody_read_it_is_told_and_reading_goes_on_at_the_oldest() {
    let (ground, store) = (Ground::new(), Store::start());
    let Some(mut journal) = Journal::new(&ground.path("")) else {
        return;
    };
    ground.configure(&graph(&store, &journal, ""));
    journal.lines(100);
    let program = ground.start();
    ground.until("the first hundred", || entries(&store).len() == 100);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    // Nothing is missing: nothing is told.
    journal.lines(10);
    let program = ground.start();
    ground.until("ten more", || entries(&store).len() == 110);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert!(told(&store, "PVE-9014").is_empty());
    // Fifty that nobody will ever see.
    journal.lines(50);
    journal.rotate();
    journal.lines(40);
    journal.vacuum();
    let program = ground.start();
    ground.until("what is left", || entries(&store).len() == 150);
    ground.until("the gap is told", || told(&store, "PVE-9014").len() == 1);
    assert_eq!(ground.metric("gap_detected_total", "journal"), 1.0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let mut all = expected(1..=110);
    all.extend(expected(161..=200));
    assert_eq!(entries(&store), all);
    let gap = &told(&store, "PVE-9014")[0];
    assert_eq!(gap["event"]["outcome"], "failure");
    assert!(
        gap["event"]["reason"]
            .as_str()
            .unwrap()
            .contains("entries of the journal are missing"),
        "{gap}"
    );
}

#[test]
fn large_fields_and_bytes_of_a_real_journal_arrive_whole() {
    let (ground, store) = (Ground::new(), Store::start());
    let Some(mut journal) = Journal::new(&ground.path("")) else {
        return;
    };
    ground.configure(&graph(&store, &journal, ""));
    let large = "0123456789abcdef".repeat(1 << 16);
    let bytes = vec![0xfe; 1 << 20];
    journal.write(1, |_| large.clone().into_bytes());
    journal.write(1, |_| b"login as j\xfcrgen@pve\n\0".to_vec());
    journal.write(1, |_| bytes.clone());
    journal.write(1, |_| b"two\nlines".to_vec());
    let program = ground.start();
    let by_pid = |pid: i64| {
        let documents = store.documents().into_iter().map(|(_, document)| document);
        let mut found = documents.filter(|document| document["process"]["pid"] == pid);
        found.next().unwrap_or_default()
    };
    ground.until("all four", || (1..=4).all(|pid| !by_pid(pid).is_null()));
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(by_pid(1)["message"], large);
    assert_eq!(by_pid(2)["message"], "login as j\u{fc}rgen@pve");
    assert_eq!(by_pid(2)["pve"]["raw_b64"], "bG9naW4gYXMgavxyZ2VuQHB2ZQoA");
    assert_eq!(
        by_pid(3)["message"].as_str().unwrap().chars().count(),
        1 << 19
    );
    assert_eq!(by_pid(3)["pve"]["truncated"], true);
    assert_eq!(by_pid(4)["message"], "two\nlines");
    let unit = &by_pid(4)["systemd"]["unit"];
    assert_eq!(
        (unit, &by_pid(4)["host"]["name"]),
        (&"pvedaemon.service".into(), &"pve1".into())
    );
}

#[test]
fn without_a_journalctl_it_says_so_and_goes_on_when_there_is_one() {
    let (ground, store) = (Ground::new(), Store::start());
    let Some(mut journal) = Journal::new(&ground.path("")) else {
        return;
    };
    journal.lines(3);
    let more = format!("journalctl_path = {:?}", ground.path("journalctl"));
    ground.configure(&graph(&store, &journal, &more));
    let program = ground.start();
    ground.until("it is told", || {
        ground
            .log()
            .contains("say where it is with journalctl_path")
    });
    let found = Command::new("sh")
        .args(["-c", "command -v journalctl"])
        .output()
        .unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    std::os::unix::fs::symlink(found.trim(), ground.path("journalctl")).unwrap();
    ground.until("it is read", || entries(&store).len() == 3);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}
