//! The values of a test: words of lists, codes, patterns, networks, numbers.

use super::*;

impl One<'_> {
    /// The values, lists looked up.
    pub(super) fn words(
        &self,
        key: &Key,
        node: &Node,
        docs: &mut Documents,
    ) -> Option<Vec<(Word, Place)>> {
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
    pub(super) fn check_words(
        &self,
        field: &str,
        key: &Key,
        words: &[(Word, Place)],
        docs: &mut Documents,
    ) {
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

    pub(super) fn checks(
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
