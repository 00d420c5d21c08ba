//! A folder like PVE's, and a node that writes into it the way PVE does.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of one node's tasks.
pub(super) struct Node {
    folder: tempfile::TempDir,
    /// Tasks made so far.
    made: u32,
}

/// 2026-01-26 08:15:30 UTC.
pub(super) const BEGIN: u32 = 0x6977_22A2;

impl Node {
    pub(super) fn new() -> Node {
        Node {
            folder: tempfile::tempdir().unwrap(),
            made: 0,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// The UPID of a task that begins a second after the one before.
    pub(super) fn upid(&mut self, kind: &str, id: &str) -> String {
        self.made += 1;
        let n = self.made;
        format!(
            "UPID:pve1:{:08X}:01C8F2A4:{:08X}:{kind}:{id}:alice@pve:",
            0x4_0000_u32 + n,
            BEGIN + n
        )
    }

    /// Writes `active` as PVE does: aside, then renamed.
    pub(super) fn active(&self, lines: &[String]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.file("active.tmp.77"), text).unwrap();
        fs::rename(self.file("active.tmp.77"), self.file("active")).unwrap();
    }

    /// Adds to `index` as it is.
    pub(super) fn append(&self, text: &str) {
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .open(self.file("index"))
            .unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }

    /// A task that has ended, a second after it began, in `index`; gives its UPID.
    pub(super) fn ended(&mut self, kind: &str, id: &str, status: &str) -> String {
        let upid = self.upid(kind, id);
        self.end(&upid, status);
        upid
    }

    pub(super) fn end(&self, upid: &str, status: &str) {
        self.append(&format!("{} {status}\n", self.ending(upid)));
    }

    /// The UPID and the time of its end.
    pub(super) fn ending(&self, upid: &str) -> String {
        let start = u32::from_str_radix(upid.split(':').nth(4).unwrap(), 16).unwrap();
        format!("{upid} {:08X}", start + 1)
    }

    pub(super) fn rotate(&self) {
        fs::rename(self.file("index"), self.file("index.1")).unwrap();
    }

    /// The log of a task, last written at the end of the task.
    pub(super) fn log(&self, upid: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let start = upid.split(':').nth(4).unwrap();
        let folder = self.file(&start[7..]);
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join(upid);
        fs::write(&path, text).unwrap();
        let secs = u64::from_str_radix(start, 16).unwrap() + 1;
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(at)
            .unwrap();
        path
    }
}
