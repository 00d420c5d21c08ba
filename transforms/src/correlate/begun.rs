//! Who began a task: a call over the API, or somebody on the node, who left no line.

use pipeline::{Event, fields};

use super::names::NAMES;

/// Who began a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// Not told.
    Unknown,
    /// The daemon that serves the API.
    Api,
    /// A tool on the node, a timer, or the HA manager.
    Local,
    /// The HA manager, by a request that went before.
    Ha,
}

impl Begun {
    pub(super) const ALL: [Begun; 4] = [Begun::Unknown, Begun::Api, Begun::Local, Begun::Ha];
}

/// Who began the task, by the program that wrote the line of its start.
pub(super) fn begun(event: &Event) -> Begun {
    if event.str(NAMES.actor) == Some("ha") {
        return Begun::Ha;
    }
    // pvestatd notes the end of tasks that others began, and a worker may call itself `task`.
    let program = event.str(fields::PROCESS_NAME);
    let own = !matches!(program, Some("pvestatd" | "task"));
    if event.str(NAMES.attribution) == Some("local") && own {
        return Begun::Local;
    }
    if event.str(NAMES.phase) != Some("start") {
        return Begun::Unknown;
    }
    match (event.str(NAMES.origin), event.str(fields::PROCESS_NAME)) {
        (Some("task"), _) | (_, None) => Begun::Unknown,
        (_, Some("pvedaemon" | "pveproxy")) => Begun::Api,
        // The worker itself may call itself by another name.
        (_, Some("spiceproxy" | "task" | "pvestatd")) => Begun::Unknown,
        (_, Some(_)) => Begun::Local,
    }
}
