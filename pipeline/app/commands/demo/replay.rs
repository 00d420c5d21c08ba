//! Tells a day through a graph's transforms and into its sinks, in the day's own time instead of the wall's.

use std::collections::BTreeMap;

use pipeline::case::{Replay, to_write};
use pipeline::pve::Inventory;
use pipeline::{Component, Event, Graph, Sink, Time};
use sources::demo::Day;

/// Nanoseconds in a second.
const SECOND: i64 = 1_000_000_000;
/// What waits for other records has gone on after so much quiet [s].
const QUIET: i64 = 15 * 60;
/// Events written at once.
const WRITE: usize = 4000;

/// What came of it.
pub(super) struct Told {
    /// Entries of the day.
    pub entries: u64,
    /// Events that arrived at the first sink.
    pub events: u64,
}

/// Tells the day, or its first `count` entries, into every sink of the graph, from the place of its only source.
pub(super) async fn run(graph: &Graph, day: &Day, count: Option<i64>) -> Result<Told, String> {
    let source = &graph.sources.first().ok_or("the graph has no source")?.id;
    let mut sinks = Vec::new();
    for node in &graph.sinks {
        match node.component.build(&graph.context(node)) {
            Ok(Component::Sink(sink)) => sinks.push((node.id.as_str(), sink, Vec::new(), 0)),
            Ok(_) => return Err(format!("{} is no sink", node.id)),
            Err(why) => return Err(format!("{}: {why}", node.id)),
        }
    }
    // Kept as long as the graph's own components look into it.
    let inventory = Inventory::shared(&graph.globals.data_dir);
    inventory.update(source, day.inventory())?;
    let mut replay = Replay::new(graph, day.start)?;
    let mut told = 0;
    let cluster = graph.globals.cluster.clone().unwrap_or_default();
    let most = count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(0));
    let mut entries = day.events(&cluster).take(most).peekable();
    let mut now = day.start;
    while let Some((when, ..)) = entries.peek() {
        // All of one second at once.
        now = Time(when.0 - when.0.rem_euclid(SECOND) + SECOND);
        replay.move_to(now);
        let mut lanes: BTreeMap<String, Vec<Event>> = BTreeMap::new();
        while let Some((_, lane, event)) = entries.next_if(|(when, ..)| *when < now) {
            told += 1;
            lanes.entry(lane).or_default().push(event);
        }
        for (lane, events) in lanes {
            replay.feed(source, &lane, events);
        }
        for (id, sink, held, events) in &mut sinks {
            let arrived = replay.take(id);
            *events += arrived.len() as u64;
            held.extend(arrived);
            if held.len() >= WRITE {
                write(sink.as_mut(), held).await?;
            }
        }
    }
    for _ in 0..QUIET {
        now = Time(now.0 + SECOND);
        replay.move_to(now);
    }
    for (id, sink, held, events) in &mut sinks {
        let arrived = replay.take(id);
        *events += arrived.len() as u64;
        held.extend(arrived);
        write(sink.as_mut(), held).await?;
        sink.close().await.map_err(|why| format!("{id}: {why}"))?;
    }
    Ok(Told {
        entries: told,
        events: sinks.first().map_or(0, |(.., events)| *events),
    })
}

async fn write(sink: &mut dyn Sink, held: &mut Vec<Event>) -> Result<(), String> {
    let events = std::mem::take(held);
    if events.is_empty() {
        return Ok(());
    }
    sink.write(to_write(events))
        .await
        .map(drop)
        .map_err(|why| format!("cannot keep the day: {why:?}"))
}
