//! What one line costs: twenty well-known patterns, on a line that matches, on one that stops matching near its end, and
//! on one of another kind. `cargo bench -p transforms --bench grok [-- PART-OF-A-NAME]`
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use transforms::grok::{Engine, Grok, Library, Options, Outcome, Pattern, Spelling};

const YARDSTICK: &str = r#"%{IP:client_ip} - %{NOTSPACE:user} \[%{NOTSPACE:day}:%{TIME:time} %{ISO8601_TIMEZONE:tz}\] "%{WORD:method} %{NOTSPACE:request} HTTP/%{NUMBER:http_version}" %{INT:status} %{INT:bytes}"#;
const ACCESS: &str = r#"192.168.1.34 - automation@pve!terraform [20/11/2026:00:00:17 +0100] "GET /api2/json/nodes/pve2/qemu/217/rrddata?timeframe=hour&cf=AVERAGE HTTP/1.1" 200 51533"#;
const ACCESS6: &str = r#"2001:db8::11 - root@pam [20/11/2026:00:00:17 +0100] "GET /api2/json/cluster/resources HTTP/1.1" 200 51533"#;
const APACHE: &str = r#"203.0.113.9 - frank [10/Oct/2025:13:55:36 -0700] "GET /apache_pb.gif?size=large HTTP/1.0" 200 2326 "https://www.example.com/start.html" "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0""#;
const OTHER: &str = "pvedaemon[239411]: destroy VM 104: UPID:pve1:0003A733:01C904E4:697722D1:qmdestroy:104:alice@pve!automation:";

/// Name, pattern, line.
const CASES: &[(&str, &str, &str)] = &[
    ("access (yardstick)", YARDSTICK, ACCESS),
    ("access, IPv6", YARDSTICK, ACCESS6),
    ("PVEPROXY_ACCESS", "%{PVEPROXY_ACCESS}", ACCESS),
    ("COMBINEDAPACHELOG", "%{COMBINEDAPACHELOG}", APACHE),
    ("COMMONAPACHELOG", "%{COMMONAPACHELOG}", APACHE),
    (
        "SYSLOGLINE",
        "%{SYSLOGLINE}",
        "Jan 26 09:45:10 pve1 sshd[4702]: Failed password for root from 203.0.113.9 port 40100 ssh2",
    ),
    (
        "SYSLOG5424LINE",
        "%{SYSLOG5424LINE}",
        r#"<165>1 2026-01-26T09:40:11.123456+01:00 pve1.example.com sshd 4702 ID47 [x@32473 iut="3"] Failed password for root"#,
    ),
    (
        "TIMESTAMP_ISO8601",
        "^%{TIMESTAMP_ISO8601:at} ",
        "2026-01-26T09:40:11.123456+01:00 pve1 sshd[4410]: Accepted publickey for root",
    ),
    ("HTTPDATE", "%{HTTPDATE:at}", APACHE),
    (
        "IPORHOST",
        "from %{IPORHOST:host} port %{POSINT:port:int}",
        "Failed password for invalid user admin from 203.0.113.9 port 40022 ssh2",
    ),
    (
        "URI",
        "%{URI:uri}",
        "fetched https://user:secret@www.example.com:8443/a/b/c.html?x=1&y=2 in 12 ms",
    ),
    (
        "QS",
        "%{QS:quoted}",
        r#"he said "one \"two\" three" and left"#,
    ),
    (
        "UPID",
        "starting task %{UPID:upid}",
        "<root@pam> starting task UPID:pve1:0003A5B2:01C8F2A4:697722A2:qmstart:100:root@pam:",
    ),
    (
        "PVEDAEMON_AUTH",
        "%{PVEDAEMON_AUTH}",
        "authentication failure; rhost=::ffff:192.0.2.50 user=root@pam msg=Authentication failure",
    ),
    (
        "PVE_FIREWALL",
        "%{PVE_FIREWALL}",
        "0 6 PVEFW-HOST-IN 26/Jan/2026:09:30:14 +0100 policy DROP: IN=vmbr0 MAC=24:8a:07:00:00:02:24:8a:07:00:00:01:08:00 SRC=203.0.113.9 DST=192.168.10.11 LEN=52 TOS=0x00 PREC=0xC0 TTL=255 ID=64317 DF PROTO=UDP SPT=49152 DPT=3784 LEN=32 ",
    ),
    (
        "HAPROXYHTTP",
        "%{HAPROXYHTTP}",
        r#"Dec  9 13:01:26 localhost haproxy[28029]: 127.0.0.1:39759 [09/Dec/2013:12:59:46.633] loadbalancer default/instance8 0/51536/1/48082/99627 200 83285 - - ---- 87/87/87/1/0 0/67 {77.24.148.74} "GET /path/to/image HTTP/1.1""#,
    ),
    (
        "S3_ACCESS_LOG",
        "%{S3_ACCESS_LOG}",
        r#"79a5 mybucket [06/Feb/2014:00:00:38 +0000] 192.0.2.3 79a5 3E57427F3EXAMPLE REST.GET.VERSIONING - "GET /mybucket?versioning HTTP/1.1" 200 - 113 - 7 - "-" "S3Console/0.4" -"#,
    ),
    (
        "CISCOFW106023",
        "%{CISCOFW106023}",
        r#"Deny tcp src outside:198.51.100.7/51604 dst inside:192.168.20.15/22 by access-group "outside_in" [0x0, 0x0]"#,
    ),
    (
        "NAGIOSLOGLINE",
        "%{NAGIOSLOGLINE}",
        "[1427925600] CURRENT SERVICE STATE: nagioshost;nagiosservice;OK;HARD;1;nagiosmessage",
    ),
    (
        "CATALINALOG",
        "%{CATALINALOG}",
        "31-Jul-2020 16:40:38.451 INFO [http-nio-8080-exec-3] org.apache.catalina.core.StandardContext.reload Reloading Context",
    ),
    (
        "REDISMONLOG",
        "%{REDISMONLOG}",
        r#"1339518083.107412 [0 127.0.0.1:60866] "keys" "*""#,
    ),
    (
        "SQUID3",
        "%{SQUID3}",
        "1525334330.556      3 120.65.1.1 TCP_REFRESH_MISS/200 2014 GET http://www.sample.com/hellow_world.txt public-user DIRECT/www.sample.com text/plain 902351708.872",
    ),
];

fn nanoseconds(grok: &Grok, line: &str) -> f64 {
    let mut scratch = grok.scratch();
    let mut best = f64::MAX;
    for _ in 0..12 {
        let mut rounds = 0u32;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(10) {
            for _ in 0..64 {
                black_box(grok.matches(&mut scratch, black_box(line)));
            }
            rounds += 64;
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(rounds));
    }
    best
}

fn compiled(pattern: &str, only: Option<Engine>) -> Option<Grok> {
    let options = Options {
        only,
        ..Options::default()
    };
    Pattern::new(pattern, Library::shared(Spelling::EcsV1), options)
        .ok()
        .map(|pattern| Grok::new(vec![pattern]))
}

/// The longest part of the line that does not match.
fn near_miss(grok: &Grok, line: &str) -> Option<String> {
    let mut scratch = grok.scratch();
    (1..line.len())
        .rev()
        .map(|end| line[..end].to_owned())
        .find(|part| grok.matches(&mut scratch, part) == Outcome::NoMatch)
}

fn main() {
    let wanted = std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with('-'))
        .unwrap_or_default();
    println!(
        "{:<20} {:>6} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "pattern", "engine", "hit ns", "near ns", "other ns", "regex ns", "fancy ns"
    );
    for &(name, pattern, line) in CASES.iter().filter(|case| case.0.contains(&wanted)) {
        let grok = compiled(pattern, None).expect("a shipped pattern compiles");
        assert_eq!(
            grok.matches(&mut grok.scratch(), line),
            Outcome::Match(0),
            "{name} matches its line"
        );
        let near = near_miss(&grok, line).map_or(f64::NAN, |part| nanoseconds(&grok, &part));
        let by = |engine| {
            compiled(pattern, Some(engine)).map_or(f64::NAN, |grok| nanoseconds(&grok, line))
        };
        println!(
            "{name:<20} {:>6} {:>9.0} {near:>9.0} {:>9.0} {:>9.0} {:>9.0}",
            grok.patterns()[0].engine().to_string(),
            nanoseconds(&grok, line),
            nanoseconds(&grok, OTHER),
            by(Engine::Regex),
            by(Engine::Fancy),
        );
    }
}
