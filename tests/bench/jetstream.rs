//! A JetStream stream full of events for the job *nats*, made once for all runs; each run reads it by a consumer of its own.

use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::jetstream::{self, message::PublishMessage, stream};

use crate::jobs::{Place, service};
use crate::measure::Program;

/// Messages that wait for the stream's answer at once while it is filled.
const WINDOW: usize = 2000;

static SERVER: Mutex<Option<String>> = Mutex::new(None);
static RUNS: AtomicU64 = AtomicU64::new(0);

/// NATS JetStream → Elasticsearch.
pub(crate) fn program(place: &Place, port: u16) -> io::Result<Program> {
    let url = server(place)?;
    let data = place.work.join("data");
    let graph = place.work.join("graph.toml");
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let text = format!(
        r#"data_dir = {data:?}

[admin]
enabled = false

[sources.net]
type = "nats"
url = "{url}"
jetstream = {{ stream = "BENCH", consumer = "run{run}", create = true, max_ack_pending = 50000, batch_config = {{ batch = 1000 }} }}

[sinks.es]
type = "elasticsearch"
inputs = ["net"]
endpoints = ["http://127.0.0.1:{port}"]
bulk = {{ index = "pve-audit-%Y.%m" }}
compression = "none"
"#
    );
    std::fs::write(&graph, text)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_pvetrail"));
    command.arg("run").arg(graph);
    Ok(Program {
        command,
        feed: None,
    })
}

/// The address of the server, started and filled the first time. It ends with this program.
fn server(place: &Place) -> io::Result<String> {
    let mut server = SERVER
        .lock()
        .map_err(|_| io::Error::other("an earlier run failed"))?;
    if let Some(url) = &*server {
        return Ok(url.clone());
    }
    let script = service("nats");
    if !Command::new(&script).arg("install").status()?.success() {
        return Err(io::Error::other("nats-server could not be installed"));
    }
    let folder: PathBuf = place.work.with_file_name("nats");
    let output = Command::new(&script)
        .args(["start", "0"])
        .arg(&folder)
        .env("OWNER", std::process::id().to_string())
        .output()?;
    let url = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if url.is_empty() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(io::Error::other(why));
    }
    tokio::runtime::Runtime::new()?
        .block_on(fill(&url, &place.access))
        .map_err(|why| io::Error::other(why.to_string()))?;
    *server = Some(url.clone());
    Ok(url)
}

/// Each line of the access log as another pvetrail would publish it: an event with an id, a time and a few fields.
async fn fill(url: &str, lines: &Path) -> Result<(), async_nats::Error> {
    let client = async_nats::connect(url).await?;
    let context = jetstream::new(client);
    let config = stream::Config {
        name: "BENCH".to_owned(),
        subjects: vec!["bench".to_owned()],
        ..stream::Config::default()
    };
    context.create_stream(config).await?;
    let mut answers = std::collections::VecDeque::new();
    for (n, line) in io::BufReader::new(std::fs::File::open(lines)?)
        .lines()
        .enumerate()
    {
        let message = serde_json::to_string(&line?)?;
        let body = format!(
            r#"{{"@timestamp":"2026-11-20T10:11:12.131Z","event":{{"id":"{n:032x}","code":"PVE-2002","outcome":"success"}},"host":{{"name":"pve1"}},"message":{message}}}"#
        );
        if answers.len() >= WINDOW
            && let Some(first) = answers.pop_front()
        {
            let first: jetstream::context::PublishAckFuture = first;
            first.await?;
        }
        let publish = PublishMessage::build().payload(body.into());
        answers.push_back(context.send_publish("bench", publish).await?);
    }
    for answer in answers {
        answer.await?;
    }
    Ok(())
}
