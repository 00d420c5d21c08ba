//! What the program answers to the one who started it.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Done,
    /// It worked, and found something: a failed test, dead letters, events left undelivered.
    Found,
    /// It did not work.
    Failed,
    /// The configuration does not hold (`EX_CONFIG`).
    BadConfig,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Found => 1,
            Exit::Failed => 2,
            Exit::BadConfig => 78,
        })
    }
}
