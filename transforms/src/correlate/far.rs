//! Tasks of a node whose own log does not tell: lines of nodes that relayed a call to it, whose clocks are others. And the
//! other way round: whose a line may be that nobody claimed.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pipeline::pve::Upid;
use pipeline::{EventId, Time};

use super::basis::{Basis, Ground};
use super::line::LOGINS;
use super::login::Login;
use super::look::Role;
use super::pool::{At, Window};
use super::relay::{CLOSE, WIDE};
use super::task::{class_of, window};
use super::{Correlate, look};

/// Most lines that are looked at for one answer; where there are more, nothing is claimed.
const MOST: usize = 256;

impl Correlate {
    /// Records that this line may belong to, of logins those that count.
    pub(super) fn takers(&self, no: u64, counts: impl Fn(&Login) -> bool) -> Vec<EventId> {
        let Some(line) = self.lines.get(&no) else {
            return Vec::new();
        };
        let mut takers = Vec::new();
        for key in &line.keys {
            let open = key.strip_prefix("maybe\n");
            let key = open.unwrap_or(key);
            let far = key.strip_prefix("far\n");
            let key = far.unwrap_or(key);
            if open.is_some() {
                takers.extend(self.naming(no, key.split('\n').nth(3).unwrap_or_default()));
            }
            if far.is_some() {
                takers.extend(self.far_takers(no, key));
                continue;
            }
            let Some(pool) = self.pools.get(key) else {
                continue;
            };
            let window = match line.role {
                Role::Fork => window(class_of(key)),
                _ => LOGINS,
            };
            for (_, act) in pool.takers(line.time.0, window).iter().take(8) {
                if self.logins.get(act).is_none_or(&counts) {
                    takers.extend(self.record(*act));
                }
            }
        }
        let mut seen = BTreeSet::new();
        takers.retain(|id| seen.insert(*id));
        takers
    }

    /// Where a task came from by the lines of relaying nodes, and the line that goes on as its evidence.
    pub(super) fn far(
        &self,
        upid: &Upid<'_>,
        key: &str,
        act: At,
        forced: bool,
    ) -> Option<(Basis, Option<u64>)> {
        let told = self.far_told(key, act, forced);
        let open = self.far_open(upid, key, act);
        if open.is_empty() {
            return told;
        }
        let (basis, line) = told.unwrap_or((Basis::none(), None));
        if basis
            .ip
            .is_some_and(|ip| open.iter().all(|(_, other)| *other == ip))
        {
            return Some((basis, line));
        }
        let mut candidates = basis.candidates;
        candidates.extend(basis.ip);
        candidates.extend(open.iter().map(|(_, ip)| *ip));
        let mut evidence = basis.evidence;
        evidence.extend(open.iter().map(|(id, _)| *id));
        Some((Basis::ambiguous(candidates, evidence), None))
    }

    /// By the calls of which the answer tells that they forked such a task.
    fn far_told(&self, key: &str, act: At, forced: bool) -> Option<(Basis, Option<u64>)> {
        let pool = self.pools.get(&format!("far\n{key}"))?;
        let forwards = pool.near(act.0, WIDE);
        let first = self.lines.get(&forwards.first()?.1)?;
        let node = key.split('\n').next().unwrap_or_default();
        let one_host = forwards.iter().all(|(_, line)| {
            self.lines
                .get(line)
                .is_some_and(|line| line.host == first.host)
        });
        let skew = one_host
            .then(|| self.hosts.skew(&first.host, node, Time(act.0)))
            .flatten();
        let acts = self.pools.get(key)?.takers(
            act.0,
            Window {
                before: 2 * WIDE.before,
                after: 2 * WIDE.after,
            },
        );
        let (shift, window) = match skew {
            Some(skew) => (skew, window(class_of(key))),
            None => (0, WIDE),
        };
        let pool = super::pool::Pool {
            acts: acts.iter().map(|(time, no)| (time + shift, *no)).collect(),
            lines: forwards.to_vec().into(),
        };
        let at = (act.0 + shift, act.1);
        let plan = pool.plan(at.0, window);
        let place = plan.place(at)?;
        let fits = &plan.lines[plan.reach(place)];
        if fits.is_empty() {
            return None;
        }
        let lines: Vec<_> = fits
            .iter()
            .take(MOST)
            .filter_map(|(_, line)| self.lines.get(line))
            .collect();
        let mut addresses: Vec<IpAddr> = lines.iter().filter_map(|line| line.ip).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let forgotten = self.hosts.log(&first.host).is_none_or(|log| {
            at.0 - window.before <= log.forgotten_to.0 || log.last.0 + CLOSE < at.0
        });
        let of_a_node = addresses.iter().any(|ip| self.hosts.member(*ip).is_some());
        if let ([ip], true) = (
            addresses.as_slice(),
            !of_a_node
                && plan.is_sure(place)
                && one_host
                && !forgotten
                && !forced
                && fits.len() < MOST,
        ) && let Some(line) = plan.given(place)
            && let Some(found) = self.lines.get(&line.1)
        {
            let basis = Basis::matched(*ip, vec![found.id], Some((*found.host).into()));
            return Some((basis, Some(line.1)));
        }
        let evidence = lines.iter().take(16).map(|line| line.id).collect();
        Some((Basis::ambiguous(addresses, evidence), None))
    }

    /// Calls that another node relayed and that may have forked the task, of which their lines do not tell.
    fn far_open(&self, upid: &Upid<'_>, key: &str, act: At) -> Vec<(EventId, IpAddr)> {
        let class = class_of(key);
        let mut open = String::new();
        look::pool_key(
            upid.node,
            upid.user,
            class,
            look::guest(upid.id),
            0,
            &mut open,
        );
        let Some(pool) = self.pools.get(&format!("maybe\nfar\n{open}")) else {
            return Vec::new();
        };
        // Each of them counts, for one that is not heard may be from elsewhere.
        let near = pool.near(act.0, WIDE).iter();
        near.filter_map(|at| {
            let line = self.lines.get(&at.1)?;
            let fits = match self.hosts.skew(&line.host, upid.node, Time(act.0)) {
                Some(skew) => window(class).holds(at.0 - skew - act.0),
                None => true,
            };
            fits.then_some((at.1, line.id))
        })
        .flat_map(|(no, id)| {
            let resolved = self.resolve(no);
            let addresses = resolved.addresses().to_vec();
            addresses.into_iter().map(move |ip| (id, ip))
        })
        .collect()
    }

    /// Tasks that may have been forked by a call which this line says was relayed to their node, unless they are known to be
    /// somebody else's.
    fn far_takers(&self, no: u64, key: &str) -> Vec<EventId> {
        let (Some(line), Some(pool)) = (self.lines.get(&no), self.pools.get(key)) else {
            return Vec::new();
        };
        let node = key.split('\n').next().unwrap_or_default();
        let (at, window) = match self.hosts.skew(&line.host, node, line.time) {
            Some(skew) => (line.time.0 - skew, window(class_of(key))),
            None => (line.time.0, WIDE),
        };
        let ours = pool.takers(at, window).iter().filter(|(_, act)| {
            let basis = self.tasks.get(act).and_then(|task| task.basis.as_deref());
            basis.is_none_or(|basis| {
                let told = basis.ip.is_some() || basis.ground == Ground::Local;
                !told || basis.evidence.contains(&line.id)
            })
        });
        ours.take(8)
            .filter_map(|(_, act)| self.record(*act))
            .collect()
    }

    /// Tasks that name a line among what they may rest on. A line that does not tell how long its UPID was lies in no pool
    /// of theirs.
    fn naming(&self, no: u64, guest: &str) -> Vec<EventId> {
        let Some(line) = self.lines.get(&no) else {
            return Vec::new();
        };
        let tasks = self
            .guests
            .get(guest)
            .map(|tasks| tasks.as_slice())
            .unwrap_or_default();
        let named = tasks.iter().rev().take(MOST).filter(|task| {
            let basis = self.tasks.get(*task).and_then(|task| task.basis.as_deref());
            basis.is_some_and(|basis| basis.evidence.contains(&line.id))
        });
        named
            .take(8)
            .filter_map(|task| self.record(*task))
            .collect()
    }
}
