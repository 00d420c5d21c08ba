//! `UPID:node:pid:pstart:starttime:type:id:user:`, the name of a task (`PVE/UPID.pm`).

use thiserror::Error;

use crate::clock::Time;

/// A task's name in its parts. Numbers are hexadecimal in the text, of either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upid<'a> {
    /// Short name of the node that ran it.
    pub node: &'a str,
    /// Process id of the worker.
    pub pid: u32,
    /// When the process began [clock ticks since boot]; eight digits, nine after 497 days.
    pub pstart: u64,
    /// When the task began, by the node's clock; whole seconds.
    pub start: Time,
    /// The type, like `qmdestroy`.
    pub kind: &'a str,
    /// What it is about, as the type has it; may be empty.
    pub id: &'a str,
    /// Who asked: `name@realm`, with `!token` where a token did.
    pub user: &'a str,
}

/// Why a text is no UPID.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UpidError {
    /// It begins otherwise.
    #[error("it does not begin with \"UPID:\"")]
    Prefix,
    /// A part is missing, so the colon behind it is.
    #[error("the {0} is missing or does not end in a colon")]
    Missing(&'static str),
    /// A part is not as it must be.
    #[error("the {part} {found:?} is not {expected}")]
    Odd {
        /// Which.
        part: &'static str,
        /// What stands there, at most 64 letters of it.
        found: String,
        /// What may stand there.
        expected: &'static str,
    },
    /// Something follows the last colon.
    #[error("{0:?} stands behind its end")]
    Trailing(String),
    /// That of another product.
    #[error("it has a part more before the start, as those of Proxmox Backup Server have")]
    BackupServer,
}

impl<'a> Upid<'a> {
    /// Reads a whole text.
    pub fn parse(text: &'a str) -> Result<Upid<'a>, UpidError> {
        let (upid, rest) = Upid::read(text)?;
        match rest {
            "" => Ok(upid),
            rest => Err(UpidError::Trailing(shown(rest))),
        }
    }

    /// The first UPID in a text, with its own text; what follows it may not be part of it.
    pub fn find(text: &'a str) -> Option<(&'a str, Upid<'a>)> {
        text.match_indices("UPID:").find_map(|(at, _)| {
            let (upid, rest) = Upid::read(&text[at..]).ok()?;
            Some((&text[at..text.len() - rest.len()], upid))
        })
    }

    /// Reads one from the beginning of a text; the rest is what follows it.
    pub fn read(text: &'a str) -> Result<(Upid<'a>, &'a str), UpidError> {
        let mut rest = text.strip_prefix("UPID:").ok_or(UpidError::Prefix)?;
        let mut part = |name| {
            let (part, after) = rest.split_once(':').ok_or(UpidError::Missing(name))?;
            rest = after;
            Ok(part)
        };
        let node = part("node")?;
        let (pid, pstart, start) = (
            part("process id")?,
            part("process start")?,
            part("start time")?,
        );
        let kind = part("type")?;
        // Eight hexadecimal digits are no type that PVE has; a fourth number is.
        if is_hex(kind, 8..=8) && is_hex(start, 8..=8) {
            return Err(UpidError::BackupServer);
        }
        let (id, user) = (part("id")?, part("user")?);
        if !is_node(node) {
            return Err(odd("node", node, "a host name"));
        }
        let number = |name, text: &str, digits, expected| {
            if !is_hex(text, digits) {
                return Err(odd(name, text, expected));
            }
            u64::from_str_radix(text, 16).map_err(|_| odd(name, text, expected))
        };
        let eight = "eight hexadecimal digits";
        let pid = number("process id", pid, 8..=8, eight)?;
        let pstart = number(
            "process start",
            pstart,
            8..=9,
            "eight or nine hexadecimal digits",
        )?;
        let start = number("start time", start, 8..=8, eight)?;
        for (name, text, may_be_empty) in [
            ("type", kind, false),
            ("id", id, true),
            ("user", user, false),
        ] {
            if text.is_empty() && !may_be_empty {
                return Err(UpidError::Missing(name));
            }
            if text.contains(|c: char| c == '/' || c.is_whitespace()) {
                return Err(odd(name, text, "free of spaces and slashes"));
            }
        }
        let upid = Upid {
            node,
            pid: pid as u32,
            pstart,
            start: Time::from_secs(start as i64),
            kind,
            id,
            user,
        };
        Ok((upid, rest))
    }
}

fn is_hex(text: &str, digits: std::ops::RangeInclusive<usize>) -> bool {
    digits.contains(&text.len()) && text.bytes().all(|c| c.is_ascii_hexdigit())
}

/// `[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?`
fn is_node(text: &str) -> bool {
    let edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || *c == b'-')
}

fn odd(part: &'static str, found: &str, expected: &'static str) -> UpidError {
    UpidError::Odd {
        part,
        found: shown(found),
        expected,
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_shape_that_pve_writes_is_read() {
        let upid =
            Upid::parse("UPID:pve1:0003A733:01C904E4:697722D1:qmdestroy:104:alice@pve!automation:")
                .unwrap();
        assert_eq!(
            (upid.node, upid.pid, upid.pstart),
            ("pve1", 239_411, 29_951_204)
        );
        assert_eq!(upid.start, Time::from_secs(1_769_415_377));
        assert_eq!(
            (upid.kind, upid.id, upid.user),
            ("qmdestroy", "104", "alice@pve!automation")
        );
        for good in [
            "UPID:pve2:000FED6E:070C17A9:6977231A:vzdump::root@pam:",
            "UPID:pve1:0003A9E4:01C97561:69772432:qmmove:100-scsi0>101-scsi1:alice@pve:",
            "UPID:pve3:00000303:100001388:69772496:aptupdate::root@pam:",
            "UPID:p:0000000a:0000000b:6977000c:auth-realm-sync:x:a@b!c@d\"\\!e:",
        ] {
            assert!(Upid::parse(good).is_ok(), "{good}");
        }
        let text =
            "<root@pam> end task UPID:pve2:000FED6E:070C17A9:6977231A:vzdump::root@pam: job errors";
        let (whole, upid) = Upid::find(text).unwrap();
        assert_eq!(
            whole,
            "UPID:pve2:000FED6E:070C17A9:6977231A:vzdump::root@pam:"
        );
        assert_eq!(upid.id, "");
    }

    #[test]
    fn what_is_broken_is_told_with_its_place() {
        let why = |text| Upid::parse(text).unwrap_err().to_string();
        assert_eq!(why("upid:x"), "it does not begin with \"UPID:\"");
        assert_eq!(
            why("UPID:pve1:0003A733:01C904E4:697722D1:qmstart:104:root@pam"),
            "the user is missing or does not end in a colon"
        );
        assert_eq!(
            why("UPID:pve1:3A733:01C904E4:697722D1:qmstart:104:root@pam:"),
            "the process id \"3A733\" is not eight hexadecimal digits"
        );
        assert_eq!(
            why("UPID:-pve1:0003A733:01C904E4:697722D1:qmstart:104:root@pam:"),
            "the node \"-pve1\" is not a host name"
        );
        assert_eq!(
            why("UPID:pve1:0003A733:01C904E4:697722D1:qm start:104:root@pam:"),
            "the type \"qm start\" is not free of spaces and slashes"
        );
        assert_eq!(
            why("UPID:pbs:0003A733:01C904E4:00000001:697722D1:backup:x:root@pam:"),
            "it has a part more before the start, as those of Proxmox Backup Server have"
        );
        assert!(why("UPID:pve1:0003A733:01C904E4:697722D1::104:root@pam:").contains("type"));
        assert!(why("UPID:p:0003A733:01C904E4:697722D1:x:1:r@p: OK").contains("behind its end"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(UPID:)?[ -~:é]{0,80}") {
            let _ = Upid::parse(&text);
            let _ = Upid::find(&text);
        }
    }
}
