//! How far each lane has been applied, which ids were applied lately where there is no order, and the watermark.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use crate::clock::Time;
use crate::event::{Event, EventId, Field};
use crate::mark::LaneId;

/// A lane that says nothing for so long, while others speak, holds the watermark no more.
const SILENCE: Duration = Duration::from_secs(30);
/// One pause counts at most so much: while the transform itself stands still, nobody is silent.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The same where event time is that of events, for a lane that used to say that there is nothing more to read. What is
/// decided from then on may be wrong, and is marked.
const UNREADABLE: Duration = Duration::from_secs(300);
/// An event may say that it happens so much later than now; then its clock is wrong, and moves nothing.
const FUTURE: Duration = Duration::from_secs(120);
/// Ids without order are kept at least so long after their inputs were released: the source stores its position later.
const IDS_KEPT: Duration = Duration::from_secs(120);
/// Generations of ids are at least so long, so that many snapshots in a row do not make many of them.
const LEAST_GENERATION: Duration = Duration::from_secs(30);
/// Most ids without order remembered at once [ids]; 16 bytes each in a snapshot.
const MOST_IDS: usize = 4_000_000;
/// Most lanes remembered; the ones silent longest go first [lanes].
const MOST_LANES: usize = 65_536;

/// One lane as one input of the component sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lane {
    pub(super) input: u16,
    pub(super) id: LaneId,
    /// Last ordinal applied; 0 when there is none.
    pub(super) applied: u64,
    pub(super) seen_to: Time,
    /// When it last said something, in the time of [`Lanes::active`].
    heard: Duration,
    /// When it last told the named outputs where it stands.
    told: Time,
    /// Time of its newest event; [`Time::MIN`] before the first.
    newest: Time,
    /// Its events come at most so much later than others of the same time.
    bound: Duration,
    /// Nothing was left to read when it last said something.
    idle: bool,
    /// It has said so before.
    live: bool,
    /// An event came later than it may behind others of its lane.
    unsorted: bool,
}

/// All lanes of one component.
#[derive(Default)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    by_id: HashMap<(u16, LaneId), usize>,
    /// Time spent at work.
    active: Duration,
    last: Option<Time>,
    watermark: Option<Time>,
    generations: VecDeque<Generation>,
    ids: usize,
}

struct Generation {
    ids: HashSet<EventId>,
    opened: Time,
    released: Option<Time>,
}

impl Lanes {
    /// Notes a mark and says which lane it belongs to.
    pub(super) fn hear(&mut self, input: u16, id: LaneId, seen_to: Time, now: Time) -> usize {
        if let Some(last) = self.last {
            self.active += now.since(last).min(LONGEST_PAUSE);
        }
        self.last = Some(now);
        let place = match self.by_id.get(&(input, id)) {
            Some(place) => *place,
            None => self.add(input, id),
        };
        let lane = &mut self.lanes[place];
        lane.heard = self.active;
        lane.seen_to = lane.seen_to.max(seen_to);
        place
    }

    fn add(&mut self, input: u16, id: LaneId) -> usize {
        if self.lanes.len() >= MOST_LANES {
            self.prune();
        }
        let place = self.lanes.len();
        self.lanes.push(Lane {
            input,
            id,
            applied: 0,
            seen_to: Time::MIN,
            heard: self.active,
            told: Time::MIN,
            newest: Time::MIN,
            bound: Duration::ZERO,
            idle: false,
            live: false,
            unsorted: false,
        });
        self.by_id.insert((input, id), place);
        place
    }

    /// Forgets the half of the lanes that was silent longest.
    #[cold]
    fn prune(&mut self) {
        self.lanes.sort_by_key(|lane| std::cmp::Reverse(lane.heard));
        self.lanes.truncate(MOST_LANES / 2);
        self.by_id = self
            .lanes
            .iter()
            .enumerate()
            .map(|(n, lane)| ((lane.input, lane.id), n))
            .collect();
    }

    /// Whether the event was applied before. If not, it is from now on.
    #[inline]
    pub(super) fn knows(&mut self, place: usize, event: &Event, now: Time) -> bool {
        match event.ordinal() {
            Some(ordinal) => {
                let lane = &mut self.lanes[place];
                if ordinal <= lane.applied {
                    return true;
                }
                lane.applied = ordinal;
                false
            }
            None => self.knows_id(event.id(), now),
        }
    }

    fn knows_id(&mut self, id: EventId, now: Time) -> bool {
        if self.generations.iter().any(|g| g.ids.contains(&id)) {
            return true;
        }
        if self
            .generations
            .back()
            .is_none_or(|newest| newest.ids.len() >= MOST_IDS / 4)
        {
            self.open_generation(now);
        }
        if let Some(newest) = self.generations.back_mut() {
            newest.ids.insert(id);
            self.ids += 1;
        }
        while self.ids > MOST_IDS {
            match self.generations.pop_front() {
                Some(oldest) => self.ids -= oldest.ids.len(),
                None => break,
            }
        }
        false
    }

    fn open_generation(&mut self, now: Time) {
        self.generations.push_back(Generation {
            ids: HashSet::new(),
            opened: now,
            released: None,
        });
    }

    /// A snapshot became current and the inputs before it were released: what was released long ago may go.
    pub(super) fn released(&mut self, now: Time) {
        if self.generations.back().is_some_and(|newest| {
            !newest.ids.is_empty() && now.since(newest.opened) >= LEAST_GENERATION
        }) {
            if let Some(newest) = self.generations.back_mut() {
                newest.released = Some(now);
            }
            self.open_generation(now);
        }
        while self
            .generations
            .front()
            .and_then(|oldest| oldest.released)
            .is_some_and(|at| now.since(at) >= IDS_KEPT)
        {
            if let Some(oldest) = self.generations.pop_front() {
                self.ids -= oldest.ids.len();
            }
        }
    }

    /// The new watermark, if it has moved: the least `seen_to` of all lanes that are not silent.
    pub(super) fn advance(&mut self) -> Option<Time> {
        let active = self.active;
        let least = self
            .lanes
            .iter()
            .filter(|lane| lane.seen_to != NO_OPINION && active - lane.heard <= SILENCE)
            .map(|lane| lane.seen_to)
            .min()?;
        if least == Time::MIN || self.watermark.is_some_and(|held| least <= held) {
            return None;
        }
        self.watermark = Some(least);
        Some(least)
    }

    /// Notes the times of what a lane has said: of its events, or that there are none.
    pub(super) fn date(&mut self, place: usize, events: &[Event], idle: bool, now: Time) {
        let lane = &mut self.lanes[place];
        lane.idle = idle;
        lane.live |= idle;
        let Some(first) = events.first() else {
            return;
        };
        lane.bound = bound(first);
        let (bound, future) = (lane.lateness(), now.after(FUTURE));
        for event in events {
            let at = event.timestamp();
            let at = if at > future { now } else { at };
            lane.unsorted |= at.0 < lane.newest.0.saturating_sub(bound);
            lane.newest = lane.newest.max(at);
        }
    }

    /// Up to which time of events nothing more will come; `None` where nobody can tell. A file alone tells it, of the one
    /// source that there is: of two, the other may still bring what is as old, and so may one that is read to its end for now.
    pub(super) fn read_to(&self, sources: &[String]) -> Option<Time> {
        let ([source], [lane]) = (sources, &self.lanes[..]) else {
            return None;
        };
        let in_order = lane.applied > 0 && !lane.unsorted && !lane.idle;
        (in_order && *lane.id.source() == **source)
            .then(|| Time(lane.newest.0.saturating_sub(lane.lateness())))
    }

    /// The new watermark in the time of events, if it has moved, and whether a lane is left out that used to speak.
    pub(super) fn advance_dated(&mut self) -> Option<(Time, bool)> {
        let (active, mut incomplete, mut least) = (self.active, false, None::<Time>);
        for lane in &self.lanes {
            if lane.seen_to == NO_OPINION {
                continue;
            }
            let silent = active - lane.heard;
            if silent > if lane.live { UNREADABLE } else { SILENCE } {
                incomplete |= lane.live;
                continue;
            }
            let at = if lane.idle { lane.seen_to } else { lane.newest };
            let at = Time(at.0.saturating_sub(lane.lateness()));
            least = Some(least.map_or(at, |held| held.min(at)));
        }
        let least = least.filter(|least| least.0 > i64::MIN / 2)?;
        if self.watermark.is_some_and(|held| least <= held) {
            return None;
        }
        self.watermark = Some(least);
        Some((least, incomplete))
    }

    pub(super) fn watermark(&self) -> Option<Time> {
        self.watermark
    }

    /// Whether the named outputs have to hear again where this lane stands: once a second of its own time.
    pub(super) fn is_due_to_tell(&mut self, place: usize) -> bool {
        let lane = &mut self.lanes[place];
        let due = lane.told == Time::MIN || lane.seen_to.since(lane.told) >= Duration::from_secs(1);
        if due {
            lane.told = lane.seen_to;
        }
        due
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.iter()
    }

    /// All ids that are remembered, oldest first by generation.
    pub(super) fn ids(&self) -> impl Iterator<Item = &EventId> {
        self.generations.iter().flat_map(|g| &g.ids)
    }

    pub(super) fn ids_len(&self) -> usize {
        self.ids
    }

    /// Puts back what a snapshot held. The lanes count as heard now, so that one with a backlog holds the watermark.
    pub(super) fn restore(
        lanes: impl IntoIterator<Item = (u16, LaneId, u64, Time)>,
        ids: HashSet<EventId>,
        watermark: Option<Time>,
        now: Time,
    ) -> Lanes {
        let mut restored = Lanes {
            watermark,
            ids: ids.len(),
            ..Lanes::default()
        };
        for (input, id, applied, seen_to) in lanes {
            let place = restored.add(input, id);
            restored.lanes[place].applied = applied;
            restored.lanes[place].seen_to = seen_to;
        }
        if !ids.is_empty() {
            restored.generations.push_back(Generation {
                ids,
                opened: now,
                released: None,
            });
        }
        restored
    }
}

impl Lane {
    /// How late its events may come [ns].
    fn lateness(&self) -> i64 {
        i64::try_from(self.bound.max(LEAST_BOUND).as_nanos()).unwrap_or(i64::MAX)
    }
}

/// How late events of a file may come, and the least for all.
const LEAST_BOUND: Duration = Duration::from_secs(10);

/// How late an event may come behind others of its time, by the way it came.
fn bound(event: &Event) -> Duration {
    static ORIGIN: LazyLock<Field> = LazyLock::new(|| Field::new("pve.origin"));
    match event.str(*ORIGIN) {
        Some("syslog") => Duration::from_secs(30),
        Some("api" | "config") => Duration::from_secs(60),
        _ => LEAST_BOUND,
    }
}

/// The `seen_to` of a lane that says nothing about time.
pub(super) const NO_OPINION: Time = Time(i64::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Time {
        Time::from_secs(secs)
    }

    #[test]
    fn the_watermark_is_the_slowest_lane_until_that_falls_silent() {
        let (a, b) = (LaneId::new("wm", "a"), LaneId::new("wm", "b"));
        let mut lanes = Lanes::default();
        lanes.hear(0, a, at(10), at(100));
        lanes.hear(0, b, at(5), at(100));
        assert_eq!(lanes.advance(), Some(at(5)));
        let mut moved = None;
        for second in 101..140 {
            lanes.hear(0, a, at(second), at(second));
            moved = lanes.advance().or(moved);
        }
        assert_eq!(moved, Some(at(139)));
        lanes.hear(0, b, at(6), at(140));
        assert_eq!(lanes.advance(), None, "it never goes back");
    }

    #[test]
    fn in_the_time_of_events_an_idle_lane_follows_the_clock_and_a_dead_one_is_left_out() {
        let (a, b) = (LaneId::new("dated", "a"), LaneId::new("dated", "b"));
        let event = |secs| Event::new(EventId::default(), at(secs));
        let mut lanes = Lanes::default();
        let first = lanes.hear(0, a, at(1000), at(1000));
        lanes.date(first, &[event(500), event(400)], false, at(1000));
        assert_eq!(lanes.advance_dated(), Some((at(490), false)));
        let second = lanes.hear(0, b, at(1000), at(1000));
        lanes.date(second, &[event(9_999_999)], false, at(1000));
        assert_eq!(
            lanes.advance_dated(),
            None,
            "a clock that is ahead moves nothing"
        );
        lanes.hear(0, a, at(1001), at(1001));
        lanes.date(first, &[], true, at(1001));
        lanes.hear(0, b, at(1001), at(1001));
        lanes.date(second, &[], true, at(1001));
        assert_eq!(lanes.advance_dated(), Some((at(991), false)));
        let mut last = None;
        for second in 1002..1400 {
            lanes.hear(0, a, at(second), at(second));
            lanes.date(first, &[], true, at(second));
            last = lanes.advance_dated().or(last);
        }
        assert_eq!(last, Some((at(1389), true)), "b fell silent");
    }

    #[test]
    fn an_old_file_that_is_alone_tells_how_far_it_was_read() {
        let sources =
            |names: &[&str]| -> Vec<String> { names.iter().map(ToString::to_string).collect() };
        let read = |lanes: &mut Lanes, key: &str, secs: &[i64]| {
            let place = lanes.hear(0, LaneId::new("files", key), at(9000), at(9000));
            let event = |secs: &i64| {
                let mut event = Event::new(EventId::default(), at(*secs));
                event.set_ordinal(*secs as u64);
                event
            };
            let events: Vec<Event> = secs.iter().map(event).collect();
            events.iter().for_each(|event| {
                lanes.knows(place, event, at(9000));
            });
            lanes.date(place, &events, secs.is_empty(), at(9000));
            lanes.read_to(&sources(&["files"]))
        };
        let mut lanes = Lanes::default();
        assert_eq!(read(&mut lanes, "a", &[500, 495]), Some(at(490)));
        assert_eq!(lanes.read_to(&sources(&["files", "tasks"])), None);
        assert_eq!(lanes.read_to(&sources(&["tasks"])), None);
        assert_eq!(read(&mut lanes, "a", &[]), None, "more may be written");
        assert_eq!(read(&mut lanes, "a", &[520]), Some(at(510)));
        assert_eq!(read(&mut lanes, "b", &[530]), None, "who is further?");
        let mut lanes = Lanes::default();
        assert_eq!(read(&mut lanes, "a", &[500, 489]), None, "it has no order");
    }

    #[test]
    fn a_transform_that_stood_still_blames_nobody() {
        let (a, b) = (LaneId::new("still", "a"), LaneId::new("still", "b"));
        let mut lanes = Lanes::default();
        lanes.hear(0, a, at(10), at(100));
        lanes.hear(0, b, at(10), at(100));
        lanes.advance();
        lanes.hear(0, a, at(4000), at(4000));
        assert_eq!(lanes.advance(), None);
    }

    #[test]
    fn ids_outlive_their_release_by_a_while_and_are_bounded_in_time() {
        let mut lanes = Lanes::default();
        let id = |n| EventId([0, n]);
        assert!(!lanes.knows_id(id(1), at(0)));
        lanes.released(at(40));
        assert!(lanes.knows_id(id(1), at(41)));
        lanes.knows_id(id(2), at(50));
        lanes.released(at(200));
        assert!(!lanes.knows_id(id(1), at(201)), "long released");
        assert!(lanes.knows_id(id(2), at(201)));
    }
}
