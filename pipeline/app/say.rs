//! Words to the person at the terminal. Log lines are `tracing`'s business, not this file's.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use pipeline::printable::is_unsafe;

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

/// JSON that a terminal cannot be harmed with: what JSON leaves as it is, like DEL and C1 controls, is escaped as well.
pub(crate) fn safe_json(json: &str) -> Cow<'_, str> {
    if !json.chars().any(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut line = String::new();
    for letter in json.chars() {
        if is_unsafe(letter) {
            // None of them lies beyond the 16 bits of one escape, and writing into a string cannot fail.
            let _ =
                std::fmt::Write::write_fmt(&mut line, format_args!("\\u{:04x}", u32::from(letter)));
        } else {
            line.push(letter);
        }
    }
    Cow::Owned(line)
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
