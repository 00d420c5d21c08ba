//! Events counted by what they have in common.

use sinks::sqlite::{Filter, Reader};

use super::out::{Cell, Out};
use super::{Key, Question, failed};
use crate::exit::Exit;

/// Says how many rows there were.
pub(super) fn run(
    question: &Question,
    filter: &Filter,
    by: Key,
    reader: &Reader,
) -> Result<u64, Exit> {
    let groups = reader
        .groups(filter, by.into(), question.min_count, question.limit())
        .map_err(failed)?;
    let key = match by {
        Key::User => "user",
        Key::Source => "source",
        Key::Action => "action",
        Key::Code => "code",
        Key::Object => "object",
        Key::Vmid => "vmid",
        Key::Node => "node",
        Key::Outcome => "outcome",
        Key::Origin => "origin",
        Key::Kind => "kind",
        Key::Day => "day",
        Key::Hour => "hour",
    };
    let mut names = vec![key];
    if by == Key::Source {
        names.push("source_basis");
    }
    names.extend(["count", "failed", "sources", "first", "last"]);
    let mut out = Out::new(question.look.format, names);
    let zone = &question.look.zone;
    for group in &groups {
        let mut cells = vec![Cell::Text(if group.key.is_empty() {
            "-"
        } else {
            &group.key
        })];
        if by == Key::Source {
            cells.push(Cell::Text(&group.source_basis));
        }
        cells.extend([
            Cell::Number(group.count),
            Cell::Number(group.failed),
            Cell::Number(group.sources),
            Cell::Owned(zone.exact(group.first)),
            Cell::Owned(zone.exact(group.last)),
        ]);
        if !out.row(&cells) {
            break;
        }
    }
    out.finish()
}
