//! Datagrams that the kernel had no room for, as it counts them for each socket.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;

/// Reads the drops of one UDP socket.
#[derive(Debug)]
pub(super) struct Drops {
    inode: u64,
    table: &'static str,
    known: u64,
}

impl Drops {
    /// Of this socket; `None` where its inode cannot be told.
    pub(super) fn of(socket: &impl AsFd, v6: bool) -> Option<Self> {
        let inode = rustix::fs::fstat(socket).ok()?.st_ino;
        Some(Self {
            inode,
            table: if v6 {
                "/proc/net/udp6"
            } else {
                "/proc/net/udp"
            },
            known: 0,
        })
    }

    /// How many were dropped since the last call; nothing where the kernel does not say.
    pub(super) fn new_ones(&mut self) -> u64 {
        let Ok(table) = File::open(self.table) else {
            return 0;
        };
        let Some(all) = find(BufReader::new(table), self.inode) else {
            return 0;
        };
        let new = all.saturating_sub(self.known);
        self.known = all;
        new
    }
}

/// The last column of the line with this inode in its tenth.
fn find(table: impl BufRead, inode: u64) -> Option<u64> {
    for line in table.lines() {
        let line = line.ok()?;
        let mut columns = line.split_ascii_whitespace();
        let found = columns.nth(9)?.parse() == Ok(inode);
        if found {
            return columns.last()?.parse().ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_socket_is_found() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
            1234: 0100007F:0202 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 555 2 0000000000000000 7\n\
            1235: 00000000:0203 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 556 2 0000000000000000 4711\n";
        assert_eq!(find(table.as_bytes(), 556), Some(4711));
        assert_eq!(find(table.as_bytes(), 7), None);
        assert_eq!(find(&b"x y\n"[..], 7), None);
    }

    #[test]
    fn a_socket_that_overflows_shows_it() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = std::net::UdpSocket::bind(address) else {
                continue;
            };
            socket2::SockRef::from(&socket)
                .set_recv_buffer_size(4096)
                .unwrap();
            let to = socket.local_addr().unwrap();
            let mut drops = Drops::of(&socket, to.is_ipv6()).unwrap();
            assert_eq!(drops.new_ones(), 0);
            let sender = std::net::UdpSocket::bind(address).unwrap();
            for _ in 0..200 {
                sender.send_to(&[b'x'; 500], to).unwrap();
            }
            assert!(drops.new_ones() > 0, "{address}");
            assert_eq!(drops.new_ones(), 0);
        }
    }
}
