//! How far each lane has been applied, which ids were applied lately where there is no order, and the watermark.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hashbrown::{HashMap, HashSet};

use crate::clock::Time;
use crate::event::{Event, EventId, Field};
use crate::mark::{LaneId, Mark};

/// A lane that says nothing for so long, while others speak, holds the watermark no more.
const SILENCE: Duration = Duration::from_secs(30);
/// One pause counts at most so much: while the transform itself stands still, nobody is silent.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// The same where event time is that of events, for a lane that its source calls its own. What is decided from then on may
/// be wrong, and is marked.
const UNREADABLE: Duration = Duration::from_secs(300);
/// A lane that has spoken for so long without an event (others are left out on the way, or carry impossible times) says as
/// much of time as one that has nothing to read: once it had read everything before, and while it still has a backlog.
const UNDATED: Duration = Duration::from_secs(30);
const UNDATED_BACKLOG: Duration = UNREADABLE;
/// An event may say that it happens so much later than now; then its clock is wrong, and moves nothing.
const FUTURE: Duration = Duration::from_secs(120);
/// So much earlier than now no clock ran that is right [ns].
const PAST: i64 = 20 * 365 * 86_400 * 1_000_000_000;
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
    /// Its source reads no more of it: nothing waits for it.
    pub(super) over: bool,
    /// Which start of its source spoke of it last; 0 = none of this process.
    start: u32,
    /// When it last said something about the time of events, in the time of [`Lanes::active`].
    dated: Duration,
    source: Arc<str>,
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
    /// The newest start of each source.
    starts: HashMap<Arc<str>, u32>,
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
    pub(super) fn hear(&mut self, input: u16, mark: &Mark, now: Time) -> usize {
        let id = mark.lane;
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
        lane.seen_to = lane.seen_to.max(mark.seen_to);
        if lane.over != mark.over || lane.start != mark.start {
            // It may have been of no account for long.
            lane.dated = self.active;
            lane.over = mark.over;
            lane.start = mark.start;
            let newest = self.starts.entry(Arc::clone(&lane.source)).or_default();
            *newest = (*newest).max(mark.start);
        }
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
            over: false,
            start: 0,
            dated: self.active,
            source: id.source(),
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
            .filter(|lane| {
                lane.seen_to != NO_OPINION && !lane.over && active - lane.heard <= SILENCE
            })
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
        if let Some(first) = events.first() {
            lane.bound = bound(first);
        }
        let bound = lane.lateness();
        // A clock that is wrong moves nothing.
        let (future, past) = (now.after(FUTURE), now.0.saturating_sub(PAST));
        for event in events {
            let at = event.timestamp();
            if at > future || at.0 < past {
                continue;
            }
            lane.unsorted |= at.0 < lane.newest.0.saturating_sub(bound);
            lane.newest = lane.newest.max(at);
            lane.dated = self.active;
        }
        if idle {
            lane.dated = self.active;
        }
    }

    /// Up to which time of events nothing more will come; `None` where nobody can tell. A file alone tells it, of the one
    /// source that there is: of two, the other may still bring what is as old, and so may one that was read to its end and may grow.
    pub(super) fn read_to(&self, sources: &[String]) -> Option<Time> {
        let ([source], [lane]) = (sources, &self.lanes[..]) else {
            return None;
        };
        let in_order = lane.applied > 0 && !lane.unsorted && !lane.idle;
        (in_order && *lane.id.source() == **source)
            .then(|| Time(lane.newest.0.saturating_sub(lane.lateness())))
    }

    /// The new watermark in the time of events, if it has moved, and the sources with a lane that is left out although it
    /// should speak.
    pub(super) fn advance_dated(&mut self) -> Option<(Time, Vec<Arc<str>>)> {
        let (active, mut silent, mut least) = (self.active, Vec::new(), None::<Time>);
        for lane in &self.lanes {
            if lane.seen_to == NO_OPINION || lane.over {
                continue;
            }
            let silence = active - lane.heard;
            if silence > SILENCE {
                // A lane that this start of its source has not spoken of may be none of its any more.
                let newest = self.starts.get(&lane.source).copied().unwrap_or(0);
                if lane.start == 0 || lane.start < newest {
                    continue;
                }
                if silence > UNREADABLE {
                    if !silent.contains(&lane.source) {
                        silent.push(Arc::clone(&lane.source));
                    }
                    continue;
                }
            }
            let patience = if lane.live { UNDATED } else { UNDATED_BACKLOG };
            let at = if lane.idle || active - lane.dated > patience {
                lane.seen_to
            } else {
                lane.newest
            };
            let at = Time(at.0.saturating_sub(lane.lateness()));
            least = Some(least.map_or(at, |held| held.min(at)));
        }
        let least = least.filter(|least| least.0 > i64::MIN / 2)?;
        if self.watermark.is_some_and(|held| least <= held) {
            return None;
        }
        self.watermark = Some(least);
        Some((least, silent))
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
        lanes: impl IntoIterator<Item = (u16, LaneId, u64, Time, bool)>,
        ids: HashSet<EventId>,
        watermark: Option<Time>,
        now: Time,
    ) -> Lanes {
        let mut restored = Lanes {
            watermark,
            ids: ids.len(),
            ..Lanes::default()
        };
        for (input, id, applied, seen_to, over) in lanes {
            let place = restored.add(input, id);
            restored.lanes[place].applied = applied;
            restored.lanes[place].seen_to = seen_to;
            restored.lanes[place].over = over;
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
mod tests;
