//! A store that is away, a source that is changed, a program that is killed: what syslog can keep is kept.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use support::store::{Store, Trouble};
use support::syslog::free_port;
use support::{Ground, Program};

fn graph(store: &Store, port: u16, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "syslog"
mode = "tcp"
address = "127.0.0.1:{port}"
{more}

[sinks.store]
type = "elasticsearch"
inputs = ["in"]
endpoints = ["{}"]
bulk = {{ index = "pve" }}
batch = {{ timeout = "10ms" }}
request = {{ retry_initial_backoff = "20ms", retry_max_backoff = "50ms" }}
"#,
        store.uri()
    )
}

fn start(ground: &Ground, port: u16) -> Program {
    let program = ground.start();
    ground.until("it listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    program
}

/// A sender that looks whether the other side has ended before it sends, and then begins anew, as rsyslog does.
struct Sender {
    stream: TcpStream,
    port: u16,
    connections: usize,
}

impl Sender {
    fn new(port: u16) -> Sender {
        Sender {
            stream: TcpStream::connect(("127.0.0.1", port)).unwrap(),
            port,
            connections: 1,
        }
    }

    fn has_ended(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let ended = match self.stream.read(&mut [0]) {
            Err(why) => why.kind() != ErrorKind::WouldBlock,
            Ok(_) => true,
        };
        self.stream.set_nonblocking(false).unwrap();
        ended
    }

    fn send(&mut self, text: &str) {
        while self.has_ended() {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => {
                    self.stream = stream;
                    self.connections += 1;
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        self.stream.write_all(text.as_bytes()).unwrap();
    }
}

#[test]
fn while_the_store_is_away_senders_wait_and_nothing_is_lost() {
    const MESSAGES: usize = 200_000;
    let (ground, store, port) = (Ground::new(), Store::start(), free_port());
    ground.configure(&graph(&store, port, ""));
    let program = start(&ground, port);
    store.on_request(|_| Some(Trouble::Status(503, "{}".to_owned())));
    let sent = Arc::new(AtomicUsize::new(0));
    let sender = std::thread::spawn({
        let sent = Arc::clone(&sent);
        move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            for n in 0..MESSAGES {
                writeln!(stream, "<13>1 - pve1 app {n} - - {n} {}", "x".repeat(300)).unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let mut last = usize::MAX;
    ground.until("the sender waits", || {
        let now = sent.load(Ordering::SeqCst);
        let waits = now == last && now > 1000;
        last = now;
        // Long against what a write takes when there is room.
        std::thread::sleep(Duration::from_millis(300));
        waits
    });
    assert!(last < MESSAGES, "nothing held the sender up");
    // Another one is let in meanwhile, and waits as well.
    let mut other = TcpStream::connect(("127.0.0.1", port)).unwrap();
    other
        .write_all(b"<13>1 - pve2 app - - - from another\n")
        .unwrap();
    store.heal();
    sender.join().unwrap();
    ground.until("all is stored", || store.len() == MESSAGES + 1);
    ground.balances();
    assert_eq!(program.stop(), Some(0));
    let stored: BTreeSet<String> = store.messages().into_iter().collect();
    assert_eq!(stored.len(), MESSAGES + 1);
}

#[test]
fn a_source_that_is_changed_under_load_loses_nothing_of_a_sender_that_looks() {
    let (ground, store, port) = (Ground::new(), Store::start(), free_port());
    ground.configure(&graph(&store, port, ""));
    let program = start(&ground, port);
    let (stop, sent) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let sender = std::thread::spawn({
        let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
        move || {
            let mut sender = Sender::new(port);
            while !stop.load(Ordering::SeqCst) {
                let n = sent.fetch_add(1, Ordering::SeqCst);
                sender.send(&format!("<13>1 - pve1 app - - - number {n}\n"));
                // So fast that it is always in the middle, and not so fast that the end has to wait for the store.
                if n % 50 == 0 {
                    std::thread::sleep(Duration::from_millis(5));
                }
            }
            sender.connections
        }
    });
    for n in 1..=3 {
        let before = store.len();
        ground.until("messages flow", || store.len() > before + 1000);
        ground.configure(&graph(&store, port, &format!("max_length = \"{n}KiB\"")));
        program.signal("HUP");
        ground.until("it is changed", || {
            ground.log().matches("listening for syslog").count() == n + 1
        });
    }
    let before = store.len();
    ground.until("messages flow", || store.len() > before + 1000);
    stop.store(true, Ordering::SeqCst);
    let connections = sender.join().unwrap();
    assert_eq!(connections, 4);
    let sent = sent.load(Ordering::SeqCst);
    ground.balances();
    let stored: BTreeSet<String> = store.messages().into_iter().collect();
    let missing: Vec<usize> = (0..sent)
        .filter(|n| !stored.contains(&format!("number {n}")))
        .collect();
    assert!(
        missing.is_empty(),
        "of {sent} {} are missing, {:?} to {:?}; received {}, in the store {}",
        missing.len(),
        missing.first(),
        missing.last(),
        ground.metric("component_received_events_total", "in"),
        ground.metric("component_received_events_total", "store"),
    );
    assert_eq!(store.len(), sent);
    assert_eq!(program.stop(), Some(0));
}

#[test]
fn killed_it_loses_what_was_under_way_and_doubles_nothing() {
    let (ground, store, port) = (Ground::new(), Store::start(), free_port());
    ground.configure(&graph(&store, port, ""));
    let program = start(&ground, port);
    let mut sender = Sender::new(port);
    let mut sent = 0;
    let mut send = |sender: &mut Sender, n: usize| {
        for _ in 0..n {
            sender.send(&format!("<13>1 - pve1 app - - - number {sent}\n"));
            sent += 1;
        }
    };
    send(&mut sender, 2000);
    ground.until("some is stored", || store.len() >= 500);
    program.kill();
    let before = store.len();
    let program = start(&ground, port);
    send(&mut sender, 2000);
    // What follows the new connection is all there; before it at most what was in memory and in the kernel is missing.
    ground.until("the rest is stored", || store.len() >= before + 2000);
    let stored = store.messages();
    let each: BTreeSet<&String> = stored.iter().collect();
    assert_eq!(each.len(), stored.len(), "something came twice");
    assert!((2000..4000).all(|n| each.contains(&format!("number {n}"))));
    assert_eq!(sender.connections, 2);
    assert_eq!(program.stop(), Some(0));
}

#[test]
fn whoever_checks_a_graph_with_syslog_is_told_what_it_cannot_promise() {
    let (ground, store) = (Ground::new(), Store::start());
    ground.configure(&graph(&store, free_port(), ""));
    let path = ground.path("graph.toml").display().to_string();
    let (code, said) = ground.pvetrail(&["validate", &path]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("best effort"), "{said}");
    assert!(said.contains("JetStream"), "{said}");
}
