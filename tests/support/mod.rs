//! What the tests of the whole program share: a running `pvetrail`, and a search store that misbehaves on demand.

pub mod books;
pub mod http;
pub mod loki;
pub mod nats;
pub mod pve;
pub mod service;
pub mod siem;
pub mod small;
pub mod store;
pub mod syslog;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The program under test; `PVETRAIL_BIN` names another one, like a release build.
pub fn program() -> Command {
    Command::new(
        std::env::var_os("PVETRAIL_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pvetrail").into()),
    )
}

/// Longest wait for something to hold; a million documents on two busy cores take longer.
fn patience() -> Duration {
    Duration::from_secs(if long() { 900 } else { 120 })
}

/// A folder with a configuration, its data, and the log of the program.
pub struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    /// An empty one.
    pub fn new() -> Ground {
        Ground {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration; the folder of the data is put in front.
    pub fn configure(&self, graph: &str) {
        let text = format!("data_dir = {:?}\n{graph}", self.path("data"));
        // Written aside, for a running program may read it at any time.
        std::fs::write(self.path("graph.new"), text).unwrap();
        std::fs::rename(self.path("graph.new"), self.path("graph.toml")).unwrap();
    }

    /// Starts `pvetrail run`; its log is added to `log`, what it prints to `printed`.
    pub fn start(&self) -> Program {
        let added = |name| {
            let mut options = File::options();
            options
                .create(true)
                .append(true)
                .open(self.path(name))
                .unwrap()
        };
        let child = program()
            .arg("run")
            .arg(self.path("graph.toml"))
            .stdin(Stdio::null())
            .stdout(added("printed"))
            .stderr(added("log"))
            .spawn()
            .unwrap();
        Program { child }
    }

    /// Runs another command to its end.
    pub fn pvetrail(&self, args: &[&str]) -> (Option<i32>, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = program()
            .args(args)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        (status.code(), text)
    }

    /// The program's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Where the admin server of the latest start listens, like `127.0.0.1:40000`; it must be on.
    pub fn admin(&self) -> String {
        let log = self.log();
        let started = log
            .lines()
            .rev()
            .find(|line| line.contains("metrics, health and reload"));
        let line: serde_json::Value =
            serde_json::from_str(started.expect("the admin server runs")).unwrap();
        line["address"].as_str().unwrap().to_owned()
    }

    /// The text of `/metrics` now.
    pub fn metrics_text(&self) -> String {
        let address = self.admin();
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        write!(
            stream,
            "GET /metrics HTTP/1.0\r\nhost: {address}\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        body.to_owned()
    }

    /// What `/metrics` says now. Names without their prefix, with their labels, and values.
    pub fn metrics(&self) -> Vec<(String, f64)> {
        let text = self.metrics_text();
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("pvetrail_")?.rsplit_once(' '));
        lines
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }

    /// Who received, sent and failed with how many events, where the program still answers.
    fn counted(&self) -> Vec<String> {
        let asked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.metrics()));
        let told = [
            "component_received_events_total",
            "component_sent_events_total",
            "component_errors_total",
            "events_dead_lettered_total",
        ];
        let metrics = asked.unwrap_or_default();
        let metrics = metrics.iter().filter(|(name, value)| {
            *value != 0.0 && told.iter().any(|known| name.starts_with(known))
        });
        metrics
            .map(|(name, value)| format!("{name} {value}"))
            .collect()
    }

    /// The sum of one metric of one component.
    pub fn metric(&self, name: &str, component: &str) -> f64 {
        let component = format!("component_id=\"{component}\"");
        let of = |full: &str| {
            full.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('{') && rest.contains(&component))
        };
        self.metrics()
            .iter()
            .filter(|(full, _)| of(full))
            .map(|(_, value)| value)
            .sum()
    }

    /// Whether all that a sink received was delivered or is dead.
    pub fn books_balance(&self, sink: &str) -> bool {
        let [received, sent, dead] = [
            "component_received_events_total",
            "component_sent_events_total",
            "events_dead_lettered_total",
        ]
        .map(|name| self.metric(name, sink));
        received == sent + dead
    }

    /// Waits until nothing is in flight and every component accounts for every event it received.
    #[track_caller]
    pub fn balances(&self) {
        let mut last = String::new();
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(30) {
            match books::balance(&self.metrics()) {
                Ok(()) => return,
                Err(why) => last = why,
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the books do not balance: {last}");
    }

    /// Waits until something holds; what went on is told if it never does.
    pub fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let began = Instant::now();
        while !holds() {
            if began.elapsed() > patience() {
                let log = self.log();
                let end: Vec<&str> = log.lines().rev().take(30).collect();
                panic!(
                    "{what} does not come to hold; what was counted:\n{}\nthe end of the log, last line first:\n{}",
                    self.counted().join("\n"),
                    end.join("\n")
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A running `pvetrail`.
pub struct Program {
    child: Child,
}

impl Program {
    /// Memory of its own that it holds now, without its text [KiB].
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(status.success(), "kill -s {name}");
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop and waits for its exit code.
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its exit code.
    pub fn wait(&mut self) -> Option<i32> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(began.elapsed() < patience(), "the program does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended, or the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Appends to a file.
pub fn append(path: &Path, text: &str) {
    File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// Every file below a folder; none if there is no such folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Lines of a log, each with its number.
pub fn lines(range: std::ops::Range<usize>) -> String {
    range.map(|n| format!("line {n:07} of the log\n")).collect()
}

/// The same as the messages of events.
pub fn messages(range: std::ops::Range<usize>) -> Vec<String> {
    lines(range).lines().map(str::to_owned).collect()
}

/// Whether the long form is wanted.
pub fn long() -> bool {
    std::env::var_os("PVETRAIL_LONG").is_some()
}
