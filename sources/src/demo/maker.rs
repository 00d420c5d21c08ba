//! How an entry comes out: as a line of its file, or as the event that the reader of its record would make.

use pipeline::{Event, EventId, Field, LineIds, Preset, Time, Value, fields};

use super::entry::{Change, Entry, Kind, Phase, Said, StateFact, TaskFact, What};
use super::text::{Stamp, micros};
use crate::pve_tasks::task::{Task, Tasks};
use crate::syslog::parse::priority::{with_facility, with_severity};

/// `daemon`, which PVE's programs write to.
const DAEMON: u8 = 3;

/// Makes lines and events of entries.
pub(super) struct Maker {
    tasks: Tasks,
    /// The half of an id that says which day this is.
    run: u64,
    stamp: Stamp,
    origin: Field,
    unit: Field,
    state: [Field; 6],
    object: [Field; 4],
    vmid: Field,
    event_type: Field,
    sha256: Field,
    file_path: Field,
    changes: Field,
    change_keys: Field,
    target: [Field; 3],
}

impl Maker {
    pub(super) fn new(cluster: &str, run: u64) -> Maker {
        let objects = ["type", "id", "name", "path"];
        let states = ["status", "node", "name", "cpu", "mem", "disk"];
        let targets = ["id", "name", "domain"];
        Maker {
            tasks: Tasks::new(cluster),
            run,
            stamp: Stamp::default(),
            origin: Field::new("pve.origin"),
            unit: Field::new("systemd.unit"),
            state: states.map(|name| Field::new(&format!("pve.state.{name}"))),
            object: objects.map(|name| Field::new(&format!("pve.object.{name}"))),
            vmid: Field::new("pve.vmid"),
            event_type: Field::new("event.type"),
            sha256: Field::new("file.hash.sha256"),
            file_path: Field::new("file.path"),
            changes: Field::new("pve.changes"),
            change_keys: Field::new("pve.change_keys"),
            target: targets.map(|name| Field::new(&format!("user.target.{name}"))),
        }
    }

    /// The id of its event.
    pub(super) fn id(&self, entry: &Entry) -> EventId {
        match &entry.what {
            What::Task(TaskFact { upid, phase, .. }) => match phase {
                Phase::Start => self.tasks.id(upid, "start"),
                Phase::End { .. } => self.tasks.id(upid, "end"),
                Phase::Guest { vmid, .. } => self.tasks.id(upid, &format!("guest/{vmid}")),
            },
            _ => LineIds::counted(self.run, entry.number),
        }
    }

    /// Writes it as a line, if it stands in a file of lines.
    pub(super) fn line(&mut self, entry: &Entry, node: &str, out: &mut Vec<u8>) -> bool {
        match &entry.what {
            What::Access(request) => self.stamp.access(entry.when, request, out),
            What::Syslog(said) => self.stamp.syslog(entry.when, node, said, out),
            What::Firewall(packet) => self.stamp.firewall(entry.when, packet, out),
            _ => return false,
        }
        true
    }

    /// The event, if it stands in no file of lines.
    pub(super) fn event(&self, entry: &Entry, node: &str) -> Option<Event> {
        let id = self.id(entry);
        let time = Time(entry.when.saturating_mul(1_000_000));
        let mut event = match &entry.what {
            What::Access(_) | What::Syslog(_) | What::Firewall(_) => return None,
            What::Journal(said) => {
                let micros = micros(entry.when, said.pid);
                let written = entry.when.div_euclid(1000) * 1_000_000 + micros;
                let mut event = said_event(id, Time(written * 1000), said);
                event.set(self.origin, "journal");
                let unit = match said.ident {
                    "IPCC.xs" => "pvedaemon.service".to_owned(),
                    "pmxcfs" => "pve-cluster.service".to_owned(),
                    ident => format!("{ident}.service"),
                };
                event.set(self.unit, unit);
                event
            }
            What::ClusterLog { said, at } => {
                let mut event = said_event(id, Time::from_secs(*at), said);
                event.set(self.origin, "api");
                event
            }
            What::Task(fact) => self.task(fact, node),
            What::State(fact) => self.state(Event::new(id, time), fact),
            What::Config(change) => self.config(Event::new(id, time), change),
        };
        if !event.has(fields::HOST_NAME) {
            event.set_str(fields::HOST_NAME, node);
        }
        event.set_ordinal(entry.number + 1);
        Some(event)
    }

    /// The event, whatever record it stands in. A line is read when it is written.
    pub(super) fn whole(&mut self, entry: &Entry, node: &str) -> Event {
        if let Some(event) = self.event(entry, node) {
            return event;
        }
        let mut text = Vec::new();
        self.line(entry, node, &mut text);
        let mut event = Event::new(self.id(entry), Time(entry.when.saturating_mul(1_000_000)));
        event.set_str(fields::MESSAGE, &String::from_utf8_lossy(&text));
        event.set_str(fields::HOST_NAME, node);
        if let Some(path) = entry.what.log().path() {
            event.set_str(fields::LOG_FILE_PATH, path);
        }
        event.set_ordinal(entry.number + 1);
        event
    }

    fn task(&self, fact: &TaskFact, node: &str) -> Event {
        let TaskFact { upid, start, phase } = fact;
        let task = Task {
            upid,
            node,
            start: Time::from_secs(*start),
        };
        match phase {
            Phase::Start => self.tasks.start(task, &format!("{upid} 0")),
            Phase::End { at, status, log } => {
                let line = format!("{upid} {at:08X} {status}");
                let mut event = self.tasks.end(task, Time::from_secs(*at), status, &line);
                self.tasks.add_log(&mut event, log.clone());
                event
            }
            Phase::Guest {
                vmid,
                began,
                ended,
                status,
            } => {
                let times = (Some(Time::from_secs(*began)), Time::from_secs(*ended));
                self.tasks.guest(task, *vmid, times, status)
            }
        }
    }

    fn state(&self, mut event: Event, fact: &StateFact) -> Event {
        let [object, id, name, _] = self.object;
        let [status, node, named, cpu, mem, disk] = self.state;
        event.set(fields::EVENT_KIND, "state");
        event.set(self.origin, "api");
        event.set(object, fact.object);
        event.set_str(id, &fact.id);
        event.set_str(name, &fact.name);
        if let Some(vmid) = fact.vmid {
            event.set(self.vmid, i64::from(vmid));
        }
        event.set(status, fact.status);
        event.set_str(node, &fact.node);
        event.set_str(named, &fact.name);
        if let Some(shares) = fact.shares {
            for (field, share) in [cpu, mem, disk].into_iter().zip(shares.0) {
                event.set(field, f64::from(share) / 1000.0);
            }
        }
        let message = format!("{} {} is {}", fact.object, fact.id, fact.status);
        event.set(fields::MESSAGE, message);
        event
    }

    fn config(&self, mut event: Event, change: &Change) -> Event {
        let [object, id, _, path] = self.object;
        event.set(self.origin, "config");
        event.set_str(self.file_path, &change.path);
        event.set(object, change.object);
        event.set_str(id, &change.id);
        if let Some(of_object) = &change.object_path {
            event.set_str(path, of_object);
        }
        if let Some(vmid) = change.vmid {
            event.set(self.vmid, i64::from(vmid));
        }
        if let Some(target) = &change.target {
            let (name, realm) = target.rsplit_once('@').unwrap_or((target, ""));
            for (field, text) in self.target.into_iter().zip([target, name, realm]) {
                event.set_str(field, text);
            }
        }
        event.set(self.event_type, vec![Value::from(change.kind.name())]);
        // What the file became; no file was, so the change stands for it.
        if change.kind != Kind::Deletion {
            let hash = pipeline::lines::sha256(format!("{change:?}").as_bytes());
            event.set_str(self.sha256, hash.trim_start_matches("sha256:"));
        }
        let mut rows = Vec::new();
        for row in &change.rows {
            let op = match (&row.old, &row.new) {
                (None, _) => "add",
                (_, None) => "remove",
                _ => "change",
            };
            let mut map = vec![
                ("key".to_owned(), Value::from(row.key)),
                ("op".to_owned(), Value::from(op)),
            ];
            for (name, value) in [("old", &row.old), ("new", &row.new)] {
                if let Some(value) = value {
                    map.push((name.to_owned(), Value::from(value.as_str())));
                }
            }
            rows.push(Value::Map(map));
        }
        event.set(self.changes, rows);
        let keys: Vec<Value> = change.rows.iter().map(|row| row.key.into()).collect();
        event.set(self.change_keys, keys);
        let word = change.kind.name();
        let message = format!(
            "{word} of {} {} in {}",
            change.object, change.id, change.path
        );
        event.set(fields::MESSAGE, message);
        event
    }
}

fn said_event(id: EventId, time: Time, said: &Said) -> Event {
    let mut event = Event::new(id, time);
    event.set_str(fields::MESSAGE, &said.text);
    event.set(fields::PROCESS_NAME, said.ident);
    if said.pid > 0 {
        event.set(fields::PROCESS_PID, i64::from(said.pid));
    }
    let severity = said.severity();
    let priority = i64::from(DAEMON * 8 + severity);
    let preset = Preset::default().int(fields::SYSLOG_PRIORITY, priority);
    event.push_preset(&with_severity(with_facility(preset, DAEMON), severity));
    event
}
