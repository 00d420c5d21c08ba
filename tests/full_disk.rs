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

use support::small::Small;
use support::{Ground, append};

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
