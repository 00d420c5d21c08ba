//! The demo's day in the store, and the questions people ask it: each answer held against what really happened, which the
//! demo knows and no log tells.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

/// A day in a store, and the truth about it.
struct Day {
    folder: tempfile::TempDir,
    truth: HashMap<String, Value>,
}

/// Told once for all tests of this file.
static DAY: LazyLock<Day> = LazyLock::new(|| tell(7, None));

fn pvetrail(args: &[&str]) -> Output {
    let program =
        std::env::var_os("PVETRAIL_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pvetrail").into());
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The day of a seed that begins at `start`, or that ends now.
fn tell(seed: u64, start: Option<&str>) -> Day {
    let folder = tempfile::tempdir().unwrap();
    let truth = folder.path().join("truth.jsonl");
    let store = folder.path().join("store");
    let seed = seed.to_string();
    let mut words = vec!["demo", "--seed", &seed, "--store", text(&store)];
    words.extend(["--truth", text(&truth)]);
    words.extend(start.iter().flat_map(|start| ["--start", start]));
    let told = pvetrail(&words);
    assert!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    let truth = std::fs::read_to_string(truth).unwrap();
    let truth = truth.lines().map(|line| {
        let entry: Value = serde_json::from_str(line).unwrap();
        (entry["id"].as_str().unwrap().to_owned(), entry)
    });
    Day {
        truth: truth.collect(),
        folder,
    }
}

impl Day {
    /// What `query` answers.
    fn ask(&self, words: &[&str]) -> Vec<Value> {
        let store = self.folder.path().join("store/search.db");
        let mut args = vec!["query", "--store", text(&store), "--limit", "0"];
        args.extend(["--format", "ndjson"]);
        args.extend(words);
        let answer = pvetrail(&args);
        let said = String::from_utf8_lossy(&answer.stderr);
        assert_eq!(answer.status.code(), Some(0), "{words:?}: {said}");
        let lines = String::from_utf8(answer.stdout).unwrap();
        let lines = lines.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Who was really behind an event.
    fn truth(&self, event: &Value) -> &Value {
        let id = event["event"]["id"].as_str().unwrap();
        self.truth
            .get(id)
            .unwrap_or_else(|| panic!("{event} never was"))
    }

    /// What an event says of its source, held against the truth.
    fn judge(&self, event: &Value) -> &'static str {
        let truth = &self.truth(event)["address"];
        let said = &event["source"]["ip"];
        match event["pve"]["source"]["attribution"].as_str() {
            _ if said.is_string() && said == truth => "right",
            _ if said.is_string() => "wrong",
            Some("ambiguous") => "ambiguous",
            _ if truth.is_null() => "none, as it is",
            _ => "none",
        }
    }

    /// Whether an event names another than who it was. Where it names nobody it does not.
    fn accuses_another(&self, event: &Value) -> bool {
        let user = event["user"]["id"].as_str();
        let token = event["pve"]["token"]["id"].as_str();
        let said = match (user, token) {
            (None, _) => return false,
            (Some(user), Some(token)) => format!("{user}!{token}"),
            (Some(user), None) => user.to_owned(),
        };
        let truth = self.truth(event)["user"].as_str().unwrap_or_default();
        // ssh knows no realms.
        let bare = |name: &str| {
            name.strip_suffix("@pam")
                .map_or(name.to_owned(), str::to_owned)
        };
        bare(&said) != bare(truth)
    }
}

#[test]
fn who_deleted_the_ten_guests() {
    let rows = DAY.ask(&["--action", "vm-destroy", "--since", "25h"]);
    assert_eq!(rows.len(), 10);
    let all = DAY.ask(&["--all", "--action", "vm-destroy"]);
    let by_id: HashMap<&str, &Value> = all
        .iter()
        .map(|event| (event["event"]["id"].as_str().unwrap(), event))
        .collect();
    for event in &rows {
        let truth = DAY.truth(event);
        assert_eq!(event["user"]["id"], "m.keller@pam");
        assert_eq!(event["user"]["id"], truth["user"]);
        assert_eq!(event["source"]["ip"], truth["address"]);
        assert_eq!(event["pve"]["source"]["attribution"], "matched", "{event}");
        let evidence = event["pve"]["source"]["evidence"].as_array().unwrap();
        assert!(!evidence.is_empty(), "{event}");
        for id in evidence {
            let line = by_id[id.as_str().unwrap()];
            assert_eq!(line["pve"]["record"], "evidence");
            assert_eq!(DAY.truth(line)["address"], truth["address"]);
        }
        // A call for another node went through pve1.
        let via = &event["pve"]["source"]["via"];
        assert_eq!(event["host"]["name"] != "pve1", *via == "pve1", "{event}");
        let vmid = event["pve"]["vmid"].as_i64().unwrap();
        let message = event["message"].as_str().unwrap();
        let address = truth["address"].as_str().unwrap();
        assert!(
            message.starts_with(&format!("m.keller@pam destroyed VM {vmid}")),
            "{message}"
        );
        assert!(message.contains(&format!(" from {address}")), "{message}");
    }
    let german = DAY.ask(&["--action", "vm-destroy", "--lang", "de"]);
    for event in german {
        let message = event["message"].as_str().unwrap();
        assert!(
            message.starts_with("m.keller@pam hat VM ")
                && message.contains(" gelöscht, von 203.0.113."),
            "{message}"
        );
    }
}

#[test]
fn who_deleted_one_guest() {
    let ten = DAY.ask(&["--action", "vm-destroy"]);
    let vmid = ten[3]["pve"]["vmid"].to_string();
    let rows = DAY.ask(&["--action", "*-destroy", "--vmid", &vmid]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["event"]["id"], ten[3]["event"]["id"]);
}

#[test]
fn failed_logins_of_the_last_day() {
    let rows = DAY.ask(&["--action", "login", "--failed", "--since", "25h"]);
    let outside = |event: &&Value| {
        let ip = event["source"]["ip"].as_str();
        ip.is_some_and(|ip| ip.starts_with("203.0.113."))
    };
    assert!(rows.iter().filter(outside).count() >= 25, "{}", rows.len());
    for event in &rows {
        assert_eq!(DAY.judge(event), "right", "{event}");
        assert_eq!(event["event"]["outcome"], "failure");
    }
    let store = DAY.folder.path().join("store/search.db");
    let groups = pvetrail(&[
        "query",
        "--store",
        text(&store),
        "--failed",
        "--by",
        "user",
        "--min-count",
        "5",
    ]);
    assert!(String::from_utf8_lossy(&groups.stdout).contains("root@pam"));
}

#[test]
fn what_a_user_did() {
    let rows = DAY.ask(&["--user", "m.keller@pam"]);
    for event in &rows {
        assert!(!DAY.accuses_another(event), "{event}");
    }
    let count = |action: &str| {
        rows.iter()
            .filter(|e| e["event"]["action"] == action)
            .count()
    };
    assert_eq!(count("vm-destroy"), 10);
    assert_eq!(
        (count("token-create"), count("firewall-off")),
        (1, 1),
        "the ways back in"
    );
    assert_eq!(count("shell-open"), 1);
}

#[test]
fn logins_with_address_and_time() {
    let rows = DAY.ask(&["--action", "login", "--outcome", "success"]);
    let right = rows
        .iter()
        .filter(|event| DAY.judge(event) == "right")
        .count();
    assert!(right >= 15, "{right} of {}", rows.len());
    for event in &rows {
        assert_ne!(DAY.judge(event), "wrong", "{event}");
        assert!(!DAY.accuses_another(event), "{event}");
    }
    // The stolen account came once, from outside.
    let stolen = rows.iter().filter(|event| {
        let ip = event["source"]["ip"].as_str();
        ip.is_some_and(|ip| ip.starts_with("203.0.113."))
    });
    assert_eq!(stolen.count(), 1);
}

#[test]
fn which_guests_were_migrated() {
    let rows = DAY.ask(&["--action", "*-migrate"]);
    assert!(rows.len() > 20, "{}", rows.len());
    for event in &rows {
        assert_eq!(event["pve"]["task"]["type"], "qmigrate", "{event}");
        assert_ne!(DAY.judge(event), "wrong", "{event}");
    }
}

#[test]
fn consoles_that_were_opened() {
    let rows = DAY.ask(&["--code", "23*", "--since", "30d"]);
    assert!(rows.len() > 20, "{}", rows.len());
    let shells: Vec<&Value> = rows
        .iter()
        .filter(|event| event["event"]["code"] == "PVE-2311")
        .collect();
    assert_eq!(shells.len(), 1, "a node's own shell");
    assert_eq!(DAY.judge(shells[0]), "right");
    for event in &rows {
        assert_ne!(DAY.judge(event), "wrong", "{event}");
        assert!(!DAY.accuses_another(event), "{event}");
    }
}

/// Nobody asked for this one: the file was changed by hand, and nothing says by whom.
fn edited_by_hand(day: &Day) {
    let rows = day.ask(&["--code", "7001"]);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0]["pve"]["source"]["attribution"], "none");
    assert!(rows[0]["user"]["id"].is_null(), "{}", rows[0]);
}

#[test]
fn an_edit_by_hand_is_in_the_day_whenever_it_begins() {
    // Before, while and after it is the time of day at which somebody edits.
    for start in [
        "2026-11-24T13:59:00Z",
        "2026-11-24T14:25:00Z",
        "2026-11-24T15:05:00Z",
    ] {
        edited_by_hand(&tell(7, Some(start)));
    }
}

#[test]
fn what_changed_on_an_object() {
    // The right to do everything, given by the stolen account to its new token.
    let mut rows = DAY.ask(&["--object", "acl", "--user", "m.keller@pam"]);
    rows.retain(|event| event["pve"]["object"]["id"] == "/|m.keller@pam!sync|Administrator");
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!(rows[0]["event"]["code"], "PVE-3032");
    assert_eq!(DAY.judge(&rows[0]), "right");
    assert!(
        rows[0]["pve"]["changes"]
            .to_string()
            .contains("Administrator"),
        "{}",
        rows[0]
    );
    edited_by_hand(&DAY);
    // Old and new, key by key.
    let rows = DAY.ask(&["--action", "vm-config-change", "--explode"]);
    let memory = rows.iter().filter(|row| row["key"] == "memory");
    assert!(memory.count() > 5, "{rows:?}");
}

#[test]
fn nobody_is_accused_of_what_another_did() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in [7, 8, 9] {
        let other;
        let day = match seed {
            7 => &*DAY,
            _ => {
                other = tell(seed, None);
                &other
            }
        };
        for event in day.ask(&["--kind", "event"]) {
            let verdict = day.judge(&event);
            *counts.entry(verdict).or_default() += 1;
            assert_ne!(verdict, "wrong", "{event}");
            assert!(!day.accuses_another(&event), "{event}");
        }
    }
    #[allow(clippy::print_stdout, reason = "the counts are what it shows")]
    let () = println!("three days: {counts:?}, wrong: 0");
    let all: usize = counts.values().sum();
    // The end of an ssh session and the cluster's log have no address of their own.
    assert!(3 * counts["right"] > 2 * all, "{counts:?}");
}
