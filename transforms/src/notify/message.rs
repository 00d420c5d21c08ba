//! A message about an alert: its mark, its severity in words, and one line of plain text.

use pipeline::{Event, Language, fields, printable};

use super::look::text;

/// How grave an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// For the record.
    Info,
    /// Worth a look.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth a look now.
    High,
    /// Somebody is to get up.
    Critical,
}

impl Severity {
    /// All of them, the least first.
    pub const ALL: [Severity; 5] = [
        Severity::Info,
        Severity::Low,
        Severity::Medium,
        Severity::High,
        Severity::Critical,
    ];

    /// The severity of an alert: the word, or else the number.
    pub fn of(alert: &Event) -> Severity {
        let word = text(alert, "pve.alert.severity");
        if let Some(known) = Severity::ALL.into_iter().find(|s| s.name() == word) {
            return known;
        }
        match alert.get(fields::EVENT_SEVERITY).and_then(|v| v.as_int()) {
            Some(..=1) | None => Severity::Info,
            Some(2..=3) => Severity::Low,
            Some(4..=5) => Severity::Medium,
            Some(6..=8) => Severity::High,
            Some(9..) => Severity::Critical,
        }
    }

    /// The word in rules and matchers.
    pub fn name(self) -> &'static str {
        ["info", "low", "medium", "high", "critical"][self as usize]
    }

    /// The word for people.
    pub fn word(self, language: Language) -> &'static str {
        match language {
            Language::En => self.name(),
            Language::De => ["Hinweis", "niedrig", "mittel", "hoch", "kritisch"][self as usize],
        }
    }

    /// The mark in front of a message.
    pub fn mark(self) -> &'static str {
        ["⚪", "🟢", "🟡", "🟠", "🔴"][self as usize]
    }
}

/// What a message says of its alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// It stands.
    Opened,
    /// It is graver than it was said to be.
    Updated,
    /// It still stands.
    Reminder,
    /// It is over.
    Resolved,
}

impl What {
    pub(super) fn name(self) -> &'static str {
        match self {
            What::Opened => "opened",
            What::Updated => "updated",
            What::Reminder => "reminder",
            What::Resolved => "resolved",
        }
    }

    fn word(self, language: Language) -> &'static str {
        match (self, language) {
            (What::Opened, _) => "",
            (What::Updated, Language::En) => "raised",
            (What::Updated, Language::De) => "verschärft",
            (What::Reminder, Language::En) => "still open",
            (What::Reminder, Language::De) => "weiterhin offen",
            (What::Resolved, Language::En) => "resolved",
            (What::Resolved, Language::De) => "beendet",
        }
    }
}

/// Longest part of a line [characters].
const LONGEST: usize = 300;

/// What a person reads: `🔴 critical: PVR-201 vm_delete: … · user … · …`, one line without control characters.
pub(super) fn plain(alert: &Event, what: What, language: Language) -> String {
    let severity = Severity::of(alert);
    let mut line = format!("{} {}", severity.mark(), severity.word(language));
    let state = what.word(language);
    if !state.is_empty() {
        line.push_str(&format!(" ({state})"));
    }
    let rule = format!("{} {}", text(alert, "rule.id"), text(alert, "rule.name"));
    line.push_str(&format!(": {}", clean(rule.trim())));
    let message = clean(alert.str(fields::MESSAGE).unwrap_or_default());
    if !message.is_empty() {
        line.push_str(&format!(" – {message}"));
    }
    let named = |en: &'static str, de: &'static str| match language {
        Language::En => en,
        Language::De => de,
    };
    let object = [text(alert, "pve.object.type"), text(alert, "pve.object.id")].join("/");
    let name = text(alert, "pve.object.name");
    let object = match name.is_empty() {
        true => object,
        false => format!("{object} ({name})"),
    };
    let mut address = text(alert, "source.ip");
    let basis = text(alert, "pve.source.attribution");
    if !address.is_empty() && !basis.is_empty() {
        address = format!("{address} ({basis})");
    } else if address.is_empty() && !["", "none"].contains(&basis.as_str()) {
        // Not known is said, never guessed.
        address = basis;
    }
    let count = text(alert, "pve.alert.count");
    let saturated = text(alert, "pve.alert.saturated") == "true";
    let count = match count.as_str() {
        "" => count,
        _ if saturated => format!("≥ {count}"),
        _ => count,
    };
    for (name, value) in [
        (named("user", "Benutzer"), text(alert, "user.id")),
        (named("action", "Vorgang"), text(alert, "event.action")),
        (
            named("object", "Objekt"),
            object.trim_matches('/').to_owned(),
        ),
        (named("node", "Knoten"), text(alert, "host.name")),
        (named("from", "von"), address),
        (named("at", "um"), alert.timestamp().to_string()),
        (named("count", "Anzahl"), count),
        (named("alert", "Alarm"), text(alert, "pve.alert.id")),
    ] {
        let value = clean(&value);
        if !value.is_empty() {
            line.push_str(&format!(" · {name} {value}"));
        }
    }
    line
}

/// Log text never reaches a chat or a terminal as it came: one line, printable, not endless.
fn clean(text: &str) -> String {
    let one: Vec<&str> = text.split_whitespace().collect();
    let one = one.join(" ");
    let one = printable(&one);
    match one.char_indices().nth(LONGEST) {
        None => one.into_owned(),
        Some((at, _)) => format!("{}…", &one[..at]),
    }
}
