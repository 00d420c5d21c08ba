//! Watches who owes the auditor an answer: a sink, or the disk queue in front of it, that has had no success for
//! `failure_after` makes audit impossible.
//!
//! That is told as `PVE-9025` and its end as `PVE-9026`. With `on_failure = "hold"` every source of the graph waits
//! meanwhile, before its next batch, and `/ready` is 503; only `internal` goes on, or nobody could be told. With `"exec"`
//! a command runs, once each time.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;

use super::health::SinkHealth;
use crate::clock::Time;
use crate::component::Reason;
use crate::config::OnFailure;
use crate::telemetry::{ComponentMetrics, Stage, Telemetry};
use crate::told::Told;

/// Looked at this often.
const EVERY: Duration = Duration::from_millis(250);
/// Of what a command prints, so much is written to the log [bytes].
const PRINTED: usize = 2048;

/// Whether sources have to wait.
pub(crate) struct Hold(watch::Sender<bool>);

impl Hold {
    pub(crate) fn new() -> Arc<Hold> {
        Arc::new(Hold(watch::Sender::new(false)))
    }

    pub(crate) fn is_held(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until sources may go on.
    pub(crate) async fn released(&self) {
        // The sender is this one, so it cannot be gone.
        let _ = self.0.subscribe().wait_for(|held| !held).await;
    }

    fn set(&self, held: bool) {
        self.0
            .send_if_modified(|now| std::mem::replace(now, held) != held);
    }
}

/// A sink, and what its failure means.
pub(crate) struct Watched {
    /// The health of whoever owes the word.
    pub(crate) health: SinkHealth,
    pub(crate) metrics: Arc<ComponentMetrics>,
    pub(crate) type_name: &'static str,
    pub(crate) on_failure: OnFailure,
    pub(crate) after: Duration,
    pub(crate) command: Vec<String>,
    /// Longest time the command may take.
    pub(crate) timeout: Duration,
}

/// Watches the sinks of a graph until it is dropped.
pub(crate) struct Guard {
    watched: Arc<Mutex<Vec<Entry>>>,
    task: tokio::task::JoinHandle<()>,
}

struct Entry {
    watched: Watched,
    /// Since when nothing gets through, once that has been told.
    impossible: Option<Time>,
}

impl Guard {
    pub(crate) fn start(hold: Arc<Hold>, telemetry: Arc<Telemetry>) -> Guard {
        let watched: Arc<Mutex<Vec<Entry>>> = Arc::default();
        let entries = Arc::clone(&watched);
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                look(&entries, &hold, &telemetry);
            }
        });
        Guard { watched, task }
    }

    /// These are the sinks from now on. What is known of one that stays is kept.
    pub(crate) fn watch(&self, sinks: Vec<Watched>) {
        let mut entries = self.watched.lock();
        let before = std::mem::take(&mut *entries);
        entries.extend(sinks.into_iter().map(|watched| {
            let known = before
                .iter()
                .find(|old| old.watched.health.id() == watched.health.id());
            Entry {
                impossible: known.and_then(|old| old.impossible),
                watched,
            }
        }));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn look(entries: &Mutex<Vec<Entry>>, hold: &Hold, telemetry: &Telemetry) {
    let mut holding = Vec::new();
    for entry in entries.lock().iter_mut() {
        entry.look();
        if entry.impossible.is_some() && entry.watched.on_failure == OnFailure::Hold {
            holding.push(entry.watched.health.id().to_owned());
        }
    }
    let held = !holding.is_empty();
    if held != hold.is_held() {
        if held {
            tracing::error!(sinks = ?holding, "all sources wait until these sinks deliver again (on_failure = \"hold\")");
        } else {
            tracing::info!("the sources go on");
        }
    }
    telemetry.set_held(holding);
    hold.set(held);
}

impl Entry {
    fn look(&mut self) {
        let Watched {
            health,
            metrics,
            after,
            ..
        } = &self.watched;
        let id = health.id();
        match (health.owes(), self.impossible) {
            (Some((since, reason)), None) if health.now().since(since) >= *after => {
                let secs = health.now().since(since).as_secs();
                self.impossible = Some(since);
                metrics.error("audit_impossible", Stage::Sending, 1);
                tracing::error!(
                    component_id = id,
                    reason = reason.kind.name(),
                    "audit impossible: the sink has had no success for {secs} s: {}",
                    reason.text
                );
                let message =
                    format!("audit impossible: sink {id} has had no success for {secs} s");
                metrics.tell(Told::new("PVE-9025", message).failed(reason.to_string()));
                if self.watched.on_failure == OnFailure::Exec {
                    self.run_command(since, &reason);
                }
            }
            (None, Some(since)) => {
                self.impossible = None;
                let secs = health.now().since(since).as_secs();
                tracing::info!(component_id = id, "audit possible again, after {secs} s");
                let message = format!("audit possible again: sink {id} delivers, after {secs} s");
                metrics.tell(Told::new("PVE-9026", message));
            }
            _ => {}
        }
    }

    /// Runs the operator's command beside everything else.
    fn run_command(&self, since: Time, reason: &Reason) {
        let Watched {
            health,
            metrics,
            type_name,
            command,
            timeout,
            ..
        } = &self.watched;
        let Some((program, arguments)) = command.split_first() else {
            return;
        };
        let (program, arguments) = (program.clone(), arguments.to_vec());
        let (metrics, timeout) = (Arc::clone(metrics), *timeout);
        let id = health.id().to_owned();
        let told = serde_json::json!({
            "@timestamp": health.now().to_string(),
            "event": { "code": "PVE-9025", "reason": reason.to_string() },
            "message": format!("audit impossible: sink {id} has had no success since {since}"),
            "pve": { "object": { "type": "sink", "id": id } },
            "sink": { "id": id, "type": type_name, "failing_since": since.to_string() },
        });
        tokio::spawn(async move {
            let ran =
                tokio::time::timeout(timeout, run(&program, &arguments, told.to_string())).await;
            let why = match ran {
                Ok(Ok(())) => {
                    tracing::info!(component_id = id, program, "the failure command ran");
                    return;
                }
                Ok(Err(why)) => why,
                Err(_) => format!("it was not done within {timeout:?} and was ended"),
            };
            metrics.error("failure_command_failed", Stage::Sending, 1);
            tracing::error!(
                component_id = id,
                program,
                "the failure command did not do its work: {why}"
            );
        });
    }
}

/// Runs a program with `input` on its standard input; it and what it has started die with the future.
async fn run(program: &str, arguments: &[String], input: String) -> Result<(), String> {
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|why| format!("it cannot be started: {why}"))?;
    let group = Group(child.id());
    let said = child.stderr.take();
    let stdin = child.stdin.take();
    let tell = async {
        if let Some(mut stdin) = stdin
            && let Err(why) = stdin.write_all(format!("{input}\n").as_bytes()).await
        {
            // A command is free not to read what it is told.
            tracing::debug!(program, %why, "the failure command did not read its input");
        }
    };
    let hear = async {
        match said {
            Some(said) => beginning(said).await,
            None => Vec::new(),
        }
    };
    let ((), said, done) = tokio::join!(tell, hear, child.wait());
    let done = done.map_err(|why| format!("nothing is known of its end: {why}"))?;
    group.ended();
    if done.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    Err(format!("{done}: {}", crate::printable(said.trim())))
}

/// Reads to the end, so that nobody waits for us, and keeps only the beginning.
async fn beginning(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut piece = [0; 512];
    while let Ok(read @ 1..) = from.read(&mut piece).await {
        let room = PRINTED.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..read.min(room)]);
    }
    kept
}

/// A process group that is ended when this is dropped.
struct Group(Option<u32>);

impl Group {
    /// Its leader has ended by itself; what it left running was meant to stay.
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|pid| i32::try_from(pid).ok());
        if let Some(leader) = pid.and_then(rustix::process::Pid::from_raw) {
            // One that is gone already needs no signal.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::component::{Kind, ReasonKind};

    struct World {
        clock: Clock,
        telemetry: Arc<Telemetry>,
        metrics: Arc<ComponentMetrics>,
        health: SinkHealth,
        hold: Arc<Hold>,
        entries: Mutex<Vec<Entry>>,
    }

    impl World {
        fn new(on_failure: OnFailure, command: &[&str]) -> World {
            let clock = Clock::manual(Time::from_secs(100));
            let telemetry = Telemetry::new("pve1", "0");
            let metrics = telemetry.component("es", Kind::Sink, "elasticsearch");
            let health = SinkHealth::new("es", clock.clone());
            let watched = Watched {
                health: health.clone(),
                metrics: Arc::clone(&metrics),
                type_name: "elasticsearch",
                on_failure,
                after: Duration::from_secs(60),
                command: command.iter().map(ToString::to_string).collect(),
                timeout: Duration::from_secs(30),
            };
            let entry = Entry {
                watched,
                impossible: None,
            };
            World {
                clock,
                telemetry,
                metrics,
                health,
                hold: Hold::new(),
                entries: Mutex::new(vec![entry]),
            }
        }

        fn at(&self, secs: i64) {
            self.clock.set(Time::from_secs(secs));
            look(&self.entries, &self.hold, &self.telemetry);
        }

        fn codes(&self) -> Vec<&'static str> {
            let listening = self.telemetry.own_events().listen();
            let told = listening.since(0, 100).told;
            let codes = told.iter().map(|told| told.code);
            codes.filter(|code| *code > "PVE-9022").collect()
        }
    }

    #[test]
    fn sources_wait_from_the_deadline_to_the_first_success() {
        let world = World::new(OnFailure::Hold, &[]);
        let mut worker = world.health.worker(Arc::clone(&world.metrics));
        worker.began();
        worker.failing(&Reason::new(ReasonKind::Connection, "refused"), 1);
        world.at(159);
        assert!(!world.hold.is_held());
        world.at(160);
        assert!(world.hold.is_held());
        assert_eq!(world.telemetry.held(), ["es"]);
        world.at(400);
        drop(worker);
        world.at(401);
        assert!(world.hold.is_held(), "a worker that ends is no success");
        let mut next = world.health.worker(Arc::clone(&world.metrics));
        next.well();
        world.at(402);
        assert!(!world.hold.is_held());
        assert!(world.telemetry.held().is_empty());
        assert_eq!(world.codes(), ["PVE-9025", "PVE-9026"]);
    }

    #[test]
    fn a_warning_holds_nobody_up() {
        let world = World::new(OnFailure::Warn, &[]);
        let mut worker = world.health.worker(Arc::clone(&world.metrics));
        worker.failing(&Reason::new(ReasonKind::Timeout, "no answer"), 1);
        world.at(1000);
        assert!(!world.hold.is_held());
        assert_eq!(world.codes(), ["PVE-9025"]);
    }

    #[tokio::test]
    async fn the_command_is_told_on_its_input_what_happened() {
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("told");
        let script = format!("cat > {0}.part && mv {0}.part {0}", told.display());
        let world = World::new(OnFailure::Exec, &["sh", "-c", &script]);
        let mut worker = world.health.worker(Arc::clone(&world.metrics));
        worker.failing(&Reason::new(ReasonKind::Timeout, "no answer"), 1);
        world.at(1000);
        let text = loop {
            match std::fs::read_to_string(&told) {
                Ok(text) => break text,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        };
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["event"]["code"], "PVE-9025");
        assert_eq!(json["sink"]["id"], "es");
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why() {
        let arguments = ["-c", "echo no disk >&2; exit 3"].map(str::to_owned);
        let why = run("sh", &arguments, String::new()).await.unwrap_err();
        assert_eq!(why, "exit status: 3: no disk");
        let why = run("/nonexistent", &[], String::new()).await.unwrap_err();
        assert!(why.starts_with("it cannot be started"));
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_takes_its_children_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", told.display());
        let arguments = ["-c".to_owned(), script];
        let child = async {
            loop {
                match std::fs::read_to_string(&told).map(|pid| pid.trim().parse::<u32>()) {
                    Ok(Ok(pid)) => return pid,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let child = tokio::select! {
            child = child => child,
            ended = run("sh", &arguments, String::new()) => panic!("it ended by itself: {ended:?}"),
        };
        // The command was dropped with its future. Who is ended and not yet fetched is a zombie.
        let runs = || {
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        };
        let began = std::time::Instant::now();
        while runs() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "the child lives on"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_command_that_talks_without_end_takes_no_memory() {
        let talk = tokio::io::repeat(b'x').take(8 << 20);
        let kept = beginning(talk).await;
        assert_eq!(kept.len(), PRINTED);
        assert!(kept.capacity() <= 2 * PRINTED, "{}", kept.capacity());
        let arguments =
            ["-c", "head -c 10000000 /dev/zero | tr '\\0' x >&2; exit 1"].map(str::to_owned);
        let why = run("sh", &arguments, String::new()).await.unwrap_err();
        assert!(why.len() < PRINTED + 100, "{}", why.len());
    }
}
