//! Words to the person at the terminal. Log lines are `tracing`'s business, not this file's.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

/// Writes a line to standard output. False once nobody reads it any more.
pub(crate) fn line(text: impl Display) -> bool {
    write(&format!("{text}\n"))
}

/// Writes text to standard output as it is. False once nobody reads it any more.
pub(crate) fn write(text: &str) -> bool {
    let mut out = anstream::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => true,
        Err(why) if why.kind() == ErrorKind::BrokenPipe => false,
        Err(why) => {
            error(format!("standard output: {why}"));
            false
        }
    }
}

/// Says on standard error what went wrong.
pub(crate) fn error(text: impl Display) {
    // There is no third place to say it.
    let _ = writeln!(anstream::stderr(), "pvetrail: {text}");
}

/// Writes to standard error as it is.
pub(crate) fn aside(text: &str) {
    let _ = anstream::stderr().write_all(text.as_bytes());
}

/// Whether what is written to standard error may be coloured.
pub(crate) fn colour_on_stderr() -> bool {
    std::io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
