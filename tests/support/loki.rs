//! A real Loki of `tests/services`, killed and started again as a test wants, asked by LogQL.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::service::{joined, skip};

/// A server that runs until this is dropped.
pub struct Loki {
    folder: tempfile::TempDir,
    flags: Vec<String>,
    tenants: bool,
    /// Its address.
    pub url: String,
}

/// One line that is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The time it is stored under [ns].
    pub nanos: i64,
    /// The line.
    pub text: String,
    /// Labels and structured metadata, which Loki does not tell apart in its answers.
    pub labels: BTreeMap<String, String>,
}

impl Stored {
    /// The number behind `tasks/` in the line.
    pub fn n(&self) -> u64 {
        let rest = self
            .text
            .split("tasks/")
            .nth(1)
            .unwrap_or_else(|| panic!("{}", self.text));
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }
}

impl Loki {
    /// A server with these flags, which change its limits; `tenants`: it wants to be told one. `None`, told where the tests
    /// look, if this machine has none.
    pub fn start(flags: &[&str], tenants: bool) -> Option<Loki> {
        let installed = Command::new(script()).arg("install").output().unwrap();
        if !installed.status.success() {
            let why = String::from_utf8_lossy(&installed.stderr);
            skip(&format!(
                "service: loki: {}",
                why.lines().last().unwrap_or("cannot be installed")
            ));
            return None;
        }
        let mut loki = Loki {
            folder: tempfile::tempdir().unwrap(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            tenants,
            url: String::new(),
        };
        loki.again();
        Some(loki)
    }

    fn run(&self, word: &str, more: &[&str]) -> Output {
        let mut command = Command::new(script());
        command.arg(word).args(more).arg(self.folder.path());
        if word == "start" {
            command.args(&self.flags);
        }
        command
            .env("LOKI_AUTH", self.tenants.to_string())
            .env("OWNER", std::process::id().to_string())
            .output()
            .unwrap()
    }

    /// Starts it again, on the same folder and port.
    pub fn again(&mut self) {
        let output = self.run("start", &["0"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.url = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.run("kill", &[]);
    }

    /// The status and text of an answer.
    pub fn get(&self, path: &str, tenant: Option<&str>) -> (u16, String) {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        let tenant = tenant
            .map(|tenant| format!("x-scope-orgid: {tenant}\r\n"))
            .unwrap_or_default();
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nhost: {address}\r\n{tenant}\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let chunked = head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        (
            status,
            if chunked {
                joined(body)
            } else {
                body.to_owned()
            },
        )
    }

    fn ask(&self, path: &str, query: &[(&str, &str)], tenant: Option<&str>) -> Value {
        let pairs = query
            .iter()
            .map(|(name, value)| format!("{name}={}", escaped(value)));
        let pairs: Vec<String> = pairs.collect();
        let (status, text) = self.get(&format!("{path}?{}", pairs.join("&")), tenant);
        assert_eq!(status, 200, "{path} {query:?}: {text}");
        serde_json::from_str::<Value>(&text).unwrap()["data"].take()
    }

    /// The lines that a query of LogQL finds, of the last two hours, the oldest first.
    pub fn lines(&self, query: &str, tenant: Option<&str>) -> Vec<Stored> {
        /// An answer larger than 4 MiB does not get through the server's own parts.
        const PAGE: usize = 2000;
        let (mut from, to) = window();
        let mut lines = Vec::new();
        loop {
            let (start, end, limit) = (from.to_string(), to.to_string(), PAGE.to_string());
            let query = [
                ("query", query),
                ("limit", &limit),
                ("start", &start),
                ("end", &end),
                ("direction", "forward"),
            ];
            let mut page = stored(&self.ask("/loki/api/v1/query_range", &query, tenant));
            page.sort_by_key(|line| line.nanos);
            if page.len() < PAGE {
                lines.append(&mut page);
                return lines;
            }
            // The last moment may not be complete.
            let last = page[PAGE - 1].nanos;
            assert!(last > page[0].nanos, "more than {PAGE} lines at one moment");
            lines.extend(page.into_iter().filter(|line| line.nanos < last));
            from = last;
        }
    }

    /// How many lines the server counts, of the last two hours; what is stored twice may count twice.
    pub fn count(&self, query: &str, tenant: Option<&str>) -> u64 {
        let query = format!("sum(count_over_time({query} [2h]))");
        let now = window().1 - 3_590_000_000_000;
        let answer = self.ask(
            "/loki/api/v1/query",
            &[("query", &query), ("time", &now.to_string())],
            tenant,
        );
        let value = answer["result"][0]["value"][1].as_str();
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// How many different event ids a query finds.
    pub fn ids(&self, query: &str, tenant: Option<&str>) -> usize {
        let lines = self.lines(query, tenant);
        let ids: std::collections::HashSet<&String> = lines
            .iter()
            .filter_map(|line| line.labels.get("event_id"))
            .collect();
        ids.len()
    }

    /// The labels of every stream.
    pub fn streams(&self) -> Vec<BTreeMap<String, String>> {
        let (from, to) = window();
        let query = [
            ("match[]", r#"{service_name=~".+"}"#),
            ("start", &from.to_string()),
            ("end", &to.to_string()),
        ];
        serde_json::from_value(self.ask("/loki/api/v1/series", &query, None)).unwrap()
    }

    /// The sum of one of its own metrics.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics", None);
        let of = |line: &&str| {
            line.starts_with(name) && matches!(line.as_bytes().get(name.len()), Some(b'{' | b' '))
        };
        let values = text
            .lines()
            .filter(of)
            .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
        values.sum()
    }
}

impl Drop for Loki {
    fn drop(&mut self) {
        // Its owner being gone ends it as well.
        self.kill();
    }
}

fn script() -> PathBuf {
    let services = std::env::var_os("PVETRAIL_SERVICES")
        .map_or_else(|| PathBuf::from("tests/services"), PathBuf::from);
    services.join("loki.sh")
}

/// From two hours ago until one hour from now [ns].
fn window() -> (i64, i64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let nanos = |time: Duration| i64::try_from(time.as_nanos()).unwrap();
    (
        nanos(now - Duration::from_secs(7200)),
        nanos(now + Duration::from_secs(3600)),
    )
}

fn stored(answer: &Value) -> Vec<Stored> {
    let mut lines = Vec::new();
    for stream in answer["result"].as_array().unwrap() {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(stream["stream"].clone()).unwrap();
        for value in stream["values"].as_array().unwrap() {
            lines.push(Stored {
                nanos: value[0].as_str().unwrap().parse().unwrap(),
                text: value[1].as_str().unwrap().to_owned(),
                labels: labels.clone(),
            });
        }
    }
    lines
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
