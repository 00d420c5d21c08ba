//! Names that come from data live in a map under their nearest known parent, beside the known names below that parent.

use super::slot::{Kind, Slot};
use super::{Event, Field, MAX_FIELDS, Value, fields};

impl Event {
    /// Sets `key`, a name that came from data, in the map that `parent` holds. Such names are never interned. Fields below
    /// `parent` stay as they are, but for one of this very name.
    pub fn set_dynamic(&mut self, parent: Field, key: &str, value: Value) {
        self.ungroup();
        let path = format!("{parent}.{key}");
        if Field::known(&path) || Field::known_below(&path) {
            self.remove_path(&path);
        }
        if let Some(Value::Map(map)) = self.tree_mut(parent) {
            match map.iter().position(|(held, _)| held == key) {
                Some(place) => map[place].1 = value,
                None if map.len() < MAX_FIELDS => map.push((key.to_owned(), value)),
                None => {}
            }
            return;
        }
        // What the field itself holds is no map, and gives way to one.
        self.remove(parent);
        self.clear_way(parent, false);
        if self.slots.len() < MAX_FIELDS {
            let map = Value::Map(vec![(key.to_owned(), value)]);
            self.slots.push(Slot::owned(parent, self.owned.len()));
            self.owned.push(map);
        }
    }

    /// Sets what stands at `path`: of a map, known names become fields and the others stay together under their nearest
    /// known parent. What lies under an unknown name is kept in `pve.extra`.
    pub fn set_tree(&mut self, path: &str, value: Value) {
        let open = |path: &str| Field::known_below(path) || path == fields::PVE_EXTRA.path();
        match value {
            Value::Map(members) if !members.is_empty() && open(path) => {
                for (name, value) in members {
                    let below = format!("{path}.{name}");
                    if !name.contains('.') && (Field::known(&below) || Field::known_below(&below)) {
                        self.set_tree(&below, value);
                    } else {
                        self.set_dynamic(Field::new(path), &name, value);
                    }
                }
            }
            other => match Field::find(path) {
                Some(field) => self.set(field, other),
                // A name below a known one, but for those at the top, which have no parent.
                None => match path.rsplit_once('.') {
                    Some((parent, name)) if Field::known_below(parent) => {
                        self.set_dynamic(Field::new(parent), name, other);
                    }
                    _ => self.set_dynamic(fields::PVE_EXTRA, path, other),
                },
            },
        }
    }

    /// Takes away the field, all fields below it, and what a map above it holds under its name.
    pub fn remove_tree(&mut self, field: Field) {
        self.remove(field);
        self.clear_below(field);
        self.shed(field.path());
    }

    fn remove_path(&mut self, path: &str) {
        self.ungroup();
        self.slots.retain(|held| {
            let below = held.field.path().strip_prefix(path);
            !below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        self.shed(path);
    }

    pub(super) fn clear_below(&mut self, field: Field) {
        self.ungroup_for(field);
        let slots = &mut self.slots;
        field.with_relatives(|relatives| {
            slots.retain(|held| !relatives.below.contains(&held.field));
        });
    }

    fn tree_mut(&mut self, field: Field) -> Option<&mut Value> {
        let slot = self.slots.iter().find(|slot| slot.field == field)?;
        (slot.kind == Kind::OwnedTree).then_some(())?;
        self.owned.get_mut(slot.number() as usize)
    }

    /// Takes `path` out of the maps that stand above it. A map emptied by it goes too, and so does a list. What else a map
    /// holds on the way to it gets a place of its own.
    #[cold]
    pub(super) fn shed(&mut self, path: &str) {
        let mut moved = Vec::new();
        let owned = &mut self.owned;
        self.slots.retain(|held| {
            if held.kind != Kind::OwnedTree {
                return true;
            }
            let root = held.field.path();
            let above = path.strip_prefix(root);
            let Some(rest) = above.and_then(|rest| rest.strip_prefix('.')) else {
                return true;
            };
            match owned.get_mut(held.number() as usize) {
                Some(Value::Map(map)) => {
                    map.is_empty() || {
                        take_out(map, rest, root, &mut moved);
                        !map.is_empty()
                    }
                }
                _ => false,
            }
        });
        for (path, map) in moved {
            if self.slots.len() < MAX_FIELDS {
                // No name from data: it is the beginning of a known one.
                let field = Field::new(&path);
                self.slots.push(Slot::owned(field, self.owned.len()));
                self.owned.push(map);
            }
        }
    }
}

/// Takes what stands at `path` below `root` out of the map, and with it the maps on the way, which go to `moved`.
fn take_out(
    map: &mut Vec<(String, Value)>,
    path: &str,
    root: &str,
    moved: &mut Vec<(String, Value)>,
) {
    map.retain_mut(|(key, value)| {
        let Some(rest) = path.strip_prefix(key.as_str()) else {
            return true;
        };
        if let Some(rest) = rest.strip_prefix('.') {
            if let Value::Map(below) = value {
                let root = format!("{root}.{key}");
                take_out(below, rest, &root, moved);
                if !below.is_empty() {
                    moved.push((root, std::mem::replace(value, Value::Null)));
                }
            }
            return false;
        }
        !rest.is_empty()
    });
}
