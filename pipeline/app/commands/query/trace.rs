//! That somebody read the record is part of the record.

use std::path::Path;

use pipeline::inbox::{self, Note};

use crate::say;

/// Longest command line that is kept [letters].
const LONGEST: usize = 4000;

/// Leaves a note for the running program. A store read beside no data folder has nobody to tell, and says so.
pub(in crate::commands) fn leave(data_dir: Option<&Path>, store: &Path, rows: u64) {
    let Some(data_dir) = data_dir else {
        say::aside(
            "note: there is no inbox beside this store, so nobody is told that it was read\n",
        );
        return;
    };
    let command: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let note = Note {
        code: "PVE-9041".to_owned(),
        at: pipeline::Clock::system().now().0,
        command: command.join(" ").chars().take(LONGEST).collect(),
        object: store.display().to_string(),
        rows,
        pid: std::process::id(),
    };
    if let Err(why) = inbox::leave(data_dir, &note) {
        say::aside(&format!(
            "note: that the store was read is not recorded: {}: {why}\n",
            data_dir.join(inbox::FOLDER).display()
        ));
    }
}
