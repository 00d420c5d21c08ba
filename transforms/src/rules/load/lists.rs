//! Lists and calendars: what rules refer to by name.

use super::*;

impl Loading {
    pub(super) fn lists(&mut self, entry: &Entry, builtin: bool, folder: Option<&FilePath>) {
        let Value::Table(lists) = &entry.node.value else {
            return self.say(
                entry.key_place,
                "lists",
                "`lists` is a table of lists",
                "write [lists]",
            );
        };
        for list in &lists.0 {
            let path = format!("lists.{}", list.key);
            let values = match &list.node.value {
                Value::List(items) => self.texts(items, &path),
                Value::Table(table) => self.list_table(table, list, &path, folder),
                _ => {
                    self.say(
                        list.node.place,
                        &path,
                        "a list is a list",
                        "write [\"…\"], or { file = \"one value a line\" }",
                    );
                    continue;
                }
            };
            self.entries += values.len();
            if self.entries > MOST_ENTRIES {
                self.say(
                    list.key_place,
                    &path,
                    format!("all lists together have more than {MOST_ENTRIES} entries"),
                    "use networks instead of single addresses",
                );
                continue;
            }
            match self.lists.get(&list.key) {
                Some((_, first, false)) if !builtin => {
                    let first = *first;
                    let message = format!("there is a list \"{}\" already", list.key);
                    self.docs.say(
                        Diagnostic::error(list.key_place, path, message)
                            .with_also(first, "the first")
                            .with_help("keep one of the two"),
                    );
                }
                // What an operator says counts more than what is built in, whichever is read first.
                Some((_, _, false)) => {}
                _ => {
                    _ = self
                        .lists
                        .insert(list.key.clone(), (values, list.key_place, builtin))
                }
            }
        }
    }

    pub(super) fn texts(&mut self, items: &[Node], path: &str) -> Vec<String> {
        let mut all = Vec::with_capacity(items.len());
        for item in items {
            match &item.value {
                Value::Text(text) | Value::Date(text) => all.push(text.clone()),
                Value::Int(number) => all.push(number.to_string()),
                _ => self.say(
                    item.place,
                    path,
                    "an entry of a list is text",
                    "write it in quotes",
                ),
            }
        }
        all
    }

    fn list_table(
        &mut self,
        table: &Table,
        list: &Entry,
        path: &str,
        folder: Option<&FilePath>,
    ) -> Vec<String> {
        let mut all = Vec::new();
        for entry in &table.0 {
            match (entry.key.as_str(), &entry.node.value) {
                ("file", Value::Text(file)) => {
                    let file =
                        folder.map_or_else(|| PathBuf::from(file), |folder| folder.join(file));
                    all.extend(self.lines(&file, entry.node.place, &list.key));
                }
                ("values", Value::List(items)) => all.extend(self.texts(items, path)),
                ("file" | "values", _) => self.say(
                    entry.node.place,
                    path,
                    format!("`{}` is of another sort", entry.key),
                    "write file = \"…\", values = [\"…\"]",
                ),
                (key, _) => {
                    let help = nearest(key, ["file", "values"])
                        .map_or("its keys are `file` and `values`".to_owned(), |meant| {
                            format!("did you mean `{meant}`?")
                        });
                    self.say(
                        entry.key_place,
                        path,
                        format!("a list has no key `{key}`"),
                        help,
                    );
                }
            }
        }
        all
    }

    /// One value a line; what follows `#` is a remark.
    pub(super) fn lines(&mut self, file: &FilePath, place: Place, name: &str) -> Vec<String> {
        self.read.push(file.to_owned());
        match SystemEnv.read(file) {
            Ok(text) => {
                let lines = text
                    .lines()
                    .map(|line| line.split('#').next().unwrap_or_default().trim());
                lines
                    .filter(|line| !line.is_empty())
                    .map(str::to_owned)
                    .collect()
            }
            Err(why) => {
                self.say(
                    place,
                    &format!("lists.{name}"),
                    format!("the list file {} cannot be read: {why}", file.display()),
                    "check the path; one value a line, UTF-8",
                );
                Vec::new()
            }
        }
    }

    pub(super) fn calendars(&mut self, entry: &Entry, builtin: bool) {
        let Value::List(items) = &entry.node.value else {
            return self.say(
                entry.key_place,
                "calendar",
                "calendars are a list of tables",
                "write [[calendar]]",
            );
        };
        for (n, item) in items.iter().enumerate() {
            let path = format!("calendar[{n}]");
            let Value::Table(table) = &item.value else {
                self.say(
                    item.place,
                    &path,
                    "a calendar is a table",
                    "write [[calendar]]",
                );
                continue;
            };
            let before = self.docs.errors();
            let Some((read, _)) =
                self.docs
                    .read::<CalendarTable>(table, item.place, &path, "this calendar")
            else {
                continue;
            };
            let calendar = self.calendar(&read, &path);
            if self.docs.errors() > before {
                continue;
            }
            let (name, place) = (read.name.get().clone(), read.name.place());
            match self.calendars.get(&name) {
                Some((_, first, false)) if !builtin => {
                    let first = *first;
                    let message = format!("there is a calendar \"{name}\" already");
                    self.docs.say(
                        Diagnostic::error(place, path, message)
                            .with_also(first, "the first")
                            .with_help("keep one of the two"),
                    );
                }
                Some((_, _, false)) => {}
                _ => {
                    _ = self
                        .calendars
                        .insert(name, (Arc::new(calendar), place, builtin))
                }
            }
        }
    }

    fn calendar(&mut self, read: &CalendarTable, path: &str) -> Calendar {
        let zone = calendar::zone(&read.zone).unwrap_or_else(|| {
            self.say(
                read.zone.place(),
                &format!("{path}.zone"),
                format!("there is no time zone \"{}\"", read.zone.get()),
                build::zone_help(&read.zone),
            );
            jiff::tz::TimeZone::UTC
        });
        let mut days = 0;
        for day in &read.days {
            match calendar::DAYS
                .iter()
                .position(|known| known.eq_ignore_ascii_case(day))
            {
                Some(n) => days |= 1 << n,
                None => {
                    let help = match nearest(day, calendar::DAYS) {
                        Some(meant) => format!("did you mean \"{meant}\"?"),
                        None => format!("they are {}", calendar::DAYS.join(", ")),
                    };
                    self.say(
                        day.place(),
                        &format!("{path}.days"),
                        format!("there is no weekday \"{}\"", day.get()),
                        help,
                    );
                }
            }
        }
        if read.days.is_empty() {
            self.say(
                read.name.place(),
                &format!("{path}.days"),
                "a calendar without days holds nothing",
                "write days = [\"mon\", \"tue\"]",
            );
        }
        let mut clock = |text: &pipeline::Spanned<String>, key: &str| {
            minute(text).unwrap_or_else(|| {
                self.say(
                    text.place(),
                    &format!("{path}.{key}"),
                    format!("\"{}\" is no time of day", text.get()),
                    "write one like \"08:00\"; the end of the day is \"24:00\"",
                );
                0
            })
        };
        let (from, to) = (clock(&read.from, "from"), clock(&read.to, "to"));
        if from == to && minute(&read.from).is_some() && minute(&read.to).is_some() {
            self.say(
                read.to.place(),
                &format!("{path}.to"),
                "this calendar has no minute: `from` and `to` are the same",
                "the whole day is from = \"00:00\", to = \"24:00\"",
            );
        }
        let mut holidays = Vec::new();
        for day in &read.holidays {
            match day.parse::<jiff::civil::Date>() {
                Ok(date) => holidays.push(date),
                Err(_) => self.say(
                    day.place(),
                    &format!("{path}.holidays"),
                    format!("\"{}\" is no date", day.get()),
                    "write one like \"2026-12-25\"",
                ),
            }
        }
        holidays.sort_unstable();
        Calendar {
            name: read.name.as_str().into(),
            zone,
            days,
            from,
            to,
            holidays,
        }
    }
}

/// `"08:00"` as seconds after midnight.
fn minute(text: &str) -> Option<i32> {
    let (hours, minutes) = text.split_once(':')?;
    let two = |text: &str| {
        (text.len() == 2 && text.bytes().all(|c| c.is_ascii_digit()))
            .then(|| text.parse::<i32>().ok())
            .flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let seconds = hours * 3600 + minutes * 60;
    (minutes < 60 && seconds <= 86_400).then_some(seconds)
}
