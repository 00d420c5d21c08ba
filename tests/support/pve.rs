//! A Proxmox VE API that answers as the real one does: paging, unsplit users of tokens, 595, a log that breaks itself,
//! connections closed after errors. Only what a collector asks for.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pipeline::Tls;
use serde_json::{Value, json};

/// The token that is believed.
pub const TOKEN: &str = "pvetrail@pve!audit=4f1c2a54-3b0e-4c62-9a38-0a6d5b0c7d11";
/// Where the first task begins: 2026-01-26 08:15:30 UTC.
pub const BEGIN: u32 = 0x6977_22A2;

/// A node and what it remembers of its tasks.
#[derive(Default)]
pub struct Node {
    /// The status of every call to it, while it is away.
    pub away: Option<u16>,
    running: Vec<String>,
    /// Archived ones, oldest first: UPID, end, status.
    index: Vec<(String, u32, String)>,
    previous: Vec<(String, u32, String)>,
    logs: BTreeMap<String, Vec<String>>,
    exits: BTreeMap<String, String>,
}

impl Node {
    fn archive(&mut self, upid: &str, end: u32, status: &str) {
        self.index.push((upid.to_owned(), end, status.to_owned()));
        // 50 000 bytes, and a new list is begun.
        let bytes: usize = self
            .index
            .iter()
            .map(|(u, _, s)| u.len() + s.len() + 11)
            .sum();
        if bytes > 50_000 {
            self.previous = std::mem::take(&mut self.index);
        }
    }
}

/// What the cluster is like now; a test changes it as it goes.
pub struct State {
    pub nodes: BTreeMap<String, Node>,
    /// Latest last: uid, time, node, user, message.
    pub log: VecDeque<Value>,
    pub resources: Value,
    pub status: Value,
    pub users: Value,
    pub acl: Vec<Value>,
    pub permissions: Value,
    /// The token that is believed.
    pub token: String,
    /// A 401 waits this long.
    pub delay: Duration,
    /// Every answer is this page instead.
    pub page: Option<String>,
    /// Whether answers are packed though nobody asked for it.
    pub gzip: bool,
    /// Requests that came, by their path.
    pub requests: BTreeMap<String, usize>,
    pub connections: usize,
    /// How far the clock of a node is ahead [s].
    pub ahead: BTreeMap<String, i64>,
    made: u32,
    uid: u32,
    random: fastrand::Rng,
}

/// A running stand-in.
#[derive(Clone)]
pub struct Cluster {
    state: Arc<Mutex<State>>,
    port: u16,
    tls: bool,
}

impl Cluster {
    /// One with these nodes, in clear.
    pub fn start(nodes: &[&str]) -> Cluster {
        Cluster::listen(nodes, None)
    }

    /// One that speaks TLS.
    pub fn start_tls(nodes: &[&str], tls: &Tls) -> Cluster {
        Cluster::listen(nodes, Some(tls))
    }

    fn listen(nodes: &[&str], tls: Option<&Tls>) -> Cluster {
        let all: Vec<Value> = nodes
            .iter()
            .enumerate()
            .map(|(n, name)| {
                json!({"type": "node", "name": name, "nodeid": n + 1, "online": 1,
                    "local": u8::from(n == 0), "ip": format!("192.0.2.{}", n + 1), "id": format!("node/{name}")})
            })
            .chain([json!({"type": "cluster", "name": "prod", "quorate": 1, "nodes": nodes.len(), "id": "cluster"})])
            .collect();
        let auditor = json!({"Sys.Audit": 1, "VM.Audit": 1, "Datastore.Audit": 1, "Pool.Audit": 1, "Sys.Syslog": 1});
        let state = State {
            nodes: nodes
                .iter()
                .map(|name| ((*name).to_owned(), Node::default()))
                .collect(),
            log: VecDeque::new(),
            resources: json!([]),
            status: Value::Array(all),
            users: json!([{"userid": "root@pam", "enable": 1, "expire": 0, "realm-type": "pam"}]),
            acl: Vec::new(),
            permissions: json!({"/": auditor}),
            token: TOKEN.to_owned(),
            delay: Duration::from_millis(50),
            page: None,
            gzip: false,
            requests: BTreeMap::new(),
            connections: 0,
            ahead: BTreeMap::new(),
            made: 0,
            uid: 0,
            random: fastrand::Rng::with_seed(7),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cluster = Cluster {
            state: Arc::new(Mutex::new(state)),
            port: listener.local_addr().unwrap().port(),
            tls: tls.is_some(),
        };
        let config = tls.map(|tls| Arc::new(tls.server(&["http/1.1"]).unwrap()));
        let answering = cluster.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (cluster, config) = (answering.clone(), config.clone());
                cluster.state().connections += 1;
                std::thread::spawn(move || {
                    // A connection that breaks is the client's to mend.
                    let _ = stream.set_nodelay(true);
                    let _ = match config {
                        Some(config) => match rustls::ServerConnection::new(config) {
                            Ok(tls) => cluster.serve(rustls::StreamOwned::new(tls, stream)),
                            Err(why) => Err(std::io::Error::other(why)),
                        },
                        None => cluster.serve(stream),
                    };
                });
            }
        });
        cluster
    }

    /// Its address.
    pub fn uri(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What it is like, to look at and to change.
    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A task begins on a node.
    pub fn begin(&self, node: &str, kind: &str) -> String {
        let mut state = self.state();
        state.made += 1;
        let n = state.made;
        let id = if kind == "vzdump" {
            String::new()
        } else {
            (100 + n % 900).to_string()
        };
        let upid = format!(
            "UPID:{node}:{n:08X}:01C8F2A4:{:08X}:{kind}:{id}:alice@pve!ci:",
            BEGIN + n
        );
        state.say(node, &format!("starting task {upid}"));
        state
            .nodes
            .get_mut(node)
            .unwrap()
            .running
            .push(upid.clone());
        upid
    }

    /// It ends. Without `listed`, as where the API's own pattern drops its line.
    pub fn end(&self, node: &str, upid: &str, status: &str, listed: bool) {
        let mut state = self.state();
        let start = u32::from_str_radix(upid.split(':').nth(4).unwrap(), 16).unwrap();
        state.say(node, &format!("end task {upid} {status}"));
        let node = state.nodes.get_mut(node).unwrap();
        node.running.retain(|held| held != upid);
        let last = match status {
            "OK" => "TASK OK".to_owned(),
            why => format!("TASK ERROR: {why}"),
        };
        let mut lines: Vec<String> = (0..60).map(|n| format!("line {n}")).collect();
        lines.push("password=hunter2hunter2".to_owned());
        lines.push(last);
        node.logs.insert(upid.to_owned(), lines);
        node.exits.insert(upid.to_owned(), status.to_owned());
        if listed {
            node.archive(upid, start + 2, status);
        }
    }

    /// So many tasks of a node, one after another.
    pub fn tasks(&self, node: &str, count: usize) -> Vec<String> {
        let one = |_| {
            let upid = self.begin(node, "qmstart");
            self.end(node, &upid, "OK", true);
            upid
        };
        (0..count).map(one).collect()
    }

    /// Writes the log of a task anew.
    pub fn set_log(&self, node: &str, upid: &str, lines: &[&str]) {
        let mut state = self.state();
        let lines = lines.iter().map(|line| (*line).to_owned()).collect();
        let node = state.nodes.get_mut(node).unwrap();
        node.logs.insert(upid.to_owned(), lines);
    }

    /// An entry of the cluster log.
    pub fn say(&self, node: &str, message: &str) {
        self.state().say(node, message);
    }

    fn serve<S: Read + Write>(&self, stream: S) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        for n in 0.. {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let mut token = String::new();
            loop {
                line.clear();
                stream.read_line(&mut line)?;
                if line.trim().is_empty() {
                    break;
                }
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("authorization")
                {
                    token = value.trim().to_owned();
                }
            }
            let (status, body, wait) = self.state().answer(&target, &token);
            std::thread::sleep(wait);
            let gzip = self.state().gzip && status == 200;
            let body = match gzip {
                true => {
                    let mut out =
                        flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                    out.write_all(body.as_bytes())?;
                    out.finish()?
                }
                false => body.into_bytes(),
            };
            // Every error closes, and so does the hundredth request.
            let close = status >= 400 || n >= 99;
            let head = format!(
                "HTTP/1.1 {status} said\r\nServer: pve-api-daemon/3.0\r\nContent-Length: {}\r\n{}Connection: {}\r\n\r\n",
                body.len(),
                if gzip {
                    "Content-Encoding: gzip\r\n"
                } else {
                    ""
                },
                if close { "close" } else { "Keep-Alive" },
            );
            let whole = [head.as_bytes(), &body].concat();
            stream.get_mut().write_all(&whole)?;
            stream.get_mut().flush()?;
            if close {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl State {
    fn say(&mut self, node: &str, message: &str) {
        self.uid += 1;
        let time = BEGIN + self.uid;
        self.log.push_back(json!({"uid": self.uid, "id": format!("{}:{node}", self.uid), "time": time, "node": node,
            "pid": 7, "pri": 6, "tag": "pvedaemon", "user": "alice@pve!ci", "msg": message}));
        while self.log.len() > 700 {
            self.log.pop_front();
        }
    }

    fn answer(&mut self, target: &str, token: &str) -> (u16, String, Duration) {
        let now = Duration::ZERO;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        *self.requests.entry(path.to_owned()).or_default() += 1;
        if let Some(page) = &self.page {
            return (200, page.clone(), now);
        }
        if token != format!("PVEAPIToken={}", self.token) {
            return (401, String::new(), self.delay);
        }
        let query: BTreeMap<&str, &str> =
            query.split('&').filter_map(|p| p.split_once('=')).collect();
        let Some(path) = path.strip_prefix("/api2/json/") else {
            return (501, String::new(), now);
        };
        let parts: Vec<&str> = path.split('/').collect();
        let known: &[&str] = match parts[..] {
            ["nodes", _, "tasks"] => &["source", "limit", "start"],
            ["nodes", _, "tasks", _, "log"] => &["limit", "start"],
            ["cluster", "log"] => &["max"],
            ["access", "users"] => &["full"],
            _ => &[],
        };
        if query.keys().any(|name| !known.contains(name)) {
            return (
                400,
                json!({"data": null, "message": "Parameter verification failed.\n"}).to_string(),
                now,
            );
        }
        let number = |name: &str, or: usize| query.get(name).map_or(or, |n| n.parse().unwrap());
        let data = |data: Value| (200, json!({"data": data}).to_string(), now);
        match parts[..] {
            ["access", "permissions"] => data(self.permissions.clone()),
            ["access", "users"] => data(self.users.clone()),
            ["access", "acl"] => {
                self.random.shuffle(&mut self.acl);
                data(Value::Array(self.acl.clone()))
            }
            ["access", "roles"] => {
                data(json!([{"roleid": "PVEAuditor", "privs": "Sys.Audit", "special": 1}]))
            }
            ["access", "groups"] => data(json!([{"groupid": "ops", "users": "b@pve,a@pve"}])),
            ["access", "domains"] => data(json!([{"realm": "pam", "type": "pam"}])),
            ["access", "tfa"] => data(json!([])),
            ["nodes"] => {
                let rows = self.nodes.iter().map(|(name, node)| {
                    json!({"node": name, "type": "node", "status": if node.away.is_some() { "offline" } else { "online" }})
                });
                data(rows.collect())
            }
            ["cluster", "status"] => data(self.status.clone()),
            ["cluster", "resources"] => data(self.resources.clone()),
            ["cluster", "tasks"] => {
                let mut rows = Vec::new();
                for (name, node) in &self.nodes {
                    let running = node.running.iter().map(|upid| row(name, upid, None, true));
                    let ended = node.index.iter().rev();
                    let ended = ended.map(|(u, end, s)| row(name, u, Some((*end, s)), true));
                    rows.extend(running.chain(ended).take(25));
                }
                data(Value::Array(rows))
            }
            ["cluster", "log"] => {
                let max = number("max", 50);
                let rows: Vec<Value> = self.log.iter().rev().take(max).cloned().collect();
                let broken = |row: &Value| row["msg"].as_str().unwrap().contains('\\');
                if rows.iter().any(broken) {
                    let message = "illegal backslash escape sequence in string\n";
                    return (
                        500,
                        json!({"data": null, "message": message}).to_string(),
                        now,
                    );
                }
                data(Value::Array(rows))
            }
            ["nodes", name, "time"] => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                let now = i64::try_from(since.unwrap().as_secs()).unwrap();
                let time = now + self.ahead.get(name).copied().unwrap_or(0);
                data(json!({"time": time, "localtime": time, "timezone": "UTC"}))
            }
            ["nodes", name, "tasks", ref rest @ ..] => {
                let Some(node) = self.nodes.get(name) else {
                    return (500, json!({"data": null, "message": format!("hostname lookup '{name}' failed")}).to_string(), now);
                };
                if let Some(status) = node.away {
                    return (status, String::new(), now);
                }
                tasks(name, node, rest, number)
            }
            _ => (501, String::new(), now),
        }
    }
}

fn row(node: &str, upid: &str, end: Option<(u32, &str)>, broadcast: bool) -> Value {
    let parts: Vec<&str> = upid.split(':').collect();
    let start = u32::from_str_radix(parts[4], 16).unwrap();
    let mut row =
        json!({"upid": upid, "node": node, "starttime": start, "type": parts[5], "id": parts[6]});
    match end {
        // Archived rows have the token apart, running ones do not.
        Some((end, status)) => {
            let (user, token) = parts[7].split_once('!').unwrap_or((parts[7], ""));
            row["user"] = user.into();
            row["tokenid"] = token.into();
            row["endtime"] = end.into();
            row["status"] = status.into();
        }
        None => {
            row["user"] = parts[7].into();
            row["saved"] = "0".into();
            if !broadcast {
                row["status"] = "RUNNING".into();
            }
        }
    }
    row
}

fn tasks(
    name: &str,
    node: &Node,
    rest: &[&str],
    number: impl Fn(&str, usize) -> usize,
) -> (u16, String, Duration) {
    let now = Duration::ZERO;
    let gone = || {
        (
            400,
            json!({"data": null, "message": "no such task\n"}).to_string(),
            now,
        )
    };
    match rest {
        [] => {
            let running = node.running.iter().map(|upid| row(name, upid, None, false));
            let ended = node.index.iter().rev().chain(node.previous.iter().rev());
            let mut rows: Vec<Value> = running
                .chain(ended.map(|(u, end, s)| row(name, u, Some((*end, s)), false)))
                .collect();
            // The lists are read without a lock: what ended just now still runs in the first of them.
            if let Some((upid, ..)) = node.index.last() {
                rows.insert(0, row(name, upid, None, false));
            }
            let total = rows.len();
            let rows: Vec<Value> = rows
                .into_iter()
                .skip(number("start", 0))
                .take(number("limit", 50))
                .collect();
            let mut answer = json!({"data": rows});
            if total > 0 {
                answer["total"] = total.into();
            }
            (200, answer.to_string(), now)
        }
        [upid, "status"] => {
            let runs = node.running.iter().any(|held| held == upid);
            let exit = node.exits.get(*upid);
            if !runs && exit.is_none() {
                return gone();
            }
            let mut status =
                json!({"upid": upid, "status": if runs { "running" } else { "stopped" }});
            if let Some(exit) = exit {
                status["exitstatus"] = exit.as_str().into();
            }
            (200, json!({"data": status}).to_string(), now)
        }
        [upid, "log"] => {
            let lines = node.logs.get(*upid).cloned().unwrap_or_default();
            let total = lines.len().max(1);
            let lines = if lines.is_empty() {
                vec!["no content".to_owned()]
            } else {
                lines
            };
            let limit = match number("limit", 50) {
                0 => usize::MAX,
                n => n,
            };
            let rows: Vec<Value> = lines
                .iter()
                .enumerate()
                .skip(number("start", 0))
                .take(limit)
                .map(|(n, text)| json!({"n": n + 1, "t": text}))
                .collect();
            (200, json!({"data": rows, "total": total}).to_string(), now)
        }
        _ => (501, String::new(), now),
    }
}
