//! Input that means no good: very many groups, very long names, states that are none.

use pipeline::testing;

use super::*;
use crate::anomaly::engine::Engine;
use crate::anomaly::{Config, judge, saved};

const BY_USER: &str = r#"
[[rule]]
id = "T-1"
name = "many"
severity = "high"
type = "event_count"
group_by = ["user.id"]
timespan = "1h"
condition = { gte = 3 }
[rule.select.a]
"event.code" = "PVE-1002"
"#;

fn bench(folder: &std::path::Path, rules: &str, more: &str) -> testing::StatefulBench {
    std::fs::write(folder.join("a.toml"), format!("{HEAD}{rules}")).unwrap();
    let config = format!(
        "rules = ['{}']\nmembers = '/nowhere'\n{more}",
        folder.join("a.toml").display()
    );
    testing::stateful_in::<Config>(&config, folder)
}

#[test]
fn very_many_users_stay_within_the_budget_and_what_is_given_up_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = bench(folder.path(), BY_USER, "state_budget = '1MiB'");
    let (mut told, mut evicted) = (Vec::new(), 0);
    let now = |round: u64| testing::at("0s").after(std::time::Duration::from_secs(61 * round));
    for round in 0..40_u64 {
        let events = (0..1000)
            .map(|n| {
                let n = round * 1000 + n;
                event(n, now(round), "PVE-1002", &format!("u{n}@pve"))
            })
            .collect();
        let out = watch.feed(events);
        assert!(out.made("alerts").is_empty(), "nobody did it three times");
        let out = watch.wait(std::time::Duration::from_secs(61));
        told.extend(out.told().iter().map(|(code, _)| (*code).to_owned()));
        evicted += out.evicted();
        // A group with one match and its name takes more than 100 bytes.
        assert!(watch.saved().len() < 3 << 20, "{}", watch.saved().len());
    }
    assert!(evicted > 10_000, "{evicted}");
    assert!(told.iter().any(|code| code == "PVE-9018"), "{told:?}");
    // What is new is still found.
    let eve = (0..3).map(|n| event(1_000_000 + n, now(40), "PVE-1002", "eve@pve"));
    let out = watch.feed(eve.collect());
    assert_eq!(out.made("alerts").len(), 1);
}

#[test]
fn a_name_of_64_kib_is_a_group_like_another_and_no_alert_carries_it_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut watch = bench(folder.path(), BY_USER, "");
    let long = "x".repeat(64 << 10);
    let events = |from: u64, user: String| {
        (0..3).map(move |n| event(from + n, at(n as i64), "PVE-1002", &user))
    };
    let all: Vec<Event> = events(0, format!("{long}a"))
        .chain(events(10, format!("{long}b")))
        .collect();
    let out = watch.feed(all);
    let alerts = out.made("alerts");
    assert_eq!(alerts.len(), 2, "two names that differ at their end");
    let group = |n: usize| alerts[n].to_json()["pve"]["alert"]["key"].to_string();
    assert_ne!(group(0), group(1));
    for n in 0..2 {
        assert!(group(n).len() < 2048, "{}", group(n).len());
    }
    assert!(watch.saved().len() < 512 << 10, "{}", watch.saved().len());
}

fn engine(rules: &Arc<RuleSet>) -> Engine {
    let watched = rules.rules().iter().map(judge::watch).collect();
    Engine::new(watched, "default", 64 << 20)
}

#[test]
fn a_state_of_another_version_or_a_torn_one_is_refused_and_never_a_panic() {
    let rules = rules(&format!("{BY_USER}{BRUTEFORCE}{MASS_DELETE}"));
    let mut full = engine(&rules);
    for (n, code) in ["PVE-1002", "PVE-2002", "PVE-1001"]
        .iter()
        .cycle()
        .take(60)
        .enumerate()
    {
        let event = event(n as u64, at(n as i64), code, "a@pve");
        for rule in 0..rules.rules().len() {
            full.see(rule, &event, event.timestamp());
        }
    }
    full.advance(at(30));
    let mut state = Vec::new();
    saved::save(&full, &mut state);
    assert!(saved::load(&mut engine(&rules), &state).is_ok());
    let mut other = state.clone();
    other[0] = 77;
    let why = saved::load(&mut engine(&rules), &other).unwrap_err().0;
    assert!(why.contains("version 77"), "{why}");
    for length in 0..state.len() {
        assert!(
            saved::load(&mut engine(&rules), &state[..length]).is_err(),
            "{length} of {} bytes",
            state.len()
        );
    }
    // Bytes that say anything: an error or a state, and no endless memory.
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2000 {
        let mut broken = state.clone();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(1..broken.len());
            broken[at] = random.u8(..);
        }
        _ = saved::load(&mut engine(&rules), &broken);
    }
}
