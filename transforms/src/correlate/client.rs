//! The client of a console: a line of the access log that tells when somebody's browser was connected to it.

use pipeline::{Event, Outputs, Time, fields};

use super::basis::make_evidence;
use super::pool::Window;
use super::{Correlate, SECOND, look};

/// So long a client waits: the record of its console may come a few seconds after its line, for lists of tasks are read so
/// often, and which of the console's records is told is decided ten seconds after the first of them.
const WAIT: std::time::Duration = std::time::Duration::from_secs(20);
/// Most clients that wait.
const MOST: usize = 1_000;

impl Correlate {
    /// The websocket of a console waits for the console; other lines that are no writing call go on.
    pub(super) fn connection(&mut self, mut event: Event, out: &mut Outputs) {
        let path = event.str(fields::URL_PATH).unwrap_or_default();
        if !path.ends_with("/vncwebsocket") {
            return out.emit(event);
        }
        event.detach();
        self.size += event.size();
        self.clients.push_back((out.now().after(WAIT), event));
        if self.clients.len() > MOST {
            out.evicted(1);
            self.next_client(out);
        }
    }

    /// Lets go of clients whose time is up.
    pub(super) fn clients_due(&mut self, out: &mut Outputs) {
        let now = out.now();
        while self.clients.front().is_some_and(|(due, _)| *due <= now) {
            self.next_client(out);
        }
    }

    /// After a restart everybody waits once more.
    pub(super) fn clients_wait(&mut self, now: Time) {
        for (due, _) in &mut self.clients {
            *due = now.after(WAIT);
        }
    }

    fn next_client(&mut self, out: &mut Outputs) {
        let Some((_, mut event)) = self.clients.pop_front() else {
            return;
        };
        self.size -= event.size();
        if let Some(id) = self.opened_for(&event) {
            make_evidence(&mut event, &[id]);
        }
        out.emit(event);
    }

    /// The record of the one console that was opened for this client.
    fn opened_for(&mut self, event: &Event) -> Option<pipeline::EventId> {
        let user = look::user(event).unwrap_or_default();
        let host = event.str(fields::HOST_NAME).unwrap_or_default();
        let (_, path) = pipeline::pve::normalise(event.str(fields::URL_PATH)?)?;
        let mut parts = path.split('/').skip(1);
        let node = match (parts.next(), parts.next()) {
            (Some("nodes"), Some(node)) if node != "localhost" => node,
            _ => host,
        };
        let guest = parts.nth(1).unwrap_or_default();
        // The console is opened, then its client connects.
        let window = Window {
            before: 2 * SECOND,
            after: 60 * SECOND,
        };
        let mut found = None;
        for class in ["vncproxy", "vncshell"] {
            look::pool_key(node, &user, class, guest, 0, &mut self.key);
            if let Some(pool) = self.pools.get(&self.key)
                // Of two consoles nobody can tell whose client this is.
                && let [(_, act)] = pool.takers(event.timestamp().0, window)
            {
                // Of a console the start is what is told.
                let start = self.tasks.get(act).and_then(|task| task.started);
                found = start.or_else(|| self.record(*act)).or(found);
            }
        }
        found
    }
}
