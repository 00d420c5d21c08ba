//! Messages over UDP, TCP, TLS and Unix sockets into the real program: all of them arrive, whatever is sent.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[allow(dead_code, reason = "each test uses its part")]
mod support;

use std::io::Write as _;
use std::net::{TcpStream, UdpSocket};

use serde_json::Value;
use support::syslog::{Client, Pki, Road, messages, refused};

#[test]
fn messages_over_tcp_arrive_in_order_with_their_fields() {
    let road = Road::start("mode = \"tcp\"\naddress = \"127.0.0.1:PORT\"");
    let mut sender = road.tcp();
    let own = sender.local_addr().unwrap().to_string();
    sender
        .write_all(b"<30>1 2026-11-20T10:00:00.5Z pve1 pvedaemon 812 - - starting task\n")
        .unwrap();
    let counted = "<38>Nov 20 10:00:01 pve2 sshd[99]: two\nlines in a frame";
    write!(sender, "{} {counted}", counted.len()).unwrap();
    for n in 0..20_000 {
        writeln!(sender, "<13>1 - - - - - - number {n}").unwrap();
    }
    sender.write_all(b"<13>1 - - - - - - the last one").unwrap();
    drop(sender);
    let events = road.expect(20_003);
    assert_eq!(events[0]["message"], "starting task");
    assert_eq!(events[0]["@timestamp"], "2026-11-20T10:00:00.500Z");
    assert_eq!(events[0]["host"]["name"], "pve1");
    assert_eq!(events[0]["process"]["name"], "pvedaemon");
    assert_eq!(events[0]["process"]["pid"], 812);
    assert_eq!(events[0]["log"]["source"]["address"], own);
    assert_eq!(events[1]["message"], "two\nlines in a frame");
    assert_eq!(events[2]["host"]["name"], "127.0.0.1");
    let texts = messages(&events);
    assert!((0..20_000).all(|n| texts[n + 2] == format!("number {n}")));
    assert_eq!(texts[20_002], "the last one");
    let ids: std::collections::BTreeSet<_> = events
        .iter()
        .map(|e| e["event"]["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), events.len());
    road.ground.balances();
    assert_eq!(road.program.stop(), Some(0));
}

/// One message of each row of the table of what must arrive, and what it must become.
const ROWS: &[(&[u8], &str, &str)] = &[
    // What is sent, its `message`, its `host.name`; an empty host means the sender's address.
    (b"<34>1 2026-11-20T22:14:15.003Z pve1 su - ID47 - \xef\xbb\xbf'su root' failed", "'su root' failed", "pve1"),
    (b"<165>1 - - - - - - all nil", "all nil", ""),
    (b"<165>1 2026-11-20T22:14:15Z pve1 app 1 ID [ex@1 a=\"q\\\"b\\]s\\\\\"][ex@1 a=\"2\"] twice", "twice", "pve1"),
    (b"<30>Nov 20 22:14:15 pve1 pvedaemon[812]: rfc 3164", "rfc 3164", "pve1"),
    (b"<30>Nov 20 2026 22:14:15 pve1 app: with a year", "with a year", "pve1"),
    (b"<30>Nov 20 22:14:15.123 pve1 app: with ms", "with ms", "pve1"),
    (b"<30>2026-11-20T22:14:15.123456+01:00 pve1 app[1]: iso", "iso", "pve1"),
    (b"<30>Nov 20 22:14:15 app[1]: no host", "no host", ""),
    (b"no priority at all", "no priority at all", ""),
    (b"<999>priority out of range", "<999>priority out of range", ""),
    (b"<13>tag-only:", "", ""),
    (b"<13>", "<13>", ""),
    (b"<13>1 2026-11-20T22:14:15Z pve1 app - - - m\xfcller", "m\u{fffd}ller", "pve1"),
];

fn rows_arrive(road: &Road) {
    let events = road.expect(ROWS.len());
    for ((sent, message, host), event) in ROWS.iter().zip(&events) {
        let shown = String::from_utf8_lossy(sent);
        if !message.is_empty() {
            assert_eq!(event["message"], *message, "{shown}: {event}");
        }
        let host = if host.is_empty() { "127.0.0.1" } else { host };
        assert_eq!(event["host"]["name"], host, "{shown}: {event}");
        assert!(
            event["log"]["source"]["address"]
                .as_str()
                .unwrap()
                .starts_with("127.0.0.1:"),
            "{event}"
        );
    }
    assert_eq!(events.len(), ROWS.len());
    let odd = |n: usize| &events[n];
    for n in [8, 9, 11] {
        assert_eq!(odd(n)["tags"][0], "parse_error", "{}", odd(n));
        assert_eq!(odd(n)["log"]["syslog"]["priority"], 13);
        assert!(odd(n)["error"]["message"].is_string());
    }
    assert!(odd(12)["pve"]["raw_b64"].is_string());
    road.ground.balances();
}

#[test]
fn every_row_of_the_table_arrives_over_udp() {
    let road = Road::start("mode = \"udp\"\naddress = \"127.0.0.1:PORT\"");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (row, ..) in ROWS {
        socket.send_to(row, ("127.0.0.1", road.port)).unwrap();
    }
    rows_arrive(&road);
    // Two in one datagram are one message; nothing but NUL is one as well; an empty one is counted.
    for datagram in [&b"<13>1 - - - - - - a\n<13>b"[..], &[0; 8], b""] {
        socket.send_to(datagram, ("127.0.0.1", road.port)).unwrap();
    }
    let events = road.expect(ROWS.len() + 2);
    assert_eq!(events[ROWS.len()]["message"], "a\n<13>b");
    assert_eq!(events[ROWS.len() + 1]["tags"][0], "parse_error");
    road.ground.until("the empty one is counted", || {
        road.errors("empty_frame") == 1.0
    });
}

#[test]
fn every_row_of_the_table_arrives_over_tcp_in_every_framing() {
    for framing in ["counted", "lf", "nul"] {
        let road = Road::start("mode = \"tcp\"\naddress = \"127.0.0.1:PORT\"");
        let mut sender = road.tcp();
        // The row without a priority is told from bytes out of step by what the connection has said before.
        for (row, ..) in ROWS {
            match framing {
                "counted" => {
                    write!(sender, "{} ", row.len()).unwrap();
                    sender.write_all(row).unwrap();
                }
                "lf" => sender.write_all(&[row, &b"\n"[..]].concat()).unwrap(),
                _ => sender.write_all(&[row, &b"\0"[..]].concat()).unwrap(),
            }
        }
        rows_arrive(&road);
    }
}

#[test]
fn every_row_of_the_table_arrives_over_tls_with_the_name_of_the_client() {
    let pki = Pki::new();
    let road = Road::start(&pki.source(&["agent.example"]));
    let mut client = pki.connect(&road, Some("client")).unwrap();
    for (row, ..) in ROWS {
        write!(client, "{} ", row.len()).unwrap();
        client.write_all(row).unwrap();
    }
    client.flush().unwrap();
    rows_arrive(&road);
    let event = &road.events()[0];
    assert_eq!(event["tls"]["client"]["subject"], "CN=client,O=Example");
    let names = &event["tls"]["client"]["x509"]["alternative_names"];
    assert_eq!(names, &serde_json::json!(["agent.example", "192.0.2.7"]));
}

#[test]
fn what_came_in_one_record_of_tls_is_all_read_although_no_more_follows() {
    let pki = Pki::new();
    let road = Road::start(&pki.source(&["agent.example"]));
    let mut client = pki.connect(&road, Some("client")).unwrap();
    // More than a page holds, in a single record: what is left lies decrypted, and its socket has nothing more.
    let many = 2_000;
    let text = "6 <13>a\n".repeat(many);
    assert!(text.len() < 16_384);
    client.write_all(text.as_bytes()).unwrap();
    client.flush().unwrap();
    assert_eq!(road.expect(many).len(), many);
}

#[test]
fn clients_that_may_not_are_turned_away_and_counted() {
    let pki = Pki::new();
    let road = Road::start(&pki.source(&["*.example"]));
    let says = |own: Option<&str>| {
        // Of TLS 1.3 a client believes that it is let in before the server has seen its certificate.
        let mut client = pki.connect(&road, own)?;
        client.write_all(b"<13>1 - - - - - - let me in\n")?;
        client.flush()
    };
    let _ = says(None);
    road.ground
        .until("no certificate", || refused(&road, "no_certificate") == 1.0);
    pki.sign("stranger", &["stranger.test"]);
    let _ = says(Some("stranger"));
    road.ground.until("a name that is not on the list", || {
        refused(&road, "name") == 1.0
    });
    let foreign = Pki::new();
    for file in ["client.pem", "client.key"] {
        let to = pki.file(&file.replace("client", "foreign"));
        std::fs::copy(foreign.file(file), to).unwrap();
    }
    let _ = says(Some("foreign"));
    road.ground
        .until("another authority", || refused(&road, "certificate") == 1.0);
    road.tcp()
        .write_all(b"<13>1 - - - - - - no TLS at all\n")
        .unwrap();
    road.ground
        .until("no TLS", || refused(&road, "handshake") == 1.0);
    let slow = road.tcp();
    (&slow).write_all(&[0x16, 0x03]).unwrap();
    road.ground.until("a slow handshake", || {
        refused(&road, "handshake_timeout") == 1.0
    });
    says(Some("client")).unwrap();
    let events = road.expect(1);
    assert_eq!(messages(&events), ["let me in"]);
    let log = road.ground.log();
    assert!(log.contains("a connection was turned away"), "{log}");
}

#[test]
fn a_certificate_is_replaced_under_load_and_no_connection_notices() {
    let pki = Pki::new();
    let road = Road::start(&pki.source(&[]));
    let shown = |client: &Client| client.conn.peer_certificates().unwrap()[0].to_vec();
    let mut old = pki.connect(&road, Some("client")).unwrap();
    let first = shown(&old);
    let mut sent = 0;
    let mut say = |client: &mut Client| {
        for _ in 0..500 {
            writeln!(client, "<13>1 - - - - - - number {sent}").unwrap();
            sent += 1;
        }
        client.flush().unwrap();
    };
    say(&mut old);
    std::fs::write(pki.file("server.pem"), "broken").unwrap();
    let mut during = pki.connect(&road, Some("client")).unwrap();
    assert_eq!(shown(&during), first);
    say(&mut during);
    road.ground.until("it says so", || {
        road.ground.log().contains("stays in force")
    });
    for kind in ["key", "pem"] {
        std::fs::copy(
            pki.file(&format!("renewed.{kind}")),
            pki.file(&format!("server.{kind}")),
        )
        .unwrap();
    }
    let mut new = pki.connect(&road, Some("client")).unwrap();
    assert_ne!(shown(&new), first);
    say(&mut old);
    say(&mut new);
    let events = road.expect(2000);
    let mut texts = messages(&events);
    texts.sort_by_key(|text| text[7..].parse::<u32>().unwrap());
    assert!(
        texts
            .iter()
            .enumerate()
            .all(|(n, text)| *text == format!("number {n}"))
    );
}

#[test]
fn senders_that_lie_dawdle_or_say_nothing_cost_little_and_hide_nobody() {
    let road = Road::start(
        "mode = \"tcp\"\naddress = \"127.0.0.1:PORT\"\nframe_timeout = \"1s\"\nmax_length = \"8KiB\"\nconnection_limit_per_peer = 40",
    );
    // Each holds a connection and sends a byte now and then.
    let mut slow: Vec<TcpStream> = (0..20).map(|_| road.tcp()).collect();
    for (n, stream) in slow.iter_mut().enumerate() {
        write!(stream, "<13>1 - - - - - - slow {n}").unwrap();
    }
    let mut announced = road.tcp();
    announced
        .write_all(b"7 <13>abc209715200 <13>1 - - - - - - huge\n")
        .unwrap();
    // Believable, and never kept: of 16 MiB the head stays.
    let mut giant = road.tcp();
    giant
        .write_all(b"16000000 <13>1 - - - - - - giant ")
        .unwrap();
    giant.write_all(&vec![b'x'; 16_000_000 - 24]).unwrap();
    let mut lies = road.tcp();
    lies.write_all(b"500 <13>1 - - - - - - short").unwrap();
    let mut nul = road.tcp();
    nul.write_all(&[0; 100_000]).unwrap();
    let mut hello = road.tcp();
    hello
        .write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01])
        .unwrap();
    let mut good = road.tcp();
    good.write_all(b"<13>1 - - - - - - good\n<999>bad\n")
        .unwrap();

    let events = road.expect(26);
    let texts = messages(&events);
    for text in ["huge", "short", "good", "<999>bad", "slow 0", "slow 19"] {
        let found = texts.iter().filter(|t| t.contains(text)).count();
        assert_eq!(found, 1, "{text}: {texts:?}");
    }
    let giant = events
        .iter()
        .find(|e| e["message"].as_str().unwrap().starts_with("giant"))
        .unwrap();
    assert_eq!(giant["pve"]["truncated"], true);
    assert_eq!(giant["pve"]["original_bytes"], 16_000_000);
    assert!(
        giant["event"]["hash"]
            .as_str()
            .unwrap()
            .starts_with("sha256:")
    );
    let short = events.iter().find(|e| e["message"] == "short").unwrap();
    assert!(
        short["tags"]
            .as_array()
            .unwrap()
            .contains(&Value::from("partial")),
        "{short}"
    );
    assert_eq!(road.errors("invalid_frame"), 1.0);
    assert!(road.errors("empty_frame") >= 1.0);
    assert!(road.errors("unfinished_frame") >= 21.0);
    assert_eq!(road.errors("tls_to_plain_port"), 1.0);
    // Whoever never ends a message costs nothing either, however often it says a little.
    for _ in 0..200 {
        for stream in &mut slow {
            stream.write_all(b".").unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    // The slow ones are still connected; they go on, and nothing of it is lost.
    for stream in &mut slow {
        stream.write_all(b"rest of it\n").unwrap();
    }
    road.expect(46);
    // One address may not have all the connections.
    let many: Vec<TcpStream> = (0..40).map(|_| road.tcp()).collect();
    road.ground
        .until("some are refused", || refused(&road, "peer_limit") > 0.0);
    drop(many);
    road.ground.balances();
}

#[test]
fn what_was_sent_before_the_stop_is_handed_over() {
    let road = Road::start("mode = \"tcp\"\naddress = \"127.0.0.1:PORT\"");
    let mut senders: Vec<TcpStream> = (0..8).map(|_| road.tcp()).collect();
    for sender in &mut senders {
        for n in 0..2_000 {
            writeln!(sender, "<13>1 - - - - - - number {n}").unwrap();
        }
        sender
            .write_all(b"<13>1 - - - - - - without an end")
            .unwrap();
    }
    // Accepted, so that the kernel's queue of connections is no part of this.
    road.ground.until("all are connected", || {
        road.ground.metric("connection_established_total", "in") == 8.0
    });
    let Road {
        ground,
        program,
        port,
    } = road;
    assert_eq!(program.stop(), Some(0));
    let printed = std::fs::read_to_string(ground.path("printed")).unwrap();
    assert_eq!(printed.lines().count(), 8 * 2_001);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn strangers_are_not_heard() {
    for mode in ["tcp", "udp"] {
        let road = Road::start(&format!(
            "mode = {mode:?}\naddress = \"127.0.0.1:PORT\"\npermit_origin = [\"192.0.2.0/24\", \"127.0.0.2\"]"
        ));
        if mode == "udp" {
            let say = |from: &str| {
                let socket = UdpSocket::bind(from).unwrap();
                socket
                    .send_to(b"<13>1 - - - - - - x", ("127.0.0.1", road.port))
                    .unwrap();
            };
            say("127.0.0.1:0");
            say("127.0.0.2:0");
            assert_eq!(road.expect(1)[0]["host"]["name"], "127.0.0.2");
            assert_eq!(road.errors("origin_not_permitted"), 1.0);
        } else {
            let _ = road.tcp().write_all(b"<13>1 - - - - - - x\n");
            road.ground
                .until("it is refused", || refused(&road, "origin") == 1.0);
        }
    }
}

#[test]
fn unix_sockets_take_streams_and_datagrams() {
    use std::os::unix::net::{UnixDatagram, UnixStream};
    for mode in ["unix", "unix_datagram"] {
        let road = Road::start(&format!(
            "mode = {mode:?}\npath = \"GROUND/in.sock\"\nhost = \"pve9\"\nmax_length = \"1KiB\""
        ));
        let path = road.ground.path("in.sock");
        let long = format!("<13>1 - - - - - - {}", "x".repeat(3000));
        if mode == "unix" {
            let mut stream = UnixStream::connect(&path).unwrap();
            stream
                .write_all(b"<13>Nov 20 22:14:15 app[1]: one\n<13>1 - - - - - - two\n")
                .unwrap();
            stream.write_all(long.as_bytes()).unwrap();
        } else {
            let socket = UnixDatagram::unbound().unwrap();
            for message in [
                "<13>Nov 20 22:14:15 app[1]: one",
                "<13>1 - - - - - - two",
                &long,
            ] {
                socket.send_to(message.as_bytes(), &path).unwrap();
            }
        }
        let events = road.expect(3);
        assert_eq!(messages(&events)[..2], ["one", "two"]);
        assert_eq!(events[2]["pve"]["original_bytes"], 3018);
        assert!(
            events.iter().all(|event| event["host"]["name"] == "pve9"),
            "{events:?}"
        );
        assert_eq!(road.program.stop(), Some(0));
        assert!(!path.exists(), "the file is taken away");
    }
}

#[test]
fn what_the_kernel_drops_is_counted() {
    let road =
        Road::start("mode = \"udp\"\naddress = \"127.0.0.1:PORT\"\nreceive_buffer = \"4KiB\"");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let text = format!("<13>1 - - - - - - {}", "x".repeat(1000));
    road.ground.until("some are dropped", || {
        for _ in 0..1000 {
            socket
                .send_to(text.as_bytes(), ("127.0.0.1", road.port))
                .unwrap();
        }
        road.ground.metric("udp_kernel_drops_total", "in") > 0.0
    });
    assert!(road.ground.log().contains("the kernel had no room"));
    assert_eq!(road.ground.metric("gap_detected_total", "in"), 1.0);
}

#[test]
fn two_receivers_of_the_same_messages_give_them_the_same_ids() {
    let text: String = (0..50)
        .map(|n| {
            format!(
                "<13>1 2026-11-20T10:00:00Z pve1 app 7 - - number {}\n",
                n / 2
            )
        })
        .collect();
    let ids = [0, 1].map(|_| {
        let road = Road::start("mode = \"tcp\"\naddress = \"127.0.0.1:PORT\"\nid = \"content\"");
        road.tcp().write_all(text.as_bytes()).unwrap();
        let events = road.expect(50);
        let ids = events
            .iter()
            .map(|e| e["event"]["id"].as_str().unwrap().to_owned());
        ids.collect::<std::collections::BTreeSet<_>>()
    });
    assert_eq!(ids[0].len(), 50);
    assert_eq!(ids[0], ids[1]);
}
