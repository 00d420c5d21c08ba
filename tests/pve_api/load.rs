//! What `pve_api` costs at rest: a measurement, not a check of every run.

use std::time::{Duration, Instant};

use serde_json::json;

use super::support::Ground;
use super::support::pve::Cluster;
use super::support::store::Store;
use super::{certificate, graph, phase};

/// CPU time of a process so far [s].
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

#[test]
#[ignore = "a measurement of a minute: PVETRAIL_BIN=target/release/pvetrail cargo test --test pve_api load -- --ignored --nocapture"]
fn load_of_thirty_two_nodes_at_rest() {
    let (ground, store) = (Ground::new(), Store::start());
    let names: Vec<String> = (1..=32).map(|n| format!("pve{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (tls, pin) = certificate(&ground, "own");
    let cluster = Cluster::start_tls(&names, &tls);
    for name in &names {
        cluster.tasks(name, 600);
    }
    cluster.state().resources = (0..1000)
        .map(|n| json!({"id": format!("qemu/{n}"), "type": "qemu", "vmid": n, "name": format!("vm{n}"), "node": names[n % 32],
            "status": "running", "cpu": 0.1, "mem": 1, "maxmem": 2, "disk": 1, "maxdisk": 9, "uptime": 7, "template": 0}))
        .collect();
    let more = format!(r#"tls = {{ fingerprint = ["{pin}"] }}"#);
    let graph = graph(&store, &cluster.uri(), &more).replace("200ms", "5s");
    ground.configure(&graph);
    let program = ground.start();
    ground.until("all ends", || phase(&store, "end").len() == 32 * 600);
    std::thread::sleep(Duration::from_secs(10));
    let (began, before) = (Instant::now(), cpu(program.pid()));
    let asked = cluster.state().requests.values().sum::<usize>();
    let connections = cluster.state().connections;
    std::thread::sleep(Duration::from_secs(120));
    let share = (cpu(program.pid()) - before) / began.elapsed().as_secs_f64();
    let asked = cluster.state().requests.values().sum::<usize>() - asked;
    let connections = cluster.state().connections - connections;
    #[allow(clippy::print_stdout, reason = "the figures are what it is run for")]
    let () = println!(
        "32 nodes at rest: {:.2} % of a core, {asked} requests over {connections} new connections in 120 s, {} KiB",
        share * 100.0,
        program.memory()
    );
    assert!(share < 0.02, "{share}");
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}
