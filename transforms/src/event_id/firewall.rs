//! `/var/log/pve-firewall.log` (`pvefw-logger.c`): `vmid level chain date [policy ]ACTION: KEY=VALUE…`.

use pipeline::{Event, Time, Value, fields};

use super::names::NAMES;
use super::seen::{Seen, fold};

/// A line of it, understood; the time of the line becomes that of the event. `None` where it is none.
pub(super) fn understand(event: &mut Event) -> Option<Seen> {
    let n = &*NAMES;
    let text = event.str(fields::MESSAGE)?.to_owned();
    let mut parts = text.splitn(4, ' ');
    let vmid = parts.next()?.parse::<i64>().ok()?;
    let level = parts.next()?;
    if level.len() != 1 || !level.as_bytes()[0].is_ascii_digit() {
        return None;
    }
    let chain = parts.next()?;
    let rest = parts.next()?;
    let (stamp, rest) = rest
        .get(..26)
        .map(|stamp| (stamp, rest[26..].trim_start()))?;
    let at = time(stamp)?;
    event.set_timestamp(at);
    let node = event.str(n.node).unwrap_or_default().to_owned();
    let base = |outcome| {
        let seen = Seen::new("PVE-4301", outcome)
            .actor("system")
            .with(n.chain, chain)
            .with(n.origin, "firewall");
        if vmid > 0 {
            let mut seen = seen.object("firewall_rule", format!("guest/{vmid}/{chain}"));
            seen.vmid = Some(vmid);
            seen
        } else {
            seen.object("firewall_rule", format!("node/{node}/{chain}"))
        }
    };
    if let Some(skipped) = rest.strip_prefix("skipped ") {
        let mut seen = Seen::new("PVE-6077", "failure")
            .object("node", node.clone())
            .actor("system");
        let count = skipped
            .split(' ')
            .next()
            .and_then(|count| count.parse::<i64>().ok());
        seen = seen
            .with(n.count, count.unwrap_or_default())
            .with(n.origin, "firewall");
        return Some(seen.because(rest));
    }
    if chain == "-" && !rest.contains('=') {
        let seen = Seen::new("PVE-6078", "success")
            .object("service", "pvefw-logger")
            .actor("system")
            .evidence();
        return Some(
            seen.with(n.origin, "firewall")
                .with(n.process, "pvefw-logger"),
        );
    }
    let (verdict, packet) = match rest.split_once(": ") {
        Some((verdict, packet)) if !verdict.contains('=') => (Some(verdict), packet),
        _ => (None, rest),
    };
    let mut seen = base("success").local();
    if let Some(verdict) = verdict {
        let word = verdict
            .trim_start_matches("policy ")
            .trim_start_matches("PVEFW-");
        seen = seen.with(n.verdict, word.to_ascii_lowercase());
    }
    for pair in packet.split(' ') {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        match key {
            "SRC" if seen.address.is_none() => seen.address = fold(value).map(str::to_owned),
            "DST" => {
                if let Some(address) = fold(value) {
                    seen = seen.with(n.destination, address);
                }
            }
            "PROTO" => seen = seen.with(n.transport, value.to_ascii_lowercase()),
            "SPT" => seen = number(seen, n.port, value),
            "DPT" => seen = number(seen, n.destination_port, value),
            "MAC" => seen = seen.with(n.mac, value),
            _ => {}
        }
    }
    if seen.address.is_some() {
        seen.attribution = Some("direct");
    }
    Some(seen)
}

fn number(seen: Seen, field: pipeline::Field, text: &str) -> Seen {
    match text.parse::<i64>() {
        Ok(number) => seen.with(field, Value::Int(number)),
        Err(_) => seen,
    }
}

/// `26/Jan/2026:09:30:14 +0100`; here the month is a name.
fn time(stamp: &str) -> Option<Time> {
    let zoned = jiff::Zoned::strptime("%d/%b/%Y:%H:%M:%S %z", stamp).ok()?;
    Some(Time::from_secs(zoned.timestamp().as_second()))
}
