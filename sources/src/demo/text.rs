//! How the lines look: byte for byte what pveproxy and rsyslog write.

use std::io::Write;

use super::entry::{Packet, Request, Said};
use super::world::HOUR;

/// The cluster's clocks are one hour east of UTC [ms].
pub(super) const ZONE: i64 = HOUR;

/// The time in both logs' spelling; the calendar is asked once per second.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: i64,
    access: String,
    journal: String,
    firewall: String,
}

impl Stamp {
    fn set(&mut self, when: i64) {
        let second = when.div_euclid(1000);
        if second == self.second && !self.access.is_empty() {
            return;
        }
        self.second = second;
        let local =
            jiff::Timestamp::from_second(second + ZONE / 1000).unwrap_or(jiff::Timestamp::MAX);
        let at = jiff::tz::TimeZone::UTC.to_datetime(local);
        let (h, m, s) = (at.hour(), at.minute(), at.second());
        let (year, month, day) = (at.year(), at.month(), at.day());
        self.access = format!("{day:02}/{month:02}/{year:04}:{h:02}:{m:02}:{s:02} +0100");
        self.journal = format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}");
        let name = MONTHS[usize::try_from(month - 1).unwrap_or(0) % 12];
        self.firewall = format!("{day:02}/{name}/{year:04}:{h:02}:{m:02}:{s:02} +0100");
    }

    /// `client - user [26/01/2026:09:15:02 +0100] "GET /path HTTP/1.1" 200 763`
    pub(super) fn access(&mut self, when: i64, request: &Request, out: &mut Vec<u8>) {
        self.set(when);
        let Request {
            client,
            user,
            call,
            status,
            length,
            ..
        } = request;
        let stamp = &self.access;
        // Writing into a vector cannot fail.
        let _ = write!(
            out,
            "{client} - {user} [{stamp}] \"{call} HTTP/1.1\" {status} "
        );
        let _ = match length {
            Some(length) => write!(out, "{length}"),
            None => write!(out, "-"),
        };
    }

    /// `2026-01-26T09:15:02.123456+01:00 pve1 sshd[1562]: text`
    pub(super) fn syslog(&mut self, when: i64, node: &str, said: &Said, out: &mut Vec<u8>) {
        self.set(when);
        let stamp = &self.journal;
        let Said { ident, pid, text } = said;
        let micros = micros(when, *pid);
        let _ = write!(out, "{stamp}.{micros:06}+01:00 {node} {ident}");
        if *pid > 0 {
            let _ = write!(out, "[{pid}]");
        }
        let _ = write!(out, ": {text}");
    }

    /// `0 6 PVEFW-HOST-IN 26/Jan/2026:09:30:14 +0100 policy DROP: IN=vmbr0 …`
    pub(super) fn firewall(&mut self, when: i64, packet: &Packet, out: &mut Vec<u8>) {
        self.set(when);
        let stamp = &self.firewall;
        let Packet { vmid, chain, text } = packet;
        let _ = write!(out, "{vmid} 6 {chain} {stamp} {text}");
    }
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Microseconds of the second. Milliseconds are the world's grain; the last three digits only have to differ from line to
/// line.
pub(super) fn micros(when: i64, pid: u32) -> i64 {
    when.rem_euclid(1000) * 1000 + i64::from(pid % 1000)
}
