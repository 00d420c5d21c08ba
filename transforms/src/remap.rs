//! `remap` changes events by a program in VRL.
//!
//! - in: any event
//! - out: what the program makes of each; of one that sets `.` to a list, one event for each element, with ids that follow
//!   from the id of the first
//! - no answer (the program fails, or does not end within its budget): the event goes on as it was, marked `remap_failed`
//! - `abort`: the event is left out and counted; with `drop_on_abort = false` it goes on as it was

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use pipeline::{
    Batch, BuildError, BuildErrors, Context, Event, Outputs, Spanned, Transform, TransformConfig,
    fields,
};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::vrl::{self, Budget, Compiled, Ran, Runner, Use, Written};

/// The named output of events that are left out.
const DROPPED: &str = "dropped";
/// Longest file with a program [bytes].
const LONGEST_FILE: u64 = 1 << 20;

/// Changes events by a program in VRL.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The program, best as `'''…'''`, where every mistake is told at its line.
    source: Option<Spanned<String>>,
    /// A file with the program instead.
    file: Option<Spanned<PathBuf>>,
    /// The zone of times that say none, `Europe/Berlin` for example; the system's unless told.
    timezone: Option<Spanned<String>>,
    /// Leaves out an event on which the program fails, instead of letting it go on as it was.
    #[serde(default)]
    drop_on_error: bool,
    /// Leaves out an event on which the program says `abort`; `false` lets it go on as it was.
    #[serde(default = "yes")]
    drop_on_abort: bool,
    /// Sends what is left out to the output `dropped` instead, where something has to take it.
    #[serde(default)]
    reroute_dropped: bool,
    /// How much work one event may make. Only programs that repeat a block (`for_each` and its kind) can need more.
    #[serde(default)]
    budget: Budget,
    /// Compiled once for all workers.
    #[serde(skip)]
    #[schemars(skip)]
    ready: OnceLock<Result<Arc<Compiled>, BuildErrors>>,
}

fn yes() -> bool {
    true
}

impl TransformConfig for Config {
    const TYPE: &'static str = "remap";
    const EXAMPLE: &'static str = r#"source = '''
  .user.name = downcase(string!(.user.name))
  if .http.response.status_code == 401 { .event.outcome = "failure" }
  del(.url.query)
'''"#;

    fn build(&self, cx: &Context) -> Result<Box<dyn Transform>, BuildErrors> {
        let mut errors = BuildErrors::new();
        errors.extend(self.budget.mistake());
        let zone = errors.take(vrl::zone(self.timezone.as_ref()));
        let compiled = errors.take(self.ready.get_or_init(|| self.compile(cx)).clone());
        match (zone, compiled) {
            (Some(zone), Some(compiled)) if errors.is_empty() => Ok(Box::new(Remap {
                runner: Runner::new(&compiled, zone, self.budget),
                drop_on_error: self.drop_on_error,
                drop_on_abort: self.drop_on_abort,
                reroute: self.reroute_dropped,
            })),
            _ => Err(errors),
        }
    }

    fn outputs(&self) -> Vec<String> {
        self.reroute_dropped
            .then(|| DROPPED.to_owned())
            .into_iter()
            .collect()
    }
}

impl Config {
    fn compile(&self, cx: &Context) -> Result<Arc<Compiled>, BuildErrors> {
        match (&self.source, &self.file) {
            (Some(source), None) => vrl::compile(Written::Here(source), Use::Remap, cx),
            (None, Some(file)) => {
                let text = read(file)?;
                let name = file.display().to_string();
                vrl::compile(
                    Written::File {
                        key: "file",
                        name: &name,
                        text: &text,
                    },
                    Use::Remap,
                    cx,
                )
            }
            (None, None) => Err(BuildError::new("there is no program")
                .help("add source = '''…''' with a program in VRL, or file = \"…\"")
                .into()),
            (Some(_), Some(file)) => Err(BuildError::at(
                file,
                "there is a program in `source` already",
            )
            .help("keep one of `source` and `file`")
            .into()),
        }
    }
}

fn read(file: &Spanned<PathBuf>) -> Result<String, BuildErrors> {
    let length = std::fs::metadata(file.get()).map(|metadata| metadata.len());
    let text = match length {
        Ok(length) if length > LONGEST_FILE => {
            let message = format!("{} has more than {LONGEST_FILE} bytes", file.display());
            return Err(BuildError::at(file, message).into());
        }
        Ok(_) => std::fs::read_to_string(file.get()),
        Err(why) => Err(why),
    };
    text.map_err(|why| {
        BuildError::at(file, format!("cannot read {}: {why}", file.display())).into()
    })
}

struct Remap {
    runner: Runner,
    drop_on_error: bool,
    drop_on_abort: bool,
    reroute: bool,
}

impl Transform for Remap {
    fn apply(&mut self, mut batch: Batch, out: &mut Outputs) {
        let now = out.now();
        let (mut dropped, mut made, mut kept) = (Vec::new(), Vec::new(), 0);
        let left_out = batch.retain(|event| {
            let stays = match self.runner.run(event, now) {
                Ran::Done => true,
                Ran::Split(events) => {
                    made.push((kept, events));
                    false
                }
                Ran::Aborted(why) => !self.drop_on_abort || self.drop(event, &mut dropped, &why),
                Ran::Failed(why) => {
                    out.error(event, &why);
                    !self.drop_on_error || self.drop(event, &mut dropped, &why)
                }
            };
            kept += usize::from(stays);
            stays
        });
        self.runner.let_go();
        let replaced = made.iter().filter(|(_, events)| !events.is_empty()).count();
        out.filtered(left_out - replaced - dropped.len());
        if self.reroute {
            out.push_to(0, batch.beside(dropped));
        }
        if replaced > 0 {
            let events = merge(std::mem::take(&mut batch.events), made);
            out.push(batch.beside(events));
        }
        out.push(batch);
    }
}

impl Remap {
    /// Takes the event out of its batch; says that it does not stay there.
    fn drop(&self, event: &mut Event, dropped: &mut Vec<Event>, why: &str) -> bool {
        if self.reroute {
            let mut event = std::mem::replace(event, Event::new(event.id(), event.timestamp()));
            event.add_tag("remap_dropped");
            event.set_str(fields::ERROR_MESSAGE, why);
            dropped.push(event);
        }
        false
    }
}

/// Puts events where the ones stood that they were made of; `made` says before which of the others that was.
fn merge(events: Vec<Event>, made: Vec<(usize, Vec<Event>)>) -> Vec<Event> {
    let mut merged = Vec::with_capacity(
        events.len() + made.iter().map(|(_, events)| events.len()).sum::<usize>(),
    );
    let mut others = events.into_iter().enumerate().peekable();
    for (before, events) in made {
        while let Some((_, event)) = others.next_if(|(place, _)| *place < before) {
            merged.push(event);
        }
        merged.extend(events);
    }
    merged.extend(others.map(|(_, event)| event));
    merged
}

#[cfg(test)]
mod tests;
