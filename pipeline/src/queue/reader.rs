//! The way out: reads records, makes batches of them again, and hands them to the sink through a lane.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::cursor::{Cursor, Damage, Found};
use super::files::Files;
use super::place::Place;
use super::trouble::{Part, Trouble, code};
use crate::batch::{Batch, Husks};
use crate::event::pack::{Block, Unpacker};
use crate::event::{Event, Pool};
use crate::lane::LaneSender;
use crate::mark::{LaneId, Mark};
use crate::telemetry::{ComponentMetrics, Limited};
use crate::topology::panic_text;

/// Lists of used events kept for the next records; more are never under way for long [lists].
const HUSKS: usize = 6;
/// A failure to read is tried again after this long.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// What reading keeps between two records.
pub(super) struct Reading {
    files: Arc<Files>,
    /// The file that is read, by its number.
    cursor: Option<(u64, Cursor)>,
    /// Number of the event that comes next.
    next: u64,
    unpacker: Unpacker,
    husks: Arc<Husks>,
    pool: Arc<Pool>,
}

/// What came out of the queue.
pub(super) enum Step {
    /// Events, and what is reached when they are answered.
    Record(Block, Place),
    /// Events or bytes that are lost.
    Lost(Lost),
    /// Nothing more has been written yet.
    Nothing,
}

/// Bytes that could not be read, and events that are missing.
pub(super) struct Lost {
    pub(super) code: &'static str,
    pub(super) file: u64,
    pub(super) damage: Damage,
    /// Where the bytes are kept.
    pub(super) kept: Option<PathBuf>,
    end: Place,
}

impl Reading {
    pub(super) fn new(files: Arc<Files>, next: u64) -> Reading {
        Reading {
            files,
            cursor: None,
            next,
            unpacker: Unpacker::default(),
            husks: Arc::new(Husks::of(HUSKS)),
            pool: Arc::default(),
        }
    }

    /// Begins anew at an event.
    pub(super) fn go_to(&mut self, event: u64) {
        self.cursor = None;
        self.next = event;
    }

    /// The next thing in the queue. Blocks.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        loop {
            let Some((number, cursor)) = &mut self.cursor else {
                let Some(one) = self.files.with(self.next) else {
                    return Ok(Step::Nothing);
                };
                let mut cursor = self.files.open(&one)?;
                skip_to(&mut cursor, self.next, one.len)?;
                self.cursor = Some((one.number, cursor));
                continue;
            };
            let file = *number;
            let Some(one) = self.files.get(file) else {
                // Everything in it was answered and it is gone; that happens only behind us.
                self.next = cursor.expected();
                self.cursor = None;
                if self.files.with(self.next).is_none() {
                    return Ok(Step::Nothing);
                }
                continue;
            };
            let found = cursor.next(one.len)?;
            let offset = cursor.at();
            let end = |event| Place {
                event,
                file,
                offset,
            };
            match found {
                Found::Record { at, head } if head.is_grave() => {
                    let damage = Damage {
                        at,
                        len: 0,
                        events: u64::from(head.events),
                        next: head.end(),
                    };
                    return self.lost("gap", file, damage, end(head.end()));
                }
                Found::Record { at, head } => {
                    let husks: Vec<Event> = self.husks.take();
                    let block = cursor.block(at, &head);
                    match self.unpacker.unpack(block, husks, &self.pool) {
                        Ok(block) if block.events.len() == head.events as usize => {
                            return Ok(Step::Record(block, end(head.end())));
                        }
                        _ => {
                            let damage = Damage {
                                at,
                                len: head.size(),
                                events: u64::from(head.events),
                                next: head.end(),
                            };
                            return self.lost("bad_record", file, damage, end(head.end()));
                        }
                    }
                }
                Found::Damage(mut damage) => {
                    // At the end of the file the numbers of what comes behind say what is missing.
                    if cursor.at() == one.len && one.end > damage.next {
                        damage.events += one.end - damage.next;
                        damage.next = one.end;
                        cursor.expect(one.end);
                    }
                    let code = if damage.len == 0 { "gap" } else { "checksum" };
                    return self.lost(code, file, damage, end(damage.next));
                }
                Found::End if !one.sealed => {
                    self.next = cursor.expected();
                    return Ok(Step::Nothing);
                }
                Found::End => {
                    let expected = cursor.expected();
                    if one.end > expected {
                        // Whole records are missing at its end.
                        let damage = Damage {
                            at: offset,
                            len: 0,
                            events: one.end - expected,
                            next: one.end,
                        };
                        cursor.expect(one.end);
                        return self.lost("gap", file, damage, end(one.end));
                    }
                    let Some(next) = self.files.after(file) else {
                        self.next = expected;
                        return Ok(Step::Nothing);
                    };
                    self.cursor = Some((next.number, self.files.open(&next)?));
                }
            }
        }
    }

    fn lost(
        &mut self,
        code: &'static str,
        file: u64,
        damage: Damage,
        end: Place,
    ) -> io::Result<Step> {
        let kept = if damage.len == 0 {
            None
        } else {
            match self.files.keep_aside(file, &damage) {
                Ok(path) => Some(path),
                Err(why) => {
                    // It is found again, and kept then.
                    if let Some((_, cursor)) = &mut self.cursor {
                        cursor.back_to(damage.at, damage.next.saturating_sub(damage.events));
                    }
                    return Err(why);
                }
            }
        };
        Ok(Step::Lost(Lost {
            code,
            file,
            damage,
            kept,
            end,
        }))
    }
}

/// Goes on to the record that the event is in; what is damaged before it was told of when it was passed.
fn skip_to(cursor: &mut Cursor, event: u64, len: u64) -> io::Result<()> {
    loop {
        let (at, expected) = (cursor.at(), cursor.expected());
        if expected >= event {
            return Ok(());
        }
        match cursor.next(len)? {
            Found::Record { at, head } if head.end() > event => {
                cursor.back_to(at, head.first);
                return Ok(());
            }
            // It reaches beyond what was passed, so it is told of now.
            Found::Damage(damage) if damage.next > event => {
                cursor.back_to(at, expected.max(event));
                return Ok(());
            }
            Found::End => return Ok(()),
            _ => {}
        }
    }
}

/// The task that empties a queue.
pub(super) struct Reader {
    pub(super) id: String,
    pub(super) files: Arc<Files>,
    pub(super) answers: Arc<Answers>,
    pub(super) lane: LaneSender,
    pub(super) metrics: Arc<ComponentMetrics>,
    pub(super) trouble: Arc<Trouble>,
    pub(super) stop: CancellationToken,
}

impl Reader {
    /// Runs on a thread of its own, which may block, until nothing more will come and everything was answered, or until
    /// told to stop. What is returned ends with it.
    pub(super) fn spawn(self) -> io::Result<oneshot::Receiver<()>> {
        let (done, ended) = oneshot::channel();
        let runtime = tokio::runtime::Handle::current();
        std::thread::Builder::new()
            .name(format!("queue {}", self.id))
            .spawn(move || {
                runtime.block_on(self.run());
                // Nobody may be listening any more.
                let _ = done.send(());
            })?;
        Ok(ended)
    }

    async fn run(self) {
        let mut reading = Reading::new(Arc::clone(&self.files), self.answers.reached().event);
        let mark_lane = LaneId::new("queue", &self.id);
        let log = Limited::new();
        let mut fails = false;
        while !self.stop.is_cancelled() {
            if self.answers.has_failed() {
                reading.go_to(self.answers.begin_anew().event);
            }
            let grown = self.files.grown.notified();
            let changed = self.answers.emptied.notified();
            let ended = self.files.has_ended();
            let step = catch_unwind(AssertUnwindSafe(|| reading.step()));
            let step = step.unwrap_or_else(|panic| {
                // Whatever state it left behind is thrown away.
                reading = Reading::new(Arc::clone(&self.files), self.answers.begin_anew().event);
                Err(io::Error::other(panic_text(&*panic)))
            });
            match step {
                Ok(Step::Record(block, end)) => {
                    if std::mem::take(&mut fails) {
                        self.trouble.well(Part::Read);
                    }
                    let batch = Batch {
                        mark: Mark {
                            lane: mark_lane,
                            start: 0,
                            seen_to: block.seen_to,
                            idle: false,
                            over: false,
                        },
                        ack: self.answers.owe(end),
                        bytes: block.bytes,
                        events: block.events,
                        home: Some(Arc::clone(&reading.husks)),
                        input: 0,
                    };
                    let events = batch.events.len() as u64;
                    tokio::select! {
                        biased;
                        () = self.stop.cancelled() => return,
                        () = self.lane.send(batch) => self.metrics.buffer_sent_events.add(events),
                    }
                }
                Ok(Step::Lost(lost)) => self.tell(lost, &log),
                Ok(Step::Nothing) if ended && self.answers.open() == 0 => return,
                Ok(Step::Nothing) => tokio::select! {
                    () = self.stop.cancelled() => return,
                    () = grown => {}
                    () = changed => {}
                },
                Err(why) => {
                    fails = true;
                    self.trouble.fails(Part::Read, code(&why), &why);
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = tokio::time::sleep(AGAIN) => {}
                    }
                }
            }
        }
    }

    fn tell(&self, lost: Lost, log: &Limited) {
        let Lost {
            code,
            file,
            damage,
            kept,
            end,
        } = lost;
        self.metrics.buffer_errors.add([code], 1);
        if damage.len > 0 {
            self.metrics.checksum_errors.add(1);
        }
        self.metrics.buffer_discarded.add(damage.events);
        if let Some(held_back) = log.pass() {
            let kept = kept.map_or_else(
                || "nothing is left of them".to_owned(),
                |path| format!("the bytes are kept in {}", path.display()),
            );
            tracing::error!(
                component_id = self.id,
                held_back,
                "{} events are lost: {} bytes at {} of file {file} of the disk queue are damaged ({code}); {kept}",
                damage.events,
                damage.len,
                damage.at
            );
        }
        self.answers.skip(end);
    }
}
