//! Calls that one node relayed to another. Both log it: the first with the client's address, the second with the address of
//! the first. The two lines are twins: same user, method, path and query, and an answer of the same length.
//!
//! Their times are by two clocks. Where two earlier calls agree on how these clocks differ, a twin is looked for within
//! five seconds; else within eleven minutes, and is then only believed where all that fit say the same.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pipeline::EventId;

use super::line::Resolved;
use super::pool::{At, Pool, Window};
use super::sessions::CLOCKS;
use super::{Correlate, SECOND};

/// Twins within five seconds, where it is known how the clocks differ.
const NARROW: Window = Window {
    before: 5 * SECOND,
    after: 5 * SECOND,
};
/// Where it is not.
pub(super) const WIDE: Window = Window {
    before: CLOCKS,
    after: CLOCKS,
};
/// The log of a relaying node must have been read up to the moment in question, by a clock that is known to this much.
pub(super) const CLOSE: i64 = 2 * SECOND;
/// Most lines that are looked at for one answer; where there are more, nothing is claimed.
const MOST: usize = 256;

impl Correlate {
    /// Whether the address is that of a node.
    pub(super) fn is_member(&self, ip: Option<IpAddr>) -> bool {
        ip.is_some_and(|ip| self.hosts.member(ip).is_some())
    }

    /// Where a line came from.
    pub(super) fn resolve(&self, no: u64) -> Resolved {
        let open = |candidates| Resolved::Open {
            candidates,
            twins: Vec::new(),
        };
        let Some(line) = self.lines.get(&no) else {
            return open(Vec::new());
        };
        let Some(ip) = line.ip else {
            return open(Vec::new());
        };
        let one = |via| Resolved::One {
            ip,
            via,
            twins: Vec::new(),
        };
        if line.target().is_some() {
            // The relaying node itself has the client's address, unless that is another node once more: then names do not
            // mean what they seem to.
            return match self.hosts.member(ip) {
                Some(node) if node.is_none_or(|node| *node != *line.host) => open(vec![ip]),
                _ => one(Some((*line.host).into())),
            };
        }
        let twins = line.twin().and_then(|twin| self.twins.get(twin));
        match (self.hosts.member(ip), twins) {
            (None, Some(twins)) => {
                // It may be the address of a node after all, if another node relayed such a call: a node has more addresses
                // than the list of members names.
                let near = twins.near(line.time.0, WIDE);
                if near.is_empty() {
                    return one(None);
                }
                let mut candidates: Vec<IpAddr> = near
                    .iter()
                    .take(MOST)
                    .filter_map(|(_, twin)| self.lines.get(twin)?.ip)
                    .collect();
                candidates.push(ip);
                candidates.sort_unstable();
                candidates.dedup();
                if candidates.len() == 1 {
                    one(None)
                } else {
                    open(candidates)
                }
            }
            (None, _) => one(None),
            // Nobody relays to itself: someone on the node called it by its own address.
            (Some(Some(node)), _) if *node == *line.host => one(None),
            (Some(node), Some(twins)) => self.twin(no, ip, node, twins),
            // The address of a node and no twin: who was behind it is not known.
            (Some(_), None) => open(vec![ip]),
        }
    }

    /// The client behind a line whose address is that of `node`.
    fn twin(&self, no: u64, ip: IpAddr, node: Option<&str>, twins: &Pool) -> Resolved {
        let unknown = |candidates: Vec<IpAddr>, twins: Vec<EventId>| Resolved::Open {
            candidates: if candidates.is_empty() {
                vec![ip]
            } else {
                candidates
            },
            twins,
        };
        let Some(line) = self.lines.get(&no) else {
            return unknown(Vec::new(), Vec::new());
        };
        let forwards = twins.near(line.time.0, WIDE);
        let arrivals = twins.takers(line.time.0, WIDE);
        if forwards.len() > MOST || arrivals.len() > MOST {
            return unknown(Vec::new(), Vec::new());
        }
        let from_node = |at: &&At| {
            let twin = self.lines.get(&at.1);
            twin.is_some_and(|twin| node.is_none_or(|node| *twin.host == *node))
        };
        let forwards: Vec<At> = forwards.iter().filter(from_node).copied().collect();
        let same = |at: &&At| {
            self.lines
                .get(&at.1)
                .is_some_and(|twin| twin.ip == Some(ip))
        };
        let arrivals: Vec<At> = arrivals.iter().filter(same).copied().collect();
        let relay: BTreeSet<&str> = forwards
            .iter()
            .filter_map(|(_, twin)| Some(&*self.lines.get(twin)?.host))
            .collect();
        let via = (relay.len() == 1).then(|| relay.first().copied()).flatten();
        let skew = via.and_then(|via| self.hosts.skew(via, &line.host, line.time));
        let (pool, window) = match skew {
            Some(skew) => {
                let acts = arrivals.iter().map(|(time, act)| (time + skew, *act));
                let pool = Pool {
                    acts: acts.collect(),
                    lines: forwards.into(),
                };
                (pool, NARROW)
            }
            None => {
                let pool = Pool {
                    acts: arrivals.into(),
                    lines: forwards.into(),
                };
                (pool, WIDE)
            }
        };
        let at = line.time.0 + skew.unwrap_or(0);
        let plan = pool.plan(at, window);
        let Some(place) = plan.place((at, no)) else {
            return unknown(Vec::new(), Vec::new());
        };
        let fits = &plan.lines[plan.reach(place)];
        let mut addresses: Vec<IpAddr> = fits
            .iter()
            .filter_map(|(_, twin)| self.lines.get(twin)?.ip)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        let ids = |list: &[At]| -> Vec<EventId> {
            let ids = list.iter().take(8);
            ids.filter_map(|(_, twin)| Some(self.lines.get(twin)?.id))
                .collect()
        };
        // Lines of the relaying node that were forgotten, or not read yet, might have fitted too.
        let forgotten = via
            .and_then(|via| self.hosts.log(via))
            .is_none_or(|log| at - window.before <= log.forgotten_to.0 || log.last.0 + CLOSE < at);
        if plan.is_sure(place) && !forgotten {
            let one = match addresses.as_slice() {
                [ip] => plan.given(place).map(|twin| (*ip, twin)),
                _ if skew.is_some() => plan.only(place).and_then(|twin| {
                    let ip = self.lines.get(&twin.1)?.ip?;
                    Some((ip, twin))
                }),
                _ => None,
            };
            if let Some((ip, twin)) = one {
                return Resolved::One {
                    ip,
                    via: via.map(Into::into),
                    twins: ids(&[twin]),
                };
            }
        }
        unknown(addresses, ids(fits))
    }

    /// Compares the clocks of two nodes by a call that both logged, where there was only one such call for minutes.
    pub(super) fn compare(&mut self, no: u64) {
        match self.lines.get_mut(&no) {
            Some(line) if line.target().is_none() && !line.compared => line.compared = true,
            _ => return,
        }
        let Some(line) = self.lines.get(&no) else {
            return;
        };
        let (Some(ip), Some(twins)) = (line.ip, line.twin().and_then(|twin| self.twins.get(twin)))
        else {
            return;
        };
        let Some(node) = self.hosts.member(ip).flatten() else {
            return;
        };
        let (forwards, arrivals) = (
            twins.near(line.time.0, WIDE),
            twins.takers(line.time.0, WIDE),
        );
        let ([forward], [arrival]) = (forwards, arrivals) else {
            return;
        };
        let twin = self.lines.get(&forward.1);
        if *arrival == (line.time.0, no) && twin.is_some_and(|twin| *twin.host == *node) {
            let node = node.to_owned();
            let (host, at) = (line.host.clone(), line.time);
            self.hosts.compare(&node, &host, forward.0 - at.0, at);
        }
    }

    /// Lines on the other node that a relayed call may have left there.
    pub(super) fn arrivals(&self, no: u64) -> Vec<EventId> {
        let Some(line) = self.lines.get(&no) else {
            return Vec::new();
        };
        let (Some(target), Some(twin)) = (line.target(), line.twin()) else {
            return Vec::new();
        };
        let Some(pool) = self.twins.get(twin) else {
            return Vec::new();
        };
        let at = line.time.0;
        let (at, window) = match self.hosts.skew(&line.host, target, line.time) {
            Some(skew) => (at - skew, NARROW),
            None => (at, WIDE),
        };
        let near = pool.takers(at, window).iter().take(MOST);
        let ours = near.filter_map(|(_, arrival)| {
            let arrival = self.lines.get(arrival)?;
            let by = arrival.ip.and_then(|ip| self.hosts.member(ip))?;
            (by.is_none_or(|by| *by == *line.host)).then_some(arrival.id)
        });
        ours.take(8).collect()
    }
}
