//! From a file into a real Loki, and what LogQL then says: every event once, whatever happens on the way.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use pipeline::{Clock, Time};
use support::loki::{Loki, Stored};
use support::{Ground, append, long};

const ALL: &str = r#"{service_name="pvetrail"}"#;

/// A graph from `in.log` by grok into Loki. The waits are short, because a test waits for them.
fn graph(ground: &Ground, loki: &Loki, more: &str) -> String {
    graph_by(ground, loki, "%{PVEPROXY_ACCESS}", more)
}

fn graph_by(ground: &Ground, loki: &Loki, pattern: &str, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = ["{}"]

[transforms.parsed]
type = "grok"
inputs = ["in"]
patterns = ['{pattern}']

[sinks.loki]
type = "loki"
inputs = ["parsed"]
endpoint = "{}"
batch = {{ timeout = "50ms" }}
request = {{ retry_initial_backoff = "20ms", retry_max_backoff = "300ms" }}
{more}
"#,
        ground.path("in.log").display(),
        loki.url
    )
}

/// One stream for each status.
const BY_STATUS: &str =
    r#"labels = { status = "{{ http.response.status_code }}", service_name = "pvetrail" }"#;

/// Lines of an access log of these moments, with five statuses; `pad` stands behind the path of each.
fn access(range: std::ops::Range<u64>, ago: i64, pad: &str) -> String {
    let time = Time(Clock::system().now().0 - ago * 1_000_000_000);
    let (year, month, day) = time.date();
    let clock = &time.to_string()[11..19];
    range.fold(String::new(), |mut text, n| {
        let status = 200 + n % 5;
        writeln!(
            text,
            r#"192.0.2.{} - root@pam [{day:02}/{month:02}/{year}:{clock} +0000] "GET /api2/json/nodes/pve1/tasks/{n}{pad} HTTP/1.1" {status} {n}"#,
            n % 250
        )
        .unwrap();
        text
    })
}

/// Every line of `0..all` is stored once, under an id of its own.
#[track_caller]
fn each_once(stored: &[Stored], all: u64) {
    let n: Vec<u64> = stored.iter().map(Stored::n).collect();
    let different: BTreeSet<u64> = n.iter().copied().collect();
    let missing: Vec<u64> = (0..all)
        .filter(|n| !different.contains(n))
        .take(10)
        .collect();
    assert!(missing.is_empty(), "missing, for example: {missing:?}");
    let ids: BTreeSet<&String> = stored.iter().map(|line| &line.labels["event_id"]).collect();
    assert_eq!(ids.len() as u64, all, "one id for each line");
    let mut seen = BTreeSet::new();
    let twice = n.iter().find(|n| !seen.insert(**n));
    let copies: Vec<&Stored> = stored
        .iter()
        .filter(|line| twice == Some(&line.n()))
        .collect();
    assert!(twice.is_none(), "stored twice: {copies:#?}");
}

fn delivers(more: &str) {
    let Some(loki) = Loki::start(&[], false) else {
        return;
    };
    let ground = Ground::new();
    ground.configure(&graph(&ground, &loki, &format!("{BY_STATUS}\n{more}")));
    append(&ground.path("in.log"), &access(0..5000, 5, ""));
    let program = ground.start();
    ground.until("all are there", || loki.ids(ALL, None) == 5000);
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let stored = loki.lines(ALL, None);
    each_once(&stored, 5000);
    for status in ["200", "203"] {
        let query =
            format!(r#"{{service_name="pvetrail", status="{status}"}} | source_ip="192.0.2.3""#);
        let found = loki.lines(&query, None);
        let n: Vec<u64> = found.iter().map(Stored::n).collect();
        let expected: Vec<u64> = (0..5000)
            .filter(|n| n % 250 == 3 && (200 + n % 5).to_string() == status)
            .collect();
        assert_eq!(n, expected, "in their order: all have the same second");
    }
}

#[test]
fn every_line_is_stored_once_in_order_with_what_people_search_for() {
    delivers("");
}

#[test]
fn json_says_the_same() {
    delivers("format = \"json\"");
}

#[test]
fn the_same_text_at_the_same_time_is_as_many_events_as_it_was() {
    let Some(loki) = Loki::start(&[], false) else {
        return;
    };
    let ground = Ground::new();
    // Neither the line nor anything beside it tells them apart: only their time can, below what it says by itself.
    let bare = "encoding = { codec = \"text\" }\nlimits = { max_metadata_entries = 0 }";
    ground.configure(&graph(&ground, &loki, bare));
    append(&ground.path("in.log"), &access(7..8, 5, "").repeat(500));
    let program = ground.start();
    ground.until("all are there", || loki.lines(ALL, None).len() == 500);
    // Once more by a program that has forgotten where it was.
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    std::fs::remove_dir_all(ground.path("data")).unwrap();
    let program = ground.start();
    ground.until("it runs", || {
        ground.log().matches("\"started\"").count() == 2
    });
    ground.until("all were sent again", || {
        ground.metric("component_sent_events_total", "loki") == 500.0
    });
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(
        loki.lines(ALL, None).len(),
        500,
        "what is sent again meets its own copy"
    );
}

#[test]
fn the_server_is_killed_under_load_and_every_id_is_there_once() {
    let Some(mut loki) = Loki::start(&[], false) else {
        return;
    };
    let (kills, some) = if long() { (10, 10_000) } else { (3, 2000) };
    let ground = Ground::new();
    ground.configure(&graph(&ground, &loki, BY_STATUS));
    let program = ground.start();
    ground.until("it runs", || ground.log().contains("\"started\""));
    let mut sent = 0;
    for _ in 0..kills {
        append(&ground.path("in.log"), &access(sent..sent + some, 2, ""));
        sent += some;
        ground.until("it is at work", || {
            ground.metric("component_received_events_total", "loki") > (sent - some) as f64
        });
        loki.kill();
        append(&ground.path("in.log"), &access(sent..sent + some, 2, ""));
        sent += some;
        ground.until("it notices", || {
            ground.log().matches("does not deliver").count() > 0
        });
        loki.again();
    }
    ground.until("all are there", || loki.count(ALL, None) >= sent);
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    each_once(&loki.lines(ALL, None), sent);
    assert_eq!(
        ground.pvetrail(&["dlq", "ls", "graph.toml"]).0,
        Some(0),
        "no dead letters"
    );
}

#[test]
fn we_are_killed_under_load_and_every_id_is_there_once() {
    // A stream that it spreads over shards of its own does not meet its copies any more, and Loki stores them twice.
    let Some(loki) = Loki::start(&["-shard-streams.enabled=false"], false) else {
        return;
    };
    let (kills, all) = if long() { (20, 300_000) } else { (5, 12_000) };
    let ground = Ground::new();
    ground.configure(&graph(&ground, &loki, BY_STATUS));
    append(&ground.path("in.log"), &access(0..all, 2, ""));
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..kills {
        let program = ground.start();
        std::thread::sleep(Duration::from_millis(random.u64(50..1200)));
        program.kill();
    }
    let program = ground.start();
    ground.until("it runs", || {
        ground.log().matches("\"started\"").count() > kills
    });
    ground.until("all are there", || loki.count(ALL, None) >= all);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    each_once(&loki.lines(ALL, None), all);
}

/// The reasons of the dead letters, each with the line it is about.
fn dead(ground: &Ground) -> Vec<(String, String)> {
    let (_, text) = ground.pvetrail(&["dlq", "show", "graph.toml", "--json"]);
    let letters = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    letters
        .map(|letter| (letter["reason"].to_string(), letter["event"].to_string()))
        .collect()
}

#[test]
fn of_a_thousand_lines_only_the_poison_goes_to_the_dead_letters_with_the_words_of_loki() {
    let Some(loki) = Loki::start(&["-limits.max-structured-metadata-size=500"], false) else {
        return;
    };
    let ground = Ground::new();
    let metadata = r#"structured_metadata = { path = "{{ url.path }}" }"#;
    ground.configure(&graph(&ground, &loki, metadata));
    let poison = access(617..618, 5, &format!("/{}", "x".repeat(600)));
    append(
        &ground.path("in.log"),
        &[access(0..617, 5, ""), poison, access(618..1000, 5, "")].concat(),
    );
    let program = ground.start();
    ground.until("all have an end", || {
        ground.log().contains("\"started\"")
            && ground.metric("component_received_events_total", "loki") == 1000.0
            && ground.books_balance("loki")
    });
    assert_eq!(
        ground.metric("events_dead_lettered_total", "loki"),
        1.0,
        "{}",
        ground.log()
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let stored = loki.lines(ALL, None);
    assert_eq!(stored.len(), 999);
    assert_eq!(loki.ids(ALL, None), 999);
    assert!(stored.iter().all(|line| line.n() != 617));
    let dead = dead(&ground);
    assert_eq!(dead.len(), 1);
    assert!(
        dead[0].0.contains("structured metadata too large") && dead[0].1.contains("tasks/617"),
        "{dead:?}"
    );
}

#[test]
fn a_line_too_old_is_stored_now_with_its_true_time_or_goes_to_the_dead_letters() {
    for (old_events, stored, letters) in
        [("restamp", 1000, 0), ("dlq", 990, 10), ("accept", 990, 10)]
    {
        let Some(loki) = Loki::start(&[], false) else {
            return;
        };
        let ground = Ground::new();
        ground.configure(&graph(
            &ground,
            &loki,
            &format!("old_events = \"{old_events}\""),
        ));
        let old = access(0..10, 8 * 86_400, "");
        append(&ground.path("in.log"), &(old + &access(10..1000, 5, "")));
        let program = ground.start();
        ground.until("all have an end", || {
            ground.log().contains("\"started\"")
                && ground.metric("component_received_events_total", "loki") == 1000.0
                && ground.books_balance("loki")
        });
        assert_eq!(program.stop(), Some(0), "{}", ground.log());
        let found = loki.lines(ALL, None);
        assert_eq!(found.len(), stored, "{old_events}");
        let dead = dead(&ground);
        assert_eq!(dead.len(), letters, "{old_events}: {dead:?}");
        if old_events == "accept" {
            assert!(
                dead.iter()
                    .all(|(reason, _)| reason.contains("timestamp too old")),
                "{dead:?}"
            );
        }
        let restamped = loki.lines(&format!(r#"{ALL} | event_time!="""#), None);
        assert_eq!(restamped.len(), if letters == 0 { 10 } else { 0 });
        for line in restamped {
            let truth = Time::parse(&line.labels["event_time"]).unwrap();
            assert!(Time(line.nanos).since(truth) > Duration::from_secs(8 * 86_400 - 600));
            assert!(
                line.text.contains(&line.labels["event_time"]),
                "{}",
                line.text
            );
        }
    }
}

#[test]
fn what_is_too_far_behind_the_latest_of_its_stream_is_stored_too() {
    let Some(loki) = Loki::start(&[], false) else {
        return;
    };
    let ground = Ground::new();
    // We take it for good, so that the server has to say it.
    ground.configure(&graph(&ground, &loki, "limits = { max_behind = \"7d\" }"));
    let batch = [
        access(0..500, 1, ""),
        access(500..700, 2 * 3600, ""),
        access(700..1000, 1, ""),
    ]
    .concat();
    append(&ground.path("in.log"), &batch);
    let program = ground.start();
    ground.until("all are there", || loki.ids(ALL, None) == 1000);
    ground.balances();
    assert_eq!(ground.metric("events_restamped_total", "loki"), 200.0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    each_once(&loki.lines(ALL, None), 1000);
    assert_eq!(
        loki.metric("loki_discarded_samples_total"),
        200.0,
        "said once for each"
    );
}

#[test]
fn a_storm_of_429_loses_nothing() {
    let storms: [&[&str]; 2] = [
        &[
            "-distributor.ingestion-rate-limit-mb=0.1",
            "-distributor.ingestion-burst-size-mb=0.05",
        ],
        &[
            "-ingester.per-stream-rate-limit=30KB",
            "-ingester.per-stream-rate-limit-burst=20KB",
        ],
    ];
    for flags in storms {
        let Some(loki) = Loki::start(flags, false) else {
            return;
        };
        let ground = Ground::new();
        ground.configure(&graph(&ground, &loki, BY_STATUS));
        append(&ground.path("in.log"), &access(0..2000, 5, ""));
        let program = ground.start();
        ground.until("all are there", || {
            std::thread::sleep(Duration::from_millis(200));
            loki.ids(ALL, None) == 2000
        });
        ground.balances();
        assert!(
            ground.metric("component_retries_total", "loki") > 0.0,
            "{flags:?}: there was no storm"
        );
        assert_eq!(program.stop(), Some(0), "{}", ground.log());
        each_once(&loki.lines(ALL, None), 2000);
        assert_eq!(dead(&ground), []);
    }
}

#[test]
fn two_tenants_get_what_is_theirs() {
    let Some(loki) = Loki::start(&[], true) else {
        return;
    };
    let ground = Ground::new();
    ground.configure(&graph(
        &ground,
        &loki,
        r#"tenant_id = "t{{ http.response.status_code }}""#,
    ));
    append(
        &ground.path("in.log"),
        &(access(0..1000, 5, "") + "not a line of an access log\n"),
    );
    let program = ground.start();
    let tenants = ["t200", "t201", "t202", "t203", "t204"];
    ground.until("all are there", || {
        tenants
            .iter()
            .all(|tenant| loki.ids(ALL, Some(tenant)) == 200)
    });
    ground.until("the books balance", || ground.books_balance("loki"));
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    for (rest, tenant) in (0..).zip(tenants) {
        let stored = loki.lines(ALL, Some(tenant));
        assert!(
            stored.len() == 200 && stored.iter().all(|line| line.n() % 5 == rest),
            "{tenant}"
        );
    }
    let dead = dead(&ground);
    assert_eq!(dead.len(), 1);
    assert!(dead[0].0.contains("no tenant"), "{dead:?}");
}

#[test]
fn a_tenant_that_is_not_told_is_held_until_it_is() {
    let Some(loki) = Loki::start(&[], true) else {
        return;
    };
    let ground = Ground::new();
    ground.configure(&graph(&ground, &loki, ""));
    append(&ground.path("in.log"), &access(0..100, 5, ""));
    let program = ground.start();
    ground.until("it is told", || ground.log().contains("no org id"));
    assert_eq!(dead(&ground), []);
    ground.configure(&graph(&ground, &loki, "tenant_id = \"ops\""));
    program.signal("HUP");
    ground.until("all are there", || loki.ids(ALL, Some("ops")) == 100);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn a_label_with_a_million_values_makes_few_streams_and_loses_nothing() {
    let Some(loki) = Loki::start(&["-ingester.max-global-streams-per-user=200"], false) else {
        return;
    };
    let all = if long() { 1_000_000 } else { 20_000 };
    let ground = Ground::new();
    let labels = r#"labels = { job = "{{ job.number }}", service_name = "pvetrail" }"#;
    ground.configure(&graph_by(&ground, &loki, "tasks/%{INT:job.number}", labels));
    append(&ground.path("in.log"), &access(0..all, 5, ""));
    let program = ground.start();
    ground.until("all have an end", || {
        ground.log().contains("\"started\"")
            && ground.metric("component_sent_events_total", "loki") == all as f64
    });
    ground.balances();
    assert_eq!(
        ground.metric("label_overflow_events_total", "loki"),
        (all - 100) as f64
    );
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let streams = loki.streams();
    let values: BTreeSet<&str> = streams
        .iter()
        .map(|labels| labels["job"].as_str())
        .collect();
    assert_eq!(values.len(), 101);
    assert!(values.contains("overflow"));
    if all <= 100_000 {
        each_once(&loki.lines(ALL, None), all);
    }
}

#[test]
fn setup_says_what_the_server_would_refuse() {
    for (flags, code) in [
        (&[][..], 0),
        (
            &[
                "-distributor.max-line-size=100KB",
                "-limits.max-structured-metadata-size=500",
            ],
            1,
        ),
    ] {
        let Some(loki) = Loki::start(flags, false) else {
            return;
        };
        let ground = Ground::new();
        ground.configure(&graph(&ground, &loki, ""));
        let (status, text) = ground.pvetrail(&["setup", "loki", "graph.toml"]);
        assert_eq!(status, Some(code), "{text}");
        assert!(
            text.contains("Loki 3.7.8 at ") && text.contains("note    shard_streams"),
            "{text}"
        );
        assert_eq!(
            text.contains("change  max_line_size is 100KB"),
            code == 1,
            "{text}"
        );
        assert_eq!(
            text.contains("change  max_structured_metadata_size"),
            code == 1,
            "{text}"
        );
    }
}
