//! A disk that is really full: the `file` sink waits, leaves no half line, and goes on when there is room.
//!
//! It takes a small file system of its own, so it takes root; elsewhere the test says that it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    missing_docs,
    dead_code,
    unreachable_pub
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Ground, append};

/// A file system in memory, gone with its value.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let out = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .output();
        match out {
            Ok(out) if out.status.success() => Some(Self(at.to_owned())),
            _ => {
                eprintln!("skipped: no file system can be mounted here");
                if let Some(list) = std::env::var_os("PVETRAIL_SKIPS") {
                    let old = std::fs::read_to_string(&list).unwrap_or_default();
                    std::fs::write(
                        list,
                        old + "full disk: no file system can be mounted here\n",
                    )
                    .unwrap();
                }
                None
            }
        }
    }

    fn resize(&self, size: &str) {
        let size = format!("remount,size={size}");
        assert!(
            Command::new("mount")
                .args(["-o", &size])
                .arg(&self.0)
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_holds_the_events_until_there_is_room() {
    let ground = Ground::new();
    let Some(disk) = Small::mount(&ground.path("small"), "256k") else {
        return;
    };
    let out = ground.path("small/out.log");
    ground.configure(&format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]

[sinks.out]
type = "file"
inputs = ["in"]
path = "{}"
encoding = {{ codec = "text" }}
request = {{ retry_initial_backoff = "10ms", retry_max_backoff = "50ms" }}
batch = {{ max_events = 100 }}
"#,
        ground.path("in.log").display(),
        out.display()
    ));
    let lines: Vec<String> = (0..10_000)
        .map(|n| format!("line {n:06} of a log that does not fit on that disk"))
        .collect();
    append(&ground.path("in.log"), &(lines.join("\n") + "\n"));
    let program = ground.start();
    ground.until("the disk is full", || {
        ground.log().contains("the disk is full")
    });
    // The half line is cut off before the next try, so a look may find it, but not for ever.
    ground.until("whole lines only", || {
        std::fs::read_to_string(&out).is_ok_and(|text| text.ends_with('\n'))
    });
    disk.resize("4m");
    ground.until("everything has arrived", || {
        std::fs::read_to_string(&out).is_ok_and(|text| text.lines().count() >= lines.len())
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let written: Vec<String> = std::fs::read_to_string(&out)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(written == lines, "each line once, in order");
}
