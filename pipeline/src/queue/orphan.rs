//! Queues that hold events and have no sink any more, and queues of another version: found before anything starts.

use std::path::{Path, PathBuf};

use super::inspect::queues;
use super::open::{OpenError, list};
use super::{folder, holds_something};
use crate::component::Place;
use crate::config::{BufferKind, Diagnostic, Graph};

/// A queue that holds events, and that no sink empties.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// The name its sink had.
    pub sink: String,
    /// Where it is.
    pub folder: PathBuf,
}

impl Orphan {
    /// What is the matter.
    pub fn message(&self) -> String {
        format!(
            "the disk queue of \"{}\" holds events, and no sink is called that",
            self.sink
        )
    }

    /// What to do.
    pub fn help(&self) -> String {
        format!(
            "call a sink \"{}\" again and it delivers them; `pvetrail queue dump {folder}` shows them; delete {folder} when nobody needs them",
            self.sink,
            folder = self.folder.display()
        )
    }
}

/// The queues below the data folder of this graph that hold events and have no sink in it. A folder that cannot be read
/// holds none.
pub fn orphans(graph: &Graph) -> Vec<Orphan> {
    let all = queues(&graph.globals.data_dir).unwrap_or_default();
    let lonely = |(sink, folder): &(String, PathBuf)| {
        !graph.sinks.iter().any(|node| node.id == *sink) && holds_something(folder)
    };
    all.into_iter()
        .filter(lonely)
        .map(|(sink, folder)| Orphan { sink, folder })
        .collect()
}

/// The same as warnings of a configuration.
pub fn warnings(graph: &Graph) -> impl Iterator<Item = Diagnostic> {
    orphans(graph).into_iter().map(|orphan| {
        Diagnostic::warning(
            Place::NONE,
            format!("sinks.{}", orphan.sink),
            orphan.message(),
        )
        .with_help(orphan.help())
    })
}

/// Whether the queues of this graph are ones that this version reads.
///
/// # Errors
/// One of them was written by another version. Whatever else is wrong with a queue may pass, and is waited for.
pub(crate) fn readable(graph: &Graph, data_dir: &Path) -> Result<(), OpenError> {
    for node in &graph.sinks {
        let folder = folder(data_dir).join(&node.id);
        let is_there = node.engine.buffer.kind == BufferKind::Disk || holds_something(&folder);
        if is_there && let Err(why @ OpenError::Version { .. }) = list(&folder) {
            return Err(why);
        }
    }
    Ok(())
}
