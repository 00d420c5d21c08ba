//! Alerts as events: `PVE-9101` opened, `PVE-9102` updated, `PVE-9103` resolved, with every field an audit event has.

use std::sync::{Arc, LazyLock};

use pipeline::catalogue::Catalogue;
use pipeline::{Context, Event, EventId, Field, Language, Preset, Time, Value, ValueRef, fields};

use super::alert::{Told, Turn};
use crate::rules::Rule;

macro_rules! names {
    ($($name:ident = $path:literal),* $(,)?) => {
        /// Fields of an alert.
        pub(super) struct Names { $(pub(super) $name: Field),* }

        /// The one set of them.
        pub(super) static NAMES: LazyLock<Names> = LazyLock::new(|| Names { $($name: Field::new($path)),* });
    };
}

names! {
    category = "event.category", class = "event.type", start = "event.start", end = "event.end",
    rule_id = "rule.id", rule_name = "rule.name", rule_version = "rule.version", technique = "threat.technique.id",
    alert_id = "pve.alert.id", state = "pve.alert.state", turn = "pve.alert.transition", group = "pve.alert.group",
    key = "pve.alert.key", count = "pve.alert.count", saturated = "pve.alert.saturated", first = "pve.alert.first",
    last = "pve.alert.last", ids = "pve.alert.events", late = "pve.alert.late", incomplete = "pve.alert.incomplete",
    severity = "pve.alert.severity", labels = "pve.alert.labels", route = "pve.alert.route", opened = "pve.alert.opened",
    resolved = "pve.alert.resolved", profile = "pve.alert.profile", record_only = "pve.alert.record_only",
    replayed = "pve.alert.replayed", overflow = "pve.alert.overflow", action = "pve.alert.action",
    explain = "pve.alert.explain", value = "pve.alert.value",
    object_type = "pve.object.type", object_id = "pve.object.id", object_name = "pve.object.name",
    object_path = "pve.object.path", vmid = "pve.vmid", token = "pve.token.id", target = "user.target.id",
    target_name = "user.target.name", target_domain = "user.target.domain",
    user_domain = "user.domain", attribution = "pve.source.attribution", actor = "pve.actor.kind",
    cluster = "orchestrator.cluster.name", record = "pve.record", origin = "pve.origin", level = "pve.level",
    schema = "pve.schema", ecs = "ecs.version", agent_type = "agent.type", agent_version = "agent.version",
    agent_id = "agent.id", related_ip = "related.ip", related_user = "related.user", related_hosts = "related.hosts",
    skew = "pve.time.skew_ms",
}

/// Longest text that an alert takes over [bytes], and longest list [values].
const LONGEST_TEXT: usize = 512;
const MOST_LISTED: usize = 32;

/// What an alert says of the newest event.
static KEPT: LazyLock<Vec<Field>> = LazyLock::new(|| {
    let n = &*NAMES;
    vec![
        fields::EVENT_ACTION,
        fields::EVENT_CODE,
        fields::HOST_NAME,
        fields::USER_ID,
        fields::USER_NAME,
        n.user_domain,
        n.target,
        n.target_name,
        n.target_domain,
        n.token,
        fields::SOURCE_IP,
        n.attribution,
        n.actor,
        n.object_type,
        n.object_id,
        n.object_name,
        n.object_path,
        n.vmid,
        n.cluster,
        fields::LOG_FILE_PATH,
        fields::PROCESS_NAME,
        n.related_ip,
        n.related_user,
        n.related_hosts,
    ]
});

/// The same by the number of the field.
static IS_KEPT: LazyLock<Vec<bool>> = LazyLock::new(|| {
    let most = KEPT.iter().map(|field| field.number()).max().unwrap_or(0);
    let mut kept = vec![false; most + 1];
    KEPT.iter().for_each(|field| kept[field.number()] = true);
    kept
});

/// Whether an alert says this of its newest event.
pub(super) fn is_kept(field: Field) -> bool {
    IS_KEPT.get(field.number()).copied().unwrap_or(false)
}

/// The event without what an alert does not say, and without the buffer it was read into.
pub(super) fn keep(event: &Event) -> Event {
    let mut kept = Event::new(event.id(), event.timestamp());
    for (field, value) in event.iter() {
        if !is_kept(field) {
            continue;
        }
        match value {
            // A name as long as a page is hostile, and no reader needs it whole.
            ValueRef::Str(text) => kept.set_str(field, short(text)),
            ValueRef::List(list) => {
                let texts = list.iter().take(MOST_LISTED).map(|value| match value {
                    Value::Str(text) => Value::Str(short(text).to_owned()),
                    other => other.clone(),
                });
                kept.set(field, Value::List(texts.collect()));
            }
            other => kept.set(field, other.to_owned()),
        }
    }
    kept
}

/// The beginning of a text.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// Makes events of what is told.
pub(super) struct Writer {
    producer: Preset,
    language: Language,
    profile: &'static str,
    pub(super) replayed: bool,
    cluster: String,
}

impl Writer {
    pub(super) fn new(cx: &Context, profile: &'static str) -> Writer {
        let n = &*NAMES;
        let cluster = cx.cluster().unwrap_or("default").to_owned();
        let producer = Preset::default()
            .constant(fields::EVENT_KIND, "alert")
            .constant(fields::EVENT_DATASET, "pve.alert")
            .constant(n.ecs, "8.17.0")
            .constant(n.schema, "1.0")
            .constant(n.record, "primary")
            .constant(n.origin, "pipeline")
            .constant(n.level, "metadata")
            .constant(n.agent_type, "pvetrail")
            .constant(n.agent_version, env!("CARGO_PKG_VERSION"))
            .constant(n.agent_id, cx.agent_id())
            .constant(n.cluster, cluster.as_str());
        Writer {
            producer,
            language: cx.language(),
            profile,
            replayed: false,
            cluster,
        }
    }

    /// The event of one turn of an alert.
    pub(super) fn event(&self, told: &Told, rule: &Rule, now: Time) -> Event {
        self.event_of(told, &rule.id, Some(rule), now)
    }

    /// The same for a rule that may be gone.
    pub(super) fn event_of(&self, told: &Told, id: &str, rule: Option<&Rule>, now: Time) -> Event {
        let rule_id = id;
        let n = &*NAMES;
        let alert = &told.alert;
        let code = match told.turn {
            Turn::Opened => "PVE-9101",
            Turn::Updated => "PVE-9102",
            Turn::Resolved => "PVE-9103",
        };
        let id = match told.turn {
            Turn::Opened => alert.id,
            _ => EventId::of_parts(&[
                b"pve-audit/1",
                b"alert",
                self.cluster.as_bytes(),
                alert.id.to_string().as_bytes(),
                code.as_bytes(),
                alert.turns.to_string().as_bytes(),
            ]),
        };
        let mut event = Event::new(id, Time(told.at));
        let group = match &alert.event {
            Some(_) => None,
            None => Some(super::faces::of_group(&told.group, id, told.at)),
        };
        if let Some(newest) = alert.event.as_deref().or(group.as_ref()) {
            for (field, value) in newest.iter() {
                if field != fields::EVENT_CODE {
                    event.set(field, value.to_owned());
                }
            }
        }
        event.set_preset(&self.producer);
        event.set(fields::EVENT_CODE, code);
        if let Some(row) = Catalogue::builtin().get(code) {
            let list = |words: &[String]| {
                Value::List(words.iter().map(|word| word.as_str().into()).collect())
            };
            event.set(n.category, list(&row.category));
            event.set(n.class, list(&row.kinds));
            if !event.has(fields::EVENT_ACTION) {
                event.set(fields::EVENT_ACTION, row.action.as_str());
            }
            event.set(n.action, row.action.as_str());
        }
        event.set(fields::EVENT_OUTCOME, "success");
        event.set(fields::EVENT_SEVERITY, alert.grade.number());
        event.set(fields::EVENT_CREATED, Value::Time(now));
        event.set(n.start, Value::Time(Time(alert.first.time)));
        event.set(n.end, Value::Time(Time(alert.last.time)));
        event.set(n.rule_id, rule_id);
        if let Some(rule) = rule {
            event.set(n.rule_name, &*rule.name);
            event.set(n.rule_version, i64::from(rule.version));
            let techniques: Vec<Value> = rule.techniques().map(Value::Str).collect();
            if !techniques.is_empty() {
                event.set(n.technique, Value::List(techniques));
            }
            set_texts(&mut event, rule);
        }
        self.alert(&mut event, told);
        match (event.has(n.object_type), event.has(n.object_id)) {
            (true, false) => event.set(n.object_id, ""),
            (false, false) => {
                event.set(n.object_type, "rule");
                event.set(n.object_id, rule_id);
            }
            (_, true) => {}
        }
        if !event.has(n.attribution) {
            event.set(n.attribution, "none");
        }
        if !event.has(n.actor) {
            event.set(n.actor, "pipeline");
        }
        // An alert about a node is that node's, whoever told of it: routes, silences and inhibitions go by this name.
        if event.str(n.object_type) == Some("node")
            && let Some(node) = event.str(n.object_id).filter(|id| !id.is_empty())
            && event.str(fields::HOST_NAME) != Some(node)
        {
            let node = node.to_owned();
            let teller = event.str(fields::HOST_NAME).map(str::to_owned);
            let hosts = [Some(node.clone()), teller].into_iter().flatten();
            event.set(
                n.related_hosts,
                Value::List(hosts.map(Value::Str).collect()),
            );
            event.set(fields::HOST_NAME, node);
        }
        // The machine that this program runs on has no part in it: a node that nobody named is not named.
        for (all, one) in [
            (n.related_hosts, fields::HOST_NAME),
            (n.related_user, fields::USER_ID),
            (n.related_ip, fields::SOURCE_IP),
        ] {
            if !event.has(all)
                && let Some(value) = event.get(one).map(|value| value.to_owned())
            {
                event.set(all, Value::List(vec![value]));
            }
        }
        let sentence = self.sentence(told, rule_id, rule);
        event.set(fields::MESSAGE, sentence);
        event
    }

    /// The fields of the alert itself.
    fn alert(&self, event: &mut Event, told: &Told) {
        let n = &*NAMES;
        let alert = &told.alert;
        event.set(n.alert_id, alert.id.to_string());
        let state = if alert.is_open() { "open" } else { "resolved" };
        event.set(n.state, state);
        event.set(n.turn, i64::from(alert.turns));
        if let Some(group) = group_of(&told.group) {
            event.set(n.group, group);
        }
        event.set(n.key, &*told.group);
        event.set(n.count, alert.count);
        if alert.value.is_finite() && alert.value.fract() != 0.0 {
            event.set(n.value, alert.value);
        }
        event.set(n.saturated, alert.saturated);
        event.set(n.first, alert.first.id.to_string());
        event.set(n.last, alert.last.id.to_string());
        let ids = alert.ids.iter().map(|id| Value::Str(id.to_string()));
        event.set(n.ids, Value::List(ids.collect()));
        event.set(n.late, alert.late);
        event.set(n.incomplete, alert.incomplete);
        event.set(n.severity, alert.grade.word());
        event.set(n.opened, Value::Time(Time(alert.opened)));
        if let Some(at) = alert.resolved {
            event.set(n.resolved, Value::Time(Time(at)));
        }
        event.set(n.profile, self.profile);
        event.set(n.replayed, self.replayed);
        if alert.overflow > 0 {
            event.set(n.overflow, alert.overflow);
        }
        if let Some(ended) = alert.ended {
            event.set(fields::EVENT_REASON, ended.words(self.language));
        }
    }

    /// One sentence for a person.
    fn sentence(&self, told: &Told, id: &str, rule: Option<&Rule>) -> String {
        let code = match told.turn {
            Turn::Opened => "PVE-9101",
            Turn::Updated => "PVE-9102",
            Turn::Resolved => "PVE-9103",
        };
        let row = Catalogue::builtin().get(code);
        let head = row.map_or("", |row| match self.language {
            Language::En => row.text.en.as_str(),
            Language::De => row.text.de.as_str(),
        });
        let (times, what) = match self.language {
            Language::En => ("events", "more alerts of this rule are not told one by one"),
            Language::De => (
                "Ereignisse",
                "weitere Alarme dieser Regel werden nicht einzeln gemeldet",
            ),
        };
        let alert = &told.alert;
        let mut text = format!("{head}: {id}");
        if let Some(rule) = rule {
            text.push_str(&format!(" {}", rule.name));
        }
        if let Some(ValueRef::Map(parts)) = group_of(&told.group).as_ref().map(Value::as_ref)
            && !parts.is_empty()
        {
            let parts: Vec<String> = parts
                .iter()
                .map(|(name, value)| {
                    let value = match value {
                        Value::Str(text) => pipeline::printable(text).to_string(),
                        other => other.as_ref().to_json().to_string(),
                    };
                    let short: String = value.chars().take(200).collect();
                    format!("{name} {short}")
                })
                .collect();
            text.push_str(&format!(" ({})", parts.join(", ")));
        }
        if alert.overflow > 0 {
            text.push_str(&format!(", {} {what}", alert.overflow));
        } else {
            let least = if alert.saturated { "≥ " } else { "" };
            text.push_str(&format!(", {least}{} {times}", alert.count));
        }
        if let Some(ended) = alert.ended {
            text.push_str(&format!("; {}", ended.words(self.language)));
        } else if let Some(rule) = rule.filter(|rule| !rule.explain.is_empty()) {
            text.push_str(": ");
            text.push_str(&rule.explain);
        }
        text
    }
}

/// What a rule says of its alerts.
fn set_texts(event: &mut Event, rule: &Rule) {
    let n = &*NAMES;
    if !rule.labels.is_empty() {
        let labels = rule.labels.iter();
        let labels = labels.map(|(name, value)| (name.clone(), Value::Str(value.clone())));
        event.set(n.labels, Value::Map(labels.collect()));
    }
    if let Some(route) = &rule.notify {
        event.set(n.route, &**route);
    }
    event.set(n.record_only, rule.record_only);
    if !rule.explain.is_empty() {
        event.set(n.explain, &*rule.explain);
    }
}

/// The group as a map, from its canonical JSON.
fn group_of(key: &Arc<str>) -> Option<Value> {
    let json: serde_json::Value = serde_json::from_str(key).ok()?;
    json.is_object().then(|| Value::from_json(json))
}
