//! Entries of the journal as events, and the places where some are missing.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use pipeline::testing;
use serde_json::{Value, json};

use super::child::Lines;
use super::*;

const S: &str = "840e158891474a778640cdc036719b77";
const BOOT: &str = "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0";

fn cursor(n: u64) -> String {
    format!(
        "s={S};i={n:x};b={BOOT};m=bb8;t={:x};x=faff",
        1_700_000_000_000_000 + n
    )
}

/// One entry as it is printed.
fn printed(n: u64, more: Value) -> String {
    let mut entry = json!({
        "__CURSOR": cursor(n), "__REALTIME_TIMESTAMP": (1_700_000_000_000_000 + n).to_string(), "__MONOTONIC_TIMESTAMP": "3000",
        "_BOOT_ID": BOOT, "_MACHINE_ID": "m1", "_HOSTNAME": "pve1", "_PID": "1873", "SYSLOG_IDENTIFIER": "pvedaemon",
        "_SYSTEMD_UNIT": "pvedaemon.service", "PRIORITY": "4", "SYSLOG_FACILITY": "3", "MESSAGE": format!("entry {n}"),
    });
    entry
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    entry.to_string()
}

fn event(text: &str) -> Value {
    let entry = Entry::read(text.as_bytes()).unwrap();
    Maker::new("prod", "here")
        .event(entry, Time::from_secs(1_800_000_000))
        .to_json()
}

#[test]
fn an_entry_becomes_ecs_fields_and_the_rest_stays_under_journald() {
    let read = event(&printed(
        1,
        json!({
            "_SOURCE_REALTIME_TIMESTAMP": "1700000000123456", "SYSLOG_PID": "7", "_COMM": "pvedaemon worke", "_UID": "0", "_GID": "33",
            "_EXE": "/usr/bin/perl", "_CMDLINE": "pvedaemon worker", "_TRANSPORT": "syslog", "CODE_FILE": "a.c", "CODE_LINE": "12",
            "CODE_FUNC": "main", "TAG": ["a", "b", [106, 252]], "BIG": null, "ODD": [255, 0], "MESSAGE_ID": "x",
        }),
    ));
    let mut expected = json!({
        "@timestamp": "2023-11-14T22:13:20.123Z", "message": "entry 1", "host": {"name": "pve1", "id": "m1", "boot": {"id": BOOT}},
        "process": {
            "name": "pvedaemon", "pid": 1873, "executable": "/usr/bin/perl", "command_line": "pvedaemon worker",
            "user": {"id": "0"}, "group": {"id": "33"},
        },
        "systemd": {"unit": "pvedaemon.service", "transport": "syslog"},
        "log": {
            "origin": {"file": {"name": "a.c", "line": 12}, "function": "main"},
            "syslog": {"priority": 28, "facility": {"code": 3, "name": "daemon"}, "severity": {"code": 4, "name": "warning"}},
        },
        "journald": {
            "syslog_pid": "7", "_comm": "pvedaemon worke", "tag": ["a", "b", "jü"], "big": null, "odd": "ÿ\0", "message_id": "x",
        },
        "event": {"created": "2027-01-15T08:00:00.000Z"},
    });
    // What stands for the place is in the id, not in fields; the one PID that is not vouched for is no field of its own.
    expected["journald"]
        .as_object_mut()
        .unwrap()
        .remove("syslog_pid");
    let mut read_without_id = read.clone();
    read_without_id["event"]
        .as_object_mut()
        .unwrap()
        .remove("id");
    assert_eq!(read_without_id, expected);
    assert_eq!(
        event(&printed(1, json!({})))["event"]["id"],
        read["event"]["id"]
    );
    assert_ne!(
        event(&printed(2, json!({})))["event"]["id"],
        read["event"]["id"]
    );
}

#[test]
fn the_id_is_the_same_for_old_and_new_versions_of_journalctl() {
    let old = event(&printed(300, json!({})));
    let new = event(&printed(300, json!({"__SEQNUM": "300", "__SEQNUM_ID": S})));
    assert_eq!(old["event"]["id"], new["event"]["id"]);
    assert_eq!(new["journald"], Value::Null);
}

#[test]
fn what_is_no_text_is_read_as_far_as_it_can_be() {
    for (message, text, raw) in [
        (
            json!("ends in line ends\n\0"),
            "ends in line ends",
            Value::Null,
        ),
        (
            json!([106, 252, 114, 103, 101, 110, 10, 0]),
            "jürgen",
            json!("avxyZ2VuCgA="),
        ),
        // Text with an escape in it is printed as bytes, too.
        (
            json!([27, 91, 109, 195, 164]),
            "\u{1b}[m\u{e4}",
            Value::Null,
        ),
        (json!(["first", "second"]), "first", Value::Null),
        (json!([]), "", Value::Null),
        (json!(null), "", Value::Null),
    ] {
        let read = event(&printed(1, json!({"MESSAGE": message})));
        assert_eq!(
            (&read["message"], &read["pve"]["raw_b64"]),
            (&json!(text), &raw),
            "{message}"
        );
    }
    let long = "ä".repeat(600_000);
    let read = event(&printed(1, json!({"MESSAGE": long, "OTHER": long})));
    assert_eq!(read["message"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(read["pve"]["original_bytes"], 1_200_000);
    assert!(
        read["event"]["hash"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    assert_eq!(read["journald"]["other"].as_str().unwrap().len(), 1 << 20);
    assert_eq!(read["pve"]["truncated"], true);
    let nothing = event(&json!({"__CURSOR": cursor(1), "PRIORITY": "9", "_PID": "x"}).to_string());
    assert_eq!(
        (&nothing["host"]["name"], &nothing["log"]),
        (&json!("here"), &Value::Null)
    );
    assert_eq!(nothing["@timestamp"], "2027-01-15T08:00:00.000Z");
}

#[test]
fn nonsense_is_an_error_or_an_entry_and_never_a_panic() {
    let deep = format!("{{\"A\": {}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for text in [
        "",
        "{",
        "[]",
        "null",
        "-- No entries --",
        "{\"A\": {\"b\": ",
        &deep,
    ] {
        assert!(Entry::read(text.as_bytes()).is_err(), "{text:.20}");
    }
    let odd = r#"{"A": {"b": [1]}, "B": 1, "C": -1, "D": 1.5, "E": true, "F": [1, "x", 2], "G": "1", "G": "2", "H": [300], "": "e"}"#;
    let read = event(odd);
    assert_eq!(
        read["journald"],
        json!({"a": null, "b": "1", "c": "-1", "d": "1.5", "e": "true", "f": ["x", "2"], "g": ["1", "2"], "h": "?", "": "e"})
    );
    let many: String = (0..5000).map(|n| format!("\"F{n}\": \"x\",")).collect();
    let entry = Entry::read(format!("{{{many} \"Z\": \"z\"}}").as_bytes()).unwrap();
    assert_eq!((entry.fields.len(), entry.left_out), (1024, 3977));
}

#[test]
fn further_messages_are_kept_and_fields_without_room_leave_a_mark() {
    for (message, text, more) in [
        (
            json!(["first", "second", [106, 252]]),
            "first",
            json!(["second", "jü"]),
        ),
        (json!([null, "second"]), "second", json!([null])),
        (json!("only"), "only", Value::Null),
    ] {
        let read = event(&printed(1, json!({"MESSAGE": message})));
        assert_eq!(
            (&read["message"], &read["journald"]["message"]),
            (&json!(text), &more)
        );
        assert_eq!(read["pve"]["truncated"], Value::Null);
    }
    let mut many: String = (0..1030).map(|n| format!("\"F{n}\": \"x\",")).collect();
    many.push_str("\"_UID\": \"33\"");
    let text = printed(1, json!({}));
    let read = event(&format!("{},{many}}}", text.trim_end_matches('}')));
    assert_eq!(read["pve"]["truncated"], true);
    let had = serde_json::from_str::<Value>(&text).unwrap();
    let left_out = 1030 + had.as_object().unwrap().len() - 1024;
    let told = format!("the entry has more than 1024 fields: {left_out} are left out");
    assert_eq!(read["error"]["message"], json!(told));
    // What journald vouches for is there, however much the program said before it.
    assert_eq!(read["process"]["user"]["id"], "33");
}

fn place(n: u64) -> Place {
    Entry::read(printed(n, json!({})).as_bytes())
        .unwrap()
        .place()
        .unwrap()
}

#[test]
fn holes_in_the_numbers_are_found_and_nothing_else() {
    let mut gaps = Gaps::new(true);
    assert_eq!(gaps.next(&place(5)), None);
    assert_eq!(gaps.next(&place(6)), None);
    let gap = gaps.next(&place(9)).unwrap();
    assert_eq!((gap.kind, gap.missing), ("sequence", Some(2)));
    assert!(
        gap.to_string()
            .starts_with("2 entries of the journal are missing: "),
        "{gap}"
    );
    // A clock that was set back brings entries out of order; what was seen is no hole.
    assert_eq!(gaps.next(&place(3)), None);
    assert_eq!(gaps.next(&place(10)), None);
    // The machine starts and its journal begins anew.
    let other = Place {
        seqnum_id: "other".to_owned(),
        boot: "next".to_owned(),
        seqnum: 1,
        ..place(11)
    };
    assert_eq!(gaps.next(&other).unwrap().kind, "boot");
    // Another machine's journal in the same folder is no gap, and neither is its next entry.
    let machine = Place {
        machine: "m2".to_owned(),
        seqnum_id: "m2".to_owned(),
        ..place(700)
    };
    assert_eq!(gaps.next(&machine), None);
    assert_eq!(
        gaps.next(&Place {
            seqnum: 2,
            ..other.clone()
        }),
        None
    );
    assert_eq!(
        gaps.next(&Place {
            seqnum: 701,
            ..machine
        }),
        None
    );
    // Where not all entries are read, their numbers say nothing.
    let mut some = Gaps::new(false);
    assert_eq!((some.next(&place(1)), some.next(&place(9))), (None, None));
}

#[test]
fn reading_goes_on_where_it_was_or_tells_what_is_missing() {
    let last = place(5);
    for (first, expected) in [
        (place(5), None),
        // The entry is gone and the next one is there: nothing is missing.
        (place(6), None),
        (place(9), Some(("sequence", Some(3)))),
        (
            Place {
                seqnum_id: "o".to_owned(),
                ..place(2)
            },
            Some(("sequence", None)),
        ),
        (
            Place {
                seqnum_id: "o".to_owned(),
                boot: "n".to_owned(),
                ..place(2)
            },
            Some(("boot", None)),
        ),
    ] {
        for watch in [true, false] {
            let mut gaps = Gaps::new(watch);
            let gap = gaps.resume(&last, &first);
            assert_eq!(
                gap.map(|gap| (gap.kind, gap.missing)),
                expected,
                "{first:?}"
            );
            // It comes again, and is told of once.
            assert_eq!(gaps.next(&first), None, "{first:?}");
            assert_eq!(
                gaps.next(&Place {
                    seqnum: first.seqnum + 1,
                    ..first.clone()
                }),
                None
            );
        }
    }
    assert_eq!(Gaps::new(true).emptied(&last).kind, "vacuumed");
}

#[test]
fn journald_says_itself_what_it_threw_away() {
    let said = json!({"MESSAGE_ID": "a596d6fe7bfa4994828e72309e95d61e", "MESSAGE": "Suppressed 27 messages from pveproxy.service"});
    let entry = Entry::read(printed(1, said).as_bytes()).unwrap();
    let gap = entry.suppressed(&entry.place().unwrap()).unwrap();
    assert_eq!((gap.kind, gap.missing), ("suppressed", Some(27)));
    assert_eq!(
        Entry::read(printed(1, json!({})).as_bytes())
            .unwrap()
            .suppressed(&place(1)),
        None
    );
}

#[tokio::test]
async fn lines_come_whole_however_they_are_cut_and_one_without_end_costs_no_memory() {
    let mut lines = Lines::default();
    let text = "one\n-- No entries --\ntwo\n\nthree and more\nfour";
    let mut found = Vec::new();
    for chunk in text.as_bytes().chunks(3) {
        assert!(lines.read(&mut &chunk[..]).await.unwrap());
        while let Some(line) = lines.next() {
            let Line::Whole(text) = line else {
                panic!("none is too long")
            };
            found.push(String::from_utf8(text.to_vec()).unwrap());
        }
    }
    assert_eq!(found, ["one", "two", "", "three and more"]);
    assert!(!lines.read(&mut &b""[..]).await.unwrap());
    let head = format!(
        "{{\"MESSAGE\":\"x\",\"__CURSOR\":\"{}\",\"A\":\"",
        cursor(7)
    );
    let mut lines = Lines::default();
    lines.read(&mut head.as_bytes()).await.unwrap();
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..200 {
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            lines.read(&mut rest).await.unwrap();
            assert!(lines.next().is_none());
        }
    }
    lines.read(&mut &b"\"}\nnext\n"[..]).await.unwrap();
    let Some(line @ Line::Head(text, len)) = lines.next() else {
        panic!("it is too long")
    };
    assert_eq!(
        (text.len(), len),
        (64 * 1024, head.len() as u64 + (200 << 20) + 2)
    );
    let (event, found) = Maker::new("", "here").broken(&line, "it is too long", Time(0));
    assert_eq!(found, Some(cursor(7)));
    assert_eq!(
        event.to_json()["pve"],
        json!({"truncated": true, "original_bytes": len})
    );
    assert!(matches!(lines.next(), Some(Line::Whole(b"next"))));
}

#[test]
fn every_mistake_is_told_with_its_remedy() {
    let mut registry = pipeline::Registry::new();
    registry.source::<Config>();
    let env = pipeline::config::FakeEnv::new();
    for (toml, expected) in [
        (
            "include_units = ['ssh']\nexclude_units = ['ssh.service']",
            "ssh.service is included and excluded",
        ),
        (
            "include_matches = { unit = ['a'] }",
            "\"unit\" cannot be a field",
        ),
        ("exclude_matches = { UNIT = [] }", "UNIT has no value"),
    ] {
        let config = pipeline::config::parse_component(
            pipeline::Kind::Source,
            "journald",
            toml,
            &registry,
            &env,
        )
        .unwrap();
        let cx = Context::for_tests(pipeline::Kind::Source, "journald");
        let told = config.build(&cx).err().unwrap().to_string();
        assert!(told.contains(expected), "{toml}: {told}");
    }
}

/// Prints what is in `journal` beside it from the cursor on; dies after as many lines as `die` says.
const STAND_IN: &str = r#"#!/bin/sh
dir=$(dirname "$0"); cursor=; lines=; follow=
for word; do case $word in
  --cursor=*) cursor=${word#--cursor=} ;;
  --lines=*) lines=${word#--lines=} ;;
  --follow) follow=1 ;;
esac; done
echo "$*" >>"$dir/calls"
grep -qF "\"$cursor\"" "$dir/journal" || cursor=
some() { awk -v cursor="\"$cursor\"" 'cursor == "\"\"" || found || index($0, cursor) { found = 1; print }' "$dir/journal"; }
if [ -z "$follow" ]; then some | head -n "${lines:-1000000}"; exit 0; fi
if [ -e "$dir/die" ]; then some | head -n "$(cat "$dir/die")"; echo "out of luck" >&2; exit 3; fi
some
exec sleep 1000
"#;

fn stand_in(folder: &Path) -> String {
    let path = folder.join("journalctl");
    let mut file = std::fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o755)
        .open(&path)
        .unwrap();
    file.write_all(STAND_IN.as_bytes()).unwrap();
    drop(file);
    format!("journalctl_path = {path:?}")
}

fn write(folder: &Path, entries: std::ops::RangeInclusive<u64>) {
    let text: String = entries.map(|n| printed(n, json!({})) + "\n").collect();
    std::fs::write(folder.join("journal"), text).unwrap();
}

fn messages(events: &[Event]) -> Vec<String> {
    events
        .iter()
        .map(|event| event.str(pipeline::fields::MESSAGE).unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journalctl_that_dies_is_started_again_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..=40);
    std::fs::write(folder.path().join("die"), "10").unwrap();
    let bench = testing::source::<Config>(&stand_in(folder.path())).await;
    let events = bench.collect(40).await;
    let expected: Vec<String> = (1..=40).map(|n| format!("entry {n}")).collect();
    assert_eq!(messages(&events), expected);
    let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
    assert!(
        calls.lines().count() >= 4 && calls.contains(&format!("--cursor={}", cursor(10))),
        "{calls}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_excluded_is_left_out_and_what_is_included_is_left_to_journalctl() {
    let folder = tempfile::tempdir().unwrap();
    let entries = [
        printed(1, json!({})),
        printed(2, json!({"_SYSTEMD_UNIT": "cron.service"})),
        "no entry at all".to_owned(),
        printed(3, json!({"_TRANSPORT": "kernel"})),
        printed(4, json!({"_TRANSPORT": ["kernel", "x"]})),
        printed(5, json!({})),
        json!({"MESSAGE": "nobody knows where it stands"}).to_string(),
    ];
    std::fs::write(folder.path().join("journal"), entries.join("\n") + "\n").unwrap();
    let toml = format!(
        "{}\nexclude_units = ['cron']\nexclude_matches = {{ _TRANSPORT = ['kernel'] }}\ninclude_units = ['a', 'b.socket']\n\
         include_matches = {{ PRIORITY = ['3', '4'] }}\ncurrent_boot_only = true\njournal_directory = '/j'\njournal_namespace = 'n'",
        stand_in(folder.path())
    );
    let events = testing::source::<Config>(&toml).await.collect(4).await;
    let last = json!({"MESSAGE": "nobody knows where it stands"}).to_string();
    assert_eq!(
        messages(&events),
        ["entry 1", "no entry at all", "entry 5", &last]
    );
    assert_eq!(events[1].to_json()["tags"], json!(["parse_error"]));
    let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
    assert_eq!(
        calls.trim(),
        "--output=json --all --no-pager --directory=/j --namespace=n --follow --no-tail --boot \
         PRIORITY=3 PRIORITY=4 _SYSTEMD_UNIT=a.service _SYSTEMD_UNIT=b.socket"
    );
}
