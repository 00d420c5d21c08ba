//! The demo's month, and what the pack makes of it: few alerts on ordinary days, and each planted attack found.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use pipeline::Time;
use serde_json::Value;

/// The rules that tell an attack, by its name; one of them is enough for somebody to be woken.
const FOUND_BY: [(&str, &[&str]); 11] = [
    ("stolen-account", &["PVR-104", "PVR-106", "PVR-202"]),
    ("right-for-oneself", &["PVR-302", "PVR-309"]),
    ("password-spray", &["PVR-105"]),
    ("backups-purged", &["PVR-503", "PVR-505"]),
    ("firewall-off", &["PVR-402"]),
    ("consoles-in-a-row", &["PVR-211"]),
    ("protection-off", &["PVR-208"]),
    ("guests-stopped", &["PVR-204"]),
    ("snapshots-purged", &["PVR-205"]),
    ("token-with-full-rights", &["PVR-304"]),
    ("realm-added", &["PVR-306"]),
];

/// What an attack causes later counts as part of it: the repair, a backup that is missing the next night [ms].
const AFTER: i64 = 26 * 3600 * 1000;

fn pvetrail(args: &[&str]) -> String {
    let program =
        std::env::var_os("PVETRAIL_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_pvetrail").into());
    let answer = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(0), "{args:?}: {said}");
    String::from_utf8(answer.stdout).unwrap()
}

/// From when to when each attack went on [ms since 1970].
fn attacks(truth: &Path) -> BTreeMap<String, (i64, i64)> {
    let mut found: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for line in std::fs::read_to_string(truth).unwrap().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let Some(name) = entry["attack"].as_str() else {
            continue;
        };
        let when = entry["when"].as_i64().unwrap();
        let span = found.entry(name.to_owned()).or_insert((when, when));
        *span = (span.0.min(when), span.1.max(when));
    }
    found
}

/// An alert that is sent: when it was raised [ms since 1970], and its rule.
fn alerts(store: &Path, config: &Path, profile: &str) -> Vec<(i64, String)> {
    let store = store.to_str().unwrap();
    let config = config.to_str().unwrap();
    let mut args = vec!["rules", "run", "--replay", "--alerts", "--store", store];
    args.extend(["--config", config, "--profile", profile]);
    let answer = pvetrail(&args);
    let (list, table) = answer.split_once("RULE").unwrap();
    println!("{profile}:\nRULE{table}");
    list.lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let when = Time::parse(words[0]).unwrap().0 / 1_000_000;
            (words[1] == "notify").then(|| (when, words[3].to_owned()))
        })
        .collect()
}

#[test]
fn a_month_pages_for_each_attack_and_for_little_else() {
    let folder = tempfile::tempdir().unwrap();
    let truth = folder.path().join("truth.jsonl");
    let (store, config) = (
        folder.path().join("search.db"),
        folder.path().join("graph.toml"),
    );
    let text = r#"
[sources.in]
type = "stdin"
[transforms.rules]
type = "anomaly"
inputs = ["in"]
[transforms.rules.lists]
cluster_nodes = ["192.168.10.2", "192.168.10.3", "192.168.10.4"]
[sinks.out]
type = "console"
inputs = ["rules"]
"#;
    std::fs::write(&config, text).unwrap();
    let mut args = vec!["demo", "--month", "--start", "2026-03-01T00:00:00Z"];
    args.extend(["--seed", "7", "--store", folder.path().to_str().unwrap()]);
    args.extend(["--truth", truth.to_str().unwrap()]);
    pvetrail(&args);
    let attacks = attacks(&truth);
    assert_eq!(attacks.len(), FOUND_BY.len(), "{attacks:?}");

    let quiet = alerts(&store, &config, "quiet");
    for (name, rules) in FOUND_BY {
        let (from, to) = attacks[name];
        let first = quiet
            .iter()
            .filter(|(when, rule)| (from..=to).contains(when) && rules.contains(&rule.as_str()))
            .map(|(when, _)| when - from)
            .min();
        let first = first.unwrap_or_else(|| panic!("{name} is not found: {quiet:?}"));
        println!("{name}: found {} s after it began", first / 1000);
        // Each is found while it goes on, and none of them lasts for longer.
        assert!(first <= 10 * 60 * 1000, "{name}: {first} ms");
    }
    let planted = |when: i64| {
        attacks
            .values()
            .any(|(from, to)| (*from..=to + AFTER).contains(&when))
    };
    let per_day = |alerts: &[(i64, String)]| {
        let mut days: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (when, rule) in alerts.iter().filter(|(when, _)| !planted(*when)) {
            days.entry(when / 86_400_000)
                .or_default()
                .push(rule.clone());
        }
        days
    };
    let ordinary = per_day(&quiet);
    let most = ordinary.values().map(Vec::len).max().unwrap_or(0);
    println!("quiet: at most {most} a day besides the attacks");
    assert!(most < 5, "{ordinary:?}");
    // The month is not so quiet that rules have nothing to do on ordinary days.
    let rules: BTreeSet<&String> = ordinary.values().flatten().collect();
    assert!(rules.len() >= 3, "{rules:?}");

    let strict = alerts(&store, &config, "strict");
    assert!(
        strict.len() > quiet.len(),
        "{} {}",
        strict.len(),
        quiet.len()
    );
}
