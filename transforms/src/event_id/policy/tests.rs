//! Which level which event gets, and what a file may not say.

use super::*;

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse(text, Path::new("policy.toml"))
}

fn subject<'a>(code: &str, node: &'a str) -> Subject<'a> {
    Subject {
        row: Catalogue::builtin().number(code).unwrap(),
        node,
        outcome: "success",
        ..Subject::default()
    }
}

#[test]
fn the_first_rule_that_fits_decides_and_a_node_may_say_otherwise() {
    let cluster = parse("[[rule]]\ncode = \"PVE-1013\"\nlevel = \"none\"\n[[rule]]\ncode = \"PVE-20??\"\nvmid = 9000\nlevel = \"metadata\"").unwrap();
    let node = parse("[[rule]]\ncode = \"PVE-1013\"\nnode = \"pve2\"\nlevel = \"params\"").unwrap();
    let policy = node.then(cluster);
    assert_eq!(policy.decide(subject("PVE-1013", "pve2")).0, Level::Params);
    assert_eq!(policy.decide(subject("PVE-1013", "pve1")).0, Level::None);
    let guest = Subject {
        vmid: Some(9000),
        ..subject("PVE-2004", "pve1")
    };
    let (level, rule) = policy.decide(guest);
    assert_eq!(
        (level, rule.unwrap().from.as_str()),
        (Level::Metadata, "policy.toml, rule 2")
    );
    assert_eq!(
        policy.decide(subject("PVE-2004", "pve1")),
        (Level::Params, None)
    );
    let changed = Subject {
        changes: true,
        ..subject("PVE-2014", "pve1")
    };
    assert_eq!(policy.decide(changed).0, Level::Full);
}

#[test]
fn what_must_be_recorded_is() {
    let policy = parse("[[rule]]\nlevel = \"none\"").unwrap();
    for code in [
        "PVE-1002", "PVE-2002", "PVE-2102", "PVE-3032", "PVE-5111", "PVE-9014",
    ] {
        assert_eq!(
            policy.decide(subject(code, "x")).0,
            Level::Metadata,
            "{code}"
        );
    }
    assert_eq!(policy.decide(subject("PVE-2004", "x")).0, Level::None);
    assert_eq!(
        parse("[[rule]]\ncode = \"PVE-1002\"\nlevel = \"none\"").unwrap_err(),
        "policy.toml, rule 1: PVE-1002 (Login failed) cannot be recorded below \"metadata\""
    );
}

#[test]
fn what_holds_for_a_code_is_told_with_its_rule() {
    let policy = parse(
        "[[rule]]\ncode = \"PVE-20??\"\nvmid = 9000\nlevel = \"none\"\n\
         [[rule]]\ncode = \"PVE-2???\"\nnode = \"pve2\"\nlevel = \"full\"",
    )
    .unwrap();
    let told = |code: &str, node| {
        let row = Catalogue::builtin().number(code).unwrap();
        let decisions = policy.decisions(row, node).into_iter();
        let told = decisions.map(|one| format!("{} {} {}", one.level, one.only, one.raised));
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        told("PVE-2004", Some("pve2")),
        ["none vmid 9000 false", "full  false"]
    );
    assert_eq!(
        told("PVE-2002", Some("pve1")),
        [
            "metadata vmid 9000 true",
            "full what says what changed false",
            "params  false"
        ]
    );
    assert_eq!(
        told("PVE-2004", None),
        [
            "none vmid 9000 false",
            "full node pve2 false",
            "full what says what changed false",
            "params  false"
        ]
    );
    assert_eq!(told("PVE-1013", None), ["metadata  false"]);
}

#[test]
fn a_mistake_is_told_with_its_place() {
    let why = |text| parse(text).unwrap_err();
    assert!(
        why("[[rule]]\nlevel = \"all\"").starts_with("policy.toml:2: "),
        "{}",
        why("[[rule]]\nlevel = \"all\"")
    );
    assert!(
        why("[[rule]]\ncode = \"PVE-7777\"\nlevel = \"full\"")
            .contains("no event ID is like \"PVE-7777\"")
    );
    assert!(why("[[rule]]\noutcome = \"ok\"\nlevel = \"full\"").contains("\"ok\" is none of"));
    assert!(why("[[rules]]\nlevel = \"full\"").contains("rules"));
}
