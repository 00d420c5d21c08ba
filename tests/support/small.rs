//! A disk that is really full: a small file system of its own, which takes root.

#![allow(clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, gone with its value.
pub struct Small(PathBuf);

impl Small {
    /// Mounted at a path; `None` where that is not allowed, which is told.
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let out = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .output();
        match out {
            Ok(out) if out.status.success() => Some(Self(at.to_owned())),
            _ => {
                eprintln!("skipped: no file system can be mounted here");
                if let Some(list) = std::env::var_os("PVETRAIL_SKIPS") {
                    let old = std::fs::read_to_string(&list).unwrap_or_default();
                    std::fs::write(
                        list,
                        old + "full disk: no file system can be mounted here\n",
                    )
                    .unwrap();
                }
                None
            }
        }
    }

    /// Makes it larger or smaller.
    pub fn resize(&self, size: &str) {
        let size = format!("remount,size={size}");
        assert!(
            Command::new("mount")
                .args(["-o", &size])
                .arg(&self.0)
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
