//! What a new configuration changes in a running one.

use super::graph::{Graph, Node};
use super::tree::{Node as Tree, Table, Value};

/// Component ids by what a reload has to do with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Only in the new one.
    pub added: Vec<String>,
    /// Only in the old one.
    pub removed: Vec<String>,
    /// In both, with another type, other options or other inputs.
    pub changed: Vec<String>,
    /// In both and the same.
    pub unchanged: Vec<String>,
    /// Whether something above the components changed (admin server, redaction, log, folder of data).
    pub globals: bool,
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty() && !self.globals
    }
}

impl std::fmt::Display for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<String> = [
            ("added", &self.added),
            ("removed", &self.removed),
            ("changed", &self.changed),
        ]
        .iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(word, ids)| format!("{word} {}", ids.join(", ")))
        .collect();
        if self.globals {
            parts.push("options of the whole program changed".to_owned());
        }
        if parts.is_empty() {
            return f.write_str("nothing changed");
        }
        f.write_str(&parts.join("; "))
    }
}

impl Graph {
    /// What `new` changes in this one. Places, comments and the order of keys do not count; values of variables do.
    pub fn changes(&self, new: &Graph) -> Changes {
        let mut changes = Changes {
            globals: self.globals != new.globals,
            ..Changes::default()
        };
        for node in self.nodes() {
            match new.node(&node.id) {
                None => changes.removed.push(node.id.clone()),
                Some(other) if same(node, other) && self.same_tables(node, new) => {
                    changes.unchanged.push(node.id.clone())
                }
                Some(_) => changes.changed.push(node.id.clone()),
            }
        }
        changes.added.extend(
            new.nodes()
                .filter(|node| self.node(&node.id).is_none())
                .map(|node| node.id.clone()),
        );
        changes
    }

    /// Whether the tables that the component uses mean the same in `new`.
    fn same_tables(&self, node: &Node, new: &Graph) -> bool {
        let meaning = |graph: &Graph, id: &str| graph.tables.meanings.get(id).cloned();
        let mut tables = node.component.tables().into_iter();
        tables.all(|id| meaning(self, &id) == meaning(new, &id))
    }
}

fn same(a: &Node, b: &Node) -> bool {
    a.kind == b.kind
        && a.type_name == b.type_name
        && a.inputs == b.inputs
        && a.engine == b.engine
        && same_table(&a.meaning, &b.meaning)
}

fn same_table(a: &Table, b: &Table) -> bool {
    a.0.len() == b.0.len()
        && a.0.iter().all(|entry| {
            b.get(&entry.key)
                .is_some_and(|other| same_value(&entry.node, &other.node))
        })
}

fn same_value(a: &Tree, b: &Tree) -> bool {
    match (&a.value, &b.value) {
        (Value::Table(a), Value::Table(b)) => same_table(a, b),
        (Value::List(a), Value::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b))
        }
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (a, b) => a == b,
    }
}
