//! Whether a program's books balance: received = sent + filtered + dead-lettered + failed (these
//! come again) + in flight, for every component.

use std::collections::BTreeMap;

/// One component's columns.
#[derive(Default)]
struct Account {
    received: i64,
    sent: i64,
    filtered: i64,
    dead: i64,
    failed: i64,
    waiting: i64,
}

/// Why they do not balance, if they do not; `metrics` are names with labels, and values.
pub fn balance(metrics: &[(String, f64)]) -> Result<(), String> {
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    for (full, value) in metrics {
        let Some((name, labels)) = full.split_once('{') else {
            continue;
        };
        let label = |key: &str| {
            let (_, rest) = labels.split_once(&format!("{key}=\""))?;
            rest.split('"').next()
        };
        let Some(id) = label("component_id") else {
            continue;
        };
        // What goes out of `.errors` is a copy of what goes on.
        if label("output") == Some("errors") {
            continue;
        }
        let account = accounts.entry(id.to_owned()).or_default();
        let column = match name {
            "component_received_events_total" => &mut account.received,
            "component_sent_events_total" => &mut account.sent,
            "component_discarded_events_total" => &mut account.filtered,
            "events_dead_lettered_total" => &mut account.dead,
            "component_failed_events_total" => &mut account.failed,
            "buffer_size_events" => &mut account.waiting,
            _ => continue,
        };
        *column += *value as i64;
    }
    assert!(!accounts.is_empty(), "there is no component in the metrics");
    for (id, a) in accounts {
        let rest = a.received - a.sent - a.filtered - a.dead - a.failed - a.waiting;
        if rest != 0 {
            return Err(format!(
                "{id}: received {}, sent {}, filtered {}, dead-lettered {}, waiting {}: {rest} are unaccounted for",
                a.received, a.sent, a.filtered, a.dead, a.waiting
            ));
        }
        if a.waiting != 0 {
            return Err(format!("{id}: {} events still wait", a.waiting));
        }
    }
    Ok(())
}
