//! What a rule refers to: selections, calendars, groups, windows, codes.

use super::*;

impl Builder<'_, '_> {
    pub(super) fn when(
        &mut self,
        table: &RuleTable,
        kind: Option<&Kind>,
        selections: &[Selection],
    ) -> Option<When> {
        let at = table.sort.place();
        if let Kind::Temporal {
            stages, without, ..
        } = kind?
        {
            let stage = |stage: &Stage| match stage {
                Stage::Selection(n) => 1 << n,
                Stage::Rule(_) => 0,
            };
            let mask = stages
                .iter()
                .map(stage)
                .fold(without.map_or(0, |n| 1_u64 << n), |all, bit| all | bit);
            self.unused(mask, selections);
            return Some(When::Any(mask));
        }
        let hidden = match kind? {
            Kind::Event {
                unless: Some(n), ..
            }
            | Kind::NewTerm { seen: Some(n), .. } => 1 << n,
            _ => 0,
        };
        let graver = table.escalate.iter().filter_map(|one| one.when.as_ref());
        let graver =
            graver.filter_map(|name| selections.iter().position(|one| *one.name == **name));
        let graver = graver.fold(0, |all, n| all | 1_u64 << n);
        let names: Vec<&str> = selections.iter().map(|one| &*one.name).collect();
        let when = match &table.when {
            Some(text) => match When::parse(text, &names, hidden) {
                Ok(when) => when,
                Err(mistake) => {
                    let place = self.docs.inside(text.place(), mistake.range);
                    self.wrong(place, "when", mistake.message, mistake.help);
                    return None;
                }
            },
            None => {
                let all =
                    (0..selections.len()).fold(0, |all, n| all | 1_u64 << n) & !hidden & !graver;
                if all == 0 {
                    let (message, help) = (
                        "the rule selects nothing",
                        "add [rule.select.NAME] with at least one test",
                    );
                    self.wrong(at, "select", message, help);
                    return None;
                }
                When::All(all)
            }
        };
        if !when.can_hold() {
            let place = table.when.as_ref().map_or(at, Spanned::place);
            self.wrong(
                place,
                "when",
                "this can never hold",
                "remove the part that contradicts the other",
            );
        }
        self.unused(when.names() | hidden | graver, selections);
        Some(when)
    }

    fn unused(&mut self, used: u64, selections: &[Selection]) {
        let Some(Value::Table(written)) = self.table.get("select").map(|entry| &entry.node.value)
        else {
            return;
        };
        for (n, (selection, entry)) in selections.iter().zip(&written.0).enumerate() {
            if used & (1 << n) == 0 {
                let message = format!("nobody uses the selection {:?}", &*selection.name);
                let path = format!("{}.select.{}", self.path, selection.name);
                self.docs.say(
                    Diagnostic::warning(entry.key_place, path, message)
                        .with_help("name it in `when`, or remove it"),
                );
            }
        }
    }

    pub(super) fn escalate(
        &mut self,
        table: &RuleTable,
        selections: &[Selection],
    ) -> Vec<Escalate> {
        let mut all = Vec::new();
        for one in &table.escalate {
            let when = one
                .when
                .as_ref()
                .and_then(|name| self.bit(name, "escalate", selections));
            let plain = *table.sort == Sort::Event && table.hold.is_none();
            if let (Some(name), false) = (&one.when, plain) {
                self.wrong(
                    name.place(),
                    "escalate",
                    "`when` looks at single matches, and this type fires by several or by time",
                    "leave `when` out and use `count`, or write a rule of type \"event\" without `hold`",
                );
            }
            if one.count.is_none() && one.when.is_none() {
                let place = self.place("escalate").unwrap_or(table.sort.place());
                self.wrong(
                    place,
                    "escalate",
                    "this does not say from which count on",
                    "write { count = 10, severity = \"critical\" }",
                );
            }
            all.push(Escalate {
                count: one.count.unwrap_or(1),
                severity: one.severity,
                when,
            });
        }
        all
    }

    pub(super) fn during(&mut self, table: &RuleTable) -> Option<(Arc<Calendar>, bool)> {
        if let (Some(_), Some(outside)) = (&table.during, &table.outside) {
            self.wrong(
                outside.place(),
                "outside",
                "a rule has `during` or `outside`, not both",
                "make one calendar of the two",
            );
        }
        let (name, inside, key) = match (&table.during, &table.outside) {
            (Some(name), _) => (name, true, "during"),
            (None, Some(name)) => (name, false, "outside"),
            (None, None) => return None,
        };
        if let Some(calendar) = self.around.calendars.get(name.get()) {
            return Some((Arc::clone(calendar), inside));
        }
        let help = match nearest(name, self.around.calendars.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("add [[calendar]] with name = \"{}\"", name.get()),
        };
        self.wrong(
            name.place(),
            key,
            format!("there is no calendar called \"{}\"", name.get()),
            help,
        );
        None
    }

    /// A field, or an alias of several.
    pub(super) fn group(
        &mut self,
        name: &Spanned<String>,
        key: &str,
        table: &RuleTable,
        selections: &[Selection],
    ) -> Option<Group> {
        let Some(fields) = table.aliases.get(name.get()) else {
            let known: Vec<&str> = table.aliases.keys().map(String::as_str).collect();
            let path = match (nearest(name, known), self.around.names.fields.check(name)) {
                (Some(meant), Err(_)) => {
                    self.wrong(
                        name.place(),
                        key,
                        format!("there is neither a field nor an alias \"{}\"", name.get()),
                        format!("did you mean \"{meant}\"?"),
                    );
                    return None;
                }
                _ => self.field(name, key),
            };
            return Some(Group::new(name, Some(path), Vec::new()));
        };
        let mut aliases = Vec::new();
        for (selection, field) in fields {
            let key = format!("aliases.{}.{selection}", name.get());
            let selection = Spanned::new(selection.clone(), field.place());
            let path = self.field(field, &key);
            if let Some(n) = self.bit(&selection, &key, selections) {
                aliases.push((1 << n, path));
            }
        }
        Some(Group::new(name, None, aliases))
    }

    pub(super) fn groups(&mut self, table: &RuleTable, selections: &[Selection]) -> Vec<Group> {
        let mut groups = Vec::new();
        for name in &table.group_by {
            if table
                .group_by
                .iter()
                .filter(|other| **other.get() == **name.get())
                .count()
                > 1
            {
                self.wrong(
                    name.place(),
                    "group_by",
                    format!("\"{}\" stands here twice", name.get()),
                    "remove one of the two",
                );
            }
            groups.extend(self.group(name, "group_by", table, selections));
        }
        for alias in table.aliases.keys() {
            let mut names = table.group_by.iter().chain(table.fields.iter().flatten());
            if !names.any(|name| name.get() == alias) {
                let place = self.place("aliases").unwrap_or(Place::NONE);
                self.wrong(
                    place,
                    "aliases",
                    format!("nobody uses the alias \"{alias}\""),
                    format!("add group_by = [\"{alias}\"], or remove it"),
                );
            }
        }
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        groups
    }

    pub(super) fn window(&mut self, table: &RuleTable) -> Option<Window> {
        let Some(window) = &table.window else {
            return Some(Window::Sliding);
        };
        match window.get() {
            WindowTable::Sliding => Some(Window::Sliding),
            WindowTable::Session { gap: Some(gap) } if !gap.is_zero() => {
                Some(Window::Session { gap: *gap })
            }
            WindowTable::Session { .. } => {
                self.wrong(
                    window.place(),
                    "window",
                    "a session needs to know which pause ends it",
                    "write window = { type = \"session\", gap = \"10m\" }",
                );
                None
            }
            WindowTable::Tumbling { zone: None } => Some(Window::Tumbling { zone: None }),
            WindowTable::Tumbling { zone: Some(name) } => match calendar::zone(name) {
                Some(zone) => Some(Window::Tumbling { zone: Some(zone) }),
                None => {
                    self.wrong(
                        window.place(),
                        "window.zone",
                        format!("there is no time zone \"{name}\""),
                        zone_help(name),
                    );
                    None
                }
            },
        }
    }

    pub(super) fn expected(&mut self, entry: &Entry, groups: &[Group]) -> Vec<group::GroupKey> {
        let Value::List(items) = &entry.node.value else {
            self.wrong(
                entry.key_place,
                "expect",
                "`expect` is a list of groups",
                "write expect = [\"pve1\", \"pve2\"]",
            );
            return Vec::new();
        };
        let mut keys = Vec::new();
        for item in items {
            match testing::group(item, groups) {
                Ok(key) => keys.push(key),
                Err((message, help)) => self.wrong(item.place, "expect", message, help),
            }
        }
        keys
    }

    /// The codes of events that can mean something to the rule.
    pub(super) fn codes(
        &mut self,
        when: Option<&When>,
        kind: &Kind,
        selections: &[Selection],
        at: Place,
    ) -> Option<Vec<u16>> {
        let of = |n: usize| selections.get(n).and_then(codes_of);
        let mut all = when?.codes(&of);
        // What only refers to other rules sees no event itself.
        if matches!(kind, Kind::Temporal { stages, without: None, .. } if stages.iter().all(|stage| matches!(stage, Stage::Rule(_))))
        {
            return Some(Vec::new());
        }
        if all.as_ref().is_some_and(Vec::is_empty) {
            self.wrong(
                at,
                "when",
                "this can never hold: no event has all these codes at once",
                "look at the tests of `event.code`",
            );
        }
        if let (
            Kind::Event {
                unless: Some(n), ..
            }
            | Kind::NewTerm { seen: Some(n), .. },
            Some(codes),
        ) = (kind, &mut all)
        {
            match of(*n) {
                Some(more) => {
                    codes.extend(more);
                    codes.sort_unstable();
                    codes.dedup();
                }
                None => all = None,
            }
        }
        all
    }
}
