//! The input of the jobs: the same bytes for the same number of lines, on every machine and with every version of a crate.

use std::fmt::Write as _;
use std::io::{self, Write};

/// SplitMix64: enough randomness for a log file, and nobody can change it under us.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[(self.next() % of.len() as u64) as usize]
    }
}

/// Fifty lines share a second, as on a busy cluster; the day stays the same for 4.3 M lines.
fn clock(line: u64) -> (u64, u64, u64, u64) {
    let second = 1 + line / 50;
    (
        20 + second / 86_400 % 8,
        second / 3_600 % 24,
        second / 60 % 60,
        second % 60,
    )
}

/// `lines` lines of a pveproxy access log, about 121 bytes each.
pub(crate) fn access(lines: u64, mut to: impl Write) -> io::Result<()> {
    let users = [
        "root@pam",
        "admin@pve",
        "alice@pam",
        "bob@ldap",
        "automation@pve!terraform",
        "monitoring@pve!prom",
        "-",
    ];
    let methods = ["GET", "GET", "GET", "GET", "POST", "PUT", "DELETE"];
    let statuses = ["200", "200", "200", "200", "401", "403", "500", "596"];
    let mut dice = Dice(7);
    let mut line = String::with_capacity(256);
    for number in 0..lines {
        line.clear();
        let (day, hour, minute, second) = clock(number);
        match dice.between(0, 97) {
            n @ 0..50 => write!(line, "192.168.1.{}", n + 10),
            n @ 50..79 => write!(line, "::ffff:10.0.0.{}", n - 49),
            n => write!(line, "2001:db8::{:x}", n - 78),
        }
        .and_then(|()| write!(line, " - {} ", dice.one(&users)))
        .and_then(|()| {
            write!(
                line,
                "[{day:02}/11/2026:{hour:02}:{minute:02}:{second:02} +0100] \"{} ",
                dice.one(&methods)
            )
        })
        .and_then(|()| {
            let (node, guest) = (dice.between(1, 3), dice.between(100, 400));
            match dice.between(0, 7) {
                0 => write!(line, "/api2/json/cluster/resources"),
                1 => write!(line, "/api2/json/cluster/tasks"),
                2 => write!(line, "/api2/json/nodes/pve{node}/status"),
                3 => write!(
                    line,
                    "/api2/extjs/nodes/pve{node}/qemu/{guest}/status/current"
                ),
                4 => write!(
                    line,
                    "/api2/json/nodes/pve{node}/qemu/{guest}/rrddata?timeframe=hour&cf=AVERAGE"
                ),
                5 => write!(line, "/api2/extjs/access/ticket"),
                6 => write!(
                    line,
                    "/pve2/ext6/theme-crisp/resources/theme-crisp-all_1.css"
                ),
                _ => write!(line, "/api2/json/nodes/pve{node}/lxc/{guest}/config"),
            }
        })
        .and_then(|()| {
            writeln!(
                line,
                " HTTP/1.1\" {} {}",
                dice.one(&statuses),
                dice.between(10, 90_000)
            )
        })
        .expect("a String takes any text");
        to.write_all(line.as_bytes())?;
    }
    to.flush()
}

/// `lines` RFC 5424 messages, one a line, like those a node's rsyslog forwards.
pub(crate) fn syslog(lines: u64, mut to: impl Write) -> io::Result<()> {
    let priorities = ["30", "38", "86", "29"];
    let mut dice = Dice(11);
    let mut line = String::with_capacity(256);
    for number in 0..lines {
        line.clear();
        let (day, hour, minute, second) = clock(number);
        let (node, guest, pid) = (
            dice.between(1, 3),
            dice.between(100, 400),
            dice.between(500, 30_000),
        );
        let (priority, micros) = (dice.one(&priorities), dice.between(0, 999_999));
        let upid = format_args!(
            "{:08X}:{:08X}:691E{:04X}",
            dice.next() >> 44,
            dice.next() >> 34,
            number / 50 % 65_536
        )
        .to_string();
        write!(line, "<{priority}>1 2026-11-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z pve{node} ")
            .and_then(|()| match dice.between(0, 7) {
                0 => write!(line, "pvedaemon {pid} - - <root@pam> starting task UPID:pve{node}:{upid}:qmstart:{guest}:root@pam:"),
                1 => write!(line, "pvedaemon {pid} - - <alice@pve> end task UPID:pve{node}:{upid}:qmdestroy:{guest}:alice@pve: OK"),
                2 => write!(line, "pvedaemon {pid} - - authentication failure; rhost=::ffff:10.0.0.{node} user=root@pam msg=Authentication failure"),
                3 => write!(line, "pvedaemon {pid} - - <root@pam> successful auth for user 'root@pam'"),
                4 => write!(line, "sshd {pid} - - Failed password for invalid user admin from 203.0.113.{node} port {guest} ssh2"),
                5 => write!(line, "pmxcfs {pid} - - [status] notice: received log"),
                6 => write!(line, "corosync {pid} - - [KNET  ] link: host: {node} link: 0 is down"),
                _ => write!(line, "pve-firewall {pid} - - firewall update time ({node}.{guest} seconds)"),
            })
            .and_then(|()| writeln!(line))
            .expect("a String takes any text");
        to.write_all(line.as_bytes())?;
    }
    to.flush()
}
