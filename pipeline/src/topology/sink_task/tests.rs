//! Sinks that do as they are told, and what becomes of the events.

mod ending;
mod keyed;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::sleep;

use crate::ack::Verdict::{Delivered, Failed};
use crate::component::ReasonKind;
use crate::topology::HealthState;
use world::{Answer, World, refused, retry};

#[tokio::test]
async fn batches_are_put_together_up_to_the_limit_and_flushed_at_the_end() {
    let world = World::answering(|_, _| Answer::Ok);
    let task = world.limits(10, usize::MAX, Duration::from_secs(60));
    // All of it waits in the lane before the first write is put together.
    for n in 0..5 {
        task.send(n, n * 4..n * 4 + 4).await;
    }
    let task = task.start();
    task.end().await;
    // Batches travel whole: a third one of 4 does not fit beside 8.
    assert_eq!(world.sizes(), [8, 8, 4]);
    assert_eq!(world.written(), (0..20).collect::<Vec<_>>());
    assert_eq!(world.verdicts(), vec![Delivered; 5]);
    assert_eq!((world.built(), world.closed()), (1, 1));
}

#[tokio::test]
async fn a_batch_larger_than_a_write_is_cut_and_answered_once_all_its_parts_are() {
    let world = World::answering(|n, _| if n == 2 { Answer::Hang } else { Answer::Ok });
    let task = world
        .limits(10, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..35).await;
    world.until(|| world.calls() == 3).await;
    assert!(world.verdicts().is_empty(), "two parts are not written yet");
    world.let_go();
    task.end().await;
    assert_eq!(world.sizes(), [10, 10, 10, 5]);
    assert_eq!(world.verdicts(), [Delivered]);
}

#[tokio::test]
async fn bytes_bound_a_write_as_well() {
    let world = World::answering(|_, _| Answer::Ok);
    let one = world::event(0).size();
    let task = world.limits(1000, one * 7, Duration::from_millis(1));
    task.send(0, 0..20).await;
    task.send(1, 20..25).await;
    task.start().end().await;
    assert_eq!(
        world.sizes(),
        [7, 7, 6, 5],
        "5 more would be too many beside 6"
    );
    assert_eq!(world.written(), (0..25).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_quiet_lane_does_not_wait_for_the_whole_timeout() {
    let world = World::answering(|_, _| Answer::Ok);
    let task = world
        .limits(1000, usize::MAX, Duration::from_millis(400))
        .start();
    let began = std::time::Instant::now();
    task.send(0, 0..1).await;
    world.until(|| world.calls() == 1).await;
    assert!(
        began.elapsed() < Duration::from_millis(350),
        "{:?}",
        began.elapsed()
    );
    task.end().await;
}

#[tokio::test]
async fn empty_batches_are_answered_but_not_before_those_in_front() {
    let world = World::answering(|n, _| if n == 0 { Answer::Hang } else { Answer::Ok });
    let task = world.limits(100, usize::MAX, Duration::from_secs(60));
    task.send(0, 0..0).await;
    task.send(1, 0..3).await;
    task.send(2, 3..3).await;
    let task = task.start();
    world.until(|| world.calls() == 1).await;
    assert_eq!(world.answered(), [(0, Delivered)]);
    world.let_go();
    task.end().await;
    assert_eq!(
        world.answered(),
        [(0, Delivered), (1, Delivered), (2, Delivered)]
    );
    assert_eq!(world.sizes(), [3], "nothing is written for an empty batch");
}

#[tokio::test]
async fn a_retry_stays_in_place_until_it_heals() {
    let world = World::answering(|n, _| if n < 6 { retry() } else { Answer::Ok });
    let task = world
        .limits(5, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..5).await;
    task.send(1, 5..10).await;
    world.until(|| world.calls() >= 3).await;
    let HealthState::Failing { reason, .. } = world.health() else {
        panic!("it fails")
    };
    assert_eq!(reason.kind, ReasonKind::Connection);
    task.end().await;
    let mut calls = vec![(0..5).collect::<Vec<_>>(); 7];
    calls.push((5..10).collect());
    assert_eq!(
        world.calls_made(),
        calls,
        "the second never overtakes the first"
    );
    assert_eq!(world.verdicts(), [Delivered, Delivered]);
    assert_eq!(world.health(), HealthState::Healthy);
    assert!(world.dead().is_empty());
    assert_eq!(world.totals(), (10, 10, 0));
}

#[tokio::test]
async fn what_the_other_side_asks_for_is_honoured() {
    let asked = Duration::from_millis(150);
    let world = World::answering(move |n, _| {
        if n == 0 {
            world::retry_after(asked)
        } else {
            Answer::Ok
        }
    });
    let task = world
        .limits(5, usize::MAX, Duration::from_millis(1))
        .start();
    let began = std::time::Instant::now();
    task.send(0, 0..5).await;
    task.end().await;
    assert!(began.elapsed() >= asked);
    assert_eq!(world.calls(), 2);
}

#[tokio::test]
async fn a_refusal_is_halved_down_to_the_poison_and_nothing_else_is_written_twice() {
    let world = World::answering(|_, ids| match ids.contains(&11) {
        true => refused(ReasonKind::Rejected),
        false => Answer::Ok,
    });
    let task = world
        .limits(16, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(7, 0..16).await;
    task.end().await;
    assert_eq!(
        world.accepted(),
        (0..16).filter(|n| *n != 11).collect::<Vec<_>>(),
        "in order, each once"
    );
    assert_eq!(world.dead(), [(11, "rejected".to_owned(), 5)]);
    assert_eq!(world.verdicts(), [Delivered], "dead letters are an end");
    assert_eq!(world.totals(), (16, 15, 1));
}

#[tokio::test]
async fn a_size_that_was_taken_is_remembered() {
    let world = World::answering(|_, ids| match ids.len() > 4 {
        true => refused(ReasonKind::TooLarge),
        false => Answer::Ok,
    });
    let task = world
        .limits(16, usize::MAX, Duration::from_millis(1))
        .start();
    for n in 0..3 {
        task.send(n, n * 16..n * 16 + 16).await;
    }
    task.end().await;
    let mut sizes = vec![16, 8, 4, 4, 8, 4, 4];
    sizes.extend([4; 8]);
    assert_eq!(
        world.sizes(),
        sizes,
        "the second and third write are not refused first"
    );
    assert_eq!(world.accepted(), (0..48).collect::<Vec<_>>());
    assert!(world.dead().is_empty());
}

#[tokio::test]
async fn one_event_that_is_too_large_alone_does_not_make_all_writes_small() {
    let world = World::answering(|_, ids| match ids.contains(&3) {
        true => refused(ReasonKind::TooLarge),
        false => Answer::Ok,
    });
    let task = world
        .limits(8, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..8).await;
    task.send(1, 8..16).await;
    task.end().await;
    assert_eq!(world.sizes().last(), Some(&8));
    assert_eq!(world.dead(), [(3, "too_large".to_owned(), 4)]);
}

#[tokio::test]
async fn of_a_partial_answer_only_the_rest_is_written_again() {
    let world = World::answering(|n, _| match n {
        // Places count in what this write was given.
        0 => world::partly(&[1, 4], &[2, 7]),
        1 => world::partly(&[0], &[1]),
        _ => Answer::Ok,
    });
    let task = world.limits(8, usize::MAX, Duration::from_millis(1));
    task.send(0, 0..5).await;
    task.send(1, 5..8).await;
    task.send(2, 8..10).await;
    task.start().end().await;
    let calls: Vec<Vec<u64>> = vec![(0..8).collect(), vec![1, 4], vec![1], vec![8, 9]];
    assert_eq!(world.calls_made(), calls);
    let dead: Vec<_> = world
        .dead()
        .into_iter()
        .map(|(id, _, attempts)| (id, attempts))
        .collect();
    assert_eq!(dead, [(2, 1), (7, 1), (4, 2)]);
    assert_eq!(world.verdicts(), [Delivered; 3]);
    assert_eq!(world.totals(), (10, 7, 3));
}

#[tokio::test]
async fn a_batch_whose_events_are_done_is_answered_while_others_are_tried_again() {
    let world = World::answering(|n, ids| match n {
        0 => world::partly(&[5], &[1]),
        _ if ids == [5] && n < 1000 => retry(),
        _ => Answer::Ok,
    });
    let task = world.limits(6, usize::MAX, Duration::from_millis(1));
    task.send(0, 0..3).await;
    task.send(1, 3..6).await;
    let task = task.start();
    world.until(|| world.calls() > 3).await;
    assert_eq!(
        world.answered(),
        [(0, Delivered)],
        "with its dead letter durable"
    );
    assert_eq!(world.dead().len(), 1);
    task.abort.cancel();
    task.end().await;
    assert_eq!(world.answered(), [(0, Delivered), (1, Failed)]);
}

#[tokio::test]
async fn an_answer_about_events_that_were_not_written_is_ignored() {
    let world = World::answering(|n, _| {
        if n == 0 {
            world::partly(&[99, 1, 1], &[1, 55])
        } else {
            Answer::Ok
        }
    });
    let task = world
        .limits(6, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..3).await;
    task.end().await;
    assert_eq!(
        world.calls_made(),
        [vec![0, 1, 2], vec![1]],
        "named twice: written again rather than buried"
    );
    assert!(world.dead().is_empty());
    assert_eq!(world.verdicts(), [Delivered]);
}

#[tokio::test]
async fn a_panic_builds_the_sink_anew_and_writes_the_same_again() {
    let world = World::answering(|n, _| if n < 2 { Answer::Panic } else { Answer::Ok });
    let task = world
        .limits(6, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..3).await;
    task.end().await;
    assert_eq!(world.calls_made(), vec![vec![0, 1, 2]; 3]);
    assert_eq!(world.built(), 3);
    assert_eq!(world.verdicts(), [Delivered]);
    assert!(world.dead().is_empty());
}

#[tokio::test]
async fn an_event_on_which_the_sink_panics_three_times_is_buried_alone() {
    let world = World::answering(|_, ids| {
        if ids.contains(&5) {
            Answer::Panic
        } else {
            Answer::Ok
        }
    });
    let task = world
        .limits(8, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..8).await;
    task.end().await;
    assert_eq!(world.accepted(), [0, 1, 2, 3, 4, 6, 7]);
    let [(5, kind, attempts)] = &world.dead()[..] else {
        panic!("{:?}", world.dead())
    };
    assert_eq!(
        (kind.as_str(), *attempts),
        ("panic", 8),
        "three on the whole, one on each half, three on it alone"
    );
    assert_eq!(world.verdicts(), [Delivered]);
}

#[tokio::test]
async fn a_sink_that_cannot_be_built_is_tried_again() {
    let world = World::answering(|_, _| Answer::Ok);
    world.build_fails(3);
    let task = world
        .limits(8, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..8).await;
    task.end().await;
    assert_eq!((world.built(), world.calls()), (4, 1));
    assert_eq!(world.verdicts(), [Delivered]);
}

#[tokio::test]
async fn a_batch_waits_while_the_dead_letters_cannot_be_written() {
    let world = World::answering(|_, ids| {
        if ids.contains(&1) {
            refused(ReasonKind::Mapping)
        } else {
            Answer::Ok
        }
    });
    world.close_grave();
    let task = world
        .limits(2, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..2).await;
    task.send(1, 2..4).await;
    world.until(|| matches!(world.health(), HealthState::Failing { reason, .. } if reason.kind == ReasonKind::Disk)).await;
    sleep(Duration::from_millis(20)).await;
    assert!(
        world.verdicts().is_empty(),
        "not before the letter is durable"
    );
    assert_eq!(world.accepted(), [0]);
    world.open_grave();
    task.end().await;
    assert_eq!(world.dead(), [(1, "mapping".to_owned(), 2)]);
    assert_eq!(world.accepted(), [0, 2, 3]);
    assert_eq!(world.verdicts(), [Delivered; 2]);
    assert_eq!(world.health(), HealthState::Healthy);
}

#[tokio::test]
async fn workers_write_side_by_side_and_each_event_once() {
    let world = World::answering(|n, _| if n % 5 == 3 { retry() } else { Answer::Ok });
    let mut task = world.limits(10, usize::MAX, Duration::from_millis(1));
    task.workers = 4;
    let task = task.start();
    for n in 0..100 {
        task.send(n, n * 10..n * 10 + 10).await;
    }
    task.end().await;
    let accepted = world.accepted();
    assert_eq!(accepted.len(), 1000);
    assert_eq!(
        accepted.into_iter().collect::<BTreeSet<_>>(),
        (0..1000).collect()
    );
    assert_eq!(world.verdicts(), vec![Delivered; 100]);
    assert_eq!((world.built(), world.closed()), (4, 4));
}

#[tokio::test]
async fn the_check_at_start_tells_of_a_receiver_that_is_not_there() {
    let world = World::answering(|_, _| Answer::Ok);
    world.unhealthy(true);
    let mut task = world.limits(10, usize::MAX, Duration::from_millis(1));
    task.healthcheck = true;
    let task = task.start();
    world
        .until(|| matches!(world.health(), HealthState::Failing { .. }))
        .await;
    // A check is only a check: what comes is written, and a success is the better proof.
    task.send(0, 0..1).await;
    world.until(|| world.calls() == 1).await;
    world.until(|| world.health() == HealthState::Healthy).await;
    task.end().await;
}

#[tokio::test]
async fn a_sink_that_keeps_its_events_does_not_hold_up_their_answer() {
    let world = World::answering(|_, _| Answer::Keep);
    let task = world
        .limits(10, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..10).await;
    task.end().await;
    assert_eq!(world.verdicts(), [Delivered]);
}

#[tokio::test]
async fn whatever_a_sink_says_every_event_has_one_end() {
    for seed in 0..25 {
        let mut random = fastrand::Rng::with_seed(seed);
        let world = World::answering(move |_, ids| {
            if ids.iter().any(|id| id.is_multiple_of(37)) && random.bool() {
                return refused(ReasonKind::Rejected);
            }
            match random.u32(..8) {
                0 => retry(),
                1 => Answer::Panic,
                2 => {
                    let mut places = (0..ids.len() as u32)
                        .filter(|_| random.u32(..4) == 0)
                        .collect::<Vec<_>>();
                    let refused = places.split_off(places.len() / 2);
                    world::partly(&places, &refused)
                }
                _ => Answer::Ok,
            }
        });
        let mut random = fastrand::Rng::with_seed(seed);
        let task = world.limits(random.usize(1..40), usize::MAX, Duration::from_millis(1));
        let mut sent = 0;
        for n in 0..20 {
            let len = random.u64(..30);
            task.send(n, sent..sent + len).await;
            sent += len;
        }
        task.start().end().await;
        let mut ends = world.accepted();
        ends.extend(world.dead().iter().map(|(id, ..)| *id));
        ends.sort_unstable();
        assert_eq!(
            ends,
            (0..sent).collect::<Vec<_>>(),
            "seed {seed}: each event once, written or dead"
        );
        let mut answered: Vec<u64> = world.answered().iter().map(|(n, _)| *n).collect();
        answered.sort_unstable();
        assert_eq!(answered, (0..20).collect::<Vec<_>>(), "seed {seed}");
        assert!(
            world.verdicts().iter().all(|verdict| *verdict == Delivered),
            "seed {seed}"
        );
        let (received, delivered, dead) = world.totals();
        assert_eq!(
            (received, delivered + dead),
            (sent, sent),
            "seed {seed}: the books balance"
        );
    }
}
