//! `doctor` and `generate pve` on prepared trees: a node as it should be, and one where things are missing.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::Ground;
use support::service::skip;

/// Files of a node, under a folder.
struct Tree(PathBuf);

const UPID: &str = "UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam:";

impl Tree {
    fn new(folder: PathBuf) -> Tree {
        let tree = Tree(folder);
        tree.file("/etc/hostname", "pve1.example\n");
        tree.file("/etc/pve/.version", "{}");
        tree.file(
            "/etc/pve/.members",
            r#"{"nodename":"pve1","version":4,"cluster":{"name":"prod","version":3,"nodes":2,"quorate":1},
               "nodelist":{"pve1":{"id":1,"online":1,"ip":"192.0.2.11"},"pve2":{"id":2,"online":1,"ip":"192.0.2.12"}}}"#,
        );
        tree.file(
            "/etc/pve/corosync.conf",
            "totem {\n  cluster_name: prod\n  version: 2\n}\n",
        );
        tree.file("/etc/pve/storage.cfg", "dir: local\n\tpath /var/lib/vz\n");
        tree.file("/etc/pve/pve-root-ca.pem", &pem());
        tree.file(
            "/etc/pve/user.cfg",
            "user:root@pam:1:0::::::\nuser:audit@pve:1:0::::::\ntoken:audit@pve!trail:0:1::\n\n\
             role:PvetrailSyslog:Sys.Syslog:\n\nacl:1:/:audit@pve:PVEAuditor,PvetrailSyslog:\nacl:1:/:audit@pve!trail:PVEAuditor,PvetrailSyslog:\n",
        );
        tree.file("/etc/pve/firewall/cluster.fw", "[OPTIONS]\nenable: 1\n");
        tree.file(
            "/etc/logrotate.d/pve",
            "/var/log/pveproxy/access.log {\n\trotate 7\n\tdaily\n}\n",
        );
        tree.file(
            "/etc/systemd/system/pvetrail.service",
            "[Service]\nUser=pvetrail\nAmbientCapabilities=CAP_DAC_READ_SEARCH\n",
        );
        tree.file(
            "/etc/systemd/journald.conf",
            "[Journal]\nRateLimitIntervalSec=0\n",
        );
        tree.file(
            "/var/lib/dpkg/status",
            "Package: pve-manager\nStatus: install ok installed\nVersion: 9.2.11\n\n",
        );
        tree.file(
            "/var/log/pveproxy/access.log",
            "::ffff:192.0.2.10 - root@pam [26/01/2026:09:15:30 +0100] \"POST /api2/extjs/nodes/pve1/qemu/100/status/start HTTP/1.1\" 200 81\n",
        );
        tree.file("/var/log/pve/tasks/index", &format!("{UPID} 697722A7 OK\n"));
        tree.file(
            "/var/log/pve/tasks/active",
            &format!("{UPID} 1 697722A7 OK\n"),
        );
        tree.file("/var/log/pve-firewall.log", "");
        tree
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// A journal of these messages, each with further fields; false, told where the tests look, where this machine cannot
    /// make one.
    fn journal(&self, entries: &[(String, &str)]) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/services/journal.sh");
        let run = |words: &[&std::ffi::OsStr]| Command::new(&script).args(words).output().unwrap();
        if !run(&["install".as_ref()]).status.success()
            || Command::new("journalctl")
                .arg("--version")
                .output()
                .is_err()
        {
            skip("service: journal: there is no journal here");
            return false;
        }
        let mut export = String::new();
        for (n, (message, more)) in entries.iter().enumerate() {
            export.push_str(&format!(
                "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID={:032x}\n_MACHINE_ID={:032x}\n\
                 _PID=7\nPRIORITY=6\nSYSLOG_IDENTIFIER=pvedaemon\nMESSAGE={message}\n{more}\n",
                1_769_415_330_000_000_u64 + n as u64 * 5_000_000,
                1000 + n,
                0xb007,
                0x1d
            ));
        }
        let (file, folder) = (self.path("export"), self.path("/var/log/journal"));
        fs::write(&file, export).unwrap();
        fs::create_dir_all(&folder).unwrap();
        let done = run(&["write".as_ref(), folder.as_ref(), file.as_ref()]);
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        true
    }
}

/// A certificate of its own making, for what trusts one must be able to read it.
fn pem() -> String {
    rcgen::generate_simple_self_signed(["pve1".to_owned()])
        .unwrap()
        .cert
        .pem()
}

/// What `doctor --json` found, and its exit code.
fn doctor(ground: &Ground, tree: &Tree, more: &[&str]) -> (Option<i32>, Vec<Value>) {
    let output = support::program()
        .args(["doctor", "--json", "--root"])
        .arg(&tree.0)
        .args(more)
        .env("CREDENTIALS_DIRECTORY", ground.path("credentials"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found = serde_json::from_str(&text);
    (
        output.status.code(),
        found.unwrap_or_else(|why| panic!("{why}: {text}")),
    )
}

/// What was found of one kind, as `check: what`.
fn of(found: &[Value], level: &str) -> Vec<String> {
    let found = found.iter().filter(|finding| finding["level"] == level);
    found
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap();
            format!("{}: {}", text("check"), text("what"))
        })
        .collect()
}

fn credentials(ground: &Ground) {
    fs::create_dir_all(ground.path("credentials")).unwrap();
    fs::write(ground.path("credentials/pve_token"), "0000-1111").unwrap();
}

#[test]
fn a_node_as_it_should_be_has_no_problem_and_its_graph_holds() {
    let ground = Ground::new();
    let tree = Tree::new(ground.path("root"));
    let entries = [
        "<root@pam> starting task UPID OK",
        "<root@pam> end task UPID OK",
    ];
    if !tree.journal(&entries.map(|entry| (entry.replace("UPID", UPID), ""))) {
        return;
    }
    credentials(&ground);
    let root = tree.0.to_str().unwrap();
    let output = support::program()
        .args([
            "generate",
            "pve",
            "--root",
            root,
            "--token",
            "audit@pve!trail=hunter2",
        ])
        .output()
        .unwrap();
    let (graph, aside) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(0));
    assert!(!graph.contains("hunter2") && !aside.contains("hunter2"));
    assert!(
        aside.contains("the secret of the token was left out"),
        "{aside}"
    );
    let file = ground.path("graph.toml");
    fs::write(&file, &graph).unwrap();
    let table: toml::Table = graph.parse().unwrap();
    let sources: Vec<&String> = table["sources"].as_table().unwrap().keys().collect();
    assert_eq!(
        sources,
        [
            "access", "tasks", "journal", "config", "firewall", "cluster", "self"
        ]
    );
    assert_eq!(table["cluster"].as_str(), Some("prod"));
    assert!(
        graph.contains("/etc/pve/.members\"     # what comes from one of these was relayed"),
        "{graph}"
    );
    let validate = support::program()
        .arg("validate")
        .arg(&file)
        .env("CREDENTIALS_DIRECTORY", ground.path("credentials"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&validate.stderr);
    assert_eq!(validate.status.code(), Some(0), "{said}\n{graph}");
    let (code, found) = doctor(&ground, &tree, &["-c", file.to_str().unwrap()]);
    assert_eq!(of(&found, "problem"), Vec::<String>::new());
    assert_eq!(code, Some(0));
    let good = of(&found, "good").join("\n");
    for part in [
        "node: pve1: pve-manager 9.2.11, cluster prod, 2 nodes",
        "tasks: 1 tasks of 0 days in the lists, 0 running",
        "api token: audit@pve!trail sees what an auditor needs on /",
        "unit: /etc/systemd/system/pvetrail.service runs the program as pvetrail with CAP_DAC_READ_SEARCH",
        "journal: journald has thrown nothing away",
        "facts: the journal tells start and end of all 1 tasks it began to tell",
    ] {
        assert!(good.contains(part), "{part}\n{good}");
    }
}

#[test]
fn the_graph_of_a_tree_runs_and_is_asked_who_did_what() {
    let ground = Ground::new();
    let tree = Tree::new(ground.path("root"));
    if !tree.journal(&[(format!("<root@pam> starting task {UPID}"), "")]) {
        return;
    }
    let root = tree.0.to_str().unwrap();
    let (code, text) = ground.pvetrail(&["generate", "pve", "--root", root]);
    assert_eq!(code, Some(0), "{text}");
    let text = text.replace("${PVETRAIL_ADMIN:-127.0.0.1:8687}", "127.0.0.1:0");
    let text = text.replace("data_dir = \"${PVETRAIL_DATA:-/var/lib/pvetrail}\"", "");
    ground.configure(&text);
    let program = ground.start();
    let file = ground.path("graph.toml");
    let ask = || {
        let words = [
            "query",
            "-c",
            file.to_str().unwrap(),
            "--action",
            "vm-start",
            "--format",
            "ndjson",
        ];
        ground.pvetrail(&words).1
    };
    ground.until("the store is there", || {
        ground.path("data/search.db").exists()
    });
    ground.until("the start of the guest is found", || {
        ask().contains("\"PVE-2004\"")
    });
    let found = ask();
    assert!(
        found.contains("\"192.0.2.10\"") && found.contains("\"matched\""),
        "{found}"
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn what_is_missing_is_said_with_its_price_and_its_remedy() {
    let ground = Ground::new();
    let tree = Tree::new(ground.path("root"));
    fs::remove_file(tree.path("/var/log/pveproxy/access.log")).unwrap();
    fs::remove_dir_all(tree.path("/var/log/pve")).unwrap();
    fs::remove_file(tree.path("/var/log/pve-firewall.log")).unwrap();
    tree.file(
        "/etc/default/pveproxy",
        "PROXY_REAL_IP_HEADER=\"X-Forwarded-For\"\n",
    );
    tree.file(
        "/etc/systemd/system/pvetrail.service",
        "[Service]\nUser=pvetrail\n",
    );
    tree.file(
        "/etc/pve/.members",
        r#"{"cluster":{"quorate":0},"nodelist":{}}"#,
    );
    tree.file(
        "/etc/pve/user.cfg",
        "user:audit@pve:1:0::::::\ntoken:audit@pve!trail:0:1::\nacl:1:/:audit@pve,audit@pve!trail:PVEAuditor:\n",
    );
    tree.file(
        "/var/lib/dpkg/status",
        "Package: pve-manager\nStatus: install ok installed\nVersion: 8.4.14\n\n",
    );
    tree.file(
        "/etc/systemd/journald.conf",
        "[Journal]\n#RateLimitBurst=1\n",
    );
    let (code, found) = doctor(&ground, &tree, &["--token", "audit@pve!trail"]);
    assert_eq!(code, Some(1));
    let problems = of(&found, "problem");
    for part in [
        "access log: ",
        "tasks: ",
        "journal: there is none, nor a file of rsyslog",
        "/etc/pve: the cluster has no quorum",
        "firewall: ",
        "addresses: PROXY_REAL_IP_HEADER=X-Forwarded-For is set without PROXY_REAL_IP_ALLOW_FROM",
        "api token: audit@pve!trail lacks Sys.Syslog on /",
        "unit: /etc/systemd/system/pvetrail.service runs the program as pvetrail without CAP_DAC_READ_SEARCH",
    ] {
        let hits = problems
            .iter()
            .filter(|problem| problem.starts_with(part))
            .count();
        assert_eq!(hits, 1, "{part}\n{problems:#?}");
    }
    assert_eq!(problems.len(), 8, "{problems:#?}");
    // Every problem has a price and a way out.
    for finding in found.iter().filter(|finding| finding["level"] == "problem") {
        assert!(
            finding["costs"].is_string() && finding["remedy"].is_array(),
            "{finding}"
        );
    }
    let access = found
        .iter()
        .find(|finding| finding["check"] == "access log")
        .unwrap();
    assert!(
        access["costs"]
            .as_str()
            .unwrap()
            .contains("no source address is ever known")
    );
    let syslog = found
        .iter()
        .find(|finding| finding["check"] == "api token")
        .unwrap();
    assert!(
        syslog["costs"]
            .as_str()
            .unwrap()
            .contains("only its own entries")
    );
    assert_eq!(
        syslog["remedy"][0],
        "pveum role add PvetrailSyslog --privs Sys.Syslog"
    );
    let notes = of(&found, "note").join("\n");
    for part in [
        "8.4.14 writes no journal line",
        "at most 10000 entries in 30s",
        "clock: not looked at",
    ] {
        assert!(notes.contains(part), "{part}\n{notes}");
    }
    // The graph of such a node is a frame: what is not there is a comment.
    let (code, text) = ground.pvetrail(&["generate", "pve", "--root", tree.0.to_str().unwrap()]);
    assert_eq!(code, Some(0));
    for id in ["tasks", "journal", "cluster"] {
        assert!(
            text.contains(&format!("\n# [sources.{id}]")),
            "{id}\n{text}"
        );
    }
    assert!(text.contains("\n[sources.config]"), "{text}");
}

#[test]
fn a_journal_with_holes_says_so() {
    let ground = Ground::new();
    let tree = Tree::new(ground.path("root"));
    let suppressed = "Suppressed 812 messages from pvedaemon.service".to_owned();
    let id = "MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e\nN_DROPPED=812\n";
    let start = format!("<root@pam> starting task {UPID}");
    if !tree.journal(&[(start, ""), (suppressed, id)]) {
        return;
    }
    // In memory only.
    fs::create_dir_all(tree.path("/run/log")).unwrap();
    fs::rename(tree.path("/var/log/journal"), tree.path("/run/log/journal")).unwrap();
    let (code, found) = doctor(&ground, &tree, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(
        of(&found, "problem"),
        [
            "journal: it is kept in memory only",
            "journal: journald threw entries away 1 times; the last time: Suppressed 812 messages from pvedaemon.service"
        ]
    );
    let notes = of(&found, "note").join("\n");
    assert!(
        notes.contains("facts: the journal never tells the end of 1 of 1 tasks"),
        "{notes}"
    );
}

#[test]
fn oddities_of_the_lists_are_facts_about_the_node() {
    let ground = Ground::new();
    let tree = Tree::new(ground.path("root"));
    tree.file("/var/log/syslog", "x\n");
    let other = UPID.replace("0003A5B2", "0003A5B3");
    tree.file(
        "/var/log/pve/tasks/index",
        &format!("{UPID} 697722A7 unexpected status\n{UPID} 697722A8 OK\n{other} 697722A8  odd\n\u{1b}[2Jno task\n"),
    );
    tree.file(&format!("/var/log/pve/tasks/2/{UPID}"), "TASK OK\n");
    let graph = ground.path("graph.toml");
    fs::write(&graph, "[sources.x]\ntype = \"fiel\"\n").unwrap();
    let (code, found) = doctor(&ground, &tree, &["-c", graph.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    let notes = of(&found, "note").join("\n");
    for part in [
        "facts: 1 of 2 tasks have the status `unexpected status`; the logs of 1 of them say",
        "facts: PVE wrote 1 tasks into its lists more than once",
        "facts: PVE's own API and web page leave out 1 tasks",
        "journal: there is none; rsyslog's files have the same lines",
    ] {
        assert!(notes.contains(part), "{part}\n{notes}");
    }
    let problems = of(&found, "problem").join("\n");
    for part in [
        "facts: 1 lines of the task lists are no tasks",
        "does not hold",
        "config: no source reads /var/log/pveproxy (type file)",
        "config: no source reads /var/log/pve/tasks (type pve_tasks)",
        "config: no source reads /etc/pve (type pve_config)",
    ] {
        assert!(problems.contains(part), "{part}\n{problems}");
    }
    // For people: the same, and nothing that moves a terminal.
    let (code, text) = ground.pvetrail(&["doctor", "--root", tree.0.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("PROBLEM") && text.contains("costs: ") && text.contains("$ "),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn the_unit_that_is_printed_is_the_one_that_is_shipped_and_systemd_takes_it() {
    let ground = Ground::new();
    let (code, unit) = ground.pvetrail(&["generate", "unit"]);
    assert_eq!(code, Some(0));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/systemd/pvetrail.service");
    assert_eq!(unit, fs::read_to_string(shipped).unwrap());
    assert!(unit.contains("\nAmbientCapabilities=CAP_DAC_READ_SEARCH\n"));
    // The program and the user are not installed here: both are put aside.
    let unit = unit.replace("/usr/local/bin/pvetrail", "/bin/true");
    let file = ground.path("pvetrail.service");
    fs::write(&file, unit).unwrap();
    let Ok(verified) = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&file)
        .output()
    else {
        skip("service: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&verified.stderr);
    let complaints: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("pvetrail.service"))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
