//! Lines of every kind, and what they mean.

mod hostile;

use super::*;
use pipeline::{events, testing};
use serde_json::{Value, json};

fn mapped(input: Vec<Event>) -> Vec<Value> {
    let mut event_id = testing::transform::<Config>("policy = []");
    event_id
        .feed(input)
        .events()
        .iter()
        .map(Event::to_json)
        .collect()
}

fn line(program: &str, text: &str) -> Value {
    let event = events![{"host": {"name": "pve1"}, "process": {"name": program, "pid": 1562}, "message": text}];
    mapped(event).remove(0)
}

#[test]
fn a_refused_login_names_who_and_from_where() {
    let event = line(
        "pvedaemon",
        "authentication failure; rhost=::ffff:203.0.113.45 user=root@pam msg=Authentication failure",
    );
    assert_eq!(event["event"]["code"], "PVE-1002");
    assert_eq!(event["event"]["outcome"], "failure");
    assert_eq!(event["event"]["reason"], "Authentication failure");
    assert_eq!(
        event["user"],
        json!({"id": "root@pam", "name": "root", "domain": "pam"})
    );
    assert_eq!(event["source"]["ip"], "203.0.113.45");
    assert_eq!(event["pve"]["source"]["attribution"], "direct");
    assert_eq!(
        event["message"],
        "root@pam failed to log in from 203.0.113.45 on pve1"
    );
    assert_eq!(event["related"]["ip"], json!(["203.0.113.45"]));
    assert!(
        event["event"]["original"]
            .as_str()
            .unwrap()
            .starts_with("authentication failure; rhost=")
    );
}

#[test]
fn a_name_that_looks_like_a_reason_accuses_nobody() {
    let text = "authentication failure; rhost=192.0.2.1 user=root@pam msg=Authentication failure user=alice@pve msg=no such user ('x')";
    let event = line("pvedaemon", text);
    assert_eq!(
        event["user"]["id"],
        "root@pam msg=Authentication failure user=alice@pve msg=no such user ('x')"
    );
    let event = line(
        "pvedaemon",
        "authentication failure; rhost=192.0.2.1 user=a msg=b@pve msg=no such user ('a msg=b@pve')",
    );
    assert_eq!(event["user"]["id"], "a msg=b@pve");
}

#[test]
fn whose_login_it_was_stands_in_the_quotes() {
    let event = line(
        "pvedaemon",
        "<root@pam> successful auth for user 'alice@pve'",
    );
    assert_eq!(event["event"]["code"], "PVE-1001");
    assert_eq!(event["user"]["id"], "alice@pve");
    assert_eq!(event["source"], Value::Null);
}

#[test]
fn a_task_is_told_with_its_object_and_its_outcome() {
    let upid = "UPID:pve1:0001A6B3:00F3C1D2:69B5F213:qmdestroy:104:m.keller@pam!ci:";
    let event = events![{"host": {"name": "pve1"}, "pve": {"origin": "task", "task": {"upid": upid, "phase": "end", "status": "OK"}}, "message": upid}];
    let event = mapped(event).remove(0);
    assert_eq!(event["event"]["code"], "PVE-2002");
    assert_eq!(event["event"]["category"], json!(["host", "configuration"]));
    assert_eq!(event["pve"]["object"], json!({"type": "vm", "id": "104"}));
    assert_eq!(event["pve"]["token"]["id"], "ci");
    assert_eq!(event["pve"]["actor"]["kind"], "token");
    assert_eq!(event["user"]["id"], "m.keller@pam");
    assert_eq!(event["pve"]["record"], "primary");
    assert_eq!(event["message"], "m.keller@pam!ci destroyed VM 104 on pve1");
    let event = line(
        "pvedaemon",
        &format!("<m.keller@pam!ci> end task {upid} can't lock file"),
    );
    assert_eq!(
        (&event["event"]["code"], &event["pve"]["record"]),
        (&json!("PVE-2002"), &json!("evidence"))
    );
    assert_eq!(event["event"]["outcome"], "failure");
}

#[test]
fn what_ha_did_in_the_name_of_root_is_not_roots() {
    let upid = "UPID:pve1:0001A6B3:00F3C1D2:69B5F213:qmstart:104:root@pam:";
    let task = |actor: Value| {
        let event = events![{"host": {"name": "pve1"}, "pve": {"origin": "task", "actor": {"kind": actor}, "task": {"upid": upid, "phase": "end", "status": "OK"}}, "message": upid}];
        mapped(event).remove(0)["pve"]["actor"]["kind"].clone()
    };
    // The log of the task says so.
    assert_eq!(task(json!("ha")), "ha");
    assert_eq!(task(json!("whoever")), "user");
}

#[test]
fn a_changed_guest_names_the_keys() {
    let event = line(
        "pvedaemon",
        "<alice@pve!automation> update VM 100: -delete balloon -memory 8192",
    );
    assert_eq!(event["event"]["code"], "PVE-2014");
    assert_eq!(event["pve"]["change_keys"], json!(["balloon", "memory"]));
    assert_eq!(
        event["message"],
        "alice@pve!automation changed balloon, memory of VM 100 on pve1"
    );
}

#[test]
fn lines_of_the_system_are_known() {
    let code = |program: &str, text: &str| {
        line(program, text)["event"]["code"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        code(
            "sshd",
            "Accepted publickey for root from 192.0.2.10 port 50122 ssh2: ED25519 SHA256:x"
        ),
        "PVE-1020"
    );
    assert_eq!(
        code(
            "sshd-session",
            "Failed password for invalid user admin from 203.0.113.9 port 40022 ssh2"
        ),
        "PVE-1021"
    );
    assert_eq!(
        code(
            "sudo",
            "   alice : TTY=pts/0 ; PWD=/home/alice ; USER=root ; COMMAND=/usr/sbin/qm stop 100"
        ),
        "PVE-1023"
    );
    assert_eq!(code("su", "(to root) alice on pts/1"), "PVE-1024");
    assert_eq!(
        code("pmxcfs", "[status] notice: node lost quorum"),
        "PVE-6021"
    );
    assert_eq!(
        code("corosync", "  [KNET  ] link: host: 2 link: 0 is down"),
        "PVE-6023"
    );
    assert_eq!(
        code(
            "pve-ha-crm",
            "node 'pve3': state changed from 'unknown' => 'fence'"
        ),
        "PVE-6032"
    );
    assert_eq!(
        code(
            "watchdog-mux",
            "client (PID 1410) watchdog is about to expire"
        ),
        "PVE-6038"
    );
    assert_eq!(
        code(
            "systemd-journald",
            "Suppressed 12 messages from pvedaemon.service"
        ),
        "PVE-6077"
    );
    assert_eq!(code("kernel", "something else"), "PVE-0000");
}

#[test]
fn a_packet_is_told_with_its_ends() {
    let text = "100 6 tap100i0-IN 26/Jan/2026:09:30:21 +0100 policy DROP: IN=fwbr100i0 OUT=fwbr100i0 SRC=198.51.100.7 DST=192.168.20.15 LEN=60 PROTO=TCP SPT=51604 DPT=22 SYN ";
    let event = mapped(events![{"host": {"name": "pve1"}, "message": text}]).remove(0);
    assert_eq!(event["event"]["code"], "PVE-4301");
    assert_eq!(event["@timestamp"], "2026-01-26T08:30:21.000Z");
    assert_eq!(
        (&event["source"]["ip"], &event["destination"]["port"]),
        (&json!("198.51.100.7"), &json!(22))
    );
    assert_eq!(event["pve"]["vmid"], 100);
}

#[test]
fn no_line_makes_it_panic() {
    use proptest::prelude::*;
    let programs = [
        "pvedaemon",
        "sshd",
        "sudo",
        "su",
        "login",
        "pmxcfs",
        "corosync",
        "pve-ha-crm",
        "systemd",
        "vzdump",
        "",
    ];
    proptest!(|(program in 0..programs.len(), text in "(<[^>]{0,8}> )?(update VM|Accepted|authentication failure; rhost=|\\[KNET\\] |node ')?[ -~é\\x00]{0,60}")| {
        let event = line(programs[program], &text);
        prop_assert!(event["event"]["code"].is_string());
        let said = event["message"].as_str().unwrap();
        prop_assert!(!said.chars().any(char::is_control), "{said:?}");
    });
}

/// A line of the access log through `grok`, as the graphs have it.
fn access(line: &str) -> Value {
    let mut grok = testing::transform::<crate::grok::Config>("patterns = ['%{PVEPROXY_ACCESS}']");
    let parsed = grok.feed(events![{"host": {"name": "pve1"}, "message": line}]);
    mapped(parsed.events().to_vec()).remove(0)
}

#[test]
fn a_call_that_forks_a_task_is_evidence_of_it_and_one_that_does_not_tells_itself() {
    let event = access(
        "::ffff:192.0.2.11 - alice@pve!automation [26/01/2026:09:16:17 +0100] \"DELETE /api2/json/nodes/pve1/qemu/104?purge=1 HTTP/1.1\" 200 83",
    );
    assert_eq!(
        (&event["event"]["code"], &event["pve"]["record"]),
        (&json!("PVE-2002"), &json!("evidence"))
    );
    assert_eq!(event["source"]["ip"], "192.0.2.11");
    assert_eq!(event["user"]["id"], "alice@pve");
    assert_eq!(event["pve"]["token"]["id"], "automation");
    assert_eq!(event["pve"]["vmid"], 104);
    let event = access(
        "192.0.2.10 - root@pam [26/01/2026:09:17:44 +0100] \"PUT /api2/extjs/access/users/alice%40pve HTTP/1.1\" 200 25",
    );
    assert_eq!(
        (&event["event"]["code"], &event["pve"]["record"]),
        (&json!("PVE-3002"), &json!("primary"))
    );
    assert_eq!(event["user"]["target"]["id"], "alice@pve");
    assert_eq!(
        event["message"],
        "root@pam changed user alice@pve from 192.0.2.10"
    );
    // The console answers 200 to what failed; the length gives it away.
    let event = access(
        "192.0.2.10 - root@pam [26/01/2026:09:17:44 +0100] \"PUT /api2/extjs/access/acl HTTP/1.1\" 200 120",
    );
    assert_eq!(event["event"]["outcome"], "failure");
}

#[test]
fn a_read_is_one_pass_and_keeps_what_others_added() {
    let line = "::ffff:192.0.2.12 - bob@corp-ad!m [26/01/2026:09:20:00 +0100] \"GET /api2/json/version HTTP/1.1\" 200 40";
    let event = access(line);
    assert_eq!(
        (&event["event"]["code"], &event["event"]["outcome"]),
        (&json!("PVE-1013"), &json!("success"))
    );
    assert_eq!(
        event["user"],
        json!({"id": "bob@corp-ad", "name": "bob", "domain": "corp-ad"})
    );
    assert_eq!(event["pve"]["token"]["id"], "m");
    assert_eq!(event["pve"]["actor"]["kind"], "token");
    assert_eq!(event["source"]["ip"], "192.0.2.12");
    assert_eq!(event["url"], json!({"path": "/api2/json/version"}));
    assert_eq!(event["pve"]["level"], "metadata");
    assert_eq!(event["event"]["original"], Value::Null);
    assert_eq!(
        event["pve"]["object"],
        json!({"type": "node", "id": "pve1"})
    );
    let event = access(
        "192.0.2.12 - - [26/01/2026:09:20:00 +0100] \"GET /api2/json/version HTTP/1.1\" 401 -",
    );
    assert_eq!(
        (&event["event"]["code"], &event["pve"]["record"]),
        (&json!("PVE-1011"), &json!("primary"))
    );
    assert_eq!(event["user"], Value::Null);
}

#[test]
fn what_nothing_fits_goes_on_and_is_counted() {
    let mut event_id = testing::transform::<Config>("policy = []");
    let out = event_id.feed(events![
        {"host": {"name": "pve1"}, "process": {"name": "kernel"}, "message": "x"},
        {"host": {"name": "pve1"}, "process": {"name": "corosync"}, "message": "[QUORUM] y"},
    ]);
    assert_eq!(out.events().len(), 2);
    assert_eq!(out.unclassified(), 2);
    let event = out.events()[0].to_json();
    assert_eq!(event["event"]["code"], "PVE-0000");
    assert_eq!(event["event"]["original"], "x");
}

#[test]
fn arguments_of_a_change_hold_no_secret() {
    let event = line(
        "pvedaemon",
        "<root@pam> update VM 100: -ciuser a -sshkeys ssh-rsa%20AAAA bbb -cores 2",
    );
    let json = event.to_string();
    assert!(!json.contains("AAAA") && !json.contains("bbb"), "{json}");
    assert_eq!(
        event["pve"]["change_keys"],
        json!(["ciuser", "sshkeys", "cores"])
    );
    let event = access(
        "192.0.2.10 - root@pam [26/01/2026:09:17:44 +0100] \"PUT /api2/json/access/users/a%40pve?pass%77ord=hunter2&comment=x HTTP/1.1\" 200 13",
    );
    assert!(!event.to_string().contains("hunter2"), "{event}");
    assert_eq!(
        event["pve"]["params"],
        json!({"password": "[redacted]", "comment": "x"})
    );
}

#[test]
fn a_folder_named_like_a_part_of_sudos_line_is_believed_in_nothing() {
    let event = line(
        "sudo",
        "alice : TTY=pts/0 ; PWD=/tmp/x ; USER=bob ; COMMAND=/bin/true ; USER=root ; COMMAND=/usr/bin/id",
    );
    assert_eq!(
        (&event["event"]["code"], &event["user"]["id"]),
        (&json!("PVE-1023"), &json!("alice"))
    );
    assert_eq!(event["user"]["effective"], Value::Null);
    assert_eq!(event["process"]["command_line"], Value::Null);
    let event = line(
        "sudo",
        "alice : TTY=pts/0 ; PWD=/tmp/USER=bob ; USER=root ; COMMAND=/usr/bin/id",
    );
    assert_eq!(event["user"]["effective"]["name"], "root");
    assert_eq!(event["process"]["command_line"], "/usr/bin/id");
}

#[test]
fn a_task_that_ha_forks_is_ha_s() {
    let upid = "UPID:pve1:0001A6B3:00F3C1D2:69B5F213:qmstart:104:root@pam:";
    let event = line("pve-ha-lrm", &format!("<root@pam> starting task {upid}"));
    assert_eq!(
        (&event["event"]["code"], &event["pve"]["actor"]["kind"]),
        (&json!("PVE-2004"), &json!("ha"))
    );
    assert_eq!(event["pve"]["task"]["upid"], upid);
}

#[test]
fn a_replication_that_failed_is_told_with_its_job_and_why() {
    let text = "100-0: got unexpected replication job error - command 'set -o pipefail && pvesm export' failed: exit code 255";
    for program in ["pvescheduler", "pvesr"] {
        let event = line(program, text);
        assert_eq!(event["event"]["code"], "PVE-5204");
        assert_eq!(event["event"]["outcome"], "failure");
        assert_eq!(
            event["event"]["reason"],
            "command 'set -o pipefail && pvesm export' failed: exit code 255"
        );
        assert_eq!(
            event["pve"]["object"],
            json!({"type": "replication_job", "id": "100-0"})
        );
        assert_eq!(event["pve"]["vmid"], 100);
        assert_eq!(event["pve"]["record"], "primary");
        assert_eq!(event["pve"]["actor"]["kind"], "schedule");
    }
}
