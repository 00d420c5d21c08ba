//! The demo's world: the same day twice, lines in the shape of their files, and one act in all its traces.

use super::entry::{Entry, Log, Phase, What};
use super::maker::Maker;
use super::world::{Laws, World};
use super::*;

fn laws(seed: u64) -> Laws {
    // 2026-03-14T08:00:00Z
    Laws {
        seed,
        start: 1_773_475_200_000,
        nodes: 3,
        attacks: true,
        noise: false,
        month: false,
    }
}

const DAY: i64 = 24 * 3600 * 1000;

/// All entries of a day, each as what comes out of it: a line, or an event as JSON.
fn day(laws: Laws) -> Vec<(Entry, String)> {
    let mut world = World::new(laws);
    let mut maker = Maker::new("prod", run(laws.seed, laws.start));
    let mut told = Vec::new();
    loop {
        let entry = world.next();
        if entry.when >= laws.start + DAY {
            return told;
        }
        let node = world.nodes[entry.node].name.clone();
        let mut text = Vec::new();
        let text = match maker.line(&entry, &node, &mut text) {
            true => String::from_utf8(text).unwrap(),
            false => maker.event(&entry, &node).unwrap().to_json().to_string(),
        };
        told.push((entry, text));
    }
}

#[test]
fn the_same_seed_tells_the_same_day() {
    let one = day(laws(1));
    assert_eq!(one, day(laws(1)));
    assert_ne!(one[..100], day(laws(2))[..100]);
}

#[test]
fn every_line_has_the_shape_of_its_log() {
    let access = regex::Regex::new(r#"^(?P<ip>\S+) - (?P<user>.+?) \[\d{2}/\d{2}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4}\] "(?P<req>.*)" (?P<status>\d{3}) (?P<len>\d+|-)$"#).unwrap();
    let syslog = regex::Regex::new(
        r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}\+01:00 pve[123] [A-Za-z.-]+(\[\d+\])?: .+$",
    )
    .unwrap();
    let firewall = regex::Regex::new(
        r"^\d+ [0-7] \S+ \d{2}/[A-Z][a-z]{2}/\d{4}:\d{2}:\d{2}:\d{2} [+-]\d{4} .*SRC=\S+ DST=",
    )
    .unwrap();
    let upid = regex::Regex::new(
        r"UPID:pve\d:[0-9A-F]{8}:[0-9A-F]{8,9}:[0-9A-F]{8}:[^:\s/]+:[^:\s/]*:[^:\s/]+:",
    )
    .unwrap();
    let mut seen = std::collections::BTreeMap::new();
    for (entry, text) in day(laws(3)) {
        let log = entry.what.log();
        *seen.entry(log).or_insert(0) += 1;
        match log {
            Log::Access => assert!(access.is_match(&text), "{text}"),
            Log::Syslog => assert!(syslog.is_match(&text), "{text}"),
            Log::Firewall => assert!(firewall.is_match(&text), "{text}"),
            _ => assert_eq!(text.contains("UPID:"), upid.is_match(&text), "{text}"),
        }
    }
    assert_eq!(seen.len(), Log::ALL.len(), "{seen:?}");
}

#[test]
fn ten_guests_are_destroyed_at_night_and_each_leaves_all_its_traces() {
    let mut quiet = laws(1);
    for seed in 1..4 {
        quiet.seed = seed;
        let day = day(quiet);
        let destroyed: Vec<&str> = day
            .iter()
            .filter_map(|(entry, _)| match &entry.what {
                What::Task(task)
                    if task.upid.contains(":qmdestroy:") && task.phase == Phase::Start =>
                {
                    Some(task.upid.as_str())
                }
                _ => None,
            })
            .collect();
        assert_eq!(destroyed.len(), 10);
        for upid in destroyed {
            let vmid = upid.split(':').nth(6).unwrap();
            let node = upid.split(':').nth(1).unwrap();
            let of = |log: Log, what: &str| {
                let found: Vec<&Entry> = day
                    .iter()
                    .filter(|(entry, text)| entry.what.log() == log && text.contains(what))
                    .map(|(entry, _)| entry)
                    .collect();
                let by = found[0].by.as_ref().unwrap();
                assert!(by.user == "m.keller@pam", "{found:?}");
                assert!(by.address.as_ref().unwrap().starts_with("203.0.113."));
                found.len()
            };
            let call = format!("\"DELETE /api2/json/nodes/{node}/qemu/{vmid}?");
            // A call that pve1 hands on is written down there too.
            let lines = if node == "pve1" { 1 } else { 2 };
            assert_eq!(of(Log::Access, &call), lines, "{call}");
            let length = format!(" 200 {}", upid.len() + 11);
            assert!(
                day.iter()
                    .any(|(_, text)| text.contains(&call) && text.ends_with(&length))
            );
            assert_eq!(of(Log::Journal, &format!("starting task {upid}")), 1);
            assert_eq!(of(Log::Journal, &format!("end task {upid} OK")), 1);
            assert_eq!(of(Log::Journal, &format!("destroy VM {vmid}: {upid}")), 1);
            assert_eq!(of(Log::Tasks, upid), 2);
            assert_eq!(of(Log::Cluster, upid), 2);
            let file =
                format!("deletion of vm {vmid} in /etc/pve/nodes/{node}/qemu-server/{vmid}.conf");
            assert_eq!(of(Log::Config, &file), 1);
        }
    }
}

#[test]
fn a_permission_leaves_a_call_and_a_difference_and_nothing_else() {
    let day = day(laws(1));
    let grant: Vec<&(Entry, String)> = day
        .iter()
        .filter(|(_, text)| text.contains("m.keller@pam!sync|Administrator"))
        .collect();
    assert_eq!(grant.len(), 1);
    let (entry, _) = grant[0];
    assert_eq!(entry.what.log(), Log::Config);
    let call = day.iter().any(|(other, text)| {
        other.by == entry.by
            && text.contains("\"PUT /api2/json/access/acl")
            && (0..3000).contains(&(entry.when - other.when))
    });
    assert!(call);
}

#[test]
fn a_day_holds_what_an_auditor_looks_for() {
    let mut noisy = laws(1);
    noisy.noise = true;
    let day = day(noisy);
    let count = |what: &str| day.iter().filter(|(_, text)| text.contains(what)).count();
    assert!(count("rhost=::ffff:203.0.113.") >= 25);
    assert!(count("INFO: Starting Backup") > 10);
    assert!(count("POST /api2/json/access/ticket") > 20);
    assert!(count("vncticket=PVEVNC%3A") > 3);
    assert!(count(" 403 ") > 0 && count(" 401 ") > 0);
    assert!(count(":qmrestore:") > 0 && count(":hamigrate:") > 0 && count(":vncshell:") > 0);
    assert!(count("Accepted publickey for root from 192.168.10.") > 200);
    assert!(count("policy DROP: ") > 20);
    assert!(
        count("-onboot 1") == 2,
        "in the journal and in the cluster's log"
    );
    let polled = count("\"GET ");
    assert!(
        2 * polled > day.len(),
        "most entries are polling: {polled} of {}",
        day.len()
    );
}

#[test]
fn without_attacks_nothing_is_destroyed() {
    let quiet = Laws {
        attacks: false,
        ..laws(1)
    };
    assert!(
        !day(quiet)
            .iter()
            .any(|(_, text)| text.contains("destroy") || text.contains("203.0.113."))
    );
}

#[test]
fn one_node_is_a_cluster_too() {
    let alone = Laws {
        nodes: 1,
        ..laws(4)
    };
    assert!(day(alone).iter().all(|(entry, _)| entry.node == 0));
}

#[test]
fn the_truth_has_the_ids_of_the_events() {
    let laws = laws(5);
    let truth: Vec<Truth> = Day {
        seed: laws.seed,
        start: Time(laws.start * 1_000_000),
        lasts: Duration::from_secs(24 * 3600),
        nodes: laws.nodes,
        attacks: laws.attacks,
        noise: laws.noise,
        month: laws.month,
    }
    .truth("prod")
    .collect();
    let day = day(laws);
    assert_eq!(truth.len(), day.len());
    for (truth, (entry, text)) in truth.iter().zip(&day) {
        if entry.what.log().path().is_none() {
            assert!(text.contains(&truth.id), "{text}");
        }
    }
}

#[test]
fn what_happens_once_a_day_happens_at_whatever_time_the_day_begins() {
    for hour in 0..24 {
        let start = laws(7).start + (4 * hour + 1) * 15 * 60 * 1000;
        let entries = day(Laws { start, ..laws(7) });
        let count = |what: &str| {
            entries
                .iter()
                .filter(|(_, text)| text.contains(what))
                .count()
        };
        assert_eq!(count("/etc/pve/datacenter.cfg"), 1, "hour {hour}");
        assert_eq!(count("COMMAND=/usr/sbin/qm list"), 1, "hour {hour}");
        assert_eq!(count("got crm command"), 1, "hour {hour}");
        assert!(count("starting new backup job") >= 3, "hour {hour}");
    }
}
