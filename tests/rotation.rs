//! Logs that are rotated, copied, truncated and compressed while the program reads, is stopped, or is killed: what was
//! written is stored, each line once.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use flate2::{Compression, write::GzEncoder};
use support::store::Store;
use support::{Ground, Program, append};

const HEADER: &str =
    "# what follows is the log of a daemon that begins each of its files with this line\n";

/// A log, a program that reads it, and a store.
struct Scene {
    ground: Ground,
    store: Store,
    program: Option<Program>,
    /// Lines written so far, headers included.
    written: Vec<String>,
}

impl Scene {
    /// `include` is what comes after the log's own name.
    fn new(include: &str) -> Scene {
        let (ground, store) = (Ground::new(), Store::start());
        ground.configure(&format!(
            r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}{include}"]
rotate_wait = "2s"

[sinks.es]
type = "elasticsearch"
inputs = ["in"]
endpoints = ["{}"]
request = {{ retry_initial_backoff = "10ms", retry_max_backoff = "50ms" }}
batch = {{ timeout = "50ms" }}
"#,
            ground.path("a.log").display(),
            store.uri()
        ));
        let mut scene = Scene {
            ground,
            store,
            program: None,
            written: Vec::new(),
        };
        scene.start();
        scene
    }

    fn start(&mut self) {
        self.program = Some(self.ground.start());
    }

    fn stop(&mut self) {
        assert_eq!(self.program.take().unwrap().stop(), Some(0));
    }

    fn kill(&mut self) {
        self.program.take().unwrap().kill();
    }

    /// Writes `count` new lines to a file.
    fn write(&mut self, name: &str, count: usize) {
        let from = self.written.len();
        let lines: Vec<String> = (from..from + count)
            .map(|n| format!("line {n:07} says that guest {} was started", n % 300))
            .collect();
        append(&self.ground.path(name), &(lines.join("\n") + "\n"));
        self.written.extend(lines);
    }

    fn header(&mut self, name: &str) {
        append(&self.ground.path(name), HEADER);
        self.written.push(HEADER.trim_end().to_owned());
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.ground.path(from), self.ground.path(to)).unwrap();
    }

    fn copytruncate(&self, from: &str, to: &str) {
        fs::copy(self.ground.path(from), self.ground.path(to)).unwrap();
        let log = File::options()
            .write(true)
            .open(self.ground.path(from))
            .unwrap();
        log.set_len(0).unwrap();
    }

    fn gzip(&self, name: &str) {
        let text = fs::read(self.ground.path(name)).unwrap();
        let file = File::create(self.ground.path(&format!("{name}.gz"))).unwrap();
        let mut encoder = GzEncoder::new(file, Compression::fast());
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(self.ground.path(name)).unwrap();
    }

    /// Everything that was written is stored.
    fn is_read(&self) {
        self.ground.until("every line is stored", || {
            self.store.len() >= self.written.len()
        });
    }

    /// Nothing else comes any more, every line came once, and the books balance.
    fn ends(mut self) {
        self.is_read();
        if self.program.is_none() {
            self.start();
        }
        // Whoever reads something again does so after a start.
        self.stop();
        self.start();
        append(&self.ground.path("a.log"), "the end\n");
        self.written.push("the end".to_owned());
        self.is_read();
        self.ground
            .until("the books balance", || self.ground.books_balance("es"));
        self.stop();
        let mut written = self.written.clone();
        written.sort();
        assert_eq!(self.store.messages(), written);
    }
}

#[test]
fn rename_and_create_with_late_lines() {
    for include in ["*", ""] {
        let mut scene = Scene::new(include);
        scene.write("a.log", 1000);
        scene.is_read();
        scene.write("a.log", 10);
        scene.rename("a.log", "a.log.1");
        scene.write("a.log", 500);
        scene.write("a.log.1", 5);
        scene.is_read();
        scene.write("a.log.1", 5);
        scene.ends();
    }
}

#[test]
fn rename_and_create_with_the_same_first_line() {
    let mut scene = Scene::new("*");
    scene.header("a.log");
    scene.write("a.log", 100);
    scene.is_read();
    scene.rename("a.log", "a.log.1");
    scene.header("a.log");
    scene.write("a.log", 100);
    scene.ends();
}

#[test]
fn copytruncate_with_the_same_and_with_another_first_line() {
    for include in ["*", ""] {
        for header in [true, false] {
            let mut scene = Scene::new(include);
            if header {
                scene.header("a.log");
            }
            scene.write("a.log", 1000);
            scene.is_read();
            scene.write("a.log", 20);
            scene.copytruncate("a.log", "a.log.1");
            if header {
                scene.header("a.log");
            }
            scene.write("a.log", 30);
            scene.is_read();
            assert_eq!(scene.ground.metric("file_truncated_total", "in"), 1.0);
            scene.ends();
        }
    }
}

#[test]
fn copytruncate_while_stopped_and_grown_past_the_old_place() {
    for include in ["*", ""] {
        let mut scene = Scene::new(include);
        scene.header("a.log");
        scene.write("a.log", 100);
        scene.is_read();
        scene.stop();
        scene.write("a.log", 20);
        scene.copytruncate("a.log", "a.log.1");
        scene.header("a.log");
        scene.write("a.log", 3000);
        scene.start();
        scene.ends();
    }
}

#[test]
fn two_rotations_while_stopped_one_of_them_compressed() {
    for include in ["*", ""] {
        let mut scene = Scene::new(include);
        scene.write("a.log", 1000);
        scene.is_read();
        // Whoever names only the log itself is promised what comes after the first stored position.
        scene.ground.until("a position is stored", || {
            scene.ground.metric("checkpoints_total", "in") > 0.0
        });
        scene.kill();
        scene.write("a.log", 100);
        scene.rename("a.log", "a.log.2");
        scene.gzip("a.log.2");
        scene.write("a.log.1", 200);
        scene.write("a.log", 300);
        scene.start();
        scene.ends();
    }
}

#[test]
fn an_inode_that_is_used_again() {
    let mut scene = Scene::new("*");
    scene.write("a.log", 100);
    scene.is_read();
    scene.stop();
    // The inode of the log lives on under another text, as after a deletion and a creation.
    let log = File::options()
        .write(true)
        .open(scene.ground.path("a.log"))
        .unwrap();
    log.set_len(0).unwrap();
    scene.write("a.log", 400);
    scene.start();
    scene.ends();
}

#[test]
fn a_writer_that_never_rests_rotations_and_kills() {
    let mut scene = Scene::new("*");
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..12 {
        for _ in 0..random.usize(1..6) {
            scene.write("a.log", random.usize(1..3000));
            std::thread::sleep(Duration::from_millis(random.u64(0..60)));
        }
        if round % 3 == 1 {
            scene.kill();
        }
        for n in (1..=round).rev() {
            for end in ["", ".gz"] {
                let from = format!("a.log.{n}{end}");
                if scene.ground.path(&from).exists() {
                    scene.rename(&from, &format!("a.log.{}{end}", n + 1));
                }
            }
        }
        if scene.ground.path("a.log.2").exists() {
            scene.gzip("a.log.2");
        }
        scene.rename("a.log", "a.log.1");
        scene.write("a.log", random.usize(1..50));
        scene.write("a.log.1", random.usize(1..5));
        if scene.program.is_none() {
            scene.start();
        }
    }
    scene.ends();
}
