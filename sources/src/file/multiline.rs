//! Several lines that are one event: a line that matches `start` begins the next one.
//!
//! - the event's place in its generation is that of its last line
//! - a group is also over when nothing more comes for `timeout`, when its file is finished, or when it would outgrow
//!   `max_line_size`

use pipeline::{BuildError, Duration, Spanned};
use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

/// Lines that belong together.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Multiline {
    /// A regular expression that the first line of every event matches, like `^\d{4}-`.
    start: Spanned<String>,
    /// An event is over when nothing more comes for so long.
    #[serde(default = "timeout")]
    timeout: Duration,
}

fn timeout() -> Duration {
    Duration::from_secs(5)
}

impl Multiline {
    pub(crate) fn compile(&self) -> Result<(Regex, std::time::Duration), BuildError> {
        let compiled = RegexBuilder::new(&self.start).size_limit(1 << 20).build();
        match compiled {
            Ok(start) => Ok((start, self.timeout.get())),
            Err(error) => {
                let why = error.to_string();
                let last = why.lines().last().unwrap_or_default();
                Err(BuildError::at(
                    &self.start,
                    format!("this is no regular expression: {last}"),
                )
                .help("write what the first line of an event begins with, like '^\\d{4}-\\d\\d'"))
            }
        }
    }
}

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
