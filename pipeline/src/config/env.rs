//! Where variables, secrets and files come from: the machine, or a test's own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Largest file that is read for a configuration or a secret [bytes].
const MAX_FILE: u64 = 16 << 20;

/// The world outside, as far as a configuration may look at it.
pub trait Env {
    /// A variable of the environment.
    fn var(&self, name: &str) -> Option<String>;
    /// The text of a file.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// The `*.toml` files of a folder, by name; `None` where the path is no folder.
    fn folder(&self, path: &Path) -> Option<io::Result<Vec<PathBuf>>>;
    /// The name of this host.
    fn host(&self) -> String;
}

/// The machine this program runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnv;

impl Env for SystemEnv {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        use std::io::Read;
        let mut file = std::fs::File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder"));
        }
        let mut bytes = Vec::new();
        (&mut file).take(MAX_FILE + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "is larger than 16 MiB",
            ));
        }
        String::from_utf8(bytes).map_err(|e| {
            let line = e.as_bytes()[..e.utf8_error().valid_up_to()]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("is not UTF-8 (line {line})"),
            )
        })
    }

    fn folder(&self, path: &Path) -> Option<io::Result<Vec<PathBuf>>> {
        if !path.is_dir() {
            return None;
        }
        let list = || {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(path)? {
                let path = entry?.path();
                let hidden = path
                    .file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with('.'));
                if !hidden && path.extension().is_some_and(|e| e == "toml") && !path.is_dir() {
                    files.push(path);
                }
            }
            files.sort();
            Ok(files)
        };
        Some(list())
    }

    fn host(&self) -> String {
        // PVE itself cuts at the first dot (`PVE/INotify.pm`), and a node must have one name.
        let name = rustix::system::uname();
        let name = name.nodename().to_string_lossy();
        name.split('.').next().unwrap_or(&name).to_owned()
    }
}

/// A world made up for a test: some variables and some files.
#[derive(Clone, Debug, Default)]
pub struct FakeEnv {
    /// Variables by name.
    pub vars: BTreeMap<String, String>,
    /// Texts by path.
    pub files: BTreeMap<PathBuf, String>,
}

impl FakeEnv {
    /// Nothing at all.
    pub fn new() -> Self {
        FakeEnv::default()
    }

    /// One more variable.
    #[must_use]
    pub fn with_var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// One more file.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>, text: &str) -> Self {
        self.files.insert(path.into(), text.to_owned());
        self
    }
}

impl Env for FakeEnv {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        self.files
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
    }

    fn folder(&self, path: &Path) -> Option<io::Result<Vec<PathBuf>>> {
        let below: Vec<PathBuf> = self
            .files
            .keys()
            .filter(|file| file.parent() == Some(path))
            .cloned()
            .collect();
        let toml = below
            .iter()
            .filter(|file| file.extension().is_some_and(|e| e == "toml"))
            .cloned()
            .collect();
        (!below.is_empty()).then_some(Ok(toml))
    }

    fn host(&self) -> String {
        "testhost".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_configuration_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("latin.toml"), b"a = 1\nb = \"\xe4\"\n").unwrap();
        std::fs::File::create(path("huge.toml"))
            .unwrap()
            .set_len(MAX_FILE + 1)
            .unwrap();
        std::fs::write(path(".hidden.toml"), "").unwrap();
        std::fs::write(path("notes.txt"), "").unwrap();
        std::fs::create_dir(path("sub.toml")).unwrap();
        let why = |name: &str| SystemEnv.read(&path(name)).unwrap_err().to_string();
        assert_eq!(why("latin.toml"), "is not UTF-8 (line 2)");
        assert_eq!(why("huge.toml"), "is larger than 16 MiB");
        assert_eq!(why("sub.toml"), "is a folder");
        assert_eq!(
            SystemEnv.read(&path("none")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let list = SystemEnv.folder(folder.path()).unwrap().unwrap();
        assert_eq!(list, [path("huge.toml"), path("latin.toml")]);
        assert!(SystemEnv.folder(&path("latin.toml")).is_none());
        assert!(!SystemEnv.host().is_empty());
    }
}
