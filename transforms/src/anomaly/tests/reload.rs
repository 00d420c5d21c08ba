//! Rule files that change while the program runs.

use std::path::Path;
use std::time::{Duration, Instant};

use pipeline::testing;

use super::*;
use crate::anomaly::{Config, Loading, members, watch};

const ONE: &str = r#"schema = 1
[[rule]]
id = "T-1"
name = "gone"
severity = "low"
type = "event"
dedupe = "none"
[rule.select.a]
"event.code" = "PVE-2002"
"#;

fn config(folder: &Path) -> String {
    format!(
        "rules = ['{0}/rules/*.toml']\nmembers = '{0}/.members'",
        folder.display()
    )
}

/// Feeds deletions until the answer is as it should be; the codes that were told meanwhile.
fn until(
    watch: &mut testing::StatefulBench,
    n: &mut u64,
    good: impl Fn(usize, &[String]) -> bool,
) -> Vec<String> {
    let started = Instant::now();
    let mut told = Vec::new();
    loop {
        *n += 1;
        let out = watch.feed(vec![event(*n, at(*n as i64), "PVE-2002", "eve@pve")]);
        let alerts = out.made("alerts");
        let opened = alerts
            .iter()
            .filter(|alert| alert.str(Field::new("event.code")) == Some("PVE-9101"))
            .count();
        told.extend(
            out.told()
                .iter()
                .map(|(code, text)| format!("{code} {text}")),
        );
        if good(opened, &told) {
            return told;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "{told:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn garbage_leaves_the_rules_before_in_force_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("a.toml"), ONE).unwrap();
    let mut watch = testing::stateful::<Config>(&config(folder.path()));
    let mut n = 0;
    until(&mut watch, &mut n, |opened, _| opened == 1);
    std::fs::write(rules.join("a.toml"), b"\xff\xfe garbage ]]").unwrap();
    let told = until(&mut watch, &mut n, |_, told| !told.is_empty());
    assert_eq!(told.len(), 1);
    assert!(
        told[0].starts_with("PVE-9004 changed rules cannot be used"),
        "{told:?}"
    );
    // Those before go on.
    until(&mut watch, &mut n, |opened, _| opened == 1);
    // And a file that is good again counts: the same length, another code.
    std::fs::write(rules.join("a.toml"), ONE.replace("2002", "2003")).unwrap();
    let told = until(&mut watch, &mut n, |opened, told| {
        opened == 0 && !told.is_empty()
    });
    assert!(
        told[0].starts_with("PVE-9004 the rules changed"),
        "{told:?}"
    );
}

#[test]
fn a_rule_that_was_broken_from_the_start_keeps_nobody_from_changing_others() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("a.toml"), ONE).unwrap();
    let broken = ONE.replace("T-1", "T-2").replace("PVE-2002", "PVE-2992");
    std::fs::write(rules.join("b.toml"), &broken).unwrap();
    let mut watch = testing::stateful::<Config>(&config(folder.path()));
    let mut n = 0;
    until(&mut watch, &mut n, |opened, _| opened == 1);
    std::fs::write(rules.join("a.toml"), ONE.replace("2002", "2003")).unwrap();
    until(&mut watch, &mut n, |opened, _| opened == 0);
    // The broken one moves down in its file: still the same mistake.
    std::fs::write(rules.join("b.toml"), format!("# moved\n\n{broken}")).unwrap();
    std::fs::write(rules.join("a.toml"), ONE).unwrap();
    until(&mut watch, &mut n, |opened, _| opened == 1);
    // A new mistake is another matter.
    std::fs::write(rules.join("a.toml"), ONE.replace("2002", "2993")).unwrap();
    until(&mut watch, &mut n, |_, told| {
        told.iter()
            .any(|text| text.starts_with("PVE-9004 changed rules cannot be used"))
    });
}

fn loading(folder: &Path) -> Loading {
    Loading {
        config: Config {
            rules: vec![format!("{}/rules/*.toml", folder.display()).into()],
            members: folder.join(".members"),
            ..Config::default()
        },
        data_dir: folder.to_owned(),
        nodes: Vec::new(),
    }
}

#[test]
fn the_nodes_of_the_cluster_come_to_those_that_are_written_down_and_stay_while_the_list_is_away() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    let text = format!("{ONE}\n[lists]\ncluster_nodes = [\"10.9.0.1\", \"10.0.0.1\"]\n");
    std::fs::write(folder.path().join("rules/a.toml"), text).unwrap();
    let file = folder.path().join(".members");
    let members = |ips: &[&str]| {
        let nodes: Vec<String> = ips
            .iter()
            .enumerate()
            .map(|(n, ip)| format!("\"pve{n}\": {{\"id\": {n}, \"online\": 1, \"ip\": \"{ip}\"}}"))
            .collect();
        std::fs::write(&file, format!("{{\"nodelist\": {{{}}}}}", nodes.join(","))).unwrap();
    };
    let mut loading = loading(folder.path());
    let nodes = |loading: &mut Loading| {
        let read = watch::read(loading, Vec::new());
        assert!(read.wrong.is_none(), "{:?}", read.wrong);
        read.set.lists()["cluster_nodes"].clone()
    };
    assert_eq!(nodes(&mut loading), ["10.9.0.1", "10.0.0.1"]);
    members(&["10.0.0.1", "10.0.0.2"]);
    assert_eq!(members::addresses(&file), ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(nodes(&mut loading), ["10.9.0.1", "10.0.0.1", "10.0.0.2"]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(nodes(&mut loading), ["10.9.0.1", "10.0.0.1", "10.0.0.2"]);
    // Commands load the same.
    members(&["10.0.0.3"]);
    let (options, cx) = loading.config.loading(folder.path());
    let (set, _) = RuleSet::load(&options, &cx);
    assert_eq!(
        set.lists()["cluster_nodes"],
        ["10.9.0.1", "10.0.0.1", "10.0.0.3"]
    );
}

#[test]
fn a_change_of_the_same_length_in_the_same_second_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("rules")).unwrap();
    std::fs::write(folder.path().join("rules/a.toml"), ONE).unwrap();
    let file = folder.path().join(".members");
    let write = |ip: &str| {
        std::fs::write(
            &file,
            format!("{{\"nodelist\": {{\"a\": {{\"ip\": \"{ip}\"}}}}}}"),
        )
        .unwrap();
        // The cluster's file system has no times that say anything.
        let open = std::fs::File::options().append(true).open(&file).unwrap();
        open.set_modified(std::time::UNIX_EPOCH).unwrap();
    };
    write("10.0.0.1");
    let mut loading = loading(folder.path());
    let before = watch::read(&mut loading, Vec::new()).prints;
    assert_eq!(watch::read(&mut loading, Vec::new()).prints, before);
    write("10.0.0.2");
    assert_ne!(watch::read(&mut loading, Vec::new()).prints, before);
}
