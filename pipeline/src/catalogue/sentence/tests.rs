//! What sentences say, of what is known and of what is not.

use super::*;
use crate::clock::Time;
use crate::event::EventId;
use crate::printable::is_unsafe;
use proptest::prelude::*;

fn event(of: &[(&str, &str)]) -> Event {
    intern();
    let mut event = Event::new(EventId::default(), Time(0));
    for (path, text) in of {
        event.set_tree(path, Value::Str((*text).to_owned()));
    }
    event
}

fn said(of: &[(&str, &str)], language: Language) -> String {
    sentence(&event(of), language).unwrap()
}

const DESTROYED: [(&str, &str); 8] = [
    ("event.code", "PVE-2002"),
    ("event.outcome", "success"),
    ("user.id", "m.keller@pam"),
    ("pve.object.type", "vm"),
    ("pve.object.id", "104"),
    ("pve.object.name", "db-prod-1"),
    ("host.name", "pve1"),
    ("source.ip", "203.0.113.45"),
];

#[test]
fn a_deletion_is_told_in_both_languages_with_what_is_known() {
    let mut event = event(&DESTROYED);
    let say = |event: &Event, language| sentence(event, language).unwrap();
    assert_eq!(
        say(&event, Language::En),
        "m.keller@pam destroyed VM 104 (db-prod-1) on pve1 from 203.0.113.45"
    );
    assert_eq!(
        say(&event, Language::De),
        "m.keller@pam hat VM 104 (db-prod-1) auf pve1 gelöscht, von 203.0.113.45"
    );
    event.set_tree("pve.source.via", Value::Str("pve3".into()));
    event.set_tree("pve.token.id", Value::Str("ci".into()));
    assert_eq!(
        say(&event, Language::De),
        "m.keller@pam!ci hat VM 104 (db-prod-1) auf pve1 gelöscht, von 203.0.113.45 über pve3"
    );
    event.remove(Field::new("pve.source.via"));
    event.remove(Field::new("pve.token.id"));
    event.set_tree("event.outcome", Value::Str("failure".into()));
    event.set_tree("event.reason", Value::Str("it is locked".into()));
    assert_eq!(
        say(&event, Language::En),
        "m.keller@pam could not destroy VM 104 (db-prod-1) on pve1 from 203.0.113.45: it is locked"
    );
    event.remove(fields::SOURCE_IP);
    let addresses = ["192.0.2.1", "192.0.2.2"].map(|one| Value::Str(one.into()));
    event.set_tree("pve.source.candidates", Value::List(addresses.to_vec()));
    assert_eq!(
        say(&event, Language::De),
        "m.keller@pam konnte VM 104 (db-prod-1) auf pve1 nicht löschen, von einer der Adressen 192.0.2.1, 192.0.2.2: it is locked"
    );
    assert_eq!(
        said(&[("event.code", "PVE-2002")], Language::En),
        "somebody destroyed a guest"
    );
}

#[test]
fn what_nobody_knows_to_have_succeeded_is_not_told_as_done() {
    let told = |of: &[(&str, &str)]| {
        let all = [&DESTROYED[2..7], of].concat();
        said(&all, Language::En)
    };
    assert_eq!(
        told(&[("event.code", "PVE-2002"), ("event.outcome", "unknown")]),
        "m.keller@pam destroyed VM 104 (db-prod-1) on pve1 (outcome unknown)"
    );
    assert_eq!(
        told(&[
            ("event.code", "PVE-2011"),
            ("event.outcome", "unknown"),
            ("pve.task.phase", "start")
        ]),
        "m.keller@pam migrated VM 104 (db-prod-1) on pve1 (begun)"
    );
    // The start of a console is all there is to it.
    assert_eq!(
        told(&[
            ("event.code", "PVE-2301"),
            ("event.outcome", "unknown"),
            ("pve.task.phase", "start")
        ]),
        "m.keller@pam opened the console of VM 104 (db-prod-1) on pve1"
    );
    assert_eq!(
        said(
            &[("event.code", "PVE-5103"), ("event.outcome", "unknown")],
            Language::De
        ),
        "Sicherung von mehreren Gästen endete ohne Ergebnis"
    );
}

#[test]
fn the_sentences_of_the_schema_are_said_as_it_has_them() {
    assert_eq!(
        said(
            &[
                ("event.code", "PVE-1002"),
                ("event.outcome", "failure"),
                ("event.reason", "Authentication failure"),
                ("user.id", "root@pam"),
                ("host.name", "pve1"),
                ("source.ip", "203.0.113.45"),
            ],
            Language::En
        ),
        "root@pam failed to log in from 203.0.113.45 on pve1"
    );
    let grant = |code, language| {
        said(
            &[
                ("event.code", code),
                ("user.id", "ops@pve"),
                ("pve.object.type", "acl"),
                ("pve.object.id", "/|contractor@pve|PVEAdmin"),
                ("source.ip", "192.0.2.20"),
            ],
            language,
        )
    };
    assert_eq!(
        grant("PVE-3032", Language::En),
        "ops@pve granted role PVEAdmin on / to contractor@pve from 192.0.2.20"
    );
    assert_eq!(
        grant("PVE-3033", Language::En),
        "ops@pve revoked role PVEAdmin on / of contractor@pve from 192.0.2.20"
    );
    assert_eq!(
        grant("PVE-3032", Language::De),
        "ops@pve hat contractor@pve die Rolle PVEAdmin auf / erteilt, von 192.0.2.20"
    );
    let mut rule = event(&[
        ("event.code", "PVE-4002"),
        ("event.outcome", "success"),
        ("user.id", "ops@pve"),
        ("pve.object.type", "firewall_rule"),
        ("pve.object.id", "vm/210/rules/0"),
    ]);
    let change = [("key", "source"), ("op", "remove"), ("old", "10.0.0.0/8")];
    let change = change.map(|(key, text)| (key.to_owned(), Value::Str(text.to_owned())));
    rule.set_tree(
        "pve.changes",
        Value::List(vec![Value::Map(change.to_vec())]),
    );
    assert_eq!(
        sentence(&rule, Language::En).unwrap(),
        "ops@pve changed firewall rule 0 of VM 210 (source 10.0.0.0/8 -> any)"
    );
    assert_eq!(
        sentence(&rule, Language::De).unwrap(),
        "ops@pve hat Firewallregel 0 von VM 210 (source 10.0.0.0/8 -> beliebig) geändert"
    );
    let mut backup = event(&[
        ("event.code", "PVE-5103"),
        ("event.outcome", "failure"),
        ("event.reason", "no space left on device"),
        ("pve.object.type", "backup"),
        ("pve.object.id", "nas1/104"),
        ("pve.object.name", "db-prod-1"),
    ]);
    backup.set_tree("pve.vmid", Value::Int(104));
    assert_eq!(
        sentence(&backup, Language::En).unwrap(),
        "Backup of guest 104 (db-prod-1) to nas1 failed: no space left on device"
    );
    let mut config = event(&[
        ("event.code", "PVE-2014"),
        ("event.outcome", "success"),
        ("user.id", "ops@pve"),
        ("pve.object.type", "vm"),
        ("pve.object.id", "210"),
    ]);
    let keys = ["cipassword", "cores"].map(|one| Value::Str(one.into()));
    config.set_tree("pve.change_keys", Value::List(keys.to_vec()));
    assert_eq!(
        sentence(&config, Language::En).unwrap(),
        "ops@pve changed cipassword, cores of VM 210"
    );
}

#[test]
fn what_is_not_known_leaves_its_words_out() {
    let by = |code, object: &str, language| {
        let of = [
            ("event.code", code),
            ("user.id", "ops@pve"),
            ("pve.object.id", object),
        ];
        said(&of, language)
    };
    assert_eq!(by("PVE-3001", "", Language::En), "ops@pve created a user");
    assert_eq!(
        by("PVE-3001", "a@pve", Language::En),
        "ops@pve created user a@pve"
    );
    assert_eq!(
        by("PVE-5121", "", Language::De),
        "ops@pve hat einen Sicherungsauftrag angelegt"
    );
    assert_eq!(
        by("PVE-4021", "cluster", Language::En),
        "ops@pve created an IP set of the datacenter"
    );
    assert_eq!(
        by("PVE-4031", "ct/200/web", Language::De),
        "ops@pve hat Firewallalias web von CT 200 angelegt"
    );
    assert_eq!(
        by("PVE-4005", "node/pve1", Language::De),
        "ops@pve hat die Firewalloptionen von Knoten pve1 geändert"
    );
    assert_eq!(
        by("PVE-4001", "group/web/rules", Language::En),
        "ops@pve added a firewall rule of security group web"
    );
    assert_eq!(
        by("PVE-5011", "", Language::En),
        "ops@pve put a file onto a storage"
    );
}

#[test]
fn a_service_that_nobody_stopped_is_not_told_as_stopped_by_somebody() {
    let mut of = vec![
        ("event.code", "PVE-6042"),
        ("pve.object.id", "pveproxy"),
        ("host.name", "pve1"),
    ];
    assert_eq!(
        said(&of, Language::En),
        "Service pveproxy was stopped on pve1"
    );
    assert_eq!(
        said(&of, Language::De),
        "Dienst pveproxy wurde auf pve1 gestoppt"
    );
    of.push(("user.id", "ops@pve"));
    assert_eq!(
        said(&of, Language::De),
        "ops@pve hat Dienst pveproxy auf pve1 gestoppt"
    );
}

#[test]
fn what_an_attacker_wrote_moves_no_cursor_and_fills_no_screen() {
    let event = event(&[
        ("event.code", "PVE-1002"),
        ("user.id", &format!("\u{1b}[2J{}", "x".repeat(10_000))),
        ("host.name", "pve1"),
    ]);
    let said = sentence(&event, Language::En).unwrap();
    assert!(said.starts_with("\\x1b[2Jxxx"), "{said}");
    assert!(said.len() < 300, "{}", said.len());
}

#[test]
fn every_row_says_something_about_an_event_of_which_nothing_is_known() {
    for row in Catalogue::builtin().rows() {
        assert_eq!(
            row.say.is_none(),
            row.code.starts_with("PVE-9"),
            "{}",
            row.code
        );
        for outcome in ["success", "failure", "unknown"] {
            let event = event(&[("event.code", &row.code), ("event.outcome", outcome)]);
            for language in [Language::En, Language::De] {
                let Some(said) = sentence(&event, language) else {
                    continue;
                };
                let odd = ["{", "[", "|", "  ", " ,", " :"];
                assert!(
                    !odd.iter().any(|odd| said.contains(odd)) && said.trim_start() == said,
                    "{}: {said}",
                    row.code
                );
            }
        }
    }
}

/// Every field that a sentence may read.
const READ: [&str; 20] = [
    "event.reason",
    "user.id",
    "user.name",
    "pve.token.id",
    "user.target.id",
    "user.effective.name",
    "pve.source.via",
    "pve.object.type",
    "pve.object.id",
    "pve.object.name",
    "http.request.method",
    "url.path",
    "process.command_line",
    "pve.task.type",
    "pve.task.phase",
    "process.name",
    "destination.ip",
    "source.ip",
    "event.original",
    "host.name",
];

proptest! {
    #[test]
    fn no_event_makes_a_sentence_unsafe_or_long(
        row in 0usize..400,
        texts in proptest::collection::vec("[\\PC\\x00-\\x1f\\u{202e}\\u{200b}/|{}\\[\\]]{0,300}", READ.len()),
        outcome in "(success|failure|unknown)",
        german: bool,
    ) {
        let rows = Catalogue::builtin().rows();
        let row = &rows[row % rows.len()];
        let mut of = vec![("event.code", row.code.as_str()), ("event.outcome", outcome.as_str())];
        of.extend(READ.iter().zip(&texts).map(|(path, text)| (*path, text.as_str())));
        let mut event = event(&of);
        let change = Value::Map(["key", "old", "new"].iter().zip(&texts).map(|(key, text)| ((*key).to_owned(), Value::Str(text.clone()))).collect());
        event.set_tree("pve.changes", Value::List(vec![change; 5]));
        event.set_tree("pve.change_keys", Value::List(texts.iter().map(|text| Value::Str(text.clone())).collect()));
        let language = if german { Language::De } else { Language::En };
        if let Some(said) = sentence(&event, language) {
            prop_assert!(!said.contains(is_unsafe), "{said:?}");
            prop_assert!(said.len() <= LONGEST_SENTENCE + '…'.len_utf8());
        }
    }
}
