//! The event IDs, and the tasks and calls of Proxmox VE that lead to them, as tables, as JSON, and as a page of one ID.
//!
//! All of it is made from the tables the program itself works with, so it is never older than the program.

use std::fmt::Write;

use pipeline::Language;
use pipeline::catalogue::{Catalogue, Row, Text, UNCLASSIFIED};
use pipeline::pve::{Answer, Endpoint, TaskType};
use serde_json::{Value, json};

/// The event ID of calls that only read.
const READ: &str = "PVE-1013";

/// What can be listed.
#[derive(Clone, Copy)]
pub(super) enum Listed {
    Events,
    Tasks,
    Endpoints,
    Event(&'static Row),
}

/// What a word on the command line asks for.
pub(super) fn find(name: &str) -> Option<Listed> {
    match name {
        "events" => Some(Listed::Events),
        "tasks" => Some(Listed::Tasks),
        "endpoints" => Some(Listed::Endpoints),
        code => Catalogue::builtin()
            .get(&code.to_ascii_uppercase())
            .map(Listed::Event),
    }
}

/// The words and the IDs.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let codes = Catalogue::builtin().rows().iter();
    ["events", "tasks", "endpoints"]
        .into_iter()
        .chain(codes.map(|row| row.code.as_str()))
}

impl Listed {
    /// As a table, or as the page of one ID.
    pub(super) fn text(self, language: Language) -> String {
        match self {
            Listed::Events => events(language),
            Listed::Tasks => tasks(language),
            Listed::Endpoints => endpoints(language),
            Listed::Event(row) => page(row),
        }
    }

    /// One object per line.
    pub(super) fn json(self) -> String {
        let lines: Vec<Value> = match self {
            Listed::Events => Catalogue::builtin().rows().iter().map(event_json).collect(),
            Listed::Tasks => TaskType::all().iter().map(task_json).collect(),
            Listed::Endpoints => Endpoint::all().iter().map(endpoint_json).collect(),
            Listed::Event(row) => vec![event_json(row)],
        };
        let mut out = String::new();
        for line in lines {
            _ = writeln!(out, "{line}");
        }
        out
    }
}

/// Its row; `PVE-0000` where there is none, which a test excludes for all but the one type that PVE itself calls unknown.
fn row(code: &str) -> &'static Row {
    let catalogue = Catalogue::builtin();
    let row = catalogue.get(code).or_else(|| catalogue.get(UNCLASSIFIED));
    row.expect("the catalogue has a row for what fits nowhere")
}

fn name(text: &Text, language: Language) -> &str {
    match language {
        Language::En => &text.en,
        Language::De => &text.de,
    }
}

/// `mapped`, `read` (it changes nothing, whatever its method) or `unknown`.
fn mapping(code: &str) -> &'static str {
    match code {
        UNCLASSIFIED => "unknown",
        READ => "read",
        _ => "mapped",
    }
}

fn answer(answers: Answer) -> &'static str {
    match answers {
        Answer::Nothing => "nothing",
        Answer::Upid => "upid",
        Answer::Text => "text",
        Answer::Object => "object",
        Answer::List => "list",
    }
}

fn leading_to(code: &str) -> (Vec<&'static TaskType>, Vec<&'static Endpoint>) {
    (
        TaskType::all()
            .iter()
            .filter(|one| one.codes().contains(&code))
            .collect(),
        Endpoint::all()
            .iter()
            .filter(|one| one.code == code)
            .collect(),
    )
}

fn events(language: Language) -> String {
    let mut table = Table::new([
        "CODE", "ACTION", "OBJECT", "SEV", "CATEGORY", "TYPE", "NAME",
    ]);
    let rows = Catalogue::builtin().rows();
    for row in rows {
        let retired = match (&row.retired, &row.successor) {
            (None, _) => String::new(),
            (Some(_), Some(successor)) => format!(" (retired; use {successor})"),
            (Some(_), None) => " (retired)".to_owned(),
        };
        table.row([
            row.code.clone(),
            row.action.clone(),
            row.object.clone(),
            row.severity.to_string(),
            row.category.join(","),
            row.kinds.join(","),
            format!("{}{retired}", name(&row.text, language)),
        ]);
    }
    table.end(format!("{} event IDs", rows.len()))
}

fn tasks(language: Language) -> String {
    let mut table = Table::new([
        "TASK", "CODE", "ACTION", "OBJECT", "CATEGORY", "TOLD AT", "NAME",
    ]);
    let mut unknown = 0;
    for one in TaskType::all() {
        unknown += usize::from(mapping(&one.code) == "unknown");
        let row = row(&one.code);
        table.row([
            one.kind.clone(),
            one.codes().join(","),
            row.action.clone(),
            one.object.clone(),
            row.category.join(","),
            if one.starts() { "start,end" } else { "end" }.to_owned(),
            name(&row.text, language).to_owned(),
        ]);
    }
    let count = TaskType::all().len();
    // The one is PVE's own word for a task whose caller gave it no type.
    table.end(format!(
        "{count} types of task, {} mapped, {unknown} unknown to Proxmox VE itself",
        count - unknown
    ))
}

fn endpoints(language: Language) -> String {
    let mut table = Table::new([
        "METHOD", "PATH", "CODE", "ACTION", "OBJECT", "CATEGORY", "TASKS", "ANSWERS", "NAME",
    ]);
    let (mut reads, mut unknown) = (0, 0);
    for one in Endpoint::all() {
        reads += usize::from(mapping(&one.code) == "read");
        unknown += usize::from(mapping(&one.code) == "unknown");
        let row = row(&one.code);
        table.row([
            one.method.clone(),
            one.path.clone(),
            one.code.clone(),
            row.action.clone(),
            one.object.clone(),
            row.category.join(","),
            match one.tasks.is_empty() {
                true => "-".to_owned(),
                false => one.tasks.join(","),
            },
            answer(one.answers).to_owned(),
            name(&row.text, language).to_owned(),
        ]);
    }
    let count = Endpoint::all().len();
    let mapped = count - reads - unknown;
    table.end(format!(
        "{count} endpoints, {mapped} mapped, {reads} named as read-only, {unknown} unmapped"
    ))
}

fn event_json(row: &Row) -> Value {
    let (tasks, endpoints) = leading_to(&row.code);
    let both = |text: &Option<Text>| match text {
        Some(text) => json!({"en": text.en, "de": text.de}),
        None => Value::Null,
    };
    json!({
        "code": row.code,
        "action": row.action,
        "object": row.object,
        "severity": row.severity,
        "category": row.category,
        "type": row.kinds,
        "name": both(&Some(row.text.clone())),
        "say": both(&row.say),
        "failed": both(&row.failed),
        "unknown": both(&row.unknown),
        "ocsf": {"class": row.ocsf.class, "activity": row.ocsf.activity},
        "since": row.since,
        "retired": row.retired,
        "successor": row.successor,
        "failure_of": row.failure_of,
        "tasks": tasks.iter().map(|one| &one.kind).collect::<Vec<_>>(),
        "endpoints": endpoints.iter().map(|one| format!("{} {}", one.method, one.path)).collect::<Vec<_>>(),
    })
}

fn task_json(one: &TaskType) -> Value {
    let row = row(&one.code);
    json!({
        "task": one.kind,
        "mapping": mapping(&one.code),
        "code": one.code,
        "codes": one.codes(),
        "action": row.action,
        "object": one.object,
        "category": row.category,
        "start": one.starts(),
    })
}

fn endpoint_json(one: &Endpoint) -> Value {
    let row = row(&one.code);
    json!({
        "method": one.method,
        "path": one.path,
        "mapping": mapping(&one.code),
        "code": one.code,
        "action": row.action,
        "object": one.object,
        "id": one.id,
        "category": row.category,
        "tasks": one.tasks,
        "answers": answer(one.answers),
    })
}

/// The page of one ID, in Markdown.
fn page(row: &Row) -> String {
    let mut out = format!("# {} {}\n\n", row.code, row.action);
    _ = writeln!(out, "{} · {}\n", row.text.en, row.text.de);
    if let Some(retired) = &row.retired {
        let instead = row.successor.as_deref().unwrap_or("nothing");
        _ = writeln!(out, "Retired in {retired}; {instead} takes its place.\n");
    }
    _ = writeln!(
        out,
        "| | |\n|---|---|\n| object | {} |\n| severity | {} |\n| event.category | {} |\n| event.type | {} |\n\
         | OCSF class, activity | {}, {} |\n| since | {} |\n",
        row.object,
        row.severity,
        row.category.join(", "),
        row.kinds.join(", "),
        row.ocsf.class,
        row.ocsf.activity,
        row.since
    );
    let said = [
        ("success", &row.say),
        ("failure", &row.failed),
        ("unknown outcome", &row.unknown),
    ];
    if row.say.is_none() {
        _ = writeln!(out, "Its event brings its own sentence.\n");
    } else {
        _ = writeln!(out, "## Sentences\n");
        for (when, text) in said {
            if let Some(text) = text {
                _ = writeln!(out, "- {when}: `{}` · `{}`", text.en, text.de);
            }
        }
        out.push('\n');
    }
    let (tasks, endpoints) = leading_to(&row.code);
    if !tasks.is_empty() || !endpoints.is_empty() {
        _ = writeln!(out, "## What leads to it\n");
    }
    for one in tasks {
        _ = writeln!(out, "- task `{}`", one.kind);
    }
    for one in endpoints {
        _ = writeln!(out, "- call `{} {}`", one.method, one.path);
    }
    out
}

/// Columns as wide as their widest cell, but for the last, which ends where its text does.
struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    fn new(head: [&str; N]) -> Self {
        Table {
            rows: vec![head.map(str::to_owned)],
        }
    }

    fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }

    fn end(self, last: String) -> String {
        let mut widths = [0; N];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut out = String::new();
        for row in &self.rows {
            let cells = row
                .iter()
                .zip(widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            _ = writeln!(out, "{}", line.trim_end());
        }
        _ = writeln!(out, "\n{last}");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_tables_is_unmapped() {
        let last = |listed: Listed| listed.text(Language::En).lines().last().unwrap().to_owned();
        assert_eq!(
            last(Listed::Tasks),
            "109 types of task, 108 mapped, 1 unknown to Proxmox VE itself"
        );
        assert_eq!(
            last(Listed::Endpoints),
            "328 endpoints, 325 mapped, 3 named as read-only, 0 unmapped"
        );
        for listed in [Listed::Tasks, Listed::Endpoints] {
            for line in listed.json().lines() {
                let line: Value = serde_json::from_str(line).unwrap();
                assert!(
                    line["mapping"] != "unknown" || line["task"] == "unknown",
                    "{line}"
                );
                for key in ["code", "action", "object"] {
                    assert!(
                        line[key].as_str().is_some_and(|text| !text.is_empty()),
                        "{line}"
                    );
                }
                assert!(
                    line["category"]
                        .as_array()
                        .is_some_and(|list| !list.is_empty()),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn every_event_id_has_a_row_an_object_and_a_page() {
        let rows = Catalogue::builtin().rows();
        let table = Listed::Events.text(Language::De);
        let json = Listed::Events.json();
        assert_eq!(json.lines().count(), rows.len());
        assert!(table.ends_with(&format!("\n{} event IDs\n", rows.len())));
        for row in rows {
            assert!(
                table.contains(&format!("{}  {}", row.code, row.action)),
                "{}",
                row.code
            );
            assert!(table.contains(&row.text.de), "{}", row.code);
            let page = find(&row.code.to_ascii_lowercase())
                .unwrap()
                .text(Language::En);
            assert!(page.starts_with(&format!(
                "# {} {}\n\n{} · ",
                row.code, row.action, row.text.en
            )));
        }
        let page = find("PVE-2002").unwrap().text(Language::En);
        assert!(
            page.contains("- task `qmdestroy`\n- call `DELETE /nodes/{node}/qemu/{vmid}`\n"),
            "{page}"
        );
        assert!(find("PVE-2999").is_none() && find("file").is_none());
    }

    #[test]
    fn every_code_of_a_task_is_told_with_it() {
        let backup = TaskType::find("vzdump").unwrap();
        assert_eq!(
            backup.codes(),
            ["PVE-5102", "PVE-5101", "PVE-5103", "PVE-5104"]
        );
        let page = find("pve-5103").unwrap().text(Language::En);
        assert!(page.contains("- task `vzdump`"), "{page}");
    }
}
