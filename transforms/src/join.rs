//! `join` mends messages that their sender cut or split: ESXi and vCenter send a text of several lines, or one longer than
//! a limit, as several messages.
//!
//! - in: any event; what belongs together has the same values in `key` and comes within `timeout`
//! - out: whole messages under the id of their first part, with the ids of the others in `pve.links`; the other parts are
//!   left out by name and counted. What stays incomplete goes on with `pve.truncated`
//! - state: messages that may still go on, at most `max_open` of `max_size` each, `max_held` together

mod held;
mod message;
mod rules;
#[cfg(test)]
mod tests;

use pipeline::{
    BuildError, BuildErrors, Bytes, Context, Duration, Event, Outputs, Spanned, StateError,
    Stateful, StatefulConfig, Time, fields,
};
use schemars::JsonSchema;
use serde::Deserialize;

use held::Held;
use message::Message;
use rules::{Role, Rules};

/// Mends messages that their sender cut or split, as ESXi and vCenter do.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Fields whose values two parts of a message share.
    key: Vec<String>,
    /// How a message begins, as a regular expression. One that begins so is held until the next one comes, for it may
    /// go on; others are not held. Empty: every message is a beginning that does not match `continuation`.
    start: Spanned<String>,
    /// How a further line of a message begins, as a regular expression; what it matches is taken off. Empty: messages
    /// have one line.
    continuation: Spanned<String>,
    /// How a numbered part begins, as a regular expression with the groups `id`, `part` and `parts`; what it matches is
    /// taken off from the second part on. Empty: parts have no numbers.
    parts: Spanned<String>,
    /// Lengths of whole frames at which senders cut: what is as long goes on in a message that is no beginning, or has
    /// lost its end.
    cut_at: Vec<Bytes>,
    /// Longest time between the first and the last part, by `@timestamp`, and longest wait for the next.
    timeout: Duration,
    /// Longest message that is put together.
    max_size: Bytes,
    /// Most messages held at once; the oldest is let go for the next [messages].
    max_open: usize,
    /// Most bytes held at once; the oldest message is let go for the next.
    max_held: Bytes,
}

impl Default for Config {
    fn default() -> Self {
        let text = |text: &str| Spanned::from(text.to_owned());
        Config {
            key: ["host.name", "process.name", "process.pid"]
                .map(str::to_owned)
                .to_vec(),
            start: text(rules::VMWARE_START),
            continuation: text(rules::VMWARE_CONTINUATION),
            parts: text(rules::VMWARE_PARTS),
            cut_at: vec![Bytes::new(480), Bytes::new(1024), Bytes::new(1180)],
            timeout: Duration::from_secs(2),
            max_size: Bytes::kib(64),
            max_open: 10_000,
            max_held: Bytes::mib(16),
        }
    }
}

impl StatefulConfig for Config {
    const TYPE: &'static str = "join";
    const EXAMPLE: &'static str = r#"timeout = "2s"
cut_at = ["480B", "1KiB", "1180B"]"#;

    fn build(&self, _: &Context) -> Result<Box<dyn Stateful>, BuildErrors> {
        let mut errors = BuildErrors::new();
        let mut positive = |key: &str, is: bool| {
            if !is {
                errors.push(
                    BuildError::key(key, "is nothing, so that no message is ever held")
                        .help("write how much is held, or leave it out"),
                );
            }
        };
        positive("max_open", self.max_open > 0);
        positive("max_size", self.max_size.get() > 0);
        positive("max_held", self.max_held.get() > 0);
        positive("timeout", !self.timeout.is_zero());
        if self.key.is_empty() {
            errors.push(
                BuildError::key(
                    "key",
                    "is empty, so that messages of all senders would be one",
                )
                .help("name fields, like [\"host.name\", \"process.name\", \"process.pid\"]"),
            );
        }
        let rules = errors.take(Rules::new(self));
        let Some(rules) = rules else {
            return Err(errors);
        };
        errors.finish(Box::new(Join {
            rules,
            held: Held::new(self.max_open, self.max_held.as_usize()),
            timeout: self.timeout,
            max_size: self.max_size.as_usize(),
            key: Vec::new(),
        }))
    }
}

struct Join {
    rules: Rules,
    held: Held,
    timeout: Duration,
    /// [bytes]
    max_size: usize,
    /// The key of the event at hand.
    key: Vec<u8>,
}

impl Stateful for Join {
    fn apply(&mut self, event: Event, out: &mut Outputs) {
        self.take(event, out);
        // The part at hand came before those that have waited long enough are let go: where this transform itself was
        // held up, both are late.
        self.expire(out);
    }

    fn advance(&mut self, _: Time, out: &mut Outputs) {
        self.expire(out);
    }

    fn save(&self, to: &mut Vec<u8>) {
        self.held.save(to);
    }

    fn remembered(&self) -> usize {
        self.held.len()
    }

    fn meaning(&self) -> String {
        self.rules.meaning()
    }

    fn load(&mut self, from: &[u8]) -> Result<(), StateError> {
        self.held.load(from)
    }
}

impl Join {
    fn take(&mut self, event: Event, out: &mut Outputs) {
        let now = out.now();
        self.held.begin(now);
        let Some(text) = event.str(fields::MESSAGE) else {
            return out.emit(event);
        };
        self.rules.key(&event, &mut self.key);
        let full = self.rules.is_full(&event, text.len());
        let operation: Option<Box<str>> = rules::operation(text).map(Into::into);
        match self.rules.role(text) {
            Role::Part(mark) => {
                let mark = mark.clone();
                self.part(event, mark, out);
            }
            Role::Continuation(at) => {
                let open = self.held.last(&self.key);
                self.further(event, at, "\n", full, open, out);
            }
            Role::Start => {
                // Nothing but the rest of one that was cut can come any more.
                for message in self.held.take_whole(&self.key) {
                    message.release(out);
                }
                let message = Message::new(event, full, operation);
                self.hold(message, out);
            }
            Role::Other => {
                let open = self.held.last_cut(&self.key, operation.as_deref());
                if open.is_some() {
                    return self.further(event, 0, "", full, open, out);
                }
                for message in self.held.take_whole(&self.key) {
                    message.release(out);
                }
                Message::new(event, full, None).release(out);
            }
        }
    }

    /// A part that says which message it goes on with only by coming behind it; its text begins at `at`.
    fn further(
        &mut self,
        event: Event,
        at: usize,
        between: &str,
        full: bool,
        open: Option<u64>,
        out: &mut Outputs,
    ) {
        if let Some(number) = open {
            let message = self.held.get(number);
            let (near, fits) = message.map_or((false, false), |message| {
                let len = event.str(fields::MESSAGE).map_or(0, str::len);
                (
                    message.is_near(&event, self.timeout),
                    message.fits(len, self.max_size),
                )
            });
            if near && fits {
                self.held.change(number, |message| {
                    message.append(&event, at, between, full);
                });
                out.filtered(1);
                out.joined(1);
                return self.held.bound(out);
            }
            if let Some(mut message) = self.held.take(number) {
                // Too long: the rest is there, but not in it.
                message.truncated |= near;
                message.release(out);
            }
        }
        if between.is_empty() {
            return Message::new(event, full, None).release(out);
        }
        // Its beginning is lost; others that belong to it may come.
        let mut message = Message::new(event, full, None);
        message.truncated = true;
        self.hold(message, out);
    }

    /// A numbered part.
    fn part(&mut self, event: Event, mark: rules::Mark, out: &mut Outputs) {
        self.key.push(0xff);
        self.key.extend_from_slice(mark.id.as_bytes());
        let mut open = self.held.last(&self.key);
        if let Some(number) = open {
            let goes = self.held.get(number).is_some_and(|message| {
                message.is_near(&event, self.timeout)
                    && message.takes(&event, &mark)
                    && message.fits(
                        event.str(fields::MESSAGE).map_or(0, str::len),
                        self.max_size,
                    )
            });
            if !goes {
                if let Some(message) = self.held.take(number) {
                    message.release(out);
                }
                open = None;
            }
        }
        let Some(number) = open else {
            return self.hold(Message::numbered(event, &mark), out);
        };
        out.filtered(1);
        out.joined(1);
        self.held
            .change(number, |message| message.insert(event, &mark));
        if self.held.get(number).is_some_and(Message::is_whole) {
            if let Some(message) = self.held.take(number) {
                message.release(out);
            }
            return;
        }
        self.held.bound(out);
    }

    fn hold(&mut self, message: Message, out: &mut Outputs) {
        self.held.put(&self.key, message, out.now(), out);
    }

    fn expire(&mut self, out: &mut Outputs) {
        let now = out.now();
        self.held.begin(now);
        while let Some(message) = self.held.take_expired(now, self.timeout.get()) {
            message.release(out);
        }
    }
}
