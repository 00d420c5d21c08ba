//! What is wrong, told once when it begins and once when it is over.

use std::collections::BTreeMap;

use pipeline::telemetry::Stage;
use pipeline::{SourceOut, Told};

use super::client::Trouble;

/// A trouble that may pass at once is told when it is met so often in a row.
const TWICE: u32 = 2;
/// Most troubles remembered at once.
const MOST: usize = 4096;

#[derive(Debug, Default)]
struct State {
    met: u32,
    told: bool,
    kind: &'static str,
}

/// What is wrong now, by what it concerns.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    id: String,
    now: BTreeMap<String, State>,
}

impl Troubles {
    pub(super) fn new(id: &str) -> Troubles {
        Troubles {
            id: id.to_owned(),
            now: BTreeMap::new(),
        }
    }

    /// Something went wrong with `what`; `cost` says what is not seen because of it.
    pub(super) fn met(&mut self, what: &str, trouble: &Trouble, cost: &str, out: &SourceOut) {
        out.metrics().error(trouble.kind(), Stage::Receiving, 1);
        if self.now.len() >= MOST && !self.now.contains_key(what) {
            return;
        }
        let state = self.now.entry(what.to_owned()).or_default();
        state.met += 1;
        // The same trouble grown another face: what the operator was told first is not true any more.
        let changed = state.told && state.kind != trouble.kind() && state.met >= TWICE;
        if changed || !state.told && (trouble.is_certain() || state.met >= TWICE) {
            (state.told, state.kind, state.met) = (true, trouble.kind(), 0);
            self.tell(what, &trouble.to_string(), cost, out);
        }
    }

    /// The same for what one meeting is enough to know.
    pub(super) fn sure(&mut self, what: &str, trouble: &Trouble, cost: &str, out: &SourceOut) {
        let state = self.now.entry(what.to_owned()).or_default();
        state.met = state.met.max(TWICE);
        self.met(what, trouble, cost, out);
    }

    fn tell(&self, what: &str, why: &str, cost: &str, out: &SourceOut) {
        tracing::warn!(component_id = self.id, what, why, cost, "it cannot be read");
        out.metrics().tell(
            Told::new("PVE-9012", format!("{what} cannot be read: {why}; {cost}"))
                .failed(why)
                .object("source", self.id.clone()),
        );
    }

    /// So many of `what` found no room: counted each time, and told until there is room.
    pub(super) fn full(&mut self, what: &str, left_out: u64, cost: &str, out: &SourceOut) {
        let key = format!("{what}, no room");
        if left_out == 0 {
            if self.now.remove(&key).is_some() {
                let text = format!("all of {what} are remembered again");
                tracing::info!(component_id = self.id, "{text}");
                out.metrics()
                    .tell(Told::new("PVE-9011", text).object("source", self.id.clone()));
            }
            return;
        }
        out.metrics().error("no_room", Stage::Receiving, left_out);
        let state = self.now.entry(key).or_default();
        if std::mem::replace(&mut state.told, true) {
            return;
        }
        let why = format!("{left_out} of {what} find no room");
        tracing::warn!(component_id = self.id, left_out, what, cost, "no room");
        out.metrics().tell(
            Told::new("PVE-9012", format!("{why}: {cost}"))
                .failed(&why)
                .object("source", self.id.clone()),
        );
    }

    /// A right is missing until somebody grants it: told at once, and not again. `what` is a whole sentence.
    pub(super) fn lacks(&mut self, what: &str, cost: &str, out: &SourceOut) {
        let state = self.now.entry(what.to_owned()).or_default();
        if std::mem::replace(&mut state.told, true) {
            return;
        }
        out.metrics().error("right_missing", Stage::Receiving, 1);
        tracing::warn!(component_id = self.id, cost, "{what}");
        out.metrics().tell(
            Told::new("PVE-9012", format!("{what}: {cost}"))
                .failed(what)
                .object("source", self.id.clone()),
        );
    }

    /// The right is not missing any more, or never was.
    pub(super) fn granted(&mut self, what: &str, right: &str, out: &SourceOut) {
        if self.now.remove(what).is_some() {
            tracing::info!(component_id = self.id, "{right} is granted now");
            out.metrics().tell(
                Told::new("PVE-9011", format!("{right} is granted now"))
                    .object("source", self.id.clone()),
            );
        }
    }

    /// It goes well with `what`. True if it was told otherwise before.
    pub(super) fn well(&mut self, what: &str, more: &str, out: &SourceOut) -> bool {
        let told = self.now.remove(what).is_some_and(|state| state.told);
        if told {
            tracing::info!(component_id = self.id, what, more, "it can be read again");
            out.metrics().tell(
                Told::new("PVE-9011", format!("{what} can be read again{more}"))
                    .object("source", self.id.clone()),
            );
        }
        told
    }

    /// Whether it is known that something is wrong with `what`.
    pub(super) fn has(&self, what: &str) -> bool {
        self.now.contains_key(what)
    }
}
