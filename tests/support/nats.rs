//! A real nats-server of `tests/services`, killed and started again as a test wants, and a client to look into it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use futures::StreamExt as _;
use tokio::runtime::Runtime;

use super::service::skip;
use super::store::Store;
use super::{Ground, Program, messages};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Newest,
    /// The oldest that is promised: Debian's 2.9.10.
    Floor,
}

/// A server that runs until this is dropped.
pub struct Nats {
    which: Which,
    folder: tempfile::TempDir,
    flags: Vec<String>,
    /// Its address.
    pub url: String,
    runtime: Runtime,
    login: Box<dyn Fn() -> async_nats::ConnectOptions>,
}

/// What is stored in a stream.
#[derive(Clone, Debug)]
pub struct Stored {
    /// `Nats-Msg-Id`.
    pub id: String,
    pub subject: String,
    pub body: serde_json::Value,
}

fn script() -> PathBuf {
    let services = std::env::var_os("PVETRAIL_SERVICES")
        .map_or_else(|| PathBuf::from("tests/services"), PathBuf::from);
    services.join("nats.sh")
}

fn run(which: Which, args: &[&str], more: &[String]) -> std::process::Output {
    let mut command = Command::new(script());
    command.args(args).args(more);
    command.env("OWNER", std::process::id().to_string());
    if which == Which::Floor {
        command.env("DEBIAN", "1");
    }
    command.output().unwrap()
}

impl Nats {
    /// The newest server with these flags; `None`, told where the tests look, if this machine has none.
    pub fn start(flags: &[&str]) -> Option<Nats> {
        Nats::start_as(Which::Newest, flags, |_| Vec::new())
    }

    /// Which server with which flags; `prepare` is given its folder, to write a configuration there, and may add flags.
    pub fn start_as(
        which: Which,
        flags: &[&str],
        prepare: impl FnOnce(&Path) -> Vec<String>,
    ) -> Option<Nats> {
        let installed = run(which, &["install"], &[]);
        if !installed.status.success() {
            let why = String::from_utf8_lossy(&installed.stderr).into_owned();
            let last = why.lines().last().unwrap_or("cannot be installed");
            skip(&format!("service: nats ({which:?}): {last}"));
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        flags.extend(prepare(folder.path()));
        let mut nats = Nats {
            which,
            folder,
            flags,
            url: String::new(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap(),
            login: Box::new(async_nats::ConnectOptions::new),
        };
        nats.again();
        Some(nats)
    }

    /// How the test's own client logs in.
    pub fn login(&mut self, login: impl Fn() -> async_nats::ConnectOptions + 'static) {
        self.login = Box::new(login);
    }

    /// Starts it again, on the same folder and port.
    pub fn again(&mut self) {
        let folder = self.folder.path().to_str().unwrap();
        let output = run(self.which, &["start", "0", folder], &self.flags);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        self.url = String::from_utf8(output.stdout).unwrap().trim().to_owned();
    }

    /// `kill -9`.
    pub fn kill(&self) {
        run(
            self.which,
            &["kill", self.folder.path().to_str().unwrap()],
            &[],
        );
    }

    /// Asks it to end, and waits.
    pub fn stop(&self) {
        run(
            self.which,
            &["stop", self.folder.path().to_str().unwrap()],
            &[],
        );
    }

    /// The server's own log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A client of the test's own.
    pub fn client(&self) -> async_nats::Client {
        self.wait(async { (self.login)().connect(&self.url).await.unwrap() })
    }

    /// JetStream of that client.
    pub fn jetstream(&self) -> jetstream::Context {
        let client = self.client();
        self.wait(async { jetstream::new(client) })
    }

    /// Runs something of the client's to its end.
    pub fn wait<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(work)
    }

    /// Makes a stream that listens to these subjects.
    pub fn stream(&self, name: &str, subjects: &[&str]) {
        self.stream_of(stream::Config {
            name: name.to_owned(),
            subjects: subjects.iter().map(|s| (*s).to_owned()).collect(),
            duplicate_window: Duration::from_secs(900),
            discard: stream::DiscardPolicy::New,
            ..stream::Config::default()
        });
    }

    /// Makes or changes a stream.
    pub fn stream_of(&self, config: stream::Config) {
        let context = self.jetstream();
        self.wait(async {
            if context.get_stream(&config.name).await.is_ok() {
                context.update_stream(config).await.unwrap();
            } else {
                context.create_stream(config).await.unwrap();
            }
        });
    }

    /// How many messages a stream holds.
    pub fn count(&self, stream: &str) -> u64 {
        let context = self.jetstream();
        self.wait(async {
            let stream = context.get_stream(stream).await.unwrap();
            stream.cached_info().state.messages
        })
    }

    /// Everything in a stream, in its order.
    pub fn stored(&self, stream: &str) -> Vec<Stored> {
        let context = self.jetstream();
        self.wait(async {
            let stream = context.get_stream(stream).await.unwrap();
            let count = stream.cached_info().state.messages as usize;
            let reader = stream
                .create_consumer(consumer::pull::Config {
                    ack_policy: consumer::AckPolicy::None,
                    ..consumer::pull::Config::default()
                })
                .await
                .unwrap();
            let mut stored = Vec::new();
            while stored.len() < count {
                let mut messages = reader.fetch().max_messages(1000).messages().await.unwrap();
                while let Some(message) = messages.next().await {
                    let message = message.unwrap();
                    let header = |name: &str| {
                        let headers = message.headers.as_ref()?;
                        headers.get(name).map(|value| value.as_str().to_owned())
                    };
                    stored.push(Stored {
                        id: header("Nats-Msg-Id").unwrap_or_default(),
                        subject: message.subject.to_string(),
                        body: serde_json::from_slice(&message.payload).unwrap(),
                    });
                }
            }
            stored
        })
    }

    /// Publishes bodies into JetStream, each with an id if it has one, and waits for every answer.
    pub fn publish(
        &self,
        subject: &str,
        bodies: impl IntoIterator<Item = (Option<String>, String)>,
    ) {
        let context = self.jetstream();
        self.wait(async {
            let mut answers = Vec::new();
            for (id, body) in bodies {
                let mut publish = jetstream::message::PublishMessage::build().payload(body.into());
                if let Some(id) = id {
                    publish = publish.message_id(id);
                }
                answers.push(
                    context
                        .send_publish(subject.to_owned(), publish)
                        .await
                        .unwrap(),
                );
                if answers.len() == 500 {
                    for answer in answers.drain(..) {
                        answer.await.unwrap();
                    }
                }
            }
            for answer in answers {
                answer.await.unwrap();
            }
        });
    }

    /// Messages that a consumer has delivered and that nobody has answered for, and those not delivered yet.
    pub fn owed(&self, stream: &str, consumer: &str) -> (usize, u64) {
        let context = self.jetstream();
        self.wait(async {
            let stream = context.get_stream(stream).await.unwrap();
            match stream.consumer_info(consumer).await {
                Ok(info) => (info.num_ack_pending, info.num_pending),
                Err(_) => (0, 0),
            }
        })
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        // Its owner being gone ends it as well.
        let _ = Command::new(script())
            .arg("kill")
            .arg(self.folder.path())
            .output();
    }
}

/// How often each `message` is in there.
pub fn by_message(stored: &[Stored]) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for one in stored {
        let message = one.body["message"].as_str().unwrap_or_default();
        *times.entry(message.to_owned()).or_default() += 1;
    }
    times
}

/// A graph from NATS to the store.
pub fn graph(nats: &Nats, store: &Store, more: &str) -> String {
    format!(
        r#"
[admin]
address = "127.0.0.1:0"

[sinks.es]
type = "elasticsearch"
inputs = ["in"]
endpoints = ["{}"]
request = {{ retry_initial_backoff = "20ms", retry_max_backoff = "200ms" }}
batch = {{ timeout = "50ms" }}

[sources.in]
type = "nats"
url = "{}"
{more}
"#,
        store.uri(),
        nats.url
    )
}

/// Reads AUDIT by the consumer `agg`, which is made.
pub fn audit(more: &str) -> String {
    format!(
        "subject = \"pve.>\"\njetstream = {{ stream = \"AUDIT\", consumer = \"agg\", create = true{more} }}"
    )
}

/// Messages as another pvetrail publishes them.
pub fn bodies(range: std::ops::Range<usize>) -> impl Iterator<Item = (Option<String>, String)> {
    range.map(|n| {
        let id = format!("{n:032x}");
        let body = format!(
            r#"{{"@timestamp":"2026-02-03T04:05:06Z","event":{{"id":"{id}","code":"PVE-2002"}},"message":"line {n:07} of the log"}}"#
        );
        (Some(id), body)
    })
}

/// Starts the program and waits until it runs.
pub fn started(ground: &Ground) -> Program {
    let starts = || ground.log().matches("\"started\"").count();
    let before = starts();
    let program = ground.start();
    ground.until("it runs", || starts() > before);
    program
}

/// Every message is there once, and the server is owed nothing.
pub fn all_there(ground: &Ground, nats: &Nats, store: &Store, count: usize) {
    ground.until("all are there", || store.len() == count);
    ground.until("every message is answered for", || {
        nats.owed("AUDIT", "agg") == (0, 0)
    });
    assert_eq!(store.messages(), messages(0..count));
}
