//! What a log may hold and what may stand in its place: every text becomes an event or part of one, everything else is told
//! with what to do about it and counted.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use support::{Ground, append};

/// A graph from files to `out.jsonl`.
fn configure(ground: &Ground, source: &str) {
    let folder = ground.path("");
    let folder = folder.display();
    ground.configure(&format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
{}

[sinks.out]
type = "file"
inputs = ["in"]
path = "{folder}out.jsonl"
batch = {{ timeout = "50ms" }}
"#,
        source.replace("DIR/", &folder.to_string())
    ));
}

fn out(ground: &Ground) -> Vec<Value> {
    let text = fs::read_to_string(ground.path("out.jsonl")).unwrap_or_default();
    // The last line may be on its way.
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn messages(ground: &Ground) -> Vec<String> {
    out(ground)
        .iter()
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .collect()
}

/// `component_errors_total` of one kind.
fn errors(ground: &Ground, kind: &str) -> f64 {
    let label = format!("error_type=\"{kind}\"");
    ground
        .metrics()
        .iter()
        .filter(|(name, _)| name.starts_with("component_errors_total{") && name.contains(&label))
        .map(|(_, value)| value)
        .sum()
}

#[test]
fn long_lines_bad_bytes_and_holes_become_events() {
    let ground = Ground::new();
    configure(&ground, "include = [\"DIR/a.log\"]\nencoding = \"latin-1\"");
    let long = "0123456789".repeat(1024 * 1024);
    let mut text = b"first\r\n\0\0\0\0after a hole\nj\xfcrgen@pve logged in\n".to_vec();
    text.extend_from_slice(format!("{long}\nlast\nnot whole").as_bytes());
    fs::write(ground.path("a.log"), text).unwrap();
    let program = ground.start();
    ground.until("five lines are there", || out(&ground).len() == 5);
    let events = out(&ground);
    let cut = &long[..1024 * 1024];
    assert_eq!(
        messages(&ground),
        ["first", "after a hole", "jürgen@pve logged in", cut, "last"]
    );
    assert_eq!(events[2]["pve"]["raw_b64"], "avxyZ2VuQHB2ZSBsb2dnZWQgaW4=");
    assert_eq!(events[3]["pve"]["truncated"], true);
    assert_eq!(events[3]["pve"]["original_bytes"], 10 * 1024 * 1024);
    // `0123456789`, 1 048 576 times.
    assert_eq!(events[3]["event"]["hash"], HASH);
    assert!(events[4].get("tags").is_none());
    assert_eq!(errors(&ground, "invalid_utf8"), 1.0);
    append(&ground.path("a.log"), " yet\n");
    ground.until("the last line is whole", || out(&ground).len() == 6);
    assert_eq!(messages(&ground)[5], "not whole yet");
    assert_eq!(program.stop(), Some(0));
}

const HASH: &str = "sha256:0b676bf412f95c0682a196f9801d41b2f7c711f7ac3850af2e1c0739a31109b2";

#[test]
fn what_is_no_log_is_told_and_read_once_it_is_one() {
    let ground = Ground::new();
    configure(
        &ground,
        r#"include = ["DIR/a.log", "DIR/b.log", "DIR/c.log", "DIR/d.log.gz"]"#,
    );
    fs::create_dir(ground.path("a.log")).unwrap();
    std::os::unix::fs::symlink(ground.path("nowhere"), ground.path("b.log")).unwrap();
    fs::write(ground.path("c.log"), "secret\n").unwrap();
    fs::set_permissions(ground.path("c.log"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::write(ground.path("d.log.gz"), b"\x1f\x8b\x08\x00\x00\x00").unwrap();
    // Root may read everything.
    let readable = File::open(ground.path("c.log")).is_ok();
    let program = ground.start();
    ground.until("each is told", || {
        ["folder", "link to nothing", "stops short"]
            .iter()
            .all(|what| ground.log().contains(what))
            && (readable || ground.log().contains("CAP_DAC_READ_SEARCH"))
    });
    ground.until("each is counted", || {
        ["is_a_folder", "broken_symlink", "gzip_cut_short"]
            .iter()
            .all(|kind| errors(&ground, kind) >= 1.0)
    });
    fs::remove_dir(ground.path("a.log")).unwrap();
    fs::write(ground.path("a.log"), "a\n").unwrap();
    fs::write(ground.path("nowhere"), "b\n").unwrap();
    fs::set_permissions(ground.path("c.log"), fs::Permissions::from_mode(0o600)).unwrap();
    ground.until("all are read", || out(&ground).len() == 3);
    let mut read = messages(&ground);
    read.sort();
    assert_eq!(read, ["a", "b", "secret"]);
    assert_eq!(program.stop(), Some(0));
}

#[test]
fn a_damaged_position_file_is_kept_aside_and_the_ids_stay_the_same() {
    let ground = Ground::new();
    configure(&ground, r#"include = ["DIR/a.log"]"#);
    fs::write(ground.path("a.log"), "one\ntwo\n").unwrap();
    let program = ground.start();
    ground.until("it is read", || out(&ground).len() == 2);
    assert_eq!(program.stop(), Some(0));
    let positions = ground.path("data/positions/in.json");
    let text = fs::read_to_string(&positions).unwrap();
    fs::write(&positions, &text[..text.len() / 2]).unwrap();
    let program = ground.start();
    ground.until("it is read again", || out(&ground).len() == 4);
    assert_eq!(program.stop(), Some(0));
    let ids: Vec<Value> = out(&ground)
        .iter()
        .map(|event| event["event"]["id"].clone())
        .collect();
    assert_eq!(ids[..2], ids[2..]);
    assert!(positions.with_extension("json.damaged").exists());
    assert!(ground.log().contains("is damaged"), "{}", ground.log());
}

#[test]
fn lines_that_belong_together_arrive_as_one_event() {
    let ground = Ground::new();
    configure(
        &ground,
        "include = [\"DIR/a.log\"]\nmultiline = { start = '^\\d', timeout = \"200ms\" }",
    );
    fs::write(
        ground.path("a.log"),
        "1 task failed\n  at a\n  at b\n2 ok\n3 waits\n",
    )
    .unwrap();
    let program = ground.start();
    ground.until("three events are there", || out(&ground).len() == 3);
    assert_eq!(
        messages(&ground),
        ["1 task failed\n  at a\n  at b", "2 ok", "3 waits"]
    );
    assert_eq!(program.stop(), Some(0));
}

#[test]
fn a_secret_in_a_line_is_in_no_position_and_no_log() {
    let ground = Ground::new();
    configure(&ground, r#"include = ["DIR/a.log"]"#);
    let secret = "5F3A99C2DEADBEEF";
    let line = format!(
        "2001:db8::25 - bob@corp-ad [26/01/2026:09:18:46 +0100] \"GET /api2/json/nodes/pve2/vncwebsocket?port=5900&\
         vncticket=PVEVNC%3A{secret}%3A%3Ac2lnbmF0dXJl HTTP/1.1\" 101 -\n"
    );
    fs::write(ground.path("a.log"), line).unwrap();
    let program = ground.start();
    ground.until("it is read", || out(&ground).len() == 1);
    assert_eq!(program.stop(), Some(0));
    for name in ["out.jsonl", "log", "data/positions/in.json"] {
        let text = fs::read_to_string(ground.path(name)).unwrap();
        assert!(!text.contains(secret), "{name} holds the ticket: {text}");
    }
}
