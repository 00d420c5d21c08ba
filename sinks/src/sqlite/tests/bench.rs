//! Figures: how fast it is written, found and told. Short in the suite, long by hand.

#![allow(clippy::print_stdout, reason = "figures are what it is for")]

use std::time::Instant;

use super::*;

/// An event as `event_id` and `correlate` make them, about 1.2 KiB of JSON.
fn typical(n: u64) -> Event {
    let mut random = fastrand::Rng::with_seed(n);
    let (user, node, vmid) = (
        random.u32(..200),
        random.u32(..3) + 1,
        100 + random.u32(..500),
    );
    let ip = format!("192.0.{}.{}", random.u8(..4), random.u8(..));
    let failed = random.u32(..20) == 0;
    let (code, action, kind) = [
        ("PVE-2004", "vm-start", "vm"),
        ("PVE-1001", "login", "user"),
        ("PVE-2014", "vm-config-change", "vm"),
        ("PVE-1013", "api-read", "vm"),
    ][random.usize(..4)];
    let evidence = random.u32(..3) == 0;
    let who = format!("user{user}@pve");
    let mut event = event(
        0,
        json!({
            "event": { "code": code, "action": action, "kind": "event", "category": ["host", "configuration"], "type": ["change"],
                "outcome": if failed { "failure" } else { "success" }, "severity": 5, "dataset": "pve.audit", "created": "2026-03-14T23:41:11.204Z",
                "original": format!("{ip} - {who} [14/03/2026:23:41:11 +0000] \"PUT /api2/extjs/nodes/pve{node}/qemu/{vmid}/config HTTP/1.1\" 200 {}", random.u32(..9999)) },
            "user": { "id": who, "name": format!("user{user}"), "domain": "pve" }, "source": { "ip": ip },
            "host": { "name": format!("pve{node}") }, "process": { "name": "pveproxy", "pid": random.u32(..99999) },
            "related": { "user": [who], "ip": [ip], "hosts": [format!("pve{node}")] },
            "url": { "path": format!("/api2/extjs/nodes/pve{node}/qemu/{vmid}/config") },
            "http": { "request": { "method": "PUT" }, "response": { "status_code": 200 } },
            "message": format!("{who} changed cores, memory of VM {vmid} (guest-{vmid}) on pve{node} from {ip}"),
            "orchestrator": { "cluster": { "name": "prod" } }, "ecs": { "version": "8.17.0" },
            "agent": { "type": "pvetrail", "version": "0.1.0", "id": "pve1-c0ffee" },
            "pve": { "schema": "1.0", "level": "params", "record": if evidence { "evidence" } else { "primary" }, "origin": "access", "vmid": vmid,
                "object": { "type": kind, "id": vmid.to_string(), "name": format!("guest-{vmid}"), "path": format!("/vms/{vmid}") },
                "source": { "attribution": "direct" }, "actor": { "kind": "user" } },
        }),
    );
    event.set_id(pipeline::EventId([random.u64(..), random.u64(..)]));
    event.set_timestamp(pipeline::Time(
        1_773_446_400_000_000_000 + n as i64 * 3_000_000,
    ));
    event
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Builds a store of `rows` events, prints how fast, and how fast it answers.
fn measure(rows: u64, batch: u64) -> (f64, f64) {
    let ground = Ground::new();
    // Kept for `pvetrail query` to be measured on.
    let path = std::env::var_os("PVETRAIL_KEEP").map_or_else(|| ground.path(), PathBuf::from);
    let mut writer = Writer::new(path.clone(), true);
    // Making events costs more than storing them, so some are used again under other ids and times.
    let stock: Vec<Event> = (0..20_000.min(rows.max(1))).map(typical).collect();
    let mut spent = 0.0;
    let mut last = Instant::now();
    for first in (0..rows).step_by(batch as usize) {
        let made: Vec<Event> = (first..(first + batch).min(rows))
            .map(|n| {
                let mut event = stock[n as usize % stock.len()].clone();
                let mut random = fastrand::Rng::with_seed(n);
                event.set_id(pipeline::EventId([random.u64(..), random.u64(..)]));
                event.set_timestamp(pipeline::Time(
                    1_773_446_400_000_000_000 + n as i64 * 3_000_000,
                ));
                event
            })
            .collect();
        let made = Events::of(made);
        let began = Instant::now();
        writer.write(&made).unwrap();
        spent += began.elapsed().as_secs_f64();
        if last.elapsed().as_secs() >= 20 {
            println!(
                "{} rows, {:.0} events/s so far",
                first + batch,
                (first + batch) as f64 / spent
            );
            last = Instant::now();
        }
    }
    // With `PVETRAIL_ROWS=0` a store that was kept is only asked.
    let per_second = rows as f64 / spent;
    let size = std::fs::metadata(&path).unwrap().len();
    println!(
        "written: {rows} events at {per_second:.0}/s, {} bytes each, {} KiB anonymous memory",
        size / rows.max(1),
        memory()
    );
    drop(writer);
    let reader = Reader::open(&path).unwrap();
    let mut slowest: f64 = 0.0;
    let some = |set: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        set(&mut filter);
        filter
    };
    let middle = pipeline::Time(1_773_446_400_000_000_000 + rows as i64 / 2 * 3_000_000);
    for (name, filter) in [
        ("newest", some(&|_| {})),
        ("user", some(&|f| f.users = vec!["user7@pve".into()])),
        (
            "user without realm",
            some(&|f| f.users = vec!["user7".into()]),
        ),
        ("vmid", some(&|f| f.vmids = vec![104])),
        ("object", some(&|f| f.objects = vec!["vm/104".into()])),
        ("source", some(&|f| f.sources = vec!["192.0.2.17".into()])),
        (
            "network",
            some(&|f| f.sources = vec!["192.0.2.0/28".into()]),
        ),
        ("code", some(&|f| f.codes = vec!["PVE-2004".into()])),
        ("action", some(&|f| f.actions = vec!["vm-start".into()])),
        ("node", some(&|f| f.nodes = vec!["pve2".into()])),
        ("failed", some(&|f| f.outcomes = vec!["failure".into()])),
        (
            "failed of a user",
            some(&|f| (f.users, f.outcomes) = (vec!["user7@pve".into()], vec!["failure".into()])),
        ),
        (
            "user up to the middle",
            some(&|f| (f.users, f.to) = (vec!["user7@pve".into()], Some(middle))),
        ),
        ("text", some(&|f| f.text = Some("user7 104".into()))),
    ] {
        let began = Instant::now();
        let mut found = 0;
        let each = &mut |_: &Row| {
            found += 1;
            true
        };
        reader.rows(&filter, 100, each).unwrap();
        let spent = began.elapsed().as_secs_f64() * 1000.0;
        println!("  {name}: {found} rows in {spent:.1} ms");
        if name != "text" {
            slowest = slowest.max(spent);
        }
    }
    let began = Instant::now();
    let (mut count, mut bytes) = (0_u64, 0);
    let each = &mut |row: &Row| {
        count += 1;
        bytes += row.message.len();
        true
    };
    reader.rows(&Filter::default(), 0, each).unwrap();
    println!(
        "  all: {:.0} rows/s",
        count as f64 / began.elapsed().as_secs_f64()
    );
    assert!(bytes > 0);
    let began = Instant::now();
    let failed = some(&|f| f.outcomes = vec!["failure".into()]);
    let groups = reader.groups(&failed, By::User, 5, 0).unwrap();
    println!(
        "  failed by user: {} groups in {:.0} ms",
        groups.len(),
        began.elapsed().as_secs_f64() * 1000.0
    );
    (per_second, slowest)
}

#[test]
fn a_store_is_written_and_answers() {
    let (_, slowest) = measure(20_000, 5000);
    // Without optimisation, on a busy machine.
    assert!(slowest < 2000.0, "{slowest} ms");
}

/// `PVETRAIL_ROWS=10000000 cargo test --release -p sinks sqlite::tests::bench::ten_million -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes and 8 GB: cargo test --release -p sinks sqlite::tests::bench::ten_million -- --ignored --nocapture"]
fn ten_million() {
    let rows = std::env::var("PVETRAIL_ROWS")
        .ok()
        .and_then(|rows| rows.parse().ok());
    let (_, slowest) = measure(rows.unwrap_or(10_000_000), 10_000);
    assert!(slowest < 100.0, "{slowest} ms");
}
