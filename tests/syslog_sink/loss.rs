//! What is lost, and what comes twice, when a receiver ends, dies, stops reading, or we are killed ourselves.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use crate::support::siem::{Receiver, Which};
use crate::support::syslog::{Pki, free_port};
use crate::support::{Ground, Program, append, lines, long, messages};

/// From `in.log` to the receiver.
fn graph(ground: &Ground, to: u16, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sources.in]
type = "file"
include = [{:?}]

[sinks.out]
type = "syslog"
inputs = ["in"]
address = "localhost:{to}"
encoding = {{ codec = "text" }}
batch = {{ timeout = "50ms" }}
{more}
"#,
        ground.path("in.log")
    )
}

const QUICK: &str = r#"request = { retry_initial_backoff = "20ms", retry_max_backoff = "100ms" }"#;

fn tls(pki: &Pki) -> String {
    format!(
        "tls = {{ ca_file = {:?}, crt_file = {:?}, key_file = {:?} }}\n{QUICK}",
        pki.file("ca.pem"),
        pki.file("client.pem"),
        pki.file("client.key")
    )
}

/// What a receiver's file says of the lines that were sent.
struct Told {
    /// Numbers of lines it does not have.
    missing: Vec<usize>,
    /// Lines it has more than once.
    doubles: usize,
}

fn compare(receiver: &Receiver, sent: usize) -> Told {
    let texts = receiver.texts();
    let mut told = Told {
        missing: Vec::new(),
        doubles: 0,
    };
    for (n, message) in messages(0..sent).iter().enumerate() {
        let Some(ids) = texts.get(message) else {
            told.missing.push(n);
            continue;
        };
        assert_eq!(ids.len(), 1, "{message} came under two ids");
        told.doubles += ids.values().sum::<usize>() - 1;
    }
    let known: BTreeSet<String> = messages(0..sent).into_iter().collect();
    for text in texts.keys() {
        assert!(known.contains(text), "a text that nobody sent: {text:?}");
    }
    told
}

/// Sends lines while a receiver is ended again and again by a signal.
fn ended(
    which: Which,
    signal: &str,
    way: fn(&Receiver, &Pki) -> (u16, String),
) -> Option<(Receiver, usize, Told)> {
    let pki = Pki::new();
    let mut receiver = Receiver::start(which, &pki)?;
    let ground = Ground::new();
    let (to, more) = way(&receiver, &pki);
    ground.configure(&graph(&ground, to, &more));
    let (ends, each) = if long() { (20, 100_000) } else { (4, 15_000) };
    let program = ground.start();
    ground.until("it runs", || ground.log().contains("\"started\""));
    let mut random = fastrand::Rng::with_seed(7);
    for n in 0..ends {
        let before = receiver.count();
        append(&ground.path("in.log"), &lines(n * each..(n + 1) * each));
        ground.until("some are there", || receiver.count() > before + 100);
        std::thread::sleep(Duration::from_millis(random.u64(0..20)));
        receiver.end(signal);
        receiver.again();
    }
    let sent = ends * each;
    arrived(&ground, &receiver, sent);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let told = compare(&receiver, sent);
    Some((receiver, sent, told))
}

/// Waits until everything is answered and the receiver writes no more.
fn arrived(ground: &Ground, receiver: &Receiver, sent: usize) {
    ground.until("all is answered", || {
        ground.metric("component_sent_events_total", "out") >= sent as f64
            && ground.books_balance("out")
    });
    let mut before = (0, std::time::Instant::now());
    ground.until("the receiver is done", || {
        let count = receiver.count();
        if count != before.0 {
            before = (count, std::time::Instant::now());
        }
        before.1.elapsed() > Duration::from_millis(700)
    });
}

fn plain(receiver: &Receiver, _: &Pki) -> (u16, String) {
    (receiver.port, QUICK.to_owned())
}

fn mutual(receiver: &Receiver, pki: &Pki) -> (u16, String) {
    (receiver.mutual, tls(pki))
}

fn nothing_is_lost(which: Which, signal: &str, way: fn(&Receiver, &Pki) -> (u16, String)) {
    let Some((receiver, sent, told)) = ended(which, signal, way) else {
        return;
    };
    println!(
        "{which:?}, {signal}: of {sent}, {} twice, missing {:?}",
        told.doubles,
        told.missing.len()
    );
    assert_eq!(told.missing, [] as [usize; 0], "{}", receiver.log());
}

#[test]
fn rsyslog_is_stopped_and_started_under_load_and_nothing_is_lost() {
    nothing_is_lost(Which::Brief, "TERM", plain);
}

#[test]
fn rsyslog_is_killed_under_load_and_nothing_is_lost() {
    nothing_is_lost(Which::Brief, "KILL", plain);
}

#[test]
fn rsyslog_is_killed_under_load_over_tls_and_nothing_is_lost() {
    nothing_is_lost(Which::Brief, "KILL", mutual);
}

#[test]
fn syslog_ng_is_stopped_under_load_and_nothing_is_lost() {
    nothing_is_lost(Which::SyslogNg, "TERM", plain);
}

/// Without `resend` what a killed receiver had not read from its kernel is lost, and nothing else.
#[test]
fn without_resend_no_more_is_lost_than_a_kernel_holds() {
    let way: fn(&Receiver, &Pki) -> (u16, String) =
        |receiver, _| (receiver.port, format!("{QUICK}\nresend = \"0B\""));
    let Some((receiver, sent, told)) = ended(Which::Brief, "KILL", way) else {
        return;
    };
    let sizes = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_rmem").unwrap();
    let largest: usize = sizes.split_whitespace().last().unwrap().parse().unwrap();
    // As far apart as two numbers with a gap between them.
    let gaps = told.missing.windows(2).filter(|pair| pair[1] > pair[0] + 1);
    let gaps = gaps.count() + usize::from(!told.missing.is_empty());
    let ends = if long() { 20 } else { 4 };
    println!(
        "without resend: of {sent}, {} missing in {gaps} places, {} twice",
        told.missing.len(),
        told.doubles
    );
    assert!(gaps <= ends, "{:?}: {}", told.missing, receiver.log());
    // A message of this test has some 190 bytes; what it had read and was writing is less than 256 KiB.
    assert!(told.missing.len() * 190 <= ends * (largest + (256 << 10)));
}

#[test]
fn we_are_killed_under_load_and_nothing_is_lost() {
    let pki = Pki::new();
    let Some(receiver) = Receiver::start(Which::Brief, &pki) else {
        return;
    };
    let ground = Ground::new();
    ground.configure(&graph(&ground, receiver.port, QUICK));
    let (kills, each) = if long() { (30, 50_000) } else { (5, 8000) };
    let mut random = fastrand::Rng::with_seed(3);
    for n in 0..kills {
        append(&ground.path("in.log"), &lines(n * each..(n + 1) * each));
        let program = ground.start();
        std::thread::sleep(Duration::from_millis(random.u64(30..400)));
        program.kill();
    }
    let starts = || ground.log().matches("\"started\"").count();
    let before = starts();
    let program = ground.start();
    ground.until("it runs", || starts() > before);
    let sent = kills * each;
    ground.until("the last is there", || {
        receiver.count() >= sent && receiver.texts().contains_key(&messages(sent - 1..sent)[0])
    });
    arrived(&ground, &receiver, 0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let told = compare(&receiver, sent);
    println!("we, KILL: of {sent}, {} twice", told.doubles);
    assert_eq!(told.missing, [] as [usize; 0]);
}

/// It is stopped by a signal, so its kernel goes on taking connections and bytes, until it is full.
#[test]
fn a_receiver_that_stops_reading_holds_nobody_up_and_loses_nothing() {
    let pki = Pki::new();
    let Some(receiver) = Receiver::start(Which::Brief, &pki) else {
        return;
    };
    let ground = Ground::new();
    let quick = r#"request = { timeout = "1s", retry_initial_backoff = "20ms", retry_max_backoff = "100ms" }"#;
    ground.configure(&graph(&ground, receiver.port, quick));
    let program: Program = ground.start();
    ground.until("it runs", || ground.log().contains("\"started\""));
    append(&ground.path("in.log"), &lines(0..1000));
    ground.until("some are there", || receiver.count() >= 1000);
    receiver.signal("STOP");
    let (sent, rounds) = if long() {
        (1_000_000, 20.0)
    } else {
        (150_000, 3.0)
    };
    append(&ground.path("in.log"), &lines(1000..sent));
    let retries = || ground.metric("component_retries_total", "out");
    ground.until("it has given up a connection", || retries() >= 1.0);
    assert!(
        ground.log().contains("has taken nothing for 1 s"),
        "{}",
        ground.log()
    );
    let before = program.memory();
    ground.until("it has tried again", || retries() >= 1.0 + rounds);
    let grown = program.memory().saturating_sub(before) / 1024;
    println!("stopped: {} MiB, and {grown} MiB more", before / 1024);
    assert!(grown < 24, "{grown} MiB more");
    receiver.signal("CONT");
    arrived(&ground, &receiver, sent);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    let told = compare(&receiver, sent);
    println!("stopped: of {sent}, {} twice", told.doubles);
    assert_eq!(told.missing, [] as [usize; 0]);
    assert_eq!(receiver.written().1, 0, "half a message was taken for one");
}

#[test]
fn datagrams_to_a_closed_port_are_told_and_sent_again() {
    let ground = Ground::new();
    let port = free_port();
    ground.configure(
        &graph(
            &ground,
            port,
            &format!("mode = \"udp\"\n{QUICK}").replace("localhost", "127.0.0.1"),
        )
        .replace("localhost", "127.0.0.1"),
    );
    let program = ground.start();
    ground.until("it runs", || ground.log().contains("\"started\""));
    append(&ground.path("in.log"), &lines(0..200));
    ground.until("it is told", || {
        ground.log().contains("nobody listens there")
            && ground.metric("component_retries_total", "out") > 2.0
    });
    assert_eq!(ground.metric("events_dead_lettered_total", "out"), 0.0);
    let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut left: BTreeSet<String> = messages(0..200).into_iter().collect();
    let mut bytes = [0; 4096];
    while !left.is_empty() {
        let read = socket.recv(&mut bytes).unwrap();
        let text = std::str::from_utf8(&bytes[..read]).unwrap();
        left.remove(text.rsplit("] ").next().unwrap());
    }
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}
