//! Where a task came from: by the one call that fits it, by calls of other nodes, by the user's sessions, or not at all.

use std::collections::BTreeSet;
use std::net::IpAddr;

use hashbrown::HashMap;
use pipeline::pve::Upid;
use pipeline::{EventId, Time};

use super::Correlate;
use super::basis::Basis;
use super::begun::Begun;
use super::line::Resolved;
use super::look;
use super::pool::{At, Plan, Window};
use super::sessions::{TICKET, Where};
use super::task::window;

/// One pool as it stands now: how its lines can be shared out, and where each of them came from.
struct Judged {
    plan: Plan,
    resolved: Vec<Resolved>,
    /// For each line, where the next one stands that may come from somewhere else.
    same_to: Vec<usize>,
}

/// Pools that were judged for tasks that are due together.
#[derive(Default)]
pub(super) struct Pass(HashMap<Box<str>, Vec<Judged>>);

impl Correlate {
    /// Where a task came from, and the line that goes on as its evidence.
    pub(super) fn decide(
        &mut self,
        no: u64,
        forced: bool,
        pass: &mut Pass,
    ) -> (Basis, Option<u64>) {
        let Some(task) = self.tasks.get(&no) else {
            return (Basis::none(), None);
        };
        if matches!(task.begun, Begun::Local | Begun::Ha) {
            return (Basis::local(), None);
        }
        let (begun, act, text) = (task.begun, task.at(no), task.upid.clone());
        let Ok(upid) = Upid::parse(&text) else {
            return (Basis::none(), None);
        };
        let class = look::class(upid.kind);
        let window = window(class);
        let mut key = String::new();
        look::task_key(&upid, text.len(), &mut key);
        let maybe = self.maybe(&upid, class, act.0, window);
        let judged = self.judge(&key, act, window, pass);
        let Some((judged, place)) = judged else {
            return (Basis::none(), None);
        };
        let reach = judged.plan.reach(place);
        let log = self.hosts.log(upid.node);
        let forgotten = log.is_none_or(|log| act.0 - window.before <= log.forgotten_to.0);
        if reach.is_empty() && maybe.is_empty() {
            if let Some(found) = self.far(&upid, &key, act, forced) {
                return found;
            }
            return (
                self.session(
                    &upid,
                    begun,
                    act.0,
                    log.filter(|log| log.last.0 >= act.0).map(|log| log.since),
                ),
                None,
            );
        }
        let ids = |line: &At| self.lines.get(&line.1).map(|line| line.id);
        let sure = judged.plan.is_sure(place) && !forgotten && !forced;
        let claim = |at: At, resolved: &Resolved| match resolved {
            Resolved::One { ip, via, twins } => {
                let mut evidence: Vec<EventId> = ids(&at).into_iter().collect();
                evidence.extend(twins);
                Some((Basis::matched(*ip, evidence, via.clone()), Some(at.1)))
            }
            Resolved::Open { .. } => None,
        };
        let resolved_of = |at: At| {
            let place = judged.plan.lines.binary_search(&at).ok()?;
            judged.resolved.get(place)
        };
        if sure && !reach.is_empty() {
            let single = judged
                .same_to
                .get(reach.start)
                .is_some_and(|to| *to >= reach.end);
            let agrees = |ip: IpAddr| maybe.iter().all(|(_, other)| *other == ip);
            let line = if single {
                judged.plan.given(place)
            } else if maybe.is_empty() {
                judged.plan.only(place)
            } else {
                None
            };
            if let Some(at) = line
                && let Some(resolved @ Resolved::One { ip, .. }) = resolved_of(at)
                && agrees(*ip)
                && let Some(found) = claim(at, resolved)
            {
                return found;
            }
        }
        let mut candidates: BTreeSet<IpAddr> = maybe.iter().map(|(_, ip)| *ip).collect();
        let mut evidence: Vec<EventId> = maybe.iter().filter_map(|(at, _)| ids(at)).collect();
        let mut at = reach.start;
        // A long row of lines from one address is one step.
        while at < reach.end && candidates.len() < 64 {
            candidates.extend(judged.resolved[at].addresses());
            evidence.extend(ids(&judged.plan.lines[at]));
            at = judged.same_to[at].max(at + 1);
        }
        (
            Basis::ambiguous(candidates.into_iter().collect(), evidence),
            None,
        )
    }

    /// Calls that may have forked the task, of which the line does not tell.
    fn maybe(&self, upid: &Upid<'_>, class: &str, at: i64, window: Window) -> Vec<(At, IpAddr)> {
        let mut key = String::from("maybe\n");
        let mut rest = String::new();
        look::pool_key(
            upid.node,
            upid.user,
            class,
            look::guest(upid.id),
            0,
            &mut rest,
        );
        key.push_str(&rest);
        let Some(pool) = self.pools.get(&key) else {
            return Vec::new();
        };
        // Each of them counts, for one that is not heard may be from elsewhere.
        let near = pool.near(at, window).iter();
        near.flat_map(|at| {
            let resolved = self.resolve(at.1);
            let addresses = resolved.addresses().to_vec();
            addresses.into_iter().map(|ip| (*at, ip))
        })
        .collect()
    }

    /// The pool of a task, judged once for all tasks that are due together, and the place of the task in it.
    fn judge<'p>(
        &mut self,
        key: &str,
        act: At,
        window: Window,
        pass: &'p mut Pass,
    ) -> Option<(&'p Judged, usize)> {
        if !pass.0.contains_key(key) {
            pass.0.insert(key.into(), Vec::new());
        }
        let known = pass.0.get_mut(key)?;
        let found = known
            .iter()
            .position(|judged| judged.plan.place(act).is_some());
        let found = match found {
            Some(found) => found,
            None => {
                let plan = self.pools.get(key)?.plan(act.0, window);
                for (_, line) in &plan.lines {
                    self.compare(*line);
                }
                let resolved: Vec<Resolved> = plan
                    .lines
                    .iter()
                    .map(|(_, line)| self.resolve(*line))
                    .collect();
                let mut same_to = vec![resolved.len(); resolved.len()];
                for at in (0..resolved.len().saturating_sub(1)).rev() {
                    let (this, next) = (&resolved[at], &resolved[at + 1]);
                    let same = matches!(
                        (this, next),
                        (Resolved::One { ip, .. }, Resolved::One { ip: other, .. }) if ip == other
                    );
                    same_to[at] = if same { same_to[at + 1] } else { at + 1 };
                }
                known.push(Judged {
                    plan,
                    resolved,
                    same_to,
                });
                known.len() - 1
            }
        };
        let judged = known.get(found)?;
        Some((judged, judged.plan.place(act)?))
    }

    /// No call fits: where the user was logged in. Not for a token, which logs in nowhere, and not for root unless the
    /// daemon of the API began the task, for tools, timers and the HA manager are root too. And only where the log of the
    /// node was read for as long as a login lives: else others may have been there.
    fn session(&self, upid: &Upid<'_>, begun: Begun, at: i64, since: Option<Time>) -> Basis {
        let local = upid.user == "root@pam" && begun != Begun::Api;
        let user = pipeline::pve::User::parse(upid.user);
        let (false, None, Some(since)) = (local, user.token, since) else {
            return Basis::none();
        };
        match self.sessions.find(upid.user, upid.node, Time(at)) {
            Where::One(ip, id) if at - since.0 >= TICKET => Basis::session(ip, id),
            Where::One(ip, id) => Basis::ambiguous(vec![ip], vec![id]),
            Where::Several(addresses) => Basis::ambiguous(addresses, Vec::new()),
            Where::Nowhere => Basis::none(),
        }
    }
}
