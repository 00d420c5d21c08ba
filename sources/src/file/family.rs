//! Families: a log and its rotated siblings, told by their names.
//!
//! - `access.log`, `access.log.1`, `access.log.2.gz`, `access.log-20260126`, `access.log-20260126-1769412345.gz` are one family
//! - among siblings the name says which is older; the name without a suffix is the youngest

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

/// The place of a file among its siblings; orders the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rank {
    /// `.3`: the higher the older.
    Numbered(u32),
    /// `-20260126`: the later the younger.
    Dated(String),
    /// No suffix: the one that is written to.
    Current,
}

impl Rank {
    pub(crate) fn is_current(&self) -> bool {
        *self == Self::Current
    }

    fn class(&self) -> u8 {
        match self {
            Self::Numbered(_) => 0,
            Self::Dated(_) => 1,
            Self::Current => 2,
        }
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Numbered(a), Self::Numbered(b)) => b.cmp(a),
            (Self::Dated(a), Self::Dated(b)) => a.cmp(b),
            _ => self.class().cmp(&other.class()),
        }
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A path taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    /// The path without suffixes: where the youngest generation is written.
    pub(crate) base: PathBuf,
    pub(crate) rank: Rank,
    /// `xz`, `zst`, … as the name says it, lower case; `gz` too.
    pub(crate) compressed: Option<&'static str>,
}

const COMPRESSED: [&str; 6] = ["gz", "zst", "xz", "bz2", "lz4", "lzma"];

impl Name {
    pub(crate) fn of(path: &Path) -> Self {
        let whole = || Self {
            base: path.to_owned(),
            rank: Rank::Current,
            compressed: None,
        };
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return whole();
        };
        let (stem, compressed) = match name.rsplit_once('.') {
            Some((stem, last)) if !stem.is_empty() => match COMPRESSED
                .iter()
                .find(|known| last.eq_ignore_ascii_case(known))
            {
                Some(known) => (stem, Some(*known)),
                None => (name, None),
            },
            _ => (name, None),
        };
        // A compressed file is never the one that is written to.
        let plain = if compressed.is_some() {
            Rank::Numbered(0)
        } else {
            Rank::Current
        };
        let (base, rank) = numbered(stem)
            .or_else(|| dated(stem))
            .unwrap_or((stem, plain));
        Self {
            base: path.with_file_name(base),
            rank,
            compressed,
        }
    }

    /// Was this file put aside, so that nobody is meant to write to it any more?
    pub(crate) fn is_rotated(&self) -> bool {
        !self.rank.is_current()
    }
}

/// `access.log.12` → (`access.log`, 12). More than three digits are a process number or a year, not a rotation.
fn numbered(stem: &str) -> Option<(&str, Rank)> {
    let (base, digits) = stem.rsplit_once('.')?;
    let fits = !base.is_empty()
        && (1..=3).contains(&digits.len())
        && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| Some((base, Rank::Numbered(digits.parse().ok()?))))?
}

/// `access.log-20260126`, `-2026012609`, `-20260126-1769412345`, `-2026-01-26`, `.2026-01-26`.
fn dated(stem: &str) -> Option<(&str, Rank)> {
    let bytes = stem.as_bytes();
    (1..stem.len())
        .filter(|&at| matches!(bytes[at], b'-' | b'.' | b'_'))
        .find_map(|at| {
            let date = &stem[at + 1..];
            is_date(date).then(|| {
                (
                    &stem[..at],
                    Rank::Dated(
                        date.bytes()
                            .filter(u8::is_ascii_digit)
                            .map(char::from)
                            .collect(),
                    ),
                )
            })
        })
}

fn is_date(text: &str) -> bool {
    let digits = |text: &str, counts: &[usize]| {
        counts.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
    };
    let plausible = |year: &str, month: &str, day: &str| {
        matches!(year.get(..2), Some("19" | "20"))
            && ("01"..="12").contains(&month)
            && ("01"..="31").contains(&day)
    };
    if !text.is_ascii() {
        return false;
    }
    if let Some((date, rest)) = text
        .split_at_checked(8)
        .filter(|(date, _)| digits(date, &[8]))
    {
        let rest = rest.strip_prefix(['-', '_', 'T']).unwrap_or(rest);
        return plausible(&date[..4], &date[4..6], &date[6..])
            && (rest.is_empty() || digits(rest, &[2, 4, 6, 10]));
    }
    let mut parts = text.splitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(year), Some(month), Some(day)) => {
            digits(year, &[4])
                && digits(month, &[2])
                && digits(day, &[2])
                && plausible(year, month, day)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> (String, Rank, Option<&'static str>) {
        let name = Name::of(Path::new(path));
        (name.base.display().to_string(), name.rank, name.compressed)
    }

    #[test]
    fn a_rotated_name_leads_back_to_its_family() {
        let base = "/var/log/pveproxy/access.log".to_owned();
        for (suffix, rank, compressed) in [
            ("", Rank::Current, None),
            (".1", Rank::Numbered(1), None),
            (".2.gz", Rank::Numbered(2), Some("gz")),
            ("-20260126", Rank::Dated("20260126".into()), None),
            (
                "-2026012609.gz",
                Rank::Dated("2026012609".into()),
                Some("gz"),
            ),
            (
                "-20260126-1769412345.gz",
                Rank::Dated("202601261769412345".into()),
                Some("gz"),
            ),
            (".2026-01-26", Rank::Dated("20260126".into()), None),
            (".3.XZ", Rank::Numbered(3), Some("xz")),
        ] {
            assert_eq!(
                name(&format!("{base}{suffix}")),
                (base.clone(), rank, compressed),
                "{suffix}"
            );
        }
    }

    #[test]
    fn what_only_looks_like_a_rotation_is_a_family_of_its_own() {
        for path in [
            "/log/app-1234",
            "/log/qemu-100.log",
            "/log/worker.12345",
            "/log/.1",
            "/log/a-99999999",
            "/log/UPID:pve1:1",
            "/log/.gz",
        ] {
            assert_eq!(name(path), (path.to_owned(), Rank::Current, None), "{path}");
        }
    }

    #[test]
    fn the_oldest_comes_first() {
        let mut names = ["a.log", "a.log.1", "a.log.10.gz", "a.log.2.gz"]
            .map(|path| Name::of(Path::new(path)).rank);
        names.sort();
        assert_eq!(
            names,
            [
                Rank::Numbered(10),
                Rank::Numbered(2),
                Rank::Numbered(1),
                Rank::Current
            ]
        );
        assert!(Rank::Dated("20260125".into()) < Rank::Dated("20260126".into()));
    }
}
