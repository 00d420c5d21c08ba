//! The nodes: whose access log is read, which addresses are nodes, and how their clocks differ.
//!
//! A node logs the call that another node relayed to it with that node as its client, so an address of a node is nobody's
//! address. Clocks of two nodes are compared only by calls that both have logged; nothing is taken for granted.
//!
//! - state: one entry per node, at most [`MOST`]

use std::net::IpAddr;
use std::path::Path;

use hashbrown::HashMap;
use pipeline::{StateError, Time};

use super::codec::{Put, Take};
use super::sessions::CLOCKS;

/// Most nodes, addresses and pairs of nodes remembered.
pub(super) const MOST: usize = 1024;
/// An address that the cluster names no more is a node's for so long still: what it relayed may be read that late.
const LEFT: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
/// Longest list of members that is read [bytes].
const MOST_TEXT: u64 = 1 << 20;
/// Calls whose difference in time is remembered for each pair of nodes.
const SAMPLES: usize = 4;
/// Two differences agree if they are at most so far apart [ns].
const AGREE: i64 = 2_000_000_000;
/// A difference counts for so long [ns].
const FRESH: i64 = 3_600_000_000_000;

/// What is known of the access log of a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    /// Its earliest line.
    pub(super) since: Time,
    /// Its latest line.
    pub(super) last: Time,
    /// Lines up to here may have been forgotten.
    pub(super) forgotten_to: Time,
}

/// The list of members as the cluster file system shows it; `None` where there is no such file system.
pub(super) fn read_members(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let file = match std::fs::File::open(path) {
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            return match path.parent().is_some_and(Path::exists) {
                true => Err(why),
                false => Ok(None),
            };
        }
        file => file?,
    };
    let mut text = Vec::new();
    file.take(MOST_TEXT).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Names and addresses in it: `{"nodelist": {"pve1": {"ip": "192.0.2.11", …}, …}}`. Nothing of what cannot be read.
pub(super) fn parse_members(text: &[u8]) -> Vec<(String, IpAddr)> {
    let json: serde_json::Value = serde_json::from_slice(text).unwrap_or_default();
    let nodes = json.get("nodelist").and_then(|nodes| nodes.as_object());
    let node = |(name, node): (&String, &serde_json::Value)| {
        let ip: IpAddr = node.get("ip")?.as_str()?.parse().ok()?;
        Some((name.clone(), ip.to_canonical()))
    };
    nodes.into_iter().flatten().filter_map(node).collect()
}

/// Two nodes by name.
type Pair = (Box<str>, Box<str>);

#[derive(Debug)]
struct Member {
    /// The node that has the address, if that is known.
    node: Option<Box<str>>,
    /// When the cluster named it last, by our own clock; `None` where the configuration does, which stays.
    named: Option<Time>,
}

#[derive(Debug, Default)]
pub(super) struct Hosts {
    logs: HashMap<Box<str>, Log>,
    /// Addresses of nodes, from the configuration and the cluster.
    members: HashMap<IpAddr, Member>,
    /// The same addresses as events write them, for a look without parsing.
    texts: HashMap<Box<str>, Option<Box<str>>>,
    /// An address found no room, which is to be told.
    crowded: bool,
    /// Differences of clocks: what the first node says less what the second says, and when [ns].
    skews: HashMap<Pair, Vec<(i64, Time)>>,
}

impl Hosts {
    /// A line of the access log of a node.
    pub(super) fn line(&mut self, host: &str, time: Time) {
        if let Some(log) = self.logs.get_mut(host) {
            log.since = log.since.min(time);
            log.last = log.last.max(time);
            return;
        }
        if self.logs.len() < MOST {
            let log = Log {
                since: time,
                last: time,
                forgotten_to: Time::MIN,
            };
            self.logs.insert(host.into(), log);
        }
    }

    /// A line of a node is forgotten.
    pub(super) fn forget(&mut self, host: &str, time: Time) {
        if let Some(log) = self.logs.get_mut(host) {
            log.forgotten_to = log.forgotten_to.max(time);
        }
    }

    pub(super) fn log(&self, host: &str) -> Option<Log> {
        self.logs.get(host).copied()
    }

    /// An address is a node's: the configuration says so, or at `named` the cluster.
    pub(super) fn add_member(&mut self, ip: IpAddr, node: Option<&str>, named: Option<Time>) {
        let held = self.members.get(&ip);
        if held.is_none() && self.members.len() >= MOST {
            self.crowded = true;
            return;
        }
        if held.is_some_and(|held| held.named.is_none()) && named.is_some() {
            return;
        }
        let node: Option<Box<str>> = node.map(Into::into);
        self.texts.insert(ip.to_string().into(), node.clone());
        self.members.insert(ip, Member { node, named });
    }

    /// The cluster was asked, and what it does not name any more for [`LEFT`] is no node's. `true` once after an address
    /// found no room.
    pub(super) fn forget_members(&mut self, now: Time) -> bool {
        let texts = &mut self.texts;
        self.members.retain(|ip, member| {
            let stays = member.named.is_none_or(|named| now.since(named) < LEFT);
            if !stays {
                texts.remove(ip.to_string().as_str());
            }
            stays
        });
        std::mem::take(&mut self.crowded)
    }

    /// Whether there may be other nodes than one, whose clocks are not the same.
    pub(super) fn are_several(&self) -> bool {
        self.logs.len() > 1 || self.knows_members()
    }

    /// Whether any address of a node is known.
    pub(super) fn knows_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// The node that has this address: `Some(None)` for a node whose name is not known.
    pub(super) fn member(&self, ip: IpAddr) -> Option<Option<&str>> {
        self.members.get(&ip).map(|member| member.node.as_deref())
    }

    /// The same of an address as an event writes it.
    pub(super) fn member_text(&self, ip: &str) -> Option<Option<&str>> {
        self.texts.get(ip).map(Option::as_deref)
    }

    /// One call was logged by `a` and by `b`; `difference` is what `a` says less what `b` says [ns].
    pub(super) fn compare(&mut self, a: &str, b: &str, difference: i64, at: Time) {
        let key = (Box::from(a), Box::from(b));
        if self.skews.len() >= MOST && !self.skews.contains_key(&key) {
            return;
        }
        let samples = self.skews.entry(key).or_default();
        if samples.len() == SAMPLES {
            samples.remove(0);
        }
        samples.push((difference, at));
    }

    /// How far the clock of `a` is ahead of that of `b` [ns], if two calls say the same, whichever of them relayed these.
    pub(super) fn skew(&self, a: &str, b: &str, at: Time) -> Option<i64> {
        let there = self.relayed(a, b, at);
        let back = self.relayed(b, a, at).map(|(skew, when)| (-skew, when));
        match (there, back) {
            (Some(there), Some(back)) if there.1 < back.1 => Some(back.0),
            (there, back) => there.or(back).map(|(skew, _)| skew),
        }
    }

    /// The same by calls that `a` relayed, and when that was seen.
    fn relayed(&self, a: &str, b: &str, at: Time) -> Option<(i64, Time)> {
        let samples = self.skews.get(&(Box::from(a), Box::from(b)))?;
        let [.., (before, _), (last, when)] = samples.as_slice() else {
            return None;
        };
        let fresh = at.0.abs_diff(when.0) <= FRESH as u64;
        (fresh && (before - last).abs() <= AGREE).then_some((*last, *when))
    }

    /// The same, where `a` and `b` may be one node.
    pub(super) fn ahead(&self, a: &str, b: &str, at: Time) -> Option<i64> {
        match a == b {
            true => Some(0),
            false => self.skew(a, b, at),
        }
    }

    /// Whether the logs of all nodes are known whole from one time to another by the clock of `observer`, as far as it is
    /// told what was handed over. Any node takes a call that changes what belongs to the cluster.
    pub(super) fn read_over(
        &self,
        from: i64,
        to: i64,
        observer: &str,
        at: Time,
        watermark: Option<Time>,
    ) -> bool {
        let read = |node: &str, log: &Log| {
            let (from, to) = match self.ahead(node, observer, at) {
                Some(skew) => (from + skew, to + skew),
                None => (from - CLOCKS, to),
            };
            log.since.0 <= from
                && log.forgotten_to.0 < from
                && log.last.max(watermark.unwrap_or(Time::MIN)).0 >= to
        };
        let known = |member: &Member| {
            let node = member.node.as_ref();
            node.is_some_and(|node| self.logs.contains_key(node))
        };
        !self.logs.is_empty()
            && self.members.values().all(known)
            && self.logs.iter().all(|(node, log)| read(node, log))
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_len(self.logs.len());
        for (host, log) in &self.logs {
            to.put_str(host);
            to.put_time(log.since);
            to.put_time(log.last);
            to.put_time(log.forgotten_to);
        }
        to.put_len(self.skews.len());
        for ((a, b), samples) in &self.skews {
            to.put_str(a);
            to.put_str(b);
            to.put_all(samples, |to, (difference, at)| {
                to.put_i64(*difference);
                to.put_time(*at);
            });
        }
        let named = |member: &Member| member.named.is_some();
        to.put_len(self.members.values().filter(|member| named(member)).count());
        for (ip, member) in &self.members {
            if let Some(named) = member.named {
                to.put_ip(*ip);
                to.put_option(member.node.as_deref(), Put::put_str);
                to.put_time(named);
            }
        }
    }

    /// Members that the configuration names are its own to say; those that the cluster named are known again at once.
    pub(super) fn load(&mut self, from: &mut Take<'_>) -> Result<(), StateError> {
        let logs = from.all(|from| {
            let host: Box<str> = from.str()?.into();
            let log = Log {
                since: from.time()?,
                last: from.time()?,
                forgotten_to: from.time()?,
            };
            Ok((host, log))
        })?;
        self.logs = logs.into_iter().collect();
        let skews = from.all(|from| {
            let pair = (from.str()?.into(), from.str()?.into());
            Ok((pair, from.all(|from| Ok((from.i64()?, from.time()?)))?))
        })?;
        self.skews = skews.into_iter().collect();
        let text = |from: &mut Take<'_>| -> Result<Box<str>, StateError> { Ok(from.str()?.into()) };
        let members = from.all(|from| Ok((from.ip()?, from.option(text)?, from.time()?)))?;
        for (ip, node, named) in members {
            self.add_member(ip, node.as_deref(), Some(named));
        }
        Ok(())
    }
}
