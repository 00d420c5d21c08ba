//! A node of Proxmox VE as its files tell it, or a prepared tree of such files (`--root`).

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// Most that is read of one file [bytes].
const MOST: u64 = 16 << 20;
/// Longest wait for a file system; `/etc/pve` hangs when its daemon does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the files are.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    folder: PathBuf,
}

impl Root {
    /// `None` is the machine itself.
    pub(crate) fn new(folder: Option<&Path>) -> Root {
        let folder = folder.unwrap_or(Path::new("/"));
        Root {
            // A graph made for a tree must work from anywhere.
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
        }
    }

    /// Whether it is the machine itself, of which one may also ask what runs.
    pub(crate) fn is_live(&self) -> bool {
        self.folder == Path::new("/")
    }

    /// `/etc/pve` where it really is.
    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.folder.join(absolute.trim_start_matches('/'))
    }

    pub(crate) fn exists(&self, absolute: &str) -> bool {
        let path = self.path(absolute);
        patiently(move || fs::symlink_metadata(path).is_ok()).unwrap_or(false)
    }

    /// The text of a file, at most 16 MiB of it.
    pub(crate) fn text(&self, absolute: &str) -> io::Result<String> {
        let path = self.path(absolute);
        patiently(move || {
            let mut bytes = Vec::new();
            File::open(path)?.take(MOST).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        })?
    }

    /// The last whole lines of a file, at most so many bytes of them.
    pub(crate) fn end(&self, absolute: &str, most: u64) -> io::Result<String> {
        let path = self.path(absolute);
        patiently(move || {
            let mut file = File::open(path)?;
            let size = file.metadata()?.len();
            let from = size.saturating_sub(most);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(most).read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Ok(match (from, text.split_once('\n')) {
                (1.., Some((_, whole))) => whole.to_owned(),
                _ => text,
            })
        })?
    }

    /// Whether it can be read: a file opened, a folder listed.
    pub(crate) fn readable(&self, absolute: &str) -> io::Result<()> {
        let path = self.path(absolute);
        patiently(move || match fs::metadata(&path)?.is_dir() {
            true => fs::read_dir(&path).map(|_| ()),
            false => File::open(&path).map(|_| ()),
        })?
    }

    /// What a folder holds, by name; at most 100 000 of it.
    pub(crate) fn list(&self, absolute: &str) -> io::Result<Vec<(String, fs::Metadata)>> {
        let path = self.path(absolute);
        patiently(move || {
            let mut found = Vec::new();
            for entry in fs::read_dir(path)?.take(100_000) {
                let entry = entry?;
                // What is gone by now, or cannot be named, is of no interest.
                if let (Ok(about), Ok(name)) = (entry.metadata(), entry.file_name().into_string()) {
                    found.push((name, about));
                }
            }
            found.sort_by(|a, b| a.0.cmp(&b.0));
            Ok(found)
        })?
    }
}

/// Runs what may hang, for a while.
pub(crate) fn patiently<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        // Nobody waits any more: nothing to do about that.
        let _ = tell.send(work());
    });
    told.recv_timeout(PATIENCE).map_err(|_| {
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", PATIENCE.as_secs()),
        )
    })
}

/// What a node says of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    /// Its short name.
    pub(crate) name: Option<String>,
    /// The name of its cluster; a single node has none.
    pub(crate) cluster: Option<String>,
    /// The names of its nodes.
    pub(crate) members: Vec<String>,
    /// Whether the cluster agrees; `None` where nothing says so.
    pub(crate) quorate: Option<bool>,
}

impl Node {
    pub(crate) fn look(root: &Root) -> Node {
        let name = root.text("/etc/hostname").ok();
        let name = name.and_then(|text| {
            let short = text.trim().split('.').next()?.to_owned();
            (!short.is_empty()).then_some(short)
        });
        let corosync = root.text("/etc/pve/corosync.conf").unwrap_or_default();
        let cluster = corosync.lines().find_map(|line| {
            let (key, value) = line.trim().split_once(':')?;
            (key == "cluster_name").then(|| value.trim().to_owned())
        });
        let members = root.text("/etc/pve/.members").unwrap_or_default();
        let members: serde_json::Value = serde_json::from_str(&members).unwrap_or_default();
        let quorate = members["cluster"]["quorate"].as_i64().map(|q| q != 0);
        let cluster = cluster.or_else(|| members["cluster"]["name"].as_str().map(str::to_owned));
        let members = members["nodelist"].as_object();
        let members = members.map(|nodes| nodes.keys().cloned().collect());
        Node {
            name,
            cluster: cluster.filter(|name| !name.is_empty()),
            members: members.unwrap_or_default(),
            quorate,
        }
    }
}

/// The version of an installed Debian package.
pub(crate) fn package(root: &Root, name: &str) -> Option<String> {
    let status = root.text("/var/lib/dpkg/status").ok()?;
    let wanted = format!("Package: {name}");
    let block = status
        .split("\n\n")
        .find(|block| block.lines().next() == Some(wanted.as_str()))?;
    let value = |key: &str| block.lines().find_map(|line| line.strip_prefix(key));
    let installed = value("Status: ").is_some_and(|status| status.ends_with(" installed"));
    installed.then(|| value("Version: ").map(str::to_owned))?
}

/// Whether a dotted version is at least another; what follows the numbers does not count.
pub(crate) fn at_least(version: &str, least: &[u32]) -> bool {
    let numbers = version.split(|c: char| !c.is_ascii_digit());
    let mut numbers = numbers.map(|part| part.parse::<u32>().unwrap_or(0));
    for wanted in least {
        match numbers.next().unwrap_or(0).cmp(wanted) {
            std::cmp::Ordering::Equal => {}
            other => return other.is_gt(),
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(at_least("9.1.5", &[9, 1, 5]) && at_least("9.2.11", &[9, 1, 5]));
        assert!(at_least("10.0~rc1", &[9, 1, 5]) && !at_least("9.1.4-1", &[9, 1, 5]));
        assert!(!at_least("8.4.14", &[9, 1, 5]) && !at_least("", &[1]));
    }

    #[test]
    fn a_package_counts_only_while_it_is_installed() {
        let folder = std::env::temp_dir().join(format!("pvetrail-node-{}", std::process::id()));
        fs::create_dir_all(folder.join("var/lib/dpkg")).unwrap();
        fs::write(
            folder.join("var/lib/dpkg/status"),
            "Package: pve-manager\nStatus: install ok installed\nVersion: 9.2.11\n\nPackage: rsyslog\nStatus: deinstall ok config-files\nVersion: 8\n",
        )
        .unwrap();
        let root = Root::new(Some(&folder));
        assert_eq!(package(&root, "pve-manager").as_deref(), Some("9.2.11"));
        assert_eq!(package(&root, "rsyslog"), None);
        assert_eq!(package(&root, "pve"), None);
        fs::remove_dir_all(folder).unwrap();
    }
}
