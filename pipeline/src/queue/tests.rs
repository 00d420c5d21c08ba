//! A queue without a graph around it: filled by hand, killed, torn, flipped, and emptied by hand.
mod faults;
mod mending;
mod model;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{Files, Size, Unwritten};
use super::open::{Note, Opened, open};
use super::reader::{Reading, Step};
use super::writer::Framer;
use crate::ack::Ack;
use crate::batch::Batch;
use crate::clock::{Clock, Time};
use crate::event::{Event, EventId, fields};
use crate::mark::{LaneId, Mark};

/// A queue in a folder of its own.
struct Bench {
    folder: PathBuf,
    size: Size,
    files: Option<Arc<Files>>,
    notes: Vec<Note>,
    place: super::place::Place,
}

impl Bench {
    fn new(folder: &Path, file: u64) -> Bench {
        let size = Size {
            most: 64 << 20,
            file,
        };
        let mut bench = Bench {
            folder: folder.join("queue/es"),
            size,
            files: None,
            notes: Vec::new(),
            place: super::place::Place::default(),
        };
        bench.open();
        bench
    }

    fn open(&mut self) {
        self.files = None;
        let Opened {
            files,
            place,
            notes,
        } = open(&self.folder, self.size, Clock::system()).unwrap();
        self.place = place;
        self.notes = notes;
        self.files = Some(Arc::new(files));
    }

    fn files(&self) -> &Arc<Files> {
        self.files.as_ref().unwrap()
    }

    /// Appends events with these numbers as ids, as one record.
    fn write(&self, ids: std::ops::Range<u64>) -> Result<(), Unwritten> {
        let (records, events) = self.record(ids);
        self.files().append(&records, events)
    }

    fn record(&self, ids: std::ops::Range<u64>) -> (Vec<u8>, u64) {
        let mut framer = Framer::new(self.files().salt(), self.files().next());
        let mut out = Vec::new();
        let events = ids.clone().count() as u64;
        framer.push(&batch(ids), &mut out);
        framer.frame(&mut out);
        (out, events)
    }

    /// Everything that can be read from where everything was answered, and the number of events told to be lost.
    fn read(&self) -> (Vec<u64>, u64) {
        let mut reading = Reading::new(Arc::clone(self.files()), self.place.event);
        let (mut ids, mut lost) = (Vec::new(), 0);
        loop {
            match reading.step().unwrap() {
                Step::Nothing => return (ids, lost),
                Step::Lost(it) => lost += it.damage.events,
                Step::Record(block, _) => ids.extend(block.events.iter().map(|e| e.id().0[1])),
            }
        }
    }

    /// Reads `records` records and answers for them.
    fn take(&mut self, records: usize) -> Vec<u64> {
        let mut reading = Reading::new(Arc::clone(self.files()), self.place.event);
        let mut ids = Vec::new();
        for _ in 0..records {
            match reading.step().unwrap() {
                Step::Nothing => break,
                Step::Lost(lost) => panic!("{} lost", lost.damage.events),
                Step::Record(block, end) => {
                    ids.extend(block.events.iter().map(|e| e.id().0[1]));
                    self.place = end;
                }
            }
        }
        self.files().release(self.place).unwrap();
        ids
    }

    /// The files of the queue, by name.
    fn names(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.folder).unwrap();
        let mut names: Vec<String> = names
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    fn file(&self, number: u64) -> PathBuf {
        super::files::path(&self.folder, number)
    }

    /// Changes the bytes of a file.
    fn spoil(&self, number: u64, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.file(number)).unwrap();
        change(&mut bytes);
        std::fs::write(self.file(number), bytes).unwrap();
    }
}

fn batch(ids: std::ops::Range<u64>) -> Batch {
    let mark = Mark {
        lane: LaneId::new("t", "t"),
        start: 0,
        seen_to: Time(5),
        idle: false,
        over: false,
    };
    let events = ids.map(|n| {
        let mut event = Event::new(EventId([7, n]), Time(n as i64));
        event.set(fields::MESSAGE, format!("the text of event number {n}"));
        event
    });
    Batch::new(events.collect(), mark, Ack::nobody())
}
