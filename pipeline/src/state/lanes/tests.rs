//! Watermarks of lanes that speak, fall silent, end, and lie about the time; ids that outlive their release.

use super::*;

fn at(secs: i64) -> Time {
    Time::from_secs(secs)
}

fn event(secs: i64) -> Event {
    Event::new(EventId::default(), at(secs))
}

fn mark(lane: LaneId, secs: i64) -> Mark {
    Mark {
        lane,
        start: 1,
        seen_to: at(secs),
        idle: false,
        over: false,
    }
}

/// A lane says something: of events at these times, or that it has nothing to read.
fn say(lanes: &mut Lanes, lane: LaneId, now: i64, events: &[i64]) {
    let place = lanes.hear(0, &mark(lane, now), at(now));
    let events: Vec<Event> = events.iter().map(|secs| event(*secs)).collect();
    lanes.date(place, &events, events.is_empty(), at(now));
}

fn moved(lanes: &mut Lanes) -> Option<(i64, bool)> {
    let (at, silent) = lanes.advance_dated()?;
    Some((at.0 / 1_000_000_000, !silent.is_empty()))
}

#[test]
fn the_watermark_is_the_slowest_lane_until_that_falls_silent() {
    let (a, b) = (LaneId::new("wm", "a"), LaneId::new("wm", "b"));
    let mut lanes = Lanes::default();
    lanes.hear(0, &mark(a, 10), at(100));
    lanes.hear(0, &mark(b, 5), at(100));
    assert_eq!(lanes.advance(), Some(at(5)));
    let mut moved = None;
    for second in 101..140 {
        lanes.hear(0, &mark(a, second), at(second));
        moved = lanes.advance().or(moved);
    }
    assert_eq!(moved, Some(at(139)));
    lanes.hear(0, &mark(b, 6), at(140));
    assert_eq!(lanes.advance(), None, "it never goes back");
}

#[test]
fn an_idle_lane_follows_the_clock_and_one_that_falls_silent_is_left_out_and_marked_until_it_speaks()
{
    let (a, b) = (LaneId::new("dated", "a"), LaneId::new("dated", "b"));
    let mut lanes = Lanes::default();
    say(&mut lanes, a, 1000, &[500, 400]);
    assert_eq!(moved(&mut lanes), Some((490, false)));
    say(&mut lanes, b, 1000, &[9_999_999]);
    assert_eq!(
        moved(&mut lanes),
        None,
        "a clock that is ahead moves nothing"
    );
    say(&mut lanes, a, 1001, &[]);
    say(&mut lanes, b, 1001, &[]);
    assert_eq!(moved(&mut lanes), Some((991, false)));
    let mut last = None;
    for second in 1002..1300 {
        say(&mut lanes, a, second, &[]);
        last = moved(&mut lanes).or(last);
    }
    assert_eq!(last, None, "b is waited for");
    for second in 1300..1400 {
        say(&mut lanes, a, second, &[]);
        last = moved(&mut lanes).or(last);
    }
    assert_eq!(last, Some((1389, true)), "b fell silent");
    say(&mut lanes, b, 1400, &[]);
    say(&mut lanes, a, 1400, &[]);
    assert_eq!(moved(&mut lanes), Some((1390, false)), "b is back");
}

#[test]
fn a_lane_that_its_source_ends_is_not_waited_for_and_makes_nothing_incomplete() {
    let (a, b) = (LaneId::new("ends", "a"), LaneId::new("ends", "b"));
    let mut lanes = Lanes::default();
    say(&mut lanes, a, 1000, &[]);
    say(&mut lanes, b, 1000, &[]);
    assert_eq!(moved(&mut lanes), Some((990, false)));
    // A log was rotated: the old generation is read to its end.
    let end = Mark {
        over: true,
        ..mark(b, 1001)
    };
    lanes.hear(0, &end, at(1001));
    let mut last = None;
    for second in 1001..1005 {
        say(&mut lanes, a, second, &[]);
        last = moved(&mut lanes);
    }
    assert_eq!(last, Some((994, false)), "at once");
    for second in 1005..2000 {
        say(&mut lanes, a, second, &[]);
        last = moved(&mut lanes);
    }
    assert_eq!(last, Some((1989, false)), "and for good");
    say(&mut lanes, b, 2000, &[1990]);
    say(&mut lanes, a, 2005, &[]);
    assert_eq!(moved(&mut lanes), None, "unless it speaks again");
}

#[test]
fn lanes_of_an_earlier_start_and_of_a_snapshot_are_not_called_missing() {
    let (old, new) = (LaneId::new("again", "run1"), LaneId::new("again", "run2"));
    let saved = LaneId::new("removed", "x");
    let mut lanes = Lanes::restore(
        [(0, saved, 7, at(900), false)],
        HashSet::new(),
        None,
        at(1000),
    );
    say(&mut lanes, old, 1000, &[]);
    assert_eq!(
        moved(&mut lanes),
        None,
        "what a snapshot holds is waited for"
    );
    let mut last = None;
    for second in 1001..1400 {
        let next = Mark {
            start: 2,
            ..mark(new, second)
        };
        let place = lanes.hear(0, &next, at(second));
        lanes.date(place, &[], true, at(second));
        last = moved(&mut lanes).or(last);
        if second == 1020 {
            assert_eq!(last, None, "for half a minute");
        }
    }
    assert_eq!(last, Some((1389, false)));
}

#[test]
fn a_lane_in_its_backlog_is_waited_for_and_a_future_line_does_not_move_it() {
    let (a, b) = (LaneId::new("backlog", "a"), LaneId::new("backlog", "b"));
    let mut lanes = Lanes::default();
    say(&mut lanes, a, 100_000, &[10_000]);
    say(&mut lanes, b, 100_000, &[20_000]);
    assert_eq!(moved(&mut lanes), Some((9_990, false)));
    // One line of the year 2099 in the middle of yesterday's file, and one of 1970.
    say(&mut lanes, a, 100_001, &[10_100, 4_070_908_800]);
    assert_eq!(moved(&mut lanes), Some((10_090, false)));
    let mut last = None;
    for second in 100_002..100_250 {
        say(&mut lanes, b, second, &[20_000 + second - 100_000]);
        last = moved(&mut lanes).or(last);
    }
    assert_eq!(last, None, "four minutes are no reason");
    for second in 100_250..100_400 {
        say(&mut lanes, b, second, &[20_000 + second - 100_000]);
        last = moved(&mut lanes).or(last);
    }
    assert_eq!(
        last,
        Some((20_389, true)),
        "more than five are, and it is said"
    );
    let mut fresh = Lanes::default();
    let now = 1_800_000_000;
    say(&mut fresh, a, now, &[3, 1_799_999_000]);
    assert_eq!(moved(&mut fresh), Some((1_799_998_990, false)));
    let mut fresh = Lanes::default();
    say(&mut fresh, a, now, &[3]);
    assert_eq!(moved(&mut fresh), None, "no clock of 1970");
}

#[test]
fn a_lane_whose_events_are_all_left_out_follows_the_clock_after_a_while() {
    let (a, b) = (LaneId::new("filtered", "a"), LaneId::new("filtered", "b"));
    let mut lanes = Lanes::default();
    say(&mut lanes, a, 1000, &[]);
    say(&mut lanes, b, 1000, &[]);
    assert_eq!(moved(&mut lanes), Some((990, false)));
    let mut last = None;
    for second in 1001..1100 {
        say(&mut lanes, a, second, &[]);
        // It reads on, and a filter leaves nothing of it.
        let place = lanes.hear(0, &mark(b, second), at(second));
        lanes.date(place, &[], false, at(second));
        last = moved(&mut lanes).or(last);
        if second == 1020 {
            assert_eq!(last, None);
        }
    }
    assert_eq!(last, Some((1089, false)));
}

#[test]
fn a_transform_that_stood_still_blames_nobody() {
    let (a, b) = (LaneId::new("still", "a"), LaneId::new("still", "b"));
    let mut lanes = Lanes::default();
    lanes.hear(0, &mark(a, 10), at(100));
    lanes.hear(0, &mark(b, 10), at(100));
    lanes.advance();
    lanes.hear(0, &mark(a, 4000), at(4000));
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

#[test]
fn an_old_file_that_is_alone_tells_how_far_it_was_read() {
    let sources =
        |names: &[&str]| -> Vec<String> { names.iter().map(ToString::to_string).collect() };
    let read = |lanes: &mut Lanes, key: &str, secs: &[i64]| {
        let place = lanes.hear(0, &mark(LaneId::new("files", key), 9000), at(9000));
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
