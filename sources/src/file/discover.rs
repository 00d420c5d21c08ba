//! Which files there are: `include` and `exclude`, and the siblings of a rotated log.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use glob::{MatchOptions, Pattern};

use super::family::Name;
use super::identity::FileId;
use super::notes::Notes;
use super::reader::mtime;

/// Most files of one source [files]; more are an operator's mistake, and are told.
const FILES: usize = 50_000;

/// A file that was found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) name: Name,
    pub(crate) id: FileId,
    /// [bytes]
    pub(crate) size: u64,
    /// ns since 1970
    pub(crate) mtime: i64,
}

/// What is read and what is left out.
pub(crate) struct Globs {
    include: Vec<Include>,
    exclude: Vec<Pattern>,
}

enum Include {
    Path(PathBuf),
    Pattern(String),
}

/// `*` stays inside one folder, and a leading dot is an ordinary character.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

impl Globs {
    /// Fails with the place in the list and what is wrong there.
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self, GlobError> {
        let pattern = |list: &'static str, at: usize, text: &str| {
            Pattern::new(text).map_err(|error| GlobError {
                list,
                at,
                why: format!("{} at its character {}", error.msg, error.pos + 1),
            })
        };
        let mut known = Vec::new();
        for (at, text) in include.iter().enumerate() {
            pattern("include", at, text)?;
            if !Path::new(text).is_absolute() {
                return Err(GlobError {
                    list: "include",
                    at,
                    why: "a path begins with `/`".into(),
                });
            }
            known.push(if text.contains(['*', '?', '[']) {
                Include::Pattern(text.clone())
            } else {
                Include::Path(text.into())
            });
        }
        let exclude = exclude
            .iter()
            .enumerate()
            .map(|(at, text)| pattern("exclude", at, text))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            include: known,
            exclude,
        })
    }

    /// Folders in which something may happen.
    pub(crate) fn folders(&self) -> Vec<PathBuf> {
        let folder = |include: &Include| match include {
            Include::Path(path) => path.parent().map(Path::to_owned),
            Include::Pattern(text) => {
                let fixed = &text[..text.find(['*', '?', '[']).unwrap_or(text.len())];
                fixed
                    .rfind('/')
                    .map(|at| PathBuf::from(&fixed[..at.max(1)]))
            }
        };
        let mut folders: Vec<_> = self.include.iter().filter_map(folder).collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// All files there are now, each once, by path.
    pub(crate) fn list(&self, now: Duration, notes: &mut Notes) -> Vec<Found> {
        let mut all = Vec::new();
        for include in &self.include {
            match include {
                Include::Path(path) => self.look(path, true, now, notes, &mut all),
                Include::Pattern(text) => {
                    let Ok(paths) = glob::glob_with(text, MATCHING) else {
                        continue;
                    };
                    for path in paths {
                        match path {
                            Ok(path) => self.look(&path, false, now, notes, &mut all),
                            Err(error) => cannot_read(now, notes, error.path(), error.error()),
                        }
                    }
                }
            }
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all.dedup_by(|a, b| a.path == b.path);
        all
    }

    pub(crate) fn excludes(&self, path: &Path) -> bool {
        self.exclude.iter().any(|pattern| {
            pattern.matches_path_with(path, MATCHING)
                || !pattern.as_str().contains('/')
                    && path
                        .file_name()
                        .is_some_and(|name| pattern.matches_path_with(Path::new(name), MATCHING))
        })
    }

    /// `named`: the operator wrote this very path.
    fn look(
        &self,
        path: &Path,
        named: bool,
        now: Duration,
        notes: &mut Notes,
        all: &mut Vec<Found>,
    ) {
        if self.excludes(path) {
            return;
        }
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if std::fs::symlink_metadata(path).is_ok() {
                    notes.error(now, "broken_symlink", path, || {
                        format!("{} is a symbolic link to nothing; mend the link or exclude it; it is tried again", path.display())
                    });
                } else if named {
                    notes.news(now, "not_there", path, || {
                        format!(
                            "{} does not exist yet; it is read from its beginning once it does",
                            path.display()
                        )
                    });
                }
                return;
            }
            Err(error) => return cannot_read(now, notes, path, &error),
        };
        if meta.is_dir() {
            if named {
                notes.error(now, "is_a_folder", path, || {
                    format!("{0} is a folder and only files are read; write \"{0}/*.log\", say; it is tried again", path.display())
                });
            }
            return;
        }
        if !meta.is_file() {
            notes.error(now, "not_a_file", path, || {
                format!("{} is a device, socket or FIFO and only files are read; exclude it, or read it through `stdin`", path.display())
            });
            return;
        }
        if all.len() >= FILES {
            notes.error(now, "too_many_files", Path::new(""), || {
                format!("more than {FILES} files match `include`; those after {} are not read; narrow the pattern", path.display())
            });
            return;
        }
        all.push(Found::new(path.to_owned(), &meta));
    }
}

impl Found {
    pub(crate) fn new(path: PathBuf, meta: &std::fs::Metadata) -> Self {
        let name = Name::of(&path);
        Self {
            path,
            name,
            id: FileId::of(meta),
            size: meta.len(),
            mtime: mtime(meta),
        }
    }
}

/// A log and all its rotated siblings, the oldest first, whether they match `include` or not.
pub(crate) fn siblings(base: &Path) -> Vec<Found> {
    let folder = base.parent().unwrap_or(Path::new("/"));
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut all: Vec<Found> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| Name::of(path).base == base)
        .filter_map(|path| {
            std::fs::metadata(&path)
                .ok()
                .filter(std::fs::Metadata::is_file)
                .map(|meta| Found::new(path, &meta))
        })
        .collect();
    all.sort_by(|a, b| (&a.name.rank, a.mtime, &a.path).cmp(&(&b.name.rank, b.mtime, &b.path)));
    all
}

/// Says what is in the way and how to take it away.
pub(crate) fn cannot_read(now: Duration, notes: &mut Notes, path: &Path, error: &io::Error) {
    if error.kind() == io::ErrorKind::PermissionDenied {
        notes.error(now, "permission_denied", path, || {
            format!(
                "{} may not be read by this user; give the service CAP_DAC_READ_SEARCH, or the file's group; it is tried again",
                path.display()
            )
        });
    } else {
        notes.error(now, "read_failed", path, || {
            format!(
                "{} cannot be read: {error}; it is tried again",
                path.display()
            )
        });
    }
}

/// A pattern that is none.
#[derive(Debug, PartialEq)]
pub(crate) struct GlobError {
    /// `include` or `exclude`.
    pub(crate) list: &'static str,
    /// Its place in the list, from 0.
    pub(crate) at: usize,
    pub(crate) why: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(found: &[Found]) -> Vec<String> {
        found
            .iter()
            .map(|found| {
                found
                    .path
                    .file_name()
                    .unwrap()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect()
    }

    #[test]
    fn files_are_found_and_everything_else_has_its_message() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a.log", "a.log.1", "b.txt", ".hidden.log", "skip.log"] {
            std::fs::write(at(name), "x").unwrap();
        }
        std::fs::create_dir(at("folder.log")).unwrap();
        symlink(at("nowhere"), at("broken.log")).unwrap();
        let of = |name: &str| at(name).display().to_string();
        let globs = Globs::new(
            &[
                of("*.log*"),
                of("a.log"),
                of("folder.log"),
                of("missing.log"),
            ],
            &["skip*".to_owned(), of("none/*")],
        )
        .unwrap();
        let mut notes = Notes::default();
        assert_eq!(
            names(&globs.list(Duration::ZERO, &mut notes)),
            [".hidden.log", "a.log", "a.log.1"]
        );
        let mut told: Vec<_> = notes
            .take_warnings()
            .iter()
            .map(|warning| warning.kind)
            .collect();
        told.sort_unstable();
        assert_eq!(told, ["broken_symlink", "is_a_folder", "not_there"]);
        assert_eq!(globs.folders(), [folder.path()]);
    }

    #[test]
    fn siblings_come_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "a.log",
            "a.log.1",
            "a.log.2.gz",
            "a.log.10.gz",
            "other.log.1",
        ] {
            std::fs::write(folder.path().join(name), "x").unwrap();
        }
        let found = siblings(&folder.path().join("a.log"));
        assert_eq!(
            names(&found),
            ["a.log.10.gz", "a.log.2.gz", "a.log.1", "a.log"]
        );
    }

    #[test]
    fn a_bad_pattern_is_told_with_its_place() {
        let error = Globs::new(&["/ok".into(), "/a/[".into()], &[])
            .err()
            .unwrap();
        assert_eq!((error.list, error.at), ("include", 1));
        assert_eq!(
            Globs::new(&["relative.log".into()], &[]).err().unwrap().at,
            0
        );
    }
}
