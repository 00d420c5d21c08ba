//! The catalogue of event IDs: what a code means, in which words, and how grave it is.
//!
//! The rows stand in `configs/catalogue/*.toml`, one file for each family, which are part of the program.

mod sentence;
mod template;
mod words;

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

pub use sentence::sentence;
use template::Sentences;

/// One event ID.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// `PVE-` and four digits.
    pub code: String,
    /// The verb, fixed for each code: `vm-destroy`.
    pub action: String,
    /// What is acted upon: `vm`, `sink`.
    pub object: String,
    /// The base severity: 1, 3, 5, 8 or 10.
    pub severity: u8,
    /// `event.category`, words of ECS.
    pub category: Vec<String>,
    /// `event.type`, words of ECS.
    #[serde(rename = "type")]
    pub kinds: Vec<String>,
    /// What it is called.
    pub text: Text,
    /// The sentence about it; see [`sentence`]. Events that bring their own have none.
    pub say: Option<Text>,
    /// The sentence where it came to nothing, if that needs another one.
    pub failed: Option<Text>,
    /// The sentence where nobody knows what came of it, if the doubt needs other words than a remark at its end.
    pub unknown: Option<Text>,
    /// Where it stands in OCSF.
    pub ocsf: Ocsf,
    /// The version that brought it.
    pub since: String,
    /// The version that gave it up.
    pub retired: Option<String>,
    /// The code to use instead of a retired one.
    pub successor: Option<String>,
    /// The code of the same action where it succeeds. Only logins have one: a failed login is another matter than a login,
    /// while everywhere else `event.outcome` tells the two apart.
    pub failure_of: Option<String>,
}

/// The name of a code in the languages we speak.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// English.
    pub en: String,
    /// German.
    pub de: String,
}

/// Class and activity in OCSF.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ocsf {
    /// `class_uid`.
    pub class: u16,
    /// `activity_id`.
    pub activity: u8,
}

/// All rows.
#[derive(Debug)]
pub struct Catalogue {
    rows: Vec<Row>,
    by_code: hashbrown::HashMap<String, usize>,
    sentences: Vec<Sentences>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    event: Vec<Row>,
}

/// The code of what nothing in the catalogue fits.
pub const UNCLASSIFIED: &str = "PVE-0000";

/// The families in the order of their numbers.
const FAMILIES: [&str; 12] = [
    include_str!("../../configs/catalogue/logins.toml"),
    include_str!("../../configs/catalogue/vms.toml"),
    include_str!("../../configs/catalogue/containers.toml"),
    include_str!("../../configs/catalogue/consoles.toml"),
    include_str!("../../configs/catalogue/identity.toml"),
    include_str!("../../configs/catalogue/network.toml"),
    include_str!("../../configs/catalogue/storage.toml"),
    include_str!("../../configs/catalogue/ceph.toml"),
    include_str!("../../configs/catalogue/cluster.toml"),
    include_str!("../../configs/catalogue/nodes.toml"),
    include_str!("../../configs/catalogue/other.toml"),
    include_str!("../../configs/catalogue/pipeline.toml"),
];

static BUILTIN: LazyLock<Catalogue> = LazyLock::new(|| {
    sentence::intern();
    let families = FAMILIES.concat();
    Catalogue::parse(&families).expect("a test reads the catalogue that is built in")
});

impl Catalogue {
    /// The one that is part of the program.
    pub fn builtin() -> &'static Catalogue {
        &BUILTIN
    }

    /// Reads a catalogue and holds it to its own rules.
    pub fn parse(text: &str) -> Result<Catalogue, String> {
        let file: File = toml::from_str(text).map_err(|why| why.to_string())?;
        let mut by_code = hashbrown::HashMap::new();
        let mut sentences = Vec::with_capacity(file.event.len());
        let mut by_meaning = HashMap::new();
        for (n, row) in file.event.iter().enumerate() {
            let at = |why: String| format!("{}: {why}", row.code);
            row.check().map_err(at)?;
            sentences.push(Sentences::of(row).map_err(at)?);
            if by_code.insert(row.code.clone(), n).is_some() {
                return Err(format!("{} stands twice", row.code));
            }
            if row.failure_of.is_some() {
                continue;
            }
            if let Some(other) = by_meaning.insert((&row.object, &row.action), &row.code) {
                return Err(format!(
                    "{} and {other} are both \"{}\" of \"{}\"",
                    row.code, row.action, row.object
                ));
            }
        }
        for row in &file.event {
            if let Some(successor) = &row.successor
                && !by_code.contains_key(successor)
            {
                return Err(format!(
                    "{} names {successor} as its successor, which is no code",
                    row.code
                ));
            }
        }
        for row in &file.event {
            let Some(other) = &row.failure_of else {
                continue;
            };
            let meant = by_code.get(other).map(|n| &file.event[*n]);
            let same = |meant: &Row| {
                (&meant.object, &meant.action) == (&row.object, &row.action)
                    && meant.failure_of.is_none()
            };
            if !meant.is_some_and(same) {
                return Err(format!(
                    "{} is the failure of {other}, which is no code of the same action",
                    row.code
                ));
            }
        }
        Ok(Catalogue {
            by_code,
            rows: file.event,
            sentences,
        })
    }

    /// The row of a code.
    pub fn get(&self, code: &str) -> Option<&Row> {
        self.by_code.get(code).map(|n| &self.rows[*n])
    }

    /// Number of a row, for [`Catalogue::say`].
    pub fn number(&self, code: &str) -> Option<usize> {
        self.by_code.get(code).copied()
    }

    /// All rows, in the order of the file.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// Words of ECS 8.17 for `event.category`.
const CATEGORIES: &[&str] = &[
    "api",
    "authentication",
    "configuration",
    "database",
    "driver",
    "email",
    "file",
    "host",
    "iam",
    "intrusion_detection",
    "library",
    "malware",
    "network",
    "package",
    "process",
    "registry",
    "session",
    "threat",
    "vulnerability",
    "web",
];
/// Words of ECS 8.17 for `event.type`.
const KINDS: &[&str] = &[
    "access",
    "admin",
    "allowed",
    "change",
    "connection",
    "creation",
    "deletion",
    "denied",
    "device",
    "end",
    "error",
    "group",
    "indicator",
    "info",
    "installation",
    "protocol",
    "start",
    "user",
];

impl Row {
    fn check(&self) -> Result<(), String> {
        let digits = self.code.strip_prefix("PVE-").unwrap_or_default();
        if digits.len() != 4 || !digits.bytes().all(|c| c.is_ascii_digit()) {
            return Err("a code is PVE- and four digits".to_owned());
        }
        if ![1, 3, 5, 8, 10].contains(&self.severity) {
            return Err(format!(
                "severity {} is none of 1, 3, 5, 8, 10",
                self.severity
            ));
        }
        let unknown = |words: &[String], known: &[&str]| {
            let odd = words.iter().find(|word| !known.contains(&word.as_str()));
            odd.cloned()
        };
        if let Some(word) = unknown(&self.category, CATEGORIES) {
            return Err(format!("\"{word}\" is no event.category of ECS"));
        }
        if let Some(word) = unknown(&self.kinds, KINDS) {
            return Err(format!("\"{word}\" is no event.type of ECS"));
        }
        if self.text.en.is_empty() || self.text.de.is_empty() {
            return Err("a row has a text in each language".to_owned());
        }
        if self.retired.is_none() && self.successor.is_some() {
            return Err("only a retired row has a successor".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_that_is_built_in_keeps_its_rules() {
        let catalogue = Catalogue::builtin();
        let row = catalogue.get("PVE-9025").unwrap();
        assert_eq!((row.object.as_str(), row.severity), ("pipeline", 10));
        assert!(catalogue.rows().is_sorted_by(|a, b| a.code < b.code));
    }

    /// Code, object and action of every row there ever was. A row that goes or changes its meaning is missed here; a new one is
    /// added at its place. Nothing is ever taken out.
    const GIVEN: &str = include_str!("catalogue/given.txt");

    #[test]
    fn an_id_once_given_keeps_its_meaning() {
        let rows = Catalogue::builtin().rows().iter();
        let have = rows.map(|row| format!("{} {} {}", row.code, row.object, row.action));
        let have: Vec<String> = have.collect();
        let given: Vec<&str> = GIVEN.lines().collect();
        let changed: Vec<_> = given
            .iter()
            .filter(|row| !have.iter().any(|had| had == *row))
            .collect();
        assert!(
            changed.is_empty(),
            "given, and not so any more: {changed:?}"
        );
        assert_eq!(have, given, "a new row belongs into given.txt as well");
    }

    #[test]
    fn a_row_that_breaks_a_rule_is_refused_with_the_reason() {
        let row = |code: &str, action: &str, more: &str| {
            format!(
                "[[event]]\ncode = \"{code}\"\naction = \"{action}\"\nobject = \"vm\"\nseverity = 5\n\
                 category = [\"host\"]\ntype = [\"change\"]\ntext = {{ en = \"a\", de = \"b\" }}\n\
                 ocsf = {{ class = 6003, activity = 1 }}\nsince = \"0.1.0\"\n{more}\n"
            )
        };
        let refused = |text: String| Catalogue::parse(&text).unwrap_err();
        let one = row("PVE-2001", "vm-create", "");
        assert!(Catalogue::parse(&one).is_ok());
        assert_eq!(refused(format!("{one}{one}")), "PVE-2001 stands twice");
        assert_eq!(
            refused(format!("{one}{}", row("PVE-2002", "vm-create", ""))),
            "PVE-2002 and PVE-2001 are both \"vm-create\" of \"vm\""
        );
        assert_eq!(
            refused(row("PVE-1", "x", "")),
            "PVE-1: a code is PVE- and four digits"
        );
        assert_eq!(
            refused(one.replace("\"host\"", "\"guest\"")),
            "PVE-2001: \"guest\" is no event.category of ECS"
        );
        let retired = row(
            "PVE-2001",
            "x",
            "retired = \"0.2.0\"\nsuccessor = \"PVE-2009\"",
        );
        assert_eq!(
            refused(retired),
            "PVE-2001 names PVE-2009 as its successor, which is no code"
        );
        let failure = |of: &str, action: &str| {
            let more = format!("failure_of = \"{of}\"");
            Catalogue::parse(&format!("{one}{}", row("PVE-2002", action, &more)))
        };
        assert!(failure("PVE-2001", "vm-create").is_ok());
        for (of, action) in [
            ("PVE-2001", "vm-other"),
            ("PVE-2009", "vm-create"),
            ("PVE-2002", "vm-create"),
        ] {
            assert_eq!(
                failure(of, action).unwrap_err(),
                format!("PVE-2002 is the failure of {of}, which is no code of the same action")
            );
        }
        assert_eq!(
            refused(one.replace("severity = 5", "severity = 4")),
            "PVE-2001: severity 4 is none of 1, 3, 5, 8, 10"
        );
    }
}
