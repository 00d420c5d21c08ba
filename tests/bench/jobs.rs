//! The jobs: what each program is told to do.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::jetstream;
use crate::measure::{By, Feed, Program};

/// The pattern of the job *access*, in Logstash's spelling, as every program compared was given it.
const PATTERN: &str = r#"%{IP:client_ip} - %{NOTSPACE:user} \[%{NOTSPACE:day}:%{TIME:time} %{ISO8601_TIMEZONE:tz}\] "%{WORD:method} %{NOTSPACE:request} HTTP/%{NUMBER:http_version}" %{INT:status} %{INT:bytes}"#;
const FIELDS: [&str; 10] = [
    "client_ip",
    "user",
    "day",
    "time",
    "tz",
    "method",
    "request",
    "http_version",
    "status",
    "bytes",
];

/// Datagrams that must not be lost [datagrams/s].
const UDP_RATE: u64 = 200_000;

/// What the job *syslog* sends on, as rsyslog does.
const SYSLOG_FIELDS: [&str; 7] = [
    "@timestamp",
    "host.name",
    "log.syslog.severity.name",
    "log.syslog.facility.name",
    "process.name",
    "log.syslog.procid",
    "message",
];

/// Where a run finds its input and may write.
pub(crate) struct Place {
    pub(crate) access: PathBuf,
    pub(crate) syslog: PathBuf,
    pub(crate) work: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// The bare work of *access*, in one thread.
    Floor,
    /// file → grok → Elasticsearch.
    Access,
    /// file → Elasticsearch, no parsing.
    Forward,
    /// file → grok → dedupe → Elasticsearch.
    AccessDedupe,
    /// file → grok → Loki, protobuf and snappy, ids and addresses beside the line.
    Loki,
    /// file → remap (VRL with the grok in it) → Elasticsearch.
    Vrl,
    /// file → grok → event_id → correlate → Elasticsearch, every field of the audit event.
    AuditNorules,
    /// The same with `anomaly` and the whole rule pack; alerts go the same way.
    Audit,
    /// RFC 5424 over one TCP connection → Elasticsearch.
    Syslog,
    /// NATS JetStream → Elasticsearch, every message answered for.
    Nats,
    /// The same as datagrams, [`UDP_RATE`] a second: what is dropped never arrives, so the job ends only if nothing is.
    SyslogUdp,
    /// rsyslog: imfile → mmnormalize → omelasticsearch, its nearest to *access*.
    RsyslogAccess,
    /// rsyslog: imtcp, RFC 5424 → omelasticsearch. Its CPU per event is R.
    RsyslogSyslog,
}

impl Job {
    pub(crate) const ALL: [Self; 13] = [
        Self::Floor,
        Self::Access,
        Self::Forward,
        Self::AccessDedupe,
        Self::Loki,
        Self::Vrl,
        Self::AuditNorules,
        Self::Audit,
        Self::Syslog,
        Self::Nats,
        Self::SyslogUdp,
        Self::RsyslogAccess,
        Self::RsyslogSyslog,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Access => "access",
            Self::Forward => "forward",
            Self::AccessDedupe => "access-dedupe",
            Self::Loki => "loki",
            Self::Vrl => "vrl",
            Self::AuditNorules => "audit-norules",
            Self::Audit => "audit",
            Self::Syslog => "syslog",
            Self::Nats => "nats",
            Self::SyslogUdp => "syslog-udp",
            Self::RsyslogAccess => "rsyslog-access",
            Self::RsyslogSyslog => "rsyslog-syslog",
        }
    }

    /// What the project promises: CPU in floors, CPU in R, events/s, peak memory [MiB].
    pub(crate) fn promise(self) -> Promise {
        let none = Promise::default();
        match self {
            Self::Access => Promise {
                floors: Some(2.0),
                rs: Some(0.25),
                rate: Some(1.2e6),
                peak: Some(48.0),
            },
            Self::Forward => Promise {
                floors: Some(1.4),
                peak: Some(48.0),
                ..none
            },
            Self::AccessDedupe => Promise {
                floors: Some(2.4),
                ..none
            },
            // Its CPU is measured against VRL's own runtime, in `transforms/benches/vrl.rs`.
            Self::Vrl => Promise {
                peak: Some(64.0),
                ..none
            },
            Self::AuditNorules => Promise {
                floors: Some(5.0),
                peak: Some(64.0),
                ..none
            },
            Self::Audit => Promise {
                floors: Some(8.0),
                peak: Some(128.0),
                ..none
            },
            Self::Syslog => Promise {
                floors: Some(2.5),
                rs: Some(0.22),
                peak: Some(48.0),
                ..none
            },
            Self::Loki | Self::Nats => Promise {
                peak: Some(64.0),
                ..none
            },
            Self::SyslogUdp => Promise {
                peak: Some(48.0),
                ..none
            },
            Self::Floor | Self::RsyslogAccess | Self::RsyslogSyslog => none,
        }
    }

    pub(crate) fn program(self, place: &Place, port: u16) -> io::Result<Program> {
        match self {
            Self::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command
                    .arg("floor")
                    .arg(&place.access)
                    .arg(port.to_string());
                Ok(Program {
                    command,
                    feed: None,
                })
            }
            Self::Access
            | Self::Forward
            | Self::AccessDedupe
            | Self::Loki
            | Self::Vrl
            | Self::AuditNorules
            | Self::Audit => self.pvetrail(place, port),
            Self::Syslog => syslog(place, port, By::Tcp),
            Self::SyslogUdp => syslog(place, port, By::Udp(UDP_RATE)),
            Self::Nats => jetstream::program(place, port),
            Self::RsyslogAccess | Self::RsyslogSyslog => self.rsyslog(place, port),
        }
    }

    fn pvetrail(self, place: &Place, port: u16) -> io::Result<Program> {
        let data = place.work.join("data");
        let graph = place.work.join("graph.toml");
        let (transforms, input) = match self {
            Self::Forward => (String::new(), "access"),
            Self::AccessDedupe => (
                format!(
                    "{}\n[transforms.once]\ntype = \"dedupe\"\ninputs = [\"parsed\"]\n",
                    grok()
                ),
                "once",
            ),
            Self::Vrl => (remap(), "parsed"),
            Self::AuditNorules => (audit(), "who"),
            Self::Audit => (format!("{}{RULES}", audit()), "watch"),
            _ => (grok(), "parsed"),
        };
        let fields = match self {
            Self::Forward => vec!["@timestamp", "message", "host.name", "log.file.path"],
            Self::Vrl => ["@timestamp", "outcome"]
                .into_iter()
                .chain(FIELDS)
                .collect(),
            _ => std::iter::once("@timestamp").chain(FIELDS).collect(),
        };
        let sink = match self {
            Self::Loki => format!(
                r#"type = "loki"
endpoint = "http://127.0.0.1:{port}"
labels = {{ node = "{{{{ host.name }}}}", method = "{{{{ method }}}}", service_name = "pvetrail" }}
structured_metadata = {{ user = "{{{{ user }}}}", source_ip = "{{{{ client_ip }}}}" }}"#
            ),
            _ => format!(
                r#"type = "elasticsearch"
endpoints = ["http://127.0.0.1:{port}"]
bulk = {{ index = "pve-audit-%Y.%m" }}
compression = "none""#
            ),
        };
        let encoding = match self {
            // An audit event goes out whole.
            Self::AuditNorules | Self::Audit => String::new(),
            _ => format!("encoding = {{ only_fields = {fields:?} }}"),
        };
        let text = format!(
            r#"data_dir = {data:?}

[admin]
enabled = false

[sources.access]
type = "file"
include = [{access:?}]
{transforms}
[sinks.out]
inputs = ["{input}"]
{sink}
{encoding}
"#,
            access = place.access,
        );
        fs::write(&graph, text)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_pvetrail"));
        command.arg("run").arg(graph);
        Ok(Program {
            command,
            feed: None,
        })
    }

    fn rsyslog(self, place: &Place, port: u16) -> io::Result<Program> {
        let work = place.work.display();
        let config = place.work.join("rsyslog.conf");
        // No id and no @timestamp, which is in its favour. One worker fed by large batches is the cheapest it can do.
        let queues = r#"main_queue(queue.type="FixedArray" queue.size="200000" queue.dequeueBatchSize="4096" queue.workerThreads="1")"#;
        let sink = format!(
            r#"action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" template="document" searchIndex="pve-audit-2026.11" searchType="" bulkmode="on" maxbytes="2m" action.resumeRetryCount="-1")"#
        );
        let (text, feed) = if self == Self::RsyslogAccess {
            let rules = place.work.join("access.rulebase");
            fs::write(
                &rules,
                "version=2\nrule=:%client_ip:word% - %user:word% [%day:char-to{\"extradata\":\":\"}%:%time:word% %tz:char-to{\"extradata\":\"]\"}%] \"%method:word% %request:word% HTTP/%http_version:char-to{\"extradata\":\"\\\"\"}%\" %status:word% %bytes:word%\n",
            )?;
            let text = format!(
                r#"global(workDirectory="{work}")
{queues}
module(load="imfile")
module(load="mmnormalize")
module(load="omelasticsearch")
template(name="document" type="subtree" subtree="$!")
input(type="imfile" file="{access}" tag="access" addMetadata="off" ruleset="all")
ruleset(name="all") {{
  action(type="mmnormalize" rulebase="{rules}" useRawMsg="off")
  {sink}
}}
"#,
                access = place.access.display(),
                rules = rules.display(),
            );
            (text, None)
        } else {
            let listen = free_port()?;
            let text = format!(
                r#"global(workDirectory="{work}")
{queues}
module(load="imtcp")
module(load="omelasticsearch")
template(name="document" type="list" option.jsonf="on") {{
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="severity" name="syslogseverity-text" format="jsonf")
  property(outname="facility" name="syslogfacility-text" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="pid" name="procid" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
input(type="imtcp" address="127.0.0.1" port="{listen}" ruleset="all")
ruleset(name="all") {{
  {sink}
}}
"#
            );
            let feed = Feed {
                port: listen,
                file: place.syslog.clone(),
                by: By::Tcp,
            };
            (text, Some(feed))
        };
        fs::write(&config, text)?;
        let mut command = Command::new(service("rsyslog"));
        command
            .arg("run")
            .arg(config)
            .arg("-i")
            .arg(place.work.join("rsyslogd.pid"));
        Ok(Program { command, feed })
    }
}

fn syslog(place: &Place, port: u16, by: By) -> io::Result<Program> {
    let data = place.work.join("data");
    let graph = place.work.join("graph.toml");
    let listen = free_port()?;
    let mode = match by {
        By::Tcp => "tcp",
        By::Udp(_) => "udp",
    };
    let text = format!(
        r#"data_dir = {data:?}

[admin]
enabled = false

[sources.net]
type = "syslog"
mode = "{mode}"
address = "127.0.0.1:{listen}"

[sinks.es]
type = "elasticsearch"
inputs = ["net"]
endpoints = ["http://127.0.0.1:{port}"]
bulk = {{ index = "pve-audit-%Y.%m" }}
compression = "none"
encoding = {{ only_fields = {SYSLOG_FIELDS:?} }}
"#
    );
    fs::write(&graph, text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvetrail"));
    command.arg("run").arg(graph);
    Ok(Program {
        command,
        feed: Some(Feed {
            port: listen,
            file: place.syslog.clone(),
            by,
        }),
    })
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Promise {
    pub(crate) floors: Option<f64>,
    pub(crate) rs: Option<f64>,
    pub(crate) rate: Option<f64>,
    pub(crate) peak: Option<f64>,
}

fn grok() -> String {
    format!(
        "\n[transforms.parsed]\ntype = \"grok\"\ninputs = [\"access\"]\npatterns = ['{PATTERN}']\n"
    )
}

/// What an audit trail is made of, without rules.
fn audit() -> String {
    r#"
[transforms.parsed]
type = "grok"
inputs = ["access"]
patterns = ['%{PVEPROXY_ACCESS}']

[transforms.audit]
type = "event_id"
inputs = ["parsed"]

[transforms.who]
type = "correlate"
inputs = ["audit"]
"#
    .to_owned()
}

/// The whole pack behind it.
const RULES: &str = r#"
[transforms.watch]
type = "anomaly"
inputs = ["who"]
rules = ["builtin"]

[sinks.pager]
type = "blackhole"
inputs = ["watch.alerts"]
"#;

/// The same in a program of ten lines: the fields of the line, casts, a condition, a deletion.
fn remap() -> String {
    format!(
        r#"
[transforms.parsed]
type = "remap"
inputs = ["access"]
source = '''
. |= parse_grok!(string!(.message), s'{PATTERN}')
.status = to_int!(.status)
.bytes = to_int!(.bytes)
.http_version = to_float!(.http_version)
if .status >= 400 {{
  .outcome = "failure"
}} else {{
  .outcome = "success"
}}
del(.message)
'''
"#
    )
}

/// The script that installs and runs a real server.
pub(crate) fn service(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/services")
        .join(name)
        .with_extension("sh")
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
