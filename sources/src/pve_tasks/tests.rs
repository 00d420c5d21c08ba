//! The source at work on prepared folders.

use std::collections::BTreeMap;
use std::fs;

use pipeline::testing::{self, SourceBench};
use pipeline::{Context, Event, Field, Kind, Time, fields};

use super::testing::{BEGIN, Node};
use super::*;

async fn start(node: &Node) -> SourceBench {
    testing::source::<Config>(&format!("path = {:?}\ntimezone = 'UTC'", node.path())).await
}

fn text<'e>(event: &'e Event, field: &str) -> &'e str {
    event.str(Field::new(field)).unwrap_or_default()
}

/// `qmstart 100 end OK` of each event.
fn words(events: &[Event]) -> Vec<String> {
    let word = |event: &Event| {
        let upid: Vec<&str> = text(event, "pve.task.upid").split(':').collect();
        let (kind, id) = match upid[..] {
            [_, _, _, _, _, kind, id, ..] => (kind, id),
            _ => ("broken", ""),
        };
        let (phase, status) = (
            text(event, "pve.task.phase"),
            text(event, "pve.task.status"),
        );
        format!("{kind} {id} {phase} {status}")
            .trim_end()
            .to_owned()
    };
    events.iter().map(word).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_there_is_is_told_once_and_oldest_first() {
    let mut node = Node::new();
    node.ended("qmstart", "100", "OK");
    node.rotate();
    let second = node.ended("qmstop", "100", "WARNINGS: 2");
    let runs = node.upid("vncproxy", "100");
    let late = node.upid("qmclone", "101");
    node.append(&format!("{} OK\n", node.ending(&second)));
    node.active(&[
        format!("{runs} 0"),
        format!("{} 1 {:08X} OK", second, BEGIN + 3),
        format!("{late} 0 {:08X} it:failed 'so'", BEGIN + 9),
    ]);
    let events = start(&node).await.collect(4).await;
    assert_eq!(
        words(&events),
        [
            "qmstart 100 end OK",
            "vncproxy 100 start",
            "qmstop 100 end WARNINGS: 2",
            "qmclone 101 end it:failed 'so'"
        ]
    );
    assert!(events.is_sorted_by_key(Event::timestamp));
    let end = &events[2];
    assert_eq!(end.timestamp(), Time::from_secs(i64::from(BEGIN) + 3));
    assert_eq!(text(end, "host.name"), "pve1");
    assert_eq!(text(end, "pve.origin"), "task");
    assert_eq!(
        text(end, "message"),
        format!("{} WARNINGS: 2", node.ending(&second))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_followed_from_its_start_to_its_end() {
    let mut node = Node::new();
    let upid = node.upid("qmigrate", "104");
    node.active(&[format!("{upid} 0")]);
    let bench = start(&node).await;
    bench
        .until(|events| words(events) == ["qmigrate 104 start"])
        .await;
    // Unchanged, whatever else changes.
    let other = node.ended("qmstart", "9", "OK");
    bench.until(|events| events.len() == 2).await;
    node.active(&[
        format!("{upid} 0"),
        format!("{other} 1 {:08X} OK", BEGIN + 3),
    ]);
    node.end(&upid, "migration aborted");
    node.active(&[format!("{upid} 1 {:08X} migration aborted", BEGIN + 2)]);
    bench.until(|events| events.len() == 3).await;
    let events = bench.stop().await;
    assert_eq!(words(&events)[2], "qmigrate 104 end migration aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_line_is_held_until_it_is_whole() {
    let mut node = Node::new();
    let upid = node.upid("qmstart", "100");
    let line = format!("{}  of it: \"the end\"", node.ending(&upid));
    node.append(&line[..line.len() - 9]);
    let bench = start(&node).await;
    let other = node.upid("qmstop", "1");
    node.active(&[format!("{other} 0")]);
    bench
        .until(|events| words(events) == ["qmstop 1 start"])
        .await;
    node.append(&format!("{}\n", &line[line.len() - 9..]));
    bench.until(|events| events.len() == 2).await;
    assert_eq!(
        words(&bench.stop().await)[1],
        "qmstart 100 end  of it: \"the end\""
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_task_is_told_with_its_text() {
    let mut node = Node::new();
    let good = node.ended("qmstart", "100", "OK");
    node.append("UPID:pve1:0003A5B2:01C8F2A4:697722A2:qm start:100:root@pam: 697722A7 OK\n");
    node.append("\u{1b}]0;x\u{7} not a task\n\n");
    fs::write(node.file("index.1"), b"UPID:pve1:j\xfcrgen 697722A7 OK\n").unwrap();
    let bench = start(&node).await;
    bench.until(|events| events.len() == 4).await;
    node.append("UPID:pve1\n");
    bench.until(|events| events.len() == 5).await;
    let events = bench.stop().await;
    let broken: Vec<&Event> = events
        .iter()
        .filter(|e| e.has(fields::ERROR_MESSAGE))
        .collect();
    assert_eq!(broken.len(), 4);
    for event in &broken {
        assert_eq!(event.to_json()["tags"], testing::json!(["parse_error"]));
        assert_eq!(text(event, "pve.origin"), "task");
        assert_eq!(text(event, "host.name"), "pve1");
    }
    let messages: Vec<&str> = broken.iter().map(|event| text(event, "message")).collect();
    assert!(messages.contains(&"\u{1b}]0;x\u{7} not a task"));
    assert!(
        messages.contains(&"UPID:pve1:j\u{fc}rgen 697722A7 OK"),
        "{messages:?}"
    );
    let latin = broken
        .iter()
        .find(|event| event.has(fields::PVE_RAW_B64))
        .unwrap();
    assert_eq!(
        text(latin, "pve.raw_b64"),
        "VVBJRDpwdmUxOmr8cmdlbiA2OTc3MjJBNyBPSw=="
    );
    assert!(
        events
            .iter()
            .any(|event| text(event, "pve.task.upid") == good)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_behind_one_that_was_cut_off_is_a_task_if_it_has_a_log() {
    let mut node = Node::new();
    let upid = node.upid("qmstart", "100");
    node.log(&upid, "TASK OK\n");
    node.append(&format!(
        "UPID:pve1:0003A5B2:01C8F{} OK\n",
        node.ending(&upid)
    ));
    let forged = node.upid("qmdestroy", "100");
    node.append(&format!(
        "UPID:pve1:0003A5B2:01C8F{} OK\n",
        node.ending(&forged)
    ));
    let events = start(&node).await.collect(3).await;
    let mut words = words(&events);
    words.sort();
    assert_eq!(words, ["broken", "broken", "qmstart 100 end OK"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_failed_brings_the_end_of_its_log_without_secrets() {
    let mut node = Node::new();
    let failed = node.ended("qmclone", "100", "clone failed: no space");
    let lines: String = (0..2000)
        .map(|n| format!("line {n} \u{1b}[31m\n"))
        .collect();
    let end = "PVEAPIToken=ci@pve!x=aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee\nk\u{f6}nnte".as_bytes();
    let mut log = lines.into_bytes();
    log.extend_from_slice(end);
    log.extend_from_slice(b" \xff\0 nicht\nTASK ERROR: clone failed: no space\n");
    node.log(&failed, &log);
    let good = node.ended("qmstart", "100", "OK");
    node.log(&good, "starting\nTASK OK\n");
    let warned = node.ended("qmstart", "101", "WARNINGS: 1");
    node.log(&warned, "WARN: this\nTASK WARNINGS: 1\n");
    node.ended("qmstart", "102", "its log is gone");
    let events = start(&node).await.collect(4).await;
    let logs: BTreeMap<&str, Vec<&str>> = events
        .iter()
        .map(|event| {
            (
                text(event, "pve.task.upid"),
                text(event, "pve.task.log").lines().collect(),
            )
        })
        .collect();
    let log = &logs[failed.as_str()];
    assert_eq!(log.len(), 20);
    assert!(log[0].starts_with("line 1983"), "{log:?}");
    assert!(
        log[17].contains("[redacted]") && !log[17].contains("aaaaaaaa"),
        "{log:?}"
    );
    assert_eq!(log[19], "TASK ERROR: clone failed: no space");
    assert!(logs[good.as_str()].is_empty());
    assert_eq!(logs[warned.as_str()], ["WARN: this", "TASK WARNINGS: 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unexpected_status_is_looked_up_in_the_log() {
    let mut node = Node::new();
    let raced = node.ended("vzdump", "100", "unexpected status");
    node.log(&raced, "INFO: done\nTASK OK\n");
    let died = node.ended("qmstart", "100", "unexpected status");
    node.log(&died, "half of a l");
    let bench = start(&node).await;
    bench.until(|events| events.len() == 2).await;
    // Just ended: its log may still get its last line.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let fresh = format!(
        "UPID:pve1:00000001:00000001:{:08X}:qmstop:7:root@pam:",
        now - 1
    );
    node.log(&fresh, "stopping\n");
    node.append(&format!("{fresh} {now:08X} unexpected status\n"));
    node.ended("qmstart", "8", "OK");
    bench.until(|events| events.len() == 3).await;
    node.log(&fresh, "stopping\nTASK OK\n");
    bench.until(|events| events.len() == 4).await;
    let events = bench.stop().await;
    assert_eq!(
        words(&events),
        [
            "vzdump 100 end OK",
            "qmstart 100 end unexpected status",
            "qmstart 8 end OK",
            "qmstop 7 end OK"
        ]
    );
    assert_eq!(text(&events[1], "pve.task.log"), "half of a l");
    assert!(text(&events[0], "message").ends_with("unexpected status"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_several_guests_is_told_guest_by_guest() {
    let mut node = Node::new();
    let upid = node.ended("vzdump", "", "job errors");
    node.log(
        &upid,
        "INFO: Starting Backup of VM 100 (qemu)\nINFO: Backup started at 2026-01-26 08:15:31\n\
         INFO: Finished Backup of VM 100 (00:00:01)\nINFO: Backup finished at 2026-01-26 08:15:32\n\
         INFO: Starting Backup of VM 101 (lxc)\nERROR: Backup of VM 101 failed - no space\n\
         INFO: Starting Backup of VM 102 (lxc)\nINFO: Backup job finished with errors\nTASK ERROR: job errors\n",
    );
    let events = start(&node).await.collect(4).await;
    assert_eq!(
        words(&events),
        [
            "vzdump  guest/100 OK",
            "vzdump  guest/101 no space",
            "vzdump  guest/102 unexpected status",
            "vzdump  end job errors"
        ]
    );
    let json = events[0].to_json();
    assert_eq!(json["pve"]["vmid"], 100);
    assert_eq!(json["@timestamp"], "2026-01-26T08:15:32.000Z");
    assert_eq!(json["event"]["start"], "2026-01-26T08:15:31.000Z");
    assert_eq!(text(&events[3], "pve.task.log").lines().count(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ha_did_as_root_says_so() {
    let mut node = Node::new();
    let by_root = |upid: String| upid.replace("alice@pve", "root@pam");
    let by_ha = by_root(node.upid("qmstart", "100"));
    node.log(&by_ha, "task started by HA resource agent\nTASK OK\n");
    node.end(&by_ha, "OK");
    let by_cli = by_root(node.upid("qmstart", "101"));
    node.log(&by_cli, "starting\nTASK OK\n");
    node.end(&by_cli, "OK");
    let by_user = node.ended("qmstart", "102", "OK");
    node.log(&by_user, "task started by HA resource agent\nTASK OK\n");
    let events = start(&node).await.collect(3).await;
    let kinds: Vec<&str> = events
        .iter()
        .map(|event| text(event, "pve.actor.kind"))
        .collect();
    assert_eq!(kinds, ["ha", "", ""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tasks_at_once_are_all_told() {
    let mut node = Node::new();
    let upids: Vec<String> = (0..10_000).map(|_| node.upid("qmshutdown", "1")).collect();
    node.active(
        &upids
            .iter()
            .map(|upid| format!("{upid} 0"))
            .collect::<Vec<_>>(),
    );
    let bench = start(&node).await;
    bench.until(|events| events.len() == 10_000).await;
    let index: String = upids
        .iter()
        .map(|upid| format!("{} OK\n", node.ending(upid)))
        .collect();
    node.append(&index);
    node.rotate();
    node.active(&[]);
    bench.until(|events| events.len() == 20_000).await;
    let events = bench.stop().await;
    let ids: std::collections::HashSet<_> = events.iter().map(Event::id).collect();
    assert_eq!(ids.len(), 20_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_comes_later_is_waited_for() {
    let node = Node::new();
    let later = node.file("later");
    // An error, after which the engine starts the source again.
    let why = lists::Looker::new(&later).look(false).unwrap_err();
    assert!(why.contains("later"), "{why}");
    let bench = testing::source::<Config>(&format!("path = {later:?}")).await;
    fs::create_dir(&later).unwrap();
    let upid = "UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam:";
    fs::write(later.join("index"), format!("{upid} 697722A7 OK\n")).unwrap();
    assert_eq!(words(&bench.collect(1).await), ["qmstart 100 end OK"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn since_now_leaves_out_what_has_ended() {
    let mut node = Node::new();
    node.ended("qmstart", "100", "OK");
    let runs = node.upid("qmigrate", "101");
    node.active(&[format!("{runs} 0")]);
    let bench =
        testing::source::<Config>(&format!("path = {:?}\nsince_now = true", node.path())).await;
    bench.until(|events| events.len() == 1).await;
    node.end(&runs, "OK");
    bench.until(|events| events.len() == 2).await;
    assert_eq!(
        words(&bench.stop().await),
        ["qmigrate 101 start", "qmigrate 101 end OK"]
    );
}

#[test]
fn every_mistake_is_told_at_its_place() {
    let mistakes = |toml: &str| {
        let config: Config = toml::from_str(toml).unwrap();
        match config.build(&Context::for_tests(Kind::Source, "pve_tasks")) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    };
    assert!(mistakes(Config::EXAMPLE).is_empty());
    let told = mistakes("path = 'tasks'\ntimezone = 'Mars/Olympus'");
    assert_eq!(told.len(), 2, "{told:?}");
}
