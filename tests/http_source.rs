//! Events by HTTP, from one pvetrail to another and from whoever sends: answered when delivered, refused when broken, and
//! no more memory than is allowed whatever comes.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;
use support::http::{answered, free_port, peak_memory, post, receiver, sender, written};
use support::store::{Store, Trouble};
use support::syslog::Pki;
use support::{Ground, append, lines, long, messages};

#[test]
fn killed_at_either_end_again_and_again_every_event_arrives_under_its_one_id() {
    let (kills, per_kill) = if long() { (200, 1000) } else { (16, 1500) };
    let (port, from, to) = (free_port(), Ground::new(), Ground::new());
    to.configure(&receiver(&to, port, ""));
    let uri = format!("http://127.0.0.1:{port}/");
    from.configure(&sender(&from, &uri, "compression = \"zstd\""));
    let mut random = fastrand::Rng::with_seed(11);
    let (mut sends, mut takes) = (from.start(), to.start());
    for n in 0..kills {
        append(
            &from.path("in.log"),
            &lines(n * per_kill..(n + 1) * per_kill),
        );
        std::thread::sleep(Duration::from_millis(random.u64(50..700)));
        match n % 3 {
            0 => {
                takes.kill();
                std::thread::sleep(Duration::from_millis(random.u64(0..200)));
                takes = to.start();
            }
            1 => {
                sends.kill();
                sends = from.start();
            }
            _ => {
                takes.kill();
                sends.kill();
                (sends, takes) = (from.start(), to.start());
            }
        }
    }
    let all = messages(0..kills * per_kill);
    from.until("everything has arrived", || written(&to).len() >= all.len());
    assert_eq!(sends.stop(), Some(0), "{}", from.log());
    assert_eq!(takes.stop(), Some(0), "{}", to.log());
    // By id: no event twice under two of them, none missing.
    let mut arrived: Vec<String> = written(&to).into_values().collect();
    arrived.sort();
    assert_eq!(arrived, all);
}

/// Waits until the first start can be asked for its metrics.
fn runs(ground: &Ground) {
    ground.until("it runs", || {
        ground.log().contains("metrics, health and reload")
    });
}

#[test]
fn a_receiver_that_is_away_under_load_is_waited_for() {
    let (port, from, to) = (free_port(), Ground::new(), Ground::new());
    to.configure(&receiver(&to, port, ""));
    from.configure(&sender(
        &from,
        &format!("http://127.0.0.1:{port}/"),
        "workers = 4",
    ));
    append(&from.path("in.log"), &lines(0..5000));
    let sends = from.start();
    runs(&from);
    from.until("it is tried again", || {
        from.metric("component_retries_total", "hook") > 3.0
    });
    let takes = to.start();
    from.until("some have arrived", || written(&to).len() > 1000);
    assert_eq!(takes.stop(), Some(0), "{}", to.log());
    append(&from.path("in.log"), &lines(5000..10_000));
    let tries = from.metric("component_retries_total", "hook");
    from.until("it is tried again", || {
        from.metric("component_retries_total", "hook") > tries + 3.0
    });
    let takes = to.start();
    from.until("all have arrived", || written(&to).len() == 10_000);
    from.balances();
    to.balances();
    assert_eq!(sends.stop(), Some(0), "{}", from.log());
    assert_eq!(takes.stop(), Some(0), "{}", to.log());
    let mut arrived: Vec<String> = written(&to).into_values().collect();
    arrived.sort();
    assert_eq!(arrived, messages(0..10_000));
    let (_, dead) = from.pvetrail(&["dlq", "ls", "--json", "--data-dir", "data"]);
    assert_eq!(dead.trim(), "");
}

/// A graph from `http` to a store that a test can break.
fn to_store(ground: &Ground, port: u16, store: &Store, more: &str) {
    let graph = receiver(ground, port, more);
    let (head, _) = graph.split_once("[sinks.out]").unwrap();
    ground.configure(&format!(
        "{head}[sinks.es]\ntype = \"elasticsearch\"\ninputs = [\"in\"]\nendpoints = [\"{}\"]\nbatch = {{ timeout = \"20ms\" }}\nrequest = {{ retry_initial_backoff = \"20ms\", retry_max_backoff = \"50ms\" }}",
        store.uri()
    ));
}

#[test]
fn an_answer_comes_after_delivery_and_back_pressure_is_told() {
    let (port, ground, store) = (free_port(), Ground::new(), Store::start());
    let away = || Some(Trouble::Status(503, "away".to_owned()));
    store.on_request(move |_| away());
    to_store(
        &ground,
        port,
        &store,
        "answer_timeout = \"400ms\"\nmax_held = \"1MiB\"\nmax_size = \"1MiB\"",
    );
    let mut program = ground.start();
    ground.until("it listens", || post(port, b"[]").is_some());
    let (status, head, body) = post(port, br#"{"message":"first"}"#).unwrap();
    assert_eq!(status, 429, "{body}");
    assert!(head.contains("Retry-After: 1"), "{head}");
    assert_eq!(store.len(), 0);
    // More than may be held is turned away at once, and however much is sent, no more is held.
    let large = json!([{ "message": "x".repeat(300_000) }]).to_string();
    let all: Vec<_> = (0..24)
        .map(|_| {
            let large = large.clone();
            std::thread::spawn(move || post(port, large.as_bytes()).unwrap().0)
        })
        .collect();
    assert!(all.into_iter().all(|one| one.join().unwrap() == 429));
    assert!(answered(&ground, 429) >= 25.0);
    assert!(program.is_running());
    // What is sent again and again meanwhile is one request as long as it has a name.
    let named = format!(
        "POST / HTTP/1.1\r\nAuthorization: Bearer {}\r\nIdempotency-Key: k\r\nContent-Length: 19\r\n\r\n{{\"message\":\"named\"}}",
        support::http::TOKEN
    );
    let send = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(named.as_bytes()).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        String::from_utf8_lossy(&start[9..]).into_owned()
    };
    assert_eq!((send(), send()), ("429".to_owned(), "429".to_owned()));
    store.heal();
    ground.until("it is answered", || send() == "200");
    assert_eq!(
        store
            .messages()
            .iter()
            .filter(|message| *message == "named")
            .count(),
        1
    );
    assert_eq!(post(port, br#"{"message":"last"}"#).unwrap().0, 200);
    assert!(store.messages().iter().any(|message| message == "last"));
    ground.balances();
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}

#[test]
fn whoever_waits_when_it_stops_is_answered() {
    let (port, ground, store) = (free_port(), Ground::new(), Store::start());
    store.on_request(|_| {
        std::thread::sleep(Duration::from_millis(700));
        None
    });
    to_store(&ground, port, &store, "");
    let program = ground.start();
    ground.until("it listens", || post(port, b"[]").is_some());
    let waits = std::thread::spawn(move || post(port, br#"{"message":"under way"}"#));
    ground.until("it is under way", || store.requests() > 0);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
    assert_eq!(waits.join().unwrap().unwrap().0, 200);
    assert_eq!(store.messages(), ["under way"]);
}

#[test]
fn a_client_without_a_certificate_is_turned_away_and_one_with_the_right_name_is_heard() {
    let (pki, port, from, to) = (Pki::new(), free_port(), Ground::new(), Ground::new());
    let tls = format!(
        "tls = {{ crt_file = {:?}, key_file = {:?}, ca_file = {:?}, allowed_names = [\"agent.example\"] }}",
        pki.file("server.pem"),
        pki.file("server.key"),
        pki.file("ca.pem")
    );
    to.configure(&receiver(&to, port, &tls));
    let takes = to.start();
    runs(&to);
    let refused = |reason: &str| {
        let label = format!("reason=\"{reason}\"");
        let metrics = to.metrics();
        let mut of = metrics.iter().filter(|(name, _)| {
            name.starts_with("connection_refused_total") && name.contains(&label)
        });
        of.any(|(_, value)| *value > 0.0)
    };
    append(&from.path("in.log"), &lines(0..300));
    let uri = format!("https://localhost:{port}/");
    let own = |name: &str| {
        format!(
            ", crt_file = {:?}, key_file = {:?}",
            pki.file(&format!("{name}.pem")),
            pki.file(&format!("{name}.key"))
        )
    };
    for (own, reason) in [(String::new(), "no_certificate"), (own("other"), "name")] {
        from.configure(&sender(
            &from,
            &uri,
            &format!("tls = {{ ca_file = {:?}{own} }}", pki.file("ca.pem")),
        ));
        let sends = from.start();
        to.until(reason, || refused(reason));
        sends.kill();
        assert_eq!(written(&to).len(), 0);
    }
    from.configure(&sender(
        &from,
        &uri,
        &format!(
            "tls = {{ ca_file = {:?}{} }}",
            pki.file("ca.pem"),
            own("client")
        ),
    ));
    let sends = from.start();
    from.until("all have arrived", || written(&to).len() == 300);
    assert_eq!(sends.stop(), Some(0), "{}", from.log());
    assert_eq!(takes.stop(), Some(0), "{}", to.log());
}

#[test]
fn hostile_requests_cost_their_bounds_and_no_more() {
    let (port, ground) = (free_port(), Ground::new());
    ground.configure(&receiver(
        &ground,
        port,
        "body_timeout = \"2s\"\nconnection_limit_per_peer = 100",
    ));
    let program = ground.start();
    ground.until("it listens", || post(port, b"[]").is_some());
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..200 {
        bomb.write_all(&vec![b'['; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    let packed = |body: &[u8]| {
        let head = format!(
            "POST / HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
            support::http::TOKEN,
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let bomb = packed(&bomb);
    // Slow ones, that never end what they have begun.
    let slow: Vec<TcpStream> = (0..40)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let head = format!(
                "POST / HTTP/1.1\r\nAuthorization: Bearer {}\r\nContent-Length: 8000000\r\n\r\n",
                support::http::TOKEN
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    let tiny = format!("[{}]", vec!["{}"; 300_000].join(","));
    let wide = format!(
        "[{}]",
        vec![format!("{{\"a\":[{}]}}", vec!["[]"; 16_000].join(",")); 150].join(",")
    );
    for _ in 0..3 {
        for body in [
            tiny.as_bytes(),
            wide.as_bytes(),
            "{\"a\":".repeat(10_000).as_bytes(),
        ] {
            let (status, _, said) = post(port, body).unwrap();
            assert!(matches!(status, 400 | 413), "{status} {said}");
        }
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(&bomb).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start[9..], b"413");
    }
    assert_eq!(post(port, br#"{"message":"still here"}"#).unwrap().0, 200);
    for mut stream in slow {
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(&start[9..], b"408");
    }
    let peak = peak_memory(program.pid());
    assert!(peak < 200 << 10, "{peak} KiB");
    assert_eq!(written(&ground).len(), 1);
    assert_eq!(program.stop(), Some(0), "{}", ground.log());
}
