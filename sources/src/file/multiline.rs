//! Several lines that are one event: a line that matches `start` begins the next one.
//!
//! - the event's place in its generation is that of its last line
//! - a group is also over when nothing more comes for `timeout`, when its file is finished, or when it would outgrow
//!   `max_line_size`

use regex::bytes::Regex;

/// The lines that are held together.
#[derive(Clone)]
pub(crate) struct Group {
    start: Regex,
    /// Length of the whole lines held back, with their ends [bytes].
    pub(crate) len: usize,
    /// Where the last of them begins.
    pub(crate) last: u64,
}

impl Group {
    pub(crate) fn new(start: Regex) -> Self {
        Self {
            start,
            len: 0,
            last: 0,
        }
    }

    /// Does an event begin with this line?
    pub(crate) fn begins(&self, line: &[u8]) -> bool {
        self.start
            .is_match(line.strip_suffix(b"\r").unwrap_or(line))
    }
}
