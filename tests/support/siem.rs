//! Real rsyslog and syslog-ng as receivers, each a child of the test, and what they wrote.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::syslog::{Pki, free_port};

/// Which program receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// rsyslog, which reads structured data by mmpstrucdata and CEF by mmnormalize.
    Rsyslog,
    /// The same without reading into the messages, for many of them.
    Brief,
    /// syslog-ng.
    SyslogNg,
}

/// A receiver with its own ports, whose messages end up in a file.
pub struct Receiver {
    folder: tempfile::TempDir,
    which: Which,
    child: Option<Child>,
    /// TCP and UDP.
    pub port: u16,
    /// TLS for everybody.
    pub tls: u16,
    /// TLS for clients with a certificate of the authority.
    pub mutual: u16,
}

impl Receiver {
    /// One that runs; `None`, told where the tests look, if this machine has none.
    pub fn start(which: Which, pki: &Pki) -> Option<Receiver> {
        let mut receiver = Receiver::ready(which, pki)?;
        receiver.again();
        Some(receiver)
    }

    /// One that has not begun yet.
    pub fn ready(which: Which, pki: &Pki) -> Option<Receiver> {
        let installed = Command::new(script(which)).arg("install").output().unwrap();
        if !installed.status.success() {
            super::service::skip(&format!("service: {which:?} cannot be installed"));
            return None;
        }
        let receiver = Receiver {
            folder: tempfile::tempdir().unwrap(),
            which,
            child: None,
            port: free_port(),
            tls: free_port(),
            mutual: free_port(),
        };
        let config = match which {
            Which::Rsyslog => receiver.rsyslog(pki, ALL, READING),
            Which::Brief => receiver.rsyslog(pki, BRIEF, ""),
            Which::SyslogNg => receiver.syslog_ng(pki),
        };
        std::fs::write(receiver.path("receiver.conf"), config).unwrap();
        Some(receiver)
    }

    /// Gives it another configuration before it begins.
    pub fn configure(&mut self, config: &str) {
        std::fs::write(self.path("receiver.conf"), config).unwrap();
        // There is but this one port.
        (self.tls, self.mutual) = (self.port, self.port);
    }

    fn rsyslog(&self, pki: &Pki, template: &str, reading: &str) -> String {
        let Receiver {
            port, tls, mutual, ..
        } = self;
        // `Direct`: what it has read it has written before it reads on.
        format!(
            r#"global(workDirectory={work:?} maxMessageSize="128k"
  DefaultNetstreamDriverCAFile={ca:?} DefaultNetstreamDriverCertFile={crt:?} DefaultNetstreamDriverKeyFile={key:?})
module(load="imtcp") module(load="imudp") module(load="mmnormalize") module(load="mmpstrucdata")
{template}
ruleset(name="to_file" queue.type="Direct") {{
  {reading}
  action(type="omfile" file={out:?} template="line")
}}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="to_file")
input(type="imudp" address="127.0.0.1" port="{port}" ruleset="to_file" rcvbufSize="8m")
input(type="imtcp" address="127.0.0.1" port="{tls}" ruleset="to_file"
  streamdriver.name="ossl" streamdriver.mode="1" streamdriver.authmode="anon")
input(type="imtcp" address="127.0.0.1" port="{mutual}" ruleset="to_file"
  streamdriver.name="ossl" streamdriver.mode="1" streamdriver.authmode="x509/name" permittedpeer="agent.example")
"#,
            work = self.folder.path(),
            ca = pki.file("ca.pem"),
            crt = pki.file("server.pem"),
            key = pki.file("server.key"),
            out = self.path("out"),
        )
    }

    fn syslog_ng(&self, pki: &Pki) -> String {
        let Receiver {
            port, tls, mutual, ..
        } = self;
        let own = format!(
            "key-file({:?}) cert-file({:?}) ca-file({:?})",
            pki.file("server.key"),
            pki.file("server.pem"),
            pki.file("ca.pem")
        );
        format!(
            r#"@version: @VERSION@
options {{ stats-freq(0); keep-hostname(yes); time-reopen(1); log-msg-size(131072); flush-lines(1); }};
source in {{
  syslog(ip("127.0.0.1") port({port}) transport("tcp"));
  syslog(ip("127.0.0.1") port({port}) transport("udp") so-rcvbuf(8388608));
  syslog(ip("127.0.0.1") port({tls}) transport("tls") tls({own} peer-verify(optional-untrusted)));
  syslog(ip("127.0.0.1") port({mutual}) transport("tls") tls({own} peer-verify(required-trusted)));
}};
destination out {{ file({out:?} template("$(format-json app=$PROGRAM host=$HOST procid=$PID msgid=$MSGID msg=$MESSAGE data=$SDATA --key .SDATA.*)\n")); }};
log {{ source(in); destination(out); flags(flow-control); }};
"#,
            out = self.path("out"),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs it, and waits until it listens.
    pub fn again(&mut self) {
        let mut command = Command::new(script(self.which));
        command.arg("run").arg(self.path("receiver.conf"));
        match self.which {
            Which::SyslogNg => command.arg(self.folder.path()),
            _ => command.arg("-i").arg(self.path("pid")),
        };
        // A killed one leaves its file, which stops the next.
        let _ = std::fs::remove_file(self.path("pid"));
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        self.child = Some(command.spawn().unwrap());
        let began = std::time::Instant::now();
        let listens = |port: u16| TcpStream::connect(("127.0.0.1", port)).is_ok();
        while ![self.port, self.tls, self.mutual].into_iter().all(listens) {
            assert!(
                began.elapsed().as_secs() < 30,
                "the receiver does not listen: {}",
                self.log()
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// What it says about itself.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Sends it a signal by name; the scripts become the daemon, so it is our child.
    pub fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success(), "kill -s {name}");
    }

    /// Ends it by this signal and waits until it is gone.
    pub fn end(&mut self, signal: &str) {
        self.signal(signal);
        self.child.take().unwrap().wait().unwrap();
    }

    /// The lines it wrote that are whole, and how many are not: of a file somebody was killed over, one may be cut.
    pub fn written(&self) -> (Vec<Value>, usize) {
        let text = std::fs::read(self.path("out")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let lines = text[..whole].lines().map(serde_json::from_str::<Value>);
        let (good, bad): (Vec<_>, Vec<_>) = lines.partition(Result::is_ok);
        (good.into_iter().map(Result::unwrap).collect(), bad.len())
    }

    /// How many lines there are, cheaply.
    pub fn count(&self) -> usize {
        let text = std::fs::read(self.path("out")).unwrap_or_default();
        memchr::memchr_iter(b'\n', &text).count()
    }

    /// The ids under which each text was written, and how often.
    pub fn texts(&self) -> BTreeMap<String, BTreeMap<String, usize>> {
        let mut texts: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
        for line in self.written().0 {
            let text = line["msg"].as_str().unwrap_or_default();
            let text = text.trim_start_matches(' ').to_owned();
            *texts.entry(text).or_default().entry(id(&line)).or_default() += 1;
        }
        texts
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The id of the event in a message's structured data.
pub fn id(line: &Value) -> String {
    let data = line["data"].as_str().unwrap_or_default();
    let rest = data.split(" id=\"").nth(1).unwrap_or_default();
    rest.split('"').next().unwrap_or_default().to_owned()
}

fn script(which: Which) -> &'static str {
    match which {
        Which::SyslogNg => "tests/services/syslog-ng.sh",
        _ => "tests/services/rsyslog.sh",
    }
}

const READING: &str = r#"action(type="mmpstrucdata")
  if $msg contains "CEF:" then { action(type="mmnormalize" rule=["rule=:%f:cef%"] path="$!cef") }"#;

const ALL: &str = r#"template(name="line" type="list" option.jsonf="on") {
  property(outname="pri" name="pri" format="jsonf")
  property(outname="version" name="protocol-version" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="procid" name="procid" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
  property(outname="raw" name="rawmsg" format="jsonf")
  property(outname="tree" name="$!all-json" format="jsonf")
}"#;

const BRIEF: &str = r#"template(name="line" type="list" option.jsonf="on") {
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}"#;
