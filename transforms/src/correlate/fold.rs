//! One act, one event: what it takes from the records that become its evidence, and records that say the same words twice.

use pipeline::{Event, EventId, Field, Value, fields};

use super::basis::{Basis, add_text};
use super::line::Resolved;
use super::names::NAMES;
use super::pool::Window;
use super::{Correlate, SECOND};

/// Memory of words that were said, beside their pool: their number, time, id, origin, and the digest of them [bytes].
pub(super) const SAID: usize = 160;

impl Correlate {
    /// The first of two records with the same words: the journal and the cluster log tell the same line.
    pub(super) fn said_before(&mut self, event: &Event) -> Option<EventId> {
        let words = event.str(fields::EVENT_ORIGINAL).unwrap_or_default();
        let words = &words[words.find('<').unwrap_or(0)..];
        let host = event.str(fields::HOST_NAME).unwrap_or_default();
        let pid = event
            .get(fields::PROCESS_PID)
            .and_then(pipeline::ValueRef::as_int);
        // Words may be long; what is remembered of them is not.
        let pid = pid.unwrap_or_default().to_le_bytes();
        let key =
            EventId::of_parts(&[b"said", host.as_bytes(), &pid, words.as_bytes()]).to_string();
        // The cluster log has whole seconds.
        let window = Window {
            before: 2 * SECOND,
            after: 2 * SECOND,
        };
        let pool = self.said.get(&key);
        let first = pool.and_then(|pool| {
            let near = pool.near(event.timestamp().0, window);
            near.first().map(|(_, no)| *no)
        });
        let origin = event
            .str(NAMES.origin)
            .map(Box::<str>::from)
            .unwrap_or_default();
        if let Some(no) = first
            && let Some((id, from)) = self.said_ids.get(&no)
            && *from != origin
        {
            return Some(*id);
        }
        let no = self.next();
        self.said.add_line(&key, (event.timestamp().0, no));
        self.said_ids.insert(no, (event.id(), origin));
        self.said_keys
            .push_back((no, event.timestamp(), key.into()));
        while self.said_keys.len() > super::MOST_SAID {
            self.forget_said();
        }
        None
    }

    /// Forgets the oldest words.
    pub(super) fn forget_said(&mut self) {
        if let Some((no, time, key)) = self.said_keys.pop_front() {
            self.said.remove_line(&key, (time.0, no));
            self.said_ids.remove(&no);
        }
    }

    /// Writes into a difference that is told as evidence of a call whose it is, and from where.
    pub(super) fn lend_line(&self, no: u64, difference: &mut Event) {
        let Some(line) = self.lines.get(&no) else {
            return;
        };
        let Resolved::One { ip, via, twins } = self.resolve(no) else {
            return;
        };
        let mut evidence = vec![line.id];
        evidence.extend(twins);
        Basis::matched(ip, evidence, via).write(difference);
        let names = &*NAMES;
        let user = pipeline::pve::User::parse(&line.user);
        difference.set_str(fields::USER_ID, &user.id());
        difference.set_str(
            names.actor,
            if user.token.is_some() {
                "token"
            } else {
                "user"
            },
        );
        if let Some(token) = user.token {
            difference.set_str(names.token, token);
        }
        if let Some((name, domain)) = user.id().rsplit_once('@') {
            difference.set_str(fields::USER_NAME, name);
            difference.set_str(fields::USER_DOMAIN, domain);
        }
        add_text(difference, names.related_user, &user.id());
    }
}

/// What is taken from a difference into the event that tells the act.
pub(super) fn fold(difference: &Event, into: &mut Event) {
    let names = &*NAMES;
    let same = difference.str(names.object_type) == into.str(names.object_type);
    let what = [
        fields::EVENT_CODE,
        fields::EVENT_ACTION,
        names.category,
        names.kind,
        fields::EVENT_SEVERITY,
        names.object_id,
        names.object_path,
        names.target_id,
        names.target_name,
        names.target_domain,
        names.group_name,
        names.vmid,
    ];
    let always = [
        names.changes,
        names.change_keys,
        names.file_path,
        names.file_hash,
        names.firewall_rule,
    ];
    for field in what.into_iter().filter(|_| same).chain(always) {
        if let Some(value) = difference.get(field) {
            let value: Value = value.to_owned();
            into.set(field, value);
        }
    }
    // The web client is answered 200 whatever happened; what is there now has been done.
    if into.str(fields::EVENT_OUTCOME) == Some("unknown") {
        into.set_str(fields::EVENT_OUTCOME, "success");
    }
    merge(difference, into, names.related_user);
}

/// What a difference takes from the line that tells who did it.
pub(super) fn lend_author(line: &Event, difference: &mut Event) {
    let names = &*NAMES;
    let ip = line.str(fields::SOURCE_IP).and_then(|ip| ip.parse().ok());
    let basis = match ip {
        Some(ip) => Basis::matched(ip, vec![line.id()], line.str(names.via).map(Into::into)),
        None => Basis::ambiguous(Vec::new(), vec![line.id()]),
    };
    basis.write(difference);
    for field in [
        fields::USER_ID,
        fields::USER_NAME,
        fields::USER_DOMAIN,
        names.token,
        names.actor,
    ] {
        if let Some(value) = line.get(field) {
            let value: Value = value.to_owned();
            difference.set(field, value);
        }
    }
    merge(line, difference, names.related_user);
}

/// Adds what a list holds to the list of another event.
fn merge(from: &Event, to: &mut Event, field: Field) {
    if let Some(pipeline::ValueRef::List(list)) = from.get(field) {
        for text in list.iter().filter_map(|value| value.as_ref().as_str()) {
            add_text(to, field, text);
        }
    }
}
