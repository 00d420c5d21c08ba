//! What a reader gets: rows that own their texts, used again row by row.

use pipeline::{EventId, Time};
use rusqlite::types::ValueRef;

/// One event, as the columns of the store tell it. A text that is not there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(
    missing_docs,
    reason = "the fields are named like the columns, which `schema` explains"
)]
pub struct Row {
    pub seq: i64,
    /// Milliseconds since 1970, UTC.
    pub millis: i64,
    pub id: EventId,
    pub severity: Option<i64>,
    pub vmid: Option<i64>,
    pub code: String,
    pub action: String,
    pub outcome: String,
    pub kind: String,
    pub record: String,
    pub origin: String,
    pub user: String,
    pub source: String,
    pub source_basis: String,
    pub candidates: String,
    pub object_type: String,
    pub object_id: String,
    pub object_name: String,
    pub node: String,
    pub upid: String,
    pub reason: String,
    pub message: String,
    pub token: String,
    pub phase: String,
    pub(super) block: i64,
    pub(super) place: i64,
}

impl Row {
    /// The columns it is loaded from, in their order.
    pub(super) const COLUMNS: &'static str = "seq, time, id, severity, vmid, block, place, code, action, outcome, kind, record, \
        origin, user, source, source_basis, candidates, object_type, object_id, object_name, node, upid, reason, message, \
        token, phase";

    /// When it happened.
    pub fn time(&self) -> Time {
        Time(self.millis.saturating_mul(1_000_000))
    }

    /// The id in its hexadecimal form.
    pub fn id_hex(&self) -> String {
        let mut hex = [0; 32];
        self.id.write_hex(&mut hex);
        String::from_utf8_lossy(&hex).into_owned()
    }

    /// Takes the columns of a row of the database; the memory of its texts is used again.
    pub(super) fn load(&mut self, row: &rusqlite::Row<'_>) -> rusqlite::Result<()> {
        self.seq = row.get(0)?;
        self.millis = row.get(1)?;
        self.id = match row.get_ref(2)? {
            ValueRef::Blob(bytes) => id_of(bytes),
            _ => EventId::default(),
        };
        self.severity = row.get(3)?;
        self.vmid = row.get(4)?;
        self.block = row.get(5)?;
        self.place = row.get(6)?;
        let texts = [
            &mut self.code,
            &mut self.action,
            &mut self.outcome,
            &mut self.kind,
            &mut self.record,
            &mut self.origin,
            &mut self.user,
            &mut self.source,
            &mut self.source_basis,
            &mut self.candidates,
            &mut self.object_type,
            &mut self.object_id,
            &mut self.object_name,
            &mut self.node,
            &mut self.upid,
            &mut self.reason,
            &mut self.message,
            &mut self.token,
            &mut self.phase,
        ];
        for (n, text) in (7..).zip(texts) {
            text.clear();
            if let ValueRef::Text(bytes) = row.get_ref(n)? {
                match std::str::from_utf8(bytes) {
                    Ok(valid) => text.push_str(valid),
                    Err(_) => text.push_str(&String::from_utf8_lossy(bytes)),
                }
            }
        }
        Ok(())
    }
}

/// The id of sixteen bytes.
pub(super) fn id_of(bytes: &[u8]) -> EventId {
    let half = |at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|half| half.try_into().ok())
            .map_or(0, u64::from_be_bytes)
    };
    EventId([half(0), half(8)])
}

impl Row {
    /// Who: `alice@pve`, or `alice@pve!ci` where a token was used.
    pub fn who(&self) -> String {
        if self.token.is_empty() || self.user.is_empty() {
            return self.user.clone();
        }
        format!("{}!{}", self.user, self.token)
    }
}

/// One changed key of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeRow {
    /// The type of the object.
    pub object_type: String,
    /// Its id.
    pub object_id: String,
    /// What was changed.
    pub key: String,
    /// `add`, `remove` or `change`.
    pub op: String,
    /// What it was before.
    pub old: Option<String>,
    /// What it is now.
    pub new: Option<String>,
    /// The values were secrets.
    pub redacted: bool,
}

/// What an object was like, and from when to when.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The type of the object.
    pub object_type: String,
    /// Its id.
    pub object_id: String,
    /// Since when.
    pub valid_from: Time,
    /// Until when; `None`: still.
    pub valid_to: Option<Time>,
    /// The object was not there.
    pub gone: bool,
    /// What became different, as JSON; null: the key went away.
    pub delta: serde_json::Value,
    /// All that is known of it, as JSON.
    pub state: serde_json::Value,
    /// The event that said so.
    pub event: Option<EventId>,
}

/// How much of its resources an object used at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub time: Time,
    /// Where.
    pub node: Option<String>,
    /// `running`, `stopped`, …
    pub status: Option<String>,
    /// Of the processors it has [0–1].
    pub cpu: Option<f64>,
    /// Of its memory [0–1].
    pub mem: Option<f64>,
    /// Of its disk [0–1].
    pub disk: Option<f64>,
    /// Since it was started [s].
    pub uptime: Option<i64>,
}
