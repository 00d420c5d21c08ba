//! The end: time is up, or a successor takes over.

use std::time::Duration;

use super::world::{self, Answer, World, retry};
use crate::ack::Verdict::{Delivered, Failed};

#[tokio::test]
async fn when_time_is_up_what_has_no_end_fails() {
    let world = World::answering(|n, _| if n == 0 { Answer::Ok } else { retry() });
    let task = world
        .limits(2, usize::MAX, Duration::from_millis(1))
        .start();
    for n in 0..4 {
        task.send(n, n * 2..n * 2 + 2).await;
    }
    world.until(|| world.calls() > 2).await;
    task.abort.cancel();
    let end = task.end().await;
    assert_eq!(end.given_up, 2);
    assert!(end.left.is_empty());
    drop(end);
    assert_eq!(world.verdicts(), [Delivered, Failed, Failed, Failed]);
    assert_eq!(world.closed(), 1);
}

#[tokio::test]
async fn a_write_that_never_comes_back_is_given_up_with_the_rest() {
    let world = World::answering(|_, _| Answer::Hang);
    let task = world
        .limits(2, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..2).await;
    world.until(|| world.calls() == 1).await;
    task.abort.cancel();
    let end = task.end().await;
    assert_eq!(end.given_up, 2);
    assert_eq!(world.verdicts(), [Failed]);
}

#[tokio::test]
async fn a_successor_writes_first_what_was_left_and_writes_nothing_twice() {
    let world = World::answering(|n, _| match n {
        0 => world::partly(&[1, 3], &[]),
        _ => retry(),
    });
    let task = world.limits(4, usize::MAX, Duration::from_millis(1));
    for n in 0..6 {
        task.send(n, n * 2..n * 2 + 2).await;
    }
    let task = task.start();
    world.until(|| world.calls() > 2).await;
    task.hand_over.cancel();
    let (sender, end) = task.stop().await;
    assert!(world.verdicts().is_empty(), "nobody has failed");
    assert_eq!(world.accepted(), [0, 2]);
    world.answer(|_, _| Answer::Ok);
    let task = world
        .limits(4, usize::MAX, Duration::from_millis(1))
        .after(end, sender)
        .start();
    task.end().await;
    assert_eq!(world.accepted(), [0, 2, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    assert_eq!(world.verdicts(), [Delivered; 6]);
    assert_eq!(world.totals(), (12, 12, 0));
    assert_eq!(world.closed(), 2);
}

#[tokio::test]
async fn a_hand_over_lets_a_write_under_way_come_to_its_end() {
    let world = World::answering(|n, _| if n == 0 { Answer::Hang } else { Answer::Ok });
    let task = world
        .limits(2, usize::MAX, Duration::from_millis(1))
        .start();
    task.send(0, 0..2).await;
    world.until(|| world.calls() == 1).await;
    task.hand_over.cancel();
    task.send(1, 2..4).await;
    world.let_go();
    let (_sender, end) = task.stop().await;
    assert_eq!(world.verdicts(), [Delivered]);
    assert!(
        end.left.is_empty(),
        "the second was not taken out of the lane"
    );
    assert_eq!(end.lane.unwrap().gauge().events(), 2);
}
