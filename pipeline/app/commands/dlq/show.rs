//! Dead letters to look at.

use std::collections::BTreeMap;
use std::path::Path;

use pipeline::dlq::{self, Filter, Letter, Line};
use pipeline::printable::printable;
use serde_json::json;

use super::{Place, Which, components, failed};
use crate::exit::Exit;
use crate::say;

/// Letters of one component with one kind of reason.
#[derive(Default)]
struct Group {
    type_name: String,
    events: u64,
    oldest: String,
    newest: String,
    /// The reason of the newest.
    text: String,
}

/// Counts by component and reason.
pub(super) fn ls(place: &Place, as_json: bool) -> Result<Exit, Exit> {
    let data_dir = place.find()?;
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    let mut unreadable: BTreeMap<String, u64> = BTreeMap::new();
    for component in components(&data_dir, &Filter::default())? {
        each(&data_dir, &component, |line| {
            match line {
                Line::Letter(letter) => groups
                    .entry((component.clone(), letter.reason.kind.clone()))
                    .or_default()
                    .add(*letter),
                Line::Unreadable(_) => *unreadable.entry(component.clone()).or_default() += 1,
            }
            true
        })?;
    }
    if as_json {
        for ((component, reason), group) in &groups {
            let Group {
                type_name,
                events,
                oldest,
                newest,
                text,
            } = group;
            say::line(json_line(&json!({
                "component": component, "type": type_name, "reason": reason, "events": events, "oldest": oldest, "newest": newest, "last": text,
            })));
        }
        for (component, lines) in &unreadable {
            say::line(json_line(
                &json!({ "component": component, "unreadable": lines }),
            ));
        }
    } else {
        print(&groups, &unreadable);
    }
    Ok(if groups.is_empty() && unreadable.is_empty() {
        Exit::Done
    } else {
        Exit::Found
    })
}

impl Group {
    fn add(&mut self, letter: Letter) {
        self.events += 1;
        self.type_name = letter.type_name;
        if self.oldest.is_empty() || letter.dead_at < self.oldest {
            self.oldest.clone_from(&letter.dead_at);
        }
        if letter.dead_at >= self.newest {
            self.newest = letter.dead_at;
            self.text = letter.reason.text;
        }
    }
}

fn print(groups: &BTreeMap<(String, String), Group>, unreadable: &BTreeMap<String, u64>) {
    if groups.is_empty() && unreadable.is_empty() {
        say::line("no dead letters");
        return;
    }
    let wide = |column: &str, cells: &mut dyn Iterator<Item = usize>| {
        cells.max().unwrap_or(0).max(column.len())
    };
    let component = wide(
        "component",
        &mut groups.keys().map(|(id, _)| id.chars().count()),
    );
    let kind = wide(
        "reason",
        &mut groups.keys().map(|(_, kind)| kind.chars().count()),
    );
    say::line(format!(
        "{:<component$}  {:<kind$}  {:>8}  {:<24}  {:<24}  last said",
        "component", "reason", "events", "oldest", "newest"
    ));
    let mut all = 0;
    for ((id, reason), group) in groups {
        all += group.events;
        let said: String = printable(&group.text).chars().take(120).collect();
        let (id, reason) = (printable(id), printable(reason));
        say::line(format!(
            "{id:<component$}  {reason:<kind$}  {:>8}  {:<24}  {:<24}  {said}",
            group.events,
            printable(&group.oldest),
            printable(&group.newest)
        ));
    }
    for (id, lines) in unreadable {
        say::line(format!(
            "{}: {lines} lines cannot be read; `purge --all` removes them",
            printable(id)
        ));
    }
    say::line(format!(
        "{all} dead letters; `pvetrail dlq show` shows them"
    ));
}

/// The letters themselves.
pub(super) fn show(place: &Place, which: &Which, limit: u64, as_json: bool) -> Result<Exit, Exit> {
    let filter = which.filter();
    let data_dir = place.find()?;
    let most = if limit == 0 { u64::MAX } else { limit };
    let (mut shown, mut more) = (0, 0_u64);
    for component in components(&data_dir, &filter)? {
        each(&data_dir, &component, |line| {
            let Line::Letter(letter) = line else {
                return true;
            };
            if !filter.takes(&letter) {
                return true;
            }
            if shown == most {
                more += 1;
                return true;
            }
            shown += 1;
            if as_json {
                say::line(json_line(&json!(letter)))
            } else {
                tell(&letter)
            }
        })?;
    }
    if more > 0 && !as_json {
        say::line(format!("… and {more} more; `--limit 0` shows all"));
    }
    if shown == 0 && !as_json {
        say::line("no such dead letters");
    }
    Ok(if shown == 0 { Exit::Found } else { Exit::Done })
}

/// One letter for people; `false` once nobody reads it.
fn tell(letter: &Letter) -> bool {
    let Letter {
        dead_at,
        component,
        type_name,
        reason,
        attempts,
        event,
    } = letter;
    let times = if *attempts == 1 {
        "once".to_owned()
    } else {
        format!("{attempts} times")
    };
    let head = format!(
        "{dead_at} {component} ({type_name}) tried {times}, {}: {}",
        reason.kind, reason.text
    );
    say::line(printable(&head)) && say::line(format!("  {}", json_line(event)))
}

/// JSON that a terminal cannot be harmed with.
fn json_line(json: &serde_json::Value) -> String {
    say::safe_json(&json.to_string()).into_owned()
}

/// Every line of a component's files until `each` says that it is enough.
fn each(data_dir: &Path, component: &str, mut each: impl FnMut(Line) -> bool) -> Result<(), Exit> {
    for (_, lines) in dlq::lines(data_dir, component).map_err(failed)? {
        for line in lines {
            if !each(line.map_err(failed)?) {
                return Ok(());
            }
        }
    }
    Ok(())
}
