//! What is wrong with a rule file is told: all of it, each at its place, with what to write instead.

use super::*;

const RULE: &str = r#"[[rule]]
id = "T"
name = "t"
severity = "low"
type = "event_count"
timespan = "10m"
condition = { gte = 3 }
[rule.select.a]
"event.code" = "PVE-2002"
"#;

/// Each case: what to replace in the rule above, with what, where it is told, the message, a part of the remedy.
#[test]
fn every_mistake_has_its_place_and_its_remedy() {
    for (from, to, place, message, help) in [
        (
            "timespan",
            "timspan",
            "7:1",
            "rule \"T\" has no key `timspan`",
            "did you mean `timespan`?",
        ),
        (
            "\"event.code\"",
            "\"event.cod\"",
            "10:1",
            "no event has a field \"event.cod\"",
            "did you mean \"event.code\"?",
        ),
        (
            "PVE-2002",
            "PVE-2092",
            "10:16",
            "there is no event ID \"PVE-2092\"",
            "did you mean",
        ),
        (
            "\"event.code\" =",
            "\"user.id|in\" = \"@admins\"\n\"event.code\" =",
            "10:16",
            "there is no list called \"admins\"",
            "[lists]",
        ),
        (
            "timespan =",
            "during = \"busines\"\ntimespan =",
            "7:10",
            "there is no calendar called \"busines\"",
            "[[calendar]]",
        ),
        (
            "\"10m\"",
            "\"10 minutes\"",
            "7:12",
            "`timespan`: \"minutes\" is not a unit of time",
            "\"10m\"",
        ),
        (
            "\"10m\"",
            "\"0s\"",
            "7:12",
            "`timespan` must be longer than nothing",
            "10m",
        ),
        (
            "gte = 3 ",
            "gt = 5, lt = 6 ",
            "8:13",
            "this condition can never hold: a number of events is not gt 5, lt 6",
            "remove one",
        ),
        (
            "gte = 3 ",
            "",
            "8:13",
            "`condition` compares with nothing",
            "gte = 3",
        ),
        (
            "gte = 3",
            "gte = 3, field = \"user.id\"",
            "8:32",
            "events are counted, not the values of a field",
            "value_count",
        ),
        (
            "event_count",
            "value_avg",
            "8:13",
            "this type needs `field` in its condition",
            "field =",
        ),
        (
            "event_count\"\ntimespan = \"10m\"\ncondition = { gte = 3",
            "value_avg\"\ntimespan = \"10m\"\ncondition = { gte = 3, field = \"pve.vmid\"",
            "8:13",
            "a mean needs tumbling windows",
            "tumbling",
        ),
        (
            "event_count",
            "event",
            "7:1",
            "`timespan` has no meaning for this type",
            "remove `timespan`",
        ),
        (
            "timespan =",
            "when = \"a and not a\"\ntimespan =",
            "7:8",
            "this can never hold",
            "remove",
        ),
        (
            "timespan =",
            "when = \"a and b\"\ntimespan =",
            "7:15",
            "there is no selection called \"b\"",
            "\"a\"",
        ),
        (
            "timespan =",
            "when = \"a and (\"\ntimespan =",
            "7:16",
            "the expression ends where a selection is expected",
            "\"a\"",
        ),
        (
            "\"event.code\" =",
            "\"event.code|neq\" = \"PVE-2002\"\n\"event.code|cased\" = \"PVE-2102\"\n\"event.code\" =",
            "6:8",
            "this can never hold: no event has all these codes at once",
            "event.code",
        ),
        (
            "\"event.code\" =",
            "\"user.id|re\" = 'a(?=b)'\n\"event.code\" =",
            "10:16",
            "this pattern is not linear",
            "look-around",
        ),
        (
            "\"event.code\" =",
            "\"user.id|re\" = '(a)\\1'\n\"event.code\" =",
            "10:16",
            "this pattern is not linear",
            "back-references",
        ),
        (
            "\"event.code\" =",
            "\"user.id|re\" = '((a{99}){99}){99}'\n\"event.code\" =",
            "10:16",
            "this pattern is too big",
            "smaller",
        ),
        (
            "\"event.code\" =",
            "\"user.id|re\" = '(a'\n\"event.code\" =",
            "10:16",
            "this is no pattern: unclosed group",
            "syntax",
        ),
        (
            "\"event.code\" =",
            "\"source.ip|cidr\" = \"10.0.0.0/99\"\n\"event.code\" =",
            "10:20",
            "\"10.0.0.0/99\" is no network",
            "10.0.0.0/8",
        ),
        (
            "\"event.code\" =",
            "\"user.id|contain\" = \"x\"\n\"event.code\" =",
            "10:1",
            "there is no modifier `contain`",
            "did you mean `contains`?",
        ),
        (
            "\"event.code\" =",
            "\"user.id|contains|re\" = \"x\"\n\"event.code\" =",
            "10:1",
            "`re` cannot follow `contains`",
            "two tests",
        ),
        (
            "\"event.code\" =",
            "\"event.outcome\" = \"sucess\"\n\"event.code\" =",
            "10:19",
            "`event.outcome` is never \"sucess\"",
            "did you mean \"success\"?",
        ),
        (
            "\"event.code\" = \"PVE-2002\"",
            "",
            "9:1",
            "this selection is empty",
            "at least one field",
        ),
        (
            "\"event.code\" = \"PVE-2002\"",
            "\"user.id\" = []",
            "10:13",
            "this list is empty",
            "name a value",
        ),
        (
            "timespan =",
            "group_by = [\"user.idd\"]\ntimespan =",
            "7:13",
            "no event has a field \"user.idd\"",
            "did you mean \"user.id\"?",
        ),
        (
            "timespan =",
            "window = \"tumblin\"\ntimespan =",
            "7:10",
            "`window`: there is no window \"tumblin\"",
            "did you mean \"tumbling\"?",
        ),
        ("id = \"T\"", "", "2:1", "this rule needs `id`", "add id"),
        (
            "\"low\"",
            "\"lo\"",
            "5:12",
            "`severity` cannot be \"lo\"",
            "did you mean \"low\"?",
        ),
    ] {
        assert!(RULE.contains(from), "{from}");
        let (set, told) = load(&RULE.replacen(from, to, 1));
        let wanted = format!("site.toml:{place}: error: {message}");
        assert!(told.contains(&wanted), "wanted {wanted}\n{told}");
        assert!(told.contains(help), "wanted {help}\n{told}");
        assert!(set.rules().is_empty(), "{to}");
    }
}

#[test]
fn a_rule_that_is_wrong_does_not_stop_the_others_and_all_is_told_at_once() {
    let text = RULE
        .replace("\"T\"", "\"A\"")
        .replace("PVE-2002", "PVE-2092")
        .replace("\"10m\"", "\"10\"")
        + &RULE.replace("\"T\"", "\"B\"");
    let (set, told) = load(&text);
    assert_eq!(
        set.rules().iter().map(|rule| &*rule.id).collect::<Vec<_>>(),
        ["B"]
    );
    assert!(
        told.contains("PVE-2092")
            && told.contains("does not say 10 of what")
            && told.ends_with("2 errors\n"),
        "{told}"
    );
}

#[test]
fn an_id_that_stands_twice_and_circles_of_rules_are_refused() {
    let (set, told) = load(&RULE.repeat(2));
    assert!(
        told.contains("site.toml:12:6: error: there is a rule with the id \"T\" already"),
        "{told}"
    );
    assert_eq!(set.rules().len(), 1);
    let sequence = |id: &str, rules: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\nname = \"t\"\nseverity = \"low\"\ntype = \"temporal\"\ntimespan = \"1h\"\nrules = [{rules}]\n"
        )
    };
    let text = sequence("A", "\"B\", \"T\"")
        + &sequence("B", "\"C\", \"T\"")
        + &sequence("C", "\"A\", \"T\"")
        + &sequence("D", "\"D\", \"T\"")
        + &sequence("E", "\"T\", \"F\"")
        + &sequence("F", "\"T\", \"T\"")
        + RULE;
    let (set, told) = load(&text);
    let mut left: Vec<&str> = set.rules().iter().map(|rule| &*rule.id).collect();
    left.sort_unstable();
    assert_eq!(left, ["E", "F", "T"], "{told}");
    for wanted in [
        "rule \"A\" refers to itself through \"B\"",
        "rule \"C\" refers to itself",
        "the rule refers to itself",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
    let (set, told) =
        load(&(sequence("A", "\"T\", \"B\"") + &sequence("B", "\"T\", \"C\"") + RULE));
    assert_eq!(set.rules().len(), 1, "{told}");
    assert!(
        told.contains("there is neither a selection nor a rule called \"C\"")
            && told.contains("refers to \"B\", which could not be loaded"),
        "{told}"
    );
}

#[test]
fn overrides_say_what_they_cannot_do() {
    let text = RULE.to_owned()
        + "[override.\"T\"]\nname = \"x\"\n[override.\"PVR-1\"]\nenabled = false\n[profile.loud.\"T\"]\nseverity = \"low\"\n";
    let (_, told) = load(&text);
    for wanted in [
        "`name` cannot be changed here",
        "there is no rule \"PVR-1\"",
        "there is no profile \"loud\"",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
}

#[test]
fn lists_come_from_files_and_calendars_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("hosts.txt"),
        "# the cluster\n192.0.2.1 # pve1\n\n10.0.0.0/8\n",
    )
    .unwrap();
    let text = format!(
        "schema = 1\n[lists]\nhosts = {{ file = \"hosts.txt\", values = [\"::1\"] }}\n{}",
        RULE.replace(
            "\"event.code\"",
            "\"source.ip|in\" = \"@hosts\"\n\"event.code\""
        )
    );
    std::fs::write(folder.path().join("site.toml"), text).unwrap();
    let options = Options {
        rules: vec!["*.toml".to_owned().into()],
        ..Options::default()
    };
    let cx = LoadCx {
        base: folder.path().to_owned(),
        ..LoadCx::default()
    };
    let (set, told) = RuleSet::load(&options, &cx);
    assert_eq!(told.render(false), "");
    assert_eq!(set.lists()["hosts"], ["192.0.2.1", "10.0.0.0/8", "::1"]);
    assert_eq!(set.files().len(), 2);
    let holds = |address: &str| {
        set.rules()[0].holds(&event(
            json!({"event.code": "PVE-2002", "source.ip": address}),
        )) == 1
    };
    assert!(holds("192.0.2.1") && holds("::ffff:10.9.9.9") && holds("::1") && !holds("192.0.2.2"));
    let (_, told) = RuleSet::load(
        &Options {
            rules: vec!["other/*.toml".to_owned().into()],
            ..Options::default()
        },
        &cx,
    );
    assert!(
        told.render(false)
            .contains("there is no rule file \"other/*.toml\"")
    );
    let (_, told) = load(
        "[[calendar]]\nname = \"c\"\nzone = \"Europe/Berln\"\ndays = [\"mo\"]\nfrom = \"8\"\nto = \"25:00\"\nholidays = [\"soon\"]\n",
    );
    for wanted in [
        "there is no time zone \"Europe/Berln\"",
        "did you mean \"Europe/Berlin\"?",
        "there is no weekday \"mo\"",
        "\"8\" is no time of day",
        "\"25:00\" is no time of day",
        "\"soon\" is no date",
    ] {
        assert!(told.contains(wanted), "{wanted}\n{told}");
    }
}
