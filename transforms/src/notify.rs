//! `notify` decides who is told of which alert, and when.
//!
//! - in: alert events (`PVE-9101` opened, `9102` updated, `9103` resolved), as `anomaly` makes them
//! - out: messages, by outputs that are called like their receivers: the alert event itself with `pve.alert.text` (one line
//!   for people) and `pve.notify.*` (receiver, transition, key, group). The record of the alert goes another way and is
//!   never held back
//! - state: the ledger of messages: open alerts, what each receiver was told of them, what is still to be told; at most
//!   10 000 alerts

mod calendar;
mod groups;
mod ledger;
mod look;
mod message;
mod sentences;
pub mod silence;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeMap;

use pipeline::{
    BuildError, BuildErrors, Context, Duration, Event, Language, Outputs, StateError, Stateful,
    StatefulConfig, Time, config,
};
use schemars::JsonSchema;
use serde::Deserialize;

use calendar::Calendar;
use groups::Groups;
use ledger::Ledger;
pub use look::{Look, Matcher, Values, Written};
pub use message::Severity;
use silence::{Store, Watched};

/// Sends messages about alerts to those who want to know: groups them, waits a little, repeats, and holds back what is
/// silenced, inhibited or muted.
///
/// An alert goes to the first route that takes it, and to the next ones while these say `continue = true`. A rule that names
/// a receiver itself (`notify`) is sent there instead. What no route takes goes to `default`, or is recorded only.
///
/// Alerts of a route with the same values in `group_by` are one group and leave together, at most 20 in one message. A group
/// is first told after `group_wait` (a critical alert does not wait), and of what is new in it after `group_interval` (again,
/// a critical alert does not wait). While an alert stands it is told again every `repeat_interval`. An alert that is over
/// before it was told of is spared; what was told is told to be over. Updates are told only where the severity rises.
///
/// Held back are messages about alerts that are silenced (`pvetrail alerts silence`), inhibited by another open alert, or
/// muted by a calendar: they wait, and leave once that is over if the alert still stands. Each such alert is counted
/// (`alerts_suppressed_total`) and told once (`PVE-9104`). Alerts whose newest event is older than 15 minutes when they are
/// first seen, those of rules that only record, and those of a replay are not sent at all.
///
/// Each message has a key, the alert's id and the transition (`…-opened`, `…-resolved`, `…-updated-2`), which the `webhook`
/// sink sends as `Idempotency-Key`. A message to a receiver leaves only when the one before it was answered, so a crash
/// repeats at most one, under the same key, and loses none. While a receiver takes nothing, messages to the others wait
/// too: give each sink behind `notify` a disk queue (`buffer = { type = "disk", max_size = "64MiB" }`).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who is told of what, in their order.
    #[serde(default)]
    route: Vec<Route>,
    /// The receiver of alerts that no route takes. Without, these are recorded only.
    #[serde(default)]
    default: Option<String>,
    /// Receivers that only rules name (`notify = "…"`).
    #[serde(default)]
    receivers: Vec<String>,
    /// Which open alerts hold back messages about which others.
    #[serde(default)]
    inhibit: Vec<Inhibit>,
    /// Whether the built-in inhibitions hold: PVR-202 holds back 201 of its cluster, 601 holds back 502 and 901 of its
    /// node, 905 holds back 901.
    #[serde(default = "yes")]
    builtin_inhibit: bool,
    /// Hours that `mute` names.
    #[serde(default)]
    calendar: Vec<calendar::Written>,
    /// An alert whose newest event is older than this when it is first seen is recorded, not sent.
    #[serde(default = "fresh")]
    max_age: Duration,
}

/// One route.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Route {
    /// The name of the output.
    receiver: String,
    /// What the alerts are like: `severity`, `rule`, `node`, `user`, `label.NAME`, `group.FIELD`, a dotted path; values with
    /// `*` and `?`. All of them without.
    #[serde(default)]
    r#match: Written,
    /// Whether later routes are asked too.
    #[serde(default)]
    r#continue: bool,
    /// What alerts have in common that leave together; the rule where it is not said.
    group_by: Option<Vec<String>>,
    /// How long the first alert of a group waits for company.
    #[serde(default = "wait")]
    group_wait: Duration,
    /// Least time between two messages about one group.
    #[serde(default = "interval")]
    group_interval: Duration,
    /// How often an open alert is told again; `"0s"` is never.
    #[serde(default = "repeat")]
    repeat_interval: Duration,
    /// Calendars during which nothing is sent.
    #[serde(default)]
    mute: Vec<String>,
}

/// An open alert that holds back messages about others.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Inhibit {
    /// What the open alert is like.
    source: Written,
    /// What the others are like.
    target: Written,
    /// Fields that are the same in both.
    #[serde(default)]
    equal: Vec<String>,
}

fn yes() -> bool {
    true
}
fn fresh() -> Duration {
    Duration::from_secs(15 * 60)
}
fn wait() -> Duration {
    Duration::from_secs(30)
}
fn interval() -> Duration {
    Duration::from_secs(300)
}
fn repeat() -> Duration {
    Duration::from_secs(4 * 3600)
}

impl StatefulConfig for Config {
    const TYPE: &'static str = "notify";
    const EXAMPLE: &'static str = r#"default = "mail"

[[route]]
receiver = "oncall"
match = { severity = ["critical", "high"] }

[[route]]
receiver = "mail"
match = { severity = "medium" }
group_by = ["node"]
mute = ["night"]

[[inhibit]]
source = { rule = "PVR-603" }
target = { rule = "PVR-60?" }
equal = ["node"]

[[calendar]]
name = "night"
zone = "Europe/Berlin"
from = "22:00"
to = "06:00""#;
    const MAIN_OUTPUT: bool = false;

    fn build(&self, cx: &Context) -> Result<Box<dyn Stateful>, BuildErrors> {
        look::make_known();
        let plan = self.plan()?;
        Ok(Box::new(Notify {
            language: cx.language(),
            silences: Watched::new(Store::new(cx.data_dir())),
            ledger: Ledger::default(),
            groups: Groups::default(),
            told_silences: BTreeMap::new(),
            made: vec![None; plan.receivers.len()],
            saves: Cell::new(1),
            looked: Time::MIN,
            plan,
        }))
    }

    fn outputs(&self) -> Vec<String> {
        let routes = self.route.iter().map(|route| &route.receiver);
        let mut names: Vec<String> = Vec::new();
        for name in routes.chain(&self.default).chain(&self.receivers) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

/// The configuration, read.
struct Plan {
    receivers: Vec<String>,
    /// The routes of the file, then one without a matcher for each receiver that has none.
    routes: Vec<Way>,
    /// How many of them are asked.
    asked: usize,
    default: Option<usize>,
    inhibits: Vec<(Matcher, Matcher, Vec<Look>)>,
    max_age: Duration,
}

/// A route, read.
struct Way {
    receiver: usize,
    matcher: Matcher,
    goes_on: bool,
    group_by: Vec<Look>,
    wait: Duration,
    interval: Duration,
    repeat: Duration,
    mute: Vec<Calendar>,
}

/// Built-in inhibitions: the rules, and what is the same in both.
const BUILTIN: [(&str, &[&str], &[&str]); 3] = [
    ("PVR-202", &["PVR-201"], &["cluster"]),
    ("PVR-601", &["PVR-502", "PVR-901"], &["node"]),
    ("PVR-905", &["PVR-901"], &[]),
];

impl Config {
    fn plan(&self) -> Result<Plan, BuildErrors> {
        let mut errors = BuildErrors::new();
        let receivers = self.outputs();
        if receivers.is_empty() {
            errors.push(BuildError::new("nobody is told of anything").help(
                "add a [[…route]] with a receiver, or default = \"…\", and a sink that takes the output of that name",
            ));
        }
        let named = self.route.iter().enumerate();
        let named = named.map(|(n, route)| (format!("route[{n}].receiver"), &route.receiver));
        let named = named.chain(self.default.iter().map(|name| ("default".to_owned(), name)));
        let listed = self.receivers.iter().enumerate();
        let listed = listed.map(|(n, name)| (format!("receivers[{n}]"), name));
        for (key, name) in named.chain(listed) {
            let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            if name.is_empty() || !name.chars().all(letter) || name == "errors" {
                errors.push(
                    BuildError::key(key, format!("{name:?} is no name for an output"))
                        .help("use lower-case letters, digits and `_`; `errors` is taken"),
                );
            }
        }
        let mut calendars: Vec<(&str, Option<Calendar>)> = Vec::new();
        for (n, written) in self.calendar.iter().enumerate() {
            let read = errors.take(Calendar::new(written, &format!("calendar[{n}]")));
            calendars.push((&written.name, read));
        }
        let number = |name: &String| receivers.iter().position(|held| held == name);
        let mut routes: Vec<Way> = Vec::new();
        for (n, route) in self.route.iter().enumerate() {
            let key = format!("route[{n}]");
            let matcher = read_matcher(&route.r#match, &format!("{key}.match"), &mut errors);
            let group_by = match &route.group_by {
                None => vec!["rule".to_owned()],
                Some(fields) => fields.clone(),
            };
            let mut mute = Vec::new();
            for (m, name) in route.mute.iter().enumerate() {
                match calendars.iter().find(|(held, _)| held == name) {
                    Some((_, calendar)) => mute.extend(calendar.clone()),
                    None => {
                        let names = || calendars.iter().map(|(name, _)| *name);
                        let why = format!("no calendar is called {name:?}");
                        let help = match config::nearest(name, names()) {
                            Some(meant) => format!("did you mean {meant:?}?"),
                            None => "add a [[…calendar]] of this name".to_owned(),
                        };
                        errors.push(BuildError::key(format!("{key}.mute[{m}]"), why).help(help));
                    }
                }
            }
            routes.push(Way {
                receiver: number(&route.receiver).unwrap_or_default(),
                matcher,
                goes_on: route.r#continue,
                group_by: read_looks(&group_by, &format!("{key}.group_by"), &mut errors),
                wait: route.group_wait,
                interval: route.group_interval,
                repeat: route.repeat_interval,
                mute,
            });
        }
        let asked = routes.len();
        for receiver in 0..receivers.len() {
            if routes.iter().all(|way| way.receiver != receiver) {
                routes.push(Way {
                    receiver,
                    matcher: Matcher::default(),
                    goes_on: false,
                    group_by: read_looks(&["rule".to_owned()], "", &mut errors),
                    wait: wait(),
                    interval: interval(),
                    repeat: repeat(),
                    mute: Vec::new(),
                });
            }
        }
        let mut inhibits = Vec::new();
        for (n, inhibit) in self.inhibit.iter().enumerate() {
            let key = format!("inhibit[{n}]");
            inhibits.push((
                read_matcher(&inhibit.source, &format!("{key}.source"), &mut errors),
                read_matcher(&inhibit.target, &format!("{key}.target"), &mut errors),
                read_looks(&inhibit.equal, &format!("{key}.equal"), &mut errors),
            ));
        }
        if self.builtin_inhibit {
            for (source, target, equal) in BUILTIN {
                let rules = |rules: &[&str]| {
                    let rules = rules.iter().map(|rule| (*rule).to_owned()).collect();
                    Written::from([("rule".to_owned(), Values::Several(rules))])
                };
                let equal: Vec<String> = equal.iter().map(|field| (*field).to_owned()).collect();
                inhibits.push((
                    read_matcher(&rules(&[source]), "inhibit", &mut errors),
                    read_matcher(&rules(target), "inhibit", &mut errors),
                    read_looks(&equal, "inhibit", &mut errors),
                ));
            }
        }
        errors.finish(Plan {
            default: self.default.as_ref().and_then(number),
            receivers,
            routes,
            asked,
            inhibits,
            max_age: self.max_age,
        })
    }
}

fn read_matcher(written: &Written, key: &str, errors: &mut BuildErrors) -> Matcher {
    Matcher::new(written).unwrap_or_else(|wrong| {
        for (field, why) in wrong {
            let at = match field.is_empty() {
                true => key.to_owned(),
                false => format!("{key}.{field}"),
            };
            let (why, help) = why
                .split_once("; ")
                .unwrap_or((&why, "write fewer and shorter values"));
            errors.push(BuildError::key(at, format!("`{field}` {why}")).help(help));
        }
        Matcher::default()
    })
}

fn read_looks(names: &[String], key: &str, errors: &mut BuildErrors) -> Vec<Look> {
    let mut looks = Vec::new();
    for (n, name) in names.iter().enumerate() {
        match Look::new(name) {
            Ok(look) => looks.push(look),
            Err(why) => {
                let (why, help) = why.split_once("; ").unwrap_or((&why, ""));
                errors.push(
                    BuildError::key(format!("{key}[{n}]"), format!("`{name}` {why}")).help(help),
                );
            }
        }
    }
    looks
}

impl Plan {
    /// The routes by which messages about an alert go, at most one for each receiver.
    fn ways(&self, alert: &Event) -> Vec<usize> {
        let mut ways: Vec<usize> = Vec::new();
        for name in
            look::Look::new("pve.alert.route").map_or_else(|_| Vec::new(), |l| l.texts(alert))
        {
            let receiver = self.receivers.iter().position(|held| *held == name);
            match receiver.and_then(|r| self.routes.iter().position(|way| way.receiver == r)) {
                Some(way) if !ways.contains(&way) => ways.push(way),
                Some(_) => {}
                None => pipeline::log_limited!(
                    warn,
                    receiver = %pipeline::printable(&name),
                    rule = %pipeline::printable(&look::text(alert, "rule.id")),
                    "a rule names a receiver that is none; its alerts go by the routes"
                ),
            }
        }
        if !ways.is_empty() {
            return ways;
        }
        for (n, way) in self.routes[..self.asked].iter().enumerate() {
            if !way.matcher.holds(alert) {
                continue;
            }
            if ways
                .iter()
                .all(|held| self.routes[*held].receiver != way.receiver)
            {
                ways.push(n);
            }
            if !way.goes_on {
                return ways;
            }
        }
        if ways.is_empty()
            && let Some(default) = self.default
        {
            ways.extend(self.routes.iter().position(|way| way.receiver == default));
        }
        ways
    }
}

struct Notify {
    plan: Plan,
    language: Language,
    silences: Watched,
    ledger: Ledger,
    groups: Groups,
    /// Silences whose beginning was told, and whether their end was.
    told_silences: BTreeMap<String, bool>,
    /// For each receiver, in which epoch of the engine a message to it was last made: the next one leaves in a later epoch,
    /// and so after the answer to that one.
    made: Vec<Option<u64>>,
    /// Epochs of the engine; each save ends one.
    saves: Cell<u64>,
    /// When silences and reminders were last looked at.
    looked: Time,
}

impl Stateful for Notify {
    fn apply(&mut self, mut event: Event, out: &mut Outputs) {
        event.detach();
        if let Err(why) = self.take(&mut event, out) {
            out.error(&mut event, why);
        }
        // The record of the alert goes another way.
        out.filtered(1);
    }

    /// People wait by the clock on the wall, not by event time.
    fn advance(&mut self, _: Time, _: &mut Outputs) {}

    fn tick(&mut self, out: &mut Outputs) {
        self.send_what_is_due(out);
    }

    fn way_out(&self, _: usize, event: &Event) -> Option<usize> {
        let receiver = look::text(event, "pve.notify.receiver");
        self.plan
            .receivers
            .iter()
            .position(|held| *held == receiver)
    }

    fn remembered(&self) -> usize {
        self.ledger.len()
    }

    fn meaning(&self) -> String {
        // Routes may change as they like: what was told stays told.
        "1".to_owned()
    }

    fn save(&self, to: &mut Vec<u8>) {
        self.save_all(to);
        self.saves.set(self.saves.get() + 1);
    }

    fn load(&mut self, from: &[u8]) -> Result<(), StateError> {
        self.load_all(from)
    }
}
