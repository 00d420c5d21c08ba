//! Silences: until when no messages go out about which alerts, who said so, and why.
//!
//! They lie in one JSON file in `data_dir`, which commands and the admin server change under a lock and the running
//! program reads again when it changes. A silence that ended stays in the file for a day, so that its end can be told.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pipeline::{Event, Time, write_durably};
use serde::{Deserialize, Serialize};

use super::look::{Matcher, Written};

/// The file in `data_dir`.
pub const FILE: &str = "silences.json";
/// Most silences at once.
pub const MOST: usize = 1000;
/// Longest reason or name of an author [characters].
pub const LONGEST: usize = 500;
/// Longest file [bytes].
const LONGEST_FILE: u64 = 4 << 20;
/// How long one that is over stays in the file.
const KEPT: std::time::Duration = std::time::Duration::from_secs(86_400);

/// One silence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// Eight hexadecimal digits.
    pub id: String,
    /// What the alerts are like.
    pub r#match: Written,
    /// When it was made [ns since 1970].
    pub made: Time,
    /// When it ends [ns since 1970].
    pub until: Time,
    /// Who made it.
    pub author: String,
    /// Why.
    pub reason: String,
    /// When it was taken back, and by whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<(Time, String)>,
}

impl Silence {
    /// A new one; what is wrong with it otherwise.
    pub fn new(
        matching: Written,
        now: Time,
        until: Time,
        author: &str,
        reason: &str,
    ) -> Result<Silence, String> {
        if matching.is_empty() {
            return Err(
                "a silence of all alerts is none: say which, like rule=PVR-201 or node=pve1"
                    .to_owned(),
            );
        }
        Matcher::new(&matching).map_err(|wrong| {
            let told = wrong.iter().map(|(field, why)| format!("{field} {why}"));
            told.collect::<Vec<_>>().join("; ")
        })?;
        if until <= now {
            return Err("it ends before it begins".to_owned());
        }
        if until.since(now) > std::time::Duration::from_secs(366 * 86_400) {
            return Err("it would last for more than a year; disable the rule instead".to_owned());
        }
        let short = |what: &str, text: &str| {
            let text = text.trim();
            match text.chars().count() {
                0 => Err(format!("say the {what}: it is part of the audit trail")),
                n if n > LONGEST => {
                    Err(format!("the {what} has {n} characters, at most {LONGEST}"))
                }
                _ => Ok(pipeline::printable(text).into_owned()),
            }
        };
        Ok(Silence {
            id: format!("{:08x}", fastrand::u32(..)),
            r#match: matching,
            made: now,
            until,
            author: short("author", author)?,
            reason: short("reason", reason)?,
            removed: None,
        })
    }

    /// Whether it holds messages back.
    pub fn is_active(&self, now: Time) -> bool {
        self.removed.is_none() && now < self.until
    }

    fn ended(&self) -> Time {
        self.removed.as_ref().map_or(self.until, |(at, _)| *at)
    }

    /// What it is about, in words: `rule=PVR-201 node=pve1,pve2`.
    pub fn about(&self) -> String {
        let parts = self.r#match.iter().map(|(field, values)| match values {
            super::look::Values::One(value) => format!("{field}={value}"),
            super::look::Values::Several(values) => format!("{field}={}", values.join(",")),
        });
        parts.collect::<Vec<_>>().join(" ")
    }
}

/// A silence for people and programs: times as text.
pub fn to_json(silence: &Silence, now: Time) -> serde_json::Value {
    let mut json = serde_json::json!({
        "id": silence.id,
        "match": silence.r#match,
        "active": silence.is_active(now),
        "made": silence.made.to_string(),
        "until": silence.until.to_string(),
        "author": silence.author,
        "reason": silence.reason,
    });
    if let Some((at, by)) = &silence.removed {
        json["removed"] = serde_json::json!({ "at": at.to_string(), "by": by });
    }
    json
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    silences: Vec<Silence>,
}

/// The silences of a folder of data.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
}

impl Store {
    /// Those of the program whose data lies in `data_dir`.
    pub fn new(data_dir: &Path) -> Store {
        Store {
            folder: data_dir.to_owned(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }

    /// All of them, those that are over for less than a day too.
    pub fn all(&self) -> io::Result<Vec<Silence>> {
        let file = match File::open(self.path()) {
            Ok(file) => file,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(why) => return Err(why),
        };
        let mut text = Vec::new();
        file.take(LONGEST_FILE + 1).read_to_end(&mut text)?;
        if text.len() as u64 > LONGEST_FILE {
            return Err(io::Error::other(
                "the file is too long to be one of silences",
            ));
        }
        let content: Content = serde_json::from_slice(&text)?;
        if content.version != 1 {
            let why = format!("version {} of the file is not known here", content.version);
            return Err(io::Error::other(why));
        }
        Ok(content.silences)
    }

    /// Adds one.
    pub fn add(&self, silence: Silence, now: Time) -> io::Result<()> {
        self.change(now, |silences| {
            let active = silences.iter().filter(|held| held.is_active(now)).count();
            if active >= MOST {
                let why = format!("there are {MOST} silences already; remove some");
                return Err(io::Error::other(why));
            }
            silences.push(silence);
            Ok(())
        })
    }

    /// Ends the one whose id begins so, and says which it was; `None` where there is no such one, or several.
    pub fn remove(&self, id: &str, by: &str, now: Time) -> io::Result<Option<Silence>> {
        self.change(now, |silences| {
            let mut found = silences
                .iter_mut()
                .filter(|held| held.is_active(now) && !id.is_empty() && held.id.starts_with(id));
            let (Some(one), None) = (found.next(), found.next()) else {
                return Ok(None);
            };
            let by: String = pipeline::printable(by).chars().take(LONGEST).collect();
            one.removed = Some((now, by));
            Ok(Some(one.clone()))
        })
    }

    fn change<T>(
        &self,
        now: Time,
        change: impl FnOnce(&mut Vec<Silence>) -> io::Result<T>,
    ) -> io::Result<T> {
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.folder.join("silences.lock"))?;
        lock.lock()?;
        let mut silences = self.all()?;
        let result = change(&mut silences)?;
        silences.retain(|held| now.since(held.ended()) < KEPT);
        let content = Content {
            version: 1,
            silences,
        };
        write_durably(&self.path(), &serde_json::to_vec_pretty(&content)?)?;
        // A command may run as root while the program does not: who owns the folder owns what lies in it.
        let owner = std::fs::metadata(&self.folder)?;
        use std::os::unix::fs::MetadataExt;
        if std::fs::metadata(self.path())?.uid() != owner.uid() {
            for path in [self.path(), self.folder.join("silences.lock")] {
                std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))?;
            }
        }
        Ok(result)
    }

    fn stamp(&self) -> Option<(SystemTime, u64)> {
        let about = std::fs::metadata(self.path()).ok()?;
        use std::os::unix::fs::MetadataExt;
        Some((about.modified().ok()?, about.ino()))
    }
}

/// The silences as the running program sees them.
pub(super) struct Watched {
    store: Store,
    stamp: Option<Option<(SystemTime, u64)>>,
    pub(super) all: Vec<(Silence, Matcher)>,
}

impl Watched {
    pub(super) fn new(store: Store) -> Watched {
        Watched {
            store,
            stamp: None,
            all: Vec::new(),
        }
    }

    /// Reads the file again if it is another one. What cannot be read changes nothing.
    pub(super) fn look(&mut self) -> bool {
        let stamp = self.store.stamp();
        if self.stamp == Some(stamp) {
            return false;
        }
        self.stamp = Some(stamp);
        match self.store.all() {
            Ok(all) => {
                let read = |silence: Silence| match Matcher::new(&silence.r#match) {
                    Ok(matcher) => Some((silence, matcher)),
                    Err(wrong) => {
                        tracing::error!(
                            id = silence.id,
                            ?wrong,
                            "a silence cannot be understood and silences nothing"
                        );
                        None
                    }
                };
                self.all = all.into_iter().take(MOST * 2).filter_map(read).collect();
                true
            }
            Err(why) => {
                tracing::error!(%why, path = %self.store.path().display(), "the silences cannot be read; those known before stay in force");
                false
            }
        }
    }

    /// The silence that holds back messages about this alert.
    pub(super) fn of(&self, alert: &Event, now: Time) -> Option<&Silence> {
        let mut active = self
            .all
            .iter()
            .filter(|(silence, _)| silence.is_active(now));
        active
            .find(|(_, matcher)| matcher.holds(alert))
            .map(|(silence, _)| silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silences_are_kept_ended_and_refused_with_a_reason() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let now = Time::from_secs(1_000_000);
        let hour = std::time::Duration::from_secs(3600);
        let matching: Written = serde_json::from_str(r#"{"rule": "PVR-201"}"#).unwrap();
        let silence =
            |reason: &str| Silence::new(matching.clone(), now, now.after(hour), "root", reason);
        assert!(silence(" ").is_err());
        assert!(Silence::new(Written::new(), now, now.after(hour), "a", "b").is_err());
        assert!(Silence::new(matching.clone(), now, now, "a", "b").is_err());
        let one = silence("maintenance").unwrap();
        store.add(one.clone(), now).unwrap();
        assert_eq!(store.all().unwrap().first(), Some(&one));
        assert_eq!(store.remove("", "bob", now).unwrap(), None);
        let gone = store.remove(&one.id[..5], "bob", now).unwrap().unwrap();
        assert!(!gone.is_active(now) && one.is_active(now));
        let later = now.after(KEPT).after(hour);
        store
            .add(
                Silence {
                    until: later.after(hour),
                    ..silence("again").unwrap()
                },
                later,
            )
            .unwrap();
        assert_eq!(store.all().unwrap().len(), 1, "what ended long ago is gone");

        std::fs::write(folder.path().join(FILE), "garbage").unwrap();
        assert!(store.all().is_err());
        assert!(store.add(silence("more").unwrap(), now).is_err());
        let mut watched = Watched::new(store);
        assert!(!watched.look() && watched.all.is_empty());
    }
}
