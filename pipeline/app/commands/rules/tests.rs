//! Commands on rules as a person calls them.

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn call(words: &[&str]) -> Exit {
    let line = <Line as clap::Parser>::try_parse_from(
        std::iter::once("rules").chain(words.iter().copied()),
    );
    run(&line.expect("a command line").args)
}

#[test]
fn a_near_miss_is_no_match_and_a_match_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("site.toml");
    let text = "schema = 1\n[[rule]]\nid = \"SITE-1\"\nname = \"gone\"\nseverity = \"low\"\ntype = \"event\"\n[rule.select.a]\n\"event.code\" = \"PVE-2002\"\n\"event.outcome\" = \"success\"\n";
    std::fs::write(&rules, text).unwrap();
    let event = folder.path().join("event.json");
    let rules = rules.to_str().unwrap();
    let explain = |outcome: &str| {
        let json = format!(
            "{{\"@timestamp\":\"2026-03-14T22:58:03Z\",\"event\":{{\"code\":\"PVE-2002\",\"outcome\":{outcome:?}}},\"pve\":{{\"record\":\"primary\"}}}}"
        );
        std::fs::write(&event, json).unwrap();
        call(&[
            "explain",
            "SITE-1",
            "--event",
            event.to_str().unwrap(),
            "--rules",
            rules,
        ])
    };
    assert_eq!(explain("success"), Exit::Done);
    assert_eq!(explain("failure"), Exit::Found);
    assert_eq!(
        call(&["explain", "SITE-2", "--event", "x", "--rules", rules]),
        Exit::Failed
    );
    assert_eq!(call(&["check", rules]), Exit::Done);
    assert_eq!(call(&["show", "gone", "--rules", rules]), Exit::Done);
    std::fs::write(rules, text.replace("PVE-2002", "PVE-2992")).unwrap();
    assert_eq!(call(&["check", rules]), Exit::BadConfig);
}

#[test]
fn a_rule_is_switched_off_and_on_beside_the_data_of_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("graph.toml");
    let text = format!(
        "data_dir = {:?}\n[sources.s]\ntype = \"stdin\"\n[transforms.a]\ntype = \"anomaly\"\ninputs = [\"s\"]\n[sinks.b]\ntype = \"blackhole\"\ninputs = [\"a\", \"a.alerts\"]\n",
        folder.path().to_str().unwrap()
    );
    std::fs::write(&config, text).unwrap();
    let from = From {
        config: vec![config.clone()],
        rules: Vec::new(),
        profile: None,
    };
    let enabled = || {
        from.load()
            .unwrap()
            .rule("PVR-201")
            .expect("a rule of the pack")
            .enabled
    };
    let config = config.to_str().unwrap();
    assert!(enabled());
    assert_eq!(call(&["disable", "PVR-201", "-c", config]), Exit::Done);
    assert!(!enabled());
    assert_eq!(call(&["enable", "PVR-201", "-c", config]), Exit::Done);
    assert!(enabled());
    assert_eq!(call(&["disable", "PVR-000", "-c", config]), Exit::Failed);
    // What another rule waits for goes on without alerts of its own.
    assert_eq!(call(&["disable", "PVR-103", "-c", config]), Exit::Done);
    let set = from.load().unwrap();
    let rule = set.rule("PVR-103").expect("a rule of the pack");
    assert!(!rule.enabled && rule.feeds);
    assert_eq!(switch::waiting(&set, "PVR-103").as_deref(), Some("PVR-106"));
    assert_eq!(switch::waiting(&set, "PVR-201"), None);
    assert_eq!(call(&["list", "-c", config]), Exit::Done);
}
