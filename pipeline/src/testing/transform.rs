//! Benches for transforms: the component alone, without an engine around it.

use std::sync::Arc;
use std::time::Duration;

use super::{Names, parse};
use crate::ack::Ack;
use crate::batch::Batch;
use crate::case::START;
use crate::clock::Time;
use crate::component::{
    AnyConfig, Component, Context, Kind, Registry, Stateful, StatefulConfig, Transform,
    TransformConfig,
};
use crate::event::Event;
use crate::mark::{LaneId, Mark};
use crate::outputs::Outputs;
use crate::table::Table;

/// A transform to feed.
pub struct TransformBench {
    transform: Box<dyn Transform>,
    outputs: Vec<String>,
    type_name: &'static str,
    now: Time,
}

/// A transform configured by `toml`, its own keys only.
pub fn transform<C: TransformConfig>(toml: &str) -> TransformBench {
    transform_with::<C>(toml, [])
}

/// The same with enrichment tables.
pub fn transform_with<C: TransformConfig>(
    toml: &str,
    tables: impl IntoIterator<Item = Arc<Table>>,
) -> TransformBench {
    let mut registry = Registry::new();
    registry.transform::<C>();
    let (config, cx) = parse(Kind::Transform, C::TYPE, toml, &registry);
    let cx = cx.with_tables(tables);
    let transform = match config.build(&cx) {
        Ok(Component::Transform(transform)) => transform,
        Ok(_) => unreachable!("a TransformConfig builds a transform"),
        Err(errors) => panic!("{errors}"),
    };
    TransformBench {
        transform,
        outputs: config.outputs(),
        type_name: C::TYPE,
        now: START,
    }
}

impl TransformBench {
    /// Feeds one batch.
    pub fn feed(&mut self, events: Vec<Event>) -> Outcome {
        let names = Names::of(&events);
        let mut out = Outputs::new(self.type_name, true);
        out.set_now(self.now);
        let mark = Mark {
            lane: LaneId::new("test", "test"),
            start: 0,
            seen_to: self.now,
            idle: false,
            over: false,
        };
        self.transform
            .apply(Batch::new(events, mark, Ack::nobody()), &mut out);
        Outcome::new(names, &self.outputs, out)
    }

    /// Feeds one batch and gives back what went on by the unnamed output: for benchmarks, which want nothing else done.
    pub fn run(&mut self, events: Vec<Event>) -> Vec<Event> {
        let mut out = Outputs::new(self.type_name, false);
        out.set_now(self.now);
        let mark = Mark {
            lane: LaneId::new("test", "test"),
            start: 0,
            seen_to: self.now,
            idle: false,
            over: false,
        };
        let batch = Batch::new(events, mark, Ack::nobody());
        self.transform.apply(batch, &mut out);
        let mut main = Vec::new();
        for batch in out.main {
            match main.is_empty() {
                true => main = batch.events,
                false => main.extend(batch.events),
            }
            batch.ack.delivered();
        }
        for (_, batch) in out.named {
            batch.ack.delivered();
        }
        main
    }

    /// Moves the clock.
    pub fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }
}

/// A transform that remembers, to feed.
pub struct StatefulBench {
    config: Box<dyn AnyConfig>,
    cx: Context,
    transform: Box<dyn Stateful>,
    type_name: &'static str,
    now: Time,
    /// Lanes, and whether they say that they have nothing more to read when the clock moves.
    lanes: Vec<(LaneId, bool)>,
}

/// A transform that remembers, configured by `toml`, its own keys only.
pub fn stateful<C: StatefulConfig>(toml: &str) -> StatefulBench {
    stateful_in::<C>(toml, &std::env::temp_dir())
}

/// The same with a folder of data of its own.
pub fn stateful_in<C: StatefulConfig>(toml: &str, data_dir: &std::path::Path) -> StatefulBench {
    let mut registry = Registry::new();
    registry.stateful::<C>();
    let (config, cx) = parse(Kind::Transform, C::TYPE, toml, &registry);
    let cx = cx.with_data_dir(data_dir);
    let transform = build(&*config, &cx);
    StatefulBench {
        config,
        cx,
        transform,
        type_name: C::TYPE,
        now: START,
        lanes: Vec::new(),
    }
}

fn build(config: &dyn AnyConfig, cx: &Context) -> Box<dyn Stateful> {
    match config.build(cx) {
        Ok(Component::Stateful(stateful)) => stateful,
        Ok(_) => unreachable!("a StatefulConfig builds a Stateful"),
        Err(errors) => panic!("{errors}"),
    }
}

impl StatefulBench {
    /// Feeds events as the engine does: together, or one by one if the transform wants that.
    pub fn feed(&mut self, events: Vec<Event>) -> Outcome {
        self.feed_by("test", events)
    }

    /// The same by a lane of that name.
    pub fn feed_by(&mut self, lane: &str, mut events: Vec<Event>) -> Outcome {
        let names = Names::of(&events);
        let mut out = Outputs::new(self.type_name, true);
        out.set_now(self.now);
        let lane = LaneId::new("test", lane);
        if !self.lanes.iter().any(|(known, _)| *known == lane) {
            self.lanes.push((lane, true));
        }
        self.transform.heard(lane, self.now);
        if self.transform.apply_all(&mut events, &mut out) {
            events.append(&mut out.emitted);
            out.emitted = events;
        } else {
            for event in events {
                self.transform.apply(event, &mut out);
            }
        }
        self.transform.tick(&mut out);
        Outcome::new(names, &self.config.outputs(), out)
    }

    /// Moves the clock, and event time with it.
    pub fn wait(&mut self, time: Duration) -> Outcome {
        self.now = self.now.after(time);
        let mut out = Outputs::new(self.type_name, true);
        out.set_now(self.now);
        for (lane, _) in self.lanes.iter().filter(|(_, idle)| *idle) {
            self.transform.heard(*lane, self.now);
        }
        self.transform.advance(self.now, &mut out);
        self.transform.tick(&mut out);
        Outcome::new(Names::of(&[]), &self.config.outputs(), out)
    }

    /// The lane of that name says no more that it has nothing left to read, as while its source cannot read.
    pub fn hush(&mut self, lane: &str) {
        let lane = LaneId::new("test", lane);
        self.lanes.retain(|(known, _)| *known != lane);
        self.lanes.push((lane, false));
    }

    /// Everything up to `at` has been read, by the times of events; the clock stands.
    pub fn read_to(&mut self, at: Time) -> Outcome {
        let mut out = Outputs::new(self.type_name, true);
        out.set_now(self.now);
        self.transform.read_to(at, &mut out);
        Outcome::new(Names::of(&[]), &self.config.outputs(), out)
    }

    /// Saves it, forgets it, and loads it into a fresh one.
    pub fn restart(&mut self) {
        let mut saved = Vec::new();
        self.transform.save(&mut saved);
        let meaning = self.transform.meaning();
        self.transform = build(&*self.config, &self.cx);
        assert_eq!(
            self.transform.meaning(),
            meaning,
            "the same configuration means the same"
        );
        if let Err(why) = self.transform.load(&saved) {
            panic!("what it saved cannot be loaded: {why}");
        }
    }

    /// What a snapshot would hold [bytes].
    pub fn saved(&self) -> Vec<u8> {
        let mut saved = Vec::new();
        self.transform.save(&mut saved);
        saved
    }
}

/// What came out of a transform.
pub struct Outcome {
    names: Names,
    main: Vec<Event>,
    named: Vec<(String, Event)>,
    made: Vec<(String, Event)>,
    erred: Vec<Event>,
    filtered: u64,
    duplicates: u64,
    joined: u64,
    evicted: u64,
    unclassified: u64,
    missed: Vec<(String, u64)>,
    told: Vec<crate::told::Told>,
}

impl Outcome {
    fn new(names: Names, outputs: &[String], out: Outputs) -> Outcome {
        let name = |n: usize| {
            outputs
                .get(n)
                .cloned()
                .unwrap_or_else(|| panic!("there is no output number {n}"))
        };
        let mut main = out.emitted;
        for batch in out.main {
            main.extend(batch.events);
            batch.ack.delivered();
        }
        let mut named: Vec<_> = out
            .sent
            .into_iter()
            .map(|(n, event)| (name(n), event))
            .collect();
        for (n, batch) in out.named {
            named.extend(batch.events.into_iter().map(|event| (name(n), event)));
            batch.ack.delivered();
        }
        let made = out
            .made
            .into_iter()
            .map(|(n, event)| (name(n), event))
            .collect();
        Outcome {
            names,
            main,
            named,
            made,
            erred: out.erred,
            filtered: out.filtered,
            duplicates: out.duplicates,
            joined: out.joined,
            evicted: out.evicted,
            unclassified: out.unclassified,
            missed: out.missed,
            told: out.told,
        }
    }

    /// What the events that went on by the unnamed output are called, in their order.
    pub fn kept(&self) -> Vec<i64> {
        self.names.all(&self.main)
    }

    /// What the events are called that could not be worked on.
    pub fn errors(&self) -> Vec<i64> {
        self.names.all(&self.erred)
    }

    /// What went on by the unnamed output.
    pub fn events(&self) -> &[Event] {
        &self.main
    }

    /// The same as JSON.
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.main.iter().map(Event::to_json).collect()
    }

    /// What the events that left by the output `name` are called, in their order.
    pub fn sent(&self, name: &str) -> Vec<i64> {
        self.names.all(
            self.named
                .iter()
                .filter(|(held, _)| held == name)
                .map(|(_, event)| event),
        )
    }

    /// The events that the transform made of its own for the output `name`.
    pub fn made(&self, name: &str) -> Vec<&Event> {
        self.made
            .iter()
            .filter(|(held, _)| held == name)
            .map(|(_, event)| event)
            .collect()
    }

    /// How many events were left out by name.
    pub fn filtered(&self) -> u64 {
        self.filtered
    }

    /// How many of these were copies of others.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// How many of those left out went into other events.
    pub fn joined(&self) -> u64 {
        self.joined
    }

    /// How many events were counted as in no catalogue.
    pub fn unclassified(&self) -> u64 {
        self.unclassified
    }

    /// How many things were let go of early.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// What it told about itself: codes and sentences.
    pub fn told(&self) -> Vec<(&str, &str)> {
        let told = self.told.iter();
        told.map(|told| (told.code, told.message.as_str()))
            .collect()
    }

    /// How many events each table knew nothing of.
    pub fn missed(&self) -> &[(String, u64)] {
        &self.missed
    }
}
