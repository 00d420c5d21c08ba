//! Logins: the journal says who, the access log from where. And what else the journal and the access log both tell:
//! logins that failed, calls refused.

use std::collections::BTreeSet;
use std::net::IpAddr;

use pipeline::{Event, EventId, Outputs, StateError, Time, fields};

use super::basis::{Basis, make_evidence};
use super::codec::{Put, Take};
use super::due::Due;
use super::line::LOGINS;
use super::look::{self, FIRST_FACTOR, LOGIN, RENEWED};
use super::names::NAMES;
use super::pool::{MOST_PEELED, Plan};
use super::{Correlate, SECOND};

/// A line of the journal that has a line of the access log beside it.
pub(super) struct Login {
    pub(super) id: EventId,
    pub(super) time: Time,
    pub(super) host: Box<str>,
    pub(super) user: Box<str>,
    /// Its pool.
    pub(super) key: Box<str>,
    pub(super) event: Option<Event>,
}

impl Login {
    /// Memory it stands for [bytes].
    pub(super) fn size(&self) -> usize {
        size_of::<Login>() + self.key.len() * 2 + self.event.as_ref().map_or(0, Event::size)
    }

    pub(super) fn save(&self, to: &mut Vec<u8>) {
        to.put_id(self.id);
        to.put_time(self.time);
        to.put_str(&self.host);
        to.put_str(&self.user);
        to.put_str(&self.key);
        to.put_option(self.event.as_ref(), |to, event| {
            pipeline::state::write_event(event, to);
        });
    }

    pub(super) fn load(from: &mut Take<'_>) -> Result<Login, StateError> {
        Ok(Login {
            id: from.id()?,
            time: from.time()?,
            host: from.str()?.into(),
            user: from.str()?.into(),
            key: from.str()?.into(),
            event: from.option(Take::event)?,
        })
    }
}

/// Both factors of one login come within so long.
const FACTORS: i64 = 120 * SECOND;
/// Most logins and lines that are looked at for one answer; where there are more, it is not known.
const MOST_LOGINS: usize = 1024;

impl Correlate {
    /// Takes a login, or a refusal, as the journal tells it.
    pub(super) fn login(&mut self, mut event: Event, out: &mut Outputs) {
        let Some(host) = event.str(fields::HOST_NAME).map(Box::<str>::from) else {
            return out.emit(event);
        };
        if self.login_ids.contains(&event.id()) {
            return self.copy_left_out(out);
        }
        // The cluster log says what the journal of the node said.
        if event.str(fields::EVENT_CODE) == Some(LOGIN)
            && let Some(first) = self.said_before(&event)
        {
            make_evidence(&mut event, &[first]);
            return out.emit(event);
        }
        let key = match event.str(fields::EVENT_CODE) {
            Some(LOGIN) => format!("login\n{host}"),
            Some(look::LOGIN_FAILED) => match look::address(&event) {
                Some(ip) => format!("bad\n{host}\n{ip}"),
                None => return out.emit(event),
            },
            _ => format!("refused\n{host}"),
        };
        event.detach();
        let login = Login {
            id: event.id(),
            time: event.timestamp(),
            host,
            user: look::user(&event).unwrap_or_default().into(),
            key: key.into(),
            event: Some(event),
        };
        let no = self.next();
        self.enter_login(no, login);
        self.push_due(out.now(), 3, Due::Login(no));
        self.bound(out);
    }

    pub(super) fn enter_login(&mut self, no: u64, login: Login) {
        self.pools.add_act(&login.key, (login.time.0, no));
        self.login_ids.insert(login.id);
        self.size += login.size();
        self.logins.insert(no, login);
    }

    pub(super) fn forget_login(&mut self, no: u64) {
        if let Some(login) = self.logins.remove(&no) {
            self.size -= login.size();
            self.login_ids.remove(&login.id);
            self.pools.remove_act(&login.key, (login.time.0, no));
        }
    }

    /// The time of a login or a refusal is up.
    pub(super) fn login_due(&mut self, no: u64, forced: bool, out: &mut Outputs) {
        let Some(login) = self.logins.get_mut(&no) else {
            return;
        };
        let Some(mut event) = login.event.take() else {
            return;
        };
        self.size -= event.size();
        let Some(login) = self.logins.get(&no) else {
            return;
        };
        let (at, host) = ((login.time.0, no), login.host.clone());
        let user = login.user.clone();
        let Some(pool) = self.pools.get(&login.key) else {
            return self.tell(event, out);
        };
        let plan = pool.plan(at.0, LOGINS);
        let place = plan.place(at).unwrap_or_default();
        let fits = &plan.lines[plan.reach(place)];
        let given = plan.given(place).map(|line| line.1);
        if !login.key.starts_with("login\n") {
            // The line of the access log has the address, or is the same thing told again.
            if login.key.starts_with("refused\n")
                && plan.is_sure(place)
                && let Some(line) = given.and_then(|line| self.lines.get(&line))
            {
                make_evidence(&mut event, &[line.id]);
            } else if let Some(line) = given.filter(|_| plan.is_sure(place)) {
                let id = event.id();
                self.tell(event, out);
                return self.claim(line, id, out);
            }
            return self.tell(event, out);
        }
        let mut addresses = BTreeSet::new();
        let mut evidence = Vec::new();
        for (_, line) in fits.iter().take(256) {
            addresses.extend(self.resolve(*line).addresses().iter().copied());
            evidence.extend(self.lines.get(line).map(|line| line.id));
        }
        let addresses: Vec<IpAddr> = addresses.into_iter().collect();
        // Of more lines than are looked at, the others may be from anywhere.
        let sure = plan.is_sure(place) && !forced && fits.len() <= 256;
        let told = match (addresses.as_slice(), given) {
            ([ip], Some(line)) if sure => Some((*ip, line)),
            (_, _) if sure && !self.holds_checks(&plan) => plan.only(place).and_then(|line| {
                let ip = self.lines.get(&line.1)?.ip?;
                Some((ip, line.1))
            }),
            _ => None,
        };
        let told = told.filter(|(ip, _)| {
            !self.is_member(Some(*ip)) || self.hosts.member(*ip) == Some(Some(&host))
        });
        let (time, id) = (event.timestamp(), event.id());
        // It may as well be the check of a console's ticket, which has no line, while the line is another one's login.
        let console = self.console_of(&user, &host, at.0);
        let told = told.filter(|(ip, _)| {
            matches!(console, Opened::Not) || self.sessions.was_in(&user, *ip, time)
        });
        // Where that cannot be told, it is not told that this was a login from there.
        let told = told.and_then(|(ip, line)| {
            let second = self.second_factor(no, &user, ip, at.0)?;
            Some((ip, line, second))
        });
        match told {
            Some((ip, line, second)) => {
                let again = self.sessions.was_in(&user, ip, time);
                if second {
                    recode(&mut event, FIRST_FACTOR);
                } else if again {
                    recode(&mut event, RENEWED);
                }
                let login = (!second).then_some(id);
                let gone = self.sessions.note(&user, ip, &host, time, login);
                out.evicted(gone);
                let line_id = self.lines.get(&line).map(|line| line.id);
                Basis::matched(ip, line_id.into_iter().collect(), None).write(&mut event);
                self.tell(event, out);
                self.claim(line, id, out);
            }
            None if addresses.is_empty() => {
                // The check of a console's ticket is written like a login, but nobody logs in.
                match console {
                    Opened::By(console) => make_evidence(&mut event, &[console]),
                    Opened::Not | Opened::Perhaps => {
                        let gone = self.sessions.note_somewhere(&user, &host, time);
                        out.evicted(gone);
                    }
                }
                self.tell(event, out);
            }
            None => {
                let all = addresses
                    .iter()
                    .all(|ip| self.sessions.was_in(&user, *ip, time));
                if all {
                    recode(&mut event, RENEWED);
                }
                for ip in &addresses {
                    let gone = self.sessions.note(&user, *ip, &host, time, None);
                    out.evicted(gone);
                }
                Basis::ambiguous(addresses, evidence).write(&mut event);
                self.tell(event, out);
            }
        }
    }

    /// Whether the same user shows a second factor right after, from the same address; `None` where more came in that time
    /// than is looked at.
    fn second_factor(&self, no: u64, user: &str, ip: IpAddr, at: i64) -> Option<bool> {
        let Some(pool) = self
            .logins
            .get(&no)
            .and_then(|login| self.pools.get(&login.key))
        else {
            return Some(false);
        };
        let later = &pool.acts[pool.acts.partition_point(|act| *act <= (at, no))..];
        let within = later.partition_point(|act| act.0 <= at + FACTORS);
        let mut unsure = within > MOST_LOGINS;
        for act in &later[..within.min(MOST_LOGINS)] {
            let ours = self
                .logins
                .get(&act.1)
                .is_some_and(|other| *other.user == *user && other.event.is_some());
            if !ours {
                continue;
            }
            let near = pool.near(act.0, LOGINS);
            let here = |line: &super::pool::At| {
                self.lines
                    .get(&line.1)
                    .is_some_and(|line| line.ip == Some(ip))
            };
            match near.len() {
                0 => {}
                1..=MOST_LOGINS if near.iter().all(here) => return Some(true),
                1..=MOST_LOGINS => {}
                _ => unsure = true,
            }
        }
        (!unsure).then_some(false)
    }

    /// Whether some of these may be checks of a console's ticket. These have no line, and a user whose name the journal cannot
    /// write leaves a line alone: then there are as many lines as logins, and each is taken for the next one's.
    fn holds_checks(&self, plan: &Plan) -> bool {
        plan.acts.len() > MOST_PEELED
            || plan.acts.iter().any(|act| {
                self.logins.get(&act.1).is_none_or(|login| {
                    let opened = self.console_of(&login.user, &login.host, login.time.0);
                    !matches!(opened, Opened::Not)
                })
            })
    }

    /// The console that this user opened a moment ago, if there is one.
    fn console_of(&self, user: &str, host: &str, at: i64) -> Opened {
        let near = |opened: i64| (-2 * SECOND..=30 * SECOND).contains(&(at - opened));
        let opened = self.consoles.iter().rev().find(|console| {
            console.user.as_ref() == user && console.node.as_ref() == host && near(console.at)
        });
        if let Some(id) = opened.and_then(|console| self.record(console.task)) {
            return Opened::By(id);
        }
        // Those that were forgotten came before all that are remembered.
        let full = self.consoles.len() >= super::MOST_CONSOLES;
        match self.consoles.front() {
            Some(oldest) if full && at - oldest.at <= 30 * SECOND => Opened::Perhaps,
            _ => Opened::Not,
        }
    }
}

/// Whether a user opened a console a moment ago.
enum Opened {
    By(EventId),
    /// More were opened than are remembered.
    Perhaps,
    Not,
}

/// A console that was opened.
pub(super) struct Console {
    pub(super) user: Box<str>,
    pub(super) node: Box<str>,
    /// [ns]
    pub(super) at: i64,
    pub(super) task: u64,
}

/// Gives an event the code and the words of another row.
fn recode(event: &mut Event, code: &str) {
    let Some(row) = pipeline::Catalogue::builtin().get(code) else {
        return;
    };
    event.set_str(fields::EVENT_CODE, code);
    event.set_str(fields::EVENT_ACTION, &row.action);
    let list =
        |texts: &[String]| pipeline::Value::List(texts.iter().map(|t| t.as_str().into()).collect());
    event.set(NAMES.category, list(&row.category));
    event.set(NAMES.kind, list(&row.kinds));
    event.set(fields::EVENT_SEVERITY, i64::from(row.severity));
}
