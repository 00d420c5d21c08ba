//! From which addresses a user has been at work: logins, renewals and writing calls of the last two hours.
//!
//! - state: one entry per user, address and node, at most [`MOST`] together

use std::net::IpAddr;

use hashbrown::HashMap;
use pipeline::{EventId, StateError, Time};

use super::codec::{Put, Take};

/// A ticket lives for two hours [ns].
pub(super) const TICKET: i64 = 2 * 3_600_000_000_000;
/// Clocks of two nodes are taken to differ by at most so much, each being at most five minutes wrong [ns].
pub(super) const CLOCKS: i64 = 11 * 60_000_000_000;
/// Most entries remembered; the users seen longest ago are forgotten first.
const MOST: usize = 100_000;
/// Memory of an entry with the name of its node, of a user beside its name, and of a stranger [bytes].
const ENTRY: usize = size_of::<Seen>() + 24;
const USER: usize = 64;
const STRANGER: usize = 48;
/// Most entries of one user: whoever has more is nobody's single address anyhow.
const MOST_OF_ONE: usize = 64;

/// Someone at an address.
#[derive(Clone, Debug)]
struct Seen {
    ip: IpAddr,
    host: Box<str>,
    /// Since when, without a pause of two hours.
    first: Time,
    last: Time,
    /// The latest login or renewal, if there was one and not only calls.
    login: Option<(Time, EventId)>,
}

/// What a user's sessions say about an act of which no call is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// Exactly one address.
    One(IpAddr, EventId),
    /// One of these.
    Several(Vec<IpAddr>),
    /// The user was nowhere.
    Nowhere,
}

#[derive(Debug, Default)]
pub(super) struct Sessions {
    users: HashMap<Box<str>, Vec<Seen>>,
    count: usize,
    /// Length of their names together [bytes].
    names: usize,
    /// Something up to here was forgotten for want of room.
    lost_to: Option<Time>,
    /// Addresses from which somebody logged in, nobody knows who, and when last.
    strangers: HashMap<IpAddr, Time>,
}

/// Stands for an address that is not known.
const SOMEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
/// Most addresses of strangers [addresses].
const MOST_STRANGERS: usize = 10_000;

impl Sessions {
    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Whether the user logged in, or renewed a login, from this address in the two hours before.
    pub(super) fn was_in(&self, user: &str, ip: IpAddr, at: Time) -> bool {
        let seen = self.users.get(user).into_iter().flatten();
        seen.filter(|seen| seen.ip == ip)
            .filter_map(|seen| seen.login)
            .any(|(time, _)| time <= at && at.0 - time.0 <= TICKET)
    }

    /// A user was at work from an address; `login` where it was a login or a renewal. Returns how many entries had to be
    /// forgotten for it.
    pub(super) fn note(
        &mut self,
        user: &str,
        ip: IpAddr,
        host: &str,
        at: Time,
        login: Option<EventId>,
    ) -> usize {
        if !self.users.contains_key(user) {
            self.names += user.len();
        }
        let entries = self.users.entry(user.into()).or_default();
        let found = entries
            .iter_mut()
            .find(|seen| seen.ip == ip && *seen.host == *host);
        match found {
            Some(seen) => {
                if at.0 - seen.last.0 > TICKET {
                    seen.first = at;
                }
                seen.first = seen.first.min(at);
                seen.last = seen.last.max(at);
                if let Some(id) = login
                    && seen.login.is_none_or(|held| (at, id) > held)
                {
                    seen.login = Some((at, id));
                }
            }
            None => {
                if entries.len() >= MOST_OF_ONE {
                    let oldest = (0..entries.len()).min_by_key(|n| entries[*n].last);
                    if let Some(oldest) = oldest {
                        let gone = entries.swap_remove(oldest);
                        self.lost_to = self.lost_to.max(Some(gone.last));
                        self.count -= 1;
                    }
                }
                entries.push(Seen {
                    ip,
                    host: host.into(),
                    first: at,
                    last: at,
                    login: login.map(|id| (at, id)),
                });
                self.count += 1;
            }
        }
        if self.count > MOST { self.prune() } else { 0 }
    }

    /// A user logged in, and from where is not known.
    pub(super) fn note_somewhere(&mut self, user: &str, host: &str, at: Time) -> usize {
        self.note(user, SOMEWHERE, host, at, None)
    }

    /// Somebody logged in from an address, and nobody knows who.
    pub(super) fn note_stranger(&mut self, ip: IpAddr, at: Time) {
        if self.strangers.len() >= MOST_STRANGERS && !self.strangers.contains_key(&ip) {
            self.lost_to = self.lost_to.max(self.strangers.values().copied().max());
            self.strangers.clear();
        }
        let last = self.strangers.entry(ip).or_insert(at);
        *last = (*last).max(at);
    }

    /// Memory it stands for [bytes].
    pub(super) fn size(&self) -> usize {
        self.count * ENTRY + self.users.len() * USER + self.names + self.strangers.len() * STRANGER
    }

    /// Forgets the users seen longest ago, a tenth at once; without any, the addresses of strangers.
    #[cold]
    pub(super) fn prune(&mut self) -> usize {
        if self.users.is_empty() {
            self.lost_to = self.lost_to.max(self.strangers.values().copied().max());
            return std::mem::take(&mut self.strangers).len();
        }
        let last = |seen: &[Seen]| seen.iter().map(|seen| seen.last).max();
        let mut times: Vec<Time> = self.users.values().filter_map(|seen| last(seen)).collect();
        let tenth = times.len() / 10;
        let Some((_, border, _)) = (!times.is_empty()).then(|| times.select_nth_unstable(tenth))
        else {
            return 0;
        };
        let border = *border;
        let before = self.count;
        self.users.retain(|_, seen| last(seen) > Some(border));
        self.count = self.users.values().map(Vec::len).sum();
        self.names = self.users.keys().map(|user| user.len()).sum();
        self.lost_to = self.lost_to.max(Some(border));
        before - self.count
    }

    /// Where a user may have been at a time by the clock of `host`. Clocks of other nodes may differ, so what they logged
    /// shortly after it may have been before, and the reverse.
    pub(super) fn find(&self, user: &str, host: &str, at: Time) -> Where {
        let mut addresses = Vec::new();
        let (mut one, mut any) = (None, false);
        for seen in self.users.get(user).into_iter().flatten() {
            let clocks = if *seen.host == *host {
                1_000_000_000
            } else {
                CLOCKS
            };
            if seen.first.0 > at.0 + clocks || seen.last.0 < at.0 - TICKET - clocks {
                continue;
            }
            addresses.push(seen.ip);
            any |= seen.login.is_some();
            let surely = seen.first.0 <= at.0 + 1_000_000_000 - (clocks - 1_000_000_000)
                && seen.last.0 >= at.0 - TICKET + (clocks - 1_000_000_000);
            if let Some((_, id)) = seen.login.filter(|_| surely) {
                one = one.max(Some((id, seen.ip)));
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        let lost = self
            .lost_to
            .is_some_and(|lost| at.0 - TICKET - CLOCKS <= lost.0);
        // It may have been this user who logged in there.
        let strange = |(ip, last): (&IpAddr, &Time)| {
            !addresses.contains(ip) && at.0 - last.0 <= TICKET + CLOCKS
        };
        match (addresses.as_slice(), one) {
            _ if !any => Where::Nowhere,
            ([_], Some((id, ip))) if !lost && !self.strangers.iter().any(strange) => {
                Where::One(ip, id)
            }
            _ => {
                addresses.retain(|ip| *ip != SOMEWHERE);
                Where::Several(addresses)
            }
        }
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_option(self.lost_to, Put::put_time);
        to.put_len(self.strangers.len());
        for (ip, last) in &self.strangers {
            to.put_ip(*ip);
            to.put_time(*last);
        }
        to.put_len(self.users.len());
        for (user, seen) in &self.users {
            to.put_str(user);
            to.put_all(seen, |to, seen| {
                to.put_ip(seen.ip);
                to.put_str(&seen.host);
                to.put_time(seen.first);
                to.put_time(seen.last);
                to.put_option(seen.login, |to, (at, id)| {
                    to.put_time(at);
                    to.put_id(id);
                });
            });
        }
    }

    pub(super) fn load(&mut self, from: &mut Take<'_>) -> Result<(), StateError> {
        self.lost_to = from.option(Take::time)?;
        let strangers = from.all(|from| Ok((from.ip()?, from.time()?)))?;
        self.strangers = strangers.into_iter().collect();
        let users = from.all(|from| {
            let user: Box<str> = from.str()?.into();
            let seen = from.all(|from| {
                Ok(Seen {
                    ip: from.ip()?,
                    host: from.str()?.into(),
                    first: from.time()?,
                    last: from.time()?,
                    login: from.option(|from| Ok((from.time()?, from.id()?)))?,
                })
            })?;
            Ok((user, seen))
        })?;
        self.count = users.iter().map(|(_, seen)| seen.len()).sum();
        self.names = users.iter().map(|(user, _)| user.len()).sum();
        self.users = users.into_iter().collect();
        Ok(())
    }
}
