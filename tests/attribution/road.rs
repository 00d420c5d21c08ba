//! The road that the records of a world go: `grok`, `event_id`, `correlate`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use pipeline::Event;
use pipeline::testing::{self, StatefulBench, TransformBench};

use super::judge::Judge;
use super::world::{Lane, MEMBERS, NODES, Record, World, Written};

struct Road {
    grok: TransformBench,
    event_id: TransformBench,
    correlate: StatefulBench,
    /// How often the tasks of each node are listed [ms].
    lists: [i64; 3],
}

impl Road {
    fn new(lists: [i64; 3]) -> Road {
        let nodes: Vec<String> = (NODES.iter().zip(MEMBERS))
            .map(|(node, ip)| format!("\"{node}={ip}\""))
            .collect();
        let nodes = format!("cluster_nodes = [{}]", nodes.join(", "));
        let mut road = Road {
            lists,
            grok: testing::transform::<transforms::grok::Config>(
                "patterns = ['%{PVEPROXY_ACCESS}']",
            ),
            event_id: testing::transform::<transforms::event_id::Config>("policy = []"),
            correlate: testing::stateful::<transforms::correlate::Config>(&nodes),
        };
        for (node, _) in (0..).zip(lists).filter(|(_, every)| *every > 2000) {
            road.correlate.hush(&format!("{:?}", Lane::Tasks(node)));
        }
        road
    }

    /// What came by one lane within one second, nothing perhaps.
    fn lane(&mut self, lane: Lane, records: Vec<Record>, judge: &mut Judge) -> Vec<Event> {
        let mut lines = Vec::new();
        let mut fed = Vec::new();
        for record in records {
            match record.event {
                Written::Line(line) => lines.push((line, record.fact)),
                Written::Event(event) => fed.push((*event, record.fact)),
            }
        }
        if let Lane::Access(node) = lane {
            let texts = lines.iter().map(|(line, _)| line.as_bytes());
            let parsed = self.grok.run(testing::line_events(NODES[node], texts));
            let facts = lines.iter().map(|(_, fact)| *fact);
            fed.extend(parsed.into_iter().zip(facts));
        }
        let number = |(mut event, fact): (Event, usize)| {
            event.set_id(judge.number(fact));
            event.set_ordinal(0);
            event
        };
        let fed = fed.into_iter().map(number).collect();
        let mapped = self.event_id.run(fed);
        let out = self.correlate.feed_by(&format!("{lane:?}"), mapped);
        out.events().to_vec()
    }

    /// Everything that reached us within one second, by one lane after the other, another one first each time. A list of
    /// tasks that is read seldom says how far it was read only then.
    fn second(&mut self, second: i64, records: Vec<Record>, judge: &mut Judge) -> Vec<Event> {
        let mut lanes: BTreeMap<Lane, Vec<Record>> = BTreeMap::new();
        for (node, every) in self.lists.into_iter().enumerate() {
            if second * 1000 % every == 0 {
                lanes.insert(Lane::Tasks(node), Vec::new());
            }
        }
        for record in records {
            lanes.entry(record.lane).or_default().push(record);
        }
        let mut lanes: Vec<_> = lanes.into_iter().collect();
        let first = second as usize % lanes.len().max(1);
        lanes.rotate_left(first);
        let mut out = Vec::new();
        for (lane, records) in lanes {
            out.extend(self.lane(lane, records, judge));
        }
        out.extend(self.wait(Duration::from_secs(1)));
        out
    }

    fn wait(&mut self, time: Duration) -> Vec<Event> {
        self.correlate.wait(time).events().to_vec()
    }
}

/// Sends a whole world down the road and judges all that comes out.
pub fn run(world: World) -> Judge {
    let (acts, stops) = (world.acts, world.setup.stops.clone());
    let mut judge = Judge::new(world.facts);
    let mut records: VecDeque<Record> = world.records.into();
    let fed = records.len();
    let mut road = Road::new(world.setup.lists);
    let mut seen = BTreeSet::new();
    let mut second = 0;
    let mut idle = 0;
    while idle < 60 {
        let mut out = Vec::new();
        if let Some((from, to)) = stops.iter().find(|(from, _)| *from / 1000 == second) {
            // Nobody hears or tells anything until the program runs again with what it saved.
            road.correlate.restart();
            let still = (to - from) / 1000;
            second += still;
            out = road.wait(Duration::from_secs(still as u64));
        }
        second += 1;
        let mut now = Vec::new();
        while records
            .front()
            .is_some_and(|record| record.arrives < second * 1000)
        {
            now.extend(records.pop_front());
        }
        idle = if records.is_empty() { idle + 1 } else { 0 };
        out.extend(road.second(second, now, &mut judge));
        for event in out {
            assert!(seen.insert(event.id()), "twice: {event:?}");
            judge.judge(&event);
        }
    }
    println!("{acts} acts, {fed} records");
    judge.finish();
    assert_eq!(seen.len(), fed, "held for ever, or left out");
    judge
}
