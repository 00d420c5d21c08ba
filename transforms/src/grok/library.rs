//! The patterns that `%{NAME}` can name: Logstash's, Proxmox VE's, and what an operator adds.
//!
//! A file of patterns has one a line, `NAME pattern`; lines that begin with `#` are comments. A later definition of a
//! name takes the place of an earlier one: built in, then folders, then definitions written in the configuration.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Bytes that one file of patterns may have [bytes].
const MAX_FILE: u64 = 4 << 20;

/// Which spelling of field names Logstash's patterns are taken in.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    serde::Deserialize,
    serde::Serialize,
    schemars::JsonSchema,
)]
pub enum Spelling {
    /// Elastic Common Schema, `source.ip`.
    #[default]
    #[serde(rename = "ecs-v1")]
    EcsV1,
    /// The names from before it, `clientip`.
    #[serde(rename = "legacy", alias = "disabled")]
    Legacy,
}

macro_rules! files {
    ($folder:literal: $($name:literal)*) => {
        &[$(include_str!(concat!("../../../configs/patterns/", $folder, "/", $name))),*]
    };
}

static LEGACY: &[&str] = files!("legacy": "aws" "bacula" "bind" "bro" "exim" "firewalls" "grok-patterns" "haproxy"
    "httpd" "java" "junos" "linux-syslog" "maven" "mcollective" "mongodb" "nagios" "postgresql" "rails" "redis"
    "ruby" "squid");
static ECS_V1: &[&str] = files!("ecs-v1": "aws" "bacula" "bind" "bro" "exim" "firewalls" "grok-patterns" "haproxy"
    "httpd" "java" "junos" "linux-syslog" "maven" "mcollective" "mongodb" "nagios" "postgresql" "rails" "redis"
    "ruby" "squid" "zeek");
static PVE: &[&str] = files!("pve": "proxmox-ve" "vmware");

static LEGACY_LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::of(&[LEGACY, PVE]));
static ECS_V1_LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::of(&[ECS_V1, PVE]));

/// The shipped text of a base pattern, which is the same in both spellings.
pub(super) fn base_text(name: &str) -> Option<&'static str> {
    match LEGACY_LIBRARY.definitions.get(name) {
        Some(Cow::Borrowed(text)) => Some(text),
        _ => None,
    }
}

/// Definitions by name.
#[derive(Clone, Debug, Default)]
pub struct Library {
    definitions: HashMap<Cow<'static, str>, Cow<'static, str>>,
}

/// Why a folder or file of patterns could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The file system said no.
    #[error("{}: {source}", path.display())]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// What the system answered.
        source: std::io::Error,
    },
    /// A file is too large to be one of patterns.
    #[error("{}: a file of patterns has at most 4 MiB", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// A line is neither a comment nor `NAME pattern`.
    #[error("{}:{line}: this is not `NAME pattern`", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

impl Library {
    /// No patterns at all.
    pub fn empty() -> Library {
        Library::default()
    }

    /// What is built in: Logstash's patterns in this spelling, and those of Proxmox VE.
    pub fn builtin(spelling: Spelling) -> Library {
        Library::shared(spelling).clone()
    }

    /// The same, not to be added to.
    pub fn shared(spelling: Spelling) -> &'static Library {
        match spelling {
            Spelling::EcsV1 => &ECS_V1_LIBRARY,
            Spelling::Legacy => &LEGACY_LIBRARY,
        }
    }

    fn of(parts: &[&[&'static str]]) -> Library {
        let mut library = Library::empty();
        for line in parts
            .iter()
            .copied()
            .flatten()
            .flat_map(|file| file.lines())
        {
            if let Some((name, text)) = definition(line) {
                library
                    .definitions
                    .insert(Cow::Borrowed(name), Cow::Borrowed(text));
            }
        }
        library
    }

    /// Adds a definition, or puts it in the place of one.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) {
        self.definitions
            .insert(Cow::Owned(name.into()), Cow::Owned(text.into()));
    }

    /// Adds the files of a folder in the order of their names (or one file), and says how many definitions that were.
    pub fn add_path(&mut self, path: &Path) -> Result<usize, LibraryError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| LibraryError::Read { path, source }
        };
        if !std::fs::metadata(path).map_err(failed(path))?.is_dir() {
            return self.add_file(path);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(failed(path))? {
            let entry = entry.map_err(failed(path))?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            let file = entry.path();
            if !hidden && std::fs::metadata(&file).map_err(failed(&file))?.is_file() {
                files.push(file);
            }
        }
        files.sort();
        files.iter().map(|file| self.add_file(file)).sum()
    }

    fn add_file(&mut self, path: &Path) -> Result<usize, LibraryError> {
        use std::io::Read;
        let failed = |source| LibraryError::Read {
            path: path.to_owned(),
            source,
        };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(MAX_FILE + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > MAX_FILE {
            return Err(LibraryError::TooLarge {
                path: path.to_owned(),
            });
        }
        let mut added = 0;
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let Some((name, text)) = definition(line) else {
                return Err(LibraryError::Line {
                    path: path.to_owned(),
                    line: number + 1,
                });
            };
            self.add(name, text);
            added += 1;
        }
        Ok(added)
    }

    /// The text of a definition.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.definitions.get(name).map(Cow::as_ref)
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.definitions.keys().map(Cow::as_ref).collect();
        names.sort_unstable();
        names
    }

    /// The name most like this one, if one is like it at all.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let wanted = name.to_ascii_uppercase();
        let most = 1 + name.len() / 4;
        let mut best: Option<(usize, &str)> = None;
        for known in self.definitions.keys().map(Cow::as_ref) {
            let distance = distance(&wanted, &known.to_ascii_uppercase(), most);
            let better =
                |best: (usize, &str)| distance < best.0 || (distance == best.0 && known < best.1);
            if distance <= most && best.is_none_or(better) {
                best = Some((distance, known));
            }
        }
        best.map(|best| best.1)
    }
}

/// `NAME pattern` of one line; the pattern is what follows the first run of spaces, its own trailing spaces included.
fn definition(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let end = line.find([' ', '\t'])?;
    let name = &line[..end];
    let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let text = line[end..]
        .trim_start_matches([' ', '\t'])
        .trim_end_matches('\r');
    (named && !text.is_empty()).then_some((name, text))
}

/// Letters to change, add, drop or swap between two names, or more than `most`.
fn distance(a: &str, b: &str, most: usize) -> usize {
    if a.len().abs_diff(b.len()) > most {
        return most + 1;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (row[j] + usize::from(x != y))
                .min(row[j + 1] + 1)
                .min(next[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before[j - 1] + 1);
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}
