//! What a line says, without the time, the node and the program that a log file puts in front.

/// Shortest header: `Jan 26 09:40:11 n ` [bytes].
const SHORTEST: usize = "Jan 26 09:40:11 n ".len();
/// Longest header that is looked for [bytes].
const LONGEST: usize = 160;

/// The text behind `… NODE PROGRAM[PID]: `; the whole line where it has no such header.
pub(super) fn said<'a>(line: &'a str, program: &str) -> &'a str {
    let head = &line[..line.floor_char_boundary(LONGEST)];
    let stamp = |first: u8| first.is_ascii_digit() || first.is_ascii_uppercase();
    if program.is_empty() || !line.bytes().next().is_some_and(stamp) {
        return line;
    }
    for (at, _) in head.match_indices(program) {
        if at < SHORTEST || !head[..at].ends_with(' ') {
            continue;
        }
        let rest = &line[at + program.len()..];
        let rest = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((pid, rest)) if pid.bytes().all(|digit| digit.is_ascii_digit()) => rest,
            _ => rest,
        };
        if let Some(text) = rest.strip_prefix(':') {
            return text.trim_start();
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_left_out_and_nothing_else() {
        for (line, program, text) in [
            (
                "Feb  5 15:19:45 pve1 pveproxy[17155]: worker exit",
                "pveproxy",
                "worker exit",
            ),
            (
                "2026-01-26T09:42:40.004411+01:00 pve1 sudo:    alice : x",
                "sudo",
                "alice : x",
            ),
            ("worker exit", "pveproxy", "worker exit"),
            (
                "Restart of pveproxy: all is well",
                "pveproxy",
                "Restart of pveproxy: all is well",
            ),
            (
                "Feb  5 15:19:45 pve1 pveproxy[x]: worker exit",
                "pveproxy",
                "Feb  5 15:19:45 pve1 pveproxy[x]: worker exit",
            ),
            ("", "pveproxy", ""),
            (
                "Feb  5 15:19:45 pve1 pveproxy[17155]: worker exit",
                "",
                "Feb  5 15:19:45 pve1 pveproxy[17155]: worker exit",
            ),
        ] {
            assert_eq!(said(line, program), text);
        }
    }
}
