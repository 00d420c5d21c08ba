//! `internal` reads what the program tells about itself: starts, reloads, gaps, sinks that fail, queues that fill; and what
//! commands leave in `data_dir/inbox`: who read events, and by which question.
//!
//! - in: the program's own events, codes `PVE-9001` to `PVE-9061` of the catalogue
//! - out: complete audit events (`event.code`, `event.action`, `message`, `pve.object.*`, …), `pve.origin` is `pipeline`
//! - they live in memory until they are delivered: what the program had not handed over when it was killed is lost, and
//!   a receiver that is down for longer than 16 384 of them costs the oldest, which is told as `PVE-9024`

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pipeline::inbox::{self, Found};
use pipeline::told::{Heard, Listening, Told};
use pipeline::{
    BuildError, BuildErrors, Catalogue, Context, Event, EventId, Field, LaneId, Source,
    SourceConfig, SourceError, SourceOut, Stopped, Value, Verdict, fields, printable,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sent at once [events].
const AT_ONCE: usize = 256;
/// Silence is told of this often.
const IDLE: Duration = Duration::from_secs(1);
/// The one lane of this source.
const LANE: &str = "told";

/// Reads what the program tells about itself: starts, reloads, gaps, sinks that fail, queues that fill, and who asked `query`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Codes to leave out, like `PVE-9011`. What says that the record has a hole cannot be left out.
    #[serde(default)]
    except_codes: Vec<String>,
}

/// Codes that must not be left out: a gap, a loss, and that nothing can be recorded.
const ALWAYS: &[&str] = &["PVE-9014", "PVE-9024", "PVE-9025"];

impl SourceConfig for Config {
    const TYPE: &'static str = "internal";
    const EXAMPLE: &'static str = r#"except_codes = ["PVE-9011"]"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Source>, BuildErrors> {
        let mut errors = BuildErrors::new();
        for code in &self.except_codes {
            if Catalogue::builtin().get(code).is_none() {
                let why = format!("except_codes names {code}, which is no code of the catalogue");
                errors.push(
                    BuildError::key("except_codes", why)
                        .help("write PVE- and four digits, like PVE-9011"),
                );
            } else if ALWAYS.contains(&code.as_str()) {
                let why = format!(
                    "except_codes names {code}, which says that the record has a hole and cannot be left out"
                );
                errors.push(BuildError::key("except_codes", why).help("remove it"));
            }
        }
        let internal = Internal {
            writer: Writer::new(cx),
            except: self.except_codes.clone(),
            data_dir: cx.data_dir().to_owned(),
            on_the_way: Arc::default(),
        };
        errors.finish(Box::new(internal) as Box<dyn Source>)
    }
}

struct Internal {
    writer: Writer,
    except: Vec<String>,
    data_dir: PathBuf,
    /// Names of notes of the inbox whose events are not answered yet.
    on_the_way: Arc<Mutex<HashSet<String>>>,
}

/// Where reading goes on: after this many events of that run of the program.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
struct Place {
    run: u64,
    next: u64,
}

#[async_trait]
impl Source for Internal {
    async fn run(&mut self, mut out: SourceOut) -> Result<(), SourceError> {
        let own = Arc::clone(out.metrics().own_events());
        let listening = own.listen();
        let lane = out.lane(LANE);
        let place = out.position::<Place>(LANE).unwrap_or_default();
        let mut next = if place.run == listening.run() {
            place.next
        } else {
            0
        };
        let told = async {
            loop {
                self.inbox(
                    lane,
                    Place {
                        run: listening.run(),
                        next,
                    },
                    &mut out,
                )
                .await?;
                let stopped = out.stopped();
                let mut stops = false;
                tokio::select! {
                    () = listening.more(next) => {}
                    () = stopped => stops = true,
                    () = tokio::time::sleep(IDLE) => out.idle(lane).await?,
                }
                while self.take(&listening, &mut next, lane, &mut out).await? {}
                if stops {
                    return Ok::<_, Stopped>(());
                }
            }
        };
        // Being stopped is the usual end.
        let _: Result<(), Stopped> = told.await;
        Ok(())
    }
}

impl Internal {
    /// Hands over what commands have left. A note is removed once its event is delivered; its id is made of its name, so a
    /// kill between the two tells it again under the same id.
    async fn inbox(
        &mut self,
        lane: LaneId,
        place: Place,
        out: &mut SourceOut,
    ) -> Result<(), Stopped> {
        let (notes, odd) = inbox::look(&self.data_dir);
        for why in odd {
            tracing::warn!("inbox: {why}");
        }
        for note in notes {
            let name = note.name().to_owned();
            let known = !self.on_the_way.lock().insert(name.clone());
            let Some(event) = (!known).then(|| self.writer.note(&note)).flatten() else {
                continue;
            };
            let on_the_way = Arc::clone(&self.on_the_way);
            out.send_telling(lane, vec![event], &place, move |verdict| {
                if verdict == Verdict::Delivered
                    && let Err(why) = note.done()
                {
                    tracing::warn!("inbox: {}: {why}; it is told again", note.path.display());
                }
                on_the_way.lock().remove(&name);
            })
            .await?;
        }
        Ok(())
    }

    /// Hands over what was told from `next` on; false when that was nothing.
    async fn take(
        &mut self,
        listening: &Listening,
        next: &mut u64,
        lane: LaneId,
        out: &mut SourceOut,
    ) -> Result<bool, Stopped> {
        let Heard {
            first,
            told,
            missed,
        } = listening.since(*next, AT_ONCE);
        if told.is_empty() {
            return Ok(false);
        }
        let mut events = Vec::with_capacity(told.len() + 1);
        if missed > 0 {
            out.metrics().gaps.add(["own_events"], missed);
            let lost =
                format!("{missed} of the program's own events were not taken in time and are lost");
            let mut event = Told::new("PVE-9024", lost).failed("the receiver was held up");
            event.at = out.now();
            // A number below that of the first one kept, so it is nobody else's.
            events.push(
                self.writer
                    .event(&event, listening.run(), first.saturating_sub(1)),
            );
        }
        for (n, told) in (first..).zip(&told) {
            if self.except.iter().any(|code| code == told.code) {
                continue;
            }
            events.push(self.writer.event(told, listening.run(), n));
        }
        *next = first + told.len() as u64;
        let place = Place {
            run: listening.run(),
            next: *next,
        };
        out.send(lane, events, &place).await?;
        Ok(true)
    }
}

/// Turns what was told into a whole audit event.
struct Writer {
    host: String,
    cluster: Option<String>,
    agent: String,
    names: HashMap<&'static str, Field>,
}

const NAMES: &[&str] = &[
    "event.code",
    "event.action",
    "event.kind",
    "event.category",
    "event.type",
    "event.outcome",
    "event.reason",
    "event.severity",
    "event.dataset",
    "event.created",
    "process.name",
    "process.pid",
    "orchestrator.cluster.name",
    "pve.schema",
    "pve.level",
    "pve.record",
    "pve.origin",
    "pve.object.type",
    "pve.object.id",
    "pve.actor.kind",
    "pve.source.attribution",
    "related.hosts",
    "ecs.version",
    "agent.type",
    "agent.version",
    "agent.id",
];

impl Writer {
    fn new(cx: &Context) -> Writer {
        Writer {
            host: cx.host().to_owned(),
            cluster: cx.cluster().map(str::to_owned),
            agent: cx.agent_id(),
            names: NAMES.iter().map(|name| (*name, Field::new(name))).collect(),
        }
    }

    fn event(&self, told: &Told, run: u64, number: u64) -> Event {
        let id = EventId::of_parts(&[
            b"pve-audit/1",
            b"pipeline",
            self.cluster.as_deref().unwrap_or_default().as_bytes(),
            self.agent.as_bytes(),
            &run.to_le_bytes(),
            &number.to_le_bytes(),
        ]);
        self.whole(id, told)
    }

    /// The event of a note, by the user who owns it.
    fn note(&self, found: &Found) -> Option<Event> {
        let note = &found.note;
        let code = inbox::CODES.into_iter().find(|code| *code == note.code)?;
        let id = EventId::of_parts(&[
            b"pve-audit/1",
            b"pipeline",
            self.cluster.as_deref().unwrap_or_default().as_bytes(),
            self.agent.as_bytes(),
            b"inbox",
            found.name().as_bytes(),
        ]);
        let user = inbox::user_name(found.uid).unwrap_or_else(|| found.uid.to_string());
        let did = match code {
            "PVE-9041" => "read",
            "PVE-9042" => "made a report of",
            _ => "exported",
        };
        let rows = i64::try_from(note.rows).unwrap_or(i64::MAX);
        let message = format!(
            "{} {did} {rows} rows of {} by: {}",
            printable(&user),
            printable(&note.object),
            printable(&note.command)
        );
        let mut told = Told::new(code, message)
            .object("file", note.object.as_str())
            .field(Field::new("process.command_line"), note.command.as_str())
            .field(Field::new("process.pid"), i64::from(note.pid))
            .field(Field::new("pve.count"), rows)
            .field(Field::new("pve.actor.kind"), "user")
            // Accounts of the machine are those of PVE's realm `pam`.
            .field(fields::USER_NAME, user.as_str())
            .field(fields::USER_DOMAIN, "pam")
            .field(fields::USER_ID, format!("{user}@pam"));
        told.at = pipeline::Time(note.at);
        Some(self.whole(id, &told))
    }

    fn whole(&self, id: EventId, told: &Told) -> Event {
        let mut event = Event::new(id, told.at);
        let mut set = |name: &str, value: Value| {
            if let Some(field) = self.names.get(name) {
                event.set(*field, value);
            }
        };
        let words = |words: &[String]| {
            Value::List(
                words
                    .iter()
                    .map(|word| Value::from(word.as_str()))
                    .collect(),
            )
        };
        set("event.code", told.code.into());
        if let Some(row) = Catalogue::builtin().get(told.code) {
            set("event.action", row.action.as_str().into());
            set("event.category", words(&row.category));
            set("event.type", words(&row.kinds));
            set("event.severity", Value::Int(row.severity.into()));
        }
        set("event.kind", "event".into());
        set("event.outcome", told.outcome.name().into());
        if let Some(reason) = &told.reason {
            set("event.reason", reason.as_str().into());
        }
        set("event.dataset", "pve.audit".into());
        set("event.created", Value::Time(told.at));
        set("process.name", "pvetrail".into());
        set("process.pid", Value::Int(std::process::id().into()));
        if let Some(cluster) = &self.cluster {
            set("orchestrator.cluster.name", cluster.as_str().into());
        }
        set("pve.schema", "1.0".into());
        set("pve.level", "metadata".into());
        set("pve.record", "primary".into());
        set("pve.origin", "pipeline".into());
        if let Some((kind, id)) = &told.object {
            set("pve.object.type", (*kind).into());
            set("pve.object.id", id.as_str().into());
        }
        set("pve.actor.kind", "pipeline".into());
        set("pve.source.attribution", "local".into());
        set("related.hosts", words(std::slice::from_ref(&self.host)));
        set("ecs.version", "8.17.0".into());
        set("agent.type", "pvetrail".into());
        set("agent.version", env!("CARGO_PKG_VERSION").into());
        set("agent.id", self.agent.as_str().into());
        event.set_str(fields::MESSAGE, &told.message);
        event.set_str(fields::HOST_NAME, &self.host);
        for (field, value) in &told.fields {
            event.set(*field, value.clone());
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::Kind;
    use pipeline::told::Outcome;

    fn writer() -> Writer {
        Writer::new(&Context::for_tests(Kind::Source, "internal"))
    }

    #[test]
    fn an_event_has_all_that_the_schema_asks_for_and_an_id_of_its_own() {
        let told = Told::new("PVE-9014", "2 h of the journal are missing")
            .failed("vacuumed")
            .object("source", "journal");
        let event = writer().event(&told, 1, 0);
        let json = event.to_json();
        assert_eq!(json["event"]["code"], "PVE-9014");
        assert_eq!(json["event"]["action"], "source-gap");
        assert_eq!(json["event"]["outcome"], "failure");
        assert_eq!(json["event"]["reason"], "vacuumed");
        assert_eq!(json["event"]["severity"], 8);
        assert_eq!(json["pve"]["object"]["id"], "journal");
        assert_eq!(json["message"], "2 h of the journal are missing");
        assert_eq!(json["related"]["hosts"][0], "localhost");
        assert_ne!(writer().event(&told, 1, 1).id(), event.id());
        assert_ne!(writer().event(&told, 2, 0).id(), event.id());
        assert_eq!(writer().event(&told, 1, 0).id(), event.id());
    }

    #[test]
    fn a_note_becomes_an_event_of_the_user_who_left_it() {
        let folder = tempfile::tempdir().unwrap();
        let note = inbox::Note {
            code: "PVE-9041".to_owned(),
            at: 1_000_000_000,
            command: "query --failed \u{1b}[2J".to_owned(),
            object: "/var/lib/pvetrail/search.db".to_owned(),
            rows: 3,
            pid: 77,
        };
        inbox::leave(folder.path(), &note).unwrap();
        let found = inbox::look(folder.path()).0.remove(0);
        let event = writer().note(&found).unwrap();
        assert_eq!(event.id(), writer().note(&found).unwrap().id());
        let json = event.to_json();
        assert_eq!(json["@timestamp"], "1970-01-01T00:00:01.000Z");
        assert_eq!(json["event"]["code"], "PVE-9041");
        assert_eq!(json["pve"]["actor"]["kind"], "user");
        assert_eq!(json["pve"]["count"], 3);
        assert_eq!(json["process"]["pid"], 77);
        let user = json["user"]["name"].as_str().unwrap();
        assert!(json["message"].as_str().unwrap().starts_with(&format!(
            "{user} read 3 rows of /var/lib/pvetrail/search.db by: query --failed \\x1b"
        )));
    }

    #[test]
    fn outcomes_are_words_of_the_schema() {
        let told = Told::new("PVE-9001", "x").outcome(Outcome::Unknown);
        assert_eq!(
            writer().event(&told, 1, 0).to_json()["event"]["outcome"],
            "unknown"
        );
    }

    #[test]
    fn what_says_that_something_is_missing_cannot_be_left_out() {
        let cx = Context::for_tests(Kind::Source, "internal");
        let refused = |code: &str| {
            let config = Config {
                except_codes: vec![code.to_owned()],
            };
            config.build(&cx).err().map(|errors| errors.to_string())
        };
        assert!(refused("PVE-9025").unwrap().contains("cannot be left out"));
        assert!(
            refused("PVE-1")
                .unwrap()
                .contains("no code of the catalogue")
        );
        assert!(refused("PVE-9011").is_none());
    }
}
