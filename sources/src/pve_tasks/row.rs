//! The lines of PVE's task lists.
//!
//! - `index`, `index.1`: `<upid> <end, 8 hex digits> <exit text>`
//! - `active`: `<upid> <0|1>[ <end> [<exit text>]]`; without an end the task runs

use pipeline::Time;
use pipeline::pve::Upid;

/// Longest UPID [bytes].
const LONGEST: usize = 255;

/// One line that was understood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    /// The whole UPID, as it is written.
    pub(super) text: &'a str,
    pub(super) upid: Upid<'a>,
    /// When the end of the task was noticed, and its exit text, which may be empty and may begin with a space.
    pub(super) end: Option<(Time, &'a str)>,
}

/// A line of `index` or `index.1`, without its end.
pub(super) fn index(line: &str) -> Result<Row<'_>, String> {
    let (text, rest) = split(line)?;
    let (end, status) = end(rest)?;
    Ok(Row {
        text,
        upid: upid(text)?,
        end: Some((end, status)),
    })
}

/// A line of `active`, without its end.
pub(super) fn active(line: &str) -> Result<Row<'_>, String> {
    let (text, rest) = split(line)?;
    let (saved, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    if saved != "0" && saved != "1" {
        return Err("after the UPID stands neither 0 nor 1".to_owned());
    }
    let end = match rest.trim_ascii() {
        "" => None,
        _ => Some(end(rest)?),
    };
    Ok(Row {
        text,
        upid: upid(text)?,
        end,
    })
}

fn split(line: &str) -> Result<(&str, &str), String> {
    line.split_once(' ').ok_or_else(|| match Upid::parse(line) {
        Ok(_) => "nothing stands behind the UPID".to_owned(),
        Err(why) => why.to_string(),
    })
}

fn upid(text: &str) -> Result<Upid<'_>, String> {
    // It is the name of a file as well.
    if text.len() > LONGEST {
        return Err(format!("no UPID is longer than {LONGEST} bytes"));
    }
    Upid::parse(text).map_err(|why| why.to_string())
}

/// Eight digits, a space, and the exit text to the end of the line.
fn end(rest: &str) -> Result<(Time, &str), String> {
    let (digits, status) = rest.split_once(' ').unwrap_or((rest, ""));
    if digits.len() != 8 || !digits.bytes().all(|c| c.is_ascii_hexdigit()) {
        return Err("the time of the end is not 8 hexadecimal digits".to_owned());
    }
    let secs = i64::from_str_radix(digits, 16).map_err(|why| why.to_string())?;
    Ok((Time::from_secs(secs), status))
}

/// Where a row begins inside a line that is two: a crash cut the first off, and PVE wrote on behind it. Only a place in the
/// first word counts, for an exit text may say anything.
pub(super) fn glued(line: &str) -> Option<usize> {
    let word = line.split(' ').next().unwrap_or_default();
    let at = word.rfind("UPID:").filter(|at| *at > 0)?;
    index(&line[at..]).is_ok().then_some(at)
}

/// Bytes as text: UTF-8, else Latin-1, which is what PVE's daemons write; true if it was the latter.
pub(super) fn text(bytes: &[u8]) -> (std::borrow::Cow<'_, str>, bool) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.into(), false),
        Err(_) => (
            bytes
                .iter()
                .map(|byte| char::from(*byte))
                .collect::<String>()
                .into(),
            true,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UPID: &str = "UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam:";

    #[test]
    fn every_shape_of_a_status_is_kept_as_it_is() {
        for status in [
            "OK",
            "WARNINGS: 12",
            " leading space",
            "command 'apt-get update' failed: exit code 100",
            "a \"quoted\" text: with: colons ",
            "",
            "unexpected status",
            "0",
        ] {
            let line = format!("{UPID} 697722A7 {status}");
            let row = index(&line).unwrap();
            assert_eq!(
                (row.text, row.end),
                (UPID, Some((Time::from_secs(0x6977_22A7), status)))
            );
            assert_eq!((row.upid.node, row.upid.kind), ("pve1", "qmstart"));
        }
        let bare = format!("{UPID} 697722A7");
        assert_eq!(index(&bare).unwrap().end.unwrap().1, "");
    }

    #[test]
    fn what_runs_has_no_end_whatever_it_says_of_being_saved() {
        let row = |line: &str| {
            active(&format!("{UPID} {line}")).map(|row| row.end.map(|e| e.1.to_owned()))
        };
        assert_eq!(row("0").unwrap(), None);
        assert_eq!(row("1").unwrap(), None);
        assert_eq!(row("0 ").unwrap(), None);
        assert_eq!(row("0 697722A7").unwrap().as_deref(), Some(""));
        assert_eq!(row("1 697722A7 OK").unwrap().as_deref(), Some("OK"));
        assert_eq!(row("0 697722A7  x").unwrap().as_deref(), Some(" x"));
        assert!(row("2 697722A7 OK").is_err());
        assert!(row("").is_err());
    }

    #[test]
    fn what_is_no_row_is_refused_with_a_reason() {
        for line in [
            "",
            "x",
            UPID,
            "UPID:pve1:0003A5B2:01C8F2A4:697722A2:qm start:100:root@pam: 697722A7 OK",
            "UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam 697722A7 OK",
            "UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam: 697722A OK",
            "UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam: 697722AG OK",
            "UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam: +97722A7 OK",
            "UPID:pve1:0003A5B2:697722A2:qmstart:100:root@pam: 697722A7 OK",
            "UPID:../..:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam: 697722A7 OK",
        ] {
            assert!(!index(line).unwrap_err().is_empty(), "{line}");
        }
        let long = UPID.replace("100", &"1".repeat(LONGEST));
        assert!(index(&format!("{long} 697722A7 OK")).is_err());
    }

    #[test]
    fn a_row_behind_one_that_was_cut_off_is_found() {
        let line = format!("UPID:pve1:0003A5B2:01C8{UPID} 697722A7 OK");
        assert_eq!(glued(&line), Some(23));
        assert!(index(&line).is_err());
        assert_eq!(
            glued(&format!("{UPID} 697722A7 see {UPID} 697722A7 OK")),
            None
        );
        assert_eq!(glued(&format!("x {UPID} 697722A7 OK")), None);
    }

    proptest! {
        /// Whatever PVE's grammar allows is read as it was written.
        #[test]
        fn reads_what_pve_writes(
            node in "[a-zA-Z0-9]([a-zA-Z0-9-]{0,20}[a-zA-Z0-9])?",
            pid in any::<u32>(),
            pstart in 0_u64..0xF_FFFF_FFFF,
            start in any::<u32>(),
            kind in "[^:\\s/]{1,16}",
            id in "[^:\\s/]{0,24}",
            user in "[^:\\s/]{1,24}@[A-Za-z][A-Za-z0-9._-]{1,9}(![A-Za-z][A-Za-z0-9._-]{1,9})?",
            end in any::<u32>(),
            status in "[^\n]{0,80}",
            saved in any::<bool>(),
        ) {
            let upid = format!("UPID:{node}:{pid:08X}:{pstart:08X}:{start:08X}:{kind}:{id}:{user}:");
            let line = format!("{upid} {end:08X} {status}");
            let row = index(&line).map_err(TestCaseError::fail)?;
            prop_assert_eq!(row.text, &upid);
            prop_assert_eq!((row.upid.node, row.upid.pid, row.upid.pstart), (node.as_str(), pid, pstart));
            prop_assert_eq!((row.upid.kind, row.upid.id, row.upid.user), (kind.as_str(), id.as_str(), user.as_str()));
            prop_assert_eq!(row.upid.start, Time::from_secs(i64::from(start)));
            prop_assert_eq!(row.end, Some((Time::from_secs(i64::from(end)), status.as_str())));
            let line = format!("{upid} {} {end:08X} {status}", u8::from(saved));
            prop_assert_eq!(active(&line).map_err(TestCaseError::fail)?.end, row.end);
        }

        /// Anything at all is a row or a reason, and never a panic.
        #[test]
        fn survives_anything(line in any::<Vec<u8>>(), cut in any::<prop::sample::Index>()) {
            let (line, _) = text(&line);
            for line in [line.as_ref(), &format!("{UPID} {line}"), &format!("UPID:{line} 697722A7 OK")] {
                let _ = (index(line), active(line), glued(line));
            }
            let whole = format!("{UPID} 697722A7 OK");
            let _ = (index(&whole[..cut.index(whole.len())]), active(&whole[..cut.index(whole.len())]));
        }
    }
}
