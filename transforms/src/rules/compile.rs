//! Selections from TOML: keys with modifiers, values, lists of tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use pipeline::catalogue::Catalogue;
use pipeline::config::document::{Documents, Node, Table, Value};
use pipeline::config::{Diagnostic, nearest};
use pipeline::{Place, Time};
use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use super::fields::Known;
use super::fold;
use super::number::Number;
use super::path::Path;
use super::selection::{Case, Check, How, Ordered, Relation, Selection, Test, Word, Words};

/// Largest compiled pattern [bytes].
const REGEX_SIZE: usize = 256 << 10;
/// Longest pattern [bytes].
const LONGEST_PATTERN: usize = 4096;
/// Most tests, rows in one another and such, of one selection.
const MOST_ROWS: usize = 4;

pub(super) const MODIFIERS: [&str; 15] = [
    "contains",
    "startswith",
    "endswith",
    "re",
    "cidr",
    "gt",
    "gte",
    "lt",
    "lte",
    "exists",
    "in",
    "all",
    "cased",
    "neq",
    "fieldref",
];

/// What selections may refer to.
pub(super) struct Names<'a> {
    pub(super) fields: &'a Known,
    pub(super) lists: &'a BTreeMap<String, Vec<String>>,
}

/// How the value of a field is compared, as its key says.
#[derive(Default)]
struct Key {
    compare: Option<&'static str>,
    list: bool,
    all: bool,
    cased: bool,
    negated: bool,
    other: bool,
}

/// Reads one selection: a table, or a list of tables.
pub(super) fn selection(
    name: &str,
    node: &Node,
    path: &str,
    names: &Names<'_>,
    docs: &mut Documents,
) -> Selection {
    Selection {
        name: name.into(),
        either: either(node, path, names, false, 0, docs),
    }
}

fn either(
    node: &Node,
    path: &str,
    names: &Names<'_>,
    row: bool,
    depth: usize,
    docs: &mut Documents,
) -> Vec<Vec<Test>> {
    let say = |docs: &mut Documents, place, message: &str, help: &str| {
        docs.say(Diagnostic::error(place, path, message).with_help(help));
    };
    let tables: Vec<&Node> = match &node.value {
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    if tables.is_empty() {
        say(
            docs,
            node.place,
            "this selection is empty",
            "name at least one field",
        );
    }
    let mut all = Vec::new();
    for node in tables {
        match &node.value {
            Value::Table(table) if table.0.is_empty() => {
                say(
                    docs,
                    node.place,
                    "this selection is empty",
                    "name at least one field",
                );
            }
            Value::Table(table) => all.push(tests(table, path, names, row, depth, docs)),
            _ => say(
                docs,
                node.place,
                "a selection is a table of tests",
                "write { \"event.code\" = \"PVE-2002\" }, or a list of such tables",
            ),
        }
    }
    all
}

fn tests(
    table: &Table,
    path: &str,
    names: &Names<'_>,
    row: bool,
    depth: usize,
    docs: &mut Documents,
) -> Vec<Test> {
    let mut tests = Vec::new();
    for entry in &table.0 {
        let path = format!("{path}.\"{}\"", entry.key);
        let one = One {
            key: &entry.key,
            place: entry.key_place,
            path: &path,
            names,
            row,
            depth,
        };
        tests.extend(one.read(&entry.node, docs));
    }
    // The code tells most events apart, and what is only there or not costs least.
    tests.sort_by_key(|test: &Test| match test.how {
        _ if test.path.name() == "event.code" => 0,
        How::Exists(_) => 1,
        How::One(_) => 2,
        _ => 3,
    });
    tests
}

struct One<'a> {
    key: &'a str,
    place: Place,
    path: &'a str,
    names: &'a Names<'a>,
    row: bool,
    depth: usize,
}

impl One<'_> {
    fn wrong(
        &self,
        docs: &mut Documents,
        place: Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        docs.say(Diagnostic::error(place, self.path, message).with_help(help));
    }

    fn read(&self, node: &Node, docs: &mut Documents) -> Option<Test> {
        let mut parts = self.key.split('|');
        let field = parts.next().unwrap_or_default();
        let before = docs.errors();
        // The names in a row are those of the row.
        if !self.row
            && let Err(help) = self.names.fields.check(field)
        {
            self.wrong(
                docs,
                self.place,
                format!("no event has a field \"{field}\""),
                help,
            );
        }
        let key = self.modifiers(parts, docs);
        let how = self.how(field, &key, node, docs)?;
        (docs.errors() == before).then(|| Test {
            path: Path::new(field),
            how,
            negated: key.negated,
            written: format!("{} = {}", self.key, written(node)).into(),
        })
    }

    fn modifiers<'k>(&self, parts: impl Iterator<Item = &'k str>, docs: &mut Documents) -> Key {
        let mut key = Key::default();
        for word in parts {
            match word {
                "in" => key.list = true,
                "all" => key.all = true,
                "cased" => key.cased = true,
                "neq" => key.negated = !key.negated,
                "fieldref" => key.other = true,
                word => match MODIFIERS
                    .iter()
                    .chain(&["glob"])
                    .find(|known| **known == word)
                {
                    Some(known) if key.compare.is_none() => key.compare = Some(known),
                    Some(_) => {
                        let first = key.compare.unwrap_or_default();
                        let message = format!(
                            "`{word}` cannot follow `{first}`: a value is compared in one way"
                        );
                        self.wrong(docs, self.place, message, "write two tests");
                    }
                    None => {
                        let help = match nearest(word, MODIFIERS.iter().copied().chain(["glob"])) {
                            Some(meant) => format!("did you mean `{meant}`?"),
                            None => format!("there are {} and glob", MODIFIERS.join(", ")),
                        };
                        self.wrong(
                            docs,
                            self.place,
                            format!("there is no modifier `{word}`"),
                            help,
                        );
                    }
                },
            }
        }
        let compare = key.compare.unwrap_or_default();
        let numeric = matches!(compare, "gt" | "gte" | "lt" | "lte");
        for (wrong, what) in [
            (
                key.cased && (numeric || matches!(compare, "cidr" | "exists")),
                "cased",
            ),
            (
                key.other && matches!(compare, "re" | "cidr" | "exists" | "glob"),
                "fieldref",
            ),
            (key.all && matches!(compare, "exists"), "all"),
            (key.list && matches!(compare, "exists"), "in"),
        ] {
            if wrong {
                let message = format!("`{what}` has no meaning with `{compare}`");
                self.wrong(docs, self.place, message, format!("remove `{what}`"));
            }
        }
        key
    }

    fn how(&self, field: &str, key: &Key, node: &Node, docs: &mut Documents) -> Option<How> {
        if key.compare == Some("exists") {
            let Value::Bool(wanted) = node.value else {
                self.wrong(
                    docs,
                    node.place,
                    "`exists` must be true or false",
                    "write true or false, without quotes",
                );
                return None;
            };
            return Some(How::Exists(wanted));
        }
        let rows = match &node.value {
            Value::Table(_) => true,
            Value::List(items) => items
                .iter()
                .any(|item| matches!(item.value, Value::Table(_))),
            _ => false,
        };
        if rows {
            if key.compare.is_some() || key.other || key.list || key.all {
                self.wrong(
                    docs,
                    self.place,
                    "only `neq` goes with a table",
                    "put the modifiers into the table",
                );
            }
            if self.depth >= MOST_ROWS {
                self.wrong(
                    docs,
                    self.place,
                    "these tables are too deep in one another",
                    "no event has such rows",
                );
                return None;
            }
            return Some(How::Row(either(
                node,
                self.path,
                self.names,
                true,
                self.depth + 1,
                docs,
            )));
        }
        let words = self.words(key, node, docs)?;
        if !key.other {
            self.check_words(field, key, &words, docs);
        }
        let case = if key.cased { Case::Exact } else { Case::Folded };
        let checks = self.checks(key, &words, case, docs)?;
        Some(if key.all {
            How::Each(checks)
        } else {
            How::One(checks)
        })
    }

    /// The values, lists looked up.
    fn words(&self, key: &Key, node: &Node, docs: &mut Documents) -> Option<Vec<(Word, Place)>> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        if items.is_empty() {
            self.wrong(
                docs,
                node.place,
                "this list is empty: nothing is in it",
                "name a value, or remove the test",
            );
            return None;
        }
        let (mut words, mut named) = (Vec::new(), false);
        for item in items {
            let word = match &item.value {
                Value::Text(text) if text.starts_with('@') && text.len() > 1 => {
                    named = true;
                    match self.names.lists.get(&text[1..]) {
                        Some(list) => words.extend(
                            list.iter()
                                .map(|text| (Word::Text(text.clone()), item.place)),
                        ),
                        None => {
                            let help = match nearest(
                                &text[1..],
                                self.names.lists.keys().map(String::as_str),
                            ) {
                                Some(meant) => format!("did you mean \"@{meant}\"?"),
                                None => format!("add {} = […] below [lists]", &text[1..]),
                            };
                            self.wrong(
                                docs,
                                item.place,
                                format!("there is no list called \"{}\"", &text[1..]),
                                help,
                            );
                        }
                    }
                    continue;
                }
                Value::Text(text) | Value::Date(text) => Word::Text(text.clone()),
                Value::Int(number) => Word::Number(Number::Int(*number)),
                Value::Float(number) => Word::Number(Number::Float(*number)),
                Value::Bool(is) => Word::Bool(*is),
                Value::List(_) | Value::Table(_) => {
                    self.wrong(
                        docs,
                        item.place,
                        "a value is text, a number, true or false",
                        "write it without a table or list around it",
                    );
                    continue;
                }
            };
            words.push((word, item.place));
        }
        if key.list && !named && !matches!(node.value, Value::List(_)) {
            self.wrong(
                docs,
                node.place,
                "`in` wants a list",
                "write \"@LIST\", or [\"…\", \"…\"]",
            );
        }
        // An empty list from elsewhere is none of the rule's mistakes: nothing is in it.
        Some(words)
    }

    /// Codes and other fixed words must be ones that exist.
    fn check_words(&self, field: &str, key: &Key, words: &[(Word, Place)], docs: &mut Documents) {
        if key.compare.is_some() {
            return;
        }
        if field == "event.code" {
            for (word, place) in words {
                let Word::Text(code) = word else {
                    self.wrong(
                        docs,
                        *place,
                        "a code is text",
                        "write one like \"PVE-2002\"",
                    );
                    continue;
                };
                let catalogue = Catalogue::builtin();
                if catalogue.get(&code.to_ascii_uppercase()).is_some() {
                    continue;
                }
                let codes = catalogue.rows().iter().map(|row| row.code.as_str());
                let help = match nearest(&code.to_ascii_uppercase(), codes) {
                    Some(meant) => {
                        format!("did you mean \"{meant}\"? `pvetrail list events` names them all")
                    }
                    None => "`pvetrail list events` names them all".to_owned(),
                };
                self.wrong(
                    docs,
                    *place,
                    format!("there is no event ID \"{code}\""),
                    help,
                );
            }
        }
        if let Some(known) = Known::values(field).filter(|_| !self.row) {
            for (word, place) in words {
                let text = match word {
                    Word::Text(text) => text.as_str(),
                    _ => "",
                };
                if known.iter().any(|value| value.eq_ignore_ascii_case(text)) {
                    continue;
                }
                let help = match nearest(text, known.iter().copied()) {
                    Some(meant) => format!("did you mean \"{meant}\"?"),
                    None => format!("it is one of {}", known.join(", ")),
                };
                self.wrong(docs, *place, format!("`{field}` is never {text:?}"), help);
            }
        }
    }

    fn checks(
        &self,
        key: &Key,
        words: &[(Word, Place)],
        case: Case,
        docs: &mut Documents,
    ) -> Option<Vec<Check>> {
        if key.other {
            return Some(self.others(key, words, case, docs));
        }
        let Some(compare) = key.compare else {
            let values: Vec<Word> = words.iter().map(|(word, _)| word.clone()).collect();
            if key.all {
                let each = values
                    .iter()
                    .map(|word| Check::Is(Arc::new(Words::new(std::slice::from_ref(word), case))));
                return Some(each.collect());
            }
            return Some(vec![Check::Is(Arc::new(Words::new(&values, case)))]);
        };
        let mut checks = Vec::new();
        for (word, place) in words {
            match self.check(compare, word, case) {
                Ok(check) => checks.push(check),
                Err((message, help)) => self.wrong(docs, *place, message, help),
            }
        }
        Some(checks)
    }

    fn others(
        &self,
        key: &Key,
        words: &[(Word, Place)],
        case: Case,
        docs: &mut Documents,
    ) -> Vec<Check> {
        let relation = match key.compare {
            Some("contains") => Relation::Contains,
            Some("startswith") => Relation::Starts,
            Some("endswith") => Relation::Ends,
            Some(word) => ordered(word).map_or(Relation::Is, Relation::Order),
            None => Relation::Is,
        };
        let mut checks = Vec::new();
        for (word, place) in words {
            let Word::Text(other) = word else {
                self.wrong(
                    docs,
                    *place,
                    "`fieldref` names a field",
                    "write its name in quotes, like \"user.target.id\"",
                );
                continue;
            };
            if !self.row
                && let Err(help) = self.names.fields.check(other)
            {
                self.wrong(
                    docs,
                    *place,
                    format!("no event has a field \"{other}\""),
                    help,
                );
            }
            checks.push(Check::Other(Path::new(other), relation, case));
        }
        checks
    }

    fn check(&self, compare: &str, word: &Word, case: Case) -> Result<Check, (String, String)> {
        let text = match word {
            Word::Text(text) => text.clone(),
            Word::Number(Number::Int(number)) => number.to_string(),
            Word::Number(Number::Float(number)) => number.to_string(),
            Word::Bool(is) => is.to_string(),
        };
        let part = || match case {
            Case::Folded => fold::fold(&text).into_boxed_str(),
            Case::Exact => text.as_str().into(),
        };
        let empty = |check| match text.is_empty() {
            true => Err((
                "an empty text is in every text".to_owned(),
                format!("say what `{compare}` looks for"),
            )),
            false => Ok(check),
        };
        match compare {
            "contains" => empty(Check::Contains(part(), case)),
            "startswith" => empty(Check::Starts(part(), case)),
            "endswith" => empty(Check::Ends(part(), case)),
            "glob" if text.len() > 256 => Err((
                "this pattern is longer than 256 bytes".to_owned(),
                "use a shorter one, or `re`".to_owned(),
            )),
            "glob" => Ok(Check::Glob(part().chars().collect(), case)),
            "re" => regex(&text, case).map(Check::Re),
            "cidr" => network(&text).map(Check::Net),
            how => {
                let how = ordered(how).unwrap_or(Ordered::Gte);
                if let Word::Number(number) = word {
                    return Ok(Check::Number(how, *number));
                }
                if let Some(number) = Number::parse(&text) {
                    return Ok(Check::Number(how, number));
                }
                Time::parse(&text).map(|time| Check::Time(how, time)).ok_or_else(|| {
                    let message = format!("`{compare}` compares numbers and times, and {text:?} is neither");
                    (message, "write a number without quotes, or a time like \"2026-03-14T22:58:03Z\"".to_owned())
                })
            }
        }
    }
}

fn ordered(word: &str) -> Option<Ordered> {
    match word {
        "gt" => Some(Ordered::Gt),
        "gte" => Some(Ordered::Gte),
        "lt" => Some(Ordered::Lt),
        "lte" => Some(Ordered::Lte),
        _ => None,
    }
}

fn network(text: &str) -> Result<IpNet, (String, String)> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(network.trunc());
    }
    match text.parse::<std::net::IpAddr>() {
        Ok(address) => Ok(IpNet::from(address.to_canonical())),
        Err(_) => Err((
            format!("{text:?} is no network"),
            "write one like \"10.0.0.0/8\" or \"2001:db8::/32\"".to_owned(),
        )),
    }
}

fn regex(text: &str, case: Case) -> Result<Regex, (String, String)> {
    let linear = "patterns run in linear time: write it without look-around and back-references, as two tests";
    if text.len() > LONGEST_PATTERN {
        return Err((
            format!("this pattern is longer than {LONGEST_PATTERN} bytes"),
            "split it".to_owned(),
        ));
    }
    let built = Regex::builder()
        .syntax(
            syntax::Config::new()
                .case_insensitive(case == Case::Folded)
                .nest_limit(50),
        )
        .configure(
            Regex::config()
                .nfa_size_limit(Some(REGEX_SIZE))
                .dfa(false)
                .onepass_size_limit(Some(REGEX_SIZE)),
        )
        .build(text);
    built.map_err(|why| {
        if why.size_limit().is_some() {
            let message = format!(
                "this pattern is too big: compiled it is larger than {} KiB",
                REGEX_SIZE >> 10
            );
            return (
                message,
                "use smaller repetitions, and [0-9] instead of \\d".to_owned(),
            );
        }
        let Some(inner) = why.syntax_error() else {
            return (
                format!("this pattern cannot be used: {why}"),
                linear.to_owned(),
            );
        };
        let told = inner.to_string();
        let last = told
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        match last.contains("look-around") || last.contains("backreference") {
            true => (
                format!("this pattern is not linear: {last}"),
                linear.to_owned(),
            ),
            false => (
                format!("this is no pattern: {last}"),
                "see https://docs.rs/regex/latest/regex/#syntax".to_owned(),
            ),
        }
    })
}

/// A value as one would write it.
pub(super) fn written(node: &Node) -> String {
    match &node.value {
        Value::Text(text) => format!("{text:?}"),
        Value::Date(date) => date.clone(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Bool(is) => is.to_string(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().map(written).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let entries: Vec<String> = table
                .0
                .iter()
                .map(|entry| format!("{} = {}", key(&entry.key), written(&entry.node)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
    }
}

/// A key as one would write it.
pub(super) fn key(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-');
    if bare {
        name.to_owned()
    } else {
        format!("{name:?}")
    }
}
