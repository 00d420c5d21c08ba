//! `/var/log/pve-firewall.log` (`pvefw-logger.c`): `vmid level chain date [policy ]ACTION: KEY=VALUE…`.

use pipeline::{Event, Time, Value, fields};

use super::names::NAMES;
use super::seen::{Seen, cut, fold};

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
        let word = cut(word, 64).to_ascii_lowercase();
        let way = match word.as_str() {
            "accept" => Some("allowed"),
            "drop" | "reject" => Some("denied"),
            _ => None,
        };
        if let Some(way) = way {
            let words = ["connection", way].map(Value::from);
            seen = seen.with(n.class, Value::List(words.to_vec()));
        }
        seen = seen.with(n.verdict, word);
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
            "PROTO" => seen = seen.with(n.transport, transport(value)),
            "IN" if !value.is_empty() => seen = seen.with(n.interface_in, value),
            "OUT" if !value.is_empty() => seen = seen.with(n.interface_out, value),
            "SPT" => seen = number(seen, n.port, value),
            "DPT" => seen = number(seen, n.destination_port, value),
            "MAC" => seen = seen.with(n.mac, value),
            _ => {}
        }
    }
    if let Some(address) = &seen.address {
        let kind = if address.contains(':') {
            "ipv6"
        } else {
            "ipv4"
        };
        seen.attribution = Some("direct");
        seen = seen.with(n.network_type, kind);
    }
    Some(seen)
}

/// A line of the connection tracker, which the same file has with the host option `log_nf_conntrack`:
/// `[NEW] tcp 6 120 SYN_SENT src=… dst=… sport=… dport=…`. What stands in front of the bracket differs.
pub(super) fn conntrack(text: &str) -> Option<Seen> {
    let n = &*NAMES;
    let (kind, rest) = ["[NEW]", "[UPDATE]", "[DESTROY]"]
        .iter()
        .find_map(|kind| Some((*kind, text.split_once(kind)?.1)))?;
    let word = kind.trim_matches(['[', ']']).to_ascii_lowercase();
    let mut seen = Seen::new("PVE-4301", "success")
        .actor("system")
        .object("firewall_rule", "conntrack")
        .evidence()
        .with(n.verdict, word)
        .with(n.origin, "firewall");
    let mut words = rest.split_whitespace();
    if let Some(name) = words.next() {
        seen = seen.with(n.transport, transport(name));
    }
    let mut target = None;
    for pair in words {
        let Some((key, value)) = pair.split_once('=') else {
            continue;
        };
        match key {
            "src" if seen.address.is_none() => seen = seen.from(value),
            "dst" if target.is_none() => target = fold(value),
            "sport" if !seen.more.iter().any(|(field, _)| *field == n.port) => {
                seen = number(seen, n.port, value);
            }
            "dport"
                if !seen
                    .more
                    .iter()
                    .any(|(field, _)| *field == n.destination_port) =>
            {
                seen = number(seen, n.destination_port, value);
            }
            _ => {}
        }
    }
    Some(match target {
        Some(target) => seen.with(n.destination, target),
        None => seen,
    })
}

/// A protocol's name; the log has the number of one it does not know.
fn transport(text: &str) -> String {
    match text {
        "1" => "icmp".to_owned(),
        "6" => "tcp".to_owned(),
        "17" => "udp".to_owned(),
        "58" => "ipv6-icmp".to_owned(),
        _ => cut(text, 32).to_ascii_lowercase(),
    }
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
