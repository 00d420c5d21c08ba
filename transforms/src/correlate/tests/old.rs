//! Old files that are read at full speed.

use std::time::Duration;

use pipeline::testing::{StatefulBench, events};

use super::super::Config;
use super::made::{forks, logged_in, task, text, ticket, time, told, upid, writes};

fn bench() -> StatefulBench {
    pipeline::testing::stateful::<Config>("")
}

fn change(node: &str, at: f64) -> pipeline::testing::Json {
    let call = "PUT /api2/extjs/nodes/pve1/lxc/101/config";
    writes(node, "192.0.2.10", "alice@pve", call, at)
}

#[test]
fn a_line_of_an_old_file_goes_on_once_everything_near_it_has_been_read() {
    let mut bench = bench();
    assert!(
        bench
            .feed(events([change("pve1", 0.0)]))
            .events()
            .is_empty()
    );
    assert!(bench.read_to(time(14.0)).events().is_empty());
    let gone = bench.read_to(time(15.0));
    assert_eq!(gone.events().len(), 1);
    assert_eq!(told(&gone.events()[0])[0], "primary");
    // It is told once.
    assert!(bench.wait(Duration::from_secs(60)).events().is_empty());
}

#[test]
fn a_line_that_comes_later_than_others_were_read_to_waits_by_the_clock() {
    let mut bench = bench();
    bench.read_to(time(100.0));
    assert!(
        bench
            .feed(events([change("pve1", 80.0)]))
            .events()
            .is_empty()
    );
    assert!(bench.read_to(time(500.0)).events().is_empty());
    assert_eq!(bench.wait(Duration::from_secs(20)).events().len(), 1);
}

#[test]
fn where_there_are_two_nodes_their_clocks_may_differ() {
    let mut bench = bench();
    bench.feed(events([change("pve1", 0.0), change("pve2", 0.0)]));
    assert!(bench.read_to(time(15.0 + 659.0)).events().is_empty());
    assert_eq!(bench.read_to(time(15.0 + 660.0)).events().len(), 2);
}

#[test]
fn whatever_an_old_file_tells_is_told_as_it_would_have_been_when_it_was_written() {
    let id = upid("pve1", 20.0, "qmstart", "104", "alice@pve");
    let call = "POST /api2/extjs/nodes/pve1/qemu/104/status/start";
    let all = events([
        change("pve1", 0.0),
        logged_in("pve1", "alice@pve", 10.0),
        ticket("pve1", "192.0.2.10", 10.0),
        task("journal", &id, "start", 20.0),
        forks("pve1", "192.0.2.10", "alice@pve", call, &id, 20.0),
        task("journal", &id, "end", 22.0),
    ]);
    let (mut bench, mut slow) = (bench(), bench());
    let mut old = Vec::new();
    for event in all.clone() {
        let at = event.timestamp();
        old.extend(bench.feed(vec![event]).events().to_vec());
        old.extend(bench.read_to(at).events().to_vec());
    }
    old.extend(bench.read_to(time(60.0)).events().to_vec());
    assert_eq!(old.len(), 3, "the lines went on, the others wait");
    old.extend(bench.wait(Duration::from_secs(60)).events().to_vec());
    let mut live = slow.feed(all).events().to_vec();
    for _ in 0..12 {
        live.extend(slow.wait(Duration::from_secs(5)).events().to_vec());
    }
    for list in [&mut old, &mut live] {
        list.sort_by_key(|event| (event.timestamp(), event.id()));
    }
    let told = |list: &[pipeline::Event]| -> Vec<String> {
        let field = |event, path| text(event, path);
        list.iter()
            .map(|event| {
                let said = [
                    "pve.record",
                    "pve.links",
                    "pve.source.attribution",
                    "source.ip",
                ]
                .map(|path| field(event, path));
                format!("{} {said:?}", event.timestamp())
            })
            .collect()
    };
    assert_eq!(told(&old), told(&live));
}
