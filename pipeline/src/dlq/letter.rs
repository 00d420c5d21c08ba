//! One dead letter as a line of text, and the reading of many.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::segment::segments;
use crate::clock::Time;
use crate::component::Reason;

/// Why an event is dead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why<T = String> {
    /// The kind, as the metric label has it.
    pub kind: T,
    /// What the other side said.
    pub text: T,
}

/// More of what the other side said is not kept [bytes].
const LONGEST_WHY: usize = 4096;

impl<'a> From<&'a Reason> for Why<&'a str> {
    fn from(reason: &'a Reason) -> Why<&'a str> {
        Why {
            kind: reason.kind.name(),
            text: &reason.text[..reason.text.floor_char_boundary(LONGEST_WHY)],
        }
    }
}

/// What stands before the event.
#[derive(Debug, Serialize)]
pub(super) struct Head<'a> {
    pub(super) dead_at: &'a str,
    pub(super) component: &'a str,
    #[serde(rename = "type")]
    pub(super) type_name: &'a str,
    pub(super) reason: Why<&'a str>,
    pub(super) attempts: u32,
}

impl Head<'_> {
    /// Writes a whole line; `event` writes the JSON of the event.
    pub(super) fn write(&self, out: &mut Vec<u8>, event: impl FnOnce(&mut Vec<u8>)) {
        serde_json::to_writer(&mut *out, self).expect("texts and numbers are always valid JSON");
        // The closing brace makes room for one more member.
        out.pop();
        out.extend_from_slice(b",\"event\":");
        event(out);
        out.extend_from_slice(b"}\n");
    }
}

/// A dead letter, as it is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Letter {
    /// When it was refused, RFC 3339.
    pub dead_at: String,
    /// The component that could not get rid of it.
    pub component: String,
    /// The type of that component.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Why.
    pub reason: Why,
    /// How often it was tried.
    pub attempts: u32,
    /// The event, nested.
    pub event: serde_json::Value,
}

impl Letter {
    /// The event's id, 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        self.event
            .pointer("/event/id")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    }
}

/// Which letters are meant; what is `None` does not matter.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of this component.
    pub component: Option<String>,
    /// Only of this kind of reason.
    pub reason: Option<String>,
    /// Only events whose id begins with this.
    pub id: Option<String>,
    /// Only those that died before this.
    pub before: Option<Time>,
}

impl Filter {
    /// Whether this letter is meant.
    pub fn takes(&self, letter: &Letter) -> bool {
        let is =
            |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        is(&self.component, &letter.component)
            && is(&self.reason, &letter.reason.kind)
            && self
                .id
                .as_ref()
                .is_none_or(|id| letter.id().starts_with(id.as_str()))
            && self
                .before
                .is_none_or(|before| Time::parse(&letter.dead_at).is_some_and(|at| at < before))
    }

    /// Whether it takes every letter.
    pub fn is_open(&self) -> bool {
        self.component.is_none()
            && self.reason.is_none()
            && self.id.is_none()
            && self.before.is_none()
    }
}

/// The components that have dead letters below `data_dir`, by name.
///
/// # Errors
/// The folder is there but cannot be read.
pub fn components(data_dir: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(super::folder(data_dir)) {
        Ok(entries) => entries,
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(why) => return Err(why),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A longer line is not taken into memory [bytes]; no event becomes this long.
const LONGEST: u64 = 64 << 20;

/// One line of a file of dead letters.
#[derive(Debug)]
pub enum Line {
    /// A letter.
    Letter(Box<Letter>),
    /// Something else, and why it is not one.
    Unreadable(String),
}

/// The lines of one file, in order. A last line without its newline is not there yet.
pub struct Lines {
    file: BufReader<File>,
    text: Vec<u8>,
}

/// The files of one component, oldest first; none where it has none.
pub fn lines(data_dir: &Path, component: &str) -> io::Result<Vec<(PathBuf, Lines)>> {
    let folder = super::folder(data_dir).join(component);
    let files = match segments(&folder) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Vec::new(),
        files => files?,
    };
    files
        .into_iter()
        .map(|(_, path)| Ok((path.clone(), Lines::open(&path)?)))
        .collect()
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Lines> {
        Ok(Lines {
            file: BufReader::with_capacity(256 << 10, File::open(path)?),
            text: Vec::new(),
        })
    }

    /// The raw text of the line that was given last, without its newline.
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    fn read(&mut self) -> io::Result<Option<Line>> {
        self.text.clear();
        (&mut self.file)
            .take(LONGEST)
            .read_until(b'\n', &mut self.text)?;
        if self.text.pop() != Some(b'\n') {
            if self.text.len() as u64 + 1 < LONGEST {
                return Ok(None);
            }
            let why = format!(
                "{}: a line of more than {LONGEST} bytes",
                io::ErrorKind::InvalidData
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Some(match serde_json::from_slice(&self.text) {
            Ok(letter) => Line::Letter(Box::new(letter)),
            Err(why) => Line::Unreadable(why.to_string()),
        }))
    }
}

impl Iterator for Lines {
    type Item = io::Result<Line>;

    fn next(&mut self) -> Option<io::Result<Line>> {
        self.read().transpose()
    }
}
