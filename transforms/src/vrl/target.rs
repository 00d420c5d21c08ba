//! An event as a program sees it.
//!
//! A cell is filled when the program first asks for it, so a field it does not come to costs nothing. What the program
//! changes stays in the cells until it has ended well: a program that fails or aborts leaves the event as it was.

use std::cell::{Cell as Hint, OnceCell};
use std::sync::LazyLock;

use pipeline::event::MAX_FIELDS;
use pipeline::{Event, Time};
use vrl::compiler::{SecretTarget, Target};
use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};
use vrl::value::{KeyString, ObjectMap, Value as Vrl};

use super::guard::Look;
use super::layout::{Layout, Root};
use super::load::{self, Shapes, Shared};
use super::merge::MERGED;
use super::native::Test;
use super::values;
use super::write::{self, Writer};

/// Where our own functions find the time of the engine's clock. No program can write such a path.
pub(super) static NOW: LazyLock<OwnedTargetPath> = LazyLock::new(|| {
    let path = vec![OwnedSegment::field("\0now")].into();
    OwnedTargetPath::metadata(path)
});

/// What the guard of a repeated block asks for; there is an answer when the cells hold too much.
pub(super) const TOO_MUCH: &str = "too much";

/// Places of paths remembered by their address.
const HINTS: usize = 64;

/// One worker's cells, used for one event after the other.
pub(super) struct View {
    cells: Vec<Cell>,
    /// Members merged into the event that no cell holds.
    merged: Vec<(KeyString, Vrl)>,
    metadata: Vrl,
    now: Vrl,
    shapes: Shapes,
    shared: Shared,
    writer: Writer,
    /// Address of a path, and its number among the known ones; checked before it is believed.
    hints: Vec<Hint<(usize, usize)>>,
}

#[derive(Default)]
struct Cell {
    /// Once asked for, what the program sees there.
    value: OnceCell<Option<Vrl>>,
    changed: bool,
}

impl View {
    pub(super) fn new(layout: &Layout) -> View {
        View {
            cells: layout.cells.iter().map(|_| Cell::default()).collect(),
            merged: Vec::new(),
            metadata: Vrl::Object(ObjectMap::new()),
            now: Vrl::Null,
            shapes: Shapes::default(),
            shared: Shared::default(),
            writer: Writer::default(),
            hints: vec![Hint::new((0, usize::MAX)); HINTS],
        }
    }

    /// Shows it an event.
    pub(super) fn begin(&mut self, layout: &Layout, event: &Event, now: Time) {
        self.forget();
        self.shapes.meet(&layout.cells, event);
        self.shared.hold(event);
        self.now = values::time(now);
    }

    /// What a test says of an event.
    #[inline]
    pub(super) fn ask(&mut self, layout: &Layout, event: &Event, test: &Test) -> Option<bool> {
        self.shapes.meet(&layout.cells, event);
        test.holds(event, &self.shapes)
    }

    /// Drops what the last program saw and left.
    pub(super) fn forget(&mut self) {
        for cell in &mut self.cells {
            *cell = Cell::default();
        }
        self.merged.clear();
        if let Vrl::Object(members) = &mut self.metadata {
            members.clear();
        } else {
            self.metadata = Vrl::Object(ObjectMap::new());
        }
    }

    /// Lets go of the buffer of the last events.
    pub(super) fn let_go(&mut self) {
        self.forget();
        self.shared.let_go();
    }

    /// Sets on the event what the program changed: all of it, or nothing and why.
    pub(super) fn write(&mut self, layout: &Layout, event: &mut Event) -> Result<(), String> {
        for (cell, root) in self
            .cells
            .iter()
            .zip(&layout.cells)
            .filter(|(cell, _)| cell.changed)
        {
            write::check(*root, cell.value.get().and_then(Option::as_ref))?;
        }
        for (_, value) in self.merged.iter().filter(|(key, _)| **key == *"@timestamp") {
            write::check(Root::Time, Some(value))?;
        }
        let changed = self.cells.iter().filter(|cell| cell.changed);
        let values = changed.filter_map(|cell| cell.value.get()?.as_ref());
        let merged = self.merged.iter().map(|(_, value)| value);
        let more: usize = values.chain(merged).map(write::leaves).sum();
        // Only an event that might become too large is worth a copy.
        let before = (event.len() + more > MAX_FIELDS).then(|| event.clone());
        let result = self.write_all(layout, event);
        if let (Err(_), Some(before)) = (&result, before) {
            *event = before;
        }
        result
    }

    fn write_all(&mut self, layout: &Layout, event: &mut Event) -> Result<(), String> {
        for (n, root) in layout.cells.iter().enumerate() {
            let cell = &mut self.cells[n];
            if !std::mem::take(&mut cell.changed) {
                continue;
            }
            let value = cell.value.take().flatten();
            let source = self.shapes.source(n);
            self.writer
                .write(event, *root, source, value, &self.shared)?;
        }
        for (key, value) in self.merged.drain(..) {
            self.writer.merge(event, &key, value, &self.shared)?;
        }
        Ok(())
    }

    /// The events that the program made out of one, if it set the whole event to a list.
    pub(super) fn take_list(&mut self, layout: &Layout) -> Option<Vec<Vrl>> {
        let place = layout.cells.iter().position(|root| *root == Root::Whole)?;
        let cell = &mut self.cells[place];
        if !cell.changed || !matches!(cell.value.get(), Some(Some(Vrl::Array(_)))) {
            return None;
        }
        match cell.value.take() {
            Some(Some(Vrl::Array(list))) => Some(list),
            _ => None,
        }
    }

    /// Sets one of these on an event without fields.
    pub(super) fn write_whole(&mut self, event: &mut Event, value: Vrl) -> Result<(), String> {
        write::check(Root::Whole, Some(&value))?;
        let source = load::Source::Absent;
        self.writer
            .write(event, Root::Whole, &source, Some(value), &self.shared)
    }
}

/// A view with the event it is shown.
pub(super) struct Seen<'a> {
    pub(super) view: &'a mut View,
    pub(super) layout: &'a Layout,
    pub(super) event: &'a Event,
    /// Whether the runtime has asked for the root, which it does once before the program starts.
    pub(super) begun: Hint<bool>,
}

enum Place<'a> {
    Cell(usize, &'a OwnedValuePath),
    /// A path made while the program runs.
    Other(usize, OwnedValuePath),
    Metadata,
    Now,
    Merged,
    Nowhere,
}

impl<'a> Seen<'a> {
    #[inline]
    fn place(&self, path: &OwnedTargetPath) -> Place<'a> {
        if path.prefix == PathPrefix::Metadata {
            return match path {
                path if *path == *NOW => Place::Now,
                path if *path == *MERGED => Place::Merged,
                _ => Place::Metadata,
            };
        }
        let address = std::ptr::from_ref(path) as usize;
        let layout = self.layout;
        let hint = &self.view.hints[(address >> 3) % HINTS];
        let (held, n) = hint.get();
        if held == address
            && let Some(known) = layout.paths.get(n)
            && known.path == *path
        {
            return Place::Cell(known.cell, &known.rest);
        }
        self.search(path, hint)
    }

    #[cold]
    fn search(&self, path: &OwnedTargetPath, hint: &Hint<(usize, usize)>) -> Place<'a> {
        let layout = self.layout;
        if let Some(n) = layout.paths.iter().position(|known| known.path == *path) {
            hint.set((std::ptr::from_ref(path) as usize, n));
            let known = &layout.paths[n];
            return Place::Cell(known.cell, &known.rest);
        }
        match self.layout.find(path) {
            Some((cell, rest)) => Place::Other(cell, rest),
            None => Place::Nowhere,
        }
    }

    #[inline]
    fn value(&self, cell: usize) -> Option<&Vrl> {
        let load = || {
            let source = self.view.shapes.source(cell);
            load::load(
                self.layout.cells[cell],
                source,
                self.event,
                &self.view.shared,
            )
        };
        self.view.cells[cell].value.get_or_init(load).as_ref()
    }

    /// The value of a cell, to be changed.
    fn change(&mut self, cell: usize) -> Option<&mut Option<Vrl>> {
        self.value(cell);
        let cell = &mut self.view.cells[cell];
        cell.changed = true;
        cell.value.get_mut()
    }

    fn insert(&mut self, cell: usize, rest: &OwnedValuePath, value: Vrl) {
        if rest.is_root() {
            self.view.cells[cell] = Cell {
                value: OnceCell::from(Some(value)),
                changed: true,
            };
        } else if let Some(held) = self.change(cell) {
            held.get_or_insert(Vrl::Null).insert(rest, value);
        }
    }

    fn merge(&mut self, members: ObjectMap) {
        for (key, value) in members {
            if let Some(cell) = self.layout.top(&key) {
                self.insert(cell, &OwnedValuePath::root(), value);
                continue;
            }
            let merged = &mut self.view.merged;
            match merged.iter_mut().find(|(held, _)| *held == key) {
                Some((_, held)) => *held = value,
                None => merged.push((key, value)),
            }
        }
    }

    fn remove(&mut self, cell: usize, rest: &OwnedValuePath, compact: bool) -> Option<Vrl> {
        let whole = self.layout.cells[cell] == Root::Whole;
        let held = self.change(cell)?;
        if rest.is_root() {
            // The event itself is emptied, never taken away.
            return match whole {
                true => held.replace(Vrl::Object(ObjectMap::new())),
                false => held.take(),
            };
        }
        let value = held.as_mut()?;
        let removed = value.remove(rest, compact);
        // An object is there because something is in it.
        let mut path = rest.segments.clone();
        while removed.is_some()
            && matches!(path.pop(), Some(OwnedSegment::Field(_)))
            && !path.is_empty()
        {
            let above: OwnedValuePath = path.clone().into();
            match value.get(&above) {
                Some(Vrl::Object(members)) if members.is_empty() => value.remove(&above, false),
                _ => break,
            };
        }
        let emptied = matches!(value, Vrl::Object(members) if members.is_empty());
        if removed.is_some() && emptied && !whole {
            *held = None;
        }
        removed
    }
}

impl std::fmt::Debug for Seen<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.event)
    }
}

impl Target for Seen<'_> {
    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Vrl>, String> {
        if !self.begun.replace(true) {
            return Ok(Some(&self.view.metadata));
        }
        Ok(match self.place(path) {
            Place::Cell(cell, rest) if rest.is_root() => self.value(cell),
            Place::Cell(cell, rest) => self.value(cell).and_then(|value| value.get(rest)),
            Place::Other(cell, rest) => self.value(cell).and_then(|value| value.get(&rest)),
            Place::Metadata => self.view.metadata.get(&path.path),
            Place::Now => Some(&self.view.now),
            Place::Merged | Place::Nowhere => None,
        })
    }

    fn target_get_mut(&mut self, path: &OwnedTargetPath) -> Result<Option<&mut Vrl>, String> {
        let (cell, rest) = match self.place(path) {
            Place::Cell(cell, rest) => (cell, rest.clone()),
            Place::Other(cell, rest) => (cell, rest),
            Place::Metadata => return Ok(self.view.metadata.get_mut(&path.path)),
            Place::Now | Place::Merged | Place::Nowhere => return Ok(None),
        };
        let held = self.change(cell).and_then(Option::as_mut);
        Ok(held.and_then(|value| value.get_mut(&rest)))
    }

    fn target_insert(&mut self, path: &OwnedTargetPath, value: Vrl) -> Result<(), String> {
        match self.place(path) {
            Place::Cell(cell, rest) => self.insert(cell, rest, value),
            Place::Other(cell, rest) => self.insert(cell, &rest, value),
            Place::Metadata => {
                self.view.metadata.insert(&path.path, value);
            }
            Place::Merged => match value {
                Vrl::Object(members) => self.merge(members),
                _ => return Err("only an object can be merged into the event".to_owned()),
            },
            Place::Now | Place::Nowhere => return Err(format!("nothing can be set at {path}")),
        }
        Ok(())
    }

    fn target_remove(
        &mut self,
        path: &OwnedTargetPath,
        compact: bool,
    ) -> Result<Option<Vrl>, String> {
        Ok(match self.place(path) {
            Place::Cell(cell, rest) => self.remove(cell, rest, compact),
            Place::Other(cell, rest) => self.remove(cell, &rest, compact),
            Place::Metadata => self.view.metadata.remove(&path.path, compact),
            Place::Now | Place::Merged | Place::Nowhere => None,
        })
    }
}

impl SecretTarget for Seen<'_> {
    fn get_secret(&self, name: &str) -> Option<&str> {
        let cells = self.view.cells.iter().filter(|cell| cell.changed);
        let values = cells.filter_map(|cell| cell.value.get()?.as_ref());
        let merged = self.view.merged.iter().map(|(_, value)| value);
        let all = values.chain(merged).chain([&self.view.metadata]);
        (name == TOO_MUCH && Look::finds_too_much(all)).then_some(TOO_MUCH)
    }
    fn insert_secret(&mut self, _: &str, _: &str) {}
    fn remove_secret(&mut self, _: &str) {}
}
